//! Power cuts: of what was not synced, any page may be old, zero or missing, and so may files.

use super::model::any_change;
use super::*;
use proptest::prelude::*;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const PAGE: u64 = 256;

/// A store, and what it held after every commit.
struct History {
    dir: tempfile::TempDir,
    store: LogStore,
    states: Vec<Rows>,
    /// How many states were on disk at the last sync.
    synced: usize,
    /// Every segment file there ever was, kept by a second name.
    links: tempfile::TempDir,
}

impl History {
    fn new() -> Self {
        let dir = tempdir();
        let store = open(dir.path(), SMALL);
        let links = tempdir();
        Self { dir, store, states: vec![Rows::new()], synced: 0, links }
    }

    fn commit(&mut self, changes: &[Change]) {
        commit(&mut self.store, changes).expect("committed");
        let mut rows = self.states[self.states.len() - 1].clone();
        change(&mut rows, changes);
        self.states.push(rows);
        self.link();
    }

    fn link(&self) {
        for segment in segment_files(self.dir.path()) {
            let name = format!("{segment:010}.log");
            if !self.links.path().join(&name).exists() {
                let link = fs::hard_link(self.dir.path().join(&name), self.links.path().join(name));
                link.expect("linked");
            }
        }
    }

    fn sync(&mut self) {
        self.store.sync().expect("synced");
        self.synced = self.states.len() - 1;
    }

    /// Opens what is there; the state must be one it had, none older than the last sync.
    fn check(&self, path: &Path) -> usize {
        let (mut store, dropped) = LogStore::open(path, options(SMALL)).expect("a torn tail opens");
        let found = rows(&mut store);
        let which = self.states.iter().rposition(|state| *state == found);
        let which = which.unwrap_or_else(|| panic!("no state it ever had: {dropped:?}"));
        assert!(which >= self.synced, "state {which}, but {} was on disk: {dropped:?}", self.synced);
        // It goes on from there, and comes back without anything to drop.
        commit(&mut store, &[message("after", 1, b"the cut")]).expect("committed");
        store.close().expect("closed");
        assert_eq!(rows(&mut open(path, SMALL)).len(), found.len() + 1);
        which
    }
}

/// What becomes of the pages.
#[derive(Clone, Debug)]
struct Cut {
    pages: Vec<u8>,
    files: Vec<u8>,
    /// Removed segments that are back.
    back: Vec<bool>,
}

fn any_cut() -> impl Strategy<Value = Cut> {
    let (pages, files) = (prop::collection::vec(0..8_u8, 64), prop::collection::vec(0..8_u8, 8));
    let back = prop::collection::vec(prop::bool::weighted(0.2), 32);
    (pages, files, back).prop_map(|(pages, files, back)| Cut { pages, files, back })
}

impl Cut {
    fn of(draws: &[u8], at: usize) -> u8 {
        draws[at % draws.len()]
    }

    fn apply(&self, path: &Path, synced: Position) {
        for (at, segment) in segment_files(path).into_iter().filter(|own| *own >= synced.segment).enumerate()
        {
            let name = super::super::segments::path(path, segment);
            let start = if segment == synced.segment { u64::from(synced.offset) } else { 0 };
            let file = File::options().write(true).open(&name).expect("opened");
            let length = file.metadata().expect("metadata").len();
            for (number, page) in (start / PAGE..length.div_ceil(PAGE)).enumerate() {
                let (from, to) = ((page * PAGE).max(start), ((page + 1) * PAGE).min(length));
                match Self::of(&self.pages, number + at) {
                    0 => file.write_all_at(&vec![0; (to - from) as usize], from).expect("zeroed"),
                    1 if number > 8 => file.set_len(from).expect("cut"),
                    _ => {}
                }
                if file.metadata().expect("metadata").len() < to {
                    break;
                }
            }
            if start == 0 && Self::of(&self.files, at) == 0 {
                fs::remove_file(&name).expect("removed");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn what_was_synced_is_there_and_what_is_there_was_committed(
        turns in prop::collection::vec((prop::collection::vec(any_change(), 1..8), 0..8_u8), 1..100),
        cut in any_cut(),
    ) {
        let mut history = History::new();
        for (changes, then) in turns {
            history.commit(&changes);
            match then {
                0 => history.sync(),
                1 => drop(history.store.maintain().expect("maintained")),
                _ => {}
            }
        }
        history.link();
        let path = tempdir();
        copy(history.dir.path(), path.path());
        let synced = history.store.syncer.synced().expect("no fault");
        cut.apply(path.path(), synced);
        let oldest = segment_files(history.dir.path())[0];
        for segment in (1..oldest).filter(|segment| cut.back[*segment as usize % cut.back.len()]) {
            let name = format!("{segment:010}.log");
            fs::copy(history.links.path().join(&name), path.path().join(&name)).expect("back");
        }
        history.check(path.path());
    }
}

/// Two commits on disk and a few that are not, in two segments.
fn torn_history() -> History {
    let mut history = History::new();
    for seq in 1..=2 {
        history.commit(&[message("a", seq, &[seq as u8; 100])]);
    }
    history.sync();
    for seq in 3..=16 {
        history.commit(&[message("a", seq, &[seq as u8; 130]), removal("a", seq - 2)]);
    }
    assert_eq!(segment_files(history.dir.path()), [1, 2]);
    history
}

#[test]
fn cut_at_any_byte_the_log_ends_at_the_last_whole_record() {
    let history = torn_history();
    let synced = history.store.syncer.synced().expect("no fault");
    let mut seen = std::collections::BTreeSet::new();
    for segment in [1, 2] {
        let length =
            fs::metadata(history.dir.path().join(format!("{segment:010}.log"))).expect("there").len();
        let start = if segment == synced.segment { u64::from(synced.offset) } else { 0 };
        let mut before = 0;
        for cut in start..=length {
            let path = tempdir();
            copy(history.dir.path(), path.path());
            let file = path.path().join(format!("{segment:010}.log"));
            File::options().write(true).open(file).and_then(|file| file.set_len(cut)).expect("cut");
            let found = history.check(path.path());
            assert!(found >= before, "a longer log holds no less");
            before = found;
            seen.insert(found);
        }
    }
    assert_eq!(seen.len(), history.states.len() - 2, "each of them is where some cut ends");
}

#[test]
fn a_lost_last_segment_is_an_earlier_state() {
    let history = torn_history();
    let path = tempdir();
    copy(history.dir.path(), path.path());
    fs::remove_file(path.path().join("0000000002.log")).expect("removed");
    let found = history.check(path.path());
    assert!(found > history.synced && found < history.states.len() - 1, "{found}");
}

#[test]
fn what_is_dropped_is_told_and_kept_and_never_comes_back() {
    let history = torn_history();
    let path = tempdir();
    copy(history.dir.path(), path.path());
    let synced = history.store.syncer.synced().expect("no fault");
    let first = path.path().join("0000000001.log");
    let lengths = [1, 2].map(|segment: u32| {
        fs::metadata(path.path().join(format!("{segment:010}.log"))).expect("there").len()
    });
    File::options()
        .write(true)
        .open(&first)
        .and_then(|file| file.write_all_at(&[0], u64::from(synced.offset)))
        .expect("damaged");
    let cut_bytes = fs::read(&first).expect("read")[synced.offset as usize..].to_vec();
    let (store, dropped) = LogStore::open(path.path(), options(SMALL)).expect("opens");
    let dropped = dropped.expect("told");
    assert_eq!(dropped.from, synced);
    assert_eq!(dropped.bytes, lengths[0] - u64::from(synced.offset) + lengths[1]);
    assert_eq!(dropped.records, history.states.len() as u64 - 1 - 2 - 1, "all but the damaged one");
    assert_eq!(dropped.files.len(), 2);
    assert!(dropped.files.iter().any(|file| fs::read(file).expect("kept") == cut_bytes));
    drop(store);
    // The cut bytes are back behind the end: the next segment knows better.
    let file = File::options().write(true).open(&first).expect("opened");
    file.write_all_at(&history_bytes(&history)[synced.offset as usize..], u64::from(synced.offset))
        .expect("back");
    assert_eq!(rows(&mut open(path.path(), SMALL)), history.states[2]);
}

fn history_bytes(history: &History) -> Vec<u8> {
    fs::read(history.dir.path().join("0000000001.log")).expect("read")
}

#[test]
fn set_aside_files_are_few_however_often_it_is_cut() {
    let path = tempdir();
    for round in 0..30_u64 {
        let (mut store, _) = LogStore::open(path.path(), options(SMALL)).expect("opens");
        commit(&mut store, &[message("a", round, b"kept")]).expect("committed");
        drop(store);
        let last = segment_files(path.path()).pop().expect("a segment");
        let file = File::options().append(true).open(super::super::segments::path(path.path(), last));
        std::io::Write::write_all(&mut file.expect("opened"), b"garbage").expect("written");
    }
    let (mut store, dropped) = LogStore::open(path.path(), options(SMALL)).expect("opens");
    assert!(dropped.is_some());
    assert_eq!(rows(&mut store).len(), 30);
    let kept = fs::read_dir(path.path()).expect("a directory").filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().ends_with(".dropped"))
    });
    assert_eq!(kept.count(), 8);
}
