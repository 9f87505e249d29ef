//! `cloudlysis serve`: which node, and what is said about its settings.
//!
//! A flag has the name of its setting. What has no flag of its own is said with `--set`.

use super::{ApplicationArguments, BrokerArguments};
use crate::settings::{Key, Said};
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

/// `cloudlysis serve`: which node.
#[derive(Debug, Subcommand)]
pub enum Serve {
    /// Takes commands, appends events.
    Aggregate(AggregateFlags),
    /// Keeps views, answers queries.
    Projection(ProjectionFlags),
    /// Runs sagas and effects.
    Runner(RunnerFlags),
    /// HTTP at the edge.
    Gateway(GatewayFlags),
    /// The broker alone: a NATS server with JetStream.
    Broker(BrokerArguments),
}

/// What every node takes.
#[derive(Debug, Args)]
pub struct NodeFlags {
    /// The application.
    #[command(flatten)]
    pub application: ApplicationArguments,
    /// A file of settings (.toml, .yaml or .json); by default the one that the environment names, as RUNNER_CONFIG does.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Any setting; may be repeated. docs/settings.md lists them.
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = super::parse_var)]
    pub set: Vec<(String, String)>,
    /// Print every setting with its value and origin, and end.
    #[arg(long)]
    pub dump_config: bool,
    /// Print JSON.
    #[arg(long, requires = "dump_config")]
    pub json: bool,
    /// Where the node listens.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
}

/// What nodes with a partition take.
#[derive(Debug, Args)]
pub struct PartitionFlags {
    /// As every node.
    #[command(flatten)]
    pub node: NodeFlags,
    /// The file with the token that /admin asks for.
    #[arg(long, value_name = "FILE")]
    pub admin_token_file: Option<String>,
    /// The NATS server, with JetStream enabled.
    #[arg(long, value_name = "URL")]
    pub broker: Option<String>,
    /// The file with the JWT and the seed that the NATS server asks for.
    #[arg(long, value_name = "FILE")]
    pub broker_credentials: Option<String>,
    /// Where the node keeps its state.
    #[arg(long, value_name = "FOLDER")]
    pub data: Option<String>,
    /// Create missing streams.
    #[arg(long)]
    pub bootstrap: bool,
    /// Copies of each stream that bootstrap asks for.
    #[arg(long, value_name = "NUMBER")]
    pub replicas: Option<String>,
    /// Room for events that bootstrap asks for, in GiB; the broker reserves it.
    #[arg(long, value_name = "GIB")]
    pub events_gib: Option<String>,
    /// Room for each workflow stream that bootstrap asks for, in GiB; the broker reserves it.
    #[arg(long, value_name = "GIB")]
    pub workflow_gib: Option<String>,
}

/// What an aggregate node takes.
#[derive(Debug, Args)]
pub struct AggregateFlags {
    /// As every node with a partition.
    #[command(flatten)]
    pub partition: PartitionFlags,
    /// Listen on an address that others can reach, although commands and queries are not authenticated.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// What a projection node takes.
#[derive(Debug, Args)]
pub struct ProjectionFlags {
    /// As every node with consumers.
    #[command(flatten)]
    pub reader: ReaderFlags,
    /// Listen on an address that others can reach, although commands and queries are not authenticated.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// What nodes with consumers take.
#[derive(Debug, Args)]
pub struct ReaderFlags {
    /// As every node with a partition.
    #[command(flatten)]
    pub of_partition: PartitionFlags,
    /// Take over consumers that belong to another data directory.
    #[arg(long)]
    pub adopt: bool,
    /// Which partition this node is.
    #[arg(long, value_name = "NUMBER")]
    pub partition: Option<String>,
    /// Where tenants are: `all` in partition 0, as the `bucket` TENANT_PLACEMENT says, or TENANT=PARTITION,….
    #[arg(long, value_name = "PLACEMENT")]
    pub placement: Option<String>,
}

/// What a runner takes.
#[derive(Debug, Args)]
pub struct RunnerFlags {
    /// As every node with consumers.
    #[command(flatten)]
    pub reader: ReaderFlags,
    /// The gateway that commands are submitted to.
    #[arg(long, value_name = "URL")]
    pub gateway: Option<String>,
    /// `saga`, `effect`, or both in one process: `combined`.
    #[arg(long, value_name = "MODE")]
    pub mode: Option<String>,
    /// How effects get from sagas to whoever carries them out: `commit`, inside the runner, or `broker`, as messages.
    #[arg(long, value_name = "WAY")]
    pub hand_over: Option<String>,
    /// A directory with a file for every secret; what is not there may be in CLOUDLYSIS_SECRETS__NAME.
    #[arg(long, value_name = "DIR")]
    pub secrets_dir: Option<String>,
}

/// What a gateway takes.
#[derive(Debug, Args)]
pub struct GatewayFlags {
    /// As every node.
    #[command(flatten)]
    pub node: NodeFlags,
    /// The aggregate node.
    #[arg(long, value_name = "URL")]
    pub aggregate: Option<String>,
    /// The projection node; with several partitions all of theirs, separated by commas.
    #[arg(long, value_name = "URL")]
    pub projection: Option<String>,
    /// Listen on an address that others can reach, although commands and queries are not authenticated.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// A setting and what it is to be, if anything was said.
type Pair = Option<(String, String)>;

fn text(key: Key, value: Option<&String>) -> Pair {
    value.map(|value| (key.name().to_owned(), value.clone()))
}

fn switch(key: Key, on: bool) -> Pair {
    on.then(|| (key.name().to_owned(), true.to_string()))
}

/// What a node takes.
pub trait Flags {
    /// What every node takes.
    fn node(&self) -> &NodeFlags;

    /// What is said by flags of their own.
    fn pairs(&self) -> Vec<Pair>;

    /// What is said about the settings: here and by the environment.
    fn said(&self) -> Said {
        let node = self.node();
        let flags = node.set.iter().cloned().chain(self.pairs().into_iter().flatten());
        let unicode =
            |(name, value): (OsString, OsString)| Some((name.into_string().ok()?, value.into_string().ok()?));
        Said {
            file: node.config.clone(),
            env: std::env::vars_os().filter_map(unicode).collect(),
            flags: flags.collect(),
        }
    }
}

impl Flags for NodeFlags {
    fn node(&self) -> &NodeFlags {
        self
    }

    fn pairs(&self) -> Vec<Pair> {
        vec![text(Key::Listen, self.listen.as_ref())]
    }
}

impl Flags for PartitionFlags {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn pairs(&self) -> Vec<Pair> {
        let own = [
            text(Key::AdminTokenFile, self.admin_token_file.as_ref()),
            text(Key::Broker, self.broker.as_ref()),
            text(Key::BrokerCredentials, self.broker_credentials.as_ref()),
            text(Key::Data, self.data.as_ref()),
            switch(Key::Bootstrap, self.bootstrap),
            text(Key::Replicas, self.replicas.as_ref()),
            text(Key::EventsGib, self.events_gib.as_ref()),
            text(Key::WorkflowGib, self.workflow_gib.as_ref()),
        ];
        self.node.pairs().into_iter().chain(own).collect()
    }
}

impl Flags for ReaderFlags {
    fn node(&self) -> &NodeFlags {
        self.of_partition.node()
    }

    fn pairs(&self) -> Vec<Pair> {
        let own = [
            switch(Key::Adopt, self.adopt),
            text(Key::Partition, self.partition.as_ref()),
            text(Key::Placement, self.placement.as_ref()),
        ];
        self.of_partition.pairs().into_iter().chain(own).collect()
    }
}

impl Flags for AggregateFlags {
    fn node(&self) -> &NodeFlags {
        self.partition.node()
    }

    fn pairs(&self) -> Vec<Pair> {
        let open = switch(Key::AllowUnauthenticated, self.allow_unauthenticated);
        self.partition.pairs().into_iter().chain([open]).collect()
    }
}

impl Flags for ProjectionFlags {
    fn node(&self) -> &NodeFlags {
        self.reader.node()
    }

    fn pairs(&self) -> Vec<Pair> {
        let open = switch(Key::AllowUnauthenticated, self.allow_unauthenticated);
        self.reader.pairs().into_iter().chain([open]).collect()
    }
}

impl Flags for RunnerFlags {
    fn node(&self) -> &NodeFlags {
        self.reader.node()
    }

    fn pairs(&self) -> Vec<Pair> {
        let own = [
            text(Key::Gateway, self.gateway.as_ref()),
            text(Key::Mode, self.mode.as_ref()),
            text(Key::HandOver, self.hand_over.as_ref()),
            text(Key::SecretsDir, self.secrets_dir.as_ref()),
        ];
        self.reader.pairs().into_iter().chain(own).collect()
    }
}

impl Flags for GatewayFlags {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn pairs(&self) -> Vec<Pair> {
        let own = [
            text(Key::Aggregate, self.aggregate.as_ref()),
            text(Key::Projection, self.projection.as_ref()),
            switch(Key::AllowUnauthenticated, self.allow_unauthenticated),
        ];
        self.node.pairs().into_iter().chain(own).collect()
    }
}
