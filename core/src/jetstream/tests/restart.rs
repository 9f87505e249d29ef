//! What a restart keeps and what it takes back, as `p05_restart.py` and `p11_sync.py` saw it.

use super::super::{Answer, Input, JetStream};
use super::{Bench, MS, S, waiting};
use crate::bench::Landed;
use crate::cx::Machine;
use crate::halt::{Halt, StoreFault};
use crate::store::{Store, Table};
use crate::time::Wall;

const ID: &str = "Nats-Msg-Id";

#[test]
fn ids_are_those_of_stored_messages() {
    let mut bench = Bench::new();
    bench.stream("L", |_| {});
    bench.stream("W", |_| {});
    assert_eq!(bench.publish_with("l.a", "x", &[(ID, "1")]), "L 1");
    assert_eq!(bench.publish_with("w.a", "x", &[(ID, "1")]), "W 1");
    bench.delete_message("W", 1);
    assert_eq!(bench.publish_with("w.a", "x", &[(ID, "1")]), "W 1 duplicate", "remembered while it runs");
    bench.crash();
    assert_eq!(bench.publish_with("l.a", "x", &[(ID, "1")]), "L 1 duplicate");
    assert_eq!(bench.publish_with("w.a", "x", &[(ID, "1")]), "W 2", "forgotten with its message");
}

#[test]
fn ids_leave_the_window_while_the_broker_is_down() {
    let mut bench = Bench::new();
    bench.stream("L", |config| config.duplicate_window_ns = 500 * MS);
    bench.publish_with("l.a", "x", &[(ID, "1")]);
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms() + 300);
    bench.publish_with("l.a", "x", &[(ID, "2")]);
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms() + 300);
    bench.crash();
    assert_eq!(bench.publish_with("l.a", "x", &[(ID, "2")]), "L 2 duplicate");
    assert_eq!(bench.publish_with("l.a", "x", &[(ID, "1")]), "L 3");
}

#[test]
fn confirmed_acks_come_back_with_the_count_of_a_first_delivery() {
    let mut bench = Bench::new();
    bench.stream("K", |_| {});
    bench.durable("K", "k", |config| config.ack_wait_ns = 2 * S);
    bench.publish_many("k.a", 20);
    for delivery in bench.take("K", "k", 10) {
        bench.ack(&delivery);
    }
    assert_eq!(bench.info("K", "k"), "del 10/10 floor 10/10 ackp 0 redel 0 wait 0 pend 10");
    bench.crash();
    bench.advance(0);
    assert_eq!(bench.info("K", "k"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 20");
    assert_eq!(bench.pull("K", "k", waiting(1, S), 0), ["1.1.1 19"]);
}

#[test]
fn an_ack_survives_if_the_process_lives_until_the_next_flush() {
    for (lives_ms, info) in [
        (0, "del 1/1 floor 0/0 ackp 1 redel 0 wait 0 pend 0"),
        (99, "del 1/1 floor 0/0 ackp 1 redel 0 wait 0 pend 0"),
        (100, "del 1/1 floor 1/1 ackp 0 redel 0 wait 0 pend 0"),
    ] {
        let mut bench = Bench::new();
        bench.stream("K1", |_| {});
        bench.durable("K1", "k", |_| {});
        bench.publish("k1.a");
        let taken = bench.take("K1", "k", 1);
        bench.advance(100);
        bench.ack(&taken[0]);
        bench.advance(lives_ms);
        bench.crash();
        bench.advance(0);
        assert_eq!(bench.info("K1", "k"), info, "after {lives_ms} ms");
    }
}

#[test]
fn what_was_flushed_stays() {
    let mut bench = Bench::new();
    bench.stream("RC", |_| {});
    bench.durable("RC", "r", |config| (config.ack_wait_ns, config.max_deliver) = (300 * MS, 10));
    bench.publish_many("rc.a", 2);
    bench.take("RC", "r", 1);
    bench.advance(350);
    bench.take("RC", "r", 1);
    let second = bench.take("RC", "r", 1);
    assert_eq!(second[0].ack.stream_seq, 2);
    bench.ack(&second[0]);
    // The state of 100 ms is on disk; the next flush comes at 400 ms, and it is 350 ms now.
    let mut early = bench.clone();
    early.advance(49);
    early.crash();
    assert_eq!(early.pull("RC", "r", waiting(1, 3 * S), 0), ["2.1.2 1"]);
    bench.advance(50);
    bench.crash();
    bench.advance(0);
    assert_eq!(bench.info("RC", "r"), "del 3/2 floor 0/0 ackp 1 redel 1 wait 0 pend 0");
    assert_eq!(bench.pull("RC", "r", waiting(1, 3 * S), 400), ["3.1.4 0"]);
}

#[test]
fn a_wait_goes_on_over_a_restart() {
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    bench.durable("G", "c", |config| config.ack_wait_ns = 5 * S);
    bench.publish("g.a");
    bench.take("G", "c", 1);
    bench.advance(1000);
    bench.crash();
    assert_eq!(bench.pull("G", "c", waiting(1, 9 * S), 3_990), [""; 0]);
    bench.advance(20);
    assert_eq!(bench.info("G", "c"), "del 2/1 floor 0/0 ackp 1 redel 1 wait 0 pend 0");
}

#[test]
fn what_waited_to_be_repeated_is_repeated_at_once() {
    let mut bench = Bench::new();
    bench.stream("Q", |_| {});
    bench.durable("Q", "c", |config| config.ack_wait_ns = 300 * MS);
    bench.publish("q.a");
    bench.take("Q", "c", 1);
    bench.advance(400);
    bench.crash();
    assert_eq!(bench.fetch("Q", "c", 1), ["2.1.2 0"]);
}

#[test]
fn acknowledged_messages_stay() {
    let mut bench = Bench::new();
    bench.stream("PK", |_| {});
    bench.publish_many("pk.a", 50);
    bench.crash();
    assert_eq!(bench.show("PK"), "50/1750 1..50 0");
    assert_eq!(bench.publish("pk.a"), "PK 51");
}

#[test]
fn a_consumer_is_brought_in_line_with_what_is_still_stored() {
    let mut bench = Bench::new();
    bench.stream("C", |_| {});
    bench.durable("C", "c", |_| {});
    bench.publish_many("c.a", 5);
    bench.take("C", "c", 4);
    bench.advance(100);
    bench.purge("C", None, Some(4), None);
    bench.crash();
    bench.advance(0);
    assert_eq!(bench.info("C", "c"), "del 4/4 floor 3/3 ackp 1 redel 0 wait 0 pend 1");
}

#[test]
fn a_failed_commit_answers_nobody_and_recovery_says_what_happened() {
    for (landed, next) in [(Landed::No, "F 1"), (Landed::Yes, "F 1 duplicate")] {
        let mut bench = Bench::new();
        bench.stream("F", |_| {});
        bench.store.fail_commit = Some(landed);
        let publish = crate::jetstream::Publish {
            subject: "f.a".into(),
            reply: Some("r".into()),
            headers: [(ID, "1")].into_iter().collect(),
            payload: "x".into(),
        };
        let halted = bench.try_turn(vec![Input::Published(publish)]);
        assert_eq!(halted, Err(Halt::Store(StoreFault::CommitUnknown)));
        bench.crash();
        assert_eq!(bench.publish_with("f.a", "x", &[(ID, "1")]), next);
    }
}

#[test]
fn a_row_that_cannot_be_read_halts() {
    for table in [Table::JsStream, Table::JsConsumer, Table::JsMessage] {
        let mut bench = Bench::new();
        bench.stream("X", |_| {});
        bench.durable("X", "c", |_| {});
        bench.publish("x.a");
        for ((own, _), value) in &mut bench.store.rows {
            if *own == table {
                value.truncate(3);
            }
        }
        let txn = bench.store.begin().expect("begins");
        let halted = JetStream::recover(bench.limits, 0, &txn).expect_err("corrupt");
        assert!(matches!(halted, Halt::Corrupt { table: own, .. } if own == table), "{halted}");
    }
}

#[test]
fn the_true_log_can_be_read() {
    let mut bench = Bench::new();
    bench.stream("T", |_| {});
    bench.stream("T2", |_| {});
    bench.publish_with("t.a", "one", &[("k", "v")]);
    bench.publish_with("t2.a", "other", &[]);
    bench.publish_with("t.b", "two", &[]);
    let txn = bench.store.begin().expect("begins");
    let mut log = Vec::new();
    JetStream::log(&txn, "T", 0, &mut |message| {
        log.push((
            message.seq,
            message.subject.to_string(),
            message.headers.text("k").map(str::to_owned),
            message.payload,
        ));
        std::ops::ControlFlow::Continue(())
    })
    .expect("reads");
    assert_eq!(
        log,
        [
            (1, "t.a".to_owned(), Some("v".to_owned()), "one".into()),
            (2, "t.b".to_owned(), None, "two".into())
        ]
    );
    assert_eq!(bench.broker.machine().stream_names().collect::<Vec<_>>(), ["T", "T2"]);
    assert!(!matches!(
        bench.request(super::Request::StreamList { subject: None, offset: 0 }),
        Answer::Failed(_)
    ));
}
