//! A server, its clients and its clock.

use crate::nats::server::{Config, Effect, Input};
use crate::nats::{Auth, ConnectionId, Info, Limits, Server};
use crate::time::{Mono, Now};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// What every client may sign.
pub(super) const NONCE: &str = "hW1kP5xCv8aK_KU";

pub(super) fn config(auth: Auth) -> Config {
    let info = Info {
        server_id: "N1".into(),
        server_name: "test".into(),
        version: "2.12.0".into(),
        proto: 1,
        git_commit: "test".into(),
        go: "rust".into(),
        host: "127.0.0.1".into(),
        port: 4222,
        headers: true,
        auth_required: false,
        tls_required: false,
        tls_verify: false,
        tls_available: false,
        max_payload: 0,
        jetstream: false,
        client_id: 0,
        client_ip: String::new(),
        nonce: None,
        domain: None,
        connect_urls: Vec::new(),
        ldm: false,
        connect_info: false,
        remote_account: None,
        api_lvl: 1,
    };
    Config { info, auth, limits: Limits::DEFAULT, host_account: "$G".into(), seed: 7 }
}

pub(super) struct Talk {
    pub(super) server: Server,
    pub(super) now: Now,
    heard: BTreeMap<u64, Vec<u8>>,
    closed: BTreeSet<u64>,
}

impl Talk {
    pub(super) fn new(config: Config) -> Self {
        let (heard, closed) = (BTreeMap::new(), BTreeSet::new());
        Self { server: Server::new(config), now: Now::default(), heard, closed }
    }

    pub(super) fn input(&mut self, input: Input) {
        for effect in self.server.handle(self.now, input) {
            match effect {
                Effect::Send { connection, bytes } => {
                    assert!(!self.closed.contains(&connection.0), "nothing is sent behind the end");
                    self.heard.entry(connection.0).or_default().extend_from_slice(&bytes);
                }
                Effect::Close { connection } => assert!(self.closed.insert(connection.0), "closed once"),
            }
        }
    }

    /// The `INFO` a client is greeted with.
    pub(super) fn connect(&mut self, client: u64) -> String {
        self.input(Input::Connected {
            connection: ConnectionId(client),
            address: "127.0.0.1".into(),
            nonce: Some(NONCE.into()),
        });
        let heard = self.heard(client);
        let (info, rest) = heard.split_once("\r\n").expect("a line");
        self.heard.insert(client, rest.into());
        info.to_owned()
    }

    /// A client that has said hello, with these options.
    pub(super) fn client(&mut self, client: u64, options: &str) {
        self.connect(client);
        self.send(
            client,
            format!("CONNECT {{\"verbose\":false,\"pedantic\":false{options}}}\r\n").as_bytes(),
        );
        assert_eq!(self.heard(client), "");
    }

    pub(super) fn send(&mut self, client: u64, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        self.input(Input::Received { connection: ConnectionId(client), bytes });
    }

    pub(super) fn leave(&mut self, client: u64) {
        self.input(Input::Disconnected { connection: ConnectionId(client) });
    }

    /// What a client has been sent since it was last asked.
    pub(super) fn heard(&mut self, client: u64) -> String {
        String::from_utf8_lossy(&self.heard.remove(&client).unwrap_or_default()).into_owned()
    }

    pub(super) fn is_closed(&self, client: u64) -> bool {
        self.closed.contains(&client)
    }

    /// Lets time pass, with a tick whenever the server wants one.
    pub(super) fn wait_ms(&mut self, ms: u64) {
        let until = self.now.mono.plus_ms(ms);
        while let Some(due) = self.server.deadline().filter(|due| *due <= until) {
            assert!(due > self.now.mono, "a deadline that has passed was dealt with");
            self.now.mono = due;
            self.input(Input::Tick);
        }
        self.now.mono = until;
        self.input(Input::Tick);
    }

    pub(super) const fn at_ms(&self) -> u64 {
        self.now.mono.ms_since(Mono::ZERO)
    }
}
