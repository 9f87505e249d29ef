//! After a disaster: who has noticed, what people do about it (docs/operating.md), and whether the world lives again.

use super::clients::{GoodsIn, OrderPlan, SKUS, Step};
use super::disaster::{Calamity, Disaster, Stage};
use super::event::{Event, NodeId};
use super::{MS, World};
use crate::oracles::{Present, Violation};
use crate::plan::Faults;
use cloudlysis_core::gate::Standing;
use cloudlysis_core::runner::Source;
use cloudlysis_core::wire::id::EntityId;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Invariant, Table, View};
use cloudlysis_io_sim::store::{Committed, SimStore};
use std::collections::BTreeMap;

/// How often somebody looks whether everything has come to an end.
const LOOK_NS: u64 = 500 * MS;
/// Everything new must have ended this long after the runbook.
const LIVENESS_NS: u64 = 1_800_000 * MS;
/// Orders placed after the runbook.
const NEW_ORDERS: u64 = 4;

/// How a node came through a disaster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fared {
    /// It waits, says why, and does not claim to be ready.
    Detected,
    /// It stopped, and says why.
    Halted,
    /// It holds back what it could not apply.
    Quarantined,
    /// What it keeps is what the logs say.
    NotAffected,
}

impl Fared {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Detected, Self::Halted, Self::Quarantined, Self::NotAffected];
}

/// How every node came through a disaster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Aftermath {
    /// What happened.
    pub disaster: Disaster,
    /// To which stream.
    pub stream: PlatformStream,
    /// To whom, and how it fared.
    pub fared: BTreeMap<NodeId, Fared>,
}

impl World {
    /// Faults end; nodes that are down come back by themselves.
    pub(super) fn calm_down(&mut self) {
        self.faults = Faults::default();
        self.network.heal();
        (self.full, self.deceived) = (None, None);
        self.set_clocks_right();
    }

    /// A machine stopped for good, as the disaster wants it.
    pub(super) fn stay_halted(&mut self, id: NodeId, why: String) {
        self.note(|| format!("{id} stopped: {why}"));
        self.halted.insert(id, why);
    }

    fn rows_of(&self, id: NodeId) -> Committed<'_> {
        match id {
            NodeId::Aggregate(number) => self.nodes.aggregates[usize::from(number)].store.committed(),
            NodeId::Projection => self.nodes.projection.store.committed(),
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => self.nodes.runner_of(id).store.committed(),
        }
    }

    /// What a node keeps that the logs do not say.
    fn contradiction_of(&self, id: NodeId, present: &Present) -> Option<String> {
        let rows = self.rows_of(id);
        match id {
            NodeId::Aggregate(_) => present.contradicts_aggregate(&rows),
            NodeId::Projection => present
                .contradicts_projection(rows, &self.broker, self.now_ns)
                .map(|violation| violation.detail),
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => {
                present.contradicts_runner(&rows, self.oracles.departed(), &self.clients.orders)
            }
        }
    }

    fn fared(&self, id: NodeId, present: &Present) -> Result<Fared, Violation> {
        if self.halted.contains_key(&id) {
            return Ok(Fared::Halted);
        }
        if !self.is_up(id) || !self.is_ready(id) {
            return Ok(Fared::Detected);
        }
        let Some(contradiction) = self.contradiction_of(id, present) else { return Ok(Fared::NotAffected) };
        let mut holds_back = false;
        let rows = self.rows_of(id);
        let scanned = rows.scan(Table::ParkedKey, b"", &mut |_, _| {
            holds_back = true;
            std::ops::ControlFlow::Break(())
        });
        if scanned.is_ok() && holds_back {
            return Ok(Fared::Quarantined);
        }
        Err(Violation::new(Invariant::Div1, format!("{id} says it is ready, but {contradiction}")))
    }

    pub(super) fn is_ready(&self, id: NodeId) -> bool {
        match id {
            NodeId::Aggregate(number) => {
                let life = &self.nodes.aggregates[usize::from(number)].life;
                life.as_ref().is_some_and(|life| life.driver.machine().not_ready().is_none())
            }
            NodeId::Projection => {
                let life = &self.nodes.projection.life;
                life.as_ref().is_some_and(|life| life.driver.machine().not_ready().is_empty())
            }
            NodeId::Runner | NodeId::Effects | NodeId::Stranger => {
                let life = &self.nodes.runner_of(id).life;
                life.as_ref().is_some_and(|life| life.driver.machine().not_ready().is_empty())
            }
        }
    }

    /// INV-DIV-1, then people do what the runbook says, and clients come back.
    pub(super) fn on_judged(&mut self) -> Result<(), Violation> {
        let Some(Calamity { disaster, stream, .. }) = self.calamity else { return Ok(()) };
        let present = Present::read(&self.broker);
        let mut fared = BTreeMap::new();
        for id in self.node_ids() {
            fared.insert(id, self.fared(id, &present)?);
        }
        self.note(|| format!("{fared:?}"));
        self.aftermath = Some(Aftermath { disaster, stream, fared });
        self.calamity = Some(Calamity { disaster, stream, stage: Stage::Repaired });
        self.follow_the_runbook()?;
        self.come_back();
        self.healed_at = Some(self.now_ns);
        self.after(LOOK_NS, Event::Looked);
        Ok(())
    }

    fn follow_the_runbook(&mut self) -> Result<(), Violation> {
        for stream in PlatformStream::ALL {
            if self.broker.engine().is_some_and(|engine| engine.stream(stream.name()).is_none()) {
                self.make_stream(stream, "restored")?;
            }
        }
        for id in std::mem::take(&mut self.halted).into_keys() {
            match id {
                NodeId::Aggregate(number) => {
                    self.nodes.aggregates[usize::from(number)].store = SimStore::default();
                }
                NodeId::Projection => {
                    self.nodes.projection.store = SimStore::default();
                    self.nodes.projection.config.adopt = true;
                }
                NodeId::Runner | NodeId::Effects | NodeId::Stranger => {
                    self.nodes.runner_of_mut(id).config.adopt = true;
                }
            }
            self.note(|| format!("{id} is started again, as the runbook says"));
            self.after(MS, Event::NodeStarted(id));
        }
        Ok(())
    }

    /// New goods and new orders, none of which knows anything of the disaster.
    fn come_back(&mut self) {
        let tenants: Vec<_> = {
            let mut seen: Vec<_> = self.clients.orders.iter().map(|order| order.tenant.clone()).collect();
            seen.sort();
            seen.dedup();
            seen
        };
        for tenant in &tenants {
            for sku in [SKUS[0], SKUS[1]] {
                self.clients.goods.push(GoodsIn { tenant: tenant.clone(), sku, qty: 9 });
                self.step_later(MS, Step::Add { delivery: self.clients.goods.len() - 1 });
            }
        }
        for number in 0..NEW_ORDERS {
            let at = usize::try_from(number).unwrap_or_default();
            let order = OrderPlan {
                tenant: tenants[at % tenants.len()].clone(),
                id: EntityId::parse(&format!("after.{number}")).expect("an id"),
                sku: SKUS[at % 2],
                qty: 1,
                cents: 50_000 + number,
                card: "valid",
                victim: false,
                cancelled_after_ms: None,
                repeated_after_ms: None,
            };
            self.clients.orders.push(order);
            let order = self.clients.orders.len() - 1;
            self.step_later(5_000 * MS, Step::Place { order });
        }
    }

    /// Whether everything new has come to an end; then everybody agrees with the logs.
    pub(super) fn on_looked_after_disaster(&mut self) -> Result<(), Violation> {
        let healed_at = self.healed_at.unwrap_or(self.now_ns);
        let present = Present::read(&self.broker);
        if let Some(what) = self.unfinished_after_disaster(&present) {
            if self.now_ns > healed_at + LIVENESS_NS {
                let detail = format!("{} s after the runbook: {what}", LIVENESS_NS / MS / 1_000);
                return Err(Violation::new(Invariant::Live1, detail));
            }
            self.after(LOOK_NS, Event::Looked);
            return Ok(());
        }
        self.ended = true;
        for id in self.node_ids() {
            // What the runner did before is done, whatever the logs say now; what it waits for is looked at above.
            if id != NodeId::Runner
                && let Some(what) = self.contradiction_of(id, &present)
            {
                return Err(Violation::new(Invariant::Div1, format!("after the runbook, {id}: {what}")));
            }
        }
        Ok(())
    }

    fn unfinished_after_disaster(&self, present: &Present) -> Option<String> {
        if let Some(what) = self.clients.unfinished() {
            return Some(what);
        }
        for id in self.node_ids() {
            if !self.is_up(id) || !self.is_ready(id) {
                return Some(format!("{id} is not ready: {:?}", self.halted.get(&id)));
            }
        }
        let runner = self.nodes.runner.life.as_ref()?.driver.machine();
        if runner.outbox().depth() > 0 || runner.effects().open() > 0 {
            let (depth, open) = (runner.outbox().depth(), runner.effects().open());
            return Some(format!("{depth} entries wait in the outbox, {open} effects are open"));
        }
        for (source, gate) in runner.gates() {
            let kind = if *source == Source::Events { "order" } else { "" };
            let last = present.last_seq(source.stream(), kind);
            if gate.standing() != Standing::Bound || gate.checkpoint().seq < last {
                return Some(format!("runner {source:?} is at {} of {last}", gate.checkpoint().seq));
            }
        }
        let projection = self.nodes.projection.life.as_ref()?.driver.machine();
        for (view, gate) in projection.gates() {
            let kind = if view.as_str() == "stock_level" { "stock" } else { "order" };
            let last = present.last_seq(PlatformStream::AggregateEvents, kind);
            if gate.checkpoint().seq < last {
                return Some(format!("view {view} is at {} of {last}", gate.checkpoint().seq));
            }
        }
        let new = self.clients.orders.iter().filter(|order| order.id.as_str().starts_with("after."));
        for order in new {
            let status = present.status_of(order);
            if !matches!(status.as_deref(), Some("shipped" | "cancelled")) {
                return Some(format!("order {:?} is {status:?}", order.id));
            }
        }
        present.waits_in_vain(&self.rows_of(NodeId::Runner))
    }

    /// How the nodes of this run came through its disaster.
    #[must_use]
    pub const fn aftermath(&self) -> Option<&Aftermath> {
        self.aftermath.as_ref()
    }
}
