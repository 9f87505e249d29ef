//! What operators do to an effect, and that nothing else moves what waits for them.

use super::{
    Bench, Commanded, Desk, Effect, Input, LONG_MS, Operation, Phase, answer, bench, charge, command,
    commanded, ends, key, ledger, nothing_is_open, on_line, only, phase, receipt, results, tenant, unknown,
    words,
};
use crate::effect::Durable;
use crate::effect::audit::{Counts, audit};
use crate::effect::look::{Stage, Which, list};
use crate::effect::operate::{Operated, Verb};
use crate::operator::{Reason, Refusal};
use crate::wire::envelope::{EffectOutcome, PAYLOAD_BYTES_MAX};
use serde_json::{Value, json};

pub(super) fn retry(may_repeat: bool) -> Verb {
    Verb::Retry { may_repeat, reason: Reason::parse("it is back").expect("a reason") }
}

pub(super) fn settle(outcome: EffectOutcome, payload: Value) -> Verb {
    Verb::Settle { outcome, payload, reason: Reason::parse("they say so").expect("a reason") }
}

pub(super) fn asks(id: &str, verb: Verb) -> Input {
    let command_id = id.parse().expect("an id");
    Input::Asked(Box::new(Operation { tenant: tenant(), command_id, verb }))
}

/// Asks, and says what was answered and what is called.
fn ask(bench: &mut Bench<Desk>, id: &str, verb: Verb) -> (Result<Operated, Refusal>, Vec<Effect>) {
    let effects = bench.turn([asks(id, verb)]);
    let answer = match bench.machine().1.clone().expect("an answer") {
        Commanded::Done { operated, .. } => Ok(operated),
        Commanded::Refused(refusal) => Err(refusal),
    };
    (answer, effects)
}

fn changed(answer: &Result<Operated, Refusal>) -> bool {
    answer.as_ref().expect("done").changed
}

fn is_conflict(answer: &Result<Operated, Refusal>, hint: &str) -> bool {
    matches!(answer, Err(Refusal::Conflict { detail }) if detail.contains(hint))
}

fn counts(bench: &Bench<Desk>, effect: &str) -> Counts {
    let page = audit(&bench.store, None, b"", 10).expect("a page");
    page.counts.get(&effect.parse::<crate::wire::id::Name>().expect("a name")).cloned().unwrap_or_default()
}

/// The call that begins next.
fn next(bench: &mut Bench<Desk>) -> Effect {
    let (at, _) = bench.deadline().expect("a deadline");
    only(bench.advance(at.ms_since(bench.now.mono)))
}

/// Three attempts without an answer.
fn used_up(bench: &mut Bench<Desk>, mut call: Effect) {
    for _ in 0..2 {
        bench.turn([unknown(&call)]);
        call = next(bench);
    }
    assert_eq!(bench.turn([unknown(&call)]), []);
    assert!(matches!(phase(bench, "w-1"), Phase::Parked { .. }));
    nothing_is_open(bench);
}

#[test]
fn what_is_parked_is_called_again_with_all_its_attempts_under_its_key() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(command("poke", "w-1"))]));
    let own_key = key(&call).clone();
    used_up(&mut bench, call);
    bench.oversleep(60 * LONG_MS);
    bench.crash();
    assert_eq!(bench.settle(), [], "nobody asked for it");
    let (done, calls) = ask(&mut bench, "w-1", retry(false));
    assert!(changed(&done));
    let call = only(calls);
    assert_eq!(
        (words(std::slice::from_ref(&call)), key(&call)),
        (vec![format!("poke {own_key} #4")], &own_key)
    );
    let (done, calls) = ask(&mut bench, "w-1", retry(false));
    assert!(!changed(&done) && calls.is_empty(), "it is called already");
    used_up(&mut bench, call);
    assert_eq!(ledger(&bench, "w-1").map(|row| (row.attempts, row.ambiguous)), Some((6, 6)));
    let (_, calls) = ask(&mut bench, "w-1", retry(false));
    bench.turn([answer(&only(calls), 200)]);
    assert_eq!((ends(&bench), counts(&bench, "poke").maybe_twice), (vec!["w-1 succeeded".to_owned()], 1));
    assert_eq!(
        ask(&mut bench, "w-1", retry(false)).0,
        Err(Refusal::Finished { what: "effect `w-1`".into() })
    );
}

#[test]
fn what_ran_out_of_time_has_all_of_it_again_and_no_more() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(command("ping", "w-1"))]));
    bench.turn([unknown(&call)]);
    bench.oversleep(super::time::TOTAL_MS);
    bench.settle();
    assert!(matches!(phase(&bench, "w-1"), Phase::Parked { .. }));
    bench.oversleep(60 * LONG_MS);
    let (_, calls) = ask(&mut bench, "w-1", retry(false));
    bench.turn([unknown(&only(calls))]);
    let call = next(&mut bench);
    bench.turn([unknown(&call)]);
    bench.oversleep(super::time::TOTAL_MS);
    assert_eq!(bench.settle(), [], "INV-EFF-6");
    assert!(matches!(phase(&bench, "w-1"), Phase::Parked { .. }));
}

#[test]
pub(super) fn what_may_have_happened_is_called_again_only_if_it_may_repeat() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(receipt("w-1"))]));
    bench.turn([unknown(&call)]);
    bench.crash();
    assert_eq!(bench.machine().0.durable(), Durable { open: 0, parked: 1 });
    let (refused, calls) = ask(&mut bench, "w-1", retry(false));
    assert!(calls.is_empty(), "INV-EFF-5");
    assert!(is_conflict(&refused, "may repeat"), "{refused:?}");
    let (done, calls) = ask(&mut bench, "w-1", retry(true));
    assert!(changed(&done));
    bench.turn([unknown(&only(calls))]);
    assert!(matches!(phase(&bench, "w-1"), Phase::Parked { .. }), "once said is not for ever");
    assert!(is_conflict(&ask(&mut bench, "w-1", retry(false)).0, "may repeat"));
}

#[test]
pub(super) fn how_an_operator_settles_an_effect_is_told_once() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(receipt("w-1"))]));
    bench.turn([unknown(&call)]);
    let succeeded = || settle(EffectOutcome::Succeeded, json!({ "id": "p-7" }));
    let (done, calls) = ask(&mut bench, "w-1", succeeded());
    assert!(changed(&done) && calls.is_empty());
    let told = results(&bench);
    assert_eq!(told.len(), 1, "INV-EFF-4");
    assert_eq!((&told[0].0[..], &told[0].1["payload"]), ("w-1", &json!({ "id": "p-7" })));
    bench.crash();
    assert!(!changed(&ask(&mut bench, "w-1", succeeded()).0), "asked again, it is done once");
    for verb in [retry(true), settle(EffectOutcome::Failed, json!({}))] {
        assert!(matches!(ask(&mut bench, "w-1", verb).0, Err(Refusal::Finished { .. })));
    }
    bench.turn([answer(&call, 200), commanded(receipt("w-1"))]);
    assert_eq!(ends(&bench), ["w-1 succeeded"]);
    let row = ledger(&bench, "w-1").expect("a row");
    assert_eq!((row.call, row.intervention.map(|own| own.reason)), (None, Some("they say so".to_owned())));
    assert_eq!(counts(&bench, "send_receipt"), Counts { by_hand: 1, ..Counts::default() });
    nothing_is_open(&bench);
}

#[test]
fn an_effect_is_settled_wherever_it_waits_but_not_while_it_is_called() {
    let mut bench = bench();
    let busy = bench.turn([commanded(on_line("ring", "a", "w-1")), commanded(on_line("ring", "a", "w-2"))]);
    assert_eq!(busy.len(), 2);
    // Under its key, for a place, and on disk.
    let more = [on_line("ring", "a", "w-3"), charge("w-4"), charge("w-5"), charge("w-6")];
    assert_eq!(bench.turn(more.map(commanded)), []);
    let failed = || settle(EffectOutcome::Failed, json!({ "why": "withdrawn" }));
    assert!(is_conflict(&ask(&mut bench, "w-1", failed()).0, "under way"));
    for id in ["w-3", "w-4", "w-6"] {
        assert!(changed(&ask(&mut bench, id, failed()).0), "{id}");
    }
    // In the pause after an attempt.
    let calls = bench.turn([unknown(&busy[0])]);
    assert_eq!(words(&calls), ["charge_card acme:w-5 #1"]);
    assert!(changed(&ask(&mut bench, "w-1", failed()).0));
    bench.turn([answer(&busy[1], 200), answer(&calls[0], 200)]);
    assert_eq!(bench.advance(LONG_MS), []);
    assert_eq!(
        ends(&bench),
        ["w-3 failed", "w-4 failed", "w-6 failed", "w-1 failed", "w-2 succeeded", "w-5 succeeded"]
    );
    nothing_is_open(&bench);
}

#[test]
fn what_is_not_there_or_does_not_fit_is_refused_by_name() {
    let mut bench = bench();
    assert!(matches!(ask(&mut bench, "w-9", retry(false)).0, Err(Refusal::NotFound { .. })));
    let call = only(bench.turn([commanded(receipt("w-1"))]));
    bench.turn([unknown(&call)]);
    let large = json!("x".repeat(PAYLOAD_BYTES_MAX));
    let refused = ask(&mut bench, "w-1", settle(EffectOutcome::Succeeded, large)).0;
    assert!(matches!(refused, Err(Refusal::Invalid { field: "payload", .. })), "{refused:?}");
    assert_eq!(ends(&bench), Vec::<String>::new());
}

#[test]
fn the_ledger_is_listed_by_name_and_stage_a_page_at_a_time() {
    let mut bench = bench();
    let call = only(bench.turn([commanded(receipt("w-1"))]));
    bench.turn([unknown(&call)]);
    let call = only(bench.turn([commanded(charge("w-2"))]));
    bench.turn([answer(&call, 200), commanded(charge("w-3"))]);
    let ids = |which: &Which, from: &[u8], limit| {
        let page = list(&bench.store, which, from, limit).expect("a page");
        let ids: Vec<String> = page.effects.iter().map(|own| own.command_id.to_string()).collect();
        (ids, page.next)
    };
    let (first, next) = ids(&Which::default(), b"", 2);
    assert_eq!(first, ["w-1", "w-2"]);
    assert_eq!(ids(&Which::default(), &next.expect("more"), 2), (vec!["w-3".to_owned()], None));
    for (stage, id) in [(Stage::Parked, "w-1"), (Stage::Settled, "w-2"), (Stage::Open, "w-3")] {
        let which = Which { stage: Some(stage), ..Which::default() };
        assert_eq!(ids(&which, b"", 9).0, [id], "{stage:?}");
    }
    let which = Which { effect: Some("charge_card".parse().expect("a name")), ..Which::default() };
    assert_eq!(ids(&which, b"", 9).0, ["w-2", "w-3"]);
    let which = Which { tenant: Some("other".parse().expect("a tenant")), ..Which::default() };
    assert_eq!(ids(&which, b"", 9), (vec![], None));
}

#[test]
pub(super) fn what_a_crash_cut_off_is_in_doubt_also_when_nobody_can_call_it_again() {
    let mut bench = bench();
    only(bench.turn([commanded(charge("w-1"))]));
    let definitions = super::Config { definitions: std::collections::BTreeMap::new(), ..super::config() };
    let mut bench = Bench::with(bench.store, definitions);
    assert_eq!(bench.settle(), []);
    assert!(matches!(phase(&bench, "w-1"), Phase::Parked { .. }));
    assert_eq!(ledger(&bench, "w-1").map(|row| (row.attempts, row.ambiguous)), Some((1, 1)), "INV-EFF-5");
    assert_eq!(counts(&bench, "charge_card"), Counts { maybe: 1, ..Counts::default() });
}
