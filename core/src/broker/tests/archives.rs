//! Archives over the wire: what is asked, and a stream that goes out and comes back.

use super::{Input, Talk};
use crate::nats::{ConnectionId, server};
use bytes::Bytes;

#[test]
fn calls_about_archives_are_read_as_the_original_reads_them() {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    for (call, body, expected) in [
        ("STREAM.SNAPSHOT.S", "", r#""err_code":10003"#),
        ("STREAM.SNAPSHOT.S", "{}", r#""err_code":10003"#),
        ("STREAM.SNAPSHOT.S", "[]", r#""err_code":10025"#),
        ("STREAM.SNAPSHOT.S", r#"{"deliver_subject":"d","x":1}"#, r#""err_code":10025"#),
        ("STREAM.SNAPSHOT.S", r#"{"deliver_subject":"a.*"}"#, r#""err_code":10015"#),
        ("STREAM.SNAPSHOT.S", r#"{"chunk_size":5}"#, r#""err_code":10015"#),
        ("STREAM.SNAPSHOT.T", r#"{"deliver_subject":"d"}"#, r#""err_code":10059"#),
        (
            "STREAM.SNAPSHOT.S",
            r#"{"deliver_subject":"d","jsck":true,"no_consumers":true}"#,
            r#""first_seq":0"#,
        ),
        ("STREAM.RESTORE.S", "{}", r#""err_code":10003,"description":"bad request"},"deliver_subject":"""#),
        ("STREAM.RESTORE.S", r#"{"config":{"name":"S"}}"#, r#""err_code":10130"#),
        ("STREAM.RESTORE.S", r#"{"config":{"name":"S","max_age":1}}"#, r#""err_code":10052"#),
        ("STREAM.RESTORE.T", r#"{"config":{"name":"S"}}"#, r#""err_code":10056"#),
        ("STREAM.RESTORE.T", r#"{"config":{"name":"T"},"x":1}"#, r#""err_code":10025"#),
        ("STREAM.RESTORE.T", r#"{"config":{"name":"T","x":1}}"#, r#""err_code":10025"#),
        ("STREAM.RESTORE.T", r#"{"config":{"name":"T"},"state":{"messages":-1}}"#, r#""err_code":10025"#),
        (
            "STREAM.RESTORE.T",
            r#"{"config":{"name":"T"},"state":{"lost":{"msgs":[1]}}}"#,
            "$JS.SNAPSHOT.RESTORE.T.",
        ),
        ("STREAM.RESTORE.T", r#"{"state":{}}"#, "$JS.SNAPSHOT.RESTORE.T."),
    ] {
        let answer = talk.ask(call, body);
        assert!(answer.contains(expected), "{call} {body}: {answer}");
    }
}

#[test]
fn a_stream_goes_out_and_comes_back() {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    for n in 0..50 {
        talk.publish("s.a", &format!("{n}"));
    }
    let push =
        r#"{"stream_name":"S","config":{"durable_name":"p","deliver_subject":"push","ack_policy":"none"}}"#;
    talk.ask("CONSUMER.CREATE.S.p", push);
    talk.say(1, "SUB archive 8\r\n");
    let asked = r#"{"deliver_subject":"archive"}"#;
    let said = format!("PUB $JS.API.STREAM.SNAPSHOT.S _INBOX.1.a {}\r\n{asked}\r\n", asked.len());
    talk.turn(Input::Client(server::Input::Received {
        connection: ConnectionId(1),
        bytes: Bytes::from(said.into_bytes()),
    }));
    let heard = talk.heard.remove(&1).unwrap_or_default();
    let at = |text: &str| heard.windows(text.len()).position(|own| own == text.as_bytes());
    let chunk = at("MSG archive 8 ").expect("a chunk") + "MSG archive 8 ".len();
    let line = heard[chunk..].iter().position(|byte| *byte == b'\r').expect("a line");
    let length: usize = String::from_utf8_lossy(&heard[chunk..chunk + line]).parse().expect("a length");
    let archive = heard[chunk + line + 2..][..length].to_vec();
    assert!(heard.ends_with(b"MSG archive 8 0\r\n\r\n"), "{}", String::from_utf8_lossy(&heard));

    talk.ask("STREAM.DELETE.S", "");
    talk.say(1, "SUB push 10\r\n");
    let answer = talk.ask("STREAM.RESTORE.S", r#"{"config":{"name":"S","subjects":["s.>"]}}"#);
    let begun: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    let subject = begun["deliver_subject"].as_str().expect("a subject").to_owned();
    let mut said = format!("PUB {subject} _INBOX.1.a {}\r\n", archive.len()).into_bytes();
    said.extend_from_slice(&archive);
    said.extend_from_slice(b"\r\n");
    talk.turn(Input::Client(server::Input::Received { connection: ConnectionId(1), bytes: said.into() }));
    assert_eq!(talk.heard(1), "MSG _INBOX.1.a 1 0\r\n\r\n");
    let end = talk.publish(&subject, "");
    assert!(end.contains("v1.stream_create_response") && end.contains(r#""messages":50"#), "{end}");
    assert!(!end.contains("did_create"), "{end}");
    // Who listened before is served.
    assert_eq!(end.matches("MSG s.a 10 $JS.ACK.S.p.").count(), 50, "{end}");
    let late = talk.publish(&subject, "");
    assert!(late.contains("503"), "{late}");
}
