//! `cloudlysis serve`: one node.

use super::embedded;
use super::node::{self, Common, Node};
use super::validate::contents;
use super::{CommandError, say};
use crate::application;
use crate::cli::{Serve, ServeArguments};
use crate::gateway::{self, Upstreams};
use crate::probes::{self, Probes};
use crate::{server, shutdown, telemetry};
use axum::Router;
use cloudlysis_core::manifest::App;
use cloudlysis_core::wire::stream::StreamRoom;
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::store::HeedStore;
use cloudlysis_io_nats::streams::{self, IfMissing, StreamsError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tonic::service::Routes;

/// Pause between attempts to agree with the broker about the streams.
const STREAMS_PAUSE: Duration = Duration::from_secs(1);

pub(super) async fn run(serve: Serve) -> Result<(), CommandError> {
    match serve {
        Serve::Gateway(arguments) => {
            let app = load(&arguments)?;
            serve_gateway(&arguments, &app).await
        }
        Serve::Aggregate(arguments) => {
            let app = load(&arguments)?;
            serve_partition(&arguments, &app, "aggregate", node::aggregate).await
        }
        Serve::Projection(arguments) => {
            let app = load(&arguments)?;
            serve_partition(&arguments, &app, "projection", node::projection).await
        }
        Serve::Runner(arguments) => {
            let app = load(&arguments)?;
            node::check_secrets(&app, &Secrets::new(arguments.secrets_dir.as_deref()))?;
            let gateway = node::channel(&arguments.gateway)?;
            let start = |common: &Common, store| node::runner(common, store, gateway);
            serve_partition(&arguments, &app, "runner", start).await
        }
        Serve::Broker(arguments) => embedded::serve(&arguments).await,
    }
}

fn load(arguments: &ServeArguments) -> Result<Arc<App>, CommandError> {
    Ok(Arc::new(application::load(&arguments.application.app_dir, &arguments.application.overrides())?))
}

async fn serve_partition(
    arguments: &ServeArguments,
    app: &Arc<App>,
    name: &'static str,
    start: impl FnOnce(&Common, HeedStore) -> Result<Node, CommandError>,
) -> Result<(), CommandError> {
    let metrics = telemetry::metrics()?;
    let store = node::open(&arguments.data, name)?;
    let listener = server::bind(&arguments.listen, arguments.allow_unauthenticated).await?;
    let address = listener
        .local_addr()
        .map_err(|source| CommandError::System { what: "a listener's address", source })?;
    let connection = Connection::open(&Options {
        url: arguments.broker.clone(),
        name: format!("cloudlysis-{name}-p{}", arguments.partition),
        fail_fast: false,
        seed: u64::from(std::process::id()),
    })
    .await?;
    let broker = Broker::new(connection.clone());
    let has_history = node::has_history(&store);
    agree_on_streams(&connection, &broker, arguments, has_history).await?;
    let common = Common {
        app: Arc::clone(app),
        broker,
        partition: arguments.partition,
        adopt: arguments.adopt,
        hand_over: arguments.hand_over,
        secrets: Secrets::new(arguments.secrets_dir.as_deref()),
    };
    let node = start(&common, store)?;
    let (stop, stopping) = watch::channel(false);
    let settings = BTreeMap::from([
        ("broker", arguments.broker.clone()),
        ("data", arguments.data.display().to_string()),
        ("partition", arguments.partition.to_string()),
    ]);
    let status = node.status.clone();
    let probes = Probes::new(probes::Parts {
        connected: connection.changes(),
        partitions: vec![(name, status)],
        draining: stopping.clone(),
        metrics,
        info: node::info(app, std::slice::from_ref(&node), &settings),
    });
    let services = node.services.clone().merge(node.admin.clone());
    let router = services.merge(probes.router()).merge(health_service(&probes).await);
    let server = server::serve(listener, router, stopping);
    say(&format!("cloudlysis {} {name}   http://{address}   {}", env!("CARGO_PKG_VERSION"), contents(app)));
    shutdown::requested().await.map_err(|source| CommandError::System { what: "signals", source })?;
    stop.send_replace(true);
    let left = node.stop().await;
    server.abort();
    if left == 0 { Ok(()) } else { Err(CommandError::Unclean { in_flight: left }) }
}

/// Waits for the broker, then creates what may be created and validates what is there.
async fn agree_on_streams(
    connection: &Connection,
    broker: &Broker,
    arguments: &ServeArguments,
    has_history: bool,
) -> Result<(), CommandError> {
    let if_missing = if arguments.bootstrap { IfMissing::Create } else { IfMissing::Fail };
    const GIB: u64 = 1 << 30;
    let room = StreamRoom {
        replicas: arguments.replicas,
        events_bytes_max: arguments.events_gib.saturating_mul(GIB),
        workflow_bytes_max: arguments.workflow_gib.saturating_mul(GIB),
    };
    let mut connected = connection.changes();
    loop {
        tracing::debug!("waiting for the connection");
        // The sender lives as long as the connection does.
        drop(connected.wait_for(|up| *up).await);
        match streams::ensure(broker, room, if_missing, |_| has_history).await {
            Err(StreamsError::NoAnswer(stream)) => {
                tracing::info!(%stream, "waiting for the broker");
                tokio::time::sleep(STREAMS_PAUSE).await;
            }
            agreed => return Ok(agreed?),
        }
    }
}

async fn serve_gateway(arguments: &ServeArguments, app: &Arc<App>) -> Result<(), CommandError> {
    let metrics = telemetry::metrics()?;
    let listener = server::bind(&arguments.listen, arguments.allow_unauthenticated).await?;
    let address = listener
        .local_addr()
        .map_err(|source| CommandError::System { what: "a listener's address", source })?;
    let upstreams = Upstreams {
        aggregate: node::channel(&arguments.aggregate)?,
        projection: node::channel(&arguments.projection)?,
    };
    let (stop, stopping) = watch::channel(false);
    // The gateway itself does not talk to the broker.
    let (_connected, connected) = watch::channel(true);
    let settings = BTreeMap::from([
        ("aggregate", arguments.aggregate.clone()),
        ("projection", arguments.projection.clone()),
    ]);
    let probes = Probes::new(probes::Parts {
        connected,
        partitions: Vec::new(),
        draining: stopping.clone(),
        metrics,
        info: node::info(app, &[], &settings),
    });
    let grpc = server::grpc(server::with_reflection(gateway::services(&upstreams)));
    let router =
        gateway::router(upstreams).merge(probes.router()).merge(grpc).merge(health_service(&probes).await);
    let server = server::serve(listener, router, stopping);
    say(&format!("cloudlysis {} gateway   http://{address}", env!("CARGO_PKG_VERSION")));
    shutdown::requested().await.map_err(|source| CommandError::System { what: "signals", source })?;
    stop.send_replace(true);
    // Requests under way may finish; the deadline of any of them is shorter than this.
    drop(tokio::time::timeout(crate::settings::UPSTREAM_DEADLINE, server).await);
    Ok(())
}

/// `grpc.health.v1`, following readiness.
async fn health_service(probes: &Probes) -> Router {
    let (reporter, service) = tonic_health::server::health_reporter();
    let probes = probes.clone();
    tokio::spawn(async move {
        loop {
            let status = if probes.not_ready().is_empty() {
                tonic_health::ServingStatus::Serving
            } else {
                tonic_health::ServingStatus::NotServing
            };
            reporter.set_service_status("", status).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    server::grpc(Routes::new(service))
}
