//! What a server sends, against recorded bytes.

use super::talk::config;
use crate::nats::write::{Info, Message, Outgoing};
use crate::nats::{Auth, Limits, Operation, Parser, Violation};
use bytes::Bytes;

fn written(write: impl FnOnce(&mut Outgoing)) -> String {
    let mut outgoing = Outgoing::default();
    write(&mut outgoing);
    String::from_utf8(outgoing.into_pieces().concat()).expect("text")
}

fn message(headers_len: usize, reply: Option<&[u8]>, payload: &Bytes, understands: bool) -> String {
    let (headers, payload) = (&payload.slice(..headers_len), &payload.slice(headers_len..));
    let message = Message { subject: b"a", sid: b"1", reply, headers, payload };
    written(|out| out.message(message, understands))
}

#[test]
fn what_a_server_sends() {
    let mut info = Info { max_payload: 1_048_576, client_id: 6, ..config(Auth::Open).info };
    info.client_ip = "127.0.0.1".into();
    let open = r#"INFO {"server_id":"N1","server_name":"test","version":"2.12.0","proto":1,"git_commit":"test","go":"rust","host":"127.0.0.1","port":4222,"headers":true,"max_payload":1048576,"client_id":6,"client_ip":"127.0.0.1","api_lvl":1} "#;
    assert_eq!(written(|out| out.info(&info)), format!("{open}\r\n"));
    info.auth_required = true;
    info.domain = Some("hub".into());
    info.remote_account = Some("A".into());
    (info.jetstream, info.tls_required, info.ldm, info.connect_info) = (true, true, true, true);
    let all = written(|out| out.info(&info));
    assert!(all.contains(
        r#"true,"auth_required":true,"tls_required":true,"max_payload":1048576,"jetstream":true,"#
    ));
    let end = r#""domain":"hub","ldm":true,"connect_info":true,"remote_account":"A","api_lvl":1}"#;
    assert!(all.contains(end), "{all}");
    assert_eq!(
        written(|out| {
            out.publish_denied(b"a");
            out.subscription_denied(b"a", None);
            out.subscription_denied(b"a", Some(b"q"));
        }),
        "-ERR 'Permissions Violation for Publish to \"a\"'\r\n\
         -ERR 'Permissions Violation for Subscription to \"a\"'\r\n\
         -ERR 'Permissions Violation for Subscription to \"a\" using queue \"q\"'\r\n"
    );
    assert_eq!(
        written(|out| {
            out.ok();
            out.ping();
            out.pong();
            out.violation(Violation::UnknownOperation);
            out.violation(Violation::Malformed);
        }),
        "+OK\r\nPING\r\nPONG\r\n-ERR 'Unknown Protocol Operation'\r\n"
    );
    assert_eq!(
        written(|out| out.no_responders(b"r.x", b"1", b"nobody")),
        "HMSG r.x 1 38 38\r\nNATS/1.0 503\r\nNats-Subject: nobody\r\n\r\n\r\n"
    );
}

#[test]
fn headers_go_to_those_who_understand_them() {
    let body = Bytes::from_static(b"x");
    assert_eq!(message(0, None, &body, true), "MSG a 1 1\r\nx\r\n");
    assert_eq!(message(0, Some(b"r"), &body, false), "MSG a 1 r 1\r\nx\r\n");
    let both = Bytes::from_static(b"NATS/1.0\r\nA:B\r\n\r\nhi");
    let with = "HMSG a 1 r 17 19\r\nNATS/1.0\r\nA:B\r\n\r\nhi\r\n";
    assert_eq!(message(17, Some(b"r"), &both, true), with);
    assert_eq!(message(17, Some(b"r"), &both, false), "MSG a 1 r 2\r\nhi\r\n");
}

#[test]
fn a_large_payload_is_shared_not_copied() {
    let payload = Bytes::from(vec![b'x'; 100_000]);
    let mut outgoing = Outgoing::default();
    let headers = &Bytes::new();
    let message = Message { subject: b"a", sid: b"1", reply: None, headers, payload: &payload };
    outgoing.message(message, true);
    outgoing.ping();
    let pieces = outgoing.into_pieces();
    assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), ["MSG a 1 100000\r\n".len(), 100_000, 8]);
    assert_eq!(pieces[1].as_ptr(), payload.as_ptr());
}

/// `MSG` is `PUB` with one word more, so our own parser can judge our own writer.
#[test]
fn what_is_written_can_be_read() {
    let payload = Bytes::from_static(b"with\r\nbreaks");
    let sent = message(0, Some(b"r"), &payload, true).replacen("MSG a 1", "PUB a", 1);
    let mut parser = Parser::new(&Limits::DEFAULT, false);
    let Ok(Some(Operation::Publish(read))) = parser.next(&mut Bytes::from(sent)) else { panic!("a message") };
    assert_eq!((read.reply.as_deref(), read.payload), (Some(&b"r"[..]), payload));
}
