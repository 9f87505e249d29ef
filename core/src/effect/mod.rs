//! Effect idempotency: calls to the outside, each under one key, each settled once.
//!
//! ```text
//! command ─► Open ── place free ─► Started ── succeeded, failed ─► Settled  (+ result, the way the command came)
//!   │                    ▲            │
//!   └ known: ignored     └─ Backoff ◄─┤ not sent, no answer, "not now"
//!                                     └─ attempts or time used up, or at most once and no answer ─► Parked
//!
//! Parked ── an operator ─► Open, or Settled as they say
//! ```
//!
//! The ledger row is written before anything is called: `Started` is durable when `Execute` is released, because both
//! come from one turn. After a restart every call that was under way is repeated under the same key, which the outside
//! sees as `Idempotency-Key`; such attempts are counted as ambiguous and never hidden. An effect declared at most once,
//! and one whose attempts or time are used up, is parked instead, until an operator says how it goes on ([`operate`]).
//!
//! An effect's time runs from when it was asked for, or retried by an operator. From the first look at it in a life on the monotonic clock counts
//! it, so a step of the wall clock costs or gives nothing; what passed before, in other lives and on disk, is what the
//! wall clock says of it, nothing if that is negative. So a step can shift the end once per life, by as much as it was.
//!
//! What several effects call is their upstream. After some failures in a row its `circuit` opens, and its effects wait
//! in the state they are in, without attempts and without a place, until one call shows that it answers (`upstreams`).
//! So do those of an effect with limits while as many calls as may be are under way, or have begun, under their key
//! (`lanes`). Their time goes on.
//!
//! Durable: `effect`, `effect_open`, `effect_parked`. Derived on recovery: how many are open, how many are parked. Derived: rows of those in memory. Lost on purpose:
//! attempts, pauses, circuits, lanes, what the step under way has closed.
//!
//! - INV-EFF-1: that an attempt started is durable before the attempt is released.
//! - INV-EFF-2: the idempotency key never changes across attempts.
//! - INV-EFF-3: an effect has at most one live attempt.
//! - INV-EFF-4: an effect is settled once, and its result commits with that; a parked one moves only as an operator says.
//! - INV-EFF-5: an attempt without an answer is on record, also when a crash cut it off; an effect of at most once is not
//!   repeated after it, unless an operator says so.
//! - INV-EFF-6: no attempt begins when an effect's time is used up.
//! - INV-EFF-7: from when a circuit opens until its upstream answers, one call to it begins at a time.
//! - INV-EFF-8: no more calls are under way, and no more begin in a second, under a key than its limits allow.
//!
//! Limits: `in_flight_max` calls at once; `tracked_max` in memory, the rest waits on disk in order.
//!
//! Not here: how a call is made ([`manifest`](crate::manifest) fills it in), what a result means to a saga.

mod attempt;
pub mod audit;
mod bucket;
mod circuit;
mod forgotten;
mod lanes;
mod ledger;
pub mod look;
mod opened;
pub mod operate;
mod round;
#[cfg(test)]
pub(crate) mod tests;
mod upstreams;

pub use circuit::{CircuitLimits, Standing};
pub use ledger::{Call, Intervened, Intervention, LedgerRow, Phase};

use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::{EffectDef, EffectRequest};
use crate::outcome::{Outcome, Token, Tokens};
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View, try_scan};
use crate::time::{Mono, Now};
use crate::wire::context::Context;
use crate::wire::envelope::EffectResult;
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys;
use forgotten::Forgotten;
use lanes::{LaneId, Lanes};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use upstreams::{UpstreamId, Upstreams};

/// How often one tick looks for effects that may be called, a window of them at a time.
const LOOKS_MAX: usize = 16;

/// Bounds of the effects of a partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Calls at once.
    pub in_flight_max: usize,
    /// Effects in memory at once.
    pub tracked_max: usize,
    /// Keys of effects' limits in memory at once.
    pub lanes_max: usize,
    /// Added to an effect's own timeout before its answer is given up, in milliseconds.
    pub answer_slack_ms: u64,
    /// When the circuit of an upstream opens.
    pub circuit: CircuitLimits,
}

/// What effects need besides their tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The definitions.
    pub definitions: BTreeMap<Name, Arc<EffectDef>>,
    /// Bounds.
    pub limits: Limits,
    /// Budget for filling in one request.
    pub gas_max: u64,
    /// Jitter.
    pub seed: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// What the outside answered.
#[derive(Clone, PartialEq, Debug)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// The body: JSON where it was JSON, text otherwise.
    pub body: Value,
}

/// The call was definitely not made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotSent {
    /// Why.
    pub detail: String,
    /// Trying again cannot help: the request itself is not allowed.
    pub forbidden: bool,
}

/// How a command reached the ledger; its result takes the same way back.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// As a message of `WORKFLOW_COMMANDS`.
    #[default]
    Delivered,
    /// From a saga of this partition, in the commit of its transition.
    HandedOver,
}

impl Arrival {
    fn is_delivered(&self) -> bool {
        *self == Self::Delivered
    }
}

/// An effect that was settled.
#[derive(Clone, PartialEq, Debug)]
pub struct Ended {
    /// How.
    pub result: EffectResult,
    /// How its command came.
    pub arrival: Arrival,
}

/// Facts for effects. Commands have an entrance of their own: [`Effects::on_command`].
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// A call came back.
    Returned {
        /// Which attempt.
        token: Token,
        /// What came back.
        outcome: Outcome<Answered, NotSent>,
    },
}

/// Requests of effects.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Make the call.
    Execute {
        /// Names the attempt.
        token: Token,
        /// Whose.
        tenant: TenantId,
        /// The effect.
        effect: Name,
        /// The idempotency key: the same in every attempt.
        idempotency_key: String,
        /// Counts from one.
        attempt: u32,
        /// The request.
        request: EffectRequest,
        /// How long to wait for an answer, in milliseconds.
        timeout_ms: u64,
        /// What the effect belongs to; nothing of it is part of the request.
        context: Option<Context>,
    },
}

/// What effects wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Another attempt, giving up on an answer, the end of an effect's time or of an upstream's pause, or the next call
    /// under a key.
    Retry,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    /// For want of a place.
    Waiting,
    /// Called.
    InFlight { token: Token, give_up_at: Mono, upstream: Option<UpstreamId>, lane: Option<LaneId> },
    /// Until its upstream is called again.
    Held { upstream: UpstreamId },
    /// Behind others under its key, or until one more may be called under it.
    Queued { lane: LaneId, ticket: u64 },
    /// For want of a place, the next under its key.
    Called { lane: LaneId },
    /// Until the next attempt.
    Backoff { until: Mono },
}

#[derive(Clone, PartialEq, Debug)]
struct Tracked {
    tenant: TenantId,
    command_id: CommandId,
    state: State,
    /// When its time is used up, if that is limited; known from the first look at its row in this life on.
    ends_at: Option<Mono>,
    /// Derived: its row, unless it is large or is in the hands of a step.
    row: Option<Box<LedgerRow>>,
}

/// What the tables determine of effects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durable {
    /// Neither settled nor parked.
    pub open: u64,
    /// They wait for a person.
    pub parked: u64,
}

/// The effects of one partition. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Effects {
    config: Config,
    tokens: Tokens,
    /// Derived: the position of the next open effect, after every one that is open.
    tail: u64,
    /// Derived: rows of the open index.
    open: u64,
    /// Derived: rows of the parked index.
    parked: u64,
    /// Positions below are tracked or gone; the rest is on disk only.
    cursor: u64,
    tracked: BTreeMap<u64, Tracked>,
    ready: BTreeSet<u64>,
    due: BTreeSet<(Mono, u64)>,
    in_flight: usize,
    /// Nothing is called yet: see [`Effects::hold_calls`].
    calls_held: bool,
    live: BTreeMap<Token, u64>,
    /// Closed by the step under way, whose rows are still to be seen.
    closed_now: BTreeSet<u64>,
    upstreams: Upstreams,
    lanes: Lanes,
    forgotten: Forgotten,
}

impl Effects {
    /// Reads the tail back and counts what is open.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let corrupt = || Halt::Corrupt { table: Table::EffectOpen, detail: "a key is not a position".into() };
        let (mut open, mut first, mut tail) = (0, None, 0);
        try_scan(view, Table::EffectOpen, b"", &mut |key, _| {
            let position = keys::parse_position(key).ok_or_else(corrupt)?;
            open += 1;
            first = first.or(Some(position));
            tail = position + 1;
            Ok(ControlFlow::Continue(()))
        })?;
        let mut parked = 0;
        try_scan(view, Table::EffectParked, b"", &mut |_, _| {
            parked += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Self {
            upstreams: Upstreams::of(&config.definitions),
            config,
            tokens: Tokens::new(incarnation),
            tail,
            open,
            parked,
            cursor: first.unwrap_or(tail),
            tracked: BTreeMap::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            calls_held: false,
            live: BTreeMap::new(),
            closed_now: BTreeSet::new(),
            lanes: Lanes::default(),
            forgotten: Forgotten::default(),
        })
    }

    /// Answers a fact; an end is for the saga that waits for it.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn handle<I>(
        &mut self,
        now: Now,
        input: Input,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Option<Ended>, Halt> {
        let ended = match input {
            Input::Returned { token, outcome } => self.on_returned(now, token, outcome, cx),
        };
        self.closed_now.clear();
        ended
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn tick<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        self.wake(now, cx)?;
        for _ in 0..LOOKS_MAX {
            if self.wants_pass() {
                self.remember();
            }
            self.fill(cx.view())?;
            self.start_ready(now, cx)?;
            // What waits elsewhere made room for others.
            if !self.is_fillable() && !self.wants_pass() {
                break;
            }
        }
        self.closed_now.clear();
        Ok(())
    }

    /// When it next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Option<(Mono, Timer)> {
        let startable = !self.ready.is_empty() && self.may_call();
        if self.is_fillable() || self.wants_pass() || startable {
            return Some((Mono::ZERO, Timer::Retry));
        }
        let due = self.due.first().map(|(at, _)| *at);
        due.into_iter()
            .chain(self.upstreams.deadline())
            .chain(self.lanes.deadline())
            .min()
            .map(|at| (at, Timer::Retry))
    }

    /// Calls nothing until it is let go: what has been called cannot be called back.
    pub fn hold_calls(&mut self) {
        self.calls_held = !self.config.quirks.has(Quirk::EffectNeverHeld);
    }

    /// Calls from now on.
    pub const fn let_calls_go(&mut self) {
        self.calls_held = false;
    }

    const fn may_call(&self) -> bool {
        !self.calls_held && self.in_flight < self.config.limits.in_flight_max
    }

    /// Whether effects are on disk only. Positions do not tell: those after the last row may be gone.
    fn is_behind(&self) -> bool {
        if self.config.quirks.has(Quirk::EffectCursorStays) {
            return self.cursor < self.tail;
        }
        (self.tracked.len() as u64) + self.forgotten.count() < self.open
    }

    fn is_fillable(&self) -> bool {
        self.is_behind() && self.has_room()
    }

    /// Whether it is time to look at what was forgotten: not before the last look is over.
    fn wants_pass(&self) -> bool {
        self.lanes.wants_pass() && !self.is_behind()
    }

    fn has_room(&self) -> bool {
        self.tracked.len() < self.config.limits.tracked_max
    }

    /// Effects that are not settled, the parked ones not counted.
    #[must_use]
    pub const fn open(&self) -> u64 {
        self.open
    }

    /// Calls under way.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What a recovered machine must agree with.
    #[must_use]
    pub const fn durable(&self) -> Durable {
        Durable { open: self.open, parked: self.parked }
    }

    /// Its invariants.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.check_parked(view)?;
        let mut rows = Vec::new();
        view.scan(Table::EffectOpen, b"", &mut |key, row| {
            rows.push((keys::parse_position(key), row.to_vec()));
            ControlFlow::Continue(())
        })?;
        invariant!(rows.len() as u64 == self.open, Eff4, "{} open rows, {} counted", rows.len(), self.open);
        for (position, key) in rows {
            let ledger = view.get(Table::Effect, &key)?.map(LedgerRow::decode).transpose()?;
            let phase = ledger.as_ref().map(|row| &row.phase);
            let open = matches!(phase, Some(Phase::Open | Phase::Started { .. }));
            invariant!(open, Eff4, "open index {position:?} points at {phase:?}");
            let tracked = position.and_then(|position| self.tracked.get(&position));
            let kept = tracked.and_then(|own| own.row.as_deref());
            let agrees = kept.is_none_or(|kept| Some(kept) == ledger.as_ref());
            invariant!(agrees, Eff1, "{position:?} is {kept:?} in memory, its row says {ledger:?}");
            let started = matches!(phase, Some(Phase::Started { .. }));
            match tracked.map(|own| &own.state) {
                Some(State::InFlight { .. }) => {
                    invariant!(started, Eff1, "{position:?} is in flight, its row says {phase:?}");
                }
                Some(State::Backoff { .. }) => {
                    invariant!(!started, Eff3, "{position:?} pauses, its row says {phase:?}");
                }
                Some(State::Waiting | State::Held { .. } | State::Queued { .. } | State::Called { .. })
                | None => {}
            }
        }
        let busy = self.tracked.values().filter(|own| matches!(own.state, State::InFlight { .. })).count();
        invariant!(
            busy == self.in_flight && busy == self.live.len(),
            Eff3,
            "{busy} busy, {} live",
            self.live.len()
        );
        invariant!(busy <= self.config.limits.in_flight_max, Eff3, "{busy} in flight");
        self.check_upstreams()?;
        self.check_lanes()
    }
}
