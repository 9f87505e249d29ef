//! A consumer as the API describes it, and as it is stored.

use super::{Consumer, ConsumerRow};
use crate::jetstream::api::{ConsumerInfo, SequenceInfo, SequencePair, Storage};
use crate::jetstream::stream::{Stream, rfc3339_ns};
use crate::time::{Now, Wall};

impl Consumer {
    pub(in crate::jetstream) fn row(&self, name: &str) -> ConsumerRow {
        let Self { config, created_ns, flushed, .. } = self;
        ConsumerRow {
            name: name.to_owned(),
            config: config.clone(),
            created_ns: *created_ns,
            state: flushed.clone(),
        }
    }

    /// The last delivery. As on the server, one of which nothing is kept on disk says how far it has looked, as long as
    /// it has delivered nothing.
    fn reached(&self, is_kept: bool) -> SequencePair {
        match self.delivered() {
            SequencePair { consumer_seq: 0, stream_seq: 0 } if !is_kept => {
                SequencePair { consumer_seq: 0, stream_seq: self.looked_to.saturating_sub(1) }
            }
            delivered => delivered,
        }
    }

    /// How it is described. Of some, nothing is kept on disk.
    pub(in crate::jetstream) fn info(&self, stream: &Stream, name: &str, now: Now) -> ConsumerInfo {
        let is_kept = stream.config.storage == Storage::File && !self.config.mem_storage;
        let repeated = self.pending.values().filter(|own| own.deliveries > 1).count() + self.exhausted.len();
        ConsumerInfo {
            stream_name: stream.config.name.clone(),
            name: name.to_owned(),
            created: rfc3339_ns(self.created_ns),
            config: self.config.clone(),
            delivered: moved(self.reached(is_kept), self.delivered_at),
            ack_floor: moved(self.floor, self.acked_at),
            num_ack_pending: self.pending.len() as u64,
            // The server does not count what may be delivered only once.
            num_redelivered: if self.config.max_deliver == 1 { 0 } else { repeated as u64 },
            num_waiting: self.pulls.len() as u64,
            num_pending: self.num_pending,
            push_bound: self.push.as_ref().is_some_and(|push| push.is_bound),
            paused: self.is_paused(),
            pause_remaining_ns: self.pause_ends.map_or(0, |at| at.as_ns().saturating_sub(now.mono.as_ns())),
            ts: now.wall.rfc3339(),
            priority_groups: self.group_state(),
        }
    }
}

fn moved(to: SequencePair, at: Option<Wall>) -> SequenceInfo {
    let SequencePair { consumer_seq, stream_seq } = to;
    SequenceInfo { consumer_seq, stream_seq, last_active: at.map(Wall::rfc3339) }
}
