//! `cloudlysis dev`: every node in one process.

use super::embedded;
use super::node::{self, Common, Node};
use super::stopped::Stopped;
use super::validate::contents;
use super::{CommandError, say, services};
use crate::application;
use crate::cli::DevArguments;
use crate::gateway::{self, Upstreams};
use crate::placement::Placed;
use crate::probes::{self, Probes};
use crate::server;
use crate::server::Openness;
use crate::settings::{Key, NodeKind, Said, Settings};
use crate::shutdown::Signals;
use crate::token::{Guard, Token};
use crate::{introspection, telemetry};
use cloudlysis_core::wire::stream::StreamRoom;
use cloudlysis_io_nats::address::Address;
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::streams::{self, IfMissing};
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// How long `dev` waits for everything to be ready before it says what is not.
const READY_WITHIN: Duration = Duration::from_secs(20);

pub(super) async fn run(arguments: DevArguments) -> Result<(), CommandError> {
    let started = Instant::now();
    let metrics = telemetry::metrics()?;
    let app =
        Arc::new(application::load(&arguments.application.app_dir, &arguments.application.overrides())?);
    let secrets = Secrets::new(arguments.secrets_dir.as_deref());
    node::check_secrets(&app, &secrets)?;
    let aggregate_store = node::open(&arguments.data, "aggregate", &app.name)?;
    let projection_store = node::open(&arguments.data, "projection", &app.name)?;
    let runner_store = node::open(&arguments.data, "runner", &app.name)?;
    let stores = [&aggregate_store, &projection_store, &runner_store];
    let has_history = stores.into_iter().any(node::has_history);
    let data = arguments.data.display();
    say(&format!(
        "cloudlysis {} dev   {}   data {data} ({})",
        env!("CARGO_PKG_VERSION"),
        app.name,
        if has_history { "kept" } else { "fresh" }
    ));
    let token = arguments.admin_token_file.as_deref().map(Token::read).transpose()?;
    let guard = Guard::new(token.as_ref());
    let openness =
        Openness { unauthenticated: Some(arguments.allow_unauthenticated), admin: Some(guard.clone()) };
    let gateway_listener = server::bind(&arguments.listen, &openness).await?;
    let gateway_address = address(&gateway_listener)?;
    let children = if arguments.services { services::start(&app.dev_services).await? } else { Vec::new() };
    let embedded = match &arguments.broker {
        Some(_) => None,
        None => {
            let (listen, sync) = (arguments.broker_listen, arguments.broker_sync);
            Some(embedded::start_near(listen, arguments.data.join("broker"), sync).await?)
        }
    };
    let own = embedded.as_ref().map(|running| Address::from(format!("nats://{}", running.address)));
    let broker_url = own.or(arguments.broker).expect("one or the other");
    let connection = Connection::open(&Options {
        url: broker_url.clone(),
        credentials: arguments.broker_credentials.filter(|_| embedded.is_none()),
        name: "cloudlysis-dev".into(),
        fail_fast: true,
        seed: u64::from(std::process::id()),
    })
    .await?;
    let broker = Broker::new(connection.clone());
    let kind = if embedded.is_some() { "   in this process, one node, for development" } else { "" };
    say(&format!("  broker    {broker_url}{kind}"));
    streams::ensure(&broker, StreamRoom::DEVELOPMENT, IfMissing::Create, |_| has_history).await?;

    let said = |flags: &[(Key, &str)]| Said {
        flags: flags.iter().map(|(key, text)| (key.name().to_owned(), (*text).to_owned())).collect(),
        ..Said::default()
    };
    let adopt = if arguments.adopt { "true" } else { "false" };
    let projection_settings = Settings::load(NodeKind::Projection, &said(&[(Key::Adopt, adopt)]))?;
    let runner_settings = [(Key::Adopt, adopt), (Key::HandOver, arguments.hand_over.as_str())];
    let runner_settings = Settings::load(NodeKind::Runner, &said(&runner_settings))?;
    let settings = Settings::load(NodeKind::Aggregate, &said(&[]))?;
    let deadlines = Settings::load(NodeKind::Gateway, &said(&[]))?.deadlines();
    let common =
        Common { app: Arc::clone(&app), broker, settings, secrets, read: None, placed: Placed::all() };
    let (stop_inner, stopping_inner) = watch::channel(false);
    let (stop_edge, stopping_edge) = watch::channel(false);
    let aggregate = node::aggregate(&common, aggregate_store)?;
    let projection = node::projection(&common.under(projection_settings), projection_store)?;
    let among_us = Openness { unauthenticated: Some(false), admin: None };
    let inner = server::bind("127.0.0.1:0", &among_us).await?;
    let inner_address = address(&inner)?;
    let inner_url = format!("http://{inner_address}");
    let inner_router = aggregate.services.clone().merge(projection.services.clone());
    let inner_server = server::serve(inner, among_us.around(inner_address, inner_router), stopping_inner);
    let upstreams = Upstreams {
        aggregate: node::channel(&inner_url)?,
        projections: vec![node::channel(&inner_url)?],
        deadlines,
    };
    let gateway_url = format!("http://{gateway_address}");
    let runner = node::runner(&common.under(runner_settings), runner_store, node::channel(&inner_url)?)?;

    let nodes = [aggregate, projection, runner];
    let settings = json!({ "broker": broker_url.to_string(), "data": data.to_string() });
    let probes = Probes::new(probes::Parts {
        broker: Some(connection.clone()),
        partitions: nodes.iter().map(|node| (node.name, node.status.clone())).collect(),
        draining: stopping_edge.clone(),
        metrics,
        info: node::info(&app, &nodes, settings),
    });
    let deadline = common.settings.time(Key::DrainDeadlineMs);
    let [aggregate, projection, runner] = &nodes;
    // The runner first: it needs the others.
    let admin = guard.around(node::operated(&[runner, projection, aggregate], deadline));
    let grpc = server::grpc(gateway::services(&upstreams));
    let reached = [gateway::GRPC_SERVICES, runner.grpc_services].concat();
    let about = introspection::router(&probes, &reached).await;
    let router = gateway::router(upstreams).merge(probes.router()).merge(admin).merge(grpc).merge(about);
    let mut signals = Signals::listen().map_err(|source| CommandError::System { what: "signals", source })?;
    let edge_server =
        server::serve(gateway_listener, openness.around(gateway_address, router), stopping_edge);
    say(&format!("  gateway   {gateway_url}"));
    say(&format!("  loaded    {}", contents(&app)));
    let is_asked = tokio::select! {
        () = announce(&probes, started) => false,
        () = signals.requested() => true,
    };
    if !is_asked {
        signals.requested().await;
    }
    // First nothing new comes in, then what is under way ends, and the aggregates last: the others need them.
    stop_edge.send_replace(true);
    let [aggregate, projection, runner] = nodes;
    let stopped = runner.stop().await.and(projection.stop().await);
    let stopped = stopped.and(stop_last(aggregate, inner_server, &stop_inner).await);
    drop(edge_server);
    drop(children);
    if let Some(running) = embedded {
        embedded::stop(running).await?;
    }
    stopped.done()
}

async fn stop_last(
    aggregate: Node,
    server: tokio::task::JoinHandle<()>,
    stop: &watch::Sender<bool>,
) -> Stopped {
    stop.send_replace(true);
    let stopped = aggregate.stop().await;
    server.abort();
    stopped
}

fn address(listener: &TcpListener) -> Result<std::net::SocketAddr, CommandError> {
    listener.local_addr().map_err(|source| CommandError::System { what: "a listener's address", source })
}

/// Says when everything is ready; and what is not, once, when that takes long.
async fn announce(probes: &Probes, started: Instant) {
    // The services may have been compiled first; that is not the nodes' delay.
    let waiting_since = Instant::now();
    let mut complained = false;
    loop {
        let reasons = probes.not_ready();
        if reasons.is_empty() {
            say(&format!("ready in {:.1} s", started.elapsed().as_secs_f64()));
            return;
        }
        let halted = reasons.iter().any(|reason| reason.contains("halted"));
        if !complained && (halted || waiting_since.elapsed() > READY_WITHIN) {
            say("not ready:");
            reasons.iter().for_each(|reason| say(&format!("  {reason}")));
            complained = true;
        }
        if halted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
