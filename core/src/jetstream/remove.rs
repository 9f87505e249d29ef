//! Removal: by a limit, an age, a purge, a delete. One place tells the table, the index and the consumers.

use super::api::Discard;
use super::consumer::{Consumer, Hole};
use super::log::Seqs;
use super::stream::Stream;
use super::{Effect, Input, JetStream};
use crate::cx::Cx;
use crate::time::Now;
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
        let removed = self.take_out(now, name, seqs, Consumer::on_removed, cx);
        if removed > 0 {
            // What was settled by its removal may have been what a consumer was stalled by.
            let consumers = self.streams.get(name).map(|stream| stream.consumers.keys().cloned());
            consumers.into_iter().flatten().collect::<Vec<_>>().iter().for_each(|own| self.signal(name, own));
        }
        self.tell_all_tidings(name, cx);
        removed
    }

    fn tell_all_tidings(&mut self, name: &Arc<str>, cx: &mut Cx<'_, Input, Effect>) {
        let consumers = self.streams.get(name).map(|stream| stream.consumers.iter());
        let telling = consumers.into_iter().flatten().filter(|(_, own)| !own.tidings.is_empty());
        for consumer in telling.map(|(consumer, _)| consumer.clone()).collect::<Vec<_>>() {
            self.tell_tidings(name, &consumer, cx);
        }
    }

    /// Removes messages, in order, from the log: what it means to consumers is up to [`jump_over`](Self::jump_over), in
    /// the same step. As on the server, who was stalled by them goes on when it is next asked, or something is stored.
    pub(super) fn purge_messages(
        &mut self,
        now: Now,
        name: &Arc<str>,
        seqs: &[u64],
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        self.take_out(now, name, seqs, |own, seq, subject, _| own.uncount(seq, subject), cx)
    }

    fn take_out(
        &mut self,
        now: Now,
        name: &Arc<str>,
        seqs: &[u64],
        told: impl Fn(&mut Consumer, u64, &str, Now),
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let Some(stream) = self.streams.get_mut(name) else { return 0 };
        let mut removed = 0;
        for seq in seqs {
            let Some(meta) = stream.forget(*seq) else { continue };
            removed += 1;
            stream.drop_message(*seq, cx);
            for own in stream.consumers.values_mut() {
                told(own, *seq, &meta.subject, now);
            }
        }
        if removed == 0 {
            return 0;
        }
        if !stream.log.contains(stream.log.last_seq()) || stream.has_lost_copies() {
            stream.stage(cx);
        }
        let is_copy = !stream.upstreams.is_empty();
        if is_copy {
            // What had no room may have some.
            self.copying.insert(name.clone());
        }
        self.arm_stream_and_consumers(now, name);
        removed
    }

    /// Lets consumers jump over the hole a purge left.
    pub(super) fn jump_over(
        &mut self,
        now: Now,
        name: &Arc<str>,
        hole: &Hole<'_>,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        for own in stream.consumers.values_mut() {
            own.on_purged(hole, &stream.log, now);
        }
        self.tell_all_tidings(name, cx);
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

/// The oldest messages that must go for the stream's count and bytes: none where new ones are refused.
fn over_stream_limits(stream: &Stream) -> Vec<u64> {
    if stream.config.discard == Discard::New {
        return Vec::new();
    }
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
