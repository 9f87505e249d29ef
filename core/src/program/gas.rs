//! Gas: a deterministic budget, the same on every machine.
//!
//! The `cel` crate has no budget of its own, so the cost of an expression is bounded *before* it is evaluated, from its
//! syntax tree and from how large its inputs are:
//!
//! ```text
//! gas = Σ over nodes   N^depth × weight
//!       depth   how many comprehensions (`all`, `exists`, `map`, `filter`) enclose the node
//!       N       elements of the largest collection among the inputs × (1 + additions in the expression)
//!       weight  1, or 1 + text/64 for what copies text
//! ```
//!
//! It is an upper bound, not a measurement: the same program on the same input always stops at the same place.

use super::ProgramError;
use super::value::Extent;

/// Default budget of one program run: some milliseconds at the very worst.
pub const GAS_MAX_DEFAULT: u64 = 1_000_000;

/// Deepest nesting of comprehensions an expression may have.
pub(super) const LOOP_DEPTH_MAX: usize = 3;

/// What is left of a budget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gas {
    budget: u64,
    left: u64,
}

impl Gas {
    /// A fresh budget.
    #[must_use]
    pub const fn new(budget: u64) -> Self {
        Self { budget, left: budget }
    }

    /// How much was used so far.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.budget - self.left
    }

    /// Uses some.
    ///
    /// # Errors
    /// [`ProgramError::OutOfGas`] when there is less; what was left is then gone.
    pub fn charge(&mut self, gas: u64) -> Result<(), ProgramError> {
        match self.left.checked_sub(gas) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(ProgramError::OutOfGas { budget: self.budget })
            }
        }
    }
}

/// The shape of an expression's cost: how many nodes at each depth of comprehension.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Cost {
    /// Nodes by depth.
    pub(super) nodes: [u64; LOOP_DEPTH_MAX + 1],
    /// Among them, nodes that copy text.
    pub(super) text_nodes: [u64; LOOP_DEPTH_MAX + 1],
    /// Additions, each of which may double a list.
    pub(super) additions: u64,
    /// Elements of the largest list literal.
    pub(super) literal_elements_max: u64,
}

impl Cost {
    /// The bound for inputs of this extent.
    pub(super) fn bound(&self, extent: Extent) -> u64 {
        let elements = extent
            .elements_max
            .max(self.literal_elements_max)
            .saturating_mul(self.additions.saturating_add(1));
        let copy = 1 + extent.text_bytes / 64;
        let mut gas = 0_u64;
        let mut factor = 1_u64;
        for depth in 0..=LOOP_DEPTH_MAX {
            let plain = self.nodes[depth] - self.text_nodes[depth];
            let weighted = plain.saturating_add(self.text_nodes[depth].saturating_mul(copy));
            gas = gas.saturating_add(weighted.saturating_mul(factor));
            factor = factor.saturating_mul(elements);
        }
        gas
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_runs_out_and_stays_out() {
        let mut gas = Gas::new(10);
        assert_eq!(gas.charge(7), Ok(()));
        assert_eq!(gas.charge(4), Err(ProgramError::OutOfGas { budget: 10 }));
        assert_eq!(gas.charge(1), Err(ProgramError::OutOfGas { budget: 10 }));
        assert_eq!(gas.used(), 10);
    }

    #[test]
    fn loops_multiply_and_saturate() {
        let cost = Cost { nodes: [2, 3, 0, 1], ..Cost::default() };
        let extent = |elements_max| Extent { elements_max, text_bytes: 0 };
        assert_eq!(cost.bound(extent(0)), 2);
        assert_eq!(cost.bound(extent(10)), 2 + 30 + 1_000);
        assert_eq!(cost.bound(extent(u64::MAX)), u64::MAX);
    }
}
