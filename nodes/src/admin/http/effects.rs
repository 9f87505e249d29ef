//! Effects, over HTTP. Times are as RFC 3339 writes them.

use super::{one_tenant, path, query, said, tenant, unknown_verb};
use crate::admin::effects::{Effects, Judged, Key, Unknown};
use crate::admin::fault::Fault;
use crate::admin::fields;
use crate::admin::rows::PageOf;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::effect::look::{Listed, Stage, Which};
use cloudlysis_core::effect::operate::Verb;
use cloudlysis_core::effect::{Call, Phase};
use cloudlysis_core::wire::envelope::EffectOutcome;
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn router(effects: Effects) -> Router {
    Router::new()
        .route("/admin/runner/effects", get(judged))
        .route("/admin/runner/effects/unknown", get(unknown))
        .route("/admin/runner/effects/ledger", get(list))
        .route("/admin/runner/effects/ledger/{id}", get(show))
        .route("/admin/runner/effects/ledger/{id}/{verb}", post(operate))
        .with_state(effects)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JudgedFrom {
    #[serde(default)]
    after: String,
}

async fn judged(
    State(effects): State<Effects>,
    page: Result<Query<JudgedFrom>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Judged>, Fault> {
    let JudgedFrom { after } = query(page)?;
    Ok(Json(effects.ledger(tenant(&headers)?.as_ref(), &after)?))
}

async fn unknown(State(effects): State<Effects>, headers: HeaderMap) -> Result<Json<Unknown>, Fault> {
    Ok(Json(effects.unknown(tenant(&headers)?.as_ref()).await?))
}

/// Which effects, and which page of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EffectsOf {
    #[serde(default)]
    effect: Option<String>,
    #[serde(default)]
    stage: Option<Stage>,
    #[serde(default)]
    after: String,
    #[serde(default)]
    limit: Option<usize>,
}

async fn list(
    State(effects): State<Effects>,
    page: Result<Query<EffectsOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let EffectsOf { effect, stage, after, limit } = query(page)?;
    let effect = effect.map(|own| fields::name("effect", &own)).transpose()?;
    let which = Which { tenant: tenant(&headers)?, effect, stage };
    let page = effects.list(&which, &PageOf { after, limit })?;
    let rows: Vec<Value> = page.items.iter().map(told).collect();
    Ok(Json(json!({ "effects": rows, "next": page.next })))
}

fn told(Listed { tenant, command_id, row }: &Listed) -> Value {
    let (outcome, reason) = match &row.phase {
        Phase::Open | Phase::Started { .. } => (None, None),
        Phase::Settled { outcome } => (Some(outcome), None),
        Phase::Parked { reason } => (None, Some(reason)),
    };
    json!({
        "tenant_id": tenant,
        "command_id": command_id,
        "effect": row.effect,
        "stage": row.phase.stage(),
        "outcome": outcome,
        "reason": reason,
        "attempts": row.attempts,
        "ambiguous": row.ambiguous,
        "since": row.since.rfc3339(),
        "last": row.last,
        "saga": row.call.as_ref().and_then(|call| call.saga.as_ref()),
        "intervention": row.intervention.as_ref().map(|own| json!({
            "verb": own.verb, "at": own.at.rfc3339(), "reason": own.reason,
        })),
    })
}

async fn show(
    State(effects): State<Effects>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let listed = effects.show(Key::parse(one_tenant(&headers)?, &path(id)?)?)?;
    let mut told = told(&listed);
    if let Some(Call { payload, context, .. }) = &listed.row.call {
        told["payload"] = payload.clone();
        told["correlation_id"] = json!(context.correlation_id);
    }
    Ok(Json(told))
}

/// What comes with an operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    may_repeat: bool,
    #[serde(default)]
    outcome: Option<String>,
    #[serde(default)]
    payload: Option<Value>,
}

/// What is to be done, and why.
fn verb(name: &str, body: &Bytes) -> Result<Verb, Fault> {
    let Said { reason, may_repeat, outcome, payload } = said(body)?;
    let reason = || fields::reason(&reason);
    match name {
        "retry" => Ok(Verb::Retry { may_repeat, reason: reason()? }),
        "settle" => {
            let outcome = match outcome.as_deref() {
                Some("succeeded") => EffectOutcome::Succeeded,
                Some("failed") => EffectOutcome::Failed,
                Some(_) | None => return Err(Fault::invalid("outcome", "expected `succeeded` or `failed`")),
            };
            Ok(Verb::Settle { outcome, payload: payload.unwrap_or_else(|| json!({})), reason: reason()? })
        }
        _ => Err(unknown_verb(name, "an operator can retry and settle")),
    }
}

async fn operate(
    State(effects): State<Effects>,
    named: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let (id, name) = path(named)?;
    let key = Key::parse(one_tenant(&headers)?, &id)?;
    let done = effects.operate(key, verb(&name, &body)?).await?;
    let stage = if done.outcome.is_some() { Stage::Settled } else { Stage::Open };
    Ok(Json(json!({
        "effect": done.effect, "stage": stage, "outcome": done.outcome, "changed": done.changed,
    })))
}
