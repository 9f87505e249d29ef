//! What the ledger knows of every effect: whether it was carried out, and how surely.
//!
//! | verdict | the ledger says |
//! |---|---|
//! | once | it was done, and every attempt before was definitely not made |
//! | maybe twice | it was done, and an attempt before had no answer: it happened again, unless the outside knows its key |
//! | refused | it was refused, by the outside or by us, and every attempt before was definitely not made |
//! | maybe | it was refused or waits for a person, and an attempt had no answer: it happened, or did not |
//! | never | it waits for a person, and every attempt was definitely not made |
//! | by hand | it ended as an operator says it did |
//! | open | it has not ended |
//!
//! Reads committed rows only, so it may run beside the machine. A page is bounded; the key of its last row is where the
//! next one begins.

use super::ledger::{LedgerRow, Phase};
use crate::halt::Halt;
use crate::store::{Table, View};
use crate::time::Wall;
use crate::wire::envelope::EffectOutcome;
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// How surely an effect happened.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It was done, and nothing before can have happened.
    Once,
    /// It was done, and may have happened before.
    MaybeTwice,
    /// It was refused, and did not happen.
    Refused,
    /// Nobody knows.
    Maybe,
    /// It did not happen.
    Never,
    /// An operator said how it ended.
    ByHand,
    /// It has not ended.
    Open,
}

/// How many effects there are of each verdict.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Done once.
    pub once: u64,
    /// Done, and perhaps before.
    pub maybe_twice: u64,
    /// Refused, and not executed.
    pub refused: u64,
    /// Perhaps executed.
    pub maybe: u64,
    /// Not executed.
    pub never: u64,
    /// Ended as an operator says.
    pub by_hand: u64,
    /// Not ended.
    pub open: u64,
}

/// An effect that somebody should look at: in doubt, or waiting for a person.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Doubtful {
    /// Whose.
    pub tenant_id: TenantId,
    /// The effect.
    pub effect: Name,
    /// Its command; the outside knows it by its idempotency key.
    pub command_id: CommandId,
    /// How sure it is.
    pub verdict: Verdict,
    /// Attempts started.
    pub attempts: u32,
    /// Attempts that may have happened.
    pub ambiguous: u32,
    /// When it was asked for.
    pub since: Wall,
    /// Why it waits for a person, if it does.
    pub reason: Option<String>,
}

/// A page of the ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Page {
    /// Of the rows of this page, by effect.
    pub counts: BTreeMap<Name, Counts>,
    /// Those in doubt, in the order of keys.
    pub doubtful: Vec<Doubtful>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<Vec<u8>>,
}

impl Verdict {
    fn of(row: &LedgerRow) -> Self {
        match (&row.phase, row.ambiguous) {
            (Phase::Open | Phase::Started { .. }, _) => Self::Open,
            (Phase::Settled { .. }, _) if row.is_settled_by_hand() => Self::ByHand,
            (Phase::Settled { outcome: EffectOutcome::Succeeded }, 0) => Self::Once,
            (Phase::Settled { outcome: EffectOutcome::Succeeded }, _) => Self::MaybeTwice,
            (Phase::Settled { outcome: EffectOutcome::Failed }, 0) => Self::Refused,
            (Phase::Settled { outcome: EffectOutcome::Failed }, _) => Self::Maybe,
            (Phase::Parked { .. }, 0) => Self::Never,
            (Phase::Parked { .. }, _) => Self::Maybe,
        }
    }
}

impl Counts {
    const fn count(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Once => self.once += 1,
            Verdict::MaybeTwice => self.maybe_twice += 1,
            Verdict::Refused => self.refused += 1,
            Verdict::Maybe => self.maybe += 1,
            Verdict::Never => self.never += 1,
            Verdict::ByHand => self.by_hand += 1,
            Verdict::Open => self.open += 1,
        }
    }
}

/// Judges so many rows of the ledger from a key on, of one tenant or of all.
///
/// # Errors
/// When a row cannot be read.
pub fn audit(view: &dyn View, tenant: Option<&TenantId>, from: &[u8], rows_max: usize) -> Result<Page, Halt> {
    let mut page = Page::default();
    let mut seen = 0;
    let mut broken = None;
    view.scan(Table::Effect, from, &mut |key, row| {
        if seen == rows_max {
            page.next = Some(key.to_vec());
            return ControlFlow::Break(());
        }
        seen += 1;
        let Some(((tenant_id, command_id), row)) = keys::parse_effect(key).zip(LedgerRow::decode(row).ok())
        else {
            broken =
                Some(Halt::Corrupt { table: Table::Effect, detail: "not a row of the ledger".to_owned() });
            return ControlFlow::Break(());
        };
        if tenant.is_some_and(|tenant| *tenant != tenant_id) {
            return ControlFlow::Continue(());
        }
        let verdict = Verdict::of(&row);
        page.counts.entry(row.effect.clone()).or_default().count(verdict);
        if !matches!(verdict, Verdict::Once | Verdict::Refused | Verdict::ByHand | Verdict::Open) {
            let LedgerRow { effect, phase, attempts, ambiguous, since, .. } = row;
            let reason = if let Phase::Parked { reason } = phase { Some(reason) } else { None };
            page.doubtful.push(Doubtful {
                tenant_id,
                effect,
                command_id,
                verdict,
                attempts,
                ambiguous,
                since,
                reason,
            });
        }
        ControlFlow::Continue(())
    })?;
    broken.map_or(Ok(page), Err)
}
