//! Time as an argument.
//!
//! The core never asks what time it is. Every turn is handed a [`Now`], and a machine asks for time to pass only
//! through [`Machine::deadline`](crate::Machine::deadline).
//!
//! Two clocks, because they answer different questions. [`Mono`] orders timers inside one incarnation: it never
//! goes back and is never persisted. [`Wall`] is what people and other systems mean by time: it may jump either
//! way and is the only time that is written down.

use serde::{Deserialize, Serialize};

/// Nanoseconds since this incarnation began. Never persisted, never compared across incarnations.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Mono(u64);

impl Mono {
    /// The moment an incarnation begins.
    pub const ZERO: Self = Self(0);

    /// From nanoseconds since the incarnation began.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the incarnation began.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// This moment plus `ms` milliseconds, saturating at the end of time.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000_000)))
    }

    /// Whole milliseconds from `earlier` to this moment; zero if `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0) / 1_000_000
    }
}

/// Milliseconds since 1970-01-01T00:00:00Z. The only time that is persisted. May step backwards between turns.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Wall(u64);

impl Wall {
    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// Whole milliseconds from `earlier` to this moment; zero if `earlier` is later, as it is after a step backwards.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Reads what [`rfc3339`](Self::rfc3339) writes, or another producer; `None` when it is no such time after 1970.
    #[must_use]
    pub fn of_rfc3339(text: &str) -> Option<Self> {
        Some(Self(ns_of_rfc3339(text)? / 1_000_000))
    }

    /// RFC 3339 in UTC with milliseconds, as every envelope carries it: `2026-11-21T05:14:00.123Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let ms = i64::try_from(self.0).unwrap_or(i64::MAX);
        let stamp = jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX);
        format!("{stamp:.3}")
    }
}

/// Nanoseconds since 1970 of an RFC 3339 time, as a broker writes it; `None` when it is none.
#[must_use]
pub fn ns_of_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

/// Both clocks, read once per turn by whoever drives the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    /// For timers.
    pub mono: Mono,
    /// For records.
    pub wall: Wall,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wall_prints_as_rfc3339() {
        assert_eq!(Wall::from_ms(0).rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Wall::from_ms(1_795_238_040_123).rfc3339(), "2026-11-21T05:14:00.123Z");
        assert_eq!(Wall::from_ms(u64::MAX).rfc3339(), "9999-12-30T22:00:00.999Z");
    }

    #[test]
    fn times_of_a_broker_are_read_to_the_nanosecond() {
        assert_eq!(ns_of_rfc3339("2026-11-21T05:14:00.123456789Z"), Some(1_795_238_040_123_456_789));
        assert_eq!(ns_of_rfc3339(&Wall::from_ms(7).rfc3339()), Some(7_000_000));
        assert_eq!((ns_of_rfc3339("0001-01-01T00:00:00Z"), ns_of_rfc3339("soon")), (None, None));
    }

    #[test]
    fn mono_saturates() {
        assert_eq!(Mono::from_ns(u64::MAX).plus_ms(1), Mono::from_ns(u64::MAX));
        assert_eq!(Mono::ZERO.plus_ms(u64::MAX), Mono::from_ns(u64::MAX));
        assert_eq!(Mono::ZERO.ms_since(Mono::from_ns(5)), 0);
        assert_eq!(Mono::ZERO.plus_ms(3).ms_since(Mono::ZERO), 3);
    }
}
