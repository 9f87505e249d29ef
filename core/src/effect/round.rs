//! A round of turns among effects on disk, which are met in one order only: from where the last pass over them stopped.
//!
//! ```text
//! pass 1:  take take take │ full: the rest is passed over
//! pass 2:  (passed over)  │ take take │ full
//! pass 3:  (passed over)              │ take, end
//! pass 4:  from the beginning
//! ```
//!
//! Whoever is met before that waits for the next round, and so does who comes again in this one: nobody is passed over for
//! ever by those that are always met first.

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Round {
    /// Positions below had their turn.
    from: u64,
    /// The first that was passed over for want of room: nobody has a turn after it in this pass.
    stopped: Option<u64>,
    /// Whether anybody was passed over.
    behind: bool,
}

impl Round {
    pub(super) const fn admits(&self, position: u64) -> bool {
        self.stopped.is_none() && position >= self.from
    }

    /// Whether nobody has a turn until the next pass.
    pub(super) const fn is_closed(&self) -> bool {
        self.stopped.is_some()
    }

    /// Whether anybody waits for the next pass.
    pub(super) const fn is_behind(&self) -> bool {
        self.behind
    }

    /// Somebody has its turn. As long as nobody was ever passed over, coming again takes nothing from others.
    pub(super) const fn admitted(&mut self, position: u64) {
        if self.from > 0 && self.from <= position {
            self.from = position + 1;
        }
    }

    /// Somebody does not have its turn in this pass.
    pub(super) fn pass_over(&mut self, position: u64) {
        if position >= self.from {
            self.stopped.get_or_insert(position);
        }
        self.behind = true;
    }

    /// A new pass begins.
    pub(super) fn again(&mut self) {
        *self = Self { from: self.stopped.unwrap_or(0), stopped: None, behind: false };
    }
}
