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
            "sagas/s.yaml@400d: \"400d\" is not a duration: hours `h`, minutes `m`, seconds `s` and milliseconds `ms` are \
          known, a day is `24h` (for example `500ms`, `90s`, `15m` or `2h 30m`)"
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
