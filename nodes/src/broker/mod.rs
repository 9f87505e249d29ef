//! The embedded broker: the core's broker machine on real sockets and a real disk.
//!
//! ```text
//!  accept ─► connection ─ Received ─┐                         ┌─► its outbox ─► socket
//!            connection ─ Received ─┼─► turn (one commit) ────┼─► its outbox ─► socket
//!            deadline, stop ────────┘                         └─► …
//! ```
//!
//! One thread does everything: a message needs no hop between threads from the socket that brings it to the socket that
//! takes it, and everything that arrived while a turn was committed shares the next commit.
//!
//! - Limits: one read of each connection per turn; what a connection has not taken is counted, and it is cut beyond
//!   [`Options::pending_bytes_max`].
//! - Never: a decision of the protocol's or of JetStream's; those are `cloudlysis_core::broker`'s.

mod approach;
mod connection;
mod door;
mod farewell;
pub mod figures;
mod identity;
mod memory;
pub mod options;
mod outbox;
mod shell;
pub mod tls;
pub mod websocket;

pub use figures::Figures;
pub use options::Options;

use cloudlysis_core::broker::Config;
use cloudlysis_core::nats::auth::GLOBAL_ACCOUNT;
use cloudlysis_core::nats::{Auth, Info, Limits, server};
use cloudlysis_core::store;
use cloudlysis_core::{Halt, jetstream};
use cloudlysis_io_nats::log_store::{self, LogStore, OpenError, SyncCount};
use door::{Addresses, Doors};
use memory::MemoryStore;
use options::{Store, SyncPolicy};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use thiserror::Error;
use tls::TlsError;
use tokio::sync::{mpsc, oneshot};

/// The version of the real server whose features it has: clients decide by it what they may ask for.
pub const PROTOCOL_VERSION: &str = "2.12.0";

/// Bounds of JetStream where the options have none.
const JETSTREAM_LIMITS: jetstream::Limits = jetstream::Limits {
    streams_max: 10_000,
    replicas_max: 1,
    consumers_per_stream_max: 10_000,
    messages_per_stream_max: 1 << 32,
    message_ids_per_stream_max: 1 << 24,
    message_bytes_max: 64 << 20,
    ack_pending_max: 1 << 20,
    waiting_max: 1 << 16,
    request_batch_max: None,
    deliveries_per_step_max: 512,
    expiries_per_step_max: 4096,
    flush_gap_ms: 100,
};

/// Why a broker does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another address, or stop what listens there")]
    Bind {
        /// Which.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// Connections cannot be encrypted.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store cannot be opened.
    #[error("the broker's store cannot be opened: {0}")]
    Store(#[from] OpenError),
    /// The store was opened, and the machine refuses what it holds.
    #[error("the broker's store cannot be read: {0}; restore it from a backup, or move the directory away")]
    Recovery(Halt),
    /// The system refuses a thread or a runtime.
    #[error("the system gives no thread: {0}")]
    System(#[from] std::io::Error),
}

/// Requests that wait for the broker's thread.
const ORDERS_MAX: usize = 16;

/// What a running broker may be asked for.
#[derive(Debug)]
pub(crate) enum Order {
    /// To write everything down, say good-bye and end.
    Stop,
    /// To let nobody in any more, send everybody away by and by, and end.
    Leave,
    /// To go by other rules.
    Reconfigure(Box<(Auth, Limits)>),
    /// To say how things are.
    Look(oneshot::Sender<Figures>),
}

/// A broker that runs.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where clients that speak WebSocket connect.
    pub websocket: Option<SocketAddr>,
    orders: mpsc::Sender<Order>,
    thread: JoinHandle<Result<(), Halt>>,
    syncs: Arc<OnceLock<SyncCount>>,
}

/// A way to ask a running broker for something.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Order>);

impl Desk {
    /// How things are; `None` once it has ended.
    pub async fn look(&self) -> Option<Figures> {
        let (tell, told) = oneshot::channel();
        self.0.send(Order::Look(tell)).await.ok()?;
        told.await.ok()
    }

    /// Lets it go by other rules. Who may not come any more is closed.
    pub async fn reconfigure(&self, auth: Auth, limits: Limits) {
        self.0.send(Order::Reconfigure(Box::new((auth, limits)))).await.ok();
    }

    /// Lets it send everybody away by and by, and end.
    pub async fn leave(&self) {
        self.0.send(Order::Leave).await.ok();
    }

    /// Waits until it has ended.
    pub async fn ended(&self) {
        self.0.closed().await;
    }
}

impl Running {
    /// A way to ask it for something.
    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk(self.orders.clone())
    }

    /// Counts the files it brings to disk.
    pub fn sync_count(&self) -> impl Fn() -> u64 + Send + Sync + 'static + use<> {
        let syncs = Arc::clone(&self.syncs);
        move || syncs.get().map_or(0, SyncCount::get)
    }

    /// Lets it end in good order, and waits for that.
    ///
    /// # Errors
    /// What stopped it, if it had stopped before, or could not write.
    pub async fn stop(self) -> Result<(), Halt> {
        self.orders.send(Order::Stop).await.ok();
        let joined = tokio::task::spawn_blocking(move || self.thread.join()).await;
        match joined {
            Ok(Ok(ended)) => ended,
            Ok(Err(_)) | Err(_) => {
                tracing::error!("the broker's thread panicked");
                Ok(())
            }
        }
    }

    /// Whether it runs no more, because it had to stop.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.thread.is_finished()
    }
}

/// A new id for a server, as the real one has them.
#[must_use]
pub fn new_server_id() -> String {
    identity::server_id()
}

/// Starts a broker: when this returns, clients may connect.
///
/// # Errors
/// When it cannot listen, or its store cannot be used.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let (started, starting) = oneshot::channel();
    let syncs = Arc::new(OnceLock::new());
    let counted = Arc::clone(&syncs);
    let thread = std::thread::Builder::new().name("broker".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                started.send(Err(error.into())).ok();
                return Ok(());
            }
        };
        let work = async move {
            match options.jetstream.as_ref().map(|own| own.store.clone()) {
                None | Some(Store::Memory) => {
                    serve(&options, Ok(MemoryStore::default()), started, ordered).await
                }
                Some(Store::Directory { directory, sync }) => {
                    let store = open(&directory, sync);
                    if let Ok(store) = &store {
                        counted.get_or_init(|| store.sync_count());
                    }
                    serve(&options, store, started, ordered).await
                }
            }
        };
        tokio::task::LocalSet::new().block_on(&runtime, work)
    })?;
    let gone = |_| StartError::System(std::io::Error::other("the thread ended"));
    let Addresses { clients, websockets } = starting.await.map_err(gone)??;
    Ok(Running { address: clients, websocket: websockets, orders, thread, syncs })
}

/// Room made in the log ahead of what is written, where every commit is synced.
const AHEAD_BYTES: u32 = 1 << 20;

/// Opens the log, and says what a loss of power took.
fn open(directory: &Path, sync: SyncPolicy) -> Result<LogStore, OpenError> {
    let sync = match sync {
        SyncPolicy::Always => log_store::SyncPolicy::Always,
        SyncPolicy::Every(every) => log_store::SyncPolicy::Interval(every),
    };
    let mut options = log_store::Options { sync, ..log_store::Options::default() };
    if sync == log_store::SyncPolicy::Always {
        options.limits.ahead_bytes = AHEAD_BYTES;
    }
    let (store, dropped) = LogStore::open(directory, options)?;
    if let Some(dropped) = dropped {
        tracing::warn!(
            from = %dropped.from, bytes = dropped.bytes, records = dropped.records, kept = ?dropped.files,
            "the end of the log had not reached the disk when the machine stopped; it was dropped"
        );
    }
    Ok(store)
}

async fn serve<S: store::Store>(
    options: &Options,
    store: Result<S, OpenError>,
    started: oneshot::Sender<Result<Addresses, StartError>>,
    ordered: mpsc::Receiver<Order>,
) -> Result<(), Halt> {
    match prepare(options, store).await {
        Ok((doors, shell)) => {
            started.send(Ok(doors.addresses())).ok();
            shell.run(doors, ordered).await
        }
        Err(error) => {
            started.send(Err(error)).ok();
            Ok(())
        }
    }
}

async fn prepare<S: store::Store>(
    options: &Options,
    store: Result<S, OpenError>,
) -> Result<(Doors, shell::Shell<S>), StartError> {
    let doors = Doors::open(options).await?;
    let config = config(options, doors.addresses().clients);
    let shell = shell::Shell::recover(config, store?, options).map_err(StartError::Recovery)?;
    Ok((doors, shell))
}

fn config(options: &Options, address: SocketAddr) -> Config {
    let server_id = options.server_id.clone().unwrap_or_else(identity::server_id);
    let info = Info {
        server_name: options.server_name.clone().unwrap_or_else(|| server_id.clone()),
        server_id,
        version: PROTOCOL_VERSION.into(),
        proto: 1,
        git_commit: "cloudlysis".into(),
        go: "rust".into(),
        host: options.listen.host.clone(),
        port: address.port(),
        headers: true,
        auth_required: false,
        tls_required: options.tls.as_ref().is_some_and(|tls| !tls.optional),
        tls_verify: options.tls.as_ref().is_some_and(|tls| tls.verify),
        tls_available: options.tls.as_ref().is_some_and(|tls| tls.optional),
        max_payload: options.limits.payload_bytes_max,
        jetstream: options.jetstream.is_some(),
        client_id: 0,
        client_ip: String::new(),
        nonce: None,
        domain: options.jetstream.as_ref().and_then(|own| own.domain.clone()),
        connect_urls: Vec::new(),
        ldm: false,
        connect_info: false,
        remote_account: None,
        api_lvl: u32::from(jetstream::API_LEVEL),
    };
    Config {
        server: server::Config {
            info,
            auth: options.auth.clone(),
            limits: options.limits,
            host_account: options
                .jetstream
                .as_ref()
                .map_or_else(|| GLOBAL_ACCOUNT.to_owned(), |own| own.account.clone()),
            seed: identity::seed(),
        },
        jetstream: options
            .jetstream
            .as_ref()
            .map(|own| jetstream::Limits { request_batch_max: own.request_batch_max, ..JETSTREAM_LIMITS }),
        domain: options.jetstream.as_ref().and_then(|own| own.domain.clone()),
    }
}
