//! Letting go: what is selected has its turn, first message first, as fast as it may.
//!
//! ```text
//!                                        ┌─ applied, or superseded: its instance has ended ─┐
//! tick ─ turn: first key, first message ─┼─ dropped ────────────────────────────────────────┴─► next message;
//!                                        │                                     the key is free after its last one
//!                                        └─ fails ─► stays, its cause is the new one, and with it the rest of the key
//! ```
//!
//! What arrives behind a key while it is redriven waits behind it and is redriven with it.
//!
//! A lane of the outbox is let go whole, in one turn: what of it fails again is parked first, and with it all that follows.

use super::rows::{Edited, GroupRow, KeyRow, MessageRow};
use super::selection::{Doing, Selection, SelectionId};
use super::{Cause, Quarantine, QuarantineKey};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::quirks::Quirk;
use crate::store::{Table, View, scan_prefix};
use crate::time::{Mono, Now};
use crate::wire::headers::Headers;
use std::ops::ControlFlow;

/// Between two bursts, at least: what a burst causes is one turn.
const BURST_EVERY_MS: u64 = 20;
/// Messages dropped in one burst.
const DISCARDED_MAX: u32 = 64;

/// A message that has its turn.
#[derive(Clone, PartialEq, Debug)]
pub struct Turn {
    /// Of which selection.
    selection: SelectionId,
    /// The key.
    pub key: QuarantineKey,
    /// What to do.
    pub due: Due,
}

/// What is due.
#[derive(Clone, PartialEq, Debug)]
pub enum Due {
    /// Apply this message, and say how that went.
    Replay {
        /// The message.
        message: Released,
        /// Its instance is to be migrated first.
        migrate: bool,
    },
    /// Drop the first message.
    Discard,
}

/// A parked message as it came, or as it was edited.
#[derive(Clone, PartialEq, Debug)]
pub struct Released {
    /// Its place in the order of its key.
    pub position: u64,
    /// Where it came from: a stream, or `outbox`; empty when it reached a saga instance from inside.
    pub stream: String,
    /// Its sequence there.
    pub stream_seq: u64,
    /// Its subject.
    pub subject: String,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Vec<u8>,
}

/// How a message's turn ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fared {
    /// It was applied.
    Applied,
    /// It was dropped.
    Discarded,
    /// It cannot be applied, for this reason.
    Failed {
        /// Why.
        cause: Cause,
        /// The hash of the definition that could not apply it, where there is one.
        definition: Option<String>,
    },
    /// What it was for has ended.
    Superseded,
}

impl Quarantine {
    /// The selection that has its turn: the oldest with something to do.
    fn under_way(&self) -> Option<(SelectionId, &Selection)> {
        let mut all = self.selections.iter().filter(|(_, own)| own.is_under_way());
        all.next().map(|(id, own)| (*id, own))
    }

    /// When it next wants a tick.
    #[must_use]
    pub fn deadline(&self) -> Option<Mono> {
        self.under_way().map(|_| self.again_at.unwrap_or(Mono::ZERO))
    }

    /// How many messages may have their turn now.
    pub fn tick(&mut self, now: Now) -> u32 {
        let Some((_, selection)) = self.under_way() else { return 0 };
        if self.again_at.is_some_and(|at| at > now.mono) {
            return 0;
        }
        let (every_ms, burst) = match selection.doing {
            Doing::Replaying { per_second, .. } => pace(per_second),
            Doing::Discarding | Doing::Waiting | Doing::Ended { .. } => (BURST_EVERY_MS, DISCARDED_MAX),
        };
        self.again_at = Some(now.mono.plus_ms(every_ms));
        burst
    }

    /// The message that has its turn.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn turn(&self, view: &dyn View) -> Result<Option<Turn>, Halt> {
        let Some((selection, own)) = self.under_way() else { return Ok(None) };
        let prefix = selection.key();
        let mut key = None;
        scan_prefix(view, Table::RedriveKey, &prefix, &mut |row, _| {
            key = Some(QuarantineKey(row[prefix.len()..].to_vec()));
            ControlFlow::Break(())
        })?;
        let row = match &key {
            Some(key) => Self::key_row(view, key)?.filter(|row| row.selection == Some(selection)),
            None => None,
        };
        let Some((key, row)) = key.zip(row) else {
            let detail = format!("of {} keys that wait for {selection}, the first is not its own", own.left);
            return Err(Halt::Corrupt { table: Table::RedriveKey, detail });
        };
        let due = match own.doing {
            Doing::Discarding => Due::Discard,
            Doing::Replaying { migrate, .. } => {
                Due::Replay { message: released(view, &key, row.first())?, migrate }
            }
            Doing::Waiting | Doing::Ended { .. } => return Ok(None),
        };
        Ok(Some(Turn { selection, key, due }))
    }

    /// Every message of the key leaves in one turn, in order.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn let_go<I, E>(
        &mut self,
        now: Now,
        turn: &Turn,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Vec<Released>, Halt> {
        let Turn { selection: id, key, .. } = turn;
        let row = Self::key_row(cx.view(), key)?;
        let Some((mut selection, row)) = self.selections.get(id).cloned().zip(row) else {
            return Ok(Vec::new());
        };
        let all = (row.first()..row.next).map(|position| {
            cx.delete(Table::Parked, &key.row(position));
            released(cx.view(), key, position)
        });
        let all = all.collect::<Result<Vec<_>, _>>()?;
        self.parked -= row.messages;
        self.keys -= 1;
        leave_group(&row.group, 1, row.messages, cx)?;
        cx.delete(Table::ParkedKey, &key.0);
        selection.applied += row.messages;
        selection.released += 1;
        self.had_its_turn(now, *id, key, selection, cx);
        Ok(all)
    }

    /// A message had its turn: its rows, and the figures of its selection. Whether its key is free now.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn fared<I, E>(
        &mut self,
        now: Now,
        turn: &Turn,
        fared: Fared,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<bool, Halt> {
        let Turn { selection: id, key, .. } = turn;
        let Some(mut selection) = self.selections.get(id).cloned() else { return Ok(false) };
        let mut is_free = false;
        let ends = match fared {
            Fared::Applied => {
                cx.mark(Mark::QuarantineReplayed);
                selection.applied += 1;
                is_free = self.take_first(key, cx)?;
                is_free.then_some(&mut selection.released)
            }
            Fared::Discarded => {
                cx.mark(Mark::QuarantineDiscarded);
                selection.discarded += 1;
                is_free = self.take_first(key, cx)?;
                is_free.then_some(&mut selection.released)
            }
            Fared::Failed { cause, definition } => {
                cx.mark(Mark::QuarantineFailedAgain);
                self.fail_again(now, key, cause, definition.as_deref(), cx)?;
                Some(&mut selection.failed)
            }
            Fared::Superseded => {
                selection.superseded += 1;
                is_free = self.take_first(key, cx)?;
                is_free.then_some(&mut selection.released)
            }
        };
        match ends {
            Some(ended) => {
                *ended += 1;
                self.had_its_turn(now, *id, key, selection, cx);
            }
            None => self.keep(*id, selection, cx),
        }
        Ok(is_free)
    }

    /// The key is no longer part of the selection.
    fn had_its_turn<I, E>(
        &mut self,
        now: Now,
        id: SelectionId,
        key: &QuarantineKey,
        mut selection: Selection,
        cx: &mut Cx<'_, I, E>,
    ) {
        selection.left -= 1;
        cx.delete(Table::RedriveKey, &id.waiting(key));
        if selection.left == 0 {
            selection.doing = Doing::Ended { ended_at: now.wall };
        }
        self.keep(id, selection, cx);
    }

    pub(super) fn keep<I, E>(&mut self, id: SelectionId, selection: Selection, cx: &mut Cx<'_, I, E>) {
        cx.put(Table::Redrive, &id.key(), &selection.encode());
        self.selections.insert(id, selection);
    }

    /// Removes the first message of a key. Whether it was the last one, and the key is free.
    pub(super) fn take_first<I, E>(
        &mut self,
        key: &QuarantineKey,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<bool, Halt> {
        let Some(mut row) = Self::key_row(cx.view(), key)? else { return Ok(true) };
        cx.delete(Table::Parked, &key.row(row.first()));
        self.parked -= 1;
        row.messages -= 1;
        let is_free = row.messages == 0 || self.quirks.has(Quirk::QuarantineFreeTooSoon);
        leave_group(&row.group, u64::from(is_free), 1, cx)?;
        if is_free {
            self.keys -= 1;
            cx.delete(Table::ParkedKey, &key.0);
        } else {
            cx.put(Table::ParkedKey, &key.0, &row.encode());
        }
        Ok(is_free)
    }

    /// The first message of a key stays, for this reason; so does all that follows it.
    fn fail_again<I, E>(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        cause: Cause,
        definition: Option<&str>,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<(), Halt> {
        let Some(mut row) = Self::key_row(cx.view(), key)? else { return Ok(()) };
        let cause = cause.kept();
        if self.quirks.has(Quirk::QuarantineForgetFailed) {
            self.take_first(key, cx)?;
            return Ok(());
        }
        let at = key.row(row.first());
        if let Some(message) = cx.view().get(Table::Parked, &at)? {
            let (mut record, body) = MessageRow::decode(message)?;
            record.cause = Some(cause.clone());
            cx.put(Table::Parked, &at, &record.with(body));
        }
        let group = cause.group(definition);
        row.selection = None;
        row.cause = cause;
        if group != row.group {
            leave_group(&row.group, 1, row.messages, cx)?;
            row.group = group;
            Self::join_group(now, &row, definition, (1, row.messages), cx)?;
        }
        cx.put(Table::ParkedKey, &key.0, &row.encode());
        Ok(())
    }

    pub(super) fn key_row(view: &dyn View, key: &QuarantineKey) -> Result<Option<KeyRow>, Halt> {
        view.get(Table::ParkedKey, &key.0)?.map(KeyRow::decode).transpose()
    }

    /// Replaces a message's body. Whether that changed anything; `None` when there is no such message.
    pub(super) fn edit_message<I, E>(
        at: &[u8],
        payload: &[u8],
        edited: Edited,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Option<bool>, Halt> {
        let Some(row) = cx.view().get(Table::Parked, at)? else { return Ok(None) };
        let (mut record, body) = MessageRow::decode(row)?;
        if body == payload {
            return Ok(Some(false));
        }
        record.edited = Some(edited);
        cx.put(Table::Parked, at, &record.with(payload));
        Ok(Some(true))
    }
}

/// So often, so many: never more than `per_second` messages in a second.
const fn pace(per_second: u32) -> (u64, u32) {
    let per_burst = per_second as u64 * BURST_EVERY_MS / 1_000;
    if per_burst == 0 {
        (1_000_u64.div_ceil(per_second as u64), 1)
    } else {
        (BURST_EVERY_MS, per_burst as u32)
    }
}

fn released(view: &dyn View, key: &QuarantineKey, position: u64) -> Result<Released, Halt> {
    let row = view.get(Table::Parked, &key.row(position))?.ok_or_else(|| Halt::Corrupt {
        table: Table::Parked,
        detail: format!("{} has no message {position}", key.display()),
    })?;
    let (record, body) = MessageRow::decode(row)?;
    let mut headers = Headers::default();
    for (name, value) in &record.headers {
        headers.append(name, value);
    }
    let MessageRow { stream, stream_seq, subject, .. } = record;
    Ok(Released { position, stream, stream_seq, subject, headers, payload: body.to_vec() })
}

/// So many keys and messages less are held back for this reason.
fn leave_group<I, E>(group: &str, keys: u64, messages: u64, cx: &mut Cx<'_, I, E>) -> Result<(), Halt> {
    let Some(row) = cx.view().get(Table::ParkedGroup, group.as_bytes())? else { return Ok(()) };
    let mut row = GroupRow::decode(row)?;
    row.keys = row.keys.saturating_sub(keys);
    row.messages = row.messages.saturating_sub(messages);
    if row.keys == 0 {
        cx.delete(Table::ParkedGroup, group.as_bytes());
    } else {
        cx.put(Table::ParkedGroup, group.as_bytes(), &row.encode());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::selection::PER_SECOND_MAX;
    use super::*;

    #[test]
    fn no_more_messages_have_their_turn_in_a_second_than_they_may() {
        for per_second in [1, 3, 49, 50, 99, 100, PER_SECOND_MAX] {
            let (every_ms, burst) = pace(per_second);
            let in_a_second = 1_000 * u64::from(burst) / every_ms;
            assert!((1..=u64::from(per_second)).contains(&in_a_second.max(1)), "{per_second}: {in_a_second}");
        }
        assert_eq!(pace(PER_SECOND_MAX), (20, 20));
    }
}
