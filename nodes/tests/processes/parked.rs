//! Effects that wait for a person, on real processes: nobody answers, an operator decides.

use crate::admin;
use crate::timers::saga;
use crate::world::shop::Command;
use crate::world::{LATER, Node, World, eventually};
use async_nats::Message;
use cloudlysis_nodes::proto::admin as wire;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tonic::Code;

const APP: &str = "
app: shop
vars: { services: \"http://127.0.0.1:1\", services_host: \"127.0.0.1:1\" }
egress: [ \"${var:services_host}\", \"nats:payments.*\", \"nats:mail.*\" ]
";

/// Gives up after two attempts.
const CHARGE: &str = "
effect: charge_card
nats: { subject: payments.charge, body: { order: = command.payload.order } }
retry: { attempts_max: 2, backoff_ms: 20, backoff_ms_max: 50 }
";

/// Better none than two.
const RECEIPT: &str = "
effect: send_receipt
nats: { subject: mail.receipt, body: { order: = command.payload.order } }
timeout_ms: 300
delivery: at_most_once
";

const SHIP: &str = "
effect: ship_parcel
builtin: { body: { id: \"= 'parcel-' + command.payload.order\" } }
";

async fn effect(world: &World, node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    node.of_acme(world, "effect", arguments).await
}

/// The only effect of a name that waits for a person.
async fn parked(world: &World, node: &Node, name: &str) -> Value {
    let listed = ["ls", "--stage", "parked", "--effect", name, "--json"];
    eventually(&format!("{name} waits for a person"), LATER, async || {
        let (code, said) = effect(world, node, &listed).await;
        let lines: Vec<&str> = said.lines().collect();
        match (code, &lines[..]) {
            (Some(0), [line]) => serde_json::from_str(line).map_err(|error| error.to_string()),
            _ => Err(said),
        }
    })
    .await
}

fn id(listed: &Value) -> &str {
    listed["command_id"].as_str().expect("an id")
}

pub(crate) async fn what_waits_for_a_person_is_called_again_or_settled(world: World) {
    let app = world.application_with(&[
        ("app.yaml", APP),
        ("effects/charge_card.yaml", CHARGE),
        ("effects/send_receipt.yaml", RECEIPT),
        ("effects/ship_parcel.yaml", SHIP),
    ]);
    let mut node = world.dev_of(&app, "data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;

    let charge = parked(&world, &node, "charge_card").await;
    assert_eq!((&charge["attempts"], &charge["ambiguous"]), (&json!(2), &json!(0)), "{charge}");
    let (code, why) = saga(&world, &node, &["why", "checkout", "o-1"]).await;
    assert_eq!(code, Some(0), "{why}");
    assert!(
        why.contains("every attempt is used up") && why.contains(&format!("effect retry {}", id(&charge)))
    );
    node.kill();
    node.restart().await;
    node.ready().await;
    let (_, shown) = effect(&world, &node, &["show", id(&charge), "--json"]).await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!((&shown["stage"], &shown["payload"]["order"]), (&json!("parked"), &json!("o-1")), "{shown}");

    // The bank is back: what waits is called again under its key, and the order goes on to its receipt.
    let client = async_nats::connect(world.broker_url()).await.expect("any client may join");
    let mut charges = client.subscribe("payments.*").await.expect("subscribed");
    let mut mail = client.subscribe("mail.*").await.expect("subscribed");
    client.flush().await.expect("known to the broker");
    let next = async |asked: &mut async_nats::Subscriber| {
        timeout(LATER, asked.next()).await.expect("in time").expect("a request")
    };
    let answer = async |message: &Message, body: &str| {
        let reply = message.reply.clone().expect("a reply subject");
        client.publish(reply, body.to_owned().into()).await.expect("sent");
    };
    let again = ["retry", "--parked", "--effect", "charge_card", "--reason", "the bank is back"];
    let (code, said) = effect(&world, &node, &again).await;
    assert!(code == Some(0) && said.contains("1 called again, 0 stay"), "{said}");
    answer(&next(&mut charges).await, r#"{"id":"c-1"}"#).await;
    node.shop().order_becomes("acme", "o-1", "shipped").await;

    // A receipt without an answer may have been sent.
    next(&mut mail).await;
    let receipt = parked(&world, &node, "send_receipt").await;
    assert_eq!(receipt["ambiguous"], 1, "{receipt}");
    let retry = ["retry", id(&receipt), "--reason", "they ask for it"];
    let (code, said) = effect(&world, &node, &retry).await;
    assert!(code == Some(4) && said.contains("may repeat"), "{said}");
    let (code, said) = effect(&world, &node, &[&retry[..], &["--may-repeat"]].concat()).await;
    assert!(code == Some(0) && said.contains("is called again"), "{said}");
    answer(&next(&mut mail).await, "{}").await;

    // The bank is gone again, with its client.
    client.flush().await.expect("answered");
    drop((charges, mail, client));
    an_operator_settles_it(&world, &node).await;
    over_grpc_too(&world, &node).await;
    let (_, ledger) = node.shop().get("/admin/runner/effects").await.expect("an answer");
    assert_eq!(ledger["counts"]["charge_card"]["once"], 1, "{ledger}");
    assert_eq!(ledger["counts"]["charge_card"]["by_hand"], 2, "{ledger}");
    assert_eq!(ledger["counts"]["send_receipt"]["maybe_twice"], 1, "{ledger}");
    assert!(node.log().contains("they never heard of it"), "what people do is logged");
}

async fn an_operator_settles_it(world: &World, node: &Node) {
    node.shop().accepted(&Command::place("acme", "o-2")).await;
    let charge = parked(world, node, "charge_card").await;
    let failed = ["settle", id(&charge), "failed", "--payload", r#"{"status":402}"#];
    let failed = [&failed[..], &["--reason", "they never heard of it"]].concat();
    let (code, said) = effect(world, node, &failed).await;
    assert!(code == Some(0) && said.contains("is settled as failed"), "{said}");
    node.shop().order_becomes("acme", "o-2", "cancelled").await;
    let (code, said) = effect(world, node, &failed).await;
    assert!(code == Some(0) && said.contains("as before"), "{said}");
    for (arguments, expected) in [
        (&["settle", id(&charge), "succeeded", "--reason", "or was it"][..], 4),
        (&["retry", id(&charge), "--reason", "once more"], 4),
        (&["retry", "nobody-asked", "--reason", "once more"], 3),
        (&["retry", id(&charge), "--reason", " "], 2),
        (&["settle", id(&charge), "failed", "--payload", "{", "--reason", "why not"], 2),
        (&["retry", "--reason", "which"], 2),
    ] {
        let (code, said) = effect(world, node, arguments).await;
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
    }
}

async fn over_grpc_too(world: &World, node: &Node) {
    node.shop().accepted(&Command::place("acme", "o-3")).await;
    let charge = parked(world, node, "charge_card").await;
    let mut operator = admin::admin(node, None).await;
    let parked = wire::ListEffectsRequest { stage: wire::EffectStage::Parked.into(), ..Default::default() };
    let listed = operator.list_effects(parked).await.expect("a page").into_inner().effects;
    let [own] = &listed[..] else { panic!("{listed:?}") };
    let key = own.key.clone().expect("a key");
    assert_eq!((key.command_id.as_str(), own.attempts), (id(&charge), 2));
    assert_eq!(own.waiter.as_ref().map(|own| own.correlation.as_str()), Some("o-3"));
    let shown = operator.show_effect(wire::ShowEffectRequest { key: Some(key.clone()) }).await;
    let shown = shown.expect("an effect").into_inner().effect.expect("one");
    assert!(shown.payload.is_some_and(|json| String::from_utf8_lossy(&json).contains("o-3")));
    let settle = wire::SettleEffectRequest {
        key: Some(key.clone()),
        reason: "as the bank says".into(),
        outcome: wire::EffectOutcome::Succeeded.into(),
        payload: br#"{"id":"c-3"}"#.to_vec(),
    };
    let unsaid = wire::SettleEffectRequest { outcome: 0, ..settle.clone() };
    assert_eq!(
        admin::refused(operator.settle_effect(unsaid).await),
        admin::is(Code::InvalidArgument, "invalid_outcome")
    );
    let done = operator.settle_effect(settle).await.expect("done").into_inner();
    assert!(done.changed && done.outcome == Some(wire::EffectOutcome::Succeeded.into()), "{done:?}");
    node.shop().order_becomes("acme", "o-3", "shipped").await;
    let retry = wire::RetryEffectRequest { key: Some(key), reason: "again".into(), may_repeat: false };
    assert_eq!(
        admin::refused(operator.retry_effect(retry).await),
        admin::is(Code::FailedPrecondition, "already_finished")
    );
}
