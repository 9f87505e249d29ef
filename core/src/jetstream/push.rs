//! Push: what a consumer with a deliver subject keeps, and when it may send.
//!
//! ```text
//!  unbound ─ InterestGained ─► bound ─► sends until the window is full or its rate is reached
//!     ▲                         │  ▲        │ more than half a window out: 100 FlowControl Request
//!     └─────── Abandoned ───────┘  └────────┘ FlowControlled: that much is confirmed, the window doubles
//! ```
//!
//! Silence is filled with heartbeats, which name the request still open, so that a client that lost it can confirm.
//! All of it is lost in a restart.

use super::api::{ConsumerConfig, SequencePair};
use super::consumer::plus_ns;
use super::pull::PullStatus;
use super::{ConsumerKey, JetStream, Limits, Timer};
use crate::time::{Mono, Now};
use std::sync::Arc;

/// Largest window, in bytes; the first one is a sixteenth of it.
const WINDOW_BYTES_MAX: u64 = 32 << 20;
const WINDOW_BYTES_FIRST: u64 = WINDOW_BYTES_MAX / 16;
const SECOND_NS: i128 = 1_000_000_000;

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Push {
    pub(super) subject: Arc<str>,
    /// Somebody listens there.
    pub(super) is_bound: bool,
    heartbeat: Option<Heartbeat>,
    window: Option<Window>,
    rate: Option<Rate>,
    /// The next message may not be sent earlier.
    held_until: Option<Mono>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Heartbeat {
    every_ns: u64,
    at: Mono,
}

/// What is sent and not confirmed.
#[derive(Clone, PartialEq, Debug)]
struct Window {
    bytes_max: u64,
    bytes: u64,
    asked: Option<Asked>,
}

/// A request for confirmation that is open.
#[derive(Clone, PartialEq, Debug)]
struct Asked {
    reply: String,
    /// What its answer confirms.
    bytes: u64,
}

/// A bucket that fills at a rate and is emptied by what is sent.
#[derive(Clone, PartialEq, Debug)]
struct Rate {
    bytes_per_s: u64,
    burst_bytes: u64,
    /// When there was nothing in it, had it been filling ever since.
    empty_at_ns: i128,
}

impl Rate {
    /// How long until there is enough for a message; more than the bucket holds passes when it is full.
    fn wait_ns(&self, bytes: u64, now: Mono) -> u64 {
        let ready_at_ns = self.empty_at_ns + self.fill_ns(bytes.min(self.burst_bytes));
        u64::try_from((ready_at_ns - i128::from(now.as_ns())).max(0)).unwrap_or(u64::MAX)
    }

    fn take(&mut self, bytes: u64, now: Mono) {
        let brim_ns = i128::from(now.as_ns()) - self.fill_ns(self.burst_bytes);
        self.empty_at_ns = self.empty_at_ns.max(brim_ns) + self.fill_ns(bytes);
    }

    fn fill_ns(&self, bytes: u64) -> i128 {
        i128::from(bytes) * SECOND_NS / i128::from(self.bytes_per_s.max(1))
    }
}

impl Push {
    /// What a push consumer begins with; `None` for one that clients pull from.
    pub(super) fn new(config: &ConsumerConfig, limits: &Limits) -> Option<Self> {
        let subject = config.deliver_subject.as_deref()?.into();
        let every_ns = config.idle_heartbeat_ns;
        let window = Window { bytes_max: WINDOW_BYTES_FIRST, bytes: 0, asked: None };
        Some(Self {
            subject,
            is_bound: false,
            heartbeat: (every_ns > 0).then_some(Heartbeat { every_ns, at: Mono::ZERO }),
            window: config.flow_control.then_some(window),
            rate: Self::rate(config, limits),
            held_until: None,
        })
    }

    fn rate(config: &ConsumerConfig, limits: &Limits) -> Option<Rate> {
        let bytes_per_s = config.rate_limit_bits_per_s / 8;
        let burst_bytes = limits.message_bytes_max as u64;
        // The bucket is full at first.
        let empty_at_ns = i128::from(i64::MIN);
        (config.rate_limit_bits_per_s > 0).then_some(Rate { bytes_per_s, burst_bytes, empty_at_ns })
    }

    /// What may be changed while it runs.
    pub(super) fn reconfigure(&mut self, config: &ConsumerConfig, limits: &Limits) {
        let rate = Self::rate(config, limits);
        if rate.as_ref().map(|rate| rate.bytes_per_s) != self.rate.as_ref().map(|rate| rate.bytes_per_s) {
            self.rate = rate;
            self.held_until = None;
        }
    }

    /// The clocks are known: silence begins.
    pub(super) fn start(&mut self, now: Mono) {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.at = plus_ns(now, heartbeat.every_ns);
        }
        if let Some(window) = &mut self.window {
            *window = Window { bytes_max: WINDOW_BYTES_FIRST, bytes: 0, asked: None };
        }
        self.held_until = None;
    }

    /// Whether it sends when there is something to send and its rate allows it.
    pub(super) fn is_open(&self) -> bool {
        self.is_bound && self.window.as_ref().is_none_or(|window| window.bytes <= window.bytes_max)
    }

    /// Whether a message of this size may be sent now. If not, it will be woken when it may.
    pub(super) fn admits(&mut self, bytes: u64, now: Mono) -> bool {
        let wait_ns = self.rate.as_ref().map_or(0, |rate| rate.wait_ns(bytes, now));
        if wait_ns > 0 {
            self.held_until = Some(plus_ns(now, wait_ns));
            return false;
        }
        self.held_until = None;
        if let Some(rate) = &mut self.rate {
            rate.take(bytes, now);
        }
        true
    }

    /// Records what was sent, in bytes on the wire. Returns whether the client has to be asked to confirm.
    pub(super) fn record(&mut self, bytes: u64, now: Mono) -> bool {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.at = plus_ns(now, heartbeat.every_ns);
        }
        let Some(window) = &mut self.window else { return false };
        window.bytes += bytes;
        match &mut window.asked {
            None => window.bytes > window.bytes_max / 2,
            Some(asked) => {
                if window.bytes - asked.bytes >= window.bytes_max {
                    asked.bytes += bytes;
                }
                false
            }
        }
    }

    /// Asks the client to confirm all that is out.
    pub(super) fn ask(&mut self, reply: String) -> PullStatus {
        if let Some(window) = &mut self.window {
            window.asked = Some(Asked { reply: reply.clone(), bytes: window.bytes });
        }
        PullStatus::FlowControlRequest { reply }
    }

    /// The client confirms. Returns whether this was what it had been asked.
    fn confirm(&mut self, reply: &str) -> bool {
        let Some(window) = &mut self.window else { return false };
        let Some(asked) = window.asked.take_if(|asked| asked.reply == reply) else { return false };
        window.bytes_max = (window.bytes_max * 2).min(WINDOW_BYTES_MAX);
        window.bytes = window.bytes.saturating_sub(asked.bytes);
        true
    }

    /// Fills silence.
    pub(super) fn elapse(&mut self, now: Mono, last: SequencePair, mut tell: impl FnMut(String, PullStatus)) {
        if self.held_until.is_some_and(|at| at <= now) {
            self.held_until = None;
        }
        let Some(heartbeat) = self.heartbeat.as_mut().filter(|own| self.is_bound && own.at <= now) else {
            return;
        };
        heartbeat.at = plus_ns(now, heartbeat.every_ns);
        let asked = self.window.as_ref().and_then(|window| window.asked.as_ref());
        let stalled = asked.map(|asked| asked.reply.clone());
        tell(self.subject.to_string(), PullStatus::IdleHeartbeat { last, stalled });
    }

    pub(super) fn next_due(&self) -> Option<(Mono, Timer)> {
        let heartbeat = self.heartbeat.filter(|_| self.is_bound).map(|own| (own.at, Timer::Heartbeat));
        let held = self.held_until.filter(|_| self.is_bound).map(|at| (at, Timer::Pacing));
        [heartbeat, held].into_iter().flatten().min()
    }

    /// Somebody listens, or nobody does any more.
    fn bind(&mut self, is_bound: bool, now: Mono) {
        self.is_bound = is_bound;
        // The server's clock for heartbeats ticks on while nobody listens.
        if let Some(own) = self.heartbeat.as_mut().filter(|own| own.at < now) {
            let missed = (now.as_ns() - own.at.as_ns()) / own.every_ns + 1;
            own.at = plus_ns(own.at, missed.saturating_mul(own.every_ns));
        }
    }
}

impl JetStream {
    /// The subjects push consumers and snapshots deliver on, and the queue group they deliver to, if to any: somebody
    /// should tell whether anybody listens there.
    pub fn deliver_subjects(&self) -> impl Iterator<Item = (&str, Option<&str>)> {
        let keys = self
            .deliver_subjects
            .iter()
            .flat_map(|(subject, keys)| keys.iter().map(move |key| (subject, key)));
        let pushes = keys.map(|(subject, key)| (subject.as_ref(), self.deliver_group(key)));
        pushes.chain(self.snapshot_subjects().map(|subject| (subject, None)))
    }

    fn deliver_group(&self, key: &ConsumerKey) -> Option<&str> {
        let own = self.streams.get(&key.stream)?.consumers.get(&key.consumer)?;
        own.config.deliver_group.as_deref()
    }

    /// The subject a flow control request is answered on.
    pub(super) fn flow_control_subject(stream: &str, consumer: &str, token: &str) -> String {
        format!("$JS.FC.{stream}.{consumer}.{token}")
    }

    pub(super) fn on_interest_gained(&mut self, now: Now, subject: String, group: Option<String>) {
        if group.is_none() {
            self.note_listener(&subject, true);
        }
        if !self.deliver_subjects.contains_key(subject.as_str()) {
            self.heard_of = Some((subject, group));
            return;
        }
        self.bind_all(now, &subject, group.as_deref(), true);
    }

    pub(super) fn on_interest_lost(&mut self, now: Now, subject: &str, group: Option<&str>) {
        self.heard_of.take_if(|own| (own.0.as_str(), own.1.as_deref()) == (subject, group));
        if group.is_none() {
            self.note_listener(subject, false);
        }
        self.bind_all(now, subject, group, false);
    }

    /// Those that deliver there to this group.
    fn bind_all(&mut self, now: Now, subject: &str, group: Option<&str>, is_bound: bool) {
        let keys = self.deliver_subjects.get(subject).into_iter().flatten();
        let keys: Vec<_> = keys.filter(|key| self.deliver_group(key) == group).cloned().collect();
        for key in keys {
            self.bind(now, &key, is_bound);
        }
    }

    pub(super) fn unbind(&mut self, now: Now, subject: &str) {
        self.heard_of.take_if(|own| own.0 == subject);
        self.note_listener(subject, false);
        for key in self.deliver_subjects.get(subject).cloned().unwrap_or_default() {
            self.bind(now, &key, false);
        }
    }

    fn bind(&mut self, now: Now, key: &ConsumerKey, is_bound: bool) {
        let Some((stream, consumer, own)) = self.consumer_mut(&key.stream, &key.consumer) else { return };
        let Some(push) = own.push.as_mut().filter(|push| push.is_bound != is_bound) else { return };
        push.bind(is_bound, now.mono);
        own.touch(now);
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
    }

    /// A consumer is there, or has got another deliver subject: it is listed under it, and bound if somebody listens.
    pub(super) fn list_deliver_subject(&mut self, now: Now, key: &ConsumerKey) {
        let Some((.., own)) = self.consumer_mut(&key.stream, &key.consumer) else { return };
        let Some(push) = &own.push else { return };
        let (subject, group) = (push.subject.clone(), own.config.deliver_group.clone());
        let others = self.deliver_subjects.entry(subject.clone()).or_default();
        others.insert(key.clone());
        let others: Vec<ConsumerKey> = others.iter().filter(|other| *other != key).cloned().collect();
        let other = others.into_iter().find(|other| self.deliver_group(other) == group.as_deref());
        let shared = other.and_then(|other| {
            let (.., other) = self.consumer_mut(&other.stream, &other.consumer)?;
            other.push.as_ref().map(|push| push.is_bound)
        });
        let is_heard = || self.heard_of.as_ref().is_some_and(|own| own.0 == *subject && own.1 == group);
        if shared.unwrap_or_else(is_heard) {
            self.bind(now, key, true);
        }
    }

    pub(super) fn unlist_deliver_subject(&mut self, subject: &str, key: &ConsumerKey) {
        if let Some(keys) = self.deliver_subjects.get_mut(subject) {
            keys.remove(key);
            if keys.is_empty() {
                self.deliver_subjects.remove(subject);
            }
        }
    }

    pub(super) fn on_flow_controlled(&mut self, now: Now, stream: &str, consumer: &str, token: &str) {
        let reply = Self::flow_control_subject(stream, consumer, token);
        let Some((stream, consumer, own)) = self.consumer_mut(stream, consumer) else { return };
        if own.push.as_mut().is_some_and(|push| push.confirm(&reply)) {
            self.signal(&stream, &consumer);
            self.arm_consumer(now, &stream, &consumer);
        }
    }
}
