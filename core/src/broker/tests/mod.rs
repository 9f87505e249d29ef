//! A broker and its clients, who speak bytes and print what they hear.

mod archives;
mod asking;
mod consuming;
mod interest;
mod publishing;

use super::{Broker, Config, Input};
use crate::bench::MemoryStore;
use crate::driver::{Checks, Driver};
use crate::jetstream;
use crate::nats::{Auth, ConnectionId, Info, Limits, server};
use crate::quirks::Quirks;
use crate::time::{Mono, Now, Wall};
use bytes::Bytes;
use std::collections::BTreeMap;

const JETSTREAM: jetstream::Limits = jetstream::Limits {
    streams_max: 32,
    replicas_max: 1,
    consumers_per_stream_max: 32,
    messages_per_stream_max: 1_000_000,
    message_ids_per_stream_max: 1_000_000,
    message_bytes_max: 1 << 20,
    ack_pending_max: 10_000,
    waiting_max: 512,
    request_batch_max: None,
    deliveries_per_step_max: 256,
    expiries_per_step_max: 256,
    flush_gap_ms: 100,
};

fn config() -> Config {
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
    let (auth, limits, host_account) = (Auth::Open, Limits::DEFAULT, "$G".into());
    let server = server::Config { info, auth, limits, host_account, seed: 7 };
    Config { server, jetstream: Some(JETSTREAM), domain: Some("hub".into()) }
}

struct Talk {
    store: MemoryStore,
    broker: Driver<Broker>,
    now: Now,
    heard: BTreeMap<u64, Vec<u8>>,
}

fn boot(store: &mut MemoryStore) -> Driver<Broker> {
    Driver::recover(config(), store, Checks::EveryTurn, Quirks::NONE).expect("recovers")
}

impl Talk {
    /// With one client, who is through with its greetings.
    fn new() -> Self {
        let mut store = MemoryStore::default();
        let broker = boot(&mut store);
        let now = Now { mono: Mono::ZERO, wall: Wall::from_ms(1_795_231_870_000) };
        let mut talk = Self { store, broker, now, heard: BTreeMap::new() };
        talk.connect(1);
        talk
    }

    fn connect(&mut self, client: u64) {
        let connection = ConnectionId(client);
        self.turn(Input::Client(server::Input::Connected {
            connection,
            address: "127.0.0.1".into(),
            nonce: None,
        }));
        let options = r#"{"verbose":false,"pedantic":false,"headers":true,"no_responders":true}"#;
        self.say(client, &format!("CONNECT {options}\r\nSUB _INBOX.{client}.> 1\r\nPING\r\n"));
    }

    fn turn(&mut self, input: Input) {
        let mut inputs = vec![input];
        loop {
            let released = self.broker.turn(&mut self.store, self.now, inputs.drain(..)).expect("a turn");
            for effect in released.into_effects() {
                if let server::Effect::Send { connection, bytes } = effect {
                    self.heard.entry(connection.0).or_default().extend_from_slice(&bytes);
                }
            }
            if self.broker.deadline().is_none_or(|(at, _)| at > self.now.mono) {
                return;
            }
        }
    }

    /// What a client hears when it says this.
    fn say(&mut self, client: u64, text: &str) -> String {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.turn(Input::Client(server::Input::Received { connection: ConnectionId(client), bytes }));
        self.heard(client)
    }

    fn heard(&mut self, client: u64) -> String {
        String::from_utf8(self.heard.remove(&client).unwrap_or_default()).expect("text")
    }

    fn publish(&mut self, subject: &str, payload: &str) -> String {
        let length = payload.len();
        self.say(1, &format!("PUB {subject} _INBOX.1.a {length}\r\n{payload}\r\n"))
    }

    /// What the API answers: the payload of the one message that comes back.
    fn ask(&mut self, call: &str, body: &str) -> String {
        let heard = self.publish(&format!("$JS.API.{call}"), body);
        let (line, rest) = heard.split_once("\r\n").unwrap_or((&heard, ""));
        assert!(line.starts_with("MSG _INBOX.1.a 1 "), "{heard}");
        rest.trim_end().to_owned()
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus_ms(ms);
        self.now.wall = Wall::from_ms(self.now.wall.as_ms() + ms);
        self.turn(Input::Tick(crate::cx::Tick));
    }

    fn crash(&mut self) {
        self.broker = boot(&mut self.store);
        self.now.mono = Mono::ZERO;
        self.heard.clear();
    }

    fn stream(&mut self, name: &str, subject: &str) {
        let created = self.ask(
            &format!("STREAM.CREATE.{name}"),
            &format!(r#"{{"name":"{name}","subjects":["{subject}"]}}"#),
        );
        assert!(created.contains("did_create"), "{created}");
    }
}
