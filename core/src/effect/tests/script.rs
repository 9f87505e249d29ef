//! The diagram of the module, arrow by arrow, and its invariants by name.

use super::{
    Bench, Config, Desk, Effect, Input, LIMITS, LONG_MS, Landed, Phase, Timer, answer, bench, charge,
    command, commanded, config, ends, key, ledger, not_sent, nothing_is_open, only, phase, receipt, results,
    token, unknown, words,
};
use crate::effect::{self, Limits};
use crate::halt::Halt;
use crate::invariants::Invariant;
use crate::manifest::{EffectRequest, HttpRequest};
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::store::Table;
use crate::time::Mono;
use crate::wire::envelope::{EffectOutcome, PAYLOAD_BYTES_MAX};
use crate::wire::keys;
use serde_json::json;

fn next_attempt(bench: &mut Bench<Desk>) -> Effect {
    let (at, _) = bench.deadline().expect("a pause");
    only(bench.advance(at.ms_since(bench.now.mono)))
}

#[test]
fn a_command_is_written_down_called_and_settled_with_its_result() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1"))]));
    let Effect::Execute { tenant, effect, attempt, request, timeout_ms, context, .. } = &call;
    assert_eq!(context.as_ref(), Some(&charge("w-1").context), "what it belongs to, for whoever performs it");
    assert_eq!((tenant.as_str(), effect.as_str(), *attempt, *timeout_ms), ("acme", "charge_card", 1, 2_000));
    let EffectRequest::Http(HttpRequest { method, url, headers, body, .. }) = request else {
        panic!("{request:?}")
    };
    assert_eq!((*method, url.as_str()), ("POST", "http://127.0.0.1:7070/payments/charges"));
    assert_eq!(headers, &[("x-tenant-id".to_owned(), "acme".to_owned())]);
    assert_eq!(body, &Some(json!({ "order": "o-1", "cents": 5, "card": "valid" })));
    assert_eq!(phase(&bench, "w-1"), Phase::Started { incarnation: 1 }, "INV-EFF-1");
    let give_up_at = Mono::ZERO.plus_ms(2_000 + LIMITS.answer_slack_ms);
    assert_eq!(bench.deadline(), Some((give_up_at, Timer::Retry)));
    assert_eq!(bench.turn([answer(&call, 201)]), []);
    let (id, result) = results(&bench).remove(0);
    assert_eq!(
        (id.as_str(), &result["result_type"], &result["payload"]),
        ("w-1", &json!("succeeded"), &json!({ "id": "p-1" }))
    );
    assert_eq!(result["metadata"]["saga"]["correlation"], "o-1");
    assert_eq!(phase(&bench, "w-1"), Phase::Settled { outcome: EffectOutcome::Succeeded });
    assert_eq!(ledger(&bench, "w-1").and_then(|row| row.call), None, "what it needed is dropped");
    nothing_is_open(&bench);
}

#[test]
fn what_the_outside_refuses_for_good_is_a_result_too() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1"))]));
    bench.turn([answer(&call, 402)]);
    assert_eq!(results(&bench)[0].1["payload"], json!({ "status": 402, "body": { "id": "p-1" } }));
    let call = only(bench.turn([commanded(charge("w-2"))]));
    bench.turn([not_sent(&call, true)]);
    assert_eq!(results(&bench)[1].1["payload"], json!({ "error": "no route" }));
    assert_eq!(ends(&bench), ["w-1 failed", "w-2 failed"]);
    nothing_is_open(&bench);
}

#[test]
fn what_has_no_answer_or_cannot_be_done_now_is_tried_again_after_a_pause() {
    type Answer<'a> = &'a dyn Fn(&Effect) -> Input;
    let answers: [(Answer<'_>, u32); 3] =
        [(&unknown, 1), (&|call| answer(call, 503), 1), (&|call| not_sent(call, false), 0)];
    for (answered, ambiguous) in answers {
        let mut bench = bench();
        let mut call = only(bench.turn([commanded(charge("w-1"))]));
        for attempt in 1..10 {
            assert_eq!(bench.turn([answered(&call)]), [], "not at once");
            let pause = bench.deadline().expect("tries again").0.ms_since(bench.now.mono);
            assert!((1..=5_000).contains(&pause) && (attempt > 1 || pause <= 100), "{pause}");
            call = next_attempt(&mut bench);
            assert_eq!(
                words(std::slice::from_ref(&call)),
                [format!("charge_card acme:w-1 #{}", attempt + 1)]
            );
            let row = ledger(&bench, "w-1").expect("known");
            assert_eq!((row.attempts, row.ambiguous), (attempt + 1, ambiguous * attempt));
        }
        bench.turn([answer(&call, 200)]);
        assert_eq!(ends(&bench), ["w-1 succeeded"], "INV-EFF-4");
        nothing_is_open(&bench);
    }
}

#[test]
fn an_answer_that_never_comes_counts_as_none() {
    let mut bench = bench();
    let first = only(bench.turn([commanded(charge("w-1"))]));
    assert_eq!(bench.advance(2_000 + LIMITS.answer_slack_ms), []);
    assert_eq!((bench.machine().0.in_flight(), bench.marked(Mark::EffectRetryUnknown)), (0, 1));
    let second = next_attempt(&mut bench);
    assert_eq!(bench.turn([answer(&first, 402)]), [], "too late");
    assert_eq!((ends(&bench), bench.marked(Mark::EffectStale)), (vec![], 1), "INV-EFF-3");
    bench.turn([answer(&second, 200)]);
    assert_eq!(ends(&bench), ["w-1 succeeded"]);
}

#[test]
pub(super) fn the_idempotency_key_is_the_same_in_every_attempt_and_every_life() {
    let mut bench = bench();
    let mut call = only(bench.turn([commanded(charge("w-1"))]));
    for _ in 0..3 {
        assert_eq!(key(&call), "acme:w-1", "INV-EFF-2");
        bench.turn([unknown(&call)]);
        call = next_attempt(&mut bench);
        assert_eq!(key(&call), "acme:w-1", "INV-EFF-2");
        bench.crash();
        call = only(bench.settle());
    }
    assert_eq!(bench.marked(Mark::EffectResumed), 3);
}

#[test]
pub(super) fn a_command_that_comes_again_is_not_carried_out_again() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1")), commanded(charge("w-1"))]));
    bench.turn([commanded(charge("w-1"))]);
    bench.turn([answer(&call, 200)]);
    bench.crash();
    assert_eq!(bench.turn([commanded(charge("w-1"))]), [], "INV-EFF-4");
    assert_eq!((ends(&bench), bench.marked(Mark::EffectDuplicate)), (vec!["w-1 succeeded".into()], 3));
    nothing_is_open(&bench);
}

#[test]
fn a_call_that_was_under_way_at_a_crash_is_repeated_and_counted_as_ambiguous() {
    let mut bench = bench();
    let first = only(bench.turn([commanded(charge("w-1"))]));
    bench.crash();
    let again = only(bench.settle());
    assert_eq!(words(std::slice::from_ref(&again)), ["charge_card acme:w-1 #2"]);
    assert_eq!(ledger(&bench, "w-1").map(|row| row.ambiguous), Some(1));
    assert_eq!(bench.turn([answer(&first, 402)]), [], "an answer for an earlier life");
    bench.turn([answer(&again, 200)]);
    assert_eq!(ends(&bench), ["w-1 succeeded"]);
}

#[test]
pub(super) fn what_may_happen_at_most_once_is_not_repeated_after_silence() {
    type Answer<'a> = &'a dyn Fn(&mut Bench<Desk>, &Effect);
    let silences: [Answer<'_>; 4] = [
        &|bench, call| drop(bench.turn([unknown(call)])),
        &|bench, call| drop(bench.turn([answer(call, 503)])),
        &|bench, _| drop(bench.advance(2_000 + LIMITS.answer_slack_ms)),
        &|bench, _| bench.crash(),
    ];
    for silence in silences {
        let mut bench = bench();
        let call = only(bench.turn([commanded(receipt("w-1"))]));
        silence(&mut bench, &call);
        assert_eq!(bench.advance(LONG_MS), [], "INV-EFF-5");
        assert!(matches!(phase(&bench, "w-1"), Phase::Parked { .. }));
        assert_eq!((ends(&bench), bench.marked(Mark::EffectParked)), (vec![], 1));
        assert_eq!(bench.turn([answer(&call, 200)]), [], "nobody listens any more");
        bench.crash();
        assert_eq!(bench.settle(), []);
        nothing_is_open(&bench);
    }
}

#[test]
pub(super) fn what_may_happen_at_most_once_is_tried_again_when_it_was_definitely_not_sent() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(receipt("w-1"))]));
    bench.turn([not_sent(&call, false)]);
    let again = next_attempt(&mut bench);
    bench.turn([not_sent(&again, false)]);
    // Nothing is under way in the pause, so a restart leaves no doubt.
    bench.crash();
    let again = only(bench.settle());
    assert_eq!(ledger(&bench, "w-1").map(|row| (row.attempts, row.ambiguous)), Some((3, 0)));
    bench.turn([answer(&again, 200)]);
    assert_eq!(ends(&bench), ["w-1 succeeded"]);
}

#[test]
fn how_the_last_attempt_ended_is_on_record_until_it_succeeds() {
    let mut bench = bench();
    let last = |bench: &Bench<Desk>| ledger(bench, "w-1").and_then(|row| row.last);
    let call = only(bench.turn([commanded(charge("w-1"))]));
    bench.turn([answer(&call, 503)]);
    assert!(last(&bench).is_some_and(|last| last.starts_with("status 503")), "{:?}", last(&bench));
    let call = next_attempt(&mut bench);
    bench.turn([not_sent(&call, false)]);
    assert!(last(&bench).is_some_and(|last| last.starts_with("not sent: ")), "{:?}", last(&bench));
    next_attempt(&mut bench);
    bench.crash();
    let call = only(bench.settle());
    assert_eq!(last(&bench).as_deref(), Some("the process ended while it was called"));
    bench.turn([unknown(&call)]);
    assert_eq!(last(&bench).as_deref(), Some("no answer"));
    let call = next_attempt(&mut bench);
    bench.turn([answer(&call, 200)]);
    assert_eq!(last(&bench), None);
}

#[test]
fn an_attempt_without_an_answer_is_counted_once_over_a_restart() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1"))]));
    bench.turn([unknown(&call)]);
    bench.crash();
    only(bench.settle());
    assert_eq!(ledger(&bench, "w-1").map(|row| (row.attempts, row.ambiguous)), Some((2, 1)));
    assert_eq!(bench.marked(Mark::EffectResumed), 0);
}

#[test]
fn attempts_that_run_out_leave_it_to_a_person() {
    for answered in [&unknown as &dyn Fn(&Effect) -> Input, &|call| not_sent(call, false)] {
        let mut bench = bench();
        let mut call = only(bench.turn([commanded(command("poke", "w-1"))]));
        for attempt in 2..=3 {
            bench.turn([answered(&call)]);
            call = next_attempt(&mut bench);
            assert_eq!(words(std::slice::from_ref(&call)), [format!("poke acme:w-1 #{attempt}")]);
        }
        bench.turn([answered(&call)]);
        assert_eq!(bench.advance(LONG_MS), []);
        let Phase::Parked { reason } = phase(&bench, "w-1") else { panic!("not parked") };
        assert!(reason.contains("used up"), "{reason}");
        assert!(ledger(&bench, "w-1").is_some_and(|row| row.call.is_some()), "a person may need it");
        nothing_is_open(&bench);
    }
}

#[test]
fn restarts_do_not_add_to_the_attempts() {
    let mut bench = bench();
    let mut calls = bench.turn([commanded(command("poke", "w-1"))]);
    for _ in 0..5 {
        bench.crash();
        calls.extend(bench.settle());
    }
    assert_eq!(calls.len(), 3);
    let Phase::Parked { reason } = phase(&bench, "w-1") else { panic!("not parked") };
    assert!(reason.contains("used up"), "{reason}");
    assert_eq!(ledger(&bench, "w-1").map(|row| (row.attempts, row.ambiguous)), Some((3, 3)));
}

#[test]
fn a_request_that_cannot_be_filled_in_is_parked_and_so_is_an_unknown_effect() {
    let mut unfillable = command("poke", "w-1");
    unfillable.payload = json!({});
    let mut bench = bench();
    assert_eq!(bench.turn([commanded(unfillable), commanded(command("ghost", "w-2"))]), []);
    for (id, why) in [("w-1", "cannot be filled in"), ("w-2", "no such effect")] {
        let Phase::Parked { reason } = phase(&bench, id) else { panic!("{id} is not parked") };
        assert!(reason.contains(why), "{reason}");
    }
    nothing_is_open(&bench);
}

#[test]
fn no_more_are_called_at_once_than_there_are_places_and_the_rest_waits_on_disk_in_order() {
    let mut bench = bench();
    let mut calls = bench.turn((1..=7).map(|n| commanded(charge(&format!("w-{n}")))));
    assert_eq!(words(&calls), ["charge_card acme:w-1 #1", "charge_card acme:w-2 #1"]);
    assert_eq!((bench.machine().0.open(), bench.marked(Mark::EffectQueued)), (7, 4));
    let mut order = Vec::new();
    while !calls.is_empty() {
        let call = calls.remove(0);
        assert!(bench.machine().0.in_flight() <= LIMITS.in_flight_max);
        order.push(key(&call).clone());
        calls.extend(bench.turn([answer(&call, 200)]));
    }
    assert_eq!(order, (1..=7).map(|n| format!("acme:w-{n}")).collect::<Vec<_>>());
    nothing_is_open(&bench);
}

#[test]
fn a_pause_leaves_its_place_to_others() {
    let mut bench = bench();
    let calls = bench.turn(["w-1", "w-2", "w-3"].map(|id| commanded(charge(id))));
    assert_eq!(words(&bench.turn([unknown(&calls[0])])), ["charge_card acme:w-3 #1"]);
}

#[test]
pub(super) fn the_answer_to_an_earlier_attempt_changes_nothing() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1"))]));
    let before = bench.machine().clone();
    let token = Token { incarnation: 0, seq: token(&call).seq };
    let outcome = Outcome::Done(effect::Answered { status: 200, body: json!(null) });
    bench.turn([Input::Effect(effect::Input::Returned { token, outcome })]);
    assert_eq!((bench.machine(), bench.marked(Mark::EffectStale)), (&before, 1), "INV-EFF-3");
    bench.turn([answer(&call, 200), answer(&call, 402)]);
    assert_eq!(ends(&bench), ["w-1 succeeded"], "INV-EFF-4: an answer told twice is heard once");
}

#[test]
fn a_command_whose_commit_failed_is_called_if_it_landed() {
    for (landed, called) in [(Landed::Yes, 1), (Landed::No, 0)] {
        let mut bench = bench();
        assert_eq!(bench.turn_without_answer(landed, [commanded(charge("w-1"))]), [], "INV-EFF-1");
        assert_eq!(bench.settle().len(), called);
    }
}

#[test]
fn an_end_whose_commit_failed_is_found_out_anew() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1"))]));
    bench.turn_without_answer(Landed::No, [answer(&call, 200)]);
    assert_eq!(ends(&bench), [""; 0], "INV-EFF-4: no result without its end");
    let again = only(bench.settle());
    bench.turn([answer(&again, 200)]);
    assert_eq!(ends(&bench), ["w-1 succeeded"]);
}

#[test]
fn an_answer_too_large_to_carry_is_left_out_and_said_so() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(charge("w-1"))]));
    let body = json!("x".repeat(PAYLOAD_BYTES_MAX));
    bench.turn([super::returned(&call, Outcome::Done(effect::Answered { status: 200, body }))]);
    let (_, result) = results(&bench).remove(0);
    assert_eq!(
        (&result["result_type"], &result["payload"]["truncated"]),
        (&json!("succeeded"), &json!(true))
    );
}

#[test]
fn a_window_of_one_still_gets_everything_done() {
    let limits = Limits { in_flight_max: 1, tracked_max: 1, ..LIMITS };
    let mut bench = Bench::<Desk>::new(Config { limits, ..config() });
    let mut calls = bench.turn(["w-1", "w-2", "w-3"].map(|id| commanded(charge(id))));
    while let Some(call) = calls.pop() {
        calls = bench.turn([answer(&call, 200)]);
        assert!(calls.len() <= 1);
    }
    assert_eq!(ends(&bench).len(), 3);
}

#[test]
fn rows_that_contradict_each_other_or_cannot_be_read_halt() {
    let with = |table: Table, key: &[u8], row: &[u8]| {
        let mut bench = bench();
        bench.turn([commanded(charge("w-1"))]);
        bench.store.rows.insert((table, key.to_vec()), row.to_vec());
        bench
    };
    let own = keys::effect(&super::tenant(), &"w-1".parse().expect("an id"));
    let halt = with(Table::EffectOpen, b"\0", b"x").recovered().expect_err("not a position");
    assert!(matches!(halt, Halt::Corrupt { table: Table::EffectOpen, .. }), "{halt}");
    let mut bench = with(Table::Effect, &own, b"{}");
    let halt = bench.try_turn([]).expect_err("not a row");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Effect, .. }), "{halt}");
    let mut bench = with(Table::EffectOpen, &keys::position(7), &own);
    let halt = bench.try_turn([]).expect_err("one row too many");
    assert!(matches!(&halt, Halt::Broken(broken) if broken.invariant == Invariant::Eff4), "{halt}");
}
