//! The row of an instance.

use super::hold::Paused;
use super::transition::{Happened, Subject};
use crate::halt::Halt;
use crate::manifest::SagaDef;
use crate::quirks::{Quirk, Quirks};
use crate::store::Table;
use crate::time::Wall;
use crate::wire::context::Context;
use crate::wire::id::{CommandId, Name};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A saga instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Instance {
    /// The definition it reacts by: the one it began under, or was migrated to.
    pub definition: String,
    /// When what it began with happened, if that is known; ids of what it asks for begin with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Wall>,
    /// The event it began with, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_with: Option<BeganWith>,
    /// How often it was restarted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u32,
    /// When it ended, and under which it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Wall>,
    /// Where it stands.
    pub status: Status,
    /// What its programs keep.
    pub state: Value,
    /// Everything it asked for, in order.
    pub works: Vec<Work>,
    /// The timers it waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<PendingTimer>,
    /// An operator had it undone, or ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intervention: Option<Intervention>,
    /// It is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<Paused>,
    /// What it belongs to.
    pub context: Context,
}

/// The event an instance began with.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BeganWith {
    /// What names it.
    pub cause: String,
    /// Where its message is, on `AGGREGATE_EVENTS`.
    pub stream_seq: u64,
}

const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What an operator decided about an instance, for good.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Intervention {
    /// What.
    pub verb: Intervened,
    /// When.
    pub at: Wall,
    /// Why, in their words.
    pub reason: String,
}

/// How an operator ends an instance.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Intervened {
    /// By undoing what it did.
    Cancelled,
    /// As it is.
    Killed,
}

/// A timer an instance waits for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PendingTimer {
    /// Its id in the schedule.
    pub id: CommandId,
    /// Its name in the manifest.
    pub name: Name,
    /// When it falls due.
    pub due: Wall,
}

/// Where an instance stands.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Waiting for the next event.
    Running,
    /// Undoing.
    Compensating {
        /// What made it.
        event: Value,
        /// Works still to look at are those before this index.
        remaining: usize,
    },
    /// Finished.
    Completed,
    /// Finished by undoing.
    Compensated,
    /// Ended by an operator, with nothing undone.
    Killed,
}

impl Status {
    /// Whether nothing more will happen.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Running | Self::Compensating { .. } => false,
            Self::Completed | Self::Compensated | Self::Killed => true,
        }
    }
}

/// Something an instance asked for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Work {
    /// Its id, which is the id of the command.
    pub id: CommandId,
    /// Its name in the manifest.
    pub name: Name,
    /// Whether it undoes something.
    pub compensates: bool,
    /// How far it is.
    pub state: WorkState,
    /// It was handed over to the ledger of this partition, and did not pass the outbox.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub handed_over: bool,
}

/// How far a work item is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkState {
    /// Asked for; it may have happened.
    InFlight,
    /// It happened.
    Done,
    /// It definitely did not happen.
    NotDone,
}

impl Instance {
    /// One that begins now.
    pub(super) fn begin(definition: &SagaDef, with: &Happened) -> Self {
        Self {
            definition: definition.hash.clone(),
            began_at: with.at,
            began_with: with.stream_seq.map(|stream_seq| BeganWith { cause: with.cause.clone(), stream_seq }),
            restarts: 0,
            ended_at: None,
            status: Status::Running,
            state: Value::Null,
            works: Vec::new(),
            timers: Vec::new(),
            intervention: None,
            paused: None,
            context: with.context.clone(),
        }
    }

    /// The id of what it asks for: of the cause, and of nothing that happens to be so when it is applied.
    pub(super) fn derive(&self, subject: &Subject<'_>, what: &[&str], quirks: Quirks) -> CommandId {
        let Subject { tenant, saga, correlation, cause, .. } = subject;
        let mut parts = vec![tenant.as_str(), saga.as_str(), correlation.as_str(), cause];
        parts.extend(what);
        let restarts = format!("restart/{}", self.restarts);
        if self.restarts > 0 && !quirks.has(Quirk::SagaRestartRepeats) {
            parts.push(&restarts);
        }
        CommandId::derive_at(self.began_at, &parts)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an instance serialises")
    }

    /// The row of an instance that has ended, kept as if it had ended at another time.
    ///
    /// # Errors
    /// [`Halt::Corrupt`] when it is not an instance.
    pub fn kept_from(row: &[u8], ended_at: Wall) -> Result<Vec<u8>, Halt> {
        Ok(Self { ended_at: Some(ended_at), ..Self::decode(row)? }.encode())
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Halt::Corrupt`] when it is not an instance.
    pub fn decode(row: &[u8]) -> Result<Self, Halt> {
        serde_json::from_slice(row)
            .map_err(|error| Halt::Corrupt { table: Table::Saga, detail: error.to_string() })
    }
}
