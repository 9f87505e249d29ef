//! Stream configurations: the server's defaults, what it refuses, what an update may change.

use super::api::{
    ApiError, Discard, PersistMode, Placement, Retention, Storage, StreamConfig, StreamSource,
    SubjectTransform,
};
use super::error::{error, not_pedantic, stream_config as refused};
use super::record::NAME_BYTES_MAX;
use super::transform::Transform;
use crate::wire::subject::Filter;
use crate::wire::token;
use std::collections::BTreeMap;

mod origins;

const MS_NS: u64 = 1_000_000;
const DUPLICATE_WINDOW_DEFAULT_NS: u64 = 120_000 * MS_NS;
/// Shortest age and shortest duplicate window.
const SPAN_MIN_NS: u64 = 100 * MS_NS;
/// Longest description of a stream or a consumer.
pub(super) const DESCRIPTION_BYTES_MAX: usize = 4 << 10;
/// Most metadata of a stream or a consumer, keys and values.
pub(super) const METADATA_BYTES_MAX: usize = 128 << 10;
const REPLICAS_MAX: u8 = 5;
/// Shortest life of a delete marker.
const MARKER_TTL_MIN_NS: u64 = 1_000 * MS_NS;
/// What the server adds to metadata and ignores when it compares.
const SERVER_METADATA: &str = "_nats.";

/// The other streams, as far as a configuration may look at them.
pub(super) type Known<'s> = dyn Fn(&str) -> Option<&'s StreamConfig> + 's;

/// Fills in defaults, and checks. What remains is what the stream will be. With `pedantic`, what was asked for and cannot
/// be had is refused instead of put right.
pub(super) fn normalise(
    mut config: StreamConfig,
    pedantic: bool,
    known: &Known<'_>,
) -> Result<StreamConfig, ApiError> {
    if config.mirror_direct && config.mirror.is_none() {
        return Err(refused("stream has no mirror but does have mirror direct"));
    }
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
    for (name, limit) in [
        ("max_msgs", &mut config.max_msgs),
        ("max_msgs_per_subject", &mut config.max_msgs_per_subject),
        ("max_bytes", &mut config.max_bytes),
        ("max_msg_size", &mut config.max_msg_size),
        ("max_consumers", &mut config.max_consumers),
    ] {
        if pedantic && *limit < -1 {
            return Err(not_pedantic(&format!("{name} must be set to -1")));
        }
        if *limit <= 0 {
            *limit = -1;
        }
    }
    check_spans(&mut config, pedantic)?;
    if config.allow_rollup_hdrs && config.deny_purge {
        return Err(refused("roll-ups require the purge permission"));
    }
    check_counter(&config)?;
    check_discard_new(&config)?;
    check_roll_up_features(&mut config, pedantic)?;
    check_persist_mode(&config)?;
    origins::check(&mut config, pedantic, known)?;
    if config.subjects.is_empty() && config.mirror.is_none() && config.sources.is_empty() {
        config.subjects = vec![config.name.clone()];
    }
    check_subjects(&config)?;
    check_transforms(&mut config, pedantic)?;
    config.placement = config.placement.filter(|placement| *placement != Placement::default());
    if config.placement.as_ref().is_some_and(|placement| !placement.preferred.is_empty()) {
        return Err(refused("preferred server not permitted in placement"));
    }
    check_supported(&config)?;
    Ok(config)
}

/// What this broker does not do, it says.
fn check_supported(config: &StreamConfig) -> Result<(), ApiError> {
    let external = |source: &StreamSource| source.external.is_some();
    let through_consumer = |source: &StreamSource| source.consumer.is_some();
    let origins = || config.mirror.iter().chain(&config.sources);
    for (is_asked_for, what) in [
        (config.allow_batched, "batch publishing"),
        (config.allow_msg_counter && !config.sources.is_empty(), "counting messages of other streams"),
        (origins().any(external), "an external origin"),
        (origins().any(through_consumer), "reading an origin through a consumer"),
    ] {
        if is_asked_for {
            return Err(refused(format!("{what} is not supported by this broker")));
        }
    }
    Ok(())
}

fn check_counter(config: &StreamConfig) -> Result<(), ApiError> {
    if !config.allow_msg_counter {
        return Ok(());
    }
    let why = if config.discard == Discard::New {
        "counter stream cannot use discard new"
    } else if config.allow_msg_ttl {
        "counter stream cannot use message TTLs"
    } else if config.allow_msg_schedules {
        "counter stream cannot use message schedules"
    } else if config.retention != Retention::Limits {
        "counter stream can only use limits retention"
    } else {
        return Ok(());
    };
    Err(refused(why))
}

fn check_discard_new(config: &StreamConfig) -> Result<(), ApiError> {
    if config.discard_new_per_subject {
        if config.discard != Discard::New {
            return Err(refused("discard new per subject requires discard new policy to be set"));
        }
        if config.max_msgs_per_subject <= 0 {
            return Err(refused("discard new per subject requires max msgs per subject > 0"));
        }
    }
    Ok(())
}

/// Delete markers and schedules replace older messages: they bring what they need.
fn check_roll_up_features(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if config.subject_delete_marker_ttl_ns > 0 {
        if config.subject_delete_marker_ttl_ns < MARKER_TTL_MIN_NS {
            return Err(refused("subject delete marker TTL must be at least 1 second"));
        }
        if pedantic && !config.allow_msg_ttl {
            return Err(refused("subject delete marker cannot be set if message TTLs are disabled"));
        }
        if pedantic && !config.allow_rollup_hdrs {
            return Err(refused("subject delete marker cannot be set if roll-ups are disabled"));
        }
        config.allow_msg_ttl = true;
        allow_rollup(config);
    }
    if config.allow_msg_schedules {
        if config.discard == Discard::New {
            return Err(refused("message scheduling cannot use discard new"));
        }
        if pedantic && !config.allow_rollup_hdrs {
            return Err(refused("message scheduling cannot be set if roll-ups are disabled"));
        }
        allow_rollup(config);
    }
    Ok(())
}

fn allow_rollup(config: &mut StreamConfig) {
    if !config.allow_rollup_hdrs {
        (config.allow_rollup_hdrs, config.deny_purge) = (true, false);
    }
}

/// Asynchronous persistence promises less than this broker gives: it is recorded, and nothing is lost by it.
fn check_persist_mode(config: &StreamConfig) -> Result<(), ApiError> {
    if config.persist_mode == PersistMode::Default {
        return Ok(());
    }
    let why = if config.storage != Storage::File {
        "async persist mode is only supported on file storage"
    } else if config.num_replicas > 1 {
        "async persist mode is not supported on replicated streams"
    } else if config.allow_atomic {
        "async persist mode is not supported with atomic batch publish"
    } else {
        return Ok(());
    };
    Err(refused(why))
}

fn check_transforms(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    if let Some(SubjectTransform { src, dest }) = &config.subject_transform {
        if !src.is_empty() && Filter::parse(src).is_err() {
            let why = format!("stream transform source: invalid subject {src}");
            return Err(error(400, 10_155, why));
        }
        Transform::parse(src, dest).map_err(|why| error(400, 10_156, format!("stream transform: {why}")))?;
    }
    let Some(republish) = &mut config.republish else { return Ok(()) };
    if republish.src.is_empty() {
        if pedantic {
            return Err(not_pedantic("republish source can not be empty"));
        }
        republish.src = ">".into();
    }
    if republish.dest == ">"
        && republish.src == ">"
        && let Some(transform) = &config.subject_transform
        && config.subjects == [transform.src.as_str()]
    {
        if pedantic {
            return Err(not_pedantic("implicit republish based on subject transform"));
        }
        republish.src.clone_from(&transform.dest);
        republish.dest.clone_from(&transform.dest);
    }
    let dest = Filter::parse(&republish.dest);
    if dest
        .is_ok_and(|dest| parse(&config.subjects).is_ok_and(|own| own.iter().any(|own| own.overlaps(&dest))))
    {
        return Err(refused("stream configuration for republish destination forms a cycle"));
    }
    if Transform::parse(&republish.src, &republish.dest).is_err() {
        return Err(refused(format!(
            "stream configuration for republish with transform from '{}' to '{}' not valid",
            republish.src, republish.dest
        )));
    }
    Ok(())
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

fn check_spans(config: &mut StreamConfig, pedantic: bool) -> Result<(), ApiError> {
    let (age_ns, is_copy) = (config.max_age_ns, config.mirror.is_some() || !config.sources.is_empty());
    if age_ns != 0 && age_ns < SPAN_MIN_NS {
        return Err(refused("max age needs to be >= 100ms"));
    }
    if config.duplicate_window_ns == 0 && !is_copy {
        let is_short = age_ns != 0 && age_ns < DUPLICATE_WINDOW_DEFAULT_NS;
        if pedantic && is_short {
            return Err(not_pedantic("duplicate window cannot be bigger than max age"));
        }
        config.duplicate_window_ns = if is_short { age_ns } else { DUPLICATE_WINDOW_DEFAULT_NS };
    }
    if age_ns != 0 && config.duplicate_window_ns > age_ns {
        return Err(refused("duplicates window can not be larger then max age"));
    }
    if config.duplicate_window_ns != 0 && config.duplicate_window_ns < SPAN_MIN_NS {
        return Err(refused("duplicates window needs to be >= 100ms"));
    }
    Ok(())
}

/// Spaces that are the server's own, those within them that streams may capture, and how the server calls them.
const RESERVED: [(&str, &str, &str); 4] = [
    ("$JS.>", "$JS.EVENT.>", "jetstream"),
    ("$JSC.>", "$JS.EVENT.>", "jetstream"),
    ("$NRG.>", "$JS.EVENT.>", "jetstream"),
    ("$SYS.>", "$SYS.ACCOUNT.>", "system"),
];

fn check_subjects(config: &StreamConfig) -> Result<(), ApiError> {
    for (place, subject) in config.subjects.iter().enumerate() {
        let filter = Filter::parse(subject).map_err(|_| refused("invalid subject"))?;
        if subject == ">" {
            if !config.no_ack {
                return Err(refused("capturing all subjects requires no-ack to be true"));
            }
            if config.num_replicas != 1 {
                return Err(refused("capturing all subjects requires replicas of 1"));
            }
        }
        let covers = |space: &str| Filter::parse(space).is_ok_and(|space| space.covers(&filter));
        let overlaps = |space: &str| Filter::parse(space).is_ok_and(|space| space.overlaps(&filter));
        for (space, open, name) in RESERVED {
            if !config.no_ack && overlaps(space) && !covers(open) {
                let why = format!("subjects that overlap with {name} api require no-ack to be true");
                return Err(refused(why));
            }
        }
        let later = config.subjects[place + 1..].iter();
        if let Some(other) = later.into_iter().find(|other| overlaps(other)) {
            return Err(refused(format!("subject \"{filter}\" overlaps with \"{other}\"")));
        }
    }
    Ok(())
}

/// The filters of a stream or a consumer.
pub(super) fn parse(subjects: &[String]) -> Result<Vec<Filter>, ApiError> {
    subjects.iter().map(|subject| Filter::parse(subject).map_err(|_| refused("invalid subject"))).collect()
}

/// Whether a configuration may be that of a new stream.
pub(super) fn check_create(config: &StreamConfig) -> Result<(), ApiError> {
    if config.sealed {
        return Err(refused("stream configuration for create can not be sealed"));
    }
    Ok(())
}

/// Whether a broker of so many servers can keep it.
pub(super) fn check_replicas(config: &StreamConfig, max: u8) -> Result<(), ApiError> {
    if config.num_replicas > max {
        return Err(error(500, 10_074, "replicas > 1 not supported in non-clustered mode"));
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
    if config.mirror.is_some() && config.mirror != own.mirror {
        return Err(error(400, 10_055, "stream mirror configuration can not be updated"));
    }
    if own.allow_msg_ttl && !config.allow_msg_ttl {
        return Err(refused("message TTL status can not be disabled"));
    }
    if own.allow_msg_counter != config.allow_msg_counter {
        return refuse("change message counter setting");
    }
    if own.allow_msg_schedules && !config.allow_msg_schedules {
        return Err(refused("message schedules can not be disabled"));
    }
    if own.persist_mode != config.persist_mode {
        return refuse("change persist mode");
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
