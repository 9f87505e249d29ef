//! Where a consumer begins.

use super::{Consumer, LastPerSubject};
use crate::jetstream::api::{ApiError, ConsumerConfig, DeliverPolicy};
use crate::jetstream::error::error;
use crate::jetstream::log::{Filters, Log};
use crate::jetstream::moment;
use crate::jetstream::stream::Stream;
use crate::time::Wall;

/// The first sequence to deliver, and the first message of each subject if they are chosen one by one.
pub(super) fn start(
    config: &ConsumerConfig,
    filters: &Filters,
    stream: &Stream,
) -> (u64, Option<LastPerSubject>) {
    let log = &stream.log;
    let (first, last) = (log.first_seq().max(1), log.last_seq());
    let from = |seq: u64| (seq.max(first), None);
    match config.deliver_policy {
        DeliverPolicy::All => from(first),
        DeliverPolicy::New => from(last + 1),
        DeliverPolicy::ByStartSequence => from(config.opt_start_seq.unwrap_or(1)),
        DeliverPolicy::ByStartTime => from(at_time(filters, log, start_moment(config))),
        DeliverPolicy::Last => from(filters.last_in(log).unwrap_or(first)),
        // Every message is the last one on its subject.
        DeliverPolicy::LastPerSubject if stream.config.max_msgs_per_subject == 1 => from(first),
        DeliverPolicy::LastPerSubject => {
            let seqs = log.last_per_subject(filters);
            match seqs.first() {
                Some(seq) => (*seq, Some(LastPerSubject { chosen_from: last, seqs })),
                // What the server does: the position shows the last message, which does not match.
                None => from(last),
            }
        }
    }
}

/// The first message stored at a moment or later. What the position shows jumps to the first message that matches, if
/// the server looks far enough: to the first of a filter, which may lie before.
fn at_time(filters: &Filters, log: &Log, at: Wall) -> u64 {
    let last = log.last_seq();
    let seq = first_at(log, at);
    let nearest = filters.firsts_in(log).filter(|first| *first >= seq).min();
    nearest.filter(|nearest| *nearest < last).unwrap_or(seq)
}

impl Consumer {
    /// Where a reset begins: anywhere, unless that is before what the configuration began with.
    pub(in crate::jetstream) fn reset_to(&self, seq: Option<u64>, log: &Log) -> Result<u64, ApiError> {
        let refused = |why: &str| Err(error(400, 10_204, format!("invalid reset: {why}")));
        let Some(seq) = seq else { return Ok(self.floor.stream_seq + 1) };
        match self.config.deliver_policy {
            DeliverPolicy::All => Ok(seq),
            DeliverPolicy::ByStartSequence if seq < self.config.opt_start_seq.unwrap_or(0) => {
                refused("below start seq")
            }
            DeliverPolicy::ByStartTime if seq < first_at(log, start_moment(&self.config)) => {
                refused("below start time")
            }
            DeliverPolicy::ByStartSequence | DeliverPolicy::ByStartTime => Ok(seq),
            DeliverPolicy::Last | DeliverPolicy::New | DeliverPolicy::LastPerSubject => {
                refused("not allowed")
            }
        }
    }
}

fn start_moment(config: &ConsumerConfig) -> Wall {
    config.opt_start_time.as_deref().and_then(moment::parse).unwrap_or_default()
}

fn first_at(log: &Log, at: Wall) -> u64 {
    log.iter().find(|(_, meta)| meta.stored_at >= at).map_or(log.last_seq() + 1, |(seq, _)| seq)
}
