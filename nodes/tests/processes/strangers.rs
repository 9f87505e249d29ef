//! Streams and data directories that do not belong together: nothing is mixed, nothing is overwritten.

use crate::manifests::shop_with;
use crate::world::shop::{Command, Shop};
use crate::world::{Node, SHOP, SOON, World, cloudlysis, eventually};
use cloudlysis_core::jetstream::api::{Discard, StreamConfig, StreamInfo};
use cloudlysis_core::wire::stream::{PlatformStream, StreamRoom};
use cloudlysis_io_nats::broker::{ApiAnswer, Broker};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

async fn ask<T: DeserializeOwned>(broker: &Broker, endpoint: &str, body: &impl Serialize) -> T {
    match broker.api(endpoint, body).await {
        ApiAnswer::Ok(answer) => answer,
        ApiAnswer::Error(error) => panic!("{endpoint}: {error:?}"),
        ApiAnswer::NoAnswer => panic!("{endpoint}: no answer"),
    }
}

/// Starts `dev` and returns its exit code and last words.
async fn refused(world: &World, data: &str) -> (Option<i32>, String) {
    let data = world.data(data);
    let data = data.to_str().expect("a path that is text");
    let arguments = world.with_surroundings(&["dev", SHOP, "--data", data, "--listen", "127.0.0.1:0"]);
    let mut process = cloudlysis("dev", &arguments, world.dir());
    let status = process.exit(SOON).await;
    (status.code(), process.log())
}

/// Waits until a node says why it stopped for good.
async fn halted(shop: &Shop, why: &str) {
    eventually(&format!("the node says: {why}"), SOON, async || {
        let (status, body) = shop.get("/ready").await?;
        let says = body["reasons"].to_string().contains(why);
        if status == 503 && says { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    assert_eq!(shop.get("/health").await.map(|(status, _)| status), Ok(503));
}

async fn stop(mut node: Node) {
    node.terminate();
    assert!(node.exit(SOON).await.success(), "{}", node.log());
}

pub(crate) async fn a_stream_that_would_lose_messages_is_refused_and_left_alone(world: World) {
    let broker = world.broker().await;
    let stream = PlatformStream::AggregateEvents;
    let wrong = StreamConfig {
        discard: Discard::Old,
        max_age_ns: 3600 * 1_000_000_000,
        ..stream.policy(StreamRoom::DEVELOPMENT)
    };
    let before: StreamInfo = ask(&broker, &format!("STREAM.CREATE.{stream}"), &wrong).await;
    let (code, log) = refused(&world, "data").await;
    assert_eq!(code, Some(4), "{log}");
    for words in [
        "stream AGGREGATE_EVENTS: `discard` is old, but must be new",
        "stream AGGREGATE_EVENTS: `max_age` is 3600 s, but must be 0",
    ] {
        assert!(log.contains(words), "{words:?} is not in:\n{log}");
    }
    let after: StreamInfo = ask(&broker, &format!("STREAM.INFO.{stream}"), &Value::Null).await;
    assert_eq!(after.config, before.config);
}

pub(crate) async fn a_data_directory_does_not_go_on_with_another_stream_of_the_same_name(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    stop(node).await;
    let broker = world.broker().await;
    for stream in PlatformStream::ALL {
        let _: Value = ask(&broker, &format!("STREAM.DELETE.{stream}"), &Value::Null).await;
    }
    let (code, log) = refused(&world, "data").await;
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains("stream AGGREGATE_EVENTS is missing, but the data directory holds state"), "{log}");

    for stream in PlatformStream::ALL {
        let policy = stream.policy(StreamRoom::DEVELOPMENT);
        let _: Value = ask(&broker, &format!("STREAM.CREATE.{stream}"), &policy).await;
    }
    let node = world.start_dev("data", &[]).await;
    let shop = node.shop();
    for partition in ["aggregate", "projection", "runner"] {
        halted(&shop, &format!("{partition}: halted: stream ")).await;
    }
    halted(&shop, "is another incarnation").await;
    eventually("it is said on the terminal too", SOON, async || {
        if node.out().contains("another incarnation") { Ok(()) } else { Err(node.out()) }
    })
    .await;
    let answer = shop.try_command(&Command::place("acme", "o-2")).await.expect("an answer");
    assert_eq!((answer.status, answer.problem()), (503, "busy"), "{answer:?}");
    let row = shop.row("acme", "order_summary", "o-1").await.expect("a query");
    assert_eq!(row.expect("what was known is still known")["status"], "shipped");
    for stream in PlatformStream::ALL {
        let info: StreamInfo = ask(&broker, &format!("STREAM.INFO.{stream}"), &Value::Null).await;
        assert_eq!((info.state.last_seq, info.state.consumer_count), (0, 0), "{stream} was touched");
    }
}

pub(crate) async fn a_second_process_is_kept_out_of_a_data_directory(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let (code, log) = refused(&world, "data").await;
    assert_eq!(code, Some(4), "{log}");
    assert!(log.contains(&format!("is in use by process {}", node.pid())), "{log}");
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
}

pub(crate) async fn a_second_data_directory_does_not_take_the_consumers_over_unasked(world: World) {
    let first = world.dev("first").await;
    let shop = first.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    let second = world.start_dev("second", &[]).await;
    halted(&second.shop(), "belongs to data directory").await;
    halted(&second.shop(), "--adopt").await;
    shop.accepted(&Command::place("acme", "o-2")).await;
    shop.order_becomes("acme", "o-2", "shipped").await;
    assert_eq!(shop.get("/ready").await.map(|(status, _)| status), Ok(200), "the first is not disturbed");
}

pub(crate) async fn a_view_with_another_definition_is_made_anew_as_its_message_says(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    stop(node).await;

    let app =
        shop_with("projections/stock_level.yaml", "reserved: 0, sold: 0", "reserved: 0, sold: 0, lost: 0");
    let app = app.path().to_str().expect("a path that is text");
    let mut node = world.start_dev_of(app, "data", &[]).await;
    for words in ["view stock_level was built by another definition", "--adopt"] {
        halted(&node.shop(), words).await;
    }
    node.terminate();
    assert_eq!(node.exit(SOON).await.code(), Some(1), "{}", node.log());
    assert!(node.log().contains("projection had stopped: view stock_level"), "{}", node.log());
    std::fs::remove_dir_all(world.data("data").join("projection")).expect("the node's own folder");
    let mut node = world.start_dev_of(app, "data", &["--adopt"]).await;
    node.ready().await;
    let shop = node.shop();
    eventually("the view is made anew", SOON, async || {
        let row = shop.row("acme", "stock_level", "tea").await?.unwrap_or_default();
        if row["sold"] == 2 && row["lost"] == 0 { Ok(()) } else { Err(row.to_string()) }
    })
    .await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    stop(node).await;
    // Once is enough.
    let mut node = world.start_dev_of(app, "data", &[]).await;
    node.ready().await;
}
