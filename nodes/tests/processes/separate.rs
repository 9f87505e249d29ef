//! Every node as a process of its own.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::fleet::ROOM;
use crate::world::shop::Command;
use crate::world::{Fleet, SOON, World, cloudlysis, eventually, note};
use tokio::sync::watch;

const ORDERS: usize = 60;
const CUSTOMERS: usize = 6;

pub(crate) async fn four_processes_ship_an_order(world: World) {
    let fleet = Fleet::start(&world).await;
    let mut runner = fleet.runner(&world, &[]).await;
    for node in [&fleet.aggregate, &fleet.projection, &fleet.gateway, &runner] {
        assert_eq!(node.shop().get("/health").await.map(|(status, _)| status), Ok(200));
    }
    let shop = fleet.gateway.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;

    // A runner that comes back goes on where it was.
    runner.kill();
    shop.accepted(&Command::place("acme", "o-2")).await;
    runner.restart().await;
    shop.order_becomes("acme", "o-2", "shipped").await;
    for mut node in [runner, fleet.gateway, fleet.projection, fleet.aggregate] {
        node.terminate();
        let status = node.exit(SOON).await;
        assert!(status.success(), "{status}\n{}", node.log());
    }
}

/// Each half is killed while orders are placed; the other goes on, and together they lose nothing and repeat nothing.
pub(crate) async fn sagas_and_effects_as_two_processes_carry_out_a_workload(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let workload = Workload::roll(ORDERS, &mut dice);
    let fleet = Fleet::start(&world).await;
    let mut sagas = fleet.runner(&world, &["--mode", "saga"]).await;
    let mut effects = fleet.runner(&world, &["--mode", "effect"]).await;
    let shop = fleet.gateway.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let kills = async {
        for (at, half) in [(ORDERS / 4, &mut sagas), (ORDERS / 2, &mut effects)] {
            watched.wait_for(|placed| *placed >= at).await.expect("orders are being placed");
            half.kill();
            half.restart().await;
        }
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), kills);
    let (views, sagas_shop, effects_shop) = (fleet.projection.shop(), sagas.shop(), effects.shop());
    let holders = [("projection", &views), ("runner", &sagas_shop), ("runner", &effects_shop)];
    let books = Books::close_each(&world, &world.broker().await, &shop, &holders).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);

    // Each has what is its own, and nothing of the other's.
    let (status, ledger) = effects_shop.get("/admin/runner/effects").await.expect("an answer");
    assert_eq!((status, ledger["counts"]["charge_card"]["open"].as_u64()), (200, Some(0)), "{ledger}");
    assert_eq!(effects_shop.get("/admin/runner/sagas").await.map(|(status, _)| status), Ok(404));
    assert_eq!(sagas_shop.get("/admin/runner/effects").await.map(|(status, _)| status), Ok(404));
    for (half, reads, not) in [
        (&sagas_shop, "saga_results-p0", "effect_commands-p0"),
        (&effects_shop, "effect_commands-p0", "saga_results-p0"),
    ] {
        let (_, metrics) = half.get("/metrics").await.expect("an answer");
        let metrics = metrics.as_str().expect("text");
        assert!(metrics.contains(reads) && !metrics.contains(not), "{metrics}");
    }
}

pub(crate) async fn a_wrong_setting_is_refused_with_its_origin(world: World) {
    let file = world.data("runner.yaml");
    std::fs::write(&file, "gate:\n  batch: 0\n  bach: 1\n").expect("written");
    let file = file.to_str().expect("a path that is text");
    let wrong = ["serve", "runner", crate::world::SHOP, "--config", file, "--set", "mode=both"];
    let mut process = cloudlysis("runner", &world.with_surroundings(&wrong), world.dir());
    assert_eq!(process.exit(SOON).await.code(), Some(2), "{}", process.log());
    for fault in [
        &format!("`gate.batch` is 0 (file:{file}); allowed is a whole number from 1 to 10000"),
        &format!("unknown setting `gate.bach` of a runner node (file:{file}); did you mean `gate.batch`?"),
        "`mode` is \"both\" (flag); allowed is `combined` or `saga` or `effect`",
    ] {
        assert!(process.log().contains(fault), "{fault}\n{}", process.log());
    }
    let shown = ["serve", "runner", "--set", "gate.batch=7", "--dump-config"];
    let mut process = cloudlysis("runner", &shown.map(str::to_owned), world.dir());
    assert!(process.exit(SOON).await.success(), "{}", process.log());
    let lines = process.out();
    let line = lines.lines().find(|line| line.starts_with("gate.batch = 7")).unwrap_or_default();
    assert!(line.ends_with("# flag"), "{lines}");
}

pub(crate) async fn a_runner_keeps_the_mode_it_began_with(world: World) {
    for (was, wanted) in [("runner", "saga"), ("runner", "effect"), ("runner-saga", "combined")] {
        let data = world.data(&format!("{was}-{wanted}"));
        std::fs::create_dir_all(data.join(was)).expect("a directory");
        let data = data.to_str().expect("a path that is text");
        let arguments = ["serve", "runner", crate::world::SHOP, "--data", data, "--mode", wanted];
        let arguments = arguments.into_iter().chain(["--listen", "127.0.0.1:0"]).collect::<Vec<_>>();
        let mut process = cloudlysis("runner", &world.with_surroundings(&arguments), world.dir());
        assert_eq!(process.exit(SOON).await.code(), Some(4), "{}", process.log());
        assert!(process.log().contains("of a runner in another mode"), "{}", process.log());
    }
}

pub(crate) async fn a_node_waits_for_the_one_that_creates_the_streams(world: World) {
    let data = world.data("data");
    let data = data.to_str().expect("a path that is text");
    let arguments = ["serve", "projection", crate::world::SHOP, "--data", data, "--listen", "127.0.0.1:0"];
    let arguments = [&arguments[..], &ROOM].concat();
    let mut projection = cloudlysis("projection", &world.with_surroundings(&arguments), world.dir());
    eventually("it waits", SOON, async || {
        let log = projection.log();
        if log.contains("waiting for a node that creates it") { Ok(()) } else { Err(log) }
    })
    .await;
    let bootstrap = [&["--bootstrap"][..], &ROOM].concat();
    let aggregate = world.serve("aggregate", "data", &bootstrap).await;
    eventually("both go on", SOON, async || {
        assert_eq!(projection.ended(), None, "{}", projection.log());
        if projection.out().contains("http://") { Ok(()) } else { Err(aggregate.log()) }
    })
    .await;
}

pub(crate) async fn streams_are_created_only_on_request(world: World) {
    let data = world.data("data");
    let data = data.to_str().expect("a path that is text");
    let arguments = ["serve", "aggregate", crate::world::SHOP, "--data", data, "--listen", "127.0.0.1:0"];
    let mut process = cloudlysis("aggregate", &world.with_surroundings(&arguments), world.dir());
    assert_eq!(process.exit(SOON).await.code(), Some(3));
    assert!(process.log().contains("stream AGGREGATE_EVENTS does not exist"), "{}", process.log());
    assert!(process.log().contains("--bootstrap"), "{}", process.log());
}
