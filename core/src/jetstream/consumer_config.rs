//! Consumer configurations: the server's defaults, what it refuses, what an update may change.

use super::api::{AckPolicy, ApiError, ConsumerConfig, DeliverPolicy, ReplayPolicy};
use super::error::{consumer_unsupported, consumer_update, error};
use super::record::NAME_BYTES_MAX;
use super::stream_config::{self, DESCRIPTION_BYTES_MAX, METADATA_BYTES_MAX, is_token, own_metadata_bytes};
use crate::wire::subject::Filter;
use crate::wire::token;

const SECOND_NS: u64 = 1_000_000_000;
const ACK_WAIT_DEFAULT_NS: u64 = 30 * SECOND_NS;
const ACK_PENDING_DEFAULT: i64 = 1000;
const WAITING_DEFAULT: i64 = 512;
const EPHEMERAL_INACTIVE_NS: u64 = 5 * SECOND_NS;
const EXPIRES_MIN_NS: u64 = 1_000_000;

/// The name a configuration gives its consumer. Names for consumers that have none are made by the adapter: the core
/// has no randomness.
pub(super) fn name(config: &ConsumerConfig) -> Result<&str, ApiError> {
    let named = [&config.durable_name, &config.name].into_iter().flatten();
    let name = named.map(String::as_str).find(|name| !name.is_empty()).unwrap_or_default();
    if name.contains(['/', '\\']) {
        return Err(error(400, 10_127, "Consumer name can not contain path separators"));
    }
    if !is_token(name) {
        return Err(error(500, 10_052, r"consumer name can not contain '.', '*', '>', '\', '/'"));
    }
    if token::escaped_len(name) > NAME_BYTES_MAX {
        return Err(error(
            400,
            10_102,
            format!("consumer name is too long, maximum allowed is {NAME_BYTES_MAX}"),
        ));
    }
    Ok(name)
}

/// Fills in defaults, and checks. What remains is what the consumer will be.
pub(super) fn normalise(mut config: ConsumerConfig) -> Result<ConsumerConfig, ApiError> {
    config.name = Some(name(&config)?.to_owned());
    config.durable_name = config.durable_name.filter(|name| !name.is_empty());
    if config.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX) {
        let why = format!("consumer description is too long, maximum allowed is {DESCRIPTION_BYTES_MAX}");
        return Err(error(400, 10_107, why));
    }
    if own_metadata_bytes(&mut config.metadata) > METADATA_BYTES_MAX {
        return Err(error(400, 10_135, "consumer metadata exceeds maximum size of 128KB"));
    }
    check_filters(&mut config)?;
    check_start(&config)?;
    check_supported(&config)?;
    if config.max_deliver <= 0 {
        config.max_deliver = -1;
    }
    if let Some(first_ns) = config.backoff_ns.first() {
        if config.max_deliver > 0 && config.backoff_ns.len() as u64 > config.max_deliver.unsigned_abs() {
            return Err(error(400, 10_116, "max deliver is required to be > length of backoff values"));
        }
        config.ack_wait_ns = *first_ns;
    }
    if config.max_expires_ns != 0 && config.max_expires_ns < EXPIRES_MIN_NS {
        return Err(error(400, 10_115, "consumer max request expires needs to be >= 1ms"));
    }
    config.max_batch = config.max_batch.max(0);
    config.max_bytes = config.max_bytes.max(0);
    if config.max_waiting <= 0 {
        config.max_waiting = WAITING_DEFAULT;
    }
    if config.ack_policy != AckPolicy::None {
        if config.ack_wait_ns == 0 {
            config.ack_wait_ns = ACK_WAIT_DEFAULT_NS;
        }
        if config.max_ack_pending == 0 {
            config.max_ack_pending = ACK_PENDING_DEFAULT;
        }
    }
    config.max_ack_pending = config.max_ack_pending.max(-1);
    if config.durable_name.is_none() && config.inactive_threshold_ns == 0 {
        config.inactive_threshold_ns = EPHEMERAL_INACTIVE_NS;
    }
    Ok(config)
}

fn check_filters(config: &mut ConsumerConfig) -> Result<(), ApiError> {
    config.filter_subject = config.filter_subject.take().filter(|filter| !filter.is_empty());
    if config.filter_subject.is_some() && !config.filter_subjects.is_empty() {
        let why = "consumer cannot have both FilterSubject and FilterSubjects specified";
        return Err(error(400, 10_136, why));
    }
    if config.filter_subjects.iter().any(String::is_empty) {
        return Err(error(400, 10_139, "consumer filter in FilterSubjects cannot be empty"));
    }
    let filters = filters(config)?;
    let overlap = filters
        .iter()
        .enumerate()
        .any(|(place, filter)| filters[..place].iter().any(|other| other.overlaps(filter)));
    if overlap {
        return Err(error(400, 10_138, "consumer subject filters cannot overlap"));
    }
    Ok(())
}

/// The filters of a consumer; none when it has everything.
pub(super) fn filters(config: &ConsumerConfig) -> Result<Vec<Filter>, ApiError> {
    match &config.filter_subject {
        Some(filter) => stream_config::parse(std::slice::from_ref(filter)),
        None => stream_config::parse(&config.filter_subjects),
    }
}

fn check_start(config: &ConsumerConfig) -> Result<(), ApiError> {
    let refused = |policy: &str, why: &str| {
        Err(error(400, 10_094, format!("consumer delivery policy is deliver {policy}, but optional {why}")))
    };
    let seq = config.opt_start_seq.is_some_and(|seq| seq != 0);
    const SEQ_SET: &str = "start sequence is also set";
    match config.deliver_policy {
        DeliverPolicy::All if seq => refused("all", SEQ_SET),
        DeliverPolicy::Last if seq => refused("last", SEQ_SET),
        DeliverPolicy::New if seq => refused("new", SEQ_SET),
        DeliverPolicy::LastPerSubject if seq => refused("last per subject", SEQ_SET),
        DeliverPolicy::LastPerSubject
            if config.filter_subject.is_none() && config.filter_subjects.is_empty() =>
        {
            refused("last per subject", "filter subject is not set")
        }
        DeliverPolicy::ByStartSequence if !seq => refused("by start sequence", "start sequence is not set"),
        DeliverPolicy::All
        | DeliverPolicy::Last
        | DeliverPolicy::New
        | DeliverPolicy::LastPerSubject
        | DeliverPolicy::ByStartSequence
        | DeliverPolicy::ByStartTime => Ok(()),
    }
}

fn check_supported(config: &ConsumerConfig) -> Result<(), ApiError> {
    match config.ack_policy {
        AckPolicy::Explicit | AckPolicy::None => {}
        AckPolicy::All => return Err(consumer_unsupported("ack policy all")),
    }
    match config.deliver_policy {
        DeliverPolicy::All
        | DeliverPolicy::Last
        | DeliverPolicy::New
        | DeliverPolicy::LastPerSubject
        | DeliverPolicy::ByStartSequence => {}
        DeliverPolicy::ByStartTime => return Err(consumer_unsupported("deliver policy by start time")),
    }
    match config.replay_policy {
        ReplayPolicy::Instant => Ok(()),
        ReplayPolicy::Original => Err(consumer_unsupported("replay policy original")),
    }
}

/// Whether an update may turn the one normalised configuration into the other.
pub(super) fn check_update(own: &ConsumerConfig, config: &ConsumerConfig) -> Result<(), ApiError> {
    let fixed = [
        (own.deliver_policy == config.deliver_policy, "deliver policy"),
        (own.opt_start_seq == config.opt_start_seq, "start sequence"),
        (own.ack_policy == config.ack_policy, "ack policy"),
        (own.replay_policy == config.replay_policy, "replay policy"),
        (own.max_waiting == config.max_waiting, "max waiting"),
    ];
    match fixed.into_iter().find(|(same, _)| !same) {
        Some((_, field)) => Err(consumer_update(field)),
        None => Ok(()),
    }
}
