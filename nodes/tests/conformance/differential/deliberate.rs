//! Where we answer differently on purpose, and where the original does not agree with itself.
//!
//! - A purge by subject of what a consumer had not acknowledged: the original tells of some of them, depending on where
//!   the delivery was. We tell of none.
//! - A stream that is created right after one of its name was deleted: now and then the original finds what the deleted
//!   one held. Such a script shows nothing.
//! - Negative waits for acks: the original reads them and judges them later, together with the backoff. We refuse to read
//!   them.
//! - Any listener on the deliver subject of a consumer with a deliver group is one to us; the original asks for one of
//!   the group.

use super::operation::Operation;
use super::side::Outcome;

/// Whether two outcomes are the same, as far as they are meant to be.
pub(super) fn equal(operation: &Operation, ours: &Outcome, real: &Outcome) -> bool {
    if !operation.is_call("STREAM.PURGE") {
        return ours == real;
    }
    let told = |subject: &&String| !subject.starts_with("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.");
    let subjects = |outcome: &Outcome| outcome.keys().filter(told).cloned().collect::<Vec<_>>();
    subjects(ours) == subjects(real) && subjects(ours).iter().all(|subject| ours[subject] == real[subject])
}

/// Whether the original created a stream that is not empty.
pub(super) fn is_haunted(operation: &Operation, real: &Outcome) -> bool {
    let holds = |line: &String| line.contains("\"did_create\":true") && !line.contains("\"messages\":0");
    operation.is_call("STREAM.CREATE") && real.values().flatten().any(holds)
}
