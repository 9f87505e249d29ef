//! Looking at instances: which there are, and what each waits for.
//!
//! Reads committed rows only, so it may run beside the machine. Every list is bounded; the key of its last row is where
//! the next page begins.

use super::instance::{Instance, Status, WorkState};
use crate::effect::look::Stage;
use crate::effect::{self, LedgerRow, Phase};
use crate::halt::Halt;
use crate::manifest::{SagaDef, Trigger};
use crate::store::{Table, View};
use crate::time::Wall;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::keys;
use serde::Serialize;
use std::ops::ControlFlow;

/// Rows a list reads before it stops looking for more that match.
pub const SCANNED_MAX: usize = 10_000;

/// Which instances.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Which {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// Of this saga only.
    pub saga: Option<Name>,
    /// Only those that have not ended.
    pub open: bool,
}

/// One instance in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Listed {
    /// Whose.
    pub tenant_id: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// Where it stands.
    pub status: &'static str,
    /// Whether it is paused.
    pub paused: bool,
}

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What matches, in the order of keys.
    pub instances: Vec<Listed>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Vec<u8>>,
}

/// Something an instance waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum WaitsFor {
    /// An operator who lets it go on: until then it reacts to nothing.
    Resume {
        /// Why it is paused, in their words.
        reason: String,
        /// Since when.
        since: Wall,
        /// What came meanwhile, and waits.
        held: u64,
    },
    /// The end of a work item.
    Work {
        /// Its name in the manifest.
        name: Name,
        /// The id of the command.
        command_id: CommandId,
        /// Whether it undoes something.
        compensates: bool,
        /// How that stands if it is an effect of this partition's ledger.
        #[serde(skip_serializing_if = "Option::is_none")]
        effect: Option<EffectWaited>,
    },
    /// A timer.
    Timer {
        /// Its name in the manifest.
        name: Name,
        /// When it falls due.
        due: Wall,
    },
    /// An event of an aggregate.
    Event {
        /// The aggregate type.
        aggregate: Name,
        /// The event type.
        event: Name,
    },
    /// A signal.
    Signal {
        /// The signal.
        signal: Name,
    },
    /// The next occurrence of a schedule.
    Schedule {
        /// The schedule.
        schedule: Name,
    },
}

/// How an effect stands that an instance waits for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct EffectWaited {
    /// The effect.
    pub effect: Name,
    /// How far it is.
    pub stage: Stage,
    /// Attempts started.
    pub attempts: u32,
    /// Attempts that may have happened.
    pub ambiguous: u32,
    /// Why it waits for a person, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How its last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

impl Status {
    /// As people read it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Compensating { .. } => "compensating",
            Self::Completed => "completed",
            Self::Compensated => "compensated",
            Self::Killed => "killed",
        }
    }
}

/// Lists instances from a key on.
///
/// # Errors
/// When a table cannot be read.
pub fn list(view: &dyn View, which: &Which, from: &[u8], limit: usize) -> Result<Page, Halt> {
    let mut page = Page { instances: Vec::new(), next: None };
    let mut scanned = 0;
    let mut broken = None;
    view.scan(Table::Saga, from, &mut |key, row| {
        if page.instances.len() == limit || scanned == SCANNED_MAX {
            page.next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        scanned += 1;
        let parts = keys::parse_saga(key).zip(Instance::decode(row).ok());
        let Some(((tenant, saga, correlation), instance)) = parts else {
            broken = Some(Halt::Corrupt { table: Table::Saga, detail: "not an instance".to_owned() });
            return ControlFlow::Break(());
        };
        let matches = which.tenant.as_ref().is_none_or(|own| *own == tenant)
            && which.saga.as_ref().is_none_or(|own| *own == saga)
            && !(which.open && instance.status.is_final());
        if matches {
            let (status, paused) = (instance.status.as_str(), instance.paused.is_some());
            page.instances.push(Listed { tenant_id: tenant, saga, correlation, status, paused });
        }
        ControlFlow::Continue(())
    })?;
    broken.map_or(Ok(page), Err)
}

/// One instance.
///
/// # Errors
/// When the row cannot be read.
pub fn show(
    view: &dyn View,
    tenant: &TenantId,
    saga: &Name,
    correlation: &EntityId,
) -> Result<Option<Instance>, Halt> {
    view.get(Table::Saga, &keys::saga(tenant, saga, correlation))?.map(Instance::decode).transpose()
}

/// What an instance waits for: whoever paused it, the ends of its work, then its timers, then what its definition reacts to.
///
/// # Errors
/// When the ledger of effects cannot be read.
pub fn waits_for(
    view: &dyn View,
    tenant: &TenantId,
    definition: &SagaDef,
    instance: &Instance,
) -> Result<Vec<WaitsFor>, Halt> {
    if instance.status.is_final() {
        return Ok(Vec::new());
    }
    let mut out: Vec<WaitsFor> = Vec::new();
    out.extend(instance.paused.iter().map(|paused| WaitsFor::Resume {
        reason: paused.reason.clone(),
        since: paused.since,
        held: paused.messages,
    }));
    for work in instance.works.iter().filter(|work| work.state == WorkState::InFlight) {
        let row = effect::look::show(view, tenant, &work.id)?;
        out.push(WaitsFor::Work {
            name: work.name.clone(),
            command_id: work.id.clone(),
            compensates: work.compensates,
            effect: row.map(waited),
        });
    }
    let timers = instance.timers.iter();
    out.extend(timers.map(|timer| WaitsFor::Timer { name: timer.name.clone(), due: timer.due }));
    // Undoing looks at the ends of its work only.
    if instance.status == Status::Running {
        out.extend(definition.on_event.keys().filter_map(|trigger| match trigger {
            Trigger::Event { aggregate, event } => {
                Some(WaitsFor::Event { aggregate: aggregate.clone(), event: event.clone() })
            }
            Trigger::Signal { signal } => Some(WaitsFor::Signal { signal: signal.clone() }),
            Trigger::Schedule { schedule } => Some(WaitsFor::Schedule { schedule: schedule.clone() }),
            Trigger::Work { .. } | Trigger::Timer { .. } => None,
        }));
    }
    Ok(out)
}

fn waited(row: LedgerRow) -> EffectWaited {
    let LedgerRow { effect, phase, attempts, ambiguous, since: _, last, intervention: _, call: _ } = row;
    let stage = phase.stage();
    let reason = match phase {
        Phase::Parked { reason } => Some(reason),
        Phase::Open | Phase::Started { .. } | Phase::Settled { .. } => None,
    };
    EffectWaited { effect, stage, attempts, ambiguous, reason, last }
}
