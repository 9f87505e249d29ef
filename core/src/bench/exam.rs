//! A test that cannot fail is worse than none: plant a fault, and the test that is named for it must fail.

use crate::quirks::{Quirk, Quirks};
use std::cell::Cell;
use std::panic::catch_unwind;

/// Faults, each with a test that passes without it and fails with it.
pub(crate) type Exam = &'static [(Quirk, fn())];

thread_local! {
    static PLANTED: Cell<Quirks> = const { Cell::new(Quirks::NONE) };
}

/// The faults planted in every machine on a bench of this thread.
pub(crate) fn quirks() -> Quirks {
    PLANTED.get()
}

/// Runs every test without its fault and with it.
///
/// # Panics
/// When a test fails without its fault, or does not notice it.
pub(crate) fn examine(exam: Exam) {
    for (quirk, test) in exam {
        test();
        PLANTED.set(Quirks::planted(*quirk));
        let noticed = catch_unwind(test).is_err();
        PLANTED.set(Quirks::NONE);
        assert!(noticed, "{quirk:?} is not noticed");
    }
}

#[test]
#[should_panic(expected = "DrainClaimClean is not noticed")]
fn a_test_that_cannot_fail_does_not_pass() {
    examine(&[(Quirk::DrainClaimClean, || {})]);
}
