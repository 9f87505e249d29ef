//! `cloudlysis schedule`: schedules of a running node, over its `/admin`.

use super::ask::{Address, ask};
use super::{CommandError, say};
use crate::cli::{NodeArguments, Schedule};
use reqwest::Method;
use serde_json::Value;

pub(super) async fn run(what: Schedule) -> Result<(), CommandError> {
    match what {
        Schedule::Ls { node } => list(&node).await,
        Schedule::Show { node, schedule } => {
            let path = ["admin", "runner", "schedules", &schedule];
            let address = Address { path: &path, query: &[] };
            let shown = ask(&node, Method::GET, &address, |request| request).await?;
            say(&if node.json {
                shown.to_string()
            } else {
                serde_json::to_string_pretty(&shown).unwrap_or_default()
            });
            Ok(())
        }
    }
}

async fn list(node: &NodeArguments) -> Result<(), CommandError> {
    let mut after: Option<String> = None;
    loop {
        let query: Vec<(&str, String)> = after.map(|after| ("after", after)).into_iter().collect();
        let path = ["admin", "runner", "schedules"];
        let page = ask(node, Method::GET, &Address { path: &path, query: &query }, |request| request).await?;
        for schedule in page["schedules"].as_array().into_iter().flatten() {
            say(&if node.json { schedule.to_string() } else { line(schedule) });
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// A schedule on one line.
fn line(schedule: &Value) -> String {
    let text = |field: &str| schedule[field].as_str().unwrap_or_default().to_owned();
    let tenant = Some(text("tenant_id")).filter(|tenant| !tenant.is_empty()).unwrap_or_else(|| "_".into());
    let count = |what: &str| schedule["counts"][what].as_u64().unwrap_or_default();
    let counts = ["fired", "missed", "skipped", "failed"].map(|what| format!("{what} {}", count(what)));
    format!(
        "{tenant:<16} {:<24} {:<32} next {:<26} {}",
        text("schedule"),
        text("when"),
        schedule["next_at"].as_str().unwrap_or("never"),
        counts.join(" · ")
    )
}
