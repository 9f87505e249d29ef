//! `GET /v1/query/{view}/{id}` and `GET /v1/query/{view}?limit=&after=`.

use super::Gateway;
use super::context::RequestContext;
use crate::problem::Problem;
use crate::proto::query::query_service_client::QueryServiceClient;
use crate::proto::query::{GetRequest, ListRequest, Row};
use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

/// Where a page begins and how long it is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PageOf {
    #[serde(default)]
    limit: Option<u32>,
    #[serde(default)]
    after: Option<String>,
}

fn row(row: &Row) -> Value {
    // The node wrote it from JSON.
    let value: Value = serde_json::from_slice(&row.value).unwrap_or(Value::Null);
    json!({ "id": row.id, "seq": row.seq, "row": value })
}

#[expect(clippy::wildcard_enum_match_arm, reason = "gRPC's codes; whatever else is not an answer")]
pub(super) fn problem(status: &Status) -> Problem {
    match status.code() {
        Code::InvalidArgument => Problem::new(StatusCode::BAD_REQUEST, "invalid_query", status.message()),
        Code::NotFound => Problem::new(StatusCode::NOT_FOUND, "unknown_view", status.message()),
        Code::DeadlineExceeded | Code::Cancelled => {
            Problem::new(StatusCode::GATEWAY_TIMEOUT, "query_timeout", "the query took too long")
                .retryable(1_000)
        }
        _ => {
            tracing::warn!(code = ?status.code(), message = status.message(), "the projection node did not answer");
            let detail = "the projection node is not available";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "projection_unavailable", detail).retryable(1_000)
        }
    }
}

pub(super) async fn one(
    State(gateway): State<Gateway>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Path((view, id)) =
        path.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_path", error.body_text()))?;
    let request = RequestContext::read(&headers)?;
    let question = GetRequest { tenant_id: request.tenant.to_string(), view, id: id.clone() };
    let ask = |mut node: QueryServiceClient<Channel>, request| async move { node.get(request).await };
    let answer = gateway.queries.ask(&request.tenant, question, gateway.deadlines.query, ask).await?;
    match answer.row {
        Some(found) => Ok(Json(row(&found)).into_response()),
        None => Err(Problem::new(StatusCode::NOT_FOUND, "row_not_found", format!("there is no row `{id}`"))),
    }
}

pub(super) async fn list(
    State(gateway): State<Gateway>,
    path: Result<Path<String>, PathRejection>,
    page: Result<Query<PageOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let bad = |detail| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", detail);
    let Path(view) = path.map_err(|error| bad(error.body_text()))?;
    let Query(PageOf { limit, after }) = page.map_err(|error| bad(error.body_text()))?;
    let request = RequestContext::read(&headers)?;
    let question = ListRequest {
        tenant_id: request.tenant.to_string(),
        view,
        after: after.unwrap_or_default(),
        limit: limit.unwrap_or_default(),
    };
    let ask = |mut node: QueryServiceClient<Channel>, request| async move { node.list(request).await };
    let answer = gateway.queries.ask(&request.tenant, question, gateway.deadlines.query, ask).await?;
    let rows: Vec<Value> = answer.rows.iter().map(row).collect();
    let next = (!answer.next.is_empty()).then_some(answer.next);
    Ok(Json(json!({ "rows": rows, "next": next })).into_response())
}
