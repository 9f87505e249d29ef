//! LMDB through heed: one environment per partition, written by one thread, durable at every commit.
//!
//! - One named database per [`Table`]; keys and values are the core's bytes.
//! - No `NOSYNC` flag of any kind: a commit that returned survives a power cut. A test reads the flags back.
//! - The map grows by doubling when it is full, up to a limit; the turn that met the end of it is run again after
//!   recovery, because a full map is an ordinary [`StoreFault`].
//! - A lock file keeps a second process out of the directory, with its own words: LMDB itself would allow it.
//! - Readers take snapshots beside the writer; growing the map waits for them, because LMDB requires it.

use cloudlysis_core::store::Visit;
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, Write, WriteBatch};
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, RwTxn, WithoutTls};
use std::convert::Infallible;
use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard};
use thiserror::Error;

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
    commits: AtomicU64,
}

/// The writer of one partition.
#[derive(Debug)]
pub struct HeedStore {
    shared: Arc<Shared>,
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
        let shared = Arc::new(Shared { env, tables, growing: RwLock::new(()), commits: AtomicU64::new(0) });
        Ok(Self { shared, map_bytes_max: map.max_bytes, store_id, _lock: lock })
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

    /// Bytes used and bytes available in the map.
    #[must_use]
    pub fn usage(&self) -> (u64, u64) {
        let info = self.shared.env.info();
        let page = 4096;
        ((info.last_page_number as u64 + 1) * page, info.map_size as u64)
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
    tables: &'s Tables,
    commits: &'s AtomicU64,
    _shared: RwLockReadGuard<'s, ()>,
}

impl View for HeedTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        get(self.tables, &self.txn, table, key)
    }
    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        scan(self.tables, &self.txn, table, from, visit)
    }
}

impl Txn for HeedTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        for write in batch.iter() {
            let applied = match write {
                Write::Put { table, key, value } => {
                    self.tables[table as usize].put(&mut self.txn, key, value)
                }
                Write::Delete { table, key } => {
                    self.tables[table as usize].delete(&mut self.txn, key).map(drop)
                }
            };
            applied.map_err(|error| fault(&error))?;
        }
        Ok(())
    }

    fn commit(self) -> Result<(), StoreFault> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.txn.commit().map_err(|error| match fault(&error) {
            StoreFault::Full => StoreFault::Full,
            // The pages may or may not have reached the disk before the error.
            StoreFault::Io | StoreFault::CommitUnknown => StoreFault::CommitUnknown,
        })
    }
}

impl Store for HeedStore {
    type Txn<'s> = HeedTxn<'s>;

    fn begin(&mut self) -> Result<HeedTxn<'_>, StoreFault> {
        let guard = self.shared.growing.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let txn = self.shared.env.write_txn().map_err(|error| fault(&error))?;
        Ok(HeedTxn { txn, tables: &self.shared.tables, commits: &self.shared.commits, _shared: guard })
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
    /// How often the writer has committed since it was opened.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Reads within one snapshot. Keep it short: the pages it sees cannot be reused meanwhile.
    ///
    /// # Errors
    /// When LMDB refuses a reader.
    pub fn read<R>(&self, read: impl FnOnce(&dyn View) -> R) -> Result<R, StoreFault> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::WriteBatch;
    use std::ops::ControlFlow;

    const SMALL: MapSize = MapSize { initial_bytes: 1 << 20, max_bytes: 64 << 20 };

    fn batch(writes: impl FnOnce(&mut WriteBatch)) -> WriteBatch {
        let mut batch = WriteBatch::default();
        writes(&mut batch);
        batch
    }

    fn put(store: &mut HeedStore, key: &[u8], value: &[u8]) -> Result<(), StoreFault> {
        let mut txn = store.begin()?;
        txn.apply(&batch(|batch| batch.put(Table::View, key, value)))?;
        txn.commit()
    }

    #[test]
    fn commits_are_durable_and_nothing_trades_that_away() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = HeedStore::open(dir.path(), SMALL).expect("opens");
        let flags = store.shared.env.get_flags().expect("flags");
        let no_sync = heed::EnvFlags::NO_SYNC.bits() | heed::EnvFlags::NO_META_SYNC.bits();
        let map_async = heed::EnvFlags::MAP_ASYNC.bits() | heed::EnvFlags::WRITE_MAP.bits();
        assert_eq!(flags & (no_sync | map_async), 0, "{flags:#x}");
    }

    #[test]
    fn a_transaction_sees_itself_and_leaves_nothing_behind_uncommitted() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = HeedStore::open(dir.path(), SMALL).expect("opens");
        put(&mut store, b"a", b"1").expect("committed");
        {
            let mut txn = store.begin().expect("begins");
            txn.apply(&batch(|batch| {
                batch.put(Table::View, b"b", b"2");
                batch.delete(Table::View, b"a");
                batch.delete(Table::View, b"never");
            }))
            .expect("applied");
            assert_eq!(txn.get(Table::View, b"a"), Ok(None));
            assert_eq!(txn.get(Table::View, b"b"), Ok(Some(&b"2"[..])));
        }
        let snapshots = store.snapshots();
        let rows = snapshots.read(|view| {
            let mut rows = Vec::new();
            view.scan(Table::View, b"", &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })
            .expect("scanned");
            rows
        });
        assert_eq!(rows, Ok(vec![(b"a".to_vec(), b"1".to_vec())]));
        let id = store.store_id().to_owned();
        drop((store, snapshots));
        let store = HeedStore::open(dir.path(), SMALL).expect("opens again");
        assert_eq!(store.store_id(), id);
    }

    #[test]
    fn scans_begin_where_they_are_told_and_stay_in_their_table() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = HeedStore::open(dir.path(), SMALL).expect("opens");
        for key in [b"a", b"b", b"c"] {
            put(&mut store, key, b"x").expect("committed");
        }
        let txn = store.begin().expect("begins");
        let mut seen = Vec::new();
        txn.scan(Table::View, b"b", &mut |key, _| {
            seen.push(key.to_vec());
            ControlFlow::Continue(())
        })
        .expect("scanned");
        assert_eq!(seen, [b"b", b"c"]);
        txn.scan(Table::Saga, b"", &mut |_, _| panic!("another table")).expect("scanned");
    }

    #[test]
    fn a_full_map_is_reported_and_grows() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = HeedStore::open(dir.path(), SMALL).expect("opens");
        let snapshots = store.snapshots();
        let value = vec![7; 64 << 10];
        let mut grown = 0;
        for at in 0..200_u32 {
            while let Err(fault) = put(&mut store, &at.to_be_bytes(), &value) {
                assert_eq!(fault, StoreFault::Full);
                assert!(store.grow().expect("resized"), "within the limit");
                grown += 1;
            }
            let there =
                snapshots.read(|view| view.get(Table::View, &at.to_be_bytes()).map(|row| row.is_some()));
            assert_eq!(there, Ok(Ok(true)));
        }
        assert!(grown >= 4, "{grown}");
        let (used, size) = store.usage();
        assert!(used <= size && used > 12 << 20, "{used} of {size}");
        drop((store, snapshots));
        // Opened again with a small map, it is large enough for what is there.
        let mut store = HeedStore::open(dir.path(), SMALL).expect("opens again");
        put(&mut store, b"more", b"1").expect("there is room");
    }

    #[test]
    fn the_limit_of_the_map_holds() {
        let dir = tempfile::tempdir().expect("a directory");
        let map = MapSize { initial_bytes: 1 << 20, max_bytes: 1 << 20 };
        let mut store = HeedStore::open(dir.path(), map).expect("opens");
        let value = vec![7; 64 << 10];
        let fault = (0..100_u32).find_map(|at| put(&mut store, &at.to_be_bytes(), &value).err());
        assert_eq!(fault, Some(StoreFault::Full));
        assert!(!store.grow().expect("asked"));
        assert_eq!(put(&mut store, b"small", b"x"), Ok(()), "a full map still takes what fits");
    }

    #[test]
    fn a_second_process_is_told_who_has_the_directory() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = HeedStore::open(dir.path(), SMALL).expect("opens");
        let error = HeedStore::open(dir.path(), SMALL).expect_err("refused").to_string();
        assert!(error.contains("is in use by process"), "{error}");
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(store);
        HeedStore::open(dir.path(), SMALL).expect("free again");
    }
}
