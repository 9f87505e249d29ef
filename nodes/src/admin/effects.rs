//! The audit of effects: the ledger, and what the stream of commands holds that the ledger does not know.

use super::unreadable;
use crate::gateway::context::{RequestContext, TENANT_HEADER};
use crate::gateway::problem::Problem;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use cloudlysis_core::effect::audit;
use cloudlysis_core::wire::id::TenantId;
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Table, View};
use cloudlysis_io_nats::broker::{ApiAnswer, Broker};
use cloudlysis_io_nats::store::Snapshots;
use serde::Deserialize;
use serde_json::{Value, json};

/// Rows of the ledger in one page.
const ROWS_MAX: usize = 10_000;
/// Commands without a row that are named; more are counted.
const NAMED_MAX: usize = 100;

/// What the routes need.
#[derive(Clone, Debug)]
pub struct Effects {
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Where commands are.
    pub broker: Broker,
}

/// The routes.
pub fn router(effects: Effects) -> Router {
    Router::new()
        .route("/admin/runner/effects", get(ledger))
        .route("/admin/runner/effects/unknown", get(unknown))
        .with_state(effects)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageOf {
    #[serde(default)]
    after: Option<String>,
}

fn tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Problem> {
    match headers.contains_key(TENANT_HEADER) {
        true => RequestContext::read(headers).map(|own| Some(own.tenant)),
        false => Ok(None),
    }
}

async fn ledger(
    State(effects): State<Effects>,
    page: Result<Query<PageOf>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Query(PageOf { after }) =
        page.map_err(|error| Problem::new(StatusCode::BAD_REQUEST, "invalid_query", error.body_text()))?;
    let tenant = tenant(&headers)?;
    let from = after.unwrap_or_default();
    let read = effects.snapshots.read(|view| audit::audit(view, tenant.as_ref(), from.as_bytes(), ROWS_MAX));
    let page = read.map_err(unreadable)?.map_err(unreadable)?;
    let next = page.next.map(|key| String::from_utf8_lossy(&key).into_owned());
    Ok(Json(json!({ "counts": page.counts, "doubtful": page.doubtful, "next": next })).into_response())
}

/// Commands in the stream that the ledger does not know: on their way, or lost.
async fn unknown(State(effects): State<Effects>, headers: HeaderMap) -> Result<Response, Problem> {
    let tenant = tenant(&headers)?;
    let (mut offset, mut stored, mut count, mut named) = (0, 0, 0, Vec::new());
    loop {
        let asked = json!({ "subjects_filter": "tenant.*.effect.>", "offset": offset });
        let endpoint = format!("STREAM.INFO.{}", PlatformStream::WorkflowCommands.name());
        let info: Value = match effects.broker.api(&endpoint, &asked).await {
            ApiAnswer::Ok(info) => info,
            ApiAnswer::Error(error) => return Err(unreadable(error.description)),
            ApiAnswer::NoAnswer => return Err(unreadable("the broker does not answer")),
        };
        let subjects = info["state"]["subjects"].as_object().cloned().unwrap_or_default();
        let of_tenant = subjects.keys().filter_map(|subject| match Route::parse(subject) {
            Some(Route::Effect { tenant: own, command, .. }) => {
                tenant.as_ref().is_none_or(|tenant| *tenant == own).then_some((subject, own, command))
            }
            Some(Route::EffectResult { .. } | Route::WorkflowEvent { .. } | Route::Aggregate { .. })
            | None => None,
        });
        let of_tenant: Vec<_> = of_tenant.collect();
        stored += of_tenant.len();
        let missing = effects.snapshots.read(|view: &dyn View| {
            let is_known = |tenant, command| {
                view.get(Table::Effect, &keys::effect(tenant, command)).map(|row| row.is_some())
            };
            let mut out = Vec::new();
            for (subject, tenant, command) in &of_tenant {
                if !is_known(tenant, command)? {
                    out.push((*subject).clone());
                }
            }
            Ok(out)
        });
        let missing: Vec<String> =
            missing.map_err(unreadable)?.map_err(|fault: cloudlysis_core::StoreFault| unreadable(fault))?;
        count += missing.len();
        named.extend(missing.into_iter().take(NAMED_MAX - named.len().min(NAMED_MAX)));
        offset += subjects.len();
        let total = info["total"].as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(offset);
        if subjects.is_empty() || offset >= total {
            return Ok(Json(json!({ "stored": stored, "unknown": count, "subjects": named })).into_response());
        }
    }
}
