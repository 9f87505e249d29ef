//! The shop's services, as a process.

use super::{Process, SOON, eventually, node::announced};
use serde_json::Value;
use shop_services::Operation;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Payments, shipping and mail.
#[derive(Debug)]
pub(crate) struct Services {
    pub(crate) url: String,
    client: reqwest::Client,
    process: Process,
}

impl Services {
    pub(super) async fn start(dir: &Path) -> Self {
        let mut process = Process::start("shop-services", binary(), &["--listen", "127.0.0.1:0"], dir);
        let url = announced(&mut process).await;
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        Self { url, client, process }
    }

    /// They answer nothing until they resume.
    pub(crate) fn pause(&self) {
        self.process.signal("STOP");
    }

    pub(crate) fn resume(&self) {
        self.process.signal("CONT");
    }

    /// Every operation they were ever asked for.
    pub(crate) async fn operations(&self) -> Vec<Operation> {
        let url = format!("{}/ledger", self.url);
        let ledger: Value = eventually("the services show their ledger", SOON, async || {
            let response = self.client.get(&url).send().await.map_err(|error| error.to_string())?;
            response.json().await.map_err(|error| error.to_string())
        })
        .await;
        serde_json::from_value(ledger["operations"].clone()).expect("operations")
    }
}

/// Cargo hands a test the binaries of its own package only: this one is built on the spot, and found beside ours.
fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        let own = Path::new(env!("CARGO_BIN_EXE_cloudlysis"));
        let beside = own.parent().expect("a folder of binaries");
        let target = beside.parent().expect("a target folder");
        let mut build = Command::new(env!("CARGO"));
        // With the features of the whole workspace: what the tests are built of is not built again.
        build.args(["build", "--quiet", "--workspace", "--bin", "shop-services"]);
        build.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        if !cfg!(debug_assertions) {
            build.arg("--release");
        }
        let built = build.output().expect("cargo runs");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        beside.join("shop-services")
    })
}
