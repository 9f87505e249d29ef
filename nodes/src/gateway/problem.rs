//! RFC 9457 problem details: every refusal over HTTP.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A problem. `code` is stable and for machines; `detail` is for people.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem(Box<Details>);

#[derive(Clone, PartialEq, Debug, Serialize)]
struct Details {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    code: String,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
}

impl Problem {
    /// A problem that repeating the request cannot solve.
    #[must_use]
    pub fn new(status: StatusCode, code: &str, detail: impl Into<String>) -> Self {
        Self(Box::new(Details {
            kind: format!("urn:cloudlysis:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Problem").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            code: code.to_owned(),
            retryable: false,
            retry_after_ms: None,
            command_id: None,
            correlation_id: None,
        }))
    }

    /// Repeating the request after this long may help.
    #[must_use]
    pub fn retryable(mut self, after_ms: u64) -> Self {
        self.0.retryable = true;
        self.0.retry_after_ms = Some(after_ms);
        self
    }

    /// Which command, and what it belongs to.
    #[must_use]
    pub fn of(mut self, command_id: &str, correlation_id: &str) -> Self {
        self.0.command_id = Some(command_id.to_owned());
        self.0.correlation_id = Some(correlation_id.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.0).expect("a problem serialises");
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(after_ms) = self.0.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(after_ms.div_ceil(1_000)));
        }
        response
    }
}
