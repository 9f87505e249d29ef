//! Views: every row, against a fold of the true log up to the view's checkpoint.

use super::reach::Reach;
use super::{Seen, Violation};
use crate::app::shop;
use cloudlysis_core::jetstream::StoredMessage;
use cloudlysis_core::manifest::ProjectionDef;
use cloudlysis_core::program::contract::{self, Projected};
use cloudlysis_core::program::{GAS_MAX_DEFAULT, Gas, ProgramError};
use cloudlysis_core::projection::ViewRow;
use cloudlysis_core::quarantine::QuarantineKey;
use cloudlysis_core::store::scan_prefix;
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::id::{EntityId, Name};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::{ConsumerName, ConsumerRole, PlatformStream};
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Halt, Invariant, Table, View};
use cloudlysis_io_sim::store::{Change, Committed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The fold of one view.
#[derive(Clone, Debug)]
struct Fold {
    name: Name,
    definition: Arc<ProjectionDef>,
    consumer: ConsumerName,
    /// Up to here.
    reach: Reach,
    rows: BTreeMap<Vec<u8>, (u64, Value)>,
    /// The last version of every source.
    versions: BTreeMap<String, u64>,
    /// Sources from which garbage came.
    held: BTreeSet<String>,
}

/// The folds of all views.
#[derive(Clone, Debug)]
pub struct Views {
    folds: Vec<Fold>,
}

fn broken(invariant: Invariant, fold: &Fold, detail: &str) -> Violation {
    Violation::new(invariant, format!("view {} at {}: {detail}", fold.name, fold.reach.seq))
}

fn text(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

impl Views {
    pub(super) fn new() -> Self {
        let folds = shop()
            .projections
            .iter()
            .map(|(name, definition)| Fold {
                name: name.clone(),
                definition: definition.clone(),
                consumer: ConsumerName::new(ConsumerRole::Projection, Some(name), 0),
                reach: Reach::default(),
                rows: BTreeMap::new(),
                versions: BTreeMap::new(),
                held: BTreeSet::new(),
            })
            .collect();
        Self { folds }
    }

    /// The disk is an older one now: every row is compared anew at the next commit.
    pub(super) fn on_restored(&mut self) {
        *self = Self::new();
    }

    /// Every row of every view, against the log that is there.
    pub(super) fn compare_all(mut self, seen: &Seen<'_>) -> Result<(), Violation> {
        let mut keys = BTreeSet::new();
        for fold in &mut self.folds {
            fold.advance(Reach::after(seen, &fold.consumer)?, seen, &mut keys)?;
        }
        let scanned = seen.rows.scan(Table::View, b"", &mut |key, _| {
            keys.insert(key.to_vec());
            ControlFlow::Continue(())
        });
        scanned.map_err(|fault| Violation::new(Invariant::Prj2, fault.to_string()))?;
        self.folds.iter().try_for_each(|fold| keys.iter().try_for_each(|key| fold.compare(key, &seen.rows)))
    }

    pub(super) fn on_changes(&mut self, seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
        let mut touched = BTreeSet::new();
        for fold in &mut self.folds {
            if let Some((_, after)) = Reach::change(seen, changes, &fold.consumer)? {
                fold.advance(after, seen, &mut touched)?;
            }
        }
        for change in changes.iter().filter(|change| change.table == Table::View) {
            if !touched.contains(&change.key) {
                return Err(stray(change, &touched));
            }
        }
        for fold in &self.folds {
            for key in &touched {
                fold.compare(key, &seen.rows)?;
            }
        }
        Ok(())
    }
}

/// A row changed that no event touched: by an event about the same thing of another tenant, or by nothing at all.
fn stray(change: &Change, touched: &BTreeSet<Vec<u8>>) -> Violation {
    let key = text(&change.key);
    let without_tenant = |key: &str| {
        let mut parts: Vec<String> = key.split(':').map(str::to_owned).collect();
        parts.remove(1);
        parts
    };
    let by_another_tenant = touched.iter().any(|own| without_tenant(&text(own)) == without_tenant(&key));
    let invariant = if by_another_tenant { Invariant::Ten1 } else { Invariant::Prj2 };
    Violation::new(invariant, format!("row {key} changes, and no event of its tenant is about it"))
}

impl Fold {
    fn advance(
        &mut self,
        to: Reach,
        seen: &Seen<'_>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) -> Result<(), Violation> {
        let unreadable = |halt: Halt| Violation::of_broker(&halt, seen.now_ns);
        let stream = PlatformStream::AggregateEvents.name();
        let messages = seen.broker.log(stream, self.reach.common(&to) + 1).map_err(unreadable)?;
        for message in messages.into_iter().take_while(|message| message.seq <= to.seq) {
            if !self.reach.has(&message.subject, message.seq) && to.has(&message.subject, message.seq) {
                self.apply(&message, seen, touched)?;
            }
        }
        self.reach = to;
        Ok(())
    }

    fn apply(
        &mut self,
        message: &StoredMessage,
        seen: &Seen<'_>,
        touched: &mut BTreeSet<Vec<u8>>,
    ) -> Result<(), Violation> {
        let subject = message.subject.to_string();
        let Some(Route::Aggregate { kind, .. }) = Route::parse(&subject) else { return Ok(()) };
        if !self.definition.aggregates().contains(&kind) {
            return Ok(());
        }
        let decoded =
            EventMessage::decode(&subject, &message.headers.to_headers(), &message.payload, "oracle");
        let Some(decoded) = decoded.ok().filter(|_| !self.held.contains(&subject)) else {
            self.held.insert(subject.clone());
            return self.check_parked(&subject, message.seq, &seen.rows);
        };
        let known = self.versions.entry(subject.clone()).or_insert(0);
        if decoded.last_version() <= *known {
            return Ok(());
        }
        if decoded.version > *known + 1 && decoded.version > 0 {
            self.held.insert(subject.clone());
            return self.check_parked(&subject, message.seq, &seen.rows);
        }
        *known = decoded.last_version();
        for (at, event) in decoded.events.iter().enumerate() {
            let trigger = (decoded.aggregate.clone(), event.kind.clone());
            let Some(source) = self.definition.on.get(&trigger) else { continue };
            let event = json!({
                "type": event.kind,
                "payload": event.payload,
                "version": decoded.version + at as u64,
                "aggregate_type": decoded.aggregate,
                "aggregate_id": decoded.id,
                "tenant_id": decoded.tenant,
                "timestamp": decoded.timestamp,
            });
            let failed = |error: ProgramError| Violation::new(Invariant::Prj2, error.to_string());
            let mut gas = Gas::new(GAS_MAX_DEFAULT);
            let id = source.view_id.run(&[("event", &event)], &mut gas).map_err(failed)?;
            let Some(id) = id.as_str().and_then(|id| EntityId::parse(id).ok()) else { continue };
            let key = keys::view(&decoded.tenant, &self.name, &id);
            touched.insert(key.clone());
            let row = self.rows.get(&key).map_or(Value::Null, |(_, row)| row.clone());
            match contract::project(&source.project, &row, &event, &mut gas).map_err(failed)? {
                Projected::Row(row) => drop(self.rows.insert(key, (message.seq, row))),
                Projected::Deleted => drop(self.rows.remove(&key)),
                Projected::Unchanged => {}
            }
        }
        Ok(())
    }

    /// INV-QRN-1: a message of a source from which garbage came is parked.
    fn check_parked(&self, subject: &str, seq: u64, rows: &Committed<'_>) -> Result<(), Violation> {
        let Some(key) = QuarantineKey::source(self.consumer.as_str(), subject) else { return Ok(()) };
        let mut prefix = key.display().into_bytes();
        prefix.push(b':');
        let mut found = false;
        let scanned = scan_prefix(rows, Table::Parked, &prefix, &mut |_, row| {
            let record = row.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let record: Value = serde_json::from_slice(record).unwrap_or_default();
            found |= record["stream_seq"] == seq;
            ControlFlow::Continue(())
        });
        if scanned.is_ok() && found {
            return Ok(());
        }
        let detail = format!("message {seq} of {subject} should be held back, and is not parked");
        Err(broken(Invariant::Qrn1, self, &detail))
    }

    /// INV-PRJ-2: the row is what the fold says.
    fn compare(&self, key: &[u8], rows: &Committed<'_>) -> Result<(), Violation> {
        if !self.owns(key) {
            return Ok(());
        }
        let row = rows.get(Table::View, key).ok().flatten().map(ViewRow::decode).transpose();
        let row = row.map_err(|halt| broken(Invariant::Prj2, self, &halt.to_string()))?;
        let expected = self.rows.get(key);
        let agrees = match (&row, expected) {
            (Some(row), Some((seq, value))) => row.seq == *seq && row.value == *value,
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        if agrees {
            return Ok(());
        }
        let detail = format!("row {} is {row:?}, the log says {expected:?}", text(key));
        Err(broken(Invariant::Prj2, self, &detail))
    }

    fn owns(&self, key: &[u8]) -> bool {
        text(key).split(':').nth(2) == Some(self.name.as_str())
    }
}
