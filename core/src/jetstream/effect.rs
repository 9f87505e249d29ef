//! What the broker sends, and messages as they are on their way and in the log.

use super::advisory::Advisory;
use super::{AckSubject, Answer, PullStatus, SnapshotEnd};
use crate::time::Wall;
use crate::wire::header_block::HeaderBlock;
use bytes::Bytes;
use std::sync::Arc;

/// What the broker sends.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// An answer to a publish, an API request or an ack.
    Reply {
        /// Where to.
        to: String,
        /// What.
        answer: Answer,
    },
    /// A message for a pull request, or for the deliver subject of a push consumer.
    Deliver(Box<Delivery>),
    /// A stored message, for whoever listens: the stream republishes.
    Republish {
        /// On this subject.
        subject: String,
        /// Its headers, and where it is stored.
        headers: HeaderBlock,
        /// Its payload, unless the stream republishes headers only.
        payload: Bytes,
    },
    /// A pull request is alive, or over; a push consumer is alive, or wants to know whether its messages arrive.
    Status {
        /// Where to.
        inbox: String,
        /// Which. It may have a [reply](PullStatus::reply).
        status: PullStatus,
    },
    /// A chunk of a snapshot, for its deliver subject.
    Chunk {
        /// Where to.
        to: String,
        /// Where the client says that it has it; a last chunk that is not full is not waited for.
        reply: Option<String>,
        /// A piece of the archive.
        payload: Bytes,
    },
    /// A snapshot is over.
    SnapshotEnded {
        /// Where to.
        to: String,
        /// How it went.
        end: SnapshotEnd,
    },
    /// Something happened that may interest somebody.
    Advise {
        /// Where it is told.
        subject: String,
        /// What.
        body: Box<Advisory>,
    },
}

/// A message on its way to a client.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    /// Where to.
    pub inbox: String,
    /// What the client answers to: its text is the message's reply subject.
    pub ack: AckSubject,
    /// The subject it was published on.
    pub subject: Arc<str>,
    /// Its headers, as they were received.
    pub headers: HeaderBlock,
    /// Its payload.
    pub payload: Bytes,
}

/// A message as the log holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// Its sequence.
    pub seq: u64,
    /// The subject it was published on.
    pub subject: Arc<str>,
    /// Its headers, as they were received.
    pub headers: HeaderBlock,
    /// Its payload.
    pub payload: Bytes,
    /// When it was stored.
    pub stored_at: Wall,
}
