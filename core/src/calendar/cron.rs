//! Six fields that say when: seconds, minutes, hours, days, months, days of the week.
//!
//! ```text
//!  field   parts, with commas
//!  part    what │ what/step
//!  what    * or ?, all of them │ number │ number-number           months and days of the week have names, too
//! ```
//!
//! A number with a step begins there. If days of the month and of the week are both something else than all, either will
//! do. The clock of a zone is followed: an hour that is left out is never due, one that comes twice is twice.
//!
//! Limits: what is not due within five years is not due. Finding a moment looks at some two thousand at most.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Zoned};
use thiserror::Error;

const YEARS_MAX: i16 = 5;
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Why a text is no pattern.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum CronError {
    /// Too few fields, or too many.
    #[error("{found} fields; six are wanted: second, minute, hour, day, month, day of the week")]
    Fields {
        /// How many there are.
        found: usize,
    },
    /// A field says nothing, or something that it cannot.
    #[error(
        "{text:?} is no {field}: expected {min} to {max}, `*`, ranges `a-b`, steps `/n` and lists with commas"
    )]
    Field {
        /// Which.
        field: &'static str,
        /// What it says.
        text: String,
        /// The least it may say.
        min: u32,
        /// The most it may say.
        max: u32,
    },
}

/// The numbers of a field, as bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    bits: u64,
    /// All of them were asked for.
    is_star: bool,
    /// A part of it begins with a star: it says how often, not when.
    is_open: bool,
}

/// What the fields say.
#[derive(Clone, PartialEq, Debug)]
pub struct Cron {
    seconds: Field,
    minutes: Field,
    hours: Field,
    days: Field,
    months: Field,
    weekdays: Field,
}

impl Field {
    /// Reads a field of numbers from `min` to `max`, or of names that count from `min`.
    fn parse(text: &str, min: u32, max: u32, names: &[&str]) -> Option<Self> {
        let mut field = Self { bits: 0, is_star: false, is_open: false };
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let number = |text: &str| {
                let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
                named.map_or_else(|| text.parse().ok(), |at| u32::try_from(at).ok().map(|at| at + min))
            };
            let (what, step) = part.split_once('/').map_or((part, None), |(what, step)| (what, Some(step)));
            let (from, mut to, is_star) = match what.split_once('-') {
                None if matches!(what, "*" | "?") => (min, max, true),
                None => (number(what)?, number(what)?, false),
                Some(("*" | "?", _)) => (min, max, true),
                Some((from, to)) => (number(from)?, number(to)?, false),
            };
            let step = step.map_or(Some(1), |step| step.parse::<u32>().ok().filter(|step| *step > 0))?;
            if part.contains('/') && !what.contains('-') {
                to = max;
            }
            if from < min || to > max || from > to {
                return None;
            }
            let step_by = usize::try_from(step).ok()?;
            field.bits |= (from..=to).step_by(step_by).fold(0, |bits, number| bits | 1 << number);
            field.is_star |= is_star && step == 1;
            field.is_open |= is_star;
        }
        (field.bits > 0).then_some(field)
    }

    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|number| self.bits & (1 << number) != 0)
    }
}

impl Cron {
    /// Reads six fields, or one of the names for them.
    ///
    /// # Errors
    /// [`CronError`] naming the first field that is wrong.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let text = match text {
            "@yearly" | "@annually" => "0 0 0 1 1 *",
            "@monthly" => "0 0 0 1 * *",
            "@weekly" => "0 0 0 * * 0",
            "@daily" | "@midnight" => "0 0 0 * * *",
            "@hourly" => "0 0 * * * *",
            other => other,
        };
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [seconds, minutes, hours, days, months, weekdays] = fields[..] else {
            return Err(CronError::Fields { found: fields.len() });
        };
        let read = |field, text: &str, min, max, names: &[&str]| {
            let error = || CronError::Field { field, text: text.to_owned(), min, max };
            Field::parse(text, min, max, names).ok_or_else(error)
        };
        Ok(Self {
            seconds: read("second", seconds, 0, 59, &[])?,
            minutes: read("minute", minutes, 0, 59, &[])?,
            hours: read("hour", hours, 0, 23, &[])?,
            days: read("day of the month", days, 1, 31, &[])?,
            months: read("month", months, 1, 12, &MONTHS)?,
            weekdays: read("day of the week", weekdays, 0, 6, &DAYS)?,
        })
    }

    /// Whether it names times of day: no `*` and no step in what is shorter than a day.
    pub(super) const fn names_times(&self) -> bool {
        !self.seconds.is_open && !self.minutes.is_open && !self.hours.is_open
    }

    fn has_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        if self.days.is_star || self.weekdays.is_star { day && weekday } else { day || weekday }
    }

    /// The first moment after this one, both in seconds since 1970.
    #[must_use]
    pub fn after(&self, second: i64, zone: &TimeZone) -> Option<i64> {
        let mut at = Timestamp::from_second(second.checked_add(1)?).ok()?.to_zoned(zone.clone());
        let year_max = at.year() + YEARS_MAX;
        while at.year() <= year_max {
            let seconds_in = |at: &Zoned| i64::from(at.minute()) * 60 + i64::from(at.second());
            at = if !self.months.has(at.month()) {
                midnight(at.date().first_of_month().checked_add(1.month()).ok()?, zone)?
            } else if !self.has_day(at.date()) {
                midnight(at.date().tomorrow().ok()?, zone)?
            } else if !self.hours.has(at.hour()) {
                let left = 3_600 - seconds_in(&at);
                at.checked_add(left.seconds()).ok()?
            } else if !self.minutes.has(at.minute()) {
                let left = 60 - i64::from(at.second());
                at.checked_add(left.seconds()).ok()?
            } else if !self.seconds.has(at.second()) {
                at.checked_add(1.second()).ok()?
            } else {
                return Some(at.timestamp().as_second());
            };
        }
        None
    }
}

/// The first moment of a day.
fn midnight(date: Date, zone: &TimeZone) -> Option<Zoned> {
    zone.to_zoned(DateTime::from_parts(date, jiff::civil::Time::midnight())).ok()
}
