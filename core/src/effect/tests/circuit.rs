//! The circuit of an upstream: what waits for it, and what does not have to.

use super::{
    Bench, CircuitLimits, Config, Desk, Effect, Input, LIMITS, Phase, answer, bench, charge, command,
    commanded, config, ends, key, ledger, not_sent, nothing_is_open, on_line, only, operate, phase, unknown,
    words,
};
use crate::effect::{Limits, Standing};
use crate::marks::Mark;
use crate::wire::envelope::EffectOutcome;

const CIRCUIT: CircuitLimits = CircuitLimits { failures_max: 3, pause_ms: 1_000, pause_ms_max: 4_000 };

fn fragile(limits: Limits) -> Bench<Desk> {
    Bench::new(Config { limits: Limits { circuit: CIRCUIT, ..limits }, ..config() })
}

fn standing(bench: &Bench<Desk>, upstream: &str) -> Standing {
    bench.machine().0.circuits().find(|(name, _)| *name == upstream).expect("an upstream").1
}

const SHOP: &str = "127.0.0.1:7070";

/// One charge fails until the circuit of the shop's services opens.
fn opened(bench: &mut Bench<Desk>) {
    let mut call = only(bench.turn([commanded(charge("first"))]));
    for _ in 1..CIRCUIT.failures_max {
        assert_eq!(bench.turn([unknown(&call)]), []);
        let (at, _) = bench.deadline().expect("a pause");
        call = only(bench.advance(at.ms_since(bench.now.mono)));
    }
    assert_eq!(standing(bench, SHOP), Standing::Closed);
    assert_eq!(bench.turn([unknown(&call)]), []);
    assert_eq!(standing(bench, SHOP), Standing::Open);
}

#[test]
pub(super) fn an_upstream_that_fails_again_and_again_is_left_alone() {
    type Failed<'a> = &'a dyn Fn(&Effect) -> Input;
    let failures: [Failed<'_>; 3] = [&unknown, &|call| answer(call, 503), &|call| not_sent(call, false)];
    for failed in failures {
        let mut bench = fragile(LIMITS);
        opened(&mut bench);
        assert_eq!(bench.turn([commanded(charge("w-1")), commanded(charge("w-2"))]), [], "INV-EFF-7");
        let probe = only(bench.advance(CIRCUIT.pause_ms));
        assert_eq!(standing(&bench, SHOP), Standing::HalfOpen);
        assert_eq!(bench.turn([commanded(charge("w-3"))]), [], "INV-EFF-7");
        assert_eq!(bench.turn([failed(&probe)]), []);
        assert_eq!(bench.advance(2 * CIRCUIT.pause_ms - 1), [], "a longer pause");
        let probe = only(bench.advance(1));
        let attempts = |id: &&str| ledger(&bench, id).map_or(0, |row| row.attempts);
        let called: u32 = ["first", "w-1", "w-2", "w-3"].iter().map(attempts).sum();
        assert_eq!(called, CIRCUIT.failures_max + 2, "waiting costs no attempt");
        let mut calls = bench.turn([answer(&probe, 402)]);
        assert_eq!((standing(&bench, SHOP), calls.len()), (Standing::Closed, LIMITS.in_flight_max));
        while let Some(call) = calls.pop() {
            calls.extend(bench.turn([answer(&call, 200)]));
        }
        bench.advance(super::LONG_MS).iter().for_each(|call| drop(bench.turn([answer(call, 200)])));
        assert_eq!(ends(&bench).len(), 4);
        nothing_is_open(&bench);
        assert!(bench.marked(Mark::EffectCircuitOpened) >= 2 && bench.marked(Mark::EffectProbed) == 2);
    }
}

/// It is the call that fails, not the upstream: those behind it find out.
#[test]
fn one_effect_that_is_never_answered_does_not_keep_others_from_their_turn() {
    // Longer than its own pauses: it is always among those that wait.
    let circuit = CircuitLimits { pause_ms: 60_000, pause_ms_max: 60_000, ..CIRCUIT };
    let limits = Limits { tracked_max: 64, circuit, ..LIMITS };
    let mut bench = Bench::new(Config { limits, ..config() });
    opened(&mut bench);
    bench.turn((1..=3).map(|n| commanded(charge(&format!("w-{n}")))));
    let mut left = 200;
    while ends(&bench).len() < 3 {
        left -= 1;
        assert!(left > 0, "only {:?} have ended", ends(&bench));
        let Some((at, _)) = bench.deadline() else { panic!("nothing is due") };
        let mut calls = bench.advance(at.ms_since(bench.now.mono));
        while let Some(call) = calls.pop() {
            let status = if key(&call) == "acme:first" { 503 } else { 200 };
            calls.extend(bench.turn([answer(&call, status)]));
        }
    }
    assert_eq!(ledger(&bench, "first").map(|row| row.phase), Some(Phase::Open));
}

#[test]
fn pauses_grow_and_end() {
    let mut bench = fragile(LIMITS);
    opened(&mut bench);
    bench.turn([commanded(charge("w-1"))]);
    for pause_ms in [1_000, 2_000, 4_000, 4_000, 4_000] {
        assert_eq!(bench.advance(pause_ms - 1), []);
        let probe = only(bench.advance(1));
        bench.turn([unknown(&probe)]);
    }
}

#[test]
fn an_answer_of_any_kind_begins_the_count_anew() {
    let mut bench = fragile(LIMITS);
    for nth in 0..3 {
        let [one, two] = ["a", "b"].map(|name| charge(&format!("{name}-{nth}")));
        let calls = bench.turn([commanded(one), commanded(two)]);
        bench.turn([not_sent(&calls[0], false), answer(&calls[1], 422)]);
        let again = only(bench.advance(100));
        bench.turn([answer(&again, 200)]);
    }
    assert_eq!((standing(&bench, SHOP), ends(&bench).len()), (Standing::Closed, 6));
}

#[test]
fn others_go_on_however_many_wait() {
    let mut bench = fragile(LIMITS);
    opened(&mut bench);
    assert_eq!(bench.turn((1..=20).map(|n| commanded(charge(&format!("w-{n}"))))), []);
    assert_eq!(bench.settle(), []);
    let mut calls = bench.turn((1..=4).map(|n| commanded(command("poke", &format!("p-{n}")))));
    while let Some(call) = calls.pop() {
        assert!(key(&call).starts_with("acme:p-"), "INV-EFF-7: {}", key(&call));
        calls.extend(bench.turn([answer(&call, 200)]));
        calls.extend(bench.settle());
    }
    assert_eq!(ends(&bench).len(), 4);
    assert!(bench.machine().0.held() <= LIMITS.tracked_max / 2 && bench.marked(Mark::EffectForgotten) > 0);
    // Whoever was forgotten is called when the upstream answers again.
    let mut calls = bench.advance(CIRCUIT.pause_ms);
    assert_eq!(calls.len(), 1);
    while let Some(call) = calls.pop() {
        calls.extend(bench.turn([answer(&call, 200)]));
        calls.extend(bench.advance(200));
    }
    assert_eq!(ends(&bench).len(), 4 + 21);
    nothing_is_open(&bench);
}

#[test]
fn a_window_of_one_is_enough_to_wait() {
    let mut bench = fragile(Limits { in_flight_max: 1, tracked_max: 1, ..LIMITS });
    opened(&mut bench);
    bench.turn([commanded(charge("w-1")), commanded(command("poke", "p-1"))]);
    // The place of the first is free when its own pause is over.
    let poke = only(bench.advance(CIRCUIT.pause_ms - 1));
    assert_eq!(words(std::slice::from_ref(&poke)), ["poke acme:p-1 #1"]);
    bench.turn([answer(&poke, 200)]);
    let mut calls = bench.advance(CIRCUIT.pause_ms);
    while let Some(call) = calls.pop() {
        calls.extend(bench.turn([answer(&call, 200)]));
        calls.extend(bench.settle());
    }
    assert_eq!(ends(&bench).len(), 3);
}

#[test]
fn a_probe_that_may_not_be_made_leaves_its_turn_to_the_next() {
    let mut bench = fragile(LIMITS);
    opened(&mut bench);
    let mut unfillable = charge("w-1");
    unfillable.payload = serde_json::json!({});
    bench.turn([commanded(unfillable), commanded(charge("w-2"))]);
    let probe = only(bench.advance(CIRCUIT.pause_ms));
    let next = only(bench.turn([not_sent(&probe, true)]));
    assert_ne!(key(&probe), key(&next));
    bench.turn([answer(&next, 200)]);
    assert_eq!(standing(&bench, SHOP), Standing::Closed);
}

#[test]
fn a_probe_that_an_operator_settles_leaves_its_turn_to_the_next() {
    let mut bench = fragile(Limits { tracked_max: 9, ..LIMITS });
    opened(&mut bench);
    assert_eq!(bench.turn([commanded(charge("w-1"))]), []);
    bench.advance(CIRCUIT.pause_ms - 100);
    let busy = bench.turn(["r-1", "r-2"].map(|id| commanded(on_line("ring", "a", id))));
    assert_eq!(busy.len(), LIMITS.in_flight_max);
    assert_eq!(bench.advance(100), [], "the probe waits for a place");
    assert_eq!(standing(&bench, SHOP), Standing::HalfOpen);
    let settled = operate::settle(EffectOutcome::Failed, serde_json::json!({}));
    assert_eq!(bench.turn([operate::asks("first", settled)]), []);
    let next = only(bench.turn([answer(&busy[0], 200)]));
    assert_eq!(key(&next), "acme:w-1");
}

#[test]
fn what_waits_for_an_upstream_runs_out_of_time_there() {
    let mut bench = fragile(LIMITS);
    let calls = bench.turn([commanded(command("ping", "w-1")), commanded(command("ping", "w-2"))]);
    bench.turn(calls.iter().map(unknown));
    let call = bench.advance(200).remove(0);
    bench.turn([unknown(&call)]);
    assert_eq!(standing(&bench, "outside:80"), Standing::Open);
    assert_eq!(bench.turn([commanded(command("ping", "w-3"))]), []);
    while let Some(probe) = bench.advance(100).pop() {
        bench.turn([unknown(&probe)]);
    }
    for _ in 0..5 {
        for probe in bench.advance(1_000) {
            bench.turn([unknown(&probe)]);
        }
    }
    for id in ["w-1", "w-2", "w-3"] {
        assert!(matches!(phase(&bench, id), Phase::Parked { .. }), "{id} is {:?}", phase(&bench, id));
    }
    nothing_is_open(&bench);
}

#[test]
fn what_is_parked_when_a_pause_ends_is_not_found_again() {
    let circuit = CircuitLimits { failures_max: 1, pause_ms: super::time::TOTAL_MS, pause_ms_max: 10_000 };
    let mut bench = Bench::<Desk>::new(Config { limits: Limits { circuit, ..LIMITS }, ..config() });
    let call = only(bench.turn([commanded(command("ping", "w-1"))]));
    bench.turn([not_sent(&call, false), commanded(command("ping", "w-2"))]);
    // One of them is held, the other is forgotten; the end of their time and of the pause is one moment.
    bench.advance(500);
    assert_eq!((bench.machine().0.held(), bench.marked(Mark::EffectForgotten)), (1, 1));
    assert_eq!(bench.advance(super::time::TOTAL_MS), []);
    for id in ["w-1", "w-2"] {
        assert!(matches!(phase(&bench, id), Phase::Parked { .. }), "{id} is {:?}", phase(&bench, id));
    }
    nothing_is_open(&bench);
}

#[test]
fn a_new_life_finds_out_anew() {
    let mut bench = fragile(LIMITS);
    opened(&mut bench);
    bench.turn([commanded(charge("w-1"))]);
    bench.crash();
    assert_eq!(bench.settle().len(), 2);
    assert_eq!(standing(&bench, SHOP), Standing::Closed);
}

#[test]
fn an_answer_to_an_earlier_call_shows_that_it_is_there() {
    let mut bench = fragile(LIMITS);
    let slow = only(bench.turn([commanded(charge("slow"))]));
    opened(&mut bench);
    assert_eq!(bench.turn([commanded(charge("w-1"))]), []);
    let calls = bench.turn([answer(&slow, 200)]);
    assert_eq!((standing(&bench, SHOP), calls.len()), (Standing::Closed, 1));
}

#[test]
fn nobody_waits_where_nobody_is_called_twice() {
    let upstreams: Vec<String> = bench().machine().0.circuits().map(|(name, _)| name.to_owned()).collect();
    assert_eq!(
        upstreams,
        [SHOP, "outside:80", "poke"],
        "a URL that is worked out stands for its effect alone"
    );
}

#[test]
pub(super) fn what_is_found_again_with_holes_behind_it_leaves_nothing_to_read() {
    let mut bench = fragile(LIMITS);
    opened(&mut bench);
    bench.turn([commanded(charge("w-1")), commanded(charge("w-2"))]);
    assert_eq!((bench.machine().0.held(), bench.marked(Mark::EffectForgotten)), (1, 1));
    let poke = only(bench.turn([commanded(command("poke", "p-1"))]));
    bench.turn([answer(&poke, 200)]);
    let mut calls = bench.advance(CIRCUIT.pause_ms);
    while let Some(call) = calls.pop() {
        calls.extend(bench.turn([answer(&call, 200)]));
        assert_ne!(
            bench.deadline(),
            Some((crate::Mono::ZERO, super::Timer::Retry)),
            "there is nothing to read"
        );
        calls.extend(bench.advance(200));
    }
    assert_eq!(ends(&bench).len(), 4);
    assert_eq!(bench.deadline(), None);
}
