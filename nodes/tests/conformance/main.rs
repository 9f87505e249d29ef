//! Our server and a real `nats-server`, as processes, asked the same.
//!
//! | module | what it shows |
//! |---|---|
//! | [`archives`] | what one archives the other restores |
//! | [`killed`] | SIGKILL under load: nothing acknowledged is lost |
//! | [`differential`] | random scripts: thousands of operations, the same answers |
//! | [`recorded`] | the core protocol: what was recorded is still so, over TCP |
//! | [`servers`], [`client`] | the processes, and a client that hides nothing |

mod archives;
mod client;
mod differential;
mod killed;
mod recorded;
mod servers;

#[expect(dead_code, reason = "nobody kills the original here")]
#[path = "../../../io-nats/tests/nats_server/mod.rs"]
mod nats_server;

use differential::{Plan, Ports};
use servers::Ours;
use std::time::Duration;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test]
async fn random_scripts_have_the_same_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    let real = nats_server::NatsServer::start(nats_server::original(), dir.path()).await;
    let ours = Ours::start(dir.path()).await;
    let plan = Plan {
        seed: setting("CONFORMANCE_SEED", 1),
        within: Duration::from_secs(setting("CONFORMANCE_SECONDS", 45)),
        scripts: setting("CONFORMANCE_SCRIPTS", 150),
        differences_max: usize::try_from(setting("CONFORMANCE_DIFFERENCES", 1)).expect("a small number"),
    };
    let real_port = real.url().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let report = differential::run(Ports { ours: ours.port(), real: real_port }, plan).await;
    note(&format!(
        "{} scripts from seed {}, {} operations, {} fleeting differences, {} repeated ones",
        report.scripts, plan.seed, report.operations, report.fleeting, report.repeated
    ));
    assert!(report.differences.is_empty(), "{}", report.differences.join("\n"));
}

#[tokio::test]
async fn a_killed_broker_has_everything_it_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let times = setting("CONFORMANCE_KILLS", 8);
    let ledger = killed::lives(dir.path(), times).await;
    let (published, acked, again) = (ledger.published(), ledger.acked(), ledger.returned.len());
    note(&format!(
        "{times} kills, {published} publishes and {acked} acks acknowledged, {again} delivered again"
    ));
    assert!(published > 0 && acked > 0, "nothing was tried");
    // Acks are flushed a tenth of a second later, as the original does.
    assert!(again < acked / 4, "acks are forgotten");
}

#[tokio::test]
async fn what_was_recorded_is_still_so() {
    let (differences, scripts) = recorded::differences().await;
    assert!(scripts > 150, "{scripts} scripts");
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Figures of a run: shown with a failure, or with `--nocapture`.
#[expect(clippy::print_stderr, reason = "the test harness decides whether it is shown")]
fn note(line: &str) {
    eprintln!("{line}");
}
