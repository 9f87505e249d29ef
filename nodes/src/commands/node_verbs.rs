//! `cloudlysis node`: a running node as a whole, over its `/admin`.

use super::ask::{Address, AskError, ask};
use super::{CommandError, say};
use crate::cli::{NodeArguments, NodeVerb};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// A node answers a little after its deadline.
const SLACK: Duration = Duration::from_secs(30);

pub(super) async fn run(what: NodeVerb) -> Result<(), CommandError> {
    match what {
        NodeVerb::Drain { node, deadline_ms } => drain(&node, deadline_ms).await,
        NodeVerb::Reload { node, deadline_ms } => reload(&node, deadline_ms).await,
    }
}

async fn post(node: &NodeArguments, verb: &str, deadline_ms: Option<u64>) -> Result<Value, AskError> {
    let within = Duration::from_millis(deadline_ms.unwrap_or_default()) + SLACK;
    let body = deadline_ms.map_or_else(|| json!({}), |given| json!({ "deadline_ms": given }));
    let address = Address { path: &["admin", verb], query: &[] };
    ask(node, Method::POST, &address, |request| request.timeout(within).body(body.to_string())).await
}

fn in_flight(report: &Value) -> usize {
    report["in_flight"].as_u64().and_then(|left| usize::try_from(left).ok()).unwrap_or_default()
}

async fn drain(node: &NodeArguments, deadline_ms: Option<u64>) -> Result<(), CommandError> {
    let report = post(node, "drain", deadline_ms).await?;
    let (clean, in_flight) = (report["clean"] == true, in_flight(&report));
    if node.json {
        say(&report.to_string());
    } else {
        let how = if clean { "drained" } else { "not drained in time" };
        say(&format!("{how}: {in_flight} in flight, {} waiting, durably", report["waiting"]));
    }
    if clean { Ok(()) } else { Err(CommandError::Unclean { in_flight }) }
}

async fn reload(node: &NodeArguments, deadline_ms: Option<u64>) -> Result<(), CommandError> {
    let report = post(node, "reload", deadline_ms).await?;
    if node.json {
        say(&report.to_string());
        return Ok(());
    }
    let lines = |list: &str, suffix: &str| {
        for own in report[list].as_array().into_iter().flatten() {
            let text = |field: &str| own[field].as_str().unwrap_or_default();
            say(&format!("{} {} {}{suffix}", text("kind"), text("name"), text("change")));
        }
    };
    lines("changed", "");
    lines("elsewhere", ": in force at the next start of its node");
    match (report["changed"].as_array().is_none_or(Vec::is_empty), in_flight(&report)) {
        (true, _) => say("nothing of this node changed"),
        (false, 0) => say("in force"),
        (false, left) => {
            say(&format!("in force; {left} calls were still under way and are looked after anew"))
        }
    }
    Ok(())
}
