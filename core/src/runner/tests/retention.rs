//! What has ended is kept for a while, through the whole path.

use super::{
    Config, HandOver, Input, Mode, Operation, Source, Status, Table, World, config, order_events, tenant,
};
use crate::marks::Mark;
use crate::operator::Reason;
use crate::saga;

/// Long enough for what happens meanwhile.
pub(super) const KEEP_MS: u64 = 300_000;

fn bound_with(hand_over: HandOver) -> World {
    let mut world = World::new(Config { keep_ms: KEEP_MS, mode: Mode::Combined(hand_over), ..config() });
    world.run();
    world
}

fn ended(world: &World) -> (usize, usize, usize) {
    let count = |table| world.bench.store.table(table).count();
    (count(Table::Saga), count(Table::Effect), count(Table::Ended))
}

pub(super) fn pass(world: &mut World, ms: u64) {
    let effects = world.bench.advance(ms);
    world.carry(effects);
}

/// An order that went through, whichever way its effects went.
pub(super) fn shipped(hand_over: HandOver) -> World {
    let mut world = bound_with(hand_over);
    world.place("acme", "o-1");
    world.run();
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
    world
}

#[test]
pub(super) fn what_has_ended_is_kept_so_long_and_no_longer() {
    for hand_over in HandOver::ALL {
        let mut world = shipped(hand_over);
        let (sagas, effects, indexed) = ended(&world);
        assert_eq!((sagas, indexed), (1, 1 + effects), "INV-KEEP-1");
        assert!(effects > 0);
        pass(&mut world, KEEP_MS - 60_000);
        assert_eq!(ended(&world), (sagas, effects, indexed), "INV-KEEP-1: not yet");
        world.bench.crash();
        world.run();
        pass(&mut world, 120_000);
        assert_eq!(ended(&world), (0, 0, 0), "INV-KEEP-1");
        assert_eq!(world.bench.marked(Mark::InstanceRetired), 1);
        assert_eq!(world.bench.marked(Mark::EffectRetired), effects as u64);
    }
}

#[test]
fn what_ended_under_an_earlier_release_is_kept_and_removed_as_well() {
    let mut world = shipped(HandOver::Commit);
    let rows = world.bench.store.table(Table::Saga).map(|(key, row)| (key.to_vec(), row.to_vec()));
    for (key, row) in rows.collect::<Vec<_>>() {
        let mut row: serde_json::Value = serde_json::from_slice(&row).expect("JSON");
        let fields = row.as_object_mut().expect("an object");
        for later in ["began_at", "began_with", "ended_at"] {
            assert!(fields.remove(later).is_some() || later == "began_at", "{later}");
        }
        world.bench.store.rows.insert((Table::Saga, key), row.to_string().into_bytes());
    }
    world.bench.crash();
    world.run();
    pass(&mut world, KEEP_MS + 60_000);
    assert_eq!(ended(&world), (0, 0, 0));
}

#[test]
fn what_runs_stays() {
    let mut world = bound_with(HandOver::Broker);
    world.place("acme", "o-1");
    let message = world.stream(Source::Events).serve().expect("a message");
    world.bench.turn([super::sent(Source::Events, super::Sent::Message(message))]);
    pass(&mut world, 2 * KEEP_MS);
    assert!(world.status("acme", "o-1").is_some());
}

#[test]
fn an_instance_stays_as_long_as_something_for_it_is_quarantined() {
    let mut sagas = super::shop_with(&[("sagas/odd.yaml", super::ODD)]).sagas;
    sagas.retain(|name, _| name.as_str() == "odd");
    let mut world = World::new(Config { keep_ms: KEEP_MS, sagas, ..config() });
    world.run();
    world.place("acme", "o-1");
    world.run();
    assert_eq!(world.quarantined().len(), 1);
    let (saga, correlation) = ("odd".parse().expect("a name"), "o-1".parse().expect("an id"));
    let verb = saga::Verb::Kill { reason: Reason::parse("settled by hand").expect("a reason") };
    let operation = saga::Operation { tenant: tenant("acme"), saga, correlation, verb };
    let asked = Input::Asked { ticket: 0, operation: Box::new(Operation::Saga(operation)) };
    world.bench.turn([asked]);
    pass(&mut world, KEEP_MS + 1_000);
    assert!(world.instance("odd", "acme", "o-1").is_some(), "it must absorb what is parked for it");
    assert_eq!(world.replay_all().superseded, 1);
    pass(&mut world, KEEP_MS + 60_000);
    assert_eq!(ended(&world).0, 0);
}

#[test]
fn many_are_removed_bit_by_bit() {
    let mut world =
        World::new(Config { keep_ms: 60_000, mode: Mode::Combined(HandOver::Commit), ..config() });
    world.run();
    for nth in 0..150 {
        world.publish(&order_events("acme", &format!("o-{nth}"), 1, &["order_placed"]));
        world.run();
    }
    assert_eq!(ended(&world).0, 150);
    pass(&mut world, 180_000);
    assert_eq!(ended(&world), (0, 0, 0));
}

/// Its sagas may come back, and with them a replay.
#[test]
fn an_application_without_sagas_still_knows_up_to_where_they_were() {
    let world = shipped(HandOver::Commit);
    let mode = Mode::Combined(HandOver::Commit);
    let none = Config { sagas: std::collections::BTreeMap::new(), keep_ms: KEEP_MS, mode, ..config() };
    let mut bench: super::Bench<super::Runner> = super::Bench::with(world.bench.store, none);
    bench.advance(2 * KEEP_MS);
    let checkout = "checkout".parse().expect("a name");
    let key = super::keys::saga_forgotten(&tenant("acme"), &checkout);
    let passed = bench.store.row(Table::SagaForgotten, &key).and_then(super::keys::parse_position);
    assert!(passed.is_some_and(|seq| seq > 0), "INV-SAGA-10: {passed:?}");
}
