//! What the rows of a quarantine hold.

use super::Parked;
use super::cause::Cause;
use super::selection::SelectionId;
use crate::halt::Halt;
use crate::store::Table;
use crate::time::Wall;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A quarantined key.
#[derive(Serialize, Deserialize)]
pub(super) struct KeyRow {
    pub(super) messages: u64,
    /// The position of the next message.
    pub(super) next: u64,
    pub(super) since: Wall,
    pub(super) cause: Cause,
    pub(super) group: String,
    /// The selection it is part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) selection: Option<SelectionId>,
}

/// Keys that are held back for the same reason.
#[derive(Serialize, Deserialize)]
pub(super) struct GroupRow {
    pub(super) kind: String,
    pub(super) pattern: String,
    pub(super) example: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) definition: Option<String>,
    pub(super) keys: u64,
    pub(super) messages: u64,
    pub(super) since: Wall,
    pub(super) last: Wall,
}

/// A parked message: this record, a line feed, and its body as it came.
#[derive(Serialize, Deserialize)]
pub(super) struct MessageRow {
    pub(super) stream: String,
    pub(super) stream_seq: u64,
    pub(super) subject: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) parked_at: Wall,
    /// Absent for messages that are parked only because an earlier one of their key is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cause: Option<Cause>,
    /// Its body is not the one it came with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) edited: Option<Edited>,
}

/// That an operator replaced the body of a message.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Edited {
    /// When, in milliseconds since 1970.
    pub at: Wall,
    /// Why, in the operator's words.
    pub reason: String,
}

impl KeyRow {
    /// The position of the first message.
    pub(super) const fn first(&self) -> u64 {
        self.next - self.messages
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record serialises")
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Halt> {
        read(Table::ParkedKey, row)
    }
}

impl GroupRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record serialises")
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Halt> {
        read(Table::ParkedGroup, row)
    }
}

impl MessageRow {
    pub(super) fn encode(message: &Parked<'_>, parked_at: Wall, cause: Option<Cause>) -> Vec<u8> {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let record = Self {
            stream: message.stream.to_owned(),
            stream_seq: message.stream_seq,
            subject: message.subject.to_owned(),
            headers: message.headers.iter().map(own).collect(),
            parked_at,
            cause,
            edited: None,
        };
        record.with(message.payload)
    }

    /// With its body.
    pub(super) fn with(&self, body: &[u8]) -> Vec<u8> {
        // The body may be anything, so it follows the record as it is.
        let mut row = serde_json::to_vec(self).expect("a record serialises");
        row.push(b'\n');
        row.extend_from_slice(body);
        row
    }

    pub(super) fn decode(row: &[u8]) -> Result<(Self, &[u8]), Halt> {
        let end = row.iter().position(|byte| *byte == b'\n').unwrap_or(row.len());
        let body = row.get(end + 1..).unwrap_or_default();
        Ok((read(Table::Parked, &row[..end])?, body))
    }
}

fn read<T: DeserializeOwned>(table: Table, row: &[u8]) -> Result<T, Halt> {
    serde_json::from_slice(row).map_err(|error| Halt::Corrupt { table, detail: error.to_string() })
}
