//! Where things go: deliveries to sagas and effects, settlements to sagas and schedules, poison to quarantine.

use super::{Effect, Input, OccurrenceEnded, Runner, Settling, Source, gate_cx, occurrence};
use crate::cx::Cx;
use crate::effect::{Arrival, Ended};
use crate::gate::{Admission, Admitted, Delivery};
use crate::halt::Halt;
use crate::manifest::{SagaDef, Trigger, WorkOutcome};
use crate::marks::Mark;
use crate::outbox::{End, Entry, Origin, Settlement, WorkRef};
use crate::program::Gas;
use crate::quarantine::{Cause, Parked, QuarantineKey};
use crate::saga::{self, Asked, HELD_MAX, Happened, Incoming, Reacted, Sagas, TimerFired, Wanted, WorkEnded};
use crate::store::View;
use crate::time::{Now, Wall};
use crate::wire::envelope::{
    DecodeError, EffectCommand, EffectOutcome, EffectResult, EventMessage, Occurrence, WorkflowEvent,
};
use crate::wire::headers::Headers;
use crate::wire::id::{EntityId, Name};
use crate::wire::subject::{Filter, Route};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Most that happens to instances in one step: how often the events of one message may be for sagas (those of our own
/// aggregates have a few), timers that fire at once, what a pause held.
pub const HAPPENED_MAX: usize = 10_000;
const _: () = assert!(HELD_MAX <= HAPPENED_MAX);

/// What a gate reads. The workflow streams are read whole: their messages expire, and a checkpoint that moves with
/// every message shows whether any expired unseen.
pub(super) fn filters(source: Source, sagas: &Sagas) -> Vec<Filter> {
    let parse = |raw: &str| Filter::parse(raw).expect("a filter of ours");
    match source {
        Source::Events => {
            let kinds: BTreeSet<Name> = sagas.in_use().flat_map(|saga| saga.aggregates()).collect();
            kinds.iter().map(Filter::aggregates).collect()
        }
        Source::Results => vec![parse("tenant.*.effect_result.>"), parse("tenant.*.workflow_event.*.*")],
        Source::Commands => vec![parse("tenant.*.effect.>")],
    }
}

impl Runner {
    pub(super) fn on_delivered(
        &mut self,
        now: Now,
        source: Source,
        delivery: &Delivery,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        self.poison = None;
        let Some(gate) = self.gates.get_mut(&source) else { return Ok(()) };
        let consumer = gate.consumer().clone();
        match gate_cx(source, cx, |cx| gate.admit(now, delivery, cx)) {
            Admission::Drop => return Ok(()),
            Admission::Apply => {}
        }
        let settling = Settling { source, admitted: Admitted::of(delivery) };
        let key = QuarantineKey::source(consumer.as_str(), &delivery.subject);
        if let Some(key) = &key
            && self.quarantine.holds(key, cx.view())?
        {
            self.park_delivery(now, key, source, delivery, None, cx)?;
            cx.then(Input::Caused(settling));
            return Ok(());
        }
        let Delivery { stream_seq, subject, headers, payload, .. } = delivery;
        let routed = self.on_message(now, source, *stream_seq, (subject, headers, payload), cx)?;
        if let Err(cause) = routed {
            self.poison = Some(reason(&cause));
            if let Some(key) = key {
                self.park_delivery(now, &key, source, delivery, Some(cause), cx)?;
            }
        }
        cx.then(Input::Caused(settling));
        Ok(())
    }

    /// Hands a message to those it is for, or says why it cannot be read.
    pub(super) fn on_message(
        &mut self,
        now: Now,
        source: Source,
        stream_seq: u64,
        (subject, headers, payload): (&str, &Headers, &[u8]),
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<(), Cause>, Halt> {
        let position = format!("{}:{stream_seq}", source.stream());
        Ok(match source {
            Source::Events => match EventMessage::decode(subject, headers, payload, &position) {
                Ok(message) => self.to_sagas(&message, stream_seq, cx)?,
                Err(error) => Err(unreadable(error)),
            },
            Source::Results if is_workflow_event(subject) => {
                WorkflowEvent::decode(subject, headers, payload, &position)
                    .map_err(unreadable)
                    .map(|event| event_to_saga(event, cx))
            }
            Source::Results => EffectResult::decode(subject, headers, payload, &position)
                .map_err(unreadable)
                .map(|result| result_to_saga(result, cx)),
            Source::Commands => match EffectCommand::decode(subject, headers, payload, &position) {
                Ok(command) => {
                    cx.child(Input::Effect, Effect::Effect, |cx| {
                        self.effects.on_command(now, &command, Arrival::Delivered, cx)
                    })?;
                    Ok(())
                }
                Err(error) => Err(unreadable(error)),
            },
        })
    }

    /// Finds the instances an event message belongs to and hands each its events, in order.
    fn to_sagas(
        &self,
        message: &EventMessage,
        stream_seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<(), Cause>, Halt> {
        let all = match self.found(message, stream_seq, |_| true, cx.view())? {
            Ok(all) => all,
            Err(cause) => return Ok(Err(cause)),
        };
        for happened in all {
            cx.then(Input::SagaReceived(Incoming::Happened(Box::new(happened))));
        }
        Ok(Ok(()))
    }

    /// What the events of a message are to instances of these sagas, in order.
    pub(super) fn found(
        &self,
        message: &EventMessage,
        stream_seq: u64,
        of: impl Fn(&Name) -> bool,
        view: &dyn View,
    ) -> Result<Result<Vec<Happened>, Cause>, Halt> {
        let mut all = Vec::new();
        for nth in 0..message.events.len() {
            for saga in self.sagas.in_use().filter(|saga| of(&saga.name)) {
                let happened = match correlated(saga, message, nth, stream_seq, self.config.gas_max) {
                    Ok(Some(happened)) => happened,
                    Ok(None) => continue,
                    Err(cause) => return Ok(Err(cause)),
                };
                if self.sagas.is_found_by(saga, &message.tenant, &happened.correlation, view)? {
                    if all.len() == HAPPENED_MAX {
                        let detail = format!("its events are for sagas more than {HAPPENED_MAX} times");
                        return Ok(Err(Cause { kind: "too_many_events".into(), detail }));
                    }
                    let starts = happened.starts && self.sagas.is_today(saga);
                    all.push(Happened { starts, ..happened });
                }
            }
        }
        Ok(Ok(all))
    }

    /// Something came for an instance: it reacts, unless it is held back.
    pub(super) fn on_received(
        &mut self,
        now: Now,
        incoming: &Incoming,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let (tenant, saga, correlation) = incoming.subject();
        let key = QuarantineKey::instance(tenant, saga, correlation);
        if let Some(key) = &key
            && self.quarantine.holds(key, cx.view())?
        {
            return self.park_internal(now, key, std::slice::from_ref(incoming), None, cx);
        }
        match self.react(now, incoming, cx)? {
            Reacted::Applied(asked) => {
                self.on_asked_for(now, asked, cx);
                Ok(())
            }
            Reacted::Held => Ok(()),
            Reacted::Overflowed(held) => self.give_up_hold(now, key.as_ref(), &held, cx),
            Reacted::Poisoned(cause) => {
                self.poison = Some(reason(&cause));
                let incoming = std::slice::from_ref(incoming);
                key.map_or(Ok(()), |key| self.park_internal(now, &key, incoming, Some(cause), cx))
            }
        }
    }

    pub(super) fn react(
        &mut self,
        now: Now,
        incoming: &Incoming,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Reacted, Halt> {
        match incoming {
            Incoming::Happened(happened) => self.sagas.on_event(now, happened, cx),
            Incoming::WorkEnded(ended) => self.sagas.on_work_ended(now, ended, cx),
            Incoming::TimerFired(fired) => self.sagas.on_timer_fired(now, fired, cx),
        }
    }

    /// What a saga asks for goes to the outbox, to the effects, to the timers.
    pub(super) fn on_asked_for(&mut self, now: Now, asked: Asked, cx: &mut Cx<'_, Input, Effect>) {
        let Asked { work, timers, finished } = asked;
        if let Some(finished) = finished {
            self.recurring.nudge(now);
            self.expect_retirement(now);
            cx.emit(Effect::Finished(finished));
        }
        for change in timers {
            cx.then(Input::TimerChanged(Box::new(change)));
        }
        for wanted in work {
            cx.then(match wanted {
                Wanted::Leaving(entry) => Input::Enqueued(Box::new(entry)),
                Wanted::HandedOver(command) => Input::EffectHandedOver(Box::new(command)),
            });
        }
    }

    /// A result goes back the way its command came.
    pub(super) fn on_effect_ended(&mut self, now: Now, ended: Ended, cx: &mut Cx<'_, Input, Effect>) {
        self.expect_retirement(now);
        match ended {
            Ended { result, arrival: Arrival::HandedOver } => {
                cx.mark(Mark::EffectHandedBack);
                result_to_saga(result, cx);
            }
            Ended { result, arrival: Arrival::Delivered } => {
                cx.then(Input::Enqueued(Box::new(Entry::result(&result))));
            }
        }
    }

    /// Everything the delivery caused is staged: the checkpoint joins it, and the answer follows the commit.
    pub(super) fn on_caused(
        &mut self,
        settling: Settling,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Settling { source, admitted } = settling;
        let poison = self.poison.take();
        let Some(gate) = self.gates.get_mut(&source) else { return Ok(()) };
        gate_cx(source, cx, |cx| match poison {
            Some(reason) => gate.parked(admitted, &reason, cx),
            None => gate.applied(admitted, cx),
        })
    }

    /// How an entry ended is for the gate that will read it, and for whoever asked: a schedule or a saga.
    pub(super) fn on_settled(
        &mut self,
        settlement: Settlement,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        cx.emit(Effect::Left(settlement.waited));
        if let Some(stored) = &settlement.stored
            && let Some((source, gate)) =
                self.gates.iter_mut().find(|(source, _)| source.stream() == stored.stream)
        {
            gate_cx(*source, cx, |cx| gate.published(stored.seq, stored.witness, cx));
        }
        if let Some(ended) = occurrence::ended(&settlement) {
            cx.then(Input::OccurrenceEnded(Box::new(ended)));
        }
        if let Some(ended) = work_ended(settlement) {
            cx.then(Input::SagaReceived(Incoming::WorkEnded(Box::new(ended))));
        }
        Ok(())
    }

    fn park_delivery(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        source: Source,
        delivery: &Delivery,
        cause: Option<Cause>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let parked = Parked {
            stream: source.stream().name(),
            stream_seq: delivery.stream_seq,
            subject: &delivery.subject,
            headers: &delivery.headers,
            payload: &delivery.payload,
            definition: None,
        };
        self.quarantine.park(now, key, &parked, cause, cx)
    }

    /// The definition that an instance reacts by, or would begin under.
    pub(super) fn definition_hash(
        &self,
        incoming: &Incoming,
        view: &dyn View,
    ) -> Result<Option<String>, Halt> {
        let (tenant, saga, correlation) = incoming.subject();
        Ok(match saga::look::show(view, tenant, saga, correlation)? {
            Some(instance) => Some(instance.definition),
            None => self.sagas.definitions().get(saga).map(|own| own.hash.clone()),
        })
    }

    /// Parks something that reached an instance from inside: there is no message of its own to keep, but all of it.
    pub(super) fn park_internal(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        incoming: &[Incoming],
        cause: Option<Cause>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(first) = incoming.first() else { return Ok(()) };
        let definition = self.definition_hash(first, cx.view())?;
        let (headers, payloads) =
            (Headers::default(), incoming.iter().map(Incoming::encode).collect::<Vec<_>>());
        let parked = payloads.iter().map(|payload| Parked {
            stream: "",
            stream_seq: 0,
            subject: "",
            headers: &headers,
            payload,
            definition: definition.as_deref(),
        });
        self.quarantine.park_all(now, key, &parked.collect::<Vec<_>>(), cause, cx)
    }
}

/// What an event of a message is to a saga, and to which instance of it; `None` if it is nothing.
pub(super) fn correlated(
    saga: &SagaDef,
    message: &EventMessage,
    nth: usize,
    stream_seq: u64,
    gas_max: u64,
) -> Result<Option<Happened>, Cause> {
    let Some(event) = message.events.get(nth) else { return Ok(None) };
    let trigger = (message.aggregate.clone(), event.kind.clone());
    let Some(correlate) = saga.correlate.get(&trigger) else { return Ok(None) };
    let version = message.version + nth as u64;
    let seen = json!({
        "type": format!("{}.{}", message.aggregate, event.kind),
        "aggregate_type": message.aggregate,
        "aggregate_id": message.id,
        "version": version,
        "tenant_id": message.tenant,
        "payload": event.payload,
    });
    let program =
        |detail: String| Cause { kind: "correlate".into(), detail: format!("saga {}: {detail}", saga.name) };
    let correlation = match correlate.run(&[("event", &seen)], &mut Gas::new(gas_max)) {
        Ok(Value::Null) => return Ok(None),
        Ok(Value::String(id)) => EntityId::parse(&id).map_err(|error| program(error.to_string()))?,
        Ok(other) => return Err(program(format!("{other} is not text"))),
        Err(error) => return Err(program(error.to_string())),
    };
    // Producers that count versions may repeat an event under another sequence; others cannot.
    let cause = if message.version > 0 {
        format!("event/{}/{}/{version}", message.aggregate, message.id.token())
    } else {
        format!("seq/{stream_seq}/{nth}")
    };
    Ok(Some(Happened {
        tenant: message.tenant.clone(),
        saga: saga.name.clone(),
        correlation,
        cause,
        at: message.timestamp.as_deref().and_then(Wall::of_rfc3339),
        stream_seq: Some(stream_seq),
        starts: saga.starts_on.contains(&trigger),
        trigger: Trigger::Event { aggregate: trigger.0, event: trigger.1 },
        event: seen,
        context: message.context.clone(),
    }))
}

fn unreadable(error: DecodeError) -> Cause {
    Cause { kind: "decode".into(), detail: error.to_string() }
}

fn reason(cause: &Cause) -> String {
    format!("{}: {}", cause.kind, cause.detail)
}

fn is_workflow_event(subject: &str) -> bool {
    matches!(Route::parse(subject), Some(Route::WorkflowEvent { .. }))
}

/// A reminder or a signal is for one instance.
fn event_to_saga(event: WorkflowEvent, cx: &mut Cx<'_, Input, Effect>) {
    let WorkflowEvent { tenant, saga, correlation, id, what, context, .. } = event;
    match what {
        Occurrence::Reminder { timer, due_at } => {
            let fired = TimerFired { tenant, saga, correlation, timer, id, due_at };
            cx.then(Input::SagaReceived(Incoming::TimerFired(Box::new(fired))));
        }
        Occurrence::Signal { signal, payload } => {
            let seen = json!({ "type": format!("signal.{signal}"), "signal": signal, "payload": payload });
            let happened = Happened {
                tenant,
                saga,
                correlation,
                cause: format!("signal/{id}"),
                // No instance begins with it.
                at: None,
                stream_seq: None,
                trigger: Trigger::Signal { signal },
                starts: false,
                event: seen,
                context,
            };
            cx.then(Input::SagaReceived(Incoming::Happened(Box::new(happened))));
        }
    }
}

/// The result of an effect is the end of the work that asked for it, or of an occurrence.
fn result_to_saga(result: EffectResult, cx: &mut Cx<'_, Input, Effect>) {
    let outcome = match result.outcome {
        EffectOutcome::Succeeded => WorkOutcome::Succeeded,
        EffectOutcome::Failed => WorkOutcome::Failed,
    };
    let Some(saga) = result.saga else {
        let error = (!outcome.is_done()).then(|| format!("failed: {}", result.payload));
        let ended = OccurrenceEnded { tenant: result.tenant, id: result.command_id, error };
        cx.then(Input::OccurrenceEnded(Box::new(ended)));
        return;
    };
    let ended = WorkEnded {
        tenant: result.tenant,
        saga,
        work_id: result.command_id,
        outcome,
        payload: result.payload,
    };
    cx.then(Input::SagaReceived(Incoming::WorkEnded(Box::new(ended))));
}

/// What the end of an outbox entry means to the saga that asked for it, if it is an end for the saga.
fn work_ended(settlement: Settlement) -> Option<WorkEnded> {
    let (WorkRef { tenant, saga, work_id }, refused) = match settlement.origin {
        Origin::Command(work) => (work, WorkOutcome::Refused),
        Origin::EffectCommand(work) => (work, WorkOutcome::Failed),
        Origin::EffectResult { .. } | Origin::Occurrence { .. } | Origin::Reminder { .. } => return None,
    };
    let (outcome, payload) = match settlement.end {
        End::Accepted(accepted) => {
            (WorkOutcome::Accepted, json!({ "seq": accepted.seq, "version": accepted.version }))
        }
        // The effect is asked for; its end is a result that comes later.
        End::Published { .. } => return None,
        End::Refused(refusal) => (refused, json!({ "code": refusal.code, "message": refusal.message })),
    };
    Some(WorkEnded { tenant, saga, work_id, outcome, payload })
}
