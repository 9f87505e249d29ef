//! Orders a second, from command to parcel, through every node, the broker and the services outside.
//!
//! Each customer waits for their order before they place the next one, and buys an article of their own: what is
//! measured is the path, not the queue before one aggregate.

use crate::world::shop::{Command, Shop};
use crate::world::{World, original};
use crate::{Scale, say};
use futures_util::{StreamExt, future};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

const CUSTOMERS: [usize; 3] = [1, 32, 256];
const TENANT: &str = "bench";

/// Customers who wait for a parcel, by order.
#[derive(Clone, Default)]
struct Waiting(Arc<Mutex<HashMap<String, oneshot::Sender<()>>>>);

impl Waiting {
    fn wait(&self, order: &str) -> oneshot::Receiver<()> {
        let (sent, waits) = oneshot::channel();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(order.to_owned(), sent);
        waits
    }

    fn shipped(&self, order: &str) {
        let waits = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(order);
        if let Some(waits) = waits {
            waits.send(()).expect("a customer waits until the parcel is there");
        }
    }
}

pub(crate) async fn run(scale: Scale) {
    let world = World::on(original()).await;
    let node = world.dev("data").await;
    let shop = node.shop();
    for customer in 0..CUSTOMERS.into_iter().max().unwrap_or_default() {
        shop.accepted(&Command::add_stock(TENANT, &sku(customer), 1_000_000)).await;
    }
    let waiting = Waiting::default();
    let client = async_nats::connect(world.broker_url()).await.expect("the broker is there");
    let subject = format!("tenant.{TENANT}.aggregate.order.*");
    let mut events = client.subscribe(subject).await.expect("subscribed");
    let shipped = waiting.clone();
    let watch = tokio::spawn(async move {
        while let Some(message) = events.next().await {
            let event: Value = serde_json::from_slice(&message.payload).unwrap_or_default();
            if event["event_type"] == "order_shipped" {
                shipped.shipped(message.subject.rsplit('.').next().unwrap_or_default());
            }
        }
    });
    say(&format!("\nsagas, {} ms each", scale.measured_ms));
    say("    customers   orders shipped   times one     median        p99");
    let mut alone = None;
    for customers in CUSTOMERS {
        let mut times = place(&shop, &waiting, customers, scale).await;
        times.sort_unstable();
        let rate = times.len() as f64 / Duration::from_millis(scale.measured_ms).as_secs_f64();
        let times_one = rate / *alone.get_or_insert(rate);
        let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        let (median, p99) = (ms(at(50)), ms(at(99)));
        say(&format!("    {customers:>9} {rate:>14.1}/s {times_one:>11.1} {median:>7.1} ms {p99:>7.1} ms"));
    }
    watch.abort();
}

fn sku(customer: usize) -> String {
    format!("s-{customer}")
}

/// How long each order took that was shipped while it was measured.
async fn place(shop: &Shop, waiting: &Waiting, customers: usize, scale: Scale) -> Vec<Duration> {
    let begin = Instant::now() + Duration::from_millis(scale.warm_up_ms);
    let end = begin + Duration::from_millis(scale.measured_ms);
    let customer = async |customer: usize| {
        let mut times = Vec::new();
        for order in 0.. {
            let id = format!("o-{customers}-{customer}-{order}");
            let parcel = waiting.wait(&id);
            let placed = Instant::now();
            let payload = json!({ "sku": sku(customer), "qty": 1, "cents": 100 });
            shop.accepted(&Command::new(TENANT, "order", &id, "place").with(payload)).await;
            parcel.await.expect("a parcel");
            let now = Instant::now();
            if now >= begin && now < end {
                times.push(now - placed);
            }
            if now >= end {
                break;
            }
        }
        times
    };
    future::join_all((0..customers).map(customer)).await.concat()
}
