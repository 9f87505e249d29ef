//! A store in memory that keeps what was committed and fails when told.

use crate::halt::StoreFault;
use crate::store::{Store, Table, Txn, View, Visit, Write, WriteBatch};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(crate) type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// What is committed survives; everything else is gone with the transaction.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct MemoryStore {
    pub(crate) rows: Rows,
    /// The next commit has no answer, after it has landed or before.
    pub(crate) fail_commit: Option<Landed>,
    /// Transactions cannot be opened.
    pub(crate) fail_begin: Option<StoreFault>,
    /// Writes cannot be applied.
    pub(crate) fail_apply: Option<StoreFault>,
    /// Commits asked for, the failed ones too.
    pub(crate) commits: u64,
}

/// Whether a commit without an answer is in the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Landed {
    Yes,
    No,
}

pub(crate) struct MemoryTxn<'s> {
    store: &'s mut MemoryStore,
    rows: Rows,
}

impl MemoryStore {
    /// The committed rows of a table, in key order.
    pub(crate) fn table(&self, table: Table) -> impl Iterator<Item = (&[u8], &[u8])> {
        let own = self.rows.range((table, Vec::new())..).take_while(move |((own, _), _)| *own == table);
        own.map(|((_, key), value)| (key.as_slice(), value.as_slice()))
    }

    pub(crate) fn row(&self, table: Table, key: &[u8]) -> Option<&[u8]> {
        self.rows.get(&(table, key.to_vec())).map(Vec::as_slice)
    }
}

fn scan(rows: &Rows, table: Table, from: &[u8], visit: &mut Visit<'_>) {
    for ((_, key), value) in rows.range((table, from.to_vec())..).take_while(|((own, _), _)| *own == table) {
        if visit(key, value) == ControlFlow::Break(()) {
            break;
        }
    }
}

/// What is committed, beside the machine that writes it: as a query sees it.
impl View for MemoryStore {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        Ok(self.row(table, key))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        scan(&self.rows, table, from, visit);
        Ok(())
    }
}

impl View for MemoryTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        Ok(self.rows.get(&(table, key.to_vec())).map(Vec::as_slice))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        scan(&self.rows, table, from, visit);
        Ok(())
    }
}

impl Txn for MemoryTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        if let Some(fault) = self.store.fail_apply {
            return Err(fault);
        }
        for write in batch.iter() {
            match write {
                Write::Put { table, key, value } => {
                    self.rows.insert((table, key.to_vec()), value.to_vec());
                }
                Write::Delete { table, key } => {
                    self.rows.remove(&(table, key.to_vec()));
                }
            }
        }
        Ok(())
    }

    fn commit(self) -> Result<(), StoreFault> {
        self.store.commits += 1;
        let failure = self.store.fail_commit.take();
        if failure != Some(Landed::No) {
            self.store.rows = self.rows;
        }
        failure.map_or(Ok(()), |_| Err(StoreFault::CommitUnknown))
    }
}

impl Store for MemoryStore {
    type Txn<'s> = MemoryTxn<'s>;

    fn begin(&mut self) -> Result<MemoryTxn<'_>, StoreFault> {
        if let Some(fault) = self.fail_begin {
            return Err(fault);
        }
        let rows = self.rows.clone();
        Ok(MemoryTxn { store: self, rows })
    }
}

/// Every row of a table, in order.
pub(crate) fn rows(view: &dyn View, table: Table) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut out = Vec::new();
    view.scan(table, b"", &mut |key, row| {
        out.push((key.to_vec(), row.to_vec()));
        ControlFlow::Continue(())
    })
    .expect("reads");
    out
}
