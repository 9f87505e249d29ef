//! One CEL expression, checked when it is loaded.
//!
//! Checked: it parses, every variable and function exists, comprehensions nest at most three deep, and map literals
//! stand only where a result is built. The last rule keeps evaluation deterministic (the `cel` crate's own maps
//! iterate in random order) and equality symmetric; what an expression reads are the input's own, ordered objects.

use super::ProgramError;
use super::gas::{Cost, Gas, LOOP_DEPTH_MAX};
use super::value::{Extent, from_cel};
use cel::common::ast::{EntryExpr, Expr as Node, IdedExpr, operators};
use cel::common::types::CelBool;
use cel::common::value::CowVal;
use cel::{Context, Env, Value as CelValue};
use serde_json::Value;
use std::fmt;
use std::sync::{Arc, LazyLock};

/// Longest expression, in bytes.
pub const SOURCE_BYTES_MAX: usize = 4096;

/// The functions an expression may call besides operators and macros. No clock, no randomness, no regular expressions.
const FUNCTIONS: [&str; 10] =
    ["bool", "contains", "double", "endsWith", "int", "size", "startsWith", "string", "type", "uint"];

const OPERATORS: [&str; 19] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];

/// Type names stand for themselves, as in `type(x) == int`.
const TYPES: [&str; 9] = ["bool", "double", "int", "list", "map", "null_type", "string", "type", "uint"];

static ENV: LazyLock<Arc<Env>> =
    LazyLock::new(|| Arc::new(Env::default().with_optional_support(false).with_stdlib()));
static PARSING_ENV: LazyLock<Env> = LazyLock::new(|| Env::stdlib().with_optional_support(false));

/// An empty evaluation context.
pub(super) fn context<'v>() -> Context<'v, 'v> {
    Context::with_env(Arc::clone(&ENV))
}

/// Where an expression is wrong, relative to its own text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ExprError {
    /// What is wrong.
    pub message: String,
    /// Byte offset within the expression.
    pub at: usize,
    /// Bytes it covers; at least one.
    pub len: usize,
    /// What to do instead, when we know.
    pub help: Option<String>,
}

/// Where an expression stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    /// It builds part of a result: map literals are fine.
    Result,
    /// It feeds other expressions or a decision.
    Operand,
}

/// A compiled expression.
#[derive(Clone, PartialEq)]
pub(super) struct Expr {
    ast: IdedExpr,
    cost: Cost,
    /// Free variables, sorted, each once.
    variables: Vec<String>,
}

/// Without the syntax tree: it is many times longer than the text it came from, and every machine prints its programs.
impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expr").field("variables", &self.variables).finish_non_exhaustive()
    }
}

impl Expr {
    /// Compiles an expression over variables that `knows` accepts.
    pub(super) fn compile(source: &str, place: Place, known: &[&str]) -> Result<Self, ExprError> {
        let whole = |message: String| ExprError { message, at: 0, len: source.len().max(1), help: None };
        if source.trim().is_empty() {
            return Err(whole("the expression is empty".into()));
        }
        if source.len() > SOURCE_BYTES_MAX {
            return Err(whole(format!(
                "the expression is {} bytes long; at most {SOURCE_BYTES_MAX} are allowed",
                source.len()
            )));
        }
        let (ast, info) = PARSING_ENV.parser().parse_with_source_info(source).map_err(|errors| {
            let Some(first) = errors.errors.first() else { return whole("does not parse".into()) };
            let at = offset(source, first.pos);
            ExprError { message: format!("does not parse: {}", first.msg), at, len: 1, help: None }
        })?;
        let mut walk = Walk { known, cost: Cost::default(), variables: Vec::new(), bound: Vec::new() };
        walk.node(&ast, 0, place).map_err(|fault| {
            let (start, stop) = info.offset_for(fault.node).unwrap_or((0, 0));
            let (start, stop) = (start as usize, stop as usize);
            let at = start.min(source.len().saturating_sub(1));
            let len = (stop + 1).saturating_sub(start).clamp(1, source.len() - at);
            ExprError { message: fault.message, at, len, help: fault.help }
        })?;
        let Walk { cost, mut variables, .. } = walk;
        variables.sort_unstable();
        variables.dedup();
        Ok(Self { ast, cost, variables })
    }

    /// The variables it reads.
    pub(super) fn variables(&self) -> &[String] {
        &self.variables
    }

    /// Evaluates it, charging first.
    pub(super) fn eval<'e, 'v>(
        &'e self,
        scope: &'e Context<'_, 'v>,
        extent: Extent,
        gas: &mut Gas,
    ) -> Result<CowVal<'e, 'v>, ProgramError> {
        gas.charge(self.cost.bound(extent))?;
        CelValue::resolve_val(&self.ast, scope)
            .map_err(|error| ProgramError::Evaluation { detail: error.to_string() })
    }

    /// Evaluates it to JSON.
    pub(super) fn eval_json(
        &self,
        scope: &Context<'_, '_>,
        extent: Extent,
        gas: &mut Gas,
    ) -> Result<Value, ProgramError> {
        from_cel(self.eval(scope, extent, gas)?.as_ref())
    }

    /// Evaluates a condition.
    pub(super) fn eval_bool(
        &self,
        scope: &Context<'_, '_>,
        extent: Extent,
        gas: &mut Gas,
    ) -> Result<bool, ProgramError> {
        let value = self.eval(scope, extent, gas)?;
        value.downcast_ref::<CelBool>().map(|b| *b.inner()).ok_or_else(|| ProgramError::Evaluation {
            detail: format!("a condition gave {}, not a bool", value.get_type().name()),
        })
    }
}

/// Byte offset of a one-based line and column.
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let start: usize = source.split_inclusive('\n').take(line - 1).map(str::len).sum();
    let column = usize::try_from(column).unwrap_or(1).max(1) - 1;
    (start + column).min(source.len().saturating_sub(1))
}

struct Fault {
    node: u64,
    message: String,
    help: Option<String>,
}

struct Walk<'k> {
    known: &'k [&'k str],
    cost: Cost,
    variables: Vec<String>,
    bound: Vec<String>,
}

impl Walk<'_> {
    fn node(&mut self, node: &IdedExpr, depth: usize, place: Place) -> Result<(), Fault> {
        let fault = |message: String, help| Fault { node: node.id, message, help };
        self.cost.nodes[depth] += 1;
        match &node.expr {
            Node::Literal(_) => Ok(()),
            Node::Ident(name) => {
                self.ident(name).map_err(|help| fault(format!("unknown variable `{name}`"), help))
            }
            Node::Select(select) => self.node(&select.operand, depth, Place::Operand),
            Node::List(list) => {
                let elements = list.elements.len() as u64;
                self.cost.literal_elements_max = self.cost.literal_elements_max.max(elements);
                list.elements.iter().try_for_each(|element| self.node(element, depth, place))
            }
            Node::Map(map) => {
                if place == Place::Operand {
                    return Err(fault(
                        "a map literal may only build a result".into(),
                        Some("write the object in YAML, or compare its fields one by one".into()),
                    ));
                }
                map.entries.iter().try_for_each(|entry| match &entry.expr {
                    EntryExpr::MapEntry(entry) => {
                        self.node(&entry.key, depth, Place::Operand)?;
                        self.node(&entry.value, depth, place)
                    }
                    EntryExpr::StructField(_) => {
                        Err(fault("message literals are not supported".into(), None))
                    }
                })
            }
            Node::Call(call) => {
                let name = call.func_name.as_str();
                let operator = OPERATORS.contains(&name);
                if !operator && !FUNCTIONS.contains(&name) {
                    let help = crate::manifest::suggest::closest(name, FUNCTIONS)
                        .map(|close| format!("did you mean `{close}`?"))
                        .or_else(|| Some(format!("available: {}", FUNCTIONS.join(", "))));
                    return Err(fault(format!("unknown function `{name}`"), help));
                }
                if name == operators::ADD {
                    self.cost.additions += 1;
                }
                if name == operators::ADD || !operator {
                    self.cost.text_nodes[depth] += 1;
                }
                if let Some(target) = &call.target {
                    self.node(target, depth, Place::Operand)?;
                }
                for (at, arg) in call.args.iter().enumerate() {
                    // A branch is the result, and so is what a list is extended by.
                    let result = (name == operators::CONDITIONAL && at > 0) || name == operators::ADD;
                    self.node(arg, depth, if result { place } else { Place::Operand })?;
                }
                Ok(())
            }
            Node::Comprehension(loop_) => {
                self.node(&loop_.iter_range, depth, Place::Operand)?;
                self.node(&loop_.accu_init, depth, place)?;
                if depth + 1 > LOOP_DEPTH_MAX {
                    let message = format!("comprehensions nest deeper than {LOOP_DEPTH_MAX}");
                    return Err(fault(message, Some("compute the inner part in a step of its own".into())));
                }
                let bound = self.bound.len();
                self.bound.push(loop_.accu_var.clone());
                self.bound.push(loop_.iter_var.clone());
                self.bound.extend(loop_.iter_var2.clone());
                self.node(&loop_.loop_cond, depth + 1, Place::Operand)?;
                self.loop_step(&loop_.loop_step, depth + 1, place)?;
                self.node(&loop_.result, depth, Place::Operand)?;
                self.bound.truncate(bound);
                Ok(())
            }
            Node::Struct(_) => Err(fault("message literals are not supported".into(), None)),
            Node::Unspecified => Err(fault("the expression is incomplete".into(), None)),
        }
    }

    /// `map` and `filter` append to their accumulator: what they append is part of the result. The append itself is
    /// not an addition of the author's and cannot double anything.
    fn loop_step(&mut self, step: &IdedExpr, depth: usize, place: Place) -> Result<(), Fault> {
        if let Node::Call(call) = &step.expr {
            let appends = call.func_name == operators::ADD
                && matches!(call.args.as_slice(), [accu, one]
                    if matches!(&accu.expr, Node::Ident(name) if self.bound.contains(name))
                        && matches!(one.expr, Node::List(_)));
            if appends {
                self.cost.nodes[depth] += 2;
                return self.node(&call.args[1], depth, place);
            }
            if call.func_name == operators::CONDITIONAL {
                self.cost.nodes[depth] += 1;
                self.node(&call.args[0], depth, Place::Operand)?;
                self.loop_step(&call.args[1], depth, place)?;
                return self.loop_step(&call.args[2], depth, place);
            }
        }
        self.node(step, depth, Place::Operand)
    }

    fn ident(&mut self, name: &str) -> Result<(), Option<String>> {
        if self.bound.iter().any(|bound| bound == name) || TYPES.contains(&name) {
            return Ok(());
        }
        if self.known.contains(&name) {
            self.variables.push(name.to_owned());
            return Ok(());
        }
        let close = crate::manifest::suggest::closest(name, self.known.iter().copied());
        Err(Some(match close {
            Some(close) => format!("did you mean `{close}`?"),
            None => format!("available here: {}", self.known.join(", ")),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::value::to_cel;
    use super::*;
    use serde_json::json;

    fn eval(source: &str, state: &Value) -> Result<Value, ProgramError> {
        let expr =
            Expr::compile(source, Place::Result, &["state"]).unwrap_or_else(|e| panic!("{source}: {e:?}"));
        let mut scope = context();
        scope.add_variable_as_val("state", to_cel(state));
        expr.eval_json(&scope, Extent::of_json(state), &mut Gas::new(10_000))
    }

    #[test]
    fn expressions_read_json_in_place() {
        let state =
            json!({ "a": 1, "list": [3, 1, 2], "o": { "z": 1, "b": "x" }, "big": u64::MAX, "f": 1.5 });
        for (source, expected) in [
            ("state.a + 1", json!(2)),
            ("state.list.map(x, x * 2)", json!([6, 2, 4])),
            ("state.list.filter(x, x > 1).size()", json!(2)),
            ("state.list.all(x, x > 0) && state.list.exists(x, x == 2)", json!(true)),
            ("has(state.a) && !has(state.b)", json!(true)),
            ("'z' in state.o", json!(true)),
            ("state.o.map(k, k)", json!(["b", "z"])),
            ("state.o == state.o", json!(true)),
            ("state.o", json!({ "b": "x", "z": 1 })),
            ("state.list + [4]", json!([3, 1, 2, 4])),
            ("state.list + [{'k': 1}]", json!([3, 1, 2, { "k": 1 }])),
            ("state.list.map(x, {'v': x, 'o': state.o})[0].o.b", json!("x")),
            ("state.a == 1 ? {'k': [1]} : {'k': []}", json!({ "k": [1] })),
            ("state.big", json!(u64::MAX)),
            ("state.f < 2.0", json!(true)),
            ("state.o.b.startsWith('x') ? 'yes' : 'no'", json!("yes")),
            ("type(state.a) == int", json!(true)),
            ("size(state.o) + size('abc')", json!(5)),
            ("state.list.exists_one(x, x == 3)", json!(true)),
        ] {
            if source.contains("})[0]") {
                assert!(Expr::compile(source, Place::Result, &["state"]).is_err(), "{source}");
            } else {
                assert_eq!(eval(source, &state), Ok(expected), "{source}");
            }
        }
    }

    #[test]
    fn faults_point_into_the_expression() {
        let error =
            |source: &str| Expr::compile(source, Place::Operand, &["state", "event"]).expect_err(source);
        let fault = error("state.a + evnt.b");
        assert_eq!((fault.at, fault.message.as_str()), (10, "unknown variable `evnt`"));
        assert_eq!(fault.help.as_deref(), Some("did you mean `event`?"));
        assert_eq!(error("state.a.startWith('x')").help.as_deref(), Some("did you mean `startsWith`?"));
        assert!(error("state.a +").message.starts_with("does not parse"));
        assert_eq!(error("").message, "the expression is empty");
        assert_eq!(error("{'a': 1} == state").message, "a map literal may only build a result");
        assert_eq!(error("[{'a': 1}].map(m, m.map(k, k))").message, "a map literal may only build a result");
        let deep = "state.map(a, state.map(b, state.map(c, state.map(d, d))))";
        assert_eq!(error(deep).message, "comprehensions nest deeper than 3");
        assert!(error(&"1+".repeat(3_000)).message.contains("bytes long"));
        assert!(error("now()").message.contains("unknown function"));
        assert!(error("'a'.matches('b')").message.contains("unknown function"));
        assert!(error("Point{x: 1}").message.contains("not supported"));
    }

    #[test]
    fn errors_at_run_time_are_program_errors() {
        let state = json!({ "a": 1 });
        for source in ["state.b", "state.a / 0", "state.a + 'x'", "9223372036854775807 + state.a", "state[0]"]
        {
            assert!(matches!(eval(source, &state), Err(ProgramError::Evaluation { .. })), "{source}");
        }
        assert!(matches!(eval("type(state.a)", &state), Err(ProgramError::Output { .. })));
    }

    #[test]
    fn gas_stops_at_the_same_place_every_time() {
        let expr =
            Expr::compile("state.map(a, state.map(b, a * b))", Place::Result, &["state"]).expect("compiles");
        let state = Value::Array((0..100).map(Value::from).collect());
        let mut scope = context();
        scope.add_variable_as_val("state", to_cel(&state));
        let extent = Extent::of_json(&state);
        let mut enough = Gas::new(1_000_000);
        assert!(expr.eval(&scope, extent, &mut enough).is_ok());
        let needed = enough.used();
        assert!(needed >= 100 * 100, "{needed}");
        assert!(expr.eval(&scope, extent, &mut Gas::new(needed)).is_ok());
        let short = expr.eval(&scope, extent, &mut Gas::new(needed - 1));
        assert!(matches!(short, Err(ProgramError::OutOfGas { .. })));
    }
}
