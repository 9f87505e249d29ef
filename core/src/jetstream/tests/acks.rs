//! Acks and redelivery, as `p03_consumer.py` and `p08.py` saw it.

use super::super::api::{AckPolicy, PullRequest};
use super::super::{AckSubject, ConsumerAction, Input};
use super::{Bench, MS, S, no_wait, seen, told, waiting};

fn none() -> Option<String> {
    None
}

fn confirmed() -> Option<String> {
    Some(String::new())
}

#[test]
fn redeliveries_come_first_in_order_and_end_in_silence() {
    let mut bench = Bench::new();
    bench.stream("R", |_| {});
    bench.durable("R", "c", |config| (config.ack_wait_ns, config.max_deliver) = (500 * MS, 3));
    bench.publish_many("r.a", 3);
    assert_eq!(bench.pull("R", "c", waiting(3, 300 * MS), 400), ["1.1.1 2", "1.2.2 1", "1.3.3 0"]);
    bench.publish_many("r.a", 2);
    bench.advance(400);
    assert_eq!(
        bench.pull("R", "c", super::no_wait(10), 400),
        ["2.1.4 2", "2.2.5 2", "2.3.6 2", "1.4.7 1", "1.5.8 0", "404 No Messages"]
    );
    assert_eq!(bench.info("R", "c"), "del 8/5 floor 0/0 ackp 5 redel 3 wait 0 pend 0");
    bench.advance(700);
    assert_eq!(
        bench.pull("R", "c", super::no_wait(10), 400),
        ["3.1.9 0", "3.2.10 0", "3.3.11 0", "2.4.12 0", "2.5.13 0", "404 No Messages"]
    );
    bench.advance(1500);
    assert_eq!(bench.fetch("R", "c", 10), ["3.4.14 0", "3.5.15 0", "404 No Messages"]);
    assert_eq!(bench.info("R", "c"), "del 15/5 floor 0/0 ackp 2 redel 5 wait 0 pend 0");
    assert_eq!(bench.state("R").messages, 5);
}

#[test]
fn every_kind_of_ack() {
    let mut bench = Bench::new();
    bench.stream("A", |_| {});
    bench.durable("A", "c", |config| config.ack_wait_ns = 5 * S);
    bench.publish_many("a.a", 6);
    let taken = bench.take("A", "c", 6);
    assert_eq!(bench.answer(&taken[0].ack, ""), confirmed());
    assert_eq!(bench.answer(&taken[0].ack, ""), confirmed(), "answered is not the same as was pending");
    for (delivery, payload) in taken[1..4].iter().zip(["-NAK", "+WPI", "+TERM bad thing"]) {
        assert_eq!(bench.answer(&delivery.ack, payload), confirmed());
    }
    assert_eq!(bench.fetch("A", "c", 6), ["2.2.7 0", "404 No Messages"]);
    assert_eq!(bench.info("A", "c"), "del 7/6 floor 1/1 ackp 4 redel 1 wait 0 pend 0");
    for (payload, delay, again) in
        [("-NAK {\"delay\": 700000000}", 700, "2.5.8 0"), ("-NAK 300ms", 300, "3.5.9 0")]
    {
        bench.answer(&taken[4].ack, payload);
        let (inbox, effects) = bench.start_pull("A", "c", waiting(1, 2 * S));
        assert_eq!(seen(&effects, &inbox), [""; 0]);
        assert_eq!(seen(&bench.advance(delay - 1), &inbox), [""; 0]);
        assert_eq!(seen(&bench.advance(1), &inbox), [again]);
    }
    let beyond = AckSubject { stream_seq: 999, consumer_seq: 999, ..taken[0].ack.clone() };
    for (payload, answer) in [
        ("", none()),
        ("+TERM", none()),
        ("-NAK", confirmed()),
        ("+WPI", confirmed()),
        ("bogus", confirmed()),
    ] {
        assert_eq!(bench.answer(&beyond, payload), answer, "{payload:?} beyond the stream");
    }
    bench.publish("a.b");
    let undelivered = AckSubject { stream_seq: 7, consumer_seq: 99, ..taken[0].ack.clone() };
    assert_eq!(bench.answer(&undelivered, ""), none());
    assert_eq!(bench.info("A", "c"), "del 9/6 floor 1/1 ackp 4 redel 2 wait 0 pend 1");
    let gone = AckSubject { consumer: "zz".into(), ..taken[0].ack.clone() };
    assert_eq!(bench.answer(&gone, ""), Some(format!("503 {gone}")));
}

#[test]
fn a_late_ack_of_the_first_delivery_settles_the_second() {
    let mut bench = Bench::new();
    bench.stream("AS", |_| {});
    bench.durable("AS", "c", |config| config.ack_wait_ns = 300 * MS);
    bench.publish("as.a");
    let first = bench.take("AS", "c", 1);
    bench.advance(500);
    let second = bench.take("AS", "c", 1);
    assert_eq!((second[0].ack.deliveries, second[0].ack.consumer_seq), (2, 2));
    bench.ack(&first[0]);
    assert_eq!(bench.info("AS", "c"), "del 2/1 floor 2/1 ackp 0 redel 0 wait 0 pend 0");
}

#[test]
fn without_acks_delivered_is_settled() {
    let mut bench = Bench::new();
    bench.stream("AN", |_| {});
    bench.durable("AN", "c", |config| config.ack_policy = AckPolicy::None);
    bench.publish_many("an.a", 2);
    let taken = bench.take("AN", "c", 2);
    assert_eq!(bench.info("AN", "c"), "del 2/2 floor 2/2 ackp 0 redel 0 wait 0 pend 0");
    assert_eq!(bench.answer(&taken[0].ack, ""), Some(format!("503 {}", taken[0].ack)));
    bench.advance(60_000);
    assert_eq!(bench.fetch("AN", "c", 2), ["404 No Messages"]);
}

#[test]
fn backoff_applies_to_silence_and_not_to_a_nak() {
    let mut bench = Bench::new();
    bench.stream("B", |_| {});
    bench.durable("B", "c", |config| (config.backoff_ns, config.max_deliver) = (vec![300 * MS, 900 * MS], 4));
    bench.publish("b.a");
    let (inbox, effects) = bench.start_pull("B", "c", waiting(10, 6 * S));
    assert_eq!(seen(&effects, &inbox), ["1.1.1 0"]);
    for (delay, again) in [(300, "2.1.2 0"), (900, "3.1.3 0"), (900, "4.1.4 0")] {
        assert_eq!(seen(&bench.advance(delay - 1), &inbox), [""; 0]);
        assert_eq!(seen(&bench.advance(1), &inbox), [again]);
    }
    assert_eq!(seen(&bench.advance(1000), &inbox), [""; 0]);
    bench.stream("BN", |_| {});
    bench.durable("BN", "c", |config| (config.backoff_ns, config.max_deliver) = (vec![2 * S, 2 * S], 5));
    bench.publish("bn.a");
    let taken = bench.take("BN", "c", 1);
    bench.answer(&taken[0].ack, "-NAK");
    assert_eq!(bench.fetch("BN", "c", 1), ["2.1.2 0"]);
}

#[test]
fn what_was_repeated_is_given_up_when_its_turn_comes() {
    let mut bench = Bench::new();
    bench.stream("N", |_| {});
    bench.publish_many("n.a", 2);
    bench.durable("N", "two", |config| (config.max_deliver, config.ack_wait_ns) = (2, S));
    bench.fetch("N", "two", 2);
    bench.advance(1000);
    assert_eq!(bench.fetch("N", "two", 2), ["2.1.3 0", "2.2.4 0"]);
    assert_eq!(told(&bench.advance(5000)), [""; 0]);
    assert_eq!(bench.info("N", "two"), "del 4/2 floor 0/0 ackp 2 redel 2 wait 0 pend 0");
    let (_, effects) = bench.start_pull("N", "two", no_wait(1));
    assert_eq!(told(&effects), ["CONSUMER.MAX_DELIVERIES.N.two", "CONSUMER.MAX_DELIVERIES.N.two"]);
    assert_eq!(bench.info("N", "two"), "del 4/2 floor 0/0 ackp 0 redel 2 wait 0 pend 0");
    // What may be delivered only once is given up at once.
    bench.durable("N", "one", |config| (config.max_deliver, config.ack_wait_ns) = (1, S));
    bench.fetch("N", "one", 2);
    assert_eq!(told(&bench.advance(1000)).len(), 2);
    assert_eq!(bench.info("N", "one"), "del 2/2 floor 0/0 ackp 0 redel 0 wait 0 pend 0");
    // A lowered bound gives up in silence what is beyond it.
    bench.durable("N", "less", |config| config.ack_wait_ns = S);
    for _ in 0..4 {
        bench.fetch("N", "less", 1);
        bench.advance(1000);
    }
    bench.consumer("N", "less", ConsumerAction::Update, |c| (c.max_deliver, c.ack_wait_ns) = (2, S));
    let (inbox, effects) = bench.start_pull("N", "less", no_wait(1));
    assert_eq!(told(&effects), [""; 0]);
    assert_eq!(seen(&effects, &inbox), ["1.2.5 0"]);
}

#[test]
fn a_floor_waits_for_what_was_given_up() {
    let mut bench = Bench::new();
    bench.stream("PF", |_| {});
    bench.durable("PF", "c", |config| (config.max_deliver, config.ack_wait_ns) = (1, 300 * MS));
    bench.publish_many("pf.a", 3);
    let taken = bench.take("PF", "c", 3);
    bench.ack(&taken[1]);
    assert_eq!(bench.info("PF", "c"), "del 3/3 floor 0/0 ackp 2 redel 0 wait 0 pend 0");
    bench.advance(600);
    assert_eq!(bench.info("PF", "c"), "del 3/3 floor 0/0 ackp 0 redel 0 wait 0 pend 0");
    bench.publish("pf.a");
    let fourth = bench.take("PF", "c", 1);
    bench.ack(&fourth[0]);
    assert_eq!(bench.info("PF", "c"), "del 4/4 floor 4/4 ackp 0 redel 0 wait 0 pend 0");
    assert_eq!(bench.answer(&taken[0].ack, ""), confirmed());
    assert_eq!(bench.info("PF", "c"), "del 4/4 floor 4/4 ackp 0 redel 0 wait 0 pend 0");
}

#[test]
fn a_nak_of_the_last_delivery_is_noticed_by_the_next_pull() {
    let mut bench = Bench::new();
    bench.stream("N", |_| {});
    bench.durable("N", "c", |config| (config.max_deliver, config.ack_wait_ns) = (2, 60 * S));
    bench.publish_many("n.a", 2);
    let taken = bench.take("N", "c", 2);
    bench.answer(&taken[0].ack, "-NAK");
    let again = bench.take("N", "c", 1);
    assert_eq!(again[0].ack.to_string().split('.').skip(4).take(3).collect::<Vec<_>>(), ["2", "1", "3"]);
    bench.answer(&again[0].ack, "-NAK");
    assert_eq!(bench.info("N", "c"), "del 3/2 floor 0/0 ackp 2 redel 1 wait 0 pend 0");
    assert_eq!(bench.fetch("N", "c", 1), ["404 No Messages"]);
    assert_eq!(bench.info("N", "c"), "del 3/2 floor 0/0 ackp 1 redel 1 wait 0 pend 0");
    assert_eq!(bench.answer(&taken[0].ack, ""), confirmed());
    assert_eq!(bench.info("N", "c"), "del 3/2 floor 0/0 ackp 1 redel 0 wait 0 pend 0");
    bench.ack(&taken[1]);
    assert_eq!(bench.info("N", "c"), "del 3/2 floor 3/2 ackp 0 redel 0 wait 0 pend 0");
}

#[test]
fn an_ack_of_what_is_not_pending_moves_no_floor() {
    let mut bench = Bench::new();
    bench.stream("X", |_| {});
    bench.durable("X", "c", |config| (config.max_deliver, config.ack_wait_ns) = (1, 200 * MS));
    bench.publish_many("x.a", 3);
    let taken = bench.take("X", "c", 3);
    bench.advance(500);
    assert_eq!(bench.answer(&taken[0].ack, ""), confirmed());
    assert_eq!(bench.info("X", "c"), "del 3/3 floor 0/0 ackp 0 redel 0 wait 0 pend 0");
    bench.durable("X", "e", |config| (config.max_deliver, config.ack_wait_ns) = (1, 300 * MS));
    let first = bench.take("X", "e", 1);
    bench.advance(500);
    let others = bench.take("X", "e", 2);
    for settled in [&first[0], &others[0]] {
        bench.ack(settled);
        assert!(bench.info("X", "e").starts_with("del 3/3 floor 0/0"), "the gap holds the floor");
    }
    bench.durable("X", "f", |_| {});
    let taken = bench.take("X", "f", 1);
    bench.ack(&taken[0]);
    let undelivered = AckSubject { stream_seq: 3, consumer_seq: 3, ..taken[0].ack.clone() };
    assert_eq!(bench.answer(&undelivered, ""), none());
    assert_eq!(bench.info("X", "f"), "del 1/1 floor 1/1 ackp 0 redel 0 wait 0 pend 2");
    assert_eq!(bench.fetch("X", "f", 3), ["1.2.2 1", "1.3.3 0", "404 No Messages"]);
}

#[test]
fn a_delayed_nak_takes_a_message_out_of_the_queue() {
    let mut bench = Bench::new();
    bench.stream("N", |_| {});
    bench.durable("N", "d", |config| config.ack_wait_ns = 60 * S);
    bench.publish_many("n.a", 2);
    let taken = bench.take("N", "d", 1);
    bench.answer(&taken[0].ack, "-NAK {\"delay\":200000000}");
    assert_eq!(bench.info("N", "d"), "del 1/1 floor 0/0 ackp 1 redel 0 wait 0 pend 1");
    bench.advance(500);
    bench.answer(&taken[0].ack, "-NAK 50ms");
    assert_eq!(bench.fetch("N", "d", 1), ["1.2.2 0"]);
    bench.advance(50);
    assert_eq!(bench.fetch("N", "d", 1), ["2.1.3 0"]);
}

#[test]
fn a_second_nak_does_not_change_the_order() {
    let mut bench = Bench::new();
    bench.stream("NN", |_| {});
    bench.durable("NN", "c", |_| {});
    bench.publish_many("nn.a", 2);
    let taken = bench.take("NN", "c", 2);
    for nth in [1, 0, 1] {
        bench.answer(&taken[nth].ack, "-NAK");
    }
    assert_eq!(bench.fetch("NN", "c", 2), ["2.2.3 0", "2.1.4 0"]);
}

#[test]
fn progress_restarts_the_wait_and_does_not_stop_a_redelivery() {
    let mut bench = Bench::new();
    for stream in ["WP", "WK"] {
        bench.stream(stream, |_| {});
        bench.durable(stream, "c", |config| config.ack_wait_ns = 400 * MS);
    }
    bench.publish("wp.a");
    let taken = bench.take("WP", "c", 1);
    bench.advance(700);
    assert_eq!(bench.answer(&taken[0].ack, "+WPI"), confirmed());
    assert_eq!(bench.fetch("WP", "c", 1), ["2.1.2 0"]);
    bench.publish("wk.a");
    let taken = bench.take("WK", "c", 1);
    for _ in 0..4 {
        bench.advance(250);
        bench.answer(&taken[0].ack, "+WPI");
    }
    assert_eq!(bench.fetch("WK", "c", 1), ["404 No Messages"]);
    assert_eq!(bench.info("WK", "c"), "del 1/1 floor 0/0 ackp 1 redel 0 wait 0 pend 0");
}

#[test]
fn one_at_a_time_is_strict_order() {
    let mut bench = Bench::new();
    bench.stream("HL", |_| {});
    bench.durable("HL", "c", |config| config.max_ack_pending = 1);
    bench.publish_many("hl.a", 3);
    let taken = bench.take("HL", "c", 1);
    bench.answer(&taken[0].ack, "-NAK {\"delay\": 800000000}");
    assert_eq!(bench.pull("HL", "c", waiting(1, 3 * S), 799), [""; 0]);
    bench.advance(1);
    assert_eq!(bench.info("HL", "c"), "del 2/1 floor 0/0 ackp 1 redel 1 wait 0 pend 2");
}

#[test]
fn a_delayed_message_is_overtaken() {
    let mut bench = Bench::new();
    bench.stream("OV", |_| {});
    bench.durable("OV", "c", |_| {});
    bench.publish_many("ov.k", 3);
    let taken = bench.take("OV", "c", 1);
    bench.answer(&taken[0].ack, "-NAK {\"delay\": 300000000}");
    assert_eq!(bench.pull("OV", "c", waiting(2, S), 0), ["1.2.2 1", "1.3.3 0"]);
    bench.advance(400);
    assert_eq!(bench.pull("OV", "c", waiting(1, S), 0), ["2.1.4 0"]);
}

#[test]
fn the_wait_begins_when_the_server_sends() {
    let mut bench = Bench::new();
    bench.stream("BF", |_| {});
    bench.durable("BF", "c", |config| config.ack_wait_ns = 500 * MS);
    bench.publish_many("bf.a", 5);
    let taken = bench.take("BF", "c", 5);
    bench.advance(300);
    bench.ack(&taken[0]);
    bench.advance(400);
    assert_eq!(bench.fetch("BF", "c", 5), ["2.2.6 0", "2.3.7 0", "2.4.8 0", "2.5.9 0", "404 No Messages"]);
    bench.ack(&taken[1]);
    assert_eq!(bench.info("BF", "c"), "del 9/5 floor 2/2 ackp 3 redel 3 wait 0 pend 0");
}

#[test]
fn a_connection_that_dies_costs_the_ack_wait() {
    let mut bench = Bench::new();
    bench.stream("CD", |_| {});
    bench.durable("CD", "c", |config| config.ack_wait_ns = 600 * MS);
    bench.publish_many("cd.a", 3);
    bench.pull("CD", "c", waiting(3, 5 * S), 0);
    assert_eq!(bench.fetch("CD", "c", 3), ["404 No Messages"]);
    bench.advance(600);
    assert_eq!(bench.fetch("CD", "c", 3), ["2.1.4 0", "2.2.5 0", "2.3.6 0"]);
}

#[test]
fn a_changed_ack_wait_moves_the_waits_that_run() {
    let mut bench = Bench::new();
    bench.stream("W", |_| {});
    bench.durable("W", "c", |config| config.ack_wait_ns = 10 * S);
    bench.publish("w.a");
    bench.take("W", "c", 1);
    let update = crate::jetstream::ConsumerAction::Update;
    assert_eq!(bench.consumer("W", "c", update, |config| config.ack_wait_ns = S), None);
    let (inbox, _) = bench.start_pull("W", "c", waiting(1, 9 * S));
    assert_eq!(seen(&bench.advance(999), &inbox), [""; 0]);
    assert_eq!(seen(&bench.advance(1), &inbox), ["2.1.2 0"]);
}

#[test]
fn room_lets_the_next_message_through() {
    let mut bench = Bench::new();
    bench.stream("NW", |_| {});
    bench.durable("NW", "d", |config| config.max_ack_pending = 2);
    bench.publish_many("nw.a", 3);
    let (inbox, effects) =
        bench.start_pull("NW", "d", PullRequest { batch: 5, no_wait: true, ..PullRequest::default() });
    assert_eq!(seen(&effects, &inbox), ["1.1.1 2", "1.2.2 1"]);
    let first = super::deliveries(effects, &inbox).swap_remove(0);
    let acked = Input::Acked { delivery: first.ack, kind: crate::jetstream::AckKind::Ack, reply: None };
    let effects = bench.turn(vec![acked]);
    assert_eq!(seen(&effects, &inbox), ["1.3.3 0"]);
    assert_eq!(bench.info("NW", "d"), "del 3/3 floor 1/1 ackp 2 redel 0 wait 1 pend 0");
}
