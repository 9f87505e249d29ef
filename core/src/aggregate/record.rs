//! The rows of an aggregate.

use super::AggregateKey;
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::AggregateDef;
use crate::program::contract::{self, Refusal};
use crate::program::{Gas, ProgramError};
use crate::store::{Table, View};
use crate::wire::envelope::{COMMAND_REFUSED, Event};
use crate::wire::id::{CommandId, Name};
use crate::wire::keys;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use thiserror::Error;

/// State, version and where they were read.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Events so far.
    pub version: u64,
    /// Sequence of the last message.
    pub last_seq: u64,
    /// What the events made of the initial state.
    pub state: Value,
}

/// Where a command's events are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct CommandRow {
    /// Sequence of their message.
    pub seq: u64,
    /// The version after them.
    pub version: u64,
}

/// Why an event cannot be applied.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(super) enum EvolveError {
    /// The definition does not know the event.
    #[error("event type `{0}` is not declared by this aggregate")]
    UnknownEvent(Name),
    /// The program failed.
    #[error("event `{event}`: {error}")]
    Program {
        /// Which event.
        event: Name,
        /// How.
        error: ProgramError,
    },
}

impl Record {
    /// An aggregate without events.
    pub(super) fn initial(definition: &AggregateDef) -> Self {
        Self { version: 0, last_seq: 0, state: definition.initial_state.clone() }
    }

    /// The row, or an aggregate without events.
    pub(super) fn read(key: &AggregateKey, definition: &AggregateDef, view: &dyn View) -> Result<Self, Halt> {
        let row = view.get(Table::Aggregate, &keys::aggregate(&key.tenant, &key.kind, &key.id))?;
        row.map_or_else(|| Ok(Self::initial(definition)), Self::decode)
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Halt::Corrupt`] when it is not one.
    pub fn decode(row: &[u8]) -> Result<Self, Halt> {
        serde_json::from_slice(row)
            .map_err(|error| Halt::Corrupt { table: Table::Aggregate, detail: error.to_string() })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record serialises")
    }

    /// Applies one event.
    pub(super) fn evolve(
        &mut self,
        definition: &AggregateDef,
        event: &Event,
        gas_max: u64,
    ) -> Result<(), EvolveError> {
        if event.kind.as_str() == COMMAND_REFUSED {
            self.version += 1;
            return Ok(());
        }
        let program = definition
            .events
            .get(&event.kind)
            .ok_or_else(|| EvolveError::UnknownEvent(event.kind.clone()))?;
        let version = self.version + 1;
        let seen = json!({ "type": event.kind, "payload": event.payload, "version": version });
        self.state = contract::evolve(program, &self.state, &seen, &mut Gas::new(gas_max))
            .map_err(|error| EvolveError::Program { event: event.kind.clone(), error })?;
        self.version = version;
        Ok(())
    }
}

impl CommandRow {
    pub(super) fn read(
        key: &AggregateKey,
        command: &CommandId,
        view: &dyn View,
    ) -> Result<Option<Self>, Halt> {
        let row = view.get(Table::Command, &keys::command(&key.tenant, &key.kind, &key.id, command))?;
        row.map(Self::decode).transpose()
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`Halt::Corrupt`] when it is not one.
    pub fn decode(row: &[u8]) -> Result<Self, Halt> {
        let corrupt = || Halt::Corrupt { table: Table::Command, detail: "not two numbers".into() };
        let (seq, version) = row.split_first_chunk::<8>().ok_or_else(corrupt)?;
        let version: [u8; 8] = version.try_into().map_err(|_| corrupt())?;
        Ok(Self { seq: u64::from_be_bytes(*seq), version: u64::from_be_bytes(version) })
    }

    pub(super) fn encode(self) -> [u8; 16] {
        let mut row = [0; 16];
        row[..8].copy_from_slice(&self.seq.to_be_bytes());
        row[8..].copy_from_slice(&self.version.to_be_bytes());
        row
    }
}

/// A refusal that the aggregate's history records.
pub(super) struct RecordedRefusal;

impl RecordedRefusal {
    /// The event that records it.
    pub(super) fn event(refusal: &Refusal) -> Event {
        let kind = Name::parse(COMMAND_REFUSED).expect("a name");
        Event { kind, payload: serde_json::to_value(refusal).expect("a refusal serialises") }
    }

    pub(super) fn read(
        key: &AggregateKey,
        command: &CommandId,
        view: &dyn View,
    ) -> Result<Option<Refusal>, Halt> {
        let row = view.get(Table::Refusal, &keys::command(&key.tenant, &key.kind, &key.id, command))?;
        let refusal = row.map(serde_json::from_slice).transpose();
        refusal.map_err(|error| Halt::Corrupt { table: Table::Refusal, detail: error.to_string() })
    }

    /// Stages the row for the payload of a recording event.
    pub(super) fn stage<I, E>(
        key: &AggregateKey,
        command: &CommandId,
        payload: &Value,
        cx: &mut Cx<'_, I, E>,
    ) {
        // What a stranger wrote may lack a code; refused it is all the same.
        let text = |field: &str| payload[field].as_str().unwrap_or_default().to_owned();
        let refusal = Refusal { code: text("code"), message: text("message") };
        let row = serde_json::to_vec(&refusal).expect("a refusal serialises");
        cx.put(Table::Refusal, &keys::command(&key.tenant, &key.kind, &key.id, command), &row);
    }
}

/// The last refusals of an aggregate that its history does not record, oldest first.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Refusals(Vec<(CommandId, Refusal)>);

impl Refusals {
    pub(super) fn read(key: &AggregateKey, view: &dyn View) -> Result<Self, Halt> {
        let row = view.get(Table::Refusal, &keys::aggregate(&key.tenant, &key.kind, &key.id))?;
        row.map_or(Ok(Self::default()), |row| {
            serde_json::from_slice(row)
                .map_err(|error| Halt::Corrupt { table: Table::Refusal, detail: error.to_string() })
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("refusals serialise")
    }

    pub(super) fn of(&self, command: &CommandId) -> Option<&Refusal> {
        self.0.iter().find(|(id, _)| id == command).map(|(_, refusal)| refusal)
    }

    pub(super) fn add(&mut self, command: CommandId, refusal: Refusal, max: usize) {
        self.0.push((command, refusal));
        let surplus = self.0.len().saturating_sub(max);
        self.0.drain(..surplus);
    }
}
