//! Where a broker may keep its messages: its log beside LMDB, as ratios within one run.
//!
//! - Turns of 1, 32 and 256 messages of 300 bytes are stored, then the oldest are removed as new ones come, then all are
//!   read in order.
//! - The log syncs at every commit or by an interval; LMDB at every commit or never ([`unsynced`]), which may leave it
//!   corrupt after a power cut and is here for its speed only.
//! - How fast a log is opened.
//!
//! `cargo bench -p cloudlysis-io-nats --bench rooms` takes a minute. Started without `--bench` it does everything once
//! with few messages, to see that it still works.

mod unsynced;

use cloudlysis_core::store::WriteBatch;
use cloudlysis_core::{Store, Table, Txn, View};
use cloudlysis_io_nats::log_store::{LogStore, Options, SyncPolicy};
use cloudlysis_io_nats::store::{HeedStore, MapSize};
use std::path::Path;
use std::time::{Duration, Instant};
use unsynced::Unsynced;

const TURNS: [u64; 3] = [1, 32, 256];
const VALUE_BYTES: usize = 300;
/// Messages that stay when the oldest go.
const WINDOW: u64 = 20_000;

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Scale {
    measured: Duration,
    messages_max: u64,
    opened: u64,
}

const FULL: Scale =
    Scale { measured: Duration::from_millis(1_500), messages_max: 1_000_000, opened: 2_000_000 };
const SMOKE: Scale = Scale { measured: Duration::from_millis(20), messages_max: 2_000, opened: 2_000 };

/// Messages a second.
#[derive(Clone, Copy, Debug)]
struct Rates {
    stored: f64,
    replaced: f64,
    read: f64,
}

fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let scale = if is_bench { FULL } else { SMOKE };
    for turn in TURNS {
        say(&format!("messages a second, {turn} of {VALUE_BYTES} bytes a turn"));
        say("                        stored   oldest removed   read in order");
        let log = |sync| move |path: &Path| open_log(path, sync);
        let interval = measure(scale, turn, log(SyncPolicy::default()));
        let always = measure(scale, turn, log(SyncPolicy::Always));
        let unsynced = measure(scale, turn, Unsynced::open);
        let synced = measure(scale, turn, |path| HeedStore::open(path, map()).expect("opens"));
        for (name, rates) in [
            ("log, interval", interval),
            ("log, always", always),
            ("LMDB, never", unsynced),
            ("LMDB", synced),
        ] {
            let Rates { stored, replaced, read } = rates;
            say(&format!("    {name:<16} {stored:>10.0} {replaced:>16.0} {read:>15.0}"));
        }
        for (name, over, under) in
            [("interval : never", interval, unsynced), ("always : LMDB", always, synced)]
        {
            let [stored, replaced, read] =
                [over.stored / under.stored, over.replaced / under.replaced, over.read / under.read];
            say(&format!("    {name:<16} {stored:>10.1} {replaced:>16.1} {read:>15.1}"));
        }
        say("");
    }
    open_again(scale);
}

fn map() -> MapSize {
    MapSize { initial_bytes: 4 << 30, ..MapSize::default() }
}

fn open_log(path: &Path, sync: SyncPolicy) -> LogStore {
    LogStore::open(path, Options { sync, ..Options::default() }).expect("opens").0
}

/// Beside the build, not in a file system that may be memory.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory")
}

fn key(seq: u64) -> [u8; 15] {
    let mut key = *b"orders:\0\0\0\0\0\0\0\0";
    key[7..].copy_from_slice(&seq.to_be_bytes());
    key
}

fn measure<S: Store>(scale: Scale, turn: u64, open: impl Fn(&Path) -> S) -> Rates {
    let dir = directory();
    let mut store = open(dir.path());
    let mut last = 0;
    let stored = rate(scale, turn, |batch| {
        put(batch, &mut last, turn);
        commit(&mut store, batch);
    });
    let end = last;
    let mut first = end.saturating_sub(WINDOW) + 1;
    let mut batch = WriteBatch::default();
    for seq in 1..first {
        batch.delete(Table::JsMessage, &key(seq));
    }
    commit(&mut store, &batch);
    let replaced = rate(scale, turn, |batch| {
        put(batch, &mut last, turn);
        for seq in first..first + turn {
            batch.delete(Table::JsMessage, &key(seq));
        }
        first += turn;
        commit(&mut store, batch);
    });
    let mut read = 0;
    let started = Instant::now();
    while started.elapsed() < scale.measured {
        for seqs in (first..=last).collect::<Vec<_>>().chunks(256) {
            let txn = store.begin().expect("begins");
            for seq in seqs {
                let row = txn.get(Table::JsMessage, &key(*seq)).expect("read").expect("there");
                assert_eq!(row.len(), VALUE_BYTES);
            }
            read += seqs.len();
        }
    }
    Rates { stored, replaced, read: read as f64 / started.elapsed().as_secs_f64() }
}

fn put(batch: &mut WriteBatch, last: &mut u64, turn: u64) {
    for _ in 0..turn {
        *last += 1;
        batch.put(Table::JsMessage, &key(*last), &[*last as u8; VALUE_BYTES]);
    }
}

fn commit<S: Store>(store: &mut S, batch: &WriteBatch) {
    let mut txn = store.begin().expect("begins");
    txn.apply(batch).expect("applied");
    txn.commit().expect("committed");
}

/// Messages a second of turns.
fn rate(scale: Scale, turn: u64, mut run: impl FnMut(&mut WriteBatch)) -> f64 {
    let mut batch = WriteBatch::default();
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < scale.measured && done < scale.messages_max {
        batch.clear();
        run(&mut batch);
        done += turn;
    }
    done as f64 / started.elapsed().as_secs_f64()
}

/// After a kill: everything is read once, from the page cache here.
fn open_again(scale: Scale) {
    let dir = directory();
    let mut store = open_log(dir.path(), SyncPolicy::default());
    let mut batch = WriteBatch::default();
    let mut last = 0;
    while last < scale.opened {
        batch.clear();
        put(&mut batch, &mut last, 256);
        commit(&mut store, &batch);
    }
    let bytes = store.usage().disk_bytes;
    drop(store);
    let started = Instant::now();
    let store = open_log(dir.path(), SyncPolicy::default());
    let took = started.elapsed();
    assert_eq!(store.usage().disk_bytes, bytes);
    let (mib, seconds) = (bytes as f64 / f64::from(1 << 20), took.as_secs_f64());
    say(&format!(
        "opening a log of {last} messages, {mib:.0} MiB: {seconds:.2} s, {:.0} MiB/s",
        mib / seconds
    ));
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn say(line: &str) {
    println!("{line}");
}
