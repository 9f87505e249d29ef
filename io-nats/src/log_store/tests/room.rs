//! Room ahead of what is written: zeros behind the end are nothing, zeros where something stood are a loss.

use super::*;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

fn file(path: &Path, segment: u32) -> std::path::PathBuf {
    super::super::segments::path(path, segment)
}

fn length(path: &Path, segment: u32) -> u64 {
    fs::metadata(file(path, segment)).expect("there").len()
}

fn overwrite(path: &Path, segment: u32, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(file(path, segment)).expect("opened");
    file.write_all_at(bytes, offset).expect("written");
}

/// So many commits in one segment, with room behind them.
fn with_room(commits: u64) -> (tempfile::TempDir, LogStore) {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    for seq in 1..=commits {
        commit(&mut store, &[message("a", seq, &[7; 100])]).expect("committed");
    }
    assert_eq!(segment_files(dir.path()), [1]);
    assert!(length(dir.path(), 1) > u64::from(store.segments.end().offset));
    (dir, store)
}

#[test]
fn a_killed_store_goes_on_where_its_room_began() {
    let (dir, mut store) = with_room(5);
    let (end, before) = (store.segments.end(), rows(&mut store));
    let killed = tempdir();
    copy(dir.path(), killed.path());
    let mut again = open(killed.path(), SMALL);
    assert_eq!((rows(&mut again), again.segments.end()), (before, end));
    assert_eq!(length(killed.path(), 1), u64::from(end.offset), "what was left is given back");
    commit(&mut again, &[message("a", 6, b"x")]).expect("committed");
    assert_eq!(rows(&mut again).len(), 6);
}

#[test]
fn what_is_full_or_closed_has_no_room() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    for seq in 1..60 {
        commit(&mut store, &[message("a", seq, &[7; 100])]).expect("committed");
    }
    let files = segment_files(dir.path());
    for segment in &files[..files.len() - 1] {
        assert_eq!(length(dir.path(), *segment), u64::from(store.segments.end_of(*segment).expect("there")));
    }
    let last = store.segments.last();
    store.close().expect("closed");
    let store = open(dir.path(), SMALL);
    assert_eq!(length(dir.path(), last), u64::from(store.segments.end().offset));
}

#[test]
fn a_commit_torn_in_the_room_never_was() {
    let (dir, mut store) = with_room(3);
    let (start, before) = (store.segments.end().offset, rows(&mut store));
    commit(&mut store, &[message("a", 4, &[7; 100])]).expect("committed");
    let record_bytes = store.segments.end().offset - start;
    let after = rows(&mut store);
    assert!(length(dir.path(), 1) > u64::from(store.segments.end().offset), "it was written over room");
    // What follows is lost; or what came before is, and the end of it is there.
    for cut in 0..=record_bytes {
        for (from, to) in [(cut, record_bytes), (0, cut)] {
            let torn = tempdir();
            copy(dir.path(), torn.path());
            overwrite(torn.path(), 1, u64::from(start + from), &vec![0; (to - from) as usize]);
            let (mut store, dropped) =
                LogStore::open(torn.path(), options(SMALL)).expect("a torn tail opens");
            let found = rows(&mut store);
            let is_lost = fs::read(file(dir.path(), 1)).expect("read")
                [(start + from) as usize..(start + to) as usize]
                .iter()
                .any(|byte| *byte != 0);
            assert_eq!(found, if is_lost { before.clone() } else { after.clone() }, "{from}..{to}");
            assert!(dropped.is_none_or(|dropped| dropped.from.offset == start));
            commit(&mut store, &[message("a", 5, b"x")]).expect("committed");
            store.close().expect("closed");
            assert_eq!(rows(&mut open(torn.path(), SMALL)).len(), found.len() + 1);
        }
    }
}

#[test]
fn zeros_where_a_synced_record_stood_are_refused() {
    let (dir, mut store) = with_room(3);
    let start = store.segments.end().offset;
    commit(&mut store, &[message("a", 4, &[7; 100])]).expect("committed");
    let end = store.segments.end().offset;
    store.close().expect("closed");
    // The mark behind it says that it had been there.
    overwrite(dir.path(), 1, u64::from(start), &vec![0; (end - start) as usize]);
    let error = LogStore::open(dir.path(), options(SMALL)).expect_err("refused");
    assert!(matches!(&error, OpenError::Corrupt { at, .. } if at.offset == start), "{error}");
}

#[test]
fn zeros_at_the_end_of_a_segment_that_has_a_next_one_are_refused() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let mut ends = Vec::new();
    for seq in 1..40 {
        commit(&mut store, &[message("a", seq, &[7; 100])]).expect("committed");
        ends.push(store.segments.end());
    }
    store.close().expect("closed");
    let last_in_first = ends.iter().rposition(|end| end.segment == 1).expect("some");
    let (start, end) = (ends[last_in_first - 1].offset, ends[last_in_first].offset);
    assert_eq!(length(dir.path(), 1), u64::from(end));
    overwrite(dir.path(), 1, u64::from(start), &vec![0; (end - start) as usize]);
    let error = LogStore::open(dir.path(), options(SMALL)).expect_err("refused");
    assert!(
        matches!(&error, OpenError::Corrupt { at, .. } if (at.segment, at.offset) == (1, start)),
        "{error}"
    );
}

#[test]
fn where_the_disk_makes_no_room_commits_go_on() {
    let (_dir, mut store) = with_room(2);
    store.segments.refuse_room();
    for seq in 3..10 {
        commit(&mut store, &[message("a", seq, &[7; 100])]).expect("committed");
    }
    assert_eq!((rows(&mut store).len(), store.segments.room()), (9, 0));
}
