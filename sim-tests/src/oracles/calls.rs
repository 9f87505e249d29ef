//! Calls: what leaves the runner for the outside, against the terms of its effect.

use super::Violation;
use cloudlysis_core::effect::Effect;
use cloudlysis_core::wire::id::CommandId;
use cloudlysis_core::wire::keys;
use cloudlysis_core::{Invariant, Table};
use cloudlysis_io_sim::store::Change;
use std::collections::BTreeMap;

/// Watches calls.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Row of the ledger → when it was written first, or at the latest, when it was called first.
    asked_ns: BTreeMap<Vec<u8>, u64>,
    /// How far the runner's wall clock was moved, all in all.
    jumped_ms: u64,
}

impl Calls {
    pub(super) const fn on_clock_jump(&mut self, by_ms: i64) {
        self.jumped_ms = self.jumped_ms.saturating_add(by_ms.unsigned_abs());
    }

    pub(super) fn on_changes(&mut self, now_ns: u64, changes: &[Change]) {
        for change in changes.iter().filter(|change| change.table == Table::Effect) {
            self.asked_ns.entry(change.key.clone()).or_insert(now_ns);
        }
    }

    /// INV-EFF-6.
    pub(super) fn on_execute(&mut self, now_ns: u64, effect: &Effect) -> Result<(), Violation> {
        let Effect::Execute { tenant, effect, idempotency_key, .. } = effect;
        let command = idempotency_key.strip_prefix(&format!("{}:", tenant.token()));
        // A key that names no command is what another oracle is about.
        let Some(command) = command.and_then(CommandId::from_token) else { return Ok(()) };
        let asked_ns = *self.asked_ns.entry(keys::effect(tenant, &command)).or_insert(now_ns);
        let app = crate::app::shop();
        let Some(total_ms) = app.effects.get(effect).and_then(|own| own.retry.total_ms_max) else {
            return Ok(());
        };
        let passed_ms = (now_ns - asked_ns) / 1_000_000;
        if passed_ms <= total_ms + self.jumped_ms {
            return Ok(());
        }
        let detail = format!(
            "{idempotency_key} is called {passed_ms} ms after it was asked for, {total_ms} ms are its time"
        );
        Err(Violation::new(Invariant::Eff6, detail))
    }
}
