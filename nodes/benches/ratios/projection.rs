//! Events a second into a view, beside the least that any consumer must do: pull, and acknowledge.

use crate::world::{LATER, Node, World, eventually, original};
use crate::{Scale, say};
use async_nats::{Client, Subscriber};
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, ConsumerInfo, PullRequest};
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::envelope::{Event, EventMessage};
use cloudlysis_core::wire::id::{EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::{PlatformStream, StreamRoom};
use cloudlysis_io_nats::broker::{ApiAnswer, Broker};
use cloudlysis_io_nats::streams::{self, IfMissing};
use futures_util::StreamExt;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const STREAM: PlatformStream = PlatformStream::AggregateEvents;
/// As a gate pulls: so many at once, and as many again on their way.
const BATCH: u64 = 256;
const PULLS: u64 = 2;
/// Publishes under way while the stream is filled.
const WINDOW: usize = 500;
const BARE: &str = "bare";
/// The view that stock goes into.
const VIEW: &str = "projection-stock_level-p0";

pub(crate) async fn run(scale: Scale) {
    let events = scale.events;
    say(&format!("projection, {events} events of one stream, median of {} round(s)", scale.rounds));
    say("    rows of the view   bare pull loop   projection   ratio");
    for (what, rows) in [("1000", 1_000), ("one per event", events)] {
        let world = World::on(original()).await;
        let broker = world.broker().await;
        streams::ensure(&broker, StreamRoom::DEVELOPMENT, IfMissing::Create, |_| false)
            .await
            .expect("streams");
        let client = async_nats::connect(world.broker_url()).await.expect("the broker is there");
        fill(&client, events, rows).await;
        let (mut bare, mut projection) = (Vec::new(), Vec::new());
        for round in 0..scale.rounds {
            bare.push(pull_and_acknowledge(&client, &broker, events).await);
            projection.push(project(&world, &broker, round, events).await);
        }
        let rate = |times: &mut Vec<Duration>| {
            times.sort_unstable();
            events as f64 / times[times.len() / 2].as_secs_f64()
        };
        let (bare, projection) = (rate(&mut bare), rate(&mut projection));
        let ratio = projection / bare;
        say(&format!("    {what:>16} {bare:>14.0}/s {projection:>10.0}/s {ratio:>7.2}"));
    }
}

/// Stock comes in, for so many articles in turn.
async fn fill(client: &Client, events: usize, rows: usize) {
    let inbox = client.new_inbox();
    let mut acks = client.subscribe(inbox.clone()).await.expect("subscribed");
    for at in 0..events {
        if at >= WINDOW {
            acknowledged(&mut acks).await;
        }
        let message = EventMessage {
            tenant: TenantId::parse("bench").expect("a tenant"),
            aggregate: Name::parse("stock").expect("a name"),
            id: EntityId::parse(&format!("s-{}", at % rows)).expect("an id"),
            version: (at / rows) as u64 + 1,
            events: vec![Event {
                kind: Name::parse("stock_added").expect("a name"),
                payload: json!({ "qty": 1 }),
            }],
            command_id: None,
            timestamp: None,
            context: Context::extract(|_| None, "bench"),
        };
        let (subject, body) = (message.route().subject().to_string(), message.encode());
        client.publish_with_reply(subject, inbox.clone(), body.into()).await.expect("sent");
    }
    for _ in 0..events.min(WINDOW) {
        acknowledged(&mut acks).await;
    }
}

async fn acknowledged(acks: &mut Subscriber) {
    let ack = tokio::time::timeout(LATER, acks.next()).await.expect("an ack in time").expect("an ack");
    let ack: Value = serde_json::from_slice(&ack.payload).expect("JSON");
    assert!(ack["seq"].is_u64(), "{ack}");
}

/// From the first request until the broker has the last ack.
async fn pull_and_acknowledge(client: &Client, broker: &Broker, events: usize) -> Duration {
    let config = ConsumerConfig {
        durable_name: Some(BARE.to_owned()),
        ack_policy: AckPolicy::Explicit,
        ..ConsumerConfig::default()
    };
    let body = json!({ "stream_name": STREAM.name(), "config": config, "action": "create" });
    ask::<Value>(broker, &format!("CONSUMER.CREATE.{STREAM}.{BARE}"), &body).await;
    let inbox = client.new_inbox();
    let mut deliveries = client.subscribe(inbox.clone()).await.expect("subscribed");
    let request = PullRequest { batch: BATCH, expires_ns: 30_000_000_000, ..PullRequest::default() };
    let request = serde_json::to_vec(&request).expect("JSON");
    let pull = async || {
        let (subject, request) = (format!("$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{BARE}"), request.clone());
        client.publish_with_reply(subject, inbox.clone(), request.into()).await.expect("sent");
    };
    let started = Instant::now();
    for _ in 0..PULLS {
        pull().await;
    }
    for received in 1..=events as u64 {
        let delivery = deliveries.next().await.expect("a delivery");
        client.publish(delivery.reply.expect("an ack subject"), "+ACK".into()).await.expect("sent");
        if received % BATCH == 0 {
            pull().await;
        }
    }
    settled(broker, BARE, events).await;
    let took = started.elapsed();
    ask::<Value>(broker, &format!("CONSUMER.DELETE.{STREAM}.{BARE}"), &Value::Null).await;
    took
}

/// From the first delivery to a projection node with an empty store until the broker has its last ack.
async fn project(world: &World, broker: &Broker, round: usize, events: usize) -> Duration {
    let node = async {
        let room = ["--events-gib", "1", "--workflow-gib", "1"];
        world.serve("projection", &format!("data-{events}-{round}"), &room).await
    };
    let measured = async {
        let consumer = format!("CONSUMER.INFO.{STREAM}.{VIEW}");
        let started = eventually("the projection begins", LATER, async || {
            match broker.api::<ConsumerInfo>(&consumer, &Value::Null).await {
                ApiAnswer::Ok(info) if info.delivered.consumer_seq > 0 => Ok(Instant::now()),
                other @ (ApiAnswer::Ok(_) | ApiAnswer::Error(_) | ApiAnswer::NoAnswer) => {
                    Err(format!("{other:?}"))
                }
            }
        })
        .await;
        settled(broker, VIEW, events).await;
        started.elapsed()
    };
    let (mut node, took): (Node, _) = tokio::join!(node, measured);
    node.kill();
    let consumers: Value = ask(broker, &format!("CONSUMER.NAMES.{STREAM}"), &Value::Null).await;
    for consumer in consumers["consumers"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        ask::<Value>(broker, &format!("CONSUMER.DELETE.{STREAM}.{consumer}"), &Value::Null).await;
    }
    took
}

async fn settled(broker: &Broker, consumer: &str, events: usize) {
    eventually("everything is settled", LATER, async || {
        let info: ConsumerInfo =
            ask(broker, &format!("CONSUMER.INFO.{STREAM}.{consumer}"), &Value::Null).await;
        let is_settled = info.ack_floor.stream_seq == events as u64;
        if is_settled { Ok(()) } else { Err(format!("{info:?}")) }
    })
    .await;
}

async fn ask<T: serde::de::DeserializeOwned>(broker: &Broker, endpoint: &str, body: &Value) -> T {
    match broker.api(endpoint, body).await {
        ApiAnswer::Ok(answer) => answer,
        ApiAnswer::Error(error) => panic!("{endpoint}: {error:?}"),
        ApiAnswer::NoAnswer => panic!("{endpoint}: no answer"),
    }
}
