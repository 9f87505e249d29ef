//! The projection node's edge: the twin of `nodes::projection`.

use super::event::NodeId;
use super::node::Node;
use super::shell::Shell;
use super::{Nodes, World};
use crate::app::shop;
use crate::oracles::Violation;
use crate::plan::{PARKED_MAX, Plan};
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::program::GAS_MAX_DEFAULT;
use cloudlysis_core::projection::{Config, Effect, Input, Projection};
use cloudlysis_io_sim::edge::Fact;

pub(super) fn node(plan: &Plan) -> Node<Projection> {
    let config = Config {
        definitions: shop().projections.clone(),
        partition: 0,
        tenants: Tenants::All,
        narrows: false,
        store_id: "projection-store".to_owned(),
        adopt: false,
        gate_limits: plan.gate,
        parked_max: PARKED_MAX,
        gas_max: GAS_MAX_DEFAULT,
        seed: plan.seed,
        quirks: plan.quirks,
    };
    Node::new(NodeId::Projection, config, plan)
}

impl Shell for Projection {
    fn node(nodes: &mut Nodes, _: NodeId) -> &mut Node<Self> {
        &mut nodes.projection
    }

    fn connection_changed(connected: bool) -> Input {
        Input::ConnectionChanged { connected }
    }

    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }

    fn fact(config: &Config, fact: Fact) -> Option<Input> {
        let view = |gate: u8| config.definitions.keys().nth(usize::from(gate)).cloned();
        match fact {
            Fact::Gate(gate, input) => Some(Input::Gate { view: view(gate)?, input }),
            Fact::Delivered(gate, delivery) => Some(Input::Delivered { view: view(gate)?, delivery }),
            Fact::Published(..) | Fact::Looked(..) | Fact::Loaded(..) => None,
        }
    }

    fn placed(config: &mut Config, tenants: &Tenants) {
        config.tenants = tenants.clone();
    }

    fn in_flight(&self) -> usize {
        0
    }

    fn perform(world: &mut World, id: NodeId, effect: Effect) -> Result<(), Violation> {
        match effect {
            Effect::Gate { view, effect } => {
                let position = world.nodes.projection.config.definitions.keys().position(|own| *own == view);
                let gate = position.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
                world.perform_gate(id, gate, effect)
            }
            Effect::Drained(report) => world.on_drained::<Self>(id, report),
        }
    }
}
