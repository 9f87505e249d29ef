//! What all nodes have in common: turns, deaths, recoveries, wake-ups. The twin of `nodes::partition`.

use super::event::{Event, NodeId};
use super::node::{Fate, Node, Share, TurnEnd};
use super::{MS, Nodes, World};
use crate::crashes::{CrashPoint, Left};
use crate::oracles::{Seen, Violation};
use crate::trace::EventId;
use cloudlysis_core::aggregate::Aggregate;
use cloudlysis_core::drain::Report;
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::projection::Projection;
use cloudlysis_core::runner::Runner;
use cloudlysis_core::{Halt, Invariant, Machine, StoreFault};
use cloudlysis_io_sim::edge::Fact;
use cloudlysis_io_sim::rng::Rng;
use cloudlysis_io_sim::store::CommitFate;
use std::fmt::Debug;

/// Turns in a row that may do nothing in so little time: one that is due at every moment is a busy loop, and many timers
/// that end one after the other are not.
const IDLE_TURNS_MAX: u32 = 64;
const IDLE_NS: u64 = 100 * MS;
/// Pause before a machine is recovered in a process that lives on, as in `nodes::partition`.
const RECOVER_PAUSE_NS: u64 = 1_000 * MS;
/// A process is started again after this long, at least and at most.
const RESTART_NS: (u64, u64) = (MS, 3_000 * MS);
/// How long a process stays that has reported its drain.
const DRAINED_NS: (u64, u64) = (MS, 30_000 * MS);

/// What the world must know about a kind of node.
pub(super) trait Shell: Machine<Input: Debug, Effect: Debug, Config: Clone> {
    /// The node.
    fn node(nodes: &mut Nodes, id: NodeId) -> &mut Node<Self>;
    /// The connection to the broker came or went.
    fn connection_changed(connected: bool) -> Self::Input;
    /// The node is to stop.
    fn stopped(deadline_ms: u64) -> Self::Input;
    /// A fact of the broker edge, for the machine.
    fn fact(config: &Self::Config, fact: Fact) -> Option<Self::Input>;
    /// Requests of its own whose answer is not known.
    fn in_flight(&self) -> usize;
    /// A process is about to start: under other manifests, if there was a deployment.
    fn deployed(_config: &mut Self::Config, _dice: &mut Rng) {}
    /// A process is about to start, with these tenants.
    fn placed(_config: &mut Self::Config, _tenants: &Tenants) {}
    /// Facts are about to be handled.
    fn told(_world: &mut World, _id: NodeId, _inputs: &[Self::Input]) {}
    /// Performs what was released.
    fn perform(world: &mut World, id: NodeId, effect: Self::Effect) -> Result<(), Violation>;
}

/// Calls a generic method for the kind of a node.
macro_rules! for_node {
    ($world:ident . $method:ident ( $id:expr $(, $argument:expr)* )) => {
        match $id {
            NodeId::Aggregate(_) => $world.$method::<Aggregate>($id $(, $argument)*),
            NodeId::Projection => $world.$method::<Projection>($id $(, $argument)*),
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => {
                $world.$method::<Runner>($id $(, $argument)*)
            }
        }
    };
}

impl World {
    pub(super) fn turn<M: Shell>(&mut self, id: NodeId, cause: EventId) -> Result<(), Violation> {
        let batch = *self.dice.turns.pick(&[1, 4, 512]);
        let now_ns = self.now_ns;
        let node = M::node(&mut self.nodes, id);
        if node.turn_at != Some(now_ns) || node.life.is_none() {
            return Ok(());
        }
        node.turn_at = None;
        let (inputs, was_draining) = node.take_inputs(batch);
        let scripted = self.fates.remove(&id);
        let fate = scripted.unwrap_or_else(|| self.draw_fate());
        self.stats.turns += 1;
        let event = self.current;
        self.trace.event(event, cause, now_ns, || format!("{id}: turn {fate:?} {inputs:?}"));
        if fate == Fate::DiesBefore {
            if inputs.is_empty() {
                return self.kill_between_turns(id);
            }
            self.stats.crashed.count(id, CrashPoint::C1, Left::FactsUnapplied);
            return self.kill(id);
        }
        M::told(self, id, &inputs);
        let was_idle = inputs.is_empty();
        let node = M::node(&mut self.nodes, id);
        let Some(report) = node.turn(now_ns, inputs, fate) else { return Ok(()) };
        // A turn that commits nothing cannot die of its commit: the next one may.
        if let Some(own @ Fate::Commit { .. }) = scripted
            && !report.commit_failed
        {
            self.fates.insert(id, own);
        }
        if let Fate::Commit { fate, .. } = fate
            && report.commit_failed
        {
            let (at, left) = match fate {
                CommitFate::Fails(_) => (CrashPoint::C2, Left::NotLanded),
                CommitFate::Unknown { landed: false } => (CrashPoint::C3, Left::NotLanded),
                CommitFate::Unknown { landed: true } => (CrashPoint::C3, Left::LandedUntold),
            };
            self.stats.crashed.count(id, at, left);
        }
        let did_nothing = was_idle
            && report.changes.is_empty()
            && matches!(&report.end, TurnEnd::Released(effects) if effects.is_empty());
        if !did_nothing || now_ns > node.idle_since_ns + IDLE_NS {
            (node.idle_turns, node.idle_since_ns) = (0, now_ns);
        }
        node.idle_turns += u32::from(did_nothing);
        if node.idle_turns > IDLE_TURNS_MAX {
            let deadline = node.life.as_ref().and_then(|life| life.driver.deadline());
            let detail = format!("{id} wakes up and does nothing, again and again: {deadline:?}");
            return Err(Violation::new(Invariant::Live1, detail));
        }
        for change in &report.changes {
            self.trace.add(event, || change.to_string());
        }
        let node = M::node(&mut self.nodes, id);
        let seen =
            Seen { node: id, now_ns, was_draining, broker: &self.broker, rows: node.store.committed() };
        self.oracles.on_changes(&seen, &report.changes)?;
        match report.end {
            TurnEnd::Released(effects) => {
                if report.commit_failed && !effects.is_empty() {
                    let detail = format!("{id} releases {} effects of a failed commit", effects.len());
                    return Err(Violation::new(Invariant::Drv1, detail));
                }
                if !report.changes.is_empty() {
                    node.compare_with_twin().map_err(|(invariant, detail)| {
                        Violation::new(invariant, format!("{id}: {detail}"))
                    })?;
                }
                self.release::<M>(id, effects, fate)?;
            }
            TurnEnd::Faulted(fault) => self.on_store_fault::<M>(id, fault, fate)?,
            TurnEnd::Halted(Halt::Fenced(fence)) if self.is_struck() => {
                self.stay_halted(id, fence.to_string());
                for_node!(self.die(id));
                self.break_requests(id);
                return Ok(());
            }
            TurnEnd::Halted(Halt::Fenced(fence)) if self.may_yield(id, &fence) => {
                self.on_yielded(id, &fence);
                for_node!(self.die(id));
                self.break_requests(id);
                return Ok(());
            }
            TurnEnd::Halted(halt) => return Err(Violation::of_halt(id, &halt)),
        }
        for_node!(self.wake(id));
        Ok(())
    }

    fn release<M: Shell>(
        &mut self,
        id: NodeId,
        effects: Vec<M::Effect>,
        fate: Fate,
    ) -> Result<(), Violation> {
        let kept = match fate {
            Fate::DiesAfter(share) => share.of(effects.len()),
            Fate::Lives | Fate::DiesBefore | Fate::Commit { .. } => effects.len(),
        };
        if let Fate::DiesAfter(_) = fate {
            let (at, left) = match (kept, effects.len()) {
                (_, 0) => (CrashPoint::C4, Left::Nothing),
                (0, _) => (CrashPoint::C4, Left::NoEffects),
                (kept, due) if kept < due => (CrashPoint::C5, Left::SomeEffects),
                (_, _) => (CrashPoint::C5, Left::AllEffects),
            };
            self.stats.crashed.count(id, at, left);
        }
        for effect in effects.into_iter().take(kept) {
            self.note(|| format!("→ {effect:?}"));
            M::perform(self, id, effect)?;
        }
        if let Fate::DiesAfter(_) = fate { self.kill(id) } else { Ok(()) }
    }

    fn on_store_fault<M: Shell>(
        &mut self,
        id: NodeId,
        fault: StoreFault,
        fate: Fate,
    ) -> Result<(), Violation> {
        self.note(|| format!("{id}: {fault}"));
        if let Fate::Commit { dies: true, .. } = fate {
            return self.kill(id);
        }
        // The process lives on: what waits in its channel is still there for the next machine.
        let node = M::node(&mut self.nodes, id);
        node.give_up();
        let inboxes = node.edge.recovered();
        self.abandon(inboxes);
        self.break_requests(id);
        self.after(RECOVER_PAUSE_NS, Event::NodeStarted(id));
        Ok(())
    }

    /// Dice for the crash points; a process dies at C6 when it is killed between two turns.
    fn draw_fate(&mut self) -> Fate {
        if self.strikes(self.faults.node_crash) {
            let landed = self.dice.faults.one_in(2);
            let some = usize::try_from(self.dice.faults.within(1, 4)).unwrap_or_default();
            return *self.dice.faults.pick(&[
                Fate::DiesBefore,
                Fate::Commit { fate: CommitFate::Unknown { landed }, dies: true },
                Fate::DiesAfter(Share::None),
                Fate::DiesAfter(Share::Some(some)),
                Fate::DiesAfter(Share::All),
            ]);
        }
        if self.strikes(self.faults.store_fault) {
            let landed = self.dice.faults.one_in(2);
            let fate = *self.dice.faults.pick(&[
                CommitFate::Fails(StoreFault::Full),
                CommitFate::Fails(StoreFault::Io),
                CommitFate::Unknown { landed },
            ]);
            return Fate::Commit { fate, dies: false };
        }
        Fate::Lives
    }

    /// A process is killed, and will be started again.
    pub(super) fn kill(&mut self, id: NodeId) -> Result<(), Violation> {
        self.stats.crashes += 1;
        self.end_process(id)
    }

    /// A process is killed between two turns.
    pub(super) fn kill_between_turns(&mut self, id: NodeId) -> Result<(), Violation> {
        let unanswered = for_node!(self.unanswered(id));
        let left = if unanswered > 0 { Left::Unanswered } else { Left::Nothing };
        self.stats.crashed.count(id, CrashPoint::C6, left);
        self.kill(id)
    }

    fn unanswered<M: Shell>(&mut self, id: NodeId) -> usize {
        let life = M::node(&mut self.nodes, id).life.as_ref();
        life.map_or(0, |life| life.driver.machine().in_flight())
    }

    fn end_process(&mut self, id: NodeId) -> Result<(), Violation> {
        self.note(|| format!("{id} ends"));
        for_node!(self.die(id));
        self.break_requests(id);
        let (shortest, longest) = RESTART_NS;
        let pause = self.dice.faults.within(shortest, longest);
        self.after(pause, Event::NodeStarted(id));
        Ok(())
    }

    fn die<M: Shell>(&mut self, id: NodeId) {
        let node = M::node(&mut self.nodes, id);
        node.die();
        let inboxes = node.edge.forget();
        self.abandon(inboxes);
    }

    pub(super) fn on_node_started(&mut self, id: NodeId) -> Result<(), Violation> {
        if id == NodeId::Stranger {
            self.met.clear();
        }
        for_node!(self.start(id)).map_err(|halt| Violation::of_halt(id, &halt))?;
        for_node!(self.wake(id));
        Ok(())
    }

    fn start<M: Shell>(&mut self, id: NodeId) -> Result<(), Halt> {
        if self.halted.contains_key(&id) {
            return Ok(());
        }
        if let Some(until) = self.held.get(&id).copied().filter(|until| *until > self.now_ns) {
            self.at(until, Event::NodeStarted(id));
            return Ok(());
        }
        let node = M::node(&mut self.nodes, id);
        if node.life.is_some() {
            return Ok(());
        }
        if self.plan.deploys {
            M::deployed(&mut node.config, &mut self.dice.deployments);
        }
        if let Some(placed) = &self.placed {
            M::placed(&mut node.config, &placed.tenants);
        }
        node.start(self.now_ns)?;
        if !node.connected {
            node.connected = self.broker.is_up();
            // A machine that is built anew in a living process may still be told of the connection it lost before.
            node.inbox.push(M::connection_changed(node.connected));
            if !node.connected {
                self.reconnect_later(id);
            }
        }
        Ok(())
    }

    /// Hands a fact to a node.
    pub(super) fn push<M: Shell>(&mut self, id: NodeId, input: M::Input) {
        let node = M::node(&mut self.nodes, id);
        node.inbox.push(input);
        self.wake::<M>(id);
    }

    pub(super) fn push_fact<M: Shell>(&mut self, id: NodeId, fact: Fact) {
        let node = M::node(&mut self.nodes, id);
        if let Some(input) = M::fact(&node.config, fact) {
            self.push::<M>(id, input);
        }
    }

    pub(super) fn push_fact_to(&mut self, id: NodeId, fact: Fact) {
        for_node!(self.push_fact(id, fact));
    }

    /// Sees to it that a node has a turn when it has something to do.
    pub(super) fn wake<M: Shell>(&mut self, id: NodeId) {
        let soon = self.now_ns + self.dice.turns.within(1_000, 500_000);
        let node = M::node(&mut self.nodes, id);
        if node.life.is_none() {
            return;
        }
        let due = if node.inbox.is_empty() {
            let Some(deadline) = node.deadline_ns() else { return };
            // A timer is late rather than early, and never at the very moment.
            deadline.max(self.now_ns) + 1_000
        } else {
            soon
        };
        if node.turn_at.is_none_or(|at| due < at) {
            node.turn_at = Some(due);
            self.at(due, Event::Turn(id));
        }
    }

    pub(super) fn set_connected<M: Shell>(&mut self, id: NodeId, connected: bool) {
        let node = M::node(&mut self.nodes, id);
        node.connected = connected;
        if node.life.is_some() {
            self.push::<M>(id, M::connection_changed(connected));
        }
    }

    pub(super) fn disconnect<M: Shell>(&mut self, id: NodeId) {
        let node = M::node(&mut self.nodes, id);
        if !node.connected {
            return;
        }
        let (facts, inboxes) = node.edge.disconnected();
        for fact in facts {
            self.push_fact::<M>(id, fact);
        }
        self.abandon(inboxes);
        self.set_connected::<M>(id, false);
        self.reconnect_later(id);
    }

    pub(super) fn disconnect_node(&mut self, id: NodeId) {
        for_node!(self.disconnect(id));
    }

    pub(super) fn set_node_connected(&mut self, id: NodeId, connected: bool) {
        for_node!(self.set_connected(id, connected));
    }

    /// Somebody asks a node to drain; it is started again when it has.
    pub(super) fn drain_node(&mut self, id: NodeId, deadline_ms: u64) {
        for_node!(self.drain(id, deadline_ms));
    }

    fn drain<M: Shell>(&mut self, id: NodeId, deadline_ms: u64) {
        let node = M::node(&mut self.nodes, id);
        if node.life.is_some() && !node.draining {
            node.draining = true;
            node.before_stop = Some(node.inbox.len());
            self.push::<M>(id, M::stopped(deadline_ms));
        }
    }

    /// INV-DRN-2 at the moment a drain is reported; then the process ends, at once or while INV-DRN-5 is looked at.
    pub(super) fn on_drained<M: Shell>(&mut self, id: NodeId, report: Report) -> Result<(), Violation> {
        let node = M::node(&mut self.nodes, id);
        let in_flight = node.life.as_ref().map_or(0, |life| life.driver.machine().in_flight());
        if report.clean && in_flight > 0 {
            let detail = format!("{id} drained clean with {in_flight} requests in flight");
            return Err(Violation::new(Invariant::Drn2, detail));
        }
        let life = node.deaths;
        if !id.is_runner() || self.dice.faults.one_in(2) {
            return self.end_process(id);
        }
        M::node(&mut self.nodes, id).drained = true;
        let (shortest, longest) = DRAINED_NS;
        let stays = self.dice.faults.within(shortest, longest);
        self.after(stays, Event::DrainedEnded { node: id, life });
        Ok(())
    }

    pub(super) fn on_drained_ended(&mut self, id: NodeId, life: u64) -> Result<(), Violation> {
        let node = self.nodes.runner_of(id);
        if node.drained && node.life.is_some() && node.deaths == life { self.end_process(id) } else { Ok(()) }
    }

    pub(super) fn jump_clock(&mut self, id: NodeId, by_ms: i64) {
        for_node!(self.jump(id, by_ms));
    }

    fn jump<M: Shell>(&mut self, id: NodeId, by_ms: i64) {
        let node = M::node(&mut self.nodes, id);
        node.wall_offset_ms += by_ms;
        let ahead_ms = u64::try_from(node.wall_offset_ms).unwrap_or(0);
        node.wall_ahead_ms_max = node.wall_ahead_ms_max.max(ahead_ms);
        if let Some(life) = &mut node.life {
            life.clock.jump(by_ms);
        }
        if id.is_runner() {
            self.oracles.on_clock_jump(by_ms);
        }
    }

    /// Every clock tells the time again.
    pub(super) fn set_clocks_right(&mut self) {
        for id in self.node_ids() {
            for_node!(self.set_right(id));
        }
    }

    fn set_right<M: Shell>(&mut self, id: NodeId) {
        let off = M::node(&mut self.nodes, id).wall_offset_ms;
        self.jump::<M>(id, -off);
    }

    pub(super) fn is_up(&self, id: NodeId) -> bool {
        match id {
            NodeId::Aggregate(number) => {
                self.nodes.aggregates.get(usize::from(number)).is_some_and(|node| node.life.is_some())
            }
            NodeId::Projection => self.nodes.projection.life.is_some(),
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => self.nodes.runner_of(id).life.is_some(),
        }
    }
}
