//! What a node answers while it waits for its broker: its probes, and 503 to all else.
//!
//! ```text
//! listening ─► starting: /health 200, /ready 503 ── streams agreed, placed ─► the node itself, on the same socket
//! ```
//!
//! Nobody who connects is left without an answer, and nobody is told that a node is there which does nothing yet.

use super::CommandError;
use crate::partition::Status;
use crate::probes::{self, Probes};
use crate::problem::Problem;
use crate::server::{self, Openness};
use axum::http::StatusCode;
use cloudlysis_io_nats::connect::Connection;
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// When it is worth to ask again: a broker is back within seconds, or much later.
const AGAIN_AFTER_MS: u64 = 1_000;

/// Answers until it is dropped; requests under way are finished then.
pub(super) struct Starting {
    _stop: watch::Sender<bool>,
}

fn fault(source: std::io::Error) -> CommandError {
    CommandError::System { what: "a listener that is used twice", source }
}

impl Starting {
    /// Answers at this listener; the one that is returned is for the node.
    ///
    /// # Errors
    /// When the system has no second handle for a socket.
    pub(super) fn answer(
        name: &'static str,
        listener: TcpListener,
        (address, openness): (SocketAddr, &Openness),
        broker: &Connection,
        metrics: &PrometheusHandle,
    ) -> Result<(Self, TcpListener), CommandError> {
        let listener = listener.into_std().map_err(fault)?;
        let own = listener.try_clone().and_then(TcpListener::from_std).map_err(fault)?;
        let (stop, stopping) = watch::channel(false);
        let probes = Probes::new(probes::Parts {
            broker: Some(broker.clone()),
            partitions: vec![(name, watch::channel(Status::starting()).1)],
            draining: watch::channel(false).1,
            metrics: metrics.clone(),
            info: Arc::new(move || json!({ "node": name, "starting": true })),
        });
        let refuse = async || {
            let detail = "the node starts: /ready says what it waits for";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "starting", detail).retryable(AGAIN_AFTER_MS)
        };
        let router = probes.router().fallback(refuse);
        tracing::info!(%address, "listening: waiting for the broker");
        // It ends by itself when nobody can tell it to any more.
        drop(server::serve(own, openness.around(address, router), stopping));
        Ok((Self { _stop: stop }, TcpListener::from_std(listener).map_err(fault)?))
    }
}
