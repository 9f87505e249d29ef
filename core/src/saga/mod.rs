//! Saga transitions: what belongs together decides what happens next, and how to undo it.
//!
//! ```text
//!              event, work ended, timer fired         complete
//! (none) ─ starts_on ─► Running ──────────────────────────────────────► Completed
//!                          │ compensate
//!                          ▼
//!                     Compensating ── nothing in flight, nothing left ──► Compensated
//!                      last first, one at a time, after what is in flight has ended
//!
//! Running, Compensating ── kill, by an operator ─► Killed: nothing is undone, nothing more is waited for
//! Completed, Compensated, Killed ── restart, by an operator ─► Running, from its first event
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
//! An operator may pause an instance: what comes for it is held, and applied in order when it goes on ([`Incoming`]). To cancel
//! one is to undo it, as its own program would.
//!
//! An instance reacts by the definition it began under (`definitions`).
//!
//! Durable: `saga`, `saga_cause`, `saga_held`, `saga_definition`, `saga_pinned`. Derived on recovery: the definitions in use.
//! Derived: instances that reacted last (`kept`). Lost on purpose: nothing.
//!
//! - INV-SAGA-1: a cause is applied to an instance at most once.
//! - INV-SAGA-2: a finished instance absorbs every later event.
//! - INV-SAGA-3: compensation undoes, last first, what was done or may have been, and waits for what is in flight.
//! - INV-SAGA-4: work items and timers commit with the state or not at all (they are returned, never emitted).
//! - INV-SAGA-5: what was asked for first leaves first: an effect is handed over only when nothing is on its way out.
//! - INV-SAGA-6: a paused instance reacts to nothing; what comes for it is held in order, and applied in that order.
//! - INV-SAGA-7: a finished instance waits for nothing: its timers are cancelled, nothing is held for it.
//! - INV-SAGA-8: an instance reacts by the definition it began under, which is kept until it ends or is migrated.
//! - INV-SAGA-9: what a restarted instance asks for is not what it asked for before.
//! - INV-SAGA-10: a replayed event begins no instance that may have been there, unless an operator says so.
//!
//! Limits: work items per instance ([`WORKS_MAX`], [`UNDOING_MAX`]), what is held for one ([`HELD_MAX`]), definitions in use
//! ([`DEFINITIONS_MAX`]), state size and items per reaction (the program contract).
//!
//! Not here: when timers fire.

mod compensate;
mod definitions;
mod hold;
mod instance;
mod kept;
pub mod look;
mod operate;
mod replay;
mod restart;
#[cfg(test)]
pub(crate) mod tests;
mod timers;
mod transition;

pub use definitions::{DEFINITIONS_MAX, definition_of};
pub use hold::{Incoming, Paused};
pub use instance::{BeganWith, Instance, Intervened, Intervention, PendingTimer, Status, Work, WorkState};
pub use operate::{Commanded, Operated, Operation, Verb};
pub use replay::{Fate, Replayed};
pub use restart::Restart;
pub use timers::TimerFired;
pub use transition::{Happened, SagaConfig, Sagas, WorkEnded};

use crate::outbox::Entry;
use crate::quarantine::Cause;
use crate::schedule::Timer;
use crate::wire::envelope::EffectCommand;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};

/// Most work items of one instance over its life, those that undo others not counted.
pub const WORKS_MAX: usize = 256;

/// Most work items with which one instance undoes others: a few for each.
pub const UNDOING_MAX: usize = 4 * WORKS_MAX;

/// Most timers an instance waits for at once.
pub const TIMERS_MAX: usize = 64;

/// Most that is held for a paused instance; more quarantines it.
pub const HELD_MAX: usize = 128;
/// Most bytes of that.
pub const HELD_BYTES_MAX: u64 = 4 << 20;

/// What a reaction wants from the rest of the partition, in the same commit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Asked {
    /// Work, in order.
    pub work: Vec<Wanted>,
    /// What changes in the schedule, in order.
    pub timers: Vec<TimerChange>,
    /// The instance came to its end.
    pub finished: Option<Finished>,
}

/// An instance that came to its end, in the reaction that brought it there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// How.
    pub ending: Ending,
}

/// How an instance ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// By its programs.
    Completed,
    /// By undoing.
    Compensated,
    /// By an operator, with nothing undone.
    Killed,
}

/// A work item on its way.
#[derive(Clone, PartialEq, Debug)]
pub enum Wanted {
    /// It leaves through the outbox.
    Leaving(Entry),
    /// An effect that joins the ledger of this partition in the same commit.
    HandedOver(EffectCommand),
}

/// How an effect gets from a saga to the ledger of the same partition, and its result back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOver {
    /// As messages, by way of the outbox: others may see them, or carry the effect out.
    Broker,
    /// Inside the commit, unless a command of the instance is still on its way: what was asked for first leaves first.
    Commit,
}

impl HandOver {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Commit, Self::Broker];

    /// As people write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Commit => "commit",
        }
    }

    /// What somebody wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|way| way.as_str() == text)
    }
}

/// A change to the schedule.
#[derive(Clone, PartialEq, Debug)]
pub enum TimerChange {
    /// A timer is to fire at its time.
    Set(Timer),
    /// A timer is not to fire any more.
    Cancelled {
        /// Whose.
        tenant: TenantId,
        /// Which.
        id: CommandId,
    },
}

/// What a saga made of something that happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Reacted {
    /// It was applied, or absorbed; this is wanted.
    Applied(Asked),
    /// The instance is paused: it is held.
    Held,
    /// The instance is paused, and more came than a pause holds: it must be quarantined, with all of this.
    Overflowed(Vec<Incoming>),
    /// It cannot be applied: the instance must be quarantined.
    Poisoned(Cause),
}
