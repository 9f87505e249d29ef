//! `cloudlysis bench saga`: the nodes of `dev`, under a load of sagas.

use super::node::{self, Common};
use super::{CommandError, embedded, say};
use crate::bench::saga::{self, Load, Meters, SagaBenchError, Waiting};
use crate::broker::options::SyncPolicy;
use crate::cli::{BenchSagaArguments, Durability};
use crate::placement::Placed;
use crate::runner::Watcher;
use crate::settings::{Key, NodeKind, Said, Settings};
use cloudlysis_core::Outcome;
use cloudlysis_core::wire::stream::{PlatformStream, StreamRoom};
use cloudlysis_io_nats::address::Address;
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use cloudlysis_io_nats::consumer::inspect;
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::store;
use cloudlysis_io_nats::streams::{self, IfMissing};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long nodes may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn run(arguments: BenchSagaArguments) -> Result<(), CommandError> {
    let system = |what| move |source| CommandError::System { what, source };
    let temporary = tempfile::tempdir().map_err(system("a directory"))?;
    let data = arguments.data.unwrap_or_else(|| temporary.path().to_owned());
    let (sync, durability) = match arguments.durability {
        Durability::PowerLoss => (SyncPolicy::Always, "power-loss"),
        Durability::ProcessCrash => (SyncPolicy::Every(Duration::from_secs(120)), "process-crash"),
    };
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let embedded = match arguments.broker.as_str() {
        "embedded" => Some(embedded::start_near(anywhere, data.join("broker"), sync).await?),
        _ => None,
    };
    let own = embedded.as_ref().map(|own| Address::from(format!("nats://{}", own.address)));
    let connection = Connection::open(&Options {
        url: own.unwrap_or_else(|| arguments.broker.clone()),
        credentials: arguments.broker_credentials.filter(|_| embedded.is_none()),
        name: "cloudlysis-bench".into(),
        fail_fast: true,
        seed: u64::from(std::process::id()),
    })
    .await?;
    let broker = Broker::new(connection);
    streams::ensure(&broker, StreamRoom::DEVELOPMENT, IfMissing::Create, |_| false).await?;

    if let Outcome::Done(facts) = inspect(&broker, PlatformStream::AggregateEvents, None, &[]).await
        && facts.messages > 0
    {
        return Err(SagaBenchError::NotEmpty { messages: facts.messages }.into());
    }

    let app = Arc::new(saga::application());
    let hand_over = arguments.hand_over.as_str();
    let keep_ms = arguments.keep_ms.to_string();
    let flags = [(Key::Adopt, "true"), (Key::HandOver, hand_over), (Key::KeepMs, &keep_ms)];
    let flags = flags.map(|(key, text)| (key.name().to_owned(), text.to_owned())).to_vec();
    let runner = Settings::load(NodeKind::Runner, &Said { flags, ..Said::default() })?;
    let settings = Settings::load(NodeKind::Aggregate, &Said::default())?;
    let common =
        Common { app, broker, settings, secrets: Secrets::new(None), read: None, placed: Placed::all() };
    let stores =
        (node::open(&data, "aggregate", &common.app.name)?, node::open(&data, "runner", &common.app.name)?);
    let store_figures = [stores.0.figures(), stores.1.figures()];
    let (aggregate, commands) = node::aggregate_and_commands(&common, stores.0)?;
    let waiting = Waiting::default();
    let watcher = Watcher::new({
        let waiting = waiting.clone();
        move |finished| waiting.finished(&finished)
    });
    // Its sagas send no commands.
    let nowhere = node::channel("http://127.0.0.1:9")?;
    let runner = node::runner_watched(&common.under(runner), stores.1, nowhere, watcher)?;
    for node in [&aggregate, &runner] {
        let mut status = node.status.clone();
        let ready = status.wait_for(|status| status.not_ready.is_empty());
        if !matches!(tokio::time::timeout(READY_WITHIN, ready).await, Ok(Ok(_))) {
            return Err(CommandError::Halted(format!("{}: {:?}", node.name, node.status.borrow().not_ready)));
        }
    }
    let load = Load { concurrency: arguments.concurrency.max(1), count: arguments.count.max(1) };
    // What somebody else's broker syncs is its own matter.
    let about = match &embedded {
        Some(_) => ("embedded broker".to_owned(), durability, hand_over),
        None => (arguments.broker.to_string(), "as the broker's", hand_over),
    };
    let syncs = embedded.as_ref().map(crate::broker::Running::sync_count);
    let meters = meters(data, store_figures, move || syncs.as_ref().map_or(0, |syncs| syncs()));
    let figures = saga::run(&commands, &waiting, load, &meters, about, &progress).await;
    drop(commands);
    let stopped = runner.stop().await.and(aggregate.stop().await);
    if let Some(running) = embedded {
        embedded::stop(running).await?;
    }
    let figures = figures?;
    if arguments.json {
        say(&serde_json::to_string_pretty(&figures).expect("figures are JSON"));
    } else {
        say(&figures.text());
    }
    stopped.done()
}

fn meters(
    data: PathBuf,
    stores: [store::Figures; 2],
    broker_syncs: impl Fn() -> u64 + Send + Sync + 'static,
) -> Meters {
    Meters {
        commits: Box::new({
            let stores = stores.clone();
            move || stores.iter().map(store::Figures::commits).sum()
        }),
        syncs: Box::new(move || stores.iter().map(store::Figures::syncs).sum::<u64>() + broker_syncs()),
        disk_bytes: Box::new(move || saga::disk_bytes(&data)),
    }
}

#[expect(clippy::print_stderr, reason = "how far it is; the figures go to standard output")]
fn progress(what: &str) {
    eprintln!("{what}");
}
