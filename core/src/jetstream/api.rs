//! The JetStream API's data as JSON carries it: exact field names, durations in nanoseconds.
//!
//! Streams and consumers are next door. Both sides use these types: `io-nats` to talk to a real server, the engine to be one. Reading is tolerant of fields
//! a newer server adds; a server that must refuse unknown fields checks for them before it decodes.

mod account;
mod consumer;
mod message_get;
mod stream;

pub use account::{AccountApi, AccountInfo, AccountLimits, Page, Paging};
pub use consumer::{
    AckPolicy, ConsumerConfig, ConsumerInfo, DeliverPolicy, PriorityGroupState, PriorityPolicy, PullRequest,
    ReplayPolicy, SequenceInfo, SequencePair,
};
pub use message_get::MessageGet;
pub use stream::{
    Compression, ConsumerLimits, Discard, External, PersistMode, Placement, Republish, Retention,
    SourceConsumer, Storage, StreamConfig, StreamInfo, StreamSource, StreamSourceInfo, StreamState,
    SubjectTransform, ZERO_TIME,
};

use serde::{Deserialize, Serialize};

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
