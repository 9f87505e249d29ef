//! `cloudlysis validate`: every fault of an application's manifests, each with its place.

use super::{CommandError, say};
use crate::application::{self, ApplicationError};
use crate::cli::ValidateArguments;
use cloudlysis_core::manifest::App;
use serde_json::{Value, json};

pub(super) fn run(arguments: &ValidateArguments) -> Result<(), CommandError> {
    let loaded = application::load(&arguments.application.app_dir, &arguments.application.overrides());
    if arguments.json {
        let faults = loaded.as_ref().err().map_or_else(|| json!([]), ApplicationError::to_json);
        let secrets: Vec<Value> =
            loaded.as_ref().map(secrets).unwrap_or_default().into_iter().map(json).collect();
        say(&json!({ "ok": loaded.is_ok(), "faults": faults, "secrets": secrets }).to_string());
    }
    let app = loaded?;
    if !arguments.json {
        say(&format!("ok: {} ({})", app.name, contents(&app)));
        for Needed { effect, header, secret } in secrets(&app) {
            say(&format!("  effect {effect}, header {header}: secret {secret}"));
        }
    }
    Ok(())
}

/// A secret that must be there when the runner starts.
struct Needed<'a> {
    effect: &'a str,
    header: &'a str,
    secret: &'a str,
}

fn secrets(app: &App) -> Vec<Needed<'_>> {
    let mut out = Vec::new();
    for (effect, definition) in &app.effects {
        for header in definition.secret_headers() {
            out.extend(header.secrets().map(|secret| Needed {
                effect: effect.as_str(),
                header: &header.name,
                secret: secret.as_str(),
            }));
        }
    }
    out
}

fn json(Needed { effect, header, secret }: Needed<'_>) -> Value {
    json!({ "effect": effect, "header": header, "secret": secret })
}

/// What an application consists of, for people.
pub(super) fn contents(app: &App) -> String {
    let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    [
        count(app.aggregates.len(), "aggregate"),
        count(app.projections.len(), "projection"),
        count(app.sagas.len(), "saga"),
        count(app.schedules.len(), "schedule"),
        count(app.effects.len(), "effect"),
    ]
    .join(" · ")
}
