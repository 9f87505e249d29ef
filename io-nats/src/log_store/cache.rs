//! What is in memory of the log: what was written last, and what was read last, each within a bound of bytes.
//!
//! - A commit's record stays as it was written, shared, not copied: consumers mostly read what was just stored.
//! - A miss reads what was asked for; one that goes on behind an earlier read takes more, for readers in sequence.
//! - [`Pins`] keep alive what a transaction was given.

use super::bulk::Place;
use super::format::Position;
use std::cell::{Cell, OnceCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// How far behind an earlier read a miss still counts as going on: other streams' messages lie between.
const GAP_BYTES: u32 = 64 << 10;
/// What a reader in sequence gets at once.
const READ_AHEAD_BYTES: u32 = 128 << 10;
/// What any other reader gets at least.
const READ_BYTES: u32 = 4 << 10;

/// Bytes of the log.
pub(super) type Bytes = Arc<Vec<u8>>;

#[derive(Debug)]
struct Chunk {
    bytes: Bytes,
    /// Read again since the clock's hand passed.
    used: Cell<bool>,
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    /// Commits, oldest first; positions rise.
    written: VecDeque<(Position, Bytes)>,
    written_bytes: usize,
    written_bytes_max: usize,
    /// Reads, by where they begin.
    chunks: BTreeMap<Position, Chunk>,
    /// The same, in the order in which they may go.
    clock: VecDeque<Position>,
    chunk_bytes: usize,
    chunk_bytes_max: usize,
}

impl Cache {
    pub(super) fn new(written_bytes_max: usize, chunk_bytes_max: usize) -> Self {
        Self {
            written: VecDeque::new(),
            written_bytes: 0,
            written_bytes_max,
            chunks: BTreeMap::new(),
            clock: VecDeque::new(),
            chunk_bytes: 0,
            chunk_bytes_max,
        }
    }

    /// A record was committed.
    pub(super) fn written(&mut self, at: Position, record: Vec<u8>) {
        self.written_bytes += record.capacity();
        self.written.push_back((at, Arc::new(record)));
        while self.written_bytes > self.written_bytes_max
            && let Some((_, gone)) = self.written.pop_front()
        {
            self.written_bytes -= gone.capacity();
        }
    }

    /// The bytes that hold a value, and where in them it begins.
    pub(super) fn get(&self, place: Place) -> Option<(Bytes, usize)> {
        let at = Position { segment: place.segment, offset: place.offset };
        let within = |begin: Position, bytes: &Bytes| {
            let start = (place.offset - begin.offset) as usize;
            (start + place.bytes as usize <= bytes.len()).then(|| (Arc::clone(bytes), start))
        };
        if self.written.front().is_some_and(|(begin, _)| *begin <= at) {
            let behind = self.written.partition_point(|(begin, _)| *begin <= at);
            let (begin, bytes) = &self.written[behind - 1];
            if begin.segment == place.segment
                && let Some(found) = within(*begin, bytes)
            {
                return Some(found);
            }
        }
        let (begin, chunk) = self.chunks.range(..=at).next_back()?;
        if begin.segment != place.segment {
            return None;
        }
        chunk.used.set(true);
        within(*begin, &chunk.bytes)
    }

    /// How much to read for a value that is not here.
    pub(super) fn read_bytes(&self, place: Place) -> u32 {
        let at = Position { segment: place.segment, offset: place.offset };
        let before = self.chunks.range(..=at).next_back();
        let goes_on = before.is_some_and(|(begin, chunk)| {
            begin.segment == place.segment
                && place.offset.saturating_sub(begin.offset + chunk.bytes.len() as u32) <= GAP_BYTES
        });
        place.bytes.max(if goes_on { READ_AHEAD_BYTES } else { READ_BYTES })
    }

    /// Something was read.
    pub(super) fn read(&mut self, at: Position, bytes: &Bytes) {
        let end = Position { offset: at.offset + bytes.len() as u32, ..at };
        let covered: Vec<Position> = (self.chunks.range(at..end))
            .filter(|(begin, chunk)| **begin == at || begin.offset + chunk.bytes.len() as u32 <= end.offset)
            .map(|(begin, _)| *begin)
            .collect();
        for begin in covered {
            self.forget(begin);
        }
        self.chunk_bytes += bytes.capacity();
        self.chunks.insert(at, Chunk { bytes: Arc::clone(bytes), used: Cell::new(false) });
        self.clock.push_back(at);
        while self.chunk_bytes > self.chunk_bytes_max
            && let Some(begin) = self.clock.pop_front()
        {
            let Some(chunk) = self.chunks.get(&begin) else { continue };
            if chunk.used.take() {
                self.clock.push_back(begin);
            } else {
                self.forget(begin);
            }
        }
    }

    fn forget(&mut self, begin: Position) {
        if let Some(chunk) = self.chunks.remove(&begin) {
            self.chunk_bytes -= chunk.bytes.capacity();
        }
        if self.clock.len() > 2 * self.chunks.len() + 16 {
            self.clock.retain(|begin| self.chunks.contains_key(begin));
        }
    }

    /// A segment is gone.
    pub(super) fn forget_segment(&mut self, segment: u32) {
        let behind = Position { segment: segment + 1, offset: 0 };
        let of_it: Vec<Position> =
            self.chunks.range(Position { segment, offset: 0 }..behind).map(|(begin, _)| *begin).collect();
        for begin in of_it {
            self.forget(begin);
        }
        while self.written.front().is_some_and(|(begin, _)| *begin < behind)
            && let Some((_, gone)) = self.written.pop_front()
        {
            self.written_bytes -= gone.capacity();
        }
    }

    /// What it holds, in bytes.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.written_bytes + self.chunk_bytes
    }
}

const BUCKETS: usize = 28;
const BUCKET: usize = 8;

/// Grows and never moves: what it was given can be borrowed as long as itself, while more is added.
#[derive(Debug, Default)]
pub(super) struct Pins {
    /// Each twice as large as the one before.
    buckets: [OnceCell<Box<[OnceCell<Bytes>]>>; BUCKETS],
    len: Cell<usize>,
}

impl Pins {
    pub(super) fn keep(&self, bytes: Bytes) -> &[u8] {
        let at = self.len.get();
        self.len.set(at + 1);
        let bucket = (at / BUCKET + 1).ilog2();
        let slot = at - BUCKET * ((1 << bucket) - 1);
        let room = || (0..BUCKET << bucket).map(|_| OnceCell::new()).collect();
        self.buckets[bucket as usize].get_or_init(room)[slot].get_or_init(|| bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn place(segment: u32, offset: u32, bytes: u32) -> Place {
        Place { segment, offset, bytes }
    }

    const fn at(segment: u32, offset: u32) -> Position {
        Position { segment, offset }
    }

    #[test]
    fn pins_hold_still() {
        let pins = Pins::default();
        let kept: Vec<&[u8]> = (0..1000_u32).map(|n| pins.keep(Arc::new(n.to_be_bytes().to_vec()))).collect();
        for (n, bytes) in kept.iter().enumerate() {
            assert_eq!(*bytes, (n as u32).to_be_bytes());
        }
    }

    #[test]
    fn what_was_written_is_found_until_newer_pushes_it_out() {
        let mut cache = Cache::new(250, 0);
        cache.written(at(1, 100), vec![1; 100]);
        cache.written(at(1, 200), vec![2; 100]);
        let (bytes, start) = cache.get(place(1, 210, 90)).expect("found");
        assert_eq!((bytes[start], start), (2, 10));
        assert!(cache.get(place(1, 99, 1)).is_none());
        assert!(cache.get(place(1, 250, 51)).is_none(), "not whole");
        cache.written(at(2, 100), vec![3; 100]);
        assert!(cache.get(place(1, 100, 1)).is_none());
        assert!(cache.get(place(1, 300, 1)).is_none(), "in no record, although one is before");
        assert!(cache.get(place(1, 200, 1)).is_some() && cache.get(place(2, 100, 1)).is_some());
        cache.forget_segment(1);
        assert!(cache.get(place(1, 200, 1)).is_none() && cache.get(place(2, 100, 1)).is_some());
        assert_eq!(cache.bytes(), 100);
    }

    #[test]
    fn reads_stay_within_their_bound_and_those_used_stay_longer() {
        let mut cache = Cache::new(0, 300);
        for n in 0..3 {
            cache.read(at(1, n * 1000), &Arc::new(vec![n as u8; 100]));
        }
        assert!(cache.get(place(1, 0, 100)).is_some());
        cache.read(at(1, 5000), &Arc::new(vec![5; 100]));
        assert!(cache.get(place(1, 0, 100)).is_some(), "it was used");
        assert!(cache.get(place(1, 1000, 100)).is_none(), "it was not");
        assert_eq!(cache.bytes(), 300);
        for n in 0..1000 {
            cache.read(at(2, n * 10), &Arc::new(vec![0; 100]));
        }
        assert_eq!(cache.bytes(), 300);
        assert!(cache.clock.len() < 100, "{}", cache.clock.len());
        cache.forget_segment(2);
        assert_eq!(cache.bytes(), 0);
    }

    #[test]
    fn a_reader_in_sequence_gets_more() {
        let mut cache = Cache::new(0, 1 << 20);
        assert_eq!(cache.read_bytes(place(1, 0, 10)), READ_BYTES);
        cache.read(at(1, 0), &Arc::new(vec![0; READ_BYTES as usize]));
        assert_eq!(cache.read_bytes(place(1, READ_BYTES + 10, 10)), READ_AHEAD_BYTES);
        assert_eq!(cache.read_bytes(place(1, 10 << 20, 10)), READ_BYTES);
        assert_eq!(cache.read_bytes(place(2, READ_BYTES, 10)), READ_BYTES);
        assert_eq!(cache.read_bytes(place(1, 0, 1 << 20)), 1 << 20);
    }
}
