//! Limits by key: who waits for whom, for how long, and who does not have to.

use super::{
    Bench, CircuitLimits, Config, Desk, Effect, EffectCommand, LIMITS, LONG_MS, Phase, answer, charge,
    command, commanded, config, ends, key, ledger, nothing_is_open, on_line, only, phase, unknown,
};
use crate::effect::Limits;
use crate::effect::lanes::Lanes;
use crate::marks::Mark;
use serde_json::json;

const ROOMY: Limits = Limits { in_flight_max: 64, tracked_max: 64, lanes_max: 16, ..LIMITS };

fn bench_of(limits: Limits) -> Bench<Desk> {
    Bench::new(Config { limits, ..config() })
}

/// Two calls at once on a line.
fn ring(line: &str, nth: usize) -> EffectCommand {
    on_line("ring", line, &format!("{line}-{nth}"))
}

/// Four calls in a second on a line, two of them at one moment.
fn beat(line: &str, nth: usize) -> EffectCommand {
    on_line("beat", line, &format!("{line}-{nth}"))
}

fn ids(calls: &[Effect]) -> Vec<&str> {
    calls.iter().map(|call| key(call).trim_start_matches("acme:")).collect()
}

/// Every call is answered at once, for so long; what began, and when.
fn answered(bench: &mut Bench<Desk>, mut calls: Vec<Effect>, for_ms: u64) -> Vec<(u64, String)> {
    let end = bench.now.mono.plus_ms(for_ms);
    let mut begun = Vec::new();
    loop {
        let at_ms = bench.now.mono.as_ns() / 1_000_000;
        begun.extend(ids(&calls).into_iter().map(|id| (at_ms, id.to_owned())));
        let answers: Vec<_> = calls.iter().map(|call| answer(call, 200)).collect();
        if !answers.is_empty() {
            calls = bench.turn(answers);
            continue;
        }
        match bench.deadline().filter(|(at, _)| *at <= end) {
            Some((at, _)) => calls = bench.advance(at.ms_since(bench.now.mono)),
            None => return begun,
        }
    }
}

#[test]
pub(super) fn no_more_are_under_way_under_a_key_than_may_be_and_the_rest_waits_in_order() {
    let mut bench = bench_of(ROOMY);
    let calls = bench.turn((1..=5).map(|nth| commanded(ring("a", nth))));
    assert_eq!(ids(&calls), ["a-1", "a-2"], "INV-EFF-8");
    assert_eq!((bench.machine().0.queued(), bench.marked(Mark::EffectLaneFull)), (3, 3));
    assert_eq!(ids(&bench.turn([answer(&calls[1], 200)])), ["a-3"], "INV-EFF-8");
    assert_eq!(ids(&bench.turn([answer(&calls[0], 422)])), ["a-4"], "INV-EFF-8");
    assert_eq!(bench.turn([commanded(ring("a", 6))]), [], "it does not overtake a-5");
    assert_eq!(
        ids(&bench.advance(500 + LIMITS.answer_slack_ms)),
        ["a-5", "a-6"],
        "given up is not under way"
    );
}

#[test]
pub(super) fn no_more_begin_in_a_second_under_a_key_than_may() {
    let mut bench = bench_of(ROOMY);
    let calls = bench.turn((1..=8).map(|nth| commanded(beat("a", nth))));
    let begun = answered(&mut bench, calls, LONG_MS);
    let at: Vec<u64> = begun.iter().map(|(at_ms, _)| *at_ms).collect();
    assert_eq!(
        at,
        [250, 500, 750, 1_000, 1_250, 1_500, 1_750, 2_000],
        "INV-EFF-8: a life begins without a burst"
    );
    assert!(bench.marked(Mark::EffectLanePaced) >= 8);
    bench.oversleep(LONG_MS);
    let rested = bench.now.mono.as_ns() / 1_000_000;
    let calls = bench.turn((11..=15).map(|nth| commanded(beat("a", nth))));
    let begun = answered(&mut bench, calls, LONG_MS);
    let at: Vec<u64> = begun.iter().map(|(at_ms, _)| at_ms - rested).collect();
    assert_eq!(at, [0, 0, 250, 500, 750], "INV-EFF-8");
    nothing_is_open(&bench);
}

#[test]
fn a_retry_is_a_call_and_waits_behind_those_that_came_before_it() {
    let mut bench = bench_of(ROOMY);
    let calls = bench.turn((1..=2).map(|nth| commanded(ring("a", nth))));
    bench.turn([unknown(&calls[0]), commanded(ring("a", 3)), commanded(ring("a", 4))]);
    assert_eq!(bench.advance(LONG_MS / 100), [], "INV-EFF-8: a-2 and a-3 are under way");
    assert_eq!(ids(&bench.turn([answer(&calls[1], 200)])), ["a-4"]);
}

#[test]
fn other_keys_and_other_effects_go_on_however_many_wait() {
    let mut bench = bench_of(Limits { in_flight_max: 8, tracked_max: 8, ..ROOMY });
    let busy = bench.turn((1..=40).map(|nth| commanded(ring("a", nth))));
    assert_eq!(ids(&busy), ["a-1", "a-2"]);
    assert!(bench.settle().is_empty() && bench.machine().0.queued() <= 4);
    assert!(bench.marked(Mark::EffectLaneForgotten) > 0, "memory has a place for some");
    let calls = bench.turn([commanded(ring("b", 1)), commanded(charge("c-1")), commanded(ring("b", 2))]);
    assert_eq!(ids(&calls), ["b-1", "c-1", "b-2"]);
    assert_eq!(bench.turn(calls.iter().map(|call| answer(call, 200))), []);
    // Those on disk have their turn too, in the order in which they came.
    let begun = answered(&mut bench, busy, LONG_MS);
    let ids: Vec<&str> = begun.iter().map(|(_, id)| id.as_str()).collect();
    assert_eq!(ids, (1..=40).map(|nth| format!("a-{nth}")).collect::<Vec<_>>());
    nothing_is_open(&bench);
}

#[test]
fn more_keys_than_lanes_take_turns() {
    let mut bench = bench_of(Limits { lanes_max: 1, ..ROOMY });
    let calls = bench.turn((1..=6).flat_map(|nth| ["a", "b", "c"].map(|line| commanded(ring(line, nth)))));
    assert_eq!(ids(&calls), ["a-1"], "b waits for the lane, so nobody else comes to it");
    assert!(bench.marked(Mark::EffectLanesCrowded) > 0);
    let first = |begun: &[(u64, String)], line: &str| begun.iter().position(|(_, id)| id.starts_with(line));
    let begun = answered(&mut bench, calls, LONG_MS);
    assert!(first(&begun, "b") < Some(6) && first(&begun, "c") < Some(12), "{begun:?}");
    assert_eq!(begun.len(), 18);
    nothing_is_open(&bench);
    // A lane whose bucket is not full yet is not given away.
    let calls = bench.turn([commanded(beat("a", 11)), commanded(beat("b", 11))]);
    let begun = answered(&mut bench, calls, LONG_MS);
    assert_eq!(begun.len(), 2);
    assert!(begun[1].0 - begun[0].0 >= 250, "{begun:?}");
    nothing_is_open(&bench);
}

#[test]
fn what_fails_for_ever_keeps_nobody_from_its_turn() {
    for tracked_max in [4, 6, 64] {
        let mut bench = bench_of(Limits { tracked_max, ..ROOMY });
        let mut calls = bench.turn((1..=12).map(|nth| commanded(ring("a", nth))));
        let mut begun = std::collections::BTreeSet::new();
        for _ in 0..200 {
            begun.extend(ids(&calls).into_iter().map(str::to_owned));
            let failed: Vec<_> = calls.iter().map(unknown).collect();
            calls = bench.turn(failed);
            if calls.is_empty() {
                let (at, _) = bench.deadline().expect("tries again");
                calls = bench.advance(at.ms_since(bench.now.mono));
            }
        }
        assert_eq!(begun.len(), 12, "of {tracked_max} in memory: {begun:?}");
    }
}

#[test]
fn a_key_that_cannot_be_worked_out_is_left_to_a_person() {
    let mut bench = bench_of(ROOMY);
    let mut listed = ring("a", 2);
    listed.payload["line"] = json!(["a"]);
    let calls = bench.turn([commanded(command("ring", "w-1")), commanded(listed), commanded(ring("a", 3))]);
    assert_eq!(ids(&calls), ["a-3"]);
    for (id, why) in [("w-1", "line"), ("a-2", "not as text or a number")] {
        let Phase::Parked { reason } = phase(&bench, id) else { panic!("{id} is not parked") };
        assert!(
            reason.contains("the key of its limits cannot be worked out") && reason.contains(why),
            "{reason}"
        );
    }
}

#[test]
fn what_waits_for_its_turn_runs_out_of_time_there_and_says_why() {
    let mut bench = bench_of(ROOMY);
    let calls = bench.turn((1..=3).map(|nth| commanded(on_line("knock", "a", &format!("w-{nth}")))));
    assert_eq!(ids(&calls), ["w-1"]);
    bench.advance(999);
    assert_eq!(ledger(&bench, "w-3").map(|row| row.attempts), Some(0), "waiting costs no attempt");
    let calls = bench.advance(1);
    for id in ["w-2", "w-3"] {
        let Phase::Parked { reason } = phase(&bench, id) else { panic!("{id} is {:?}", phase(&bench, id)) };
        assert!(reason.contains("under the limits of its key"), "{reason}");
    }
    assert_eq!((calls.len(), bench.machine().0.queued()), (0, 0));
}

#[test]
fn a_new_life_does_not_count_what_is_under_way_and_begins_with_empty_buckets() {
    let mut bench = bench_of(ROOMY);
    bench.turn((1..=4).map(|nth| commanded(ring("a", nth))));
    bench.advance(100);
    assert_eq!(bench.turn([commanded(beat("b", 1))]), [], "INV-EFF-8: the first of a life");
    bench.crash();
    assert_eq!(ids(&bench.settle()), ["a-1", "a-2"], "INV-EFF-8");
    assert_eq!(bench.advance(249), [], "INV-EFF-8");
    assert_eq!(ids(&bench.advance(1)), ["b-1"]);
}

#[test]
fn who_is_called_when_its_upstream_is_away_leaves_its_turn_to_nobody_and_comes_back() {
    let circuit = CircuitLimits { failures_max: 2, pause_ms: 1_000, pause_ms_max: 1_000 };
    let mut bench = bench_of(Limits { circuit, ..ROOMY });
    let calls = bench.turn((1..=6).map(|nth| commanded(ring("a", nth))));
    assert_eq!(bench.turn(calls.iter().map(unknown)), []);
    assert_eq!(
        (bench.machine().0.held(), bench.machine().0.queued()),
        (4, 0),
        "they wait for their upstream"
    );
    let probe = only(bench.advance(1_000));
    let calls = bench.turn([answer(&probe, 200)]);
    assert_eq!(calls.len(), 2, "INV-EFF-8");
    assert_eq!(answered(&mut bench, calls, LONG_MS).len(), 5);
    nothing_is_open(&bench);
}

#[test]
fn who_is_not_limited_never_comes_to_a_lane() {
    let mut bench = bench_of(ROOMY);
    let calls = bench.turn((1..=5).map(|nth| commanded(charge(&format!("w-{nth}")))));
    bench.turn([unknown(&calls[0]), answer(&calls[1], 200)]);
    assert_eq!(bench.machine().0.lanes, Lanes::default());
    assert_eq!(ends(&bench), ["w-2 succeeded"]);
}
