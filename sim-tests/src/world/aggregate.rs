//! The aggregate nodes' edge: the twin of `nodes::aggregate`.

use super::event::NodeId;
use super::node::Node;
use super::shell::Shell;
use super::{Nodes, World};
use crate::app::shop;
use crate::oracles::Violation;
use crate::plan::Plan;
use cloudlysis_core::aggregate::{Aggregate, Config, Effect, Input};
use cloudlysis_core::gate;
use cloudlysis_core::program::GAS_MAX_DEFAULT;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_io_sim::edge::{Fact, NO_GATE, Publisher};

pub(super) fn node(plan: &Plan, number: u8) -> Node<Aggregate> {
    let config = Config {
        definitions: shop().aggregates.clone(),
        limits: plan.aggregate,
        gas_max: GAS_MAX_DEFAULT,
        seed: plan.seed ^ u64::from(number),
        quirks: plan.quirks,
    };
    Node::new(NodeId::Aggregate(number), config, plan)
}

impl Shell for Aggregate {
    fn node(nodes: &mut Nodes, id: NodeId) -> &mut Node<Self> {
        &mut nodes.aggregates[usize::from(id.number())]
    }

    fn connection_changed(connected: bool) -> Input {
        Input::ConnectionChanged { connected }
    }

    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }

    fn fact(_: &Config, fact: Fact) -> Option<Input> {
        match fact {
            Fact::Gate(NO_GATE, gate::Input::Inspected { token, outcome }) => {
                Some(Input::Inspected { token, outcome })
            }
            Fact::Published(Publisher::Aggregate, token, outcome) => Some(Input::Appended { token, outcome }),
            Fact::Loaded(token, outcome) => Some(Input::Loaded { token, outcome }),
            Fact::Gate(..) | Fact::Delivered(..) | Fact::Published(..) | Fact::Looked(..) => None,
        }
    }

    fn in_flight(&self) -> usize {
        self.commands()
    }

    fn perform(world: &mut World, id: NodeId, effect: Effect) -> Result<(), Violation> {
        let edge = world.edge(id);
        let connection = edge.connection();
        let asked = match effect {
            Effect::Inspect { token, look_at } => {
                edge.inspect(NO_GATE, token, PlatformStream::AggregateEvents, None, look_at)
            }
            Effect::Load { token, subject, from_seq, messages_max } => {
                edge.load(token, subject, from_seq, messages_max)
            }
            Effect::Append { token, subject, headers, payload } => {
                edge.publish(Publisher::Aggregate, token, subject, headers, payload)
            }
            Effect::Reply { request, reply } => return world.reply(id, request, reply),
            Effect::Drained(report) => return world.on_drained::<Self>(id, report),
        };
        world.ask(id, connection, asked);
        Ok(())
    }
}
