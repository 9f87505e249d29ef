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

mod connection;
mod door;
mod identity;
pub mod options;
mod outbox;
mod shell;

pub use options::Options;

use cloudlysis_core::broker::Config;
use cloudlysis_core::nats::{Info, server};
use cloudlysis_core::{Halt, jetstream};
use cloudlysis_io_nats::store::{HeedStore, MapSize, OpenError};
use options::Store;
use std::net::SocketAddr;
use std::thread::JoinHandle;
use thiserror::Error;
use tokio::sync::{oneshot, watch};

/// The version of the real server whose features it has: clients decide by it what they may ask for.
pub const PROTOCOL_VERSION: &str = "2.12.0";

/// The level of the JetStream API that version has.
const API_LEVEL: u32 = 1;
/// The account whose messages JetStream takes.
const HOST_ACCOUNT: &str = "$G";

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

/// What a running broker may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Wish {
    /// To go on.
    #[default]
    Serve,
    /// To write everything down, say good-bye and end.
    Stop,
}

/// A broker that runs.
#[derive(Debug)]
pub struct Running {
    /// Where clients connect.
    pub address: SocketAddr,
    wish: watch::Sender<Wish>,
    thread: JoinHandle<Result<(), Halt>>,
}

impl Running {
    /// Lets it end in good order, and waits for that.
    ///
    /// # Errors
    /// What stopped it, if it had stopped before, or could not write.
    pub async fn stop(self) -> Result<(), Halt> {
        self.wish.send_replace(Wish::Stop);
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

/// Starts a broker: when this returns, clients may connect.
///
/// # Errors
/// When it cannot listen, or its store cannot be used.
pub async fn start(options: Options) -> Result<Running, StartError> {
    let (wish, wished) = watch::channel(Wish::default());
    let (started, starting) = oneshot::channel();
    let thread = std::thread::Builder::new().name("broker".into()).spawn(move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                started.send(Err(error.into())).ok();
                return Ok(());
            }
        };
        tokio::task::LocalSet::new().block_on(&runtime, async move {
            match prepare(&options).await {
                Ok((door, shell)) => {
                    started.send(Ok(door.address())).ok();
                    shell.run(door, wished).await
                }
                Err(error) => {
                    started.send(Err(error)).ok();
                    Ok(())
                }
            }
        })
    })?;
    let gone = |_| StartError::System(std::io::Error::other("the thread ended"));
    let address = starting.await.map_err(gone)??;
    Ok(Running { address, wish, thread })
}

async fn prepare(options: &Options) -> Result<(door::Door, shell::Shell<HeedStore>), StartError> {
    let door = door::Door::open(&options.listen).await?;
    let Store::Directory { directory, .. } = &options.jetstream.as_ref().expect("for now").store else {
        unreachable!()
    };
    let store = HeedStore::open(directory, MapSize::default())?;
    let shell = shell::Shell::recover(config(options, door.address()), store, options)
        .map_err(StartError::Recovery)?;
    Ok((door, shell))
}

fn config(options: &Options, address: SocketAddr) -> Config {
    let server_id = identity::server_id();
    let info = Info {
        server_name: options.server_name.clone().unwrap_or_else(|| server_id.clone()),
        server_id,
        version: PROTOCOL_VERSION.into(),
        proto: 1,
        git_commit: env!("CARGO_PKG_VERSION").into(),
        go: "rust".into(),
        host: options.listen.host.clone(),
        port: address.port(),
        headers: true,
        auth_required: false,
        tls_required: false,
        tls_verify: false,
        tls_available: false,
        jetstream: options.jetstream.is_some(),
        max_payload: options.limits.payload_bytes_max,
        client_id: 0,
        client_ip: String::new(),
        nonce: None,
        domain: options.jetstream.as_ref().and_then(|own| own.domain.clone()),
        connect_urls: Vec::new(),
        ldm: false,
        connect_info: false,
        remote_account: None,
        api_lvl: API_LEVEL,
    };
    Config {
        server: server::Config {
            info,
            auth: options.auth.clone(),
            limits: options.limits,
            host_account: HOST_ACCOUNT.into(),
            seed: identity::seed(),
        },
        jetstream: options.jetstream.as_ref().map(|_| JETSTREAM_LIMITS),
        domain: options.jetstream.as_ref().and_then(|own| own.domain.clone()),
    }
}
