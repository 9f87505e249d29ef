//! A writer with a journal, over crashes: what was committed is there, what was not is not, whatever the journal's end
//! looks like.

use super::super::journal::{BYTES_MAX, HEADER_BYTES, Place};
use super::super::{Commits, HeedStore, MapSize, Writer};
use super::{SMALL, batch};
use cloudlysis_core::{Store, StoreFault, Table, Txn, View};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::path::Path;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;
/// Key, and the size of its value; nothing removes it.
type Writes = Vec<(u8, Option<usize>)>;

fn open(path: &Path) -> HeedStore {
    HeedStore::open(path, SMALL).expect("opens")
}

fn stage(writer: &mut Writer<'_>, writes: &Writes, commits: bool) -> Result<(), StoreFault> {
    let mut txn = writer.begin()?;
    for (key, size) in writes {
        txn.apply(&batch(|batch| match size {
            Some(size) => batch.put(Table::View, &[*key], &vec![*key; *size]),
            None => batch.delete(Table::View, &[*key]),
        }))?;
    }
    if commits { txn.commit() } else { Ok(()) }
}

fn put(writer: &mut Writer<'_>, key: u8, size: usize) -> Result<(), StoreFault> {
    stage(writer, &vec![(key, Some(size))], true)
}

fn rows(view: &dyn View) -> Rows {
    let mut rows = Rows::new();
    view.scan(Table::View, b"", &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })
    .expect("scanned");
    rows
}

fn keys(store: &HeedStore) -> Vec<u8> {
    store.snapshots().read(|view| rows(view).into_keys().flatten().collect()).expect("read")
}

fn place(writer: &Writer<'_>) -> Place {
    writer.open.as_ref().expect("open").place
}

fn damage(path: &Path, offset: usize, bytes: &[u8]) {
    let file = File::options().write(true).open(path.join("journal")).expect("a journal");
    file.write_all_at(bytes, offset as u64).expect("written");
}

#[test]
fn a_turn_is_durable_before_lmdb_has_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut writer = store.writer(Commits::Journaled);
    put(&mut writer, 1, 10).expect("committed");
    put(&mut writer, 2, 10).expect("committed");
    assert!(writer.is_behind());
    drop(writer);
    assert_eq!(store.figures().syncs(), 2, "one for each");
    drop(store);
    assert_eq!(keys(&open(dir.path())), [1, 2]);
}

#[test]
fn an_epoch_that_is_in_lmdb_is_not_applied_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut writer = store.writer(Commits::Journaled);
    put(&mut writer, 1, 10).expect("committed");
    put(&mut writer, 2, 10).expect("committed");
    writer.checkpoint().expect("committed");
    assert!(!writer.is_behind());
    // As long as the first of the epoch before was, whose second is whole and stands right behind it.
    let mut txn = writer.begin().expect("begins");
    txn.apply(&batch(|batch| batch.put(Table::View, &[2], &[9; 10]))).expect("applied");
    txn.commit().expect("committed");
    drop(writer);
    drop(store);
    let rows = open(dir.path()).snapshots().read(rows).expect("read");
    assert_eq!(rows.get(&vec![2]), Some(&vec![9; 10]));
}

#[test]
fn a_turn_that_is_dropped_takes_nothing_else_with_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut writer = store.writer(Commits::Journaled);
    put(&mut writer, 1, 10).expect("committed");
    stage(&mut writer, &vec![(1, None), (2, Some(10))], false).expect("staged");
    let txn = writer.begin().expect("begins");
    assert_eq!(rows(&txn).into_keys().collect::<Vec<_>>(), [[1]]);
    drop(txn);
    put(&mut writer, 3, 10).expect("committed");
    drop(writer);
    drop(store);
    assert_eq!(keys(&open(dir.path())), [1, 3]);
}

#[test]
fn a_journal_without_room_is_a_checkpoint() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
    let mut writer = store.writer(Commits::Journaled);
    let third = BYTES_MAX / 3;
    put(&mut writer, 1, third).expect("committed");
    put(&mut writer, 2, third).expect("committed");
    assert_eq!(place(&writer).number, 3);
    put(&mut writer, 3, third).expect("committed");
    assert!(!writer.is_behind(), "all three are in LMDB");
    // More than the file takes, in a turn of several steps.
    stage(&mut writer, &(10..15).map(|key| (key, Some(third))).collect(), true).expect("committed");
    assert!(!writer.is_behind());
    drop(writer);
    drop(store);
    assert_eq!(keys(&open(dir.path())), [1, 2, 3, 10, 11, 12, 13, 14]);
}

#[test]
fn a_record_that_the_disk_refused_is_not_built_upon() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut writer = store.writer(Commits::Journaled);
    put(&mut writer, 1, 10).expect("committed");
    let epoch = place(&writer).epoch;
    writer.journal.file = Some(File::open(dir.path().join("journal")).expect("read only"));
    assert_eq!(put(&mut writer, 2, 10), Err(StoreFault::CommitUnknown));
    writer.journal.file = None;
    put(&mut writer, 3, 10).expect("committed");
    assert_eq!(place(&writer).epoch, epoch + 1, "what is known is in LMDB first");
    drop(writer);
    drop(store);
    assert_eq!(keys(&open(dir.path())), [1, 3]);
}

#[test]
fn readers_see_what_was_committed_when_they_asked() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let snapshots = store.snapshots();
    let mut writer = store.writer(Commits::Journaled);
    put(&mut writer, 1, 10).expect("committed");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| snapshots.read(|view| rows(view).len()));
        while !writer.is_asked() {
            std::thread::yield_now();
        }
        writer.checkpoint().expect("committed");
        assert_eq!(reader.join().expect("a reader"), Ok(1));
    });
    assert!(!writer.is_asked());
    assert_eq!(snapshots.read(|view| rows(view).len()), Ok(1), "nobody waits for what is there");
}

#[test]
fn a_full_map_grows_and_loses_nothing_of_the_journal() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut grown = 0;
    for key in 0..40 {
        loop {
            let committed = put(&mut store.writer(Commits::Journaled), key, 100 << 10);
            let Err(fault) = committed else { break };
            assert_eq!(fault, StoreFault::Full);
            assert!(store.grow().expect("resized"), "within the limit");
            grown += 1;
        }
    }
    assert!(grown >= 1, "{grown}");
    drop(store);
    assert_eq!(keys(&open(dir.path())).len(), 40);
}

#[test]
fn a_journal_of_a_later_release_is_not_skipped() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut writer = store.writer(Commits::Journaled);
    let mut txn = writer.begin().expect("begins");
    txn.writer.record.extend_from_slice(&[1, 3, b'n', b'e', b'w', 0, 1, b'k', 0, 0, 0, 0]);
    txn.is_dirty = true;
    txn.commit().expect("committed");
    drop(writer);
    drop(store);
    let error = HeedStore::open(dir.path(), SMALL).expect_err("refused").to_string();
    assert!(error.contains("what its journal holds cannot be written"), "{error}");
}

#[derive(Clone, Debug)]
enum Act {
    Turn(Writes),
    Dropped(Writes),
    Checkpoint,
    /// And what a record that nobody was told of leaves at the journal's end.
    Crash(Option<Vec<u8>>),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let writes = || prop::collection::vec((0..12_u8, prop::option::of(0..3_000_usize)), 0..6);
    let left = prop::option::of(prop::collection::vec(any::<u8>(), 1..200));
    let act = prop_oneof![
        6 => writes().prop_map(Act::Turn),
        1 => writes().prop_map(Act::Dropped),
        1 => Just(Act::Checkpoint),
        2 => left.prop_map(Act::Crash),
    ];
    prop::collection::vec(act, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_was_committed_is_there_and_nothing_else(acts in acts()) {
        let dir = tempfile::tempdir().expect("a directory");
        let map = MapSize::default();
        let mut store = HeedStore::open(dir.path(), map).expect("opens");
        let mut writer = store.writer(Commits::Journaled);
        let mut model = Rows::new();
        for act in acts {
            match act {
                Act::Turn(writes) => {
                    stage(&mut writer, &writes, true).expect("committed");
                    for (key, size) in writes {
                        match size {
                            Some(size) => drop(model.insert(vec![key], vec![key; size])),
                            None => drop(model.remove(&vec![key])),
                        }
                    }
                }
                Act::Dropped(writes) => stage(&mut writer, &writes, false).expect("staged"),
                Act::Checkpoint => writer.checkpoint().expect("committed"),
                Act::Crash(left) => {
                    let end = writer.open.as_ref().map(|open| open.place.offset);
                    drop(writer);
                    drop(store);
                    if let Some((end, left)) = end.zip(left).filter(|_| dir.path().join("journal").exists()) {
                        damage(dir.path(), end, &left);
                    }
                    store = HeedStore::open(dir.path(), map).expect("opens");
                    prop_assert_eq!(&store.snapshots().read(rows).expect("read"), &model);
                    writer = store.writer(Commits::Journaled);
                }
            }
            let txn = writer.begin().expect("begins");
            prop_assert_eq!(&rows(&txn), &model);
        }
    }
}

#[test]
fn whatever_ends_a_journal_ends_what_is_read_of_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = open(dir.path());
    let mut writer = store.writer(Commits::Journaled);
    put(&mut writer, 1, 10).expect("committed");
    let second = place(&writer).offset;
    put(&mut writer, 2, 10).expect("committed");
    drop(writer);
    drop(store);
    // One bit of the second record's value.
    damage(dir.path(), second + HEADER_BYTES + 20, &[0xff]);
    assert_eq!(keys(&open(dir.path())), [1]);
}
