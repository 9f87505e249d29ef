//! Commands: taken in, decided, answered.

use super::append::Verdict;
use super::record::{CommandRow, Record, RecordedRefusal, Refusals};
use super::{Aggregate, AggregateKey, Current, Effect, Input, Pending, Reply, RequestId, Stage};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::AggregateDef;
use crate::marks::Mark;
use crate::program::Gas;
use crate::program::contract::{self, Decision, Refusal};
use crate::quirks::Quirk;
use crate::store::Table;
use crate::time::Now;
use crate::wire::envelope::Command;
use crate::wire::keys;
use serde_json::json;
use std::sync::Arc;

impl Aggregate {
    pub(super) fn on_commanded(
        &mut self,
        now: Now,
        request: RequestId,
        command: Command,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let reject = |cx: &mut Cx<'_, Input, Effect>, reply| {
            cx.emit(Effect::Reply { request, reply });
            Ok(())
        };
        let Some(definition) = self.config.definitions.get(&command.aggregate) else {
            return reject(cx, invalid("unknown_aggregate", format!("no aggregate `{}`", command.aggregate)));
        };
        if !definition.commands.contains_key(&command.name) {
            let message = format!("aggregate `{}` has no command `{}`", command.aggregate, command.name);
            return reject(cx, invalid("unknown_command", message));
        }
        if let Some(reason) = self.not_ready() {
            return reject(cx, Reply::Busy { reason });
        }
        let key = AggregateKey {
            tenant: command.tenant.clone(),
            kind: command.aggregate.clone(),
            id: command.id.clone(),
        };
        let limits = self.config.limits;
        let here =
            self.lanes.get(&key).map_or(0, |lane| lane.queue.len() + usize::from(lane.current.is_some()));
        if self.commands >= limits.commands_max || here >= limits.commands_per_aggregate_max {
            cx.mark(Mark::AggregateBusy);
            return reject(cx, Reply::Busy { reason: "too_many_commands" });
        }
        self.commands += 1;
        let lane = self.lanes.entry(key.clone()).or_default();
        lane.queue.push_back(Pending { request, command });
        if lane.current.is_none() { self.start_next(now, &key, cx) } else { Ok(()) }
    }

    /// Begins with the next waiting command of an aggregate, or forgets the aggregate.
    pub(super) fn start_next(
        &mut self,
        now: Now,
        key: &AggregateKey,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(lane) = self.lanes.get_mut(key) else { return Ok(()) };
        if lane.current.is_some() {
            return Ok(());
        }
        let Some(pending) = lane.queue.pop_front() else {
            self.lanes.remove(key);
            return Ok(());
        };
        lane.current = Some(Current {
            pending,
            attempts: 0,
            appended: false,
            unanswered: false,
            verified: false,
            conflicted: false,
            stage: Stage::Deciding,
        });
        self.proceed(now, key, cx)
    }

    /// Goes on with an aggregate's command on the rows at hand.
    pub(super) fn proceed(
        &mut self,
        now: Now,
        key: &AggregateKey,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(current) = self.lanes.get(key).and_then(|lane| lane.current.as_ref()) else { return Ok(()) };
        let Some(definition) = self.config.definitions.get(&key.kind).cloned() else { return Ok(()) };
        let command_id = current.pending.command.command_id.clone();
        let (appended, verified) = (current.appended, current.verified);
        let records = current.pending.command.record_refusal
            && !self.config.quirks.has(Quirk::AggregateRefusalNotRecorded);
        let blind = appended && self.config.quirks.has(Quirk::AggregateConflictIsForeign);
        if let Some(CommandRow { seq, version }) =
            CommandRow::read(key, &command_id, cx.view())?.filter(|_| !blind)
        {
            cx.mark(if appended { Mark::AggregateFoundOwn } else { Mark::AggregateDuplicate });
            self.finish(key, Reply::Accepted { command_id, seq, version, duplicate: !appended }, cx);
            return Ok(());
        }
        let known = match RecordedRefusal::read(key, &command_id, cx.view())? {
            Some(refusal) => Some(refusal),
            None => Refusals::read(key, cx.view())?.of(&command_id).cloned(),
        };
        if let Some(refusal) = known {
            cx.mark(if appended { Mark::AggregateFoundOwn } else { Mark::AggregateSameRefusal });
            self.finish(key, Reply::Refused(refusal), cx);
            return Ok(());
        }
        let record = Record::read(key, &definition, cx.view())?;
        match self.decide(key, &definition, &record) {
            Decided::Append(events) => {
                self.append(now, key, &definition, record, Verdict::Events(events), cx)
            }
            Decided::Refuse(_) | Decided::Fail(_)
                if !verified && !self.config.quirks.has(Quirk::AggregateRefuseUnverified) =>
            {
                self.load(now, key, record.last_seq + 1, cx);
            }
            Decided::Refuse(refusal) | Decided::Fail(refusal) if records => {
                self.append(now, key, &definition, record, Verdict::Refusal(refusal), cx);
            }
            Decided::Refuse(refusal) => {
                if verified {
                    cx.mark(Mark::AggregateVerified);
                }
                self.refuse(key, refusal, cx)?;
            }
            Decided::Fail(refusal) => self.finish(key, Reply::Invalid(refusal), cx),
        }
        Ok(())
    }

    fn decide(&self, key: &AggregateKey, definition: &Arc<AggregateDef>, record: &Record) -> Decided {
        let Some(current) = self.lanes.get(key).and_then(|lane| lane.current.as_ref()) else {
            return Decided::Fail(refusal("gone", "the command is no longer waited for"));
        };
        let command = &current.pending.command;
        let Some(program) = definition.commands.get(&command.name) else {
            return Decided::Fail(refusal("unknown_command", "the command is not declared"));
        };
        let seen = json!({
            "name": command.name,
            "payload": command.payload,
            "id": command.id,
            "command_id": command.command_id,
            "tenant_id": command.tenant,
        });
        match contract::decide(program, &record.state, &seen, &mut Gas::new(self.config.gas_max)) {
            Ok(Decision::Events(events)) => Decided::Append(events),
            Ok(Decision::Refused(refusal)) => Decided::Refuse(refusal),
            Err(error) => Decided::Fail(Refusal {
                code: "program_failed".into(),
                message: format!("command `{}`: {error}", command.name),
            }),
        }
    }

    /// Remembers a refusal and answers with it.
    pub(super) fn refuse(
        &mut self,
        key: &AggregateKey,
        refusal: Refusal,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(current) = self.lanes.get(key).and_then(|lane| lane.current.as_ref()) else { return Ok(()) };
        let mut refusals = Refusals::read(key, cx.view())?;
        let command_id = current.pending.command.command_id.clone();
        refusals.add(command_id, refusal.clone(), self.config.limits.refusals_max);
        cx.put(Table::Refusal, &keys::aggregate(&key.tenant, &key.kind, &key.id), &refusals.encode());
        self.finish(key, Reply::Refused(refusal), cx);
        Ok(())
    }

    /// Answers the current command of an aggregate; the next one begins when this step's rows are visible.
    pub(super) fn finish(&mut self, key: &AggregateKey, reply: Reply, cx: &mut Cx<'_, Input, Effect>) {
        let Some(current) = self.lanes.get_mut(key).and_then(|lane| lane.current.take()) else { return };
        self.leave(key, &current.stage);
        self.commands -= 1;
        cx.emit(Effect::Reply { request: current.pending.request, reply });
        cx.then(Input::Freed(key.clone()));
    }

    /// Forgets the timer and token of a stage.
    pub(super) fn leave(&mut self, key: &AggregateKey, stage: &Stage) {
        match stage {
            Stage::Deciding => {}
            Stage::Loading { token, give_up_at } | Stage::Appending { token, give_up_at, .. } => {
                self.live.remove(token);
                self.due.remove(&(*give_up_at, key.clone()));
            }
            Stage::Backoff { until } => {
                self.due.remove(&(*until, key.clone()));
            }
        }
    }
}

enum Decided {
    Append(Vec<crate::wire::envelope::Event>),
    Refuse(Refusal),
    Fail(Refusal),
}

fn refusal(code: &str, message: &str) -> Refusal {
    Refusal { code: code.to_owned(), message: message.to_owned() }
}

pub(super) fn invalid(code: &str, message: String) -> Reply {
    Reply::Invalid(Refusal { code: code.to_owned(), message })
}
