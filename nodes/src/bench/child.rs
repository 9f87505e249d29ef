//! A server under measurement: a process of its own, with a directory of its own, on a port the system chose.

use super::broker::BenchError;
use crate::broker::options::SyncPolicy;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A server starts in milliseconds; a machine under load takes longer.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// Which server.
#[derive(Clone, Debug)]
pub(super) enum Program {
    /// This executable.
    Ours,
    /// A real `nats-server`.
    NatsServer(PathBuf),
}

/// A running server. It is killed, and its directory removed, with this value.
pub(super) struct Server {
    child: Child,
    url: String,
    _dir: TempDir,
}

impl Server {
    pub(super) async fn start(program: &Program, sync: SyncPolicy) -> Result<Self, BenchError> {
        let dir = tempfile::tempdir().map_err(BenchError::system("a directory"))?;
        let mut command = match program {
            Program::Ours => ours(dir.path(), sync)?,
            Program::NatsServer(path) => theirs(path, dir.path(), sync)?,
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().map_err(BenchError::system("a server"))?;
        let address = tokio::time::timeout(READY_WITHIN, address(&mut child)).await;
        let address = address.ok().flatten().ok_or_else(|| BenchError::NotReady(format!("{program:?}")))?;
        Ok(Self { child, url: format!("nats://{address}"), _dir: dir })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Memory that is its own and in RAM, in bytes: without pages of files that the system keeps anyway.
    pub(super) fn memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
        let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(kib * 1024)
    }
}

fn ours(dir: &Path, sync: SyncPolicy) -> Result<Command, BenchError> {
    let mut command =
        Command::new(std::env::current_exe().map_err(BenchError::system("this executable's path"))?);
    let sync = match sync {
        SyncPolicy::Always => "always".to_owned(),
        SyncPolicy::Every(every) => format!("{}s", every.as_secs()),
    };
    command.args(["serve", "broker", "--listen", "127.0.0.1:0", "--sync", &sync, "--data"]).arg(dir);
    Ok(command)
}

fn theirs(path: &Path, dir: &Path, sync: SyncPolicy) -> Result<Command, BenchError> {
    let sync = match sync {
        SyncPolicy::Always => "always".to_owned(),
        SyncPolicy::Every(every) => format!("\"{}s\"", every.as_secs()),
    };
    let config = dir.join("server.conf");
    let text = format!(
        "listen: \"127.0.0.1:-1\"\njetstream {{ store_dir: {:?}, sync_interval: {sync} }}\n",
        dir.display().to_string()
    );
    std::fs::write(&config, text).map_err(BenchError::system("a configuration"))?;
    let mut command = Command::new(path);
    command.arg("-c").arg(config);
    Ok(command)
}

/// Reads what a server says until it names its address; what it says later is read and dropped.
async fn address(child: &mut Child) -> Option<String> {
    let (out, log) = (child.stdout.take()?, child.stderr.take()?);
    let (mut out, mut log) = (BufReader::new(out).lines(), BufReader::new(log).lines());
    let found = loop {
        let line = tokio::select! {
            Ok(Some(line)) = out.next_line() => line,
            Ok(Some(line)) = log.next_line() => line,
            else => return None,
        };
        let ours = line.split_once("nats://").map(|(_, address)| address);
        let theirs = line.split_once("Listening for client connections on ").map(|(_, address)| address);
        if let Some(address) = ours.or(theirs) {
            break address.trim().to_owned();
        }
    };
    tokio::spawn(async move {
        loop {
            tokio::select! {
                Ok(Some(_)) = out.next_line() => {}
                Ok(Some(_)) = log.next_line() => {}
                else => return,
            }
        }
    });
    // The real one listens before it is ready.
    tokio::time::sleep(Duration::from_millis(200)).await;
    Some(found)
}
