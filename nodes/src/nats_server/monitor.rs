//! What people and probes are told over HTTP: `/`, `/healthz`, `/varz`, `/connz`, `/subsz`, `/jsz`.
//!
//! The fields are the real server's, as far as there is something to say. Every answer is a look at the broker at that
//! moment: nothing is counted for nobody.

use crate::broker::options::Store;
use crate::broker::{Desk, Figures, Options, PROTOCOL_VERSION};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// What a monitor knows without asking.
#[derive(Clone, Debug)]
pub struct Monitor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    desk: Desk,
    options: Options,
    server_id: String,
    server_name: String,
    port: u16,
    started: Instant,
    start: String,
}

impl Monitor {
    /// Looks at a broker.
    #[must_use]
    pub fn of(desk: Desk, options: Options, server_id: String, port: u16) -> Self {
        let server_name = options.server_name.clone().unwrap_or_else(|| server_id.clone());
        let start = now();
        let shared = Shared { desk, options, server_id, server_name, port, started: Instant::now(), start };
        Self { shared: Arc::new(shared) }
    }

    /// What it answers.
    pub fn router(self) -> Router {
        Router::new()
            .route("/", get(index))
            .route("/healthz", get(healthz))
            .route("/varz", get(varz))
            .route("/connz", get(connz))
            .route("/subsz", get(subsz))
            .route("/jsz", get(jsz))
            .with_state(self)
    }

    async fn look(&self) -> Result<Figures, Response> {
        let gone =
            || (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "status": "unavailable" }))).into_response();
        self.shared.desk.look().await.ok_or_else(gone)
    }
}

async fn index() -> Html<String> {
    let links = ["varz", "connz", "subsz", "jsz", "healthz"]
        .map(|name| format!("<a href=\"/{name}\">{name}</a><br/>"));
    Html(format!("<html lang=\"en\"><body>{}</body></html>", links.join("\n")))
}

async fn healthz(State(monitor): State<Monitor>) -> Result<Json<Value>, Response> {
    monitor.look().await.map(|_| Json(json!({ "status": "ok" })))
}

async fn varz(State(monitor): State<Monitor>) -> Result<Json<Value>, Response> {
    let figures = monitor.look().await?;
    let Shared { options, server_id, server_name, port, started, start, .. } = &*monitor.shared;
    let mut out = json!({
        "server_id": server_id, "server_name": server_name, "version": PROTOCOL_VERSION, "proto": 1,
        "git_commit": "cloudlysis", "go": "rust", "host": options.listen.host, "port": port,
        "auth_required": options.auth != cloudlysis_core::nats::Auth::Open,
        "tls_required": options.tls.as_ref().is_some_and(|tls| !tls.optional),
        "tls_verify": options.tls.as_ref().is_some_and(|tls| tls.verify),
        "max_connections": options.limits.connections_max,
        "max_subscriptions": options.limits.subscriptions_per_connection_max,
        "max_payload": options.limits.payload_bytes_max, "max_pending": options.pending_bytes_max,
        "max_control_line": options.limits.control_line_bytes_max,
        "ping_interval": options.limits.ping_interval_ms.saturating_mul(1_000_000),
        "ping_max": options.limits.pings_out_max, "write_deadline": u64::try_from(options.write_deadline.as_nanos()).unwrap_or(u64::MAX),
        "start": start, "now": now(), "uptime": format!("{}s", started.elapsed().as_secs()),
        "connections": figures.clients.len(), "total_connections": figures.connections_total,
        "subscriptions": figures.subscriptions, "slow_consumers": figures.slow_consumers,
        "in_msgs": figures.traffic.in_messages, "in_bytes": figures.traffic.in_bytes,
        "out_msgs": figures.traffic.out_messages, "out_bytes": figures.traffic.out_bytes,
        "routes": 0, "remotes": 0, "leafnodes": 0, "system_account": "$SYS",
    });
    if !options.tags.is_empty() {
        out["tags"] = json!(options.tags);
    }
    out["jetstream"] = match &figures.jetstream {
        None => json!({}),
        Some(_) => json!({ "config": config(options), "stats": stats(&figures) }),
    };
    Ok(Json(out))
}

async fn connz(State(monitor): State<Monitor>) -> Result<Json<Value>, Response> {
    let figures = monitor.look().await?;
    let connections: Vec<Value> = figures
        .clients
        .iter()
        .map(|client| {
            json!({
                "cid": client.connection.0, "kind": "Client", "type": "nats", "ip": client.address,
                "name": client.name, "lang": client.lang, "version": client.version,
                "account": client.account, "subscriptions": client.subscriptions,
            })
        })
        .collect();
    let count = connections.len();
    Ok(Json(json!({
        "server_id": monitor.shared.server_id, "now": now(), "num_connections": count, "total": count,
        "offset": 0, "limit": count, "connections": connections,
    })))
}

async fn subsz(State(monitor): State<Monitor>) -> Result<Json<Value>, Response> {
    let figures = monitor.look().await?;
    let id = &monitor.shared.server_id;
    Ok(Json(json!({ "server_id": id, "now": now(), "num_subscriptions": figures.subscriptions })))
}

async fn jsz(State(monitor): State<Monitor>) -> Result<Json<Value>, Response> {
    let figures = monitor.look().await?;
    let mut out = stats(&figures);
    out["server_id"] = json!(monitor.shared.server_id);
    out["now"] = json!(now());
    match &figures.jetstream {
        None => out["disabled"] = json!(true),
        Some(kept) => {
            out["config"] = config(&monitor.shared.options);
            out["streams"] = json!(kept.streams);
            out["consumers"] = json!(kept.consumers);
            out["messages"] = json!(kept.messages);
            out["bytes"] = json!(kept.memory_bytes + kept.storage_bytes);
        }
    }
    Ok(Json(out))
}

fn stats(figures: &Figures) -> Value {
    let kept = figures.jetstream.unwrap_or_default();
    json!({
        "memory": kept.memory_bytes, "storage": kept.storage_bytes, "reserved_memory": 0, "reserved_storage": 0,
        "accounts": 1, "ha_assets": 0, "api": { "total": 0, "errors": 0 },
    })
}

fn config(options: &Options) -> Value {
    let Some(own) = &options.jetstream else { return json!({}) };
    let directory = match &own.store {
        Store::Memory => None,
        Store::Directory { directory, .. } => Some(directory.display().to_string()),
    };
    json!({
        "max_memory": own.memory_bytes_max, "max_storage": own.storage_bytes_max, "store_dir": directory,
        "domain": own.domain,
    })
}

fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let since = SignedDuration::try_from(since).unwrap_or_default();
    Timestamp::from_duration(since).unwrap_or_default().to_string()
}
