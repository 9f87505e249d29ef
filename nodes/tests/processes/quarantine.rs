//! What goes wrong with one order stays with that order.

use crate::world::shop::{Command, Shop};
use crate::world::{Node, SOON, World, cloudlysis, eventually};
use cloudlysis_core::wire::answer::PublishAnswer;
use cloudlysis_core::wire::headers::Headers;
use serde_json::{Value, json};

pub(crate) async fn a_charge_that_fails_releases_the_stock_and_cancels_the_order(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let declined = json!({ "sku": "tea", "qty": 4, "cents": 500, "card": "declined" });
    shop.accepted(&Command::place("acme", "o-1").with(declined)).await;
    let row = shop.order_becomes("acme", "o-1", "cancelled").await;
    assert_eq!(row["reason"], "payment_failed");
    eventually("the stock is released", SOON, async || {
        let row = shop.row("acme", "stock_level", "tea").await?;
        let released = json!({ "on_hand": 10, "reserved": 0, "sold": 0 });
        if row.as_ref() == Some(&released) { Ok(()) } else { Err(format!("{row:?}")) }
    })
    .await;
    let operations = world.services.operations().await;
    let done: Vec<_> = operations.iter().map(|own| (own.kind.as_str(), own.status)).collect();
    assert_eq!(done, [("charge", 402)], "nothing to refund, nothing shipped");
}

/// Waits until every consumer of a node that holds something back holds so many messages of this one key.
async fn quarantined(shop: &Shop, node: &str, messages: u64) -> Vec<Value> {
    let what = format!("{node} holds {messages} message(s) back");
    eventually(&what, SOON, async || {
        let (_, body) = shop.get(&format!("/admin/{node}/dlq")).await?;
        let keys = body["keys"].as_array().cloned().unwrap_or_default();
        let held = !keys.is_empty() && keys.iter().all(|key| key["messages"] == messages);
        if held { Ok(keys) } else { Err(body.to_string()) }
    })
    .await
}

/// `cloudlysis dlq …`: exit code, and its lines of JSON, or what it said instead.
async fn dlq(world: &World, node: &Node, arguments: &[&str]) -> (Option<i32>, Vec<Value>) {
    let url = node.url();
    let about = ["--node", &url, "--json"];
    let arguments = ["dlq"].iter().chain(arguments).chain(&about).map(|own| (*own).to_owned());
    let mut process = cloudlysis("dlq", &arguments.collect::<Vec<_>>(), world.dir());
    let code = process.exit(SOON).await.code();
    let said = process.out() + &process.log();
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()));
    (code, said.lines().map(line).collect())
}

/// What is held back is found by its reason, by its key, and read.
async fn the_command_line_finds_them_by_reason(world: &World, node: &Node, subject: &str) {
    let groups = eventually("each consumer has one group", SOON, async || {
        let (code, groups) = dlq(world, node, &["groups"]).await;
        let one_each = groups.iter().all(|own| own["keys"] == 1 && own["messages"] == 1);
        let of = |node: &str| groups.iter().any(|own| own["node"] == node);
        let there = code == Some(0) && one_each && of("runner") && of("projection");
        if there { Ok(groups) } else { Err(format!("{groups:?}")) }
    })
    .await;
    let of_runner = groups.iter().find(|own| own["node"] == "runner").expect("a group of the runner");
    let group = of_runner["group"].as_str().expect("a name");
    let (_, keys) = dlq(world, node, &["ls", "--group", group, "--of", "runner", "--tenant", "acme"]).await;
    let [key] = &keys[..] else { panic!("{keys:?}") };
    assert_eq!((&key["tenant_id"], &key["group"]), (&json!("acme"), &json!(group)));
    let key = key["key"].as_str().expect("a key");
    let (code, messages) = dlq(world, node, &["show", key]).await;
    let [message] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(
        (code, &message["subject"], &message["payload"]),
        (Some(0), &json!(subject), &json!("this is no event"))
    );
    let (_, others) = dlq(world, node, &["ls", "--tenant", "globex"]).await;
    assert_eq!(others, [Value::Null; 0]);
    let (code, said) = dlq(world, node, &["show", key, "--tenant", "globex"]).await;
    assert_eq!(code, Some(3), "{said:?}");
}

pub(crate) async fn an_event_nobody_can_read_holds_back_only_its_own_order(world: World) {
    const SUBJECT: &str = "tenant.acme.aggregate.order.o-poison";
    let mut node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let broker = world.broker().await;
    let publish = async |payload: &'static str| {
        let stored = broker.publish(SUBJECT.into(), &Headers::default(), payload.into()).await;
        assert!(matches!(stored, PublishAnswer::Acked { .. }), "{stored:?}");
    };
    publish("this is no event").await;
    for node in ["projection", "runner"] {
        for key in quarantined(&shop, node, 1).await {
            assert!(key["key"].as_str().is_some_and(|key| key.contains(SUBJECT)), "{key}");
            assert!(key["cause"]["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{key}");
        }
    }
    the_command_line_finds_them_by_reason(&world, &node, SUBJECT).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    assert_eq!(shop.get("/ready").await.map(|(status, _)| status), Ok(200));
    assert_eq!(shop.get("/health").await.map(|(status, _)| status), Ok(200));

    let answer = shop.command(&Command::place("acme", "o-poison")).await;
    assert_eq!((answer.status, answer.problem()), (500, "aggregate_unreadable"), "{answer:?}");

    // What follows on the same order is held back behind it, even if it could be read; so it is after a restart.
    publish(
        r#"{"event_type": "order_placed", "version": 1, "payload": {"sku": "tea", "qty": 1, "cents": 1}}"#,
    )
    .await;
    quarantined(&shop, "projection", 2).await;
    node.kill();
    node.restart().await;
    quarantined(&shop, "projection", 2).await;
    quarantined(&shop, "runner", 2).await;
    assert_eq!(shop.row("acme", "order_summary", "o-poison").await, Ok(None));
    node.ready().await;
    shop.accepted(&Command::place("acme", "o-2")).await;
    shop.order_becomes("acme", "o-2", "shipped").await;
    an_operator_lets_it_go(&world, &node).await;
}

/// What cannot be read is skipped or edited; what is behind it begins its saga.
async fn an_operator_lets_it_go(world: &World, node: &Node) {
    let reason = ["--reason", "the producer was mended"];
    let (code, said) = dlq(world, node, &["replay", "--all", reason[0], reason[1]]).await;
    assert_eq!((code, &said[0]["failed"], &said[0]["applied"]), (Some(1), &json!(1), &json!(0)), "{said:?}");
    let (_, keys) = dlq(world, node, &["ls", "--of", "runner"]).await;
    let key = keys[0]["key"].as_str().expect("a key").to_owned();
    let (code, said) = dlq(world, node, &["skip", &key, "--position", "1", reason[0], reason[1]]).await;
    assert_eq!(code, Some(4), "only the first one: {said:?}");
    let event = world.dir().join("event.json");
    let body = r#"{"event_type": "order_noted", "version": 0, "payload": {}}"#;
    std::fs::write(&event, body).expect("writes");
    let event = event.to_str().expect("a path");
    let edit = ["edit", &key, "--position", "0", "--payload", event, reason[0], reason[1]];
    let (code, said) = dlq(world, node, &edit).await;
    assert_eq!((code, &said[0]["changed"]), (Some(0), &json!(true)), "{said:?}");
    let skip = ["skip", &key, "--position", "0", reason[0], reason[1]];
    for changed in [true, false] {
        let (code, said) = dlq(world, node, &skip).await;
        assert_eq!((code, &said[0]["changed"], &said[0]["messages"]), (Some(0), &json!(changed), &json!(1)));
    }
    let (code, said) = dlq(world, node, &["select", "--key", &key, reason[0], reason[1]]).await;
    assert_eq!((code, &said[0]["keys"], &said[0]["state"]), (Some(0), &json!(1), &json!("waiting")));
    let selection = said[0]["selection"].as_str().expect("an id").to_owned();
    let (code, said) = dlq(world, node, &["replay", &selection, "--per-second", "1"]).await;
    assert_eq!(
        (code, &said[0]["released"], &said[0]["applied"]),
        (Some(0), &json!(1), &json!(1)),
        "{said:?}"
    );
    // It can be read now; that it lacks something is the trouble of one instance.
    let (_, keys) = dlq(world, node, &["ls", "--of", "runner", "--tenant", "acme"]).await;
    let [instance] = &keys[..] else { panic!("{keys:?}") };
    assert_eq!(instance["cause"]["detail"], "saga checkout: expression failed: No such key: card");
    let instance = instance["key"].as_str().expect("a key");
    let (_, messages) = dlq(world, node, &["show", instance]).await;
    let mut message = messages[0]["payload"].clone();
    message["happened"]["event"]["payload"]["card"] = json!("valid");
    std::fs::write(event, message.to_string()).expect("writes");
    let edit = ["edit", instance, "--position", "0", "--payload", event, reason[0], reason[1]];
    assert_eq!(dlq(world, node, &edit).await.0, Some(0));
    let (code, said) = dlq(world, node, &["replay", "--key", instance, reason[0], reason[1]]).await;
    assert_eq!((code, &said[0]["applied"]), (Some(0), &json!(1)), "{said:?}");
    let (_, keys) = dlq(world, node, &["ls", "--of", "runner"]).await;
    assert_eq!(keys, [Value::Null; 0], "nothing is held back any more");
    // The order itself cannot be read, so its checkout undoes what it did.
    eventually("the checkout of o-poison has run", SOON, async || {
        let (_, sagas) = node.shop().get("/admin/runner/sagas?saga=checkout").await?;
        let ended = |own: &Value| own["correlation"] == "o-poison" && own["status"] == "compensated";
        let all = sagas["instances"].as_array().cloned().unwrap_or_default();
        if all.iter().any(ended) { Ok(()) } else { Err(sagas.to_string()) }
    })
    .await;
    let (_, selections) = dlq(world, node, &["selections"]).await;
    let told: Vec<_> = selections.iter().map(|own| (&own["state"], &own["reason"])).collect();
    assert_eq!(told, [(&json!("ended"), &json!(reason[1])); 3]);
}
