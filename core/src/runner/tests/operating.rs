//! What operators ask of a runner, and what they are told.

use super::{Done, Landed, Operation, Sent, Source, World, asked, order_events, pause, sent, tenant};
use crate::effect::operate as effect;
use crate::operator::{Reason, Refusal};
use crate::quarantine::{Quarantine, QuarantineKey};
use crate::runner::Input;
use crate::saga::{HELD_MAX, HandOver, Operated, Status, Verb, WorkState};
use crate::wire::envelope::EffectOutcome;
use serde_json::json;

/// How the instance stands.
fn done(answer: Result<Done, Refusal>) -> Operated {
    match answer.expect("done") {
        Done::Saga(operated) => operated,
        Done::Quarantine(operated) => panic!("{operated:?}"),
        Done::Schedule(operated) => panic!("of a schedule: {operated:?}"),
        Done::Effect(operated) => panic!("of an effect: {operated:?}"),
        Done::Replay(replayed) => panic!("of a replay: {replayed:?}"),
    }
}

/// An order whose checkout is paused before its stock is reserved.
fn paused() -> World {
    let mut world = World::bound();
    world.place("acme", "o-1");
    let message =
        sent(Source::Events, Sent::Message(world.stream(Source::Events).serve().expect("a message")));
    let effects = world.bench.turn([message, asked(0, "acme", "o-1", pause())]);
    world.carry(effects);
    world
}

#[test]
fn a_paused_order_stands_still_and_goes_on_where_it_was() {
    let mut world = paused();
    assert_eq!(world.outside.log, ["acme/o-1 reserve"], "what was asked for before is done");
    assert_eq!(world.status("acme", "o-1"), Some(Status::Running));
    world.place("acme", "o-2");
    world.run();
    assert_eq!(world.status("acme", "o-2"), Some(Status::Completed), "others go on");
    world.bench.crash();
    world.run();
    assert_eq!(world.outside.of("acme/o-1"), ["reserve"]);
    let operated = done(world.ask("acme", "o-1", Verb::Resume));
    assert_eq!((operated.released, operated.paused, operated.changed), (1, false, true));
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
    assert_eq!(world.outside.of("acme/o-1"), world.outside.of("acme/o-2"));
}

#[test]
fn an_answer_leaves_after_the_commit_and_a_question_may_be_asked_again() {
    for landed in [Landed::Yes, Landed::No] {
        let mut world = World::bound();
        world.place("acme", "o-soldout");
        world.bench.crash();
        world.run();
        world.place("acme", "o-1");
        let message = world.stream(Source::Events).serve().expect("a message");
        let message = sent(Source::Events, Sent::Message(message));
        world.bench.turn([message]);
        let effects = world.bench.turn_without_answer(landed, [asked(0, "acme", "o-1", pause())]);
        assert!(effects.is_empty(), "no answer: nobody knows");
        let operated = done(world.ask("acme", "o-1", pause()));
        assert_eq!(operated.changed, landed == Landed::No);
        assert!(operated.paused);
    }
}

#[test]
fn more_than_a_pause_holds_is_quarantined_in_order() {
    let mut world = paused();
    for nth in 0..HELD_MAX as u64 {
        world.publish(&order_events("acme", "o-1", nth + 2, &["order_cancelled"]));
        world.run();
    }
    let quarantined = world.quarantined();
    assert_eq!(quarantined.len(), 1, "{quarantined:?}");
    assert_eq!(quarantined[0].messages, HELD_MAX as u64 + 1);
    assert_eq!(quarantined[0].cause.kind, "paused_too_long");
    assert_eq!(world.instance("checkout", "acme", "o-1").and_then(|own| own.paused), None);
    for verb in [pause(), Verb::Resume] {
        let refused = world.ask("acme", "o-1", verb);
        assert!(matches!(refused, Err(Refusal::Conflict { .. })), "{refused:?}");
    }
    world.place("acme", "o-2");
    world.run();
    assert_eq!(world.status("acme", "o-2"), Some(Status::Completed));
}

/// The message whose first event is too much has another one, and both stand behind what was held.
#[test]
fn what_comes_with_the_last_straw_is_quarantined_behind_it() {
    let mut world = paused();
    for nth in 0..HELD_MAX as u64 - 1 {
        world.publish(&order_events("acme", "o-1", nth + 2, &["order_cancelled"]));
        world.run();
    }
    let last = HELD_MAX as u64 + 1;
    world.publish(&order_events("acme", "o-1", last, &["order_cancelled"; 2]));
    world.run();
    let [own] = world.quarantined().try_into().expect("one key");
    let key = QuarantineKey::parse(&own.key).expect("a key");
    let parked = Quarantine::messages(&world.bench.store, &key, 0, usize::MAX).expect("messages");
    let causes = parked.iter().map(|own| own.payload["happened"]["cause"].as_str().unwrap_or("-").to_owned());
    let versions: Vec<u64> = causes.filter_map(|cause| cause.rsplit('/').next()?.parse().ok()).collect();
    assert!(versions.is_sorted() && versions.ends_with(&[last, last + 1]), "INV-QRN-1: {versions:?}");
}

#[test]
fn a_draining_runner_does_nothing_for_operators() {
    let mut world = paused();
    world.bench.turn([Input::Stopped { deadline_ms: 1_000 }]);
    assert_eq!(world.ask("acme", "o-1", Verb::Resume), Err(Refusal::Draining), "INV-DRN-1");
    assert!(world.instance("checkout", "acme", "o-1").is_some_and(|own| own.paused.is_some()));
}

#[test]
fn what_an_operator_cancels_is_undone_outside_too() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    let message = world.stream(Source::Events).serve().expect("a message");
    world.bench.turn([sent(Source::Events, Sent::Message(message))]);
    let reason = Reason::parse("wrong address").expect("a reason");
    let operated = done(world.ask("acme", "o-1", Verb::Cancel { reason }));
    assert_eq!((operated.status, operated.changed), ("compensating", true));
    world.run();
    for _ in 0..3 {
        let effects = world.bench.advance(6_000);
        world.carry(effects);
    }
    assert_eq!(world.status("acme", "o-1"), Some(Status::Compensated));
    assert_eq!(world.outside.of("acme/o-1"), ["reserve", "release"]);
}

#[test]
fn a_quarantined_instance_can_be_killed() {
    let mut world = paused();
    for nth in 0..HELD_MAX as u64 {
        world.publish(&order_events("acme", "o-1", nth + 2, &["order_cancelled"]));
        world.run();
    }
    assert_eq!(world.quarantined().len(), 1);
    let reason = Reason::parse("settled by hand").expect("a reason");
    let operated = done(world.ask("acme", "o-1", Verb::Kill { reason }));
    assert_eq!(operated.status, "killed");
    assert_eq!(world.finished, ["checkout o-1"]);
}

/// The card of an order is to be charged, nobody answers, and an operator says how that ended.
fn settled_by_hand(hand_over: HandOver, outcome: EffectOutcome, first: Option<Verb>) -> World {
    let mut world = World::bound_with(hand_over);
    world.outside.is_away = true;
    world.place("acme", "o-1");
    world.run();
    let instance = world.instance("checkout", "acme", "o-1").expect("an instance");
    let charge = instance.works.last().expect("work");
    assert_eq!((charge.name.as_str(), charge.state), ("charge", WorkState::InFlight));
    if let Some(verb) = first {
        done(world.ask("acme", "o-1", verb));
    }
    world.outside.is_away = false;
    let verb = effect::Verb::Settle {
        outcome,
        payload: json!({ "id": "c-7" }),
        reason: Reason::parse("as the bank says").expect("a reason"),
    };
    let (tenant, command_id) = (tenant("acme"), charge.id.clone());
    let operation = Operation::Effect(effect::Operation { tenant, command_id, verb });
    let answer = world.answer_to(|ticket| Input::Asked { ticket, operation: Box::new(operation) });
    let Ok(Done::Effect(operated)) = answer else { panic!("{answer:?}") };
    assert_eq!((operated.outcome, operated.changed), (Some(outcome), true));
    world
}

#[test]
fn what_an_operator_settles_reaches_the_saga_that_waits_for_it() {
    for hand_over in [HandOver::Broker, HandOver::Commit] {
        let world = settled_by_hand(hand_over, EffectOutcome::Succeeded, None);
        let instance = world.instance("checkout", "acme", "o-1").expect("an instance");
        assert_eq!((&instance.status, &instance.state["charge"]), (&Status::Completed, &json!("c-7")));
        let world = settled_by_hand(hand_over, EffectOutcome::Failed, None);
        assert_eq!(world.status("acme", "o-1"), Some(Status::Compensated));
        assert_eq!(world.outside.of("acme/o-1"), ["reserve", "reject", "release"]);
    }
}

#[test]
fn a_cancelled_order_is_undone_when_an_operator_says_how_its_charge_ended() {
    let reason = Reason::parse("wrong address").expect("a reason");
    let cancel = Verb::Cancel { reason };
    let world = settled_by_hand(HandOver::Broker, EffectOutcome::Succeeded, Some(cancel));
    assert_eq!(world.status("acme", "o-1"), Some(Status::Compensated));
    assert_eq!(world.outside.of("acme/o-1"), ["reserve", "refund_card", "release"]);
}
