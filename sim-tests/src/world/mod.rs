//! The world: everything there is in one run, as a plain value that one thread moves from event to event.
//!
//! ```text
//!   clients ──commands──► aggregate0 (aggregate1) ◄──commands── runner ──calls──► outside
//!                              │  ▲                             │  ▲
//!                              ▼  │      network, cuts          ▼  │
//!                             ════════════ broker ═════════════════════► projection
//! ```
//!
//! An event is taken from the queue, handled, and may put further events into it; each remembers which event caused it.
//! There is no other way for anything to happen, and no source of chance but the seed.

pub mod aggregate;
pub mod bank;
pub mod broker;
pub mod calls;
pub mod clerks;
pub mod clients;
pub mod cluster;
pub mod disaster;
pub mod event;
pub mod nemesis;
pub mod node;
pub mod operators;
mod placement;
pub mod projection;
pub mod runbook;
pub mod runner;
pub mod scripted;
pub mod settled;
pub mod shell;
pub mod stranger;
pub mod submit;
pub mod timekeepers;
pub mod wardens;

use crate::crashes::Crashes;
use crate::oracles::{Oracles, Violation};
use crate::plan::{Faults, Plan};
use crate::trace::{EventId, Keep, Trace};
use clerks::Clerks;
use clients::Clients;
use cloudlysis_core::aggregate::{Aggregate, RequestId};
use cloudlysis_core::projection::Projection;
use cloudlysis_core::runner::{Runner, Source};
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::{MarkCounts, Token};
use cloudlysis_io_sim::broker::Broker;
use cloudlysis_io_sim::network::Network;
use cloudlysis_io_sim::outside::Outside;
use cloudlysis_io_sim::replicas::Replicas;
use cloudlysis_io_sim::rng::Rng;
use disaster::{Calamity, Stage};
use event::{Caller, Event, NodeId};
use node::{Fate, Node};
use operators::Operators;
use placement::Placed;
use runbook::Aftermath;
use std::collections::{BTreeMap, BTreeSet};
use timekeepers::Timekeepers;
use wardens::Wardens;

/// A millisecond in nanoseconds.
pub const MS: u64 = 1_000_000;

#[derive(Clone, Debug)]
struct Scheduled {
    cause: EventId,
    event: Event,
}

/// The nodes.
#[derive(Clone, Debug)]
pub struct Nodes {
    /// One, or two that do not know of each other.
    pub aggregates: Vec<Node<Aggregate>>,
    /// The views.
    pub projection: Node<Projection>,
    /// Sagas and effects, or sagas alone.
    pub runner: Node<Runner>,
    /// Effects alone, when that is a process of its own.
    pub effects: Option<Node<Runner>>,
    /// A second owner of what the runner owns.
    pub stranger: Option<Node<Runner>>,
}

impl Nodes {
    /// The runner that has the effects.
    #[must_use]
    pub fn of_effects(&self) -> &Node<Runner> {
        self.effects.as_ref().unwrap_or(&self.runner)
    }

    /// A runner by its id.
    ///
    /// # Panics
    /// When there is none of this id.
    #[must_use]
    pub fn runner_of(&self, id: NodeId) -> &Node<Runner> {
        let own = match id {
            NodeId::Runner => Some(&self.runner),
            NodeId::Effects => self.effects.as_ref(),
            NodeId::Stranger => self.stranger.as_ref(),
            NodeId::Aggregate(_) | NodeId::Projection => None,
        };
        own.expect("a runner of this world")
    }

    /// As [`Nodes::runner_of`], to change it.
    ///
    /// # Panics
    /// When there is none of this id.
    pub fn runner_of_mut(&mut self, id: NodeId) -> &mut Node<Runner> {
        let own = match id {
            NodeId::Runner => Some(&mut self.runner),
            NodeId::Effects => self.effects.as_mut(),
            NodeId::Stranger => self.stranger.as_mut(),
            NodeId::Aggregate(_) | NodeId::Projection => None,
        };
        own.expect("a runner of this world")
    }

    /// Those that own what they read.
    pub fn runners(&self) -> impl Iterator<Item = &Node<Runner>> {
        std::iter::once(&self.runner).chain(&self.effects)
    }
}

/// Sources of chance, one per purpose: drawing more for one does not change the others.
#[derive(Clone, Debug)]
pub struct Dice {
    /// Which faults happen.
    pub faults: Rng,
    /// How long messages take.
    pub network: Rng,
    /// When turns happen and how much is handled in one.
    pub turns: Rng,
    /// What clients do.
    pub clients: Rng,
    /// When money moves.
    pub bank: Rng,
    /// What operators do.
    pub operators: Rng,
    /// What operators of the quarantine do.
    pub wardens: Rng,
    /// Which manifests the runner starts under.
    pub deployments: Rng,
    /// When tenants join, and who hears of it.
    pub placement: Rng,
    /// What operators of schedules do.
    pub timekeepers: Rng,
    /// What operators of effects do.
    pub clerks: Rng,
    /// What a cluster writes to disk, and when.
    pub cluster: Rng,
}

/// What a run did.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Events handled.
    pub events: u64,
    /// Turns of nodes.
    pub turns: u64,
    /// Processes that died, the broker's among them.
    pub crashes: u64,
    /// Faults of any kind.
    pub faults: u64,
    /// Commits.
    pub commits: u64,
    /// Where processes died, and machines were given up.
    pub crashed: Crashes,
}

impl Stats {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.turns += other.turns;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.commits += other.commits;
        self.crashed.add(&other.crashed);
    }
}

/// Everything there is.
#[derive(Clone, Debug)]
pub struct World {
    plan: Plan,
    /// The plan's until they end.
    faults: Faults,
    now_ns: u64,
    current: EventId,
    next_event: EventId,
    queue: BTreeMap<(u64, EventId), Scheduled>,
    trace: Trace,
    dice: Dice,
    broker: Broker,
    broker_life: u64,
    broker_turn_at: Option<u64>,
    replicas: Replicas,
    /// Nothing fits until then, and with which error it is refused.
    full: Option<(u64, u32)>,
    /// A server answers for a cluster it has lost, until then, and how far it is behind.
    deceived: Option<(u64, u64)>,
    /// What was handed to a node at one moment.
    burst: Option<(u64, NodeId, usize)>,
    network: Network,
    outside: Outside,
    nodes: Nodes,
    /// Who waits for an answer of an aggregate node, and to what.
    requests: BTreeMap<(NodeId, RequestId), (Caller, Box<Command>)>,
    next_request: u64,
    /// Commands of the runner that are waited for.
    submits: BTreeSet<Token>,
    clients: Clients,
    operators: Operators,
    wardens: Wardens,
    timekeepers: Timekeepers,
    clerks: Clerks,
    /// Where the tenants are, when not all of them are there from the beginning.
    placed: Option<Placed>,
    /// Consumers that a second owner knows to be another's.
    met: BTreeSet<Source>,
    oracles: Oracles,
    /// An older disk of the projection.
    backup: Option<cloudlysis_io_sim::store::SimStore>,
    calamity: Option<Calamity>,
    aftermath: Option<Aftermath>,
    /// Nodes that are not started before then.
    held: BTreeMap<NodeId, u64>,
    /// Nodes that stopped for good, and why.
    halted: BTreeMap<NodeId, String>,
    power_lost: bool,
    /// How the next turn of a node ends, if a script says so.
    fates: BTreeMap<NodeId, Fate>,
    /// Messages that a disaster made up.
    ghosts: u64,
    healed_at: Option<u64>,
    ended: bool,
    stats: Stats,
}

impl World {
    /// The world of a plan, with streams made and processes about to start.
    ///
    /// # Errors
    /// When the broker cannot even start.
    pub fn new(plan: Plan, keep: Keep) -> Result<Self, Violation> {
        let dice = Rng::new(plan.seed);
        let nodes = Nodes {
            aggregates: (0..plan.owners).map(|number| aggregate::node(&plan, number)).collect(),
            projection: projection::node(&plan),
            runner: runner::node(&plan),
            effects: plan.halves.then(|| runner::effects_node(&plan)),
            stranger: None,
        };
        let broker = Broker::start(0).map_err(|halt| Violation::of_broker(&halt, 0))?;
        let mut world = Self {
            faults: plan.faults,
            now_ns: 0,
            current: 0,
            next_event: 1,
            queue: BTreeMap::new(),
            trace: Trace::new(keep),
            dice: Dice {
                faults: dice.fork("faults"),
                network: dice.fork("network"),
                turns: dice.fork("turns"),
                clients: dice.fork("clients"),
                bank: dice.fork("transfers"),
                operators: dice.fork("operators"),
                wardens: dice.fork("wardens"),
                deployments: dice.fork("deployments"),
                placement: dice.fork("placed"),
                timekeepers: dice.fork("timekeepers"),
                clerks: dice.fork("clerks"),
                cluster: dice.fork("cluster"),
            },
            broker,
            broker_life: 1,
            broker_turn_at: None,
            replicas: Replicas::default(),
            full: None,
            deceived: None,
            burst: None,
            network: Network::new(plan.delays),
            outside: Outside::new(plan.keys),
            nodes,
            requests: BTreeMap::new(),
            next_request: 1,
            submits: BTreeSet::new(),
            clients: Clients::of(&plan),
            operators: Operators::default(),
            wardens: Wardens::default(),
            timekeepers: Timekeepers::default(),
            clerks: Clerks::default(),
            placed: None,
            met: BTreeSet::new(),
            oracles: Oracles::of(&plan),
            backup: None,
            calamity: plan.disaster.map(|(disaster, stream)| Calamity {
                disaster,
                stream,
                stage: Stage::Ahead,
            }),
            aftermath: None,
            held: BTreeMap::new(),
            halted: BTreeMap::new(),
            power_lost: false,
            fates: BTreeMap::new(),
            ghosts: 0,
            healed_at: None,
            ended: false,
            stats: Stats::default(),
            plan,
        };
        world.make_streams()?;
        for id in world.node_ids() {
            world.after(0, Event::NodeStarted(id));
        }
        world.begin_workload();
        world.begin_bank();
        world.begin_operators();
        world.begin_wardens();
        world.begin_timekeepers();
        world.begin_clerks();
        world.begin_stranger();
        world.begin_placement();
        world.begin_script();
        Ok(world)
    }

    /// The nodes of this world.
    #[must_use]
    pub fn node_ids(&self) -> Vec<NodeId> {
        let aggregates = (0..self.plan.owners).map(NodeId::Aggregate);
        let runners = self.nodes.runners().chain(&self.nodes.stranger).map(|node| node.id);
        aggregates.chain([NodeId::Projection]).chain(runners).collect()
    }

    /// Runs until everything has come to an end.
    ///
    /// # Errors
    /// The first violation.
    pub fn run(&mut self) -> Result<(), Violation> {
        while self.step()? {}
        Ok(())
    }

    /// Handles the next event; `false` when the run is over.
    ///
    /// # Errors
    /// When an invariant does not hold.
    pub fn step(&mut self) -> Result<bool, Violation> {
        if self.ended {
            return Ok(false);
        }
        let Some(((at, id), Scheduled { cause, event })) = self.queue.pop_first() else { return Ok(false) };
        self.now_ns = at;
        self.current = id;
        self.stats.events += 1;
        if !matches!(event, Event::Turn(_) | Event::BrokerTurn | Event::Looked) {
            self.trace.event(id, cause, at, || format!("{event:?}"));
        }
        self.handle(cause, event).map_err(|violation| violation.at(self.now_ns, self.current))?;
        Ok(!self.ended)
    }

    fn handle(&mut self, cause: EventId, event: Event) -> Result<(), Violation> {
        match event {
            Event::Turn(NodeId::Aggregate(number)) => {
                self.turn::<Aggregate>(NodeId::Aggregate(number), cause)
            }
            Event::Turn(NodeId::Projection) => self.turn::<Projection>(NodeId::Projection, cause),
            Event::Turn(id @ (NodeId::Runner | NodeId::Effects | NodeId::Stranger)) => {
                self.turn::<Runner>(id, cause)
            }
            Event::NodeStarted(id) => self.on_node_started(id),
            Event::DrainedEnded { node, life } => self.on_drained_ended(node, life),
            Event::Reconnected { node, connection } => {
                self.on_reconnected(node, connection);
                Ok(())
            }
            Event::BrokerTurn => self.on_broker_turn(cause),
            Event::BrokerStarted => self.on_broker_started(),
            Event::QuorumDecided(stream) => self.on_quorum_decided(stream),
            Event::ToBroker { node, life, input } => self.on_to_broker(node, life, *input),
            Event::FromBroker { node, connection, effect } => {
                self.on_from_broker(node, connection, *effect);
                Ok(())
            }
            Event::RequestTimedOut { node, connection, conversation } => {
                self.on_request_timed_out(node, connection, conversation);
                Ok(())
            }
            Event::Submitted { caller, target, command } => {
                self.on_submitted(caller, target, command);
                Ok(())
            }
            Event::Replied { caller, reply } => self.on_replied(caller, reply.map(|reply| *reply)),
            Event::SubmitTimedOut(caller) => {
                self.on_submit_timed_out(caller);
                Ok(())
            }
            Event::CallArrived { life, token, key, request, fate, timeout_ms } => {
                self.on_call_arrived(life, token, &key, &request, fate, timeout_ms);
                Ok(())
            }
            Event::CallReturned { life, token, outcome } => {
                self.on_call_returned(life, token, outcome);
                Ok(())
            }
            Event::Client(step) => {
                self.on_client(step);
                Ok(())
            }
            Event::ClientRetried { call } => {
                self.send_call(call);
                Ok(())
            }
            Event::Operated => {
                self.on_operated();
                Ok(())
            }
            Event::Warded => self.on_warded(),
            Event::TimeKept => {
                self.on_time_kept();
                Ok(())
            }
            Event::Amended => {
                self.on_amended();
                Ok(())
            }
            Event::Scripted(act) => self.on_scripted(act),
            Event::Placing(placing) => {
                self.on_placing(placing);
                Ok(())
            }
            Event::StrangerCame => self.on_stranger_came(),
            Event::Struck => self.on_struck(),
            Event::Rewritten => self.on_rewritten(),
            Event::Judged => self.on_judged(),
            Event::Healed => self.on_healed(),
            Event::Looked => self.on_looked(),
        }
    }

    /// Schedules an event because of the present one.
    fn after(&mut self, delay_ns: u64, event: Event) {
        self.at(self.now_ns + delay_ns, event);
    }

    fn at(&mut self, at_ns: u64, event: Event) {
        let id = self.next_event;
        self.next_event += 1;
        self.queue.insert((at_ns, id), Scheduled { cause: self.current, event });
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.trace.add(self.current, text);
    }

    /// The trace so far.
    #[must_use]
    pub const fn trace(&self) -> &Trace {
        &self.trace
    }

    /// What the run did so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let aggregates = self.nodes.aggregates.iter().map(|node| node.store.commits()).sum::<u64>();
        let runners = self.nodes.runners().map(|node| node.store.commits()).sum::<u64>();
        let commits = aggregates + self.nodes.projection.store.commits() + runners;
        Stats { commits, ..self.stats.clone() }
    }

    /// The present moment, in nanoseconds since the world began.
    #[must_use]
    pub const fn now_ns(&self) -> u64 {
        self.now_ns
    }

    /// Marks hit so far.
    #[must_use]
    pub fn marks(&self) -> MarkCounts {
        let mut out = self.nodes.projection.all_marks();
        for node in self.nodes.runners().chain(&self.nodes.stranger) {
            out.add(&node.all_marks());
        }
        for node in &self.nodes.aggregates {
            out.add(&node.all_marks());
        }
        out
    }
}
