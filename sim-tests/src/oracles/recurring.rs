//! Schedules: every occurrence fires once, in order and not early, or is left out or missed for a reason;
//! none does while its schedule is paused, and what operators ask for besides fires once.
//!
//! The rounds of the application are due every five seconds since 1970, so the moments themselves are known
//! here.

use super::{Seen, Violation};
use cloudlysis_core::saga::Instance;
use cloudlysis_core::schedule::recurring::{Counts, Request, Row, RowKey, Running};
use cloudlysis_core::wire::id::{CommandId, TenantId};
use cloudlysis_core::wire::keys;
use cloudlysis_core::{Invariant, Table, View, Wall};
use cloudlysis_io_sim::store::Change;
use std::collections::{BTreeMap, BTreeSet};

/// What the manifests say.
const PERIOD_MS: u64 = 5_000;
const WINDOW_MS: u64 = 20_000;
const OCCURRENCES_MAX: u64 = 3;
const SAGA: &str = "round";
/// The schedules that start it.
const SAGAS_BY: [&str; 2] = ["rounds", "queued_rounds"];

fn broken(invariant: Invariant, key: &RowKey, detail: &str) -> Violation {
    Violation::new(invariant, format!("schedule {} of {}: {detail}", key.schedule, key.tenant))
}

pub(super) fn on_changes(seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
    let mut fired: BTreeMap<TenantId, u64> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.table == Table::Recurring) {
        let read = |row: &Option<Vec<u8>>| row.as_deref().and_then(Row::decode);
        let (Some(key), Some(after)) = (RowKey::parse(&change.key), read(&change.after)) else {
            let detail = format!("{} is not a row of a schedule", String::from_utf8_lossy(&change.key));
            return Err(Violation::new(Invariant::Cron4, detail));
        };
        let before = read(&change.before);
        if let Some(before) = &before {
            check_passed(&key, before, &after)?;
        }
        // A row that is new has fired nothing before.
        let before = before.unwrap_or_else(|| untouched(&after));
        let besides = check_asked(&key, &before, &after)?;
        let by_calendar = after.counts.fired - before.counts.fired;
        // What another asks for is an effect, which may leave first.
        if SAGAS_BY.contains(&key.schedule.as_str()) {
            *fired.entry(key.tenant.clone()).or_default() += by_calendar + besides;
        }
        if by_calendar + after.counts.backfilled > before.counts.backfilled {
            check_held(&key, &before, &after)?;
        }
        if by_calendar > 0 {
            check_fired(&key, &before, &after)?;
        }
        if by_calendar + besides > 0 {
            check_overlap(seen, &key, &before)?;
        }
    }
    check_started(changes, &fired)
}

/// The row of a schedule of which nothing has become yet.
fn untouched(row: &Row) -> Row {
    Row {
        counts: Counts::default(),
        fired: None,
        running: None,
        asked: Vec::new(),
        backfill: None,
        ..row.clone()
    }
}

/// INV-CRON-6: a pause that lasts from commit to commit lets nothing through but triggers.
fn check_held(key: &RowKey, before: &Row, after: &Row) -> Result<(), Violation> {
    match (&before.paused, &after.paused) {
        (Some(paused), Some(still)) if paused.since == still.since => {
            let detail = format!("{:?} fires, {paused:?}", after.fired);
            Err(broken(Invariant::Cron6, key, &detail))
        }
        _ => Ok(()),
    }
}

/// INV-CRON-7: how many fired because an operator asked, each request under a key of its own; of a time that has passed
/// as many as its cursor has moved by.
fn check_asked(key: &RowKey, before: &Row, after: &Row) -> Result<u64, Violation> {
    let keys: BTreeSet<&CommandId> = after.asked.iter().map(|asked| &asked.key).collect();
    let (mut triggers, mut wanted) = (0, left(before));
    for asked in &after.asked {
        if before.asked.iter().any(|known| known.key == asked.key) {
            continue;
        }
        match asked.what {
            Request::Trigger => triggers += 1,
            Request::Backfill { from, to } => wanted += due_between(from, to),
        }
    }
    let counts = after.counts;
    let triggered = counts.triggered - before.counts.triggered;
    let backfilled = counts.backfilled - before.counts.backfilled;
    let given_up = counts.dropped - before.counts.dropped;
    let is_once = keys.len() == after.asked.len() && triggers == triggered;
    if is_once && wanted == backfilled + given_up + left(after) {
        return Ok(triggered + backfilled);
    }
    let detail =
        format!("{triggered} and {backfilled} fired, {given_up} were given up: {before:?}, {after:?}");
    Err(broken(Invariant::Cron7, key, &detail))
}

fn due_between(from: Wall, to: Wall) -> u64 {
    (to.as_ms() / PERIOD_MS + 1).saturating_sub(from.as_ms().div_ceil(PERIOD_MS))
}

/// What is left of a time that is filled in.
fn left(row: &Row) -> u64 {
    row.backfill.as_ref().map_or(0, |own| due_between(own.next, own.to))
}

/// INV-CRON-3: what was passed has fired, waits, was left out or was missed.
fn check_passed(key: &RowKey, before: &Row, after: &Row) -> Result<(), Violation> {
    let at = |row: &Row| row.next.map_or(0, |next| next.as_ms() / PERIOD_MS);
    if at(after) < at(before) {
        let detail = format!("{:?} is next after {:?} was", after.next, before.next);
        return Err(broken(Invariant::Cron1, key, &detail));
    }
    // Every occurrence can be filled in here: one that has failed has fired before.
    let ended = |row: &Row| {
        let counts = row.counts;
        counts.fired + counts.missed + counts.skipped + u64::from(row.queued.is_some())
    };
    let (passed, accounted) = (at(after) - at(before), ended(after).saturating_sub(ended(before)));
    if passed != accounted {
        let detail =
            format!("{passed} occurrences passed, {accounted} are accounted for: {before:?}, {after:?}");
        return Err(broken(Invariant::Cron3, key, &detail));
    }
    Ok(())
}

fn check_fired(key: &RowKey, before: &Row, after: &Row) -> Result<(), Violation> {
    let Some(fired) = &after.fired else {
        return Err(broken(Invariant::Cron1, key, "counts an occurrence that is not on record"));
    };
    if fired.at < fired.due {
        return Err(broken(Invariant::Cron2, key, &format!("due {:?}, fires {:?}", fired.due, fired.at)));
    }
    let due = fired.due.as_ms();
    if due % PERIOD_MS != 0 || before.fired.as_ref().is_some_and(|last| last.due >= fired.due) {
        let detail = format!("{:?} fires after {:?} did", fired.due, before.fired);
        return Err(broken(Invariant::Cron1, key, &detail));
    }
    // What was missed right before it: too old, or one of too many.
    let missed = after.counts.missed > before.counts.missed;
    let is_recent = fired.at.as_ms() - (due - PERIOD_MS) <= WINDOW_MS;
    let later = (fired.at.as_ms() - due) / PERIOD_MS + 1;
    if missed && before.queued.is_none() && is_recent && later < OCCURRENCES_MAX {
        let detail = format!("the one before {:?} was missed at {:?}", fired.due, fired.at);
        return Err(broken(Invariant::Cron3, key, &detail));
    }
    Ok(())
}

/// INV-CRON-5, whatever made it fire.
fn check_overlap(seen: &Seen<'_>, key: &RowKey, before: &Row) -> Result<(), Violation> {
    if let Some(Running::Instance { saga, correlation }) = &before.running {
        let row = seen.rows.get(Table::Saga, &keys::saga(&key.tenant, saga, correlation)).ok().flatten();
        let instance = row.and_then(|row| Instance::decode(row).ok());
        if instance.is_some_and(|instance| !instance.status.is_final()) {
            let detail = format!("another one fires while {correlation} runs");
            return Err(broken(Invariant::Cron5, key, &detail));
        }
    }
    Ok(())
}

/// INV-CRON-1: an occurrence that fired has started its instance in this commit, and nothing else has started one.
fn check_started(changes: &[Change], fired: &BTreeMap<TenantId, u64>) -> Result<(), Violation> {
    let mut started: BTreeMap<TenantId, u64> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.table == Table::Saga && change.before.is_none()) {
        if let Some((tenant, saga, _)) = keys::parse_saga(&change.key)
            && saga.as_str() == SAGA
        {
            *started.entry(tenant).or_default() += 1;
        }
    }
    for tenant in started.keys().chain(fired.keys()) {
        let count = |of: &BTreeMap<TenantId, u64>| of.get(tenant).copied().unwrap_or_default();
        if count(&started) != count(fired) {
            let detail = format!(
                "{} rounds of {tenant} fired, {} were started with it",
                count(fired),
                count(&started)
            );
            return Err(Violation::new(Invariant::Cron1, detail));
        }
    }
    Ok(())
}
