//! Two runners at once: somebody starts a second one, with a disk of its own, beside the one that owns the consumers.
//!
//! ```text
//! the runner is bound ─► a stranger starts ─► it looks ─► the consumers are another's ─► it looks again ─► it stops
//!                                                 │
//!                                                 └ nobody's, for the runner makes its own anew just then: whoever is
//!                                                   first has it, and the other stops
//! ```
//!
//! It takes itself for the same partition, or for another one that has the same tenants: then it finds the runner's
//! consumers beside its own, and both step back when they see each other.
//!
//! INV-GATE-7 is judged by what the stranger was told, not by what is so: a consumer is away while its owner binds. In
//! the second case the world ends there: it is somebody else's now, and people have to decide whose it should be.

use super::event::{Event, NodeId};
use super::{MS, World, runner};
use crate::oracles::Violation;
use cloudlysis_core::gate::{ConsumerFacts, Effect as GateEffect, Input as GateInput, Standing};
use cloudlysis_core::halt::Fence;
use cloudlysis_core::runner::{Effect, Input};
use cloudlysis_core::{Invariant, Outcome};

/// When somebody tries, at least and at most, and again when the runner is not bound.
const COMES_NS: (u64, u64) = (500 * MS, 8_000 * MS);

impl World {
    pub(super) fn begin_stranger(&mut self) {
        if self.plan.stranger.is_some() {
            self.stranger_comes_later();
        }
    }

    fn stranger_comes_later(&mut self) {
        let pause = self.dice.operators.within(COMES_NS.0, COMES_NS.1);
        self.after(pause, Event::StrangerCame);
    }

    pub(super) fn on_stranger_came(&mut self) -> Result<(), Violation> {
        let life = self.nodes.runner.life.as_ref();
        let is_bound = life.is_some_and(|life| {
            life.driver.machine().gates().all(|(_, gate)| gate.standing() == Standing::Bound)
        });
        if !is_bound {
            self.stranger_comes_later();
            return Ok(());
        }
        self.nodes.stranger = self.plan.stranger.map(|partition| runner::stranger(&self.plan, partition));
        self.on_node_started(NodeId::Stranger)
    }

    /// What a second owner is told of who owns what.
    pub(super) fn tell_stranger(&mut self, id: NodeId, inputs: &[Input]) {
        if id != NodeId::Stranger {
            return;
        }
        let node = self.nodes.runner_of(id);
        let is_anothers = |consumer: &ConsumerFacts| {
            consumer.owner.as_ref().is_some_and(|owner| *owner != node.config.store_id)
        };
        let incarnation = node.life.as_ref().map(|life| life.driver.incarnation());
        for input in inputs {
            if let Input::Gate { source, input: GateInput::Inspected { token, outcome: Outcome::Done(facts) } } =
                input
                && (facts.rival.is_some() || facts.consumer.as_ref().is_some_and(is_anothers))
                // What a life before it asked for it does not hear.
                && incarnation == Some(token.incarnation)
            {
                self.met.insert(*source);
            }
        }
    }

    /// INV-GATE-7.
    pub(super) fn look_at_stranger(&self, id: NodeId, effect: &Effect) -> Result<(), Violation> {
        if id != NodeId::Stranger {
            return Ok(());
        }
        let takes = match effect {
            Effect::Gate { effect: GateEffect::Inspect { .. }, .. } => false,
            Effect::Gate { source, .. } => self.met.contains(source),
            Effect::Outbox(_) | Effect::Effect(_) => !self.met.is_empty() || !self.was_let_in(),
            Effect::Left(_) | Effect::Finished(_) | Effect::Answered(_) | Effect::Drained(_) => false,
        };
        if !takes {
            return Ok(());
        }
        let detail = format!("{id} met the owner of {:?}, and goes on: {effect:?}", self.met);
        Err(Violation::new(Invariant::Gate7, detail))
    }

    /// Whether a second owner found every stream without one.
    fn was_let_in(&self) -> bool {
        let life = self.nodes.stranger.as_ref().and_then(|node| node.life.as_ref());
        life.is_some_and(|life| {
            life.driver.machine().gates().all(|(_, gate)| gate.checkpoint().incarnation.is_some())
        })
    }

    /// Whether a node may learn that another owns what it reads. A second owner that was first for a while takes messages
    /// of the runner for its own, for they have the ids its own would have, and may stop because their content is not.
    pub(super) fn may_yield(&self, id: NodeId, fence: &Fence) -> bool {
        match id {
            NodeId::Stranger => true,
            NodeId::Runner | NodeId::Effects => {
                let is_owned = matches!(fence, Fence::ForeignConsumer { .. } | Fence::TenantsShared { .. });
                self.nodes.stranger.is_some() && is_owned
            }
            NodeId::Aggregate(_) | NodeId::Projection => false,
        }
    }

    /// A machine stopped because another owns what it reads. Nobody starts it again; when it is the first owner, it came
    /// second in the race.
    pub(super) fn on_yielded(&mut self, id: NodeId, fence: &Fence) {
        self.stay_halted(id, fence.to_string());
        self.ended = id.is_runner();
    }

    pub(super) fn unfinished_stranger(&self) -> Option<String> {
        let is_there = self.nodes.stranger.as_ref().is_some_and(|node| node.life.is_some());
        (is_there && !self.met.is_empty()).then(|| format!("the stranger knows {:?} to be others'", self.met))
    }
}
