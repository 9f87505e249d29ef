//! The outbox relay: what was decided leaves, exactly as often as it must.
//!
//! ```text
//!                    ┌─────────────────────── Backoff ◄── Unknown, Busy ──┐
//! enqueue ─► Waiting ─► lane head, place free ─► InFlight ─── Done, Refused ─► row removed, settlement to the owner
//!                                                   │ Conflict
//!                                                   └─► Looking ─ own message ─► Done
//!                                                          │     └ other message ─► Refused
//!                                                          └ nothing there, Unknown ─► Backoff
//! ```
//!
//! An entry is a row; its position names it for ever. Commands go to their aggregate, which answers a repeated command
//! id with the same answer, so an attempt without an answer is simply repeated. Messages are published on a subject
//! that only this entry has, expecting that nothing is there yet: the broker itself looks before it stores, and a
//! conflict is looked into before it is believed. Neither depends on the broker's duplicate window.
//!
//! Entries of one lane (one saga instance, one effect command) leave in order and one at a time; lanes do not wait for
//! each other. At most `tracked_max` entries are in memory; the rest waits on disk, in order.
//!
//! While its owner is not sure that the streams are the ones it knows, it holds the relay: nothing leaves, and an answer
//! that something is stored counts for nothing. What is stored is evidence of the log it is stored in, and evidence of
//! another log must not take the place of what was known (docs/decisions/0007).
//!
//! Durable: `outbox` rows, the tail. Derived on recovery: how many rows there are. Lost on purpose: attempts, pauses.
//!
//! - INV-OUT-1: the entries of one lane leave in order, one at a time.
//! - INV-OUT-2: a row is removed only on a definite answer.
//! - INV-OUT-3: the id of what leaves names the entry, not the attempt.
//! - INV-OUT-4: at most `in_flight_max` entries are in flight.
//! - INV-OUT-5: positions grow for ever, across restarts and an empty table.
//! - INV-OUT-6: a conflict is looked into before it is believed.
//!
//! Not here: what an answer means to whoever asked; giving up. An entry is tried until there is an answer.

mod entry;
mod relay;
#[cfg(test)]
pub(crate) mod tests;

pub use entry::{Body, Destination, Entry, Origin, WorkRef};

use crate::cx::Cx;
use crate::gate::Witness;
use crate::halt::Halt;
use crate::invariant;
use crate::outcome::{Outcome, Token, Tokens};
use crate::program::contract::Refusal;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::envelope::Command;
use crate::wire::headers::Headers;
use crate::wire::keys;
use crate::wire::stream::PlatformStream;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

const TAIL: &[u8] = b"outbox_tail";

/// Bounds of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Entries on their way at once.
    pub in_flight_max: usize,
    /// Entries in memory at once.
    pub tracked_max: usize,
    /// How long an attempt may stay without answer, in milliseconds: longer than the adapter's own timeout.
    pub attempt_timeout_ms: u64,
    /// First pause before another attempt, in milliseconds.
    pub backoff_ms: u64,
    /// Longest pause before another attempt, in milliseconds.
    pub backoff_ms_max: u64,
}

/// What a relay needs besides its tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Config {
    /// Bounds.
    pub limits: Limits,
    /// Jitter.
    pub seed: u64,
    /// Planted faults.
    pub quirks: Quirks,
}

/// A command that an aggregate accepted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommandAccepted {
    /// Where its events are.
    pub seq: u64,
    /// The aggregate's version after them.
    pub version: u64,
}

/// A command that was definitely not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CommandRefused {
    /// The aggregate, or the platform on its behalf, says no, and always will.
    Refusal(Refusal),
    /// Not now.
    Busy,
}

/// What the stream holds on a subject.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// A message.
    Message {
        /// Where.
        seq: u64,
        /// Its `Nats-Msg-Id`.
        msg_id: Option<String>,
    },
}

/// Facts for a relay. Entries have an entrance of their own: [`Outbox::enqueue`].
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// An aggregate answered, or nobody did.
    CommandAnswered {
        /// Which attempt.
        token: Token,
        /// What came back.
        outcome: Outcome<CommandAccepted, CommandRefused>,
    },
    /// The broker answered a publish, or nobody did.
    PublishAnswered {
        /// Which attempt.
        token: Token,
        /// What came back.
        outcome: Outcome<Published, PublishRefused>,
    },
    /// A look at a subject came back.
    Looked {
        /// Which attempt.
        token: Token,
        /// What is there; looking is never refused for good.
        outcome: Outcome<Found, std::convert::Infallible>,
    },
}

/// Requests of a relay.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Submit a command.
    Submit {
        /// Names the attempt.
        token: Token,
        /// The command.
        command: Command,
    },
    /// Publish a message, unless something is on its subject already.
    Publish {
        /// Names the attempt.
        token: Token,
        /// Where it must end up.
        stream: PlatformStream,
        /// Its subject: nobody else's.
        subject: String,
        /// Headers, the message id and the expectation among them.
        headers: Headers,
        /// Its body.
        payload: String,
    },
    /// Read the last message on a subject, from the stream's leader.
    Look {
        /// Names the attempt.
        token: Token,
        /// The stream.
        stream: PlatformStream,
        /// The subject.
        subject: String,
    },
}

/// What a relay waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Timer {
    /// Another attempt, or giving up on an answer.
    Retry,
}

/// An entry's end, for whoever asked for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Settlement {
    /// Who asked.
    pub origin: Origin,
    /// How it ended.
    pub end: End,
    /// The message, or the events of the command, on their stream.
    pub stored: Option<Stored>,
}

/// A message of ours on its stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stored {
    /// The stream.
    pub stream: PlatformStream,
    /// Where.
    pub seq: u64,
    /// What.
    pub witness: Witness,
}

/// How an entry ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The aggregate accepted the command.
    Accepted(CommandAccepted),
    /// The message is on its stream.
    Published {
        /// Where.
        seq: u64,
    },
    /// It definitely will not happen.
    Refused(Refusal),
}

#[derive(Clone, PartialEq, Debug)]
enum State {
    /// Behind an earlier entry of its lane, or for want of a place.
    Waiting,
    /// Dispatched.
    InFlight { token: Token, give_up_at: Mono },
    /// A conflict is being looked into.
    Looking { token: Token, give_up_at: Mono },
    /// Until the next attempt.
    Backoff { until: Mono },
}

#[derive(Clone, PartialEq, Debug)]
struct Tracked {
    lane: Arc<str>,
    attempt: u32,
    state: State,
}

/// One relay. See the module text.
#[derive(Clone, PartialEq, Debug)]
pub struct Outbox {
    config: Config,
    tokens: Tokens,
    /// Durable: the position of the next entry.
    tail: u64,
    /// Derived: rows in the table.
    depth: u64,
    /// Positions below are tracked or gone; the rest is on disk only.
    cursor: u64,
    tracked: BTreeMap<u64, Tracked>,
    lanes: BTreeMap<Arc<str>, VecDeque<u64>>,
    /// Lane heads that wait for a place.
    ready: BTreeSet<u64>,
    /// When something happens to an entry in flight or in backoff.
    due: BTreeSet<(Mono, u64)>,
    in_flight: usize,
    live: BTreeMap<Token, u64>,
    /// Lost on purpose: whoever recovers holds it anew.
    held: bool,
}

impl Outbox {
    /// Reads the tail back and counts the rows.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let corrupt = |detail: &str| Halt::Corrupt { table: Table::Outbox, detail: detail.to_owned() };
        let mut depth = 0;
        let mut last = None;
        let mut first = None;
        // Counted once per life: stopping to count would hide a row, and a relay that starts owes them all anyway.
        view.scan(Table::Outbox, b"", &mut |key, _| {
            depth += 1;
            first = first.or(Some(keys::parse_position(key)));
            last = Some(keys::parse_position(key));
            ControlFlow::Continue(())
        })?;
        let first = first.map(|first| first.ok_or_else(|| corrupt("a key is not a position"))).transpose()?;
        let last = last.map(|last| last.ok_or_else(|| corrupt("a key is not a position"))).transpose()?;
        let tail = match view.get(Table::Meta, TAIL)? {
            Some(row) => keys::parse_position(row).ok_or_else(|| corrupt("the tail is not a position"))?,
            None => 0,
        };
        let tail = if config.quirks.has(Quirk::OutboxTailNotPersisted) {
            last.map_or(0, |last| last + 1)
        } else {
            tail
        };
        invariant!(
            last.is_none_or(|last| last < tail),
            Out5,
            "tail {tail} is not past the last row {last:?}"
        );
        Ok(Self {
            config,
            tokens: Tokens::new(incarnation),
            tail,
            depth,
            cursor: first.unwrap_or(tail),
            tracked: BTreeMap::new(),
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            live: BTreeMap::new(),
            held: false,
        })
    }

    /// Takes an entry in; it leaves after this commit.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn enqueue<I>(&mut self, now: Now, entry: &Entry, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        let position = self.tail;
        let next_to_track = !self.is_behind();
        self.tail += 1;
        self.depth += 1;
        cx.put(Table::Outbox, &keys::position(position), &entry.encode());
        cx.put(Table::Meta, TAIL, &keys::position(self.tail));
        if next_to_track && self.has_room() {
            self.cursor = self.tail;
            self.track(position, entry.lane());
            self.dispatch_ready(now, Some((position, entry)), cx)?;
        } else {
            cx.mark(crate::marks::Mark::OutboxWindowFull);
        }
        Ok(())
    }

    /// Time has passed.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn tick<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        self.wake(now, cx);
        self.fill(cx.view())?;
        self.dispatch_ready(now, None, cx)
    }

    /// When it next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Option<(Mono, Timer)> {
        let fillable = self.is_behind() && self.has_room();
        let startable =
            !self.held && !self.ready.is_empty() && self.in_flight < self.config.limits.in_flight_max;
        if fillable || startable {
            return Some((Mono::ZERO, Timer::Retry));
        }
        self.due.first().map(|(at, _)| (*at, Timer::Retry))
    }

    /// Whether entries are on disk only. Positions do not tell: those after the last row may be gone.
    fn is_behind(&self) -> bool {
        if self.config.quirks.has(Quirk::OutboxCursorStays) {
            return self.cursor < self.tail;
        }
        (self.tracked.len() as u64) < self.depth
    }

    fn has_room(&self) -> bool {
        self.tracked.len() < self.config.limits.tracked_max
    }

    /// Whether the streams may be other ones than those it knows. Released, it goes on at its next tick.
    pub fn hold(&mut self, held: bool) {
        self.held = held && !self.config.quirks.has(Quirk::OutboxNeverHeld);
    }

    /// Entries that have not left for good.
    #[must_use]
    pub const fn depth(&self) -> u64 {
        self.depth
    }

    /// Entries on their way right now.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What a recovered relay must agree with.
    #[must_use]
    pub const fn durable(&self) -> (u64, u64) {
        (self.tail, self.depth)
    }

    /// Its invariants.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the one that does not hold.
    pub fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let mut rows = 0;
        let mut beyond = None;
        let mut first = None;
        view.scan(Table::Outbox, b"", &mut |key, _| {
            rows += 1;
            let position = keys::parse_position(key);
            first = first.or(position);
            beyond = beyond.or(position.filter(|position| *position >= self.tail));
            ControlFlow::Continue(())
        })?;
        invariant!(rows == self.depth, Out5, "{rows} rows, {} counted", self.depth);
        invariant!(beyond.is_none(), Out5, "row {beyond:?} is at or past the tail {}", self.tail);
        let lowest = self.tracked.keys().next().copied();
        invariant!(
            first.is_none_or(|first| first >= self.cursor || lowest == Some(first)),
            Out2,
            "row {first:?} is neither tracked ({lowest:?}) nor ahead of the cursor {}",
            self.cursor
        );
        let busy = self.tracked.values().filter(|tracked| tracked.is_busy()).count();
        invariant!(busy == self.in_flight, Out4, "{busy} in flight, {} counted", self.in_flight);
        invariant!(busy <= self.config.limits.in_flight_max, Out4, "{busy} in flight");
        for (lane, positions) in &self.lanes {
            let in_order = positions.iter().zip(positions.iter().skip(1)).all(|(a, b)| a < b);
            let only_head = positions.iter().skip(1).all(|position| {
                self.tracked.get(position).is_some_and(|tracked| tracked.state == State::Waiting)
            });
            invariant!(in_order && only_head, Out1, "lane {lane}: {positions:?}");
        }
        Ok(())
    }
}

impl Tracked {
    const fn is_busy(&self) -> bool {
        match self.state {
            State::InFlight { .. } | State::Looking { .. } => true,
            State::Waiting | State::Backoff { .. } => false,
        }
    }
}
