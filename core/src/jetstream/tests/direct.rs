//! Reads that any replica may answer.

use super::super::api::{MessageGet, Storage};
use super::{Answer, Bench, Input, MessageBy, Request, answers};
use crate::jetstream::DirectStatus;
use crate::time::Wall;

fn read(bench: &mut Bench, by: MessageBy) -> Answer {
    bench.request(Request::DirectGet { stream: "D".into(), get: Box::new(by.into()) })
}

/// `sequence num_pending/last_sequence` of every message, and the status at the end.
fn read_all(bench: &mut Bench, get: MessageGet) -> Vec<String> {
    let inbox = bench.inbox();
    let request = Request::DirectGet { stream: "D".into(), get: Box::new(get) };
    let effects = bench.turn(vec![Input::Requested { reply: inbox.clone(), request }]);
    let line = |answer| match answer {
        Answer::Direct(own) => {
            let place =
                own.place.map_or_else(String::new, |at| format!(" {}/{}", at.num_pending, at.last_seq));
            format!("{}{place}", own.message.seq)
        }
        Answer::DirectStatus(status) => {
            let headers = status.headers();
            let numbers: Vec<&str> = headers.iter().map(|(_, number)| number).collect();
            format!("{} {} {}", status.code(), status.description(), numbers.join("/")).trim_end().to_owned()
        }
        other @ (Answer::Published { .. }
        | Answer::BatchPublished { .. }
        | Answer::Staged
        | Answer::NotPublished { .. }
        | Answer::Failed(_)
        | Answer::Account(_)
        | Answer::Stream(_)
        | Answer::StreamDescribed { .. }
        | Answer::Streams(_)
        | Answer::StreamNames(_)
        | Answer::SnapshotBegun { .. }
        | Answer::RestoreBegun { .. }
        | Answer::Restored(_)
        | Answer::StreamDeleted
        | Answer::Purged { .. }
        | Answer::Message(_)
        | Answer::MessageDeleted
        | Answer::Consumer(_)
        | Answer::Consumers(_)
        | Answer::ConsumerNames(_)
        | Answer::ConsumerPaused { .. }
        | Answer::ConsumerReset { .. }
        | Answer::ConsumerUnpinned
        | Answer::ConsumerDeleted
        | Answer::AckProcessed
        | Answer::NoResponders { .. }) => panic!("{other:?}"),
    };
    answers(effects, &inbox).into_iter().map(line).collect()
}

#[test]
fn several_messages_end_with_where_to_go_on() {
    let mut bench = Bench::new();
    bench.stream("D", |config| config.allow_direct = true);
    for _ in 0..3 {
        for subject in ["d.a", "d.b", "d.c"] {
            bench.publish(subject);
        }
        bench.advance(10);
    }
    let start = bench.now.wall.as_ms() - 20;
    bench.delete_message("D", 5);
    let none = MessageGet::default();
    let subject = |subject: &str| subject.to_owned();
    for (get, expected) in [
        (MessageGet { seq: 4, batch: 2, ..none.clone() }, &["4 4/0", "6 3/4", "204 EOB 3/6"][..]),
        (
            MessageGet { seq: 1, batch: 9, next_by_subj: subject("d.b"), ..none.clone() },
            &["2 1/0", "8 0/2", "204 EOB 0/8"],
        ),
        (MessageGet { seq: 1, batch: 9, max_bytes: 5, ..none.clone() }, &["1 7/0", "2 6/1", "204 EOB 6/2"]),
        (
            MessageGet { start_time: Some(Wall::from_ms(start)), batch: 1, ..none.clone() },
            &["4 4/0", "204 EOB 4/4"],
        ),
        (
            MessageGet { multi_last: vec![subject("d.>")], ..none.clone() },
            &["7 2/0", "8 1/7", "9 0/8", "204 EOB 0/9/9"],
        ),
        (
            MessageGet { multi_last: vec![subject("d.a"), subject("d.b")], up_to_seq: 6, ..none.clone() },
            &["2 1/0", "4 0/2", "204 EOB 0/4/6"],
        ),
        (
            MessageGet {
                multi_last: vec![subject("d.*")],
                up_to_time: Some(Wall::from_ms(start)),
                batch: 2,
                ..none.clone()
            },
            &["1 2/0", "2 1/1", "204 EOB 1/2/3"],
        ),
        (MessageGet { seq: 99, batch: 1, ..none.clone() }, &["404 Message Not Found"]),
        (MessageGet { multi_last: vec![subject("z")], ..none.clone() }, &["404 No Results"]),
        (MessageGet { multi_last: vec![subject("d.>")], up_to_seq: 99, ..none.clone() }, &["404 No Results"]),
        (MessageGet { batch: 3, ..none.clone() }, &["408 Empty Request"]),
        (MessageGet { seq: 1, last_by_subj: subject("d.a"), ..none.clone() }, &["408 Bad Request"]),
    ] {
        assert_eq!(read_all(&mut bench, get.clone()), expected, "{get:?}");
    }
    for nth in 0..1025 {
        bench.publish(&format!("d.n{nth}"));
    }
    let everything = MessageGet { multi_last: vec![subject(">")], ..none.clone() };
    assert_eq!(read_all(&mut bench, everything), ["413 Too Many Results"]);
    assert_eq!(read_all(&mut bench, MessageGet { seq: 1, batch: 1 << 40, ..none }).len(), 1024 + 1);
}

#[test]
fn only_a_stream_that_allows_it_is_read_directly() {
    let mut bench = Bench::new();
    let nobody = Answer::NoResponders { subject: "$JS.API.DIRECT.GET.D".into() };
    assert_eq!(read(&mut bench, MessageBy::Seq(1)), nobody);
    bench.stream("D", |_| {});
    bench.publish("d.a");
    assert_eq!(read(&mut bench, MessageBy::Seq(1)), nobody);
    assert_eq!(bench.update("D", |config| config.allow_direct = true), None);
    assert!(matches!(read(&mut bench, MessageBy::Seq(1)), Answer::Direct(_)));
}

#[test]
fn a_direct_read_says_where_the_message_is_stored() {
    for storage in [Storage::File, Storage::Memory] {
        let mut bench = Bench::new();
        bench.stream("D", |config| (config.allow_direct, config.storage) = (true, storage));
        bench.publish_with("d.a", "first", &[("A", "1")]);
        bench.publish("d.b");
        bench.publish("d.a");
        bench.delete_message("D", 3);
        for by in [
            MessageBy::Seq(1),
            MessageBy::LastBySubject("d.a".into()),
            MessageBy::NextBySubject { subject: "d.*".into(), seq: 0 },
        ] {
            let Answer::Direct(found) = read(&mut bench, by) else { panic!("not found") };
            let headers = found.headers();
            let expected = [
                ("A", "1"),
                ("Nats-Stream", "D"),
                ("Nats-Subject", "d.a"),
                ("Nats-Sequence", "1"),
                ("Nats-Time-Stamp", "2026-11-21T03:31:10.000Z"),
            ];
            assert_eq!(headers.to_headers().iter().collect::<Vec<_>>(), expected);
            assert_eq!(found.message.payload, "first");
        }
        for by in [
            MessageBy::Seq(3),
            MessageBy::LastBySubject("d.z".into()),
            MessageBy::NextBySubject { subject: "d.a".into(), seq: 2 },
        ] {
            assert_eq!(read(&mut bench, by), Answer::DirectStatus(DirectStatus::NotFound));
        }
    }
}
