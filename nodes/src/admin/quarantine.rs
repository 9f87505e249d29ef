//! What is held back, and why.

use axum::Router;
use axum::routing::get;
use cloudlysis_core::quarantine::Quarantine;
use cloudlysis_io_nats::store::Snapshots;
use serde_json::json;

/// Quarantined keys shown at once.
const SHOWN_MAX: usize = 1_000;

/// The route that shows a store's quarantined keys.
pub fn route(path: &str, snapshots: Snapshots) -> Router {
    let show = move || async move {
        let keys = snapshots.read(|view| Quarantine::list(view, SHOWN_MAX));
        match keys {
            Ok(Ok(keys)) => axum::Json(json!({ "complete": keys.len() < SHOWN_MAX, "keys": keys })),
            Ok(Err(halt)) => axum::Json(json!({ "error": halt.to_string() })),
            Err(fault) => axum::Json(json!({ "error": fault.to_string() })),
        }
    };
    Router::new().route(path, get(show))
}
