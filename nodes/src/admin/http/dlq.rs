//! What a node holds back, over HTTP.

use super::{query, tenant};
use crate::admin::dlq::{DeadLetters, Messages};
use crate::admin::fault::Fault;
use crate::admin::rows::PageOf;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

/// The routes of one node, under `/admin/{node}/dlq`.
pub fn router(node: &str, dead_letters: DeadLetters) -> Router {
    let base = format!("/admin/{node}/dlq");
    Router::new()
        .route(&base, get(list))
        .route(&format!("{base}/groups"), get(groups))
        .route(&format!("{base}/messages"), get(messages))
        .with_state(dead_letters)
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
    State(dead_letters): State<DeadLetters>,
    page: Result<Query<KeysOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Value>, Fault> {
    let KeysOf { group, after, limit } = query(page)?;
    let page = dead_letters.list(tenant(&headers)?, group, &PageOf { after, limit })?;
    Ok(Json(json!({ "keys": page.items, "next": page.next })))
}

async fn groups(
    State(dead_letters): State<DeadLetters>,
    page: Result<Query<PageOf>, QueryRejection>,
) -> Result<Json<Value>, Fault> {
    let page = dead_letters.groups(&query(page)?)?;
    Ok(Json(json!({ "groups": page.items, "next": page.next })))
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
    State(dead_letters): State<DeadLetters>,
    page: Result<Query<MessagesOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Messages>, Fault> {
    let MessagesOf { key, from, limit } = query(page)?;
    Ok(Json(dead_letters.messages(tenant(&headers)?.as_ref(), &key, from, limit)?))
}
