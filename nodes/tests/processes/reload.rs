//! `/admin/reload`: new manifests under load, broken ones, and ones that are another application's.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::shop::Command;
use crate::world::{Fleet, Node, SOON, World, cloudlysis, eventually, note};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tokio::sync::watch;

const ORDERS: usize = 60;
const CUSTOMERS: usize = 6;
/// Nobody asks for it.
const WAVE: &str = "effect: wave\nbuiltin: { status: 200 }\n";

/// `cloudlysis node reload`: its exit code, and what it printed or complained about.
async fn reload(world: &World, node: &Node) -> (Option<i32>, Value) {
    let url = node.url();
    let arguments = ["node", "reload", "--json", "--node", &url].map(str::to_owned);
    let mut process = cloudlysis("node reload", &arguments, world.dir());
    let code = process.exit(SOON).await.code();
    (code, serde_json::from_str(process.out().trim()).unwrap_or_else(|_| json!(process.log())))
}

fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).expect("a manifest");
    assert!(text.contains(from), "{} has no {from}", file.display());
    fs::write(file, text.replace(from, to)).expect("written");
}

pub(crate) async fn manifests_are_swapped_under_load_or_not_at_all(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let workload = Workload::roll(ORDERS, &mut dice);
    let folder = world.application_with(&[]);
    let app = folder.to_str().expect("a path that is text");
    let fleet = Fleet::start(&world).await;
    let mut runner = fleet.runner_of(app, &world, &[]).await;
    let shop = fleet.gateway.shop();
    workload.stock_up(&shop).await;
    let (receipt, saga, main) = (
        folder.join("effects/send_receipt.yaml"),
        folder.join("sagas/checkout.yaml"),
        folder.join("app.yaml"),
    );
    let (placed, mut watched) = watch::channel(0);
    let mut until = async |share| {
        watched.wait_for(|placed| *placed >= ORDERS / share).await.expect("orders are being placed");
    };
    let sagas = runner.shop();
    let reloads = async {
        until(4).await;
        replace(&receipt, "timeout_ms: 2000", "timeout_ms: 2500");
        fs::write(folder.join("effects/wave.yaml"), WAVE).expect("written");
        let (code, report) = reload(&world, &runner).await;
        let changed = json!([
            { "kind": "effect", "name": "send_receipt", "change": "changed" },
            { "kind": "effect", "name": "wave", "change": "added" },
        ]);
        assert_eq!(
            (code, &report["changed"], &report["clean"]),
            (Some(0), &changed, &json!(true)),
            "{report}"
        );
        let (_, info) = sagas.get("/info").await.expect("an answer");
        let effects = info["nodes"]["runner"]["effects"].as_array().expect("names");
        assert!(effects.contains(&json!("wave")), "what it runs now: {info}");

        until(3).await;
        replace(&saga, "correlate:", "corelate:");
        let (code, complaint) = reload(&world, &runner).await;
        let complaint = complaint.as_str().expect("a complaint");
        assert_eq!(code, Some(1), "{complaint}");
        assert!(complaint.contains("nothing was changed") && complaint.contains("corelate"), "{complaint}");
        replace(&saga, "corelate:", "correlate:");

        until(2).await;
        replace(&main, "app: shop", "app: kiosk");
        let (code, complaint) = reload(&world, &runner).await;
        assert_eq!(code, Some(4), "{complaint}");
        assert!(complaint.as_str().is_some_and(|text| text.contains("another application")), "{complaint}");
        replace(&main, "app: kiosk", "app: shop");

        fs::remove_file(folder.join("effects/wave.yaml")).expect("removed");
        let (code, report) = reload(&world, &runner).await;
        let changed = json!([{ "kind": "effect", "name": "wave", "change": "removed" }]);
        assert_eq!((code, &report["changed"]), (Some(0), &changed), "{report}");
        assert_eq!(reload(&world, &runner).await, (Some(0), json!({ "changed": [], "elsewhere": [] })));
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), reloads);
    let views = fleet.projection.shop();
    let holders = [("projection", &views), ("runner", &sagas)];
    let books = Books::close_each(&world, &world.broker().await, &shop, &holders).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);
    let (_, ledger) = sagas.get("/admin/runner/effects").await.expect("an answer");
    assert_eq!(ledger["doubtful"], json!([]), "no call was cut off: {ledger}");
    runner.terminate();
    assert!(runner.exit(SOON).await.success(), "{}", runner.log());
}

/// Two checkouts wait for their charge while the manifest changes: one goes on as it began, the other under today's.
pub(crate) async fn an_instance_under_way_takes_up_todays_manifest_when_it_is_told_to(world: World) {
    let folder = world.application_with(&[]);
    let app = folder.to_str().expect("a path that is text");
    let fleet = Fleet::start(&world).await;
    let runner = fleet.runner_of(app, &world, &[]).await;
    let (shop, sagas) = (fleet.gateway.shop(), runner.shop());
    let instance = async |order: &str| {
        let answer = sagas.get_as("acme", &format!("/admin/runner/sagas/checkout/{order}")).await;
        answer.expect("an answer").body
    };
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    world.services.pause();
    for order in ["o-1", "o-2"] {
        shop.accepted(&Command::place("acme", order)).await;
        eventually("it waits for its charge", SOON, async || {
            let waits = instance(order).await["waits_for"].clone();
            if waits.to_string().contains("charge_card") { Ok(()) } else { Err(waits.to_string()) }
        })
        .await;
    }
    let (from, to) = ("charge: = event.payload.id", "charge: = event.payload.id, edition: two");
    replace(&folder.join("sagas/checkout.yaml"), from, to);
    assert_eq!(reload(&world, &runner).await.0, Some(0));
    let url = runner.url();
    let why = ["--reason", "the first edition forgot itself", "--tenant", "acme", "--node", &url];
    for (already, stands) in
        [(false, "checkout o-2 is running\n"), (true, "checkout o-2 is running, as before\n")]
    {
        let arguments = [&["saga", "migrate", "checkout", "o-2"][..], &why].concat().into_iter();
        let arguments: Vec<String> = arguments.map(str::to_owned).collect();
        let mut process = cloudlysis("saga migrate", &arguments, world.dir());
        assert_eq!(process.exit(SOON).await.code(), Some(0), "{}", process.log());
        assert_eq!(process.out(), stands, "already: {already}");
    }
    for (order, is_todays) in [("o-1", false), ("o-2", true)] {
        let definition = instance(order).await["definition"].clone();
        assert_eq!(definition["reacts_by"] == definition["today"], is_todays, "{order}: {definition}");
    }
    world.services.resume();
    for (order, edition) in [("o-1", Value::Null), ("o-2", json!("two"))] {
        shop.order_becomes("acme", order, "shipped").await;
        assert_eq!(instance(order).await["state"]["edition"], edition, "{order}");
    }
}
