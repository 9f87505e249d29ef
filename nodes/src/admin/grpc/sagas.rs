//! Saga instances, as messages.

use super::dlq::held_back;
use super::effects::told_stage;
use super::{page, tenant, wire};
use crate::admin::fault::Fault;
use crate::admin::fields;
use crate::admin::replay::{Passed, Told};
use crate::admin::restart::Again;
use crate::admin::sagas::{InList, Key, Sagas, Shown, Signal, Signalled};
use crate::gateway::context;
use cloudlysis_core::Wall;
use cloudlysis_core::operator::Reason;
use cloudlysis_core::saga::look::{EffectWaited, Listed, WaitsFor, Which};
use cloudlysis_core::saga::{
    Intervened, Intervention, Operated, Paused, PendingTimer, Replayed, Verb, Work, WorkState,
};
use tonic::Request;
use wire::waits_for::{self, What};

fn key(key: Option<wire::SagaKey>) -> Result<Key, Fault> {
    let wire::SagaKey { tenant_id, saga, correlation } = key.unwrap_or_default();
    Key::parse(fields::tenant(&tenant_id)?, &saga, &correlation)
}

fn told_key(Key { tenant, saga, correlation }: &Key) -> wire::SagaKey {
    wire::SagaKey {
        tenant_id: tenant.to_string(),
        saga: saga.to_string(),
        correlation: correlation.to_string(),
    }
}

pub(super) fn list(sagas: &Sagas, request: wire::ListSagasRequest) -> Result<wire::ListSagasResponse, Fault> {
    let wire::ListSagasRequest { tenant_id, saga, open, after, limit } = request;
    let saga = Some(saga).filter(|own| !own.is_empty());
    let saga = saga.map(|own| fields::name("saga", &own)).transpose()?;
    let found = sagas.list(&Which { tenant: tenant(tenant_id)?, saga, open }, &page(after, limit))?;
    let listed = |InList { listed: Listed { tenant_id, saga, correlation, status, paused }, quarantined }| {
        wire::ListedSaga {
            tenant_id: tenant_id.to_string(),
            saga: saga.to_string(),
            correlation: correlation.to_string(),
            status: status.to_owned(),
            paused,
            quarantined,
        }
    };
    let instances = found.items.into_iter().map(listed).collect();
    Ok(wire::ListSagasResponse { instances, next: found.next.unwrap_or_default() })
}

pub(super) fn show(sagas: &Sagas, request: wire::ShowSagaRequest) -> Result<wire::ShowSagaResponse, Fault> {
    let Shown { key, instance, today, waits_for, quarantined } = sagas.show(key(request.key)?)?;
    Ok(wire::ShowSagaResponse {
        key: Some(told_key(&key)),
        status: instance.status.as_str().to_owned(),
        paused: instance.paused.map(|Paused { since, reason, messages, bytes }| wire::PausedSaga {
            since_ms: since.as_ms(),
            reason,
            messages,
            bytes,
        }),
        intervention: instance.intervention.map(intervention),
        reacts_by: instance.definition,
        today,
        state: serde_json::to_vec(&instance.state).expect("JSON values serialise"),
        works: instance.works.into_iter().map(work).collect(),
        timers: instance.timers.into_iter().map(timer).collect(),
        correlation_id: instance.context.correlation_id,
        waits_for: waits_for.into_iter().map(waited_for).collect(),
        quarantined: quarantined.map(held_back),
        restarts: instance.restarts,
        ended_at_ms: instance.ended_at.map(Wall::as_ms),
    })
}

fn intervention(Intervention { verb, at, reason }: Intervention) -> wire::Intervention {
    let verb = match verb {
        Intervened::Cancelled => wire::intervention::Verb::Cancelled,
        Intervened::Killed => wire::intervention::Verb::Killed,
    };
    wire::Intervention { verb: verb.into(), at_ms: at.as_ms(), reason }
}

fn work(Work { id, name, compensates, state, handed_over }: Work) -> wire::Work {
    let state = match state {
        WorkState::InFlight => wire::work::State::InFlight,
        WorkState::Done => wire::work::State::Done,
        WorkState::NotDone => wire::work::State::NotDone,
    };
    wire::Work { id: id.to_string(), name: name.to_string(), compensates, state: state.into(), handed_over }
}

fn timer(PendingTimer { id, name, due }: PendingTimer) -> wire::PendingTimer {
    wire::PendingTimer { id: id.to_string(), name: name.to_string(), due_ms: due.as_ms() }
}

fn effect_waited(own: EffectWaited) -> waits_for::EffectWaited {
    let EffectWaited { effect, stage, attempts, ambiguous, reason, last } = own;
    let stage = told_stage(stage).into();
    waits_for::EffectWaited { effect: effect.to_string(), stage, attempts, ambiguous, reason, last }
}

fn waited_for(what: WaitsFor) -> wire::WaitsFor {
    let what = match what {
        WaitsFor::Resume { reason, since, held } => {
            What::Resume(waits_for::Resume { reason, since_ms: since.as_ms(), held })
        }
        WaitsFor::Work { name, command_id, compensates, effect } => What::Work(waits_for::WorkEnd {
            name: name.to_string(),
            command_id: command_id.to_string(),
            compensates,
            effect: effect.map(effect_waited),
        }),
        WaitsFor::Timer { name, due } => {
            What::Timer(waits_for::Timer { name: name.to_string(), due_ms: due.as_ms() })
        }
        WaitsFor::Event { aggregate, event } => {
            What::Event(waits_for::Event { aggregate: aggregate.to_string(), event: event.to_string() })
        }
        WaitsFor::Signal { signal } => What::Signal(waits_for::Signal { signal: signal.to_string() }),
        WaitsFor::Schedule { schedule } => {
            What::Schedule(waits_for::Schedule { schedule: schedule.to_string() })
        }
    };
    wire::WaitsFor { what: Some(what) }
}

pub(super) async fn signal(
    sagas: &Sagas,
    request: Request<wire::SignalSagaRequest>,
) -> Result<wire::SignalSagaResponse, Fault> {
    let context = context::of(request.metadata().as_ref());
    let wire::SignalSagaRequest { key: own, signal, payload, idempotency_key } = request.into_inner();
    let idempotency_key = idempotency_key.as_deref();
    let signal = Signal { name: &signal, payload: &payload, idempotency_key, context };
    let Signalled { signal_id, stream_seq, duplicate } = sagas.signal(key(own)?, signal).await?;
    Ok(wire::SignalSagaResponse { signal_id: signal_id.to_string(), stream_seq, duplicate })
}

pub(super) async fn change(
    sagas: &Sagas,
    request: wire::ChangeSagaRequest,
    verb: impl FnOnce(Reason) -> Verb,
) -> Result<wire::ChangeSagaResponse, Fault> {
    let wire::ChangeSagaRequest { key: own, reason } = request;
    operate(sagas, key(own)?, verb(fields::reason(&reason)?)).await
}

pub(super) async fn restart(
    sagas: &Sagas,
    request: wire::RestartSagaRequest,
) -> Result<wire::RestartSagaResponse, Fault> {
    let wire::RestartSagaRequest { key: own, reason, restarts, dry_run } = request;
    let again = Again { reason: fields::reason(&reason)?, restarts, dry_run };
    let Operated { status, changed, asks, .. } = sagas.restart(key(own)?, again).await?;
    let asks = asks.iter().map(ToString::to_string).collect();
    Ok(wire::RestartSagaResponse { status: status.to_owned(), changed, asks })
}

pub(super) async fn replay(
    sagas: &Sagas,
    request: wire::ReplaySagaRequest,
) -> Result<wire::ReplaySagaResponse, Fault> {
    let wire::ReplaySagaRequest { saga, tenant_id, from_seq, to_seq, may_repeat, dry_run, reason } = request;
    let (saga, tenant) = (fields::name("saga", &saga)?, tenant(tenant_id)?);
    let reason = fields::reason(&reason)?;
    let passed = Passed { saga, tenant, from_seq, to_seq, may_repeat, dry_run, reason };
    let Told { messages, events, next_seq } = sagas.replay(passed).await?;
    let Replayed { begun, reacted, known, ended, held_back, forgotten, nobody, unreadable } = events;
    Ok(wire::ReplaySagaResponse {
        messages,
        unreadable,
        begun,
        reacted,
        known,
        ended,
        held_back,
        forgotten,
        nobody,
        next_seq,
    })
}

pub(super) async fn resume(
    sagas: &Sagas,
    request: wire::ResumeSagaRequest,
) -> Result<wire::ChangeSagaResponse, Fault> {
    operate(sagas, key(request.key)?, Verb::Resume).await
}

async fn operate(sagas: &Sagas, key: Key, verb: Verb) -> Result<wire::ChangeSagaResponse, Fault> {
    let Operated { status, paused, changed, released, .. } = sagas.operate(key, verb).await?;
    let (status, released) = (status.to_owned(), released as u64);
    Ok(wire::ChangeSagaResponse { status, paused, changed, released })
}
