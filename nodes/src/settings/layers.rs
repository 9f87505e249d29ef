//! Where settings come from, one layer over the other: defaults, a file, the environment, the command line.

use super::fault::{Fault, SettingsError};
use super::key::{Key, NodeKind};
use cloudlysis_core::manifest::yaml;
use cloudlysis_io_nats::address::Address;
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Tag, Value as Tagged};
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::{Value, json};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Largest file of settings, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Variables that begin like ours and are not: what GitHub's runners set, …
const STRANGERS: [&str; 11] = [
    "RUNNER_ARCH",
    "RUNNER_DEBUG",
    "RUNNER_ENVIRONMENT",
    "RUNNER_NAME",
    "RUNNER_OS",
    "RUNNER_TEMP",
    "RUNNER_TOOL_CACHE",
    "RUNNER_TRACKING_ID",
    "RUNNER_USER",
    "RUNNER_WORKSPACE",
    "RUNNER_PERFLOG",
];

/// The address of the broker, as it is called where several programs are told of one NATS.
const NATS_URL: &str = "NATS_URL";

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// The file of settings.
    File(PathBuf),
    /// An environment variable.
    Env(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Flag => f.write_str("flag"),
        }
    }
}

/// What was said, by whom.
#[derive(Clone, Debug, Default)]
pub struct Said {
    /// A file.
    pub file: Option<PathBuf>,
    /// Names and values of environment variables.
    pub env: Vec<(String, String)>,
    /// Names and values of settings on the command line; the last one counts.
    pub flags: Vec<(String, String)>,
}

/// A value that a layer gave to a name.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Given {
    pub(super) name: String,
    pub(super) value: Value,
    pub(super) origin: Origin,
}

const DEFAULT: &str = "default";
const FILE: &str = "file";
const ENV: &str = "env";
const FLAG: &str = "flag";

/// A layer: names with dots in them, and what they are.
struct Layer {
    metadata: Metadata,
    values: Vec<(String, Value)>,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let mut nested = json!({});
        for (name, value) in &self.values {
            let mut at = &mut nested;
            for part in name.split('.') {
                if !at.is_object() {
                    *at = json!({});
                }
                at = &mut at[part];
            }
            *at = value.clone();
        }
        Serialized::defaults(nested).data()
    }
}

/// A file of settings.
struct File {
    path: PathBuf,
    dict: Dict,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::from(FILE, self.path.as_path())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

impl File {
    fn read(path: &Path) -> Result<Self, SettingsError> {
        let io = |source| SettingsError::Io { path: path.to_owned(), source };
        // It may quote the file.
        let syntax = |detail: String| {
            let lines: Vec<String> = detail.lines().map(|line| Address::from(line).to_string()).collect();
            SettingsError::Syntax { path: path.to_owned(), detail: lines.join("\n") }
        };
        let bytes = fs::metadata(path).map_err(io)?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(syntax(format!("it is {bytes} bytes long; at most {FILE_BYTES_MAX} are read")));
        }
        let text = fs::read_to_string(path).map_err(io)?;
        let from_json = |value: Value| Tagged::serialize(value).map_err(|error| error.to_string());
        let read = match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => {
                Toml::from_str::<Dict>(&text).map(Tagged::from).map_err(|error| {
                    // Its own words have the whole line, and a token may be in it.
                    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
                    format!("line {}: {}", before.matches('\n').count() + 1, error.message())
                })
            }
            Some("yaml" | "yml") => yaml::parse(&path.display().to_string(), &text)
                .map_err(|diagnostic| diagnostic.to_string())
                .and_then(|node| from_json(node.to_json())),
            Some("json") => {
                serde_json::from_str(&text).map_err(|error| error.to_string()).and_then(from_json)
            }
            Some(_) | None => return Err(SettingsError::Extension(path.to_owned())),
        };
        let names = read.map_err(syntax)?.into_dict();
        let dict = names.ok_or_else(|| syntax("settings are names with values".to_owned()))?;
        Ok(Self { path: path.to_owned(), dict })
    }
}

/// Whether a variable is a setting of this node: not one that Kubernetes made of a service of the same name, nor one of
/// a runner of something else.
fn is_ours(variable: &str, node: NodeKind) -> bool {
    let Some(rest) = variable.strip_prefix(node.prefix()) else { return false };
    let of_a_service = rest == "PORT"
        || rest.starts_with("PORT_")
        || rest == "SERVICE_HOST"
        || rest == "SERVICE_PORT"
        || rest.starts_with("SERVICE_PORT_");
    rest != "CONFIG" && !of_a_service && !STRANGERS.contains(&variable)
}

/// The file that the environment names; a variable that is empty names none.
#[must_use]
pub fn file_of(env: &[(String, String)], node: NodeKind) -> Option<PathBuf> {
    let wanted = format!("{}CONFIG", node.prefix());
    env.iter().find(|(name, path)| *name == wanted && !path.is_empty()).map(|(_, path)| PathBuf::from(path))
}

/// What a text means: what the setting of this name takes, or the text itself.
fn meant(name: &str, text: &str) -> Value {
    let read = Key::named(name).and_then(|key| key.kind().read(text));
    read.unwrap_or_else(|| Value::from(text))
}

/// The variables that say where the broker is: one, or two that might not agree.
fn names_of_broker(node: NodeKind, env: &[(String, String)]) -> Vec<String> {
    let names = [Key::Broker.variable(node), format!("{}{NATS_URL}", node.prefix())];
    names.into_iter().filter(|name| env.iter().any(|(variable, _)| variable == name)).collect()
}

/// The broker goes by two names in the environment, and they might not agree.
pub(super) fn broker_said_twice(node: NodeKind, said: &Said) -> Option<Fault> {
    let [first, second] = <[String; 2]>::try_from(names_of_broker(node, &said.env)).ok()?;
    let (name, value, origin) = (Key::Broker.name(), Value::from(Address::HIDDEN), Origin::Env(second));
    Some(Fault::Together { name, value, origin, rule: format!("left out, for {first} says it") })
}

/// Lays the layers over each other.
pub(super) fn merged(node: NodeKind, said: &Said) -> Result<Vec<Given>, SettingsError> {
    let own = Key::ALL.iter().filter(|key| key.is_of(node));
    let defaults = own.map(|key| (key.name().to_owned(), meant(key.name(), key.default())));
    let env = said.env.iter().filter(|(variable, _)| is_ours(variable, node)).map(|(variable, text)| {
        let name = match &variable[node.prefix().len()..] {
            NATS_URL => Key::Broker.name().to_owned(),
            rest => rest.replace("__", ".").to_lowercase(),
        };
        let value = meant(&name, text);
        (name, value)
    });
    let names_of_broker = names_of_broker(node, &said.env);
    let flags = said.flags.iter().map(|(name, text)| (name.clone(), meant(name, text)));
    let layer = |name, values| Layer { metadata: Metadata::named(name), values };
    let mut figment = Figment::from(layer(DEFAULT, defaults.collect()));
    if let Some(path) = said.file.clone().or_else(|| file_of(&said.env, node)) {
        figment = figment.merge(File::read(&path)?);
    }
    let figment = figment.merge(layer(ENV, env.collect())).merge(layer(FLAG, flags.collect()));
    let mut out = Vec::new();
    let syntax = |error: figment::Error| SettingsError::Syntax {
        path: said.file.clone().unwrap_or_default(),
        detail: error.to_string(),
    };
    let Tagged::Dict(_, dict) = figment.find_value("").map_err(syntax)? else { return Ok(out) };
    leaves(&dict, "", &mut |name, value| {
        let variable = match names_of_broker.first().filter(|_| name == Key::Broker.name()) {
            Some(variable) => variable.clone(),
            None => format!("{}{}", node.prefix(), name.replace('.', "__").to_uppercase()),
        };
        let origin = origin(&figment, value.tag(), variable);
        let value = serde_json::to_value(value).unwrap_or(Value::Null);
        out.push(Given { name, value, origin });
    });
    Ok(out)
}

/// Visits what is not a group of others. A name that is a setting is never a group.
fn leaves(dict: &Dict, prefix: &str, visit: &mut impl FnMut(String, &Tagged)) {
    for (key, value) in dict {
        let name = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        let group = value.as_dict().filter(|inner| Key::named(&name).is_none() && !inner.is_empty());
        match group {
            Some(inner) => leaves(inner, &name, visit),
            None => visit(name, value),
        }
    }
}

fn origin(figment: &Figment, tag: Tag, variable: String) -> Origin {
    let metadata = figment.get_metadata(tag);
    match metadata.map(|metadata| metadata.name.as_ref()) {
        Some(FILE) => {
            let path =
                metadata.and_then(|metadata| metadata.source.as_ref()).and_then(|from| from.file_path());
            Origin::File(path.unwrap_or(Path::new("")).to_owned())
        }
        Some(ENV) => Origin::Env(variable),
        Some(FLAG) => Origin::Flag,
        Some(_) | None => Origin::Default,
    }
}
