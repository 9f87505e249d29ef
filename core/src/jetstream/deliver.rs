//! Delivery: who has something to do is served in turn, one message per pull, or as push consumers may send.
//!
//! It runs as a step of its own, after the step that stored what it delivers, and delivers at most
//! `deliveries_per_step_max` messages: a consumer that is not through lines up again behind the others, and the next
//! turn goes on.

use super::api::{AckPolicy, PriorityPolicy};
use super::consumer::{Next, Tiding};
use super::groups::{PIN_ID, Pin, Rule};
use super::log::MetaRef;
use super::pull::{Served, teller};
use super::{AckSubject, ConsumerKey, Delivery, Effect, Input, JetStream, keep};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::Now;
use bytes::Bytes;

/// Says how large the payload was that a consumer of headers only leaves out.
const MESSAGE_SIZE: &str = "Nats-Msg-Size";

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

    /// Serves one consumer while it is asked, and there are messages and budget. Returns whether it is through.
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
        let policy = own.config.priority_policy;
        let mut settled = Vec::new();
        while own.is_asked() {
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
            if own.replay.as_mut().is_some_and(|replay| !replay.admits(seq, meta.stored_at, now)) {
                break;
            }
            let ack = AckSubject {
                stream: key.stream.clone(),
                consumer: key.consumer.clone(),
                deliveries,
                stream_seq: seq,
                consumer_seq: own.next_delivery,
                stored_at_ns: meta.stored_at.as_ms().saturating_mul(1_000_000),
                pending,
            };
            let reply_and_message =
                ack.to_string().len() as u64 + message_bytes(meta, own.config.headers_only);
            // What a pull's `max_bytes` and a rate count: subject, reply, headers, payload.
            let bytes = meta.subject.len() as u64 + reply_and_message;
            let (inbox, mut then) = match &mut own.push {
                None => {
                    let rule = (policy != PriorityPolicy::None).then(|| Rule {
                        policy,
                        pin: own.pin.as_ref().map(|pin| pin.id.clone()),
                        candidate: own.pin.is_none().then(|| self.nuid.next()),
                        pending: pending + 1,
                        ack_pending: own.pending.len() as u64,
                    });
                    let served = own.pulls.serve(bytes, now.mono, rule.as_ref(), teller(cx));
                    let Some(Served { inbox, then, is_pinned }) = served else {
                        own.pulls.reach_end(teller(cx));
                        break;
                    };
                    if let Some(id) = rule.and_then(|rule| rule.candidate).filter(|_| is_pinned) {
                        own.pin = Some(Pin::new(id.clone(), &own.config, now));
                        own.tidings.push(Tiding::Pinned { id });
                    }
                    (inbox, then)
                }
                Some(push) => {
                    if !push.admits(bytes, now.mono) {
                        break;
                    }
                    (push.subject.to_string(), None)
                }
            };
            let mut message = keep::read_message(&stream.config, &stream.bodies, cx.view(), seq)?;
            if own.config.headers_only {
                message.headers.append(MESSAGE_SIZE, &message.payload.len().to_string());
                message.payload = Bytes::new();
            }
            if let Some(pin) = &own.pin {
                message.headers.append(PIN_ID, &pin.id);
            }
            own.record_delivery(seq, now);
            if own.config.ack_policy == AckPolicy::None {
                settled.push(seq);
            }
            if let Some(push) = &mut own.push
                && push.record(inbox.len() as u64 + reply_and_message, now.mono)
            {
                let token = self.nuid.token();
                then = Some(push.ask(Self::flow_control_subject(&key.stream, &key.consumer, &token)));
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
        self.tell_tidings(&key.stream, &key.consumer, cx);
        self.arm_consumer(now, &key.stream, &key.consumer);
        self.release(now, &key.stream, settled, cx);
        Ok(is_through)
    }
}

/// What a message takes on the wire without subject and reply.
fn message_bytes(meta: MetaRef<'_>, headers_only: bool) -> u64 {
    let headers = u64::from(meta.header_bytes);
    if !headers_only {
        return headers + u64::from(meta.payload_bytes);
    }
    let line = MESSAGE_SIZE.len() + ": \r\n".len() + meta.payload_bytes.to_string().len();
    let block = if headers == 0 { "NATS/1.0\r\n\r\n".len() as u64 } else { headers };
    block + line as u64
}
