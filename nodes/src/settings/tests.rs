//! Layers over each other, faults named, everything shown; and a documentation that agrees with the code.

use super::kind::Kind;
use super::*;
use cloudlysis_core::runner::Mode;
use serde_json::json;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn flags(given: &[(&str, &str)]) -> Said {
    Said { flags: pairs(given), ..Said::default() }
}

fn env(given: &[(&str, &str)]) -> Said {
    Said { env: pairs(given), ..Said::default() }
}

fn file(name: &str, text: &str) -> (TempDir, Said) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join(name);
    fs::write(&path, text).expect("written");
    (dir, Said { file: Some(path), ..Said::default() })
}

fn faults(node: NodeKind, said: &Said) -> Vec<String> {
    match Settings::load(node, said) {
        Err(SettingsError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("no faults: {other:?}"),
    }
}

#[test]
fn every_default_is_allowed_and_every_node_gets_its_limits() {
    for node in NodeKind::ALL {
        let settings = Settings::load(node, &Said::default()).expect("defaults");
        assert!(settings.all().all(|(_, _, origin)| *origin == Origin::Default));
        assert_eq!(settings.all().count(), Key::ALL.iter().filter(|key| key.is_of(node)).count());
        match node {
            NodeKind::Aggregate => assert_eq!(settings.aggregate_limits().commands_max, 4_096),
            NodeKind::Projection => assert_eq!(settings.gate_limits().batch, 256),
            NodeKind::Runner => {
                assert_eq!(settings.gate_limits().batch, 256);
                assert_eq!(settings.outbox_limits().tracked_max, 8_192);
                assert_eq!(settings.effect_limits().in_flight_max, 512);
                assert_eq!(settings.schedule_limits().fired_max, 256);
            }
            NodeKind::Gateway => assert_eq!(settings.deadlines().query.as_millis(), 5_000),
        }
    }
}

#[test]
fn a_flag_goes_over_the_environment_over_the_file_over_the_default() {
    let (_dir, said) = file(
        "runner.toml",
        "replicas = 1\nbroker = \"nats://file\"\n[gate]\nbatch = 1\nheartbeat_ms = 1000\n",
    );
    let said = Said {
        env: pairs(&[
            ("RUNNER_REPLICAS", "2"),
            ("RUNNER_GATE__BATCH", "2"),
            ("GATEWAY_AGGREGATE", "http://a"),
        ]),
        flags: pairs(&[("gate.batch", "3")]),
        ..said
    };
    let settings = Settings::load(NodeKind::Runner, &said).expect("settings");
    let origin = |key| settings.values[&key].1.to_string();
    assert_eq!((settings.number(Key::GateBatch), origin(Key::GateBatch)), (3, "flag".into()));
    assert_eq!((settings.number(Key::Replicas), origin(Key::Replicas)), (2, "env:RUNNER_REPLICAS".into()));
    let path = said.file.expect("a file");
    assert_eq!(settings.text(Key::Broker), "nats://file");
    assert_eq!(origin(Key::Broker), format!("file:{}", path.display()));
    assert_eq!(settings.number(Key::GateHeartbeatMs), 1_000);
    assert_eq!(origin(Key::GateAckWaitMs), "default");
}

#[test]
fn a_file_says_the_same_in_each_of_its_languages() {
    let texts = [
        ("a.toml", "adopt = true\nlisten = \"127.0.0.1:9\"\n[outbox]\nbackoff_ms = 7\n"),
        ("a.yaml", "adopt: true\nlisten: 127.0.0.1:9\noutbox:\n  backoff_ms: 7\n"),
        ("a.yml", "adopt: true\nlisten: 127.0.0.1:9\noutbox: { backoff_ms: 7 }\n"),
        ("a.json", r#"{ "adopt": true, "listen": "127.0.0.1:9", "outbox": { "backoff_ms": 7 } }"#),
    ];
    for (name, text) in texts {
        let (_dir, said) = file(name, text);
        let settings =
            Settings::load(NodeKind::Runner, &said).unwrap_or_else(|error| panic!("{name}: {error}"));
        let own =
            (settings.is_on(Key::Adopt), settings.text(Key::Listen), settings.number(Key::OutboxBackoffMs));
        assert_eq!(own, (true, "127.0.0.1:9", 7), "{name}");
    }
}

#[test]
fn the_environment_may_name_the_file() {
    let (_dir, said) = file("a.toml", "replicas = 3");
    let path = said.file.expect("a file").display().to_string();
    let settings =
        Settings::load(NodeKind::Projection, &env(&[("PROJECTION_CONFIG", &path)])).expect("settings");
    assert_eq!(settings.number(Key::Replicas), 3);
}

#[test]
fn a_variable_that_is_empty_names_no_file() {
    let settings = Settings::load(NodeKind::Runner, &env(&[("RUNNER_CONFIG", "")])).expect("settings");
    assert!(settings.all().all(|(_, _, origin)| *origin == Origin::Default));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let wrong = |name: &str, text: &str| {
        let (_dir, said) = file(name, text);
        Settings::load(NodeKind::Runner, &said).expect_err("a fault").to_string()
    };
    assert!(wrong("a.ini", "").contains("a.ini: settings are read from files that end in .toml"));
    assert!(wrong("a.toml", "= 1").contains("a.toml: "), "{}", wrong("a.toml", "= 1"));
    assert!(wrong("a.yaml", "a: b: c").contains("a.yaml: "));
    assert!(wrong("a.json", "[1]").contains("a.json: settings are names with values"));
    let missing = Said { file: Some("missing.toml".into()), ..Said::default() };
    assert!(
        Settings::load(NodeKind::Runner, &missing)
            .expect_err("a fault")
            .to_string()
            .starts_with("missing.toml: ")
    );
}

#[test]
fn an_unknown_name_is_a_fault_with_a_guess() {
    let said = env(&[("RUNNER_GATE__BACH", "5"), ("RUNNER_COLOUR", "red")]);
    assert_eq!(
        faults(NodeKind::Runner, &said),
        [
            "unknown setting `colour` of a runner node (env:RUNNER_COLOUR); `cloudlysis serve runner --dump-config` \
             lists those there are",
            "unknown setting `gate.bach` of a runner node (env:RUNNER_GATE__BACH); did you mean `gate.batch`?",
        ]
    );
    assert_eq!(
        faults(NodeKind::Gateway, &flags(&[("gate.batch", "5")])),
        ["a gateway node has no setting `gate.batch` (flag); projection, runner has"]
    );
    assert_eq!(
        faults(NodeKind::Runner, &flags(&[("gate", "5")])),
        [
            "unknown setting `gate` of a runner node (flag); `cloudlysis serve runner --dump-config` lists those there are"
        ]
    );
}

#[test]
fn what_others_call_like_ours_is_not_ours() {
    let said = env(&[
        ("RUNNER_OS", "Linux"),
        ("RUNNER_PORT", "tcp://10.0.0.1:80"),
        ("RUNNER_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("RUNNER_SERVICE_HOST", "10.0.0.1"),
        ("RUNNER_SERVICE_PORT_HTTP", "80"),
    ]);
    assert!(Settings::load(NodeKind::Runner, &said).is_ok());
}

#[test]
fn a_value_out_of_its_bounds_is_named_with_its_origin_and_what_is_allowed() {
    let wrong = |name, value| faults(NodeKind::Runner, &flags(&[(name, value)])).concat();
    assert_eq!(
        wrong("gate.batch", "0"),
        "setting `gate.batch` is 0 (flag); allowed is a whole number from 1 to 10000"
    );
    assert_eq!(
        wrong("gate.batch", "many"),
        "setting `gate.batch` is \"many\" (flag); allowed is a whole number from 1 to 10000"
    );
    assert_eq!(wrong("adopt", "yes"), "setting `adopt` is \"yes\" (flag); allowed is `true` or `false`");
    assert_eq!(
        wrong("hand_over", "hand"),
        "setting `hand_over` is \"hand\" (flag); allowed is `commit` or `broker`"
    );
    assert!(wrong("data", "").ends_with("allowed is text of 1 to 4096 bytes"));
    let (_dir, said) = file("a.yaml", "gate:\n  batch: \"64\"\n");
    assert!(faults(NodeKind::Runner, &said)[0].contains("`gate.batch` is \"64\" (file:"));
}

#[test]
fn an_address_that_leads_nowhere_is_refused() {
    let node = "allowed is http://host:port";
    for (kind, name, value, allowed) in [
        (NodeKind::Runner, "gateway", "nonsense", node),
        (NodeKind::Runner, "gateway", "ftp://x", node),
        (NodeKind::Runner, "gateway", "http://", node),
        (NodeKind::Runner, "gateway", "http://host:port", node),
        // Nodes speak to each other in clear: this would be tried for ever.
        (NodeKind::Runner, "gateway", "https://x", node),
        (NodeKind::Gateway, "aggregate", "http://a,http://b", node),
        (NodeKind::Gateway, "aggregate", "http://a,b", node),
        // What comes after the host would be ignored.
        (NodeKind::Runner, "gateway", "http://a/shop", node),
        (
            NodeKind::Gateway,
            "projection",
            "http://a,b",
            "allowed is http://host:port, several separated by commas",
        ),
        (
            NodeKind::Aggregate,
            "broker",
            "http://x",
            "allowed is nats://host:port, several separated by commas",
        ),
        (NodeKind::Aggregate, "broker", "", "allowed is nats://host:port, several separated by commas"),
    ] {
        let fault = faults(kind, &flags(&[(name, value)])).concat();
        let wanted = format!("setting `{name}` is \"{value}\" (flag); {allowed}");
        assert!(fault.starts_with(&wanted), "{fault}");
    }
    let right = flags(&[("projection", "http://a:1,http://b"), ("aggregate", "http://[::1]:80")]);
    assert!(Settings::load(NodeKind::Gateway, &right).is_ok());
}

#[test]
fn values_must_go_together() {
    assert_eq!(
        faults(NodeKind::Runner, &flags(&[("gate.heartbeat_ms", "16000")])),
        [
            "setting `gate.heartbeat_ms` is 16000 (flag); it must be at most half of `gate.pull_expires_ms`, which is 30000"
        ]
    );
    assert_eq!(faults(NodeKind::Runner, &flags(&[("command_deadline_ms", "40000")])).len(), 1);
    assert_eq!(faults(NodeKind::Aggregate, &flags(&[("commands.backoff_ms", "2000")])).len(), 1);
}

#[test]
fn half_a_runner_cannot_keep_effects_inside_its_commit() {
    let half = flags(&[("mode", "saga"), ("hand_over", "commit")]);
    assert_eq!(
        faults(NodeKind::Runner, &half),
        ["setting `hand_over` is \"commit\" (flag); it must be `broker` when `mode` is `saga`"]
    );
    let mode = |given| Settings::load(NodeKind::Runner, &flags(given)).expect("settings").mode();
    assert_eq!(mode(&[("mode", "saga")]), Mode::Sagas);
    assert_eq!(mode(&[("mode", "effect"), ("hand_over", "broker")]), Mode::Effects);
    assert_eq!(mode(&[]), Mode::Combined(HandOver::Commit));
    assert_eq!(mode(&[("hand_over", "broker")]), Mode::Combined(HandOver::Broker));
}

#[test]
fn what_is_shown_of_any_node_is_a_file_that_says_the_same() {
    let halves = [&[("mode", "saga")][..], &[("mode", "effect")], &[]].map(|given| (NodeKind::Runner, given));
    let others = [NodeKind::Aggregate, NodeKind::Projection, NodeKind::Gateway].map(|node| (node, &[][..]));
    for (node, given) in halves.into_iter().chain(others) {
        let shown = Settings::load(node, &flags(given)).expect("settings").to_toml();
        let (_dir, said) = file("shown.toml", &shown);
        let again = Settings::load(node, &said).unwrap_or_else(|error| panic!("{given:?}: {error}"));
        let lines = |text: &str| {
            text.lines().map(|line| line.split("  #").next().map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(lines(&again.to_toml()), lines(&shown));
    }
}

#[test]
fn every_bound_is_kept_at_both_ends() {
    for key in Key::ALL {
        let Kind::Number { min, max } = key.kind() else { continue };
        assert!(min < max, "{}", key.name());
        let allows = |value: u64| key.kind().allows(&json!(value));
        assert!(allows(min) && allows(max) && !allows(max + 1), "{}", key.name());
        assert!(min == 0 || !allows(min - 1), "{}", key.name());
    }
}

#[test]
fn what_is_shown_says_the_same_when_it_is_read_and_keeps_secrets() {
    const BROKER: &str = "nats://me:hunter2@nats:4222,nats://me:hunter2@other:4222";
    let said = flags(&[("broker", BROKER), ("gate.batch", "64")]);
    let settings = Settings::load(NodeKind::Runner, &said).expect("settings");
    let text = settings.to_toml();
    assert!(text.contains("broker = \"nats://***@nats:4222,nats://***@other:4222\""), "{text}");
    assert!(!text.contains("hunter2") && !settings.to_json().to_string().contains("hunter2"));
    assert!(text.contains("# flag") && text.contains("# default"), "{text}");
    let (_dir, said) = file("again.toml", &text);
    let path = said.file.as_deref().map(Path::display).expect("a file");
    assert_eq!(
        faults(NodeKind::Runner, &said),
        [format!(
            "setting `broker` (file:{path}) has `***` for what is not shown: write that in its place, or the whole into \
             RUNNER_BROKER"
        )]
    );
    let said = Said { env: pairs(&[("RUNNER_BROKER", BROKER)]), ..said };
    assert_eq!(Settings::load(NodeKind::Runner, &said).expect("settings").number(Key::GateBatch), 64);
    let shown = settings.to_json();
    let own = shown["settings"].as_array().and_then(|all| all.iter().find(|own| own["name"] == "gate.batch"));
    assert_eq!(own, Some(&json!({ "name": "gate.batch", "value": 64, "origin": "flag" })));
}

#[test]
fn a_token_comes_from_a_file_or_the_environment_and_is_not_shown() {
    const TOKEN: &str = "a-token-of-some-length";
    let (_dir, said) = file("token", &format!("{TOKEN}\n"));
    let path = said.file.expect("a file").display().to_string();
    let load = |said: &Said| Settings::load(NodeKind::Runner, said).expect("settings");
    for said in [flags(&[("admin.token_file", &path)]), env(&[("RUNNER_ADMIN__TOKEN", TOKEN)])] {
        let settings = load(&said);
        let token = settings.admin_token().expect("a token").expect("a token");
        assert_eq!(token.as_str(), TOKEN);
        assert!(!format!("{settings:?} {}", settings.to_toml()).contains(TOKEN));
    }
    assert!(load(&Said::default()).admin_token().expect("no fault").is_none());
    for (name, value) in [("admin.token", "short"), ("admin.token_file", "missing")] {
        let error = load(&flags(&[(name, value)])).admin_token().expect_err("no token").to_string();
        assert!(
            error.starts_with(&format!("setting `{name}` (flag): ")) && !error.contains("short"),
            "{error}"
        );
    }
    let both = [("admin.token", TOKEN), ("admin.token_file", &path)];
    let fault = faults(NodeKind::Runner, &flags(&both)).concat();
    assert_eq!(
        fault,
        "setting `admin.token` is \"***\" (flag); it must be empty when `admin.token_file` is set"
    );
}

#[test]
fn a_password_is_not_in_a_fault() {
    for wrong in
        ["http://me:secret@host", "nats://me:secret@host,nats://you:secret@other", "nats:/me:secret@host"]
    {
        let fault = faults(NodeKind::Runner, &flags(&[("broker", wrong), ("gateway", wrong)])).concat();
        assert!(fault.contains("`broker` is \"") && !fault.contains("secret"), "{fault}");
    }
    for (name, text) in [
        ("a.yaml", "broker: [\"nats://me:secret@host\"]"),
        ("a.json", r#"{ "broker": { "url": "nats://me:secret@host" } }"#),
        ("a.toml", "broker = nats://me:secret@host"),
        ("a.yaml", "broker: nats://me:secret@host: 1"),
        ("a.json", r#"{ "broker": "nats://me:secret@host }"#),
    ] {
        let (_dir, said) = file(name, text);
        let error = Settings::load(NodeKind::Runner, &said).expect_err("a fault").to_string();
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn a_node_calls_its_broker_in_one_way() {
    let both = [("broker_credentials", "node.creds"), ("broker", "nats://token@host")];
    assert_eq!(
        faults(NodeKind::Aggregate, &flags(&both)),
        [
            "setting `broker_credentials` is \"node.creds\" (flag); it must be empty when `broker` says who calls"
        ]
    );
    let settings = Settings::load(NodeKind::Aggregate, &flags(&both[..1])).expect("settings");
    assert_eq!(settings.file(Key::BrokerCredentials), Some(Path::new("node.creds")));
}

/// `CLOUDLYSIS_WRITE_DOCS=1` writes the table anew.
#[test]
fn the_documentation_lists_every_setting_as_it_is() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let text = fs::read_to_string(&path).expect("the documentation");
    let (before, _) = text.split_once("| setting |").expect("a table");
    let wanted = format!("{before}{}", shown::table());
    if std::env::var_os("CLOUDLYSIS_WRITE_DOCS").is_some() {
        fs::write(&path, wanted).expect("written");
    } else {
        assert_eq!(
            text, wanted,
            "docs/settings.md; run this test with CLOUDLYSIS_WRITE_DOCS=1 to write it anew"
        );
    }
}

#[test]
fn the_broker_goes_by_another_name_in_the_environment() {
    let url = ("RUNNER_NATS_URL", "nats://broker.example:4222");
    let settings = Settings::load(NodeKind::Runner, &env(&[url])).expect("settings");
    let (_, value, origin) = settings.all().find(|(key, _, _)| *key == Key::Broker).expect("the broker");
    assert_eq!((value, origin), (&json!("nats://broker.example:4222"), &Origin::Env(url.0.to_owned())));
    let both = env(&[url, ("RUNNER_BROKER", "nats://user:password@other.example:4222")]);
    assert_eq!(
        faults(NodeKind::Runner, &both),
        ["setting `broker` is \"***\" (env:RUNNER_NATS_URL); it must be left out, for RUNNER_BROKER says it"]
    );
    let more = [("RUNNER_BROKER", "nats://other.example:4222"), ("RUNNER_GATE__BATCH", "0")];
    assert_eq!(faults(NodeKind::Runner, &env(&[&[url][..], &more].concat())).len(), 2, "all at once");
    let gateway = env(&[("GATEWAY_NATS_URL", url.1)]);
    assert!(faults(NodeKind::Gateway, &gateway)[0].contains("no setting `broker` (env:GATEWAY_NATS_URL)"));
}

#[test]
fn no_secret_is_quoted_from_what_cannot_be_read() {
    let (_dir, said) = file("runner.toml", "partition = 1\n[admin]\ntoken = \"very-secret-token-of-mine\n");
    let told = Settings::load(NodeKind::Runner, &said).expect_err("no such text").to_string();
    assert!(told.contains("line 3: ") && !told.contains("very-secret"), "{told}");
    let apart = env(&[("RUNNER_BROKER__PASSWORD", "very-secret")]);
    let told = faults(NodeKind::Runner, &apart).concat();
    assert!(told.contains("setting `broker` is \"***\"") && !told.contains("very-secret"), "{told}");
}
