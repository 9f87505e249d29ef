//! Randomness from a seed: SplitMix64, whose whole state is one number.

/// A stream of random numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The stream of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own for some purpose: drawing more from one does not change the other.
    #[must_use]
    pub fn fork(&self, purpose: &str) -> Self {
        let mut state = self.0;
        for byte in purpose.bytes() {
            state = mix(state ^ u64::from(byte));
        }
        Self(state)
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`; zero when the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The bias of the remainder is irrelevant at the bounds used here.
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// A number from `low` to `high`, both included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Whether something that happens once in `n` times happens now; never for zero.
    pub fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }

    /// One of these.
    ///
    /// # Panics
    /// When there are none.
    pub fn pick<'i, T>(&mut self, items: &'i [T]) -> &'i T {
        assert!(!items.is_empty(), "nothing to pick from");
        let at = usize::try_from(self.below(items.len() as u64)).unwrap_or_default();
        &items[at]
    }
}

const fn mix(input: u64) -> u64 {
    let mut z = input;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_stream_and_forks_do_not_disturb_it() {
        let draw = |mut rng: Rng| (0..5).map(|_| rng.next_u64()).collect::<Vec<_>>();
        assert_eq!(draw(Rng::new(7)), draw(Rng::new(7)));
        assert_ne!(draw(Rng::new(7)), draw(Rng::new(8)));
        let rng = Rng::new(7);
        assert_ne!(draw(rng.fork("a")), draw(rng.fork("b")));
        assert_eq!(draw(rng), draw(Rng::new(7)));
    }

    #[test]
    fn bounds_hold_and_everything_within_them_occurs() {
        let mut rng = Rng::new(1);
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| rng.within(3, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(rng.below(0), 0);
        assert!(!rng.one_in(0) && rng.one_in(1));
    }
}
