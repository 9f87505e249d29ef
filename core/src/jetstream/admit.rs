//! Admission: every check of a publish, in the server's order.
//!
//! The order decides what a publisher is told who repeats a message after its ack was lost. On one replica the expected
//! sequence is compared before the id is looked up, so the repetition contradicts its own first attempt: *wrong last
//! sequence*. A cluster looks the id up first: *duplicate*.

use super::Limits;
use super::api::{ApiError, Discard, StreamConfig, err_code};
use super::counter::{self, Count};
use super::directives::Directives;
use super::error::{error, out_of_resources, sealed, store_failed, wrong_last_sequence};
use super::expiry::{Ttl, parse_ttl};
use super::log::Seqs;
use super::publish::{Publish, meta};
use super::schedules;
use super::stream::Stream;
use crate::time::{Now, Wall};
use crate::wire::headers;
use crate::wire::subject::Filter;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

const HEADER_BYTES_MAX: usize = 65_535;

/// What older messages a message replaces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rollup {
    Subject,
    All,
}

/// What happens with a message that is admitted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Plan {
    pub(super) rollup: Option<Rollup>,
    pub(super) ttl: Option<Ttl>,
    pub(super) incr: Option<Count>,
    pub(super) schedule: schedules::Asked,
}

impl Plan {
    /// A schedule is alone on its subject, whether it says so or not.
    fn rollup_or(&self, asked: Option<Rollup>) -> Option<Rollup> {
        asked.or(self.schedule.is_schedule.then_some(Rollup::Subject))
    }
}

/// What becomes of a message that is not refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Admission {
    Store(Plan),
    /// Nobody is interested: it takes a sequence and no more.
    Skip(Plan),
    Duplicate {
        seq: u64,
    },
}

pub(super) fn admit(
    stream: &Stream,
    publish: &Publish,
    asked: &Directives<'_>,
    now: Now,
    limits: &Limits,
) -> Result<Admission, ApiError> {
    let config = &stream.config;
    let duplicate = || {
        let seq = stream.ids.seen(asked.msg_id?, now.wall, config.duplicate_window_ns)?;
        Some(Admission::Duplicate { seq })
    };
    let mut plan = Plan::default();
    check_sealed(config)?;
    check_sizes(config, publish, limits)?;
    plan.incr = counter::check(config.allow_msg_counter, asked, &publish.payload)?;
    check_expected_stream(config, asked)?;
    plan.ttl = check_ttl(config, asked)?;
    counter::check_missing(config.allow_msg_counter, asked)?;
    if config.num_replicas > 1 {
        if let Some(duplicate) = duplicate() {
            return Ok(duplicate);
        }
        check_expected_sequence(stream, asked)?;
        check_expected_subject_sequence(stream, &publish.subject, asked)?;
        plan.schedule = schedules::check(stream, &publish.subject, asked, now.wall)?;
        check_source(asked)?;
    } else {
        check_expected_subject_sequence(stream, &publish.subject, asked)?;
        check_expected_sequence(stream, asked)?;
        plan.schedule = schedules::check(stream, &publish.subject, asked, now.wall)?;
        check_source(asked)?;
        if let Some(duplicate) = duplicate() {
            return Ok(duplicate);
        }
    }
    check_expected_id(stream, asked)?;
    plan.rollup = plan.rollup_or(check_rollup(config, asked)?);
    check_memory(stream, asked, limits)?;
    if !stream.is_wanted(&publish.subject) {
        return Ok(Admission::Skip(plan));
    }
    check_room(stream, publish, plan.rollup, &Staged::default())?;
    Ok(Admission::Store(plan))
}

/// What of a batch will be stored before a message of it.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Staged {
    messages: u64,
    bytes: u64,
    /// How many by subject, and the body of the last.
    subjects: BTreeMap<String, (u64, Bytes)>,
    ids: BTreeSet<String>,
}

impl Staged {
    /// A message was admitted, and its body is final.
    pub(super) fn add(&mut self, stream: &Stream, publish: &Publish, asked: &Directives<'_>) {
        self.messages += 1;
        self.bytes += stored_bytes(stream, publish);
        let own = self.subjects.entry(publish.subject.clone()).or_default();
        *own = (own.0 + 1, publish.payload.clone());
        self.ids.extend(asked.msg_id.map(str::to_owned));
    }

    /// The body of the last one on a subject.
    pub(super) fn count_on(&self, subject: &str) -> Option<&Bytes> {
        self.subjects.get(subject).map(|(_, body)| body)
    }

    fn has(&self, filter: &str) -> bool {
        let matches = |filter: Filter| self.subjects.keys().any(|own| filter.matches(own));
        self.subjects.contains_key(filter) || Filter::parse(filter).is_ok_and(matches)
    }
}

/// The checks of a message of a batch, which are those of a cluster: as if those before it were stored.
pub(super) fn admit_staged(
    stream: &Stream,
    publish: &Publish,
    asked: &Directives<'_>,
    before: &Staged,
    now: Now,
    limits: &Limits,
) -> Result<Admission, ApiError> {
    let config = &stream.config;
    let conflict = || error(400, 10_164, "wrong last sequence");
    let mut plan =
        Plan { incr: counter::check(config.allow_msg_counter, asked, &publish.payload)?, ..Plan::default() };
    check_expected_stream(config, asked)?;
    plan.ttl = check_ttl(config, asked)?;
    counter::check_missing(config.allow_msg_counter, asked)?;
    if asked.expected_last_id.is_some() {
        let why = format!("atomic publish unsupported header used: {}", headers::NATS_EXPECTED_LAST_MSG_ID);
        return Err(error(400, 10_177, why));
    }
    let is_known = |id: &str| {
        before.ids.contains(id) || stream.ids.seen(id, now.wall, config.duplicate_window_ns).is_some()
    };
    if asked.msg_id.is_some_and(is_known) {
        return Err(error(400, 10_201, "atomic publish batch contains duplicate message id"));
    }
    if let Some(expected) = asked.expected_last.map(number) {
        let actual = stream.log.last_seq() + before.messages;
        if expected != actual {
            return Err(wrong_last_sequence(actual));
        }
        if before.messages > 0 {
            return Err(conflict());
        }
    }
    let about = asked.expected_subject.unwrap_or(&publish.subject);
    if asked.expected_last_on_subject.is_some() && before.has(about) {
        return Err(conflict());
    }
    check_expected_subject_sequence(stream, &publish.subject, asked)?;
    plan.schedule = schedules::check(stream, &publish.subject, asked, now.wall)?;
    check_source(asked)?;
    plan.rollup = plan.rollup_or(check_rollup(config, asked)?);
    check_memory(stream, asked, limits)?;
    if stream.log.len() as u64 + before.messages >= limits.messages_per_stream_max as u64 {
        return Err(out_of_resources());
    }
    if !stream.is_wanted(&publish.subject) {
        return Ok(Admission::Skip(plan));
    }
    check_room(stream, publish, plan.rollup, before)?;
    Ok(Admission::Store(plan))
}

/// Whether the index may grow.
pub(super) fn check_memory(stream: &Stream, asked: &Directives<'_>, limits: &Limits) -> Result<(), ApiError> {
    if stream.log.len() >= limits.messages_per_stream_max
        || (asked.msg_id.is_some() && stream.ids.len() >= limits.message_ids_per_stream_max)
    {
        return Err(out_of_resources());
    }
    Ok(())
}

/// Where a message was copied from, only the broker says.
fn check_source(asked: &Directives<'_>) -> Result<(), ApiError> {
    asked.source.map_or(Ok(()), |_| Err(error(400, 10_227, "message stream source header is not allowed")))
}

pub(super) fn check_ttl(config: &StreamConfig, asked: &Directives<'_>) -> Result<Option<Ttl>, ApiError> {
    let Some(ttl) = asked.ttl else { return Ok(None) };
    if !config.allow_msg_ttl {
        return Err(error(400, 10_166, "per-message TTL is disabled"));
    }
    parse_ttl(ttl).map(Some).ok_or_else(|| error(400, 10_165, "invalid per-message TTL"))
}

pub(super) fn check_sealed(config: &StreamConfig) -> Result<(), ApiError> {
    if config.sealed { Err(sealed()) } else { Ok(()) }
}

pub(super) fn check_expected_stream(config: &StreamConfig, asked: &Directives<'_>) -> Result<(), ApiError> {
    match asked.expected_stream {
        Some(expected) if expected != config.name => {
            Err(error(400, err_code::STREAM_NOT_MATCH, "expected stream does not match"))
        }
        Some(_) | None => Ok(()),
    }
}

/// An expected sequence; what is not a number is larger than any.
pub(super) fn number(text: &str) -> u64 {
    text.parse().unwrap_or(u64::MAX)
}

pub(super) fn check_expected_sequence(stream: &Stream, asked: &Directives<'_>) -> Result<(), ApiError> {
    let actual = stream.log.last_seq();
    match asked.expected_last.map(number) {
        Some(expected) if expected != actual => Err(wrong_last_sequence(actual)),
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_expected_subject_sequence(
    stream: &Stream,
    subject: &str,
    asked: &Directives<'_>,
) -> Result<(), ApiError> {
    let Some(expected) = asked.expected_last_on_subject.map(number) else {
        return match asked.expected_subject {
            Some(_) => Err(error(400, 10_193, "missing sequence for expected last sequence per subject")),
            None => Ok(()),
        };
    };
    let last = match asked.expected_subject {
        None => stream.log.on_subject(subject).and_then(Seqs::last),
        Some(other) => Filter::parse(other).ok().and_then(|filter| stream.log.last_matching(&filter)),
    };
    let actual = last.unwrap_or(0);
    if expected == actual { Ok(()) } else { Err(wrong_last_sequence(actual)) }
}

fn check_expected_id(stream: &Stream, asked: &Directives<'_>) -> Result<(), ApiError> {
    let actual = stream.last_msg_id.as_deref().unwrap_or_default();
    match asked.expected_last_id {
        Some(expected) if expected != actual => {
            Err(error(400, err_code::WRONG_LAST_MSG_ID, format!("wrong last msg ID: {actual}")))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) fn check_rollup(
    config: &StreamConfig,
    asked: &Directives<'_>,
) -> Result<Option<Rollup>, ApiError> {
    let Some(rollup) = asked.rollup else { return Ok(None) };
    if !config.allow_rollup_hdrs || config.deny_purge {
        return Err(error(500, 10_111, "rollup not permitted"));
    }
    match rollup.to_ascii_lowercase().as_str() {
        "sub" => Ok(Some(Rollup::Subject)),
        "all" => Ok(Some(Rollup::All)),
        other => Err(error(500, 10_111, format!("rollup value invalid: {other:?}"))),
    }
}

pub(super) fn check_sizes(config: &StreamConfig, publish: &Publish, limits: &Limits) -> Result<(), ApiError> {
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
/// unless it is the larger of the two; what rolls up its subject is never too many there.
pub(super) fn check_room(
    stream: &Stream,
    publish: &Publish,
    rollup: Option<Rollup>,
    before: &Staged,
) -> Result<(), ApiError> {
    let (config, log) = (&stream.config, &stream.log);
    if config.discard == Discard::Old {
        return Ok(());
    }
    let on_subject = log.on_subject(&publish.subject);
    let staged = before.subjects.get(&publish.subject).map_or(0, |(count, _)| *count);
    let is_full = |stored: usize| reached(config.max_msgs_per_subject, stored as u64 + staged);
    let replaced = on_subject.filter(|seqs| is_full(seqs.len())).and_then(|seqs| log.get(seqs.first()?));
    if config.discard_new_per_subject && rollup.is_none() && is_full(on_subject.map_or(0, Seqs::len)) {
        return Err(store_failed("maximum messages per subject exceeded"));
    }
    if replaced.is_none() && reached(config.max_msgs, log.len() as u64 + before.messages) {
        return Err(store_failed("maximum messages exceeded"));
    }
    let bytes = stored_bytes(stream, publish);
    let over = u64::try_from(config.max_bytes).is_ok_and(|max| log.bytes() + before.bytes + bytes > max);
    if over && replaced.is_none_or(|replaced| log.bytes_of(replaced) < bytes) {
        return Err(store_failed("maximum bytes exceeded"));
    }
    Ok(())
}

/// What a message will take.
fn stored_bytes(stream: &Stream, publish: &Publish) -> u64 {
    let Publish { subject, headers, payload, reply: _ } = publish;
    let meta = meta(&subject.as_str().into(), headers.len(), payload.len(), Wall::default());
    stream.log.bytes_of(meta.as_ref())
}

/// Whether a limit, if there is one, is reached.
fn reached(limit: i64, count: u64) -> bool {
    u64::try_from(limit).is_ok_and(|limit| count >= limit)
}
