//! `cloudlysis schedule`: schedules of a running node, over its `/admin`.

use super::ask::{Address, ask};
use super::{CommandError, say};
use crate::cli::{Because, NodeArguments, Schedule};
use reqwest::Method;
use serde_json::{Value, json};

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
        Schedule::Pause { node, schedule, because } => {
            let body = Some(json!({ "reason": because.reason }));
            operate(&node, &schedule, Request { verb: "pause", body, id: None }).await
        }
        Schedule::Resume { node, schedule } => {
            operate(&node, &schedule, Request { verb: "resume", body: None, id: None }).await
        }
        Schedule::Trigger { node, schedule, id, because: Because { reason } } => {
            let body = Some(json!({ "reason": reason }));
            operate(&node, &schedule, Request { verb: "trigger", body, id: Some(named(id)) }).await
        }
        Schedule::Backfill { node, schedule, from, to, id, because: Because { reason } } => {
            let body = Some(json!({ "from": from, "to": to, "reason": reason }));
            operate(&node, &schedule, Request { verb: "backfill", body, id: Some(named(id)) }).await
        }
        Schedule::StopBackfill { node, schedule, because: Because { reason } } => {
            let body = Some(json!({ "reason": reason }));
            operate(&node, &schedule, Request { verb: "stop-backfill", body, id: None }).await
        }
    }
}

/// What is asked of a schedule.
struct Request {
    verb: &'static str,
    body: Option<Value>,
    /// Names what fires something.
    id: Option<String>,
}

/// The name that was given, or a new one.
fn named(id: Option<String>) -> String {
    id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}

/// Has something done with a schedule, and says how it stands then.
async fn operate(node: &NodeArguments, schedule: &str, request: Request) -> Result<(), CommandError> {
    let Request { verb, body, id } = request;
    let path = ["admin", "runner", "schedules", schedule, verb];
    let answer = ask(node, Method::POST, &Address { path: &path, query: &[] }, |mut request| {
        if let Some(id) = &id {
            request = request.header("idempotency-key", id);
        }
        match &body {
            Some(body) => request.body(body.to_string()),
            None => request,
        }
    })
    .await;
    let answer = answer.map_err(|error| match &id {
        Some(id) => error.named(id),
        None => error,
    })?;
    say(&if node.json { answer.to_string() } else { format!("{schedule} {}", done(verb, &answer)) });
    Ok(())
}

/// What was done, on one line.
fn done(verb: &str, answer: &Value) -> String {
    let count = |field: &str| answer[field].as_u64().unwrap_or_default();
    let before = if answer["changed"] == true { "" } else { ", as before" };
    match verb {
        "trigger" => {
            let id = answer["occurrence_id"].as_str().unwrap_or_default();
            if before.is_empty() { format!("fired {id}") } else { format!("had fired {id} already") }
        }
        "backfill" => {
            let waits = if answer["paused"] == true { ", when it is resumed" } else { "" };
            format!("fires {} that have passed{waits}{before}", count("left"))
        }
        "stop-backfill" => format!("drops {} that have passed{before}", count("dropped")),
        _ if answer["paused"] == true => format!("is paused{before}"),
        _ => match (count("fell_due"), count("missed")) {
            (0, _) => format!("goes on{before}"),
            (due, 0) => format!("goes on, with {due} that fell due meanwhile"),
            (due, missed) => format!("goes on; of {due} that fell due meanwhile, {missed} are missed"),
        },
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
    let counts = ["fired", "missed", "skipped", "failed", "triggered", "backfilled"]
        .map(|what| format!("{what} {}", count(what)));
    let paused = match schedule["paused"]["reason"].as_str() {
        Some(reason) => {
            format!(" · paused since {}: {reason}", schedule["paused"]["since"].as_str().unwrap_or_default())
        }
        None => String::new(),
    };
    let backfill = match schedule["backfill"]["to"].as_str() {
        Some(to) => {
            let next = schedule["backfill"]["next_at"].as_str().unwrap_or_default();
            format!(" · backfill at {next} of {to}")
        }
        None => String::new(),
    };
    format!(
        "{tenant:<16} {:<24} {:<32} next {:<26} {}{paused}{backfill}",
        text("schedule"),
        text("when"),
        schedule["next_at"].as_str().unwrap_or("never"),
        counts.join(" · ")
    )
}
