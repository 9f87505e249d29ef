//! The definitions of an application by kind, and what they say of each other.
//!
//! What is wrong with a file is told there, and not once more by everything that names what it defines: whatever a file
//! would define counts as known.

use super::aggregate::AggregateDef;
use super::app::SourceFile;
use super::diagnostic::Diagnostic;
use super::effect::EffectDef;
use super::egress::{self, Egress};
use super::projection::ProjectionDef;
use super::reader::Reader;
use super::saga::{SagaDef, Trigger, WorkKind};
use super::schedule::{ROWS_MAX, ScheduleDef, ScheduleTarget};
use super::suggest::closest;
use super::yaml::{Node, Span, Yaml, first_of};
use crate::wire::id::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Definitions of one kind, each with the file it came from.
pub(super) struct Kind<D> {
    /// What the field with the name is called.
    word: &'static str,
    read: fn(&Node, &mut Reader<'_>) -> Option<D>,
    name: fn(&D) -> &Name,
    defs: BTreeMap<Name, (String, Node, D)>,
    /// Names that files with faults would define.
    missed: BTreeSet<String>,
}

impl<D> Kind<D> {
    const fn new(
        word: &'static str,
        read: fn(&Node, &mut Reader<'_>) -> Option<D>,
        name: fn(&D) -> &Name,
    ) -> Self {
        Self { word, read, name, defs: BTreeMap::new(), missed: BTreeSet::new() }
    }

    /// Takes in what a file defines, or at least its name.
    fn add(&mut self, file: &SourceFile, node: Node, reader: &mut Reader<'_>) {
        let Some(def) = (self.read)(&node, reader) else { return self.miss(file) };
        let name = (self.name)(&def).clone();
        if let Some((other, _, _)) = self.defs.get(&name) {
            reader.fault(first_of(&node), format!("`{name}` is already defined in {other}"), None);
            return;
        }
        self.defs.insert(name, (file.path.clone(), node, def));
    }

    /// A file that nothing could be made of: it is called as what it defines, or a line says the name.
    fn miss(&mut self, file: &SourceFile) {
        let stem = file.path.rsplit('/').next().and_then(|name| name.split('.').next());
        let named =
            file.text.lines().find_map(|line| line.strip_prefix(self.word)?.trim_start().strip_prefix(':'));
        let named = named.and_then(|rest| rest.split_whitespace().next());
        let names = stem.into_iter().chain(named.map(|name| name.trim_matches(['"', '\''])));
        self.missed.extend(names.map(str::to_owned));
    }

    fn get(&self, name: &Name) -> Option<&D> {
        self.defs.get(name).map(|(_, _, def)| def)
    }

    /// Faults a name that nothing here has, nor a file with faults.
    fn unknown(&self, name: &Name, span: Span, reader: &mut Reader<'_>) {
        if !self.missed.contains(name.as_str()) {
            unknown(self.word, name, self.defs.keys(), span, reader);
        }
    }

    pub(super) fn into_defs(self) -> BTreeMap<Name, Arc<D>> {
        self.defs.into_iter().map(|(name, (_, _, def))| (name, Arc::new(def))).collect()
    }
}

/// All of them.
pub(super) struct Parts {
    pub(super) aggregates: Kind<AggregateDef>,
    pub(super) projections: Kind<ProjectionDef>,
    pub(super) sagas: Kind<SagaDef>,
    pub(super) effects: Kind<EffectDef>,
    pub(super) schedules: Kind<ScheduleDef>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            aggregates: Kind::new("aggregate", AggregateDef::read, |def| &def.name),
            projections: Kind::new("projection", ProjectionDef::read, |def| &def.name),
            sagas: Kind::new("saga", SagaDef::read, |def| &def.name),
            effects: Kind::new("effect", EffectDef::read, |def| &def.name),
            schedules: Kind::new("schedule", ScheduleDef::read, |def| &def.name),
        }
    }
}

impl Parts {
    /// Reads a file as what its folder says.
    pub(super) fn read(&mut self, file: &SourceFile, node: Node, reader: &mut Reader<'_>) {
        match folder(file) {
            "aggregates" => self.aggregates.add(file, node, reader),
            "projections" => self.projections.add(file, node, reader),
            "sagas" => self.sagas.add(file, node, reader),
            "effects" => self.effects.add(file, node, reader),
            "schedules" => self.schedules.add(file, node, reader),
            folder => {
                let help =
                    "manifests live in aggregates/, projections/, sagas/, schedules/ and effects/".to_owned();
                reader.fault(Span::default(), format!("nothing is read from `{folder}`"), Some(help));
            }
        }
    }

    /// Notes that a file could not be read.
    pub(super) fn miss(&mut self, file: &SourceFile) {
        match folder(file) {
            "aggregates" => self.aggregates.miss(file),
            "projections" => self.projections.miss(file),
            "sagas" => self.sagas.miss(file),
            "effects" => self.effects.miss(file),
            "schedules" => self.schedules.miss(file),
            _ => {}
        }
    }

    /// References across files.
    pub(super) fn resolve(&self, egress: Option<&Egress>, faults: &mut Vec<Diagnostic>) {
        for (file, node, def) in self.projections.defs.values() {
            let mut reader = Reader::new(file, faults);
            for (aggregate, event) in def.on.keys() {
                self.event(aggregate, event, key_span(node, "on", aggregate, event), &mut reader);
            }
        }
        for (file, node, def) in self.sagas.defs.values() {
            let mut reader = Reader::new(file, faults);
            for (aggregate, event) in def.correlate.keys() {
                self.event(aggregate, event, key_span(node, "correlate", aggregate, event), &mut reader);
            }
            for trigger in def.on_event.keys() {
                match trigger {
                    Trigger::Event { aggregate, event } => {
                        let span = key_span(node, "on_event", aggregate, event);
                        self.event(aggregate, event, span, &mut reader);
                    }
                    Trigger::Schedule { schedule } => {
                        let word = Name::parse("schedule").expect("a name");
                        let span = key_span(node, "on_event", &word, schedule);
                        self.schedule_of(&def.name, schedule, span, &mut reader);
                    }
                    Trigger::Work { .. } | Trigger::Timer { .. } | Trigger::Signal { .. } => {}
                }
            }
            for (work, (kind, span)) in &def.works {
                self.work(work, kind, *span, &mut reader);
            }
        }
        self.resolve_schedules(faults);
        if let Some(egress) = egress {
            self.resolve_calls(egress, faults);
        }
    }

    /// A call whose target is known beforehand must be allowed: else it is refused each time, which sagas take for a no.
    fn resolve_calls(&self, egress: &Egress, faults: &mut Vec<Diagnostic>) {
        for (file, node, def) in self.effects.defs.values() {
            let Some(target) = def.target() else { continue };
            let allowed = match target.strip_prefix(egress::NATS) {
                Some(subject) => egress.allows_subject(subject),
                None => egress.allows_target(&target),
            };
            if !allowed {
                let message =
                    format!("`{target}` is not in `egress` of app.yaml, so every call would be refused");
                let help = format!("it allows {egress}");
                Reader::new(file, faults).fault(target_span(node), message, Some(help));
            }
        }
    }

    fn resolve_schedules(&self, faults: &mut Vec<Diagnostic>) {
        let mut rows = 0;
        for (file, node, def) in self.schedules.defs.values() {
            let mut reader = Reader::new(file, faults);
            rows += def.tenants.len();
            if rows > ROWS_MAX {
                let message = format!("schedules fire for more than {ROWS_MAX} tenants, added up");
                reader.fault(field_span(node, "tenants"), message, None);
            }
            match &def.target {
                ScheduleTarget::Saga { saga, .. } => self.saga_of(&def.name, saga, node, &mut reader),
                ScheduleTarget::Command { aggregate, command, .. } => {
                    self.command(aggregate, command, field_span(node, "command"), &mut reader);
                }
                ScheduleTarget::Effect { effect, .. } => {
                    self.effect(effect, field_span(node, "effect"), &mut reader);
                }
            }
        }
    }

    /// The saga that a schedule names must react to it.
    fn saga_of(&self, schedule: &Name, saga: &Name, node: &Node, reader: &mut Reader<'_>) {
        let span = field_span(node, "saga");
        let Some(def) = self.sagas.get(saga) else {
            return self.sagas.unknown(saga, span, reader);
        };
        if !def.on_event.contains_key(&Trigger::Schedule { schedule: schedule.clone() }) {
            let help = format!("say what to do under `schedule.{schedule}` of its `on_event`");
            reader.fault(span, format!("saga `{saga}` does not react to schedule `{schedule}`"), Some(help));
        }
    }

    /// The schedule that a saga reacts to must name it.
    fn schedule_of(&self, saga: &Name, schedule: &Name, span: Span, reader: &mut Reader<'_>) {
        let Some(def) = self.schedules.get(schedule) else {
            return self.schedules.unknown(schedule, span, reader);
        };
        if !matches!(&def.target, ScheduleTarget::Saga { saga: named, .. } if named == saga) {
            let help = format!("give it `saga: {{ name: {saga} }}`");
            reader.fault(span, format!("schedule `{schedule}` is not for saga `{saga}`"), Some(help));
        }
    }

    fn command(&self, aggregate: &Name, command: &Name, span: Span, reader: &mut Reader<'_>) {
        match self.aggregates.get(aggregate) {
            Some(def) if !def.commands.contains_key(command) => {
                unknown(&format!("command of `{aggregate}`"), command, def.commands.keys(), span, reader);
            }
            Some(_) => {}
            None => self.aggregates.unknown(aggregate, span, reader),
        }
    }

    fn effect(&self, effect: &Name, span: Span, reader: &mut Reader<'_>) {
        if self.effects.get(effect).is_none() {
            self.effects.unknown(effect, span, reader);
        }
    }

    fn event(&self, aggregate: &Name, event: &Name, span: Span, reader: &mut Reader<'_>) {
        let Some(def) = self.aggregates.get(aggregate) else {
            return self.aggregates.unknown(aggregate, span, reader);
        };
        if !def.events.contains_key(event) {
            unknown(&format!("event of `{aggregate}`"), event, def.events.keys(), span, reader);
        }
    }

    fn work(&self, work: &Name, kind: &WorkKind, span: Span, reader: &mut Reader<'_>) {
        if self.aggregates.get(work).is_some() {
            let message =
                format!("work `{work}` has the name of an aggregate: its outcomes would read as events");
            reader.fault(span, message, Some("give it a name of its own".into()));
        }
        match kind {
            WorkKind::Command { aggregate, command } => self.command(aggregate, command, span, reader),
            WorkKind::Effect { effect } => self.effect(effect, span, reader),
        }
    }
}

fn unknown<'k>(
    what: &str,
    name: &Name,
    known: impl Iterator<Item = &'k Name>,
    span: Span,
    reader: &mut Reader<'_>,
) {
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let help = match closest(name.as_str(), known.iter().copied()) {
        Some(close) => format!("did you mean `{close}`?"),
        None => format!("known: {}", known.join(", ")),
    };
    reader.fault(span, format!("unknown {what} `{name}`"), Some(help));
}

/// The folder a file is in.
fn folder(file: &SourceFile) -> &str {
    file.path.split('/').next().unwrap_or_default()
}

/// Where an effect says whom it calls.
fn target_span(node: &Node) -> Span {
    let Yaml::Map(fields) = &node.value else { return node.span };
    let http = fields.iter().find(|(key, _)| key.text == "http").map(|(_, http)| field_span(http, "url"));
    let nats = fields.iter().find(|(key, _)| key.text == "nats").map(|(_, nats)| field_span(nats, "subject"));
    http.or(nats).unwrap_or(node.span)
}

/// Where the value of a field stands.
fn field_span(node: &Node, field: &str) -> Span {
    let Yaml::Map(fields) = &node.value else { return node.span };
    fields.iter().find(|(key, _)| key.text == field).map_or(node.span, |(_, value)| value.span)
}

/// Where `section: { aggregate.event: … }` stands.
fn key_span(node: &Node, section: &str, aggregate: &Name, event: &Name) -> Span {
    let wanted = format!("{aggregate}.{event}");
    let Yaml::Map(fields) = &node.value else { return node.span };
    let Some((_, section)) = fields.iter().find(|(key, _)| key.text == section) else { return node.span };
    let Yaml::Map(entries) = &section.value else { return section.span };
    entries.iter().find(|(key, _)| key.text == wanted).map_or(section.span, |(key, _)| key.span)
}
