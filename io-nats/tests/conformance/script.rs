//! The words scripts are written in. Every answer is written down; a second broker's answers are compared with the first's.

use crate::deliberate;
use crate::side::{PATIENCE, Seen, Side, text};
use cloudlysis_core::jetstream::api::{
    AckPolicy, ConsumerConfig, DeliverPolicy, MessageGet, PullRequest, StreamConfig, StreamState,
};
use cloudlysis_core::jetstream::{AckSubject, Answer, ConsumerAction, MessageBy, Publish, Request};
use cloudlysis_core::wire::header_block::HeaderBlock;
use std::time::Duration;

pub(crate) const MS: u64 = 1_000_000;
pub(crate) const S: u64 = 1_000_000_000;

/// One thing that was asked, and the answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Step {
    pub(crate) what: String,
    pub(crate) answer: String,
}

pub(crate) struct Script<B> {
    pub(crate) broker: B,
    said: Vec<Step>,
    /// What the other broker said.
    other: Vec<Step>,
}

impl<B: Side> Script<B> {
    pub(crate) const fn on(broker: B, other: Vec<Step>) -> Self {
        Self { broker, said: Vec::new(), other }
    }

    pub(crate) fn said(self) -> Vec<Step> {
        self.said
    }

    pub(crate) fn note(&mut self, what: impl Into<String>, answer: impl Into<String>) {
        self.said.push(Step { what: what.into(), answer: answer.into() });
    }

    pub(crate) async fn ask(&mut self, what: impl Into<String>, request: Request) -> Answer {
        let answer = self.broker.request(request).await;
        self.note(what, text(answer.clone()));
        answer
    }

    /// Asks for a description. What lies behind a publish is brought up to date a moment after its ack: the second
    /// broker gets the time to agree with the first.
    pub(crate) async fn look(&mut self, what: String, request: Request) {
        let other = self.other.get(self.said.len()).map(|step| step.answer.clone());
        let other = other.filter(|_| deliberate::why(&what).is_none());
        let started = self.broker.elapsed();
        loop {
            let answer = text(self.broker.request(request.clone()).await);
            let agrees = other.as_ref().is_none_or(|other| *other == answer);
            if agrees || self.broker.elapsed() - started > PATIENCE / 5 {
                return self.note(what, answer);
            }
            self.broker.pass(Duration::from_millis(10)).await;
        }
    }

    pub(crate) async fn pass(&mut self, ms: u64) {
        self.broker.pass(Duration::from_millis(ms)).await;
    }

    /// A moment, for [`Script::at_least`].
    pub(crate) fn now(&self) -> Duration {
        self.broker.elapsed()
    }

    /// Writes down whether this much time has passed since then.
    pub(crate) fn at_least(&mut self, ms: u64, since: Duration) {
        let passed = self.broker.elapsed() - since >= Duration::from_millis(ms);
        self.note(format!("at least {ms} ms later"), passed.to_string());
    }

    pub(crate) async fn restart(&mut self) {
        self.broker.restart().await;
    }

    pub(crate) async fn crash(&mut self) {
        self.broker.crash().await;
    }
}

/// Publishing and streams.
impl<B: Side> Script<B> {
    pub(crate) async fn publish_with(&mut self, subject: &str, payload: &str, headers: &[(&str, &str)]) {
        let answer = self.try_publish(subject, payload, headers).await;
        let shown = headers.iter().map(|(name, value)| format!("{name}: {:.40}", value));
        let shown: Vec<String> = shown.collect();
        self.note(format!("publish {subject} [{}], {} bytes", shown.join(", "), payload.len()), said(answer));
    }

    async fn try_publish(
        &mut self,
        subject: &str,
        payload: &str,
        headers: &[(&str, &str)],
    ) -> Option<Answer> {
        let headers = headers.iter().copied().collect::<HeaderBlock>();
        let (subject, payload) = (subject.to_owned(), payload.to_owned().into());
        self.broker.publish(Publish { subject, reply: None, headers, payload }).await
    }

    pub(crate) async fn publish(&mut self, subject: &str) {
        self.publish_with(subject, "x", &[]).await;
    }

    pub(crate) async fn publish_many(&mut self, subject: &str, count: usize) {
        for _ in 0..count {
            self.publish(subject).await;
        }
    }

    /// Publishes under the same id until it is a new one.
    pub(crate) async fn publish_until_new(&mut self, subject: &str, id: &str) {
        let started = self.broker.elapsed();
        let answer = loop {
            let answer = self.try_publish(subject, "x", &[("Nats-Msg-Id", id)]).await;
            let is_duplicate = matches!(answer, Some(Answer::Published { duplicate: true, .. }));
            if !is_duplicate || self.broker.elapsed() - started > PATIENCE {
                break answer;
            }
            self.pass(10).await;
        };
        self.note(format!("publish {subject} until {id} is forgotten"), said(answer));
    }

    /// A stream on `<name>.>`.
    pub(crate) async fn stream(&mut self, name: &str, change: impl FnOnce(&mut StreamConfig)) {
        let mut config = StreamConfig::new(name, &[&format!("{}.>", name.to_lowercase())]);
        change(&mut config);
        self.ask(
            format!("create stream {name}"),
            Request::StreamCreate { config: Box::new(config), pedantic: false },
        )
        .await;
    }

    /// Creates a stream on subjects of the server's own. What it holds by the time of the answer is chance.
    pub(crate) async fn system_stream(&mut self, name: &str, change: impl FnOnce(&mut StreamConfig)) {
        let mut config = StreamConfig::new(name, &[]);
        change(&mut config);
        let request = Request::StreamCreate { config: Box::new(config), pedantic: false };
        let mut answer = self.broker.request(request).await;
        if let Answer::Stream(info) = &mut answer {
            info.state.clone_from(&StreamState::default());
        }
        self.note(format!("create stream {name}"), text(answer));
    }

    /// Creates a stream, and wants nothing put right.
    pub(crate) async fn pedantic(&mut self, name: &str, change: impl FnOnce(&mut StreamConfig)) {
        let mut config = StreamConfig::new(name, &[&format!("{}.>", name.to_lowercase())]);
        change(&mut config);
        let request = Request::StreamCreate { config: Box::new(config), pedantic: true };
        self.ask(format!("create stream {name} pedantically"), request).await;
    }

    pub(crate) async fn account(&mut self) {
        self.look("account".into(), Request::AccountInfo).await;
    }

    pub(crate) async fn lists_from(&mut self, subject: Option<&str>, offset: u64) {
        let subject = subject.map(str::to_owned);
        let request = Request::StreamNames { subject: subject.clone(), offset };
        self.ask(format!("names of streams {subject:?} from {offset}"), request).await;
        let what = format!("list of streams {subject:?} from {offset}");
        self.look(what, Request::StreamList { subject, offset }).await;
    }

    pub(crate) async fn consumers_from(&mut self, stream: &str, offset: u64) {
        let request = Request::ConsumerNames { stream: stream.to_owned(), offset };
        self.ask(format!("names of consumers of {stream} from {offset}"), request).await;
        let request = Request::ConsumerList { stream: stream.to_owned(), offset };
        self.look(format!("list of consumers of {stream} from {offset}"), request).await;
    }

    pub(crate) async fn subjects_from(&mut self, stream: &str, filter: &str, offset: u64) {
        let (stream, subjects_filter) = (stream.to_owned(), Some(filter.to_owned()));
        let what = format!("subjects {filter} of {stream} from {offset}");
        self.look(what, Request::StreamInfo { stream, subjects_filter, offset, deleted_details: false })
            .await;
    }

    pub(crate) async fn update(&mut self, name: &str, change: impl FnOnce(&mut StreamConfig)) {
        let found = self.broker.request(describe(name)).await;
        let found = if let Answer::StreamDescribed { info, .. } = found { Some(info.config) } else { None };
        let mut config = found.unwrap_or_else(|| StreamConfig::new(name, &["none"]));
        change(&mut config);
        self.ask(
            format!("update stream {name}"),
            Request::StreamUpdate { config: Box::new(config), pedantic: false },
        )
        .await;
    }

    pub(crate) async fn state(&mut self, stream: &str) {
        self.look(format!("state of {stream}"), describe(stream)).await;
    }

    /// Looks until a stream has so many messages.
    pub(crate) async fn until_messages(&mut self, stream: &str, messages: u64) {
        let started = self.broker.elapsed();
        loop {
            let answer = self.broker.request(describe(stream)).await;
            let there =
                matches!(&answer, Answer::StreamDescribed { info, .. } if info.state.messages == messages);
            if there || self.broker.elapsed() - started > PATIENCE {
                return self.note(format!("{stream} until it has {messages}"), text(answer));
            }
            self.pass(10).await;
        }
    }

    /// Every message up to a sequence.
    pub(crate) async fn contents(&mut self, stream: &str, last: u64) {
        for seq in 1..=last {
            self.get(stream, MessageBy::Seq(seq)).await;
        }
    }

    /// Looks until a copy has so many messages.
    pub(crate) async fn until_copied(&mut self, stream: &str, messages: u64) {
        let started = self.broker.elapsed();
        loop {
            let answer = self.broker.request(describe(stream)).await;
            let there =
                matches!(&answer, Answer::StreamDescribed { info, .. } if info.state.messages == messages);
            if there || self.broker.elapsed() - started > PATIENCE {
                return self.note(format!("{stream} until {messages} are copied"), text(answer));
            }
            self.pass(10).await;
        }
    }

    /// Looks until a stream ends at this sequence.
    pub(crate) async fn until_last(&mut self, stream: &str, seq: u64) {
        let started = self.broker.elapsed();
        loop {
            let answer = self.broker.request(describe(stream)).await;
            let there = matches!(&answer, Answer::StreamDescribed { info, .. } if info.state.last_seq == seq);
            if there || self.broker.elapsed() - started > PATIENCE {
                return self.note(format!("{stream} until it ends at {seq}"), text(answer));
            }
            self.pass(10).await;
        }
    }

    /// Looks until the last message on a subject is a delete marker.
    pub(crate) async fn until_marked(&mut self, stream: &str, subject: &str) {
        let started = self.broker.elapsed();
        let by = MessageBy::LastBySubject(subject.to_owned());
        loop {
            let request = Request::MessageGet { stream: stream.to_owned(), by: by.clone() };
            let answer = self.broker.request(request).await;
            let there =
                matches!(&answer, Answer::Message(own) if own.headers.text("Nats-Marker-Reason").is_some());
            if there || self.broker.elapsed() - started > PATIENCE {
                return self.note(format!("{stream} until {subject} is marked"), there.to_string());
            }
            self.pass(10).await;
        }
    }

    /// With the sequences that are gone.
    pub(crate) async fn details(&mut self, stream: &str) {
        let request = Request::StreamInfo {
            stream: stream.to_owned(),
            subjects_filter: None,
            offset: 0,
            deleted_details: true,
        };
        self.look(format!("details of {stream}"), request).await;
    }

    pub(crate) async fn subjects(&mut self, stream: &str, filter: &str) {
        let request = Request::StreamInfo {
            stream: stream.to_owned(),
            subjects_filter: Some(filter.to_owned()),
            offset: 0,
            deleted_details: false,
        };
        self.look(format!("subjects {filter} of {stream}"), request).await;
    }

    pub(crate) async fn delete_stream(&mut self, stream: &str) {
        self.ask(format!("delete stream {stream}"), Request::StreamDelete { stream: stream.to_owned() })
            .await;
    }

    pub(crate) async fn names(&mut self, subject: Option<&str>) {
        let subject = subject.map(str::to_owned);
        self.ask(format!("names of streams {subject:?}"), Request::StreamNames { subject, offset: 0 }).await;
    }

    pub(crate) async fn list(&mut self) {
        self.look("list of streams".into(), Request::StreamList { subject: None, offset: 0 }).await;
    }

    pub(crate) async fn purge(
        &mut self,
        stream: &str,
        filter: Option<&str>,
        seq: Option<u64>,
        keep: Option<u64>,
    ) {
        let what = format!("purge {stream} {filter:?} seq {seq:?} keep {keep:?}");
        let (stream, filter) = (stream.to_owned(), filter.map(str::to_owned));
        self.ask(what, Request::StreamPurge { stream, filter, seq, keep }).await;
    }

    pub(crate) async fn delete_message(&mut self, stream: &str, seq: u64) {
        let what = format!("delete message {seq} of {stream}");
        self.ask(what, Request::MessageDelete { stream: stream.to_owned(), seq }).await;
    }

    pub(crate) async fn get_directly(&mut self, stream: &str, by: MessageBy) {
        self.read_directly(stream, by.into()).await;
    }

    pub(crate) async fn read_directly(&mut self, stream: &str, get: MessageGet) {
        let what = format!("get {} of {stream} directly", serde_json::to_string(&get).expect("JSON"));
        let answers = self.broker.read_directly(stream, get).await;
        self.note(what, answers.into_iter().map(text).collect::<Vec<_>>().join("\n"));
    }

    pub(crate) async fn get(&mut self, stream: &str, by: MessageBy) {
        let what = format!("get {by:?} of {stream}");
        self.ask(what, Request::MessageGet { stream: stream.to_owned(), by }).await;
    }
}

fn said(answer: Option<Answer>) -> String {
    answer.map_or_else(|| "silence".to_owned(), text)
}

fn describe(stream: &str) -> Request {
    Request::StreamInfo {
        stream: stream.to_owned(),
        subjects_filter: None,
        offset: 0,
        deleted_details: false,
    }
}

/// Consumers.
impl<B: Side> Script<B> {
    pub(crate) async fn consumer(
        &mut self,
        stream: &str,
        name: &str,
        action: ConsumerAction,
        change: impl FnOnce(&mut ConsumerConfig),
    ) {
        let mut config = ConsumerConfig {
            durable_name: Some(name.to_owned()),
            ack_policy: AckPolicy::Explicit,
            deliver_policy: DeliverPolicy::All,
            ..ConsumerConfig::default()
        };
        change(&mut config);
        let what = format!("{action:?} consumer {stream}/{name}");
        self.ask(
            what,
            Request::ConsumerCreate {
                stream: stream.to_owned(),
                config: Box::new(config),
                action,
                pedantic: false,
            },
        )
        .await;
    }

    pub(crate) async fn durable(
        &mut self,
        stream: &str,
        name: &str,
        change: impl FnOnce(&mut ConsumerConfig),
    ) {
        self.consumer(stream, name, ConsumerAction::Create, change).await;
    }

    pub(crate) async fn info(&mut self, stream: &str, consumer: &str) {
        let what = format!("state of {stream}/{consumer}");
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.look(what, Request::ConsumerInfo { stream, consumer }).await;
    }

    pub(crate) async fn delete_consumer(&mut self, stream: &str, consumer: &str) {
        let what = format!("delete consumer {stream}/{consumer}");
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.ask(what, Request::ConsumerDelete { stream, consumer }).await;
    }

    pub(crate) async fn consumers(&mut self, stream: &str) {
        let request = Request::ConsumerNames { stream: stream.to_owned(), offset: 0 };
        self.ask(format!("names of consumers of {stream}"), request).await;
        let request = Request::ConsumerList { stream: stream.to_owned(), offset: 0 };
        self.look(format!("list of consumers of {stream}"), request).await;
    }

    /// Sends a pull request and leaves it waiting.
    pub(crate) async fn start(&mut self, stream: &str, consumer: &str, request: PullRequest) -> Waiting<B> {
        let what = format!("pull {stream}/{consumer} {request:?}");
        let pull = self.broker.pull(stream, consumer, request.clone()).await;
        Waiting { pull, request, what }
    }

    /// Everything a pull request gets until it is over: its messages are there, or a status says so.
    pub(crate) async fn end(&mut self, mut waiting: Waiting<B>) -> Vec<AckSubject> {
        let (mut lines, mut messages): (Vec<String>, Vec<AckSubject>) = (Vec::new(), Vec::new());
        while messages.len() as u64 != waiting.request.batch.max(1) || waiting.request.max_bytes > 0 {
            let Some(seen) = self.broker.next(&mut waiting.pull, PATIENCE).await else {
                lines.push("nothing more".into());
                break;
            };
            lines.push(seen.text());
            let is_over = matches!(seen, Seen::Status { .. }) && !seen.is_heartbeat();
            if let Seen::Message { ack, .. } = seen {
                messages.push(ack);
            }
            if is_over {
                break;
            }
        }
        lines.dedup_by(|a, b| a == b && a.starts_with("100 "));
        self.note(waiting.what, lines.join("\n"));
        messages
    }

    pub(crate) async fn pull(
        &mut self,
        stream: &str,
        consumer: &str,
        request: PullRequest,
    ) -> Vec<AckSubject> {
        // What is pending is known a moment after the publish.
        self.info(stream, consumer).await;
        let waiting = self.start(stream, consumer, request).await;
        self.end(waiting).await
    }

    /// What is there, without waiting.
    pub(crate) async fn fetch(&mut self, stream: &str, consumer: &str, batch: u64) -> Vec<AckSubject> {
        self.pull(stream, consumer, PullRequest { batch, no_wait: true, ..PullRequest::default() }).await
    }

    /// So many messages, as they come.
    pub(crate) async fn await_messages(
        &mut self,
        stream: &str,
        consumer: &str,
        batch: u64,
    ) -> Vec<AckSubject> {
        self.pull(stream, consumer, waiting(batch, 8 * S)).await
    }

    pub(crate) async fn silence(&mut self, waiting: &mut Waiting<B>, ms: u64) {
        let seen = self.broker.next(&mut waiting.pull, Duration::from_millis(ms)).await;
        self.note(format!("{ms} ms of silence"), seen.map_or("silence".to_owned(), |seen| seen.text()));
    }

    /// Answers a delivery, and waits for the confirmation.
    pub(crate) async fn ack(&mut self, delivery: &AckSubject, payload: &str) {
        let answer = self.broker.ack(delivery, payload).await;
        let AckSubject { stream, consumer, stream_seq, .. } = delivery;
        self.note(
            format!("{payload:?} for {stream}/{consumer} {stream_seq}"),
            answer.map_or("unconfirmed".to_owned(), text),
        );
    }
}

/// A pull request under way.
pub(crate) struct Waiting<B: Side> {
    pull: B::Pull,
    request: PullRequest,
    what: String,
}

impl<B: Side> Waiting<B> {
    pub(crate) const fn new(pull: B::Pull, request: PullRequest, what: String) -> Self {
        Self { pull, request, what }
    }
}

pub(crate) fn waiting(batch: u64, expires_ns: u64) -> PullRequest {
    PullRequest { batch, expires_ns, ..PullRequest::default() }
}
