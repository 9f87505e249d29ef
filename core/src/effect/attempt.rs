//! Attempts: taking commands in, calling, and what answers do.

use super::lanes::LaneId;
use super::ledger::{Call, LedgerRow, Phase};
use super::opened::Opened;
use super::upstreams::UpstreamId;
use super::{Answered, Arrival, Effect, Effects, Ended, NotSent, State};
use crate::backoff::full_jitter_ms;
use crate::cx::Cx;
use crate::halt::Halt;
use crate::manifest::{Delivery, EffectDef, Meaning, Retry};
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::program::Gas;
use crate::quirks::Quirk;
use crate::store::Table;
use crate::time::{Mono, Now};
use crate::wire::envelope::{EffectCommand, EffectOutcome, EffectResult, PAYLOAD_BYTES_MAX};
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::keys::{self, EndedKind};
use serde_json::{Value, json};
use std::sync::Arc;

/// Why an effect is parked that took too long.
const OUT_OF_TIME: &str = "its time is used up";

/// Why one is parked that waited for others under its key when its time was over.
const KEPT_WAITING: &str = "its time is used up: it waited for its turn under the limits of its key";

/// How an attempt ended, for people.
fn told(outcome: &Outcome<Answered, NotSent>, definition: &EffectDef) -> Option<String> {
    Some(match outcome {
        Outcome::Done(Answered { status, .. }) if definition.meaning(*status) == Meaning::Succeeded => {
            return None;
        }
        Outcome::Done(Answered { status, body: Value::Null }) => format!("status {status}"),
        Outcome::Done(Answered { status, body: Value::String(text) }) => format!("status {status}: {text}"),
        Outcome::Done(Answered { status, body }) => format!("status {status}: {body}"),
        Outcome::Refused(NotSent { detail, .. }) => format!("not sent: {detail}"),
        Outcome::Unknown => "no answer".to_owned(),
    })
}

impl Effects {
    /// A command arrived.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn on_command<I>(
        &mut self,
        now: Now,
        command: &EffectCommand,
        arrival: Arrival,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        let key = keys::effect(&command.tenant, &command.command_id);
        let known = cx.view().get(Table::Effect, &key)?.is_some();
        if known && !self.config.quirks.has(Quirk::EffectForgetLedger) {
            cx.mark(Mark::EffectDuplicate);
            return Ok(());
        }
        let row = Box::new(LedgerRow {
            effect: command.effect.clone(),
            phase: Phase::Open,
            attempts: 0,
            ambiguous: 0,
            since: now.wall,
            last: None,
            intervention: None,
            call: Some(Call {
                position: self.tail,
                payload: command.payload.clone(),
                saga: command.saga.clone(),
                context: command.context.clone(),
                arrival,
            }),
        });
        let (tenant, command_id) = (command.tenant.clone(), command.command_id.clone());
        self.admit(now, Opened { key, tenant, command_id, row, bytes: 0 }, cx);
        self.closed_now.clear();
        Ok(())
    }

    /// What an effect that comes now is called by, if nothing is before it and nothing keeps it waiting.
    pub(super) fn starts_at_once(&mut self, now: Now, effect: &Name) -> Option<Arc<EffectDef>> {
        if !self.ready.is_empty() || !self.may_call() {
            return None;
        }
        let definition = self.config.definitions.get(effect).filter(|own| own.limits.is_none())?.clone();
        let upstream = self.upstream_of(effect);
        upstream.is_none_or(|upstream| self.admits(now, upstream)).then_some(definition)
    }

    pub(super) fn on_returned<I>(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome<Answered, NotSent>,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<Option<Ended>, Halt> {
        let Some(position) = self.live_position(token) else {
            cx.mark(Mark::EffectStale);
            return Ok(None);
        };
        let upstream = self.leave_flight(now, position);
        let Some(mut opened) = self.opened(position, cx.view())? else { return Ok(None) };
        let Some(definition) = self.config.definitions.get(&opened.row.effect).cloned() else {
            return Ok(None);
        };
        opened.row.ended_with(told(&outcome, &definition));
        if let Some(upstream) = upstream {
            match &outcome {
                Outcome::Done(Answered { status, .. }) => match definition.meaning(*status) {
                    Meaning::Succeeded | Meaning::Failed => self.on_upstream_answered(upstream),
                    Meaning::Retry => self.on_upstream_failed(now, upstream, token, cx),
                },
                Outcome::Refused(NotSent { forbidden: true, .. }) => self.on_call_not_made(upstream, token),
                Outcome::Refused(NotSent { forbidden: false, .. }) | Outcome::Unknown => {
                    self.on_upstream_failed(now, upstream, token, cx);
                }
            }
        }
        match outcome {
            Outcome::Done(Answered { status, body }) => match definition.meaning(status) {
                Meaning::Succeeded => {
                    Ok(Some(self.settle(now, position, opened, EffectOutcome::Succeeded, body, cx)))
                }
                Meaning::Failed => {
                    let payload = json!({ "status": status, "body": body });
                    Ok(Some(self.settle(now, position, opened, EffectOutcome::Failed, payload, cx)))
                }
                // The outside may have done part of it before it said "not now".
                Meaning::Retry => self.unanswered(now, position, opened, &definition, cx).map(|()| None),
            },
            Outcome::Refused(NotSent { detail, forbidden: true }) => {
                let payload = json!({ "error": detail });
                Ok(Some(self.settle(now, position, opened, EffectOutcome::Failed, payload, cx)))
            }
            Outcome::Refused(NotSent { forbidden: false, .. }) => {
                self.again_or_park(now, position, opened, &definition, cx);
                Ok(None)
            }
            Outcome::Unknown => self.unanswered(now, position, opened, &definition, cx).map(|()| None),
        }
    }

    fn live_position(&mut self, token: Token) -> Option<u64> {
        if let Some(position) = self.live.remove(&token) {
            return Some(position);
        }
        if self.config.quirks.has(Quirk::EffectAcceptStale) {
            let (token, position) = self.live.iter().next().map(|(token, position)| (*token, *position))?;
            self.live.remove(&token);
            return Some(position);
        }
        None
    }

    /// An attempt that may have happened: counted, and repeated only if it may be.
    fn unanswered<I>(
        &mut self,
        now: Now,
        position: u64,
        mut opened: Opened,
        definition: &EffectDef,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        opened.row.ambiguous += 1;
        if definition.delivery == Delivery::AtMostOnce
            && !self.config.quirks.has(Quirk::EffectRetryAtMostOnce)
        {
            self.park(position, opened, "it may happen at most once, and may have happened", cx);
            return Ok(());
        }
        cx.mark(Mark::EffectRetryUnknown);
        self.again_or_park(now, position, opened, definition, cx);
        Ok(())
    }

    fn again_or_park<I>(
        &mut self,
        now: Now,
        position: u64,
        mut opened: Opened,
        definition: &EffectDef,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        let retry = definition.retry;
        if retry.attempts_max.is_some_and(|max| opened.row.attempts_used() >= max) {
            self.park(position, opened, "every attempt is used up", cx);
            return;
        }
        let pause = full_jitter_ms(
            opened.row.attempts_used(),
            retry.backoff_ms,
            retry.backoff_ms_max,
            self.config.seed ^ position,
        );
        let until = now.mono.plus_ms(pause);
        if self.ends_at(now, position, &opened.row, retry).is_some_and(|end| until >= end) {
            self.park_out_of_time(position, opened, OUT_OF_TIME, cx);
            return;
        }
        // How the attempt ended is known and counted: a life that begins in the pause has nothing to be in doubt about.
        if !self.config.quirks.has(Quirk::EffectPauseInDoubt) {
            opened.row.phase = Phase::Open;
        }
        opened.write(cx);
        self.keep(position, opened);
        if let Some(tracked) = self.tracked.get_mut(&position) {
            tracked.state = State::Backoff { until };
            self.due.insert((until, position));
        }
    }

    /// When an effect's time is used up.
    pub(super) fn ends_at(&mut self, now: Now, position: u64, row: &LedgerRow, retry: Retry) -> Option<Mono> {
        let total_ms = retry.total_ms_max?;
        if self.config.quirks.has(Quirk::EffectIgnoreTime) {
            return None;
        }
        let tracked = self.tracked.get_mut(&position)?;
        let left_ms = total_ms.saturating_sub(now.wall.ms_since(row.runs_since()));
        Some(*tracked.ends_at.get_or_insert(now.mono.plus_ms(left_ms)))
    }

    fn park_out_of_time<I>(
        &mut self,
        position: u64,
        opened: Opened,
        reason: &str,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        cx.mark(Mark::EffectOutOfTime);
        self.park(position, opened, reason, cx);
    }

    fn park<I>(&mut self, position: u64, mut opened: Opened, reason: &str, cx: &mut Cx<'_, I, Effect>) {
        cx.mark(Mark::EffectParked);
        self.count_interrupted(&mut opened.row);
        opened.row.phase = Phase::Parked { reason: reason.to_owned() };
        opened.write(cx);
        cx.put(Table::EffectParked, &opened.key, b"");
        self.parked += 1;
        self.close(position, cx);
    }

    /// INV-EFF-5: a life that called and did not live to hear the answer leaves a doubt, whatever becomes of the effect
    /// next. Says whether there was one.
    pub(super) fn count_interrupted(&self, row: &mut LedgerRow) -> bool {
        let Phase::Started { incarnation } = row.phase else { return false };
        if incarnation == self.tokens.last().incarnation {
            return false;
        }
        row.phase = Phase::Open;
        row.ended_with(Some("the process ended while it was called".to_owned()));
        row.ambiguous += u32::from(!self.config.quirks.has(Quirk::EffectForgetInterrupted));
        true
    }

    /// INV-EFF-4: the row, the open index and the result move in one commit.
    fn settle<I>(
        &mut self,
        now: Now,
        position: u64,
        opened: Opened,
        outcome: EffectOutcome,
        payload: Value,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Ended {
        self.close(position, cx);
        self.conclude(now, opened, outcome, payload, cx)
    }

    /// The row says how it ended, and so does the result.
    pub(super) fn conclude<I>(
        &mut self,
        now: Now,
        mut opened: Opened,
        outcome: EffectOutcome,
        payload: Value,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Ended {
        let call = opened.row.call.take();
        opened.row.phase = Phase::Settled { outcome };
        opened.write(cx);
        if !self.config.quirks.has(Quirk::RetentionForgetsEffect) {
            cx.put(Table::Ended, &keys::ended(EndedKind::Effect, now.wall, &opened.key), b"");
        }
        let Opened { tenant, command_id, row, .. } = opened;
        let size = serde_json::to_vec(&payload).map_or(usize::MAX, |json| json.len());
        let payload = if size > PAYLOAD_BYTES_MAX {
            json!({ "truncated": true, "bytes": size, "note": "the answer was too large to carry" })
        } else {
            payload
        };
        let (saga, context, arrival) = match call {
            Some(call) => (call.saga, call.context, call.arrival),
            None => (None, crate::wire::context::Context::generate(command_id.as_str()), Arrival::Delivered),
        };
        let result = EffectResult {
            tenant,
            effect: row.effect,
            context: context.caused_by(command_id.as_str()),
            command_id,
            outcome,
            payload,
            saga,
            timestamp: Some(now.wall.rfc3339()),
        };
        Ended { result, arrival }
    }

    pub(super) fn wake<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        while let Some((at, position)) = self.due.first().copied() {
            if at > now.mono {
                break;
            }
            self.due.pop_first();
            let Some(tracked) = self.tracked.get_mut(&position) else { continue };
            match tracked.state {
                State::Backoff { .. } => {
                    tracked.state = State::Waiting;
                    self.ready.insert(position);
                }
                State::InFlight { token, .. } => {
                    self.on_returned(now, token, Outcome::Unknown, cx)?;
                }
                State::Held { .. } => {
                    self.leave_hold(position);
                    if let Some(opened) = self.opened(position, cx.view())? {
                        self.park_out_of_time(position, opened, OUT_OF_TIME, cx);
                    }
                }
                State::Queued { lane, .. } => {
                    self.leave_queue(position);
                    self.stir(now.mono, lane);
                    if let Some(opened) = self.opened(position, cx.view())? {
                        self.park_out_of_time(position, opened, KEPT_WAITING, cx);
                    }
                }
                State::Waiting | State::Called { .. } => {}
            }
        }
        self.wake_upstreams(now);
        self.wake_lanes(now.mono);
        Ok(())
    }

    pub(super) fn start_ready<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) -> Result<(), Halt> {
        while self.may_call() {
            let Some(position) = self.ready.pop_first() else { break };
            let Some(opened) = self.opened(position, cx.view())? else { continue };
            let Some(definition) = self.config.definitions.get(&opened.row.effect).cloned() else {
                self.park(position, opened, "the application has no such effect", cx);
                continue;
            };
            let upstream = self.upstream_of(&definition.name);
            if let Some(upstream) = upstream
                && !self.admits(now, upstream)
            {
                let lane = self.leave_call(position);
                self.hold(now, position, upstream, &opened, &definition, cx);
                self.keep(position, opened);
                lane.into_iter().for_each(|lane| self.stir(now.mono, lane));
                continue;
            }
            match &definition.limits {
                None => self.call(now, position, opened, &definition, None, cx),
                Some(limits) => match self.lane_for(now, position, &opened, &definition, limits, cx) {
                    Ok(Some(lane)) => {
                        self.call(now, position, opened, &definition, Some(lane), cx);
                        self.stir(now.mono, lane);
                    }
                    Ok(None) => {
                        self.keep(position, opened);
                        upstream.into_iter().for_each(|upstream| self.let_probe(upstream));
                    }
                    Err(error) => {
                        let reason = format!("the key of its limits cannot be worked out: {error}");
                        self.park(position, opened, &reason, cx);
                        upstream.into_iter().for_each(|upstream| self.let_probe(upstream));
                    }
                },
            }
        }
        Ok(())
    }

    /// Starts it; if it is parked instead, another one may go and see whether its upstream answers.
    pub(super) fn call<I>(
        &mut self,
        now: Now,
        position: u64,
        opened: Opened,
        definition: &Arc<EffectDef>,
        lane: Option<LaneId>,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        self.start(now, position, opened, definition, lane, cx);
        if let Some(upstream) = self.upstream_of(&definition.name) {
            self.let_probe(upstream);
        }
    }

    fn start<I>(
        &mut self,
        now: Now,
        position: u64,
        mut opened: Opened,
        definition: &Arc<EffectDef>,
        lane: Option<LaneId>,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        let token = self.tokens.issue();
        if self.count_interrupted(&mut opened.row) {
            cx.mark(Mark::EffectResumed);
            if definition.delivery == Delivery::AtMostOnce
                && !self.config.quirks.has(Quirk::EffectRetryAtMostOnce)
            {
                self.park(position, opened, "it may happen at most once, and an attempt was interrupted", cx);
                return;
            }
            if definition.retry.attempts_max.is_some_and(|max| opened.row.attempts_used() >= max) {
                self.park(position, opened, "every attempt is used up", cx);
                return;
            }
        }
        if self.ends_at(now, position, &opened.row, definition.retry).is_some_and(|end| now.mono >= end) {
            self.park_out_of_time(position, opened, OUT_OF_TIME, cx);
            return;
        }
        let (tenant, command_id) = (opened.tenant.clone(), opened.command_id.clone());
        let request = match definition.request(&opened.command(), &mut Gas::new(self.config.gas_max)) {
            Ok(request) => request,
            Err(error) => {
                self.park(position, opened, &format!("the request cannot be filled in: {error}"), cx);
                return;
            }
        };
        opened.row.attempts += 1;
        opened.row.phase = Phase::Started { incarnation: token.incarnation };
        opened.write(cx);
        let give_up_at = now.mono.plus_ms(definition.timeout_ms + self.config.limits.answer_slack_ms);
        let upstream = self.upstream_of(&definition.name);
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        tracked.state = State::InFlight { token, give_up_at, upstream, lane };
        self.in_flight += 1;
        self.live.insert(token, position);
        self.due.insert((give_up_at, position));
        if let Some(upstream) = upstream {
            self.on_called(upstream, token, position, cx);
        }
        if let Some(lane) = lane {
            self.lanes.began(now.mono, lane);
        }
        cx.emit(Effect::Execute {
            token,
            idempotency_key: self.idempotency_key(&tenant, &command_id, opened.row.attempts),
            tenant,
            effect: opened.row.effect.clone(),
            attempt: opened.row.attempts,
            request,
            timeout_ms: definition.timeout_ms,
            context: opened.row.call.as_ref().map(|call| call.context.clone()),
        });
        self.keep(position, opened);
    }

    /// INV-EFF-2: what names the effect, nothing about the attempt. Ids are unique per tenant only, and the outside may
    /// know several.
    fn idempotency_key(&self, tenant: &TenantId, command_id: &CommandId, attempt: u32) -> String {
        let key = format!("{}:{}", tenant.token(), command_id.token());
        if self.config.quirks.has(Quirk::EffectKeyPerAttempt) { format!("{key}#{attempt}") } else { key }
    }

    /// The upstream whose call it was.
    fn leave_flight(&mut self, now: Now, position: u64) -> Option<UpstreamId> {
        let tracked = self.tracked.get_mut(&position)?;
        match tracked.state {
            State::InFlight { token, give_up_at, upstream, lane } => {
                self.live.remove(&token);
                self.due.remove(&(give_up_at, position));
                self.in_flight -= 1;
                tracked.state = State::Waiting;
                if let Some(lane) = lane {
                    self.lanes.ended(lane);
                    self.stir(now.mono, lane);
                }
                upstream
            }
            State::Waiting
            | State::Held { .. }
            | State::Queued { .. }
            | State::Called { .. }
            | State::Backoff { .. } => None,
        }
    }
}
