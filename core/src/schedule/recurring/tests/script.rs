//! What a schedule does, step by step.

use super::*;
use crate::marks::Mark;

fn bench(fields: &str) -> Bench<Calendar> {
    Bench::new(config(&[&beat(fields)], &["beat"]))
}

fn bench_of(schedule: &str) -> Bench<Calendar> {
    Bench::new(config(&[], &[schedule]))
}

fn jump(bench: &mut Bench<Calendar>, s: i64) {
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms().saturating_add_signed(s * 1_000));
}

#[test]
pub(super) fn each_occurrence_fires_at_its_time_and_once() {
    let mut bench = bench("every: 10s, overlap: allow");
    assert_eq!(bench.advance(9_999), [""; 0]);
    assert_eq!(bench.advance(1), ["beat 10"]);
    assert_eq!(bench.advance(20_000), ["beat 20", "beat 30"]);
    let ids: Vec<CommandId> = fired(&bench.store).into_iter().map(|(.., id)| id).collect();
    assert_eq!(counts(&bench, "beat"), (3, 0, 0, 0));
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}

#[test]
fn every_tenant_has_occurrences_of_its_own() {
    let mut bench = bench("every: 10s, overlap: allow, tenants: [acme, globex, initech]");
    bench.settle();
    assert_eq!(bench.advance(10_000), ["beat 10", "beat 10", "beat 10"]);
    let ids: std::collections::BTreeSet<CommandId> =
        fired(&bench.store).into_iter().map(|(.., id)| id).collect();
    assert_eq!((ids.len(), bench.machine().0.rows().count()), (3, 3));
}

#[test]
fn a_commit_without_an_answer_fires_once() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench("every: 10s, overlap: allow");
        bench.settle();
        bench.oversleep(10_000);
        bench.turn_without_answer(landed, []);
        bench.advance(5_000);
        assert_eq!(times(&bench), [10], "INV-CRON-1, {landed:?}");
    }
}

#[test]
pub(super) fn what_was_missed_is_caught_up_with_as_far_as_it_may_be() {
    for (catch_up, expected, missed) in [
        ("{ policy: none }", vec![100], 9),
        ("{ policy: last, window: 1m }", vec![100], 9),
        ("{ policy: all, window: 1m, occurrences_max: 3 }", vec![80, 90, 100], 7),
        ("{ policy: all, window: 45s }", vec![60, 70, 80, 90, 100], 5),
        ("{ policy: all, window: 1h }", (1..=10).map(|n| n * 10).collect(), 0),
    ] {
        let mut bench = bench(&format!("every: 10s, overlap: allow, catch_up: {catch_up}"));
        bench.settle();
        bench.oversleep(100_000);
        bench.crash();
        bench.settle();
        assert_eq!(times(&bench), expected, "{catch_up}");
        assert_eq!(counts(&bench, "beat").1, missed, "{catch_up}");
        assert_eq!(bench.marked(Mark::RecurringMissed) > 0, missed > 0);
        bench.advance(10_000);
        assert_eq!(times(&bench).last(), Some(&110));
    }
}

#[test]
fn what_is_too_old_is_missed_even_if_nothing_else_is_due() {
    let mut bench = bench("cron: \"0 0 * * *\", catch_up: { policy: none }");
    bench.settle();
    bench.oversleep(86_400_000 + 3_600_000);
    bench.crash();
    bench.settle();
    assert_eq!((times(&bench), counts(&bench, "beat").1), (vec![], 1));
}

#[test]
pub(super) fn a_clock_that_is_put_back_repeats_nothing() {
    let mut bench = bench("every: 10s, overlap: allow");
    bench.advance(20_000);
    jump(&mut bench, -60);
    assert_eq!(bench.advance(69_999), [""; 0], "neither again nor early");
    assert_eq!(bench.advance(1), ["beat 30"]);
}

#[test]
fn a_clock_that_is_put_forward_is_noticed_soon() {
    let mut bench = bench("every: 1h, overlap: allow");
    bench.settle();
    jump(&mut bench, 7_200);
    assert_eq!(bench.advance(LIMITS.look_ms_max).len(), 1, "the last one is made up for");
}

#[test]
pub(super) fn an_occurrence_is_left_out_while_the_one_before_runs() {
    let mut bench = bench_of("skips");
    bench.advance(30_000);
    assert_eq!((times(&bench), counts(&bench, "skips")), (vec![10], (1, 0, 2, 0)));
    assert_eq!(bench.marked(Mark::RecurringSkipped), 2);
    let id = fired(&bench.store)[0].2.clone();
    bench.turn([Input::Finished(id)]);
    bench.advance(10_000);
    assert_eq!(times(&bench), [10, 40]);
}

#[test]
fn one_occurrence_waits_for_the_end_of_the_one_before() {
    let mut bench = bench_of("queues");
    bench.advance(30_000);
    assert_eq!((times(&bench), counts(&bench, "queues")), (vec![10], (1, 0, 1, 0)));
    bench.crash();
    let id = fired(&bench.store)[0].2.clone();
    assert_eq!(bench.turn([Input::Finished(id)]), ["queues 20"]);
    assert_eq!(bench.marked(Mark::RecurringQueued), 1);
    // Both at once: what has waited goes first, and the new one waits.
    bench.advance(10_000);
    bench.oversleep(10_000);
    let id = fired(&bench.store)[1].2.clone();
    assert_eq!(bench.turn([Input::Finished(id)]), ["queues 40"]);
    let id = fired(&bench.store)[2].2.clone();
    assert_eq!(bench.turn([Input::Finished(id)]), ["queues 50"]);
}

#[test]
fn what_waits_is_not_early_either_when_the_clock_is_put_back() {
    let mut bench = bench_of("queues");
    bench.advance(20_000);
    jump(&mut bench, -5);
    let id = fired(&bench.store)[0].2.clone();
    assert_eq!(bench.turn([Input::Finished(id)]), [""; 0]);
    assert_eq!(bench.advance(5_000), ["queues 20"]);
}

#[test]
fn a_command_runs_until_it_is_answered() {
    let mut bench = bench("every: 10s");
    bench.advance(20_000);
    assert_eq!((times(&bench), counts(&bench, "beat")), (vec![10], (1, 0, 1, 0)));
    let id = fired(&bench.store)[0].2.clone();
    bench.turn([Input::Answered(id, Some("refused: no: tea"))]);
    bench.advance(10_000);
    assert_eq!((times(&bench), counts(&bench, "beat")), (vec![10, 30], (2, 0, 1, 1)));
    let row = bench.machine().0.rows().next().expect("a row").1;
    assert_eq!(row.error.as_deref(), Some("refused: no: tea"));
}

#[test]
fn other_times_begin_now_and_never_before_one_that_has_fired() {
    let mut old = bench("every: 10s, overlap: allow");
    old.advance(20_000);
    let mut new = Bench::with(old.store.clone(), config(&[&beat("every: 15s, overlap: allow")], &["beat"]));
    new.now.wall = old.now.wall;
    // The clock is put back as well: what is not after 20 is over.
    jump(&mut new, -10);
    new.advance(25_000);
    assert_eq!(times(&new), [10, 20, 35]);
}

#[test]
fn a_schedule_that_is_removed_loses_its_row() {
    let mut old = bench("every: 10s");
    old.advance(10_000);
    let mut new: Bench<Calendar> = Bench::with(old.store.clone(), config(&[], &[]));
    new.settle();
    assert!(rows(&new.store, Table::Recurring).is_empty());
    assert_eq!(new.deadline(), None);
}

#[test]
fn jitter_delays_by_a_fixed_amount_and_keeps_the_order() {
    let delays = || {
        let mut bench = bench("every: 10s, overlap: allow, jitter: 9s");
        let mut delays = Vec::new();
        for s in 1..=60_u64 {
            bench.advance(1_000);
            delays.extend(times(&bench).get(delays.len()).map(|due| s - due));
        }
        delays
    };
    let first = delays();
    assert_eq!(first, delays());
    assert!(first.iter().all(|delay| *delay <= 10) && first.iter().any(|delay| *delay > 1), "{first:?}");
}

#[test]
fn what_cannot_be_filled_in_is_counted_and_told() {
    let mut config = config(&[&beat("every: 10s")], &["beat"]);
    config.gas_max = 0;
    let mut bench: Bench<Calendar> = Bench::new(config);
    bench.advance(10_000);
    assert_eq!(counts(&bench, "beat"), (0, 0, 0, 1));
    let row = bench.machine().0.rows().next().expect("a row").1;
    assert!(row.error.as_deref().is_some_and(|error| error.contains("out of gas")), "{row:?}");
}
