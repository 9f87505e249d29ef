//! What operators do with a schedule: hold it, let it go on, have one occurrence fire now, or those of a time
//! that has passed.
//!
//! ```text
//! pause ──► nothing fires by the calendar ──► resume ──► what fell due meanwhile is caught up with, or was missed
//! trigger(key) ──► one occurrence, now, under an id that derives from the key ──► again: done already
//! backfill(key) ──► a cursor in the row ──► stop-backfill ──► what is left is dropped
//! ```
//!
//! Each is safe to repeat: a schedule that is as it is wanted stays as it is, and the answer says that
//! nothing changed. A row remembers the last [`ASKED_MAX`](super::ASKED_MAX) keys; one that is forgotten
//! names the same occurrence still, and whoever that reached knows its id. A trigger waits for nothing: while
//! the one before runs it is refused, unless the schedule allows both.

use super::fire::{MISSED_MAX, catch_up, just_before};
use super::row::{Asked, Paused, Request, Row, RowKey};
use super::{Occurrence, Recurring, backfill};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::{FiredBy, Overlap, ScheduleDef};
use crate::marks::Mark;
use crate::operator::{Reason, Refusal};
use crate::quirks::Quirk;
use crate::time::{Now, Wall};
use crate::wire::id::{CommandId, Name, TenantId};

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Fire nothing by the calendar.
    Pause {
        /// Why.
        reason: Reason,
    },
    /// Go on, with what fell due meanwhile first.
    Resume,
    /// Fire one now, besides the calendar.
    Trigger {
        /// Names the occurrence: under the same key it fires once.
        key: CommandId,
        /// Why.
        reason: Reason,
    },
    /// Fire those of a time that has passed, oldest first.
    Backfill {
        /// Names the request: under the same key it is done once.
        key: CommandId,
        /// From then on.
        from: Wall,
        /// Until then, this moment included.
        to: Wall,
        /// Why.
        reason: Reason,
    },
    /// Drop what is left of that.
    StopBackfill {
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
            Self::Trigger { .. } => "trigger",
            Self::Backfill { .. } => "backfill",
            Self::StopBackfill { .. } => "stop-backfill",
        }
    }

    /// Why, where one must say.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Pause { reason }
            | Self::Trigger { reason, .. }
            | Self::Backfill { reason, .. }
            | Self::StopBackfill { reason } => Some(reason),
            Self::Resume => None,
        }
    }

    /// What names the request, where it fires something.
    #[must_use]
    pub const fn key(&self) -> Option<&CommandId> {
        match self {
            Self::Trigger { key, .. } | Self::Backfill { key, .. } => Some(key),
            Self::Pause { .. } | Self::Resume | Self::StopBackfill { .. } => None,
        }
    }
}

/// Something an operator does with a schedule of one tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// The schedule.
    pub schedule: Name,
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub verb: Verb,
}

/// How a schedule stands after an operation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Operated {
    /// Whether it is paused.
    pub paused: bool,
    /// Whether the operation changed anything: not if it was as wanted, or done already.
    pub changed: bool,
    /// The occurrence that was asked for.
    pub occurrence: Option<CommandId>,
    /// Occurrences that fell due while it was paused, counted up to a thousand.
    pub fell_due: u64,
    /// Of these, how many are too old or too many to be caught up with.
    pub missed: u64,
    /// Occurrences of a time that has passed that are still to fire.
    pub left: u64,
    /// Those that were given up.
    pub dropped: u64,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Commanded {
    /// It is done, or was done already.
    Done {
        /// How the schedule stands.
        operated: Operated,
        /// What fires, and is the caller's to send on its way in this very step.
        fired: Option<Box<Occurrence>>,
    },
    /// It is not done.
    Refused(Refusal),
}

type Done = (Operated, Option<Box<Occurrence>>);

impl Recurring {
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
        let key = RowKey::new(&operation.schedule, &operation.tenant);
        if self.unlike.contains(&key) {
            self.reconcile(now, key.clone(), cx);
        }
        let Some((def, before)) = self.look_up(&key) else {
            let what = format!("schedule `{}` of this tenant", key.schedule);
            return Ok(Commanded::Refused(Refusal::NotFound { what }));
        };
        let mut row = before.clone();
        let done = match &operation.verb {
            Verb::Pause { reason } => Ok(pause(now, reason, &mut row)),
            Verb::Resume => Ok(resume(now, &def, &mut row, cx)),
            Verb::Trigger { key: named, reason } => {
                self.trigger(now, &def, &key, &mut row, (named, reason), cx)?
            }
            Verb::Backfill { key: named, from, to, reason } => {
                let asked = (named, *from, *to, reason);
                backfill::begin(now, &def, &mut row, asked, cx).map(|operated| (operated, None))
            }
            Verb::StopBackfill { .. } => Ok((backfill::stop(&def, &mut row), None)),
        };
        let (operated, fired) = match done {
            Ok(done) => done,
            Err(refusal) => return Ok(Commanded::Refused(refusal)),
        };
        let operated = Operated { paused: row.paused.is_some(), changed: row != before, ..operated };
        if operated.changed {
            self.write(key, row, cx);
            self.look_at = Some(now.mono);
        }
        Ok(Commanded::Done { operated, fired })
    }

    fn trigger<I, E>(
        &self,
        now: Now,
        def: &ScheduleDef,
        key: &RowKey,
        row: &mut Row,
        (named, reason): (&CommandId, &Reason),
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Done, Refusal>, Halt> {
        let id = def.occurrence_id(&key.tenant, now.wall, FiredBy::Trigger(named));
        let operated = Operated { occurrence: Some(id), ..Operated::default() };
        match row.is_known(named, Request::Trigger) {
            Ok(true) if !self.config.quirks.has(Quirk::RecurringTriggerAgain) => {
                cx.mark(Mark::RecurringAskedAgain);
                return Ok(Ok((operated, None)));
            }
            Ok(_) => {}
            Err(refusal) => return Ok(Err(refusal)),
        }
        if def.overlap != Overlap::Allow && self.is_running(&key.tenant, row, cx.view())? {
            let overlap = def.overlap.as_str();
            let detail = format!(
                "an occurrence of schedule `{}` runs, and `overlap` is `{overlap}`: wait for its end",
                key.schedule
            );
            return Ok(Err(Refusal::Conflict { detail }));
        }
        let occurrence = match self.begin(def, key, row, now.wall, FiredBy::Trigger(named)) {
            Ok(occurrence) => occurrence,
            Err(error) => {
                let detail =
                    format!("an occurrence of schedule `{}` cannot be filled in: {error}", key.schedule);
                return Ok(Err(Refusal::Conflict { detail }));
            }
        };
        cx.mark(Mark::RecurringTriggered);
        row.counts.triggered += 1;
        row.note(Asked {
            key: named.clone(),
            at: now.wall,
            reason: reason.as_str().to_owned(),
            what: Request::Trigger,
        });
        Ok(Ok((operated, Some(Box::new(occurrence)))))
    }
}

fn pause(now: Now, reason: &Reason, row: &mut Row) -> Done {
    if row.paused.is_none() {
        row.paused = Some(Paused { since: now.wall, reason: reason.as_str().to_owned() });
    }
    (Operated::default(), None)
}

/// What fell due stays due: the next tick catches up with it as it does after a time away.
fn resume<I, E>(now: Now, def: &ScheduleDef, row: &mut Row, cx: &mut Cx<'_, I, E>) -> Done {
    let (Some(_), Some(next)) = (row.paused.take(), row.next) else { return (Operated::default(), None) };
    let fell_due = def.cadence.count(just_before(next), now.wall, MISSED_MAX);
    if fell_due > 0 {
        cx.mark(Mark::RecurringResumed);
    }
    let (_, missed) = catch_up(def, next, now.wall);
    (Operated { fell_due, missed, ..Operated::default() }, None)
}
