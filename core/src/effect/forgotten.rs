//! Effects on disk only although the cursor is past them, so that others have their turn.
//!
//! Half of what may be in memory may wait there for something of its own. What is more than that is forgotten: its row
//! stays where it is, the cursor goes on to others, and goes back to the first that was forgotten when something that
//! it may have waited for is there and nobody in memory waits for it. Whatever is then still in the way forgets anew.

use super::Effects;

/// What was forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Forgotten {
    /// How many, behind the cursor.
    count: u64,
    /// The first of them.
    from: Option<u64>,
}

impl Forgotten {
    pub(super) const fn count(&self) -> u64 {
        self.count
    }
}

impl Effects {
    /// How many more may wait in memory.
    pub(super) fn places_to_wait(&self) -> usize {
        (self.config.limits.tracked_max / 2).saturating_sub(self.upstreams.held() + self.lanes.queued())
    }

    /// From here on an effect is on disk only; whether that must be remembered to find it again.
    pub(super) fn forget(&mut self, position: u64) -> bool {
        self.tracked.remove(&position);
        // One that the cursor went back behind is found again anyway.
        if position >= self.cursor {
            return false;
        }
        self.forgotten.count += 1;
        self.forgotten.from = Some(self.forgotten.from.unwrap_or(position).min(position));
        true
    }

    /// One that is not in memory will not be found again.
    pub(super) const fn remembered_no_more(&mut self, position: u64) {
        if position < self.cursor {
            self.forgotten.count -= 1;
        }
    }

    /// The cursor goes back to the first effect that was forgotten.
    pub(super) fn remember(&mut self) {
        let Forgotten { from, .. } = std::mem::take(&mut self.forgotten);
        if let Some(from) = from {
            self.cursor = self.cursor.min(from);
        }
        self.upstreams.remembered();
        self.lanes.remembered();
    }
}
