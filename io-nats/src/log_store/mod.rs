//! The broker's disk: an append-only, checksummed log of transactions, with its index in memory.
//!
//! ```text
//!  begin ─► settle: what is on disk now, rotate, remove, move ─► apply … ─► commit = one write ─┬─ Always: fdatasync
//!                                                                                               └─ Interval: later
//!  0000000007.log   0000000008.log   0000000009.log
//!  oldest: moved,   ……………………………   tail: appended
//!  then removed
//! ```
//!
//! - A transaction is one record: all of it is recovered, or nothing. What is recovered after any crash is the state as of
//!   some commit, with `SyncPolicy::Always` the last one that returned (`recover`).
//! - Damage where the log had been on disk is refused, never dropped in silence (`evidence`). Sync marks prove it: the
//!   position up to which everything is on disk stands in every record's header, and in a record of its own when none
//!   follows.
//! - Small tables are in memory as a whole; of a bulk table, where its rows are: some two bytes each (`index`, `bulk`).
//! - Writes go to the index at once and are taken back when their transaction is dropped, so a transaction reads itself.
//! - Space: `reclaim`. Room may be made ahead of what is written, so that a sync is no matter of the file system's journal.
//!
//! A failed write or sync makes the store unusable: open it again. A full disk does not, if the log could be cut back to
//! where it was.
//!
//! Limits: [`Limits`]; a transaction takes at most 1 GiB; memory is the index, the caches, the open transaction and what
//! it read. One process at a time, and one writer in it.

mod bulk;
mod cache;
mod evidence;
mod format;
mod index;
mod opened;
mod reader;
mod reclaim;
mod recover;
mod segments;
mod set_aside;
mod sync;
#[cfg(test)]
mod tests;
mod txn;

pub use format::Position;
pub use opened::{Dropped, Limits, OpenError, Options, Repair, SyncPolicy};
pub use txn::LogTxn;

use crate::store;
use bulk::Place;
use cache::{Bytes, Cache};
use cloudlysis_core::{Store, StoreFault};
use format::{Seal, StoreId};
use index::Index;
use reclaim::Reclaim;
use recover::Recovered;
use segments::Segments;
use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
pub use sync::SyncCount;
use sync::Syncer;

/// The longest segment and the largest transaction, in bytes: positions stay below 4 GiB.
const BYTES_MAX: u32 = 1 << 30;

/// The store.
#[derive(Debug)]
pub struct LogStore {
    options: Options,
    store_id: StoreId,
    seal: Seal,
    segments: Segments,
    index: Index,
    cache: RefCell<Cache>,
    syncer: Syncer,
    reclaim: Reclaim,
    /// What the last header said: everything before is on disk.
    marked: Position,
    /// Where the last record ends that is more than a mark.
    content_end: Position,
    /// A write or a sync failed.
    is_poisoned: bool,
    _lock: File,
}

/// What is used, for metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Of the disk, in bytes.
    pub disk_bytes: u64,
    /// Of it by rows that are there, in bytes.
    pub live_bytes: u64,
}

impl LogStore {
    /// Opens a directory, creating it if needed. What was dropped is for the operator to hear.
    ///
    /// # Errors
    /// [`OpenError`]. Nothing was changed then.
    pub fn open(path: &Path, options: Options) -> Result<(Self, Option<Dropped>), OpenError> {
        let io_error = |source| OpenError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io_error)?;
        let lock = store::lock(path)?;
        let (recovered, dropped) = recover::recover(path, options.repair)?;
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => fresh(path).map_err(io_error)?,
        };
        let store = Self::start(recovered, options, lock).map_err(io_error)?;
        if let Some(dropped) = &dropped {
            tracing::warn!(?dropped, "the end of the broker's log was not on disk, and was dropped");
        }
        Ok((store, dropped))
    }

    /// How many files it brings to disk, to be read while it works.
    #[must_use]
    pub fn sync_count(&self) -> SyncCount {
        self.syncer.count()
    }

    fn start(recovered: Recovered, options: Options, lock: File) -> io::Result<Self> {
        let Recovered { store_id, index, mut segments, first, synced, content_end, is_continued } = recovered;
        if is_continued {
            segments.open_tail()?;
        } else {
            segments.create(store_id, first)?;
        }
        let unsynced = (synced.segment.max(segments.first())..=segments.last())
            .map(|segment| Ok((segment, segments.file(segment)?)))
            .collect::<io::Result<_>>()?;
        let directory = File::open(segments.directory())?;
        let end = segments.end();
        let syncer = Syncer::start(options.sync, directory, unsynced, synced, end)?;
        let Limits { written_bytes_max, read_bytes_max, .. } = options.limits;
        Ok(Self {
            options,
            store_id,
            seal: Seal::new(&store_id),
            segments,
            index,
            cache: RefCell::new(Cache::new(written_bytes_max, read_bytes_max)),
            syncer,
            reclaim: Reclaim::new(first),
            marked: synced,
            content_end,
            is_poisoned: false,
            _lock: lock,
        })
    }

    /// Brings every commit to disk, whatever the policy.
    ///
    /// # Errors
    /// When the disk fails; the store is unusable then.
    pub fn sync(&mut self) -> Result<(), StoreFault> {
        let done = if self.is_poisoned { Err(StoreFault::Io) } else { self.synced() };
        done.map(drop)
    }

    /// Syncs everything, leaves a mark that says so, and closes the store. Dropping it does the same, and only logs what
    /// fails.
    ///
    /// # Errors
    /// When the disk fails: the end of the log may not survive a power cut.
    pub fn close(mut self) -> Result<(), StoreFault> {
        self.finish()
    }

    fn finish(&mut self) -> Result<(), StoreFault> {
        self.syncer.stop();
        self.sync()?;
        if self.marked < self.content_end {
            self.mark()?;
            self.sync()?;
        }
        if let Err(error) = self.segments.trim() {
            tracing::warn!(%error, "room behind the end of the broker's log could not be given back");
        }
        Ok(())
    }

    /// What is used.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let disk_bytes = self.segments.bytes() + self.segments.room();
        Usage { disk_bytes, live_bytes: self.segments.live_bytes() }
    }

    /// Syncs everything written so far.
    fn synced(&mut self) -> Result<Position, StoreFault> {
        let synced = self.syncer.sync().ok().and_then(|()| self.syncer.synced());
        synced.ok_or_else(|| self.poison())
    }

    fn poison(&mut self) -> StoreFault {
        self.is_poisoned = true;
        StoreFault::Io
    }

    /// Appends a record whose body is complete. Nothing of it is there after an error.
    fn append(&mut self, record: &mut Vec<u8>) -> Result<Position, StoreFault> {
        let Some(synced) = self.syncer.synced() else { return Err(self.poison()) };
        let at = self.segments.end();
        self.seal.seal(record, at, self.reclaim.announce(synced), synced);
        let tail = Arc::clone(self.segments.tail());
        if let Err(error) = tail.write_all_at(record, u64::from(at.offset)) {
            tracing::error!(%error, "the broker's log could not be written");
            let is_cut = self.segments.cut_back().is_ok();
            return Err(if is_cut && is_full(&error) { StoreFault::Full } else { self.poison() });
        }
        self.segments.grew(format::short(record.len()));
        self.segments.make_room(self.options.limits.ahead_bytes);
        let end = self.segments.end();
        self.syncer.written(end.segment, &tail, end);
        self.reclaim.appended(record.len(), end);
        self.marked = synced;
        self.content_end = end;
        Ok(at)
    }

    /// Leaves a mark.
    fn mark(&mut self) -> Result<(), StoreFault> {
        let content_end = self.content_end;
        let mut record = Vec::new();
        format::begin_record(&mut record);
        self.append(&mut record)?;
        self.content_end = content_end;
        Ok(())
    }

    /// The bytes that hold a value, and where in them it begins.
    fn fetch(&self, place: Place) -> Result<(Bytes, usize), StoreFault> {
        let mut cache = self.cache.borrow_mut();
        if let Some(found) = cache.get(place) {
            return Ok(found);
        }
        let read = || -> io::Result<Bytes> {
            let end = self.segments.end_of(place.segment).unwrap_or(place.offset);
            let left = end.saturating_sub(place.offset);
            let bytes = cache.read_bytes(place).min(left).max(place.bytes);
            let mut bytes = vec![0; bytes as usize];
            self.segments.file(place.segment)?.read_exact_at(&mut bytes, u64::from(place.offset))?;
            Ok(Arc::new(bytes))
        };
        let bytes = read().map_err(|error| {
            tracing::error!(%error, segment = place.segment, "the broker's log could not be read");
            StoreFault::Io
        })?;
        cache.read(Position { segment: place.segment, offset: place.offset }, &bytes);
        Ok((bytes, 0))
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// An empty store. Its header is on disk before anything is written.
fn fresh(path: &Path) -> io::Result<Recovered> {
    let store_id = uuid::Uuid::now_v7().into_bytes();
    let mut segments = Segments::new(path.to_owned(), 1);
    segments.create(store_id, 1)?;
    segments.tail().sync_all()?;
    File::open(path)?.sync_all()?;
    let end = segments.end();
    let index = Index::default();
    Ok(Recovered { store_id, index, segments, first: 1, synced: end, content_end: end, is_continued: true })
}

impl Store for LogStore {
    type Txn<'s> = LogTxn<'s>;

    fn begin(&mut self) -> Result<LogTxn<'_>, StoreFault> {
        self.settle()?;
        Ok(LogTxn::new(self))
    }
}

impl Drop for LogStore {
    fn drop(&mut self) {
        if !self.is_poisoned && self.finish().is_err() {
            tracing::error!("the broker's log was not closed in order");
        }
    }
}
