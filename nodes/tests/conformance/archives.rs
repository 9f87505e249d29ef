//! Archives cross between the two servers: what one archives the other restores, with everything in it.
//!
//! The client here is what a backup tool does, over the wire and nothing else: it acknowledges the chunks it gets, keeps the
//! configuration from the answer, and sends the chunks back.

use crate::client::{Client, Message};
use crate::nats_server::{NatsServer, original};
use crate::servers::Ours;
use serde_json::{Value, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);
const MESSAGES: u64 = 400;

/// A server, and somebody who talks to it.
struct Talk {
    client: Client,
    asked: usize,
}

/// A stream outside of a server.
struct Archive {
    config: Value,
    bytes: Vec<u8>,
    /// The headers of the message that ended it.
    end: String,
}

impl Talk {
    async fn with(port: u16) -> Self {
        let mut client = Client::connect(port).await;
        client.subscribe("_INBOX.t.*").await;
        client.subscribe("archive").await;
        client.subscribe("pulled").await;
        client.flush().await;
        Self { client, asked: 0 }
    }

    /// The answer to a message, which is the only thing that comes.
    async fn request(&mut self, subject: &str, headers: &[String], payload: &[u8]) -> Message {
        self.asked += 1;
        let inbox = format!("_INBOX.t.{}", self.asked);
        self.client.publish(subject, Some(&inbox), headers, payload).await;
        let answers = |client: &Client| client.messages().iter().any(|message| message.subject == inbox);
        assert!(self.client.read_until(PATIENCE, answers).await, "no answer to {subject}");
        let (messages, complaints) = self.client.take();
        assert!(complaints.is_empty(), "{complaints:?}");
        messages.into_iter().find(|message| message.subject == inbox).expect("an answer")
    }

    async fn ask(&mut self, call: &str, body: Value) -> Value {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.request(&format!("$JS.API.{call}"), &[], &body).await;
        serde_json::from_slice(&answer.payload).unwrap_or_else(|why| panic!("{call}: {why}: {answer:?}"))
    }

    /// A stream with holes and headers, and consumers in the middle of their work.
    async fn fill(&mut self) {
        self.ask("STREAM.DELETE.A", Value::Null).await;
        let subjects = json!(["a.>"]);
        let config = json!({ "name": "A", "subjects": subjects, "allow_direct": true, "max_msgs": 10_000 });
        self.ask("STREAM.CREATE.A", config).await;
        for n in 0..MESSAGES {
            let id = format!("Nats-Msg-Id: {n}");
            let headers: &[String] = if n % 3 == 0 { &[id] } else { &[] };
            // Some compress well, some do not.
            let noise = |at: u64| (n * 7_919 + at).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
            let payload: Vec<u8> = if n % 2 == 0 {
                (0..n * 5).map(noise).collect()
            } else {
                format!("tenant-{} ", n % 9).repeat(80).into_bytes()
            };
            self.request(&format!("a.{}", n % 11), headers, &payload).await;
        }
        for seq in [1, 2, 77, MESSAGES] {
            self.ask("STREAM.MSG.DELETE.A", json!({ "seq": seq })).await;
        }
        for (name, config) in [
            ("pull", json!({ "ack_policy": "explicit", "max_deliver": 5, "ack_wait": 900_000_000_000_u64 })),
            ("some", json!({ "ack_policy": "all", "filter_subject": "a.3", "deliver_policy": "new" })),
            ("push", json!({ "ack_policy": "none", "deliver_subject": "nobody.listens" })),
        ] {
            let mut config = config;
            config["durable_name"] = name.into();
            config["name"] = name.into();
            let body = json!({ "stream_name": "A", "config": config });
            let created = self.ask(&format!("CONSUMER.CREATE.A.{name}"), body).await;
            assert!(created["error"].is_null(), "{created}");
        }
        // Nine deliveries: three are acknowledged, one is wanted again and delivered again.
        let mut deliveries = Vec::new();
        for _ in 0..9 {
            deliveries.push(self.next().await);
        }
        for (nth, answer) in [(0, "+ACK"), (1, "+ACK"), (5, "+ACK"), (3, "-NAK")] {
            let ack = deliveries[nth].reply.clone().expect("an ack subject");
            self.request(&ack, &[], answer.as_bytes()).await;
        }
        self.next().await;
    }

    /// The next message of the consumer that is pulled from.
    async fn next(&mut self) -> Message {
        self.client.publish("$JS.API.CONSUMER.MSG.NEXT.A.pull", Some("pulled"), &[], b"1").await;
        assert!(self.client.read_until(PATIENCE, |client| !client.messages().is_empty()).await);
        self.client.take().0.remove(0)
    }

    async fn archive(&mut self, asked: Value) -> Archive {
        let mut body = asked;
        body["deliver_subject"] = "archive".into();
        let body = body.to_string();
        self.client.publish("$JS.API.STREAM.SNAPSHOT.A", Some("_INBOX.t.s"), &[], body.as_bytes()).await;
        let (mut config, mut bytes, mut end) = (Value::Null, Vec::new(), None);
        // The answer may come after what it announces.
        while config.is_null() || end.is_none() {
            assert!(self.client.read_until(PATIENCE, |client| !client.messages().is_empty()).await);
            for message in self.client.take().0 {
                if message.subject == "_INBOX.t.s" {
                    let answer: Value = serde_json::from_slice(&message.payload).expect("JSON");
                    assert!(answer["error"].is_null(), "{answer}");
                    config = answer["config"].clone();
                    continue;
                }
                assert_eq!(message.subject, "archive");
                if message.payload.is_empty() {
                    end = Some(message.headers);
                } else {
                    bytes.extend_from_slice(&message.payload);
                    if let Some(reply) = message.reply {
                        self.client.publish(&reply, None, &[], b"").await;
                    }
                }
            }
        }
        Archive { config, bytes, end: end.unwrap_or_default() }
    }

    /// Restores, and returns what is answered at the end.
    async fn restore(&mut self, config: &Value, bytes: &[u8]) -> Value {
        self.ask("STREAM.DELETE.A", Value::Null).await;
        let begun = self.ask("STREAM.RESTORE.A", json!({ "config": config, "state": {} })).await;
        let Some(subject) = begun["deliver_subject"].as_str().filter(|subject| !subject.is_empty()) else {
            return begun;
        };
        for chunk in bytes.chunks(20_000) {
            let ack = self.request(subject, &[], chunk).await;
            assert!(ack.payload.is_empty() && ack.headers.is_empty(), "{ack:?}");
        }
        let end = self.request(subject, &[], b"").await;
        serde_json::from_slice(&end.payload).unwrap_or_else(|why| panic!("{why}: {end:?}"))
    }

    /// What a stream and its consumers are, as far as it can be the same on two servers.
    async fn shown(&mut self) -> Vec<Value> {
        let mut info = self.ask("STREAM.INFO.A", Value::Null).await;
        // The time of a message that is gone is not archived.
        info["state"]["last_ts"] = Value::Null;
        let mut shown = vec![json!({ "config": info["config"], "state": info["state"] })];
        let consumers = self.ask("CONSUMER.LIST.A", Value::Null).await;
        let mut consumers = consumers["consumers"].as_array().cloned().unwrap_or_default();
        consumers.sort_by_key(|own| own["name"].to_string());
        for own in &consumers {
            let numbers = ["num_pending", "num_ack_pending", "num_redelivered"].map(|name| own[name].clone());
            let positions = ["delivered", "ack_floor"].map(|name| own[name]["stream_seq"].clone());
            let counts = ["delivered", "ack_floor"].map(|name| own[name]["consumer_seq"].clone());
            shown.push(json!([own["name"], own["config"], numbers, positions, counts]));
        }
        for seq in 1..=MESSAGES {
            let got = self.ask("STREAM.MSG.GET.A", json!({ "seq": seq })).await;
            shown.push(json!([got["message"], got["error"]["err_code"]]));
        }
        shown.iter_mut().for_each(comparable);
        shown
    }
}

/// Without what one server says of itself, and with times in milliseconds: ours are no finer.
fn comparable(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.remove("metadata");
            fields.values_mut().for_each(comparable);
        }
        Value::Array(items) => items.iter_mut().for_each(comparable),
        Value::String(text) if text.len() > 19 && text.ends_with('Z') && text.contains('T') => {
            let fraction = text.split_once('.').map_or("", |(_, rest)| rest.trim_end_matches('Z'));
            let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
            *text = format!("{}.{fraction}", &text[..19]);
        }
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Says no more than what is different first.
fn assert_same(shown: &[Value], expected: &[Value]) {
    for (shown, expected) in shown.iter().zip(expected) {
        assert_eq!(shown, expected);
    }
    assert_eq!(shown.len(), expected.len());
}

async fn both(dir: &std::path::Path) -> (NatsServer, Ours, Talk, Talk) {
    let real = NatsServer::start(original(), dir).await;
    let ours = Ours::start(dir).await;
    let port = real.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let (theirs, own) = (Talk::with(port).await, Talk::with(ours.port()).await);
    (real, ours, theirs, own)
}

#[tokio::test]
async fn archives_cross_in_both_directions() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_real, _ours, mut theirs, mut own) = both(dir.path()).await;
    theirs.fill().await;
    own.fill().await;
    let from_own = own.shown().await;
    // In chunks of a kilobyte the window is full again and again.
    for asked in [json!({}), json!({ "chunk_size": 1024, "window_size": 8192 })] {
        let from_original = theirs.shown().await;
        let archive = theirs.archive(asked.clone()).await;
        let restored = own.restore(&archive.config, &archive.bytes).await;
        assert!(restored["error"].is_null(), "{restored}");
        assert_same(&own.shown().await, &from_original);
        // And back again.
        let returned = own.archive(asked.clone()).await;
        assert_eq!(returned.end, archive.end);
        let restored = theirs.restore(&returned.config, &returned.bytes).await;
        assert!(restored["error"].is_null(), "{restored}");
        assert_same(&theirs.shown().await, &from_original);

        own.fill().await;
        let archive = own.archive(asked).await;
        let ratio = archive.bytes.len() * 100 / returned.bytes.len();
        assert!((80..120).contains(&ratio), "{ratio} %");
        let (before, restored) = (own.shown().await, theirs.restore(&archive.config, &archive.bytes).await);
        assert!(restored["error"].is_null(), "{restored}");
        assert_same(&theirs.shown().await, &before);
        assert_eq!(before[2..4], from_own[2..4], "the same consumers");
        // The consumers go on where they were.
        let (here, there) = (own.next().await, theirs.next().await);
        assert_eq!((here.subject, here.payload), (there.subject, there.payload));
        theirs.fill().await;
    }
}

#[tokio::test]
async fn both_refuse_the_same_archives_and_keep_the_same_of_them() {
    let dir = tempfile::tempdir().expect("a directory");
    let (_real, _ours, mut theirs, mut own) = both(dir.path()).await;
    own.fill().await;
    let archive = own.archive(json!({})).await;
    let bytes = &archive.bytes;
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 2] ^= 1;
    let with = |name: &str, value: Value| {
        let mut config = archive.config.clone();
        config[name] = value;
        config
    };
    let same = || archive.config.clone();
    for (what, config, bytes) in [
        ("nothing", same(), &[][..]),
        ("junk", same(), &b"this is no archive at all"[..]),
        ("damaged", same(), &damaged[..]),
        ("without its end", same(), &bytes[..bytes.len() - 60]),
        ("messages that are too large", with("max_msg_size", json!(900)), &bytes[..]),
        ("too many consumers", with("max_consumers", json!(1)), &bytes[..]),
        ("a stream nobody can keep", with("num_replicas", json!(3)), &bytes[..]),
        ("a stream of another name", with("name", json!("B")), &bytes[..]),
        ("a stream that is none", with("max_age", json!(1)), &bytes[..]),
        ("fewer messages", with("max_msgs", json!(20)), &bytes[..]),
        ("fewer messages of a subject", with("max_msgs_per_subject", json!(2)), &bytes[..]),
        ("what has lived", with("max_age", json!(100_000_000)), &bytes[..]),
        ("in memory", with("storage", json!("memory")), &bytes[..]),
    ] {
        let answers = [theirs.restore(&config, bytes).await, own.restore(&config, bytes).await];
        let [their, our] =
            answers.map(|answer| (answer["error"]["err_code"].clone(), answer["type"].clone()));
        assert_eq!(our, their, "{what}");
        // What has lived is gone a moment later.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut states = Vec::new();
        for talk in [&mut theirs, &mut own] {
            let info = talk.ask("STREAM.INFO.A", Value::Null).await;
            let state = ["messages", "first_seq", "last_seq", "num_deleted", "consumer_count"]
                .map(|name| info["state"][name].clone());
            // Blocks are as long as whoever writes them likes: how much of a torn archive can be read is chance.
            states.push(if what == "damaged" || what == "without its end" {
                Value::Null
            } else {
                json!(state)
            });
        }
        assert_eq!(states[1], states[0], "{what}");
    }
}
