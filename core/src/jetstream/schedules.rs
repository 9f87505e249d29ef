//! Messages that are schedules: when one is due, a message is stored on the subject it names.
//!
//! ```text
//!  published with Nats-Schedule ─► checked ─► stored, alone on its subject ─► due ─► message on Nats-Schedule-Target
//!        ▲                                                       │                     │
//!        │ published again, or something else on its subject     │ repeats: due again  │ once: purged
//!        └──────────── the one before is no schedule any more ◄──┘─────────────────────┘
//! ```
//!
//! The message has the body and the headers of the schedule, or of the last one on `Nats-Schedule-Source`, without what
//! is said to the broker; `Nats-Scheduler` names the schedule, `Nats-Schedule-Next` says when it is due again.
//!
//! | what | how long it lasts |
//! |---|---|
//! | which messages are schedules | derived on recovery from their headers |
//! | when one is due that was due before, and that one is none any more | durable with the turn that made it so |
//!
//! What could not be stored because there is no room is tried again after [`RETRY_MS`]. A schedule takes some 150 bytes of
//! memory and its subject.

use super::admit::{check_memory, check_rollup, check_room, check_sizes, check_ttl};
use super::api::{ApiError, StreamConfig};
use super::consumer::Hole;
use super::directives::{Directives, ROLLUP, SCHEDULE, SCHEDULE_NEXT, SCHEDULE_ZONE, SCHEDULER, TTL};
use super::error::error;
use super::expiry::parse_ttl;
use super::log::Seqs;
use super::publish::{Arrival, Publish};
use super::schedule::{Invalid, Schedule};
use super::stream::Stream;
use super::{Effect, Input, JetStream, StoredMessage, Timer, keep};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::{Now, Wall};
use crate::wire::header_block::HeaderBlock;
use crate::wire::headers::NATS_MSG_ID;
use crate::wire::subject::{Filter, Subject};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// No schedule fires earlier after it was stored.
const DELAY_MS: u64 = 250;
const RETRY_MS: u64 = 1_000;
/// What a schedule's message says about the next one when there is none.
const PURGE: &str = "purge";

/// A schedule in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scheduled {
    /// The message.
    pub seq: u64,
    /// When it is due.
    pub due: Wall,
}

/// The schedules of a stream.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Schedules {
    by_subject: BTreeMap<Arc<str>, Scheduled>,
    by_due: BTreeSet<(Wall, u64, Arc<str>)>,
}

impl Schedules {
    fn insert(&mut self, subject: &Arc<str>, scheduled: Scheduled) {
        self.remove(subject);
        self.by_due.insert((scheduled.due, scheduled.seq, subject.clone()));
        self.by_subject.insert(subject.clone(), scheduled);
    }

    fn remove(&mut self, subject: &str) -> Option<Scheduled> {
        let (subject, scheduled) = self.by_subject.remove_entry(subject)?;
        self.by_due.remove(&(scheduled.due, scheduled.seq, subject));
        Some(scheduled)
    }

    /// A message is gone.
    pub(super) fn forget(&mut self, subject: &str, seq: u64) {
        if self.by_subject.get(subject).is_some_and(|own| own.seq == seq) {
            self.remove(subject);
        }
    }

    /// What a row says: when a schedule is due; [`Wall::MAX`] when it is none any more.
    pub(super) fn set_due(&mut self, subject: &Arc<str>, seq: u64, due: Wall) {
        if self.by_subject.get(subject).is_none_or(|own| own.seq != seq) {
            return;
        }
        self.remove(subject);
        if due < NEVER {
            self.insert(subject, Scheduled { seq, due });
        }
    }

    fn first_due(&self) -> Option<Wall> {
        self.by_due.first().map(|(due, ..)| *due)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, Scheduled)> {
        self.by_subject.iter().map(|(subject, own)| (subject, *own))
    }

    /// Takes a stored message up, if it is a schedule; whether it is.
    pub(super) fn note(
        &mut self,
        subject: &Arc<str>,
        seq: u64,
        headers: &HeaderBlock,
        stored_at: Wall,
    ) -> bool {
        if headers.text(SCHEDULE).is_none() {
            return false;
        }
        let (pattern, zone) = (headers.text(SCHEDULE), headers.text(SCHEDULE_ZONE));
        let schedule = Schedule::parse(pattern, zone, stored_at).ok().flatten();
        let Some(first) = schedule.and_then(|schedule| schedule.first(stored_at)) else { return false };
        let due = first.max(Wall::from_ms(stored_at.as_ms().saturating_add(DELAY_MS)));
        self.insert(subject, Scheduled { seq, due });
        true
    }
}

/// The moment of what is no schedule any more.
pub(super) const NEVER: Wall = Wall::from_ms(u64::MAX);

/// What a message that is checked asks of its stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Asked {
    /// It is a schedule: it replaces what is on its subject.
    pub(super) is_schedule: bool,
    /// The subject whose schedule it ends.
    pub(super) cancels: Option<String>,
}

impl Asked {
    /// A schedule says that it replaces what was on its subject.
    pub(super) fn complete(&self, publish: &mut Publish) {
        if self.is_schedule && publish.headers.text(ROLLUP).is_none_or(str::is_empty) {
            publish.headers.append(ROLLUP, "sub");
        }
    }
}

fn refused(err_code: u32, what: &str) -> ApiError {
    error(400, err_code, format!("message schedules {what}"))
}

fn disabled() -> ApiError {
    refused(10_188, "is disabled")
}

/// Whether a message may be the schedule it wants to be, or end another.
pub(super) fn check(
    stream: &Stream,
    subject: &str,
    asked: &Directives<'_>,
    now: Wall,
) -> Result<Asked, ApiError> {
    let config = &stream.config;
    let schedule = Schedule::parse(asked.schedule, asked.schedule_zone, now).map_err(|why| match why {
        _ if !config.allow_msg_schedules => disabled(),
        Invalid::Zone => refused(10_223, "time zone is invalid"),
        Invalid::Pattern => refused(10_189, "pattern is invalid"),
    })?;
    if schedule.is_some() {
        check_schedule(stream, subject, asked)?;
    }
    let cancels = check_scheduler(stream, subject, asked)?;
    Ok(Asked { is_schedule: schedule.is_some(), cancels })
}

fn check_schedule(stream: &Stream, subject: &str, asked: &Directives<'_>) -> Result<(), ApiError> {
    let config: &StreamConfig = &stream.config;
    if !config.allow_msg_schedules {
        return Err(disabled());
    }
    if asked.schedule_ttl.is_some_and(|ttl| parse_ttl(ttl).is_none()) {
        return Err(refused(10_191, "invalid per-message TTL"));
    }
    if asked.schedule_ttl.is_some() && !config.allow_msg_ttl {
        return Err(error(400, 10_166, "per-message TTL is disabled"));
    }
    let invalid_rollup = || refused(10_192, "invalid rollup");
    if asked.schedule_rollup.is_some_and(|rollup| rollup != "sub") {
        return Err(invalid_rollup());
    }
    let is_own = |other: &str| {
        let is_captured = || stream.rules.subjects.iter().any(|own| own.matches(other));
        Subject::parse(other).is_ok() && other != subject && is_captured()
    };
    let target = asked.schedule_target.filter(|target| is_own(target));
    let Some(target) = target else { return Err(refused(10_190, "target is invalid")) };
    if asked.schedule_source.is_some_and(|source| !is_own(source) || source == target) {
        return Err(refused(10_203, "source is invalid"));
    }
    if asked.rollup.is_some_and(|rollup| !rollup.eq_ignore_ascii_case("sub")) {
        return Err(invalid_rollup());
    }
    Ok(())
}

fn check_scheduler(
    stream: &Stream,
    subject: &str,
    asked: &Directives<'_>,
) -> Result<Option<String>, ApiError> {
    let invalid = || Err(refused(10_212, "invalid scheduler"));
    let scheduler = match (asked.schedule_next, asked.scheduler) {
        (None, None) => return Ok(None),
        (Some(PURGE), Some(scheduler)) if scheduler != subject && Subject::parse(scheduler).is_ok() => {
            scheduler
        }
        (None | Some(_), None | Some(_)) => return invalid(),
    };
    if !stream.config.allow_msg_schedules {
        return Err(disabled());
    }
    let is_there = stream.log.on_subject(scheduler).is_some();
    if is_there && !stream.schedules.by_subject.contains_key(scheduler) {
        return invalid();
    }
    Ok(Some(scheduler.to_owned()))
}

/// The headers of the message that a schedule makes.
fn headers_of(mut headers: HeaderBlock, scheduler: &str, next: &str, asked: &Directives<'_>) -> HeaderBlock {
    for name in [SCHEDULE, SCHEDULER, NATS_MSG_ID, TTL, ROLLUP] {
        headers.remove(name);
    }
    headers.remove_prefixed("Nats-Schedule-");
    headers.remove_prefixed("Nats-Expected-");
    let mut added = vec![(SCHEDULER, scheduler), (SCHEDULE_NEXT, next)];
    added.extend(asked.schedule_ttl.map(|ttl| (TTL, ttl)));
    added.extend(asked.schedule_rollup.map(|rollup| (ROLLUP, rollup)));
    headers.append_all(&added);
    headers
}

impl Stream {
    /// A message is stored: it is a schedule, or ends the one that was on its subject.
    pub(super) fn note_schedule(&mut self, message: &StoredMessage, cx: &mut Cx<'_, Input, Effect>) {
        let StoredMessage { seq, subject, headers, stored_at, .. } = message;
        let before = self.schedules.by_subject.get(subject).copied();
        if self.schedules.note(subject, *seq, headers, *stored_at) {
            return;
        }
        if let Some(before) = before {
            self.schedules.remove(subject);
            self.keep_due(before.seq, NEVER, cx);
        }
    }

    /// When the next schedule is due.
    pub(super) fn next_schedule(&self) -> Option<(Wall, Timer)> {
        let fires = self.config.allow_msg_schedules && !self.is_closed;
        self.schedules.first_due().filter(|_| fires).map(|due| (due, Timer::Schedule))
    }
}

impl JetStream {
    /// Stores the messages of schedules that are due, up to a bound: the alarm stands for the rest.
    pub(super) fn fire_schedules(
        &mut self,
        now: Now,
        name: &Arc<str>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let max = self.limits.expiries_per_step_max;
        let Some(stream) = self.streams.get(name).filter(|own| own.next_schedule().is_some()) else {
            return Ok(());
        };
        let due = stream.schedules.by_due.iter().take_while(|(due, ..)| *due <= now.wall).take(max);
        let mut due: Vec<(u64, Arc<str>)> = due.map(|(_, seq, subject)| (*seq, subject.clone())).collect();
        due.sort_unstable();
        // What this step stores cannot be read in it.
        let readable = stream.log.last_seq();
        for (seq, subject) in due {
            self.fire(now, name, &subject, seq, readable, cx)?;
        }
        Ok(())
    }

    fn fire(
        &mut self,
        now: Now,
        name: &Arc<str>,
        subject: &Arc<str>,
        seq: u64,
        readable: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let stream = &self.streams[name];
        let Some(own) = stream.schedules.by_subject.get(subject).filter(|own| own.seq == seq) else {
            return Ok(());
        };
        let own = *own;
        let message = keep::read_message(&stream.config, &stream.bodies, cx.view(), seq)?;
        let headers = message.headers.clone();
        let asked = Directives::of(&headers);
        let schedule = Schedule::parse(asked.schedule, asked.schedule_zone, message.stored_at).ok().flatten();
        let (Some(schedule), Some(target)) = (schedule, asked.schedule_target) else {
            // It came with an archive, and was never checked.
            self.end_schedule(name, subject, seq, cx);
            return Ok(());
        };
        let source =
            asked.schedule_source.and_then(|source| stream.log.on_subject(source)).and_then(Seqs::last);
        let sample = match source {
            Some(source) if source > readable => return Ok(()),
            Some(source) => keep::read_message(&stream.config, &stream.bodies, cx.view(), source)?,
            None => message,
        };
        let next = schedule.again(own.due, now.wall);
        let told = next.map_or_else(|| PURGE.to_owned(), |next| schedule.tell(next));
        let made = Publish {
            subject: stream.rules.transformed(target).unwrap_or_else(|| target.to_owned()),
            reply: None,
            headers: headers_of(sample.headers, subject, &told, &asked),
            payload: sample.payload,
        };
        if self.make(now, name, made, cx).is_err() {
            let later = Wall::from_ms(now.wall.as_ms().saturating_add(RETRY_MS));
            self.set_schedule(name, subject, seq, later, cx);
            return Ok(());
        }
        match next {
            Some(next) => self.set_schedule(name, subject, seq, next, cx),
            None => self.cancel_schedule(now, name, subject, cx),
        }
        Ok(())
    }

    /// Stores a message that a schedule made.
    fn make(
        &mut self,
        now: Now,
        name: &Arc<str>,
        made: Publish,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), ApiError> {
        let stream = &self.streams[name];
        let headers = made.headers.clone();
        let asked = Directives::of(&headers);
        check_sizes(&stream.config, &made, &self.limits)?;
        let (ttl, rollup) = (check_ttl(&stream.config, &asked)?, check_rollup(&stream.config, &asked)?);
        if !stream.is_wanted(&made.subject) {
            self.skip(now, name, &made, None, rollup, cx);
            return Ok(());
        }
        check_memory(stream, &asked, &self.limits)?;
        check_room(stream, &made, rollup, &super::admit::Staged::default())?;
        let seq = self.store(name, Arrival::published(made, &asked, ttl, now), cx);
        self.make_room(now, name, rollup, seq, cx);
        Ok(())
    }

    fn set_schedule(
        &mut self,
        name: &Arc<str>,
        subject: &Arc<str>,
        seq: u64,
        due: Wall,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        // Its own message, or a limit, may have removed it.
        if stream.schedules.by_subject.get(subject).is_some_and(|own| own.seq == seq) {
            stream.schedules.set_due(subject, seq, due);
            stream.keep_due(seq, due, cx);
        }
    }

    fn end_schedule(
        &mut self,
        name: &Arc<str>,
        subject: &Arc<str>,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        self.set_schedule(name, subject, seq, NEVER, cx);
    }

    /// A message is stored that ends a schedule.
    pub(super) fn cancel_as(
        &mut self,
        now: Now,
        name: &Arc<str>,
        asked: &Asked,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        if let Some(subject) = &asked.cancels {
            self.cancel_schedule(now, name, subject, cx);
        }
    }

    /// Purges a schedule.
    fn cancel_schedule(&mut self, now: Now, name: &Arc<str>, subject: &str, cx: &mut Cx<'_, Input, Effect>) {
        let Some(stream) = self.streams.get(name) else { return };
        let seqs = stream.log.on_subject(subject).map_or_else(Vec::new, |seqs| seqs.iter().collect());
        self.purge_messages(now, name, &seqs, cx);
        let filter = Filter::parse(subject).ok();
        self.jump_over(now, name, &Hole { seqs: &seqs, filter: filter.as_ref(), is_told_of: true }, cx);
    }
}
