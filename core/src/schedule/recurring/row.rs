//! The row of a schedule and a tenant.

use crate::operator::Refusal;
use crate::time::Wall;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::keys;
use serde::{Deserialize, Serialize};

/// Requests of operators that a row remembers.
pub const ASKED_MAX: usize = 8;
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
    /// Held by an operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What operators asked for besides the calendar, the last [`ASKED_MAX`], oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// A time that has passed and is filled in, as long as something of it is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
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

/// Since when nothing fires, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Paused {
    /// Since when.
    pub since: Wall,
    /// Why.
    pub reason: String,
}

/// What an operator asked for besides the calendar.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Asked {
    /// Names the request: under the same key it is done once.
    pub key: CommandId,
    /// When it was asked for.
    pub at: Wall,
    /// Why.
    pub reason: String,
    /// What.
    #[serde(flatten)]
    pub what: Request,
}

/// What may be asked for besides the calendar.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// An occurrence, at once.
    Trigger,
    /// Those of a time that has passed.
    Backfill {
        /// From then on.
        from: Wall,
        /// Until then, this moment included.
        to: Wall,
    },
}

impl Request {
    /// As people spell it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Trigger => "trigger",
            Self::Backfill { .. } => "backfill",
        }
    }
}

/// How far a backfill is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Backfill {
    /// Names the request.
    pub key: CommandId,
    /// Where it began.
    pub from: Wall,
    /// The first occurrence that it has not fired.
    pub next: Wall,
    /// The last moment that is part of it.
    pub to: Wall,
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
    /// Fired by the calendar.
    pub fired: u64,
    /// Missed: too old to be caught up with, or too many. At least so many, if very many were.
    pub missed: u64,
    /// Left out, because the one before still ran.
    pub skipped: u64,
    /// Could not be filled in, or were refused.
    pub failed: u64,
    /// Fired because an operator asked for one.
    #[serde(default)]
    pub triggered: u64,
    /// Fired because an operator asked for those of a time that has passed.
    #[serde(default)]
    pub backfilled: u64,
    /// Asked for so, and given up before they fired.
    #[serde(default)]
    pub dropped: u64,
}

impl Row {
    pub(super) fn new(times: &str, next: Option<Wall>) -> Self {
        Self {
            times: times.to_owned(),
            next,
            fired: None,
            running: None,
            queued: None,
            paused: None,
            asked: Vec::new(),
            backfill: None,
            counts: Counts::default(),
            error: None,
        }
    }

    /// Whether this was asked for under this key before, as far as anybody still knows.
    pub(super) fn is_known(&self, key: &CommandId, what: Request) -> Result<bool, Refusal> {
        match self.asked.iter().find(|asked| asked.key == *key) {
            None => Ok(false),
            Some(asked) if asked.what == what => Ok(true),
            Some(asked) => {
                let before = asked.what.as_str();
                let detail =
                    format!("`{key}` names another request, a {before}: give this one a key of its own");
                Err(Refusal::Conflict { detail })
            }
        }
    }

    pub(super) fn note(&mut self, asked: Asked) {
        if self.asked.len() == ASKED_MAX {
            self.asked.remove(0);
        }
        self.asked.push(asked);
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
