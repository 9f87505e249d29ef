//! Drain on request: take nothing in any more, finish what is in flight, and say what is left.
//!
//! The process stays: its probes answer, `/ready` says `draining`, and SIGTERM ends it, at once if nothing is left to
//! wait for. Asking twice is asking once: the first deadline counts, and everybody gets the same report.

use crate::gateway::problem::Problem;
use crate::partition::{Status, Stop};
use crate::shutdown;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cloudlysis_core::drain::Report;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Longest deadline, in milliseconds.
const DEADLINE_MS_MAX: u64 = 3_600_000;
/// A machine ends its drain by the deadline; later than this, something is wrong with its shell.
const SLACK: Duration = Duration::from_secs(5);

/// A partition that can be drained.
#[derive(Clone, Debug)]
pub struct Drainable {
    /// The node.
    pub name: &'static str,
    /// How it is told.
    pub stop: Stop,
    /// How it answers.
    pub status: watch::Receiver<Status>,
}

impl Drainable {
    /// Drains it; `None` when it did not answer, or had stopped for good.
    pub async fn drain(&self, deadline: Instant) -> Option<Report> {
        let left = self.stop.by(deadline).saturating_duration_since(Instant::now());
        shutdown::drained(self.status.clone(), left + SLACK).await
    }
}

/// The partitions of a process, in the order in which they are drained, and how long they have unless somebody says.
#[derive(Clone, Debug)]
struct Process {
    partitions: Arc<[Drainable]>,
    deadline: Duration,
}

/// The route.
pub fn router(partitions: Vec<Drainable>, deadline: Duration) -> Router {
    let process = Process { partitions: partitions.into(), deadline };
    Router::new().route("/admin/drain", post(drain)).with_state(process)
}

/// What may be said about a drain.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    deadline_ms: Option<u64>,
}

async fn drain(State(process): State<Process>, body: Bytes) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail);
    let Wanted { deadline_ms } = match body.is_empty() {
        true => Wanted::default(),
        false => serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?,
    };
    if let Some(given) = deadline_ms.filter(|given| *given > DEADLINE_MS_MAX) {
        return Err(bad(format!("deadline_ms is {given}; at most {DEADLINE_MS_MAX} is allowed")));
    }
    let within = deadline_ms.map_or(process.deadline, Duration::from_millis);
    let deadline = Instant::now() + within;
    tracing::info!(deadline_ms = within.as_millis(), "an operator drains this process");
    // A caller that goes away does not keep the partitions behind the first from being told.
    let drained = tokio::spawn(async move { all(&process.partitions, deadline).await });
    match drained.await.unwrap_or_else(|_| Err("the drain".to_owned())) {
        Ok(report) => Ok(Json(report).into_response()),
        Err(who) => {
            let detail = format!("{who} does not report; its log says why");
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "drain_without_report", detail))
        }
    }
}

/// Drains one after the other: the first need the last. Who does not answer is named.
async fn all(partitions: &[Drainable], deadline: Instant) -> Result<Value, String> {
    let (mut nodes, mut clean, mut in_flight, mut waiting) = (BTreeMap::new(), true, 0, 0);
    for partition in partitions {
        let Some(report) = partition.drain(deadline).await else { return Err(partition.name.to_owned()) };
        clean &= report.clean;
        in_flight += report.left.in_flight;
        waiting += report.left.waiting;
        let own = json!({ "clean": report.clean, "in_flight": report.left.in_flight, "waiting": report.left.waiting });
        nodes.insert(partition.name, own);
    }
    Ok(json!({ "clean": clean, "in_flight": in_flight, "waiting": waiting, "nodes": nodes }))
}
