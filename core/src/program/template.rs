//! Templates: YAML with expressions at the leaves.
//!
//! A text that begins with `=` is an expression; every other value stands for itself. In a list, an object with the
//! key `if` is there only when its condition holds.

use super::ProgramError;
use super::expr::{Expr, Place};
use super::gas::Gas;
use super::value::Extent;
use crate::manifest::reader::Reader;
use crate::manifest::yaml::{Node, Yaml};
use cel::Context;
use serde_json::{Map, Value};

/// A compiled template.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Template {
    Literal(Value),
    Expr(Expr),
    List(Vec<Item>),
    Object(Vec<(String, Template)>),
}

/// A list item, there only if its condition holds.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Item {
    when: Option<Expr>,
    template: Template,
}

/// The expression in a text that begins with `=`, and where it begins within the text.
pub(super) fn expression_in(text: &str) -> Option<(&str, usize)> {
    let rest = text.strip_prefix('=')?;
    let trimmed = rest.trim_start();
    Some((trimmed, text.len() - trimmed.len()))
}

impl Template {
    /// Compiles a template; faults go to the reader and a placeholder comes back.
    pub(super) fn compile(node: &Node, known: &[&str], reader: &mut Reader<'_>) -> Self {
        match &node.value {
            Yaml::Text(text) => match expression_in(text) {
                Some((source, skipped)) => match Expr::compile(source, Place::Result, known) {
                    Ok(expr) => Self::Expr(expr),
                    Err(error) => {
                        reader.expression_fault(node, skipped, &error);
                        Self::Literal(Value::Null)
                    }
                },
                None => Self::Literal(Value::String(text.clone())),
            },
            Yaml::List(items) => {
                Self::List(items.iter().map(|item| Item::compile(item, known, reader)).collect())
            }
            Yaml::Map(entries) => Self::Object(
                entries
                    .iter()
                    .map(|(key, value)| (key.text.clone(), Self::compile(value, known, reader)))
                    .collect(),
            ),
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => Self::Literal(node.to_json()),
        }
    }

    /// Every variable it reads.
    pub(super) fn variables<'t>(&'t self, out: &mut Vec<&'t str>) {
        match self {
            Self::Literal(_) => {}
            Self::Expr(expr) => out.extend(expr.variables().iter().map(String::as_str)),
            Self::List(items) => {
                for item in items {
                    if let Some(when) = &item.when {
                        out.extend(when.variables().iter().map(String::as_str));
                    }
                    item.template.variables(out);
                }
            }
            Self::Object(entries) => entries.iter().for_each(|(_, value)| value.variables(out)),
        }
    }

    /// Fills it in.
    pub(super) fn fill(
        &self,
        scope: &Context<'_, '_>,
        extent: Extent,
        gas: &mut Gas,
    ) -> Result<Value, ProgramError> {
        gas.charge(1)?;
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expr(expr) => expr.eval_json(scope, extent, gas),
            Self::List(items) => {
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    let there = match &item.when {
                        Some(when) => when.eval_bool(scope, extent, gas)?,
                        None => true,
                    };
                    if there {
                        out.push(item.template.fill(scope, extent, gas)?);
                    }
                }
                Ok(Value::Array(out))
            }
            Self::Object(entries) => {
                let mut out = Map::new();
                for (key, template) in entries {
                    out.insert(key.clone(), template.fill(scope, extent, gas)?);
                }
                Ok(Value::Object(out))
            }
        }
    }
}

impl Item {
    fn compile(node: &Node, known: &[&str], reader: &mut Reader<'_>) -> Self {
        let Yaml::Map(entries) = &node.value else {
            return Self { when: None, template: Template::compile(node, known, reader) };
        };
        let mut when = None;
        let mut rest = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            if key.text == "if" {
                when = compile_condition(value, known, reader);
            } else {
                rest.push((key.text.clone(), Template::compile(value, known, reader)));
            }
        }
        Self { when, template: Template::Object(rest) }
    }
}

/// Compiles a value that is always an expression.
pub(super) fn compile_expression(node: &Node, known: &[&str], reader: &mut Reader<'_>) -> Option<Expr> {
    let source = match &node.value {
        Yaml::Text(text) => text.clone(),
        Yaml::Bool(value) => value.to_string(),
        Yaml::Int(value) => value.to_string(),
        Yaml::Null | Yaml::Float(_) | Yaml::List(_) | Yaml::Map(_) => {
            reader.fault(node.span, format!("expected an expression, found {}", node.kind()), None);
            return None;
        }
    };
    // `=` marks an expression among literals; where only expressions may stand it is allowed, not needed.
    let (source, skipped) = expression_in(&source).unwrap_or((&source, 0));
    match Expr::compile(source, Place::Operand, known) {
        Ok(expr) => Some(expr),
        Err(error) => {
            reader.expression_fault(node, skipped, &error);
            None
        }
    }
}

/// Compiles a condition.
pub(super) fn compile_condition(node: &Node, known: &[&str], reader: &mut Reader<'_>) -> Option<Expr> {
    compile_expression(node, known, reader)
}
