//! A transaction: applied to the index at once, one record at its commit, taken back when it is dropped.
//!
//! Where its values will be in the log is known from the beginning, because nothing else is appended meanwhile. So the
//! index points at them before they are there, and reads of them are served from the open record.

use super::bulk::Place;
use super::cache::Pins;
use super::format::{self, Position, RECORD_HEADER_BYTES};
use super::index::{Found, Replaced};
use super::{BYTES_MAX, LogStore, SyncPolicy};
use cloudlysis_core::store::Visit;
use cloudlysis_core::{StoreFault, Table, Txn, View, Write, WriteBatch};
use std::ops::{ControlFlow, Range};

/// Room for a record at first, in bytes.
const RECORD_BYTES: usize = 1024;

/// A write that was applied, and how to take it back.
#[derive(Debug)]
struct Applied {
    table: Table,
    /// Where its key is in the record.
    key: Range<usize>,
    /// Where its value will be; `None` when it removed the row.
    place: Option<Place>,
    replaced: Option<Replaced>,
}

/// An open transaction.
#[derive(Debug)]
pub struct LogTxn<'s> {
    store: &'s mut LogStore,
    record: Vec<u8>,
    /// Where the record will begin.
    base: Position,
    applied: Vec<Applied>,
    /// What reads were given.
    pins: Pins,
}

impl<'s> LogTxn<'s> {
    pub(super) fn new(store: &'s mut LogStore) -> Self {
        let base = store.segments.end();
        Self { store, record: Vec::new(), base, applied: Vec::new(), pins: Pins::default() }
    }

    /// A value that stands in the open record.
    fn own(&self, place: Place) -> Option<&[u8]> {
        let is_own = place.segment == self.base.segment && place.offset >= self.base.offset;
        let start = is_own.then(|| (place.offset - self.base.offset) as usize)?;
        Some(&self.record[start..start + place.bytes as usize])
    }
}

impl View for LogTxn<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
        let place = match self.store.index.get(table, key) {
            None => return Ok(None),
            Some(Found::Value(value)) => return Ok(Some(value)),
            Some(Found::Place(place)) => place,
        };
        if let Some(own) = self.own(place) {
            return Ok(Some(own));
        }
        let (bytes, start) = self.store.fetch(place)?;
        Ok(Some(&self.pins.keep(bytes)[start..start + place.bytes as usize]))
    }

    fn scan(&self, table: Table, from: &[u8], visit: &mut Visit<'_>) -> Result<(), StoreFault> {
        let mut done = Ok(());
        self.store.index.visit(table, from, &mut |key, found| match found {
            Found::Value(value) => visit(key, value),
            Found::Place(place) => match self.own(place) {
                Some(own) => visit(key, own),
                None => match self.store.fetch(place) {
                    Ok((bytes, start)) => visit(key, &bytes[start..start + place.bytes as usize]),
                    Err(fault) => {
                        done = Err(fault);
                        ControlFlow::Break(())
                    }
                },
            },
        });
        done
    }
}

impl Txn for LogTxn<'_> {
    fn apply(&mut self, batch: &WriteBatch) -> Result<(), StoreFault> {
        if self.record.is_empty() {
            self.record.reserve(RECORD_BYTES);
            format::begin_record(&mut self.record);
        }
        for write in batch.iter() {
            let (table, key, value) = match write {
                Write::Put { table, key, value } => (table, key, Some(value)),
                Write::Delete { table, key } => (table, key, None),
            };
            let write_bytes = format::WRITE_BYTES + key.len() + value.map_or(0, <[u8]>::len);
            if self.record.len() + write_bytes > BYTES_MAX as usize {
                return Err(StoreFault::Full);
            }
            let at = format::add_write(&mut self.record, table as u8, key, value);
            let place = at.value.map(|at| Place {
                segment: self.base.segment,
                offset: self.base.offset + at.start as u32,
                bytes: at.len() as u32,
            });
            let index = &mut self.store.index;
            let replaced = match (place, value) {
                (Some(place), Some(value)) => index.put(table, key, place, value),
                (None, _) | (_, None) => index.delete(table, key),
            };
            self.applied.push(Applied { table, key: at.key, place, replaced });
        }
        Ok(())
    }

    fn commit(mut self) -> Result<(), StoreFault> {
        if self.record.len() <= RECORD_HEADER_BYTES {
            return Ok(());
        }
        let mut record = std::mem::take(&mut self.record);
        let at = match self.store.append(&mut record) {
            Ok(at) => at,
            Err(fault) => {
                self.record = record;
                return Err(fault);
            }
        };
        for Applied { key, place, replaced, .. } in self.applied.drain(..) {
            if let Some(place) = place {
                self.store.segments.row_came(key.len(), place);
            }
            if let Some(replaced) = replaced {
                self.store.segments.row_went(key.len(), replaced.place);
            }
        }
        self.store.cache.borrow_mut().written(at, record);
        match self.store.options.sync {
            SyncPolicy::Always => self.store.sync().map_err(|_| StoreFault::CommitUnknown),
            SyncPolicy::Interval(_) => Ok(()),
        }
    }
}

impl Drop for LogTxn<'_> {
    fn drop(&mut self) {
        for Applied { table, key, replaced, .. } in self.applied.drain(..).rev() {
            self.store.index.restore(table, &self.record[key], replaced);
        }
    }
}
