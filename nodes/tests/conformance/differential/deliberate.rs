//! Where we answer differently on purpose, and where the original does not agree with itself.
//!
//! - When what a consumer had not acknowledged goes by a purge, a roll-up or a limit, the original tells of some of them,
//!   depending on which of its threads was first. We tell of what is deleted one by one; none of it is compared.
//! - A stream that is created right after one of its name was deleted: now and then the original finds what the deleted
//!   one held. Such a script shows nothing.
//! - Negative waits for acks: the original reads them and judges them later, together with the backoff. We refuse to read
//!   them.
//! - Any listener on the deliver subject of a consumer with a deliver group is one to us; the original asks for one of
//!   the group.

use super::operation::Operation;
use super::side::Outcome;

/// What the original tells when a message goes that a consumer had not acknowledged.
const GONE_UNACKNOWLEDGED: &str = "Unacknowledged message was deleted";

/// Whether two outcomes are the same, as far as they are meant to be.
pub(super) fn equal(ours: &Outcome, real: &Outcome) -> bool {
    ours == real || compared(ours) == compared(real)
}

fn compared(outcome: &Outcome) -> Outcome {
    let lines = |lines: &Vec<String>| -> Vec<String> {
        lines.iter().filter(|line| !line.contains(GONE_UNACKNOWLEDGED)).cloned().collect()
    };
    let compared = outcome.iter().map(|(subject, said)| (subject.clone(), lines(said)));
    compared.filter(|(_, said)| !said.is_empty()).collect()
}

/// Whether the original created a stream that is not empty.
pub(super) fn is_haunted(operation: &Operation, real: &Outcome) -> bool {
    let holds = |line: &String| line.contains("\"did_create\":true") && !line.contains("\"messages\":0");
    operation.is_call("STREAM.CREATE") && real.values().flatten().any(holds)
}
