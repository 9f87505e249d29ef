//! What is wrong with settings.

use super::key::NodeKind;
use super::kind::Kind;
use super::layers::Origin;
use crate::token::TokenError;
use serde_json::Value;
use std::fmt;
use std::path::PathBuf;
use thiserror::Error;

/// Why settings cannot be used.
#[derive(Debug, Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody knows how to read it.
    #[error("{}: settings are read from files that end in .toml, .yaml, .yml or .json", .0.display())]
    Extension(PathBuf),
    /// It is not what its name says.
    #[error("{}: {detail}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The token of `/admin` cannot be used.
    #[error("setting `{name}` ({origin}): {source}")]
    Token {
        /// The setting that has it or names its file.
        name: &'static str,
        /// Where.
        origin: Origin,
        /// What is wrong with it.
        source: TokenError,
    },
    /// Settings have faults: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

/// One fault of one setting.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// There is no such setting.
    Unknown {
        /// The node.
        node: NodeKind,
        /// What was given.
        name: String,
        /// Where.
        origin: Origin,
        /// What may have been meant.
        closest: Option<String>,
    },
    /// Other nodes have it.
    Elsewhere {
        /// The node.
        node: NodeKind,
        /// What was given.
        name: &'static str,
        /// Where.
        origin: Origin,
        /// Who has it.
        nodes: &'static [NodeKind],
    },
    /// Its value is not allowed.
    Value {
        /// The setting.
        name: &'static str,
        /// What was given, without secrets.
        value: Value,
        /// Where.
        origin: Origin,
        /// What is allowed.
        allowed: Kind,
    },
    /// It is what `--dump-config` shows in the place of something else.
    Hidden {
        /// The setting.
        name: &'static str,
        /// Where.
        origin: Origin,
        /// The environment variable that could have it.
        variable: String,
    },
    /// Its value does not go together with another's.
    Together {
        /// The setting.
        name: &'static str,
        /// What it is.
        value: Value,
        /// By whom.
        origin: Origin,
        /// What is asked of it.
        rule: String,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { node, name, origin, closest } => {
                write!(f, "unknown setting `{name}` of a {node} node ({origin})")?;
                match closest {
                    Some(closest) => write!(f, "; did you mean `{closest}`?"),
                    None => write!(f, "; `cloudlysis serve {node} --dump-config` lists those there are"),
                }
            }
            Self::Elsewhere { node, name, origin, nodes } => {
                let nodes: Vec<&str> = nodes.iter().map(|node| node.name()).collect();
                write!(f, "a {node} node has no setting `{name}` ({origin}); {} has", nodes.join(", "))
            }
            Self::Value { name, value, origin, allowed } => {
                write!(f, "setting `{name}` is {value} ({origin}); allowed is {allowed}")
            }
            Self::Hidden { name, origin, variable } => {
                write!(
                    f,
                    "setting `{name}` ({origin}) has `***` for what is not shown: write that in its place, or the whole \
                     into {variable}"
                )
            }
            Self::Together { name, value, origin, rule } => {
                write!(f, "setting `{name}` is {value} ({origin}); it must be {rule}")
            }
        }
    }
}
