//! One seed is one world: run twice, everything that happens is the same, to the last byte of the trace.

use sim_tests::plan::Scenario;
use sim_tests::report;
use sim_tests::run::{Job, jobs};
use sim_tests::trace::Keep;
use std::io;

#[test]
fn the_same_seed_is_the_same_world() {
    let differing =
        report::meta(&mut io::stdout(), &jobs(1, 48, &Scenario::ALL, None)).expect("standard output");
    assert_eq!(differing, []);
}

#[test]
fn another_seed_is_another_world() {
    let hash = |seed| Job { seed, scenario: Scenario::Everything, quirk: None }.run(Keep::Hash).0.hash;
    assert_ne!(hash(1), hash(2), "a hash that cannot differ compares nothing");
}

#[test]
fn keeping_a_trace_changes_nothing() {
    let job = Job { seed: 7, scenario: Scenario::Everything, quirk: None };
    let (kept, quiet) = (job.run(Keep::Lines).0, job.run(Keep::Nothing).0);
    assert_eq!((kept.lived_ns, kept.stats.turns), (quiet.lived_ns, quiet.stats.turns));
}
