//! Room: bounded by what is live, and nothing that was removed comes back for it.

use super::super::reclaim::SLACK_SEGMENTS;
use super::*;

fn disk_bytes(path: &Path) -> u64 {
    let bytes =
        |segment: u32| std::fs::metadata(super::super::segments::path(path, segment)).expect("there").len();
    segment_files(path).into_iter().map(bytes).sum()
}

/// What there may be: twice the live rows and some segments; what waits for a sync, and one more of every kind.
fn check_room(store: &LogStore, path: &Path) {
    let usage = store.usage();
    assert_eq!(usage.disk_bytes, disk_bytes(path));
    let segment = u64::from(SMALL.segment_bytes) + 4096;
    let bound = 2 * usage.live_bytes + (SLACK_SEGMENTS + 6) * segment;
    assert!(usage.disk_bytes <= bound, "{usage:?} > {bound}");
}

#[test]
fn a_queue_takes_the_room_of_what_waits_in_it() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    for seq in 0..5000_u64 {
        let changes = [message("a", seq, &[1; 100]), removal("a", seq.wrapping_sub(50))];
        commit(&mut store, &changes).expect("committed");
        if seq % 20 == 0 {
            store.sync().expect("synced");
        }
        check_room(&store, dir.path());
    }
    assert_eq!(rows(&mut store).len(), 50);
}

#[test]
fn rows_that_stay_do_not_keep_those_that_went() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let mut model = Rows::new();
    for seq in 0..4000_u64 {
        let mut changes = vec![message("queue", seq, &[1; 90]), removal("queue", seq.wrapping_sub(20))];
        if seq % 25 == 0 {
            changes.push(message("kept", seq, &[2; 200]));
            changes.push((Table::JsConsumer, b"hot".to_vec(), Some(vec![seq as u8; 300])));
        }
        commit(&mut store, &changes).expect("committed");
        change(&mut model, &changes);
        if seq % 20 == 0 {
            store.sync().expect("synced");
        }
        check_room(&store, dir.path());
    }
    assert!(segment_files(dir.path())[0] > 100, "rows moved again and again");
    assert_eq!(rows(&mut store), model);
    drop(store);
    assert_eq!(rows(&mut open(dir.path(), SMALL)), model);
}

/// A put that is old and stays in a segment with live rows; its removal in a segment of nothing else. If that one went
/// first, the row would be back after the next start.
#[test]
fn what_was_removed_stays_removed_whatever_segment_goes() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let mut model = Rows::new();
    let mut land = |store: &mut LogStore, changes: &[Change]| {
        commit(store, changes).expect("committed");
        change(&mut model, changes);
        model.clone()
    };
    // Most of the first segments stays.
    for seq in 0..80 {
        land(&mut store, &[message("kept", seq, &[1; 150]), message("gone", seq, &[2; 20])]);
    }
    // Segments of nothing but removals and what dies at once.
    for seq in 0..80 {
        land(&mut store, &[removal("gone", seq)]);
        for _ in 0..5 {
            land(&mut store, &[(Table::JsConsumer, b"hot".to_vec(), Some(vec![3; 150]))]);
        }
        store.sync().expect("synced");
        store.maintain().expect("maintained");
        let killed = tempdir();
        copy(dir.path(), killed.path());
        let found = rows(&mut open(killed.path(), SMALL));
        assert_eq!(found, rows(&mut store));
    }
    let model = land(&mut store, &[]);
    drop(store);
    assert_eq!(rows(&mut open(dir.path(), SMALL)), model);
}

#[test]
fn nothing_goes_before_what_replaces_it_is_on_disk() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    for round in 0..20 {
        commit(&mut store, &[message("a", 1, &[round; 100])]).expect("committed");
    }
    store.maintain().expect("maintained");
    assert_eq!(segment_files(dir.path())[0], 1, "nothing was synced");
    assert_eq!(segment_files(dir.path()).len(), 2, "few enough not to be in a hurry");
    store.sync().expect("synced");
    store.maintain().expect("maintained");
    assert_eq!(segment_files(dir.path())[0], 1, "that it may go is not on disk yet");
    store.sync().expect("synced");
    store.maintain().expect("maintained");
    assert_eq!(segment_files(dir.path()), [2]);
}

#[test]
fn the_thread_syncs_early_when_much_waits_to_be_removed() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let patience = std::time::Instant::now() + Duration::from_secs(30);
    while segment_files(dir.path())[0] < 20 {
        commit(&mut store, &[message("a", 1, &[7; 100])]).expect("committed");
        assert!(std::time::Instant::now() < patience, "the interval is an hour");
    }
}

#[test]
fn an_idle_store_proves_itself_and_then_leaves_the_disk_alone() {
    let dir = tempdir();
    let soon = Options { sync: SyncPolicy::Interval(Duration::from_millis(1)), ..options(SMALL) };
    let (mut store, _) = LogStore::open(dir.path(), soon).expect("opens");
    commit(&mut store, &[message("a", 1, b"x")]).expect("committed");
    let patience = std::time::Instant::now() + Duration::from_secs(30);
    while store.marked < store.content_end {
        store.maintain().expect("maintained");
        assert!(std::time::Instant::now() < patience);
    }
    let end = store.segments.end();
    for _ in 0..100 {
        store.maintain().expect("maintained");
    }
    store.close().expect("closed");
    for _ in 0..3 {
        open(dir.path(), SMALL).close().expect("closed");
    }
    assert_eq!(open(dir.path(), SMALL).segments.end(), end, "opening and closing writes nothing");
}
