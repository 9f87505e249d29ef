//! Building nodes: store, machine, partition, services.

use super::CommandError;
use super::stopped::Stopped;
use crate::admin::dlq::DeadLetters;
use crate::admin::drain::{Drainable, Process};
use crate::admin::effects::Effects;
use crate::admin::redrive::Redrive;
use crate::admin::reload::{Read, Reloader, Reloads};
use crate::admin::sagas::Sagas;
use crate::admin::schedules::Schedules;
use crate::admin::{self, grpc, http};
use crate::aggregate::Commands;
use crate::partition::{self, INPUTS_MAX, Partition, Parts, Status};
use crate::placement::Placed;
use crate::probes::Info;
use crate::projection::{ProjectionEdge, Queries};
use crate::proto::admin::runner_admin_server;
use crate::proto::command::command_service_server::{self, CommandServiceServer};
use crate::proto::query::query_service_server::{self, QueryServiceServer};
use crate::runner::{Application, RunnerEdge, Targets, Watcher};
use crate::server;
use crate::settings::{Key, Settings};
use axum::Router;
use cloudlysis_core::gate::Gate;
use cloudlysis_core::manifest::App;
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::runner::Mode;
use cloudlysis_core::wire::id::{Name, derive_hex};
use cloudlysis_core::{Table, aggregate, projection, runner};
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::store::{Commits, HeedStore, MapSize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{fs, io};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint};

/// What every node needs.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) app: Arc<App>,
    pub(super) broker: Broker,
    pub(super) settings: Settings,
    pub(super) secrets: Secrets,
    /// Reads the application anew, where a node may be reloaded.
    pub(super) read: Option<Read>,
    /// Its tenants.
    pub(super) placed: Placed,
}

impl Common {
    /// The same with the settings of another node.
    pub(super) fn under(&self, settings: Settings) -> Self {
        Self { settings, ..self.clone() }
    }
}

/// A node, running: its partition behind closures, because each has facts of its own.
pub(super) struct Node {
    pub(super) name: &'static str,
    pub(super) status: watch::Receiver<Status>,
    /// What other nodes use.
    pub(super) services: Router,
    /// The gRPC services among these, and of operators.
    pub(super) grpc_services: &'static [&'static str],
    admin: Admin,
    info: Info,
    drainable: Drainable,
    drain_deadline: Duration,
    join: Box<dyn FnOnce() + Send>,
}

/// What operators use of a node.
#[derive(Default)]
struct Admin {
    http: Router,
    /// What they may ask over gRPC, too.
    runner: Option<admin::Runner>,
}

/// What operators use of a process: what each node has of its own, and the drain of all of them, in this order.
pub(super) fn operated(nodes: &[&Node], drain_deadline: Duration) -> Router {
    let partitions = nodes.iter().map(|node| node.drainable.clone()).collect();
    let process = Process { partitions, deadline: drain_deadline };
    let shared = http::drain(process.clone());
    nodes.iter().fold(shared, |all, Node { admin: Admin { http, runner }, .. }| {
        let grpc = runner.clone().map(|runner| grpc::router(runner, process.clone()));
        all.merge(http.clone()).merge(grpc.unwrap_or_default())
    })
}

impl Node {
    /// Drains and ends the partition.
    pub(super) async fn stop(self) -> Stopped {
        let Self { name, status, join, .. } = self;
        let report = self.drainable.drain(Instant::now() + self.drain_deadline).await;
        if let Some(report) = report {
            tracing::info!(
                node = name,
                clean = report.clean,
                in_flight = report.left.in_flight,
                waiting = report.left.waiting,
                "drained"
            );
        }
        // The thread ends when the last sender is gone; everybody else holds weak ones.
        if tokio::task::spawn_blocking(join).await.is_err() {
            tracing::error!(node = name, "its thread cannot be waited for");
        }
        Stopped::of(name, report, &status.borrow())
    }
}

/// Holds the name of the application that a store is of.
const APPLICATION_FILE: &str = "application";

/// A different jitter for every store.
fn seed(store: &HeedStore) -> u64 {
    let hex = derive_hex(&["seed", store.store_id()]);
    u64::from_str_radix(&hex[..16], 16).unwrap_or_default()
}

/// Opens a node's store, which is one application's for good.
pub(super) fn open(data: &Path, name: &str, app: &Name) -> Result<HeedStore, CommandError> {
    let directory = data.join(name);
    let store = HeedStore::open(&directory, MapSize::default())?;
    let noted = directory.join(APPLICATION_FILE);
    let fault = |source| CommandError::System { what: "the name of a data directory's application", source };
    let was = match fs::read_to_string(&noted) {
        Ok(text) => text.trim().to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(fault(error)),
    };
    if was.is_empty() {
        fs::write(&noted, format!("{app}\n")).map_err(fault)?;
    } else if was != app.as_str() {
        return Err(CommandError::AnotherApplication { noted, was, app: app.clone() });
    }
    Ok(store)
}

/// Whether a store has applied anything of any stream: then a missing stream is a loss, not a beginning.
pub(super) fn has_history(store: &HeedStore) -> bool {
    let mut found = false;
    let scanned = store.snapshots().read(|view| {
        view.scan(Table::Checkpoint, b"", &mut |_, _| {
            found = true;
            ControlFlow::Break(())
        })
    });
    // A store that cannot be read is not one to recreate streams for.
    found || !matches!(scanned, Ok(Ok(())))
}

/// Whether a store knows which tenants it has. One that cannot be read is not narrowed.
pub(super) fn is_placed(store: &HeedStore) -> bool {
    !matches!(store.snapshots().read(|view| Gate::is_placed(view)), Ok(Ok(false)))
}

/// Tells a partition when the broker comes and goes.
fn follow_connection<I: Send + 'static>(broker: &Broker, inputs: &mpsc::Sender<I>, changed: fn(bool) -> I) {
    let mut changes = broker.connection().changes();
    let inputs = inputs.downgrade();
    tokio::spawn(async move {
        while changes.changed().await.is_ok() {
            let connected = *changes.borrow_and_update();
            let Some(inputs) = inputs.upgrade() else { return };
            if inputs.send(changed(connected)).await.is_err() {
                return;
            }
        }
    });
}

fn finish<I: Send + 'static>(
    settings: &Settings,
    partition: Partition<I>,
    (services, grpc_services): (Router, &'static [&'static str]),
    admin: Admin,
    info: Info,
) -> Node {
    let (name, status) = (settings.node().name(), partition.status.clone());
    Node {
        name,
        status: status.clone(),
        services,
        grpc_services,
        admin,
        info,
        drainable: Drainable { name, stop: partition.stop.clone(), status },
        drain_deadline: settings.time(Key::DrainDeadlineMs),
        join: Box::new(move || partition.join()),
    }
}

fn thread_error(source: std::io::Error) -> CommandError {
    CommandError::System { what: "a partition's thread", source }
}

pub(super) fn aggregate(common: &Common, store: HeedStore) -> Result<Node, CommandError> {
    aggregate_and_commands(common, store).map(|(node, _)| node)
}

/// The node, and its entrance for callers in this process.
pub(super) fn aggregate_and_commands(
    common: &Common,
    store: HeedStore,
) -> Result<(Node, Commands), CommandError> {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    let (edge, commands) = crate::aggregate::node(common.broker.clone(), &sender, Handle::current());
    follow_connection(&common.broker, &sender, |connected| aggregate::Input::ConnectionChanged { connected });
    let info = json!({ "store": store.store_id(), "aggregates": names(common.app.aggregates.keys()) });
    let info: Info = Arc::new(move || info.clone());
    let (definitions, seed, settings) =
        (common.app.aggregates.clone(), seed(&store), common.settings.clone());
    let config = move || aggregate::Config {
        definitions: definitions.clone(),
        limits: settings.aggregate_limits(),
        gas_max: settings.number(Key::GasMax),
        seed,
        quirks: Quirks::NONE,
    };
    let parts = Parts { name: "aggregate", store, commits: Commits::Journaled, config };
    let partition =
        partition::start::<aggregate::Aggregate, _>(parts, (sender, receiver), edge).map_err(thread_error)?;
    let services = server::grpc(Routes::new(CommandServiceServer::new(commands.clone())));
    let node = finish(
        &common.settings,
        partition,
        (services, &[command_service_server::SERVICE_NAME]),
        Admin::default(),
        info,
    );
    Ok((node, commands))
}

pub(super) fn projection(common: &Common, store: HeedStore) -> Result<Node, CommandError> {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    let edge = ProjectionEdge::new(common.broker.clone(), &sender, Handle::current());
    follow_connection(&common.broker, &sender, |connected| projection::Input::ConnectionChanged {
        connected,
    });
    let snapshots = store.snapshots();
    let views = common.app.projections.keys().cloned().collect();
    let queries = Queries::new(views, common.placed.tenants(), snapshots.clone());
    let (partition, tenants) = (common.placed.partition(), common.placed.tenants());
    let narrows = common.placed.narrows();
    let info = json!({ "store": store.store_id(), "partition": common.placed.partition(), "views": names(common.app.projections.keys()) });
    let info: Info = Arc::new(move || info.clone());
    let (definitions, seed, settings) =
        (common.app.projections.clone(), seed(&store), common.settings.clone());
    let store_id = store.store_id().to_owned();
    let config = move || projection::Config {
        definitions: definitions.clone(),
        partition,
        tenants: tenants.borrow().clone(),
        narrows,
        store_id: store_id.clone(),
        adopt: settings.is_on(Key::Adopt),
        gate_limits: settings.gate_limits(),
        parked_max: settings.number(Key::ParkedMax),
        gas_max: settings.number(Key::GasMax),
        seed,
        quirks: Quirks::NONE,
    };
    // Views are read all the time: who asks for a row must not wait for it.
    let parts = Parts { name: "projection", store, commits: Commits::Each, config };
    let running = partition::start::<projection::Projection, _>(parts, (sender, receiver), edge)
        .map_err(thread_error)?;
    common.placed.follow(running.reloads.clone(), common.settings.time(Key::DrainDeadlineMs));
    let services = server::grpc(Routes::new(QueryServiceServer::new(queries)));
    let admin = Admin { http: http::dead_letters("projection", DeadLetters { snapshots }), runner: None };
    let services = (services, &[query_service_server::SERVICE_NAME][..]);
    Ok(finish(&common.settings, running, services, admin, info))
}

/// Every secret that an effect needs is there, before anything of a runner starts.
pub(super) fn check_secrets(app: &App, secrets: &Secrets) -> Result<(), CommandError> {
    app.effects.iter().try_for_each(|(effect, definition)| {
        let checked = secrets.check(definition.secret_headers());
        checked.map_err(|source| CommandError::Secret { effect: effect.clone(), source })
    })
}

pub(super) fn runner(common: &Common, store: HeedStore, commands: Channel) -> Result<Node, CommandError> {
    runner_watched(common, store, commands, Watcher::default())
}

/// The node, and somebody who is told of every saga that finishes.
pub(super) fn runner_watched(
    common: &Common,
    store: HeedStore,
    commands: Channel,
    watcher: Watcher,
) -> Result<Node, CommandError> {
    let (sender, receiver) = mpsc::channel(INPUTS_MAX);
    let connection = common.broker.connection();
    let first = Application::new(Arc::clone(&common.app), connection, &common.secrets)?;
    let (current, application) = watch::channel(first);
    let command_deadline = common.settings.time(Key::CommandDeadlineMs);
    let targets = Targets {
        broker: common.broker.clone(),
        commands,
        command_deadline,
        application: application.clone(),
        watcher,
    };
    let edge = RunnerEdge::new(targets, &sender, Handle::current());
    let operator = edge.operator();
    follow_connection(&common.broker, &sender, |connected| runner::Input::ConnectionChanged { connected });
    let snapshots = store.snapshots();
    let mode = common.settings.mode();
    let of_mode = move |app: &App| match mode {
        Mode::Combined(_) => (app.sagas.clone(), app.schedules.clone(), app.effects.clone()),
        Mode::Sagas => (app.sagas.clone(), app.schedules.clone(), BTreeMap::new()),
        Mode::Effects => (BTreeMap::new(), BTreeMap::new(), app.effects.clone()),
    };
    let info: Info = Arc::new({
        let (application, mode) = (application.clone(), common.settings.text(Key::Mode).to_owned());
        let (store_id, partition) = (store.store_id().to_owned(), common.placed.partition());
        move || {
            let (sagas, schedules, effects) = of_mode(&application.borrow().app);
            json!({
                "store": store_id,
                "partition": partition,
                "mode": mode,
                "sagas": names(sagas.keys()),
                "effects": names(effects.keys()),
                "schedules": names(schedules.keys()),
            })
        }
    });
    let (decides, carries_out) = match mode {
        Mode::Combined(_) => (true, true),
        Mode::Sagas => (true, false),
        Mode::Effects => (false, true),
    };
    let operated = admin::Runner {
        sagas: decides.then(|| Sagas {
            application: application.clone(),
            snapshots: snapshots.clone(),
            broker: common.broker.clone(),
            operator: operator.clone(),
        }),
        schedules: decides.then(|| Schedules {
            application: application.clone(),
            snapshots: snapshots.clone(),
            operator: operator.clone(),
        }),
        effects: carries_out.then(|| Effects {
            snapshots: snapshots.clone(),
            broker: common.broker.clone(),
            operator: operator.clone(),
        }),
        dead_letters: DeadLetters { snapshots: snapshots.clone() },
        redrive: Redrive { snapshots: snapshots.clone(), operator },
        reloads: None,
    };
    let seed = seed(&store);
    let store_id = store.store_id().to_owned();
    let settings = common.settings.clone();
    let (partition, tenants) = (common.placed.partition(), common.placed.tenants());
    let narrows = common.placed.narrows();
    let config = move || {
        let app = Arc::clone(&application.borrow().app);
        let (sagas, schedules, effects) = of_mode(&app);
        runner::Config {
            sagas,
            natives: app.natives.clone(),
            effects,
            schedules,
            mode,
            partition,
            tenants: tenants.borrow().clone(),
            narrows,
            store_id: store_id.clone(),
            adopt: settings.is_on(Key::Adopt),
            gate_limits: settings.gate_limits(),
            outbox_limits: settings.outbox_limits(),
            effect_limits: settings.effect_limits(),
            schedule_limits: settings.schedule_limits(),
            parked_max: settings.number(Key::ParkedMax),
            keep_ms: settings.number(Key::KeepMs),
            gas_max: settings.number(Key::GasMax),
            seed,
            quirks: Quirks::NONE,
        }
    };
    let parts = Parts { name: "runner", store, commits: Commits::Journaled, config };
    let running =
        partition::start::<runner::Runner, _>(parts, (sender, receiver), edge).map_err(thread_error)?;
    common.placed.follow(running.reloads.clone(), common.settings.time(Key::DrainDeadlineMs));
    let reloads = common.read.clone().map(|read| Reloads {
        read,
        mode,
        current,
        connection: connection.clone(),
        secrets: common.secrets.clone(),
        partition: running.reloads.clone(),
        snapshots,
        deadline: common.settings.time(Key::DrainDeadlineMs),
    });
    let operated = admin::Runner { reloads: reloads.map(Reloader::new), ..operated };
    let admin = Admin { http: http::runner(operated.clone()), runner: Some(operated) };
    let services = (Router::new(), &[runner_admin_server::SERVICE_NAME][..]);
    Ok(finish(&common.settings, running, services, admin, info))
}

/// A channel to another node; it connects when it is first used, and again whenever it must.
pub(super) fn channel(url: &str) -> Result<Channel, CommandError> {
    let fault = |source| CommandError::Upstream { url: url.into(), source };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(fault)?;
    Ok(endpoint.connect_timeout(Duration::from_secs(3)).connect_lazy())
}

fn names<'n>(names: impl Iterator<Item = &'n cloudlysis_core::wire::id::Name>) -> Vec<&'n str> {
    names.map(|name| name.as_str()).collect()
}

/// What `/info` says about a process: its nodes say what they run now.
pub(super) fn info(app: &App, nodes: &[Node], settings: Value) -> Info {
    let application = app.name.clone();
    let nodes: BTreeMap<&str, Info> = nodes.iter().map(|node| (node.name, Arc::clone(&node.info))).collect();
    Arc::new(move || {
        let nodes: BTreeMap<&str, Value> = nodes.iter().map(|(name, info)| (*name, info())).collect();
        json!({
            "name": "cloudlysis",
            "version": env!("CARGO_PKG_VERSION"),
            "application": application,
            "nodes": nodes,
            "settings": settings,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_of_one_application_for_good() {
        let data = tempfile::tempdir().expect("a directory");
        let app = |name: &str| Name::parse(name).expect("a name");
        for _ in 0..2 {
            assert!(open(data.path(), "runner", &app("shop")).is_ok());
        }
        let refused = open(data.path(), "runner", &app("beacon")).map(drop);
        assert!(matches!(refused, Err(CommandError::AnotherApplication { .. })), "{refused:?}");
        assert!(open(data.path(), "aggregate", &app("shop")).is_ok());
    }
}
