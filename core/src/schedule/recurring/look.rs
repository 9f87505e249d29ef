//! Looking at schedules: which rows there are, and how each stands.
//!
//! Reads committed rows only, so it may run beside the machine.

use super::row::{Row, RowKey};
use crate::halt::Halt;
use crate::store::{Table, View};
use crate::wire::id::TenantId;
use std::ops::ControlFlow;

/// A page of a list.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What matches, in the order of keys.
    pub rows: Vec<(RowKey, Row)>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Vec<u8>>,
}

fn broken() -> Halt {
    Halt::Corrupt { table: Table::Recurring, detail: "not a row of a schedule".to_owned() }
}

/// Lists rows from a key on, of one tenant or of all. There are no more rows than manifests allow.
///
/// # Errors
/// When the table cannot be read.
pub fn list(view: &dyn View, tenant: Option<&TenantId>, from: &[u8], limit: usize) -> Result<Page, Halt> {
    let mut page = Page { rows: Vec::new(), next: None };
    let mut readable = true;
    view.scan(Table::Recurring, from, &mut |key, row| {
        let Some((own, row)) = RowKey::parse(key).zip(Row::decode(row)) else {
            readable = false;
            return ControlFlow::Break(());
        };
        if page.rows.len() == limit {
            page.next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        if tenant.is_none_or(|tenant| *tenant == own.tenant) {
            page.rows.push((own, row));
        }
        ControlFlow::Continue(())
    })?;
    if readable { Ok(page) } else { Err(broken()) }
}

/// One row.
///
/// # Errors
/// When it cannot be read.
pub fn show(view: &dyn View, key: &RowKey) -> Result<Option<Row>, Halt> {
    let row = view.get(Table::Recurring, &key.encode())?;
    row.map(|row| Row::decode(row).ok_or_else(broken)).transpose()
}
