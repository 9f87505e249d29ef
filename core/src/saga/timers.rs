//! Timers of an instance: which ones it waits for, and what their firing causes.
//!
//! The row lists what is pending, so a reminder for a timer that was cancelled, moved or has come already is known for
//! what it is, however late it arrives and however often. The schedule that fires them is its own machine; what changes
//! there is returned, and staged by the parent in the same commit.

use super::hold::Incoming;
use super::instance::{Instance, PendingTimer};
use super::transition::{Sagas, Subject, Was};
use super::{Asked, Reacted, TIMERS_MAX, TimerChange};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::Trigger;
use crate::marks::Mark;
use crate::program::contract::{TimerDue, TimerItem};
use crate::quarantine::Cause;
use crate::quirks::{Quirk, Quirks};
use crate::schedule::Timer;
use crate::time::{Now, Wall};
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::keys;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A timer of an instance fired.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TimerFired {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// The timer's name.
    pub timer: Name,
    /// Which one of that name.
    pub id: CommandId,
    /// When it fell due, RFC 3339.
    pub due_at: String,
}

impl Sagas {
    /// A timer fired.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn on_timer_fired<I, E>(
        &mut self,
        now: Now,
        fired: &TimerFired,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Reacted, Halt> {
        let TimerFired { tenant, saga, correlation, timer, id, due_at } = fired;
        let key = keys::saga(tenant, saga, correlation);
        let Some(mut instance) = self.take(&key, cx.view())? else {
            cx.mark(Mark::SagaUncorrelated);
            return Ok(Reacted::Applied(Asked::default()));
        };
        if instance.status.is_final() && !instance.timers.iter().any(|own| own.id == *id) {
            cx.mark(Mark::TimerStale);
            return Ok(Reacted::Applied(Asked::default()));
        }
        let was = Was::of(&instance);
        let cause = format!("timer/{id}");
        let definition = self.definition_of(saga, &instance, cx)?;
        let subject =
            Subject { tenant, saga, correlation, key: &key, definition: &definition, cause: &cause };
        let pending = instance.timers.iter().position(|own| own.id == *id);
        match pending {
            Some(_) if self.holds(&instance) => {
                let held = Incoming::TimerFired(Box::new(fired.clone()));
                return self.hold(&subject, instance, held, cx);
            }
            Some(at) => {
                instance.timers.remove(at);
            }
            None if self.config.quirks.has(Quirk::SagaSkipDedupe) && !instance.status.is_final() => {}
            None => {
                cx.mark(Mark::TimerStale);
                return Ok(Reacted::Applied(Asked::default()));
            }
        }
        let trigger = Trigger::Timer { timer: timer.clone() };
        let event = json!({
            "type": format!("{timer}.fired"),
            "timer": timer,
            "due_at": due_at,
            "payload": null,
        });
        match self.react(now, &subject, &mut instance, &trigger, &event, cx) {
            Ok(mut asked) => {
                asked.finished = subject.finished(&instance);
                self.write(now, &subject, was, instance, None, cx)?;
                Ok(Reacted::Applied(asked))
            }
            Err(cause) => Ok(Reacted::Poisoned(cause)),
        }
    }
}

impl Instance {
    /// Takes in what a reaction says of timers; what changes is for the schedule.
    pub(super) fn change_timers(
        &mut self,
        now: Now,
        subject: &Subject<'_>,
        cancel: &[Name],
        set: Vec<TimerItem>,
        quirks: Quirks,
    ) -> Result<Vec<TimerChange>, Cause> {
        let mut changes = Vec::new();
        for name in cancel.iter().chain(set.iter().map(|item| &item.name)) {
            self.cancel_timers(subject.tenant, |own| own.name == *name, &mut changes);
        }
        for (at, item) in set.into_iter().enumerate() {
            if self.timers.len() >= TIMERS_MAX {
                let detail = format!("more than {TIMERS_MAX} timers at once");
                return Err(Cause { kind: "too_many_timers".into(), detail });
            }
            let id = self.derive(subject, &["timer", &at.to_string(), item.name.as_str()], quirks);
            let due = match item.due {
                TimerDue::AfterMs(ms) => Wall::from_ms(now.wall.as_ms().saturating_add(ms)),
                TimerDue::At(at) => at,
            };
            self.timers.push(PendingTimer { id: id.clone(), name: item.name.clone(), due });
            changes.push(TimerChange::Set(Timer {
                id,
                tenant: subject.tenant.clone(),
                saga: subject.saga.clone(),
                correlation: subject.correlation.clone(),
                name: item.name,
                due,
                context: self.context.caused_by(subject.cause),
            }));
        }
        Ok(changes)
    }

    /// What no longer only waits has nothing to be reminded of.
    pub(super) fn release_timers(&mut self, subject: &Subject<'_>, changes: &mut Vec<TimerChange>) {
        self.cancel_timers(subject.tenant, |_| true, changes);
    }

    fn cancel_timers(
        &mut self,
        tenant: &TenantId,
        which: impl Fn(&PendingTimer) -> bool,
        changes: &mut Vec<TimerChange>,
    ) {
        for own in self.timers.extract_if(.., |own| which(own)) {
            // What this very reaction set has not reached the schedule.
            let fresh = changes
                .iter()
                .position(|change| matches!(change, TimerChange::Set(timer) if timer.id == own.id));
            match fresh {
                Some(at) => {
                    changes.remove(at);
                }
                None => changes.push(TimerChange::Cancelled { tenant: tenant.clone(), id: own.id }),
            }
        }
    }
}
