//! Configurations and messages from a small space: everything meets everything else often.

use super::dice::Dice;
use serde_json::{Map, Value, json};

const HOUR_NS: u64 = 3_600_000_000_000;

/// Adds a field with this chance.
fn maybe(dice: &mut Dice, fields: &mut Map<String, Value>, chance: usize, name: &str, values: &[Value]) {
    if dice.percent(chance) {
        let value = values[dice.below(values.len())].clone();
        fields.insert(name.into(), value);
    }
}

/// Subjects a stream of this name has, more or less.
fn subjects(dice: &mut Dice, stream: &str) -> Value {
    match (stream, dice.below(8)) {
        ("KV_K", _) => json!(["$KV.K.>"]),
        ("A", 0) => json!(["a.1", "a.2"]),
        ("A", 1) => json!(["a.*", "x"]),
        ("A", _) => json!(["a.>"]),
        ("B", 0) => json!(["b.*.*", "b.1"]),
        ("B", 1) => json!(["a.2", "b.>"]),
        ("B", _) => json!(["b.*"]),
        (_, 0) => json!(["c..d"]),
        (_, 1) => json!(["c.>", "c.1"]),
        (_, 2) => json!([]),
        (_, _) => json!(["c.*"]),
    }
}

/// A subject of what is published.
pub(super) fn subject(dice: &mut Dice) -> String {
    let subjects = [
        "a.1",
        "a.1",
        "a.2",
        "a.3",
        "a.1.x",
        "x",
        "b.1",
        "b.1",
        "b.2",
        "c.1",
        "C",
        "$KV.K.k",
        "$KV.K.k",
        "$KV.K.l",
        "nobody.home",
    ];
    dice.pick(&subjects).into()
}

/// A subject or wildcard to filter by.
pub(super) fn filter(dice: &mut Dice) -> String {
    let filters = ["a.1", "a.2", "a.*", "a.>", "b.1", "b.*", "b.>", "c.1", ">", "$KV.K.k", "$KV.K.>", "q.r"];
    dice.pick(&filters).into()
}

/// A stream, as somebody asks for it.
pub(super) fn stream(dice: &mut Dice, name: &str) -> Value {
    let mut own = Map::new();
    own.insert("name".into(), name.into());
    own.insert("subjects".into(), subjects(dice, name));
    if name == "KV_K" && dice.percent(80) {
        let history = dice.below(3) + 1;
        for (field, value) in [
            ("max_msgs_per_subject", json!(history)),
            ("discard", json!("new")),
            ("allow_rollup_hdrs", json!(true)),
            ("deny_delete", json!(true)),
            ("allow_direct", json!(true)),
            ("num_replicas", json!(1)),
        ] {
            own.insert(field.into(), value);
        }
        return own.into();
    }
    let more = dice.below(30);
    let mut maybe = |chance: usize, name: &str, values: &[Value]| maybe(dice, &mut own, chance, name, values);
    maybe(30, "retention", &[json!("limits"), json!("workqueue"), json!("interest")]);
    maybe(30, "discard", &[json!("new"), json!("new"), json!("old"), json!("oldest")]);
    maybe(25, "max_msgs", &[json!(2), json!(4), json!(0), json!(-1), json!(-2)]);
    maybe(15, "max_bytes", &[json!(100), json!(200), json!(0), json!(-1)]);
    maybe(25, "max_msgs_per_subject", &[json!(1), json!(2), json!(0), json!(-1)]);
    maybe(10, "max_msg_size", &[json!(5), json!(40), json!(0), json!(-1)]);
    maybe(8, "max_consumers", &[json!(1), json!(2), json!(0), json!(-1)]);
    maybe(10, "max_age", &[json!(HOUR_NS), json!(HOUR_NS / 60), json!(1), json!(0)]);
    maybe(10, "duplicate_window", &[json!(HOUR_NS), json!(0), json!(HOUR_NS / 60), json!(1000)]);
    maybe(40, "storage", &[json!("memory"), json!("file")]);
    maybe(more, "allow_rollup_hdrs", &[json!(true)]);
    maybe(more, "deny_delete", &[json!(true)]);
    maybe(more, "deny_purge", &[json!(true)]);
    maybe(more + 20, "allow_direct", &[json!(true)]);
    maybe(3, "sealed", &[json!(true)]);
    maybe(more, "discard_new_per_subject", &[json!(true)]);
    maybe(5, "first_seq", &[json!(100), json!(1), json!(0)]);
    maybe(3, "no_ack", &[json!(true)]);
    maybe(5, "num_replicas", &[json!(1), json!(3), json!(0), json!(-1)]);
    maybe(5, "description", &[json!("words")]);
    maybe(5, "metadata", &[json!({"k": "v"})]);
    maybe(5, "compression", &[json!("s2"), json!("none"), json!("zip")]);
    own.into()
}

/// A change somebody wants of a stream.
pub(super) fn changed_stream(dice: &mut Dice, config: &Value) -> Value {
    let mut own = config.clone();
    let name = own["name"].as_str().unwrap_or("A").to_owned();
    let other = stream(dice, &name);
    let (Some(own_fields), Some(others)) = (own.as_object_mut(), other.as_object()) else { return other };
    let at = dice.below(others.len().max(1));
    if let Some((field, value)) = others.iter().nth(at) {
        own_fields.insert(field.clone(), value.clone());
    }
    if dice.percent(20) {
        let names: Vec<String> = own_fields.keys().filter(|field| *field != "name").cloned().collect();
        if let Some(field) = names.get(dice.below(names.len().max(1))) {
            own_fields.remove(field);
        }
    }
    if dice.percent(5) {
        own_fields.insert("sealed".into(), true.into());
    }
    own
}

/// A consumer, as somebody asks for it; `name` is none for one the server names.
pub(super) fn consumer(dice: &mut Dice, name: Option<&str>) -> Value {
    let mut own = Map::new();
    if let Some(name) = name {
        own.insert("name".into(), name.into());
        if dice.percent(75) {
            own.insert("durable_name".into(), name.into());
        }
    }
    let filter = filter(dice);
    let is_push = dice.percent(30);
    let mut maybe = |chance: usize, name: &str, values: &[Value]| maybe(dice, &mut own, chance, name, values);
    maybe(
        85,
        "ack_policy",
        &[json!("explicit"), json!("explicit"), json!("explicit"), json!("none"), json!("all")],
    );
    maybe(
        40,
        "deliver_policy",
        &[json!("all"), json!("new"), json!("last"), json!("last_per_subject"), json!("by_start_sequence")],
    );
    maybe(15, "opt_start_seq", &[json!(2), json!(1), json!(50), json!(0)]);
    maybe(40, "filter_subject", &[json!(filter)]);
    maybe(10, "filter_subjects", &[json!(["a.1", "a.2"]), json!(["a.*", "a.1"]), json!(["b.1"])]);
    maybe(20, "ack_wait", &[json!(HOUR_NS), json!(HOUR_NS / 60), json!(0)]);
    maybe(20, "max_deliver", &[json!(2), json!(3), json!(-1), json!(0), json!(1)]);
    maybe(20, "max_ack_pending", &[json!(1), json!(2), json!(-1), json!(0)]);
    maybe(5, "max_waiting", &[json!(1), json!(2)]);
    maybe(8, "max_batch", &[json!(2)]);
    maybe(5, "max_bytes", &[json!(100)]);
    maybe(5, "max_expires", &[json!(HOUR_NS), json!(1_000_000_000)]);
    maybe(8, "backoff", &[json!([HOUR_NS, HOUR_NS]), json!([HOUR_NS])]);
    maybe(8, "headers_only", &[json!(true)]);
    maybe(8, "inactive_threshold", &[json!(HOUR_NS)]);
    maybe(5, "description", &[json!("words")]);
    maybe(5, "metadata", &[json!({"k": "v"})]);
    maybe(4, "num_replicas", &[json!(1), json!(0), json!(3)]);
    maybe(4, "mem_storage", &[json!(true)]);
    maybe(4, "sample_freq", &[json!("100%"), json!("50"), json!("x")]);
    maybe(50, "replay_policy", &[json!("instant")]);
    if is_push {
        maybe(
            100,
            "deliver_subject",
            &[json!("push.1"), json!("push.2"), json!("push.2"), json!("a.9"), json!("p.*")],
        );
        maybe(20, "deliver_group", &[json!("workers")]);
        maybe(20, "idle_heartbeat", &[json!(HOUR_NS), json!(1)]);
        maybe(20, "flow_control", &[json!(true)]);
    }
    own.into()
}

/// Headers of a publish.
pub(super) fn headers(dice: &mut Dice) -> Vec<String> {
    let mut lines = Vec::new();
    let mut maybe = |chance: usize, name: &str, values: &[&str]| {
        if dice.percent(chance) {
            lines.push(format!("{name}: {}", dice.pick(values)));
        }
    };
    maybe(30, "Nats-Msg-Id", &["1", "2", "3", "4", "5", ""]);
    maybe(12, "Nats-Expected-Last-Sequence", &["{last}", "{last}", "0", "1", "3", "x"]);
    maybe(20, "Nats-Expected-Last-Subject-Sequence", &["{last}", "{last}", "0", "0", "1", "2"]);
    maybe(5, "Nats-Expected-Last-Subject-Sequence-Subject", &["a.1", "a.*", "b.>", "$KV.K.k"]);
    maybe(5, "Nats-Expected-Last-Msg-Id", &["1", "2", "3"]);
    maybe(5, "Nats-Expected-Stream", &["A", "B", "KV_K"]);
    maybe(8, "Nats-Rollup", &["sub", "all", "SUB", "some"]);
    maybe(10, "K", &["v", "w  x", ""]);
    maybe(5, "KV-Operation", &["DEL", "PURGE"]);
    lines
}
