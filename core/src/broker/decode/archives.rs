//! Calls about archives: snapshots and restores.

use super::{error, no_body, typed, value};
use crate::jetstream::api::{ApiError, StreamConfig};
use crate::jetstream::{Request, SnapshotRequest};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A call that says nothing.
fn check_body(body: &[u8]) -> Result<(), ApiError> {
    if no_body(body).is_ok() { Err(error(400, 10_003, "bad request")) } else { Ok(()) }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct SnapshotBody {
    deliver_subject: String,
    no_consumers: bool,
    /// What it asks for, the original does in any case.
    #[serde(rename = "jsck")]
    _check: bool,
    chunk_size: i64,
    window_size: i64,
}

pub(super) fn snapshot(stream: &str, body: &[u8]) -> Result<Request, ApiError> {
    // A list is nothing to other calls.
    if body.trim_ascii() != b"[]" {
        check_body(body)?;
    }
    let SnapshotBody { deliver_subject, no_consumers, chunk_size, window_size, .. } = typed(value(body)?)?;
    let asked =
        SnapshotRequest { deliver_subject, no_consumers, chunk_bytes: chunk_size, window_bytes: window_size };
    Ok(Request::StreamSnapshot { stream: stream.to_owned(), asked })
}

/// The state a client read with the snapshot: the archive has it too, and says it better.
#[derive(Deserialize)]
struct RestoreBody {
    config: StreamConfig,
    #[serde(default, rename = "state")]
    _state: Option<StateBody>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StateBody {
    #[serde(rename = "messages")]
    _messages: u64,
    #[serde(rename = "bytes")]
    _bytes: u64,
    #[serde(rename = "first_seq")]
    _first_seq: u64,
    #[serde(rename = "first_ts")]
    _first_ts: String,
    #[serde(rename = "last_seq")]
    _last_seq: u64,
    #[serde(rename = "last_ts")]
    _last_ts: String,
    #[serde(rename = "num_subjects")]
    _num_subjects: u64,
    #[serde(rename = "subjects")]
    _subjects: BTreeMap<String, u64>,
    #[serde(rename = "num_deleted")]
    _num_deleted: u64,
    #[serde(rename = "deleted")]
    _deleted: Vec<u64>,
    #[serde(rename = "lost")]
    _lost: Value,
    #[serde(rename = "consumer_count")]
    _consumer_count: i64,
}

pub(super) fn restore(stream: &str, body: &[u8]) -> Result<Request, ApiError> {
    check_body(body)?;
    let mut fields = value(body)?;
    let config = &mut fields["config"];
    if config.is_null() {
        *config = Value::Object(serde_json::Map::new());
    }
    if let Some(config) = config.as_object_mut()
        && config.get("name").is_none_or(|name| name == "")
    {
        config.insert("name".to_owned(), stream.into());
    }
    if fields["config"]["num_replicas"].as_i64().is_some_and(|replicas| replicas < 0) {
        return Err(error(400, 10_133, "replicas count cannot be negative"));
    }
    let RestoreBody { config, .. } = typed(fields)?;
    if config.name != stream {
        return Err(error(400, 10_056, "stream name in subject does not match request"));
    }
    Ok(Request::StreamRestore { config: Box::new(config) })
}
