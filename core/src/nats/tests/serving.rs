//! What concerns several clients, or time: words recorded from the real server, and properties.

use super::talk::{Talk, config};
use crate::nats::server::Config;
use crate::nats::{Auth, Limits};
use proptest::prelude::*;

const PROTOCOL: &str = r#","headers":true,"no_responders":true"#;

fn open(limits: Limits) -> Talk {
    Talk::new(Config { limits, ..config(Auth::Open) })
}

#[test]
fn a_request_finds_its_answer() {
    let mut talk = open(Limits::DEFAULT);
    for client in 1..=3 {
        talk.client(client, if client == 3 { "" } else { PROTOCOL });
    }
    talk.send(1, b"SUB _INBOX.1.* 9\r\n");
    talk.send(2, b"SUB svc.> q 1\r\n");
    talk.send(3, b"SUB svc.* 5\r\n");
    talk.send(1, b"HPUB svc.a _INBOX.1.x 17 19\r\nNATS/1.0\r\nA:B\r\n\r\nhi\r\n");
    assert_eq!(talk.heard(2), "HMSG svc.a 1 _INBOX.1.x 17 19\r\nNATS/1.0\r\nA:B\r\n\r\nhi\r\n");
    assert_eq!(talk.heard(3), "MSG svc.a 5 _INBOX.1.x 2\r\nhi\r\n", "no headers for who does not know them");
    talk.send(2, b"PUB _INBOX.1.x 2\r\nok\r\n");
    assert_eq!(talk.heard(1), "MSG _INBOX.1.x 9 2\r\nok\r\n");
    talk.leave(2);
    talk.send(3, b"UNSUB 5\r\n");
    talk.send(1, b"PUB svc.a _INBOX.1.x 0\r\n\r\n");
    let nobody = "HMSG _INBOX.1.x 9 37 37\r\nNATS/1.0 503\r\nNats-Subject: svc.a\r\n\r\n\r\n";
    assert_eq!(talk.heard(1), nobody);
}

#[test]
fn one_member_of_a_group_is_served_and_all_of_them_in_the_long_run() {
    let mut talk = open(Limits::DEFAULT);
    for client in 1..=4 {
        talk.client(client, PROTOCOL);
    }
    (2..=4).for_each(|client| talk.send(client, b"SUB a q 1\r\n"));
    (0..90).for_each(|_| talk.send(1, b"PUB a 1\r\nx\r\n"));
    let shares: Vec<usize> =
        (2..=4).map(|client| talk.heard(client).matches("MSG a 1 1\r\n").count()).collect();
    assert_eq!(shares.iter().sum::<usize>(), 90);
    assert!(shares.iter().all(|share| *share > 10), "{shares:?}");
}

#[test]
fn a_member_that_does_not_want_its_own_messages_leaves_them_to_the_others() {
    let mut talk = open(Limits::DEFAULT);
    talk.client(1, r#","echo":false"#);
    talk.client(2, "");
    (1..=2).for_each(|client| talk.send(client, b"SUB a q 1\r\n"));
    (0..10).for_each(|_| talk.send(1, b"PUB a 1\r\nx\r\n"));
    assert_eq!((talk.heard(1).len(), talk.heard(2).matches("MSG").count()), (0, 10));
}

#[test]
fn who_must_say_who_he_is() {
    let token = || Auth::token("tok");
    let user = || Auth::user("u", "p");
    let violation = "-ERR 'Authorization Violation'\r\n";
    for (auth, sent, answer) in [
        (token(), r#"CONNECT {"verbose":false,"auth_token":"tok"}"#, ""),
        (token(), r#"CONNECT {"verbose":true,"auth_token":"tok"}"#, "+OK\r\n"),
        (token(), r#"CONNECT {"auth_token":"no"}"#, violation),
        (token(), r#"CONNECT {"auth_token":"tokt"}"#, violation),
        (user(), r#"CONNECT {"verbose":false,"user":"u","pass":"p"}"#, ""),
        (user(), r#"CONNECT {"user":"u","pass":"zz"}"#, violation),
        (user(), r#"CONNECT {"user":"u"}"#, violation),
        (user(), r#"CONNECT {"no_responders":true}"#, violation),
        (user(), "PING", violation),
        (user(), "GET", violation),
    ] {
        let mut talk = Talk::new(config(auth));
        assert!(talk.connect(1).contains(r#""auth_required":true"#));
        talk.send(1, format!("{sent}\r\nPING\r\n").as_bytes());
        let (heard, refused) = (talk.heard(1), answer == violation);
        assert_eq!(heard, if refused { answer.to_owned() } else { format!("{answer}PONG\r\n") }, "{sent}");
        assert_eq!(talk.is_closed(1), refused, "{sent}");
    }
    let mut talk = Talk::new(config(user()));
    talk.connect(1);
    talk.send(1, b"CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"p\"}\r\nCONNECT {}\r\nPING\r\n");
    assert_eq!(talk.heard(1), "PONG\r\n", "a second one takes nothing back");
}

#[test]
fn who_does_not_say_so_in_time_is_closed() {
    let mut talk = Talk::new(config(Auth::token("tok")));
    talk.connect(1);
    talk.wait_ms(1_999);
    assert_eq!(talk.heard(1), "");
    talk.wait_ms(1);
    assert_eq!(talk.heard(1), "-ERR 'Authentication Timeout'\r\n");
    assert!(talk.is_closed(1));
    assert_eq!(talk.server.deadline(), None);
}

#[test]
fn who_is_silent_is_asked_and_then_closed() {
    let mut talk = open(Limits { ping_interval_ms: 1_000, ..Limits::DEFAULT });
    talk.client(1, "");
    talk.wait_ms(2_500);
    assert_eq!(talk.heard(1), "PING\r\nPING\r\n");
    talk.wait_ms(500);
    assert_eq!(talk.heard(1), "-ERR 'Stale Connection'\r\n");
    assert!(talk.is_closed(1));
    talk.client(2, "");
    for _ in 0..20 {
        talk.wait_ms(1_000);
        assert_eq!(talk.heard(2), "PING\r\n", "at {} ms", talk.at_ms());
        talk.send(2, b"PONG\r\n");
        talk.wait_ms(500);
        talk.send(2, b"PUB a 0\r\n\r\n");
        talk.wait_ms(500);
        assert_eq!(talk.heard(2), "", "who was just heard is not asked");
    }
    assert!(!talk.is_closed(2));
}

#[test]
fn there_is_a_limit_to_everything() {
    let limits = Limits {
        connections_max: 2,
        subscriptions_per_connection_max: 3,
        subscriptions_max: 4,
        payload_bytes_max: 100,
        ..Limits::DEFAULT
    };
    let mut talk = open(limits);
    talk.client(1, "");
    talk.client(2, "");
    assert!(talk.connect(3).contains(r#""max_payload":100,"client_id":3"#));
    assert_eq!(talk.heard(3), "-ERR 'maximum connections exceeded'\r\n");
    assert!(talk.is_closed(3));
    talk.send(1, b"SUB a 1\r\nSUB b 2\r\nSUB c 3\r\nSUB d 4\r\nPING\r\n");
    assert_eq!(talk.heard(1), "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n");
    talk.send(2, b"SUB a 1\r\nSUB b 2\r\nPING\r\n");
    assert_eq!(talk.heard(2), "-ERR 'maximum subscriptions exceeded'\r\nPONG\r\n", "of all together");
    talk.send(1, b"PUB a 101\r\n");
    assert_eq!(talk.heard(1), "-ERR 'Maximum Payload Violation'\r\n");
    talk.client(4, "");
    talk.send(4, b"SUB a 1\r\nSUB b 2\r\nPING\r\n");
    assert_eq!(talk.heard(4), "PONG\r\n", "what ends makes room");
}

#[derive(Clone, Debug)]
enum Op {
    Connect(u64),
    Send(u64, Vec<u8>),
    Leave(u64),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let pieces = [
        "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\n",
        "CONNECT {\"echo\":false}\r\n",
        "CONNECT {\"auth_token\":\"t\"}\r\n",
        "SUB a 1\r\n",
        "SUB a.> q 2\r\n",
        "SUB r 3\r\n",
        "UNSUB 1 2\r\n",
        "UNSUB 2\r\n",
        "PUB a 1\r\nx\r\n",
        "PUB a.b r 0\r\n\r\n",
        "HPUB a 2 3\r\nabc\r\n",
        "PING\r\n",
        "PONG\r\n",
        "SUB ",
        "PUB a 5\r\nab",
        "\r\n",
    ];
    let bytes = prop_oneof![
        9 => prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ];
    prop_oneof![
        2 => (0..9_u64).prop_map(Op::Connect),
        12 => (0..9_u64, bytes).prop_map(|(client, bytes)| Op::Send(client, bytes)),
        1 => (0..9_u64).prop_map(Op::Leave),
        2 => prop::sample::select(vec![1, 500, 1_000, 2_000, 60_000]).prop_map(Op::Wait),
    ]
}

proptest! {
    /// `Talk` itself checks that nothing is sent behind the end and that no deadline is left behind.
    #[test]
    fn whoever_comes_and_goes_nothing_of_them_stays(ops in prop::collection::vec(op(), 0..80), asks: bool) {
        let auth = if asks { Auth::token("t") } else { Auth::Open };
        let limits = Limits { connections_max: 4, subscriptions_max: 6, ping_interval_ms: 1_000, ..Limits::DEFAULT };
        let config = Config { limits, ..config(auth) };
        let mut talk = Talk::new(config);
        let mut seen = std::collections::BTreeSet::new();
        for op in ops {
            match op {
                Op::Connect(client) => {
                    if seen.insert(client) {
                        talk.connect(client);
                    }
                }
                Op::Send(client, bytes) => talk.send(client, &bytes),
                Op::Leave(client) => talk.leave(client),
                Op::Wait(ms) => talk.wait_ms(ms),
            }
        }
        (0..9).for_each(|client| talk.leave(client));
        prop_assert_eq!(talk.server.deadline(), None);
        prop_assert_eq!((talk.server.connections(), talk.server.subscriptions()), (0, 0));
    }
}
