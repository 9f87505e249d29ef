//! What the command line and the tests say about runs, in words.

use crate::grid::Grid;
use crate::mutants::{self, Hunt, MUTANTS, Mutant};
use crate::run::{self, Job, Verdict};
use crate::shrink::Shrunk;
use crate::trace::Keep;
use crate::world::Stats;
use cloudlysis_core::{Invariant, Mark, MarkCounts};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// Causes of a failure that are shown.
const CAUSES_MAX: usize = 24;
/// How often a long command says how far it is.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What many runs came to.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// Runs.
    pub runs: u64,
    /// What they did.
    pub stats: Stats,
    /// Marks they hit.
    pub marks: MarkCounts,
    /// How nodes came through disasters.
    pub grid: Grid,
    /// How long the worlds lived, in nanoseconds of their own.
    pub lived_ns: u128,
    /// Those that failed, and the invariant that did not hold.
    pub failed: Vec<(Job, Option<Invariant>)>,
}

impl Summary {
    /// Adds a verdict.
    pub fn add(&mut self, verdict: &Verdict) {
        self.runs += 1;
        self.stats.add(&verdict.stats);
        self.marks.add(&verdict.marks);
        verdict.aftermath.iter().for_each(|aftermath| self.grid.add(aftermath));
        self.lived_ns += u128::from(verdict.lived_ns);
        if let Some(failure) = &verdict.failure {
            self.failed.push((verdict.job, failure.invariant()));
        }
    }

    /// Where processes died, as a table. Whether every cell of it was met, or says why not.
    ///
    /// # Errors
    /// When nobody can be told.
    pub fn tell_crashes(&self, out: &mut impl Write) -> io::Result<bool> {
        writeln!(out)?;
        self.stats.crashed.tell(out)?;
        let never = self.stats.crashed.unexplained();
        for (kind, at, left) in &never {
            writeln!(out, "no {kind:?} ever died at {at:?} and left {left:?}")?;
        }
        Ok(never.is_empty())
    }

    /// Registered marks that no run hit.
    #[must_use]
    pub fn missed_marks(&self) -> Vec<Mark> {
        self.marks.iter().filter(|(_, hits)| *hits == 0).map(|(mark, _)| mark).collect()
    }
}

/// Runs jobs; stops at the first failure and tells its story.
///
/// # Errors
/// When nobody can be told.
pub fn run(out: &mut (impl Write + Send), jobs: &[Job]) -> io::Result<Summary> {
    let began = Instant::now();
    let mut told = began;
    let mut summary = Summary::default();
    let mut broken = Ok(());
    run::run_all(jobs, Keep::Nothing, |verdict| {
        summary.add(&verdict);
        if told.elapsed() > PROGRESS_EVERY {
            told = Instant::now();
            broken =
                writeln!(out, "{:>7} of {} runs, {} s", summary.runs, jobs.len(), began.elapsed().as_secs());
        }
        summary.failed.is_empty() && broken.is_ok()
    });
    broken?;
    tell(out, &summary, began.elapsed())?;
    for (job, _) in &summary.failed {
        writeln!(out, "\n{}", run::story(*job, CAUSES_MAX))?;
    }
    Ok(summary)
}

fn tell(out: &mut impl Write, summary: &Summary, took: Duration) -> io::Result<()> {
    let Summary { runs, stats, marks, lived_ns, failed, grid: _ } = summary;
    let per_s = |count: u64| u128::from(count) * 1_000 / took.as_millis().max(1);
    writeln!(out, "{runs} runs in {:.1} s: {} runs/s", took.as_secs_f32(), per_s(*runs))?;
    writeln!(
        out,
        "{} turns ({}/s), {} commits, {} events",
        stats.turns,
        per_s(stats.turns),
        stats.commits,
        stats.events
    )?;
    writeln!(out, "{} crashes, {} faults of all kinds", stats.crashes, stats.faults)?;
    writeln!(out, "{} simulated hours", lived_ns / 3_600_000_000_000)?;
    writeln!(out, "marks:")?;
    for (mark, hits) in marks.iter() {
        writeln!(out, "  {hits:>10}  {:<28} {}", mark.id(), mark.sentence())?;
    }
    writeln!(out, "{} violations", failed.len())
}

/// Which lines of a replayed run are shown.
#[derive(Clone, Debug)]
pub struct Lines {
    /// The last so many; all for zero.
    pub last: usize,
    /// Only those that contain this.
    pub containing: Option<String>,
}

/// Runs one job again and shows what happened. `true` when it holds.
///
/// # Errors
/// When nobody can be told.
pub fn replay(out: &mut impl Write, job: Job, lines: &Lines) -> io::Result<bool> {
    let (verdict, world) = job.run(Keep::Lines);
    if let Some(world) = &world {
        let all = world.trace().tail(usize::MAX);
        let chosen: Vec<&String> = match &lines.containing {
            Some(text) => all.iter().filter(|line| line.contains(text.as_str())).collect(),
            None => all.iter().collect(),
        };
        let skip = if lines.last == 0 { 0 } else { chosen.len().saturating_sub(lines.last) };
        for line in chosen.into_iter().skip(skip) {
            writeln!(out, "{line}")?;
        }
    }
    let Verdict { failure, stats, hash, lived_ns, .. } = verdict;
    writeln!(
        out,
        "\nhash {hash:016x}, {} turns, {} crashes, {} ms",
        stats.turns,
        stats.crashes,
        lived_ns / 1_000_000
    )?;
    match &failure {
        None => writeln!(out, "everything holds")?,
        Some(_) => writeln!(out, "{}", run::story(job, CAUSES_MAX))?,
    }
    Ok(failure.is_none())
}

/// Runs every job twice. Returns the jobs whose two runs differ.
///
/// # Errors
/// When nobody can be told.
pub fn meta(out: &mut impl Write, jobs: &[Job]) -> io::Result<Vec<Job>> {
    let mut first = BTreeMap::new();
    let mut differing = Vec::new();
    let key = |job: &Job| (job.seed, job.scenario);
    run::run_all(jobs, Keep::Hash, |verdict| {
        first.insert(key(&verdict.job), verdict.hash);
        true
    });
    run::run_all(jobs, Keep::Hash, |verdict| {
        if first.get(&key(&verdict.job)) != Some(&verdict.hash) {
            differing.push(verdict.job);
        }
        true
    });
    let whole = first.values().fold(0_u64, |whole, hash| whole.rotate_left(5) ^ hash);
    for job in &differing {
        writeln!(out, "two runs of one seed differ: {}", job.replay_command())?;
    }
    writeln!(
        out,
        "{} seeds, each run twice: {} differ; hash of all {whole:016x}",
        first.len(),
        differing.len()
    )?;
    Ok(differing)
}

/// Says how a failing world was made smaller.
///
/// # Errors
/// When nobody can be told.
pub fn shrunk(out: &mut impl Write, shrunk: &Shrunk) -> io::Result<()> {
    let Shrunk { failure, faults: (before, after), runs, was_in_time, .. } = shrunk;
    writeln!(out, "{failure}\nof {before} faults {after} are left, after {runs} runs")?;
    if *was_in_time { Ok(()) } else { writeln!(out, "the time was over: there may be something smaller") }
}

/// Plants every fault. Returns those that no oracle named for them caught.
///
/// # Errors
/// When nobody can be told.
pub fn mutants(
    out: &mut (impl Write + Send),
    first_seed: u64,
    only: Option<&str>,
) -> io::Result<Vec<&'static Mutant>> {
    writeln!(out, "| planted fault | scenario | killed by | seeds to kill | budget | also noticed by |")?;
    writeln!(out, "|---|---|---|---|---|---|")?;
    let named = |mutant: &&Mutant| only.is_none_or(|name| format!("{:?}", mutant.quirk) == name);
    let chosen: Vec<&'static Mutant> = MUTANTS.iter().filter(named).collect();
    let (mut hunts, mut told, mut alive) = (BTreeMap::new(), 0, Vec::new());
    let mut broken = Ok(());
    run::on_all_cores(
        &chosen,
        |mutant| mutants::hunt(mutant, first_seed),
        |at, hunt| {
            hunts.insert(at, hunt);
            // In the order of the register, whichever ended first.
            while let (Some(hunt), Some(mutant)) = (hunts.remove(&told), chosen.get(told)) {
                told += 1;
                if hunt.killed.is_none() {
                    alive.push(*mutant);
                }
                if broken.is_ok() {
                    broken = tell_hunt(out, mutant, hunt);
                }
            }
            broken.is_ok()
        },
    );
    broken?;
    Ok(alive)
}

fn tell_hunt(out: &mut impl Write, mutant: &Mutant, Hunt { killed, noticed_by }: Hunt) -> io::Result<()> {
    let (by, seeds) = killed.map_or_else(
        || ("NOTHING".to_owned(), "-".to_owned()),
        |(invariant, seeds)| (invariant.id().to_owned(), seeds.to_string()),
    );
    let Mutant { quirk, scenario, seeds_max, .. } = mutant;
    let others: Vec<String> = noticed_by.into_iter().collect();
    let others = others.join(", ");
    writeln!(out, "| {quirk:?} | {} | {by} | {seeds} | {seeds_max} | {others} |", scenario.name())?;
    out.flush()
}
