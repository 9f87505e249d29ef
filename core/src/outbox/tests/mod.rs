//! A relay on a bench, with a log of how its entries ended, and an outside that keeps what reached it.

mod exhaustive;
mod given_up;
mod properties;
mod script;
mod tenants;

use super::{
    Body, CommandAccepted, CommandRefused, Config, Effect, End, Entry, Found, Limits, Origin, Outbox, Row,
    Settlement, Timer, WorkRef,
};
use crate::bench::{Bench, Exam, Landed, examine, quirks, rows};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::outcome::{Outcome, Token};
use crate::program::contract::Refusal;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::context::Context;
use crate::wire::envelope::{Command, EffectCommand, EffectOutcome, EffectResult, SagaRef};
use crate::wire::headers;
use crate::wire::id::TenantId;
use crate::wire::keys;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub(crate) const EXAM: Exam = &[
    (Quirk::OutboxTailNotPersisted, script::positions_are_never_used_again),
    (
        Quirk::OutboxDeleteOnUnknown,
        script::what_has_no_answer_or_cannot_be_done_now_is_tried_again_after_a_pause,
    ),
    (Quirk::OutboxFreshIdPerAttempt, script::the_id_of_what_leaves_names_the_entry_and_not_the_attempt),
    (Quirk::OutboxAcceptStale, script::an_answer_that_names_no_attempt_changes_nothing),
    (Quirk::OutboxConflictIsForeign, script::a_conflict_is_looked_into_before_it_is_believed),
    (Quirk::OutboxLooksAtLast, script::a_conflict_is_looked_into_before_it_is_believed),
    (Quirk::OutboxIgnoreLane, script::the_entries_of_one_lane_leave_in_order_and_one_at_a_time),
    (Quirk::OutboxNeverHeld, script::while_it_is_held_nothing_leaves_and_nothing_counts_as_stored),
    (Quirk::OutboxCrowdedOut, tenants::a_tenant_with_much_to_send_does_not_hold_back_the_first_of_another),
    (Quirk::OutboxKeepsItsTurn, tenants::tenants_take_turns),
    (Quirk::OutboxLaneRunsOn, given_up::what_is_behind_an_entry_that_was_given_up_on_waits_with_it),
    (Quirk::OutboxGivesUpAtOnce, given_up::what_fails_is_tried_for_as_long_as_it_may_be),
    (Quirk::OutboxCursorStays, script::a_life_that_begins_with_holes_behind_its_last_entry_waits_quietly),
];

#[test]
fn every_fault_of_a_relay_is_noticed() {
    examine(EXAM);
}

const LIMITS: Limits = Limits {
    in_flight_max: 2,
    in_flight_tenant_max: 2,
    tracked_max: 4,
    tracked_tenant_max: 4,
    attempt_timeout_ms: 5_000,
    backoff_ms: 100,
    backoff_ms_max: 1_000,
    retry_ms_max: 20_000,
};

/// A relay, a table that keeps how each entry ended, in order, and one that keeps what was given up on: what a parent
/// would do.
#[derive(Clone, PartialEq, Debug)]
struct Relay(Outbox);

#[derive(Clone, PartialEq, Debug)]
enum Input {
    Enqueued(Box<Entry>),
    Outbox(super::Input),
    /// The owner holds the relay, or no longer does.
    Held(bool),
    /// What was given up on in this lane is let go again.
    LetGo(String),
    /// What was given up on in this lane is dropped.
    Dropped(String),
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

impl Machine for Relay {
    type Config = Config;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = (u64, u64);

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let mut outbox = Outbox::recover(config, incarnation, view)?;
        kept(view).keys().for_each(|(lane, _)| outbox.keeps(lane));
        Ok(Self(outbox))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        match input {
            Input::Enqueued(entry) => self.0.enqueue(now, &entry, cx),
            Input::Outbox(input) => {
                if let Some(Settlement { origin, end, stored: _, waited: _ }) =
                    self.0.handle(now, input, cx)?
                {
                    let at = rows(cx.view(), Table::View).len() as u64;
                    let line = format!("{} {}", name(&origin), show(&end));
                    cx.put(Table::View, &keys::position(at), line.as_bytes());
                }
                Ok(())
            }
            Input::Held(held) => {
                self.0.hold(held);
                Ok(())
            }
            Input::LetGo(lane) => {
                let kept = kept(cx.view()).into_iter().filter(|((own, _), _)| *own == lane);
                let kept: Vec<(u64, Entry)> = kept.map(|((_, at), entry)| (at, entry)).collect();
                kept.iter().for_each(|(at, _)| cx.delete(Table::Parked, &kept_key(&lane, *at)));
                self.0.let_go(now, &lane, &kept, cx);
                Ok(())
            }
            Input::Dropped(lane) => {
                let kept = kept(cx.view()).into_keys().filter(|(own, _)| *own == lane);
                kept.for_each(|(_, at)| cx.delete(Table::Parked, &kept_key(&lane, at)));
                self.0.freed(&lane);
                Ok(())
            }
            Input::Tick(Tick) => {
                self.0.tick(now, cx)?;
                while let Some(own) = self.0.give_up(cx)? {
                    let row = serde_json::to_vec(&own.entry).expect("serialises");
                    cx.put(Table::Parked, &kept_key(&own.lane, own.position), &row);
                }
                Ok(())
            }
        }
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        if self.0.any_given_up() { Some((Mono::ZERO, Timer::Retry)) } else { self.0.deadline() }
    }

    fn durable(&self) -> (u64, u64) {
        self.0.durable()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view)
    }
}

fn kept_key(lane: &str, position: u64) -> Vec<u8> {
    [lane.as_bytes(), b"|", &keys::position(position)].concat()
}

/// What was given up on, by lane and position.
fn kept(view: &dyn View) -> BTreeMap<(String, u64), Entry> {
    let read = |(key, row): (Vec<u8>, Vec<u8>)| {
        let (lane, position) = key.split_last_chunk::<8>().expect("a position");
        let lane = String::from_utf8(lane[..lane.len() - 1].to_vec()).expect("text");
        ((lane, u64::from_be_bytes(*position)), serde_json::from_slice(&row).expect("an entry"))
    };
    rows(view, Table::Parked).into_iter().map(read).collect()
}

/// The name under which a test knows an entry.
fn name(origin: &Origin) -> String {
    match origin {
        Origin::Command(WorkRef { work_id, .. }) | Origin::EffectCommand(WorkRef { work_id, .. }) => {
            work_id.to_string()
        }
        Origin::EffectResult { command_id, .. } => format!("{command_id} result"),
        Origin::Occurrence { id, .. } => format!("{id} occurrence"),
        Origin::Reminder { timer_id, .. } => format!("{timer_id} reminder"),
    }
}

fn show(end: &End) -> String {
    match end {
        End::Accepted(CommandAccepted { seq, version }) => format!("accepted {seq} v{version}"),
        End::Published { seq } => format!("published {seq}"),
        End::Refused(Refusal { code, .. }) => format!("refused {code}"),
    }
}

fn config() -> Config {
    Config { limits: LIMITS, seed: 7, quirks: quirks() }
}

fn bench() -> Bench<Relay> {
    Bench::new(config())
}

/// A lane's name may begin with the tenant's: `zeta/o-1`. Without it, it is `acme`'s.
fn whose(instance: &str) -> (TenantId, &str) {
    let (tenant, instance) = instance.split_once('/').unwrap_or(("acme", instance));
    (TenantId::parse(tenant).expect("a tenant"), instance)
}

fn saga(instance: &str) -> SagaRef {
    let parsed = (instance.parse(), "checkout".parse(), "charge".parse());
    let (Ok(correlation), Ok(saga), Ok(work)) = parsed else { panic!("{instance}") };
    SagaRef { saga, correlation, work }
}

fn effect_command(instance: &str, id: &str) -> EffectCommand {
    let (tenant, instance) = whose(instance);
    EffectCommand {
        tenant,
        effect: "charge_card".parse().expect("a name"),
        command_id: id.parse().expect("an id"),
        payload: json!({ "cents": 5 }),
        saga: Some(saga(instance)),
        timestamp: None,
        context: Context::generate(id),
    }
}

/// An effect command of a saga instance: a message.
fn message(instance: &str, id: &str) -> Entry {
    Entry::effect(saga(whose(instance).1), &effect_command(instance, id))
}

/// A command of a saga instance for an aggregate.
fn command(instance: &str, id: &str) -> Entry {
    let (tenant, instance) = whose(instance);
    let command = Command {
        tenant,
        aggregate: "stock".parse().expect("a name"),
        id: "tea".parse().expect("an id"),
        name: "reserve".parse().expect("a name"),
        payload: Value::Null,
        command_id: id.parse().expect("an id"),
        context: Context::generate(id),
        record_refusal: true,
    };
    Entry::command(saga(instance), command)
}

/// The result of an effect: a lane of its own.
fn result(id: &str) -> Entry {
    result_of("acme", id)
}

fn result_of(tenant: &str, id: &str) -> Entry {
    let EffectCommand { tenant, effect, command_id, saga, context, .. } =
        effect_command(&format!("{tenant}/o-1"), id);
    let (outcome, payload) = (EffectOutcome::Succeeded, Value::Null);
    Entry::result(&EffectResult {
        tenant,
        effect,
        command_id,
        outcome,
        payload,
        saga,
        timestamp: None,
        context,
    })
}

fn enqueued(entry: Entry) -> Input {
    Input::Enqueued(Box::new(entry))
}

/// How entries ended, as the committed table says.
fn settled(bench: &Bench<Relay>) -> Vec<String> {
    let text = |(_, row)| String::from_utf8(row).expect("text");
    rows(&bench.store, Table::View).into_iter().map(text).collect()
}

/// Entries in the committed table, by position.
fn waiting(bench: &Bench<Relay>) -> BTreeMap<u64, Entry> {
    let read = |(key, row): (Vec<u8>, Vec<u8>)| {
        let (_, position) = keys::parse_outbox(&key).expect("a position");
        (position, Row::decode(&row).expect("an entry").entry)
    };
    rows(&bench.store, Table::Outbox).into_iter().map(read).collect()
}

const fn token(effect: &Effect) -> Token {
    match effect {
        Effect::Submit { token, .. } | Effect::Publish { token, .. } | Effect::Look { token, .. } => *token,
    }
}

/// The id by which the outside knows an entry.
fn about(entry: &Entry) -> String {
    match &entry.body {
        Body::Command(command) => command.command_id.to_string(),
        Body::Message { subject, .. } => subject.clone(),
    }
}

/// The id by which the outside knows what an effect is about.
fn subject(effect: &Effect) -> String {
    match effect {
        Effect::Submit { command, .. } => command.command_id.to_string(),
        Effect::Publish { subject, .. } | Effect::Look { subject, .. } => subject.clone(),
    }
}

/// One line per effect, as a diagram would have it.
fn words(effects: &[Effect]) -> Vec<String> {
    let verb = |effect: &Effect| match effect {
        Effect::Submit { .. } => "submit",
        Effect::Publish { .. } => "publish",
        Effect::Look { .. } => "look",
    };
    let last = |effect: &Effect| subject(effect).rsplit('.').next().unwrap_or_default().to_owned();
    effects.iter().map(|effect| format!("{} {}", verb(effect), last(effect))).collect()
}

/// The answer that says it is done, or there: what `Found` is for a look.
fn done(effect: &Effect, seq: u64) -> Input {
    let token = token(effect);
    Input::Outbox(match effect {
        Effect::Submit { .. } => super::Input::CommandAnswered {
            token,
            outcome: Outcome::Done(CommandAccepted { seq, version: seq }),
        },
        Effect::Publish { .. } => super::Input::PublishAnswered {
            token,
            outcome: Outcome::Done(Published { seq, duplicate: false }),
        },
        Effect::Look { subject, .. } => {
            let found = Found::Message { seq, msg_id: Some(subject.clone()) };
            super::Input::Looked { token, outcome: Outcome::Done(found) }
        }
    })
}

/// The answer that nobody gave.
const fn unknown(effect: &Effect) -> Input {
    let token = token(effect);
    Input::Outbox(match effect {
        Effect::Submit { .. } => super::Input::CommandAnswered { token, outcome: Outcome::Unknown },
        Effect::Publish { .. } => super::Input::PublishAnswered { token, outcome: Outcome::Unknown },
        Effect::Look { .. } => super::Input::Looked { token, outcome: Outcome::Unknown },
    })
}

/// The answer that it was definitely not done, and may be tried again.
const fn not_now(effect: &Effect) -> Input {
    let token = token(effect);
    Input::Outbox(match effect {
        Effect::Submit { .. } => {
            super::Input::CommandAnswered { token, outcome: Outcome::Refused(CommandRefused::Busy) }
        }
        Effect::Publish { .. } => {
            super::Input::PublishAnswered { token, outcome: Outcome::Refused(PublishRefused::Full) }
        }
        Effect::Look { .. } => super::Input::Looked { token, outcome: Outcome::Done(Found::Nothing) },
    })
}

fn conflict(effect: &Effect) -> Input {
    let outcome = Outcome::Refused(PublishRefused::Conflict);
    Input::Outbox(super::Input::PublishAnswered { token: token(effect), outcome })
}

/// Aggregates and broker: what reached them, once and in which order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Outside {
    last_seq: u64,
    /// Subject or command id, where it is, and under which message id.
    kept: BTreeMap<String, (u64, Option<String>)>,
    /// In the order of arrival.
    order: Vec<String>,
}

impl Outside {
    /// Does what is asked, as the real ones do, and answers.
    fn perform(&mut self, effect: &Effect) -> Input {
        let subject = subject(effect);
        match effect {
            Effect::Submit { .. } => {
                let (seq, _) = self.keep(subject, None);
                done(effect, seq)
            }
            Effect::Publish { headers: own, .. } => {
                let msg_id = own.get(headers::NATS_MSG_ID).map(str::to_owned);
                let expects = own.get(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE) == Some("0");
                if expects && self.kept.contains_key(&subject) {
                    return conflict(effect);
                }
                let subject = if expects { subject } else { format!("{subject} {msg_id:?}") };
                let (seq, _) = self.keep(subject, msg_id);
                done(effect, seq)
            }
            Effect::Look { token, .. } => {
                let found = match self.kept.get(&subject) {
                    Some((seq, msg_id)) => Found::Message { seq: *seq, msg_id: msg_id.clone() },
                    None => Found::Nothing,
                };
                Input::Outbox(super::Input::Looked { token: *token, outcome: Outcome::Done(found) })
            }
        }
    }

    fn keep(&mut self, subject: String, msg_id: Option<String>) -> (u64, Option<String>) {
        if let Some(known) = self.kept.get(&subject) {
            return known.clone();
        }
        self.last_seq += 1;
        self.order.push(subject.clone());
        self.kept.insert(subject, (self.last_seq, msg_id.clone()));
        (self.last_seq, msg_id)
    }
}
