//! The command line.

mod dlq;
mod effect;
mod schedule;
mod serve;
mod tenant;

pub use dlq::{Dlq, DlqNode, Keys, Selected};
pub use effect::{Effect, Outcome, Retried, Stage as EffectStage};
pub use schedule::Schedule;
pub use serve::{
    AggregateFlags, Flags, GatewayFlags, NodeFlags, PartitionFlags, ProjectionFlags, ReaderFlags,
    RunnerFlags, Serve,
};
pub use tenant::{PlacementBroker, Tenant};

use crate::broker::options::SyncPolicy;
use crate::telemetry::LogFormat;
use clap::{Args, Parser, Subcommand, ValueEnum};
use cloudlysis_core::manifest::Overrides;
use cloudlysis_core::saga::HandOver;
use cloudlysis_io_nats::address::Address;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

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
    #[command(subcommand)]
    Serve(Box<Serve>),
    /// Look at saga instances of a running node, signal them, pause them, end them.
    #[command(subcommand)]
    Saga(Saga),
    /// Look at schedules of a running node, pause them, have them fire.
    #[command(subcommand)]
    Schedule(Schedule),
    /// Look at effects of a running node, have them called again, say how they ended.
    #[command(subcommand)]
    Effect(Effect),
    /// Look at which tenants are placed in which partition, and place others.
    #[command(subcommand)]
    Tenant(Tenant),
    /// Look at what running nodes hold back because it cannot be applied, and let it go again.
    #[command(subcommand)]
    Dlq(Dlq),
    /// Have a running node stop taking work in, or read its manifests again.
    #[command(subcommand)]
    Node(NodeVerb),
    /// Ask a running node how surely things happened.
    #[command(subcommand)]
    Audit(Audit),
    /// Measure.
    #[command(subcommand)]
    Bench(Bench),
}

/// Which node is asked, and about whom.
#[derive(Clone, Debug, Args)]
pub struct NodeArguments {
    /// The node.
    #[arg(long, default_value = "http://127.0.0.1:8080", env = "CLOUDLYSIS_NODE", hide_env_values = true)]
    pub node: Address,
    /// The tenant; `saga ls`, `schedule ls`, `effect ls` and `dlq` without one are about all tenants, everything else means the default one.
    #[arg(long, env = "CLOUDLYSIS_TENANT")]
    pub tenant: Option<String>,
    /// The file with the node's token; by default the token is in CLOUDLYSIS_TOKEN, if there is one.
    #[arg(long, env = "CLOUDLYSIS_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

impl NodeArguments {
    /// The same node, about one tenant.
    #[must_use]
    pub fn of_tenant(&self, tenant: &str) -> Self {
        Self { tenant: Some(tenant.to_owned()), ..self.clone() }
    }
}

/// An instance of a saga.
#[derive(Debug, Args)]
pub struct SagaInstance {
    /// The saga.
    pub saga: String,
    /// The instance: what its events are correlated by.
    pub correlation: String,
}

/// `cloudlysis saga`: what.
#[derive(Debug, Subcommand)]
pub enum Saga {
    /// List instances.
    Ls {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Of this saga only.
        #[arg(long)]
        saga: Option<String>,
        /// Only those that have not ended.
        #[arg(long)]
        open: bool,
    },
    /// Show one instance: state, work, timers.
    Show {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
    },
    /// Say what one instance waits for.
    Why {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
    },
    /// Send a signal to one instance.
    Signal {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
        /// The signal: `hurry` for `signal.hurry` in the manifest.
        signal: String,
        /// What comes with it, as JSON.
        #[arg(long)]
        payload: Option<String>,
        /// Names the signal, so that repeating it is harmless.
        #[arg(long)]
        id: Option<String>,
    },
    /// Stop one instance from reacting; what comes for it waits, in order.
    Pause {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Have one instance undone, as its own `compensate` would.
    Cancel {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// End one instance as it is: nothing is undone, and whatever comes for it later is absorbed.
    Kill {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Have one instance react by today's manifest from now on, instead of the one it began under.
    Migrate {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Have one instance that has ended begin again with its first event. It asks for everything anew; nothing is undone.
    Restart {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
        /// Why.
        #[command(flatten)]
        because: Because,
        /// How often it was restarted before, as `saga show` says: repeated with it, the command restarts once.
        #[arg(long)]
        restarts: Option<u32>,
        /// Only say what it would ask for first.
        #[arg(long)]
        dry_run: bool,
    },
    /// Have events that were passed come again for a saga: one that is new, or missed them. What was applied changes nothing.
    Replay {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// The saga.
        saga: String,
        /// From this sequence of AGGREGATE_EVENTS on.
        #[arg(long)]
        from_seq: u64,
        /// Up to this one; without, up to the last that the saga's consumer has passed.
        #[arg(long)]
        to_seq: Option<u64>,
        /// Instances may begin that may have been there, have ended and are forgotten.
        #[arg(long)]
        may_repeat: bool,
        /// Only say what would become of them.
        #[arg(long)]
        dry_run: bool,
        /// Why.
        #[command(flatten)]
        because: Because,
    },
    /// Let a paused instance go on, with what came meanwhile.
    Resume {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// Which instance.
        #[command(flatten)]
        instance: SagaInstance,
    },
}

/// Why an operator does something.
#[derive(Debug, Args)]
pub struct Because {
    /// Why: kept with what it is done to, and logged.
    #[arg(long)]
    pub reason: String,
}

/// `cloudlysis node`: what.
#[derive(Debug, Subcommand)]
pub enum NodeVerb {
    /// Take nothing in any more, finish what is in flight, and say what is left. The process stays until SIGTERM.
    Drain {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// How long what is in flight may take; by default as long as the node's settings say.
        #[arg(long)]
        deadline_ms: Option<u64>,
    },
    /// Have a runner read its manifests again and go on under them, or say why not.
    Reload {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
        /// How long what is in flight may take before; by default as long as the node's settings say.
        #[arg(long)]
        deadline_ms: Option<u64>,
    },
}

/// `cloudlysis audit`: what.
#[derive(Debug, Subcommand)]
pub enum Audit {
    /// Effects: executed once, maybe twice, never, by the ledger and the stream of commands.
    Effects {
        /// Which node.
        #[command(flatten)]
        node: NodeArguments,
    },
}

/// `cloudlysis bench`: what.
#[derive(Debug, Subcommand)]
pub enum Bench {
    /// Our broker, beside a real nats-server.
    Broker(BenchBrokerArguments),
    /// Sagas, from a command to their end.
    Saga(BenchSagaArguments),
}

/// What an acknowledged message survives.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Durability {
    /// A loss of power: the broker of this process syncs before it acknowledges.
    PowerLoss,
    /// The end of a process: the broker of this process syncs every two minutes.
    ProcessCrash,
}

/// `cloudlysis bench saga`.
#[derive(Debug, Args)]
pub struct BenchSagaArguments {
    /// Sagas at once.
    #[arg(long, default_value_t = 32)]
    pub concurrency: usize,
    /// Sagas in all.
    #[arg(long, default_value_t = 20_000)]
    pub count: usize,
    /// `embedded` for a broker in this process, or a NATS server with JetStream that has no streams of ours.
    #[arg(long, default_value = "embedded", env = "CLOUDLYSIS_BROKER", hide_env_values = true)]
    pub broker: Address,
    /// The file with the JWT and the seed that the NATS server asks for.
    #[arg(long, value_name = "FILE", env = "CLOUDLYSIS_BROKER_CREDENTIALS")]
    pub broker_credentials: Option<PathBuf>,
    /// What the embedded broker's acknowledgements survive. The stores of the nodes always survive a loss of power.
    #[arg(long, value_enum, default_value = "power-loss")]
    pub durability: Durability,
    /// How effects get from sagas to whoever carries them out: `commit` or `broker`.
    #[arg(long, default_value = "commit", value_parser = parse_hand_over)]
    pub hand_over: HandOver,
    /// How long the runner keeps what has ended, in milliseconds: short for a run in which as much is removed as is added.
    #[arg(long, default_value_t = 2_678_400_000, value_parser = clap::value_parser!(u64).range(1_000..))]
    pub keep_ms: u64,
    /// Where everything is kept; by default a directory that is removed afterwards. What is there must be of a bench.
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// `cloudlysis bench broker`.
#[derive(Debug, Args)]
pub struct BenchBrokerArguments {
    /// The executable of a real nats-server to measure beside ours.
    #[arg(long, env = "CLOUDLYSIS_NATS_SERVER")]
    pub nats_server: Option<PathBuf>,
    /// How long each figure is measured, in milliseconds, each round.
    #[arg(long, default_value_t = 3_000)]
    pub time_ms: u64,
    /// How often each figure is measured; the median is shown.
    #[arg(long, default_value_t = 3)]
    pub rounds: usize,
    /// Messages of the memory row; 0 leaves it out.
    #[arg(long, default_value_t = 1_000_000)]
    pub messages: usize,
    /// How many subjects the messages of the memory row are on.
    #[arg(long, default_value_t = 64)]
    pub subjects: usize,
    /// Only rows whose name contains this.
    #[arg(long, default_value = "")]
    pub only: String,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// The application and its variables.
#[derive(Debug, Args)]
pub struct ApplicationArguments {
    /// The application's folder.
    #[arg(default_value = ".")]
    pub app_dir: PathBuf,
    /// Overrides a variable of app.yaml, which something must use; may be repeated.
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = parse_var)]
    pub vars: Vec<(String, String)>,
}

impl ApplicationArguments {
    /// The overriding variables: from the environment (`CLOUDLYSIS_VARS__NAME`), then from the command line.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        let from_environment = std::env::vars().filter_map(|(name, value)| {
            Some((name.strip_prefix("CLOUDLYSIS_VARS__")?.to_lowercase(), value))
        });
        Overrides { said: self.vars.iter().cloned().collect(), around: from_environment.collect() }
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
    /// A NATS server with JetStream; without one, a broker of its own runs in this process.
    #[arg(long, env = "CLOUDLYSIS_BROKER", hide_env_values = true)]
    pub broker: Option<Address>,
    /// The file with the JWT and the seed that the NATS server asks for.
    #[arg(long, value_name = "FILE", env = "CLOUDLYSIS_BROKER_CREDENTIALS")]
    pub broker_credentials: Option<PathBuf>,
    /// Where the broker of this process listens; the next free port is taken if this one is not.
    #[arg(
        long,
        default_value = "127.0.0.1:4222",
        env = "CLOUDLYSIS_BROKER_LISTEN",
        conflicts_with = "broker"
    )]
    pub broker_listen: SocketAddr,
    /// When what the broker of this process acknowledges survives a loss of power: `always`, or at least every so often.
    #[arg(long, default_value = "2m", value_parser = parse_sync, env = "CLOUDLYSIS_BROKER_SYNC")]
    pub broker_sync: SyncPolicy,
    /// Where the nodes keep their state.
    #[arg(long, default_value = ".cloudlysis", env = "CLOUDLYSIS_DATA")]
    pub data: PathBuf,
    /// Where the gateway listens.
    #[arg(long, default_value = "127.0.0.1:8080", env = "CLOUDLYSIS_LISTEN")]
    pub listen: String,
    /// Start the services that app.yaml lists under `dev`.
    #[arg(long)]
    pub services: bool,
    /// A directory with a file for every secret; what is not there may be in CLOUDLYSIS_SECRETS__NAME.
    #[arg(long, value_name = "DIR", env = "CLOUDLYSIS_SECRETS_DIR")]
    pub secrets_dir: Option<PathBuf>,
    /// Take over consumers that belong to another data directory.
    #[arg(long)]
    pub adopt: bool,
    /// The file with the token that /admin asks for.
    #[arg(long, env = "CLOUDLYSIS_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
    /// How effects get from sagas to whoever carries them out: `commit`, inside the runner, or `broker`, as messages.
    #[arg(long, default_value = "commit", value_parser = parse_hand_over, env = "CLOUDLYSIS_HAND_OVER")]
    pub hand_over: HandOver,
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

/// `cloudlysis serve broker`.
#[derive(Debug, Args)]
pub struct BrokerArguments {
    /// Where clients connect.
    #[arg(long, default_value = "127.0.0.1:4222", env = "CLOUDLYSIS_BROKER_LISTEN")]
    pub listen: SocketAddr,
    /// Where streams are kept.
    #[arg(long, default_value = ".cloudlysis/broker", env = "CLOUDLYSIS_BROKER_DATA")]
    pub data: PathBuf,
    /// When what is acknowledged survives a loss of power: `always`, or at least every so often, such as `2m`.
    #[arg(long, default_value = "2m", value_parser = parse_sync, env = "CLOUDLYSIS_BROKER_SYNC")]
    pub sync: SyncPolicy,
    /// Listen on an address that others can reach, without authentication.
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

fn parse_hand_over(text: &str) -> Result<HandOver, String> {
    HandOver::parse(text).ok_or_else(|| "expected `commit` or `broker`".into())
}

fn parse_sync(text: &str) -> Result<SyncPolicy, String> {
    if text == "always" {
        return Ok(SyncPolicy::Always);
    }
    let every: jiff::SignedDuration =
        text.parse().map_err(|why| format!("{why}; expected `always` or `2m`"))?;
    let every = Duration::try_from(every).map_err(|_| "a time before now".to_owned())?;
    if every.is_zero() {
        Err("longer than nothing, or `always`".into())
    } else {
        Ok(SyncPolicy::Every(every))
    }
}
