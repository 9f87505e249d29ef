//! Timers: each that is set fires once and not early, or is cancelled by the saga that set it.

use super::quarantine::let_go;
use super::{Seen, Violation};
use cloudlysis_core::outbox::{Body, Entry, Origin, Row};
use cloudlysis_core::saga::Instance;
use cloudlysis_core::schedule::Timer;
use cloudlysis_core::wire::id::CommandId;
use cloudlysis_core::wire::keys;
use cloudlysis_core::{Invariant, Table, View};
use cloudlysis_io_sim::store::Change;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Watches timers, and that a saga that begins again sets others (INV-SAGA-9).
#[derive(Clone, Debug, Default)]
pub struct Timers {
    fired: BTreeSet<CommandId>,
}

fn broken(invariant: Invariant, timer: &Timer, detail: &str) -> Violation {
    Violation::new(invariant, format!("timer {} ({}): {detail}", timer.name, timer.id))
}

fn timer(row: Option<&Vec<u8>>) -> Option<Timer> {
    serde_json::from_slice(row?).ok()
}

impl Timers {
    pub(super) fn on_changes(&mut self, seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
        let mut sent = BTreeMap::new();
        let let_go = let_go(changes);
        let is_new = |change: &&Change| {
            let position = keys::parse_outbox(&change.key).map(|(_, position)| position);
            change.table == Table::Outbox
                && change.before.is_none()
                && position.is_none_or(|own| !let_go.contains(&own))
        };
        for change in changes.iter().filter(is_new) {
            let entry = change.after.as_deref().and_then(|row| Some(Row::decode(row).ok()?.entry));
            if let Some(Entry {
                origin: Origin::Reminder { timer_id, .. },
                body: Body::Message { payload, .. },
            }) = entry
                && sent.insert(timer_id.clone(), payload).is_some()
            {
                let detail = format!("{timer_id} leaves twice in one commit");
                return Err(Violation::new(Invariant::Sch2, detail));
            }
        }
        for id in sent.keys() {
            if !self.fired.insert(id.clone()) {
                return Err(Violation::new(Invariant::Sch2, format!("timer {id} fires again")));
            }
        }
        for change in changes.iter().filter(|change| change.table == Table::TimerDue) {
            if let (None, Some(set)) = (&change.before, timer(change.after.as_ref()))
                && self.fired.contains(&set.id)
            {
                let key = keys::saga(&set.tenant, &set.saga, &set.correlation);
                let row = seen.rows.get(Table::Saga, &key).ok().flatten();
                let instance = row.and_then(|row| Instance::decode(row).ok());
                let invariant = match instance.is_some_and(|own| own.restarts > 0) {
                    true => Invariant::Saga9,
                    false => Invariant::Sch2,
                };
                return Err(broken(invariant, &set, "is set after it has fired"));
            }
            let (Some(gone), None) = (timer(change.before.as_ref()), &change.after) else { continue };
            match sent.get(&gone.id) {
                Some(payload) => not_early(&gone, payload)?,
                None => cancelled(seen, &gone)?,
            }
        }
        Ok(())
    }
}

/// INV-SCH-3, by the clock of the node that fired it.
fn not_early(timer: &Timer, payload: &str) -> Result<(), Violation> {
    let said: Value = serde_json::from_str(payload).unwrap_or_default();
    let (at, due) = (said["timestamp"].as_str().unwrap_or_default(), timer.due.rfc3339());
    // RFC 3339 in UTC with milliseconds sorts as text.
    if at >= due.as_str() {
        Ok(())
    } else {
        Err(broken(Invariant::Sch3, timer, &format!("due {due}, fires {at}")))
    }
}

/// INV-SCH-2: what is removed without leaving is no longer waited for.
fn cancelled(seen: &Seen<'_>, timer: &Timer) -> Result<(), Violation> {
    let key = keys::saga(&timer.tenant, &timer.saga, &timer.correlation);
    let row = seen.rows.get(Table::Saga, &key).ok().flatten().and_then(|row| Instance::decode(row).ok());
    let waits = row.is_some_and(|instance| instance.timers.iter().any(|own| own.id == timer.id));
    if waits { Err(broken(Invariant::Sch2, timer, "vanishes while its saga waits for it")) } else { Ok(()) }
}
