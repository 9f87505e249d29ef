//! Saga instances, over HTTP.

use super::{idempotency_key, one_tenant, path, query, said, tenant, unknown_verb};
use crate::admin::fault::Fault;
use crate::admin::fields;
use crate::admin::replay::{Passed, Told};
use crate::admin::restart::Again;
use crate::admin::rows::PageOf;
use crate::admin::sagas::{Key, Sagas, Shown, Signal, Signalled};
use crate::gateway::context;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::saga::Verb;
use cloudlysis_core::saga::look::Which;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

pub(super) fn router(sagas: Sagas) -> Router {
    Router::new()
        .route("/admin/runner/sagas", get(list))
        .route("/admin/runner/sagas/{saga}/{id}", get(show))
        .route("/admin/runner/sagas/{saga}/{id}/signals/{signal}", post(signal))
        .route("/admin/runner/sagas/{saga}/{id}/restart", post(restart))
        .route("/admin/runner/replays/{saga}", post(replay))
        .route("/admin/runner/sagas/{saga}/{id}/{verb}", post(operate))
        .with_state(sagas)
}

/// Which instances, and which page of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct InstancesOf {
    #[serde(default)]
    saga: Option<String>,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    after: String,
    #[serde(default)]
    limit: Option<usize>,
}

async fn list(
    State(sagas): State<Sagas>,
    page: Result<Query<InstancesOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let InstancesOf { saga, open, after, limit } = query(page)?;
    let saga = saga.map(|own| fields::name("saga", &own)).transpose()?;
    let page = sagas.list(&Which { tenant: tenant(&headers)?, saga, open }, &PageOf { after, limit })?;
    Ok(Json(json!({ "instances": page.items, "next": page.next })))
}

async fn show(
    State(sagas): State<Sagas>,
    named: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let (saga, id) = path(named)?;
    let Shown { key, instance, today, waits_for, quarantined } =
        sagas.show(Key::parse(one_tenant(&headers)?, &saga, &id)?)?;
    Ok(Json(json!({
        "tenant_id": key.tenant,
        "saga": key.saga,
        "correlation": key.correlation,
        "status": instance.status.as_str(),
        "paused": instance.paused,
        "intervention": instance.intervention,
        "restarts": instance.restarts,
        "ended_at": instance.ended_at,
        "definition": { "reacts_by": instance.definition, "today": today },
        "state": instance.state,
        "works": instance.works,
        "timers": instance.timers,
        "correlation_id": instance.context.correlation_id,
        "waits_for": waits_for,
        "quarantined": quarantined,
    })))
}

/// What comes with an operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    #[serde(default)]
    reason: Option<String>,
}

/// What is to be done, of which one must say why it is.
fn verb(name: &str, body: &Bytes) -> Result<Verb, Fault> {
    let Because { reason } = said(body)?;
    let why = || fields::reason(reason.as_deref().unwrap_or_default());
    match name {
        "pause" => Ok(Verb::Pause { reason: why()? }),
        "resume" => Ok(Verb::Resume),
        "cancel" => Ok(Verb::Cancel { reason: why()? }),
        "kill" => Ok(Verb::Kill { reason: why()? }),
        "migrate" => Ok(Verb::Migrate { reason: why()? }),
        _ => Err(unknown_verb(name, "an operator can pause, resume, cancel, kill, restart and migrate")),
    }
}

async fn operate(
    State(sagas): State<Sagas>,
    named: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let (saga, id, name) = path(named)?;
    let key = Key::parse(one_tenant(&headers)?, &saga, &id)?;
    let done = sagas.operate(key, verb(&name, &body)?).await?;
    Ok(Json(json!({
        "status": done.status, "paused": done.paused, "changed": done.changed, "released": done.released,
    })))
}

/// What comes with a restart.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Anew {
    #[serde(default)]
    reason: String,
    #[serde(default)]
    restarts: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

async fn restart(
    State(sagas): State<Sagas>,
    named: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let (saga, id) = path(named)?;
    let key = Key::parse(one_tenant(&headers)?, &saga, &id)?;
    let Anew { reason, restarts, dry_run } = said(&body)?;
    let again = Again { reason: fields::reason(&reason)?, restarts, dry_run };
    let done = sagas.restart(key, again).await?;
    Ok(Json(json!({
        "status": done.status, "paused": done.paused, "changed": done.changed, "asks": done.asks,
    })))
}

/// What comes with a replay.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Events {
    from_seq: u64,
    #[serde(default)]
    to_seq: Option<u64>,
    #[serde(default)]
    may_repeat: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    reason: String,
}

async fn replay(
    State(sagas): State<Sagas>,
    named: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Told>, Fault> {
    let saga = fields::name("saga", &path(named)?)?;
    let Events { from_seq, to_seq, may_repeat, dry_run, reason } = said(&body)?;
    let (tenant, reason) = (tenant(&headers)?, fields::reason(&reason)?);
    let passed = Passed { saga, tenant, from_seq, to_seq, may_repeat, dry_run, reason };
    Ok(Json(sagas.replay(passed).await?))
}

/// What comes with a signal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    payload: Option<Box<RawValue>>,
}

async fn signal(
    State(sagas): State<Sagas>,
    named: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<(StatusCode, Json<Signalled>), Fault> {
    let (saga, id, name) = path(named)?;
    let key = Key::parse(one_tenant(&headers)?, &saga, &id)?;
    let Said { payload } = said(&body)?;
    let signal = Signal {
        name: &name,
        payload: payload.as_deref().map(|raw| raw.get().as_bytes()).unwrap_or_default(),
        idempotency_key: idempotency_key(&headers)?,
        context: context::of(&headers),
    };
    Ok((StatusCode::ACCEPTED, Json(sagas.signal(key, signal).await?)))
}
