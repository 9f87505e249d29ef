//! Several definitions of one saga at once.

use super::{
    Bench, Desk, Input, Operation, SagaConfig, Status, happened, instance, quirks, shop_with, tenant,
};
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::operator::Reason;
use crate::program::Natives;
use crate::saga::{DEFINITIONS_MAX, HandOver, Verb, definition_of};
use crate::store::Table;

/// A saga of one step that says in its state by which edition it reacted last.
fn manifest(edition: &str) -> String {
    format!(
        "
saga: stamp
correlate: {{ order.order_placed: event.aggregate_id, order.order_shipped: event.aggregate_id }}
starts_on: [order.order_placed]
on_event:
  order.order_placed: {{ set: {{ began: {edition}, seen: {edition} }} }}
  order.order_shipped: {{ set: {{ seen: {edition} }} }}
  signal.end: {{ complete: true }}
"
    )
}

fn config(editions: &[&str]) -> SagaConfig {
    let manifests: Vec<(String, String)> =
        editions.iter().map(|own| ("sagas/stamp.yaml".to_owned(), manifest(own))).collect();
    let more: Vec<(&str, &str)> =
        manifests.iter().map(|(file, text)| (file.as_str(), text.as_str())).collect();
    let mut definitions = shop_with(&more).sagas;
    definitions.retain(|name, _| name.as_str() == "stamp");
    SagaConfig {
        definitions,
        natives: Natives::default(),
        hand_over: HandOver::Broker,
        gas_max: 100_000,
        quirks: quirks(),
    }
}

/// The same store under another manifest, or none.
fn reborn(bench: &Bench<Desk>, editions: &[&str]) -> Bench<Desk> {
    Bench::with(bench.store.clone(), config(editions))
}

fn placed(order: &str) -> Input {
    happened("stamp", order, "order_placed", "placed")
}

fn shipped(order: &str, cause: &str) -> Input {
    happened("stamp", order, "order_shipped", cause)
}

fn seen(bench: &Bench<Desk>, order: &str) -> (String, String) {
    let state = instance(bench, "stamp", order).expect("an instance").state;
    let text = |field: &str| state[field].as_str().expect("text").to_owned();
    (text("began"), text("seen"))
}

fn both(began: &str, seen: &str) -> (String, String) {
    (began.to_owned(), seen.to_owned())
}

fn operated(order: &str, verb: Verb) -> Input {
    let (saga, correlation) = ("stamp".parse().expect("a name"), order.parse().expect("an id"));
    Input::Asked(Box::new(Operation { tenant: tenant(), saga, correlation, verb }))
}

fn reason() -> Reason {
    Reason::parse("because").expect("a reason")
}

fn kept(bench: &Bench<Desk>) -> (usize, usize) {
    (bench.store.table(Table::SagaDefinition).count(), bench.store.table(Table::SagaPinned).count())
}

#[test]
pub(super) fn an_instance_reacts_by_the_definition_it_began_under() {
    let mut bench = Bench::new(config(&["one"]));
    bench.turn([placed("o-1")]);
    let mut bench = reborn(&bench, &["two"]);
    bench.turn([placed("o-2"), shipped("o-1", "a"), shipped("o-2", "a")]);
    assert_eq!(seen(&bench, "o-1"), both("one", "one"), "INV-SAGA-8");
    assert_eq!(seen(&bench, "o-2"), both("two", "two"));
    // The saga is not in the application any more; what began goes on, nothing begins.
    let mut bench = reborn(&bench, &[]);
    bench.turn([placed("o-3"), shipped("o-1", "b")]);
    assert_eq!(seen(&bench, "o-1"), both("one", "one"), "INV-SAGA-8");
    assert_eq!(instance(&bench, "stamp", "o-3"), None);
    assert!(bench.marked(Mark::SagaPinned) > 0);
}

#[test]
pub(super) fn a_definition_is_kept_as_long_as_an_instance_runs_by_it() {
    let mut bench = Bench::new(config(&["one"]));
    bench.turn([placed("o-1"), placed("o-2")]);
    let mut bench = reborn(&bench, &["two"]);
    bench.turn([placed("o-3")]);
    assert_eq!(kept(&bench), (2, 2));
    bench.turn([operated("o-1", Verb::Kill { reason: reason() })]);
    assert_eq!(kept(&bench), (2, 2), "INV-SAGA-8: another one runs by it");
    bench.crash();
    bench.turn([shipped("o-2", "a"), operated("o-2", Verb::Kill { reason: reason() })]);
    assert_eq!(kept(&bench), (1, 1));
    let ended = instance(&bench, "stamp", "o-2").expect("an instance");
    assert_eq!(ended.status, Status::Killed);
    assert_eq!(
        definition_of(&bench.store, &ended, None, &Natives::default()).expect("reads"),
        None,
        "it is not needed any more"
    );
    bench.turn([operated("o-3", Verb::Kill { reason: reason() })]);
    assert_eq!(kept(&bench), (0, 0));
}

#[test]
fn a_migrated_instance_reacts_by_todays_definition() {
    let mut bench = Bench::new(config(&["one"]));
    bench.turn([placed("o-1")]);
    let mut bench = reborn(&bench, &["two"]);
    let migrate = || operated("o-1", Verb::Migrate { reason: reason() });
    assert_eq!(bench.turn([migrate()]), ["running changed"]);
    assert_eq!(bench.turn([migrate()]), ["running"], "it may be asked for again");
    bench.turn([shipped("o-1", "a")]);
    assert_eq!(seen(&bench, "o-1"), both("one", "two"));
    assert_eq!(kept(&bench), (1, 1));
    let mut bench = reborn(&bench, &[]);
    assert_eq!(bench.turn([migrate()]), ["refused: the application has no saga `stamp` any more"]);
}

#[test]
fn definitions_that_cannot_be_read_or_are_too_many_refuse_to_start() {
    let mut bench = Bench::new(config(&["one"]));
    bench.turn([placed("o-1")]);
    let hash = instance(&bench, "stamp", "o-1").expect("an instance").definition;
    let mut odd = bench.store.clone();
    odd.rows.insert((Table::SagaDefinition, hash.clone().into_bytes()), b"{\"saga\": 5}".to_vec());
    let recover = |store: &_| <Desk as crate::cx::Machine>::recover(config(&["two"]), 1, store);
    let halt = recover(&odd).expect_err("it cannot be read");
    assert!(
        matches!(&halt, Halt::Fenced(Fence::DefinitionUnreadable { hash: own, .. }) if *own == hash),
        "{halt}"
    );
    let mut many = bench.store.clone();
    for nth in 0..DEFINITIONS_MAX {
        let own = config(&[&format!("e{nth}")]).definitions.into_values().next().expect("a definition");
        many.rows.insert(
            (Table::SagaDefinition, own.hash.clone().into_bytes()),
            own.canonical.clone().into_bytes(),
        );
    }
    assert_eq!(recover(&many), Err(Fence::TooManyDefinitions { max: DEFINITIONS_MAX }.into()));
}

#[test]
fn what_is_kept_of_every_example_reads_back_as_it_was() {
    for saga in shop_with(&[]).sagas.values() {
        let back =
            crate::manifest::SagaDef::of_canonical(&saga.canonical, &Natives::default()).expect("reads");
        assert_eq!(back.hash, saga.hash);
        assert_eq!(back.canonical, saga.canonical);
    }
}
