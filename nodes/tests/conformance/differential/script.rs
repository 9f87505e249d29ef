//! A random script: what clients do to a few streams, more often sensible than not.

use super::configs;
use super::dice::Dice;
use super::operation::Operation;
use super::side::STREAMS;
use serde_json::{Value, json};

const CONSUMERS: [&str; 3] = ["c1", "c2", "c3"];
const SECOND_NS: u64 = 1_000_000_000;
/// Long enough for a turn of either server, short enough to be waited for.
const SHORT_NS: u64 = 30_000_000;

/// What a script does next.
#[derive(Clone, Copy)]
enum Kind {
    StreamCreate,
    StreamUpdate,
    StreamDelete,
    Purge,
    StreamRead,
    Publish,
    MessageGet,
    MessageDelete,
    DirectGet,
    ConsumerCreate,
    ConsumerRead,
    ConsumerDelete,
    Pull,
    Ack,
    KeyValue,
    Garbage,
}

const WEIGHTS: [(usize, Kind); 16] = [
    (5, Kind::StreamCreate),
    (4, Kind::StreamUpdate),
    (1, Kind::StreamDelete),
    (4, Kind::Purge),
    (7, Kind::StreamRead),
    (24, Kind::Publish),
    (4, Kind::MessageGet),
    (4, Kind::MessageDelete),
    (4, Kind::DirectGet),
    (9, Kind::ConsumerCreate),
    (6, Kind::ConsumerRead),
    (2, Kind::ConsumerDelete),
    (16, Kind::Pull),
    (16, Kind::Ack),
    (6, Kind::KeyValue),
    (2, Kind::Garbage),
];

/// Writes scripts.
#[derive(Debug)]
struct Writer {
    dice: Dice,
    /// What was last asked of each stream.
    streams: Vec<(&'static str, Value)>,
    /// What was last asked of each consumer: stream, name, configuration.
    consumers: Vec<(&'static str, &'static str, Value)>,
}

/// The script of a seed.
pub(super) fn write(seed: u64, length: usize) -> Vec<Operation> {
    let mut writer = Writer { dice: Dice::new(seed), streams: Vec::new(), consumers: Vec::new() };
    let mut script = vec![writer.stream_create(), writer.stream_create()];
    while script.len() < length {
        let kind = writer.dice.weighted(&WEIGHTS);
        script.push(writer.operation(kind));
    }
    script
}

impl Writer {
    fn operation(&mut self, kind: Kind) -> Operation {
        match kind {
            Kind::StreamCreate => self.stream_create(),
            Kind::StreamUpdate => self.stream_update(),
            Kind::StreamDelete => Operation::call(format!("STREAM.DELETE.{}", self.stream()), ""),
            Kind::Purge => self.purge(),
            Kind::StreamRead => self.stream_read(),
            Kind::Publish => self.publish(),
            Kind::MessageGet => {
                let body = self.message_by();
                Operation::call(format!("STREAM.MSG.GET.{}", self.stream()), body)
            }
            Kind::MessageDelete => {
                let seq = self.seq();
                Operation::call(format!("STREAM.MSG.DELETE.{}", self.stream()), json!({ "seq": seq }))
            }
            Kind::DirectGet => self.direct_get(),
            Kind::ConsumerCreate => self.consumer_create(),
            Kind::ConsumerRead => self.consumer_read(),
            Kind::ConsumerDelete => {
                let (stream, consumer) = self.consumer();
                Operation::call(format!("CONSUMER.DELETE.{stream}.{consumer}"), "")
            }
            Kind::Pull => self.pull(),
            Kind::Ack => self.ack(),
            Kind::KeyValue => self.key_value(),
            Kind::Garbage => self.garbage(),
        }
    }

    /// A stream, rather one that was created.
    fn stream(&mut self) -> &'static str {
        if self.streams.is_empty() || self.dice.percent(10) {
            return self.dice.pick(&STREAMS);
        }
        self.streams[self.dice.below(self.streams.len())].0
    }

    /// A consumer, rather one that was created.
    fn consumer(&mut self) -> (&'static str, String) {
        match self.dice.below(20) {
            0 => (self.stream(), self.dice.pick(&CONSUMERS).to_owned()),
            1 | 2 => (self.stream(), format!("{{eph{}}}", self.dice.below(2))),
            _ if self.consumers.is_empty() => (self.stream(), self.dice.pick(&CONSUMERS).to_owned()),
            _ => {
                let (stream, name, _) = &self.consumers[self.dice.below(self.consumers.len())];
                (stream, (*name).to_owned())
            }
        }
    }

    fn seq(&mut self) -> u64 {
        let near = self.dice.below(9) as u64;
        if self.dice.percent(5) { near + 98 } else { near }
    }

    fn stream_create(&mut self) -> Operation {
        let stream: &'static str = self.dice.pick(&STREAMS);
        let config = match self.streams.iter().find(|(own, _)| *own == stream) {
            Some((_, config)) if self.dice.percent(40) => config.clone(),
            Some(_) | None => configs::stream(&mut self.dice, stream),
        };
        self.streams.retain(|(own, _)| *own != stream);
        self.streams.push((stream, config.clone()));
        Operation::call(format!("STREAM.CREATE.{stream}"), config)
    }

    fn stream_update(&mut self) -> Operation {
        let stream = self.stream();
        let known = self.streams.iter().find(|(own, _)| *own == stream).map(|(_, config)| config.clone());
        let config = match known {
            Some(config) => configs::changed_stream(&mut self.dice, &config),
            None => configs::stream(&mut self.dice, stream),
        };
        Operation::call(format!("STREAM.UPDATE.{stream}"), config)
    }

    fn purge(&mut self) -> Operation {
        let stream = self.stream();
        let filter = configs::filter(&mut self.dice);
        let (seq, keep) = (self.seq(), self.dice.below(4));
        let bodies = [
            String::new(),
            json!({ "filter": filter }).to_string(),
            json!({ "seq": seq }).to_string(),
            json!({ "keep": keep }).to_string(),
            json!({ "filter": filter, "seq": seq }).to_string(),
            json!({ "filter": filter, "keep": keep }).to_string(),
            json!({ "seq": seq, "keep": keep }).to_string(),
        ];
        Operation::call(format!("STREAM.PURGE.{stream}"), &bodies[self.dice.below(bodies.len())])
    }

    fn stream_read(&mut self) -> Operation {
        let stream = self.stream();
        let filter = configs::filter(&mut self.dice);
        match self.dice.below(10) {
            0 => Operation::call("STREAM.NAMES", ""),
            1 => Operation::call("STREAM.NAMES", json!({ "subject": filter })),
            2 => Operation::call("STREAM.LIST", ""),
            3 => Operation::call("STREAM.LIST", json!({ "subject": filter, "offset": self.dice.below(3) })),
            4 => Operation::call("INFO", ""),
            5 | 6 => Operation::call(format!("STREAM.INFO.{stream}"), ""),
            _ => {
                let body = json!({ "subjects_filter": filter, "deleted_details": self.dice.percent(70) });
                Operation::call(format!("STREAM.INFO.{stream}"), body)
            }
        }
    }

    fn publish(&mut self) -> Operation {
        let subject = configs::subject(&mut self.dice);
        let headers = if self.dice.percent(40) { configs::headers(&mut self.dice) } else { Vec::new() };
        let payload =
            self.dice.pick(&["", "x", "hello", "0123456789012345678901234567890123456789"]).to_owned();
        if self.dice.percent(10) {
            Operation::Publish { subject, headers, payload }
        } else {
            Operation::Request { subject, headers, payload }
        }
    }

    fn message_by(&mut self) -> Value {
        let (seq, filter) = (self.seq(), configs::filter(&mut self.dice));
        match self.dice.below(6) {
            0 | 1 => json!({ "seq": seq }),
            2 | 3 => json!({ "last_by_subj": filter }),
            4 => json!({ "next_by_subj": filter, "seq": seq }),
            _ => json!({ "next_by_subj": filter }),
        }
    }

    fn direct_get(&mut self) -> Operation {
        let stream = self.stream();
        if self.dice.percent(40) {
            let subject = configs::subject(&mut self.dice);
            return Operation::call(format!("DIRECT.GET.{stream}.{subject}"), "");
        }
        let body = self.message_by();
        Operation::call(format!("DIRECT.GET.{stream}"), body)
    }

    fn consumer_create(&mut self) -> Operation {
        let stream = self.stream();
        let action = self.dice.pick(&["", "", "", "create", "create", "update", "upsert"]);
        if self.dice.percent(20) {
            let config = configs::consumer(&mut self.dice, None);
            let body = json!({ "stream_name": stream, "config": config, "action": action });
            return Operation::call(format!("CONSUMER.CREATE.{stream}"), body);
        }
        let name: &'static str = self.dice.pick(&CONSUMERS);
        let known = self.consumers.iter().find(|(on, own, _)| (*on, *own) == (stream, name));
        let config = match known.map(|(_, _, config)| config.clone()) {
            Some(config) if self.dice.percent(30) => config,
            Some(config) if self.dice.percent(70) => self.changed_consumer(config, name),
            Some(_) | None => configs::consumer(&mut self.dice, Some(name)),
        };
        self.consumers.retain(|(on, own, _)| (*on, *own) != (stream, name));
        self.consumers.push((stream, name, config.clone()));
        let filter = config["filter_subject"].as_str().unwrap_or_default().to_owned();
        let body = json!({ "stream_name": stream, "config": config, "action": action });
        match self.dice.below(8) {
            0 => Operation::call(format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), body),
            1 => Operation::call(format!("CONSUMER.CREATE.{stream}.{name}.a.1"), body),
            2 | 3 if !filter.is_empty() => {
                Operation::call(format!("CONSUMER.CREATE.{stream}.{name}.{filter}"), body)
            }
            _ => Operation::call(format!("CONSUMER.CREATE.{stream}.{name}"), body),
        }
    }

    fn changed_consumer(&mut self, mut config: Value, name: &str) -> Value {
        let other = configs::consumer(&mut self.dice, Some(name));
        if let (Some(own), Some(others)) = (config.as_object_mut(), other.as_object())
            && let Some((field, value)) = others.iter().nth(self.dice.below(others.len()))
        {
            own.insert(field.clone(), value.clone());
        }
        config
    }

    fn consumer_read(&mut self) -> Operation {
        let (stream, consumer) = self.consumer();
        match self.dice.below(6) {
            0 => Operation::call(format!("CONSUMER.NAMES.{stream}"), ""),
            1 => {
                // Some names are random: the second place is another consumer's on each side.
                let offset = self.dice.below(2) * 300;
                Operation::call(format!("CONSUMER.LIST.{stream}"), json!({ "offset": offset }))
            }
            _ => Operation::call(format!("CONSUMER.INFO.{stream}.{consumer}"), ""),
        }
    }

    fn pull(&mut self) -> Operation {
        let (stream, consumer) = self.consumer();
        let (stream, batch) = (stream.to_owned(), self.dice.below(5) + 1);
        let (body, ends) = match self.dice.below(12) {
            0 => (String::new(), false),
            1 => (batch.to_string(), false),
            2 => (json!({ "batch": batch, "expires": 600 * SECOND_NS }).to_string(), false),
            3 => (json!({ "batch": batch, "expires": SHORT_NS }).to_string(), true),
            4 => (json!({ "batch": batch, "no_wait": true, "expires": SHORT_NS }).to_string(), true),
            5 => (json!({ "batch": batch, "no_wait": true, "max_bytes": 90 }).to_string(), false),
            6 => {
                let body = json!({ "batch": batch, "expires": 600 * SECOND_NS, "max_bytes": 90 });
                (body.to_string(), false)
            }
            7 => {
                let body = json!({ "batch": batch, "expires": SECOND_NS, "idle_heartbeat": SECOND_NS });
                (body.to_string(), false)
            }
            _ => (json!({ "batch": batch, "no_wait": true }).to_string(), false),
        };
        Operation::Pull { stream, consumer, body, ends }
    }

    fn ack(&mut self) -> Operation {
        let kinds = [
            "",
            "+ACK",
            "+ACK",
            "+OK",
            "-NAK",
            "-NAK {\"delay\": 3600000000000}",
            "-NAK 1h",
            "-NAK x",
            "+WPI",
            "+TERM",
            "+TERM no good",
            "+NXT",
            "+NXT {\"batch\":2,\"no_wait\":true}",
            "bogus",
        ];
        let kind = self.dice.pick(&kinds).to_owned();
        Operation::Ack { nth: self.dice.below(12), kind, confirmed: self.dice.percent(80) }
    }

    /// What clients of key-value buckets do.
    fn key_value(&mut self) -> Operation {
        let key = self.dice.pick(&["k", "l", "m.n"]);
        let subject = format!("$KV.K.{key}");
        let line = |text: &str| vec![text.to_owned()];
        let (headers, payload) = match self.dice.below(7) {
            0 => (line("Nats-Expected-Last-Subject-Sequence: 0"), "created"),
            1 => (line("Nats-Expected-Last-Subject-Sequence: {last}"), "updated"),
            2 => (line("KV-Operation: DEL"), ""),
            3 => (vec!["KV-Operation: PURGE".into(), "Nats-Rollup: sub".into()], ""),
            4 => return Operation::call(format!("DIRECT.GET.KV_K.{subject}"), ""),
            5 => {
                let config = json!({
                    "deliver_subject": "push.kv", "deliver_policy": "last_per_subject", "ack_policy": "none",
                    "max_deliver": 1, "filter_subject": "$KV.K.>", "mem_storage": true, "num_replicas": 1,
                    "flow_control": true, "idle_heartbeat": 5 * SECOND_NS, "inactive_threshold": 300 * SECOND_NS,
                    "replay_policy": "instant",
                });
                let body = json!({ "stream_name": "KV_K", "config": config, "action": "" });
                return Operation::call("CONSUMER.CREATE.KV_K", body);
            }
            _ => (Vec::new(), "put"),
        };
        Operation::Request { subject, headers, payload: payload.into() }
    }

    /// A call with something wrong about its body.
    fn garbage(&mut self) -> Operation {
        let kinds =
            [Kind::StreamCreate, Kind::StreamUpdate, Kind::Purge, Kind::MessageGet, Kind::ConsumerCreate];
        let kind = kinds[self.dice.below(kinds.len())];
        let sensible = self.operation(kind);
        let Operation::Request { subject, headers, payload } = sensible else { return sensible };
        let payload = match self.dice.below(8) {
            0 => "{".into(),
            1 => "null".into(),
            2 => "[]".into(),
            3 => payload.replacen('"', "'", 1),
            4 => payload.replacen("{\"", "{\"bogus\":1,\"", 1),
            5 => payload.replacen("true", "\"yes\"", 1),
            6 => payload.chars().take(payload.len() / 2).collect(),
            _ => payload.replacen(':', ":null,\"x\":", 1),
        };
        Operation::Request { subject, headers, payload }
    }
}
