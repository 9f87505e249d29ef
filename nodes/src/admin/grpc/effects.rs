//! Effects, as messages.

use super::{page, tenant, wire};
use crate::admin::effects::{Effects, Judged, Key, Unknown};
use crate::admin::fault::Fault;
use crate::admin::fields;
use cloudlysis_core::effect::audit::{Counts, Doubtful, Verdict};
use cloudlysis_core::effect::look::{Listed, Stage, Which};
use cloudlysis_core::effect::operate::{Operated, Verb};
use cloudlysis_core::effect::{Intervened, Intervention, LedgerRow, Phase};
use cloudlysis_core::wire::envelope::{EffectOutcome, SagaRef};

fn key(key: Option<wire::EffectKey>) -> Result<Key, Fault> {
    let wire::EffectKey { tenant_id, command_id } = key.unwrap_or_default();
    Key::parse(fields::tenant(&tenant_id)?, &command_id)
}

/// One of an enum's values, if it is one of ours.
fn read<T: TryFrom<i32>>(field: &str, value: i32) -> Result<T, Fault> {
    T::try_from(value).map_err(|_| Fault::invalid(field, format!("{value} is not one of its values")))
}

pub(super) const fn told_stage(stage: Stage) -> wire::EffectStage {
    match stage {
        Stage::Open => wire::EffectStage::Open,
        Stage::Parked => wire::EffectStage::Parked,
        Stage::Settled => wire::EffectStage::Settled,
    }
}

const fn told_outcome(outcome: EffectOutcome) -> wire::EffectOutcome {
    match outcome {
        EffectOutcome::Succeeded => wire::EffectOutcome::Succeeded,
        EffectOutcome::Failed => wire::EffectOutcome::Failed,
    }
}

pub(super) fn list(
    effects: &Effects,
    request: wire::ListEffectsRequest,
) -> Result<wire::ListEffectsResponse, Fault> {
    let wire::ListEffectsRequest { tenant_id, effect, stage, after, limit } = request;
    let effect = Some(effect).filter(|own| !own.is_empty());
    let effect = effect.map(|own| fields::name("effect", &own)).transpose()?;
    let stage = match read("stage", stage)? {
        wire::EffectStage::Unspecified => None,
        wire::EffectStage::Open => Some(Stage::Open),
        wire::EffectStage::Parked => Some(Stage::Parked),
        wire::EffectStage::Settled => Some(Stage::Settled),
    };
    let which = Which { tenant: tenant(tenant_id)?, effect, stage };
    let found = effects.list(&which, &page(after, limit))?;
    let effects = found.items.into_iter().map(|own| wire::Effect { payload: None, ..told(own) }).collect();
    Ok(wire::ListEffectsResponse { effects, next: found.next.unwrap_or_default() })
}

pub(super) fn show(
    effects: &Effects,
    request: wire::ShowEffectRequest,
) -> Result<wire::ShowEffectResponse, Fault> {
    Ok(wire::ShowEffectResponse { effect: Some(told(effects.show(key(request.key)?)?)) })
}

fn told(Listed { tenant, command_id, row }: Listed) -> wire::Effect {
    let LedgerRow { effect, phase, attempts, ambiguous, since, last, intervention, call } = row;
    let stage = told_stage(phase.stage()).into();
    let (outcome, reason) = match phase {
        Phase::Open | Phase::Started { .. } => (None, None),
        Phase::Settled { outcome } => (Some(told_outcome(outcome).into()), None),
        Phase::Parked { reason } => (None, Some(reason)),
    };
    let payload = call.as_ref().map(|call| serde_json::to_vec(&call.payload).expect("JSON values serialise"));
    let waiter =
        call.and_then(|call| call.saga).map(|SagaRef { saga, correlation, work }| wire::EffectWaiter {
            saga: saga.to_string(),
            correlation: correlation.to_string(),
            work: work.to_string(),
        });
    wire::Effect {
        key: Some(wire::EffectKey { tenant_id: tenant.to_string(), command_id: command_id.to_string() }),
        effect: effect.to_string(),
        stage,
        outcome,
        reason,
        attempts,
        ambiguous,
        since_ms: since.as_ms(),
        waiter,
        intervention: intervention.map(intervened),
        payload,
        last,
    }
}

fn intervened(Intervention { verb, at, attempts: _, reason }: Intervention) -> wire::EffectIntervention {
    let verb = match verb {
        Intervened::Retried => wire::effect_intervention::Verb::Retried,
        Intervened::Settled => wire::effect_intervention::Verb::Settled,
    };
    wire::EffectIntervention { verb: verb.into(), at_ms: at.as_ms(), reason }
}

pub(super) async fn retry(
    effects: &Effects,
    request: wire::RetryEffectRequest,
) -> Result<wire::ChangeEffectResponse, Fault> {
    let wire::RetryEffectRequest { key: own, reason, may_repeat } = request;
    let reason = fields::reason(&reason)?;
    change(effects, key(own)?, Verb::Retry { may_repeat, reason }).await
}

pub(super) async fn settle(
    effects: &Effects,
    request: wire::SettleEffectRequest,
) -> Result<wire::ChangeEffectResponse, Fault> {
    let wire::SettleEffectRequest { key: own, reason, outcome, payload } = request;
    let outcome = match read("outcome", outcome)? {
        wire::EffectOutcome::Succeeded => EffectOutcome::Succeeded,
        wire::EffectOutcome::Failed => EffectOutcome::Failed,
        wire::EffectOutcome::Unspecified => {
            return Err(Fault::invalid("outcome", "it is missing: succeeded or failed"));
        }
    };
    let json: &[u8] = if payload.is_empty() { b"{}" } else { &payload };
    let payload = fields::parsed("payload", serde_json::from_slice(json))?;
    change(effects, key(own)?, Verb::Settle { outcome, payload, reason: fields::reason(&reason)? }).await
}

async fn change(effects: &Effects, key: Key, verb: Verb) -> Result<wire::ChangeEffectResponse, Fault> {
    let Operated { effect, outcome, changed } = effects.operate(key, verb).await?;
    let outcome = outcome.map(|own| told_outcome(own).into());
    Ok(wire::ChangeEffectResponse { effect: effect.to_string(), outcome, changed })
}

pub(super) fn audit(
    effects: &Effects,
    request: wire::AuditEffectsRequest,
) -> Result<wire::AuditEffectsResponse, Fault> {
    let wire::AuditEffectsRequest { tenant_id, after } = request;
    let Judged { counts, doubtful, next } = effects.ledger(tenant(tenant_id)?.as_ref(), &after)?;
    let counts = counts.into_iter().map(|(effect, own)| (effect.to_string(), counted(own))).collect();
    let doubtful = doubtful.into_iter().map(doubted).collect();
    Ok(wire::AuditEffectsResponse { counts, doubtful, next: next.unwrap_or_default() })
}

fn counted(counts: Counts) -> wire::EffectCounts {
    let Counts { once, maybe_twice, refused, maybe, never, by_hand, open } = counts;
    wire::EffectCounts { once, maybe_twice, refused, maybe, never, by_hand, open }
}

fn doubted(doubtful: Doubtful) -> wire::DoubtfulEffect {
    let Doubtful { tenant_id, effect, command_id, verdict, attempts, ambiguous, since, reason } = doubtful;
    let verdict = match verdict {
        Verdict::Once => wire::Verdict::Once,
        Verdict::MaybeTwice => wire::Verdict::MaybeTwice,
        Verdict::Refused => wire::Verdict::Refused,
        Verdict::Maybe => wire::Verdict::Maybe,
        Verdict::Never => wire::Verdict::Never,
        Verdict::ByHand => wire::Verdict::ByHand,
        Verdict::Open => wire::Verdict::Open,
    };
    wire::DoubtfulEffect {
        tenant_id: tenant_id.to_string(),
        effect: effect.to_string(),
        command_id: command_id.to_string(),
        verdict: verdict.into(),
        attempts,
        ambiguous,
        since_ms: since.as_ms(),
        reason,
    }
}

pub(super) async fn unknown(
    effects: &Effects,
    request: wire::FindUnknownEffectsRequest,
) -> Result<wire::FindUnknownEffectsResponse, Fault> {
    let Unknown { stored, unknown, subjects } = effects.unknown(tenant(request.tenant_id)?.as_ref()).await?;
    Ok(wire::FindUnknownEffectsResponse { stored: stored as u64, unknown: unknown as u64, subjects })
}
