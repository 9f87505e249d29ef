//! Recurring times by the calendar of a zone: when something is due next, after any moment.
//!
//! | cadence | due |
//! |---|---|
//! | `every: 10m` | at every multiple of it since 1970: the same moments on every machine, whenever it began |
//! | a pattern with a star in its seconds, minutes or hours | whenever the clock on the wall fits |
//! | a pattern that names times of day | at these times, once a day, whatever is done to the clock |
//!
//! A clock that is put forward leaves an hour out, one that is put back repeats one. What says how often follows the
//! clock: nothing is due in an hour that is left out, and a repeated hour counts twice. A time of day that is left out is
//! due as much later as was left out (02:30 becomes 03:30), and one that comes twice is due the first time only.
//!
//! Zones come with the program: no file is read, and every machine answers alike.

pub mod cron;

use crate::time::Wall;
use cron::Cron;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

/// The shortest time between two moments at which something is due, in milliseconds.
pub const PERIOD_MS_MIN: u64 = 1_000;

/// How long before a moment a clock may have been put forward and still matter to it, in seconds.
const GAP_S_MAX: i64 = 86_400;
/// Changes of the clock looked at: more than there are in the years a pattern is followed.
const CHANGES_MAX: usize = 64;

/// The zone of this name, spelled exactly.
#[must_use]
pub fn zone(name: &str) -> Option<TimeZone> {
    TimeZoneDatabase::bundled().get(name).ok().filter(|zone| zone.iana_name() == Some(name))
}

/// The names of all zones.
#[must_use]
pub fn zone_names() -> Vec<String> {
    TimeZoneDatabase::bundled().available().map(|name| name.to_string()).collect()
}

/// When something is due again and again.
#[derive(Clone, PartialEq, Debug)]
pub enum Cadence {
    /// At every multiple of so many milliseconds.
    EveryMs(u64),
    /// By a pattern, in a zone.
    Cron {
        /// The pattern.
        cron: Box<Cron>,
        /// Whose clock is followed.
        zone: TimeZone,
    },
}

impl Cadence {
    /// The first moment after this one; `None` when there is none within some years.
    #[must_use]
    pub fn after(&self, at: Wall) -> Option<Wall> {
        match self {
            Self::EveryMs(ms) => {
                let next = (at.as_ms() / ms).checked_add(1)?.checked_mul(*ms)?;
                Some(Wall::from_ms(next))
            }
            Self::Cron { cron, zone } => {
                let from = i64::try_from(at.as_ms() / 1_000).ok()?;
                let next =
                    if cron.names_times() { next_time(cron, zone, from) } else { cron.after(from, zone) };
                Some(Wall::from_ms(u64::try_from(next?).ok()?.checked_mul(1_000)?))
            }
        }
    }

    /// How often it is due in this stretch of time, its end included; counts up to a bound.
    #[must_use]
    pub fn count(&self, after: Wall, until: Wall, count_max: u64) -> u64 {
        match self {
            Self::EveryMs(ms) => (until.as_ms() / ms).saturating_sub(after.as_ms() / ms).min(count_max),
            Self::Cron { .. } => {
                let mut count = 0;
                let mut at = self.after(after);
                while let Some(due) = at.filter(|due| *due <= until && count < count_max) {
                    count += 1;
                    at = self.after(due);
                }
                count
            }
        }
    }

    /// A moment as the clock on the wall shows it there: RFC 3339, to the second.
    #[must_use]
    pub fn local(&self, at: Wall) -> String {
        let zone = match self {
            Self::EveryMs(_) => TimeZone::UTC,
            Self::Cron { zone, .. } => zone.clone(),
        };
        let at = i64::try_from(at.as_ms() / 1_000).ok().and_then(|s| Timestamp::from_second(s).ok());
        at.unwrap_or(Timestamp::MAX).to_zoned(zone).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }
}

/// The next time of day, in seconds: those of a repeated hour once, those of an hour that is left out later.
fn next_time(cron: &Cron, zone: &TimeZone, from: i64) -> Option<i64> {
    let mut shown = cron.after(from, zone);
    // The second time that a clock shows something is not due.
    while let Some(at) = shown.filter(|at| is_repeated(zone, *at)) {
        shown = cron.after(at, zone);
    }
    let skipped = next_skipped(cron, zone, from, shown);
    match (shown, skipped) {
        (Some(shown), Some(skipped)) => Some(shown.min(skipped)),
        (shown, skipped) => shown.or(skipped),
    }
}

/// Whether the clock on the wall has shown this before.
fn is_repeated(zone: &TimeZone, second: i64) -> bool {
    let Ok(at) = Timestamp::from_second(second) else { return false };
    let now = zone.to_offset(at);
    // A clock that is put back at this very second shows it again, too.
    let Ok(next) = Timestamp::from_second(second.saturating_add(1)) else { return false };
    zone.preceding(next).next().is_some_and(|change| {
        let back = i64::from(before(zone, change.timestamp()).seconds() - now.seconds());
        change.timestamp().as_second() + back > second
    })
}

/// What the clock was off by right before it was changed.
fn before(zone: &TimeZone, change: Timestamp) -> Offset {
    let earlier = Timestamp::from_second(change.as_second() - 1).unwrap_or(Timestamp::MIN);
    zone.to_offset(earlier)
}

/// The next time of day that a clock leaves out, moved by what was left out.
fn next_skipped(cron: &Cron, zone: &TimeZone, from: i64, until: Option<i64>) -> Option<i64> {
    let start = Timestamp::from_second(from.checked_sub(GAP_S_MAX)?).ok()?;
    for change in zone.following(start).take(CHANGES_MAX) {
        let at = change.timestamp().as_second();
        if until.is_some_and(|until| at >= until) {
            return None;
        }
        let off = i64::from(before(zone, change.timestamp()).seconds());
        let gap = i64::from(change.offset().seconds()) - off;
        // What the clock would have shown, had it not been changed.
        let mut left_out = cron.after(at + off - 1, &TimeZone::UTC);
        while let Some(shown) = left_out.filter(|shown| *shown < at + off + gap) {
            if shown - off > from {
                return Some(shown - off);
            }
            left_out = cron.after(shown, &TimeZone::UTC);
        }
    }
    None
}

#[cfg(test)]
mod tests;
