//! The end: money and stock, and that everything intended happened, exactly once.

use super::Violation;
use super::answers::Answers;
use super::bank;
use super::forgotten::Forgotten;
use super::ledger::Amended;
use super::logs::{Logs, subject_of};
use crate::plan::Plan;
use crate::world::bank::Bank;
use crate::world::clients::{GoodsIn, OrderPlan, SKUS};
use cloudlysis_core::aggregate::AggregateKey;
use cloudlysis_core::effect::{LedgerRow, Phase};
use cloudlysis_core::manifest::Delivery;
use cloudlysis_core::saga::{Instance, Status, Work, WorkState};
use cloudlysis_core::schedule::recurring::{Counts, Row, RowKey};
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Invariant, Table, View};
use cloudlysis_io_sim::outside::{Execution, Keys, Service};
use cloudlysis_io_sim::store::Committed;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Everything, once it has ended.
#[derive(Debug)]
pub struct End<'w> {
    /// What kind of run it was.
    pub plan: &'w Plan,
    /// What was put into stock.
    pub goods: &'w [GoodsIn],
    /// What was ordered.
    pub orders: &'w [OrderPlan],
    /// What was to be moved between accounts.
    pub bank: &'w Bank,
    /// What really happened outside.
    pub executions: &'w [Execution],
    /// Rows of the aggregate nodes.
    pub aggregates: Vec<Committed<'w>>,
    /// Rows of the runner that has the sagas.
    pub runner: Committed<'w>,
    /// Rows of the runner that has the effects.
    pub effects: Committed<'w>,
    /// Rows of the projection node.
    pub projection: Committed<'w>,
}

/// The schedule that asks for an effect directly, and the effect.
const COUNTING: &str = "counts";
pub(crate) const COUNTED: &str = "count";

/// How an order ended, as its saga has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ended {
    /// It was never placed.
    Never,
    /// Paid, sent, sold.
    Completed,
    /// Undone.
    Compensated,
    /// An operator ended it as it was.
    Killed,
}

fn violation(invariant: Invariant, detail: String) -> Violation {
    Violation::new(invariant, detail)
}

fn name(raw: &str) -> Name {
    Name::parse(raw).expect("a name")
}

pub(super) fn check(
    end: &End<'_>,
    logs: &Logs,
    answers: &Answers,
    forgotten: &Forgotten,
    amended: &Amended,
) -> Result<(), Violation> {
    answers.check_end(logs)?;
    let sagas = sagas(end, forgotten)?;
    let ledger = ledger(&end.effects, forgotten)?;
    check_told(&sagas, &ledger, forgotten)?;
    check_effects(end, logs, &sagas, ledger, amended)?;
    for order in end.orders {
        check_order(end, order, logs, &sagas)?;
    }
    bank::check(end.bank, logs, &sagas)?;
    check_stock(end, logs, &sagas)
}

/// Every saga by row key.
fn sagas(end: &End<'_>, forgotten: &Forgotten) -> Result<BTreeMap<Vec<u8>, Instance>, Violation> {
    let gone = forgotten.of(Table::Saga);
    let mut out: BTreeMap<Vec<u8>, Instance> =
        gone.filter_map(|(key, row)| Some((key.to_vec(), Instance::decode(row).ok()?))).collect();
    let mut broken = None;
    let scanned = end.runner.scan(Table::Saga, b"", &mut |key, row| {
        match Instance::decode(row) {
            Ok(instance) => drop(out.insert(key.to_vec(), instance)),
            Err(halt) => broken = Some(halt.to_string()),
        }
        ControlFlow::Continue(())
    });
    match (scanned, broken) {
        (Ok(()), None) => Ok(out),
        (Err(fault), _) => Err(violation(Invariant::Drv2, fault.to_string())),
        (_, Some(detail)) => Err(violation(Invariant::Drv2, detail)),
    }
}

type Ledger = BTreeMap<(TenantId, CommandId), LedgerRow>;

/// Every effect the runner knows, whichever way it came.
fn ledger(rows: &Committed<'_>, forgotten: &Forgotten) -> Result<Ledger, Violation> {
    let gone = forgotten.of(Table::Effect);
    let mut out: Ledger =
        gone.filter_map(|(key, row)| keys::parse_effect(key).zip(LedgerRow::decode(row).ok())).collect();
    let mut broken = None;
    let scanned = rows.scan(Table::Effect, b"", &mut |key, row| {
        match (keys::parse_effect(key), LedgerRow::decode(row)) {
            (Some(key), Ok(row)) => drop(out.insert(key, row)),
            (_, row) => broken = Some(format!("{key:?}: {row:?}")),
        }
        ControlFlow::Continue(())
    });
    match (scanned, broken) {
        (Ok(()), None) => Ok(out),
        (Err(fault), _) => Err(violation(Invariant::Drv2, fault.to_string())),
        (_, Some(detail)) => Err(violation(Invariant::Drv2, detail)),
    }
}

/// INV-EFF-4: how an effect ended is told to the saga that asked for it, while that is there and was not killed: what was
/// held for it then is dropped with it.
fn check_told(
    sagas: &BTreeMap<Vec<u8>, Instance>,
    ledger: &Ledger,
    forgotten: &Forgotten,
) -> Result<(), Violation> {
    let gone: BTreeSet<&[u8]> = forgotten.of(Table::Saga).map(|(key, _)| key).collect();
    let is_told = |key: &[u8], own: &Instance| own.status != Status::Killed && !gone.contains(key);
    for (key, instance) in sagas.iter().filter(|(key, own)| is_told(key, own)) {
        let Some((tenant, saga, correlation)) = keys::parse_saga(key) else { continue };
        let waits = |work: &&Work| work.state == WorkState::InFlight;
        for work in instance.works.iter().filter(waits) {
            let row = ledger.get(&(tenant.clone(), work.id.clone()));
            if let Some(row) = row.filter(|row| matches!(row.phase, Phase::Settled { .. })) {
                let detail = format!("{saga} {correlation} waits for {}, whose row says {row:?}", work.name);
                return Err(violation(Invariant::Eff4, detail));
            }
        }
    }
    Ok(())
}

/// INV-ONCE-1 and INV-EFF-5: as many executions as the ledger admits, and nothing that no saga asked for.
fn check_effects(
    end: &End<'_>,
    logs: &Logs,
    sagas: &BTreeMap<Vec<u8>, Instance>,
    ledger: Ledger,
    amended: &Amended,
) -> Result<(), Violation> {
    let asked: BTreeSet<&str> =
        sagas.values().flat_map(|instance| &instance.works).map(|work| work.id.as_str()).collect();
    let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
    for execution in end.executions {
        *counted.entry(execution.key.as_str()).or_default() += 1;
    }
    let app = crate::app::shop();
    for subject in logs.effect_commands() {
        let Some(Route::Effect { tenant, command, .. }) = Route::parse(subject) else { continue };
        if !ledger.contains_key(&(tenant, command)) {
            let detail = format!("{subject} was stored, and has no row in the ledger");
            return Err(violation(Invariant::Once1, detail));
        }
    }
    let mut ticks =
        due_ticks(end)?.into_iter().map(|(tenant, due)| (tenant, -due)).collect::<BTreeMap<_, _>>();
    for ((tenant, command), row) in ledger {
        let (effect, subject) = (&row.effect, format!("{} of {tenant:?}", command.as_str()));
        if effect.as_str() == COUNTED {
            *ticks.entry(tenant.clone()).or_default() += 1;
        } else if !asked.contains(command.as_str()) {
            let detail = format!("{subject} is in the ledger, and no saga asked for it");
            return Err(violation(Invariant::Once1, detail));
        }
        let happened =
            counted.remove(format!("{}:{}", tenant.token(), command.token()).as_str()).unwrap_or(0);
        let at_most_once =
            app.effects.get(effect).is_some_and(|definition| definition.delivery == Delivery::AtMostOnce);
        let key = keys::effect(&tenant, &command);
        if at_most_once && happened > 1 && !amended.may_repeat(&key) {
            return Err(violation(Invariant::Eff5, format!("{subject} happened {happened} times")));
        }
        let settled = matches!(row.phase, Phase::Settled { .. });
        let keys = if at_most_once { Keys::Ignored } else { end.plan.keys };
        let most = match keys {
            Keys::Honoured => 1,
            Keys::Lost | Keys::Ignored => 1 + u64::from(row.ambiguous),
        };
        if happened > most || (settled && happened == 0 && !row.is_settled_by_hand()) {
            let detail = format!("{subject} happened {happened} times, its row says {row:?}");
            return Err(violation(Invariant::Once1, detail));
        }
    }
    if let Some((tenant, off)) = ticks.into_iter().find(|(_, off)| *off != 0) {
        let detail = format!(
            "what a schedule of {tenant:?} asked for directly is in the ledger {off:+} times too often"
        );
        return Err(violation(Invariant::Once1, detail));
    }
    match counted.into_iter().next() {
        Some((key, times)) => Err(violation(
            Invariant::Once1,
            format!("{key} was executed {times} times, and nobody asked for it"),
        )),
        None => Ok(()),
    }
}

/// How often the schedule that asks for an effect directly has fired, for each tenant.
fn due_ticks(end: &End<'_>) -> Result<BTreeMap<TenantId, i64>, Violation> {
    let mut out = BTreeMap::new();
    let scanned = end.runner.scan(Table::Recurring, b"", &mut |key, row| {
        if let Some((key, row)) = RowKey::parse(key).zip(Row::decode(row))
            && key.schedule.as_str() == COUNTING
        {
            let Counts { fired, triggered, backfilled, .. } = row.counts;
            out.insert(key.tenant, i64::try_from(fired + triggered + backfilled).unwrap_or(i64::MAX));
        }
        ControlFlow::Continue(())
    });
    scanned.map(|()| out).map_err(|fault| violation(Invariant::Drv2, fault.to_string()))
}

/// INV-CONS-1 and INV-TEN-1 for one order's money.
fn check_order(
    end: &End<'_>,
    order: &OrderPlan,
    logs: &Logs,
    sagas: &BTreeMap<Vec<u8>, Instance>,
) -> Result<(), Violation> {
    let OrderPlan { tenant, id, cents, victim, .. } = order;
    let saga = sagas.get(&keys::saga(tenant, &name("checkout"), id));
    let ended = match saga.map(|instance| &instance.status) {
        None => Ended::Never,
        Some(Status::Completed) => Ended::Completed,
        Some(Status::Compensated) => Ended::Compensated,
        Some(Status::Killed) => Ended::Killed,
        Some(status @ (Status::Running | Status::Compensating { .. })) => {
            return Err(violation(Invariant::Live1, format!("{tenant:?} {id:?} is still {status:?}")));
        }
    };
    let status = order_status(logs, tenant, id);
    let agrees = match ended {
        Ended::Never => status == "none",
        Ended::Completed => status == "shipped",
        Ended::Compensated => status == "cancelled",
        Ended::Killed => true,
    };
    // Whom an operator cancels, nobody tells the order.
    let told = saga.is_none_or(|instance| instance.intervention.is_none());
    if !agrees && !victim && told {
        let detail = format!("order {tenant:?} {id:?} is {status}, its saga ended as {ended:?}");
        return Err(violation(Invariant::Cons1, detail));
    }
    let mut paid = BTreeSet::new();
    let mut returned = BTreeSet::new();
    for execution in end.executions.iter().filter(|execution| execution.order == id.as_str()) {
        if execution.tenant != tenant.as_str() {
            continue;
        }
        if execution.cents != *cents && execution.service != Service::Parcel {
            let detail = format!("{execution:?} for an order of {cents}");
            return Err(violation(Invariant::Ten1, detail));
        }
        match execution.service {
            Service::Charge if execution.done => drop(paid.insert(&execution.key)),
            Service::Refund if execution.done => drop(returned.insert(&execution.key)),
            Service::Charge | Service::Refund | Service::Parcel | Service::Receipt | Service::Counter => {}
        }
    }
    let (due, back) = match ended {
        Ended::Never => (0, 0),
        Ended::Completed => (1, 0),
        Ended::Compensated => (paid.len(), paid.len()),
        // Whatever was done before stays done.
        Ended::Killed => (paid.len(), returned.len()),
    };
    if paid.len() > 1 || paid.len() != due || returned.len() != back {
        let detail = format!(
            "order {tenant:?} {id:?} ended as {ended:?}: charged {} times, refunded {} times",
            paid.len(),
            returned.len()
        );
        return Err(violation(Invariant::Cons1, detail));
    }
    Ok(())
}

fn order_status(logs: &Logs, tenant: &TenantId, id: &EntityId) -> String {
    let key = AggregateKey { tenant: tenant.clone(), kind: name("order"), id: id.clone() };
    let last = logs.history(&subject_of(&key)).and_then(|history| history.points.last());
    last.and_then(|point| point.state["status"].as_str()).unwrap_or("none").to_owned()
}

/// INV-CONS-1 for stock: what was added is on hand or sold, and nothing is reserved any more.
fn check_stock(end: &End<'_>, logs: &Logs, sagas: &BTreeMap<Vec<u8>, Instance>) -> Result<(), Violation> {
    let tenants: BTreeSet<&TenantId> = end.goods.iter().map(|goods| &goods.tenant).collect();
    for tenant in tenants {
        for sku in SKUS {
            let is_here = |own: &TenantId, article: &str| own == tenant && article == sku;
            let added: u64 = end
                .goods
                .iter()
                .filter(|goods| is_here(&goods.tenant, goods.sku))
                .map(|goods| goods.qty)
                .sum();
            let completed = |order: &&OrderPlan| {
                let saga = sagas.get(&keys::saga(&order.tenant, &name("checkout"), &order.id));
                is_here(&order.tenant, order.sku)
                    && saga.is_some_and(|instance| instance.status == Status::Completed)
            };
            let killed = end.orders.iter().any(|order| {
                let saga = sagas.get(&keys::saga(&order.tenant, &name("checkout"), &order.id));
                is_here(&order.tenant, order.sku)
                    && saga.is_some_and(|instance| instance.status == Status::Killed)
            });
            if killed {
                continue;
            }
            let sold: u64 = end.orders.iter().filter(completed).map(|order| order.qty).sum();
            let id = EntityId::parse(sku).expect("an id");
            let key = AggregateKey { tenant: tenant.clone(), kind: name("stock"), id };
            let state = logs.history(&subject_of(&key)).and_then(|history| history.points.last());
            let state = state.map(|point| point.state.clone()).unwrap_or_default();
            let number = |field: &str| state[field].as_u64().unwrap_or_default();
            let reserved = state["reserved"].as_array().map_or(0, Vec::len);
            if number("on_hand") + number("sold") != added || number("sold") != sold || reserved > 0 {
                let detail =
                    format!("{tenant:?} {sku}: {added} added, {sold} shipped, but the state is {state}");
                return Err(violation(Invariant::Cons1, detail));
            }
        }
    }
    Ok(())
}
