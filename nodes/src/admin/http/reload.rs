//! Reload on request, over HTTP.

use super::said;
use crate::admin::fault::Fault;
use crate::admin::reload::{Reloaded, Reloader};
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

pub(super) fn router(reloads: Reloader) -> Router {
    Router::new().route("/admin/reload", post(reload)).with_state(reloads)
}

/// What may be said about a reload.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    deadline_ms: Option<u64>,
}

async fn reload(State(reloads): State<Reloader>, body: Bytes) -> Result<Json<Reloaded>, Fault> {
    let Wanted { deadline_ms } = said(&body)?;
    Ok(Json(reloads.reload(deadline_ms).await?))
}
