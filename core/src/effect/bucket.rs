//! A bucket of permits to begin a call, filled at a rate: kept as the moment at which it is full again.
//!
//! Every call moves that moment by the time one permit takes; one may begin while no more than a burst is missing. So in
//! no second begin more than `per_second + burst - 1`. Whole nanoseconds of the monotonic clock, rounded up: a rate is
//! never exceeded, and undercut by one part in 100,000 at most.
//!
//! A bucket begins empty: what an earlier life, or an earlier bucket of the same key, gave away is not known.

use crate::manifest::Rate;
use crate::time::Mono;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Bucket {
    /// How long one permit takes, in nanoseconds.
    interval_ns: u64,
    burst: u64,
    full_at: Mono,
}

impl Bucket {
    /// An empty one.
    pub(super) const fn new(rate: Rate, now: Mono) -> Self {
        let interval_ns = 1_000_000_000_u64.div_ceil(rate.per_second);
        let full_at = Mono::from_ns(now.as_ns().saturating_add(interval_ns.saturating_mul(rate.burst)));
        Self { interval_ns, burst: rate.burst, full_at }
    }

    /// When it is full, if nothing is taken.
    pub(super) const fn full_at(&self) -> Mono {
        self.full_at
    }

    /// When there is something to take.
    pub(super) const fn opens_at(&self) -> Mono {
        Mono::from_ns(self.full_at.as_ns().saturating_sub(self.interval_ns * (self.burst - 1)))
    }

    /// A call begins.
    pub(super) fn take(&mut self, now: Mono) {
        self.full_at = Mono::from_ns(self.full_at.max(now).as_ns().saturating_add(self.interval_ns));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS_NS: u64 = 1_000_000;

    #[test]
    fn it_begins_empty_and_fills_up_to_a_burst() {
        let rate = Rate { per_second: 10, burst: 3 };
        let mut bucket = Bucket::new(rate, Mono::ZERO);
        assert_eq!((bucket.opens_at(), bucket.full_at()), (Mono::ZERO.plus_ms(100), Mono::ZERO.plus_ms(300)));
        let later = Mono::ZERO.plus_ms(5_000);
        for _ in 0..3 {
            assert!(bucket.opens_at() <= later);
            bucket.take(later);
        }
        assert_eq!(bucket.opens_at(), later.plus_ms(100));
    }

    proptest! {
        #[test]
        fn no_second_sees_more_than_the_rate_and_none_waits_longer_than_it_must(
            per_second in 1..2_000_u64,
            burst in 1..20_u64,
            pauses_ms in prop::collection::vec(0..700_u64, 1..200),
        ) {
            let mut bucket = Bucket::new(Rate { per_second, burst }, Mono::ZERO);
            let mut now = Mono::ZERO;
            let mut begun: Vec<u64> = Vec::new();
            for (nth, pause_ms) in pauses_ms.into_iter().enumerate() {
                // Half of them as soon as they may, the others when they come.
                now = if nth % 2 == 0 { now.plus_ms(pause_ms) } else { now.max(bucket.opens_at()) };
                if bucket.opens_at() <= now {
                    bucket.take(now);
                    begun.push(now.as_ns());
                }
                let last_second = begun.iter().filter(|at| **at + 1_000 * MS_NS > now.as_ns()).count() as u64;
                prop_assert!(last_second < per_second + burst, "{last_second}");
                prop_assert!(bucket.opens_at() <= now.plus_ms(1_000), "a permit takes no longer than a second");
            }
        }
    }
}
