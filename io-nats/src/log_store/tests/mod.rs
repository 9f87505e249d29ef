//! A store beside a model: what it holds, what it may lose, what it must refuse, and how much room it takes.

mod engine;
mod faults;
mod model;
mod power;
mod room;
mod rot;
mod space;

use super::{Dropped, Limits, LogStore, OpenError, Options, Position, Repair, SyncPolicy};
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, WriteBatch};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

/// One small table and the bulk one.
const TABLES: [Table; 2] = [Table::JsConsumer, Table::JsMessage];
/// Small segments and caches: everything that happens rarely happens often.
const SMALL: Limits =
    Limits { segment_bytes: 2048, written_bytes_max: 4096, read_bytes_max: 16384, ahead_bytes: 600 };

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// A write of a test.
type Change = (Table, Vec<u8>, Option<Vec<u8>>);

/// Nothing is synced unless a test says so.
fn options(limits: Limits) -> Options {
    Options { sync: SyncPolicy::Interval(Duration::from_hours(1)), limits, repair: Repair::Nothing }
}

fn open(path: &Path, limits: Limits) -> LogStore {
    let (store, dropped) = LogStore::open(path, options(limits)).expect("opens");
    assert_eq!(dropped, None);
    store
}

fn message_key(stream: &str, seq: u64) -> Vec<u8> {
    [stream.as_bytes(), b":", &seq.to_be_bytes()].concat()
}

fn message(stream: &str, seq: u64, value: &[u8]) -> Change {
    (Table::JsMessage, message_key(stream, seq), Some(value.to_vec()))
}

fn removal(stream: &str, seq: u64) -> Change {
    (Table::JsMessage, message_key(stream, seq), None)
}

fn batch(changes: &[Change]) -> WriteBatch {
    let mut batch = WriteBatch::default();
    for (table, key, value) in changes {
        match value {
            Some(value) => batch.put(*table, key, value),
            None => batch.delete(*table, key),
        }
    }
    batch
}

fn commit(store: &mut LogStore, changes: &[Change]) -> Result<(), StoreFault> {
    let mut txn = store.begin()?;
    txn.apply(&batch(changes))?;
    txn.commit()
}

fn change(rows: &mut Rows, changes: &[Change]) {
    for (table, key, value) in changes {
        match value {
            Some(value) => drop(rows.insert((*table, key.clone()), value.clone())),
            None => drop(rows.remove(&(*table, key.clone()))),
        }
    }
}

/// Everything a transaction sees, read in both ways.
fn rows_of(view: &dyn View) -> Rows {
    let mut rows = Rows::new();
    for table in TABLES {
        view.scan(table, b"", &mut |key, value| {
            let before = rows.insert((table, key.to_vec()), value.to_vec());
            assert_eq!(before, None, "seen twice");
            ControlFlow::Continue(())
        })
        .expect("scanned");
    }
    for ((table, key), value) in &rows {
        assert_eq!(view.get(*table, key), Ok(Some(value.as_slice())));
    }
    rows
}

fn rows(store: &mut LogStore) -> Rows {
    rows_of(&store.begin().expect("begins"))
}

/// In memory where the system has a place for that: these tests sync thousands of times, and crash by copying.
fn tempdir() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    dir.expect("a directory")
}

/// What would be found if the process were killed now.
fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
        }
    }
}

fn segment_files(path: &Path) -> Vec<u32> {
    let names =
        std::fs::read_dir(path).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let mut files: Vec<u32> =
        names.filter_map(|name| super::segments::parse_name(name.to_str().expect("a name"))).collect();
    files.sort_unstable();
    files
}
