//! What streams do with subjects, counts and ages.

use super::super::api::{Republish, StreamConfig, SubjectTransform};
use super::{Answer, Bench, Bytes, Effect, Input, MessageBy, Publish, Request, S};
use crate::wire::header_block::HeaderBlock;

fn read(bench: &mut Bench, stream: &str, by: MessageBy) -> String {
    let answer = bench.request(Request::MessageGet { stream: stream.into(), by });
    let Answer::Message(own) = answer else { return format!("{answer:?}") };
    let headers = own.headers.to_headers();
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {} {} {:?}", own.seq, own.subject, headers.join(","), own.payload)
}

#[test]
fn a_transformed_subject_is_the_one_that_counts() {
    let mut bench = Bench::new();
    bench.stream("T", |config| {
        let (src, dest) = ("t.*".into(), "u.$1".into());
        config.subject_transform = Some(SubjectTransform { src, dest });
    });
    bench.durable("T", "c", |config| config.filter_subject = Some("u.a".into()));
    assert_eq!(bench.publish("t.a"), "T 1");
    assert_eq!(bench.publish("t.a.b"), "T 2");
    assert_eq!(read(&mut bench, "T", MessageBy::Seq(1)), "1 u.a  b\"x\"");
    assert_eq!(read(&mut bench, "T", MessageBy::Seq(2)), "2 t.a.b  b\"x\"");
    assert_eq!(bench.fetch("T", "c", 5), ["1.1.1 0", "404 No Messages"]);
    let expected = [("Nats-Expected-Last-Subject-Sequence", "1")];
    assert_eq!(bench.publish_with("t.a", "x", &expected), "T 3");
    bench.crash();
    assert_eq!(bench.publish_with("t.a", "x", &expected), "400 10071 wrong last sequence: 3");
}

#[test]
fn what_is_stored_is_published_again() {
    let mut bench = Bench::new();
    for (name, headers_only) in [("R", false), ("H", true)] {
        bench.stream(name, |config| {
            let (src, dest) = (format!("{}.a", name.to_lowercase()), "again".into());
            config.republish = Some(Republish { src, dest, headers_only });
        });
    }
    let mut publish = |subject: &str| {
        let headers: HeaderBlock = [("A", "1")].into_iter().collect();
        let publish =
            Publish { subject: subject.into(), reply: None, headers, payload: Bytes::from_static(b"xyz") };
        bench.turn(vec![Input::Published(publish)])
    };
    publish("r.a");
    assert_eq!(publish("r.b"), []);
    let effects = publish("r.a");
    let [Effect::Republish { subject, headers, payload }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((subject.as_str(), payload.as_ref()), ("again", &b"xyz"[..]));
    let expected = "NATS/1.0\r\nA: 1\r\nNats-Stream: R\r\nNats-Subject: r.a\r\nNats-Sequence: 3\r\n\
                    Nats-Time-Stamp: 2026-11-21T03:31:10.000Z\r\nNats-Last-Sequence: 1\r\n\r\n";
    assert_eq!(headers.as_bytes(), expected);
    let effects = publish("h.a");
    let [Effect::Republish { headers, payload, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!((headers.text("Nats-Msg-Size"), payload.len()), (Some("3"), 0));
}

#[test]
fn nothing_is_republished_in_a_circle() {
    let mut bench = Bench::new();
    let republish = |subject: &str, dest: &str| {
        let (subjects, dest) = (vec![subject.to_owned()], dest.to_owned());
        move |config: &mut StreamConfig| {
            config.subjects.clone_from(&subjects);
            config.republish =
                Some(Republish { src: String::new(), dest: dest.clone(), headers_only: false });
        }
    };
    let cycle = Some("500 10052 stream configuration for republish destination forms a cycle".to_owned());
    assert_eq!(bench.stream("A", republish("a.>", "b.>")), None);
    assert_eq!(bench.stream("B", republish("b.>", "a.>")), cycle);
    assert_eq!(bench.stream("B", republish("b.>", "c.x.>")), None);
    for dest in ["a.>", "a.b.>", "b.>", ">"] {
        assert_eq!(bench.stream("C", republish("c.*.>", dest)), cycle, "{dest}");
    }
    assert_eq!(bench.stream("C", republish("c.*.>", "d.>")), None);
    assert_eq!(bench.update("B", |config| config.subjects = vec!["b.*".into(), "d.>".into()]), cycle);
    assert_eq!(bench.update("B", |config| config.republish = None), None);
    assert_eq!(bench.update("B", |config| config.subjects = vec!["b.*".into(), "d.>".into()]), None);
    // Nothing goes nowhere.
    assert_eq!(bench.stream("E", republish("e", "")), None);
    assert_eq!(bench.publish("e"), "E 1");
}

#[test]
fn messages_count() {
    let mut bench = Bench::new();
    bench.stream("N", |config| config.allow_msg_counter = true);
    let count = |bench: &mut Bench, by| bench.publish_with("n.a", "", &[("Nats-Incr", by)]);
    assert_eq!(count(&mut bench, "1"), "N 1 counts 1");
    assert_eq!(count(&mut bench, "-10"), "N 2 counts -9");
    bench.crash();
    assert_eq!(count(&mut bench, "+99999999999999999999"), "N 3 counts 99999999999999999990");
    assert_eq!(
        read(&mut bench, "N", MessageBy::Seq(3)),
        "3 n.a Nats-Incr=+99999999999999999999 b\"{\\\"val\\\":\\\"99999999999999999990\\\"}\""
    );
    assert_eq!(bench.publish_with("n.a", "", &[]), "400 10169 message counter increment is missing");
}

#[test]
fn messages_live_as_long_as_they_say() {
    let mut bench = Bench::new();
    bench.stream("D", |config| (config.allow_msg_ttl, config.max_age_ns) = (true, 10 * S));
    for (subject, ttl) in [("d.a", "1s"), ("d.b", "never"), ("d.c", "3"), ("d.d", "1h")] {
        bench.publish_with(subject, "x", &[("Nats-TTL", ttl)]);
    }
    bench.advance(1_000);
    assert_eq!(bench.show("D"), "3/194 2..4 0");
    bench.crash();
    bench.advance(1_998);
    assert_eq!(bench.state("D").messages, 3);
    bench.advance(1);
    assert_eq!(bench.show("D"), "2/131 2..4 1");
    bench.advance(7_000);
    assert_eq!(bench.show("D"), "1/67 2..4 2", "an age applies to what did not say never");
}

#[test]
fn the_last_message_of_a_subject_leaves_a_marker() {
    let mut bench = Bench::new();
    bench.stream("M", |config| config.subject_delete_marker_ttl_ns = 2 * S);
    bench.publish_with("m.a", "x", &[("Nats-TTL", "1")]);
    bench.publish_with("m.b", "x", &[("Nats-TTL", "1")]);
    bench.publish("m.b");
    bench.advance(1_000);
    let marker = "4 m.a Nats-Marker-Reason=MaxAge,Nats-TTL=2s,Nats-Rollup=sub b\"\"";
    assert_eq!(read(&mut bench, "M", MessageBy::LastBySubject("m.a".into())), marker);
    assert_eq!(bench.state("M").messages, 2);
    bench.crash();
    bench.advance(2_000);
    assert_eq!((bench.state("M").messages, bench.state("M").last_seq), (1, 4));
}

#[test]
fn nobody_is_answered_where_nobody_wants_to_be() {
    let mut bench = Bench::new();
    bench.stream("Q", |config| config.no_ack = true);
    let publish = |payload: usize| Publish {
        subject: "q.a".into(),
        reply: Some("r".into()),
        headers: HeaderBlock::NONE,
        payload: vec![0; payload].into(),
    };
    assert_eq!(bench.turn(vec![Input::Published(publish(1)), Input::Published(publish(2 << 20))]), []);
    assert_eq!(bench.state("Q").messages, 1);
}
