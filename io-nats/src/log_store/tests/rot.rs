//! Damage where the log had been on disk: refused, by file and place; dropped only when an operator names it.

use super::*;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// Three segments, closed in order: everything is on disk, and a mark says so.
fn closed() -> (tempfile::TempDir, Rows) {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let mut model = Rows::new();
    for seq in 0..28_u64 {
        // Something of every segment stays: one that is dead may be damaged.
        let gone = if seq % 2 == 0 { u64::MAX } else { seq.wrapping_sub(10) };
        let changes = [message("a", seq, &[seq as u8; 120]), removal("a", gone)];
        commit(&mut store, &changes).expect("committed");
        change(&mut model, &changes);
    }
    store.close().expect("closed");
    assert_eq!(segment_files(dir.path()), [1, 2, 3]);
    (dir, model)
}

fn flip(file: &Path, bit: u64) {
    let file = File::options().read(true).write(true).open(file).expect("opened");
    let mut byte = [0];
    file.read_exact_at(&mut byte, bit / 8).expect("read");
    file.write_all_at(&[byte[0] ^ 1 << (bit % 8)], bit / 8).expect("written");
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let (dir, model) = closed();
    let mark_bytes = super::super::format::RECORD_HEADER_BYTES as u64;
    for segment in [1_u32, 2, 3] {
        let file = super::super::segments::path(dir.path(), segment);
        let length = fs::metadata(&file).expect("there").len();
        for at in 0..length {
            let bit = at * 8 + at % 8;
            flip(&file, bit);
            let opened = LogStore::open(dir.path(), options(SMALL));
            if segment == 3 && at >= length - mark_bytes {
                // The mark itself: nothing is behind it, and nothing is lost with it.
                let (mut store, dropped) = opened.expect("opens");
                assert_eq!((rows(&mut store), dropped.expect("told").bytes), (model.clone(), mark_bytes));
                return;
            }
            let error = opened.expect_err("refused");
            let OpenError::Corrupt { file: named, at: place, .. } = &error else { panic!("{error}") };
            assert_eq!((named, place.segment), (&file, segment));
            assert!(u64::from(place.offset) <= at && at - u64::from(place.offset) < 512, "{place}: {at}");
            flip(&file, bit);
        }
    }
}

#[test]
fn an_operator_may_drop_what_is_damaged_by_naming_it() {
    let (dir, model) = closed();
    let file = super::super::segments::path(dir.path(), 2);
    flip(&file, 8 * 1000);
    let before = fs::read(&file).expect("read");
    let error = LogStore::open(dir.path(), options(SMALL)).expect_err("refused");
    let OpenError::Corrupt { at, .. } = error else { panic!("{error}") };
    let text = OpenError::Corrupt { file: file.clone(), at, proof: "why".into() }.to_string();
    assert!(text.contains("0000000002.log") && text.contains("restore") && text.contains("repair"), "{text}");
    let elsewhere = Position { offset: at.offset + 8, ..at };
    let repair = |at| Options { repair: Repair::DropFrom(at), ..options(SMALL) };
    LogStore::open(dir.path(), repair(elsewhere)).expect_err("another place is not what was allowed");
    assert_eq!(fs::read(&file).expect("read"), before, "a refusal changes nothing");
    let (mut store, dropped) = LogStore::open(dir.path(), repair(at)).expect("opens");
    assert_eq!(dropped.map(|dropped| dropped.from), Some(at));
    let kept = rows(&mut store);
    assert!(!kept.is_empty() && kept != model);
    drop(store);
    assert_eq!(rows(&mut open(dir.path(), SMALL)), kept, "once is enough");
}

#[test]
fn what_nobody_needs_may_be_damaged() {
    let written = || {
        let dir = tempdir();
        let mut store = open(dir.path(), SMALL);
        for seq in 0..40_u64 {
            let changes = [message("a", seq, &[1; 120]), removal("a", seq.wrapping_sub(3))];
            commit(&mut store, &changes).expect("committed");
        }
        let model = rows(&mut store);
        store.sync().expect("synced");
        store.close().expect("closed");
        (dir, model)
    };
    // Whoever removes what may go can be as fast as the close.
    let (dir, model) = (0..100)
        .map(|_| written())
        .find(|(dir, _)| segment_files(dir.path())[0] == 1)
        .expect("it was said that it may go, and it has not gone yet");
    for at in [0, 50, 1000] {
        flip(&super::super::segments::path(dir.path(), 1), 8 * at);
    }
    assert_eq!(rows(&mut open(dir.path(), SMALL)), model);
}

#[test]
fn a_missing_segment_is_refused() {
    for missing in [1, 2] {
        let (dir, _) = closed();
        fs::remove_file(super::super::segments::path(dir.path(), missing)).expect("removed");
        let error = LogStore::open(dir.path(), options(SMALL)).expect_err("refused").to_string();
        assert!(error.contains(&format!("{missing:010}.log")), "{error}");
    }
}

#[test]
fn a_sync_that_never_completed_proves_nothing() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    for seq in 0..28_u64 {
        commit(&mut store, &[message("a", seq, &[seq as u8; 120])]).expect("committed");
    }
    let killed = tempdir();
    copy(dir.path(), killed.path());
    flip(&super::super::segments::path(killed.path(), 2), 8 * 1000);
    let (mut store, dropped) = LogStore::open(killed.path(), options(SMALL)).expect("opens");
    assert_eq!(dropped.map(|dropped| dropped.from.segment), Some(2));
    assert!(rows(&mut store).len() > 10);
}

#[test]
fn every_commit_that_always_syncs_is_proven_by_the_next() {
    let dir = tempdir();
    let always = Options { sync: SyncPolicy::Always, ..options(SMALL) };
    let (mut store, _) = LogStore::open(dir.path(), always).expect("opens");
    for seq in 0..10_u64 {
        commit(&mut store, &[message("a", seq, &[seq as u8; 120])]).expect("committed");
    }
    let killed = tempdir();
    copy(dir.path(), killed.path());
    let file = super::super::segments::path(killed.path(), 1);
    let end = u64::from(store.segments.end().offset);
    flip(&file, 8 * (end - 300));
    LogStore::open(killed.path(), always).expect_err("refused");
}
