//! What is stored at which sequence: 20 bytes a message, in chunks of 256 sequences.
//!
//! Sequences come in order and may go in any. A chunk without holes is looked up by position, any other by bisection.
//!
//! Limits: the headers of a message take less than 16 MiB. A chunk costs about 60 bytes more than its messages.

use crate::time::Wall;
use std::collections::BTreeMap;

const CHUNK: u64 = 256;

/// A message without its subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry {
    /// Which subject, as the log numbers them.
    pub(super) subject: u32,
    pub(super) payload_bytes: u32,
    /// Header bytes, and in the last eight bits the place in the chunk.
    header_bytes_and_slot: u32,
    /// In halves, so that it does not want to stand at a multiple of eight.
    stored_at_ms: [u32; 2],
}

impl Entry {
    pub(super) fn new(subject: u32, header_bytes: u32, payload_bytes: u32, stored_at: Wall) -> Self {
        assert!(header_bytes < 1 << 24, "headers of {header_bytes} bytes");
        let ms = stored_at.as_ms();
        let stored_at_ms = [(ms >> 32) as u32, ms as u32];
        Self { subject, payload_bytes, header_bytes_and_slot: header_bytes << 8, stored_at_ms }
    }

    pub(super) const fn header_bytes(self) -> u32 {
        self.header_bytes_and_slot >> 8
    }

    const fn slot(self) -> u8 {
        (self.header_bytes_and_slot & 0xff) as u8
    }

    pub(super) const fn stored_at(self) -> Wall {
        Wall::from_ms((self.stored_at_ms[0] as u64) << 32 | self.stored_at_ms[1] as u64)
    }
}

type Chunk = Vec<Entry>;

/// All of them, by sequence.
#[derive(Clone, Debug, Default)]
pub(super) struct Entries {
    chunks: BTreeMap<u64, Chunk>,
    len: usize,
}

/// Where a sequence is in its chunk, or would be.
fn find(chunk: &[Entry], slot: u8) -> Result<usize, usize> {
    let first = chunk.first().map_or(0, |first| first.slot());
    let guess = usize::from(slot.wrapping_sub(first));
    match chunk.get(guess) {
        Some(entry) if entry.slot() == slot => Ok(guess),
        Some(_) | None => chunk.binary_search_by_key(&slot, |entry| entry.slot()),
    }
}

const fn split(seq: u64) -> (u64, u8) {
    (seq / CHUNK, (seq % CHUNK) as u8)
}

fn entries(chunk: (&u64, &'_ Chunk)) -> impl DoubleEndedIterator<Item = (u64, Entry)> {
    let (at, chunk) = (*chunk.0, chunk.1);
    chunk.iter().map(move |entry| (at * CHUNK + u64::from(entry.slot()), *entry))
}

impl Entries {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, seq: u64) -> Option<Entry> {
        let (at, slot) = split(seq);
        let chunk = self.chunks.get(&at)?;
        find(chunk, slot).ok().map(|found| chunk[found])
    }

    pub(super) fn first(&self) -> Option<(u64, Entry)> {
        entries(self.chunks.first_key_value()?).next()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, Entry)> {
        self.chunks.iter().flat_map(entries)
    }

    pub(super) fn range(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, Entry)> {
        let (at, slot) = split(from);
        let begun = self.chunks.get(&at).into_iter().flat_map(move |chunk| {
            let (Ok(first) | Err(first)) = find(chunk, slot);
            chunk[first..].iter().map(move |entry| (at * CHUNK + u64::from(entry.slot()), *entry))
        });
        begun.chain(self.chunks.range(at + 1..).flat_map(entries))
    }

    /// Adds one behind all others.
    pub(super) fn push(&mut self, seq: u64, mut entry: Entry) {
        let (at, slot) = split(seq);
        entry.header_bytes_and_slot |= u32::from(slot);
        let chunk = self.chunks.entry(at).or_default();
        debug_assert!(chunk.last().is_none_or(|last| last.slot() < slot));
        chunk.push(entry);
        self.len += 1;
    }

    pub(super) fn remove(&mut self, seq: u64) -> Option<Entry> {
        let (at, slot) = split(seq);
        let chunk = self.chunks.get_mut(&at)?;
        let found = find(chunk, slot).ok()?;
        let gone = chunk.remove(found);
        self.len -= 1;
        if chunk.is_empty() {
            self.chunks.remove(&at);
        } else if chunk.len() * 2 <= chunk.capacity() {
            chunk.shrink_to(chunk.len() * 5 / 4);
        }
        Some(gone)
    }

    /// What it takes, in bytes, without what the tree adds around its entries.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| size_of::<(u64, Chunk)>() + chunk.capacity() * size_of::<Entry>();
        self.chunks.values().map(chunk).sum()
    }
}
