//! `cloudlysis audit`: how surely things happened, as a running node knows it.

use super::ask::{Address, ask};
use super::{CommandError, say};
use crate::cli::{Audit, NodeArguments};
use reqwest::Method;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// As the node names them, and as people read them.
const VERDICTS: [(&str, &str); 7] = [
    ("once", "once"),
    ("maybe_twice", "maybe twice"),
    ("refused", "refused"),
    ("maybe", "maybe"),
    ("never", "never"),
    ("by_hand", "by hand"),
    ("open", "open"),
];

pub(super) async fn run(what: Audit) -> Result<(), CommandError> {
    let Audit::Effects { node } = what;
    let mut counts: BTreeMap<String, [u64; VERDICTS.len()]> = BTreeMap::new();
    let (mut doubtful, mut after) = (Vec::new(), None);
    loop {
        let query: Vec<(&str, String)> = after.map(|after| ("after", after)).into_iter().collect();
        let page = get(&node, &["admin", "runner", "effects"], &query).await?;
        for (effect, own) in page["counts"].as_object().into_iter().flatten() {
            let sums = counts.entry(effect.clone()).or_default();
            for (sum, (name, _)) in sums.iter_mut().zip(VERDICTS) {
                *sum += own[name].as_u64().unwrap_or_default();
            }
        }
        doubtful.extend(page["doubtful"].as_array().cloned().unwrap_or_default());
        after = page["next"].as_str().map(str::to_owned);
        if after.is_none() {
            break;
        }
    }
    let unknown = get(&node, &["admin", "runner", "effects", "unknown"], &[]).await?;
    if node.json {
        let named = |sums: &[u64; VERDICTS.len()]| -> Value {
            VERDICTS.iter().zip(sums).map(|((name, _), sum)| ((*name).to_owned(), json!(sum))).collect()
        };
        let counts: BTreeMap<&String, Value> =
            counts.iter().map(|(effect, sums)| (effect, named(sums))).collect();
        say(&json!({ "counts": counts, "doubtful": doubtful, "stream": unknown }).to_string());
    } else {
        show(&counts, &doubtful, &unknown);
    }
    Ok(())
}

async fn get(node: &NodeArguments, path: &[&str], query: &[(&str, String)]) -> Result<Value, CommandError> {
    Ok(ask(node, Method::GET, &Address { path, query }, |request| request).await?)
}

fn show(counts: &BTreeMap<String, [u64; VERDICTS.len()]>, doubtful: &[Value], unknown: &Value) {
    let cells = |cells: Vec<String>| cells.iter().map(|cell| format!("{cell:>12}")).collect::<String>();
    say(&format!("{:<24}{}", "effect", cells(VERDICTS.iter().map(|(_, name)| (*name).to_owned()).collect())));
    for (effect, sums) in counts {
        say(&format!("{effect:<24}{}", cells(sums.iter().map(ToString::to_string).collect())));
    }
    for own in doubtful {
        let text = |field: &str| own[field].as_str().unwrap_or_default().replace('_', " ");
        let id = own["command_id"].as_str().unwrap_or_default();
        let (attempts, ambiguous, reason) = (&own["attempts"], &own["ambiguous"], text("reason"));
        say(&format!(
            "  {} {} {id}: {attempts} attempts, {ambiguous} in doubt{}{reason}",
            text("verdict"),
            own["effect"].as_str().unwrap_or_default(),
            if reason.is_empty() { "" } else { "; " }
        ));
    }
    let (stored, missing) = (&unknown["stored"], unknown["unknown"].as_u64().unwrap_or_default());
    say(&format!("{stored} commands in the stream; {missing} of them not in the ledger yet"));
    for subject in unknown["subjects"].as_array().into_iter().flatten() {
        say(&format!("  {}", subject.as_str().unwrap_or_default()));
    }
}
