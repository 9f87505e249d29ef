//! What time brings to each part: pauses that are over, timers and occurrences that are due, what is let go
//! again, the end of a drain.
//!
//! ```text
//! gates ─► outbox ─► effects ─► timers ─► schedules ─► what is kept ─► dead letters ─► quarantine ─► drain
//! ```
//!
//! A node that stops fires nothing and lets nothing go: what is due then comes when it is back.

use super::dead_letter::PARKED_AT_ONCE_MAX;
use super::{Effect, Input, Runner, gate_cx};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::outbox::Entry;
use crate::time::Now;

impl Runner {
    pub(super) fn on_tick(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        for (source, gate) in &mut self.gates {
            gate_cx(*source, cx, |cx| gate.tick(now, cx));
        }
        cx.child(Input::Outbox, Effect::Outbox, |cx| self.outbox.tick(now, cx))?;
        cx.child(Input::Effect, Effect::Effect, |cx| self.effects.tick(now, cx))?;
        if !self.drain.is_stopping() {
            for timer in self.schedule.tick(now, cx)? {
                cx.then(Input::Enqueued(Box::new(Entry::reminder(now, timer))));
            }
            for occurrence in self.recurring.tick(now, cx)? {
                self.on_occurrence(now, occurrence, cx);
            }
            self.retire(now, cx)?;
            if self.parks() {
                cx.then(Input::GivenUp { left: PARKED_AT_ONCE_MAX });
            }
            let left = self.quarantine.tick(now);
            if left > 0 {
                cx.then(Input::TurnCame { left });
            }
        }
        if let Some(report) = self.drain.observe(now, self.left(), self.config.quirks, cx) {
            cx.emit(Effect::Drained(report));
        }
        Ok(())
    }
}
