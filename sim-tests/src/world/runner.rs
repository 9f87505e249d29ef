//! The runner's edge: the twin of `nodes::runner`.

use super::event::{Caller, NodeId};
use super::node::Node;
use super::shell::Shell;
use super::{Nodes, World};
use crate::app::{next_edition, shop};
use crate::oracles::Violation;
use crate::plan::{PARKED_MAX, Plan};
use cloudlysis_core::Invariant;
use cloudlysis_core::gate::Effect as GateEffect;
use cloudlysis_core::outbox;
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::program::GAS_MAX_DEFAULT;
use cloudlysis_core::runner::{Config, Effect, Input, Mode, Runner, Source};
use cloudlysis_io_sim::edge::{Fact, GateIndex, Publisher};
use cloudlysis_io_sim::rng::Rng;
use std::collections::BTreeMap;

/// The whole runner, or the half that has the sagas.
pub(super) fn node(plan: &Plan) -> Node<Runner> {
    let mode = if plan.halves { Mode::Sagas } else { Mode::Combined(plan.hand_over) };
    of_mode(plan, NodeId::Runner, mode)
}

/// The half that has the effects.
pub(super) fn effects_node(plan: &Plan) -> Node<Runner> {
    of_mode(plan, NodeId::Effects, Mode::Effects)
}

/// As the first runner, with a disk of its own, as this partition.
pub(super) fn stranger(plan: &Plan, partition: u32) -> Node<Runner> {
    let mut node = of_mode(plan, NodeId::Stranger, node(plan).config.mode);
    node.config.partition = partition;
    node
}

fn of_mode(plan: &Plan, id: NodeId, mode: Mode) -> Node<Runner> {
    let app = shop();
    let (sagas, schedules, effects) = match mode {
        Mode::Combined(_) => (app.sagas.clone(), app.schedules.clone(), app.effects.clone()),
        Mode::Sagas => (app.sagas.clone(), app.schedules.clone(), BTreeMap::new()),
        Mode::Effects => (BTreeMap::new(), BTreeMap::new(), app.effects.clone()),
    };
    let config = Config {
        sagas,
        natives: app.natives.clone(),
        effects,
        schedules,
        mode,
        partition: 0,
        tenants: Tenants::All,
        narrows: false,
        store_id: format!("{id}-store"),
        adopt: false,
        gate_limits: plan.gate,
        outbox_limits: plan.outbox,
        effect_limits: plan.effect,
        schedule_limits: plan.schedule,
        parked_max: PARKED_MAX,
        keep_ms: plan.keep_ms,
        gas_max: GAS_MAX_DEFAULT,
        seed: plan.seed,
        quirks: plan.quirks,
    };
    Node::new(id, config, plan)
}

fn source(gate: GateIndex) -> Option<Source> {
    Source::ALL.get(usize::from(gate)).copied()
}

impl Shell for Runner {
    fn node(nodes: &mut Nodes, id: NodeId) -> &mut Node<Self> {
        nodes.runner_of_mut(id)
    }

    fn connection_changed(connected: bool) -> Input {
        Input::ConnectionChanged { connected }
    }

    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }

    fn fact(_: &Config, fact: Fact) -> Option<Input> {
        match fact {
            Fact::Gate(gate, input) => Some(Input::Gate { source: source(gate)?, input }),
            Fact::Delivered(gate, delivery) => Some(Input::Delivered { source: source(gate)?, delivery }),
            Fact::Published(Publisher::Outbox, token, outcome) => {
                Some(Input::Outbox(outbox::Input::PublishAnswered { token, outcome }))
            }
            Fact::Looked(token, outcome) => Some(Input::Outbox(outbox::Input::Looked { token, outcome })),
            Fact::Published(..) | Fact::Loaded(..) => None,
        }
    }

    fn deployed(config: &mut Config, dice: &mut Rng) {
        let app = if dice.one_in(2) { shop() } else { next_edition() };
        if config.mode != Mode::Effects {
            config.sagas.clone_from(&app.sagas);
        }
    }

    fn placed(config: &mut Config, tenants: &Tenants) {
        config.tenants = tenants.clone();
    }

    fn in_flight(&self) -> usize {
        self.outbox().in_flight() + self.effects().in_flight()
    }

    fn told(world: &mut World, id: NodeId, inputs: &[Input]) {
        world.tell_stranger(id, inputs);
    }

    fn perform(world: &mut World, id: NodeId, effect: Effect) -> Result<(), Violation> {
        world.look_at_stranger(id, &effect)?;
        // Tokens name calls and commands of one runner only; a second owner that is let in waits for its answers in vain.
        if id == NodeId::Stranger
            && matches!(effect, Effect::Effect(_) | Effect::Outbox(outbox::Effect::Submit { .. }))
        {
            return Ok(());
        }
        match effect {
            Effect::Gate { source, effect } => {
                let position = Source::ALL.iter().position(|own| *own == source);
                let gate = position.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
                world.perform_gate(id, gate, effect)
            }
            Effect::Outbox(effect) if world.nodes.runner_of(id).drained => {
                let detail = format!("{id} has reported its drain, and then asks for {effect:?}");
                Err(Violation::new(Invariant::Drn5, detail))
            }
            Effect::Outbox(effect) => {
                world.leave(id, effect);
                Ok(())
            }
            Effect::Effect(effect) => {
                let rows = world.nodes.runner_of(id).store.committed();
                let sagas = world.nodes.runner.store.committed();
                world.oracles.on_execute(world.now_ns, &rows, &sagas, &effect)?;
                world.call(effect);
                Ok(())
            }
            Effect::Left(_) | Effect::Finished(_) => Ok(()),
            Effect::Answered(answered) => world.on_operator_answered(&answered),
            Effect::Drained(report) => world.on_drained::<Self>(id, report),
        }
    }
}

impl World {
    fn leave(&mut self, id: NodeId, effect: outbox::Effect) {
        let edge = self.edge(id);
        let connection = edge.connection();
        let asked = match effect {
            outbox::Effect::Submit { token, command } => {
                self.submits.insert(token);
                let caller = Caller::Runner { life: self.nodes.runner.deaths, token };
                self.submit(caller, Box::new(command));
                return;
            }
            outbox::Effect::Publish { token, stream: _, subject, headers, payload } => {
                edge.publish(Publisher::Outbox, token, subject, headers, payload.into())
            }
            outbox::Effect::Look { token, stream, subject, place } => {
                edge.look(token, stream, subject, place)
            }
        };
        self.ask(id, connection, asked);
    }

    /// What a gate asks for; INV-GATE-1 is looked at before an answer leaves.
    pub(super) fn perform_gate(
        &mut self,
        id: NodeId,
        gate: GateIndex,
        effect: GateEffect,
    ) -> Result<(), Violation> {
        if let GateEffect::Ack { ack } | GateEffect::Term { ack, .. } = &effect {
            let rows = match id {
                NodeId::Aggregate(_) | NodeId::Projection => self.nodes.projection.store.committed(),
                NodeId::Runner | NodeId::Effects | NodeId::Stranger => {
                    self.nodes.runner_of(id).store.committed()
                }
            };
            self.oracles.on_settling(id, &rows, ack)?;
        }
        let edge = self.edge(id);
        let connection = edge.connection();
        match edge.gate(gate, effect) {
            (Some(conversation), Some(input)) => self.ask(id, connection, (conversation, input)),
            (None, Some(input)) => self.send(id, connection, input),
            (_, None) => {}
        }
        Ok(())
    }
}
