//! What a gate asks for, over real NATS: inspect, position, fetch, ack.
//!
//! ```text
//! Position ─► subscribe <inbox>.* ─► delete durable ─► create durable at checkpoint + 1
//! Fetch    ─► MSG.NEXT with reply <inbox>.<pull>   ─► deliveries, heartbeats, status  ─► reports
//! ```
//!
//! The pull loop is ours: every request has an expiry and a heartbeat, one wildcard subscription per generation keeps
//! the order of arrival across pulls. A status names its pull by the subject it arrives on; a delivery keeps the subject
//! it was published on and names none.

use crate::broker::{ApiAnswer, Broker, Which, core_headers};
use async_nats::StatusCode;
use bytes::Bytes;
use cloudlysis_core::gate::{
    ConsumerFacts, Delivery, Effect, Input, NoStream, PositionRefused, PullEnd, Rival, Sighting, StreamFacts,
    Witness,
};
use cloudlysis_core::jetstream::api::{ConsumerConfig, ConsumerInfo, StreamInfo, err_code};
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::wire::headers::NATS_MSG_ID;
use cloudlysis_core::wire::stream::{
    ConsumerName, OWNER_METADATA, PlatformStream, TENANTS_METADATA, incarnation,
};
use cloudlysis_core::{Outcome, Token};
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::future::Future;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// What an edge reports to its gate.
#[derive(Debug)]
pub enum Report {
    /// A message.
    Delivered(Delivery),
    /// Anything else.
    Input(Input),
}

/// Where reports go; waits while the partition is busy.
pub trait ReportSink: Clone + Send + Sync + 'static {
    /// Hands a report over; `false` when nobody listens any more.
    fn report(&self, report: Report) -> impl Future<Output = bool> + Send;
}

/// The edge of one gate.
#[derive(Debug)]
pub struct ConsumerEdge<S> {
    broker: Broker,
    sink: S,
    runtime: Handle,
    listening: BTreeMap<Token, Listening>,
}

#[derive(Debug)]
struct Listening {
    stream: PlatformStream,
    consumer: String,
    inbox: String,
    task: JoinHandle<()>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<S: ReportSink> ConsumerEdge<S> {
    /// An edge whose work runs on `runtime` and whose reports go to `sink`.
    pub const fn new(broker: Broker, sink: S, runtime: Handle) -> Self {
        Self { broker, sink, runtime, listening: BTreeMap::new() }
    }

    /// Does what the gate asks for; what comes of it is reported.
    pub fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Inspect { token, stream, consumer, look_at, tenants } => {
                let (broker, sink) = (self.broker.clone(), self.sink.clone());
                self.runtime.spawn(async move {
                    let outcome =
                        inspect(&broker, stream, Some((&consumer, tenants.as_ref())), &look_at).await;
                    sink.report(Report::Input(Input::Inspected { token, outcome })).await;
                });
            }
            Effect::Position { token, stream, consumer } => self.position(token, stream, *consumer),
            Effect::Fetch { generation, pull, request } => {
                let Some(listening) = self.listening.get(&generation) else { return };
                let subject =
                    format!("$JS.API.CONSUMER.MSG.NEXT.{}.{}", listening.stream, listening.consumer);
                let reply = format!("{}.{}-{}", listening.inbox, pull.incarnation, pull.seq);
                let body = serde_json::to_vec(&request).expect("a pull request serialises");
                let broker = self.broker.clone();
                self.runtime.spawn(async move { broker.send_with_reply(subject, reply, body.into()).await });
            }
            Effect::Ack { ack } => self.settle(ack, Bytes::from_static(b"+ACK")),
            Effect::Term { ack, reason } => {
                let reason: String = reason.chars().filter(|c| !c.is_control()).take(200).collect();
                self.settle(ack, Bytes::from(format!("+TERM {reason}")));
            }
        }
    }

    fn settle(&self, ack: String, payload: Bytes) {
        let broker = self.broker.clone();
        let mut sending = Box::pin(async move { broker.send(ack, payload).await });
        // There is room in the client's queue almost always: a task of its own for every ack would cost more than the ack.
        if sending.as_mut().now_or_never().is_none() {
            self.runtime.spawn(sending);
        }
    }

    fn position(&mut self, token: Token, stream: PlatformStream, config: ConsumerConfig) {
        // What is said to earlier generations is no longer heard.
        self.listening.clear();
        let (broker, sink) = (self.broker.clone(), self.sink.clone());
        let inbox = broker.connection().client().new_inbox();
        let consumer = config.durable_name.clone().unwrap_or_default();
        let (subject, name) = (format!("{inbox}.*"), consumer.clone());
        let task = self.runtime.spawn(async move {
            let report = |outcome| Report::Input(Input::Positioned { token, outcome });
            let Ok(mut subscription) = broker.connection().client().subscribe(subject).await else {
                sink.report(report(Outcome::Unknown)).await;
                return;
            };
            let outcome = create(&broker, stream, &name, config).await;
            let created = matches!(outcome, Outcome::Done(()));
            if !sink.report(report(outcome)).await || !created {
                return;
            }
            while let Some(message) = subscription.next().await {
                if let Some(report) = read(token, message)
                    && !sink.report(report).await
                {
                    return;
                }
            }
        });
        self.listening.insert(token, Listening { stream, consumer, inbox, task });
    }
}

/// Reads a stream's identity and extent, our consumer's, what stands at some sequences, and whether another partition's
/// consumer has any of these tenants.
pub async fn inspect(
    broker: &Broker,
    stream: PlatformStream,
    consumer: Option<(&ConsumerName, Option<&Tenants>)>,
    look_at: &[u64],
) -> Outcome<StreamFacts, NoStream> {
    let info = match broker.api::<StreamInfo>(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
        ApiAnswer::Ok(info) => info,
        ApiAnswer::Error(error) if error.err_code == err_code::STREAM_NOT_FOUND => {
            return Outcome::Refused(NoStream);
        }
        ApiAnswer::Error(_) | ApiAnswer::NoAnswer => return Outcome::Unknown,
    };
    let mut facts = StreamFacts {
        incarnation: incarnation(&info),
        first_seq: info.state.first_seq,
        last_seq: info.state.last_seq,
        messages: info.state.messages,
        found: Vec::new(),
        subjects: BTreeMap::new(),
        consumer: None,
        rival: None,
    };
    if let Some((consumer, tenants)) = consumer {
        let endpoint = format!("CONSUMER.INFO.{stream}.{consumer}");
        match broker.api::<ConsumerInfo>(&endpoint, &Value::Null).await {
            ApiAnswer::Ok(info) => {
                facts.consumer = Some(ConsumerFacts {
                    owner: info.config.metadata.get(OWNER_METADATA).cloned(),
                    ack_floor_seq: info.ack_floor.stream_seq,
                });
            }
            ApiAnswer::Error(error) if error.err_code == err_code::CONSUMER_NOT_FOUND => {}
            ApiAnswer::Error(_) | ApiAnswer::NoAnswer => return Outcome::Unknown,
        }
        if let Some(tenants) = tenants {
            match rival(broker, stream, consumer.as_str(), tenants).await {
                Some(found) => facts.rival = found,
                None => return Outcome::Unknown,
            }
        }
    }
    for seq in look_at {
        let ApiAnswer::Ok(message) = broker.message(stream.name(), Which::At(*seq)).await else {
            return Outcome::Unknown;
        };
        let witness = message.map(|message| {
            let own = Witness::of(&message.subject, &message.payload, message.stored_at_ns);
            facts.subjects.insert(*seq, message.subject.clone());
            own.identified(message.headers.get(NATS_MSG_ID))
        });
        facts.found.push(Sighting { seq: *seq, witness });
    }
    Outcome::Done(facts)
}

/// A consumer of another partition that has any of these tenants; `None` when the broker does not say.
async fn rival(
    broker: &Broker,
    stream: PlatformStream,
    own: &str,
    tenants: &Tenants,
) -> Option<Option<Rival>> {
    #[derive(Deserialize)]
    struct Page {
        total: usize,
        #[serde(default)]
        consumers: Option<Vec<ConsumerInfo>>,
    }
    let mut offset = 0;
    loop {
        let endpoint = format!("CONSUMER.LIST.{stream}");
        let ApiAnswer::Ok(Page { total, consumers }) =
            broker.api(&endpoint, &json!({ "offset": offset })).await
        else {
            return None;
        };
        let consumers = consumers.unwrap_or_default();
        let is_rival = |info: &ConsumerInfo| Rival::of(own, tenants, (&info.name, &info.config.metadata));
        let found = consumers.iter().find_map(is_rival);
        offset += consumers.len();
        if found.is_some() || consumers.is_empty() || offset >= total {
            return Some(found);
        }
    }
}

/// Replaces the durable by one that begins where the checkpoint says; unless another partition made one meanwhile that has
/// a tenant of ours.
async fn create(
    broker: &Broker,
    stream: PlatformStream,
    name: &str,
    config: ConsumerConfig,
) -> Outcome<(), PositionRefused> {
    #[derive(Serialize)]
    struct Create {
        stream_name: &'static str,
        config: ConsumerConfig,
        action: &'static str,
    }
    match broker.api::<Value>(&format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null).await {
        ApiAnswer::Ok(_) => {}
        ApiAnswer::Error(error) if error.err_code == err_code::CONSUMER_NOT_FOUND => {}
        ApiAnswer::Error(error) => return Outcome::Refused(PositionRefused { detail: error.description }),
        ApiAnswer::NoAnswer => return Outcome::Unknown,
    }
    let tenants = config.metadata.get(TENANTS_METADATA).and_then(|text| Tenants::decode(text));
    let body = Create { stream_name: stream.name(), config, action: "create" };
    match broker.api::<ConsumerInfo>(&format!("CONSUMER.CREATE.{stream}.{name}"), &body).await {
        ApiAnswer::Ok(_) => match rival(broker, stream, name, &tenants.unwrap_or_default()).await {
            Some(None) => Outcome::Done(()),
            Some(Some(Rival { consumer, tenants })) => {
                // It stays away when it looks again; ours must not keep the other one from binding until then.
                let _: ApiAnswer<Value> =
                    broker.api(&format!("CONSUMER.DELETE.{stream}.{name}"), &Value::Null).await;
                Outcome::Refused(PositionRefused { detail: format!("{consumer} has {tenants}, too") })
            }
            None => Outcome::Unknown,
        },
        ApiAnswer::Error(error) => {
            tracing::warn!(%stream, consumer = name, code = error.err_code, "consumer refused: {}", error.description);
            Outcome::Refused(PositionRefused { detail: error.description })
        }
        ApiAnswer::NoAnswer => Outcome::Unknown,
    }
}

/// Reads what arrived on the inbox of a generation.
fn read(generation: Token, message: async_nats::Message) -> Option<Report> {
    if let Some(status) = message.status {
        let description = message.description.as_deref().unwrap_or_default();
        if status == StatusCode::IDLE_HEARTBEAT {
            let headers = core_headers(message.headers.as_ref());
            let last_consumer_seq = headers.get("Nats-Last-Consumer")?.parse().ok()?;
            return Some(Report::Input(Input::Heartbeat { generation, last_consumer_seq }));
        }
        let pull = pull_of(&message.subject)?;
        let end = pull_end(status.as_u16(), description);
        return Some(Report::Input(Input::PullEnded { generation, pull, end }));
    }
    let ack = message.reply?.to_string();
    let AckTokens { stream_seq, consumer_seq, stored_at_ns, pending } = parse_ack(&ack)?;
    Some(Report::Delivered(Delivery {
        generation,
        // The inbox only routes: a delivery keeps the subject it was published on.
        subject: message.subject.to_string(),
        headers: core_headers(message.headers.as_ref()),
        payload: message.payload,
        stream_seq,
        stored_at_ns,
        consumer_seq,
        pending,
        ack,
    }))
}

fn pull_of(subject: &str) -> Option<Token> {
    let (incarnation, seq) = subject.rsplit('.').next()?.split_once('-')?;
    Some(Token { incarnation: incarnation.parse().ok()?, seq: seq.parse().ok()? })
}

/// What a status line says about a pull (`reference/jetstream.md` 1.5).
fn pull_end(status: u16, description: &str) -> PullEnd {
    match (status, description) {
        (404 | 408, _) => PullEnd::Served,
        (409, "Batch Completed" | "Message Size Exceeds MaxBytes") => PullEnd::Served,
        (409, "Leadership Change" | "Server Shutdown") => PullEnd::Moved,
        (409, "Consumer Deleted") | (503, _) => PullEnd::ConsumerGone,
        _ => PullEnd::Refused,
    }
}

struct AckTokens {
    stream_seq: u64,
    consumer_seq: u64,
    stored_at_ns: u64,
    pending: u64,
}

/// Reads `$JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>`; the longer form has
/// domain and account before the stream, and a token after the last.
fn parse_ack(ack: &str) -> Option<AckTokens> {
    let tokens: Vec<&str> = ack.strip_prefix("$JS.ACK.")?.split('.').collect();
    let numbers = match tokens.len() {
        7 => &tokens[2..],
        9.. => &tokens[4..],
        _ => return None,
    };
    let number = |at: usize| numbers.get(at)?.parse::<u64>().ok();
    let (stream_seq, consumer_seq) = (number(1)?, number(2)?);
    Some(AckTokens { stream_seq, consumer_seq, stored_at_ns: number(3)?, pending: number(4)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ack_subjects_of_both_forms_are_read() {
        let tokens = parse_ack("$JS.ACK.S.c.2.14.7.1795231876352476890.3").expect("nine tokens");
        assert_eq!((tokens.stream_seq, tokens.consumer_seq, tokens.pending), (14, 7, 3));
        assert_eq!(tokens.stored_at_ns, 1_795_231_876_352_476_890);
        let tokens =
            parse_ack("$JS.ACK.hub.ACCHASH.S.c.2.14.7.1795231876352476890.3.rand").expect("longer form");
        assert_eq!((tokens.stream_seq, tokens.consumer_seq, tokens.pending), (14, 7, 3));
        assert!(parse_ack("$JS.ACK.S.c.x").is_none());
        assert!(parse_ack("other").is_none());
    }

    #[test]
    fn every_status_says_what_to_do_with_the_pull() {
        for (status, description, end) in [
            (404, "No Messages", PullEnd::Served),
            (408, "Request Timeout", PullEnd::Served),
            (408, "Requests Pending", PullEnd::Served),
            (409, "Batch Completed", PullEnd::Served),
            (409, "Message Size Exceeds MaxBytes", PullEnd::Served),
            (409, "Leadership Change", PullEnd::Moved),
            (409, "Server Shutdown", PullEnd::Moved),
            (409, "Consumer Deleted", PullEnd::ConsumerGone),
            (409, "Consumer is push based", PullEnd::Refused),
            (409, "Exceeded MaxRequestBatch of 2", PullEnd::Refused),
            (503, "", PullEnd::ConsumerGone),
            (400, "Bad Request - heartbeat value too large", PullEnd::Refused),
            (423, "Nats-Pin-Id mismatch", PullEnd::Refused),
        ] {
            assert_eq!(pull_end(status, description), end, "{status} {description}");
        }
    }

    #[test]
    fn pulls_are_named_by_the_last_token() {
        assert_eq!(pull_of("_INBOX.abc.7-42"), Some(Token { incarnation: 7, seq: 42 }));
        assert_eq!(pull_of("_INBOX.abc"), None);
    }
}
