//! The runner: sagas, timers, outbox, effects and quarantine of one partition, moving in one commit.
//!
//! ```text
//! AGGREGATE_EVENTS ──► gate ─┐                         ┌─► commands to aggregates
//! WORKFLOW_EVENTS ───► gate ─┼─► saga ──work──► outbox ┤
//!                            │    ▲               │    └─► WORKFLOW_COMMANDS, WORKFLOW_EVENTS
//!                            │    ├──settlement───┤                      ▲
//!                            │    └──timers ──────┘ reminders            │
//! schedules ─────────────────┼─► saga, outbox or effects                 │
//! WORKFLOW_COMMANDS ─► gate ─┴─► effects ───────── result ───────────────┘
//! ```
//!
//! With [`HandOver::Commit`](crate::saga::HandOver) an effect goes from the saga straight to the effects, and its
//! result straight back.
//!
//! This machine only routes: a delivery goes through its gate, then to the saga or the effect it is for; what they ask
//! for goes to the outbox; how that ended goes back to the saga. All of it is staged by follow-ups of one input, so it
//! commits together with the checkpoint.
//!
//! What operators ask for is a fact as well ([`operate`]): it joins a turn, and is answered after the commit.
//!
//! A runner may be one half of this alone: [`Mode`] says which streams it reads.
//!
//! Durable, derived, lost: those of the parts. Invariants: those of the parts.
//!
//! Not here: any decision.

mod dead_letter;
mod look;
mod occurrence;
pub mod operate;
mod redrive;
mod replay;
mod retention;
mod route;
mod source;
#[cfg(test)]
pub(crate) mod tests;
mod tick;

pub use occurrence::OccurrenceEnded;
pub use route::HAPPENED_MAX;
pub use source::{Mode, Source};

use crate::cx::{Cx, Machine, Tick};
use crate::drain::{Drain, Report};
use crate::effect::{self, Arrival, Effects};
use crate::gate::{self, Admitted, Checkpoint, Delivery, Gate, Standing};
use crate::halt::Halt;
use crate::manifest::{EffectDef, SagaDef, ScheduleDef};
use crate::outbox::{self, Entry, Outbox};
use crate::placement::{self, Tenants};
use crate::program::Natives;
use crate::program::contract::{TIMERS_MAX, WORK_MAX};
use crate::quarantine::{self, Quarantine};
use crate::quirks::{Quirk, Quirks};
use crate::saga::{Finished, Incoming, SagaConfig, Sagas, TimerChange};
use crate::schedule::recurring::{self, Recurring};
use crate::schedule::{self, Schedule};
use crate::store::View;
use crate::time::{Mono, Now};
use crate::wire::envelope::EffectCommand;
use crate::wire::id::Name;
use crate::wire::stream::ConsumerName;
use operate::{Answered, Operation};
use retention::Retention;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a runner needs besides its tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The sagas.
    pub sagas: BTreeMap<Name, Arc<SagaDef>>,
    /// The programs of the binary.
    pub natives: Natives,
    /// The effects.
    pub effects: BTreeMap<Name, Arc<EffectDef>>,
    /// The schedules.
    pub schedules: BTreeMap<Name, Arc<ScheduleDef>>,
    /// What it does.
    pub mode: Mode,
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
    /// Bounds of the outbox.
    pub outbox_limits: outbox::Limits,
    /// Bounds of the effects.
    pub effect_limits: effect::Limits,
    /// Bounds of timers and schedules.
    pub schedule_limits: schedule::Limits,
    /// Most messages parked.
    pub parked_max: u64,
    /// How long what has ended is kept, in milliseconds.
    pub keep_ms: u64,
    /// Budget of one program run.
    pub gas_max: u64,
    /// Jitter.
    pub seed: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// How a delivery is to be settled once everything it caused is staged.
#[derive(Clone, PartialEq, Debug)]
pub struct Settling {
    /// Where it came from.
    source: Source,
    /// What it was.
    admitted: Admitted,
}

/// Facts.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A message arrived.
    Delivered {
        /// From which stream.
        source: Source,
        /// The message.
        delivery: Delivery,
    },
    /// Something for a gate.
    Gate {
        /// Which.
        source: Source,
        /// What.
        input: gate::Input,
    },
    /// Something for the outbox.
    Outbox(outbox::Input),
    /// Something for the effects.
    Effect(effect::Input),
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
    /// An operator asked for something.
    Asked {
        /// Names the question.
        ticket: u64,
        /// What.
        operation: Box<Operation>,
    },
    /// Something is for a saga instance. Only this machine sends it.
    SagaReceived(Incoming),
    /// What is held back has its turn. Only this machine sends it.
    TurnCame {
        /// How many messages may have theirs.
        left: u32,
    },
    /// A saga sets or cancels a timer. Only this machine sends it.
    TimerChanged(Box<TimerChange>),
    /// Work must leave. Only this machine sends it.
    Enqueued(Box<Entry>),
    /// Entries of the outbox were given up on. Only this machine sends it.
    GivenUp {
        /// How many may be parked.
        left: u32,
    },
    /// An effect joins the ledger. Only this machine sends it.
    EffectHandedOver(Box<EffectCommand>),
    /// What an occurrence of a schedule asked for has ended. Only this machine sends it.
    OccurrenceEnded(Box<OccurrenceEnded>),
    /// Everything a delivery caused is staged. Only this machine sends it.
    Caused(Settling),
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
    /// Of a gate.
    Gate {
        /// Which.
        source: Source,
        /// What.
        effect: gate::Effect,
    },
    /// Of the outbox.
    Outbox(outbox::Effect),
    /// Of the effects.
    Effect(effect::Effect),
    /// An entry of the outbox came to its end: for figures. Lost if the process dies right then.
    Left(outbox::Waited),
    /// An instance came to its end: for figures, and for whoever watches. Lost if the process dies right then.
    Finished(Finished),
    /// The answer to an operator.
    Answered(Box<Answered>),
    /// The drain is over.
    Drained(Report),
}

/// What a runner waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// A gate.
    Gate(gate::Timer),
    /// The outbox.
    Outbox(outbox::Timer),
    /// The effects.
    Effect(effect::Timer),
    /// The timers of sagas.
    Schedule(schedule::Waiting),
    /// A schedule.
    Recurring,
    /// What is held back and has its turn, or is to be held back.
    Quarantine,
    /// What has ended and was kept long enough.
    Retention,
    /// The end of a drain.
    Drain,
}

/// What the tables determine of a runner.
#[derive(Clone, PartialEq, Debug)]
pub struct Durable {
    /// How far each stream is applied.
    pub checkpoints: BTreeMap<Source, Checkpoint>,
    /// Tail and depth of the outbox.
    pub outbox: (u64, u64),
    /// Effects that have not ended.
    pub effects: effect::Durable,
    /// Timers that have not fired.
    pub timers: u64,
    /// How far each schedule is.
    pub recurring: BTreeMap<recurring::RowKey, recurring::Row>,
    /// What is held back.
    pub quarantine: quarantine::Durable,
}

/// A runner's machine. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Runner {
    config: Config,
    gates: BTreeMap<Source, Gate>,
    sagas: Sagas,
    outbox: Outbox,
    effects: Effects,
    schedule: Schedule,
    recurring: Recurring,
    quarantine: Quarantine,
    retention: Retention,
    drain: Drain,
    /// Why the delivery in hand cannot be applied; set and taken within one turn.
    poison: Option<String>,
}

impl Machine for Runner {
    type Config = Config;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = Durable;

    /// What the events of one message are to instances, the timers that fire at once, and what a pause held, are applied in
    /// one step each.
    const CASCADE_STEPS_MAX: usize = 1_024 + HAPPENED_MAX * (1 + WORK_MAX + 2 * TIMERS_MAX);

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let sagas = SagaConfig {
            definitions: config.sagas.clone(),
            natives: config.natives.clone(),
            hand_over: config.mode.hand_over(),
            gas_max: config.gas_max,
            quirks: config.quirks,
        };
        let sagas = Sagas::recover(sagas, view)?;
        placement::check_narrowing(config.narrows, &config.tenants, view)?;
        let mut gates = BTreeMap::new();
        for source in config.mode.sources().iter().copied() {
            let filters = route::filters(source, &sagas);
            // A consumer without filters would read everything.
            let reads_nothing = filters.is_empty() || config.tenants == Tenants::from_iter([]);
            let gate = gate::Config {
                consumer: ConsumerName::new(source.role(), None, config.partition),
                stream: source.stream(),
                filters,
                tenants: config.tenants.clone(),
                narrows: config.narrows,
                store_id: config.store_id.clone(),
                adopt: config.adopt,
                // Sagas know the causes they applied, effects their commands.
                rereads: true,
                limits: config.gate_limits,
                seed: config.seed ^ source as u64,
                quirks: config.quirks,
            };
            let gate = Gate::recover(gate, incarnation, view)?;
            if !reads_nothing {
                gates.insert(source, gate);
            }
        }
        let held = !gates.is_empty();
        let outbox =
            outbox::Config { limits: config.outbox_limits, seed: config.seed, quirks: config.quirks };
        let effects = effect::Config {
            definitions: config.effects.clone(),
            limits: config.effect_limits,
            gas_max: config.gas_max,
            seed: config.seed,
            quirks: config.quirks,
        };
        let mut outbox = Outbox::recover(outbox, incarnation, view)?;
        outbox.hold(held);
        Quarantine::lanes(view)?.iter().for_each(|lane| outbox.keeps(lane));
        let mut effects = Effects::recover(effects, incarnation, view)?;
        if held {
            effects.hold_calls();
        }
        Ok(Self {
            gates,
            sagas,
            outbox,
            effects,
            schedule: Schedule::recover(
                schedule::Config { limits: config.schedule_limits, quirks: config.quirks },
                view,
            )?,
            recurring: Recurring::recover(occurrence::config(&config), view)?,
            quarantine: Quarantine::recover(config.parked_max, config.quirks, view)?,
            retention: Self::recover_retention(view)?,
            drain: Drain::Running,
            poison: None,
            config,
        })
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        self.answer(now, input, cx)?;
        self.hold_what_leaves();
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        let gates =
            self.gates.values().filter_map(Gate::deadline).map(|(at, timer)| (at, Timer::Gate(timer)));
        let outbox = self.outbox.deadline().map(|(at, timer)| (at, Timer::Outbox(timer)));
        let effects = self.effects.deadline().map(|(at, timer)| (at, Timer::Effect(timer)));
        let schedule = self.schedule.deadline().map(|(at, timer)| (at, Timer::Schedule(timer)));
        let recurring = self.recurring.deadline().map(|at| (at, Timer::Recurring));
        let quarantine = self.quarantine.deadline().map(|at| (at, Timer::Quarantine));
        let retention = self.retention.deadline().map(|at| (at, Timer::Retention));
        let times = schedule.into_iter().chain(recurring).chain(quarantine).chain(retention);
        let parks = self.parks().then_some((Mono::ZERO, Timer::Quarantine));
        let times = times.chain(parks).filter(|_| !self.drain.is_stopping());
        let drain = self.drain.deadline(self.left()).map(|at| (at, Timer::Drain));
        gates.chain(outbox).chain(effects).chain(times).chain(drain).min_by_key(|(at, _)| *at)
    }

    fn durable(&self) -> Durable {
        Durable {
            checkpoints: self
                .gates
                .iter()
                .map(|(source, gate)| (*source, gate.checkpoint().clone()))
                .collect(),
            outbox: self.outbox.durable(),
            effects: self.effects.durable(),
            timers: self.schedule.durable(),
            recurring: self.recurring.durable(),
            quarantine: self.quarantine.durable(),
        }
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.gates.values().try_for_each(|gate| gate.check(view))?;
        self.check_sagas_and_retention(view)?;
        self.outbox.check(view)?;
        self.check_lanes(view)?;
        self.effects.check(view)?;
        self.schedule.check(view)?;
        self.recurring.check(view)?;
        self.quarantine.check(view)
    }
}

fn gate_cx<R>(
    source: Source,
    cx: &mut Cx<'_, Input, Effect>,
    run: impl FnOnce(&mut Cx<'_, gate::Input, gate::Effect>) -> R,
) -> R {
    cx.child(|input| Input::Gate { source, input }, |effect| Effect::Gate { source, effect }, run)
}

impl Runner {
    fn answer(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        match input {
            Input::Delivered { source, delivery } => self.on_delivered(now, source, &delivery, cx),
            Input::Gate { source, input } => {
                let Some(gate) = self.gates.get_mut(&source) else { return Ok(()) };
                gate_cx(source, cx, |cx| gate.handle(now, input, cx))
            }
            Input::Outbox(input) => {
                let settlement =
                    cx.child(Input::Outbox, Effect::Outbox, |cx| self.outbox.handle(now, input, cx))?;
                settlement.map_or(Ok(()), |settlement| self.on_settled(settlement, cx))
            }
            Input::Effect(input) => {
                let ended =
                    cx.child(Input::Effect, Effect::Effect, |cx| self.effects.handle(now, input, cx))?;
                ended.into_iter().for_each(|ended| self.on_effect_ended(now, ended, cx));
                Ok(())
            }
            Input::ConnectionChanged { connected } => {
                for (source, gate) in &mut self.gates {
                    let input = gate::Input::ConnectionChanged { connected };
                    gate_cx(*source, cx, |cx| gate.handle(now, input, cx))?;
                }
                Ok(())
            }
            Input::Stopped { deadline_ms } => {
                self.drain.stop(now, deadline_ms);
                self.gates.values_mut().for_each(Gate::stop);
                Ok(())
            }
            Input::Asked { ticket, operation } => self.on_asked(now, ticket, *operation, cx),
            Input::SagaReceived(incoming) => self.on_received(now, &incoming, cx),
            Input::TurnCame { left } => self.on_turn_came(now, left, cx),
            Input::TimerChanged(change) => match *change {
                TimerChange::Set(timer) => self.schedule.set(now, &timer, cx),
                TimerChange::Cancelled { tenant, id } => self.schedule.cancel(&tenant, &id, cx),
            },
            Input::Enqueued(entry) => {
                cx.child(Input::Outbox, Effect::Outbox, |cx| self.outbox.enqueue(now, &entry, cx))
            }
            Input::GivenUp { left } => self.on_given_up(now, left, cx),
            Input::EffectHandedOver(command) => cx.child(Input::Effect, Effect::Effect, |cx| {
                self.effects.on_command(now, &command, Arrival::HandedOver, cx)
            }),
            Input::OccurrenceEnded(ended) => {
                self.on_occurrence_ended(now, &ended, cx);
                Ok(())
            }
            Input::Caused(settling) => self.on_caused(settling, cx),
            Input::Tick(Tick) => self.on_tick(now, cx),
        }
    }

    /// What the gates do not vouch for must not be added to. A drain stops the gates: what they said last holds on.
    ///
    /// Effects wait for the first time only: what is in the ledger then is ours, and need not wait for a broker that is
    /// away.
    fn hold_what_leaves(&mut self) {
        if self.drain.is_stopping() {
            // INV-DRN-5
            if !self.config.quirks.has(Quirk::DrainCallsOn) {
                self.effects.hold_calls();
            }
            if self.drain.report().is_some() && !self.config.quirks.has(Quirk::DrainSendsOn) {
                self.outbox.hold(true);
            }
            return;
        }
        let bound = |gate: &Gate| gate.standing() == Standing::Bound;
        let vouched = self.gates.values().all(bound);
        self.outbox.hold(!vouched);
        if vouched {
            self.effects.let_calls_go();
        }
    }
}
