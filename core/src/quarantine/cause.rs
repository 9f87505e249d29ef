//! Why a message could not be applied, and which causes are the same one.
//!
//! Two causes are of one group when kind, detail and definition are the same, once what names a particular message is
//! taken out of the detail: words with a digit in them, and what stands between double quotes. Names between backticks
//! are of the manifest, and stay.

use crate::wire::id::derive_hex;
use serde::{Deserialize, Serialize};

/// Longest detail that is kept, in bytes: a detail may quote a payload.
const DETAIL_BYTES_MAX: usize = 2_048;
/// Longest pattern.
const PATTERN_BYTES_MAX: usize = 512;

/// Why a message could not be applied.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Cause {
    /// What kind of failure, short and stable: for grouping.
    pub kind: String,
    /// What exactly.
    pub detail: String,
}

impl Cause {
    /// As it is kept.
    pub(super) fn kept(mut self) -> Self {
        cut(&mut self.detail, DETAIL_BYTES_MAX);
        self
    }

    /// The detail without what names a particular message.
    #[must_use]
    pub fn pattern(&self) -> String {
        let mut out = String::with_capacity(self.detail.len().min(PATTERN_BYTES_MAX));
        for (nth, piece) in self.detail.split('"').enumerate() {
            if nth % 2 == 0 { without_ids(piece, &mut out) } else { out.push_str("\"#\"") }
        }
        cut(&mut out, PATTERN_BYTES_MAX);
        out
    }

    /// Names the causes that are the same one, under one definition.
    #[must_use]
    pub fn group(&self, definition: Option<&str>) -> String {
        let hex = derive_hex(&["cause", &self.kind, &self.pattern(), definition.unwrap_or_default()]);
        format!("g-{}", &hex[..12])
    }
}

fn without_ids(text: &str, out: &mut String) {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let mut rest = text;
    while let Some(begin) = rest.find(is_word) {
        out.push_str(&rest[..begin]);
        rest = &rest[begin..];
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let word = &rest[..end];
        out.push_str(if word.contains(|c: char| c.is_ascii_digit()) { "#" } else { word });
        rest = &rest[end..];
    }
    out.push_str(rest);
}

fn cut(text: &mut String, bytes_max: usize) {
    let mut end = bytes_max.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cause(kind: &str, detail: &str) -> Cause {
        Cause { kind: kind.into(), detail: detail.into() }
    }

    #[test]
    fn what_names_a_particular_message_is_taken_out() {
        for (detail, pattern) in [
            ("version 7 after 5", "version # after #"),
            (
                "event of o-17 at AGGREGATE_EVENTS:33 is no JSON",
                "event of # at AGGREGATE_EVENTS:# is no JSON",
            ),
            ("missing field `price` in \"tea, 2 of it\"", "missing field `price` in \"#\""),
            ("an odd \"quote", "an odd \"#\""),
            ("", ""),
        ] {
            assert_eq!(cause("k", detail).pattern(), pattern);
        }
    }

    #[test]
    fn a_group_is_kind_pattern_and_definition() {
        let own = cause("decode", "line 3 column 4").group(Some("d1"));
        assert_eq!(own, cause("decode", "line 12 column 1").group(Some("d1")));
        assert!(own.starts_with("g-") && own.len() == 14, "{own}");
        for other in [
            cause("program", "line 3 column 4").group(Some("d1")),
            cause("decode", "line 3").group(Some("d1")),
            cause("decode", "line 3 column 4").group(Some("d2")),
            cause("decode", "line 3 column 4").group(None),
        ] {
            assert_ne!(own, other);
        }
    }

    #[test]
    fn a_long_detail_is_cut_between_two_characters() {
        let long = cause("k", &"ü".repeat(4_000));
        assert_eq!((long.pattern().len(), long.kept().detail.len()), (512, 2_048));
        assert_eq!(cause("k", &format!("a{}", "ü".repeat(4_000))).kept().detail.len(), 2_047);
    }
}
