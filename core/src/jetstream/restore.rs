//! Restores: a client sends an archive in pieces, and gets a stream.
//!
//! ```text
//!  asked ─► state.json: the stream is there, and closed ─► consumers: kept ─► messages: stored ─► (end)
//!                                                                                                  │ empty piece
//!                                     open: its subjects, its consumers, its copies  ◄─────────────┘
//! ```
//!
//! A piece is acknowledged when what is whole of it is stored. What is wrong with an archive is told with the answer at the
//! end; what came before it stays, as with the original: a restore is not undone. A client that is silent for five seconds
//! is given up, without an answer.
//!
//! Limits: holds [`QUEUE_BYTES_MAX`] of pieces that are not read yet, one entry, and consumers of
//! 64 MiB in all.

use super::advisory::Event;
use super::api::{ApiError, StreamConfig};
use super::archive::Reader;
use super::archives::{Budget, Then};
use super::consumer::Consumer;
use super::error::error;
use super::record::ConsumerRow;
use super::requests::Answered;
use super::stream::rfc3339_ns;
use super::upstream::Position;
use super::{Answer, ConsumerKey, Effect, Input, JetStream, no_responders, retention};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::{Mono, Now, Wall};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

mod entries;

/// How long a client may be silent.
const SILENCE_MS: u64 = 5_000;
/// Most bytes of pieces that came before those before them were read.
const QUEUE_BYTES_MAX: usize = 32 << 20;

/// What comes next in the archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    State,
    /// So many consumers.
    Consumers(u64),
    Messages,
    Done,
}

/// The stream that is being restored.
#[derive(Clone, PartialEq, Debug)]
struct Target {
    name: Arc<str>,
    /// With the name, which stream it is.
    created_ns: u64,
    /// The last sequence when the archive was begun.
    last_seq: u64,
    /// The sequence that was restored last.
    at: u64,
}

#[derive(Clone, PartialEq, Debug)]
struct Piece {
    payload: Bytes,
    reply: String,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Restore {
    config: StreamConfig,
    reader: Reader,
    queue: VecDeque<Piece>,
    queued_bytes: usize,
    /// Where the piece is acknowledged that is being read.
    reading: Option<String>,
    phase: Phase,
    target: Option<Target>,
    consumers: Vec<ConsumerRow>,
    consumers_bytes: usize,
    copies: BTreeMap<String, Position>,
    /// What is wrong with the archive.
    error: Option<ApiError>,
    /// Everything was sent: where the answer goes.
    answer_to: Option<String>,
    received_bytes: u64,
    began: Wall,
    ends: Mono,
}

fn failed(why: impl std::fmt::Display) -> ApiError {
    error(500, 10_062, format!("restore failed: {why}"))
}

fn because(what: &str, why: &ApiError) -> ApiError {
    failed(format_args!("{what}: {} ({})", why.description, why.err_code))
}

fn out_of_resources() -> ApiError {
    failed("insufficient resources (10023)")
}

fn name_exists() -> ApiError {
    error(400, 10_130, "stream name already in use, cannot restore")
}

impl JetStream {
    pub(super) fn restore_stream(
        &mut self,
        now: Now,
        config: StreamConfig,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Answered {
        let config = self.normalise(config, false)?;
        if self.streams.contains_key(config.name.as_str()) {
            return Err(name_exists());
        }
        if self.archives.are_too_many() {
            return Err(failed("too many snapshots and restores at a time"));
        }
        let stream = config.name.clone();
        let restore = Restore {
            config,
            reader: Reader::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            reading: None,
            phase: Phase::State,
            target: None,
            consumers: Vec::new(),
            consumers_bytes: 0,
            copies: BTreeMap::new(),
            error: None,
            answer_to: None,
            received_bytes: 0,
            began: now.wall,
            ends: now.mono.plus_ms(SILENCE_MS),
        };
        let id = self.nuid.next();
        let deliver_subject = format!("$JS.SNAPSHOT.RESTORE.{stream}.{id}");
        self.archives.set_due(&id);
        self.archives.restores.insert(id, restore);
        self.advise(Event::RestoreCreated { stream }, cx);
        Ok(Answer::RestoreBegun { deliver_subject })
    }

    pub(super) fn on_restore_chunk(
        &mut self,
        now: Now,
        id: &str,
        reply: Option<String>,
        payload: Bytes,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(restore) = self.archives.restores.get_mut(id) else {
            no_responders(reply, || format!("$JS.SNAPSHOT.RESTORE.{id}"), cx);
            return;
        };
        let Some(reply) = reply else {
            // Whoever does not want to know how it goes, does not get it.
            if let Some(mut restore) = self.archives.restores.remove(id) {
                restore.error.get_or_insert_with(|| failed("every chunk requires a reply subject"));
                self.forget_archive(id);
                self.complete(now, &mut restore, cx);
            }
            return;
        };
        restore.ends = now.mono.plus_ms(SILENCE_MS);
        restore.received_bytes += payload.len() as u64;
        if payload.is_empty() {
            restore.answer_to.get_or_insert(reply);
        } else {
            restore.queued_bytes += payload.len();
            if restore.queued_bytes > QUEUE_BYTES_MAX {
                restore.error.get_or_insert_with(out_of_resources);
            }
            let payload = if restore.error.is_some() { Bytes::new() } else { payload };
            restore.queue.push_back(Piece { payload, reply });
        }
        self.archives.set_due(id);
    }

    /// Reads what has come.
    pub(super) fn read_on(
        &mut self,
        now: Now,
        restore: &mut Restore,
        mut budget: Budget,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Then, Halt> {
        loop {
            while restore.phase != Phase::Done && restore.error.is_none() {
                if budget.is_spent() {
                    return Ok(Then::GoesOn);
                }
                match self.read_entry(now, restore, &mut budget, cx) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(error) => restore.error = Some(error),
                }
            }
            if let Some(to) = restore.reading.take() {
                cx.emit(Effect::Reply { to, answer: Answer::AckProcessed });
            }
            let Some(Piece { payload, reply }) = restore.queue.pop_front() else { break };
            restore.queued_bytes = restore.queued_bytes.saturating_sub(payload.len());
            restore.reading = Some(reply);
            if restore.phase != Phase::Done && restore.error.is_none() {
                restore.reader.push(&payload);
            }
        }
        if restore.answer_to.is_none() && now.mono < restore.ends {
            return Ok(Then::Waits(restore.ends));
        }
        self.complete(now, restore, cx);
        Ok(Then::Over)
    }

    /// Nothing more will come: what there is becomes a stream like any other, and the client is told.
    fn complete(&mut self, now: Now, restore: &mut Restore, cx: &mut Cx<'_, Input, Effect>) {
        if restore.phase != Phase::Done && restore.error.is_none() {
            let why = restore.reader.torn();
            restore.error = Some(failed(why));
        }
        let target = restore.target.take().filter(|own| {
            self.streams.get(&own.name).is_some_and(|stream| stream.created_ns == own.created_ns)
        });
        if let Some(target) = &target {
            let unharmed = restore.error.is_none();
            if let Some(stream) = self.streams.get_mut(&target.name) {
                stream.is_closed = false;
                if unharmed && stream.log.last_seq() < target.last_seq {
                    stream.log.move_last(target.last_seq, stream.log.last_at());
                }
                stream.resume(&restore.copies);
                stream.stage(cx);
            }
            for row in std::mem::take(&mut restore.consumers) {
                if let Err(error) = self.put_back_consumer(now, &target.name, row, cx) {
                    restore.error.get_or_insert(error);
                }
            }
            self.release_needless(now, &target.name, 0, cx);
            self.arm_stream_and_consumers(now, &target.name);
            self.connect_copiers();
        }
        let Restore { received_bytes: bytes, began, ends, .. } = *restore;
        let (error, answer_to) = (restore.error.take(), restore.answer_to.take());
        if answer_to.is_none() && ends <= now.mono {
            // Given up: the original does not even say so.
            return;
        }
        let moment = |at: Wall| rfc3339_ns(at.as_ms().saturating_mul(1_000_000));
        let (start, end) = (moment(began), moment(now.wall));
        let stream = restore.config.name.clone();
        self.advise(Event::RestoreCompleted { stream, start, end, bytes }, cx);
        let stream = target.and_then(|target| self.streams.get(&target.name));
        let info = stream.map(|stream| stream.info(Some(now.wall)));
        let restored = match (error, info) {
            (None, Some(info)) => Ok(Box::new(info)),
            (Some(error), _) => Err(error),
            (None, None) => Err(failed("the stream was deleted")),
        };
        if let Some(to) = answer_to {
            cx.emit(Effect::Reply { to, answer: Answer::Restored(restored) });
        }
    }

    fn put_back_consumer(
        &mut self,
        now: Now,
        stream: &Arc<str>,
        row: ConsumerRow,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), ApiError> {
        let name: Arc<str> = row.name.as_str().into();
        let adding = |why: ApiError| because(&format!("failed to add consumer {name:?}"), &why);
        let limits = self.limits;
        let Some(own) = self.streams.get_mut(stream) else { return Ok(()) };
        if own.consumers.contains_key(&name) {
            return Err(adding(error(400, 10_148, "consumer already exists")));
        }
        retention::check_new(own, &name, &row.config).map_err(adding)?;
        let mut consumer = Consumer::recovered(row, &limits);
        consumer.restore(now, &own.log);
        consumer.flush(now);
        own.consumers.insert(name.clone(), consumer);
        own.keep_consumer(&name, cx);
        self.list_deliver_subject(now, &ConsumerKey { stream: stream.clone(), consumer: name.clone() });
        self.signal(stream, &name);
        self.arm_consumer(now, stream, &name);
        Ok(())
    }
}
