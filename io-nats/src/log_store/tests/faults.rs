//! A disk that fails, and directories that are not ours to open.

use super::*;
use std::fs::{self, File};

#[test]
fn a_second_opener_is_told_who_has_the_directory() {
    let dir = tempdir();
    let store = open(dir.path(), SMALL);
    let error = LogStore::open(dir.path(), options(SMALL)).expect_err("refused").to_string();
    assert!(error.contains("is in use by process"), "{error}");
    drop(store);
    open(dir.path(), SMALL);
}

#[test]
fn a_failed_write_poisons_the_store_and_lands_nothing() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    commit(&mut store, &[message("a", 1, b"x")]).expect("committed");
    let read_only = File::open(super::super::segments::path(dir.path(), 1)).expect("opened");
    store.segments.replace_tail(read_only);
    assert_eq!(commit(&mut store, &[message("a", 2, b"y")]), Err(StoreFault::Io));
    assert_eq!(store.begin().map(drop).expect_err("poisoned"), StoreFault::Io);
    assert_eq!(store.sync(), Err(StoreFault::Io));
    drop(store);
    let found = rows(&mut open(dir.path(), SMALL));
    assert_eq!(found.into_keys().map(|(_, key)| key).collect::<Vec<_>>(), [message_key("a", 1)]);
}

#[test]
fn a_full_device_that_cannot_be_cut_back_poisons_too() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let full = File::options().read(true).write(true).open("/dev/full").expect("a device");
    store.segments.replace_tail(full);
    assert_eq!(commit(&mut store, &[message("a", 2, b"y")]), Err(StoreFault::Io));
    assert_eq!(store.begin().map(drop).expect_err("poisoned"), StoreFault::Io);
}

#[test]
fn a_failed_sync_leaves_the_commit_unknown_and_is_never_tried_again() {
    let dir = tempdir();
    let always = Options { sync: SyncPolicy::Always, ..options(SMALL) };
    let (mut store, _) = LogStore::open(dir.path(), always).expect("opens");
    commit(&mut store, &[message("a", 0, b"synced")]).expect("committed");
    // Takes every write, and cannot be synced.
    let null = File::options().read(true).write(true).open("/dev/null").expect("a device");
    store.segments.replace_tail(null);
    assert_eq!(commit(&mut store, &[message("a", 1, b"x")]), Err(StoreFault::CommitUnknown));
    assert_eq!(store.begin().map(drop).expect_err("poisoned"), StoreFault::Io);
    assert_eq!(store.close(), Err(StoreFault::Io));
}

#[test]
fn a_newer_log_is_refused_by_name() {
    let dir = tempdir();
    open(dir.path(), SMALL).close().expect("closed");
    let file = super::super::segments::path(dir.path(), 1);
    let mut bytes = fs::read(&file).expect("read");
    bytes[8] = 2;
    let header_bytes = u32::from_le_bytes([bytes[12], bytes[13], bytes[14], bytes[15]]) as usize;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&bytes[..16]);
    hasher.update(&bytes[20..header_bytes]);
    bytes[16..20].copy_from_slice(&hasher.finalize().to_le_bytes());
    fs::write(&file, &bytes).expect("written");
    let error = LogStore::open(dir.path(), options(SMALL)).expect_err("refused").to_string();
    assert!(error.contains("newer version") && error.contains("format 2"), "{error}");
    assert_eq!(fs::read(&file).expect("read"), bytes);
}

#[test]
fn a_store_that_was_about_to_be_made_is_made() {
    for length in [0, 10, 100] {
        let dir = tempdir();
        fs::write(super::super::segments::path(dir.path(), 1), vec![0; length]).expect("written");
        assert!(rows(&mut open(dir.path(), SMALL)).is_empty());
    }
    let dir = tempdir();
    fs::write(super::super::segments::path(dir.path(), 1), vec![0; 5000]).expect("written");
    let error = LogStore::open(dir.path(), options(SMALL)).expect_err("more than a header was there");
    let OpenError::Corrupt { at, .. } = error else { panic!("{error}") };
    let repair = Options { repair: Repair::DropFrom(at), ..options(SMALL) };
    let (_, dropped): (LogStore, Option<Dropped>) = LogStore::open(dir.path(), repair).expect("opens");
    assert_eq!(dropped.map(|dropped| dropped.bytes), Some(5000));
}

#[test]
fn a_message_that_looks_like_a_log_is_a_message() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    commit(&mut store, &[message("a", 1, b"x")]).expect("committed");
    store.sync().expect("synced");
    commit(&mut store, &[message("a", 2, b"y")]).expect("committed");
    // A copy of this very log, marks and all, stored where nothing is synced.
    let image = fs::read(super::super::segments::path(dir.path(), 1)).expect("read");
    commit(&mut store, &[message("a", 3, &image)]).expect("committed");
    let end = store.segments.end().offset as usize;
    let killed = tempdir();
    copy(dir.path(), killed.path());
    let file = super::super::segments::path(killed.path(), 1);
    let mut bytes = fs::read(&file).expect("read");
    bytes[end - image.len() - 40] ^= 1;
    fs::write(&file, bytes).expect("written");
    let (mut store, dropped) = LogStore::open(killed.path(), options(SMALL)).expect("a torn tail");
    assert_eq!((rows(&mut store).len(), dropped.expect("told").records), (2, 0));
}
