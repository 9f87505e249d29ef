//! The pure state machines of Cloudlysis: everything that decides, nothing that does I/O.
//!
//! ```text
//!                      facts (Input)                       requests (Effect)
//!  io-nats, io-sim ──────────────────► Driver::turn ─────────────────────────► io-nats, io-sim
//!                                       │  ▲
//!                       handle, check   ▼  │ staged writes, one commit, then the effects
//!                                      Machine ── reads ──► Store
//! ```
//!
//! One sentence holds it together: *reads are calls, writes are staged, the commit belongs to the driver, and
//! everything else waits for the commit.* A [`Machine`] is a plain value. It is told facts, reads its tables, stages
//! writes and asks for effects through [`Cx`]. The [`Driver`] gives it many facts in one turn, commits what they staged
//! at once, and only then hands out the effects as [`Released`], which nothing else can make and which is all that an
//! adapter accepts. After any error the machine is recovered from the store: starting and failing are one path.
//!
//! # Where things are
//!
//! | module | decides |
//! |---|---|
//! | [`gate`] | which delivery is applied: at-least-once in, exactly once and in order out |
//! | [`aggregate`] | what a command does: decide, append, look before deciding again |
//! | [`projection`], [`query`] | what a view shows |
//! | [`saga`] | what happens next, and how to undo it |
//! | [`outbox`] | when what was decided has left |
//! | [`effect`] | how often the outside is called, and under which key |
//! | [`quarantine`], [`drain`] | what is held back, and when a node may go |
//! | [`runner`] | routing between sagas, outbox and effects, nothing else |
//! | [`operator`] | what operators say, and are told |
//! | [`jetstream`] | what becomes of messages: the broker's own machine, and the simulator's |
//! | [`nats`] | what a client of a broker says, and what it is told |
//! | [`broker`] | the broker whole: both of them, from bytes to bytes |
//! | [`manifest`], [`program`] | what an application says, and how its programs run |
//! | [`calendar`] | when what recurs is due next, by the clock of a zone |
//! | [`wire`] | ids, subjects, keys, headers, envelopes |
//! | [`cx`], [`driver`], [`store`], [`time`], [`outcome`], [`halt`] | the idiom itself |
//! | [`packed`] | how many bits an index takes |
//! | [`invariants`], [`marks`], [`quirks`] | the registers: what must hold, what is rare, what is planted |
//!
//! # What this crate never does
//!
//! No clock, no randomness, no threads, no I/O, no iteration over hash maps, no floats in state. The same inputs on the
//! same tables give the same effects, to the byte; a simulated world depends on it (INV-PRG-1).
//!
//! # Three rules a reader needs before changing anything
//!
//! - An [`Outcome`] is `Done`, `Refused` or `Unknown`. Only an answer that proves something is definite (INV-ANS-1).
//! - What comes back carries the [`Token`] of the attempt that asked; an old one changes nothing.
//! - A rule that must hold has an entry in [`Invariant`], a check or an oracle that notices, and a planted fault in
//!   [`Quirk`] that the oracle must catch.

#![forbid(unsafe_code)]
pub mod aggregate;
pub mod backoff;
#[cfg(test)]
mod bench;
pub mod broker;
pub mod calendar;
pub mod cx;
pub mod drain;
pub mod driver;
pub mod effect;
pub mod gate;
pub mod halt;
pub mod invariants;
pub mod jetstream;
pub mod manifest;
pub mod marks;
pub mod nats;
pub mod operator;
pub mod outbox;
pub mod outcome;
pub mod packed;
pub mod placement;
pub mod program;
pub mod projection;
pub mod quarantine;
pub mod query;
pub mod quirks;
pub mod runner;
pub mod saga;
pub mod schedule;
pub mod store;
pub mod time;
pub mod wire;
pub use cx::{Cx, Machine, Tick};
pub use driver::{Checks, Driver, Released};
pub use halt::{Broken, Fence, Halt, StoreFault};
pub use invariants::Invariant;
pub use marks::{Mark, MarkCounts};
pub use outcome::{Outcome, Token, Tokens};
pub use quirks::{Quirk, Quirks};
pub use store::{Store, Table, Txn, View, Write, WriteBatch};
pub use time::{Mono, Now, Wall, ns_of_rfc3339};
