//! LMDB through heed: one environment per partition, written by one thread, durable at every commit.
//!
//! ```text
//!  HeedStore ── a turn is a commit of LMDB
//!      └─► Writer ── a turn is a record of the journal; now and then all of them are one commit of LMDB
//!  Snapshots ── readers beside either, who see what was durable when they asked
//! ```
//!
//! - One named database per [`Table`]; keys and values are the core's bytes.
//! - No `NOSYNC` flag of any kind: a commit that returned survives a power cut. A test reads the flags back.
//! - Opening applies what the journal has and LMDB has not: nobody who opens a directory sees less than was committed.
//! - The map grows by doubling when it is full, up to a limit; the turn that met the end of it is run again after
//!   recovery, because a full map is an ordinary [`StoreFault`].
//! - A lock file keeps a second process out of the directory, with its own words: LMDB itself would allow it.
//! - Readers take snapshots beside the writer; growing the map waits for them, because LMDB requires it.

mod journal;
#[cfg(test)]
mod tests;
mod visible;
mod writer;

pub use writer::{Commits, Writer, WriterTxn};

use cloudlysis_core::store::Visit;
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, Write, WriteBatch};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use journal::Journal;
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use thiserror::Error;
use visible::Visible;

/// How large a map may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MapSize {
    /// At first, in bytes.
    pub initial_bytes: usize,
    /// At most, in bytes.
    pub max_bytes: usize,
}

impl Default for MapSize {
    /// 256 MiB of address space, growing to 64 GiB; the file takes only what is used.
    fn default() -> Self {
        Self { initial_bytes: 256 << 20, max_bytes: 64 << 30 }
    }
}

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {} is in use by process {owner}: stop it first, or choose another directory", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Who has it.
        owner: String,
    },
    /// It cannot be created or read.
    #[error("data directory {}: {source}", path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What was committed last cannot be taken over from the journal.
    #[error("data directory {}: what its journal holds cannot be written: {source}; the log says more", path.display())]
    Journal {
        /// The directory.
        path: PathBuf,
        /// What the store said.
        source: StoreFault,
    },
    /// LMDB refuses it.
    #[error("data directory {} cannot be opened: {source}", path.display())]
    Lmdb {
        /// The directory.
        path: PathBuf,
        /// What LMDB said.
        source: heed::Error,
    },
}

const TABLES: usize = Table::ALL.len();
type Databases<'t> = [Database<'t, Bytes, Bytes>; TABLES];
type Tables = Databases<'static>;

/// The environment, shared by the writer and its readers.
#[derive(Debug)]
struct Shared {
    env: Env<WithoutTls>,
    tables: Tables,
    /// Read-locked by every transaction, write-locked to grow the map.
    growing: RwLock<()>,
    /// Turns that are durable, and what that took.
    commits: AtomicU64,
    syncs: AtomicU64,
    /// Commits of LMDB that succeeded.
    stored: AtomicU64,
    /// What readers see of them, and how they ask for the rest.
    visible: Visible,
}

impl Shared {
    fn write(&self) -> Result<(RwTxn<'_>, RwLockReadGuard<'_, ()>), StoreFault> {
        let growing = self.growing.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok((self.env.write_txn().map_err(|error| fault(&error))?, growing))
    }
}

/// The writer of one partition.
#[derive(Debug)]
pub struct HeedStore {
    shared: Arc<Shared>,
    journal: Journal,
    map_bytes_max: usize,
    store_id: String,
    _lock: File,
}

/// Takes snapshots of a partition beside its writer. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Snapshots {
    shared: Arc<Shared>,
}

const STORE_ID: &[u8] = b"store_id";

fn fault(error: &heed::Error) -> StoreFault {
    match error {
        heed::Error::Mdb(MdbError::MapFull | MdbError::MapResized) => StoreFault::Full,
        heed::Error::Io(io) if io.kind() == std::io::ErrorKind::StorageFull => StoreFault::Full,
        heed::Error::Io(_)
        | heed::Error::Mdb(_)
        | heed::Error::Encoding(_)
        | heed::Error::Decoding(_)
        | heed::Error::EnvAlreadyOpened => StoreFault::Io,
    }
}

/// Opens the environment.
///
/// LMDB's rules, and why they hold here: the file is not opened twice in this process (the lock file), not on a network
/// file system (said in the operating guide), and nobody else truncates it.
#[expect(unsafe_code, reason = "LMDB maps a file; the rules above are kept by the lock and the guide")]
fn open_env(path: &Path, map_bytes: usize) -> Result<Env<WithoutTls>, heed::Error> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    let tables = u32::try_from(Table::ALL.len()).unwrap_or(u32::MAX);
    options.map_size(map_bytes).max_dbs(tables).max_readers(126);
    unsafe { options.open(path) }
}

impl HeedStore {
    /// Opens a partition's directory, creating it if needed.
    ///
    /// # Errors
    /// [`OpenError`] when another process has it, or it cannot be opened.
    pub fn open(path: &Path, map: MapSize) -> Result<Self, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let lmdb = |source| OpenError::Lmdb { path: path.to_owned(), source };
        std::fs::create_dir_all(path).map_err(io)?;
        let lock = lock(path)?;
        // A map smaller than what is stored could not be read.
        let stored = std::fs::metadata(path.join("data.mdb")).map_or(0, |data| data.len());
        let stored = usize::try_from(stored).unwrap_or(usize::MAX);
        let map_bytes = page_aligned(map.initial_bytes.max(stored.saturating_add(stored / 4)));
        let env = open_env(path, map_bytes).map_err(lmdb)?;
        let (tables, store_id) = open_tables(&env).map_err(lmdb)?;
        let shared = Arc::new(Shared {
            env,
            tables,
            growing: RwLock::new(()),
            commits: AtomicU64::new(0),
            syncs: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            visible: Visible::default(),
        });
        let journal = Journal::at(path);
        let mut store = Self { shared, journal, map_bytes_max: map.max_bytes, store_id, _lock: lock };
        store.take_over_journal().map_err(|source| OpenError::Journal { path: path.to_owned(), source })?;
        Ok(store)
    }

    /// What the journal has and LMDB has not, under one commit.
    fn take_over_journal(&mut self) -> Result<(), StoreFault> {
        loop {
            let taken = self.writer(Commits::Journaled).checkpoint();
            match taken {
                Err(StoreFault::Full) if self.grow().unwrap_or(false) => {}
                Ok(()) | Err(StoreFault::Full | StoreFault::Io | StoreFault::CommitUnknown) => return taken,
            }
        }
    }

    /// The id this directory got when it was created.
    #[must_use]
    pub fn store_id(&self) -> &str {
        &self.store_id
    }

    /// For readers beside the writer.
    #[must_use]
    pub fn snapshots(&self) -> Snapshots {
        Snapshots { shared: Arc::clone(&self.shared) }
    }

    /// Doubles the map after [`StoreFault::Full`]; `false` when it may not grow further.
    ///
    /// # Errors
    /// When LMDB refuses.
    #[expect(
        unsafe_code,
        reason = "LMDB wants no transaction while it resizes; the lock keeps every one of ours out"
    )]
    pub fn grow(&mut self) -> Result<bool, heed::Error> {
        let _alone = self.shared.growing.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let now = self.shared.env.info().map_size;
        let next = page_aligned(now.saturating_mul(2).min(self.map_bytes_max));
        if next <= now {
            return Ok(false);
        }
        unsafe { self.shared.env.resize(next)? };
        tracing::info!(from = now, to = next, "the map grew");
        Ok(true)
    }

    /// For whoever wants its figures beside the writer.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures { shared: Arc::clone(&self.shared) }
    }
}

/// What a store is like. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Figures {
    shared: Arc<Shared>,
}

impl Figures {
    /// Bytes used and bytes available in the map.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let info = self.shared.env.info();
        let page = 4096;
        ((info.last_page_number as u64 + 1) * page, info.map_size as u64)
    }

    /// How often the writer has committed since it was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// How often a commit of LMDB has succeeded: what the journal took alone is not among these.
    #[must_use]
    pub fn stored(&self) -> u64 {
        self.shared.stored.load(Ordering::Relaxed)
    }

    /// How often it waited for the disk to have something for good.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }
}

/// Opens every table, and reads the store's id or gives it one.
fn open_tables(env: &Env<WithoutTls>) -> Result<(Tables, String), heed::Error> {
    let mut store_id = String::new();
    let opened = env.create_databases_and_commit(env.write_txn()?, |opener, txn| {
        let mut tables: Vec<Database<'_, Bytes, Bytes>> = Vec::with_capacity(TABLES);
        for table in Table::ALL {
            tables.push(opener.create_database(txn, Some(table.name()))?);
        }
        let tables: Databases<'_> =
            tables.try_into().unwrap_or_else(|_| unreachable!("one database per table"));
        let meta = &tables[Table::Meta as usize];
        match meta.get(txn, STORE_ID)? {
            Some(id) => store_id = String::from_utf8_lossy(id).into_owned(),
            None => {
                store_id = uuid::Uuid::now_v7().to_string();
                meta.put(txn, STORE_ID, store_id.as_bytes())?;
            }
        }
        Ok::<_, heed::Error>(CommitOrAbort::<_, Infallible>::Commit(tables))
    })?;
    match opened {
        CommitOrAbort::Commit(tables) => Ok((tables, store_id)),
        CommitOrAbort::Abort(never) => match never {},
    }
}

const fn page_aligned(bytes: usize) -> usize {
    const PAGE: usize = 1 << 16;
    bytes.saturating_add(PAGE - 1) / PAGE * PAGE
}

pub(crate) fn lock(path: &Path) -> Result<File, OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let file = path.join("LOCK");
    let mut lock =
        File::options().create(true).truncate(false).read(true).write(true).open(&file).map_err(io)?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let owner = std::fs::read_to_string(&file).unwrap_or_default();
            let owner = if owner.trim().is_empty() { "unknown" } else { owner.trim() }.to_owned();
            return Err(OpenError::InUse { path: path.to_owned(), owner });
        }
        Err(TryLockError::Error(source)) => return Err(io(source)),
    }
    lock.set_len(0).map_err(io)?;
    write!(lock, "{}", std::process::id()).map_err(io)?;
    Ok(lock)
}

fn get<'t>(
    tables: &Tables,
    txn: &'t RoTxn<'_>,
    table: Table,
    key: &[u8],
) -> Result<Option<&'t [u8]>, StoreFault> {
    tables[table as usize].get(txn, key).map_err(|error| fault(&error))
}

fn scan(
    tables: &Tables,
    txn: &RoTxn<'_>,
    table: Table,
    from: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), StoreFault> {
    let range = (Bound::Included(from), Bound::Unbounded);
    let table = tables[table as usize];
    // LMDB has no empty key to seek to.
    let rows = if from.is_empty() { table.range(txn, &(..)) } else { table.range(txn, &range) };
    for row in rows.map_err(|error| fault(&error))? {
        let (key, value) = row.map_err(|error| fault(&error))?;
        if visit(key, value).is_break() {
            break;
        }
    }
    Ok(())
}

/// An open write transaction.
#[expect(missing_debug_implementations, reason = "an LMDB transaction has none")]
pub struct HeedTxn<'s> {
    txn: RwTxn<'s>,
    shared: &'s Shared,
    _growing: RwLockReadGuard<'s, ()>,
}

impl View for HeedTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        get(&self.shared.tables, &self.txn, table, key)
    }
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        scan(&self.shared.tables, &self.txn, table, from, visit)
    }
}

impl Txn for HeedTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        batch.iter().try_for_each(|write| apply(&self.shared.tables, &mut self.txn, write))
    }

    fn commit(self) -> Result<(), StoreFault> {
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        commit(self.shared, self.txn)
    }
}

fn apply(tables: &Tables, txn: &mut RwTxn<'_>, write: Write<'_>) -> Result<(), StoreFault> {
    let applied = match write {
        Write::Put { table, key, value } => tables[table as usize].put(txn, key, value),
        Write::Delete { table, key } => tables[table as usize].delete(txn, key).map(drop),
    };
    applied.map_err(|error| fault(&error))
}

/// Two syncs: of the pages, and of the page that names them.
fn commit(shared: &Shared, txn: RwTxn<'_>) -> Result<(), StoreFault> {
    shared.syncs.fetch_add(2, Ordering::Relaxed);
    txn.commit().map_err(|error| match fault(&error) {
        StoreFault::Full => StoreFault::Full,
        // The pages may or may not have reached the disk before the error.
        StoreFault::Io | StoreFault::CommitUnknown => StoreFault::CommitUnknown,
    })?;
    shared.stored.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

impl Store for HeedStore {
    type Txn<'s> = HeedTxn<'s>;

    fn begin(&mut self) -> Result<HeedTxn<'_>, StoreFault> {
        let (txn, growing) = self.shared.write()?;
        Ok(HeedTxn { txn, shared: &self.shared, _growing: growing })
    }
}

/// A consistent picture of the committed rows.
#[expect(missing_debug_implementations, reason = "an LMDB transaction has none")]
pub struct Snapshot<'s> {
    txn: RoTxn<'s, WithoutTls>,
    tables: &'s Tables,
    _shared: RwLockReadGuard<'s, ()>,
}

impl Snapshots {
    /// Reads within one snapshot, of everything that was committed when it was asked for. Keep it short: the pages it
    /// sees cannot be reused meanwhile. Not from the writer's own thread: it would wait for itself.
    ///
    /// # Errors
    /// When LMDB refuses a reader.
    pub fn read<R>(&self, read: impl FnOnce(&dyn View) -> R) -> Result<R, StoreFault> {
        self.shared.visible.wait();
        let guard = self.shared.growing.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let txn = self.shared.env.read_txn().map_err(|error| fault(&error))?;
        let snapshot = Snapshot { txn, tables: &self.shared.tables, _shared: guard };
        Ok(read(&snapshot))
    }
}

impl View for Snapshot<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        get(self.tables, &self.txn, table, key)
    }
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        scan(self.tables, &self.txn, table, from, visit)
    }
}
