//! RFC 9457 problem details: every refusal over HTTP.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
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

/// Refusals that came about before anybody of ours was asked, in plain text or without a word: problems, too. What gRPC
/// clients are told stays as it is.
pub async fn or_problem(request: Request, next: Next) -> Response {
    let begins = |headers: &HeaderMap, kind: &str| {
        let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.starts_with(kind))
    };
    let is_grpc = begins(request.headers(), "application/grpc");
    let mut response = next.run(request).await;
    let (code, detail) = match response.status() {
        StatusCode::NOT_FOUND => (
            "unknown_route",
            "there is nothing at this address; another node, or the other half of a runner, may have it",
        ),
        StatusCode::METHOD_NOT_ALLOWED => ("method_not_allowed", "this address takes another method"),
        StatusCode::PAYLOAD_TOO_LARGE => ("payload_too_large", "the body is larger than this address takes"),
        _ => return response,
    };
    if is_grpc || begins(response.headers(), "application/") {
        return response;
    }
    let allow = response.headers_mut().remove(header::ALLOW);
    let mut problem = Problem::new(response.status(), code, detail).into_response();
    problem.headers_mut().extend(allow.map(|allow| (header::ALLOW, allow)));
    problem
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{self, Openness};
    use axum::Router;
    use axum::extract::DefaultBodyLimit;
    use axum::routing::post;
    use tokio::sync::watch;

    #[tokio::test]
    async fn whatever_is_refused_is_a_problem() {
        let own = async || Problem::new(StatusCode::NOT_FOUND, "no_such_saga", "none");
        let router = Router::new()
            .route("/own", post(own))
            .route("/body", post(async |text: String| text))
            .layer(DefaultBodyLimit::max(4));
        let openness = Openness { unauthenticated: Some(true), admin: None };
        let listener = server::bind("127.0.0.1:0", &openness).await.expect("a listener");
        let address = listener.local_addr().expect("an address");
        let (_stop, stopping) = watch::channel(false);
        let _server = server::serve(listener, router, stopping);
        cloudlysis_io_nats::install_tls_provider();
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let ask = async |method: &str, path: &str, kind: &str, body: &'static str| {
            let method = method.parse::<reqwest::Method>().expect("a method");
            let request = client.request(method, format!("http://{address}{path}")).body(body);
            request.header("content-type", kind).send().await.expect("an answer")
        };
        for (method, path, body, status, code) in [
            ("POST", "/nowhere", "", 404, "unknown_route"),
            ("GET", "/body", "", 405, "method_not_allowed"),
            ("POST", "/body", "too long", 413, "payload_too_large"),
            ("POST", "/own", "", 404, "no_such_saga"),
        ] {
            let response = ask(method, path, "text/plain", body).await;
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(response.headers()["content-type"], "application/problem+json");
            assert_eq!(response.headers().contains_key("allow"), status == 405);
            let text = response.text().await.expect("a body");
            assert!(text.contains(&format!("\"code\":\"{code}\"")), "{path}: {text}");
        }
        let response = ask("POST", "/body", "text/plain", "some").await;
        assert_eq!(response.text().await.ok().as_deref(), Some("some"));
        let response = ask("POST", "/nowhere", "application/grpc", "").await;
        assert_eq!(response.status().as_u16(), 404);
        assert_eq!(response.text().await.ok().as_deref(), Some(""), "as gRPC reads it");
    }
}
