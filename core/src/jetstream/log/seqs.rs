//! The sequences on one subject, ascending: a byte or three each while they are few, some bits once they are many.
//!
//! ```text
//!  One │ Few: gaps in bytes │ Many: packed blocks, none empty, each ends before the next begins │ the last ones in bytes
//! ```
//!
//! New ones come at the end; any may go. Limits: removal rewrites at most a block and moves the list of blocks.

use super::gaps::{GAPS_MAX, Gaps};
use crate::packed::Packed;
use std::collections::VecDeque;

type Block = Packed<1>;

/// Sequences in order.
#[derive(Clone, Debug)]
pub(in crate::jetstream) struct Seqs(Room);

#[derive(Clone, Debug)]
enum Room {
    One(u64),
    /// Two at least.
    Few(Gaps),
    Many(Box<Blocks>),
}

#[derive(Clone, Debug, Default)]
struct Blocks {
    packed: VecDeque<Block>,
    /// Behind all that are packed.
    open: Gaps,
    len: usize,
}

fn seqs(block: &Block, from: usize) -> impl DoubleEndedIterator<Item = u64> + '_ {
    block.left_in(from..block.len()).map(|row| block.number(row, 0))
}

fn pack(seqs: impl Iterator<Item = u64>) -> Block {
    Block::new(&seqs.map(|seq| [seq]).collect::<Vec<_>>())
}

impl Seqs {
    pub(super) const fn one(seq: u64) -> Self {
        Self(Room::One(seq))
    }

    pub(in crate::jetstream) fn len(&self) -> usize {
        match &self.0 {
            Room::One(_) => 1,
            Room::Few(few) => few.len(),
            Room::Many(blocks) => blocks.len,
        }
    }

    pub(in crate::jetstream) fn first(&self) -> Option<u64> {
        self.iter().next()
    }

    pub(in crate::jetstream) fn last(&self) -> Option<u64> {
        match &self.0 {
            Room::One(seq) => Some(*seq),
            Room::Few(few) => few.last(),
            Room::Many(blocks) => blocks.open.last().or_else(|| seqs(blocks.packed.back()?, 0).next_back()),
        }
    }

    pub(in crate::jetstream) fn iter(&self) -> impl Iterator<Item = u64> {
        let (one, few, many) = match &self.0 {
            Room::One(seq) => (Some(*seq), None, None),
            Room::Few(few) => (None, Some(few), None),
            Room::Many(blocks) => (None, Some(&blocks.open), Some(&blocks.packed)),
        };
        let packed = many.into_iter().flatten().flat_map(|block| seqs(block, 0));
        one.into_iter().chain(packed).chain(few.into_iter().flat_map(Gaps::iter))
    }

    /// The first from a sequence on.
    pub(in crate::jetstream) fn next(&self, from: u64) -> Option<u64> {
        match &self.0 {
            Room::One(seq) => Some(*seq).filter(|seq| *seq >= from),
            Room::Few(few) => few.next(from),
            Room::Many(blocks) => {
                let held = blocks.packed.range(blocks.holding(from)..);
                let mut packed = held.flat_map(|block| seqs(block, block.first_from(0, from)));
                packed.next().or_else(|| blocks.open.next(from))
            }
        }
    }

    /// The last up to a sequence.
    pub(in crate::jetstream) fn last_until(&self, seq: u64) -> Option<u64> {
        let few = |few: &Gaps| few.iter().take_while(|own| *own <= seq).last();
        match &self.0 {
            Room::One(own) => Some(*own).filter(|own| *own <= seq),
            Room::Few(gaps) => few(gaps),
            Room::Many(blocks) => few(&blocks.open).or_else(|| {
                let until = blocks.packed.len().min(blocks.holding(seq) + 1);
                let held = blocks.packed.range(..until).rev();
                held.flat_map(|block| seqs(block, 0).rev()).find(|own| *own <= seq)
            }),
        }
    }

    /// Adds one behind all others.
    pub(super) fn push(&mut self, seq: u64) {
        debug_assert!(self.last().is_none_or(|last| last < seq));
        match &mut self.0 {
            Room::One(first) => self.0 = Room::Few([*first, seq].into_iter().collect()),
            Room::Few(few) if few.len() < GAPS_MAX => few.push(seq),
            Room::Few(few) => {
                let mut blocks = Blocks { len: few.len(), open: std::mem::take(few), ..Blocks::default() };
                blocks.push(seq);
                self.0 = Room::Many(Box::new(blocks));
            }
            Room::Many(blocks) => blocks.push(seq),
        }
    }

    /// Removes one; `true` when none is left.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        match &mut self.0 {
            Room::One(own) => return *own == seq,
            Room::Few(few) => drop(few.remove(seq)),
            Room::Many(blocks) => {
                blocks.remove(seq);
                if blocks.len <= GAPS_MAX / 2 {
                    self.0 = Room::Few(self.iter().collect());
                }
            }
        }
        if let Room::Few(few) = &self.0
            && few.len() == 1
            && let Some(last) = few.last()
        {
            self.0 = Room::One(last);
        }
        false
    }

    /// What it takes besides itself, in bytes.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.0 {
            Room::One(_) => 0,
            Room::Few(few) => few.heap_bytes(),
            Room::Many(blocks) => {
                size_of::<Blocks>()
                    + blocks.open.heap_bytes()
                    + blocks.packed.capacity() * size_of::<Block>()
                    + blocks.packed.iter().map(Block::heap_bytes).sum::<usize>()
            }
        }
    }
}

impl Blocks {
    /// The packed block where a sequence is or would be.
    fn holding(&self, seq: u64) -> usize {
        let ends_before = |block: &Block| block.number(block.len() - 1, 0) < seq;
        self.packed.partition_point(ends_before)
    }

    fn push(&mut self, seq: u64) {
        if self.open.len() == GAPS_MAX {
            self.packed.push_back(pack(std::mem::take(&mut self.open).iter()));
        }
        self.open.push(seq);
        self.len += 1;
    }

    fn remove(&mut self, seq: u64) {
        if self.open.remove(seq) {
            self.len -= 1;
            return;
        }
        let at = self.holding(seq);
        let Some(block) = self.packed.get_mut(at) else { return };
        let row = block.first_from(0, seq);
        if block.number(row, 0) != seq || !block.remove(row) {
            return;
        }
        self.len -= 1;
        if block.left() == 0 {
            self.packed.remove(at);
        } else if block.is_worn() {
            let left = block.left();
            let joins = |next: &Block| left + next.left() <= GAPS_MAX / 2;
            let next =
                if self.packed.get(at + 1).is_some_and(joins) { self.packed.remove(at + 1) } else { None };
            let own = seqs(&self.packed[at], 0);
            self.packed[at] = pack(own.chain(next.iter().flat_map(|next| seqs(next, 0))));
        }
    }
}
