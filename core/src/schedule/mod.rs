//! Durable timers: what must happen at a time happens then, once, whatever happens in between.
//!
//! ```text
//! set ─► pending ── due by the wall clock ─► fired: handed to the parent, in the commit that removes it
//!           └───── cancelled ─► removed
//! ```
//!
//! A timer is two rows: one in the order in which timers fall due, one by its id. Nothing scans more than what is due.
//! What fires is handed to whoever owns this machine, which sends it on its way in the same commit: a crash before that
//! commit fires it again, a crash after it never does.
//!
//! The wall clock decides, because that is the time people mean, and it may be set. So the machine never sleeps longer
//! than `look_ms_max` while a timer is pending: a clock that is put forward is noticed by then, and one that is put back
//! only delays what has not fired.
//!
//! Durable: `timer_due`, `timer`. Derived on recovery: how many are pending. Lost on purpose: when to look again.
//!
//! - INV-SCH-1: the two tables name the same timers.
//! - INV-SCH-2: a timer fires and is removed in one commit.
//! - INV-SCH-3: no timer fires before its time by the wall clock.
//! - INV-SCH-4: at most `fired_max` fire in one step; the rest follow at once.
//!
//! Not here: what a timer means, [recurring] schedules, who may set how many.

pub mod recurring;
#[cfg(test)]
pub(crate) mod tests;

use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::marks::Mark;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall};
use crate::wire::context::Context;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::keys;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Bounds of the timers of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Timers that fire in one step.
    pub fired_max: usize,
    /// The wall clock is looked at this often while a timer is pending, in milliseconds.
    pub look_ms_max: u64,
}

/// What timers need besides their tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bounds.
    pub limits: Limits,
    /// Planted faults.
    pub quirks: Quirks,
}

/// A timer of a saga instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// Names it for good: derived from what set it.
    pub id: CommandId,
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// Its name in the manifest.
    pub name: Name,
    /// When it falls due.
    pub due: Wall,
    /// What it belongs to.
    pub context: Context,
}

/// What a schedule waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// A timer that falls due, or the next look at the clock.
    Due,
}

/// The timers of one partition. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Schedule {
    config: Config,
    /// Derived: rows in the table.
    pending: u64,
    /// When to look at the table; `None` when there is nothing to wait for.
    look_at: Option<Mono>,
}

impl Schedule {
    /// Counts what is pending.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn recover(config: Config, view: &dyn View) -> Result<Self, Halt> {
        let mut pending = 0;
        // Counted once per life, as the outbox is.
        view.scan(Table::Timer, b"", &mut |_, _| {
            pending += 1;
            ControlFlow::Continue(())
        })?;
        Ok(Self { config, pending, look_at: (pending > 0).then_some(Mono::ZERO) })
    }

    /// A timer is to fire at its time. Setting it again changes nothing: its id says what set it.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn set<I, E>(&mut self, now: Now, timer: &Timer, cx: &mut Cx<'_, I, E>) -> Result<(), Halt> {
        let by_id = keys::timer(&timer.tenant, &timer.id);
        if cx.view().get(Table::Timer, &by_id)?.is_some() {
            return Ok(());
        }
        let row = serde_json::to_vec(timer).expect("a timer serialises");
        cx.put(Table::TimerDue, &keys::timer_due(timer.due, &timer.tenant, &timer.id), &row);
        cx.put(Table::Timer, &by_id, &keys::position(timer.due.as_ms()));
        self.pending += 1;
        let at = self.look_for(now, timer.due);
        self.look_at = Some(self.look_at.map_or(at, |known| known.min(at)));
        Ok(())
    }

    /// A timer is not to fire any more. One that has fired, or never was, stays as it is.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn cancel<I, E>(
        &mut self,
        tenant: &TenantId,
        id: &CommandId,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<(), Halt> {
        let by_id = keys::timer(tenant, id);
        let Some(row) = cx.view().get(Table::Timer, &by_id)? else { return Ok(()) };
        let due = read_due(row)?;
        cx.delete(Table::Timer, &by_id);
        if !self.config.quirks.has(Quirk::ScheduleHalfCancelled) {
            cx.delete(Table::TimerDue, &keys::timer_due(due, tenant, id));
        }
        self.pending -= 1;
        Ok(())
    }

    /// Time has passed: what is due fires, and is the caller's to send on its way in this very step.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn tick<I, E>(&mut self, now: Now, cx: &mut Cx<'_, I, E>) -> Result<Vec<Timer>, Halt> {
        let early = self.config.quirks.has(Quirk::ScheduleTrustSleep);
        if self.look_at.is_none_or(|at| at > now.mono) {
            return Ok(Vec::new());
        }
        let mut due = Vec::new();
        let mut next = None;
        let mut broken = None;
        cx.view().scan(Table::TimerDue, b"", &mut |_, row| match serde_json::from_slice::<Timer>(row) {
            Ok(timer) if (timer.due <= now.wall || early) && due.len() < self.config.limits.fired_max => {
                due.push(timer);
                ControlFlow::Continue(())
            }
            Ok(timer) => {
                next = Some(timer.due);
                ControlFlow::Break(())
            }
            Err(error) => {
                broken = Some(Halt::Corrupt { table: Table::TimerDue, detail: error.to_string() });
                ControlFlow::Break(())
            }
        })?;
        if let Some(halt) = broken {
            return Err(halt);
        }
        if !self.config.quirks.has(Quirk::ScheduleFireAndKeep) {
            for Timer { id, tenant, due, .. } in &due {
                cx.delete(Table::TimerDue, &keys::timer_due(*due, tenant, id));
                cx.delete(Table::Timer, &keys::timer(tenant, id));
            }
            self.pending -= due.len() as u64;
        }
        if due.len() == self.config.limits.fired_max {
            cx.mark(Mark::ScheduleCrowded);
        }
        self.look_at = next.map(|next| self.look_for(now, next));
        Ok(due)
    }

    /// When to look for what falls due then.
    fn look_for(&self, now: Now, due: Wall) -> Mono {
        let ms = due.as_ms().saturating_sub(now.wall.as_ms());
        now.mono.plus_ms(ms.min(self.config.limits.look_ms_max))
    }

    /// When it next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Option<(Mono, Waiting)> {
        self.look_at.map(|at| (at, Waiting::Due))
    }

    /// Timers that have not fired.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.pending
    }

    /// What a recovered schedule must agree with.
    #[must_use]
    pub const fn durable(&self) -> u64 {
        self.pending
    }

    /// Its invariants.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let mut by_id = BTreeMap::new();
        view.scan(Table::Timer, b"", &mut |key, row| {
            by_id.insert(key.to_vec(), row.to_vec());
            ControlFlow::Continue(())
        })?;
        let mut in_order = BTreeMap::new();
        view.scan(Table::TimerDue, b"", &mut |_, row| {
            if let Ok(Timer { id, tenant, due, .. }) = serde_json::from_slice(row) {
                in_order.insert(keys::timer(&tenant, &id), keys::position(due.as_ms()).to_vec());
            }
            ControlFlow::Continue(())
        })?;
        let rows = by_id.len() as u64;
        invariant!(by_id == in_order, Sch1, "{rows} by id, {} in order", in_order.len());
        invariant!(rows == self.pending, Sch1, "{rows} rows, {} counted", self.pending);
        Ok(())
    }
}

fn read_due(row: &[u8]) -> Result<Wall, Halt> {
    let corrupt = || Halt::Corrupt { table: Table::Timer, detail: "not a time".to_owned() };
    keys::parse_position(row).map(Wall::from_ms).ok_or_else(corrupt)
}
