//! Reload on request: the manifests are read again, checked as a whole, and taken, all or none.
//!
//! ```text
//! read ─► check ─► compare ─► drain the machine ─► swap ─► recover it from its store ─► report
//!   └───────┴─────────┴── a fault or a refusal: the old ones go on, untouched
//! ```
//!
//! A machine is brought to its new definitions as a start brings it to them. It is drained first, so that a call under
//! way is not left without its answer. Settings are not read again: they belong to a start.

use super::unreadable;
use crate::application::ApplicationError;
use crate::gateway::problem::Problem;
use crate::partition::Reload;
use crate::runner::Application;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use cloudlysis_core::effect::audit;
use cloudlysis_core::manifest::App;
use cloudlysis_core::runner::Mode;
use cloudlysis_core::saga::look::{self, Which};
use cloudlysis_core::wire::id::Name;
use cloudlysis_core::{Halt, View};
use cloudlysis_io_nats::connect::Connection;
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::store::Snapshots;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

/// Longest deadline, in milliseconds.
const DEADLINE_MS_MAX: u64 = 600_000;
/// A machine ends its drain by the deadline; later than this, something is wrong with its shell.
const SLACK: Duration = Duration::from_secs(5);
/// Rows looked at in one read of the store.
const ROWS_MAX: usize = 10_000;

/// Reads the manifests as they are now.
pub type Read = Arc<dyn Fn() -> Result<App, ApplicationError> + Send + Sync>;

/// What a reload needs.
#[derive(Clone)]
pub struct Reloads {
    /// Reads the manifests.
    pub read: Read,
    /// What the runner does: the other half's manifests are not its own.
    pub mode: Mode,
    /// What it runs.
    pub current: watch::Sender<Application>,
    /// How effects reach services on the broker.
    pub connection: Connection,
    /// Where effects find their secrets.
    pub secrets: Secrets,
    /// How its partition is told.
    pub partition: mpsc::Sender<Reload>,
    /// Its rows.
    pub snapshots: Snapshots,
    /// How long what is in flight may take unless somebody says.
    pub deadline: Duration,
}

impl fmt::Debug for Reloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloads").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// The route.
pub fn router(reloads: Reloads) -> Router {
    let one_at_a_time = Arc::new(Mutex::new(()));
    Router::new().route("/admin/reload", post(reload)).with_state((reloads, one_at_a_time))
}

/// What may be said about a reload.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wanted {
    #[serde(default)]
    deadline_ms: Option<u64>,
}

/// How a manifest differs from the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Difference {
    Added,
    Changed,
    Removed,
}

/// A manifest that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Change {
    kind: &'static str,
    name: Name,
    change: Difference,
}

fn differences<D: PartialEq>(
    kind: &'static str,
    old: &BTreeMap<Name, Arc<D>>,
    new: &BTreeMap<Name, Arc<D>>,
) -> Vec<Change> {
    let names: BTreeSet<&Name> = old.keys().chain(new.keys()).collect();
    let compare = |name: &Name| match (old.get(name), new.get(name)) {
        (None, None) => None,
        (None, Some(_)) => Some(Difference::Added),
        (Some(_), None) => Some(Difference::Removed),
        (Some(old), Some(new)) => (old != new).then_some(Difference::Changed),
    };
    let change = |name: &Name| Some(Change { kind, name: name.clone(), change: compare(name)? });
    names.into_iter().filter_map(change).collect()
}

impl Reloads {
    /// What is the runner's own, and what other nodes take at their next start.
    fn compare(&self, old: &App, new: &App) -> (Vec<Change>, Vec<Change>) {
        let mut sagas = differences("saga", &old.sagas, &new.sagas);
        sagas.extend(differences("schedule", &old.schedules, &new.schedules));
        let mut effects = differences("effect", &old.effects, &new.effects);
        if old.egress != new.egress {
            let name = Name::parse("egress").expect("a name");
            effects.push(Change { kind: "app", name, change: Difference::Changed });
        }
        let mut elsewhere = differences("aggregate", &old.aggregates, &new.aggregates);
        elsewhere.extend(differences("projection", &old.projections, &new.projections));
        match self.mode {
            Mode::Combined(_) => (sagas.into_iter().chain(effects).collect(), elsewhere),
            Mode::Sagas => (sagas, elsewhere.into_iter().chain(effects).collect()),
            Mode::Effects => (effects, elsewhere.into_iter().chain(sagas).collect()),
        }
    }

    /// What only a start, or nobody, may change.
    fn refuse(&self, old: &App, new: &App, changes: &[Change]) -> Result<(), Problem> {
        let no = |detail: String| Err(Problem::new(StatusCode::CONFLICT, "not_reloadable", detail));
        if old.name != new.name {
            return no(format!(
                "`app` was `{}` and is `{}`: that is another application",
                old.name, new.name
            ));
        }
        for Change { kind, name, .. } in changes.iter().filter(|own| own.change == Difference::Removed) {
            let is_open = |view: &dyn View| match *kind {
                "saga" => has_open_instance(view, name),
                "effect" => has_open_effect(view, name),
                _ => Ok(false),
            };
            if self.snapshots.read(is_open).map_err(unreadable)?.map_err(unreadable)? {
                return no(format!("{kind} `{name}` is removed, but some of it is open: let it end first"));
            }
        }
        Ok(())
    }
}

fn has_open_instance(view: &dyn View, saga: &Name) -> Result<bool, Halt> {
    let (which, mut from) = (Which { tenant: None, saga: Some(saga.clone()), open: true }, Vec::new());
    loop {
        let page = look::list(view, &which, &from, 1)?;
        match (page.instances.is_empty(), page.next) {
            (false, _) => return Ok(true),
            (true, Some(next)) => from = next,
            (true, None) => return Ok(false),
        }
    }
}

fn has_open_effect(view: &dyn View, effect: &Name) -> Result<bool, Halt> {
    let mut from = Vec::new();
    loop {
        let page = audit::audit(view, None, &from, ROWS_MAX)?;
        if page.counts.get(effect).is_some_and(|counts| counts.open > 0) {
            return Ok(true);
        }
        match page.next {
            Some(next) => from = next,
            None => return Ok(false),
        }
    }
}

async fn reload(
    State((reloads, one_at_a_time)): State<(Reloads, Arc<Mutex<()>>)>,
    body: Bytes,
) -> Result<Response, Problem> {
    let bad = |detail: String| Problem::new(StatusCode::BAD_REQUEST, "invalid_body", detail);
    let Wanted { deadline_ms } = match body.is_empty() {
        true => Wanted::default(),
        false => serde_json::from_slice(&body).map_err(|error| bad(error.to_string()))?,
    };
    if let Some(given) = deadline_ms.filter(|given| *given > DEADLINE_MS_MAX) {
        return Err(bad(format!("deadline_ms is {given}; at most {DEADLINE_MS_MAX} is allowed")));
    }
    let Ok(turn) = one_at_a_time.try_lock_owned() else {
        return Err(Problem::new(StatusCode::CONFLICT, "reload_under_way", "another reload is under way"));
    };
    let within = deadline_ms.map_or(reloads.deadline, Duration::from_millis);
    // A caller that goes away does not leave a reload half told.
    let done = tokio::spawn(async move {
        let done = reloads.run(within).await;
        drop(turn);
        done
    });
    done.await.unwrap_or_else(|_| Err(unreadable("the reload ended early; the log says why")))
}

impl Reloads {
    async fn run(self, within: Duration) -> Result<Response, Problem> {
        let reads = self.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let new = (reads.read)().map_err(|error| {
                let code = "invalid_manifests";
                Problem::new(StatusCode::UNPROCESSABLE_ENTITY, code, format!("nothing was changed: {error}"))
            })?;
            let old = Arc::clone(&reads.current.borrow().app);
            let (changed, elsewhere) = reads.compare(&old, &new);
            reads.refuse(&old, &new, &changed)?;
            for (effect, definition) in &new.effects {
                reads.secrets.check(definition.secret_headers()).map_err(|fault| {
                    let detail = format!("nothing was changed: effect `{effect}`, {fault}");
                    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "missing_secret", detail)
                })?;
            }
            let next =
                Application::new(Arc::new(new), &reads.connection, &reads.secrets).map_err(unreadable)?;
            Ok::<_, Problem>((next, changed, elsewhere))
        });
        let (next, changed, elsewhere) =
            compared.await.map_err(|_| unreadable("the manifests could not be compared"))??;
        if changed.is_empty() {
            return Ok(Json(json!({ "changed": [], "elsewhere": elsewhere })).into_response());
        }
        let (done, over) = oneshot::channel();
        let current = self.current.clone();
        let swap = Box::new(move || drop(current.send_replace(next)));
        let order = Reload { deadline: Instant::now() + within, swap, done };
        let stopped = "the node is draining, or its partition stopped; nothing was changed";
        let no = || Problem::new(StatusCode::CONFLICT, "not_running", stopped);
        self.partition.try_send(order).map_err(|_| no())?;
        let report = match tokio::time::timeout(within + SLACK, over).await {
            Ok(report) => report.map_err(|_| no())?,
            Err(_) => return Err(unreadable("the partition does not answer; its log says why")),
        };
        tracing::info!(?changed, in_flight = report.left.in_flight, "reloaded");
        let body = json!({
            "changed": changed,
            "elsewhere": elsewhere,
            "clean": report.clean,
            "in_flight": report.left.in_flight,
        });
        Ok(Json(body).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let map = |pairs: &[(&str, u8)]| -> BTreeMap<Name, Arc<u8>> {
            pairs.iter().map(|(name, def)| (Name::parse(name).expect("a name"), Arc::new(*def))).collect()
        };
        let (old, new) =
            (map(&[("kept", 1), ("other", 1), ("gone", 1)]), map(&[("kept", 1), ("other", 2), ("new", 1)]));
        let named = differences("saga", &old, &new);
        let named: Vec<(&str, Difference)> =
            named.iter().map(|own| (own.name.as_str(), own.change)).collect();
        let wanted =
            [("gone", Difference::Removed), ("new", Difference::Added), ("other", Difference::Changed)];
        assert_eq!(named, wanted);
    }
}
