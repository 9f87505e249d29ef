//! Schedules: listed, shown.
//!
//! Reading is from committed rows, beside the machine.

use super::unreadable;
use crate::gateway::context::{RequestContext, TENANT_HEADER};
use crate::gateway::problem::Problem;
use crate::runner::Application;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cloudlysis_core::schedule::recurring::{Row, RowKey, look};
use cloudlysis_core::wire::id::Name;
use cloudlysis_core::{Halt, StoreFault, View, Wall};
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
}

/// The routes.
pub fn router(schedules: Schedules) -> Router {
    Router::new()
        .route("/admin/runner/schedules", get(list))
        .route("/admin/runner/schedules/{schedule}", get(show))
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
            "counts": row.counts,
            "error": row.error,
        })
    }
}

async fn list(
    State(schedules): State<Schedules>,
    page: Result<Query<PageOf>, QueryRejection>,
    request_headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(PageOf { after, limit }) =
        page.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
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
    let bad = |code: &str, detail: String| Problem::new(StatusCode::BAD_REQUEST, code, detail);
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
