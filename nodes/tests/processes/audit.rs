//! The books of the shop, read from everywhere at once when all is quiet: views, the services' ledger, the event log.
//! They must balance, whatever happened on the way.

use crate::workload::{Order, TENANTS, Workload};
use crate::world::shop::Shop;
use crate::world::{LATER, Node, World, eventually};
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_io_nats::broker::{ApiAnswer, Broker, Which};
use serde_json::Value;
use shop_services::Operation;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

/// Longer than the nodes take to refresh their figures.
const QUIET_FOR: Duration = Duration::from_millis(1_300);

/// What everybody says.
#[derive(Debug)]
pub(crate) struct Books {
    /// By tenant and id.
    orders: BTreeMap<(String, String), Value>,
    /// By tenant and article.
    stock: BTreeMap<(String, String), Value>,
    operations: Vec<Operation>,
    events: Vec<EventMessage>,
    /// What the nodes hold back; nothing in a workload of sound events.
    held_back: Vec<Value>,
}

impl Books {
    /// Waits until nothing moves any more, then reads them.
    pub(crate) async fn close(world: &World, node: &Node) -> Self {
        let shop = node.shop();
        Self::close_each(world, &node.broker().await, &shop, &[("projection", &shop), ("runner", &shop)])
            .await
    }

    /// The same where nodes are processes of their own: views by the gateway, quarantines by those who have them.
    pub(crate) async fn close_each(
        world: &World,
        broker: &Broker,
        shop: &Shop,
        holders: &[(&str, &Shop)],
    ) -> Self {
        quiet(broker, holders).await;
        let (mut orders, mut stock) = (BTreeMap::new(), BTreeMap::new());
        for tenant in TENANTS {
            for (view, rows) in [("order_summary", &mut orders), ("stock_level", &mut stock)] {
                let own = shop.rows(tenant, view).await.expect("a view can be read");
                rows.extend(own.into_iter().map(|(id, row)| ((tenant.to_owned(), id), row)));
            }
        }
        let operations = world.services.operations().await;
        let mut held_back = Vec::new();
        for (node, holder) in holders {
            let (_, quarantine) = holder.get(&format!("/admin/{node}/dlq")).await.expect("an answer");
            held_back.extend(quarantine["keys"].as_array().into_iter().flatten().cloned());
        }
        Self { orders, stock, operations, events: events(broker).await, held_back }
    }

    /// Fails with everything that does not balance.
    pub(crate) fn assert_balanced(&self, workload: &Workload) {
        let mut faults: Vec<String> = self.held_back.iter().map(|key| format!("held back: {key}")).collect();
        for order in &workload.orders {
            self.check_order(order, &mut faults);
        }
        self.check_stock(workload, &mut faults);
        self.check_money(workload, &mut faults);
        self.check_log(&mut faults);
        assert!(faults.is_empty(), "{self}\n{}", faults.join("\n"));
    }

    fn row(&self, order: &Order) -> &Value {
        self.orders.get(&(order.tenant.to_owned(), order.id.clone())).unwrap_or(&Value::Null)
    }

    fn is_shipped(&self, order: &Order) -> bool {
        self.row(order)["status"] == "shipped"
    }

    /// What was done outside for an order, and went well.
    fn done(&self, kind: &str, order: &Order) -> Vec<&Operation> {
        let ours = |own: &&Operation| {
            own.kind == kind
                && own.status < 300
                && own.tenant == order.tenant
                && own.request["order"] == order.id
        };
        self.operations.iter().filter(ours).collect()
    }

    fn check_order(&self, order: &Order, faults: &mut Vec<String>) {
        let row = self.row(order);
        let mut require = |holds: bool, what: &str| {
            if !holds {
                faults.push(format!("{what}: {order:?}, {row}"));
            }
        };
        let status = row["status"].as_str().unwrap_or_default();
        require(["shipped", "cancelled"].contains(&status), "neither shipped nor cancelled");
        let shipped = status == "shipped";
        require(shipped || !order.must_ship(), "not shipped for no reason");
        require(!shipped || !order.must_not_ship(), "shipped although it cannot be");
        let count = |kind| self.done(kind, order).len();
        let (charges, refunds) = (count("charge"), count("refund"));
        require(charges <= 1, "charged twice");
        require(refunds <= 1, "refunded twice");
        require(count("parcel") == usize::from(shipped), "parcels and status differ");
        require(count("receipt") <= usize::from(shipped), "a receipt too many");
        require(
            charges - refunds.min(charges) == usize::from(shipped),
            "charged and not shipped, or the reverse",
        );
    }

    fn check_stock(&self, workload: &Workload, faults: &mut Vec<String>) {
        for ((tenant, sku), added) in &workload.added {
            let row = self.stock.get(&((*tenant).to_owned(), (*sku).to_owned())).unwrap_or(&Value::Null);
            let count = |field: &str| row[field].as_i64().unwrap_or(i64::MIN / 4);
            let (on_hand, reserved, sold) = (count("on_hand"), count("reserved"), count("sold"));
            let shipped = workload.orders.iter().filter(|own| own.tenant == *tenant && own.sku == *sku);
            let shipped: u64 = shipped.filter(|own| self.is_shipped(own)).map(|own| own.qty).sum();
            let adds_up = u64::try_from(on_hand + reserved + sold) == Ok(*added);
            if !adds_up || reserved != 0 || u64::try_from(sold) != Ok(shipped) {
                faults
                    .push(format!("stock of {sku} for {tenant:?}: {row}; added {added}, shipped {shipped}"));
            }
        }
    }

    fn cents(&self, kind: &str) -> i64 {
        let paid = |own: &&Operation| own.kind == kind && own.status < 300;
        self.operations.iter().filter(paid).filter_map(|own| own.request["cents"].as_i64()).sum()
    }

    fn check_money(&self, workload: &Workload, faults: &mut Vec<String>) {
        let earned: u64 =
            workload.orders.iter().filter(|own| self.is_shipped(own)).map(|own| own.cents).sum();
        let (charged, refunded) = (self.cents("charge"), self.cents("refund"));
        if u64::try_from(charged - refunded) != Ok(earned) {
            faults.push(format!("charged {charged} and refunded {refunded}, but shipped for {earned}"));
        }
    }

    /// Every command is in the log once, every version of an aggregate once and in order.
    fn check_log(&self, faults: &mut Vec<String>) {
        let mut versions = BTreeMap::new();
        let mut commands = BTreeSet::new();
        for message in &self.events {
            let aggregate = (&message.tenant, &message.aggregate, &message.id);
            let last = versions.insert(aggregate, message.last_version()).unwrap_or_default();
            if message.version != last + 1 {
                faults.push(format!("version {} of {aggregate:?} follows {last}", message.version));
            }
            if !commands.insert((aggregate, &message.command_id)) {
                faults.push(format!("command {:?} of {aggregate:?} is in the log twice", message.command_id));
            }
        }
    }
}

/// The figures, in one line.
impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = |status: &str| self.orders.values().filter(|row| row["status"] == status).count();
        let done =
            |kind: &str| self.operations.iter().filter(|own| own.kind == kind && own.status < 300).count();
        let requests: u64 = self.operations.iter().map(|own| own.requests).sum();
        write!(
            f,
            "{} orders: {} shipped, {} cancelled; {} charges, {} refunds, {} parcels, {} receipts; {} cents charged, \
             {} refunded; {} requests outside for {} operations; {} messages in the log",
            self.orders.len(),
            status("shipped"),
            status("cancelled"),
            done("charge"),
            done("refund"),
            done("parcel"),
            done("receipt"),
            self.cents("charge"),
            self.cents("refund"),
            requests,
            self.operations.len(),
            self.events.len()
        )
    }
}

/// Waits until no consumer has anything to do, nothing waits to leave, and it stays that way.
async fn quiet(broker: &Broker, nodes: &[(&str, &Shop)]) {
    let mut since: Option<(Instant, Vec<u64>)> = None;
    eventually("everything comes to rest", LATER, async || {
        let now = at_rest(broker, nodes).await;
        match (now, &since) {
            (Ok(now), Some((from, then))) if now == *then => {
                if from.elapsed() >= QUIET_FOR {
                    Ok(())
                } else {
                    Err("only for a moment".to_owned())
                }
            }
            (Ok(now), _) => {
                since = Some((Instant::now(), now));
                Err("just now".to_owned())
            }
            (Err(why), _) => {
                since = None;
                Err(why)
            }
        }
    })
    .await;
}

/// The last sequence of each stream, if nothing is under way.
async fn at_rest(broker: &Broker, nodes: &[(&str, &Shop)]) -> Result<Vec<u64>, String> {
    for (name, node) in nodes {
        let (status, ready) = node.get("/ready").await?;
        if status != 200 {
            return Err(ready.to_string());
        }
        let gauges = ["cloudlysis_outbox_depth", "cloudlysis_effects_open"];
        for gauge in gauges.into_iter().filter(|_| *name == "runner") {
            let value = node.metric(gauge).await?;
            if value > 0.0 {
                return Err(format!("{gauge} is {value}"));
            }
        }
    }
    let mut last = Vec::new();
    for stream in PlatformStream::ALL {
        let info = ask(broker, &format!("STREAM.INFO.{stream}")).await?;
        last.push(info["state"]["last_seq"].as_u64().unwrap_or_default());
        let consumers = ask(broker, &format!("CONSUMER.LIST.{stream}")).await?;
        for consumer in consumers["consumers"].as_array().into_iter().flatten() {
            if consumer["num_pending"] != 0 || consumer["num_ack_pending"] != 0 {
                return Err(consumer.to_string());
            }
        }
    }
    Ok(last)
}

async fn ask(broker: &Broker, endpoint: &str) -> Result<Value, String> {
    match broker.api(endpoint, &Value::Null).await {
        ApiAnswer::Ok(answer) => Ok(answer),
        ApiAnswer::Error(error) => Err(format!("{error:?}")),
        ApiAnswer::NoAnswer => Err(format!("{endpoint}: no answer")),
    }
}

/// The whole log of aggregate events.
async fn events(broker: &Broker) -> Vec<EventMessage> {
    let stream = PlatformStream::AggregateEvents;
    let (mut events, mut next) = (Vec::new(), 1);
    loop {
        match broker.message(stream.name(), Which::NextOn("tenant.>", next)).await {
            ApiAnswer::Ok(Some(own)) => {
                next = own.seq + 1;
                let position = format!("{stream}:{}", own.seq);
                events.push(
                    EventMessage::decode(&own.subject, &own.headers, &own.payload, &position)
                        .expect("the log holds events"),
                );
            }
            ApiAnswer::Ok(None) => return events,
            ApiAnswer::Error(_) | ApiAnswer::NoAnswer => panic!("the log cannot be read at {next}"),
        }
    }
}
