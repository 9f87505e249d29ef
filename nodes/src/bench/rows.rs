//! What is measured, with a client anybody uses.

use super::broker::BenchError;
use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::stream;
use bytes::Bytes;
use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt, TryStreamExt};
use std::time::{Duration, Instant};

/// Bytes of every message.
pub(super) const PAYLOAD_BYTES: usize = 256;
const STREAM: &str = "BENCH";
/// Subjects of the streams.
pub(super) const SUBJECTS: usize = 64;

fn failed(what: &'static str) -> impl FnOnce(async_nats::Error) -> BenchError {
    move |error| BenchError::Client { what, error: error.to_string() }
}

macro_rules! ask {
    ($what:literal, $future:expr) => {
        $future.await.map_err(|error| failed($what)(error.into()))?
    };
}

pub(super) async fn connect(url: &str) -> Result<Client, BenchError> {
    Ok(ask!("connecting", async_nats::connect(url)))
}

/// An empty stream.
pub(super) async fn stream(client: &Client) -> Result<(), BenchError> {
    let js = async_nats::jetstream::new(client.clone());
    js.delete_stream(STREAM).await.ok();
    let config =
        stream::Config { name: STREAM.into(), subjects: vec!["bench.>".into()], ..stream::Config::default() };
    ask!("creating a stream", js.create_stream(config));
    Ok(())
}

fn payload() -> Bytes {
    Bytes::from(vec![b'x'; PAYLOAD_BYTES])
}

/// Publishes with so many acks outstanding, until the time or the messages are over. Messages a second.
pub(super) async fn publish(
    client: &Client,
    in_flight: usize,
    time: Duration,
    messages_max: usize,
    subjects: usize,
) -> Result<f64, BenchError> {
    let js = async_nats::jetstream::new(client.clone());
    let payload = payload();
    let started = Instant::now();
    let mut acks = FuturesUnordered::new();
    let (mut sent, mut acknowledged) = (0, 0);
    loop {
        while acks.len() < in_flight && sent < messages_max && started.elapsed() < time {
            let subject = format!("bench.{}", sent % subjects);
            let ack = ask!("publishing", js.publish(subject, payload.clone()));
            acks.push(ack.into_future());
            sent += 1;
        }
        match acks.try_next().await {
            Ok(Some(_)) => acknowledged += 1,
            Ok(None) => break,
            Err(error) => return Err(failed("an ack")(error.into())),
        }
    }
    Ok(per_second(acknowledged, started))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn per_second(count: usize, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

/// Consumes what is in the stream and acknowledges each message. Messages a second.
pub(super) async fn consume(client: &Client, messages: usize) -> Result<f64, BenchError> {
    let js = async_nats::jetstream::new(client.clone());
    let stream = ask!("a stream", js.get_stream(STREAM));
    let name = format!("c{}", uuid::Uuid::now_v7().simple());
    let config = pull::Config {
        durable_name: Some(name.clone()),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: 10_000,
        ..pull::Config::default()
    };
    let consumer = ask!("creating a consumer", stream.create_consumer(config));
    let started = Instant::now();
    let batches = consumer.stream().max_messages_per_batch(500);
    let mut incoming = ask!("pulling", batches.messages()).take(messages);
    let mut count = 0;
    while let Some(message) = incoming.next().await {
        let message = message.map_err(|error| failed("a message")(error.into()))?;
        message.ack().await.map_err(failed("an ack"))?;
        count += 1;
    }
    ask!("flushing", client.flush());
    let rate = per_second(count, started);
    ask!("deleting a consumer", stream.delete_consumer(&name));
    Ok(rate)
}

/// Requests that another connection answers, so many at a time. Answers a second.
pub(super) async fn request(url: &str, in_flight: usize, time: Duration) -> Result<f64, BenchError> {
    let (asking, answering) = (connect(url).await?, connect(url).await?);
    let mut requests = ask!("subscribing", answering.subscribe("bench-service"));
    ask!("flushing", answering.flush());
    let service = tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            if let Some(reply) = request.reply {
                answering.publish(reply, request.payload).await.ok();
            }
        }
    });
    let payload = payload();
    let started = Instant::now();
    let asked = futures_util::stream::repeat(())
        .take_while(|()| std::future::ready(started.elapsed() < time))
        .map(|()| asking.request("bench-service", payload.clone()))
        .buffer_unordered(in_flight);
    let answered: Result<Vec<_>, _> = asked.try_collect().await;
    let count = answered.map_err(|error| failed("a request")(error.into()))?.len();
    let rate = per_second(count, started);
    service.abort();
    Ok(rate)
}
