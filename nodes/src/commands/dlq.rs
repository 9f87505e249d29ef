//! `cloudlysis dlq`: what running nodes hold back, over their `/admin`.

use super::ask::{Address, AskError, ask};
use super::{CommandError, redrive, say};
use crate::cli::{Dlq, DlqNode, NodeArguments};
use cloudlysis_core::Wall;
use reqwest::Method;
use serde_json::{Value, json};

pub(super) async fn run(what: Dlq) -> Result<(), CommandError> {
    match what {
        Dlq::Ls { node, of, group } => {
            let filter: Vec<_> = group.map(|group| ("group", group)).into_iter().collect();
            pages(&node, of, &[], &filter, "keys", key_line).await
        }
        Dlq::Groups { node, of } => pages(&node, of, &["groups"], &[], "groups", group_line).await,
        Dlq::Show { node, of, key } => show(&node, of, &key).await,
        Dlq::Select { node, keys, because } => redrive::select(&node, &keys, &because.reason).await,
        Dlq::Selections { node } => redrive::selections(&node).await,
        Dlq::Replay { node, what, per_second, migrate } => {
            redrive::run(&node, what, "replay", &json!({ "per_second": per_second, "migrate": migrate }))
                .await
        }
        Dlq::Discard { node, what } => redrive::run(&node, what, "discard", &json!({})).await,
        Dlq::Purge { node, yes: _, because } => redrive::purge(&node, because.reason).await,
        Dlq::Unselect { node, selection } => redrive::unselect(&node, &selection).await,
        Dlq::Skip { node, key, position, because } => {
            redrive::skip(&node, &key, position, &because.reason).await
        }
        Dlq::Edit { node, key, position, payload, because } => {
            redrive::edit(&node, &key, position, &payload, &because.reason).await
        }
    }
}

/// The kinds of nodes to ask: both, unless told otherwise.
fn kinds(of: Option<DlqNode>) -> Vec<DlqNode> {
    of.map_or_else(|| vec![DlqNode::Runner, DlqNode::Projection], |of| vec![of])
}

/// Asks one kind of node; none when it is not there, which is an answer as long as another one is.
async fn ask_kind(
    node: &NodeArguments,
    kind: DlqNode,
    path: &[&str],
    query: &[(&str, String)],
) -> Result<Result<Value, AskError>, AskError> {
    let mut all = vec!["admin", kind.as_str(), "dlq"];
    all.extend(path);
    match ask(node, Method::GET, &Address { path: &all, query }, |request| request).await {
        Ok(answer) => Ok(Ok(answer)),
        Err(refused @ AskError::Refused { status: 404, .. }) => Ok(Err(refused)),
        Err(error) => Err(error),
    }
}

/// Everything there is, page by page.
async fn pages(
    node: &NodeArguments,
    of: Option<DlqNode>,
    path: &[&str],
    filter: &[(&str, String)],
    items: &str,
    line: fn(DlqNode, &Value) -> String,
) -> Result<(), CommandError> {
    let (mut missing, mut answered) = (None, false);
    for kind in kinds(of) {
        let mut after: Option<String> = None;
        loop {
            let mut query = filter.to_vec();
            query.extend(after.take().map(|after| ("after", after)));
            let page = match ask_kind(node, kind, path, &query).await? {
                Ok(page) => page,
                Err(refused) => {
                    missing = Some(refused);
                    break;
                }
            };
            answered = true;
            for item in page[items].as_array().into_iter().flatten() {
                say(&if node.json { with_node(kind, item).to_string() } else { line(kind, item) });
            }
            match page["next"].as_str() {
                Some(next) => after = Some(next.to_owned()),
                None => break,
            }
        }
    }
    match missing {
        Some(refused) if !answered => Err(refused.into()),
        Some(_) | None => Ok(()),
    }
}

/// Every message of a key, in order.
async fn show(node: &NodeArguments, of: Option<DlqNode>, key: &str) -> Result<(), CommandError> {
    let mut missing = None;
    for kind in kinds(of) {
        let mut from = 0;
        loop {
            let query = [("key", key.to_owned()), ("from", from.to_string())];
            let page = match ask_kind(node, kind, &["messages"], &query).await? {
                Ok(page) => page,
                Err(refused) => {
                    missing = Some(refused);
                    break;
                }
            };
            if !node.json && from == 0 {
                say(&key_line(kind, &page["key"]));
            }
            for message in page["messages"].as_array().into_iter().flatten() {
                say(&if node.json { with_node(kind, message).to_string() } else { message_lines(message) });
            }
            match page["next"].as_u64() {
                Some(next) => from = next,
                None => return Ok(()),
            }
        }
    }
    missing.map_or(Ok(()), |refused| Err(refused.into()))
}

fn with_node(kind: DlqNode, item: &Value) -> Value {
    let mut item = item.clone();
    if let Some(fields) = item.as_object_mut() {
        fields.insert("node".to_owned(), json!(kind.as_str()));
    }
    item
}

fn since(item: &Value, field: &str) -> String {
    item[field].as_u64().map(Wall::from_ms).unwrap_or_default().rfc3339()
}

fn cause(item: &Value) -> String {
    let text = |field: &str| item["cause"][field].as_str().unwrap_or_default().to_owned();
    format!("{}: {}", text("kind"), text("detail"))
}

fn key_line(kind: DlqNode, item: &Value) -> String {
    let text = |field: &str| item[field].as_str().unwrap_or_default();
    let (node, messages) = (kind.as_str(), &item["messages"]);
    format!(
        "{node:<10} {} {messages:>6}  {}  {}\n{:12}{}",
        text("group"),
        since(item, "since"),
        text("key"),
        "",
        cause(item)
    )
}

fn group_line(kind: DlqNode, item: &Value) -> String {
    let text = |field: &str| item[field].as_str().unwrap_or_default();
    format!(
        "{:<10} {} {:>5} keys {:>6} messages  since {}  {}: {}",
        kind.as_str(),
        text("group"),
        item["keys"],
        item["messages"],
        since(item, "since"),
        text("kind"),
        text("pattern")
    )
}

fn message_lines(item: &Value) -> String {
    let text = |field: &str| item[field].as_str().unwrap_or_default();
    let from = match text("stream") {
        "" => "from inside".to_owned(),
        stream => format!("{stream} {} {}", item["stream_seq"], text("subject")),
    };
    let why = if item["cause"].is_object() { cause(item) } else { "waits for an earlier one".to_owned() };
    format!(
        "{:>6}  {}  {from}\n        {why}\n        {}",
        item["position"],
        since(item, "parked_at"),
        item["payload"]
    )
}
