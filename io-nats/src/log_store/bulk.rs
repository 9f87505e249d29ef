//! Where the rows of a bulk table are: some two bytes a row, found by prefix and number, in key order.
//!
//! A key of a bulk table ends in a big-endian number of eight bytes; what is before is its prefix. Rows of one prefix are
//! kept in chunks of 512 numbers, packed but the one that was put into last.
//!
//! ```text
//!  prefix ─► number / 512 ─► packed: slot, place, length        loose: ┌ 0110…1 ┐ ─► place, place, …
//! ```
//!
//! Any key is taken all the same: one that is too short, or whose prefix begins another or begins with another (then
//! order by prefix and number is not order by key), stands among the odd ones, with its whole key.
//!
//! Limits: rows that were written one after another cost one or two bytes, others up to 12; a chunk costs about 150 more,
//! the loose one up to 6 KiB.

mod chunk;

use chunk::{CHUNK, Chunk, Loose};
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// Where a value is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// Of the value itself, in its segment.
    pub(super) offset: u32,
    /// Its length.
    pub(super) bytes: u32,
}

const NUMBER_BYTES: usize = size_of::<u64>();

/// The rows of one prefix.
#[derive(Debug, Default)]
struct Run {
    chunks: BTreeMap<u64, Chunk>,
    /// The chunk that is not packed.
    loose: Option<u64>,
}

impl Run {
    fn put(&mut self, number: u64, place: Place) -> Option<Place> {
        let at = number / CHUNK;
        if self.loose != Some(at) {
            // One chunk at a time is loose: what is put into is mostly put into again.
            if let Some(Chunk::Loose(loose)) = self.loose.and_then(|at| self.chunks.get_mut(&at)) {
                let packed = Chunk::Packed(loose.pack());
                self.chunks.extend(self.loose.map(|at| (at, packed)));
            }
            self.loose = Some(at);
        }
        let chunk = self.chunks.entry(at).or_insert_with(|| Chunk::Loose(Loose::default()));
        chunk.loosened().set(slot(number), place)
    }

    fn remove(&mut self, number: u64) -> Option<Place> {
        let at = number / CHUNK;
        let chunk = self.chunks.get_mut(&at)?;
        let gone = chunk.remove(slot(number));
        if chunk.is_empty() {
            self.chunks.remove(&at);
        }
        gone
    }
}

/// The rows of a bulk table.
#[derive(Debug, Default)]
pub(super) struct Bulk {
    /// No prefix here begins with another.
    runs: BTreeMap<Vec<u8>, Run>,
    odd: BTreeMap<Vec<u8>, Place>,
}

fn split(key: &[u8]) -> Option<(&[u8], u64)> {
    let (prefix, number) = key.split_last_chunk::<NUMBER_BYTES>()?;
    Some((prefix, u64::from_be_bytes(*number)))
}

const fn slot(number: u64) -> usize {
    (number % CHUNK) as usize
}

impl Bulk {
    pub(super) fn get(&self, key: &[u8]) -> Option<Place> {
        let regular = split(key).and_then(|(prefix, number)| {
            self.runs.get(prefix)?.chunks.get(&(number / CHUNK))?.get(slot(number))
        });
        regular.or_else(|| self.odd.get(key).copied())
    }

    pub(super) fn put(&mut self, key: &[u8], place: Place) -> Option<Place> {
        if let Some(odd) = self.odd.get_mut(key) {
            return Some(std::mem::replace(odd, place));
        }
        let Some((prefix, number)) = split(key) else {
            return self.odd.insert(key.to_vec(), place);
        };
        if !self.runs.contains_key(prefix) {
            if self.crosses(prefix) {
                return self.odd.insert(key.to_vec(), place);
            }
            self.runs.insert(prefix.to_vec(), Run::default());
        }
        self.runs.get_mut(prefix)?.put(number, place)
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Place> {
        self.remove_regular(key).or_else(|| self.odd.remove(key))
    }

    fn remove_regular(&mut self, key: &[u8]) -> Option<Place> {
        let (prefix, number) = split(key)?;
        let run = self.runs.get_mut(prefix)?;
        let gone = run.remove(number);
        if run.chunks.is_empty() {
            self.runs.remove(prefix);
        }
        gone
    }

    /// Whether a new prefix begins another, or another begins it. Only its neighbours can: no prefix between two of
    /// which one begins the other begins with neither.
    fn crosses(&self, prefix: &[u8]) -> bool {
        let before = self.runs.range::<[u8], _>((Bound::Unbounded, Bound::Excluded(prefix))).next_back();
        let after = self.runs.range::<[u8], _>((Bound::Excluded(prefix), Bound::Unbounded)).next();
        before.is_some_and(|(before, _)| prefix.starts_with(before))
            || after.is_some_and(|(after, _)| after.starts_with(prefix))
    }

    /// Rows in key order from a key on, until `visit` breaks.
    pub(super) fn visit(
        &self,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], Place) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let mut odd = self.odd.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)).peekable();
        let mut key = Vec::new();
        // Of those before `from`, only one that begins it may still have rows behind it, and that is the last.
        let begun = self.runs.range::<[u8], _>((Bound::Unbounded, Bound::Included(from))).next_back();
        let start = begun.map_or(from, |(prefix, _)| prefix.as_slice());
        for (prefix, run) in self.runs.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)) {
            let Some(first) = first_number(prefix, from) else { continue };
            for (at, chunk) in run.chunks.range(first / CHUNK..) {
                let from_slot = if *at == first / CHUNK { slot(first) } else { 0 };
                for (slot, place) in chunk.from(from_slot) {
                    key.clear();
                    key.extend_from_slice(prefix);
                    key.extend_from_slice(&(at * CHUNK + slot as u64).to_be_bytes());
                    while let Some((odd_key, odd_place)) = odd.next_if(|(odd_key, _)| **odd_key < key) {
                        visit(odd_key, *odd_place)?;
                    }
                    visit(&key, place)?;
                }
            }
        }
        odd.try_for_each(|(key, place)| visit(key, *place))
    }

    /// What it takes in memory, in bytes, without what the trees add around their entries.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let chunk = |chunk: &Chunk| size_of::<(u64, Chunk)>() + chunk.heap_bytes();
        let run = |(prefix, run): (&Vec<u8>, &Run)| {
            prefix.capacity() + run.chunks.values().map(chunk).sum::<usize>()
        };
        let odd = |(key, _): (&Vec<u8>, &Place)| key.capacity() + size_of::<(Vec<u8>, Place)>();
        self.runs.iter().map(run).sum::<usize>() + self.odd.iter().map(odd).sum::<usize>()
    }
}

/// The first number of a prefix whose key is not before `from`.
fn first_number(prefix: &[u8], from: &[u8]) -> Option<u64> {
    if prefix >= from {
        return Some(0);
    }
    let rest = from.strip_prefix(prefix)?;
    let mut number = [0; NUMBER_BYTES];
    let own = rest.len().min(NUMBER_BYTES);
    number[..own].copy_from_slice(&rest[..own]);
    let number = u64::from_be_bytes(number);
    if rest.len() > NUMBER_BYTES { number.checked_add(1) } else { Some(number) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place(offset: u32) -> Place {
        Place { segment: 1, offset, bytes: 1 }
    }

    fn key(prefix: &[u8], number: u64) -> Vec<u8> {
        [prefix, &number.to_be_bytes()].concat()
    }

    fn rows(bulk: &Bulk, from: &[u8]) -> Vec<(Vec<u8>, Place)> {
        let mut out = Vec::new();
        let end = bulk.visit(from, &mut |key, place| {
            out.push((key.to_vec(), place));
            ControlFlow::Continue(())
        });
        assert_eq!(end, ControlFlow::Continue(()));
        out
    }

    #[test]
    fn a_million_rows_take_a_few_bytes_each() {
        // As they are written: now and then a record begins, and a segment.
        let place = |number: u64, noise: u64| Place {
            segment: (number / 200_000) as u32,
            offset: (number % 200_000 * 300 + number / 100 * 24 + noise) as u32,
            bytes: 280 + (noise % 8) as u32,
        };
        for (spread, each_max) in [(2, 2), (4000, 4)] {
            let mut bulk = Bulk::default();
            let noise = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & (spread - 1);
            for number in 1..=1_000_000 {
                assert_eq!(bulk.put(&key(b"orders:", number), place(number, noise(number))), None);
            }
            // A tree of 2,000 chunks is half full at worst.
            assert!(bulk.bytes() <= each_max * 1_000_000, "{}", bulk.bytes());
            for number in (1..=1_000_000).filter(|number| number % 10 != 0) {
                assert_eq!(bulk.remove(&key(b"orders:", number)), Some(place(number, noise(number))));
            }
            assert!(bulk.bytes() <= 4 * each_max * 100_000, "{}", bulk.bytes());
            for number in (1..=1_000_000).filter(|number| number % 10 == 0) {
                bulk.remove(&key(b"orders:", number));
            }
            assert_eq!(bulk.bytes(), 0);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_sorted_map(
            steps in prop::collection::vec((any_key(), 0..4_u8), 1..400),
            froms in prop::collection::vec(any_key(), 1..20),
        ) {
            let mut bulk = Bulk::default();
            let mut model = BTreeMap::new();
            for (at, (key, what)) in steps.into_iter().enumerate() {
                if what == 0 {
                    prop_assert_eq!(bulk.remove(&key), model.remove(&key));
                } else {
                    let place = place(at as u32);
                    prop_assert_eq!(bulk.put(&key, place), model.insert(key.clone(), place));
                }
                prop_assert_eq!(bulk.get(&key), model.get(&key).copied());
            }
            for from in froms {
                let expected: Vec<_> =
                    model.range(from.clone()..).map(|(key, place)| (key.clone(), *place)).collect();
                prop_assert_eq!(rows(&bulk, &from), expected);
            }
        }
    }

    /// Prefixes that begin each other, short keys, and numbers around the borders of chunks.
    fn any_key() -> impl Strategy<Value = Vec<u8>> {
        let number = prop_oneof![0..1600_u64, Just(u64::MAX), Just(u64::MAX - 1), any::<u64>()];
        let prefix = prop_oneof![
            3 => Just(b"a:".to_vec()),
            3 => Just(b"b:".to_vec()),
            1 => Just(b"a:\0".to_vec()),
            1 => Just(b"".to_vec()),
            1 => prop::collection::vec(any::<u8>(), 0..3),
        ];
        let regular = (prefix, number).prop_map(|(prefix, number)| key(&prefix, number));
        prop_oneof![8 => regular, 1 => prop::collection::vec(97..99_u8, 0..12)]
    }
}
