//! Tenants in two partitions, each of them processes and data directories of its own.

use crate::audit::Books;
use crate::workload::{Dice, TENANTS, Workload};
use crate::world::fleet::ROOM;
use crate::world::shop::{Command, Shop};
use crate::world::{Fleet, Node, SOON, World, cloudlysis, eventually, note};
use serde_json::Value;
use tokio::sync::watch;

const ORDERS: usize = 90;
const CUSTOMERS: usize = 6;

/// The words of `cloudlysis tenant`, and how it ended.
async fn tenant(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let url = world.broker_url();
    let arguments = [&["tenant"][..], arguments, &["--broker", &url]].concat();
    let mut process =
        cloudlysis("tenant", &arguments.into_iter().map(str::to_owned).collect::<Vec<_>>(), world.dir());
    let status = process.exit(SOON).await;
    (status.code(), process.out() + &process.log())
}

fn at<'a>(partition: &'a str, placement: &'a str) -> Vec<&'a str> {
    [&["--partition", partition, "--placement", placement][..], &ROOM].concat()
}

/// Sagas of a tenant that a runner has.
async fn sagas_of(runner: &Shop, tenant: &str) -> usize {
    let answer = runner.get_as(tenant, "/admin/runner/sagas").await.expect("an answer");
    let own = |instance: &&Value| instance["tenant_id"] == tenant;
    answer.body["instances"].as_array().map_or(0, |all| all.iter().filter(own).count())
}

/// Orders come from all tenants from the beginning. They are placed one after the other while nodes run and are killed, in
/// two partitions; in the end nothing is missing, and nothing is in both.
pub(crate) async fn tenants_join_two_partitions_while_their_orders_come_in(world: World) {
    let (seed, mut dice) = Dice::new();
    note(&format!("CLOUDLYSIS_SEED={seed}"));
    let given = std::env::var("CLOUDLYSIS_SAGAS").ok().and_then(|count| count.parse().ok());
    let orders: usize = given.unwrap_or(ORDERS);
    let workload = Workload::roll(orders, &mut dice);
    let mut aggregate = world.serve("aggregate", "data", &[&["--bootstrap"][..], &ROOM].concat()).await;
    aggregate.ready().await;
    let mut views = Vec::new();
    for partition in ["0", "1"] {
        let mut node = world.serve("projection", "data", &at(partition, "bucket")).await;
        node.stay();
        node.ready().await;
        views.push(node);
    }
    let urls = format!("{},{}", views[0].url(), views[1].url());
    let mut gateway = world.serve_gateway(&["--aggregate", &aggregate.url(), "--projection", &urls]).await;
    gateway.ready().await;
    let mut runners = Vec::new();
    for partition in ["0", "1"] {
        let gateway = gateway.url();
        let further = [&at(partition, "bucket")[..], &["--gateway", &gateway]].concat();
        let mut node = world.serve("runner", "data", &further).await;
        node.stay();
        node.ready().await;
        runners.push(node);
    }
    let shop = gateway.shop();
    workload.stock_up(&shop).await;
    let answer = shop.get_as(TENANTS[0], "/v1/query/stock_level").await.expect("an answer");
    assert_eq!((answer.status, answer.problem()), (404, "tenant_not_placed"), "{answer:?}");

    let (placed, mut watched) = watch::channel(0);
    let joins = async {
        for (nth, (name, partition)) in TENANTS.iter().zip(["0", "1", "0"]).enumerate() {
            watched.wait_for(|placed| *placed >= orders * (nth + 1) / 5).await.expect("orders are placed");
            let name = if name.is_empty() { "_" } else { *name };
            let (code, said) = tenant(&world, &["place", name, "--partition", partition]).await;
            assert_eq!(code, Some(0), "{said}");
            assert!(said.contains(&format!("{name} is in partition {partition}")), "{said}");
            // Some hear of it while they run, some when they start again.
            let killed = [0, 0, 1][nth];
            for node in [&mut runners[killed], &mut views[1 - killed]] {
                node.kill();
                node.restart().await;
                node.ready().await;
            }
        }
    };
    let (repeated, ()) = tokio::join!(workload.place(&shop, CUSTOMERS, &placed), joins);
    let shops: Vec<Shop> = runners.iter().map(Node::shop).collect();
    for (name, at) in TENANTS.iter().zip([0, 1, 0]) {
        eventually("the tenant has its sagas", SOON, async || match sagas_of(&shops[at], name).await {
            0 => Err("none yet".to_owned()),
            _ => Ok(()),
        })
        .await;
    }
    let view_shops: Vec<Shop> = views.iter().map(Node::shop).collect();
    let holders: Vec<(&str, &Shop)> = view_shops
        .iter()
        .map(|own| ("projection", own))
        .chain(shops.iter().map(|own| ("runner", own)))
        .collect();
    let books = Books::close_each(&world, &world.broker().await, &shop, &holders).await;
    note(&format!("{repeated} answers repeated; {books}"));
    books.assert_balanced(&workload);
    for (name, at) in TENANTS.iter().zip([0, 1, 0]) {
        assert_eq!(sagas_of(&shops[1 - at], name).await, 0, "{name:?} is in both");
    }

    let (code, said) = tenant(&world, &["place", "acme", "--partition", "1"]).await;
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("tenant `acme` is in partition 0"), "{said}");
    let (_, listed) = tenant(&world, &["ls", "--json"]).await;
    let listed: Value = serde_json::from_str(listed.lines().next().unwrap_or_default()).expect("JSON");
    assert_eq!(listed["tenants"]["acme"], 0, "{listed}");
}

async fn halted(node: &Node, why: &str) {
    eventually(&format!("the node says: {why}"), SOON, async || {
        let (status, body) = node.shop().get("/ready").await?;
        if status == 503 && body["reasons"].to_string().contains(why) {
            Ok(())
        } else {
            Err(body.to_string())
        }
    })
    .await;
}

/// Placements that contradict each other, and one that takes a tenant away: nothing is done twice, or forgotten.
pub(crate) async fn a_tenant_is_in_one_partition_and_stays_there(world: World) {
    let mut aggregate = world.serve("aggregate", "data", &[&["--bootstrap"][..], &ROOM].concat()).await;
    aggregate.ready().await;
    let mut views = world.serve("projection", "data", &at("0", "acme=0")).await;
    views.ready().await;
    let mut gateway =
        world.serve_gateway(&["--aggregate", &aggregate.url(), "--projection", &views.url()]).await;
    gateway.ready().await;
    let (shop, url) = (gateway.shop(), gateway.url());
    let runner = async |data: &str, partition: &str, placement: &str| {
        let further = [&at(partition, placement)[..], &["--gateway", &url]].concat();
        world.serve("runner", data, &further).await
    };
    let mut first = runner("data", "0", "acme=0").await;
    first.ready().await;
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;

    let second = runner("other", "1", "globex=1,acme=1").await;
    halted(&second, "acme belong to another partition too").await;
    let mut without = runner("third", "1", "globex=1").await;
    without.ready().await;
    shop.accepted(&Command::place("acme", "o-2")).await;
    shop.order_becomes("acme", "o-2", "shipped").await;
    assert_eq!(sagas_of(&second.shop(), "acme").await, 0);

    first.kill();
    let taken = runner("data", "0", "globex=0").await;
    halted(&taken, "acme on record").await;
    drop(taken);
    let mut first = runner("data", "0", "acme=0").await;
    first.ready().await;
    shop.accepted(&Command::place("acme", "o-3")).await;
    shop.order_becomes("acme", "o-3", "shipped").await;
    let twice: Vec<_> =
        world.services.operations().await.into_iter().filter(|own| own.requests > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

/// A shop that has grown: its one partition keeps the tenants it has, and those that come are in another one.
pub(crate) async fn one_partition_becomes_two_and_keeps_its_tenants(world: World) {
    let mut fleet = Fleet::start(&world).await;
    let mut runner = fleet.runner(&world, &[]).await;
    let shop = fleet.gateway.shop();
    for name in ["acme", ""] {
        shop.accepted(&Command::add_stock(name, "tea", 10)).await;
        shop.accepted(&Command::place(name, "o-1")).await;
        shop.order_becomes(name, "o-1", "shipped").await;
    }
    // Not everybody it has is placed there: it does not go on.
    let (code, said) = tenant(&world, &["place", "acme", "--partition", "0"]).await;
    assert_eq!(code, Some(0), "{said}");
    runner.kill();
    let gateway = fleet.gateway.url();
    let of = async |partition: &str| {
        let further = [&at(partition, "bucket")[..], &["--gateway", &gateway]].concat();
        world.serve("runner", "data", &further).await
    };
    halted(&of("0").await, "all tenants on record").await;
    let (code, said) = tenant(&world, &["place", "--existing", "--partition", "0"]).await;
    assert_eq!((code, said.contains("_ is in partition 0")), (Some(0), true), "{said}");
    let mut first = of("0").await;
    first.ready().await;
    fleet.projection.kill();
    let mut views = Vec::new();
    for partition in ["0", "1"] {
        let mut node = world.serve("projection", "data", &at(partition, "bucket")).await;
        node.ready().await;
        views.push(node);
    }
    let urls = format!("{},{}", views[0].url(), views[1].url());
    let mut queries =
        world.serve_gateway(&["--aggregate", &fleet.aggregate.url(), "--projection", &urls]).await;
    queries.ready().await;
    let shop = queries.shop();
    let mut second = of("1").await;
    second.ready().await;
    let (code, said) = tenant(&world, &["place", "globex", "--partition", "1"]).await;
    assert_eq!(code, Some(0), "{said}");
    for name in ["acme", "", "globex"] {
        shop.accepted(&Command::add_stock(name, "tea", 10)).await;
        shop.accepted(&Command::place(name, "o-2")).await;
    }
    for name in ["acme", "", "globex"] {
        shop.order_becomes(name, "o-2", "shipped").await;
    }
    let (first, second) = (first.shop(), second.shop());
    let sagas =
        [sagas_of(&first, "acme").await, sagas_of(&first, "").await, sagas_of(&second, "globex").await];
    assert_eq!((sagas, sagas_of(&first, "globex").await, sagas_of(&second, "acme").await), ([2, 2, 1], 0, 0));
    let twice: Vec<_> =
        world.services.operations().await.into_iter().filter(|own| own.requests > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}
