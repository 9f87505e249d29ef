//! `cloudlysis tenant`: what.

use clap::{Args, Subcommand};
use cloudlysis_core::placement::PARTITION_MAX;
use cloudlysis_io_nats::address::Address;
use std::path::PathBuf;

/// `cloudlysis tenant`: what.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// List the tenants that are placed, and where.
    Ls {
        /// Where the bucket is.
        #[command(flatten)]
        at: PlacementBroker,
    },
    /// Place tenants in a partition, for good: its nodes take them in while they run.
    Place {
        /// Where the bucket is.
        #[command(flatten)]
        at: PlacementBroker,
        /// Who; the default tenant is `_`.
        #[arg(required_unless_present = "existing")]
        tenants: Vec<String>,
        /// Everybody who has events: for a partition that had all tenants so far.
        #[arg(long, conflicts_with = "tenants")]
        existing: bool,
        /// Where.
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..=i64::from(PARTITION_MAX)))]
        partition: u32,
        /// Copies of the bucket, when it is made.
        #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=5))]
        replicas: u32,
    },
}

/// Where the bucket is.
#[derive(Debug, Args)]
pub struct PlacementBroker {
    /// The NATS server, with JetStream enabled.
    #[arg(
        long,
        value_name = "URL",
        default_value = "nats://127.0.0.1:4222",
        env = "CLOUDLYSIS_BROKER",
        hide_env_values = true
    )]
    pub broker: Address,
    /// The file with the JWT and the seed that the NATS server asks for.
    #[arg(long, value_name = "FILE", env = "CLOUDLYSIS_BROKER_CREDENTIALS")]
    pub broker_credentials: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}
