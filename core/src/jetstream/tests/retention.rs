//! Work queues and interest: what goes with an ack, with a delivery, with a consumer.

use super::super::api::{AckPolicy, ConsumerConfig, DeliverPolicy, Retention};
use super::{Bench, ConsumerAction, MS};

fn on(filter: &str) -> impl FnOnce(&mut ConsumerConfig) {
    let filter = filter.to_owned();
    move |config| config.filter_subject = Some(filter)
}

fn refused(bench: &mut Bench, change: impl FnOnce(&mut ConsumerConfig)) -> Option<String> {
    bench.consumer("W", "refused", ConsumerAction::Create, change)
}

#[test]
fn consumers_of_a_work_queue_share_nothing() {
    let mut bench = Bench::new();
    bench.stream("W", |config| config.retention = Retention::Workqueue);
    assert_eq!(
        refused(&mut bench, |config| config.ack_policy = AckPolicy::None).as_deref(),
        Some("400 10084 consumer in pull mode requires explicit ack policy on workqueue stream")
    );
    assert_eq!(
        refused(&mut bench, |config| config.deliver_policy = DeliverPolicy::New).as_deref(),
        Some("400 10101 consumer must be deliver all on workqueue stream")
    );
    bench.durable("W", "a", on("w.a"));
    bench.durable("W", "b", on("w.b"));
    assert_eq!(
        refused(&mut bench, |_| {}).as_deref(),
        Some("400 10099 multiple non-filtered consumers not allowed on workqueue stream")
    );
    let not_unique = Some("400 10100 filtered consumer not unique on workqueue stream".to_owned());
    assert_eq!(refused(&mut bench, on("w.*")), not_unique);
    assert_eq!(bench.consumer("W", "b", ConsumerAction::Update, on("w.>")), not_unique);
    assert_eq!(bench.consumer("W", "b", ConsumerAction::Update, on("w.c")), None);
}

#[test]
fn a_work_queue_keeps_what_nobody_settled() {
    let mut bench = Bench::new();
    bench.stream("W", |config| config.retention = Retention::Workqueue);
    bench.publish_many("w.a", 4);
    bench.durable("W", "c", |config| config.max_deliver = 1);
    let taken = bench.take("W", "c", 3);
    bench.ack(&taken[1]);
    assert_eq!(bench.show("W"), "3/102 1..4 1");
    bench.answer(&taken[0].ack, "+TERM");
    bench.answer(&taken[2].ack, "-NAK");
    assert_eq!(bench.fetch("W", "c", 1), ["1.4.4 0"]);
    assert_eq!(bench.info("W", "c"), "del 4/4 floor 2/2 ackp 1 redel 0 wait 0 pend 0");
    assert_eq!(bench.show("W"), "2/68 3..4 0", "delivered often enough, and still there");
    bench.ack(&taken[2]);
    assert_eq!(bench.show("W"), "1/34 4..4 0");
    bench.request(super::Request::ConsumerDelete { stream: "W".into(), consumer: "c".into() });
    bench.durable("W", "next", |_| {});
    assert_eq!(bench.fetch("W", "next", 9), ["1.4.1 0", "404 No Messages"]);
}

#[test]
fn what_was_acked_is_gone_although_the_consumer_is_set_back() {
    let mut bench = Bench::new();
    bench.stream("W", |config| config.retention = Retention::Workqueue);
    bench.durable("W", "c", |_| {});
    bench.publish_many("w.a", 3);
    for delivery in bench.take("W", "c", 2) {
        bench.ack(&delivery);
    }
    bench.crash();
    assert_eq!(bench.show("W"), "1/34 3..3 0");
    assert_eq!(bench.fetch("W", "c", 2), ["1.3.1 0", "404 No Messages"]);
}

#[test]
fn without_interest_nothing_is_stored() {
    let mut bench = Bench::new();
    bench.stream("I", |config| config.retention = Retention::Interest);
    let id = [("Nats-Msg-Id", "1")];
    assert_eq!(bench.publish_with("i.a", "x", &id), "I 1");
    assert_eq!(bench.publish_with("i.a", "x", &id), "I 1 duplicate");
    bench.durable("I", "c", on("i.b"));
    assert_eq!(bench.publish("i.a"), "I 2");
    assert_eq!(bench.show("I"), "0/0 3..2 0");
    bench.crash();
    assert_eq!(bench.show("I"), "0/0 3..2 0", "its sequences are given for good");
    assert_eq!(bench.publish_with("i.a", "x", &id), "I 3", "an id is forgotten with what was never stored");
    assert_eq!(bench.publish("i.b"), "I 4");
    assert_eq!(bench.fetch("I", "c", 1), ["1.4.1 0"]);
}

#[test]
fn a_message_goes_with_the_last_consumer_that_needs_it() {
    let mut bench = Bench::new();
    bench.stream("I", |config| config.retention = Retention::Interest);
    bench.durable("I", "a", on("i.a"));
    bench.durable("I", "all", |_| {});
    for subject in ["i.a", "i.b", "i.a"] {
        bench.publish(subject);
    }
    let (by_a, by_all) = (bench.take("I", "a", 2), bench.take("I", "all", 2));
    bench.ack(&by_a[0]);
    assert_eq!(bench.show("I"), "3/102 1..3 0");
    bench.ack(&by_all[0]);
    bench.ack(&by_all[1]);
    assert_eq!(bench.show("I"), "1/34 3..3 0");
    bench.ack(&by_a[1]);
    assert_eq!(bench.show("I"), "1/34 3..3 0", "not delivered to the other one yet");
    bench.request(super::Request::ConsumerDelete { stream: "I".into(), consumer: "all".into() });
    assert_eq!(bench.show("I"), "0/0 4..3 0");
}

#[test]
fn a_delivery_settles_for_who_wants_no_acks() {
    let mut bench = Bench::new();
    bench.stream("I", |config| config.retention = Retention::Interest);
    bench.durable("I", "none", |config| config.ack_policy = AckPolicy::None);
    bench.publish_many("i.a", 3);
    assert_eq!(bench.fetch("I", "none", 2), ["1.1.1 2", "1.2.2 1"]);
    assert_eq!(bench.show("I"), "1/34 3..3 0");
}

#[test]
fn an_idle_consumer_takes_what_was_kept_for_it_along() {
    let mut bench = Bench::new();
    bench.stream("I", |config| config.retention = Retention::Interest);
    bench.durable("I", "c", |config| config.inactive_threshold_ns = 200 * MS);
    bench.publish("i.a");
    bench.advance(300);
    assert_eq!((bench.info("I", "c").as_str(), bench.show("I").as_str()), ("gone", "0/0 2..1 0"));
}

#[test]
fn less_interest_removes_what_was_kept_for_it() {
    let mut bench = Bench::new();
    bench.stream("I", |config| config.retention = Retention::Interest);
    bench.durable("I", "c", |_| {});
    for subject in ["i.a", "i.b", "i.a", "i.b"] {
        bench.publish(subject);
    }
    bench.take("I", "c", 2);
    assert_eq!(bench.consumer("I", "c", ConsumerAction::Update, on("i.b")), None);
    assert_eq!(bench.show("I"), "2/68 2..4 1");
    assert_eq!(bench.info("I", "c"), "del 2/2 floor 1/1 ackp 1 redel 0 wait 0 pend 1");
}

#[test]
fn a_roll_up_nobody_is_interested_in_still_purges() {
    let mut bench = Bench::new();
    bench.stream("R", |config| (config.retention, config.allow_rollup_hdrs) = (Retention::Interest, true));
    bench.durable("R", "c", on("r.a"));
    bench.publish_many("r.a", 2);
    assert_eq!(bench.publish_with("r.b", "x", &[("Nats-Rollup", "sub")]), "R 3");
    assert_eq!(bench.show("R"), "2/68 1..3 1");
    assert_eq!(bench.publish_with("r.b", "x", &[("Nats-Rollup", "all")]), "R 4");
    assert_eq!(bench.show("R"), "0/0 5..4 0");
    assert_eq!(bench.info("R", "c"), "del 0/4 floor 0/4 ackp 0 redel 0 wait 0 pend 0");
}
