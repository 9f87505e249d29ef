//! A broker that asks who calls: who is let in, what the others are told, and what nobody is.

use crate::world::fleet::ROOM;
use crate::world::{SOON, World, cloudlysis, eventually};

const PASSWORD: &str = "s3cret";

/// What a command said, and how it ended.
async fn said(world: &World, arguments: &[&str]) -> (Option<i32>, String) {
    let arguments: Vec<String> = arguments.iter().map(|own| (*own).to_owned()).collect();
    let mut process = cloudlysis("command", &arguments, world.dir());
    let code = process.exit(SOON).await.code();
    (code, process.out() + &process.log())
}

pub(crate) async fn a_broker_that_asks_who_calls_is_told(world: World) {
    let broker = world.guarded(&format!("authorization {{ user: shop, password: \"{PASSWORD}\" }}")).await;
    let address = |who: &str| broker.url().replace("://", &format!("://{who}"));
    let [own, stranger] =
        [format!("shop:{PASSWORD}@"), format!("other:{PASSWORD}@")].map(|who| address(&who));
    let place = ["tenant", "place", "acme", "--partition", "0", "--broker", &own];
    let (code, log) = said(&world, &place).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.contains("acme is in partition 0") && !log.contains("WARN") && !log.contains(PASSWORD),
        "{log}"
    );
    let (code, log) = said(&world, &["tenant", "ls", "--broker", &stranger]).await;
    assert_eq!(code, Some(5), "{log}");
    assert!(log.contains("does not know who calls") && !log.contains("with JetStream"), "{log}");
    assert!(log.contains("nats://***@127.0.0.1") && !log.contains(PASSWORD), "{log}");

    let data = world.data("data");
    let data = data.to_str().expect("a path that is text");
    let serve =
        ["serve", "aggregate", crate::world::SHOP, "--data", data, "--listen", "127.0.0.1:0", "--bootstrap"];
    let node = |broker: &str| -> Vec<String> {
        serve.iter().chain(&ROOM).chain(&["--broker", broker]).map(|own| (*own).to_owned()).collect()
    };
    let mut refused = cloudlysis("aggregate", &node(&stranger), world.dir());
    eventually("a node says that it is refused", SOON, async || {
        let log = refused.log();
        if log.contains("does not know who calls") && log.contains("broker=nats://***@") {
            Ok(())
        } else {
            Err(log)
        }
    })
    .await;
    assert!(!refused.log().contains(PASSWORD), "{}", refused.log());
    refused.kill();
    let mut served = cloudlysis("aggregate", &node(&own), world.dir());
    eventually("a node is served", SOON, async || {
        assert_eq!(served.ended(), None, "{}", served.log());
        if served.out().contains("http://") { Ok(()) } else { Err(served.log()) }
    })
    .await;
    assert!(!served.log().contains(PASSWORD), "{}", served.log());

    let nowhere = format!("u:{PASSWORD}@127.0.0.1:1");
    let [nats, http] = ["nats", "http"].map(|scheme| format!("{scheme}://{nowhere}"));
    let dev = world.data("dev");
    let dev = dev.to_str().expect("a path that is text");
    for (arguments, wanted) in [
        (&["tenant", "ls", "--broker", &nats][..], 6),
        (&["tenant", "ls", "--broker", &http], 2),
        (&["dev", crate::world::SHOP, "--data", dev, "--listen", "127.0.0.1:0", "--broker", &nats], 6),
        (&["serve", "runner", crate::world::SHOP, "--broker", &http], 2),
        (&["saga", "ls", "--node", &http], 6),
        (&["saga", "ls", "--node", &format!("http//{nowhere}")], 2),
    ] {
        let (code, log) = said(&world, arguments).await;
        assert_eq!(code, Some(wanted), "{arguments:?} {log}");
        assert!(log.contains("***@127.0.0.1:1") && !log.contains(PASSWORD), "{arguments:?} {log}");
    }
}
