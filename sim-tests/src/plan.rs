//! What kind of run a seed is: drawn before the run begins, from a stream of random numbers of its own.
//!
//! Not only the dice vary, the kind of game does: whole fault families are on or off per seed, limits sit at their
//! extremes, and rates come in three modes. Without that, uniform noise never makes an outage.

use crate::world::disaster::Disaster;
use crate::world::scripted::Act;
use cloudlysis_core::Checks;
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::saga::HandOver;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{aggregate, effect, gate, outbox, schedule};
use cloudlysis_io_sim::network::Delays;
use cloudlysis_io_sim::outside::Keys;
use cloudlysis_io_sim::rng::Rng;
use std::collections::BTreeSet;
use std::num::NonZeroU64;

/// Which fault families may be on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scenario {
    /// Any of them.
    Everything,
    /// No fault at all.
    Calm,
    /// Crashes of nodes, and stores that fail.
    Crashes,
    /// A broker that crashes, answers wrongly and forgets what it may.
    Broker,
    /// A network that is slow and cuts connections.
    Network,
    /// Services that fail before and after they did it.
    Outside,
    /// Two owners of the aggregates at once.
    Owners,
    /// Leaders that go, quorums that are slow, servers that stop, answers that are old, nothing that fits.
    Cluster,
    /// What no contract allows: logs lose messages, streams vanish and come back.
    Disaster,
    /// People: drains, repeated and unreadable messages, clocks that jump, a view's store restored from a backup.
    Operators,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Everything,
        Self::Calm,
        Self::Crashes,
        Self::Broker,
        Self::Network,
        Self::Outside,
        Self::Owners,
        Self::Cluster,
        Self::Operators,
        Self::Disaster,
    ];

    /// Those in which the broker keeps its contract.
    pub const CONTRACT: [Self; 9] = [
        Self::Everything,
        Self::Calm,
        Self::Crashes,
        Self::Broker,
        Self::Network,
        Self::Outside,
        Self::Owners,
        Self::Cluster,
        Self::Operators,
    ];

    /// As the command line spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Everything => "everything",
            Self::Calm => "calm",
            Self::Crashes => "crashes",
            Self::Broker => "broker",
            Self::Network => "network",
            Self::Outside => "outside",
            Self::Owners => "owners",
            Self::Cluster => "cluster",
            Self::Disaster => "disaster",
            Self::Operators => "operators",
        }
    }

    /// The scenario of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }
}

/// Longer than any run.
pub const KEEP_MS_LONG: u64 = 30 * 24 * 3_600_000;
/// Longer than any run.
pub const RETRY_MS_LONG: u64 = 24 * 3_600_000;
/// Shorter than an outage.
const RETRY_MS_SHORT: u64 = 2_000;
/// Shorter than many.
const KEEP_MS_SHORT: u64 = 4_000;

/// Messages that may be parked: more than any run has.
pub const PARKED_MAX: u64 = 10_000;

/// Three quarters of a world's time went into comparing after every turn.
const CHECKS_RARE: Checks = Checks::EveryTurns(NonZeroU64::new(32).expect("not zero"));

/// How often nodes look whether their streams are what they were, in milliseconds.
pub const AUDIT_MS: u64 = 2_000;
/// How long a stream must contradict what was seen before a node stops, in milliseconds: longer than a server answers for
/// a cluster it has lost.
pub const CONFIRM_MS: u64 = 12_000;

/// How often something goes wrong: once in so many times, never for zero.
pub type OneIn = u64;

/// The faults of a run.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Faults {
    /// A node dies around a turn.
    pub node_crash: OneIn,
    /// A commit fails, or is interrupted, and the process lives on.
    pub store_fault: OneIn,
    /// A node dies between two turns.
    pub node_kill: OneIn,
    /// The broker's process dies.
    pub broker_crash: OneIn,
    /// A request to the broker is lost.
    pub request_lost: OneIn,
    /// An answer of the broker, or a delivery, is lost.
    pub answer_lost: OneIn,
    /// The broker answers a publish with an error that proves nothing, or with one that does.
    pub answer_wrong: OneIn,
    /// Something a real cluster does on its own.
    pub broker_moves: OneIn,
    /// A node's connection is cut.
    pub connection_cut: OneIn,
    /// Everything is slow for a while.
    pub slow_network: OneIn,
    /// A command or its answer is lost between nodes.
    pub rpc_lost: OneIn,
    /// A call to the outside fails, before or after it was done.
    pub call_fails: OneIn,
    /// An adapter hands an answer over long after it was given up.
    pub answer_late: OneIn,
    /// A clock jumps.
    pub clock_jump: OneIn,
    /// Somebody publishes a stored message again.
    pub republish: OneIn,
    /// Somebody publishes what nobody can read.
    pub poison: OneIn,
    /// A node is drained and started again.
    pub drain: OneIn,
    /// The views are restored from an older backup.
    pub rollback: OneIn,
    /// Somebody deletes a durable consumer.
    pub consumer_deleted: OneIn,
    /// A stream is without a leader for a while.
    pub leader_change: OneIn,
    /// A publish waits for its quorum, in vain perhaps.
    pub quorum_slow: OneIn,
    /// A server answers for a cluster it has lost.
    pub info_stale: OneIn,
    /// Nothing fits for a while.
    pub store_full: OneIn,
    /// The broker stops in good order, and comes back.
    pub server_stop: OneIn,
    /// A node that is handed much at once is cut off.
    pub slow_consumer: OneIn,
    /// A heartbeat is lost.
    pub heartbeat_lost: OneIn,
    /// A timer of the broker is late.
    pub timer_late: OneIn,
    /// The broker's clock jumps.
    pub broker_clock: OneIn,
}

/// Which of the faults that the dice throw happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Strikes {
    /// All of them.
    All,
    /// These, by their number in the run, from one.
    Only(BTreeSet<u64>),
}

impl Strikes {
    /// Whether the fault of this number happens.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        match self {
            Self::All => true,
            Self::Only(some) => some.contains(&number),
        }
    }
}

/// What kind of run it is.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Which families may be on.
    pub scenario: Scenario,
    /// The faults.
    pub faults: Faults,
    /// How many tenants; at least two, always.
    pub tenants: u64,
    /// Orders placed in all.
    pub orders: u64,
    /// Transfers between accounts in all.
    pub transfers: u64,
    /// Average pause between two operations, in milliseconds.
    pub pause_ms: u64,
    /// How many aggregate nodes at once.
    pub owners: u8,
    /// Replicas the streams say they have: decides in which order a publish is checked.
    pub replicas: u8,
    /// What payments and parcels make of idempotency keys.
    pub keys: Keys,
    /// The network.
    pub delays: Delays,
    /// How long an adapter waits for an answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// Bounds of the gates.
    pub gate: gate::Limits,
    /// Bounds of the aggregate nodes.
    pub aggregate: aggregate::Limits,
    /// Bounds of the outbox.
    pub outbox: outbox::Limits,
    /// Bounds of the effects.
    pub effect: effect::Limits,
    /// Bounds of the timers.
    pub schedule: schedule::Limits,
    /// How effects reach the ledger.
    pub hand_over: HandOver,
    /// Whether sagas and effects are two processes.
    pub halves: bool,
    /// The partition a second runner takes itself for that somebody starts beside the first, if anybody does.
    pub stranger: Option<u32>,
    /// Whether operators pause sagas and schedules, and let them go on.
    pub operators: bool,
    /// How long the runner keeps what has ended, in milliseconds.
    pub keep_ms: u64,
    /// Whether the runner starts now under one edition of its manifests, now under another.
    pub deploys: bool,
    /// Whether tenants join the partition while it runs.
    pub placement: bool,
    /// The disaster, and the stream that it happens to.
    pub disaster: Option<(Disaster, PlatformStream)>,
    /// Which of the faults that the dice throw happen.
    pub strikes: Strikes,
    /// What is done beside them, and when in milliseconds.
    pub acts: Vec<(u64, Act)>,
    /// How often what a node holds is compared with its disk.
    pub checks: Checks,
    /// The fault that is planted, if any.
    pub quirks: Quirks,
}

impl Plan {
    /// Draws the plan of a seed.
    #[must_use]
    pub fn draw(seed: u64, scenario: Scenario, quirks: Quirks) -> Self {
        let mut rng = Rng::new(seed).fork("plan");
        let disaster = (scenario == Scenario::Disaster)
            .then(|| (*rng.pick(&Disaster::ALL), *rng.pick(&PlatformStream::ALL)));
        let replicas = match (scenario, disaster) {
            (Scenario::Cluster, _) => 3,
            (_, Some((Disaster::PowerLost, _))) => 1,
            _ => *rng.pick(&[1, 3]),
        };
        let faults = draw_faults(scenario, replicas, &mut rng);
        let request_timeout_ms = *rng.pick(&[500, 2_000, 5_000]);
        // An adapter always answers before its machine gives up, unless it is late on purpose.
        let answer_timeout_ms = request_timeout_ms * 4;
        let batch = *rng.pick(&[1, 2, 7, 64]);
        let two_owners = scenario == Scenario::Owners || (scenario == Scenario::Everything && rng.one_in(4));
        Self {
            seed,
            scenario,
            faults,
            tenants: rng.within(2, 3),
            orders: rng.within(4, 24),
            // What a disaster did to accounts nobody judges.
            transfers: if disaster.is_none() { *rng.fork("bank").pick(&[0, 0, 6, 18]) } else { 0 },
            pause_ms: *rng.pick(&[5, 50, 400]),
            owners: 1 + u8::from(two_owners),
            replicas,
            keys: *rng.pick(&[
                Keys::Ignored,
                Keys::Lost,
                Keys::Honoured,
                Keys::Honoured,
                Keys::Honoured,
                Keys::Honoured,
            ]),
            delays: if rng.one_in(4) {
                Delays { min_ns: 1_000_000, max_ns: 80_000_000 }
            } else {
                Delays { min_ns: 50_000, max_ns: 2_000_000 }
            },
            request_timeout_ms,
            gate: gate::Limits {
                batch,
                in_flight_max: batch * rng.within(1, 2),
                ack_wait_ms: *rng.pick(&[1_000, 10_000]),
                pull_expires_ms: *rng.pick(&[2_000, 10_000]),
                heartbeat_ms: 500,
                request_timeout_ms: answer_timeout_ms,
                confirm_ms: CONFIRM_MS,
                audit_ms: AUDIT_MS,
                rebind_ms: 20,
                rebind_ms_max: 2_000,
            },
            aggregate: aggregate::Limits {
                commands_max: *rng.pick(&[4, 64]),
                commands_per_aggregate_max: *rng.pick(&[1, 2, 16]),
                attempts_max: *rng.pick(&[2, 4, 8]),
                load_messages_max: *rng.pick(&[1, 3, 64]),
                answer_timeout_ms,
                audit_ms: AUDIT_MS,
                confirm_ms: CONFIRM_MS,
                backoff_ms: 20,
                backoff_ms_max: 500,
                refusals_max: 64,
            },
            outbox: outbox::Limits {
                in_flight_max: *rng.pick(&[1, 3, 64]),
                in_flight_tenant_max: *rng.fork("tenant places").pick(&[1, 2, 64]),
                tracked_max: *rng.pick(&[2, 8, 256]),
                tracked_tenant_max: *rng.fork("tenant window").pick(&[1, 8, 256]),
                attempt_timeout_ms: answer_timeout_ms * 4,
                backoff_ms: 20,
                backoff_ms_max: 1_000,
                // After a disaster nobody lets anything go.
                retry_ms_max: match disaster {
                    None => *rng.fork("dead letters").pick(&[RETRY_MS_LONG, RETRY_MS_LONG, RETRY_MS_SHORT]),
                    Some(_) => RETRY_MS_LONG,
                },
            },
            effect: effect::Limits {
                in_flight_max: *rng.pick(&[1, 3, 64]),
                tracked_max: *rng.pick(&[2, 8, 256]),
                lanes_max: *rng.fork("lanes").pick(&[1, 2, 64, 64, 64, 64, 64, 64]),
                answer_slack_ms: 500,
                circuit: effect::CircuitLimits {
                    failures_max: *rng.fork("circuit").pick(&[1, 2, 5]),
                    pause_ms: 100,
                    pause_ms_max: 2_000,
                },
            },
            schedule: schedule::Limits { fired_max: *rng.pick(&[1, 4, 64]), look_ms_max: 1_000 },
            hand_over: *rng.fork("hand over").pick(&[HandOver::Broker, HandOver::Commit]),
            halves: disaster.is_none() && rng.fork("halves").one_in(4),
            // Who deletes a consumer invites the next comer to have it.
            stranger: (disaster.is_none() && faults.consumer_deleted == 0 && rng.fork("stranger").one_in(4))
                .then(|| *rng.fork("stranger's partition").pick(&[0, 1])),
            // After a disaster people have other worries.
            operators: disaster.is_none()
                && (scenario == Scenario::Operators || rng.fork("operators").one_in(4)),
            // A disaster is judged by everything that was ever there.
            keep_ms: match disaster {
                None => *rng.fork("keep").pick(&[KEEP_MS_LONG, KEEP_MS_LONG, KEEP_MS_SHORT]),
                Some(_) => KEEP_MS_LONG,
            },
            deploys: disaster.is_none() && (scenario == Scenario::Operators || rng.fork("deploys").one_in(2)),
            placement: disaster.is_none() && rng.fork("placement").one_in(3),
            disaster,
            strikes: Strikes::All,
            acts: Vec::new(),
            checks: if rng.fork("checks").one_in(8) { Checks::EveryTurn } else { CHECKS_RARE },
            quirks,
        }
    }
}

fn draw_faults(scenario: Scenario, replicas: u8, rng: &mut Rng) -> Faults {
    if scenario == Scenario::Calm {
        return Faults::default();
    }
    // Calm: a fault here and there; stormy: many; surgical: one family, rare.
    let (chance, scale) = *rng.pick(&[(3, 8), (2, 1), (6, 30)]);
    let whole = scenario == Scenario::Everything;
    let mut family = |belongs: bool, one_in: OneIn| {
        let on = belongs && (!whole || rng.one_in(chance));
        if on { one_in * scale } else { 0 }
    };
    let within = |one: Scenario| whole || scenario == one;
    let crashes = within(Scenario::Crashes);
    let broker = within(Scenario::Broker);
    let network = within(Scenario::Network) || scenario == Scenario::Owners;
    let outside = within(Scenario::Outside);
    let operators = within(Scenario::Operators);
    let servers = within(Scenario::Cluster);
    let disaster = scenario == Scenario::Disaster;
    // One server has nobody to lose.
    let cluster = servers && replicas > 1;
    Faults {
        node_crash: family(crashes || disaster, 20),
        store_fault: family(crashes, 40),
        node_kill: family(crashes || outside || disaster || within(Scenario::Owners), 150),
        broker_crash: family(broker, 600),
        request_lost: family(broker || network, 40),
        answer_lost: family(broker || network || disaster, 40),
        answer_wrong: family(broker, 20),
        broker_moves: family(broker, 80),
        connection_cut: family(network || broker, 400),
        slow_network: family(network, 400),
        rpc_lost: family(network || outside || disaster, 20),
        call_fails: family(outside, 3),
        answer_late: family(outside, 12),
        clock_jump: family(operators, 200),
        republish: family(operators, 60),
        poison: family(operators, 80),
        drain: family(operators, 400),
        rollback: family(operators, 600),
        consumer_deleted: family(operators || broker, 300),
        leader_change: family(cluster, 150),
        quorum_slow: family(cluster, 15),
        info_stale: family(cluster, 80),
        store_full: family(servers, 200),
        server_stop: family(servers, 400),
        slow_consumer: family(servers, 20),
        heartbeat_lost: family(servers, 10),
        timer_late: family(servers, 40),
        broker_clock: family(servers, 200),
    }
}
