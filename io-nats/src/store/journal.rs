//! The journal of a [`Writer`](super::Writer): what is committed and not yet in LMDB.
//!
//! ```text
//! record   bytes 4 │ crc 4 │ epoch 8 │ number 8 │ op │ op │ …
//! op       kind 1 │ name bytes 1 │ table │ key bytes 2 │ key │ value bytes 4 │ value     (the last two of a put only)
//! ```
//!
//! - Records of an epoch are numbered from one and stand side by side from the beginning of the file. A commit of LMDB
//!   that holds them begins the next epoch, and their place is taken by its records: nothing is ever cut off.
//! - What is read back ends at the first record that is not whole, not of this epoch, or not the next one. A record that
//!   was acknowledged was synced, so only one that nobody was told of can end it.
//! - A record begins in the sector that the one before ends in. Writing that sector again must not harm what stays the
//!   same in it, as every disk promises and LMDB relies on too.
//! - The file keeps its size, so that a sync need not touch the file system's own records.
//!
//! Not here: when LMDB is committed.

use cloudlysis_core::{Table, Write};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Size of the file, in bytes: a thousand sagas of two effects. Taking it over takes some tens of milliseconds.
pub(super) const BYTES_MAX: usize = 4 << 20;
/// Before the ops of a record, in bytes.
pub(super) const HEADER_BYTES: usize = 24;

const PUT: u8 = 1;
const DELETE: u8 = 2;

/// The file, made when it is needed first.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    pub(super) file: Option<File>,
}

/// Where the next record goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    /// The epoch.
    pub(super) epoch: u64,
    /// Its number.
    pub(super) number: u64,
    /// Its first byte.
    pub(super) offset: usize,
}

impl Place {
    pub(super) const fn first(epoch: u64) -> Self {
        Self { epoch, number: 1, offset: 0 }
    }

    /// Whether a record of so many bytes fits.
    pub(super) const fn takes(self, bytes: usize) -> bool {
        self.offset.saturating_add(bytes) <= BYTES_MAX
    }
}

/// A new record, with room for its header. What one large turn needed is not kept for the others.
pub(super) fn begin(record: &mut Vec<u8>) {
    record.clear();
    record.shrink_to(BYTES_MAX);
    record.resize(HEADER_BYTES, 0);
}

/// Adds an op to a record.
pub(super) fn push(record: &mut Vec<u8>, write: Write<'_>) {
    let (kind, table, key, value) = match write {
        Write::Put { table, key, value } => (PUT, table, key, Some(value)),
        Write::Delete { table, key } => (DELETE, table, key, None),
    };
    let name = table.name().as_bytes();
    record.push(kind);
    record.push(u8::try_from(name.len()).expect("names of tables are short"));
    record.extend_from_slice(name);
    record.extend_from_slice(&u16::try_from(key.len()).expect("keys are bounded").to_be_bytes());
    record.extend_from_slice(key);
    if let Some(value) = value {
        record.extend_from_slice(&u32::try_from(value.len()).expect("values are bounded").to_be_bytes());
        record.extend_from_slice(value);
    }
}

fn seal(record: &mut [u8], Place { epoch, number, .. }: Place) {
    let bytes = u32::try_from(record.len()).expect("a record fits the file");
    record[0..4].copy_from_slice(&bytes.to_be_bytes());
    record[8..16].copy_from_slice(&epoch.to_be_bytes());
    record[16..24].copy_from_slice(&number.to_be_bytes());
    let crc = crc_of(record);
    record[4..8].copy_from_slice(&crc.to_be_bytes());
}

/// Of everything but itself.
fn crc_of(record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&record[0..4]);
    hasher.update(&record[8..]);
    hasher.finalize()
}

impl Journal {
    /// The journal of a data directory.
    pub(super) fn at(directory: &Path) -> Self {
        Self { path: directory.join("journal"), file: None }
    }

    fn file(&mut self) -> io::Result<&File> {
        let file = match self.file.take() {
            Some(file) => file,
            None => self.make()?,
        };
        Ok(self.file.insert(file))
    }

    /// Opens it; a new one, or one that was not finished when the power went, is filled first.
    fn make(&self) -> io::Result<File> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(&self.path)?;
        if file.metadata()?.len() != BYTES_MAX as u64 {
            file.write_all_at(&vec![0; BYTES_MAX], 0)?;
            file.set_len(BYTES_MAX as u64)?;
            file.sync_all()?;
            if let Some(directory) = self.path.parent() {
                File::open(directory)?.sync_all()?;
            }
        }
        Ok(file)
    }

    /// Makes a record durable. After an error nobody knows whether it is.
    pub(super) fn append(&mut self, record: &mut [u8], place: Place) -> io::Result<()> {
        debug_assert!(place.takes(record.len()), "{} bytes at {place:?}", record.len());
        seal(record, place);
        let file = self.file()?;
        file.write_all_at(record, place.offset as u64)?;
        file.sync_data()
    }

    /// Hands over every op of an epoch, in order; where the next record goes.
    pub(super) fn replay<E: From<io::Error>>(
        &mut self,
        epoch: u64,
        mut each: impl FnMut(Write<'_>) -> Result<(), E>,
    ) -> Result<Place, E> {
        let mut place = Place::first(epoch);
        if !self.path.exists() {
            return Ok(place);
        }
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut File::open(&self.path)?, &mut bytes)?;
        while let Some(record) = record_at(&bytes, place) {
            let mut ops = &record[HEADER_BYTES..];
            while let Some(write) = next_op(&mut ops)? {
                each(write)?;
            }
            place = Place { number: place.number + 1, offset: place.offset + record.len(), ..place };
        }
        Ok(place)
    }
}

/// The record at a place, if it is whole and the one that belongs there.
fn record_at(bytes: &[u8], place: Place) -> Option<&[u8]> {
    let rest = bytes.get(place.offset..)?;
    let length = u32::from_be_bytes(*rest.first_chunk::<4>()?);
    let record = rest.get(..usize::try_from(length).ok()?).filter(|record| record.len() >= HEADER_BYTES)?;
    let number = |at: usize| u64::from_be_bytes(record[at..at + 8].try_into().expect("eight bytes"));
    let crc = u32::from_be_bytes(record[4..8].try_into().expect("four bytes"));
    (crc == crc_of(record) && number(8) == place.epoch && number(16) == place.number).then_some(record)
}

/// The next op of a record; an error when it is not one of ours, which its crc says it is.
fn next_op<'r>(ops: &mut &'r [u8]) -> io::Result<Option<Write<'r>>> {
    let Some((kind, rest)) = ops.split_first() else { return Ok(None) };
    *ops = rest;
    let bytes = usize::from(take(ops, 1)?[0]);
    let name = take(ops, bytes)?;
    let table = Table::ALL.iter().copied().find(|table| table.name().as_bytes() == name);
    let table = table.ok_or_else(|| foreign("names a table that is not known: it is of a later release"))?;
    let bytes = take(ops, 2)?;
    let key = take(ops, usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))?;
    match *kind {
        PUT => {
            let bytes = u32::from_be_bytes(take(ops, 4)?.try_into().expect("four bytes"));
            let value = take(ops, usize::try_from(bytes).unwrap_or(usize::MAX))?;
            Ok(Some(Write::Put { table, key, value }))
        }
        DELETE => Ok(Some(Write::Delete { table, key })),
        _ => Err(foreign("holds an op that is not known: it is of a later release")),
    }
}

fn take<'r>(bytes: &mut &'r [u8], count: usize) -> io::Result<&'r [u8]> {
    let (taken, rest) = bytes.split_at_checked(count).ok_or_else(|| foreign("holds half an op"))?;
    *bytes = rest;
    Ok(taken)
}

fn foreign(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the journal {what}"))
}
