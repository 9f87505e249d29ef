//! One connection per process, and what becomes of it.
//!
//! The reconnect policy is explicit: for ever, with full jitter between 50 ms and 5 s. The state of the connection is a
//! watch channel: nodes are not ready while it is away, and nothing is sent into a connection that is not there.

use crate::address::Address;
use cloudlysis_core::backoff::full_jitter_ms;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::watch;

const RECONNECT_MS: u64 = 50;
const RECONNECT_MS_MAX: u64 = 5_000;
/// Our own liveness check: two unanswered pings lose the connection, so a dead server is noticed in about 20 s.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to reach the broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// `nats://host:port`, or several separated by commas.
    pub url: Address,
    /// Shown by the server's monitoring.
    pub name: String,
    /// Fail when the first connection fails, instead of trying for ever.
    pub fail_fast: bool,
    /// Jitter of reconnecting.
    pub seed: u64,
}

/// Why there is no connection.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The address cannot be used.
    #[error("`{url}` is not a NATS address: use nats://host:port")]
    Address {
        /// What was given.
        url: Address,
    },
    /// The server does not answer.
    #[error("no NATS server at {url}: {source}; start one with JetStream enabled, or check the address")]
    Unreachable {
        /// Where.
        url: Address,
        /// What the client said.
        source: async_nats::ConnectError,
    },
}

/// The process's connection.
#[derive(Clone, Debug)]
pub struct Connection {
    client: async_nats::Client,
    connected: watch::Receiver<bool>,
    /// How often it came about.
    connects: Arc<AtomicU64>,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`] when the address is wrong, or, failing fast, when there is no server.
    pub async fn open(options: &Options) -> Result<Self, ConnectError> {
        let addresses: Vec<async_nats::ServerAddr> = options
            .url
            .as_str()
            .split(',')
            .map(|url| url.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| ConnectError::Address { url: options.url.clone() })?;
        let (state, connected) = watch::channel(false);
        let seed = options.seed;
        let connects = Arc::new(AtomicU64::new(0));
        let events = (state.clone(), Arc::clone(&connects));
        let mut connect = async_nats::ConnectOptions::new()
            .name(&options.name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(move |attempt| {
                let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
                Duration::from_millis(full_jitter_ms(attempt, RECONNECT_MS, RECONNECT_MS_MAX, seed))
            })
            .event_callback(move |event| {
                let (state, connects) = events.clone();
                async move { on_event(&event, &state, &connects) }
            });
        if !options.fail_fast {
            connect = connect.retry_on_initial_connect();
        }
        let client = connect
            .connect(addresses)
            .await
            .map_err(|source| ConnectError::Unreachable { url: options.url.clone(), source })?;
        // The event that says so is delivered by a task that has not run yet.
        if client.connection_state() == async_nats::connection::State::Connected {
            state.send_replace(true);
        }
        Ok(Self { client, connected, connects })
    }

    /// Whether the broker is there now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// How often it was lost and came about again.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.connects.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Follows the state of the connection.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<bool> {
        self.connected.clone()
    }

    pub(crate) const fn client(&self) -> &async_nats::Client {
        &self.client
    }
}

fn on_event(event: &async_nats::Event, state: &watch::Sender<bool>, connects: &AtomicU64) {
    match event {
        async_nats::Event::Connected => {
            tracing::info!("connected to the broker");
            connects.fetch_add(1, Ordering::Relaxed);
            state.send_replace(true);
        }
        async_nats::Event::Disconnected | async_nats::Event::Closed => {
            tracing::warn!("the broker is away");
            state.send_replace(false);
        }
        async_nats::Event::SlowConsumer(id) => {
            tracing::warn!(subscription = id, "messages dropped by the client: they will be delivered again");
        }
        async_nats::Event::LameDuckMode
        | async_nats::Event::Draining
        | async_nats::Event::ServerError(_)
        | async_nats::Event::ClientError(_) => tracing::warn!(%event, "broker"),
    }
}
