//! What a real cluster does on its own: a leader moves, a state is rolled back, the end of a log is lost.
//!
//! Every fault is a fact that goes through a turn like any other, so that what the broker makes of it is durable and
//! checked. [`Fault::LogTruncated`] and [`Fault::LogHoled`] break what the server documents; the others may happen any day.

use super::pull::teller;
use super::{Effect, Input, JetStream, PullStatus};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::Now;

/// A fact about streams or consumers that no client caused. One that names what is not there changes nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Message ids left the duplicate window early, or did not survive a restart.
    IdsForgotten {
        /// The stream.
        stream: String,
        /// Which ones.
        ids: Vec<String>,
    },
    /// The requests waiting at a consumer were lost.
    PullsLost {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// What the clients were told: [`PullStatus::LeadershipChange`] when the leader stepped down, nothing when it
        /// crashed.
        told: Option<PullStatus>,
    },
    /// The ack wait of an unsettled delivery ended early.
    AckWaitEnded {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The message.
        stream_seq: u64,
    },
    /// A consumer lost what it knew since its last flush. Its waiting pulls stay.
    ConsumerRolledBack {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// A consumer believes that it delivered what it never did, and more: the leader that did was another one. Its pulls
    /// are lost without a word.
    ConsumerAhead {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// How far beyond the end of the stream.
        by: u64,
    },
    /// Acknowledged messages in the middle of a stream were lost. Whoever has not seen them never will.
    LogHoled {
        /// The stream.
        stream: String,
        /// The first one.
        from_seq: u64,
        /// The last one.
        to_seq: u64,
    },
    /// Acknowledged messages at the end of a stream were lost, and the ids with them; their sequences are given again.
    LogTruncated {
        /// The stream.
        stream: String,
        /// The sequence that is the last one now.
        last_seq: u64,
    },
}

impl JetStream {
    pub(super) fn on_faulted(
        &mut self,
        now: Now,
        fault: &Fault,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        match fault {
            Fault::IdsForgotten { stream, ids } => {
                let Some((name, _)) = self.streams.get_key_value(stream.as_str()) else { return Ok(()) };
                let name = name.clone();
                if let Some(stream) = self.streams.get_mut(&name) {
                    for id in ids {
                        stream.ids.forget(id);
                    }
                }
                self.arm_stream(now, &name);
            }
            Fault::PullsLost { stream, consumer, told } => {
                let Some((stream, consumer, own)) = self.consumer_mut(stream, consumer) else {
                    return Ok(());
                };
                own.pulls.end(|_| told.clone(), teller(cx));
                self.arm_consumer(now, &stream, &consumer);
            }
            Fault::AckWaitEnded { stream, consumer, stream_seq } => {
                let Some((stream, consumer, own)) = self.consumer_mut(stream, consumer) else {
                    return Ok(());
                };
                own.end_ack_wait(*stream_seq);
                self.tell_tidings(&stream, &consumer, cx);
                self.signal(&stream, &consumer);
                self.arm_consumer(now, &stream, &consumer);
            }
            Fault::ConsumerRolledBack { stream, consumer } => {
                let Some((stream, consumer, _)) = self.consumer_mut(stream, consumer) else { return Ok(()) };
                if let Some(own) = self.streams.get_mut(&stream)
                    && let Some(consumer) = own.consumers.get_mut(&consumer)
                {
                    consumer.restore(now, &own.log);
                }
                self.signal(&stream, &consumer);
                self.arm_consumer(now, &stream, &consumer);
            }
            Fault::ConsumerAhead { stream, consumer, by } => {
                let Some((stream, consumer, own)) = self.consumer_mut(stream, consumer) else {
                    return Ok(());
                };
                own.pulls.end(|_| None, teller(cx));
                if let Some(own) = self.streams.get_mut(&stream)
                    && let Some(consumer) = own.consumers.get_mut(&consumer)
                {
                    consumer.run_ahead(&own.log, *by);
                }
                self.arm_consumer(now, &stream, &consumer);
            }
            Fault::LogHoled { stream, from_seq, to_seq } => {
                let Some((name, own)) = self.streams.get_key_value(stream.as_str()) else { return Ok(()) };
                let name = name.clone();
                let in_hole = own.log.range(*from_seq).map(|(seq, _)| seq).take_while(|seq| seq <= to_seq);
                let lost: Vec<u64> = in_hole.collect();
                self.remove_messages(now, &name, &lost, cx);
            }
            Fault::LogTruncated { stream, last_seq } => self.truncate(now, stream, *last_seq, cx)?,
        }
        Ok(())
    }

    fn truncate(
        &mut self,
        now: Now,
        stream: &str,
        last_seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some((name, _)) = self.streams.get_key_value(stream) else { return Ok(()) };
        let name = name.clone();
        let Some(stream) = self.streams.get_mut(&name).filter(|stream| last_seq < stream.log.last_seq())
        else {
            return Ok(());
        };
        let lost: Vec<u64> = stream.log.range(last_seq + 1).map(|(seq, _)| seq).collect();
        for seq in lost {
            stream.forget(seq);
            stream.drop_message(seq, cx);
        }
        stream.log.move_last(last_seq, stream.log.last_at());
        stream.last_msg_id = None;
        stream.rewind_copies(last_seq, cx.view())?;
        stream.ids.forget_after(last_seq);
        stream.stage(cx);
        for own in stream.consumers.values_mut() {
            own.reconcile(&stream.log);
        }
        for consumer in stream.consumers.keys().cloned().collect::<Vec<_>>() {
            self.signal(&name, &consumer);
        }
        self.arm_stream_and_consumers(now, &name);
        Ok(())
    }
}
