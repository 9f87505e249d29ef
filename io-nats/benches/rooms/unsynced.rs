//! LMDB that never syncs: what nobody may use for data, and the fastest it can be.

use cloudlysis_core::store::Visit;
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, Write, WriteBatch};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, RwTxn, WithoutTls};
use std::convert::Infallible;
use std::path::Path;

/// One table.
pub(crate) struct Unsynced {
    env: Env<WithoutTls>,
    table: Database<'static, Bytes, Bytes>,
}

impl Unsynced {
    #[expect(unsafe_code, reason = "LMDB maps a file, and may lose it; nothing here outlives the bench")]
    pub(crate) fn open(path: &Path) -> Self {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(4 << 30).max_dbs(1);
        let env = unsafe { options.flags(EnvFlags::NO_SYNC | EnvFlags::NO_META_SYNC).open(path) };
        let env = env.expect("opens");
        let txn = env.write_txn().expect("begins");
        let opened = env.create_databases_and_commit(txn, |opener, txn| {
            Ok::<_, heed::Error>(CommitOrAbort::<_, Infallible>::Commit(
                opener.create_database(txn, Some("js_message"))?,
            ))
        });
        let CommitOrAbort::Commit(table) = opened.expect("made");
        Self { env, table }
    }
}

pub(crate) struct UnsyncedTxn<'s> {
    txn: RwTxn<'s>,
    table: Database<'static, Bytes, Bytes>,
}

impl View for UnsyncedTxn<'_> {
    fn get(&self, _: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        self.table.get(&self.txn, key).map_err(|_| StoreFault::Io)
    }

    fn scan(&self, _: Table, _: &[u8], _: &mut Visit<'_>) -> Result<(), StoreFault> {
        unreachable!("nothing here scans")
    }
}

impl Txn for UnsyncedTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        for write in batch.iter() {
            let applied = match write {
                Write::Put { key, value, .. } => self.table.put(&mut self.txn, key, value),
                Write::Delete { key, .. } => self.table.delete(&mut self.txn, key).map(drop),
            };
            applied.map_err(|_| StoreFault::Io)?;
        }
        Ok(())
    }

    fn commit(self) -> Result<(), StoreFault> {
        self.txn.commit().map_err(|_| StoreFault::CommitUnknown)
    }
}

impl Store for Unsynced {
    type Txn<'s> = UnsyncedTxn<'s>;

    fn begin(&mut self) -> Result<UnsyncedTxn<'_>, StoreFault> {
        let txn = self.env.write_txn().map_err(|_| StoreFault::Io)?;
        Ok(UnsyncedTxn { txn, table: self.table })
    }
}
