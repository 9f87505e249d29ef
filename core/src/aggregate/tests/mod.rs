//! An aggregate node on a bench, the event stream as it sees it, and the shop's stock as a model of its own.

mod exhaustive;
mod properties;
mod readiness;
mod recorded;
mod script;

use super::{
    Aggregate, AggregateKey, CommandRow, Config, Effect, Input, Limits, Record, Reply, RequestId,
    StoredEvents, Tail, Timer,
};
use crate::bench::{Bench, Exam, Landed, examine, quirks, shop_with};
use crate::gate::{Sighting, StreamFacts, Witness};
use crate::outcome::{Outcome, Token};
use crate::quirks::Quirk;
use crate::store::Table;
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::context::Context;
use crate::wire::envelope::{Command, Event, EventMessage};
use crate::wire::headers::{self, Headers};
use crate::wire::id::TenantId;
use crate::wire::keys;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const EXAM: Exam = &[
    (Quirk::AggregateConflictIsForeign, script::after_an_append_without_an_answer_the_stream_is_looked_at),
    (Quirk::AggregateForgetUnanswered, script::a_command_that_may_be_under_way_is_not_said_to_be_undone),
    (Quirk::AggregateNoExpectation, script::a_command_is_decided_appended_and_answered),
    (Quirk::AggregateRefuseUnverified, script::a_refusal_is_decided_on_what_the_stream_says_now),
    (Quirk::AggregateRefusalNotRecorded, recorded::a_recorded_refusal_is_the_answer_of_every_owner),
    (
        Quirk::AggregateTrustSequence,
        readiness::an_end_that_was_written_anew_stops_the_node_though_it_is_as_long_as_before,
    ),
    (Quirk::AggregateNeverAudit, readiness::a_hole_in_the_history_stops_the_node),
    (Quirk::AggregateSnapshotOffByOne, script::the_state_on_record_is_the_fold_of_the_stream),
];

#[test]
fn every_fault_of_an_aggregate_node_is_noticed() {
    examine(EXAM);
}

const LIMITS: Limits = Limits {
    commands_max: 5,
    commands_per_aggregate_max: 3,
    attempts_max: 4,
    load_messages_max: 2,
    answer_timeout_ms: 5_000,
    audit_ms: 3_600_000,
    confirm_ms: 0,
    backoff_ms: 100,
    backoff_ms_max: 1_000,
    refusals_max: 64,
};

/// Programs that go wrong, each in its own way.
const ODD: &str = "
aggregate: odd
initial_state: { n: 0 }
commands:
  fail: { events: [{ type: counted, payload: { n: = command.payload.missing } }] }
  spoil: { events: [{ type: spoiled }] }
  swell: { events: [{ type: counted, payload: { n: 1, much: = command.payload.much } }] }
  count: { events: [{ type: counted, payload: { n: 1 } }, { type: counted, payload: { n: 2 } }] }
events:
  counted: { set: { n: = state.n + event.payload.n } }
  spoiled: { set: { n: = state.missing } }
";

fn config() -> Config {
    let definitions = shop_with(&[("aggregates/odd.yaml", ODD)]).aggregates;
    Config { definitions, limits: LIMITS, gas_max: 100_000, seed: 7, quirks: quirks() }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("a tenant")
}

fn command(kind: &str, id: &str, name: &str, command_id: &str, payload: Value) -> Command {
    let parsed = (kind.parse(), id.parse(), name.parse(), command_id.parse());
    let (Ok(aggregate), Ok(id), Ok(name), Ok(command_id)) = parsed else { panic!("{kind} {id} {name}") };
    let context = Context::generate("test");
    Command { tenant: tenant(), aggregate, id, name, payload, command_id, context, record_refusal: false }
}

fn add(id: &str, command_id: &str, qty: u64) -> Command {
    command("stock", id, "add", command_id, json!({ "qty": qty }))
}

/// The order reserves under its own name.
fn reserve(id: &str, command_id: &str, qty: u64) -> Command {
    command("stock", id, "reserve", command_id, json!({ "order": command_id, "qty": qty }))
}

fn key_of(command: &Command) -> AggregateKey {
    AggregateKey { tenant: command.tenant.clone(), kind: command.aggregate.clone(), id: command.id.clone() }
}

const fn commanded(request: u64, command: Command) -> Input {
    Input::Commanded { request: RequestId(request), command }
}

/// How the broker answers a message whose id it knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Style {
    /// It looks at the expectation first: conflict.
    Single,
    /// It looks at the id first: duplicate.
    Cluster,
    /// Its window is over: it knows no ids.
    Forgetful,
}

/// The event stream.
#[derive(Clone, PartialEq, Debug)]
struct EventLog {
    style: Style,
    incarnation: String,
    messages: BTreeMap<u64, (String, StoredEvents)>,
    last_seq: u64,
}

impl EventLog {
    fn new(style: Style) -> Self {
        Self { style, incarnation: "2026|a".into(), messages: BTreeMap::new(), last_seq: 0 }
    }

    fn facts(&self) -> StreamFacts {
        let (incarnation, last_seq) = (self.incarnation.clone(), self.last_seq);
        let messages = self.messages.len() as u64;
        let (found, subjects) = (Vec::new(), BTreeMap::new());
        StreamFacts {
            incarnation,
            first_seq: 1,
            last_seq,
            messages,
            found,
            subjects,
            consumer: None,
            rival: None,
        }
    }

    fn sighting(&self, seq: u64) -> Sighting {
        let message = self.messages.get(&seq);
        let witness = message.map(|(subject, stored)| Witness::of(subject, &stored.payload, Some(seq)));
        Sighting { seq, witness }
    }

    fn of<'l>(&'l self, subject: &'l str) -> impl DoubleEndedIterator<Item = &'l StoredEvents> {
        self.messages.values().filter(move |(own, _)| own == subject).map(|(_, stored)| stored)
    }

    fn read(&self, subject: &str) -> Vec<EventMessage> {
        let decode = |stored: &StoredEvents| {
            EventMessage::decode(subject, &stored.headers, &stored.payload, "test").expect("readable")
        };
        self.of(subject).map(decode).collect()
    }

    fn keep(&mut self, subject: &str, headers: Headers, payload: impl Into<bytes::Bytes>) -> u64 {
        self.last_seq += 1;
        let stored = StoredEvents { seq: self.last_seq, headers, payload: payload.into() };
        self.messages.insert(self.last_seq, (subject.to_owned(), stored));
        self.last_seq
    }

    /// Somebody else's command, decided on the present state and stored.
    fn rival(&mut self, command: &Command, events: &[(&str, Value)]) -> u64 {
        let (key, subject) = (key_of(command), subject(command));
        let version = self.read(&subject).last().map_or(1, |last| last.last_version() + 1);
        let event = |(kind, payload): &(&str, Value)| Event {
            kind: kind.parse().expect("a name"),
            payload: payload.clone(),
        };
        let message = EventMessage {
            tenant: key.tenant,
            aggregate: key.kind,
            id: key.id,
            version,
            events: events.iter().map(event).collect(),
            command_id: Some(command.command_id.clone()),
            timestamp: None,
            context: Context::generate("rival"),
        };
        self.keep(&subject, message.context.headers(&message.tenant), message.encode())
    }

    /// Does what is asked, as the real one does, and answers.
    fn perform(&mut self, effect: &Effect) -> Option<Input> {
        match effect {
            Effect::Inspect { token, look_at } => {
                let found = look_at.iter().map(|seq| self.sighting(*seq)).collect();
                let facts = StreamFacts { found, ..self.facts() };
                Some(Input::Inspected { token: *token, outcome: Outcome::Done(facts) })
            }
            Effect::Load { token, subject, from_seq, messages_max } => {
                let mut messages: Vec<StoredEvents> =
                    self.of(subject).filter(|stored| stored.seq >= *from_seq).cloned().collect();
                let complete = messages.len() <= *messages_max;
                messages.truncate(*messages_max);
                let outcome = Outcome::Done(Tail { messages, complete });
                Some(Input::Loaded { token: *token, outcome })
            }
            Effect::Append { token, subject, headers: own, payload } => {
                let id = own.get(headers::NATS_MSG_ID);
                let known = self.of(subject).find(|kept| kept.headers.get(headers::NATS_MSG_ID) == id);
                let known = known.map(|kept| kept.seq).filter(|_| self.style == Style::Cluster);
                let last = self.of(subject).next_back().map_or(0, |stored| stored.seq).to_string();
                let expected = own.get(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE);
                let outcome = if let Some(seq) = known {
                    Outcome::Done(Published { seq, duplicate: true })
                } else if expected.is_some_and(|expected| expected != last) {
                    Outcome::Refused(PublishRefused::Conflict)
                } else {
                    let seq = self.keep(subject, own.clone(), payload.clone());
                    Outcome::Done(Published { seq, duplicate: false })
                };
                Some(Input::Appended { token: *token, outcome })
            }
            Effect::Reply { .. } | Effect::Drained(_) => None,
        }
    }
}

fn subject(command: &Command) -> String {
    super::load::subject(&key_of(command))
}

/// The token of a request to the broker.
const fn token(effect: &Effect) -> Option<Token> {
    match effect {
        Effect::Inspect { token, .. } | Effect::Load { token, .. } | Effect::Append { token, .. } => {
            Some(*token)
        }
        Effect::Reply { .. } | Effect::Drained(_) => None,
    }
}

/// The answer that nobody gave.
fn unknown(effect: &Effect) -> Input {
    match effect {
        Effect::Inspect { token, .. } => Input::Inspected { token: *token, outcome: Outcome::Unknown },
        Effect::Load { token, .. } => Input::Loaded { token: *token, outcome: Outcome::Unknown },
        Effect::Append { token, .. } => Input::Appended { token: *token, outcome: Outcome::Unknown },
        Effect::Reply { .. } | Effect::Drained(_) => panic!("{effect:?} has no answer"),
    }
}

fn refused(effect: &Effect, why: PublishRefused) -> Input {
    let token = token(effect).expect("a request");
    Input::Appended { token, outcome: Outcome::Refused(why) }
}

/// One line per effect, as a diagram would have it.
fn words(effects: &[Effect]) -> Vec<String> {
    let word = |effect: &Effect| match effect {
        Effect::Inspect { .. } => "inspect".to_owned(),
        Effect::Load { from_seq, .. } => format!("load {from_seq}.."),
        Effect::Append { headers: own, .. } => {
            let expected = own.get(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE);
            format!("append after {}", expected.unwrap_or("anything"))
        }
        Effect::Reply { request, reply } => format!("{}: {}", request.0, show(reply)),
        Effect::Drained(report) => format!("drained, clean: {}", report.clean),
    };
    effects.iter().map(word).collect()
}

fn show(reply: &Reply) -> String {
    match reply {
        Reply::Accepted { seq, version, duplicate, .. } => {
            format!("accepted {seq} v{version}{}", if *duplicate { " again" } else { "" })
        }
        Reply::Refused(refusal) => format!("refused {}", refusal.code),
        Reply::Invalid(refusal) => format!("invalid {}", refusal.code),
        Reply::Busy { reason } => format!("busy {reason}"),
        Reply::Unknown => "unknown".into(),
        Reply::Unreadable { detail } => format!("unreadable {detail}"),
    }
}

fn unbound() -> Bench<Aggregate> {
    Bench::new(config())
}

/// Whether a node wants nothing but to look at its stream now and then.
fn rests(bench: &Bench<Aggregate>) -> bool {
    matches!(bench.deadline(), Some((_, Timer::Audit)))
}

/// A node that is bound to its stream.
fn bench(log: &mut EventLog) -> Bench<Aggregate> {
    let mut bench = unbound();
    bind(&mut bench, log);
    bench
}

fn bind(bench: &mut Bench<Aggregate>, log: &mut EventLog) {
    let effects = bench.settle();
    assert_eq!(words(&effects), ["inspect"]);
    assert_eq!(carry(bench, log, effects), [""; 0]);
    assert_eq!(bench.machine().not_ready(), None);
}

/// Carries requests and answers to and fro until nothing more is asked; what was told to callers comes back.
fn carry(bench: &mut Bench<Aggregate>, log: &mut EventLog, mut effects: Vec<Effect>) -> Vec<String> {
    let mut told = Vec::new();
    while !effects.is_empty() {
        let replies: Vec<Effect> = effects.iter().filter(|own| token(own).is_none()).cloned().collect();
        told.extend(words(&replies));
        let answers: Vec<Input> = effects.iter().filter_map(|effect| log.perform(effect)).collect();
        effects = if answers.is_empty() { Vec::new() } else { bench.turn(answers) };
    }
    told
}

/// Submits a command and carries everything to and fro until it is answered.
fn submit(bench: &mut Bench<Aggregate>, log: &mut EventLog, request: u64, command: Command) -> Vec<String> {
    let effects = bench.turn([commanded(request, command)]);
    carry(bench, log, effects)
}

/// The committed row of an aggregate.
fn record(bench: &Bench<Aggregate>, key: &AggregateKey) -> Option<Record> {
    let row = bench.store.row(Table::Aggregate, &keys::aggregate(&key.tenant, &key.kind, &key.id))?;
    Some(Record::decode(row).expect("a record"))
}

/// The committed row of a command.
fn command_row(bench: &Bench<Aggregate>, command: &Command) -> Option<CommandRow> {
    let Command { tenant, aggregate, id, command_id, .. } = command;
    let row = bench.store.row(Table::Command, &keys::command(tenant, aggregate, id, command_id))?;
    Some(CommandRow::decode(row).expect("a command's row"))
}

/// The shop's stock of one article, told a second time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Stock {
    version: u64,
    on_hand: u64,
    reserved: Vec<(String, u64)>,
}

impl Stock {
    fn evolve(&mut self, event: &Event) {
        let qty = event.payload["qty"].as_u64().expect("a quantity");
        let order = event.payload["order"].as_str().unwrap_or_default();
        self.version += 1;
        match event.kind.as_str() {
            "stock_added" => self.on_hand += qty,
            "stock_reserved" => {
                self.on_hand -= qty;
                self.reserved.push((order.to_owned(), qty));
            }
            other => panic!("the tests store no {other}"),
        }
    }

    fn of<'m>(messages: impl IntoIterator<Item = &'m EventMessage>) -> Self {
        let mut stock = Self::default();
        messages.into_iter().flat_map(|message| &message.events).for_each(|event| stock.evolve(event));
        stock
    }

    fn refuses(&self, command: &Command) -> Option<&'static str> {
        let qty = command.payload["qty"].as_u64().expect("a quantity");
        let order = command.payload["order"].as_str();
        if command.name.as_str() == "add" {
            return (qty < 1).then_some("bad_quantity");
        }
        if self.reserved.iter().any(|(own, _)| Some(own.as_str()) == order) {
            return Some("already_reserved");
        }
        (self.on_hand < qty).then_some("out_of_stock")
    }

    fn state(&self) -> Value {
        let reserved: Vec<Value> =
            self.reserved.iter().map(|(order, qty)| json!({ "order": order, "qty": qty })).collect();
        json!({ "on_hand": self.on_hand, "sold": 0, "reserved": reserved })
    }
}
