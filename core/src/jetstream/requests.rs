//! The API: what can be asked of the broker, and what it answers.

use super::api::{
    AccountInfo, ApiError, ConsumerConfig, ConsumerInfo, MessageGet, Page, Paging, StreamConfig, StreamInfo,
    StreamState,
};
use super::direct::{DirectMessage, DirectStatus};
use super::error::stream_not_found;
use super::snapshot::SnapshotRequest;
use super::stream::Stream;
use super::{Effect, Input, JetStream, StoredMessage, keep};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::{Now, Wall};
use std::sync::Arc;

/// Which message to read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MessageBy {
    /// The one at this sequence.
    Seq(u64),
    /// The last one on a subject, which may have wildcards.
    LastBySubject(String),
    /// The first one on a subject, which may have wildcards, at this sequence or later.
    NextBySubject {
        /// The subject.
        subject: String,
        /// Where to begin.
        seq: u64,
    },
    /// The first one stored at this time or later.
    NextByTime {
        /// On this subject, which may have wildcards.
        subject: Option<String>,
        /// Where to begin.
        start: Wall,
    },
}

/// What a request about a consumer means when there is one already, or none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConsumerAction {
    /// Create it, or change the one that is there.
    CreateOrUpdate,
    /// Create it; one that is there must be the same.
    Create,
    /// Change the one that is there.
    Update,
}

/// A request to the API.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// What the account uses, and may use.
    AccountInfo,
    /// Creates a stream; one that is there must have the same configuration.
    StreamCreate {
        /// How it shall be.
        config: Box<StreamConfig>,
        /// What cannot be had is refused instead of put right.
        pedantic: bool,
    },
    /// Changes a stream's configuration. A lowered limit removes messages at once.
    StreamUpdate {
        /// How it shall be.
        config: Box<StreamConfig>,
        /// What cannot be had is refused instead of put right.
        pedantic: bool,
    },
    /// Describes a stream.
    StreamInfo {
        /// The stream.
        stream: String,
        /// Counts messages by subject for those this filter matches.
        subjects_filter: Option<String>,
        /// How many subjects to pass over.
        offset: u64,
        /// Lists the sequences that are gone.
        deleted_details: bool,
    },
    /// Deletes a stream with everything in it.
    StreamDelete {
        /// The stream.
        stream: String,
    },
    /// Removes messages: all, or those on a subject, or below a sequence, or but the last few.
    StreamPurge {
        /// The stream.
        stream: String,
        /// Only on subjects that match.
        filter: Option<String>,
        /// Only below this sequence.
        seq: Option<u64>,
        /// But for so many of the last ones.
        keep: Option<u64>,
    },
    /// Archives a stream.
    StreamSnapshot {
        /// The stream.
        stream: String,
        /// How, and where to.
        asked: SnapshotRequest,
    },
    /// Makes a stream of an archive.
    StreamRestore {
        /// How it shall be.
        config: Box<StreamConfig>,
    },
    /// Names the streams; those that capture a subject, if one is given.
    StreamNames {
        /// The subject.
        subject: Option<String>,
        /// How many to pass over.
        offset: u64,
    },
    /// Describes the streams; those that capture a subject, if one is given.
    StreamList {
        /// The subject.
        subject: Option<String>,
        /// How many to pass over.
        offset: u64,
    },
    /// Reads a message.
    MessageGet {
        /// The stream.
        stream: String,
        /// Which one.
        by: MessageBy,
    },
    /// Reads messages from any replica, if the stream allows it.
    DirectGet {
        /// The stream.
        stream: String,
        /// Which ones.
        get: Box<MessageGet>,
    },
    /// Removes one message.
    MessageDelete {
        /// The stream.
        stream: String,
        /// The message.
        seq: u64,
    },
    /// Creates or changes a consumer.
    ConsumerCreate {
        /// The stream.
        stream: String,
        /// How it shall be.
        config: Box<ConsumerConfig>,
        /// Which of both.
        action: ConsumerAction,
        /// What the server would change on its own is refused.
        pedantic: bool,
    },
    /// Asks for a consumer that cannot be: refused once its stream is known.
    ConsumerImpossible {
        /// The stream.
        stream: String,
        /// What else is looked at first.
        num_replicas: u8,
        /// Why it cannot be.
        why: ApiError,
    },
    /// Describes a consumer.
    ConsumerInfo {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Delivers nothing until a moment.
    ConsumerPause {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// When it goes on, RFC 3339; at once when there is none.
        pause_until: Option<String>,
    },
    /// Begins anew.
    ConsumerReset {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// At this sequence; behind its floor when there is none.
        seq: Option<u64>,
    },
    /// Lets another client have a priority group for itself.
    ConsumerUnpin {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
        /// The group.
        group: String,
    },
    /// Deletes a consumer.
    ConsumerDelete {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
    },
    /// Names the consumers of a stream.
    ConsumerNames {
        /// The stream.
        stream: String,
        /// How many to pass over.
        offset: u64,
    },
    /// Describes the consumers of a stream.
    ConsumerList {
        /// The stream.
        stream: String,
        /// How many to pass over.
        offset: u64,
    },
}

/// An answer to a publish, a request or an ack.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    /// A message is stored.
    Published {
        /// In this stream.
        stream: String,
        /// At this sequence.
        seq: u64,
        /// Already before, under the same message id.
        duplicate: bool,
        /// The count of its subject, where messages count.
        val: Option<String>,
    },
    /// A message of a batch is held until the batch is committed: an empty message.
    Staged,
    /// A batch is stored.
    BatchPublished {
        /// In this stream.
        stream: String,
        /// Its last message at this sequence.
        seq: u64,
        /// Which batch.
        batch: String,
        /// How many messages it has.
        count: u64,
    },
    /// A message is not stored.
    NotPublished {
        /// By this stream.
        stream: String,
        /// Why.
        error: ApiError,
    },
    /// A request failed.
    Failed(ApiError),
    /// What the account uses, and may use.
    Account(Box<AccountInfo>),
    /// A stream: created or changed.
    Stream(Box<StreamInfo>),
    /// A stream as it is.
    StreamDescribed {
        /// The stream.
        info: Box<StreamInfo>,
        /// Which of its subjects are counted.
        subjects: Paging,
    },
    /// Streams.
    Streams(Page<StreamInfo>),
    /// The names of streams.
    StreamNames(Page<String>),
    /// A stream is gone.
    StreamDeleted,
    /// Messages are gone.
    Purged {
        /// How many.
        messages: u64,
    },
    /// A snapshot begins.
    SnapshotBegun {
        /// How the stream is configured: the archive does not have it.
        config: Box<StreamConfig>,
        /// What it holds.
        state: Box<StreamState>,
    },
    /// A restore begins.
    RestoreBegun {
        /// Where the archive goes.
        deliver_subject: String,
    },
    /// A restore is over.
    Restored(Result<Box<StreamInfo>, ApiError>),
    /// A message.
    Message(Box<StoredMessage>),
    /// A message, read from any replica: sent as it is, with its [`headers`](DirectMessage::headers).
    Direct(Box<DirectMessage>),
    /// There is no such message, there are no more, or the request was none.
    DirectStatus(DirectStatus),
    /// A message is gone.
    MessageDeleted,
    /// A consumer: created, changed or described.
    Consumer(Box<ConsumerInfo>),
    /// Consumers.
    Consumers(Page<ConsumerInfo>),
    /// The names of consumers.
    ConsumerNames(Page<String>),
    /// A consumer was paused, or goes on.
    ConsumerPaused {
        /// Which of both.
        is_paused: bool,
        /// Until when, RFC 3339; [`ZERO_TIME`](super::api::ZERO_TIME) when it was not asked to be.
        pause_until: String,
        /// For how long, in nanoseconds.
        pause_remaining_ns: u64,
    },
    /// A consumer begins anew.
    ConsumerReset {
        /// As it is now.
        info: Box<ConsumerInfo>,
        /// Where it begins.
        reset_seq: u64,
    },
    /// A priority group is free.
    ConsumerUnpinned,
    /// A consumer is gone.
    ConsumerDeleted,
    /// An ack was processed: an empty message.
    AckProcessed,
    /// Nobody listens on the subject: no stream captures it, no consumer waits for it.
    NoResponders {
        /// The subject.
        subject: String,
    },
}

/// An answer, or the error to answer with.
pub(super) type Answered = Result<Answer, ApiError>;

impl JetStream {
    pub(super) fn on_requested(
        &mut self,
        now: Now,
        reply: String,
        request: Request,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        // Direct gets are no business of the API.
        let counts = !matches!(request, Request::DirectGet { .. });
        let answered = match request {
            Request::AccountInfo => Ok(Answer::Account(Box::new(self.account_info()))),
            Request::StreamCreate { config, pedantic } => self.create_stream(now, *config, pedantic, cx),
            Request::StreamUpdate { config, pedantic } => self.update_stream(now, *config, pedantic, cx),
            Request::StreamInfo { stream, subjects_filter, offset, deleted_details } => {
                self.describe_stream(&stream, subjects_filter.as_deref(), offset, deleted_details)
            }
            Request::StreamDelete { stream } => self.delete_stream(&stream, cx),
            Request::StreamPurge { stream, filter, seq, keep } => {
                self.purge_stream(now, &stream, filter.as_deref(), seq, keep, cx)
            }
            Request::StreamSnapshot { stream, asked } => self.snapshot_stream(now, &stream, asked, cx),
            Request::StreamRestore { config } => self.restore_stream(now, *config, cx),
            Request::StreamNames { subject, offset } => {
                Ok(self.stream_names_page(subject.as_deref(), offset))
            }
            Request::StreamList { subject, offset } => Ok(self.stream_list_page(subject.as_deref(), offset)),
            Request::MessageGet { stream, by } => match self.find_message(&stream, &by) {
                Ok((own, seq)) => {
                    let message = keep::read_message(&own.config, &own.bodies, cx.view(), seq)?;
                    Ok(Answer::Message(Box::new(message)))
                }
                Err(error) => Err(error),
            },
            Request::DirectGet { stream, get } => return self.get_directly(&stream, &reply, &get, cx),
            Request::MessageDelete { stream, seq } => self.delete_message(now, &stream, seq, cx),
            Request::ConsumerCreate { stream, config, action, pedantic } => {
                self.create_consumer(now, &stream, *config, action, pedantic, cx)
            }
            Request::ConsumerImpossible { stream, num_replicas, why } => Err(self
                .check_replicas(num_replicas)
                .and_then(|()| self.stream_of(&stream))
                .err()
                .unwrap_or(why)),
            Request::ConsumerInfo { stream, consumer } => self.describe_consumer(&stream, &consumer),
            Request::ConsumerPause { stream, consumer, pause_until } => {
                self.pause_consumer(now, &stream, &consumer, pause_until, cx)
            }
            Request::ConsumerReset { stream, consumer, seq } => {
                self.reset_consumer(now, &stream, &consumer, seq, cx)
            }
            Request::ConsumerUnpin { stream, consumer, group } => {
                self.unpin_consumer(now, &stream, &consumer, &group, cx)
            }
            Request::ConsumerDelete { stream, consumer } => self.remove_consumer(now, &stream, &consumer, cx),
            Request::ConsumerNames { stream, offset } => self.consumer_names_page(&stream, offset),
            Request::ConsumerList { stream, offset } => self.consumer_list_page(&stream, offset),
        };
        // A request is told how many there were before it.
        self.api.total += u64::from(counts);
        self.api.errors += u64::from(answered.is_err());
        cx.emit(Effect::Reply { to: reply, answer: answered.unwrap_or_else(Answer::Failed) });
        Ok(())
    }

    pub(super) fn stream_of(&self, stream: &str) -> Result<(Arc<str>, &Stream), ApiError> {
        let (name, stream) = self.streams.get_key_value(stream).ok_or_else(stream_not_found)?;
        Ok((name.clone(), stream))
    }
}
