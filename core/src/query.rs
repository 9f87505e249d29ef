//! Queries over views: one row, or a page of rows in the order of their ids.
//!
//! A query reads a snapshot of the committed rows, beside the machine that writes them. It is bounded in rows and in
//! bytes, and cannot leave its tenant: every key it touches begins with the tenant and the view (INV-TEN-1).
//!
//! Not here: filters, sorting, waiting for a sequence.

#[cfg(test)]
mod tests;

use crate::halt::Halt;
use crate::projection::ViewRow;
use crate::store::{Table, View, scan_prefix};
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;
use crate::wire::token;
use serde_json::Value;
use std::ops::ControlFlow;

/// Most rows of one page.
pub const LIMIT_MAX: usize = 1_000;
/// Rows of a page when nothing is asked for.
pub const LIMIT_DEFAULT: usize = 100;
/// Most bytes of rows in one page; the page ends early rather than passing it.
const PAGE_BYTES_MAX: usize = 4 << 20;

/// A row with its id.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// Its id.
    pub id: EntityId,
    /// Sequence of the event that last changed it.
    pub seq: u64,
    /// The row.
    pub value: Value,
}

/// Some rows, and where the next ones begin.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// In the order of their ids.
    pub rows: Vec<Row>,
    /// The id after which the next page begins; absent at the end.
    pub next: Option<EntityId>,
}

/// One row.
///
/// # Errors
/// When the store cannot be read.
pub fn get(view: &dyn View, tenant: &TenantId, name: &Name, id: &EntityId) -> Result<Option<Row>, Halt> {
    let row = view.get(Table::View, &keys::view(tenant, name, id))?;
    row.map(|row| {
        let ViewRow { seq, value } = ViewRow::decode(row)?;
        Ok(Row { id: id.clone(), seq, value })
    })
    .transpose()
}

/// A page of at most `limit` rows after an id.
///
/// # Errors
/// When the store cannot be read.
pub fn list(
    view: &dyn View,
    tenant: &TenantId,
    name: &Name,
    after: Option<&EntityId>,
    limit: usize,
) -> Result<Page, Halt> {
    let limit = limit.clamp(1, LIMIT_MAX);
    let prefix = keys::view_prefix(tenant, name);
    let mut from = prefix.clone();
    if let Some(after) = after {
        from.extend_from_slice(token::escape(after.as_str()).as_bytes());
        // The smallest key after it.
        from.push(0);
    }
    let mut page = Page { rows: Vec::new(), next: None };
    let mut bytes = 0;
    let mut broken = None;
    let mut visit = |key: &[u8], row: &[u8]| {
        if !key.starts_with(&prefix) {
            return ControlFlow::Break(());
        }
        if page.rows.len() >= limit || (bytes + row.len() > PAGE_BYTES_MAX && !page.rows.is_empty()) {
            page.next = page.rows.last().map(|row| row.id.clone());
            return ControlFlow::Break(());
        }
        bytes += row.len();
        match (keys::view_id(key), ViewRow::decode(row)) {
            (Some(id), Ok(ViewRow { seq, value })) => {
                page.rows.push(Row { id, seq, value });
                ControlFlow::Continue(())
            }
            (None, _) => {
                broken = Some(Halt::Corrupt { table: Table::View, detail: "a key is not of a row".into() });
                ControlFlow::Break(())
            }
            (Some(_), Err(halt)) => {
                broken = Some(halt);
                ControlFlow::Break(())
            }
        }
    };
    if after.is_some() {
        view.scan(Table::View, &from, &mut visit)?;
    } else {
        scan_prefix(view, Table::View, &prefix, &mut visit)?;
    }
    broken.map_or(Ok(page), Err)
}
