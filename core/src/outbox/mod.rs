//! The outbox relay: what was decided leaves, exactly as often as it must.
//!
//! ```text
//!                    ┌─────────────────────── Backoff ◄── Unknown, Busy ──┐
//! enqueue ─► Waiting ─► lane head, place free ─► InFlight ─── Done, Refused ─► row removed, settlement to the owner
//!                                                   │ Conflict
//!                                                   └─► Looking ─ own message ─► Done
//!                                                          │     └ other message ─► Refused
//!                                                          └ nothing there, Unknown ─► Backoff
//!
//! tried for too long ─► GivenUp ─► the owner keeps it, row removed      (given_up.rs)
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
//! Durable: `outbox` rows, the tail. Derived on recovery: how many rows there are, of whom; said by the owner: lanes of which
//! it keeps entries. Lost on purpose: attempts, pauses, whose turn it is.
//!
//! - INV-OUT-1: the entries of one lane leave in order, one at a time.
//! - INV-OUT-2: a row is removed only on a definite answer, or in the commit in which its owner keeps it.
//! - INV-OUT-3: the id of what leaves names the entry, not the attempt.
//! - INV-OUT-4: at most `in_flight_max` entries are in flight, at most `in_flight_tenant_max` of one tenant.
//! - INV-OUT-5: positions grow for ever, across restarts and an empty table.
//! - INV-OUT-6: a conflict is looked into before it is believed.
//! - INV-OUT-7: a tenant that has entries has one in memory, and waits for at most one turn of every other.
//! - INV-OUT-8: while an entry that was given up on is kept, nothing of its lane leaves, and all of it is kept in order.
//! - INV-OUT-9: an entry is given up on only after it was tried for as long as it may be.
//!
//! Limit: entries in memory are at most `tracked_max` and one of every tenant that has any, and lanes that were let go
//! again. One entry in memory may be one in backoff: while others fill the memory, a tenant whose first entry fails waits
//! with its later ones.
//!
//! Not here: what an answer means to whoever asked; keeping what was given up on.

mod check;
mod entry;
mod given_up;
mod relay;
#[cfg(test)]
pub(crate) mod tests;
mod turns;

pub use entry::{Body, Destination, Entry, Origin, Row, Target, WorkRef, lane_of_instance};
pub use given_up::GivenUp;

use crate::cx::Cx;
use crate::gate::Witness;
use crate::halt::Halt;
use crate::invariant;
use crate::outcome::{Outcome, Token, Tokens};
use crate::program::contract::Refusal;
use crate::quirks::{Quirk, Quirks};
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall};
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::envelope::Command;
use crate::wire::headers::Headers;
use crate::wire::id::TenantId;
use crate::wire::keys;
use crate::wire::stream::PlatformStream;
use entry::corrupt;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use turns::Turns;

const TAIL: &[u8] = b"outbox_tail";

/// Bounds of a relay.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Entries on their way at once.
    pub in_flight_max: usize,
    /// Entries of one tenant on their way at once; at least one.
    pub in_flight_tenant_max: usize,
    /// Entries in memory at once.
    pub tracked_max: usize,
    /// Entries of one tenant in memory at once.
    pub tracked_tenant_max: usize,
    /// How long an attempt may stay without answer, in milliseconds: longer than the adapter's own timeout.
    pub attempt_timeout_ms: u64,
    /// First pause before another attempt, in milliseconds.
    pub backoff_ms: u64,
    /// Longest pause before another attempt, in milliseconds.
    pub backoff_ms_max: u64,
    /// How long an entry is tried since it was decided, in milliseconds.
    pub retry_ms_max: u64,
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
    /// Read a message on a subject, from the stream's leader.
    Look {
        /// Names the attempt.
        token: Token,
        /// The stream.
        stream: PlatformStream,
        /// The subject.
        subject: String,
        /// Which.
        place: Place,
    },
}

/// Which message on a subject is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The first: ours is that one or is not there, for it expects to be.
    First,
    /// The last, which anybody may have put behind ours. Only a planted fault looks there.
    Last,
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
    /// For figures.
    pub waited: Waited,
}

/// What it took until an entry ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Waited {
    /// Where it went.
    pub target: Target,
    /// From the moment it was decided until its end, in milliseconds.
    pub took_ms: u64,
}

/// Figures of the entries that go to one place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Load {
    /// Entries that have not left for good.
    pub depth: u64,
    /// Entries on their way right now.
    pub in_flight: usize,
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
    /// Until its owner keeps it.
    GivenUp(given_up::Reason),
}

#[derive(Clone, PartialEq, Debug)]
struct Tracked {
    tenant: TenantId,
    lane: Arc<str>,
    target: Target,
    enqueued_at: Wall,
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
    /// Derived: rows in the table and attempts under way, by where they go.
    loads: BTreeMap<Target, Load>,
    turns: Turns,
    tracked: BTreeMap<u64, Tracked>,
    lanes: BTreeMap<Arc<str>, VecDeque<u64>>,
    /// When something happens to an entry in flight or in backoff.
    due: BTreeSet<(Mono, u64)>,
    in_flight: usize,
    live: BTreeMap<Token, u64>,
    /// Lane heads that their owner is to keep.
    given_up: BTreeSet<u64>,
    /// Derived: lanes of which the owner keeps the first entries.
    kept_lanes: BTreeSet<Arc<str>>,
    /// Lost on purpose: whoever recovers holds it anew.
    held: bool,
}

impl Outbox {
    /// Reads the tail back and counts the rows.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn recover(config: Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt> {
        let mut turns = Turns::new(config.limits, config.quirks);
        let mut loads = BTreeMap::from(Target::ALL.map(|target| (target, Load::default())));
        let mut last = None;
        let mut broken = None;
        // Counted once per life: stopping to count would hide a row, and a relay that starts owes them all anyway.
        view.scan(Table::Outbox, b"", &mut |key, row| match parse_key(key)
            .and_then(|own| Ok((own, Row::target(row)?)))
        {
            Ok(((tenant, position), target)) => {
                turns.stored(&tenant, position);
                turns.fell_behind(&tenant);
                loads.entry(target).or_default().depth += 1;
                last = last.max(Some(position));
                ControlFlow::Continue(())
            }
            Err(halt) => {
                broken = Some(halt);
                ControlFlow::Break(())
            }
        })?;
        if let Some(halt) = broken {
            return Err(halt);
        }
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
            loads,
            turns,
            tracked: BTreeMap::new(),
            lanes: BTreeMap::new(),
            due: BTreeSet::new(),
            in_flight: 0,
            live: BTreeMap::new(),
            given_up: BTreeSet::new(),
            kept_lanes: BTreeSet::new(),
            held: false,
        })
    }

    /// Takes an entry in; it leaves after this commit.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn enqueue<I>(&mut self, now: Now, entry: &Entry, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        let (position, tenant) = (self.tail, entry.tenant());
        self.tail += 1;
        cx.put(Table::Outbox, &keys::outbox(tenant, position), &Row::encode(entry, now.wall));
        cx.put(Table::Meta, TAIL, &keys::position(self.tail));
        self.load(entry.target()).depth += 1;
        self.turns.stored(tenant, position);
        if !self.turns.is_behind(tenant) && self.turns.room(tenant) > 0 {
            self.track(position, entry, now.wall);
            self.dispatch_ready(now, Some((position, entry)), cx)?;
        } else {
            self.turns.fell_behind(tenant);
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
        let startable =
            !self.held && self.in_flight < self.config.limits.in_flight_max && self.turns.any_waits();
        if startable || self.turns.can_fill() {
            return Some((Mono::ZERO, Timer::Retry));
        }
        self.due.first().map(|(at, _)| (*at, Timer::Retry))
    }

    /// Whether the streams may be other ones than those it knows. Released, it goes on at its next tick.
    pub fn hold(&mut self, held: bool) {
        self.held = held && !self.config.quirks.has(Quirk::OutboxNeverHeld);
    }

    /// Entries that have not left for good.
    #[must_use]
    pub fn depth(&self) -> u64 {
        self.loads.values().map(|load| load.depth).sum()
    }

    /// What waits and what is on its way, by where it goes.
    pub fn loads(&self) -> impl Iterator<Item = (Target, Load)> {
        self.loads.iter().map(|(target, load)| (*target, *load))
    }

    /// When the entry was decided that has waited longest. Every tenant's first one is in memory.
    #[must_use]
    pub fn oldest(&self) -> Option<Wall> {
        self.tracked.values().next().map(|tracked| tracked.enqueued_at)
    }

    fn load(&mut self, target: Target) -> &mut Load {
        self.loads.entry(target).or_default()
    }

    /// Entries on their way right now.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// What a recovered relay must agree with.
    #[must_use]
    pub fn durable(&self) -> (u64, u64) {
        (self.tail, self.depth())
    }
}

fn parse_key(key: &[u8]) -> Result<(TenantId, u64), Halt> {
    keys::parse_outbox(key)
        .and_then(|(token, position)| Some((TenantId::from_token(token)?, position)))
        .ok_or_else(|| corrupt("a key is not a tenant and a position"))
}

impl Tracked {
    const fn is_busy(&self) -> bool {
        match self.state {
            State::InFlight { .. } | State::Looking { .. } => true,
            State::Waiting | State::Backoff { .. } | State::GivenUp(_) => false,
        }
    }
}
