//! The commands of the command line.

mod ask;
mod audit;
mod bench;
mod bench_saga;
mod dev;
mod dlq;
mod effect;
mod embedded;
mod node;
mod node_verbs;
mod redrive;
mod saga;
mod schedule;
mod serve;
mod services;
mod starting;
mod stopped;
mod tenant;
mod validate;

use crate::application::ApplicationError;
use crate::bench::broker::BenchError;
use crate::bench::saga::SagaBenchError;
use crate::broker::StartError;
use crate::cli::{Cli, Command, Serve};
use crate::server::ListenError;
use crate::settings::SettingsError;
use crate::token::TokenError;
use ask::AskError;
use cloudlysis_core::wire::id::{IdError, Name};
use cloudlysis_io_nats::address::Address;
use cloudlysis_io_nats::connect::ConnectError;
use cloudlysis_io_nats::http::SetupError;
use cloudlysis_io_nats::placement::BucketError;
use cloudlysis_io_nats::secrets::HeaderError;
use cloudlysis_io_nats::store::OpenError;
use cloudlysis_io_nats::streams::StreamsError;
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;

/// Why a command failed. The exit code says what kind of failure it was.
#[derive(Debug, Error)]
pub enum CommandError {
    /// The application cannot be used.
    #[error("{0}")]
    Application(#[from] ApplicationError),
    /// The broker is not there.
    #[error("{0}")]
    Connect(#[from] ConnectError),
    /// The broker's streams cannot be used.
    #[error("{0}")]
    Streams(#[from] StreamsError),
    /// The broker of this process does not start.
    #[error("{0}")]
    Broker(#[from] StartError),
    /// A data directory cannot be used.
    #[error("{0}")]
    Store(#[from] OpenError),
    /// A data directory is of another application.
    #[error(
        "the data directory belongs to the application `{was}`, and this is `{app}`: choose another with --data; if it was \
         renamed, write its new name into {}", noted.display()
    )]
    AnotherApplication {
        /// Where its name is noted.
        noted: PathBuf,
        /// Which it belongs to.
        was: String,
        /// Which was to use it.
        app: Name,
    },
    /// A runner is to change its mode.
    #[error(
        "{} is of a runner in another mode, with its instances or its ledger: start it in that mode, for a runner keeps the \
         one it began with", store.display()
    )]
    AnotherMode {
        /// What it left.
        store: PathBuf,
    },
    /// An address cannot be listened on.
    #[error("{0}")]
    Listen(#[from] ListenError),
    /// The HTTP client cannot be set up.
    #[error("{0}")]
    Http(#[from] SetupError),
    /// Settings are wrong.
    #[error("{0}")]
    Settings(#[from] SettingsError),
    /// The token of `/admin` cannot be used.
    #[error("{0}")]
    Token(#[from] TokenError),
    /// An address of another node is not one.
    #[error("`{url}` is not the address of a node: {source}; use http://host:port")]
    Upstream {
        /// What was given.
        url: Address,
        /// What is wrong with it.
        source: tonic::transport::Error,
    },
    /// A service for development does not start.
    #[error("service `{name}`: {detail}")]
    Service {
        /// Which.
        name: String,
        /// What happened.
        detail: String,
    },
    /// A secret that an effect needs cannot be used.
    #[error("effect `{effect}`, {source}")]
    Secret {
        /// Which effect.
        effect: Name,
        /// Which header, which secret, and what to do.
        source: HeaderError,
    },
    /// The system refuses something a process needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A measurement ended without figures.
    #[error("{0}")]
    Bench(#[from] BenchError),
    /// Sagas could not be measured.
    #[error("{0}")]
    SagaBench(#[from] SagaBenchError),
    /// Metrics cannot be collected.
    #[error("metrics: {0}")]
    Metrics(#[from] metrics_exporter_prometheus::BuildError),
    /// The process ended with work in flight.
    #[error("stopped with {in_flight} request(s) in flight; what was durable goes on at the next start")]
    Unclean {
        /// How many.
        in_flight: usize,
    },
    /// A partition stopped.
    #[error("{0}")]
    Halted(String),
    /// Some of what was redriven cannot be applied.
    #[error("{keys} key(s) could not be applied again and stay where they are: `dlq ls` says why")]
    FailedAgain {
        /// How many.
        keys: u64,
    },
    /// The bucket of placements cannot be used.
    #[error("{0}")]
    Placement(#[from] BucketError),
    /// A tenant is none.
    #[error("`{tenant}`: {error}")]
    Tenant {
        /// What was given.
        tenant: String,
        /// What is wrong with it.
        error: IdError,
    },
    /// A running node was asked in vain.
    #[error("{0}")]
    Ask(#[from] AskError),
}

impl CommandError {
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Application(_)
            | Self::Http(_)
            | Self::System { .. }
            | Self::Metrics(_)
            | Self::Bench(_)
            | Self::SagaBench(_)
            | Self::Service { .. }
            | Self::Secret { .. }
            | Self::FailedAgain { .. }
            | Self::Unclean { .. }
            | Self::Broker(StartError::Recovery(_) | StartError::System(_))
            | Self::Halted(_) => 1,
            Self::Upstream { .. }
            | Self::Settings(_)
            | Self::Token(_)
            | Self::Listen(ListenError::Unauthenticated(_) | ListenError::NoToken(_))
            | Self::Broker(StartError::Tls(_)) => 2,
            Self::Store(_)
            | Self::AnotherApplication { .. }
            | Self::AnotherMode { .. }
            | Self::Listen(ListenError::Bind { .. })
            | Self::Broker(StartError::Bind { .. } | StartError::Store(_)) => 4,
            Self::Connect(error) => match error {
                ConnectError::Address { .. }
                | ConnectError::Credentials { .. }
                | ConnectError::Twice { .. } => 2,
                ConnectError::Unauthorised { .. } => 5,
                ConnectError::Unreachable { .. } => 6,
            },
            Self::Ask(error) => error.exit_code(),
            Self::Tenant { .. } => 2,
            Self::Placement(error) => match error {
                BucketError::Missing => 3,
                BucketError::Elsewhere { .. } | BucketError::Placement(_) => 4,
                BucketError::NoAnswer => 6,
                BucketError::Refused(_) | BucketError::Full => 1,
            },
            Self::Streams(error) => match error {
                StreamsError::NoAnswer(_) => 6,
                StreamsError::Missing(_) => 3,
                StreamsError::Mismatch(_) | StreamsError::Gone(_) | StreamsError::Refused { .. } => 4,
            },
        }
    }
}

/// Runs a command. Exit codes: 0 ok, 1 failed, 2 usage, 3 not found, 4 conflict, 5 unauthorised, 6 unavailable.
pub async fn run(cli: Cli) -> ExitCode {
    let spans = crate::telemetry::start(cli.log_format, service(&cli.command).as_deref());
    let done = match cli.command {
        Command::Dev(arguments) => dev::run(arguments).await,
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Serve(node) => serve::run(*node).await,
        Command::Saga(what) => saga::run(what).await,
        Command::Schedule(what) => schedule::run(what).await,
        Command::Effect(what) => effect::run(what).await,
        Command::Tenant(what) => tenant::run(what).await,
        Command::Dlq(what) => dlq::run(what).await,
        Command::Node(what) => node_verbs::run(what).await,
        Command::Audit(what) => audit::run(what).await,
        Command::Bench(what) => bench::run(what).await,
    };
    spans.end().await;
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(error.exit_code())
        }
    }
}

/// Who spans are of; `None` for who has none.
fn service(command: &Command) -> Option<String> {
    let node = match command {
        Command::Dev(_) => "dev",
        Command::Serve(serve) => match **serve {
            Serve::Aggregate(_) => "aggregate",
            Serve::Projection(_) => "projection",
            Serve::Runner(_) => "runner",
            Serve::Gateway(_) => "gateway",
            Serve::Broker(_) => return None,
        },
        Command::Validate(_)
        | Command::Saga(_)
        | Command::Schedule(_)
        | Command::Effect(_)
        | Command::Tenant(_)
        | Command::Dlq(_)
        | Command::Node(_)
        | Command::Audit(_)
        | Command::Bench(_) => return None,
    };
    Some(format!("cloudlysis-{node}"))
}

#[expect(clippy::print_stderr, reason = "the command line's own words, not a log")]
fn complain(error: &CommandError) {
    eprintln!("error: {error}");
}

/// How far a long command is, for whoever watches.
#[expect(clippy::print_stderr, reason = "the command line's own words, not a log")]
fn progress(line: &str) {
    eprintln!("{line}");
}

fn say(line: &str) {
    // Whoever read it may have gone, as `head` does: what runs goes on.
    drop(writeln!(io::stdout(), "{line}"));
}
