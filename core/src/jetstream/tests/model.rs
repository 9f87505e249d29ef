//! Random operations against a small reference model.
//!
//! The model is an honest witness, not a second broker: it keeps what clients were promised and what they saw, and says
//! what may not happen. After every turn the machine's own invariants are checked by the driver, and a machine recovered
//! from the store must agree with it (see [`Bench::try_turn`]).

use super::super::api::ConsumerConfig;
use super::super::{AckKind, AckSubject, Answer, Effect, Input, Publish, Request};
use super::operations::{Op, op};
use super::{Bench, LIMITS, MS, durable};
use crate::bench::Landed;
use crate::cx::Tick;
use crate::jetstream::api::PullRequest;
use crate::jetstream::{ConsumerAction, Fault, JetStream, Limits};
use crate::store::Store;
use crate::time::{Mono, Wall};
use crate::wire::header_block::HeaderBlock;
use crate::wire::subject::Filter;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

pub(super) const SUBJECTS: [&str; 4] = ["s.a", "s.b", "s.a.x", "s.c"];
pub(super) const CONSUMERS: [(&str, &str); 4] = [("all", ""), ("a", "s.a"), ("wild", "s.*"), ("once", "s.>")];
const WINDOW_MS: u64 = 2_000;
const ACK_WAIT_MS: u64 = 500;

/// What a client of one consumer has seen since the consumer was created or last fell back.
#[derive(Clone, Debug, Default)]
struct Witness {
    /// The last delivery number.
    consumer_seq: u64,
    /// The highest sequence delivered for the first time.
    newest: u64,
    /// What is delivered and not settled.
    unsettled: BTreeSet<u64>,
    /// What was settled.
    settled: BTreeSet<u64>,
}

struct Model {
    bench: Bench,
    max_deliver: i64,
    /// What the log must hold: subjects and payloads.
    stored: BTreeMap<u64, (String, String)>,
    last_seq: u64,
    /// When an id was stored, and where; the last time counts.
    ids: BTreeMap<String, Vec<(Wall, u64)>>,
    /// Which ids are within the window depends on when the broker looked at the clock.
    wall_jumped: bool,
    witnesses: BTreeMap<&'static str, Witness>,
    seen: Vec<AckSubject>,
    payload: u64,
}

impl Model {
    fn new(limits: Limits, max_deliver: i64, max_ack_pending: i64) -> Self {
        let mut bench = Bench::with(limits);
        assert_eq!(bench.stream("S", |config| config.duplicate_window_ns = WINDOW_MS * MS), None);
        let mut own = Self {
            bench,
            max_deliver,
            stored: BTreeMap::new(),
            last_seq: 0,
            ids: BTreeMap::new(),
            wall_jumped: false,
            witnesses: BTreeMap::new(),
            seen: Vec::new(),
            payload: 0,
        };
        for (consumer, _) in CONSUMERS {
            own.create(consumer, max_ack_pending);
        }
        own
    }

    fn create(&mut self, consumer: &'static str, max_ack_pending: i64) {
        let (_, filter) = CONSUMERS.into_iter().find(|(name, _)| *name == consumer).expect("one of them");
        let config = ConsumerConfig {
            filter_subject: Some(filter.to_owned()),
            ack_wait_ns: ACK_WAIT_MS * MS,
            max_deliver: if consumer == "once" { 1 } else { self.max_deliver },
            max_ack_pending,
            ..durable(consumer)
        };
        let request = Request::ConsumerCreate {
            stream: "S".into(),
            config: Box::new(config),
            action: ConsumerAction::Create,
            pedantic: false,
        };
        self.request(request);
        self.witnesses.insert(consumer, Witness::default());
    }

    fn matches(consumer: &str, subject: &str) -> bool {
        let (_, filter) = CONSUMERS.into_iter().find(|(name, _)| *name == consumer).expect("one of them");
        filter.is_empty() || Filter::parse(filter).expect("a filter").matches(subject)
    }

    fn turn(&mut self, inputs: Vec<Input>) -> Vec<Effect> {
        let effects = self.bench.turn(inputs);
        self.witness(&effects);
        effects
    }

    fn request(&mut self, request: Request) {
        let effects = self.turn(vec![Input::Requested { reply: "r".into(), request }]);
        let answers = super::answers(effects, "r");
        assert!(!matches!(answers[..], [Answer::Failed(_)]), "{answers:?}");
    }

    fn advance(&mut self, ms: u64) {
        let effects = self.bench.advance(ms);
        self.witness(&effects);
    }

    /// Every delivery is of a stored, matching, unsettled message; first deliveries come in order and skip nothing.
    fn witness(&mut self, effects: &[Effect]) {
        for effect in effects {
            let Effect::Deliver(delivery) = effect else { continue };
            let AckSubject { consumer, stream_seq: seq, consumer_seq, deliveries, .. } = delivery.ack.clone();
            let (name, own) =
                self.witnesses.iter_mut().find(|(name, _)| ***name == *consumer).expect("a consumer");
            let (subject, payload) = &self.stored[&seq];
            assert_eq!(
                (&*delivery.subject, delivery.payload.as_ref()),
                (subject.as_str(), payload.as_bytes())
            );
            assert!(Self::matches(name, subject), "{name} got {subject}");
            assert_eq!(consumer_seq, own.consumer_seq + 1, "{name}: every send has the next number");
            assert!(!own.settled.contains(&seq), "{name}: {seq} was settled and delivered again");
            own.consumer_seq = consumer_seq;
            if own.unsettled.insert(seq) {
                let skipped = self
                    .stored
                    .range(own.newest + 1..seq)
                    .find(|(_, (subject, _))| Self::matches(name, subject));
                assert_eq!(skipped, None, "{name}: {seq} came before an earlier one");
                assert!(seq > own.newest, "{name}: {seq} is delivered first after {}", own.newest);
                assert_eq!(deliveries, 1, "{name}: {seq}");
                own.newest = seq;
            } else {
                assert!(deliveries > 1, "{name}: {seq} again, as if it were the first time");
            }
            let max = if *name == "once" { 1 } else { self.max_deliver };
            assert!(
                max < 0 || deliveries <= max.unsigned_abs(),
                "{name}: {seq} delivered {deliveries} times"
            );
            self.seen.push(delivery.ack.clone());
        }
    }

    /// Consumers fall back to what the broker says they are: what was seen since may be seen again.
    fn forget_consumers(&mut self) {
        // The clocks wake it.
        self.advance(0);
        for (name, own) in &mut self.witnesses {
            let info = self.bench.broker.machine().consumer("S", name).expect("a consumer");
            let (delivered, floor) = (info.delivered, info.ack_floor);
            assert!(delivered.consumer_seq <= own.consumer_seq, "{name} went forward by falling back");
            own.consumer_seq = delivered.consumer_seq;
            own.newest = delivered.stream_seq;
            // What is between floor and position may be pending or not: the client cannot know.
            let settled = std::mem::take(&mut own.settled);
            own.unsettled.extend(settled);
            own.unsettled.retain(|seq| *seq > floor.stream_seq && *seq <= delivered.stream_seq);
        }
        self.seen.clear();
    }

    fn publish(&mut self, subject: usize, id: Option<u8>) {
        self.payload += 1;
        let id = id.map(|id| id.to_string());
        let (subject, payload) = (SUBJECTS[subject].to_owned(), format!("m{}", self.payload));
        let mut headers = HeaderBlock::NONE;
        if let Some(id) = &id {
            headers.append("Nats-Msg-Id", id);
        }
        let publish = Publish {
            subject: subject.clone(),
            reply: Some("ack".into()),
            headers,
            payload: payload.clone().into(),
        };
        let now = self.bench.now.wall;
        let known = id.as_ref().and_then(|id| self.ids.get(id)).and_then(|stored| stored.last()).copied();
        let is_young = known.is_some_and(|(at, _)| now.as_ms().saturating_sub(at.as_ms()) < WINDOW_MS);
        let effects = self.bench.turn(vec![Input::Published(publish)]);
        let answer = super::answers(effects.clone(), "ack").pop();
        let Some(Answer::Published { seq, duplicate, .. }) = answer else { panic!("{answer:?}") };
        if duplicate {
            assert_eq!(Some(seq), known.map(|(_, seq)| seq), "a duplicate of another message");
            assert!(is_young || self.wall_jumped, "{id:?} is remembered beyond the window");
        } else {
            assert!(!is_young || self.wall_jumped, "{id:?} is forgotten within the window");
            self.last_seq += 1;
            assert_eq!(seq, self.last_seq);
            self.stored.insert(seq, (subject, payload));
            if let Some(id) = id {
                self.ids.entry(id).or_default().push((now, seq));
            }
        }
        self.witness(&effects);
    }

    fn forget_ids(&mut self, gone: impl Fn(u64) -> bool) {
        for stored in self.ids.values_mut() {
            stored.retain(|(_, seq)| !gone(*seq));
        }
    }

    fn remove(&mut self, gone: impl Fn(u64) -> bool) {
        self.stored.retain(|seq, _| !gone(*seq));
        for own in self.witnesses.values_mut() {
            own.unsettled.retain(|seq| !gone(*seq));
        }
    }

    fn apply(&mut self, op: &Op, max_ack_pending: i64) {
        match op {
            Op::Publish { subject, id } => self.publish(*subject, *id),
            Op::Pull { consumer, batch, no_wait, expires_ms } => {
                let inbox = self.bench.inbox();
                let request = PullRequest {
                    batch: *batch,
                    no_wait: *no_wait,
                    expires_ns: expires_ms * MS,
                    ..PullRequest::default()
                };
                let (stream, consumer) = ("S".to_owned(), CONSUMERS[*consumer].0.to_owned());
                self.turn(vec![Input::Pulled { stream, consumer, inbox, request }]);
            }
            Op::Answer { nth, kind } => {
                if self.seen.is_empty() {
                    return;
                }
                let delivery = nth.get(&self.seen).clone();
                if matches!(kind, AckKind::Ack | AckKind::Term { .. }) && delivery.stream_seq <= self.last_seq
                {
                    let own = self.witnesses.get_mut(&*delivery.consumer).expect("a consumer");
                    if own.unsettled.remove(&delivery.stream_seq) {
                        own.settled.insert(delivery.stream_seq);
                    }
                }
                self.turn(vec![Input::Acked { delivery, kind: kind.clone(), reply: None }]);
            }
            Op::Advance { ms } => self.advance(*ms),
            Op::SpuriousTick => {
                // Whatever is due happens now, and the broker sees the clocks.
                self.turn(vec![Tick.into()]);
                self.advance(0);
                let before = self.bench.broker.machine().clone();
                assert_eq!(self.turn(vec![Tick.into(), Tick.into()]), []);
                assert!(self.bench.broker.machine() == &before, "a tick that is not due changed something");
            }
            Op::WallJump { ms } => {
                let wall = self.bench.now.wall.as_ms().saturating_add_signed(*ms);
                self.bench.now.wall = Wall::from_ms(wall);
                self.wall_jumped = true;
            }
            Op::Purge { below } => {
                let below = (*below).min(self.last_seq);
                self.remove(|seq| below == 0 || seq < below);
                self.request(Request::StreamPurge {
                    stream: "S".into(),
                    filter: None,
                    seq: Some(below),
                    keep: None,
                });
            }
            Op::DeleteMessage { nth } => {
                let seqs: Vec<u64> = self.stored.keys().copied().collect();
                if !seqs.is_empty() {
                    let gone = *nth.get(&seqs);
                    self.remove(|seq| seq == gone);
                    self.request(Request::MessageDelete { stream: "S".into(), seq: gone });
                }
            }
            Op::Crash => self.crash(),
            Op::CommitUnknown { landed } => {
                self.bench.store.fail_commit = Some(if *landed { Landed::Yes } else { Landed::No });
                let (subject, payload) = ("s.a".to_owned(), "unknown".to_owned());
                let (headers, reply) = (HeaderBlock::NONE, Some("ack".to_owned()));
                let publish =
                    Publish { subject: subject.clone(), reply, headers, payload: payload.clone().into() };
                assert!(self.bench.try_turn(vec![Input::Published(publish)]).is_err());
                if *landed {
                    self.last_seq += 1;
                    self.stored.insert(self.last_seq, (subject, payload));
                }
                self.crash();
            }
            Op::Truncate { lost } => {
                let last_seq = self.last_seq.saturating_sub(*lost);
                self.turn(vec![Input::Faulted(Fault::LogTruncated { stream: "S".into(), last_seq })]);
                self.last_seq = last_seq;
                self.remove(|seq| seq > last_seq);
                self.forget_ids(|seq| seq > last_seq);
                for own in self.witnesses.values_mut() {
                    own.settled.retain(|seq| *seq <= last_seq);
                    own.newest = own.newest.min(last_seq);
                }
                // Positions are rolled back durably only with the next flush.
                self.advance(LIMITS.flush_gap_ms);
            }
            Op::EndAckWait { consumer, nth } => {
                let own = &self.witnesses[CONSUMERS[*consumer].0];
                let seqs: Vec<u64> = own.unsettled.iter().copied().collect();
                if !seqs.is_empty() {
                    let (stream, consumer) = ("S".to_owned(), CONSUMERS[*consumer].0.to_owned());
                    let fault = Fault::AckWaitEnded { stream, consumer, stream_seq: *nth.get(&seqs) };
                    self.turn(vec![Input::Faulted(fault)]);
                }
            }
            Op::LosePulls { consumer } => {
                let (stream, consumer) = ("S".to_owned(), CONSUMERS[*consumer].0.to_owned());
                self.turn(vec![Input::Faulted(Fault::PullsLost { stream, consumer, told: None })]);
            }
            Op::Recreate { consumer } => {
                let consumer = CONSUMERS[*consumer].0;
                let request = Request::ConsumerDelete { stream: "S".into(), consumer: consumer.into() };
                self.request(request);
                self.seen.retain(|ack| *ack.consumer != *consumer);
                self.create(consumer, max_ack_pending);
            }
        }
        self.compare_log();
    }

    fn crash(&mut self) {
        self.bench.crash();
        // Ids of removed messages do not survive.
        let stored = self.stored.clone();
        self.forget_ids(|seq| !stored.contains_key(&seq));
        self.forget_consumers();
    }

    /// The true log is exactly what was acknowledged and not removed.
    fn compare_log(&mut self) {
        let mut log = BTreeMap::new();
        let txn = self.bench.store.begin().expect("begins");
        JetStream::log(&txn, "S", 0, &mut |message| {
            let payload = String::from_utf8(message.payload.to_vec()).expect("text");
            log.insert(message.seq, (message.subject.to_string(), payload));
            ControlFlow::Continue(())
        })
        .expect("reads");
        drop(txn);
        assert_eq!(log, self.stored, "INV-BRK-1");
        let state = self.bench.state("S");
        assert_eq!((state.messages, state.last_seq), (self.stored.len() as u64, self.last_seq));
        for (name, own) in &self.witnesses {
            let info = self.bench.broker.machine().consumer("S", name).expect("a consumer");
            let pending = self.stored.range(info.delivered.stream_seq + 1..);
            let pending = pending.filter(|(_, (subject, _))| Self::matches(name, subject)).count() as u64;
            assert_eq!(info.num_pending, pending, "{name}");
            assert!(info.num_ack_pending <= own.unsettled.len() as u64, "{name} waits for what was settled");
        }
    }

    /// Once everybody asks and acks, everything that may still be delivered is.
    fn drain(&mut self) {
        for _ in 0..6 {
            for (consumer, _) in CONSUMERS {
                // Clients that never ack would take messages away from the one that does.
                let lost = Fault::PullsLost { stream: "S".into(), consumer: consumer.into(), told: None };
                self.turn(vec![Input::Faulted(lost)]);
                let request = PullRequest { batch: 1000, expires_ns: 100 * MS, ..PullRequest::default() };
                let (inbox, effects) = self.bench.start_pull("S", consumer, request);
                let mut effects = effects;
                self.witness(&effects);
                loop {
                    let deliveries = super::deliveries(std::mem::take(&mut effects), &inbox);
                    if deliveries.is_empty() {
                        break;
                    }
                    for delivery in deliveries {
                        let own = self.witnesses.get_mut(consumer).expect("a consumer");
                        own.unsettled.remove(&delivery.ack.stream_seq);
                        own.settled.insert(delivery.ack.stream_seq);
                        let (delivery, kind) = (delivery.ack, AckKind::Ack);
                        let acked = self.bench.turn(vec![Input::Acked { delivery, kind, reply: None }]);
                        self.witness(&acked);
                        effects.extend(acked);
                    }
                    let more = self.bench.advance(0);
                    self.witness(&more);
                    effects.extend(more);
                }
            }
            self.advance(1_000);
        }
        for (name, own) in &self.witnesses {
            let info = self.bench.broker.machine().consumer("S", name).expect("a consumer");
            assert_eq!((info.num_pending, info.num_ack_pending), (0, 0), "INV-BRK-2: {name} {own:?}");
        }
    }
}

proptest! {
    #[test]
    fn promises_hold(
        ops in prop::collection::vec(op(), 1..80),
        max_deliver in prop::sample::select(vec![-1, 3]),
        max_ack_pending in prop::sample::select(vec![1, 3, 1000]),
        deliveries_per_step_max in prop::sample::select(vec![1, 256]),
    ) {
        let limits = Limits { deliveries_per_step_max, ..LIMITS };
        let mut model = Model::new(limits, max_deliver, max_ack_pending);
        for op in &ops {
            model.apply(op, max_ack_pending);
        }
        model.drain();
    }

    /// Recovering after every turn changes nothing a publisher can see, and loses no message for any consumer.
    #[test]
    fn a_crash_after_every_turn(ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model::new(LIMITS, -1, 1000);
        for op in &ops {
            model.apply(op, 1000);
            model.crash();
            model.compare_log();
        }
        model.drain();
    }

    /// When somebody ticks at other moments, everything still happens, and nothing happens earlier.
    #[test]
    fn lateness_is_only_lateness(late_ms in 0..400_u64, count in 1..6_usize) {
        let mut bench = Bench::new();
        bench.stream("S", |_| {});
        bench.durable("S", "c", |config| config.ack_wait_ns = ACK_WAIT_MS * MS);
        bench.publish_many("s.a", count);
        prop_assert_eq!(bench.take("S", "c", 100).len(), count);
        bench.now.mono = bench.now.mono.plus_ms(ACK_WAIT_MS - 1);
        prop_assert_eq!(bench.fetch("S", "c", 100), ["404 No Messages"]);
        bench.now.mono = bench.now.mono.plus_ms(1 + late_ms);
        prop_assert_eq!(bench.take("S", "c", 100).len(), count);
        prop_assert!(bench.broker.deadline().is_some_and(|(at, _)| at > Mono::ZERO));
    }
}
