//! A real server, spoken to through plain requests.

use crate::nats_server::{NatsServer, original, patience::eventually};
use crate::side::{PATIENCE, Seen, Side, is_about_consumer};
use async_nats::{Client, HeaderMap, RequestErrorKind, Subscriber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use cloudlysis_core::Wall;
use cloudlysis_core::jetstream::api::{
    ApiError, ConsumerInfo, MessageGet, Page, PullRequest, StreamConfig, StreamInfo,
};
use cloudlysis_core::jetstream::{
    AckSubject, Answer, ConsumerAction, DirectMessage, DirectPlace, DirectStatus, MessageBy, Publish,
    Request, StoredMessage,
};
use cloudlysis_core::wire::header_block::HeaderBlock;
use cloudlysis_core::wire::headers::Headers;
use futures_util::StreamExt;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

/// After this long an ack is not confirmed any more: the server answers within a millisecond.
const UNCONFIRMED: Duration = Duration::from_millis(500);

// Dropped in this order: the process, then its files.
pub(crate) struct Server {
    client: Client,
    /// Everything the server tells whoever listens.
    advisories: Subscriber,
    nats: NatsServer,
    started: Instant,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let nats = NatsServer::start(original(), dir.path()).await;
        let (client, advisories) = connect(&nats).await;
        Self { client, advisories, nats, started: Instant::now(), _dir: dir }
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

async fn connect(nats: &NatsServer) -> (Client, Subscriber) {
    let url = nats.url();
    let client = eventually("a connection", PATIENCE, async || {
        async_nats::connect(&url).await.map_err(|error| error.to_string())
    })
    .await;
    let advisories = client.subscribe("$JS.EVENT.>").await.expect("subscribed");
    client.flush().await.expect("flushed");
    (client, advisories)
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
        Request::AccountInfo => ("INFO".into(), Value::Null),
        Request::StreamCreate { config, pedantic } => {
            (format!("STREAM.CREATE.{}", config.name), with_pedantic(config, *pedantic))
        }
        Request::StreamUpdate { config, pedantic } => {
            (format!("STREAM.UPDATE.{}", config.name), with_pedantic(config, *pedantic))
        }
        Request::StreamInfo { stream, subjects_filter, offset, deleted_details } => {
            let body = json!({
                "subjects_filter": subjects_filter,
                "offset": offset,
                "deleted_details": deleted_details,
            });
            (format!("STREAM.INFO.{stream}"), body)
        }
        Request::StreamDelete { stream } => (format!("STREAM.DELETE.{stream}"), Value::Null),
        Request::StreamSnapshot { .. } | Request::StreamRestore { .. } => {
            unreachable!("archives have a test of their own, among those of nodes")
        }
        Request::StreamPurge { stream, filter, seq, keep } => {
            let body = json!({ "filter": filter, "seq": seq, "keep": keep });
            (format!("STREAM.PURGE.{stream}"), body)
        }
        Request::StreamNames { subject, offset } => {
            ("STREAM.NAMES".into(), json!({ "subject": subject, "offset": offset }))
        }
        Request::StreamList { subject, offset } => {
            ("STREAM.LIST".into(), json!({ "subject": subject, "offset": offset }))
        }
        Request::MessageGet { stream, by } => (format!("STREAM.MSG.GET.{stream}"), which(by)),
        Request::DirectGet { .. } => unreachable!("not answered with JSON"),
        Request::MessageDelete { stream, seq } => {
            (format!("STREAM.MSG.DELETE.{stream}"), json!({ "seq": seq }))
        }
        Request::ConsumerCreate { stream, config, action, pedantic } => {
            let action = match action {
                ConsumerAction::CreateOrUpdate => "",
                ConsumerAction::Create => "create",
                ConsumerAction::Update => "update",
            };
            let body =
                json!({ "stream_name": stream, "config": config, "action": action, "pedantic": pedantic });
            match config.durable_name.as_ref().or(config.name.as_ref()) {
                Some(name) => (format!("CONSUMER.CREATE.{stream}.{name}"), body),
                None => (format!("CONSUMER.CREATE.{stream}"), body),
            }
        }
        Request::ConsumerImpossible { .. } => unreachable!("only a wire can say such a thing"),
        Request::ConsumerInfo { stream, consumer } => {
            (format!("CONSUMER.INFO.{stream}.{consumer}"), Value::Null)
        }
        Request::ConsumerPause { stream, consumer, pause_until } => {
            let body = pause_until.as_ref().map_or(Value::Null, |at| json!({ "pause_until": at }));
            (format!("CONSUMER.PAUSE.{stream}.{consumer}"), body)
        }
        Request::ConsumerReset { stream, consumer, seq } => {
            let body = seq.map_or(Value::Null, |seq| json!({ "seq": seq }));
            (format!("CONSUMER.RESET.{stream}.{consumer}"), body)
        }
        Request::ConsumerUnpin { stream, consumer, group } => {
            (format!("CONSUMER.UNPIN.{stream}.{consumer}"), json!({ "group": group }))
        }
        Request::ConsumerDelete { stream, consumer } => {
            (format!("CONSUMER.DELETE.{stream}.{consumer}"), Value::Null)
        }
        Request::ConsumerNames { stream, offset } => {
            (format!("CONSUMER.NAMES.{stream}"), json!({ "offset": offset }))
        }
        Request::ConsumerList { stream, offset } => {
            (format!("CONSUMER.LIST.{stream}"), json!({ "offset": offset }))
        }
    }
}

fn which(by: &MessageBy) -> Value {
    match by {
        MessageBy::Seq(seq) => json!({ "seq": seq }),
        MessageBy::LastBySubject(subject) => json!({ "last_by_subj": subject }),
        MessageBy::NextBySubject { subject, seq } => json!({ "next_by_subj": subject, "seq": seq }),
        MessageBy::NextByTime { subject, start } => {
            json!({ "next_by_subj": subject, "start_time": start.rfc3339() })
        }
    }
}

/// A message as a direct get answers: what the server adds to its headers says where it is stored.
fn stored(answer: &async_nats::Message) -> Answer {
    let mut headers = pairs(answer.headers.as_ref());
    let mut take = |name: &str| {
        let at = headers.iter().position(|(own, _)| own == name)?;
        Some(headers.remove(at).1)
    };
    let number = |text: Option<String>| text.map(|text| text.parse().expect("a number"));
    let (stream, subject, seq) = (take("Nats-Stream"), take("Nats-Subject"), number(take("Nats-Sequence")));
    let place = number(take("Nats-Num-Pending")).zip(number(take("Nats-Last-Sequence")));
    let no_hdr = take("Nats-Time-Stamp").is_none();
    let message = StoredMessage {
        seq: seq.unwrap_or_default(),
        subject: subject.unwrap_or_default().into(),
        headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        payload: answer.payload.clone(),
        stored_at: Wall::default(),
    };
    let place = place.map(|(num_pending, last_seq)| DirectPlace { num_pending, last_seq });
    Answer::Direct(Box::new(DirectMessage { stream: stream.unwrap_or_default(), message, place, no_hdr }))
}

fn direct_status(code: u16, answer: &async_nats::Message) -> DirectStatus {
    let headers = pairs(answer.headers.as_ref());
    let number = |name: &str| {
        let (_, value) = headers.iter().find(|(own, _)| own == name)?;
        value.parse().ok()
    };
    match (code, answer.description.as_deref().unwrap_or_default()) {
        (404, "Message Not Found") => DirectStatus::NotFound,
        (404, "No Results") => DirectStatus::NoResults,
        (413, "Too Many Results") => DirectStatus::TooManyResults,
        (408, "Empty Request") => DirectStatus::EmptyRequest,
        (408, "Bad Request") => DirectStatus::BadRequest,
        (204, "EOB") => DirectStatus::EndOfBatch {
            num_pending: number("Nats-Num-Pending").expect("a number"),
            last_seq: number("Nats-Last-Sequence").expect("a number"),
            up_to_seq: number("Nats-UpTo-Sequence"),
        },
        other => panic!("{other:?}"),
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"))
}

fn answer(request: &Request, answer: &Value) -> Answer {
    if !answer["error"].is_null() {
        return Answer::Failed(read::<ApiError>(&answer["error"]));
    }
    match request {
        Request::AccountInfo => Answer::Account(Box::new(read(answer))),
        Request::StreamCreate { .. } | Request::StreamUpdate { .. } => {
            Answer::Stream(Box::new(read::<StreamInfo>(answer)))
        }
        Request::StreamInfo { .. } => Answer::StreamDescribed { info: read(answer), subjects: read(answer) },
        Request::StreamDelete { .. } => Answer::StreamDeleted,
        Request::StreamPurge { .. } => Answer::Purged { messages: read(&answer["purged"]) },
        Request::StreamNames { .. } => Answer::StreamNames(page(answer, "streams")),
        Request::StreamList { .. } => Answer::Streams(page(answer, "streams")),
        Request::MessageGet { .. } => Answer::Message(Box::new(message(&answer["message"]))),
        Request::StreamSnapshot { .. } | Request::StreamRestore { .. } => unreachable!("never asked"),
        Request::DirectGet { .. } | Request::ConsumerImpossible { .. } => {
            unreachable!("not answered with JSON")
        }
        Request::MessageDelete { .. } => Answer::MessageDeleted,
        Request::ConsumerCreate { .. } | Request::ConsumerInfo { .. } => {
            Answer::Consumer(Box::new(read::<ConsumerInfo>(answer)))
        }
        Request::ConsumerPause { .. } => Answer::ConsumerPaused {
            is_paused: read(&answer["paused"]),
            pause_until: read(&answer["pause_until"]),
            pause_remaining_ns: answer["pause_remaining"].as_u64().unwrap_or(0),
        },
        Request::ConsumerReset { .. } => Answer::ConsumerReset {
            info: Box::new(read::<ConsumerInfo>(answer)),
            reset_seq: read(&answer["reset_seq"]),
        },
        Request::ConsumerUnpin { .. } => Answer::ConsumerUnpinned,
        Request::ConsumerDelete { .. } => Answer::ConsumerDeleted,
        Request::ConsumerNames { .. } => Answer::ConsumerNames(page(answer, "consumers")),
        Request::ConsumerList { .. } => Answer::Consumers(page(answer, "consumers")),
    }
}

fn page<T: DeserializeOwned>(answer: &Value, items: &str) -> Page<T> {
    Page { paging: read(answer), items: read::<Option<Vec<T>>>(&answer[items]).unwrap_or_default() }
}

fn with_pedantic(config: &StreamConfig, pedantic: bool) -> Value {
    let mut body = json!(config);
    body["pedantic"] = pedantic.into();
    body
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

    async fn publish(&mut self, publish: Publish) -> Option<Answer> {
        let Publish { subject, headers, payload, .. } = publish;
        let request = self
            .client
            .request_with_headers(subject.clone(), header_map(&headers.to_headers()), payload)
            .await;
        let acked = match request {
            Ok(acked) => acked,
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                return Some(Answer::NoResponders { subject });
            }
            Err(error) if error.kind() == RequestErrorKind::TimedOut => return None,
            Err(error) => panic!("{subject}: {error}"),
        };
        if acked.payload.is_empty() {
            return Some(Answer::Staged);
        }
        let ack: Value = serde_json::from_slice(&acked.payload).expect("JSON");
        let stream = read(&ack["stream"]);
        if !ack["error"].is_null() {
            return Some(Answer::NotPublished { stream, error: read(&ack["error"]) });
        }
        if !ack["batch"].is_null() {
            let (seq, batch, count) = (read(&ack["seq"]), read(&ack["batch"]), read(&ack["count"]));
            return Some(Answer::BatchPublished { stream, seq, batch, count });
        }
        Some(Answer::Published {
            stream,
            seq: read(&ack["seq"]),
            duplicate: ack["duplicate"] == true,
            val: read(&ack["val"]),
        })
    }

    async fn request(&mut self, request: Request) -> Answer {
        let (endpoint, body) = wire(&request);
        answer(&request, &self.ask(&endpoint, &body).await)
    }

    async fn read_directly(&mut self, stream: &str, get: MessageGet) -> Vec<Answer> {
        let (inbox, subject) = (self.client.new_inbox(), format!("$JS.API.DIRECT.GET.{stream}"));
        let mut answers = self.client.subscribe(inbox.clone()).await.expect("subscribed");
        let is_several = get.batch > 0 || !get.multi_last.is_empty();
        let body = serde_json::to_vec(&get).expect("JSON");
        self.client.publish_with_reply(subject.clone(), inbox, body.into()).await.expect("sent");
        let mut seen = Vec::new();
        loop {
            let answer = tokio::time::timeout(PATIENCE, answers.next()).await.expect("an answer in time");
            let answer = answer.expect("an open subscription");
            match answer.status {
                None => seen.push(stored(&answer)),
                Some(status) if status.as_u16() == 503 => {
                    seen.push(Answer::NoResponders { subject });
                    return seen;
                }
                Some(status) => {
                    seen.push(Answer::DirectStatus(direct_status(status.as_u16(), &answer)));
                    return seen;
                }
            }
            if !is_several {
                return seen;
            }
        }
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

    async fn listen(&mut self, subject: &str) -> Subscriber {
        let subscription = self.client.subscribe(subject.to_owned()).await.expect("subscribed");
        self.client.flush().await.expect("flushed");
        // The server tells its consumers in tasks of their own.
        self.pass(Duration::from_millis(20)).await;
        subscription
    }

    async fn leave(&mut self, mut listening: Subscriber) {
        listening.unsubscribe().await.expect("unsubscribed");
        self.client.flush().await.expect("flushed");
        self.pass(Duration::from_millis(20)).await;
    }

    async fn confirm(&mut self, subject: &str) {
        self.client.publish(subject.to_owned(), Vec::new().into()).await.expect("sent");
        self.client.flush().await.expect("flushed");
    }

    async fn next(&mut self, pull: &mut Subscriber, within: Duration) -> Option<Seen> {
        let message = tokio::time::timeout(within, pull.next()).await.ok()??;
        if let Some(status) = message.status {
            let mut headers = pairs(message.headers.as_ref());
            headers.retain(|(name, _)| name != "Nats-Subject");
            let description = message.description.unwrap_or_default();
            let reply = message.reply.map(|reply| reply.to_string());
            return Some(Seen::Status { code: status.as_u16(), description, headers, reply });
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

    async fn ack_and_pull(&mut self, delivery: &AckSubject, payload: &str) -> Subscriber {
        let inbox = self.client.new_inbox();
        let subscription = self.client.subscribe(inbox.clone()).await.expect("subscribed");
        let payload = payload.to_owned().into();
        self.client.publish_with_reply(delivery.to_string(), inbox, payload).await.expect("sent");
        self.client.flush().await.expect("flushed");
        subscription
    }

    async fn advisory(&mut self, within: Duration) -> Option<(String, Value)> {
        let told = async {
            loop {
                let told = self.advisories.next().await?;
                if is_about_consumer(&told.subject) {
                    return Some((
                        told.subject.to_string(),
                        serde_json::from_slice(&told.payload).expect("JSON"),
                    ));
                }
            }
        };
        tokio::time::timeout(within, told).await.ok()?
    }

    fn wall(&self) -> Wall {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        Wall::from_ms(u64::try_from(since.as_millis()).expect("not that late"))
    }

    async fn pass(&mut self, time: Duration) {
        tokio::time::sleep(time).await;
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    async fn restart(&mut self) {
        self.nats.restart().await;
        (self.client, self.advisories) = connect(&self.nats).await;
    }

    async fn crash(&mut self) {
        self.nats.kill();
        self.restart().await;
    }
}
