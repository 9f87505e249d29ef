//! Secrets of effects: they reach the service they are for, and nothing else that a node writes or says.

use crate::world::shop::Command;
use crate::world::{SOON, World, cloudlysis, eventually};
use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const FIRST: &str = "tr0ub4dor-first";
const SECOND: &str = "tr0ub4dor-second";

/// What was said, in order.
type Heard = Arc<Mutex<Vec<String>>>;

/// Takes money from whoever asks, the second time.
async fn charge(State(heard): State<Heard>, headers: HeaderMap) -> (StatusCode, Json<Value>) {
    let said = headers.get("authorization").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut heard = heard.lock().expect("nobody panicked");
    heard.push(said.to_owned());
    match heard.len() {
        1 => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": "not now" }))),
        nth => (StatusCode::CREATED, Json(json!({ "id": format!("charge-{nth}") }))),
    }
}

async fn payments() -> (String, Heard) {
    let heard = Heard::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let host = listener.local_addr().expect("an address").to_string();
    let router = axum::Router::new().route("/charges", post(charge)).with_state(Arc::clone(&heard));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (host, heard)
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

pub(crate) async fn a_secret_reaches_its_service_and_nothing_that_is_kept_or_said(mut world: World) {
    let (host, heard) = payments().await;
    let effect = format!(
        "
effect: charge_card
http:
  method: POST
  url: http://{host}/charges
  headers: {{ Authorization: \"Bearer ${{secret:payments_token}}\" }}
retry: {{ backoff_ms: 50, backoff_ms_max: 200 }}
"
    );
    let egress = format!(
        "app: shop\nvars: {{ services: \"http://127.0.0.1:1\", services_host: \"127.0.0.1:1\" }}\negress: [ \"${{var:services_host}}\", \"{host}\" ]\n"
    );
    let app = world.application_with(&[("app.yaml", &egress), ("effects/charge_card.yaml", &effect)]);
    let app = app.to_str().expect("a path that is text");
    let secrets = tempfile::tempdir().expect("a directory");
    let dir = secrets.path().to_str().expect("a path that is text");

    let mut validated = cloudlysis("validate", &["validate".into(), app.into()], world.dir());
    assert_eq!(validated.exit(SOON).await.code(), Some(0), "{}", validated.log());
    let named = "effect charge_card, header authorization: secret payments_token";
    assert!(validated.out().contains(named), "{}", validated.out());
    let data = world.data("data");
    let dev =
        ["dev", app, "--data", data.to_str().expect("text"), "--listen", "127.0.0.1:0", "--secrets-dir", dir];
    let mut without = cloudlysis("dev", &world.with_surroundings(&dev), world.dir());
    assert_eq!(without.exit(SOON).await.code(), Some(1), "{}", without.log());
    for word in ["charge_card", "authorization", "payments_token", "CLOUDLYSIS_SECRETS__PAYMENTS_TOKEN"] {
        assert!(without.log().contains(word), "{word}: {}", without.log());
    }

    std::fs::write(secrets.path().join("payments_token"), format!("{FIRST}\n")).expect("written");
    let mut node = world.start_dev_of(app, "data", &["--secrets-dir", dir]).await;
    node.ready().await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 1_000)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    assert_eq!(
        *heard.lock().expect("nobody panicked"),
        [format!("Bearer {FIRST}"), format!("Bearer {FIRST}")]
    );

    std::fs::write(secrets.path().join("payments_token"), SECOND).expect("written");
    let mut nth = 1;
    eventually("the new secret is used", SOON, async || {
        nth += 1;
        let order = format!("o-{nth}");
        shop.accepted(&Command::place("acme", &order)).await;
        shop.order_becomes("acme", &order, "shipped").await;
        let last = heard.lock().expect("nobody panicked").last().cloned();
        if last == Some(format!("Bearer {SECOND}")) { Ok(()) } else { Err(format!("{last:?}")) }
    })
    .await;

    let asked = ["audit", "effects", "--json", "--node", &node.url()].map(str::to_owned);
    let mut audit = cloudlysis("audit", &asked, world.dir());
    assert_eq!(audit.exit(SOON).await.code(), Some(0), "{}", audit.log());
    let counts: Value = serde_json::from_str(&audit.out()).expect("JSON");
    assert_eq!(counts["counts"]["charge_card"]["maybe_twice"], 1, "{counts}");
    let (_, metrics) = shop.get("/metrics").await.expect("metrics");
    assert!(!metrics.to_string().contains("tr0ub4dor"));
    node.terminate();
    node.exit(SOON).await;
    world.stop_broker();
    let mut kept = Vec::new();
    files(world.dir(), &mut kept);
    assert!(kept.iter().any(|path| path.ends_with("data.mdb")), "{kept:?}");
    for path in kept {
        let bytes = std::fs::read(&path).expect("a file");
        let shown = bytes.windows(9).any(|window| window == b"tr0ub4dor");
        assert!(!shown, "{} has a secret in it", path.display());
    }
}
