//! Every planted fault is noticed by a test of its own machine; the simulator is the second line.

use super::Quirk;
use crate::bench::Exam;
use crate::{
    aggregate, drain, driver, effect, gate, outbox, projection, quarantine, runner, saga, schedule, wire,
};
use std::collections::BTreeMap;

const EXAMS: &[Exam] = &[
    driver::tests::EXAM,
    wire::answer::tests::EXAM,
    gate::tests::EXAM,
    outbox::tests::EXAM,
    saga::tests::EXAM,
    schedule::tests::EXAM,
    schedule::recurring::tests::EXAM,
    effect::tests::EXAM,
    aggregate::tests::EXAM,
    projection::tests::EXAM,
    quarantine::tests::EXAM,
    drain::tests::EXAM,
    runner::tests::EXAM,
];

#[test]
fn every_fault_is_in_one_exam() {
    let mut exams: BTreeMap<Quirk, usize> = Quirk::ALL.iter().map(|quirk| (*quirk, 0)).collect();
    for (quirk, _) in EXAMS.iter().copied().flatten() {
        *exams.entry(*quirk).or_default() += 1;
    }
    exams.retain(|_, times| *times != 1);
    assert_eq!(exams, BTreeMap::new());
}
