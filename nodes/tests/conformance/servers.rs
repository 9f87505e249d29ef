//! Our server as a process.

use crate::nats_server::patience::eventually;
use crate::nats_server::process::Process;
use std::path::Path;
use std::time::Duration;

/// A broker is there at once; a machine under load is not.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// `cloudlysis serve broker`, on a port the system chose.
#[derive(Debug)]
pub(crate) struct Ours {
    process: Process,
    port: u16,
}

impl Ours {
    /// Starts one that keeps everything below `dir`.
    pub(crate) async fn start(dir: &Path) -> Self {
        Self::start_at(dir, "127.0.0.1:0", "120s").await
    }

    /// Kills it, and starts another on the same files and the same port that syncs when it is told.
    pub(crate) async fn kill_and_restart(&mut self, dir: &Path, sync: &str) {
        self.process.signal("KILL");
        self.process.exit(READY_WITHIN).await;
        *self = Self::start_at(dir, &format!("127.0.0.1:{}", self.port), sync).await;
    }

    async fn start_at(dir: &Path, listen: &str, sync: &str) -> Self {
        let data = dir.join("ours");
        let data = data.to_str().expect("a path that is text");
        let arguments = ["serve", "broker", "--listen", listen, "--sync", sync, "--data", data];
        let program = Path::new(env!("CARGO_BIN_EXE_cloudlysis"));
        let mut process = Process::start("ours", program, &arguments, dir);
        let port = eventually("our broker listens", READY_WITHIN, async || {
            let out = process.out();
            let port =
                out.lines().find_map(|line| line.split_once("nats://127.0.0.1:")?.1.trim().parse().ok());
            match (port, process.ended()) {
                (Some(port), None) => Ok(port),
                (_, Some(status)) => panic!("it ended: {status}\n{}", process.log()),
                (None, None) => Err(out),
            }
        })
        .await;
        Self { process, port }
    }

    /// Where clients connect.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}
