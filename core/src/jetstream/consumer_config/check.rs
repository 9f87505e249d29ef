//! What the server refuses, in the order in which it looks.

use super::super::Limits;
use super::super::api::{
    AckPolicy, ApiError, ConsumerConfig, DeliverPolicy, PriorityPolicy, Retention, StreamConfig,
};
use super::super::error::error;
use super::super::log::is_literal;
use super::super::stream_config::{DESCRIPTION_BYTES_MAX, METADATA_BYTES_MAX};
use super::super::{duration, moment};
use super::filters;
use crate::wire::subject::Filter;

const MS_NS: u64 = 1_000_000;
const HEARTBEAT_MIN_NS: u64 = 100 * MS_NS;
const EXPIRES_MIN_NS: u64 = MS_NS;
const GROUP_NAME_MAX: usize = 16;

type Checked = Result<(), ApiError>;

/// Whether a configuration with its defaults filled in may be one of a consumer of this stream.
pub(super) fn check(
    config: &ConsumerConfig,
    metadata_bytes: usize,
    stream: &StreamConfig,
    server: &Limits,
) -> Checked {
    if config.num_replicas > stream.num_replicas {
        return Err(error(400, 10_126, "consumer config replica count exceeds parent stream"));
    }
    let must_match = stream.retention != Retention::Limits && config.num_replicas != 0;
    if must_match && config.num_replicas != stream.num_replicas {
        let why = "consumer config replicas must match interest retention stream's replicas";
        return Err(error(400, 10_134, why));
    }
    if !config.backoff_ns.is_empty()
        && u64::try_from(config.max_deliver).is_ok_and(|max| (config.backoff_ns.len() as u64) > max)
    {
        return Err(error(400, 10_116, "max deliver is required to be > length of backoff values"));
    }
    if config.description.as_ref().is_some_and(|text| text.len() > DESCRIPTION_BYTES_MAX) {
        let why = format!("consumer description is too long, maximum allowed is {DESCRIPTION_BYTES_MAX}");
        return Err(error(400, 10_107, why));
    }
    match &config.deliver_subject {
        Some(subject) => check_push(config, subject, stream)?,
        None => check_pull(config, stream, server)?,
    }
    let limits = &stream.consumer_limits;
    if limits.max_ack_pending > 0 && config.max_ack_pending > limits.max_ack_pending {
        let why = format!("consumer max ack pending exceeds system limit of {}", limits.max_ack_pending);
        return Err(error(400, 10_121, why));
    }
    if limits.inactive_threshold_ns > 0 && config.inactive_threshold_ns > limits.inactive_threshold_ns {
        let limit = duration::format_ns(limits.inactive_threshold_ns);
        let why = format!("consumer inactive threshold exceeds system limit of {limit}");
        return Err(error(400, 10_153, why));
    }
    check_filters(config)?;
    check_start(config)?;
    if let Some(frequency) = &config.sample_freq {
        check_sampling(frequency)?;
    }
    if config.flow_control && config.idle_heartbeat_ns == 0 {
        return Err(error(400, 10_108, "consumer with flow control also needs heartbeats"));
    }
    if let (Some(durable), Some(name)) = (&config.durable_name, &config.name)
        && durable != name
    {
        let why = "Consumer Durable and Name have to be equal if both are provided";
        return Err(error(400, 10_132, why));
    }
    if metadata_bytes > METADATA_BYTES_MAX {
        return Err(error(400, 10_135, "consumer metadata exceeds maximum size of 128KB"));
    }
    check_groups(config)
}

fn check_push(config: &ConsumerConfig, subject: &str, stream: &StreamConfig) -> Checked {
    let parsed = Filter::parse(subject).ok();
    if subject.split('.').any(|token| token == "*" || token == ">") {
        return Err(error(400, 10_079, "consumer deliver subject has wildcards"));
    }
    let Some(parsed) = parsed.filter(is_literal) else {
        return Err(error(400, 10_112, "invalid push consumer deliver subject"));
    };
    let captures = |own: &String| Filter::parse(own).is_ok_and(|own| own.matches(parsed.as_str()));
    if stream.subjects.iter().any(captures) {
        return Err(error(400, 10_081, "consumer deliver subject forms a cycle"));
    }
    if config.max_waiting != 0 {
        return Err(error(400, 10_080, "consumer in push mode can not set max waiting"));
    }
    if config.max_ack_pending > 0 && config.ack_policy == AckPolicy::None {
        return Err(error(400, 10_082, "consumer requires ack policy for max ack pending"));
    }
    if config.idle_heartbeat_ns > 0 && config.idle_heartbeat_ns < HEARTBEAT_MIN_NS {
        return Err(error(400, 10_083, "consumer idle heartbeat needs to be >= 100ms"));
    }
    Ok(())
}

fn check_pull(config: &ConsumerConfig, stream: &StreamConfig, server: &Limits) -> Checked {
    if config.ack_policy == AckPolicy::None && stream.retention == Retention::Workqueue {
        let why = "consumer in pull mode requires explicit ack policy on workqueue stream";
        return Err(error(400, 10_084, why));
    }
    if config.rate_limit_bits_per_s > 0 {
        return Err(error(400, 10_086, "consumer in pull mode can not have rate limit set"));
    }
    if config.idle_heartbeat_ns > 0 {
        return Err(error(400, 10_088, "consumer idle heartbeat requires a push based consumer"));
    }
    if config.flow_control {
        return Err(error(400, 10_089, "consumer flow control requires a push based consumer"));
    }
    if config.max_expires_ns != 0 && config.max_expires_ns < EXPIRES_MIN_NS {
        return Err(error(400, 10_115, "consumer max request expires needs to be >= 1ms"));
    }
    if let Some(max) = server.request_batch_max
        && u64::try_from(config.max_batch).is_ok_and(|asked| asked > max)
    {
        return Err(error(400, 10_125, format!("consumer max request batch exceeds server limit of {max}")));
    }
    Ok(())
}

fn check_filters(config: &ConsumerConfig) -> Checked {
    if config.filter_subject.is_some() && !config.filter_subjects.is_empty() {
        let why = "consumer cannot have both FilterSubject and FilterSubjects specified";
        return Err(error(400, 10_136, why));
    }
    if config.filter_subjects.iter().any(String::is_empty) {
        return Err(error(400, 10_139, "consumer filter in FilterSubjects cannot be empty"));
    }
    let filters = filters(config)?;
    let overlap = filters.iter().enumerate().any(|(place, filter)| {
        filters[..place].iter().any(|other| other.covers(filter) || filter.covers(other))
    });
    if overlap {
        return Err(error(400, 10_138, "consumer subject filters cannot overlap"));
    }
    Ok(())
}

fn check_start(config: &ConsumerConfig) -> Checked {
    for text in [&config.opt_start_time, &config.pause_until].into_iter().flatten() {
        check_moment(text)?;
    }
    let (policy, is_start_seq, is_start_time) = match config.deliver_policy {
        DeliverPolicy::All => ("all", false, false),
        DeliverPolicy::Last => ("last", false, false),
        DeliverPolicy::New => ("new", false, false),
        DeliverPolicy::LastPerSubject => ("last per subject", false, false),
        DeliverPolicy::ByStartSequence => ("by start sequence", true, false),
        DeliverPolicy::ByStartTime => ("by start time", false, true),
    };
    let wrong = |what: &str, is: &str| {
        let why = format!("consumer delivery policy is deliver {policy}, but optional {what} is {is} set");
        Err(error(400, 10_094, why))
    };
    let seq = config.opt_start_seq.is_some_and(|seq| seq != 0);
    let time = config.opt_start_time.is_some();
    if is_start_time {
        return match (time, seq) {
            (false, _) => wrong("start time", "not"),
            (true, true) => wrong("start start sequence", "also"),
            (true, false) => Ok(()),
        };
    }
    match (is_start_seq, seq) {
        (true, false) => return wrong("start sequence", "not"),
        (false, true) => return wrong("start sequence", "also"),
        (true, true) | (false, false) => {}
    }
    if time {
        return wrong("start time", "also");
    }
    let is_filtered = config.filter_subject.is_some() || !config.filter_subjects.is_empty();
    if config.deliver_policy == DeliverPolicy::LastPerSubject && !is_filtered {
        return wrong("filter subject", "not");
    }
    Ok(())
}

/// Whether a text is a moment as JSON has it.
pub(crate) fn check_moment(text: &str) -> Checked {
    const LAYOUT: &str = "2006-01-02T15:04:05Z07:00";
    if moment::parse(text).is_some() {
        return Ok(());
    }
    let why = format!("invalid JSON: parsing time {text:?} as {LAYOUT:?}: cannot parse {text:?} as \"2006\"");
    Err(error(400, 10_025, why))
}

/// How many acks of a hundred are sampled.
pub(in crate::jetstream) fn sampled_percent(frequency: &str) -> Option<u64> {
    let number = frequency.strip_suffix('%').unwrap_or(frequency);
    number.strip_prefix('+').unwrap_or(number).parse().ok()
}

fn check_sampling(frequency: &str) -> Checked {
    if sampled_percent(frequency).is_some() {
        return Ok(());
    }
    let number = frequency.strip_suffix('%').unwrap_or(frequency);
    let is_negative = number.starts_with('-') && number.parse::<i64>().is_ok();
    let why = if is_negative {
        // What the server says of a number it can read.
        "<nil>".to_owned()
    } else {
        format!("strconv.Atoi: parsing {number:?}: invalid syntax")
    };
    Err(error(400, 10_095, format!("failed to parse consumer sampling configuration: {why}")))
}

fn check_groups(config: &ConsumerConfig) -> Checked {
    if config.priority_policy == PriorityPolicy::None {
        if !config.priority_groups.is_empty() {
            let why = "consumer can not have priority groups when policy is none";
            return Err(error(400, 10_196, why));
        }
        if config.priority_timeout_ns > 0 {
            return Err(error(400, 10_197, "PinnedTTL cannot be set when PriorityPolicy is none"));
        }
        return Ok(());
    }
    if config.deliver_subject.is_some() {
        return Err(error(400, 10_178, "priority groups can not be used with push consumers"));
    }
    if config.priority_groups.is_empty() {
        let why = "Setting PriorityPolicy requires at least one PriorityGroup to be set";
        return Err(error(400, 10_159, why));
    }
    for group in &config.priority_groups {
        if group.is_empty() {
            return Err(error(400, 10_161, "Group name cannot be an empty string"));
        }
        let is_valid = |c: char| c.is_ascii_alphanumeric() || "/_=-".contains(c);
        if group.len() > GROUP_NAME_MAX || !group.chars().all(is_valid) {
            let why =
                "Valid priority group name must match A-Z, a-z, 0-9, -_/=)+ and may not exceed 16 characters";
            return Err(error(400, 10_162, why));
        }
    }
    Ok(())
}
