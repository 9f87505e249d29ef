//! The rows of 512 numbers: packed, or loose while they are put into.

use super::Place;
use cloudlysis_core::packed::{Packed, ROWS_MAX};

/// How many numbers.
pub(super) const CHUNK: u64 = ROWS_MAX as u64;
const WORD: usize = u64::BITS as usize;

/// The column of the slot: it ascends.
const SLOT: usize = 0;

/// Slot, segment and offset as one number, length.
type Row = [u64; 3];

const fn row(slot: usize, place: Place) -> Row {
    [slot as u64, (place.segment as u64) << 32 | place.offset as u64, place.bytes as u64]
}

const fn parsed([slot, position, bytes]: Row) -> (usize, Place) {
    let (segment, offset) = ((position >> 32) as u32, position as u32);
    (slot as usize, Place { segment, offset, bytes: bytes as u32 })
}

/// The rows of 512 numbers.
#[derive(Debug)]
pub(super) enum Chunk {
    Packed(Packed<3>),
    Loose(Loose),
}

impl Chunk {
    pub(super) fn get(&self, slot: usize) -> Option<Place> {
        match self {
            Self::Packed(packed) => find(packed, slot).map(|at| parsed(packed.row(at)).1),
            Self::Loose(loose) => loose.get(slot),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::Packed(packed) => packed.left() == 0,
            Self::Loose(loose) => loose.places.is_empty(),
        }
    }

    /// Itself, to be put into.
    pub(super) fn loosened(&mut self) -> &mut Loose {
        if let Self::Packed(packed) = self {
            let mut loose = Loose::default();
            for (slot, place) in packed.unpacked().into_iter().map(parsed) {
                loose.set(slot, place);
            }
            *self = Self::Loose(loose);
        }
        match self {
            Self::Loose(loose) => loose,
            Self::Packed(_) => unreachable!("it was loosened"),
        }
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Place> {
        let packed = match self {
            Self::Packed(packed) => packed,
            Self::Loose(loose) => return loose.remove(slot),
        };
        let at = find(packed, slot)?;
        let gone = parsed(packed.row(at)).1;
        packed.remove(at);
        if packed.is_worn() {
            *packed = Packed::new(&packed.unpacked());
        }
        Some(gone)
    }

    /// What is there from a slot on.
    pub(super) fn from(&self, slot: usize) -> impl Iterator<Item = (usize, Place)> + '_ {
        let (packed, loose) = match self {
            Self::Packed(packed) => (Some(packed), None),
            Self::Loose(loose) => (None, Some(loose)),
        };
        let packed = packed.into_iter().flat_map(move |packed| {
            let rows = packed.left_in(packed.first_from(SLOT, slot as u64)..packed.len());
            rows.map(|at| parsed(packed.row(at)))
        });
        packed.chain(loose.into_iter().flat_map(move |loose| loose.from(slot)))
    }

    /// What it takes besides itself, in bytes.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        match self {
            Self::Packed(packed) => packed.heap_bytes(),
            Self::Loose(loose) => size_of_val(&*loose.present) + loose.places.capacity() * size_of::<Place>(),
        }
    }
}

/// The row of a slot.
fn find(packed: &Packed<3>, slot: usize) -> Option<usize> {
    let row = packed.first_from(SLOT, slot as u64);
    (packed.has(row) && packed.number(row, SLOT) == slot as u64).then_some(row)
}

/// A bitmap says which are there, their places stand behind each other.
#[derive(Debug, Default)]
pub(super) struct Loose {
    present: Box<[u64; ROWS_MAX / WORD]>,
    places: Vec<Place>,
}

impl Loose {
    fn has(&self, slot: usize) -> bool {
        self.present[slot / WORD] >> (slot % WORD) & 1 == 1
    }

    /// How many before it are there.
    fn rank(&self, slot: usize) -> usize {
        let (word, bit) = (slot / WORD, slot % WORD);
        let whole: u32 = self.present[..word].iter().map(|word| word.count_ones()).sum();
        (whole + (self.present[word] & ((1 << bit) - 1)).count_ones()) as usize
    }

    fn get(&self, slot: usize) -> Option<Place> {
        self.has(slot).then(|| self.places[self.rank(slot)])
    }

    pub(super) fn set(&mut self, slot: usize, place: Place) -> Option<Place> {
        let rank = self.rank(slot);
        if self.has(slot) {
            return Some(std::mem::replace(&mut self.places[rank], place));
        }
        self.present[slot / WORD] |= 1 << (slot % WORD);
        self.places.insert(rank, place);
        None
    }

    fn remove(&mut self, slot: usize) -> Option<Place> {
        if !self.has(slot) {
            return None;
        }
        let gone = self.places.remove(self.rank(slot));
        self.present[slot / WORD] &= !(1 << (slot % WORD));
        if self.places.len() * 2 <= self.places.capacity() {
            self.places.shrink_to(self.places.len() * 5 / 4);
        }
        Some(gone)
    }

    fn from(&self, slot: usize) -> impl Iterator<Item = (usize, Place)> + '_ {
        let rank = self.rank(slot);
        let slots = (slot..ROWS_MAX).filter(|slot| self.has(*slot));
        slots.zip(self.places[rank..].iter().copied())
    }

    pub(super) fn pack(&self) -> Packed<3> {
        Packed::new(&self.from(0).map(|(slot, place)| row(slot, place)).collect::<Vec<_>>())
    }
}
