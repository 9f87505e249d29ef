//! What looks right, and would do nothing, or the wrong thing, once it runs.

use super::{App, Diagnostic, faults_with, file, shop_files, timers};
use std::collections::BTreeMap;

/// The faults of an `app.yaml` of the shop with these entries in `egress`.
fn egress_faults(entries: &str) -> Vec<String> {
    let vars = "vars: { services: \"http://127.0.0.1:7070\", services_host: \"127.0.0.1:7070\" }";
    let text = format!("app: shop\n{vars}\negress: [\"${{var:services_host}}\", {entries}]\n");
    faults_with("app.yaml", &text)
}

#[test]
fn an_entry_of_egress_that_no_call_can_match_is_a_fault() {
    for (entry, fault) in [
        ("\"*\"", "app.yaml@\"*\": `*` has a wildcard (`nats:` entries alone have wildcards"),
        ("\"*:443\"", "`*:443` has a wildcard"),
        ("\"*.example.com:443\"", "`*.example.com:443` has a wildcard"),
        ("\"http://example.com\"", "`http://example.com` is a URL (an entry is `host:port`"),
        ("\"http://Example.com:8080/x\"", "`http://Example.com:8080/x` is a URL"),
        ("example.com", "app.yaml@example.com: `example.com` has no port (`example.com:443` for https"),
        ("\"example.com:\"", "`` is no port (a number from 1 to 65535)"),
        ("\"example.com:0\"", "`0` is no port"),
        ("\"example.com:99999\"", "`99999` is no port"),
        ("\"example.com:+80\"", "`+80` is no port"),
        ("\"\"", "app.yaml@\"\": the entry is empty"),
        ("\":443\"", "`` is no host"),
        ("\"10.0.0.0/8\"", "`10.0.0.0/8` has a path or is a range (an entry is one host and one port"),
        ("\"10.0.0:80\"", "`10.0.0` is no IPv4 address"),
        ("\"300.1.1.1:80\"", "`300.1.1.1` is no IPv4 address"),
        ("\"::1:80\"", "`::1` is no host (an IPv6 address stands in brackets"),
        ("\"[::1]\"", "`[::1]` has no port"),
        ("\"[::x]:80\"", "`[::x]` is no IPv6 address"),
        ("\"a b:80\"", "`a b` is no host"),
        ("\"me@example.com:80\"", "`me@example.com` is no host"),
        ("\".example.com:80\"", "`.example.com` is no host"),
        ("\"bücher.example:80\"", "`bücher.example` is no host (letters, digits"),
        ("17", "expected text, found a number"),
    ] {
        let faults = egress_faults(entry);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{entry}: {fault} in {faults:#?}");
    }
}

#[test]
fn an_entry_of_egress_is_spelled_as_the_call_spells_its_target() {
    for (entry, target) in [
        ("Localhost:9099", "localhost:9099"),
        ("example.com:0443", "example.com:443"),
        ("[0:0::1]:80", "[::1]:80"),
        ("[::FFFF:127.0.0.1]:80", "[::ffff:7f00:1]:80"),
        ("10.1.2.3:80", "10.1.2.3:80"),
        ("my_host-1.example.com.:80", "my_host-1.example.com.:80"),
    ] {
        let mut files = shop_files();
        for own in files.iter_mut().filter(|own| own.path == "app.yaml") {
            own.text = own.text.replace("egress:\n", &format!("egress:\n  - \"{entry}\"\n"));
        }
        let app = App::load(&files, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"));
        assert!(app.egress.allows_target(target), "{entry}: {:?}", app.egress);
    }
}

#[test]
fn a_call_that_would_be_refused_each_time_is_a_fault() {
    for (url, fault) in [
        ("ftp://127.0.0.1:7070/x", "scheme `ftp` is not supported (`http` or `https`)"),
        ("file:///etc/passwd", "scheme `file` is not supported"),
        ("/payments", "`/payments` is no URL (it begins with `http://` or `https://`"),
        ("\"\"", "`` is no URL"),
        ("http:///payments", "`http:///payments` names no host"),
        ("\"https://\"", "`https://` names no host"),
        ("\"http://127.0.0.1:70700/x\"", "`70700` is no port"),
        ("\"http://127.0.0.1:7070/x\\r\\ny\"", "a URL is one line of text"),
        ("[a]", "expected text, found a list"),
        ("7", "expected text, found a number"),
        (
            "http://127.0.0.1:7071/x",
            "effects/e.yaml@http://127.0.0.1:7071/x: `127.0.0.1:7071` is not in `egress` of app.yaml, so every call \
             would be refused (it allows 127.0.0.1:7070)",
        ),
        ("http://me:pw@Example.com", "`example.com:80` is not in `egress`"),
        ("HTTPS://127.0.0.1", "`127.0.0.1:443` is not in `egress`"),
    ] {
        let faults =
            faults_with("effects/e.yaml", &format!("effect: e\nhttp: {{ method: GET, url: {url} }}\n"));
        assert!(faults.len() == 1 && faults[0].contains(fault), "{url}: {fault} in {faults:#?}");
    }
    for (subject, fault) in [
        ("pay.card", "`nats:pay.card` is not in `egress` of app.yaml"),
        ("pay..card", "`pay..card` is no subject"),
        ("pay.*", "`pay.*` is no subject"),
        ("[a]", "expected text, found a list"),
    ] {
        let text = format!("effect: e\nnats: {{ subject: \"{subject}\" }}\n").replace("\"[a]\"", "[a]");
        let faults = faults_with("effects/e.yaml", &text);
        assert!(faults.len() == 1 && faults[0].contains(fault), "{subject}: {fault} in {faults:#?}");
    }
    for url in [
        "http://127.0.0.1:7070/x",
        "HTTP://127.0.0.1:7070?x",
        "= command.payload.url",
        "http://bücher.example/only-the-call-knows-how-it-is-spelled",
    ] {
        let text = format!("effect: e\nhttp: {{ method: GET, url: \"{url}\" }}\n");
        assert_eq!(faults_with("effects/e.yaml", &text), [""; 0], "{url}");
    }
}

#[test]
fn what_is_wrong_with_egress_is_told_once() {
    let text = "app: shop\nvars: { services: \"http://127.0.0.1:7070\" }\negress: [\"127.0.0.1\"]\n";
    let faults = faults_with("app.yaml", text);
    assert!(faults.len() == 1 && faults[0].contains("`127.0.0.1` has no port"), "{faults:#?}");
    let faults = faults_with("app.yaml", &text.replace("egress: [\"127.0.0.1\"]\n", ""));
    assert!(
        faults.len() == 4 && faults[0].contains("so every call would be refused (it allows nothing)"),
        "{faults:#?}"
    );
}

#[test]
fn a_placeholder_that_nothing_replaces_is_a_fault() {
    let kinds = "there are `${var:NAME}` and, in headers of effects, `${secret:NAME}`";
    for (text, fault) in [
        (
            "${vra:services}",
            "`${vra:services}` is no placeholder (did you mean `${var:services}`?)".to_owned(),
        ),
        ("${env:HOME}", format!("`${{env:HOME}}` is no placeholder ({kinds}")),
        ("${HOME}", format!("`${{HOME}}` is no placeholder ({kinds}")),
        ("${services}", "`${services}` is no placeholder (did you mean `${var:services}`?)".to_owned()),
        ("${}", format!("`${{}}` is no placeholder ({kinds}")),
        ("a ${var:services", format!("`${{var:services` is not closed ({kinds}")),
        ("${var:services}/${vra:services}", "`${vra:services}` is no placeholder".to_owned()),
        ("= '${env:HOME}'", "`${env:HOME}` is no placeholder".to_owned()),
    ] {
        let effect = format!("effect: e\nbuiltin: {{ body: {{ text: \"{text}\" }} }}\n");
        let faults = faults_with("effects/e.yaml", &effect);
        assert!(faults.len() == 1 && faults[0].contains(&fault), "{text}: {fault} in {faults:#?}");
        assert!(faults[0].starts_with(&format!("effects/e.yaml@\"{text}\":")), "{faults:#?}");
    }
    let effect = "effect: e\nbuiltin: { body: { \"${var:services}\": 1 } }\n";
    let faults = faults_with("effects/e.yaml", effect);
    assert!(faults.len() == 1 && faults[0].contains("a key cannot have a placeholder in it"), "{faults:#?}");
    let app = "app: shop\nvars: { services: \"http://${var:services_host}\", services_host: \"127.0.0.1:7070\" }\n\
        egress: [\"${var:services_host}\"]\n";
    let faults = faults_with("app.yaml", app);
    assert!(faults[0].contains("variable `services` has `${var:services_host}` in it"), "{faults:#?}");
    let written = "effect: e\nbuiltin: { body: { text: \"= '$' + '{HOME}'\", cost: \"$5 {x}\" } }\n";
    assert_eq!(faults_with("effects/e.yaml", written), [""; 0]);
}

#[test]
fn a_variable_that_nothing_uses_is_a_fault() {
    let said = |name: &str| {
        let said = BTreeMap::from([(name.to_owned(), "x:1".to_owned())]);
        App::load(&shop_files(), &said)
            .err()
            .unwrap_or_default()
            .iter()
            .map(Diagnostic::to_string)
            .collect::<Vec<_>>()
    };
    let faults = said("sevrices_host");
    assert_eq!(faults.len(), 1, "{faults:#?}");
    for part in [
        "app.yaml:",
        "nothing here uses a variable `sevrices_host`",
        "did you mean `services_host`?",
        "used: services, services_host",
    ] {
        assert!(faults[0].contains(part), "{part} in {faults:#?}");
    }
    assert!(said("colour")[0].contains("(used: services, services_host)"), "{:?}", said("colour"));
    let bare = [file("app.yaml", "app: bare\nvars: { a: x }\n")];
    let faults = App::load(&bare, &BTreeMap::from([("a".to_owned(), "y".to_owned())])).expect_err("unused");
    assert!(
        faults[0].to_string().contains("nothing here uses a variable `a`, which was given (none is used)"),
        "{faults:?}"
    );
}

#[test]
fn a_header_that_cannot_be_sent_is_a_fault() {
    for (value, fault) in [
        ("\"a\\r\\nx-evil: 1\"", "a header is one line of text"),
        ("\"a\\nb\"", "a header is one line of text"),
        ("\"${secret:k}\\nb\"", "a header is one line of text"),
        ("[a, b]", "@[a, b]: a header's value is text, and this is a list"),
        ("{ a: b }", "a header's value is text, and this is an object"),
        ("5", "@5: a header's value is text, and this is a number (write it as text: \"5\")"),
        ("true", "a header's value is text, and this is a boolean (write it as text: \"true\")"),
        ("~", "a header's value is text, and this is nothing"),
    ] {
        for provider in
            ["http: { method: GET, url: \"http://127.0.0.1:7070\"", "nats: { subject: = command.payload.s"]
        {
            let effect = format!("effect: e\n{provider}, headers: {{ x-a: {value} }} }}\n");
            let faults = faults_with("effects/e.yaml", &effect);
            assert!(faults.len() == 1 && faults[0].contains(fault), "{value}: {fault} in {faults:#?}");
        }
    }
    let http = |value: &str| {
        let effect = format!(
            "effect: e\nhttp: {{ method: GET, url: \"http://127.0.0.1:7070\", headers: {{ x-a: {value} }} }}\n"
        );
        faults_with("effects/e.yaml", &effect)
    };
    for value in ["\"caf\u{e9}\"", "\"a\\0b\""] {
        let faults = http(value);
        assert!(faults.len() == 1 && faults[0].contains("cannot be sent over HTTP"), "{value}: {faults:#?}");
    }
    assert_eq!(http("\"= command.tenant_id\""), [""; 0]);
    assert_eq!(http("\"a\\tb ~\""), [""; 0]);
}

#[test]
fn a_file_that_cannot_be_read_is_told_once_and_not_by_everything_that_names_it() {
    let charge = "effects/charge_card.yaml";
    for text in [
        "effect: charge_card\nhttp: [\n",
        "effect: charge_card\nhttp: {}\nbuiltin: {}\n",
        "effect: charge_card\nbuiltin: {}\ndelivery: soon\n",
        "effect: charge card\nbuiltin: {}\n",
    ] {
        let faults = faults_with(charge, text);
        assert!(faults.len() == 1 && faults[0].starts_with(charge), "{text}: {faults:#?}");
    }
    let mut files = shop_files();
    for own in files.iter_mut().filter(|own| own.path == charge) {
        (own.path, own.text) =
            ("effects/cards.yaml".to_owned(), "# card\neffect: charge_card  # now\nhttp: [\n".to_owned());
    }
    let faults = App::load(&files, &BTreeMap::new()).expect_err("not YAML");
    assert!(faults.len() == 1 && faults[0].file == "effects/cards.yaml", "{faults:#?}");
    let faults = faults_with("aggregates/order.yaml", "aggregate: order\ninitial_state: [\n");
    assert!(faults.len() == 1, "{faults:#?}");
    let faults = faults_with("app.yaml", "app: [\n");
    assert!(faults.len() == 1, "{faults:#?}");
}

#[test]
fn durations_and_patterns_say_what_is_wanted() {
    let faults = faults_with("sagas/s.yaml", &timers("{ name: late, after: 400d }"));
    assert_eq!(
        faults,
        [
            "sagas/s.yaml@400d: \"400d\" is not a duration: use h, m, s, ms; a day is 24h (for example `500ms`, `90s`, `15m` or `2h 30m`)"
        ]
    );
    let cron = |pattern: &str| {
        let text = format!("schedule: nightly\ncron: \"{pattern}\"\neffect: {{ name: charge_card }}\n");
        faults_with("schedules/nightly.yaml", &text)
    };
    for (pattern, found) in [("* * * *", 4), ("* * * * * * *", 7), ("", 0)] {
        let faults = cron(pattern);
        let expected = format!(
            "schedules/nightly.yaml@\"{pattern}\": {found} fields; wanted are five (minute, hour, day, month, day of the \
             week) or six (a second before them)"
        );
        assert_eq!(faults, [expected]);
    }
}
