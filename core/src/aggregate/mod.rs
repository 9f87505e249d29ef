//! Aggregate command handling: decide on the present state, append expecting it, answer once.
//!
//! ```text
//!  command ─► queue of its aggregate ─► known id? ─► same answer
//!                                          │ no
//!                             ┌────────────▼─────────────┐
//!              ┌── refused ───┤ decide on the row at hand├── events ──► Appending ── stored ──► answer
//!              ▼              └────────────▲─────────────┘                │
//!           Loading (tail of the stream) ──┘◄──── look ◄── conflict, duplicate, no answer (after a pause)
//! ```
//!
//! The row at hand is a cache of the stream and may be behind it. Accepting on an old state is harmless, because the
//! append expects the sequence the state was read at. Refusing on an old state is not, so a refusal is decided only
//! after the stream's leader was asked for the tail (INV-AGG-7). Neither depends on being the only owner.
//!
//! Whoever acts on a refusal, as a saga does, asks for it to be recorded: then it is appended like events, expecting the
//! same sequence, and two owners cannot answer one command differently (docs/decisions/0003).
//!
//! The broker answers a repeated append differently as a single server (conflict) and as a cluster (duplicate), and may
//! not answer at all; all of it leads to the same thing: look at the tail, then decide again (INV-AGG-3).
//!
//! | durable | row |
//! |---|---|
//! | `aggregate` | state, version, last sequence |
//! | `command` | command id → where its events are; also rebuilt from the stream |
//! | `refusal` | recorded refusals by command id, also rebuilt from the stream; the last others of an aggregate |
//! | `checkpoint` | incarnation of the stream, last message appended or read, messages missing |
//!
//! Lost on purpose: what was under way. Callers repeat a command under its id.
//!
//! - INV-AGG-1: versions are contiguous from one.
//! - INV-AGG-2: a command id has one outcome.
//! - INV-AGG-3: after an unknown append or a conflict, the stream is looked at before deciding again.
//! - INV-AGG-4: attempts and queues are bounded, and their end is an answer.
//! - INV-AGG-5: a history that cannot be read is never skipped: its commands are refused.
//! - INV-AGG-6: the state on record equals the fold of the stream up to its last sequence.
//! - INV-AGG-7: a refusal is decided only on a state read from the stream after the command arrived.
//! - INV-AGG-8: the stream still holds the last event seen and everything before it, or the node stops.
//!
//! Not here: who may send a command, what it means.

mod append;
mod bind;
mod command;
mod load;
mod record;
#[cfg(test)]
pub(crate) mod tests;

pub use record::{CommandRow, Record};

use crate::cx::{Cx, Machine, Tick};
use crate::drain::{Drain, Left, Report};
use crate::gate::{Checkpoint, NoStream, StreamFacts, Witness};
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::AggregateDef;
use crate::outcome::{Outcome, Token, Tokens};
use crate::program::contract::Refusal;
use crate::quirks::Quirks;
use crate::store::View;
use crate::time::{Mono, Now};
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::envelope::Command;
use crate::wire::headers::Headers;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use bind::Binding;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// Bounds of an aggregate node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Commands under way or waiting, in all.
    pub commands_max: usize,
    /// Commands under way or waiting for one aggregate.
    pub commands_per_aggregate_max: usize,
    /// Times a command is tried before its caller must ask again.
    pub attempts_max: u32,
    /// Messages read at once when a tail is loaded.
    pub load_messages_max: usize,
    /// How long an append or a load may stay without answer, in milliseconds: longer than the adapter's own timeout.
    pub answer_timeout_ms: u64,
    /// How often it looks whether the stream is still what it was, in milliseconds: shorter than a log can be without a
    /// leader.
    pub audit_ms: u64,
    /// How long a stream must contradict what was seen of it before the node stops, in milliseconds: longer than a server
    /// may answer for a cluster it has lost.
    pub confirm_ms: u64,
    /// First pause before another attempt, in milliseconds.
    pub backoff_ms: u64,
    /// Longest pause before another attempt, in milliseconds.
    pub backoff_ms_max: u64,
    /// Refusals remembered per aggregate.
    pub refusals_max: usize,
}

/// What an aggregate node needs besides its tables.
#[derive(Clone, PartialEq, Debug)]
pub struct Config {
    /// The definitions.
    pub definitions: BTreeMap<Name, Arc<AggregateDef>>,
    /// Bounds.
    pub limits: Limits,
    /// Budget of one program run.
    pub gas_max: u64,
    /// Jitter.
    pub seed: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// Names a caller that waits for an answer, within one process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId(pub u64);

/// A message of an aggregate as the stream holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredEvents {
    /// Its sequence.
    pub seq: u64,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
}

/// The tail of an aggregate's history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tail {
    /// Messages in order.
    pub messages: Vec<StoredEvents>,
    /// Whether there is nothing after them.
    pub complete: bool,
}

/// The answer to a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// Its events are in the log.
    Accepted {
        /// Which command.
        command_id: CommandId,
        /// Where.
        seq: u64,
        /// The aggregate's version after them.
        version: u64,
        /// They were there before this request.
        duplicate: bool,
    },
    /// The domain says no, now and whenever this id is sent again.
    Refused(Refusal),
    /// There is no such aggregate type or command, or the command cannot be carried out by its program.
    Invalid(Refusal),
    /// Definitely not done; try again later under the same id.
    Busy {
        /// Why.
        reason: &'static str,
    },
    /// It may have been done; ask again under the same id.
    Unknown,
    /// The aggregate's history cannot be read; somebody must look at it.
    Unreadable {
        /// What is wrong with it.
        detail: String,
    },
}

/// Facts.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Somebody sent a command.
    Commanded {
        /// Who waits.
        request: RequestId,
        /// The command.
        command: Command,
    },
    /// A tail came back.
    Loaded {
        /// Which attempt.
        token: Token,
        /// What there is; reading is never refused for good.
        outcome: Outcome<Tail, std::convert::Infallible>,
    },
    /// An append came back.
    Appended {
        /// Which attempt.
        token: Token,
        /// What the broker answered.
        outcome: Outcome<Published, PublishRefused>,
    },
    /// An inspection of the stream came back.
    Inspected {
        /// Which attempt.
        token: Token,
        /// What there is.
        outcome: Outcome<StreamFacts, NoStream>,
    },
    /// The connection to the broker came or went.
    ConnectionChanged {
        /// Whether it is there now.
        connected: bool,
    },
    /// The node is to stop.
    Stopped {
        /// How long what is under way may take, in milliseconds.
        deadline_ms: u64,
    },
    /// The rows of an aggregate are up to date: go on with its command. Only this machine sends it.
    Resumed(AggregateKey),
    /// An aggregate's command was answered: the next one may begin. Only this machine sends it.
    Freed(AggregateKey),
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
    /// Read the identity and extent of the event stream.
    Inspect {
        /// Names the attempt.
        token: Token,
        /// The sequences to look at.
        look_at: Vec<u64>,
    },
    /// Read an aggregate's messages from a sequence on, from the stream's leader.
    Load {
        /// Names the attempt.
        token: Token,
        /// Its subject.
        subject: String,
        /// The first sequence that matters.
        from_seq: u64,
        /// At most this many.
        messages_max: usize,
    },
    /// Append a message.
    Append {
        /// Names the attempt.
        token: Token,
        /// Its subject.
        subject: String,
        /// Headers, the message id and the expectation among them.
        headers: Headers,
        /// Its body.
        payload: Bytes,
    },
    /// Answer a caller.
    Reply {
        /// Who.
        request: RequestId,
        /// What.
        reply: Reply,
    },
    /// The drain is over.
    Drained(Report),
}

/// What an aggregate node waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Binding to the stream.
    Bind,
    /// Looking whether the stream is still what it was.
    Audit,
    /// Another attempt, or giving up on an answer.
    Retry,
    /// The end of a drain.
    Drain,
}

/// One aggregate.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct AggregateKey {
    /// Whose.
    pub tenant: TenantId,
    /// Its type.
    pub kind: Name,
    /// Its id.
    pub id: EntityId,
}

#[derive(Clone, PartialEq, Debug)]
struct Pending {
    request: RequestId,
    command: Command,
}

/// The command an aggregate is busy with.
#[derive(Clone, PartialEq, Debug)]
struct Current {
    pending: Pending,
    /// Appends and loads tried.
    attempts: u32,
    /// Whether an append of ours may be in the log.
    appended: bool,
    /// Whether an append of ours had no answer: it may be stored, now or later.
    unanswered: bool,
    /// Whether the tail was read since the command arrived.
    verified: bool,
    /// Whether the last append met a conflict that the next look must explain.
    conflicted: bool,
    stage: Stage,
}

/// What an append must be recognised by when it comes back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Sent {
    /// The message.
    witness: Witness,
    /// The highest sequence seen when it left: it is stored after that.
    after_seq: u64,
}

#[derive(Clone, PartialEq, Debug)]
enum Stage {
    /// Between two steps of one turn.
    Deciding,
    /// The tail is being read.
    Loading { token: Token, give_up_at: Mono },
    /// The events, or the refusal, are being appended; this is what the row becomes.
    Appending { token: Token, give_up_at: Mono, next: Record, refusal: Option<Refusal>, sent: Sent },
    /// Until the tail is read again.
    Backoff { until: Mono },
}

#[derive(Clone, PartialEq, Debug, Default)]
struct Lane {
    queue: VecDeque<Pending>,
    current: Option<Current>,
}

/// An aggregate node's machine. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Aggregate {
    config: Config,
    tokens: Tokens,
    /// Durable.
    checkpoint: Checkpoint,
    binding: Binding,
    /// Since when the stream contradicts what was seen. Lost on purpose.
    doubted_since: Option<Mono>,
    lanes: BTreeMap<AggregateKey, Lane>,
    due: BTreeSet<(Mono, AggregateKey)>,
    live: BTreeMap<Token, AggregateKey>,
    commands: usize,
    drain: Drain,
}

impl Aggregate {
    /// Whether it can take commands, and if not, why.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.drain.is_stopping() { Some("draining") } else { self.binding.not_ready() }
    }

    /// Commands under way or waiting.
    #[must_use]
    pub const fn commands(&self) -> usize {
        self.commands
    }

    fn left(&self) -> Left {
        Left { in_flight: self.commands, waiting: 0 }
    }
}

impl Machine for Aggregate {
    type Config = Config;
    type Input = Input;
    type Effect = Effect;
    type Timer = Timer;
    type Durable = Checkpoint;

    fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self {
            config,
            tokens: Tokens::new(incarnation),
            checkpoint: bind::read_checkpoint(view)?,
            binding: Binding::at_once(),
            doubted_since: None,
            lanes: BTreeMap::new(),
            due: BTreeSet::new(),
            live: BTreeMap::new(),
            commands: 0,
            drain: Drain::Running,
        })
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        match input {
            Input::Commanded { request, command } => self.on_commanded(now, request, command, cx),
            Input::Loaded { token, outcome } => self.on_loaded(now, token, outcome, cx),
            Input::Appended { token, outcome } => self.on_appended(now, token, outcome, cx),
            Input::Inspected { token, outcome } => self.on_inspected(now, token, outcome, cx),
            Input::ConnectionChanged { connected } => {
                self.on_connection_changed(connected);
                Ok(())
            }
            Input::Stopped { deadline_ms } => {
                self.drain.stop(now, deadline_ms);
                Ok(())
            }
            Input::Resumed(key) => self.proceed(now, &key, cx),
            Input::Freed(key) => self.start_next(now, &key, cx),
            Input::Tick(Tick) => self.on_tick(now, cx),
        }
    }

    fn deadline(&self) -> Option<(Mono, Timer)> {
        let timer = if self.binding.is_bound() { Timer::Audit } else { Timer::Bind };
        let binding = self.binding.deadline().map(|at| (at, timer));
        let retry = self.due.first().map(|(at, _)| (*at, Timer::Retry));
        let drain = self.drain.deadline(self.left()).map(|at| (at, Timer::Drain));
        [binding, retry, drain].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn durable(&self) -> Checkpoint {
        self.checkpoint.clone()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let stored = bind::read_checkpoint(view)?;
        invariant!(stored == self.checkpoint, Drv2, "memory {:?}, table {stored:?}", self.checkpoint);
        let mut commands = 0;
        for (key, lane) in &self.lanes {
            let here = lane.queue.len() + usize::from(lane.current.is_some());
            invariant!(here > 0, Agg4, "an idle lane is kept: {key:?}");
            invariant!(
                here <= self.config.limits.commands_per_aggregate_max,
                Agg4,
                "{here} commands for {key:?}"
            );
            commands += here;
        }
        invariant!(commands == self.commands, Agg4, "{commands} commands, {} counted", self.commands);
        invariant!(commands <= self.config.limits.commands_max, Agg4, "{commands} commands");
        Ok(())
    }
}

impl Aggregate {
    fn on_tick(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        self.bind_if_due(now, cx);
        self.wake(now, cx);
        if let Some(report) = self.drain.observe(now, self.left(), self.config.quirks, cx) {
            cx.emit(Effect::Drained(report));
        }
        Ok(())
    }
}
