//! Filling in a time that has passed: its occurrences fire once more, oldest first.
//!
//! ```text
//! asked for ─► cursor in the row ─► one fires, the cursor moves in the same commit ─► … ─► the last one: no cursor
//!                                   ▲                                    │
//!                                   └── the one before has ended ◄───────┘
//! ```
//!
//! Beside the calendar: `next` and what has fired by the calendar stay as they are, and no id is that of an
//! occurrence of the calendar, so what fired at its time fires again. While its schedule is paused it waits;
//! so it does while one runs or waits in the queue, unless the schedule allows that. It does not catch up,
//! skip or jitter: all of it fires.
//!
//! Limits: [`BACKFILL_MAX`] occurrences of one request, and one request of a row at a time; one occurrence of
//! a partition every [`BACKFILL_PAUSE_MS`], for each may start a saga that asks for much.

use super::fire::just_before;
use super::row::{Asked, Backfill, Request, Row, RowKey};
use super::{Occurrence, Operated, Recurring};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::{FiredBy, Overlap, ScheduleDef};
use crate::marks::Mark;
use crate::operator::{Reason, Refusal};
use crate::quirks::Quirk;
use crate::time::{Now, Wall};
use crate::wire::id::CommandId;
use std::ops::Bound;

/// Most occurrences of one request.
pub const BACKFILL_MAX: u64 = 1_000;
/// Between two occurrences that are filled in, in one partition, in milliseconds.
pub const BACKFILL_PAUSE_MS: u64 = 100;

/// What is left of it, by the times of a schedule.
pub(super) fn left(def: &ScheduleDef, row: &Row) -> u64 {
    let Some(Backfill { next, to, .. }) = &row.backfill else { return 0 };
    def.cadence.count(just_before(*next), *to, BACKFILL_MAX)
}

fn refused(field: &'static str, detail: String) -> Result<Operated, Refusal> {
    Err(Refusal::Invalid { field, detail })
}

/// Puts the cursor of a request into a row that has none.
pub(super) fn begin<I, E>(
    now: Now,
    def: &ScheduleDef,
    row: &mut Row,
    (key, from, to, reason): (&CommandId, Wall, Wall, &Reason),
    cx: &mut Cx<'_, I, E>,
) -> Result<Operated, Refusal> {
    let what = Request::Backfill { from, to };
    let is_under_way =
        row.backfill.as_ref().is_some_and(|own| own.key == *key && own.from == from && own.to == to);
    if is_under_way || row.is_known(key, what)? {
        cx.mark(Mark::RecurringAskedAgain);
        return Ok(Operated { left: left(def, row), ..Operated::default() });
    }
    if let Some(Backfill { key, from, to, .. }) = &row.backfill {
        let (from, to, left) = (from.rfc3339(), to.rfc3339(), left(def, row));
        let detail = format!(
            "a backfill from {from} to {to} is under way as `{key}`, with {left} to go: wait for its end, or stop it"
        );
        return Err(Refusal::Conflict { detail });
    }
    if from > to {
        return refused("from", format!("{} is after `to`", from.rfc3339()));
    }
    if to > now.wall {
        let clock = now.wall.rfc3339();
        return refused(
            "to",
            format!("{} has not come yet: the clock of the node says {clock}", to.rfc3339()),
        );
    }
    let count = def.cadence.count(just_before(from), to, BACKFILL_MAX + 1);
    let next = def.cadence.after(just_before(from)).filter(|next| *next <= to);
    let Some(next) = next else {
        return refused("from", format!("nothing is due from {} to {}", from.rfc3339(), to.rfc3339()));
    };
    if count > BACKFILL_MAX {
        return refused("to", format!("more than {BACKFILL_MAX} occurrences: ask for a shorter time"));
    }
    row.backfill = Some(Backfill { key: key.clone(), from, next, to });
    row.note(Asked { key: key.clone(), at: now.wall, reason: reason.as_str().to_owned(), what });
    Ok(Operated { left: count, ..Operated::default() })
}

/// Gives up what is left of it.
pub(super) fn stop(def: &ScheduleDef, row: &mut Row) -> Operated {
    let dropped = left(def, row);
    row.counts.dropped += dropped;
    row.backfill = None;
    Operated { dropped, ..Operated::default() }
}

impl Recurring {
    /// Fires the next one of some row, in turn; of none that is `busy` in this very step.
    pub(super) fn fill_in<I, E>(
        &mut self,
        now: Now,
        busy: &[RowKey],
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Option<Occurrence>, Halt> {
        if self.fill_at > now.mono || self.filling.is_empty() {
            return Ok(None);
        }
        self.fill_at = now.mono.plus_ms(BACKFILL_PAUSE_MS);
        let behind = self.filled.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.filling.range((behind, Bound::Unbounded));
        let earlier = self.filled.iter().flat_map(|filled| self.filling.range(..=filled));
        let turn: Vec<RowKey> = later.chain(earlier).take(self.config.limits.fired_max).cloned().collect();
        for key in turn {
            self.filled = Some(key.clone());
            if busy.contains(&key) || self.unlike.contains(&key) {
                continue;
            }
            if let Some(occurrence) = self.fill_in_row(now, &key, cx)? {
                return Ok(Some(occurrence));
            }
        }
        Ok(None)
    }

    fn fill_in_row<I, E>(
        &mut self,
        now: Now,
        key: &RowKey,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Option<Occurrence>, Halt> {
        let Some((def, mut row)) = self.look_up(key) else { return Ok(None) };
        // A clock that was put back has not reached it again.
        let Some(own) = row.backfill.clone().filter(|own| own.next <= now.wall) else { return Ok(None) };
        let waits = row.queued.is_some() || self.is_running(&key.tenant, &row, cx.view())?;
        if def.overlap != Overlap::Allow && waits {
            cx.mark(Mark::RecurringBackfillWaited);
            return Ok(None);
        }
        if !self.config.quirks.has(Quirk::RecurringBackfillStays) {
            let next = def.cadence.after(own.next).filter(|next| *next <= own.to);
            row.backfill = next.map(|next| Backfill { next, ..own.clone() });
        }
        let occurrence = match self.begin(&def, key, &mut row, own.next, FiredBy::Backfill(&own.key)) {
            Ok(occurrence) => {
                cx.mark(Mark::RecurringBackfilled);
                row.counts.backfilled += 1;
                Some(occurrence)
            }
            Err(error) => {
                row.fail(&error.to_string());
                None
            }
        };
        self.write(key.clone(), row, cx);
        Ok(occurrence)
    }
}
