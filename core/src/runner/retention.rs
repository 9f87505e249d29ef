//! What has ended is kept for a while, then removed: finished instances, settled effects.
//!
//! ```text
//! instance finishes, effect settles ─► indexed by the wall clock ─── keep is over ─► row and index entry removed
//!                                                 ▲                      │
//!                                                 └── another while ─────┘ something of the instance is quarantined
//! ```
//!
//! While it is kept, an instance absorbs what comes for it, and the ledger knows a command that comes again. Both matter as
//! long as a producer may repeat itself or a stream be read anew: `keep_ms` is longer than the age of the workflow streams.
//! What waits for a person (parked effects, quarantined instances) is not removed.
//!
//! The wall clock decides: put forward, it removes earlier; put back, later.
//!
//! With an instance goes all that says that it was there. What its saga had passed by then is noted, for a
//! [`replay`](super::replay).
//!
//! Durable: `ended`, `saga_forgotten`. Derived: nothing. Lost on purpose: when to look again.
//!
//! - INV-KEEP-1: a row that has ended is indexed once, and removed when it was kept long enough.
//!
//! Limit: [`REMOVED_MAX`] rows of each kind in one look.

use super::{Config, Effect, Input, Runner, Source};
use crate::cx::Cx;
use crate::effect::{LedgerRow, Phase};
use crate::gate::Gate;
use crate::halt::Halt;
use crate::invariant;
use crate::marks::Mark;
use crate::quarantine::QuarantineKey;
use crate::quirks::Quirk;
use crate::saga::Instance;
use crate::store::{Table, View, try_scan};
use crate::time::{Mono, Now, Wall};
use crate::wire::id::{Name, TenantId};
use crate::wire::keys::{self, EndedKind};
use crate::wire::stream::ConsumerName;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// Rows of one kind removed at once: fifty thousand in a second, more than can end in one.
const REMOVED_MAX: usize = 256;
/// Between two looks while there is more to remove.
const AGAIN_MS: u64 = 5;
// A runner ends fifteen thousand sagas in a second, and more effects than that: what is removed must outrun them, or the
// tables grow for as long as it does.
const _: () = assert!(REMOVED_MAX as u64 * 1_000 / AGAIN_MS >= 50_000);
/// Longest time between two looks: the wall clock may have been moved.
const LOOK_MS_MAX: u64 = 60_000;

/// When to look for what was kept long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Retention {
    look_at: Option<Mono>,
}

/// What is indexed.
struct EndedRow {
    index: Vec<u8>,
    at: Wall,
    row: Vec<u8>,
}

impl Retention {
    pub(super) const fn deadline(self) -> Option<Mono> {
        self.look_at
    }

    /// Something ended, or may have: it is looked at in time.
    pub(super) fn expect(&mut self, now: Now, keep_ms: u64) {
        let at = now.mono.plus_ms(keep_ms.min(LOOK_MS_MAX));
        self.look_at = Some(self.look_at.map_or(at, |own| own.min(at)));
    }
}

impl Runner {
    /// What a life finds when it begins is looked at soon.
    pub(super) fn recover_retention(view: &dyn View) -> Result<Retention, Halt> {
        let mut any = false;
        view.scan(Table::Ended, b"", &mut |_, _| {
            any = true;
            ControlFlow::Break(())
        })?;
        Ok(Retention { look_at: any.then_some(Mono::ZERO) })
    }

    /// Removes what was kept long enough.
    pub(super) fn retire(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        if self.retention.look_at.is_none_or(|at| at > now.mono) {
            return Ok(());
        }
        let mut next: Option<u64> = None;
        let mut forgotten = BTreeSet::new();
        for kind in EndedKind::ALL {
            let (due, later_ms) = self.ended(now, kind, cx.view())?;
            for ended in due {
                // A step does not see what it stages: what is put off is looked for like what is still to come.
                let put_off = !self.remove(now, kind, &ended, &mut forgotten, cx)?;
                next = next.into_iter().chain(put_off.then_some(self.config.keep_ms)).min();
            }
            next = next.into_iter().chain(later_ms).min();
        }
        let consumer = ConsumerName::new(Source::Events.role(), None, self.config.partition);
        for (tenant, saga) in forgotten {
            let passed = match self.gates.get(&Source::Events) {
                Some(gate) => gate.passed(&tenant),
                // An application without sagas reads no events, and its store may know more than it is asked for.
                None => Gate::applied_by(&consumer, cx.view())?,
            };
            let key = keys::saga_forgotten(&tenant, &saga);
            let known = cx.view().get(Table::SagaForgotten, &key)?.and_then(keys::parse_position);
            cx.put(Table::SagaForgotten, &key, &keys::position(passed.max(known.unwrap_or_default())));
        }
        self.retention.look_at = next.map(|ms| now.mono.plus_ms(ms.clamp(AGAIN_MS, LOOK_MS_MAX)));
        Ok(())
    }

    /// What was kept long enough, and in how many milliseconds to look for the next one.
    fn ended(
        &self,
        now: Now,
        kind: EndedKind,
        view: &dyn View,
    ) -> Result<(Vec<EndedRow>, Option<u64>), Halt> {
        let keep_ms = match self.config.quirks.has(Quirk::RetentionTooSoon) {
            true => self.config.keep_ms / 2,
            false => self.config.keep_ms,
        };
        let (mut due, mut later_ms) = (Vec::new(), None);
        try_scan(view, Table::Ended, &[kind.byte()], &mut |index, _| {
            let Some((_, at, row)) = keys::parse_ended(index).filter(|(own, ..)| *own == kind) else {
                return Ok(ControlFlow::Break(()));
            };
            let over_at = at.as_ms().saturating_add(keep_ms);
            if over_at > now.wall.as_ms() {
                later_ms = Some(over_at - now.wall.as_ms());
                return Ok(ControlFlow::Break(()));
            }
            if due.len() == REMOVED_MAX {
                later_ms = Some(0);
                return Ok(ControlFlow::Break(()));
            }
            due.push(EndedRow { index: index.to_vec(), at, row: row.to_vec() });
            Ok(ControlFlow::Continue(()))
        })?;
        Ok((due, later_ms))
    }

    /// Whether it is gone now; what is still needed is put off.
    fn remove(
        &self,
        now: Now,
        kind: EndedKind,
        ended: &EndedRow,
        forgotten: &mut BTreeSet<(TenantId, Name)>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<bool, Halt> {
        let EndedRow { index, at, row } = ended;
        cx.delete(Table::Ended, index);
        match kind {
            EndedKind::Instance => {
                let corrupt = || Halt::Corrupt { table: Table::Ended, detail: "no instance".to_owned() };
                let (tenant, saga, correlation) = keys::parse_saga(row).ok_or_else(corrupt)?;
                let key = QuarantineKey::instance(&tenant, &saga, &correlation);
                if let Some(key) = key
                    && self.quarantine.holds(&key, cx.view())?
                {
                    // Never the entry that was just removed, even if the clock was put back.
                    let again = Wall::from_ms(now.wall.as_ms().max(at.as_ms() + 1));
                    cx.put(Table::Ended, &keys::ended(kind, again, row), b"");
                    let kept = cx.view().get(Table::Saga, row)?;
                    let kept = kept.map(|kept| Instance::kept_from(kept, again)).transpose()?;
                    kept.into_iter().for_each(|kept| cx.put(Table::Saga, row, &kept));
                    return Ok(false);
                }
                cx.mark(Mark::InstanceRetired);
                cx.delete(Table::Saga, row);
                forgotten.insert((tenant, saga));
            }
            EndedKind::Effect => {
                cx.mark(Mark::EffectRetired);
                cx.delete(Table::Effect, row);
            }
        }
        Ok(true)
    }

    /// INV-KEEP-1, and what the sagas check: both read every instance.
    pub(super) fn check_sagas_and_retention(&self, view: &dyn View) -> Result<(), Halt> {
        let mut indexed = BTreeSet::new();
        try_scan(view, Table::Ended, b"", &mut |index, _| {
            if let Some((kind, _, row)) = keys::parse_ended(index) {
                let once = indexed.insert((kind, row.to_vec()));
                invariant!(once, Keep1, "{} is indexed twice", String::from_utf8_lossy(row));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let mut ended = BTreeSet::new();
        self.sagas.check(view, &mut |key, instance| {
            ended.insert((EndedKind::Instance, key.to_vec()));
            // What ended under a release that did not write down when has no time to agree with.
            if let Some(at) = instance.ended_at {
                let found = view.get(Table::Ended, &keys::ended(EndedKind::Instance, at, key))?.is_some();
                invariant!(found, Keep1, "{} is not indexed by when it ended", String::from_utf8_lossy(key));
            }
            Ok(())
        })?;
        try_scan(view, Table::Effect, b"", &mut |key, row| {
            if matches!(LedgerRow::decode(row)?.phase, Phase::Settled { .. }) {
                ended.insert((EndedKind::Effect, key.to_vec()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        let differs = ended.symmetric_difference(&indexed).next();
        invariant!(differs.is_none(), Keep1, "{differs:?} has ended or is indexed, not both");
        Ok(())
    }

    pub(super) fn expect_retirement(&mut self, now: Now) {
        let Config { keep_ms, .. } = self.config;
        self.retention.expect(now, keep_ms);
    }
}
