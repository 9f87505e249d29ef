//! Delivery: who has something to do is served in turn, one message per pull.
//!
//! It runs as a step of its own, after the step that stored what it delivers, and delivers at most
//! `deliveries_per_step_max` messages: a consumer that is not through lines up again behind the others, and the next
//! turn goes on.

use super::api::AckPolicy;
use super::consumer::Next;
use super::pull::{Served, teller};
use super::{AckSubject, ConsumerKey, Delivery, Effect, Input, JetStream, keep};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::Now;

impl JetStream {
    pub(super) fn on_signalled(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        let mut budget = self.limits.deliveries_per_step_max;
        while budget > 0
            && let Some(key) = self.ready.pop_front()
        {
            let is_through = self.serve(now, &key, &mut budget, cx)?;
            if !is_through {
                self.signal(&key.stream, &key.consumer);
            }
        }
        Ok(())
    }

    /// Serves one consumer while there are pulls, messages and budget. Returns whether it is through.
    fn serve(
        &mut self,
        now: Now,
        key: &ConsumerKey,
        budget: &mut usize,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<bool, Halt> {
        let Some(stream) = self.streams.get_mut(&key.stream) else { return Ok(true) };
        let Some(own) = stream.consumers.get_mut(&key.consumer) else { return Ok(true) };
        own.signalled = false;
        own.catch_up(now.mono, teller(cx));
        let mut is_through = true;
        let mut settled = Vec::new();
        while !own.pulls.is_empty() {
            if *budget == 0 {
                is_through = false;
                break;
            }
            let (seq, deliveries, pending) = match own.next(&stream.log) {
                Next::Redelivery(seq) => (seq, own.pending[&seq].deliveries + 1, own.num_pending),
                Next::New(seq) => (seq, 1, own.num_pending - 1),
                Next::Stalled => break,
                Next::End => {
                    own.pulls.reach_end(teller(cx));
                    break;
                }
            };
            let meta = stream.log.get(seq).expect("what is pending or next is stored");
            let ack = AckSubject {
                stream: key.stream.clone(),
                consumer: key.consumer.clone(),
                deliveries,
                stream_seq: seq,
                consumer_seq: own.next_delivery,
                stored_at_ns: meta.stored_at.as_ms().saturating_mul(1_000_000),
                pending,
            };
            // What a pull's `max_bytes` counts: subject, reply, headers, payload.
            let bytes = meta.subject.len() as u64
                + ack.to_string().len() as u64
                + u64::from(meta.header_bytes)
                + u64::from(meta.payload_bytes);
            let Some(Served { inbox, then }) = own.pulls.serve(bytes, now.mono, teller(cx)) else { break };
            let message = keep::read_message(&stream.config, &stream.bodies, cx.view(), seq)?;
            own.record_delivery(seq, now);
            if own.config.ack_policy == AckPolicy::None {
                settled.push(seq);
            }
            *budget -= 1;
            cx.emit(Effect::Deliver(Box::new(Delivery {
                inbox: inbox.clone(),
                ack,
                subject: message.subject,
                headers: message.headers,
                payload: message.payload,
            })));
            if let Some(status) = then {
                cx.emit(Effect::Status { inbox, status });
            }
        }
        self.arm_consumer(now, &key.stream, &key.consumer);
        self.release(now, &key.stream, settled, cx);
        Ok(is_through)
    }
}
