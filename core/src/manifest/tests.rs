//! Manifests as authors write them, and every fault they can have.

mod refused;

use super::{App, Diagnostic, EffectRequest, FilledTarget, FiredBy, LaneLimits, SecretName, SourceFile};
use crate::bench::shop_files;
use crate::program::Gas;
use crate::time::Wall;
use serde_json::json;
use std::collections::BTreeMap;

fn file(path: &str, text: &str) -> SourceFile {
    SourceFile { path: path.to_owned(), text: text.to_owned() }
}

/// The shop with one file replaced, loaded; every fault as `file@text: message (help)`.
fn faults_with(path: &str, text: &str) -> Vec<String> {
    let mut files = shop_files();
    match files.iter_mut().find(|own| own.path == path) {
        Some(own) => own.text = text.to_owned(),
        None => files.push(file(path, text)),
    }
    let show = |fault: &Diagnostic| {
        let source = &files.iter().find(|own| own.path == fault.file).map_or("", |own| own.text.as_str());
        let at = source.get(fault.span.start..fault.span.end).unwrap_or_default();
        let help = fault.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}@{at}: {}{help}", fault.file, fault.message)
    };
    App::load(&files, &BTreeMap::new()).err().unwrap_or_default().iter().map(show).collect()
}

#[test]
fn the_shop_loads() {
    let app = App::load(&shop_files(), &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(app.aggregates.len(), 2);
    assert_eq!(app.projections.len(), 3);
    assert_eq!(app.effects.len(), 4);
    assert!(app.egress.allows_target("127.0.0.1:7070") && !app.egress.allows_target("127.0.0.1:7071"));
    let saga = app.sagas.values().next().expect("a saga");
    assert_eq!(saga.aggregates().len(), 1);
    assert_eq!(saga.effects().len(), 4);
    assert_eq!(app.dev_services[0].command.last().map(String::as_str), Some("127.0.0.1:7070"));
}

#[test]
fn variables_can_be_overridden() {
    let overrides = [("services", "http://example.test:1"), ("services_host", "example.test:1")];
    let overrides = overrides.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let app = App::load(&shop_files(), &overrides).expect("loads");
    assert!(app.egress.allows_target("example.test:1"));
}

#[test]
fn unknown_fields_are_faults_with_a_suggestion() {
    let text = "aggregate: cart\ninital_state: {}\ncommands: {}\nevents: {}\n";
    assert_eq!(
        faults_with("aggregates/cart.yaml", text),
        [
            "aggregates/cart.yaml@a: `initial_state` is missing from this aggregate",
            "aggregates/cart.yaml@inital_state: unknown field `inital_state` in this aggregate (did you mean \
             `initial_state`?)",
        ]
    );
}

#[test]
fn cycles_are_named() {
    let text = "aggregate: cart\ninitial_state: {}\nevents: { added: {} }\ncommands:\n  add:\n    steps: { a: b + 1, b: c + 1, c: a + 1 }\n    cases: [{ events: [{ type: added, payload: = a }] }]\n";
    assert_eq!(
        faults_with("aggregates/cart.yaml", text),
        [
            "aggregates/cart.yaml@a: steps form a cycle: a → b → c → a (a step may only use steps that do not, \
          directly or not, use it)"
        ]
    );
}

#[test]
fn expressions_that_do_not_compile_point_at_the_place() {
    let text = "aggregate: cart\ninitial_state: {}\nevents: { added: {} }\ncommands:\n  add:\n    when: comand.payload.qty > 0\n    events: [{ type: added, payload: \"= command.payload.qty +\" }]\n";
    let faults = faults_with("aggregates/cart.yaml", text);
    assert_eq!(faults[0], "aggregates/cart.yaml@comand: unknown variable `comand` (did you mean `command`?)");
    assert!(faults[1].contains("does not parse"), "{faults:?}");
}

#[test]
fn references_across_files_must_resolve() {
    let saga = include_str!("../../../examples/shop/sagas/checkout.yaml");
    let broken = saga
        .replace("order.order_placed: event", "order.order_plced: event")
        .replace("starts_on: [order.order_placed]", "starts_on: []")
        .replace("name: charge_card", "name: charge_crd")
        .replace("charge.succeeded:", "charge.suceeded:");
    let faults = faults_with("sagas/checkout.yaml", &broken).join("\n");
    for expected in [
        "`order.order_placed` is not correlated",
        "unknown event of `order` `order_plced` (did you mean `order_placed`?)",
        "unknown effect `charge_crd` (did you mean `charge_card`?)",
        "work `charge` has no outcome `suceeded` (`charge` ends `succeeded` or `failed`)",
    ] {
        assert!(faults.contains(expected), "{expected} in\n{faults}");
    }
    let projection =
        "projection: p\non:\n  ordr.order_placed:\n    view_id: event.aggregate_id\n    project: {}\n";
    assert_eq!(
        faults_with("projections/p.yaml", projection),
        ["projections/p.yaml@ordr.order_placed: unknown aggregate `ordr` (did you mean `order`?)"]
    );
}

/// What an effect asks for when it is given an order.
fn asked(effect: &str, order: &str) -> String {
    let mut files = shop_files();
    files.push(file("effects/e.yaml", &format!("effect: e\n{effect}")));
    let app = App::load(&files, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let command = json!({ "tenant_id": "acme", "payload": { "order": order } });
    let effect = app.effects.iter().find(|(name, _)| name.as_str() == "e").expect("the effect").1;
    match effect.request(&command, &mut Gas::new(10_000)) {
        Ok(request) => format!("{request:?}"),
        Err(error) => error.to_string(),
    }
}

/// The key under which the limits of an effect hold for an order, or why there is none.
fn limited_by(key: &str, order: &str) -> String {
    let mut files = shop_files();
    files.push(file(
        "effects/e.yaml",
        &format!("effect: e\nbuiltin: {{}}\nlimits: {{ {key} in_flight_max: 2 }}\n"),
    ));
    let app = App::load(&files, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let effect = app.effects.iter().find(|(name, _)| name.as_str() == "e").expect("the effect").1;
    let limits = effect.limits.as_ref().expect("limits");
    assert_eq!(limits.each, LaneLimits { in_flight_max: Some(2), rate: None });
    let command = json!({ "tenant_id": "acme", "payload": { "order": order, "cents": 5 } });
    limits.key(&command, &mut Gas::new(10_000)).unwrap_or_else(|error| error.to_string())
}

#[test]
fn limits_hold_under_a_key_that_is_worked_out() {
    assert_eq!(limited_by("", "o-1"), "");
    assert_eq!(limited_by("key: = command.tenant_id,", "o-1"), "acme");
    assert_eq!(limited_by("key: command.payload.cents,", "o-1"), "5");
    let order = "key: \"= command.tenant_id + ':' + command.payload.order\",";
    assert_eq!(limited_by(order, "o-1"), "acme:o-1");
    assert!(limited_by(order, &"x".repeat(256)).contains("261 bytes, 256 are allowed"));
    assert!(limited_by("key: = command.payload,", "o-1").contains("not as text or a number"));
    assert!(limited_by("key: = command.payload.card,", "o-1").contains("card"));
}

#[test]
fn each_provider_is_asked_in_its_own_way() {
    let nats = "nats: { subject: \"= 'mail.' + command.payload.order\", headers: { X: = command.tenant_id }, body: [1] }";
    assert_eq!(
        asked(nats, "o-1"),
        r#"Nats(NatsRequest { subject: "mail.o-1", headers: [("x", "acme")], secret_headers: [], body: Some(Array [Number(1)]) })"#
    );
    let builtin = "builtin: { status: \"= command.payload.order == 'bad' ? 422 : 201\", delay_ms: 5 }";
    assert_eq!(asked(builtin, "o-1"), "Builtin(BuiltinRequest { status: 201, body: Null, delay_ms: 5 })");
    assert!(asked(builtin, "bad").contains("422"));
    let odd = "builtin: { status: = command.payload.order }";
    assert!(asked(odd, "o-1").contains("the status came out as \"o-1\", not as a number from 100 to 599"));
}

#[test]
fn effects_of_one_host_or_subject_have_one_upstream() {
    let http = |url: &str| format!("http: {{ method: GET, url: \"{url}\" }}");
    for (provider, upstream) in [
        (http("https://me:pw@Pay.test/x?y#z"), Some("pay.test:443")),
        (http("http://[::1]/x"), Some("[::1]:80")),
        (http("http://[::1]:8080"), Some("[::1]:8080")),
        (http("= 'http://' + command.payload.host"), Some("e")),
        ("nats: { subject: pay.card }".into(), Some("nats:pay.card")),
        ("nats: { subject: \"= 'pay.' + command.payload.card\" }".into(), Some("e")),
        ("nats: { subject: pay.card }\nupstream: bank".into(), Some("bank")),
        ("builtin: {}".into(), None),
    ] {
        let mut files = shop_files();
        let egress = "egress:\n  - pay.test:443\n  - \"[::1]:80\"\n  - \"[::1]:8080\"\n  - nats:pay.>\n";
        for own in files.iter_mut().filter(|own| own.path == "app.yaml") {
            own.text = own.text.replace("egress:\n", egress);
        }
        files.push(file("effects/e.yaml", &format!("effect: e\n{provider}\n")));
        let app = App::load(&files, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"));
        let effect = app.effects.iter().find(|(name, _)| name.as_str() == "e").expect("the effect").1;
        assert_eq!(effect.upstream.as_deref(), upstream, "{provider}");
    }
}

#[test]
fn secrets_are_named_in_headers_and_the_request_has_their_names_alone() {
    let mut files = shop_files();
    let headers = "{ Authorization: \"Bearer ${secret:a_1}-${secret:b}!\", x: plain }";
    let effect =
        format!("effect: e\nhttp: {{ method: GET, url: http://127.0.0.1:7070/x, headers: {headers} }}\n");
    files.push(file("effects/e.yaml", &effect));
    let app = App::load(&files, &BTreeMap::new()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let effect = app.effects.iter().find(|(name, _)| name.as_str() == "e").expect("the effect").1;
    let [header] = effect.secret_headers() else { panic!("{:?}", effect.secret_headers()) };
    assert_eq!(header.secrets().map(SecretName::as_str).collect::<Vec<_>>(), ["a_1", "b"]);
    let request = effect.request(&json!({}), &mut Gas::new(1_000)).expect("a request");
    let EffectRequest::Http(request) = request else { panic!("{request:?}") };
    assert_eq!(request.headers, [("x".to_owned(), "plain".to_owned())]);
    assert_eq!(request.secret_headers[0], *header);
}

#[test]
fn effects_go_where_they_are_allowed_and_nowhere_else() {
    let mut files = shop_files();
    let egress =
        "app: shop\nvars: { services: \"https://a.test\" }\negress: [\"a.test:443\", \"nats:pay.*\"]\n";
    for own in files.iter_mut().filter(|own| own.path == "app.yaml") {
        own.text = egress.to_owned();
    }
    let app = App::load(&files, &BTreeMap::new()).expect("loads");
    assert!(app.egress.allows_target("a.test:443") && !app.egress.allows_target("nats:pay.*"));
    for (subject, is_allowed) in
        [("pay.card", true), ("pay.card.x", false), ("pay", false), ("a.test:443", false)]
    {
        assert_eq!(app.egress.allows_subject(subject), is_allowed, "{subject}");
    }
}

/// A saga that sets these timers, and reacts to `late`.
fn timers(timers: &str) -> String {
    format!(
        "saga: s\ncorrelate: {{ order.order_placed: event.aggregate_id }}\nstarts_on: [order.order_placed]\non_event:\n  order.order_placed: {{ timers: [{timers}] }}\n  late.fired: {{ complete: true }}\n  signal.now: {{ complete: true }}\n"
    )
}

#[test]
fn timers_and_signals_are_what_a_saga_may_wait_for() {
    assert_eq!(faults_with("sagas/s.yaml", &timers("{ name: late, after: 2h 30m }")), [""; 0]);
    assert_eq!(faults_with("sagas/s.yaml", &timers("{ name: late, at: = event.payload.until }")), [""; 0]);
}

#[test]
fn what_a_manifest_cannot_say() {
    for (path, text, expected) in [
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: FETCH, url: http://127.0.0.1:7070/x }\n",
            "unknown method `FETCH`",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: \"${var:servces}\" }\n",
            "unknown variable `${var:servces}` (did you mean `${var:services}`?)",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x }\ntimeout_ms: soon\n",
            "whole number",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x, headers: { Idempotency-Key: mine } }\n",
            "cannot be set here",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x }\nretry: { total_ms_max: 0 }\n",
            "@0: expected a whole number from 1 to 2592000000",
        ),
        (
            "effects/e.yaml",
            "effect: e\nbuiltin: {}\nupstream: nobody\n",
            "@nobody: `builtin` calls nobody, so it has no upstream",
        ),
        ("effects/e.yaml", "effect: e\nbuiltin: {}\nlimits: {}\n", "`limits` has no limit in it"),
        (
            "effects/e.yaml",
            "effect: e\nbuiltin: {}\nlimits: { in_flight_max: 0 }\n",
            "@0: expected a whole number from 1 to 10000",
        ),
        (
            "effects/e.yaml",
            "effect: e\nbuiltin: {}\nlimits: { per_second: 0.5 }\n",
            "@0.5: expected a whole number from 1 to 10000",
        ),
        (
            "effects/e.yaml",
            "effect: e\nbuiltin: {}\nlimits: { in_flight_max: 1, burst: 2 }\n",
            "@2: `burst` is part of a rate: `per_second` is missing",
        ),
        (
            "effects/e.yaml",
            "effect: e\nbuiltin: {}\nlimits: { key: = event.id, in_flight_max: 1 }\n",
            "event",
        ),
        (
            "effects/e.yaml",
            "effect: e\nbuiltin: {}\nlimits: { per_minute: 1, in_flight_max: 1 }\n",
            "unknown field `per_minute` in this limits (known here: key, in_flight_max, per_second, burst)",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: \"http://x/${secret:k}\" }\n",
            "@\"http://x/${secret:k}\": a secret cannot stand here (secrets go into `headers`",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x, headers: { a: \"= '${secret:k}'\" } }\n",
            "a secret cannot stand in an expression",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x, headers: { a: \"${secret:My Key}\" } }\n",
            "this is no name of a secret",
        ),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x, headers: { a: \"${secret:k\" } }\n",
            "this is no name of a secret",
        ),
        ("effects/e.yaml", "effect: e\nbuiltin: { body: [\"${secret:k}\"] }\n", "a secret cannot stand here"),
        ("effects/e.yaml", "effect: e\n", "nothing says how it is carried out"),
        (
            "effects/e.yaml",
            "effect: e\nhttp: { method: GET, url: http://127.0.0.1:7070/x }\nbuiltin: {}\n",
            "only one of `http`, `nats` and `builtin`",
        ),
        (
            "effects/e.yaml",
            "effect: e\nnats: { subject: x, headers: { Nats-Msg-Id: mine } }\n",
            "header `Nats-Msg-Id` cannot be set here",
        ),
        (
            "app.yaml",
            "app: shop\nvars: { services: x, services_host: x }\negress: [\"nats:*.acme.>\"]\n",
            "`*.acme.>` takes in `tenant.>`, which is not for effects",
        ),
        (
            "app.yaml",
            "app: shop\nvars: { services: x, services_host: x }\negress: [\"nats:a..b\"]\n",
            "`a..b` is no filter of subjects",
        ),
        ("sagas/s.yaml", "saga: s\ncorrelate: {}\nstarts_on: []\non_event: { nonsense: {} }\n", "neither"),
        (
            "sagas/s.yaml",
            "saga: s\ncorrelate: { order.order_placed: event.aggregate_id }\nstarts_on: []\non_event:\n  order.order_placed: { work: [{ name: x, effect: { name: ship_parcel }, command: {} }] }\n",
            "either a `command` or an `effect`",
        ),
        ("sagas/s.yaml", &timers("{ name: late, after: soon }"), "@soon: \"soon\" is not a duration"),
        ("sagas/s.yaml", &timers("{ name: late }"), "a timer has either `after` or `at`"),
        (
            "sagas/s.yaml",
            &timers("{ name: lat, after: 5m }"),
            "no case sets a timer named `late` (did you mean `lat`?)",
        ),
        (
            "sagas/s.yaml",
            &timers("{ name: late, after: 5m }, { name: x, after: 1s }"),
            "nothing reacts to timer `x`",
        ),
        (
            "sagas/s.yaml",
            &timers("{ name: late, after: 5m }").replace("complete: true", "cancel: [ltae]"),
            "no case sets a timer named `ltae` (did you mean `late`?)",
        ),
        (
            "aggregates/other.yaml",
            "aggregate: order\ninitial_state: {}\ncommands: {}\nevents: {}\n",
            "already defined",
        ),
        ("misc/x.yaml", "a: 1\n", "nothing is read from `misc`"),
        ("app.yaml", "app: 1shop\n", "name has '1' at byte 0"),
        ("aggregates/cart.yaml", "- 1\n", "expected an object, found a list"),
        (
            "aggregates/cart.yaml",
            "aggregate: cart\ninitial_state: {}\nevents: {}\ncommands: { add: { events: [{ type: added }] } }\n",
            "event `added` is not declared by this aggregate",
        ),
        (
            "aggregates/cart.yaml",
            "aggregate: cart\ninitial_state: {}\nevents: { command_refused: { set: {} } }\ncommands: {}\n",
            "aggregates/cart.yaml@command_refused: the event type `command_refused` is reserved",
        ),
    ] {
        let faults = faults_with(path, text).join("\n");
        assert!(faults.contains(expected), "{expected} in\n{faults}");
    }
    assert!(App::load(&[], &BTreeMap::new()).expect_err("empty")[0].message.contains("no `app.yaml`"));
}

const REPORT: &str =
    "saga: report\nstarts_on: [schedule.nightly]\non_event: { schedule.nightly: { complete: true } }\n";

/// The faults of a schedule for the saga above, or none.
fn schedule_faults(text: &str) -> Vec<String> {
    let mut files = shop_files();
    files.push(file("sagas/report.yaml", REPORT));
    files.push(file("schedules/nightly.yaml", text));
    let show = |fault: &Diagnostic| {
        let help = fault.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("{}{help}", fault.message)
    };
    App::load(&files, &BTreeMap::new()).err().unwrap_or_default().iter().map(show).collect()
}

#[test]
fn schedules_say_when_for_whom_and_what() {
    let text = "schedule: nightly\ncron: \"30 2 * * mon-fri\"\ntime_zone: Europe/Amsterdam\ntenants: [acme, \"\"]\n\
        saga: { name: report, correlation: \"= 'report-' + occurrence.date\", payload: { at: = occurrence.local } }\n\
        overlap: queue_one\ncatch_up: { policy: all, window: 2h, occurrences_max: 5 }\njitter: 30s\n";
    assert_eq!(schedule_faults(text), [""; 0]);
    let mut files = shop_files();
    files.extend([file("sagas/report.yaml", REPORT), file("schedules/nightly.yaml", text)]);
    let app = App::load(&files, &BTreeMap::new()).expect("loads");
    let def = app.schedules.values().next().expect("a schedule");
    let due = def.cadence.after(Wall::from_ms(1_795_231_870_000)).expect("due");
    let occurrence = def.occurrence(&def.tenants[0], due, FiredBy::Calendar);
    assert_eq!(occurrence["local"], "2026-11-23T02:30:00+01:00");
    let filled = def.fill(&occurrence, &mut Gas::new(10_000)).expect("fills in");
    let FilledTarget::Saga { correlation, payload, .. } = filled else { panic!("{filled:?}") };
    assert_eq!(correlation.as_str(), "report-2026-11-23");
    assert_eq!(payload, json!({ "at": "2026-11-23T02:30:00+01:00" }));
    let (later, keys) = (Wall::from_ms(due.as_ms() + 1), ["k", "k2"].map(|key| key.parse().expect("a key")));
    let of = |tenant: usize, due, by| def.occurrence_id(&def.tenants[tenant], due, by).to_string();
    let mut ids: Vec<String> = vec![of(0, due, FiredBy::Calendar), of(1, due, FiredBy::Calendar)];
    ids.extend([of(0, later, FiredBy::Calendar), of(1, due, FiredBy::Trigger(&keys[0]))]);
    for key in &keys {
        ids.extend([of(0, due, FiredBy::Trigger(key)), of(0, due, FiredBy::Backfill(key))]);
        ids.push(of(0, later, FiredBy::Backfill(key)));
    }
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len(), "all differ: {ids:?}");
    assert_eq!(of(0, later, FiredBy::Trigger(&keys[0])), ids[4], "whenever it is asked for again");
}

#[test]
fn what_is_wrong_with_a_schedule_is_said() {
    let saga = "saga: { name: report }";
    for (fields, fault) in [
        ("cron: \"0 0 30 2 *\"", "`0 0 30 2 *` is never due"),
        ("cron: \"61 * * * *\"", "\"61\" is no minute: expected 0 to 59"),
        ("cron: \"* * * *\"", "4 fields; wanted are five"),
        ("every: 500ms", "\"500ms\" is not between 1000 ms and"),
        ("every: soon", "\"soon\" is not a duration"),
        ("every: 10m\ncron: \"* * * * *\"", "a schedule has either `cron` or `every`"),
        (
            "every: 10m\ntime_zone: UTC",
            "`every` has no time zone (only `cron` follows a clock; leave it out)",
        ),
        (
            "cron: \"* * * * *\"\ntime_zone: Europe/Amsterdm",
            "unknown time zone `Europe/Amsterdm` (did you mean `Europe/Amsterdam`?)",
        ),
        ("every: 10m\ntenants: []", "expected 1 to 1000 tenants"),
        ("every: 10m\ntenants: [acme, acme]", "tenant `acme` is listed twice"),
        ("every: 10m\noverlap: never", "expected `skip`, `allow` or `queue_one`"),
        ("every: 10m\ncatch_up: { policy: some }", "expected `none`, `last` or `all`"),
        (
            "every: 10m\ncatch_up: { policy: last, occurrences_max: 3 }",
            "`occurrences_max` is for the policy `all`",
        ),
        (
            "every: 10m\ncatchup: { policy: last }",
            "unknown field `catchup` in this schedule (did you mean `catch_up`?)",
        ),
        ("every: 10m\njitter: 2h", "\"2h\" is not between 0 ms and 3600 s"),
        ("every: 10m\neffect: { name: charge_card }", "a schedule has one of `saga`, `command` and `effect`"),
    ] {
        let faults = schedule_faults(&format!("schedule: nightly\n{saga}\n{fields}\n"));
        assert!(faults.iter().any(|own| own.starts_with(fault)), "{fault} in {faults:#?}");
    }
    for (target, fault) in [
        ("saga: { name: reprt }", "unknown saga `reprt` (did you mean `report`?)"),
        ("saga: { name: checkout }", "saga `checkout` does not react to schedule `nightly`"),
        ("effect: { name: charge_crd }", "unknown effect `charge_crd` (did you mean `charge_card`?)"),
        (
            "command: { aggregate: stock, id: tea, name: ad }",
            "unknown command of `stock` `ad` (did you mean `add`?)",
        ),
        (
            "saga: { name: report, correlation: = occurrence.n }",
            "an occurrence of it cannot be filled in: expression failed",
        ),
        (
            "saga: { name: report, correlation: = 1 + 1 }",
            "an occurrence of it cannot be filled in: output: the correlation is 2",
        ),
        (
            "command: { aggregate: stock, id: \"\", name: add }",
            "an occurrence of it cannot be filled in: output: the id",
        ),
    ] {
        let faults = schedule_faults(&format!("schedule: nightly\nevery: 10m\n{target}\n"));
        assert!(faults.iter().any(|own| own.starts_with(fault)), "{fault} in {faults:#?}");
    }
    // A saga that reacts to a schedule which is not for it, or is not there.
    let faults = schedule_faults("schedule: nightly\nevery: 10m\neffect: { name: charge_card }\n");
    assert_eq!(faults, ["schedule `nightly` is not for saga `report` (give it `saga: { name: report }`)"]);
    let faults = schedule_faults("schedule: nightly2\nevery: 10m\neffect: { name: charge_card }\n");
    assert_eq!(faults, ["unknown schedule `nightly` (did you mean `nightly2`?)"]);
}
