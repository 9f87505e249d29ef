//! Consumers on the wire: what a real server says to the same bytes.

use super::Talk;

/// A stream of three messages and a durable.
fn talk() -> Talk {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    for _ in 0..3 {
        talk.publish("s.a", "x");
    }
    let config =
        r#"{"stream_name":"S","config":{"durable_name":"d","ack_policy":"explicit"},"action":"create"}"#;
    let answer = talk.ask("CONSUMER.CREATE.S.d", config);
    assert!(!answer.contains("error"), "{answer}");
    talk
}

fn create(talk: &mut Talk, call: &str, config: &str) -> String {
    talk.ask(call, &format!(r#"{{"stream_name":"S","config":{{{config}}}}}"#))
}

#[test]
fn pausing_is_answered_as_by_the_server() {
    let mut talk = talk();
    let schema = r#"{"type":"io.nats.jetstream.api.v1.consumer_pause_response""#;
    let never = r#""paused":false,"pause_until":"0001-01-01T00:00:00Z"}"#;
    for body in ["", "{}", "7", "null", r#"{"pause_until":null}"#, "  "] {
        assert_eq!(talk.ask("CONSUMER.PAUSE.S.d", body), format!("{schema},{never}"), "{body}");
    }
    let answer = talk.ask("CONSUMER.PAUSE.S.d", r#"{"pause_until":"2036-01-01T02:00:00+02:00"}"#);
    let until = r#""paused":true,"pause_until":"2036-01-01T00:00:00Z","pause_remaining":"#;
    assert!(answer.starts_with(&format!("{schema},{until}")), "{answer}");
    assert!(talk.ask("CONSUMER.INFO.S.d", "").contains(r#""paused":true,"pause_remaining":"#));
    for (call, body, why) in [
        (
            "S.d",
            r#"{"x":1}"#,
            r#"{"code":400,"err_code":10025,"description":"invalid JSON: json: unknown field \"x\""}"#,
        ),
        ("S.e", "", r#"{"code":404,"err_code":10014,"description":"consumer not found"}"#),
        ("X.e", "", r#"{"code":404,"err_code":10059,"description":"stream not found"}"#),
    ] {
        let answer = talk.ask(&format!("CONSUMER.PAUSE.{call}"), body);
        assert_eq!(answer, format!(r#"{schema},"error":{why},{never}"#), "{call} {body}");
    }
    assert!(talk.ask("CONSUMER.PAUSE.S.d", r#"{"pause_until":"soon"}"#).contains("10025"));
    assert!(talk.ask("CONSUMER.PAUSE.S.d", "[]").contains("10025"));
}

#[test]
fn resetting_is_answered_as_by_the_server() {
    let mut talk = talk();
    let schema = r#"{"type":"io.nats.jetstream.api.v1.consumer_reset_response""#;
    for (body, seq) in [("", 1), (r#"{"seq":2}"#, 2), (r#"{"seq":0}"#, 2), (r#"{"x":1}"#, 2), ("null", 2)] {
        let answer = talk.ask("CONSUMER.RESET.S.d", body);
        assert!(answer.starts_with(&format!(r#"{schema},"stream_name":"S","name":"d","#)), "{answer}");
        assert!(answer.ends_with(&format!(r#","reset_seq":{seq}}}"#)), "{body}: {answer}");
    }
    for body in ["[]", "7", r#"{"seq":-1}"#, r#"{"seq":"1"}"#, "{"] {
        let answer = talk.ask("CONSUMER.RESET.S.d", body);
        assert!(
            answer.starts_with(&format!(r#"{schema},"error":{{"code":400,"err_code":10025"#)),
            "{answer}"
        );
        assert!(answer.ends_with(r#"},"reset_seq":0}"#), "{answer}");
    }
}

#[test]
fn unpinning_is_answered_as_by_the_server() {
    let mut talk = talk();
    create(
        &mut talk,
        "CONSUMER.CREATE.S.p",
        r#""durable_name":"p","ack_policy":"explicit","priority_policy":"pinned_client","priority_groups":["g"]"#,
    );
    let schema = r#"{"type":"io.nats.jetstream.api.v1.consumer_unpin_response""#;
    assert_eq!(talk.ask("CONSUMER.UNPIN.S.p", r#"{"group":"g"}"#), format!("{schema}}}"));
    for (call, body, why) in [
        (
            "S.p",
            "",
            r#"{"code":400,"err_code":10025,"description":"invalid JSON: unexpected end of JSON input"}"#,
        ),
        (
            "S.p",
            r#"{"x":1}"#,
            r#"{"code":400,"err_code":10025,"description":"invalid JSON: consumer group not specified"}"#,
        ),
        (
            "S.p",
            r#"{"group":"h"}"#,
            r#"{"code":400,"err_code":10160,"description":"Provided priority group does not exist for this consumer"}"#,
        ),
        ("S.e", r#"{"group":"g"}"#, r#"{"code":404,"err_code":10014,"description":"consumer not found"}"#),
    ] {
        let answer = talk.ask(&format!("CONSUMER.UNPIN.{call}"), body);
        assert_eq!(answer, format!(r#"{schema},"error":{why}}}"#), "{call} {body}");
    }
    // The group, and that nobody is pinned.
    let info = talk.ask("CONSUMER.INFO.S.p", "");
    assert!(
        info.ends_with(r#""priority_groups":[{"group":"g","pinned_ts":"0001-01-01T00:00:00Z"}]}"#),
        "{info}"
    );
}

#[test]
fn names_and_lists_know_no_filter() {
    let mut talk = talk();
    let schema = r#"{"type":"io.nats.jetstream.api.v1.consumer_names_response""#;
    for body in ["", "7", "null", r#"{"offset":-1}"#] {
        let all = r#""total":1,"offset":0,"limit":1024,"consumers":["d"]}"#;
        assert_eq!(talk.ask("CONSUMER.NAMES.S", body), format!("{schema},{all}"), "{body}");
    }
    let none = r#""total":1,"offset":1,"limit":1024,"consumers":[]}"#;
    assert_eq!(talk.ask("CONSUMER.NAMES.S", r#"{"offset":9}"#), format!("{schema},{none}"));
    let nothing = r#""total":0,"offset":0,"limit":0,"consumers":[]}"#;
    let why =
        r#"{"code":400,"err_code":10025,"description":"invalid JSON: json: unknown field \"subject\""}"#;
    let answer = talk.ask("CONSUMER.NAMES.S", r#"{"subject":"x"}"#);
    assert_eq!(answer, format!(r#"{schema},"error":{why},{nothing}"#));
    let answer = talk.ask("CONSUMER.LIST.X", "");
    let why = r#"{"code":404,"err_code":10059,"description":"stream not found"}"#;
    let schema = r#"{"type":"io.nats.jetstream.api.v1.consumer_list_response""#;
    assert_eq!(answer, format!(r#"{schema},"error":{why},{nothing}"#));
}

#[test]
fn a_configuration_is_read_strictly() {
    let mut talk = talk();
    for (config, why) in [
        (
            r#""ack_policy":"bogus""#,
            r#""err_code":10025,"description":"invalid JSON: can not unmarshal \"\\\"bogus\\\"\"""#,
        ),
        (r#""ack_policy":7"#, r#"can not unmarshal \"7\""#),
        (r#""deliver_policy":null"#, r#"can not unmarshal \"null\""#),
        (r#""priority_policy":"bogus""#, r#"invalid JSON: unknown priority policy: \"bogus\""#),
        (r#""bogus":1"#, r#"invalid JSON: json: unknown field \"bogus\""#),
        (r#""num_replicas":-1"#, r#""err_code":10133,"description":"replicas count cannot be negative""#),
        (r#""ack_wait":-1"#, r#""err_code":10183,"description":"consumer ack wait needs to be positive""#),
        (
            r#""backoff":[1000,-1],"max_deliver":3"#,
            r#""err_code":10184,"description":"consumer backoff needs to be positive""#,
        ),
        (r#""ack_policy":"flow_control""#, r#""err_code":10218"#),
        (
            r#""direct":true"#,
            r#""err_code":10090,"description":"consumer direct requires a push based consumer""#,
        ),
        (r#""opt_start_seq":-1"#, r#""err_code":10025"#),
        (r#""headers_only":"x""#, r#""err_code":10025"#),
        (r#""metadata":{"a":1}"#, r#""err_code":10025"#),
    ] {
        let answer = create(&mut talk, "CONSUMER.CREATE.S.e", &format!(r#""name":"e",{config}"#));
        assert!(answer.contains(r#""error":{"code":400,"#) && answer.contains(why), "{config}: {answer}");
    }
    for config in [
        r#""inactive_threshold":-1"#,
        r#""idle_heartbeat":-5,"max_expires":-1,"priority_timeout":-1"#,
        r#""filter_subjects":null,"metadata":null,"deliver_subject":"""#,
        r#""max_ack_pending":-5,"max_waiting":-5,"max_deliver":-5,"max_batch":-1,"max_bytes":-1"#,
        r#""direct":false,"priority_policy":"none","priority_groups":[],"opt_start_seq":0"#,
    ] {
        let answer = create(&mut talk, "CONSUMER.CREATE.S.e", &format!(r#""name":"e",{config}"#));
        assert!(answer.contains(r#""name":"e","created""#), "{config}: {answer}");
        talk.ask("CONSUMER.DELETE.S.e", "");
    }
    for (body, why) in [
        ("", "10056"),
        ("null", "10056"),
        (r#"{"config":{"name":"e"}}"#, "10056"),
        ("[]", "10025"),
        ("{", "10025"),
        (
            r#"{"stream_name":"S","config":{"name":"e"},"action":"foo"}"#,
            r#"unknown consumer action: \"foo\""#,
        ),
        (r#"{"stream_name":"S","config":{"name":"e"},"action":7}"#, "unknown consumer action: 7"),
        (r#"{"stream_name":"S","config":{"name":"e"},"pedantic":7}"#, "10025"),
        (r#"{"stream_name":"S","config":{"name":"e","max_waiting":-1},"pedantic":true}"#, "10157"),
    ] {
        let answer = talk.ask("CONSUMER.CREATE.S.e", body);
        assert!(answer.contains(why), "{body}: {answer}");
    }
}

#[test]
fn the_subject_has_the_last_word_on_a_name() {
    let mut talk = talk();
    let answer = create(&mut talk, "CONSUMER.CREATE.S.g", r#""name":"h""#);
    assert!(answer.contains(r#""name":"g","created""#), "{answer}");
    assert!(create(&mut talk, "CONSUMER.CREATE.S.g", r#""durable_name":"h""#).contains("10017"));
    assert!(create(&mut talk, "CONSUMER.CREATE.S", r#""durable_name":"h""#).contains("10020"));
    assert!(talk.ask("CONSUMER.LEADER.STEPDOWN.S.d", "").contains(r#""code":503,"err_code":10010"#));
}

#[test]
fn a_pull_is_read_leniently() {
    let mut talk = talk();
    let message = "MSG s.a 1 $JS.ACK.S.d.";
    for body in [
        "",
        "0",
        "-1",
        "x",
        "2.5",
        "[]",
        "null",
        "\"1\"",
        "{}",
        r#"{"batch":-1}"#,
        r#"{"batch":1,"bogus":1}"#,
    ] {
        talk.ask("CONSUMER.RESET.S.d", r#"{"seq":1}"#);
        let heard = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", body);
        assert_eq!(heard.matches(message).count(), 1, "{body}: {heard}");
    }
    talk.ask("CONSUMER.RESET.S.d", r#"{"seq":1}"#);
    let heard = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", " 2 ");
    assert_eq!(heard.matches(message).count(), 2, "{heard}");
    let heard = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", r#"{"batch":1"#);
    assert!(heard.contains("NATS/1.0 400 Bad Request - unexpected end of JSON input\r\n\r\n"), "{heard}");
    let heard = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", r#"{"batch":3,"expires":-1}"#);
    talk.pass(1);
    let heard = heard + &talk.heard(1);
    assert!(heard.contains("NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 2\r\n"), "{heard}");
}

#[test]
fn an_ack_can_be_a_pull() {
    let mut talk = talk();
    let heard = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.d", "");
    let ack = |heard: &str| {
        let at = heard.find("$JS.ACK.").expect("a message");
        heard[at..].split(' ').next().expect("a subject").to_owned()
    };
    let first = ack(&heard);
    let heard = talk.publish(&first, r#"+NXT {"batch":1,"no_wait":true}"#);
    assert!(heard.contains("$JS.ACK.S.d.1.2.2."), "{heard}");
    let info = talk.ask("CONSUMER.INFO.S.d", "");
    assert!(info.contains(r#""ack_floor":{"consumer_seq":1,"stream_seq":1,"#), "{info}");
    let second = ack(&heard);
    let heard = talk.publish(&second, "+NXT {\"batch\":");
    assert!(heard.contains("NATS/1.0 400 Bad Request - unexpected end of JSON input"), "{heard}");
    let info = talk.ask("CONSUMER.INFO.S.d", "");
    assert!(info.contains(r#""num_ack_pending":0"#), "{info}");
}
