//! The JetStream API's data as JSON carries it: exact field names, durations in nanoseconds.
//!
//! Both sides use these types: `io-nats` to talk to a real server, the engine to be one. Reading is tolerant of fields
//! a newer server adds; a server that must refuse unknown fields checks for them before it decodes.

mod consumer;

pub use consumer::*;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How long messages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retention {
    /// Until a limit removes them.
    #[default]
    Limits,
    /// Until every interested consumer acked them.
    Interest,
    /// Until one consumer acked them.
    Workqueue,
}

/// What happens at a limit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Discard {
    /// The oldest message goes.
    #[default]
    Old,
    /// The new message is refused.
    New,
}

/// Where messages are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: gone at a restart.
    Memory,
}

const fn unlimited() -> i64 {
    -1
}
const fn one() -> u8 {
    1
}

/// A stream's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamConfig {
    /// Its name.
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it stores; may have wildcards.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// How long messages are kept.
    #[serde(default)]
    pub retention: Retention,
    /// Most consumers; -1 for any number.
    #[serde(default = "unlimited")]
    pub max_consumers: i64,
    /// Most messages; -1 for any number.
    #[serde(default = "unlimited")]
    pub max_msgs: i64,
    /// Most bytes; -1 for any number.
    #[serde(default = "unlimited")]
    pub max_bytes: i64,
    /// Oldest message in nanoseconds; 0 for any age.
    #[serde(default, rename = "max_age")]
    pub max_age_ns: u64,
    /// Most messages on one subject; -1 for any number.
    #[serde(default = "unlimited")]
    pub max_msgs_per_subject: i64,
    /// Largest message with its headers in bytes; -1 for any size.
    #[serde(default = "unlimited")]
    pub max_msg_size: i64,
    /// What happens at a limit.
    #[serde(default)]
    pub discard: Discard,
    /// With [`Discard::New`]: the limit per subject refuses instead of replacing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub discard_new_per_subject: bool,
    /// Where messages are kept.
    #[serde(default)]
    pub storage: Storage,
    /// How many servers keep it.
    #[serde(default = "one")]
    pub num_replicas: u8,
    /// How long a message id is remembered, in nanoseconds; 0 asks for the default.
    #[serde(default, rename = "duplicate_window")]
    pub duplicate_window_ns: u64,
    /// Whether any replica may answer reads.
    #[serde(default)]
    pub allow_direct: bool,
    /// Read-only for good.
    #[serde(default)]
    pub sealed: bool,
    /// Single messages cannot be deleted.
    #[serde(default)]
    pub deny_delete: bool,
    /// It cannot be purged.
    #[serde(default)]
    pub deny_purge: bool,
    /// Publishers may replace what is stored.
    #[serde(default)]
    pub allow_rollup_hdrs: bool,
    /// Free data; the server adds keys that begin with `_nats.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
}

// Named by `skip_serializing_if`, which passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_false(value: &bool) -> bool {
    !*value
}

#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero(value: &u64) -> bool {
    *value == 0
}

impl StreamConfig {
    /// A stream with the server's defaults.
    #[must_use]
    pub fn new(name: &str, subjects: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            description: None,
            subjects: subjects.iter().map(|subject| (*subject).to_owned()).collect(),
            retention: Retention::default(),
            max_consumers: -1,
            max_msgs: -1,
            max_bytes: -1,
            max_age_ns: 0,
            max_msgs_per_subject: -1,
            max_msg_size: -1,
            discard: Discard::default(),
            discard_new_per_subject: false,
            storage: Storage::default(),
            num_replicas: 1,
            duplicate_window_ns: 0,
            allow_direct: false,
            sealed: false,
            deny_delete: false,
            deny_purge: false,
            allow_rollup_hdrs: false,
            metadata: BTreeMap::new(),
        }
    }
}

/// What a stream holds.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StreamState {
    /// How many messages.
    pub messages: u64,
    /// How many bytes they take.
    pub bytes: u64,
    /// Sequence of the first one; one past the last when empty.
    pub first_seq: u64,
    /// Sequence of the last one ever stored.
    pub last_seq: u64,
    /// When the first one was stored, RFC 3339; [`ZERO_TIME`] when empty.
    #[serde(default)]
    pub first_ts: String,
    /// When the last one ever was stored, RFC 3339; [`ZERO_TIME`] before the first.
    #[serde(default)]
    pub last_ts: String,
    /// How many subjects have messages.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub num_subjects: u64,
    /// How many sequences between the first and the last are gone.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub num_deleted: u64,
    /// Which ones, when they were asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deleted: Vec<u64>,
    /// Messages by subject, when they were asked for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub subjects: BTreeMap<String, u64>,
    /// How many consumers it has.
    #[serde(default)]
    pub consumer_count: u64,
}

/// How the API prints a time that never was.
pub const ZERO_TIME: &str = "0001-01-01T00:00:00Z";

/// A stream as the server describes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamInfo {
    /// How it is configured.
    pub config: StreamConfig,
    /// When it was created, RFC 3339 with nanoseconds.
    pub created: String,
    /// What it holds.
    pub state: StreamState,
}

/// An error of the API.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ApiError {
    /// As HTTP has it.
    pub code: u16,
    /// Which error exactly.
    #[serde(default)]
    pub err_code: u32,
    /// For people.
    #[serde(default)]
    pub description: String,
}

/// Error numbers the platform switches on (`reference/jetstream.md` 1.13).
pub mod err_code {
    /// Account resources exceeded.
    pub const RESOURCES_EXCEEDED: u32 = 10_002;
    /// No leader: not available now.
    pub const NOT_AVAILABLE: u32 = 10_008;
    /// Peer not a member: not available now.
    pub const CLUSTER_NOT_LEADER: u32 = 10_009;
    /// An immutable field of a consumer would change.
    pub const CONSUMER_CREATE: u32 = 10_012;
    /// There is no such consumer.
    pub const CONSUMER_NOT_FOUND: u32 = 10_014;
    /// Server resources exceeded.
    pub const INSUFFICIENT_RESOURCES: u32 = 10_023;
    /// Invalid JSON.
    pub const INVALID_JSON: u32 = 10_025;
    /// Memory exceeded.
    pub const MEMORY_EXCEEDED: u32 = 10_028;
    /// There is no such message.
    pub const NO_MESSAGE_FOUND: u32 = 10_037;
    /// JetStream is off for this account.
    pub const NOT_ENABLED_FOR_ACCOUNT: u32 = 10_039;
    /// Storage exceeded.
    pub const STORAGE_EXCEEDED: u32 = 10_047;
    /// The stream configuration is invalid.
    pub const STREAM_INVALID_CONFIG: u32 = 10_052;
    /// The message is larger than the stream allows.
    pub const MESSAGE_EXCEEDS_MAXIMUM: u32 = 10_054;
    /// The stream exists with another configuration.
    pub const STREAM_NAME_EXISTS: u32 = 10_058;
    /// There is no such stream.
    pub const STREAM_NOT_FOUND: u32 = 10_059;
    /// The message named another stream.
    pub const STREAM_NOT_MATCH: u32 = 10_060;
    /// The subjects overlap with another stream.
    pub const STREAM_SUBJECT_OVERLAP: u32 = 10_065;
    /// The last message id is another one.
    pub const WRONG_LAST_MSG_ID: u32 = 10_070;
    /// The last sequence is another one.
    pub const WRONG_LAST_SEQUENCE: u32 = 10_071;
    /// JetStream is off.
    pub const NOT_ENABLED: u32 = 10_076;
    /// The stream is full.
    pub const STREAM_STORE_FAILED: u32 = 10_077;
    /// The header block is too large.
    pub const HEADER_EXCEEDS_MAXIMUM: u32 = 10_097;
    /// The stream is sealed.
    pub const STREAM_SEALED: u32 = 10_109;
    /// The consumer's server is not there.
    pub const CONSUMER_OFFLINE: u32 = 10_119;
    /// The stream's server is not there.
    pub const STREAM_OFFLINE: u32 = 10_118;
    /// The consumer exists with another configuration.
    pub const CONSUMER_ALREADY_EXISTS: u32 = 10_148;
    /// The same message id is being stored.
    pub const DUPLICATE_IN_PROCESS: u32 = 10_158;
    /// Another write to the subject is being stored.
    pub const WRONG_LAST_SEQUENCE_IN_FLIGHT: u32 = 10_164;
}
