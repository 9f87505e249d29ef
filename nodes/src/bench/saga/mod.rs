//! `cloudlysis bench saga`: one command in, an event, two effects one after the other that return at once, the end.
//!
//! ```text
//!  caller ─ command ─► aggregate node ─ event ─► broker ─► runner: saga ─ effect ─► saga ─ effect ─► saga, completed ─► caller
//!         └──────────────────────────────── end to end ────────────────────────────────────────────────────┘
//! ```
//!
//! The nodes are those of `dev`, in this process, with their stores as in production: every commit is synced. Commands
//! enter the aggregate node where its gRPC door does. A caller waits for the end of its saga before it begins the next.
//! What is not measured: HTTP, and a network.

use crate::aggregate::Commands;
use cloudlysis_core::aggregate::Reply;
use cloudlysis_core::manifest::{App, SourceFile};
use cloudlysis_core::saga::Finished;
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::oneshot;

const FILES: [(&str, &str); 5] = [
    ("app.yaml", include_str!("app.yaml")),
    ("aggregates/order.yaml", include_str!("aggregate.yaml")),
    ("sagas/order.yaml", include_str!("saga.yaml")),
    ("effects/reserve.yaml", include_str!("reserve.yaml")),
    ("effects/charge.yaml", include_str!("charge.yaml")),
];

/// A saga that takes longer is a broken one.
const SAGA_WITHIN: Duration = Duration::from_secs(60);
/// Sagas before the figures begin, for each that is in flight: connections, caches and files are there then.
const WARM_UP: usize = 4;

/// Why there are no figures.
#[derive(Debug, Error)]
pub enum SagaBenchError {
    /// A command was not taken.
    #[error("a command was answered {0:?}; look at the log above")]
    Command(Reply),
    /// Somebody used the broker before, or this did.
    #[error(
        "stream AGGREGATE_EVENTS holds {messages} messages already, and sagas would react to them: measure on a broker without streams"
    )]
    NotEmpty {
        /// How many.
        messages: u64,
    },
    /// A saga did not end.
    #[error("a saga did not end within {} s; look at the log above", SAGA_WITHIN.as_secs())]
    Stuck,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Sagas at once.
    pub concurrency: usize,
    /// Sagas in all, without those before the figures begin.
    pub count: usize,
}

/// What was measured.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    /// Which broker.
    pub broker: String,
    /// What an acknowledged message survives: `power-loss` or `process-crash`. Stores of nodes always survive both.
    pub durability: &'static str,
    /// How effects reached the ledger.
    pub hand_over: &'static str,
    /// Sagas at once.
    pub concurrency: usize,
    /// Sagas measured.
    pub count: usize,
    /// Finished a second.
    pub sagas_per_second: f64,
    /// From command to end, half of them.
    pub p50_ms: f64,
    /// From command to end, 99 of 100.
    pub p99_ms: f64,
    /// Of this process, callers and a broker of its own included.
    pub cpu_seconds_per_1000: f64,
    /// Transactions of all stores of nodes.
    pub commits_per_saga: f64,
    /// Files brought to disk: two for a commit of LMDB, and those of a broker of this process.
    pub fsyncs_per_saga: f64,
    /// Most memory this process ever had.
    pub peak_rss_bytes: u64,
    /// Growth of everything in the data directory.
    pub disk_bytes_per_saga: f64,
}

/// What can be read off while it runs.
pub struct Meters {
    /// Commits of all stores.
    pub commits: Box<dyn Fn() -> u64 + Send + Sync>,
    /// How often any of them, or a broker of this process, had a file brought to disk.
    pub syncs: Box<dyn Fn() -> u64 + Send + Sync>,
    /// Bytes on disk.
    pub disk_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// A moment of the meters.
struct Reading {
    at: Instant,
    cpu: Duration,
    commits: u64,
    syncs: u64,
    disk_bytes: u64,
}

impl Meters {
    fn read(&self) -> Reading {
        let cpu = clock_gettime(ClockId::ProcessCPUTime);
        let cpu = Duration::new(
            u64::try_from(cpu.tv_sec).unwrap_or_default(),
            u32::try_from(cpu.tv_nsec).unwrap_or_default(),
        );
        Reading {
            at: Instant::now(),
            cpu,
            commits: (self.commits)(),
            syncs: (self.syncs)(),
            disk_bytes: (self.disk_bytes)(),
        }
    }
}

/// Callers that wait for the end of their saga.
#[derive(Clone, Debug, Default)]
pub struct Waiting(Arc<Mutex<BTreeMap<EntityId, oneshot::Sender<()>>>>);

impl Waiting {
    /// A saga has finished.
    pub fn finished(&self, finished: &Finished) {
        let caller = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&finished.correlation);
        if let Some(caller) = caller {
            // An error means that the caller has gone.
            caller.send(()).ok();
        }
    }

    fn wait_for(&self, order: &EntityId) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(order.clone(), tell);
        told
    }
}

/// The application.
#[must_use]
pub fn application() -> App {
    let file = |(path, text): (&str, &str)| SourceFile { path: path.to_owned(), text: text.to_owned() };
    App::load(&FILES.map(file), &BTreeMap::new())
        .unwrap_or_else(|faults| panic!("manifests of ours: {faults:?}"))
}

/// Runs a load and measures it.
///
/// # Errors
/// When a command is not taken, or a saga does not end.
pub async fn run(
    commands: &Commands,
    waiting: &Waiting,
    load: Load,
    meters: &Meters,
    about: (String, &'static str, &'static str),
    progress: &(dyn Fn(&str) + Sync),
) -> Result<Figures, SagaBenchError> {
    progress("warming up");
    let before = Load { count: load.concurrency * WARM_UP, ..load };
    sagas(commands, waiting, before, "warm", &|_| {}).await?;
    let begun = meters.read();
    let told = Mutex::new(Instant::now());
    let mut took = sagas(commands, waiting, load, "order", &|done| {
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() > Duration::from_secs(1) {
            *told = Instant::now();
            progress(&format!("{done} of {} sagas", load.count));
        }
    })
    .await?;
    let ended = meters.read();
    took.sort_unstable();
    let part = |of: usize| took.get((took.len() * of / 100).min(took.len() - 1)).copied().unwrap_or_default();
    let ms = |took: Duration| took.as_secs_f64() * 1_000.0;
    let count = load.count as f64;
    let commits = (ended.commits - begun.commits) as f64;
    let (broker, durability, hand_over) = about;
    Ok(Figures {
        broker,
        durability,
        hand_over,
        concurrency: load.concurrency,
        count: load.count,
        sagas_per_second: count / (ended.at - begun.at).as_secs_f64(),
        p50_ms: ms(part(50)),
        p99_ms: ms(part(99)),
        cpu_seconds_per_1000: (ended.cpu - begun.cpu).as_secs_f64() * 1_000.0 / count,
        commits_per_saga: commits / count,
        fsyncs_per_saga: (ended.syncs - begun.syncs) as f64 / count,
        peak_rss_bytes: peak_rss_bytes(),
        disk_bytes_per_saga: ended.disk_bytes.saturating_sub(begun.disk_bytes) as f64 / count,
    })
}

/// Runs sagas, so many at once, and says how long each took.
async fn sagas(
    commands: &Commands,
    waiting: &Waiting,
    load: Load,
    name: &'static str,
    done: &(dyn Fn(usize) + Sync),
) -> Result<Vec<Duration>, SagaBenchError> {
    let (next, finished) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let caller = || async {
        let mut took = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= load.count {
                return Ok(took);
            }
            took.push(saga(commands, waiting, &format!("{name}-{number}")).await?);
            done(finished.fetch_add(1, Ordering::Relaxed) + 1);
        }
    };
    let callers = (0..load.concurrency.max(1)).map(|_| caller());
    Ok(futures_util::future::try_join_all(callers).await?.concat())
}

async fn saga(commands: &Commands, waiting: &Waiting, order: &str) -> Result<Duration, SagaBenchError> {
    let parsed = (EntityId::parse(order), CommandId::parse(&format!("place-{order}")));
    let (Ok(id), Ok(command_id)) = parsed else { unreachable!("ids of ours") };
    let ended = waiting.wait_for(&id);
    let began = Instant::now();
    let context = Context::generate(command_id.as_str());
    let (Ok(aggregate), Ok(place), Ok(tenant)) =
        (Name::parse("order"), Name::parse("place"), TenantId::parse("acme"))
    else {
        unreachable!("names of ours")
    };
    let reply = commands
        .submit(Command {
            tenant,
            aggregate,
            id,
            name: place,
            payload: json!({ "cents": 900 }),
            command_id,
            context,
            record_refusal: false,
        })
        .await;
    if !matches!(reply, Reply::Accepted { .. }) {
        return Err(SagaBenchError::Command(reply));
    }
    match tokio::time::timeout(SAGA_WITHIN, ended).await {
        Ok(Ok(())) => Ok(began.elapsed()),
        Ok(Err(_)) | Err(_) => Err(SagaBenchError::Stuck),
    }
}

fn peak_rss_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default() * 1024
}

/// Bytes that a folder takes on its disk.
#[must_use]
pub fn disk_bytes(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(about) if about.is_dir() => disk_bytes(&entry.path()),
            Ok(about) => about.blocks() * 512,
            Err(_) => 0,
        })
        .sum()
}

impl Figures {
    /// As people read it.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { broker, durability, hand_over, concurrency, count, .. } = self;
        let line = |name: &str, figure: String| format!("  {name:<28} {figure:>12}");
        [
            format!("saga `order`, two effects; {broker}, {durability}, hand-over by {hand_over}; {concurrency} at once, {count} in all"),
            line("sagas a second", format!("{:.0}", self.sagas_per_second)),
            line("p50, ms", format!("{:.2}", self.p50_ms)),
            line("p99, ms", format!("{:.2}", self.p99_ms)),
            line("CPU seconds per 1,000", format!("{:.3}", self.cpu_seconds_per_1000)),
            line("commits per saga", format!("{:.3}", self.commits_per_saga)),
            line("fsyncs per saga", format!("{:.3}", self.fsyncs_per_saga)),
            line("peak memory, MiB", format!("{:.0}", self.peak_rss_bytes as f64 / 1_048_576.0)),
            line("disk per saga, bytes", format!("{:.0}", self.disk_bytes_per_saga)),
        ]
        .join("\n")
    }
}
