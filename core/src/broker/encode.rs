//! What JetStream answers, as bytes: JSON in an envelope, a message as it is, or a status.
//!
//! Fields stand in the order in which the real server prints them.

use super::NOTHING;
use super::call::Api;
use crate::jetstream::api::{ApiError, Page, Paging, ZERO_TIME};
use crate::jetstream::{Answer, DirectStatus, StoredMessage};
use crate::wire::headers::Headers;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Plain data as JSON.
pub(super) fn json<T: Serialize>(data: &T) -> Bytes {
    serde_json::to_vec(data).expect("plain data with string keys is JSON").into()
}

/// A header block with a status line.
pub(super) fn status(code: u16, description: &str, headers: &Headers) -> Bytes {
    let mut block = format!("NATS/1.0 {code}");
    if !description.is_empty() {
        write!(block, " {description}").expect("writing to a string");
    }
    block.push_str("\r\n");
    for (name, value) in headers.iter() {
        write!(block, "{name}: {value}\r\n").expect("writing to a string");
    }
    block.push_str("\r\n");
    block.into()
}

impl Api {
    /// The name of its answers' schema, between `io.nats.jetstream.api.v1.` and `_response`.
    const fn schema(self) -> &'static str {
        match self {
            Self::AccountInfo => "account_info",
            Self::StreamCreate => "stream_create",
            Self::StreamUpdate => "stream_update",
            Self::StreamInfo => "stream_info",
            Self::StreamDelete => "stream_delete",
            Self::StreamPurge => "stream_purge",
            Self::StreamNames => "stream_names",
            Self::StreamList => "stream_list",
            Self::StreamSnapshot => "stream_snapshot",
            Self::StreamRestore => "stream_restore",
            Self::StreamStepdown => "stream_leader_stepdown",
            Self::StreamPeerRemove => "stream_remove_peer",
            Self::MessageGet => "stream_msg_get",
            Self::MessageDelete => "stream_msg_delete",
            Self::ConsumerCreate => "consumer_create",
            Self::ConsumerInfo => "consumer_info",
            Self::ConsumerDelete => "consumer_delete",
            Self::ConsumerPause => "consumer_pause",
            Self::ConsumerReset => "consumer_reset",
            Self::ConsumerUnpin => "consumer_unpin",
            Self::ConsumerStepDown => "consumer_leader_stepdown",
            Self::ConsumerNames => "consumer_names",
            Self::ConsumerList => "consumer_list",
            Self::Bare => "",
        }
    }
}

#[derive(Serialize)]
struct Envelope<T> {
    #[serde(rename = "type")]
    schema: String,
    #[serde(flatten)]
    body: T,
}

fn envelope<T: Serialize>(api: Api, body: T) -> (Bytes, Bytes) {
    let schema = format!("io.nats.jetstream.api.v1.{}_response", api.schema());
    (NOTHING.clone(), json(&Envelope { schema, body }))
}

/// The ack of a publish, written by hand: there is one for every message.
fn published(stream: &str, seq: u64, duplicate: bool, val: Option<&str>) -> Bytes {
    let mut ack = String::with_capacity(64);
    let more = if duplicate { ",\"duplicate\": true" } else { "" };
    // Names of streams need no escapes, and counts are digits.
    write!(ack, "{{\"stream\":\"{stream}\",\"seq\":{seq}{more}").expect("writing to a string");
    if let Some(val) = val {
        write!(ack, ",\"val\":\"{val}\"").expect("writing to a string");
    }
    ack.push('}');
    ack.into()
}

fn stored(message: &StoredMessage) -> Value {
    let mut fields = Map::new();
    fields.insert("subject".into(), json!(&*message.subject));
    fields.insert("seq".into(), json!(message.seq));
    if !message.headers.is_empty() {
        fields.insert("hdrs".into(), json!(BASE64.encode(message.headers.as_bytes())));
    }
    if !message.payload.is_empty() {
        fields.insert("data".into(), json!(BASE64.encode(&message.payload)));
    }
    fields.insert("time".into(), json!(message.stored_at.rfc3339()));
    Value::Object(fields)
}

/// Header block and payload of each message of an answer. `leader` is who keeps every stream: this server.
pub(super) fn answer(leader: &str, api: Api, answer: Answer) -> Vec<(Bytes, Bytes)> {
    let one = match answer {
        Answer::Published { stream, seq, duplicate, val } => {
            (NOTHING.clone(), published(&stream, seq, duplicate, val.as_deref()))
        }
        Answer::Staged => (NOTHING.clone(), NOTHING.clone()),
        Answer::BatchPublished { stream, seq, batch, count } => {
            #[derive(Serialize)]
            struct Ack {
                stream: String,
                seq: u64,
                batch: String,
                count: u64,
            }
            (NOTHING.clone(), json(&Ack { stream, seq, batch, count }))
        }
        Answer::NotPublished { stream, error } => {
            #[derive(Serialize)]
            struct NotPublished {
                error: ApiError,
                stream: String,
                seq: u64,
            }
            (NOTHING.clone(), json(&NotPublished { error, stream, seq: 0 }))
        }
        Answer::Failed(error) => failed(api, &error),
        Answer::Stream(info) => {
            #[derive(Serialize)]
            struct Created<T> {
                #[serde(flatten)]
                info: T,
                #[serde(skip_serializing_if = "Option::is_none")]
                did_create: Option<bool>,
            }
            let did_create = (api == Api::StreamCreate).then_some(true);
            envelope(api, Created { info, did_create })
        }
        Answer::StreamDescribed { info, subjects } => {
            #[derive(Serialize)]
            struct Described<T> {
                #[serde(flatten)]
                subjects: Paging,
                #[serde(flatten)]
                info: T,
                cluster: Value,
            }
            envelope(api, Described { subjects, info, cluster: json!({ "leader": leader }) })
        }
        Answer::SnapshotBegun { config, state } => {
            #[derive(Serialize)]
            struct Begun<C, S> {
                config: C,
                state: S,
            }
            envelope(api, Begun { config, state })
        }
        Answer::RestoreBegun { deliver_subject } => {
            envelope(api, json!({ "deliver_subject": deliver_subject }))
        }
        // It is told where the last chunk is answered, not where the restore was asked for.
        Answer::Restored(Ok(info)) => envelope(Api::StreamCreate, info),
        Answer::Restored(Err(error)) => failed(Api::StreamCreate, &error),
        Answer::Account(info) => envelope(api, info),
        Answer::Streams(page) => paged(api, "streams", &page),
        Answer::StreamNames(page) => paged(api, "streams", &page),
        Answer::Consumers(page) => paged(api, "consumers", &page),
        Answer::ConsumerNames(page) => paged(api, "consumers", &page),
        Answer::StreamDeleted | Answer::MessageDeleted | Answer::ConsumerDeleted => {
            envelope(api, json!({ "success": true }))
        }
        Answer::Purged { messages } => {
            #[derive(Serialize)]
            struct Purged {
                success: bool,
                purged: u64,
            }
            envelope(api, Purged { success: true, purged: messages })
        }
        Answer::Message(message) => envelope(api, json!({ "message": stored(&message) })),
        Answer::Direct(direct) => (direct.headers().as_bytes().clone(), direct.message.payload),
        Answer::DirectStatus(own) => direct_status(own),
        Answer::Consumer(info) => envelope(api, info),
        Answer::ConsumerPaused { is_paused, pause_until, pause_remaining_ns } => {
            envelope(api, Paused { paused: is_paused, pause_until: &pause_until, pause_remaining_ns })
        }
        Answer::ConsumerReset { info, reset_seq } => {
            #[derive(Serialize)]
            struct Reset<T> {
                #[serde(flatten)]
                info: T,
                reset_seq: u64,
            }
            envelope(api, Reset { info, reset_seq })
        }
        Answer::ConsumerUnpinned => envelope(api, json!({})),
        Answer::AckProcessed => (NOTHING.clone(), NOTHING.clone()),
        Answer::NoResponders { .. } => return Vec::new(),
    };
    vec![one]
}

/// What is said to a direct get instead of a message, or after the last one.
pub(super) fn direct_status(own: DirectStatus) -> (Bytes, Bytes) {
    (status(own.code(), own.description(), &own.headers()), NOTHING.clone())
}

fn paged<T: Serialize>(api: Api, name: &str, page: &Page<T>) -> (Bytes, Bytes) {
    #[derive(Serialize)]
    struct Paged<'p, T> {
        #[serde(flatten)]
        paging: Paging,
        #[serde(flatten)]
        items: BTreeMap<&'p str, Option<&'p [T]>>,
    }
    // The original forgets to make this list when it is empty.
    let is_null = api == Api::StreamNames && page.items.is_empty();
    let items = BTreeMap::from([(name, (!is_null).then_some(page.items.as_slice()))]);
    envelope(api, Paged { paging: page.paging, items })
}

/// A pause, or what is said when there is none.
#[derive(Serialize)]
struct Paused<'p> {
    paused: bool,
    pause_until: &'p str,
    #[serde(rename = "pause_remaining", skip_serializing_if = "is_zero")]
    pause_remaining_ns: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Why there is no answer, and what an answer has besides, as if nothing had been asked.
#[derive(Serialize)]
struct Failure<'e, T> {
    error: &'e ApiError,
    #[serde(flatten)]
    rest: T,
}

const NO_PAGE: Paging = Paging { total: 0, offset: 0, limit: 0 };

fn failed(api: Api, error: &ApiError) -> (Bytes, Bytes) {
    match api {
        Api::Bare => {
            (status(u16::min(error.code, 999), &error.description, &Headers::default()), NOTHING.clone())
        }
        Api::StreamRestore => envelope(api, Failure { error, rest: json!({ "deliver_subject": "" }) }),
        Api::ConsumerPause => {
            let rest = Paused { paused: false, pause_until: ZERO_TIME, pause_remaining_ns: 0 };
            envelope(api, Failure { error, rest })
        }
        Api::ConsumerReset => envelope(api, Failure { error, rest: json!({ "reset_seq": 0 }) }),
        Api::ConsumerNames | Api::ConsumerList => {
            #[derive(Serialize)]
            struct Empty {
                #[serde(flatten)]
                paging: Paging,
                consumers: [u8; 0],
            }
            envelope(api, Failure { error, rest: Empty { paging: NO_PAGE, consumers: [] } })
        }
        Api::StreamInfo => envelope(api, Failure { error, rest: NO_PAGE }),
        Api::AccountInfo
        | Api::StreamCreate
        | Api::StreamUpdate
        | Api::StreamDelete
        | Api::StreamNames
        | Api::StreamList
        | Api::StreamSnapshot
        | Api::StreamStepdown
        | Api::StreamPeerRemove
        | Api::MessageGet
        | Api::MessageDelete
        | Api::ConsumerCreate
        | Api::ConsumerInfo
        | Api::ConsumerDelete
        | Api::ConsumerUnpin
        | Api::ConsumerStepDown => envelope(api, Failure { error, rest: json!({}) }),
        Api::StreamPurge => envelope(api, Failure { error, rest: json!({ "purged": 0 }) }),
    }
}
