//! The audit of effects, over HTTP.

use super::{query, tenant};
use crate::admin::effects::{Effects, Judged, Unknown};
use crate::admin::fault::Fault;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;

pub(super) fn router(effects: Effects) -> Router {
    Router::new()
        .route("/admin/runner/effects", get(ledger))
        .route("/admin/runner/effects/unknown", get(unknown))
        .with_state(effects)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageOf {
    #[serde(default)]
    after: String,
}

async fn ledger(
    State(effects): State<Effects>,
    page: Result<Query<PageOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Json<Judged>, Fault> {
    let PageOf { after } = query(page)?;
    Ok(Json(effects.ledger(tenant(&headers)?.as_ref(), &after)?))
}

async fn unknown(State(effects): State<Effects>, headers: HeaderMap) -> Result<Json<Unknown>, Fault> {
    Ok(Json(effects.unknown(tenant(&headers)?.as_ref()).await?))
}
