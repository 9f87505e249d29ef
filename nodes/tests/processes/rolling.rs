//! A rolling restart under load: every process in turn, by SIGTERM; then drains on request, and SIGKILL after them.
//!
//! Nobody is cut off in the middle of anything, so nothing is lost and nothing is even in doubt.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::{Fleet, Node, SOON, World, note};
use serde_json::json;
use std::time::Instant;
use tokio::sync::watch;

/// Sagas, unless `CLOUDLYSIS_SAGAS` says otherwise.
const ORDERS: usize = 120;
const CUSTOMERS: usize = 6;

/// Stops a process in good order, and starts it again where it was.
async fn roll(node: &mut Node) {
    node.terminate();
    let status = node.exit(SOON).await;
    let log = node.log();
    assert!(status.success(), "{status}\n{log}");
    assert!(!log.contains("clean=false"), "{log}");
    node.restart().await;
    node.ready().await;
}

/// Has a process drained by request, and kills it.
async fn drain_and_kill(node: &mut Node) {
    let body = json!({ "deadline_ms": 10_000 }).to_string();
    let answer = node.shop().post("/admin/drain", body).await.expect("an answer");
    assert_eq!((answer.status, &answer.body["clean"]), (200, &json!(true)), "{answer:?}");
    node.kill();
    node.restart().await;
    node.ready().await;
}

pub(crate) async fn every_process_is_restarted_under_load_and_nothing_is_lost_or_in_doubt(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let given = std::env::var("CLOUDLYSIS_SAGAS").ok().and_then(|count| count.parse().ok());
    let orders: usize = given.unwrap_or(ORDERS);
    let workload = Workload::roll(orders, &mut dice);
    let mut fleet = Fleet::start(&world).await;
    let mut sagas = fleet.runner(&world, &["--mode", "saga"]).await;
    let mut effects = fleet.runner(&world, &["--mode", "effect"]).await;
    let shop = fleet.gateway.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let started = Instant::now();
    let (views, sagas_shop, effects_shop) = (fleet.projection.shop(), sagas.shop(), effects.shop());
    let restarts = async {
        let Fleet { aggregate, projection, gateway } = &mut fleet;
        let all = [aggregate, projection, gateway, &mut sagas, &mut effects];
        for (nth, node) in all.into_iter().enumerate() {
            watched.wait_for(|placed| *placed >= orders * (nth + 1) / 8).await.expect("orders are placed");
            roll(node).await;
        }
        for (nth, node) in [&mut sagas, &mut effects].into_iter().enumerate() {
            watched.wait_for(|placed| *placed >= orders * (nth + 6) / 8).await.expect("orders are placed");
            drain_and_kill(node).await;
        }
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), restarts);
    let holders = [("projection", &views), ("runner", &sagas_shop), ("runner", &effects_shop)];
    let books = Books::close_each(&world, &world.broker().await, &shop, &holders).await;
    note(&format!("{repeated} answers repeated; {books}; {:?}", started.elapsed()));
    books.assert_balanced(&workload);

    let twice: Vec<_> =
        world.services.operations().await.into_iter().filter(|own| own.requests > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    let (status, ledger) = effects_shop.get("/admin/runner/effects").await.expect("an answer");
    assert_eq!(status, 200, "{ledger}");
    for (effect, counts) in ledger["counts"].as_object().expect("counts") {
        for verdict in ["open", "maybe", "maybe_twice", "never"] {
            assert_eq!(counts[verdict], 0, "{effect}: {ledger}");
        }
    }
}
