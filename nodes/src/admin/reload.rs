//! Reload on request: the manifests are read again, checked as a whole, and taken, all or none.
//!
//! ```text
//! read ─► check ─► compare ─► drain the machine ─► swap ─► recover it from its store ─► report
//!   └───────┴─────────┴── a fault or a refusal: the old ones go on, untouched
//! ```
//!
//! A machine is brought to its new definitions as a start brings it to them. It is drained first, so that a call under
//! way is not left without its answer. Settings are not read again: they belong to a start.

use super::fault::{Fault, Kind};
use super::{fields, rows};
use crate::application::ApplicationError;
use crate::partition::Reload;
use crate::runner::Application;
use cloudlysis_core::drain::Report;
use cloudlysis_core::effect::audit;
use cloudlysis_core::manifest::App;
use cloudlysis_core::runner::Mode;
use cloudlysis_core::saga::look::{self, Which};
use cloudlysis_core::wire::id::Name;
use cloudlysis_core::{Halt, View};
use cloudlysis_io_nats::connect::Connection;
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::store::Snapshots;
use serde::Serialize;
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

/// Reloads a runner, once at a time.
#[derive(Clone, Debug)]
pub struct Reloader {
    reloads: Reloads,
    one_at_a_time: Arc<Mutex<()>>,
}

/// How a manifest differs from the one before.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It was not there.
    Added,
    /// It is another one.
    Changed,
    /// It is not there any more.
    Removed,
}

/// A manifest that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Change {
    /// Of which kind: `saga`, `schedule`, `effect`, `aggregate`, `projection`, or `app`.
    pub kind: &'static str,
    /// Its name.
    pub name: Name,
    /// How.
    pub change: Difference,
}

/// What a reload changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reloaded {
    /// What is in force.
    pub changed: Vec<Change>,
    /// What other nodes take at their next start.
    pub elsewhere: Vec<Change>,
    /// What the drain left; nothing was drained where nothing changed.
    #[serde(flatten)]
    pub drained: Option<Drained>,
}

/// What the drain of a reload left.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Drained {
    /// Nothing was in flight.
    pub clean: bool,
    /// Requests under way whose answer is not known.
    pub in_flight: usize,
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
    fn refuse(&self, old: &App, new: &App, changes: &[Change]) -> Result<(), Fault> {
        let no = |detail: String| Err(Fault::new(Kind::Refused, "not_reloadable", detail));
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
            if rows::read(&self.snapshots, is_open)? {
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

impl Reloader {
    /// Reloads with these.
    #[must_use]
    pub fn new(reloads: Reloads) -> Self {
        Self { reloads, one_at_a_time: Arc::new(Mutex::new(())) }
    }

    /// Reads the manifests and takes them, all or none; what is in flight has so many milliseconds.
    ///
    /// # Errors
    /// When they are not taken, or nobody knows.
    pub async fn reload(&self, deadline_ms: Option<u64>) -> Result<Reloaded, Fault> {
        let within = fields::deadline(deadline_ms, self.reloads.deadline, DEADLINE_MS_MAX)?;
        let Ok(turn) = Arc::clone(&self.one_at_a_time).try_lock_owned() else {
            return Err(Fault::new(Kind::Refused, "reload_under_way", "another reload is under way"));
        };
        let reloads = self.reloads.clone();
        // A caller that goes away does not leave a reload half told.
        let done = tokio::spawn(async move {
            let done = reloads.run(within).await;
            drop(turn);
            done
        });
        done.await.unwrap_or_else(|_| Err(Fault::unreadable("the reload ended early; the log says why")))
    }
}

impl Reloads {
    async fn run(self, within: Duration) -> Result<Reloaded, Fault> {
        let reads = self.clone();
        let compared = tokio::task::spawn_blocking(move || {
            let new = (reads.read)().map_err(|error| {
                let detail = format!("nothing was changed: {error}");
                Fault::new(Kind::Unusable, "invalid_manifests", detail)
            })?;
            let old = Arc::clone(&reads.current.borrow().app);
            let (changed, elsewhere) = reads.compare(&old, &new);
            reads.refuse(&old, &new, &changed)?;
            for (effect, definition) in &new.effects {
                reads.secrets.check(definition.secret_headers()).map_err(|fault| {
                    let detail = format!("nothing was changed: effect `{effect}`, {fault}");
                    Fault::new(Kind::Unusable, "missing_secret", detail)
                })?;
            }
            let next = Application::new(Arc::new(new), &reads.connection, &reads.secrets)
                .map_err(Fault::unreadable)?;
            Ok::<_, Fault>((next, changed, elsewhere))
        });
        let (next, changed, elsewhere) =
            compared.await.map_err(|_| Fault::unreadable("the manifests could not be compared"))??;
        if changed.is_empty() {
            return Ok(Reloaded { changed, elsewhere, drained: None });
        }
        let (done, over) = oneshot::channel();
        let current = self.current.clone();
        let swap = Box::new(move || drop(current.send_replace(next)));
        let order = Reload { deadline: Instant::now() + within, swap, done };
        let stopped = "the node is draining, or its partition stopped; nothing was changed";
        let no = || Fault::new(Kind::Refused, "not_running", stopped);
        self.partition.try_send(order).map_err(|_| no())?;
        let report = match tokio::time::timeout(within + SLACK, over).await {
            Ok(report) => report.map_err(|_| no())?,
            Err(_) => return Err(Fault::unreadable("the partition does not answer; its log says why")),
        };
        tracing::info!(?changed, in_flight = report.left.in_flight, "reloaded");
        let Report { clean, left } = report;
        let drained = Some(Drained { clean, in_flight: left.in_flight });
        Ok(Reloaded { changed, elsewhere, drained })
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
