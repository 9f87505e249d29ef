//! Attempts: dispatching lane heads, and what answers do to them.

use super::entry::{Body, Entry, Row, corrupt, message_headers};
use super::given_up::Failure;
use super::{
    CommandRefused, Effect, End, Found, Input, Outbox, Place, Settlement, State, Stored, Tracked, Waited,
    parse_key,
};
use crate::backoff::full_jitter_ms;
use crate::cx::Cx;
use crate::gate::Witness;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::program::contract::Refusal;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall};
use crate::wire::answer::PublishRefused;
use crate::wire::envelope::Command;
use crate::wire::headers;
use crate::wire::id::TenantId;
use crate::wire::keys;
use crate::wire::stream::PlatformStream;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries read from disk at once.
const FILL_MAX: usize = 256;

impl Outbox {
    /// Answers a fact; a settlement is for whoever asked for the entry.
    ///
    /// # Errors
    /// When the table cannot be read.
    pub fn handle<I>(
        &mut self,
        now: Now,
        input: Input,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Option<Settlement>, Halt> {
        let (token, answer) = match input {
            Input::CommandAnswered { token, outcome } => (
                token,
                match outcome {
                    Outcome::Done(accepted) => Answer::End(End::Accepted(accepted)),
                    Outcome::Refused(CommandRefused::Refusal(refusal)) => Answer::End(End::Refused(refusal)),
                    Outcome::Refused(CommandRefused::Busy) => Answer::NotDone,
                    Outcome::Unknown => Answer::Unknown,
                },
            ),
            Input::PublishAnswered { token, outcome } => (
                token,
                match outcome {
                    Outcome::Done(published) => Answer::End(End::Published { seq: published.seq }),
                    Outcome::Refused(PublishRefused::Conflict) => Answer::Conflict,
                    Outcome::Refused(PublishRefused::Full | PublishRefused::Misconfigured { .. }) => {
                        Answer::NotDone
                    }
                    Outcome::Refused(PublishRefused::TooLarge) => Answer::End(End::Refused(Refusal {
                        code: "too_large".into(),
                        message: "the message is larger than the broker allows".into(),
                    })),
                    Outcome::Unknown => Answer::Unknown,
                },
            ),
            Input::Looked { token, outcome } => (token, Answer::Looked(outcome)),
        };
        let Some(position) = self.live_position(token, cx)? else {
            cx.mark(Mark::OutboxStale);
            return Ok(None);
        };
        self.on_answer(now, position, answer, cx)
    }

    /// The entry whose live attempt this token names.
    fn live_position<I>(&mut self, token: Token, cx: &Cx<'_, I, Effect>) -> Result<Option<u64>, Halt> {
        if let Some(position) = self.live.remove(&token) {
            return Ok(Some(position));
        }
        if self.config.quirks.has(Quirk::OutboxAcceptStale) {
            let any =
                self.tracked.iter().find(|(_, tracked)| tracked.is_busy()).map(|(position, _)| *position);
            if let Some(position) = any
                && self.row(position, cx)?.is_some()
            {
                self.live.retain(|_, live| *live != position);
                return Ok(Some(position));
            }
        }
        Ok(None)
    }

    fn row<'v, I>(&self, position: u64, cx: &Cx<'v, I, Effect>) -> Result<Option<&'v [u8]>, Halt> {
        let Some(tracked) = self.tracked.get(&position) else { return Ok(None) };
        Ok(cx.view().get(Table::Outbox, &keys::outbox(&tracked.tenant, position))?)
    }

    pub(super) fn tracked_row<I>(&self, position: u64, cx: &Cx<'_, I, Effect>) -> Result<Row, Halt> {
        let row = self.row(position, cx)?;
        Row::decode(row.ok_or_else(|| corrupt(&format!("entry {position} is tracked but not there")))?)
    }

    fn on_answer<I>(
        &mut self,
        now: Now,
        position: u64,
        answer: Answer,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Option<Settlement>, Halt> {
        self.leave_flight(position);
        let Row { entry, enqueued_at } = self.tracked_row(position, cx)?;
        let failure = match answer {
            Answer::NotDone => Failure::NotNow,
            Answer::End(_) | Answer::Unknown | Answer::Conflict | Answer::Looked(_) => Failure::NoAnswer,
        };
        let settled = match answer {
            Answer::End(End::Accepted(_) | End::Published { .. })
            | Answer::Conflict
            | Answer::Looked(Outcome::Done(_))
                if self.held =>
            {
                cx.mark(Mark::OutboxHeld);
                None
            }
            Answer::End(end) => Some(end),
            Answer::Unknown => {
                cx.mark(Mark::OutboxRetryUnknown);
                let delete = self.config.quirks.has(Quirk::OutboxDeleteOnUnknown);
                delete.then_some(End::Published { seq: 0 })
            }
            Answer::NotDone => {
                cx.mark(Mark::OutboxRetryBusy);
                None
            }
            Answer::Conflict => {
                if !self.config.quirks.has(Quirk::OutboxConflictIsForeign) {
                    // It gave its place back and took it again: another of its tenant may have queued up in between.
                    self.look(now, position, &entry, cx);
                    self.dispatch_ready(now, None, cx)?;
                    return Ok(None);
                }
                None
            }
            Answer::Looked(outcome) => match outcome {
                Outcome::Done(Found::Message { seq, msg_id }) => {
                    if msg_id.as_deref() == entry.subject() {
                        cx.mark(Mark::OutboxFoundOwn);
                        Some(End::Published { seq })
                    } else {
                        cx.mark(Mark::OutboxForeign);
                        Some(End::Refused(Refusal {
                            code: "subject_taken".into(),
                            message: format!("sequence {seq} already holds another message under this id"),
                        }))
                    }
                }
                Outcome::Done(Found::Nothing) => None,
                Outcome::Unknown => {
                    cx.mark(Mark::OutboxRetryUnknown);
                    None
                }
                Outcome::Refused(never) => match never {},
            },
        };
        match settled {
            Some(end) => {
                self.remove(position, cx);
                self.fill(cx.view())?;
                self.dispatch_ready(now, None, cx)?;
                let stored = entry.stored(&end);
                let took_ms = now.wall.as_ms().saturating_sub(enqueued_at.as_ms());
                let waited = Waited { target: entry.target(), took_ms };
                Ok(Some(Settlement { origin: entry.origin, end, stored, waited }))
            }
            None => {
                self.back_off(now, position, failure, cx);
                self.dispatch_ready(now, None, cx)?;
                Ok(None)
            }
        }
    }

    /// Entries whose pause is over become ready; answers that never came count as unknown.
    pub(super) fn wake<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        while let Some((at, position)) = self.due.first().copied() {
            if at > now.mono {
                break;
            }
            self.due.pop_first();
            let Some(tracked) = self.tracked.get_mut(&position) else { continue };
            match tracked.state {
                State::Backoff { .. } => {
                    tracked.state = State::Waiting;
                    self.turns.ready(&tracked.tenant, position);
                }
                State::InFlight { token, .. } | State::Looking { token, .. } => {
                    cx.mark(Mark::OutboxRetryUnknown);
                    self.live.remove(&token);
                    self.leave_flight(position);
                    self.back_off(now, position, Failure::NoAnswer, cx);
                }
                State::Waiting | State::GivenUp(_) => {}
            }
        }
    }

    /// Tracks entries that were on disk only, while there is room: tenant after tenant, so that none is left out.
    pub(super) fn fill(&mut self, view: &dyn View) -> Result<(), Halt> {
        for tenant in self.turns.left_out() {
            self.fill_from(&tenant, view)?;
        }
        for tenant in self.turns.to_fill() {
            self.fill_from(&tenant, view)?;
        }
        Ok(())
    }

    fn fill_from(&mut self, tenant: &TenantId, view: &dyn View) -> Result<(), Halt> {
        let room = self.turns.room(tenant).min(FILL_MAX);
        if room == 0 {
            return Ok(());
        }
        let Some(share) = self.turns.share(tenant) else { return Ok(()) };
        let cursor = share.cursor;
        let mut found = Vec::new();
        let mut broken = None;
        view.scan(Table::Outbox, &keys::outbox(tenant, cursor), &mut |key, row| {
            match parse_key(key).and_then(|own| Ok((own, Row::decode(row)?))) {
                Ok(((own, _), _)) if own != *tenant => return ControlFlow::Break(()),
                Ok(((_, position), _)) if share.ahead.contains(&position) => {}
                Ok(((_, position), row)) => found.push((position, row)),
                Err(halt) => {
                    broken = Some(halt);
                    return ControlFlow::Break(());
                }
            }
            if found.len() < room { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        if let Some(halt) = broken {
            return Err(halt);
        }
        // Rows staged in this very step are not visible yet; whoever staged them tracks them or leaves them here.
        if !found.is_empty() {
            self.turns.filled(tenant);
        }
        for (position, Row { entry, enqueued_at }) in found {
            self.track(position, &entry, enqueued_at);
        }
        Ok(())
    }

    pub(super) fn track(&mut self, position: u64, entry: &Entry, enqueued_at: Wall) {
        self.turns.tracked_up_to(entry.tenant(), position);
        self.line_up(position, entry, enqueued_at);
    }

    /// The entry is the last of its lane in memory.
    pub(super) fn line_up(&mut self, position: u64, entry: &Entry, enqueued_at: Wall) {
        let tenant = entry.tenant();
        let lane: Arc<str> = entry.lane().into();
        let queue = self.lanes.entry(Arc::clone(&lane)).or_default();
        let is_head = queue.is_empty() || self.config.quirks.has(Quirk::OutboxIgnoreLane);
        queue.push_back(position);
        let (tenant, target) = (tenant.clone(), entry.target());
        let tracked = Tracked { tenant, lane, target, enqueued_at, attempt: 0, state: State::Waiting };
        self.tracked.insert(position, tracked);
        if is_head {
            self.came_first(position);
        }
    }

    /// Dispatches ready entries while there are places. `fresh` is an entry staged in this very step.
    pub(super) fn dispatch_ready<I>(
        &mut self,
        now: Now,
        fresh: Option<(u64, &Entry)>,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        if let Some((position, entry)) = fresh
            && !self.turns.is_ready(entry.tenant(), position)
        {
            cx.mark(Mark::OutboxLaneBlocked);
        }
        while !self.held && self.in_flight < self.config.limits.in_flight_max {
            let Some(position) = self.turns.take() else { break };
            match fresh {
                Some((fresh, entry)) if fresh == position => self.dispatch(now, position, entry, cx),
                _ => {
                    let Row { entry, .. } = self.tracked_row(position, cx)?;
                    self.dispatch(now, position, &entry, cx);
                }
            }
        }
        Ok(())
    }

    fn dispatch<I>(&mut self, now: Now, position: u64, entry: &Entry, cx: &mut Cx<'_, I, Effect>) {
        let (token, give_up_at) = self.enter_flight(now, position);
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        tracked.attempt += 1;
        tracked.state = State::InFlight { token, give_up_at };
        let effect = match &entry.body {
            Body::Command(command) => Effect::Submit { token, command: command.clone() },
            Body::Message { stream, subject, tenant, context, payload } => {
                let stream = stream.stream();
                let message_headers = if self.config.quirks.has(Quirk::OutboxFreshIdPerAttempt) {
                    let mut out = context.headers(tenant);
                    out.append(
                        headers::NATS_MSG_ID,
                        &format!("{subject}#{}.{}", token.incarnation, token.seq),
                    );
                    out
                } else {
                    message_headers(tenant, context, stream, subject)
                };
                let (subject, payload) = (subject.clone(), payload.clone());
                Effect::Publish { token, stream, subject, headers: message_headers, payload }
            }
        };
        cx.emit(effect);
    }

    fn look<I>(&mut self, now: Now, position: u64, entry: &Entry, cx: &mut Cx<'_, I, Effect>) {
        let Body::Message { stream, subject, .. } = &entry.body else { return };
        let (token, give_up_at) = self.enter_flight(now, position);
        if let Some(tracked) = self.tracked.get_mut(&position) {
            tracked.state = State::Looking { token, give_up_at };
        }
        let place = if self.config.quirks.has(Quirk::OutboxLooksAtLast) { Place::Last } else { Place::First };
        cx.emit(Effect::Look { token, stream: stream.stream(), subject: subject.clone(), place });
    }

    fn enter_flight(&mut self, now: Now, position: u64) -> (Token, Mono) {
        let token = self.tokens.issue();
        let give_up_at = now.mono.plus_ms(self.config.limits.attempt_timeout_ms);
        self.in_flight += 1;
        if let Some(Tracked { tenant, target, .. }) = self.tracked.get(&position) {
            self.turns.entered(tenant);
            self.loads.entry(*target).or_default().in_flight += 1;
        }
        self.live.insert(token, position);
        self.due.insert((give_up_at, position));
        (token, give_up_at)
    }

    fn leave_flight(&mut self, position: u64) {
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        match tracked.state {
            State::InFlight { give_up_at, .. } | State::Looking { give_up_at, .. } => {
                self.due.remove(&(give_up_at, position));
                self.in_flight -= 1;
                tracked.state = State::Waiting;
                self.turns.left(&tracked.tenant);
                self.loads.entry(tracked.target).or_default().in_flight -= 1;
            }
            State::Waiting | State::Backoff { .. } | State::GivenUp(_) => {}
        }
    }

    fn back_off<I>(&mut self, now: Now, position: u64, failure: Failure, cx: &mut Cx<'_, I, Effect>) {
        if self.gives_up(now, position, failure) {
            cx.mark(Mark::OutboxGaveUp);
            return;
        }
        let limits = self.config.limits;
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        let seed = self.config.seed ^ position;
        let pause = full_jitter_ms(tracked.attempt, limits.backoff_ms, limits.backoff_ms_max, seed);
        let until = now.mono.plus_ms(pause);
        tracked.state = State::Backoff { until };
        self.due.insert((until, position));
    }

    /// INV-OUT-2: the only place where a row is removed.
    pub(super) fn remove<I>(&mut self, position: u64, cx: &mut Cx<'_, I, Effect>) {
        let Some(tracked) = self.tracked.remove(&position) else { return };
        let Tracked { tenant, lane, target, .. } = tracked;
        cx.delete(Table::Outbox, &keys::outbox(&tenant, position));
        self.load(target).depth -= 1;
        if let Some(queue) = self.lanes.get_mut(&lane) {
            queue.retain(|own| *own != position);
            match queue.front().copied() {
                Some(next) => self.came_first(next),
                None => {
                    self.lanes.remove(&lane);
                }
            }
        }
        self.turns.removed(&tenant);
    }
}

impl Entry {
    fn subject(&self) -> Option<&str> {
        match &self.body {
            Body::Command(_) => None,
            Body::Message { subject, .. } => Some(subject),
        }
    }

    /// What the entry left on a stream, if that is how it ended.
    fn stored(&self, end: &End) -> Option<Stored> {
        match (&self.body, end) {
            (Body::Message { stream, subject, payload, .. }, End::Published { seq }) => {
                let witness = Witness::of(subject, payload.as_bytes(), None);
                Some(Stored { stream: stream.stream(), seq: *seq, witness })
            }
            (Body::Command(command), End::Accepted(accepted)) => {
                let Command { tenant, aggregate, id, command_id, .. } = command;
                let id = keys::event_message_id(tenant, aggregate, id, Some(command_id));
                let (stream, seq) = (PlatformStream::AggregateEvents, accepted.seq);
                Some(Stored { stream, seq, witness: Witness::of_id(&id) })
            }
            (Body::Command(_), End::Published { .. } | End::Refused(_))
            | (Body::Message { .. }, End::Accepted(_) | End::Refused(_)) => None,
        }
    }
}

enum Answer {
    End(End),
    NotDone,
    Unknown,
    Conflict,
    Looked(Outcome<Found, std::convert::Infallible>),
}
