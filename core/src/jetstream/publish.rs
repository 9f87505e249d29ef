//! Publishing: every check in the server's order, then the log, then the limits.
//!
//! The order decides what a publisher is told who repeats a message after its ack was lost. On one replica the expected
//! sequence is compared before the id is looked up, so the repetition contradicts its own first attempt: *wrong last
//! sequence*. A cluster looks the id up first: *duplicate*.

use super::api::{ApiError, Discard, StreamConfig, err_code};
use super::error::{error, out_of_resources, sealed, store_failed, wrong_last_sequence};
use super::log::Meta;
use super::stream::Stream;
use super::{Answer, Effect, Input, JetStream, Limits, StoredMessage, no_responders};
use crate::cx::Cx;
use crate::time::{Now, Wall};
use crate::wire::header_block::HeaderBlock;
use crate::wire::headers;
use crate::wire::subject::Filter;
use bytes::Bytes;
use std::sync::Arc;

const EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const ROLLUP: &str = "Nats-Rollup";
const HEADER_BYTES_MAX: usize = 65_535;

/// Headers of features this broker does not have, with the answer of a stream that has them switched off.
const BATCH: (&str, u32, &str) = ("Nats-Batch-Id", 10_174, "atomic publish is disabled");
const COUNTER: (&str, u32, &str) = ("Nats-Incr", 10_168, "message counters is disabled");
const TTL: (&str, u32, &str) = ("Nats-TTL", 10_166, "per-message TTL is disabled");
const SCHEDULE: (&str, u32, &str) = ("Nats-Schedule", 10_188, "message schedules is disabled");
const SOURCE: (&str, u32, &str) =
    ("Nats-Stream-Source", 10_227, "message stream source header is not allowed");

/// A message a client published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publish {
    /// On this subject.
    pub subject: String,
    /// Where the ack goes; without it the message is stored in silence.
    pub reply: Option<String>,
    /// Its headers, as they were received.
    pub headers: HeaderBlock,
    /// Its payload.
    pub payload: Bytes,
}

/// What older messages a message replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rollup {
    Subject,
    All,
}

/// What becomes of a message that is not refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Admission {
    Store(Option<Rollup>),
    /// Nobody is interested: it takes a sequence and no more.
    Skip(Option<Rollup>),
    Duplicate {
        seq: u64,
    },
}

impl JetStream {
    pub(super) fn on_published(&mut self, now: Now, publish: Publish, cx: &mut Cx<'_, Input, Effect>) {
        let owner = self.streams.iter().find(|(_, stream)| stream.captures(&publish.subject));
        let Some((name, stream)) = owner else {
            return no_responders(publish.reply, || publish.subject, cx);
        };
        let name = name.clone();
        let admission = admit(stream, &publish, now, &self.limits);
        let (reply, stream) = (publish.reply.clone(), name.to_string());
        let answer = match admission {
            Ok(Admission::Store(rollup)) => {
                let seq = self.store(now, &name, publish, rollup, cx);
                Answer::Published { stream, seq, duplicate: false }
            }
            Ok(Admission::Skip(rollup)) => {
                let seq = self.skip(now, &name, &publish, rollup, cx);
                Answer::Published { stream, seq, duplicate: false }
            }
            Ok(Admission::Duplicate { seq }) => Answer::Published { stream, seq, duplicate: true },
            Err(error) => Answer::NotPublished { stream, error },
        };
        if let Some(to) = reply {
            cx.emit(Effect::Reply { to, answer });
        }
    }

    fn skip(
        &mut self,
        now: Now,
        name: &Arc<str>,
        publish: &Publish,
        rollup: Option<Rollup>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let stream = self.streams.get_mut(name).expect("the stream that admitted the message");
        let seq = stream.log.last_seq() + 1;
        stream.log.move_last(seq, Some(now.wall));
        stream.remember_id(publish.headers.text(headers::NATS_MSG_ID), seq, now.wall);
        stream.stage(cx);
        self.roll_up(now, name, rollup, &publish.subject, seq, cx);
        self.arm_stream(now, name);
        seq
    }

    /// Purges what a message replaces: everything below its sequence.
    fn roll_up(
        &mut self,
        now: Now,
        name: &Arc<str>,
        rollup: Option<Rollup>,
        subject: &str,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let log = &self.streams[name].log;
        let (older, filter): (Vec<u64>, _) = match rollup {
            None => return,
            Some(Rollup::Subject) => (
                log.on_subject(subject).into_iter().flatten().copied().collect(),
                Filter::parse(subject).ok(),
            ),
            Some(Rollup::All) => (log.iter().map(|(own, _)| own).collect(), None),
        };
        let (older, _) = older.split_at(older.partition_point(|own| *own < seq));
        self.remove_messages(now, name, older, cx);
        self.jump_over_purged(now, name, filter.as_ref());
    }

    fn store(
        &mut self,
        now: Now,
        name: &Arc<str>,
        publish: Publish,
        rollup: Option<Rollup>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let stream = self.streams.get_mut(name).expect("the stream that admitted the message");
        let Publish { subject, headers, payload, reply: _ } = publish;
        let seq = stream.log.last_seq() + 1;
        let subject = stream.log.shared_subject(&subject);
        let message = StoredMessage { seq, subject: subject.clone(), headers, payload, stored_at: now.wall };
        stream.log.append(seq, meta(&subject, message.headers.len(), message.payload.len(), now.wall));
        stream.remember_id(message.headers.text(headers::NATS_MSG_ID), seq, now.wall);
        stream.keep_message(message, cx);
        let mut waiting = Vec::new();
        for (consumer, own) in &mut stream.consumers {
            if own.on_stored(seq, &subject) && own.is_asked() {
                waiting.push(consumer.clone());
            }
        }
        for consumer in waiting {
            self.signal(name, &consumer);
        }
        self.roll_up(now, name, rollup, &subject, seq, cx);
        self.enforce_limits(now, name, Some(&subject), cx);
        seq
    }
}

pub(super) fn meta(subject: &Arc<str>, header_len: usize, payload_len: usize, stored_at: Wall) -> Meta {
    let bytes = |len: usize| u32::try_from(len).expect("a message is smaller than 4 GiB");
    Meta {
        subject: subject.clone(),
        stored_at,
        header_bytes: bytes(header_len),
        payload_bytes: bytes(payload_len),
    }
}

fn admit(stream: &Stream, publish: &Publish, now: Now, limits: &Limits) -> Result<Admission, ApiError> {
    let config = &stream.config;
    let headers = &publish.headers;
    let id = headers.text(headers::NATS_MSG_ID);
    let duplicate = || {
        let seq = stream.ids.seen(id?, now.wall, config.duplicate_window_ns)?;
        Some(Admission::Duplicate { seq })
    };
    let rollup = if config.num_replicas > 1 {
        check_sealed(config)?;
        check_sizes(config, publish, limits)?;
        refuse(headers, BATCH)?;
        refuse(headers, COUNTER)?;
        check_expected_stream(config, headers)?;
        refuse(headers, TTL)?;
        if let Some(duplicate) = duplicate() {
            return Ok(duplicate);
        }
        check_expected_sequence(stream, headers)?;
        check_expected_subject_sequence(stream, publish)?;
        refuse(headers, SCHEDULE)?;
        refuse(headers, SOURCE)?;
        check_expected_id(stream, headers)?;
        check_rollup(config, headers)?
    } else {
        check_sealed(config)?;
        refuse(headers, BATCH)?;
        refuse(headers, COUNTER)?;
        check_expected_stream(config, headers)?;
        refuse(headers, TTL)?;
        check_expected_subject_sequence(stream, publish)?;
        check_expected_sequence(stream, headers)?;
        refuse(headers, SCHEDULE)?;
        refuse(headers, SOURCE)?;
        if let Some(duplicate) = duplicate() {
            return Ok(duplicate);
        }
        check_expected_id(stream, headers)?;
        let rollup = check_rollup(config, headers)?;
        check_sizes(config, publish, limits)?;
        rollup
    };
    if stream.log.len() >= limits.messages_per_stream_max
        || (id.is_some() && stream.ids.len() >= limits.message_ids_per_stream_max)
    {
        return Err(out_of_resources());
    }
    if !stream.is_wanted(&publish.subject) {
        return Ok(Admission::Skip(rollup));
    }
    check_room(stream, publish)?;
    Ok(Admission::Store(rollup))
}

fn refuse(headers: &HeaderBlock, (name, number, why): (&str, u32, &str)) -> Result<(), ApiError> {
    headers.text(name).map_or(Ok(()), |_| Err(error(400, number, why)))
}

fn check_sealed(config: &StreamConfig) -> Result<(), ApiError> {
    if config.sealed { Err(sealed()) } else { Ok(()) }
}

fn check_expected_stream(config: &StreamConfig, headers: &HeaderBlock) -> Result<(), ApiError> {
    match headers.text(headers::NATS_EXPECTED_STREAM) {
        Some(expected) if expected != config.name => {
            Err(error(400, err_code::STREAM_NOT_MATCH, "expected stream does not match"))
        }
        Some(_) | None => Ok(()),
    }
}

/// An expected sequence; what is not a number is larger than any.
fn expected(headers: &HeaderBlock, name: &str) -> Option<u64> {
    headers.text(name).map(|number| number.parse().unwrap_or(u64::MAX))
}

fn check_expected_sequence(stream: &Stream, headers: &HeaderBlock) -> Result<(), ApiError> {
    let actual = stream.log.last_seq();
    match expected(headers, headers::NATS_EXPECTED_LAST_SEQUENCE) {
        Some(expected) if expected != actual => Err(wrong_last_sequence(actual)),
        Some(_) | None => Ok(()),
    }
}

fn check_expected_subject_sequence(stream: &Stream, publish: &Publish) -> Result<(), ApiError> {
    let other = publish.headers.text(EXPECTED_LAST_SUBJECT_SEQUENCE_SUBJECT);
    let Some(expected) = expected(&publish.headers, headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE) else {
        return match other {
            Some(_) => Err(error(400, 10_193, "missing sequence for expected last sequence per subject")),
            None => Ok(()),
        };
    };
    let last = match other {
        None => stream.log.on_subject(&publish.subject).and_then(|seqs| seqs.last().copied()),
        Some(other) => Filter::parse(other).ok().and_then(|filter| stream.log.last_matching(&filter)),
    };
    let actual = last.unwrap_or(0);
    if expected == actual { Ok(()) } else { Err(wrong_last_sequence(actual)) }
}

fn check_expected_id(stream: &Stream, headers: &HeaderBlock) -> Result<(), ApiError> {
    let actual = stream.last_msg_id.as_deref().unwrap_or_default();
    match headers.text(headers::NATS_EXPECTED_LAST_MSG_ID) {
        Some(expected) if expected != actual => {
            Err(error(400, err_code::WRONG_LAST_MSG_ID, format!("wrong last msg ID: {actual}")))
        }
        Some(_) | None => Ok(()),
    }
}

fn check_rollup(config: &StreamConfig, headers: &HeaderBlock) -> Result<Option<Rollup>, ApiError> {
    let Some(rollup) = headers.text(ROLLUP) else { return Ok(None) };
    if !config.allow_rollup_hdrs || config.deny_purge {
        return Err(error(500, 10_111, "rollup not permitted"));
    }
    match rollup {
        "sub" => Ok(Some(Rollup::Subject)),
        "all" => Ok(Some(Rollup::All)),
        other => Err(error(500, 10_111, format!("rollup value invalid: {other:?}"))),
    }
}

fn check_sizes(config: &StreamConfig, publish: &Publish, limits: &Limits) -> Result<(), ApiError> {
    let header_bytes = publish.headers.len();
    let bytes = header_bytes + publish.payload.len();
    let max = usize::try_from(config.max_msg_size).unwrap_or(usize::MAX).min(limits.message_bytes_max);
    if bytes > max {
        let why = "message size exceeds maximum allowed";
        return Err(error(400, err_code::MESSAGE_EXCEEDS_MAXIMUM, why));
    }
    if header_bytes > HEADER_BYTES_MAX {
        let why = "header size exceeds maximum allowed of 64k";
        return Err(error(400, err_code::HEADER_EXCEEDS_MAXIMUM, why));
    }
    Ok(())
}

/// With discard new: whether there is room. A message that takes the place of an older one on its subject needs none,
/// unless it is the larger of the two.
fn check_room(stream: &Stream, publish: &Publish) -> Result<(), ApiError> {
    let (config, log) = (&stream.config, &stream.log);
    if config.discard == Discard::Old {
        return Ok(());
    }
    let on_subject = log.on_subject(&publish.subject);
    let replaced = on_subject
        .filter(|seqs| reached(config.max_msgs_per_subject, seqs.len() as u64))
        .and_then(|seqs| log.get(*seqs.first()?));
    if replaced.is_some() && config.discard_new_per_subject {
        return Err(store_failed("maximum messages per subject exceeded"));
    }
    if replaced.is_none() && reached(config.max_msgs, log.len() as u64) {
        return Err(store_failed("maximum messages exceeded"));
    }
    let meta =
        meta(&publish.subject.as_str().into(), publish.headers.len(), publish.payload.len(), Wall::default());
    let bytes = log.bytes_of(&meta);
    let over = u64::try_from(config.max_bytes).is_ok_and(|max| log.bytes() + bytes > max);
    if over && replaced.is_none_or(|replaced| log.bytes_of(replaced) < bytes) {
        return Err(store_failed("maximum bytes exceeded"));
    }
    Ok(())
}

/// Whether a limit, if there is one, is reached.
fn reached(limit: i64, count: u64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| count >= limit)
}
