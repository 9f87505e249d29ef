//! Cloudlysis core.
#![forbid(unsafe_code)]
pub mod aggregate;
pub mod backoff;
#[cfg(test)]
mod bench;
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
pub mod outbox;
pub mod outcome;
pub mod program;
pub mod projection;
pub mod quarantine;
pub mod query;
pub mod quirks;
pub mod runner;
pub mod saga;
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
pub use time::{Mono, Now, Wall};
