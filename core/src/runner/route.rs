//! Where things go: deliveries to sagas and effects, settlements to sagas, poison to quarantine.

use super::{Config, Effect, Input, OccurrenceEnded, Runner, Settling, Source, gate_cx};
use crate::cx::Cx;
use crate::effect::Arrival;
use crate::gate::{Admission, Admitted, Delivery};
use crate::halt::Halt;
use crate::manifest::{Trigger, WorkOutcome};
use crate::outbox::{End, Origin, Settlement, WorkRef};
use crate::program::Gas;
use crate::quarantine::{Cause, Parked, QuarantineKey, Subject};
use crate::saga::{Asked, Happened, Reacted, TimerFired, Wanted, WorkEnded};
use crate::time::Now;
use crate::wire::envelope::{
    DecodeError, EffectCommand, EffectOutcome, EffectResult, EventMessage, Occurrence, WorkflowEvent,
};
use crate::wire::headers::Headers;
use crate::wire::id::{EntityId, Name};
use crate::wire::subject::{Filter, Route};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What a gate reads. The workflow streams are read whole: their messages expire, and a checkpoint that moves with
/// every message shows whether any expired unseen.
pub(super) fn filters(source: Source, config: &Config) -> Vec<Filter> {
    let parse = |raw: &str| Filter::parse(raw).expect("a filter of ours");
    match source {
        Source::Events => {
            let kinds: BTreeSet<Name> = config.sagas.values().flat_map(|saga| saga.aggregates()).collect();
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
        let position = format!("{}:{}", source.stream(), delivery.stream_seq);
        let Delivery { subject, headers, payload, .. } = delivery;
        let routed = match source {
            Source::Events => EventMessage::decode(subject, headers, payload, &position)
                .map_err(unreadable)
                .and_then(|message| self.to_sagas(&message, delivery.stream_seq, cx)),
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
        };
        if let Err(cause) = routed {
            self.poison = Some(reason(&cause));
            if let Some(key) = key {
                self.park_delivery(now, &key, source, delivery, Some(cause), cx)?;
            }
        }
        cx.then(Input::Caused(settling));
        Ok(())
    }

    /// Finds the instances an event message belongs to and hands each its events, in order.
    fn to_sagas(
        &self,
        message: &EventMessage,
        stream_seq: u64,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Cause> {
        let mut happened = Vec::new();
        for (at, event) in message.events.iter().enumerate() {
            let trigger = (message.aggregate.clone(), event.kind.clone());
            let version = message.version + at as u64;
            for (name, saga) in self.sagas.definitions() {
                let Some(correlate) = saga.correlate.get(&trigger) else { continue };
                let seen = json!({
                    "type": format!("{}.{}", message.aggregate, event.kind),
                    "aggregate_type": message.aggregate,
                    "aggregate_id": message.id,
                    "version": version,
                    "tenant_id": message.tenant,
                    "payload": event.payload,
                });
                let mut gas = Gas::new(self.config.gas_max);
                let program = |detail: String| Cause {
                    kind: "correlate".into(),
                    detail: format!("saga {name}: {detail}"),
                };
                let correlation = match correlate.run(&[("event", &seen)], &mut gas) {
                    Ok(Value::Null) => continue,
                    Ok(id) => id
                        .as_str()
                        .map(EntityId::parse)
                        .ok_or_else(|| program(format!("{id} is not text")))?,
                    Err(error) => return Err(program(error.to_string())),
                };
                let correlation = correlation.map_err(|error| program(error.to_string()))?;
                // Producers that count versions may repeat an event under another sequence; others cannot.
                let cause = if message.version > 0 {
                    format!("event/{}/{}/{version}", message.aggregate, message.id.token())
                } else {
                    format!("seq/{stream_seq}/{at}")
                };
                happened.push(Happened {
                    tenant: message.tenant.clone(),
                    saga: name.clone(),
                    correlation,
                    cause,
                    starts: saga.starts_on.contains(&trigger),
                    trigger: Trigger::Event { aggregate: trigger.0.clone(), event: trigger.1.clone() },
                    event: seen,
                    context: message.context.clone(),
                });
            }
        }
        for happened in happened {
            cx.then(Input::SagaHappened(Box::new(happened)));
        }
        Ok(())
    }

    pub(super) fn on_saga_happened(
        &mut self,
        now: Now,
        happened: &Happened,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let key = QuarantineKey::instance(&happened.tenant, &happened.saga, &happened.correlation);
        let body = happened.parked();
        if let Some(key) = &key
            && self.quarantine.holds(key, cx.view())?
        {
            return self.park_internal(now, key, &body, None, cx);
        }
        let reacted = self.sagas.on_event(now, happened, cx)?;
        self.on_reacted(now, key.as_ref(), &body, reacted, cx)
    }

    pub(super) fn on_saga_work_ended(
        &mut self,
        now: Now,
        ended: &WorkEnded,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let key = QuarantineKey::instance(&ended.tenant, &ended.saga.saga, &ended.saga.correlation);
        let body = ended.parked();
        if let Some(key) = &key
            && self.quarantine.holds(key, cx.view())?
        {
            return self.park_internal(now, key, &body, None, cx);
        }
        let reacted = self.sagas.on_work_ended(now, ended, cx)?;
        self.on_reacted(now, key.as_ref(), &body, reacted, cx)
    }

    pub(super) fn on_saga_timer_fired(
        &mut self,
        now: Now,
        fired: &TimerFired,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let key = QuarantineKey::instance(&fired.tenant, &fired.saga, &fired.correlation);
        let body = fired.parked();
        if let Some(key) = &key
            && self.quarantine.holds(key, cx.view())?
        {
            return self.park_internal(now, key, &body, None, cx);
        }
        let reacted = self.sagas.on_timer_fired(now, fired, cx)?;
        self.on_reacted(now, key.as_ref(), &body, reacted, cx)
    }

    /// What a saga asks for goes to the outbox; what poisons it is parked, and its instance held back.
    pub(super) fn on_reacted(
        &mut self,
        now: Now,
        key: Option<&QuarantineKey>,
        body: &Value,
        reacted: Reacted,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        match reacted {
            Reacted::Applied(Asked { work, timers, finished }) => {
                if let Some(finished) = finished {
                    self.recurring.nudge(now);
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
                Ok(())
            }
            Reacted::Held => Ok(()),
            Reacted::Overflowed(held) => self.give_up_hold(now, key, held, cx),
            Reacted::Poisoned(cause) => {
                self.poison = Some(reason(&cause));
                key.map_or(Ok(()), |key| self.park_internal(now, key, body, Some(cause), cx))
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

    /// Parks something that reached an instance from inside: there is no message of its own to keep.
    pub(super) fn park_internal(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        body: &Value,
        cause: Option<Cause>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let payload = body.to_string();
        let definition = match key.subject() {
            Some(Subject::Instance { saga, .. }) => {
                self.config.sagas.get(&saga).map(|saga| saga.hash.clone())
            }
            Some(Subject::Source { .. }) | None => None,
        };
        let parked = Parked {
            stream: "",
            stream_seq: 0,
            subject: "",
            headers: &Headers::default(),
            payload: payload.as_bytes(),
            definition: definition.as_deref(),
        };
        self.quarantine.park(now, key, &parked, cause, cx)
    }
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
            cx.then(Input::SagaTimerFired(Box::new(fired)));
        }
        Occurrence::Signal { signal, payload } => {
            let seen = json!({ "type": format!("signal.{signal}"), "signal": signal, "payload": payload });
            cx.then(Input::SagaHappened(Box::new(Happened {
                tenant,
                saga,
                correlation,
                cause: format!("signal/{id}"),
                trigger: Trigger::Signal { signal },
                starts: false,
                event: seen,
                context,
            })));
        }
    }
}

/// The result of an effect is the end of the work that asked for it, or of an occurrence.
pub(super) fn result_to_saga(result: EffectResult, cx: &mut Cx<'_, Input, Effect>) {
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
    cx.then(Input::SagaWorkEnded(Box::new(WorkEnded {
        tenant: result.tenant,
        saga,
        work_id: result.command_id,
        outcome,
        payload: result.payload,
    })));
}

/// What the end of an outbox entry means to the saga that asked for it, if it is an end for the saga.
pub(super) fn work_ended(settlement: Settlement) -> Option<WorkEnded> {
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
