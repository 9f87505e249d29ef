//! Many worlds: nothing that must hold breaks in any of them.
//!
//! The seeds come from the commit id, so that every commit looks at worlds that no earlier one has seen; a failure names
//! its own seed. `SIM_SEEDS=20000 cargo test -p sim-tests --test seeds --release` looks at more.

use sim_tests::plan::Scenario;
use sim_tests::report;
use sim_tests::run::{Job, jobs};
use std::env;
use std::io;
use std::process::Command;

const SEEDS_DEFAULT: u64 = 560;

fn seeds() -> u64 {
    env::var("SIM_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS_DEFAULT)
}

/// The first half of the commit id; a tree without history always looks at the same worlds.
fn first_seed() -> u64 {
    let commit = Command::new("git").args(["rev-parse", "HEAD"]).output().map(|output| output.stdout);
    let commit = String::from_utf8(commit.unwrap_or_default()).unwrap_or_default();
    commit.get(..12).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(1)
}

#[test]
fn everything_holds_in_every_scenario() {
    hold(&jobs(first_seed(), seeds(), &Scenario::CONTRACT, None));
}

#[test]
fn disasters_are_noticed() {
    hold(&jobs(first_seed(), seeds() / 7, &[Scenario::Disaster], None));
}

fn hold(jobs: &[Job]) {
    let summary = report::run(&mut io::stdout(), jobs).expect("standard output");
    assert!(summary.failed.is_empty(), "the story is above; the last line of it replays the failure");
    assert_eq!(summary.runs, jobs.len() as u64);
    assert!(summary.stats.crashes > 0 && summary.stats.faults > summary.stats.crashes);
}
