//! When to try again: exponential backoff with full jitter, as a pure function.
//!
//! The jitter comes from a seed and the attempt, so a run can be repeated; two partitions with different seeds do not
//! knock at the same time.

/// How long to wait before an attempt, in milliseconds: somewhere in `1..=min(max, base × 2^(attempt − 1))`.
///
/// `attempt` counts from one: the first *repetition*.
#[must_use]
pub const fn full_jitter_ms(attempt: u32, base_ms: u64, max_ms: u64, seed: u64) -> u64 {
    let doublings = if attempt == 0 { 0 } else { attempt - 1 };
    let ceiling = if doublings >= 32 { max_ms } else { min(base_ms.saturating_mul(1 << doublings), max_ms) };
    if ceiling == 0 {
        return 1;
    }
    1 + mix(seed ^ (attempt as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)) % ceiling
}

const fn min(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
pub(crate) const fn mix(input: u64) -> u64 {
    let mut z = input.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_stay_bounded_and_differ_between_seeds() {
        for seed in 0..200 {
            assert!((1..=100).contains(&full_jitter_ms(1, 100, 5_000, seed)));
            assert!((1..=400).contains(&full_jitter_ms(3, 100, 5_000, seed)));
            assert!((1..=5_000).contains(&full_jitter_ms(u32::MAX, 100, 5_000, seed)));
        }
        let average =
            |attempt| (0..500).map(|seed| full_jitter_ms(attempt, 100, 100_000, seed)).sum::<u64>() / 500;
        assert!(average(5) > 4 * average(2));
        assert_eq!(full_jitter_ms(1, 0, 0, 7), 1);
        assert_eq!(full_jitter_ms(4, 100, 5_000, 7), full_jitter_ms(4, 100, 5_000, 7));
        assert_ne!(full_jitter_ms(4, 100, 5_000, 7), full_jitter_ms(4, 100, 5_000, 8));
    }
}
