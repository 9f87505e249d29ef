//! Projection: views kept up to date from aggregate events.
//!
//! ```text
//! delivery ─► gate ─► source quarantined? ── yes ─► park behind, ack
//!               │             │ no
//!               │          decode ─► next version of its aggregate? ─► project ─► row + checkpoint ─► ack
//!               │             │ cannot        │ skipped                  │ cannot
//!               └ drop        └───────────────┴──────────────────────────┴─► park, hold the source back, term
//! ```
//!
//! Every view has a consumer, a gate and a checkpoint of its own, so that a new view catches up from the first event
//! while the others go on. Row and checkpoint move in one commit. The unit of order is the source, one aggregate:
//! what cannot be applied holds back only its own source (see [`quarantine`]).
//!
//! | durable | row |
//! |---|---|
//! | `view` | sequence that last changed it, and the row |
//! | `view_source` | view and aggregate → the last version applied |
//! | `checkpoint`, `parked`, `parked_key` | of the gates and the quarantine |
//!
//! - INV-PRJ-1: a row and the checkpoint past its event are one commit.
//! - INV-PRJ-2: a view equals the fold of the stream up to its checkpoint.
//! - INV-PRJ-3: per source, the versions applied are contiguous: a hole is noticed and held back, never skipped.
//!
//! Not here: queries ([`query`](crate::query) reads the rows), rebuilding.

mod apply;
#[cfg(test)]
pub(crate) mod tests;

pub use apply::ViewRow;

use crate::cx::{Cx, Machine, Tick};
use crate::drain::{Drain, Left, Report};
use crate::gate::{self, Admission, Checkpoint, Delivery, Gate, Standing};
use crate::halt::{Fence, Halt};
use crate::manifest::ProjectionDef;
use crate::placement::{self, Tenants};
use crate::quarantine::{self, Quarantine};
use crate::quirks::Quirks;
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::id::Name;
use crate::wire::stream::{ConsumerName, ConsumerRole, PlatformStream};
use crate::wire::subject::Filter;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a projection node needs besides its tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The definitions.
    pub definitions: BTreeMap<Name, Arc<ProjectionDef>>,
    /// Which partition this is.
    pub partition: u32,
    /// Its tenants.
    pub tenants: Tenants,
    /// Nobody else has ever had an event: a store that had all tenants may go on with these.
    pub narrows: bool,
    /// The id of our store.
    pub store_id: String,
    /// Take over consumers of another store.
    pub adopt: bool,
    /// Bounds of each gate.
    pub gate_limits: gate::Limits,
    /// Most messages parked.
    pub parked_max: u64,
    /// Budget of one program run.
    pub gas_max: u64,
    /// Jitter.
    pub seed: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// Facts.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A message arrived for a view.
    Delivered {
        /// The view.
        view: Name,
        /// The message.
        delivery: Delivery,
    },
    /// Something for a view's gate.
    Gate {
        /// The view.
        view: Name,
        /// What.
        input: gate::Input,
    },
    /// The connection to the broker came or went.
    ConnectionChanged {
        /// Whether it is there now.
        connected: bool,
    },
    /// The node is to stop.
    Stopped {
        /// How long it may take, in milliseconds.
        deadline_ms: u64,
    },
    /// Time has passed.
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

/// Requests.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Of a view's gate.
    Gate {
        /// The view.
        view: Name,
        /// What.
        effect: gate::Effect,
    },
    /// The drain is over.
    Drained(Report),
}

/// What a projection node waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// A gate.
    Gate(gate::Timer),
    /// The end of a drain.
    Drain,
}

/// A projection node's machine. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Projection {
    config: Config,
    gates: BTreeMap<Name, Gate>,
    quarantine: Quarantine,
    drain: Drain,
}

fn definition_key(view: &Name) -> Vec<u8> {
    format!("definition:view:{view}").into_bytes()
}

impl Projection {
    /// Where each view's gate stands.
    pub fn gates(&self) -> impl Iterator<Item = (&Name, &Gate)> {
        self.gates.iter()
    }

    /// What is held back.
    #[must_use]
    pub const fn quarantine(&self) -> &Quarantine {
        &self.quarantine
    }

    /// Why it is not ready; empty when it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.drain.is_stopping() {
            reasons.push("draining".to_owned());
        }
        for (view, gate) in &self.gates {
            match gate.standing() {
                Standing::Bound | Standing::Stopped => {}
                Standing::NoStream => reasons.push(format!("view {view}: stream_missing")),
                Standing::Unbound => reasons.push(format!("view {view}: consumer_unbound")),
            }
        }
        reasons
    }
}

impl Machine for Projection {
    type Config = Config;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = (BTreeMap<Name, Checkpoint>, quarantine::Durable);

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        placement::check_narrowing(config.narrows, &config.tenants, view)?;
        let mut gates = BTreeMap::new();
        for (at, (name, definition)) in config.definitions.iter().enumerate() {
            let built_by = view.get(Table::Meta, &definition_key(name))?;
            if built_by.is_some_and(|hash| hash != definition.hash.as_bytes()) {
                return Err(Fence::DefinitionChanged { what: format!("view {name}") }.into());
            }
            let gate = gate::Config {
                consumer: ConsumerName::new(ConsumerRole::Projection, Some(name), config.partition),
                stream: PlatformStream::AggregateEvents,
                filters: definition.aggregates().iter().map(Filter::aggregates).collect(),
                tenants: config.tenants.clone(),
                narrows: config.narrows,
                store_id: config.store_id.clone(),
                adopt: config.adopt,
                rereads: false,
                limits: config.gate_limits,
                seed: config.seed ^ at as u64,
                quirks: config.quirks,
            };
            let gate = Gate::recover(gate, incarnation, view)?;
            // A consumer without filters would read everything.
            if config.tenants != Tenants::from_iter([]) {
                gates.insert(name.clone(), gate);
            }
        }
        let quarantine = Quarantine::recover(config.parked_max, config.quirks, view)?;
        Ok(Self { config, gates, quarantine, drain: Drain::Running })
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        match input {
            Input::Delivered { view, delivery } => self.on_delivered(now, &view, &delivery, cx),
            Input::Gate { view, input } => {
                let Some(gate) = self.gates.get_mut(&view) else { return Ok(()) };
                let binds = matches!(&input, gate::Input::Inspected { .. });
                gate_cx(&view, cx, |cx| gate.handle(now, input, cx))?;
                if binds && let Some(definition) = self.config.definitions.get(&view) {
                    cx.put(Table::Meta, &definition_key(&view), definition.hash.as_bytes());
                }
                Ok(())
            }
            Input::ConnectionChanged { connected } => {
                for (view, gate) in &mut self.gates {
                    let input = gate::Input::ConnectionChanged { connected };
                    gate_cx(view, cx, |cx| gate.handle(now, input, cx))?;
                }
                Ok(())
            }
            Input::Stopped { deadline_ms } => {
                self.drain.stop(now, deadline_ms);
                self.gates.values_mut().for_each(Gate::stop);
                Ok(())
            }
            Input::Tick(Tick) => {
                for (view, gate) in &mut self.gates {
                    gate_cx(view, cx, |cx| gate.tick(now, cx));
                }
                if let Some(report) = self.drain.observe(now, Left::default(), self.config.quirks, cx) {
                    cx.emit(Effect::Drained(report));
                }
                Ok(())
            }
        }
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        let gates =
            self.gates.values().filter_map(Gate::deadline).map(|(at, timer)| (at, Timer::Gate(timer)));
        let drain = self.drain.deadline(Left::default()).map(|at| (at, Timer::Drain));
        gates.chain(drain).min_by_key(|(at, _)| *at)
    }

    fn durable(&self) -> Self::Durable {
        let checkpoints =
            self.gates.iter().map(|(name, gate)| (name.clone(), gate.checkpoint().clone())).collect();
        (checkpoints, self.quarantine.durable())
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.gates.values().try_for_each(|gate| gate.check(view))?;
        self.quarantine.check(view)
    }
}

fn gate_cx<R>(
    view: &Name,
    cx: &mut Cx<'_, Input, Effect>,
    run: impl FnOnce(&mut Cx<'_, gate::Input, gate::Effect>) -> R,
) -> R {
    cx.child(
        |input| Input::Gate { view: view.clone(), input },
        |effect| Effect::Gate { view: view.clone(), effect },
        run,
    )
}

impl Projection {
    fn on_delivered(
        &mut self,
        now: Now,
        view: &Name,
        delivery: &Delivery,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let (Some(gate), Some(definition)) =
            (self.gates.get_mut(view), self.config.definitions.get(view).cloned())
        else {
            return Ok(());
        };
        match gate_cx(view, cx, |cx| gate.admit(now, delivery, cx)) {
            Admission::Drop => Ok(()),
            Admission::Apply => self.apply(now, view, &definition, delivery, cx),
        }
    }
}
