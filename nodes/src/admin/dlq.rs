//! What is held back, and why: keys, the reasons they share, their messages.
//!
//! Reading is from committed rows, beside the machine. Groups are of all tenants.

use super::unreadable;
use crate::gateway::context::{RequestContext, TENANT_HEADER};
use crate::gateway::problem::Problem;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey, Which};
use cloudlysis_core::wire::id::TenantId;
use cloudlysis_core::{Halt, StoreFault, View};
use cloudlysis_io_nats::store::Snapshots;
use serde::Deserialize;
use serde_json::json;

/// Keys or groups in one page unless asked otherwise, and at most.
const PAGE: (usize, usize) = (100, 1_000);
/// Messages in one page unless asked otherwise, and at most: each may be as large as the broker allows.
const MESSAGES: (usize, usize) = (10, 50);

/// The routes of one node, under `/admin/{node}/dlq`.
pub fn router(node: &str, snapshots: Snapshots) -> Router {
    let base = format!("/admin/{node}/dlq");
    Router::new()
        .route(&base, get(list))
        .route(&format!("{base}/groups"), get(groups))
        .route(&format!("{base}/messages"), get(messages))
        .with_state(snapshots)
}

pub(super) fn read<R>(
    snapshots: &Snapshots,
    read: impl FnOnce(&dyn View) -> Result<R, Halt>,
) -> Result<R, Problem> {
    let answer: Result<Result<R, Halt>, StoreFault> = snapshots.read(read);
    answer.map_err(unreadable)?.map_err(unreadable)
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let Query(query) =
        query.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
    Ok(query)
}

pub(super) fn tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    match headers.contains_key(TENANT_HEADER) {
        true => RequestContext::read(headers).map(|own| Some(own.tenant)),
        false => Ok(None),
    }
}

fn at_most(asked: Option<usize>, (usual, most): (usize, usize)) -> usize {
    asked.unwrap_or(usual).clamp(1, most)
}

/// Which page of keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysOf {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    after: String,
    #[serde(default)]
    limit: Option<usize>,
}

async fn list(
    State(snapshots): State<Snapshots>,
    page: Result<Query<KeysOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let KeysOf { group, after, limit } = query(page)?;
    let which = Which { tenant: tenant(&headers)?, group, key: None };
    let page = read(&snapshots, |view| Quarantine::list(view, &which, &after, at_most(limit, PAGE)))?;
    Ok(Json(json!({ "keys": page.items, "next": page.next })).into_response())
}

/// Which page of groups.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupsOf {
    #[serde(default)]
    after: String,
    #[serde(default)]
    limit: Option<usize>,
}

async fn groups(
    State(snapshots): State<Snapshots>,
    page: Result<Query<GroupsOf>, QueryRejection>,
) -> Result<Response, Problem> {
    let GroupsOf { after, limit } = query(page)?;
    let page = read(&snapshots, |view| Quarantine::groups(view, &after, at_most(limit, PAGE)))?;
    Ok(Json(json!({ "groups": page.items, "next": page.next })).into_response())
}

/// Which messages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessagesOf {
    key: String,
    #[serde(default)]
    from: u64,
    #[serde(default)]
    limit: Option<usize>,
}

async fn messages(
    State(snapshots): State<Snapshots>,
    page: Result<Query<MessagesOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let MessagesOf { key, from, limit } = query(page)?;
    let not_there = || {
        let detail = format!("nothing is held back under `{key}` of this tenant");
        Problem::new(StatusCode::NOT_FOUND, "key_not_found", detail)
    };
    let own = QuarantineKey::parse(&key).ok_or_else(not_there)?;
    let limit = at_most(limit, MESSAGES);
    let (held, mut messages) = read(&snapshots, |view| {
        Ok((Quarantine::find(view, &own)?, Quarantine::messages(view, &own, from, limit + 1)?))
    })?;
    let tenant = tenant(&headers)?;
    let held = held.filter(|held| tenant.is_none() || held.tenant_id == tenant).ok_or_else(not_there)?;
    let next = messages.get(limit).map(|message| message.position);
    messages.truncate(limit);
    Ok(Json(json!({ "key": held, "messages": messages, "next": next })).into_response())
}
