//! Schedules, over HTTP. Times are as RFC 3339 writes them.

use super::{idempotency_key, one_tenant, path, query, said, tenant, unknown_verb};
use crate::admin::fault::Fault;
use crate::admin::fields;
use crate::admin::rows::PageOf;
use crate::admin::schedules::{self, Schedules, Shown};
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::Wall;
use cloudlysis_core::schedule::recurring::{Asked, Paused, Verb};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn router(schedules: Schedules) -> Router {
    Router::new()
        .route("/admin/runner/schedules", get(list))
        .route("/admin/runner/schedules/{schedule}", get(show))
        .route("/admin/runner/schedules/{schedule}/{verb}", post(operate))
        .with_state(schedules)
}

fn told(Shown { key, row, written }: &Shown) -> Value {
    let time = |at: Option<Wall>| at.map(Wall::rfc3339);
    json!({
        "schedule": key.schedule,
        "tenant_id": key.tenant,
        "when": written.as_ref().map(|own| own.when.as_str()),
        "overlap": written.as_ref().map(|own| own.overlap.as_str()),
        "next_at": time(row.next),
        "fired": row.fired.as_ref().map(|fired| json!({ "due_at": fired.due.rfc3339(), "at": fired.at.rfc3339() })),
        "running": row.running,
        "queued_at": time(row.queued),
        "paused": row.paused.as_ref().map(|Paused { since, reason }| json!({ "since": since.rfc3339(), "reason": reason })),
        "backfill": row.backfill.as_ref().map(|own| json!({
            "key": own.key, "from": own.from.rfc3339(), "next_at": own.next.rfc3339(), "to": own.to.rfc3339(),
        })),
        "asked": row.asked.iter().map(asked).collect::<Vec<Value>>(),
        "counts": row.counts,
        "error": row.error,
    })
}

/// What an operator asked for.
fn asked(Asked { key, at, reason, what }: &Asked) -> Value {
    json!({ "key": key, "at": at.rfc3339(), "reason": reason, "what": what.as_str() })
}

async fn list(
    State(schedules): State<Schedules>,
    page: Result<Query<PageOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let page = schedules.list(tenant(&headers)?.as_ref(), &query(page)?)?;
    let rows: Vec<Value> = page.items.iter().map(told).collect();
    Ok(Json(json!({ "schedules": rows, "next": page.next })))
}

async fn show(
    State(schedules): State<Schedules>,
    name: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let key = schedules::key(one_tenant(&headers)?, &path(name)?)?;
    Ok(Json(told(&schedules.show(key)?)))
}

/// What comes with an operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    to: Option<String>,
}

/// What is to be done, of which one must say why it is.
fn verb(name: &str, headers: &HeaderMap, body: &Bytes) -> Result<Verb, Fault> {
    let Said { reason, from, to } = said(body)?;
    let why = || fields::reason(reason.as_deref().unwrap_or_default());
    let key = || fields::key_of_what_fires(idempotency_key(headers)?);
    match name {
        "pause" => Ok(Verb::Pause { reason: why()? }),
        "resume" => Ok(Verb::Resume),
        "trigger" => Ok(Verb::Trigger { key: key()?, reason: why()? }),
        "backfill" => {
            let time = |field, text: Option<&str>| fields::time(field, text.unwrap_or_default());
            let (from, to) = (time("from", from.as_deref())?, time("to", to.as_deref())?);
            Ok(Verb::Backfill { key: key()?, from, to, reason: why()? })
        }
        "stop-backfill" => Ok(Verb::StopBackfill { reason: why()? }),
        _ => {
            let known = "an operator can pause, resume, trigger, backfill and stop-backfill";
            Err(unknown_verb(name, known))
        }
    }
}

async fn operate(
    State(schedules): State<Schedules>,
    named: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let (schedule, name) = path(named)?;
    let key = schedules::key(one_tenant(&headers)?, &schedule)?;
    let done = schedules.operate(key, verb(&name, &headers, &body)?).await?;
    Ok(Json(json!({
        "paused": done.paused, "changed": done.changed, "occurrence_id": done.occurrence,
        "fell_due": done.fell_due, "missed": done.missed, "left": done.left, "dropped": done.dropped,
    })))
}
