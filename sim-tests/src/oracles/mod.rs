//! The oracles: what must hold, looked at while the world runs and when it has ended.
//!
//! | file | looks at | invariants |
//! |---|---|---|
//! | [`logs`] | every message the broker stores | INV-AGG-1, INV-AGG-2, INV-ONCE-1, INV-TEN-1 |
//! | [`answers`] | every answer to a command | INV-AGG-2, INV-AGG-7 |
//! | [`rows`] | every row a node commits | INV-AGG-6, INV-GATE-1, INV-GATE-2, INV-GATE-8, INV-DRN-1, INV-SAGA-1 to 3, 6 and 7, INV-EFF-1, 2, 4, INV-OUT-2, INV-QRN-1 |
//! | [`quarantine`] | everything that leaves a quarantine | INV-QRN-1, INV-QRN-4 |
//! | [`calls`] | every call that leaves for the outside | INV-EFF-6, INV-EFF-8 |
//! | [`timers`] | every timer a node sets, fires or cancels | INV-SCH-2, INV-SCH-3 |
//! | [`recurring`] | every occurrence of a schedule | INV-CRON-1 to 3, 5 to 7 |
//! | [`views`] | every row of a view, against a fold of the log | INV-PRJ-2, INV-QRN-1, INV-TEN-1 |
//! | [`divergence`] | what nodes keep, after a disaster, against the logs that are there | INV-DIV-1 |
//! | [`forgotten`] | every row that is removed because it has ended | INV-KEEP-1, INV-SAGA-10 |
//! | [`bank`] | every account, once everything has ended | INV-CONS-1 |
//! | [`ledger`] | every row of the ledger of effects, against what operators asked for | INV-EFF-4 |
//! | [`end`] | everything, once it has ended | INV-CONS-1, INV-ONCE-1, INV-EFF-5, INV-SAGA-3, INV-AGG-2 |
//!
//! Beside them, every machine checks its own invariants, and a twin is recovered from its disk (INV-DRV-2): after every
//! turn or every so many, as the plan has it, at every recovery and at the end. The world itself watches drains
//! (INV-DRN-2), second owners (INV-GATE-7) and liveness (INV-LIVE-1).
//!
//! They know the application's definitions and the plan of the clients, and share no code with what they judge but the
//! programs themselves and the decoding of envelopes and rows.

pub mod answers;
pub mod bank;
pub mod calls;
pub mod divergence;
pub mod end;
pub mod forgotten;
pub mod ledger;
pub mod logs;
pub mod outbox;
pub mod quarantine;
mod reach;
pub mod recurring;
pub mod rows;
pub mod timers;
pub mod views;

pub use answers::{Definite, of_definite};
pub use divergence::{Departed, Present};
pub use end::End;
pub use logs::Injected;

use crate::plan::Plan;
use crate::trace::EventId;
use crate::world::event::NodeId;
use answers::Answers;
use calls::Calls;
use cloudlysis_core::aggregate::Reply;
use cloudlysis_core::effect;
use cloudlysis_core::effect::operate::Verb;
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Halt, Invariant, Token};
use cloudlysis_io_sim::broker::Broker;
use cloudlysis_io_sim::store::{Change, Committed};
use forgotten::Forgotten;
use ledger::Amended;
use logs::Logs;
use rows::Rows;
use std::fmt;
use timers::Timers;
use views::Views;

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// What contradicts what.
    pub detail: String,
    /// When, in nanoseconds of the world.
    pub at_ns: u64,
    /// In which event.
    pub event: EventId,
}

impl Violation {
    /// A violation; when and where is added by the world.
    #[must_use]
    pub const fn new(invariant: Invariant, detail: String) -> Self {
        Self { invariant, detail, at_ns: 0, event: 0 }
    }

    /// A machine stopped.
    #[must_use]
    pub fn of_halt(node: NodeId, halt: &Halt) -> Self {
        let invariant = match halt {
            Halt::Broken(broken) => broken.invariant,
            // Nothing in the world justifies these: no stream is replaced, no row is damaged.
            Halt::Store(_) | Halt::Corrupt { .. } | Halt::Fenced(_) => Invariant::Live1,
        };
        Self::new(invariant, format!("{node} stopped: {halt}"))
    }

    /// The broker stopped.
    #[must_use]
    pub fn of_broker(halt: &Halt, at_ns: u64) -> Self {
        let invariant = match halt {
            Halt::Broken(broken) => broken.invariant,
            Halt::Store(_) | Halt::Corrupt { .. } | Halt::Fenced(_) => Invariant::Brk1,
        };
        Self { at_ns, ..Self::new(invariant, format!("the broker stopped: {halt}")) }
    }

    /// With when and where.
    #[must_use]
    pub fn at(self, at_ns: u64, event: EventId) -> Self {
        Self { at_ns, event, ..self }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, detail, .. } = self;
        write!(f, "{} ({}): {detail}", invariant.id(), invariant.sentence())
    }
}

/// What a node did in one turn.
#[derive(Debug)]
pub struct Seen<'w> {
    /// Which node.
    pub node: NodeId,
    /// When.
    pub now_ns: u64,
    /// Whether it was draining before the turn.
    pub was_draining: bool,
    /// The broker, for the true log.
    pub broker: &'w Broker,
    /// Its rows after the turn.
    pub rows: Committed<'w>,
}

/// What the oracles know besides rows.
#[derive(Clone, Copy, Debug)]
struct Known<'o> {
    logs: &'o Logs,
    answers: &'o Answers,
    forgotten: &'o Forgotten,
    amended: &'o Amended,
    /// How long an entry of the outbox is tried, in milliseconds.
    retry_ms_max: u64,
}

/// All oracles that remember something.
#[derive(Clone, Debug)]
pub struct Oracles {
    logs: Logs,
    answers: Answers,
    rows: Rows,
    calls: Calls,
    timers: Timers,
    forgotten: Forgotten,
    amended: Amended,
    views: Views,
    departed: Departed,
    /// The logs are other ones than those that were followed: only divergence can be judged.
    retry_ms_max: u64,
    suspended: bool,
}

impl Oracles {
    /// The oracles of a run.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        Self {
            logs: Logs::default(),
            answers: Answers::of(plan),
            rows: Rows::new(),
            calls: Calls::default(),
            timers: Timers::default(),
            forgotten: Forgotten::new(plan.keep_ms),
            amended: Amended::default(),
            views: Views::new(),
            departed: Departed::default(),
            retry_ms_max: plan.outbox.retry_ms_max,
            suspended: false,
        }
    }

    /// A node committed.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_changes(&mut self, seen: &Seen<'_>, changes: &[Change]) -> Result<(), Violation> {
        // A second owner may do nothing that anybody sees, and is judged by that.
        if seen.node == NodeId::Stranger {
            return Ok(());
        }
        if seen.node.is_runner() {
            self.departed.on_changes(seen, changes, &self.answers);
        }
        if self.suspended {
            return Ok(());
        }
        if seen.node.is_runner() {
            self.calls.on_changes(seen.now_ns, changes);
            self.forgotten.on_changes(seen, changes)?;
        }
        let known = Known {
            logs: &self.logs,
            answers: &self.answers,
            forgotten: &self.forgotten,
            amended: &self.amended,
            retry_ms_max: self.retry_ms_max,
        };
        self.rows.on_changes(seen, changes, &known)?;
        self.timers.on_changes(seen, changes)?;
        recurring::on_changes(seen, changes)?;
        quarantine::on_changes(seen, changes)?;
        quarantine::check_overtaken(seen, changes)?;
        if seen.node == NodeId::Projection { self.views.on_changes(seen, changes) } else { Ok(()) }
    }

    /// The broker was asked to store something.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_published(&mut self, broker: &Broker) -> Result<(), Violation> {
        if self.suspended { Ok(()) } else { self.logs.on_published(broker) }
    }

    /// A command is sent, or sent again.
    pub fn on_submitted(&mut self, command: &Command) {
        self.answers.on_submitted(command, &self.logs);
    }

    /// An aggregate node answers a command.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_answered(&mut self, command: &Command, reply: &Reply) -> Result<(), Violation> {
        self.answers.on_replied(command, reply);
        if self.suspended { Ok(()) } else { self.answers.on_answered(command, reply, &self.logs) }
    }

    /// A client heard the answer to its command.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_heard(&mut self, command: &Command, answer: Option<Definite>) -> Result<(), Violation> {
        if self.suspended { Ok(()) } else { self.answers.on_heard(command, answer) }
    }

    /// A call is about to leave.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_execute(
        &mut self,
        now_ns: u64,
        rows: &Committed<'_>,
        sagas: &Committed<'_>,
        effect: &effect::Effect,
    ) -> Result<(), Violation> {
        if self.suspended {
            return Ok(());
        }
        self.calls.on_execute(now_ns, effect)?;
        self.rows.on_execute(rows, sagas, effect, &self.amended)
    }

    /// An operator is about to ask for something about an effect that has not ended.
    pub fn on_amending(&mut self, key: Vec<u8>, verb: &Verb) {
        if let Verb::Retry { .. } = verb {
            self.calls.on_retried(&key);
        }
        self.amended.on_asked(key, verb);
    }

    /// The answer to a call, or that there is none, is at the runner that made it.
    pub fn on_returned(&mut self, token: Token) {
        self.calls.on_returned(token);
    }

    /// The wall clock of the runner jumps.
    pub fn on_clock_jump(&mut self, by_ms: i64) {
        self.calls.on_clock_jump(by_ms);
        self.forgotten.on_clock_jump(by_ms);
    }

    /// An answer to a delivery is about to leave.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_settling(&self, node: NodeId, rows: &Committed<'_>, ack: &str) -> Result<(), Violation> {
        if self.suspended { Ok(()) } else { self.rows.on_settling(node, rows, ack) }
    }

    /// The views' disk was replaced by an older one.
    pub fn on_restored(&mut self) {
        self.views.on_restored();
    }

    /// A disaster: what was followed so far is not there any more.
    pub const fn suspend(&mut self) {
        self.suspended = true;
    }

    /// What left the runner so far.
    #[must_use]
    pub const fn departed(&self) -> &Departed {
        &self.departed
    }

    /// Everything has ended.
    ///
    /// # Errors
    /// What does not hold.
    pub fn on_end(&self, end: &End<'_>) -> Result<(), Violation> {
        end::check(end, &self.logs, &self.answers, &self.forgotten, &self.amended)
    }

    /// Whether a message was put there by a person.
    #[must_use]
    pub fn is_injected(&self, stream: PlatformStream, seq: u64) -> bool {
        self.logs.injected(stream, seq).is_some()
    }

    /// Whether an aggregate has events.
    #[must_use]
    pub fn has_events(&self, subject: &str) -> bool {
        self.logs.history(subject).is_some_and(|history| history.points.len() > 1)
    }

    /// The last sequence of a stream, or of the events of one type of aggregates.
    #[must_use]
    pub fn last_seq(&self, stream: PlatformStream, kind: Option<&str>) -> u64 {
        self.logs.last_seq(stream, kind)
    }
}
