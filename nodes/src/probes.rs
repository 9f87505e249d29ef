//! `/health`, `/ready`, `/metrics`, `/info`: the same on every node.
//!
//! | probe | 200 when | 503 when |
//! |---|---|---|
//! | `/health` | the process is alive and its stores can be written | a store refuses, or a partition stopped for good |
//! | `/ready` | it takes work | it does not; `reasons` say why |
//! | `/metrics`, `/info` | always | – |
//!
//! Both bodies have `storage` (`writable`, `failing`, or `none` of its own), `nats` (`connected` and `since` when, or `null` at
//! a node without a broker), `uptime_s` and `version`. Health does not depend on the broker. `/livez`, `/readyz` and `/healthz` are aliases.

use crate::partition::Status;
use crate::telemetry;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cloudlysis_io_nats::connect::Connection;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;

/// What the probes of a process look at.
#[derive(Clone)]
pub struct Probes {
    inner: Arc<Inner>,
}

struct Inner {
    started: Instant,
    broker: Option<Connection>,
    partitions: Vec<(&'static str, watch::Receiver<Status>)>,
    draining: watch::Receiver<bool>,
    metrics: PrometheusHandle,
    info: Info,
}

impl Inner {
    fn is_connected(&self) -> bool {
        self.broker.as_ref().is_none_or(Connection::is_connected)
    }

    /// What `/health` and `/ready` both say.
    fn state(&self) -> Value {
        let refuses = |status: &watch::Receiver<Status>| status.borrow().store_fault.is_some();
        let storage = match &self.partitions[..] {
            [] => "none",
            some if some.iter().any(|(_, status)| refuses(status)) => "failing",
            _ => "writable",
        };
        let nats = self
            .broker
            .as_ref()
            .map(|broker| json!({ "connected": broker.is_connected(), "since": broker.since().rfc3339() }));
        json!({
            "storage": storage,
            "nats": nats,
            "uptime_s": self.started.elapsed().as_secs(),
            "version": env!("CARGO_PKG_VERSION"),
        })
    }
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").field("started", &self.inner.started).finish_non_exhaustive()
    }
}

/// Says something as it is now.
pub type Info = Arc<dyn Fn() -> Value + Send + Sync>;

/// What the probes of a process are made of.
pub struct Parts {
    /// The connection to the broker; a gateway has none, and needs none.
    pub broker: Option<Connection>,
    /// The process's partitions.
    pub partitions: Vec<(&'static str, watch::Receiver<Status>)>,
    /// Whether the process is on its way out.
    pub draining: watch::Receiver<bool>,
    /// Renders metrics.
    pub metrics: PrometheusHandle,
    /// What `/info` says; a reload changes it.
    pub info: Info,
}

impl Probes {
    /// Probes over these parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let Parts { broker, partitions, draining, metrics, info } = parts;
        let started = Instant::now();
        Self { inner: Arc::new(Inner { started, broker, partitions, draining, metrics, info }) }
    }

    /// Why the process is not ready; empty when it is.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if *self.inner.draining.borrow() {
            reasons.push("draining".to_owned());
        }
        if !self.inner.is_connected() {
            reasons.push("broker_disconnected".to_owned());
        }
        for (name, status) in &self.inner.partitions {
            let status = status.borrow();
            reasons.extend(status.not_ready.iter().map(|reason| format!("{name}: {reason}")));
            reasons.extend(status.store_fault.iter().map(|fault| format!("{name}: {fault}")));
        }
        reasons
    }

    /// Whether the process is on its way out, and when that changes.
    #[must_use]
    pub fn draining(&self) -> watch::Receiver<bool> {
        self.inner.draining.clone()
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/healthz", get(health))
            .route("/livez", get(health))
            .route("/ready", get(ready))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .route("/info", get(info))
            .with_state(self.clone())
    }
}

async fn health(State(probes): State<Probes>) -> (StatusCode, Json<Value>) {
    let inner = &probes.inner;
    let faults: Vec<String> = inner
        .partitions
        .iter()
        .flat_map(|(name, status)| {
            let status = status.borrow();
            let faults = status.halted.iter().chain(&status.store_fault);
            faults.map(|fault| format!("{name}: {fault}")).collect::<Vec<_>>()
        })
        .collect();
    let status = if faults.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = inner.state();
    body["status"] = if faults.is_empty() { "ok" } else { "failing" }.into();
    body["faults"] = faults.into();
    (status, Json(body))
}

async fn ready(State(probes): State<Probes>) -> (StatusCode, Json<Value>) {
    let reasons = probes.not_ready();
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut body = probes.inner.state();
    body["ready"] = reasons.is_empty().into();
    body["reasons"] = reasons.into();
    (status, Json(body))
}

async fn metrics(State(probes): State<Probes>) -> Response {
    let inner = &probes.inner;
    if let Some(broker) = &inner.broker {
        telemetry::broker(broker.is_connected(), broker.reconnects());
    }
    for (name, status) in &inner.partitions {
        telemetry::partition_status(name, &status.borrow(), *inner.draining.borrow());
    }
    let text = inner.metrics.render();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn info(State(probes): State<Probes>) -> Json<Value> {
    Json((probes.inner.info)())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics_exporter_prometheus::PrometheusBuilder;

    fn probes(status: Status) -> Probes {
        Probes::new(Parts {
            broker: None,
            partitions: vec![("runner", watch::channel(status).1)],
            draining: watch::channel(false).1,
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            info: Arc::new(|| Value::Null),
        })
    }

    #[tokio::test]
    async fn a_halted_partition_is_neither_healthy_nor_ready() {
        let well = probes(Status::default());
        assert_eq!(health(State(well.clone())).await.0, StatusCode::OK);
        assert_eq!(ready(State(well)).await.0, StatusCode::OK);
        let why = "the partition's thread panicked: why".to_owned();
        let not_ready = vec![format!("halted: {why}")];
        let halted = probes(Status { halted: Some(why), not_ready, ..Status::default() });
        let (status, Json(body)) = health(State(halted.clone())).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["faults"], json!(["runner: the partition's thread panicked: why"]));
        let (status, Json(body)) = ready(State(halted)).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(body["reasons"], json!(["runner: halted: the partition's thread panicked: why"]));
    }
}
