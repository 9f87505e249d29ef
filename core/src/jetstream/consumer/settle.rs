//! What becomes of a delivery: settled, repeated, exhausted; and what the removal of messages does to a consumer.
//!
//! The floor follows the server: it moves to just below the next unsettled delivery when the delivery above it is
//! settled, and to the last delivery when nothing is unsettled. So an exhausted message holds it until then.

use super::{Consumer, Pending, Wait, plus_ns};
use crate::jetstream::api::SequencePair;
use crate::jetstream::log::Log;
use crate::time::{Mono, Now};
use crate::wire::subject::Filter;

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
    /// come later.
    pub(in crate::jetstream) fn nak(&mut self, seq: u64, consumer_seq: u64, delay_ns: Option<u64>, now: Now) {
        if consumer_seq <= self.floor.consumer_seq || consumer_seq >= self.next_delivery {
            return;
        }
        let Some(wait) = self.pending.get(&seq).map(|own| own.wait) else { return };
        match (delay_ns, wait) {
            (Some(delay_ns), Wait::Until(_) | Wait::Queued(_)) => {
                self.delivered_at = Some(now.wall);
                self.wait_until(seq, plus_ns(now.mono, delay_ns));
            }
            (None, Wait::Until(_)) => self.enqueue(seq),
            (None, Wait::Queued(_)) => {}
        }
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

    fn repeat_or_exhaust(&mut self, seq: u64) {
        if self.was_delivered_enough(seq) {
            self.exhaust(seq);
        } else {
            self.enqueue(seq);
        }
    }

    pub(super) fn was_delivered_enough(&self, seq: u64) -> bool {
        let max = u64::try_from(self.config.max_deliver).unwrap_or(u64::MAX);
        self.pending.get(&seq).is_some_and(|own| own.deliveries >= max)
    }

    /// Gives a message up: it stays in the stream and this consumer never delivers it again. The floor does not move.
    pub(super) fn exhaust(&mut self, seq: u64) {
        self.unwait(seq);
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

    fn wait_until(&mut self, seq: u64, at: Mono) {
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
        let chosen = self.last_per_subject.as_mut().is_some_and(|own| own.seqs.remove(&seq));
        if chosen || (seq >= self.next_new() && self.filters.matches(subject)) {
            self.num_pending -= 1;
        }
        if self.pending.contains_key(&seq) || self.exhausted.contains(&seq) {
            self.acked_at = Some(now.wall);
        }
        self.settle(seq);
    }

    /// Messages were purged, each reported by [`on_removed`](Self::on_removed) before: the position jumps over the hole.
    /// `purged` is the filter of the purge.
    pub(in crate::jetstream) fn on_purged(&mut self, purged: Option<&Filter>, log: &Log) {
        let start = match purged {
            Some(filter) if self.filters.within(filter) => {
                log.next_matching(&self.filters, 0).unwrap_or(log.last_seq() + 1)
            }
            Some(_) | None => log.first_seq(),
        };
        if self.next_seq < start {
            self.next_seq = start;
            self.changed = true;
        }
        // A hole reaches up to what is unsettled at most: that is still stored.
        let below = start.saturating_sub(1).min(self.next_seq - 1);
        if self.floor.stream_seq >= below {
            return;
        }
        match self.pending.first_key_value() {
            None => self.floor = self.delivered(),
            Some((seq, own)) if *seq > below => {
                self.floor = SequencePair { consumer_seq: own.consumer_seq - 1, stream_seq: below };
            }
            Some(_) => return,
        }
        self.changed = true;
    }
}
