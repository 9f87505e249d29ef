//! Inboxes that nobody listens on any more.

use super::Talk;

fn with_consumer() -> Talk {
    let mut talk = Talk::new();
    talk.stream("S", "s");
    talk.ask("CONSUMER.CREATE.S.c", r#"{"stream_name":"S","config":{"durable_name":"c"}}"#);
    talk
}

fn num_waiting(talk: &mut Talk) -> bool {
    talk.ask("CONSUMER.INFO.S.c", "").contains("\"num_waiting\":1")
}

#[test]
fn a_pull_ends_with_the_subscription_that_would_hear_its_messages() {
    let mut talk = with_consumer();
    talk.say(1, "SUB mine 2\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.c mine 0\r\n\r\n");
    assert!(num_waiting(&mut talk));
    talk.say(1, "UNSUB 2\r\n");
    assert!(!num_waiting(&mut talk));
}

#[test]
fn a_pull_ends_with_the_connection_that_asked() {
    let mut talk = with_consumer();
    talk.connect(2);
    talk.say(2, "PUB $JS.API.CONSUMER.MSG.NEXT.S.c _INBOX.2.x 0\r\n\r\n");
    assert!(num_waiting(&mut talk));
    let connection = crate::nats::ConnectionId(2);
    talk.turn(super::Input::Client(crate::nats::server::Input::Disconnected { connection }));
    assert!(!num_waiting(&mut talk));
    // What would have been its message is there for others, at once.
    let pulled = talk.say(1, "PUB s 1\r\nx\r\nPUB $JS.API.CONSUMER.MSG.NEXT.S.c _INBOX.1.a 0\r\n\r\n");
    assert!(pulled.contains("$JS.ACK.S.c.1.1.1."), "{pulled}");
}

#[test]
fn a_pull_times_out_while_somebody_listens() {
    let mut talk = with_consumer();
    talk.publish("$JS.API.CONSUMER.MSG.NEXT.S.c", r#"{"batch":1,"expires":1000000000}"#);
    talk.pass(999);
    assert_eq!(talk.heard(1), "");
    talk.pass(1);
    assert!(talk.heard(1).contains("NATS/1.0 408 Request Timeout\r\n"));
}

/// As a real server did, step by step: who listens, and how many deliveries there are then.
#[test]
fn a_deliver_group_is_its_members_and_nobody_else() {
    let queue = |name: Option<&str>| name.map_or(String::new(), |name| format!(" {name}"));
    for (nth, (group, first, steps)) in [
        (Some("g"), None, &[("SUB", Some("g"), 2), ("UNSUB", Some("g"), 2)][..]),
        (Some("g"), Some("h"), &[("SUB", Some("g"), 2), ("UNSUB", Some("g"), 2)]),
        (Some("g"), Some("g"), &[("SUB", None, 2), ("UNSUB", Some("first"), 2)]),
        (None, Some("g"), &[("SUB", None, 2), ("UNSUB", None, 2)]),
        (None, None, &[("SUB", Some("g"), 2), ("UNSUB", Some("first"), 2)]),
    ]
    .into_iter()
    .enumerate()
    {
        let mut talk = Talk::new();
        talk.stream("S", "s");
        talk.publish("s", "x");
        talk.say(1, &format!("SUB d{} 7\r\n", queue(first)));
        let group_field = group.map_or(String::new(), |group| format!(r#","deliver_group":"{group}""#));
        let config =
            format!(r#"{{"durable_name":"c","deliver_subject":"d","ack_policy":"none"{group_field}}}"#);
        let body = format!(r#"{{"stream_name":"S","config":{config}}}"#);
        talk.say(1, &format!("PUB $JS.API.CONSUMER.CREATE.S.c {}\r\n{body}\r\n", body.len()));
        let delivered = |talk: &mut Talk| {
            let info: serde_json::Value =
                serde_json::from_str(&talk.ask("CONSUMER.INFO.S.c", "")).expect("JSON");
            (info["delivered"]["consumer_seq"].as_u64(), info["push_bound"].as_bool().unwrap_or(false))
        };
        let is_bound = first == group;
        assert_eq!(delivered(&mut talk), (Some(u64::from(is_bound)), is_bound), "{nth}");
        let mut is_bound = is_bound;
        for (what, who, count) in steps {
            let said = match (*what, *who) {
                ("SUB", who) => {
                    is_bound |= who == group;
                    format!("SUB d{} 8\r\n", queue(who))
                }
                (_, Some("first")) => {
                    is_bound = false;
                    "UNSUB 7\r\n".to_owned()
                }
                (_, _) => {
                    is_bound = false;
                    "UNSUB 8\r\n".to_owned()
                }
            };
            talk.say(1, &said);
            talk.say(1, "PUB s 1\r\ny\r\n");
            assert_eq!(delivered(&mut talk), (Some(*count), is_bound), "{nth} {what} {who:?}");
        }
    }
}
