//! Why a partition stops.
//!
//! Domain refusals are outputs and transient trouble arrives as inputs; neither is here. A [`Halt`] means the
//! machine in memory may be ahead of its store: the driver is poisoned, and whoever drives it drops the machine.
//! [`Halt::is_recoverable`] says whether recovering from the store may help.

use crate::invariants::Invariant;
use crate::store::Table;
use thiserror::Error;

/// A turn that failed. Nothing of it was released.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Halt {
    /// The local store refused, failed, or cannot say whether it committed.
    #[error("local store: {0}")]
    Store(#[from] StoreFault),
    /// A row cannot be read back. The files are kept as they are for inspection.
    #[error(
        "table `{table}` holds a row that cannot be read: {detail}; keep the data directory and report it"
    )]
    Corrupt {
        /// Where.
        table: Table,
        /// What was wrong with it.
        detail: String,
    },
    /// A machine contradicts itself. Always a bug of ours.
    #[error("{0}")]
    Broken(#[from] Broken),
    /// The world is not the one this store belongs to. Going on would mix two histories.
    #[error("{0}")]
    Fenced(#[from] Fence),
}

impl Halt {
    /// Whether recovering the machine from its store is the right answer: yes for store faults, because the store
    /// itself then says which world we are in. The others come back at once and need a person.
    #[must_use]
    pub const fn is_recoverable(&self) -> bool {
        match self {
            Self::Store(_) => true,
            Self::Corrupt { .. } | Self::Broken(_) | Self::Fenced(_) => false,
        }
    }
}

/// What a local store can do to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum StoreFault {
    /// The map or the disk is full. The adapter grows the map before the next attempt; a full disk needs space.
    #[error("full: free disk space or raise the map size limit")]
    Full,
    /// Reading or writing failed.
    #[error("input/output error: check the disk and the system log")]
    Io,
    /// The commit was interrupted and may or may not have landed.
    #[error("a commit was interrupted; recovery reads back whether it landed")]
    CommitUnknown,
}

/// A named invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{} broken: {detail}; this is a bug in Cloudlysis", invariant.id())]
pub struct Broken {
    /// Which one.
    pub invariant: Invariant,
    /// Both sides of the contradiction.
    pub detail: String,
}

/// Why this store may not go on with this broker. Every message says what an operator can do.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Fence {
    /// The stream this store has state from is not there.
    #[error(
        "stream {stream} is gone, but this data directory holds state from it; restore the stream, or rebuild with \
         an empty data directory"
    )]
    StreamGone {
        /// The stream's name.
        stream: String,
    },
    /// A stream of the same name, but another one.
    #[error(
        "stream {stream} is another incarnation ({found}) than the one this data directory was built from \
         ({expected}); point at the right broker, restore the stream, or rebuild with an empty data directory"
    )]
    StreamReplaced {
        /// The stream's name.
        stream: String,
        /// The incarnation on record.
        expected: String,
        /// The incarnation found.
        found: String,
    },
    /// The stream ends before what was already applied.
    #[error(
        "stream {stream} ends at {last_seq}, but {seen_seq} was already seen: its tail was lost or an older backup \
         restored; restore the newer stream, or rebuild with an empty data directory"
    )]
    StreamTruncated {
        /// The stream's name.
        stream: String,
        /// The highest sequence this store has seen.
        seen_seq: u64,
        /// The stream's last sequence.
        last_seq: u64,
    },
    /// Messages that were never applied are no longer there.
    #[error(
        "stream {stream} begins at {first_seq}, but the next message to apply is {next_seq}: messages were removed \
         before they were seen; rebuild from a backup or adopt the gap"
    )]
    StreamTrimmed {
        /// The stream's name.
        stream: String,
        /// The next sequence to apply.
        next_seq: u64,
        /// The stream's first sequence.
        first_seq: u64,
    },
    /// Running saga instances began under a definition that this version cannot read.
    #[error(
        "running saga instances began under definition {hash}, which this version cannot read ({detail}); run the version \
         that can until they have ended, or end them with `saga kill` there"
    )]
    DefinitionUnreadable {
        /// The definition.
        hash: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Too many definitions are in use.
    #[error(
        "running saga instances began under more than {max} definitions that are not today's; run with earlier manifests \
         and let some end, or migrate them"
    )]
    TooManyDefinitions {
        /// How many may be.
        max: usize,
    },
    /// Another message stands where one was seen.
    #[error(
        "sequence {seq} of stream {stream} holds another message than the one this data directory has seen there: its \
         end was lost and written anew, or an older backup restored; restore the right stream, or rebuild with an empty \
         data directory"
    )]
    MessageReplaced {
        /// The stream's name.
        stream: String,
        /// Where.
        seq: u64,
    },
    /// Messages vanished from the middle of a stream, or, of events, from its beginning.
    #[error(
        "stream {stream} lacks {removed} messages, {known_removed} when this data directory last looked: some were lost \
         or deleted; restore the stream, or rebuild with an empty data directory"
    )]
    MessagesRemoved {
        /// The stream's name.
        stream: String,
        /// How many are missing.
        removed: u64,
        /// How many were missing before.
        known_removed: u64,
    },
    /// The durable consumer was made by another store.
    #[error(
        "consumer {consumer} belongs to data directory {owner}, not to this one ({own}): two stores must not share \
         a partition; stop the other process, or start with --adopt if its directory is lost for good"
    )]
    ForeignConsumer {
        /// The durable's name.
        consumer: String,
        /// The store id recorded in the consumer.
        owner: String,
        /// Our store id.
        own: String,
    },
    /// Another partition has tenants of ours.
    #[error(
        "{tenants} belong to another partition too, says its consumer {consumer}: no tenant may be in two; correct the \
         placement, or delete the consumer if its partition is gone for good"
    )]
    TenantsShared {
        /// The other one's durable.
        consumer: String,
        /// Who.
        tenants: String,
    },
    /// A partition is to lose tenants.
    #[error(
        "{consumer} has {tenants} on record and is to have {placed}: a partition keeps the tenants it has, because what \
         their messages caused is in its data directory; place them here again"
    )]
    TenantsTaken {
        /// The durable's name.
        consumer: String,
        /// Those that it would lose.
        tenants: String,
        /// Those that are placed here.
        placed: String,
    },
    /// Rows were built by another definition under the same name.
    #[error(
        "{what} was built by another definition: give the new one a new name, or make all views anew: empty this node's \
         data directory, and start once with --adopt"
    )]
    DefinitionChanged {
        /// The view or saga.
        what: String,
    },
    /// Too many messages are parked.
    #[error(
        "{parked} messages are quarantined, and there is no room for more: start again with a higher `parked_max`, then replay \
         or discard some"
    )]
    QuarantineFull {
        /// How many there are.
        parked: u64,
    },
}

/// Returns [`Halt::Broken`] from the enclosing function unless the condition holds.
#[macro_export]
macro_rules! invariant {
    ($holds:expr, $invariant:ident, $($detail:tt)+) => {
        if !$holds {
            return Err($crate::halt::Halt::Broken($crate::halt::Broken {
                invariant: $crate::invariants::Invariant::$invariant,
                detail: format!($($detail)+),
            }));
        }
    };
}
