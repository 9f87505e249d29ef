//! A projection node on a bench, the event stream as its gates see it, and the shop's stock as a fold of its own.

mod properties;
mod script;

use super::{Config, Effect, Input, Projection, Timer, ViewRow};
use crate::bench::{Bench, Exam, Landed, Sent, Upstream, examine, quirks, shop_with};
use crate::gate;
use crate::placement::Tenants;
use crate::quarantine::{Quarantine, QuarantinedKey, Which};
use crate::quirks::Quirk;
use crate::store::Table;
use crate::wire::context::Context;
use crate::wire::envelope::{Event, EventMessage};
use crate::wire::headers::Headers;
use crate::wire::id::{Name, TenantId};
use crate::wire::keys;
use serde_json::{Value, json};

pub(crate) const EXAM: Exam = &[
    (Quirk::ProjectionStaleRow, script::the_events_of_one_message_build_on_each_other),
    (Quirk::ProjectionSkipDedupe, script::events_that_come_again_under_another_sequence_are_skipped),
    (Quirk::ProjectionForgetTenant, script::tenants_have_rows_of_their_own),
];

#[test]
fn every_fault_of_a_projection_is_noticed() {
    examine(EXAM);
}

const GATE_LIMITS: gate::Limits = gate::Limits {
    batch: 4,
    in_flight_max: 6,
    ack_wait_ms: 30_000,
    pull_expires_ms: 30_000,
    heartbeat_ms: 5_000,
    request_timeout_ms: 2_000,
    confirm_ms: 0,
    audit_ms: 3_600_000,
    rebind_ms: 100,
    rebind_ms_max: 1_000,
};

/// Counts and forgets, names no row for some events, and cannot apply others.
const ODD: &str = "
projection: odd
on:
  stock.stock_added:
    view_id: \"event.payload.qty == 0 ? null : event.aggregate_id\"
    project: { set: { qty: = event.payload.qty } }
  stock.stock_sold:
    view_id: event.aggregate_id
    project: { delete: true }
  stock.stock_reserved:
    view_id: event.payload.order
    project: { set: { n: = view.missing } }
";

/// A node with one view.
fn config(view: &str) -> Config {
    let mut definitions = shop_with(&[("projections/odd.yaml", ODD)]).projections;
    definitions.retain(|name, _| name.as_str() == view);
    Config {
        definitions,
        partition: 0,
        tenants: Tenants::All,
        narrows: false,
        store_id: "store-a".into(),
        adopt: false,
        gate_limits: GATE_LIMITS,
        parked_max: 1_000,
        gas_max: 100_000,
        seed: 7,
        quirks: quirks(),
    }
}

fn name(raw: &str) -> Name {
    raw.parse().expect("a name")
}

fn tenant(raw: &str) -> TenantId {
    TenantId::parse(raw).expect("a tenant")
}

fn event(kind: &str, payload: Value) -> Event {
    Event { kind: name(kind), payload }
}

fn added(qty: u64) -> Event {
    event("stock_added", json!({ "qty": qty }))
}

fn reserved(qty: u64) -> Event {
    event("stock_reserved", json!({ "order": "o-1", "qty": qty }))
}

fn message(whose: &str, article: &str, version: u64, events: Vec<Event>) -> EventMessage {
    EventMessage {
        tenant: tenant(whose),
        aggregate: name("stock"),
        id: article.parse().expect("an id"),
        version,
        events,
        command_id: None,
        timestamp: None,
        context: Context::generate("test"),
    }
}

fn store(upstream: &mut Upstream, message: &EventMessage) -> u64 {
    let subject = message.route().subject();
    upstream.store(subject.as_str(), message.context.headers(&message.tenant), message.encode())
}

fn sent(view: &str, sent: Sent) -> Input {
    match sent {
        Sent::Fact(input) => Input::Gate { view: name(view), input },
        Sent::Message(delivery) => Input::Delivered { view: name(view), delivery },
    }
}

/// Does what the gates ask for.
fn perform(upstream: &mut Upstream, effects: Vec<Effect>) -> Vec<Sent> {
    let gates = effects.into_iter().filter_map(|effect| match effect {
        Effect::Gate { effect, .. } => upstream.perform(effect),
        Effect::Drained(report) => panic!("{report:?}"),
    });
    gates.collect()
}

/// Wakes the node and carries requests and facts to and fro until nothing more is said.
fn bind(bench: &mut Bench<Projection>, upstream: &mut Upstream, view: &str) {
    let mut facts = perform(upstream, bench.settle());
    while !facts.is_empty() {
        let effects = bench.turn(facts.into_iter().map(|fact| sent(view, fact)));
        facts = perform(upstream, effects);
    }
}

fn bound(view: &str, upstream: &mut Upstream) -> Bench<Projection> {
    let mut bench = Bench::new(config(view));
    bind(&mut bench, upstream, view);
    assert_eq!(bench.machine().not_ready(), [""; 0]);
    bench
}

/// Delivers everything there is, each message in a turn of its own; what was answered to the broker comes back.
fn consume(bench: &mut Bench<Projection>, upstream: &mut Upstream, view: &str) -> Vec<String> {
    let mut answers = Vec::new();
    while let Some(delivery) = upstream.serve() {
        let effects = bench.turn([sent(view, Sent::Message(delivery))]);
        answers.extend(words(&effects));
        perform(upstream, effects);
    }
    answers
}

fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Gate { effect: gate::Effect::Ack { ack }, .. } => Some(format!("ack {ack}")),
        Effect::Gate { effect: gate::Effect::Term { ack, reason }, .. } => {
            Some(format!("term {ack}: {reason}"))
        }
        Effect::Gate { .. } => None,
        Effect::Drained(report) => Some(format!("drained, clean: {}", report.clean)),
    };
    effects.iter().filter_map(word).collect()
}

/// The committed row of a view.
fn row(bench: &Bench<Projection>, view: &str, whose: &str, id: &str) -> Option<ViewRow> {
    let key = keys::view(&tenant(whose), &name(view), &id.parse().expect("an id"));
    Some(ViewRow::decode(bench.store.row(Table::View, &key)?).expect("a row"))
}

fn value(bench: &Bench<Projection>, view: &str, whose: &str, id: &str) -> Value {
    row(bench, view, whose, id).map_or(Value::Null, |row| row.value)
}

fn checkpoint(bench: &Bench<Projection>) -> u64 {
    let recovered = bench.recovered().expect("recovers");
    recovered.gates().map(|(_, gate)| gate.checkpoint().seq).next().expect("a gate")
}

fn quarantined(bench: &Bench<Projection>) -> Vec<QuarantinedKey> {
    Quarantine::list(&bench.store, &Which::default(), "", 100).expect("reads").items
}
