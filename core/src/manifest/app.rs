//! The application as a whole: every file read, every reference resolved.
//!
//! `app.yaml`:
//!
//! ```yaml
//! app: shop
//! vars: { services: "http://127.0.0.1:7070" }   # for ${var:NAME}; whoever starts a node may override them
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
use super::parts::Parts;
use super::projection::ProjectionDef;
use super::reader::{Fields, Reader};
use super::saga::SagaDef;
use super::schedule::ScheduleDef;
use super::secret;
use super::variables::{Overrides, Variables};
use super::yaml::{self, Node, Span, first_of};
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
    /// Loads an application. `said` replaces variables of `app.yaml`, and all of it must be used.
    ///
    /// # Errors
    /// Every fault found, in file order.
    pub fn load(files: &[SourceFile], said: &BTreeMap<String, String>) -> Result<Self, Vec<Diagnostic>> {
        let overrides = Overrides { said: said.clone(), around: BTreeMap::new() };
        Self::load_with(files, &overrides, &Natives::default())
    }

    /// The same, in a binary that has programs of its own.
    ///
    /// # Errors
    /// Every fault found, in file order.
    pub fn load_with(
        files: &[SourceFile],
        overrides: &Overrides,
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
        let mut vars = Variables::default();
        match yaml::parse(&main.path, &main.text) {
            Ok(mut node) => {
                let mut reader = Reader::new(&main.path, &mut faults);
                vars = Variables::read(&node, overrides, &mut reader);
                vars.substitute(&mut node, &mut reader);
                secret::only_in_headers(&node, false, &mut reader);
                header = Header::read(&node, &mut reader);
            }
            Err(fault) => {
                vars.miss_a_file();
                faults.push(*fault);
            }
        }
        // Whether a call is allowed is not known of a list with a fault in it.
        let egress = faults.is_empty().then_some(&header.egress);
        let mut parts = Parts::default();
        for file in files.iter().filter(|file| file.path != "app.yaml") {
            let mut node = match yaml::parse(&file.path, &file.text) {
                Ok(node) => node,
                Err(fault) => {
                    vars.miss_a_file();
                    parts.miss(file);
                    faults.push(*fault);
                    continue;
                }
            };
            let mut reader = Reader::new(&file.path, &mut faults).with_natives(natives);
            vars.substitute(&mut node, &mut reader);
            secret::only_in_headers(&node, file.path.starts_with("effects/"), &mut reader);
            parts.read(file, node, &mut reader);
        }
        vars.all_used(&overrides.said, header.vars, &mut Reader::new(&main.path, &mut faults));
        parts.resolve(egress, &mut faults);
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
    /// Where its variables stand.
    vars: Span,
    egress: Egress,
    dev_services: Vec<DevService>,
}

impl Header {
    fn read(node: &Node, reader: &mut Reader<'_>) -> Self {
        let mut fields = Fields::of(node, "application", reader);
        let name = fields.required("app", reader).and_then(|name| reader.name(name));
        let vars = fields.optional("vars").map_or_else(|| first_of(node), |vars| vars.span);
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
        Self { name, vars, egress, dev_services }
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
