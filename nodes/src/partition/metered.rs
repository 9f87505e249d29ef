//! A store whose commits are timed and counted, for the metrics of a node.

use crate::telemetry;
use cloudlysis_core::store::Visit;
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, WriteBatch};
use cloudlysis_io_nats::store::Writer;
use std::time::Instant;

/// The store of this node, while it is used for one turn.
pub(super) struct Metered<'m, S> {
    pub(super) node: &'static str,
    pub(super) store: &'m mut S,
}

pub(super) struct MeteredTxn<T> {
    node: &'static str,
    txn: T,
}

/// Does something that is to be durable afterwards.
fn timed(node: &'static str, commit: impl FnOnce() -> Result<(), StoreFault>) -> Result<(), StoreFault> {
    let started = Instant::now();
    let committed = commit();
    telemetry::commit(node, started.elapsed());
    counted(node, committed)
}

fn counted(node: &'static str, stored: Result<(), StoreFault>) -> Result<(), StoreFault> {
    stored.inspect_err(|_| telemetry::commit_failed(node))
}

/// What the journal has goes into LMDB, if there is anything.
pub(super) fn checkpoint(node: &'static str, writer: &mut Writer<'_>) -> Result<(), StoreFault> {
    if writer.is_behind() { timed(node, || writer.checkpoint()) } else { writer.checkpoint() }
}

impl<S: Store> Store for Metered<'_, S> {
    type Txn<'s>
        = MeteredTxn<S::Txn<'s>>
    where
        Self: 's;

    fn begin(&mut self) -> Result<Self::Txn<'_>, StoreFault> {
        Ok(MeteredTxn { node: self.node, txn: self.store.begin()? })
    }
}

impl<T: View> View for MeteredTxn<T> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        self.txn.get(table, key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        self.txn.scan(table, from, visit)
    }
}

impl<T: Txn> Txn for MeteredTxn<T> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        // A map that is full says so here, and the turn is never committed.
        counted(self.node, self.txn.apply(batch))
    }

    fn commit(self) -> Result<(), StoreFault> {
        timed(self.node, || self.txn.commit())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_io_nats::store::{Commits, HeedStore, MapSize};
    use metrics_exporter_prometheus::PrometheusBuilder;

    #[test]
    fn what_is_stored_is_timed_and_what_is_refused_is_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let map = MapSize { initial_bytes: 1 << 20, max_bytes: 1 << 20 };
        let mut store = HeedStore::open(dir.path(), map).expect("opens");
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            let mut writer = store.writer(Commits::Journaled);
            let mut turn = |bytes: usize| {
                let mut batch = WriteBatch::default();
                batch.put(Table::View, b"row", &vec![0; bytes]);
                let mut store = Metered { node: "clerk", store: &mut writer };
                let mut txn = store.begin()?;
                txn.apply(&batch)?;
                txn.commit()
            };
            assert_eq!(turn(7), Ok(()));
            assert_eq!(turn(4 << 20), Err(StoreFault::Full));
            assert_eq!(turn(7), Ok(()));
            assert_eq!(checkpoint("clerk", &mut writer), Ok(()));
            assert_eq!(checkpoint("clerk", &mut writer), Ok(()), "with nothing to do");
            assert_eq!(timed("clerk", || Err(StoreFault::Io)), Err(StoreFault::Io));
        });
        let told = recorder.handle().render();
        let says = |line: &str| assert!(told.lines().any(|own| own == line), "{line}: {told}");
        says("cloudlysis_storage_commit_duration_seconds_count{node=\"clerk\"} 4");
        says("cloudlysis_storage_commit_failures_total{node=\"clerk\"} 2");
    }
}
