//! A real server, spoken to through plain requests.

use crate::nats_server::{NatsServer, patience::eventually};
use crate::side::{PATIENCE, Seen, Side};
use async_nats::{Client, HeaderMap, RequestErrorKind, Subscriber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloudlysis_core::Wall;
use cloudlysis_core::jetstream::api::{ApiError, ConsumerInfo, PullRequest, StreamInfo};
use cloudlysis_core::jetstream::{
    AckSubject, Answer, ConsumerAction, MessageBy, Publish, Request, StoredMessage,
};
use cloudlysis_core::wire::header_block::HeaderBlock;
use cloudlysis_core::wire::headers::Headers;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// After this long an ack is not confirmed any more: the server answers within a millisecond.
const UNCONFIRMED: Duration = Duration::from_millis(500);

// Dropped in this order: the process, then its files.
pub(crate) struct Server {
    client: Client,
    nats: NatsServer,
    started: Instant,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let nats = NatsServer::start(dir.path()).await;
        let client = connect(&nats).await;
        Self { client, nats, started: Instant::now(), _dir: dir }
    }

    async fn ask(&self, endpoint: &str, body: &Value) -> Value {
        // Where nothing is expected, not even `null` may be said.
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let request = self.client.request(format!("$JS.API.{endpoint}"), body.into());
        let answer = tokio::time::timeout(PATIENCE, request).await.expect("an answer in time");
        let answer = answer.unwrap_or_else(|error| panic!("{endpoint}: {error}"));
        serde_json::from_slice(&answer.payload).expect("JSON")
    }
}

impl Server {
    async fn get_directly(&self, stream: &str, by: &MessageBy) -> Answer {
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        match self.client.request(subject.clone(), which(by).to_string().into()).await {
            Ok(answer) => match answer.status.map(|status| status.as_u16()) {
                None => stored(&answer),
                Some(404) if answer.description.as_deref() == Some("Message Not Found") => {
                    Answer::NotFoundDirectly
                }
                Some(_) => panic!("{answer:?}"),
            },
            Err(error) if error.kind() == RequestErrorKind::NoResponders => Answer::NoResponders { subject },
            Err(error) => panic!("{subject}: {error}"),
        }
    }
}

async fn connect(nats: &NatsServer) -> Client {
    let url = nats.url();
    eventually("a connection", PATIENCE, async || {
        async_nats::connect(&url).await.map_err(|error| error.to_string())
    })
    .await
}

fn header_map(headers: &Headers) -> HeaderMap {
    let mut out = HeaderMap::new();
    headers.iter().for_each(|(name, value)| out.append(name, value));
    out
}

fn pairs(headers: Option<&HeaderMap>) -> Vec<(String, String)> {
    let all = headers.into_iter().flat_map(HeaderMap::iter);
    all.flat_map(|(name, values)| values.iter().map(move |value| (name.to_string(), value.to_string())))
        .collect()
}

/// Where a request goes and what it says.
fn wire(request: &Request) -> (String, Value) {
    match request {
        Request::StreamCreate(config) => (format!("STREAM.CREATE.{}", config.name), json!(config)),
        Request::StreamUpdate(config) => (format!("STREAM.UPDATE.{}", config.name), json!(config)),
        Request::StreamInfo { stream, subjects_filter, deleted_details } => {
            let body = json!({ "subjects_filter": subjects_filter, "deleted_details": deleted_details });
            (format!("STREAM.INFO.{stream}"), body)
        }
        Request::StreamDelete { stream } => (format!("STREAM.DELETE.{stream}"), Value::Null),
        Request::StreamPurge { stream, filter, seq, keep } => {
            let body = json!({ "filter": filter, "seq": seq, "keep": keep });
            (format!("STREAM.PURGE.{stream}"), body)
        }
        Request::StreamNames { subject } => ("STREAM.NAMES".into(), json!({ "subject": subject })),
        Request::StreamList => ("STREAM.LIST".into(), Value::Null),
        Request::MessageGet { stream, by } => (format!("STREAM.MSG.GET.{stream}"), which(by)),
        Request::DirectGet { .. } => unreachable!("not answered with JSON"),
        Request::MessageDelete { stream, seq } => {
            (format!("STREAM.MSG.DELETE.{stream}"), json!({ "seq": seq }))
        }
        Request::ConsumerCreate { stream, config, action } => {
            let action = match action {
                ConsumerAction::CreateOrUpdate => "",
                ConsumerAction::Create => "create",
                ConsumerAction::Update => "update",
            };
            let name = config.durable_name.as_ref().or(config.name.as_ref()).expect("a name");
            let body = json!({ "stream_name": stream, "config": config, "action": action });
            (format!("CONSUMER.CREATE.{stream}.{name}"), body)
        }
        Request::ConsumerInfo { stream, consumer } => {
            (format!("CONSUMER.INFO.{stream}.{consumer}"), Value::Null)
        }
        Request::ConsumerDelete { stream, consumer } => {
            (format!("CONSUMER.DELETE.{stream}.{consumer}"), Value::Null)
        }
        Request::ConsumerNames { stream } => (format!("CONSUMER.NAMES.{stream}"), Value::Null),
        Request::ConsumerList { stream } => (format!("CONSUMER.LIST.{stream}"), Value::Null),
    }
}

fn which(by: &MessageBy) -> Value {
    match by {
        MessageBy::Seq(seq) => json!({ "seq": seq }),
        MessageBy::LastBySubject(subject) => json!({ "last_by_subj": subject }),
        MessageBy::NextBySubject { subject, seq } => json!({ "next_by_subj": subject, "seq": seq }),
    }
}

/// A message as a direct get answers: what the server adds to its headers says where it is stored.
fn stored(answer: &async_nats::Message) -> Answer {
    let mut headers = pairs(answer.headers.as_ref());
    let mut take = |name: &str| {
        let at = headers.iter().position(|(own, _)| own == name).expect("a header of the server");
        headers.remove(at).1
    };
    let (stream, subject, seq) = (take("Nats-Stream"), take("Nats-Subject"), take("Nats-Sequence"));
    let at = take("Nats-Time-Stamp");
    assert!(at.ends_with('Z'), "{at}");
    let message = StoredMessage {
        seq: seq.parse().expect("a number"),
        subject: subject.into(),
        headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        payload: answer.payload.clone(),
        stored_at: Wall::default(),
    };
    Answer::Direct { stream, message: Box::new(message) }
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn answer(request: &Request, answer: &Value) -> Answer {
    if !answer["error"].is_null() {
        return Answer::Failed(read::<ApiError>(&answer["error"]));
    }
    match request {
        Request::StreamCreate(_) | Request::StreamUpdate(_) | Request::StreamInfo { .. } => {
            Answer::Stream(Box::new(read::<StreamInfo>(answer)))
        }
        Request::StreamDelete { .. } => Answer::StreamDeleted,
        Request::StreamPurge { .. } => Answer::Purged { messages: read(&answer["purged"]) },
        Request::StreamNames { .. } => {
            Answer::StreamNames(read::<Option<Vec<String>>>(&answer["streams"]).unwrap_or_default())
        }
        Request::StreamList => Answer::Streams(read(&answer["streams"])),
        Request::MessageGet { .. } => Answer::Message(Box::new(message(&answer["message"]))),
        Request::DirectGet { .. } => unreachable!("not answered with JSON"),
        Request::MessageDelete { .. } => Answer::MessageDeleted,
        Request::ConsumerCreate { .. } | Request::ConsumerInfo { .. } => {
            Answer::Consumer(Box::new(read::<ConsumerInfo>(answer)))
        }
        Request::ConsumerDelete { .. } => Answer::ConsumerDeleted,
        Request::ConsumerNames { .. } => Answer::ConsumerNames(read(&answer["consumers"])),
        Request::ConsumerList { .. } => Answer::Consumers(read(&answer["consumers"])),
    }
}

fn message(value: &Value) -> StoredMessage {
    let bytes = |field: &str| BASE64.decode(value[field].as_str().unwrap_or_default()).expect("base64");
    StoredMessage {
        seq: read(&value["seq"]),
        subject: read::<String>(&value["subject"]).into(),
        headers: HeaderBlock::from_wire(bytes("hdrs").into()),
        payload: bytes("data").into(),
        stored_at: Wall::default(),
    }
}

impl Side for Server {
    type Pull = Subscriber;

    async fn publish(&mut self, publish: Publish) -> Answer {
        let Publish { subject, headers, payload, .. } = publish;
        let request = self
            .client
            .request_with_headers(subject.clone(), header_map(&headers.to_headers()), payload)
            .await;
        let acked = match request {
            Ok(acked) => acked,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                return Answer::NoResponders { subject };
            }
            Err(error) => panic!("{subject}: {error}"),
        };
        let ack: Value = serde_json::from_slice(&acked.payload).expect("JSON");
        let stream = read(&ack["stream"]);
        if !ack["error"].is_null() {
            return Answer::NotPublished { stream, error: read(&ack["error"]) };
        }
        Answer::Published { stream, seq: read(&ack["seq"]), duplicate: ack["duplicate"] == true }
    }

    async fn request(&mut self, request: Request) -> Answer {
        if let Request::DirectGet { stream, by } = &request {
            return self.get_directly(stream, by).await;
        }
        let (endpoint, body) = wire(&request);
        answer(&request, &self.ask(&endpoint, &body).await)
    }

    async fn pull(&mut self, stream: &str, consumer: &str, request: PullRequest) -> Subscriber {
        let inbox = self.client.new_inbox();
        let subscription = self.client.subscribe(inbox.clone()).await.expect("subscribed");
        let waiting = async |client: &Self| {
            let info = client.ask(&format!("CONSUMER.INFO.{stream}.{consumer}"), &Value::Null).await;
            (info["num_waiting"].as_u64(), info["delivered"]["consumer_seq"].as_u64())
        };
        let before = waiting(self).await;
        let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
        let body = serde_json::to_vec(&request).expect("JSON");
        self.client.publish_with_reply(subject, inbox, body.into()).await.expect("sent");
        self.client.flush().await.expect("flushed");
        // The server takes pulls in a task of its own. One that is refused, or served at once, changes nothing that
        // can be seen but on its inbox.
        for _ in 0..10 {
            if waiting(self).await != before {
                break;
            }
        }
        subscription
    }

    async fn next(&mut self, pull: &mut Subscriber, within: Duration) -> Option<Seen> {
        let message = tokio::time::timeout(within, pull.next()).await.ok()??;
        if let Some(status) = message.status {
            let mut headers = pairs(message.headers.as_ref());
            headers.retain(|(name, _)| name != "Nats-Subject");
            let description = message.description.unwrap_or_default();
            return Some(Seen::Status { code: status.as_u16(), description, headers });
        }
        let reply = message.reply.expect("an ack subject");
        Some(Seen::Message {
            ack: AckSubject::parse(&reply).unwrap_or_else(|| panic!("{reply} is no ack subject")),
            subject: message.subject.to_string(),
            headers: pairs(message.headers.as_ref()),
            payload: String::from_utf8_lossy(&message.payload).into_owned(),
        })
    }

    async fn ack(&mut self, delivery: &AckSubject, payload: &str) -> Option<Answer> {
        let request = async_nats::Request::new().payload(payload.to_owned().into());
        let request = request.timeout(Some(UNCONFIRMED));
        match self.client.send_request(delivery.to_string(), request).await {
            Ok(confirmed) => {
                assert!(confirmed.payload.is_empty(), "{confirmed:?}");
                Some(Answer::AckProcessed)
            }
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => {
                    Some(Answer::NoResponders { subject: delivery.to_string() })
                }
                RequestErrorKind::TimedOut => None,
                RequestErrorKind::InvalidSubject
                | RequestErrorKind::MaxPayloadExceeded
                | RequestErrorKind::Other => panic!("{error}"),
            },
        }
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    async fn restart(&mut self) {
        self.nats.restart().await;
        self.client = connect(&self.nats).await;
    }

    async fn crash(&mut self) {
        self.nats.kill();
        self.restart().await;
    }
}
