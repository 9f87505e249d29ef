//! Effects over HTTP.
//!
//! A call goes only where the application's egress list allows, follows no redirect, uses no proxy from the
//! environment, and reads a bounded answer: of a longer one the status is reported, with `null` for a body. What an error
//! proves:
//!
//! | what happened | outcome |
//! |---|---|
//! | an answer with a status | `Done` |
//! | not in the egress list, not a URL | `Refused`, for good |
//! | the connection was never made, a secret cannot be read | `Refused`, for now |
//! | anything after that | `Unknown` |

use crate::secrets::Secrets;
use bytes::BytesMut;
use cloudlysis_core::Outcome;
use cloudlysis_core::effect::{Answered, NotSent};
use cloudlysis_core::manifest::{Egress, HttpRequest};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Url, redirect};
use serde_json::Value;
use std::time::Duration;
use thiserror::Error;

/// Longest body of an answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// The HTTP client cannot be set up.
#[derive(Debug, Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct SetupError(#[from] reqwest::Error);

/// Makes calls for effects.
#[derive(Clone, Debug)]
pub struct HttpProvider {
    client: Client,
    egress: Egress,
    secrets: Secrets,
}

impl HttpProvider {
    /// A provider that may call where the egress list allows and nowhere else, with these secrets in its headers.
    ///
    /// # Errors
    /// [`SetupError`] when the TLS setup is unusable.
    pub fn new(egress: Egress, secrets: Secrets) -> Result<Self, SetupError> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .no_proxy()
            .user_agent(concat!("cloudlysis/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, egress, secrets })
    }

    /// Makes one call under an idempotency key.
    pub async fn execute(
        &self,
        request: &HttpRequest,
        idempotency_key: &str,
        timeout: Duration,
    ) -> Outcome<Answered, NotSent> {
        let forbidden = |detail: String| Outcome::Refused(NotSent { detail, forbidden: true });
        let url = match self.allowed(&request.url) {
            Ok(url) => url,
            Err(detail) => return forbidden(detail),
        };
        let Ok(method) = Method::from_bytes(request.method.as_bytes()) else {
            return forbidden(format!("`{}` is not a method", request.method));
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let (Ok(name), Ok(value)) =
                (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value))
            else {
                return forbidden(format!("header `{name}` cannot be sent"));
            };
            headers.append(name, value);
        }
        for header in request.secret_headers.iter() {
            let value = match self.secrets.fill(header) {
                Ok(value) => value,
                Err(error) => {
                    tracing::error!(%error, "a call cannot be made");
                    return Outcome::Refused(NotSent { detail: error.to_string(), forbidden: false });
                }
            };
            let (Ok(name), Ok(mut value)) =
                (HeaderName::from_bytes(header.name.as_bytes()), HeaderValue::from_str(&value))
            else {
                return forbidden(format!("header `{}` cannot be sent", header.name));
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let Ok(key) = HeaderValue::from_str(idempotency_key) else {
            return forbidden("the idempotency key cannot be sent".into());
        };
        headers.insert("idempotency-key", key);
        let mut call = self.client.request(method, url).headers(headers).timeout(timeout);
        if let Some(body) = &request.body {
            call = call.json(body);
        }
        match call.send().await {
            Ok(response) => answered(response).await,
            Err(error) if error.is_builder() => forbidden(error.to_string()),
            Err(error) if error.is_connect() => {
                Outcome::Refused(NotSent { detail: error.to_string(), forbidden: false })
            }
            Err(_) => Outcome::Unknown,
        }
    }

    fn allowed(&self, url: &str) -> Result<Url, String> {
        let url = Url::parse(url).map_err(|error| format!("`{url}` is not a URL: {error}"))?;
        if !["http", "https"].contains(&url.scheme()) {
            return Err(format!("scheme `{}` is not supported", url.scheme()));
        }
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return Err(format!("`{url}` names no host"));
        };
        let target = format!("{host}:{port}");
        if self.egress.allows_target(&target) {
            Ok(url)
        } else {
            Err(format!("{target} is not in the application's egress list"))
        }
    }
}

/// Reads the answer. A body that is too long would be as long when asked for again, and the status says what was decided:
/// it is reported alone. Half a body is not, because nobody could tell it from a whole one.
async fn answered(mut response: reqwest::Response) -> Outcome<Answered, NotSent> {
    let status = response.status().as_u16();
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() <= ANSWER_BYTES_MAX => body.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                tracing::warn!(
                    status,
                    bytes_max = ANSWER_BYTES_MAX,
                    "an answer is too long: its body is left out"
                );
                return Outcome::Done(Answered { status, body: Value::Null });
            }
            Ok(None) => break,
            // The outside decided, but what it said is needed: ask again under the same key.
            Err(_) => return Outcome::Unknown,
        }
    }
    let body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&body).into_owned()));
    Outcome::Done(Answered { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn request(url: &str) -> HttpRequest {
        HttpRequest {
            method: "POST",
            url: url.to_owned(),
            headers: Vec::new(),
            secret_headers: [].into(),
            body: Some(Value::Null),
        }
    }

    fn provider(egress: &str) -> HttpProvider {
        crate::install_tls_provider();
        HttpProvider::new(Egress::to([egress.to_owned()]), Secrets::new(None)).expect("a client")
    }

    /// A server that answers one request with these bytes and closes.
    fn answering(bytes: impl Into<String>) -> String {
        let bytes = bytes.into();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a caller");
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).expect("a request");
            assert!(String::from_utf8_lossy(&buffer[..read]).contains("idempotency-key: k-1"));
            // Whoever has read enough may have gone.
            drop(stream.write_all(bytes.as_bytes()));
        });
        address
    }

    async fn call(address: &str) -> Outcome<Answered, NotSent> {
        let timeout = Duration::from_secs(5);
        provider(address).execute(&request(&format!("http://{address}/x")), "k-1", timeout).await
    }

    #[tokio::test]
    async fn statuses_and_bodies_are_answers() {
        let address =
            answering("HTTP/1.1 402 Payment Required\r\ncontent-length: 13\r\n\r\n{\"no\":\"card\"}");
        let outcome = call(&address).await;
        let Outcome::Done(answered) = outcome else { panic!("{outcome:?}") };
        assert_eq!(answered.status, 402);
        assert_eq!(answered.body["no"], "card");
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_left_out_and_the_status_counts() {
        let of = |bytes: usize| {
            let body = format!("\"{}\"", "x".repeat(bytes - 2));
            answering(format!("HTTP/1.1 201 Created\r\ncontent-length: {bytes}\r\n\r\n{body}"))
        };
        let Outcome::Done(longest) = call(&of(ANSWER_BYTES_MAX)).await else { panic!("no answer") };
        assert_eq!(longest.body.as_str().map(str::len), Some(ANSWER_BYTES_MAX - 2));
        for bytes in [ANSWER_BYTES_MAX + 1, 3 * ANSWER_BYTES_MAX] {
            let outcome = call(&of(bytes)).await;
            assert_eq!(outcome, Outcome::Done(Answered { status: 201, body: Value::Null }), "{bytes}");
        }
    }

    #[tokio::test]
    async fn redirects_are_not_followed() {
        let address =
            answering("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        assert!(matches!(call(&address).await, Outcome::Done(Answered { status: 302, .. })));
    }

    #[tokio::test]
    async fn what_breaks_after_the_request_left_is_unknown() {
        assert_eq!(call(&answering("")).await, Outcome::Unknown);
        assert_eq!(
            call(&answering("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")).await,
            Outcome::Unknown
        );
    }

    #[tokio::test]
    async fn what_was_never_sent_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        drop(listener);
        let outcome = call(&address).await;
        assert!(matches!(outcome, Outcome::Refused(NotSent { forbidden: false, .. })), "{outcome:?}");
        for url in ["http://elsewhere.test/", "ftp://127.0.0.1/", "not a url"] {
            let outcome = provider("127.0.0.1:1").execute(&request(url), "k-1", Duration::from_secs(1)).await;
            assert!(
                matches!(outcome, Outcome::Refused(NotSent { forbidden: true, .. })),
                "{url}: {outcome:?}"
            );
        }
    }
}
