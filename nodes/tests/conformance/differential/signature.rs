//! What kind of difference a difference is: so that a smaller script shows the same one, and each kind is told once.

use super::operation::Operation;
use super::side::Outcome;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Values longer than this say nothing about the kind.
const VALUE_CHARS_MAX: usize = 24;

/// The operation, and the first fields that differ with what each side has there.
pub(super) fn signature(operation: &Operation, ours: &Outcome, real: &Outcome) -> String {
    let mut text = kind(operation);
    let subjects: BTreeSet<&String> = ours.keys().chain(real.keys()).collect();
    let differs = |subject: &&&String| ours.get(**subject) != real.get(**subject);
    let Some(subject) = subjects.iter().find(differs) else { return text };
    let class = if subject.starts_with("_INBOX") { "answer" } else { subject };
    let none = Vec::new();
    let (ours, real) = (ours.get(*subject).unwrap_or(&none), real.get(*subject).unwrap_or(&none));
    let at = ours.iter().zip(real).position(|(ours, real)| ours != real);
    let fields = match at {
        Some(at) => fields(&ours[at], &real[at]),
        None => vec![format!("{} lines against {}", ours.len(), real.len())],
    };
    write!(text, ", {class}: {}", fields.join("; ")).expect("writing to a string");
    text
}

fn kind(operation: &Operation) -> String {
    match operation {
        Operation::Request { subject, .. } | Operation::Publish { subject, .. } => {
            match subject.strip_prefix("$JS.API.") {
                Some(call) => call.split('.').take(2).collect::<Vec<_>>().join("."),
                None => "publish".into(),
            }
        }
        Operation::Pull { .. } => "pull".into(),
        Operation::Ack { kind, .. } => format!("ack {}", kind.split(' ').next().unwrap_or_default()),
    }
}

/// Where two lines differ.
fn fields(ours: &str, real: &str) -> Vec<String> {
    let split = |line: &str| {
        let at = line.find(" {").map_or(line.len(), |at| at + 1);
        let (head, payload) = line.split_at(at);
        (head.to_owned(), serde_json::from_str::<Value>(payload).ok())
    };
    let ((our_head, our_json), (real_head, real_json)) = (split(ours), split(real));
    match (our_json, real_json) {
        (Some(ours), Some(real)) if our_head == real_head => {
            let mut out = Vec::new();
            compare("", &ours, &real, &mut out);
            out
        }
        (_, _) => {
            vec![format!("{ours} against {real}").chars().filter(|own| !own.is_ascii_digit()).collect()]
        }
    }
}

fn compare(path: &str, ours: &Value, real: &Value, out: &mut Vec<String>) {
    match (ours, real) {
        (Value::Object(ours), Value::Object(real)) => {
            let names: BTreeSet<&String> = ours.keys().chain(real.keys()).collect();
            for name in names {
                let path = format!("{path}.{name}");
                match (ours.get(name), real.get(name)) {
                    (Some(ours), Some(real)) => compare(&path, ours, real, out),
                    (Some(_), None) => out.push(format!("{path} only ours")),
                    (None, Some(_)) => out.push(format!("{path} only real")),
                    (None, None) => {}
                }
            }
        }
        (Value::Array(ours), Value::Array(real)) if ours.len() == real.len() => {
            for (ours, real) in ours.iter().zip(real) {
                compare(&format!("{path}[]"), ours, real, out);
            }
        }
        (ours, real) if ours != real => {
            // Numbers vary with the script; codes of errors do not.
            let is_telling = path.contains("err_code") || path.contains("description") || ours.is_string();
            let short = |value: &Value| value.to_string().chars().take(VALUE_CHARS_MAX).collect::<String>();
            let values =
                if is_telling { format!(" {} against {}", short(ours), short(real)) } else { String::new() };
            out.push(format!("{path}{values}"));
        }
        _ => {}
    }
}
