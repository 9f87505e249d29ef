//! A store that ends with the process: for memory alone, or where nothing is kept at all.
//!
//! A transaction writes into the rows themselves and remembers what was there; one that is not committed puts it back.

use cloudlysis_core::StoreFault;
use cloudlysis_core::store::{Store, Table, Txn, View, Visit, Write, WriteBatch};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

type Key = (Table, Vec<u8>);

/// The rows.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    rows: BTreeMap<Key, Vec<u8>>,
}

/// An open transaction.
pub(super) struct MemoryTxn<'s> {
    rows: &'s mut BTreeMap<Key, Vec<u8>>,
    /// What each write replaced, in the order of the writes.
    before: Vec<(Key, Option<Vec<u8>>)>,
}

impl Store for MemoryStore {
    type Txn<'s> = MemoryTxn<'s>;

    fn begin(&mut self) -> Result<MemoryTxn<'_>, StoreFault> {
        Ok(MemoryTxn { rows: &mut self.rows, before: Vec::new() })
    }
}

impl View for MemoryTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        Ok(self.rows.get(&(table, key.to_vec())).map(Vec::as_slice))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        let own = self.rows.range((table, from.to_vec())..).take_while(|((own, _), _)| *own == table);
        for ((_, key), value) in own {
            if visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }
}

impl Txn for MemoryTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        for write in batch.iter() {
            let (key, before) = match write {
                Write::Put { table, key, value } => {
                    let key = (table, key.to_vec());
                    let before = self.rows.insert(key.clone(), value.to_vec());
                    (key, before)
                }
                Write::Delete { table, key } => {
                    let key = (table, key.to_vec());
                    let before = self.rows.remove(&key);
                    (key, before)
                }
            };
            self.before.push((key, before));
        }
        Ok(())
    }

    fn commit(mut self) -> Result<(), StoreFault> {
        self.before.clear();
        Ok(())
    }
}

impl Drop for MemoryTxn<'_> {
    fn drop(&mut self) {
        for (key, before) in self.before.drain(..).rev() {
            match before {
                Some(value) => self.rows.insert(key, value),
                None => self.rows.remove(&key),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_never_was() {
        let table = Table::ALL[0];
        let mut store = MemoryStore::default();
        let write = |store: &mut MemoryStore, value: &[u8], commit: bool| {
            let mut batch = WriteBatch::default();
            batch.put(table, b"a", value);
            batch.put(table, b"b", value);
            batch.delete(table, b"b");
            let mut txn = store.begin().expect("a transaction");
            txn.apply(&batch).expect("applied");
            assert_eq!(txn.get(table, b"a"), Ok(Some(value)));
            if commit {
                txn.commit().expect("committed");
            }
        };
        write(&mut store, b"1", true);
        write(&mut store, b"2", false);
        let txn = store.begin().expect("a transaction");
        assert_eq!((txn.get(table, b"a"), txn.get(table, b"b")), (Ok(Some(&b"1"[..])), Ok(None)));
    }
}
