//! One transition: something happened, the program reacts, row and work move together.

use super::definitions::{self, ByHash};
use super::hold::Incoming;
use super::instance::{Instance, Status, Work, WorkState};
use super::kept::Kept;
use super::{Asked, Ending, Finished, HandOver, Reacted, UNDOING_MAX, WORKS_MAX, Wanted};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::{SagaDef, Trigger, WorkOutcome};
use crate::marks::Mark;
use crate::outbox::Entry;
use crate::program::contract::{self, CommandTarget, Target, Then, WorkItem};
use crate::program::{Gas, Natives, ProgramError};
use crate::quarantine::Cause;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View, scan_prefix};
use crate::time::{Now, Wall};
use crate::wire::context::Context;
use crate::wire::envelope::{Command, EffectCommand, SagaRef};
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::keys::{self, EndedKind};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What sagas need besides their tables.
#[derive(Clone, Debug, PartialEq)]
pub struct SagaConfig {
    /// The definitions.
    pub definitions: BTreeMap<Name, Arc<SagaDef>>,
    /// The programs of the binary.
    pub natives: Natives,
    /// How effects reach the ledger.
    pub hand_over: HandOver,
    /// Budget of one program run.
    pub gas_max: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// An event that belongs to an instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Happened {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// Names what happened, for good.
    pub cause: String,
    /// When, by the stamp that it carries: the same however often it comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Wall>,
    /// Where its message is, on `AGGREGATE_EVENTS`, if it is an event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_seq: Option<u64>,
    /// What the program is chosen by.
    pub trigger: Trigger,
    /// Whether an instance may begin with it.
    pub starts: bool,
    /// What the program sees.
    pub event: Value,
    /// What it belongs to.
    pub context: Context,
}

/// The end of a work item.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WorkEnded {
    /// Whose.
    pub tenant: TenantId,
    /// Which instance, which work item.
    pub saga: SagaRef,
    /// The id of the work.
    pub work_id: CommandId,
    /// How it ended.
    pub outcome: WorkOutcome,
    /// What came with it.
    pub payload: Value,
}

/// The sagas of one partition: all state is in the tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Sagas {
    pub(super) config: SagaConfig,
    /// Derived: definitions in use.
    pub(super) by_hash: ByHash,
    /// Derived: rows of instances that reacted last.
    pub(super) kept: Kept,
}

/// What an instance was before a transition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Was {
    NotThere,
    Running,
    Ended,
}

impl Was {
    pub(super) const fn of(instance: &Instance) -> Self {
        if instance.status.is_final() { Self::Ended } else { Self::Running }
    }
}

/// The instance a transition works on.
pub(super) struct Subject<'s> {
    pub(super) tenant: &'s TenantId,
    pub(super) saga: &'s Name,
    pub(super) correlation: &'s EntityId,
    /// Of its row.
    pub(super) key: &'s [u8],
    pub(super) definition: &'s SagaDef,
    /// What ids of work derive from.
    pub(super) cause: &'s str,
}

impl Subject<'_> {
    /// That its instance has come to its end, if it has.
    pub(super) fn finished(&self, instance: &Instance) -> Option<Finished> {
        let ending = match instance.status {
            Status::Running | Status::Compensating { .. } => return None,
            Status::Completed => Ending::Completed,
            Status::Compensated => Ending::Compensated,
            Status::Killed => Ending::Killed,
        };
        let (tenant, saga, correlation) = (self.tenant.clone(), self.saga.clone(), self.correlation.clone());
        Some(Finished { tenant, saga, correlation, ending })
    }
}

impl Sagas {
    /// Sagas with these definitions, and those that running instances began under.
    ///
    /// # Errors
    /// [`Fence`](crate::halt::Fence) when one of those cannot be read, or there are too many.
    pub fn recover(config: SagaConfig, view: &dyn View) -> Result<Self, Halt> {
        let by_hash = definitions::recover(&config.definitions, &config.natives, view)?;
        Ok(Self { config, by_hash, kept: Kept::default() })
    }

    /// Today's definitions: those that instances begin under.
    #[must_use]
    pub const fn definitions(&self) -> &BTreeMap<Name, Arc<SagaDef>> {
        &self.config.definitions
    }

    /// An event happened.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn on_event<I, E>(
        &mut self,
        now: Now,
        happened: &Happened,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Reacted, Halt> {
        let Happened { tenant, saga, correlation, cause, .. } = happened;
        let key = keys::saga(tenant, saga, correlation);
        let cause_key = keys::saga_cause(tenant, saga, correlation, cause);
        let known = self.take(&key, cx.view())?;
        let began = known.is_none();
        let mut instance = match (known, self.config.definitions.get(saga)) {
            (Some(instance), _) => instance,
            (None, Some(today)) if happened.starts => Instance::begin(today, happened),
            (None, _) => {
                cx.mark(Mark::SagaUncorrelated);
                return Ok(Reacted::Applied(Asked::default()));
            }
        };
        let was = if began { Was::NotThere } else { Was::of(&instance) };
        if was == Was::Ended && !self.config.quirks.has(Quirk::SagaReactWhenFinished) {
            cx.mark(Mark::SagaAbsorbed);
            return Ok(Reacted::Applied(Asked::default()));
        }
        let seen = cx.view().get(Table::SagaCause, &cause_key)?.is_some();
        if seen && !self.config.quirks.has(Quirk::SagaSkipDedupe) {
            cx.mark(Mark::SagaDuplicateCause);
            return Ok(Reacted::Applied(Asked::default()));
        }
        let definition = self.definition_of(saga, &instance, cx)?;
        let subject = Subject { tenant, saga, correlation, key: &key, definition: &definition, cause };
        if self.holds(&instance) {
            let held = Incoming::Happened(Box::new(happened.clone()));
            return self.hold(&subject, instance, held, cx);
        }
        let Happened { trigger, event, .. } = happened;
        let mut asked = match self.react(now, &subject, &mut instance, trigger, event, cx) {
            Ok(asked) => asked,
            Err(cause) => return Ok(Reacted::Poisoned(cause)),
        };
        asked.finished = subject.finished(&instance);
        cx.put(Table::SagaCause, &cause_key, b"");
        self.write(now, &subject, was, instance, Some(&cause_key), cx)?;
        Ok(Reacted::Applied(asked))
    }

    /// Stages the row; `staged` is the mark of a cause that this very step put.
    pub(super) fn write<I, E>(
        &mut self,
        now: Now,
        subject: &Subject<'_>,
        was: Was,
        mut instance: Instance,
        staged: Option<&[u8]>,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<(), Halt> {
        if instance.status.is_final() && was != Was::Ended {
            instance.ended_at = Some(now.wall);
        }
        let row = instance.encode();
        cx.put(Table::Saga, subject.key, &row);
        match (was, instance.status.is_final()) {
            (Was::NotThere | Was::Ended, false) => self.pin(subject.definition, cx)?,
            (Was::Running, true) => {
                cx.put(Table::Ended, &keys::ended(EndedKind::Instance, now.wall, subject.key), b"");
                self.unpin(&instance.definition, cx)?;
            }
            (Was::NotThere, true) => {
                cx.put(Table::Ended, &keys::ended(EndedKind::Instance, now.wall, subject.key), b"");
            }
            (Was::Ended, true) | (Was::Running, false) => {}
        }
        if instance.status.is_final() {
            forget_causes(subject, staged, cx)?;
        }
        self.kept.keep(subject.key, instance, row.len());
        Ok(())
    }

    /// A work item ended.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn on_work_ended<I, E>(
        &mut self,
        now: Now,
        ended: &WorkEnded,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Reacted, Halt> {
        let WorkEnded { tenant, saga: SagaRef { saga, correlation, work: name }, work_id, outcome, payload } =
            ended;
        let key = keys::saga(tenant, saga, correlation);
        let Some(mut instance) = self.take(&key, cx.view())? else {
            cx.mark(Mark::SagaUncorrelated);
            return Ok(Reacted::Applied(Asked::default()));
        };
        let Some(at) = instance.works.iter().position(|work| work.id == *work_id) else {
            cx.mark(Mark::SagaUncorrelated);
            return Ok(Reacted::Applied(Asked::default()));
        };
        let Work { state, compensates, .. } = instance.works[at];
        if state != WorkState::InFlight && !self.config.quirks.has(Quirk::SagaSkipDedupe) {
            cx.mark(Mark::SagaDuplicateCause);
            return Ok(Reacted::Applied(Asked::default()));
        }
        if instance.status.is_final() {
            cx.mark(Mark::SagaAbsorbed);
            instance.works[at].state = if outcome.is_done() { WorkState::Done } else { WorkState::NotDone };
            cx.put(Table::Saga, &key, &instance.encode());
            return Ok(Reacted::Applied(Asked::default()));
        }
        let cause = format!("work/{work_id}");
        let definition = self.definition_of(saga, &instance, cx)?;
        let subject =
            Subject { tenant, saga, correlation, key: &key, definition: &definition, cause: &cause };
        if self.holds(&instance) {
            let held = Incoming::WorkEnded(Box::new(ended.clone()));
            return self.hold(&subject, instance, held, cx);
        }
        instance.works[at].state = if outcome.is_done() { WorkState::Done } else { WorkState::NotDone };
        let trigger = Trigger::Work { work: name.clone(), outcome: *outcome };
        let event = json!({
            "type": format!("{name}.{}", outcome.as_str()),
            "work": name,
            "command_id": work_id,
            "payload": payload,
        });
        let asked = match &instance.status {
            Status::Completed | Status::Compensated | Status::Killed => Ok(Asked::default()),
            Status::Compensating { .. } if compensates && !outcome.is_done() => Err(Cause {
                kind: "compensation_refused".into(),
                detail: format!("`{name}` was refused: {payload}"),
            }),
            Status::Compensating { .. } => match self.keep_state(&subject, &mut instance, &trigger, &event) {
                Ok(()) => {
                    let work = self.continue_compensation(now, &subject, &mut instance, cx);
                    work.map(|work| Asked { work, ..Asked::default() })
                }
                Err(cause) => Err(cause),
            },
            Status::Running => self.react(now, &subject, &mut instance, &trigger, &event, cx),
        };
        match asked {
            Ok(mut asked) => {
                asked.finished = subject.finished(&instance);
                self.write(now, &subject, Was::Running, instance, None, cx)?;
                Ok(Reacted::Applied(asked))
            }
            Err(cause) => Ok(Reacted::Poisoned(cause)),
        }
    }

    /// Lets the program for the end of a work item keep what it needs to undo it later; it asks for nothing any more.
    fn keep_state(
        &self,
        subject: &Subject<'_>,
        instance: &mut Instance,
        trigger: &Trigger,
        event: &Value,
    ) -> Result<(), Cause> {
        let Some(program) = subject.definition.on_event.get(trigger) else { return Ok(()) };
        if self.config.quirks.has(Quirk::SagaIgnoreWhileUndoing) {
            return Ok(());
        }
        let mut gas = Gas::new(self.config.gas_max);
        let reaction = contract::react(program, &instance.state, event, &mut gas)
            .map_err(|error| program_cause(subject.saga, &error))?;
        instance.state = reaction.state;
        Ok(())
    }

    /// Runs the program for a trigger and applies what it says to the instance.
    pub(super) fn react<I, E>(
        &self,
        now: Now,
        subject: &Subject<'_>,
        instance: &mut Instance,
        trigger: &Trigger,
        event: &Value,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Asked, Cause> {
        if matches!(instance.status, Status::Compensating { .. }) {
            // Undoing does not look at what else happens; it has its own order.
            return Ok(Asked::default());
        }
        let Some(program) = subject.definition.on_event.get(trigger) else { return Ok(Asked::default()) };
        let mut gas = Gas::new(self.config.gas_max);
        let reaction = contract::react(program, &instance.state, event, &mut gas)
            .map_err(|error| program_cause(subject.saga, &error))?;
        instance.state = reaction.state;
        let mut timers =
            instance.change_timers(now, subject, &reaction.cancel, reaction.timers, self.config.quirks)?;
        let mut work = self.ask(now, subject, instance, reaction.work, false)?;
        match reaction.then {
            Then::Continue => {}
            Then::Complete => {
                instance.release_timers(subject, &mut timers);
                instance.status = Status::Completed;
            }
            Then::Compensate => {
                work.extend(self.undo(now, subject, instance, event.clone(), &mut timers, cx)?);
            }
        }
        Ok(Asked { work, timers, finished: None })
    }

    /// Turns work items into entries and remembers them.
    pub(super) fn ask(
        &self,
        now: Now,
        subject: &Subject<'_>,
        instance: &mut Instance,
        items: Vec<WorkItem>,
        compensates: bool,
    ) -> Result<Vec<Wanted>, Cause> {
        let asked = instance.works.iter().filter(|work| work.compensates == compensates).count();
        // What undoes has room of its own: who may ask for something may have it undone.
        let (max, kind) =
            if compensates { (UNDOING_MAX, "undoing work items") } else { (WORKS_MAX, "work items") };
        if asked + items.len() > max {
            let detail = format!("more than {max} {kind} over its life");
            return Err(Cause { kind: "too_much_work".into(), detail });
        }
        let mut wanted = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            let id = instance.derive(subject, &[&at.to_string(), item.name.as_str()], self.config.quirks);
            let saga = SagaRef {
                saga: subject.saga.clone(),
                correlation: subject.correlation.clone(),
                work: item.name.clone(),
            };
            let context = instance.context.caused_by(subject.cause);
            let mut handed_over = false;
            wanted.push(match item.target {
                Target::Command(CommandTarget { aggregate, id: aggregate_id, name, payload }) => {
                    let command = Command {
                        tenant: subject.tenant.clone(),
                        aggregate,
                        id: aggregate_id,
                        name,
                        payload,
                        command_id: id.clone(),
                        context,
                        record_refusal: true,
                    };
                    Wanted::Leaving(Entry::command(saga, command))
                }
                Target::Effect { name, payload } => {
                    let command = EffectCommand {
                        tenant: subject.tenant.clone(),
                        effect: name,
                        command_id: id.clone(),
                        payload,
                        saga: Some(saga.clone()),
                        timestamp: Some(now.wall.rfc3339()),
                        context,
                    };
                    handed_over = self.hands_over(instance);
                    if handed_over {
                        Wanted::HandedOver(command)
                    } else {
                        Wanted::Leaving(Entry::effect(saga, &command))
                    }
                }
            });
            let (name, state) = (item.name, WorkState::InFlight);
            instance.works.push(Work { id, name, compensates, state, handed_over });
        }
        Ok(wanted)
    }

    /// Whether an effect may join the ledger at once: nothing of its instance is on another way.
    fn hands_over(&self, instance: &Instance) -> bool {
        let is_leaving = |work: &Work| work.state == WorkState::InFlight && !work.handed_over;
        match self.config.hand_over {
            HandOver::Broker => false,
            HandOver::Commit => {
                self.config.quirks.has(Quirk::SagaHandOverAhead) || !instance.works.iter().any(is_leaving)
            }
        }
    }
}

pub(super) fn program_cause(saga: &Name, error: &ProgramError) -> Cause {
    Cause { kind: format!("program_{}", error.kind()), detail: format!("saga {saga}: {error}") }
}

/// A finished instance absorbs everything, so it need not remember what it applied: all of it, for an instance that is
/// restarted must not know what it did before.
fn forget_causes<I, E>(
    subject: &Subject<'_>,
    staged: Option<&[u8]>,
    cx: &mut Cx<'_, I, E>,
) -> Result<(), Halt> {
    let prefix = keys::saga_cause_prefix(subject.tenant, subject.saga, subject.correlation);
    let mut found: Vec<Vec<u8>> = Vec::new();
    let view: &dyn View = cx.view();
    scan_prefix(view, Table::SagaCause, &prefix, &mut |key, _| {
        found.push(key.to_vec());
        ControlFlow::Continue(())
    })?;
    for key in found.iter().map(Vec::as_slice).chain(staged) {
        cx.delete(Table::SagaCause, key);
    }
    Ok(())
}
