//! The ledger: one row for every effect command ever seen.

use super::Arrival;
use crate::halt::Halt;
use crate::store::Table;
use crate::time::Wall;
use crate::wire::context::Context;
use crate::wire::envelope::{EffectOutcome, SagaRef};
use crate::wire::id::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A row of the ledger.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LedgerRow {
    /// The effect.
    pub effect: Name,
    /// Where it stands.
    pub phase: Phase,
    /// Attempts started.
    pub attempts: u32,
    /// Attempts that may have happened without anybody knowing.
    pub ambiguous: u32,
    /// When it was asked for.
    pub since: Wall,
    /// What is needed while it is open; dropped when it is settled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// What an open effect needs.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// With what.
    pub payload: Value,
    /// Who waits for the result.
    pub saga: Option<SagaRef>,
    /// What it belongs to.
    pub context: Context,
    /// How it came; its result goes back the same way.
    #[serde(default, skip_serializing_if = "Arrival::is_delivered")]
    pub arrival: Arrival,
}

/// Where an effect stands.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Asked for, and no attempt is under way.
    Open,
    /// An attempt is under way; after the end of its life, nobody knows what became of it.
    Started {
        /// The life that made the attempt.
        incarnation: u64,
    },
    /// Ended.
    Settled {
        /// How.
        outcome: EffectOutcome,
    },
    /// Waiting for a person.
    Parked {
        /// Why.
        reason: String,
    },
}

impl LedgerRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a ledger row serialises")
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Halt::Corrupt`] when it is not one.
    pub fn decode(row: &[u8]) -> Result<Self, Halt> {
        serde_json::from_slice(row)
            .map_err(|error| Halt::Corrupt { table: Table::Effect, detail: error.to_string() })
    }
}
