//! What operators do with what is held back: select it, have it redriven or dropped, edit it.
//!
//! Each is safe to repeat: what is selected cannot be selected again, nor changed otherwise, before its selection has
//! ended.

use super::rows::{Edited, KeyRow};
use super::selection::{Doing, KEYS_MAX, SELECTIONS_MAX, Selection, SelectionId};
use super::{Quarantine, QuarantineKey, Which};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::operator::{Reason, Refusal};
use crate::store::{Table, View, scan_prefix};
use crate::time::Now;
use crate::wire::id::TenantId;
use std::ops::ControlFlow;

/// Largest body that is put in place of another, in bytes: a payload at its limit and what stands around it.
pub const EDITED_BYTES_MAX: usize = 1 << 20;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// Freeze keys into a selection.
    Select {
        /// Which.
        which: Which,
        /// Those behind this key in order; all when it is empty.
        after: String,
        /// Why.
        reason: Reason,
    },
    /// Apply again what is selected.
    Replay {
        /// Which selection.
        selection: SelectionId,
        /// At most so many messages in a second, from 1 to [`PER_SECOND_MAX`](super::selection::PER_SECOND_MAX).
        per_second: u32,
        /// Migrate saga instances to today's definition first.
        migrate: bool,
    },
    /// Drop what is selected.
    Discard {
        /// Which selection.
        selection: SelectionId,
    },
    /// Give back the keys whose turn has not come, and end the selection.
    Unselect {
        /// Which selection.
        selection: SelectionId,
    },
    /// Drop the first message of a key, so that those behind it can be redriven.
    Skip {
        /// Which key.
        key: QuarantineKey,
        /// The position of that message.
        position: u64,
        /// Why.
        reason: Reason,
    },
    /// Replace the body of a message.
    Edit {
        /// Which key.
        key: QuarantineKey,
        /// Which message.
        position: u64,
        /// By what; at most [`EDITED_BYTES_MAX`].
        payload: Vec<u8>,
        /// Why.
        reason: Reason,
    },
}

impl Verb {
    /// As the command line and logs spell it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Select { .. } => "select",
            Self::Replay { .. } => "replay",
            Self::Discard { .. } => "discard",
            Self::Unselect { .. } => "unselect",
            Self::Skip { .. } => "skip",
            Self::Edit { .. } => "edit",
        }
    }

    /// What it is about, for logs.
    #[must_use]
    pub fn subject(&self) -> String {
        match self {
            Self::Select { which: Which { group, key, .. }, .. } => match (key, group) {
                (Some(key), _) => key.display(),
                (None, Some(group)) => group.clone(),
                (None, None) => "everything".to_owned(),
            },
            Self::Replay { selection, .. } | Self::Discard { selection } | Self::Unselect { selection } => {
                selection.to_string()
            }
            Self::Skip { key, position, .. } | Self::Edit { key, position, .. } => {
                format!("{} {position}", key.display())
            }
        }
    }

    /// Why, where one must say.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Select { reason, .. } | Self::Skip { reason, .. } | Self::Edit { reason, .. } => {
                Some(reason)
            }
            Self::Replay { .. } | Self::Discard { .. } | Self::Unselect { .. } => None,
        }
    }
}

/// Something an operator does to what is held back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Only if it is this tenant's.
    pub tenant: Option<TenantId>,
    /// What.
    pub verb: Verb,
}

/// What was done, and how its subject stands now.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Operated {
    /// A selection.
    Selection {
        /// Which.
        id: SelectionId,
        /// How it stands.
        selection: Selection,
        /// Whether the operation changed anything.
        changed: bool,
        /// Where to go on selecting, if not everything was looked at.
        next: Option<String>,
    },
    /// A key.
    Key {
        /// Which.
        key: QuarantineKey,
        /// Messages it still holds.
        messages: u64,
        /// Whether the operation changed anything.
        changed: bool,
    },
}

fn no_selection(id: SelectionId) -> Refusal {
    Refusal::NotFound { what: format!("selection {id}") }
}

fn no_key(key: &QuarantineKey) -> Refusal {
    Refusal::NotFound { what: format!("a quarantined key {}", key.display()) }
}

fn selected(by: SelectionId) -> Refusal {
    Refusal::Conflict { detail: format!("it is part of {by} already: unselect that first") }
}

impl Quarantine {
    /// Does what an operator asks for.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn operate<I, E>(
        &mut self,
        now: Now,
        operation: &Operation,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Operated, Refusal>, Halt> {
        let Operation { tenant, verb } = operation;
        match verb {
            Verb::Select { which, after, reason } => {
                let tenant = tenant.clone().or_else(|| which.tenant.clone());
                let which = Which { tenant, ..which.clone() };
                self.select(now, which, after, reason, cx)
            }
            Verb::Replay { selection, per_second, migrate } => {
                let doing = Doing::Replaying { per_second: *per_second, migrate: *migrate };
                Ok(self.begin(tenant.as_ref(), *selection, doing, cx))
            }
            Verb::Discard { selection } => Ok(self.begin(tenant.as_ref(), *selection, Doing::Discarding, cx)),
            Verb::Unselect { selection } => self.unselect(now, tenant.as_ref(), *selection, cx),
            Verb::Skip { key, position, .. } => self.skip(tenant.as_ref(), key, *position, cx),
            Verb::Edit { key, position, payload, reason } => {
                let edited = Edited { at: now.wall, reason: reason.as_str().to_owned() };
                Self::edit(tenant.as_ref(), key, *position, payload, edited, cx)
            }
        }
    }

    fn select<I, E>(
        &mut self,
        now: Now,
        which: Which,
        after: &str,
        reason: &Reason,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Operated, Refusal>, Halt> {
        let page = Self::list(cx.view(), &which, after, KEYS_MAX)?;
        let free: Vec<QuarantineKey> = page
            .items
            .iter()
            .filter(|own| own.selection.is_none())
            .filter_map(|own| QuarantineKey::parse(&own.key))
            .collect();
        if free.is_empty() && page.next.is_none() {
            let what = match page.items.iter().find_map(|own| own.selection) {
                Some(selection) => return Ok(Err(selected(selection))),
                None => "a quarantined key like that".to_owned(),
            };
            return Ok(Err(Refusal::NotFound { what }));
        }
        if self.selections.len() >= SELECTIONS_MAX {
            let ended = self.selections.iter().find(|(_, own)| own.has_ended()).map(|(id, _)| *id);
            let Some(ended) = ended else {
                let detail =
                    format!("{SELECTIONS_MAX} selections wait: replay, discard or unselect one first");
                return Ok(Err(Refusal::Conflict { detail }));
            };
            self.selections.remove(&ended);
            cx.delete(Table::Redrive, &ended.key());
        }
        let id = SelectionId::after(self.selections.keys().next_back().copied());
        for key in &free {
            let Some(mut row) = Self::key_row(cx.view(), key)? else { continue };
            row.selection = Some(id);
            cx.put(Table::ParkedKey, &key.0, &row.encode());
            cx.put(Table::RedriveKey, &id.waiting(key), b"");
        }
        let keys = free.len() as u64;
        let ended = Doing::Ended { ended_at: now.wall };
        let selection = Selection {
            tenant_id: which.tenant,
            reason: reason.as_str().to_owned(),
            selected_at: now.wall,
            doing: if keys == 0 { ended } else { Doing::Waiting },
            keys,
            left: keys,
            released: 0,
            failed: 0,
            given_back: 0,
            applied: 0,
            superseded: 0,
            discarded: 0,
        };
        self.keep(id, selection.clone(), cx);
        Ok(Ok(Operated::Selection { id, selection, changed: true, next: page.next }))
    }

    fn selection(&self, tenant: Option<&TenantId>, id: SelectionId) -> Result<&Selection, Refusal> {
        let own = self.selections.get(&id).filter(|own| tenant.is_none() || own.tenant_id.as_ref() == tenant);
        own.ok_or_else(|| no_selection(id))
    }

    fn begin<I, E>(
        &mut self,
        tenant: Option<&TenantId>,
        id: SelectionId,
        doing: Doing,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Operated, Refusal> {
        let mut selection = self.selection(tenant, id)?.clone();
        let changed = selection.doing != doing;
        match (selection.doing, doing) {
            (Doing::Ended { .. }, _) => return Err(Refusal::Finished { what: format!("selection {id}") }),
            (Doing::Replaying { .. }, Doing::Discarding) | (Doing::Discarding, Doing::Replaying { .. }) => {
                let detail = format!("{id} is under way: unselect what is left of it, and select that anew");
                return Err(Refusal::Conflict { detail });
            }
            (Doing::Waiting | Doing::Replaying { .. } | Doing::Discarding, _) => {}
        }
        if changed {
            selection.doing = doing;
            self.again_at = None;
            self.keep(id, selection.clone(), cx);
        }
        Ok(Operated::Selection { id, selection, changed, next: None })
    }

    fn unselect<I, E>(
        &mut self,
        now: Now,
        tenant: Option<&TenantId>,
        id: SelectionId,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Operated, Refusal>, Halt> {
        let mut selection = match self.selection(tenant, id) {
            Ok(selection) => selection.clone(),
            Err(refusal) => return Ok(Err(refusal)),
        };
        let changed = !selection.has_ended();
        if changed {
            let mut keys = Vec::new();
            scan_prefix(cx.view(), Table::RedriveKey, &id.key(), &mut |row, _| {
                keys.push(QuarantineKey(row[id.key().len()..].to_vec()));
                ControlFlow::Continue(())
            })?;
            for key in keys {
                cx.delete(Table::RedriveKey, &id.waiting(&key));
                let Some(mut row) = Self::key_row(cx.view(), &key)? else { continue };
                row.selection = None;
                cx.put(Table::ParkedKey, &key.0, &row.encode());
            }
            selection.given_back += selection.left;
            selection.left = 0;
            selection.doing = Doing::Ended { ended_at: now.wall };
            self.keep(id, selection.clone(), cx);
        }
        Ok(Ok(Operated::Selection { id, selection, changed, next: None }))
    }

    /// The row of a key that nobody has selected.
    fn own_row(
        tenant: Option<&TenantId>,
        key: &QuarantineKey,
        view: &dyn View,
    ) -> Result<Result<KeyRow, Refusal>, Halt> {
        let is_own = || tenant.is_none() || key.subject().and_then(|own| own.tenant()).as_ref() == tenant;
        let row = Self::key_row(view, key)?.filter(|_| is_own());
        Ok(match row.as_ref().map(|row| row.selection) {
            Some(Some(selection)) => Err(selected(selection)),
            Some(None) | None => row.ok_or_else(|| no_key(key)),
        })
    }

    fn skip<I, E>(
        &mut self,
        tenant: Option<&TenantId>,
        key: &QuarantineKey,
        position: u64,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Operated, Refusal>, Halt> {
        let row = match Self::own_row(tenant, key, cx.view())? {
            Ok(row) => row,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let first = row.first();
        let done = |messages, changed| Operated::Key { key: key.clone(), messages, changed };
        if position < first {
            return Ok(Ok(done(row.messages, false)));
        }
        if position > first {
            let detail = format!("only the first message of a key can be skipped: that is {first}");
            return Ok(Err(Refusal::Conflict { detail }));
        }
        self.take_first(key, cx)?;
        Ok(Ok(done(row.messages - 1, true)))
    }

    fn edit<I, E>(
        tenant: Option<&TenantId>,
        key: &QuarantineKey,
        position: u64,
        payload: &[u8],
        edited: Edited,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Result<Operated, Refusal>, Halt> {
        let row = match Self::own_row(tenant, key, cx.view())? {
            Ok(row) => row,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let changed = Self::edit_message(&key.row(position), payload, edited, cx)?;
        let Some(changed) = changed else {
            let what = format!("message {position} of {}", key.display());
            return Ok(Err(Refusal::NotFound { what }));
        };
        Ok(Ok(Operated::Key { key: key.clone(), messages: row.messages, changed }))
    }
}
