//! A time that has passed is filled in: once, in order, whatever happens meanwhile.

use super::operating::{ask, asked, bench, pause, reason, row, trigger};
use super::*;
use crate::marks::Mark;
use crate::schedule::recurring::backfill::{BACKFILL_MAX, BACKFILL_PAUSE_MS};

/// From and until so many seconds after the beginning.
pub(super) fn backfill(key: &str, from: u64, to: u64) -> Verb {
    let at = |s: u64| Wall::from_ms(START_MS + s * 1_000);
    Verb::Backfill { key: key.parse().expect("a key"), from: at(from), to: at(to), reason: reason() }
}

/// What was filled in: seconds after the beginning.
fn filled(bench: &Bench<Calendar>) -> Vec<u64> {
    let own = all_fired(&bench.store).into_iter().filter(|(_, by)| by == "backfill");
    own.map(|((_, at, _), _)| at).collect()
}

#[test]
pub(super) fn the_occurrences_of_a_time_that_has_passed_fire_in_order() {
    let mut bench = bench("every: 10s, overlap: allow");
    bench.advance(45_000);
    let answer = ask(&mut bench, "beat", backfill("k-1", 10, 30));
    assert_eq!(answer, ["backfill: due 0, missed 0", "beat 10, backfill"]);
    assert_eq!(bench.advance(BACKFILL_PAUSE_MS - 1), [""; 0], "one after the other");
    assert_eq!(bench.advance(1), ["beat 20, backfill"]);
    bench.crash();
    assert_eq!(bench.settle(), ["beat 30, backfill"], "it goes on where it was");
    assert_eq!(bench.advance(4_000), [""; 0], "INV-CRON-7");
    assert_eq!(ask(&mut bench, "beat", backfill("k-1", 10, 30)), ["as before"]);
    assert_eq!(bench.advance(1_000), ["beat 50"], "the calendar goes on as if nothing were");
    let ids: std::collections::BTreeSet<CommandId> =
        all_fired(&bench.store).into_iter().map(|((.., id), _)| id).collect();
    assert_eq!((ids.len(), row(&bench).counts.backfilled, counts(&bench, "beat").0), (8, 3, 5));
    assert_eq!((row(&bench).backfill, bench.marked(Mark::RecurringBackfilled)), (None, 3));
    ask(&mut bench, "beat", backfill("k-2", 10, 10));
    bench.settle();
    assert_eq!(filled(&bench), [10, 20, 30, 10], "another request is another one");
}

#[test]
fn a_commit_without_an_answer_fills_in_once() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench("every: 10s, overlap: allow");
        bench.advance(35_000);
        bench.turn_without_answer(landed, [asked("beat", backfill("k-1", 10, 30))]);
        ask(&mut bench, "beat", backfill("k-1", 10, 30));
        bench.oversleep(BACKFILL_PAUSE_MS);
        bench.turn_without_answer(landed, []);
        bench.advance(1_000);
        assert_eq!(filled(&bench), [10, 20, 30], "INV-CRON-7, {landed:?}");
    }
}

#[test]
fn each_waits_for_the_end_of_the_one_before_and_for_what_is_in_the_queue() {
    let mut bench = Bench::new(config(&[], &["queues"]));
    bench.advance(20_000);
    ask(&mut bench, "queues", backfill("k-1", 10, 20));
    assert_eq!(bench.advance(1_000), [""; 0], "INV-CRON-5");
    for expected in ["queues 20", "queues 10, backfill", "queues 20, backfill"] {
        let queues = "queues".parse().expect("a name");
        let id = running(&bench.store, &queues).first().expect("one runs").clone();
        let mut effects = bench.turn([Input::Finished(id)]);
        effects.extend(bench.advance(BACKFILL_PAUSE_MS));
        assert_eq!(effects, [expected]);
    }
    assert!(bench.marked(Mark::RecurringBackfillWaited) > 0);
}

#[test]
fn a_paused_schedule_fills_in_when_it_goes_on() {
    let mut bench = bench("every: 10s, overlap: allow");
    bench.advance(35_000);
    ask(&mut bench, "beat", pause());
    ask(&mut bench, "beat", backfill("k-1", 10, 20));
    assert_eq!(bench.advance(1_000), [""; 0], "INV-CRON-6");
    ask(&mut bench, "beat", Verb::Resume);
    bench.advance(1_000);
    assert_eq!(filled(&bench), [10, 20]);
}

#[test]
fn what_is_left_can_be_given_up() {
    let mut bench = bench("every: 10s, overlap: allow");
    bench.advance(45_000);
    ask(&mut bench, "beat", backfill("k-1", 10, 40));
    bench.settle();
    let stop = || Verb::StopBackfill { reason: reason() };
    assert_eq!(ask(&mut bench, "beat", stop())[0], "stop-backfill: due 0, missed 0");
    assert_eq!((row(&bench).counts.backfilled, row(&bench).counts.dropped), (1, 3));
    assert_eq!(ask(&mut bench, "beat", stop()), ["as before"]);
    bench.advance(1_000);
    assert_eq!(filled(&bench), [10]);
}

#[test]
fn a_request_that_cannot_be_done_says_why_and_changes_nothing() {
    let mut bench = bench("every: 1s, overlap: allow");
    bench.advance(5_500);
    let time = |s: u64| Wall::from_ms(START_MS + s * 1_000).rfc3339();
    for (verb, expected) in [
        (backfill("k-1", 3, 2), format!("`from`: {} is after `to`", time(3))),
        (backfill("k-1", 3, 6), format!("`to`: {} has not come yet: the clock of the node says", time(6))),
        (
            Verb::Backfill {
                key: "k-1".parse().expect("a key"),
                from: Wall::from_ms(START_MS + 1),
                to: Wall::from_ms(START_MS + 2),
                reason: reason(),
            },
            "`from`: nothing is due from".to_owned(),
        ),
    ] {
        let answer = ask(&mut bench, "beat", verb);
        assert!(answer[0].starts_with(&expected), "{answer:?}, not {expected}");
    }
    bench.now.wall = Wall::from_ms(START_MS + 3_600_000);
    let answer = ask(&mut bench, "beat", backfill("k-1", 1, BACKFILL_MAX + 1));
    assert_eq!(answer[0], "`to`: more than 1000 occurrences: ask for a shorter time");
    assert_eq!((row(&bench).backfill, row(&bench).asked), (None, vec![]));
    assert_eq!(ask(&mut bench, "beat", backfill("k-1", 1, BACKFILL_MAX))[0], "backfill: due 0, missed 0");
    let answer = ask(&mut bench, "beat", backfill("k-2", 1, 2));
    assert!(
        answer[0].starts_with("a backfill from ") && answer[0].contains("under way as `k-1`"),
        "{answer:?}"
    );
    let answer = ask(&mut bench, "beat", trigger("k-1"));
    assert_eq!(answer, ["`k-1` names another request, a backfill: give this one a key of its own"]);
}

#[test]
fn nothing_is_filled_in_before_its_time_when_the_clock_is_put_back() {
    let mut bench = bench("every: 10s, overlap: allow");
    bench.advance(35_000);
    ask(&mut bench, "beat", backfill("k-1", 20, 30));
    bench.now.wall = Wall::from_ms(START_MS + 25_000);
    assert_eq!(bench.advance(4_000), [""; 0], "INV-CRON-2");
    assert_eq!(bench.advance(1_000), ["beat 30, backfill"]);
}

#[test]
fn several_schedules_take_turns_and_other_times_end_it() {
    let every = "every: 10s, overlap: allow, tenants: [\"\", acme]";
    let mut old = bench(every);
    old.advance(35_000);
    for tenant in ["", "acme"] {
        let (schedule, tenant) =
            ("beat".parse().expect("a name"), TenantId::parse(tenant).expect("a tenant"));
        old.turn([Input::Asked(Operation { schedule, tenant, verb: backfill("k-1", 10, 30) })]);
    }
    old.advance(3 * BACKFILL_PAUSE_MS);
    let done: Vec<u64> = old.machine().0.rows().map(|(_, row)| row.counts.backfilled).collect();
    assert_eq!(done, [2, 2]);
    let mut new = Bench::with(old.store.clone(), config(&[&beat("every: 15s, overlap: allow")], &["beat"]));
    new.now.wall = old.now.wall;
    new.advance(1_000);
    let row = row(&new);
    assert_eq!((row.backfill, row.counts.backfilled), (None, 2));
    assert_eq!(row.error.as_deref(), Some("a backfill ended because the times of the schedule were changed"));
}
