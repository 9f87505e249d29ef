//! Quarantine by key: what cannot be applied is parked durably, in order, and holds back only its own key.
//!
//! ```text
//! message of key k ── k quarantined? ── no ──► apply ── cannot ──► park, quarantine k, TERM
//!                          └─────────── yes ─► park behind, ACK
//! ```
//!
//! | table | row |
//! |---|---|
//! | `parked_key` | key → how many messages, since when, why, and its group |
//! | `parked` | key and position → the message as it came, and why it is here |
//! | `parked_group` | group → how many keys and messages are held back for one and the same reason |
//!
//! Durable: the tables. Derived on recovery: how many messages are parked in all. Lost on purpose: nothing.
//!
//! - INV-QRN-1: while a key is quarantined nothing of it is applied, and its messages are parked in order.
//! - INV-QRN-2: a message is parked in the commit that advances the checkpoint past it (the caller stages both).
//! - INV-QRN-3: a group counts the keys and messages that are held back for its reason.
//!
//! Limit: `parked_max` messages in all; then the partition stops taking in rather than losing any.
//!
//! Not here: releasing what is parked. That is an operator's decision and needs commands of its own.

mod cause;
mod look;
mod rows;
#[cfg(test)]
pub(crate) mod tests;

pub use cause::Cause;
pub use look::{Group, Page, ParkedMessage, QuarantinedKey, Which};

use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::invariant;
use crate::marks::Mark;
use crate::quirks::{Quirk, Quirks};
use crate::store::{KEY_BYTES_MAX, Table, View, scan_prefix};
use crate::time::Now;
use crate::wire::headers::Headers;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::subject::Route;
use crate::wire::token;
use rows::{GroupRow, KeyRow, MessageRow};
use std::borrow::Cow;
use std::collections::BTreeMap;
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

    /// Reads back what [`display`](Self::display) says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Subject::parse(text).filter(|_| text.len() <= KEY_MAX).map(|_| Self(text.as_bytes().to_vec()))
    }

    /// What it holds back.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        Subject::parse(std::str::from_utf8(&self.0).ok()?)
    }

    fn prefix(&self) -> Vec<u8> {
        let mut key = self.0.clone();
        key.push(b':');
        key
    }

    fn row(&self, position: u64) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(&position.to_be_bytes());
        key
    }
}

/// What a key holds back, read from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// What a consumer reads from one subject.
    Source {
        /// The consumer.
        consumer: String,
        /// The subject.
        subject: String,
    },
    /// A saga instance.
    Instance {
        /// Whose.
        tenant: TenantId,
        /// Of which saga.
        saga: Name,
        /// Which.
        correlation: EntityId,
    },
}

impl Subject {
    fn parse(key: &str) -> Option<Self> {
        let (kind, rest) = key.strip_prefix("deadletter:")?.split_once(':')?;
        let (first, rest) = rest.split_once(':')?;
        match kind {
            "source" => {
                Some(Self::Source { consumer: token::unescape(first)?, subject: rest.replace(' ', ":") })
            }
            "saga" => {
                let (saga, correlation) = rest.split_once(':')?;
                Some(Self::Instance {
                    tenant: TenantId::from_token(first)?,
                    saga: Name::from_token(saga)?,
                    correlation: EntityId::from_token(correlation)?,
                })
            }
            _ => None,
        }
    }

    /// Whose it is; nobody's when the subject is none of ours.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Source { subject, .. } => Some(Route::parse(subject)?.tenant().clone()),
            Self::Instance { tenant, .. } => Some(tenant.clone()),
        }
    }
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
    /// The hash of the definition that could not apply it, where there is one.
    pub definition: Option<&'m str>,
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
        view.scan(Table::ParkedKey, b"", &mut |_, row| match KeyRow::decode(row) {
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
        let cause = cause.map(Cause::kept);
        let mut row = match cx.view().get(Table::ParkedKey, &key.0)? {
            Some(row) => KeyRow::decode(row)?,
            None => {
                self.keys += 1;
                let unexplained = || Cause { kind: "unknown".into(), detail: String::new() };
                let cause = cause.clone().unwrap_or_else(unexplained);
                let group = cause.group(message.definition);
                KeyRow { messages: 0, next: 0, since: now.wall, cause, group }
            }
        };
        cx.mark(if cause.is_some() { Mark::QuarantineParked } else { Mark::QuarantineFollowed });
        self.count(now, &row, message.definition, cx)?;
        cx.put(Table::Parked, &key.row(row.next), &MessageRow::encode(message, now.wall, cause));
        row.messages += 1;
        row.next += 1;
        self.parked += 1;
        cx.put(Table::ParkedKey, &key.0, &row.encode());
        Ok(())
    }

    /// One more message of this key, which may be its first.
    fn count<I, E>(
        &self,
        now: Now,
        key: &KeyRow,
        definition: Option<&str>,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<(), Halt> {
        let mut group = match cx.view().get(Table::ParkedGroup, key.group.as_bytes())? {
            Some(row) => GroupRow::decode(row)?,
            None => GroupRow {
                kind: key.cause.kind.clone(),
                pattern: key.cause.pattern(),
                example: key.cause.detail.clone(),
                definition: definition.map(str::to_owned),
                keys: 0,
                messages: 0,
                since: now.wall,
                last: now.wall,
            },
        };
        if key.messages > 0 && self.quirks.has(Quirk::QuarantineCountsFirstOnly) {
            return Ok(());
        }
        group.keys += u64::from(key.messages == 0);
        group.messages += 1;
        group.last = now.wall;
        cx.put(Table::ParkedGroup, key.group.as_bytes(), &group.encode());
        Ok(())
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
        let mut groups = BTreeMap::<String, (u64, u64)>::new();
        for (key, row) in keys {
            let row = KeyRow::decode(&row)?;
            let prefix = QuarantineKey(key.clone()).prefix();
            let group = groups.entry(row.group.clone()).or_default();
            *group = (group.0 + 1, group.1 + row.messages);
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
        let mut counted = BTreeMap::new();
        let mut broken = None;
        view.scan(Table::ParkedGroup, b"", &mut |group, row| match GroupRow::decode(row) {
            Ok(row) => {
                counted.insert(String::from_utf8_lossy(group).into_owned(), (row.keys, row.messages));
                ControlFlow::Continue(())
            }
            Err(halt) => {
                broken = Some(halt);
                ControlFlow::Break(())
            }
        })?;
        if let Some(halt) = broken {
            return Err(halt);
        }
        invariant!(groups == counted, Qrn3, "held back: {groups:?}; counted: {counted:?}");
        Ok(())
    }
}
