//! The ledger: one row for every effect command ever seen.

use super::Arrival;
use crate::halt::Halt;
use crate::operator::Reason;
use crate::store::Table;
use crate::time::Wall;
use crate::wire::context::Context;
use crate::wire::envelope::{EffectOutcome, SagaRef};
use crate::wire::id::Name;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is kept of how an attempt ended, in bytes.
const LAST_BYTES_MAX: usize = 256;

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
    /// How its last attempt ended, for people; absent when it succeeded. At most 256 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
    /// What an operator did with it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervention: Option<Intervention>,
    /// What is needed until it is settled; dropped then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
}

/// That an operator had their way with an effect.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intervention {
    /// What was done.
    pub verb: Intervened,
    /// When.
    pub at: Wall,
    /// Attempts started until then.
    pub attempts: u32,
    /// Why, in the operator's words.
    pub reason: String,
}

/// What an operator did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intervened {
    /// Had it called again.
    Retried,
    /// Said how it ended.
    Settled,
}

impl Intervention {
    pub(super) fn new(verb: Intervened, at: Wall, attempts: u32, reason: &Reason) -> Self {
        Self { verb, at, attempts, reason: reason.as_str().to_owned() }
    }
}

/// What an effect needs until it is settled.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Where it is, or was, among the open ones.
    pub position: u64,
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
    /// Since when its time runs.
    pub(super) fn runs_since(&self) -> Wall {
        self.intervention.as_ref().map_or(self.since, |own| own.at)
    }

    /// Attempts of those that it may have.
    pub(super) fn attempts_used(&self) -> u32 {
        self.attempts - self.intervention.as_ref().map_or(0, |own| own.attempts)
    }

    /// Whether it ended as an operator said.
    #[must_use]
    pub fn is_settled_by_hand(&self) -> bool {
        self.intervention.as_ref().is_some_and(|own| own.verb == Intervened::Settled)
    }

    /// Remembers how an attempt ended that is no success.
    pub(super) fn ended_with(&mut self, last: Option<String>) {
        self.last = last.map(|mut last| {
            last.truncate(last.floor_char_boundary(LAST_BYTES_MAX));
            last
        });
    }

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
