//! Every planted fault is caught by the oracle named for it, within its budget.

use cloudlysis_core::quirks::Quirk;
use sim_tests::mutants::MUTANTS;
use sim_tests::report;
use std::io;

#[test]
fn every_planted_fault_is_caught_by_its_oracle() {
    let alive = report::mutants(&mut io::stdout(), 1, None).expect("standard output");
    assert_eq!(alive, Vec::<&sim_tests::mutants::Mutant>::new());
}

#[test]
fn every_planted_fault_is_listed_once() {
    for quirk in Quirk::ALL {
        let rows = MUTANTS.iter().filter(|mutant| mutant.quirk == *quirk).count();
        assert_eq!(rows, 1, "{quirk:?}");
    }
}
