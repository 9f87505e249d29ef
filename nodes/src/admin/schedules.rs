//! Schedules: listed, shown, and changed by operators.
//!
//! Reading is from committed rows, beside the machine. What changes a schedule, or has it fire, is asked of the machine
//! itself ([`operator`](super::operator)). What fires something has a key of the caller's (`Idempotency-Key`): without one,
//! nobody who heard no answer could ask again.

use super::operator::Operator;
use super::{bad, said, unreadable};
use crate::gateway::context::{RequestContext, TENANT_HEADER};
use crate::gateway::problem::Problem;
use crate::runner::Application;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::schedule::recurring::{self, Asked, Paused, Row, RowKey, Verb, look};
use cloudlysis_core::wire::id::{CommandId, Name};
use cloudlysis_core::{Halt, StoreFault, View, Wall, ns_of_rfc3339};
use cloudlysis_io_nats::store::Snapshots;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// Rows in one page unless asked otherwise, and at most.
const PAGE: (usize, usize) = (100, 1_000);

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Schedules {
    /// What the runner runs.
    pub application: watch::Receiver<Application>,
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Who asks the machine.
    pub operator: Operator,
}

/// The routes.
pub fn router(schedules: Schedules) -> Router {
    Router::new()
        .route("/admin/runner/schedules", get(list))
        .route("/admin/runner/schedules/{schedule}", get(show))
        .route("/admin/runner/schedules/{schedule}/{verb}", post(operate))
        .with_state(schedules)
}

/// Which page.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageOf {
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Schedules {
    fn read<R>(&self, read: impl FnOnce(&dyn View) -> Result<R, Halt>) -> Result<R, Problem> {
        let answer: Result<Result<R, Halt>, StoreFault> = self.snapshots.read(read);
        answer.map_err(unreadable)?.map_err(unreadable)
    }

    /// How a schedule stands for one tenant.
    fn shown(&self, key: &RowKey, row: &Row) -> Value {
        let time = |at: Option<Wall>| at.map(Wall::rfc3339);
        let app = Arc::clone(&self.application.borrow().app);
        let definition = app.schedules.get(&key.schedule);
        json!({
            "schedule": key.schedule,
            "tenant_id": key.tenant,
            "when": definition.map(|def| def.written.as_str()),
            "overlap": definition.map(|def| def.overlap.as_str()),
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
}

/// What an operator asked for.
fn asked(Asked { key, at, reason, what }: &Asked) -> Value {
    json!({ "key": key, "at": at.rfc3339(), "reason": reason, "what": what.as_str() })
}

async fn list(
    State(schedules): State<Schedules>,
    page: Result<Query<PageOf>, QueryRejection>,
    request_headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(PageOf { after, limit }) = page.map_err(|error| bad("invalid_query", error.body_text()))?;
    let tenant = match request_headers.contains_key(TENANT_HEADER) {
        true => Some(RequestContext::read(&request_headers)?.tenant),
        false => None,
    };
    let limit = limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let from = after.unwrap_or_default();
    let page = schedules.read(|view| look::list(view, tenant.as_ref(), from.as_bytes(), limit))?;
    let rows: Vec<Value> = page.rows.iter().map(|(key, row)| schedules.shown(key, row)).collect();
    let next = page.next.map(|key| String::from_utf8_lossy(&key).into_owned());
    Ok(Json(json!({ "schedules": rows, "next": next })).into_response())
}

async fn show(
    State(schedules): State<Schedules>,
    path: Result<Path<String>, PathRejection>,
    request_headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(name) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let schedule = Name::parse(&name).map_err(|error| bad("invalid_schedule", error.to_string()))?;
    let key = RowKey { schedule, tenant: RequestContext::read(&request_headers)?.tenant };
    match schedules.read(|view| look::show(view, &key))? {
        Some(row) => Ok(Json(schedules.shown(&key, &row)).into_response()),
        None => {
            let detail = format!("there is no schedule `{name}` for this tenant");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_schedule", detail))
        }
    }
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
fn verb(name: &str, request_headers: &HeaderMap, body: &Bytes) -> Result<Verb, Problem> {
    let Said { reason, from, to } = said(body)?;
    let why = || super::reason(reason.as_deref());
    match name {
        "pause" => Ok(Verb::Pause { reason: why()? }),
        "resume" => Ok(Verb::Resume),
        "trigger" => Ok(Verb::Trigger { key: key(request_headers)?, reason: why()? }),
        "backfill" => {
            let (from, to) = (time("from", from.as_deref())?, time("to", to.as_deref())?);
            Ok(Verb::Backfill { key: key(request_headers)?, from, to, reason: why()? })
        }
        "stop-backfill" => Ok(Verb::StopBackfill { reason: why()? }),
        _ => {
            let known = "pause, resume, trigger, backfill and stop-backfill";
            let detail = format!("there is no `{name}`: an operator can {known}");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_verb", detail))
        }
    }
}

/// A moment of the past, as it is written.
fn time(field: &str, raw: Option<&str>) -> Result<Wall, Problem> {
    let read = raw.and_then(ns_of_rfc3339).map(|ns| Wall::from_ms(ns / 1_000_000));
    read.ok_or_else(|| {
        let detail = format!("`{field}`: expected a time of RFC 3339, such as 2026-11-21T05:00:00Z");
        bad(&format!("invalid_{field}"), detail)
    })
}

/// The key of a request that fires something.
fn key(request_headers: &HeaderMap) -> Result<CommandId, Problem> {
    let wrong = |detail: String| bad("invalid_idempotency_key", format!("header Idempotency-Key: {detail}"));
    let Some(raw) = request_headers.get("idempotency-key") else {
        return Err(wrong("it is missing; under a key that you may repeat, it fires once".to_owned()));
    };
    let raw = raw.to_str().map_err(|_| wrong("it is not text".to_owned()))?;
    CommandId::parse(raw).map_err(|error| wrong(error.to_string()))
}

async fn operate(
    State(schedules): State<Schedules>,
    path: Result<Path<(String, String)>, PathRejection>,
    request_headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Path((schedule, name)) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let schedule = Name::parse(&schedule).map_err(|error| bad("invalid_schedule", error.to_string()))?;
    let verb = verb(&name, &request_headers, &body)?;
    let tenant = RequestContext::read(&request_headers)?.tenant;
    let operation = recurring::Operation { schedule, tenant, verb };
    let done = schedules.operator.ask_schedule(operation).await?;
    let body = json!({
        "paused": done.paused, "changed": done.changed, "occurrence_id": done.occurrence,
        "fell_due": done.fell_due, "missed": done.missed, "left": done.left, "dropped": done.dropped,
    });
    Ok(Json(body).into_response())
}
