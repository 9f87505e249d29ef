//! Local, transactional storage as the machines see it: reads are calls, writes are staged.
//!
//! [`View`] is what a machine may read: everything earlier steps of its turn staged, nothing of its own step.
//! [`WriteBatch`] is what it staged: plain data, also a free trace. [`Txn`] and [`Store`] belong to the
//! [`Driver`](crate::Driver); machines never see them.
//!
//! Two adapters implement them: `io-nats` over LMDB, `io-sim` over a store that crashes.

use crate::halt::{Halt, StoreFault};
use std::fmt;
use std::ops::{ControlFlow, Range};

/// Longest key LMDB takes as it is built. Keys are validated against it where they are composed
/// ([`wire::keys`](crate::wire::keys)).
pub const KEY_BYTES_MAX: usize = 511;

/// Largest value a row may have: a payload at its limit plus its record around it.
pub const VALUE_BYTES_MAX: usize = 4 << 20;

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $name:literal,)*) => {
        /// Every table of every machine. The name is the name of the LMDB database; it is never reused.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Table { $($(#[$doc])* $table,)* }

        impl Table {
            /// All of them, in the order of declaration.
            pub const ALL: &'static [Self] = &[$(Self::$table,)*];

            /// Its name on disk.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$table => $name,)* }
            }
        }
    };
}

tables! {
    /// `incarnation` → how often this store was recovered; owned by the driver.
    Meta = "meta",
    /// Stream and consumer → incarnation of the stream and the last sequence applied.
    Checkpoint = "checkpoint",
    /// Aggregate → state, version and last sequence.
    Aggregate = "aggregate",
    /// Aggregate and command id → where its events are.
    Command = "command",
    /// Aggregate and command id → a recorded refusal; aggregate → the last others given.
    Refusal = "refusal",
    /// View and view id → the row.
    View = "view",
    /// View and aggregate → the last version applied.
    ViewSource = "view_source",
    /// Saga instance → its state and work items.
    Saga = "saga",
    /// Hash → a definition that running saga instances began under.
    SagaDefinition = "saga_definition",
    /// Hash → how many running saga instances began under that definition.
    SagaPinned = "saga_pinned",
    /// Saga instance and cause → already applied.
    SagaCause = "saga_cause",
    /// Saga instance and position → what came for it while it is paused.
    SagaHeld = "saga_held",
    /// Tenant and saga → the last event that was passed when an instance was removed.
    SagaForgotten = "saga_forgotten",
    /// Kind, time and row → a saga instance or an effect that has ended, and is kept for a while.
    Ended = "ended",
    /// Position → work that must leave this process.
    Outbox = "outbox",
    /// Effect command → its phase.
    Effect = "effect",
    /// Position → effect command that is not settled yet.
    EffectOpen = "effect_open",
    /// Effects that wait for a person, by the keys of their rows.
    EffectParked = "effect_parked",
    /// Time and timer → the timer, in the order in which they fall due.
    TimerDue = "timer_due",
    /// Timer → when it falls due.
    Timer = "timer",
    /// Schedule and tenant → how far it is.
    Recurring = "schedule",
    /// Quarantined key and position → the parked message.
    Parked = "parked",
    /// Quarantined key → how many messages it holds and why.
    ParkedKey = "parked_key",
    /// Cause of quarantine → how many keys and messages are held back for it.
    ParkedGroup = "parked_group",
    /// Selection of quarantined keys → what an operator does with them, and how far that is.
    Redrive = "redrive",
    /// Selection and quarantined key → its turn has not come.
    RedriveKey = "redrive_key",
    /// Stream → configuration and identity (broker engine).
    JsStream = "js_stream",
    /// Stream and sequence → message (broker engine).
    JsMessage = "js_message",
    /// Stream and consumer → configuration and state as of its last flush (broker engine).
    JsConsumer = "js_consumer",
    /// Stream and sequence → when the schedule there is due, once it was (broker engine).
    JsSchedule = "js_schedule",
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Called with the key and value of each row of a scan; breaks to end it.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'v;

/// As [`Visit`]; a failure ends the scan too.
pub type TryVisit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, Halt> + 'v;

/// What a machine may read. Synchronous, object-safe, small.
pub trait View {
    /// The row under exactly this key.
    ///
    /// # Errors
    /// When the store cannot be read; the turn halts.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault>;

    /// Rows in key order from `from` (inclusive) until `visit` breaks or the table ends.
    ///
    /// The caller bounds the scan: every `visit` breaks after a limit of its own.
    ///
    /// # Errors
    /// When the store cannot be read; the turn halts.
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault>;
}

/// An open transaction: a view that includes what was applied to it.
pub trait Txn: View {
    /// Applies a step's writes.
    ///
    /// # Errors
    /// When the store is full or fails; the turn halts and nothing of it lands.
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault>;

    /// Makes everything applied durable: after `Ok`, it survives a power cut.
    ///
    /// # Errors
    /// [`StoreFault::CommitUnknown`] when it may have landed; anything else means that it did not.
    fn commit(self) -> Result<(), StoreFault>;
}

/// A store with one writer at a time.
pub trait Store {
    /// Its transaction; dropping one without commit discards it.
    type Txn<'s>: Txn
    where
        Self: 's;

    /// Opens the write transaction.
    ///
    /// # Errors
    /// When the store cannot be opened for writing.
    fn begin(&mut self) -> Result<Self::Txn<'_>, StoreFault>;
}

/// One staged change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Write<'b> {
    /// Insert or replace.
    Put {
        /// Where.
        table: Table,
        /// Its key.
        key: &'b [u8],
        /// Its value.
        value: &'b [u8],
    },
    /// Remove if there.
    Delete {
        /// Where.
        table: Table,
        /// Its key.
        key: &'b [u8],
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Op {
    table: Table,
    key: Range<usize>,
    value: Option<Range<usize>>,
}

/// The writes of one step, in order. One growing buffer, so staging a row does not allocate per row.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteBatch {
    bytes: Vec<u8>,
    ops: Vec<Op>,
}

impl WriteBatch {
    /// Stages an insert or replacement.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        debug_assert!(!key.is_empty() && key.len() <= KEY_BYTES_MAX, "{table}: key of {} bytes", key.len());
        let key = self.store(key);
        let value = self.store(value);
        self.ops.push(Op { table, key, value: Some(value) });
    }

    /// Stages a removal; removing what is not there is fine.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        let key = self.store(key);
        self.ops.push(Op { table, key, value: None });
    }

    /// The writes in the order they were staged.
    pub fn iter(&self) -> impl Iterator<Item = Write<'_>> {
        self.ops.iter().map(|op| {
            let key = &self.bytes[op.key.clone()];
            match &op.value {
                Some(value) => Write::Put { table: op.table, key, value: &self.bytes[value.clone()] },
                None => Write::Delete { table: op.table, key },
            }
        })
    }

    /// Whether nothing was staged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// Forgets everything, keeping the buffers.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ops.clear();
    }

    fn store(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }
}

/// Rows whose key begins with `prefix`, in key order, until `visit` breaks.
///
/// # Errors
/// As [`View::scan`].
pub fn scan_prefix(
    view: &dyn View,
    table: Table,
    prefix: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), StoreFault> {
    view.scan(table, prefix, &mut |key, value| {
        if key.starts_with(prefix) { visit(key, value) } else { ControlFlow::Break(()) }
    })
}

/// Rows in key order from `from` until `visit` breaks or fails; the first failure is the answer.
///
/// # Errors
/// As [`View::scan`], and what `visit` says.
pub fn try_scan(view: &dyn View, table: Table, from: &[u8], visit: &mut TryVisit<'_>) -> Result<(), Halt> {
    let mut failed = None;
    view.scan(table, from, &mut |key, row| {
        visit(key, row).unwrap_or_else(|halt| {
            failed = Some(halt);
            ControlFlow::Break(())
        })
    })?;
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_back_what_was_staged_in_order() {
        let mut batch = WriteBatch::default();
        batch.put(Table::Meta, b"a", b"1");
        batch.delete(Table::Outbox, b"b");
        batch.put(Table::Meta, b"a", b"");
        let writes: Vec<_> = batch.iter().collect();
        assert_eq!(
            writes,
            [
                Write::Put { table: Table::Meta, key: b"a", value: b"1" },
                Write::Delete { table: Table::Outbox, key: b"b" },
                Write::Put { table: Table::Meta, key: b"a", value: b"" },
            ]
        );
        batch.clear();
        assert!(batch.is_empty());
    }

    #[test]
    fn table_names_are_unique() {
        let names: std::collections::BTreeSet<_> = Table::ALL.iter().map(|table| table.name()).collect();
        assert_eq!(names.len(), Table::ALL.len());
    }
}
