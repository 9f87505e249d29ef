//! What comes for a paused instance: kept durably, in order, until it goes on.
//!
//! ```text
//! Running ── pause ─► paused ── event, work ended, timer fired ─► held behind what is held
//!    ▲                  │ └── more than a pause holds ─► quarantined, with everything that was held
//!    └──── resume ──────┘ what is held is applied, first come first
//! ```
//!
//! A paused instance is never quarantined and a quarantined one never paused, so there is one order of what waits for it.

use super::instance::Instance;
use super::timers::TimerFired;
use super::transition::{Happened, Sagas, Subject, WorkEnded};
use super::{HELD_BYTES_MAX, HELD_MAX, Reacted};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::quirks::Quirk;
use crate::store::{Table, View, scan_prefix};
use crate::time::Wall;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// That an instance is paused.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub since: Wall,
    /// Why, in the operator's words.
    pub reason: String,
    /// How much is held.
    pub messages: u64,
    /// How large that is.
    pub bytes: u64,
}

/// Something that comes for an instance; what is kept of it while the instance is paused or quarantined.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Incoming {
    /// An event or a signal.
    Happened(Box<Happened>),
    /// The end of a work item.
    WorkEnded(Box<WorkEnded>),
    /// A timer.
    TimerFired(Box<TimerFired>),
}

impl Incoming {
    /// As it is kept while it waits.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("what is held serialises")
    }

    /// The instance it came for.
    #[must_use]
    pub fn subject(&self) -> (&TenantId, &Name, &EntityId) {
        match self {
            Self::Happened(own) => (&own.tenant, &own.saga, &own.correlation),
            Self::WorkEnded(own) => (&own.tenant, &own.saga.saga, &own.saga.correlation),
            Self::TimerFired(own) => (&own.tenant, &own.saga, &own.correlation),
        }
    }

    /// Reads back what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// When it is nothing that comes for an instance.
    pub fn decode(row: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(row)
    }
}

impl Sagas {
    /// Whether what comes for this instance is to be held.
    pub(super) fn holds(&self, instance: &Instance) -> bool {
        instance.paused.is_some() && !self.config.quirks.has(Quirk::SagaPauseLeaks)
    }

    /// Keeps what came behind what is held already.
    pub(super) fn hold<I, E>(
        &self,
        subject: &Subject<'_>,
        mut instance: Instance,
        held: Incoming,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Reacted, Halt> {
        let Some(paused) = &mut instance.paused else { return Ok(Reacted::Held) };
        cx.mark(Mark::SagaHeld);
        let row = held.encode();
        let bytes = paused.bytes + row.len() as u64;
        if paused.messages >= HELD_MAX as u64 || bytes > HELD_BYTES_MAX {
            let mut all = self.release(subject.tenant, subject.saga, subject.correlation, cx)?;
            all.push(held);
            instance.paused = None;
            cx.put(Table::Saga, subject.key, &instance.encode());
            return Ok(Reacted::Overflowed(all));
        }
        let position = paused.messages;
        (paused.messages, paused.bytes) = (position + 1, bytes);
        cx.put(
            Table::SagaHeld,
            &keys::saga_held(subject.tenant, subject.saga, subject.correlation, position),
            &row,
        );
        cx.put(Table::Saga, subject.key, &instance.encode());
        Ok(Reacted::Held)
    }

    /// Takes what is held out of its table, first come first.
    pub(super) fn release<I, E>(
        &self,
        tenant: &TenantId,
        saga: &Name,
        correlation: &EntityId,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Vec<Incoming>, Halt> {
        let prefix = keys::saga_held_prefix(tenant, saga, correlation);
        let mut rows = Vec::new();
        let view: &dyn View = cx.view();
        scan_prefix(view, Table::SagaHeld, &prefix, &mut |key, row| {
            rows.push((key.to_vec(), Incoming::decode(row)));
            if rows.len() < HELD_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let mut out = Vec::with_capacity(rows.len());
        for (key, held) in rows {
            cx.delete(Table::SagaHeld, &key);
            let corrupt = |error: serde_json::Error| Halt::Corrupt {
                table: Table::SagaHeld,
                detail: error.to_string(),
            };
            out.push(held.map_err(corrupt)?);
        }
        if self.config.quirks.has(Quirk::SagaForgetHeld) {
            out.clear();
        }
        Ok(out)
    }
}
