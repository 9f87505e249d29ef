//! What the API says about streams.

use super::{ApiError, is_false, is_zero, is_zero_i64};
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

/// How messages are packed on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// With S2.
    S2,
}

/// When a message is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PersistMode {
    /// Before it is acknowledged.
    #[default]
    #[serde(alias = "")]
    Default,
    /// Some time later.
    Async,
}

impl PersistMode {
    // Named by `skip_serializing_if`, which passes a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    const fn is_default(&self) -> bool {
        matches!(self, Self::Default)
    }
}

/// Where in a cluster a stream shall be.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Placement {
    /// In this cluster.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub cluster: String,
    /// On servers with all these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Led by this server.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub preferred: String,
}

/// How subjects are rewritten.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SubjectTransform {
    /// What is rewritten; empty for everything.
    pub src: String,
    /// Into what; empty to leave it as it is.
    pub dest: String,
}

/// What is published again once it is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Republish {
    /// What; empty for everything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub src: String,
    /// On which subject.
    pub dest: String,
    /// Without the payload.
    #[serde(default, skip_serializing_if = "is_false")]
    pub headers_only: bool,
}

/// A stream of another account or domain.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct External {
    /// The prefix of its API.
    pub api: String,
    /// The prefix of what it delivers.
    #[serde(default)]
    pub deliver: String,
}

/// A durable consumer that a mirror or a source reads through.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SourceConsumer {
    /// Its name.
    pub name: String,
    /// Where it delivers.
    pub deliver_subject: String,
}

/// Where a stream takes messages from besides its subjects.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct StreamSource {
    /// The origin.
    pub name: String,
    /// Begins at this sequence of it; 0 for the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub opt_start_seq: u64,
    /// Begins at this time, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<String>,
    /// Takes only what matches; empty for everything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// Takes only what one of these matches, and rewrites its subject.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
    /// The origin is not in this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// Reads through a durable consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<SourceConsumer>,
}

/// Defaults and ceilings for the consumers of a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ConsumerLimits {
    /// How long one may be without use, in nanoseconds; 0 for any time.
    #[serde(default, rename = "inactive_threshold", skip_serializing_if = "is_zero")]
    pub inactive_threshold_ns: u64,
    /// Most unsettled deliveries; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_ack_pending: i64,
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
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What it stores; may have wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
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
    /// Where messages are kept.
    #[serde(default)]
    pub storage: Storage,
    /// How many servers keep it.
    #[serde(default = "one")]
    pub num_replicas: u8,
    /// Publishers are never answered.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_ack: bool,
    /// How long a message id is remembered, in nanoseconds; 0 asks for the default.
    #[serde(default, rename = "duplicate_window", skip_serializing_if = "is_zero")]
    pub duplicate_window_ns: u64,
    /// Where in a cluster it shall be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// It is a copy of this stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSource>,
    /// It takes messages of these streams as well.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSource>,
    /// What the file store is asked to do with bodies. It changes nothing a client sees; ours stores them as they are.
    #[serde(default)]
    pub compression: Compression,
    /// The sequence of the first message; 0 for 1.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first_seq: u64,
    /// How subjects are rewritten before anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject_transform: Option<SubjectTransform>,
    /// What is published again once it is stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub republish: Option<Republish>,
    /// Whether any replica may answer reads.
    #[serde(default)]
    pub allow_direct: bool,
    /// Whether a mirror may answer its origin's reads.
    #[serde(default)]
    pub mirror_direct: bool,
    /// With [`Discard::New`]: the limit per subject refuses instead of replacing.
    #[serde(default, skip_serializing_if = "is_false")]
    pub discard_new_per_subject: bool,
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
    /// Defaults and ceilings for its consumers.
    #[serde(default)]
    pub consumer_limits: ConsumerLimits,
    /// Messages may say how long they live.
    #[serde(default)]
    pub allow_msg_ttl: bool,
    /// How long the marker lives that tells of a subject whose last message went, in nanoseconds; 0 for no marker.
    #[serde(default, rename = "subject_delete_marker_ttl", skip_serializing_if = "is_zero")]
    pub subject_delete_marker_ttl_ns: u64,
    /// Messages count.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_msg_counter: bool,
    /// Several messages may be published as one.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_atomic: bool,
    /// Messages may be schedules.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_msg_schedules: bool,
    /// When a message is on disk.
    #[serde(default, skip_serializing_if = "PersistMode::is_default")]
    pub persist_mode: PersistMode,
    /// Messages may be published in fast batches.
    #[serde(default, skip_serializing_if = "is_false")]
    pub allow_batched: bool,
    /// Free data; the server adds keys that begin with `_nats.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
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
            storage: Storage::default(),
            num_replicas: 1,
            no_ack: false,
            duplicate_window_ns: 0,
            placement: None,
            mirror: None,
            sources: Vec::new(),
            compression: Compression::default(),
            first_seq: 0,
            subject_transform: None,
            republish: None,
            allow_direct: false,
            mirror_direct: false,
            discard_new_per_subject: false,
            sealed: false,
            deny_delete: false,
            deny_purge: false,
            allow_rollup_hdrs: false,
            consumer_limits: ConsumerLimits::default(),
            allow_msg_ttl: false,
            subject_delete_marker_ttl_ns: 0,
            allow_msg_counter: false,
            allow_atomic: false,
            allow_msg_schedules: false,
            persist_mode: PersistMode::default(),
            allow_batched: false,
            metadata: BTreeMap::new(),
        }
    }

    /// The API level a server must have to keep this stream.
    #[must_use]
    pub fn required_api_level(&self) -> u8 {
        let reads_through_consumer = |source: &StreamSource| source.consumer.is_some();
        if self.allow_batched || self.mirror.iter().chain(&self.sources).any(reads_through_consumer) {
            return 4;
        }
        if self.allow_msg_counter
            || self.allow_atomic
            || self.allow_msg_schedules
            || self.persist_mode == PersistMode::Async
        {
            return 2;
        }
        u8::from(self.allow_msg_ttl || self.subject_delete_marker_ttl_ns > 0)
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
    /// How its mirroring goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<StreamSourceInfo>,
    /// How its sources do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<StreamSourceInfo>,
    /// When this was so, RFC 3339.
    #[serde(default)]
    pub ts: String,
}

/// How far a copy of another stream has come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StreamSourceInfo {
    /// The origin.
    pub name: String,
    /// The origin is not in this account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
    /// How many messages are still to be copied.
    pub lag: u64,
    /// The last sequence of the origin that was copied; 0 for none, and for mirrors.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq: u64,
    /// Nanoseconds since anything was heard of the origin; -1 for never.
    #[serde(rename = "active")]
    pub active_ns: i64,
    /// Why nothing is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ApiError>,
    /// What is taken.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub filter_subject: String,
    /// What is taken, and rewritten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subject_transforms: Vec<SubjectTransform>,
}
