//! What machines and shells get of the settings.

use super::{Key, NodeKind, PlacementFrom, Settings, key};
use crate::gateway::Deadlines;
use cloudlysis_core::runner::Mode;
use cloudlysis_core::saga::HandOver;
use cloudlysis_core::wire::stream::StreamRoom;
use cloudlysis_core::{aggregate, effect, gate, outbox, schedule};
use std::time::Duration;

const GIB: u64 = 1 << 30;

/// Folders of runners, by mode.
const COMBINED: &str = "runner";
const SAGAS: &str = "runner-saga";
const EFFECTS: &str = "runner-effect";

impl Settings {
    /// A number of things.
    fn count(&self, key: Key) -> usize {
        usize::try_from(self.number(key)).unwrap_or(usize::MAX)
    }

    /// A time in milliseconds.
    #[must_use]
    pub fn time(&self, key: Key) -> Duration {
        Duration::from_millis(self.number(key))
    }

    /// Which partition the node is.
    #[must_use]
    pub fn partition(&self) -> u32 {
        u32::try_from(self.number(Key::Partition)).expect("checked when it was loaded")
    }

    /// Where the tenants are.
    #[must_use]
    pub fn placement(&self) -> PlacementFrom {
        PlacementFrom::parse(self.text(Key::Placement)).expect("checked when it was loaded")
    }

    /// What a runner does.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match self.text(Key::Mode) {
            key::SAGAS => Mode::Sagas,
            key::EFFECTS => Mode::Effects,
            _ => {
                let way = HandOver::parse(self.text(Key::HandOver));
                Mode::Combined(way.expect("checked when it was loaded"))
            }
        }
    }

    /// The folder of its store. Each partition has its own, and each half of a runner: what one knows, the other must not
    /// take for its own.
    #[must_use]
    pub fn store_name(&self) -> String {
        match self.node() {
            NodeKind::Aggregate | NodeKind::Gateway => self.node().name().to_owned(),
            NodeKind::Projection => self.of_partition(self.node().name()),
            NodeKind::Runner => match self.mode() {
                Mode::Combined(_) => self.of_partition(COMBINED),
                Mode::Sagas => self.of_partition(SAGAS),
                Mode::Effects => self.of_partition(EFFECTS),
            },
        }
    }

    /// The folders that a runner in another mode would have for what this one is to do.
    #[must_use]
    pub fn store_names_of_other_modes(&self) -> Vec<String> {
        let others: &[&str] = match self.node() {
            NodeKind::Aggregate | NodeKind::Gateway | NodeKind::Projection => &[],
            NodeKind::Runner => match self.mode() {
                Mode::Combined(_) => &[SAGAS, EFFECTS],
                Mode::Sagas | Mode::Effects => &[COMBINED],
            },
        };
        others.iter().map(|name| self.of_partition(name)).collect()
    }

    fn of_partition(&self, name: &str) -> String {
        match self.partition() {
            0 => name.to_owned(),
            partition => format!("{name}-p{partition}"),
        }
    }

    /// How long nodes behind a gateway may take.
    #[must_use]
    pub fn deadlines(&self) -> Deadlines {
        Deadlines { command: self.time(Key::CommandDeadlineMs), query: self.time(Key::QueryDeadlineMs) }
    }

    /// Room for streams that are created.
    #[must_use]
    pub fn stream_room(&self) -> StreamRoom {
        StreamRoom {
            replicas: u8::try_from(self.number(Key::Replicas)).unwrap_or(u8::MAX),
            events_bytes_max: self.number(Key::EventsGib).saturating_mul(GIB),
            workflow_bytes_max: self.number(Key::WorkflowGib).saturating_mul(GIB),
        }
    }

    /// Bounds of a gate.
    #[must_use]
    pub fn gate_limits(&self) -> gate::Limits {
        gate::Limits {
            batch: self.number(Key::GateBatch),
            in_flight_max: self.number(Key::GateInFlightMax),
            ack_wait_ms: self.number(Key::GateAckWaitMs),
            pull_expires_ms: self.number(Key::GatePullExpiresMs),
            heartbeat_ms: self.number(Key::GateHeartbeatMs),
            request_timeout_ms: self.number(Key::GateRequestTimeoutMs),
            confirm_ms: self.number(Key::GateConfirmMs),
            audit_ms: self.number(Key::GateAuditMs),
            rebind_ms: self.number(Key::GateRebindMs),
            rebind_ms_max: self.number(Key::GateRebindMsMax),
        }
    }

    /// Bounds of an aggregate node.
    #[must_use]
    pub fn aggregate_limits(&self) -> aggregate::Limits {
        aggregate::Limits {
            commands_max: self.count(Key::CommandsMax),
            commands_per_aggregate_max: self.count(Key::CommandsPerAggregateMax),
            attempts_max: u32::try_from(self.number(Key::CommandsAttemptsMax)).unwrap_or(u32::MAX),
            load_messages_max: self.count(Key::CommandsLoadMessagesMax),
            answer_timeout_ms: self.number(Key::CommandsAnswerTimeoutMs),
            audit_ms: self.number(Key::CommandsAuditMs),
            confirm_ms: self.number(Key::CommandsConfirmMs),
            backoff_ms: self.number(Key::CommandsBackoffMs),
            backoff_ms_max: self.number(Key::CommandsBackoffMsMax),
            refusals_max: self.count(Key::CommandsRefusalsMax),
        }
    }

    /// Bounds of an outbox.
    #[must_use]
    pub fn outbox_limits(&self) -> outbox::Limits {
        outbox::Limits {
            in_flight_max: self.count(Key::OutboxInFlightMax),
            in_flight_tenant_max: self.count(Key::OutboxInFlightTenantMax),
            tracked_max: self.count(Key::OutboxTrackedMax),
            tracked_tenant_max: self.count(Key::OutboxTrackedTenantMax),
            attempt_timeout_ms: self.number(Key::OutboxAttemptTimeoutMs),
            backoff_ms: self.number(Key::OutboxBackoffMs),
            backoff_ms_max: self.number(Key::OutboxBackoffMsMax),
            retry_ms_max: self.number(Key::OutboxRetryMsMax),
        }
    }

    /// Bounds of the timers of sagas.
    #[must_use]
    pub fn schedule_limits(&self) -> schedule::Limits {
        schedule::Limits {
            fired_max: self.count(Key::ScheduleFiredMax),
            look_ms_max: self.number(Key::ScheduleLookMsMax),
        }
    }

    /// Bounds of the effects.
    #[must_use]
    pub fn effect_limits(&self) -> effect::Limits {
        effect::Limits {
            in_flight_max: self.count(Key::EffectsInFlightMax),
            tracked_max: self.count(Key::EffectsTrackedMax),
            lanes_max: self.count(Key::EffectsLanesMax),
            answer_slack_ms: self.number(Key::EffectsAnswerSlackMs),
            circuit: effect::CircuitLimits {
                failures_max: u32::try_from(self.number(Key::EffectsCircuitFailuresMax)).unwrap_or(u32::MAX),
                pause_ms: self.number(Key::EffectsCircuitPauseMs),
                pause_ms_max: self.number(Key::EffectsCircuitPauseMsMax),
            },
        }
    }
}
