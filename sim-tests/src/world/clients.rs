//! Clients: customers of several tenants who place orders under the same ids, change their minds, and ask again.
//!
//! A client repeats a command under its id until it hears a definite answer; what comes back for an attempt it no
//! longer waits for is not heard. Some ask again after the answer, because people do.

use super::bank::{Bank, DEPOSIT_CENTS, Deposit, Transfer};
use super::event::{Caller, Event};
use super::{MS, World};
use crate::oracles::{Violation, of_definite};
use crate::plan::Plan;
use cloudlysis_core::Invariant;
use cloudlysis_core::aggregate::Reply;
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_io_sim::rng::Rng;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Pause before a client tries again, at least and at most.
const RETRY_NS: (u64, u64) = (20 * MS, 2_000 * MS);

/// An article that every shop has.
pub const SKUS: [&str; 3] = ["tea", "mug", "unshippable"];

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Puts articles into stock.
    Add {
        /// Which delivery of goods.
        delivery: usize,
    },
    /// Places an order.
    Place {
        /// Which.
        order: usize,
    },
    /// Cancels an order.
    Cancel {
        /// Which.
        order: usize,
    },
    /// Puts money into an account.
    Deposit {
        /// Which deposit.
        deposit: usize,
    },
    /// Asks for money to be moved.
    Transfer {
        /// Which transfer.
        transfer: usize,
    },
    /// Sends a command again that was answered.
    Repeat {
        /// Which.
        call: u64,
    },
}

/// Articles put into stock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GoodsIn {
    /// Whose.
    pub tenant: TenantId,
    /// What.
    pub sku: &'static str,
    /// How many.
    pub qty: u64,
}

/// An order, as its customer means it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OrderPlan {
    /// Whose.
    pub tenant: TenantId,
    /// Its id: the tenants use the same ones.
    pub id: EntityId,
    /// What.
    pub sku: &'static str,
    /// How many; zero is refused.
    pub qty: u64,
    /// For how much: no two orders cost the same.
    pub cents: u64,
    /// With which card.
    pub card: &'static str,
    /// Somebody may publish garbage under its subject.
    pub victim: bool,
    /// The customer changes their mind after this long, in milliseconds.
    pub cancelled_after_ms: Option<u64>,
    /// The customer asks again after this long, in milliseconds.
    pub repeated_after_ms: Option<u64>,
}

/// A command on its way to a definite answer.
#[derive(Clone, PartialEq, Debug)]
struct Call {
    step: Step,
    command: Box<Command>,
    attempt: u32,
    done: bool,
}

/// All clients.
#[derive(Clone, PartialEq, Debug)]
pub struct Clients {
    /// Articles they put into stock.
    pub goods: Vec<GoodsIn>,
    /// Orders they place.
    pub orders: Vec<OrderPlan>,
    /// Money they move.
    pub bank: Bank,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    /// Steps that are scheduled and did not happen yet.
    ahead: usize,
}

/// A tenant of the world: the first one is the default tenant, whose id is empty.
pub(super) fn tenant(number: u64) -> TenantId {
    let raw = if number == 0 { String::new() } else { format!("t{number}") };
    TenantId::parse(&raw).expect("a tenant id")
}

impl Clients {
    /// The clients of a plan.
    #[must_use]
    pub fn of(plan: &Plan) -> Self {
        let mut rng = Rng::new(plan.seed).fork("orders");
        let mut goods = Vec::new();
        for number in 0..plan.tenants {
            for sku in SKUS {
                for _ in 0..rng.within(1, 2) {
                    goods.push(GoodsIn { tenant: tenant(number), sku, qty: rng.within(1, 12) });
                }
            }
        }
        let orders = (0..plan.orders)
            .map(|number| OrderPlan {
                tenant: tenant(number % plan.tenants),
                id: EntityId::parse(&format!("o.{}", number / plan.tenants)).expect("an order id"),
                sku: if rng.one_in(6) { SKUS[2] } else { SKUS[usize::from(rng.one_in(2))] },
                qty: if rng.one_in(12) { 0 } else { rng.within(1, 4) },
                cents: 100 + 7 * number,
                card: if rng.one_in(5) { "declined" } else { "valid" },
                victim: rng.one_in(6),
                cancelled_after_ms: rng.one_in(4).then(|| rng.within(0, 4_000)),
                repeated_after_ms: rng.one_in(4).then(|| rng.within(0, 20_000)),
            })
            .collect();
        Self { goods, orders, bank: Bank::of(plan), calls: BTreeMap::new(), next_call: 1, ahead: 0 }
    }

    /// What has not come to an end.
    #[must_use]
    pub fn unfinished(&self) -> Option<String> {
        if self.ahead > 0 {
            return Some(format!("{} client steps are still to come", self.ahead));
        }
        let call = self.calls.values().find(|call| !call.done)?;
        Some(format!("{:?} waits for an answer in attempt {}", call.step, call.attempt))
    }
}

fn command(
    tenant: &TenantId,
    kind: &str,
    id: &str,
    name: &str,
    command_id: &str,
    payload: Value,
) -> Box<Command> {
    Box::new(Command {
        tenant: tenant.clone(),
        aggregate: Name::parse(kind).expect("an aggregate type"),
        id: EntityId::parse(id).expect("an id"),
        name: Name::parse(name).expect("a command name"),
        payload,
        command_id: CommandId::parse(command_id).expect("a command id"),
        context: Context::generate(command_id),
        record_refusal: false,
    })
}

impl World {
    pub(super) fn begin_workload(&mut self) {
        let mut at_ns = 0;
        for delivery in 0..self.clients.goods.len() {
            at_ns += self.dice.clients.below(20 * MS);
            self.step_later(at_ns, Step::Add { delivery });
        }
        for order in 0..self.clients.orders.len() {
            at_ns += self.dice.clients.below(2 * self.plan.pause_ms * MS + 1);
            self.step_later(at_ns, Step::Place { order });
        }
        let longest_ms = if self.plan.scenario == crate::plan::Scenario::Calm { 2_000 } else { 40_000 };
        let end_ns = at_ns + self.dice.clients.within(1_000, longest_ms) * MS;
        if self.plan.disaster.is_some() {
            let strikes_ns = self.dice.clients.within(500 * MS, at_ns + 10_000 * MS);
            self.after(strikes_ns, Event::Struck);
            return;
        }
        self.after(end_ns, Event::Healed);
    }

    pub(super) fn step_later(&mut self, delay_ns: u64, step: Step) {
        self.clients.ahead += 1;
        self.after(delay_ns, Event::Client(step));
    }

    pub(super) fn on_client(&mut self, step: Step) {
        self.clients.ahead -= 1;
        let command = match step {
            Step::Add { delivery } => {
                let GoodsIn { tenant, sku, qty } = &self.clients.goods[delivery];
                command(tenant, "stock", sku, "add", &format!("add-{delivery}"), json!({ "qty": qty }))
            }
            Step::Place { order } => {
                let OrderPlan { tenant, id, sku, qty, cents, card, .. } = &self.clients.orders[order];
                let payload = json!({ "sku": sku, "qty": qty, "cents": cents, "card": card });
                command(tenant, "order", id.as_str(), "place", &format!("place-{id}"), payload)
            }
            Step::Cancel { order } => {
                let OrderPlan { tenant, id, .. } = &self.clients.orders[order];
                command(tenant, "order", id.as_str(), "cancel", &format!("cancel-{id}"), Value::Null)
            }
            Step::Deposit { deposit } => {
                let Deposit { tenant, account } = &self.clients.bank.deposits[deposit];
                let payload = json!({ "cents": DEPOSIT_CENTS });
                command(tenant, "account", account, "deposit", &format!("deposit-{account}"), payload)
            }
            Step::Transfer { transfer } => {
                let Transfer { tenant, id, from, to, cents } = &self.clients.bank.transfers[transfer];
                let payload = json!({ "from": from, "to": to, "cents": cents });
                command(tenant, "transfer", id.as_str(), "ask", &format!("ask-{id}"), payload)
            }
            Step::Repeat { call } => match self.clients.calls.get(&call) {
                Some(call) => call.command.clone(),
                None => return,
            },
        };
        let number = self.clients.next_call;
        self.clients.next_call += 1;
        self.clients.calls.insert(number, Call { step, command, attempt: 0, done: false });
        self.send_call(number);
    }

    pub(super) fn send_call(&mut self, call: u64) {
        let Some(own) = self.clients.calls.get_mut(&call).filter(|own| !own.done) else { return };
        own.attempt += 1;
        let (attempt, command) = (own.attempt, own.command.clone());
        self.submit(Caller::Client { call, attempt }, command);
    }

    pub(super) fn on_client_timed_out(&mut self, call: u64, attempt: u32) {
        let waits = self.clients.calls.get(&call).is_some_and(|own| !own.done && own.attempt == attempt);
        if waits {
            self.send_call(call);
        }
    }

    pub(super) fn on_client_answered(
        &mut self,
        call: u64,
        attempt: u32,
        reply: Option<Reply>,
    ) -> Result<(), Violation> {
        let Some(own) = self.clients.calls.get_mut(&call) else { return Ok(()) };
        if own.done || own.attempt != attempt {
            return Ok(());
        }
        let (step, command) = (own.step, own.command.clone());
        let accepted = match reply {
            None | Some(Reply::Unknown | Reply::Busy { .. }) => {
                // The attempt is over: a later answer to it is not heard.
                own.attempt += 1;
                let pause = self.dice.clients.within(RETRY_NS.0, RETRY_NS.1);
                self.after(pause, Event::ClientRetried { call });
                return Ok(());
            }
            Some(Reply::Unreadable { detail }) => {
                let is_victim = match step {
                    Step::Place { order } | Step::Cancel { order } => self.clients.orders[order].victim,
                    Step::Add { .. } | Step::Deposit { .. } | Step::Transfer { .. } => false,
                    Step::Repeat { .. } => true,
                };
                if !is_victim && !self.is_struck() {
                    let detail = format!("the history of {} cannot be read: {detail}", command.id);
                    return Err(Violation::new(Invariant::Agg5, detail));
                }
                false
            }
            Some(reply @ (Reply::Accepted { .. } | Reply::Refused(_) | Reply::Invalid(_))) => {
                self.oracles.on_heard(&command, of_definite(&reply))?;
                matches!(reply, Reply::Accepted { .. })
            }
        };
        let Some(own) = self.clients.calls.get_mut(&call) else { return Ok(()) };
        own.done = true;
        if let Step::Place { order } = step {
            let OrderPlan { cancelled_after_ms, repeated_after_ms, .. } = self.clients.orders[order];
            if let Some(after_ms) = cancelled_after_ms.filter(|_| accepted) {
                self.step_later(after_ms * MS, Step::Cancel { order });
            }
            if let Some(after_ms) = repeated_after_ms {
                self.step_later(after_ms * MS, Step::Repeat { call });
            }
        }
        Ok(())
    }
}
