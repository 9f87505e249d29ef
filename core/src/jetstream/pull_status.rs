//! Statuses: messages without payload that say how a pull request or a push consumer is doing.

use super::api::SequencePair;
use super::duration;
use crate::wire::headers::Headers;

/// What a request did not get.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unserved {
    /// Messages.
    pub messages: u64,
    /// Bytes; 0 when it set no limit.
    pub bytes: u64,
}

/// A message without payload that says how a pull request is doing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PullStatus {
    /// Still there, nothing to deliver.
    IdleHeartbeat {
        /// The consumer's last delivery.
        last: SequencePair,
        /// What a push consumer waits for an answer on.
        stalled: Option<String>,
    },
    /// A push consumer wants to know that its messages have arrived.
    FlowControlRequest {
        /// Where an empty message says so.
        reply: String,
    },
    /// Does not wait, and nothing (more) is there.
    NoMessages,
    /// Expired.
    RequestTimeout(Unserved),
    /// Does not wait, and others wait for all there is.
    RequestsPending,
    /// The next message does not fit.
    MessageSizeExceedsMaxBytes(Unserved),
    /// Served, with bytes left.
    BatchCompleted(Unserved),
    /// Asks for more messages than the consumer allows.
    ExceededMaxRequestBatch {
        /// How many it allows.
        max: u64,
    },
    /// Waits longer than the consumer allows.
    ExceededMaxRequestExpires {
        /// How long it allows, in nanoseconds.
        max_ns: u64,
    },
    /// Asks for more bytes than the consumer allows.
    ExceededMaxRequestMaxBytes {
        /// How many it allows.
        max: u64,
    },
    /// Too many requests wait.
    ExceededMaxWaiting,
    /// The consumer, or its stream, was deleted.
    ConsumerDeleted,
    /// The consumer does not deliver to who pulls.
    ConsumerIsPushBased,
    /// The consumer moved to another server.
    LeadershipChange,
    /// The server stops.
    ServerShutdown(Unserved),
    /// The client takes itself for the pinned one.
    PinIdMismatch,
    /// The client is not the pinned one any more.
    WrongPinId(Unserved),
    /// The request makes no sense.
    BadRequest(&'static str),
    /// There is no such consumer: nobody listens.
    NoResponders,
}

impl PullStatus {
    /// The number in the status line.
    #[must_use]
    pub const fn code(&self) -> u16 {
        match self {
            Self::IdleHeartbeat { .. } | Self::FlowControlRequest { .. } => 100,
            Self::BadRequest(_) => 400,
            Self::PinIdMismatch | Self::WrongPinId(_) => 423,
            Self::NoMessages => 404,
            Self::RequestTimeout(_) | Self::RequestsPending => 408,
            Self::MessageSizeExceedsMaxBytes(_)
            | Self::BatchCompleted(_)
            | Self::ExceededMaxRequestBatch { .. }
            | Self::ExceededMaxRequestExpires { .. }
            | Self::ExceededMaxRequestMaxBytes { .. }
            | Self::ExceededMaxWaiting
            | Self::ConsumerDeleted
            | Self::ConsumerIsPushBased
            | Self::LeadershipChange
            | Self::ServerShutdown(_) => 409,
            Self::NoResponders => 503,
        }
    }

    /// The text in the status line.
    #[must_use]
    pub fn description(&self) -> String {
        match self {
            Self::IdleHeartbeat { .. } => "Idle Heartbeat".into(),
            Self::FlowControlRequest { .. } => "FlowControl Request".into(),
            Self::NoMessages => "No Messages".into(),
            Self::RequestTimeout(_) => "Request Timeout".into(),
            Self::RequestsPending => "Requests Pending".into(),
            Self::MessageSizeExceedsMaxBytes(_) => "Message Size Exceeds MaxBytes".into(),
            Self::BatchCompleted(_) => "Batch Completed".into(),
            Self::ExceededMaxRequestBatch { max } => format!("Exceeded MaxRequestBatch of {max}"),
            Self::ExceededMaxRequestExpires { max_ns } => {
                format!("Exceeded MaxRequestExpires of {}", duration::format_ns(*max_ns))
            }
            Self::ExceededMaxRequestMaxBytes { max } => format!("Exceeded MaxRequestMaxBytes of {max}"),
            Self::ExceededMaxWaiting => "Exceeded MaxWaiting".into(),
            Self::ConsumerDeleted => "Consumer Deleted".into(),
            Self::ConsumerIsPushBased => "Consumer is push based".into(),
            Self::LeadershipChange => "Leadership Change".into(),
            Self::ServerShutdown(_) => "Server Shutdown".into(),
            Self::PinIdMismatch => "Nats-Pin-Id mismatch".into(),
            Self::WrongPinId(_) => "Nats-Wrong-Pin-Id".into(),
            Self::BadRequest(why) => format!("Bad Request - {why}"),
            Self::NoResponders => String::new(),
        }
    }

    /// The headers after the status line.
    #[must_use]
    pub fn headers(&self) -> Headers {
        let numbers = match self {
            Self::IdleHeartbeat { last, .. } => {
                [("Nats-Last-Consumer", last.consumer_seq), ("Nats-Last-Stream", last.stream_seq)]
            }
            Self::RequestTimeout(unserved)
            | Self::WrongPinId(unserved)
            | Self::MessageSizeExceedsMaxBytes(unserved)
            | Self::BatchCompleted(unserved)
            | Self::ServerShutdown(unserved) => {
                [("Nats-Pending-Messages", unserved.messages), ("Nats-Pending-Bytes", unserved.bytes)]
            }
            Self::NoMessages
            | Self::RequestsPending
            | Self::ExceededMaxRequestBatch { .. }
            | Self::ExceededMaxRequestExpires { .. }
            | Self::ExceededMaxRequestMaxBytes { .. }
            | Self::ExceededMaxWaiting
            | Self::FlowControlRequest { .. }
            | Self::ConsumerDeleted
            | Self::ConsumerIsPushBased
            | Self::LeadershipChange
            | Self::PinIdMismatch
            | Self::BadRequest(_)
            | Self::NoResponders => return Headers::default(),
        };
        let mut headers = Headers::default();
        for (name, number) in numbers {
            headers.append(name, &number.to_string());
        }
        if let Self::IdleHeartbeat { stalled: Some(reply), .. } = self {
            headers.append("Nats-Consumer-Stalled", reply);
        }
        headers
    }

    /// The reply subject.
    #[must_use]
    pub fn reply(&self) -> Option<&str> {
        if let Self::FlowControlRequest { reply } = self { Some(reply) } else { None }
    }
}
