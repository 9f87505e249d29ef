//! `cloudlysis effect`: effects of a running node, over its `/admin`.

use super::ask::{Address, AskError, ask};
use super::{CommandError, progress, say};
use crate::cli::{Because, Effect, EffectStage, NodeArguments, Outcome, Retried};
use reqwest::Method;
use serde_json::{Value, json};

pub(super) async fn run(what: Effect) -> Result<(), CommandError> {
    match what {
        Effect::Ls { node, effect, stage } => {
            each(&node, effect.as_deref(), stage.map(named), |own| {
                say(&if node.json { own.to_string() } else { line(own) });
            })
            .await
        }
        Effect::Show { node, id } => {
            let path = ["admin", "runner", "effects", "ledger", &id];
            let shown = ask(&node, Method::GET, &Address { path: &path, query: &[] }, |own| own).await?;
            say(&if node.json {
                shown.to_string()
            } else {
                serde_json::to_string_pretty(&shown).unwrap_or_default()
            });
            Ok(())
        }
        Effect::Retry { node, which, may_repeat, because: Because { reason } } => {
            let body = json!({ "reason": reason, "may_repeat": may_repeat });
            let Retried { ids, parked, effect } = which;
            if parked {
                return retry_parked(&node, effect.as_deref(), &body).await;
            }
            for id in ids {
                let done = operate(&node, &id, "retry", &body).await?;
                say(&if node.json { done.to_string() } else { retried(&id, &done) });
            }
            Ok(())
        }
        Effect::Settle { node, id, outcome, payload, because: Because { reason } } => {
            let outcome = match outcome {
                Outcome::Succeeded => "succeeded",
                Outcome::Failed => "failed",
            };
            let mut body = json!({ "reason": reason, "outcome": outcome });
            if let Some(payload) = payload {
                body["payload"] = serde_json::from_str(&payload).map_err(AskError::Payload)?;
            }
            let done = operate(&node, &id, "settle", &body).await?;
            let before = if done["changed"] == true { "" } else { ", as before" };
            say(&if node.json { done.to_string() } else { format!("{id} is settled as {outcome}{before}") });
            Ok(())
        }
    }
}

const fn named(stage: EffectStage) -> &'static str {
    match stage {
        EffectStage::Open => "open",
        EffectStage::Parked => "parked",
        EffectStage::Settled => "settled",
    }
}

fn retried(id: &str, done: &Value) -> String {
    if done["changed"] == true { format!("{id} is called again") } else { format!("{id} is open, as before") }
}

async fn operate(node: &NodeArguments, id: &str, verb: &str, body: &Value) -> Result<Value, AskError> {
    let path = ["admin", "runner", "effects", "ledger", id, verb];
    let body = body.to_string();
    ask(node, Method::POST, &Address { path: &path, query: &[] }, |own| own.body(body)).await
}

/// Pages through what the ledger has.
async fn each(
    node: &NodeArguments,
    effect: Option<&str>,
    stage: Option<&str>,
    mut see: impl FnMut(&Value),
) -> Result<(), CommandError> {
    let mut after: Option<String> = None;
    loop {
        let filters = [("effect", effect), ("stage", stage), ("after", after.as_deref())];
        let query: Vec<(&str, String)> =
            filters.into_iter().filter_map(|(name, value)| Some((name, value?.to_owned()))).collect();
        let path = ["admin", "runner", "effects", "ledger"];
        let page = ask(node, Method::GET, &Address { path: &path, query: &query }, |own| own).await?;
        page["effects"].as_array().into_iter().flatten().for_each(&mut see);
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return Ok(()),
        }
    }
}

/// How often somebody who watches is told how far it is.
const TOLD_EVERY: usize = 500;

/// Those that wait for a person when this begins; what may have happened at most once stays where it is, and is named.
async fn retry_parked(node: &NodeArguments, effect: Option<&str>, body: &Value) -> Result<(), CommandError> {
    let mut parked = Vec::new();
    each(node, effect, Some("parked"), |own| {
        let text = |field: &str| own[field].as_str().unwrap_or_default().to_owned();
        parked.push((text("tenant_id"), text("command_id")));
    })
    .await?;
    let (mut again, mut refused) = (0_usize, Vec::new());
    for (at, (tenant, id)) in parked.iter().enumerate() {
        match operate(&node.of_tenant(tenant), id, "retry", body).await {
            Ok(_) => again += 1,
            Err(AskError::Refused { status: 404 | 409, detail, .. }) => {
                if !node.json {
                    say(&format!("{id} stays: {detail}"));
                }
                refused.push(json!({ "tenant_id": tenant, "command_id": id, "detail": detail }));
            }
            Err(error) => {
                progress(&format!("{at} of {} asked for; asked again, the rest follows", parked.len()));
                return Err(error.into());
            }
        }
        if (at + 1) % TOLD_EVERY == 0 {
            progress(&format!("{} of {}", at + 1, parked.len()));
        }
    }
    say(&if node.json {
        json!({ "retried": again, "refused": refused }).to_string()
    } else {
        format!("{again} called again, {} stay", refused.len())
    });
    Ok(())
}

/// An effect on one line.
fn line(own: &Value) -> String {
    let text = |field: &str| own[field].as_str().unwrap_or_default();
    let tenant = Some(text("tenant_id")).filter(|tenant| !tenant.is_empty()).unwrap_or("_");
    let stage = if text("outcome").is_empty() { text("stage") } else { text("outcome") };
    let reason = match text("reason") {
        "" => String::new(),
        reason => format!(" · {reason}"),
    };
    let last = match text("last") {
        "" => String::new(),
        last => format!(" · last: {last}"),
    };
    let hand = match own["intervention"]["verb"].as_str() {
        Some(verb) => format!(
            " · {verb} by an operator: {}",
            own["intervention"]["reason"].as_str().unwrap_or_default()
        ),
        None => String::new(),
    };
    format!(
        "{tenant:<16} {:<24} {:<36} {stage:<10} since {} · {} attempts, {} in doubt{reason}{last}{hand}",
        text("effect"),
        text("command_id"),
        text("since"),
        own["attempts"],
        own["ambiguous"],
    )
}
