//! Replay as it was: between two messages passes as much time as between their publishing, until those are delivered that
//! were there when it began.

use super::plus_ns;
use crate::time::{Mono, Now, Wall};

/// What replays keep; lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::jetstream) struct Replay {
    /// The last message that was there.
    until_seq: u64,
    /// When the last one delivered was stored.
    stored_at: Option<Wall>,
    /// Which message waits, and for which moment; for none, once that has come.
    held: Option<(u64, Option<Mono>)>,
}

impl Replay {
    pub(in crate::jetstream) const fn new(until_seq: u64) -> Self {
        Self { until_seq, stored_at: None, held: None }
    }

    /// Whether a message may be delivered now. If not, it will be woken when it may.
    pub(in crate::jetstream) fn admits(&mut self, seq: u64, stored_at: Wall, now: Now) -> bool {
        let gap_ms = self.stored_at.map_or(0, |before| stored_at.as_ms().saturating_sub(before.as_ms()));
        if seq <= self.until_seq && gap_ms > 1 {
            let at = match self.held {
                Some((held, at)) if held == seq => at,
                Some(_) | None => Some(plus_ns(now.mono, gap_ms.saturating_mul(1_000_000))),
            };
            if at.is_some_and(|at| at > now.mono) {
                self.held = Some((seq, at));
                return false;
            }
        }
        self.held = None;
        self.stored_at = Some(stored_at);
        true
    }

    pub(in crate::jetstream) fn next_due(&self) -> Option<Mono> {
        self.held.and_then(|(_, at)| at)
    }

    /// Time has passed.
    pub(in crate::jetstream) fn elapse(&mut self, now: Mono) {
        if let Some((_, at)) = &mut self.held {
            at.take_if(|at| *at <= now);
        }
    }
}
