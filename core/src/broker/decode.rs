//! Calls of the API: from subject and JSON to what JetStream is asked.
//!
//! Bodies are read as the real server reads them: strictly, so that a misspelt field is an error and not a default; `null`
//! is as good as absent; where none is expected, one is refused.

use super::call::{Api, Call};
use crate::jetstream::api::{ApiError, MessageGet, StreamConfig, err_code};
use crate::jetstream::{self, MessageBy, Request};
use crate::nats::Publish;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

mod archives;
mod consumers;

fn error(code: u16, err_code: u32, description: impl Into<String>) -> ApiError {
    ApiError { code, err_code, description: description.into() }
}

fn invalid_json(why: impl std::fmt::Display) -> ApiError {
    error(400, err_code::INVALID_JSON, format!("invalid JSON: {why}"))
}

/// What a single server says to calls that only a cluster can answer, whatever they ask.
fn not_clustered() -> ApiError {
    error(503, 10_010, "JetStream clustering support required")
}

/// Reads a call whose subject is `$JS.API.<call>`.
pub(super) fn decode(call: &str, reply: Option<String>, publish: &Publish) -> Call {
    let body = &publish.payload[..];
    let tokens: Vec<&str> = call.split('.').collect();
    let ask = |api, request: Result<Request, ApiError>| {
        let reply = reply.clone().unwrap_or_default();
        let request = request.map(|request| jetstream::Input::Requested { reply, request });
        Call::Api { api, request }
    };
    match tokens[..] {
        ["INFO"] => ask(Api::AccountInfo, no_body(body).map(|()| Request::AccountInfo)),
        ["STREAM", "CREATE", stream] => ask(
            Api::StreamCreate,
            stream_config(Api::StreamCreate, stream, body)
                .map(|(config, pedantic)| Request::StreamCreate { config: Box::new(config), pedantic }),
        ),
        ["STREAM", "UPDATE", stream] => ask(
            Api::StreamUpdate,
            stream_config(Api::StreamUpdate, stream, body)
                .map(|(config, pedantic)| Request::StreamUpdate { config: Box::new(config), pedantic }),
        ),
        ["STREAM", "INFO", stream] => ask(Api::StreamInfo, stream_info(stream, body)),
        ["STREAM", "DELETE", stream] => {
            ask(Api::StreamDelete, no_body(body).map(|()| Request::StreamDelete { stream: stream.into() }))
        }
        ["STREAM", "PURGE", stream] => ask(Api::StreamPurge, stream_purge(stream, body)),
        ["STREAM", "NAMES"] => ask(Api::StreamNames, stream_names(body)),
        ["STREAM", "LIST"] => ask(Api::StreamList, stream_list(body)),
        ["STREAM", "SNAPSHOT", stream] => ask(Api::StreamSnapshot, archives::snapshot(stream, body)),
        ["STREAM", "RESTORE", stream] => ask(Api::StreamRestore, archives::restore(stream, body)),
        ["STREAM", "LEADER", "STEPDOWN", _] => ask(Api::StreamStepdown, Err(not_clustered())),
        ["STREAM", "PEER", "REMOVE", _] => ask(Api::StreamPeerRemove, Err(not_clustered())),
        ["STREAM", "MSG", "GET", stream] => ask(Api::MessageGet, message_get(stream, body)),
        ["STREAM", "MSG", "DELETE", stream] => ask(Api::MessageDelete, message_delete(stream, body)),
        ["DIRECT", "GET", stream] => direct_get(stream, body, reply),
        ["DIRECT", "GET", stream, ..] => {
            let get = MessageGet { last_by_subj: tokens[3..].join("."), ..MessageGet::default() };
            ask(Api::Bare, Ok(Request::DirectGet { stream: stream.into(), get: Box::new(get) }))
        }
        ["CONSUMER", "MSG", "NEXT", stream, consumer] => consumers::pull(stream, consumer, reply, body),
        ["CONSUMER", ref rest @ ..] => {
            consumers::decode(rest, body).map_or(Call::Ignored, |(api, request)| ask(api, request))
        }
        _ => Call::Ignored,
    }
}

/// Without `null`s: as good as absent.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(name, value)| (name, without_nulls(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nulls).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn value(body: &[u8]) -> Result<Value, ApiError> {
    let value = serde_json::from_slice(body).map_err(|why| {
        if body.is_empty() { invalid_json("unexpected end of JSON input") } else { invalid_json(why) }
    });
    Ok(without_nulls(value?))
}

/// Reads a value; an unknown field is an error.
fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ApiError> {
    // A root that is null changes nothing of what it is read into. Serde would read a struct from an array as well.
    let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
    if !value.is_object() {
        return Err(not_an_object());
    }
    let mut unknown = None;
    let read = serde_ignored::deserialize(value, |path| {
        unknown.get_or_insert_with(|| path.to_string());
    });
    if let Some(path) = unknown {
        let field = path.rsplit('.').next().unwrap_or_default();
        return Err(invalid_json(format!("json: unknown field {field:?}")));
    }
    read.map_err(invalid_json)
}

fn strict<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    typed(value(body)?)
}

/// Reads a body that may be absent.
fn optional<T: DeserializeOwned + Default>(body: &[u8]) -> Result<T, ApiError> {
    let body = body.trim_ascii();
    if body.is_empty() || body == b"null" { Ok(T::default()) } else { strict(body) }
}

fn negative_replicas() -> ApiError {
    error(400, 10_133, "replicas count cannot be negative")
}

fn not_an_object() -> ApiError {
    invalid_json("json: cannot unmarshal a value that is not an object")
}

fn no_body(body: &[u8]) -> Result<(), ApiError> {
    if matches!(body.trim_ascii(), b"" | b"{}" | b"[]" | b"null") {
        Ok(())
    } else {
        Err(error(400, 10_038, "expected an empty request payload"))
    }
}

/// A stream's configuration, and whether what cannot be had is to be refused.
fn stream_config(api: Api, stream: &str, body: &[u8]) -> Result<(StreamConfig, bool), ApiError> {
    let mut fields = value(body)?;
    let pedantic = fields.as_object_mut().and_then(|fields| fields.remove("pedantic"));
    // Judged after all that is no JSON, and after the name; of an update, before it.
    let has_negative_replicas = fields["num_replicas"].as_i64().is_some_and(|replicas| replicas < 0);
    if has_negative_replicas && let Some(fields) = fields.as_object_mut() {
        fields.remove("num_replicas");
    }
    let config: StreamConfig = typed(fields)?;
    if api == Api::StreamUpdate && config.name.is_empty() {
        let why = r"stream name is required and can not contain '.', '*', '>', '\', '/'";
        return Err(error(500, 10_052, why));
    }
    let is_judged_at_once = api == Api::StreamUpdate && has_negative_replicas;
    if config.name != stream && !is_judged_at_once {
        return Err(error(400, 10_056, "stream name in subject does not match request"));
    }
    // That it may not begin sealed is noticed first.
    if has_negative_replicas && !(api == Api::StreamCreate && config.sealed) {
        return Err(negative_replicas());
    }
    Ok((config, pedantic == Some(Value::Bool(true))))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StreamInfoBody {
    deleted_details: bool,
    subjects_filter: Option<String>,
    offset: u64,
}

fn stream_info(stream: &str, body: &[u8]) -> Result<Request, ApiError> {
    let StreamInfoBody { deleted_details, subjects_filter, offset } = optional(body)?;
    let subjects_filter = subjects_filter.filter(|filter| !filter.is_empty());
    Ok(Request::StreamInfo { stream: stream.into(), subjects_filter, offset, deleted_details })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PurgeBody {
    filter: Option<String>,
    seq: Option<u64>,
    keep: Option<u64>,
}

fn stream_purge(stream: &str, body: &[u8]) -> Result<Request, ApiError> {
    let PurgeBody { filter, seq, keep } = optional(body)?;
    let given = |number: &u64| *number > 0;
    // Before anything is known about the stream.
    if seq.is_some_and(|seq| seq > 0) && keep.is_some_and(|keep| keep > 0) {
        return Err(error(400, 10_003, "bad request"));
    }
    Ok(Request::StreamPurge {
        stream: stream.into(),
        filter: filter.filter(|filter| !filter.is_empty()),
        seq: seq.filter(given),
        keep: keep.filter(given),
    })
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PageBody {
    offset: u64,
    subject: Option<String>,
}

fn stream_names(body: &[u8]) -> Result<Request, ApiError> {
    let PageBody { offset, subject } = optional(body)?;
    Ok(Request::StreamNames { subject: subject.filter(|subject| !subject.is_empty()), offset })
}

fn stream_list(body: &[u8]) -> Result<Request, ApiError> {
    let PageBody { offset, subject } = optional(body)?;
    Ok(Request::StreamList { subject: subject.filter(|subject| !subject.is_empty()), offset })
}

fn message_get(stream: &str, body: &[u8]) -> Result<Request, ApiError> {
    let get: MessageGet = strict(body)?;
    let by = match (get.seq, get.last_by_subj, get.next_by_subj) {
        (0, subject, next) if !subject.is_empty() && next.is_empty() => MessageBy::LastBySubject(subject),
        (seq, last, subject) if last.is_empty() && !subject.is_empty() => {
            MessageBy::NextBySubject { subject, seq }
        }
        (seq, last, next) if seq > 0 && last.is_empty() && next.is_empty() => MessageBy::Seq(seq),
        (_, _, _) => return Err(error(400, 10_003, "bad request")),
    };
    Ok(Request::MessageGet { stream: stream.into(), by })
}

/// What of a direct get can be read; JetStream says what is wrong with the rest.
fn direct_get(stream: &str, body: &[u8], reply: Option<String>) -> Call {
    let reply = reply.unwrap_or_default();
    let stream = stream.to_owned();
    match optional(body) {
        Ok(get) => {
            let request = Request::DirectGet { stream, get: Box::new(get) };
            Call::Api { api: Api::Bare, request: Ok(jetstream::Input::Requested { reply, request }) }
        }
        Err(_) => Call::Malformed { stream },
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct MessageDeleteBody {
    seq: u64,
    /// Whether to leave the bytes on disk; ours are overwritten by nobody either way.
    no_erase: bool,
}

fn message_delete(stream: &str, body: &[u8]) -> Result<Request, ApiError> {
    let MessageDeleteBody { seq, no_erase: _ } = strict(body)?;
    Ok(Request::MessageDelete { stream: stream.into(), seq })
}
