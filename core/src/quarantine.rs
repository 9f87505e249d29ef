//! Quarantine by key: what cannot be applied is parked durably, in order, and holds back only its own key.
//!
//! ```text
//! message of key k ── k quarantined? ── no ──► apply ── cannot ──► park, quarantine k, TERM
//!                          └─────────── yes ─► park behind, ACK
//! ```
//!
//! | table | row |
//! |---|---|
//! | `parked_key` | key → how many messages, since when, why |
//! | `parked` | key and position → the message as it came, and why it is here |
//!
//! Durable: both tables. Derived on recovery: how many messages are parked in all. Lost on purpose: nothing.
//!
//! - INV-QRN-1: while a key is quarantined nothing of it is applied, and its messages are parked in order.
//! - INV-QRN-2: a message is parked in the commit that advances the checkpoint past it (the caller stages both).
//!
//! Limit: `parked_max` messages in all; then the partition stops taking in rather than losing any.
//!
//! Not here: releasing what is parked. That is an operator's decision and needs commands of its own.

#[cfg(test)]
pub(crate) mod tests;

use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::invariant;
use crate::marks::Mark;
use crate::quirks::{Quirk, Quirks};
use crate::store::{KEY_BYTES_MAX, Table, View, scan_prefix};
use crate::time::{Now, Wall};
use crate::wire::headers::Headers;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::token;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::ops::ControlFlow;

/// What is held back: everything of one source, or one saga instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantineKey(Vec<u8>);

/// Longest key: a position is appended to it.
const KEY_MAX: usize = KEY_BYTES_MAX - 9;

impl QuarantineKey {
    /// Everything a consumer reads from one subject: the unit of order of a view, and of messages that cannot be read.
    ///
    /// Returns `None` when the subject is too long to be a key: no subject of ours is.
    #[must_use]
    pub fn source(consumer: &str, subject: &str) -> Option<Self> {
        // A subject is somebody else's choice and may have a `:`, which ends a key; none has a space.
        Self::compose("source", &[consumer], &subject.replace(':', " "))
    }

    /// One saga instance.
    #[must_use]
    pub fn instance(tenant: &TenantId, saga: &Name, correlation: &EntityId) -> Option<Self> {
        Self::compose("saga", &[tenant.as_str(), saga.as_str()], &token::escape(correlation.as_str()))
    }

    fn compose(kind: &str, parts: &[&str], last: &str) -> Option<Self> {
        let mut key = format!("deadletter:{kind}");
        for part in parts {
            key.push(':');
            token::escape_into(&mut key, part);
        }
        key.push(':');
        key.push_str(last);
        (key.len() <= KEY_MAX).then(|| Self(key.into_bytes()))
    }

    /// For people.
    #[must_use]
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    fn row(&self, position: u64) -> Vec<u8> {
        let mut key = self.0.clone();
        key.push(b':');
        key.extend_from_slice(&position.to_be_bytes());
        key
    }
}

/// Why a message could not be applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// What kind of failure, short and stable: for grouping.
    pub kind: String,
    /// What exactly.
    pub detail: String,
}

/// A message to park.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Parked<'m> {
    /// Where it came from.
    pub stream: &'m str,
    /// Its sequence there.
    pub stream_seq: u64,
    /// Its subject.
    pub subject: &'m str,
    /// Its headers.
    pub headers: &'m Headers,
    /// Its body.
    pub payload: &'m [u8],
}

#[derive(Serialize, Deserialize)]
struct KeyRow {
    messages: u64,
    next: u64,
    since: Wall,
    cause: Cause,
}

#[derive(Serialize, Deserialize)]
struct MessageRow {
    stream: String,
    stream_seq: u64,
    subject: String,
    headers: Vec<(String, String)>,
    parked_at: Wall,
    /// Absent for messages that are parked only because an earlier one of their key is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
}

/// A quarantined key, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct QuarantinedKey {
    /// Which.
    pub key: String,
    /// Messages it holds.
    pub messages: u64,
    /// Since when, in milliseconds since 1970.
    pub since: Wall,
    /// Why.
    pub cause: Cause,
}

/// The quarantine of one partition.
#[derive(Clone, PartialEq, Debug)]
pub struct Quarantine {
    parked: u64,
    keys: u64,
    parked_max: u64,
    quirks: Quirks,
}

impl Quarantine {
    /// Counts what is parked. `parked_max` bounds it, so the scan at start is bounded too.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn recover(parked_max: u64, quirks: Quirks, view: &dyn View) -> Result<Self, Halt> {
        let mut out = Self { parked: 0, keys: 0, parked_max, quirks };
        let mut broken = None;
        view.scan(Table::ParkedKey, b"", &mut |_, row| match decode(row) {
            Ok(row) => {
                out.parked += row.messages;
                out.keys += 1;
                ControlFlow::Continue(())
            }
            Err(halt) => {
                broken = Some(halt);
                ControlFlow::Break(())
            }
        })?;
        broken.map_or(Ok(out), Err)
    }

    fn key<'k>(&self, key: &'k QuarantineKey) -> Cow<'k, QuarantineKey> {
        if !self.quirks.has(Quirk::QuarantineKeyRunsOn) {
            return Cow::Borrowed(key);
        }
        Cow::Owned(QuarantineKey(key.0.iter().map(|own| if *own == b' ' { b':' } else { *own }).collect()))
    }

    /// Messages parked in all.
    #[must_use]
    pub const fn parked(&self) -> u64 {
        self.parked
    }

    /// Keys held back.
    #[must_use]
    pub const fn keys(&self) -> u64 {
        self.keys
    }

    /// Whether this key is held back.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn holds(&self, key: &QuarantineKey, view: &dyn View) -> Result<bool, Halt> {
        if self.keys == 0 || self.quirks.has(Quirk::QuarantineLetThrough) {
            return Ok(false);
        }
        Ok(view.get(Table::ParkedKey, &self.key(key).0)?.is_some())
    }

    /// Parks a message and holds its key back from now on. `cause` is absent when the key already was.
    ///
    /// # Errors
    /// [`Fence::QuarantineFull`] at the limit; a halt when the table cannot be read.
    pub fn park<I, E>(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        message: &Parked<'_>,
        cause: Option<Cause>,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<(), Halt> {
        if self.parked >= self.parked_max {
            return Err(Fence::QuarantineFull { parked: self.parked }.into());
        }
        let key = &*self.key(key);
        let mut row = match cx.view().get(Table::ParkedKey, &key.0)? {
            Some(row) => decode(row)?,
            None => {
                self.keys += 1;
                let unexplained = Cause { kind: "unknown".into(), detail: String::new() };
                KeyRow { messages: 0, next: 0, since: now.wall, cause: cause.clone().unwrap_or(unexplained) }
            }
        };
        cx.mark(if cause.is_some() { Mark::QuarantineParked } else { Mark::QuarantineFollowed });
        let record = MessageRow {
            stream: message.stream.to_owned(),
            stream_seq: message.stream_seq,
            subject: message.subject.to_owned(),
            headers: message
                .headers
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            parked_at: now.wall,
            cause,
        };
        // The body may be anything, so it follows the record as it is.
        let mut value = serde_json::to_vec(&record).expect("a record serialises");
        value.push(b'\n');
        value.extend_from_slice(message.payload);
        cx.put(Table::Parked, &key.row(row.next), &value);
        row.messages += 1;
        row.next += 1;
        self.parked += 1;
        cx.put(Table::ParkedKey, &key.0, &serde_json::to_vec(&row).expect("a record serialises"));
        Ok(())
    }

    /// What is held back under a key.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn find(view: &dyn View, key: &QuarantineKey) -> Result<Option<QuarantinedKey>, Halt> {
        let Some(row) = view.get(Table::ParkedKey, &key.0)? else { return Ok(None) };
        let row = decode(row)?;
        let key = String::from_utf8_lossy(&key.0).into_owned();
        Ok(Some(QuarantinedKey { key, messages: row.messages, since: row.since, cause: row.cause }))
    }

    /// The quarantined keys, at most `max`.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn list(view: &dyn View, max: usize) -> Result<Vec<QuarantinedKey>, Halt> {
        let mut out = Vec::new();
        let mut broken = None;
        view.scan(Table::ParkedKey, b"", &mut |key, row| {
            if out.len() >= max {
                return ControlFlow::Break(());
            }
            match decode(row) {
                Ok(row) => {
                    let key = String::from_utf8_lossy(key).into_owned();
                    out.push(QuarantinedKey {
                        key,
                        messages: row.messages,
                        since: row.since,
                        cause: row.cause,
                    });
                    ControlFlow::Continue(())
                }
                Err(halt) => {
                    broken = Some(halt);
                    ControlFlow::Break(())
                }
            }
        })?;
        broken.map_or(Ok(out), Err)
    }

    /// What a recovered quarantine must agree with.
    #[must_use]
    pub const fn durable(&self) -> (u64, u64) {
        (self.parked, self.keys)
    }

    /// Its invariants: every key has as many rows as it says, in consecutive positions.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let mut keys = Vec::new();
        view.scan(Table::ParkedKey, b"", &mut |key, row| {
            keys.push((key.to_vec(), row.to_vec()));
            ControlFlow::Continue(())
        })?;
        let mut parked = 0;
        for (key, row) in keys {
            let row = decode(&row)?;
            let mut prefix = key.clone();
            prefix.push(b':');
            let mut next = 0_u64;
            let mut in_order = true;
            scan_prefix(view, Table::Parked, &prefix, &mut |key, _| {
                in_order &= key[prefix.len()..] == next.to_be_bytes();
                next += 1;
                ControlFlow::Continue(())
            })?;
            let name = String::from_utf8_lossy(&key).into_owned();
            invariant!(
                in_order && next == row.messages,
                Qrn1,
                "{name} holds {next} rows, says {}",
                row.messages
            );
            parked += row.messages;
        }
        invariant!(parked == self.parked, Qrn1, "{parked} messages in the table, {} counted", self.parked);
        Ok(())
    }
}

fn decode(row: &[u8]) -> Result<KeyRow, Halt> {
    serde_json::from_slice(row)
        .map_err(|error| Halt::Corrupt { table: Table::ParkedKey, detail: error.to_string() })
}
