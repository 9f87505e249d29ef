//! Clients of others on the broker of a running shop: async-nats as it is published.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::{SOON, World, note};
use async_nats::HeaderMap;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, PullConsumer, pull, push};
use async_nats::jetstream::kv::{self, Operation, Store};
use async_nats::jetstream::stream::{Config, Stream};
use async_nats::jetstream::{AckKind, Context};
use futures_util::{StreamExt, TryStreamExt};
use serde_json::Value;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const ORDERS: usize = 40;
const CUSTOMERS: usize = 4;
const MESSAGES: u64 = 200;
const HISTORY: i64 = 3;
const ACK_WAIT: Duration = Duration::from_secs(2);

pub(crate) async fn published_clients_use_the_broker_of_a_running_shop(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let workload = Workload::roll(ORDERS, &mut dice);
    let node = world.dev("data").await;
    let shop = node.shop();
    workload.stock_up(&shop).await;
    let client = async_nats::connect(node.broker_url()).await.expect("any client may join");
    let context = async_nats::jetstream::new(client.clone());
    let mut placements = client.subscribe("tenant.*.aggregate.order.*").await.expect("subscribed");
    client.flush().await.expect("the server has read it");
    let (placed, _) = watch::channel(0);
    let others = async {
        let stream = notes(&context).await;
        publish(&context).await;
        consume(&stream).await;
        key_values(&context).await;
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), others);
    let books = Books::close(&world, &node).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);

    // What the shop recorded can be listened to, and read from its beginning.
    let heard = timeout(SOON, placements.next()).await.expect("in time").expect("an event");
    assert_eq!(kind(&heard.payload), "order_placed");
    assert_eq!(recorded(&context, "order_placed").await, ORDERS);
}

fn kind(payload: &[u8]) -> Value {
    serde_json::from_slice::<Value>(payload).expect("events are JSON")["event_type"].take()
}

async fn notes(context: &Context) -> Stream {
    let config = Config { name: "NOTES".into(), subjects: vec!["notes.>".into()], ..Config::default() };
    context.create_stream(config).await.expect("a stream beside the platform's")
}

/// Publishes without waiting for each, twice under the same ids.
async fn publish(context: &Context) {
    for round in 0..2 {
        let mut acks = Vec::new();
        for number in 1..=MESSAGES {
            let mut headers = HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("note-{number}"));
            let subject = format!("notes.{}", number % 7);
            let payload = number.to_string().into();
            let ack = context.publish_with_headers(subject, headers, payload).await;
            acks.push(ack.expect("sent"));
        }
        for (number, ack) in (1..=MESSAGES).zip(acks) {
            let ack = ack.await.expect("stored");
            assert_eq!((ack.sequence, ack.duplicate), (number, round > 0), "round {round}");
        }
    }
}

/// Reads everything and acks it; every tenth message only when it comes again.
async fn consume(stream: &Stream) {
    let config = pull::Config {
        durable_name: Some("reader".into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        ..pull::Config::default()
    };
    let mut consumer: PullConsumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("a pull");
    let (mut acked, mut again) = (0, 0);
    while acked < MESSAGES {
        let message = timeout(SOON, messages.next()).await.expect("in time").expect("a message");
        let message = message.expect("a message, and no error");
        let info = message.info().expect("a delivery says what it is");
        let first = info.delivered == 1;
        assert_eq!(message.payload, info.stream_sequence.to_string().as_bytes());
        if first && info.stream_sequence % 10 == 0 {
            message.ack_with(AckKind::Nak(None)).await.expect("sent");
            again += 1;
        } else {
            message.double_ack().await.expect("confirmed");
            acked += 1;
            again -= i32::from(!first);
        }
    }
    assert_eq!(again, 0, "what was refused came again");
    let info = consumer.info().await.expect("its state");
    assert_eq!((info.num_pending, info.num_ack_pending, info.num_redelivered), (0, 0, 0));
    assert_eq!(info.ack_floor.stream_sequence, MESSAGES);
}

async fn key_values(context: &Context) {
    let config = kv::Config { bucket: "settings".into(), history: HISTORY, ..kv::Config::default() };
    let store = context.create_key_value(config).await.expect("a bucket");
    let mut watched = store.watch_with_history("shop.>").await.expect("a watch");
    assert_eq!(store.create("shop.colour", "red".into()).await.ok(), Some(1));
    assert!(store.create("shop.colour", "blue".into()).await.is_err(), "it is there");
    assert_eq!(store.put("shop.colour", "green".into()).await.ok(), Some(2));
    assert_eq!(store.update("shop.colour", "grey".into(), 2).await.ok(), Some(3));
    assert!(store.update("shop.colour", "pink".into(), 2).await.is_err(), "somebody else was quicker");
    assert_eq!(store.put("shop.name", "Tea & Co".into()).await.ok(), Some(4));
    assert_eq!(store.put("elsewhere", "x".into()).await.ok(), Some(5));
    assert_eq!(value(&store, "shop.colour").await.as_deref(), Some("grey"));
    store.delete("shop.colour").await.expect("deleted");
    assert_eq!(value(&store, "shop.colour").await, None);
    let entry = store.entry("shop.colour").await.expect("an answer").expect("a trace of it");
    assert_eq!((entry.operation, entry.revision), (Operation::Delete, 6));

    // As many revisions as it keeps.
    let history: Vec<_> =
        store.history("shop.colour").await.expect("a history").try_collect().await.expect("read");
    let history: Vec<_> =
        history.iter().map(|entry| (entry.revision, entry.operation, &*entry.value)).collect();
    assert_eq!(
        history,
        [(2, Operation::Put, &b"green"[..]), (3, Operation::Put, b"grey"), (6, Operation::Delete, b"")]
    );
    let mut keys: Vec<String> = store.keys().await.expect("keys").try_collect().await.expect("read");
    keys.sort_unstable();
    assert_eq!(keys, ["elsewhere", "shop.name"]);

    let mut seen = Vec::new();
    while seen.len() < 5 {
        let entry =
            timeout(SOON, watched.next()).await.expect("in time").expect("an entry").expect("no error");
        seen.push((entry.key, entry.revision, entry.operation));
    }
    let colour = |revision, operation| ("shop.colour".to_owned(), revision, operation);
    assert_eq!(
        seen,
        [
            colour(1, Operation::Put),
            colour(2, Operation::Put),
            colour(3, Operation::Put),
            ("shop.name".to_owned(), 4, Operation::Put),
            colour(6, Operation::Delete)
        ]
    );
    store.purge("shop.name").await.expect("purged");
    assert_eq!(value(&store, "shop.name").await, None);
}

async fn value(store: &Store, key: &str) -> Option<String> {
    let value = store.get(key).await.expect("an answer");
    value.map(|bytes| String::from_utf8(bytes.to_vec()).expect("text"))
}

/// How many events of a kind the log holds, read in order by a consumer that leaves no trace.
async fn recorded(context: &Context, wanted: &str) -> usize {
    let stream = context.get_stream("AGGREGATE_EVENTS").await.expect("the log");
    let last = stream.get_info().await.expect("its state").state.last_sequence;
    let config = push::OrderedConfig {
        deliver_subject: "audit".into(),
        deliver_policy: DeliverPolicy::All,
        ..push::OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await.expect("a consumer");
    let mut messages = consumer.messages().await.expect("deliveries");
    let mut count = 0;
    loop {
        let message = timeout(SOON, messages.next()).await.expect("in time").expect("a message");
        let message = message.expect("a message, and no error");
        count += usize::from(kind(&message.payload) == wanted);
        if message.info().expect("a delivery says what it is").stream_sequence == last {
            return count;
        }
    }
}
