//! Selections: keys that an operator froze to be redriven or discarded together, and how far that is.
//!
//! ```text
//! select ─► Waiting ─ replay ──► Replaying ─┐
//!              │ └─── discard ─► Discarding ┴─ no key left, or unselect ─► Ended
//!              └─ unselect ───────────────────────────────────────────────►
//! ```
//!
//! What is selected is frozen: a key that is quarantined later is not part of it, even if it has the same name. A key is
//! in one selection at a time.
//!
//! Limits: [`KEYS_MAX`] keys in one selection, [`SELECTIONS_MAX`] selections; the oldest that has ended is forgotten for
//! a new one.

use super::QuarantineKey;
use crate::halt::Halt;
use crate::store::Table;
use crate::time::Wall;
use crate::wire::id::TenantId;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most keys in one selection: they are frozen in one commit.
pub const KEYS_MAX: usize = 1_000;
/// Most selections on record.
pub const SELECTIONS_MAX: usize = 64;
/// Most messages redriven in one second.
pub const PER_SECOND_MAX: u32 = 1_000;

/// Names a selection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct SelectionId(u64);

impl SelectionId {
    pub(super) const fn after(last: Option<Self>) -> Self {
        match last {
            Some(Self(last)) => Self(last + 1),
            None => Self(1),
        }
    }

    /// Reads back what it displays as.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("s-").filter(|own| own.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse().ok().map(Self)
    }

    pub(super) fn key(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }

    pub(super) fn from_key(key: &[u8]) -> Result<Self, Halt> {
        let parsed = key.try_into().map(|bytes| Self(u64::from_be_bytes(bytes)));
        parsed.map_err(|_| Halt::Corrupt { table: Table::Redrive, detail: "no number of a selection".into() })
    }

    /// Where its keys wait for their turn.
    pub(super) fn waiting(self, key: &QuarantineKey) -> Vec<u8> {
        let mut row = self.key().to_vec();
        row.extend_from_slice(&key.0);
        row
    }
}

impl fmt::Display for SelectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s-{}", self.0)
    }
}

impl Serialize for SelectionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SelectionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text} names no selection")))
    }
}

/// What is done with what is selected.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Doing {
    /// Nothing yet.
    Waiting,
    /// Its messages are applied again, in the order of each key.
    Replaying {
        /// At most so many messages in a second.
        per_second: u32,
        /// Saga instances are migrated to today's definition first.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        migrate: bool,
    },
    /// Its messages are dropped.
    Discarding,
    /// Every key had its turn, or was given back.
    Ended {
        /// When, in milliseconds since 1970.
        ended_at: Wall,
    },
}

/// How a selection stands. Every key ends released, failed again, or given back.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Selection {
    /// Whose keys only, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<TenantId>,
    /// Why, in the operator's words.
    pub reason: String,
    /// When it was frozen, in milliseconds since 1970.
    pub selected_at: Wall,
    /// What is done with it.
    #[serde(flatten)]
    pub doing: Doing,
    /// Keys frozen.
    pub keys: u64,
    /// Keys whose turn has not come.
    pub left: u64,
    /// Keys of which nothing is held back any more.
    pub released: u64,
    /// Keys whose first message could not be applied again; they stay quarantined, with all that follows.
    pub failed: u64,
    /// Keys that were given back untouched.
    pub given_back: u64,
    /// Messages applied.
    pub applied: u64,
    /// Messages that meant nothing any more, for what they were for has ended.
    pub superseded: u64,
    /// Messages dropped.
    pub discarded: u64,
}

impl Selection {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record serialises")
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Halt> {
        serde_json::from_slice(row)
            .map_err(|error| Halt::Corrupt { table: Table::Redrive, detail: error.to_string() })
    }

    /// Whether something is being done with it.
    #[must_use]
    pub const fn is_under_way(&self) -> bool {
        match self.doing {
            Doing::Replaying { .. } | Doing::Discarding => true,
            Doing::Waiting | Doing::Ended { .. } => false,
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        matches!(self.doing, Doing::Ended { .. })
    }

    /// Whether every key is accounted for.
    #[must_use]
    pub const fn adds_up(&self) -> bool {
        let ended = self.released + self.failed + self.given_back;
        self.keys == self.left + ended && (self.left == 0) == self.has_ended()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_of_a_selection_reads_back() {
        let id = SelectionId::after(Some(SelectionId::after(None)));
        assert_eq!((id.to_string().as_str(), SelectionId::parse("s-2")), ("s-2", Some(id)));
        for bad in ["", "2", "s-", "s-x", "s-+2", "s-99999999999999999999"] {
            assert_eq!(SelectionId::parse(bad), None, "{bad}");
        }
    }
}
