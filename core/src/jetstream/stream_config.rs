//! Stream configurations: the server's defaults, what it refuses, what an update may change.

use super::api::{ApiError, Discard, Retention, StreamConfig};
use super::error::{error, stream_config as refused};
use super::record::NAME_BYTES_MAX;
use crate::wire::subject::Filter;
use crate::wire::token;
use std::collections::BTreeMap;

const MS_NS: u64 = 1_000_000;
const DUPLICATE_WINDOW_DEFAULT_NS: u64 = 120_000 * MS_NS;
/// Shortest age and shortest duplicate window.
const SPAN_MIN_NS: u64 = 100 * MS_NS;
/// Longest description of a stream or a consumer.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4 << 10;
/// Most metadata of a stream or a consumer, keys and values.
pub(super) const METADATA_BYTES_MAX: usize = 128 << 10;
const REPLICAS_MAX: u8 = 5;
/// What the server adds to metadata and ignores when it compares.
const SERVER_METADATA: &str = "_nats.";

/// Fills in defaults, and checks. What remains is what the stream will be.
pub(super) fn normalise(mut config: StreamConfig) -> Result<StreamConfig, ApiError> {
    check_name(&config.name)?;
    if config.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX) {
        let why = format!("stream description is too long, maximum allowed is {DESCRIPTION_BYTES_MAX}");
        return Err(refused(why));
    }
    if own_metadata_bytes(&mut config.metadata) > METADATA_BYTES_MAX {
        return Err(refused(format!("stream metadata exceeds maximum size of {METADATA_BYTES_MAX} bytes")));
    }
    config.num_replicas = config.num_replicas.max(1);
    if config.num_replicas > REPLICAS_MAX {
        return Err(refused(format!("maximum replicas is {REPLICAS_MAX}")));
    }
    for limit in [
        &mut config.max_consumers,
        &mut config.max_msgs,
        &mut config.max_bytes,
        &mut config.max_msgs_per_subject,
        &mut config.max_msg_size,
    ] {
        if *limit <= 0 {
            *limit = -1;
        }
    }
    if config.subjects.is_empty() {
        config.subjects = vec![config.name.clone()];
    }
    check_subjects(&config.subjects)?;
    check_spans(&mut config)?;
    if config.discard_new_per_subject {
        if config.discard != Discard::New {
            return Err(refused("discard new per subject requires discard new policy to be set"));
        }
        if config.max_msgs_per_subject < 0 {
            return Err(refused("discard new per subject requires max msgs per subject > 0"));
        }
    }
    if config.allow_rollup_hdrs && config.deny_purge {
        return Err(refused("roll-ups require the purge permission"));
    }
    Ok(config)
}

/// Removes what the server added; what remains is this long.
pub(super) fn own_metadata_bytes(metadata: &mut BTreeMap<String, String>) -> usize {
    metadata.retain(|key, _| !key.starts_with(SERVER_METADATA));
    metadata.iter().map(|(key, value)| key.len() + value.len()).sum()
}

/// Whether it can be one token of a subject.
pub(super) fn is_token(name: &str) -> bool {
    let is_foreign = |c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control();
    !name.is_empty() && !name.contains(is_foreign)
}

fn check_name(name: &str) -> Result<(), ApiError> {
    if name.contains(['/', '\\']) {
        return Err(error(400, 10_128, "Stream name can not contain path separators"));
    }
    if !is_token(name) {
        return Err(refused(r"stream name is required and can not contain '.', '*', '>', '\', '/'"));
    }
    if token::escaped_len(name) > NAME_BYTES_MAX {
        return Err(refused(format!("stream name is too long, maximum allowed is {NAME_BYTES_MAX}")));
    }
    Ok(())
}

fn check_spans(config: &mut StreamConfig) -> Result<(), ApiError> {
    if config.max_age_ns != 0 && config.max_age_ns < SPAN_MIN_NS {
        return Err(refused("max age needs to be >= 100ms"));
    }
    if config.duplicate_window_ns == 0 {
        let age_ns = if config.max_age_ns == 0 { u64::MAX } else { config.max_age_ns };
        config.duplicate_window_ns = DUPLICATE_WINDOW_DEFAULT_NS.min(age_ns);
    }
    if config.max_age_ns != 0 && config.duplicate_window_ns > config.max_age_ns {
        return Err(refused("duplicates window can not be larger then max age"));
    }
    if config.duplicate_window_ns < SPAN_MIN_NS {
        return Err(refused("duplicates window needs to be >= 100ms"));
    }
    Ok(())
}

fn check_subjects(subjects: &[String]) -> Result<(), ApiError> {
    let filters = parse(subjects)?;
    for (place, filter) in filters.iter().enumerate() {
        if filter.as_str() == ">" {
            return Err(refused("capturing all subjects requires no-ack to be true"));
        }
        for (space, name) in [("$JS.>", "jetstream"), ("$SYS.>", "system")] {
            if Filter::parse(space).is_ok_and(|space| space.overlaps(filter)) {
                return Err(refused(format!(
                    "subjects that overlap with {name} api require no-ack to be true"
                )));
            }
        }
        if let Some(other) = filters[..place].iter().find(|other| other.overlaps(filter)) {
            return Err(refused(format!("subject \"{other}\" overlaps with \"{filter}\"")));
        }
    }
    Ok(())
}

/// The filters of a stream or a consumer.
pub(super) fn parse(subjects: &[String]) -> Result<Vec<Filter>, ApiError> {
    subjects.iter().map(|subject| Filter::parse(subject).map_err(|_| refused("invalid subject"))).collect()
}

/// Whether a normalised configuration may be that of a new stream.
pub(super) fn check_create(config: &StreamConfig) -> Result<(), ApiError> {
    if config.sealed {
        return Err(refused("stream configuration for create can not be sealed"));
    }
    Ok(())
}

/// What the stream will be after an update with a normalised configuration.
pub(super) fn update(own: &StreamConfig, mut config: StreamConfig) -> Result<StreamConfig, ApiError> {
    let refuse = |what| Err(refused(format!("stream configuration update can not {what}")));
    if own.storage != config.storage {
        return refuse("change storage type");
    }
    let is_queue = |config: &StreamConfig| config.retention == Retention::Workqueue;
    if is_queue(own) != is_queue(&config) {
        return refuse("change retention policy to/from workqueue");
    }
    if own.sealed && !config.sealed {
        return refuse("unseal a sealed stream");
    }
    if own.deny_delete && !config.deny_delete {
        return refuse("cancel deny message deletes");
    }
    if own.deny_purge && !config.deny_purge {
        return refuse("cancel deny purge");
    }
    if config.sealed {
        config.deny_delete = true;
        config.deny_purge = true;
        config.discard = Discard::New;
        config.allow_rollup_hdrs = false;
        config.max_age_ns = 0;
    }
    Ok(config)
}
