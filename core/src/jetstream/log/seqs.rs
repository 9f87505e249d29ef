//! The sequences on one subject, ascending: 8 bytes each, whether they are one or a million.
//!
//! ```text
//!  One │ Few, in one block │ Many, in blocks: no block empty, each ends before the next begins
//! ```
//!
//! New ones come at the end; any may go. Limits: removal moves at most a block and the list of blocks.

use std::collections::VecDeque;

const BLOCK: usize = 128;

/// Sequences in order.
#[derive(Clone, Debug)]
pub(in crate::jetstream) struct Seqs(Room);

#[derive(Clone, Debug)]
enum Room {
    One(u64),
    Few(Vec<u64>),
    Many(Box<Blocks>),
}

#[derive(Clone, Debug)]
struct Blocks {
    list: VecDeque<Vec<u64>>,
    len: usize,
}

impl Seqs {
    pub(super) const fn one(seq: u64) -> Self {
        Self(Room::One(seq))
    }

    fn blocks(&self) -> impl DoubleEndedIterator<Item = &[u64]> {
        let (own, many) = match &self.0 {
            Room::One(seq) => (Some(std::slice::from_ref(seq)), None),
            Room::Few(seqs) => (Some(seqs.as_slice()), None),
            Room::Many(blocks) => (None, Some(blocks.list.iter().map(Vec::as_slice))),
        };
        own.into_iter().chain(many.into_iter().flatten())
    }

    pub(in crate::jetstream) fn len(&self) -> usize {
        match &self.0 {
            Room::One(_) => 1,
            Room::Few(seqs) => seqs.len(),
            Room::Many(blocks) => blocks.len,
        }
    }

    pub(in crate::jetstream) fn first(&self) -> Option<u64> {
        self.blocks().next()?.first().copied()
    }

    pub(in crate::jetstream) fn last(&self) -> Option<u64> {
        self.blocks().next_back()?.last().copied()
    }

    pub(in crate::jetstream) fn iter(&self) -> impl Iterator<Item = u64> {
        self.blocks().flatten().copied()
    }

    /// The first from a sequence on.
    pub(in crate::jetstream) fn next(&self, from: u64) -> Option<u64> {
        let behind = |block: &[u64]| block.get(block.partition_point(|seq| *seq < from)).copied();
        match &self.0 {
            Room::One(seq) => Some(*seq).filter(|seq| *seq >= from),
            Room::Few(seqs) => behind(seqs),
            Room::Many(blocks) => behind(blocks.list.get(blocks.holding(from))?),
        }
    }

    /// The last up to a sequence.
    pub(in crate::jetstream) fn last_until(&self, seq: u64) -> Option<u64> {
        let before = |block: &[u64]| Some(block[block.partition_point(|own| *own <= seq).checked_sub(1)?]);
        match &self.0 {
            Room::One(own) => Some(*own).filter(|own| *own <= seq),
            Room::Few(seqs) => before(seqs),
            Room::Many(blocks) => {
                let at = blocks.holding(seq);
                let held = blocks.list.get(at).and_then(|block| before(block));
                held.or_else(|| before(blocks.list.get(at.checked_sub(1)?)?))
            }
        }
    }

    /// Adds one behind all others.
    pub(super) fn push(&mut self, seq: u64) {
        debug_assert!(self.last().is_none_or(|last| last < seq));
        match &mut self.0 {
            Room::One(first) => self.0 = Room::Few(vec![*first, seq]),
            Room::Few(seqs) if seqs.len() < BLOCK => seqs.push(seq),
            Room::Few(seqs) => {
                let list = VecDeque::from([std::mem::take(seqs), vec![seq]]);
                self.0 = Room::Many(Box::new(Blocks { list, len: BLOCK + 1 }));
            }
            Room::Many(blocks) => blocks.push(seq),
        }
    }

    /// Removes one; `true` when none is left.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        match &mut self.0 {
            Room::One(own) => return *own == seq,
            Room::Few(seqs) => drop(remove(seqs, seq)),
            Room::Many(blocks) => {
                blocks.remove(seq);
                if blocks.list.len() == 1
                    && let Some(seqs) = blocks.list.pop_front()
                {
                    self.0 = Room::Few(seqs);
                }
            }
        }
        if let Room::Few(seqs) = &self.0
            && let [last] = seqs[..]
        {
            self.0 = Room::One(last);
        }
        false
    }

    /// What it takes besides itself, in bytes.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let block = |block: &Vec<u64>| block.capacity() * size_of::<u64>();
        match &self.0 {
            Room::One(_) => 0,
            Room::Few(seqs) => block(seqs),
            Room::Many(blocks) => {
                size_of::<Blocks>()
                    + blocks.list.capacity() * size_of::<Vec<u64>>()
                    + blocks.list.iter().map(block).sum::<usize>()
            }
        }
    }
}

impl Blocks {
    /// The block where a sequence is or would be.
    fn holding(&self, seq: u64) -> usize {
        self.list.partition_point(|block| block.last().is_some_and(|last| *last < seq))
    }

    fn push(&mut self, seq: u64) {
        self.len += 1;
        match self.list.back_mut().filter(|block| block.len() < BLOCK) {
            Some(block) => block.push(seq),
            None => self.list.push_back(vec![seq]),
        }
    }

    fn remove(&mut self, seq: u64) {
        let at = self.holding(seq);
        let Some(block) = self.list.get_mut(at) else { return };
        self.len -= usize::from(remove(block, seq));
        let left = block.len();
        let joins = self.list.get(at + 1).is_some_and(|next| left + next.len() <= BLOCK / 2);
        if left == 0 {
            self.list.remove(at);
        } else if joins && let Some(next) = self.list.remove(at + 1) {
            self.list[at].extend_from_slice(&next);
        }
    }
}

fn remove(seqs: &mut Vec<u64>, seq: u64) -> bool {
    let Ok(at) = seqs.binary_search(&seq) else { return false };
    seqs.remove(at);
    if seqs.len() * 4 <= seqs.capacity() {
        seqs.shrink_to(seqs.len() * 2);
    }
    true
}
