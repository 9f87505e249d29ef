//! The parser: recorded lines, and that neither the cuts nor the bytes can surprise it.

use crate::nats::{Connect, Limits, Operation, Parser, Publish, Violation};
use bytes::Bytes;
use proptest::prelude::*;

const LIMITS: Limits = Limits { control_line_bytes_max: 32, payload_bytes_max: 64, ..Limits::DEFAULT };

/// Everything a stream says, up to its violation.
type Said = (Vec<Operation>, Option<Violation>);

fn read<'a>(limits: &Limits, headers: bool, chunks: impl IntoIterator<Item = &'a [u8]>) -> Said {
    let mut parser = Parser::new(limits, false);
    parser.accept(headers);
    let mut said = Vec::new();
    for chunk in chunks {
        let mut input = Bytes::copy_from_slice(chunk);
        loop {
            match parser.next(&mut input) {
                Ok(Some(operation)) => said.push(operation),
                Ok(None) => break,
                Err(violation) => {
                    assert_eq!(
                        parser.next(&mut Bytes::from_static(b"PING\r\n")),
                        Err(violation),
                        "it is over"
                    );
                    return (said, Some(violation));
                }
            }
            let held_max = limits.payload_bytes_max.max(limits.control_line_bytes_max + 1);
            assert!(parser.held() <= held_max, "{} bytes held", parser.held());
        }
    }
    (said, None)
}

fn whole(bytes: &[u8]) -> Said {
    read(&Limits::DEFAULT, true, [bytes])
}

fn publish(subject: &'static str, payload: &'static str) -> Operation {
    let (subject, payload) = (Bytes::from_static(subject.as_bytes()), Bytes::from_static(payload.as_bytes()));
    Operation::Publish(Publish { subject, reply: None, headers: Bytes::new(), payload })
}

fn subscribe(subject: &'static str, queue: Option<&'static str>, sid: &'static str) -> Operation {
    let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
    Operation::Subscribe { subject: bytes(subject), queue: queue.map(bytes), sid: bytes(sid) }
}

#[test]
fn what_clients_send_is_understood() {
    let connect = Connect { verbose: Some(true), auth_token: Some("t".into()), ..Connect::default() };
    let headers = Publish {
        subject: Bytes::from_static(b"a"),
        reply: Some(Bytes::from_static(b"r")),
        headers: Bytes::from_static(b"NATS/1.0\r\nA:B\r\n\r\n"),
        payload: Bytes::from_static(b"hi"),
    };
    let unsubscribe = |max| Operation::Unsubscribe { sid: Bytes::from_static(b"1"), max };
    let cases: &[(&[u8], &[Operation])] = &[
        (
            b"CONNECT {\"verbose\":false,\"new\":1,\"verbose\":true,\"auth_token\":\"t\"}\r\nPING\r\n",
            &[Operation::Connect(Box::new(connect)), Operation::Ping],
        ),
        (b"CONNECT null\r\n", &[Operation::Connect(Box::default())]),
        (b"connect{}\n", &[Operation::Connect(Box::default())]),
        (
            b"sub a 1\r\npub a 1\r\nx\r\nping\r\n",
            &[subscribe("a", None, "1"), publish("a", "x"), Operation::Ping],
        ),
        (b"SUB \t a.> q  1 \t\r\n", &[subscribe("a.>", Some("q"), "1")]),
        (b"PUB\ta\t 01\r\nx\r\n", &[publish("a", "x")]),
        (b"PUB a 0\r\n\r\n", &[publish("a", "")]),
        (b"PUB a 000000001\n\n\r\n", &[publish("a", "\n")]),
        (b"HPUB a r 17 19\r\nNATS/1.0\r\nA:B\r\n\r\nhi\r\n", &[Operation::Publish(headers)]),
        (b"HPUB a 0 1\r\nx\r\n", &[publish("a", "x")]),
        (b"UNSUB 1\r\nUNSUB 1 2\r\n", &[unsubscribe(None), unsubscribe(Some(2))]),
        (b"UNSUB 1 x\r\nUNSUB 1 0\r\n", &[unsubscribe(None), unsubscribe(None)]),
        (b"PINGxyz abc\r\nPONG\tq\nPING\r\n", &[Operation::Ping, Operation::Pong, Operation::Ping]),
        (b"+OK\r\nINFO {}\r\nPING\r\n", &[Operation::Ping]),
    ];
    for (bytes, said) in cases {
        assert_eq!(whole(bytes), (said.to_vec(), None), "{}", bytes.escape_ascii());
    }
}

#[test]
fn what_they_may_not_send_is_refused_as_the_real_server_does() {
    let unknown = Some("Unknown Protocol Operation");
    let cases: &[(&[u8], Option<&str>)] = &[
        (b"FOO\r\n", unknown),
        (b" PING\r\n", unknown),
        (b"\r\n", unknown),
        (b"PUB\r\n", unknown),
        (b"HMSG a 1 2 3\r\n", unknown),
        (b"MSG a 1 2\r\n", unknown),
        (b"PUB a 1\r\nxxPING\r\n", unknown),
        (b"PUB a 1\r\nx\nPING\r\n", unknown),
        (b"PUB a 2000000\r\n", Some("Maximum Payload Violation")),
        (b"HPUB a 12 1048577\r\n", Some("Maximum Payload Violation")),
        (b"HPUB a 1048579 1048577\r\n", None),
        (b"HPUB a 14 13\r\n", None),
        (b"HPUB a 1\r\n", None),
        (b"HPUB a x 2\r\n", None),
        (b"PUB a xx\r\n", None),
        (b"PUB a -1\r\n", None),
        (b"PUB a +1\r\n", None),
        (b"PUB a 0000000001\r\n", None),
        (b"PUB \r\n", None),
        (b"PUB a\r\n", None),
        (b"PUB a b c 1\r\n", None),
        (b"SUB a\r\n", None),
        (b"SUB a b c d\r\n", None),
        (b"UNSUB \r\n", None),
        (b"UNSUB 1 0 3\r\n", None),
        (b"-ERR 'x'\r\n", None),
        (b"CONNECT {bad\r\n", None),
        (b"CONNECT\r\n", None),
        (b"CONNECT []\r\n", None),
        (b"CONNECT {\"verbose\":\"yes\"}\r\n", None),
    ];
    for (bytes, text) in cases {
        let (said, violation) = whole(bytes);
        assert_eq!(said, [], "{}", bytes.escape_ascii());
        let violation = violation.unwrap_or_else(|| panic!("{} is refused", bytes.escape_ascii()));
        assert_eq!((violation.text(), violation.closes()), (*text, true), "{}", bytes.escape_ascii());
    }
    assert_eq!(read(&LIMITS, false, [&b"HPUB a 1 999\r\n"[..]]).1, Some(Violation::HeadersNotSupported));
}

#[test]
fn a_control_line_has_a_longest_length_without_verb_and_line_break() {
    for (letters, violation) in [(4094, None), (4095, Some(Violation::ControlLineExceeded))] {
        for end in ["\r\n", "\n"] {
            let line = format!("SUB   {} 1{end}", "a".repeat(letters));
            assert_eq!(whole(line.as_bytes()).1, violation, "{letters}");
        }
    }
    let endless = [b"SUB ".as_slice(), &[b'a'; 4097]].concat();
    assert_eq!(whole(&endless).1, Some(Violation::ControlLineExceeded), "before it ends");
    assert_eq!(whole(&[b'P'; 1]).1, None);
    let long = format!("PING{}\r\n", " ".repeat(100_000));
    assert_eq!(whole(long.as_bytes()), (vec![Operation::Ping], None), "nothing of it is kept");
}

#[test]
fn before_a_client_is_known_it_may_only_connect() {
    for (bytes, violation) in [("PING\r\n", Violation::Authorization), ("GET", Violation::Authorization)] {
        let mut parser = Parser::new(&Limits::DEFAULT, true);
        assert_eq!(parser.next(&mut Bytes::from_static(bytes.as_bytes())), Err(violation), "{bytes}");
    }
    let mut parser = Parser::new(&Limits::DEFAULT, true);
    let mut input = Bytes::from_static(b"CONNECT {}\r\nPING\r\n");
    assert_eq!(parser.next(&mut input), Ok(Some(Operation::Connect(Box::default()))));
    parser.accept(false);
    assert_eq!(parser.next(&mut input), Ok(Some(Operation::Ping)));
    assert_eq!(parser.next(&mut input), Ok(None));
}

#[test]
fn what_arrives_whole_is_not_copied() {
    let mut input = Bytes::from_static(b"PUB subject 7\r\npayload\r\n");
    let from = input.as_ptr() as usize;
    let mut parser = Parser::new(&Limits::DEFAULT, false);
    let Ok(Some(Operation::Publish(publish))) = parser.next(&mut input) else { panic!("a message") };
    assert_eq!(publish.subject.as_ptr() as usize, from + 4);
    assert_eq!(publish.payload.as_ptr() as usize, from + 15);
}

/// Pieces that are nearly the protocol: most streams get somewhere before they fail.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let pieces = [
        "PUB a 1\r\nx\r\n",
        "PUB a r 3\r\nabc\r\n",
        "HPUB a 2 3\r\nabc\r\n",
        "SUB a.* q 1\r\n",
        "SUB a 1\n",
        "UNSUB 1 3\r\n",
        "PING\r\n",
        "pong\r\n",
        "CONNECT {}\r\n",
        "+OK\r\n",
        "INFO {}\r\n",
        "PUB a 99\r\n",
        "PUB a 40\r\n",
        "SUB ",
        "PUB ",
        "\r\n",
        "\n",
        "\r",
        " ",
        "aaaaaaaaaaaaaaaa",
        "1",
        "-ERR 'x'\r\n",
        "\u{0}",
    ];
    let piece = prop_oneof![
        12 => prop::sample::select(pieces.to_vec()).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn the_cuts_do_not_matter(bytes in stream(), cuts in prop::collection::vec(1..12_usize, 1..8), headers: bool) {
        let at_once = read(&LIMITS, headers, [&bytes[..]]);
        prop_assert_eq!(&read(&LIMITS, headers, bytes.chunks(1)), &at_once);
        let mut rest = &bytes[..];
        let mut sizes = cuts.iter().cycle();
        let chunks = std::iter::from_fn(|| {
            let (chunk, more) = rest.split_at((*sizes.next()?).min(rest.len()));
            rest = more;
            (!chunk.is_empty()).then_some(chunk)
        });
        prop_assert_eq!(&read(&LIMITS, headers, chunks), &at_once);
    }

    #[test]
    fn no_bytes_surprise_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read(&LIMITS, true, bytes.chunks(7));
    }
}
