//! What looks right, and would do nothing, or the wrong thing, once it runs.

use super::{App, faults_with, shop_files, timers};
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
