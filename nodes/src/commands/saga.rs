//! `cloudlysis saga`: instances of a running node, over its `/admin`.

use super::{CommandError, say};
use crate::cli::{NodeArguments, Saga, SagaInstance};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};
use std::time::Duration;
use thiserror::Error;

/// How long a node may take.
const DEADLINE: Duration = Duration::from_secs(30);

/// Why a node was asked in vain.
#[derive(Debug, Error)]
pub enum AskError {
    /// The address is not one.
    #[error("`{url}` is not the address of a node; use --node http://host:port")]
    Address {
        /// What was given.
        url: String,
    },
    /// Nobody answers.
    #[error("{url} does not answer: {source}; is it running, and is this its address (--node)?")]
    NoAnswer {
        /// Who was asked.
        url: Url,
        /// What happened.
        source: reqwest::Error,
    },
    /// What was given is not JSON.
    #[error("--payload is not JSON: {0}")]
    Payload(serde_json::Error),
    /// The node says no.
    #[error("{code}: {detail}")]
    Refused {
        /// The status of its answer.
        status: u16,
        /// What it calls it.
        code: String,
        /// What it says.
        detail: String,
    },
}

impl AskError {
    pub(super) const fn exit_code(&self) -> u8 {
        match self {
            Self::Address { .. } | Self::Payload(_) | Self::Refused { status: 400, .. } => 2,
            Self::Refused { status: 404, .. } => 3,
            Self::Refused { status: 401 | 403, .. } => 5,
            Self::NoAnswer { .. } | Self::Refused { status: 503 | 504, .. } => 6,
            Self::Refused { .. } => 1,
        }
    }
}

pub(super) async fn run(what: Saga) -> Result<(), CommandError> {
    match what {
        Saga::Ls { node, saga, open } => list(&node, saga.as_deref(), open).await,
        Saga::Show { node, instance } => {
            let shown =
                ask(&node, Method::GET, &Address { path: &path(&instance), query: &[] }, |request| request)
                    .await?;
            say(&pretty(&shown));
            Ok(())
        }
        Saga::Why { node, instance } => {
            let shown =
                ask(&node, Method::GET, &Address { path: &path(&instance), query: &[] }, |request| request)
                    .await?;
            why(&node, &instance, &shown);
            Ok(())
        }
        Saga::Signal { node, instance, signal, payload, id } => {
            let payload: Value = match payload {
                Some(text) => serde_json::from_str(&text).map_err(AskError::Payload)?,
                None => Value::Null,
            };
            let mut path = path(&instance);
            path.extend(["signals", &signal]);
            let body = json!({ "payload": payload }).to_string();
            let address = Address { path: &path, query: &[] };
            let answer = ask(&node, Method::POST, &address, |request| match id {
                Some(id) => request.body(body).header("idempotency-key", id),
                None => request.body(body),
            })
            .await?;
            say(&answer.to_string());
            Ok(())
        }
    }
}

fn path(instance: &SagaInstance) -> Vec<&str> {
    vec!["admin", "runner", "sagas", &instance.saga, &instance.correlation]
}

/// Where something is found at a node.
pub(super) struct Address<'a> {
    pub(super) path: &'a [&'a str],
    pub(super) query: &'a [(&'a str, String)],
}

/// Asks a node and reads its JSON.
pub(super) async fn ask(
    node: &NodeArguments,
    method: Method,
    address: &Address<'_>,
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<Value, AskError> {
    let wrong = || AskError::Address { url: node.node.clone() };
    let mut url = Url::parse(&node.node).map_err(|_| wrong())?;
    url.path_segments_mut().map_err(|()| wrong())?.clear().extend(address.path);
    if !address.query.is_empty() {
        url.query_pairs_mut().extend_pairs(address.query);
    }
    let mut request = reqwest::Client::new().request(method, url.clone()).timeout(DEADLINE);
    if let Some(tenant) = &node.tenant {
        request = request.header("x-tenant-id", tenant);
    }
    let response = with(request).send().await;
    let response = response.map_err(|source| AskError::NoAnswer { url: url.clone(), source })?;
    let status = response.status();
    let body = response.bytes().await.map_err(|source| AskError::NoAnswer { url, source })?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    if status.is_success() {
        return Ok(body);
    }
    let text = |field: &str| body[field].as_str().map(str::to_owned);
    Err(AskError::Refused {
        status: status.as_u16(),
        code: text("code").unwrap_or_else(|| status.to_string()),
        detail: text("detail").unwrap_or_else(|| "the node gave no reason".to_owned()),
    })
}

async fn list(node: &NodeArguments, saga: Option<&str>, open: bool) -> Result<(), CommandError> {
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("open", open.to_string())];
        query.extend(saga.map(|saga| ("saga", saga.to_owned())));
        query.extend(after.map(|after| ("after", after)));
        let path = ["admin", "runner", "sagas"];
        let page = ask(node, Method::GET, &Address { path: &path, query: &query }, |request| request).await?;
        for instance in page["instances"].as_array().into_iter().flatten() {
            if node.json {
                say(&instance.to_string());
                continue;
            }
            let text = |field: &str| instance[field].as_str().unwrap_or_default().to_owned();
            let tenant =
                Some(text("tenant_id")).filter(|tenant| !tenant.is_empty()).unwrap_or_else(|| "_".into());
            say(&format!("{tenant:<16} {:<20} {:<32} {}", text("saga"), text("correlation"), text("status")));
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// One line per thing it waits for.
fn why(node: &NodeArguments, instance: &SagaInstance, shown: &Value) {
    if node.json {
        say(&json!({ "status": shown["status"], "waits_for": shown["waits_for"], "quarantined": shown["quarantined"] }).to_string());
        return;
    }
    let status = shown["status"].as_str().unwrap_or_default();
    say(&format!("{} {} is {status}", instance.saga, instance.correlation));
    if let Some(cause) = shown["quarantined"].as_object() {
        say(&format!("  quarantined: {}", cause.get("cause").unwrap_or(&Value::Null)));
    }
    for what in shown["waits_for"].as_array().into_iter().flatten() {
        let text = |field: &str| what[field].as_str().unwrap_or_default();
        say(&match text("kind") {
            "work" => format!("  waits for work `{}` ({})", text("name"), text("command_id")),
            "timer" => {
                let due = what["due"].as_u64().map(cloudlysis_core::Wall::from_ms).unwrap_or_default();
                format!("  waits for timer `{}`, due {}", text("name"), due.rfc3339())
            }
            "event" => format!("  reacts to event {}.{}", text("aggregate"), text("event")),
            "signal" => format!("  reacts to signal `{}`", text("signal")),
            other => format!("  waits for {other}"),
        });
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
