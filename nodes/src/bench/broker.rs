//! `cloudlysis bench broker`: our broker beside a real one.
//!
//! Every server is a process of its own with an empty directory, on this machine; the client is `async-nats` in this
//! process, for all the same. Rounds take turns, and a figure is the median of its rounds.

use super::child::{Program, Server};
use super::rows;
use super::table::{self, Row, median};
use crate::broker::options::SyncPolicy;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// Why a measurement ended without figures.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The system refuses something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A server does not start.
    #[error("{0} does not say where it listens; start it by hand to see why")]
    NotReady(String),
    /// The client got an error.
    #[error("{what}: {error}")]
    Client {
        /// What was tried.
        what: &'static str,
        /// What came back.
        error: String,
    },
}

impl BenchError {
    pub(super) fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// What is measured, and how long.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The real server's executable; without it only ours is measured.
    pub nats_server: Option<PathBuf>,
    /// How long one figure is measured, each round.
    pub time: Duration,
    /// How often.
    pub rounds: usize,
    /// Messages of the memory row; 0 leaves it out.
    pub messages: usize,
    /// How many subjects these are on.
    pub subjects: usize,
    /// Only rows whose name contains this.
    pub only: String,
}

/// Most messages of one measurement that is not about memory.
const MESSAGES_MAX: usize = 200_000;
const MIB: f64 = 1024.0 * 1024.0;

/// Measures everything, and says how far it is.
///
/// # Errors
/// When a server does not start or answers with an error.
pub async fn run(plan: &Plan, progress: &dyn Fn(&str)) -> Result<Vec<Row>, BenchError> {
    let mut out = Vec::new();
    let by_default = SyncPolicy::Every(Duration::from_secs(120));
    for in_flight in [1, 32, 256] {
        let name = format!("publish, {in_flight} in flight");
        out.extend(
            compare(plan, &name, "msg/s", by_default, progress, async |server, time| {
                published(server, in_flight, time).await
            })
            .await?,
        );
    }
    out.extend(
        compare(plan, "pull consume with ack", "msg/s", by_default, progress, async |server, time| {
            let client = rows::connect(server.url()).await?;
            rows::stream(&client).await?;
            let messages = usize::try_from(time.as_millis()).unwrap_or(usize::MAX).saturating_mul(40);
            rows::publish(&client, 512, Duration::MAX, messages, rows::SUBJECTS).await?;
            rows::consume(&client, messages).await
        })
        .await?,
    );
    for in_flight in [1, 32] {
        let name = format!("request and reply, {in_flight} in flight");
        out.extend(
            compare(plan, &name, "req/s", by_default, progress, async |server, time| {
                rows::request(server.url(), in_flight, time).await
            })
            .await?,
        );
    }
    for in_flight in [1, 32, 256] {
        let name = format!("publish, {in_flight} in flight, sync always");
        out.extend(
            compare(plan, &name, "msg/s", SyncPolicy::Always, progress, async |server, time| {
                published(server, in_flight, time).await
            })
            .await?,
        );
    }
    let once = &Plan { rounds: 1, ..plan.clone() };
    out.extend(
        compare(once, "memory, idle", "MiB", by_default, progress, async |server, _| {
            let client = rows::connect(server.url()).await?;
            rows::stream(&client).await?;
            Ok(memory(server))
        })
        .await?,
    );
    if plan.messages > 0 {
        let name = format!("memory, {} messages, {} subjects", plan.messages, plan.subjects);
        out.extend(
            compare(once, &name, "MiB", by_default, progress, async |server, _| {
                let client = rows::connect(server.url()).await?;
                rows::stream(&client).await?;
                rows::publish(&client, 1024, Duration::MAX, plan.messages, plan.subjects).await?;
                // What a garbage collector may give back, it may give back first.
                tokio::time::sleep(Duration::from_secs(5)).await;
                Ok(memory(server))
            })
            .await?,
        );
    }
    Ok(out)
}

/// As people read it.
#[must_use]
pub fn text(rows: &[Row]) -> String {
    table::text(rows)
}

async fn published(server: &Server, in_flight: usize, time: Duration) -> Result<f64, BenchError> {
    let client = rows::connect(server.url()).await?;
    rows::stream(&client).await?;
    rows::publish(&client, in_flight, time, MESSAGES_MAX, rows::SUBJECTS).await
}

#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn memory(server: &Server) -> f64 {
    server.memory_bytes().map_or(f64::NAN, |bytes| bytes as f64 / MIB)
}

async fn compare(
    plan: &Plan,
    name: &str,
    unit: &'static str,
    sync: SyncPolicy,
    progress: &dyn Fn(&str),
    measure: impl AsyncFn(&Server, Duration) -> Result<f64, BenchError>,
) -> Result<Option<Row>, BenchError> {
    if !name.contains(&plan.only) {
        return Ok(None);
    }
    progress(name);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..plan.rounds {
        let server = Server::start(&Program::Ours, sync).await?;
        ours.push(measure(&server, plan.time).await?);
        drop(server);
        if let Some(path) = &plan.nats_server {
            let server = Server::start(&Program::NatsServer(path.clone()), sync).await?;
            theirs.push(measure(&server, plan.time).await?);
        }
    }
    let theirs = plan.nats_server.as_ref().map(|_| median(theirs));
    Ok(Some(Row::new(name, unit, median(ours), theirs)))
}
