//! Sagas on a bench, with a table that keeps what they asked for: what a parent would put into its outbox.

mod definitions;
mod exhaustive;
mod hold;
mod native;
mod properties;
mod restart;
mod script;
mod timers;

use super::{
    Asked, Commanded, HandOver, Happened, Incoming, Instance, Operation, Reacted, Restart, SagaConfig, Sagas,
    Status, TimerChange, TimerFired, Wanted, Work, WorkEnded, WorkState,
};
use crate::bench::{Bench, Exam, Landed, examine, quirks, rows, shop_with};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::manifest::{Trigger, WorkOutcome};
use crate::outbox::{Body, Entry, Origin};
use crate::program::Natives;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall};
use crate::wire::context::Context;
use crate::wire::envelope::SagaRef;
use crate::wire::id::TenantId;
use crate::wire::keys;
use serde_json::{Value, json};

pub(crate) const EXAM: Exam = &[
    (Quirk::SagaSkipDedupe, script::a_cause_is_applied_once),
    (Quirk::SagaForgetInFlight, script::undoing_waits_for_what_is_in_flight),
    (Quirk::SagaCompensateForwards, script::what_was_done_is_undone_last_first_and_one_at_a_time),
    (Quirk::SagaReactWhenFinished, script::a_finished_saga_absorbs_every_later_event),
    (Quirk::SagaPauseLeaks, hold::what_comes_for_a_paused_saga_is_held_and_goes_on_in_order),
    (Quirk::SagaForgetHeld, hold::what_comes_for_a_paused_saga_is_held_and_goes_on_in_order),
    (Quirk::SagaKillLeavesTimers, hold::a_killed_saga_waits_for_nothing_and_absorbs_what_comes),
    (Quirk::SagaFollowsManifest, definitions::an_instance_reacts_by_the_definition_it_began_under),
    (Quirk::SagaRestartRepeats, restart::what_has_ended_begins_again_and_asks_anew),
    (Quirk::SagaUnpinsTooSoon, definitions::a_definition_is_kept_as_long_as_an_instance_runs_by_it),
    (Quirk::SagaHandOverAhead, script::an_effect_is_handed_over_when_nothing_is_on_its_way),
    (Quirk::SagaIgnoreWhileUndoing, script::what_a_work_item_brings_back_while_its_saga_undoes_is_kept),
];

#[test]
fn every_fault_of_sagas_is_noticed() {
    examine(EXAM);
}

/// Programs that go wrong, each in its own way.
const ODD: &str = "
saga: odd
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.aggregate_id }
starts_on: [order.order_placed]
on_event:
  order.order_placed: { work: [{ name: more, command: { aggregate: stock, id: tea, name: add } }] }
  order.order_shipped: { set: { n: = state.missing } }
  more.accepted:
    work:
      - { name: more, command: { aggregate: stock, id: a, name: add } }
      - { name: more, command: { aggregate: stock, id: b, name: add } }
      - { name: more, command: { aggregate: stock, id: c, name: add } }
      - { name: more, command: { aggregate: stock, id: d, name: add } }
  more.refused: { compensate: true }
compensation:
  more: { work: [{ name: less, command: { aggregate: stock, id: = state.missing, name: release } }] }
";

/// Asks for as much as it may at once, and undoes each of it.
fn much() -> String {
    let all = |line: &dyn Fn(usize) -> String, by: &str| (0..16).map(line).collect::<Vec<_>>().join(by);
    let work =
        all(&|n| format!("{{ name: w{n}, command: {{ aggregate: stock, id: tea, name: add }} }}"), ", ");
    let undo = all(
        &|n| {
            format!(
                "  w{n}: {{ work: [{{ name: u{n}, command: {{ aggregate: stock, id: tea, name: release }} }}] }}"
            )
        },
        "\n",
    );
    format!(
        "saga: much\ncorrelate: {{ order.order_placed: event.aggregate_id, order.order_confirmed: event.aggregate_id, \
         order.order_cancelled: event.aggregate_id }}\nstarts_on: [order.order_placed]\non_event:\n  \
         order.order_placed: {{ work: [{work}] }}\n  order.order_confirmed: {{ work: [{work}] }}\n  \
         order.order_cancelled: {{ compensate: true }}\ncompensation:\n{undo}\n"
    )
}

/// Cannot undo what it has done.
const BRITTLE: &str = "
saga: brittle
correlate: { order.order_placed: event.aggregate_id }
starts_on: [order.order_placed]
on_event:
  order.order_placed: { work: [{ name: more, command: { aggregate: stock, id: tea, name: add } }] }
compensation:
  more: { work: [{ name: less, command: { aggregate: stock, id: = state.missing, name: release } }] }
";

/// Sagas, and what they asked for, in order.
#[derive(Clone, PartialEq, Debug)]
struct Desk(Sagas);

#[derive(Clone, PartialEq, Debug)]
enum Input {
    Happened(Box<Happened>),
    Ended(Box<WorkEnded>),
    Fired(Box<TimerFired>),
    Restarted(Box<Restart>, Box<Happened>),
    Asked(Box<Operation>),
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

/// What a saga said, for whoever reads the script.
type Said = String;

impl Machine for Desk {
    type Config = SagaConfig;
    type Input = Input;
    type Effect = Said;
    type Timer = ();
    type Durable = ();

    fn recover(config: SagaConfig, _: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self(Sagas::recover(config, view)?))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Said>) -> Result<(), Halt> {
        let reacted = match input {
            Input::Happened(happened) => self.0.on_event(now, &happened, cx)?,
            Input::Ended(ended) => self.0.on_work_ended(now, &ended, cx)?,
            Input::Fired(fired) => self.0.on_timer_fired(now, &fired, cx)?,
            Input::Asked(operation) => {
                let commanded = self.0.operate(now, &operation, cx)?;
                commanded_of(commanded, cx);
                return Ok(());
            }
            Input::Restarted(restart, with) => {
                let commanded = self.0.restart(now, &restart, &with, cx)?;
                commanded_of(commanded, cx);
                return Ok(());
            }
            Input::Tick(Tick) => return Ok(()),
        };
        match reacted {
            Reacted::Applied(asked) => say(asked, cx),
            Reacted::Held => {}
            Reacted::Overflowed(held) => {
                let causes: Vec<String> = held.iter().map(cause).collect();
                let (first, last) = (&causes[0], &causes[causes.len() - 1]);
                cx.emit(format!("overflows with {}, from {first} to {last}", causes.len()));
            }
            Reacted::Poisoned(cause) => cx.emit(format!("poisoned by {}: {}", cause.kind, cause.detail)),
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, ())> {
        None
    }

    fn durable(&self) {}

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view, &mut |_, _| Ok(()))
    }
}

/// What became of what an operator asked for.
fn commanded_of(commanded: Commanded, cx: &mut Cx<'_, Input, Said>) {
    match commanded {
        Commanded::Refused(refusal) => cx.emit(format!("refused: {refusal}")),
        Commanded::Done { operated, asked, released } => {
            let mut said = operated.status.to_owned();
            said.push_str(if operated.paused { " paused" } else { "" });
            said.push_str(if operated.changed { " changed" } else { "" });
            if !operated.changed {
                operated.asks.iter().for_each(|name| said.push_str(&format!(" would ask {name}")));
            }
            if operated.released > 0 {
                said.push_str(&format!(", {} released", operated.released));
            }
            cx.emit(said);
            say(*asked, cx);
            for held in released {
                cx.then(match held {
                    Incoming::Happened(happened) => Input::Happened(happened),
                    Incoming::WorkEnded(ended) => Input::Ended(ended),
                    Incoming::TimerFired(fired) => Input::Fired(fired),
                });
            }
        }
    }
}

/// What a reaction asks for.
fn say(asked: Asked, cx: &mut Cx<'_, Input, Said>) {
    let Asked { work, timers, finished: _ } = asked;
    for change in timers {
        match change {
            TimerChange::Set(timer) => cx.emit(format!("sets {} for {}", timer.name, timer.due.as_ms())),
            TimerChange::Cancelled { .. } => cx.emit("cancels a timer".to_owned()),
        }
    }
    let before = rows(cx.view(), Table::Outbox).len() as u64;
    for (at, wanted) in (before..).zip(work) {
        let entry = match wanted {
            Wanted::Leaving(entry) => entry,
            Wanted::HandedOver(command) => {
                let saga = command.saga.clone().expect("of a saga");
                cx.emit(format!("hands over {}", saga.work));
                continue;
            }
        };
        cx.put(Table::Outbox, &keys::position(at), &entry_row(&entry));
        cx.emit(format!("asks {}", name(&entry)));
    }
}

fn cause(held: &Incoming) -> String {
    match held {
        Incoming::Happened(happened) => happened.cause.clone(),
        Incoming::WorkEnded(ended) => ended.work_id.to_string(),
        Incoming::TimerFired(fired) => fired.id.to_string(),
    }
}

fn entry_row(entry: &Entry) -> Vec<u8> {
    serde_json::to_vec(entry).expect("an entry serialises")
}

/// The name of the work item behind an entry.
fn name(entry: &Entry) -> String {
    match &entry.origin {
        Origin::Command(work) | Origin::EffectCommand(work) => work.saga.work.to_string(),
        Origin::EffectResult { .. } | Origin::Occurrence { .. } | Origin::Reminder { .. } => {
            panic!("not of a saga")
        }
    }
}

fn bench() -> Bench<Desk> {
    bench_with(HandOver::Broker)
}

fn bench_with(hand_over: HandOver) -> Bench<Desk> {
    let more = [
        ("sagas/odd.yaml", ODD),
        ("sagas/brittle.yaml", BRITTLE),
        ("sagas/alarm.yaml", timers::ALARM),
        ("sagas/much.yaml", &much()),
    ];
    let definitions = shop_with(&more).sagas;
    Bench::new(SagaConfig {
        definitions,
        natives: Natives::default(),
        hand_over,
        gas_max: 100_000,
        quirks: quirks(),
    })
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("a tenant")
}

/// Where every event of ours is said to be.
const STREAM_SEQ: u64 = 7;

fn happened(saga: &str, order: &str, event: &str, cause: &str) -> Input {
    let parsed = (saga.parse(), order.parse(), "order".parse(), event.parse());
    let (Ok(saga), Ok(correlation), Ok(aggregate), Ok(kind)) = parsed else { panic!("{saga} {order}") };
    let payload = json!({ "sku": "tea", "qty": 2, "cents": 900, "card": "valid" });
    Input::Happened(Box::new(Happened {
        tenant: tenant(),
        saga,
        correlation,
        cause: cause.to_owned(),
        at: Some(Wall::from_ms(1_795_000_000_000)),
        stream_seq: Some(STREAM_SEQ),
        trigger: Trigger::Event { aggregate, event: kind },
        starts: event == "order_placed",
        event: json!({ "type": format!("order.{event}"), "aggregate_id": order, "payload": payload }),
        context: Context::generate(order),
    }))
}

fn placed(order: &str) -> Input {
    happened("checkout", order, "order_placed", "event/order/1")
}

fn cancelled(order: &str) -> Input {
    happened("checkout", order, "order_cancelled", "event/order/2")
}

/// The committed row of an instance.
fn instance(bench: &Bench<Desk>, saga: &str, order: &str) -> Option<Instance> {
    let (saga, order) = (saga.parse().expect("a name"), order.parse().expect("an id"));
    let row = bench.store.row(Table::Saga, &keys::saga(&tenant(), &saga, &order))?;
    Some(Instance::decode(row).expect("an instance"))
}

fn checkout(bench: &Bench<Desk>, order: &str) -> Instance {
    instance(bench, "checkout", order).expect("an instance")
}

/// What was asked for, as the committed table says, in order.
fn asked(bench: &Bench<Desk>) -> Vec<Entry> {
    let read = |(_, row): (Vec<u8>, Vec<u8>)| serde_json::from_slice(&row).expect("an entry");
    rows(&bench.store, Table::Outbox).into_iter().map(read).collect()
}

fn ended(saga: &str, order: &str, work: &Work, done: bool) -> Input {
    let effect = ["charge", "parcel", "receipt", "refund"].contains(&work.name.as_str());
    let outcome = match (effect, done) {
        (true, true) => WorkOutcome::Succeeded,
        (true, false) => WorkOutcome::Failed,
        (false, true) => WorkOutcome::Accepted,
        (false, false) => WorkOutcome::Refused,
    };
    let parsed = (saga.parse(), order.parse());
    let (Ok(saga), Ok(correlation)) = parsed else { panic!("{saga} {order}") };
    let payload = json!({ "id": format!("from {}", work.id), "code": "no", "message": "never" });
    let saga = SagaRef { saga, correlation, work: work.name.clone() };
    Input::Ended(Box::new(WorkEnded { tenant: tenant(), saga, work_id: work.id.clone(), outcome, payload }))
}

/// The last work item of this name that an order's checkout asked for.
fn work(bench: &Bench<Desk>, order: &str, name: &str) -> Work {
    let works = checkout(bench, order).works;
    works.into_iter().rev().find(|work| work.name.as_str() == name).expect("asked for")
}

/// A work item of a checkout ends.
fn end(bench: &mut Bench<Desk>, order: &str, name: &str, done: bool) -> Vec<Said> {
    let work = work(bench, order, name);
    bench.turn([ended("checkout", order, &work, done)])
}

/// The payload of the last thing asked for.
fn last_payload(bench: &Bench<Desk>) -> Value {
    match asked(bench).pop().expect("something was asked for").body {
        Body::Command(command) => command.payload,
        Body::Message { payload, .. } => {
            let message: Value = serde_json::from_str(&payload).expect("JSON");
            message["payload"].clone()
        }
    }
}
