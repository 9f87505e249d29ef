//! Timers and signals of sagas, on real processes: a timer outlives the process that set it, and fires once.

use crate::world::shop::Command;
use crate::world::{LATER, Node, SOON, World, eventually, note};
use serde_json::{Value, json};

/// Rings once, and goes on until it is told to stop.
pub(crate) const ALARM: &str = "
saga: alarm
correlate: { order.order_placed: event.aggregate_id }
starts_on: [order.order_placed]
on_event:
  order.order_placed:
    set: { rung: 0 }
    timers: [{ name: ring, after: 2s }, { name: patience, after: 24h }]
  ring.fired: { set: { rung: = state.rung + 1, due: = event.due_at } }
  patience.fired: { complete: true }
  signal.stop: { set: { stopped_by: = event.payload.who }, complete: true }
";

/// `cloudlysis saga …` about an instance of acme's: exit code, and what it said.
pub(crate) async fn saga(world: &World, node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    node.of_acme(world, "saga", arguments).await
}

async fn shown(world: &World, node: &Node) -> Result<Value, String> {
    let (code, said) = saga(world, node, &["show", "alarm", "o-1"]).await;
    if code == Some(0) { serde_json::from_str(&said).map_err(|error| error.to_string()) } else { Err(said) }
}

pub(crate) async fn a_timer_outlives_its_process_and_a_signal_is_heard_once(world: World) {
    let app = world.application_with(&[("sagas/alarm.yaml", ALARM)]);
    let mut node = world.dev_of(&app, "data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    let set = eventually("the timer is set", SOON, async || {
        let instance = shown(&world, &node).await?;
        let due = instance["timers"][0]["due"].as_u64().ok_or_else(|| instance.to_string())?;
        Ok::<_, String>((due, instance))
    })
    .await;
    let ring = json!({ "kind": "timer", "name": "ring", "due": set.0 });
    assert!(set.1["waits_for"].as_array().is_some_and(|waits| waits.contains(&ring)), "{}", set.1);
    node.kill();
    node.restart().await;

    let rung = eventually("the timer fires", LATER, async || {
        let instance = shown(&world, &node).await?;
        if instance["state"]["rung"] == 1 { Ok(instance) } else { Err(instance.to_string()) }
    })
    .await;
    note(&format!("due {}, {}", set.0, rung["state"]));
    assert_eq!(rung["timers"].as_array().map(Vec::len), Some(1), "patience is left: {rung}");
    let (code, said) = saga(&world, &node, &["why", "alarm", "o-1"]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("waits for timer `patience`") && said.contains("reacts to signal `stop`"),
        "{said}"
    );

    let stop = ["signal", "alarm", "o-1", "stop", "--payload", "{\"who\":\"me\"}", "--id", "s-1"];
    for duplicate in [false, true] {
        let (code, said) = saga(&world, &node, &stop).await;
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        assert_eq!((code, &answer["duplicate"]), (Some(0), &json!(duplicate)), "{said}");
    }
    eventually("the signal is heard", SOON, async || {
        let instance = shown(&world, &node).await?;
        let over = instance["status"] == "completed" && instance["state"]["stopped_by"] == "me";
        let left = [&instance["timers"], &instance["waits_for"]].map(|list| list.as_array().map(Vec::len));
        if over && left == [Some(0), Some(0)] { Ok(()) } else { Err(instance.to_string()) }
    })
    .await;
    let (code, said) = saga(&world, &node, &["ls", "--saga", "alarm"]).await;
    assert!(code == Some(0) && said.contains("o-1") && said.contains("completed"), "{said}");

    for (arguments, code) in [
        (&["show", "alarm", "o-2"][..], 3),
        (&["signal", "alarm", "o-1", "go"], 3),
        (&["signal", "alarm", "o-1", "stop", "--payload", "{"], 2),
        (&["show", "alrm", "o-1"], 3),
    ] {
        let (exit, said) = saga(&world, &node, arguments).await;
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
    }
}

pub(crate) async fn a_paused_saga_holds_what_comes_and_goes_on_after_a_restart(world: World) {
    let patient = ALARM.replace("after: 2s", "after: 6s");
    let app = world.application_with(&[("sagas/alarm.yaml", &patient)]);
    let mut node = world.dev_of(&app, "data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    eventually("the alarm is set", SOON, async || shown(&world, &node).await.map(drop)).await;
    let pause = ["pause", "alarm", "o-1", "--reason", "do not wake the baby"];
    for already in [false, true] {
        let (code, said) = saga(&world, &node, &pause).await;
        assert_eq!((code, said.contains("as before")), (Some(0), already), "{said}");
    }
    let (code, said) =
        saga(&world, &node, &["signal", "alarm", "o-1", "stop", "--payload", "{\"who\":\"me\"}"]).await;
    assert_eq!(code, Some(0), "{said}");
    // The bell rings, and then the signal comes, or the other way round: both wait.
    let held = async |node: &Node| {
        let instance = shown(&world, node).await?;
        if instance["paused"]["messages"] == 2 { Ok(instance) } else { Err(instance.to_string()) }
    };
    let instance = eventually("what comes is held", LATER, async || held(&node).await).await;
    assert_eq!(
        (&instance["status"], &instance["state"]["rung"]),
        (&json!("running"), &json!(0)),
        "{instance}"
    );
    let (code, said) = saga(&world, &node, &["why", "alarm", "o-1"]).await;
    assert!(code == Some(0) && said.contains("do not wake the baby; 2 held"), "{said}");
    node.kill();
    node.restart().await;
    node.ready().await;
    held(&node).await.expect("held across a restart");
    let (code, said) = saga(&world, &node, &["resume", "alarm", "o-1"]).await;
    assert!(code == Some(0) && said.contains("with 2 that came meanwhile"), "{said}");
    let over = shown(&world, &node).await.expect("an instance");
    assert_eq!((&over["status"], &over["paused"]), (&json!("completed"), &Value::Null), "{over}");
    for (arguments, code) in [
        (&["resume", "alarm", "o-1"][..], 4),
        (&["resume", "alarm", "o-2"], 3),
        (&["pause", "alarm", "o-1", "--reason", ""], 2),
    ] {
        let (exit, said) = saga(&world, &node, arguments).await;
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
    }
}

pub(crate) async fn a_killed_saga_stays_dead_and_a_cancelled_one_undoes(world: World) {
    let app = world.application_with(&[("sagas/alarm.yaml", ALARM)]);
    let mut node = world.dev_of(&app, "data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    for order in ["o-1", "o-2"] {
        shop.accepted(&Command::place("acme", order)).await;
    }
    eventually("the alarms are set", SOON, async || {
        let (_, said) = saga(&world, &node, &["ls", "--saga", "alarm", "--open"]).await;
        if said.lines().count() == 2 { Ok(()) } else { Err(said) }
    })
    .await;
    for already in [false, true] {
        let (code, said) =
            saga(&world, &node, &["kill", "alarm", "o-1", "--reason", "rings at night", "--json"]).await;
        let answer: Value = serde_json::from_str(&said).unwrap_or_default();
        assert_eq!((code, &answer["status"]), (Some(0), &json!("killed")), "{said}");
        assert_eq!(answer["changed"], json!(!already), "{said}");
    }
    let (code, said) = saga(&world, &node, &["cancel", "alarm", "o-2", "--reason", "moved out"]).await;
    assert!(code == Some(0) && said.contains("alarm o-2 is compensated"), "{said}");
    node.kill();
    node.restart().await;
    node.ready().await;
    let (code, said) = saga(&world, &node, &["why", "alarm", "o-1"]).await;
    assert!(code == Some(0) && said.contains("alarm o-1 is killed"), "{said}");
    assert!(said.contains("killed by an operator at") && said.contains("rings at night"), "{said}");
    let killed = shown(&world, &node).await.expect("an instance");
    assert_eq!([&killed["timers"], &killed["waits_for"]], [&json!([]), &json!([])], "{killed}");
    for verb in ["pause", "cancel"] {
        let (code, said) = saga(&world, &node, &[verb, "alarm", "o-1", "--reason", "late"]).await;
        assert_eq!(code, Some(4), "{said}");
    }
}
