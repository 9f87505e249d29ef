//! Letting go of what a runner holds back: selections, and what is done with single messages.
//!
//! Selections are read from committed rows; everything else is asked of the machine ([`operator`](super::operator)).

use super::dlq::{read, tenant};
use super::operator::Operator;
use super::{bad, reason, said};
use crate::gateway::problem::Problem;
use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::quarantine::operate::{EDITED_BYTES_MAX, Operated, Operation, Verb};
use cloudlysis_core::quarantine::selection::{PER_SECOND_MAX, Selection, SelectionId};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey, Which};
use cloudlysis_io_nats::store::Snapshots;
use serde::Deserialize;
use serde_json::{Value, json};

/// Messages redriven in a second unless asked otherwise.
const PER_SECOND: u32 = 100;

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Who asks the machine.
    pub operator: Operator,
}

/// The routes, under `/admin/runner/dlq`.
pub fn router(redrive: Redrive) -> Router {
    Router::new()
        .route("/admin/runner/dlq/selections", get(list).post(select))
        .route("/admin/runner/dlq/selections/{id}", get(show))
        .route("/admin/runner/dlq/selections/{id}/{verb}", post(run))
        .route("/admin/runner/dlq/skip", post(skip))
        .route("/admin/runner/dlq/edit", post(edit))
        // A body in JSON may be escaped: twice as long as what it means.
        .layer(DefaultBodyLimit::max(2 * EDITED_BYTES_MAX + 4_096))
        .with_state(redrive)
}

fn key(text: &str) -> Result<QuarantineKey, Problem> {
    let wrong = || bad("invalid_key", format!("`key`: `{text}` is no key; `dlq ls` lists them"));
    QuarantineKey::parse(text).ok_or_else(wrong)
}

fn selection(id: SelectionId, selection: &Selection) -> Value {
    let mut told = json!(selection);
    if let Some(fields) = told.as_object_mut() {
        fields.insert("selection".to_owned(), json!(id));
    }
    told
}

impl Redrive {
    async fn ask(&self, headers: &HeaderMap, verb: Verb) -> Result<Response, Problem> {
        let operation = Operation { tenant: tenant(headers)?, verb };
        let told = match self.operator.ask_quarantine(operation).await? {
            Operated::Selection { id, selection: own, changed, next } => {
                json!({ "selection": selection(id, &own), "changed": changed, "next": next })
            }
            Operated::Key { key, messages, changed } => {
                json!({ "key": key.display(), "messages": messages, "changed": changed })
            }
        };
        Ok(Json(told).into_response())
    }
}

async fn list(State(redrive): State<Redrive>, headers: HeaderMap) -> Result<Response, Problem> {
    let tenant = tenant(&headers)?;
    let all = read(&redrive.snapshots, Quarantine::selections)?;
    let own = all.iter().filter(|(_, own)| tenant.is_none() || own.tenant_id == tenant);
    let told: Vec<Value> = own.map(|(id, own)| selection(*id, own)).collect();
    Ok(Json(json!({ "selections": told })).into_response())
}

fn named(path: &str) -> Result<SelectionId, Problem> {
    SelectionId::parse(path).ok_or_else(|| {
        bad("invalid_selection", format!("`{path}` names no selection; `dlq selections` lists them"))
    })
}

async fn show(
    State(redrive): State<Redrive>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path(path) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let id = named(&path)?;
    let tenant = tenant(&headers)?;
    let own = read(&redrive.snapshots, Quarantine::selections)?.remove(&id);
    let own = own.filter(|own| tenant.is_none() || own.tenant_id == tenant).ok_or_else(|| {
        let detail = format!("selection {id} does not exist, or ended so long ago that it is forgotten");
        Problem::new(StatusCode::NOT_FOUND, "not_found", detail)
    })?;
    Ok(Json(selection(id, &own)).into_response())
}

/// What to select.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Select {
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    after: String,
    reason: String,
}

async fn select(
    State(redrive): State<Redrive>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let Select { group, key: own, after, reason: why } = said(&bytes)?;
    let own = own.as_deref().map(key).transpose()?;
    let which = Which { tenant: None, group, key: own };
    redrive.ask(&headers, Verb::Select { which, after, reason: reason(Some(&why))? }).await
}

/// How to redrive.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Run {
    #[serde(default)]
    per_second: Option<u32>,
    /// Saga instances react by today's definition from now on.
    #[serde(default)]
    migrate: bool,
}

async fn run(
    State(redrive): State<Redrive>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    bytes: Bytes,
) -> Result<Response, Problem> {
    let Path((path, verb)) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let selection = named(&path)?;
    let Run { per_second, migrate } = said(&bytes)?;
    if per_second.is_some_and(|per_second| !(1..=PER_SECOND_MAX).contains(&per_second)) {
        return Err(bad("invalid_per_second", format!("`per_second` is from 1 to {PER_SECOND_MAX}")));
    }
    let verb = match verb.as_str() {
        "replay" => Verb::Replay { selection, per_second: per_second.unwrap_or(PER_SECOND), migrate },
        "discard" => Verb::Discard { selection },
        "unselect" => Verb::Unselect { selection },
        _ => {
            let detail =
                format!("there is no `{verb}`: a selection can be replayed, discarded and unselected");
            return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_verb", detail));
        }
    };
    redrive.ask(&headers, verb).await
}

/// What to skip.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Skip {
    key: String,
    position: u64,
    reason: String,
}

async fn skip(State(redrive): State<Redrive>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Problem> {
    let Skip { key: own, position, reason: why } = said(&bytes)?;
    redrive.ask(&headers, Verb::Skip { key: key(&own)?, position, reason: reason(Some(&why))? }).await
}

/// What to put in place of what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    key: String,
    position: u64,
    reason: String,
    /// The new body, if it is text or JSON written as text.
    payload: String,
}

async fn edit(State(redrive): State<Redrive>, headers: HeaderMap, bytes: Bytes) -> Result<Response, Problem> {
    let Edit { key: own, position, reason: why, payload } = said(&bytes)?;
    if payload.len() > EDITED_BYTES_MAX {
        let detail = format!("`payload` has {} bytes; at most {EDITED_BYTES_MAX} are allowed", payload.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail));
    }
    let (key, reason, payload) = (key(&own)?, reason(Some(&why))?, payload.into_bytes());
    redrive.ask(&headers, Verb::Edit { key, position, payload, reason }).await
}
