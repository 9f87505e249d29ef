//! The simulated edges: module for module the twin of `io-nats`, as plain values without threads or futures.
//!
//! | here | its twin | what it can do that the twin cannot be told to |
//! |---|---|---|
//! | [`broker`] | the real server | crash, lose what it may lose, answer wrongly on request |
//! | [`edge`] | `io_nats::broker`, `io_nats::consumer` | have every request of it dropped, delayed or answered late |
//! | [`store`] | `io_nats::store` | fail, or crash, at every point around a commit |
//! | [`clock`] | `io_nats::clock` | jump |
//! | [`outside`] | `io_nats::http` and what is behind it | forget keys, fail after having done it |
//! | [`network`] | TCP | delay, cut |
//! | [`replicas`] | a cluster, as its clients see it | lose its leader, its quorum, its power |
//!
//! The broker is the core's own JetStream engine; the edges translate the core's effects into its requests exactly as
//! `io-nats` translates them into the real protocol.

#![forbid(unsafe_code)]

pub mod broker;
pub mod clock;
pub mod edge;
pub mod network;
pub mod outside;
pub mod replicas;
pub mod rng;
pub mod store;
