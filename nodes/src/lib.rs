//! The nodes: shells around the core's machines, and the command line.
//!
//! No business decision is made here. A shell collects facts into a channel, runs a turn, and performs what the turn
//! released; everything else is configuration, HTTP, gRPC, signals and metrics.
//!
//! | module | what it does |
//! |---|---|
//! | [`partition`] | the loop: one thread, one store, one driver |
//! | [`aggregate`], [`projection`], [`runner`] | what each node's machine asks for, performed |
//! | [`gateway`] | HTTP at the edge, gRPC inside |
//! | [`broker`] | an embedded NATS server with JetStream |
//! | [`nats_server`] | a command that stands in for the real `nats-server` |
//! | [`server`], [`problem`] | a listener, and what a refusal over it looks like |
//! | [`settings`], [`token`], [`loopback`] | what a node is told, and by whom |
//! | [`admin`] | what operators ask for, over HTTP and gRPC |
//! | [`probes`], [`introspection`] | `/health`, `/ready`, `/metrics`, `/info`; `grpc.health.v1`, reflection |
//! | [`commands`] | `dev`, `validate`, `serve` |

/// Rows, messages and JSON trees are small, many and short-lived, and end on other threads than they began on: the
/// system's allocator takes a tenth of a saga's processor time more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub mod admin;
pub mod aggregate;
pub mod application;
pub mod bench;
pub mod broker;
pub mod cli;
pub mod commands;
pub mod gateway;
pub mod introspection;
pub mod loopback;
pub mod nats_server;
pub mod partition;
pub mod placement;
pub mod probes;
pub mod problem;
pub mod projection;
pub mod runner;
pub mod server;
pub mod settings;
pub mod shutdown;
pub mod telemetry;
pub mod token;

use clap::Parser;
use cloudlysis_core::program::Natives;
use std::process::ExitCode;

/// The command line, with native programs that manifests may name: what a binary with programs of its own has for a `main`.
#[must_use]
pub fn run(natives: Natives) -> ExitCode {
    application::install(natives);
    cloudlysis_io_nats::install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(commands::run(cli::Cli::parse())),
        Err(_) => ExitCode::FAILURE,
    }
}

/// The generated protocol.
pub mod proto {
    /// Commands.
    pub mod command {
        #![allow(
            missing_docs,
            clippy::missing_errors_doc,
            reason = "generated; documented in the .proto file"
        )]
        tonic::include_proto!("aggregate.gateway.v1");
    }
    /// Queries.
    pub mod query {
        #![allow(
            missing_docs,
            clippy::missing_errors_doc,
            reason = "generated; documented in the .proto file"
        )]
        tonic::include_proto!("projection.gateway.v1");
    }
    /// What operators ask a runner for.
    pub mod admin {
        #![allow(
            missing_docs,
            clippy::missing_errors_doc,
            reason = "generated; documented in the .proto files"
        )]
        tonic::include_proto!("runner.admin.v1");
    }
    /// For reflection.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
}
