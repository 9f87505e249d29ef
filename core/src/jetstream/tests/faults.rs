//! What a cluster does on its own.

use super::super::{Fault, Input, PullStatus};
use super::{Bench, S, no_wait, seen, waiting};

const ID: &str = "Nats-Msg-Id";

fn fault(bench: &mut Bench, fault: Fault) -> Vec<super::Effect> {
    bench.turn(vec![Input::Faulted(fault)])
}

fn names() -> (String, String) {
    ("S".to_owned(), "c".to_owned())
}

fn bench() -> Bench {
    let mut bench = Bench::new();
    bench.stream("S", |_| {});
    bench.durable("S", "c", |_| {});
    bench
}

#[test]
fn ids_can_be_forgotten() {
    let mut bench = bench();
    bench.publish_with("s.a", "x", &[(ID, "1")]);
    bench.publish_with("s.a", "x", &[(ID, "2")]);
    fault(&mut bench, Fault::IdsForgotten { stream: "S".into(), ids: vec!["1".into(), "zz".into()] });
    assert_eq!(bench.publish_with("s.a", "x", &[(ID, "2")]), "S 2 duplicate");
    assert_eq!(bench.publish_with("s.a", "x", &[(ID, "1")]), "S 3");
}

#[test]
fn pulls_can_be_lost_with_a_word_or_without() {
    for (told, line) in [(Some(PullStatus::LeadershipChange), vec!["409 Leadership Change"]), (None, vec![])]
    {
        let mut bench = bench();
        let (inbox, _) = bench.start_pull("S", "c", waiting(1, S));
        let (stream, consumer) = names();
        let effects = fault(&mut bench, Fault::PullsLost { stream, consumer, told });
        assert_eq!(seen(&effects, &inbox), line);
        bench.publish("s.a");
        assert_eq!(bench.info("S", "c"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 1");
    }
}

#[test]
fn an_ack_wait_can_end_early() {
    let mut bench = bench();
    bench.publish_many("s.a", 2);
    let first = bench.take("S", "c", 1);
    let (stream, consumer) = names();
    fault(&mut bench, Fault::AckWaitEnded { stream, consumer, stream_seq: 1 });
    assert_eq!(bench.fetch("S", "c", 1), ["2.1.2 1"]);
    bench.ack(&first[0]);
    let (stream, consumer) = names();
    fault(&mut bench, Fault::AckWaitEnded { stream, consumer, stream_seq: 1 });
    assert_eq!(bench.fetch("S", "c", 1), ["1.2.3 0"]);
}

#[test]
fn a_consumer_can_be_rolled_back() {
    let mut bench = bench();
    bench.publish_many("s.a", 3);
    bench.take("S", "c", 1);
    bench.advance(100);
    for delivery in bench.take("S", "c", 2) {
        bench.ack(&delivery);
    }
    let (stream, consumer) = names();
    fault(&mut bench, Fault::ConsumerRolledBack { stream, consumer });
    assert_eq!(bench.info("S", "c"), "del 1/1 floor 0/0 ackp 1 redel 0 wait 0 pend 2");
    assert_eq!(bench.fetch("S", "c", 9), ["1.2.2 1", "1.3.3 0", "404 No Messages"]);
}

#[test]
fn the_end_of_a_log_can_be_lost() {
    let mut bench = bench();
    for id in ["1", "2", "3", "4"] {
        bench.publish_with("s.a", id, &[(ID, id)]);
    }
    for delivery in bench.take("S", "c", 3) {
        bench.ack(&delivery);
    }
    bench.advance(100);
    fault(&mut bench, Fault::LogTruncated { stream: "S".into(), last_seq: 2 });
    assert_eq!(bench.show("S"), "2/132 1..2 0");
    assert_eq!(bench.info("S", "c"), "del 3/2 floor 3/2 ackp 0 redel 0 wait 0 pend 0");
    bench.advance(100);
    assert_eq!(bench.publish_with("s.a", "x", &[(ID, "4")]), "S 3");
    assert_eq!(bench.publish_with("s.a", "x", &[(ID, "2")]), "S 2 duplicate");
    bench.crash();
    assert_eq!(bench.pull("S", "c", no_wait(9), 0), ["1.3.4 0", "404 No Messages"]);
}

#[test]
fn a_consumer_can_be_ahead_of_its_stream() {
    let mut bench = bench();
    bench.publish_many("s.a", 2);
    let (inbox, _) = bench.start_pull("S", "c", waiting(3, S));
    let (stream, consumer) = names();
    let effects = fault(&mut bench, Fault::ConsumerAhead { stream, consumer, by: 2 });
    assert_eq!(seen(&effects, &inbox), [""; 0]);
    bench.publish_many("s.a", 3);
    assert_eq!(bench.fetch("S", "c", 9), ["1.5.3 0", "404 No Messages"], "nothing of 3 and 4");
}

#[test]
fn the_middle_of_a_log_can_be_lost() {
    let mut bench = bench();
    bench.publish_many("s.a", 5);
    bench.take("S", "c", 3);
    fault(&mut bench, Fault::LogHoled { stream: "S".into(), from_seq: 2, to_seq: 4 });
    assert_eq!(bench.info("S", "c"), "del 3/3 floor 0/0 ackp 1 redel 0 wait 0 pend 1");
    assert_eq!(bench.fetch("S", "c", 9), ["1.5.4 0", "404 No Messages"]);
    bench.crash();
    bench.publish("s.a");
    assert_eq!(bench.show("S"), "3/102 1..6 3");
}

#[test]
fn a_fault_of_what_is_not_there_changes_nothing() {
    let mut bench = bench();
    let before = bench.broker.machine().clone();
    let (stream, consumer) = ("ZZ".to_owned(), "c".to_owned());
    for fault in [
        Fault::IdsForgotten { stream: stream.clone(), ids: vec![] },
        Fault::PullsLost { stream: stream.clone(), consumer: consumer.clone(), told: None },
        Fault::AckWaitEnded { stream: stream.clone(), consumer: consumer.clone(), stream_seq: 1 },
        Fault::ConsumerAhead { stream: stream.clone(), consumer: consumer.clone(), by: 1 },
        Fault::ConsumerRolledBack { stream: stream.clone(), consumer },
        Fault::LogHoled { stream: stream.clone(), from_seq: 1, to_seq: 2 },
        Fault::LogTruncated { stream, last_seq: 0 },
    ] {
        assert_eq!(bench.turn(vec![Input::Faulted(fault)]), []);
    }
    assert_eq!(bench.broker.machine(), &before);
}
