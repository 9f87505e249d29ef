//! The client protocol of NATS, as a server speaks it: text in, text out, nothing else.
//!
//! ```text
//!  bytes ──► Parser ──► Operation ──► Routes ──► Outgoing ──► bytes
//! ```
//!
//! What the real server 2.15.1 answers was recorded byte by byte; the scripts in `tests` repeat it. Where we differ on
//! purpose, the module that differs says so.
//!
//! [`Server`] is these together: a core NATS server as a value.
//!
//! Never: sockets, TLS, clustering; subjects that lead from one account to another.

pub mod auth;
pub mod connect;
mod connection;
mod delivery;
mod look;
pub mod nkey;
pub mod parse;
pub mod permissions;
pub mod routes;
pub mod server;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod violation;
pub mod write;

pub use auth::Auth;
pub use connect::Connect;
pub use parse::{Operation, Parser, Publish};
pub use routes::Routes;
pub use server::Server;
pub use violation::Violation;
pub use write::{Info, Outgoing};

/// Bounds of a server. Everything a stranger can make us keep has one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Longest control line, without the verb and the line break, in bytes.
    pub control_line_bytes_max: usize,
    /// Largest message, headers included, in bytes.
    pub payload_bytes_max: usize,
    /// Most subscriptions of all connections together.
    pub subscriptions_max: usize,
    /// Most subscriptions of one connection.
    pub subscriptions_per_connection_max: usize,
    /// Most connections.
    pub connections_max: usize,
    /// How long a client may take to say who it is, in milliseconds.
    pub auth_timeout_ms: u64,
    /// How long a client may be silent before it is asked, in milliseconds.
    pub ping_interval_ms: u64,
    /// How many questions it may leave without answer.
    pub pings_out_max: u32,
}

impl Limits {
    /// What the real server does unless told otherwise, and bounds where it has none.
    pub const DEFAULT: Self = Self {
        control_line_bytes_max: 4096,
        payload_bytes_max: 1024 * 1024,
        subscriptions_max: 100_000,
        subscriptions_per_connection_max: 10_000,
        connections_max: 65_536,
        auth_timeout_ms: 2_000,
        ping_interval_ms: 120_000,
        pings_out_max: 2,
    };
}

/// One connection of a client. A number is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnectionId(pub u64);
