//! One occurrence: whether it fires, waits, is left out or was missed, and what it causes.

use super::row::{Fired, Row, RowKey, Running};
use super::{Recurring, Standing};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::{FilledTarget, FiredBy, Overlap, ScheduleDef};
use crate::marks::Mark;
use crate::program::{Gas, ProgramError};
use crate::quirks::Quirk;
use crate::saga::Instance;
use crate::store::{Table, View};
use crate::time::{Now, Wall};
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys;
use serde_json::Value;
use std::sync::Arc;

/// Missed occurrences counted at once; more are counted as so many.
pub(super) const MISSED_MAX: u64 = 1_000;

/// An occurrence that fires.
#[derive(Clone, PartialEq, Debug)]
pub struct Occurrence {
    /// Names it for good.
    pub id: CommandId,
    /// Its schedule.
    pub schedule: Name,
    /// Whose.
    pub tenant: TenantId,
    /// What templates see of it.
    pub seen: Value,
    /// What it does.
    pub target: FilledTarget,
}

/// When an occurrence is due with its jitter: the same moment on every machine, and before the next one.
pub(super) fn wake(def: &ScheduleDef, tenant: &TenantId, due: Wall) -> Wall {
    if def.jitter_ms == 0 {
        return due;
    }
    let gap = def.cadence.after(due).map_or(u64::MAX, |next| next.as_ms() - due.as_ms());
    let id = def.occurrence_id(tenant, due, FiredBy::Calendar);
    let drawn =
        id.as_str().bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    Wall::from_ms(due.as_ms().saturating_add(drawn % (def.jitter_ms.min(gap - 1) + 1)))
}

pub(super) const fn just_before(at: Wall) -> Wall {
    Wall::from_ms(at.as_ms().saturating_sub(1))
}

/// The first occurrence from `next` on that is not missed, and how many before it are.
pub(super) fn catch_up(def: &ScheduleDef, next: Wall, now: Wall) -> (Option<Wall>, u64) {
    let (cadence, most) = (&def.cadence, def.catch_up.occurrences_max);
    let oldest = Wall::from_ms(now.as_ms().saturating_sub(def.catch_up.window_ms + def.jitter_ms));
    let mut first = if next >= oldest { Some(next) } else { cadence.after(just_before(oldest)) };
    if let Some(from) = first
        && cadence.count(just_before(from), now, most + 1) > most
    {
        // The earliest moment after which there are no more than may be.
        let (mut low, mut high) = (from.as_ms(), now.as_ms());
        while low < high {
            let middle = low + (high - low) / 2;
            if cadence.count(Wall::from_ms(middle), now, most + 1) <= most {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        first = cadence.after(Wall::from_ms(low));
    }
    let missed = if first == Some(next) {
        0
    } else {
        cadence.count(just_before(next), first.map_or(now, just_before), MISSED_MAX)
    };
    (first, missed)
}

impl Recurring {
    /// The next occurrence of a row is due.
    pub(super) fn on_due<I, E>(
        &mut self,
        now: Now,
        key: &RowKey,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Option<Occurrence>, Halt> {
        let Some((def, mut row)) = self.look_up(key) else { return Ok(None) };
        let Some(next) = row.next else { return Ok(None) };
        let (mut first, mut missed) = catch_up(&def, next, now.wall);
        if self.config.quirks.has(Quirk::RecurringForgetMissed) && def.cadence.count(next, now.wall, 1) > 0 {
            (first, missed) = (def.cadence.after(now.wall), 0);
        }
        if missed > 0 {
            cx.mark(Mark::RecurringMissed);
        }
        row.counts.missed += missed;
        let due =
            first.filter(|first| *first <= now.wall || self.config.quirks.has(Quirk::RecurringTrustSleep));
        let Some(due) = due else {
            row.next = first;
            self.write(key.clone(), row, cx);
            return Ok(None);
        };
        if !self.config.quirks.has(Quirk::RecurringFireAndStay) {
            row.next = def.cadence.after(due);
        }
        let runs = def.overlap != Overlap::Allow && self.is_running(&key.tenant, &row, cx.view())?;
        let fires = match (def.overlap, row.queued) {
            // What has waited goes first.
            (_, Some(queued)) if !runs => {
                row.queued = Some(due);
                Some(queued)
            }
            (_, None) if !runs => Some(due),
            (Overlap::QueueOne, None) => {
                cx.mark(Mark::RecurringQueued);
                row.queued = Some(due);
                None
            }
            (Overlap::Skip | Overlap::Allow, _) | (Overlap::QueueOne, Some(_)) => {
                cx.mark(Mark::RecurringSkipped);
                row.counts.skipped += 1;
                None
            }
        };
        let occurrence = fires.and_then(|due| self.fire(now, &def, key, &mut row, due));
        self.write(key.clone(), row, cx);
        Ok(occurrence)
    }

    /// What waits in a row may go on, if the one before has ended.
    pub(super) fn on_waiting<I, E>(
        &mut self,
        now: Now,
        key: &RowKey,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Option<Occurrence>, Halt> {
        let Some((def, mut row)) = self.look_up(key) else { return Ok(None) };
        if self.is_running(&key.tenant, &row, cx.view())? {
            return Ok(None);
        }
        // A clock that was put back has not reached it again.
        let Some(due) = row.queued.take_if(|due| *due <= now.wall) else { return Ok(None) };
        let occurrence = self.fire(now, &def, key, &mut row, due);
        self.write(key.clone(), row, cx);
        Ok(occurrence)
    }

    pub(super) fn look_up(&self, key: &RowKey) -> Option<(Arc<ScheduleDef>, Row)> {
        let Standing { row, .. } = self.rows.get(key)?;
        Some((self.config.definitions.get(&key.schedule)?.clone(), row.clone()))
    }

    /// Whether what the last occurrence started has not ended.
    pub(super) fn is_running(&self, tenant: &TenantId, row: &Row, view: &dyn View) -> Result<bool, Halt> {
        if self.config.quirks.has(Quirk::RecurringIgnoreOverlap) {
            return Ok(false);
        }
        match &row.running {
            None => Ok(false),
            Some(Running::Work { .. }) => Ok(true),
            Some(Running::Instance { saga, correlation }) => {
                let row = view.get(Table::Saga, &keys::saga(tenant, saga, correlation))?;
                Ok(row.map(Instance::decode).transpose()?.is_some_and(|instance| !instance.status.is_final()))
            }
        }
    }

    /// Fires by the calendar.
    fn fire(
        &self,
        now: Now,
        def: &ScheduleDef,
        key: &RowKey,
        row: &mut Row,
        due: Wall,
    ) -> Option<Occurrence> {
        row.fired = Some(Fired { due, at: now.wall });
        match self.begin(def, key, row, due, FiredBy::Calendar) {
            Ok(occurrence) => {
                row.counts.fired += 1;
                Some(occurrence)
            }
            Err(error) => {
                row.fail(&error.to_string());
                None
            }
        }
    }

    /// An occurrence begins, and runs from now on.
    pub(super) fn begin(
        &self,
        def: &ScheduleDef,
        key: &RowKey,
        row: &mut Row,
        due: Wall,
        by: FiredBy<'_>,
    ) -> Result<Occurrence, ProgramError> {
        let RowKey { schedule, tenant } = key.clone();
        let (id, seen) = (def.occurrence_id(&tenant, due, by), def.occurrence(&tenant, due, by));
        let target = def.fill(&seen, &mut Gas::new(self.config.gas_max))?;
        row.running = Some(match &target {
            FilledTarget::Saga { saga, correlation, .. } => {
                Running::Instance { saga: saga.clone(), correlation: correlation.clone() }
            }
            FilledTarget::Command { .. } | FilledTarget::Effect { .. } => Running::Work { id: id.clone() },
        });
        Ok(Occurrence { id, schedule, tenant, seen, target })
    }
}
