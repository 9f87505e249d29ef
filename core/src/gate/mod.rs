//! The checkpoint gate: turns at-least-once delivery into application exactly once, in stream order.
//!
//! ```text
//!            Inspected            Positioned
//! Unbound ──────────► decide ──────────────► Bound ── Delivered ─► admit ─► Apply │ Drop
//!    ▲   Inspect         │ Position            │  ▲                 │
//!    │                   └─► Halt::Fenced      │  └── Fetch ────────┘
//!    └── gap, consumer gone, silence ──────────┘                         Stopped ◄── stop()
//! ```
//!
//! The truth is the checkpoint in our own table, `(stream incarnation, sequence)`, written in the commit of whatever the
//! message caused. The durable consumer on the broker is only a cursor: at every start, and whenever a delivery was
//! skipped, it is made anew at `checkpoint + 1`. That removes every question about what the broker remembers (it may
//! roll back acks, floors and delivery counts at a crash), and nothing has to wait for an acknowledgement timeout.
//!
//! | input | answer |
//! |---|---|
//! | `Inspected` | same incarnation, nothing lost: `Position`; otherwise the partition is fenced |
//! | `Positioned` | `Fetch` |
//! | delivery | contiguous and new: apply, then `Ack` or `Term` after the commit; at or below the checkpoint: `Ack` |
//! | `PullEnded`, `Heartbeat` | another `Fetch`, or bind anew: always when a pull broke, for the log may be another one |
//! | `ConnectionChanged` | unbound until it is back |
//!
//! Durable: `checkpoint` row. Derived on recovery: nothing. Lost on purpose: tokens, pulls, the bound consumer.
//!
//! - INV-GATE-1: acked ≤ durable ≤ applied ≤ delivered (acks are effects of the commit that stored the checkpoint).
//! - INV-GATE-2: what is applied is contiguous: consumer sequences grow by one within a generation.
//! - INV-GATE-3: the checkpoint in memory is the checkpoint in the table.
//! - INV-GATE-4: outstanding pulls never ask for more than `in_flight_max`.
//! - INV-GATE-5: a delivery of an earlier generation changes nothing.
//! - INV-GATE-6: the stream still holds what was applied, or the partition stops (see `checkpoint`).
//! - INV-GATE-7: who met the consumer of another store asks for nothing, and stops, also when that consumer is away for
//!   a moment: its owner deletes and makes it anew whenever it binds.
//!
//! Whose messages it lets through, and how that grows: `tenants`.
//!
//! Not here: what a message means, quarantine, how many partitions there are.

mod admit;
pub(crate) mod audit;
mod bind;
pub(crate) mod checkpoint;
mod facts;
mod pull;
mod tenants;
#[cfg(test)]
pub(crate) mod tests;

pub use admit::Admission;
pub use checkpoint::{Checkpoint, Sighting, Witness};
pub use facts::{ConsumerFacts, NoStream, PositionRefused, Rival, StreamFacts};
pub use tenants::{CatchUp, Members};

use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::invariant;
use crate::jetstream::api::{ConsumerConfig, PullRequest};
use crate::outcome::{Outcome, Token, Tokens};
use crate::placement::Tenants;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::headers::Headers;
use crate::wire::keys;
use crate::wire::stream::{ConsumerName, PlatformStream};
use crate::wire::subject::Filter;
use bind::Unbound;
use bytes::Bytes;
use pull::Bound;

/// Bounds of one gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Messages asked for in one pull.
    pub batch: u64,
    /// Messages asked for in all pulls together; also the consumer's `max_ack_pending`.
    pub in_flight_max: u64,
    /// How long the broker waits for an ack before it delivers again, in milliseconds.
    pub ack_wait_ms: u64,
    /// How long a pull lives, in milliseconds.
    pub pull_expires_ms: u64,
    /// How often the broker breaks its silence, in milliseconds; at most half of `pull_expires_ms`.
    pub heartbeat_ms: u64,
    /// How long an inspection or positioning may stay without answer, in milliseconds.
    pub request_timeout_ms: u64,
    /// How long a stream must contradict what was seen of it before the partition stops, in milliseconds: longer than a
    /// server may answer for a cluster it has lost.
    pub confirm_ms: u64,
    /// How often a bound gate looks whether the stream is still what it was, in milliseconds.
    pub audit_ms: u64,
    /// First pause before binding anew, in milliseconds.
    pub rebind_ms: u64,
    /// Longest pause before binding anew, in milliseconds.
    pub rebind_ms_max: u64,
}

/// What a gate is for.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The durable consumer.
    pub consumer: ConsumerName,
    /// The stream it reads.
    pub stream: PlatformStream,
    /// What it reads of it, as if all tenants were its own.
    pub filters: Vec<Filter>,
    /// Whose messages it lets through.
    pub tenants: Tenants,
    /// Nobody else has ever had a message on the stream: who had all tenants may go on with these.
    pub narrows: bool,
    /// The id of our store: two stores must not share a consumer.
    pub store_id: String,
    /// Take over a consumer of another store, and accept that messages before our first were removed.
    pub adopt: bool,
    /// Adopting also accepts that the stream is another one by now, and reads all of it: for whoever knows by itself what
    /// it has applied.
    pub rereads: bool,
    /// Bounds.
    pub limits: Limits,
    /// Jitter.
    pub seed: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// One message as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Delivery {
    /// Which positioning of the consumer it belongs to.
    pub generation: Token,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
    /// Position in the stream.
    pub stream_seq: u64,
    /// When the broker stored it, in nanoseconds since 1970.
    pub stored_at_ns: u64,
    /// Position among the deliveries of this consumer, repetitions included.
    pub consumer_seq: u64,
    /// Messages the broker still has for this consumer.
    pub pending: u64,
    /// Where to answer.
    pub ack: String,
}

/// A delivery that was let through, to be settled with what it caused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Admitted {
    stream_seq: u64,
    witness: Witness,
    ack: String,
}

impl Admitted {
    /// Of a delivery.
    #[must_use]
    pub fn of(delivery: &Delivery) -> Self {
        let Delivery { subject, payload, stream_seq, stored_at_ns, ack, .. } = delivery;
        let witness = Witness::of(subject, payload, Some(*stored_at_ns));
        Self { stream_seq: *stream_seq, witness, ack: ack.clone() }
    }
}

/// Why a pull ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PullEnd {
    /// It expired, or was filled.
    Served,
    /// The consumer moved to another server: ask again.
    Moved,
    /// There is no such consumer (any more), or nobody answers for it.
    ConsumerGone,
    /// The broker does not take this request.
    Refused,
}

/// Facts for a gate. Deliveries have an entrance of their own: [`Gate::admit`].
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// An inspection came back.
    Inspected {
        /// Which.
        token: Token,
        /// What there is.
        outcome: Outcome<StreamFacts, NoStream>,
    },
    /// A positioning came back.
    Positioned {
        /// Which.
        token: Token,
        /// Whether the consumer is there.
        outcome: Outcome<(), PositionRefused>,
    },
    /// A pull ended.
    PullEnded {
        /// The consumer it asked.
        generation: Token,
        /// Which.
        pull: Token,
        /// Why.
        end: PullEnd,
    },
    /// The broker broke its silence.
    Heartbeat {
        /// The consumer that spoke.
        generation: Token,
        /// The last delivery it made.
        last_consumer_seq: u64,
    },
    /// The connection to the broker came or went.
    ConnectionChanged {
        /// Whether it is there now.
        connected: bool,
    },
}

/// Requests of a gate.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Read the stream's identity and extent, and the consumer's.
    Inspect {
        /// Names the attempt.
        token: Token,
        /// The stream.
        stream: PlatformStream,
        /// The consumer.
        consumer: ConsumerName,
        /// The sequences to look at.
        look_at: Vec<u64>,
        /// Look too whether consumers of other partitions have any of these.
        tenants: Option<Tenants>,
    },
    /// Replace the consumer by one with this configuration, and listen for its deliveries under a new generation.
    Position {
        /// Names the attempt, and the generation if it succeeds.
        token: Token,
        /// The stream.
        stream: PlatformStream,
        /// The consumer.
        consumer: Box<ConsumerConfig>,
    },
    /// Ask for messages.
    Fetch {
        /// The consumer to ask.
        generation: Token,
        /// Names the pull.
        pull: Token,
        /// How many, for how long.
        request: PullRequest,
    },
    /// The message is applied; it need not come again.
    Ack {
        /// Where to answer.
        ack: String,
    },
    /// The message is quarantined; it must not come again.
    Term {
        /// Where to answer.
        ack: String,
        /// Why, for the broker's advisory.
        reason: String,
    },
}

/// What a gate waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Binding anew, or giving up on an answer.
    Bind,
    /// A pull that stays silent.
    Silence,
    /// Looking whether the stream is still what it was.
    Audit,
}

/// Where a gate stands, for readiness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not bound to its stream.
    Unbound,
    /// The stream does not exist.
    NoStream,
    /// Consuming.
    Bound,
    /// Stopped for good.
    Stopped,
}

#[derive(Clone, PartialEq, Debug)]
enum Phase {
    Unbound(Unbound),
    Bound(Bound),
    Stopped,
}

/// One gate. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Gate {
    config: Config,
    key: Vec<u8>,
    /// Durable.
    checkpoint: Checkpoint,
    /// Durable.
    members: Members,
    /// They are not in the table yet.
    members_unsaid: bool,
    /// Lost on purpose.
    phase: Phase,
    /// Since when the stream contradicts what was seen. Lost on purpose.
    doubted_since: Option<Mono>,
    /// Another store whose consumer was met where ours should be. Lost on purpose.
    met_owner: Option<Fence>,
    tokens: Tokens,
    /// Messages left for us when the last delivery was made; only for people.
    pending: u64,
}

impl Gate {
    /// Reads the checkpoint back.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let key = keys::checkpoint(&config.consumer);
        let checkpoint = match view.get(Table::Checkpoint, &key)? {
            Some(row) => Checkpoint::decode(row)?,
            None => Checkpoint::default(),
        };
        let (members, members_unsaid) = Self::members(&config, checkpoint.incarnation.is_some(), view)?;
        Ok(Self {
            config,
            key,
            checkpoint,
            members,
            members_unsaid,
            phase: Phase::Unbound(Unbound::at_once()),
            doubted_since: None,
            met_owner: None,
            tokens: Tokens::new(incarnation),
            pending: 0,
        })
    }

    /// Answers a fact.
    ///
    /// # Errors
    /// [`Halt::Fenced`] when the stream is not the one the checkpoint belongs to.
    pub fn handle<I>(&mut self, now: Now, input: Input, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        match input {
            Input::Inspected { token, outcome } => self.on_inspected(now, token, outcome, cx),
            Input::Positioned { token, outcome } => self.on_positioned(now, token, &outcome, cx),
            Input::PullEnded { generation, pull, end } => {
                self.on_pull_ended(now, generation, pull, end, cx);
                Ok(())
            }
            Input::Heartbeat { generation, last_consumer_seq } => {
                self.on_heartbeat(now, generation, last_consumer_seq, cx);
                Ok(())
            }
            Input::ConnectionChanged { connected } => {
                self.on_connection_changed(connected);
                Ok(())
            }
        }
    }

    /// Time has passed.
    pub fn tick<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        match &self.phase {
            Phase::Unbound(_) => self.bind_if_due(now, cx),
            Phase::Bound(_) => {
                self.audit_if_due(now, cx);
                self.give_up_silent_pulls(now, cx);
            }
            Phase::Stopped => {}
        }
    }

    /// When it next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Option<(Mono, Timer)> {
        match &self.phase {
            Phase::Unbound(unbound) => unbound.deadline().map(|at| (at, Timer::Bind)),
            Phase::Bound(bound) => {
                let silence = bound.silence_deadline(&self.config.limits).map(|at| (at, Timer::Silence));
                let audit = (bound.audit.deadline(), Timer::Audit);
                silence.into_iter().chain([audit]).min_by_key(|(at, _)| *at)
            }
            Phase::Stopped => None,
        }
    }

    /// Takes nothing in from now on. What arrives is dropped without an answer and will be delivered to the next life.
    pub fn stop(&mut self) {
        if !self.config.quirks.has(Quirk::GateIgnoreStop) {
            self.phase = Phase::Stopped;
        }
    }

    /// Where it stands.
    #[must_use]
    pub const fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Unbound(Unbound::NoStream { .. }) => Standing::NoStream,
            Phase::Unbound(_) => Standing::Unbound,
            Phase::Bound(_) => Standing::Bound,
            Phase::Stopped => Standing::Stopped,
        }
    }

    /// How far it has applied.
    #[must_use]
    pub const fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Its consumer's name.
    #[must_use]
    pub const fn consumer(&self) -> &ConsumerName {
        &self.config.consumer
    }

    /// Messages that were left for it at its last delivery.
    #[must_use]
    pub const fn pending(&self) -> u64 {
        self.pending
    }

    /// Its invariants.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let stored = match view.get(Table::Checkpoint, &self.key)? {
            Some(row) => Checkpoint::decode(row)?,
            None => Checkpoint::default(),
        };
        invariant!(stored == self.checkpoint, Gate3, "memory {:?}, table {stored:?}", self.checkpoint);
        let members = Members::read(&self.config.consumer, view)?.unwrap_or_default();
        let stands = self.members_unsaid || members == self.members;
        invariant!(stands, Gate8, "memory {:?}, table {members:?}", self.members);
        if let Phase::Bound(bound) = &self.phase {
            let asked = bound.asked();
            let most = self.config.limits.in_flight_max;
            invariant!(asked <= most, Gate4, "{asked} asked for, at most {most}");
        }
        Ok(())
    }

    /// A message of our own is stored on this stream: from now on it must be there.
    pub fn published<I>(&mut self, seq: u64, witness: Witness, cx: &mut Cx<'_, I, Effect>) {
        if self.config.quirks.has(Quirk::GateForgetPublished) {
            return;
        }
        if self.checkpoint.publish(seq, witness) {
            self.stage_checkpoint(cx);
        }
    }

    fn stage_checkpoint<I>(&self, cx: &mut Cx<'_, I, Effect>) {
        cx.put(Table::Checkpoint, &self.key, &self.checkpoint.encode());
    }
}
