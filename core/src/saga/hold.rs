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
use serde_json::{Value, json};
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

/// Something that came for a paused instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// An event or a signal.
    Happened(Box<Happened>),
    /// The end of a work item.
    WorkEnded(Box<WorkEnded>),
    /// A timer.
    TimerFired(Box<TimerFired>),
}

impl Held {
    /// What a dead letter shows of it.
    #[must_use]
    pub fn parked(&self) -> Value {
        match self {
            Self::Happened(happened) => happened.parked(),
            Self::WorkEnded(ended) => ended.parked(),
            Self::TimerFired(fired) => fired.parked(),
        }
    }

    fn decode(row: &[u8]) -> Result<Self, Halt> {
        serde_json::from_slice(row)
            .map_err(|error| Halt::Corrupt { table: Table::SagaHeld, detail: error.to_string() })
    }
}

impl Happened {
    /// What a dead letter shows of it.
    #[must_use]
    pub fn parked(&self) -> Value {
        json!({
            "cause": self.cause,
            "event": self.event,
            "correlation_id": self.context.correlation_id,
        })
    }
}

impl WorkEnded {
    /// What a dead letter shows of it.
    #[must_use]
    pub fn parked(&self) -> Value {
        json!({
            "work_id": self.work_id,
            "work": self.saga.work,
            "outcome": self.outcome.as_str(),
            "payload": self.payload,
        })
    }
}

impl TimerFired {
    /// What a dead letter shows of it.
    #[must_use]
    pub fn parked(&self) -> Value {
        json!({ "timer_id": self.id, "timer": self.timer, "due_at": self.due_at })
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
        key: &[u8],
        mut instance: Instance,
        held: Held,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Reacted, Halt> {
        let Some(paused) = &mut instance.paused else { return Ok(Reacted::Held) };
        cx.mark(Mark::SagaHeld);
        let row = serde_json::to_vec(&held).expect("what is held serialises");
        let bytes = paused.bytes + row.len() as u64;
        if paused.messages >= HELD_MAX as u64 || bytes > HELD_BYTES_MAX {
            let mut all = self.release(subject.tenant, subject.saga, subject.correlation, cx)?;
            all.push(held);
            instance.paused = None;
            cx.put(Table::Saga, key, &instance.encode());
            return Ok(Reacted::Overflowed(all));
        }
        let position = paused.messages;
        (paused.messages, paused.bytes) = (position + 1, bytes);
        cx.put(
            Table::SagaHeld,
            &keys::saga_held(subject.tenant, subject.saga, subject.correlation, position),
            &row,
        );
        cx.put(Table::Saga, key, &instance.encode());
        Ok(Reacted::Held)
    }

    /// Takes what is held out of its table, first come first.
    pub(super) fn release<I, E>(
        &self,
        tenant: &TenantId,
        saga: &Name,
        correlation: &EntityId,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Vec<Held>, Halt> {
        let prefix = keys::saga_held_prefix(tenant, saga, correlation);
        let mut rows = Vec::new();
        let view: &dyn View = cx.view();
        scan_prefix(view, Table::SagaHeld, &prefix, &mut |key, row| {
            rows.push((key.to_vec(), Held::decode(row)));
            if rows.len() < HELD_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        let mut out = Vec::with_capacity(rows.len());
        for (key, held) in rows {
            cx.delete(Table::SagaHeld, &key);
            out.push(held?);
        }
        if self.config.quirks.has(Quirk::SagaForgetHeld) {
            out.clear();
        }
        Ok(out)
    }
}
