//! Priority groups: who of those that wait for messages of one consumer is served first, or at all.
//!
//! | policy | who is served |
//! |---|---|
//! | overflow | in turn, but for those that only come in when enough is pending or unsettled |
//! | pinned client | one, known by the id its messages carry, until it has not pulled for the timeout; then the next |
//! | prioritized | those of the lowest number, in turn |

use super::advisory::Event;
use super::api::{ApiError, ConsumerConfig, PriorityGroupState, PriorityPolicy, PullRequest, ZERO_TIME};
use super::consumer::{Consumer, plus_ns};
use super::error::{consumer_not_found, error};
use super::pull_status::PullStatus;
use super::requests::Answered;
use super::{Answer, Effect, Input, JetStream};
use crate::cx::Cx;
use crate::time::{Mono, Now, Wall};

const PRIORITY_MAX: i64 = 9;

/// The header that tells a client what it is pinned as.
pub(super) const PIN_ID: &str = "Nats-Pin-Id";

/// What a request says about itself to its group.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Member {
    min_pending: u64,
    min_ack_pending: u64,
    pub(super) id: Option<String>,
    pub(super) priority: u8,
}

/// The client that has its group for itself; lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pin {
    pub(super) id: String,
    since: Wall,
    pub(super) ends: Mono,
}

impl Pin {
    pub(super) fn new(id: String, config: &ConsumerConfig, now: Now) -> Self {
        Self { id, since: now.wall, ends: plus_ns(now.mono, config.priority_timeout_ns) }
    }
}

/// What decides who is served now.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub(super) policy: PriorityPolicy,
    pub(super) pin: Option<String>,
    /// What the next client will be pinned as.
    pub(super) candidate: Option<String>,
    pub(super) pending: u64,
    pub(super) ack_pending: u64,
}

/// What becomes of the request whose turn it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Serve,
    /// It is served, and pinned.
    Pin,
    /// The next one is asked.
    Pass,
    /// It is not pinned any more, and over.
    WrongPin,
}

impl Rule {
    pub(super) fn judge(&self, member: Option<&Member>) -> Verdict {
        let none = Member::default();
        let member = member.unwrap_or(&none);
        match self.policy {
            PriorityPolicy::None | PriorityPolicy::Prioritized => Verdict::Serve,
            PriorityPolicy::Overflow => {
                let Member { min_pending, min_ack_pending, .. } = *member;
                let is_met = |min: u64, count: u64| min > 0 && min <= count;
                let is_free = min_pending == 0 && min_ack_pending == 0;
                if is_free || is_met(min_pending, self.pending) || is_met(min_ack_pending, self.ack_pending) {
                    Verdict::Serve
                } else {
                    Verdict::Pass
                }
            }
            PriorityPolicy::PinnedClient => match (&self.pin, &member.id) {
                (None, None) => Verdict::Pin,
                (Some(pin), Some(id)) if pin == id => Verdict::Serve,
                (Some(_), None) => Verdict::Pass,
                (None | Some(_), Some(_)) => Verdict::WrongPin,
            },
        }
    }
}

/// What a request is in its group, if it may be in it; `None` when the consumer knows no groups.
pub(super) fn admit(
    config: &ConsumerConfig,
    request: &PullRequest,
) -> Result<Option<Box<Member>>, PullStatus> {
    let refused = |why: &'static str| Err(PullStatus::BadRequest(why));
    let PullRequest { min_pending, min_ack_pending, priority, .. } = *request;
    if (min_pending != 0 || min_ack_pending != 0) && config.priority_policy != PriorityPolicy::Overflow {
        return refused("Not a Overflow Priority consumer");
    }
    let id = request.id.as_deref().filter(|id| !id.is_empty());
    if id.is_some() && config.priority_policy != PriorityPolicy::PinnedClient {
        return refused("Not a Pinned Client Priority consumer");
    }
    if !(0..=PRIORITY_MAX).contains(&priority) {
        return refused("Priority must be between 0 and 9");
    }
    if config.priority_policy == PriorityPolicy::None {
        return Ok(None);
    }
    match request.group.as_deref() {
        None | Some("") => return refused("Priority Group missing"),
        Some(group) if !config.priority_groups.iter().any(|own| own == group) => {
            return refused("Invalid Priority Group");
        }
        Some(_) => {}
    }
    let count = |min: i64| u64::try_from(min).unwrap_or(0);
    Ok(Some(Box::new(Member {
        min_pending: count(min_pending),
        min_ack_pending: count(min_ack_pending),
        id: id.map(str::to_owned),
        // The other policies serve in turn.
        priority: match config.priority_policy {
            PriorityPolicy::Prioritized => u8::try_from(priority).unwrap_or(0),
            PriorityPolicy::None | PriorityPolicy::Overflow | PriorityPolicy::PinnedClient => 0,
        },
    })))
}

impl Consumer {
    /// The pinned client shows that it lives, or somebody takes itself for it.
    pub(super) fn renew_pin(&mut self, id: Option<&str>, now: Now) -> Result<(), PullStatus> {
        let (Some(pin), Some(id)) = (&mut self.pin, id.filter(|id| !id.is_empty())) else { return Ok(()) };
        if pin.id != id {
            return Err(PullStatus::PinIdMismatch);
        }
        pin.ends = plus_ns(now.mono, self.config.priority_timeout_ns);
        Ok(())
    }

    pub(super) fn group_state(&self) -> Vec<PriorityGroupState> {
        let state = |group: &String| PriorityGroupState {
            group: group.clone(),
            pinned_client_id: self.pin.as_ref().map(|pin| pin.id.clone()),
            pinned_ts: self.pin.as_ref().map_or_else(|| ZERO_TIME.to_owned(), |pin| pin.since.rfc3339()),
        };
        // The server tells of one group, however many there are.
        self.config.priority_groups.first().map(state).into_iter().collect()
    }
}

impl JetStream {
    pub(super) fn unpin_consumer(
        &mut self,
        now: Now,
        stream: &str,
        consumer: &str,
        group: &str,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        if group.is_empty() {
            return Err(error(400, 10_025, "invalid JSON: consumer group not specified"));
        }
        self.stream_of(stream)?;
        let (stream, consumer, own) = self.consumer_mut(stream, consumer).ok_or_else(consumer_not_found)?;
        if !own.config.priority_groups.iter().any(|own| own == group) {
            let why = "Provided priority group does not exist for this consumer";
            return Err::<Answer, ApiError>(error(400, 10_160, why));
        }
        own.pin = None;
        self.advise(Event::unpinned(&stream, &consumer, group, "admin"), cx);
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
        Ok(Answer::ConsumerUnpinned)
    }
}
