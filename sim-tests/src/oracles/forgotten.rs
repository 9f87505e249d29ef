//! What the runner removed because it had ended and was kept long enough: it is known here for the rest of the run.

use super::{Seen, Violation};
use cloudlysis_core::effect::{LedgerRow, Phase};
use cloudlysis_core::saga::Instance;
use cloudlysis_core::{Invariant, Table, View};
use cloudlysis_io_sim::store::{Change, Committed};
use std::collections::BTreeMap;

/// Follows rows that have ended.
#[derive(Clone, Debug)]
pub struct Forgotten {
    keep_ms: u64,
    /// How far the runner's wall clock was put forward, in all.
    jumped_ms: u64,
    /// When a row that is still there ended, and how far the clock had jumped then.
    ended: BTreeMap<(Table, Vec<u8>), (u64, u64)>,
    gone: BTreeMap<(Table, Vec<u8>), Vec<u8>>,
}

fn has_ended(table: Table, row: &[u8]) -> bool {
    if table == Table::Saga {
        return Instance::decode(row).is_ok_and(|instance| instance.status.is_final());
    }
    LedgerRow::decode(row).is_ok_and(|row| matches!(row.phase, Phase::Settled { .. }))
}

impl Forgotten {
    pub(super) fn new(keep_ms: u64) -> Self {
        Self { keep_ms, jumped_ms: 0, ended: BTreeMap::new(), gone: BTreeMap::new() }
    }

    pub(super) fn on_clock_jump(&mut self, by_ms: i64) {
        self.jumped_ms += u64::try_from(by_ms).unwrap_or_default();
    }

    /// INV-KEEP-1: nothing is removed before its time, nor what has not ended. INV-SAGA-10: what is removed does not begin again.
    pub(super) fn on_changes(&mut self, seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
        for change in changes.iter().filter(|own| matches!(own.table, Table::Saga | Table::Effect)) {
            let key = (change.table, change.key.clone());
            match (&change.before, &change.after) {
                (_, Some(after)) => {
                    if has_ended(change.table, after) {
                        self.ended.entry(key.clone()).or_insert((seen.now_ns, self.jumped_ms));
                    } else {
                        self.ended.remove(&key);
                    }
                    if self.gone.remove(&key).is_some() && change.table == Table::Saga {
                        let key = String::from_utf8_lossy(&change.key).into_owned();
                        let detail = format!("{key} was there, ended and is forgotten, and begins again");
                        return Err(Violation::new(Invariant::Saga10, detail));
                    }
                }
                (Some(before), None) => {
                    let since = self.ended.remove(&key);
                    let kept_ms = since.map(|(at_ns, jumped_ms)| {
                        (seen.now_ns - at_ns) / 1_000_000 + (self.jumped_ms - jumped_ms)
                    });
                    // A wall clock counts whole milliseconds.
                    if kept_ms.is_none_or(|kept_ms| kept_ms + 1 < self.keep_ms) {
                        let detail = format!(
                            "{} {} is removed after {kept_ms:?} ms of {}",
                            change.table,
                            String::from_utf8_lossy(&change.key),
                            self.keep_ms
                        );
                        return Err(Violation::new(Invariant::Keep1, detail));
                    }
                    self.gone.insert(key, before.clone());
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Whether this change removed what was kept long enough.
    pub(super) fn is_gone(&self, change: &Change) -> bool {
        change.after.is_none() && self.gone.contains_key(&(change.table, change.key.clone()))
    }

    /// A row as it is, or as it was when it was removed.
    pub(super) fn get(&self, rows: &Committed<'_>, table: Table, key: &[u8]) -> Option<Vec<u8>> {
        let there = rows.get(table, key).ok().flatten().map(<[u8]>::to_vec);
        there.or_else(|| self.gone.get(&(table, key.to_vec())).cloned())
    }

    /// Everything of a table that was removed.
    pub(super) fn of(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        let own = self.gone.iter().filter(move |((own, _), _)| *own == table);
        own.map(|((_, key), row)| (key.as_slice(), row.as_slice()))
    }
}
