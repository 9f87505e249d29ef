//! The real edges: what performs the core's effects and reports facts back.
//!
//! | module | edge |
//! |---|---|
//! | [`address`], [`servers`] | where the broker is and who calls it; the one shows nothing of the other |
//! | [`connect`] | one connection to NATS, its reconnect policy, its state |
//! | [`broker`] | publishing and the JetStream API, every answer mapped to what it proves |
//! | [`streams`] | streams created on bootstrap, validated always |
//! | [`consumer`] | inspection, positioning, pulling, acknowledging: what a gate asks for |
//! | [`log_store`] | the broker's disk: a checksummed log with its index in memory |
//! | [`store`] | LMDB through heed: one environment per partition, durable commits |
//! | [`clock`] | the wall clock and a monotonic one |
//! | [`http`] | effects over HTTP within an egress allow-list |
//! | [`service`] | effects as requests to NATS services, within the same list |
//! | [`secrets`] | values that both put into headers, from files and the environment |
//!
//! Nothing here decides anything: an adapter says what happened in the core's words, and the core decides. There is no
//! retry in this crate; machines retry.

pub mod address;
pub mod broker;
pub mod clock;
pub mod connect;
pub mod consumer;
pub mod http;
pub mod log_store;
pub mod placement;
pub mod secrets;
pub mod servers;
pub mod service;
pub mod store;
pub mod streams;

/// Makes ring the process's TLS provider. Every `main` calls it first: with a choice of providers rustls would refuse to
/// pick one, and without any the HTTP client panics. Calling it again changes nothing.
pub fn install_tls_provider() {
    // The only error is that a provider is installed already.
    drop(rustls::crypto::ring::default_provider().install_default());
}
