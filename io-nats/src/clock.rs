//! The real clocks.

use cloudlysis_core::{Mono, Now, Wall};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Reads both clocks; monotonic time begins when the clock is made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { started: Instant::now() }
    }
}

impl Clock {
    /// Both clocks, now.
    #[must_use]
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        Now { mono: Mono::from_ns(mono), wall: Wall::from_ms(u64::try_from(wall).unwrap_or(u64::MAX)) }
    }

    /// The instant at which this clock will show a moment.
    #[must_use]
    pub fn instant_of(&self, mono: Mono) -> Instant {
        // Far beyond any process's life; adding more could overflow the platform's clock.
        const FAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.started + Duration::from_nanos(mono.as_ns()).min(FAR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_maps_to_an_instant_and_never_overflows() {
        let clock = Clock::default();
        let now = clock.now();
        assert!(clock.instant_of(now.mono) <= Instant::now());
        assert!(clock.instant_of(Mono::from_ns(u64::MAX)) > Instant::now());
        assert!(clock.now().wall >= now.wall);
    }
}
