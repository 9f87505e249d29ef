//! A stream and the durable consumer that a gate keeps on it, as the gate sees them through adapter and network.
//!
//! The broker decides nothing here about loss or order: what it sends is handed to the test, which may deliver it, lose
//! it, repeat it or keep it until later.

use crate::gate::{
    ConsumerFacts, Delivery, Effect, Input, NoStream, PositionRefused, PullEnd, Rival, Sighting, StreamFacts,
    Witness,
};
use crate::jetstream::api::ConsumerConfig;
use crate::outcome::{Outcome, Token};
use crate::wire::headers::{self, Headers};
use crate::wire::stream::OWNER_METADATA;
use crate::wire::subject::Filter;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What the broker says to a gate.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Sent {
    Fact(Input),
    Message(Delivery),
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Stored {
    pub(crate) subject: String,
    pub(crate) headers: Headers,
    pub(crate) payload: Bytes,
    /// When it was stored: no two messages at the same time.
    at_ns: u64,
}

#[derive(Clone, PartialEq, Debug)]
struct Consumer {
    generation: Token,
    config: ConsumerConfig,
    /// Where it looks for the next message.
    next_seq: u64,
    /// Deliveries so far, repetitions included.
    delivered: u64,
    /// Pulls and how much is left of them, oldest first.
    pulls: Vec<(Token, u64)>,
    unacked: BTreeSet<u64>,
    ack_floor: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Upstream {
    pub(crate) exists: bool,
    pub(crate) incarnation: String,
    pub(crate) first_seq: u64,
    pub(crate) messages: BTreeMap<u64, Stored>,
    last_seq: u64,
    clock_ns: u64,
    /// Another partition's consumer that has a tenant of ours.
    pub(crate) rival: Option<Rival>,
    consumer: Option<Consumer>,
    /// Messages that were acked or terminated, and how often.
    pub(crate) settled: BTreeMap<u64, u32>,
}

impl Upstream {
    pub(crate) fn new() -> Self {
        Self {
            exists: true,
            incarnation: "2026|a".into(),
            first_seq: 1,
            messages: BTreeMap::new(),
            last_seq: 0,
            clock_ns: 0,
            consumer: None,
            rival: None,
            settled: BTreeMap::new(),
        }
    }

    pub(crate) fn store(&mut self, subject: &str, headers: Headers, payload: impl Into<Bytes>) -> u64 {
        self.last_seq += 1;
        self.clock_ns += 1;
        let (subject, payload, at_ns) = (subject.to_owned(), payload.into(), self.clock_ns);
        self.messages.insert(self.last_seq, Stored { subject, headers, payload, at_ns });
        self.last_seq
    }

    /// Messages before this sequence expire, seen or not.
    pub(crate) fn expire_before(&mut self, seq: u64) {
        self.messages.retain(|own, _| *own >= seq);
        self.first_seq = self.first_seq.max(seq.min(self.last_seq + 1));
    }

    /// The end of the log is lost, whoever has seen it.
    pub(crate) fn lose_after(&mut self, seq: u64) {
        self.messages.retain(|own, _| *own <= seq);
        self.last_seq = seq;
    }

    /// One message is lost, whoever has seen it.
    pub(crate) fn lose(&mut self, seq: u64) {
        self.messages.remove(&seq);
    }

    /// The broker forgets how far the consumer has got and what was acked, as after a crash.
    pub(crate) fn roll_back(&mut self) {
        if let Some(consumer) = &mut self.consumer {
            consumer.next_seq = consumer.config.opt_start_seq.unwrap_or(1);
            consumer.delivered = 0;
            consumer.unacked.clear();
        }
    }

    /// Somebody removes the consumer.
    pub(crate) fn lose_consumer(&mut self) {
        self.consumer = None;
    }

    /// A consumer of an earlier life, as inspections see it.
    pub(crate) fn leave_consumer(&mut self, owner: Option<&str>, ack_floor: u64) {
        let metadata = owner.map(|owner| (OWNER_METADATA.to_owned(), owner.to_owned()));
        self.consumer = Some(Consumer {
            generation: Token { incarnation: 0, seq: 0 },
            config: ConsumerConfig { metadata: metadata.into_iter().collect(), ..ConsumerConfig::default() },
            next_seq: ack_floor + 1,
            delivered: 0,
            pulls: Vec::new(),
            unacked: BTreeSet::new(),
            ack_floor,
        });
    }

    pub(crate) fn facts(&self) -> StreamFacts {
        let consumer = self.consumer.as_ref().map(|consumer| ConsumerFacts {
            owner: consumer.config.metadata.get(OWNER_METADATA).cloned(),
            ack_floor_seq: consumer.ack_floor,
        });
        let (first_seq, last_seq) = (self.first_seq, self.last_seq);
        let (incarnation, messages) = (self.incarnation.clone(), self.messages.len() as u64);
        StreamFacts {
            incarnation,
            first_seq,
            last_seq,
            messages,
            found: Vec::new(),
            subjects: BTreeMap::new(),
            consumer,
            rival: self.rival.clone(),
        }
    }

    fn sighting(&self, seq: u64) -> Sighting {
        let witness = self.messages.get(&seq).map(|own| {
            let id = own.headers.get(headers::NATS_MSG_ID);
            Witness::of(&own.subject, &own.payload, Some(own.at_ns)).identified(id)
        });
        Sighting { seq, witness }
    }

    /// Does what a gate asks for, and says what comes back at once.
    pub(crate) fn perform(&mut self, effect: Effect) -> Option<Sent> {
        match effect {
            Effect::Inspect { token, look_at, .. } => {
                let outcome = if self.exists {
                    let stored = |seq: &u64| Some((*seq, self.messages.get(seq)?.subject.clone()));
                    let subjects = look_at.iter().filter_map(stored).collect();
                    let found = look_at.into_iter().map(|seq| self.sighting(seq)).collect();
                    Outcome::Done(StreamFacts { found, subjects, ..self.facts() })
                } else {
                    Outcome::Refused(NoStream)
                };
                Some(Sent::Fact(Input::Inspected { token, outcome }))
            }
            Effect::Position { token, consumer, .. } => {
                let outcome = if self.exists {
                    let start = consumer.opt_start_seq.expect("a gate says where to begin");
                    self.consumer = Some(Consumer {
                        generation: token,
                        config: *consumer,
                        next_seq: start,
                        delivered: 0,
                        pulls: Vec::new(),
                        unacked: BTreeSet::new(),
                        ack_floor: start - 1,
                    });
                    Outcome::Done(())
                } else {
                    Outcome::Refused(PositionRefused { detail: "no stream".into() })
                };
                Some(Sent::Fact(Input::Positioned { token, outcome }))
            }
            Effect::Fetch { generation, pull, request } => match self.consumer_of(generation) {
                Some(consumer) => {
                    consumer.pulls.push((pull, request.batch));
                    None
                }
                None => {
                    let end = PullEnd::ConsumerGone;
                    Some(Sent::Fact(Input::PullEnded { generation, pull, end }))
                }
            },
            Effect::Ack { ack } | Effect::Term { ack, .. } => {
                let seq = ack.parse().expect("the reply address of a delivery is its sequence");
                *self.settled.entry(seq).or_default() += 1;
                if let Some(consumer) = &mut self.consumer {
                    consumer.unacked.remove(&seq);
                    consumer.ack_floor =
                        consumer.unacked.first().map_or(consumer.next_seq, |first| *first) - 1;
                }
                None
            }
        }
    }

    fn consumer_of(&mut self, generation: Token) -> Option<&mut Consumer> {
        self.consumer.as_mut().filter(|consumer| consumer.generation == generation)
    }

    /// The next message that matches, if a pull waits for one.
    pub(crate) fn serve(&mut self) -> Option<Delivery> {
        let consumer = self.consumer.as_mut()?;
        let filters: Vec<Filter> =
            consumer.config.filter_subjects.iter().map(|raw| Filter::parse(raw).expect("legal")).collect();
        let (seq, _) = self
            .messages
            .range(consumer.next_seq..)
            .find(|(_, stored)| filters.iter().any(|filter| filter.matches(&stored.subject)))?;
        let seq = *seq;
        self.deliver(seq)
    }

    /// The ack of a message did not come in time: it is delivered again.
    pub(crate) fn redeliver(&mut self) -> Option<Delivery> {
        let seq = *self.consumer.as_ref()?.unacked.first()?;
        self.deliver(seq)
    }

    fn deliver(&mut self, seq: u64) -> Option<Delivery> {
        let consumer = self.consumer.as_mut()?;
        let (_, left) = consumer.pulls.first_mut()?;
        *left -= 1;
        consumer.pulls.retain(|(_, left)| *left > 0);
        consumer.delivered += 1;
        consumer.next_seq = consumer.next_seq.max(seq + 1);
        consumer.unacked.insert(seq);
        let stored = self.messages.get(&seq)?.clone();
        Some(Delivery {
            generation: consumer.generation,
            subject: stored.subject,
            headers: stored.headers,
            payload: stored.payload,
            stream_seq: seq,
            stored_at_ns: stored.at_ns,
            consumer_seq: consumer.delivered,
            pending: self.last_seq - seq,
            ack: seq.to_string(),
        })
    }

    pub(crate) fn heartbeat(&self) -> Option<Input> {
        let consumer = self.consumer.as_ref().filter(|consumer| !consumer.pulls.is_empty())?;
        let (generation, last_consumer_seq) = (consumer.generation, consumer.delivered);
        Some(Input::Heartbeat { generation, last_consumer_seq })
    }

    /// The oldest pull expires.
    pub(crate) fn end_pull(&mut self) -> Option<Input> {
        let consumer = self.consumer.as_mut().filter(|consumer| !consumer.pulls.is_empty())?;
        let (pull, _) = consumer.pulls.remove(0);
        Some(Input::PullEnded { generation: consumer.generation, pull, end: PullEnd::Served })
    }

    /// Messages asked for and not delivered.
    pub(crate) fn asked(&self) -> u64 {
        self.consumer.iter().flat_map(|consumer| &consumer.pulls).map(|(_, left)| left).sum()
    }
}
