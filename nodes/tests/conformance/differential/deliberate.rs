//! Where we answer differently on purpose.

use super::operation::Operation;
use super::side::Outcome;

/// Whether two outcomes are the same, as far as they are meant to be.
pub(super) fn equal(_operation: &Operation, ours: &Outcome, real: &Outcome) -> bool {
    ours == real
}
