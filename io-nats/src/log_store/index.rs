//! Every table in memory: rows whole, and of a bulk table where they are in the log.
//!
//! A table is a bulk table when its rows are many, written once and removed once; its keys end in a number
//! ([`bulk`](super::bulk)). All others are small and hot.

use super::bulk::{Bulk, Place};
use cloudlysis_core::Table;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

/// Whether a table's values stay in the log.
const fn is_bulk(table: Table) -> bool {
    matches!(table, Table::JsMessage)
}

/// A row that is kept whole.
#[derive(Debug)]
struct Row {
    place: Place,
    value: Vec<u8>,
}

#[derive(Debug)]
enum Rows {
    Whole(BTreeMap<Vec<u8>, Row>),
    Bulk(Bulk),
}

/// What a write replaced: enough to take it back.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) place: Place,
    value: Option<Vec<u8>>,
}

/// A row as it is found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'i> {
    Value(&'i [u8]),
    Place(Place),
}

/// All tables.
#[derive(Debug)]
pub(super) struct Index(Vec<Rows>);

impl Default for Index {
    fn default() -> Self {
        let empty = |table: &Table| match is_bulk(*table) {
            true => Rows::Bulk(Bulk::default()),
            false => Rows::Whole(BTreeMap::new()),
        };
        Self(Table::ALL.iter().map(empty).collect())
    }
}

impl Index {
    fn rows(&self, table: Table) -> &Rows {
        &self.0[table as usize]
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Found<'_>> {
        match self.rows(table) {
            Rows::Whole(rows) => rows.get(key).map(|row| Found::Value(&row.value)),
            Rows::Bulk(bulk) => bulk.get(key).map(Found::Place),
        }
    }

    /// Where a row is in the log.
    pub(super) fn place(&self, table: Table, key: &[u8]) -> Option<Place> {
        match self.rows(table) {
            Rows::Whole(rows) => rows.get(key).map(|row| row.place),
            Rows::Bulk(bulk) => bulk.get(key),
        }
    }

    pub(super) fn put(&mut self, table: Table, key: &[u8], place: Place, value: &[u8]) -> Option<Replaced> {
        match &mut self.0[table as usize] {
            Rows::Whole(rows) => match rows.get_mut(key) {
                Some(row) => {
                    let old = std::mem::replace(row, Row { place, value: value.to_vec() });
                    Some(Replaced { place: old.place, value: Some(old.value) })
                }
                None => {
                    rows.insert(key.to_vec(), Row { place, value: value.to_vec() });
                    None
                }
            },
            Rows::Bulk(bulk) => bulk.put(key, place).map(|place| Replaced { place, value: None }),
        }
    }

    pub(super) fn delete(&mut self, table: Table, key: &[u8]) -> Option<Replaced> {
        match &mut self.0[table as usize] {
            Rows::Whole(rows) => {
                rows.remove(key).map(|row| Replaced { place: row.place, value: Some(row.value) })
            }
            Rows::Bulk(bulk) => bulk.remove(key).map(|place| Replaced { place, value: None }),
        }
    }

    /// Takes back a put or a delete.
    pub(super) fn restore(&mut self, table: Table, key: &[u8], replaced: Option<Replaced>) {
        match (&mut self.0[table as usize], replaced) {
            (Rows::Whole(rows), Some(Replaced { place, value })) => {
                rows.insert(key.to_vec(), Row { place, value: value.unwrap_or_default() });
            }
            (Rows::Whole(rows), None) => drop(rows.remove(key)),
            (Rows::Bulk(bulk), Some(Replaced { place, .. })) => drop(bulk.put(key, place)),
            (Rows::Bulk(bulk), None) => drop(bulk.remove(key)),
        }
    }

    /// The same row stands somewhere else now.
    pub(super) fn moved(&mut self, table: Table, key: &[u8], to: Place) {
        match &mut self.0[table as usize] {
            Rows::Whole(rows) => {
                if let Some(row) = rows.get_mut(key) {
                    row.place = to;
                }
            }
            Rows::Bulk(bulk) => drop(bulk.put(key, to)),
        }
    }

    /// Rows in key order from a key on, until `visit` breaks.
    pub(super) fn visit(
        &self,
        table: Table,
        from: &[u8],
        visit: &mut dyn FnMut(&[u8], Found<'_>) -> ControlFlow<()>,
    ) {
        let range = (Bound::Included(from), Bound::Unbounded);
        let _end_or_break = match self.rows(table) {
            Rows::Whole(rows) => {
                rows.range::<[u8], _>(range).try_for_each(|(key, row)| visit(key, Found::Value(&row.value)))
            }
            Rows::Bulk(bulk) => bulk.visit(from, &mut |key, place| visit(key, Found::Place(place))),
        };
    }
}
