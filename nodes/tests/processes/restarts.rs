//! Sagas that have ended and begin again, and events that come again for a saga, on real processes.

use crate::timers::{ALARM, saga};
use crate::world::shop::Command;
use crate::world::{LATER, Node, SOON, World, eventually};
use serde_json::Value;
use std::collections::BTreeSet;

async fn checkout(world: &World, node: &Node) -> Result<Value, String> {
    let (code, said) = saga(world, node, &["show", "checkout", "o-1"]).await;
    if code == Some(0) { serde_json::from_str(&said).map_err(|error| error.to_string()) } else { Err(said) }
}

async fn undone(world: &World, node: &Node, restarts: u64) -> Value {
    eventually("the checkout is undone", LATER, async || {
        let instance = checkout(world, node).await?;
        let over = instance["status"] == "compensated" && instance["restarts"] == restarts;
        if over { Ok(instance) } else { Err(instance.to_string()) }
    })
    .await
}

fn works(instance: &Value, field: &str) -> Vec<String> {
    let works = instance["works"].as_array().into_iter().flatten();
    works.filter_map(|work| work[field].as_str().map(str::to_owned)).collect()
}

/// What a replay says.
async fn replayed(world: &World, node: &Node, further: &[&str]) -> Value {
    let replay = ["replay", "alarm", "--from-seq", "1", "--reason", "it is new", "--json"];
    let (code, said) = saga(world, node, &[&replay[..], further].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    let answer = said.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    serde_json::from_str(answer).expect("JSON")
}

pub(crate) async fn a_saga_that_is_new_takes_up_what_was_there_before(world: World) {
    let mut old = world.dev("data").await;
    let shop = old.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 900)).await;
    for order in 0..60 {
        shop.accepted(&Command::place("acme", &format!("o-{order}"))).await;
    }
    for order in 0..60 {
        shop.order_becomes("acme", &format!("o-{order}"), "shipped").await;
    }
    old.terminate();
    assert_eq!(old.exit(LATER).await.code(), Some(0), "{}", old.log());

    let app = world.application_with(&[("sagas/alarm.yaml", ALARM)]);
    let mut node = world.dev_of(&app, "data").await;
    let alarms = async |node: &Node| saga(&world, node, &["ls", "--saga", "alarm"]).await.1.lines().count();
    assert_eq!(alarms(&node).await, 0, "what was passed does not come by itself");
    let dry = replayed(&world, &node, &["--dry-run"]).await;
    let more_than_a_page = dry["messages"].as_u64().is_some_and(|messages| messages > 100);
    assert!(more_than_a_page && dry["begun"] == 60, "{dry}");
    assert_eq!(alarms(&node).await, 0, "a dry run changes nothing");
    let some = replayed(&world, &node, &["--to-seq", "40"]).await;
    assert!(some["begun"].as_u64().is_some_and(|begun| begun > 0 && begun < 60), "{some}");
    node.kill();
    node.restart().await;
    node.ready().await;
    let rest = replayed(&world, &node, &[]).await;
    let sum =
        |field: &str| some[field].as_u64().unwrap_or_default() + rest[field].as_u64().unwrap_or_default();
    assert_eq!((sum("begun"), &rest["known"]), (60, &some["begun"]), "{some}, {rest}");
    assert_eq!(alarms(&node).await, 60);
    let again = replayed(&world, &node, &[]).await;
    assert_eq!((&again["begun"], &again["known"]), (&Value::from(0), &Value::from(60)), "{again}");
    for (arguments, code) in [
        (&["replay", "nobody", "--from-seq", "1", "--reason", "why not"][..], 3),
        (&["replay", "alarm", "--from-seq", "1", "--reason", " "], 2),
        (&["replay", "alarm", "--reason", "from where"], 2),
    ] {
        let (exit, said) = saga(&world, &node, arguments).await;
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
    }
}

pub(crate) async fn a_checkout_that_failed_begins_again_and_asks_anew(world: World) {
    let app = world.application_with(&[]);
    let mut node = world.dev_of(&app, "data").await;
    let shop = node.shop();
    shop.accepted(&Command::place("acme", "o-1")).await;
    let failed = undone(&world, &node, 0).await;
    assert_eq!(works(&failed, "name"), ["reserve", "reject"], "there is no tea: {failed}");

    let restart = ["restart", "checkout", "o-1", "--reason", "there is tea again", "--restarts", "0"];
    let (code, said) = saga(&world, &node, &[&restart[..], &["--dry-run"]].concat()).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("compensated; restarted, it would ask for reserve"), "{said}");
    assert_eq!(checkout(&world, &node).await.as_ref(), Ok(&failed), "a dry run changes nothing");

    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let (code, said) = saga(&world, &node, &restart).await;
    assert!(code == Some(0) && said.contains("running again, and asks for reserve"), "{said}");
    node.kill();
    node.restart().await;
    node.ready().await;
    // The order was rejected when the first checkout failed: what is charged now is paid back.
    let again = undone(&world, &node, 1).await;
    let names = works(&again, "name");
    let expected = ["reserve", "charge", "confirm"];
    assert!(
        names.starts_with(&expected.map(str::to_owned)) && names.contains(&"refund".to_owned()),
        "{again}"
    );
    let before: BTreeSet<String> = works(&failed, "id").into_iter().collect();
    let after: BTreeSet<String> = works(&again, "id").into_iter().collect();
    assert!(before.is_disjoint(&after), "INV-SAGA-9: {before:?}, {after:?}");
    eventually("what was reserved and charged is given back", SOON, async || {
        let row = node.shop().row("acme", "stock_level", "tea").await?.unwrap_or_default();
        let back = row["on_hand"] == 10 && row["reserved"] == 0;
        if back { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    let (_, ledger) = node.shop().get("/admin/runner/effects").await.expect("an answer");
    for effect in ["charge_card", "refund_card"] {
        // The kill may have cut its call off.
        let done = ["once", "maybe_twice"].map(|verdict| ledger["counts"][effect][verdict].as_u64());
        assert_eq!(done.iter().flatten().sum::<u64>(), 1, "{effect}: {ledger}");
    }

    let (code, said) = saga(&world, &node, &restart).await;
    assert!(code == Some(0) && said.contains("compensated, as before"), "it is done already: {said}");
    for (arguments, code) in [
        (&["restart", "checkout", "o-2", "--reason", "why not"][..], 3),
        (&["restart", "checkout", "o-1", "--reason", "why not", "--restarts", "7"], 4),
        (&["restart", "checkout", "o-1", "--reason", " "], 2),
    ] {
        let (exit, said) = saga(&world, &node, arguments).await;
        assert_eq!(exit, Some(code), "{arguments:?}: {said}");
    }
}
