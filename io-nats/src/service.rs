//! Effects as requests to NATS services, on the connection of the process.
//!
//! A request goes only where the application's egress list allows, with `Idempotency-Key`. What comes back, or does not:
//!
//! | what happened | outcome |
//! |---|---|
//! | a reply | `Done`, with its `Nats-Service-Error-Code`, or 500 if only `Nats-Service-Error` is there, or 200 |
//! | not in the egress list, not a subject | `Refused`, for good |
//! | nobody listens, no connection, a secret cannot be read | `Refused`, for now: nobody got it |
//! | no reply in time, the connection broke | `Unknown` |

use crate::connect::Connection;
use crate::secrets::Secrets;
use async_nats::client::RequestErrorKind;
use async_nats::{HeaderMap, HeaderName, HeaderValue, Message, Request};
use bytes::Bytes;
use cloudlysis_core::Outcome;
use cloudlysis_core::effect::{Answered, NotSent};
use cloudlysis_core::manifest::{Egress, NatsRequest};
use cloudlysis_core::wire::subject::Subject;
use serde_json::Value;
use std::str::FromStr;
use std::time::Duration;

/// The status of a reply without one.
const OK: u16 = 200;
/// The status of an error without one: the service itself went wrong.
const SERVICE_ERROR: u16 = 500;

/// Makes requests for effects.
#[derive(Clone, Debug)]
pub struct ServiceProvider {
    connection: Connection,
    egress: Egress,
    secrets: Secrets,
}

impl ServiceProvider {
    /// A provider that may ask where the egress list allows and nowhere else, with these secrets in its headers.
    #[must_use]
    pub const fn new(connection: Connection, egress: Egress, secrets: Secrets) -> Self {
        Self { connection, egress, secrets }
    }

    /// Makes one request under an idempotency key.
    pub async fn execute(
        &self,
        request: &NatsRequest,
        idempotency_key: &str,
        timeout: Duration,
    ) -> Outcome<Answered, NotSent> {
        let refused = |detail: String, forbidden| Outcome::Refused(NotSent { detail, forbidden });
        let NatsRequest { subject, headers, secret_headers, body } = request;
        if Subject::parse(subject).is_err() {
            return refused(format!("`{subject}` is not a subject"), true);
        }
        if !self.egress.allows_subject(subject) {
            return refused(format!("nats:{subject} is not in the application's egress list"), true);
        }
        let mut sent = HeaderMap::new();
        let mut secrets = Vec::with_capacity(secret_headers.len());
        for header in secret_headers.iter() {
            match self.secrets.fill(header) {
                Ok(value) => secrets.push((header.name.as_str(), value)),
                Err(error) => {
                    tracing::error!(%error, "a request cannot be made");
                    return refused(error.to_string(), false);
                }
            }
        }
        let own = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let secrets = secrets.iter().map(|(name, value)| (*name, value.as_str()));
        for (name, value) in own.chain(secrets).chain([("Idempotency-Key", idempotency_key)]) {
            let (Ok(name), Ok(value)) = (HeaderName::from_str(name), HeaderValue::from_str(value)) else {
                return refused(format!("header `{name}` cannot be sent"), true);
            };
            sent.insert(name, value);
        }
        if !self.connection.is_connected() {
            // The client would queue it and send it whenever the broker is back, long after we gave up on it.
            return refused("there is no connection to the broker".into(), false);
        }
        let payload = body.as_ref().map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let asked = Request::new().payload(payload).headers(sent).timeout(Some(timeout));
        match self.connection.client().send_request(subject.clone(), asked).await {
            Ok(reply) => Outcome::Done(answered(&reply)),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => refused(format!("nobody listens on {subject}"), false),
                RequestErrorKind::InvalidSubject => refused(format!("`{subject}` is not a subject"), true),
                RequestErrorKind::MaxPayloadExceeded => {
                    refused("the request is larger than the broker's max_payload".into(), true)
                }
                RequestErrorKind::TimedOut | RequestErrorKind::Other => Outcome::Unknown,
            },
        }
    }
}

fn answered(reply: &Message) -> Answered {
    let header = |name: &str| reply.headers.as_ref().and_then(|headers| headers.get(name));
    let code = header("Nats-Service-Error-Code").and_then(|code| code.as_str().parse().ok());
    let status = code.filter(|code| (100..600).contains(code));
    let status = match status {
        Some(status) => status,
        None if header("Nats-Service-Error").is_some() => SERVICE_ERROR,
        None => OK,
    };
    let body = if reply.payload.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&reply.payload)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&reply.payload).into_owned()))
    };
    Answered { status, body }
}
