//! What is stored at which sequence, packed: some two bytes a message.
//!
//! ```text
//!  sequence / 512 ─► packed: slot, subject, sizes, time          open: the last up to 128, behind all others
//! ```
//!
//! Sequences come in order and may go in any: the open ones join their chunk now and then, and a chunk is packed again when
//! half of it is gone.
//!
//! Limits: a chunk costs about 150 bytes more than its messages, an open message 32.

use crate::packed::{Packed, ROWS_MAX};
use crate::time::Wall;
use std::collections::BTreeMap;

const CHUNK: u64 = ROWS_MAX as u64;
const OPEN_MAX: usize = 128;

/// A message without its subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// Which subject, as the log numbers them.
    pub(super) subject: u32,
    pub(super) header_bytes: u32,
    pub(super) payload_bytes: u32,
    pub(super) stored_at: Wall,
}

/// Where it is in its chunk, and itself.
type Row = [u64; 5];
type Chunk = Packed<5>;
/// The column of the slot: it ascends.
const SLOT: usize = 0;

fn row(seq: u64, entry: Entry) -> Row {
    let Entry { subject, header_bytes, payload_bytes, stored_at } = entry;
    [seq % CHUNK, subject.into(), header_bytes.into(), payload_bytes.into(), stored_at.as_ms()]
}

const fn parsed(at: u64, row: Row) -> (u64, Entry) {
    let [slot, subject, header_bytes, payload_bytes, stored_at_ms] = row;
    let entry = Entry {
        subject: subject as u32,
        header_bytes: header_bytes as u32,
        payload_bytes: payload_bytes as u32,
        stored_at: Wall::from_ms(stored_at_ms),
    };
    (at * CHUNK + slot, entry)
}

/// All of them, by sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    chunks: BTreeMap<u64, Chunk>,
    /// Of one chunk, behind all that are packed.
    open: Vec<(u64, Entry)>,
    len: usize,
}

fn entries(at: u64, chunk: &Chunk, from: usize) -> impl DoubleEndedIterator<Item = (u64, Entry)> {
    chunk.left_in(from..chunk.len()).map(move |row| parsed(at, chunk.row(row)))
}

/// The row of a slot.
fn find(chunk: &Chunk, seq: u64) -> Option<usize> {
    let row = chunk.first_from(SLOT, seq % CHUNK);
    (chunk.has(row) && chunk.number(row, SLOT) == seq % CHUNK).then_some(row)
}

impl Entries {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn find_open(&self, seq: u64) -> Option<usize> {
        self.open.binary_search_by_key(&seq, |(own, _)| *own).ok()
    }

    pub(super) fn get(&self, seq: u64) -> Option<Entry> {
        if self.open.first().is_some_and(|(first, _)| *first <= seq) {
            return self.find_open(seq).map(|at| self.open[at].1);
        }
        let chunk = self.chunks.get(&(seq / CHUNK))?;
        find(chunk, seq).map(|row| parsed(0, chunk.row(row)).1)
    }

    pub(super) fn first(&self) -> Option<(u64, Entry)> {
        self.iter().next()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, Entry)> {
        let packed = self.chunks.iter().flat_map(|(at, chunk)| entries(*at, chunk, 0));
        packed.chain(self.open.iter().copied())
    }

    pub(super) fn range(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, Entry)> {
        let at = from / CHUNK;
        let begun = self.chunks.get(&at).into_iter();
        let begun = begun.flat_map(move |chunk| entries(at, chunk, chunk.first_from(SLOT, from % CHUNK)));
        let packed = self.chunks.range(at + 1..).flat_map(|(at, chunk)| entries(*at, chunk, 0));
        let open = self.open.partition_point(|(seq, _)| *seq < from);
        begun.chain(packed).chain(self.open[open..].iter().copied())
    }

    /// Adds one behind all others.
    pub(super) fn push(&mut self, seq: u64, entry: Entry) {
        debug_assert!(self.iter().next_back().is_none_or(|(last, _)| last < seq));
        let is_elsewhere = self.open.first().is_some_and(|(first, _)| first / CHUNK != seq / CHUNK);
        if is_elsewhere || self.open.len() == OPEN_MAX {
            self.pack();
        }
        self.open.push((seq, entry));
        self.len += 1;
    }

    /// Lets the open ones join their chunk.
    fn pack(&mut self) {
        let Some((first, _)) = self.open.first() else { return };
        let at = first / CHUNK;
        let mut rows = self.chunks.get(&at).map_or_else(Vec::new, Chunk::unpacked);
        rows.extend(self.open.drain(..).map(|(seq, entry)| row(seq, entry)));
        self.chunks.insert(at, Chunk::new(&rows));
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Entry> {
        let gone = match self.find_open(seq) {
            Some(at) => self.open.remove(at).1,
            None => self.remove_packed(seq)?,
        };
        self.len -= 1;
        if self.open.is_empty() {
            self.open = Vec::new();
        }
        Some(gone)
    }

    fn remove_packed(&mut self, seq: u64) -> Option<Entry> {
        let chunk = self.chunks.get_mut(&(seq / CHUNK))?;
        let row = find(chunk, seq)?;
        let gone = parsed(0, chunk.row(row)).1;
        chunk.remove(row);
        if chunk.left() == 0 {
            self.chunks.remove(&(seq / CHUNK));
        } else if chunk.is_worn() {
            *chunk = Chunk::new(&chunk.unpacked());
        }
        Some(gone)
    }

    /// What it takes, in bytes, without what the tree adds around its entries.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| size_of::<(u64, Chunk)>() + chunk.heap_bytes();
        let packed: usize = self.chunks.values().map(chunk).sum();
        packed + self.open.capacity() * size_of::<(u64, Entry)>()
    }
}
