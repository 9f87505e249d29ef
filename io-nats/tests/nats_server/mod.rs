//! A `nats-server`, the original or one that takes its place: its own process, its own store directory, a port the system chose.

pub(crate) mod patience;
pub(crate) mod process;

use patience::eventually;
use process::Process;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

/// The server prints this when clients may come.
const READY: &str = "Server is ready";
/// Installing is far quicker; a machine under load is not.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// What else a server is told, if there is such a file in its directory.
const CONFIGURATION: &str = "nats-server.conf";

/// A server with JetStream, restarted on the same store and port as often as a test likes.
#[derive(Debug)]
pub(crate) struct NatsServer {
    process: Process,
    program: PathBuf,
    port: u16,
    dir: PathBuf,
}

impl NatsServer {
    /// Starts one that keeps everything in `dir`: [`original`], or what takes the same flags. A file [`CONFIGURATION`] in
    /// it is read.
    pub(crate) async fn start(program: &Path, dir: &Path) -> Self {
        let mut process = launch(program, dir, "-1");
        ready(&mut process).await.unwrap_or_else(|why| panic!("{why}"));
        let ports = dir.join(format!("{}_{}.ports", name(program), process.pid()));
        let port = eventually("the server names its port", READY_WITHIN, async || {
            let text = std::fs::read_to_string(&ports).map_err(|error| error.to_string())?;
            let ports: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
            let url = ports["nats"][0].as_str().ok_or_else(|| ports.to_string())?;
            let port = url.rsplit(':').next().and_then(|port| port.parse().ok());
            port.ok_or_else(|| url.to_owned())
        })
        .await;
        Self { process, program: program.to_owned(), port, dir: dir.to_owned() }
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again, on the same store and port; one that still runs is stopped in good order first.
    pub(crate) async fn restart(&mut self) {
        let port = self.port.to_string();
        if self.process.ended().is_none() {
            self.process.signal("TERM");
            self.process.exit(READY_WITHIN).await;
        }
        // Somebody else may hold the port for a moment.
        self.process = eventually("the server is back", READY_WITHIN, async || {
            let mut process = launch(&self.program, &self.dir, &port);
            ready(&mut process).await.map(|()| process)
        })
        .await;
    }
}

fn launch(program: &Path, dir: &Path, port: &str) -> Process {
    let path = dir.to_str().expect("a path that is text");
    let mut arguments = vec!["-js", "-sd", path, "-a", "127.0.0.1", "-p", port, "--ports_file_dir", path];
    let configuration = dir.join(CONFIGURATION);
    if configuration.exists() {
        arguments.extend(["-c", configuration.to_str().expect("a path that is text")]);
    }
    Process::start(name(program), program, &arguments, dir)
}

fn name(program: &Path) -> &str {
    program.file_name().and_then(|name| name.to_str()).expect("a name that is text")
}

/// Waits until clients may come, or the process has ended.
async fn ready(process: &mut Process) -> Result<(), String> {
    eventually("the server is ready", READY_WITHIN, async || {
        if process.log().contains(READY) {
            return Ok(Ok(()));
        }
        match process.ended() {
            Some(status) => Ok(Err(format!("nats-server ended: {status}\n{}", process.log()))),
            None => Err(process.log()),
        }
    })
    .await
}

/// The pinned server, installed by the script that also serves CI.
pub(crate) fn original() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.ci/nats-server");
        let printed = Command::new(&script).output().expect(".ci/nats-server runs");
        let errors = String::from_utf8_lossy(&printed.stderr);
        assert!(printed.status.success(), "{} failed: {errors}", script.display());
        PathBuf::from(String::from_utf8_lossy(&printed.stdout).trim())
    })
}
