//! Looking at what is held back: groups, keys, messages, a page at a time, from committed rows.

use super::cause::Cause;
use super::rows::{Edited, GroupRow, KeyRow, MessageRow};
use super::selection::{Selection, SelectionId};
use super::{Quarantine, QuarantineKey, Subject};
use crate::halt::Halt;
use crate::store::{Table, View, try_scan};
use crate::time::Wall;
use crate::wire::id::TenantId;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Rows looked at for one page: a filter that few keys pass does not make a page a scan of everything.
const LOOKED_AT_MAX: usize = 10_000;
/// How much of a body that is no JSON is shown, in bytes.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// Which keys.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Which {
    /// Of this tenant.
    pub tenant: Option<TenantId>,
    /// Held back for this reason.
    pub group: Option<String>,
    /// This one.
    pub key: Option<QuarantineKey>,
}

/// A page, and where the next one begins; none when this is the last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// What there is.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A quarantined key, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct QuarantinedKey {
    /// Which.
    pub key: String,
    /// Whose, when that can be told.
    pub tenant_id: Option<TenantId>,
    /// Messages it holds.
    pub messages: u64,
    /// Since when, in milliseconds since 1970.
    pub since: Wall,
    /// Why.
    pub cause: Cause,
    /// Which keys are held back for the same reason.
    pub group: String,
    /// The selection it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selection: Option<SelectionId>,
}

/// Keys that are held back for the same reason, for people.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Group {
    /// Names it.
    pub group: String,
    /// What kind of failure.
    pub kind: String,
    /// What their details have in common.
    pub pattern: String,
    /// The detail of one of them.
    pub example: String,
    /// The hash of the definition that could not apply them, where there is one.
    pub definition: Option<String>,
    /// Keys held back.
    pub keys: u64,
    /// Messages they hold.
    pub messages: u64,
    /// When the first one was parked, in milliseconds since 1970.
    pub since: Wall,
    /// When the last one was.
    pub last: Wall,
}

/// A parked message, for people.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ParkedMessage {
    /// Its place in the order of its key.
    pub position: u64,
    /// Where it came from: a stream, or `outbox`; empty when it reached a saga instance from inside.
    pub stream: String,
    /// Its sequence there.
    pub stream_seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: BTreeMap<String, Vec<String>>,
    /// When it was parked, in milliseconds since 1970.
    pub parked_at: Wall,
    /// Why; absent when it waits for an earlier one of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// That its body is not the one it came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// How long its body is.
    pub payload_bytes: usize,
    /// Its body: as JSON, or as text as far as it is text and not too long.
    pub payload: Value,
}

impl Quarantine {
    /// What is held back under a key.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn find(view: &dyn View, key: &QuarantineKey) -> Result<Option<QuarantinedKey>, Halt> {
        Ok(Self::key_row(view, key)?.map(|row| told(&key.0, row)))
    }

    /// The quarantined keys after `after`, at most `max` of them.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn list(
        view: &dyn View,
        which: &Which,
        after: &str,
        max: usize,
    ) -> Result<Page<QuarantinedKey>, Halt> {
        if let Some(key) = &which.key {
            let found = Self::find(view, key)?.filter(|own| passes(which, own));
            return Ok(Page { items: found.into_iter().collect(), next: None });
        }
        page(view, Table::ParkedKey, after, max, |key, row| {
            Ok(Some(told(key, KeyRow::decode(row)?)).filter(|own| passes(which, own)))
        })
    }

    /// The reasons for which keys are held back, after `after`, at most `max` of them.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn groups(view: &dyn View, after: &str, max: usize) -> Result<Page<Group>, Halt> {
        page(view, Table::ParkedGroup, after, max, |key, row| {
            let GroupRow { kind, pattern, example, definition, keys, messages, since, last } =
                GroupRow::decode(row)?;
            let group = String::from_utf8_lossy(key).into_owned();
            Ok(Some(Group { group, kind, pattern, example, definition, keys, messages, since, last }))
        })
    }

    /// The messages of a key from a position on, at most `max` of them.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn messages(
        view: &dyn View,
        key: &QuarantineKey,
        from: u64,
        max: usize,
    ) -> Result<Vec<ParkedMessage>, Halt> {
        let prefix = key.prefix();
        let mut items = Vec::new();
        try_scan(view, Table::Parked, &key.row(from), &mut |own, row| {
            if items.len() >= max || !own.starts_with(&prefix) {
                return Ok(ControlFlow::Break(()));
            }
            items.push(message(&own[prefix.len()..], row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(items)
    }

    /// Every selection on record, oldest first.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn selections(view: &dyn View) -> Result<BTreeMap<SelectionId, Selection>, Halt> {
        let mut all = BTreeMap::new();
        try_scan(view, Table::Redrive, b"", &mut |key, row| {
            all.insert(SelectionId::from_key(key)?, Selection::decode(row)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }
}

fn told(key: &[u8], row: KeyRow) -> QuarantinedKey {
    let key = String::from_utf8_lossy(key).into_owned();
    let tenant_id = Subject::parse(&key).and_then(|subject| subject.tenant());
    let KeyRow { messages, next: _, since, cause, group, selection } = row;
    QuarantinedKey { key, tenant_id, messages, since, cause, group, selection }
}

fn passes(which: &Which, own: &QuarantinedKey) -> bool {
    which.tenant.as_ref().is_none_or(|tenant| own.tenant_id.as_ref() == Some(tenant))
        && which.group.as_ref().is_none_or(|group| own.group == *group)
}

fn message(position: &[u8], row: &[u8]) -> Result<ParkedMessage, Halt> {
    let (record, body) = MessageRow::decode(row)?;
    let mut headers = BTreeMap::<String, Vec<String>>::new();
    for (name, value) in record.headers {
        headers.entry(name).or_default().push(value);
    }
    let payload = serde_json::from_slice(body).unwrap_or_else(|_| {
        Value::String(String::from_utf8_lossy(&body[..body.len().min(TEXT_BYTES_MAX)]).into_owned())
    });
    Ok(ParkedMessage {
        position: position.try_into().map_or(0, u64::from_be_bytes),
        stream: record.stream,
        stream_seq: record.stream_seq,
        subject: record.subject,
        headers,
        parked_at: record.parked_at,
        cause: record.cause,
        edited: record.edited,
        payload_bytes: body.len(),
        payload,
    })
}

fn page<T>(
    view: &dyn View,
    table: Table,
    after: &str,
    max: usize,
    mut read: impl FnMut(&[u8], &[u8]) -> Result<Option<T>, Halt>,
) -> Result<Page<T>, Halt> {
    let (mut items, mut next, mut seen) = (Vec::new(), None, 0);
    let mut last = String::new();
    try_scan(view, table, after.as_bytes(), &mut |key, row| {
        if key == after.as_bytes() {
            return Ok(ControlFlow::Continue(()));
        }
        if items.len() >= max || seen >= LOOKED_AT_MAX {
            next = Some(std::mem::take(&mut last));
            return Ok(ControlFlow::Break(()));
        }
        seen += 1;
        last = String::from_utf8_lossy(key).into_owned();
        items.extend(read(key, row)?);
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Page { items, next })
}
