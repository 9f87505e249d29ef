//! The language, the fields, and the recorded conversations under a parsed configuration.

use super::parse::{World, parse};
use super::value::{Value, duration, sized};
use super::{Problems, read};
use crate::broker::options::{HandshakeFirst, Listen, Store, SyncPolicy};
use crate::nats_server::settings::Settings;
use cloudlysis_core::nats::Auth;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Files and variables that exist nowhere else.
#[derive(Default)]
struct Imagined {
    files: BTreeMap<&'static str, String>,
    variables: BTreeMap<&'static str, &'static str>,
}

impl Imagined {
    fn with(text: &str) -> Self {
        let files = [("a.conf", text.to_owned())].into();
        Self { files, variables: [("PORT", "4333"), ("NAME", "'x y'"), ("BAD", "}")].into() }
    }
}

impl World for Imagined {
    fn file(&self, path: &Path) -> Result<String, String> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.cloned().ok_or_else(|| format!("open {}: no such file or directory", path.display()))
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|text| (*text).to_owned())
    }
}

fn settings(text: &str) -> Result<Settings, Problems> {
    read(Path::new("a.conf"), &Imagined::with(text))
}

fn told(text: &str) -> Settings {
    settings(text).unwrap_or_else(|problems| panic!("{text}: {problems}"))
}

fn problems(text: &str) -> String {
    settings(text).err().map(|problems| problems.to_string()).unwrap_or_default()
}

/// The value of `k` as it would be shown.
fn value(text: &str) -> String {
    let world = Imagined::with(text);
    let entries = parse(Path::new("a.conf"), &world).unwrap_or_else(|problem| panic!("{problem}"));
    let node = entries.into_iter().find(|entry| entry.key == "k").expect("a value").node;
    shown(&node.value)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(value) => format!("{value}"),
        Value::Integer(value) => format!("{value}"),
        Value::Float(value) => format!("{value:?}"),
        Value::Text(value) => format!("{value:?}"),
        Value::List(nodes) => {
            format!("[{}]", nodes.iter().map(|node| shown(&node.value)).collect::<Vec<_>>().join(","))
        }
        Value::Map(entries) => {
            let entries = entries.iter().map(|entry| format!("{}:{}", entry.key, shown(&entry.node.value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
    }
}

#[test]
fn values_are_what_the_real_server_reads() {
    for (text, expected) in [
        ("k: 1", "1"),
        ("k = -1 # why", "-1"),
        ("k 1K", "1000"),
        ("k: 1kb;", "1024"),
        ("k: 10GiB", "10737418240"),
        ("k: 0.5", "0.5"),
        ("k: 2s", "\"2s\""),
        ("k: 127.0.0.1:4222 // where", "\"127.0.0.1:4222\""),
        ("k: Yes", "true"),
        ("k: off", "false"),
        ("k: UAFHG6FUD2", "\"UAFHG6FUD2\""),
        ("k: 'a\\n'", "\"a\\\\n\""),
        (r#"k: "a\n\x41\"""#, r#""a\nA\"""#),
        ("\"k\": 'q'", "\"q\""),
        ("k: $2a$11$xyz", "\"$2a$11$xyz\""),
        ("k: (\n one\n two\n)", "\"\\n one\\n two\\n\""),
        ("k { a: 1, b = x\n c 2; d: [1, 2\n 3] }", "{a:1,b:\"x\",c:2,d:[1,2,3]}"),
        ("k [ {a: 1}, {a: 2}\n{a: 3} ]", "[{a:1},{a:2},{a:3}]"),
        ("k: []", "[]"),
        ("k: {}", "{}"),
        ("k: 1\nk: 2", "2"),
        ("k:\n  1", "1"),
        ("x: 7\nk: $x", "7"),
        ("k: { x: 7, y: { z: $x } }", "{x:7,y:{z:7}}"),
        ("k: $PORT", "4333"),
        ("k: $NAME", "\"x y\""),
    ] {
        assert_eq!(value(text), expected, "{text}");
    }
    for (text, expected) in [("1", Some(1)), ("1MB", Some(1 << 20)), ("1q", None), ("-", None), ("10e", None)]
    {
        assert_eq!(sized(text), expected, "{text}");
    }
    for (text, ms) in
        [("1m30s", Some(90_000)), ("300ms", Some(300)), ("1.5h", Some(5_400_000)), ("0", Some(0))]
    {
        assert_eq!(duration(text), ms.map(Duration::from_millis), "{text}");
    }
    for text in ["", "1", "s", "-1s", "1x", "1..2s"] {
        assert_eq!(duration(text), None, "{text}");
    }
}

#[test]
fn what_cannot_be_read_is_shown_with_its_place() {
    for (text, expected) in [
        ("\nport: x:y: z", "a.conf:2:11: expected the end of a value, got 'z'\n"),
        ("tls {", "a.conf:1:5: a map is not closed\n"),
        ("tls [1", "a.conf:1:6: an array is not closed\n"),
        ("k: 'a", "a.conf:1:3: a string is not closed\n"),
        ("k: \"\\q\"", "a.conf:1:6: invalid escape character Some('q')\n"),
        ("}", "a.conf:1:0: unexpected '}' where a key should be\n"),
        ("k: ]", "a.conf:1:3: unexpected ']' where a value should be\n"),
        ("k", "a.conf:1:1: unexpected end where a value should be\n"),
        ("k: $nope", "a.conf:1:3: variable reference for 'nope' can not be found\n"),
        ("k: $BAD", "$BAD:1:0: unexpected '}' where a value should be\n"),
        ("include b", "a.conf:1:9: error parsing include file \"b\", open b: no such file or directory\n"),
        ("include a.conf", "a.conf:1:14: too many files that include each other\n"),
        ("foo: 1\n bar: 2", "a.conf:1:0: unknown field \"foo\"\na.conf:2:1: unknown field \"bar\"\n"),
        ("cluster { port: 1 }", "a.conf:1:0: field \"cluster\" is not supported by this server\n"),
        ("port: x", "a.conf:1:6: expected an integer, got a string\n"),
        ("port: 70000", "a.conf:1:6: 70000 is out of range\n"),
        ("jetstream: { store: {} }", "a.conf:1:20: expected a string, got a map\n"),
        ("websocket { port: 1 }", "a.conf:1:10: websocket requires TLS configuration\n"),
        ("tls { key_file: k }", "a.conf:1:4: missing 'cert_file' in TLS configuration\n"),
        ("lame_duck_duration: 3s", "a.conf:1:20: invalid lame_duck_duration, minimum is 30 seconds\n"),
        (
            "authorization { user: a, password: $2a$11$abc }",
            "a.conf:1:35: bcrypt passwords are not supported by this server\n\
             a.conf:1:14: a user needs a password, and a password a user\n",
        ),
        (
            "authorization { users [ {user: a, password: a}, {user: a, password: b} ] }",
            "a.conf:1:48: Duplicate user \"a\" detected\n",
        ),
        ("no_auth_user: x", "a.conf:1:14: no_auth_user needs a list of users\n"),
    ] {
        assert_eq!(problems(text), expected, "{text}");
    }
    assert_eq!(problems("k: [".repeat(100).as_str()).lines().count(), 1);
    let deep = "k: {".repeat(1000);
    assert!(problems(&deep).contains("too deep"));
}

#[test]
fn fields_mean_what_they_mean_to_the_real_server() {
    let all = told(
        r#"
        listen: "localhost:-1"
        http_port: 8222
        server_name: S
        server_tags: [a, b]
        jetstream { store_dir: /s, domain: hub, max_mem: 64MiB, max_file: -1, sync: always, limits { max_request_batch: 100 } }
        max_payload = 128KB
        max_connections: 5
        max_subscriptions: -1
        ping_interval: "20s"
        ping_max: 3
        lame_duck_duration: "40s", lame_duck_grace_period: "5s"
        pid_file: p; log_file: l; debug: yes; logtime: false
        host_of_proxy: "127.0.0.1"
        tls { cert_file: c, key_file: k, ca_file: a, verify: true, timeout: 0.5, handshake_first: 300ms }
        websocket { listen: "0.0.0.0:8080", no_tls: true }
        max_traced_msg_len: 5
        net: $host_of_proxy
        "#,
    );
    let options = &all.options;
    assert_eq!(options.listen, Listen { host: "127.0.0.1".into(), port: 0 });
    assert_eq!(options.monitor.as_ref().map(|own| own.port), Some(8222));
    assert_eq!((options.server_name.as_deref(), options.tags.len()), (Some("S"), 2));
    let jetstream = options.jetstream.as_ref().expect("JetStream");
    assert_eq!(
        jetstream.store,
        Store::Directory { directory: "/s/jetstream".into(), sync: SyncPolicy::Always }
    );
    assert_eq!((jetstream.memory_bytes_max, jetstream.storage_bytes_max), (Some(64 << 20), None));
    assert_eq!((jetstream.domain.as_deref(), jetstream.request_batch_max), (Some("hub"), Some(100)));
    let limits = options.limits;
    assert_eq!((limits.payload_bytes_max, limits.connections_max), (131_072, 5));
    assert_eq!((limits.ping_interval_ms, limits.pings_out_max), (20_000, 3));
    assert_eq!(options.lame_duck.grace, Duration::from_secs(5));
    assert_eq!((all.log.debug, all.log.time), (true, false));
    let tls = options.tls.as_ref().expect("TLS");
    assert_eq!((tls.verify, tls.timeout), (true, Duration::from_millis(500)));
    assert_eq!(tls.first, HandshakeFirst::Within(Duration::from_millis(300)));
    assert_eq!(options.websocket.as_ref().map(|own| own.listen.port), Some(8080));
    assert_eq!(told("jetstream: enabled").options.jetstream.expect("JetStream").account, "$G");
    let one = told(
        "jetstream {}\naccounts { A: { jetstream: true, users: [{user: a, password: 1}] }, SYS: {} }\nsystem_account: SYS",
    );
    assert_eq!(one.options.jetstream.expect("JetStream").account, "A");
    assert_eq!(told("authorization { token: t }").options.auth, Auth::token("t"));
    assert_eq!(told("authorization { user: u, password: p, timeout: 1 }").options.auth, Auth::user("u", "p"));
}

/// The configuration the real server was recorded with is, for us, the users of the core's tests.
#[test]
fn the_recorded_configuration_can_be_read() {
    let recorded = include_str!("../../../../core/src/nats/tests/recorded_auth.txt");
    let text = recorded.split_once("\n\n").and_then(|(_, rest)| rest.split_once("\n== ")).expect("parts").0;
    let Auth::Users(users) = told(text).options.auth else { panic!("users") };
    let shown = format!("{users:?}");
    assert_eq!(shown.matches("Grant {").count(), 12, "eleven, and one of them twice");
    assert!(shown.contains(r#"groups: [(b"al.x", b"q"), (b"qs", b"q"), (b"qw", b"q.*")]"#), "{shown}");
    assert!(shown.contains("answering: Some(Answering { count_max: Some(2), ttl_ms: Some(60000) })"));
}

fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ":",
        "=",
        ",",
        ";",
        "\n",
        " ",
        "#",
        "//",
        "'",
        "\"",
        "\\",
        "\\x4",
        "$",
        "$PORT",
        "$k",
        "include",
        "include a.conf",
        "k",
        "k: ",
        "users",
        "authorization",
        "accounts",
        "permissions",
        "tls",
        "jetstream",
        "websocket",
        "-1",
        "1K",
        "2s",
        "true",
        "0.5",
        "ä",
        "\u{0}",
        "user: a",
        "password: $2a$",
        "publish",
        "allow",
        "port",
        "listen",
        "nkey",
        "lame_duck_duration",
        "99999999999999999999",
        "1e400",
        "9223372036854775807KB",
    ];
    prop_oneof![
        9 => prop::sample::select(pieces.to_vec()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

proptest! {
    #[test]
    fn whatever_a_file_says_there_is_an_answer(pieces in prop::collection::vec(piece(), 0..60)) {
        let text = pieces.concat();
        if let Err(problems) = settings(&text) {
            prop_assert!(!problems.0.is_empty());
        }
        let spaced = pieces.join(" ");
        drop(settings(&spaced));
    }
}
