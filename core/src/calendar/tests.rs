//! Cadences, by the clocks of zones that are put forward and back.

use super::cron::{Cron, CronError};
use super::{Cadence, zone, zone_names};
use crate::time::{Wall, ns_of_rfc3339};
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

fn at(text: &str) -> Wall {
    Wall::from_ms(ns_of_rfc3339(text).expect("a moment") / 1_000_000)
}

fn cron(pattern: &str, zone_name: &str) -> Cadence {
    let cron = Box::new(Cron::parse(pattern).expect("a pattern"));
    Cadence::Cron { cron, zone: zone(zone_name).expect("a zone") }
}

fn dues(cadence: &Cadence, from: &str, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    let mut due = cadence.after(at(from));
    while let Some(at) = due.filter(|_| told.len() < count) {
        told.push(cadence.local(at));
        due = cadence.after(at);
    }
    told
}

#[test]
fn periods_are_counted_from_the_beginning_of_time() {
    let every = Cadence::EveryMs(600_000);
    assert_eq!(
        dues(&every, "2026-11-22T00:33:18Z", 2),
        ["2026-11-22T00:40:00+00:00", "2026-11-22T00:50:00+00:00"]
    );
    assert_eq!(dues(&every, "2026-11-22T00:40:00Z", 1), ["2026-11-22T00:50:00+00:00"]);
    assert_eq!(every.after(Wall::from_ms(u64::MAX)), None);
}

/// On the 29th of March 2026 clocks in Amsterdam go from 02:00 to 03:00, on the 25th of October from 03:00 to 02:00.
#[test]
fn a_time_of_day_that_is_left_out_is_due_later_and_one_that_comes_twice_once() {
    let daily = cron("0 30 2 * * *", "Europe/Amsterdam");
    assert_eq!(
        dues(&daily, "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T02:30:00+01:00", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    assert_eq!(
        dues(&daily, "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    // Asked in the middle of it: what was moved is due, what comes again is not.
    assert_eq!(dues(&daily, "2026-03-29T01:10:00Z", 1), ["2026-03-29T03:30:00+02:00"]);
    assert_eq!(dues(&daily, "2026-10-25T01:10:00Z", 1), ["2026-10-26T02:30:00+01:00"]);
    // Due at the very second in which the clock is put back.
    for (pattern, zone, from) in [
        ("0 0 2 * * *", "Europe/Amsterdam", "2026-10-25T00:00:00Z"),
        ("0 0 1 * * *", "Europe/London", "2026-10-25T00:30:00Z"),
        ("0 0 1 * * *", "America/New_York", "2026-11-01T04:30:00Z"),
        ("0 0 0 * * *", "America/Havana", "2026-11-01T03:30:00Z"),
    ] {
        let [first, next] = dues(&cron(pattern, zone), from, 2).try_into().expect("two");
        assert_ne!(first[..10], next[..10], "{zone}: {first}, {next}");
    }
    // Only ever due in an hour that is left out.
    let march = cron("0 30 2 29 3 *", "Europe/Amsterdam");
    assert_eq!(
        dues(&march, "2026-01-01T00:00:00Z", 2),
        ["2026-03-29T03:30:00+02:00", "2027-03-29T02:30:00+02:00"]
    );
}

#[test]
fn times_of_day_around_a_change_are_due_in_order_and_each_once() {
    let both = cron("0 15,45 2,3 * * *", "Europe/Amsterdam");
    // 02:15 and 02:45 fall on 03:15 and 03:45, which are due anyhow.
    assert_eq!(
        dues(&both, "2026-03-29T00:00:00Z", 3),
        ["2026-03-29T03:15:00+02:00", "2026-03-29T03:45:00+02:00", "2026-03-30T02:15:00+02:00"]
    );
    // Half an hour is left out on Lord Howe Island, and 02:40 is not.
    let half = cron("0 15,40 2 * * *", "Australia/Lord_Howe");
    assert_eq!(
        dues(&half, "2026-10-03T15:00:00Z", 3),
        ["2026-10-04T02:40:00+11:00", "2026-10-04T02:45:00+11:00", "2026-10-05T02:15:00+11:00"]
    );
    // A whole day is left out in Samoa.
    let noon = cron("0 0 12 * * *", "Pacific/Apia");
    assert_eq!(
        dues(&noon, "2011-12-29T10:00:00Z", 3),
        ["2011-12-29T12:00:00-10:00", "2011-12-31T12:00:00+14:00", "2012-01-01T12:00:00+14:00"]
    );
}

#[test]
fn what_says_how_often_follows_the_clock() {
    let half_hourly = cron("0 */30 2 * * *", "Europe/Amsterdam");
    assert_eq!(dues(&half_hourly, "2026-03-28T12:00:00Z", 1), ["2026-03-30T02:00:00+02:00"]);
    assert_eq!(
        dues(&half_hourly, "2026-10-24T12:00:00Z", 4),
        [
            "2026-10-25T02:00:00+02:00",
            "2026-10-25T02:30:00+02:00",
            "2026-10-25T02:00:00+01:00",
            "2026-10-25T02:30:00+01:00"
        ]
    );
}

#[test]
fn occurrences_are_counted_up_to_a_bound() {
    let (from, until) = (at("2026-11-22T00:00:00Z"), at("2026-11-22T12:00:00Z"));
    for cadence in [Cadence::EveryMs(3_600_000), cron("0 0 * * * *", "UTC")] {
        assert_eq!((cadence.count(from, until, 100), cadence.count(from, until, 5)), (12, 5));
        assert_eq!(cadence.count(until, from, 100), 0);
    }
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(Cron::parse("0 0 12"), Err(CronError::Fields { found: 3 }));
    let error = Cron::parse("0 61 * * * *").expect_err("no minute").to_string();
    assert!(error.starts_with("\"61\" is no minute: expected 0 to 59"), "{error}");
    assert!(zone_names().iter().any(|name| name == "Europe/Amsterdam") && zone("europe/amsterdam").is_none());
}

proptest! {
    /// Against the dates around a change, each with its time of day made a moment the way calendars do.
    #[test]
    fn times_of_day_are_those_of_every_date(
        hour in 0..5_i8,
        minute in 0..60_i8,
        which in 0..4_usize,
        seconds_before in 0..2 * 86_400_i64,
    ) {
        let (name, change) = [
            ("Europe/Amsterdam", "2026-03-29T01:00:00Z"),
            ("Europe/Amsterdam", "2026-10-25T01:00:00Z"),
            ("America/New_York", "2026-11-01T06:00:00Z"),
            ("Australia/Lord_Howe", "2026-10-03T15:30:00Z"),
        ][which];
        let zone = zone(name).expect("a zone");
        let change = i64::try_from(at(change).as_ms() / 1_000).expect("small");
        let from = change + 86_400 - seconds_before;
        let date = Timestamp::from_second(from).expect("in range").to_zoned(zone.clone()).date();
        let moments = (-2..4).map(|days| {
            let time = (date + days.days()).at(hour, minute, 0, 0);
            zone.to_ambiguous_zoned(time).compatible().expect("in range").timestamp().as_second()
        });
        let wanted = moments.filter(|moment| *moment > from).min();
        let daily = cron(&format!("0 {minute} {hour} * * *"), name);
        let next = daily.after(Wall::from_ms(u64::try_from(from).expect("after 1970") * 1_000));
        prop_assert_eq!(next.map(|next| i64::try_from(next.as_ms() / 1_000).expect("small")), wanted);
    }
}
