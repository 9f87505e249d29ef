//! Replay: an operator has events that were passed come again, for one saga.
//!
//! ```text
//! event ─► its instance is running ─┬─ has applied it ───────────────► known
//!      │                            └─ has not ──────────────────────► it reacts now
//!      ├─ has ended ─────────────────────────────────────────────────► ended
//!      └─ is not there ─┬─ the event begins none ────────────────────► nobody
//!                       ├─ it is old: one may be forgotten ──────────► forgotten, unless it may repeat
//!                       └─ else ─────────────────────────────────────► it begins now
//! ```
//!
//! What ended is removed after a while, and then nothing says that it was there: an event that is older than half of that
//! time begins nothing by itself.
//!
//! - INV-SAGA-10: a replayed event begins no instance that may have been there, unless an operator says so.
//!
//! Not here: which events those are, and that the stream's own consumer has passed them.

use super::instance::Instance;
use super::transition::{Happened, Sagas};
use crate::halt::Halt;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::wire::keys;
use serde::Serialize;

/// What a replayed event is to an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// An instance begins with it.
    Begins,
    /// An instance reacts to it.
    Reacts,
    /// An instance has applied it.
    Known,
    /// Its instance has ended.
    Ended,
    /// Its instance is quarantined.
    HeldBack,
    /// An instance may have begun with it and been forgotten.
    Forgotten,
    /// No instance waits for it.
    Nobody,
}

/// What became of the events of a replay, or would.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Replayed {
    /// Instances that begin.
    pub begun: u64,
    /// Instances that react.
    pub reacted: u64,
    /// Applied before.
    pub known: u64,
    /// Their instances have ended.
    pub ended: u64,
    /// Their instances are quarantined.
    pub held_back: u64,
    /// Old enough that their instances may be forgotten.
    pub forgotten: u64,
    /// No instance waits for them.
    pub nobody: u64,
}

impl Replayed {
    /// Counts an event.
    pub const fn count(&mut self, fate: Fate) {
        match fate {
            Fate::Begins => self.begun += 1,
            Fate::Reacts => self.reacted += 1,
            Fate::Known => self.known += 1,
            Fate::Ended => self.ended += 1,
            Fate::HeldBack => self.held_back += 1,
            Fate::Forgotten => self.forgotten += 1,
            Fate::Nobody => self.nobody += 1,
        }
    }

    /// Adds another's.
    pub const fn add(&mut self, other: Self) {
        let Self { begun, reacted, known, ended, held_back, forgotten, nobody } = other;
        self.begun += begun;
        self.reacted += reacted;
        self.known += known;
        self.ended += ended;
        self.held_back += held_back;
        self.forgotten += forgotten;
        self.nobody += nobody;
    }
}

impl Sagas {
    /// What an event is to its instance; `may_be_forgotten`: whether it is so old that one may have been removed.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn fate(&self, happened: &Happened, may_be_forgotten: bool, view: &dyn View) -> Result<Fate, Halt> {
        let Happened { tenant, saga, correlation, cause, starts, .. } = happened;
        let row = view.get(Table::Saga, &keys::saga(tenant, saga, correlation))?;
        let Some(instance) = row.map(Instance::decode).transpose()? else {
            let may_be_forgotten = may_be_forgotten && !self.config.quirks.has(Quirk::SagaReplayForgets);
            return Ok(match (starts, may_be_forgotten) {
                (false, _) => Fate::Nobody,
                (true, true) => Fate::Forgotten,
                (true, false) => Fate::Begins,
            });
        };
        if instance.status.is_final() {
            return Ok(Fate::Ended);
        }
        let known = view.get(Table::SagaCause, &keys::saga_cause(tenant, saga, correlation, cause))?;
        Ok(if known.is_some() { Fate::Known } else { Fate::Reacts })
    }
}
