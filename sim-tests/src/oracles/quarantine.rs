//! The quarantine: what is held back leaves first message first, when it may, and is accounted for.

use super::logs::Logs;
use super::{Seen, Violation};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey, Subject, Which};
use cloudlysis_core::saga::Instance;
use cloudlysis_core::store::scan_prefix;
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::id::Name;
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Halt, Invariant, Table, View};
use cloudlysis_io_sim::store::Change;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// What a selection counts of the messages that left by it.
const LEFT: [&str; 3] = ["applied", "superseded", "discarded"];
/// How its keys may have ended.
const ENDED: [&str; 3] = ["released", "failed", "given_back"];

fn broken(invariant: Invariant, key: &[u8], detail: &str) -> Violation {
    Violation::new(invariant, format!("{}: {detail}", String::from_utf8_lossy(key)))
}

fn read(row: Option<&Vec<u8>>) -> Value {
    row.and_then(|row| serde_json::from_slice(row).ok()).unwrap_or_default()
}

fn number(row: &Value, field: &str) -> u64 {
    row[field].as_u64().unwrap_or_default()
}

/// Positions of the entries that the outbox had given up on and that were let go in this commit.
pub(super) fn let_go(changes: &[Change]) -> BTreeSet<u64> {
    let gone = changes.iter().filter(|own| own.table == Table::Parked && own.after.is_none());
    let record = |own: &Change| {
        let row = own.before.as_ref()?;
        serde_json::from_slice::<Value>(row.split(|byte| *byte == b'\n').next()?).ok()
    };
    let of_outbox = gone.filter_map(record).filter(|record| record["stream"] == "outbox");
    of_outbox.map(|record| number(&record, "stream_seq")).collect()
}

pub(super) fn on_changes(seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
    let mut left: BTreeMap<&[u8], Vec<u64>> = BTreeMap::new();
    for change in changes.iter().filter(|own| own.table == Table::Parked && own.after.is_none()) {
        let (key, position) = change.key.split_at(change.key.len() - 8);
        let position = position.try_into().map_or(0, u64::from_be_bytes);
        left.entry(&key[..key.len() - 1]).or_default().push(position);
    }
    let mut by_selection: BTreeMap<String, u64> = BTreeMap::new();
    for change in changes.iter().filter(|own| own.table == Table::ParkedKey) {
        let before = read(change.before.as_ref());
        let positions = left.remove(&change.key[..]).unwrap_or_default();
        let first = number(&before, "next") - number(&before, "messages");
        if !positions.iter().copied().eq(first..first + positions.len() as u64) {
            let detail = format!("{positions:?} left, the first was {first}");
            return Err(broken(Invariant::Qrn1, &change.key, &detail));
        }
        if let Some(selection) = before["selection"].as_str() {
            *by_selection.entry(selection.to_owned()).or_default() += positions.len() as u64;
        }
        if change.after.is_none() {
            is_empty(seen, &change.key)?;
        }
    }
    if let Some((key, positions)) = left.first_key_value() {
        return Err(broken(
            Invariant::Qrn1,
            key,
            &format!("{positions:?} left, and the key does not say so"),
        ));
    }
    for change in changes.iter().filter(|own| own.table == Table::Redrive) {
        check_selection(change, &mut by_selection)?;
    }
    match by_selection.into_iter().find(|(_, messages)| *messages > 0) {
        Some((id, messages)) => {
            Err(broken(Invariant::Qrn4, id.as_bytes(), &format!("forgets {messages} messages")))
        }
        None => Ok(()),
    }
}

/// INV-QRN-1: no instance applies an event whose message is parked, and stays so.
pub(super) fn check_overtaken(seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
    let applied: BTreeSet<&[u8]> = changes
        .iter()
        .filter(|own| own.table == Table::SagaCause && own.before.is_none())
        .map(|own| &own.key[..])
        .collect();
    if applied.is_empty() {
        return Ok(());
    }
    let of_halt = |halt: Halt| Violation::of_halt(seen.node, &halt);
    let held = Quarantine::list(&seen.rows, &Which::default(), "", usize::MAX).map_err(of_halt)?;
    for own in held.items {
        let Some(key) = QuarantineKey::parse(&own.key) else { continue };
        // What is parked or has its turn in this turn is looked at as it was before, by others.
        let row =
            |change: &&Change| change.table == Table::Parked && change.key.starts_with(own.key.as_bytes());
        if !matches!(key.subject(), Some(Subject::Source { .. })) || changes.iter().any(|change| row(&change))
        {
            continue;
        }
        for parked in Quarantine::messages(&seen.rows, &key, 0, usize::MAX).map_err(of_halt)? {
            if parked.stream == PlatformStream::AggregateEvents.name()
                && let Some(cause) = overtaken(seen, parked.stream_seq, &applied)
            {
                return Err(broken(
                    Invariant::Qrn1,
                    own.key.as_bytes(),
                    &format!("{cause} is parked and applied"),
                ));
            }
        }
    }
    Ok(())
}

/// An event of this message that was applied by an instance whose correlation is the id of an order.
fn overtaken(seen: &Seen<'_>, stream_seq: u64, applied: &BTreeSet<&[u8]>) -> Option<String> {
    let stream = PlatformStream::AggregateEvents.name();
    let stored = seen.broker.log(stream, stream_seq).ok()?.into_iter().next()?;
    let headers = stored.headers.to_headers();
    let message = EventMessage::decode(&stored.subject, &headers, &stored.payload, "oracle").ok()?;
    let of_orders = ["checkout", "alarm"].map(|saga| Name::parse(saga).expect("a name"));
    (message.version..).take(message.events.len()).find_map(|version| {
        let cause = format!("event/{}/{}/{version}", message.aggregate, message.id.token());
        // Who is restarted applies once more what it began with, though a copy of that was parked since.
        let begins_again = |saga: &Name| {
            let instance =
                seen.rows.get(Table::Saga, &keys::saga(&message.tenant, saga, &message.id)).ok().flatten();
            let instance = instance.and_then(|row| Instance::decode(row).ok());
            instance.is_some_and(|own| {
                own.restarts > 0 && own.began_with.is_some_and(|began| began.cause == cause)
            })
        };
        let is_applied = |saga: &Name| {
            let row = keys::saga_cause(&message.tenant, saga, &message.id, &cause);
            applied.contains(&row[..]) && !begins_again(saga)
        };
        of_orders.iter().any(is_applied).then_some(cause)
    })
}

/// INV-QRN-1: a key that is free holds nothing back.
fn is_empty(seen: &Seen<'_>, key: &[u8]) -> Result<(), Violation> {
    let mut prefix = key.to_vec();
    prefix.push(b':');
    let mut rows = 0;
    let scanned = scan_prefix(&seen.rows, Table::Parked, &prefix, &mut |_, _| {
        rows += 1;
        ControlFlow::Continue(())
    });
    scanned.map_err(|fault| Violation::of_halt(seen.node, &Halt::Store(fault)))?;
    if rows == 0 { Ok(()) } else { Err(broken(Invariant::Qrn1, key, &format!("is free and holds {rows}"))) }
}

/// INV-QRN-4: keys and messages of a selection are accounted for.
fn check_selection(change: &Change, by_selection: &mut BTreeMap<String, u64>) -> Result<(), Violation> {
    let (before, after) = (read(change.before.as_ref()), read(change.after.as_ref()));
    if after.is_null() {
        let ended = before["state"] == "ended";
        return if ended {
            Ok(())
        } else {
            Err(broken(Invariant::Qrn4, &change.key, "is forgotten too soon"))
        };
    }
    let id = format!("s-{}", change.key[..].try_into().map_or(0, u64::from_be_bytes));
    let sum = |row: &Value, fields: &[&str]| fields.iter().map(|field| number(row, field)).sum::<u64>();
    let counted = sum(&after, &LEFT) - sum(&before, &LEFT);
    let there = by_selection.remove(&id).unwrap_or_default();
    let keys = number(&after, "left") + sum(&after, &ENDED);
    let is_frozen = before.is_null() || before["keys"] == after["keys"];
    if counted == there && keys == number(&after, "keys") && is_frozen {
        return Ok(());
    }
    let detail = format!("{there} messages left by it: {before} became {after}");
    Err(broken(Invariant::Qrn4, id.as_bytes(), &detail))
}

/// Nothing is quarantined but what a person spoilt.
pub(super) fn check_parked(change: &Change, logs: &Logs) -> Result<(), Violation> {
    if change.before.is_some() {
        return Ok(());
    }
    let key = String::from_utf8_lossy(&change.key).into_owned();
    match QuarantineKey::parse(&key).and_then(|key| key.subject()) {
        // What the outbox gave up on: it says so itself.
        Some(Subject::Lane { .. }) => return Ok(()),
        Some(Subject::Source { subject, .. }) if logs.is_poisoned(&subject) => return Ok(()),
        Some(Subject::Source { .. } | Subject::Instance { .. }) | None => {}
    }
    let row = String::from_utf8_lossy(change.after.as_deref().unwrap_or_default()).into_owned();
    let invariant = if row.contains("version_gap") { Invariant::Gate2 } else { Invariant::Qrn1 };
    Err(broken(invariant, &change.key, &format!("quarantined for no reason of ours: {row}")))
}
