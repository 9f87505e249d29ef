//! Pull requests: accepted, waiting in turn, and every way they end.
//!
//! ```text
//!  Pulled ─► refused at once (400, 404, 408, 409, 503)
//!     └────► waiting ─► served in turn, one message each ─► batch full: over without a word, or 409 with bytes left
//!               ├─ 100 after each silent heartbeat
//!               ├─ 404 without wait, and nothing (more) is there
//!               ├─ 408 expired
//!               └─ 409 next message too large, consumer deleted, leader changed, server stopped
//! ```

use super::api::{PullRequest, SequencePair};
use super::consumer::{Consumer, plus_ns};
use super::groups::{self, Member, Rule, Verdict};
pub(super) use super::pull_status::{PullStatus, Unserved};
use super::{Effect, Input, JetStream, Timer};
use crate::cx::Cx;
use crate::time::{Mono, Now};
use std::collections::{BTreeMap, BTreeSet};

/// A waiting request.
#[derive(Clone, PartialEq, Debug)]
struct Waiting {
    inbox: String,
    /// In the priority group of its consumer, if there is one.
    member: Option<Box<Member>>,
    /// One that asked for none gets one, and is told of none.
    messages_left: u64,
    bytes_left: Option<u64>,
    no_wait: bool,
    served: bool,
    expires: Option<Mono>,
    heartbeat: Option<Heartbeat>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
struct Heartbeat {
    every_ns: u64,
    at: Mono,
}

impl Waiting {
    fn new(inbox: String, request: &PullRequest, member: Option<Box<Member>>, now: Now) -> Self {
        let every_ns = request.idle_heartbeat_ns;
        Self {
            inbox,
            member,
            messages_left: request.batch,
            bytes_left: (request.max_bytes > 0).then_some(request.max_bytes),
            no_wait: request.no_wait,
            served: false,
            expires: (request.expires_ns > 0).then(|| plus_ns(now.mono, request.expires_ns)),
            heartbeat: (every_ns > 0).then(|| Heartbeat { every_ns, at: plus_ns(now.mono, every_ns) }),
        }
    }

    fn next_due(&self) -> Option<(Mono, Timer)> {
        let expires = self.expires.map(|at| (at, Timer::PullExpiry));
        let heartbeat = self.heartbeat.map(|heartbeat| (heartbeat.at, Timer::Heartbeat));
        [expires, heartbeat].into_iter().flatten().min()
    }

    const fn unserved(&self) -> Unserved {
        Unserved {
            messages: self.messages_left,
            bytes: match self.bytes_left {
                Some(bytes) => bytes,
                None => 0,
            },
        }
    }
}

/// The requests waiting at one consumer, in the order in which they are served next.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Pulls {
    waiting: BTreeMap<Place, Waiting>,
    /// The next number of a place.
    next: u64,
    due: BTreeSet<(Mono, Timer, Place)>,
    /// Those that end when nothing is left.
    no_wait: BTreeSet<Place>,
}

/// Where a request stands: by priority, then by number.
type Place = (u8, u64);

/// The request that gets the next message.
pub(super) struct Served {
    pub(super) inbox: String,
    /// What it is told after the message.
    pub(super) then: Option<PullStatus>,
    /// Its client is pinned from now on, as the rule's candidate.
    pub(super) is_pinned: bool,
}

impl Pulls {
    pub(super) fn inboxes(&self) -> impl Iterator<Item = &str> {
        self.waiting.values().map(|own| own.inbox.as_str())
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn next_due(&self) -> Option<(Mono, Timer)> {
        self.due.first().map(|(at, timer, _)| (*at, *timer))
    }

    /// How many messages all of them together still want.
    fn messages_wanted(&self) -> u64 {
        self.waiting.values().fold(0, |sum, own| sum.saturating_add(own.messages_left))
    }

    /// Lines up behind the others.
    fn push(&mut self, own: Waiting) {
        let priority = own.member.as_ref().map_or(0, |member| member.priority);
        self.next += 1;
        self.insert((priority, self.next), own);
    }

    fn remove(&mut self, place: Place) -> Option<Waiting> {
        let own = self.waiting.remove(&place)?;
        if let Some((at, timer)) = own.next_due() {
            self.due.remove(&(at, timer, place));
        }
        self.no_wait.remove(&place);
        Some(own)
    }

    /// Ends what expired and fills silence. What does not wait for messages waits for this at most, where too much is
    /// unsettled. `last` is the consumer's last delivery.
    pub(super) fn elapse(&mut self, now: Mono, last: SequencePair, mut tell: impl FnMut(String, PullStatus)) {
        let mut has_expired = false;
        while let Some((_, timer, place)) = self.due.first().copied().filter(|(at, ..)| *at <= now) {
            let Some(mut own) = self.remove(place) else { return };
            if timer == Timer::PullExpiry || own.expires.is_some_and(|at| at <= now) {
                let unserved = own.unserved();
                tell(own.inbox, PullStatus::RequestTimeout(unserved));
                has_expired = true;
                continue;
            }
            if let Some(heartbeat) = &mut own.heartbeat {
                heartbeat.at = plus_ns(now, heartbeat.every_ns);
                tell(own.inbox.clone(), PullStatus::IdleHeartbeat { last, stalled: None });
            }
            self.insert(place, own);
        }
        if has_expired {
            self.reach_end(tell);
        }
    }

    fn insert(&mut self, place: Place, own: Waiting) {
        if let Some((at, timer)) = own.next_due() {
            self.due.insert((at, timer, place));
        }
        if own.no_wait {
            self.no_wait.insert(place);
        }
        self.waiting.insert(place, own);
    }

    /// The next request in turn that can take a message of this size, in bytes; those that cannot are over.
    pub(super) fn serve(
        &mut self,
        bytes: u64,
        now: Mono,
        rule: Option<&Rule>,
        mut tell: impl FnMut(String, PullStatus),
    ) -> Option<Served> {
        let mut passed = 0;
        while let Some((place, _)) = self.waiting.first_key_value() {
            let mut own = self.remove(*place)?;
            let verdict = rule.map_or(Verdict::Serve, |rule| rule.judge(own.member.as_deref()));
            match verdict {
                Verdict::Serve | Verdict::Pin => {}
                Verdict::Pass => {
                    self.push(own);
                    passed += 1;
                    if passed >= self.waiting.len() {
                        return None;
                    }
                    continue;
                }
                Verdict::WrongPin => {
                    let unserved = own.unserved();
                    tell(own.inbox, PullStatus::WrongPinId(unserved));
                    continue;
                }
            }
            if let Some(left) = &mut own.bytes_left {
                let Some(rest) = left.checked_sub(bytes) else {
                    let unserved = own.unserved();
                    tell(own.inbox, PullStatus::MessageSizeExceedsMaxBytes(unserved));
                    continue;
                };
                *left = rest;
                if rest == 0 {
                    own.messages_left = 1;
                }
            }
            let is_pinned = verdict == Verdict::Pin;
            if let (true, Some(member)) = (is_pinned, &mut own.member) {
                member.id = rule.and_then(|rule| rule.candidate.clone());
            }
            own.messages_left = own.messages_left.saturating_sub(1);
            own.served = true;
            let inbox = own.inbox.clone();
            if own.messages_left > 0 {
                if let Some(heartbeat) = &mut own.heartbeat {
                    heartbeat.at = plus_ns(now, heartbeat.every_ns);
                }
                self.push(own);
                return Some(Served { inbox, then: None, is_pinned });
            }
            let unserved = own.unserved();
            return Some(Served {
                inbox,
                is_pinned,
                then: (unserved.bytes > 0).then_some(PullStatus::BatchCompleted(unserved)),
            });
        }
        None
    }

    /// Nothing is left: ends those that do not wait. One that may expire waits for its first message all the same.
    pub(super) fn reach_end(&mut self, mut tell: impl FnMut(String, PullStatus)) {
        for place in self.no_wait.clone() {
            if self.waiting.get(&place).is_some_and(|own| own.served || own.expires.is_none())
                && let Some(own) = self.remove(place)
            {
                tell(own.inbox, PullStatus::NoMessages);
            }
        }
    }

    /// Ends all of them, with a word or without.
    pub(super) fn end(
        &mut self,
        status: impl Fn(Unserved) -> Option<PullStatus>,
        mut tell: impl FnMut(String, PullStatus),
    ) {
        for own in std::mem::take(self).waiting.into_values() {
            if let Some(status) = status(own.unserved()) {
                tell(own.inbox, status);
            }
        }
    }

    /// Drops the requests of an inbox. Returns whether there were any.
    pub(super) fn abandon(&mut self, inbox: &str) -> bool {
        let gone: Vec<Place> =
            self.waiting.iter().filter(|(_, own)| own.inbox == inbox).map(|(place, _)| *place).collect();
        for place in &gone {
            self.remove(*place);
        }
        !gone.is_empty()
    }
}

/// Sends statuses.
pub(super) fn teller<'c>(cx: &'c mut Cx<'_, Input, Effect>) -> impl FnMut(String, PullStatus) + 'c {
    |inbox, status| cx.emit(Effect::Status { inbox, status })
}

impl JetStream {
    pub(super) fn on_pulled(
        &mut self,
        now: Now,
        stream: &str,
        consumer: &str,
        inbox: String,
        request: &PullRequest,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let waiting_max = self.limits.waiting_max;
        let mut tell = teller(cx);
        let Some((stream, consumer, own)) = self.consumer_mut(stream, consumer) else {
            return tell(inbox, PullStatus::NoResponders);
        };
        if own.push.is_some() {
            return tell(inbox, PullStatus::ConsumerIsPushBased);
        }
        own.touch(now);
        own.catch_up(now.mono, &mut tell);
        match refusal(own, request, waiting_max, now) {
            Ok(member) => own.pulls.push(Waiting::new(inbox, request, member, now)),
            Err(Some(status)) => tell(inbox, status),
            Err(None) => {}
        }
        if own.is_paused() {
            // What does not wait does not wait for the end of a pause either.
            own.pulls.reach_end(&mut tell);
        }
        drop(tell);
        self.tell_tidings(&stream, &consumer, cx);
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
    }

    pub(super) fn on_abandoned(&mut self, now: Now, inbox: &str) {
        self.unbind(now, inbox);
        let mut touched = Vec::new();
        for (stream, own) in &mut self.streams {
            for (consumer, own) in &mut own.consumers {
                if own.pulls.abandon(inbox) {
                    touched.push((stream.clone(), consumer.clone()));
                }
            }
        }
        for (stream, consumer) in touched {
            self.arm_consumer(now, &stream, &consumer);
        }
    }
}

/// Why a request does not wait; `None` when it is dropped without a word.
fn refusal(
    own: &mut Consumer,
    request: &PullRequest,
    waiting_max: usize,
    now: Now,
) -> Result<Option<Box<Member>>, Option<PullStatus>> {
    let config = &own.config;
    let heartbeat_ns = request.idle_heartbeat_ns;
    if heartbeat_ns > 0 && heartbeat_ns.saturating_mul(2) > request.expires_ns {
        return Err(Some(PullStatus::BadRequest("heartbeat value too large")));
    }
    let max = config.max_batch.unsigned_abs();
    if max > 0 && request.batch > max {
        return Err(Some(PullStatus::ExceededMaxRequestBatch { max }));
    }
    let max_ns = config.max_expires_ns;
    if max_ns > 0 && request.expires_ns > max_ns {
        return Err(Some(PullStatus::ExceededMaxRequestExpires { max_ns }));
    }
    let max = config.max_bytes.unsigned_abs();
    if max > 0 && request.max_bytes > max {
        return Err(Some(PullStatus::ExceededMaxRequestMaxBytes { max }));
    }
    let member = groups::admit(config, request).map_err(Some)?;
    let asked_max = config.max_waiting;
    if member.is_some() {
        own.renew_pin(request.id.as_deref(), now).map_err(Some)?;
    }
    let there = own.num_pending + own.queue.len() as u64;
    if request.no_wait && there == 0 && request.expires_ns == 0 {
        return Err(Some(PullStatus::NoMessages));
    }
    let waiting_max = usize::try_from(asked_max).unwrap_or(usize::MAX).min(waiting_max);
    if own.pulls.len() >= waiting_max {
        // The server stays silent towards a client that will notice the missing heartbeat.
        return Err((heartbeat_ns == 0).then_some(PullStatus::ExceededMaxWaiting));
    }
    if request.no_wait && there > 0 && there < own.pulls.messages_wanted() {
        return Err(Some(PullStatus::RequestsPending));
    }
    Ok(member)
}
