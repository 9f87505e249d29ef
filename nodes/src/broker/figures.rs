//! What a running broker looks like from outside, for whoever asks.

use cloudlysis_core::broker::Broker;
use cloudlysis_core::jetstream::JetStream;
use cloudlysis_core::jetstream::api::Storage;
use cloudlysis_core::nats::server::{Client, Traffic};

/// A moment of a broker.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Figures {
    /// Who is there.
    pub clients: Vec<Client>,
    /// Subscriptions of all of them.
    pub subscriptions: usize,
    /// How many have come so far.
    pub connections_total: u64,
    /// How many were cut because they took too little.
    pub slow_consumers: u64,
    /// What clients sent and got.
    pub traffic: Traffic,
    /// Streams and consumers.
    pub jetstream: Option<Kept>,
}

/// What JetStream keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kept {
    /// How many streams.
    pub streams: usize,
    /// How many consumers.
    pub consumers: u64,
    /// How many messages.
    pub messages: u64,
    /// Bytes in memory streams.
    pub memory_bytes: u64,
    /// Bytes in file streams.
    pub storage_bytes: u64,
}

impl Figures {
    pub(super) fn of(broker: &Broker, connections_total: u64, slow_consumers: u64) -> Self {
        let server = broker.server();
        Self {
            clients: server.clients().collect(),
            subscriptions: server.subscriptions(),
            connections_total,
            slow_consumers,
            traffic: server.traffic(),
            jetstream: broker.jetstream().map(kept),
        }
    }
}

fn kept(engine: &JetStream) -> Kept {
    let mut out = Kept::default();
    for stream in engine.stream_names().filter_map(|name| engine.stream(name)) {
        out.streams += 1;
        out.consumers += stream.state.consumer_count;
        out.messages += stream.state.messages;
        match stream.config.storage {
            Storage::Memory => out.memory_bytes += stream.state.bytes,
            Storage::File => out.storage_bytes += stream.state.bytes,
        }
    }
    out
}
