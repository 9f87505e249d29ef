//! Restart: an operator has an instance that has ended begin again, with the event it began with.
//!
//! ```text
//! Completed, Compensated, Killed ── restart, by an operator ─► Running, under today's definition
//! ```
//!
//! What it asked for before stays as it is: nothing is undone, and what still comes of it changes nothing. What it asks for now
//! has ids of its own, so that it is done, and not taken for what was done before. Events that came after the first one do not
//! come again.
//!
//! - INV-SAGA-9: what a restarted instance asks for is not what it asked for before.

use super::hold::Incoming;
use super::instance::Instance;
use super::operate::{Commanded, Operated};
use super::transition::{Happened, Sagas, Subject, Was};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::operator::{Reason, Refusal};
use crate::store::Table;
use crate::time::Now;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys::{self, EndedKind};

/// That an instance is to begin again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restart {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// Why.
    pub reason: Reason,
    /// How often it was restarted before, as whoever asks has seen it.
    pub restarts: u32,
    /// Nothing is changed: only what it would ask for first is said.
    pub dry_run: bool,
}

impl Sagas {
    /// Has an instance begin again with this event, if it is the one it began with.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn restart<I, E>(
        &mut self,
        now: Now,
        restart: &Restart,
        with: &Happened,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Commanded, Halt> {
        let Restart { tenant, saga, correlation, restarts, .. } = restart;
        let what = || format!("instance `{correlation}` of saga `{saga}`");
        let conflict = |detail: String| Ok(Commanded::Refused(Refusal::Conflict { detail }));
        let key = keys::saga(tenant, saga, correlation);
        let Some(before) = self.take(&key, cx.view())? else {
            return Ok(Commanded::Refused(Refusal::NotFound { what: what() }));
        };
        if before.restarts == restarts + 1 {
            let (status, paused) = (before.status.as_str(), before.paused.is_some());
            let operated = Operated { status, paused, ..Operated::default() };
            return Ok(Commanded::Done { operated, asked: Box::default(), released: Vec::new() });
        }
        if before.restarts != *restarts {
            return conflict(format!("{} was restarted {} times by now", what(), before.restarts));
        }
        if !before.status.is_final() {
            return conflict(format!("{} has not ended: cancel or kill it first", what()));
        }
        let Some(ended_at) = before.ended_at else {
            return conflict(format!("{} ended under an earlier release, which did not say when", what()));
        };
        if before.began_with.is_none_or(|own| own.cause != with.cause) {
            return conflict(format!("{} did not begin with `{}`", what(), with.cause));
        }
        let Some(definition) = self.config.definitions.get(saga).cloned() else {
            return conflict(format!("the application has no saga `{saga}` any more"));
        };
        let mut instance = Instance { restarts: restarts + 1, ..Instance::begin(&definition, with) };
        let subject =
            Subject { tenant, saga, correlation, key: &key, definition: &definition, cause: &with.cause };
        let mut asked = match self.react(now, &subject, &mut instance, &with.trigger, &with.event, cx) {
            Ok(asked) => asked,
            Err(cause) => return conflict(format!("{} cannot begin: {}", what(), cause.detail)),
        };
        let works = instance.works.iter().map(|work| work.name.clone());
        let asks = works.chain(instance.timers.iter().map(|timer| timer.name.clone())).collect();
        if restart.dry_run {
            let operated = Operated { status: before.status.as_str(), asks, ..Operated::default() };
            return Ok(Commanded::Done { operated, asked: Box::default(), released: Vec::new() });
        }
        cx.mark(Mark::SagaRestarted);
        asked.finished = subject.finished(&instance);
        let status = instance.status.as_str();
        let operated = Operated { status, changed: true, asks, ..Operated::default() };
        let cause_key = keys::saga_cause(tenant, saga, correlation, &with.cause);
        cx.delete(Table::Ended, &keys::ended(EndedKind::Instance, ended_at, &key));
        cx.put(Table::SagaCause, &cause_key, b"");
        self.write(now, &subject, Was::NotThere, instance, Some(&cause_key), cx)?;
        Ok(Commanded::Done { operated, asked: Box::new(asked), released: Vec::<Incoming>::new() })
    }
}
