//! What a setting may be, and reading it.

use cloudlysis_io_nats::address::Address;
use serde_json::Value;
use std::fmt;

/// Longest text of a setting, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// What a setting may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// Some text.
    Text,
    /// An address; what stands before an `@` in it is nobody's business.
    Url,
    /// A file, or nothing.
    File,
    /// Something that is never shown, or nothing.
    Secret,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number, within these.
    Number {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch => f.write_str("`true` or `false`"),
            Self::Text | Self::Url => write!(f, "text of 1 to {TEXT_BYTES_MAX} bytes"),
            Self::File => write!(f, "the path of a file, or nothing"),
            Self::Secret => f.write_str("what is not shown, or nothing"),
            Self::Choice(words) => {
                let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                f.write_str(&words.join(" or "))
            }
            Self::Number { min, max } => write!(f, "a whole number from {min} to {max}"),
        }
    }
}

impl Kind {
    /// Reads what a command line or an environment variable says; `None` when it is of another kind. It may be out of
    /// its bounds.
    #[must_use]
    pub fn read(self, text: &str) -> Option<Value> {
        Some(match self {
            Self::Switch => Value::Bool(text.parse().ok()?),
            Self::Number { .. } => Value::from(text.parse::<u64>().ok()?),
            Self::Text | Self::Url | Self::File | Self::Secret | Self::Choice(_) => Value::from(text),
        })
    }

    /// Whether a value is allowed.
    #[must_use]
    pub fn allows(self, value: &Value) -> bool {
        match self {
            Self::Switch => value.is_boolean(),
            Self::Text | Self::Url => {
                value.as_str().is_some_and(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()))
            }
            Self::File | Self::Secret => value.as_str().is_some_and(|text| text.len() <= TEXT_BYTES_MAX),
            Self::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::Number { min, max } => value.as_u64().is_some_and(|number| (min..=max).contains(&number)),
        }
    }

    /// A value without its secrets.
    #[must_use]
    pub fn shown(self, value: &Value) -> Value {
        match (self, value) {
            (Self::Url, Value::String(text)) => Value::from(Address::from(text.as_str()).to_string()),
            (Self::Url, Value::Array(_) | Value::Object(_)) => {
                Value::from(Address::from(value.to_string()).to_string())
            }
            (Self::Secret, Value::String(text)) if text.is_empty() => value.clone(),
            (Self::Secret, _) => Value::from(Address::HIDDEN),
            _ => value.clone(),
        }
    }
}
