//! Memory streams: the same as file streams, until the process ends.

use super::super::api::{Retention, Storage, StreamConfig};
use super::{Bench, LIMITS, Limits, MessageBy, S, waiting};
use crate::jetstream::Fault;
use crate::jetstream::Input;

fn memory(config: &mut StreamConfig) {
    config.storage = Storage::Memory;
}

#[test]
fn nothing_of_it_is_written() {
    let mut bench = Bench::new();
    let before = bench.store.rows.clone();
    bench.stream("M", memory);
    bench.durable("M", "c", |_| {});
    bench.publish_many("m.a", 3);
    assert_eq!(bench.fetch("M", "c", 2), ["1.1.1 2", "1.2.2 1"]);
    bench.delete_message("M", 3);
    assert_eq!(bench.delete_message("M", 3).as_deref(), Some("400 10043 sequence 3 not found"));
    assert_eq!((bench.show("M").as_str(), bench.get("M", MessageBy::Seq(2))), ("2/40 1..3 1", Ok(2)));
    bench.advance(1000);
    assert_eq!(bench.store.rows, before);
}

#[test]
fn a_restart_ends_it_and_its_name_is_free() {
    let mut bench = Bench::new();
    bench.stream("F", |_| {});
    bench.stream("M", memory);
    bench.durable("M", "c", |_| {});
    bench.publish_many("m.a", 3);
    bench.crash();
    assert_eq!(bench.broker.machine().stream_names().collect::<Vec<_>>(), ["F"]);
    assert_eq!(bench.pull("M", "c", waiting(1, S), 0), ["503"]);
    assert_eq!(bench.publish("m.a"), "503 m.a");
    assert_eq!(bench.stream("M", |config| config.max_msgs = 2), None, "as a file stream this time");
    assert_eq!(bench.publish("m.a"), "M 1");
    bench.crash();
    assert_eq!(bench.show("M"), "1/34 1..1 0");
}

#[test]
fn its_storage_cannot_change() {
    let mut bench = Bench::new();
    bench.stream("M", memory);
    let changed = bench.update("M", |config| config.storage = Storage::File);
    assert_eq!(changed.as_deref(), Some("500 10052 stream configuration update can not change storage type"));
}

#[test]
fn what_removes_messages_removes_these() {
    let mut bench = Bench::with(Limits { deliveries_per_step_max: 1, ..LIMITS });
    bench.stream("M", |config| {
        memory(config);
        (config.retention, config.max_msgs) = (Retention::Workqueue, 4);
    });
    bench.durable("M", "c", |_| {});
    bench.publish_many("m.a", 6);
    let taken = bench.take("M", "c", 2);
    bench.ack(&taken[0]);
    assert_eq!(bench.show("M"), "3/60 4..6 0");
    let (stream, consumer) = ("M".to_owned(), "c".to_owned());
    bench.turn(vec![Input::Faulted(Fault::ConsumerRolledBack { stream: stream.clone(), consumer })]);
    bench.turn(vec![Input::Faulted(Fault::LogTruncated { stream, last_seq: 5 })]);
    assert_eq!(bench.show("M"), "2/40 4..5 0");
    assert_eq!(bench.fetch("M", "c", 9), ["1.4.1 1", "1.5.2 0", "404 No Messages"]);
    assert_eq!(bench.purge("M", None, None, None), "2");
    assert_eq!(bench.error(super::Request::StreamDelete { stream: "M".into() }), None);
}
