//! The API: what can be asked of the broker and what it answers; requests about streams and messages.

use super::api::{ApiError, ConsumerConfig, ConsumerInfo, StreamConfig, StreamInfo, err_code};
use super::dedupe::MessageIds;
use super::error::{bad_request, error, no_message_found, sealed, stream_not_found};
use super::keep::Bodies;
use super::log::Log;
use super::stream::Stream;
use super::{Effect, Input, JetStream, StoredMessage, keep, stream_config};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::Now;
use crate::wire::subject::Filter;
use std::collections::BTreeMap;
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
    /// Creates a stream; one that is there must have the same configuration.
    StreamCreate(StreamConfig),
    /// Changes a stream's configuration. A lowered limit removes messages at once.
    StreamUpdate(StreamConfig),
    /// Describes a stream.
    StreamInfo {
        /// The stream.
        stream: String,
        /// Counts messages by subject for those this filter matches.
        subjects_filter: Option<String>,
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
    /// Names the streams; those that capture a subject, if one is given.
    StreamNames {
        /// The subject.
        subject: Option<String>,
    },
    /// Describes all streams.
    StreamList,
    /// Reads a message.
    MessageGet {
        /// The stream.
        stream: String,
        /// Which one.
        by: MessageBy,
    },
    /// Reads a message from any replica, if the stream allows it.
    DirectGet {
        /// The stream.
        stream: String,
        /// Which one.
        by: MessageBy,
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
        config: ConsumerConfig,
        /// Which of both.
        action: ConsumerAction,
    },
    /// Describes a consumer.
    ConsumerInfo {
        /// The stream.
        stream: String,
        /// The consumer.
        consumer: String,
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
    },
    /// Describes the consumers of a stream.
    ConsumerList {
        /// The stream.
        stream: String,
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
    /// A stream: created, changed or described.
    Stream(Box<StreamInfo>),
    /// Streams.
    Streams(Vec<StreamInfo>),
    /// The names of streams.
    StreamNames(Vec<String>),
    /// A stream is gone.
    StreamDeleted,
    /// Messages are gone.
    Purged {
        /// How many.
        messages: u64,
    },
    /// A message.
    Message(Box<StoredMessage>),
    /// A message, read from any replica: sent as it is, with [`direct_headers`](StoredMessage::direct_headers).
    Direct {
        /// Its stream.
        stream: String,
        /// The message.
        message: Box<StoredMessage>,
    },
    /// No replica has such a message: the status `404 Message Not Found`.
    NotFoundDirectly,
    /// A message is gone.
    MessageDeleted,
    /// A consumer: created, changed or described.
    Consumer(Box<ConsumerInfo>),
    /// Consumers.
    Consumers(Vec<ConsumerInfo>),
    /// The names of consumers.
    ConsumerNames(Vec<String>),
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
        let answered = match request {
            Request::StreamCreate(config) => self.create_stream(now, config, cx),
            Request::StreamUpdate(config) => self.update_stream(now, config, cx),
            Request::StreamInfo { stream, subjects_filter, deleted_details } => {
                self.describe_stream(&stream, subjects_filter.as_deref(), deleted_details)
            }
            Request::StreamDelete { stream } => self.delete_stream(&stream, cx),
            Request::StreamPurge { stream, filter, seq, keep } => {
                self.purge_stream(now, &stream, filter.as_deref(), seq, keep, cx)
            }
            Request::StreamNames { subject } => {
                Ok(Answer::StreamNames(self.names_capturing(subject.as_deref())))
            }
            Request::StreamList => {
                Ok(Answer::Streams(self.streams.values().map(|stream| stream.info(None, false)).collect()))
            }
            Request::MessageGet { stream, by } => match self.find_message(&stream, &by) {
                Ok((own, seq)) => {
                    let message = keep::read_message(&own.config, &own.bodies, cx.view(), seq)?;
                    Ok(Answer::Message(Box::new(message)))
                }
                Err(error) => Err(error),
            },
            Request::DirectGet { stream, by } => Ok(self.get_directly(&stream, &by, cx.view())?),
            Request::MessageDelete { stream, seq } => self.delete_message(now, &stream, seq, cx),
            Request::ConsumerCreate { stream, config, action } => {
                self.create_consumer(now, &stream, config, action, cx)
            }
            Request::ConsumerInfo { stream, consumer } => self.describe_consumer(&stream, &consumer),
            Request::ConsumerDelete { stream, consumer } => self.remove_consumer(now, &stream, &consumer, cx),
            Request::ConsumerNames { stream } => self.stream_of(&stream).map(|(_, stream)| {
                Answer::ConsumerNames(stream.consumers.keys().map(ToString::to_string).collect())
            }),
            Request::ConsumerList { stream } => self.stream_of(&stream).map(|(name, stream)| {
                let consumers = stream.consumers.iter();
                Answer::Consumers(consumers.map(|(consumer, own)| own.info(&name, consumer, now)).collect())
            }),
        };
        cx.emit(Effect::Reply { to: reply, answer: answered.unwrap_or_else(Answer::Failed) });
        Ok(())
    }

    pub(super) fn stream_of(&self, stream: &str) -> Result<(Arc<str>, &Stream), ApiError> {
        let (name, stream) = self.streams.get_key_value(stream).ok_or_else(stream_not_found)?;
        Ok((name.clone(), stream))
    }

    fn names_capturing(&self, subject: Option<&str>) -> Vec<String> {
        let filter = subject.and_then(|subject| Filter::parse(subject).ok());
        let wanted = |stream: &Stream| match (&filter, subject) {
            (Some(filter), _) => stream.overlaps(std::slice::from_ref(filter)),
            (None, subject) => subject.is_none(),
        };
        self.streams.iter().filter(|(_, stream)| wanted(stream)).map(|(name, _)| name.to_string()).collect()
    }

    fn create_stream(&mut self, now: Now, config: StreamConfig, cx: &mut Cx<'_, Input, Effect>) -> Answered {
        let config = stream_config::normalise(config)?;
        stream_config::check_create(&config)?;
        if let Some(stream) = self.streams.get(config.name.as_str()) {
            return if stream.config == config {
                Ok(Answer::Stream(Box::new(stream.info(None, false))))
            } else {
                let why = "stream name already in use with a different configuration";
                Err(error(400, err_code::STREAM_NAME_EXISTS, why))
            };
        }
        if self.streams.len() >= self.limits.streams_max {
            return Err(error(400, 10_027, "maximum number of streams reached"));
        }
        let subjects = self.free_subjects(&config)?;
        let stream = Stream {
            subjects,
            created_ns: self.created_ns(now),
            log: Log::new(config.storage),
            bodies: Bodies::new(),
            ids: MessageIds::default(),
            last_msg_id: None,
            consumers: BTreeMap::new(),
            config,
        };
        stream.stage(cx);
        let info = stream.info(None, false);
        self.streams.insert(stream.config.name.as_str().into(), stream);
        Ok(Answer::Stream(Box::new(info)))
    }

    /// The subjects of a configuration, if no other stream captures any of them.
    fn free_subjects(&self, config: &StreamConfig) -> Result<Vec<Filter>, ApiError> {
        let subjects = stream_config::parse(&config.subjects)?;
        let others = self.streams.values().filter(|stream| stream.config.name != config.name);
        if others.into_iter().any(|stream| stream.overlaps(&subjects)) {
            let why = "subjects overlap with an existing stream";
            return Err(error(400, err_code::STREAM_SUBJECT_OVERLAP, why));
        }
        Ok(subjects)
    }

    fn update_stream(&mut self, now: Now, config: StreamConfig, cx: &mut Cx<'_, Input, Effect>) -> Answered {
        let config = stream_config::normalise(config)?;
        let (name, own) = self.stream_of(&config.name)?;
        let config = stream_config::update(&own.config, config)?;
        let subjects = self.free_subjects(&config)?;
        if let Some(own) = self.streams.get_mut(&name) {
            own.subjects = subjects;
            own.config = config;
            own.ids.trim(now.wall, own.config.duplicate_window_ns);
            own.stage(cx);
        }
        self.enforce_limits(now, &name, None, cx);
        self.expire_messages(now, &name, cx);
        self.arm_stream(now, &name);
        self.describe_stream(&name, None, false)
    }

    fn describe_stream(&self, stream: &str, subjects: Option<&str>, deleted: bool) -> Answered {
        let (_, stream) = self.stream_of(stream)?;
        let subjects = subjects.map(Filter::parse).transpose().map_err(|_| bad_request())?;
        Ok(Answer::Stream(Box::new(stream.info(subjects.as_ref(), deleted))))
    }

    fn delete_stream(&mut self, stream: &str, cx: &mut Cx<'_, Input, Effect>) -> Answered {
        let (name, own) = self.stream_of(stream)?;
        for consumer in own.consumers.keys().cloned().collect::<Vec<_>>() {
            self.drop_consumer(&name, &consumer, cx);
        }
        if let Some(own) = self.streams.remove(&name) {
            own.unstage(cx);
        }
        self.alarms.set(super::Owner::Stream(name), None);
        Ok(Answer::StreamDeleted)
    }

    fn purge_stream(
        &mut self,
        now: Now,
        stream: &str,
        filter: Option<&str>,
        seq: Option<u64>,
        keep: Option<u64>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let (name, own) = self.stream_of(stream)?;
        if own.config.sealed {
            return Err(sealed());
        }
        if own.config.deny_purge {
            return Err(error(500, 10_110, "stream purge not permitted"));
        }
        let (seq, keep) = (seq.filter(|seq| *seq > 0), keep.filter(|keep| *keep > 0));
        if seq.is_some() && keep.is_some() {
            return Err(bad_request());
        }
        let filter = filter.filter(|filter| !filter.is_empty()).map(Filter::parse).transpose();
        let filter = filter.map_err(|_| bad_request())?;
        let matching = own
            .log
            .iter()
            .filter(|(_, meta)| filter.as_ref().is_none_or(|filter| filter.matches(&meta.subject)));
        let mut purged: Vec<u64> = matching.map(|(own, _)| own).collect();
        match (seq, keep) {
            (Some(seq), _) => purged.truncate(purged.partition_point(|own| *own < seq)),
            (None, Some(keep)) => {
                purged.truncate(purged.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX)));
            }
            (None, None) => {}
        }
        let messages = self.remove_messages(now, &name, &purged, cx);
        // The server gives no sequence below the one it was told to purge to, even if that lies ahead.
        if let (Some(seq), None) = (seq, &filter)
            && let Some(own) = self.streams.get_mut(&name)
            && seq > own.log.last_seq() + 1
        {
            own.log.move_last(seq - 1, own.log.last_at());
            own.stage(cx);
        }
        self.jump_over_purged(now, &name, filter.as_ref());
        Ok(Answer::Purged { messages })
    }

    pub(super) fn find_message(&self, stream: &str, by: &MessageBy) -> Result<(&Stream, u64), ApiError> {
        let (_, stream) = self.stream_of(stream)?;
        let filter = |subject: &String| Filter::parse(subject).map_err(|_| bad_request());
        let found = match by {
            MessageBy::Seq(seq) => stream.log.contains(*seq).then_some(*seq),
            MessageBy::LastBySubject(subject) => stream.log.last_matching(&filter(subject)?),
            MessageBy::NextBySubject { subject, seq } => {
                stream.log.next_matching(&super::log::Filters::new(vec![filter(subject)?]), *seq)
            }
        };
        found.map(|seq| (stream, seq)).ok_or_else(no_message_found)
    }

    fn delete_message(
        &mut self,
        now: Now,
        stream: &str,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let (name, own) = self.stream_of(stream)?;
        let failed = |why: &str| Err(error(500, 10_057, why));
        if own.config.sealed {
            return Err(sealed());
        }
        if own.config.deny_delete {
            return failed("message delete not permitted");
        }
        // A memory store only says that it is not there.
        if !own.is_durable() && !own.log.contains(seq) {
            return Err(error(400, 10_043, format!("sequence {seq} not found")));
        }
        if seq > own.log.last_seq() {
            return failed("stream store EOF");
        }
        if self.remove_messages(now, &name, &[seq], cx) == 0 {
            return failed("no message found");
        }
        Ok(Answer::MessageDeleted)
    }
}
