//! Placement: the partition begins with some of its tenants, and others join it while it runs.
//!
//! Whoever runs the nodes hears of a tenant at different times, and goes on under the new placement after a drain, as
//! `nodes::partition` does. A node that dies meanwhile starts with what is placed by then.

use super::clients::tenant;
use super::event::{Event, NodeId};
use super::{MS, World};
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::wire::id::TenantId;

/// A tenant joins within this, in milliseconds: most orders are placed by then, or none.
const JOINS_MS_MAX: u64 = 12_000;
/// How long a node takes to hear of it, in milliseconds.
const HEARD_MS_MAX: u64 = 2_000;

/// Steps of a placement.
#[derive(Clone, Debug)]
pub enum Placing {
    /// A tenant is placed in the partition.
    Placed(TenantId),
    /// A node hears of it.
    Heard(NodeId),
}

/// Where the tenants of a world are.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Placed {
    /// In its partition.
    pub(super) tenants: Tenants,
    /// Steps still to come.
    pub(super) ahead: u64,
}

impl World {
    pub(super) fn begin_placement(&mut self) {
        if !self.plan.placement {
            return;
        }
        let mut tenants = vec![tenant(0)];
        let mut ahead = 0;
        for number in 1..self.plan.tenants {
            if self.dice.placement.one_in(4) {
                tenants.push(tenant(number));
                continue;
            }
            ahead += 1;
            let at = self.dice.placement.within(0, JOINS_MS_MAX) * MS;
            self.after(at, Event::Placing(Placing::Placed(tenant(number))));
        }
        self.placed = Some(Placed { tenants: tenants.into_iter().collect(), ahead });
    }

    pub(super) fn on_placing(&mut self, placing: Placing) {
        match placing {
            Placing::Placed(tenant) => self.on_placed(tenant),
            Placing::Heard(id) => {
                if let Some(placed) = &mut self.placed {
                    placed.ahead -= 1;
                }
                let deadline_ms = self.dice.placement.within(0, 2_000);
                self.drain_node(id, deadline_ms);
            }
        }
    }

    fn on_placed(&mut self, joining: TenantId) {
        self.note(|| format!("tenant {joining:?} is placed"));
        let readers: Vec<NodeId> =
            self.nodes.runners().map(|node| node.id).chain([NodeId::Projection]).collect();
        if let Some(Placed { tenants, ahead }) = &mut self.placed
            && let Tenants::Of(own) = &*tenants
        {
            *tenants = own.iter().cloned().chain([joining]).collect();
            *ahead = *ahead - 1 + readers.len() as u64;
        }
        for id in readers {
            let heard = self.dice.placement.within(0, HEARD_MS_MAX) * MS;
            self.after(heard, Event::Placing(Placing::Heard(id)));
        }
    }
}
