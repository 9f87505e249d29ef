//! Looking at the ledger: which effects there are, and how each stands.
//!
//! Reads committed rows only, so it may run beside the machine. Every list is bounded; the key of its last row is where
//! the next page begins.

use super::ledger::{LedgerRow, Phase};
use crate::halt::Halt;
use crate::store::{Table, View};
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys;
use serde::{Deserialize, Serialize};
use std::ops::ControlFlow;

/// Rows a list reads before it stops looking for more that match.
pub const SCANNED_MAX: usize = 10_000;

/// How far an effect is, as people ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It has not ended: it is called, or will be.
    Open,
    /// It waits for a person.
    Parked,
    /// It has ended.
    Settled,
}

impl Phase {
    /// How far that is.
    #[must_use]
    pub const fn stage(&self) -> Stage {
        match self {
            Self::Open | Self::Started { .. } => Stage::Open,
            Self::Parked { .. } => Stage::Parked,
            Self::Settled { .. } => Stage::Settled,
        }
    }
}

/// Which effects.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Which {
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// Of this name only.
    pub effect: Option<Name>,
    /// Only those that are so far.
    pub stage: Option<Stage>,
}

/// One effect.
#[derive(Clone, PartialEq, Debug)]
pub struct Listed {
    /// Whose.
    pub tenant: TenantId,
    /// Its command.
    pub command_id: CommandId,
    /// How it stands.
    pub row: LedgerRow,
}

/// A page of a list.
#[derive(Clone, PartialEq, Debug)]
pub struct Page {
    /// What matches, in the order of keys.
    pub effects: Vec<Listed>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Vec<u8>>,
}

/// Lists effects from a key on.
///
/// # Errors
/// When a row cannot be read.
pub fn list(view: &dyn View, which: &Which, from: &[u8], limit: usize) -> Result<Page, Halt> {
    if which.stage == Some(Stage::Parked) {
        return list_parked(view, which, from, limit);
    }
    let mut page = Page { effects: Vec::new(), next: None };
    let mut scanned = 0;
    let mut broken = None;
    view.scan(Table::Effect, from, &mut |key, row| {
        if page.effects.len() == limit || scanned == SCANNED_MAX {
            page.next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        scanned += 1;
        match read(key, row) {
            Ok(own) => page.effects.extend(which.matches(&own).then_some(own)),
            Err(halt) => {
                broken = Some(halt);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    broken.map_or(Ok(page), Err)
}

/// Those that wait for a person have an index: what has ended is not read for them.
fn list_parked(view: &dyn View, which: &Which, from: &[u8], limit: usize) -> Result<Page, Halt> {
    let mut keys = Vec::new();
    view.scan(Table::EffectParked, from, &mut |key, _| {
        keys.push(key.to_vec());
        if keys.len() <= SCANNED_MAX { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut page = Page { effects: Vec::new(), next: None };
    for (at, key) in keys.into_iter().enumerate() {
        if page.effects.len() == limit || at == SCANNED_MAX {
            page.next = Some(key);
            break;
        }
        let row = view.get(Table::Effect, &key)?.unwrap_or_default();
        let own = read(&key, row)?;
        page.effects.extend(which.matches(&own).then_some(own));
    }
    Ok(page)
}

fn read(key: &[u8], row: &[u8]) -> Result<Listed, Halt> {
    let corrupt = || Halt::Corrupt { table: Table::Effect, detail: "not a row of the ledger".into() };
    let (tenant, command_id) = keys::parse_effect(key).ok_or_else(corrupt)?;
    Ok(Listed { tenant, command_id, row: LedgerRow::decode(row)? })
}

impl Which {
    fn matches(&self, Listed { tenant, command_id: _, row }: &Listed) -> bool {
        self.tenant.as_ref().is_none_or(|own| own == tenant)
            && self.effect.as_ref().is_none_or(|own| *own == row.effect)
            && self.stage.is_none_or(|own| own == row.phase.stage())
    }
}

/// One effect.
///
/// # Errors
/// When its row cannot be read.
pub fn show(view: &dyn View, tenant: &TenantId, command_id: &CommandId) -> Result<Option<LedgerRow>, Halt> {
    view.get(Table::Effect, &keys::effect(tenant, command_id))?.map(LedgerRow::decode).transpose()
}
