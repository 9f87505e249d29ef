//! The bank: customers of several tenants who move money between accounts of the same names.
//!
//! Everybody's first deposits are known, so is every transfer that is asked for: what the accounts hold in the end is
//! judged by [`oracles::bank`](crate::oracles::bank). One account is closed, and what was on its way there comes back.

use super::clients::{Step, tenant};
use super::{MS, World};
use crate::plan::Plan;
use cloudlysis_core::wire::id::{EntityId, TenantId};
use cloudlysis_io_sim::rng::Rng;

/// Accounts that every tenant has.
pub const ACCOUNTS: [&str; 3] = ["a", "b", "c"];
/// One that takes nothing.
const CLOSED: &str = "closed";
/// What every account begins with.
pub const DEPOSIT_CENTS: u64 = 100;

/// A first deposit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Deposit {
    /// Whose.
    pub tenant: TenantId,
    /// Into which account.
    pub account: &'static str,
}

/// Money that is to move.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transfer {
    /// Whose.
    pub tenant: TenantId,
    /// Its id: the tenants use the same ones.
    pub id: EntityId,
    /// From which account.
    pub from: &'static str,
    /// To which.
    pub to: &'static str,
    /// How much; some want more than there is.
    pub cents: u64,
}

/// All of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Bank {
    /// What is there first.
    pub deposits: Vec<Deposit>,
    /// What moves.
    pub transfers: Vec<Transfer>,
}

impl Bank {
    /// The bank of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed).fork("bank");
        let tenants = (0..plan.tenants).map(tenant);
        let each = |tenant: TenantId| ACCOUNTS.map(|account| Deposit { tenant: tenant.clone(), account });
        let deposits = if plan.transfers == 0 { Vec::new() } else { tenants.flat_map(each).collect() };
        let transfers = (0..plan.transfers)
            .map(|number| {
                let [from, to] = [(); 2].map(|()| *rng.pick(&ACCOUNTS));
                Transfer {
                    tenant: tenant(number % plan.tenants),
                    id: EntityId::parse(&format!("m.{}", number / plan.tenants)).expect("an id"),
                    from,
                    to: if rng.one_in(5) { CLOSED } else { to },
                    cents: rng.within(1, DEPOSIT_CENTS),
                }
            })
            .collect();
        Self { deposits, transfers }
    }
}

impl World {
    pub(super) fn begin_bank(&mut self) {
        for deposit in 0..self.clients.bank.deposits.len() {
            let at_ns = self.dice.bank.below(50 * MS);
            self.step_later(at_ns, Step::Deposit { deposit });
        }
        for transfer in 0..self.clients.bank.transfers.len() {
            let at_ns = self.dice.bank.below(4 * self.plan.pause_ms * MS + 1);
            self.step_later(at_ns, Step::Transfer { transfer });
        }
    }
}
