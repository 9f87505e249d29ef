//! Servers for the tests of async-nats: the crate of this name that its package leaves out.
//!
//! Each test starts its servers by these functions. The executable is the one `NATS_SERVER` names, told by the flags of
//! the original: that is the whole point.
//!
//! - Limits: one server per [`Server`]; a server that is not listening after [`LISTENING_WITHIN`] fails its test.
//! - Never: clusters of more than one process; three servers that do not know each other stand in for them, and the tests
//!   that would notice are on the list of those that do not apply.

use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

/// How long a server may take until clients can connect.
const LISTENING_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);
/// What stands before the address in the log.
const LISTENING: &str = "client connections on ";

/// A server of one process. It is killed, and its files are removed, with this value.
#[derive(Debug)]
pub struct Server {
    child: Child,
    config: String,
    port: String,
    dir: PathBuf,
}

/// Several servers.
#[derive(Debug)]
pub struct Cluster {
    /// Each of them.
    pub servers: Vec<Server>,
}

impl Cluster {
    /// Where the first one listens.
    #[must_use]
    pub fn client_url(&self) -> String {
        self.servers[0].client_url()
    }
}

/// Starts a server without a configuration.
#[must_use]
pub fn run_basic_server() -> Server {
    run_server("")
}

/// Starts a server with a configuration, on any free port.
#[must_use]
pub fn run_server(config: &str) -> Server {
    run_server_with_port(config, None)
}

/// Starts a server with a configuration, on this port.
#[must_use]
pub fn run_server_with_port(config: &str, port: Option<&str>) -> Server {
    static STARTED: AtomicU32 = AtomicU32::new(0);
    let number = STARTED.fetch_add(1, Ordering::Relaxed);
    let dir = env::temp_dir().join(format!("async-nats-{}-{number}", std::process::id()));
    // A test that was killed leaves its directory, and process ids come again.
    fs::remove_dir_all(&dir).ok();
    fs::create_dir_all(&dir).expect("a directory");
    let port = port.unwrap_or("-1").to_owned();
    let child = launch(&dir, config, &port);
    Server { child, config: config.to_owned(), port, dir }
}

/// Starts three servers.
#[must_use]
pub fn run_cluster(config: &str) -> Cluster {
    Cluster { servers: (0..3).map(|_| run_server(config)).collect() }
}

/// Tells a server to send its clients away and leave.
pub fn set_lame_duck_mode(server: &Server) {
    let pid = fs::read_to_string(server.dir.join("pid")).expect("the server wrote its id down");
    let signal = format!("ldm={}", pid.trim());
    let sent = Command::new(executable()).args(["--signal", &signal]).status();
    assert!(sent.is_ok_and(|status| status.success()), "the server takes no signal");
}

fn executable() -> impl AsRef<OsStr> {
    env::var_os("NATS_SERVER").expect("NATS_SERVER names the server under test")
}

fn launch(dir: &Path, config: &str, port: &str) -> Child {
    let mut command = Command::new(executable());
    command.arg("--store_dir").arg(dir.join("store")).args(["-p", port]);
    command.arg("-l").arg(dir.join("log")).arg("-P").arg(dir.join("pid"));
    if !config.is_empty() {
        command.args(["-c", config]);
    }
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
    child.unwrap_or_else(|error| panic!("the server under test does not start: {error}"))
}

impl Server {
    /// Kills it and starts it again, on the same store.
    pub fn restart(&mut self) {
        self.kill();
        fs::remove_file(self.dir.join("log")).ok();
        self.child = launch(&self.dir, &self.config, &self.port);
    }

    /// Where clients connect.
    #[must_use]
    pub fn client_url(&self) -> String {
        let info = self.info();
        let scheme = if info["tls_required"] == true { "tls" } else { "nats" };
        format!("{scheme}://localhost:{}", port(&info))
    }

    /// Where clients connect: the port.
    #[must_use]
    pub fn client_port(&self) -> u16 {
        port(&self.info())
    }

    fn kill(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// What it says first to a client.
    fn info(&self) -> Value {
        let stream = TcpStream::connect(self.address()).expect("the server listens");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("the server says something");
        let info = line.strip_prefix("INFO").unwrap_or_else(|| panic!("expected INFO: {line:?}"));
        serde_json::from_str(info).expect("INFO is JSON")
    }

    /// Where its log says that it listens.
    fn address(&self) -> String {
        let (log, started) = (self.dir.join("log"), Instant::now());
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let said = text.lines().find_map(|line| Some(line.split_once(LISTENING)?.1.trim().to_owned()));
            match said {
                Some(address) => return address.replace("0.0.0.0", "127.0.0.1"),
                None => assert!(started.elapsed() < LISTENING_WITHIN, "the server does not listen: {text}"),
            }
            thread::sleep(PAUSE);
        }
    }
}

fn port(info: &Value) -> u16 {
    info["port"].as_u64().and_then(|port| port.try_into().ok()).expect("INFO has the port")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        fs::remove_dir_all(&self.dir).ok();
    }
}
