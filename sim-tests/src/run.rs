//! One run from a seed to a verdict, and many of them.

use crate::oracles::Violation;
use crate::plan::{Plan, Scenario};
use crate::trace::Keep;
use crate::world::runbook::Aftermath;
use crate::world::{Stats, World};
use cloudlysis_core::quirks::{Quirk, Quirks};
use cloudlysis_core::{Checks, Invariant, MarkCounts};
use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Events before a failure that are shown, whatever caused it.
const TAIL_MAX: usize = 12;

/// What is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// The seed.
    pub seed: u64,
    /// The scenario.
    pub scenario: Scenario,
    /// The planted fault, if any.
    pub quirk: Option<Quirk>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// What was run.
    pub job: Job,
    /// What did not hold.
    pub failure: Option<Failure>,
    /// What happened.
    pub stats: Stats,
    /// Marks hit.
    pub marks: MarkCounts,
    /// How its nodes came through its disaster, if it had one.
    pub aftermath: Option<Aftermath>,
    /// How long the world lived, in nanoseconds of its own.
    pub lived_ns: u64,
    /// Hash of everything that happened, when it was kept.
    pub hash: u64,
}

/// Why a run failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// An invariant did not hold.
    Violation(Violation),
    /// Something panicked, which nothing may.
    Panicked(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Violation(violation) => write!(f, "{violation}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

impl Failure {
    /// The invariant, when there is one.
    #[must_use]
    pub const fn invariant(&self) -> Option<Invariant> {
        match self {
            Self::Violation(violation) => Some(violation.invariant),
            Self::Panicked(_) => None,
        }
    }
}

impl Job {
    /// The command that runs exactly this again.
    #[must_use]
    pub fn replay_command(&self) -> String {
        format!("cargo run -p sim-tests --bin sim -- replay {}", self.arguments())
    }

    /// The command that looks for less that fails the same way, and writes it down as a script.
    #[must_use]
    pub fn shrink_command(&self) -> String {
        format!("cargo run --release -p sim-tests --bin sim -- shrink {}", self.arguments())
    }

    fn arguments(&self) -> String {
        let Self { seed, scenario, quirk } = self;
        let quirk = quirk.map(|quirk| format!(" --quirk {quirk:?}")).unwrap_or_default();
        format!("--scenario {} --seed {seed}{quirk}", scenario.name())
    }

    /// Runs it; the world is returned as it was at the end, unless it panicked.
    #[must_use]
    pub fn run(self, keep: Keep) -> (Verdict, Option<World>) {
        let mut plan = Plan::draw(self.seed, self.scenario, self.quirk.map_or(Quirks::NONE, Quirks::planted));
        if keep == Keep::Lines {
            // Whoever reads what happened wants the turn that broke it.
            plan.checks = Checks::EveryTurn;
        }
        let (failure, world) = run_plan(plan, keep);
        let verdict = Verdict {
            job: self,
            failure,
            stats: world.as_ref().map(World::stats).unwrap_or_default(),
            marks: world.as_ref().map(World::marks).unwrap_or_default(),
            aftermath: world.as_ref().and_then(World::aftermath).cloned(),
            lived_ns: world.as_ref().map_or(0, World::now_ns),
            hash: world.as_ref().map_or(0, |world| world.trace().hash()),
        };
        (verdict, world)
    }
}

/// Runs a plan; the world is returned as it was at the end, unless it panicked.
pub(crate) fn run_plan(plan: Plan, keep: Keep) -> (Option<Failure>, Option<World>) {
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(plan, keep)?;
        let failure = world.run().err();
        Ok::<_, Violation>((world, failure))
    }));
    match ran {
        Ok(Ok((world, failure))) => (failure.map(Failure::Violation), Some(world)),
        Ok(Err(violation)) => (Some(Failure::Violation(violation)), None),
        Err(panic) => (Some(Failure::Panicked(message(panic.as_ref()))), None),
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message").to_owned()
}

/// Runs jobs on all cores, in any order; `each` hears every verdict, and says whether to go on.
pub fn run_all(jobs: &[Job], keep: Keep, mut each: impl FnMut(Verdict) -> bool + Send) {
    on_all_cores(jobs, |job| job.run(keep).0, |_, verdict| each(verdict));
}

/// Works on items on all cores, in any order; `each` hears what became of the item at a place, and says whether to go
/// on.
pub fn on_all_cores<I: Sync, O: Send>(
    items: &[I],
    work: impl Fn(&I) -> O + Sync,
    each: impl FnMut(usize, O) -> bool + Send,
) {
    let next = AtomicUsize::new(0);
    let each = Mutex::new((each, true));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let done = work(item);
                    let Ok(mut each) = each.lock() else { return };
                    let (hear, go_on) = &mut *each;
                    if !*go_on {
                        return;
                    }
                    *go_on = hear(at, done);
                }
            });
        }
    });
}

/// The jobs of consecutive seeds, each in one of the scenarios in turn.
#[must_use]
pub fn jobs(first_seed: u64, seeds: u64, scenarios: &[Scenario], quirk: Option<Quirk>) -> Vec<Job> {
    let all = (0..seeds).flat_map(|offset| {
        let at = usize::try_from(offset % scenarios.len() as u64).unwrap_or_default();
        let scenario = scenarios.get(at).copied()?;
        Some(Job { seed: first_seed.wrapping_add(offset), scenario, quirk })
    });
    all.collect()
}

/// What a failure looks like to people: what, the causes that led to it, and last the command that replays it.
#[must_use]
pub fn story(job: Job, causes_max: usize) -> String {
    let (verdict, world) = job.run(Keep::Lines);
    let Some(failure) = verdict.failure else { return "it does not fail any more".to_owned() };
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    if let (Failure::Violation(violation), Some(world)) = (&failure, &world) {
        line(&format!("seed {} in scenario {}: the last that happened", job.seed, job.scenario.name()));
        for event in world.trace().tail(TAIL_MAX) {
            line(&event);
        }
        line("\nwhat led to it:");
        for cause in world.trace().chain(violation.event, causes_max) {
            line(&cause);
        }
        line("");
    }
    line(&failure.to_string());
    line("");
    line(&job.shrink_command());
    out.push_str(&job.replay_command());
    out
}
