//! The `cloudlysis` binary.

use clap::Parser;
use cloudlysis_nodes::cli::Cli;
use cloudlysis_nodes::commands;
use std::process::ExitCode;

fn main() -> ExitCode {
    cloudlysis_io_nats::install_tls_provider();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(commands::run(Cli::parse())),
        Err(_) => ExitCode::FAILURE,
    }
}
