//! The true logs: every message that the broker stores, folded as it comes.

use super::Violation;
use crate::app::shop;
use cloudlysis_core::aggregate::AggregateKey;
use cloudlysis_core::jetstream::StoredMessage;
use cloudlysis_core::program::contract;
use cloudlysis_core::program::{GAS_MAX_DEFAULT, Gas};
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::headers::TENANT_ID;
use cloudlysis_core::wire::id::CommandId;
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Halt, Invariant};
use cloudlysis_io_sim::broker::Broker;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Something that a person put into a stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Injected {
    /// A stored message once more.
    Again,
    /// What nobody can read.
    Poison,
}

impl Injected {
    /// The header that tells the oracles; nobody else looks at it.
    #[must_use]
    pub const fn header(self) -> &'static str {
        match self {
            Self::Again => "sim-again",
            Self::Poison => "sim-poison",
        }
    }

    fn of(message: &StoredMessage) -> Option<Self> {
        [Self::Again, Self::Poison].into_iter().find(|what| message.headers.get(what.header()).is_some())
    }
}

/// An aggregate after one message.
#[derive(Clone, PartialEq, Debug)]
pub struct Point {
    /// The message.
    pub seq: u64,
    /// Events so far.
    pub version: u64,
    /// What they made of the initial state.
    pub state: Value,
}

/// An aggregate's true history.
#[derive(Clone, PartialEq, Debug)]
pub struct History {
    /// Which aggregate.
    pub key: AggregateKey,
    /// One for the beginning, and one for every message.
    pub points: Vec<Point>,
    /// Where the events of each command are: sequence, and the version after them.
    pub commands: BTreeMap<CommandId, (u64, u64)>,
    /// Where the refusals that are recorded are.
    pub refused: BTreeMap<CommandId, u64>,
    /// From here on nobody can read it.
    pub poisoned_at: Option<u64>,
}

/// The true logs.
#[derive(Clone, Debug, Default)]
pub struct Logs {
    histories: BTreeMap<String, History>,
    /// Row key of an aggregate → its subject.
    aggregate_rows: BTreeMap<Vec<u8>, String>,
    /// Row key of a command → where its events are.
    command_rows: BTreeMap<Vec<u8>, (u64, u64)>,
    /// Messages of the workflow streams by subject, those of people not counted.
    workflow: BTreeMap<(PlatformStream, String), u64>,
    injected: BTreeMap<(PlatformStream, u64), (Injected, String)>,
    last: BTreeMap<PlatformStream, u64>,
    last_of_kind: BTreeMap<String, u64>,
}

fn broken(invariant: Invariant, detail: String) -> Violation {
    Violation::new(invariant, detail)
}

impl Logs {
    pub(super) fn on_published(&mut self, broker: &Broker) -> Result<(), Violation> {
        for stream in PlatformStream::ALL {
            let from = self.last_seq(stream, None) + 1;
            let messages =
                broker.log(stream.name(), from).map_err(|halt: Halt| Violation::of_broker(&halt, 0))?;
            for message in messages {
                self.last.insert(stream, message.seq);
                self.on_stored(stream, &message)?;
            }
        }
        Ok(())
    }

    fn on_stored(&mut self, stream: PlatformStream, message: &StoredMessage) -> Result<(), Violation> {
        let subject = message.subject.to_string();
        if let Some(Route::Aggregate { kind, .. }) = Route::parse(&subject) {
            self.last_of_kind.insert(kind.to_string(), message.seq);
        }
        if let Some(what) = Injected::of(message) {
            self.injected.insert((stream, message.seq), (what, subject.clone()));
            if let Some(history) = self.histories.get_mut(&subject) {
                match what {
                    Injected::Poison => history.poisoned_at = history.poisoned_at.or(Some(message.seq)),
                    Injected::Again => {
                        let again = Point { seq: message.seq, ..last_point(history).clone() };
                        history.points.push(again);
                    }
                }
            }
            return Ok(());
        }
        let in_header = message.headers.text(TENANT_ID).unwrap_or_default();
        let in_subject = Route::parse(&subject).map(|route| route.tenant().token()).unwrap_or_default();
        if in_header != in_subject {
            let detail = format!("{subject}: header says {in_header:?}, subject {in_subject:?}");
            return Err(broken(Invariant::Ten1, detail));
        }
        match stream {
            PlatformStream::AggregateEvents => self.on_events(message, &subject),
            PlatformStream::WorkflowCommands | PlatformStream::WorkflowEvents => {
                match self.workflow.insert((stream, subject.clone()), message.seq) {
                    None => Ok(()),
                    Some(earlier) => {
                        let detail =
                            format!("{subject} was stored at {earlier} and again at {}", message.seq);
                        Err(broken(Invariant::Once1, detail))
                    }
                }
            }
        }
    }

    fn on_events(&mut self, message: &StoredMessage, subject: &str) -> Result<(), Violation> {
        let decoded =
            EventMessage::decode(subject, &message.headers.to_headers(), &message.payload, "oracle")
                .map_err(|error| broken(Invariant::Wir2, format!("stored at {}: {error}", message.seq)))?;
        let app = shop();
        let definition = app.aggregates.get(&decoded.aggregate).ok_or_else(|| {
            broken(Invariant::Agg1, format!("{subject}: no aggregate {}", decoded.aggregate))
        })?;
        let history = self.histories.entry(subject.to_owned()).or_insert_with(|| History {
            key: AggregateKey {
                tenant: decoded.tenant.clone(),
                kind: decoded.aggregate.clone(),
                id: decoded.id.clone(),
            },
            points: vec![Point { seq: 0, version: 0, state: definition.initial_state.clone() }],
            commands: BTreeMap::new(),
            refused: BTreeMap::new(),
            poisoned_at: None,
        });
        let mut point = last_point(history).clone();
        if decoded.version != point.version + 1 {
            let detail = format!(
                "{subject}: version {} was stored at {} after version {}",
                decoded.version, message.seq, point.version
            );
            return Err(broken(Invariant::Agg1, detail));
        }
        for event in &decoded.events {
            point.version += 1;
            if decoded.refusal().is_some() {
                continue;
            }
            let seen = json!({ "type": event.kind, "payload": event.payload, "version": point.version });
            let program = definition.events.get(&event.kind).ok_or_else(|| {
                broken(Invariant::Agg1, format!("{subject}: event {} is not declared", event.kind))
            })?;
            point.state = contract::evolve(program, &point.state, &seen, &mut Gas::new(GAS_MAX_DEFAULT))
                .map_err(|error| broken(Invariant::Agg1, format!("{subject}: {error}")))?;
        }
        point.seq = message.seq;
        let place = (message.seq, point.version);
        history.points.push(point);
        let key = history.key.clone();
        let Some(command_id) = decoded.command_id.clone() else { return Ok(()) };
        self.aggregate_rows.insert(keys::aggregate(&key.tenant, &key.kind, &key.id), subject.to_owned());
        let accepted_at = history.commands.get(&command_id).map(|(seq, _)| *seq);
        if let Some(earlier) = accepted_at.or_else(|| history.refused.get(&command_id).copied()) {
            let detail =
                format!("{subject}: command {command_id} has outcomes at {earlier} and at {}", message.seq);
            return Err(broken(Invariant::Agg2, detail));
        }
        if decoded.refusal().is_some() {
            history.refused.insert(command_id, message.seq);
            return Ok(());
        }
        history.commands.insert(command_id.clone(), place);
        self.command_rows.insert(keys::command(&key.tenant, &key.kind, &key.id, &command_id), place);
        Ok(())
    }

    /// An aggregate's history by subject.
    #[must_use]
    pub fn history(&self, subject: &str) -> Option<&History> {
        self.histories.get(subject)
    }

    /// All histories.
    pub fn histories(&self) -> impl Iterator<Item = &History> {
        self.histories.values()
    }

    /// An aggregate's history by row key.
    #[must_use]
    pub fn history_of_row(&self, key: &[u8]) -> Option<&History> {
        self.histories.get(self.aggregate_rows.get(key)?)
    }

    /// Where the events of a command are, by row key.
    #[must_use]
    pub fn command_of_row(&self, key: &[u8]) -> Option<(u64, u64)> {
        self.command_rows.get(key).copied()
    }

    /// Whether a workflow stream holds a message on a subject.
    #[must_use]
    pub fn holds(&self, stream: PlatformStream, subject: &str) -> bool {
        self.workflow.contains_key(&(stream, subject.to_owned()))
    }

    /// The effect commands that were stored.
    pub fn effect_commands(&self) -> impl Iterator<Item = &str> {
        self.workflow
            .keys()
            .filter(|(stream, _)| *stream == PlatformStream::WorkflowCommands)
            .map(|(_, subject)| subject.as_str())
    }

    /// What a person put at a sequence, and under which subject.
    #[must_use]
    pub fn injected(&self, stream: PlatformStream, seq: u64) -> Option<&(Injected, String)> {
        self.injected.get(&(stream, seq))
    }

    /// Whether a person put garbage under a subject.
    #[must_use]
    pub fn is_poisoned(&self, subject: &str) -> bool {
        self.injected.values().any(|(what, own)| *what == Injected::Poison && own == subject)
    }

    /// The last sequence of a stream, or of the events of one type of aggregates.
    #[must_use]
    pub fn last_seq(&self, stream: PlatformStream, kind: Option<&str>) -> u64 {
        match kind {
            None => self.last.get(&stream).copied().unwrap_or(0),
            Some(kind) => self.last_of_kind.get(kind).copied().unwrap_or(0),
        }
    }
}

fn last_point(history: &History) -> &Point {
    history.points.last().expect("a history begins with a point")
}

/// The subject of an aggregate's events.
#[must_use]
pub fn subject_of(key: &AggregateKey) -> String {
    let AggregateKey { tenant, kind, id } = key.clone();
    Route::Aggregate { tenant, kind, id }.subject().to_string()
}
