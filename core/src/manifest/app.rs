//! The application as a whole: every file read, every reference resolved.
//!
//! `app.yaml`:
//!
//! ```yaml
//! app: shop
//! vars: { services: "http://127.0.0.1:7070" }   # for ${var:NAME}; the environment may override them
//! egress: ["127.0.0.1:7070"]                    # where effects may call
//! dev:
//!   services:
//!     - name: shop-services
//!       command: [cargo, run, -q, -p, shop-services]
//!       ready: http://127.0.0.1:7070/health
//! ```

use super::aggregate::AggregateDef;
use super::diagnostic::Diagnostic;
use super::effect::EffectDef;
use super::egress::Egress;
use super::projection::ProjectionDef;
use super::reader::{Fields, Reader};
use super::saga::{SagaDef, Trigger, WorkKind};
use super::schedule::{ROWS_MAX, ScheduleDef, ScheduleTarget};
use super::secret;
use super::suggest::closest;
use super::yaml::{self, Node, Span, Yaml};
use crate::program::Natives;
use crate::wire::id::Name;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A manifest as it was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SourceFile {
    /// Path relative to the application's folder, with `/`.
    pub path: String,
    /// What it says.
    pub text: String,
}

/// A service that `dev` starts beside the nodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DevService {
    /// For messages.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Answers 200 when it is up.
    pub ready: String,
}

/// A checked application.
#[derive(Clone, PartialEq, Debug)]
pub struct App {
    /// Its name.
    pub name: Name,
    /// Aggregate types.
    pub aggregates: BTreeMap<Name, Arc<AggregateDef>>,
    /// Views.
    pub projections: BTreeMap<Name, Arc<ProjectionDef>>,
    /// Sagas.
    pub sagas: BTreeMap<Name, Arc<SagaDef>>,
    /// Effects.
    pub effects: BTreeMap<Name, Arc<EffectDef>>,
    /// Schedules.
    pub schedules: BTreeMap<Name, Arc<ScheduleDef>>,
    /// Where effects may call.
    pub egress: Egress,
    /// What `dev` may start.
    pub dev_services: Vec<DevService>,
    /// The programs of the binary that it was read with.
    pub natives: Natives,
}

impl App {
    /// Loads an application. `overrides` replace the variables of `app.yaml`.
    ///
    /// # Errors
    /// Every fault found, in file order.
    pub fn load(files: &[SourceFile], overrides: &BTreeMap<String, String>) -> Result<Self, Vec<Diagnostic>> {
        Self::load_with(files, overrides, &Natives::default())
    }

    /// The same, in a binary that has programs of its own.
    ///
    /// # Errors
    /// Every fault found, in file order.
    pub fn load_with(
        files: &[SourceFile],
        overrides: &BTreeMap<String, String>,
        natives: &Natives,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut faults = Vec::new();
        let mut files: Vec<&SourceFile> = files.iter().collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        let Some(main) = files.iter().find(|file| file.path == "app.yaml") else {
            let message = "there is no `app.yaml`: is this the folder of an application?".to_owned();
            return Err(vec![Diagnostic::new("app.yaml", Span::default(), message)]);
        };
        let mut header = Header::default();
        let mut vars = BTreeMap::new();
        match yaml::parse(&main.path, &main.text) {
            Ok(mut node) => {
                let mut reader = Reader::new(&main.path, &mut faults);
                vars = read_vars(&node, &mut reader);
                vars.extend(overrides.iter().map(|(name, value)| (name.clone(), value.clone())));
                substitute(&mut node, &vars, &mut reader);
                secret::only_in_headers(&node, false, &mut reader);
                header = Header::read(&node, &mut reader);
            }
            Err(fault) => faults.push(*fault),
        }
        let mut parts = Parts::default();
        for file in files.iter().filter(|file| file.path != "app.yaml") {
            let mut node = match yaml::parse(&file.path, &file.text) {
                Ok(node) => node,
                Err(fault) => {
                    faults.push(*fault);
                    continue;
                }
            };
            let mut reader = Reader::new(&file.path, &mut faults).with_natives(natives);
            substitute(&mut node, &vars, &mut reader);
            secret::only_in_headers(&node, file.path.starts_with("effects/"), &mut reader);
            parts.read(file, node, &mut reader);
        }
        parts.resolve(&mut faults);
        match header.name {
            Some(name) if faults.is_empty() => Ok(Self {
                name,
                aggregates: parts.aggregates.into_defs(),
                projections: parts.projections.into_defs(),
                sagas: parts.sagas.into_defs(),
                effects: parts.effects.into_defs(),
                natives: natives.clone(),
                schedules: parts.schedules.into_defs(),
                egress: header.egress,
                dev_services: header.dev_services,
            }),
            _ => Err(faults),
        }
    }
}

#[derive(Default)]
struct Header {
    name: Option<Name>,
    egress: Egress,
    dev_services: Vec<DevService>,
}

/// The variables, before anything they may stand in is read.
fn read_vars(node: &Node, reader: &mut Reader<'_>) -> BTreeMap<String, String> {
    let Yaml::Map(entries) = &node.value else { return BTreeMap::new() };
    let section = entries.iter().find(|(key, _)| key.text == "vars").map(|(_, section)| section);
    let vars = section.map(|section| reader.entries(section)).unwrap_or_default();
    vars.iter().filter_map(|(key, value)| Some((key.text.clone(), reader.text(value)?))).collect()
}

impl Header {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let mut fields = Fields::of(node, "application", reader);
        let name = fields.required("app", reader).and_then(|name| reader.name(name));
        fields.optional("vars");
        let egress_node = fields.optional("egress");
        let dev_node = fields.optional("dev");
        fields.finish(reader);
        let egress = egress_node.map(|node| Egress::read(node, reader)).unwrap_or_default();
        let mut dev_services = Vec::new();
        if let Some(dev) = dev_node {
            let mut fields = Fields::of(dev, "dev section", reader);
            let services = fields.optional("services");
            fields.finish(reader);
            for item in services.map(|node| reader.items(node)).unwrap_or_default() {
                dev_services.extend(read_service(item, reader));
            }
        }
        Self { name, egress, dev_services }
    }
}

fn read_service(node: &Node, reader: &mut Reader<'_>) -> Option<DevService> {
    let mut fields = Fields::of(node, "dev service", reader);
    let name = fields.required("name", reader);
    let command = fields.required("command", reader);
    let ready = fields.required("ready", reader);
    fields.finish(reader);
    let name = reader.text(name?)?;
    let ready = reader.text(ready?)?;
    let command: Vec<String> = reader.items(command?).iter().filter_map(|item| reader.text(item)).collect();
    (!command.is_empty()).then_some(DevService { name, command, ready })
}

fn unknown_var(node: &Node, unknown: &str, vars: &BTreeMap<String, String>, reader: &mut Reader<'_>) {
    let help = match closest(unknown, vars.keys().map(String::as_str)) {
        Some(close) => format!("did you mean `${{var:{close}}}`?"),
        None => "declare it under `vars` in app.yaml".to_owned(),
    };
    reader.fault(node.span, format!("unknown variable `${{var:{unknown}}}`"), Some(help));
}

/// Replaces every `${var:NAME}`; the name of the first unknown one comes back as the error.
fn replace_vars(text: &str, vars: &BTreeMap<String, String>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${var:") {
        let Some((name, after)) = after.split_once('}') else { break };
        out.push_str(before);
        out.push_str(vars.get(name).ok_or_else(|| name.to_owned())?);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn substitute(node: &mut Node, vars: &BTreeMap<String, String>, reader: &mut Reader<'_>) {
    let replaced = match &mut node.value {
        Yaml::Text(text) if text.contains("${var:") => replace_vars(text, vars),
        Yaml::List(items) => return items.iter_mut().for_each(|item| substitute(item, vars, reader)),
        Yaml::Map(entries) => {
            return entries.iter_mut().for_each(|(_, value)| substitute(value, vars, reader));
        }
        Yaml::Text(_) | Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => return,
    };
    match replaced {
        Ok(text) => node.value = Yaml::Text(text),
        Err(unknown) => unknown_var(node, &unknown, vars, reader),
    }
}

/// Definitions of one kind, each with the file it came from.
struct Kind<D>(BTreeMap<Name, (String, Node, D)>);

impl<D> Default for Kind<D> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<D> Kind<D> {
    fn add(&mut self, name: Name, file: &SourceFile, node: Node, def: D, reader: &mut Reader<'_>) {
        if let Some((other, _, _)) = self.0.get(&name) {
            let span = Span { start: node.span.start, end: node.span.end.min(node.span.start + 1) };
            reader.fault(span, format!("`{name}` is already defined in {other}"), None);
            return;
        }
        self.0.insert(name, (file.path.clone(), node, def));
    }

    fn into_defs(self) -> BTreeMap<Name, Arc<D>> {
        self.0.into_iter().map(|(name, (_, _, def))| (name, Arc::new(def))).collect()
    }
}

#[derive(Default)]
struct Parts {
    aggregates: Kind<AggregateDef>,
    projections: Kind<ProjectionDef>,
    sagas: Kind<SagaDef>,
    effects: Kind<EffectDef>,
    schedules: Kind<ScheduleDef>,
}

impl Parts {
    fn read(&mut self, file: &SourceFile, node: Node, reader: &mut Reader<'_>) {
        match file.path.split('/').next().unwrap_or_default() {
            "aggregates" => {
                if let Some(def) = AggregateDef::read(&node, reader) {
                    self.aggregates.add(def.name.clone(), file, node, def, reader);
                }
            }
            "projections" => {
                if let Some(def) = ProjectionDef::read(&node, reader) {
                    self.projections.add(def.name.clone(), file, node, def, reader);
                }
            }
            "sagas" => {
                if let Some(def) = SagaDef::read(&node, reader) {
                    self.sagas.add(def.name.clone(), file, node, def, reader);
                }
            }
            "effects" => {
                if let Some(def) = EffectDef::read(&node, reader) {
                    self.effects.add(def.name.clone(), file, node, def, reader);
                }
            }
            "schedules" => {
                if let Some(def) = ScheduleDef::read(&node, reader) {
                    self.schedules.add(def.name.clone(), file, node, def, reader);
                }
            }
            folder => {
                let help =
                    "manifests live in aggregates/, projections/, sagas/, schedules/ and effects/".to_owned();
                reader.fault(Span::default(), format!("nothing is read from `{folder}`"), Some(help));
            }
        }
    }

    /// References across files.
    fn resolve(&self, faults: &mut Vec<Diagnostic>) {
        for (file, node, def) in self.projections.0.values() {
            let mut reader = Reader::new(file, faults);
            for (aggregate, event) in def.on.keys() {
                self.event(aggregate, event, key_span(node, "on", aggregate, event), &mut reader);
            }
        }
        for (file, node, def) in self.sagas.0.values() {
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
    }

    fn resolve_schedules(&self, faults: &mut Vec<Diagnostic>) {
        let mut rows = 0;
        for (file, node, def) in self.schedules.0.values() {
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
        let Some((_, _, def)) = self.sagas.0.get(saga) else {
            return unknown("saga", saga, self.sagas.0.keys(), span, reader);
        };
        if !def.on_event.contains_key(&Trigger::Schedule { schedule: schedule.clone() }) {
            let help = format!("say what to do under `schedule.{schedule}` of its `on_event`");
            reader.fault(span, format!("saga `{saga}` does not react to schedule `{schedule}`"), Some(help));
        }
    }

    /// The schedule that a saga reacts to must name it.
    fn schedule_of(&self, saga: &Name, schedule: &Name, span: Span, reader: &mut Reader<'_>) {
        let Some((_, _, def)) = self.schedules.0.get(schedule) else {
            return unknown("schedule", schedule, self.schedules.0.keys(), span, reader);
        };
        if !matches!(&def.target, ScheduleTarget::Saga { saga: named, .. } if named == saga) {
            let help = format!("give it `saga: {{ name: {saga} }}`");
            reader.fault(span, format!("schedule `{schedule}` is not for saga `{saga}`"), Some(help));
        }
    }

    fn command(&self, aggregate: &Name, command: &Name, span: Span, reader: &mut Reader<'_>) {
        match self.aggregates.0.get(aggregate) {
            Some((_, _, def)) if !def.commands.contains_key(command) => {
                unknown(&format!("command of `{aggregate}`"), command, def.commands.keys(), span, reader);
            }
            Some(_) => {}
            None => unknown("aggregate", aggregate, self.aggregates.0.keys(), span, reader),
        }
    }

    fn effect(&self, effect: &Name, span: Span, reader: &mut Reader<'_>) {
        if !self.effects.0.contains_key(effect) {
            unknown("effect", effect, self.effects.0.keys(), span, reader);
        }
    }

    fn event(&self, aggregate: &Name, event: &Name, span: Span, reader: &mut Reader<'_>) {
        let Some((_, _, def)) = self.aggregates.0.get(aggregate) else {
            return unknown("aggregate", aggregate, self.aggregates.0.keys(), span, reader);
        };
        if !def.events.contains_key(event) {
            unknown(&format!("event of `{aggregate}`"), event, def.events.keys(), span, reader);
        }
    }

    fn work(&self, work: &Name, kind: &WorkKind, span: Span, reader: &mut Reader<'_>) {
        if self.aggregates.0.contains_key(work) {
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
