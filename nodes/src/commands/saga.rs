//! `cloudlysis saga`: instances of a running node, over its `/admin`.

use super::ask::{Address, AskError, ask};
use super::{CommandError, progress, say};
use crate::cli::{Because, NodeArguments, Saga, SagaInstance};
use reqwest::Method;
use serde_json::{Value, json};

pub(super) async fn run(what: Saga) -> Result<(), CommandError> {
    match what {
        Saga::Ls { node, saga, open } => list(&node, saga.as_deref(), open).await,
        Saga::Show { node, instance } => {
            let shown =
                ask(&node, Method::GET, &Address { path: &path(&instance), query: &[] }, |request| request)
                    .await?;
            say(&pretty(&shown));
            Ok(())
        }
        Saga::Why { node, instance } => {
            let shown =
                ask(&node, Method::GET, &Address { path: &path(&instance), query: &[] }, |request| request)
                    .await?;
            why(&node, &instance, &shown);
            Ok(())
        }
        Saga::Signal { node, instance, signal, payload, id } => {
            let payload: Value = match payload {
                Some(text) => serde_json::from_str(&text).map_err(AskError::Payload)?,
                None => Value::Null,
            };
            let mut path = path(&instance);
            path.extend(["signals", &signal]);
            let body = json!({ "payload": payload }).to_string();
            let address = Address { path: &path, query: &[] };
            let answer = ask(&node, Method::POST, &address, |request| match id {
                Some(id) => request.body(body).header("idempotency-key", id),
                None => request.body(body),
            })
            .await?;
            say(&answer.to_string());
            Ok(())
        }
        Saga::Pause { node, instance, because } => operate(&node, &instance, "pause", Some(because)).await,
        Saga::Cancel { node, instance, because } => operate(&node, &instance, "cancel", Some(because)).await,
        Saga::Kill { node, instance, because } => operate(&node, &instance, "kill", Some(because)).await,
        Saga::Migrate { node, instance, because } => {
            operate(&node, &instance, "migrate", Some(because)).await
        }
        Saga::Restart { node, instance, because, restarts, dry_run } => {
            restart(
                &node,
                &instance,
                &json!({ "reason": because.reason, "restarts": restarts, "dry_run": dry_run }),
            )
            .await
        }
        Saga::Replay { node, saga, from_seq, to_seq, may_repeat, dry_run, because } => {
            let body = json!({
                "from_seq": from_seq, "to_seq": to_seq, "may_repeat": may_repeat, "dry_run": dry_run,
                "reason": because.reason,
            });
            replay(&node, &saga, body).await
        }
        Saga::Resume { node, instance } => operate(&node, &instance, "resume", None).await,
    }
}

/// Has something done to an instance, and says how it stands then.
async fn operate(
    node: &NodeArguments,
    instance: &SagaInstance,
    verb: &str,
    because: Option<Because>,
) -> Result<(), CommandError> {
    let mut path = path(instance);
    path.push(verb);
    let body = because.map_or(Value::Null, |because| json!({ "reason": because.reason }));
    let address = Address { path: &path, query: &[] };
    let answer = ask(node, Method::POST, &address, |request| match body.is_null() {
        true => request,
        false => request.body(body.to_string()),
    })
    .await?;
    if node.json {
        say(&answer.to_string());
        return Ok(());
    }
    let already = if answer["changed"] == true { "" } else { ", as before" };
    let released = answer["released"].as_u64().filter(|count| *count > 0);
    let released = released.map_or(String::new(), |count| format!(", with {count} that came meanwhile"));
    say(&format!("{} {} is {}{already}{released}", instance.saga, instance.correlation, standing(&answer)));
    Ok(())
}

/// Has an instance begin again, or says what that would ask for.
async fn restart(node: &NodeArguments, instance: &SagaInstance, how: &Value) -> Result<(), CommandError> {
    let mut path = path(instance);
    path.push("restart");
    let address = Address { path: &path, query: &[] };
    let answer = ask(node, Method::POST, &address, |request| request.body(how.to_string())).await?;
    if node.json {
        say(&answer.to_string());
        return Ok(());
    }
    let asks: Vec<&str> = answer["asks"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let asks = if asks.is_empty() { "nothing".to_owned() } else { asks.join(", ") };
    let name = format!("{} {}", instance.saga, instance.correlation);
    say(&match (how["dry_run"] == true, answer["changed"] == true) {
        (true, _) => format!("{name} is {}; restarted, it would ask for {asks}", standing(&answer)),
        (false, true) => format!("{name} is {} again, and asks for {asks}", standing(&answer)),
        (false, false) => format!("{name} is {}, as before", standing(&answer)),
    });
    Ok(())
}

/// `running`, or `running, paused`, or `running, quarantined`.
fn standing(instance: &Value) -> String {
    let is = |field: &str| instance[field].is_object() || instance[field] == true;
    let status = instance["status"].as_str().unwrap_or_default();
    let more = ["paused", "quarantined"].into_iter().filter(|field| is(field));
    [status].into_iter().chain(more).collect::<Vec<_>>().join(", ")
}

fn path(instance: &SagaInstance) -> Vec<&str> {
    vec!["admin", "runner", "sagas", &instance.saga, &instance.correlation]
}

async fn list(node: &NodeArguments, saga: Option<&str>, open: bool) -> Result<(), CommandError> {
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("open", open.to_string())];
        query.extend(saga.map(|saga| ("saga", saga.to_owned())));
        query.extend(after.map(|after| ("after", after)));
        let path = ["admin", "runner", "sagas"];
        let page = ask(node, Method::GET, &Address { path: &path, query: &query }, |request| request).await?;
        for instance in page["instances"].as_array().into_iter().flatten() {
            if node.json {
                say(&instance.to_string());
                continue;
            }
            let text = |field: &str| instance[field].as_str().unwrap_or_default().to_owned();
            let tenant =
                Some(text("tenant_id")).filter(|tenant| !tenant.is_empty()).unwrap_or_else(|| "_".into());
            say(&format!(
                "{tenant:<16} {:<20} {:<32} {}",
                text("saga"),
                text("correlation"),
                standing(instance)
            ));
        }
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// What is counted of a replay, and what that means.
const FATES: [(&str, &str); 8] = [
    ("begun", "instances begin"),
    ("reacted", "react"),
    ("known", "were applied before"),
    ("ended", "are for instances that have ended"),
    ("held_back", "for quarantined ones"),
    ("forgotten", "are for instances that may have been there and are forgotten (--may-repeat)"),
    ("nobody", "are for nobody"),
    ("unreadable", "cannot be read"),
];

/// Asks for some after some, from where the last answer says; so can whoever asks again after a failure.
async fn replay(node: &NodeArguments, saga: &str, mut body: Value) -> Result<(), CommandError> {
    let (mut messages, mut sums) = (0, [0_u64; FATES.len()]);
    loop {
        let path = ["admin", "runner", "replays", saga];
        let text = body.to_string();
        let told = ask(node, Method::POST, &Address { path: &path, query: &[] }, |own| own.body(text)).await;
        let told =
            told.inspect_err(|_| progress(&format!("it goes on with --from-seq {}", body["from_seq"])))?;
        messages += told["messages"].as_u64().unwrap_or_default();
        for (sum, (fate, _)) in sums.iter_mut().zip(FATES) {
            *sum += told[fate].as_u64().unwrap_or_default();
        }
        match told["next_seq"].as_u64() {
            Some(next) => body["from_seq"] = json!(next),
            None => break,
        }
        progress(&format!("{messages} messages, next is {}", body["from_seq"]));
    }
    if node.json {
        let counts = FATES.iter().zip(sums).map(|((fate, _), sum)| ((*fate).to_owned(), json!(sum)));
        let mut all: serde_json::Map<String, Value> = counts.collect();
        all.insert("messages".to_owned(), json!(messages));
        say(&Value::Object(all).to_string());
        return Ok(());
    }
    let would = if body["dry_run"] == true { "would come again" } else { "came again" };
    say(&format!("{messages} messages {would} for {saga}"));
    for ((_, means), sum) in FATES.iter().zip(sums).filter(|(_, sum)| *sum > 0) {
        say(&format!("  {sum} {means}"));
    }
    Ok(())
}

/// One line per thing it waits for.
fn why(node: &NodeArguments, instance: &SagaInstance, shown: &Value) {
    if node.json {
        say(&json!({ "status": shown["status"], "paused": shown["paused"], "intervention": shown["intervention"], "waits_for": shown["waits_for"], "quarantined": shown["quarantined"] }).to_string());
        return;
    }
    say(&format!("{} {} is {}", instance.saga, instance.correlation, standing(shown)));
    if let Some(what) = shown["intervention"].as_object() {
        let text = |field: &str| what.get(field).and_then(Value::as_str).unwrap_or_default();
        let at =
            what.get("at").and_then(Value::as_u64).map(cloudlysis_core::Wall::from_ms).unwrap_or_default();
        say(&format!("  {} by an operator at {}: {}", text("verb"), at.rfc3339(), text("reason")));
    }
    if let held @ Value::Object(_) = &shown["quarantined"] {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (key, cause) = (text(&held["key"]), &held["cause"]);
        say(&format!("  held back: {key}: {}: {}", text(&cause["kind"]), text(&cause["detail"])));
    }
    for what in shown["waits_for"].as_array().into_iter().flatten() {
        let text = |field: &str| what[field].as_str().unwrap_or_default();
        say(&match text("kind") {
            "resume" => {
                let since = what["since"].as_u64().map(cloudlysis_core::Wall::from_ms).unwrap_or_default();
                let (why, held) = (text("reason"), &what["held"]);
                format!("  paused since {}: {why}; {held} held; waits for `saga resume`", since.rfc3339())
            }
            "work" => {
                let effect = effect_waited(&what["effect"], text("command_id"));
                format!("  waits for work `{}` ({}){effect}", text("name"), text("command_id"))
            }
            "timer" => {
                let due = what["due"].as_u64().map(cloudlysis_core::Wall::from_ms).unwrap_or_default();
                format!("  waits for timer `{}`, due {}", text("name"), due.rfc3339())
            }
            "event" => format!("  reacts to event {}.{}", text("aggregate"), text("event")),
            "signal" => format!("  reacts to signal `{}`", text("signal")),
            "schedule" => format!("  reacts to schedule `{}`", text("schedule")),
            other => format!("  waits for {other}"),
        });
    }
}

/// How an effect stands, and what can be done about it.
fn effect_waited(effect: &Value, command_id: &str) -> String {
    let text = |field: &str| effect[field].as_str().unwrap_or_default();
    let (name, attempts, ambiguous) = (text("effect"), &effect["attempts"], &effect["ambiguous"]);
    let last = match text("last") {
        "" => String::new(),
        last => format!(", last: {last}"),
    };
    match text("stage") {
        "parked" => format!(
            ": effect `{name}` waits for a person: {}{last}; `effect retry {command_id}` or `effect settle {command_id}`",
            text("reason")
        ),
        "open" => format!(": effect `{name}`, {attempts} attempts, {ambiguous} in doubt{last}"),
        _ => String::new(),
    }
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
