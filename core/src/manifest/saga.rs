//! `sagas/*.yaml`: what belongs together, what to do next, and how to undo it.
//!
//! ```yaml
//! saga: checkout
//! correlate:                               # which instance an event belongs to
//!   order.order_placed: event.aggregate_id
//! starts_on: [order.order_placed]
//! on_event:                                # {state, event} → {state, work, complete | compensate}
//!   order.order_placed:
//!     work:
//!       - name: reserve
//!         command: { aggregate: stock, id: = event.payload.sku, name: reserve, payload: { qty: 1 } }
//!   reserve.accepted:
//!     work: [{ name: charge, effect: { name: charge_card, payload: {} } }]
//!   reserve.refused: { compensate: true }
//!   charge.succeeded: { complete: true }
//!   charge.failed: { compensate: true }
//! compensation:                            # what undoes a work item that was done, or may have been
//!   reserve:
//!     work: [{ name: release, command: { aggregate: stock, id: = state.sku, name: release } }]
//! ```
//!
//! A program may be [native](super::native) Rust instead. `work.accepted` and `work.refused` answer commands; `work.succeeded` and `work.failed` answer effects; timers and
//! signals are in [`timer`]. `schedule.nightly` is an occurrence of that [schedule](super::schedule), which says itself
//! which instance it is for; a saga that nothing else starts needs no `correlate`.

use super::native::{self, ASKS, SagaProgram};
use super::projection::event_key;
use super::reader::{Fields, Reader};
use super::timer::{self, FIRED, SIGNAL};
use super::yaml::{Key, Node, Span, Yaml};
use crate::program::Natives;
use crate::program::contract::{COMPENSATION, ON_EVENT};
use crate::program::dag::Expression;
use crate::wire::id::{Name, derive_hex};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What a saga reacts to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trigger {
    /// An event of an aggregate.
    Event {
        /// The aggregate type.
        aggregate: Name,
        /// The event type.
        event: Name,
    },
    /// The end of one of its own work items.
    Work {
        /// The work item.
        work: Name,
        /// How it ended.
        outcome: WorkOutcome,
    },
    /// One of its own timers fired.
    Timer {
        /// The timer.
        timer: Name,
    },
    /// A signal from outside.
    Signal {
        /// The signal.
        signal: Name,
    },
    /// An occurrence of a schedule.
    Schedule {
        /// The schedule.
        schedule: Name,
    },
}

/// What the trigger of a schedule begins with: `schedule.nightly`.
const SCHEDULE: &str = "schedule";

/// How a work item ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkOutcome {
    /// An aggregate accepted the command.
    Accepted,
    /// An aggregate refused the command.
    Refused,
    /// The effect was done.
    Succeeded,
    /// The effect was definitely refused.
    Failed,
}

impl WorkOutcome {
    /// As manifests and events spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Accepted, Self::Refused, Self::Succeeded, Self::Failed]
            .into_iter()
            .find(|outcome| outcome.as_str() == text)
    }

    /// Whether the work was done.
    #[must_use]
    pub const fn is_done(self) -> bool {
        match self {
            Self::Accepted | Self::Succeeded => true,
            Self::Refused | Self::Failed => false,
        }
    }
}

/// What kind of work an item is; decides which outcomes it can have.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WorkKind {
    /// A command for this aggregate type.
    Command {
        /// The aggregate type.
        aggregate: Name,
        /// The command.
        command: Name,
    },
    /// This effect.
    Effect {
        /// The effect.
        effect: Name,
    },
}

/// A saga.
#[derive(Clone, PartialEq, Debug)]
pub struct SagaDef {
    /// Its name.
    pub name: Name,
    /// Which instance an aggregate event belongs to.
    pub correlate: BTreeMap<(Name, Name), Expression>,
    /// Which aggregate events may begin an instance.
    pub starts_on: BTreeSet<(Name, Name)>,
    /// Whose occurrences may begin an instance.
    pub starts_on_schedules: BTreeSet<Name>,
    /// What to do.
    pub on_event: BTreeMap<Trigger, SagaProgram>,
    /// How to undo, by work item.
    pub compensation: BTreeMap<Name, SagaProgram>,
    /// The manifest as JSON, without positions and comments: what is kept for instances that began under it.
    pub canonical: String,
    /// Changes when that does; recorded with every instance.
    pub hash: String,
    /// Every work item it may ask for, and where.
    pub(super) works: BTreeMap<Name, (WorkKind, Span)>,
}

impl SagaDef {
    pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut fields = Fields::of(node, "saga", reader);
        let name = fields.required("saga", reader).and_then(|name| reader.name(name));
        let correlate_node = fields.optional("correlate");
        let starts_node = fields.required("starts_on", reader);
        let on_event_node = fields.required("on_event", reader);
        let compensation_node = fields.optional("compensation");
        fields.finish(reader);

        let mut works = BTreeMap::new();
        for section in on_event_node.into_iter().chain(compensation_node) {
            for (_, program) in reader.entries(section) {
                collect_works(program, &mut works, reader);
            }
        }
        let mut timers = BTreeMap::new();
        let programs = on_event_node.map(|node| reader.entries(node)).unwrap_or_default();
        for (_, program) in programs {
            timer::collect(program, &mut timers, reader);
            native::timers_set(program, &mut timers, reader);
        }
        for (_, program) in programs {
            timer::check_cancelled(program, &timers, reader);
        }
        let mut correlate = BTreeMap::new();
        for (key, source) in correlate_node.map(|node| reader.entries(node)).unwrap_or_default() {
            match (event_key(&key.text), Expression::compile(source, &["event"], reader)) {
                (Some(trigger), Some(expression)) => {
                    correlate.insert(trigger, expression);
                }
                (None, _) => reader.fault(key.span, format!("`{}` is not `aggregate.event`", key.text), None),
                (Some(_), None) => {}
            }
        }
        let mut starts_on = BTreeSet::new();
        let mut starts_on_schedules = BTreeMap::new();
        for item in starts_node.map(|node| reader.items(node)).unwrap_or_default() {
            let Some(text) = reader.text(item) else { continue };
            match event_key(&text) {
                Some(trigger) if correlate.contains_key(&trigger) => {
                    starts_on.insert(trigger);
                }
                Some((first, schedule)) if first.as_str() == SCHEDULE => {
                    starts_on_schedules.insert(schedule, item.span);
                }
                _ => {
                    let help = "list it under `correlate`, with the expression that names the instance";
                    reader.fault(item.span, format!("`{text}` is not correlated"), Some(help.into()));
                }
            }
        }
        let mut on_event = BTreeMap::new();
        for (key, program) in on_event_node.map(|node| reader.entries(node)).unwrap_or_default() {
            let compiled = SagaProgram::read(program, ON_EVENT, reader);
            if let Some(trigger) =
                read_trigger(key, &Known { works: &works, timers: &timers, correlate: &correlate }, reader)
            {
                on_event.extend(compiled.map(|compiled| (trigger, compiled)));
            }
        }
        for (name, span) in &timers {
            if !on_event.contains_key(&Trigger::Timer { timer: name.clone() }) {
                let help = format!("say what to do under `{name}.{FIRED}`");
                reader.fault(*span, format!("nothing reacts to timer `{name}`"), Some(help));
            }
        }
        for (schedule, span) in &starts_on_schedules {
            if !on_event.contains_key(&Trigger::Schedule { schedule: schedule.clone() }) {
                let help = format!("say what to do under `{SCHEDULE}.{schedule}`");
                reader.fault(*span, format!("nothing reacts to schedule `{schedule}`"), Some(help));
            }
        }
        let mut compensation = BTreeMap::new();
        for (key, program) in compensation_node.map(|node| reader.entries(node)).unwrap_or_default() {
            let compiled = SagaProgram::read(program, COMPENSATION, reader);
            let Some(work) = reader.key_name(key) else { continue };
            if !works.contains_key(&work) {
                unknown_work(key, &works, reader);
            }
            compensation.extend(compiled.map(|compiled| (work, compiled)));
        }
        let canonical = node.to_json().to_string();
        let hash = derive_hex(&["saga", &canonical]);
        let starts_on_schedules = starts_on_schedules.into_keys().collect();
        let name = name?;
        Some(Self {
            name,
            correlate,
            starts_on,
            starts_on_schedules,
            on_event,
            compensation,
            canonical,
            hash,
            works,
        })
    }

    /// Reads back what is kept of a definition ([`canonical`](Self::canonical)).
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn of_canonical(json: &str, natives: &Natives) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut faults = Vec::new();
        let reader = Reader::new("what is kept of a saga", &mut faults);
        let read = Self::read(&Node::of_json(&value), &mut reader.with_natives(natives));
        match (faults.first(), read) {
            (None, Some(read)) => Ok(read),
            (Some(fault), _) => Err(fault.message.clone()),
            (None, None) => Err("it is no saga".to_owned()),
        }
    }

    /// The aggregate types it listens to, each once.
    #[must_use]
    pub fn aggregates(&self) -> Vec<Name> {
        let mut kinds: Vec<Name> = self.correlate.keys().map(|(kind, _)| kind.clone()).collect();
        kinds.dedup();
        kinds
    }

    /// The effects it may ask for, each once.
    #[must_use]
    pub fn effects(&self) -> BTreeSet<Name> {
        self.works
            .values()
            .filter_map(|(kind, _)| match kind {
                WorkKind::Effect { effect } => Some(effect.clone()),
                WorkKind::Command { .. } => None,
            })
            .collect()
    }
}

fn unknown_work(key: &Key, works: &BTreeMap<Name, (WorkKind, Span)>, reader: &mut Reader<'_>) {
    let help = super::suggest::closest(&key.text, works.keys().map(Name::as_str))
        .map(|close| format!("did you mean `{close}`?"));
    reader.fault(key.span, format!("no case asks for work named `{}`", key.text), help);
}

/// What a saga can react to.
struct Known<'s> {
    works: &'s BTreeMap<Name, (WorkKind, Span)>,
    timers: &'s BTreeMap<Name, Span>,
    correlate: &'s BTreeMap<(Name, Name), Expression>,
}

fn read_trigger(key: &Key, known: &Known<'_>, reader: &mut Reader<'_>) -> Option<Trigger> {
    let Known { works, timers, correlate } = known;
    let Some((first, second)) = event_key(&key.text) else {
        let message = format!(
            "`{}` is neither `aggregate.event`, `work.outcome`, `timer.{FIRED}`, `{SIGNAL}.name` nor \
             `{SCHEDULE}.name`",
            key.text
        );
        reader.fault(key.span, message, None);
        return None;
    };
    if first.as_str() == SIGNAL {
        return Some(Trigger::Signal { signal: second });
    }
    if first.as_str() == SCHEDULE && !correlate.contains_key(&(first.clone(), second.clone())) {
        return Some(Trigger::Schedule { schedule: second });
    }
    if second.as_str() == FIRED && !correlate.contains_key(&(first.clone(), second.clone())) {
        if !timers.contains_key(&first) {
            timer::unknown(&first, key.span, timers, reader);
            return None;
        }
        return Some(Trigger::Timer { timer: first });
    }
    if let Some((kind, _)) = works.get(&first) {
        let allowed: [WorkOutcome; 2] = match kind {
            WorkKind::Command { .. } => [WorkOutcome::Accepted, WorkOutcome::Refused],
            WorkKind::Effect { .. } => [WorkOutcome::Succeeded, WorkOutcome::Failed],
        };
        let outcome = WorkOutcome::parse(second.as_str()).filter(|outcome| allowed.contains(outcome));
        if outcome.is_none() {
            let help = format!("`{first}` ends `{}` or `{}`", allowed[0].as_str(), allowed[1].as_str());
            reader.fault(key.span, format!("work `{first}` has no outcome `{second}`"), Some(help));
        }
        return Some(Trigger::Work { work: first, outcome: outcome? });
    }
    if WorkOutcome::parse(second.as_str()).is_some() {
        unknown_work(&Key { text: first.to_string(), span: key.span }, works, reader);
        return None;
    }
    if !correlate.contains_key(&(first.clone(), second.clone())) {
        let help = "list it under `correlate`, with the expression that names the instance".to_owned();
        reader.fault(key.span, format!("`{}` is not correlated", key.text), Some(help));
        return None;
    }
    Some(Trigger::Event { aggregate: first, event: second })
}

/// Finds the work items of a program's `work` sections. Names are literal: that is what makes a saga checkable.
fn collect_works(program: &Node, out: &mut BTreeMap<Name, (WorkKind, Span)>, reader: &mut Reader<'_>) {
    match &program.value {
        Yaml::List(cases) => cases.iter().for_each(|case| collect_works(case, out, reader)),
        Yaml::Map(entries) => {
            for (key, value) in entries {
                match key.text.as_str() {
                    "cases" => collect_works(value, out, reader),
                    "work" => {
                        for item in reader.items(value) {
                            let work = read_work(item, Item::Written, reader);
                            declare(work, item.span, out, reader);
                        }
                    }
                    ASKS => {
                        for item in reader.items(value) {
                            // Its faults are told where the program itself is read.
                            let mut faults = Vec::new();
                            let ask = read_work(item, Item::Declared, &mut Reader::new("", &mut faults));
                            declare(ask, item.span, out, reader);
                        }
                    }
                    _ => {}
                }
            }
        }
        Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => {}
    }
}

/// Whether a work item is written out, or only said to be possible.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Item {
    Written,
    Declared,
}

pub(super) fn read_work(item: &Node, form: Item, reader: &mut Reader<'_>) -> Option<(Name, WorkKind)> {
    let is_written = form == Item::Written;
    let mut fields = Fields::of(item, "work item", reader);
    if is_written {
        fields.optional("if");
    }
    let name = fields.required("name", reader).and_then(|node| reader.name(node));
    let command = fields.optional("command");
    let effect = fields.optional("effect");
    fields.finish(reader);
    let kind = match (command, effect) {
        (Some(node), None) => {
            let mut fields = Fields::of(node, "command of a work item", reader);
            let aggregate = fields.required("aggregate", reader).and_then(|node| reader.name(node));
            let command = fields.required("name", reader).and_then(|node| reader.name(node));
            if is_written {
                fields.required("id", reader);
                fields.optional("payload");
            }
            fields.finish(reader);
            aggregate.zip(command).map(|(aggregate, command)| WorkKind::Command { aggregate, command })
        }
        (None, Some(node)) => {
            let mut fields = Fields::of(node, "effect of a work item", reader);
            let effect = fields.required("name", reader).and_then(|node| reader.name(node));
            if is_written {
                fields.optional("payload");
            }
            fields.finish(reader);
            effect.map(|effect| WorkKind::Effect { effect })
        }
        (None, None) | (Some(_), Some(_)) => {
            reader.fault(item.span, "a work item has either a `command` or an `effect`".into(), None);
            None
        }
    };
    name.zip(kind)
}

/// A name stands for one kind of work in a saga.
fn declare(
    work: Option<(Name, WorkKind)>,
    span: Span,
    out: &mut BTreeMap<Name, (WorkKind, Span)>,
    reader: &mut Reader<'_>,
) {
    if let Some((name, kind)) = work {
        match out.get(&name) {
            Some((known, _)) if *known != kind => {
                let message = format!("work `{name}` is something else elsewhere in this saga");
                reader.fault(span, message, Some("give it a name of its own".into()));
            }
            _ => {
                out.insert(name, (kind, span));
            }
        }
    }
}
