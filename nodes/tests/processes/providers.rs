//! Effects that are not HTTP calls, on real processes: a NATS service is asked, a built-in one answers by itself.

use crate::world::shop::Command;
use crate::world::{SOON, World, cloudlysis, eventually};
use async_nats::{HeaderMap, Message};
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;

/// Of whoever orders.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const APP: &str = "
app: shop
vars: { services: \"http://127.0.0.1:1\", services_host: \"127.0.0.1:1\" }
egress: [ \"${var:services_host}\", \"nats:payments.*\" ]
";

const CHARGE: &str = "
effect: charge_card
nats:
  subject: payments.charge
  headers: { X-Tenant-Id: = command.tenant_id }
  body: { order: = command.payload.order, cents: = command.payload.cents }
retry: { backoff_ms: 50, backoff_ms_max: 200 }
failed: [402]
";

const SHIP: &str = "
effect: ship_parcel
builtin:
  status: \"= command.payload.sku == 'piano' ? 422 : 200\"
  body: { id: \"= 'parcel-' + command.payload.order\" }
failed: [422]
";

fn key(message: &Message) -> String {
    message.headers.as_ref().and_then(|headers| headers.get("Idempotency-Key")).expect("a key").to_string()
}

pub(crate) async fn effects_ask_services_on_the_broker(world: World) {
    effects_ask_services(world, "commit").await;
}

pub(crate) async fn effects_that_are_messages_ask_services_on_the_broker(world: World) {
    effects_ask_services(world, "broker").await;
}

async fn effects_ask_services(world: World, hand_over: &str) {
    let app = world.application_with(&[
        ("app.yaml", APP),
        ("effects/charge_card.yaml", CHARGE),
        ("effects/ship_parcel.yaml", SHIP),
    ]);
    let app = app.to_str().expect("a path that is text");
    let mut node = world.start_dev_of(app, "data", &["--hand-over", hand_over]).await;
    node.ready().await;
    let shop = node.shop().traced(TRACE);
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    // Nobody listens yet: nobody got it, so it is asked again.
    eventually("an attempt is made", SOON, async || {
        let attempts = shop.metric("cloudlysis_effect_attempts_total").await?;
        if attempts >= 2.0 { Ok(()) } else { Err(attempts.to_string()) }
    })
    .await;

    let client = async_nats::connect(world.broker_url()).await.expect("any client may join");
    let mut asked = client.subscribe("payments.*").await.expect("subscribed");
    let next = async |asked: &mut async_nats::Subscriber| {
        timeout(SOON, asked.next()).await.expect("in time").expect("a request")
    };
    let first = next(&mut asked).await;
    assert_eq!(first.subject.as_str(), "payments.charge");
    assert_eq!(
        serde_json::from_slice::<Value>(&first.payload).ok(),
        Some(json!({ "order": "o-1", "cents": 900 }))
    );
    let tenant = first.headers.as_ref().and_then(|headers| headers.get("x-tenant-id"));
    assert_eq!(tenant.map(|tenant| tenant.as_str()), Some("acme"));
    let trace = first.headers.as_ref().and_then(|headers| headers.get("traceparent"));
    assert!(
        trace.is_some_and(|trace| trace.as_str().contains(TRACE)),
        "the service goes on with it: {trace:?}"
    );
    let answer = async |message: &Message, code: Option<&str>, body: &str| {
        let reply = message.reply.clone().expect("a reply subject");
        let mut headers = HeaderMap::new();
        if let Some(code) = code {
            headers.insert("Nats-Service-Error", "not now");
            headers.insert("Nats-Service-Error-Code", code);
        }
        client.publish_with_headers(reply, headers, body.to_owned().into()).await.expect("sent");
    };
    answer(&first, Some("503"), "").await;
    let second = next(&mut asked).await;
    assert_eq!(key(&second), key(&first), "the same call");
    answer(&second, None, r#"{"id":"charge-1"}"#).await;
    let row = shop.order_becomes("acme", "o-1", "shipped").await;
    assert_eq!(row["parcel"], "parcel-o-1", "{row}");

    shop.accepted(&Command::place("acme", "o-2")).await;
    let refused = next(&mut asked).await;
    assert_ne!(key(&refused), key(&first));
    answer(&refused, Some("402"), r#"{"why":"no money"}"#).await;
    shop.order_becomes("acme", "o-2", "cancelled").await;

    // The charge of o-1 was put off by an answer that proves nothing; the one nobody heard was not made.
    let (url, arguments) = (node.url(), ["audit", "effects", "--json", "--node"]);
    let arguments: Vec<String> = arguments.iter().map(|own| (*own).to_owned()).chain([url]).collect();
    let mut process = cloudlysis("audit", &arguments, world.dir());
    assert_eq!(process.exit(SOON).await.code(), Some(0), "{}", process.log());
    let audit: Value = serde_json::from_str(&process.out()).expect("JSON");
    assert_eq!(
        audit["counts"]["charge_card"],
        json!({ "once": 0, "maybe_twice": 1, "refused": 1, "maybe": 0, "never": 0, "by_hand": 0, "open": 0 }),
        "{audit}"
    );
    assert_eq!(audit["doubtful"][0]["ambiguous"], 1, "{audit}");
    assert_eq!(audit["stream"]["unknown"], 0, "{audit}");
    let stored = audit["stream"]["stored"].as_u64().unwrap_or_default();
    assert!(if hand_over == "broker" { stored >= 4 } else { stored <= 1 }, "{audit}");
}
