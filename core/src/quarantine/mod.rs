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
//! | `redrive` | selection → what an operator does with the keys in it, and how far that is |
//! | `redrive_key` | selection and key → the key's turn has not come |
//!
//! What is held back leaves when an operator says so: a key is selected ([`selection`]), and its messages have their turn
//! ([`release`]); or its first message is skipped ([`operate`]).
//!
//! Durable: the tables. Derived on recovery: how many messages are parked in all, the selections. Lost on purpose: when
//! the next message may have its turn.
//!
//! - INV-QRN-1: while a key is quarantined nothing of it is applied but its first message, in its turn; its messages are
//!   parked in order.
//! - INV-QRN-2: a message is parked in the commit that advances the checkpoint past it (the caller stages both).
//! - INV-QRN-3: a group counts the keys and messages that are held back for its reason.
//! - INV-QRN-4: a selection accounts for every key in it, and for every message that left by it.
//!
//! Limit: `parked_max` messages in all; then the partition stops taking in rather than losing any.
//!
//! Not here: applying a message. The parent does, and says how it fared.

mod cause;
mod key;
mod look;
pub mod operate;
pub mod release;
mod rows;
pub mod selection;
#[cfg(test)]
pub(crate) mod tests;

pub use cause::Cause;
use key::LANES;
pub use key::{QuarantineKey, Subject};
pub use look::{Group, Page, ParkedMessage, QuarantinedKey, Which};
pub use rows::Edited;

use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::invariant;
use crate::marks::Mark;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View, scan_prefix, try_scan};
use crate::time::{Mono, Now};
use crate::wire::headers::Headers;
use rows::{GroupRow, KeyRow, MessageRow};
use selection::{Selection, SelectionId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

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
    selections: BTreeMap<SelectionId, Selection>,
    /// When the next message may have its turn.
    again_at: Option<Mono>,
    parked_max: u64,
    quirks: Quirks,
}

/// What the tables determine of a quarantine.
#[derive(Clone, PartialEq, Debug)]
pub struct Durable {
    parked: u64,
    keys: u64,
    selections: BTreeMap<SelectionId, Selection>,
}

impl Quarantine {
    /// Counts what is parked. `parked_max` bounds it, so the scan at start is bounded too.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn recover(parked_max: u64, quirks: Quirks, view: &dyn View) -> Result<Self, Halt> {
        let (mut parked, mut keys) = (0, 0);
        try_scan(view, Table::ParkedKey, b"", &mut |_, row| {
            parked += KeyRow::decode(row)?.messages;
            keys += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Self { parked, keys, selections: Self::selections(view)?, again_at: None, parked_max, quirks })
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

    /// Whether another message may be parked.
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.parked < self.parked_max
    }

    /// The lanes of the outbox that are held back.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn lanes(view: &dyn View) -> Result<Vec<String>, Halt> {
        let mut lanes = Vec::new();
        scan_prefix(view, Table::ParkedKey, LANES.as_bytes(), &mut |key, _| {
            lanes.push(String::from_utf8_lossy(&key[LANES.len()..]).into_owned());
            ControlFlow::Continue(())
        })?;
        Ok(lanes)
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
        self.park_all(now, key, std::slice::from_ref(message), cause, cx)
    }

    /// Parks messages of one definition in their order, and holds their key back from now on: the first one has the cause.
    ///
    /// # Errors
    /// [`Fence::QuarantineFull`] when there is no room for all of them; a halt when the table cannot be read.
    pub fn park_all<I, E>(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        messages: &[Parked<'_>],
        cause: Option<Cause>,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<(), Halt> {
        let Some(first) = messages.first() else { return Ok(()) };
        let came = messages.len() as u64;
        if self.parked.saturating_add(came) > self.parked_max {
            return Err(Fence::QuarantineFull { parked: self.parked }.into());
        }
        let key = &*self.key(key);
        let mut cause = cause.map(Cause::kept);
        let mut row = match cx.view().get(Table::ParkedKey, &key.0)? {
            Some(row) => KeyRow::decode(row)?,
            None => {
                self.keys += 1;
                let unexplained = || Cause { kind: "unknown".into(), detail: String::new() };
                let cause = cause.clone().unwrap_or_else(unexplained);
                let group = cause.group(first.definition);
                KeyRow { messages: 0, next: 0, since: now.wall, cause, group, selection: None }
            }
        };
        let keys = u64::from(row.messages == 0);
        let counted = if self.quirks.has(Quirk::QuarantineCountsFirstOnly) { keys } else { came };
        if counted > 0 {
            Self::join_group(now, &row, first.definition, (keys, counted), cx)?;
        }
        for message in messages {
            cx.mark(if cause.is_some() { Mark::QuarantineParked } else { Mark::QuarantineFollowed });
            cx.put(Table::Parked, &key.row(row.next), &MessageRow::encode(message, now.wall, cause.take()));
            row.next += 1;
        }
        row.messages += came;
        self.parked += came;
        cx.put(Table::ParkedKey, &key.0, &row.encode());
        Ok(())
    }

    /// So many keys and messages more are held back for the reason of this one.
    fn join_group<I, E>(
        now: Now,
        key: &KeyRow,
        definition: Option<&str>,
        (keys, messages): (u64, u64),
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
        group.keys += keys;
        group.messages += messages;
        group.last = now.wall;
        cx.put(Table::ParkedGroup, key.group.as_bytes(), &group.encode());
        Ok(())
    }

    /// What a recovered quarantine must agree with.
    #[must_use]
    pub fn durable(&self) -> Durable {
        Durable { parked: self.parked, keys: self.keys, selections: self.selections.clone() }
    }

    /// Its invariants: every key has as many rows as it says, in consecutive positions; groups and selections add up.
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
        let mut selected = BTreeMap::<SelectionId, u64>::new();
        let mut groups = BTreeMap::<String, (u64, u64)>::new();
        for (key, row) in keys {
            let row = KeyRow::decode(&row)?;
            let prefix = QuarantineKey(key.clone()).prefix();
            let group = groups.entry(row.group.clone()).or_default();
            *group = (group.0 + 1, group.1 + row.messages);
            let (mut next, mut in_order) = (row.first(), true);
            scan_prefix(view, Table::Parked, &prefix, &mut |key, _| {
                in_order &= key[prefix.len()..] == next.to_be_bytes();
                next += 1;
                ControlFlow::Continue(())
            })?;
            let name = String::from_utf8_lossy(&key).into_owned();
            let (rows, said) = (next - row.first(), row.messages);
            invariant!(in_order && rows == said, Qrn1, "{name} holds {rows} rows, says {said}");
            if let Some(selection) = row.selection {
                *selected.entry(selection).or_default() += 1;
            }
            parked += row.messages;
        }
        invariant!(parked == self.parked, Qrn1, "{parked} messages in the table, {} counted", self.parked);
        let mut counted = BTreeMap::new();
        try_scan(view, Table::ParkedGroup, b"", &mut |group, row| {
            let row = GroupRow::decode(row)?;
            counted.insert(String::from_utf8_lossy(group).into_owned(), (row.keys, row.messages));
            Ok(ControlFlow::Continue(()))
        })?;
        invariant!(groups == counted, Qrn3, "held back: {groups:?}; counted: {counted:?}");
        let waiting: BTreeMap<SelectionId, u64> =
            self.selections.iter().filter(|(_, own)| own.left > 0).map(|(id, own)| (*id, own.left)).collect();
        invariant!(selected == waiting, Qrn4, "selected: {selected:?}; waiting: {waiting:?}");
        for (id, selection) in &self.selections {
            invariant!(selection.adds_up(), Qrn4, "{id} does not account for its keys: {selection:?}");
        }
        Ok(())
    }
}
