//! The row of a schedule and a tenant.

use crate::time::Wall;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::keys;
use serde::{Deserialize, Serialize};

/// Longest error kept, in bytes.
const ERROR_BYTES_MAX: usize = 500;

/// Which schedule, and for whom.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct RowKey {
    /// The schedule.
    pub schedule: Name,
    /// The tenant.
    pub tenant: TenantId,
}

impl RowKey {
    /// A key.
    #[must_use]
    pub fn new(schedule: &Name, tenant: &TenantId) -> Self {
        Self { schedule: schedule.clone(), tenant: tenant.clone() }
    }

    /// Reads it back from the key of a row.
    #[must_use]
    pub fn parse(key: &[u8]) -> Option<Self> {
        let (schedule, tenant) = keys::parse_recurring(key)?;
        Some(Self { schedule, tenant })
    }

    /// The key of its row.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        keys::recurring(&self.schedule, &self.tenant)
    }
}

/// How far a schedule is, for one tenant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Names the times it goes by: another name, and it begins anew.
    pub times: String,
    /// The first occurrence that has neither fired nor been left out; `None` when none is due in years.
    pub next: Option<Wall>,
    /// The last occurrence that fired by the calendar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<Fired>,
    /// What the last occurrence started, as long as it is not known to have ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// An occurrence that waits for the end of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued: Option<Wall>,
    /// What became of occurrences so far.
    pub counts: Counts,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// An occurrence that fired.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Fired {
    /// When it was due.
    pub due: Wall,
    /// When it fired.
    pub at: Wall,
}

/// What an occurrence started.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Running {
    /// An instance of a saga.
    Instance {
        /// The saga.
        saga: Name,
        /// The instance.
        correlation: EntityId,
    },
    /// A command or an effect.
    Work {
        /// The occurrence.
        id: CommandId,
    },
}

/// What became of occurrences.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counts {
    /// Fired.
    pub fired: u64,
    /// Missed: too old to be caught up with, or too many. At least so many, if very many were.
    pub missed: u64,
    /// Left out, because the one before still ran.
    pub skipped: u64,
    /// Could not be filled in, or were refused.
    pub failed: u64,
}

impl Row {
    pub(super) fn new(times: &str, next: Option<Wall>) -> Self {
        Self {
            times: times.to_owned(),
            next,
            fired: None,
            running: None,
            queued: None,
            counts: Counts::default(),
            error: None,
        }
    }

    pub(super) fn fail(&mut self, error: &str) {
        self.counts.failed += 1;
        let most = error.len().min(ERROR_BYTES_MAX);
        let end = (0..=most).rev().find(|at| error.is_char_boundary(*at)).unwrap_or_default();
        self.error = Some(error[..end].to_owned());
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a row serialises")
    }

    /// Reads a row; `None` when it is not one.
    #[must_use]
    pub fn decode(row: &[u8]) -> Option<Self> {
        serde_json::from_slice(row).ok()
    }
}
