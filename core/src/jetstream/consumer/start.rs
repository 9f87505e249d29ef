//! Where a consumer begins.

use super::LastPerSubject;
use crate::jetstream::api::{ConsumerConfig, DeliverPolicy};
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
        DeliverPolicy::ByStartTime => {
            let at = config.opt_start_time.as_deref().and_then(moment::parse).unwrap_or_default();
            from(at_time(filters, log, at))
        }
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
    let seq = log.iter().find(|(_, meta)| meta.stored_at >= at).map_or(last + 1, |(seq, _)| seq);
    let nearest = filters.firsts_in(log).filter(|first| *first >= seq).min();
    nearest.filter(|nearest| *nearest < last).unwrap_or(seq)
}
