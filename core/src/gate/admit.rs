//! Admission: is this delivery the next one, an old one, or one too many ahead?

use super::tenants::Belonging;
use super::{Admitted, Delivery, Effect, Gate, Phase};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::marks::Mark;
use crate::quirks::Quirk;
use crate::time::Now;

/// What to do with a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It is the next one: apply it and call [`Gate::applied`] or [`Gate::parked`] in the same turn.
    Apply,
    /// Nothing: it was applied before, or something before it is missing.
    Drop,
}

impl Gate {
    /// Decides about a delivery.
    pub fn admit<I>(&mut self, now: Now, delivery: &Delivery, cx: &mut Cx<'_, I, Effect>) -> Admission {
        let bound = match &mut self.phase {
            Phase::Bound(bound) => Some(bound).filter(|bound| bound.generation == delivery.generation),
            Phase::Unbound(_) | Phase::Stopped => None,
        };
        let Some(bound) = bound else {
            cx.mark(Mark::GateStaleGeneration);
            return Admission::Drop;
        };
        bound.count_delivery(now);
        let skipped = delivery.consumer_seq != bound.next_consumer_seq;
        if skipped && !self.config.quirks.has(Quirk::GateIgnoreGap) {
            cx.mark(Mark::GateGap);
            self.rebind_later(now, 1);
            return Admission::Drop;
        }
        bound.next_consumer_seq = delivery.consumer_seq + 1;
        self.pending = delivery.pending;
        self.fetch(now, cx);
        let ack = delivery.ack.clone();
        match self.belonging(delivery) {
            Belonging::Next => Admission::Apply,
            Belonging::Seen => {
                cx.mark(Mark::GateDuplicate);
                cx.emit(Effect::Ack { ack });
                Admission::Drop
            }
            Belonging::Foreign => {
                cx.mark(Mark::GateForeign);
                self.checkpoint.move_to(delivery.stream_seq, Admitted::of(delivery).witness);
                self.stage_checkpoint(cx);
                cx.emit(Effect::Ack { ack });
                Admission::Drop
            }
            Belonging::CaughtUp => self.caught_up(cx),
        }
    }

    /// The delivery was applied: the checkpoint moves past it in this commit, the ack leaves after it.
    ///
    /// # Errors
    /// [`Halt::Broken`] when it was applied out of order.
    pub fn applied<I>(&mut self, admitted: Admitted, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        self.advance(&admitted, cx)?;
        cx.emit(Effect::Ack { ack: admitted.ack });
        Ok(())
    }

    /// The delivery was quarantined: the checkpoint moves past it in this commit, then the broker may forget it.
    ///
    /// # Errors
    /// [`Halt::Broken`] when it was parked out of order.
    pub fn parked<I>(
        &mut self,
        admitted: Admitted,
        reason: &str,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        self.advance(&admitted, cx)?;
        cx.emit(Effect::Term { ack: admitted.ack, reason: reason.to_owned() });
        Ok(())
    }

    fn advance<I>(&mut self, admitted: &Admitted, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        let (before, stream_seq) = (self.checkpoint.seq, admitted.stream_seq);
        if let Some(late) = &self.members.catch_up {
            invariant!(stream_seq > late.seq, Gate2, "{stream_seq} applied after {}", late.seq);
            self.advance_late(stream_seq, cx);
            return Ok(());
        }
        invariant!(stream_seq > before, Gate2, "{stream_seq} applied after {before}");
        self.checkpoint.move_to(stream_seq, admitted.witness);
        let late = self.config.quirks.has(Quirk::GateCheckpointLate) && stream_seq.is_multiple_of(2);
        if !late {
            self.stage_checkpoint(cx);
        }
        Ok(())
    }
}
