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
use super::stream::Stream;
use crate::time::{Now, Wall};
use crate::wire::subject::Filter;

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
    check_batch(asked)?;
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
        check_schedule(asked)?;
        check_source(asked)?;
    } else {
        check_expected_subject_sequence(stream, &publish.subject, asked)?;
        check_expected_sequence(stream, asked)?;
        check_schedule(asked)?;
        check_source(asked)?;
        if let Some(duplicate) = duplicate() {
            return Ok(duplicate);
        }
    }
    check_expected_id(stream, asked)?;
    plan.rollup = check_rollup(config, asked)?;
    check_memory(stream, asked, limits)?;
    if !stream.is_wanted(&publish.subject) {
        return Ok(Admission::Skip(plan));
    }
    check_room(stream, publish)?;
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

/// A batch that comes as far as this is one for a stream that takes none.
fn check_batch(asked: &Directives<'_>) -> Result<(), ApiError> {
    asked.batch.map_or(Ok(()), |_| Err(error(400, 10_174, "atomic publish is disabled")))
}

fn check_schedule(asked: &Directives<'_>) -> Result<(), ApiError> {
    asked.schedule.map_or(Ok(()), |_| Err(error(400, 10_188, "message schedules is disabled")))
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
    match rollup {
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
/// unless it is the larger of the two.
pub(super) fn check_room(stream: &Stream, publish: &Publish) -> Result<(), ApiError> {
    let (config, log) = (&stream.config, &stream.log);
    if config.discard == Discard::Old {
        return Ok(());
    }
    let on_subject = log.on_subject(&publish.subject);
    let replaced = on_subject
        .filter(|seqs| reached(config.max_msgs_per_subject, seqs.len() as u64))
        .and_then(|seqs| log.get(seqs.first()?));
    if replaced.is_some() && config.discard_new_per_subject {
        return Err(store_failed("maximum messages per subject exceeded"));
    }
    if replaced.is_none() && reached(config.max_msgs, log.len() as u64) {
        return Err(store_failed("maximum messages exceeded"));
    }
    let meta =
        meta(&publish.subject.as_str().into(), publish.headers.len(), publish.payload.len(), Wall::default());
    let bytes = log.bytes_of(meta.as_ref());
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
