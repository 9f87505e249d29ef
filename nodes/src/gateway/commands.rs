//! `POST /v1/commands/{type}/{id}`.
//!
//! ```text
//! {"command": "place", "payload": {…}, "command_id": "…"?}     x-tenant-id: acme
//! 202 {"command_id": "…", "stream_seq": 7, "version": 1, "duplicate": false}     200 when it is a duplicate
//! ```
//!
//! The command id comes from the body or from `Idempotency-Key`; without one it is made up here and returned. Unknown
//! fields are refused: a misspelt `command_id` would silently lose what makes a repetition safe.

use super::Gateway;
use super::context::RequestContext;
use crate::problem::Problem;
use crate::proto::command::submit_response::Outcome;
use crate::proto::command::{self as wire, SubmitRequest};
use crate::telemetry::traces;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cloudlysis_core::wire::context::{Context, TraceParent};
use cloudlysis_core::wire::envelope::PAYLOAD_BYTES_MAX;
use cloudlysis_core::wire::id::{CommandId, EntityId, Name};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::fmt::Display;
use tonic::{Code, Request};
use tracing::{Instrument, Span};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const CORRELATION_HEADER: HeaderName = HeaderName::from_static("x-correlation-id");
const REPLAYED_HEADER: HeaderName = HeaderName::from_static("idempotency-replayed");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    command: String,
    #[serde(default)]
    payload: Option<Box<RawValue>>,
    #[serde(default)]
    command_id: Option<String>,
}

fn bad_request(code: &str, detail: impl Display) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail.to_string())
}

pub(super) async fn submit(
    State(gateway): State<Gateway>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Response {
    // Whose tenant cannot be read is nobody's request: there is no span to put it into.
    let mut request = match RequestContext::read(&headers) {
        Ok(request) => request,
        Err(problem) => return problem.into_response(),
    };
    let span = traces::request(&request.tenant, &mut request.context, request.begins_trace);
    let answer = command(gateway, path, request, &headers, body).instrument(span.clone()).await;
    let response = answer.unwrap_or_else(IntoResponse::into_response);
    traces::answered(&span, response.status().as_u16());
    response
}

async fn command(
    mut gateway: Gateway,
    path: Result<Path<(String, String)>, PathRejection>,
    request: RequestContext,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let Path((kind, id)) = path.map_err(|error| bad_request("invalid_path", error.body_text()))?;
    let body = body.map_err(|error| {
        let status = error.status();
        let code =
            if status == StatusCode::PAYLOAD_TOO_LARGE { "payload_too_large" } else { "unreadable_body" };
        Problem::new(
            status,
            code,
            format!("{}; a payload may have {PAYLOAD_BYTES_MAX} bytes", error.body_text()),
        )
    })?;
    let body: Body = serde_json::from_slice(&body).map_err(|error| bad_request("invalid_body", error))?;
    let kind = Name::parse(&kind).map_err(|error| bad_request("invalid_aggregate_type", error))?;
    let id = EntityId::parse(&id).map_err(|error| bad_request("invalid_aggregate_id", error))?;
    let name = Name::parse(&body.command)
        .map_err(|error| bad_request("invalid_command", format!("command: {error}")))?;
    let command_id = command_id(body.command_id, headers)?;
    let payload = body.payload.map(|raw| raw.get().as_bytes().to_vec()).unwrap_or_default();
    if payload.len() > PAYLOAD_BYTES_MAX {
        let detail = format!("payload: {} bytes; at most {PAYLOAD_BYTES_MAX} are allowed", payload.len());
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", detail));
    }
    traces::command(&Span::current(), &kind, &id, &command_id);
    tracing::info!(
        tenant_id = %request.tenant,
        correlation_id = request.context.correlation_id,
        trace_id = request.trace_id(),
        aggregate = %kind,
        id = %id,
        command = %name,
        command_id = %command_id,
        "command"
    );
    let Context { correlation_id, traceparent, tracestate, causation_id } = request.context;
    let mut upstream = Request::new(SubmitRequest {
        tenant_id: request.tenant.to_string(),
        aggregate_type: kind.to_string(),
        aggregate_id: id.to_string(),
        command: name.to_string(),
        payload,
        command_id: command_id.to_string(),
        context: Some(wire::Context {
            correlation_id: correlation_id.clone(),
            traceparent: traceparent.as_ref().map(TraceParent::as_str).unwrap_or_default().to_owned(),
            tracestate: tracestate.unwrap_or_default(),
            causation_id: causation_id.unwrap_or_default(),
        }),
        record_refusal: false,
    });
    upstream.set_timeout(gateway.deadlines.command);
    let outcome = match gateway.commands.submit(upstream).await {
        Ok(response) => response.into_inner().outcome,
        Err(status) => {
            tracing::warn!(command_id = %command_id, code = ?status.code(), "the aggregate node did not answer");
            if status.code() == Code::InvalidArgument {
                return Err(bad_request("invalid_request", status.message()));
            }
            None
        }
    };
    answer(outcome, &command_id, &correlation_id)
}

fn command_id(in_body: Option<String>, headers: &HeaderMap) -> Result<CommandId, Problem> {
    let in_header = match headers.get(IDEMPOTENCY_KEY) {
        None => None,
        Some(raw) => {
            let raw =
                raw.to_str().map_err(|_| bad_request("invalid_command_id", "Idempotency-Key is not text"))?;
            Some(raw.to_owned())
        }
    };
    match (in_body, in_header) {
        (Some(body), Some(header)) if body != header => {
            let detail = "command_id and Idempotency-Key name different commands";
            Err(bad_request("invalid_command_id", detail))
        }
        (Some(id), _) | (None, Some(id)) => {
            CommandId::parse(&id).map_err(|error| bad_request("invalid_command_id", error))
        }
        (None, None) => CommandId::parse(&uuid::Uuid::now_v7().to_string())
            .map_err(|error| bad_request("invalid_command_id", error)),
    }
}

fn answer(
    outcome: Option<Outcome>,
    command_id: &CommandId,
    correlation_id: &str,
) -> Result<Response, Problem> {
    let of = |problem: Problem| problem.of(command_id.as_str(), correlation_id);
    match outcome {
        Some(Outcome::Accepted(accepted)) => {
            let status = if accepted.duplicate { StatusCode::OK } else { StatusCode::ACCEPTED };
            let body = json!({
                "command_id": accepted.command_id,
                "stream_seq": accepted.stream_seq,
                "version": accepted.version,
                "duplicate": accepted.duplicate,
            });
            let mut response = (status, axum::Json(body)).into_response();
            let headers = response.headers_mut();
            if let Ok(value) = HeaderValue::from_str(correlation_id) {
                headers.insert(CORRELATION_HEADER, value);
            }
            if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", accepted.version)) {
                headers.insert(header::ETAG, value);
            }
            if accepted.duplicate {
                headers.insert(REPLAYED_HEADER, HeaderValue::from_static("true"));
            }
            Ok(response)
        }
        Some(Outcome::Refused(why)) => {
            Err(of(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, &why.code, why.message)))
        }
        Some(Outcome::Invalid(why)) => {
            let status = match why.code.as_str() {
                "unknown_aggregate" | "unknown_command" => StatusCode::NOT_FOUND,
                "payload_too_large" | "too_large" => StatusCode::PAYLOAD_TOO_LARGE,
                "program_failed" => StatusCode::UNPROCESSABLE_ENTITY,
                _ => StatusCode::BAD_REQUEST,
            };
            Err(of(Problem::new(status, &why.code, why.message)))
        }
        Some(Outcome::Busy(busy)) => {
            let detail =
                format!("nothing was done ({}); send it again under the same command_id", busy.reason);
            Err(of(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retryable(1_000)))
        }
        Some(Outcome::Unknown(_)) | None => {
            let detail = "it may have been done; send it again under the same command_id to find out";
            Err(of(Problem::new(StatusCode::GATEWAY_TIMEOUT, "outcome_unknown", detail).retryable(1_000)))
        }
        Some(Outcome::Unreadable(wire::Unreadable { detail })) => {
            let detail = format!("the aggregate's history cannot be read: {detail}");
            Err(of(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "aggregate_unreadable", detail)))
        }
    }
}
