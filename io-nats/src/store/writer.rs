//! A writer whose turns are durable in a journal first, and in LMDB together.
//!
//! ```text
//!          ┌── turn: apply to the open transaction ─► append to the journal, sync ─► its effects may leave
//!  open ◄──┤
//!          └── checkpoint: the epoch goes up ─► commit of LMDB, sync ─► the journal begins again ─► readers see it
//! ```
//!
//! A commit of LMDB writes every page that a turn touched, each where it stands, and syncs twice; a record of the journal
//! is one piece, and one sync. The transaction of LMDB stays open over many turns: it is the picture that they read, and
//! what one row went through in between is written once.
//!
//! - Durable after a turn: its record. After a checkpoint: LMDB, whose epoch says that the journal's records are in it.
//! - A turn that is dropped takes the open transaction with it; the next one begins with LMDB and the journal, as after a
//!   crash. So does one whose record may or may not be durable, and that one commits LMDB before anything else: what the
//!   disk said no to once is not trusted to hold it.
//! - At most [`BYTES_MAX`] bytes are in the journal; a turn that has no room there is a
//!   checkpoint.
//!
//! Not here: when it is time for a checkpoint besides; that is for whoever runs the turns.

use super::journal::{self, BYTES_MAX, Place};
use super::{HeedStore, Shared, apply, commit, fault, get, scan};
use cloudlysis_core::store::Visit;
use cloudlysis_core::{Store, StoreFault, Table, Txn, View, Write, WriteBatch};
use heed::RwTxn;
use std::io;
use std::sync::RwLockReadGuard;
use std::sync::atomic::Ordering;

const EPOCH: &[u8] = b"journal_epoch";

/// How a turn becomes durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Commits {
    /// As a commit of LMDB: whoever reads beside the writer never waits.
    Each,
    /// As a record of the journal.
    Journaled,
}

/// The transaction that turns share.
pub(super) struct Open<'s> {
    txn: RwTxn<'s>,
    _growing: RwLockReadGuard<'s, ()>,
    /// Where the next record goes.
    pub(super) place: Place,
}

/// The one writer of a store. See the module text.
#[expect(missing_debug_implementations, reason = "an LMDB transaction has none")]
pub struct Writer<'s> {
    shared: &'s Shared,
    pub(super) journal: &'s mut journal::Journal,
    commits: Commits,
    pub(super) open: Option<Open<'s>>,
    pub(super) record: Vec<u8>,
    /// Where the journal begins again, after a commit of LMDB that holds all of it.
    begins_at: Option<Place>,
    /// A record may or may not be durable.
    doubts: bool,
}

impl HeedStore {
    /// Its writer.
    pub fn writer(&mut self, commits: Commits) -> Writer<'_> {
        let Self { shared, journal, .. } = self;
        let record = Vec::new();
        Writer { shared, journal, commits, open: None, record, begins_at: None, doubts: false }
    }
}

impl<'s> Writer<'s> {
    /// Whether turns are in the journal and not in LMDB.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.open.as_ref().is_some_and(|open| open.place.number > 1)
    }

    /// Whether a reader waits for a checkpoint.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.shared.visible.is_asked()
    }

    /// Until a reader waits for a checkpoint; also when one did not long ago.
    pub async fn asked(&self) {
        self.shared.visible.asked().await;
    }

    /// Everything that is in the journal is in LMDB after this.
    ///
    /// # Errors
    /// When the store fails: nothing is lost, the journal still has it.
    pub fn checkpoint(&mut self) -> Result<(), StoreFault> {
        self.ensure_open()?;
        if self.is_behind() {
            return self.commit_open();
        }
        self.shared.visible.committed();
        Ok(())
    }

    /// Sees to it that there is an open transaction; a new one has what LMDB and the journal have.
    fn ensure_open(&mut self) -> Result<(), StoreFault> {
        if self.open.is_none() {
            self.open = Some(self.reopen()?);
            if self.doubts {
                self.commit_open()?;
                self.open = Some(self.reopen()?);
            }
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<Open<'s>, StoreFault> {
        let (mut txn, growing) = self.shared.write()?;
        if let Some(place) = self.begins_at.take() {
            return Ok(Open { txn, _growing: growing, place });
        }
        let tables = &self.shared.tables;
        let epoch = get(tables, &txn, Table::Meta, EPOCH)?;
        let epoch = epoch.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
        let place = self.journal.replay(epoch, |write| apply(tables, &mut txn, write).map_err(Replay));
        let place = place.map_err(|Replay(fault)| fault)?;
        Ok(Open { txn, _growing: growing, place })
    }

    /// Commits LMDB; the journal's records are in it.
    fn commit_open(&mut self) -> Result<(), StoreFault> {
        let Some(Open { mut txn, place, .. }) = self.open.take() else { return Ok(()) };
        let mut epoch = place.epoch;
        if place.number > 1 || self.doubts {
            epoch += 1;
            let write = Write::Put { table: Table::Meta, key: EPOCH, value: &epoch.to_be_bytes() };
            apply(&self.shared.tables, &mut txn, write)?;
        }
        commit(self.shared, txn)?;
        (self.begins_at, self.doubts) = (Some(Place::first(epoch)), false);
        self.shared.visible.committed();
        Ok(())
    }
}

/// What stops a replay.
struct Replay(StoreFault);

impl From<io::Error> for Replay {
    fn from(error: io::Error) -> Self {
        tracing::error!(%error, "the journal cannot be read");
        Self(fault(&error.into()))
    }
}

/// A turn.
#[expect(missing_debug_implementations, reason = "an LMDB transaction has none")]
pub struct WriterTxn<'w, 's> {
    pub(super) writer: &'w mut Writer<'s>,
    /// It wrote something that is not committed.
    pub(super) is_dirty: bool,
}

impl WriterTxn<'_, '_> {
    fn open(&self) -> &Open<'_> {
        self.writer.open.as_ref().expect("a turn begins with a transaction, and ends with it")
    }
}

impl View for WriterTxn<'_, '_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        get(&self.writer.shared.tables, &self.open().txn, table, key)
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        scan(&self.writer.shared.tables, &self.open().txn, table, from, visit)
    }
}

impl Txn for WriterTxn<'_, '_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        self.is_dirty = true;
        let Writer { shared, open, record, commits, .. } = &mut *self.writer;
        let open = open.as_mut().expect("a turn begins with a transaction");
        for write in batch.iter() {
            // More than the file takes is not going there.
            if *commits == Commits::Journaled && record.len() <= BYTES_MAX {
                journal::push(record, write);
            }
            apply(&shared.tables, &mut open.txn, write)?;
        }
        Ok(())
    }

    fn commit(mut self) -> Result<(), StoreFault> {
        self.is_dirty = false;
        let writer = &mut *self.writer;
        writer.shared.commits.fetch_add(1, Ordering::Relaxed);
        writer.shared.visible.journaled();
        let place = writer.open.as_ref().map(|open| open.place);
        let place =
            place.filter(|place| writer.commits == Commits::Journaled && place.takes(writer.record.len()));
        let Some(place) = place else {
            return writer.commit_open();
        };
        writer.shared.syncs.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = writer.journal.append(&mut writer.record, place) {
            tracing::error!(%error, "the journal cannot be written");
            (writer.open, writer.doubts) = (None, true);
            return Err(StoreFault::CommitUnknown);
        }
        if let Some(open) = &mut writer.open {
            let offset = place.offset + writer.record.len();
            open.place = Place { number: place.number + 1, offset, ..place };
        }
        Ok(())
    }
}

impl Drop for WriterTxn<'_, '_> {
    fn drop(&mut self) {
        if self.is_dirty {
            self.writer.open = None;
        }
    }
}

impl<'s> Store for Writer<'s> {
    type Txn<'w>
        = WriterTxn<'w, 's>
    where
        Self: 'w;

    fn begin(&mut self) -> Result<WriterTxn<'_, 's>, StoreFault> {
        self.ensure_open()?;
        journal::begin(&mut self.record);
        Ok(WriterTxn { writer: self, is_dirty: false })
    }
}
