//! Open effects in memory: found on disk in the order in which they came, kept there while they wait or are called.
//!
//! A step that works on one takes its row, and gives it back unless the effect has ended. What is in memory is what the
//! step before left on disk.

use super::ledger::LedgerRow;
use super::{Effect, Effects, State, Tracked};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::store::{Table, View};
use crate::time::Now;
use crate::wire::id::{CommandId, TenantId};
use crate::wire::keys;
use serde_json::{Value, json};
use std::ops::ControlFlow;

/// Effects read from disk at once.
const FILL_MAX: usize = 256;

/// Largest row that is kept in memory as well, in bytes: `tracked_max` of them are.
const KEPT_BYTES_MAX: usize = 4 << 10;

/// An open effect, in the hands of a step: whoever neither writes nor ends it gives it back.
pub(super) struct Opened {
    pub(super) key: Vec<u8>,
    pub(super) tenant: TenantId,
    pub(super) command_id: CommandId,
    pub(super) row: Box<LedgerRow>,
    /// Of the row, as it was last written.
    pub(super) bytes: usize,
}

impl Opened {
    /// What expressions of its manifest read.
    pub(super) fn command(&self) -> Value {
        let payload = self.row.call.as_ref().map(|call| &call.payload);
        json!({ "tenant_id": self.tenant, "command_id": self.command_id, "payload": payload })
    }

    pub(super) fn write<I>(&mut self, cx: &mut Cx<'_, I, Effect>) {
        let row = self.row.encode();
        self.bytes = row.len();
        cx.put(Table::Effect, &self.key, &row);
    }
}

impl Effects {
    /// From here on an effect is open, behind all that are.
    pub(super) fn admit<I>(&mut self, now: Now, mut opened: Opened, cx: &mut Cx<'_, I, Effect>) {
        let position = self.tail;
        if let Some(call) = &mut opened.row.call {
            call.position = position;
        }
        if self.open >= self.config.limits.tracked_max as u64 {
            cx.mark(Mark::EffectQueued);
        }
        let is_next = !self.is_behind() && self.has_room();
        self.tail += 1;
        self.open += 1;
        cx.put(Table::EffectOpen, &keys::position(position), &opened.key);
        if !is_next {
            opened.write(cx);
            return;
        }
        self.cursor = self.tail;
        self.track(position, opened.tenant.clone(), opened.command_id.clone());
        match self.starts_at_once(now, &opened.row.effect) {
            Some(definition) => self.call(now, position, opened, &definition, None, cx),
            // It starts with the tick at the end of this turn, which shares its commit.
            None => {
                opened.write(cx);
                self.keep(position, opened);
                self.ready.insert(position);
            }
        }
    }

    pub(super) fn track(&mut self, position: u64, tenant: TenantId, command_id: CommandId) {
        let state = State::Waiting;
        self.tracked.insert(position, Tracked { tenant, command_id, state, ends_at: None, row: None });
    }

    pub(super) fn opened(&mut self, position: u64, view: &dyn View) -> Result<Option<Opened>, Halt> {
        let Some(Tracked { tenant, command_id, row, .. }) = self.tracked.get_mut(&position) else {
            return Ok(None);
        };
        let key = keys::effect(tenant, command_id);
        let (row, bytes) = match row.take() {
            Some(row) => (row, KEPT_BYTES_MAX),
            None => {
                let row = view.get(Table::Effect, &key)?.ok_or_else(|| Halt::Corrupt {
                    table: Table::Effect,
                    detail: format!("open effect {position} has no row"),
                })?;
                (Box::new(LedgerRow::decode(row)?), row.len())
            }
        };
        Ok(Some(Opened { key, tenant: tenant.clone(), command_id: command_id.clone(), row, bytes }))
    }

    /// The row need not be read again while the effect is in memory, unless it is large.
    pub(super) fn keep(&mut self, position: u64, opened: Opened) {
        if let Some(tracked) = self.tracked.get_mut(&position)
            && opened.bytes <= KEPT_BYTES_MAX
        {
            tracked.row = Some(opened.row);
        }
    }

    pub(super) fn fill(&mut self, view: &dyn View) -> Result<(), Halt> {
        while self.is_behind() && self.has_room() {
            let room = (self.config.limits.tracked_max - self.tracked.len()).min(FILL_MAX);
            let mut found = Vec::new();
            view.scan(Table::EffectOpen, &keys::position(self.cursor), &mut |key, row| {
                found.push((keys::parse_position(key), row.to_vec()));
                if found.len() < room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
            let Some((last, _)) = found.last() else { return Ok(()) };
            let corrupt =
                || Halt::Corrupt { table: Table::EffectOpen, detail: "a row cannot be read".into() };
            self.cursor = last.ok_or_else(corrupt)? + 1;
            for (position, key) in found {
                let position = position.ok_or_else(corrupt)?;
                if self.tracked.contains_key(&position) || self.closed_now.contains(&position) {
                    continue;
                }
                let (tenant, command_id) = keys::parse_effect(&key).ok_or_else(corrupt)?;
                self.track(position, tenant, command_id);
                self.ready.insert(position);
            }
        }
        Ok(())
    }

    pub(super) fn close<I>(&mut self, position: u64, cx: &mut Cx<'_, I, Effect>) {
        cx.delete(Table::EffectOpen, &keys::position(position));
        self.open -= 1;
        self.closed_now.insert(position);
        self.tracked.remove(&position);
    }
}
