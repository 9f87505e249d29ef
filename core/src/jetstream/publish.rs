//! Publishing: what is admitted goes into the log, and pushes out what it replaces and what there is no room for.
//!
//! ```text
//!  published ─► subject transform ─► admit ─► count ─► log ─► republished, told to consumers ─► limits, rollup
//! ```

use super::admit::{Admission, Rollup, admit};
use super::api::ApiError;
use super::consumer::Hole;
use super::counter::{self, Count};
use super::directives::Directives;
use super::expiry::{Life, Ttl};
use super::log::{Meta, Seqs};
use super::{Answer, Effect, Input, JetStream, StoredMessage, keep, no_responders};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::store::View;
use crate::time::{Now, Wall};
use crate::wire::header_block::HeaderBlock;
use crate::wire::subject::Filter;
use bytes::Bytes;
use std::sync::Arc;

/// A message a client published.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Publish {
    /// On this subject.
    pub subject: String,
    /// Where the ack goes; without it the message is stored in silence.
    pub reply: Option<String>,
    /// Its headers, as they were received.
    pub headers: HeaderBlock,
    /// Its payload.
    pub payload: Bytes,
}

impl JetStream {
    pub(super) fn on_published(
        &mut self,
        now: Now,
        mut publish: Publish,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let name = self.captures.stream_of(&publish.subject).cloned();
        let Some((name, stream)) = name.and_then(|name| self.streams.get_key_value(&name)) else {
            no_responders(publish.reply, || publish.subject, cx);
            return Ok(());
        };
        if stream.is_closed {
            no_responders(publish.reply, || publish.subject, cx);
            return Ok(());
        }
        let name = name.clone();
        if stream.config.no_ack {
            publish.reply = None;
        }
        if let Some(subject) = stream.rules.transformed(&publish.subject) {
            publish.subject = subject;
        }
        let headers = publish.headers.clone();
        let asked = Directives::of(&headers);
        if let Some(id) = asked.batch {
            return self.on_batched(now, &name, id, publish, cx);
        }
        let reply = publish.reply.take();
        let stream_name = name.to_string();
        let published =
            |seq, duplicate, val| Answer::Published { stream: stream_name.clone(), seq, duplicate, val };
        let answer = match admit(stream, &publish, &asked, now, &self.limits) {
            Ok(Admission::Store(plan)) => {
                plan.schedule.complete(&mut publish);
                match self.add_up(&name, &mut publish, plan.incr.as_ref(), None, cx.view())? {
                    Ok(val) => {
                        let seq = self.store(&name, Arrival::published(publish, &asked, plan.ttl, now), cx);
                        self.make_room(now, &name, plan.rollup, seq, cx);
                        self.cancel_as(now, &name, &plan.schedule, cx);
                        published(seq, false, val)
                    }
                    Err(error) => Answer::NotPublished { stream: stream_name, error },
                }
            }
            Ok(Admission::Skip(plan)) => {
                let seq = self.skip(now, &name, &publish, asked.msg_id, plan.rollup, cx);
                self.cancel_as(now, &name, &plan.schedule, cx);
                published(seq, false, None)
            }
            Ok(Admission::Duplicate { seq }) => published(seq, true, None),
            Err(error) => Answer::NotPublished { stream: stream_name, error },
        };
        if let Some(to) = reply {
            cx.emit(Effect::Reply { to, answer });
        }
        Ok(())
    }

    /// Where a message counts, its body becomes the count: on top of the last one, which may be staged and not stored.
    pub(super) fn add_up(
        &self,
        name: &str,
        publish: &mut Publish,
        incr: Option<&Count>,
        staged: Option<Bytes>,
        view: &dyn View,
    ) -> Result<Result<Option<String>, ApiError>, Halt> {
        let Some(incr) = incr else { return Ok(Ok(None)) };
        let stream = &self.streams[name];
        let last = if staged.is_some() {
            staged
        } else {
            let last = stream.log.on_subject(&publish.subject).and_then(Seqs::last);
            let last = last.map(|seq| keep::read_message(&stream.config, &stream.bodies, view, seq));
            last.transpose()?.map(|last| last.payload)
        };
        Ok(counter::count(last.as_ref(), incr).map(|count| {
            publish.payload = count.body();
            Some(count.text())
        }))
    }

    pub(super) fn skip(
        &mut self,
        now: Now,
        name: &Arc<str>,
        publish: &Publish,
        msg_id: Option<&str>,
        rollup: Option<Rollup>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let stream = self.streams.get_mut(name).expect("the stream that admitted the message");
        let seq = stream.log.last_seq() + 1;
        stream.log.move_last(seq, Some(now.wall));
        stream.remember_id(msg_id, seq, now.wall);
        stream.stage(cx);
        self.roll_up(now, name, rollup, &publish.subject, seq, cx);
        self.arm_stream(now, name);
        seq
    }

    /// Removes what there is no room for any more, and what a stored message replaces.
    pub(super) fn make_room(
        &mut self,
        now: Now,
        name: &Arc<str>,
        rollup: Option<Rollup>,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let Some(subject) = self.streams[name].log.get(seq).map(|meta| meta.subject.clone()) else { return };
        self.enforce_limits(now, name, Some(&subject), cx);
        self.roll_up(now, name, rollup, &subject, seq, cx);
    }

    /// Purges what a message replaces: everything below its sequence.
    fn roll_up(
        &mut self,
        now: Now,
        name: &Arc<str>,
        rollup: Option<Rollup>,
        subject: &str,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let log = &self.streams[name].log;
        let (older, filter): (Vec<u64>, _) = match rollup {
            None => return,
            Some(Rollup::Subject) => (
                log.on_subject(subject).map_or_else(Vec::new, |seqs| seqs.iter().collect()),
                Filter::parse(subject).ok(),
            ),
            Some(Rollup::All) => (log.iter().map(|(own, _)| own).collect(), None),
        };
        let (older, _) = older.split_at(older.partition_point(|own| *own < seq));
        self.purge_messages(now, name, older, cx);
        let hole = Hole { seqs: older, filter: filter.as_ref(), is_told_of: true };
        self.jump_over(now, name, &hole, cx);
    }

    /// Puts a message into the log, behind the last one, and tells whoever waits for it.
    pub(super) fn store(
        &mut self,
        name: &Arc<str>,
        arrival: Arrival<'_>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> u64 {
        let stream = self.streams.get_mut(name).expect("the stream that admitted the message");
        let Arrival { subject, headers, payload, msg_id, life, seq, stored_at } = arrival;
        let seq = seq.unwrap_or(stream.log.last_seq() + 1);
        let subject = stream.log.shared_subject(&subject);
        let message = StoredMessage { seq, subject: subject.clone(), headers, payload, stored_at };
        if let Some(republished) = stream.republished(&message) {
            cx.emit(republished);
        }
        stream.log.append(seq, meta(&subject, message.headers.len(), message.payload.len(), stored_at));
        stream.remember_id(msg_id, seq, stored_at);
        if let Some(life) = life {
            stream.lives.insert(seq, life);
        }
        stream.note_schedule(&message, cx);
        stream.keep_message(message, cx);
        self.tell_stored(name, &subject, seq);
        seq
    }

    /// Tells whoever waits for what is stored.
    pub(super) fn tell_stored(&mut self, name: &Arc<str>, subject: &Arc<str>, seq: u64) {
        let Some(stream) = self.streams.get_mut(name) else { return };
        let mut waiting = Vec::new();
        for (consumer, own) in &mut stream.consumers {
            if own.on_stored(seq, subject) && own.is_asked() {
                waiting.push(consumer.clone());
            }
        }
        for consumer in waiting {
            self.signal(name, &consumer);
        }
        if !self.copiers.is_empty() {
            self.note_copiers(name);
        }
    }
}

/// A message on its way into the log.
pub(super) struct Arrival<'h> {
    pub(super) subject: String,
    pub(super) headers: HeaderBlock,
    pub(super) payload: Bytes,
    pub(super) msg_id: Option<&'h str>,
    pub(super) life: Option<Life>,
    /// Where it goes; `None` for the next sequence.
    pub(super) seq: Option<u64>,
    pub(super) stored_at: Wall,
}

impl<'h> Arrival<'h> {
    /// A message that a client published, now.
    pub(super) fn published(publish: Publish, asked: &Directives<'h>, ttl: Option<Ttl>, now: Now) -> Self {
        let Publish { subject, headers, payload, reply: _ } = publish;
        let life = ttl.map(|ttl| ttl.from(now.wall, asked.marker.is_some()));
        Self { subject, headers, payload, msg_id: asked.msg_id, life, seq: None, stored_at: now.wall }
    }
}

pub(super) fn meta(subject: &Arc<str>, header_len: usize, payload_len: usize, stored_at: Wall) -> Meta {
    let bytes = |len: usize| u32::try_from(len).expect("a message is smaller than 4 GiB");
    Meta {
        subject: subject.clone(),
        stored_at,
        header_bytes: bytes(header_len),
        payload_bytes: bytes(payload_len),
    }
}
