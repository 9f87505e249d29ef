//! What operators ask a node for, over HTTP under `/admin`.
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
//! | `GET /admin/runner/schedules?after=&limit=` | schedules, a page at a time: when each is next due, and what became of its occurrences |
//! | `GET /admin/runner/schedules/{schedule}` | one schedule |
//! | `POST /admin/runner/schedules/{schedule}/{verb}` | `pause`, `resume`, `trigger`, `backfill`, `stop-backfill`; all but `resume` say why: `{"reason": "…"}`; `trigger` and `backfill` have an `Idempotency-Key`, `backfill` also `from` and `to` |
//! | `GET /admin/runner/sagas?saga=&open=&after=&limit=` | instances, a page at a time |
//! | `GET /admin/runner/sagas/{saga}/{id}` | one instance, and what it waits for |
//! | `POST /admin/runner/sagas/{saga}/{id}/signals/{signal}` | a signal is stored for it; an `Idempotency-Key` makes repeating harmless |
//! | `POST /admin/runner/sagas/{saga}/{id}/{verb}` | `pause`, `resume`, `cancel`, `kill`, `migrate`; all but `resume` say why: `{"reason": "…"}` |
//!
//! Where a node has a token, all of it asks for that ([`crate::token`]).
//! The tenant is in `x-tenant-id`, as at the gateway; listing without one lists all tenants. What goes wrong is an RFC 9457 problem.

pub mod dlq;
pub mod drain;
pub mod effects;
pub mod operator;
pub mod redrive;
pub mod reload;
pub mod sagas;
pub mod schedules;

use crate::gateway::problem::Problem;
use axum::body::Bytes;
use axum::http::StatusCode;
use cloudlysis_core::operator::Reason;
use serde::de::DeserializeOwned;

fn bad(code: &str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code, detail)
}

/// What a request says; no body says nothing.
fn said<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| bad("invalid_body", error.to_string()))
}

/// Why something is to be done.
fn reason(text: Option<&str>) -> Result<Reason, Problem> {
    Reason::parse(text.unwrap_or_default())
        .map_err(|error| bad("invalid_reason", format!("`reason`: {error}")))
}

fn unreadable(detail: impl ToString) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "store_unreadable", detail.to_string()).retryable(1_000)
}
