//! `cloudlysis dlq select|replay|discard|purge|…`: letting go of what a running runner holds back, over its `/admin`.
//!
//! A selection is worked off by the node: whoever waits here only watches, and may stop watching.

use super::ask::{Address, AskError, ask};
use super::{CommandError, progress, say};
use crate::cli::{Keys, NodeArguments, Selected};
use cloudlysis_core::Wall;
use cloudlysis_core::quarantine::operate::EDITED_BYTES_MAX;
use reqwest::Method;
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// How often a selection is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often something is said about one that takes its time, in looks.
const SAY_EVERY: u32 = 10;

const BASE: [&str; 4] = ["admin", "runner", "dlq", "selections"];

async fn get(node: &NodeArguments, path: &[&str]) -> Result<Value, AskError> {
    ask(node, Method::GET, &Address { path, query: &[] }, |request| request).await
}

async fn post(node: &NodeArguments, path: &[&str], body: &Value) -> Result<Value, AskError> {
    let address = Address { path, query: &[] };
    ask(node, Method::POST, &address, |request| request.body(body.to_string())).await
}

/// Freezes keys: in one selection, or in as many as it takes.
async fn selected(node: &NodeArguments, keys: &Keys, reason: &str) -> Result<Vec<Value>, CommandError> {
    let (mut selections, mut after) = (Vec::new(), String::new());
    loop {
        let what = json!({ "group": keys.group, "key": keys.key, "after": after, "reason": reason });
        let answer = match post(node, &BASE, &what).await {
            Ok(answer) => answer,
            // There was nothing more.
            Err(AskError::Refused { status: 404 | 409, .. }) if !selections.is_empty() => {
                return Ok(selections);
            }
            Err(error) => return Err(error.into()),
        };
        selections.push(answer["selection"].clone());
        match answer["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => return Ok(selections),
        }
    }
}

pub(super) async fn select(node: &NodeArguments, keys: &Keys, reason: &str) -> Result<(), CommandError> {
    for selection in selected(node, keys, reason).await? {
        tell(node, &selection);
    }
    Ok(())
}

pub(super) async fn selections(node: &NodeArguments) -> Result<(), CommandError> {
    let all = get(node, &BASE).await?;
    for selection in all["selections"].as_array().into_iter().flatten() {
        tell(node, selection);
    }
    Ok(())
}

/// Has what is selected redriven or dropped, and watches.
pub(super) async fn run(
    node: &NodeArguments,
    what: Selected,
    verb: &str,
    how: &Value,
) -> Result<(), CommandError> {
    let Selected { selection, keys, reason, detach } = what;
    let ids: Vec<String> = match selection {
        Some(id) => vec![id],
        None => {
            let selections = selected(node, &keys, &reason.unwrap_or_default()).await?;
            selections.iter().filter_map(|own| own["selection"].as_str().map(str::to_owned)).collect()
        }
    };
    let mut failed = 0;
    for id in ids {
        let answer = post(node, &[BASE[0], BASE[1], BASE[2], BASE[3], &id, verb], how).await;
        let begun = match answer {
            Ok(answer) => answer["selection"].clone(),
            // It has ended: what became of it is what was asked.
            Err(AskError::Refused { status: 409, code, .. }) if code == "already_finished" => {
                get(node, &[BASE[0], BASE[1], BASE[2], BASE[3], &id]).await?
            }
            Err(error) => return Err(error.into()),
        };
        let ended = if detach { begun } else { watched(node, &id, begun).await? };
        failed += ended["failed"].as_u64().unwrap_or_default();
        tell(node, &ended);
    }
    if failed > 0 { Err(CommandError::FailedAgain { keys: failed }) } else { Ok(()) }
}

pub(super) async fn purge(node: &NodeArguments, reason: String) -> Result<(), CommandError> {
    let keys = Keys { group: None, key: None, all: true };
    let what = Selected { selection: None, keys, reason: Some(reason), detach: false };
    run(node, what, "discard", &json!({})).await
}

pub(super) async fn unselect(node: &NodeArguments, id: &str) -> Result<(), CommandError> {
    let answer = post(node, &[BASE[0], BASE[1], BASE[2], BASE[3], id, "unselect"], &json!({})).await?;
    tell(node, &answer["selection"]);
    Ok(())
}

pub(super) async fn skip(
    node: &NodeArguments,
    key: &str,
    position: u64,
    reason: &str,
) -> Result<(), CommandError> {
    let what = json!({ "key": key, "position": position, "reason": reason });
    told_of_key(node, &post(node, &["admin", "runner", "dlq", "skip"], &what).await?);
    Ok(())
}

pub(super) async fn edit(
    node: &NodeArguments,
    key: &str,
    position: u64,
    file: &Path,
    reason: &str,
) -> Result<(), CommandError> {
    let fault = |source| CommandError::System { what: "--payload cannot be read as text", source };
    let from: Box<dyn Read> = match file.as_os_str() == "-" {
        true => Box::new(std::io::stdin()),
        false => Box::new(std::fs::File::open(file).map_err(fault)?),
    };
    let mut payload = Vec::new();
    from.take(EDITED_BYTES_MAX as u64 + 1).read_to_end(&mut payload).map_err(fault)?;
    if payload.len() > EDITED_BYTES_MAX {
        return Err(AskError::TooLarge { max: EDITED_BYTES_MAX }.into());
    }
    let payload = String::from_utf8(payload).map_err(std::io::Error::other).map_err(fault)?;
    let what = json!({ "key": key, "position": position, "payload": payload, "reason": reason });
    told_of_key(node, &post(node, &["admin", "runner", "dlq", "edit"], &what).await?);
    Ok(())
}

/// Until a selection has ended.
async fn watched(node: &NodeArguments, id: &str, mut last: Value) -> Result<Value, CommandError> {
    let mut looks: u32 = 0;
    while last["state"] != "ended" {
        tokio::time::sleep(LOOK_EVERY).await;
        last = get(node, &[BASE[0], BASE[1], BASE[2], BASE[3], id]).await?;
        looks += 1;
        if looks.is_multiple_of(SAY_EVERY) && !node.json {
            progress(&line(&last));
        }
    }
    Ok(last)
}

fn told_of_key(node: &NodeArguments, answer: &Value) {
    if node.json {
        return say(&answer.to_string());
    }
    let (key, messages) = (answer["key"].as_str().unwrap_or_default(), &answer["messages"]);
    let already = if answer["changed"] == true { "" } else { ", as before" };
    say(&format!("{key} holds {messages} message(s){already}"));
}

fn tell(node: &NodeArguments, selection: &Value) {
    say(&if node.json { selection.to_string() } else { line(selection) });
}

fn line(selection: &Value) -> String {
    let text = |field: &str| selection[field].as_str().unwrap_or_default();
    let since = selection["selected_at"].as_u64().map(Wall::from_ms).unwrap_or_default().rfc3339();
    let counts = ["keys", "left", "released", "failed", "given_back", "applied", "superseded", "discarded"];
    let counts: Vec<String> = counts
        .iter()
        .filter(|field| **field == "keys" || selection[**field] != 0)
        .map(|field| format!("{field} {}", selection[*field]))
        .collect();
    let (id, state, reason) = (text("selection"), text("state"), text("reason"));
    format!("{id:<6} {state:<10} {since}  {}  {reason}", counts.join(", "))
}
