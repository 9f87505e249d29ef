//! Every rare branch that is registered is reached, and every crash there is: what no simulated world reaches is not known
//! to be right.

use sim_tests::plan::Scenario;
use sim_tests::report;
use sim_tests::run::jobs;
use std::io;

#[test]
fn every_registered_mark_is_hit() {
    let mut worlds = jobs(1, 500, &Scenario::CONTRACT, None);
    // Some are reached only by what few disasters do.
    worlds.extend(jobs(1, 300, &[Scenario::Disaster], None));
    let summary = report::run(&mut io::stdout(), &worlds).expect("standard output");
    assert!(summary.failed.is_empty(), "the story is above");
    assert_eq!(summary.missed_marks(), []);
    assert!(summary.tell_crashes(&mut io::stdout()).expect("standard output"), "a crash that no world met");
}
