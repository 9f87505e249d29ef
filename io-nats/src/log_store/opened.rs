//! How a store is opened, what may be said about it then, and why it may be refused.

use super::format::Position;
use crate::store;
use std::path::PathBuf;
use std::time::Duration;
use thiserror::Error;

/// When what was committed is brought to disk. A commit always survives the process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPolicy {
    /// Before the commit returns: it survives a power cut.
    Always,
    /// So long after the first commit that is not on disk: a power cut takes back at most that much.
    Interval(Duration),
}

impl Default for SyncPolicy {
    /// As nats-server does.
    fn default() -> Self {
        Self::Interval(Duration::from_mins(2))
    }
}

/// What an operator allows when the log is damaged where it had been on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Repair {
    /// Nothing: such a log is refused.
    #[default]
    Nothing,
    /// Everything from this position on goes, if exactly this position is damaged.
    DropFrom(Position),
}

/// Bounds of a store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// How long a segment is when the next one begins, in bytes; at most 1 GiB. A transaction is in one segment, so one
    /// may become longer by a transaction.
    pub segment_bytes: u32,
    /// Commits kept in memory, in bytes.
    pub written_bytes_max: usize,
    /// Reads kept in memory, in bytes.
    pub read_bytes_max: usize,
    /// Room made on disk ahead of what is written, in bytes, at most 1 GiB: where zeros are written over, a sync has nothing
    /// to say to the file system's journal. 0 makes none.
    pub ahead_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, written_bytes_max: 8 << 20, read_bytes_max: 8 << 20, ahead_bytes: 0 }
    }
}

/// How a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// When commits are brought to disk.
    pub sync: SyncPolicy,
    /// Its bounds.
    pub limits: Limits,
    /// What may be dropped.
    pub repair: Repair,
}

/// The end of the log that was not taken over: never brought to disk, or given up on purpose. To be told to an operator.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dropped {
    /// Where the log ends now.
    pub from: Position,
    /// How much it was, in bytes.
    pub bytes: u64,
    /// Records of which at least the header was whole; nobody knows the others.
    pub records: u64,
    /// Where what was dropped is kept for inspection.
    pub files: Vec<PathBuf>,
}

/// Why a store cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory cannot be used, or another process has it.
    #[error(transparent)]
    Directory(#[from] store::OpenError),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What had been on disk is not what was written. Nothing was changed.
    #[error(
        "{} is damaged at byte {}, which had been on disk before ({proof}): this is no torn tail but a fault of the \
         disk or of somebody who wrote to it; restore the data directory from a backup, or open it with a repair that \
         drops everything from {at} on", file.display(), at.offset
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// The first damaged record, to be named in [`Repair::DropFrom`].
        at: Position,
        /// How that is known.
        proof: String,
    },
    /// The oldest segments are gone, although they were needed.
    #[error("{} is missing, and rows in it may be needed: restore the data directory from a backup", file.display())]
    Missing {
        /// The newest of those missing.
        file: PathBuf,
    },
    /// A newer program wrote this log.
    #[error(
        "{} was written by a newer version of Cloudlysis ({found}; this one reads up to {known}): use that version or a \
         newer one", file.display()
    )]
    Newer {
        /// The file.
        file: PathBuf,
        /// What it holds that this version does not know.
        found: String,
        /// What this version knows.
        known: String,
    },
}
