//! Every setting of every node: its name, who has it, what it may be, and what it is unless somebody says otherwise.

use super::kind::Kind;
use cloudlysis_core::placement::PARTITION_MAX;
use cloudlysis_core::runner::HAPPENED_MAX;
use cloudlysis_core::saga::HandOver;
use std::fmt;

/// A node that is served, and so has settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NodeKind {
    /// Takes commands, appends events.
    Aggregate,
    /// Keeps views, answers queries.
    Projection,
    /// Runs sagas and effects.
    Runner,
    /// HTTP at the edge.
    Gateway,
}

impl NodeKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Aggregate, Self::Projection, Self::Runner, Self::Gateway];

    /// As the command line names it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aggregate => "aggregate",
            Self::Projection => "projection",
            Self::Runner => "runner",
            Self::Gateway => "gateway",
        }
    }

    /// What its environment variables begin with.
    #[must_use]
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::Aggregate => "AGGREGATE_",
            Self::Projection => "PROJECTION_",
            Self::Runner => "RUNNER_",
            Self::Gateway => "GATEWAY_",
        }
    }
}

impl fmt::Display for NodeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

const EVERY: &[NodeKind] = &NodeKind::ALL;
/// Nodes that do more than operators ask for.
const OPEN: &[NodeKind] = &[NodeKind::Aggregate, NodeKind::Projection, NodeKind::Gateway];
/// Nodes with a partition.
const OWNERS: &[NodeKind] = &[NodeKind::Aggregate, NodeKind::Projection, NodeKind::Runner];
/// Nodes with consumers.
const READERS: &[NodeKind] = &[NodeKind::Projection, NodeKind::Runner];
/// Nodes that submit commands over the network.
const CALLERS: &[NodeKind] = &[NodeKind::Runner, NodeKind::Gateway];
const AGGREGATE: &[NodeKind] = &[NodeKind::Aggregate];
const RUNNER: &[NodeKind] = &[NodeKind::Runner];
const GATEWAY: &[NodeKind] = &[NodeKind::Gateway];

/// An adapter gives up on a JetStream request after five seconds; a machine waits longer before it believes that even
/// the adapter's answer is lost.
const ANSWER_MS: (u64, u64) = (5_001, 600_000);
/// A pause before something is tried again.
const PAUSE_MS: (u64, u64) = (1, 600_000);
/// Between a second and an hour.
const WAIT_MS: (u64, u64) = (1_000, 3_600_000);

/// As they are written.
const WAYS: &[&str] = &[HandOver::Commit.as_str(), HandOver::Broker.as_str()];

/// What a runner may do.
pub(super) const MODES: &[&str] = &[COMBINED, SAGAS, EFFECTS];
pub(super) const COMBINED: &str = "combined";
pub(super) const SAGAS: &str = "saga";
pub(super) const EFFECTS: &str = "effect";

macro_rules! keys {
    ($($key:ident = $name:literal, $nodes:expr, $kind:expr, $default:expr, $about:literal;)*) => {
        /// A setting.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Key { $(#[doc = $about] $key,)* }

        impl Key {
            /// All of them, in the order in which they are shown.
            pub const ALL: &'static [Self] = &[$(Self::$key,)*];

            /// Its name: dots separate groups from what is in them.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$key => $name,)* }
            }

            /// The nodes that have it.
            #[must_use]
            pub const fn nodes(self) -> &'static [NodeKind] {
                match self { $(Self::$key => $nodes,)* }
            }

            /// What it may be.
            #[must_use]
            pub const fn kind(self) -> Kind {
                match self { $(Self::$key => $kind,)* }
            }

            /// What it is by itself, as on a command line.
            #[must_use]
            pub const fn default(self) -> &'static str {
                match self { $(Self::$key => $default,)* }
            }

            /// What it does, in a sentence.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self { $(Self::$key => $about,)* }
            }
        }
    };
}

const fn number((min, max): (u64, u64)) -> Kind {
    Kind::Number { min, max }
}

keys! {
    Listen = "listen", EVERY, Kind::Text, "127.0.0.1:0", "Where the node listens.";
AllowUnauthenticated = "allow_unauthenticated", OPEN, Kind::Switch, "false", "Listen on an address that others can reach, although commands and queries are not authenticated.";
    AdminTokenFile = "admin.token_file", OWNERS, Kind::File, "", "The file with the token that `/admin` asks for; needed to listen on an address that others can reach.";
    AdminToken = "admin.token", OWNERS, Kind::Secret, "", "The token itself, for an environment that has secrets as variables.";
    Broker = "broker", OWNERS, Kind::Broker, "nats://127.0.0.1:4222", "The NATS server, with JetStream enabled; nats://user:password@host or nats://token@host to one that asks who calls. In the environment `NATS_URL` behind the node's prefix means it too.";
    BrokerCredentials = "broker_credentials", OWNERS, Kind::File, "", "The file with the JWT and the seed that the NATS server asks for, as `nsc` makes it.";
    Data = "data", OWNERS, Kind::Text, ".cloudlysis", "Where the node keeps its state.";
    Bootstrap = "bootstrap", OWNERS, Kind::Switch, "false", "Create missing streams.";
    Replicas = "replicas", OWNERS, number((1, 5)), "1", "Copies of each stream that bootstrap asks for.";
    EventsGib = "events_gib", OWNERS, number((1, 1 << 20)), "16", "Room for events that bootstrap asks for; the broker reserves it.";
    WorkflowGib = "workflow_gib", OWNERS, number((1, 1 << 20)), "4", "Room for each workflow stream that bootstrap asks for; the broker reserves it.";
    Partition = "partition", READERS, number((0, PARTITION_MAX as u64)), "0", "Which partition this node is; others have the others' tenants.";
    Placement = "placement", READERS, Kind::Text, "all", "Where tenants are: `all` in partition 0, as the `bucket` TENANT_PLACEMENT says, or `TENANT=PARTITION,…`; the default tenant is `_`.";
    Adopt = "adopt", READERS, Kind::Switch, "false", "Take over consumers that belong to another data directory.";
    Gateway = "gateway", RUNNER, Kind::Node, "http://127.0.0.1:8080", "The gateway that commands are submitted to.";
    Aggregate = "aggregate", GATEWAY, Kind::Node, "http://127.0.0.1:8081", "The aggregate node.";
    Projection = "projection", GATEWAY, Kind::Nodes, "http://127.0.0.1:8082", "The projection node; with several partitions all of theirs, separated by commas.";
    Mode = "mode", RUNNER, Kind::Choice(MODES), "combined", "What the runner does: sagas and effects, or one of the two; then another does the other.";
    HandOver = "hand_over", RUNNER, Kind::Choice(WAYS), "commit", "How effects get from sagas to whoever carries them out: inside the commit, which only a combined runner can, or as messages.";
    // Where swarm and compose put them.
    SecretsDir = "secrets_dir", RUNNER, Kind::Text, "/run/secrets", "Where every secret has a file; what is not there may be in `CLOUDLYSIS_SECRETS__NAME`.";
    // Longer than an aggregate's attempts together, so that its own answer arrives rather than a timeout.
    CommandDeadlineMs = "command_deadline_ms", CALLERS, number(WAIT_MS), "30000", "How long a command may take at the node it is submitted to.";
    QueryDeadlineMs = "query_deadline_ms", GATEWAY, number((100, 600_000)), "5000", "How long a query may take.";
    DrainDeadlineMs = "drain_deadline_ms", OWNERS, number((0, 3_600_000)), "15000", "How long what is in flight may take when the node stops.";
    GasMax = "gas_max", OWNERS, number((1_000, 1_000_000_000)), "1000000", "Budget of one program run.";
    ParkedMax = "parked_max", READERS, number((1, 100_000_000)), "100000", "Messages that may be parked; the node stops before it takes in one more, and is started again with a higher number.";
    // A day more than the workflow streams keep their messages, which may be read anew as long as that.
    KeepMs = "keep_ms", RUNNER, number((1_000, 315_360_000_000)), "2678400000", "How long finished sagas and settled effects are kept; shorter than the age of the workflow streams, the audit takes what the ledger forgot for lost.";
    GateBatch = "gate.batch", READERS, number((1, 10_000)), "256", "Messages asked for in one pull.";
    GateInFlightMax = "gate.in_flight_max", READERS, number((1, 100_000)), "512", "Messages asked for in all pulls together; the consumer's `max_ack_pending`.";
    // A turn takes milliseconds; a message that stays unsettled this long was lost on the way.
    GateAckWaitMs = "gate.ack_wait_ms", READERS, number(WAIT_MS), "30000", "How long the broker waits for an ack before it delivers again.";
    GatePullExpiresMs = "gate.pull_expires_ms", READERS, number(WAIT_MS), "30000", "How long a pull lives.";
    GateHeartbeatMs = "gate.heartbeat_ms", READERS, number((500, 30_000)), "5000", "How often the broker breaks its silence; at most half of `gate.pull_expires_ms`.";
    // Positioning is three requests in a row, inspecting six.
    GateRequestTimeoutMs = "gate.request_timeout_ms", READERS, number((30_001, 600_000)), "32000", "How long an inspection or positioning may stay without answer.";
    // A server that has lost its cluster notices that within ten seconds.
    GateConfirmMs = "gate.confirm_ms", READERS, number((10_000, 600_000)), "15000", "How long a stream must contradict what was seen of it before the partition stops.";
    // Shorter than a stream can be without a leader, which takes four seconds to be noticed at the least.
    GateAuditMs = "gate.audit_ms", READERS, number((100, 4_000)), "2000", "How often a bound consumer's stream is looked at.";
    GateRebindMs = "gate.rebind_ms", READERS, number(PAUSE_MS), "100", "First pause before binding anew; at most `gate.rebind_ms_max`.";
    GateRebindMsMax = "gate.rebind_ms_max", READERS, number(PAUSE_MS), "5000", "Longest pause before binding anew.";
    CommandsMax = "commands.max", AGGREGATE, number((1, 1_000_000)), "4096", "Commands under way or waiting, in all.";
    CommandsPerAggregateMax = "commands.per_aggregate_max", AGGREGATE, number((1, 1_000_000)), "256", "Commands under way or waiting for one aggregate.";
    CommandsAttemptsMax = "commands.attempts_max", AGGREGATE, number((1, 1_000)), "8", "Times a command is tried before its caller must ask again.";
    CommandsLoadMessagesMax = "commands.load_messages_max", AGGREGATE, number((1, 10_000)), "256", "Messages read at once when an aggregate is loaded.";
    CommandsAnswerTimeoutMs = "commands.answer_timeout_ms", AGGREGATE, number(ANSWER_MS), "8000", "How long an append or a load may stay without answer.";
    CommandsAuditMs = "commands.audit_ms", AGGREGATE, number((100, 4_000)), "2000", "How often the stream of events is looked at.";
    CommandsConfirmMs = "commands.confirm_ms", AGGREGATE, number((10_000, 600_000)), "15000", "How long the stream must contradict what was seen of it before the node stops.";
    CommandsBackoffMs = "commands.backoff_ms", AGGREGATE, number(PAUSE_MS), "50", "First pause before another attempt; at most `commands.backoff_ms_max`.";
    CommandsBackoffMsMax = "commands.backoff_ms_max", AGGREGATE, number(PAUSE_MS), "1000", "Longest pause before another attempt.";
    CommandsRefusalsMax = "commands.refusals_max", AGGREGATE, number((1, 10_000)), "32", "Refusals remembered per aggregate.";
    OutboxInFlightMax = "outbox.in_flight_max", RUNNER, number((1, 100_000)), "512", "Entries on their way at once.";
    // One tenant alone does not need more places; the other half is for whoever comes meanwhile.
    OutboxInFlightTenantMax = "outbox.in_flight_tenant_max", RUNNER, number((1, 100_000)), "256", "Entries of one tenant on their way at once; at most `outbox.in_flight_max`.";
    OutboxTrackedMax = "outbox.tracked_max", RUNNER, number((1, 1_000_000)), "8192", "Entries in memory at once; at least `outbox.in_flight_max`.";
    OutboxTrackedTenantMax = "outbox.tracked_tenant_max", RUNNER, number((1, 1_000_000)), "4096", "Entries of one tenant in memory at once; at most `outbox.tracked_max`.";
    // A command may take as long as the gateway waits for it.
    OutboxAttemptTimeoutMs = "outbox.attempt_timeout_ms", RUNNER, number(ANSWER_MS), "40000", "How long an attempt may stay without answer; longer than `command_deadline_ms`.";
    OutboxBackoffMs = "outbox.backoff_ms", RUNNER, number(PAUSE_MS), "50", "First pause before another attempt; at most `outbox.backoff_ms_max`.";
    OutboxBackoffMsMax = "outbox.backoff_ms_max", RUNNER, number(PAUSE_MS), "5000", "Longest pause before another attempt.";
    OutboxRetryMsMax = "outbox.retry_ms_max", RUNNER, number((1_000, 315_360_000_000)), "86400000", "How long an entry is tried since it was decided; then it is a dead letter, and with it what follows in its lane.";
    EffectsInFlightMax = "effects.in_flight_max", RUNNER, number((1, 100_000)), "512", "Calls to the outside at once.";
    EffectsTrackedMax = "effects.tracked_max", RUNNER, number((1, 1_000_000)), "4096", "Effects in memory at once; at least `effects.in_flight_max`.";
    EffectsLanesMax = "effects.lanes_max", RUNNER, number((1, 1_000_000)), "8192", "Keys of effects' `limits` in memory at once; if more are in use, they take turns.";
    EffectsAnswerSlackMs = "effects.answer_slack_ms", RUNNER, number((100, 600_000)), "5000", "Added to an effect's own timeout before its answer is given up.";
    // Five in a row are no accident.
    EffectsCircuitFailuresMax = "effects.circuit_failures_max", RUNNER, number((1, 1_000)), "5", "Calls in a row without a usable answer after which an upstream is left alone for a while.";
    EffectsCircuitPauseMs = "effects.circuit_pause_ms", RUNNER, number(PAUSE_MS), "1000", "How long it is left alone at first; at most `effects.circuit_pause_ms_max`.";
    // The longest that an upstream which is back goes unnoticed.
    EffectsCircuitPauseMsMax = "effects.circuit_pause_ms_max", RUNNER, number(PAUSE_MS), "30000", "How long it is left alone at most.";
    ScheduleFiredMax = "schedule.fired_max", RUNNER, number((1, HAPPENED_MAX as u64)), "256", "Timers that fire in one step.";
    ScheduleLookMsMax = "schedule.look_ms_max", RUNNER, number((10, 60_000)), "1000", "How often the wall clock is looked at while a timer is pending.";
}

impl Key {
    /// The setting of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// Whether this kind of node has it.
    #[must_use]
    pub fn is_of(self, node: NodeKind) -> bool {
        self.nodes().contains(&node)
    }

    /// The environment variable of this node that sets it.
    #[must_use]
    pub fn variable(self, node: NodeKind) -> String {
        format!("{}{}", node.prefix(), self.name().replace('.', "__").to_uppercase())
    }
}
