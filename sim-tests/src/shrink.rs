//! A failing world is made smaller for as long as the same invariant breaks.
//!
//! ```text
//! a seed that fails ─► fewer nodes, people and orders ─► fewer of the faults that the dice threw ─► a script
//!                      each step is kept only if the same invariant breaks
//! ```
//!
//! Faults are told by their number in the run. Without one of them everything after it may come otherwise, and the same number
//! may then be another fault: what is kept is what was seen to fail, not what was expected to.
//!
//! Limit: a budget of wall time, after which the smallest found so far is told.

use crate::plan::Strikes;
use crate::run::Failure;
use crate::script::{Script, Setting};
use crate::trace::Keep;
use crate::world::World;
use cloudlysis_core::Invariant;
use cloudlysis_core::quirks::Quirk;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A script that fails, how it does, and how it was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The script.
    pub script: Script,
    /// What breaks.
    pub failure: Failure,
    /// Faults that the dice threw before it broke, at first and now.
    pub faults: (u64, u64),
    /// Worlds that were run.
    pub runs: u64,
    /// Whether the time was enough for all there was to try.
    pub was_in_time: bool,
}

struct Shrink {
    quirk: Option<Quirk>,
    breaks: Option<Invariant>,
    until: Instant,
    runs: u64,
    best: Script,
    failure: Failure,
    /// Faults that the dice throw in the best one before it breaks.
    thrown: u64,
}

impl Shrink {
    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Whether it fails as the first one did; then it is the best so far.
    fn fails(&mut self, script: Script) -> bool {
        if self.is_over() {
            return false;
        }
        self.runs += 1;
        let (failure, world) = script.run(self.quirk, Keep::Nothing);
        let Some(failure) = failure.filter(|own| own.invariant() == self.breaks) else { return false };
        self.thrown = thrown(world.as_ref());
        (self.best, self.failure) = (script, failure);
        true
    }

    /// Nodes, people and orders: each as few as fail, among none, one, two, four and so on.
    fn settle(&mut self) {
        for setting in Setting::ALL {
            let now = setting.of(&self.best.plan(None));
            let (min, _) = setting.range();
            let mut next = min;
            while next < now {
                let mut smaller = self.best.clone();
                smaller.settings.retain(|(own, _)| *own != setting);
                smaller.settings.push((setting, next));
                if self.fails(smaller) {
                    break;
                }
                next = (2 * next).max(next + 1);
            }
        }
    }

    /// Faults, by delta debugging: halves first, then smaller and smaller parts.
    fn spare(&mut self) {
        let mut left: Vec<u64> = match &self.best.strikes {
            Strikes::All => (1..=self.thrown).collect(),
            Strikes::Only(some) => some.iter().copied().filter(|own| *own <= self.thrown).collect(),
        };
        let with = |best: &Script, some: &[u64]| Script {
            strikes: Strikes::Only(some.iter().copied().collect::<BTreeSet<_>>()),
            ..best.clone()
        };
        let none = with(&self.best, &[]);
        if self.fails(none) {
            return;
        }
        let mut part = left.len().div_ceil(2);
        while part > 0 && !self.is_over() {
            let mut at = 0;
            while at < left.len() && !self.is_over() {
                let rest: Vec<u64> =
                    left.iter().take(at).chain(left.iter().skip(at + part)).copied().collect();
                let smaller = with(&self.best, &rest);
                if rest.len() < left.len() && self.fails(smaller) {
                    left = rest;
                } else {
                    at += part;
                }
            }
            part = if part == 1 { 0 } else { part.div_ceil(2) };
        }
    }
}

fn thrown(world: Option<&World>) -> u64 {
    world.map_or(0, |world| world.stats().faults)
}

/// Makes a failing script smaller; `None` if it does not fail.
#[must_use]
pub fn shrink(script: Script, quirk: Option<Quirk>, budget: Duration) -> Option<Shrunk> {
    let (failure, world) = script.run(quirk, Keep::Nothing);
    let failure = failure?;
    let thrown = thrown(world.as_ref());
    let breaks = failure.invariant();
    let until = Instant::now() + budget;
    let mut shrink = Shrink { quirk, breaks, until, runs: 1, best: script, failure, thrown };
    shrink.settle();
    shrink.spare();
    // With fewer faults fewer orders may do.
    shrink.settle();
    let was_in_time = !shrink.is_over();
    let Shrink { runs, mut best, failure, .. } = shrink;
    best.shows = quirk.zip(breaks);
    let kept = match &best.strikes {
        Strikes::All => thrown,
        Strikes::Only(some) => some.len() as u64,
    };
    Some(Shrunk { script: best, failure, faults: (thrown, kept), runs, was_in_time })
}
