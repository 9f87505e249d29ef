//! What a setting may be, and reading it.

use cloudlysis_io_nats::address::Address;
use cloudlysis_io_nats::servers;
use reqwest::Url;
use serde_json::Value;
use std::fmt;
use tonic::transport::Endpoint;

/// Longest text of a setting, in bytes.
const TEXT_BYTES_MAX: usize = 4_096;

/// What a setting may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Switch,
    /// Some text.
    Text,
    /// The address of the broker, or several, separated by commas.
    Broker,
    /// The address of a node.
    Node,
    /// Addresses of nodes, separated by commas.
    Nodes,
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
            Self::Text => write!(f, "text of 1 to {TEXT_BYTES_MAX} bytes"),
            Self::Broker => f.write_str(
                "nats://host:port, several separated by commas, all with the same user and password, or token",
            ),
            Self::Node => f.write_str("http://host:port"),
            Self::Nodes => f.write_str("http://host:port, several separated by commas"),
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
            Self::Text
            | Self::Broker
            | Self::Node
            | Self::Nodes
            | Self::File
            | Self::Secret
            | Self::Choice(_) => Value::from(text),
        })
    }

    /// Whether a value is allowed.
    #[must_use]
    pub fn allows(self, value: &Value) -> bool {
        match self {
            Self::Switch => value.is_boolean(),
            Self::Text => value.as_str().is_some_and(|text| (1..=TEXT_BYTES_MAX).contains(&text.len())),
            Self::Broker => bounded(value).is_some_and(|text| servers::is_usable(&text.into())),
            Self::Node => bounded(value).is_some_and(is_node),
            Self::Nodes => bounded(value).is_some_and(|text| text.split(',').all(is_node)),
            Self::File | Self::Secret => bounded(value).is_some(),
            Self::Choice(words) => value.as_str().is_some_and(|text| words.contains(&text)),
            Self::Number { min, max } => value.as_u64().is_some_and(|number| (min..=max).contains(&number)),
        }
    }

    /// A value without its secrets.
    #[must_use]
    pub fn shown(self, value: &Value) -> Value {
        match self {
            Self::Broker | Self::Node | Self::Nodes => match value {
                Value::String(text) => Value::from(Address::from(text.as_str()).to_string()),
                // Somebody took it apart: any part may be the password.
                Value::Array(_) | Value::Object(_) => Value::from(Address::HIDDEN),
                Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            },
            Self::Secret if value.as_str() == Some("") => value.clone(),
            Self::Secret => Value::from(Address::HIDDEN),
            Self::Switch | Self::Text | Self::File | Self::Choice(_) | Self::Number { .. } => value.clone(),
        }
    }

    /// Whether a value is what is shown of another, and not that other.
    #[must_use]
    pub fn is_hidden(self, value: &Value) -> bool {
        let text = value.as_str().unwrap_or_default();
        match self {
            Self::Broker | Self::Node | Self::Nodes => text.contains(&format!("{}@", Address::HIDDEN)),
            Self::Secret => text == Address::HIDDEN,
            Self::Switch | Self::Text | Self::File | Self::Choice(_) | Self::Number { .. } => false,
        }
    }
}

fn bounded(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| text.len() <= TEXT_BYTES_MAX)
}

/// Whether a node can be there. Nodes speak to each other in clear.
fn is_node(url: &str) -> bool {
    let parsed = Url::parse(url);
    let leads_somewhere =
        parsed.is_ok_and(|url| url.scheme() == "http" && url.has_host() && url.path() == "/");
    leads_somewhere && !url.contains(',') && Endpoint::from_shared(url.to_owned()).is_ok()
}
