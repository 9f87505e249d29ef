//! Reads that any replica may answer.

use super::super::api::Storage;
use super::{Answer, Bench, MessageBy, Request};

fn read(bench: &mut Bench, by: MessageBy) -> Answer {
    bench.request(Request::DirectGet { stream: "D".into(), by })
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
    assert!(matches!(read(&mut bench, MessageBy::Seq(1)), Answer::Direct { .. }));
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
            let Answer::Direct { stream, message } = read(&mut bench, by) else { panic!("not found") };
            let headers = message.direct_headers(&stream);
            let expected = [
                ("A", "1"),
                ("Nats-Stream", "D"),
                ("Nats-Subject", "d.a"),
                ("Nats-Sequence", "1"),
                ("Nats-Time-Stamp", "2026-11-21T03:31:10.000Z"),
            ];
            assert_eq!(headers.to_headers().iter().collect::<Vec<_>>(), expected);
            assert_eq!(message.payload, "first");
        }
        for by in [
            MessageBy::Seq(3),
            MessageBy::LastBySubject("d.z".into()),
            MessageBy::NextBySubject { subject: "d.a".into(), seq: 2 },
        ] {
            assert_eq!(read(&mut bench, by), Answer::NotFoundDirectly);
        }
    }
}
