//! Retention: what is removed because nobody needs it any more.
//!
//! | stream | a message goes |
//! |---|---|
//! | limits | by a limit only |
//! | work queue | when any consumer acks or terminates it |
//! | interest | when no consumer needs it: all that match have settled it, or are gone; without any, it is never stored |
//!
//! A message that was delivered as often as it may be is not needed, and yet it stays: only an ack looks whether it can
//! go, its own or, in an interest stream, that of another consumer.

use super::api::{AckPolicy, ApiError, ConsumerConfig, DeliverPolicy, Retention};
use super::consumer::Consumer;
use super::error::error;
use super::stream::Stream;
use super::{Effect, Input, JetStream, consumer_config};
use crate::cx::Cx;
use crate::time::Now;
use std::sync::Arc;

impl Consumer {
    /// Whether a message must stay for this consumer.
    fn needs(&self, seq: u64, subject: &str) -> bool {
        seq > self.floor.stream_seq
            && self.filters.matches(subject)
            && (seq >= self.next_seq
                || self.config.ack_policy == AckPolicy::All
                || self.pending.contains_key(&seq))
    }
}

impl Stream {
    /// Whether a message on this subject would be stored for somebody: always, but in an interest stream.
    pub(super) fn is_wanted(&self, subject: &str) -> bool {
        self.config.retention != Retention::Interest
            || self.consumers.values().any(|own| own.filters.matches(subject))
    }

    /// What nobody needs, from a sequence on.
    fn needless(&self, from: u64) -> Vec<u64> {
        let needless = self.log.range(from).filter(|(seq, meta)| !self.is_needed(*seq, meta.subject));
        needless.map(|(seq, _)| seq).collect()
    }

    fn is_needed(&self, seq: u64, subject: &str) -> bool {
        self.consumers.values().any(|own| own.needs(seq, subject))
    }
}

impl JetStream {
    /// A consumer has settled these: removes what its stream does not keep for others.
    pub(super) fn release(
        &mut self,
        now: Now,
        name: &Arc<str>,
        settled: Vec<u64>,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(stream) = self.streams.get(name) else { return };
        let released = match stream.config.retention {
            Retention::Limits => return,
            Retention::Workqueue => settled,
            Retention::Interest => {
                let is_needless =
                    |seq: &u64| stream.log.get(*seq).is_some_and(|own| !stream.is_needed(*seq, own.subject));
                settled.into_iter().filter(is_needless).collect()
            }
        };
        self.remove_messages(now, name, &released, cx);
    }

    /// From now on the stream keeps what somebody needs: removes what is settled, and all of it when there is nobody. What
    /// no consumer ever wanted stays, as on the server.
    pub(super) fn release_settled(&mut self, now: Now, name: &Arc<str>, cx: &mut Cx<'_, Input, Effect>) {
        let Some(stream) = self.streams.get(name) else { return };
        let is_somebodys = |seq: u64| stream.log.get(seq).is_some_and(|own| stream.is_wanted(own.subject));
        let mut settled = stream.needless(0);
        settled.retain(|seq| stream.consumers.is_empty() || is_somebodys(*seq));
        self.remove_messages(now, name, &settled, cx);
    }

    /// Interest has become less: removes what nobody needs any more, from a sequence on.
    pub(super) fn release_needless(
        &mut self,
        now: Now,
        name: &Arc<str>,
        from: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(stream) = self.streams.get(name) else { return };
        if stream.config.retention == Retention::Interest {
            let needless = stream.needless(from);
            self.remove_messages(now, name, &needless, cx);
        }
    }
}

/// Whether a new consumer gets along with the others of its stream.
pub(super) fn check_new(stream: &Stream, name: &str, config: &ConsumerConfig) -> Result<(), ApiError> {
    if stream.config.retention != Retention::Workqueue {
        return Ok(());
    }
    if config.ack_policy != AckPolicy::Explicit {
        return Err(error(400, 10_098, "workqueue stream requires explicit ack"));
    }
    if config.deliver_policy != DeliverPolicy::All {
        return Err(error(400, 10_101, "consumer must be deliver all on workqueue stream"));
    }
    let is_filtered = config.filter_subject.is_some() || !config.filter_subjects.is_empty();
    if !stream.consumers.is_empty() && !is_filtered {
        let why = "multiple non-filtered consumers not allowed on workqueue stream";
        return Err(error(400, 10_099, why));
    }
    check_unique(stream, name, config)
}

/// Whether no other consumer of a work queue matches what this one does.
pub(super) fn check_unique(stream: &Stream, name: &str, config: &ConsumerConfig) -> Result<(), ApiError> {
    if stream.config.retention != Retention::Workqueue {
        return Ok(());
    }
    let filters = consumer_config::filters(config)?;
    let others = stream.consumers.iter().filter(|(other, _)| other.as_ref() != name);
    if others.into_iter().any(|(_, other)| other.filters.overlap(&filters)) {
        return Err(error(400, 10_100, "filtered consumer not unique on workqueue stream"));
    }
    Ok(())
}
