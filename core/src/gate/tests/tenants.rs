//! Tenants of a partition: whose messages are applied, and how another one joins.

use super::properties::{Op, World, op_with};
use super::{Bench, Config, Gated, Sent, Upstream, bind, config, log, words};
use crate::gate::{CatchUp, Effect, Gate};
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::wire::headers::Headers;
use crate::wire::id::TenantId;
use crate::wire::stream::PlatformStream;
use crate::wire::subject::Filter;
use proptest::prelude::*;

fn tenant(raw: &str) -> TenantId {
    TenantId::parse(raw).expect("a tenant")
}

fn of(tenants: &[&str]) -> Config {
    Config { tenants: tenants.iter().map(|own| tenant(own)).collect(), ..config() }
}

/// The same on a stream that is read whole.
fn of_commands(tenants: &[&str]) -> Config {
    let filters = vec![Filter::parse("tenant.*.effect.>").expect("a filter")];
    Config { stream: PlatformStream::WorkflowCommands, filters, ..of(tenants) }
}

fn order(tenant: &str) -> String {
    format!("tenant.{tenant}.aggregate.order.o-1")
}

fn orders(tenants: &[&str]) -> Upstream {
    let mut upstream = Upstream::new();
    for own in tenants {
        upstream.store(&order(own), Headers::default(), "x");
    }
    upstream
}

/// A life under this configuration, as far as it goes.
fn live(bench: Bench<Gated>, config: Config, upstream: &mut Upstream) -> Bench<Gated> {
    let mut bench = Bench::with(bench.store, config);
    go_on(&mut bench, upstream);
    bench
}

/// Carries everything to and fro until nothing more is said: what a catch-up ends with is another binding.
fn go_on(bench: &mut Bench<Gated>, upstream: &mut Upstream) {
    bind(bench, upstream);
    while let Some(delivery) = upstream.serve() {
        let mut effects = bench.turn([super::Input::Delivered(delivery)]);
        while !effects.is_empty() {
            let sent: Vec<Sent> = effects.drain(..).filter_map(|effect| upstream.perform(effect)).collect();
            effects = bench.turn(sent.into_iter().map(super::Input::from));
        }
    }
}

/// What the consumer asks for that is bound next.
fn filters(bench: &mut Bench<Gated>, upstream: &mut Upstream) -> Vec<String> {
    let sent: Vec<Sent> = bench.settle().into_iter().filter_map(|effect| upstream.perform(effect)).collect();
    let effects = bench.turn(sent.into_iter().map(super::Input::from));
    let [Effect::Position { consumer, .. }] = &effects[..] else { panic!("{:?}", words(&effects)) };
    consumer.filter_subjects.clone()
}

#[test]
fn only_what_is_of_its_tenants_is_asked_for() {
    let mut upstream = orders(&["acme", "globex", "acme"]);
    let mut bench = Bench::new(of(&["acme", "initech"]));
    let asked = filters(&mut bench.clone(), &mut upstream.clone());
    assert_eq!(asked, ["tenant.acme.aggregate.order.*", "tenant.initech.aggregate.order.*"]);
    go_on(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1, 3]);
}

#[test]
pub(super) fn who_joins_is_caught_up_with_and_then_all_go_on() {
    let mut upstream = orders(&["globex", "acme", "globex", "initech", "acme", "globex"]);
    let bench = live(Bench::new(of(&["acme"])), of(&["acme"]), &mut upstream);
    assert_eq!(log(&bench), [2, 5]);
    let mut bench = Bench::with(bench.store, of(&["acme", "globex"]));
    let asked = filters(&mut bench.clone(), &mut upstream.clone());
    assert_eq!(
        asked,
        ["tenant.globex.aggregate.order.*".to_owned(), order("acme")],
        "and the last that was applied"
    );
    upstream.store(&order("acme"), Headers::default(), "x");
    go_on(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [2, 5, 1, 3, 6, 7], "INV-GATE-8");
    assert_eq!(bench.machine().0.catch_up(), None);
    let bench = live(bench, of(&["acme", "globex"]), &mut upstream);
    assert_eq!(log(&bench), [2, 5, 1, 3, 6, 7], "once");
}

/// The broker has no answer for a place that is none.
#[test]
fn who_joins_where_nothing_was_applied_asks_for_no_place() {
    let mut upstream = Upstream::new();
    let bench = live(Bench::new(of(&["acme"])), of(&["acme"]), &mut upstream);
    let mut bench = Bench::with(bench.store, of(&["acme", "globex"]));
    let effects = bench.clone().settle();
    let [Effect::Inspect { look_at, .. }] = &effects[..] else { panic!("{:?}", words(&effects)) };
    assert_eq!(look_at, &[] as &[u64]);
    upstream.store(&order("globex"), Headers::default(), "x");
    go_on(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1]);
}

#[test]
fn who_joins_while_another_catches_up_repeats_nothing_of_it() {
    let mut upstream = orders(&["globex", "initech", "globex", "initech", "acme"]);
    let mut bench = live(Bench::new(of(&["acme"])), of(&["acme"]), &mut upstream);
    bench = Bench::with(bench.store, of(&["acme", "globex"]));
    bind(&mut bench, &mut upstream);
    let delivery = upstream.serve().expect("the first of globex");
    bench.turn([super::Input::Delivered(delivery)]);
    assert_eq!(bench.machine().0.catch_up().map(|own| own.seq), Some(1));
    bench = Bench::with(bench.store, of(&["acme", "globex", "initech"]));
    bind(&mut bench, &mut upstream);
    let from = [(tenant("globex"), 1), (tenant("initech"), 0)].into();
    assert_eq!(bench.machine().0.catch_up(), Some(&CatchUp { seq: 0, from }));
    assert_eq!(
        ["acme", "globex", "initech", "x"].map(|own| bench.machine().0.passed(&tenant(own))),
        [5, 1, 0, 0]
    );
    go_on(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [5, 1, 2, 3, 4]);
}

#[test]
fn a_stream_that_is_read_whole_is_passed_over_for_others_and_caught_up_with() {
    let command = |tenant: &str| format!("tenant.{tenant}.effect.charge.c-1");
    let mut upstream = Upstream::new();
    for own in ["globex", "acme", "initech", "globex"] {
        upstream.store(&command(own), Headers::default(), "x");
    }
    let bench = live(Bench::new(of_commands(&["acme"])), of_commands(&["acme"]), &mut upstream);
    assert_eq!(
        (log(&bench), super::committed(&bench)),
        (vec![2], 4),
        "the checkpoint moves with every message"
    );
    assert_eq!(bench.marked(Mark::GateForeign), 3);
    let both = || of_commands(&["acme", "globex"]);
    let bench = live(bench, both(), &mut upstream);
    assert_eq!(log(&bench), [2, 1, 4], "the last one, too");
    // What stood at the checkpoint has expired.
    let all = || of_commands(&["acme", "globex", "initech"]);
    upstream.expire_before(5);
    upstream.store(&command("initech"), Headers::default(), "x");
    let bench = live(bench, all(), &mut upstream);
    assert_eq!((log(&bench), bench.machine().0.catch_up()), (vec![2, 1, 4, 5], None));
}

#[test]
fn no_tenant_is_taken_from_a_store_that_has_it() {
    let mut upstream = orders(&["acme", "globex"]);
    let bench = live(Bench::new(of(&["acme", "globex"])), of(&["acme", "globex"]), &mut upstream);
    let taken = |bench: &Bench<Gated>, config: Config| match Gate::recover(config, 0, &bench.store) {
        Err(Halt::Fenced(Fence::TenantsTaken { tenants, .. })) => Some(tenants),
        Err(halt) => panic!("{halt}"),
        Ok(_) => None,
    };
    assert_eq!(taken(&bench, of(&["acme", "globex"])), None);
    assert_eq!(taken(&bench, of(&["globex", "initech"])), Some("acme".into()));
    assert_eq!(taken(&bench, config()), Some("acme, globex".into()), "nor is it opened to all");
    let bench = live(Bench::new(config()), config(), &mut upstream);
    assert_eq!(taken(&bench, of(&["acme"])), Some("all tenants".into()));
    // Whoever looked knows that there are no others.
    let narrows = || Config { narrows: true, ..of(&["acme", "globex"]) };
    assert_eq!(Gate::is_placed(&bench.store), Ok(false));
    let bench = live(bench, narrows(), &mut upstream);
    assert_eq!(Gate::is_placed(&bench.store), Ok(true));
    upstream.store(&order("initech"), Headers::default(), "x");
    let bench = live(bench, of(&["acme", "globex"]), &mut upstream);
    assert_eq!(
        (log(&bench), taken(&bench, config())),
        (vec![1, 2], Some("acme, globex".into())),
        "it is on record"
    );
    let bench = live(bench, of(&["acme", "globex", "initech"]), &mut upstream);
    assert_eq!(log(&bench), [1, 2, 3]);
}

fn joining(subjects: Vec<&'static str>) -> impl Strategy<Value = Op> {
    let tenant = prop::sample::select(vec!["globex", "initech"]);
    prop_oneof![40 => op_with(subjects), 4 => tenant.prop_map(|tenant| Op::Join { tenant })]
}

fn events() -> Vec<&'static str> {
    vec![
        "tenant.acme.aggregate.order.o-1",
        "tenant.globex.aggregate.order.o-1",
        "tenant.initech.aggregate.order.o-1",
        "tenant.initech.aggregate.stock.tea",
    ]
}

fn commands() -> Vec<&'static str> {
    vec!["tenant.acme.effect.a.c", "tenant.globex.effect.a.c", "tenant.initech.effect.a.c"]
}

proptest! {
    #[test]
    fn every_message_of_a_tenant_is_applied_once_and_in_order_whenever_it_joins(
        ops in prop::collection::vec(joining(events()), 1..150),
    ) {
        let mut world = World::of(of(&["acme"]), Upstream::new());
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }

    #[test]
    fn and_on_a_stream_that_is_read_whole(ops in prop::collection::vec(joining(commands()), 1..150)) {
        let mut world = World::of(of_commands(&["acme"]), Upstream::new());
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }
}
