//! Operators of effects: people who have those called again that wait for them, or say how they ended, whatever else
//! happens.
//!
//! ```text
//! rows that are committed ─► a verb ─► the runner's machine ─► the answer, held against the row
//! ```
//!
//! One request at a time. Who hears no answer asks again, sometimes for the same: nobody knows what became of the
//! request. They settle only what harms nobody when they are wrong: receipts and counts, and no money.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use crate::oracles::end::COUNTED;
use cloudlysis_core::effect::operate::{Operation as Amend, Verb};
use cloudlysis_core::effect::{LedgerRow, Phase};
use cloudlysis_core::operator::{Reason, Refusal};
use cloudlysis_core::runner::operate::{Done, Operation};
use cloudlysis_core::runner::{Input, Runner};
use cloudlysis_core::wire::envelope::EffectOutcome;
use cloudlysis_core::wire::keys;
use cloudlysis_core::{Invariant, Table, View};
use serde_json::json;
use std::ops::ControlFlow;

/// Between two requests, at least and at most.
const PAUSE_NS: (u64, u64) = (100 * MS, 2_000 * MS);
/// How long an answer is waited for.
const PATIENCE_NS: u64 = 5_000 * MS;
/// What they may settle.
const HARMLESS: [&str; 2] = ["send_receipt", COUNTED];

/// All operators of effects.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Clerks {
    /// Which request waits for an answer, and since when.
    waiting: Option<(u64, u64)>,
    /// What was asked for last.
    last: Option<Amend>,
}

impl World {
    pub(super) fn begin_clerks(&mut self) {
        if self.plan.operators {
            self.amend_later();
        }
    }

    fn amend_later(&mut self) {
        let delay = self.dice.clerks.within(PAUSE_NS.0, PAUSE_NS.1);
        self.after(delay, Event::Amended);
    }

    /// Effects that have not ended and harm nobody, in the order of keys: those that wait for a person, and the others.
    fn unsettled(&self) -> [Vec<Vec<u8>>; 2] {
        let (mut parked, mut open) = (Vec::new(), Vec::new());
        let rows = self.nodes.of_effects().store.committed();
        let scanned = rows.scan(Table::Effect, b"", &mut |key, row| {
            if let Ok(LedgerRow { phase, effect, .. }) = LedgerRow::decode(row)
                && HARMLESS.contains(&effect.as_str())
            {
                match phase {
                    Phase::Parked { .. } => parked.push(key.to_vec()),
                    Phase::Open | Phase::Started { .. } => open.push(key.to_vec()),
                    Phase::Settled { .. } => {}
                }
            }
            ControlFlow::Continue(())
        });
        if scanned.is_ok() { [parked, open] } else { [Vec::new(), Vec::new()] }
    }

    fn draw_amendment(&mut self) -> Option<(Vec<u8>, Amend)> {
        let [parked, open] = self.unsettled();
        let dice = &mut self.dice.clerks;
        if dice.one_in(6)
            && let Some(last) = &self.clerks.last
        {
            return Some((keys::effect(&last.tenant, &last.command_id), last.clone()));
        }
        let is_parked = open.is_empty() || (!parked.is_empty() && !dice.one_in(4));
        let among = if is_parked { parked } else { open };
        if among.is_empty() {
            return None;
        }
        let key = dice.pick(&among).clone();
        let (tenant, command_id) = keys::parse_effect(&key)?;
        let settle =
            |outcome| Verb::Settle { outcome, payload: json!({ "id": "by hand" }), reason: reason() };
        let verb = match dice.below(8) {
            0..=2 => Verb::Retry { may_repeat: false, reason: reason() },
            3 | 4 => Verb::Retry { may_repeat: true, reason: reason() },
            5 | 6 => settle(EffectOutcome::Succeeded),
            _ => settle(EffectOutcome::Failed),
        };
        Some((key, Amend { tenant, command_id, verb }))
    }

    pub(super) fn on_amended(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        self.amend_later();
        let id = if self.nodes.effects.is_some() { NodeId::Effects } else { NodeId::Runner };
        let patient = self.clerks.waiting.is_some_and(|(_, since)| self.now_ns < since + PATIENCE_NS);
        if patient || !self.is_up(id) {
            return;
        }
        let Some((key, amend)) = self.draw_amendment() else { return };
        let ticket = self.operators.draw_ticket();
        self.clerks.waiting = Some((ticket, self.now_ns));
        self.clerks.last = Some(amend.clone());
        self.oracles.on_amending(key, &amend.verb);
        let operation = Box::new(Operation::Effect(amend));
        self.push::<Runner>(id, Input::Asked { ticket, operation });
    }

    /// INV-EFF-4: what an operator is told is so, and is committed.
    pub(super) fn on_clerk_answered(
        &mut self,
        ticket: u64,
        operation: &Amend,
        answer: &Result<Done, Refusal>,
    ) -> Result<(), Violation> {
        if self.clerks.waiting.take_if(|(own, _)| *own == ticket).is_none() {
            return Ok(());
        }
        let Ok(Done::Effect(done)) = answer else { return Ok(()) };
        let rows = self.nodes.of_effects().store.committed();
        let key = keys::effect(&operation.tenant, &operation.command_id);
        let row = rows.get(Table::Effect, &key).ok().flatten().and_then(|row| LedgerRow::decode(row).ok());
        // What is open may have ended in the same turn.
        let agrees = row.as_ref().is_some_and(|row| match done.outcome {
            Some(outcome) => row.phase == Phase::Settled { outcome },
            None => true,
        });
        if agrees {
            return Ok(());
        }
        let detail = format!("{operation:?} is answered {done:?}, the row says {row:?}");
        Err(Violation::new(Invariant::Eff4, detail))
    }
}

fn reason() -> Reason {
    Reason::parse("somebody asked the outside").expect("a reason")
}
