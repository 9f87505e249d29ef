//! The bank, once everything has ended: no account is overdrawn, and every tenant has what it put in, but for what its
//! sagas say is between two accounts because an operator ended them there.

use super::Violation;
use super::logs::{Logs, subject_of};
use crate::world::bank::{ACCOUNTS, Bank, DEPOSIT_CENTS, Transfer};
use cloudlysis_core::Invariant;
use cloudlysis_core::aggregate::AggregateKey;
use cloudlysis_core::saga::{Instance, WorkState};
use cloudlysis_core::wire::id::{EntityId, Name, TenantId};
use cloudlysis_core::wire::keys;
use std::collections::{BTreeMap, BTreeSet};

/// INV-CONS-1 for money in accounts.
pub(super) fn check(bank: &Bank, logs: &Logs, sagas: &BTreeMap<Vec<u8>, Instance>) -> Result<(), Violation> {
    let broken = |detail| Err(Violation::new(Invariant::Cons1, detail));
    let tenants: BTreeSet<&TenantId> = bank.deposits.iter().map(|deposit| &deposit.tenant).collect();
    for tenant in tenants {
        let mut held = 0;
        for account in ACCOUNTS {
            let balance = balance(logs, tenant, account);
            if balance < 0 {
                return broken(format!("account {account} of {tenant:?} holds {balance}"));
            }
            held += balance;
        }
        let put_in = i64::try_from(DEPOSIT_CENTS * ACCOUNTS.len() as u64).unwrap_or(i64::MAX);
        let own = bank.transfers.iter().filter(|transfer| transfer.tenant == *tenant);
        // What an operator ended while it was under way may have happened or not.
        let Some(between) = own.map(|transfer| between(transfer, sagas)).sum::<Option<i64>>() else {
            continue;
        };
        if held + between != put_in {
            return broken(format!("{tenant:?} put in {put_in}, holds {held}, and {between} is on its way"));
        }
    }
    Ok(())
}

/// What a transfer took and did not bring anywhere; nobody knows while something of it is under way.
fn between(transfer: &Transfer, sagas: &BTreeMap<Vec<u8>, Instance>) -> Option<i64> {
    let saga = Name::parse("transfer").expect("a name");
    let Some(instance) = sagas.get(&keys::saga(&transfer.tenant, &saga, &transfer.id)) else {
        return Some(0);
    };
    if instance.works.iter().any(|work| work.state == WorkState::InFlight) {
        return None;
    }
    let done = |name: &str| {
        instance.works.iter().any(|work| work.name.as_str() == name && work.state == WorkState::Done)
    };
    let cents = i64::try_from(transfer.cents).unwrap_or(i64::MAX);
    let times = i64::from(done("withdraw")) - i64::from(done("credit")) - i64::from(done("give_back"));
    Some(times * cents)
}

fn balance(logs: &Logs, tenant: &TenantId, account: &str) -> i64 {
    let id = EntityId::parse(account).expect("an id");
    let key = AggregateKey { tenant: tenant.clone(), kind: Name::parse("account").expect("a name"), id };
    let last = logs.history(&subject_of(&key)).and_then(|history| history.points.last());
    last.and_then(|point| point.state["balance"].as_i64()).unwrap_or_default()
}
