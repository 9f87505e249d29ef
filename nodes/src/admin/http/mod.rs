//! The same over HTTP, under `/admin`.
//!
//! | request | answer |
//! |---|---|
//! | `POST /admin/drain` | what was left, when nothing is in flight any more or the deadline has come |
//! | `GET /admin/{projection,runner}/dlq?group=&after=&limit=` | keys that are held back, and why, a page at a time |
//! | `GET /admin/{projection,runner}/dlq/groups?after=&limit=` | the reasons they share, of all tenants |
//! | `GET /admin/{projection,runner}/dlq/messages?key=&from=&limit=` | the parked messages of one key, in order |
//! | `GET /admin/runner/dlq/selections`, `…/{selection}` | what operators selected of it, and how far that is |
//! | `POST /admin/runner/dlq/selections` | keys are frozen into a selection: `{"group"?, "key"?, "after"?, "reason"}` |
//! | `POST /admin/runner/dlq/selections/{selection}/{verb}` | `replay` (`{"per_second"?, "migrate"?}`), `discard`, `unselect` |
//! | `POST /admin/runner/dlq/skip` | the first message of a key is dropped: `{"key", "position", "reason"}` |
//! | `POST /admin/runner/dlq/edit` | a message has another body: `{"key", "position", "payload", "reason"}` |
//! | `POST /admin/reload` | which manifests of a runner changed, when they are in force |
//! | `GET /admin/runner/effects?after=` | the ledger judged, a page at a time: executed once, maybe twice, never, open |
//! | `GET /admin/runner/effects/unknown` | commands in the stream that the ledger does not know |
//! | `GET /admin/runner/effects/ledger?effect=&stage=&after=&limit=` | effects, a page at a time: `open`, `parked` (they wait for a person), `settled` |
//! | `GET /admin/runner/effects/ledger/{id}` | one effect |
//! | `POST /admin/runner/effects/ledger/{id}/{verb}` | `retry` (`{"reason", "may_repeat"?}`), `settle` (`{"reason", "outcome", "payload"?}`) |
//! | `GET /admin/runner/schedules?after=&limit=` | schedules, a page at a time: when each is next due, and what became of its occurrences |
//! | `GET /admin/runner/schedules/{schedule}` | one schedule |
//! | `POST /admin/runner/schedules/{schedule}/{verb}` | `pause`, `resume`, `trigger`, `backfill`, `stop-backfill`; all but `resume` say why: `{"reason": "…"}`; `trigger` and `backfill` have an `Idempotency-Key`, `backfill` also `from` and `to` |
//! | `GET /admin/runner/sagas?saga=&open=&after=&limit=` | instances, a page at a time |
//! | `GET /admin/runner/sagas/{saga}/{id}` | one instance, and what it waits for |
//! | `POST /admin/runner/sagas/{saga}/{id}/signals/{signal}` | a signal is stored for it; an `Idempotency-Key` makes repeating harmless |
//! | `POST /admin/runner/sagas/{saga}/{id}/restart` | one that has ended begins again: `{"reason", "restarts"?, "dry_run"?}` |
//! | `POST /admin/runner/replays/{saga}` | events that were passed come again for it, some at a time: `{"from_seq", "to_seq"?, "reason", "may_repeat"?, "dry_run"?}` |
//! | `POST /admin/runner/sagas/{saga}/{id}/{verb}` | `pause`, `resume`, `cancel`, `kill`, `migrate`; all but `resume` say why: `{"reason": "…"}` |
//!
//! Where a node has a token, all of it asks for that ([`crate::token`]).
//! The tenant is in `x-tenant-id`, as at the gateway; listing without one lists all tenants. What goes wrong is an RFC 9457 problem.

mod dlq;
mod drain;
mod effects;
mod redrive;
mod reload;
mod sagas;
mod schedules;

pub use dlq::router as dead_letters;
pub use drain::router as drain;

use super::Runner;
use super::fault::{Fault, Kind};
use super::fields;
use crate::gateway::context::TENANT_HEADER;
use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::HeaderMap;
use cloudlysis_core::wire::id::TenantId;
use serde::de::DeserializeOwned;

/// What names a request, so that it may be repeated.
const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The routes of a runner.
pub fn runner(runner: Runner) -> Router {
    let Runner { sagas, schedules, effects, dead_letters, redrive, reloads } = runner;
    let always = dlq::router("runner", dead_letters).merge(redrive::router(redrive));
    let halves = [
        sagas.map(sagas::router),
        schedules.map(schedules::router),
        effects.map(effects::router),
        reloads.map(reload::router),
    ];
    halves.into_iter().flatten().fold(always, Router::merge)
}

/// What a request says; no body says nothing.
fn said<T: DeserializeOwned>(body: &Bytes) -> Result<T, Fault> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| Fault::new(Kind::Invalid, "invalid_body", error.to_string()))
}

fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Fault> {
    let Path(path) = path.map_err(|error| Fault::new(Kind::Invalid, "invalid_path", error.body_text()))?;
    Ok(path)
}

fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Fault> {
    let Query(query) =
        query.map_err(|error| Fault::new(Kind::Invalid, "invalid_query", error.body_text()))?;
    Ok(query)
}

fn unknown_verb(name: &str, known: &str) -> Fault {
    Fault::new(Kind::NotFound, "unknown_verb", format!("there is no `{name}`: {known}"))
}

fn header<'h>(headers: &'h HeaderMap, name: &str, field: &str) -> Result<Option<&'h str>, Fault> {
    let text = headers.get(name).map(|value| value.to_str());
    fields::parsed(field, text.transpose())
}

/// Whose, where a request says so.
fn tenant(headers: &HeaderMap) -> Result<Option<TenantId>, Fault> {
    header(headers, TENANT_HEADER, "tenant_id")?.map(fields::tenant).transpose()
}

/// Whose: the default tenant's unless a request says so.
fn one_tenant(headers: &HeaderMap) -> Result<TenantId, Fault> {
    Ok(tenant(headers)?.unwrap_or_else(TenantId::default_tenant))
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    header(headers, IDEMPOTENCY_KEY, "idempotency_key")
}
