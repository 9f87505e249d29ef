//! `aggregates/*.yaml`: what an aggregate is, what it can be told, and what then happens to its state.
//!
//! ```yaml
//! aggregate: order
//! initial_state: { status: new }
//! commands:
//!   place:                                 # decide {state, command} → {events | refusal}
//!     - when: state.status != 'new'
//!       refusal: { code: already_placed, message: the order exists }
//!     - events:
//!         - type: order_placed
//!           payload: { sku: = command.payload.sku }
//! events:
//!   order_placed:                          # evolve {state, event} → {state}
//!     set: { status: placed, sku: = event.payload.sku }
//! ```

use super::reader::{Fields, Reader};
use super::yaml::{Node, Span, Yaml};
use crate::program::contract::{DECIDE, EVOLVE};
use crate::program::dag::DagProgram;
use crate::wire::envelope::COMMAND_REFUSED;
use crate::wire::id::Name;
use serde_json::Value;
use std::collections::BTreeMap;

/// An aggregate type.
#[derive(Clone, PartialEq, Debug)]
pub struct AggregateDef {
    /// Its type.
    pub name: Name,
    /// What it is before its first event.
    pub initial_state: Value,
    /// What it can be told.
    pub commands: BTreeMap<Name, DagProgram>,
    /// What can happen to it.
    pub events: BTreeMap<Name, DagProgram>,
}

impl AggregateDef {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "aggregate", reader);
        let name = fields.required("aggregate", reader).and_then(|name| reader.name(name));
        let initial = fields.required("initial_state", reader);
        let commands_node = fields.required("commands", reader);
        let events_node = fields.required("events", reader);
        fields.finish(reader);
        let mut events = BTreeMap::new();
        for (key, program) in events_node.map(|node| reader.entries(node)).unwrap_or_default() {
            if let Some(name) = reader.key_name(key) {
                if name.as_str() == COMMAND_REFUSED {
                    let help =
                        "the platform records refused commands under this name; choose another".to_owned();
                    reader.fault(
                        key.span,
                        format!("the event type `{COMMAND_REFUSED}` is reserved"),
                        Some(help),
                    );
                }
                events.insert(name, DagProgram::compile(program, EVOLVE, reader));
            }
        }
        let mut commands = BTreeMap::new();
        for (key, program) in commands_node.map(|node| reader.entries(node)).unwrap_or_default() {
            check_emitted(program, &events, reader);
            if let Some(name) = reader.key_name(key) {
                commands.insert(name, DagProgram::compile(program, DECIDE, reader));
            }
        }
        Some(Self { name: name?, initial_state: initial?.to_json(), commands, events })
    }
}

/// An event type that a command emits by name must be one of the aggregate's events.
fn check_emitted(program: &Node, events: &BTreeMap<Name, DagProgram>, reader: &mut Reader<'_>) {
    let mut emitted: Vec<(&str, Span)> = Vec::new();
    collect_emitted(program, &mut emitted);
    for (kind, span) in emitted {
        if !kind.starts_with('=') && !events.keys().any(|known| known.as_str() == kind) {
            let close = super::suggest::closest(kind, events.keys().map(Name::as_str));
            let help = match close {
                Some(close) => format!("did you mean `{close}`?"),
                None => "declare it under `events`, with what it does to the state".to_owned(),
            };
            reader.fault(span, format!("event `{kind}` is not declared by this aggregate"), Some(help));
        }
    }
}

fn collect_emitted<'n>(program: &'n Node, out: &mut Vec<(&'n str, Span)>) {
    match &program.value {
        Yaml::List(cases) => cases.iter().for_each(|case| collect_emitted(case, out)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                match (key.text.as_str(), &value.value) {
                    ("cases", _) => collect_emitted(value, out),
                    ("events", Yaml::List(events)) => {
                        for event in events {
                            let Yaml::Map(fields) = &event.value else { continue };
                            for (key, value) in fields {
                                if let ("type", Yaml::Text(kind)) = (key.text.as_str(), &value.value) {
                                    out.push((kind, value.span));
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => {}
    }
}
