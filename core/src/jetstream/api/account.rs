//! What the API says about an account, and how it cuts long answers into pages.

use serde::{Deserialize, Serialize};

/// Which part of a long answer this is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Paging {
    /// How many there are.
    pub total: u64,
    /// How many come before these.
    pub offset: u64,
    /// How many fit.
    pub limit: u64,
}

/// A part of a long answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T> {
    /// Which part.
    pub paging: Paging,
    /// What is in it.
    pub items: Vec<T>,
}

/// What an account uses, and may use.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountInfo {
    /// Bytes in memory.
    pub memory: u64,
    /// Bytes on disk.
    pub storage: u64,
    /// Bytes in memory that streams may grow to.
    pub reserved_memory: u64,
    /// Bytes on disk that streams may grow to.
    pub reserved_storage: u64,
    /// How many streams.
    pub streams: u64,
    /// How many consumers.
    pub consumers: u64,
    /// What it may use.
    pub limits: AccountLimits,
    /// What it asked.
    pub api: AccountApi,
}

/// What an account may use; -1 for any number.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AccountLimits {
    /// Bytes in memory.
    pub max_memory: i64,
    /// Bytes on disk.
    pub max_storage: i64,
    /// Streams.
    pub max_streams: i64,
    /// Consumers.
    pub max_consumers: i64,
    /// Unsettled deliveries of a consumer.
    pub max_ack_pending: i64,
    /// Bytes of a memory stream.
    pub memory_max_stream_bytes: i64,
    /// Bytes of a file stream.
    pub storage_max_stream_bytes: i64,
    /// Every stream must say how large it may become.
    pub max_bytes_required: bool,
}

impl AccountLimits {
    /// Whatever it wants.
    pub const NONE: Self = Self {
        max_memory: -1,
        max_storage: -1,
        max_streams: -1,
        max_consumers: -1,
        max_ack_pending: -1,
        memory_max_stream_bytes: -1,
        storage_max_stream_bytes: -1,
        max_bytes_required: false,
    };
}

/// What an account asked since the server started.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct AccountApi {
    /// The level of the API.
    pub level: u8,
    /// How many requests.
    pub total: u64,
    /// How many of them were refused.
    pub errors: u64,
}
