//! Timers and signals of a saga: what it may wait for besides events and the ends of its work.
//!
//! ```yaml
//! on_event:
//!   order.order_placed:
//!     timers:                              # fire once, even across restarts; names are literal
//!       - { name: payment, after: 15m }    # or `at: = event.payload.pay_until`, RFC 3339
//!   charge.succeeded: { cancel: [payment] }
//!   payment.fired: { compensate: true }    # the timer
//!   signal.hurry: { set: { fast: true } }  # `cloudlysis saga signal`; event.payload is what came with it
//! ```
//!
//! A name is pending at most once per instance: setting it again moves it. What ends a saga, or makes it undo, cancels
//! what is pending.

use super::reader::{Fields, Reader};
use super::yaml::{Node, Span, Yaml};
use crate::program::contract::after_ms;
use crate::wire::id::Name;
use std::collections::BTreeMap;

/// What a timer's trigger ends with: `payment.fired`.
pub(super) const FIRED: &str = "fired";
/// What a signal's trigger begins with: `signal.hurry`.
pub(super) const SIGNAL: &str = "signal";

/// Finds what a program's cases name in their `timers`; what they `cancel` must be among it.
pub(super) fn collect(program: &Node, out: &mut BTreeMap<Name, Span>, reader: &mut Reader<'_>) {
    for section in sections(program, "timers") {
        for item in reader.items(section) {
            let mut fields = Fields::of(item, "timer", reader);
            fields.optional("if");
            let name = fields.required("name", reader).and_then(|node| reader.name(node));
            let after = fields.optional("after");
            let at = fields.optional("at");
            fields.finish(reader);
            if after.is_some() == at.is_some() {
                reader.fault(item.span, "a timer has either `after` or `at`".into(), None);
            }
            if let Some(node) = after
                && let Yaml::Text(text) = &node.value
                && !text.starts_with('=')
                && let Err(error) = after_ms(text)
            {
                reader.fault(node.span, error, Some("for example `500ms`, `90s`, `15m` or `2h 30m`".into()));
            }
            if let Some(name) = name {
                out.insert(name, item.span);
            }
        }
    }
}

/// What a program cancels must be a timer of its saga.
pub(super) fn check_cancelled(program: &Node, timers: &BTreeMap<Name, Span>, reader: &mut Reader<'_>) {
    for section in sections(program, "cancel") {
        for item in reader.items(section) {
            let Some(name) = reader.name(item) else { continue };
            if !timers.contains_key(&name) {
                unknown(&name, item.span, timers, reader);
            }
        }
    }
}

pub(super) fn unknown(name: &Name, span: Span, timers: &BTreeMap<Name, Span>, reader: &mut Reader<'_>) {
    let help = super::suggest::closest(name.as_str(), timers.keys().map(Name::as_str))
        .map(|close| format!("did you mean `{close}`?"));
    reader.fault(span, format!("no case sets a timer named `{name}`"), help);
}

/// The sections of this name in all cases of a program.
fn sections<'n>(program: &'n Node, name: &str) -> Vec<&'n Node> {
    match &program.value {
        Yaml::List(cases) => cases.iter().flat_map(|case| sections(case, name)).collect(),
        Yaml::Map(entries) => entries
            .iter()
            .flat_map(|(key, value)| match key.text.as_str() {
                "cases" => sections(value, name),
                text if text == name => vec![value],
                _ => Vec::new(),
            })
            .collect(),
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => Vec::new(),
    }
}
