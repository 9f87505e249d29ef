//! Rows of numbers in few bits, packed once: what keeps to a line takes only how far it is off.
//!
//! ```text
//!  words   widths of all columns │ base and step of each │ row 0: how far off, column by column │ row 1 …
//!  number  base + row × step + how far off
//! ```
//!
//! Sequences, times and places in a file grow by nearly the same from row to row; sizes are nearly the same. So a column
//! has the line between its ends or a level one, whichever leaves less, and every row the same few bits; any row is read at
//! once. Numbers may be anything: one that keeps to no line takes its 64 bits.
//!
//! A row that is removed is only marked. Whoever owns the rows packs them again when they are
//! [worn](Packed::is_worn): so a removal costs little, and what is gone takes at most as much as what is there.
//!
//! Limits: [`ROWS_MAX`] rows, six columns. A packed row is never changed.

use std::ops::Range;

/// Most rows.
pub const ROWS_MAX: usize = 512;

const WORD: usize = u64::BITS as usize;
/// Widths take a byte each, and their sum two, in one word.
const COLUMNS_MAX: usize = 6;
const SUM_SHIFT: usize = 8 * COLUMNS_MAX;

/// Rows of `C` numbers.
#[derive(Clone, Debug)]
pub struct Packed<const C: usize> {
    words: Box<[u64]>,
    /// A bit for every row that was removed.
    gone: Option<Box<[u64; ROWS_MAX / WORD]>>,
    len: u16,
    left: u16,
}

/// What the numbers of a column have in common.
#[derive(Clone, Copy)]
struct Line {
    base: u64,
    step: u64,
    /// Bits for the number farthest off.
    width: u32,
}

impl Line {
    const fn at(self, row: usize) -> u64 {
        self.base.wrapping_add(self.step.wrapping_mul(row as u64))
    }

    /// With a given step; the base is chosen so that nothing is below the line.
    fn with_step(numbers: impl Iterator<Item = u64>, first: u64, step: u64) -> Self {
        let from_first = Self { base: first, step, width: 0 };
        let (mut lowest, mut highest) = (0, 0);
        for (row, number) in numbers.enumerate() {
            // The difference may be anything: what matters is that it is undone in the same way.
            let off = number.wrapping_sub(from_first.at(row)).cast_signed();
            lowest = lowest.min(off);
            highest = highest.max(off);
        }
        let spread = highest.wrapping_sub(lowest).cast_unsigned();
        Self { base: first.wrapping_add_signed(lowest), step, width: u64::BITS - spread.leading_zeros() }
    }

    fn of(numbers: impl DoubleEndedIterator<Item = u64> + ExactSizeIterator + Clone) -> Self {
        let (first, last) = (numbers.clone().next(), numbers.clone().next_back());
        let (first, last) = (first.unwrap_or_default(), last.unwrap_or_default());
        let steps = numbers.len().saturating_sub(1).max(1) as i64;
        let step = (last.wrapping_sub(first).cast_signed() / steps).cast_unsigned();
        let level = Self::with_step(numbers.clone(), first, 0);
        if step == 0 || level.width == 0 {
            return level;
        }
        let rising = Self::with_step(numbers, first, step);
        if rising.width < level.width { rising } else { level }
    }
}

impl<const C: usize> Packed<C> {
    /// Words before the first row.
    const HEADER: usize = 1 + 2 * C;

    /// Packs rows.
    ///
    /// # Panics
    /// When there are more than [`ROWS_MAX`].
    #[must_use]
    pub fn new(rows: &[[u64; C]]) -> Self {
        assert!(C <= COLUMNS_MAX && rows.len() <= ROWS_MAX, "{C} columns, {} rows", rows.len());
        let lines: [Line; C] = std::array::from_fn(|column| Line::of(rows.iter().map(|row| row[column])));
        let sum: usize = lines.iter().map(|line| line.width as usize).sum();
        let mut words = vec![0; Self::HEADER + (rows.len() * sum).div_ceil(WORD)].into_boxed_slice();
        words[0] = (sum as u64) << SUM_SHIFT;
        for (column, line) in lines.iter().enumerate() {
            words[0] |= u64::from(line.width) << (8 * column);
            words[1 + 2 * column] = line.base;
            words[2 + 2 * column] = line.step;
        }
        let mut at = Self::HEADER * WORD;
        for (row, numbers) in rows.iter().enumerate() {
            for (number, line) in numbers.iter().zip(&lines) {
                let off = number.wrapping_sub(line.at(row));
                let (word, shift) = (at / WORD, at % WORD);
                if line.width > 0 {
                    words[word] |= off << shift;
                    if shift + line.width as usize > WORD {
                        words[word + 1] |= off >> (WORD - shift);
                    }
                }
                at += line.width as usize;
            }
        }
        let len = rows.len() as u16;
        Self { words, gone: None, len, left: len }
    }

    /// How many there were when they were packed.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there never was one.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many are left.
    #[must_use]
    pub const fn left(&self) -> usize {
        self.left as usize
    }

    /// Whether it is time to pack what is left again.
    #[must_use]
    pub const fn is_worn(&self) -> bool {
        self.left * 2 <= self.len
    }

    /// Whether a row is left.
    #[must_use]
    pub fn has(&self, row: usize) -> bool {
        row < self.len() && self.gone.as_ref().is_none_or(|gone| gone[row / WORD] >> (row % WORD) & 1 == 0)
    }

    /// Removes a row; `false` if it is not there.
    pub fn remove(&mut self, row: usize) -> bool {
        let is_there = self.has(row);
        if is_there {
            self.gone.get_or_insert_default()[row / WORD] |= 1 << (row % WORD);
            self.left -= 1;
        }
        is_there
    }

    /// The rows of a range that are left.
    pub fn left_in(&self, range: Range<usize>) -> impl DoubleEndedIterator<Item = usize> + Clone {
        // What goes mostly goes from the front: whole words of it are passed over at once.
        let gone = |row: usize| self.gone.as_ref().map_or(0, |gone| gone[row / WORD] >> (row % WORD));
        let mut start = range.start;
        while start < range.end
            && let passed = gone(start).trailing_ones() as usize
            && passed > 0
        {
            start += passed;
        }
        (start..range.end).filter(|row| self.has(*row))
    }

    const fn width(&self, column: usize) -> usize {
        (self.words[0] >> (8 * column) & 0xff) as usize
    }

    const fn row_start(&self, row: usize) -> usize {
        Self::HEADER * WORD + row * (self.words[0] >> SUM_SHIFT) as usize
    }

    fn line(&self, column: usize, row: usize) -> u64 {
        Line { base: self.words[1 + 2 * column], step: self.words[2 + 2 * column], width: 0 }.at(row)
    }

    fn off(&self, at: usize, width: usize) -> u64 {
        if width == 0 {
            return 0;
        }
        let (word, shift) = (at / WORD, at % WORD);
        let low = self.words[word] >> shift;
        let all = if shift + width > WORD { low | self.words[word + 1] << (WORD - shift) } else { low };
        all & (u64::MAX >> (WORD - width))
    }

    /// A number, also of a row that was removed.
    #[must_use]
    pub fn number(&self, row: usize, column: usize) -> u64 {
        let before: usize = (0..column).map(|column| self.width(column)).sum();
        let off = self.off(self.row_start(row) + before, self.width(column));
        self.line(column, row).wrapping_add(off)
    }

    /// A row, also one that was removed.
    #[must_use]
    pub fn row(&self, row: usize) -> [u64; C] {
        let mut at = self.row_start(row);
        std::array::from_fn(|column| {
            let width = self.width(column);
            let off = self.off(at, width);
            at += width;
            self.line(column, row).wrapping_add(off)
        })
    }

    /// What is left, unpacked.
    #[must_use]
    pub fn unpacked(&self) -> Vec<[u64; C]> {
        let mut rows = Vec::with_capacity(ROWS_MAX);
        rows.extend(self.left_in(0..self.len()).map(|row| self.row(row)));
        rows
    }

    /// The first row, removed or not, whose number in a column that ascends is not below a bound.
    #[must_use]
    pub fn first_from(&self, column: usize, bound: u64) -> usize {
        let (mut from, mut to) = (0, self.len());
        // Mostly it is where it would be if no number were missing.
        if let Some(guess) = (to > 0).then(|| bound.wrapping_sub(self.number(0, column)))
            && guess < to as u64
            && self.number(guess as usize, column) == bound
        {
            return guess as usize;
        }
        while from < to {
            let middle = usize::midpoint(from, to);
            if self.number(middle, column) < bound {
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        from
    }

    /// What it takes besides itself, in bytes.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        size_of_val(&*self.words) + self.gone.as_ref().map_or(0, |gone| size_of_val(&**gone))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_number() -> impl Strategy<Value = u64> {
        prop_oneof![0..4_u64, 0..100_000_u64, any::<u64>(), Just(u64::MAX), Just(1 << 63)]
    }

    /// Numbers that mostly grow by the same, and some that do not.
    fn any_rows() -> impl Strategy<Value = Vec<[u64; 3]>> {
        let row = (any_number(), 0..3_u64, prop_oneof![9 => Just(0), 1 => any_number()]);
        (any_number(), any::<u64>(), prop::collection::vec(row, 0..ROWS_MAX)).prop_map(
            |(start, step, rows)| {
                let row = |(at, (any, near, stray)): (usize, &(u64, u64, u64))| {
                    let line = start.wrapping_add(step.wrapping_mul(at as u64));
                    [*any, line.wrapping_add(*near).wrapping_add(*stray), 7]
                };
                rows.iter().enumerate().map(row).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_packed_is_what_was_given(rows in any_rows(), gone in prop::collection::vec(0..ROWS_MAX, 0..40)) {
            let mut packed = Packed::new(&rows);
            prop_assert_eq!(packed.unpacked(), rows.clone());
            let mut left: std::collections::BTreeSet<usize> = (0..rows.len()).collect();
            for row in gone {
                prop_assert_eq!(packed.remove(row), left.remove(&row));
            }
            prop_assert!(packed.left_in(0..rows.len()).eq(left.iter().copied()));
            prop_assert!(packed.left_in(0..rows.len()).rev().eq(left.iter().rev().copied()));
            prop_assert_eq!((packed.left(), packed.is_worn()), (left.len(), left.len() * 2 <= rows.len()));
            for (at, row) in rows.iter().enumerate() {
                prop_assert_eq!(&packed.row(at), row);
                for (column, number) in row.iter().enumerate() {
                    prop_assert_eq!(packed.number(at, column), *number);
                }
            }
        }

        #[test]
        fn rows_are_found_where_they_would_stand(gaps in prop::collection::vec(0..5_u64, 1..ROWS_MAX), bound in 0..1200_u64) {
            let numbers: Vec<u64> =
                gaps.iter().scan(0, |last, gap| { *last += gap.saturating_sub(2) + 1; Some(*last) }).collect();
            let packed = Packed::new(&numbers.iter().map(|number| [*number]).collect::<Vec<_>>());
            prop_assert_eq!(packed.first_from(0, bound), numbers.partition_point(|number| *number < bound));
        }
    }

    #[test]
    fn what_keeps_to_a_line_takes_nothing_and_what_is_near_it_little() {
        let bytes = |number: &dyn Fn(u64) -> u64| {
            let rows: Vec<[u64; 1]> = (0..ROWS_MAX as u64).map(|at| [number(at)]).collect();
            Packed::new(&rows).heap_bytes()
        };
        let header = 3 * size_of::<u64>();
        assert_eq!(bytes(&|_| 1 << 60), header);
        assert_eq!(bytes(&|at| (1 << 60) + at * 281), header);
        assert_eq!(bytes(&|at| (1 << 60) - at * 281), header, "it may fall");
        assert_eq!(bytes(&|at| (1 << 60) + at * 281 + at % 2), header + ROWS_MAX / 8);
        assert_eq!(bytes(&|at| (at * at).wrapping_mul(0x9e37_79b9_7f4a_7c15)), header + ROWS_MAX * 8);
    }
}
