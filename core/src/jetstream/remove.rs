//! Removal: by a limit, an age, a purge, a delete. One place tells the table, the index and the consumers.

use super::consumer::Tiding;
use super::log::Seqs;
use super::stream::Stream;
use super::{Effect, Input, JetStream};
use crate::cx::Cx;
use crate::time::Now;
use crate::wire::subject::Filter;
use std::sync::Arc;

impl JetStream {
    /// Removes messages, in order. Those that are not there are passed over. Returns how many there were.
    pub(super) fn remove_messages(
        &mut self,
        now: Now,
        name: &Arc<str>,
        seqs: &[u64],
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let removed = self.take_out(now, name, seqs, cx);
        let consumers = self.streams.get(name).map(|stream| stream.consumers.iter());
        let telling = consumers.into_iter().flatten().filter(|(_, own)| !own.tidings.is_empty());
        for consumer in telling.map(|(consumer, _)| consumer.clone()).collect::<Vec<_>>() {
            self.tell_tidings(name, &consumer, cx);
        }
        removed
    }

    /// Removes messages, without a word about deliveries that were unsettled.
    pub(super) fn purge_messages(
        &mut self,
        now: Now,
        name: &Arc<str>,
        seqs: &[u64],
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let purged = self.take_out(now, name, seqs, cx);
        for own in self.streams.get_mut(name).into_iter().flat_map(|stream| stream.consumers.values_mut()) {
            own.tidings.retain(|tiding| !matches!(tiding, Tiding::Removed { .. }));
        }
        purged
    }

    fn take_out(&mut self, now: Now, name: &Arc<str>, seqs: &[u64], cx: &mut Cx<'_, Input, Effect>) -> u64 {
        let Some(stream) = self.streams.get_mut(name) else { return 0 };
        let mut removed = 0;
        for seq in seqs {
            let Some(meta) = stream.forget(*seq) else { continue };
            removed += 1;
            stream.drop_message(*seq, cx);
            for own in stream.consumers.values_mut() {
                own.on_removed(*seq, &meta.subject, now);
            }
        }
        if removed == 0 {
            return 0;
        }
        if !stream.log.contains(stream.log.last_seq()) || stream.has_lost_copies() {
            stream.stage(cx);
        }
        let is_copy = !stream.upstreams.is_empty();
        // What was settled by its removal may have been what a consumer was stalled by.
        for consumer in stream.consumers.keys().cloned().collect::<Vec<_>>() {
            self.signal(name, &consumer);
        }
        if is_copy {
            // What had no room may have some.
            self.copying.insert(name.clone());
        }
        self.arm_stream_and_consumers(now, name);
        removed
    }

    /// Lets consumers jump over the hole a purge left.
    pub(super) fn jump_over_purged(&mut self, now: Now, name: &Arc<str>, purged: Option<&Filter>) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        for own in stream.consumers.values_mut() {
            own.on_purged(purged, &stream.log);
        }
        self.arm_stream_and_consumers(now, name);
    }

    /// Removes what is over the stream's limits: on one subject after a publish, on all after a change of the limits.
    pub(super) fn enforce_limits(
        &mut self,
        now: Now,
        name: &Arc<str>,
        subject: Option<&Arc<str>>,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(stream) = self.streams.get(name) else { return };
        let over = over_subject_limit(stream, subject);
        self.remove_messages(now, name, &over, cx);
        let Some(stream) = self.streams.get(name) else { return };
        let over = over_stream_limits(stream);
        self.remove_messages(now, name, &over, cx);
        self.arm_stream(now, name);
    }
}

/// The oldest messages of subjects that have too many.
fn over_subject_limit(stream: &Stream, subject: Option<&Arc<str>>) -> Vec<u64> {
    let Ok(max) = usize::try_from(stream.config.max_msgs_per_subject) else { return Vec::new() };
    let over = |seqs: &Seqs| seqs.iter().take(seqs.len().saturating_sub(max)).collect::<Vec<_>>();
    match subject {
        Some(subject) => stream.log.on_subject(subject).map_or_else(Vec::new, over),
        None => stream.log.subjects().flat_map(|(_, seqs)| over(seqs)).collect(),
    }
}

/// The oldest messages that must go for the stream's count and bytes.
fn over_stream_limits(stream: &Stream) -> Vec<u64> {
    let max = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let (messages_max, bytes_max) = (max(stream.config.max_msgs), max(stream.config.max_bytes));
    let (mut messages, mut bytes) = (stream.log.len() as u64, stream.log.bytes());
    let mut over = Vec::new();
    for (seq, meta) in stream.log.iter() {
        if messages <= messages_max && bytes <= bytes_max {
            break;
        }
        messages -= 1;
        bytes -= stream.log.bytes_of(meta);
        over.push(seq);
    }
    over
}
