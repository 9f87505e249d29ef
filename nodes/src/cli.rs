//! The command line.

use crate::telemetry::LogFormat;
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Event-sourced aggregates, projections, sagas and effects on NATS JetStream.
#[derive(Debug, Parser)]
#[command(name = "cloudlysis", version)]
pub struct Cli {
    /// How log lines look. Which ones appear is up to RUST_LOG.
    #[arg(long, global = true, value_enum, default_value = "text", env = "CLOUDLYSIS_LOG_FORMAT")]
    pub log_format: LogFormat,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an application with every node in one process.
    Dev(DevArguments),
    /// Check the manifests of an application.
    Validate(ValidateArguments),
    /// Run one node.
    Serve(ServeArguments),
}

/// The application and its variables.
#[derive(Debug, Args)]
pub struct ApplicationArguments {
    /// The application's folder.
    #[arg(default_value = ".")]
    pub app_dir: PathBuf,
    /// Overrides a variable of app.yaml; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    pub vars: Vec<(String, String)>,
}

impl ApplicationArguments {
    /// The overriding variables: from the environment (`CLOUDLYSIS_VARS__NAME`), then from the command line.
    #[must_use]
    pub fn overrides(&self) -> BTreeMap<String, String> {
        let from_environment = std::env::vars().filter_map(|(name, value)| {
            Some((name.strip_prefix("CLOUDLYSIS_VARS__")?.to_lowercase(), value))
        });
        from_environment.chain(self.vars.iter().cloned()).collect()
    }
}

fn parse_var(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// `cloudlysis dev`.
#[derive(Debug, Args)]
pub struct DevArguments {
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArguments,
    /// The NATS server, with JetStream enabled.
    #[arg(long, default_value = "nats://127.0.0.1:4222", env = "CLOUDLYSIS_BROKER")]
    pub broker: String,
    /// Where the nodes keep their state.
    #[arg(long, default_value = ".cloudlysis", env = "CLOUDLYSIS_DATA")]
    pub data: PathBuf,
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:8080", env = "CLOUDLYSIS_LISTEN")]
    pub listen: String,
    /// Start the services that app.yaml lists under `dev`.
    #[arg(long)]
    pub services: bool,
    /// Take over consumers that belong to another data directory.
    #[arg(long)]
    pub adopt: bool,
    /// Listen on an address that others can reach, without authentication.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// `cloudlysis validate`.
#[derive(Debug, Args)]
pub struct ValidateArguments {
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArguments,
    /// Print faults as JSON.
    #[arg(long)]
    pub json: bool,
}

/// A kind of node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum NodeKind {
    /// Takes commands, appends events.
    Aggregate,
    /// Keeps views, answers queries.
    Projection,
    /// Runs sagas and effects.
    Runner,
    /// HTTP at the edge.
    Gateway,
}

/// `cloudlysis serve`.
#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Which node.
    #[arg(value_enum)]
    pub node: NodeKind,
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArguments,
    /// The NATS server, with JetStream enabled.
    #[arg(long, default_value = "nats://127.0.0.1:4222", env = "CLOUDLYSIS_BROKER")]
    pub broker: String,
    /// Where the node keeps its state.
    #[arg(long, default_value = ".cloudlysis", env = "CLOUDLYSIS_DATA")]
    pub data: PathBuf,
    /// Where the node listens.
    #[arg(long, default_value = "127.0.0.1:0", env = "CLOUDLYSIS_LISTEN")]
    pub listen: String,
    /// Which partition this node owns.
    #[arg(long, default_value_t = 0, env = "CLOUDLYSIS_PARTITION")]
    pub partition: u32,
    /// Gateway: the aggregate node.
    #[arg(long, default_value = "http://127.0.0.1:8081", env = "CLOUDLYSIS_AGGREGATE")]
    pub aggregate: String,
    /// Gateway: the projection node.
    #[arg(long, default_value = "http://127.0.0.1:8082", env = "CLOUDLYSIS_PROJECTION")]
    pub projection: String,
    /// Runner: the gateway it submits commands to.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "CLOUDLYSIS_GATEWAY")]
    pub gateway: String,
    /// Create missing streams.
    #[arg(long)]
    pub bootstrap: bool,
    /// Copies of each stream that bootstrap asks for.
    #[arg(long, default_value_t = 1)]
    pub replicas: u8,
    /// Room for events that bootstrap asks for, in GiB; the broker reserves it.
    #[arg(long, default_value_t = 16)]
    pub events_gib: u64,
    /// Room for each workflow stream that bootstrap asks for, in GiB; the broker reserves it.
    #[arg(long, default_value_t = 4)]
    pub workflow_gib: u64,
    /// Take over consumers that belong to another data directory.
    #[arg(long)]
    pub adopt: bool,
    /// Listen on an address that others can reach, without authentication.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}
