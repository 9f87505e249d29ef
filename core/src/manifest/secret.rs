//! `${secret:NAME}` in a header of an effect: where the value goes, never the value.
//!
//! ```yaml
//! http:
//!   headers: { Authorization: "Bearer ${secret:payments_token}" }
//! ```
//!
//! Only in literal header values. Everywhere else it is a fault: expressions, URLs, subjects and bodies end up in rows,
//! logs and dead letters. The core knows names alone; whoever makes the call puts the value in, and nothing remembers it.

use super::reader::Reader;
use super::yaml::{Key, Node, Yaml};
use std::fmt;

const BEGIN: &str = "${secret:";

/// Longest name of a secret, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// The name of a secret: 1 to 64 lower-case letters, digits and underscores, so that a file and an environment variable
/// can have it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SecretName(String);

impl SecretName {
    /// A name; `None` if it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=NAME_BYTES_MAX).contains(&text.len());
        let plain = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        (fits && plain).then(|| Self(text.to_owned()))
    }

    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A piece of a header's value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretPart {
    /// As it stands.
    Text(String),
    /// To be put in when the call is made.
    Secret(SecretName),
}

/// A header whose value has secrets in it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecretHeader {
    /// Its name, in lower case.
    pub name: String,
    /// Its value, in order.
    pub parts: Vec<SecretPart>,
}

impl SecretHeader {
    /// The secrets it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        self.parts.iter().filter_map(|part| match part {
            SecretPart::Secret(name) => Some(name),
            SecretPart::Text(_) => None,
        })
    }

    /// A header's value, if there are secrets in it; faults go to the reader.
    pub(super) fn read(name: &str, node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let text = mentioned(node)?;
        if text.starts_with('=') {
            let help = Some("write the header's value as text, with `${secret:NAME}` in it".to_owned());
            reader.fault(node.span, "a secret cannot stand in an expression".into(), help);
            return None;
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(BEGIN) {
            let named = after.split_once('}').and_then(|(raw, after)| Some((SecretName::parse(raw)?, after)));
            let Some((secret, after)) = named else {
                let help =
                    Some("`${secret:NAME}`, NAME of 1 to 64 lower-case letters, digits and underscores");
                reader.fault(node.span, "this is no name of a secret".into(), help.map(str::to_owned));
                return None;
            };
            if !before.is_empty() {
                parts.push(SecretPart::Text(before.to_owned()));
            }
            parts.push(SecretPart::Secret(secret));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(SecretPart::Text(rest.to_owned()));
        }
        Some(Self { name: name.to_owned(), parts })
    }
}

/// The text of a node, if it mentions a secret.
fn mentioned(node: &Node) -> Option<&str> {
    match &node.value {
        Yaml::Text(text) if text.contains(BEGIN) => Some(text),
        Yaml::Text(_)
        | Yaml::Null
        | Yaml::Bool(_)
        | Yaml::Int(_)
        | Yaml::Float(_)
        | Yaml::List(_)
        | Yaml::Map(_) => None,
    }
}

/// Where a walk through a manifest is, as far as secrets are concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// The top of an effect.
    Effect,
    /// `http` or `nats` of one.
    Provider,
    /// Anywhere else.
    Elsewhere,
}

/// Every mention of a secret outside the headers of an effect is a fault.
pub(super) fn only_in_headers(node: &Node, is_effect: bool, reader: &mut Reader<'_>) {
    walk(node, if is_effect { Place::Effect } else { Place::Elsewhere }, reader);
}

fn walk(node: &Node, place: Place, reader: &mut Reader<'_>) {
    match &node.value {
        Yaml::Map(entries) => {
            for (Key { text, .. }, value) in entries {
                match (place, text.as_str()) {
                    (Place::Provider, "headers") => {}
                    (Place::Effect, "http" | "nats") => walk(value, Place::Provider, reader),
                    (Place::Effect | Place::Provider | Place::Elsewhere, _) => {
                        walk(value, Place::Elsewhere, reader)
                    }
                }
            }
        }
        Yaml::List(items) => items.iter().for_each(|item| walk(item, Place::Elsewhere, reader)),
        Yaml::Text(_) if mentioned(node).is_some() => {
            let help = Some(
                "secrets go into `headers` of an effect's `http` or `nats`, and nowhere else".to_owned(),
            );
            reader.fault(node.span, "a secret cannot stand here".into(), help);
        }
        Yaml::Text(_) | Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => {}
    }
}
