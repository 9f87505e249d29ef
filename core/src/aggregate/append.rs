//! Appending: all events of a command, or its refusal, as one message that expects the sequence it was decided on.

use super::command::invalid;
use super::load::subject;
use super::record::{CommandRow, Record, RecordedRefusal};
use super::{Aggregate, AggregateKey, Effect, Input, Reply, Sent, Stage};
use crate::cx::Cx;
use crate::gate::Witness;
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::AggregateDef;
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::program::contract::Refusal;
use crate::quirks::Quirk;
use crate::store::Table;
use crate::time::Now;
use crate::wire::answer::{PublishRefused, Published};
use crate::wire::envelope::{Event, EventMessage, MESSAGE_BYTES_MAX};
use crate::wire::headers;
use crate::wire::keys;
use crate::wire::stream::PlatformStream;
use bytes::Bytes;
use std::sync::Arc;

/// What a command comes to.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Verdict {
    /// These happen.
    Events(Vec<Event>),
    /// Nothing happens, and that is recorded.
    Refusal(Refusal),
}

impl Aggregate {
    pub(super) fn append(
        &mut self,
        now: Now,
        key: &AggregateKey,
        definition: &Arc<AggregateDef>,
        record: Record,
        verdict: Verdict,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        if !self.binding.is_bound() {
            // It may be another stream by now, on which the expectation holds by accident.
            self.try_again(now, key, cx);
            return;
        }
        let Some(current) = self.lanes.get_mut(key).and_then(|lane| lane.current.as_mut()) else { return };
        let command = &current.pending.command;
        let expected_seq = record.last_seq;
        let (events, refusal) = match verdict {
            Verdict::Events(events) => (events, None),
            Verdict::Refusal(refusal) => (vec![RecordedRefusal::event(&refusal)], Some(refusal)),
        };
        let message = EventMessage {
            tenant: key.tenant.clone(),
            aggregate: key.kind.clone(),
            id: key.id.clone(),
            version: record.version + 1,
            events,
            command_id: Some(command.command_id.clone()),
            timestamp: Some(now.wall.rfc3339()),
            context: command.context.caused_by(command.command_id.as_str()),
        };
        // What cannot be applied must not get into the log, where nobody could ever apply it.
        let mut next = record;
        for event in &message.events {
            if let Err(error) = next.evolve(definition, event, self.config.gas_max) {
                self.finish(key, invalid("program_failed", error.to_string()), cx);
                return;
            }
        }
        let payload = message.encode();
        if payload.len() > MESSAGE_BYTES_MAX {
            let detail = format!("its events take {} bytes; at most {MESSAGE_BYTES_MAX} fit", payload.len());
            self.finish(key, invalid("too_large", detail), cx);
            return;
        }
        let mut message_headers = message.context.headers(&key.tenant);
        message_headers.append(
            headers::NATS_MSG_ID,
            &keys::event_message_id(&key.tenant, &key.kind, &key.id, message.command_id.as_ref()),
        );
        message_headers.append(headers::NATS_EXPECTED_STREAM, PlatformStream::AggregateEvents.name());
        if !self.config.quirks.has(Quirk::AggregateNoExpectation) {
            let expected = expected_seq.to_string();
            message_headers.append(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, &expected);
        }
        current.attempts += 1;
        current.appended = true;
        let token = self.tokens.issue();
        let give_up_at = now.mono.plus_ms(self.config.limits.answer_timeout_ms);
        let sent =
            Sent { witness: Witness::of(&subject(key), &payload, None), after_seq: self.checkpoint.seq };
        current.stage = Stage::Appending { token, give_up_at, next, refusal, sent };
        self.live.insert(token, key.clone());
        self.due.insert((give_up_at, key.clone()));
        let payload = Bytes::from(payload);
        cx.emit(Effect::Append { token, subject: subject(key), headers: message_headers, payload });
    }

    pub(super) fn on_appended(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome<Published, PublishRefused>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let next = self.live.get(&token).and_then(|key| self.lanes.get(key)).and_then(|lane| {
            match &lane.current.as_ref()?.stage {
                Stage::Appending { next, refusal, sent, .. } => Some((next.clone(), refusal.clone(), *sent)),
                Stage::Deciding | Stage::Loading { .. } | Stage::Backoff { .. } => None,
            }
        });
        let Some(key) = self.take_live(token, cx) else { return Ok(()) };
        let Some((next, refusal, sent)) = next else { return Ok(()) };
        match outcome {
            Outcome::Done(Published { seq, duplicate: false }) => {
                self.appended(&key, (next, refusal), sent, seq, cx)?
            }
            // Ours from before, or somebody else's: either way the tail says.
            Outcome::Done(Published { duplicate: true, .. }) => self.look(now, &key, cx),
            Outcome::Refused(PublishRefused::Conflict) => {
                if let Some(current) = self.lanes.get_mut(&key).and_then(|lane| lane.current.as_mut()) {
                    current.conflicted = true;
                }
                self.look(now, &key, cx);
            }
            Outcome::Refused(PublishRefused::TooLarge) => {
                let message = "its events are larger than the broker allows".to_owned();
                self.turned_down(&key, invalid("too_large", message), cx);
            }
            Outcome::Refused(PublishRefused::Full) => {
                self.turned_down(&key, Reply::Busy { reason: "stream_full" }, cx);
            }
            Outcome::Refused(PublishRefused::Misconfigured { .. }) => {
                self.turned_down(&key, Reply::Busy { reason: "broker_misconfigured" }, cx);
            }
            Outcome::Unknown => {
                cx.mark(Mark::AggregateUnknown);
                self.stay_unanswered(&key);
                self.try_again(now, &key, cx);
            }
        }
        Ok(())
    }

    /// This attempt was definitely not stored; that is the whole truth only if every earlier one had an answer too.
    fn turned_down(&mut self, key: &AggregateKey, reply: Reply, cx: &mut Cx<'_, Input, Effect>) {
        let current = self.lanes.get(key).and_then(|lane| lane.current.as_ref());
        let unanswered = current.is_some_and(|current| current.unanswered)
            && !self.config.quirks.has(Quirk::AggregateForgetUnanswered);
        self.finish(key, if unanswered { Reply::Unknown } else { reply }, cx);
    }

    pub(super) fn stay_unanswered(&mut self, key: &AggregateKey) {
        if let Some(current) = self.lanes.get_mut(key).and_then(|lane| lane.current.as_mut()) {
            current.unanswered = true;
        }
    }

    fn appended(
        &mut self,
        key: &AggregateKey,
        (mut next, refusal): (Record, Option<Refusal>),
        sent: Sent,
        seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(current) = self.lanes.get(key).and_then(|lane| lane.current.as_ref()) else { return Ok(()) };
        let expects = !self.config.quirks.has(Quirk::AggregateNoExpectation);
        invariant!(seq > next.last_seq || !expects, Agg1, "{key:?}: stored at {seq} after {}", next.last_seq);
        let command_id = current.pending.command.command_id.clone();
        next.last_seq = seq;
        let version = next.version;
        if self.config.quirks.has(Quirk::AggregateSnapshotOffByOne) && next.version > 1 {
            next.version -= 1;
        }
        cx.put(Table::Aggregate, &keys::aggregate(&key.tenant, &key.kind, &key.id), &next.encode());
        let reply = match refusal {
            Some(refusal) => {
                RecordedRefusal::stage(key, &command_id, &RecordedRefusal::event(&refusal).payload, cx);
                Reply::Refused(refusal)
            }
            None => {
                let command_key = keys::command(&key.tenant, &key.kind, &key.id, &command_id);
                cx.put(Table::Command, &command_key, &CommandRow { seq, version }.encode());
                Reply::Accepted { command_id, seq, version, duplicate: false }
            }
        };
        if seq <= sent.after_seq {
            // What was seen at or after this place is not there any more.
            self.look_again();
        }
        self.saw(seq, sent.witness, cx);
        self.finish(key, reply, cx);
        Ok(())
    }

    /// Reads the tail at once; a bounded number of times in a row.
    fn look(&mut self, now: Now, key: &AggregateKey, cx: &mut Cx<'_, Input, Effect>) {
        let Some(current) = self.lanes.get(key).and_then(|lane| lane.current.as_ref()) else { return };
        if current.attempts >= self.config.limits.attempts_max {
            // Each conflict was somebody else's progress; this attempt was definitely not stored, but an earlier one
            // without an answer may have been.
            self.finish(key, Reply::Unknown, cx);
            return;
        }
        let Some(definition) = self.config.definitions.get(&key.kind) else { return };
        let last_seq = Record::read(key, definition, cx.view()).map_or(0, |record| record.last_seq);
        self.load(now, key, last_seq + 1, cx);
    }
}
