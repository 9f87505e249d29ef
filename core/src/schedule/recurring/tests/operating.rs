//! What operators do with schedules, and how these go on.

use super::*;
use crate::marks::Mark;
use crate::operator::Reason;

pub(super) fn reason() -> Reason {
    Reason::parse("somebody wants to look").expect("a reason")
}

pub(super) fn pause() -> Verb {
    Verb::Pause { reason: reason() }
}

pub(super) fn trigger(key: &str) -> Verb {
    Verb::Trigger { key: key.parse().expect("a key"), reason: reason() }
}

/// An operator asks; what fires, and the answer.
pub(super) fn ask(bench: &mut Bench<Calendar>, schedule: &str, verb: Verb) -> Vec<String> {
    bench.turn([asked(schedule, verb)])
}

pub(super) fn asked(schedule: &str, verb: Verb) -> Input {
    let (schedule, tenant) = (schedule.parse().expect("a name"), TenantId::default_tenant());
    Input::Asked(Operation { schedule, tenant, verb })
}

pub(super) fn bench(fields: &str) -> Bench<Calendar> {
    Bench::new(config(&[&beat(fields)], &["beat"]))
}

pub(super) fn row(bench: &Bench<Calendar>) -> super::super::Row {
    bench.machine().0.rows().next().expect("a row").1.clone()
}

#[test]
pub(super) fn a_paused_schedule_catches_up_when_it_goes_on() {
    for (policy, missed, expected) in
        [("{ policy: all, window: 1h }", 0, vec![10, 20, 30, 40]), ("{ policy: last }", 2, vec![10, 40])]
    {
        let mut bench = bench(&format!("every: 10s, overlap: allow, catch_up: {policy}"));
        bench.advance(10_000);
        assert_eq!(ask(&mut bench, "beat", pause()), ["pause: due 0, missed 0"]);
        assert_eq!(bench.advance(20_000), [""; 0], "INV-CRON-6");
        bench.crash();
        assert_eq!(bench.advance(14_000), [""; 0], "INV-CRON-6: whatever happens to the process");
        let reason = row(&bench).paused.expect("paused").reason;
        assert_eq!(reason, "somebody wants to look");
        assert_eq!(ask(&mut bench, "beat", pause()), ["as before"]);
        let answer = ask(&mut bench, "beat", Verb::Resume);
        assert_eq!(answer[0], format!("resume: due 3, missed {missed}"));
        bench.settle();
        assert_eq!((times(&bench), counts(&bench, "beat").1), (expected, missed), "INV-CRON-3: {policy}");
        assert_eq!(ask(&mut bench, "beat", Verb::Resume), ["as before"]);
        assert_eq!(bench.advance(6_000), ["beat 50"]);
    }
}

#[test]
fn what_waits_for_the_one_before_waits_for_the_end_of_a_pause_as_well() {
    let mut bench = Bench::new(config(&[], &["queues"]));
    bench.advance(20_000);
    ask(&mut bench, "queues", pause());
    let id = fired(&bench.store)[0].2.clone();
    assert_eq!(bench.turn([Input::Finished(id)]), [""; 0], "INV-CRON-6");
    assert_eq!(bench.advance(5_000), [""; 0], "INV-CRON-6");
    let mut effects = ask(&mut bench, "queues", Verb::Resume);
    effects.extend(bench.settle());
    assert_eq!(effects, ["resume: due 0, missed 0", "queues 20"]);
}

#[test]
fn a_pause_without_an_answer_may_be_asked_for_again() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench("every: 10s, overlap: allow");
        bench.settle();
        bench.turn_without_answer(landed, [asked("beat", pause())]);
        let answer = ask(&mut bench, "beat", pause());
        let expected = if landed == Landed::Yes { "as before" } else { "pause: due 0, missed 0" };
        assert_eq!(answer, [expected]);
        assert_eq!(bench.advance(20_000), [""; 0], "INV-CRON-6");
    }
}

#[test]
pub(super) fn one_fires_now_and_once_for_each_key() {
    let mut bench = bench("every: 10s, overlap: allow");
    bench.advance(12_000);
    assert_eq!(ask(&mut bench, "beat", trigger("k-1"))[0], "beat 12, trigger");
    assert_eq!(bench.advance(8_000), ["beat 20"], "the calendar goes on as if nothing were");
    bench.crash();
    assert_eq!(ask(&mut bench, "beat", trigger("k-1")), ["as before"], "INV-CRON-7");
    ask(&mut bench, "beat", pause());
    assert_eq!(ask(&mut bench, "beat", trigger("k-2"))[0], "beat 20, trigger", "a pause is of the calendar");
    let ids: std::collections::BTreeSet<CommandId> =
        all_fired(&bench.store).into_iter().map(|((.., id), _)| id).collect();
    assert_eq!((ids.len(), counts(&bench, "beat").0, row(&bench).counts.triggered), (4, 2, 2));
    assert_eq!((bench.marked(Mark::RecurringTriggered), bench.marked(Mark::RecurringAskedAgain)), (2, 1));
}

#[test]
fn a_request_without_an_answer_fires_once() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench("every: 1h, overlap: allow");
        bench.settle();
        bench.turn_without_answer(landed, [asked("beat", trigger("k-1"))]);
        ask(&mut bench, "beat", trigger("k-1"));
        assert_eq!(all_fired(&bench.store).len(), 1, "INV-CRON-7, {landed:?}");
    }
}

#[test]
fn nothing_fires_beside_one_that_runs_unless_it_may() {
    let mut bench = Bench::new(config(&[], &["skips"]));
    bench.advance(10_000);
    let before = row(&bench);
    let refused = "an occurrence of schedule `skips` runs, and `overlap` is `skip`: wait for its end";
    assert_eq!(ask(&mut bench, "skips", trigger("k-1")), [refused], "INV-CRON-5");
    assert_eq!(row(&bench), before, "nothing has changed");
    let id = fired(&bench.store)[0].2.clone();
    bench.turn([Input::Finished(id)]);
    assert_eq!(ask(&mut bench, "skips", trigger("k-1"))[0], "skips 10, trigger", "refused is not done");
    assert_eq!(bench.advance(10_000), [""; 0], "the one that was asked for runs: the next is left out");
    assert_eq!(counts(&bench, "skips"), (1, 0, 1, 0));
}

#[test]
fn a_row_remembers_the_last_requests_only() {
    let mut bench = bench("every: 1h, overlap: allow");
    for n in 0..=super::super::ASKED_MAX {
        ask(&mut bench, "beat", trigger(&format!("k-{n}")));
    }
    let row = row(&bench);
    assert_eq!((row.asked.len(), row.asked[0].key.as_str()), (super::super::ASKED_MAX, "k-1"));
    ask(&mut bench, "beat", trigger("k-0"));
    let fired = all_fired(&bench.store);
    assert_eq!(fired.first().map(|((.., id), _)| id), fired.last().map(|((.., id), _)| id), "the same id");
}

#[test]
fn an_operator_may_ask_before_the_first_tick() {
    let mut bench = bench("every: 10s, overlap: allow");
    assert_eq!(ask(&mut bench, "beat", pause()), ["pause: due 0, missed 0"]);
    assert_eq!(ask(&mut bench, "beet", pause()), ["schedule `beet` of this tenant does not exist"]);
    assert_eq!(bench.advance(10_000), [""; 0], "INV-CRON-6");
}

#[test]
fn other_times_leave_a_schedule_paused() {
    let mut old = bench("every: 10s, overlap: allow");
    ask(&mut old, "beat", pause());
    let mut new = Bench::with(old.store.clone(), config(&[&beat("every: 15s, overlap: allow")], &["beat"]));
    new.now.wall = old.now.wall;
    assert_eq!(new.advance(30_000), [""; 0], "INV-CRON-6");
    let mut effects = ask(&mut new, "beat", Verb::Resume);
    effects.extend(new.settle());
    assert_eq!(effects[0], "resume: due 2, missed 1");
}

#[test]
fn what_cannot_be_filled_in_is_refused() {
    let mut config = config(&[&beat("every: 10s")], &["beat"]);
    config.gas_max = 0;
    let mut bench: Bench<Calendar> = Bench::new(config);
    let answer = ask(&mut bench, "beat", trigger("k-1"));
    assert!(answer[0].contains("cannot be filled in: ") && answer[0].contains("out of gas"), "{answer:?}");
    assert_eq!(row(&bench).asked, []);
}
