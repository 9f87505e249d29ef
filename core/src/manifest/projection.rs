//! `projections/*.yaml`: a view, and how events become its rows.
//!
//! ```yaml
//! projection: order_summary
//! on:
//!   order.order_placed:
//!     view_id: event.aggregate_id          # which row; null for none
//!     project:                             # project {view, event} → {view | delete}
//!       set: { status: placed, sku: = event.payload.sku }
//! ```

use super::reader::{Fields, Reader};
use super::yaml::Node;
use crate::program::contract::PROJECT;
use crate::program::dag::{DagProgram, Expression};
use crate::wire::id::{Name, derive_hex};
use std::collections::BTreeMap;

/// A view.
#[derive(Clone, PartialEq, Debug)]
pub struct ProjectionDef {
    /// Its name.
    pub name: Name,
    /// What feeds it, by aggregate type and event type.
    pub on: BTreeMap<(Name, Name), ProjectionSource>,
    /// Changes when the definition does: rows of another definition are not continued.
    pub hash: String,
}

/// What one event type does to a view.
#[derive(Clone, PartialEq, Debug)]
pub struct ProjectionSource {
    /// Which row, from `event`.
    pub view_id: Expression,
    /// What becomes of it.
    pub project: DagProgram,
}

impl ProjectionDef {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "projection", reader);
        let name = fields.required("projection", reader).and_then(|name| reader.name(name));
        let on_node = fields.required("on", reader);
        fields.finish(reader);
        let mut on = BTreeMap::new();
        for (key, source) in on_node.map(|node| reader.entries(node)).unwrap_or_default() {
            let trigger = event_key(&key.text);
            if trigger.is_none() {
                reader.fault(key.span, format!("`{}` is not `aggregate.event`", key.text), None);
            }
            let mut fields = Fields::of(source, "source of a projection", reader);
            let view_id = fields.required("view_id", reader);
            let project = fields.required("project", reader);
            fields.finish(reader);
            let view_id = view_id.and_then(|node| Expression::compile(node, &["event"], reader));
            let project = project.map(|node| DagProgram::compile(node, PROJECT, reader));
            if let (Some(trigger), Some(view_id), Some(project)) = (trigger, view_id, project) {
                on.insert(trigger, ProjectionSource { view_id, project });
            }
        }
        let hash = derive_hex(&["projection", &node.to_json().to_string()]);
        Some(Self { name: name?, on, hash })
    }

    /// The aggregate types it listens to, each once.
    #[must_use]
    pub fn aggregates(&self) -> Vec<Name> {
        let mut kinds: Vec<Name> = self.on.keys().map(|(kind, _)| kind.clone()).collect();
        kinds.dedup();
        kinds
    }
}

/// Splits `aggregate.event`.
pub(super) fn event_key(text: &str) -> Option<(Name, Name)> {
    let (aggregate, event) = text.split_once('.')?;
    Some((Name::parse(aggregate).ok()?, Name::parse(event).ok()?))
}
