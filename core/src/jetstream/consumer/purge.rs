//! What a purge does to a consumer.
//!
//! | what was purged | the consumer |
//! |---|---|
//! | all of its messages up to a point | begins behind the hole, position and floor |
//! | some of its messages, and its filters want others, too | begins at the stream's first message at the earliest |
//! | nothing of what it wants | stays where it is |
//!
//! A purge that finds nothing moves it as well, as on the server: to behind what it has looked at and does not want. What
//! was to be repeated at once is repeated after its wait for an ack: the server forgets that it was asked for.
//!
//! On purpose not the server's: where the filters want others, too, it keeps counting what is gone as unsettled until the
//! wait for its ack ends, or moves the floor over what is not settled. Here it is settled, and the floor stays below.

use super::{Consumer, plus_ns};
use crate::jetstream::log::{Filters, Log};
use crate::time::Now;
use crate::wire::subject::Filter;

/// Messages that went at once.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(in crate::jetstream) struct Hole<'a> {
    /// Which ones, in order.
    pub(in crate::jetstream) seqs: &'a [u64],
    /// The subjects that were purged: all of them without it.
    pub(in crate::jetstream) filter: Option<&'a Filter>,
    /// If it is a single message, who had it unsettled is told, as when it is deleted; but not every such consumer.
    pub(in crate::jetstream) is_told_of: bool,
}

impl Consumer {
    /// Messages were purged, each [uncounted](Self::uncount) before.
    pub(in crate::jetstream) fn on_purged(&mut self, hole: &Hole<'_>, log: &Log, now: Now) {
        if let ([seq], true) = (hole.seqs, hole.is_told_of && self.is_told_of(hole.filter)) {
            self.note_removal(*seq);
        }
        let before = (self.next_seq, self.floor, self.pending.len());
        match hole.filter {
            None => self.begin_behind(log.first_seq(), log, now),
            Some(filter) if self.filters.within(filter) => {
                let purged = Filters::new(vec![filter.clone()]);
                self.begin_behind(log.next_matching(&purged, 0).unwrap_or(log.last_seq() + 1), log, now);
            }
            Some(filter) if self.filters.cover(filter) => self.move_to(log.first_seq(), now),
            // Unless its filters were others when something was delivered.
            Some(_) => return hole.seqs.iter().for_each(|seq| self.settle(*seq)),
        }
        hole.seqs.iter().for_each(|seq| self.settle(*seq));
        if self.pending.is_empty() {
            self.floor = self.delivered();
        }
        if self.pending.len() < before.2 {
            self.acked_at = Some(now.wall);
        }
        self.changed |= before != (self.next_seq, self.floor, self.pending.len());
    }

    /// As the server compares it: the purged subjects as if they were one subject.
    fn is_told_of(&self, purged: Option<&Filter>) -> bool {
        self.filters.is_everything() || purged.is_some_and(|purged| self.filters.matches(purged.as_str()))
    }

    /// Nothing it wants is left below `start`.
    fn begin_behind(&mut self, start: u64, log: &Log, now: Now) {
        self.move_to(start, now);
        let gone: Vec<u64> = self.pending.range(..start).map(|(seq, _)| *seq).collect();
        for seq in gone.into_iter().filter(|seq| !log.contains(*seq)) {
            if let Some(own) = self.unwait(seq) {
                self.floor.consumer_seq = self.floor.consumer_seq.max(own.consumer_seq);
            }
        }
        if let Some((next, _)) = self.pending.first_key_value() {
            self.floor.stream_seq = self.floor.stream_seq.max((start - 1).min(next - 1));
        }
    }

    fn move_to(&mut self, start: u64, now: Now) {
        self.next_seq = self.next_seq.max(self.looked_to).max(start);
        for seq in std::mem::take(&mut self.queue).into_values() {
            let Some(deliveries) = self.pending.get(&seq).map(|own| own.deliveries) else { continue };
            self.wait_until(seq, plus_ns(now.mono, self.ack_wait_ns(deliveries)));
        }
    }
}
