//! Saga transitions: what belongs together decides what happens next, and how to undo it.
//!
//! ```text
//!              event, work ended                      complete
//! (none) ─ starts_on ─► Running ──────────────────────────────────────► Completed
//!                          │ compensate
//!                          ▼
//!                     Compensating ── nothing in flight, nothing left ──► Compensated
//!                      last first, one at a time, after what is in flight has ended
//! ```
//!
//! An instance is a row: its state, its work items and how they ended. A reaction stages the row and the mark of its
//! cause, and hands the work items to the parent, which puts them into the outbox in the same commit. Ids of work items
//! derive from the cause, so that applying a cause again asks for the same work.
//!
//! While undoing, the end of a work item still changes the state, because what it brought back may be needed to undo it
//! (a charge that succeeds after the customer cancelled); it asks for no further work.
//!
//! A program that fails changes nothing: the instance is quarantined, and so is everything that comes for it later.
//!
//! Durable: `saga`, `saga_cause`. Derived on recovery: nothing. Lost on purpose: nothing.
//!
//! - INV-SAGA-1: a cause is applied to an instance at most once.
//! - INV-SAGA-2: a finished instance absorbs every later event.
//! - INV-SAGA-3: compensation undoes, last first, what was done or may have been, and waits for what is in flight.
//! - INV-SAGA-4: work items commit with the state or not at all (they are returned, never emitted).
//!
//! Limits: work items per instance ([`WORKS_MAX`]), state size and items per reaction (the program contract).
//!
//! Not here: timers, signals, several versions of a definition at once.

mod compensate;
mod instance;
#[cfg(test)]
pub(crate) mod tests;
mod transition;

pub use instance::{Instance, Status, Work, WorkState};
pub use transition::{Happened, SagaConfig, Sagas, WorkEnded};

use crate::outbox::Entry;
use crate::quarantine::Cause;

/// Most work items of one instance over its life.
pub const WORKS_MAX: usize = 256;

/// What a saga made of something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Reacted {
    /// It was applied, or absorbed; this work must leave.
    Applied(Vec<Entry>),
    /// It cannot be applied: the instance must be quarantined.
    Poisoned(Cause),
}
