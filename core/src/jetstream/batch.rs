//! Atomic batches: messages that are stored all, one behind the other, or not at all.
//!
//! ```text
//!  sequence 1 ─► open ─► the next sequence: staged ─► commit ─► all are admitted? ─► all are stored
//!                 │                                              └─ no: none is
//!                 └─ a gap, too many, silent for too long: abandoned
//! ```
//!
//! What is staged is seen by nobody and checked only for its size; everything else is checked when the batch is committed,
//! each message as if those before it were stored. An open batch is lost with the process: whoever published it has no ack
//! and begins again.
//!
//! Limits: [`MESSAGES_MAX`] of a batch, [`OPEN_MAX`] open ones and [`STAGED_BYTES_MAX`] staged in one stream, [`IDLE_MS`]
//! of silence. Not here: batches that are stored as they come (`allow_batched`), which are refused with the stream.

use super::admit::{Admission, Staged, admit_staged, check_sealed, check_sizes};
use super::advisory::{Abandoned, Event};
use super::api::ApiError;
use super::directives::{BATCH_COMMIT, Directives};
use super::error::{error, out_of_resources};
use super::publish::{Arrival, Publish};
use super::stream::Stream;
use super::{Answer, Effect, Input, JetStream, Limits};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::{Mono, Now};
use std::sync::Arc;

const MESSAGES_MAX: u64 = 1000;
const OPEN_MAX: usize = 50;
const ID_BYTES_MAX: usize = 64;
const IDLE_MS: u64 = 10_000;
const STAGED_BYTES_MAX: usize = 64 << 20;

/// An open batch; lost.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Batch {
    staged: Vec<Publish>,
    /// When it is abandoned, unless it goes on.
    pub(super) ends: Mono,
}

impl Batch {
    fn bytes(&self) -> usize {
        self.staged.iter().map(bytes).sum()
    }
}

fn bytes(publish: &Publish) -> usize {
    publish.subject.len() + publish.headers.len() + publish.payload.len()
}

/// What a message says about the end of its batch.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Commit {
    GoesOn,
    /// It is the last one.
    Last,
    /// The one before it was; this one is none.
    Behind,
}

/// What is to be done with a message of a batch.
enum Step {
    Stage,
    Commit(Vec<Publish>),
    /// There are too many batches to say so.
    Ignore,
}

/// Why a message is not taken, and what that means for its batch.
struct Refusal {
    error: ApiError,
    /// The batch is over; whoever listens is told, unless nothing was begun.
    ends: Option<Option<Abandoned>>,
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        Self { error, ends: None }
    }
}

fn incomplete() -> ApiError {
    error(400, 10_176, "atomic publish batch is incomplete")
}

/// Looks at a message of a batch, and puts it where it belongs.
fn take(
    stream: &mut Stream,
    publish: Publish,
    asked: &Directives<'_>,
    id: &str,
    limits: &Limits,
    now: Now,
) -> Result<Step, Refusal> {
    check_sealed(&stream.config)?;
    check_sizes(&stream.config, &publish, limits)?;
    if !stream.config.allow_atomic {
        return Err(error(400, 10_174, "atomic publish is disabled").into());
    }
    if id.len() > ID_BYTES_MAX {
        return Err(error(400, 10_179, "atomic publish batch ID is invalid").into());
    }
    let Some(seq) = asked.batch_seq.and_then(|seq| seq.parse::<u64>().ok()) else {
        return Err(error(400, 10_175, "atomic publish sequence is missing").into());
    };
    let commit = match asked.batch_commit {
        None => Commit::GoesOn,
        Some("1") => Commit::Last,
        Some("eob") => Commit::Behind,
        Some(_) => {
            let error = error(400, 10_200, "atomic publish batch commit is invalid");
            return Err(Refusal { error, ends: Some(None) });
        }
    };
    let ended = |error, why| Refusal { error, ends: Some(Some(why)) };
    let count = seq.saturating_sub(u64::from(commit == Commit::Behind));
    if count > MESSAGES_MAX {
        let error = error(400, 10_199, format!("atomic publish batch is too large: {MESSAGES_MAX}"));
        return Err(ended(error, Abandoned::Large));
    }
    let staged_bytes: usize = stream.batches.values().map(Batch::bytes).sum();
    let known = match stream.batches.get(id) {
        Some(open) => open.staged.len() as u64,
        None if seq != 1 => return Err(incomplete().into()),
        None if stream.batches.len() >= OPEN_MAX => {
            if commit == Commit::GoesOn {
                return Ok(Step::Ignore);
            }
            return Err(error(429, 10_210, "atomic publish too many inflight").into());
        }
        None => 0,
    };
    if seq != known + 1 || count == 0 {
        return Err(ended(incomplete(), Abandoned::Incomplete));
    }
    if commit != Commit::Behind && staged_bytes + bytes(&publish) > STAGED_BYTES_MAX {
        return Err(ended(out_of_resources(), Abandoned::Large));
    }
    let ends = now.mono.plus_ms(IDLE_MS);
    let open = stream.batches.entry(id.to_owned()).or_insert_with(|| Batch { staged: Vec::new(), ends });
    open.ends = ends;
    match commit {
        Commit::GoesOn => {
            open.staged.push(publish);
            return Ok(Step::Stage);
        }
        Commit::Last => open.staged.push(publish),
        Commit::Behind => {
            if let Some(last) = open.staged.last_mut() {
                last.headers.append(BATCH_COMMIT, "1");
            }
        }
    }
    Ok(Step::Commit(stream.batches.remove(id).map(|batch| batch.staged).unwrap_or_default()))
}

impl JetStream {
    /// A message that names a batch was published into a stream.
    pub(super) fn on_batched(
        &mut self,
        now: Now,
        name: &Arc<str>,
        id: &str,
        mut publish: Publish,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let (reply, headers) = (publish.reply.take(), publish.headers.clone());
        let asked = Directives::of(&headers);
        let limits = self.limits;
        let Some(stream) = self.streams.get_mut(name) else { return Ok(()) };
        let answered = match take(stream, publish, &asked, id, &limits, now) {
            Ok(Step::Ignore) => return Ok(()),
            Ok(Step::Stage) => Ok(Answer::Staged),
            Ok(Step::Commit(staged)) => {
                let count = staged.len() as u64;
                self.commit(now, name, staged, cx)?.map(|seq| Answer::BatchPublished {
                    stream: name.to_string(),
                    seq,
                    batch: id.to_owned(),
                    count,
                })
            }
            Err(Refusal { error, ends }) => {
                if let Some(why) = ends {
                    let was_open = stream.batches.remove(id).is_some();
                    // One that was begun with its own end is told about as well.
                    let is_told = was_open || asked.batch_seq == Some("1");
                    if let Some(reason) = why.filter(|_| is_told) {
                        self.tell_abandoned(name, id, reason, cx);
                    }
                }
                Err(error)
            }
        };
        self.arm_stream(now, name);
        if let Some(to) = reply {
            let refused = |error| Answer::NotPublished { stream: name.to_string(), error };
            cx.emit(Effect::Reply { to, answer: answered.unwrap_or_else(refused) });
        }
        Ok(())
    }

    /// Stores a whole batch; says the sequence of its last message.
    fn commit(
        &mut self,
        now: Now,
        name: &Arc<str>,
        mut staged: Vec<Publish>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<u64, ApiError>, Halt> {
        let mut before = Staged::default();
        let mut admissions = Vec::with_capacity(staged.len());
        for publish in &mut staged {
            let stream = &self.streams[name];
            let headers = publish.headers.clone();
            let admitted =
                match admit_staged(stream, publish, &Directives::of(&headers), &before, now, &self.limits) {
                    Ok(admitted) => admitted,
                    Err(error) => return Ok(Err(error)),
                };
            if let Admission::Store(plan) = &admitted {
                let last = before.count_on(&publish.subject).cloned();
                match self.add_up(name, publish, plan.incr.as_ref(), last, cx.view())? {
                    Ok(_) => {}
                    Err(error) => return Ok(Err(error)),
                }
            }
            before.add(&self.streams[name], publish, &Directives::of(&headers));
            admissions.push(admitted);
        }
        let mut last_seq = 0;
        for (mut publish, admitted) in staged.into_iter().zip(admissions) {
            let headers = publish.headers.clone();
            let asked = Directives::of(&headers);
            last_seq = match admitted {
                Admission::Store(plan) => {
                    plan.schedule.complete(&mut publish);
                    let seq = self.store(name, Arrival::published(publish, &asked, plan.ttl, now), cx);
                    self.make_room(now, name, plan.rollup, seq, cx);
                    self.cancel_as(now, name, &plan.schedule, cx);
                    seq
                }
                Admission::Skip(plan) => {
                    let seq = self.skip(now, name, &publish, asked.msg_id, plan.rollup, cx);
                    self.cancel_as(now, name, &plan.schedule, cx);
                    seq
                }
                Admission::Duplicate { seq } => seq,
            };
        }
        Ok(Ok(last_seq))
    }

    /// Abandons the batches that have been silent for too long.
    pub(super) fn end_idle_batches(&mut self, now: Now, name: &Arc<str>, cx: &mut Cx<'_, Input, Effect>) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let idle = stream.batches.extract_if(.., |_, batch| batch.ends <= now.mono);
        for (id, _) in idle.collect::<Vec<_>>() {
            self.tell_abandoned(name, &id, Abandoned::Timeout, cx);
        }
    }

    fn tell_abandoned(
        &mut self,
        name: &Arc<str>,
        id: &str,
        reason: Abandoned,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let (stream, batch) = (name.to_string(), id.to_owned());
        self.advise(Event::BatchAbandoned { stream, batch, reason }, cx);
    }
}
