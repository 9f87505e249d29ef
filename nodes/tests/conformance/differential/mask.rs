//! What two servers may say differently about the same facts: moments, random names, themselves.
//!
//! Counts, bytes and sequences are never among it.

use crate::client::Message;
use serde_json::{Map, Value, json};

const ZERO_TIME: &str = "0001-01-01T00:00:00Z";
/// Fields with a moment in them; that nothing has happened yet is not masked.
const MOMENTS: [&str; 9] = [
    "created",
    "ts",
    "time",
    "timestamp",
    "last_active",
    "first_ts",
    "last_ts",
    "pause_remaining",
    "ack_time",
];
/// Fields that say who a server or a client is.
const IDENTITIES: [&str; 4] = ["client", "server", "leader", "raft_group"];

/// A message as a line of text, masked.
pub(super) fn line(message: &Message) -> String {
    let reply = message.reply.as_deref().map(ack_subject).unwrap_or_default();
    let headers: Vec<String> =
        message.headers.split("\r\n").filter(|line| !line.is_empty()).map(header).collect();
    let text = String::from_utf8_lossy(&message.payload).into_owned();
    let payload = match serde_json::from_slice::<Value>(&message.payload) {
        Ok(mut value @ Value::Object(_)) => {
            mask(&mut value);
            value.to_string()
        }
        Ok(_) | Err(_) => text,
    };
    format!("{reply} {headers:?} {payload}")
}

/// Random names stand in another order on each side: their list in the order of what stands for them.
pub(super) fn in_order(line: String) -> String {
    let Some((before, payload)) = line.split_once("{\"consumers\":") else { return line };
    let Ok(mut answer) = serde_json::from_str::<Value>(&format!("{{\"consumers\":{payload}")) else {
        return line;
    };
    if let Some(Value::Array(consumers)) = answer.get_mut("consumers") {
        let name = |own: &Value| own.get("name").unwrap_or(own).to_string();
        consumers.sort_by_key(name);
    }
    format!("{before}{answer}")
}

/// An ack subject without the moment of storage.
fn ack_subject(subject: &str) -> String {
    let mut tokens: Vec<&str> = subject.split('.').collect();
    if subject.starts_with("$JS.ACK.") && tokens.len() > 7 {
        tokens[7] = "T";
    }
    tokens.join(".")
}

fn header(line: &str) -> String {
    match line.split_once(": ") {
        Some((name @ "Nats-Time-Stamp", _)) => format!("{name}: T"),
        Some((name @ "Nats-Subject", subject)) => format!("{name}: {}", ack_subject(subject)),
        Some(_) | None => line.to_owned(),
    }
}

fn mask(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            let is_advisory = fields
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|name| name.contains(".advisory.") || name.contains(".metric."));
            // Which words a parser of another language has for it.
            if fields.get("err_code").is_some_and(|code| *code == 10_025) {
                fields.insert("description".into(), "invalid JSON".into());
            }
            // How much was asked before is another script's business.
            if fields.contains_key("inflight") || fields.contains_key("level") && fields.contains_key("total")
            {
                fields.insert("total".into(), "#".into());
                // Ours has less than the original, and says so.
                fields.insert("level".into(), "#".into());
                fields.insert("errors".into(), "#".into());
            }
            // Whether a stream that never held anything starts at 0 or at 1 depends on what was tried with it.
            if fields.get("last_seq").is_some_and(|seq| *seq == 0) && fields.contains_key("first_seq") {
                fields.insert("first_seq".into(), "#".into());
                if fields.get("deleted").is_some_and(|deleted| *deleted == json!([0])) {
                    fields.remove("deleted");
                    fields.remove("num_deleted");
                }
            }
            // Ours hears of who listens a moment after it has answered, and does not ask for the queue group.
            fields.remove("push_bound");
            if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
                metadata.retain(|name, _| !name.starts_with("_nats."));
            }
            if fields.get("metadata").is_some_and(|metadata| *metadata == Value::Object(Map::new())) {
                fields.remove("metadata");
            }
            for (name, value) in fields {
                let masked = MOMENTS.contains(&&**name) && *value != ZERO_TIME
                    || IDENTITIES.contains(&&**name)
                    || is_advisory && name == "id";
                if masked {
                    *value = "#".into();
                } else {
                    mask(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
