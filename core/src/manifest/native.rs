//! Programs of a saga that are compiled into the binary, instead of written in its manifest.
//!
//! ```yaml
//! on_event:
//!   order.order_placed:
//!     native: fulfil.placed@1              # the version is part of its name
//!     asks:                                # all it may ask for
//!       - { name: reserve, command: { aggregate: stock, name: reserve } }
//!       - { name: charge, effect: { name: charge_card } }
//!     sets: [patience]                     # all timers it may set
//! ```
//!
//! What it may ask for is said, and held to: so the rest of the manifest is checked as if it were written out.

use super::reader::{Fields, Reader};
use super::saga::{Item, WorkKind, read_work};
use super::suggest::closest;
use super::yaml::{Node, Span, Yaml};
use crate::program::dag::{Contract, DagProgram};
use crate::program::{Gas, Inputs, Program, ProgramError};
use crate::wire::id::Name;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const NATIVE: &str = "native";
/// What a native program may ask for.
pub(super) const ASKS: &str = "asks";
/// What timers it may set.
pub(super) const SETS: &str = "sets";

/// A program of a saga.
#[derive(Clone, PartialEq, Debug)]
pub enum SagaProgram {
    /// Written in the manifest.
    Written(DagProgram),
    /// Compiled into the binary.
    Native(Native),
}

/// A program of the binary, and what it may ask for.
#[derive(Clone, Debug)]
pub struct Native {
    name: String,
    program: Arc<dyn Program>,
    asks: BTreeMap<Name, WorkKind>,
    sets: BTreeSet<Name>,
}

impl PartialEq for Native {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.asks, &self.sets) == (&other.name, &other.asks, &other.sets)
    }
}

impl SagaProgram {
    pub(super) fn read(node: &Node, contract: Contract, reader: &mut Reader<'_>) -> Option<Self> {
        let is_native =
            matches!(&node.value, Yaml::Map(entries) if entries.iter().any(|(key, _)| key.text == NATIVE));
        if is_native {
            return Native::read(node, reader).map(Self::Native);
        }
        Some(Self::Written(DagProgram::compile(node, contract, reader)))
    }
}

impl Native {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "native program", reader);
        let named = fields.required(NATIVE, reader)?;
        let (asks, sets) = (fields.optional(ASKS), fields.optional(SETS));
        fields.finish(reader);
        let name = reader.text(named)?;
        let mut known = BTreeMap::new();
        for item in asks.map(|node| reader.items(node)).unwrap_or_default() {
            known.extend(read_work(item, Item::Declared, reader));
        }
        let names = sets.map(|node| reader.items(node)).unwrap_or_default();
        let sets = names.iter().filter_map(|item| reader.name(item)).collect();
        let Some(program) = reader.natives().get(&name) else {
            let help = match closest(&name, reader.natives().names()) {
                Some(close) => format!("did you mean `{close}`?"),
                None => {
                    let there: Vec<&str> = reader.natives().names().collect();
                    if there.is_empty() {
                        "it has none".to_owned()
                    } else {
                        format!("it has {}", there.join(", "))
                    }
                }
            };
            reader.fault(named.span, format!("this binary has no program `{name}`"), Some(help));
            return None;
        };
        Some(Self { name, program, asks: known, sets })
    }

    fn check(&self, output: &Value) -> Result<(), String> {
        let items = |section: &str| output[section].as_array().map(Vec::as_slice).unwrap_or_default();
        for item in items("work") {
            let asked = match (&item["command"], &item["effect"]) {
                (Value::Object(command), _) => (command.get("aggregate"), command.get("name")),
                (_, Value::Object(effect)) => (None, effect.get("name")),
                _ => (None, None),
            };
            let name = item["name"].as_str().unwrap_or_default();
            let declared = self.asks.iter().find(|(own, _)| own.as_str() == name).map(|(_, kind)| kind);
            let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
            let (aggregate, what) = (text(asked.0), text(asked.1));
            let agrees = match declared {
                Some(WorkKind::Command { aggregate: own, command }) => {
                    own.as_str() == aggregate && command.as_str() == what
                }
                Some(WorkKind::Effect { effect }) => aggregate.is_empty() && effect.as_str() == what,
                None => false,
            };
            if !agrees {
                return Err(format!(
                    "`{}` asks for `{name}`, which is not what `{ASKS}` says of it",
                    self.name
                ));
            }
        }
        for item in items("timers") {
            let name = item["name"].as_str().unwrap_or_default();
            if !self.sets.iter().any(|own| own.as_str() == name) {
                return Err(format!("`{}` sets timer `{name}`, which is not among `{SETS}`", self.name));
            }
        }
        Ok(())
    }
}

impl Program for SagaProgram {
    fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        match self {
            Self::Written(program) => program.run(inputs, gas),
            Self::Native(native) => {
                let output = native.program.run(inputs, gas)?;
                native.check(&output).map_err(|detail| ProgramError::Output { detail })?;
                Ok(output)
            }
        }
    }
}

/// The timers that native programs among these may set.
pub(super) fn timers_set(program: &Node, out: &mut BTreeMap<Name, Span>, reader: &mut Reader<'_>) {
    let Yaml::Map(entries) = &program.value else { return };
    for (_, names) in entries.iter().filter(|(key, _)| key.text == SETS) {
        for item in reader.items(names) {
            if let Some(name) = reader.name(item) {
                out.insert(name, item.span);
            }
        }
    }
}
