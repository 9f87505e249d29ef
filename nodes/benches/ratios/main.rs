//! First figures, as ratios within one run: real processes, a real broker, real services, one machine.
//!
//! - [`projection`]: events a second into a view, beside a bare pull loop that only acknowledges the same stream.
//! - [`sagas`]: orders shipped a second with 1, 32 and 256 customers who wait for each of theirs.
//!
//! `cargo bench -p cloudlysis` takes a minute and prints a table. Started without `--bench`, as `cargo test --benches`
//! does, it runs everything once with few events, to see that it still works.

mod projection;
mod sagas;

#[path = "../../tests/processes/world/mod.rs"]
#[allow(dead_code, unused_imports, reason = "the process tests use the rest")]
mod world;

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

/// How much is done.
#[derive(Clone, Copy, Debug)]
struct Scale {
    events: usize,
    rounds: usize,
    warm_up_ms: u64,
    measured_ms: u64,
}

const FULL: Scale = Scale { events: 100_000, rounds: 3, warm_up_ms: 1_000, measured_ms: 6_000 };
const SMOKE: Scale = Scale { events: 500, rounds: 1, warm_up_ms: 50, measured_ms: 200 };

#[tokio::main]
async fn main() {
    let is_bench = std::env::args().any(|argument| argument == "--bench");
    let scale = if is_bench { FULL } else { SMOKE };
    let sync = synced_write().as_secs_f64() * 1_000.0;
    say(&format!("a synced write takes {sync:.2} ms here (median); every step of an order waits for one\n"));
    projection::run(scale).await;
    sagas::run(scale).await;
}

/// What nobody who keeps promises can be faster than: the disk below everything else.
fn synced_write() -> Duration {
    let dir = tempfile::tempdir().expect("a directory");
    let mut file = File::create(dir.path().join("synced")).expect("a file");
    let mut times: Vec<Duration> = (0..101)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("written");
            started.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}

#[expect(clippy::print_stdout, reason = "the table is what a bench is for")]
fn say(line: &str) {
    println!("{line}");
}
