//! Streams come, change and go, as `p01`, `p02`, `p04`, `p08` and `p12` saw it.

use super::super::api::{Discard, StreamConfig};
use super::super::{Answer, Request};
use super::{Bench, LIMITS, MS, S};
use crate::jetstream::Limits;

#[test]
fn creating_twice_is_creating_once() {
    let mut bench = Bench::new();
    assert_eq!(bench.stream("T1", |_| {}), None);
    let info = bench.broker.machine().stream("T1").expect("a stream");
    let config = StreamConfig { duplicate_window_ns: 120 * S, ..StreamConfig::new("T1", &["t1.>"]) };
    assert_eq!(info.config, config);
    assert_eq!(
        (bench.show("T1").as_str(), info.created.len()),
        ("0/0 0..0 0", "2026-11-21T03:30:46.461253613Z".len())
    );
    assert_eq!(bench.stream("T1", |_| {}), None);
    // What the server itself adds to metadata makes no difference.
    assert_eq!(
        bench.stream("T1", |config| drop(config.metadata.insert("_nats.ver".into(), "2".into()))),
        None
    );
    assert_eq!(
        bench.stream("T1", |config| config.subjects.push("x".into())).as_deref(),
        Some("400 10058 stream name already in use with a different configuration")
    );
    let overlapping = bench.stream("T1b", |config| config.subjects = vec!["t1.a".into()]);
    assert_eq!(overlapping.as_deref(), Some("400 10065 subjects overlap with an existing stream"));
    bench.stream("DEF", |config| config.subjects.clear());
    assert_eq!(bench.broker.machine().stream("DEF").expect("a stream").config.subjects, ["DEF"]);
    let names = bench.request(Request::StreamNames { subject: None, offset: 0 });
    assert!(matches!(names, Answer::StreamNames(names) if names.items == ["DEF", "T1"]));
    let names = bench.request(Request::StreamNames { subject: Some("t1.a".into()), offset: 0 });
    assert!(matches!(names, Answer::StreamNames(names) if names.items == ["T1"]));
}

#[test]
fn a_stream_of_the_same_name_is_another_one() {
    let mut bench = Bench::new();
    bench.stream("PK", |config| drop(config.metadata.insert("epoch".into(), "1".into())));
    bench.publish_many("pk.a", 2);
    bench.durable("PK", "d", |_| {});
    let before = bench.broker.machine().stream("PK").expect("a stream");
    assert_eq!(before.config.metadata["epoch"], "1");
    assert_eq!(bench.request(Request::StreamDelete { stream: "PK".into() }), Answer::StreamDeleted);
    assert!(bench.store.rows.keys().all(|(table, _)| table.name() == "meta"), "a row outlived its stream");
    bench.stream("PK", |_| {});
    assert_ne!(bench.broker.machine().stream("PK").expect("a stream").created, before.created);
    assert_eq!(bench.info("PK", "d"), "gone");
    assert_eq!(bench.publish("pk.a"), "PK 1");
}

#[test]
fn configurations_are_refused_with_the_servers_words() {
    let mut bench = Bench::new();
    let mut refused = |change: fn(&mut StreamConfig)| bench.stream("X", change).expect("refused");
    let invalid = |why: &str| format!("500 10052 {why}");
    for (change, why) in [
        (
            (|c| (c.duplicate_window_ns, c.max_age_ns) = (10 * S, S)) as fn(&mut StreamConfig),
            "duplicates window can not be larger then max age",
        ),
        (|c| c.max_age_ns = 50 * MS, "max age needs to be >= 100ms"),
        (|c| c.duplicate_window_ns = 50 * MS, "duplicates window needs to be >= 100ms"),
        (
            |c| (c.max_msgs_per_subject, c.discard_new_per_subject) = (1, true),
            "discard new per subject requires discard new policy to be set",
        ),
        (
            |c| (c.discard, c.discard_new_per_subject) = (Discard::New, true),
            "discard new per subject requires max msgs per subject > 0",
        ),
        (|c| (c.allow_rollup_hdrs, c.deny_purge) = (true, true), "roll-ups require the purge permission"),
        (|c| c.sealed = true, "stream configuration for create can not be sealed"),
        (|c| c.num_replicas = 6, "maximum replicas is 5"),
        (
            |c| c.description = Some("x".repeat(5000)),
            "stream description is too long, maximum allowed is 4096",
        ),
        (
            |c| drop(c.metadata.insert("a".into(), "x".repeat(131_073))),
            "stream metadata exceeds maximum size of 131072 bytes",
        ),
        (|c| c.subjects = vec![">".into()], "capturing all subjects requires no-ack to be true"),
        (
            |c| c.subjects = vec!["$JS.>".into()],
            "subjects that overlap with jetstream api require no-ack to be true",
        ),
        (
            |c| c.subjects = vec!["$SYS.x".into()],
            "subjects that overlap with system api require no-ack to be true",
        ),
        (|c| c.subjects = vec!["a.*".into(), "a.b".into()], "subject \"a.*\" overlaps with \"a.b\""),
        (|c| c.subjects = vec!["a".into(), "a".into()], "subject \"a\" overlaps with \"a\""),
        (|c| c.subjects = vec!["a..b".into()], "invalid subject"),
        (|c| c.name = "a.b".into(), r"stream name is required and can not contain '.', '*', '>', '\', '/'"),
        (|c| c.name = "x".repeat(256), "stream name is too long, maximum allowed is 255"),
    ] {
        assert_eq!(refused(change), invalid(why));
    }
    assert_eq!(refused(|c| c.name = "a/b".into()), "400 10128 Stream name can not contain path separators");
    assert_eq!(bench.stream("AGE", |config| config.max_age_ns = S), None);
    assert_eq!(bench.broker.machine().stream("AGE").expect("a stream").config.duplicate_window_ns, S);
}

#[test]
fn an_update_changes_what_may_change() {
    let mut bench = Bench::new();
    bench.stream("U", |config| (config.deny_delete, config.deny_purge) = (true, true));
    let cannot = |what: &str| Some(format!("500 10052 stream configuration update can not {what}"));
    assert_eq!(bench.update("U", |config| config.deny_delete = false), cannot("cancel deny message deletes"));
    assert_eq!(bench.update("U", |config| config.deny_purge = false), cannot("cancel deny purge"));
    assert_eq!(bench.update("U", |config| config.max_consumers = 4), None);
    bench.publish("u.a");
    assert_eq!(bench.delete_message("U", 1).as_deref(), Some("500 10057 message delete not permitted"));
    assert_eq!(bench.purge("U", None, None, None), "500 10110 stream purge not permitted");
    let missing =
        Request::StreamUpdate { config: Box::new(StreamConfig::new("NOPE", &["n"])), pedantic: false };
    assert_eq!(bench.error(missing).as_deref(), Some("404 10059 stream not found"));
    bench.stream("V", |_| {});
    let overlapping = bench.update("V", |config| config.subjects = vec!["u.>".into()]);
    assert_eq!(overlapping.as_deref(), Some("400 10065 subjects overlap with an existing stream"));
    assert_eq!(bench.update("V", |config| config.subjects = vec!["other.>".into()]), None);
    assert_eq!((bench.publish("v.a").as_str(), bench.publish("other.a").as_str()), ("503 v.a", "V 1"));
}

#[test]
fn a_lowered_limit_removes_at_once() {
    let mut bench = Bench::new();
    bench.stream("UL", |_| {});
    bench.publish_many("ul.a", 10);
    assert_eq!(bench.update("UL", |config| config.max_msgs = 3), None);
    assert_eq!(bench.show("UL"), "3/105 8..10 0");
    assert_eq!(bench.update("UL", |config| config.max_msgs_per_subject = 1), None);
    assert_eq!(bench.show("UL"), "1/35 10..10 0");
}

#[test]
fn a_sealed_stream_takes_nothing() {
    let mut bench = Bench::new();
    bench.stream("SE", |_| {});
    bench.publish("se.a");
    assert_eq!(bench.update("SE", |config| config.sealed = true), None);
    let config = bench.broker.machine().stream("SE").expect("a stream").config;
    assert_eq!((config.deny_delete, config.deny_purge, config.discard), (true, true, Discard::New));
    let sealed = "400 10109 invalid operation on sealed stream";
    assert_eq!(bench.publish("se.a"), sealed);
    assert_eq!(bench.purge("SE", None, None, None), sealed);
    assert_eq!(bench.delete_message("SE", 1).as_deref(), Some(sealed));
    let unsealed = bench.update("SE", |config| config.sealed = false);
    assert_eq!(
        unsealed.as_deref(),
        Some("500 10052 stream configuration update can not unseal a sealed stream")
    );
}

#[test]
fn purges() {
    let mut bench = Bench::new();
    bench.stream("PU", |_| {});
    bench.publish_many("pu.a", 5);
    bench.publish_many("pu.b", 5);
    assert_eq!(bench.purge("PU", Some("pu.a"), None, Some(2)), "3");
    assert_eq!(bench.purge("PU", None, Some(8), None), "4");
    assert_eq!(bench.show("PU"), "3/105 8..10 0");
    assert_eq!(bench.purge("PU", None, Some(8), Some(1)), "400 10003 bad request");
    assert_eq!(bench.purge("PU", None, None, None), "3");
    assert_eq!(bench.show("PU"), "0/0 11..10 0");
    assert_eq!(bench.publish("pu.a"), "PU 11");
    assert_eq!(bench.purge("NOPE", None, None, None), "404 10059 stream not found");
}

#[test]
fn sequences_never_go_back() {
    let mut bench = Bench::new();
    bench.stream("D", |_| {});
    bench.publish_many("d.a", 4);
    bench.delete_message("D", 4);
    assert_eq!(bench.show("D"), "3/102 1..4 1");
    bench.delete_message("D", 1);
    assert_eq!(bench.show("D"), "2/68 2..4 1");
    bench.delete_message("D", 2);
    bench.delete_message("D", 3);
    assert_eq!(bench.show("D"), "0/0 5..4 0");
    assert_eq!(bench.delete_message("D", 0).as_deref(), Some("500 10057 no message found"));
    assert_eq!(bench.delete_message("D", 4).as_deref(), Some("500 10057 no message found"));
    assert_eq!(bench.delete_message("D", 999).as_deref(), Some("500 10057 stream store EOF"));
    bench.crash();
    assert_eq!(bench.show("D"), "0/0 5..4 0");
    assert_eq!(bench.purge("D", None, Some(100), None), "0");
    assert_eq!(bench.show("D"), "0/0 100..99 0");
    bench.crash();
    assert_eq!(bench.publish("d.a"), "D 100");
}

#[test]
fn details_on_request() {
    let mut bench = Bench::new();
    bench.stream("ST", |_| {});
    bench.publish_many("st.a", 3);
    bench.publish("st.b");
    bench.delete_message("ST", 2);
    let (stream, subjects_filter) = ("ST".to_owned(), Some("st.a".to_owned()));
    let answer =
        bench.request(Request::StreamInfo { stream, subjects_filter, offset: 0, deleted_details: true });
    let Answer::StreamDescribed { info, .. } = answer else { panic!("{answer:?}") };
    assert_eq!((info.state.num_deleted, info.state.deleted), (1, vec![2]));
    assert_eq!(info.state.subjects, [("st.a".to_owned(), 2)].into());
    assert_eq!(info.state.first_ts, "2026-11-21T03:31:10.000Z");
}

#[test]
fn streams_are_bounded() {
    let mut bench = Bench::with(Limits { streams_max: 1, ..LIMITS });
    assert_eq!(bench.stream("A", |_| {}), None);
    assert_eq!(bench.stream("B", |_| {}).as_deref(), Some("400 10027 maximum number of streams reached"));
}
