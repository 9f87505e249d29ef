//! `cloudlysis serve`: one node.

use super::embedded;
use super::node::{self, Common, Node};
use super::starting::Starting;
use super::validate::contents;
use super::{CommandError, say};
use crate::admin::reload::Read;
use crate::application;
use crate::cli::{Flags, NodeFlags, Serve};
use crate::gateway::{self, Upstreams};
use crate::placement::Placed;
use crate::probes::{self, Probes};
use crate::server::Openness;
use crate::settings::{Key, NodeKind, Settings};
use crate::shutdown::Signals;
use crate::token::Guard;
use crate::{introspection, server, telemetry};
use cloudlysis_core::manifest::App;
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::store::HeedStore;
use cloudlysis_io_nats::streams::{self, IfMissing, StreamsError};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Pause between attempts to agree with the broker about the streams.
const STREAMS_PAUSE: Duration = Duration::from_secs(1);
/// How long another node may take that creates them just now.
const STREAMS_WITHIN: Duration = Duration::from_secs(10);

pub(super) async fn run(serve: Serve) -> Result<(), CommandError> {
    match serve {
        Serve::Gateway(flags) => match settled(NodeKind::Gateway, &flags)? {
            Some(settings) => serve_gateway(&settings, &load(&flags.node)?).await,
            None => Ok(()),
        },
        Serve::Aggregate(flags) => match settled(NodeKind::Aggregate, &flags)? {
            Some(settings) => serve_partition(settings, flags.node(), node::aggregate).await,
            None => Ok(()),
        },
        Serve::Projection(flags) => match settled(NodeKind::Projection, &flags)? {
            Some(settings) => serve_partition(settings, flags.node(), node::projection).await,
            None => Ok(()),
        },
        Serve::Runner(flags) => match settled(NodeKind::Runner, &flags)? {
            Some(settings) => {
                node::check_secrets(&*load(flags.node())?, &secrets_of(&settings))?;
                let gateway = node::channel(settings.text(Key::Gateway))?;
                let start = |common: &Common, store| node::runner(common, store, gateway);
                serve_partition(settings, flags.node(), start).await
            }
            None => Ok(()),
        },
        Serve::Broker(arguments) => embedded::serve(&arguments).await,
    }
}

/// The settings to serve under; `None` when they were only to be shown.
fn settled(node: NodeKind, flags: &impl Flags) -> Result<Option<Settings>, CommandError> {
    let settings = Settings::load(node, &flags.said())?;
    // What does not start is not shown as if it did.
    settings.admin_token()?;
    let NodeFlags { dump_config, json, .. } = flags.node();
    match (dump_config, json) {
        (false, _) => return Ok(Some(settings)),
        (true, false) => say(settings.to_toml().trim_end()),
        (true, true) => say(&settings.to_json().to_string()),
    }
    Ok(None)
}

fn load(flags: &NodeFlags) -> Result<Arc<App>, CommandError> {
    Ok(Arc::new(application::load(&flags.application.app_dir, &flags.application.overrides())?))
}

async fn serve_partition(
    settings: Settings,
    flags: &NodeFlags,
    start: impl FnOnce(&Common, HeedStore) -> Result<Node, CommandError>,
) -> Result<(), CommandError> {
    let name = settings.node().name();
    let app = &load(flags)?;
    let metrics = telemetry::metrics()?;
    let data = Path::new(settings.text(Key::Data));
    if let Some(store) =
        settings.store_names_of_other_modes().iter().map(|name| data.join(name)).find(|own| own.exists())
    {
        return Err(CommandError::AnotherMode { store });
    }
    let store = node::open(data, &settings.store_name(), &app.name)?;
    let guard = Guard::new(settings.admin_token()?.as_ref());
    let openness = openness(&settings, Some(&guard));
    let listener = server::bind(settings.text(Key::Listen), &openness).await?;
    let address = listener
        .local_addr()
        .map_err(|source| CommandError::System { what: "a listener's address", source })?;
    let connection = Connection::open(&Options {
        url: settings.text(Key::Broker).into(),
        credentials: settings.file(Key::BrokerCredentials).map(Path::to_owned),
        name: format!("cloudlysis-{}", settings.store_name()),
        fail_fast: false,
        seed: u64::from(std::process::id()),
    })
    .await?;
    let mut signals = Signals::listen().map_err(|source| CommandError::System { what: "signals", source })?;
    let (starting, listener) = Starting::answer(name, listener, (address, &openness), &connection, &metrics)?;
    let has_history = node::has_history(&store);
    let agreed = tokio::select! {
        agreed = agree(&connection, &settings, has_history, has_history && !node::is_placed(&store)) => agreed?,
        () = signals.requested() => return Ok(()),
    };
    let (broker, placed) = agreed;
    let secrets =
        if settings.node() == NodeKind::Runner { secrets_of(&settings) } else { Secrets::new(None) };
    let (folder, vars) = (flags.application.app_dir.clone(), flags.application.overrides());
    let read: Read = Arc::new(move || application::load(&folder, &vars));
    let common = Common { app: Arc::clone(app), broker, settings, secrets, read: Some(read), placed };
    let node = start(&common, store)?;
    drop(starting);
    let (stop, stopping) = watch::channel(false);
    let status = node.status.clone();
    let probes = Probes::new(probes::Parts {
        broker: Some(connection),
        partitions: vec![(name, status)],
        draining: stopping.clone(),
        metrics,
        info: node::info(app, std::slice::from_ref(&node), common.settings.to_json()),
    });
    let deadline = common.settings.time(Key::DrainDeadlineMs);
    let admin = guard.around(node::operated(&[&node], deadline));
    let about = introspection::router(&probes, node.grpc_services).await;
    let router = node.services.clone().merge(admin).merge(probes.router()).merge(about);
    let server = server::serve(listener, openness.around(address, router), stopping);
    say(&format!("cloudlysis {} {name}   http://{address}   {}", env!("CARGO_PKG_VERSION"), contents(app)));
    signals.requested().await;
    stop.send_replace(true);
    let stopped = node.stop().await;
    server.abort();
    stopped.done()
}

/// Where a runner finds its secrets.
fn secrets_of(settings: &Settings) -> Secrets {
    Secrets::new(Some(Path::new(settings.text(Key::SecretsDir))))
}

/// Commands and queries are not authenticated yet; `/admin` is.
fn openness(settings: &Settings, admin: Option<&Guard>) -> Openness {
    let unauthenticated = match settings.node() {
        NodeKind::Aggregate | NodeKind::Projection | NodeKind::Gateway => {
            Some(settings.is_on(Key::AllowUnauthenticated))
        }
        NodeKind::Runner => None,
    };
    Openness { unauthenticated, admin: admin.cloned() }
}

/// Waits for the broker until the streams are there and the node knows whose work it does.
async fn agree(
    connection: &Connection,
    settings: &Settings,
    has_history: bool,
    has_every_tenant: bool,
) -> Result<(Broker, Placed), CommandError> {
    let broker = Broker::new(connection.clone());
    agree_on_streams(connection, &broker, settings, has_history).await?;
    let placed = match settings.node() {
        NodeKind::Projection | NodeKind::Runner => Placed::find(settings, &broker, has_every_tenant).await?,
        NodeKind::Aggregate | NodeKind::Gateway => Placed::all(),
    };
    Ok((broker, placed))
}

/// Waits for the broker, then creates what may be created and validates what is there.
async fn agree_on_streams(
    connection: &Connection,
    broker: &Broker,
    settings: &Settings,
    has_history: bool,
) -> Result<(), CommandError> {
    let if_missing = if settings.is_on(Key::Bootstrap) { IfMissing::Create } else { IfMissing::Fail };
    let mut connected = connection.changes();
    let mut missing_since = None;
    loop {
        tracing::debug!("waiting for the connection");
        if !connection.is_connected() {
            missing_since = None;
        }
        // The sender lives as long as the connection does.
        drop(connected.wait_for(|up| *up).await);
        match streams::ensure(broker, settings.stream_room(), if_missing, |_| has_history).await {
            Err(StreamsError::NoAnswer(stream)) => {
                tracing::info!(%stream, "waiting for the broker");
                missing_since = None;
                tokio::time::sleep(STREAMS_PAUSE).await;
            }
            Err(StreamsError::Missing(stream)) => {
                let since: &mut Instant = missing_since.get_or_insert_with(|| {
                    tracing::info!(%stream, "the stream does not exist: waiting for a node that creates it");
                    Instant::now()
                });
                if since.elapsed() >= STREAMS_WITHIN {
                    return Err(StreamsError::Missing(stream).into());
                }
                tokio::time::sleep(STREAMS_PAUSE).await;
            }
            agreed => return Ok(agreed?),
        }
    }
}

async fn serve_gateway(settings: &Settings, app: &Arc<App>) -> Result<(), CommandError> {
    let metrics = telemetry::metrics()?;
    let openness = openness(settings, None);
    let listener = server::bind(settings.text(Key::Listen), &openness).await?;
    let address = listener
        .local_addr()
        .map_err(|source| CommandError::System { what: "a listener's address", source })?;
    let upstreams = Upstreams {
        aggregate: node::channel(settings.text(Key::Aggregate))?,
        projections: settings
            .text(Key::Projection)
            .split(',')
            .map(node::channel)
            .collect::<Result<_, _>>()?,
        deadlines: settings.deadlines(),
    };
    let (stop, stopping) = watch::channel(false);
    let probes = Probes::new(probes::Parts {
        broker: None,
        partitions: Vec::new(),
        draining: stopping.clone(),
        metrics,
        info: node::info(app, &[], settings.to_json()),
    });
    let grpc = server::grpc(gateway::services(&upstreams));
    let about = introspection::router(&probes, gateway::GRPC_SERVICES).await;
    let router = gateway::router(upstreams).merge(probes.router()).merge(grpc).merge(about);
    let mut signals = Signals::listen().map_err(|source| CommandError::System { what: "signals", source })?;
    let server = server::serve(listener, openness.around(address, router), stopping);
    say(&format!("cloudlysis {} gateway   http://{address}", env!("CARGO_PKG_VERSION")));
    signals.requested().await;
    stop.send_replace(true);
    // Requests under way may finish; the deadline of any of them is not longer than this.
    drop(tokio::time::timeout(settings.time(Key::CommandDeadlineMs), server).await);
    Ok(())
}
