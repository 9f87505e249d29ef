//! Replay: an operator has events that were passed come again, for one saga.
//!
//! ```text
//! event ─► its instance is running ─┬─ has applied it ───────────────► known
//!      │                            └─ has not ──────────────────────► it reacts now
//!      ├─ has ended ─────────────────────────────────────────────────► ended
//!      └─ is not there ─┬─ the event begins none ────────────────────► nobody
//!                       ├─ one may have been there and removed ──────► forgotten, unless it may repeat
//!                       └─ else ─────────────────────────────────────► it begins now
//! ```
//!
//! What ended is removed after a while, and then nothing says that it was there. But whatever it may have begun with had
//! been passed by then: up to where the saga's consumer was when an instance of that tenant was removed last, an event
//! begins nothing by itself. A saga that is new has no such place.
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
    /// Its instance is quarantined, or what its consumer reads from that subject.
    HeldBack,
    /// An instance may have begun with it and been forgotten.
    Forgotten,
    /// No instance waits for it.
    Nobody,
    /// It cannot be read, or nothing says whose it is.
    Unreadable,
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
    /// Their instances are quarantined, or what their consumer reads from those subjects.
    pub held_back: u64,
    /// Their instances may have been there and removed.
    pub forgotten: u64,
    /// No instance waits for them.
    pub nobody: u64,
    /// Messages that cannot be read, or whose events' instances cannot be told.
    pub unreadable: u64,
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
            Fate::Unreadable => self.unreadable += 1,
        }
    }

    /// Adds another's.
    pub const fn add(&mut self, other: Self) {
        let Self { begun, reacted, known, ended, held_back, forgotten, nobody, unreadable } = other;
        self.begun += begun;
        self.reacted += reacted;
        self.known += known;
        self.ended += ended;
        self.held_back += held_back;
        self.forgotten += forgotten;
        self.nobody += nobody;
        self.unreadable += unreadable;
    }
}

impl Sagas {
    /// What an event is to its instance; `may_repeat`: one may begin though it may have been there.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn fate(&self, happened: &Happened, may_repeat: bool, view: &dyn View) -> Result<Fate, Halt> {
        let Happened { tenant, saga, correlation, cause, starts, stream_seq, .. } = happened;
        let row = view.get(Table::Saga, &keys::saga(tenant, saga, correlation))?;
        let Some(instance) = row.map(Instance::decode).transpose()? else {
            let forgotten = view.get(Table::SagaForgotten, &keys::saga_forgotten(tenant, saga))?;
            let forgotten = forgotten.and_then(keys::parse_position);
            let may_be_forgotten = forgotten.zip(*stream_seq).is_some_and(|(to, own)| own <= to)
                && !may_repeat
                && !self.config.quirks.has(Quirk::SagaReplayForgets);
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
