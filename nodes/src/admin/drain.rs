//! Drain on request: take nothing in any more, finish what is in flight, and say what is left.
//!
//! The process stays: its probes answer, `/ready` says `draining`, and SIGTERM ends it, at once if nothing is left to
//! wait for. Asking twice is asking once: the first deadline counts, and everybody gets the same report.

use super::fault::{Fault, Kind};
use super::fields;
use crate::partition::{Status, Stop};
use crate::shutdown;
use cloudlysis_core::drain::Report;
use serde::Serialize;
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
pub struct Process {
    /// The first need the last.
    pub partitions: Arc<[Drainable]>,
    /// How long they have.
    pub deadline: Duration,
}

/// What was left of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Left {
    /// Nothing was in flight.
    pub clean: bool,
    /// Requests under way whose answer is not known.
    pub in_flight: usize,
    /// Durable work that leaves after the next start.
    pub waiting: u64,
}

/// How a process was drained.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Drained {
    /// What was left of all of them.
    #[serde(flatten)]
    pub all: Left,
    /// What was left of each.
    pub nodes: BTreeMap<&'static str, Left>,
}

impl Process {
    /// Drains it, within so many milliseconds.
    ///
    /// # Errors
    /// When the deadline is too long, or a partition does not report.
    pub async fn drain(&self, deadline_ms: Option<u64>) -> Result<Drained, Fault> {
        let within = fields::deadline(deadline_ms, self.deadline, DEADLINE_MS_MAX)?;
        let (partitions, deadline) = (Arc::clone(&self.partitions), Instant::now() + within);
        tracing::info!(deadline_ms = within.as_millis(), "an operator drains this process");
        // A caller that goes away does not keep the partitions behind the first from being told.
        let drained = tokio::spawn(async move { drain_all(&partitions, deadline).await });
        drained.await.unwrap_or_else(|_| Err("the drain".to_owned())).map_err(|who| {
            let detail = format!("{who} does not report; its log says why");
            Fault::new(Kind::Failed, "drain_without_report", detail)
        })
    }
}

/// Drains one after the other: the first need the last. Who does not answer is named.
async fn drain_all(partitions: &[Drainable], deadline: Instant) -> Result<Drained, String> {
    let (mut nodes, mut all) = (BTreeMap::new(), Left { clean: true, in_flight: 0, waiting: 0 });
    for partition in partitions {
        let Some(report) = partition.drain(deadline).await else { return Err(partition.name.to_owned()) };
        let Report { clean, left } = report;
        all.clean &= clean;
        all.in_flight += left.in_flight;
        all.waiting += left.waiting;
        nodes.insert(partition.name, Left { clean, in_flight: left.in_flight, waiting: left.waiting });
    }
    Ok(Drained { all, nodes })
}
