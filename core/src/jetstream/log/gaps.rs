//! A few ascending sequences in bytes: the last one, how many, and then the first and how far it is to each next.
//!
//! ```text
//!  last 8 │ how many 2 │ first │ gap │ gap …        seven bits a byte, the lowest first; the eighth says that more follow
//! ```
//!
//! Limits: [`GAPS_MAX`]; whoever looks for one passes those before it.

/// Most of them.
pub(super) const GAPS_MAX: usize = 256;

const LAST: usize = size_of::<u64>();
const HEAD: usize = LAST + size_of::<u16>();
/// It grows by so much, so that little of it is room for more.
const ROOM: usize = 16;

/// Ascending sequences.
#[derive(Clone, Debug, Default)]
pub(super) struct Gaps(Vec<u8>);

/// Takes a gap off the front.
fn take(bytes: &mut &[u8]) -> Option<u64> {
    let (mut gap, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        gap |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(gap);
        }
        shift += 7;
    }
}

/// The bytes of a gap.
fn encoded(mut gap: u64) -> impl Iterator<Item = u8> {
    let mut is_over = false;
    std::iter::from_fn(move || {
        let byte = (gap & 0x7f) as u8;
        gap >>= 7;
        (!std::mem::replace(&mut is_over, gap == 0)).then_some(if gap == 0 { byte } else { byte | 0x80 })
    })
}

impl Gaps {
    pub(super) fn len(&self) -> usize {
        self.0.get(LAST..HEAD).map_or(0, |len| u16::from_le_bytes([len[0], len[1]]).into())
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.0.first_chunk().map(|last| u64::from_le_bytes(*last))
    }

    fn gaps(&self) -> &[u8] {
        self.0.get(HEAD..).unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let (mut rest, mut seq) = (self.gaps(), 0);
        std::iter::from_fn(move || {
            seq += take(&mut rest)?;
            Some(seq)
        })
    }

    /// The first from a sequence on.
    pub(super) fn next(&self, from: u64) -> Option<u64> {
        self.last().filter(|last| *last >= from)?;
        self.iter().find(|seq| *seq >= from)
    }

    fn end_with(&mut self, last: u64, len: usize) {
        self.0[..LAST].copy_from_slice(&last.to_le_bytes());
        self.0[LAST..HEAD].copy_from_slice(&(len as u16).to_le_bytes());
    }

    /// Adds one behind all others.
    pub(super) fn push(&mut self, seq: u64) {
        let (len, gap) = (self.len() + 1, seq - self.last().unwrap_or(0));
        if self.0.is_empty() {
            self.0.reserve_exact(ROOM);
            self.0.resize(HEAD, 0);
        }
        for byte in encoded(gap) {
            if self.0.len() == self.0.capacity() {
                self.0.reserve_exact(ROOM);
            }
            self.0.push(byte);
        }
        self.end_with(seq, len);
    }

    /// Removes one; `false` if it is not there.
    pub(super) fn remove(&mut self, seq: u64) -> bool {
        let (mut rest, mut before) = (self.gaps(), 0);
        loop {
            let start = self.0.len() - rest.len();
            let Some(gap) = take(&mut rest) else { return false };
            if before + gap < seq {
                before += gap;
                continue;
            }
            if before + gap > seq {
                return false;
            }
            let (last, len) = (self.last().unwrap_or(0), self.len() - 1);
            // The next one is as far from the one before as both gaps.
            match take(&mut rest) {
                Some(next) => {
                    let end = self.0.len() - rest.len();
                    self.0.splice(start..end, encoded(gap + next));
                    self.end_with(last, len);
                }
                None if len == 0 => *self = Self::default(),
                None => {
                    self.0.truncate(start);
                    self.end_with(before, len);
                }
            }
            if self.0.capacity() > 2 * (self.0.len() + ROOM) {
                self.0.shrink_to_fit();
            }
            return true;
        }
    }

    /// What it takes besides itself, in bytes.
    #[cfg(test)]
    pub(super) const fn heap_bytes(&self) -> usize {
        self.0.capacity()
    }
}

impl FromIterator<u64> for Gaps {
    fn from_iter<I: IntoIterator<Item = u64>>(seqs: I) -> Self {
        let mut own = Self::default();
        for seq in seqs {
            own.push(seq);
        }
        own
    }
}
