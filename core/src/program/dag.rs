//! DAG programs: named steps that feed each other, and cases of which the first that holds gives the output.
//!
//! ```yaml
//! steps:                                   # expressions; evaluated at most once, and only when needed
//!   total: command.payload.qty * price
//!   price: "command.payload.sku == 'tea' ? 450 : 900"
//! cases:                                   # the first whose `when` holds
//!   - when: total > 100000
//!     refusal: { code: too_expensive, message: "= 'total is ' + string(total)" }
//!   - events:
//!       - type: order_placed
//!         payload: { total_cents: = total }
//! ```
//!
//! Shorter forms: a list is its cases; an object without `cases` is a single case. Checked when loaded: steps form no
//! cycle, every reference resolves, only the sections of the contract appear. When no case holds the output is empty.

use super::expr::{Expr, context};
use super::gas::Gas;
use super::template::{Template, compile_condition, compile_expression};
use super::value::{Extent, to_cel};
use super::{Inputs, Program, ProgramError};
use crate::manifest::reader::{Fields, Reader};
use crate::manifest::yaml::{Node, Span, Yaml};
use cel::Context;
use serde_json::{Map, Value};
use std::fmt;

/// Most steps of one program.
pub const STEPS_MAX: usize = 64;
/// Most cases of one program.
pub const CASES_MAX: usize = 64;

/// What a contract lets a program read and say.
#[derive(Clone, Copy, Debug)]
pub struct Contract {
    /// The variables it is given.
    pub inputs: &'static [&'static str],
    /// The sections it may put out.
    pub sections: &'static [Section],
}

/// One output section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// A template under this name.
    Template(&'static str),
    /// A value that is always an expression, under this name.
    Expression(&'static str),
}

impl Section {
    const fn name(self) -> &'static str {
        match self {
            Self::Template(name) | Self::Expression(name) => name,
        }
    }
}

#[derive(Clone, PartialEq, Debug)]
struct Step {
    name: String,
    expr: Expr,
    /// Steps to evaluate first, in order, this one not included.
    needs: Vec<usize>,
}

#[derive(Clone, PartialEq, Debug)]
enum Output {
    Template(Template),
    Expr(Expr),
}

#[derive(Clone, PartialEq, Debug)]
struct Case {
    when: Option<Expr>,
    when_needs: Vec<usize>,
    sections: Vec<(&'static str, Output)>,
    needs: Vec<usize>,
}

/// A compiled program.
#[derive(Clone, PartialEq)]
pub struct DagProgram {
    steps: Vec<Step>,
    cases: Vec<Case>,
}

/// How large it is: machines print their programs, and those have their manifests to be read in.
impl fmt::Debug for DagProgram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, cases } = self;
        write!(f, "DagProgram({} steps, {} cases)", steps.len(), cases.len())
    }
}

impl DagProgram {
    /// Compiles a program; faults go to the reader.
    pub fn compile(node: &Node, contract: Contract, reader: &mut Reader<'_>) -> Self {
        let mut steps = Vec::new();
        let cases: Vec<&Node> = match &node.value {
            Yaml::List(cases) => cases.iter().collect(),
            Yaml::Map(entries) if entries.iter().any(|(key, _)| key.text == "cases") => {
                let mut fields = Fields::of(node, "program", reader);
                let declared = fields.optional("steps");
                let cases = fields.optional("cases");
                fields.finish(reader);
                if let Some(declared) = declared {
                    steps = compile_steps(declared, contract, reader);
                }
                match cases.map(|cases| &cases.value) {
                    Some(Yaml::List(cases)) => cases.iter().collect(),
                    Some(_) | None => {
                        reader.fault(node.span, "`cases` must be a list".into(), None);
                        Vec::new()
                    }
                }
            }
            Yaml::Map(entries) => {
                if let Some((_, declared)) = entries.iter().find(|(key, _)| key.text == "steps") {
                    steps = compile_steps(declared, contract, reader);
                }
                vec![node]
            }
            Yaml::Null | Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) | Yaml::Text(_) => {
                reader.fault(node.span, format!("expected a program, found {}", node.kind()), None);
                Vec::new()
            }
        };
        if cases.len() > CASES_MAX {
            reader.fault(node.span, format!("{} cases; at most {CASES_MAX} are allowed", cases.len()), None);
        }
        let single = cases.len() == 1 && std::ptr::eq(cases[0], node);
        let cases =
            cases.into_iter().map(|case| compile_case(case, single, contract, &steps, reader)).collect();
        Self { steps, cases }
    }

    /// Whether any case may put out this section.
    #[must_use]
    pub fn puts_out(&self, section: &str) -> bool {
        self.cases.iter().any(|case| case.sections.iter().any(|(name, _)| *name == section))
    }
}

/// A single expression with a contract's inputs, outside any program.
#[derive(Clone, PartialEq, Debug)]
pub struct Expression(Expr);

impl Expression {
    /// Compiles it; faults go to the reader.
    pub fn compile(node: &Node, inputs: &[&str], reader: &mut Reader<'_>) -> Option<Self> {
        compile_expression(node, inputs, reader).map(Self)
    }

    /// Evaluates it to JSON.
    ///
    /// # Errors
    /// [`ProgramError`] as any program.
    pub fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        let (scope, extent) = bind(inputs);
        self.0.eval_json(&scope, extent, gas)
    }
}

/// A single template with a contract's inputs, outside any program.
#[derive(Clone, PartialEq, Debug)]
pub struct Filling(Template);

impl Filling {
    /// Compiles it; faults go to the reader.
    pub fn compile(node: &Node, inputs: &[&str], reader: &mut Reader<'_>) -> Self {
        Self(Template::compile(node, inputs, reader))
    }

    /// The text it always comes out as, if it is one.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match &self.0 {
            Template::Literal(value) => value.as_str(),
            Template::Expr(_) | Template::List(_) | Template::Object(_) => None,
        }
    }

    /// Fills it in.
    ///
    /// # Errors
    /// [`ProgramError`] as any program.
    pub fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        let (scope, extent) = bind(inputs);
        self.0.fill(&scope, extent, gas)
    }
}

fn compile_steps(node: &Node, contract: Contract, reader: &mut Reader<'_>) -> Vec<Step> {
    let Yaml::Map(entries) = &node.value else {
        reader.fault(node.span, "`steps` must be an object of expressions".into(), None);
        return Vec::new();
    };
    if entries.len() > STEPS_MAX {
        reader.fault(node.span, format!("{} steps; at most {STEPS_MAX} are allowed", entries.len()), None);
        return Vec::new();
    }
    let mut known: Vec<&str> = contract.inputs.to_vec();
    for (key, _) in entries {
        if contract.inputs.contains(&key.text.as_str()) {
            reader.fault(key.span, format!("step `{}` would hide the input of that name", key.text), None);
        } else if !is_identifier(&key.text) {
            let help = Some("letters, digits and `_`, not beginning with a digit".to_owned());
            reader.fault(key.span, format!("`{}` cannot name a step", key.text), help);
        } else {
            known.push(&key.text);
        }
    }
    let compiled: Vec<(&str, Span, Option<Expr>)> = entries
        .iter()
        .map(|(key, value)| (key.text.as_str(), key.span, compile_expression(value, &known, reader)))
        .collect();
    let index = |name: &str| compiled.iter().position(|(own, _, _)| *own == name);
    let mut steps = Vec::with_capacity(compiled.len());
    for (at, (name, span, expr)) in compiled.iter().enumerate() {
        let mut order = Vec::new();
        let mut path = Vec::new();
        let mut visit = Visit { index: &index, compiled: &compiled, order: &mut order, path: &mut path };
        if let Err(cycle) = visit.step(at) {
            let names: Vec<&str> = cycle.iter().map(|step| compiled[*step].0).collect();
            // Every step of a cycle finds it; one report, at its first step, is enough.
            if cycle.iter().min() == Some(&at) {
                let help = Some("a step may only use steps that do not, directly or not, use it".to_owned());
                reader.fault(*span, format!("steps form a cycle: {}", names.join(" → ")), help);
            }
            order.clear();
        }
        order.pop();
        if let Some(expr) = expr {
            steps.push(Step { name: (*name).to_owned(), expr: expr.clone(), needs: order });
        }
    }
    if steps.len() < compiled.len() {
        return Vec::new();
    }
    steps
}

fn is_identifier(name: &str) -> bool {
    name.chars()
        .enumerate()
        .all(|(at, c)| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit()))
        && !name.is_empty()
}

struct Visit<'a, F> {
    index: &'a F,
    compiled: &'a [(&'a str, Span, Option<Expr>)],
    order: &'a mut Vec<usize>,
    path: &'a mut Vec<usize>,
}

impl<F: Fn(&str) -> Option<usize>> Visit<'_, F> {
    /// Depth-first, dependencies before dependents; a cycle comes back as its path.
    fn step(&mut self, at: usize) -> Result<(), Vec<usize>> {
        if self.order.contains(&at) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|step| *step == at) {
            let mut cycle = self.path[start..].to_vec();
            cycle.push(at);
            return Err(cycle);
        }
        self.path.push(at);
        if let Some(expr) = &self.compiled[at].2 {
            for name in expr.variables() {
                if let Some(needed) = (self.index)(name) {
                    self.step(needed)?;
                }
            }
        }
        self.path.pop();
        self.order.push(at);
        Ok(())
    }
}

fn compile_case(
    node: &Node,
    single: bool,
    contract: Contract,
    steps: &[Step],
    reader: &mut Reader<'_>,
) -> Case {
    let mut known: Vec<&str> = contract.inputs.to_vec();
    known.extend(steps.iter().map(|step| step.name.as_str()));
    let mut fields = Fields::of(node, "case", reader);
    let when = fields.optional("when").and_then(|when| compile_condition(when, &known, reader));
    if single {
        fields.optional("steps");
    }
    let mut sections = Vec::new();
    for section in contract.sections {
        let Some(value) = fields.optional(section.name()) else { continue };
        match section {
            Section::Template(name) => {
                sections.push((*name, Output::Template(Template::compile(value, &known, reader))));
            }
            Section::Expression(name) => {
                if let Some(expr) = compile_expression(value, &known, reader) {
                    sections.push((*name, Output::Expr(expr)));
                }
            }
        }
    }
    fields.finish(reader);
    let mut variables = Vec::new();
    for (_, output) in &sections {
        match output {
            Output::Template(template) => template.variables(&mut variables),
            Output::Expr(expr) => variables.extend(expr.variables().iter().map(String::as_str)),
        }
    }
    let needs = closure(steps, &variables);
    let when_variables: Vec<&str> =
        when.iter().flat_map(|when| when.variables()).map(String::as_str).collect();
    let when_needs = closure(steps, &when_variables);
    Case { when, when_needs, sections, needs }
}

/// The steps that these variables need, in an order in which they can be evaluated.
fn closure(steps: &[Step], variables: &[&str]) -> Vec<usize> {
    let mut out: Vec<usize> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if variables.contains(&step.name.as_str()) {
            for needed in step.needs.iter().chain([&at]) {
                if !out.contains(needed) {
                    out.push(*needed);
                }
            }
        }
    }
    out
}

fn bind<'v>(inputs: &Inputs<'v>) -> (Context<'v, 'v>, Extent) {
    let mut scope = context();
    let mut extent = Extent::default();
    for (name, value) in inputs {
        extent.include(Extent::of_json(value));
        scope.add_variable_as_val(*name, to_cel(value));
    }
    (scope, extent)
}

impl Program for DagProgram {
    fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        let (mut scope, mut extent) = bind(inputs);
        let mut evaluated = vec![false; self.steps.len()];
        for case in &self.cases {
            if let Some(when) = &case.when {
                self.evaluate(&case.when_needs, &mut evaluated, &mut scope, &mut extent, gas)?;
                if !when.eval_bool(&scope, extent, gas)? {
                    continue;
                }
            }
            self.evaluate(&case.needs, &mut evaluated, &mut scope, &mut extent, gas)?;
            let mut out = Map::new();
            for (name, output) in &case.sections {
                let value = match output {
                    Output::Template(template) => template.fill(&scope, extent, gas)?,
                    Output::Expr(expr) => expr.eval_json(&scope, extent, gas)?,
                };
                out.insert((*name).to_owned(), value);
            }
            return Ok(Value::Object(out));
        }
        Ok(Value::Object(Map::new()))
    }
}

impl DagProgram {
    fn evaluate(
        &self,
        needs: &[usize],
        evaluated: &mut [bool],
        scope: &mut Context<'_, '_>,
        extent: &mut Extent,
        gas: &mut Gas,
    ) -> Result<(), ProgramError> {
        for at in needs {
            if std::mem::replace(&mut evaluated[*at], true) {
                continue;
            }
            let step = &self.steps[*at];
            let value = step.expr.eval(scope, *extent, gas)?.into_owned();
            extent.include(Extent::of_cel(value.as_ref()));
            scope.add_variable_as_val(step.name.as_str(), value);
        }
        Ok(())
    }
}
