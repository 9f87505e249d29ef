//! Mirrors and sources.

use super::super::api::{StreamConfig, StreamSource, SubjectTransform};
use super::{Answer, Bench, LIMITS, MessageBy, Request};
use crate::jetstream::api::Retention;
use crate::jetstream::{Fault, Input, JetStream, Limits};
use crate::store::Store;
use std::ops::ControlFlow;

fn source(name: &str) -> StreamSource {
    StreamSource { name: name.into(), ..StreamSource::default() }
}

fn mirror(of: StreamSource) -> impl FnOnce(&mut StreamConfig) {
    move |config| {
        config.subjects.clear();
        config.mirror = Some(of);
    }
}

fn sources(of: Vec<StreamSource>) -> impl FnOnce(&mut StreamConfig) {
    move |config| config.sources = of
}

/// Every message: `seq subject source`.
fn log(bench: &mut Bench, stream: &str) -> Vec<String> {
    let mut out = Vec::new();
    let txn = bench.store.begin().expect("begins");
    JetStream::log(&txn, stream, 0, &mut |own| {
        let copied = own.headers.text("Nats-Stream-Source").map_or_else(String::new, |of| {
            let fields: Vec<&str> = of.split(' ').take(2).collect();
            format!(" of {}", fields.join(" "))
        });
        out.push(format!("{} {}{copied}", own.seq, own.subject));
        ControlFlow::Continue(())
    })
    .expect("reads");
    out
}

fn lag(bench: &mut Bench, stream: &str) -> Vec<(u64, u64)> {
    let info = bench.broker.machine().stream(stream).expect("a stream");
    info.mirror.iter().chain(&info.sources).map(|own| (own.lag, own.seq)).collect()
}

#[test]
fn a_mirror_has_what_its_origin_has_and_no_more() {
    let mut bench = Bench::new();
    bench.stream("O", |_| {});
    bench.publish_many("o.a", 3);
    bench.delete_message("O", 2);
    assert_eq!(bench.stream("M", mirror(source("O"))), None);
    assert_eq!(log(&mut bench, "M"), ["1 o.a", "3 o.a"]);
    bench.publish("o.b");
    assert_eq!(bench.show("M"), "3/102 1..4 1");
    assert_eq!(lag(&mut bench, "M"), [(0, 0)]);
    bench.crash();
    bench.advance(0);
    bench.publish("o.c");
    bench.purge("M", None, None, None);
    bench.crash();
    bench.publish("o.d");
    assert_eq!(log(&mut bench, "M"), ["6 o.d"]);
    assert_eq!(bench.publish("m.a"), "503 m.a");
    let promoted = |config: &mut StreamConfig| (config.mirror, config.subjects) = (None, vec!["m.>".into()]);
    assert_eq!(bench.update("M", promoted), None);
    bench.publish("o.e");
    assert_eq!(bench.publish("m.a"), "M 7");
}

#[test]
fn sources_are_copied_once_each_whatever_happens() {
    let mut bench = Bench::with(Limits { deliveries_per_step_max: 2, ..LIMITS });
    bench.stream("O", |_| {});
    bench.publish_many("o.a", 5);
    let takes_b = StreamSource { filter_subject: "o.b".into(), ..source("O") };
    assert_eq!(bench.stream("S", sources(vec![source("O"), takes_b])), None);
    bench.advance(0);
    bench.publish("s.own");
    bench.publish("o.b");
    bench.advance(0);
    let both = ["7 o.b of O 6", "8 o.b of O 6"];
    assert_eq!(log(&mut bench, "S")[5..], [&["6 s.own"][..], &both].concat());
    // Every copy is removed: what is copied up to is known all the same.
    bench.purge("S", None, None, None);
    bench.crash();
    bench.publish("o.a");
    bench.advance(0);
    assert_eq!(log(&mut bench, "S"), ["9 o.a of O 7"]);
    assert_eq!(lag(&mut bench, "S"), [(0, 7), (0, 6)]);
    // A stream of the same name is another origin.
    bench.request(Request::StreamDelete { stream: "O".into() });
    bench.advance(1);
    bench.stream("O", |_| {});
    bench.publish("o.a");
    bench.advance(0);
    assert_eq!(log(&mut bench, "S"), ["9 o.a of O 7", "10 o.a of O 1"]);
}

#[test]
fn copies_go_on_from_copy_to_copy() {
    let mut bench = Bench::new();
    assert_eq!(bench.stream("C", mirror(source("B"))), None);
    assert_eq!(bench.stream("B", sources(vec![source("A")])), None);
    bench.stream("A", |_| {});
    bench.durable("C", "c", |_| {});
    bench.publish_many("a.x", 2);
    bench.advance(0);
    assert_eq!(bench.fetch("C", "c", 9), ["1.1.1 1", "1.2.2 0", "404 No Messages"]);
    let cycle = bench.update("A", |config| config.sources = vec![source("C")]);
    assert_eq!(cycle.as_deref(), Some("500 10052 detected cycle"));
}

#[test]
fn subjects_are_rewritten_and_a_start_is_kept() {
    let mut bench = Bench::new();
    bench.stream("O", |_| {});
    for subject in ["o.a", "o.b", "o.c", "o.a"] {
        bench.publish(subject);
    }
    let transform = |src: &str, dest: &str| SubjectTransform { src: src.into(), dest: dest.into() };
    let taken = StreamSource {
        subject_transforms: vec![transform("o.a", "z.a"), transform("o.c", "")],
        opt_start_seq: 2,
        ..source("O")
    };
    assert_eq!(bench.stream("S", sources(vec![taken.clone()])), None);
    assert_eq!(log(&mut bench, "S"), ["1 o.c of O 3", "2 z.a of O 4"]);
    assert_eq!(bench.stream("M", mirror(taken)), None);
    assert_eq!(log(&mut bench, "M"), ["3 o.c", "4 z.a"]);
    let start = bench.broker.machine().stream("O").expect("a stream").state.last_ts;
    bench.advance(10);
    bench.publish("o.d");
    let late = StreamSource { opt_start_time: Some(start.replace(".000", ".005")), ..source("O") };
    assert_eq!(bench.stream("L", sources(vec![late])), None);
    assert_eq!(log(&mut bench, "L"), ["1 o.d of O 5"]);
}

#[test]
fn a_work_queue_is_emptied_by_who_copies_it() {
    let mut bench = Bench::new();
    bench.stream("W", |config| config.retention = Retention::Workqueue);
    bench.publish_many("w.a", 2);
    bench.stream("S", sources(vec![source("W")]));
    assert_eq!((bench.show("W").as_str(), bench.state("S").messages), ("0/0 3..2 0", 2));
}

#[test]
fn a_copy_without_room_waits() {
    let mut bench = Bench::new();
    bench.stream("O", |_| {});
    bench.publish_many("o.a", 3);
    bench.stream("S", |config| {
        (config.max_msgs, config.discard) = (2, crate::jetstream::api::Discard::New);
        config.sources = vec![source("O")];
    });
    assert_eq!(lag(&mut bench, "S"), [(1, 2)]);
    bench.delete_message("S", 1);
    assert_eq!(log(&mut bench, "S"), ["2 o.a of O 2", "3 o.a of O 3"]);
}

#[test]
fn a_lost_end_is_copied_again() {
    let mut bench = Bench::new();
    bench.stream("O", |_| {});
    bench.stream("S", sources(vec![source("O")]));
    bench.publish_many("o.a", 4);
    bench.turn(vec![Input::Faulted(Fault::LogTruncated { stream: "S".into(), last_seq: 2 })]);
    bench.publish("o.b");
    bench.advance(0);
    assert_eq!(log(&mut bench, "S")[2..], ["3 o.a of O 3", "4 o.a of O 4", "5 o.b of O 5"]);
}

#[test]
fn an_origin_that_is_not_there_is_named() {
    let mut bench = Bench::new();
    bench.stream("M", mirror(source("NOPE")));
    let info = bench.broker.machine().stream("M").expect("a stream");
    let mirror = info.mirror.expect("a mirror");
    assert_eq!((mirror.active_ns, mirror.error.map(|error| error.err_code)), (-1, Some(10_059)));
    let answer = bench.request(Request::MessageGet { stream: "M".into(), by: MessageBy::Seq(1) });
    assert!(matches!(answer, Answer::Failed(_)));
}
