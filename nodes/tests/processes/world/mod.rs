//! A broker, the shop's services and a folder for everybody's files; nodes are started in it as a test likes.

mod node;
mod services;
pub(crate) mod shop;

#[path = "../../../../io-nats/tests/nats_server/mod.rs"]
mod nats_server;

pub(crate) use nats_server::patience::eventually;
pub(crate) use nats_server::process::Process;
pub(crate) use nats_server::{NatsServer, original};
pub(crate) use node::{Node, cloudlysis};
pub(crate) use services::Services;

use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// What takes milliseconds, on a machine that does much else.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// What takes seconds.
pub(crate) const LATER: Duration = Duration::from_secs(90);

/// Everything around the nodes. Dropped in this order: processes first, then their files.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) services: Services,
    dir: TempDir,
}

impl World {
    /// With this program as its broker.
    pub(crate) async fn on(broker: &Path) -> Self {
        cloudlysis_io_nats::install_tls_provider();
        let dir = tempfile::tempdir().expect("a directory");
        let services = Services::start(dir.path()).await;
        let nats = NatsServer::start(broker, dir.path()).await;
        Self { nats, services, dir }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A place for a process's state.
    pub(crate) fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Every node in one process, ready.
    pub(crate) async fn dev(&self, data: &str) -> Node {
        let mut node = self.start_dev(data, &[]).await;
        node.ready().await;
        node
    }

    /// Every node in one process, listening.
    pub(crate) async fn start_dev(&self, data: &str, further: &[&str]) -> Node {
        let data = self.data(data);
        let data = data.to_str().expect("a path that is text");
        let mut arguments = vec!["dev", SHOP, "--data", data, "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        self.start("dev", &arguments).await
    }

    /// A node as a process of its own, listening.
    pub(crate) async fn serve(&self, kind: &str, data: &str, further: &[&str]) -> Node {
        let data = self.data(data);
        let data = data.to_str().expect("a path that is text");
        let mut arguments = vec!["serve", kind, SHOP, "--data", data, "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        self.start(kind, &arguments).await
    }

    async fn start(&self, name: &str, arguments: &[&str]) -> Node {
        Node::start(name, &self.with_surroundings(arguments), self.dir()).await
    }

    /// The arguments, completed by where broker and services are.
    pub(crate) fn with_surroundings(&self, arguments: &[&str]) -> Vec<String> {
        let services = &self.services.url;
        let host = services.trim_start_matches("http://");
        let mut arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        for (flag, value) in [
            ("--broker", self.nats.url()),
            ("--var", format!("services={services}")),
            ("--var", format!("services_host={host}")),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments
    }

    /// A connection of the test's own to the broker.
    pub(crate) async fn broker(&self) -> Broker {
        let options = Options { url: self.nats.url(), name: "test".into(), fail_fast: true, seed: 0 };
        Broker::new(Connection::open(&options).await.expect("the broker is there"))
    }
}

/// The application under test.
pub(crate) const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop");

/// Figures of a run: shown with a failure, or with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the test harness decides whether it is shown")]
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}
