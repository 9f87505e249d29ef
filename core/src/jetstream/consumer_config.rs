//! Consumer configurations: the server's defaults, what an update may change.

use super::Limits;
use super::api::{AckPolicy, ApiError, ConsumerConfig, PriorityPolicy, StreamConfig};
use super::error::{consumer_update, error, not_pedantic};
use super::moment;
use super::record::NAME_BYTES_MAX;
use super::stream_config::{self, is_token, own_metadata_bytes};
use crate::wire::subject::Filter;
use crate::wire::token;

mod check;

pub(crate) use check::check_moment;
pub(super) use check::sampled_percent;

const SECOND_NS: u64 = 1_000_000_000;
const ACK_WAIT_DEFAULT_NS: u64 = 30 * SECOND_NS;
const ACK_PENDING_DEFAULT: i64 = 1000;
const WAITING_DEFAULT: i64 = 512;
pub(super) const EPHEMERAL_INACTIVE_NS: u64 = 5 * SECOND_NS;
const PRIORITY_TIMEOUT_DEFAULT_NS: u64 = 120 * SECOND_NS;

/// The name a configuration gives its consumer, if it gives any.
pub(super) fn name(config: &ConsumerConfig) -> Result<Option<&str>, ApiError> {
    let named = [&config.durable_name, &config.name].into_iter().flatten();
    let Some(name) = named.map(String::as_str).find(|name| !name.is_empty()) else { return Ok(None) };
    if name.contains(['/', '\\']) {
        return Err(error(400, 10_127, "Consumer name can not contain path separators"));
    }
    if !is_token(name) {
        return Err(error(500, 10_052, r"consumer name can not contain '.', '*', '>', '\', '/'"));
    }
    if token::escaped_len(name) > NAME_BYTES_MAX {
        let why = format!("consumer name is too long, maximum allowed is {NAME_BYTES_MAX}");
        return Err(error(400, 10_102, why));
    }
    Ok(Some(name))
}

/// Fills in defaults, and checks. What remains is what the consumer will be.
pub(super) fn normalise(
    mut config: ConsumerConfig,
    stream: &StreamConfig,
    limits: &Limits,
    pedantic: bool,
) -> Result<ConsumerConfig, ApiError> {
    for text in [
        &mut config.durable_name,
        &mut config.name,
        &mut config.description,
        &mut config.sample_freq,
        &mut config.filter_subject,
        &mut config.deliver_subject,
        &mut config.deliver_group,
    ] {
        text.take_if(|text| text.is_empty());
    }
    let metadata_bytes = own_metadata_bytes(&mut config.metadata);
    if let Some(durable) = &config.durable_name
        && config.name.is_none()
    {
        config.name = Some(durable.clone());
    }
    set_defaults(&mut config, stream, limits, pedantic)?;
    check::check(&config, metadata_bytes, stream, limits)?;
    if config.durable_name.is_none() && config.inactive_threshold_ns == 0 {
        config.inactive_threshold_ns = EPHEMERAL_INACTIVE_NS;
    }
    config.opt_start_time = config.opt_start_time.map(|at| moment::normalise(&at));
    config.pause_until = config.pause_until.map(|at| moment::normalise(&at));
    Ok(config)
}

/// With `pedantic`, what the server would change on its own is refused.
fn set_defaults(
    config: &mut ConsumerConfig,
    stream: &StreamConfig,
    server: &Limits,
    pedantic: bool,
) -> Result<(), ApiError> {
    let refuse =
        |is_wrong: bool, why: &str| if pedantic && is_wrong { Err(not_pedantic(why)) } else { Ok(()) };
    refuse(config.max_deliver < -1, "max_deliver must be set to -1")?;
    if config.max_deliver == 0 || config.max_deliver < -1 {
        config.max_deliver = -1;
    }
    refuse(config.max_waiting < 0, "max_waiting must not be negative")?;
    config.max_waiting = config.max_waiting.max(0);
    refuse(config.max_ack_pending < -1, "max_ack_pending must be set to -1")?;
    config.max_ack_pending = config.max_ack_pending.max(-1);
    refuse(config.max_batch < 0, "max_batch must not be negative")?;
    config.max_batch = config.max_batch.max(0);
    refuse(config.max_bytes < 0, "max_bytes must not be negative")?;
    config.max_bytes = config.max_bytes.max(0);
    if let Some(max) = server.request_batch_max
        && config.deliver_subject.is_none()
        && config.max_batch == 0
    {
        refuse(true, "max_request_batch must be set if it's JetStream limits are set")?;
        config.max_batch = i64::try_from(max).unwrap_or(i64::MAX);
    }
    if config.deliver_subject.is_none() && config.max_waiting == 0 {
        config.max_waiting = WAITING_DEFAULT;
    }
    if config.ack_wait_ns == 0 && config.ack_policy != AckPolicy::None {
        config.ack_wait_ns = ACK_WAIT_DEFAULT_NS;
    }
    if let Some(first_ns) = config.backoff_ns.first().copied() {
        refuse(config.ack_wait_ns != first_ns, "first backoff value has to equal batch AckWait")?;
        config.ack_wait_ns = first_ns;
    }
    let limits = &stream.consumer_limits;
    if config.max_ack_pending == 0 {
        let why = "max_ack_pending must be set if it's configured in stream limits";
        refuse(limits.max_ack_pending > 0, why)?;
        config.max_ack_pending = limits.max_ack_pending;
    }
    if config.inactive_threshold_ns == 0 {
        let why = "inactive_threshold must be set if it's configured in stream limits";
        refuse(limits.inactive_threshold_ns > 0, why)?;
        config.inactive_threshold_ns = limits.inactive_threshold_ns;
    }
    if config.max_ack_pending == 0 && config.ack_policy != AckPolicy::None {
        config.max_ack_pending = ACK_PENDING_DEFAULT;
    }
    if config.priority_policy == PriorityPolicy::PinnedClient && config.priority_timeout_ns == 0 {
        config.priority_timeout_ns = PRIORITY_TIMEOUT_DEFAULT_NS;
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

/// Whether an update may turn the one normalised configuration into the other. A consumer is bound when somebody listens
/// where it delivers.
pub(super) fn check_update(
    own: &ConsumerConfig,
    config: &ConsumerConfig,
    is_bound: bool,
) -> Result<(), ApiError> {
    let fixed = [
        (own.deliver_policy == config.deliver_policy, "deliver policy"),
        (own.mem_storage == config.mem_storage, "storage type"),
        (own.opt_start_seq == config.opt_start_seq, "start sequence"),
        (moments(own) == moments(config), "start time"),
        (own.ack_policy == config.ack_policy, "ack policy"),
        (own.replay_policy == config.replay_policy, "replay policy"),
        (own.idle_heartbeat_ns == config.idle_heartbeat_ns, "heart beats"),
        (own.flow_control == config.flow_control, "flow control"),
    ];
    if let Some((_, field)) = fixed.into_iter().find(|(same, _)| !same) {
        return Err(consumer_update(&format!("{field} can not be updated")));
    }
    match (&own.deliver_subject, &config.deliver_subject) {
        (None, Some(_)) => return Err(consumer_update("can not update pull consumer to push based")),
        (Some(_), None) => return Err(consumer_update("can not update push consumer to pull based")),
        (Some(from), Some(to)) if from != to && is_bound => {
            return Err(error(400, 10_013, "consumer name already in use"));
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
    if own.max_waiting != config.max_waiting {
        return Err(consumer_update("max waiting can not be updated"));
    }
    Ok(())
}

fn moments(config: &ConsumerConfig) -> Option<crate::time::Wall> {
    config.opt_start_time.as_deref().and_then(moment::parse)
}
