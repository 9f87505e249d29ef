//! Divergence: what a node keeps, against the log that is there now.
//!
//! After a disaster the log is another one, and the oracles that follow it from message to message have nothing more to
//! say. What remains is INV-DIV-1: a node whose rows no longer agree with the log has noticed. Each function names the
//! first thing that does not agree, and knows nothing of how the node might notice.

use super::answers::Answers;
use super::end::COUNTED;
use super::logs::subject_of;
use super::outbox::{parked_of, position_of};
use super::views::Views;
use super::{Seen, Violation};
use crate::app::shop;
use crate::world::clients::OrderPlan;
use crate::world::event::NodeId;
use cloudlysis_core::aggregate::{AggregateKey, CommandRow, Record};
use cloudlysis_core::effect::{LedgerRow, Phase};
use cloudlysis_core::jetstream::StoredMessage;
use cloudlysis_core::outbox::{Body, Destination, Row};
use cloudlysis_core::program::contract;
use cloudlysis_core::program::{GAS_MAX_DEFAULT, Gas};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey};
use cloudlysis_core::saga::{Instance, PendingTimer, WorkState};
use cloudlysis_core::schedule::recurring::{self, Running};
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::id::{CommandId, Name};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Table, View};
use cloudlysis_io_sim::broker::Broker;
use cloudlysis_io_sim::store::{Change, Committed};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// No world lives to see a timer that is due so much after another.
const MUCH_LATER_MS: u64 = 3_600_000;

/// What left the runner and is said to be stored.
#[derive(Clone, Debug, Default)]
pub struct Departed {
    /// Messages, by stream and subject.
    pub messages: BTreeSet<(PlatformStream, String)>,
    /// Commands that were accepted, by the aggregate's subject.
    pub commands: BTreeSet<(String, CommandId)>,
}

impl Departed {
    /// What the runner removed from its outbox and does not keep: it is said to have arrived.
    pub(super) fn on_changes(&mut self, seen: &Seen<'_>, changes: &[Change], answers: &Answers) {
        for own in changes.iter().filter(|own| own.table == Table::Outbox && own.after.is_none()) {
            let Some(Row { entry, .. }) = own.before.as_deref().and_then(|row| Row::decode(row).ok()) else {
                continue;
            };
            if parked_of(seen, &entry).is_ok_and(|parked| parked.contains_key(&position_of(own))) {
                continue;
            }
            match entry.body {
                Body::Message { stream, subject, .. } => {
                    let stream = match stream {
                        Destination::Commands => PlatformStream::WorkflowCommands,
                        Destination::Events => PlatformStream::WorkflowEvents,
                    };
                    self.messages.insert((stream, subject));
                }
                Body::Command(command) if answers.was_accepted(&command) => {
                    let key = AggregateKey {
                        tenant: command.tenant.clone(),
                        kind: command.aggregate.clone(),
                        id: command.id.clone(),
                    };
                    self.commands.insert((subject_of(&key), command.command_id));
                }
                Body::Command(_) => {}
            }
        }
    }
}

/// An aggregate as the present log has it.
#[derive(Debug, Default)]
struct History {
    /// Version and state after each message.
    points: BTreeMap<u64, (u64, Value)>,
    commands: BTreeMap<CommandId, (u64, u64)>,
}

/// The logs as they are.
#[derive(Debug)]
pub struct Present {
    histories: BTreeMap<String, (AggregateKey, History)>,
    subjects: BTreeSet<(PlatformStream, String)>,
    /// Ids of the effect commands, and of the results, that are there.
    commands: BTreeSet<CommandId>,
    results: BTreeSet<CommandId>,
    /// The first sequence of each stream.
    first: BTreeMap<PlatformStream, u64>,
    /// The last sequence that a stream's reader wants, by stream and by type of aggregate.
    last: BTreeMap<(PlatformStream, String), u64>,
}

impl Present {
    /// Reads the logs; a stream that is gone has none.
    #[must_use]
    pub fn read(broker: &Broker) -> Self {
        let mut own = Self {
            histories: BTreeMap::new(),
            subjects: BTreeSet::new(),
            commands: BTreeSet::new(),
            results: BTreeSet::new(),
            first: BTreeMap::new(),
            last: BTreeMap::new(),
        };
        for stream in PlatformStream::ALL {
            let info = broker.engine().and_then(|engine| engine.stream(stream.name()));
            own.first.insert(stream, info.map_or(0, |info| info.state.first_seq));
            for message in broker.log(stream.name(), 1).unwrap_or_default() {
                own.add(stream, &message);
            }
        }
        own
    }

    fn add(&mut self, stream: PlatformStream, message: &StoredMessage) {
        let subject = message.subject.to_string();
        let kind = match Route::parse(&subject) {
            Some(Route::Aggregate { tenant, kind, id }) => {
                let key = AggregateKey { tenant, kind: kind.clone(), id };
                self.histories
                    .entry(subject.clone())
                    .or_insert_with(|| (key, History::default()))
                    .1
                    .add(&subject, message);
                kind.to_string()
            }
            Some(Route::Effect { command, .. }) => {
                self.commands.insert(command);
                String::new()
            }
            Some(Route::EffectResult { command, .. }) => {
                self.results.insert(command);
                String::new()
            }
            Some(Route::WorkflowEvent { .. }) => String::new(),
            None => return,
        };
        self.last.insert((stream, kind), message.seq);
        self.subjects.insert((stream, subject));
    }

    /// The last sequence that a reader of the stream wants.
    #[must_use]
    pub fn last_seq(&self, stream: PlatformStream, kind: &str) -> u64 {
        self.last.get(&(stream, kind.to_owned())).copied().unwrap_or(0)
    }

    fn history_of_row(&self, key: &[u8]) -> Option<&History> {
        let of = |own: &AggregateKey| keys::aggregate(&own.tenant, &own.kind, &own.id);
        self.histories.values().find(|(own, _)| of(own) == key).map(|(_, history)| history)
    }

    fn command_of_row(&self, key: &[u8]) -> Option<(u64, u64)> {
        self.histories.values().find_map(|(own, history)| {
            let of = |id: &CommandId| keys::command(&own.tenant, &own.kind, &own.id, id);
            history.commands.iter().find(|(id, _)| of(id) == key).map(|(_, place)| *place)
        })
    }

    /// The status of an order.
    #[must_use]
    pub fn status_of(&self, order: &OrderPlan) -> Option<String> {
        let (_, history) = self.histories.get(&order_subject(order))?;
        let (_, state) = history.points.values().next_back()?;
        Some(state["status"].as_str().unwrap_or_default().to_owned())
    }

    /// What an aggregate node keeps that the log does not say.
    #[must_use]
    pub fn contradicts_aggregate(&self, rows: &Committed<'_>) -> Option<String> {
        let record = each(rows, Table::Aggregate, |key, row| {
            let record = Record::decode(row).ok()?;
            let point =
                self.history_of_row(key).and_then(|history| history.points.get(&record.last_seq)).cloned();
            let agrees = point.as_ref().is_some_and(|own| *own == (record.version, record.state.clone()));
            (!agrees).then(|| format!("the row is {record:?}, the log says {point:?}"))
        });
        record.or_else(|| {
            each(rows, Table::Command, |key, row| {
                let CommandRow { seq, version } = CommandRow::decode(row).ok()?;
                let place = self.command_of_row(key);
                (place != Some((seq, version)))
                    .then(|| format!("the row says {seq}, version {version}; the log {place:?}"))
            })
        })
    }

    /// What a runner keeps that the logs do not say.
    #[must_use]
    pub fn contradicts_runner(
        &self,
        rows: &Committed<'_>,
        departed: &Departed,
        orders: &[OrderPlan],
    ) -> Option<String> {
        // What is gone from the head of a stream after it was applied might as well have expired.
        let harmless = |stream: &PlatformStream, subject: &str| {
            self.first.get(stream).is_some_and(|first| *first > 1) && was_applied(rows, subject)
        };
        let mut lost = departed.messages.difference(&self.subjects);
        if let Some((stream, subject)) = lost.find(|(own, subject)| !harmless(own, subject)) {
            return Some(format!("{subject} was published, and {stream} does not hold it"));
        }
        let holds = |subject: &str, id: &CommandId| {
            self.histories.get(subject).is_some_and(|(_, history)| history.commands.contains_key(id))
        };
        if let Some((subject, id)) = departed.commands.iter().find(|(subject, id)| !holds(subject, id)) {
            return Some(format!("{id} was accepted, and {subject} does not hold it"));
        }
        let checkout: Name = Name::parse("checkout").expect("a name");
        for order in orders {
            let row = rows.get(Table::Saga, &keys::saga(&order.tenant, &checkout, &order.id));
            if row.ok().flatten().is_some() && !self.histories.contains_key(&order_subject(order)) {
                return Some(format!("a saga for {:?}, of which nothing is there", order.id));
            }
        }
        let handed_over = handed_over(rows);
        each(rows, Table::Effect, |key, row| {
            let (_, command) = keys::parse_effect(key)?;
            // No log knows what a schedule hands over inside its commit.
            let by_schedule = LedgerRow::decode(row).is_ok_and(|row| row.effect.as_str() == COUNTED);
            if by_schedule || handed_over.contains(&command) {
                return None;
            }
            let asked = |(stream, subject): &(PlatformStream, String)| {
                let Some(Route::Effect { command: own, .. }) = Route::parse(subject) else { return false };
                own == command && harmless(stream, subject)
            };
            (!self.commands.contains(&command) && !departed.messages.iter().any(asked))
                .then(|| format!("{command} is in the ledger, and was never asked for"))
        })
    }

    /// What a projection node shows that the log does not say.
    #[must_use]
    pub fn contradicts_projection(
        &self,
        rows: Committed<'_>,
        broker: &Broker,
        now_ns: u64,
    ) -> Option<Violation> {
        let seen = Seen { node: NodeId::Projection, now_ns, was_draining: false, broker, rows };
        Views::new().compare_all(&seen).err()
    }

    /// A saga that waits for something that will never come, unless the disaster explains it.
    #[must_use]
    pub fn waits_in_vain(&self, rows: &Committed<'_>) -> Option<String> {
        let ledger: BTreeMap<CommandId, LedgerRow> = {
            let mut out = BTreeMap::new();
            each(rows, Table::Effect, |key, row| {
                let (_, command) = keys::parse_effect(key)?;
                out.insert(command, LedgerRow::decode(row).ok()?);
                None
            });
            out
        };
        each(rows, Table::Saga, |key, row| {
            let instance = Instance::decode(row).ok()?;
            if instance.status.is_final() {
                return None;
            }
            let (tenant, saga, correlation) = keys::parse_saga(key)?;
            let held = QuarantineKey::instance(&tenant, &saga, &correlation);
            if held.is_some_and(|held| Quarantine::find(rows, &held).ok().flatten().is_some()) {
                // Somebody is told: what the disaster brought again does not fit what its state is by now.
                return None;
            }
            if !instance.timers.is_empty() {
                let is_pending = |timer: &&PendingTimer| {
                    rows.get(Table::Timer, &keys::timer(&tenant, &timer.id)).ok().flatten().is_some()
                };
                // What is pending comes; a reminder that has left was lost with its log, and with it what should have
                // been before what is due much later.
                let lost =
                    instance.timers.iter().filter(|timer| !is_pending(timer)).map(|timer| timer.due).max();
                let comes = |timer: &&PendingTimer| {
                    lost.is_none_or(|lost| timer.due.as_ms() < lost.as_ms() + MUCH_LATER_MS)
                };
                let next = instance.timers.iter().filter(is_pending).find(comes);
                return next.map(|timer| format!("waits for {}: {instance:?}", timer.name));
            }
            let mut open = instance.works.iter().filter(|work| work.state == WorkState::InFlight).peekable();
            if open.peek().is_none() {
                // What was undone under it was refused, and its definition has no word for that: reconciling is the
                // runbook's. A saga begun afterwards is asked for its outcome by name.
                let refused = instance.works.iter().any(|work| work.state == WorkState::NotDone);
                return (!refused).then(|| format!("{instance:?}"));
            }
            let explained = open.any(|work| match ledger.get(&work.id).map(|row| &row.phase) {
                // What never was in a log was not lost with it.
                None | Some(Phase::Settled { .. }) if work.handed_over => false,
                None => !self.commands.contains(&work.id),
                Some(Phase::Settled { .. }) => !self.results.contains(&work.id),
                Some(Phase::Parked { .. }) => true,
                Some(Phase::Open | Phase::Started { .. }) => false,
            });
            (!explained).then(|| format!("{instance:?}"))
        })
    }
}

impl History {
    fn add(&mut self, subject: &str, message: &StoredMessage) {
        let (version, mut state) = match self.points.values().next_back() {
            Some((version, state)) => (*version, state.clone()),
            None => (0, Value::Null),
        };
        let headers = message.headers.to_headers();
        let Ok(decoded) = EventMessage::decode(subject, &headers, &message.payload, "oracle") else {
            return;
        };
        let app = shop();
        let Some(definition) = app.aggregates.get(&decoded.aggregate) else { return };
        if decoded.version != version + 1 {
            return;
        }
        if version == 0 {
            state = definition.initial_state.clone();
        }
        for (at, event) in decoded.events.iter().enumerate() {
            if decoded.refusal().is_some() {
                continue;
            }
            let seen = json!({
                "type": event.kind,
                "payload": event.payload,
                "version": decoded.version + at as u64,
            });
            let Some(program) = definition.events.get(&event.kind) else { return };
            let Ok(next) = contract::evolve(program, &state, &seen, &mut Gas::new(GAS_MAX_DEFAULT)) else {
                return;
            };
            state = next;
        }
        let version = decoded.last_version();
        if let Some(id) = decoded.command_id.clone().filter(|_| decoded.refusal().is_none()) {
            self.commands.insert(id, (message.seq, version));
        }
        self.points.insert(message.seq, (version, state));
    }
}

fn order_subject(order: &OrderPlan) -> String {
    let (tenant, id) = (order.tenant.clone(), order.id.clone());
    subject_of(&AggregateKey { tenant, kind: Name::parse("order").expect("a name"), id })
}

/// Effects that never were in a log.
fn handed_over(rows: &Committed<'_>) -> BTreeSet<CommandId> {
    let mut out = BTreeSet::new();
    each(rows, Table::Saga, |_, row| {
        let works = Instance::decode(row).ok()?.works;
        out.extend(works.into_iter().filter(|work| work.handed_over).map(|work| work.id));
        None
    });
    out
}

/// Whether the runner has applied a message of a workflow stream.
fn was_applied(rows: &Committed<'_>, subject: &str) -> bool {
    match Route::parse(subject) {
        Some(Route::Effect { tenant, command, .. }) => {
            rows.get(Table::Effect, &keys::effect(&tenant, &command)).ok().flatten().is_some()
        }
        // What a schedule asks for is no saga's.
        Some(Route::EffectResult { effect, command, .. }) if effect.as_str() == COUNTED => {
            let runs = each(rows, Table::Recurring, |_, row| {
                let running = recurring::Row::decode(row)?.running;
                (running == Some(Running::Work { id: command.clone() })).then(|| format!("{command} runs"))
            });
            runs.is_none()
        }
        Some(Route::EffectResult { command, .. }) => {
            let ended = each(rows, Table::Saga, |_, row| {
                let instance = Instance::decode(row).ok()?;
                let mut works = instance.works.iter();
                works
                    .any(|work| work.id == command && work.state != WorkState::InFlight)
                    .then(|| format!("{command} ended"))
            });
            ended.is_some()
        }
        Some(Route::WorkflowEvent { id, .. }) => {
            let waits = each(rows, Table::Saga, |_, row| {
                let instance = Instance::decode(row).ok()?;
                instance.timers.iter().any(|timer| timer.id == id).then(|| format!("waits for {id}"))
            });
            waits.is_none()
        }
        Some(Route::Aggregate { .. }) | None => false,
    }
}

/// The first row that something is wrong with.
fn each(
    rows: &Committed<'_>,
    table: Table,
    mut wrong: impl FnMut(&[u8], &[u8]) -> Option<String>,
) -> Option<String> {
    let mut found = None;
    let scanned = rows.scan(table, b"", &mut |key, row| match wrong(key, row) {
        Some(what) => {
            found = Some(format!("{table} {}: {what}", String::from_utf8_lossy(key)));
            ControlFlow::Break(())
        }
        None => ControlFlow::Continue(()),
    });
    found.or_else(|| scanned.err().map(|fault| fault.to_string()))
}
