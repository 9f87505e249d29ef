//! The store over real files.

mod journal;

use super::*;
use cloudlysis_core::WriteBatch;
use std::ops::ControlFlow;

const SMALL: MapSize = MapSize { initial_bytes: 1 << 20, max_bytes: 64 << 20 };

fn batch(writes: impl FnOnce(&mut WriteBatch)) -> WriteBatch {
    let mut batch = WriteBatch::default();
    writes(&mut batch);
    batch
}

fn put(store: &mut HeedStore, key: &[u8], value: &[u8]) -> Result<(), StoreFault> {
    let mut txn = store.begin()?;
    txn.apply(&batch(|batch| batch.put(Table::View, key, value)))?;
    txn.commit()
}

#[test]
fn commits_are_durable_and_nothing_trades_that_away() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = HeedStore::open(dir.path(), SMALL).expect("opens");
    let flags = store.shared.env.get_flags().expect("flags");
    let no_sync = heed::EnvFlags::NO_SYNC.bits() | heed::EnvFlags::NO_META_SYNC.bits();
    let map_async = heed::EnvFlags::MAP_ASYNC.bits() | heed::EnvFlags::WRITE_MAP.bits();
    assert_eq!(flags & (no_sync | map_async), 0, "{flags:#x}");
}

#[test]
fn a_transaction_sees_itself_and_leaves_nothing_behind_uncommitted() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = HeedStore::open(dir.path(), SMALL).expect("opens");
    put(&mut store, b"a", b"1").expect("committed");
    {
        let mut txn = store.begin().expect("begins");
        txn.apply(&batch(|batch| {
            batch.put(Table::View, b"b", b"2");
            batch.delete(Table::View, b"a");
            batch.delete(Table::View, b"never");
        }))
        .expect("applied");
        assert_eq!(txn.get(Table::View, b"a"), Ok(None));
        assert_eq!(txn.get(Table::View, b"b"), Ok(Some(&b"2"[..])));
    }
    let snapshots = store.snapshots();
    let rows = snapshots.read(|view| {
        let mut rows = Vec::new();
        view.scan(Table::View, b"", &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scanned");
        rows
    });
    assert_eq!(rows, Ok(vec![(b"a".to_vec(), b"1".to_vec())]));
    let id = store.store_id().to_owned();
    drop((store, snapshots));
    let store = HeedStore::open(dir.path(), SMALL).expect("opens again");
    assert_eq!(store.store_id(), id);
}

#[test]
fn scans_begin_where_they_are_told_and_stay_in_their_table() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = HeedStore::open(dir.path(), SMALL).expect("opens");
    for key in [b"a", b"b", b"c"] {
        put(&mut store, key, b"x").expect("committed");
    }
    let txn = store.begin().expect("begins");
    let mut seen = Vec::new();
    txn.scan(Table::View, b"b", &mut |key, _| {
        seen.push(key.to_vec());
        ControlFlow::Continue(())
    })
    .expect("scanned");
    assert_eq!(seen, [b"b", b"c"]);
    txn.scan(Table::Saga, b"", &mut |_, _| panic!("another table")).expect("scanned");
}

#[test]
fn a_full_map_is_reported_and_grows() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = HeedStore::open(dir.path(), SMALL).expect("opens");
    let snapshots = store.snapshots();
    let value = vec![7; 64 << 10];
    let mut grown = 0;
    for at in 0..200_u32 {
        while let Err(fault) = put(&mut store, &at.to_be_bytes(), &value) {
            assert_eq!(fault, StoreFault::Full);
            assert!(store.grow().expect("resized"), "within the limit");
            grown += 1;
        }
        let there = snapshots.read(|view| view.get(Table::View, &at.to_be_bytes()).map(|row| row.is_some()));
        assert_eq!(there, Ok(Ok(true)));
    }
    assert!(grown >= 4, "{grown}");
    let (used, size) = store.figures().usage();
    assert!(used <= size && used > 12 << 20, "{used} of {size}");
    drop((store, snapshots));
    // Opened again with a small map, it is large enough for what is there.
    let mut store = HeedStore::open(dir.path(), SMALL).expect("opens again");
    put(&mut store, b"more", b"1").expect("there is room");
}

#[test]
fn the_limit_of_the_map_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let map = MapSize { initial_bytes: 1 << 20, max_bytes: 1 << 20 };
    let mut store = HeedStore::open(dir.path(), map).expect("opens");
    let value = vec![7; 64 << 10];
    let fault = (0..100_u32).find_map(|at| put(&mut store, &at.to_be_bytes(), &value).err());
    assert_eq!(fault, Some(StoreFault::Full));
    assert!(!store.grow().expect("asked"));
    assert_eq!(put(&mut store, b"small", b"x"), Ok(()), "a full map still takes what fits");
}

#[test]
fn a_second_process_is_told_who_has_the_directory() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = HeedStore::open(dir.path(), SMALL).expect("opens");
    let error = HeedStore::open(dir.path(), SMALL).expect_err("refused").to_string();
    assert!(error.contains("is in use by process"), "{error}");
    assert!(error.contains(&std::process::id().to_string()), "{error}");
    drop(store);
    HeedStore::open(dir.path(), SMALL).expect("free again");
}
