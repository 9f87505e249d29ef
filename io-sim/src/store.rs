//! A store that fails and crashes on request, around the points where a real one can.
//!
//! ```text
//!  begin ─ apply ─ … ─ commit
//!            │            ├ fails: nothing landed
//!            └ full       └ unknown: landed, or not
//! ```
//!
//! The rows survive the process; an open transaction does not. What a commit changed is kept until somebody looks, so
//! that oracles see every write of every turn.

use cloudlysis_core::store::Visit;
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, Write, WriteBatch};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

type Key = (Table, Vec<u8>);
type Rows = BTreeMap<Key, Vec<u8>>;
type Changes = BTreeMap<Key, Option<Vec<u8>>>;

/// What happens to the next commit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommitFate {
    /// It fails, and nothing landed.
    Fails(StoreFault),
    /// It is interrupted, and landed or not.
    Unknown {
        /// Whether it landed.
        landed: bool,
    },
}

/// One row that a commit changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    /// Where.
    pub table: Table,
    /// Its key.
    pub key: Vec<u8>,
    /// What it was.
    pub before: Option<Vec<u8>>,
    /// What it is.
    pub after: Option<Vec<u8>>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, key, after, .. } = self;
        let key = String::from_utf8_lossy(key).escape_debug().to_string();
        match after {
            Some(after) => write!(f, "{table} {key} = {}", String::from_utf8_lossy(after).escape_debug()),
            None => write!(f, "{table} {key} removed"),
        }
    }
}

/// A store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct SimStore {
    rows: Rows,
    fate: Option<CommitFate>,
    changes: Vec<Change>,
    commits: u64,
}

impl SimStore {
    /// Decides about the next commit.
    pub const fn arm(&mut self, fate: CommitFate) {
        self.fate = Some(fate);
    }

    /// Takes back what was decided; `false` when it has struck already.
    pub const fn disarm(&mut self) -> bool {
        self.fate.take().is_some()
    }

    /// Commits that landed.
    #[must_use]
    pub const fn commits(&self) -> u64 {
        self.commits
    }

    /// What landed since the last look.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    /// The committed rows.
    #[must_use]
    pub fn committed(&self) -> Committed<'_> {
        Committed { rows: &self.rows }
    }

    fn land(&mut self, changes: Changes) {
        self.commits += 1;
        for ((table, key), after) in changes {
            let before = match &after {
                Some(value) => self.rows.insert((table, key.clone()), value.clone()),
                None => self.rows.remove(&(table, key.clone())),
            };
            if before != after {
                self.changes.push(Change { table, key, before, after });
            }
        }
    }
}

/// The committed rows, to look at.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'s> {
    rows: &'s Rows,
}

impl View for Committed<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        Ok(self.rows.get(&(table, key.to_vec())).map(Vec::as_slice))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        for ((own, key), value) in self.rows.range((table, from.to_vec())..) {
            if *own != table || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// An open transaction.
#[derive(Debug)]
pub struct SimTxn<'s> {
    store: &'s mut SimStore,
    changes: Changes,
}

impl View for SimTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        let key = (table, key.to_vec());
        match self.changes.get(&key) {
            Some(changed) => Ok(changed.as_deref()),
            None => Ok(self.store.rows.get(&key).map(Vec::as_slice)),
        }
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        let range = (Bound::Included((table, from.to_vec())), Bound::Unbounded);
        let mut rows =
            self.store.rows.range(range.clone()).take_while(|((own, _), _)| *own == table).peekable();
        let mut changes = self.changes.range(range).take_while(|((own, _), _)| *own == table).peekable();
        loop {
            let (key, value) = match (rows.peek(), changes.peek()) {
                (None, None) => return Ok(()),
                (Some((row, _)), Some((changed, _))) if row < changed => {
                    let Some((key, value)) = rows.next() else { return Ok(()) };
                    (key, Some(value))
                }
                (Some(_), None) => {
                    let Some((key, value)) = rows.next() else { return Ok(()) };
                    (key, Some(value))
                }
                (row, Some((changed, _))) => {
                    if row.is_some_and(|(row, _)| row == changed) {
                        rows.next();
                    }
                    let Some((key, value)) = changes.next() else { return Ok(()) };
                    (key, value.as_ref())
                }
            };
            if let Some(value) = value
                && visit(&key.1, value).is_break()
            {
                return Ok(());
            }
        }
    }
}

impl Txn for SimTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        for write in batch.iter() {
            match write {
                Write::Put { table, key, value } => {
                    self.changes.insert((table, key.to_vec()), Some(value.to_vec()));
                }
                Write::Delete { table, key } => {
                    self.changes.insert((table, key.to_vec()), None);
                }
            }
        }
        Ok(())
    }

    fn commit(self) -> Result<(), StoreFault> {
        match self.store.fate.take() {
            None => {
                self.store.land(self.changes);
                Ok(())
            }
            Some(CommitFate::Fails(fault)) => Err(fault),
            Some(CommitFate::Unknown { landed }) => {
                if landed {
                    self.store.land(self.changes);
                }
                Err(StoreFault::CommitUnknown)
            }
        }
    }
}

impl Store for SimStore {
    type Txn<'s> = SimTxn<'s>;

    fn begin(&mut self) -> Result<SimTxn<'_>, StoreFault> {
        Ok(SimTxn { store: self, changes: Changes::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::ControlFlow;

    fn write(store: &mut SimStore, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreFault> {
        let mut batch = WriteBatch::default();
        match value {
            Some(value) => batch.put(Table::View, key, value),
            None => batch.delete(Table::View, key),
        }
        let mut txn = store.begin()?;
        txn.apply(&batch)?;
        txn.commit()
    }

    #[test]
    fn an_open_transaction_merges_its_changes_into_scans() {
        let mut store = SimStore::default();
        for key in [b"a", b"c", b"e"] {
            write(&mut store, key, Some(b"old")).expect("lands");
        }
        let mut txn = store.begin().expect("begins");
        let mut batch = WriteBatch::default();
        batch.put(Table::View, b"b", b"new");
        batch.put(Table::View, b"c", b"new");
        batch.delete(Table::View, b"e");
        batch.put(Table::Saga, b"z", b"elsewhere");
        txn.apply(&batch).expect("applied");
        let mut seen = Vec::new();
        txn.scan(Table::View, b"", &mut |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scanned");
        let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
        assert_eq!(seen, [row(b"a", b"old"), row(b"b", b"new"), row(b"c", b"new")]);
        drop(txn);
        assert_eq!(store.committed().get(Table::View, b"b"), Ok(None));
    }

    #[test]
    fn fates_decide_what_lands_and_what_is_told() {
        let mut store = SimStore::default();
        for (fate, landed, told) in [
            (CommitFate::Fails(StoreFault::Full), false, StoreFault::Full),
            (CommitFate::Unknown { landed: false }, false, StoreFault::CommitUnknown),
            (CommitFate::Unknown { landed: true }, true, StoreFault::CommitUnknown),
        ] {
            store.arm(fate);
            assert_eq!(write(&mut store, b"k", Some(b"v")), Err(told));
            assert_eq!(store.committed().get(Table::View, b"k").expect("read").is_some(), landed);
        }
        assert_eq!(write(&mut store, b"k", None), Ok(()), "a fate decides one commit");
        let changes = store.take_changes();
        assert_eq!(changes.len(), 2);
        assert_eq!(changes[1].before.as_deref(), Some(&b"v"[..]));
    }
}
