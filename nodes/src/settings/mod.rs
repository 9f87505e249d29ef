//! The settings of a node: what they are, where each came from, and what machines and shells get of them.
//!
//! ```text
//! defaults ◄ file (.toml, .yaml, .json) ◄ environment (RUNNER_GATE__BATCH) ◄ command line (--set gate.batch=64)
//! ```
//!
//! Everything is checked at the start: an unknown name, a value out of its bounds, values that do not go together. All
//! faults are reported at once, each with its origin. Nothing is read again later.
//!
//! | module | what it does |
//! |---|---|
//! | [`key`] | the table of all settings |
//! | [`kind`] | what a setting may be |
//! | [`layers`] | where values come from |
//! | [`fault`] | what is wrong |
//! | [`limits`] | what machines get |
//! | [`placed`] | where tenants are |
//! | [`shown`] | `--dump-config`, and the table of the documentation |

pub mod fault;
pub mod key;
pub mod kind;
pub mod layers;
pub mod limits;
pub mod placed;
pub mod shown;
#[cfg(test)]
mod tests;

pub use fault::SettingsError;
pub use key::{Key, NodeKind};
pub use layers::{Origin, Said};
pub use placed::PlacementFrom;

use crate::token::Token;
use cloudlysis_core::manifest::suggest::closest;
use cloudlysis_core::saga::HandOver;
use fault::Fault;
use layers::Given;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

/// The settings of one node.
#[derive(Clone, PartialEq)]
pub struct Settings {
    node: NodeKind,
    values: BTreeMap<Key, (Value, Origin)>,
}

/// As they are shown: without secrets.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.to_json())
    }
}

impl Settings {
    /// The settings of a node, after what was said.
    ///
    /// # Errors
    /// The file that cannot be read, or every fault there is.
    pub fn load(node: NodeKind, said: &Said) -> Result<Self, SettingsError> {
        let mut values = BTreeMap::new();
        let mut faults: Vec<Fault> = layers::broker_said_twice(node, said).into_iter().collect();
        for given in layers::merged(node, said)? {
            match judged(node, given) {
                Ok((key, value, origin)) => drop(values.insert(key, (value, origin))),
                Err(fault) => faults.push(fault),
            }
        }
        let mut settings = Self { node, values };
        if faults.is_empty() {
            settings.half_hands_over_by_itself();
            faults = settings.contradictions();
        }
        if faults.is_empty() { Ok(settings) } else { Err(SettingsError::Faults(faults)) }
    }

    /// Whose they are.
    #[must_use]
    pub const fn node(&self) -> NodeKind {
        self.node
    }

    /// Every setting in the order of the table: value and origin. Secrets are in it.
    fn all(&self) -> impl Iterator<Item = (Key, &Value, &Origin)> {
        self.values.iter().map(|(key, (value, origin))| (*key, value, origin))
    }

    /// A value. Every node has a value for each of its settings, and asks for no other.
    fn value(&self, key: Key) -> &Value {
        let given = self.values.get(&key);
        given.map_or_else(
            || panic!("a {} node has no setting `{}`", self.node, key.name()),
            |(value, _)| value,
        )
    }

    /// A switch.
    #[must_use]
    pub fn is_on(&self, key: Key) -> bool {
        self.value(key).as_bool().expect("checked when it was loaded")
    }

    /// A text.
    #[must_use]
    pub fn text(&self, key: Key) -> &str {
        self.value(key).as_str().expect("checked when it was loaded")
    }

    /// A file, if one is named.
    #[must_use]
    pub fn file(&self, key: Key) -> Option<&Path> {
        Some(self.text(key)).filter(|path| !path.is_empty()).map(Path::new)
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: Key) -> u64 {
        self.value(key).as_u64().expect("checked when it was loaded")
    }

    /// What asks more of a value than its own bounds.
    fn contradictions(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut demand = |key: Key, other: Key, rule: &str, holds: fn(u64, u64) -> bool| {
            if !key.is_of(self.node) || !other.is_of(self.node) {
                return;
            }
            if !holds(self.number(key), self.number(other)) {
                let (value, origin) = self.values[&key].clone();
                let rule = format!("{rule} `{}`, which is {}", other.name(), self.number(other));
                faults.push(Fault::Together { name: key.name(), value, origin, rule });
            }
        };
        let at_most = |own, other| own <= other;
        demand(Key::GateHeartbeatMs, Key::GatePullExpiresMs, "at most half of", |own, other| {
            2 * own <= other
        });
        demand(Key::GateRebindMs, Key::GateRebindMsMax, "at most", at_most);
        demand(Key::CommandsBackoffMs, Key::CommandsBackoffMsMax, "at most", at_most);
        demand(Key::OutboxBackoffMs, Key::OutboxBackoffMsMax, "at most", at_most);
        demand(Key::OutboxInFlightMax, Key::OutboxTrackedMax, "at most", at_most);
        demand(Key::OutboxInFlightTenantMax, Key::OutboxInFlightMax, "at most", at_most);
        demand(Key::OutboxTrackedTenantMax, Key::OutboxTrackedMax, "at most", at_most);
        demand(Key::OutboxAttemptTimeoutMs, Key::CommandDeadlineMs, "more than", |own, other| own > other);
        demand(Key::EffectsInFlightMax, Key::EffectsTrackedMax, "at most", at_most);
        demand(Key::EffectsCircuitPauseMs, Key::EffectsCircuitPauseMsMax, "at most", at_most);
        faults.extend(self.hand_over_of_one_half());
        faults.extend(self.two_tokens());
        faults.extend(self.two_callers());
        faults.extend(self.misplaced());
        faults
    }

    /// Nobody could say which of two tokens counts.
    fn two_tokens(&self) -> Option<Fault> {
        let (value, origin) = self.values.get(&Key::AdminToken)?.clone();
        let both = value != "" && !self.text(Key::AdminTokenFile).is_empty();
        both.then(|| Fault::Together {
            name: Key::AdminToken.name(),
            value: Key::AdminToken.kind().shown(&value),
            origin,
            rule: format!("empty when `{}` is set", Key::AdminTokenFile.name()),
        })
    }

    /// Nor which of two callers a node is for the broker.
    fn two_callers(&self) -> Option<Fault> {
        let (value, origin) = self.values.get(&Key::BrokerCredentials)?.clone();
        let both = value != "" && self.text(Key::Broker).contains('@');
        both.then(|| Fault::Together {
            name: Key::BrokerCredentials.name(),
            value,
            origin,
            rule: format!("empty when `{}` says who calls", Key::Broker.name()),
        })
    }

    /// The token that `/admin` asks for.
    ///
    /// # Errors
    /// When its file cannot be read, or it is too short to be one.
    pub fn admin_token(&self) -> Result<Option<Token>, SettingsError> {
        if !Key::AdminToken.is_of(self.node) {
            return Ok(None);
        }
        let fault = |key: Key| {
            let (name, origin) = (key.name(), self.values[&key].1.clone());
            move |source| SettingsError::Token { name, origin, source }
        };
        match (self.text(Key::AdminTokenFile), self.text(Key::AdminToken)) {
            ("", "") => Ok(None),
            ("", text) => Token::parse(text).map(Some).map_err(fault(Key::AdminToken)),
            (file, _) => Token::read(Path::new(file)).map(Some).map_err(fault(Key::AdminTokenFile)),
        }
    }

    /// Half a runner has one way, which nobody has to say.
    fn half_hands_over_by_itself(&mut self) {
        let halved = self.values.get(&Key::Mode).is_some_and(|(mode, _)| mode != key::COMBINED);
        if let Some((way, Origin::Default)) = self.values.get_mut(&Key::HandOver)
            && halved
        {
            *way = Value::from(HandOver::Broker.as_str());
        }
    }

    /// What only a combined runner can do must not be asked of half a one.
    fn hand_over_of_one_half(&self) -> Option<Fault> {
        let (value, origin) = self.values.get(&Key::HandOver)?.clone();
        let asked = value.as_str() != Some(HandOver::Broker.as_str());
        let mode = self.text(Key::Mode);
        (asked && mode != key::COMBINED).then(|| Fault::Together {
            name: Key::HandOver.name(),
            value,
            origin,
            rule: format!("`broker` when `{}` is `{mode}`", Key::Mode.name()),
        })
    }
}

/// A name and a value, if the node has the one and the other is allowed.
fn judged(node: NodeKind, given: Given) -> Result<(Key, Value, Origin), Fault> {
    let Given { name, value, origin } = given;
    let Some(key) = Key::named(&name) else {
        let own = Key::ALL.iter().filter(|key| key.is_of(node)).map(|key| key.name());
        let closest = closest(&name, own).map(str::to_owned);
        return Err(Fault::Unknown { node, name, origin, closest });
    };
    let (name, allowed) = (key.name(), key.kind());
    if !key.is_of(node) {
        return Err(Fault::Elsewhere { node, name, origin, nodes: key.nodes() });
    }
    if allowed.is_hidden(&value) {
        return Err(Fault::Hidden { name, origin, variable: key.variable(node) });
    }
    if !allowed.allows(&value) {
        return Err(Fault::Value { name, value: allowed.shown(&value), origin, allowed });
    }
    Ok((key, value, origin))
}
