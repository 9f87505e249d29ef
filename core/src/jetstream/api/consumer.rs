//! Consumers, as the API's JSON carries them.

use super::{is_false, is_zero, is_zero_i64};
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

/// Who of a group of pulling clients is served first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriorityPolicy {
    /// Everybody in turn.
    #[default]
    None,
    /// Some only when there is much to do.
    Overflow,
    /// One client, while it lives.
    PinnedClient,
    /// Those of the lowest number.
    Prioritized,
}

impl PriorityPolicy {
    #[allow(clippy::trivially_copy_pass_by_ref)]
    const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }
}

const fn no_acks() -> AckPolicy {
    AckPolicy::None
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
    #[serde(default)]
    pub deliver_policy: DeliverPolicy,
    /// With [`DeliverPolicy::ByStartSequence`]: where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_start_seq: Option<u64>,
    /// With [`DeliverPolicy::ByStartTime`]: when, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opt_start_time: Option<String>,
    /// What settles a delivery; nothing, if a request does not say it.
    #[serde(default = "no_acks")]
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
    #[serde(default)]
    pub replay_policy: ReplayPolicy,
    /// Most bits a second a push consumer sends; 0 for any number.
    #[serde(default, rename = "rate_limit_bps", skip_serializing_if = "is_zero")]
    pub rate_limit_bits_per_s: u64,
    /// How many acks of a hundred are told as metrics, such as `30%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_freq: Option<String>,
    /// Most pull requests waiting; 0 asks for the default.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_waiting: i64,
    /// Most unsettled deliveries; 0 asks for the default, -1 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_ack_pending: i64,
    /// A push consumer stops when the client does not confirm what it got.
    #[serde(default, skip_serializing_if = "is_false")]
    pub flow_control: bool,
    /// Messages go without their payload, with its size as a header.
    #[serde(default, skip_serializing_if = "is_false")]
    pub headers_only: bool,
    /// Most messages one pull request may ask for; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_batch: i64,
    /// Longest time one pull request may wait, in nanoseconds; 0 for any time.
    #[serde(default, rename = "max_expires", skip_serializing_if = "is_zero")]
    pub max_expires_ns: u64,
    /// Most bytes one pull request may ask for; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub max_bytes: i64,
    /// Where a push consumer delivers; without it, clients pull.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_subject: Option<String>,
    /// The queue group of a push consumer's subscribers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deliver_group: Option<String>,
    /// How often a push consumer fills silence, in nanoseconds; 0 for never.
    #[serde(default, rename = "idle_heartbeat", skip_serializing_if = "is_zero")]
    pub idle_heartbeat_ns: u64,
    /// Deleted after this long without use, in nanoseconds; 0 for never.
    #[serde(default, rename = "inactive_threshold", skip_serializing_if = "is_zero")]
    pub inactive_threshold_ns: u64,
    /// How many servers keep its state; 0 for as many as the stream.
    #[serde(default)]
    pub num_replicas: u8,
    /// Its state is kept in memory: gone at a restart, and the consumer with it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub mem_storage: bool,
    /// Free data; the server adds keys that begin with `_nats.`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// Delivers nothing until then, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pause_until: Option<String>,
    /// Groups of clients that pull together; the server knows one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<String>,
    /// Who of a group is served first.
    #[serde(default, skip_serializing_if = "PriorityPolicy::is_none")]
    pub priority_policy: PriorityPolicy,
    /// With [`PriorityPolicy::PinnedClient`]: a client that does not pull for so long loses its place, in nanoseconds; 0
    /// asks for the default.
    #[serde(default, rename = "priority_timeout", skip_serializing_if = "is_zero")]
    pub priority_timeout_ns: u64,
}

impl ConsumerConfig {
    /// How long the ack of the nth delivery may take, in nanoseconds.
    #[must_use]
    pub fn ack_wait_of_ns(&self, nth: u64) -> u64 {
        let nth = usize::try_from(nth.saturating_sub(1)).unwrap_or(usize::MAX);
        self.backoff_ns.get(nth).or(self.backoff_ns.last()).copied().unwrap_or(self.ack_wait_ns)
    }
}

/// A position in both counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SequencePair {
    /// Deliveries, repetitions included.
    pub consumer_seq: u64,
    /// Messages of the stream.
    pub stream_seq: u64,
}

/// A position, and when it last moved.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct SequenceInfo {
    /// Deliveries, repetitions included.
    pub consumer_seq: u64,
    /// Messages of the stream.
    pub stream_seq: u64,
    /// RFC 3339; not since the broker started, if it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_active: Option<String>,
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
    pub delivered: SequenceInfo,
    /// Everything up to here is settled.
    pub ack_floor: SequenceInfo,
    /// Deliveries that are not settled.
    pub num_ack_pending: u64,
    /// Unsettled deliveries that were repeated.
    pub num_redelivered: u64,
    /// Pull requests waiting.
    pub num_waiting: u64,
    /// Messages never delivered.
    pub num_pending: u64,
    /// Somebody listens where a push consumer delivers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub push_bound: bool,
    /// It delivers nothing for now.
    #[serde(default, skip_serializing_if = "is_false")]
    pub paused: bool,
    /// For how long, in nanoseconds.
    #[serde(default, rename = "pause_remaining", skip_serializing_if = "is_zero")]
    pub pause_remaining_ns: u64,
    /// When this was true, RFC 3339.
    #[serde(default)]
    pub ts: String,
    /// Its priority group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub priority_groups: Vec<PriorityGroupState>,
}

/// A priority group as the server describes it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PriorityGroupState {
    /// Its name.
    pub group: String,
    /// What the pinned client is known by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned_client_id: Option<String>,
    /// Since when, RFC 3339; [`ZERO_TIME`](super::ZERO_TIME) when nobody is.
    #[serde(default)]
    pub pinned_ts: String,
}

/// A pull request.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct PullRequest {
    /// Most messages.
    #[serde(default)]
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
    /// Which priority group the client is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// Overflow: comes in when so many messages were never delivered.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub min_pending: i64,
    /// Overflow: comes in when so many deliveries are unsettled.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub min_ack_pending: i64,
    /// Pinned client: what the client is pinned as.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Prioritized: the lowest number is served first; 0 to 9.
    #[serde(default, skip_serializing_if = "is_zero_i64")]
    pub priority: i64,
}

/// The options of a pull request as clients write them.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    batch: Option<i64>,
    expires: Option<i64>,
    no_wait: Option<bool>,
    max_bytes: Option<i64>,
    idle_heartbeat: Option<i64>,
    group: Option<String>,
    min_pending: Option<i64>,
    min_ack_pending: Option<i64>,
    id: Option<String>,
    priority: Option<i64>,
}

impl PullRequest {
    /// Reads the body of a pull request: options, or a number of messages; one message for anything else. As on the
    /// server, what options do not know is passed over, and so is `null`.
    ///
    /// # Errors
    ///
    /// What is wrong with the options.
    pub fn parse(body: &[u8]) -> Result<Self, &'static str> {
        let body = body.trim_ascii();
        if !body.starts_with(b"{") {
            let batch = std::str::from_utf8(body).ok().and_then(|text| text.parse().ok());
            return Ok(Self { batch: batch.unwrap_or(1), ..Self::default() });
        }
        let said: Said = serde_json::from_slice(body)
            .map_err(|why| if why.is_eof() { "unexpected end of JSON input" } else { "invalid JSON" })?;
        let number = |said: Option<i64>| u64::try_from(said.unwrap_or(0)).unwrap_or(0);
        // A moment that has passed is the next one.
        let expires_ns = if said.expires.is_some_and(|ns| ns < 0) { 1 } else { number(said.expires) };
        Ok(Self {
            batch: number(said.batch),
            expires_ns,
            no_wait: said.no_wait.unwrap_or(false),
            max_bytes: number(said.max_bytes),
            idle_heartbeat_ns: number(said.idle_heartbeat),
            group: said.group,
            min_pending: said.min_pending.unwrap_or(0),
            min_ack_pending: said.min_ack_pending.unwrap_or(0),
            id: said.id,
            priority: said.priority.unwrap_or(0),
        })
    }
}
