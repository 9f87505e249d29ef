//! A NATS client that shows what it is told, byte for byte, and hides nothing: no library between test and wire.
//!
//! - Limits: one connection; what arrives is kept until it is taken.
//! - Never: reconnecting, retrying, a request that waits on its own.

use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// A message as a subscriber got it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Message {
    pub(crate) subject: String,
    pub(crate) reply: Option<String>,
    /// The header block; empty if there is none.
    pub(crate) headers: String,
    pub(crate) payload: Vec<u8>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    received: Vec<u8>,
    messages: Vec<Message>,
    pongs: usize,
    /// What it was refused, and that the server went away.
    complaints: Vec<String>,
    last_sid: u32,
}

impl Client {
    /// Connects as clients with headers do.
    pub(crate) async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the server listens");
        stream.set_nodelay(true).expect("a socket");
        let mut client = Self {
            stream,
            received: Vec::new(),
            messages: Vec::new(),
            pongs: 0,
            complaints: Vec::new(),
            last_sid: 0,
        };
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"protocol":1,"lang":"test","version":"0"}"#;
        client.send(format!("CONNECT {options}\r\n").as_bytes()).await;
        client.flush().await;
        client
    }

    /// Subscribes.
    pub(crate) async fn subscribe(&mut self, subject: &str) {
        self.last_sid += 1;
        self.send(format!("SUB {subject} {}\r\n", self.last_sid).as_bytes()).await;
    }

    /// Publishes; `headers` are lines without a line break.
    pub(crate) async fn publish(
        &mut self,
        subject: &str,
        reply: Option<&str>,
        headers: &[String],
        payload: &[u8],
    ) {
        let reply = reply.map(|reply| format!("{reply} ")).unwrap_or_default();
        let mut operation = if headers.is_empty() {
            format!("PUB {subject} {reply}{}\r\n", payload.len()).into_bytes()
        } else {
            let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
            let block = format!("NATS/1.0\r\n{lines}\r\n");
            let (head, all) = (block.len(), block.len() + payload.len());
            format!("HPUB {subject} {reply}{head} {all}\r\n{block}").into_bytes()
        };
        operation.extend_from_slice(payload);
        operation.extend_from_slice(b"\r\n");
        self.send(&operation).await;
    }

    async fn send(&mut self, bytes: &[u8]) {
        if let Err(error) = self.stream.write_all(bytes).await {
            self.complaints.push(format!("cannot be written to: {error}"));
        }
    }

    /// Waits until the server has read everything.
    pub(crate) async fn flush(&mut self) {
        let awaited = self.pongs + 1;
        self.send(b"PING\r\n").await;
        self.read_until(Duration::from_secs(10), |client| client.pongs >= awaited).await;
    }

    /// Reads until the connection is as wanted, has ended, or time is up; whether it became so.
    pub(crate) async fn read_until(&mut self, within: Duration, wanted: impl Fn(&Self) -> bool) -> bool {
        let until = Instant::now() + within;
        while !wanted(self) {
            let mut bytes = [0; 16 * 1024];
            match timeout_at(until, self.stream.read(&mut bytes)).await {
                Ok(Ok(count)) if count > 0 => {
                    self.received.extend_from_slice(&bytes[..count]);
                    while self.parse().await {}
                }
                Ok(Ok(_) | Err(_)) => {
                    self.complaints.push("the connection is gone".into());
                    return false;
                }
                Err(_) => return false,
            }
        }
        true
    }

    /// The messages nobody has taken yet.
    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// The messages nobody has taken yet, and what else was said; both are taken.
    pub(crate) fn take(&mut self) -> (Vec<Message>, Vec<String>) {
        (std::mem::take(&mut self.messages), std::mem::take(&mut self.complaints))
    }

    /// Reads one operation of what was received; whether there was one.
    async fn parse(&mut self) -> bool {
        let Some(end) = self.received.windows(2).position(|pair| pair == b"\r\n") else { return false };
        let line = String::from_utf8_lossy(&self.received[..end]).into_owned();
        let mut words = line.split(' ');
        let operation = words.next().unwrap_or_default();
        let mut used = end + 2;
        match operation {
            "MSG" | "HMSG" => {
                let words: Vec<&str> = words.collect();
                let lengths = if operation == "MSG" { 1 } else { 2 };
                let (names, lengths) = words.split_at(words.len() - lengths);
                let lengths: Vec<usize> =
                    lengths.iter().map(|text| text.parse().expect("a length")).collect();
                let all = lengths[lengths.len() - 1];
                let head = if lengths.len() == 2 { lengths[0] } else { 0 };
                if self.received.len() < used + all + 2 {
                    return false;
                }
                let block = &self.received[used..used + head];
                self.messages.push(Message {
                    subject: names[0].into(),
                    reply: names.get(2).map(|reply| (*reply).into()),
                    headers: String::from_utf8_lossy(block).into_owned(),
                    payload: self.received[used + head..used + all].to_vec(),
                });
                used += all + 2;
            }
            "PING" => self.send(b"PONG\r\n").await,
            "PONG" => self.pongs += 1,
            "-ERR" => self.complaints.push(line),
            _ => {}
        }
        self.received.drain(..used);
        true
    }
}
