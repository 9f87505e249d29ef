//! The broker on a bench: a store that crashes, a clock that stands still until told, and clients that print what they
//! see as the probe scripts of the reference do.

mod acks;
mod archives;
mod batches;
mod consumers;
mod copies;
mod direct;
mod faults;
mod features;
mod groups;
mod memory;
mod model;
mod operations;
mod publishing;
mod pulls;
mod push;
mod restart;
mod retention;
mod schedules;
mod setting;
mod streams;

use super::api::{
    AckPolicy, ApiError, ConsumerConfig, DeliverPolicy, PullRequest, StreamConfig, StreamState,
};
use super::{
    AckKind, AckSubject, Answer, ConsumerAction, Delivery, Effect, Input, JetStream, Limits, MessageBy,
    Publish, PullStatus, Request,
};
use crate::bench::MemoryStore;
use crate::cx::Machine;
use crate::driver::{Checks, Driver};
use crate::halt::Halt;
use crate::quirks::Quirks;
use crate::store::Store;
use crate::time::{Mono, Now, Wall};
use crate::wire::header_block::HeaderBlock;
use bytes::Bytes;

pub(super) const MS: u64 = 1_000_000;
pub(super) const S: u64 = 1_000_000_000;

pub(super) const LIMITS: Limits = Limits {
    streams_max: 32,
    replicas_max: 5,
    consumers_per_stream_max: 32,
    messages_per_stream_max: 1_000_000,
    message_ids_per_stream_max: 1_000_000,
    message_bytes_max: 1 << 20,
    ack_pending_max: 10_000,
    waiting_max: 512,
    request_batch_max: None,
    deliveries_per_step_max: 256,
    expiries_per_step_max: 256,
    flush_gap_ms: 100,
};

/// A broker, its store and its clock.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) store: MemoryStore,
    pub(super) broker: Driver<JetStream>,
    pub(super) now: Now,
    pub(super) limits: Limits,
    inboxes: u64,
}

fn boot(store: &mut MemoryStore, limits: Limits) -> Driver<JetStream> {
    Driver::recover(limits, store, Checks::EveryTurn, Quirks::NONE).expect("recovers")
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::with(LIMITS)
    }

    pub(super) fn with(limits: Limits) -> Self {
        let mut store = MemoryStore::default();
        let broker = boot(&mut store, limits);
        let now = Now { mono: Mono::ZERO, wall: Wall::from_ms(1_795_231_870_000) };
        Self { store, broker, now, limits, inboxes: 0 }
    }

    /// One turn; then a machine recovered from the store must agree with this one.
    pub(super) fn try_turn(&mut self, inputs: Vec<Input>) -> Result<Vec<Effect>, Halt> {
        let released = self.broker.turn(&mut self.store, self.now, inputs)?;
        let txn = self.store.begin().expect("begins");
        let twin = JetStream::recover(self.limits, 0, &txn).expect("recovers");
        assert!(twin.durable() == self.broker.machine().durable(), "INV-DRV-2: a recovered machine differs");
        Ok(released.into_effects())
    }

    pub(super) fn turn(&mut self, inputs: Vec<Input>) -> Vec<Effect> {
        self.try_turn(inputs).expect("a turn without fault")
    }

    /// Lets time pass, waking the broker whenever it asks for it.
    pub(super) fn advance(&mut self, ms: u64) -> Vec<Effect> {
        let end = self.now.mono.plus_ms(ms);
        let mut effects = Vec::new();
        while let Some((at, _)) = self.broker.deadline().filter(|(at, _)| *at <= end) {
            self.move_to(at);
            effects.extend(self.turn(Vec::new()));
        }
        self.move_to(end);
        effects
    }

    fn move_to(&mut self, at: Mono) {
        let ns = at.as_ns().saturating_sub(self.now.mono.as_ns());
        self.now.mono = Mono::from_ns(self.now.mono.as_ns() + ns);
        self.now.wall = Wall::from_ms(self.now.wall.as_ms() + ns / MS);
    }

    /// The process dies and comes back: only what was committed is there, and the monotonic clock begins anew.
    pub(super) fn crash(&mut self) {
        self.broker = boot(&mut self.store, self.limits);
        self.now.mono = Mono::ZERO;
        self.now.wall = Wall::from_ms(self.now.wall.as_ms() + 1);
    }

    pub(super) fn inbox(&mut self) -> String {
        self.inboxes += 1;
        format!("_INBOX.{}", self.inboxes)
    }

    // ------------------------------------------------------------------------------------------- publishing

    pub(super) fn publish_with(&mut self, subject: &str, payload: &str, headers: &[(&str, &str)]) -> String {
        let (inbox, subject) = (self.inbox(), subject.to_owned());
        let publish = Publish {
            subject,
            reply: Some(inbox.clone()),
            headers: headers.iter().copied().collect::<HeaderBlock>(),
            payload: Bytes::copy_from_slice(payload.as_bytes()),
        };
        let effects = self.turn(vec![Input::Published(publish)]);
        let answer = answers(effects, &inbox).pop();
        if let Some(Answer::NotPublished { error, .. }) = &answer {
            return refused(error);
        }
        if let Some(Answer::NoResponders { subject }) = &answer {
            return format!("503 {subject}");
        }
        let Some(Answer::Published { stream, seq, duplicate, val }) = answer else { panic!("{answer:?}") };
        let val = val.map_or_else(String::new, |val| format!(" counts {val}"));
        format!("{stream} {seq}{}{val}", if duplicate { " duplicate" } else { "" })
    }

    /// Publishes without asking for an ack.
    pub(super) fn publish_effects(&mut self, subject: &str) -> Vec<Effect> {
        let headers = HeaderBlock::default();
        let (subject, payload) = (subject.to_owned(), Bytes::from_static(b"x"));
        self.turn(vec![Input::Published(Publish { subject, reply: None, headers, payload })])
    }

    pub(super) fn publish(&mut self, subject: &str) -> String {
        self.publish_with(subject, "x", &[])
    }

    pub(super) fn publish_many(&mut self, subject: &str, count: usize) {
        for _ in 0..count {
            self.publish(subject);
        }
    }

    // ------------------------------------------------------------------------------------------- the API

    pub(super) fn request(&mut self, request: Request) -> Answer {
        let inbox = self.inbox();
        let effects = self.turn(vec![Input::Requested { reply: inbox.clone(), request }]);
        answers(effects, &inbox).pop().expect("an answer")
    }

    /// The error of a request, if it failed.
    pub(super) fn error(&mut self, request: Request) -> Option<String> {
        let answer = self.request(request);
        if let Answer::Failed(error) = answer { Some(refused(&error)) } else { None }
    }

    /// A stream on `<name>.>`.
    pub(super) fn stream(&mut self, name: &str, change: impl FnOnce(&mut StreamConfig)) -> Option<String> {
        let mut config = StreamConfig::new(name, &[&format!("{}.>", name.to_lowercase())]);
        change(&mut config);
        self.error(Request::StreamCreate { config: Box::new(config), pedantic: false })
    }

    pub(super) fn update(&mut self, name: &str, change: impl FnOnce(&mut StreamConfig)) -> Option<String> {
        let mut config = self.broker.machine().stream(name).expect("a stream").config;
        change(&mut config);
        self.error(Request::StreamUpdate { config: Box::new(config), pedantic: false })
    }

    pub(super) fn state(&self, stream: &str) -> StreamState {
        self.broker.machine().stream(stream).expect("a stream").state
    }

    /// `messages/bytes first..last deleted`.
    pub(super) fn show(&self, stream: &str) -> String {
        let StreamState { messages, bytes, first_seq, last_seq, num_deleted, .. } = self.state(stream);
        format!("{messages}/{bytes} {first_seq}..{last_seq} {num_deleted}")
    }

    pub(super) fn purge(
        &mut self,
        stream: &str,
        filter: Option<&str>,
        seq: Option<u64>,
        keep: Option<u64>,
    ) -> String {
        let filter = filter.map(ToOwned::to_owned);
        let answer = self.request(Request::StreamPurge { stream: stream.into(), filter, seq, keep });
        if let Answer::Failed(error) = &answer {
            return refused(error);
        }
        let Answer::Purged { messages } = answer else { panic!("{answer:?}") };
        messages.to_string()
    }

    pub(super) fn delete_message(&mut self, stream: &str, seq: u64) -> Option<String> {
        self.error(Request::MessageDelete { stream: stream.into(), seq })
    }

    /// The sequence a read finds, or the error.
    pub(super) fn get(&mut self, stream: &str, by: MessageBy) -> Result<u64, String> {
        let answer = self.request(Request::MessageGet { stream: stream.into(), by });
        if let Answer::Failed(error) = &answer {
            return Err(refused(error));
        }
        let Answer::Message(message) = answer else { panic!("{answer:?}") };
        Ok(message.seq)
    }

    /// A durable with the server's defaults.
    pub(super) fn consumer(
        &mut self,
        stream: &str,
        name: &str,
        action: ConsumerAction,
        change: impl FnOnce(&mut ConsumerConfig),
    ) -> Option<String> {
        let mut config = durable(name);
        change(&mut config);
        self.error(Request::ConsumerCreate {
            stream: stream.into(),
            config: Box::new(config),
            action,
            pedantic: false,
        })
    }

    pub(super) fn durable(&mut self, stream: &str, name: &str, change: impl FnOnce(&mut ConsumerConfig)) {
        let error = self.consumer(stream, name, ConsumerAction::Create, change);
        assert_eq!(error, None);
    }

    /// `del c/s floor c/s ackp n redel n wait n pend n`.
    pub(super) fn info(&self, stream: &str, consumer: &str) -> String {
        let Some(own) = self.broker.machine().consumer(stream, consumer) else { return "gone".into() };
        format!(
            "del {}/{} floor {}/{} ackp {} redel {} wait {} pend {}",
            own.delivered.consumer_seq,
            own.delivered.stream_seq,
            own.ack_floor.consumer_seq,
            own.ack_floor.stream_seq,
            own.num_ack_pending,
            own.num_redelivered,
            own.num_waiting,
            own.num_pending
        )
    }

    // ------------------------------------------------------------------------------------------- consuming

    /// Sends a pull and returns its inbox with what came at once.
    pub(super) fn start_pull(
        &mut self,
        stream: &str,
        consumer: &str,
        request: PullRequest,
    ) -> (String, Vec<Effect>) {
        let inbox = self.inbox();
        let pulled =
            Input::Pulled { stream: stream.into(), consumer: consumer.into(), inbox: inbox.clone(), request };
        let effects = self.turn(vec![pulled]);
        (inbox, effects)
    }

    /// Sends a pull and listens for `ms`.
    pub(super) fn pull_effects(
        &mut self,
        stream: &str,
        consumer: &str,
        request: PullRequest,
        ms: u64,
    ) -> (Vec<String>, Vec<Delivery>) {
        let (inbox, mut effects) = self.start_pull(stream, consumer, request);
        effects.extend(self.advance(ms));
        (seen(&effects, &inbox), deliveries(effects, &inbox))
    }

    pub(super) fn pull(
        &mut self,
        stream: &str,
        consumer: &str,
        request: PullRequest,
        ms: u64,
    ) -> Vec<String> {
        self.pull_effects(stream, consumer, request, ms).0
    }

    /// What is there, without waiting.
    pub(super) fn fetch(&mut self, stream: &str, consumer: &str, batch: u64) -> Vec<String> {
        self.pull(stream, consumer, no_wait(batch), 0)
    }

    /// The messages that are there, without waiting.
    pub(super) fn take(&mut self, stream: &str, consumer: &str, batch: u64) -> Vec<Delivery> {
        self.pull_effects(stream, consumer, no_wait(batch), 0).1
    }

    /// Answers a delivery and waits for the confirmation: empty, `503`, or none.
    pub(super) fn answer(&mut self, delivery: &AckSubject, payload: &str) -> Option<String> {
        let inbox = self.inbox();
        let acked = Input::Acked {
            delivery: delivery.clone(),
            kind: AckKind::parse(payload.as_bytes()),
            reply: Some(inbox.clone()),
        };
        let effects = self.turn(vec![acked]);
        let answer = answers(effects, &inbox).pop()?;
        if let Answer::NoResponders { subject } = &answer {
            return Some(format!("503 {subject}"));
        }
        assert_eq!(answer, Answer::AckProcessed);
        Some(String::new())
    }

    pub(super) fn ack(&mut self, delivery: &Delivery) {
        assert_eq!(self.answer(&delivery.ack, ""), Some(String::new()));
    }
}

pub(super) fn durable(name: &str) -> ConsumerConfig {
    ConsumerConfig {
        durable_name: Some(name.into()),
        ack_policy: AckPolicy::Explicit,
        deliver_policy: DeliverPolicy::All,
        ..ConsumerConfig::default()
    }
}

pub(super) fn no_wait(batch: u64) -> PullRequest {
    PullRequest { batch, no_wait: true, ..PullRequest::default() }
}

pub(super) fn waiting(batch: u64, expires_ns: u64) -> PullRequest {
    PullRequest { batch, expires_ns, ..PullRequest::default() }
}

pub(super) fn refused(error: &ApiError) -> String {
    format!("{} {} {}", error.code, error.err_code, error.description)
}

pub(super) fn answers(effects: Vec<Effect>, inbox: &str) -> Vec<Answer> {
    let answer = |effect| match effect {
        Effect::Reply { to, answer } if to == inbox => Some(answer),
        Effect::Reply { .. }
        | Effect::Deliver(_)
        | Effect::Status { .. }
        | Effect::Advise { .. }
        | Effect::Chunk { .. }
        | Effect::SnapshotEnded { .. }
        | Effect::Republish { .. } => None,
    };
    effects.into_iter().filter_map(answer).collect()
}

pub(super) fn deliveries(effects: Vec<Effect>, inbox: &str) -> Vec<Delivery> {
    let delivery = |effect| match effect {
        Effect::Deliver(delivery) if delivery.inbox == inbox => Some(*delivery),
        Effect::Deliver(_)
        | Effect::Reply { .. }
        | Effect::Status { .. }
        | Effect::Advise { .. }
        | Effect::Chunk { .. }
        | Effect::SnapshotEnded { .. }
        | Effect::Republish { .. } => None,
    };
    effects.into_iter().filter_map(delivery).collect()
}

/// Which advisories are told, without what they all begin with.
pub(super) fn told(effects: &[Effect]) -> Vec<String> {
    let subject = |effect: &Effect| match effect {
        Effect::Advise { subject, .. } => subject.strip_prefix("$JS.EVENT.ADVISORY.").map(str::to_owned),
        Effect::Deliver(_)
        | Effect::Reply { .. }
        | Effect::Republish { .. }
        | Effect::Chunk { .. }
        | Effect::SnapshotEnded { .. }
        | Effect::Status { .. } => None,
    };
    effects.iter().filter_map(subject).collect()
}

/// What a client sees on its inbox: `deliveries.stream_seq.consumer_seq pending` for a message, the status line and its
/// numbers for a status.
pub(super) fn seen(effects: &[Effect], inbox: &str) -> Vec<String> {
    let line = |effect: &Effect| match effect {
        Effect::Deliver(own) if own.inbox == inbox => {
            let AckSubject { deliveries, stream_seq, consumer_seq, pending, .. } = own.ack;
            Some(format!("{deliveries}.{stream_seq}.{consumer_seq} {pending}"))
        }
        Effect::Status { inbox: to, status } if to == inbox => Some(status_line(status)),
        Effect::Deliver(_)
        | Effect::Status { .. }
        | Effect::Reply { .. }
        | Effect::Advise { .. }
        | Effect::Chunk { .. }
        | Effect::SnapshotEnded { .. }
        | Effect::Republish { .. } => None,
    };
    effects.iter().filter_map(line).collect()
}

fn status_line(status: &PullStatus) -> String {
    let numbers: Vec<String> = status.headers().iter().map(|(_, number)| number.to_owned()).collect();
    let line = format!("{} {} {}", status.code(), status.description(), numbers.join("/"));
    line.trim_end().to_owned()
}
