//! What a client asks for when it reads messages.

use super::{is_false, is_zero};
use crate::time::Wall;
use serde::{Deserialize, Serialize};

/// Which messages to read, as JSON says it. Not every combination means something.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct MessageGet {
    /// The one at this sequence, or from it on; 0 for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seq: u64,
    /// The last one on a subject, which may have wildcards.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_by_subj: String,
    /// The first one on a subject, which may have wildcards.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub next_by_subj: String,
    /// So many; 0 for one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub batch: u64,
    /// No more once so many bytes are sent; 0 for any number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub max_bytes: u64,
    /// From this time on.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Wall>,
    /// The last one on each of these subjects, which may have wildcards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub multi_last: Vec<String>,
    /// As if nothing were stored after this sequence.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub up_to_seq: u64,
    /// As if nothing were stored from this time on.
    #[serde(default, with = "moment", skip_serializing_if = "Option::is_none")]
    pub up_to_time: Option<Wall>,
    /// Without headers.
    #[serde(default, skip_serializing_if = "is_false")]
    pub no_hdr: bool,
}

/// A moment as RFC 3339 has it; what is finer than a millisecond is rounded up, so that nothing earlier is meant.
mod moment {
    use super::Wall;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(at: &Option<Wall>, to: S) -> Result<S::Ok, S::Error> {
        at.map(Wall::rfc3339).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Wall>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let at: jiff::Timestamp = text.parse().map_err(D::Error::custom)?;
        let ms = u64::try_from(at.as_nanosecond()).unwrap_or(0).div_ceil(1_000_000);
        Ok(Some(Wall::from_ms(ms)))
    }
}
