//! Operators of schedules: people who pause them, let them go on, have them fire and fill in what has
//! passed, whatever else happens.
//!
//! ```text
//! rows that are committed ─► a verb ─► the runner's machine ─► the answer, held against the row
//! ```
//!
//! One request at a time for each schedule and tenant. Who hears no answer asks again, sometimes for the same
//! under the same key: nobody knows what became of the request. When faults have ended they let everything go
//! on.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use cloudlysis_core::operator::{Reason, Refusal};
use cloudlysis_core::runner::operate::{Done, Operation};
use cloudlysis_core::runner::{Input, Runner};
use cloudlysis_core::schedule::recurring::{self, Row, RowKey, Verb};
use cloudlysis_core::wire::id::CommandId;
use cloudlysis_core::{Invariant, Table, View, Wall};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Between two requests, at least and at most.
const PAUSE_NS: (u64, u64) = (100 * MS, 3_500 * MS);
/// How long an answer is waited for.
const PATIENCE_NS: u64 = 5_000 * MS;

/// All operators of schedules.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Timekeepers {
    next_key: u64,
    /// Which request waits for an answer, and since when.
    waiting: BTreeMap<RowKey, (u64, u64)>,
    /// What was asked for last, besides the calendar.
    last: BTreeMap<RowKey, Verb>,
}

impl World {
    pub(super) fn begin_timekeepers(&mut self) {
        if self.plan.operators {
            self.keep_time_later();
        }
    }

    fn keep_time_later(&mut self) {
        let delay = self.dice.timekeepers.within(PAUSE_NS.0, PAUSE_NS.1);
        self.after(delay, Event::TimeKept);
    }

    /// Every schedule of every tenant, in the order of keys.
    fn schedules(&self) -> Vec<(RowKey, Row)> {
        let mut all = Vec::new();
        let rows = self.nodes.runner.store.committed();
        let scanned = rows.scan(Table::Recurring, b"", &mut |key, row| {
            all.extend(RowKey::parse(key).zip(Row::decode(row)));
            ControlFlow::Continue(())
        });
        if scanned.is_ok() { all } else { Vec::new() }
    }

    fn draw_schedule_verb(&mut self, key: &RowKey, row: &Row) -> Verb {
        let dice = &mut self.dice.timekeepers;
        match dice.below(8) {
            0..=3 if row.paused.is_some() => Verb::Resume,
            0..=2 => Verb::Pause { reason: reason() },
            3 | 4 => match self.timekeepers.last.get(key) {
                Some(last) => last.clone(),
                None => Verb::Resume,
            },
            5 if row.backfill.is_some() => Verb::StopBackfill { reason: reason() },
            kind => {
                self.timekeepers.next_key += 1;
                let named = format!("request {}", self.timekeepers.next_key);
                let named = CommandId::parse(&named).expect("a key");
                match row.next.filter(|_| kind == 6) {
                    Some(next) => {
                        let back = |ms: u64| Wall::from_ms(next.as_ms().saturating_sub(ms));
                        let from = back(dice.within(5, 30) * 1_000);
                        let to = back(dice.within(1, 20) * 1_000);
                        Verb::Backfill { key: named, from, to, reason: reason() }
                    }
                    None => Verb::Trigger { key: named, reason: reason() },
                }
            }
        }
    }

    pub(super) fn on_time_kept(&mut self) {
        let schedules = self.schedules();
        if self.healed_at.is_some() {
            for (key, _) in schedules.into_iter().filter(|(_, row)| row.paused.is_some()) {
                self.ask_schedule(key, Verb::Resume);
            }
        } else if !schedules.is_empty() {
            let (key, row) = self.dice.timekeepers.pick(&schedules).clone();
            let verb = self.draw_schedule_verb(&key, &row);
            self.ask_schedule(key, verb);
        }
        self.keep_time_later();
    }

    fn ask_schedule(&mut self, key: RowKey, verb: Verb) {
        let waits = self.timekeepers.waiting.get(&key);
        if waits.is_some_and(|(_, since)| self.now_ns < since + PATIENCE_NS) || !self.is_up(NodeId::Runner) {
            return;
        }
        let ticket = self.operators.draw_ticket();
        self.timekeepers.waiting.insert(key.clone(), (ticket, self.now_ns));
        match &verb {
            Verb::Pause { .. } | Verb::Resume | Verb::StopBackfill { .. } => {}
            Verb::Trigger { .. } | Verb::Backfill { .. } => {
                drop(self.timekeepers.last.insert(key.clone(), verb.clone()))
            }
        }
        let RowKey { schedule, tenant } = key;
        let operation = Operation::Schedule(recurring::Operation { schedule, tenant, verb });
        self.push::<Runner>(NodeId::Runner, Input::Asked { ticket, operation: Box::new(operation) });
    }

    /// INV-CRON-6 and INV-CRON-7: what an operator is told is so, and is committed.
    pub(super) fn on_timekeeper_answered(
        &mut self,
        ticket: u64,
        operation: &recurring::Operation,
        answer: &Result<Done, Refusal>,
    ) -> Result<(), Violation> {
        let key = RowKey::new(&operation.schedule, &operation.tenant);
        if self.timekeepers.waiting.get(&key).is_none_or(|(own, _)| *own != ticket) {
            return Ok(());
        }
        self.timekeepers.waiting.remove(&key);
        let Ok(Done::Schedule(done)) = answer else { return Ok(()) };
        let row = self.nodes.runner.store.committed();
        let row = row.get(Table::Recurring, &key.encode()).ok().flatten().and_then(Row::decode);
        let told = |invariant: Invariant| {
            let detail = format!("{operation:?} is answered {done:?}, the row says {row:?}");
            Err(Violation::new(invariant, detail))
        };
        if row.as_ref().map(|row| row.paused.is_some()) != Some(done.paused) {
            return told(Invariant::Cron6);
        }
        let kept = |named: &CommandId| {
            row.as_ref().is_some_and(|row| row.asked.iter().any(|asked| asked.key == *named))
        };
        match &operation.verb {
            Verb::Trigger { key: named, .. } | Verb::Backfill { key: named, .. } if !kept(named) => {
                told(Invariant::Cron7)
            }
            Verb::Trigger { .. }
            | Verb::Backfill { .. }
            | Verb::StopBackfill { .. }
            | Verb::Pause { .. }
            | Verb::Resume => Ok(()),
        }
    }
}

fn reason() -> Reason {
    Reason::parse("somebody wants to look").expect("a reason")
}
