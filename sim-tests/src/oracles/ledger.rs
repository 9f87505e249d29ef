//! The ledger of effects: what ends stays so, and what waits for a person moves only as one says.

use super::Violation;
use super::forgotten::Forgotten;
use super::rows::{broken, unreadable};
use super::{Known, Seen};
use cloudlysis_core::effect::operate::Verb;
use cloudlysis_core::effect::{LedgerRow, Phase};
use cloudlysis_core::wire::envelope::EffectOutcome;
use cloudlysis_core::{Invariant, Table, View};
use cloudlysis_io_sim::store::Change;
use std::collections::BTreeMap;

/// What operators asked for about one effect, whatever became of that.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    retried: bool,
    may_repeat: bool,
    succeeded: bool,
    failed: bool,
}

/// What operators asked for, by row of the ledger.
#[derive(Clone, Debug, Default)]
pub(super) struct Amended(BTreeMap<Vec<u8>, Asked>);

impl Amended {
    pub(super) fn on_asked(&mut self, key: Vec<u8>, verb: &Verb) {
        let asked = self.0.entry(key).or_default();
        match verb {
            Verb::Retry { may_repeat, .. } => {
                asked.retried = true;
                asked.may_repeat |= *may_repeat;
            }
            Verb::Settle { outcome: EffectOutcome::Succeeded, .. } => asked.succeeded = true,
            Verb::Settle { outcome: EffectOutcome::Failed, .. } => asked.failed = true,
        }
    }

    /// Whether somebody said that it may happen although it may have happened.
    pub(super) fn may_repeat(&self, key: &[u8]) -> bool {
        self.0.get(key).is_some_and(|asked| asked.may_repeat)
    }

    /// Whether somebody asked that a row that waits for a person, or has not ended, be what it is now.
    fn explains(&self, key: &[u8], now: &Phase) -> bool {
        let asked = self.0.get(key).copied().unwrap_or_default();
        match now {
            Phase::Open | Phase::Started { .. } | Phase::Parked { .. } => asked.retried,
            Phase::Settled { outcome: EffectOutcome::Succeeded } => asked.succeeded,
            Phase::Settled { outcome: EffectOutcome::Failed } => asked.failed,
        }
    }
}

/// INV-EFF-4; INV-DRN-5; and INV-EFF-5: what an earlier life had under way is counted as in doubt by whoever touches it next.
pub(super) fn check_ledger(seen: &Seen<'_>, change: &Change, known: &Known<'_>) -> Result<(), Violation> {
    let decode = |row: &[u8]| LedgerRow::decode(row).map_err(|halt| unreadable(&halt));
    let after = change.after.as_deref().map(decode).transpose()?;
    let parked = after.as_ref().is_some_and(|row| matches!(row.phase, Phase::Parked { .. }));
    let indexed = seen.rows.get(Table::EffectParked, &change.key).ok().flatten().is_some();
    if parked != indexed {
        let detail = format!("is {after:?}, and indexed as parked: {indexed}");
        return Err(broken(Invariant::Eff4, seen, change, &detail));
    }
    let before = change.before.as_deref().map(decode).transpose()?;
    if seen.was_draining
        && let Some(after) = &after
        && matches!(after.phase, Phase::Started { .. })
        && before.as_ref().is_none_or(|before| before.attempts < after.attempts)
    {
        return Err(broken(Invariant::Drn5, seen, change, "is called by a node that was stopped before"));
    }
    let Some(before) = before else { return Ok(()) };
    let life =
        seen.rows.get(Table::Meta, b"incarnation").ok().flatten().and_then(|row| row.first_chunk::<8>());
    if let (Phase::Started { incarnation }, Some(after), Some(life)) = (&before.phase, &after, life)
        && *incarnation < u64::from_be_bytes(*life)
        && after.ambiguous <= before.ambiguous
    {
        let detail = format!("was under way in life {incarnation}, and changes to {after:?}");
        return Err(broken(Invariant::Eff5, seen, change, &detail));
    }
    if may_follow(change, &before, after.as_ref(), known.forgotten, known.amended) {
        return Ok(());
    }
    let detail = format!("{:?}, and changes to {after:?}", before.phase);
    Err(broken(Invariant::Eff4, seen, change, &detail))
}

fn may_follow(
    change: &Change,
    before: &LedgerRow,
    after: Option<&LedgerRow>,
    forgotten: &Forgotten,
    amended: &Amended,
) -> bool {
    match (&before.phase, after) {
        (Phase::Settled { .. }, _) => forgotten.is_gone(change),
        (Phase::Open | Phase::Started { .. } | Phase::Parked { .. }, None) => false,
        (Phase::Open | Phase::Started { .. }, Some(after)) => {
            !after.is_settled_by_hand() || amended.explains(&change.key, &after.phase)
        }
        (Phase::Parked { .. }, Some(after)) => amended.explains(&change.key, &after.phase),
    }
}
