//! Snapshots: a stream as an archive, sent to a client in chunks it acknowledges.
//!
//! ```text
//!  begun ─► nobody listens yet: two seconds ─► chunk, chunk, … ─► window full: five seconds for an ack ─► the rest ─► end
//!                                                │                        │
//!                                                └─ nobody listens any more: 408 No Interest      └─ 408 No Flow Response
//! ```
//!
//! It has the consumers as they were when it began, and the messages that were there then, but for those that went
//! meanwhile. It does not hold up the stream.
//!
//! Limits: holds what its consumers know and less than a chunk and a message; a client has at most a window of it that it
//! did not acknowledge.

use super::advisory::Event;
use super::api::ApiError;
use super::archive::{CONSUMER, STATE, Writer, consumers};
use super::archives::{Budget, Then};
use super::error::error;
use super::requests::Answered;
use super::stream::{Stream, rfc3339_ns};
use super::{Answer, Effect, Input, JetStream, keep, no_responders};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::{Mono, Now, Wall};
use crate::wire::subject::Subject;
use std::sync::Arc;

const CHUNK_BYTES_DEFAULT: i64 = 128 << 10;
const CHUNK_BYTES_MIN: i64 = 1 << 10;
const CHUNK_BYTES_MAX: i64 = 1 << 20;
const WINDOW_BYTES_DEFAULT: i64 = 8 << 20;
const WINDOW_BYTES_MAX: i64 = 32 << 20;
/// How long it waits for somebody to listen, before it sends all the same.
const LISTENER_MS: u64 = 2_000;
/// How long it waits for an ack.
const ACK_MS: u64 = 5_000;

/// How a snapshot ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SnapshotEnd {
    /// Everything is sent, in less than one chunk: an empty message.
    Small,
    /// Everything is sent.
    Complete,
    /// Nobody listens any more.
    NoInterest,
    /// Nobody acknowledges what was sent.
    NoFlowResponse,
    /// It cannot go on.
    Failed(String),
}

impl SnapshotEnd {
    /// The status line it is told with, if it is told with one.
    #[must_use]
    pub fn status(&self) -> Option<(u16, &str)> {
        match self {
            Self::Small => None,
            Self::Complete => Some((204, "")),
            Self::NoInterest => Some((408, "No Interest")),
            Self::NoFlowResponse => Some((408, "No Flow Response")),
            Self::Failed(why) => Some((500, why)),
        }
    }

    /// Why it did not succeed, if it did not, as the advisory says it.
    fn error(&self) -> Option<String> {
        match self {
            Self::Small | Self::Complete => None,
            Self::NoInterest => Some("no interest".to_owned()),
            Self::NoFlowResponse => Some("no flow response".to_owned()),
            Self::Failed(why) => Some(why.clone()),
        }
    }
}

/// What a client wants of a snapshot, as it said it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotRequest {
    /// Where chunks go.
    pub deliver_subject: String,
    /// Without consumers.
    pub no_consumers: bool,
    /// How large chunks are, in bytes; 0 for the default.
    pub chunk_bytes: i64,
    /// How much may be on its way, in bytes; 0 for the default.
    pub window_bytes: i64,
}

/// What a snapshot waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wait {
    Nothing,
    /// That somebody listens.
    Listener(Mono),
    /// That a chunk is acknowledged.
    Ack(Mono),
}

/// Whether somebody listens where a snapshot goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Listener {
    NotYet,
    There,
    Gone,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Snapshot {
    stream: Arc<str>,
    /// With the name, which stream it is.
    created_ns: u64,
    pub(super) deliver_subject: String,
    chunk_bytes: usize,
    chunks_max: usize,
    writer: Writer,
    next_seq: u64,
    last_seq: u64,
    is_written: bool,
    chunks: u64,
    unacknowledged: usize,
    wait: Wait,
    listener: Listener,
    began: Wall,
}

const fn ns(at: Wall) -> i64 {
    at.as_ms().saturating_mul(1_000_000).cast_signed()
}

impl Snapshot {
    /// The next messages, until there is a chunk or nothing is left.
    fn write(
        &mut self,
        stream: &Stream,
        budget: &mut Budget,
        cx: &Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        while self.writer.ready() < self.chunk_bytes && !self.is_written && !budget.is_spent() {
            let next = stream.log.range(self.next_seq).next().map(|(seq, _)| seq);
            let Some(seq) = next.filter(|seq| *seq <= self.last_seq) else {
                self.writer.end();
                self.is_written = true;
                return Ok(());
            };
            let message = keep::read_message(&stream.config, &stream.bodies, cx.view(), seq)?;
            let (headers, payload) = (message.headers.as_bytes(), &message.payload);
            self.writer.add(&message.subject, ns(message.stored_at), seq, headers, payload);
            budget.spend(headers.len() + payload.len());
            self.next_seq = seq + 1;
        }
        Ok(())
    }
}

fn refused(why: &str) -> ApiError {
    error(500, 10_064, format!("snapshot failed: {why}"))
}

impl JetStream {
    pub(super) fn snapshot_stream(
        &mut self,
        now: Now,
        stream: &str,
        asked: SnapshotRequest,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let SnapshotRequest { deliver_subject, no_consumers, chunk_bytes, window_bytes } = asked;
        let (name, own) = self.stream_of(stream)?;
        if Subject::parse(&deliver_subject).is_err() {
            return Err(error(400, 10_015, "deliver subject not valid"));
        }
        if self.archives.are_too_many() {
            return Err(refused("too many snapshots and restores at a time"));
        }
        let or = |asked: i64, default| if asked == 0 { default } else { asked };
        let chunk_bytes = or(chunk_bytes, CHUNK_BYTES_DEFAULT).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        let window_bytes = or(window_bytes, WINDOW_BYTES_DEFAULT).clamp(chunk_bytes, WINDOW_BYTES_MAX);
        let bytes = |bytes: i64| usize::try_from(bytes).expect("a bounded positive number");
        let info = self.info(own);
        let mut state = info.state;
        if no_consumers {
            state.consumer_count = 0;
        }
        let mut writer = Writer::new();
        let at = ns(now.wall);
        writer.add(STATE, at, 0, &[], &super::record::to_json(&state));
        for (consumer, own) in own.consumers.iter().filter(|_| !no_consumers) {
            let entry = consumers::write(consumer, &own.config, own.state(now), state.last_seq);
            writer.add(&format!("{CONSUMER}{consumer}"), at, 0, &[], &entry);
        }
        let is_heard =
            self.heard_of.as_ref().is_some_and(|own| (&*own.0, &own.1) == (&*deliver_subject, &None));
        let (listener, wait) = if is_heard {
            (Listener::There, Wait::Nothing)
        } else {
            (Listener::NotYet, Wait::Listener(now.mono.plus_ms(LISTENER_MS)))
        };
        let snapshot = Snapshot {
            stream: name.clone(),
            created_ns: own.created_ns,
            deliver_subject,
            chunk_bytes: bytes(chunk_bytes),
            chunks_max: bytes(window_bytes / chunk_bytes),
            writer,
            next_seq: state.first_seq,
            last_seq: state.last_seq,
            is_written: false,
            chunks: 0,
            unacknowledged: 0,
            wait,
            listener,
            began: now.wall,
        };
        state.consumer_count = own.consumers.len() as u64;
        let id = self.nuid.next();
        self.archives.set_due(&id);
        self.archives.snapshots.insert(id, snapshot);
        self.advise(Event::SnapshotCreated { stream: name.to_string(), state: Box::new(state.clone()) }, cx);
        Ok(Answer::SnapshotBegun { config: Box::new(info.config), state: Box::new(state) })
    }

    /// Where snapshots go: somebody should tell whether anybody listens there.
    pub(super) fn snapshot_subjects(&self) -> impl Iterator<Item = &str> {
        self.archives.snapshots.values().map(|snapshot| snapshot.deliver_subject.as_str())
    }

    pub(super) fn on_snapshot_acked(
        &mut self,
        id: String,
        reply: Option<String>,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(snapshot) = self.archives.snapshots.get_mut(&id) else {
            no_responders(reply, || format!("$JS.SNAPSHOT.ACK.{id}"), cx);
            return;
        };
        snapshot.unacknowledged = snapshot.unacknowledged.saturating_sub(1);
        if matches!(snapshot.wait, Wait::Ack(_)) {
            snapshot.wait = Wait::Nothing;
        }
        self.archives.set_due(&id);
    }

    /// Somebody listens where a snapshot goes, or nobody does any more.
    pub(super) fn note_listener(&mut self, subject: &str, is_there: bool) {
        let mut noted = Vec::new();
        for (id, own) in self.archives.snapshots.iter_mut().filter(|(_, own)| own.deliver_subject == subject)
        {
            match (own.listener, is_there) {
                (Listener::NotYet, true) => (own.listener, own.wait) = (Listener::There, Wait::Nothing),
                (Listener::There, false) => own.listener = Listener::Gone,
                (Listener::NotYet | Listener::Gone, false) | (Listener::There | Listener::Gone, true) => {
                    continue;
                }
            }
            noted.push(id.clone());
        }
        noted.iter().for_each(|id| self.archives.set_due(id));
    }

    /// Sends what may be sent.
    pub(super) fn write_on(
        &mut self,
        now: Now,
        id: &str,
        snapshot: &mut Snapshot,
        mut budget: Budget,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Then, Halt> {
        if snapshot.listener == Listener::Gone {
            return Ok(self.end_snapshot(now, snapshot, SnapshotEnd::NoInterest, cx));
        }
        match snapshot.wait {
            Wait::Listener(until) | Wait::Ack(until) if now.mono < until => return Ok(Then::Waits(until)),
            Wait::Ack(_) => return Ok(self.end_snapshot(now, snapshot, SnapshotEnd::NoFlowResponse, cx)),
            Wait::Listener(_) | Wait::Nothing => snapshot.wait = Wait::Nothing,
        }
        loop {
            let Some(stream) =
                self.streams.get(&snapshot.stream).filter(|own| own.created_ns == snapshot.created_ns)
            else {
                let why =
                    format!("couldn't load next message after seq {}: store is closed", snapshot.next_seq);
                return Ok(self.end_snapshot(now, snapshot, SnapshotEnd::Failed(why), cx));
            };
            snapshot.write(stream, &mut budget, cx)?;
            let to = snapshot.deliver_subject.clone();
            if snapshot.writer.ready() < snapshot.chunk_bytes {
                if !snapshot.is_written {
                    return Ok(Then::GoesOn);
                }
                let payload = snapshot.writer.take(snapshot.writer.ready());
                if !payload.is_empty() {
                    cx.emit(Effect::Chunk { to, reply: None, payload });
                }
                let end = if snapshot.chunks > 0 { SnapshotEnd::Complete } else { SnapshotEnd::Small };
                return Ok(self.end_snapshot(now, snapshot, end, cx));
            }
            if snapshot.unacknowledged >= snapshot.chunks_max {
                let until = now.mono.plus_ms(ACK_MS);
                snapshot.wait = Wait::Ack(until);
                return Ok(Then::Waits(until));
            }
            snapshot.chunks += 1;
            snapshot.unacknowledged += 1;
            let (stream, nth) = (&snapshot.stream, snapshot.chunks);
            let reply = Some(format!("$JS.SNAPSHOT.ACK.{stream}.{id}.{}.{nth}", snapshot.chunk_bytes));
            cx.emit(Effect::Chunk { to, reply, payload: snapshot.writer.take(snapshot.chunk_bytes) });
        }
    }

    fn end_snapshot(
        &mut self,
        now: Now,
        snapshot: &Snapshot,
        end: SnapshotEnd,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Then {
        let moment = |at: Wall| rfc3339_ns(at.as_ms().saturating_mul(1_000_000));
        let stream = snapshot.stream.to_string();
        let (start, error) = (moment(snapshot.began), end.error());
        cx.emit(Effect::SnapshotEnded { to: snapshot.deliver_subject.clone(), end });
        self.advise(Event::SnapshotCompleted { stream, start, end: moment(now.wall), error }, cx);
        Then::Over
    }
}
