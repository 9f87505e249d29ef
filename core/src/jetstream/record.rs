//! Rows: their keys and values.
//!
//! ```text
//! js_stream    <stream>                       JSON of [`StreamRow`]
//! js_consumer  <stream>:<consumer>            JSON of [`ConsumerRow`]
//! js_message   <stream>:<sequence, 8 bytes>   stored at │ subject │ headers │ payload
//! js_schedule  <stream>:<sequence, 8 bytes>   when the schedule there is due, in milliseconds, 8 bytes
//! ```
//!
//! Names are escaped into [`token`]s, which contain no `:`; sequences are big-endian. So a prefix ending in `:` finds the
//! rows of one stream and no other, in order.

use super::StoredMessage;
use super::api::{ConsumerConfig, SequencePair, StreamConfig};
use super::upstream::Position;
use crate::halt::Halt;
use crate::store::{Table, View, scan_prefix};
use crate::time::Wall;
use crate::wire::header_block::HeaderBlock;
use crate::wire::{keys, token};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Longest name of a stream or consumer once escaped, in bytes: two of them fit in one key.
pub(super) const NAME_BYTES_MAX: usize = 255;

/// A stream's row. Written when it is created or changed, and when the message at its end goes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct StreamRow {
    pub(super) config: StreamConfig,
    pub(super) created_ns: u64,
    /// The last sequence, unless a later message is stored.
    pub(super) last_seq: u64,
    /// When that one was stored.
    pub(super) last_at: Option<Wall>,
    /// Up to where its sources are copied, unless a later copy is stored.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) positions: BTreeMap<String, Position>,
}

/// A consumer's row. Written when it is created or changed, and at every flush.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct ConsumerRow {
    /// Its name; rows of older brokers have it in the configuration only.
    #[serde(default)]
    pub(super) name: String,
    pub(super) config: ConsumerConfig,
    pub(super) created_ns: u64,
    pub(super) state: ConsumerState,
}

/// How far a consumer had come at its last flush.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConsumerState {
    /// The last delivery.
    pub delivered: SequencePair,
    /// Everything up to here is settled.
    pub ack_floor: SequencePair,
    /// Unsettled deliveries by stream sequence.
    pub pending: BTreeMap<u64, PendingState>,
    /// Messages that were delivered as often as they may be and are not settled.
    pub exhausted: BTreeSet<u64>,
    /// What is left of the first message per subject, and the last sequence they were chosen from.
    pub last_per_subject: Option<(BTreeSet<u64>, u64)>,
}

/// An unsettled delivery as it is persisted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PendingState {
    /// The number of its first delivery.
    pub consumer_seq: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// When it is delivered again.
    pub due: Wall,
}

pub(super) fn stream_key(stream: &str) -> Vec<u8> {
    token::escape(stream).into_bytes()
}

fn prefix(stream: &str) -> Vec<u8> {
    let mut key = stream_key(stream);
    key.push(b':');
    key
}

pub(super) fn consumer_key(stream: &str, consumer: &str) -> Vec<u8> {
    let mut key = prefix(stream);
    key.extend_from_slice(token::escape(consumer).as_bytes());
    key
}

pub(super) fn message_key(stream: &str, seq: u64) -> Vec<u8> {
    let mut key = prefix(stream);
    key.extend_from_slice(&keys::position(seq));
    key
}

fn corrupt(table: Table, detail: impl Into<String>) -> Halt {
    Halt::Corrupt { table, detail: detail.into() }
}

pub(super) fn to_json<T: Serialize>(row: &T) -> Vec<u8> {
    serde_json::to_vec(row).expect("plain data with string or number keys serialises")
}

fn from_json<T: for<'de> Deserialize<'de>>(table: Table, value: &[u8]) -> Result<T, Halt> {
    serde_json::from_slice(value).map_err(|why| corrupt(table, why.to_string()))
}

pub(super) fn encode_message(message: &StoredMessage) -> Vec<u8> {
    let mut out =
        Vec::with_capacity(16 + message.subject.len() + message.headers.len() + message.payload.len());
    out.extend_from_slice(&message.stored_at.as_ms().to_be_bytes());
    for field in [message.subject.as_bytes(), message.headers.as_bytes()] {
        out.extend_from_slice(&length(field.len()));
        out.extend_from_slice(field);
    }
    out.extend_from_slice(&message.payload);
    out
}

fn length(of: usize) -> [u8; 4] {
    u32::try_from(of).expect("a message is smaller than 4 GiB").to_be_bytes()
}

/// Reads fields off the front of a row.
struct Fields<'r>(&'r [u8]);

impl<'r> Fields<'r> {
    fn number<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(u32::from_be_bytes(self.number()?)).ok()
    }

    fn bytes(&mut self) -> Option<&'r [u8]> {
        let length = self.length()?;
        let (field, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(field)
    }
}

/// A message as it lies in its row.
pub(super) struct MessageRow<'r> {
    pub(super) seq: u64,
    pub(super) subject: &'r str,
    pub(super) headers: &'r [u8],
    pub(super) payload: &'r [u8],
    pub(super) stored_at: Wall,
}

impl<'r> MessageRow<'r> {
    fn read(seq: u64, value: &'r [u8]) -> Option<Self> {
        let mut fields = Fields(value);
        let stored_at = Wall::from_ms(u64::from_be_bytes(fields.number()?));
        let subject = std::str::from_utf8(fields.bytes()?).ok()?;
        let headers = fields.bytes()?;
        Some(Self { seq, subject, headers, payload: fields.0, stored_at })
    }

    pub(super) fn header_block(&self) -> HeaderBlock {
        HeaderBlock::from_wire(Bytes::copy_from_slice(self.headers))
    }

    /// The message, copied once.
    fn to_stored(&self) -> StoredMessage {
        let body = Bytes::from([self.headers, self.payload].concat());
        StoredMessage {
            seq: self.seq,
            subject: self.subject.into(),
            headers: HeaderBlock::from_wire(body.slice(..self.headers.len())),
            payload: body.slice(self.headers.len()..),
            stored_at: self.stored_at,
        }
    }
}

/// The message at a sequence the index says is stored.
pub(super) fn read_message(view: &dyn View, stream: &str, seq: u64) -> Result<StoredMessage, Halt> {
    let value = view.get(Table::JsMessage, &message_key(stream, seq))?;
    value
        .and_then(|value| MessageRow::read(seq, value))
        .map(|row| row.to_stored())
        .ok_or_else(|| corrupt(Table::JsMessage, format!("message {seq} of stream {stream} cannot be read")))
}

/// The messages of a stream from `from_seq` on, in order, until `visit` breaks.
pub(super) fn scan_messages(
    view: &dyn View,
    stream: &str,
    from_seq: u64,
    visit: &mut dyn FnMut(StoredMessage) -> ControlFlow<()>,
) -> Result<(), Halt> {
    scan_rows(view, stream, from_seq, &mut |row| visit(row.to_stored()))
}

/// The same, without copying any.
pub(super) fn scan_rows(
    view: &dyn View,
    stream: &str,
    from_seq: u64,
    visit: &mut dyn FnMut(&MessageRow<'_>) -> ControlFlow<()>,
) -> Result<(), Halt> {
    let prefix = prefix(stream);
    let mut broken = None;
    view.scan(Table::JsMessage, &message_key(stream, from_seq), &mut |key, value| {
        let Some(seq) = key.strip_prefix(prefix.as_slice()) else { return ControlFlow::Break(()) };
        match keys::parse_position(seq).and_then(|seq| MessageRow::read(seq, value)) {
            Some(row) => visit(&row),
            None => {
                broken =
                    Some(corrupt(Table::JsMessage, format!("a message of stream {stream} cannot be read")));
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map_or(Ok(()), Err)
}

/// When the schedules of a stream are due that were due before, by sequence.
pub(super) fn read_dues(view: &dyn View, stream: &str) -> Result<Vec<(u64, Wall)>, Halt> {
    let prefix = prefix(stream);
    let mut dues = Ok(Vec::new());
    scan_prefix(view, Table::JsSchedule, &prefix, &mut |key, value| {
        let seq = key.strip_prefix(prefix.as_slice()).and_then(keys::parse_position);
        let due = value.try_into().map(u64::from_be_bytes).map(Wall::from_ms);
        match (&mut dues, seq, due) {
            (Ok(dues), Some(seq), Ok(due)) => {
                dues.push((seq, due));
                ControlFlow::Continue(())
            }
            (Ok(_) | Err(_), None | Some(_), Ok(_) | Err(_)) => {
                let why = format!("a schedule of stream {stream} cannot be read");
                dues = Err(corrupt(Table::JsSchedule, why));
                ControlFlow::Break(())
            }
        }
    })?;
    dues
}

/// Every stream's row.
pub(super) fn read_streams(view: &dyn View) -> Result<Vec<StreamRow>, Halt> {
    read_rows(view, Table::JsStream, b"")
}

/// The rows of a stream's consumers.
pub(super) fn read_consumers(view: &dyn View, stream: &str) -> Result<Vec<ConsumerRow>, Halt> {
    read_rows(view, Table::JsConsumer, &prefix(stream))
}

fn read_rows<T: for<'de> Deserialize<'de>>(
    view: &dyn View,
    table: Table,
    prefix: &[u8],
) -> Result<Vec<T>, Halt> {
    let mut rows = Ok(Vec::new());
    scan_prefix(view, table, prefix, &mut |_, value| match (&mut rows, from_json(table, value)) {
        (Ok(rows), Ok(row)) => {
            rows.push(row);
            ControlFlow::Continue(())
        }
        (Ok(_), Err(halt)) => {
            rows = Err(halt);
            ControlFlow::Break(())
        }
        (Err(_), _) => ControlFlow::Break(()),
    })?;
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_its_row() {
        let message = StoredMessage {
            seq: 7,
            subject: "a.b".into(),
            headers: [("Nats-Msg-Id", "1"), ("x", ""), ("x", "é")].into_iter().collect(),
            payload: Bytes::from_static(b"\0\xff"),
            stored_at: Wall::from_ms(1_795_238_040_123),
        };
        let row = encode_message(&message);
        assert_eq!(MessageRow::read(7, &row).map(|row| row.to_stored()), Some(message));
        // The payload is what remains, so only the fields before it can be short.
        for cut in 0..row.len() - 2 {
            assert!(MessageRow::read(7, &row[..cut]).is_none(), "cut at {cut}");
        }
    }

    #[test]
    fn rows_of_one_stream_are_found_by_their_prefix_alone() {
        assert!(message_key("A", 1).starts_with(&prefix("A")));
        assert!(!message_key("AB", 1).starts_with(&prefix("A")));
        assert!(message_key("A", 255) < message_key("A", 256));
        let longest = "n".repeat(NAME_BYTES_MAX);
        assert!(consumer_key(&longest, &longest).len() <= crate::store::KEY_BYTES_MAX);
        assert!(message_key(&longest, u64::MAX).len() <= crate::store::KEY_BYTES_MAX);
    }
}
