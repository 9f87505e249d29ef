//! Letting go of what a runner holds back, over HTTP.

use super::{path, said, tenant, unknown_verb};
use crate::admin::fault::Fault;
use crate::admin::redrive::{self, Named, Redrive};
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::quarantine::operate::{EDITED_BYTES_MAX, Operated, Verb};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn router(redrive: Redrive) -> Router {
    Router::new()
        .route("/admin/runner/dlq/selections", get(list).post(select))
        .route("/admin/runner/dlq/selections/{id}", get(show))
        .route("/admin/runner/dlq/selections/{id}/{verb}", post(run))
        .route("/admin/runner/dlq/skip", post(skip))
        .route("/admin/runner/dlq/edit", post(edit))
        // A body in JSON may be escaped: twice as long as what it means.
        .layer(DefaultBodyLimit::max(2 * EDITED_BYTES_MAX + 4_096))
        .with_state(redrive)
}

async fn operate(redrive: &Redrive, headers: &HeaderMap, verb: Verb) -> Result<Json<Value>, Fault> {
    Ok(Json(match redrive.operate(tenant(headers)?, verb).await? {
        Operated::Selection { id, selection, changed, next } => {
            json!({ "selection": Named { id, selection }, "changed": changed, "next": next })
        }
        Operated::Key { key, messages, changed } => {
            json!({ "key": key.display(), "messages": messages, "changed": changed })
        }
    }))
}

async fn list(State(redrive): State<Redrive>, headers: HeaderMap) -> Result<Json<Value>, Fault> {
    let selections = redrive.list(tenant(&headers)?.as_ref())?;
    Ok(Json(json!({ "selections": selections })))
}

async fn show(
    State(redrive): State<Redrive>,
    id: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<Named>, Fault> {
    let id = redrive::selection(&path(id)?)?;
    Ok(Json(redrive.show(tenant(&headers)?.as_ref(), id)?))
}

/// What to select.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Select {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    after: String,
    reason: String,
}

async fn select(
    State(redrive): State<Redrive>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let Select { group, key, after, reason } = said(&body)?;
    operate(&redrive, &headers, redrive::select(group, key.as_deref(), after, &reason)?).await
}

/// How to redrive.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    #[serde(default)]
    per_second: Option<u32>,
    /// Saga instances react by today's definition from now on.
    #[serde(default)]
    migrate: bool,
}

async fn run(
    State(redrive): State<Redrive>,
    named: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Fault> {
    let (id, verb) = path(named)?;
    let Run { per_second, migrate } = said(&body)?;
    let verb = match verb.as_str() {
        "replay" => redrive::replay(&id, per_second, migrate)?,
        "discard" => Verb::Discard { selection: redrive::selection(&id)? },
        "unselect" => Verb::Unselect { selection: redrive::selection(&id)? },
        _ => return Err(unknown_verb(&verb, "a selection can be replayed, discarded and unselected")),
    };
    operate(&redrive, &headers, verb).await
}

/// What to skip.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    key: String,
    position: u64,
    reason: String,
}

async fn skip(State(redrive): State<Redrive>, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Fault> {
    let Skip { key, position, reason } = said(&body)?;
    operate(&redrive, &headers, redrive::skip(&key, position, &reason)?).await
}

/// What to put in place of what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    key: String,
    position: u64,
    reason: String,
    /// The new body, if it is text or JSON written as text.
    payload: String,
}

async fn edit(State(redrive): State<Redrive>, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Fault> {
    let Edit { key, position, reason, payload } = said(&body)?;
    operate(&redrive, &headers, redrive::edit(&key, position, payload.into_bytes(), &reason)?).await
}
