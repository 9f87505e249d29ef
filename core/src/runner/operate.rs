//! What operators ask of a runner: a fact that joins a turn, and an answer that leaves after the commit.
//!
//! ```text
//! operator ─ Asked{ticket, operation} ─► the subject's machine ─ rows ─► commit ─► Answered{ticket} ─► operator
//! ```
//!
//! A refusal is an answer, and means that nothing changed. No answer means that nobody knows: every operation may be asked
//! for again, and one that is done already is done without changing anything. While the node drains, nothing is done.

use super::route::correlated;
use super::{Effect, Input, Runner};
use crate::cx::Cx;
use crate::effect;
use crate::halt::Halt;
use crate::operator::{Reason, Refusal};
use crate::quarantine::{self, Cause, QuarantineKey};
use crate::saga::{self, Commanded, Incoming, Verb};
use crate::schedule::recurring;
use crate::store::View;
use crate::time::Now;
use crate::wire::envelope::EventMessage;
use crate::wire::id::Name;

/// What an operator asks for, by its subject.
#[derive(Clone, PartialEq, Debug)]
pub enum Operation {
    /// Of one saga instance.
    Saga(saga::Operation),
    /// Of a saga instance that has ended.
    Restart(Box<Restart>),
    /// Of the events of one message, for one saga.
    Replay(Box<Replay>),
    /// Of what is held back.
    Quarantine(quarantine::operate::Operation),
    /// Of one schedule, for one tenant.
    Schedule(recurring::Operation),
    /// Of one effect.
    Effect(effect::operate::Operation),
}

/// That an instance is to begin again, and with what.
#[derive(Clone, PartialEq, Debug)]
pub struct Restart {
    /// Which.
    pub instance: saga::Restart,
    /// The message with the event it began with.
    pub message: EventMessage,
    /// Where that is, on `AGGREGATE_EVENTS`.
    pub stream_seq: u64,
}

/// That a message is to come again for one saga.
#[derive(Clone, PartialEq, Debug)]
pub struct Replay {
    /// Which saga.
    pub saga: Name,
    /// The message.
    pub message: EventMessage,
    /// Where that is, on `AGGREGATE_EVENTS`.
    pub stream_seq: u64,
    /// Instances may begin that may have been there before.
    pub may_repeat: bool,
    /// Nothing is changed: only what would become of it is said.
    pub dry_run: bool,
    /// Why.
    pub reason: Reason,
}

/// What was done, and how its subject stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Done {
    /// Of one saga instance.
    Saga(saga::Operated),
    /// Of what is held back.
    Quarantine(quarantine::operate::Operated),
    /// Of one schedule, for one tenant.
    Schedule(recurring::Operated),
    /// Of one effect.
    Effect(effect::operate::Operated),
    /// Of the events of one message, for one saga; `None` when that has yet to come, by itself.
    Replay(Option<saga::Replayed>),
}

/// The answer to an operator.
#[derive(Clone, PartialEq, Debug)]
pub struct Answered {
    /// To which question.
    pub ticket: u64,
    /// What was asked for.
    pub operation: Operation,
    /// What became of it.
    pub answer: Result<Done, Refusal>,
}

impl Runner {
    pub(super) fn on_asked(
        &mut self,
        now: Now,
        ticket: u64,
        operation: Operation,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let answer = match &operation {
            _ if self.drain.is_stopping() => Err(Refusal::Draining),
            Operation::Saga(operation) => self.on_saga_asked(now, operation, cx)?.map(Done::Saga),
            Operation::Restart(restart) => self.on_restart_asked(now, restart, cx)?.map(Done::Saga),
            Operation::Replay(replay) => self.on_replay_asked(replay, cx)?.map(Done::Replay),
            Operation::Quarantine(operation) => {
                self.on_quarantine_asked(now, operation, cx)?.map(Done::Quarantine)
            }
            Operation::Schedule(operation) => self.on_schedule_asked(now, operation, cx)?.map(Done::Schedule),
            Operation::Effect(operation) => self.on_effect_asked(now, operation, cx)?.map(Done::Effect),
        };
        cx.emit(Effect::Answered(Box::new(Answered { ticket, operation, answer })));
        Ok(())
    }

    fn on_saga_asked(
        &mut self,
        now: Now,
        operation: &saga::Operation,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<saga::Operated, Refusal>, Halt> {
        let saga::Operation { tenant, saga, correlation, verb } = operation;
        let key = QuarantineKey::instance(tenant, saga, correlation);
        let waits = match verb {
            Verb::Pause { .. } | Verb::Resume | Verb::Cancel { .. } => true,
            Verb::Kill { .. } | Verb::Migrate { .. } => false,
        };
        if let Some(refusal) = self.held_back(key.filter(|_| waits), cx.view())? {
            return Ok(Err(refusal));
        }
        let commanded = self.sagas.operate(now, operation, cx)?;
        Ok(self.on_commanded(now, commanded, cx))
    }

    fn on_restart_asked(
        &mut self,
        now: Now,
        restart: &Restart,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<saga::Operated, Refusal>, Halt> {
        let Restart { instance, message, stream_seq } = restart;
        let saga::Restart { tenant, saga, correlation, .. } = instance;
        let key = QuarantineKey::instance(tenant, saga, correlation);
        if let Some(refusal) = self.held_back(key, cx.view())? {
            return Ok(Err(refusal));
        }
        let definition = self.sagas.definitions().get(saga);
        let events =
            definition.into_iter().flat_map(|own| (0..message.events.len()).map(move |nth| (own, nth)));
        let first = events
            .filter_map(|(own, nth)| correlated(own, message, nth, *stream_seq, self.config.gas_max).ok()?)
            .find(|own| own.starts && own.tenant == *tenant && own.correlation == *correlation);
        let Some(first) = first else {
            let detail =
                format!("no instance `{correlation}` of saga `{saga}` begins with message {stream_seq}");
            return Ok(Err(Refusal::Conflict { detail }));
        };
        let commanded = self.sagas.restart(now, instance, &first, cx)?;
        Ok(self.on_commanded(now, commanded, cx))
    }

    /// That an instance is quarantined, if it is.
    fn held_back(&self, key: Option<QuarantineKey>, view: &dyn View) -> Result<Option<Refusal>, Halt> {
        let Some(key) = key else { return Ok(None) };
        let detail =
            || format!("{} is quarantined: replay or discard what is parked there first", key.display());
        Ok(self.quarantine.holds(&key, view)?.then(|| Refusal::Conflict { detail: detail() }))
    }

    fn on_commanded(
        &mut self,
        now: Now,
        commanded: Commanded,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<saga::Operated, Refusal> {
        match commanded {
            Commanded::Refused(refusal) => Err(refusal),
            Commanded::Done { operated, asked, released } => {
                self.on_asked_for(now, *asked, cx);
                for held in released {
                    cx.then(Input::SagaReceived(held));
                }
                Ok(operated)
            }
        }
    }

    fn on_schedule_asked(
        &mut self,
        now: Now,
        operation: &recurring::Operation,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<recurring::Operated, Refusal>, Halt> {
        match self.recurring.operate(now, operation, cx)? {
            recurring::Commanded::Refused(refusal) => Ok(Err(refusal)),
            recurring::Commanded::Done { operated, fired } => {
                if let Some(occurrence) = fired {
                    self.on_occurrence(now, *occurrence, cx);
                }
                Ok(Ok(operated))
            }
        }
    }

    fn on_effect_asked(
        &mut self,
        now: Now,
        operation: &effect::operate::Operation,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<effect::operate::Operated, Refusal>, Halt> {
        let commanded =
            cx.child(Input::Effect, Effect::Effect, |cx| self.effects.operate(now, operation, cx))?;
        match commanded {
            effect::operate::Commanded::Refused(refusal) => Ok(Err(refusal)),
            effect::operate::Commanded::Done { operated, ended } => {
                ended.into_iter().for_each(|ended| self.on_effect_ended(now, *ended, cx));
                Ok(Ok(operated))
            }
        }
    }

    /// More came than a pause holds: from now on it is quarantined, and everything that was held is parked, in order.
    pub(super) fn give_up_hold(
        &mut self,
        now: Now,
        key: Option<&QuarantineKey>,
        held: &[Incoming],
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(key) = key else { return Ok(()) };
        let detail = format!("more than {} came while it was paused", held.len().saturating_sub(1));
        let cause = Cause { kind: "paused_too_long".into(), detail };
        self.park_internal(now, key, held, Some(cause), cx)
    }
}
