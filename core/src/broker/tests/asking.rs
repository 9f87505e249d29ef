//! The API: what is refused and how, and what the envelopes look like.

use super::Talk;

#[test]
fn a_misspelt_field_is_an_error_and_null_is_as_good_as_absent() {
    let mut talk = Talk::new();
    let answer = talk.ask("STREAM.CREATE.S", r#"{"name":"S","subjcts":["s"]}"#);
    assert!(answer.starts_with(r#"{"type":"io.nats.jetstream.api.v1.stream_create_response","#), "{answer}");
    for part in [
        r#""code":400"#,
        r#""err_code":10025"#,
        r#""description":"invalid JSON: json: unknown field \"subjcts\"""#,
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let answer = talk.ask("STREAM.CREATE.S", r#"{"name":"S","subjects":["s"],"description":null}"#);
    assert!(answer.contains(r#""did_create":true"#), "{answer}");
}

#[test]
fn names_in_subject_and_body_must_agree() {
    let mut talk = Talk::new();
    assert!(talk.ask("STREAM.CREATE.S", r#"{"name":"T"}"#).contains("10056"));
    talk.stream("S", "s");
    let body = |config: &str| format!(r#"{{"stream_name":"S","config":{{{config}}}}}"#);
    for (call, config, number) in [
        ("CONSUMER.CREATE.S.c", r#""durable_name":"d""#, "10017"),
        ("CONSUMER.DURABLE.CREATE.S.c", r#""durable_name":"d""#, "10017"),
        ("CONSUMER.DURABLE.CREATE.S.c", r#""name":"c""#, "10018"),
        ("CONSUMER.CREATE.S.c.s", r#""name":"c","filter_subject":"t""#, "10131"),
    ] {
        let answer = talk.ask(call, &body(config));
        assert!(answer.contains(number), "{call} {config}: {answer}");
    }
    let other = talk.ask("CONSUMER.CREATE.S.c", r#"{"stream_name":"T","config":{"name":"c"}}"#);
    assert!(other.contains("10056"), "{other}");
}

#[test]
fn a_body_where_none_belongs_is_refused() {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    assert!(talk.ask("STREAM.DELETE.S", r#"{"x":1}"#).contains("10038"));
    assert!(talk.ask("STREAM.DELETE.S", "").contains(r#""success":true"#));
    assert!(talk.ask("STREAM.INFO.S", "").contains("10059"));
}

#[test]
fn the_domain_is_another_name_of_the_same_api() {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    let heard = talk.publish("$JS.hub.API.STREAM.INFO.S", "");
    assert!(heard.contains("stream_info_response"), "{heard}");
    let heard = talk.publish("$JS.other.API.STREAM.INFO.S", "");
    assert!(heard.contains("503"), "{heard}");
}

#[test]
fn a_stored_message_is_read_with_its_headers() {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    talk.say(1, "HPUB s.a 17 18\r\nNATS/1.0\r\nA:B\r\n\r\nx\r\n");
    let message = talk.ask("STREAM.MSG.GET.S", r#"{"last_by_subj":"s.*"}"#);
    for field in
        [r#""subject":"s.a""#, r#""seq":1"#, r#""data":"eA==""#, r#""hdrs":"TkFUUy8xLjANCkE6Qg0KDQo=""#]
    {
        assert!(message.contains(field), "{field} in {message}");
    }
}

#[test]
fn nonsense_is_answered_and_breaks_nothing() {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    for call in [
        "STREAM.CREATE.S",
        "STREAM.UPDATE.S",
        "STREAM.INFO.S",
        "STREAM.PURGE.S",
        "STREAM.NAMES",
        "STREAM.LIST",
        "STREAM.MSG.GET.S",
        "STREAM.MSG.DELETE.S",
        "CONSUMER.CREATE.S",
        "CONSUMER.CREATE.S.c",
        "CONSUMER.DURABLE.CREATE.S.c",
        "CONSUMER.NAMES.S",
        "CONSUMER.LIST.S",
    ] {
        for body in ["{", "[]", "7", "\"x\"", "{\"name\":7}", "\u{0}", "{\"seq\":-1}"] {
            // A body that may be absent is as good as absent, there, when it is nothing that has fields.
            let is_page = call.starts_with("CONSUMER.") && !call.contains("CREATE");
            let is_error = !is_page || body.starts_with(['{', '[']);
            let answer = talk.ask(call, body);
            assert_eq!(answer.contains("\"error\""), is_error, "{call} {body:?}: {answer}");
        }
    }
    assert!(talk.ask("STREAM.INFO.S", "").contains("\"messages\":0"));
}

#[test]
fn what_only_a_cluster_can_do_is_refused_as_a_single_server_does() {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    let alone = r#""description":"JetStream clustering support required""#;
    for (call, body, schema) in [
        ("STREAM.LEADER.STEPDOWN.S", "", "stream_leader_stepdown"),
        ("STREAM.LEADER.STEPDOWN.NOPE", r#"{"x":1}"#, "stream_leader_stepdown"),
        ("STREAM.PEER.REMOVE.S", r#"{"peer":"x"}"#, "stream_remove_peer"),
    ] {
        let answer = talk.ask(call, body);
        assert!(answer.contains(alone) && answer.contains(r#""err_code":10010"#), "{answer}");
        assert!(answer.contains(&format!("v1.{schema}_response")), "{answer}");
    }
}

#[test]
fn a_batch_is_acknowledged_once() {
    let mut talk = Talk::new();
    talk.ask("STREAM.CREATE.S", r#"{"name":"S","subjects":["s.>"],"allow_atomic":true}"#);
    talk.say(1, "SUB ack 9\r\n");
    let of = |seq: u8, more: &str| {
        format!("NATS/1.0\r\nNats-Batch-Id: \"1\"\r\nNats-Batch-Sequence: {seq}\r\n{more}\r\n")
    };
    let mut said = String::new();
    for headers in [of(1, ""), of(2, "Nats-Batch-Commit: 1\r\n")] {
        let (length, all) = (headers.len(), headers.len() + 1);
        said += &talk.say(1, &format!("HPUB s.a ack {length} {all}\r\n{headers}x\r\n"));
    }
    let ack = r#"{"stream":"S","seq":2,"batch":"\"1\"","count":2}"#;
    let expected = format!("MSG ack 9 0\r\n\r\nMSG ack 9 {}\r\n{ack}\r\n", ack.len());
    assert!(said.ends_with(&expected), "{said}");
}
