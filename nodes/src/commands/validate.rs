//! `cloudlysis validate`: every fault of an application's manifests, each with its place.

use super::{CommandError, say};
use crate::application::{self, ApplicationError};
use crate::cli::ValidateArguments;
use cloudlysis_core::manifest::App;
use serde_json::json;

pub(super) fn run(arguments: &ValidateArguments) -> Result<(), CommandError> {
    let loaded = application::load(&arguments.application.app_dir, &arguments.application.overrides());
    if arguments.json {
        let faults = match &loaded {
            Err(ApplicationError::Faults(faults)) => faults.to_json(),
            Ok(_) | Err(ApplicationError::Io { .. } | ApplicationError::TooMany(_)) => json!([]),
        };
        say(&json!({ "ok": loaded.is_ok(), "faults": faults }).to_string());
    }
    let app = loaded?;
    if !arguments.json {
        say(&format!("ok: {} ({})", app.name, contents(&app)));
    }
    Ok(())
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
