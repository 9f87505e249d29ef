//! Publishing and the JetStream API over one connection.
//!
//! Requests go out as plain NATS requests with our own JSON types, not through the client's JetStream layer: that layer
//! maps a missing leader to "stream not found", hides error numbers, and takes any reply for success. Here every answer
//! becomes exactly what it proves.

use crate::connect::Connection;
use async_nats::{HeaderMap, Request, RequestErrorKind};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use cloudlysis_core::jetstream::api::{ApiError, err_code};
use cloudlysis_core::ns_of_rfc3339;
use cloudlysis_core::wire::answer::PublishAnswer;
use cloudlysis_core::wire::headers::Headers;
use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;

/// How long a JetStream request may take.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// What came back from the API.
#[derive(Debug)]
pub enum ApiAnswer<T> {
    /// The answer.
    Ok(T),
    /// The API's error.
    Error(ApiError),
    /// Nothing conclusive: no answer, no leader, no connection, or an answer that cannot be read.
    NoAnswer,
}

/// A message as the stream holds it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredMessage {
    /// Its subject.
    pub subject: String,
    /// Its sequence.
    pub seq: u64,
    /// Its headers.
    pub headers: Headers,
    /// Its body.
    pub payload: Bytes,
    /// When it was stored, in nanoseconds since 1970, if the broker says so.
    pub stored_at_ns: Option<u64>,
}

/// Talks to the broker.
#[derive(Clone, Debug)]
pub struct Broker {
    connection: Connection,
}

/// Which message to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Which<'s> {
    /// The last one on a subject.
    LastOn(&'s str),
    /// The one at a sequence.
    At(u64),
    /// The first one on a subject at or after a sequence.
    NextOn(&'s str, u64),
}

impl Broker {
    /// Over this connection.
    #[must_use]
    pub const fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// The connection.
    #[must_use]
    pub const fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Publishes and waits for the acknowledgement.
    pub async fn publish(&self, subject: String, headers: &Headers, payload: Bytes) -> PublishAnswer {
        if !self.connection.is_connected() {
            // The client would queue it and send it whenever the broker is back, long after we gave up on it.
            return PublishAnswer::Disconnected;
        }
        let request =
            Request::new().payload(payload).headers(header_map(headers)).timeout(Some(REQUEST_TIMEOUT));
        match self.connection.client().send_request(subject, request).await {
            Ok(message) => publish_answer(&message.payload),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => PublishAnswer::NoResponders,
                RequestErrorKind::TimedOut => PublishAnswer::TimedOut,
                RequestErrorKind::MaxPayloadExceeded => PublishAnswer::Error {
                    err_code: err_code::MESSAGE_EXCEEDS_MAXIMUM,
                    description: "larger than the broker's max_payload".into(),
                },
                RequestErrorKind::InvalidSubject | RequestErrorKind::Other => PublishAnswer::Disconnected,
            },
        }
    }

    /// Publishes without waiting for anything; lost when the broker is away.
    pub async fn send(&self, subject: String, payload: Bytes) {
        if self.connection.is_connected() {
            // An error means that the connection is gone, which its owner learns by itself.
            drop(self.connection.client().publish(subject, payload).await);
        }
    }

    /// Publishes with a reply subject, without waiting; lost when the broker is away.
    pub(crate) async fn send_with_reply(&self, subject: String, reply: String, payload: Bytes) {
        if self.connection.is_connected() {
            drop(self.connection.client().publish_with_reply(subject, reply, payload).await);
        }
    }

    /// Asks the JetStream API.
    pub async fn api<T: DeserializeOwned>(&self, endpoint: &str, body: &impl Serialize) -> ApiAnswer<T> {
        #[derive(Deserialize)]
        struct Failure {
            error: Option<ApiError>,
        }
        if !self.connection.is_connected() {
            return ApiAnswer::NoAnswer;
        }
        let body = serde_json::to_vec(body).expect("API requests serialise");
        let body = if body == b"null" { Bytes::new() } else { Bytes::from(body) };
        let request = Request::new().payload(body).timeout(Some(REQUEST_TIMEOUT));
        let subject = format!("$JS.API.{endpoint}");
        let Ok(message) = self.connection.client().send_request(subject, request).await else {
            return ApiAnswer::NoAnswer;
        };
        match serde_json::from_slice(&message.payload) {
            Ok(Failure { error: Some(error) }) => return ApiAnswer::Error(error),
            Ok(Failure { error: None }) => {}
            Err(_) => return ApiAnswer::NoAnswer,
        }
        match serde_json::from_slice(&message.payload) {
            Ok(answer) => ApiAnswer::Ok(answer),
            Err(error) => {
                tracing::error!(endpoint, %error, "the broker's answer cannot be read");
                ApiAnswer::NoAnswer
            }
        }
    }

    /// Reads one message from the stream's leader: what was acknowledged is seen. `Ok(None)` when there is none.
    pub async fn message(&self, stream: &str, which: Which<'_>) -> ApiAnswer<Option<StoredMessage>> {
        #[derive(Deserialize)]
        struct Answer {
            message: Raw,
        }
        #[derive(Deserialize)]
        struct Raw {
            subject: String,
            seq: u64,
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
            #[serde(default)]
            time: String,
        }
        let body: Value = match which {
            Which::LastOn(subject) => json!({ "last_by_subj": subject }),
            Which::At(seq) => json!({ "seq": seq }),
            Which::NextOn(subject, seq) => json!({ "next_by_subj": subject, "seq": seq }),
        };
        let Raw { subject, seq, hdrs, data, time } =
            match self.api::<Answer>(&format!("STREAM.MSG.GET.{stream}"), &body).await {
                ApiAnswer::Ok(answer) => answer.message,
                ApiAnswer::Error(error) if error.err_code == err_code::NO_MESSAGE_FOUND => {
                    return ApiAnswer::Ok(None);
                }
                ApiAnswer::Error(error) => return ApiAnswer::Error(error),
                ApiAnswer::NoAnswer => return ApiAnswer::NoAnswer,
            };
        let (Ok(block), Ok(payload)) = (BASE64.decode(hdrs), BASE64.decode(data)) else {
            return ApiAnswer::NoAnswer;
        };
        let block = String::from_utf8_lossy(&block);
        let headers = if block.is_empty() { Some(Headers::default()) } else { Headers::decode(&block) };
        let headers = headers.unwrap_or_default();
        let stored_at_ns = ns_of_rfc3339(&time);
        ApiAnswer::Ok(Some(StoredMessage { subject, seq, headers, payload: payload.into(), stored_at_ns }))
    }
}

fn publish_answer(payload: &[u8]) -> PublishAnswer {
    #[derive(Deserialize)]
    struct Ack {
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        duplicate: bool,
        error: Option<ApiError>,
    }
    match serde_json::from_slice(payload) {
        Ok(Ack { error: Some(error), .. }) => {
            PublishAnswer::Error { err_code: error.err_code, description: error.description }
        }
        Ok(Ack { error: None, seq, duplicate }) if seq > 0 => PublishAnswer::Acked { seq, duplicate },
        // Whoever answered, it was not a stream: nothing is proved.
        Ok(_) | Err(_) => PublishAnswer::TimedOut,
    }
}

fn header_map(headers: &Headers) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers.iter() {
        out.append(name, value);
    }
    out
}

/// The headers of a received message, in an order that depends only on them.
pub(crate) fn core_headers(headers: Option<&HeaderMap>) -> Headers {
    let mut pairs: Vec<(&str, &str)> = headers
        .into_iter()
        .flat_map(|headers| headers.iter())
        .flat_map(|(name, values)| values.iter().map(move |value| (name.as_ref(), value.as_str())))
        .collect();
    pairs.sort_unstable();
    pairs.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_prove_only_what_they_prove() {
        assert_eq!(
            publish_answer(br#"{"stream":"S","seq":7}"#),
            PublishAnswer::Acked { seq: 7, duplicate: false }
        );
        assert_eq!(
            publish_answer(br#"{"stream":"S","seq":7,"duplicate": true}"#),
            PublishAnswer::Acked { seq: 7, duplicate: true }
        );
        let error = br#"{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"S","seq":0}"#;
        assert!(matches!(publish_answer(error), PublishAnswer::Error { err_code: 10_071, .. }));
        for nothing in [&b"{}"[..], b"", b"null", b"hello"] {
            assert_eq!(publish_answer(nothing), PublishAnswer::TimedOut);
        }
    }
}
