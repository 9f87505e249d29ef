//! Giving up: an entry that was tried for too long is kept by the owner of the relay, and behind it all of its lane.
//!
//! ```text
//! Backoff ─ tried for too long ─► GivenUp ─ give_up ─► the owner keeps it, the row is removed; its lane is a kept one
//!                                    ▲                              │
//!                                    └── comes first in a kept lane ┘
//! let_go: rows back at their positions, before all that came meanwhile ─► Waiting
//! freed:  nothing of the lane is kept any more; what came meanwhile ────► Waiting
//! ```
//!
//! An entry is given up on after an attempt that had no definite answer, never before this life has tried it
//! [`ATTEMPTS_MIN`] times: whoever was down for a day has had no chance yet. Not while the relay is held.
//!
//! Its position is its name wherever it is kept, so what is let go again has the message id that it had, and a publish that
//! did reach its stream is found there.
//!
//! Limit: a lane that is let go is in memory whole.

use super::entry::{Entry, Row};
use super::{Effect, Outbox, State};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::quirks::Quirk;
use crate::store::Table;
use crate::time::Now;
use crate::wire::keys;
use std::collections::VecDeque;
use std::sync::Arc;

/// Attempts of this life before an entry is given up on, however old it is.
const ATTEMPTS_MIN: u32 = 3;

/// How an attempt failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    /// It may have happened.
    NoAnswer,
    /// It did not happen, and may yet.
    NotNow,
}

/// Why an entry is given up on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Reason {
    /// It was tried for too long; the last attempt ended like this.
    Tried(Failure),
    /// Earlier entries of its lane are kept.
    Behind,
}

/// An entry that its owner keeps from now on.
#[derive(Clone, PartialEq, Debug)]
pub struct GivenUp {
    /// Its position, by which it is let go again.
    pub position: u64,
    /// Its lane.
    pub lane: Arc<str>,
    /// What it is.
    pub entry: Entry,
    /// Why, for people; absent when it is only behind others of its lane.
    pub why: Option<String>,
}

impl Outbox {
    /// Entries of this lane are kept by the owner: said after [`recover`](Self::recover), for each such lane.
    pub fn keeps(&mut self, lane: &str) {
        self.kept_lanes.insert(lane.into());
    }

    /// Whether some entry is to be kept.
    #[must_use]
    pub fn any_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// Lanes of which the owner keeps entries.
    pub fn kept_lanes(&self) -> impl Iterator<Item = &str> {
        self.kept_lanes.iter().map(|lane| &**lane)
    }

    /// Removes an entry that was given up on: whoever calls keeps it in the same commit.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn give_up<I>(&mut self, cx: &mut Cx<'_, I, Effect>) -> Result<Option<GivenUp>, Halt> {
        let Some(position) = self.given_up.pop_first() else { return Ok(None) };
        let Row { entry, enqueued_at } = self.tracked_row(position, cx)?;
        let Some(tracked) = self.tracked.get(&position) else { return Ok(None) };
        let why = match tracked.state {
            State::GivenUp(Reason::Tried(failure)) => Some(format!(
                "no definite answer since {}: the last attempt {}",
                enqueued_at.rfc3339(),
                match failure {
                    Failure::NoAnswer => "had none",
                    Failure::NotNow => "was refused for the time being",
                }
            )),
            State::GivenUp(Reason::Behind)
            | State::Waiting
            | State::InFlight { .. }
            | State::Looking { .. }
            | State::Backoff { .. } => None,
        };
        let lane = Arc::clone(&tracked.lane);
        if !self.config.quirks.has(Quirk::OutboxLaneRunsOn) {
            self.kept_lanes.insert(Arc::clone(&lane));
        }
        self.remove(position, cx);
        self.fill(cx.view())?;
        Ok(Some(GivenUp { position, lane, entry, why }))
    }

    /// Takes the entries of a lane back that were kept, all of them, in order.
    pub fn let_go<I>(&mut self, now: Now, lane: &str, kept: &[(u64, Entry)], cx: &mut Cx<'_, I, Effect>) {
        let later = self.lanes.remove(lane).unwrap_or_default();
        self.kept_lanes.remove(lane);
        if let Some(first) = later.front() {
            self.given_up.remove(first);
            if let Some(tracked) = self.tracked.get_mut(first) {
                tracked.state = State::Waiting;
            }
        }
        for (position, entry) in kept {
            cx.put(Table::Outbox, &keys::outbox(entry.tenant(), *position), &Row::encode(entry, now.wall));
            self.load(entry.target()).depth += 1;
            self.turns.stored(entry.tenant(), *position);
            self.turns.tracked_alone(entry.tenant(), *position);
            self.line_up(*position, entry, now.wall);
        }
        match self.lanes.get_mut(lane) {
            Some(queue) => queue.extend(later),
            None => self.lane_goes_on(lane, later),
        }
    }

    /// Nothing of this lane is kept any more.
    pub fn freed(&mut self, lane: &str) {
        if self.kept_lanes.remove(lane)
            && let Some(later) = self.lanes.remove(lane)
        {
            self.lane_goes_on(lane, later);
        }
    }

    /// What is behind entries that are gone goes on by itself.
    fn lane_goes_on(&mut self, lane: &str, queue: VecDeque<u64>) {
        let Some(first) = queue.front().copied() else { return };
        self.lanes.insert(lane.into(), queue);
        self.given_up.remove(&first);
        if let Some(tracked) = self.tracked.get_mut(&first) {
            tracked.state = State::Waiting;
        }
        self.came_first(first);
    }

    /// The entry is the first of its lane: it waits for a place, or to be kept behind the others.
    pub(super) fn came_first(&mut self, position: u64) {
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        if self.kept_lanes.contains(&tracked.lane) {
            tracked.state = State::GivenUp(Reason::Behind);
            self.given_up.insert(position);
        } else {
            self.turns.ready(&tracked.tenant, position);
        }
    }

    /// Whether the entry whose attempt has just failed like this is given up on.
    pub(super) fn gives_up(&mut self, now: Now, position: u64, failure: Failure) -> bool {
        let Some(tracked) = self.tracked.get_mut(&position) else { return false };
        let tried_for_ms = now.wall.ms_since(tracked.enqueued_at);
        let is_early = tried_for_ms < self.config.limits.retry_ms_max
            && !self.config.quirks.has(Quirk::OutboxGivesUpAtOnce);
        if self.held || tracked.attempt < ATTEMPTS_MIN || is_early {
            return false;
        }
        tracked.state = State::GivenUp(Reason::Tried(failure));
        self.given_up.insert(position);
        true
    }

    /// INV-OUT-8, as far as memory goes.
    pub(super) fn check_given_up(&self) -> Result<(), Halt> {
        for (position, tracked) in &self.tracked {
            let given_up = matches!(tracked.state, State::GivenUp(_));
            invariant!(
                given_up == self.given_up.contains(position),
                Out8,
                "entry {position} is given up on: {given_up}, and whoever keeps it is told otherwise"
            );
            let stays = given_up || tracked.state == State::Waiting;
            invariant!(
                stays || !self.kept_lanes.contains(&tracked.lane),
                Out8,
                "entry {position} leaves before the kept ones of its lane {}",
                tracked.lane
            );
        }
        Ok(())
    }
}
