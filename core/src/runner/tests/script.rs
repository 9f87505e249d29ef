//! Routing: where deliveries, settlements and results go, and that it is one commit.

use super::{
    Config, Input, Landed, Mode, Runner, Sent, Source, Status, Table, Value, World, config, headers, json,
    order_events, sent, shop_with,
};
use crate::gate;
use crate::marks::Mark;
use crate::outbox;
use crate::outcome::Outcome;
use crate::runner::Effect;
use crate::runner::HAPPENED_MAX;
use crate::saga::HandOver;
use crate::wire::answer::PublishRefused;
use crate::wire::envelope::EffectCommand;
use crate::wire::headers::Headers;

/// A world whose only saga is the one that goes wrong.
fn odd() -> World {
    let mut sagas = shop_with(&[("sagas/odd.yaml", super::ODD)]).sagas;
    sagas.retain(|name, _| name.as_str() == "odd");
    let mut world = World::new(Config { sagas, ..config() });
    world.run();
    world
}

/// The next delivery of a stream.
fn next(world: &mut World, source: Source) -> Input {
    sent(source, Sent::Message(world.stream(source).serve().expect("a message")))
}

fn answers(effects: &[Effect]) -> Vec<String> {
    let answer = |effect: &Effect| match effect {
        Effect::Gate { source, effect: gate::Effect::Ack { ack } } => Some(format!("{source:?}: ack {ack}")),
        Effect::Gate { source, effect: gate::Effect::Term { ack, reason } } => {
            Some(format!("{source:?}: term {ack}: {reason}"))
        }
        Effect::Gate { .. }
        | Effect::Outbox(_)
        | Effect::Effect(_)
        | Effect::Finished(_)
        | Effect::Answered(_)
        | Effect::Drained(_)
        | Effect::Left(_) => None,
    };
    effects.iter().filter_map(answer).collect()
}

#[test]
fn an_order_goes_all_the_way() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    world.run();
    assert_eq!(
        world.outside.log,
        [
            "acme/o-1 reserve",
            "acme/o-1 charge_card",
            "acme/o-1 confirm",
            "acme/o-1 ship_parcel",
            "acme/o-1 ship",
            "acme/o-1 sell",
            "acme/o-1 send_receipt",
        ]
    );
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
    assert_eq!(world.finished, ["checkout o-1"], "told once, though its receipt ends later");
    let checkpoints = Source::ALL.map(|source| world.checkpoint(source));
    assert_eq!(checkpoints, [4, 3, 3], "an order and what three commands did, three results, three commands");
    let runner = world.bench.machine();
    assert_eq!((runner.outbox().depth(), runner.effects().open(), runner.quarantine().parked()), (0, 0, 0));
}

#[test]
fn effects_are_handed_over_inside_the_commit_and_so_are_their_results() {
    let mut world = World::bound_with(HandOver::Commit);
    world.place("acme", "o-1");
    world.place("acme", "o-broke");
    world.run();
    let (shipped, broke) = (world.outside.of("acme/o-1"), world.outside.of("acme/o-broke"));
    assert_eq!(shipped, ["reserve", "charge_card", "confirm", "ship_parcel", "ship", "sell", "send_receipt"]);
    assert_eq!(broke, ["reserve", "charge_card: no", "reject", "release"]);
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
    assert_eq!(world.status("acme", "o-broke"), Some(Status::Compensated));
    let seen = [Source::Results, Source::Commands].map(|source| world.checkpoint(source));
    assert_eq!(seen, [1, 1], "the receipt alone, behind the commands that were asked for before it");
    assert_eq!(world.bench.marked(Mark::EffectHandedBack), 3);
}

#[test]
fn each_half_reads_its_own_streams_and_leaves_the_rest_to_the_other() {
    let mut sagas = World::new(Config { mode: Mode::Sagas, ..config() });
    sagas.run();
    assert_eq!(sagas.bench.machine().not_ready(), [""; 0]);
    sagas.place("acme", "o-1");
    sagas.run();
    assert_eq!(sagas.outside.of("acme/o-1"), ["reserve"], "the charge is somebody else's");
    let asked = sagas.stream(Source::Commands).messages.clone();
    assert_eq!(asked.len(), 1, "asked for as a message");

    let mut effects = World::new(Config { mode: Mode::Effects, ..config() });
    effects.run();
    assert_eq!(effects.bench.machine().not_ready(), [""; 0]);
    effects.place("acme", "o-2");
    for stored in asked.into_values() {
        effects.stream(Source::Commands).store(&stored.subject, stored.headers, stored.payload);
    }
    effects.run();
    assert_eq!(effects.outside.log, ["acme/o-1 charge_card"], "events are not for it");
    let results = effects.stream(Source::Results).messages.clone();
    assert_eq!(results.len(), 1, "answered by a message");

    for stored in results.into_values() {
        sagas.stream(Source::Results).store(&stored.subject, stored.headers, stored.payload);
    }
    sagas.run();
    assert_eq!(sagas.outside.of("acme/o-1"), ["reserve", "confirm"], "and so it goes on");
    assert_eq!(sagas.bench.store.table(Table::Effect).count(), 0, "no ledger");
    assert_eq!(effects.bench.store.table(Table::Saga).count(), 0, "no instance");
}

#[test]
fn what_is_handed_over_is_in_the_commit_of_its_saga() {
    for landed in [Landed::Yes, Landed::No] {
        let mut world = World::bound_with(HandOver::Commit);
        world.place("acme", "o-1");
        let delivery = next(&mut world, Source::Events);
        let effects = world.bench.turn([delivery]);
        let accepted: Vec<Input> = effects.into_iter().filter_map(|effect| world.perform(effect)).collect();
        assert_eq!(world.bench.turn_without_answer(landed, accepted), []);
        let asked = world.instance("checkout", "acme", "o-1").map_or(0, |instance| instance.works.len());
        let there = usize::from(landed == Landed::Yes);
        assert_eq!(asked, 1 + there, "INV-SAGA-4");
        assert_eq!(world.bench.store.table(Table::Effect).count(), there, "INV-SAGA-4");
        world.run();
        assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
        assert_eq!(world.outside.log.len(), 7, "INV-ONCE-1");
    }
}

#[test]
fn what_fails_on_the_way_is_undone() {
    let mut world = World::bound();
    world.place("acme", "o-broke");
    world.place("acme", "o-soldout");
    world.run();
    let own = world.outside.of("acme/o-broke");
    assert_eq!(own, ["reserve", "charge_card: no", "reject", "release"]);
    assert_eq!(world.outside.of("acme/o-soldout"), ["reserve: no", "reject"]);
    for order in ["o-broke", "o-soldout"] {
        assert_eq!(world.status("acme", order), Some(Status::Compensated));
    }
}

#[test]
fn everything_that_a_delivery_causes_is_one_commit() {
    for landed in [Landed::Yes, Landed::No] {
        let mut world = World::bound();
        world.place("acme", "o-1");
        let delivery = next(&mut world, Source::Events);
        assert_eq!(world.bench.turn_without_answer(landed, [delivery]), []);
        let there = landed == Landed::Yes;
        assert_eq!(world.status("acme", "o-1").is_some(), there, "INV-SAGA-4");
        assert_eq!(world.bench.store.table(Table::Outbox).count(), usize::from(there), "INV-SAGA-4");
        assert_eq!(world.checkpoint(Source::Events), u64::from(there), "INV-GATE-1");
        world.run();
        assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
        assert_eq!(world.outside.log.len(), 7, "INV-ONCE-1");
    }
}

#[test]
fn a_delivery_is_acked_with_the_commit_of_what_it_caused() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    let delivery = next(&mut world, Source::Events);
    let commits = world.bench.store.commits;
    let effects = world.bench.turn([delivery]);
    assert_eq!(world.bench.store.commits, commits + 1);
    assert_eq!(answers(&effects), ["Events: ack 1"]);
    let submits = effects.iter().filter(|own| matches!(own, Effect::Outbox(outbox::Effect::Submit { .. })));
    assert_eq!(submits.count(), 1);
}

#[test]
fn events_of_one_message_reach_their_saga_in_order() {
    let mut world = World::bound();
    world.publish(&order_events("acme", "o-1", 1, &["order_placed", "order_noted", "order_cancelled"]));
    world.run();
    assert_eq!(world.outside.of("acme/o-1"), ["reserve", "release"]);
    assert_eq!(world.status("acme", "o-1"), Some(Status::Compensated));
}

#[test]
fn events_that_come_again_under_another_sequence_are_applied_once_if_they_are_counted() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    world.place("acme", "o-1");
    let deliveries = [next(&mut world, Source::Events), next(&mut world, Source::Events)];
    world.bench.turn(deliveries);
    assert_eq!(world.bench.marked(Mark::SagaDuplicateCause), 1, "INV-SAGA-1");
    for _ in 0..2 {
        world.publish(&order_events("acme", "o-2", 0, &["order_placed"]));
    }
    let deliveries = [next(&mut world, Source::Events), next(&mut world, Source::Events)];
    world.bench.turn(deliveries);
    let works = world.instance("checkout", "acme", "o-2").expect("an instance").works;
    assert_eq!(works.len(), 2, "two sequences are two causes where nobody counts");
}

#[test]
fn tenants_have_sagas_of_their_own() {
    let mut world = World::bound();
    for whose in ["acme", "globex", ""] {
        world.place(whose, "o-1");
    }
    world.run();
    for whose in ["acme", "globex", ""] {
        assert_eq!(world.status(whose, "o-1"), Some(Status::Completed), "INV-TEN-1");
        assert_eq!(world.outside.of(&format!("{whose}/o-1")).len(), 7, "INV-TEN-1: {whose:?}");
    }
}

#[test]
fn what_cannot_be_read_holds_back_its_subject_in_every_stream() {
    for (source, subject) in [
        (Source::Events, "tenant.acme.aggregate.order.o-1"),
        (Source::Results, "tenant.acme.effect_result.charge_card.w-1"),
        (Source::Commands, "tenant.acme.effect.charge_card.w-1"),
    ] {
        let mut world = World::bound();
        world.stream(source).store(subject, Headers::default(), "{");
        world.stream(source).store(subject, Headers::default(), "{}");
        let first = next(&mut world, source);
        let told = answers(&world.bench.turn([first]));
        assert!(told[0].starts_with(&format!("{source:?}: term 1: decode")), "{told:?}");
        let second = next(&mut world, source);
        assert_eq!(answers(&world.bench.turn([second])), [format!("{source:?}: ack 2")]);
        let held = world.quarantined();
        assert_eq!((held.len(), held[0].messages, world.checkpoint(source)), (1, 2, 2), "INV-QRN-1");
        world.place("acme", "o-2");
        world.run();
        assert_eq!(world.status("acme", "o-2"), Some(Status::Completed), "others flow");
    }
}

#[test]
fn an_event_that_names_no_instance_holds_back_its_source() {
    let mut world = odd();
    let mut shipped = order_events("acme", "o-1", 1, &["order_shipped"]);
    shipped.events[0].payload = json!({ "parcel": 5 });
    world.publish(&shipped);
    let delivery = next(&mut world, Source::Events);
    let told = answers(&world.bench.turn([delivery]));
    assert!(told[0].contains("term 1: correlate: saga odd: 5 is not text"), "{told:?}");
    // An instance that the program names as nobody is passed over.
    shipped.events[0].payload = json!({ "parcel": Value::Null });
    shipped.id = "o-2".parse().expect("an id");
    world.publish(&shipped);
    let delivery = next(&mut world, Source::Events);
    assert_eq!(answers(&world.bench.turn([delivery])), ["Events: ack 2"]);
}

#[test]
fn a_program_that_fails_holds_back_its_instance_and_nobody_else() {
    let mut world = odd();
    world.publish(&order_events("acme", "o-1", 1, &["order_shipped"]));
    let delivery = next(&mut world, Source::Events);
    let told = answers(&world.bench.turn([delivery]));
    assert!(told[0].starts_with("Events: term 1: program_"), "{told:?}");
    assert_eq!(world.instance("odd", "acme", "p"), None);
    world.publish(&order_events("acme", "o-9", 1, &["order_shipped"]));
    let delivery = next(&mut world, Source::Events);
    assert_eq!(answers(&world.bench.turn([delivery])), ["Events: ack 2"], "it waits behind the first");
    let held = world.quarantined();
    assert_eq!((held.len(), held[0].messages), (1, 2), "INV-QRN-1");
    assert!(held[0].key.starts_with("deadletter:saga:acme:odd:p"), "{held:?}");
    world.place("acme", "o-2");
    let delivery = next(&mut world, Source::Events);
    world.bench.turn([delivery]);
    assert!(world.instance("odd", "acme", "o-2").is_some(), "others flow");
}

#[test]
fn a_settlement_that_cannot_be_applied_is_parked_and_blames_no_later_delivery() {
    let mut world = odd();
    world.place("acme", "o-1");
    world.run();
    // `note.accepted` fails: its instance is held back, and no delivery was at fault.
    let held = world.quarantined();
    assert_eq!((held.len(), held[0].messages, world.bench.machine().outbox().depth()), (1, 1, 0));
    world.place("acme", "o-2");
    let delivery = next(&mut world, Source::Events);
    assert_eq!(answers(&world.bench.turn([delivery])), ["Events: ack 3"]);
}

#[test]
fn an_effect_that_cannot_be_asked_for_has_failed_for_its_saga() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    let delivery = next(&mut world, Source::Events);
    let mut effects = world.bench.turn([delivery]);
    let publish = loop {
        let effect = effects.remove(0);
        if let Effect::Outbox(outbox::Effect::Publish { token, .. }) = effect {
            break token;
        }
        let answer = world.perform(effect);
        effects.extend(world.bench.turn(answer));
    };
    let outcome = Outcome::Refused(PublishRefused::TooLarge);
    let refused = Input::Outbox(outbox::Input::PublishAnswered { token: publish, outcome });
    let effects = world.bench.turn([refused]);
    world.carry(effects);
    assert_eq!(world.outside.of("acme/o-1"), ["reserve", "reject", "release"]);
}

#[test]
fn an_effect_that_nobody_waits_for_is_carried_out_and_told() {
    let mut world = World::bound();
    let command = EffectCommand {
        tenant: super::tenant("acme"),
        effect: "charge_card".parse().expect("a name"),
        command_id: "w-1".parse().expect("an id"),
        payload: json!({ "order": "o-7", "cents": 5, "card": "valid" }),
        saga: None,
        timestamp: None,
        context: super::Context::generate("test"),
    };
    let subject = command.route().subject();
    let own = command.context.headers(&command.tenant);
    world.stream(Source::Commands).store(subject.as_str(), own, command.encode());
    world.run();
    assert_eq!(world.outside.log, ["acme/o-7 charge_card"]);
    let results = &world.stream(Source::Results).messages;
    let result = results.values().next().expect("a result");
    assert_eq!(result.subject, "tenant.acme.effect_result.charge_card.w-1");
    assert_eq!(result.headers.get(headers::X_CAUSATION_ID), Some("w-1"));
    assert_eq!((world.checkpoint(Source::Results), world.bench.marked(Mark::SagaUncorrelated)), (1, 1));
}

#[test]
fn without_sagas_nobody_reads_events() {
    let mut world = World::new(Config { sagas: [].into(), ..config() });
    world.run();
    let sources: Vec<Source> = world.bench.machine().gates().map(|(source, _)| *source).collect();
    assert_eq!(sources, [Source::Results, Source::Commands]);
    world.place("acme", "o-1");
    assert!(world.stream(Source::Events).serve().is_none());
}

#[test]
fn a_runner_is_ready_once_every_stream_is_bound() {
    let mut world = World::new(config());
    assert_eq!(world.bench.machine().not_ready().len(), 3);
    world.stream(Source::Results).exists = false;
    world.run();
    assert_eq!(world.bench.machine().not_ready(), ["WORKFLOW_EVENTS: stream_missing"]);
}

/// Producers that are not ours may put into a message what fits.
#[test]
fn a_message_of_very_many_events_is_taken_in_or_held_back() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    for events in [8_000, HAPPENED_MAX + 1] {
        world.publish(&order_events("acme", "o-1", 2, &vec!["order_cancelled"; events]));
    }
    world.run();
    let held: Vec<String> = world.quarantined().into_iter().map(|own| own.cause.kind).collect();
    assert_eq!(held, ["too_many_events"]);
    world.place("acme", "o-2");
    world.run();
    assert_eq!(world.status("acme", "o-2"), Some(Status::Completed));
}

#[test]
fn a_runner_that_stops_finishes_what_is_under_way_and_takes_nothing_in() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    world.place("acme", "o-2");
    let (first, second) = (next(&mut world, Source::Events), next(&mut world, Source::Events));
    let under_way = world.bench.turn([first]);
    assert_eq!(answers(&world.bench.turn([Input::Stopped { deadline_ms: 10_000 }])), [""; 0]);
    assert_eq!(world.bench.turn([second]), [], "INV-DRN-1");
    assert!(world.drained.is_empty());
    world.carry(under_way);
    assert_eq!(world.drained, [true], "INV-DRN-2");
    assert_eq!(world.bench.machine().not_ready(), ["draining"]);
    // The next life goes on where this one stopped.
    world.bench.crash();
    world.run();
    assert_eq!(world.status("acme", "o-2"), Some(Status::Completed));
    assert_eq!(world.outside.log.len(), 14, "INV-ONCE-1");
}

#[test]
fn a_runner_that_must_stop_at_once_says_what_it_left() {
    let mut world = World::bound();
    world.place("acme", "o-1");
    let delivery = next(&mut world, Source::Events);
    world.bench.turn([delivery]);
    world.bench.turn([Input::Stopped { deadline_ms: 1_000 }]);
    for effect in world.bench.advance(1_000) {
        world.perform(effect);
    }
    assert_eq!(world.drained, [false], "INV-DRN-2, INV-DRN-3");
    assert!(matches!(world.bench.recovered(), Ok(Runner { .. })));
}
