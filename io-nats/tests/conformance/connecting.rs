//! Connecting to a server that asks who comes.

use crate::nats_server::{NatsServer, original};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use cloudlysis_io_nats::connect::{ConnectError, Connection, Options};
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::path::Path;
use tempfile::TempDir;

/// A server that lets in whom this configuration names.
async fn server(authorization: &str) -> (TempDir, NatsServer) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("nats-server.conf"), authorization).expect("written");
    let nats = NatsServer::start(original(), dir.path()).await;
    (dir, nats)
}

async fn connect(url: String) -> Result<Connection, ConnectError> {
    connect_by(url, None).await
}

async fn connect_by(url: String, file: Option<&Path>) -> Result<Connection, ConnectError> {
    let (url, credentials) = (url.into(), file.map(Path::to_owned));
    Connection::open(&Options { url, credentials, name: "test".into(), fail_fast: true, seed: 0 }).await
}

/// The server's address, with this before its host.
fn with(who: &str, nats: &NatsServer) -> String {
    nats.url().replace("://", &format!("://{who}"))
}

#[tokio::test]
async fn who_the_address_names_is_let_in() {
    let (_dir, nats) = server("authorization { user: shop, password: \"p@ss/w:rd\" }").await;
    let own = with("shop:p%40ss%2Fw%3Ard@", &nats);
    assert!(connect(own.clone()).await.expect("let in").is_connected());
    // Where several are named, all are told the same, whichever of them says it.
    let several = format!("nats://127.0.0.1:1,{own}");
    assert!(connect(several).await.expect("let in").is_connected());
    let (_dir, nats) = server("authorization { token: \"t=ken\" }").await;
    assert!(connect(with("t%3Dken@", &nats)).await.expect("let in").is_connected());
}

#[tokio::test]
async fn who_is_not_known_is_told_so_without_the_password() {
    let (_dir, nats) = server("authorization { user: shop, password: right }").await;
    for who in ["", "shop:wr0ng@", "other:right@", "wr0ng@"] {
        let error = connect(with(who, &nats)).await.expect_err("not let in").to_string();
        assert!(error.contains("does not know") && error.contains("nats://user:password@host"), "{error}");
        assert!(!error.contains("JetStream") && !error.contains("wr0ng"), "{error}");
    }
}

#[tokio::test]
async fn no_error_says_a_password() {
    for url in [
        "nats://u:s3cret@127.0.0.1:1",
        "http://u:s3cret@127.0.0.1:1",
        "nats://u:s3/cret@127.0.0.1:1",
        "nats://u:s3,cret@127.0.0.1:1",
        "nats://u:s3cret@127.0.0.1:1,nats://v:s3cret@127.0.0.1:2",
    ] {
        let error = connect(url.to_owned()).await.expect_err("nobody is there");
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(
                shown.contains("127.0.0.1") && !shown.contains("s3") && !shown.contains("cret"),
                "{shown}"
            );
        }
    }
}

/// What an issuer says of somebody, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &Value) -> String {
    let claims = json!({
        "jti": "any", "iat": 1, "iss": issuer.public_key(), "sub": subject.public_key(), "name": "test", "nats": nats,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = [header, claims].map(|part| BASE64.encode(part.to_string())).join(".");
    let signature = issuer.sign(signed.as_bytes()).expect("signed");
    format!("{signed}.{}", BASE64.encode(signature))
}

#[tokio::test]
async fn a_file_of_credentials_says_who_calls() {
    let (operator, user) = (KeyPair::new_operator(), KeyPair::new_user());
    let [system, own, strange] = [(); 3].map(|()| KeyPair::new_account());
    let about = json!({ "type": "operator", "version": 2, "system_account": system.public_key() });
    let mut configuration = format!("operator: {}\nresolver: MEMORY\n", jwt(&operator, &operator, &about));
    configuration += "resolver_preload {\n";
    for account in [&system, &own] {
        let limits = json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1 });
        let about = json!({ "type": "account", "version": 2, "limits": limits });
        configuration += &format!("{}: {}\n", account.public_key(), jwt(&operator, account, &about));
    }
    let (dir, nats) = server(&(configuration + "}\n")).await;
    let file = |name: &str, account: &KeyPair| {
        let about = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
        let (jwt, seed) = (jwt(account, &user, &about), user.seed().expect("a seed"));
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
        );
        let path = dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        path
    };
    let (right, wrong) = (file("right.creds", &own), file("wrong.creds", &strange));
    assert!(connect_by(nats.url(), Some(&right)).await.expect("let in").is_connected());
    let refused = async |url: String, file: Option<&Path>| {
        connect_by(url, file).await.expect_err("not let in").to_string()
    };
    for file in [None, Some(&*wrong)] {
        let error = refused(nats.url(), file).await;
        assert!(error.contains("does not know") && error.contains("--broker-credentials"), "{error}");
    }
    let error = refused(with("t0ken@", &nats), Some(&right)).await;
    assert!(error.contains("leave one of them out") && !error.contains("t0ken"), "{error}");
    let none = dir.path().join("nats-server.conf");
    let error = refused(nats.url(), Some(&none)).await;
    assert!(error.contains("credentials, ") && error.contains("nats-server.conf: "), "{error}");
}
