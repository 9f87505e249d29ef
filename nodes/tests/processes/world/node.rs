//! The `cloudlysis` binary as a process.

use super::shop::{Address, Shop};
use super::{Process, SOON, World, eventually};
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::connect::{Connection, Options};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// Starts the binary with these arguments.
pub(crate) fn cloudlysis(name: &str, arguments: &[String], dir: &Path) -> Process {
    cloudlysis_in(&[], name, arguments, dir)
}

/// The same in this environment, beside what it inherits: `NAME=value`.
pub(crate) fn cloudlysis_in(environment: &[String], name: &str, arguments: &[String], dir: &Path) -> Process {
    let program = [env!("CARGO_BIN_EXE_cloudlysis").to_owned()];
    // `env` becomes the program: its process is the program's.
    let words: Vec<&str> = environment.iter().chain(&program).chain(arguments).map(String::as_str).collect();
    Process::start(name, Path::new("env"), &words, dir)
}

/// The address a process announced on standard output.
pub(super) async fn announced(process: &mut Process) -> String {
    eventually("a process says where it listens", SOON * 3, async || {
        let out = process.out();
        let url =
            out.lines().find_map(|line| line.split_whitespace().find(|word| word.starts_with("http://")));
        match (url, process.ended()) {
            (Some(url), None) => Ok(url.to_owned()),
            (_, Some(status)) => panic!("it ended: {status}\n{}", process.log()),
            (None, None) => Err(out),
        }
    })
    .await
}

/// A connection of the test's own.
pub(super) async fn connected(url: String) -> Broker {
    let options =
        Options { url: url.into(), credentials: None, name: "test".into(), fail_fast: true, seed: 0 };
    Broker::new(Connection::open(&options).await.expect("the broker is there"))
}

/// A process with nodes in it that listens, and how to start it again.
#[derive(Debug)]
pub(crate) struct Node {
    process: Process,
    address: Address,
    name: String,
    environment: Vec<String>,
    arguments: Vec<String>,
    dir: std::path::PathBuf,
}

impl Node {
    pub(super) async fn start(name: &str, arguments: &[String], dir: &Path) -> Self {
        Self::start_in(&[], name, arguments, dir).await
    }

    /// The same in this environment, beside what it inherits.
    pub(super) async fn start_in(
        environment: &[String],
        name: &str,
        arguments: &[String],
        dir: &Path,
    ) -> Self {
        let mut process = cloudlysis_in(environment, name, arguments, dir);
        let address = Address::new(announced(&mut process).await);
        let (name, environment, arguments) = (name.to_owned(), environment.to_vec(), arguments.to_vec());
        Self { process, address, name, environment, arguments, dir: dir.to_owned() }
    }

    /// Starts it again with the same arguments after it ended. Clients find its new address.
    pub(crate) async fn restart(&mut self) {
        assert!(self.process.ended().is_some(), "{} is still running", self.name);
        self.process = cloudlysis_in(&self.environment, &self.name, &self.arguments, &self.dir);
        self.address.set(announced(&mut self.process).await);
    }

    /// From now on it is started where it listens now: others know it by this address.
    pub(crate) fn stay(&mut self) {
        let address = self.address.get().trim_start_matches("http://").to_owned();
        let listen = self.arguments.iter().position(|own| own == "--listen").expect("it listens");
        self.arguments[listen + 1] = address;
    }

    /// A client of what it serves; it follows restarts.
    /// `cloudlysis COMMAND …` about what is acme's on this node: exit code, and what it said.
    pub(crate) async fn of_acme(
        &self,
        world: &World,
        command: &str,
        arguments: &[&str],
    ) -> (Option<i32>, String) {
        let url = self.url();
        let about = ["--node", &url, "--tenant", "acme"];
        let arguments: Vec<String> =
            [&[command][..], arguments, &about].concat().iter().map(|own| (*own).to_owned()).collect();
        let mut process = cloudlysis(command, &arguments, world.dir());
        let code = process.exit(SOON).await.code();
        (code, process.out() + &process.log())
    }

    pub(crate) fn shop(&self) -> Shop {
        Shop::at(self.address.clone())
    }

    pub(crate) fn url(&self) -> String {
        self.address.get()
    }

    /// Where its broker is, as `dev` announces it.
    pub(crate) fn broker_url(&self) -> String {
        let out = self.out();
        let url =
            out.lines().find_map(|line| line.split_whitespace().find(|word| word.starts_with("nats://")));
        url.unwrap_or_else(|| panic!("no broker is named: {out}")).to_owned()
    }

    /// A connection of the test's own to its broker.
    pub(crate) async fn broker(&self) -> Broker {
        connected(self.broker_url()).await
    }

    /// Waits until `/ready` says so.
    pub(crate) async fn ready(&mut self) {
        let shop = self.shop();
        eventually("the node is ready", SOON, async || {
            if let Some(status) = self.process.ended() {
                panic!("it ended: {status}\n{}", self.process.log());
            }
            let (status, body) = shop.get("/ready").await?;
            if status == 200 { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
    }

    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    pub(crate) fn out(&self) -> String {
        self.process.out()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        self.process.signal("TERM");
    }

    pub(crate) async fn exit(&mut self, within: Duration) -> ExitStatus {
        self.process.exit(within).await
    }

    /// Processor time it has used.
    pub(crate) fn cpu(&self) -> Duration {
        // The unit is fixed for user space, whatever the kernel's own tick is.
        const TICK: Duration = Duration::from_millis(10);
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))
            .expect("Linux says what a process uses");
        // The name, in parentheses, may contain anything; the numbers follow it.
        let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
        let ticks: u32 =
            fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
        TICK * ticks
    }
}
