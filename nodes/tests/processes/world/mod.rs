//! A broker, the shop's services and a folder for everybody's files; nodes are started in it as a test likes.

pub(crate) mod fleet;
mod link;
mod node;
mod services;
pub(crate) mod shop;

#[path = "../../../../io-nats/tests/nats_server/mod.rs"]
mod nats_server;

pub(crate) use fleet::Fleet;
pub(crate) use link::{Link, Lost};
pub(crate) use nats_server::patience::eventually;
pub(crate) use nats_server::process::Process;
pub(crate) use nats_server::{NatsServer, original};
pub(crate) use node::{Node, cloudlysis, cloudlysis_in};
pub(crate) use services::Services;

use cloudlysis_io_nats::broker::Broker;
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
    /// Without one, `dev` has one of its own.
    broker: Option<NatsServer>,
    /// What the broker runs.
    program: Option<PathBuf>,
    /// What nodes connect to instead of the broker itself.
    link: Option<Link>,
    pub(crate) services: Services,
    dir: TempDir,
}

impl World {
    /// With this program as its broker.
    pub(crate) async fn on(broker: &Path) -> Self {
        let mut world = Self::without_broker().await;
        world.broker = Some(NatsServer::start(broker, world.dir()).await);
        world.program = Some(broker.to_owned());
        world
    }

    /// With what `dev` brings along.
    pub(crate) async fn without_broker() -> Self {
        cloudlysis_io_nats::install_tls_provider();
        let dir = tempfile::tempdir().expect("a directory");
        let services = Services::start(dir.path()).await;
        Self { broker: None, program: None, link: None, services, dir }
    }

    /// Where the broker listens.
    pub(crate) fn broker_url(&self) -> String {
        self.broker.as_ref().expect("a broker of its own").url()
    }

    /// The broker's process.
    pub(crate) fn broker_process(&mut self) -> &mut NatsServer {
        self.broker.as_mut().expect("a broker of its own")
    }

    /// Whatever broker is left writes nothing more.
    pub(crate) fn stop_broker(&mut self) {
        if let Some(broker) = &mut self.broker {
            broker.kill();
        }
    }

    /// Another server of the broker's kind, that lets in whom this configuration names.
    pub(crate) async fn guarded(&self, authorization: &str) -> NatsServer {
        let dir = self.data("guarded");
        std::fs::create_dir_all(&dir).expect("created");
        std::fs::write(dir.join("nats-server.conf"), authorization).expect("written");
        NatsServer::start(self.program.as_ref().expect("a broker of its own"), &dir).await
    }

    /// From now on, nodes that start reach the broker over a link that can lose what passes.
    pub(crate) async fn link(&mut self) {
        let broker = self.broker_url();
        self.link = Some(Link::to(broker.trim_start_matches("nats://").to_owned()).await);
    }

    /// The link.
    pub(crate) fn link_to_broker(&self) -> &Link {
        self.link.as_ref().expect("a link")
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

    /// The shop, with more manifests.
    pub(crate) fn application_with(&self, more: &[(&str, &str)]) -> PathBuf {
        let folder = self.data("application");
        std::fs::create_dir_all(&folder).expect("created");
        copy_folder(Path::new(SHOP), &folder);
        for (name, text) in more {
            std::fs::write(folder.join(name), text).expect("written");
        }
        folder
    }

    /// Every node of an application in one process, ready.
    pub(crate) async fn dev_of(&self, application: &Path, data: &str) -> Node {
        let data = self.data(data);
        let paths = [application, &data].map(|path| path.to_str().expect("a path that is text"));
        let arguments = ["dev", paths[0], "--data", paths[1], "--listen", "127.0.0.1:0"];
        let mut node = self.start("dev", &arguments).await;
        node.ready().await;
        node
    }

    /// Every node in one process, listening.
    pub(crate) async fn start_dev(&self, data: &str, further: &[&str]) -> Node {
        self.start_dev_of(SHOP, data, further).await
    }

    /// The same of another application.
    pub(crate) async fn start_dev_of(&self, app: &str, data: &str, further: &[&str]) -> Node {
        let data = self.data(data);
        let data = data.to_str().expect("a path that is text");
        let mut arguments = vec!["dev", app, "--data", data, "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        self.start("dev", &arguments).await
    }

    /// The same in an environment of its own: `NAME=value`.
    #[cfg(feature = "otlp")]
    pub(crate) async fn start_dev_in(&self, environment: &[String], app: &str, further: &[&str]) -> Node {
        let data = self.data("data");
        let data = data.to_str().expect("a path that is text");
        let mut arguments = vec!["dev", app, "--data", data, "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        Node::start_in(environment, "dev", &self.with_surroundings(&arguments), self.dir()).await
    }

    /// A gateway as a process of its own, listening: it has no state and talks to no broker.
    pub(crate) async fn serve_gateway(&self, further: &[&str]) -> Node {
        let mut arguments = vec!["serve", "gateway", SHOP, "--listen", "127.0.0.1:0"];
        arguments.extend(further);
        let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).chain(self.vars()).collect();
        Node::start("gateway", &arguments, self.dir()).await
    }

    /// Any other node as a process of its own, listening.
    pub(crate) async fn serve(&self, kind: &str, data: &str, further: &[&str]) -> Node {
        self.serve_of(SHOP, kind, data, further).await
    }

    /// The same of another application.
    pub(crate) async fn serve_of(&self, app: &str, kind: &str, data: &str, further: &[&str]) -> Node {
        let data = self.data(data);
        let data = data.to_str().expect("a path that is text");
        let mut arguments = vec!["serve", kind, app, "--data", data];
        if !further.contains(&"--listen") {
            arguments.extend(["--listen", "127.0.0.1:0"]);
        }
        arguments.extend(further);
        self.start(kind, &arguments).await
    }

    async fn start(&self, name: &str, arguments: &[&str]) -> Node {
        Node::start(name, &self.with_surroundings(arguments), self.dir()).await
    }

    /// The arguments, completed by where broker and services are.
    pub(crate) fn with_surroundings(&self, arguments: &[&str]) -> Vec<String> {
        let url = self.link.as_ref().map(|link| link.url.clone());
        let broker = match url.or_else(|| self.broker.as_ref().map(NatsServer::url)) {
            Some(url) => ["--broker".to_owned(), url],
            None => ["--broker-listen".to_owned(), "127.0.0.1:0".to_owned()],
        };
        // An application without effects uses no variable, and one that nothing uses is refused.
        let has_effects = arguments.iter().any(|argument| Path::new(argument).join("effects").is_dir());
        let vars = has_effects.then(|| self.vars()).into_iter().flatten();
        arguments.iter().map(|argument| (*argument).to_owned()).chain(broker).chain(vars).collect()
    }

    fn vars(&self) -> impl Iterator<Item = String> + use<> {
        let services = &self.services.url;
        let host = services.trim_start_matches("http://");
        let vars = [format!("services={services}"), format!("services_host={host}")];
        vars.into_iter().flat_map(|var| ["--var".to_owned(), var])
    }

    /// A connection of the test's own to the broker.
    pub(crate) async fn broker(&self) -> Broker {
        node::connected(self.broker_url()).await
    }
}

/// Copies a folder and everything in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            std::fs::create_dir_all(&target).expect("created");
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

/// The application under test.
pub(crate) const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/shop");

/// Figures of a run: shown with a failure, or with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the test harness decides whether it is shown")]
pub(crate) fn note(line: &str) {
    eprintln!("{line}");
}
