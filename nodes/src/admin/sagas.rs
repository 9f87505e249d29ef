//! Saga instances: listed, shown, signalled, and changed by operators.
//!
//! Reading is from committed rows, beside the machine. A signal is a message on `WORKFLOW_EVENTS`, published under an id of
//! its own that nothing else may use: it reaches the machine as everything does, and repeating it is harmless. What changes an
//! instance is asked of the machine itself ([`operator`](super::operator)).

use super::operator::Operator;
use super::{bad, said, unreadable};
use crate::gateway::context::RequestContext;
use crate::gateway::problem::Problem;
use crate::runner::Application;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use cloudlysis_core::manifest::{SagaDef, Trigger};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey};
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::saga::look::{self, Which};
use cloudlysis_core::saga::{self, Instance, Verb};
use cloudlysis_core::wire::answer::{PublishRefused, publish_outcome};
use cloudlysis_core::wire::envelope::{Occurrence, PAYLOAD_BYTES_MAX, WorkflowEvent};
use cloudlysis_core::wire::headers;
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Halt, Outcome, StoreFault, View};
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::clock::Clock;
use cloudlysis_io_nats::store::Snapshots;
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::watch;

/// Instances in one page unless asked otherwise, and at most.
const PAGE: (usize, usize) = (100, 1_000);

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Sagas {
    /// What is run.
    pub application: watch::Receiver<Application>,
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Where signals go.
    pub broker: Broker,
    /// Who asks the machine.
    pub operator: Operator,
}

/// The routes.
pub fn router(sagas: Sagas) -> Router {
    Router::new()
        .route("/admin/runner/sagas", get(list))
        .route("/admin/runner/sagas/{saga}/{id}", get(show))
        .route("/admin/runner/sagas/{saga}/{id}/signals/{signal}", post(signal))
        .route("/admin/runner/sagas/{saga}/{id}/{verb}", post(operate))
        .with_state(sagas)
}

/// Which instances, and which page of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageOf {
    #[serde(default)]
    saga: Option<Name>,
    #[serde(default)]
    open: bool,
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<usize>,
}

impl Sagas {
    fn read<R>(&self, read: impl FnOnce(&dyn View) -> Result<R, Halt>) -> Result<R, Problem> {
        let answer: Result<Result<R, Halt>, StoreFault> = self.snapshots.read(read);
        answer.map_err(unreadable)?.map_err(unreadable)
    }

    /// Today's definition of a saga.
    fn today(&self, saga: &Name) -> Option<Arc<SagaDef>> {
        self.application.borrow().app.sagas.get(saga).cloned()
    }

    /// An instance, and what it reacts by; nothing once it has ended and today's definition is another.
    fn find(
        &self,
        tenant: &TenantId,
        saga: &Name,
        id: &EntityId,
    ) -> Result<(Instance, Option<Arc<SagaDef>>), Problem> {
        let today = self.today(saga);
        let found = self.read(|view| {
            let Some(instance) = look::show(view, tenant, saga, id)? else { return Ok(None) };
            let definition = saga::definition_of(view, &instance, today.as_ref())?;
            Ok(Some((instance, definition)))
        })?;
        found.ok_or_else(|| {
            let detail = format!("saga `{saga}` has no instance `{id}` of this tenant");
            Problem::new(StatusCode::NOT_FOUND, "instance_not_found", detail)
        })
    }
}

async fn list(
    State(sagas): State<Sagas>,
    page: Result<Query<PageOf>, QueryRejection>,
    request_headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(PageOf { saga, open, after, limit }) =
        page.map_err(|error| bad("invalid_query", error.body_text()))?;
    let tenant = match request_headers.contains_key(crate::gateway::context::TENANT_HEADER) {
        true => Some(RequestContext::read(&request_headers)?.tenant),
        false => None,
    };
    let limit = limit.unwrap_or(PAGE.0).clamp(1, PAGE.1);
    let from = after.unwrap_or_default();
    let page = sagas.read(|view| look::list(view, &Which { tenant, saga, open }, from.as_bytes(), limit))?;
    let next = page.next.map(|key| String::from_utf8_lossy(&key).into_owned());
    Ok(Json(json!({ "instances": page.instances, "next": next })).into_response())
}

/// Saga and instance of a path.
fn names(path: Result<Path<(String, String)>, PathRejection>) -> Result<(Name, EntityId), Problem> {
    let Path((saga, id)) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let saga = Name::parse(&saga).map_err(|error| bad("invalid_saga", error.to_string()))?;
    let id = EntityId::parse(&id).map_err(|error| bad("invalid_id", error.to_string()))?;
    Ok((saga, id))
}

async fn show(
    State(sagas): State<Sagas>,
    path: Result<Path<(String, String)>, PathRejection>,
    request_headers: HeaderMap,
) -> Result<Response, Problem> {
    let (saga, id) = names(path)?;
    let tenant = RequestContext::read(&request_headers)?.tenant;
    let (instance, definition) = sagas.find(&tenant, &saga, &id)?;
    let held = sagas.read(|view| match QuarantineKey::instance(&tenant, &saga, &id) {
        Some(key) => Quarantine::find(view, &key),
        None => Ok(None),
    })?;
    let body = json!({
        "tenant_id": tenant,
        "saga": saga,
        "correlation": id,
        "status": instance.status.as_str(),
        "paused": instance.paused,
        "intervention": instance.intervention,
        "definition": { "reacts_by": instance.definition, "today": sagas.today(&saga).map(|own| own.hash.clone()) },
        "state": instance.state,
        "works": instance.works,
        "timers": instance.timers,
        "correlation_id": instance.context.correlation_id,
        "waits_for": definition.map(|own| look::waits_for(&own, &instance)).unwrap_or_default(),
        "quarantined": held,
    });
    Ok(Json(body).into_response())
}

/// What comes with an operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Because {
    #[serde(default)]
    reason: Option<String>,
}

/// What is to be done, of which one must say why it is.
fn verb(name: &str, body: &Bytes) -> Result<Verb, Problem> {
    let Because { reason } = said(body)?;
    let why = || super::reason(reason.as_deref());
    match name {
        "pause" => Ok(Verb::Pause { reason: why()? }),
        "resume" => Ok(Verb::Resume),
        "cancel" => Ok(Verb::Cancel { reason: why()? }),
        "kill" => Ok(Verb::Kill { reason: why()? }),
        "migrate" => Ok(Verb::Migrate { reason: why()? }),
        _ => {
            let detail =
                format!("there is no `{name}`: an operator can pause, resume, cancel, kill and migrate");
            Err(Problem::new(StatusCode::NOT_FOUND, "unknown_verb", detail))
        }
    }
}

async fn operate(
    State(sagas): State<Sagas>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request_headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Path((saga, id, name)) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let (saga, correlation) = names(Ok(Path((saga, id))))?;
    let verb = verb(&name, &body)?;
    let tenant = RequestContext::read(&request_headers)?.tenant;
    let operation = saga::Operation { tenant, saga, correlation, verb };
    let done = sagas.operator.ask_saga(operation).await?;
    let body = json!({
        "status": done.status, "paused": done.paused, "changed": done.changed, "released": done.released,
    });
    Ok(Json(body).into_response())
}

/// What comes with a signal.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    #[serde(default)]
    payload: Value,
}

async fn signal(
    State(sagas): State<Sagas>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    request_headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let Path((saga, id, signal)) = path.map_err(|error| bad("invalid_path", error.body_text()))?;
    let (saga, correlation) = names(Ok(Path((saga, id))))?;
    let signal = Name::parse(&signal).map_err(|error| bad("invalid_signal", error.to_string()))?;
    if body.len() > PAYLOAD_BYTES_MAX {
        let detail =
            format!("the body is {} bytes long; at most {PAYLOAD_BYTES_MAX} are allowed", body.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail));
    }
    let Said { payload } = said(&body)?;
    let RequestContext { tenant, context } = RequestContext::read(&request_headers)?;
    let (_, definition) = sagas.find(&tenant, &saga, &correlation)?;
    let trigger = Trigger::Signal { signal: signal.clone() };
    if definition.is_some_and(|own| !own.on_event.contains_key(&trigger)) {
        let detail = format!("saga `{saga}` does not react to `signal.{signal}`");
        return Err(Problem::new(StatusCode::NOT_FOUND, "unknown_signal", detail));
    }
    let event = WorkflowEvent {
        id: signal_id(&request_headers)?,
        tenant,
        saga,
        correlation,
        what: Occurrence::Signal { signal, payload },
        timestamp: Some(Clock::default().now().wall.rfc3339()),
        context,
    };
    publish(&sagas.broker, &event).await
}

/// The id of a signal: the caller's, so that it may be repeated, or a new one.
fn signal_id(request_headers: &HeaderMap) -> Result<CommandId, Problem> {
    let Some(raw) = request_headers.get("idempotency-key") else {
        return CommandId::parse(&uuid::Uuid::now_v7().to_string()).map_err(|error| unreadable(&error));
    };
    let wrong = |detail: String| bad("invalid_idempotency_key", format!("header Idempotency-Key: {detail}"));
    let raw = raw.to_str().map_err(|_| wrong("it is not text".to_owned()))?;
    CommandId::parse(raw).map_err(|error| wrong(error.to_string()))
}

async fn publish(broker: &Broker, event: &WorkflowEvent) -> Result<Response, Problem> {
    let subject = event.route().subject().to_string();
    let mut out = event.context.headers(&event.tenant);
    out.append(headers::NATS_MSG_ID, &subject);
    out.append(headers::NATS_EXPECTED_STREAM, PlatformStream::WorkflowEvents.name());
    out.append(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    let answer = broker.publish(subject, &out, event.encode().into()).await;
    let stored = |seq: Option<u64>, duplicate: bool| {
        let body = json!({ "signal_id": event.id, "stream_seq": seq, "duplicate": duplicate });
        Ok((StatusCode::ACCEPTED, Json(body)).into_response())
    };
    match publish_outcome(answer, Quirks::NONE) {
        Outcome::Done(published) => stored(Some(published.seq), published.duplicate),
        // Something is on the subject of this id: an earlier attempt of the same caller.
        Outcome::Refused(PublishRefused::Conflict) => stored(None, true),
        Outcome::Refused(PublishRefused::TooLarge) => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "payload_too_large",
            "larger than the broker allows",
        )),
        Outcome::Refused(PublishRefused::Full) => {
            let detail = "the broker has no room";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "broker_full", detail).retryable(1_000))
        }
        Outcome::Refused(PublishRefused::Misconfigured { description, .. }) => {
            Err(Problem::new(StatusCode::BAD_GATEWAY, "broker_refused", description))
        }
        Outcome::Unknown => {
            let detail =
                format!("nobody knows whether it is stored; repeat it with Idempotency-Key: {}", event.id);
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", detail).retryable(1_000))
        }
    }
}
