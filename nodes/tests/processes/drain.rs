//! SIGTERM and `/admin/drain`: what is under way is finished, the process ends well, and the next one goes on.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::shop::Command;
use crate::world::{Node, SOON, World, cloudlysis, eventually, note};
use serde_json::{Value, json};
use tokio::sync::watch;

const ORDERS: usize = 40;
const CUSTOMERS: usize = 8;

pub(crate) async fn a_terminated_process_drains_and_the_next_one_goes_on(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let workload = Workload::roll(ORDERS, &mut dice);
    let mut node = world.dev("data").await;
    let shop = node.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let stop = async {
        watched.wait_for(|placed| *placed >= ORDERS / 3).await.expect("orders are being placed");
        node.terminate();
        let status = node.exit(SOON).await;
        let log = node.log();
        assert!(status.success(), "{status}");
        let drained: Vec<&str> = log.lines().filter(|line| line.contains("drained")).collect();
        assert_eq!(drained.len(), 3, "one report per partition: {drained:?}");
        assert!(drained.iter().all(|line| line.contains("clean=true")), "{drained:?}");
        node.restart().await;
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), stop);
    let books = Books::close(&world, &node).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);
}

pub(crate) async fn a_call_under_way_is_waited_for(world: World) {
    let mut node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    world.services.pause();
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.effect_under_way().await;
    node.terminate();
    eventually("the node drains", SOON, async || {
        if node.log().contains("draining") { Ok(()) } else { Err(node.log()) }
    })
    .await;
    world.services.resume();
    let status = node.exit(SOON).await;
    assert!(status.success(), "{status}");
    node.restart().await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    let charges = world.services.operations().await.into_iter().filter(|own| own.kind == "charge");
    let charges: Vec<_> = charges.map(|own| (own.status, own.requests)).collect();
    assert_eq!(charges, [(201, 1)], "asked for once, and its answer not lost");
}

/// `cloudlysis node drain`: its exit code and what it printed.
async fn drain(world: &World, node: &Node, further: &[&str]) -> (Option<i32>, Value) {
    let url = node.url();
    let arguments = [&["node", "drain", "--json", "--node", &url][..], further].concat();
    let arguments: Vec<String> = arguments.into_iter().map(str::to_owned).collect();
    let mut process = cloudlysis("node drain", &arguments, world.dir());
    let code = process.exit(SOON).await.code();
    (code, serde_json::from_str(process.out().trim()).unwrap_or_else(|_| json!(process.log())))
}

pub(crate) async fn a_drained_process_stays_and_says_so_until_it_is_terminated(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let workload = Workload::roll(ORDERS, &mut dice);
    let mut node = world.dev("data").await;
    let shop = node.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let stop = async {
        watched.wait_for(|placed| *placed >= ORDERS / 3).await.expect("orders are being placed");
        let (code, report) = drain(&world, &node, &[]).await;
        assert_eq!(
            (code, &report["clean"], &report["in_flight"]),
            (Some(0), &json!(true), &json!(0)),
            "{report}"
        );
        let (status, ready) = shop.get("/ready").await.expect("an answer");
        assert_eq!(status, 503, "{ready}");
        for name in ["aggregate", "projection", "runner"] {
            let reason = json!(format!("{name}: draining"));
            assert!(ready["reasons"].as_array().is_some_and(|all| all.contains(&reason)), "{ready}");
        }
        assert_eq!(shop.get("/health").await.map(|(status, _)| status), Ok(200), "it is well");
        assert_eq!(drain(&world, &node, &["--deadline-ms", "1"]).await, (Some(0), report), "once is enough");
        node.terminate();
        let status = node.exit(SOON).await;
        assert!(status.success(), "{status}\n{}", node.log());
        node.restart().await;
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), stop);
    let books = Books::close(&world, &node).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);
}

pub(crate) async fn a_drain_ends_by_its_deadline_and_says_what_is_left(world: World) {
    let mut node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    world.services.pause();
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.effect_under_way().await;
    let (code, report) = drain(&world, &node, &["--deadline-ms", "300"]).await;
    let runner = &report["nodes"]["runner"];
    assert_eq!(
        (code, &runner["clean"], &runner["in_flight"]),
        (Some(1), &json!(false), &json!(1)),
        "{report}"
    );
    let refused = shop.post("/admin/drain", json!({ "deadline": 1 }).to_string()).await.expect("an answer");
    assert_eq!((refused.status, refused.problem()), (400, "invalid_body"));
    world.services.resume();
    node.kill();
    node.restart().await;
    shop.order_becomes("acme", "o-1", "shipped").await;
}
