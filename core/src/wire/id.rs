//! Ids and names, parsed at the edge.
//!
//! | type | who chooses it | may contain | bytes |
//! |---|---|---|---|
//! | [`TenantId`] | operators | `[A-Za-z0-9_-]`, or nothing (the default tenant) | 0–64 |
//! | [`Name`] | authors of manifests | a letter, then `[A-Za-z0-9_-]` | 1–64 |
//! | [`EntityId`] | applications | anything but control characters | 1–128, escaped at most 192 |
//! | [`CommandId`] | callers, or derived | anything but control characters | 1–64, escaped at most 96 |
//!
//! The limits leave room for the longest composed key within LMDB's 511 bytes; `keys` has the sum as a test.

use super::token;
use crate::time::Wall;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use thiserror::Error;

/// Why a string is not an id of its kind.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum IdError {
    /// Nothing there.
    #[error("{what} is empty")]
    Empty {
        /// The kind of id.
        what: &'static str,
    },
    /// Too many bytes.
    #[error("{what} is {bytes} bytes long; at most {bytes_max} are allowed")]
    TooLong {
        /// The kind of id.
        what: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// Within the limit, but not once escaped for subjects and keys.
    #[error("{what} is {bytes} bytes long once escaped for the wire; at most {bytes_max} are allowed")]
    TooLongEscaped {
        /// The kind of id.
        what: &'static str,
        /// Its escaped length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A character outside what this kind allows.
    #[error("{what} has {character:?} at byte {at}; allowed are {allowed}")]
    Character {
        /// The kind of id.
        what: &'static str,
        /// The first offender.
        character: char,
        /// Where it is.
        at: usize,
        /// What is allowed instead.
        allowed: &'static str,
    },
}

struct Rules {
    what: &'static str,
    bytes_min: usize,
    bytes_max: usize,
    escaped_bytes_max: usize,
    allowed: &'static str,
    allows: fn(usize, char) -> bool,
}

impl Rules {
    fn check(&self, raw: &str) -> Result<(), IdError> {
        let what = self.what;
        if raw.len() < self.bytes_min {
            return Err(IdError::Empty { what });
        }
        if raw.len() > self.bytes_max {
            return Err(IdError::TooLong { what, bytes: raw.len(), bytes_max: self.bytes_max });
        }
        if let Some((at, character)) = raw.char_indices().find(|(at, c)| !(self.allows)(*at, *c)) {
            return Err(IdError::Character { what, character, at, allowed: self.allowed });
        }
        let bytes = token::escaped_len(raw);
        if bytes > self.escaped_bytes_max {
            return Err(IdError::TooLongEscaped { what, bytes, bytes_max: self.escaped_bytes_max });
        }
        Ok(())
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $id:ident, $rules:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $id(Arc<str>);

        impl $id {
            const RULES: Rules = $rules;

            /// Parses it, or says what is wrong with it.
            ///
            /// # Errors
            /// [`IdError`] naming the kind of id and the first thing wrong.
            pub fn parse(raw: &str) -> Result<Self, IdError> {
                Self::RULES.check(raw)?;
                Ok(Self(raw.into()))
            }

            /// As it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Its token: see [`token`](super::token).
            #[must_use]
            pub fn token(&self) -> String {
                token::escape(&self.0)
            }

            /// Reads it back from its token.
            #[must_use]
            pub fn from_token(text: &str) -> Option<Self> {
                Self::parse(&token::unescape(text)?).ok()
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &self.0)
            }
        }
        impl FromStr for $id {
            type Err = IdError;
            fn from_str(raw: &str) -> Result<Self, IdError> {
                Self::parse(raw)
            }
        }
        impl Serialize for $id {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = String::deserialize(deserializer)?;
                Self::parse(&raw).map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// Who the data belongs to. The default tenant is the empty id, `_` on the wire.
    TenantId,
    Rules {
        what: "tenant id",
        bytes_min: 0,
        bytes_max: 64,
        escaped_bytes_max: 64,
        allowed: "letters, digits, `_` and `-`",
        allows: |_, c| c.is_ascii_alphanumeric() || c == '_' || c == '-',
    }
}

id! {
    /// A name from a manifest: an aggregate type, command, event type, saga, effect, view or work item.
    Name,
    Rules {
        what: "name",
        bytes_min: 1,
        bytes_max: 64,
        escaped_bytes_max: 64,
        allowed: "a letter, then letters, digits, `_` and `-`",
        allows: |at, c| c.is_ascii_alphabetic() || (at > 0 && (c.is_ascii_digit() || c == '_' || c == '-')),
    }
}

id! {
    /// An id of the application's own: of an aggregate, a view row, or what a saga is correlated by.
    EntityId,
    Rules {
        what: "id",
        bytes_min: 1,
        bytes_max: 128,
        escaped_bytes_max: 192,
        allowed: "any characters but control characters",
        allows: |_, c| !c.is_control(),
    }
}

id! {
    /// Names one command for good: the same id always gets the same answer.
    CommandId,
    Rules {
        what: "command id",
        bytes_min: 1,
        bytes_max: 64,
        escaped_bytes_max: 96,
        allowed: "any characters but control characters",
        allows: |_, c| !c.is_control(),
    }
}

impl TenantId {
    /// The tenant of an installation without tenants.
    #[must_use]
    pub fn default_tenant() -> Self {
        Self("".into())
    }
}

/// A 128-bit id derived from what caused it: deriving it again gives the same id.
///
/// Parts are length-prefixed before hashing, so no two lists of parts collide by concatenation.
#[must_use]
pub fn derive_hex(parts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let mut out = String::with_capacity(32);
    for byte in &hash.finalize()[..16] {
        use fmt::Write;
        write!(out, "{byte:02x}").expect("writing to a string");
    }
    out
}

impl CommandId {
    /// The id of work that was caused by `parts`: the same causes give the same id, in every life of the machine.
    #[must_use]
    pub fn derive(parts: &[&str]) -> Self {
        Self(format!("w-{}", derive_hex(parts)).into())
    }

    /// As [`derive`](Self::derive), of something that began at a moment which belongs to `parts`: ids of what began at
    /// about the same time are neighbours in every ordered table, so that one page holds what is written together.
    #[must_use]
    pub fn derive_at(began_at: Option<Wall>, parts: &[&str]) -> Self {
        match began_at {
            Some(at) => Self(format!("w-{:012x}{}", at.as_ms(), derive_hex(parts)).into()),
            None => Self::derive(parts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_say_what_is_wrong_with_them() {
        let message = |result: Result<EntityId, IdError>| result.expect_err("refused").to_string();
        assert_eq!(message(EntityId::parse("")), "id is empty");
        assert_eq!(
            message(EntityId::parse(&"x".repeat(5_000))),
            "id is 5000 bytes long; at most 128 are allowed"
        );
        assert_eq!(
            message(EntityId::parse("a\0b")),
            "id has '\\0' at byte 1; allowed are any characters but control characters"
        );
        assert_eq!(
            message(EntityId::parse(&".".repeat(100))),
            "id is 300 bytes long once escaped for the wire; at most 192 are allowed"
        );
        assert!(TenantId::parse("a.b").is_err());
        assert!(TenantId::parse("").is_ok());
        assert!(Name::parse("1st").is_err());
        assert!(Name::parse("order_placed").is_ok());
    }

    #[test]
    fn ids_with_subject_syntax_are_escaped_not_refused() {
        for raw in ["o.1", "*", ">", "a b", "x=y", "ü", "tenant.>"] {
            let id = EntityId::parse(raw).expect("legal");
            assert_eq!(EntityId::from_token(&id.token()), Some(id));
        }
    }

    #[test]
    fn derived_ids_depend_on_every_boundary() {
        assert_ne!(derive_hex(&["ab", "c"]), derive_hex(&["a", "bc"]));
        assert_ne!(derive_hex(&["a", ""]), derive_hex(&["a"]));
        assert_eq!(CommandId::derive(&["a", "b"]), CommandId::derive(&["a", "b"]));
        assert!(CommandId::parse(CommandId::derive(&["a"]).as_str()).is_ok());
    }

    #[test]
    fn derived_ids_are_in_the_order_in_which_things_began() {
        let at = |ms| CommandId::derive_at(Some(Wall::from_ms(ms)), &["a"]);
        let in_order = [0, 9, 10, 255, 1_795_238_040_123, 253_402_300_799_999, u64::MAX].map(at);
        assert!(in_order.is_sorted(), "{in_order:?}");
        assert!(in_order.iter().all(|id| CommandId::parse(id.as_str()).is_ok()));
        assert_eq!(CommandId::derive_at(None, &["a"]), CommandId::derive(&["a"]));
        assert_ne!(at(7), CommandId::derive_at(Some(Wall::from_ms(7)), &["b"]));
    }

    #[test]
    fn deserialising_validates() {
        assert!(serde_json::from_str::<TenantId>("\"a.b\"").is_err());
        assert_eq!(serde_json::from_str::<Name>("\"order\"").expect("legal").as_str(), "order");
    }
}
