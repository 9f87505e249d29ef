//! One of the two servers, as a script sees it.

use super::mask;
use super::operation::Operation;
use crate::client::{Client, Message};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What each side listens to. The real server does not start an ephemeral push consumer for a subscription with a
/// wildcard: its deliver subjects are listened to one by one.
const LISTENED: [&str; 7] =
    ["_INBOX.r.>", "push.1", "push.2", "push.kv", "$JS.EVENT.ADVISORY.*.*.>", "$JS.EVENT.METRIC.>", "seen.>"];

/// The streams scripts use.
pub(super) const STREAMS: [&str; 4] = ["A", "B", "C", "KV_K"];

/// How long a side may take for what the other one has said.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longer than a pull that ends by itself.
const PULL_PATIENCE: Duration = Duration::from_millis(1500);

/// What came of an operation: lines by the subject they came on, in the order in which they came.
pub(super) type Outcome = BTreeMap<String, Vec<String>>;

/// A connection to one of the servers, and what it told so far that later operations refer to.
#[derive(Debug)]
pub(super) struct Side {
    client: Client,
    ephemerals: Vec<String>,
    /// Ack subjects of what was delivered.
    deliveries: Vec<String>,
    last_seq: u64,
}

impl Side {
    /// Connects, and removes what an earlier script left.
    pub(super) async fn fresh(port: u16) -> Self {
        let mut client = Client::connect(port).await;
        client.subscribe("_INBOX.clean").await;
        for stream in STREAMS {
            client.publish(&format!("$JS.API.STREAM.DELETE.{stream}"), Some("_INBOX.clean"), &[], b"").await;
        }
        let cleaned =
            client.read_until(PATIENCE * 5, |client| client.messages().len() == STREAMS.len()).await;
        assert!(cleaned, "streams could not be removed");
        for subject in LISTENED {
            client.subscribe(subject).await;
        }
        client.flush().await;
        client.take();
        Self { client, ephemerals: Vec::new(), deliveries: Vec::new(), last_seq: 0 }
    }

    /// Does it, and waits until everything has been said about it.
    pub(super) async fn perform(&mut self, number: usize, operation: &Operation) -> Vec<Message> {
        self.start(number, operation).await;
        if let Operation::Pull { ends: true, .. } = operation {
            let inbox = inbox(number);
            let has_ended = |client: &Client| {
                client.messages().iter().any(|message| message.subject == inbox && is_end(message))
            };
            self.client.read_until(PULL_PATIENCE, has_ended).await;
        }
        // What an operation causes may follow the first PONG, never the second.
        self.client.flush().await;
        self.client.flush().await;
        self.taken()
    }

    /// Does it, and waits until as much has been said about it as the other side said.
    pub(super) async fn repeat(
        &mut self,
        number: usize,
        operation: &Operation,
        count: usize,
    ) -> Vec<Message> {
        self.start(number, operation).await;
        self.client.read_until(PATIENCE, |client| client.messages().len() >= count).await;
        self.client.flush().await;
        self.taken()
    }

    /// What was said since.
    pub(super) async fn more(&mut self, pause: Duration) -> Vec<Message> {
        self.client.read_until(pause, |_| false).await;
        self.taken()
    }

    async fn start(&mut self, number: usize, operation: &Operation) {
        let reply = inbox(number);
        match operation {
            Operation::Request { subject, headers, payload } => {
                let (subject, payload) = (self.resolve(subject), self.resolve(payload));
                let headers: Vec<String> = headers.iter().map(|line| self.resolve(line)).collect();
                self.client.publish(&subject, Some(&reply), &headers, payload.as_bytes()).await;
            }
            Operation::Publish { subject, headers, payload } => {
                let subject = self.resolve(subject);
                let headers: Vec<String> = headers.iter().map(|line| self.resolve(line)).collect();
                self.client.publish(&subject, None, &headers, payload.as_bytes()).await;
            }
            Operation::Pull { stream, consumer, body, .. } => {
                let subject = self.resolve(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"));
                self.client.publish(&subject, Some(&reply), &[], body.as_bytes()).await;
            }
            Operation::Ack { nth, kind, confirmed } => {
                let Some(at) = nth.checked_rem(self.deliveries.len()) else { return };
                let reply = confirmed.then_some(&*reply);
                let subject = self.deliveries[at].clone();
                self.client.publish(&subject, reply, &[], kind.as_bytes()).await;
            }
        }
    }

    fn resolve(&self, text: &str) -> String {
        let mut text = text.replace("{last}", &self.last_seq.to_string());
        for (at, name) in self.ephemerals.iter().enumerate() {
            text = text.replace(&format!("{{eph{at}}}"), name);
        }
        text
    }

    fn taken(&mut self) -> Vec<Message> {
        let (mut messages, complaints) = self.client.take();
        messages.extend(complaints.into_iter().map(|complaint| Message {
            subject: "complaint".into(),
            reply: None,
            headers: String::new(),
            payload: complaint.into_bytes(),
        }));
        let before = self.deliveries.len();
        for message in &messages {
            self.note(message);
        }
        let ephemerals = &self.ephemerals;
        let stands_for = |reply: &String| {
            let name = consumer(reply).unwrap_or_default().to_owned();
            (ephemerals.iter().position(|own| *own == name), name)
        };
        // Random names stand in no order: the order of their creation.
        self.deliveries[before..].sort_by_key(|reply| match stands_for(reply) {
            (Some(at), _) => (Some(at), String::new()),
            (None, name) => (None, name),
        });
        messages
    }

    /// Keeps what later operations refer to.
    fn note(&mut self, message: &Message) {
        if let Some(reply) = message.reply.as_ref().filter(|reply| reply.starts_with("$JS.ACK.")) {
            self.deliveries.push(reply.clone());
        }
        let Ok(Value::Object(answer)) = serde_json::from_slice(&message.payload) else { return };
        if let (Some(seq), true) = (answer.get("seq").and_then(Value::as_u64), answer.contains_key("stream"))
        {
            self.last_seq = seq;
        }
        if answer.get("type").is_some_and(|name| *name == "io.nats.jetstream.api.v1.consumer_create_response")
            && let Some(config) = answer.get("config").and_then(Value::as_object)
            && config.get("durable_name").is_none()
            && let Some(name) = answer.get("name").and_then(Value::as_str)
            && name.len() > 4
            && !self.ephemerals.iter().any(|own| own == name)
        {
            self.ephemerals.push(name.to_owned());
        }
    }

    /// Messages as lines to compare.
    pub(super) fn outcome(&self, messages: &[Message]) -> Outcome {
        let mut outcome = Outcome::new();
        for message in messages {
            let (mut subject, mut line) = (message.subject.clone(), mask::line(message));
            for (at, name) in self.ephemerals.iter().enumerate() {
                let stands_for = format!("{{eph{at}}}");
                subject = subject.replace(name, &stands_for);
                line = line.replace(name, &stands_for);
            }
            outcome.entry(subject).or_default().push(mask::in_order(line));
        }
        // Which of two consumers sends first is nobody's promise.
        for lines in outcome.values_mut() {
            lines.sort_by(|one, other| consumer(one).cmp(&consumer(other)));
        }
        outcome
    }
}

/// Whose delivery a line is.
fn consumer(line: &str) -> Option<&str> {
    line.strip_prefix("$JS.ACK.")?.split('.').nth(1)
}

/// Where an operation is answered.
pub(super) fn inbox(number: usize) -> String {
    format!("_INBOX.r.{number}")
}

/// Whether a pull is over with this message: a status that is no heartbeat.
fn is_end(message: &Message) -> bool {
    message.headers.strip_prefix("NATS/1.0 ").is_some_and(|status| !status.starts_with("100"))
}
