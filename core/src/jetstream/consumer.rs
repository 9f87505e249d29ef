//! One consumer: where it is in the stream, what is not settled, what comes next.
//!
//! ```text
//!  stream    1 … floor │ settled, pending, exhausted … │ next_seq … never delivered … last
//!  pending   seq ─► first delivery number, deliveries so far, waiting until │ queued at
//! ```
//!
//! What settles is next door, in [`settle`]: acks, expiries, removals.

use super::api::{AckPolicy, ConsumerConfig, ReplayPolicy, SequencePair};
use super::groups::Pin;
use super::log::{Filters, Log};
use super::pull::{PullStatus, Pulls};
use super::push::Push;
use super::record::{ConsumerRow, ConsumerState, PendingState};
use super::stream::Stream;
use super::{Limits, Timer, consumer_config, moment};
use crate::time::{Mono, Now, Wall};
use std::collections::{BTreeMap, BTreeSet};

pub(super) use purge::Hole;
pub(super) use replay::Replay;

mod describe;
mod purge;
mod replay;
mod settle;
mod start;

/// What an unsettled delivery waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wait {
    /// For its ack, until this moment.
    Until(Mono),
    /// For a pull, at this place of the redelivery queue.
    Queued(u64),
}

/// An unsettled delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pending {
    /// The number of its first delivery; repetitions keep it.
    pub(super) consumer_seq: u64,
    /// How often it was delivered.
    pub(super) deliveries: u64,
    pub(super) wait: Wait,
}

/// The first message of each subject still to deliver, and the last sequence they were chosen from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LastPerSubject {
    pub(super) seqs: BTreeSet<u64>,
    pub(super) chosen_from: u64,
}

/// What a consumer would deliver now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Again.
    Redelivery(u64),
    /// For the first time.
    New(u64),
    /// Nothing: too much is unsettled.
    Stalled,
    /// Nothing is left.
    End,
}

/// Something to tell whoever listens, with the next names at hand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tiding {
    /// A message was delivered as often as it may be.
    Exhausted { stream_seq: u64, deliveries: u64 },
    /// A message is gone whose delivery was unsettled.
    Removed { stream_seq: u64, consumer_seq: u64, deliveries: u64 },
    /// A client is pinned.
    Pinned { id: String },
    /// The pinned client has not pulled for too long.
    PinLost,
    /// It was paused, or goes on.
    Paused { is_paused: bool },
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Consumer {
    /// Durable.
    pub(super) config: ConsumerConfig,
    /// Durable.
    pub(super) created_ns: u64,
    /// Derived from the configuration.
    pub(super) filters: Filters,
    /// Derived from the configuration and the broker's limits.
    ack_pending_max: usize,
    /// What the table says: durable.
    pub(super) flushed: ConsumerState,

    // Durable as of the last flush.
    pub(super) next_seq: u64,
    pub(super) next_delivery: u64,
    pub(super) floor: SequencePair,
    pub(super) pending: BTreeMap<u64, Pending>,
    pub(super) exhausted: BTreeSet<u64>,
    pub(super) last_per_subject: Option<LastPerSubject>,

    // Derived on waking.
    /// Matching messages that were never delivered.
    pub(super) num_pending: u64,
    /// When which unsettled delivery is repeated; those in the queue are not here.
    pub(super) due: BTreeSet<(Mono, u64)>,

    // Lost.
    /// Nothing below matched that was not delivered. Other filters do not make it look back.
    looked_to: u64,
    /// What is to be repeated, in the order in which it became so.
    pub(super) queue: BTreeMap<u64, u64>,
    pub(super) pulls: Pulls,
    /// Without it, clients pull.
    pub(super) push: Option<Push>,
    /// The client that has its group for itself.
    pub(super) pin: Option<Pin>,
    pub(super) replay: Option<Replay>,
    /// Until when nothing is delivered.
    pause_ends: Option<Mono>,
    /// What is still to be told.
    pub(super) tidings: Vec<Tiding>,
    idle_since: Mono,
    /// When something was last delivered, and when something was last settled by a client.
    delivered_at: Option<Wall>,
    pub(super) acked_at: Option<Wall>,
    /// Its state differs from what the table says, or may.
    pub(super) changed: bool,
    pub(super) flush_due: Option<Mono>,
    /// It stands in the broker's queue of those to serve.
    pub(super) signalled: bool,
}

impl Consumer {
    /// A new consumer, positioned as its configuration says. The configuration is a normalised one.
    pub(super) fn create(
        name: &str,
        config: ConsumerConfig,
        created_ns: u64,
        now: Now,
        stream: &Stream,
        limits: &Limits,
    ) -> Self {
        let filters = parse_filters(&config);
        let (next_seq, last_per_subject) = start::start(&config, &filters, stream);
        let position = SequencePair { consumer_seq: 0, stream_seq: next_seq - 1 };
        let state = ConsumerState {
            delivered: position,
            ack_floor: position,
            last_per_subject: last_per_subject.map(|own| (own.seqs, own.chosen_from)),
            ..ConsumerState::default()
        };
        let name = name.to_owned();
        let mut own = Self::recovered(ConsumerRow { name, config, created_ns, state }, limits);
        own.restore(now, &stream.log);
        if own.is_paused() {
            own.tidings.push(Tiding::Paused { is_paused: true });
        }
        own
    }

    /// What a row says, not yet alive: that takes the clocks, see [`restore`](Self::restore).
    pub(super) fn recovered(row: ConsumerRow, limits: &Limits) -> Self {
        let ConsumerRow { name: _, config, created_ns, state } = row;
        Self {
            filters: parse_filters(&config),
            ack_pending_max: ack_pending_max(&config, limits),
            push: Push::new(&config, limits),
            config,
            created_ns,
            flushed: state,
            next_seq: 1,
            next_delivery: 1,
            floor: SequencePair::default(),
            pending: BTreeMap::new(),
            exhausted: BTreeSet::new(),
            last_per_subject: None,
            num_pending: 0,
            due: BTreeSet::new(),
            looked_to: 0,
            queue: BTreeMap::new(),
            pulls: Pulls::default(),
            pin: None,
            replay: None,
            pause_ends: None,
            tidings: Vec::new(),
            idle_since: Mono::ZERO,
            delivered_at: None,
            acked_at: None,
            changed: false,
            flush_due: None,
            signalled: false,
        }
    }

    /// Takes up its last flushed state: after recovery, and when a fault rolls it back. What the stream does not hold any
    /// more is settled, and a position ahead of the stream is moved back to its end.
    pub(super) fn restore(&mut self, now: Now, log: &Log) {
        let state = self.flushed.clone();
        self.next_seq = state.delivered.stream_seq + 1;
        self.next_delivery = state.delivered.consumer_seq + 1;
        self.floor = state.ack_floor;
        self.exhausted = state.exhausted;
        self.last_per_subject =
            state.last_per_subject.map(|(seqs, chosen_from)| LastPerSubject { seqs, chosen_from });
        self.pending.clear();
        self.due.clear();
        self.queue.clear();
        for (seq, own) in state.pending {
            let left_ms = own.due.as_ms().saturating_sub(now.wall.as_ms());
            let left_ns = left_ms.saturating_mul(1_000_000).min(self.ack_wait_ns(own.deliveries));
            let at = plus_ns(now.mono, left_ns);
            let PendingState { consumer_seq, deliveries, .. } = own;
            self.pending.insert(seq, Pending { consumer_seq, deliveries, wait: Wait::Until(at) });
            self.due.insert((at, seq));
        }
        self.idle_since = now.mono;
        self.changed = false;
        self.flush_due = None;
        if let Some(push) = &mut self.push {
            push.start(now.mono);
        }
        self.pin = None;
        self.replay = match self.config.replay_policy {
            ReplayPolicy::Instant => None,
            ReplayPolicy::Original => Some(Replay::new(log.last_seq())),
        };
        self.pause(now);
        self.reconcile(log);
    }

    /// Makes it agree with what the stream holds.
    pub(super) fn reconcile(&mut self, log: &Log) {
        let before = (self.next_seq, self.floor);
        // A start in the future waits for it; any other position beyond the end belongs to messages that were lost.
        let start = self.config.opt_start_seq.unwrap_or(0);
        self.next_seq = self.next_seq.min(start.max(log.last_seq() + 1));
        self.floor.stream_seq = self.floor.stream_seq.min(self.next_seq - 1);
        if let Some(own) = &mut self.last_per_subject {
            own.seqs.retain(|seq| log.contains(*seq));
            own.chosen_from = own.chosen_from.min(log.last_seq());
        }
        self.exhausted.retain(|seq| log.contains(*seq));
        let gone: Vec<u64> = self.pending.keys().copied().filter(|seq| !log.contains(*seq)).collect();
        for seq in gone {
            self.settle(seq);
        }
        self.next_seq = self.next_seq.max(log.first_seq()).max(1);
        self.changed |= before != (self.next_seq, self.floor);
        self.looked_to = 0;
        self.recount(log);
    }

    /// It is somewhere beyond the end of the stream, whatever it delivered.
    pub(super) fn run_ahead(&mut self, log: &Log, by: u64) {
        self.next_seq = log.last_seq() + 1 + by;
        self.last_per_subject = None;
        self.looked_to = 0;
        self.changed = true;
        self.recount(log);
    }

    /// Counts what was never delivered: linear.
    pub(super) fn recount(&mut self, log: &Log) {
        self.num_pending = self.never_delivered(log);
    }

    /// What [`num_pending`](Self::num_pending) must be, counted from the log.
    pub(super) fn never_delivered(&self, log: &Log) -> u64 {
        match &self.last_per_subject {
            Some(own) => own.seqs.len() as u64 + log.count_matching(&self.filters, own.chosen_from + 1),
            None => log.count_matching(&self.filters, self.next_new()),
        }
    }

    /// Changes what may be changed, in a running consumer.
    pub(super) fn reconfigure(&mut self, now: Now, config: ConsumerConfig, log: &Log, limits: &Limits) {
        if config.deliver_subject == self.config.deliver_subject {
            if let Some(push) = &mut self.push {
                push.reconfigure(&config, limits);
            }
        } else {
            // Somebody else listens: what nobody may have got is sent again.
            self.push = Push::new(&config, limits);
            if let Some(push) = &mut self.push {
                push.start(now.mono);
            }
            self.end_ack_waits();
        }
        if config.inactive_threshold_ns != self.config.inactive_threshold_ns {
            self.idle_since = now.mono;
        }
        let was_until = self.config.pause_until.clone();
        let longer_ns = i128::from(config.ack_wait_ns) - i128::from(self.config.ack_wait_ns);
        self.filters = parse_filters(&config);
        self.ack_pending_max = ack_pending_max(&config, limits);
        self.config = config;
        if self.config.pause_until != was_until {
            self.pause(now);
            self.tidings.push(Tiding::Paused { is_paused: self.is_paused() });
        }
        if let Some(own) = &mut self.last_per_subject {
            own.seqs.retain(|seq| log.get(*seq).is_some_and(|meta| self.filters.matches(meta.subject)));
        }
        self.recount(log);
        if longer_ns != 0 {
            self.shift_ack_waits(longer_ns);
        }
        self.changed = true;
    }

    /// What would be delivered now. What may not be delivered again leaves the queue here, as on the server: a NAK of the
    /// last delivery is noticed by the next pull.
    pub(super) fn next(&mut self, log: &Log) -> Next {
        while let Some((_, seq)) = self.queue.first_key_value() {
            let seq = *seq;
            let Some(deliveries) = self.was_delivered_enough(seq) else { return Next::Redelivery(seq) };
            self.exhaust(seq, deliveries);
        }
        if self.pending.len() >= self.ack_pending_max {
            return Next::Stalled;
        }
        if let Some(seq) = self.last_per_subject.as_ref().and_then(|own| own.seqs.first()) {
            return Next::New(*seq);
        }
        let next = log.next_matching(&self.filters, self.next_new());
        self.looked_to = next.unwrap_or(log.last_seq() + 1);
        next.map_or(Next::End, Next::New)
    }

    /// Where messages that were not chosen one by one begin.
    pub(super) fn next_new(&self) -> u64 {
        let chosen_from = self.last_per_subject.as_ref().map_or(0, |own| own.chosen_from);
        self.next_seq.max(self.looked_to).max(chosen_from + 1)
    }

    /// Records a delivery. Returns its number and how often the message was delivered with it.
    pub(super) fn record_delivery(&mut self, seq: u64, now: Now) -> (u64, u64) {
        let consumer_seq = self.next_delivery;
        self.next_delivery += 1;
        self.idle_since = now.mono;
        self.delivered_at = Some(now.wall);
        self.changed = true;
        if let Some(repeated) = self.unwait(seq) {
            let deliveries = repeated.deliveries + 1;
            self.wait_for_ack(seq, repeated.consumer_seq, deliveries, now);
            return (consumer_seq, deliveries);
        }
        self.num_pending -= 1;
        self.next_seq = seq + 1;
        if let Some(own) = &mut self.last_per_subject {
            own.seqs.remove(&seq);
            if own.seqs.is_empty() {
                self.next_seq = self.next_seq.max(own.chosen_from + 1);
                self.last_per_subject = None;
            }
        }
        if self.config.ack_policy == AckPolicy::None {
            self.floor = SequencePair { consumer_seq, stream_seq: seq };
        } else {
            self.wait_for_ack(seq, consumer_seq, 1, now);
        }
        (consumer_seq, 1)
    }

    /// Does what time has made due for its deliveries and pulls, if the tick for it is late.
    pub(super) fn catch_up(&mut self, now: Mono, mut tell: impl FnMut(String, PullStatus)) {
        self.expire_ack_waits(now);
        let last = self.delivered();
        if self.pause_ends.take_if(|at| *at <= now).is_some() {
            self.tidings.push(Tiding::Paused { is_paused: false });
        }
        if self.pin.take_if(|pin| pin.ends <= now).is_some() {
            self.tidings.push(Tiding::PinLost);
        }
        if let Some(replay) = &mut self.replay {
            replay.elapse(now);
        }
        match &mut self.push {
            Some(push) => push.elapse(now, last, tell),
            None => self.pulls.elapse(now, last, &mut tell),
        }
    }

    /// Whether it delivers when there is something to deliver.
    pub(super) fn is_asked(&self) -> bool {
        if self.is_paused() {
            return false;
        }
        match &self.push {
            Some(push) => push.is_open(),
            None => !self.pulls.is_empty(),
        }
    }

    pub(super) const fn is_paused(&self) -> bool {
        self.pause_ends.is_some()
    }

    /// Begins the pause its configuration asks for, if it has not passed.
    fn pause(&mut self, now: Now) {
        let until = self.config.pause_until.as_deref().and_then(moment::parse);
        let left_ms = until.map_or(0, |until| until.as_ms().saturating_sub(now.wall.as_ms()));
        self.pause_ends = (left_ms > 0).then(|| now.mono.plus_ms(left_ms));
    }

    /// Somebody used it.
    pub(super) const fn touch(&mut self, now: Now) {
        self.idle_since = now.mono;
    }

    /// When it next wants to be woken.
    pub(super) fn next_due(&self) -> Option<(Mono, Timer)> {
        let ack_wait = self.due.first().map(|(at, _)| (*at, Timer::AckWait));
        let flush = self.flush_due.map(|at| (at, Timer::ConsumerFlush));
        let inactive = self.inactive_at().map(|at| (at, Timer::Inactivity));
        let asked = match &self.push {
            Some(push) => push.next_due(),
            None => self.pulls.next_due(),
        };
        let pause = self.pause_ends.map(|at| (at, Timer::PauseEnd));
        let pin = self.pin.as_ref().map(|pin| (pin.ends, Timer::PinExpiry));
        let replay = self.replay.as_ref().and_then(Replay::next_due).map(|at| (at, Timer::Pacing));
        [ack_wait, asked, flush, inactive, pause, pin, replay].into_iter().flatten().min()
    }

    /// When it is deleted for not being used: its threshold after it was used, or after the last ack could still come. A
    /// push consumer is used while somebody listens.
    pub(super) fn inactive_at(&self) -> Option<Mono> {
        if self.config.inactive_threshold_ns == 0 || !self.pulls.is_empty() {
            return None;
        }
        if let Some(push) = &self.push {
            let unused = plus_ns(self.idle_since, self.config.inactive_threshold_ns);
            return (!push.is_bound).then_some(unused);
        }
        let last_due = self.due.last().map_or(Mono::ZERO, |(at, _)| *at);
        Some(plus_ns(self.idle_since.max(last_due), self.config.inactive_threshold_ns))
    }

    /// Its state, to be written.
    pub(super) fn flush(&mut self, now: Now) {
        self.flushed = self.state(now);
        self.changed = false;
        self.flush_due = None;
    }

    /// Its state as it would be written now.
    pub(super) fn state(&self, now: Now) -> ConsumerState {
        let due = |wait| match wait {
            Wait::Until(at) => {
                let left_ns = at.as_ns().saturating_sub(now.mono.as_ns());
                Wall::from_ms(now.wall.as_ms().saturating_add(left_ns.div_ceil(1_000_000)))
            }
            Wait::Queued(_) => now.wall,
        };
        let pending = self.pending.iter().map(|(seq, own)| {
            let Pending { consumer_seq, deliveries, wait } = *own;
            (*seq, PendingState { consumer_seq, deliveries, due: due(wait) })
        });
        ConsumerState {
            delivered: self.delivered(),
            ack_floor: self.floor,
            pending: pending.collect(),
            exhausted: self.exhausted.clone(),
            last_per_subject: self.last_per_subject.clone().map(|own| (own.seqs, own.chosen_from)),
        }
    }

    /// The last delivery.
    pub(super) const fn delivered(&self) -> SequencePair {
        SequencePair { consumer_seq: self.next_delivery - 1, stream_seq: self.next_seq - 1 }
    }

    /// How long the ack of the nth delivery may take.
    pub(super) fn ack_wait_ns(&self, deliveries: u64) -> u64 {
        self.config.ack_wait_of_ns(deliveries)
    }
}

fn parse_filters(config: &ConsumerConfig) -> Filters {
    Filters::new(consumer_config::filters(config).expect("a normalised configuration has been parsed"))
}

fn ack_pending_max(config: &ConsumerConfig, limits: &Limits) -> usize {
    match config.ack_policy {
        // Delivered is settled: nothing is ever pending.
        AckPolicy::None => usize::MAX,
        AckPolicy::Explicit | AckPolicy::All => usize::try_from(config.max_ack_pending)
            .map_or(limits.ack_pending_max, |asked| asked.min(limits.ack_pending_max)),
    }
}

/// A moment plus nanoseconds, saturating at the end of time.
pub(super) const fn plus_ns(at: Mono, ns: u64) -> Mono {
    Mono::from_ns(at.as_ns().saturating_add(ns))
}
