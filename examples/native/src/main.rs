//! The `cloudlysis` command line with programs of its own: a saga that charges in instalments.
//!
//! `cargo run -p native-saga -- dev examples/native`. Programs are pure functions of the state and the event; what they
//! answer is what a manifest would: the next state, work, timers, `complete` or `compensate`.

use cloudlysis_core::program::{Gas, Inputs, Natives, Program, ProgramError};
use serde_json::{Value, json};
use std::process::ExitCode;

/// The most one instalment takes, in cents.
const INSTALMENT_CENTS_MAX: u64 = 400;

/// An order was placed: the first instalment is charged.
#[derive(Debug)]
struct Placed;

/// An instalment was paid: the next is charged, until nothing is left.
#[derive(Debug)]
struct Paid;

fn main() -> ExitCode {
    cloudlysis_nodes::run(Natives::default().with("fulfil.placed@1", Placed).with("fulfil.paid@1", Paid))
}

fn input<'a>(inputs: &'a Inputs<'_>, name: &str) -> &'a Value {
    inputs.iter().find(|(own, _)| *own == name).map_or(&Value::Null, |(_, value)| value)
}

fn charge(left: u64) -> Value {
    let cents = left.min(INSTALMENT_CENTS_MAX);
    json!([{ "name": "instalment", "effect": { "name": "charge", "payload": { "cents": cents } } }])
}

impl Program for Placed {
    fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        gas.charge(1)?;
        let cents = input(inputs, "event")["payload"]["cents"].as_u64();
        let cents =
            cents.ok_or_else(|| ProgramError::Evaluation { detail: "`cents` is no amount".into() })?;
        Ok(json!({ "state": { "left": cents, "paid": [] }, "work": charge(cents) }))
    }
}

impl Program for Paid {
    fn run(&self, inputs: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        let state = input(inputs, "state");
        let left = state["left"].as_u64().unwrap_or_default().saturating_sub(INSTALMENT_CENTS_MAX);
        let mut paid = state["paid"].as_array().cloned().unwrap_or_default();
        gas.charge(1 + paid.len() as u64)?;
        paid.push(input(inputs, "event")["payload"]["id"].clone());
        let next = json!({ "left": left, "paid": paid });
        Ok(match left {
            0 => json!({ "state": next, "complete": true }),
            left => json!({ "state": next, "work": charge(left) }),
        })
    }
}
