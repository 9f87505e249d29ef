//! The outside world of the example shop: payments, shipping, mail.
//!
//! They remember every request by its `Idempotency-Key`: the first one decides, a repeated one gets the same answer
//! and is only counted. `GET /ledger` shows what happened, so that a test, or a sceptical reader, can count charges.
//!
//! | request | answer |
//! |---|---|
//! | `POST /payments/charges {order, cents, card}` | 201 with an id, or 402 when the card is `declined` |
//! | `POST /payments/refunds {order, cents, charge}` | 201 with an id |
//! | `POST /shipping/parcels {order, sku, qty}` | 201 with an id, or 422 when the article is `unshippable` |
//! | `POST /mail/receipts {order, cents}` | 202 with an id |
//! | `GET /ledger` | every operation, with how often it was requested |
//! | `GET /health` | 200 |
//!
//! The operations can be kept in a file, one JSON line each, so that they outlive the process.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// One operation: everything that was ever done under one key.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Operation {
    /// The idempotency key.
    pub key: String,
    /// `charge`, `refund`, `parcel` or `receipt`.
    pub kind: String,
    /// Whose.
    pub tenant: String,
    /// What was asked.
    pub request: Value,
    /// The status every request under this key gets.
    pub status: u16,
    /// The body every request under this key gets.
    pub response: Value,
    /// How often it was requested.
    #[serde(default)]
    pub requests: u64,
}

/// What the services remember.
#[derive(Debug, Default)]
struct Memory {
    operations: BTreeMap<String, Operation>,
    file: Option<File>,
}

/// The services, to be served or looked into.
#[derive(Clone, Debug, Default)]
pub struct Services {
    memory: Arc<Mutex<Memory>>,
}

impl Services {
    /// Services that remember across restarts.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn with_file(path: &FilePath) -> io::Result<Self> {
        let mut operations = BTreeMap::new();
        if path.exists() {
            for line in BufReader::new(File::open(path)?).lines() {
                // A line that was cut off by a crash was never answered.
                if let Ok(operation) = serde_json::from_str::<Operation>(&line?) {
                    operations.insert(operation.key.clone(), operation);
                }
            }
        }
        let file = File::options().create(true).append(true).open(path)?;
        Ok(Self { memory: Arc::new(Mutex::new(Memory { operations, file: Some(file) })) })
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health", get(|| async { "ok" }))
            .route("/ledger", get(ledger))
            .route("/payments/{kind}", post(payments))
            .route("/shipping/parcels", post(parcels))
            .route("/mail/receipts", post(receipts))
            .with_state(self.clone())
    }

    /// Every operation so far.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.locked().operations.values().cloned().collect()
    }

    fn locked(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decides the first time, repeats the answer ever after.
    fn operate(
        &self,
        kind: &str,
        headers: &HeaderMap,
        request: Value,
        decide: impl FnOnce(&Value, &str) -> (u16, Value),
    ) -> (StatusCode, Json<Value>) {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let Some(key) = header("idempotency-key") else {
            return (StatusCode::BAD_REQUEST, Json(json!({ "error": "Idempotency-Key is missing" })));
        };
        let tenant = header("x-tenant-id").unwrap_or_default();
        let mut memory = self.locked();
        if !memory.operations.contains_key(&key) {
            let id = format!("{kind}-{}", memory.operations.len() + 1);
            let (status, response) = decide(&request, &id);
            let kind = kind.to_owned();
            let operation = Operation {
                key: key.clone(),
                kind,
                tenant,
                request: request.clone(),
                status,
                response,
                requests: 0,
            };
            if let Some(file) = &mut memory.file {
                let line = serde_json::to_string(&operation).unwrap_or_default();
                if writeln!(file, "{line}").and_then(|()| file.sync_data()).is_err() {
                    return (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "nothing was done" })));
                }
            }
            memory.operations.insert(key.clone(), operation);
        }
        let Some(operation) = memory.operations.get_mut(&key) else {
            return (StatusCode::SERVICE_UNAVAILABLE, Json(Value::Null));
        };
        if operation.request != request {
            let error = json!({ "error": "this key was used for another request" });
            return (StatusCode::CONFLICT, Json(error));
        }
        operation.requests += 1;
        let status = StatusCode::from_u16(operation.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(operation.response.clone()))
    }
}

async fn payments(
    State(services): State<Services>,
    Path(kind): Path<String>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> (StatusCode, Json<Value>) {
    match kind.as_str() {
        "charges" => services.operate("charge", &headers, request, |request, id| {
            if request["card"] == "declined" {
                (402, json!({ "error": "card declined" }))
            } else {
                (201, json!({ "id": id }))
            }
        }),
        "refunds" => services.operate("refund", &headers, request, |_, id| (201, json!({ "id": id }))),
        _ => (StatusCode::NOT_FOUND, Json(Value::Null)),
    }
}

async fn parcels(
    State(services): State<Services>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> (StatusCode, Json<Value>) {
    services.operate("parcel", &headers, request, |request, id| {
        if request["sku"] == "unshippable" {
            (422, json!({ "error": "no carrier takes it" }))
        } else {
            (201, json!({ "id": id }))
        }
    })
}

async fn receipts(
    State(services): State<Services>,
    headers: HeaderMap,
    Json(request): Json<Value>,
) -> (StatusCode, Json<Value>) {
    services.operate("receipt", &headers, request, |_, id| (202, json!({ "id": id })))
}

async fn ledger(State(services): State<Services>) -> Json<Value> {
    let operations = services.operations();
    let of = |kind: &str| operations.iter().filter(|own| own.kind == kind && own.status < 300).count();
    Json(json!({
        "charges": of("charge"),
        "refunds": of("refund"),
        "parcels": of("parcel"),
        "receipts": of("receipt"),
        "operations": operations,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    async fn post(services: &Services, path: &str, key: Option<&str>, body: Value) -> (u16, Value) {
        let mut request = Request::post(path).header("content-type", "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_string())).expect("a request");
        let response = services.router().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    #[tokio::test]
    async fn a_key_is_charged_once() {
        let services = Services::default();
        let charge = json!({ "order": "o-1", "cents": 5, "card": "valid" });
        let first = post(&services, "/payments/charges", Some("k"), charge.clone()).await;
        assert_eq!(first, (201, json!({ "id": "charge-1" })));
        assert_eq!(post(&services, "/payments/charges", Some("k"), charge.clone()).await, first);
        let operations = services.operations();
        assert_eq!((operations.len(), operations[0].requests), (1, 2));
        assert_eq!(post(&services, "/payments/charges", Some("k"), json!({ "order": "o-2" })).await.0, 409);
        assert_eq!(post(&services, "/payments/charges", None, charge).await.0, 400);
        let declined = json!({ "order": "o-3", "cents": 5, "card": "declined" });
        assert_eq!(post(&services, "/payments/charges", Some("d"), declined).await.0, 402);
    }

    #[tokio::test]
    async fn operations_outlive_the_process() {
        let file = std::env::temp_dir().join(format!("shop-services-{}.jsonl", std::process::id()));
        drop(std::fs::remove_file(&file));
        let services = Services::with_file(&file).expect("opens");
        let parcel = json!({ "order": "o-1", "sku": "tea", "qty": 1 });
        assert_eq!(post(&services, "/shipping/parcels", Some("p"), parcel.clone()).await.0, 201);
        let again = Services::with_file(&file).expect("opens");
        assert_eq!(post(&again, "/shipping/parcels", Some("p"), parcel).await.1, json!({ "id": "parcel-1" }));
        drop(std::fs::remove_file(&file));
    }
}
