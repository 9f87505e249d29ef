//! Loading: reading the tail of an aggregate's history from the stream's leader, and folding it into the row.

use super::record::{CommandRow, Record, RecordedRefusal};
use super::{Aggregate, AggregateKey, Effect, Input, Reply, Stage, StoredEvents, Tail};
use crate::backoff::full_jitter_ms;
use crate::cx::Cx;
use crate::gate::Witness;
use crate::halt::Halt;
use crate::manifest::AggregateDef;
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::quirks::Quirk;
use crate::store::Table;
use crate::time::Now;
use crate::wire::envelope::EventMessage;
use crate::wire::id::CommandId;
use crate::wire::keys;
use crate::wire::stream::PlatformStream;
use crate::wire::subject::Route;
use std::collections::BTreeSet;

impl Aggregate {
    pub(super) fn load(
        &mut self,
        now: Now,
        key: &AggregateKey,
        from_seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        if !self.binding.is_bound() {
            // It may be another stream by now, whose messages do not belong to our rows.
            self.try_again(now, key, cx);
            return;
        }
        let token = self.tokens.issue();
        let give_up_at = now.mono.plus_ms(self.config.limits.answer_timeout_ms);
        self.enter(key, Stage::Loading { token, give_up_at });
        self.live.insert(token, key.clone());
        self.due.insert((give_up_at, key.clone()));
        cx.emit(Effect::Load {
            token,
            subject: subject(key),
            from_seq,
            messages_max: self.config.limits.load_messages_max,
        });
    }

    pub(super) fn enter(&mut self, key: &AggregateKey, stage: Stage) {
        if let Some(current) = self.lanes.get_mut(key).and_then(|lane| lane.current.as_mut()) {
            current.stage = stage;
        }
    }

    /// The aggregate whose live attempt this token names; its timer is forgotten.
    pub(super) fn take_live(&mut self, token: Token, cx: &mut Cx<'_, Input, Effect>) -> Option<AggregateKey> {
        let Some(key) = self.live.get(&token).cloned() else {
            cx.mark(Mark::AggregateStale);
            return None;
        };
        let stage = self.lanes.get_mut(&key).and_then(|lane| lane.current.as_mut()).map(|current| {
            let stage = current.stage.clone();
            current.stage = Stage::Deciding;
            stage
        });
        if let Some(stage) = stage {
            self.leave(&key, &stage);
        }
        Some(key)
    }

    pub(super) fn on_loaded(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome<Tail, std::convert::Infallible>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(key) = self.take_live(token, cx) else { return Ok(()) };
        match outcome {
            Outcome::Done(tail) => self.fold(now, &key, &tail, cx),
            Outcome::Unknown => {
                self.try_again(now, &key, cx);
                Ok(())
            }
            Outcome::Refused(never) => match never {},
        }
    }

    fn fold(
        &mut self,
        now: Now,
        key: &AggregateKey,
        tail: &Tail,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(definition) = self.config.definitions.get(&key.kind).cloned() else { return Ok(()) };
        let mut record = Record::read(key, &definition, cx.view())?;
        let before = record.last_seq;
        let mut folded = BTreeSet::new();
        for message in &tail.messages {
            if let Err(detail) = self.apply(key, &definition, &mut record, message, &mut folded, cx)? {
                cx.mark(Mark::AggregateUnreadable);
                let detail = format!("sequence {}: {detail}", message.seq);
                self.finish(key, Reply::Unreadable { detail }, cx);
                return Ok(());
            }
        }
        if record.last_seq > before {
            if self.config.quirks.has(Quirk::AggregateSnapshotOffByOne) && record.version > 1 {
                record.version -= 1;
            }
            cx.put(Table::Aggregate, &keys::aggregate(&key.tenant, &key.kind, &key.id), &record.encode());
            if let Some(last) = tail.messages.last() {
                self.saw(last.seq, Witness::of(&subject(key), &last.payload, None), cx);
            }
        }
        if !tail.complete {
            self.load(now, key, record.last_seq + 1, cx);
            return Ok(());
        }
        let mut went_back = false;
        if let Some(current) = self.lanes.get_mut(key).and_then(|lane| lane.current.as_mut()) {
            if current.conflicted && record.last_seq > before {
                cx.mark(Mark::AggregateConflict);
            }
            went_back = current.conflicted && record.last_seq == before;
            current.conflicted = false;
            current.verified = true;
        }
        if went_back {
            // The broker expects less than our row has seen, and has nothing newer to show for it.
            self.look_again();
        }
        cx.then(Input::Resumed(key.clone()));
        Ok(())
    }

    /// Applies one message of the history to the record, in memory and with its command's row staged.
    fn apply(
        &self,
        key: &AggregateKey,
        definition: &AggregateDef,
        record: &mut Record,
        message: &StoredEvents,
        folded: &mut BTreeSet<CommandId>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<(), String>, Halt> {
        let position = format!("{}:{}", PlatformStream::AggregateEvents, message.seq);
        let decoded = match EventMessage::decode(&subject(key), &message.headers, &message.payload, &position)
        {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if decoded.version != record.version + 1 {
            let known = match &decoded.command_id {
                Some(id) => {
                    folded.contains(id)
                        || CommandRow::read(key, id, cx.view())?.is_some()
                        || RecordedRefusal::read(key, id, cx.view())?.is_some()
                }
                None => false,
            };
            if decoded.version > record.version || !known {
                return Ok(Err(format!("version {} follows version {}", decoded.version, record.version)));
            }
            // The same events once more under another sequence: they are applied already.
            record.last_seq = message.seq;
            return Ok(Ok(()));
        }
        for event in &decoded.events {
            if let Err(error) = record.evolve(definition, event, self.config.gas_max) {
                return Ok(Err(error.to_string()));
            }
        }
        record.last_seq = message.seq;
        if let Some(command_id) = decoded.command_id.clone() {
            if let Some(event) = decoded.refusal() {
                RecordedRefusal::stage(key, &command_id, &event.payload, cx);
            } else {
                let row = CommandRow { seq: message.seq, version: record.version };
                let command_key = keys::command(&key.tenant, &key.kind, &key.id, &command_id);
                cx.put(Table::Command, &command_key, &row.encode());
            }
            folded.insert(command_id);
        }
        Ok(Ok(()))
    }

    /// Another look after a pause, or the end of the attempts.
    pub(super) fn try_again(&mut self, now: Now, key: &AggregateKey, cx: &mut Cx<'_, Input, Effect>) {
        let limits = self.config.limits;
        let Some(current) = self.lanes.get_mut(key).and_then(|lane| lane.current.as_mut()) else { return };
        current.attempts += 1;
        if current.attempts >= limits.attempts_max {
            let reply = if current.appended {
                cx.mark(Mark::AggregateGaveUp);
                Reply::Unknown
            } else {
                Reply::Busy { reason: "broker_unavailable" }
            };
            self.finish(key, reply, cx);
            return;
        }
        let seed = self.config.seed ^ current.pending.request.0;
        let pause = full_jitter_ms(current.attempts, limits.backoff_ms, limits.backoff_ms_max, seed);
        let until = now.mono.plus_ms(pause);
        self.enter(key, Stage::Backoff { until });
        self.due.insert((until, key.clone()));
    }

    /// Pauses that are over lead to another look; answers that never came count as unknown.
    pub(super) fn wake(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) {
        while let Some((at, key)) = self.due.first().cloned() {
            if at > now.mono {
                break;
            }
            self.due.pop_first();
            let stage = self.lanes.get(&key).and_then(|lane| lane.current.as_ref()).map(|c| c.stage.clone());
            match stage {
                Some(Stage::Backoff { .. }) => {
                    let from_seq = self.last_seq(&key, cx) + 1;
                    self.load(now, &key, from_seq, cx);
                }
                Some(stage @ (Stage::Loading { token, .. } | Stage::Appending { token, .. })) => {
                    self.live.remove(&token);
                    if matches!(stage, Stage::Appending { .. }) {
                        self.stay_unanswered(&key);
                    }
                    self.enter(&key, Stage::Deciding);
                    self.try_again(now, &key, cx);
                }
                Some(Stage::Deciding) | None => {}
            }
        }
    }

    fn last_seq(&self, key: &AggregateKey, cx: &Cx<'_, Input, Effect>) -> u64 {
        let Some(definition) = self.config.definitions.get(&key.kind) else { return 0 };
        // A row that cannot be read halts where it is used; here it only decides where to begin reading.
        Record::read(key, definition, cx.view()).map_or(0, |record| record.last_seq)
    }
}

pub(super) fn subject(key: &AggregateKey) -> String {
    let route = Route::Aggregate { tenant: key.tenant.clone(), kind: key.kind.clone(), id: key.id.clone() };
    route.subject().to_string()
}
