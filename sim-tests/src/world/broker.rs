//! Between nodes and broker: requests and answers with their delays and losses, connections that break, a broker that dies.

use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::Violation;
use crate::trace::EventId;
use cloudlysis_core::jetstream::api::{ApiError, StreamConfig, err_code};
use cloudlysis_core::jetstream::{Answer, Effect, Input, Request};
use cloudlysis_core::wire::stream::{INCARNATION_METADATA, PlatformStream, StreamRoom};
use cloudlysis_io_sim::edge::{Edge, Next};

/// A node that lost its connection tries again after this long, at least and at most.
const RECONNECT_NS: (u64, u64) = (10 * MS, 2_000 * MS);
/// The broker is started again after this long, at least and at most.
const BROKER_RESTART_NS: (u64, u64) = (50 * MS, 5_000 * MS);

/// What is done to a request at the broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    /// There is no leader; nothing was done.
    NoResponders,
    /// Not available, and nothing was done.
    NotAvailable,
    /// It was done, and "the same id is in process" comes back.
    InProcess,
    /// Another write to the subject is in flight; nothing was done.
    InFlight,
    /// It was done, and "not available" comes back.
    DoneButNotAvailable,
}

impl World {
    /// Makes the streams, as `--bootstrap` does.
    pub(super) fn make_streams(&mut self) -> Result<(), Violation> {
        for stream in PlatformStream::ALL {
            self.make_stream(stream, "world")?;
        }
        Ok(())
    }

    /// Makes a stream, with an id of its own.
    pub(super) fn make_stream(&mut self, stream: PlatformStream, id: &str) -> Result<(), Violation> {
        let room = StreamRoom { replicas: self.plan.replicas, ..StreamRoom::DEVELOPMENT };
        let mut config: StreamConfig = stream.policy(room);
        config.metadata.insert(INCARNATION_METADATA.to_owned(), format!("{id}-{stream}"));
        let request = Request::StreamCreate { config: Box::new(config), pedantic: false };
        self.broker_turn(Input::Requested { reply: "nobody".to_owned(), request })
    }

    /// Sends a request whose answer is waited for.
    pub(super) fn ask(&mut self, id: NodeId, connection: u64, (conversation, input): (u64, Input)) {
        let timeout = self.plan.request_timeout_ms * MS;
        self.after(timeout, Event::RequestTimedOut { node: id, connection, conversation });
        self.send(id, connection, input);
    }

    /// Sends something that nobody waits for, or that continues what is waited for.
    pub(super) fn send(&mut self, id: NodeId, connection: u64, input: Input) {
        if !self.is_connected(id) || !self.broker.is_up() {
            return;
        }
        if self.strikes(self.faults.request_lost) {
            self.note(|| format!("lost on the way to the broker: {input:?}"));
            return;
        }
        let link = format!("{id}.{connection}>");
        let at = self.network.arrival(&link, self.now_ns, &mut self.dice.network);
        self.at(at, Event::ToBroker { node: Some(id), life: self.broker_life, input: Box::new(input) });
    }

    /// Tells the broker that nobody listens on these inboxes any more, if it notices at all.
    pub(super) fn abandon(&mut self, inboxes: Vec<String>) {
        if inboxes.is_empty() || !self.broker.is_up() || self.dice.faults.one_in(2) {
            return;
        }
        let life = self.broker_life;
        for inbox in inboxes {
            let input = Box::new(Input::Abandoned { inbox });
            self.after(MS, Event::ToBroker { node: None, life, input });
        }
    }

    pub(super) fn on_to_broker(
        &mut self,
        node: Option<NodeId>,
        life: u64,
        input: Input,
    ) -> Result<(), Violation> {
        if life != self.broker_life || !self.broker.is_up() {
            return Ok(());
        }
        if node.is_some() {
            self.broker_trouble();
            if self.broker.is_up() {
                self.cluster_trouble()?;
            }
            if !self.broker.is_up() {
                return Ok(());
            }
        }
        let input = if node.is_some() {
            let Some(input) = self.through_the_cluster(input)? else { return Ok(()) };
            if matches!(input, Input::Pulled { .. }) && self.strikes(self.faults.answer_wrong) {
                self.refuse(input);
                return Ok(());
            }
            input
        } else {
            input
        };
        let reply = match &input {
            Input::Published(publish) => publish.reply.clone(),
            Input::Requested { reply, .. } => Some(reply.clone()),
            Input::Pulled { .. }
            | Input::Acked { .. }
            | Input::Abandoned { .. }
            | Input::InterestGained { .. }
            | Input::InterestLost { .. }
            | Input::FlowControlled { .. }
            | Input::Signalled
            | Input::CopiesDue
            | Input::ArchivesDue
            | Input::SnapshotAcked { .. }
            | Input::RestoreChunk { .. }
            | Input::Stopping
            | Input::Faulted(_)
            | Input::Tick(_) => None,
        };
        if node.is_some()
            && let Some(reply) = reply
            && self.strikes(self.faults.answer_wrong)
        {
            return self.answer_wrongly(reply, input);
        }
        self.broker_turn(input)
    }

    fn answer_wrongly(&mut self, reply: String, input: Input) -> Result<(), Violation> {
        let mut wrongs = vec![Wrong::NoResponders, Wrong::NotAvailable, Wrong::DoneButNotAvailable];
        if matches!(input, Input::Published(_)) {
            wrongs.extend([Wrong::InProcess, Wrong::InFlight]);
        }
        let wrong = *self.dice.faults.pick(&wrongs);
        self.note(|| format!("the broker answers {wrong:?}"));
        let silent = match input {
            Input::Published(publish) => {
                Input::Published(cloudlysis_core::jetstream::Publish { reply: None, ..publish })
            }
            Input::Requested { request, .. } => Input::Requested { reply: "nobody".to_owned(), request },
            other @ (Input::Pulled { .. }
            | Input::Acked { .. }
            | Input::Abandoned { .. }
            | Input::InterestGained { .. }
            | Input::InterestLost { .. }
            | Input::FlowControlled { .. }
            | Input::Signalled
            | Input::CopiesDue
            | Input::ArchivesDue
            | Input::SnapshotAcked { .. }
            | Input::RestoreChunk { .. }
            | Input::Stopping
            | Input::Faulted(_)
            | Input::Tick(_)) => other,
        };
        let failed = |err_code: u32| {
            let description = format!("simulated {err_code}");
            Answer::Failed(ApiError { code: 503, err_code, description })
        };
        let (done, answer) = match wrong {
            Wrong::NoResponders => (false, Answer::NoResponders { subject: String::new() }),
            Wrong::NotAvailable => (false, failed(err_code::NOT_AVAILABLE)),
            Wrong::InFlight => (false, failed(err_code::WRONG_LAST_SEQUENCE_IN_FLIGHT)),
            Wrong::InProcess => (true, failed(err_code::DUPLICATE_IN_PROCESS)),
            Wrong::DoneButNotAvailable => (true, failed(err_code::NOT_AVAILABLE)),
        };
        if done {
            self.broker_turn(silent)?;
        }
        self.deliver(Effect::Reply { to: reply, answer });
        Ok(())
    }

    /// One turn of the broker.
    pub(super) fn broker_turn(&mut self, input: Input) -> Result<(), Violation> {
        let published = matches!(input, Input::Published(_));
        let effects = self
            .broker
            .handle(self.now_ns, input)
            .map_err(|halt| Violation::of_broker(&halt, self.now_ns))?;
        if published {
            self.oracles.on_published(&self.broker)?;
        }
        for effect in effects {
            self.deliver(effect);
        }
        self.remember_extents();
        self.wake_broker();
        Ok(())
    }

    fn wake_broker(&mut self) {
        let Some(deadline) = self.broker.deadline_ns() else { return };
        let due = deadline.max(self.now_ns + 1_000) + self.lateness_ns();
        if self.broker_turn_at.is_none_or(|at| due < at || at <= self.now_ns) {
            self.broker_turn_at = Some(due);
            self.at(due, Event::BrokerTurn);
        }
    }

    pub(super) fn on_broker_turn(&mut self, cause: EventId) -> Result<(), Violation> {
        if self.broker_turn_at != Some(self.now_ns) {
            return Ok(());
        }
        self.broker_turn_at = None;
        let event = self.current;
        self.trace.event(event, cause, self.now_ns, || "broker: turn".to_owned());
        self.broker_turn(Input::Tick(cloudlysis_core::Tick))
    }

    /// Something of the broker leaves for a node.
    pub(super) fn deliver(&mut self, effect: Effect) {
        let to = match &effect {
            Effect::Reply { to, .. } => to,
            Effect::Deliver(delivery) => &delivery.inbox,
            Effect::Status { inbox, .. } => inbox,
            // Nobody of ours listens.
            Effect::Advise { .. }
            | Effect::Republish { .. }
            | Effect::Chunk { .. }
            | Effect::SnapshotEnded { .. } => return,
        };
        let Some((number, connection)) = Edge::owner_of(to) else { return };
        let Some(node) = NodeId::of_number(number) else { return };
        let effect = self.as_somebody_believes(effect);
        if self.suffers(node, &effect) {
            return;
        }
        if self.strikes(self.faults.answer_lost) {
            self.note(|| format!("lost on the way from the broker: {effect:?}"));
            return;
        }
        let link = format!("{node}.{connection}<");
        let at = self.network.arrival(&link, self.now_ns, &mut self.dice.network);
        self.at(at, Event::FromBroker { node, connection, effect: Box::new(effect) });
    }

    pub(super) fn on_from_broker(&mut self, id: NodeId, connection: u64, effect: Effect) {
        if self.edge(id).connection() != connection || !self.is_connected(id) {
            return;
        }
        match self.edge(id).received(effect) {
            Next::Ask(conversation, input) => self.ask(id, connection, (conversation, input)),
            Next::Done(fact) => self.push_fact_to(id, fact),
            Next::Ignored => {}
        }
    }

    pub(super) fn on_request_timed_out(&mut self, id: NodeId, connection: u64, conversation: u64) {
        if self.edge(id).connection() != connection {
            return;
        }
        if let Some(fact) = self.edge(id).timed_out(conversation) {
            self.note(|| format!("{id} waits no longer"));
            self.push_fact_to(id, fact);
        }
    }

    pub(super) fn edge(&mut self, id: NodeId) -> &mut Edge {
        match id {
            NodeId::Aggregate(number) => &mut self.nodes.aggregates[usize::from(number)].edge,
            NodeId::Projection => &mut self.nodes.projection.edge,
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => &mut self.nodes.runner_of_mut(id).edge,
        }
    }

    fn is_connected(&self, id: NodeId) -> bool {
        match id {
            NodeId::Aggregate(number) => self.nodes.aggregates[usize::from(number)].connected,
            NodeId::Projection => self.nodes.projection.connected,
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => self.nodes.runner_of(id).connected,
        }
    }

    pub(super) fn reconnect_later(&mut self, id: NodeId) {
        let (shortest, longest) = RECONNECT_NS;
        let pause = self.dice.network.within(shortest, longest);
        let connection = self.edge(id).connection();
        self.after(pause, Event::Reconnected { node: id, connection });
    }

    pub(super) fn on_reconnected(&mut self, id: NodeId, connection: u64) {
        if self.is_connected(id) || self.edge(id).connection() != connection {
            return;
        }
        // A machine may be given up just then, and its process live on: nobody else would try again.
        if self.broker.is_up() && self.is_up(id) {
            self.set_node_connected(id, true);
        } else {
            self.reconnect_later(id);
        }
    }

    /// The broker's process dies: every connection breaks.
    pub(super) fn crash_broker(&mut self) {
        self.note(|| "the broker dies".to_owned());
        self.stats.crashes += 1;
        self.broker.crash();
        self.broker_life += 1;
        self.broker_turn_at = None;
        for id in self.node_ids() {
            self.disconnect_node(id);
        }
        let (shortest, longest) = BROKER_RESTART_NS;
        let pause = self.dice.faults.within(shortest, longest);
        self.after(pause, Event::BrokerStarted);
    }

    pub(super) fn on_broker_started(&mut self) -> Result<(), Violation> {
        if self.broker.is_up() {
            return Ok(());
        }
        self.broker.restart(self.now_ns).map_err(|halt| Violation::of_broker(&halt, self.now_ns))?;
        self.lose_the_unsynced()?;
        self.wake_broker();
        Ok(())
    }
}
