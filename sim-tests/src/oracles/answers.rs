//! Answers to commands: true, and always the same.

use super::Violation;
use super::logs::{Logs, subject_of};
use crate::app::shop;
use crate::plan::Plan;
use cloudlysis_core::Invariant;
use cloudlysis_core::aggregate::{AggregateKey, Reply};
use cloudlysis_core::program::contract::{self, Decision, Refusal};
use cloudlysis_core::program::{GAS_MAX_DEFAULT, Gas};
use cloudlysis_core::wire::envelope::Command;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// An answer that is the last word.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Definite {
    /// Its events are there.
    Accepted {
        /// Where.
        seq: u64,
        /// The version after them.
        version: u64,
    },
    /// No.
    Refused(Refusal),
}

/// The last word in a reply, if it has one.
#[must_use]
pub fn of_definite(reply: &Reply) -> Option<Definite> {
    match reply {
        Reply::Accepted { seq, version, .. } => Some(Definite::Accepted { seq: *seq, version: *version }),
        Reply::Refused(refusal) | Reply::Invalid(refusal) => Some(Definite::Refused(refusal.clone())),
        Reply::Busy { .. } | Reply::Unknown | Reply::Unreadable { .. } => None,
    }
}

/// What was asked and answered so far.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Two nodes that decide at once remember each for itself the refusals that are not recorded.
    single_owner: bool,
    /// The length of the aggregate's history when a command was sent first.
    first_sent: BTreeMap<String, usize>,
    refused: BTreeMap<String, Refusal>,
    /// How often a command was sent.
    sent: BTreeMap<String, u64>,
    /// Those that were sent once, said to be definitely not done, and not sent again.
    undone: BTreeSet<String>,
    /// Those of them that are in the log.
    done_all_the_same: BTreeSet<String>,
    heard: BTreeMap<String, Definite>,
    /// Commands whose outcome an aggregate node has told somebody.
    told: BTreeSet<String>,
    /// Those that were said to be accepted.
    accepted: BTreeSet<String>,
}

fn aggregate_of(command: &Command) -> AggregateKey {
    AggregateKey { tenant: command.tenant.clone(), kind: command.aggregate.clone(), id: command.id.clone() }
}

fn name_of(command: &Command) -> String {
    format!("{}#{}", subject_of(&aggregate_of(command)), command.command_id)
}

fn broken(invariant: Invariant, command: &Command, detail: &str) -> Violation {
    Violation::new(invariant, format!("{}: {detail}", name_of(command)))
}

impl Answers {
    pub(super) const fn of(plan: &Plan) -> Self {
        Self {
            single_owner: plan.owners == 1,
            first_sent: BTreeMap::new(),
            refused: BTreeMap::new(),
            sent: BTreeMap::new(),
            undone: BTreeSet::new(),
            done_all_the_same: BTreeSet::new(),
            heard: BTreeMap::new(),
            told: BTreeSet::new(),
            accepted: BTreeSet::new(),
        }
    }

    pub(super) fn on_submitted(&mut self, command: &Command, logs: &Logs) {
        let history = logs.history(&subject_of(&aggregate_of(command)));
        let name = name_of(command);
        self.first_sent.entry(name.clone()).or_insert(history.map_or(0, |own| own.points.len()));
        *self.sent.entry(name.clone()).or_default() += 1;
        let stored = history.is_some_and(|own| own.commands.contains_key(&command.command_id));
        if self.undone.remove(&name) && stored {
            self.done_all_the_same.insert(name);
        }
    }

    pub(super) fn on_answered(
        &mut self,
        command: &Command,
        reply: &Reply,
        logs: &Logs,
    ) -> Result<(), Violation> {
        let name = name_of(command);
        let history = logs.history(&subject_of(&aggregate_of(command)));
        let stored = history.and_then(|history| history.commands.get(&command.command_id).copied());
        match of_definite(reply) {
            None if matches!(reply, Reply::Unreadable { .. }) => {
                self.told.insert(name);
                Ok(())
            }
            None => {
                // Until it is sent again, it cannot be done any more.
                if matches!(reply, Reply::Busy { .. }) && self.sent.get(&name) == Some(&1) {
                    self.undone.insert(name);
                }
                Ok(())
            }
            Some(Definite::Accepted { seq, version }) => {
                if stored != Some((seq, version)) {
                    let detail =
                        format!("accepted at {seq} as version {version}, but the log has {stored:?}");
                    return Err(broken(Invariant::Agg2, command, &detail));
                }
                if let Some(refusal) = self.refused.get(&name) {
                    let detail = format!("accepted at {seq} after it was refused: {refusal:?}");
                    return Err(broken(Invariant::Agg2, command, &detail));
                }
                self.told.insert(name);
                Ok(())
            }
            Some(Definite::Refused(refusal)) => {
                if let Some((seq, _)) = stored {
                    let detail = format!("refused ({}), but stored at {seq}", refusal.code);
                    return Err(broken(Invariant::Agg2, command, &detail));
                }
                if matches!(reply, Reply::Refused(_)) {
                    self.check_refusal(command, &refusal, logs)?;
                }
                let recorded =
                    history.is_some_and(|history| history.refused.contains_key(&command.command_id));
                if command.record_refusal && matches!(reply, Reply::Refused(_)) && !recorded {
                    let detail = format!("refused ({}), and that is not recorded", refusal.code);
                    return Err(broken(Invariant::Agg2, command, &detail));
                }
                if self.single_owner || recorded {
                    self.refused.insert(name.clone(), refusal);
                }
                self.told.insert(name);
                Ok(())
            }
        }
    }

    /// INV-AGG-7: some state that the aggregate had since the command was first sent gives this refusal.
    fn check_refusal(&self, command: &Command, refusal: &Refusal, logs: &Logs) -> Result<(), Violation> {
        let app = shop();
        let Some(definition) = app.aggregates.get(&command.aggregate) else { return Ok(()) };
        let Some(program) = definition.commands.get(&command.name) else { return Ok(()) };
        let seen = json!({
            "name": command.name,
            "payload": command.payload,
            "id": command.id,
            "command_id": command.command_id,
            "tenant_id": command.tenant,
        });
        let gives = |state: &Value| {
            let decided = contract::decide(program, state, &seen, &mut Gas::new(GAS_MAX_DEFAULT));
            matches!(decided, Ok(Decision::Refused(own)) if own == *refusal)
        };
        let initial = [&definition.initial_state];
        let from = self.first_sent.get(&name_of(command)).map_or(0, |points| points.saturating_sub(1));
        let explained = match logs.history(&subject_of(&aggregate_of(command))) {
            None => initial.into_iter().any(gives),
            Some(history) => history.points.iter().skip(from).map(|point| &point.state).any(gives),
        };
        if explained {
            return Ok(());
        }
        let detail = format!("{refusal:?} is not what any state since it was sent would give");
        Err(broken(Invariant::Agg7, command, &detail))
    }

    pub(super) fn on_heard(&mut self, command: &Command, answer: Option<Definite>) -> Result<(), Violation> {
        let Some(answer) = answer else { return Ok(()) };
        match self.heard.insert(name_of(command), answer.clone()) {
            Some(earlier) if earlier != answer => {
                let detail = format!("heard {earlier:?}, then {answer:?}");
                Err(broken(Invariant::Agg2, command, &detail))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whatever else may be wrong with it, this was said.
    pub(super) fn on_replied(&mut self, command: &Command, reply: &Reply) {
        if matches!(reply, Reply::Accepted { .. }) {
            self.accepted.insert(name_of(command));
        }
    }

    /// Whether a command was said to be accepted.
    pub(super) fn was_accepted(&self, command: &Command) -> bool {
        self.accepted.contains(&name_of(command))
    }

    /// Whether the outcome of a command was told to somebody.
    pub(super) fn was_told(&self, command: &Command) -> bool {
        self.told.contains(&name_of(command))
    }

    /// INV-AGG-2 at the end: what was refused is not in the log, nor what was busy and not sent again.
    pub(super) fn check_end(&self, logs: &Logs) -> Result<(), Violation> {
        if let Some(name) = self.done_all_the_same.first() {
            let detail = format!("{name}: busy, and stored before it was sent again");
            return Err(Violation::new(Invariant::Agg2, detail));
        }
        for history in logs.histories() {
            let subject = subject_of(&history.key);
            for (command_id, (seq, _)) in &history.commands {
                let name = format!("{subject}#{command_id}");
                if self.undone.contains(&name) {
                    let detail = format!("{name}: busy, never sent again, and stored at {seq}");
                    return Err(Violation::new(Invariant::Agg2, detail));
                }
                if let Some(refusal) = self.refused.get(&name) {
                    let detail = format!("{name}: refused ({}), and stored at {seq}", refusal.code);
                    return Err(Violation::new(Invariant::Agg2, detail));
                }
            }
        }
        Ok(())
    }
}
