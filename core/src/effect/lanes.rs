//! Lanes: effects that wait because as many calls as may be are under way, or have begun of late, under their key.
//!
//! ```text
//!             ┌─ lane open, nobody before it ────────────────────────────► InFlight
//! Waiting ────┼─ else, if memory has a place for it ─► Queued ─ its turn ─► Called ─► InFlight
//!             └─ else forgotten: on disk only ─► found again, in a later pass over the disk
//! ```
//!
//! A lane is one effect under one key, for as long as somebody uses it: calls under way, those that wait in the order
//! in which they came to it, and a [bucket](super::bucket). The first that waits is called as soon as the lane lets it,
//! and nobody else begins in between. A retry is a call, and waits behind those that came before it.
//!
//! What memory has no place for is [forgotten](super::forgotten): of what is left of the places each lane may take half,
//! so a lane is never kept out by another. While one has forgotten an effect, later ones are forgotten too, or they would
//! overtake it. When a lane is open and nobody in memory waits for it, a pass over what is on disk begins, one at a time
//! and never before the last has seen everything. In it a lane takes up where it stopped in the last one ([`Round`]), so
//! none that is tried again and again keeps those behind it from their turn. The same way keys take turns at the lanes if
//! there are more keys than lanes: until those who have none got one, the others take nothing in and end.
//!
//! Lost on purpose: all of it. In a new life buckets begin empty; calls of an earlier life that the service still works
//! on do not count. An effect without limits never comes here.
//!
//! - INV-EFF-8: no more calls are under way, and no more begin in a second, under a key than its limits allow.
//!
//! Limits: `lanes_max` lanes; half of `tracked_max` effects wait in memory, those that upstreams hold among them. A pass
//! reads every row that was forgotten, so in a backlog of that size each call costs as many rows as the backlog has for
//! every place in memory.
//!
//! Not here: what is waited for with an upstream ([`upstreams`](super::upstreams)).

use super::bucket::Bucket;
use super::opened::Opened;
use super::round::Round;
use super::{Effect, Effects, State};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::{EffectDef, EffectLimits, LaneLimits};
use crate::marks::Mark;
use crate::program::{Gas, ProgramError};
use crate::quirks::{Quirk, Quirks};
use crate::time::{Mono, Now};
use crate::wire::id::Name;
use std::collections::{BTreeMap, BTreeSet};

/// Names a lane; never used again in a life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(super) struct LaneId(u64);

/// An effect and the key of its limits.
type LaneName = (Name, String);

/// When a lane is looked at again without a fact about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listed {
    No,
    /// Somebody waits, and this is when a call may begin.
    Opens(Mono),
    /// Nobody waits and nothing is under way; from then on nothing is lost with it.
    AtRest(Mono),
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Lane {
    name: LaneName,
    in_flight: u64,
    in_flight_max: u64,
    bucket: Option<Bucket>,
    /// Those that wait in memory, in the order in which they came.
    queue: BTreeMap<u64, u64>,
    /// The one that begins next.
    called: Option<u64>,
    round: Round,
    listed: Listed,
}

impl Lane {
    fn new(name: LaneName, limits: LaneLimits, now: Mono, quirks: Quirks) -> Self {
        let in_flight_max = limits.in_flight_max.filter(|_| !quirks.has(Quirk::EffectIgnoreLane));
        let rate = limits.rate.filter(|_| !quirks.has(Quirk::EffectIgnoreRate));
        Self {
            name,
            in_flight: 0,
            in_flight_max: in_flight_max.unwrap_or(u64::MAX),
            bucket: rate.map(|rate| Bucket::new(rate, now)),
            queue: BTreeMap::new(),
            called: None,
            round: Round::default(),
            listed: Listed::No,
        }
    }

    fn is_full(&self) -> bool {
        self.in_flight >= self.in_flight_max
    }

    /// When a call may begin, unless too many are under way.
    fn opens_at(&self) -> Mono {
        self.bucket.map_or(Mono::ZERO, |bucket| bucket.opens_at())
    }

    fn full_at(&self) -> Mono {
        self.bucket.map_or(Mono::ZERO, |bucket| bucket.full_at())
    }

    fn is_open(&self, now: Mono) -> bool {
        !self.is_full() && self.opens_at() <= now
    }

    /// Nobody in memory waits for it or is called in it.
    fn is_at_rest(&self) -> bool {
        self.in_flight == 0 && self.called.is_none() && self.queue.is_empty()
    }
}

/// All lanes in use.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Lanes {
    of: BTreeMap<LaneName, LaneId>,
    list: BTreeMap<LaneId, Lane>,
    opening: BTreeSet<(Mono, LaneId)>,
    at_rest: BTreeSet<(Mono, LaneId)>,
    /// When the first of this life was opened: before that, somebody else may have called.
    begun: Option<Mono>,
    last: LaneId,
    /// How many came to wait.
    tickets: u64,
    /// Waiting, in memory, in all lanes.
    queued: usize,
    /// Whose turn it is to have a lane.
    round: Round,
    wants_pass: bool,
}

impl Lanes {
    pub(super) const fn queued(&self) -> usize {
        self.queued
    }

    pub(super) const fn wants_pass(&self) -> bool {
        self.wants_pass
    }

    /// When a lane opens that somebody waits for, or may end because somebody waits for one.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let ends = self.at_rest.first().filter(|_| self.round.is_behind() && !self.wants_pass);
        self.opening.first().into_iter().chain(ends).map(|(at, _)| *at).min()
    }

    /// Whatever was forgotten is looked at again.
    pub(super) fn remembered(&mut self) {
        self.wants_pass = false;
        self.round.again();
        for (id, lane) in &mut self.list {
            lane.round.again();
            if lane.is_at_rest() && lane.listed == Listed::No {
                lane.listed = Listed::AtRest(lane.full_at());
                self.at_rest.insert((lane.full_at(), *id));
            }
        }
    }

    /// The lane an effect may come to, if it is its turn to have one.
    fn open(
        &mut self,
        now: Mono,
        position: u64,
        name: LaneName,
        limits: LaneLimits,
        quirks: Quirks,
        lanes_max: usize,
    ) -> Option<LaneId> {
        let known = self.of.get(&name).copied();
        let in_use = known.filter(|id| self.list.get(id).is_some_and(|lane| !lane.is_at_rest()));
        let has_turn = if in_use.is_some() { !self.round.is_closed() } else { self.round.admits(position) };
        if !has_turn {
            return None;
        }
        if known.is_some() {
            return known;
        }
        while let Some((at, id)) = self.at_rest.first().copied()
            && at <= now
        {
            self.at_rest.pop_first();
            if let Some(lane) = self.list.remove(&id) {
                self.of.remove(&lane.name);
            }
        }
        if self.list.len() >= lanes_max {
            return None;
        }
        let begun = *self.begun.get_or_insert(now);
        self.last.0 += 1;
        self.list.insert(self.last, Lane::new(name.clone(), limits, begun, quirks));
        self.of.insert(name, self.last);
        Some(self.last)
    }

    fn unlist(&mut self, id: LaneId) {
        let Some(lane) = self.list.get_mut(&id) else { return };
        match std::mem::replace(&mut lane.listed, Listed::No) {
            Listed::No => {}
            Listed::Opens(at) => drop(self.opening.remove(&(at, id))),
            Listed::AtRest(at) => drop(self.at_rest.remove(&(at, id))),
        }
    }

    /// A call began.
    pub(super) fn began(&mut self, now: Mono, id: LaneId) {
        let Some(lane) = self.list.get_mut(&id) else { return };
        lane.in_flight += 1;
        if let Some(bucket) = &mut lane.bucket {
            bucket.take(now);
        }
    }

    /// A call ended.
    pub(super) fn ended(&mut self, id: LaneId) {
        if let Some(lane) = self.list.get_mut(&id) {
            lane.in_flight -= 1;
        }
    }
}

impl Effects {
    /// Effects in memory that wait for their turn under the limits of their key.
    #[must_use]
    pub const fn queued(&self) -> usize {
        self.lanes.queued()
    }

    /// The lane in which an effect begins now; `None` if it waits.
    pub(super) fn lane_for<I>(
        &mut self,
        now: Now,
        position: u64,
        opened: &Opened,
        definition: &EffectDef,
        limits: &EffectLimits,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Option<LaneId>, ProgramError> {
        if let Some(id) = self.leave_call(position) {
            return Ok(Some(id));
        }
        let key = limits.key(&opened.command(), &mut Gas::new(self.config.gas_max))?;
        let name = (definition.name.clone(), key);
        let (quirks, lanes_max) = (self.config.quirks, self.config.limits.lanes_max);
        let Some(id) = self.lanes.open(now.mono, position, name, limits.each, quirks, lanes_max) else {
            cx.mark(Mark::EffectLanesCrowded);
            self.lanes.round.pass_over(position);
            self.lanes.wants_pass |= self.lanes.list.len() < lanes_max;
            self.forget(position);
            return Ok(None);
        };
        let places = self.places_to_wait();
        let Some(lane) = self.lanes.list.get_mut(&id) else { return Ok(None) };
        let admits = lane.round.admits(position);
        if admits && lane.called.is_none() && lane.queue.is_empty() && lane.is_open(now.mono) {
            lane.round.admitted(position);
            return Ok(Some(id));
        }
        if admits && lane.queue.len() < places.div_ceil(2) {
            lane.round.admitted(position);
            cx.mark(if lane.is_full() { Mark::EffectLaneFull } else { Mark::EffectLanePaced });
            self.lanes.tickets += 1;
            self.lanes.queued += 1;
            let ticket = self.lanes.tickets;
            lane.queue.insert(ticket, position);
            let ends_at = self.ends_at(now, position, &opened.row, definition.retry);
            if let Some(tracked) = self.tracked.get_mut(&position) {
                tracked.state = State::Queued { lane: id, ticket };
                self.due.extend(ends_at.map(|at| (at, position)));
            }
        } else {
            cx.mark(Mark::EffectLaneForgotten);
            lane.round.pass_over(position);
            self.forget(position);
        }
        self.stir(now.mono, id);
        Ok(None)
    }

    /// Something about a lane has changed: who is next is called if it may be, or the lane is looked at when it may.
    pub(super) fn stir(&mut self, now: Mono, id: LaneId) {
        self.lanes.unlist(id);
        let Some(lane) = self.lanes.list.get_mut(&id) else { return };
        let on_disk = lane.round.is_behind() && !self.lanes.round.is_behind();
        if lane.is_at_rest() && !on_disk {
            lane.listed = Listed::AtRest(lane.full_at());
            self.lanes.at_rest.insert((lane.full_at(), id));
        } else if lane.called.is_some() || lane.is_full() || (lane.queue.is_empty() && !on_disk) {
            // It is stirred again when that one begins, or a call ends.
        } else if !lane.is_open(now) {
            lane.listed = Listed::Opens(lane.opens_at());
            self.lanes.opening.insert((lane.opens_at(), id));
        } else if let Some((_, position)) = lane.queue.first_key_value() {
            let position = *position;
            lane.called = Some(position);
            self.leave_queue(position);
            if let Some(tracked) = self.tracked.get_mut(&position) {
                tracked.state = State::Called { lane: id };
            }
            self.ready.insert(position);
        } else {
            self.lanes.wants_pass = true;
        }
    }

    /// Lanes may be open, or over.
    pub(super) fn wake_lanes(&mut self, now: Mono) {
        while let Some((at, id)) = self.lanes.opening.first().copied()
            && at <= now
        {
            self.stir(now, id);
        }
        let over = self.lanes.at_rest.first().is_some_and(|(at, _)| *at <= now);
        self.lanes.wants_pass |= over && self.lanes.round.is_behind();
    }

    /// An effect waits in its lane no more; which lane that was.
    pub(super) fn leave_queue(&mut self, position: u64) -> Option<LaneId> {
        let tracked = self.tracked.get_mut(&position)?;
        let State::Queued { lane, ticket } = tracked.state else { return None };
        tracked.state = State::Waiting;
        if let Some(ends_at) = tracked.ends_at {
            self.due.remove(&(ends_at, position));
        }
        self.lanes.queued -= 1;
        if let Some(own) = self.lanes.list.get_mut(&lane) {
            own.queue.remove(&ticket);
        }
        Some(lane)
    }

    /// An effect that was called begins, or does not after all; its lane is to be stirred.
    pub(super) fn leave_call(&mut self, position: u64) -> Option<LaneId> {
        let tracked = self.tracked.get_mut(&position)?;
        let State::Called { lane } = tracked.state else { return None };
        tracked.state = State::Waiting;
        if let Some(own) = self.lanes.list.get_mut(&lane) {
            own.called = None;
        }
        Some(lane)
    }

    /// That lanes and what is in them agree; how many calls may begin is judged where they are seen.
    pub(super) fn check_lanes(&self) -> Result<(), Halt> {
        let mut busy: BTreeMap<LaneId, u64> = BTreeMap::new();
        for own in self.tracked.values() {
            if let State::InFlight { lane: Some(lane), .. } = own.state {
                *busy.entry(lane).or_default() += 1;
            }
        }
        let mut queued = 0;
        for (id, lane) in &self.lanes.list {
            let busy = busy.remove(id).unwrap_or(0);
            invariant!(
                busy == lane.in_flight,
                Eff8,
                "{busy} calls in {:?}, not {}",
                lane.name,
                lane.in_flight
            );
            queued += lane.queue.len();
            for (ticket, position) in &lane.queue {
                let state = self.tracked.get(position).map(|own| &own.state);
                let waits =
                    matches!(state, Some(State::Queued { lane, ticket: own }) if lane == id && own == ticket);
                invariant!(waits, Eff8, "{position} is queued in {:?}, and is {state:?}", lane.name);
            }
            let is_called = lane.called.is_none_or(|position| {
                let state = self.tracked.get(&position).map(|own| &own.state);
                self.ready.contains(&position) && matches!(state, Some(State::Called { lane }) if lane == id)
            });
            invariant!(is_called, Eff8, "{:?} has called {:?}", lane.name, lane.called);
        }
        invariant!(busy.is_empty(), Eff8, "calls in lanes that are over: {busy:?}");
        invariant!(queued == self.lanes.queued, Eff8, "{queued} queued, {} counted", self.lanes.queued);
        let (of, list) = (self.lanes.of.len(), self.lanes.list.len());
        invariant!(of == list && list <= self.config.limits.lanes_max, Eff8, "{list} lanes under {of} names");
        Ok(())
    }
}
