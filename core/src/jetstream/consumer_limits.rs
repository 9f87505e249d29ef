//! What a stream says about its consumers: defaults where they say nothing, ceilings where they do.

use super::api::{ApiError, ConsumerConfig, ConsumerLimits};
use super::duration::format_ns;
use super::error::error;

/// Fills in what a configuration leaves open.
pub(super) fn fill_in(limits: ConsumerLimits, config: &mut ConsumerConfig) {
    if config.max_ack_pending == 0 {
        config.max_ack_pending = limits.max_ack_pending;
    }
    if config.inactive_threshold_ns == 0 {
        config.inactive_threshold_ns = limits.inactive_threshold_ns;
    }
}

pub(super) fn check(limits: ConsumerLimits, config: &ConsumerConfig) -> Result<(), ApiError> {
    let ConsumerLimits { inactive_threshold_ns, max_ack_pending } = limits;
    if max_ack_pending > 0 && config.max_ack_pending > max_ack_pending {
        let why = format!("consumer max ack pending exceeds system limit of {max_ack_pending}");
        return Err(error(400, 10_121, why));
    }
    if inactive_threshold_ns > 0 && config.inactive_threshold_ns > inactive_threshold_ns {
        let limit = format_ns(inactive_threshold_ns);
        return Err(error(
            400,
            10_153,
            format!("consumer inactive threshold exceeds system limit of {limit}"),
        ));
    }
    Ok(())
}
