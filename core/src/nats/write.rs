//! What a server sends: the exact bytes of the real one, and the pieces in which they leave.
//!
//! Small things are written one behind the other into one buffer. A large payload is a piece of its own, shared by all
//! who get the message: it is never copied, however many they are.
//!
//! Unlike the real server, a size is written without the leading zeros its sender may have used.

use super::violation::Violation;
use bytes::{Bytes, BytesMut};
use serde::Serialize;

/// From this size on, sharing a payload is cheaper than copying it.
const SHARED_BYTES_MIN: usize = 2048;

/// What a server says about itself before anything else.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Info {
    /// Its id.
    pub server_id: String,
    /// Its name.
    pub server_name: String,
    /// The version whose features it has: clients decide by it.
    pub version: String,
    /// The version of the protocol.
    pub proto: u8,
    /// Which sources it was built from.
    pub git_commit: String,
    /// What it was built with: the real server's field has that name.
    pub go: String,
    /// Where it listens.
    pub host: String,
    /// Where it listens.
    pub port: u16,
    /// Whether it takes headers.
    pub headers: bool,
    /// Whether a client must say who it is.
    #[serde(skip_serializing_if = "is_false")]
    pub auth_required: bool,
    /// Whether a client must encrypt.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_required: bool,
    /// Whether a client must show a certificate.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_verify: bool,
    /// Whether a client may encrypt.
    #[serde(skip_serializing_if = "is_false")]
    pub tls_available: bool,
    /// Largest message, headers included.
    pub max_payload: usize,
    /// Whether it has JetStream.
    #[serde(skip_serializing_if = "is_false")]
    pub jetstream: bool,
    /// The number of this connection.
    pub client_id: u64,
    /// Where this client comes from, as the server sees it.
    pub client_ip: String,
    /// What a client may sign to say who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The domain of its JetStream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domain: Option<String>,
    /// Where else it can be reached.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connect_urls: Vec<String>,
    /// Whether it sends its clients away.
    #[serde(skip_serializing_if = "is_false")]
    pub ldm: bool,
    /// Whether this says as whom a client was admitted.
    #[serde(skip_serializing_if = "is_false")]
    pub connect_info: bool,
    /// The account a client belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote_account: Option<String>,
    /// The level of the JetStream API.
    pub api_lvl: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A message on its way to one subscription.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    /// Where it was published.
    pub subject: &'m [u8],
    /// The client's name for the subscription.
    pub sid: &'m [u8],
    /// Where answers go.
    pub reply: Option<&'m [u8]>,
    /// The header block; empty for none.
    pub headers: &'m Bytes,
    /// The body.
    pub payload: &'m Bytes,
}

/// What leaves for one connection, in order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Outgoing {
    pieces: Vec<Bytes>,
    open: BytesMut,
}

impl Outgoing {
    /// `INFO`.
    pub fn info(&mut self, info: &Info) {
        let json = serde_json::to_vec(info).expect("strings and numbers are JSON");
        self.write(&[b"INFO ", &json, b" \r\n"]);
    }

    /// `+OK`.
    pub fn ok(&mut self) {
        self.write(&[b"+OK\r\n"]);
    }

    /// `PING`.
    pub fn ping(&mut self) {
        self.write(&[b"PING\r\n"]);
    }

    /// `PONG`.
    pub fn pong(&mut self) {
        self.write(&[b"PONG\r\n"]);
    }

    /// `-ERR`; nothing for what the real server does not mention.
    pub fn violation(&mut self, violation: Violation) {
        if let Some(text) = violation.text() {
            self.write(&[b"-ERR '", text.as_bytes(), b"'\r\n"]);
        }
    }

    /// The complaint about a message where the client may not publish.
    pub fn publish_denied(&mut self, subject: &[u8]) {
        self.write(&[b"-ERR 'Permissions Violation for Publish to \"", subject, b"\"'\r\n"]);
    }

    /// The complaint about a subscription that the client may not have.
    pub fn subscription_denied(&mut self, subject: &[u8], queue: Option<&[u8]>) {
        self.write(&[b"-ERR 'Permissions Violation for Subscription to \"", subject, b"\""]);
        if let Some(queue) = queue {
            self.write(&[b" using queue \"", queue, b"\""]);
        }
        self.write(&[b"'\r\n"]);
    }

    /// `MSG`, or `HMSG` if there are headers and the client `understands` them; otherwise it gets the body alone.
    pub fn message(&mut self, message: Message<'_>, understands: bool) {
        let Message { subject, sid, reply, headers, payload } = message;
        let with_headers = !headers.is_empty() && understands;
        self.write(&[if with_headers { b"HMSG " } else { b"MSG " }, subject, b" ", sid, b" "]);
        if let Some(reply) = reply {
            self.write(&[reply, b" "]);
        }
        if with_headers {
            self.number(headers.len());
            self.write(&[b" "]);
            self.number(headers.len() + payload.len());
        } else {
            self.number(payload.len());
        }
        self.write(&[b"\r\n"]);
        if with_headers {
            self.body(headers);
        }
        self.body(payload);
        self.write(&[b"\r\n"]);
    }

    fn body(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.write(&[bytes]);
        } else {
            self.close_piece();
            self.pieces.push(bytes.clone());
        }
    }

    /// Decimal digits, written without an allocation: there are one or two in every message.
    fn number(&mut self, mut number: usize) {
        let mut digits = [0; 20];
        let mut at = digits.len();
        loop {
            at -= 1;
            digits[at] = b'0' + u8::try_from(number % 10).expect("a digit");
            number /= 10;
            if number == 0 {
                break;
            }
        }
        self.write(&[&digits[at..]]);
    }

    /// The status that tells a requester that nobody listens on `subject`.
    pub fn no_responders(&mut self, reply: &[u8], sid: &[u8], subject: &[u8]) {
        let status = Bytes::from([b"NATS/1.0 503\r\nNats-Subject: ", subject, b"\r\n\r\n"].concat());
        let (headers, payload) = (&status, &Bytes::new());
        self.message(Message { subject: reply, sid, reply: None, headers, payload }, true);
    }

    /// All of it.
    #[must_use]
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        self.close_piece();
        self.pieces
    }

    fn write(&mut self, parts: &[&[u8]]) {
        for part in parts {
            self.open.extend_from_slice(part);
        }
    }

    fn close_piece(&mut self) {
        if !self.open.is_empty() {
            self.pieces.push(self.open.split().freeze());
        }
    }
}
