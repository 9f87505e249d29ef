//! SIGTERM: what is under way is finished, the process ends well, and the next one goes on.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::shop::Command;
use crate::world::{SOON, World, eventually, note};
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
