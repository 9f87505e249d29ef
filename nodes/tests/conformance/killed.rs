//! Our server killed with SIGKILL under load, again and again, on the same files.
//!
//! ```text
//!  publish, pull, ack ─► SIGKILL ─► start on the same files ─► … ─► every acknowledged publish is there, once
//! ```
//!
//! What a consumer was told is flushed a moment later, as in the original: an ack of the last moment may be forgotten, and its
//! message comes again. It is never lost: in the end every message has been acked.
//!
//! A killed process loses nothing it has answered for, whatever the sync policy: what is written is the kernel's. Every other
//! life syncs always, and leaves room ahead of its log to the next. A power loss is another matter; the log's own tests cut
//! files short.

use crate::servers::Ours;
use async_nats::jetstream::consumer::pull::Config as PullConfig;
use async_nats::jetstream::consumer::{AckPolicy, Consumer};
use async_nats::jetstream::stream::{Config as StreamConfig, Stream};
use async_nats::jetstream::{self, Context};
use futures_util::stream::StreamExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

const IN_FLIGHT: usize = 64;
/// How long a life is: the longest.
const LIFE_MAX_MS: u64 = 400;
const PATIENCE: Duration = Duration::from_secs(5);

/// What clients were told over all lives.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Payload by sequence: the publishes that were acknowledged.
    published: BTreeMap<u64, String>,
    /// Messages whose ack was confirmed.
    acked: BTreeSet<u64>,
    /// Messages that came again after their ack was confirmed: it had not been flushed.
    pub(crate) returned: Vec<u64>,
    sent: u64,
}

impl Ledger {
    pub(crate) fn published(&self) -> usize {
        self.published.len()
    }

    pub(crate) fn acked(&self) -> usize {
        self.acked.len()
    }
}

/// Lives and dies `times`, and looks at what is left.
pub(crate) async fn lives(dir: &Path, times: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let mut server = Ours::start(dir).await;
    for life in 0..times {
        let context = context(server.port()).await;
        let (stream, consumer) = prepared(&context).await;
        let span = Duration::from_millis(LIFE_MAX_MS / 4 + life * 37 % (LIFE_MAX_MS * 3 / 4));
        let end = tokio::time::Instant::now() + span;
        let mut working = Box::pin(work(&context, &consumer, &mut ledger));
        tokio::time::timeout_at(end, &mut working).await.ok();
        drop(working);
        drop(stream);
        let sync = if life % 2 == 0 { "always" } else { "120s" };
        server.kill_and_restart(dir, sync).await;
    }
    let (stream, consumer) = prepared(&context(server.port()).await).await;
    check(&stream, &ledger).await;
    rest(&stream, &consumer, &mut ledger).await;
    ledger
}

async fn context(port: u16) -> Context {
    let client = async_nats::ConnectOptions::new().retry_on_initial_connect();
    let client = client.connect(format!("127.0.0.1:{port}")).await.expect("the broker is there");
    jetstream::new(client)
}

async fn prepared(context: &Context) -> (Stream, Consumer<PullConfig>) {
    let stream = StreamConfig { name: "LOAD".into(), subjects: vec!["load.>".into()], ..Default::default() };
    let stream = context.get_or_create_stream(stream).await.expect("a stream");
    let consumer = PullConfig {
        durable_name: Some("reader".into()),
        ack_policy: AckPolicy::Explicit,
        // What was delivered and not acked in one life comes again in the next.
        ack_wait: Duration::from_secs(1),
        ..Default::default()
    };
    let consumer = stream.get_or_create_consumer("reader", consumer).await.expect("a consumer");
    (stream, consumer)
}

/// Publishes in groups and acks what it pulls, until it is dropped.
async fn work(context: &Context, consumer: &Consumer<PullConfig>, ledger: &mut Ledger) {
    loop {
        let first = ledger.sent;
        ledger.sent += IN_FLIGHT as u64;
        let publishes = (first..ledger.sent).map(|number| async move {
            let payload = format!("message {number}");
            let ack = context.publish(format!("load.{}", number % 7), payload.clone().into()).await;
            Some((ack.ok()?.await.ok()?.sequence, payload))
        });
        let mut publishes = futures_util::stream::iter(publishes).buffer_unordered(IN_FLIGHT);
        while let Some(acknowledged) = publishes.next().await {
            ledger.published.extend(acknowledged);
        }
        take(consumer, IN_FLIGHT / 2, ledger).await;
    }
}

/// Pulls some, and acks each with a confirmation. Returns how many came.
async fn take(consumer: &Consumer<PullConfig>, most: usize, ledger: &mut Ledger) -> usize {
    let Ok(mut messages) = consumer.fetch().max_messages(most).messages().await else { return 0 };
    let mut came = 0;
    while let Some(Ok(message)) = messages.next().await {
        came += 1;
        let seq = message.info().expect("a delivery says what it is").stream_sequence;
        if ledger.acked.contains(&seq) {
            ledger.returned.push(seq);
        }
        if message.double_ack().await.is_ok() {
            ledger.acked.insert(seq);
        }
    }
    came
}

/// Every acknowledged publish is where its ack said.
async fn check(stream: &Stream, ledger: &Ledger) {
    for (seq, payload) in &ledger.published {
        let message = stream.get_raw_message(*seq).await;
        let message =
            message.unwrap_or_else(|error| panic!("{seq}, {payload:?}: acknowledged and gone: {error}"));
        assert_eq!(message.payload, payload.as_bytes(), "at {seq}");
    }
}

/// Reads what is left: in the end, every stored message was acked.
async fn rest(stream: &Stream, consumer: &Consumer<PullConfig>, ledger: &mut Ledger) {
    let last = stream.get_info().await.expect("the stream's state").state.last_sequence;
    let started = tokio::time::Instant::now();
    while (ledger.acked.len() as u64) < last {
        // What a life left unacked comes back when its wait is over.
        if take(consumer, 500, ledger).await > 0 {
            continue;
        }
        let missing = || (1..=last).filter(|seq| !ledger.acked.contains(seq)).take(10).collect::<Vec<_>>();
        // An ack that was done and whose confirmation was lost: the consumer is right, and we do not know.
        let info = consumer.get_info().await.expect("the consumer's state");
        if info.num_pending == 0 && info.num_ack_pending == 0 {
            assert_eq!(info.ack_floor.stream_sequence, last);
            return;
        }
        assert!(started.elapsed() < PATIENCE * 12, "never delivered: {:?}", missing());
    }
}
