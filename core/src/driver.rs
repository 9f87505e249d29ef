//! The turn: many inputs, one commit, and only then the effects.
//!
//! ```text
//!  inputs ─► begin ─► handle ─► apply ─► follow-ups, likewise ─► check ─► commit ─► Released effects ─► outside
//!        C1         └───────── for each input ─────────┘              C2       C3 C4      C5 between two   C6 lost answer
//! ```
//!
//! `io-nats` and `io-sim` run this same driver, so *persist, then act* is written once and simulated always:
//! adapters accept nothing but [`Released`], and only [`Driver::turn`] makes one.
//!
//! - INV-DRV-1: no effect of a turn is released unless its commit succeeded.
//! - INV-DRV-2: a recovered machine agrees with the durable part of the live one after every commit.
//!
//! On any error the driver is poisoned: the machine in memory may be ahead of the store. There is no undo code;
//! recover another driver. A turn that staged nothing does not commit: its effects rest on what is already durable.

#[cfg(test)]
pub(crate) mod tests;

use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::invariant;
use crate::marks::MarkCounts;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Store, Table, Txn, View, WriteBatch};
use crate::time::{Mono, Now};
use std::collections::VecDeque;
use std::num::NonZeroU64;

const INCARNATION: &[u8] = b"incarnation";

/// Effects whose cause is durable.
#[must_use = "released effects must be performed"]
#[derive(Debug)]
pub struct Released<E> {
    turn: u64,
    effects: Vec<E>,
}

impl<E> Released<E> {
    /// The number of the turn in this incarnation, for traces.
    #[must_use]
    pub const fn turn(&self) -> u64 {
        self.turn
    }

    /// The effects in the order in which they were requested.
    #[must_use]
    pub fn into_effects(self) -> Vec<E> {
        self.effects
    }
}

/// How often invariants are checked against the tables: a check reads every row, so that its price grows with the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checks {
    /// In tests and debug builds.
    EveryTurn,
    /// In simulated worlds: what is broken in a table stays broken, and is found a few turns later at a fraction of the
    /// price.
    EveryTurns(NonZeroU64),
    /// In production, where only the invariants inside the handlers are on: a check may read many rows.
    InHandlersOnly,
}

impl Checks {
    /// Whether a turn is one of those after which they are made.
    #[must_use]
    pub const fn are_due(self, turn: u64) -> bool {
        match self {
            Self::EveryTurn => true,
            Self::EveryTurns(turns) => turn.is_multiple_of(turns.get()),
            Self::InHandlersOnly => false,
        }
    }
}

/// Runs one machine against one store.
#[derive(Clone, Debug)]
pub struct Driver<M> {
    machine: M,
    incarnation: u64,
    turn: u64,
    poisoned: bool,
    checks: Checks,
    quirks: Quirks,
    marks: MarkCounts,
    writes: WriteBatch,
}

impl<M: Machine> Driver<M> {
    /// Opens the next incarnation of a machine from its store. Commits once, which also proves the store writable.
    ///
    /// # Errors
    /// When the store fails, or a table holds what it never should.
    pub fn recover<S: Store>(
        config: M::Config,
        store: &mut S,
        checks: Checks,
        quirks: Quirks,
    ) -> Result<Self, Halt> {
        let mut txn = store.begin()?;
        let incarnation = read_incarnation(&txn)? + 1;
        let mut writes = WriteBatch::default();
        writes.put(Table::Meta, INCARNATION, &incarnation.to_be_bytes());
        txn.apply(&writes)?;
        let machine = M::recover(config, incarnation, &txn)?;
        machine.check(&txn)?;
        txn.commit()?;
        writes.clear();
        let marks = MarkCounts::default();
        Ok(Self { machine, incarnation, turn: 0, poisoned: false, checks, quirks, marks, writes })
    }

    /// The machine, to look at.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// Which life of the machine this is.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// When the machine next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Option<(Mono, M::Timer)> {
        self.machine.deadline()
    }

    /// Marks hit in this incarnation.
    #[must_use]
    pub const fn marks(&self) -> &MarkCounts {
        &self.marks
    }

    /// Handles the inputs, and a tick if the deadline has passed, under one commit; then releases the effects.
    ///
    /// # Errors
    /// Any [`Halt`]. The driver is then poisoned and must be dropped.
    ///
    /// # Panics
    /// When called after an error.
    pub fn turn<S: Store>(
        &mut self,
        store: &mut S,
        now: Now,
        inputs: impl IntoIterator<Item = M::Input>,
    ) -> Result<Released<M::Effect>, Halt> {
        assert!(!self.poisoned, "driver used after a failed turn: recover a new one");
        self.poisoned = true;
        let mut effects = Vec::new();
        let mut dirty = false;
        let mut txn = store.begin()?;
        let mut steps = VecDeque::new();
        for input in inputs {
            steps.push_back(input);
            dirty |= self.step_with_follow_ups(&mut txn, now, &mut steps, &mut effects)?;
        }
        if self.machine.deadline().is_some_and(|(at, _)| at <= now.mono) {
            steps.push_back(Tick.into());
            dirty |= self.step_with_follow_ups(&mut txn, now, &mut steps, &mut effects)?;
        }
        if self.checks.are_due(self.turn) {
            self.machine.check(&txn)?;
        }
        if dirty {
            match txn.commit() {
                Ok(()) => {}
                // Planted: the effects leave although nothing is durable.
                Err(_) if self.quirks.has(Quirk::DriverReleaseBeforeCommit) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        self.poisoned = false;
        self.turn += 1;
        Ok(Released { turn: self.turn, effects })
    }

    fn step_with_follow_ups<T: Txn>(
        &mut self,
        txn: &mut T,
        now: Now,
        steps: &mut VecDeque<M::Input>,
        effects: &mut Vec<M::Effect>,
    ) -> Result<bool, Halt> {
        let mut dirty = false;
        let mut handled = 0;
        while let Some(input) = steps.pop_front() {
            handled += 1;
            let max = M::CASCADE_STEPS_MAX;
            invariant!(handled <= max, Drv3, "more than {max} follow-ups");
            self.writes.clear();
            let mut cx = Cx::new(&*txn, &mut self.writes, &mut self.marks, steps, effects);
            self.machine.handle(now, input, &mut cx)?;
            if !self.writes.is_empty() {
                dirty = true;
                txn.apply(&self.writes)?;
            }
        }
        Ok(dirty)
    }
}

/// How often this store was recovered; zero for a fresh one.
fn read_incarnation(view: &dyn View) -> Result<u64, Halt> {
    let Some(bytes) = view.get(Table::Meta, INCARNATION)? else { return Ok(0) };
    let bytes = bytes
        .try_into()
        .map_err(|_| Halt::Corrupt { table: Table::Meta, detail: "incarnation is not eight bytes".into() })?;
    Ok(u64::from_be_bytes(bytes))
}
