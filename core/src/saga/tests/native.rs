//! Sagas whose programs are compiled into the binary.

use super::{Bench, Desk, HandOver, SagaConfig, happened, instance, quirks};
use crate::bench::shop_files;
use crate::halt::{Fence, Halt};
use crate::manifest::{App, Overrides, SourceFile};
use crate::program::{Gas, Inputs, Natives, Program, ProgramError};
use crate::saga::Verb;
use serde_json::{Value, json};

const SAGA: &str = "
saga: native
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.aggregate_id }
starts_on: [order.order_placed]
on_event:
  order.order_placed:
    native: native.placed@1
    asks: [{ name: more, command: { aggregate: stock, name: add } }]
    sets: [patience]
  order.order_shipped: { complete: true }
  more.refused: { compensate: true }
  patience.fired: { complete: true }
compensation:
  more: { native: native.undo@1, asks: [{ name: less, command: { aggregate: stock, name: release } }] }
";

/// Says the same whatever it is given.
#[derive(Debug)]
struct Says(Value);

impl Program for Says {
    fn run(&self, _: &Inputs<'_>, gas: &mut Gas) -> Result<Value, ProgramError> {
        gas.charge(1)?;
        Ok(self.0.clone())
    }
}

fn ask(name: &str, command: &str) -> Value {
    json!([{ "name": name, "command": { "aggregate": "stock", "id": "tea", "name": command, "payload": {} } }])
}

fn natives(placed: Value) -> Natives {
    let undo = json!({ "work": ask("less", "release") });
    Natives::default().with("native.placed@1", Says(placed)).with("native.undo@1", Says(undo))
}

fn load(manifest: &str, natives: &Natives) -> Result<App, Vec<String>> {
    let mut files = shop_files();
    files.push(SourceFile { path: "sagas/native.yaml".into(), text: manifest.into() });
    let told = |own: &crate::manifest::Diagnostic| {
        format!("{}{}", own.message, own.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default())
    };
    App::load_with(&files, &Overrides::default(), natives).map_err(|faults| faults.iter().map(told).collect())
}

fn config(natives: Natives) -> SagaConfig {
    let definitions = load(SAGA, &natives).unwrap_or_else(|faults| panic!("{faults:?}")).sagas;
    SagaConfig { definitions, natives, hand_over: HandOver::Broker, gas_max: 100_000, quirks: quirks() }
}

fn asks_more() -> Value {
    json!({ "state": { "n": 1 }, "work": ask("more", "add"), "timers": [{ "name": "patience", "after": "1h" }] })
}

fn placed(bench: &mut Bench<Desk>) -> Vec<String> {
    bench.turn([happened("native", "o-1", "order_placed", "event/order/1")])
}

#[test]
fn a_native_program_reacts_and_undoes_as_a_written_one_does() {
    let mut bench = Bench::<Desk>::new(config(natives(asks_more())));
    let said = placed(&mut bench);
    assert!(said[0].starts_with("sets patience") && said[1] == "asks more", "{said:?}");
    let row = instance(&bench, "native", "o-1").expect("an instance");
    assert_eq!(row.state, json!({ "n": 1 }));
    bench.crash();
    assert_eq!(bench.turn([super::ended("native", "o-1", &row.works[0], true)]), Vec::<String>::new());
    assert_eq!(
        bench.turn([super::hold::on("native", "o-1", Verb::Cancel { reason: super::hold::because() })])[..2],
        ["compensating changed", "cancels a timer"]
    );
    assert_eq!(instance(&bench, "native", "o-1").expect("an instance").works[1].name.as_str(), "less");
}

#[test]
fn it_asks_for_nothing_that_its_manifest_does_not_say() {
    for (says, fault) in [
        (json!({ "work": ask("less", "release") }), "asks for `less`, which is not what `asks` says of it"),
        (json!({ "work": ask("more", "release") }), "asks for `more`, which is not what `asks` says of it"),
        (
            json!({ "timers": [{ "name": "ring", "after": "1h" }] }),
            "sets timer `ring`, which is not among `sets`",
        ),
        (json!("what"), "program_output"),
    ] {
        let mut bench = Bench::<Desk>::new(config(natives(says)));
        let said = placed(&mut bench);
        assert!(said[0].contains("poisoned by program_output") && said[0].contains(fault), "{said:?}");
    }
}

#[test]
fn a_binary_without_a_program_that_is_in_use_does_not_go_on() {
    let mut bench = Bench::<Desk>::new(config(natives(asks_more())));
    placed(&mut bench);
    let newer = SAGA.replace("placed@1", "placed@2");
    let natives =
        Natives::default().with("native.placed@2", Says(asks_more())).with("native.undo@1", Says(json!({})));
    let definitions = load(&newer, &natives).unwrap_or_else(|faults| panic!("{faults:?}")).sagas;
    let config = SagaConfig { definitions, natives, ..config(self::natives(asks_more())) };
    let refused = super::Sagas::recover(config, &bench.store);
    let is_fence = matches!(&refused, Err(Halt::Fenced(Fence::DefinitionUnreadable { detail, .. }))
        if detail.contains("this binary has no program `native.placed@1`"));
    assert!(is_fence, "{refused:?}");
}

#[test]
fn a_manifest_that_names_what_is_not_there_says_what_is() {
    let wrong = SAGA.replace("native.placed@1", "native.paced@1");
    let faults = load(&wrong, &natives(asks_more())).expect_err("no such program");
    assert_eq!(faults, ["this binary has no program `native.paced@1` (did you mean `native.placed@1`?)"]);
    let faults = load(SAGA, &Natives::default()).expect_err("none at all");
    assert!(
        faults.contains(&"this binary has no program `native.placed@1` (it has none)".to_owned()),
        "{faults:?}"
    );
    let faults = load(&SAGA.replace("    sets: [patience]\n", ""), &natives(asks_more())).expect_err("unset");
    assert_eq!(faults, ["no case sets a timer named `patience`"]);
    let faults = load(&SAGA.replace("asks: [{ name: more", "ask: [{ name: more"), &natives(asks_more()));
    let faults = faults.expect_err("a typing error");
    assert!(
        faults.contains(&"unknown field `ask` in this native program (did you mean `asks`?)".to_owned()),
        "{faults:?}"
    );
}
