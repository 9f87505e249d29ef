//! SIGKILL of the broker in the middle of it all, and its return with the same store.

use crate::audit::Books;
use crate::workload::{Dice, Workload};
use crate::world::fleet::ROOM;
use crate::world::shop::Shop;
use crate::world::{SHOP, SOON, World, cloudlysis, eventually, note};
use std::time::Duration;
use tokio::sync::watch;

const ORDERS: usize = 60;
const CUSTOMERS: usize = 6;
/// How long the broker is away while we look at what the nodes do about it.
const AWAY: Duration = Duration::from_secs(3);
/// Each customer comes back about once a second, and each of their requests is logged.
const LOG_LINES_MAX: usize = 60;

pub(crate) async fn without_its_broker_a_node_waits_quietly_and_then_goes_on(mut world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let workload = Workload::roll(ORDERS, &mut dice);
    let node = world.dev("data").await;
    let shop = node.shop();
    workload.stock_up(&shop).await;
    let (placed, mut watched) = watch::channel(0);
    let outage = async {
        let at_least = 10 + usize::try_from(dice.roll(20)).expect("an index");
        watched.wait_for(|placed| *placed >= at_least).await.expect("orders are being placed");
        world.broker_process().kill();
        eventually("the node is not ready", SOON, async || {
            let (status, body) = shop.get("/ready").await?;
            let says_why = body["reasons"].to_string().contains("broker_disconnected");
            if status == 503 && says_why { Ok(()) } else { Err(body.to_string()) }
        })
        .await;
        let (cpu, lines) = (node.cpu(), node.log().lines().count());
        tokio::time::sleep(AWAY).await;
        let (cpu, lines) = (node.cpu() - cpu, node.log().lines().count() - lines);
        note(&format!(
            "broker away for {AWAY:?} after {at_least} orders: {cpu:?} of processor, {lines} lines of log"
        ));
        let (status, body) = shop.get("/health").await.expect("an answer");
        assert_eq!((status, &body["nats"]["connected"]), (200, &false.into()), "alive, and honest");
        assert_eq!(shop.get("/ready").await.map(|(status, _)| status), Ok(503));
        assert!(cpu < AWAY / 5, "{cpu:?} of processor in {AWAY:?}: it spins");
        assert!(lines < LOG_LINES_MAX, "{lines} lines of log in {AWAY:?}:\n{}", node.log());
        world.broker_process().restart().await;
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), outage);
    let books = Books::close(&world, &node).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);
}

pub(crate) async fn a_node_whose_broker_is_not_there_yet_answers_its_probes(mut world: World) {
    world.stop_broker();
    let data = world.data("data");
    let data = data.to_str().expect("a path that is text");
    let listen = ["serve", "aggregate", SHOP, "--data", data, "--listen", "127.0.0.1:0", "--bootstrap"];
    let arguments = world.with_surroundings(&[&listen[..], &ROOM].concat());
    for comes in [false, true] {
        let mut process = cloudlysis("aggregate", &arguments, world.dir());
        let url = eventually("it says where it listens", SOON, async || {
            let log = process.log();
            let waits = log.lines().find(|line| line.contains("waiting for the broker"));
            let port = waits.and_then(|line| line.split_once("127.0.0.1:"));
            let port = port.map(|(_, rest)| rest.split(|own: char| !own.is_ascii_digit()).next());
            port.flatten().map(|port| format!("http://127.0.0.1:{port}")).ok_or(log)
        })
        .await;
        let shop = Shop::of(url);
        let (status, body) = shop.get("/health").await.expect("an answer");
        assert_eq!((status, &body["nats"]["connected"]), (200, &false.into()), "{body}");
        assert_eq!((&body["storage"], body["nats"]["since"].is_string()), (&"writable".into(), true));
        let (status, body) = shop.get("/ready").await.expect("an answer");
        assert_eq!(status, 503, "{body}");
        assert_eq!(body["reasons"], serde_json::json!(["broker_disconnected", "aggregate: starting"]));
        let (status, body) = shop.get("/admin/anything").await.expect("an answer");
        assert_eq!((status, &body["code"], &body["retryable"]), (503, &"starting".into(), &true.into()));
        if comes {
            world.broker_process().restart().await;
            eventually("the node is ready", SOON * 3, async || {
                let (status, body) = shop.get("/ready").await?;
                if status == 200 { Ok(()) } else { Err(body.to_string()) }
            })
            .await;
            assert_eq!(shop.get("/admin/anything").await.map(|(status, _)| status), Ok(404));
        }
        process.signal("TERM");
        let status = process.exit(SOON).await;
        assert!(status.success(), "{status}\n{}", process.log());
    }
}
