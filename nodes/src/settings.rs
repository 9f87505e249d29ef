//! The bounds of a node in one place, with the reason for each number.

use cloudlysis_core::{aggregate, effect, gate, outbox, schedule};
use std::time::Duration;

/// Budget of one program run.
pub const GAS_MAX: u64 = cloudlysis_core::program::GAS_MAX_DEFAULT;
/// Messages that may be parked in one partition.
pub const PARKED_MAX: u64 = 100_000;
/// How long a drain may take.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(15);
/// How long a call from the gateway to a node may take. Longer than an aggregate's attempts together, so that its own
/// answer arrives rather than a timeout.
pub const UPSTREAM_DEADLINE: Duration = Duration::from_secs(30);
/// How long a query may take.
pub const QUERY_DEADLINE: Duration = Duration::from_secs(5);

/// An adapter gives up on a JetStream request after five seconds; a machine waits a little longer before it believes
/// that even the adapter's answer is lost.
const ANSWER_TIMEOUT_MS: u64 = 8_000;

/// How often a node looks whether its streams are what they were: shorter than a stream can be without a leader, which
/// takes four seconds to be noticed at the least.
const AUDIT_MS: u64 = 2_000;
/// How long a stream must contradict what was seen of it before a partition stops: a server that has lost its cluster
/// notices that within ten seconds.
const CONFIRM_MS: u64 = 15_000;

/// Bounds of a gate.
#[must_use]
pub const fn gate_limits() -> gate::Limits {
    gate::Limits {
        batch: 256,
        in_flight_max: 512,
        // A turn takes milliseconds; a message that stays unsettled this long was lost on the way.
        ack_wait_ms: 30_000,
        pull_expires_ms: 30_000,
        heartbeat_ms: 5_000,
        // Positioning is three requests in a row, inspecting four.
        request_timeout_ms: 4 * ANSWER_TIMEOUT_MS,
        confirm_ms: CONFIRM_MS,
        audit_ms: AUDIT_MS,
        rebind_ms: 100,
        rebind_ms_max: 5_000,
    }
}

/// Bounds of an aggregate node.
#[must_use]
pub const fn aggregate_limits() -> aggregate::Limits {
    aggregate::Limits {
        commands_max: 4_096,
        commands_per_aggregate_max: 256,
        attempts_max: 8,
        load_messages_max: 256,
        answer_timeout_ms: ANSWER_TIMEOUT_MS,
        audit_ms: AUDIT_MS,
        confirm_ms: CONFIRM_MS,
        backoff_ms: 50,
        backoff_ms_max: 1_000,
        refusals_max: 32,
    }
}

/// Bounds of an outbox.
#[must_use]
pub const fn outbox_limits() -> outbox::Limits {
    outbox::Limits {
        // One tenant alone does not need more places; the other half is for whoever comes meanwhile.
        in_flight_max: 512,
        in_flight_tenant_max: 256,
        tracked_max: 8_192,
        tracked_tenant_max: 4_096,
        // A command may take as long as the gateway waits for it.
        attempt_timeout_ms: 40_000,
        backoff_ms: 50,
        backoff_ms_max: 5_000,
    }
}

/// Bounds of the timers of sagas.
#[must_use]
pub const fn schedule_limits() -> schedule::Limits {
    schedule::Limits { fired_max: 256, look_ms_max: 1_000 }
}

/// Bounds of the effects.
#[must_use]
pub const fn effect_limits() -> effect::Limits {
    effect::Limits {
        in_flight_max: 128,
        tracked_max: 4_096,
        answer_slack_ms: 5_000,
        // Five in a row are no accident; half a minute is the longest that an upstream which is back goes unnoticed.
        circuit: effect::CircuitLimits { failures_max: 5, pause_ms: 1_000, pause_ms_max: 30_000 },
    }
}
