//! Operators: people who pause sagas, let them go on, cancel and kill them, have alarms that are over begin again, and events
//! that were passed come again, whatever else happens, one request at a time for each. Those of the quarantine are
//! [`wardens`](super::wardens), those of schedules [`timekeepers`](super::timekeepers), those of effects
//! [`clerks`](super::clerks).
//!
//! They see what is committed, and ask the runner's machine as `nodes::admin` does. Who hears no answer asks again: nobody
//! knows what became of the request. When faults have ended they let everything go on.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use cloudlysis_core::operator::{Reason, Refusal};
use cloudlysis_core::runner::operate::{Answered, Done, Operation, Replay, Restart};
use cloudlysis_core::runner::{Input, Runner};
use cloudlysis_core::saga::{self, Instance, Verb};
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Invariant, Table, View};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Between two requests, at least and at most.
const PAUSE_NS: (u64, u64) = (20 * MS, 2_500 * MS);
/// How long an answer is waited for.
const PATIENCE_NS: u64 = 5_000 * MS;

/// Work after which a saga cannot be undone.
const SENDING: [&str; 4] = ["parcel", "ship", "sell", "credit"];

/// The saga that may begin again: what it does twice harms nobody.
const ALARM: &str = "alarm";
/// Whose answer is waited for when events come again.
const REPLAY: &[u8] = b"replay";
/// How often an operator has one instance begin again.
const RESTARTS_MAX: u32 = 2;

/// What operators see of an instance.
#[derive(Clone, Copy, Debug)]
struct Standing {
    paused: bool,
    /// What it has asked for cannot be undone.
    sends: bool,
    /// It began under other manifests than those of today.
    is_old: bool,
}

/// All operators.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Operators {
    next_ticket: u64,
    /// Instance → which request waits for an answer, and since when.
    waiting: BTreeMap<Vec<u8>, (u64, u64)>,
}

impl Operators {
    /// The number of the next request, whatever it is about.
    pub(super) fn draw_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }
}

impl World {
    pub(super) fn begin_operators(&mut self) {
        if self.plan.operators {
            self.operate_later();
        }
    }

    fn operate_later(&mut self) {
        let delay = self.dice.operators.within(PAUSE_NS.0, PAUSE_NS.1);
        self.after(delay, Event::Operated);
    }

    /// Every instance that has not ended, in the order of keys.
    fn open_instances(&self) -> Vec<(Vec<u8>, Standing)> {
        let mut open = Vec::new();
        let sagas = &self.nodes.runner.config.sagas;
        let today: BTreeSet<&str> = sagas.values().map(|own| own.hash.as_str()).collect();
        let rows = self.nodes.runner.store.committed();
        let scanned = rows.scan(Table::Saga, b"", &mut |key, row| {
            if let Ok(instance) = Instance::decode(row)
                && !instance.status.is_final()
            {
                let sends = instance.works.iter().any(|work| SENDING.contains(&work.name.as_str()));
                let is_old = !today.contains(instance.definition.as_str());
                open.push((key.to_vec(), Standing { paused: instance.paused.is_some(), sends, is_old }));
            }
            ControlFlow::Continue(())
        });
        if scanned.is_ok() { open } else { Vec::new() }
    }

    /// Only what stands still is ended: what is sent cannot be undone, and meanwhile it could have been.
    fn draw_verb(&mut self, Standing { paused, sends, is_old }: Standing) -> Verb {
        if is_old && self.dice.operators.one_in(2) {
            return Verb::Migrate { reason: reason() };
        }
        match self.dice.operators.below(8) {
            0 if paused => Verb::Kill { reason: reason() },
            1 | 2 if paused && !sends => Verb::Cancel { reason: reason() },
            _ if paused => Verb::Resume,
            _ => Verb::Pause { reason: reason() },
        }
    }

    pub(super) fn on_operated(&mut self) {
        let open = self.open_instances();
        if self.healed_at.is_some() {
            for (key, _) in open.into_iter().filter(|(_, standing)| standing.paused) {
                self.ask_runner(key, Verb::Resume);
            }
        } else if self.dice.operators.one_in(4)
            && let Some((key, restart)) = self.draw_restart()
        {
            self.ask_runner_for(key, Operation::Restart(Box::new(restart)));
        } else if self.dice.operators.one_in(4)
            && let Some(replay) = self.draw_replay()
        {
            self.ask_runner_for(REPLAY.to_vec(), Operation::Replay(Box::new(replay)));
        } else if !open.is_empty() {
            let old: Vec<_> = open.iter().filter(|(_, standing)| standing.is_old).cloned().collect();
            let among = if old.is_empty() || self.dice.operators.one_in(2) { open } else { old };
            let (key, standing) = self.dice.operators.pick(&among).clone();
            let verb = self.draw_verb(standing);
            self.ask_runner(key, verb);
        }
        self.operate_later();
    }

    /// An alarm that is over, and the message that it began with, as the log has it now.
    fn draw_restart(&mut self) -> Option<(Vec<u8>, Restart)> {
        let mut over = Vec::new();
        let rows = self.nodes.runner.store.committed();
        rows.scan(Table::Saga, b"", &mut |key, row| {
            if let (Some((tenant, saga, correlation)), Ok(instance)) =
                (keys::parse_saga(key), Instance::decode(row))
                && saga.as_str() == ALARM
                && instance.status.is_final()
                && instance.restarts < RESTARTS_MAX
                && let Some(began_with) = instance.began_with
            {
                let (reason, restarts) = (reason(), instance.restarts);
                let dry_run = false;
                let instance = saga::Restart { tenant, saga, correlation, reason, restarts, dry_run };
                over.push((key.to_vec(), instance, began_with.stream_seq));
            }
            ControlFlow::Continue(())
        })
        .ok()?;
        if over.is_empty() {
            return None;
        }
        let (key, instance, stream_seq) = self.dice.operators.pick(&over).clone();
        let stream = PlatformStream::AggregateEvents.name();
        let message = self.broker.log(stream, stream_seq).ok()?.into_iter().next()?;
        let headers = message.headers.to_headers();
        let position = format!("{stream}:{stream_seq}");
        let message = EventMessage::decode(&message.subject, &headers, &message.payload, &position).ok()?;
        Some((key, Restart { instance, message, stream_seq }))
    }

    /// An event of an order, for one of the sagas that begin with it.
    fn draw_replay(&mut self) -> Option<Replay> {
        let stream = PlatformStream::AggregateEvents;
        let last = self.oracles.last_seq(stream, Some("order"));
        let dice = &mut self.dice.operators;
        let from = dice.within(1, last.max(1));
        let saga = (*dice.pick(&["checkout", ALARM])).parse().ok()?;
        let dry_run = dice.one_in(4);
        let is_order = |subject: &str| subject.contains(".aggregate.order.");
        let log = self.broker.log(stream.name(), from).ok()?;
        let stored = log.into_iter().find(|message| is_order(&message.subject))?;
        let headers = stored.headers.to_headers();
        let position = format!("{stream}:{}", stored.seq);
        let message = EventMessage::decode(&stored.subject, &headers, &stored.payload, &position).ok()?;
        let stream_seq = stored.seq;
        Some(Replay { saga, message, stream_seq, may_repeat: false, dry_run, reason: reason() })
    }

    fn ask_runner(&mut self, key: Vec<u8>, verb: Verb) {
        let Some((tenant, saga, correlation)) = keys::parse_saga(&key) else { return };
        self.ask_runner_for(key, Operation::Saga(saga::Operation { tenant, saga, correlation, verb }));
    }

    fn ask_runner_for(&mut self, key: Vec<u8>, operation: Operation) {
        let waits = self.operators.waiting.get(&key);
        if waits.is_some_and(|(_, since)| self.now_ns < since + PATIENCE_NS) || !self.is_up(NodeId::Runner) {
            return;
        }
        let ticket = self.operators.draw_ticket();
        self.operators.waiting.insert(key, (ticket, self.now_ns));
        self.push::<Runner>(NodeId::Runner, Input::Asked { ticket, operation: Box::new(operation) });
    }

    pub(super) fn on_operator_answered(&mut self, answered: &Answered) -> Result<(), Violation> {
        let Answered { ticket, operation, answer } = answered;
        match operation {
            Operation::Saga(saga::Operation { tenant, saga, correlation, .. }) => {
                self.on_saga_operator_answered(*ticket, keys::saga(tenant, saga, correlation), answer)
            }
            Operation::Restart(restart) => {
                let saga::Restart { tenant, saga, correlation, .. } = &restart.instance;
                self.on_saga_operator_answered(*ticket, keys::saga(tenant, saga, correlation), answer)
            }
            Operation::Replay(_) => {
                self.operators.waiting.remove(REPLAY);
                Ok(())
            }
            Operation::Quarantine(operation) => self.on_warden_answered(*ticket, operation, answer),
            Operation::Schedule(operation) => self.on_timekeeper_answered(*ticket, operation, answer),
            Operation::Effect(operation) => self.on_clerk_answered(*ticket, operation, answer),
        }
    }

    /// INV-SAGA-6: what an operator is told is so, and is committed.
    fn on_saga_operator_answered(
        &mut self,
        ticket: u64,
        key: Vec<u8>,
        answer: &Result<Done, Refusal>,
    ) -> Result<(), Violation> {
        if self.operators.waiting.get(&key).is_none_or(|(own, _)| *own != ticket) {
            return Ok(());
        }
        self.operators.waiting.remove(&key);
        let Ok(Done::Saga(done)) = answer else { return Ok(()) };
        let row = self.nodes.runner.store.committed();
        let row = row.get(Table::Saga, &key).ok().flatten().and_then(|row| Instance::decode(row).ok());
        let paused = row.as_ref().map(|instance| instance.paused.is_some());
        if paused == Some(done.paused) {
            return Ok(());
        }
        let detail = format!("an operator is answered {done:?}, the row says {row:?}");
        Err(Violation::new(Invariant::Saga6, detail))
    }
}

fn reason() -> Reason {
    Reason::parse("somebody wants to look").expect("a reason")
}
