//! The platform's streams on the broker: created only on bootstrap, validated always, never silently changed.

use crate::broker::{ApiAnswer, Broker};
use cloudlysis_core::jetstream::api::{ApiError, StreamInfo, err_code};
use cloudlysis_core::wire::stream::{INCARNATION_METADATA, Mismatch, PlatformStream, StreamRoom, validate};
use serde_json::Value;
use std::fmt::Write;
use thiserror::Error;

/// Why the streams cannot be used.
#[derive(Debug, Error)]
pub enum StreamsError {
    /// An existing stream would lose messages or break a guarantee.
    #[error("the broker's streams do not fit:{}", list(.0))]
    Mismatch(Vec<Mismatch>),
    /// A stream is missing, and this store has state from it.
    #[error(
        "stream {0} is missing, but the data directory holds state from it; restore the stream, or start with an \
         empty data directory"
    )]
    Gone(PlatformStream),
    /// A stream is missing, and creating it was not asked for.
    #[error("stream {0} does not exist; create it with --bootstrap")]
    Missing(PlatformStream),
    /// The broker refused.
    #[error(
        "the broker refuses stream {stream}: {} ({}); it reserves the room a stream may take, so it may need more \
         disk, or the stream less room",
        error.description, error.err_code
    )]
    Refused {
        /// Which.
        stream: PlatformStream,
        /// What it said.
        error: ApiError,
    },
    /// The broker does not answer.
    #[error("the broker does not answer about stream {0}: is JetStream enabled (`nats-server -js`)?")]
    NoAnswer(PlatformStream),
}

fn list(mismatches: &[Mismatch]) -> String {
    mismatches.iter().fold(String::new(), |mut out, mismatch| {
        write!(out, "\n  {mismatch}").expect("writing to a string");
        out
    })
}

/// What to do about a missing stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfMissing {
    /// Create it, unless the store already has state from it.
    Create,
    /// Say so.
    Fail,
}

/// Makes sure that every platform stream is there and fits. `known` says which streams the store has state from.
///
/// # Errors
/// [`StreamsError`] for the first stream that is missing or refused, or every mismatch of an existing one.
pub async fn ensure(
    broker: &Broker,
    room: StreamRoom,
    if_missing: IfMissing,
    known: impl Fn(PlatformStream) -> bool,
) -> Result<(), StreamsError> {
    let mut mismatches = Vec::new();
    for stream in PlatformStream::ALL {
        let policy = stream.policy(room);
        match broker.api::<StreamInfo>(&format!("STREAM.INFO.{stream}"), &Value::Null).await {
            ApiAnswer::Ok(info) => {
                if let Err(found) = validate(&policy, &info.config) {
                    mismatches.extend(found);
                }
            }
            ApiAnswer::Error(error) if error.err_code == err_code::STREAM_NOT_FOUND => {
                if known(stream) {
                    return Err(StreamsError::Gone(stream));
                }
                if if_missing == IfMissing::Fail {
                    return Err(StreamsError::Missing(stream));
                }
                let mut config = policy;
                config.metadata.insert(INCARNATION_METADATA.into(), uuid::Uuid::now_v7().to_string());
                match broker.api::<StreamInfo>(&format!("STREAM.CREATE.{stream}"), &config).await {
                    ApiAnswer::Ok(_) => tracing::info!(%stream, "stream created"),
                    // Somebody else bootstraps too: theirs must fit like any other.
                    ApiAnswer::Error(error) if error.err_code == err_code::STREAM_NAME_EXISTS => {}
                    ApiAnswer::Error(error) => return Err(StreamsError::Refused { stream, error }),
                    ApiAnswer::NoAnswer => return Err(StreamsError::NoAnswer(stream)),
                }
            }
            ApiAnswer::Error(error) => return Err(StreamsError::Refused { stream, error }),
            ApiAnswer::NoAnswer => return Err(StreamsError::NoAnswer(stream)),
        }
    }
    if mismatches.is_empty() { Ok(()) } else { Err(StreamsError::Mismatch(mismatches)) }
}
