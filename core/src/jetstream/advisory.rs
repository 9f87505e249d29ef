//! Advisories: what the broker tells whoever listens, once and to nobody in particular.
//!
//! They go to `$JS.EVENT.ADVISORY.…` and `$JS.EVENT.METRIC.…` as plain messages: nothing is stored, and nothing here may
//! depend on somebody having heard them.

use super::api::StreamState;
use super::stream::rfc3339_ns;
use super::{Effect, Input, JetStream};
use crate::cx::Cx;
use serde::Serialize;

/// The account everything of this broker is in.
const ACCOUNT: &str = "$G";

/// An advisory as JSON carries it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Advisory {
    /// Its schema.
    #[serde(rename = "type")]
    pub schema: &'static str,
    /// Unlike any other.
    pub id: String,
    /// When, RFC 3339.
    pub timestamp: String,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

/// What was done to a stream or a consumer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It was created.
    Create,
    /// It was changed.
    Modify,
    /// It was deleted.
    Delete,
}

/// Why a batch is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Abandoned {
    /// It did not go on.
    Timeout,
    /// It is larger than a batch may be.
    Large,
    /// A part of it is missing.
    Incomplete,
}

/// What advisories tell.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Event {
    /// A consumer was created or deleted.
    Consumer {
        /// Its stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// Which of both.
        action: Action,
    },
    /// A stream was created, changed or deleted.
    Stream {
        /// The stream.
        stream: String,
        /// Which of these.
        action: Action,
    },
    /// A snapshot of a stream begins.
    SnapshotCreated {
        /// The stream.
        stream: String,
        /// What it holds.
        state: Box<StreamState>,
    },
    /// A snapshot of a stream is over.
    SnapshotCompleted {
        /// The stream.
        stream: String,
        /// When it began, RFC 3339.
        start: String,
        /// When it was over.
        end: String,
        /// Why it is not whole.
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<String>,
    },
    /// A stream is to be restored.
    RestoreCreated {
        /// The stream.
        stream: String,
    },
    /// A restore is over, well or not.
    RestoreCompleted {
        /// The stream.
        stream: String,
        /// When it began, RFC 3339.
        start: String,
        /// When it was over.
        end: String,
        /// How much was sent.
        bytes: u64,
    },
    /// A batch was begun and is not stored.
    BatchAbandoned {
        /// The stream.
        stream: String,
        /// The batch.
        batch: String,
        /// Why.
        reason: Abandoned,
    },
    /// A message was delivered as often as it may be.
    MaxDeliveries {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The message.
        stream_seq: u64,
        /// How often.
        deliveries: u64,
    },
    /// A client wants a message again.
    Naked(Answered),
    /// Nobody will process a message any more.
    Terminated {
        /// Which delivery.
        #[serde(flatten)]
        delivery: Answered,
        /// Why; may be empty.
        #[serde(skip_serializing_if = "String::is_empty")]
        reason: String,
    },
    /// A message was settled: a sample.
    Acked {
        /// Which delivery.
        #[serde(flatten)]
        delivery: Answered,
        /// How long it took, in nanoseconds.
        #[serde(rename = "ack_time")]
        ack_time_ns: u64,
    },
    /// A consumer was paused, or goes on.
    Paused {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// Which of both.
        paused: bool,
        /// Until when, RFC 3339.
        pause_until: String,
    },
    /// A client has a priority group for itself.
    Pinned {
        /// The account.
        account: &'static str,
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The group.
        group: String,
        /// What the client is known by.
        pinned_id: String,
    },
    /// A client does not have a priority group for itself any more.
    Unpinned {
        /// The account.
        account: &'static str,
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The group.
        group: String,
        /// Why: `admin` or `timeout`.
        reason: &'static str,
    },
}

/// The delivery an advisory is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Answered {
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// The delivery.
    pub consumer_seq: u64,
    /// The message.
    pub stream_seq: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

impl Event {
    /// [`Self::Pinned`], in the one account there is.
    #[must_use]
    pub fn pinned(stream: &str, consumer: &str, group: &str, pinned_id: &str) -> Self {
        Self::Pinned {
            account: ACCOUNT,
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            group: group.to_owned(),
            pinned_id: pinned_id.to_owned(),
        }
    }

    /// [`Self::Unpinned`], in the one account there is.
    #[must_use]
    pub fn unpinned(stream: &str, consumer: &str, group: &str, reason: &'static str) -> Self {
        Self::Unpinned {
            account: ACCOUNT,
            stream: stream.to_owned(),
            consumer: consumer.to_owned(),
            group: group.to_owned(),
            reason,
        }
    }

    /// Where it is told.
    #[must_use]
    pub fn subject(&self) -> String {
        const ADVISORY: &str = "$JS.EVENT.ADVISORY";
        let about =
            |kind: &str, stream: &str, consumer: &str| format!("{ADVISORY}.{kind}.{stream}.{consumer}");
        match self {
            Self::Consumer { stream, consumer, action } => {
                about(&format!("CONSUMER.{}", action.past()), stream, consumer)
            }
            Self::Stream { stream, action } => format!("{ADVISORY}.STREAM.{}.{stream}", action.past()),
            Self::SnapshotCreated { stream, .. } => format!("{ADVISORY}.STREAM.SNAPSHOT_CREATE.{stream}"),
            Self::SnapshotCompleted { stream, .. } => format!("{ADVISORY}.STREAM.SNAPSHOT_COMPLETE.{stream}"),
            Self::RestoreCreated { stream } => format!("{ADVISORY}.STREAM.RESTORE_CREATE.{stream}"),
            Self::RestoreCompleted { stream, .. } => format!("{ADVISORY}.STREAM.RESTORE_COMPLETE.{stream}"),
            Self::BatchAbandoned { stream, .. } => format!("{ADVISORY}.STREAM.BATCH_ABANDONED.{stream}"),
            Self::MaxDeliveries { stream, consumer, .. } => {
                about("CONSUMER.MAX_DELIVERIES", stream, consumer)
            }
            Self::Naked(delivery) => about("CONSUMER.MSG_NAKED", &delivery.stream, &delivery.consumer),
            Self::Terminated { delivery, .. } => {
                about("CONSUMER.MSG_TERMINATED", &delivery.stream, &delivery.consumer)
            }
            Self::Acked { delivery: Answered { stream, consumer, .. }, .. } => {
                format!("$JS.EVENT.METRIC.CONSUMER.ACK.{stream}.{consumer}")
            }
            Self::Paused { stream, consumer, .. } => about("CONSUMER.PAUSE", stream, consumer),
            Self::Pinned { stream, consumer, .. } => about("CONSUMER.PINNED", stream, consumer),
            Self::Unpinned { stream, consumer, .. } => about("CONSUMER.UNPINNED", stream, consumer),
        }
    }

    const fn schema(&self) -> &'static str {
        match self {
            Self::Consumer { .. } => "io.nats.jetstream.advisory.v1.consumer_action",
            Self::Stream { .. } => "io.nats.jetstream.advisory.v1.stream_action",
            Self::SnapshotCreated { .. } => "io.nats.jetstream.advisory.v1.snapshot_create",
            Self::SnapshotCompleted { .. } => "io.nats.jetstream.advisory.v1.snapshot_complete",
            Self::RestoreCreated { .. } => "io.nats.jetstream.advisory.v1.restore_create",
            Self::RestoreCompleted { .. } => "io.nats.jetstream.advisory.v1.restore_complete",
            Self::BatchAbandoned { .. } => "io.nats.jetstream.advisory.v1.stream_batch_abandoned",
            Self::MaxDeliveries { .. } => "io.nats.jetstream.advisory.v1.max_deliver",
            Self::Naked(_) => "io.nats.jetstream.advisory.v1.nak",
            Self::Terminated { .. } => "io.nats.jetstream.advisory.v1.terminated",
            Self::Acked { .. } => "io.nats.jetstream.metric.v1.consumer_ack",
            Self::Paused { .. } => "io.nats.jetstream.advisory.v1.consumer_pause",
            Self::Pinned { .. } => "io.nats.jetstream.advisory.v1.consumer_group_pinned",
            Self::Unpinned { .. } => "io.nats.jetstream.advisory.v1.consumer_group_unpinned",
        }
    }
}

impl Action {
    const fn past(self) -> &'static str {
        match self {
            Self::Create => "CREATED",
            Self::Modify => "UPDATED",
            Self::Delete => "DELETED",
        }
    }
}

impl JetStream {
    /// Tells whoever listens.
    pub(super) fn advise(&mut self, event: Event, cx: &mut Cx<'_, Input, Effect>) {
        let (subject, schema) = (event.subject(), event.schema());
        let now = self.clock.unwrap_or_default();
        let timestamp = rfc3339_ns(now.wall.as_ms().saturating_mul(1_000_000));
        let body = Advisory { schema, id: self.nuid.next(), timestamp, event };
        cx.emit(Effect::Advise { subject, body: Box::new(body) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(event: Event) -> (String, String) {
        let (schema, subject) = (event.schema(), event.subject());
        let (id, timestamp) = ("i".to_owned(), "t".to_owned());
        let json = serde_json::to_string(&Advisory { schema, id, timestamp, event }).expect("JSON");
        (subject, json)
    }

    /// As a real server wrote them.
    #[test]
    fn json_is_the_servers() {
        let (stream, consumer) = (String::from("S"), String::from("d"));
        let answered = || Answered {
            stream: stream.clone(),
            consumer: consumer.clone(),
            consumer_seq: 3,
            stream_seq: 2,
            deliveries: 1,
        };
        let advisory = "io.nats.jetstream.advisory.v1";
        let about = r#""stream":"S","consumer":"d""#;
        let delivery = format!(r#"{about},"consumer_seq":3,"stream_seq":2,"deliveries":1"#);
        let cases = [
            (
                Event::Stream { stream: stream.clone(), action: Action::Modify },
                "ADVISORY.STREAM.UPDATED.S",
                format!("{advisory}.stream_action"),
                r#""stream":"S","action":"modify""#.to_owned(),
            ),
            (
                Event::Consumer {
                    stream: stream.clone(),
                    consumer: consumer.clone(),
                    action: Action::Create,
                },
                "ADVISORY.CONSUMER.CREATED.S.d",
                format!("{advisory}.consumer_action"),
                format!(r#"{about},"action":"create""#),
            ),
            (
                Event::MaxDeliveries {
                    stream: stream.clone(),
                    consumer: consumer.clone(),
                    stream_seq: 2,
                    deliveries: 4,
                },
                "ADVISORY.CONSUMER.MAX_DELIVERIES.S.d",
                format!("{advisory}.max_deliver"),
                format!(r#"{about},"stream_seq":2,"deliveries":4"#),
            ),
            (
                Event::BatchAbandoned {
                    stream: stream.clone(),
                    batch: "5".into(),
                    reason: Abandoned::Incomplete,
                },
                "ADVISORY.STREAM.BATCH_ABANDONED.S",
                format!("{advisory}.stream_batch_abandoned"),
                r#""stream":"S","batch":"5","reason":"incomplete""#.to_owned(),
            ),
            (
                Event::Naked(answered()),
                "ADVISORY.CONSUMER.MSG_NAKED.S.d",
                format!("{advisory}.nak"),
                delivery.clone(),
            ),
            (
                Event::Terminated { delivery: answered(), reason: "because".into() },
                "ADVISORY.CONSUMER.MSG_TERMINATED.S.d",
                format!("{advisory}.terminated"),
                format!(r#"{delivery},"reason":"because""#),
            ),
            (
                Event::Terminated { delivery: answered(), reason: String::new() },
                "ADVISORY.CONSUMER.MSG_TERMINATED.S.d",
                format!("{advisory}.terminated"),
                delivery.clone(),
            ),
            (
                Event::Paused {
                    stream: stream.clone(),
                    consumer: consumer.clone(),
                    paused: true,
                    pause_until: "2026-11-21T11:36:35Z".into(),
                },
                "ADVISORY.CONSUMER.PAUSE.S.d",
                format!("{advisory}.consumer_pause"),
                format!(r#"{about},"paused":true,"pause_until":"2026-11-21T11:36:35Z""#),
            ),
            (
                Event::pinned("S", "d", "g", "p"),
                "ADVISORY.CONSUMER.PINNED.S.d",
                format!("{advisory}.consumer_group_pinned"),
                format!(r#""account":"$G",{about},"group":"g","pinned_id":"p""#),
            ),
            (
                Event::unpinned("S", "d", "g", "timeout"),
                "ADVISORY.CONSUMER.UNPINNED.S.d",
                format!("{advisory}.consumer_group_unpinned"),
                format!(r#""account":"$G",{about},"group":"g","reason":"timeout""#),
            ),
        ];
        for (event, subject, schema, fields) in cases {
            let json = format!(r#"{{"type":"{schema}","id":"i","timestamp":"t",{fields}}}"#);
            assert_eq!(text(event), (format!("$JS.EVENT.{subject}"), json));
        }
        // The one whose fields come in another order; the order of a JSON object means nothing.
        let (subject, json) = text(Event::Acked { delivery: answered(), ack_time_ns: 7 });
        assert_eq!(subject, "$JS.EVENT.METRIC.CONSUMER.ACK.S.d");
        assert!(json.ends_with(&format!(r#"{delivery},"ack_time":7}}"#)), "{json}");
    }
}
