//! Calls: what leaves the runner for the outside, against the terms of its effect.
//!
//! A call is under way from when it leaves until its answer is at the runner, or for as long as one may take. Those of an
//! earlier life of the runner are not counted among them; how many begin in a second is counted over all lives.

use super::Violation;
use cloudlysis_core::Token;
use cloudlysis_core::effect::Effect;
use cloudlysis_core::manifest::EffectDef;
use cloudlysis_core::wire::id::{CommandId, Name, TenantId};
use cloudlysis_core::wire::keys;
use cloudlysis_core::{Invariant, Table};
use cloudlysis_io_sim::store::Change;
use std::collections::BTreeMap;

const SECOND_NS: u64 = 1_000_000_000;

/// An effect, and whose calls its limits count together.
type Lane = (Name, Option<TenantId>);

/// Calls under one key.
#[derive(Clone, Debug, Default)]
struct Begun {
    /// Until when each is under way.
    until_ns: BTreeMap<Token, u64>,
    /// When those of the last second began.
    at_ns: Vec<u64>,
}

/// Watches calls.
#[derive(Clone, Debug, Default)]
pub struct Calls {
    /// Row of the ledger → when it was written first, or at the latest, when it was called first.
    asked_ns: BTreeMap<Vec<u8>, u64>,
    /// How far the runner's wall clock was moved, all in all.
    jumped_ms: u64,
    begun: BTreeMap<Lane, Begun>,
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

    /// An effect that waits for a person may have its time anew, from when its row changes.
    pub(super) fn on_retried(&mut self, key: &[u8]) {
        self.asked_ns.remove(key);
    }

    pub(super) fn on_returned(&mut self, token: Token) {
        for begun in self.begun.values_mut() {
            begun.until_ns.remove(&token);
        }
    }

    pub(super) fn on_execute(&mut self, now_ns: u64, effect: &Effect) -> Result<(), Violation> {
        let Effect::Execute { effect: name, .. } = effect;
        let app = crate::app::shop();
        let Some(definition) = app.effects.get(name) else { return Ok(()) };
        self.in_time(now_ns, effect, definition)?;
        self.within_limits(now_ns, effect, definition)
    }

    /// INV-EFF-6.
    fn in_time(&mut self, now_ns: u64, effect: &Effect, definition: &EffectDef) -> Result<(), Violation> {
        let Effect::Execute { tenant, idempotency_key, .. } = effect;
        let command = idempotency_key.strip_prefix(&format!("{}:", tenant.token()));
        // A key that names no command is what another oracle is about.
        let Some(command) = command.and_then(CommandId::from_token) else { return Ok(()) };
        let asked_ns = *self.asked_ns.entry(keys::effect(tenant, &command)).or_insert(now_ns);
        let Some(total_ms) = definition.retry.total_ms_max else { return Ok(()) };
        let passed_ms = (now_ns - asked_ns) / 1_000_000;
        if passed_ms <= total_ms + self.jumped_ms {
            return Ok(());
        }
        let detail = format!(
            "{idempotency_key} is called {passed_ms} ms after it was asked for, {total_ms} ms are its time"
        );
        Err(Violation::new(Invariant::Eff6, detail))
    }

    /// INV-EFF-8.
    fn within_limits(
        &mut self,
        now_ns: u64,
        effect: &Effect,
        definition: &EffectDef,
    ) -> Result<(), Violation> {
        let Effect::Execute { tenant, effect: name, token, timeout_ms, .. } = effect;
        let Some(limits) = &definition.limits else { return Ok(()) };
        // What our manifests say: one counts the calls of each tenant, the other those of all.
        let of_tenant = (name.as_str() == "ship_parcel").then(|| tenant.clone());
        let begun = self.begun.entry((name.clone(), of_tenant.clone())).or_default();
        begun.until_ns.retain(|own, until| own.incarnation == token.incarnation && *until > now_ns);
        begun.until_ns.insert(*token, now_ns + timeout_ms * 1_000_000);
        begun.at_ns.retain(|at| at + SECOND_NS > now_ns);
        begun.at_ns.push(now_ns);
        let (at_once, in_a_second) = (begun.until_ns.len() as u64, begun.at_ns.len() as u64);
        let too_many = limits.each.in_flight_max.is_some_and(|most| at_once > most);
        let too_often = limits.each.rate.is_some_and(|rate| in_a_second >= rate.per_second + rate.burst);
        if !(too_many || too_often) {
            return Ok(());
        }
        let detail = format!(
            "{at_once} calls of {name} for {of_tenant:?} are under way, {in_a_second} began in a second: {:?}",
            limits.each
        );
        Err(Violation::new(Invariant::Eff8, detail))
    }
}
