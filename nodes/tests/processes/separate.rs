//! Every node as a process of its own.

use crate::world::shop::Command;
use crate::world::{SOON, World, cloudlysis};

/// The broker reserves the room it promises.
const ROOM: [&str; 4] = ["--events-gib", "1", "--workflow-gib", "1"];

pub(crate) async fn four_processes_ship_an_order(world: World) {
    let bootstrap = [&["--bootstrap"][..], &ROOM].concat();
    let mut aggregate = world.serve("aggregate", "data", &bootstrap).await;
    let mut projection = world.serve("projection", "data", &ROOM).await;
    let (aggregate_url, projection_url) = (aggregate.url(), projection.url());
    let upstreams = ["--aggregate", &aggregate_url, "--projection", &projection_url];
    let mut gateway = world.serve_gateway(&upstreams).await;
    let mut runner =
        world.serve("runner", "data", &[&["--gateway", &gateway.url()][..], &ROOM].concat()).await;
    for node in [&mut aggregate, &mut projection, &mut gateway, &mut runner] {
        node.ready().await;
        assert_eq!(node.shop().get("/health").await.map(|(status, _)| status), Ok(200));
    }
    let shop = gateway.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;

    // A runner that comes back goes on where it was.
    runner.kill();
    shop.accepted(&Command::place("acme", "o-2")).await;
    runner.restart().await;
    shop.order_becomes("acme", "o-2", "shipped").await;
    for mut node in [runner, gateway, projection, aggregate] {
        node.terminate();
        let status = node.exit(SOON).await;
        assert!(status.success(), "{status}\n{}", node.log());
    }
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
