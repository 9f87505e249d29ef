//! When a message that is a schedule is due, by what its `Nats-Schedule` header says.
//!
//! | header | due |
//! |---|---|
//! | `@at <RFC 3339>` | then, once |
//! | `@every <duration>` | every so often, a second at least, from the second in which it was stored |
//! | six fields: second, minute, hour, day, month, day of the week | see [`cron`](crate::calendar::cron); in the zone of `Nats-Schedule-Time-Zone` |
//! | `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`, `@annually` | the same, written short |
//!
//! What was missed is due once, not as often as it was missed. Zones come with the program: no file is read.

use super::duration;
use crate::calendar;
use crate::calendar::cron::Cron;
use crate::time::Wall;
use jiff::Timestamp;
use jiff::tz::TimeZone;

const SECOND_NS: u64 = 1_000_000_000;
/// The moment that is none, in the original.
const ZERO_S: i64 = -62_135_596_800;

/// Why a schedule is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Invalid {
    Zone,
    Pattern,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Schedule {
    At(Wall),
    EveryMs(u64),
    Cron(Box<Cron>, TimeZone),
}

fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "UTC" | "Local" => Some(TimeZone::UTC),
        "" => None,
        // Written as it is written there: the original opens a file of this name.
        _ => calendar::zone(name),
    }
}

/// As the original rounds: to the nearest second.
const fn rounded(at: Wall) -> u64 {
    at.as_ms().saturating_add(500) / 1_000 * 1_000
}

impl Schedule {
    /// Reads the headers; `None` when they ask for nothing. A message that is stored at this moment must be due one day.
    pub(super) fn parse(
        pattern: Option<&str>,
        zone_name: Option<&str>,
        stored_at: Wall,
    ) -> Result<Option<Self>, Invalid> {
        let zone = zone_name.map(|name| zone(name).ok_or(Invalid::Zone)).transpose()?;
        let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else { return Ok(None) };
        let read = if let Some(at) = pattern.strip_prefix("@at ") {
            // A capital T and a zone are wanted.
            super::moment::parse(at).ok_or(Invalid::Pattern)?;
            let at: Timestamp = at.parse().map_err(|_| Invalid::Pattern)?;
            if at.as_second() == ZERO_S && at.subsec_nanosecond() == 0 {
                return Ok(None);
            }
            Self::At(Wall::from_ms(u64::try_from(at.as_millisecond()).unwrap_or(0)))
        } else if let Some(every) = pattern.strip_prefix("@every ") {
            let ns = duration::parse_ns(every).filter(|ns| *ns >= SECOND_NS).ok_or(Invalid::Pattern)?;
            Self::EveryMs(ns / 1_000_000)
        } else {
            let cron = Cron::parse(pattern).map_err(|_| Invalid::Pattern)?;
            return match Self::Cron(Box::new(cron), zone.unwrap_or(TimeZone::UTC)) {
                read if read.first(stored_at).is_some() => Ok(Some(read)),
                _ => Err(Invalid::Pattern),
            };
        };
        // A zone is for what names hours.
        if zone.is_some() { Err(Invalid::Pattern) } else { Ok(Some(read)) }
    }

    /// When a message that was stored at this moment is due for the first time; `None` for never.
    pub(super) fn first(&self, stored_at: Wall) -> Option<Wall> {
        match self {
            Self::At(at) => Some(*at),
            Self::EveryMs(ms) => Some(Wall::from_ms(rounded(stored_at).saturating_add(*ms))),
            Self::Cron(cron, zone) => {
                let from = i64::try_from(rounded(stored_at) / 1_000).ok()?;
                let next = cron.after(from, zone)?;
                Some(Wall::from_ms(u64::try_from(next).ok()?.saturating_mul(1_000)))
            }
        }
    }

    /// When it is due again that was due at one moment and is handled at another; `None` for never.
    pub(super) fn again(&self, due: Wall, now: Wall) -> Option<Wall> {
        match self {
            Self::At(_) => None,
            Self::EveryMs(_) | Self::Cron(..) => match self.first(due) {
                Some(next) if next < now => self.first(now),
                next => next,
            },
        }
    }

    /// A moment as messages tell it: in the zone of the schedule, to the second.
    pub(super) fn tell(&self, at: Wall) -> String {
        let utc = TimeZone::UTC;
        let zone = match self {
            Self::At(_) | Self::EveryMs(_) => &utc,
            Self::Cron(_, zone) => zone,
        };
        let at = i64::try_from(at.as_ms() / 1_000).ok().and_then(|s| Timestamp::from_second(s).ok());
        let at = at.unwrap_or(Timestamp::MAX).to_zoned(zone.clone());
        let text = at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        text.strip_suffix("+00:00").map_or(text.clone(), |local| format!("{local}Z"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Wall {
        crate::jetstream::moment::parse(text).expect("a moment")
    }

    fn read(pattern: &str, zone: Option<&str>) -> Result<Option<Schedule>, Invalid> {
        Schedule::parse(Some(pattern), zone, at("2026-11-21T19:19:06.863Z"))
    }

    /// What a real server said to each.
    #[test]
    fn patterns_are_those_of_the_server() {
        for good in [
            "@at 2099-01-01T00:00:00Z",
            "@at 2099-01-01T00:00:00.5Z",
            "@at 2099-01-01T00:00:00+05:00",
            "@every 1h",
            "@every 1s",
            "@every 1.5s",
            "@every 100000h",
            "@hourly",
            "@daily",
            "@midnight",
            "@weekly",
            "@monthly",
            "@yearly",
            "@annually",
            "* * * * * *",
            "0 0 12 * jan MON-FRI",
            "*/5 * * * * *",
            "5/10 * * * * *",
            "1-5/2 * * * * *",
            "1,2,3 * * * * *",
            "? ? ? ? ? ?",
            "0 0 0 29 2 *",
            "+1 * * * * *",
            "01 * * * * *",
            "0  0   0 1 1 1",
            "0\t0 0 1 1 1",
            " 0 0 0 1 1 1 ",
            "0 0 0 1 1 sun,tue",
        ] {
            assert!(matches!(read(good, None), Ok(Some(_))), "{good}");
        }
        for bad in [
            "@at 2099",
            "@at 2099-01-01",
            "@at  2099-01-01T00:00:00Z",
            "2099-01-01T00:00:00Z",
            "@every 999ms",
            "@every -1h",
            "@every 1",
            "@every 1d",
            "@EVERY 1h",
            "@every 9999999999h",
            "@minutely",
            "@reboot",
            "@Hourly",
            "* * * * *",
            "* * * * * * *",
            "0 0 12 * * 7",
            "0 0 12 32 * *",
            "60 * * * * *",
            "0 0 24 * * *",
            "1-2-3 * * * * *",
            "1/2/3 * * * * *",
            "5-1 * * * * *",
            "*/0 * * * * *",
            "a * * * * *",
            "0 0 0 30 2 *",
            "-1 * * * * *",
            // The original looks for such a second for good.
            ", * * * * *",
        ] {
            assert_eq!(read(bad, None), Err(Invalid::Pattern), "{bad}");
        }
        for nothing in ["", "@at 0001-01-01T00:00:00Z"] {
            assert_eq!(read(nothing, None), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn zones_are_those_of_the_server() {
        for good in ["UTC", "Local", "CET", "Europe/Amsterdam"] {
            assert!(matches!(read("@hourly", Some(good)), Ok(Some(_))), "{good}");
            assert_eq!(read("@every 1h", Some(good)), Err(Invalid::Pattern), "{good}");
        }
        for bad in ["", "utc", "Europe/Nowhere", "+02:00", "../etc/passwd", "europe/amsterdam"] {
            for pattern in ["@hourly", "@every 1h", "@bad", ""] {
                assert_eq!(read(pattern, Some(bad)), Err(Invalid::Zone), "{bad} {pattern}");
            }
        }
    }

    fn dues(pattern: &str, zone: Option<&str>, stored: &str, count: usize) -> Vec<String> {
        let stored = at(stored);
        let schedule = Schedule::parse(Some(pattern), zone, stored).expect("valid").expect("a schedule");
        let mut due = schedule.first(stored);
        let mut told = Vec::new();
        while let Some(at) = due.filter(|_| told.len() < count) {
            told.push(schedule.tell(at));
            due = schedule.again(at, at);
        }
        told
    }

    #[test]
    fn what_repeats_keeps_its_step() {
        assert_eq!(
            dues("@every 1h", None, "2026-11-21T19:19:06.863Z", 3),
            ["2026-11-21T20:19:07Z", "2026-11-21T21:19:07Z", "2026-11-21T22:19:07Z"]
        );
        assert_eq!(
            dues("*/2 * * * * *", Some("Europe/Amsterdam"), "2026-11-21T19:19:06.896Z", 2),
            ["2026-11-21T20:19:08+01:00", "2026-11-21T20:19:10+01:00"]
        );
        assert_eq!(
            dues("@at 2026-11-21T20:00:00+01:00", None, "2026-11-21T11:00:00Z", 9),
            ["2026-11-21T19:00:00Z"]
        );
    }

    #[test]
    fn what_was_missed_is_due_once() {
        let stored = at("2026-11-21T19:19:06.863Z");
        let hourly = Schedule::parse(Some("@every 1h"), None, stored).expect("valid").expect("a schedule");
        let due = hourly.first(stored).expect("due");
        let late = at("2026-11-22T07:30:00.100Z");
        assert_eq!(hourly.again(due, late), Some(at("2026-11-22T08:30:00Z")));
        let daily = Schedule::parse(Some("@daily"), None, stored).expect("valid").expect("a schedule");
        assert_eq!(
            daily.again(at("2026-11-22T00:00:00Z"), at("2026-12-24T09:00:00Z")),
            Some(at("2026-12-25T00:00:00Z"))
        );
    }

    #[test]
    fn clocks_that_are_turned_leave_out_and_repeat() {
        // An hour is left out on the 29th of March and comes twice on the 25th of October.
        assert_eq!(
            dues("0 30 2 * * *", Some("Europe/Amsterdam"), "2026-03-28T12:00:00Z", 2),
            ["2026-03-30T02:30:00+02:00", "2026-03-31T02:30:00+02:00"]
        );
        assert_eq!(
            dues("0 30 2 * * *", Some("Europe/Amsterdam"), "2026-10-24T12:00:00Z", 3),
            ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-26T02:30:00+01:00"]
        );
    }

    #[test]
    fn days_of_the_month_and_of_the_week() {
        // Both are asked for: either will do. One is a star: both must match.
        assert_eq!(
            dues("0 0 0 13 * fri", None, "2026-11-01T00:00:00Z", 3),
            ["2026-11-06T00:00:00Z", "2026-11-13T00:00:00Z", "2026-11-20T00:00:00Z"]
        );
        assert_eq!(
            dues("0 0 0 * dec mon", None, "2026-11-01T00:00:00Z", 2),
            ["2026-12-07T00:00:00Z", "2026-12-14T00:00:00Z"]
        );
        assert_eq!(dues("@weekly", None, "2026-11-21T00:00:00Z", 1), ["2026-11-22T00:00:00Z"]);
        assert_eq!(dues("0 0 0 29 2 *", None, "2026-11-21T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
    }
}
