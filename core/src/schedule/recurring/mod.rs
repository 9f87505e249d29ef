//! Recurring schedules: what is due by the calendar fires, once each, for every tenant it is for.
//!
//! ```text
//!                              ┌──── the one before runs: left out (skip)
//! next ── due by the clock ──┬─┴───────────────────────► fired: handed to the parent, in the commit that moves `next`
//!                            │                               ▲
//!                            ├─ queued (queue_one) ──────────┘ the one before has ended
//!                            ├─ missed: older than may be caught up with, or one of too many
//!                            └─ paused: stays due until an operator lets it go on
//! ```
//!
//! A schedule and a tenant have one row. `next` is the first occurrence that has neither fired nor been left
//! out, and only ever moves forward; what an occurrence causes joins the commit that moves it. A crash before
//! that commit fires it again, a crash after it never does. Its id derives from schedule, tenant and time,
//! and names what it causes.
//!
//! The wall clock decides, as for timers. One that is put back delays what comes next and repeats nothing;
//! one that is put forward makes occurrences late, and what is late is caught up with as its manifest says. A
//! schedule whose times are changed begins with the first of the new ones after now, and never before one
//! that has fired; one that is removed loses its row.
//!
//! An operator may pause it ([`Verb`]): then nothing fires by the calendar, and what falls due is caught up
//! with when it goes on. An operator may also have one fire now, paused or not, beside the calendar and under
//! an id of its own: it moves nothing but what runs, and asking again under the same key fires nothing. In
//! the same way the occurrences of a time that has passed may fire once more ([`backfill`]), one after the
//! other.
//!
//! "The one before runs" means: its saga instance has not ended; its command has not been answered; its
//! effect has not been settled.
//!
//! Durable: `schedule`. Derived on recovery: all rows, in the order in which they are due. Lost on purpose:
//! when to look again, and how long ago an occurrence of a time that has passed fired.
//!
//! - INV-CRON-1: an occurrence fires at most once, and those of a schedule and a tenant in the order of their times.
//! - INV-CRON-2: no occurrence fires before its time by the wall clock.
//! - INV-CRON-3: what fell due and may still fire does, unless it is left out for the one before.
//! - INV-CRON-4: memory and table agree on every row.
//! - INV-CRON-5: an occurrence does not fire while the one before runs, unless the schedule allows it.
//! - INV-CRON-6: while a schedule is paused nothing of it fires but what an operator has fire at once.
//! - INV-CRON-7: what an operator asks for besides the calendar fires once, and all of it unless it is given up.
//!
//! Limits: [`FIRED_MAX`] occurrences in one step, for each may start a saga that asks for much; [`ASKED_MAX`]
//! requests of operators are remembered in a row; those of [`backfill`]; rows and tenants are bounded by the
//! manifests, and all of them are in memory.
//!
//! Not here: what an occurrence means to a saga, an aggregate or an effect; when it is due
//! ([`calendar`](crate::calendar)).

pub mod backfill;
mod fire;
pub mod look;
mod operate;
mod row;
#[cfg(test)]
pub(crate) mod tests;

pub use fire::Occurrence;
pub use operate::{Commanded, Operated, Operation, Verb};
pub use row::{ASKED_MAX, Asked, Backfill, Counts, Fired, Paused, Request, Row, RowKey, Running};

use super::Limits;
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::ScheduleDef;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall};
use crate::wire::id::{CommandId, Name, TenantId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

/// Most occurrences that fire by the calendar in one step, and as many that have waited.
pub const FIRED_MAX: usize = 3;

/// What recurring schedules need besides their table.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The definitions.
    pub definitions: BTreeMap<Name, Arc<ScheduleDef>>,
    /// Bounds: those of timers.
    pub limits: Limits,
    /// Budget for filling in one occurrence.
    pub gas_max: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// A row, and its place in the order.
#[derive(Clone, PartialEq, Debug)]
struct Standing {
    row: Row,
    /// When its next occurrence is due, jitter included; `None` when nothing is.
    wake: Option<Wall>,
}

/// The recurring schedules of one partition. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Recurring {
    config: Config,
    /// Derived: all rows.
    rows: BTreeMap<RowKey, Standing>,
    /// Derived: what is due, in order.
    due: BTreeSet<(Wall, RowKey)>,
    /// Derived: rows with something that waits for the end of the one before.
    waiting: BTreeSet<RowKey>,
    /// Derived: rows by the command or effect that runs.
    working: BTreeMap<(TenantId, CommandId), RowKey>,
    /// Derived: rows that do not agree with their definitions yet.
    unlike: BTreeSet<RowKey>,
    /// The last row that was looked at because it waits; the next look goes on behind it.
    looked: Option<RowKey>,
    /// Derived: rows with a time that is filled in.
    filling: BTreeSet<RowKey>,
    /// The last row whose turn it was there; the next one goes on behind it.
    filled: Option<RowKey>,
    /// No occurrence is filled in before.
    fill_at: Mono,
    /// When to look again; `None` when there is nothing to wait for.
    look_at: Option<Mono>,
}

impl Recurring {
    /// Reads every row, and notes which ones the definitions make, change or remove.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn recover(config: Config, view: &dyn View) -> Result<Self, Halt> {
        let mut rows = BTreeMap::new();
        let mut broken = None;
        view.scan(Table::Recurring, b"", &mut |key, row| match RowKey::parse(key).zip(Row::decode(row)) {
            Some((key, row)) => {
                rows.insert(key, row);
                ControlFlow::Continue(())
            }
            None => {
                let detail = format!("{} is no row of a schedule", String::from_utf8_lossy(key));
                broken = Some(Halt::Corrupt { table: Table::Recurring, detail });
                ControlFlow::Break(())
            }
        })?;
        if let Some(halt) = broken {
            return Err(halt);
        }
        let wanted: BTreeMap<RowKey, &str> = config
            .definitions
            .values()
            .flat_map(|def| {
                def.tenants.iter().map(|tenant| (RowKey::new(&def.name, tenant), def.hash.as_str()))
            })
            .collect();
        let differs =
            |key: &&RowKey| rows.get(*key).map(|row| row.times.as_str()) != wanted.get(*key).copied();
        let unlike: BTreeSet<RowKey> = rows.keys().chain(wanted.keys()).filter(differs).cloned().collect();
        let look_at = (!rows.is_empty() || !unlike.is_empty()).then_some(Mono::ZERO);
        let mut own = Self {
            config,
            rows: BTreeMap::new(),
            due: BTreeSet::new(),
            waiting: BTreeSet::new(),
            working: BTreeMap::new(),
            unlike,
            looked: None,
            filling: BTreeSet::new(),
            filled: None,
            fill_at: Mono::ZERO,
            look_at,
        };
        for (key, row) in rows {
            own.place(key, row);
        }
        Ok(own)
    }

    /// Time has passed: what is due fires, and is the caller's to send on its way in this very step.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn tick<I, E>(&mut self, now: Now, cx: &mut Cx<'_, I, E>) -> Result<Vec<Occurrence>, Halt> {
        if self.look_at.is_none_or(|at| at > now.mono) {
            return Ok(Vec::new());
        }
        let max = self.config.limits.fired_max;
        let unlike: Vec<RowKey> = self.unlike.iter().take(max).cloned().collect();
        for key in unlike {
            self.reconcile(now, key, cx);
        }
        let max = max.min(FIRED_MAX);
        let early = self.config.quirks.has(Quirk::RecurringTrustSleep);
        let is_due = |(at, _): &&(Wall, RowKey)| *at <= now.wall || early;
        let due = self.due.iter().take_while(is_due).map(|(_, key)| key);
        let due: Vec<RowKey> = due.filter(|key| !self.unlike.contains(*key)).take(max).cloned().collect();
        let mut fired = Vec::new();
        for key in &due {
            fired.extend(self.on_due(now, key, cx)?);
        }
        // One occurrence of a row in a step: what a step causes, it does not see.
        let waiting = self.next_waiting(max);
        for key in &waiting {
            if !due.contains(key) && !self.unlike.contains(key) {
                fired.extend(self.on_waiting(now, key, cx)?);
            }
        }
        let busy: Vec<RowKey> = due.into_iter().chain(waiting).collect();
        fired.extend(self.fill_in(now, &busy, cx)?);
        self.look_at = self.next_look(now);
        Ok(fired)
    }

    /// An instance of a saga came to its end: what waits may go on.
    pub fn nudge(&mut self, now: Now) {
        if !self.waiting.is_empty() {
            self.look_at = Some(now.mono);
        }
    }

    /// A command of an occurrence was answered, or its effect settled; `error` when it was refused. Whether it was one.
    pub fn ended<I, E>(
        &mut self,
        now: Now,
        tenant: &TenantId,
        id: &CommandId,
        error: Option<&str>,
        cx: &mut Cx<'_, I, E>,
    ) -> bool {
        let Some(key) = self.working.get(&(tenant.clone(), id.clone())).cloned() else { return false };
        let Some(Standing { row, .. }) = self.rows.get(&key) else { return false };
        let mut row = row.clone();
        row.running = None;
        if let Some(error) = error {
            row.fail(error);
        }
        self.write(key, row, cx);
        self.nudge(now);
        true
    }

    /// Makes a row agree with its definition.
    fn reconcile<I, E>(&mut self, now: Now, key: RowKey, cx: &mut Cx<'_, I, E>) {
        self.unlike.remove(&key);
        let def = self.config.definitions.get(&key.schedule).filter(|def| def.tenants.contains(&key.tenant));
        let Some(def) = def else {
            cx.delete(Table::Recurring, &key.encode());
            self.forget(&key);
            return;
        };
        let row = match self.rows.get(&key) {
            None => Row::new(&def.hash, def.cadence.after(now.wall)),
            Some(Standing { row, .. }) => {
                let fired = row.fired.as_ref().map_or(now.wall, |fired| fired.due.max(now.wall));
                let (next, queued) = (def.cadence.after(fired), None);
                let mut row = Row { times: def.hash.clone(), next, queued, ..row.clone() };
                if row.backfill.take().is_some() {
                    row.error =
                        Some("a backfill ended because the times of the schedule were changed".into());
                }
                row
            }
        };
        self.write(key, row, cx);
    }

    /// Stages a row, and gives it its place.
    fn write<I, E>(&mut self, key: RowKey, row: Row, cx: &mut Cx<'_, I, E>) {
        cx.put(Table::Recurring, &key.encode(), &row.encode());
        self.place(key, row);
    }

    fn place(&mut self, key: RowKey, row: Row) {
        self.forget(&key);
        let def = self.config.definitions.get(&key.schedule);
        let held = row.paused.is_some() && !self.config.quirks.has(Quirk::RecurringPauseLeaks);
        let wake = def.zip(row.next).filter(|_| !held).map(|(def, next)| fire::wake(def, &key.tenant, next));
        if let Some(wake) = wake {
            self.due.insert((wake, key.clone()));
        }
        if row.queued.is_some() && !held {
            self.waiting.insert(key.clone());
        }
        if row.backfill.is_some() && !held {
            self.filling.insert(key.clone());
        }
        if let Some(Running::Work { id }) = &row.running {
            self.working.insert((key.tenant.clone(), id.clone()), key.clone());
        }
        self.rows.insert(key, Standing { row, wake });
    }

    fn forget(&mut self, key: &RowKey) {
        self.waiting.remove(key);
        self.filling.remove(key);
        let Some(Standing { row, wake }) = self.rows.remove(key) else { return };
        if let Some(wake) = wake {
            self.due.remove(&(wake, key.clone()));
        }
        if let Some(Running::Work { id }) = row.running {
            self.working.remove(&(key.tenant.clone(), id));
        }
    }

    /// Those to look at because they wait, in turn.
    fn next_waiting(&mut self, max: usize) -> Vec<RowKey> {
        let behind = self.looked.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.waiting.range((behind, Bound::Unbounded));
        let earlier = self.looked.iter().flat_map(|looked| self.waiting.range(..=looked));
        let turn: Vec<RowKey> = later.chain(earlier).take(max).cloned().collect();
        self.looked = turn.last().cloned();
        turn
    }

    fn next_look(&self, now: Now) -> Option<Mono> {
        if !self.unlike.is_empty() {
            return Some(now.mono);
        }
        let due = self.due.first().map(|(at, _)| at.as_ms().saturating_sub(now.wall.as_ms()));
        let waits = (!self.waiting.is_empty()).then_some(self.config.limits.look_ms_max);
        let by_clock = due.into_iter().chain(waits).min();
        let by_clock = by_clock.map(|ms| now.mono.plus_ms(ms.min(self.config.limits.look_ms_max)));
        let fills = (!self.filling.is_empty()).then_some(self.fill_at);
        by_clock.into_iter().chain(fills).min()
    }

    /// When it next wants a tick.
    #[must_use]
    pub const fn deadline(&self) -> Option<Mono> {
        self.look_at
    }

    /// Every row, in the order of keys.
    pub fn rows(&self) -> impl Iterator<Item = (&RowKey, &Row)> {
        self.rows.iter().map(|(key, standing)| (key, &standing.row))
    }

    /// What recovered schedules must agree with.
    #[must_use]
    pub fn durable(&self) -> BTreeMap<RowKey, Row> {
        self.rows().map(|(key, row)| (key.clone(), row.clone())).collect()
    }

    /// Their invariants.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let mut stored = BTreeMap::new();
        view.scan(Table::Recurring, b"", &mut |key, row| {
            stored.extend(RowKey::parse(key).zip(Row::decode(row)));
            ControlFlow::Continue(())
        })?;
        let agree = self.rows().eq(stored.iter());
        invariant!(agree, Cron4, "{} rows in memory, {} in the table", self.rows.len(), stored.len());
        let placed = self.rows.values().filter(|standing| standing.wake.is_some()).count();
        invariant!(placed == self.due.len(), Cron4, "{placed} rows are due, {} in order", self.due.len());
        for (key, row) in self.rows() {
            let last = row.fired.as_ref().map(|fired| fired.due).max(row.queued);
            let passed = row.next.zip(last).is_none_or(|(next, last)| next > last);
            invariant!(passed, Cron1, "{key:?}: {last:?} has fired, {:?} is next", row.next);
        }
        Ok(())
    }
}
