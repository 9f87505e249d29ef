//! One order from command to parcel, and what a caller is told.

use crate::world::shop::Command;
use crate::world::{SOON, World, eventually};
use serde_json::json;

pub(crate) async fn an_order_is_placed_and_shipped(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let place = Command::place("acme", "o-1");
    let first = shop.try_command(&place).await.expect("an answer");
    assert_eq!(first.status, 202, "{first:?}");
    assert_eq!(first.body["command_id"], json!(place.command_id));
    assert_eq!(first.body["version"], 1);
    assert_eq!(first.body["duplicate"], false);

    let row = shop.order_becomes("acme", "o-1", "shipped").await;
    assert_eq!((&row["sku"], &row["qty"], &row["cents"]), (&json!("tea"), &json!(2), &json!(900)));
    eventually("the stock is sold", SOON, async || {
        let row = shop.row("acme", "stock_level", "tea").await?;
        let sold = json!({ "on_hand": 8, "reserved": 0, "sold": 2 });
        if row.as_ref() == Some(&sold) { Ok(()) } else { Err(format!("{row:?}")) }
    })
    .await;
    let operations = world.services.operations().await;
    let charges: Vec<_> = operations.iter().filter(|own| own.kind == "charge").collect();
    assert_eq!(charges.len(), 1, "{operations:?}");
    assert_eq!((charges[0].status, &*charges[0].tenant), (201, "acme"));
    assert_eq!(charges[0].request, json!({ "order": "o-1", "cents": 900, "card": "valid" }));

    let again = shop.try_command(&place).await.expect("an answer");
    assert_eq!((again.status, &again.body["duplicate"]), (200, &json!(true)), "{again:?}");
    assert_eq!(again.body["stream_seq"], first.body["stream_seq"]);
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(shop.row("globex", "order_summary", "o-1").await, Ok(None), "another tenant's");
}

pub(crate) async fn an_order_cancelled_while_its_card_is_charged_is_refunded(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    world.services.pause();
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.effect_under_way().await;
    shop.accepted(&Command::new("acme", "order", "o-1", "cancel")).await;
    shop.order_becomes("acme", "o-1", "cancelled").await;
    world.services.resume();
    eventually("the charge is refunded and the stock released", SOON, async || {
        let stock = shop.row("acme", "stock_level", "tea").await?.unwrap_or_default();
        let operations = world.services.operations().await;
        let done: Vec<_> = operations.iter().map(|own| (own.kind.as_str(), own.status)).collect();
        let undone = done == [("charge", 201), ("refund", 201)] || done == [("refund", 201), ("charge", 201)];
        if undone && stock["on_hand"] == 10 { Ok(()) } else { Err(format!("{done:?}, {stock}")) }
    })
    .await;
    let (_, quarantine) = shop.get("/admin/runner/dlq").await.expect("an answer");
    assert_eq!(quarantine["keys"], json!([]));
}

pub(crate) async fn a_refusal_is_a_problem_with_a_code(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    let place = Command::place("", "o-1");
    shop.accepted(&place).await;
    let order = |name| Command::new("", "order", "o-1", name);
    let place_2 = |payload| Command::new("", "order", "o-2", "place").with(payload);
    for (command, status, code) in [
        (place.clone().under("another"), 422, "already_placed"),
        (place_2(json!({ "sku": "tea", "qty": 0, "cents": 1 })).under("qty"), 422, "bad_quantity"),
        (place_2(json!({ "sku": "tea" })).under("fields"), 422, "incomplete"),
        (order("explode"), 404, "unknown_command"),
        (Command::new("", "parcel", "p-1", "place"), 404, "unknown_aggregate"),
        (Command::new("no spaces", "order", "o-1", "place"), 400, "invalid_tenant_id"),
    ] {
        let answer = shop.command(&command).await;
        assert_eq!((answer.status, answer.problem()), (status, code), "{answer:?}");
        assert_eq!(answer.body["retryable"], false);
    }
    let refused = shop.command(&place.under("another")).await;
    assert_eq!(refused.problem(), "already_placed", "the same id gets the same answer");

    for (body, word) in [
        (r#"{"command": "place", "comand_id": "c"}"#, "comand_id"),
        (r#"{"payload": {}}"#, "command"),
        ("not JSON", "line 1"),
    ] {
        let answer = shop.post("/v1/commands/order/o-3", body.to_owned()).await.expect("an answer");
        assert_eq!((answer.status, answer.problem()), (400, "invalid_body"), "{answer:?}");
        assert!(answer.body["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{answer:?}");
    }
    let answer = shop.post("/v1/nothing", String::new()).await.expect("an answer");
    assert_eq!((answer.status, answer.problem()), (404, "unknown_route"));
}

pub(crate) async fn a_list_comes_in_pages(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    for sku in ["coffee", "rice", "tea"] {
        shop.accepted(&Command::add_stock("acme", sku, 1)).await;
        shop.accepted(&Command::add_stock("globex", sku, 1)).await;
    }
    eventually("the view has three rows", SOON, async || {
        let rows = shop.rows("acme", "stock_level").await?;
        if rows.len() == 3 { Ok(()) } else { Err(format!("{rows:?}")) }
    })
    .await;
    let page = shop.page("acme", "stock_level", "limit=2").await.expect("an answer");
    let ids: Vec<_> =
        page.body["rows"].as_array().into_iter().flatten().map(|row| row["id"].clone()).collect();
    assert_eq!(ids, ["coffee", "rice"]);
    let rest = format!("limit=2&after={}", page.body["next"].as_str().expect("there is more"));
    let page = shop.page("acme", "stock_level", &rest).await.expect("an answer");
    assert_eq!(page.body["rows"][0]["id"], "tea");
    assert_eq!((page.body["rows"].as_array().map(Vec::len), page.body["next"].is_null()), (Some(1), true));
    for (query, code) in
        [("limit=100000", "invalid_query"), ("limt=2", "invalid_query"), ("limit=x", "invalid_query")]
    {
        let answer = shop.page("acme", "stock_level", query).await.expect("an answer");
        assert_eq!((answer.status, answer.problem()), (400, code), "{query}: {answer:?}");
    }
    let answer = shop.page("acme", "no_such_view", "").await.expect("an answer");
    assert_eq!((answer.status, answer.problem()), (404, "unknown_view"));
}
