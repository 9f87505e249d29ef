//! What operators do to one effect: have it called again, or say how it ended.
//!
//! ```text
//! Parked ─────── retry ──► Open       under the same key, with all its attempts and its time
//! Parked, Open ─ settle ─► Settled    (+ result, the way the command came)
//! ```
//!
//! Each is safe to repeat: an effect that is as it is wanted stays as it is, and the answer says that nothing changed.
//! What may happen at most once, and may have happened, is called again only if whoever asks says that it may repeat.
//!
//! Not here: a call that is under way. Nobody can say how that ends while it may still answer.

use super::ledger::{Intervened, Intervention, LedgerRow, Phase};
use super::opened::Opened;
use super::{Effect, Effects, Ended, State};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::Delivery;
use crate::marks::Mark;
use crate::operator::{Reason, Refusal};
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::Now;
use crate::wire::envelope::{EffectOutcome, PAYLOAD_BYTES_MAX};
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys;
use serde_json::Value;
use std::ops::ControlFlow;

/// What is to be done.
#[derive(Clone, PartialEq, Debug)]
pub enum Verb {
    /// Call it again: all its attempts and its time begin anew.
    Retry {
        /// It may happen although it may have happened already and its manifest says at most once.
        may_repeat: bool,
        /// Why.
        reason: Reason,
    },
    /// It is over, and this is how it ended.
    Settle {
        /// How.
        outcome: EffectOutcome,
        /// What its saga is told, as if the outside had answered it; at most
        /// [`PAYLOAD_BYTES_MAX`] bytes as JSON.
        payload: Value,
        /// Why.
        reason: Reason,
    },
}

impl Verb {
    /// As the command line and logs spell it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Retry { may_repeat: false, .. } => "retry",
            Self::Retry { may_repeat: true, .. } => "retry, though it may repeat",
            Self::Settle { outcome: EffectOutcome::Succeeded, .. } => "settle as succeeded",
            Self::Settle { outcome: EffectOutcome::Failed, .. } => "settle as failed",
        }
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> &Reason {
        match self {
            Self::Retry { reason, .. } | Self::Settle { reason, .. } => reason,
        }
    }
}

/// Something an operator does to one effect.
#[derive(Clone, PartialEq, Debug)]
pub struct Operation {
    /// Whose.
    pub tenant: TenantId,
    /// Its command.
    pub command_id: CommandId,
    /// What.
    pub verb: Verb,
}

/// How an effect stands after an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operated {
    /// The effect.
    pub effect: Name,
    /// How it ended; `None` while it is open.
    pub outcome: Option<EffectOutcome>,
    /// Whether the operation changed anything: not if it was as wanted already.
    pub changed: bool,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Commanded {
    /// It is done, or was done already.
    Done {
        /// How the effect stands.
        operated: Operated,
        /// Its end, for whoever waits for it.
        ended: Option<Box<Ended>>,
    },
    /// It is not done.
    Refused(Refusal),
}

fn as_wanted(row: &LedgerRow, outcome: Option<EffectOutcome>) -> Commanded {
    let operated = Operated { effect: row.effect.clone(), outcome, changed: false };
    Commanded::Done { operated, ended: None }
}

fn conflict(detail: String) -> Commanded {
    Commanded::Refused(Refusal::Conflict { detail })
}

fn finished(command_id: &CommandId) -> Commanded {
    Commanded::Refused(Refusal::Finished { what: format!("effect `{command_id}`") })
}

impl Effects {
    /// Does what an operator asks for.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn operate<I>(
        &mut self,
        now: Now,
        operation: &Operation,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Commanded, Halt> {
        let Operation { tenant, command_id, verb } = operation;
        let key = keys::effect(tenant, command_id);
        let Some(row) = cx.view().get(Table::Effect, &key)? else {
            return Ok(Commanded::Refused(Refusal::NotFound { what: format!("effect `{command_id}`") }));
        };
        let (bytes, row) = (row.len(), Box::new(LedgerRow::decode(row)?));
        let opened = Opened { key, tenant: tenant.clone(), command_id: command_id.clone(), row, bytes };
        let commanded = match verb {
            Verb::Retry { may_repeat, reason } => self.retry(now, opened, *may_repeat, reason, cx),
            Verb::Settle { outcome, payload, reason } => {
                self.settle_by_hand(now, opened, (*outcome, payload), reason, cx)?
            }
        };
        self.closed_now.clear();
        Ok(commanded)
    }

    fn retry<I>(
        &mut self,
        now: Now,
        mut opened: Opened,
        may_repeat: bool,
        reason: &Reason,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Commanded {
        let row = &mut opened.row;
        match &row.phase {
            Phase::Open | Phase::Started { .. } => return as_wanted(row, None),
            Phase::Settled { .. } => return finished(&opened.command_id),
            Phase::Parked { .. } => {}
        }
        let effect = row.effect.clone();
        let Some(definition) = self.config.definitions.get(&effect) else {
            return conflict(format!("the application has no effect `{effect}` to call: settle it by hand"));
        };
        let may_repeat = may_repeat || self.config.quirks.has(Quirk::EffectRetryInDoubt);
        if row.ambiguous > 0 && definition.delivery == Delivery::AtMostOnce && !may_repeat {
            return conflict(format!(
                "`{effect}` may happen at most once, and may have happened: settle it as the outside \
                 knows it, or say that it may repeat"
            ));
        }
        row.phase = Phase::Open;
        row.intervention = Some(Intervention::new(Intervened::Retried, now.wall, row.attempts, reason));
        cx.mark(Mark::EffectRetriedByHand);
        self.unpark(&opened, cx);
        self.admit(now, opened, cx);
        Commanded::Done { operated: Operated { effect, outcome: None, changed: true }, ended: None }
    }

    fn settle_by_hand<I>(
        &mut self,
        now: Now,
        mut opened: Opened,
        (outcome, payload): (EffectOutcome, &Value),
        reason: &Reason,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Commanded, Halt> {
        let size = serde_json::to_vec(payload).map_or(usize::MAX, |json| json.len());
        if size > PAYLOAD_BYTES_MAX {
            let detail = format!("it has {size} bytes, and may have {PAYLOAD_BYTES_MAX}");
            return Ok(Commanded::Refused(Refusal::Invalid { field: "payload", detail }));
        }
        let position = opened.row.call.as_ref().map(|call| call.position);
        let row = &mut opened.row;
        match row.phase {
            Phase::Settled { outcome: was } if was == outcome && row.is_settled_by_hand() => {
                return Ok(as_wanted(row, Some(outcome)));
            }
            Phase::Settled { .. } => return Ok(finished(&opened.command_id)),
            Phase::Parked { .. } => self.unpark(&opened, cx),
            Phase::Open | Phase::Started { .. } => {
                let position = position.ok_or_else(|| Halt::Corrupt {
                    table: Table::Effect,
                    detail: format!("`{}` is open and has no position", opened.command_id),
                })?;
                if !self.withdraw(now, position, &row.effect) {
                    let timeout = "it ends with its answer or its timeout: ask again then";
                    return Ok(conflict(format!("a call of `{}` is under way; {timeout}", row.effect)));
                }
                self.count_interrupted(row);
                self.close(position, cx);
            }
        }
        let row = &mut opened.row;
        row.intervention = Some(Intervention::new(Intervened::Settled, now.wall, row.attempts, reason));
        cx.mark(Mark::EffectSettledByHand);
        let operated = Operated { effect: row.effect.clone(), outcome: Some(outcome), changed: true };
        let ended = self.conclude(now, opened, outcome, payload.clone(), cx);
        let ended = (!self.config.quirks.has(Quirk::EffectSettleUntold)).then(|| Box::new(ended));
        Ok(Commanded::Done { operated, ended })
    }

    fn unpark<I>(&mut self, opened: &Opened, cx: &mut Cx<'_, I, Effect>) {
        cx.delete(Table::EffectParked, &opened.key);
        self.parked -= 1;
    }

    /// Every row of the index is of an effect that waits for a person.
    pub(super) fn check_parked(&self, view: &dyn View) -> Result<(), Halt> {
        let mut rows = Vec::new();
        view.scan(Table::EffectParked, b"", &mut |key, _| {
            rows.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        invariant!(rows.len() as u64 == self.parked, Eff4, "{} parked, {} counted", rows.len(), self.parked);
        for key in rows {
            let phase =
                view.get(Table::Effect, &key)?.map(LedgerRow::decode).transpose()?.map(|row| row.phase);
            let parked = matches!(phase, Some(Phase::Parked { .. }));
            invariant!(parked, Eff4, "parked index {:?} points at {phase:?}", String::from_utf8_lossy(&key));
        }
        Ok(())
    }

    /// An open effect waits for nothing any more, wherever it waited; not if a call of it is under way.
    fn withdraw(&mut self, now: Now, position: u64, effect: &Name) -> bool {
        let Some(tracked) = self.tracked.get(&position) else {
            self.remembered_no_more(position);
            return true;
        };
        match tracked.state {
            State::InFlight { .. } => return false,
            State::Waiting => drop(self.ready.remove(&position)),
            State::Backoff { until } => drop(self.due.remove(&(until, position))),
            State::Held { .. } => self.leave_hold(position),
            State::Queued { lane, .. } => {
                self.leave_queue(position);
                self.stir(now.mono, lane);
            }
            State::Called { lane } => {
                self.ready.remove(&position);
                self.leave_call(position);
                self.stir(now.mono, lane);
            }
        }
        // It may have been the one to see whether its upstream answers.
        if let Some(upstream) = self.upstream_of(effect) {
            self.let_probe(upstream);
        }
        true
    }
}
