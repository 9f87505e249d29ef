//! The log's bytes: segment headers, records, and the writes in a record. Pure; little-endian; aligned to 8 bytes.
//!
//! ```text
//! segment  magic 8 │ version 4 │ header bytes 4 │ crc 4 │ store id 16 │ segment 4 │ first 4 │ previous end 4 │ table names
//! record   header crc 4 │ body crc 4 │ body bytes 4 │ first 4 │ synced: segment 4, offset 4 │ body │ padding
//! body     ( table 1 │ kind 1 │ key bytes 2 │ value bytes 4 │ key │ value )*
//! ```
//!
//! - The crc of a record's header covers the store's id and the record's own position: bytes of another place, another
//!   file or another store are never taken for a record, nor is a payload that looks like one.
//! - The header has a crc of its own, so that what it says about *other* places holds although its body is damaged.
//! - `synced` is the sync mark: everything before that position was on disk when the record was written. A record with
//!   an empty body is nothing but a mark.
//! - `first` is the oldest segment that is still needed.
//! - Tables are written by number; each segment says which number has which name, so that the registry may change.
//! - Magic, version, header bytes and crc of a segment stay where they are in every version to come.

use cloudlysis_core::Table;
use std::fmt;
use std::ops::Range;

/// The version this code writes, and the newest it reads.
pub(super) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"CLDLYLOG";
/// Everything in a segment's header before the names.
const FIXED_BYTES: usize = 48;
/// No header is longer.
pub(super) const SEGMENT_HEADER_BYTES_MAX: usize = 4096;
/// A record's header, in bytes.
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// What a write takes around its key and its value, in bytes.
pub(super) const WRITE_BYTES: usize = 8;
/// Records begin at multiples of it.
pub(super) const ALIGN: usize = 8;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// A place in the log. Ordered as the log is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Position {
    /// The segment's number, as in its file's name.
    pub segment: u32,
    /// The offset in its file, in bytes.
    pub offset: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

/// What tells one store's bytes from another's.
pub(super) type StoreId = [u8; 16];

/// What a segment's header says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct SegmentHeader {
    pub(super) store_id: StoreId,
    pub(super) segment: u32,
    pub(super) first: u32,
    /// Where the segment before it ends; bytes behind are no part of the log.
    pub(super) previous_end: u32,
    /// Tables by number.
    pub(super) tables: Vec<Table>,
    /// Its own length, in bytes.
    pub(super) header_bytes: u32,
}

/// Why a segment's header cannot be used.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum HeaderFault {
    /// It is not what was written.
    Damaged,
    /// It is whole, and from a version to come.
    Newer(u32),
    /// It is whole, and names a table nobody here knows.
    UnknownTable(String),
}

/// The header of a new segment.
pub(super) fn segment_header(store_id: StoreId, segment: u32, first: u32, previous_end: u32) -> Vec<u8> {
    let names: Vec<&str> = Table::ALL.iter().map(|table| table.name()).collect();
    let names = names.join("\n");
    let bytes = (FIXED_BYTES + names.len()).next_multiple_of(ALIGN);
    let mut out = Vec::with_capacity(bytes);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&short(bytes).to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&store_id);
    for number in [segment, first, previous_end] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(names.as_bytes());
    out.resize(bytes, 0);
    let crc = segment_crc(&out);
    out[16..20].copy_from_slice(&crc.to_le_bytes());
    out
}

fn segment_crc(header: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&header[..16]);
    hasher.update(&header[20..]);
    hasher.finalize()
}

/// Reads a segment's header off the beginning of its file.
pub(super) fn parse_segment_header(file: &[u8]) -> Result<SegmentHeader, HeaderFault> {
    if file.len() < FIXED_BYTES || file[..8] != MAGIC {
        return Err(HeaderFault::Damaged);
    }
    let header_bytes = number(file, 12);
    let header = file
        .get(..header_bytes as usize)
        .filter(|header| (FIXED_BYTES..=SEGMENT_HEADER_BYTES_MAX).contains(&header.len()))
        .ok_or(HeaderFault::Damaged)?;
    if segment_crc(header) != number(header, 16) {
        return Err(HeaderFault::Damaged);
    }
    let version = number(header, 8);
    if version > VERSION {
        return Err(HeaderFault::Newer(version));
    }
    let names = std::str::from_utf8(&header[FIXED_BYTES..]).map_err(|_| HeaderFault::Damaged)?;
    let table = |name: &str| {
        let known = Table::ALL.iter().find(|table| table.name() == name);
        known.copied().ok_or_else(|| HeaderFault::UnknownTable(name.to_owned()))
    };
    let tables = names.trim_end_matches('\0').split('\n').map(table).collect::<Result<_, _>>()?;
    Ok(SegmentHeader {
        store_id: header[20..36].try_into().map_err(|_| HeaderFault::Damaged)?,
        segment: number(header, 36),
        first: number(header, 40),
        previous_end: number(header, 44),
        tables,
        header_bytes,
    })
}

/// What a record's header says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct RecordHeader {
    pub(super) body_bytes: u32,
    pub(super) body_crc: u32,
    pub(super) first: u32,
    pub(super) synced: Position,
}

impl RecordHeader {
    /// What the whole record takes, in bytes.
    pub(super) const fn record_bytes(&self) -> usize {
        (RECORD_HEADER_BYTES + self.body_bytes as usize).next_multiple_of(ALIGN)
    }
}

/// Seals headers for one store, and tells its own from anything else.
#[derive(Clone, Debug)]
pub(super) struct Seal(crc32fast::Hasher);

impl Seal {
    pub(super) fn new(store_id: &StoreId) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(store_id);
        Self(hasher)
    }

    fn crc(&self, at: Position, fields: &[u8]) -> u32 {
        let mut hasher = self.0.clone();
        hasher.update(&at.segment.to_le_bytes());
        hasher.update(&at.offset.to_le_bytes());
        hasher.update(fields);
        hasher.finalize()
    }

    /// Completes a record whose body stands behind the room for its header.
    pub(super) fn seal(&self, record: &mut Vec<u8>, at: Position, first: u32, synced: Position) {
        let body = &record[RECORD_HEADER_BYTES..];
        let fields = [crc32fast::hash(body), short(body.len()), first, synced.segment, synced.offset];
        for (field, room) in fields.iter().zip(record[4..].chunks_exact_mut(4)) {
            room.copy_from_slice(&field.to_le_bytes());
        }
        let crc = self.crc(at, &record[4..RECORD_HEADER_BYTES]);
        record[..4].copy_from_slice(&crc.to_le_bytes());
        record.resize(record.len().next_multiple_of(ALIGN), 0);
    }

    /// The header at the beginning of these bytes, if they are one and belong there.
    pub(super) fn parse(&self, bytes: &[u8], at: Position) -> Option<RecordHeader> {
        let header = bytes.get(..RECORD_HEADER_BYTES)?;
        (self.crc(at, &header[4..]) == number(header, 0)).then(|| RecordHeader {
            body_crc: number(header, 4),
            body_bytes: number(header, 8),
            first: number(header, 12),
            synced: Position { segment: number(header, 16), offset: number(header, 20) },
        })
    }
}

/// Room for a record's header, to be filled by [`Seal::seal`].
pub(super) fn begin_record(record: &mut Vec<u8>) {
    record.clear();
    record.resize(RECORD_HEADER_BYTES, 0);
}

/// Adds a write to a record; says where its key and its value are in it.
pub(super) fn add_write(record: &mut Vec<u8>, table: u8, key: &[u8], value: Option<&[u8]>) -> WriteAt {
    record.push(table);
    record.push(if value.is_some() { PUT } else { DELETE });
    let key_bytes = u16::try_from(key.len()).unwrap_or_else(|_| unreachable!("keys are short"));
    record.extend_from_slice(&key_bytes.to_le_bytes());
    record.extend_from_slice(&short(value.map_or(0, <[u8]>::len)).to_le_bytes());
    let key = add(record, key);
    let value = value.map(|value| add(record, value));
    WriteAt { table, key, value }
}

fn add(record: &mut Vec<u8>, bytes: &[u8]) -> Range<usize> {
    let start = record.len();
    record.extend_from_slice(bytes);
    start..record.len()
}

/// A write and where its parts are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct WriteAt {
    pub(super) table: u8,
    pub(super) key: Range<usize>,
    /// `None` removes.
    pub(super) value: Option<Range<usize>>,
}

/// The writes of a body, with their places in it. `None` where it cannot be read: its crc held, so a bug wrote it.
pub(super) fn writes(body: &[u8]) -> impl Iterator<Item = Option<WriteAt>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        if at == body.len() {
            return None;
        }
        let write = parse_write(body, at);
        at = write.as_ref().map_or(body.len(), |write| write.value.as_ref().unwrap_or(&write.key).end);
        Some(write)
    })
}

fn parse_write(body: &[u8], at: usize) -> Option<WriteAt> {
    let head = body.get(at..at + WRITE_BYTES)?;
    let key = at + WRITE_BYTES..at + WRITE_BYTES + usize::from(u16::from_le_bytes([head[2], head[3]]));
    let value = key.end..key.end + number(head, 4) as usize;
    let value = match head[1] {
        PUT => Some(value),
        DELETE if value.is_empty() => None,
        _ => return None,
    };
    let end = value.as_ref().unwrap_or(&key).end;
    (end <= body.len()).then_some(WriteAt { table: head[0], key, value })
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Every length in the log is bounded far below 4 GiB.
pub(super) fn short(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or_else(|_| unreachable!("lengths are bounded: {bytes}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { segment: 3, offset: 4096 };
    const SYNCED: Position = Position { segment: 2, offset: 77 };

    fn record(seal: &Seal) -> Vec<u8> {
        let mut record = Vec::new();
        begin_record(&mut record);
        add_write(&mut record, 4, b"key", Some(b"value"));
        add_write(&mut record, 5, b"gone", None);
        add_write(&mut record, 4, b"empty", Some(b""));
        seal.seal(&mut record, AT, 1, SYNCED);
        record
    }

    #[test]
    fn a_record_gives_back_its_writes() {
        let seal = Seal::new(&[7; 16]);
        let record = record(&seal);
        assert_eq!(record.len() % ALIGN, 0);
        let header = seal.parse(&record, AT).expect("valid");
        assert_eq!((header.first, header.synced, header.record_bytes()), (1, SYNCED, record.len()));
        let body = &record[RECORD_HEADER_BYTES..][..header.body_bytes as usize];
        assert_eq!(crc32fast::hash(body), header.body_crc);
        let writes: Vec<_> = writes(body)
            .map(|write| write.expect("readable"))
            .map(|write| (write.table, &body[write.key], write.value.map(|value| &body[value])))
            .collect();
        let expected = [
            (4, &b"key"[..], Some(&b"value"[..])),
            (5, &b"gone"[..], None),
            (4, &b"empty"[..], Some(&b""[..])),
        ];
        assert_eq!(writes, expected);
    }

    #[test]
    fn a_header_holds_at_its_own_place_in_its_own_store_only() {
        let seal = Seal::new(&[7; 16]);
        let record = record(&seal);
        assert_eq!(seal.parse(&record, Position { offset: AT.offset + 8, ..AT }), None);
        assert_eq!(seal.parse(&record, Position { segment: 4, ..AT }), None);
        assert_eq!(Seal::new(&[8; 16]).parse(&record, AT), None);
        assert_eq!(seal.parse(&[0; 64], AT), None, "zeros are no record");
        for bit in 0..RECORD_HEADER_BYTES * 8 {
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.parse(&flipped, AT), None, "bit {bit}");
        }
    }

    #[test]
    fn a_segment_header_is_whole_or_damaged() {
        let header = segment_header([9; 16], 4, 2, 4096);
        let parsed = parse_segment_header(&header).expect("valid");
        assert_eq!((parsed.segment, parsed.first, parsed.previous_end), (4, 2, 4096));
        assert_eq!(parsed.tables, Table::ALL);
        assert_eq!(parsed.header_bytes as usize, header.len());
        for bit in 0..header.len() * 8 {
            let mut flipped = header.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_segment_header(&flipped), Err(HeaderFault::Damaged), "bit {bit}");
        }
        for cut in 0..header.len() {
            assert_eq!(parse_segment_header(&header[..cut]), Err(HeaderFault::Damaged));
        }
    }

    #[test]
    fn versions_and_tables_to_come_are_named() {
        let sealed = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut header = segment_header([9; 16], 4, 2, 4096);
            change(&mut header);
            let crc = segment_crc(&header);
            header[16..20].copy_from_slice(&crc.to_le_bytes());
            parse_segment_header(&header)
        };
        assert_eq!(sealed(&|header| header[8] = 2), Err(HeaderFault::Newer(2)));
        let unknown = sealed(&|header| header[FIXED_BYTES] = b'x');
        assert_eq!(unknown, Err(HeaderFault::UnknownTable("xeta".into())));
    }

    #[test]
    fn a_body_that_cannot_be_read_says_so() {
        let seal = Seal::new(&[7; 16]);
        let record = record(&seal);
        let body = &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + 12];
        assert_eq!(writes(body).collect::<Vec<_>>(), [None]);
    }
}
