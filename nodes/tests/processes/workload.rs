//! Many orders with many fates, placed by several customers at once.

use crate::world::shop::{Command, Shop};
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::collections::BTreeMap;
use tokio::sync::watch;

/// Two tenants and the default one, with the same order ids.
pub(crate) const TENANTS: [&str; 3] = ["acme", "globex", ""];
/// More than all orders together ask for.
const PLENTY: u64 = 100_000;
/// Less than one order asks for.
const TOO_FEW: u64 = 1;

/// A generator whose whole state is its seed (splitmix64).
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// From `CLOUDLYSIS_SEED`, or a new one; the caller says which it was.
    pub(crate) fn new() -> (u64, Self) {
        let given = std::env::var("CLOUDLYSIS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(0, |now| u64::from(now.subsec_nanos()))
        });
        (seed, Self(seed))
    }

    /// A number below `sides`.
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % sides
    }
}

/// An order and what its customer does with it.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) tenant: &'static str,
    pub(crate) id: String,
    pub(crate) sku: &'static str,
    pub(crate) qty: u64,
    pub(crate) cents: u64,
    pub(crate) card: &'static str,
    /// The customer tries to cancel at once.
    pub(crate) cancels: bool,
}

impl Order {
    /// Whether nothing stands in the way of shipping it.
    pub(crate) fn must_ship(&self) -> bool {
        self.sku == "tea" && self.card == "valid" && !self.cancels
    }

    /// Whether something does, whoever is quicker.
    pub(crate) fn must_not_ship(&self) -> bool {
        self.sku != "tea" || self.card != "valid"
    }

    fn place(&self) -> Command {
        let Self { sku, qty, cents, card, .. } = self;
        let payload = json!({ "sku": sku, "qty": qty, "cents": cents, "card": card });
        Command::new(self.tenant, "order", &self.id, "place").with(payload)
    }
}

/// What is ordered, and what was in stock before.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) orders: Vec<Order>,
    /// By tenant and article.
    pub(crate) added: BTreeMap<(&'static str, &'static str), u64>,
}

impl Workload {
    pub(crate) fn roll(count: usize, dice: &mut Dice) -> Self {
        let mut order = |at: usize| {
            let (mut sku, mut card, mut cancels) = ("tea", "valid", false);
            match dice.roll(16) {
                0 | 1 => card = "declined",
                2 | 3 => sku = "unshippable",
                4 => sku = "rare",
                5..=7 => cancels = true,
                _ => {}
            }
            Order {
                tenant: TENANTS[at % TENANTS.len()],
                id: format!("o-{}", at / TENANTS.len()),
                sku,
                qty: TOO_FEW + 1 + dice.roll(4),
                cents: 100 + dice.roll(900),
                card,
                cancels,
            }
        };
        let orders = (0..count).map(&mut order).collect();
        let stock = [("tea", PLENTY), ("unshippable", PLENTY), ("rare", TOO_FEW)];
        let added = TENANTS.iter().flat_map(|tenant| stock.map(|(sku, qty)| ((*tenant, sku), qty))).collect();
        Self { orders, added }
    }

    pub(crate) async fn stock_up(&self, shop: &Shop) {
        for ((tenant, sku), qty) in &self.added {
            shop.accepted(&Command::add_stock(tenant, sku, *qty)).await;
        }
    }

    /// Places every order. `placed` counts along; returns how many answers said that the order was there already.
    pub(crate) async fn place(&self, shop: &Shop, customers: usize, placed: &watch::Sender<usize>) -> usize {
        let one = async |order: &Order| {
            let answer = shop.accepted(&order.place()).await;
            placed.send_modify(|placed| *placed += 1);
            if order.cancels {
                cancel(shop, order).await;
            }
            usize::from(answer.status == 200)
        };
        let repeated = stream::iter(&self.orders).map(one).buffer_unordered(customers);
        repeated.fold(0, async |sum, repeated| sum + repeated).await
    }
}

/// The shop may have been quicker; it must say so.
async fn cancel(shop: &Shop, order: &Order) {
    let answer = shop.command(&Command::new(order.tenant, "order", &order.id, "cancel")).await;
    match answer.status {
        200 | 202 => {}
        _ => assert_eq!(answer.problem(), "too_late", "{answer:?}"),
    }
}
