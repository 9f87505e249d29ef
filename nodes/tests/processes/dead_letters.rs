//! What nobody answers is given up on, and goes on when an operator says so.

use crate::world::shop::Command;
use crate::world::{Fleet, LATER, Node, SOON, World, cloudlysis, eventually};
use serde_json::Value;

/// Gives up within seconds.
const IMPATIENT: [&str; 6] = [
    "--set",
    "outbox.retry_ms_max=1000",
    "--set",
    "outbox.backoff_ms_max=200",
    "--set",
    "command_deadline_ms=1000",
];
const LANE: &str = "deadletter:outbox:s:acme:checkout:o-1";

/// A command line about a node: exit code, and what it said.
async fn ask(world: &World, node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let url = node.url();
    let arguments: Vec<String> =
        [arguments, &["--node", &url]].concat().into_iter().map(str::to_owned).collect();
    let mut process = cloudlysis("ask", &arguments, world.dir());
    let code = process.exit(LATER).await.code();
    (code, process.out() + &process.log())
}

pub(crate) async fn a_command_that_nobody_answers_is_a_dead_letter_until_it_is_replayed(world: World) {
    let mut fleet = Fleet::start(&world).await;
    let shop = fleet.gateway.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    fleet.aggregate.kill();

    let mut runner = fleet.runner(&world, &IMPATIENT).await;
    let runner_shop = runner.shop();
    let held = eventually("it is given up on", LATER, async || {
        let (_, body) = runner_shop.get("/admin/runner/dlq").await?;
        body["keys"].as_array().and_then(|keys| keys.first().cloned()).ok_or_else(|| body.to_string())
    })
    .await;
    assert_eq!((held["key"].as_str(), held["cause"]["kind"].as_str()), (Some(LANE), Some("given_up")));
    assert_eq!(runner_shop.get("/ready").await.map(|(status, _)| status), Ok(200), "others go on");
    let (code, why) = ask(&world, &runner, &["saga", "why", "checkout", "o-1", "--tenant", "acme"]).await;
    assert!(code == Some(0) && why.contains(LANE) && why.contains("given_up"), "{code:?} {why}");
    let (_, list) = ask(&world, &runner, &["saga", "ls"]).await;
    assert!(list.contains("running, quarantined"), "{list}");

    runner.kill();
    runner.restart().await;
    runner.ready().await;
    fleet.aggregate.restart().await;
    fleet.aggregate.ready().await;
    let reason = ["--reason", "the aggregate is back"];
    let (code, said) =
        ask(&world, &runner, &["dlq", "replay", "--key", LANE, reason[0], reason[1], "--json"]).await;
    let selection: Value = serde_json::from_str(said.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(
        (code, &selection["released"], &selection["applied"]),
        (Some(0), &1.into(), &1.into()),
        "{said}"
    );
    shop.order_becomes("acme", "o-1", "shipped").await;
    let (_, list) = ask(&world, &runner, &["saga", "ls"]).await;
    assert!(list.contains("o-1") && !list.contains("quarantined"), "{list}");
    let charges = world.services.operations().await.into_iter().filter(|own| own.kind == "charge").count();
    assert_eq!(charges, 1);
    runner.terminate();
    assert!(runner.exit(SOON).await.success(), "{}", runner.log());
}

pub(crate) async fn what_is_purged_is_gone_and_is_accounted_for(world: World) {
    let mut fleet = Fleet::start(&world).await;
    let shop = fleet.gateway.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    for order in ["o-1", "o-2"] {
        shop.accepted(&Command::place("acme", order)).await;
    }
    fleet.aggregate.kill();
    let mut runner = fleet.runner(&world, &IMPATIENT).await;
    let runner_shop = runner.shop();
    eventually("both are given up on", LATER, async || {
        let (_, body) = runner_shop.get("/admin/runner/dlq").await?;
        if body["keys"].as_array().is_some_and(|keys| keys.len() == 2) {
            Ok(())
        } else {
            Err(body.to_string())
        }
    })
    .await;
    let purge = ["dlq", "purge", "--reason", "a rehearsal", "--json"];
    let (code, said) = ask(&world, &runner, &purge).await;
    assert!(code == Some(2) && said.contains("--yes"), "{code:?} {said}");
    let (code, said) = ask(&world, &runner, &[&purge[..], &["--tenant", "globex", "--yes"]].concat()).await;
    assert_eq!(code, Some(3), "nothing of theirs is held back: {said}");
    assert_eq!(
        runner_shop.get("/admin/runner/dlq").await.map(|(_, body)| body["keys"][1].is_object()),
        Ok(true)
    );
    let (code, said) = ask(&world, &runner, &[&purge[..], &["--tenant", "acme", "--yes"]].concat()).await;
    let selection: Value = serde_json::from_str(said.lines().last().unwrap_or_default()).expect("JSON");
    assert_eq!((code, &selection["discarded"]), (Some(0), &2.into()), "{said}");

    // Gone for good, and who did it stays to be read.
    runner.kill();
    runner.restart().await;
    runner.ready().await;
    let runner_shop = runner.shop();
    assert_eq!(
        runner_shop.get("/admin/runner/dlq").await.map(|(_, body)| body["keys"][0].is_null()),
        Ok(true)
    );
    let (_, told) = runner_shop.get("/admin/runner/dlq/selections").await.expect("an answer");
    let last = told["selections"].as_array().and_then(|all| all.last()).cloned().unwrap_or_default();
    assert_eq!((&last["state"], &last["reason"]), (&"ended".into(), &"a rehearsal".into()), "{told}");
}

pub(crate) async fn a_replay_goes_on_after_its_process_was_killed(world: World) {
    const ORDERS: [&str; 4] = ["o-1", "o-2", "o-3", "o-4"];
    let mut fleet = Fleet::start(&world).await;
    let shop = fleet.gateway.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    for order in ORDERS {
        shop.accepted(&Command::place("acme", order)).await;
    }
    fleet.aggregate.kill();
    let mut runner = fleet.runner(&world, &IMPATIENT).await;
    let runner_shop = runner.shop();
    eventually("all are given up on", LATER, async || {
        let (_, body) = runner_shop.get("/admin/runner/dlq").await?;
        let keys = body["keys"].as_array().map_or(0, Vec::len);
        if keys == ORDERS.len() { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    fleet.aggregate.restart().await;
    fleet.aggregate.ready().await;
    let slowly =
        ["dlq", "replay", "--all", "--per-second", "1", "--detach", "--reason", "the aggregate is back"];
    let (code, said) = ask(&world, &runner, &slowly).await;
    assert_eq!(code, Some(0), "{said}");
    let selection = async |runner: &Node| {
        let (_, told) = runner.shop().get("/admin/runner/dlq/selections").await?;
        let last = told["selections"].as_array().and_then(|all| all.last()).cloned();
        last.ok_or_else(|| told.to_string())
    };
    eventually("the first has had its turn", LATER, async || {
        let told = selection(&runner).await?;
        if told["applied"].as_u64() >= Some(1) { Ok(()) } else { Err(told.to_string()) }
    })
    .await;
    runner.kill();
    runner.restart().await;
    let told = selection(&runner).await.expect("it is durable");
    assert_ne!(told["state"], "ended", "it was under way: {told}");
    runner.ready().await;
    let told = eventually("the selection has ended", LATER, async || {
        let told = selection(&runner).await?;
        if told["state"] == "ended" { Ok(told) } else { Err(told.to_string()) }
    })
    .await;
    assert_eq!((&told["applied"], &told["released"]), (&ORDERS.len().into(), &ORDERS.len().into()), "{told}");
    for order in ORDERS {
        shop.order_becomes("acme", order, "shipped").await;
    }
    let charges = world.services.operations().await.into_iter().filter(|own| own.kind == "charge").count();
    assert_eq!(charges, ORDERS.len());
}
