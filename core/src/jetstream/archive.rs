//! Archives of streams: the real server's format since 2.15, so that what one broker wrote any other restores.
//!
//! ```text
//!  archive   NATSARC1, entries                        in frames of S2: see [`frames`]
//!  entry     name length │ time │ sequence │ header bytes │ payload bytes │ name │ headers, payload     varints first
//!
//!  state.json        what the stream held when the archive was begun
//!  consumers/<name>  configuration and state: see [`consumers`]; as many as `state.json` counts
//!  <subject>         a message, in ascending order of sequences
//!  (nothing)         the end; an archive without it is torn
//! ```
//!
//! Written and read in one pass, a piece at a time: a writer holds what is not taken yet, a reader what is not whole yet.
//! Neither trusts the other side. The format is written down in the original's ADR "Stream Backup and Restore V2".

use bytes::{Buf, Bytes, BytesMut};
use frames::{Packing, Unpacking};

mod block;
mod checksum;
pub(super) mod consumers;
mod frames;
#[cfg(test)]
mod tests;

pub(super) use frames::Torn;

const MAGIC: &[u8] = b"NATSARC1";
/// What the first entry is called.
pub(super) const STATE: &str = "state.json";
/// What the entries of consumers are called, before their names.
pub(super) const CONSUMER: &str = "consumers/";
/// Longest name of an entry, in bytes.
const NAME_BYTES_MAX: usize = 64 << 10;

/// An entry without its body.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Head {
    /// A subject, or what else the entry is.
    pub(super) name: String,
    pub(super) timestamp_ns: i64,
    /// Of a message; 0 for anything else.
    pub(super) seq: u64,
    pub(super) header_bytes: usize,
    pub(super) payload_bytes: usize,
}

impl Head {
    pub(super) const fn body_bytes(&self) -> usize {
        self.header_bytes + self.payload_bytes
    }

    /// Whether nothing follows.
    pub(super) fn is_end(&self) -> bool {
        *self == Self::default()
    }
}

/// An archive that is being written.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Writer {
    packing: Packing,
}

impl Writer {
    pub(super) fn new() -> Self {
        let mut packing = Packing::default();
        packing.push(MAGIC);
        Self { packing }
    }

    pub(super) fn add(&mut self, name: &str, timestamp_ns: i64, seq: u64, headers: &[u8], payload: &[u8]) {
        // The sign in the last bit, as varints have it.
        let timestamp = (timestamp_ns << 1 ^ timestamp_ns >> 63).cast_unsigned();
        for number in [name.len() as u64, timestamp, seq, headers.len() as u64, payload.len() as u64] {
            self.varint(number);
        }
        for part in [name.as_bytes(), headers, payload] {
            self.packing.push(part);
        }
    }

    /// Says that this was all.
    pub(super) fn end(&mut self) {
        self.add("", 0, 0, &[], &[]);
        self.packing.finish();
    }

    /// How much can be taken, in bytes.
    pub(super) fn ready(&self) -> usize {
        self.packing.ready()
    }

    /// The next so many bytes, which are ready.
    pub(super) fn take(&mut self, bytes: usize) -> Bytes {
        self.packing.take(bytes)
    }

    fn varint(&mut self, mut number: u64) {
        let (mut bytes, mut len) = ([0; 10], 1);
        while number > 0x7f {
            bytes[len - 1] = (number & 0x7f) as u8 | 0x80;
            number >>= 7;
            len += 1;
        }
        bytes[len - 1] = (number & 0x7f) as u8;
        self.packing.push(&bytes[..len]);
    }
}

/// An archive that is being read.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Reader {
    unpacking: Unpacking,
    /// What is unpacked and not read yet.
    raw: BytesMut,
    begun: bool,
    /// Of the entry whose body comes next.
    head: Option<Head>,
}

impl Reader {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.unpacking.push(bytes);
    }

    /// The next entry, up to its body; `None` until more is pushed.
    pub(super) fn head(&mut self) -> Result<Option<&Head>, Torn> {
        while self.head.is_none() {
            if !self.begun {
                if self.raw.len() >= MAGIC.len() {
                    if !self.raw.starts_with(MAGIC) {
                        return Err(Torn::OtherKind);
                    }
                    self.raw.advance(MAGIC.len());
                    self.begun = true;
                    continue;
                }
            } else if let Some((head, bytes)) = parse(&self.raw)? {
                self.raw.advance(bytes);
                self.head = Some(head);
                continue;
            }
            if !self.unpack()? {
                return Ok(None);
            }
        }
        Ok(self.head.as_ref())
    }

    /// The entry whose head was read, whole: its head and its body; `None` until more is pushed.
    pub(super) fn entry(&mut self) -> Result<Option<(Head, Bytes)>, Torn> {
        let Some(bytes) = self.head.as_ref().map(Head::body_bytes) else { return Ok(None) };
        while self.raw.len() < bytes {
            if !self.unpack()? {
                return Ok(None);
            }
        }
        // Copied, so that a message that is kept does not keep its neighbours.
        let body = Bytes::copy_from_slice(&self.raw[..bytes]);
        self.raw.advance(bytes);
        Ok(self.head.take().map(|head| (head, body)))
    }

    /// What is wrong with an archive of which nothing more will come.
    pub(super) fn torn(&self) -> Torn {
        let between_entries =
            self.head.is_none() && self.raw.is_empty() && self.unpacking.is_between_frames();
        if between_entries { Torn::TooShort } else { Torn::Invalid }
    }

    /// Whether another frame was unpacked.
    fn unpack(&mut self) -> Result<bool, Torn> {
        let frame = self.unpacking.next()?;
        Ok(frame.is_some_and(|frame| {
            self.raw.extend_from_slice(&frame);
            true
        }))
    }
}

/// An entry's head and its length, if it is whole.
fn parse(raw: &[u8]) -> Result<Option<(Head, usize)>, Torn> {
    let mut rest = raw;
    let mut numbers = [0; 5];
    for number in &mut numbers {
        match varint(rest)? {
            Some((value, left)) => (*number, rest) = (value, left),
            None => return Ok(None),
        }
    }
    let [name_bytes, timestamp, seq, header_bytes, payload_bytes] = numbers;
    let bytes = |number: u64| usize::try_from(number).ok().filter(|bytes| *bytes <= usize::MAX >> 2);
    let name_bytes = bytes(name_bytes).filter(|bytes| *bytes <= NAME_BYTES_MAX).ok_or(Torn::Invalid)?;
    let header_bytes = bytes(header_bytes).ok_or(Torn::Invalid)?;
    let payload_bytes = bytes(payload_bytes).ok_or(Torn::Invalid)?;
    let Some((name, rest)) = rest.split_at_checked(name_bytes) else { return Ok(None) };
    let name = std::str::from_utf8(name).map_err(|_| Torn::Invalid)?.to_owned();
    let timestamp_ns = (timestamp >> 1).cast_signed() ^ -(timestamp & 1).cast_signed();
    Ok(Some((Head { name, timestamp_ns, seq, header_bytes, payload_bytes }, raw.len() - rest.len())))
}

/// A number of seven bits a byte, the lowest first, and what follows it; `None` if it is not whole.
fn varint(bytes: &[u8]) -> Result<Option<(u64, &[u8])>, Torn> {
    let mut number = 0;
    for (nth, byte) in bytes.iter().enumerate() {
        let bits = u64::from(byte & 0x7f);
        if nth > 9 || (nth == 9 && bits > 1) {
            return Err(Torn::Invalid);
        }
        number |= bits << (7 * nth);
        if byte & 0x80 == 0 {
            return Ok(Some((number, &bytes[nth + 1..])));
        }
    }
    Ok(None)
}
