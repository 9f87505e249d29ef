//! Drain on request, over HTTP.

use super::said;
use crate::admin::drain::{Drained, Process};
use crate::admin::fault::Fault;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;

/// The route of a process.
pub fn router(process: Process) -> Router {
    Router::new().route("/admin/drain", post(drain)).with_state(process)
}

/// What may be said about a drain.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    deadline_ms: Option<u64>,
}

async fn drain(State(process): State<Process>, body: Bytes) -> Result<Json<Drained>, Fault> {
    let Wanted { deadline_ms } = said(&body)?;
    Ok(Json(process.drain(deadline_ms).await?))
}
