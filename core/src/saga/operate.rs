//! What operators do to one instance: pause it, let it go on, have it undone, end it.
//!
//! Each is safe to repeat: an instance that is as it is wanted stays as it is, and the answer says that nothing changed.

use super::Asked;
use super::hold::{Incoming, Paused};
use super::instance::{Instance, Intervened, Intervention, Status};
use super::transition::{Sagas, Subject, Was};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::operator::{Reason, Refusal};
use crate::quarantine::Cause;
use crate::quirks::Quirk;
use crate::time::Now;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;
use serde_json::json;

/// What ids of work derive from when an operator has an instance undone, which happens once.
const BY_OPERATOR: &str = "operator/cancel";

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// React to nothing; hold what comes.
    Pause {
        /// Why.
        reason: Reason,
    },
    /// Go on, with what was held first.
    Resume,
    /// Undo what was done, as its own program would.
    Cancel {
        /// Why.
        reason: Reason,
    },
    /// End it as it is, undoing nothing.
    Kill {
        /// Why.
        reason: Reason,
    },
    /// From now on, react by today's definition instead of the one it began under.
    Migrate {
        /// Why.
        reason: Reason,
    },
}

impl Verb {
    /// As the command line and logs spell it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
            Self::Cancel { .. } => "cancel",
            Self::Kill { .. } => "kill",
            Self::Migrate { .. } => "migrate",
        }
    }

    /// Why, where one must say.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Pause { reason }
            | Self::Cancel { reason }
            | Self::Kill { reason }
            | Self::Migrate { reason } => Some(reason),
            Self::Resume => None,
        }
    }
}

/// Something an operator does to one instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// What.
    pub verb: Verb,
}

/// How an instance stands after an operation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Operated {
    /// Where it stands.
    pub status: &'static str,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether the operation changed anything: not if it was as wanted already.
    pub changed: bool,
    /// What had come meanwhile, and is applied now.
    pub released: usize,
    /// Work and timers that a restart asks for first, by name.
    pub asks: Vec<Name>,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Commanded {
    /// It is done, or was done already.
    Done {
        /// How the instance stands.
        operated: Operated,
        /// What is wanted from the rest of the partition, in the same commit.
        asked: Box<Asked>,
        /// What is to be applied to it now, in this order.
        released: Vec<Incoming>,
    },
    /// It is not done.
    Refused(Refusal),
}

/// What an operation changed.
#[derive(Default)]
struct Change {
    changed: bool,
    asked: Asked,
    released: Vec<Incoming>,
}

impl Sagas {
    /// Does what an operator asks for.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn operate<I, E>(
        &mut self,
        now: Now,
        operation: &Operation,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Commanded, Halt> {
        let Operation { tenant, saga, correlation, verb } = operation;
        let what = || format!("instance `{correlation}` of saga `{saga}`");
        let key = keys::saga(tenant, saga, correlation);
        let Some(mut instance) = self.take(&key, cx.view())? else {
            return Ok(Commanded::Refused(Refusal::NotFound { what: what() }));
        };
        if instance.status.is_final() {
            if !ended_it(verb, &instance) {
                return Ok(Commanded::Refused(Refusal::Finished { what: what() }));
            }
            let operated = Operated { status: instance.status.as_str(), ..Operated::default() };
            return Ok(Commanded::Done { operated, asked: Box::default(), released: Vec::new() });
        }
        let definition = self.definition_of(saga, &instance, cx)?;
        let subject =
            Subject { tenant, saga, correlation, key: &key, definition: &definition, cause: BY_OPERATOR };
        let done = match verb {
            Verb::Pause { reason } => Ok(pause(now, reason, &mut instance)),
            Verb::Resume => self.resume(&subject, &mut instance, cx),
            Verb::Cancel { reason } => match self.cancel(now, reason, &subject, &mut instance, cx)? {
                Ok(change) => Ok(change),
                Err(cause) => {
                    let detail = format!("{} cannot be undone: {}", what(), cause.detail);
                    return Ok(Commanded::Refused(Refusal::Conflict { detail }));
                }
            },
            Verb::Kill { reason } => self.kill(now, reason, &subject, &mut instance, cx),
            Verb::Migrate { .. } => match self.migrate(&subject, &mut instance, cx)? {
                Some(changed) => Ok(Change { changed, ..Change::default() }),
                None => {
                    let detail = format!("the application has no saga `{saga}` any more");
                    return Ok(Commanded::Refused(Refusal::Conflict { detail }));
                }
            },
        };
        let Change { changed, mut asked, released } = done?;
        let (status, paused) = (instance.status.as_str(), instance.paused.is_some());
        if changed {
            asked.finished = subject.finished(&instance);
            self.write(now, &subject, Was::Running, instance, None, cx)?;
        }
        let operated = Operated { status, paused, changed, released: released.len(), asks: Vec::new() };
        Ok(Commanded::Done { operated, asked: Box::new(asked), released })
    }

    /// Whether that changed anything; `None` when there is no definition to migrate to.
    fn migrate<I, E>(
        &self,
        subject: &Subject<'_>,
        instance: &mut Instance,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Option<bool>, Halt> {
        let Some(today) = self.config.definitions.get(subject.saga) else { return Ok(None) };
        if today.hash == instance.definition {
            return Ok(Some(false));
        }
        cx.mark(Mark::SagaMigrated);
        self.unpin(&instance.definition, cx)?;
        self.pin(today, cx)?;
        instance.definition.clone_from(&today.hash);
        Ok(Some(true))
    }

    fn resume<I, E>(
        &self,
        subject: &Subject<'_>,
        instance: &mut Instance,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Change, Halt> {
        if instance.paused.take().is_none() {
            return Ok(Change::default());
        }
        let released = self.release(subject.tenant, subject.saga, subject.correlation, cx)?;
        Ok(Change { changed: true, released, ..Change::default() })
    }

    /// Undoes. A paused instance goes on with that; what was held comes after it.
    fn cancel<I, E>(
        &self,
        now: Now,
        reason: &Reason,
        subject: &Subject<'_>,
        instance: &mut Instance,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Change, Cause>, Halt> {
        if matches!(instance.status, Status::Compensating { .. }) {
            return self.resume(subject, instance, cx).map(Ok);
        }
        let event = json!({ "type": "operator.cancelled", "reason": reason.as_str(), "payload": null });
        let mut timers = Vec::new();
        let work = match self.undo(now, subject, instance, event, &mut timers, cx) {
            Ok(work) => work,
            Err(cause) => return Ok(Err(cause)),
        };
        cx.mark(Mark::SagaCancelled);
        intervene(now, Intervened::Cancelled, reason, instance);
        let Change { released, .. } = self.resume(subject, instance, cx)?;
        let asked = Asked { work, timers, ..Asked::default() };
        Ok(Ok(Change { changed: true, asked, released }))
    }

    /// Ends it as it is. What it asked for before is still carried out; what comes of that changes nothing any more.
    fn kill<I, E>(
        &self,
        now: Now,
        reason: &Reason,
        subject: &Subject<'_>,
        instance: &mut Instance,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Change, Halt> {
        cx.mark(Mark::SagaKilled);
        self.resume(subject, instance, cx)?;
        let mut timers = Vec::new();
        if !self.config.quirks.has(Quirk::SagaKillLeavesTimers) {
            instance.release_timers(subject, &mut timers);
        }
        instance.status = Status::Killed;
        intervene(now, Intervened::Killed, reason, instance);
        let asked = Asked { timers, ..Asked::default() };
        Ok(Change { changed: true, asked, released: Vec::new() })
    }
}

/// Whether this very operation brought the instance to its end: then it is repeated.
fn ended_it(verb: &Verb, instance: &Instance) -> bool {
    match (verb, instance.intervention.as_ref().map(|own| own.verb)) {
        (Verb::Cancel { .. }, Some(Intervened::Cancelled))
        | (Verb::Kill { .. }, Some(Intervened::Killed)) => true,
        (
            Verb::Pause { .. }
            | Verb::Resume
            | Verb::Cancel { .. }
            | Verb::Kill { .. }
            | Verb::Migrate { .. },
            _,
        ) => false,
    }
}

fn pause(now: Now, reason: &Reason, instance: &mut Instance) -> Change {
    let changed = instance.paused.is_none();
    if changed {
        let reason = reason.as_str().to_owned();
        instance.paused = Some(Paused { since: now.wall, reason, messages: 0, bytes: 0 });
    }
    Change { changed, ..Change::default() }
}

fn intervene(now: Now, verb: Intervened, reason: &Reason, instance: &mut Instance) {
    instance.intervention = Some(Intervention { verb, at: now.wall, reason: reason.as_str().to_owned() });
}
