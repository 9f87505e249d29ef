//! What becomes of a delivery: settled, repeated, exhausted; and what the removal of messages does to a consumer.
//!
//! The floor follows the server: it moves to just below the next unsettled delivery when the delivery above it is
//! settled, and to the last delivery when nothing is unsettled. So an exhausted message holds it until then.

use super::{Consumer, Pending, Tiding, Wait, plus_ns};
use crate::jetstream::api::{AckPolicy, SequencePair};
use crate::jetstream::log::Log;
use crate::time::{Mono, Now};

/// Most exhausted messages that are remembered, to be counted; the lowest are forgotten first.
const EXHAUSTED_MAX: usize = 1024;

impl Consumer {
    /// A message was acked, terminated or removed. If it is not pending, only its memory goes: the floor stays.
    pub(in crate::jetstream) fn settle(&mut self, seq: u64) {
        if self.exhausted.remove(&seq) {
            self.changed = true;
        }
        if let Some(own) = self.unwait(seq) {
            self.raise_floor(seq, own.consumer_seq);
            self.changed = true;
        }
    }

    fn raise_floor(&mut self, seq: u64, consumer_seq: u64) {
        match self.pending.first_key_value() {
            None => self.floor = self.delivered(),
            Some((next, own)) if consumer_seq == self.floor.consumer_seq + 1 && seq < *next => {
                self.floor = SequencePair { consumer_seq: own.consumer_seq - 1, stream_seq: next - 1 };
            }
            Some(_) => return,
        }
        self.exhausted = self.exhausted.split_off(&(self.floor.stream_seq + 1));
    }

    /// The client wants it again, at once or after a while. What is in the queue already stays there, unless it shall
    /// come later. Returns whether it was unsettled.
    pub(in crate::jetstream) fn nak(
        &mut self,
        seq: u64,
        consumer_seq: u64,
        delay_ns: Option<u64>,
        now: Now,
    ) -> bool {
        if consumer_seq <= self.floor.consumer_seq || consumer_seq >= self.next_delivery {
            return false;
        }
        let Some(wait) = self.pending.get(&seq).map(|own| own.wait) else { return false };
        match (delay_ns, wait) {
            (Some(delay_ns), Wait::Until(_) | Wait::Queued(_)) => {
                self.delivered_at = Some(now.wall);
                self.wait_until(seq, plus_ns(now.mono, delay_ns));
            }
            (None, Wait::Until(_)) => self.enqueue(seq),
            (None, Wait::Queued(_)) => {}
        }
        true
    }

    /// The client is still at it. What is in the queue already stays there.
    pub(in crate::jetstream) fn extend(&mut self, seq: u64, now: Now) {
        let Some(own) = self.pending.get(&seq) else { return };
        self.delivered_at = Some(now.wall);
        match own.wait {
            Wait::Until(_) => self.wait_until(seq, plus_ns(now.mono, self.ack_wait_ns(own.deliveries))),
            Wait::Queued(_) => {}
        }
    }

    /// The wait of an unsettled delivery is over.
    pub(in crate::jetstream) fn end_ack_wait(&mut self, seq: u64) {
        if self.pending.get(&seq).is_some_and(|own| matches!(own.wait, Wait::Until(_))) {
            self.repeat_or_exhaust(seq);
        }
    }

    /// Everything unsettled is repeated, in stream order, or given up.
    pub(super) fn end_ack_waits(&mut self) {
        let mut waiting: Vec<u64> = self.due.iter().map(|(_, seq)| *seq).collect();
        waiting.sort_unstable();
        for seq in waiting {
            self.repeat_or_exhaust(seq);
        }
    }

    /// Repeats, in stream order, what was not settled in time; or gives it up.
    pub(in crate::jetstream) fn expire_ack_waits(&mut self, now: Mono) {
        let mut expired: Vec<u64> =
            self.due.iter().take_while(|(at, _)| *at <= now).map(|(_, seq)| *seq).collect();
        expired.sort_unstable();
        if !expired.is_empty() {
            self.idle_since = now;
        }
        for seq in expired {
            self.repeat_or_exhaust(seq);
        }
    }

    /// The server counts repetitions here, but at least one delivery: so what was repeated goes to the queue, and is
    /// given up when its turn comes.
    fn repeat_or_exhaust(&mut self, seq: u64) {
        let counted = self.pending.get(&seq).map_or(0, |own| own.deliveries.saturating_sub(1).max(1));
        if counted >= self.deliveries_max() {
            self.exhaust(seq, counted);
        } else {
            self.enqueue(seq);
        }
    }

    pub(super) fn was_delivered_enough(&self, seq: u64) -> Option<u64> {
        let deliveries = self.pending.get(&seq)?.deliveries;
        (deliveries >= self.deliveries_max()).then_some(deliveries)
    }

    fn deliveries_max(&self) -> u64 {
        u64::try_from(self.config.max_deliver).unwrap_or(u64::MAX)
    }

    /// Gives a message up: it stays in the stream and this consumer never delivers it again. The floor does not move.
    /// Of one that was delivered more often than it may be by now, nobody is told.
    pub(super) fn exhaust(&mut self, seq: u64, deliveries: u64) {
        if self.unwait(seq).is_some() && deliveries == self.deliveries_max() {
            self.tidings.push(Tiding::Exhausted { stream_seq: seq, deliveries });
        }
        self.exhausted.insert(seq);
        if self.exhausted.len() > EXHAUSTED_MAX {
            self.exhausted.pop_first();
        }
        self.changed = true;
    }

    fn enqueue(&mut self, seq: u64) {
        let Some(own) = self.unwait(seq) else { return };
        let place = self.queue.last_key_value().map_or(0, |(place, _)| place + 1);
        self.queue.insert(place, seq);
        self.pending.insert(seq, Pending { wait: Wait::Queued(place), ..own });
        self.changed = true;
    }

    pub(super) fn wait_for_ack(&mut self, seq: u64, consumer_seq: u64, deliveries: u64, now: Now) {
        let at = plus_ns(now.mono, self.ack_wait_ns(deliveries));
        self.pending.insert(seq, Pending { consumer_seq, deliveries, wait: Wait::Until(at) });
        self.due.insert((at, seq));
    }

    pub(super) fn wait_until(&mut self, seq: u64, at: Mono) {
        let Some(own) = self.unwait(seq) else { return };
        self.pending.insert(seq, Pending { wait: Wait::Until(at), ..own });
        self.due.insert((at, seq));
        self.changed = true;
    }

    /// Takes an unsettled delivery out of whatever it waits in.
    pub(super) fn unwait(&mut self, seq: u64) -> Option<Pending> {
        let own = self.pending.remove(&seq)?;
        match own.wait {
            Wait::Until(at) => {
                self.due.remove(&(at, seq));
            }
            Wait::Queued(place) => {
                self.queue.remove(&place);
            }
        }
        Some(own)
    }

    /// The ack wait was changed: running waits end that much later.
    pub(super) fn shift_ack_waits(&mut self, longer_ns: i128) {
        let waits = std::mem::take(&mut self.due);
        for (at, seq) in waits {
            let shifted = (i128::from(at.as_ns()) + longer_ns).max(0);
            self.wait_until(seq, Mono::from_ns(u64::try_from(shifted).unwrap_or(u64::MAX)));
        }
    }

    /// A message was stored.
    pub(in crate::jetstream) fn on_stored(&mut self, seq: u64, subject: &str) -> bool {
        let wanted = seq >= self.next_new() && self.filters.matches(subject);
        if wanted {
            self.num_pending += 1;
        }
        wanted
    }

    /// A message was removed. If its delivery is unsettled, that is over, without a word to the client.
    pub(in crate::jetstream) fn on_removed(&mut self, seq: u64, subject: &str, now: Now) {
        self.uncount(seq, subject);
        if self.pending.contains_key(&seq) || self.exhausted.contains(&seq) {
            self.acked_at = Some(now.wall);
        }
        self.note_removal(seq);
        let Some(own) = self.pending.get(&seq).copied() else { return self.settle(seq) };
        match self.config.ack_policy {
            AckPolicy::None | AckPolicy::Explicit => self.settle(seq),
            // As if the client had acked it: what is before it is settled, too.
            AckPolicy::All => drop(self.settle_all(seq, own.consumer_seq)),
        }
    }

    /// A message is there no more: it need not be delivered.
    pub(in crate::jetstream) fn uncount(&mut self, seq: u64, subject: &str) {
        let chosen = self.last_per_subject.as_mut().is_some_and(|own| own.seqs.remove(&seq));
        if chosen || (seq >= self.next_new() && self.filters.matches(subject)) {
            self.num_pending -= 1;
        }
    }

    /// Somebody may want to know, if its delivery is unsettled.
    pub(super) fn note_removal(&mut self, seq: u64) {
        let Some(Pending { consumer_seq, deliveries, .. }) = self.pending.get(&seq).copied() else { return };
        // The server counts repetitions, but at least one delivery.
        let deliveries = deliveries.saturating_sub(1).max(1);
        self.tidings.push(Tiding::Removed { stream_seq: seq, consumer_seq, deliveries });
    }

    /// The client acked or terminated a delivery. Returns what is settled by it, or `None` when it was never delivered.
    pub(in crate::jetstream) fn on_ack(&mut self, seq: u64, consumer_seq: u64, now: Now) -> Option<Vec<u64>> {
        if seq >= self.next_seq {
            return None;
        }
        match self.config.ack_policy {
            AckPolicy::None | AckPolicy::Explicit => {
                self.acked_at = Some(now.wall);
                self.settle(seq);
                Some(vec![seq])
            }
            AckPolicy::All => {
                if consumer_seq <= self.floor.consumer_seq || seq <= self.floor.stream_seq {
                    return Some(Vec::new());
                }
                self.acked_at = Some(now.wall);
                Some(self.settle_all(seq, consumer_seq))
            }
        }
    }

    /// Settles a delivery and everything before it.
    fn settle_all(&mut self, seq: u64, consumer_seq: u64) -> Vec<u64> {
        let mut settled: Vec<u64> = self.pending.range(..seq).map(|(seq, _)| *seq).collect();
        settled.push(seq);
        for seq in &settled {
            self.unwait(*seq);
        }
        let consumer_seq = consumer_seq.min(self.next_delivery - 1);
        self.floor = SequencePair { consumer_seq, stream_seq: seq };
        self.exhausted = self.exhausted.split_off(&(seq + 1));
        self.changed = true;
        settled
    }

    /// How long an unsettled delivery has taken by now.
    pub(in crate::jetstream) fn ack_time_ns(&self, seq: u64, now: Now) -> Option<u64> {
        let own = self.pending.get(&seq)?;
        Some(match own.wait {
            Wait::Until(at) => {
                let sent_ns = at.as_ns().saturating_sub(self.ack_wait_ns(own.deliveries));
                now.mono.as_ns().saturating_sub(sent_ns)
            }
            Wait::Queued(_) => 0,
        })
    }

    /// Begins anew at a sequence: nothing is unsettled.
    pub(in crate::jetstream) fn reset(&mut self, seq: u64, log: &Log) {
        self.pending.clear();
        self.due.clear();
        self.queue.clear();
        self.exhausted.clear();
        self.next_seq = seq;
        self.next_delivery = 1;
        self.floor = SequencePair { consumer_seq: 0, stream_seq: seq - 1 };
        (self.delivered_at, self.acked_at) = (None, None);
        self.looked_to = 0;
        self.changed = true;
        self.recount(log);
    }
}
