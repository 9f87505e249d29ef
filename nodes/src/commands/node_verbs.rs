//! `cloudlysis node`: a running node as a whole, over its `/admin`.

use super::ask::{Address, ask};
use super::{CommandError, say};
use crate::cli::NodeVerb;
use reqwest::Method;
use serde_json::json;
use std::time::Duration;

/// A node answers a little after its deadline.
const SLACK: Duration = Duration::from_secs(30);

pub(super) async fn run(what: NodeVerb) -> Result<(), CommandError> {
    let NodeVerb::Drain { node, deadline_ms } = what;
    let within = Duration::from_millis(deadline_ms.unwrap_or_default()) + SLACK;
    let body = deadline_ms.map_or_else(|| json!({}), |given| json!({ "deadline_ms": given }));
    let address = Address { path: &["admin", "drain"], query: &[] };
    let report =
        ask(&node, Method::POST, &address, |request| request.timeout(within).body(body.to_string())).await?;
    let in_flight =
        report["in_flight"].as_u64().and_then(|left| usize::try_from(left).ok()).unwrap_or_default();
    if node.json {
        say(&report.to_string());
    } else {
        let (clean, waiting) = (report["clean"] == true, &report["waiting"]);
        let how = if clean { "drained" } else { "not drained in time" };
        say(&format!("{how}: {in_flight} in flight, {waiting} waiting, durably"));
    }
    if report["clean"] == true { Ok(()) } else { Err(CommandError::Unclean { in_flight }) }
}
