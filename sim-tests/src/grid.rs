//! The grid: every disaster, what it happened to, and how each kind of node came through it, in counts.
//!
//! | column | |
//! |---|---|
//! | detected | it waits, is not ready, and says for what |
//! | halted | it stopped for good, and says what an operator can do (docs/operating.md) |
//! | quarantined | it holds back the keys that it cannot apply |
//! | agrees | what it keeps is what the logs say: there was nothing to notice |
//! | silent | what it keeps is not what the logs say, and it claims to be ready: INV-DIV-1, the run fails |

use crate::report::{self, Summary};
use crate::run::Job;
use crate::world::disaster::Disaster;
use crate::world::event::NodeId;
use crate::world::runbook::{Aftermath, Fared};
use cloudlysis_core::Invariant;
use cloudlysis_core::wire::stream::PlatformStream;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// A kind of node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Aggregate nodes.
    Aggregate,
    /// The projection node.
    Projection,
    /// The runner.
    Runner,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aggregate, Self::Projection, Self::Runner];

    /// The kind of a node.
    #[must_use]
    pub const fn of(id: NodeId) -> Self {
        match id {
            NodeId::Aggregate(_) => Self::Aggregate,
            NodeId::Projection => Self::Projection,
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => Self::Runner,
        }
    }

    /// Whether it has anything to do with a stream.
    #[must_use]
    pub const fn reads(self, stream: PlatformStream) -> bool {
        match (self, stream) {
            (_, PlatformStream::AggregateEvents) | (Self::Runner, _) => true,
            (
                Self::Aggregate | Self::Projection,
                PlatformStream::WorkflowCommands | PlatformStream::WorkflowEvents,
            ) => false,
        }
    }
}

/// Counts of many runs.
#[derive(Clone, Debug, Default)]
pub struct Grid(BTreeMap<(Disaster, PlatformStream, Kind), BTreeMap<Fared, u64>>);

impl Grid {
    /// Adds how one run went. What the power took is not of one stream.
    pub fn add(&mut self, aftermath: &Aftermath) {
        let of_all = aftermath.disaster == Disaster::PowerLost;
        let stream = if of_all { PlatformStream::AggregateEvents } else { aftermath.stream };
        for (id, fared) in &aftermath.fared {
            let cell = self.0.entry((aftermath.disaster, stream, Kind::of(*id))).or_default();
            *cell.entry(*fared).or_default() += 1;
        }
    }

    fn count(&self, disaster: Disaster, stream: PlatformStream, kind: Kind, fared: Fared) -> u64 {
        self.0.get(&(disaster, stream, kind)).and_then(|cell| cell.get(&fared)).copied().unwrap_or(0)
    }

    fn of(&self, fared: Fared) -> u64 {
        self.0.values().filter_map(|cell| cell.get(&fared)).sum()
    }

    /// Cells that nobody explains: nodes that read a stream that something happened to, and none of which ever noticed.
    #[must_use]
    pub fn unexplained(&self) -> Vec<(Disaster, PlatformStream, Kind)> {
        let noticed = |cell: &BTreeMap<Fared, u64>| cell.keys().any(|fared| *fared != Fared::NotAffected);
        let own = self.0.iter().filter(|((_, stream, kind), cell)| kind.reads(*stream) && !noticed(cell));
        own.map(|(key, _)| *key).collect()
    }

    /// As a table.
    ///
    /// # Errors
    /// When nobody can be told.
    pub fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "| fault | of | machine | detected | halted | quarantined | agrees |")?;
        writeln!(out, "|---|---|---|--:|--:|--:|--:|")?;
        for (disaster, stream, kind) in self.0.keys().copied() {
            let of_all = disaster == Disaster::PowerLost;
            let of = if of_all { "every stream".to_owned() } else { stream.to_string() };
            write!(out, "| {} | {of} | {kind:?} |", disaster.name())?;
            if !kind.reads(stream) {
                writeln!(
                    out,
                    " | | | {} (does not use it) |",
                    self.count(disaster, stream, kind, Fared::NotAffected)
                )?;
                continue;
            }
            for fared in Fared::ALL {
                write!(out, " {} |", self.count(disaster, stream, kind, fared))?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Runs disasters and prints the grid. The summary, and the grid.
///
/// # Errors
/// When nobody can be told.
pub fn disasters(out: &mut (impl Write + Send), jobs: &[Job]) -> io::Result<(Summary, Grid)> {
    let summary = report::run(out, jobs)?;
    writeln!(out)?;
    summary.grid.tell(out)?;
    let silent = summary.failed.iter().filter(|(_, invariant)| *invariant == Some(Invariant::Div1)).count();
    let [detected, halted, quarantined, agrees] = Fared::ALL.map(|fared| summary.grid.of(fared));
    writeln!(
        out,
        "\n{} disasters: {detected} detected, {halted} halted, {quarantined} quarantined, {agrees} agree; {silent} silent",
        summary.runs
    )?;
    for (disaster, stream, kind) in summary.grid.unexplained() {
        writeln!(out, "no {kind:?} ever noticed {} of {stream}", disaster.name())?;
    }
    let grid = summary.grid.clone();
    Ok((summary, grid))
}
