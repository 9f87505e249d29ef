//! Whether everything has come to an end after the faults; and if it does not, what it waits for.

use super::event::{Event, NodeId};
use super::node::Node;
use super::{MS, Nodes, World};
use crate::oracles::{End, Violation};
use cloudlysis_core::Invariant;
use cloudlysis_core::gate::Standing;
use cloudlysis_core::quarantine::Quarantine;
use cloudlysis_core::runner::{Runner, Source};
use cloudlysis_core::saga::Instance;
use cloudlysis_core::schedule::recurring::Row;
use cloudlysis_core::{Halt, Table, View};
use std::ops::ControlFlow;

/// How often somebody looks.
const LOOK_NS: u64 = 500 * MS;
/// Everything must have ended this long after the faults did: several times the longest chain of timeouts there is.
const LIVENESS_NS: u64 = 1_800_000 * MS;

impl World {
    pub(super) fn on_looked(&mut self) -> Result<(), Violation> {
        if self.is_struck() {
            return self.on_looked_after_disaster();
        }
        let healed_at = self.healed_at.unwrap_or(self.now_ns);
        match self.unfinished() {
            None => {
                self.ended = true;
                self.check_nodes()?;
                let end = End {
                    plan: &self.plan,
                    goods: &self.clients.goods,
                    orders: &self.clients.orders,
                    bank: &self.clients.bank,
                    executions: self.outside.executions(),
                    aggregates: self.nodes.aggregates.iter().map(|node| node.store.committed()).collect(),
                    runner: self.nodes.runner.store.committed(),
                    effects: self.nodes.of_effects().store.committed(),
                    projection: self.nodes.projection.store.committed(),
                };
                self.oracles.on_end(&end)
            }
            Some(what) if self.now_ns > healed_at + LIVENESS_NS => {
                let detail = format!("{} s after the faults ended: {what}", LIVENESS_NS / MS / 1_000);
                Err(Violation::new(Invariant::Live1, detail))
            }
            Some(_) => {
                self.after(LOOK_NS, Event::Looked);
                Ok(())
            }
        }
    }

    fn check_nodes(&self) -> Result<(), Violation> {
        let Nodes { aggregates, projection, runner: _, effects: _, stranger: _ } = &self.nodes;
        let of =
            |id: NodeId, checked: Result<(), Halt>| checked.map_err(|halt| Violation::of_halt(id, &halt));
        aggregates.iter().try_for_each(|node| of(node.id, node.check()))?;
        of(projection.id, projection.check())?;
        self.nodes.runners().try_for_each(|node| of(node.id, node.check()))
    }

    /// What has not come to an end, if anything.
    fn unfinished(&self) -> Option<String> {
        if let Some(what) = self.clients.unfinished() {
            return Some(what);
        }
        if let Some(placed) = self.placed.as_ref().filter(|placed| placed.ahead > 0) {
            return Some(format!("{} steps of the placement are still to come", placed.ahead));
        }
        let away = |id: &NodeId| !self.is_up(*id) && !self.halted.contains_key(id);
        let down = self.node_ids().into_iter().find(away);
        if let Some(id) = down {
            return Some(format!("{id} is down"));
        }
        let runners = self.nodes.runners().find_map(|node| self.unfinished_runner(node));
        runners.or_else(|| self.unfinished_projection()).or_else(|| self.unfinished_stranger())
    }

    fn unfinished_runner(&self, node: &Node<Runner>) -> Option<String> {
        let life = node.life.as_ref()?;
        let runner = life.driver.machine();
        if node.draining {
            return Some(format!("{} drains", node.id));
        }
        if runner.outbox().depth() > 0 {
            return Some(format!("{} entries wait in the outbox", runner.outbox().depth()));
        }
        if let Ok([lane, ..]) = Quarantine::lanes(&node.store.committed()).as_deref() {
            return Some(format!("lane {lane} of the outbox is a dead letter"));
        }
        if runner.effects().open() > 0 {
            return Some(format!("{} effects are open", runner.effects().open()));
        }
        for (source, gate) in runner.gates() {
            let last_of = |kind| self.oracles.last_seq(source.stream(), kind);
            let last = match source {
                Source::Events => last_of(Some("order")).max(last_of(Some("transfer"))),
                Source::Results | Source::Commands => last_of(None),
            };
            if let Some(late) = gate.catch_up() {
                return Some(format!("{} {source:?} catches up: {late:?}", node.id));
            }
            if gate.standing() != Standing::Bound || gate.checkpoint().seq < last {
                let seq = gate.checkpoint().seq;
                return Some(format!("{} {source:?}: {:?} at {seq} of {last}", node.id, gate.standing()));
            }
        }
        let rests = |row: &Row| row.paused.is_none() && row.backfill.is_none();
        if let Some((key, row)) = runner.recurring().rows().find(|(_, row)| !rests(row)) {
            return Some(format!(
                "schedule {} of {} is paused or filled in: {row:?}",
                key.schedule, key.tenant
            ));
        }
        let mut open = None;
        let rows = node.store.committed();
        let scanned = rows.scan(Table::Saga, b"", &mut |key, row| match Instance::decode(row) {
            Ok(instance) if instance.status.is_final() => ControlFlow::Continue(()),
            Ok(instance) => {
                open = Some(format!("{}: {:?}", String::from_utf8_lossy(key), instance));
                ControlFlow::Break(())
            }
            Err(halt) => {
                open = Some(halt.to_string());
                ControlFlow::Break(())
            }
        });
        open.or_else(|| scanned.err().map(|fault| fault.to_string()))
    }

    fn unfinished_projection(&self) -> Option<String> {
        let node = &self.nodes.projection;
        let life = node.life.as_ref()?;
        if node.draining {
            return Some(format!("{} drains", NodeId::Projection));
        }
        for (view, gate) in life.driver.machine().gates() {
            let kind = if view.as_str() == "stock_level" { "stock" } else { "order" };
            let last = self
                .oracles
                .last_seq(cloudlysis_core::wire::stream::PlatformStream::AggregateEvents, Some(kind));
            if let Some(late) = gate.catch_up() {
                return Some(format!("view {view} catches up: {late:?}"));
            }
            if gate.standing() != Standing::Bound || gate.checkpoint().seq < last {
                let seq = gate.checkpoint().seq;
                return Some(format!("view {view}: {:?} at {seq} of {last}", gate.standing()));
            }
        }
        None
    }
}
