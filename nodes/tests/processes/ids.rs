//! Ids and payloads at the edge of what is allowed, and beyond.

use crate::world::shop::Command;
use crate::world::{SOON, World, eventually};
use serde_json::json;
use std::collections::BTreeSet;

pub(crate) async fn any_text_is_an_id_and_no_two_are_mixed_up(world: World) {
    // Some are what others become once they are escaped for a subject.
    const IDS: [&str; 10] = ["a.b", "a=2Eb", "a*b", "a>b", "a b", "_", "=5F", "a/b", "grün", "%2E"];
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 100)).await;
    for (at, id) in IDS.iter().enumerate() {
        let payload = json!({ "sku": "tea", "qty": at + 1, "cents": 100 });
        shop.accepted(&Command::new("acme", "order", id, "place").with(payload)).await;
    }
    for (at, id) in IDS.iter().enumerate() {
        let row = shop.order_becomes("acme", id, "shipped").await;
        assert_eq!(row["qty"], at + 1, "{id}");
    }
    let rows: BTreeSet<String> =
        shop.rows("acme", "order_summary").await.expect("rows").into_iter().map(|(id, _)| id).collect();
    assert_eq!(rows, IDS.iter().map(|id| (*id).to_owned()).collect());
    let operations = world.services.operations().await;
    let charged: Vec<&str> = operations
        .iter()
        .filter(|own| own.kind == "charge")
        .filter_map(|own| own.request["order"].as_str())
        .collect();
    assert_eq!(charged.len(), IDS.len());
    assert_eq!(charged.into_iter().collect::<BTreeSet<_>>(), IDS.into());
}

pub(crate) async fn what_is_no_id_is_refused_by_name(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    let long = "x".repeat(5 << 10);
    for (command, code, words) in [
        (Command::place("", "a\0b"), "invalid_aggregate_id", "id has '\\0' at byte 1"),
        (Command::place("", "a\nb"), "invalid_aggregate_id", "id has '\\n' at byte 1"),
        (Command::place("", &long), "invalid_aggregate_id", "id is 5120 bytes long; at most 128"),
        (Command::place("", &".".repeat(100)), "invalid_aggregate_id", "300 bytes long once escaped"),
        (Command::place("", "o").under("a\0b"), "invalid_command_id", "command id has '\\0'"),
        (Command::place("", "o").under(&long), "invalid_command_id", "command id is 5120 bytes long"),
        (Command::place("", "o").under(""), "invalid_command_id", "command id is empty"),
        (Command::place(&long, "o"), "invalid_tenant_id", "tenant id is 5120 bytes long"),
    ] {
        let answer = shop.command(&command).await;
        assert_eq!((answer.status, answer.problem()), (400, code), "{answer:?}");
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains(words)), "{answer:?}");
    }
    for id in ["%00", &long] {
        let (status, body) = shop.get(&format!("/v1/query/order_summary/{id}")).await.expect("an answer");
        assert_eq!((status, &body["code"]), (400, &json!("invalid_query")), "{body}");
        assert!(body["detail"].as_str().is_some_and(|detail| detail.starts_with("id: ")), "{body}");
    }
    assert_eq!(shop.rows("", "order_summary").await, Ok(Vec::new()));
}

pub(crate) async fn a_payload_over_the_limit_is_refused_and_the_node_goes_on(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let with_note = |bytes: usize| {
        let note = "x".repeat(bytes);
        Command::place("acme", "o-1").with(json!({ "sku": "tea", "qty": 1, "cents": 1, "note": note }))
    };
    // Just over the payload's limit, just over the body's, and far over both.
    for bytes in [256 << 10, 280 << 10, 4 << 20] {
        let answer = shop.command(&with_note(bytes)).await;
        assert_eq!((answer.status, answer.problem()), (413, "payload_too_large"), "{bytes}");
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("payload") && detail.contains("262144"), "{detail}");
    }
    eventually("the node is ready", SOON, async || {
        let (status, body) = shop.get("/ready").await?;
        if status == 200 { Ok(()) } else { Err(body.to_string()) }
    })
    .await;
    shop.accepted(&with_note(200 << 10)).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
}
