//! A runner on a bench, its three streams, and an outside of aggregates and services: the whole path in one world.

mod dead_letter;
mod definitions;
mod occurrence;
mod operating;
mod properties;
mod redrive;
mod replay;
mod retention;
mod script;

use super::operate::{self, Done, Operation};
use super::{Config, Effect, Input, Mode, Runner, Source};
use crate::bench::{Bench, Exam, Landed, Sent, Upstream, examine, quirks, shop_with};
use crate::effect::{self, Answered};
use crate::gate;
use crate::operator::{self, Reason};
use crate::outbox::{self, CommandAccepted, CommandRefused, Found};
use crate::outcome::Outcome;
use crate::placement::Tenants;
use crate::program::contract::Refusal;
use crate::quarantine::{Quarantine, QuarantinedKey, Which};
use crate::quirks::Quirk;
use crate::saga::{self, HandOver, Instance, Status, Verb};
use crate::store::Table;
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::context::Context;
use crate::wire::envelope::{Command, Event, EventMessage};
use crate::wire::id::TenantId;
use crate::wire::stream::PlatformStream;
use crate::wire::{headers, keys};
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const EXAM: Exam = &[
    (Quirk::RetentionTooSoon, retention::what_has_ended_is_kept_so_long_and_no_longer),
    (
        Quirk::OutboxGivesUpForGood,
        dead_letter::what_nobody_answers_is_a_dead_letter_and_goes_on_when_it_is_replayed,
    ),
    (Quirk::SagaReplayForgets, replay::what_has_ended_does_not_begin_again_when_it_is_forgotten),
    (Quirk::SagaReplayOvertakes, replay::what_is_held_back_stays_so),
    (Quirk::DrainCallsOn, occurrence::a_stopped_runner_begins_no_call),
    (Quirk::DrainSendsOn, occurrence::nothing_leaves_after_the_report_of_a_drain),
    (Quirk::EffectNeverHeld, occurrence::no_effect_is_called_before_the_streams_are_known_to_be_ours),
    (Quirk::RetentionForgetsEffect, retention::what_has_ended_is_kept_so_long_and_no_longer),
];

#[test]
fn every_fault_of_a_runner_is_noticed() {
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

const OUTBOX_LIMITS: outbox::Limits = outbox::Limits {
    in_flight_max: 4,
    in_flight_tenant_max: 4,
    tracked_max: 8,
    tracked_tenant_max: 8,
    attempt_timeout_ms: 5_000,
    backoff_ms: 100,
    backoff_ms_max: 1_000,
    retry_ms_max: 3_600_000,
};

/// Cannot react to a cancelled order.
const ODD: &str = "
saga: odd
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.payload.parcel }
starts_on: [order.order_placed, order.order_shipped]
on_event:
  order.order_placed: { work: [{ name: note, command: { aggregate: stock, id: tea, name: add } }] }
  order.order_shipped: { set: { n: = state.missing } }
  note.accepted: { set: { n: = state.missing } }
";

fn config() -> Config {
    let circuit = effect::CircuitLimits { failures_max: 3, pause_ms: 10, pause_ms_max: 100 };
    let app = shop_with(&[("sagas/odd.yaml", ODD)]);
    let mut sagas = app.sagas;
    sagas.retain(|name, _| name.as_str() == "checkout");
    Config {
        sagas,
        natives: app.natives,
        effects: app.effects,
        schedules: app.schedules,
        partition: 0,
        tenants: Tenants::All,
        narrows: false,
        store_id: "store-a".into(),
        adopt: false,
        gate_limits: GATE_LIMITS,
        mode: Mode::Combined(HandOver::Broker),
        outbox_limits: OUTBOX_LIMITS,
        effect_limits: effect::Limits {
            in_flight_max: 4,
            tracked_max: 8,
            lanes_max: 4,
            answer_slack_ms: 500,
            circuit,
        },
        schedule_limits: crate::schedule::Limits { fired_max: 3, look_ms_max: 1_000 },
        parked_max: 1_000,
        keep_ms: 3_600_000_000,
        gas_max: 100_000,
        seed: 7,
        quirks: quirks(),
    }
}

fn tenant(raw: &str) -> TenantId {
    TenantId::parse(raw).expect("a tenant")
}

fn order_events(whose: &str, order: &str, version: u64, events: &[&str]) -> EventMessage {
    let payload = json!({ "sku": "tea", "qty": 2, "cents": 900, "card": "valid", "parcel": "p" });
    let event = |kind: &&str| Event { kind: kind.parse().expect("a name"), payload: payload.clone() };
    EventMessage {
        tenant: tenant(whose),
        aggregate: "order".parse().expect("a name"),
        id: order.parse().expect("an id"),
        version,
        events: events.iter().map(event).collect(),
        command_id: None,
        timestamp: None,
        context: Context::generate(order),
    }
}

/// Aggregates and services: what they did, once each. An order's name says how it fares.
#[derive(Clone, PartialEq, Debug, Default)]
struct Outside {
    /// By command id or idempotency key: what was asked.
    done: BTreeMap<String, String>,
    /// In the order in which it was done.
    log: Vec<String>,
    /// Answers are worth nothing unless something holds them: calls that reached it, repetitions included.
    calls: u64,
    /// Aggregates do nothing, and say so to nobody.
    is_mute: bool,
    /// Services do nothing, and say so to nobody.
    is_away: bool,
}

impl Outside {
    /// Whether it is done; the same id is answered the same way.
    fn does(&mut self, id: &str, what: String, ill_fate: &str) -> bool {
        self.calls += 1;
        let fails = what.contains(ill_fate);
        if self.done.insert(id.to_owned(), what.clone()).is_none() {
            self.log.push(if fails { format!("{what}: no") } else { what });
        }
        !fails
    }

    fn submit(&mut self, command: &Command) -> Outcome<CommandAccepted, CommandRefused> {
        if self.is_mute {
            return Outcome::Unknown;
        }
        let order = command.payload["order"].as_str().unwrap_or(command.id.as_str());
        let what = format!("{}/{order} {}", command.tenant, command.name);
        if self.does(command.command_id.as_str(), what, "soldout reserve") {
            Outcome::Done(CommandAccepted { seq: 1, version: 1 })
        } else {
            let refusal = Refusal { code: "out_of_stock".into(), message: "none".into() };
            Outcome::Refused(CommandRefused::Refusal(refusal))
        }
    }

    fn call(&mut self, effect: &effect::Effect) -> Answered {
        let effect::Effect::Execute { idempotency_key, tenant, effect, request, .. } = effect;
        let body = request.body().cloned().unwrap_or_default();
        let order = body["order"].as_str().unwrap_or_default();
        let done = self.does(idempotency_key, format!("{tenant}/{order} {effect}"), "broke charge_card");
        let status = if done { 200 } else { 402 };
        Answered { status, body: json!({ "id": idempotency_key }) }
    }

    /// What was done for one order, in order.
    fn of(&self, order: &str) -> Vec<&str> {
        let own = self.log.iter().filter_map(|line| line.split_once(' ').filter(|(own, _)| *own == order));
        own.map(|(_, what)| what).collect()
    }
}

/// A runner and all that is around it.
#[derive(Clone, Debug)]
struct World {
    bench: Bench<Runner>,
    streams: BTreeMap<Source, Upstream>,
    outside: Outside,
    drained: Vec<bool>,
    finished: Vec<String>,
    answered: Vec<operate::Answered>,
    /// Where the events of an accepted command stand.
    noted: BTreeMap<String, u64>,
}

impl World {
    fn new(config: Config) -> Self {
        let streams = Source::ALL.map(|source| (source, Upstream::new())).into();
        Self {
            bench: Bench::new(config),
            streams,
            outside: Outside::default(),
            drained: Vec::new(),
            finished: Vec::new(),
            answered: Vec::new(),
            noted: BTreeMap::new(),
        }
    }

    /// A runner that is bound to its streams.
    fn bound() -> Self {
        Self::bound_with(HandOver::Broker)
    }

    fn bound_with(hand_over: HandOver) -> Self {
        let mut world = Self::new(Config { mode: Mode::Combined(hand_over), ..config() });
        world.run();
        assert_eq!(world.bench.machine().not_ready(), [""; 0]);
        world
    }

    fn stream(&mut self, source: Source) -> &mut Upstream {
        self.streams.get_mut(&source).expect("one of three")
    }

    fn publish(&mut self, message: &EventMessage) {
        let (subject, headers) = (message.route().subject(), message.context.headers(&message.tenant));
        self.stream(Source::Events).store(subject.as_str(), headers, message.encode());
    }

    /// What a command did to its aggregate, as an event nobody waits for. Once, however often it is submitted.
    fn note(&mut self, command: &Command) -> u64 {
        let own = command.command_id.as_str();
        if let Some(seq) = self.noted.get(own) {
            return *seq;
        }
        let Command { tenant, aggregate, id, command_id, .. } = command;
        let mut message = order_events("acme", "noted", self.noted.len() as u64 + 1, &["order_noted"]);
        (message.tenant, message.aggregate, message.id) = (tenant.clone(), aggregate.clone(), id.clone());
        let mut headers = message.context.headers(tenant);
        headers
            .append(headers::NATS_MSG_ID, &keys::event_message_id(tenant, aggregate, id, Some(command_id)));
        let subject = message.route().subject();
        let seq = self.stream(Source::Events).store(subject.as_str(), headers, message.encode());
        self.noted.insert(own.to_owned(), seq);
        seq
    }

    fn place(&mut self, whose: &str, order: &str) {
        self.publish(&order_events(whose, order, 1, &["order_placed"]));
    }

    /// Does what is asked, as those outside do, and says what comes back.
    fn perform(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Gate { source, effect } => {
                self.stream(source).perform(effect).map(|own| sent(source, own))
            }
            Effect::Outbox(effect) => Some(Input::Outbox(self.perform_outbox(&effect))),
            Effect::Effect(effect) => {
                let outcome = match self.outside.is_away {
                    true => Outcome::Unknown,
                    false => Outcome::Done(self.outside.call(&effect)),
                };
                let effect::Effect::Execute { token, .. } = effect;
                Some(Input::Effect(effect::Input::Returned { token, outcome }))
            }
            Effect::Left(_) => None,
            Effect::Finished(finished) => {
                self.finished.push(format!("{} {}", finished.saga, finished.correlation));
                None
            }
            Effect::Answered(answered) => {
                self.answered.push(*answered);
                None
            }
            Effect::Drained(report) => {
                self.drained.push(report.clean);
                None
            }
        }
    }

    fn perform_outbox(&mut self, effect: &outbox::Effect) -> outbox::Input {
        match effect {
            outbox::Effect::Submit { token, command } => {
                let outcome = match self.outside.submit(command) {
                    Outcome::Done(accepted) => {
                        Outcome::Done(CommandAccepted { seq: self.note(command), ..accepted })
                    }
                    Outcome::Refused(refused) => Outcome::Refused(refused),
                    Outcome::Unknown => Outcome::Unknown,
                };
                outbox::Input::CommandAnswered { token: *token, outcome }
            }
            outbox::Effect::Publish { token, stream, subject, headers, payload } => {
                let stream = self.stream(source_of(*stream));
                let taken = stream.messages.values().any(|stored| stored.subject == *subject);
                let outcome = if taken {
                    Outcome::Refused(PublishRefused::Conflict)
                } else {
                    let seq = stream.store(subject, headers.clone(), payload.clone());
                    Outcome::Done(Published { seq, duplicate: false })
                };
                outbox::Input::PublishAnswered { token: *token, outcome }
            }
            outbox::Effect::Look { token, stream, subject, place: _ } => {
                let messages = &self.stream(source_of(*stream)).messages;
                let found = messages.iter().find(|(_, stored)| stored.subject == *subject);
                let found = found.map_or(Found::Nothing, |(seq, stored)| Found::Message {
                    seq: *seq,
                    msg_id: stored.headers.get(headers::NATS_MSG_ID).map(str::to_owned),
                });
                outbox::Input::Looked { token: *token, outcome: Outcome::Done(found) }
            }
        }
    }

    fn run(&mut self) {
        let effects = self.bench.settle();
        self.carry(effects);
    }

    /// Carries everything to and fro until nothing more is said.
    fn carry(&mut self, mut effects: Vec<Effect>) {
        loop {
            let mut inputs: Vec<Input> =
                std::mem::take(&mut effects).into_iter().filter_map(|effect| self.perform(effect)).collect();
            for source in Source::ALL {
                inputs.extend(self.stream(source).serve().map(|own| sent(source, Sent::Message(own))));
            }
            if inputs.is_empty() {
                return;
            }
            for input in inputs {
                effects.extend(self.bench.turn([input]));
            }
        }
    }

    /// An operator asks for something about a checkout, and is answered.
    fn ask(&mut self, whose: &str, order: &str, verb: Verb) -> Result<Done, operator::Refusal> {
        self.answer_to(|ticket| asked(ticket, whose, order, verb))
    }

    /// An operator asks for something, and is answered.
    fn answer_to(&mut self, asks: impl FnOnce(u64) -> Input) -> Result<Done, operator::Refusal> {
        let ticket = self.answered.len() as u64;
        let effects = self.bench.turn([asks(ticket)]);
        self.carry(effects);
        let answered = self.answered.iter().find(|own| own.ticket == ticket);
        answered.expect("answered").answer.clone()
    }

    fn instance(&self, saga: &str, whose: &str, order: &str) -> Option<Instance> {
        let (saga, order) = (saga.parse().expect("a name"), order.parse().expect("an id"));
        let row = self.bench.store.row(Table::Saga, &keys::saga(&tenant(whose), &saga, &order))?;
        Some(Instance::decode(row).expect("an instance"))
    }

    fn status(&self, whose: &str, order: &str) -> Option<Status> {
        self.instance("checkout", whose, order).map(|instance| instance.status)
    }

    fn quarantined(&self) -> Vec<QuarantinedKey> {
        Quarantine::list(&self.bench.store, &Which::default(), "", 100).expect("reads").items
    }

    /// How far each stream is applied, as a new life would say.
    fn checkpoint(&self, source: Source) -> u64 {
        let recovered = self.bench.recovered().expect("recovers");
        recovered.gates().find(|(own, _)| **own == source).map_or(0, |(_, gate)| gate.checkpoint().seq)
    }
}

fn asked(ticket: u64, whose: &str, order: &str, verb: Verb) -> Input {
    let (saga, correlation) = ("checkout".parse().expect("a name"), order.parse().expect("an id"));
    let operation = saga::Operation { tenant: tenant(whose), saga, correlation, verb };
    Input::Asked { ticket, operation: Box::new(Operation::Saga(operation)) }
}

fn pause() -> Verb {
    Verb::Pause { reason: Reason::parse("look first").expect("a reason") }
}

fn source_of(stream: PlatformStream) -> Source {
    Source::ALL.into_iter().find(|source| source.stream() == stream).expect("a stream of a runner")
}

fn sent(source: Source, sent: Sent) -> Input {
    match sent {
        Sent::Fact(input) => Input::Gate { source, input },
        Sent::Message(delivery) => Input::Delivered { source, delivery },
    }
}
