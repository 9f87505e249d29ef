//! Whatever a client asks of JetStream is answered or refused, breaks no invariant, and is there after a restart.
//!
//! ```sh
//! cd fuzz && cargo +nightly fuzz run api seeds/api
//! ```
//!
//! An input is lines of a subject, a space and a payload; a subject that begins with a dot is a call of the API. An empty
//! line lets a second pass.

#![no_main]

use bytes::Bytes;
use cloudlysis_core::broker::{Broker, Config, Input};
use cloudlysis_core::cx::Tick;
use cloudlysis_core::nats::{Auth, ConnectionId, Info, Limits, server};
use cloudlysis_core::{Checks, Driver, Mono, Now, Quirks, Wall, jetstream};
use cloudlysis_io_sim::store::SimStore;
use libfuzzer_sys::fuzz_target;

const LINES_MAX: usize = 32;
const JETSTREAM: jetstream::Limits = jetstream::Limits {
    streams_max: 4,
    replicas_max: 1,
    consumers_per_stream_max: 4,
    messages_per_stream_max: 1_000,
    message_ids_per_stream_max: 1_000,
    message_bytes_max: 1 << 16,
    ack_pending_max: 1_000,
    waiting_max: 512,
    request_batch_max: None,
    deliveries_per_step_max: 256,
    expiries_per_step_max: 256,
    flush_gap_ms: 100,
};

fn config() -> Config {
    let info = Info {
        server_id: "N".into(),
        server_name: "fuzzed".into(),
        version: "2.12.0".into(),
        proto: 1,
        git_commit: String::new(),
        go: String::new(),
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
    Config { server, jetstream: Some(JETSTREAM), domain: None }
}

struct World {
    store: SimStore,
    broker: Driver<Broker>,
    now: Now,
}

impl World {
    fn new() -> Self {
        let mut store = SimStore::default();
        let broker = boot(&mut store);
        let now = Now { mono: Mono::ZERO, wall: Wall::from_ms(1_795_231_870_000) };
        let mut world = Self { store, broker, now };
        let (connection, address) = (ConnectionId(1), "127.0.0.1".into());
        world.turn(Input::Client(server::Input::Connected { connection, address, nonce: None }));
        world.say(b"CONNECT {\"headers\":true,\"no_responders\":true,\"verbose\":false}\r\nSUB _INBOX.> 1\r\nSUB d.> 2\r\n");
        world
    }

    fn say(&mut self, text: &[u8]) {
        let (connection, bytes) = (ConnectionId(1), Bytes::copy_from_slice(text));
        self.turn(Input::Client(server::Input::Received { connection, bytes }));
    }

    fn turn(&mut self, input: Input) {
        let mut inputs = vec![input];
        for _ in 0..100 {
            let released = self.broker.turn(&mut self.store, self.now, inputs.drain(..));
            drop(released.expect("a turn").into_effects());
            if self.broker.deadline().is_none_or(|(at, _)| at > self.now.mono) {
                return;
            }
        }
    }
}

fn boot(store: &mut SimStore) -> Driver<Broker> {
    Driver::recover(config(), store, Checks::EveryTurn, Quirks::NONE).expect("recovers")
}

fuzz_target!(|input: &[u8]| {
    let mut world = World::new();
    for line in input.split(|byte| *byte == b'\n').take(LINES_MAX) {
        if line.is_empty() {
            world.now.mono = world.now.mono.plus_ms(1_000);
            world.now.wall = Wall::from_ms(world.now.wall.as_ms() + 1_000);
            world.turn(Input::Tick(Tick));
            continue;
        }
        let at = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
        let (subject, payload) = (&line[..at], line.get(at + 1..).unwrap_or_default());
        let is_subject = subject.iter().all(u8::is_ascii_graphic) && subject.len() < 200;
        if !is_subject || subject.is_empty() {
            continue;
        }
        let api: &[u8] = if subject.starts_with(b".") { b"$JS.API" } else { b"" };
        let mut text = [b"PUB ", api, subject].concat();
        text.extend_from_slice(format!(" _INBOX.1 {}\r\n", payload.len()).as_bytes());
        text.extend_from_slice(payload);
        text.extend_from_slice(b"\r\n");
        world.say(&text);
    }
    boot(&mut world.store);
});
