//! What a broker is told before it starts: plain data, whoever says it.
//!
//! The command that stands in for `nats-server` reads flags and files into this; `cloudlysis dev` writes it down by hand.
//!
//! Never: parsing, files, defaults that depend on the machine.

use cloudlysis_core::nats::auth::GLOBAL_ACCOUNT;
use cloudlysis_core::nats::{Auth, Limits};
use std::path::PathBuf;
use std::time::Duration;

/// Where clients reach a NATS server unless told otherwise.
pub const CLIENT_PORT_DEFAULT: u16 = 4222;

/// A broker, as it is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// Where clients connect.
    pub listen: Listen,
    /// What tells this run of the server from all others; made up if nothing is said.
    pub server_id: Option<String>,
    /// What the server is called; its id if nothing is said.
    pub server_name: Option<String>,
    /// Words an operator attached to it, shown in `/varz`.
    pub tags: Vec<String>,
    /// Who may come.
    pub auth: Auth,
    /// Bounds of the client protocol.
    pub limits: Limits,
    /// What one connection may leave untaken before it is cut, in bytes.
    pub pending_bytes_max: usize,
    /// How long a write to a client may take before its connection is cut.
    pub write_deadline: Duration,
    /// Streams and consumers; a server of nothing but core NATS without.
    pub jetstream: Option<JetStream>,
    /// Encryption of client connections.
    pub tls: Option<TlsOptions>,
    /// A second door, for clients that speak WebSocket.
    pub websocket: Option<WebsocketOptions>,
    /// A door for people and probes, over HTTP.
    pub monitor: Option<Listen>,
    /// How a server that is to leave sends its clients away.
    pub lame_duck: LameDuck,
}

impl Options {
    /// What `nats-server` does without flags or file, on this address.
    #[must_use]
    pub const fn on(listen: Listen) -> Self {
        Self {
            listen,
            server_id: None,
            server_name: None,
            tags: Vec::new(),
            auth: Auth::Open,
            limits: Limits::DEFAULT,
            pending_bytes_max: 64 * 1024 * 1024,
            write_deadline: Duration::from_secs(10),
            jetstream: None,
            tls: None,
            websocket: None,
            monitor: None,
            lame_duck: LameDuck { grace: Duration::from_secs(10), duration: Duration::from_secs(120) },
        }
    }
}

/// An address to listen on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listen {
    /// A name or an address.
    pub host: String,
    /// A port; 0 for any that is free.
    pub port: u16,
}

impl Listen {
    /// This machine only, on any free port.
    #[must_use]
    pub fn loopback() -> Self {
        Self { host: "127.0.0.1".into(), port: 0 }
    }
}

/// Streams and consumers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct JetStream {
    /// Where they are kept.
    pub store: Store,
    /// The account whose clients have it.
    pub account: String,
    /// The domain it is addressed by, besides its own.
    pub domain: Option<String>,
    /// Most bytes of all memory streams together; no bound if absent.
    pub memory_bytes_max: Option<u64>,
    /// Most bytes of all file streams together; no bound if absent.
    pub storage_bytes_max: Option<u64>,
    /// Largest batch a pull may ask for; no bound if absent.
    pub request_batch_max: Option<u64>,
    /// Whether requests with unknown fields are refused.
    pub strict: bool,
}

impl JetStream {
    /// Kept in a directory, without further bounds.
    #[must_use]
    pub fn in_directory(directory: PathBuf, sync: SyncPolicy) -> Self {
        Self {
            store: Store::Directory { directory, sync },
            account: GLOBAL_ACCOUNT.to_owned(),
            domain: None,
            memory_bytes_max: None,
            storage_bytes_max: None,
            request_batch_max: None,
            strict: true,
        }
    }
}

/// Where streams are kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Store {
    /// Nowhere: they end with the process.
    Memory,
    /// In files.
    Directory {
        /// Below this directory.
        directory: PathBuf,
        /// When what was written survives the machine.
        sync: SyncPolicy,
    },
}

impl Store {
    /// This store, forced to the disk as another is.
    #[must_use]
    pub fn with_sync_of(self, other: &Self) -> Self {
        match (self, other) {
            (Self::Directory { directory, .. }, Self::Directory { sync, .. }) => {
                Self::Directory { directory, sync: *sync }
            }
            (own, _) => own,
        }
    }
}

/// When what was written is forced to the disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SyncPolicy {
    /// Before anybody is told that it was written.
    Always,
    /// At least so often: what was acknowledged since may be lost with the machine's power.
    Every(Duration),
}

/// A certificate, and what is asked of clients.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TlsOptions {
    /// The server's chain, in PEM.
    pub certificates: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// Who signs clients' certificates, in PEM.
    pub authorities: Option<PathBuf>,
    /// Whether a client must show a certificate.
    pub verify: bool,
    /// How long a handshake may take.
    pub timeout: Duration,
    /// Who speaks first.
    pub first: HandshakeFirst,
    /// Whether clients that do not encrypt are served too.
    pub optional: bool,
}

/// Whether the handshake comes before the first `INFO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandshakeFirst {
    /// `INFO` in clear, then the handshake.
    No,
    /// The handshake, then `INFO`.
    Yes,
    /// The handshake, if the client begins one within this time; otherwise `INFO` in clear.
    Within(Duration),
}

/// A door for clients that speak WebSocket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WebsocketOptions {
    /// Where.
    pub listen: Listen,
    /// Encryption; in clear without.
    pub tls: Option<TlsOptions>,
    /// How long the HTTP handshake may take.
    pub handshake_timeout: Duration,
}

/// How a server that is to leave sends its clients away.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LameDuck {
    /// From the announcement to the first connection that is closed.
    pub grace: Duration,
    /// From the announcement to the last one.
    pub duration: Duration,
}
