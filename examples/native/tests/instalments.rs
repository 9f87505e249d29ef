//! A binary with programs of its own, as a process: it runs what its manifests name, over a kill.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(60);

/// `dev` of this example, killed when it goes out of scope.
struct Dev {
    process: Child,
    url: String,
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn dev(data: &Path) -> Dev {
    let mut process = Command::new(env!("CARGO_BIN_EXE_native-saga"))
        .args(["dev", env!("CARGO_MANIFEST_DIR"), "--listen", "127.0.0.1:0", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
    let url =
        lines.map_while(Result::ok).find_map(|line| Some(line.split_once("gateway")?.1.trim().to_owned()));
    let url = url.expect("it says where its gateway is");
    Dev { process, url }
}

async fn eventually(what: &str, url: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let until = Instant::now() + SOON;
    loop {
        let last = match reqwest::get(url).await {
            Ok(answer) => answer.json().await.unwrap_or_default(),
            Err(error) => json!(error.to_string()),
        };
        if holds(&last) {
            return last;
        }
        assert!(Instant::now() < until, "{what}: {last}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn an_order_is_paid_in_instalments_by_native_programs() {
    cloudlysis_io_nats::install_tls_provider();
    let data = tempfile::tempdir().expect("a directory");
    let first = dev(data.path());
    eventually("ready", &format!("{}/ready", first.url), |body| {
        body["ready"] == true || body["status"] == "ready"
    })
    .await;
    let placed = reqwest::Client::new()
        .post(format!("{}/v1/commands/order/o-1", first.url))
        .body(json!({ "command": "place", "payload": { "cents": 900 } }).to_string())
        .send()
        .await
        .expect("an answer");
    assert!(placed.status().is_success(), "{placed:?}");
    drop(first);
    let second = dev(data.path());
    let url = format!("{}/admin/runner/sagas/fulfil/o-1", second.url);
    let saga = eventually("paid", &url, |saga| saga["status"] == "completed").await;
    assert_eq!(saga["state"]["left"], 0, "{saga}");
    assert_eq!(
        saga["state"]["paid"].as_array().map(Vec::len),
        Some(3),
        "900 cents, at most 400 at once: {saga}"
    );
}
