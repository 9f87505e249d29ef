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
