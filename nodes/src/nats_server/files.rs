//! Files by which others find this process: its id, and its ports.
//!
//! Both are removed when the process ends in good order; the ports file appears whole or not at all.

use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where this process can be reached.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ports {
    /// By clients.
    pub clients: SocketAddr,
    /// Whether they must encrypt.
    pub encrypted: bool,
    /// By people and probes.
    pub monitoring: Option<SocketAddr>,
    /// By clients that speak WebSocket, and whether they must encrypt.
    pub websocket: Option<(SocketAddr, bool)>,
}

impl Ports {
    /// The ports file.
    fn json(&self) -> String {
        let urls = |scheme: &str, address: SocketAddr| vec![format!("{scheme}://{}", reachable(address))];
        let mut out = json!({ "nats": urls(if self.encrypted { "tls" } else { "nats" }, self.clients) });
        if let Some(address) = self.monitoring {
            out["monitoring"] = json!(urls("http", address));
        }
        if let Some((address, encrypted)) = self.websocket {
            out["websocket"] = json!(urls(if encrypted { "wss" } else { "ws" }, address));
        }
        out.to_string()
    }
}

/// Where somebody on this machine connects to a socket that listens there.
pub(super) fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Files that are there for as long as this value is.
#[derive(Debug, Default)]
pub struct Traces {
    written: Vec<PathBuf>,
}

impl Traces {
    /// Leaves the process's id.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn pid(&mut self, path: &Path) -> io::Result<()> {
        fs::write(path, std::process::id().to_string())?;
        self.written.push(path.to_owned());
        Ok(())
    }

    /// Leaves the process's ports in a directory, in a file named after the program and the process.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn ports(&mut self, directory: &Path, program: &str, ports: &Ports) -> io::Result<()> {
        let path = directory.join(format!("{program}_{}.ports", std::process::id()));
        let begun = path.with_extension("ports.begun");
        fs::write(&begun, ports.json())?;
        fs::rename(&begun, &path)?;
        self.written.push(path);
        Ok(())
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        for path in &self.written {
            // Somebody may have cleaned up before us.
            fs::remove_file(path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_there_as_long_as_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let ports = Ports {
            clients: address("0.0.0.0:1"),
            encrypted: true,
            monitoring: Some(address("127.0.0.1:2")),
            websocket: Some((address("[::]:3"), false)),
        };
        let mut traces = Traces::default();
        let pid = directory.path().join("pid");
        traces.pid(&pid).expect("written");
        traces.ports(directory.path(), "nats-server", &ports).expect("written");
        let id = std::process::id();
        assert_eq!(fs::read_to_string(&pid).ok(), Some(id.to_string()));
        let text =
            fs::read_to_string(directory.path().join(format!("nats-server_{id}.ports"))).expect("a file");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let expected = json!({
            "nats": ["tls://127.0.0.1:1"], "monitoring": ["http://127.0.0.1:2"], "websocket": ["ws://[::1]:3"],
        });
        assert_eq!(read, expected);
        drop(traces);
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }
}
