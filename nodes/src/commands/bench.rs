//! `cloudlysis bench`.

use super::{CommandError, say};
use crate::bench::broker::{self, Plan};
use crate::cli::Bench;
use std::time::Duration;

pub(super) async fn run(what: Bench) -> Result<(), CommandError> {
    let arguments = match what {
        Bench::Broker(arguments) => arguments,
        Bench::Saga(arguments) => return super::bench_saga::run(arguments).await,
    };
    let plan = Plan {
        nats_server: arguments.nats_server,
        time: Duration::from_millis(arguments.time_ms),
        rounds: arguments.rounds.max(1),
        messages: arguments.messages,
        subjects: arguments.subjects.max(1),
        only: arguments.only,
    };
    let rows = broker::run(&plan, &progress).await?;
    if arguments.json {
        say(&serde_json::to_string_pretty(&rows).expect("figures are JSON"));
    } else {
        say(&broker::text(&rows));
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "how far it is; the figures go to standard output")]
fn progress(what: &str) {
    eprintln!("measuring: {what}");
}
