//! The index of a stream's messages: what is stored where, how much it takes, and what comes next for a filter.
//!
//! Bodies stay in the table. Sequences never go back: the last one is remembered when its message is gone.
//!
//! A message takes two or three bytes here where subjects take turns, some six where nothing is regular: most of it in
//! [`entries`], the rest among those of its subject in [`seqs`]. A subject takes some 100 bytes and its name.

mod entries;
mod gaps;
mod seqs;
mod subjects;
#[cfg(test)]
mod tests;

use super::api::Storage;
use crate::time::Wall;
use crate::wire::subject::Filter;
use entries::{Entries, Entry};
pub(super) use seqs::Seqs;
use std::collections::BTreeSet;
use std::sync::Arc;
use subjects::Subjects;

/// What the file store adds to every message, and once more to one with headers, in bytes.
const FILE_OVERHEAD: u64 = 30;
const HEADERS_OVERHEAD: u64 = 4;
/// What the memory store adds to every message, in bytes.
const MEMORY_OVERHEAD: u64 = 16;

/// What the index keeps of a message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Meta {
    /// The subject it was published on.
    pub subject: Arc<str>,
    /// When it was stored.
    pub stored_at: Wall,
    /// Its header block, in bytes; 0 without headers.
    pub header_bytes: u32,
    /// Its payload, in bytes.
    pub payload_bytes: u32,
}

impl Meta {
    /// As the index gives it.
    pub(super) const fn as_ref(&self) -> MetaRef<'_> {
        let Self { subject, stored_at, header_bytes, payload_bytes } = self;
        MetaRef { subject, stored_at: *stored_at, header_bytes: *header_bytes, payload_bytes: *payload_bytes }
    }
}

/// A [`Meta`] in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MetaRef<'l> {
    pub(super) subject: &'l Arc<str>,
    pub(super) stored_at: Wall,
    pub(super) header_bytes: u32,
    pub(super) payload_bytes: u32,
}

impl MetaRef<'_> {
    pub(super) fn to_meta(self) -> Meta {
        let Self { subject, stored_at, header_bytes, payload_bytes } = self;
        Meta { subject: subject.clone(), stored_at, header_bytes, payload_bytes }
    }

    /// What it takes, in bytes.
    fn stored_bytes(&self, storage: Storage) -> u64 {
        let headers = u64::from(self.header_bytes);
        let bytes = self.subject.len() as u64 + headers + u64::from(self.payload_bytes);
        match storage {
            Storage::File if headers == 0 => bytes + FILE_OVERHEAD,
            Storage::File => bytes + FILE_OVERHEAD + HEADERS_OVERHEAD,
            Storage::Memory => bytes + MEMORY_OVERHEAD,
        }
    }
}

/// A set of subjects; without any filter, all of them.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Filters {
    filters: Vec<Filter>,
    /// No filter has a wildcard: the index by subject answers at once.
    literal: bool,
}

impl Filters {
    pub(super) fn new(filters: Vec<Filter>) -> Self {
        let literal = !filters.is_empty() && filters.iter().all(is_literal);
        Self { filters, literal }
    }

    pub(super) fn is_everything(&self) -> bool {
        self.filters.is_empty()
    }

    pub(super) fn matches(&self, subject: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| filter.matches(subject))
    }

    /// The last stored sequence that matches.
    pub(super) fn last_in(&self, log: &Log) -> Option<u64> {
        if self.filters.is_empty() {
            return log.iter().next_back().map(|(seq, _)| seq);
        }
        self.filters.iter().filter_map(|filter| log.last_matching(filter)).max()
    }

    /// The first stored sequence of each filter.
    pub(super) fn firsts_in<'l>(&'l self, log: &'l Log) -> impl Iterator<Item = u64> + 'l {
        self.filters.iter().filter_map(|filter| log.next_matching(&Self::new(vec![filter.clone()]), 0))
    }

    /// Whether a subject can match both these and one of the others.
    pub(super) fn overlap(&self, others: &[Filter]) -> bool {
        let any = |other: &Filter| self.filters.iter().any(|own| own.overlaps(other));
        if self.filters.is_empty() { !others.is_empty() } else { others.iter().any(any) }
    }

    /// Whether a filter of these has everything that matches another.
    pub(super) fn cover(&self, narrower: &Filter) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|own| own.covers(narrower))
    }

    /// Whether everything that matches is covered by one filter.
    pub(super) fn within(&self, wider: &Filter) -> bool {
        !self.filters.is_empty() && self.filters.iter().all(|own| wider.covers(own))
    }
}

pub(super) fn is_literal(filter: &Filter) -> bool {
    !filter.as_str().split('.').any(|token| token == "*" || token == ">")
}

/// Derived on recovery; the last sequence and its time are durable, in the stream's row once their message is gone.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    storage: Storage,
    entries: Entries,
    subjects: Subjects,
    bytes: u64,
    last_seq: u64,
    last_at: Option<Wall>,
}

/// The same messages: which numbers their subjects have is nobody's business.
impl PartialEq for Log {
    fn eq(&self, other: &Self) -> bool {
        let rest = |log: &Self| (log.storage, log.len(), log.bytes, log.last_seq, log.last_at);
        rest(self) == rest(other) && self.iter().eq(other.iter())
    }
}

impl Log {
    pub(super) fn new(storage: Storage) -> Self {
        Self { storage, ..Self::default() }
    }

    /// What a message takes here, in bytes.
    pub(super) fn bytes_of(&self, meta: MetaRef<'_>) -> u64 {
        meta.stored_bytes(self.storage)
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    pub(super) const fn last_at(&self) -> Option<Wall> {
        self.last_at
    }

    /// The first stored sequence; one past the last when empty, and 0 before the first message ever.
    pub(super) fn first_seq(&self) -> u64 {
        match self.entries.first() {
            Some((seq, _)) => seq,
            None if self.last_seq == 0 => 0,
            None => self.last_seq + 1,
        }
    }

    fn meta(&self, entry: Entry) -> MetaRef<'_> {
        MetaRef {
            subject: self.subjects.name(entry.subject),
            stored_at: entry.stored_at,
            header_bytes: entry.header_bytes,
            payload_bytes: entry.payload_bytes,
        }
    }

    pub(super) fn first(&self) -> Option<(u64, MetaRef<'_>)> {
        self.entries.first().map(|(seq, entry)| (seq, self.meta(entry)))
    }

    pub(super) fn get(&self, seq: u64) -> Option<MetaRef<'_>> {
        self.entries.get(seq).map(|entry| self.meta(entry))
    }

    pub(super) fn contains(&self, seq: u64) -> bool {
        self.entries.get(seq).is_some()
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, MetaRef<'_>)> {
        self.entries.iter().map(|(seq, entry)| (seq, self.meta(entry)))
    }

    pub(super) fn range(&self, from: u64) -> impl DoubleEndedIterator<Item = (u64, MetaRef<'_>)> {
        self.entries.range(from).map(|(seq, entry)| (seq, self.meta(entry)))
    }

    /// By name.
    pub(super) fn subjects(&self) -> impl Iterator<Item = (&Arc<str>, &Seqs)> {
        self.subjects.iter()
    }

    /// The sequences stored on exactly this subject.
    pub(super) fn on_subject(&self, subject: &str) -> Option<&Seqs> {
        self.subjects.get(subject)
    }

    /// The subject as the index shares it.
    pub(super) fn shared_subject(&self, subject: &str) -> Arc<str> {
        self.subjects.shared(subject).map_or_else(|| subject.into(), Arc::clone)
    }

    /// The last sequence stored on a subject that matches.
    pub(super) fn last_matching(&self, filter: &Filter) -> Option<u64> {
        if is_literal(filter) {
            return self.on_subject(filter.as_str())?.last();
        }
        let matching = self.subjects().filter(|(subject, _)| filter.matches(subject));
        matching.filter_map(|(_, seqs)| seqs.last()).max()
    }

    /// The first sequence from `from` on that matches. With wildcards it walks what does not match: callers remember how
    /// far it has looked, so that a message is looked at once.
    pub(super) fn next_matching(&self, filters: &Filters, from: u64) -> Option<u64> {
        if filters.literal {
            let next = |filter: &Filter| self.on_subject(filter.as_str())?.next(from);
            return filters.filters.iter().filter_map(next).min();
        }
        self.range(from).find(|(_, meta)| filters.matches(meta.subject)).map(|(seq, _)| seq)
    }

    /// The first sequence stored at this time or later. Clocks may step back, so times need not ascend: linear.
    pub(super) fn first_since(&self, start: Wall) -> Option<u64> {
        self.iter().find(|(_, meta)| meta.stored_at >= start).map(|(seq, _)| seq)
    }

    /// How many from `from` on match: linear, for creation and recovery.
    pub(super) fn count_matching(&self, filters: &Filters, from: u64) -> u64 {
        self.range(from).filter(|(_, meta)| filters.matches(meta.subject)).count() as u64
    }

    /// The last sequence of every subject that matches, in order.
    pub(super) fn last_per_subject(&self, filters: &Filters) -> BTreeSet<u64> {
        let matching = self.subjects().filter(|(subject, _)| filters.matches(subject));
        matching.filter_map(|(_, seqs)| seqs.last()).collect()
    }

    /// Adds a message behind the last one.
    pub(super) fn append(&mut self, seq: u64, meta: Meta) {
        debug_assert!(seq > self.last_seq, "{seq} is not behind {}", self.last_seq);
        self.bytes += self.bytes_of(meta.as_ref());
        self.last_seq = seq;
        self.last_at = Some(meta.stored_at);
        let Meta { subject, stored_at, header_bytes, payload_bytes } = meta;
        let subject = self.subjects.push(subject, seq);
        self.entries.push(seq, Entry { subject, header_bytes, payload_bytes, stored_at });
    }

    /// Removes a message, if it is there.
    pub(super) fn remove(&mut self, seq: u64) -> Option<Meta> {
        let entry = self.entries.remove(seq)?;
        let meta = Meta {
            subject: self.subjects.remove(entry.subject, seq),
            stored_at: entry.stored_at,
            header_bytes: entry.header_bytes,
            payload_bytes: entry.payload_bytes,
        };
        self.bytes -= self.bytes_of(meta.as_ref());
        Some(meta)
    }

    /// Lets the next message be stored behind this sequence, although the last one stored was another. `last_at` is when
    /// the one at that sequence was stored, if it is not there any more.
    pub(super) fn move_last(&mut self, last_seq: u64, last_at: Option<Wall>) {
        self.last_seq = last_seq;
        self.last_at = self.get(last_seq).map_or(last_at, |meta| Some(meta.stored_at));
    }
}
