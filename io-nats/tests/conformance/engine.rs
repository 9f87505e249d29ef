//! The core's engine: its driver, a real store, and a clock that moves only when somebody waits.

use crate::side::{PATIENCE, Seen, Side, is_about_consumer};
use cloudlysis_core::jetstream::api::{MessageGet, PullRequest};
use cloudlysis_core::jetstream::{
    AckKind, AckSubject, Answer, Delivery, Effect, Input, JetStream, Limits, Publish, Request,
};
use cloudlysis_core::wire::headers::Headers;
use cloudlysis_core::{Checks, Driver, Mono, Now, Quirks, Wall};
use cloudlysis_io_nats::store::{HeedStore, MapSize};
use serde_json::Value;
use std::time::Duration;
use tempfile::TempDir;

/// What a real server of today has by default, where it has a bound.
const LIMITS: Limits = Limits {
    streams_max: 1_000,
    replicas_max: 1,
    consumers_per_stream_max: 1_000,
    messages_per_stream_max: 1 << 20,
    message_ids_per_stream_max: 1 << 20,
    message_bytes_max: 1 << 20,
    ack_pending_max: 1 << 16,
    waiting_max: 512,
    request_batch_max: None,
    deliveries_per_step_max: 256,
    expiries_per_step_max: 256,
    flush_gap_ms: 100,
};

pub(crate) struct Engine {
    driver: Driver<JetStream>,
    store: HeedStore,
    now: Now,
    /// Of all its lives together.
    elapsed: Duration,
    /// What nobody has taken yet.
    sent: Vec<Effect>,
    inboxes: u64,
    _dir: TempDir,
}

fn boot(store: &mut HeedStore) -> Driver<JetStream> {
    Driver::recover(LIMITS, store, Checks::EveryTurn, Quirks::NONE).expect("the engine recovers")
}

impl Engine {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = HeedStore::open(dir.path(), MapSize::default()).expect("opens");
        let driver = boot(&mut store);
        let now = Now { mono: Mono::ZERO, wall: Wall::from_ms(1_795_231_870_000) };
        let elapsed = Duration::ZERO;
        Self { driver, store, now, elapsed, sent: Vec::new(), inboxes: 0, _dir: dir }
    }

    fn inbox(&mut self) -> String {
        self.inboxes += 1;
        format!("_INBOX.{}", self.inboxes)
    }

    /// One turn, and those that are due at once because of it.
    fn turn(&mut self, input: Option<Input>) {
        let released = self.driver.turn(&mut self.store, self.now, input).expect("a turn");
        self.sent.extend(released.into_effects());
        while self.due().is_some_and(|wait| wait.is_zero()) {
            let released = self.driver.turn(&mut self.store, self.now, []).expect("a turn");
            self.sent.extend(released.into_effects());
        }
    }

    /// How long until the engine wants to be woken.
    fn due(&self) -> Option<Duration> {
        let (at, _) = self.driver.deadline()?;
        Some(Duration::from_nanos(at.as_ns().saturating_sub(self.now.mono.as_ns())))
    }

    fn advance(&mut self, time: Duration) {
        let mut left = time;
        while let Some(wait) = self.due().filter(|wait| *wait <= left) {
            self.move_by(wait);
            left -= wait;
            self.turn(None);
        }
        self.move_by(left);
    }

    fn move_by(&mut self, time: Duration) {
        self.elapsed += time;
        let before = self.now.mono.as_ns() / 1_000_000;
        let mono = self.now.mono.as_ns() + u64::try_from(time.as_nanos()).expect("a short time");
        self.now.mono = Mono::from_ns(mono);
        self.now.wall = Wall::from_ms(self.now.wall.as_ms() + mono / 1_000_000 - before);
    }

    fn take<T>(&mut self, wanted: impl Fn(&Effect) -> Option<T>) -> Option<T> {
        let (at, found) =
            self.sent.iter().enumerate().find_map(|(at, own)| wanted(own).map(|found| (at, found)))?;
        self.sent.remove(at);
        Some(found)
    }

    fn answer(&mut self, inbox: &str) -> Option<Answer> {
        self.take(|effect| match effect {
            Effect::Reply { to, answer } if to == inbox => Some(answer.clone()),
            Effect::Reply { .. }
            | Effect::Deliver(_)
            | Effect::Status { .. }
            | Effect::Advise { .. }
            | Effect::Chunk { .. }
            | Effect::SnapshotEnded { .. }
            | Effect::Republish { .. } => None,
        })
    }

    fn seen(&mut self, inbox: &str) -> Option<Seen> {
        self.take(|effect| match effect {
            Effect::Deliver(own) if own.inbox == inbox => {
                let Delivery { ack, subject, headers, payload, .. } = own.as_ref();
                Some(Seen::Message {
                    ack: ack.clone(),
                    subject: subject.to_string(),
                    headers: pairs(&headers.to_headers()),
                    payload: String::from_utf8_lossy(payload).into_owned(),
                })
            }
            Effect::Status { inbox: to, status } if to == inbox => Some(Seen::Status {
                code: status.code(),
                description: status.description(),
                headers: pairs(&status.headers()),
                reply: status.reply().map(str::to_owned),
            }),
            Effect::Deliver(_)
            | Effect::Status { .. }
            | Effect::Reply { .. }
            | Effect::Advise { .. }
            | Effect::Chunk { .. }
            | Effect::SnapshotEnded { .. }
            | Effect::Republish { .. } => None,
        })
    }

    fn boot_again(&mut self) {
        self.driver = boot(&mut self.store);
        self.now.mono = Mono::ZERO;
        self.sent.clear();
    }
}

fn pairs(headers: &Headers) -> Vec<(String, String)> {
    headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Side for Engine {
    type Pull = String;

    async fn publish(&mut self, publish: Publish) -> Option<Answer> {
        let inbox = self.inbox();
        self.turn(Some(Input::Published(Publish { reply: Some(inbox.clone()), ..publish })));
        self.answer(&inbox)
    }

    async fn listen(&mut self, subject: &str) -> String {
        self.turn(Some(Input::InterestGained { subject: subject.to_owned(), group: None }));
        subject.to_owned()
    }

    async fn leave(&mut self, listening: String) {
        self.turn(Some(Input::Abandoned { inbox: listening }));
    }

    async fn confirm(&mut self, subject: &str) {
        let mut tokens = subject.strip_prefix("$JS.FC.").expect("a flow control subject").split('.');
        let mut token = || tokens.next().expect("a token").to_owned();
        let (stream, consumer, token) = (token(), token(), token());
        self.turn(Some(Input::FlowControlled { stream, consumer, token }));
    }

    async fn request(&mut self, request: Request) -> Answer {
        let reply = self.inbox();
        self.turn(Some(Input::Requested { reply: reply.clone(), request }));
        self.answer(&reply).expect("an answer")
    }

    async fn read_directly(&mut self, stream: &str, get: MessageGet) -> Vec<Answer> {
        let reply = self.inbox();
        let request = Request::DirectGet { stream: stream.to_owned(), get: Box::new(get) };
        self.turn(Some(Input::Requested { reply: reply.clone(), request }));
        std::iter::from_fn(|| self.answer(&reply)).collect()
    }

    async fn pull(&mut self, stream: &str, consumer: &str, request: PullRequest) -> String {
        let inbox = self.inbox();
        let (stream, consumer) = (stream.to_owned(), consumer.to_owned());
        self.turn(Some(Input::Pulled { stream, consumer, inbox: inbox.clone(), request }));
        inbox
    }

    async fn next(&mut self, inbox: &mut String, within: Duration) -> Option<Seen> {
        let end = self.elapsed + within;
        loop {
            if let Some(seen) = self.seen(inbox) {
                return Some(seen);
            }
            let left = end - self.elapsed;
            let wait = self.due().filter(|wait| *wait <= left);
            self.advance(wait.unwrap_or(left));
            wait?;
        }
    }

    async fn ack(&mut self, delivery: &AckSubject, payload: &str) -> Option<Answer> {
        let reply = self.inbox();
        let kind = AckKind::parse(payload.as_bytes());
        self.turn(Some(Input::Acked { delivery: delivery.clone(), kind, reply: Some(reply.clone()) }));
        self.answer(&reply)
    }

    async fn ack_and_pull(&mut self, delivery: &AckSubject, payload: &str) -> String {
        let inbox = self.inbox();
        let kind = AckKind::parse(payload.as_bytes());
        self.turn(Some(Input::Acked { delivery: delivery.clone(), kind, reply: Some(inbox.clone()) }));
        inbox
    }

    async fn advisory(&mut self, within: Duration) -> Option<(String, Value)> {
        let end = self.elapsed + within;
        loop {
            let told = self.take(|effect| match effect {
                Effect::Advise { subject, body } if is_about_consumer(subject) => {
                    Some((subject.clone(), serde_json::to_value(body).expect("JSON")))
                }
                Effect::Advise { .. }
                | Effect::Deliver(_)
                | Effect::Chunk { .. }
                | Effect::SnapshotEnded { .. }
                | Effect::Republish { .. }
                | Effect::Status { .. }
                | Effect::Reply { .. } => None,
            });
            if told.is_some() {
                return told;
            }
            let left = end - self.elapsed;
            let wait = self.due().filter(|wait| *wait <= left);
            self.advance(wait.unwrap_or(left));
            wait?;
        }
    }

    fn wall(&self) -> Wall {
        self.now.wall
    }

    async fn pass(&mut self, time: Duration) {
        self.advance(time);
    }

    fn elapsed(&self) -> Duration {
        self.elapsed
    }

    async fn restart(&mut self) {
        // Until the last consumer has been written, as a real server does before it goes.
        self.advance(PATIENCE / 50);
        self.turn(Some(Input::Stopping));
        self.boot_again();
    }

    async fn crash(&mut self) {
        self.boot_again();
    }
}
