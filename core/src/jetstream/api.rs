//! The JetStream API's data as JSON carries it: exact field names, durations in nanoseconds.
//!
//! Streams are next door, in [`stream`](self::StreamConfig). Both sides use these types: `io-nats` to talk to a real server, the engine to be one. Reading is tolerant of fields
//! a newer server adds; a server that must refuse unknown fields checks for them before it decodes.

mod account;
mod message_get;
mod stream;

pub use account::{AccountApi, AccountInfo, AccountLimits, Page, Paging};
pub use message_get::MessageGet;
pub use stream::{
    Compression, ConsumerLimits, Discard, External, PersistMode, Placement, Republish, Retention,
    SourceConsumer, Storage, StreamConfig, StreamInfo, StreamSource, StreamSourceInfo, StreamState,
    SubjectTransform, ZERO_TIME,
};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a consumer begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliverPolicy {
    /// With the first message.
    #[default]
    All,
    /// With the last message that matches.
    Last,
    /// With the next message.
    New,
    /// At a sequence.
    ByStartSequence,
    /// At a time.
    ByStartTime,
    /// With the last message of each subject.
    LastPerSubject,
}

/// What settles a delivery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AckPolicy {
    /// Nothing: delivered is settled.
    None,
    /// An ack settles everything up to it.
    All,
    /// Each delivery is settled on its own.
    #[default]
    Explicit,
}

/// How fast messages are replayed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayPolicy {
    /// As fast as possible.
    #[default]
    Instant,
    /// As they were published.
    Original,
}

/// A consumer's configuration.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConsumerConfig {
    /// Its name, when it outlives its subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durable_name: Option<String>,
    /// Its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Where it begins.
    pub deliver_policy: DeliverPolicy,
    /// With [`DeliverPolicy::ByStartSequence`]: where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_start_seq: Option<u64>,
    /// What settles a delivery.
    pub ack_policy: AckPolicy,
    /// When an unsettled delivery is repeated, in nanoseconds; 0 asks for the default.
    #[serde(default, rename = "ack_wait", skip_serializing_if = "is_zero")]
    pub ack_wait_ns: u64,
    /// Most deliveries of one message; -1 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_deliver: i64,
    /// Takes the place of `ack_wait`, one entry per delivery and the last for all further ones, in nanoseconds.
    #[serde(default, rename = "backoff", skip_serializing_if = "Vec::is_empty")]
    pub backoff_ns: Vec<u64>,
    /// One filter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter_subject: Option<String>,
    /// Several filters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub filter_subjects: Vec<String>,
    /// How fast.
    pub replay_policy: ReplayPolicy,
    /// Most pull requests waiting; 0 asks for the default.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_waiting: i64,
    /// Most messages one pull request may ask for; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_batch: i64,
    /// Longest time one pull request may wait, in nanoseconds; 0 for any time.
    #[serde(default, rename = "max_expires", skip_serializing_if = "is_zero")]
    pub max_expires_ns: u64,
    /// Most bytes one pull request may ask for; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_bytes: i64,
    /// Most unsettled deliveries; 0 asks for the default, -1 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_ack_pending: i64,
    /// Deleted after this long without use, in nanoseconds; 0 for never.
    #[serde(default, rename = "inactive_threshold", skip_serializing_if = "is_zero")]
    pub inactive_threshold_ns: u64,
    /// How many servers keep its state; 0 for as many as the stream.
    #[serde(default)]
    pub num_replicas: u8,
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
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_zero_i64(value: &i64) -> bool {
    *value == 0
}

/// A position in both counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SequencePair {
    /// Deliveries, repetitions included.
    pub consumer_seq: u64,
    /// Messages of the stream.
    pub stream_seq: u64,
}

/// A consumer as the server describes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ConsumerInfo {
    /// Its stream.
    pub stream_name: String,
    /// Its name.
    pub name: String,
    /// When it was created, RFC 3339 with nanoseconds.
    pub created: String,
    /// How it is configured.
    pub config: ConsumerConfig,
    /// The last delivery.
    pub delivered: SequencePair,
    /// Everything up to here is settled.
    pub ack_floor: SequencePair,
    /// Deliveries that are not settled.
    pub num_ack_pending: u64,
    /// Unsettled deliveries that were repeated.
    pub num_redelivered: u64,
    /// Pull requests waiting.
    pub num_waiting: u64,
    /// Messages never delivered.
    pub num_pending: u64,
}

/// A pull request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PullRequest {
    /// Most messages.
    pub batch: u64,
    /// When the request ends, in nanoseconds; 0 for never.
    #[serde(default, rename = "expires", skip_serializing_if = "is_zero")]
    pub expires_ns: u64,
    /// Ends at once when nothing is there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_wait: bool,
    /// Most bytes; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_bytes: u64,
    /// How often silence is filled, in nanoseconds; 0 for never.
    #[serde(default, rename = "idle_heartbeat", skip_serializing_if = "is_zero")]
    pub idle_heartbeat_ns: u64,
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
