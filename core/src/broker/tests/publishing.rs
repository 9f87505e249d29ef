//! From a publish to its ack, and from a pull to its message.

use super::Talk;

#[test]
fn a_message_is_acknowledged_and_delivered_byte_for_byte() {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    let ack = talk.say(1, "HPUB s.a _INBOX.1.a 21 23\r\nNATS/1.0\r\nK:  \u{1} v\r\n\r\n12\r\n");
    assert_eq!(ack, "MSG _INBOX.1.a 1 22\r\n{\"stream\":\"S\",\"seq\":1}\r\n");
    let config = r#"{"stream_name":"S","config":{"durable_name":"c","ack_policy":"explicit"}}"#;
    talk.ask("CONSUMER.CREATE.S.c", config);
    let pulled = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", "");
    let expected =
        "HMSG s.a 1 $JS.ACK.S.c.1.1.1.1795231870000000000.0 21 23\r\nNATS/1.0\r\nK:  \u{1} v\r\n\r\n12\r\n";
    assert_eq!(pulled, expected);
    let acked = talk.publish("$JS.ACK.S.c.1.1.1.1795231870000000000.0", "");
    assert_eq!(acked, "MSG _INBOX.1.a 1 0\r\n\r\n");
    let over = talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", r#"{"batch":1,"no_wait":true}"#);
    assert_eq!(over, "HMSG _INBOX.1.a 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n");
}

#[test]
fn many_publishes_of_one_read_are_one_commit_and_one_piece() {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    let commits = talk.store.commits;
    let text = "PUB s.a _INBOX.1.a 1\r\nx\r\n".repeat(500);
    let acks = talk.say(1, &text);
    assert_eq!(acks.matches("\"seq\":").count(), 500);
    assert!(acks.ends_with("{\"stream\":\"S\",\"seq\":500}\r\n"), "in order");
    assert_eq!(talk.store.commits, commits + 1);
}

#[test]
fn the_most_operations_one_read_can_hold_are_handled() {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    let one = "PUB s 0\r\n\r\n";
    let text = one.repeat(super::super::RECEIVED_BYTES_MAX / one.len());
    assert_eq!(talk.say(1, &text), "");
    let next = talk.publish("s", "");
    assert!(next.contains(&format!("\"seq\":{}", text.len() / one.len() + 1)), "{next}");
}

#[test]
fn who_listens_to_what_is_stored_hears_it_too() {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    talk.connect(2);
    talk.say(2, "SUB s.* 9\r\n");
    talk.publish("s.a", "x");
    assert_eq!(talk.heard(2), "MSG s.a 9 _INBOX.1.a 1\r\nx\r\n");
}

#[test]
fn where_nobody_listens_a_requester_is_told() {
    let mut talk = Talk::new();
    let refused = |subject: &str| format!("NATS/1.0 503\r\nNats-Subject: {subject}\r\n\r\n");
    for subject in ["nobody", "$JS.API.CONSUMER.MSG.NEXT.S.c", "$JS.ACK.S.c.1.1.1.1.0"] {
        let heard = talk.publish(subject, "");
        assert!(heard.contains(&refused(subject)), "{subject}: {heard}");
    }
    talk.stream("S", "s");
    let heard = talk.publish("$JS.API.DIRECT.GET.S", r#"{"seq":1}"#);
    assert!(heard.contains("503"), "a stream without direct gets: {heard}");
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let mut talk = Talk::new();
    talk.stream("S", "s.>");
    talk.publish("s.a", "x");
    talk.crash();
    talk.connect(1);
    let info = talk.ask("STREAM.INFO.S", "");
    assert!(info.contains("\"messages\":1"), "{info}");
    assert!(talk.publish("s.a", "y").contains("\"seq\":2"));
}
