//! Acks: the subject that names a delivery, what a client may say, and what that does.
//!
//! Any delivery of a message speaks for all of them: an answer to the first settles it while the second is out. An answer
//! that is processed is confirmed, also when there was nothing to settle any more; one for a message the consumer has
//! not delivered yet is not.

use super::advisory::Event;
use super::api::{AckPolicy, PullRequest};
use super::consumer::Consumer;
use super::pull_status::PullStatus;
use super::tidings::answered;
use super::{Answer, Effect, Input, JetStream, consumer_config, duration, no_responders};
use crate::cx::Cx;
use crate::time::Now;
use std::fmt;
use std::sync::Arc;

/// The reply subject of a delivery:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<stored at, ns>.<pending>`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AckSubject {
    /// The stream.
    pub stream: Arc<str>,
    /// The consumer.
    pub consumer: Arc<str>,
    /// How often the message was delivered, this time included.
    pub deliveries: u64,
    /// The message.
    pub stream_seq: u64,
    /// The delivery.
    pub consumer_seq: u64,
    /// When the message was stored, in nanoseconds since 1970.
    pub stored_at_ns: u64,
    /// Messages that were not delivered yet.
    pub pending: u64,
}

impl AckSubject {
    /// Reads one back; `None` when the subject is another one.
    #[must_use]
    pub fn parse(subject: &str) -> Option<Self> {
        let mut tokens = subject.strip_prefix("$JS.ACK.")?.split('.');
        let (stream, consumer) = (tokens.next()?.into(), tokens.next()?.into());
        let mut number = || tokens.next()?.parse().ok();
        let (deliveries, stream_seq, consumer_seq) = (number()?, number()?, number()?);
        let (stored_at_ns, pending) = (number()?, number()?);
        let own = Self { stream, consumer, deliveries, stream_seq, consumer_seq, stored_at_ns, pending };
        tokens.next().is_none().then_some(own)
    }
}

impl fmt::Display for AckSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stream, consumer, deliveries, stream_seq, consumer_seq, stored_at_ns, pending } = self;
        write!(
            f,
            "$JS.ACK.{stream}.{consumer}.{deliveries}.{stream_seq}.{consumer_seq}.{stored_at_ns}.{pending}"
        )
    }
}

/// What a client says about a delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AckKind {
    /// Settled.
    Ack,
    /// Deliver it again.
    Nak {
        /// After this many nanoseconds; at once when there are none.
        delay_ns: Option<u64>,
    },
    /// Still at it: the ack wait begins anew.
    InProgress,
    /// Settled, because nobody will ever be able to.
    Term {
        /// Why; may be empty.
        reason: String,
    },
    /// Settled, and a pull request whose messages go where the confirmation would.
    Next {
        /// The request, or why it cannot be read.
        request: Result<PullRequest, &'static str>,
    },
    /// Something the server does not know: confirmed, and ignored.
    Unknown,
}

impl AckKind {
    /// Reads the payload of an ack.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Self {
        match payload {
            b"" | b"+ACK" | b"+OK" => return Self::Ack,
            b"+WPI" => return Self::InProgress,
            _ => {}
        }
        if let Some(request) = payload.strip_prefix(b"+NXT") {
            return Self::Next { request: PullRequest::parse(request) };
        }
        if let Some(delay) = payload.strip_prefix(b"-NAK") {
            return Self::Nak { delay_ns: parse_delay(delay) };
        }
        match payload.strip_prefix(b"+TERM") {
            Some(reason) => Self::Term { reason: String::from_utf8_lossy(reason).trim().to_owned() },
            None => Self::Unknown,
        }
    }
}

/// `{"delay": 300000000}` or `300ms`; anything else is no delay.
fn parse_delay(text: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(text).ok()?.trim();
    if text.starts_with('{') {
        let options: serde_json::Value = serde_json::from_str(text).ok()?;
        return options.get("delay").map_or(Some(0), serde_json::Value::as_u64);
    }
    duration::parse_ns(text)
}

impl JetStream {
    pub(super) fn on_acked(
        &mut self,
        now: Now,
        delivery: &AckSubject,
        kind: &AckKind,
        reply: Option<String>,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let AckSubject { stream_seq, consumer_seq, .. } = *delivery;
        let Some((stream, consumer, own)) = self.consumer_mut(&delivery.stream, &delivery.consumer) else {
            return no_responders(reply, || delivery.to_string(), cx);
        };
        // Nobody listens for acks of a consumer that wants none.
        if own.config.ack_policy == AckPolicy::None {
            return no_responders(reply, || delivery.to_string(), cx);
        }
        own.touch(now);
        let mut event = None;
        let settled = match kind {
            AckKind::Ack | AckKind::Next { .. } => {
                event = own
                    .sample(stream_seq, consumer_seq, now)
                    .map(|ack_time_ns| Event::Acked { delivery: answered(delivery), ack_time_ns });
                own.on_ack(stream_seq, consumer_seq, now)
            }
            AckKind::Term { reason } => {
                event = Some(Event::Terminated { delivery: answered(delivery), reason: reason.clone() });
                own.on_ack(stream_seq, consumer_seq, now)
            }
            AckKind::Nak { delay_ns } => {
                if own.nak(stream_seq, consumer_seq, *delay_ns, now) {
                    event = Some(Event::Naked(answered(delivery)));
                }
                Some(Vec::new())
            }
            AckKind::InProgress => {
                own.extend(stream_seq, now);
                Some(Vec::new())
            }
            AckKind::Unknown => Some(Vec::new()),
        };
        if let Some(event) = event {
            self.advise(event, cx);
        }
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
        let is_processed = settled.is_some();
        if let Some(settled) = settled.filter(|settled| !settled.is_empty()) {
            self.release(now, &stream, settled, cx);
        }
        match (kind, reply) {
            (AckKind::Next { request: Ok(request) }, Some(inbox)) => {
                self.on_pulled(now, &stream, &consumer, inbox, request, cx);
            }
            (AckKind::Next { request: Err(why) }, Some(inbox)) => {
                cx.emit(Effect::Status { inbox, status: PullStatus::BadRequest(why) });
            }
            (_, Some(to)) if is_processed => cx.emit(Effect::Reply { to, answer: Answer::AckProcessed }),
            (_, Some(_) | None) => {}
        }
    }
}

impl Consumer {
    /// How long a delivery took, if its ack is one of the sample: of a hundred deliveries as many as were asked for.
    fn sample(&self, seq: u64, consumer_seq: u64, now: Now) -> Option<u64> {
        let percent = consumer_config::sampled_percent(self.config.sample_freq.as_deref()?)?.min(100);
        let sampled = |deliveries: u64| u128::from(deliveries) * u128::from(percent) / 100;
        let is_sampled = sampled(consumer_seq) > sampled(consumer_seq.saturating_sub(1));
        (is_sampled && self.config.ack_policy == AckPolicy::Explicit).then(|| self.ack_time_ns(seq, now))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_subject_survives_its_text() {
        let text = "$JS.ACK.P2.c.1.2.3.1795231870594117302.4";
        let own = AckSubject::parse(text).expect("an ack subject");
        assert_eq!((own.deliveries, own.stream_seq, own.consumer_seq, own.pending), (1, 2, 3, 4));
        assert_eq!(own.to_string(), text);
        for bad in ["", "$JS.ACK", "$JS.ACK.S.c.1.2.3.4", "$JS.ACK.S.c.1.2.x.4.5", "$JS.ACK.S.c.1.2.3.4.5.6"]
        {
            assert_eq!(AckSubject::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn payloads_mean_what_clients_mean() {
        let nak = |delay_ns| AckKind::Nak { delay_ns };
        for (payload, kind) in [
            ("", AckKind::Ack),
            ("+ACK", AckKind::Ack),
            ("+OK", AckKind::Ack),
            ("+WPI", AckKind::InProgress),
            ("-NAK", nak(None)),
            ("-NAK {\"delay\": 700000000}", nak(Some(700_000_000))),
            ("-NAK 300ms", nak(Some(300_000_000))),
            ("-NAK nonsense", nak(None)),
            ("+TERM", AckKind::Term { reason: String::new() }),
            ("+TERM bad thing", AckKind::Term { reason: "bad thing".into() }),
            ("bogus", AckKind::Unknown),
        ] {
            assert_eq!(AckKind::parse(payload.as_bytes()), kind, "{payload}");
        }
    }
}
