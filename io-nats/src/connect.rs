//! One connection per process, and what becomes of it.
//!
//! The reconnect policy is explicit: for ever, with full jitter between 50 ms and 5 s. The state of the connection is a
//! watch channel: nodes are not ready while it is away, and nothing is sent into a connection that is not there.

use crate::address::Address;
use crate::clock::Clock;
use crate::servers::Servers;
use cloudlysis_core::Wall;
use cloudlysis_core::backoff::full_jitter_ms;
use std::path::PathBuf;
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

/// What to do when a server does not know who calls.
const WHO_CALLS: &str = "say who calls in the address, nats://user:password@host or nats://token@host, or in a file \
                         of credentials (`broker_credentials`, --broker-credentials)";

/// How to reach the broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// `nats://host:port`, or several separated by commas.
    pub url: Address,
    /// A file with a JWT and the seed of its key, as `nsc` makes them.
    pub credentials: Option<PathBuf>,
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
    #[error(
        "`{url}` is not a NATS address: use nats://host:port; of several, separated by commas, all have the same user \
         and password, or token"
    )]
    Address {
        /// What was given.
        url: Address,
    },
    /// The file of credentials cannot be used.
    #[error("the broker's credentials, {}: {source}", path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: std::io::Error,
    },
    /// Nobody could say which of two counts.
    #[error("`{url}` says who calls, and so does {}: leave one of them out", path.display())]
    Twice {
        /// Where.
        url: Address,
        /// Which file.
        path: PathBuf,
    },
    /// The server does not know who calls.
    #[error("the NATS server at {url} does not know who calls, or by which password: {WHO_CALLS}")]
    Unauthorised {
        /// Where.
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
    history: Arc<History>,
}

/// What became of the connection so far.
#[derive(Debug)]
struct History {
    /// How often it came about.
    connects: AtomicU64,
    /// Since when it is as it is, in milliseconds since 1970.
    since_ms: AtomicU64,
}

/// Writes down that the connection came or went.
#[derive(Clone, Debug)]
struct Recorder {
    state: watch::Sender<bool>,
    history: Arc<History>,
}

impl Recorder {
    fn set(&self, connected: bool) {
        self.state.send_if_modified(|known| {
            let changes = *known != connected;
            if changes {
                self.history.since_ms.store(wall_ms(), Ordering::Relaxed);
                *known = connected;
            }
            changes
        });
    }
}

fn wall_ms() -> u64 {
    Clock::default().now().wall.as_ms()
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`] when the address or the credentials are wrong, or, failing fast, when there is no server or it
    /// does not know who calls.
    pub async fn open(options: &Options) -> Result<Self, ConnectError> {
        let Options { url, credentials, name, fail_fast, seed } = options.clone();
        let Some(servers) = Servers::read(&url) else { return Err(ConnectError::Address { url }) };
        let mut connect = match (&servers.login, credentials) {
            (Some(_), Some(path)) => return Err(ConnectError::Twice { url, path }),
            (Some(login), None) => login.tell(async_nats::ConnectOptions::new()),
            (None, Some(path)) => std::fs::read_to_string(&path)
                .and_then(|text| async_nats::ConnectOptions::new().credentials(&text))
                .map_err(|source| ConnectError::Credentials { path, source })?,
            (None, None) => async_nats::ConnectOptions::new(),
        };
        let (state, connected) = watch::channel(false);
        let history = History { connects: AtomicU64::new(0), since_ms: AtomicU64::new(wall_ms()) };
        let recorder = Recorder { state, history: Arc::new(history) };
        let events = (recorder.clone(), url.clone());
        connect = connect
            .name(&name)
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .max_reconnects(None)
            .reconnect_delay_callback(move |attempt| {
                let attempt = u32::try_from(attempt).unwrap_or(u32::MAX);
                Duration::from_millis(full_jitter_ms(attempt, RECONNECT_MS, RECONNECT_MS_MAX, seed))
            })
            .event_callback(move |event| {
                let (recorder, broker) = events.clone();
                async move { on_event(&event, &recorder, &broker) }
            });
        if !fail_fast {
            connect = connect.retry_on_initial_connect();
        }
        let client = connect.connect(servers.addresses).await.map_err(|source| {
            if source.kind() == async_nats::ConnectErrorKind::AuthorizationViolation {
                ConnectError::Unauthorised { url }
            } else {
                ConnectError::Unreachable { url, source }
            }
        })?;
        // The event that says so is delivered by a task that has not run yet.
        if client.connection_state() == async_nats::connection::State::Connected {
            recorder.set(true);
        }
        Ok(Self { client, connected, history: recorder.history })
    }

    /// Whether the broker is there now.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }

    /// How often it was lost and came about again.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.history.connects.load(Ordering::Relaxed).saturating_sub(1)
    }

    /// Since when it is there, or away.
    #[must_use]
    pub fn since(&self) -> Wall {
        Wall::from_ms(self.history.since_ms.load(Ordering::Relaxed))
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

fn on_event(event: &async_nats::Event, recorder: &Recorder, broker: &Address) {
    match event {
        async_nats::Event::Connected => {
            tracing::info!(%broker, "connected to the broker");
            recorder.history.connects.fetch_add(1, Ordering::Relaxed);
            recorder.set(true);
        }
        async_nats::Event::Disconnected => {
            tracing::warn!(%broker, "the broker is away");
            recorder.set(false);
        }
        // By ourselves: reconnecting never ends.
        async_nats::Event::Closed => {
            tracing::debug!(%broker, "the connection is closed");
            recorder.set(false);
        }
        async_nats::Event::SlowConsumer(id) => {
            tracing::warn!(subscription = id, "messages dropped by the client: they will be delivered again");
        }
        async_nats::Event::ClientError(error) if is_unauthorised(error) => {
            tracing::error!(%broker, "the broker does not know who calls, or by which password: {WHO_CALLS}");
        }
        async_nats::Event::LameDuckMode
        | async_nats::Event::Draining
        | async_nats::Event::ServerError(_)
        | async_nats::Event::ClientError(_) => tracing::warn!(%broker, %event, "connection"),
    }
}

/// The client hands on what its error said, not its kind.
fn is_unauthorised(error: &async_nats::ClientError) -> bool {
    let refused = async_nats::ConnectErrorKind::AuthorizationViolation.to_string();
    matches!(error, async_nats::ClientError::Other(said) if said.starts_with(&refused))
}
