//! Work queues and interest: what acks and consumers remove.

use crate::script::{S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::ConsumerAction::{CreateOrUpdate, Update};
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, DeliverPolicy, Discard, Retention};

fn on(filter: &str) -> impl FnOnce(&mut ConsumerConfig) {
    let filter = filter.to_owned();
    move |config| config.filter_subject = Some(filter)
}

pub(crate) async fn who_may_consume_a_work_queue(s: &mut Script<impl Side>) {
    s.stream("W", |c| (c.retention, c.max_consumers) = (Retention::Workqueue, 3)).await;
    for change in [
        (|c| c.ack_policy = AckPolicy::None) as fn(&mut ConsumerConfig),
        |c| c.deliver_policy = DeliverPolicy::New,
        |c| c.deliver_policy = DeliverPolicy::Last,
        |c| (c.deliver_policy, c.opt_start_seq) = (DeliverPolicy::ByStartSequence, Some(1)),
        |c| (c.ack_policy, c.deliver_policy) = (AckPolicy::None, DeliverPolicy::New),
    ] {
        s.durable("W", "refused", change).await;
    }
    s.durable("W", "a", on("w.a.>")).await;
    s.durable("W", "unfiltered", |_| {}).await;
    s.durable("W", "unfiltered", |c| c.deliver_policy = DeliverPolicy::New).await;
    for filter in ["w.a.b", "w.a.>", "w.>", "w.*.b", "w.*.b.c"] {
        s.durable("W", "overlapping", on(filter)).await;
    }
    s.durable("W", "overlapping", |c| c.filter_subjects = vec!["w.b".into(), "w.a.x".into()]).await;
    s.durable("W", "late", |c| {
        (c.filter_subject, c.deliver_policy) = (Some("w.b".into()), DeliverPolicy::New);
    })
    .await;
    s.durable("W", "b", on("w.b")).await;
    s.consumer("W", "b", Update, on("w.a.c")).await;
    s.consumer("W", "b", Update, on("w.c")).await;
    s.consumer("W", "b", CreateOrUpdate, |c| c.deliver_policy = DeliverPolicy::New).await;
    s.durable("W", "c", on("w.d")).await;
    s.durable("W", "fourth", on("w.a.x")).await;
    s.consumers("W").await;
    s.stream("ONE", |c| c.retention = Retention::Workqueue).await;
    s.durable("ONE", "all", |_| {}).await;
    s.durable("ONE", "filtered", on("one.a")).await;
    s.durable("ONE", "all", |_| {}).await;
    s.consumer("ONE", "all", Update, |c| c.ack_wait_ns = 7 * S).await;
}

pub(crate) async fn a_work_queue(s: &mut Script<impl Side>) {
    s.stream("W", |c| c.retention = Retention::Workqueue).await;
    s.publish_many("w.a", 5).await;
    s.publish("w.b").await;
    s.durable("W", "c", |c| (c.filter_subject, c.max_deliver) = (Some("w.a".into()), 2)).await;
    s.state("W").await;
    let taken = s.fetch("W", "c", 5).await;
    s.ack(&taken[1], "").await;
    s.state("W").await;
    s.ack(&taken[0], "+TERM poison").await;
    s.state("W").await;
    s.info("W", "c").await;
    s.ack(&taken[1], "").await;
    // Delivered often enough: it stays, until it is acked after all.
    s.ack(&taken[2], "-NAK").await;
    let again = s.fetch("W", "c", 1).await;
    s.ack(&again[0], "-NAK").await;
    s.fetch("W", "c", 1).await;
    s.info("W", "c").await;
    s.state("W").await;
    s.ack(&taken[2], "").await;
    s.state("W").await;
    s.info("W", "c").await;
    // What is left is there for the next consumer.
    s.delete_consumer("W", "c").await;
    s.state("W").await;
    s.durable("W", "next", |_| {}).await;
    let left = s.fetch("W", "next", 9).await;
    s.delete_message("W", 4).await;
    s.info("W", "next").await;
    s.ack(&left[0], "").await;
    s.purge("W", None, None, None).await;
    s.state("W").await;
    s.info("W", "next").await;
    s.ack(&left[1], "").await;
    s.publish("w.a").await;
    s.fetch("W", "next", 9).await;
    s.stream("FULL", |c| {
        (c.retention, c.discard, c.max_msgs) = (Retention::Workqueue, Discard::New, 1);
    })
    .await;
    s.durable("FULL", "c", |_| {}).await;
    s.publish_many("full.a", 2).await;
    let taken = s.fetch("FULL", "c", 1).await;
    s.ack(&taken[0], "").await;
    s.publish("full.a").await;
    s.state("FULL").await;
}

pub(crate) async fn interest(s: &mut Script<impl Side>) {
    s.stream("I", |c| c.retention = Retention::Interest).await;
    // Told and counted, and never there.
    for headers in [&[][..], &[("Nats-Msg-Id", "1")], &[("Nats-Msg-Id", "1")]] {
        s.publish_with("i.a", "x", headers).await;
    }
    s.publish_with("i.a", "x", &[("Nats-Expected-Last-Msg-Id", "1")]).await;
    s.publish_with("i.a", "x", &[("Nats-Expected-Last-Sequence", "3")]).await;
    s.state("I").await;
    s.durable("I", "a", on("i.a")).await;
    s.publish("i.b").await;
    s.publish_many("i.a", 3).await;
    s.publish("i.b").await;
    s.state("I").await;
    s.durable("I", "all", |_| {}).await;
    s.durable("I", "new", |c| c.deliver_policy = DeliverPolicy::New).await;
    s.publish_many("i.a", 2).await;
    s.publish("i.b").await;
    for consumer in ["a", "all", "new"] {
        s.info("I", consumer).await;
    }
    let by_a = s.fetch("I", "a", 5).await;
    let by_all = s.fetch("I", "all", 3).await;
    s.ack(&by_a[0], "").await;
    s.state("I").await;
    s.ack(&by_all[0], "").await;
    s.state("I").await;
    s.ack(&by_all[1], "+TERM").await;
    s.state("I").await;
    s.ack(&by_a[1], "").await;
    s.state("I").await;
    for delivery in s.fetch("I", "new", 9).await {
        s.ack(&delivery, "").await;
    }
    s.state("I").await;
    // With a consumer goes what was kept for it alone.
    s.delete_consumer("I", "all").await;
    s.state("I").await;
    s.delete_consumer("I", "new").await;
    s.state("I").await;
    s.publish_many("i.b", 2).await;
    s.delete_consumer("I", "a").await;
    s.state("I").await;
    s.publish("i.a").await;
    s.state("I").await;
}

pub(crate) async fn less_interest(s: &mut Script<impl Side>) {
    s.stream("NARROWED", |c| c.retention = Retention::Interest).await;
    s.durable("NARROWED", "c", |_| {}).await;
    s.durable("NARROWED", "other", on("narrowed.c")).await;
    for subject in ["narrowed.a", "narrowed.b", "narrowed.c", "narrowed.a", "narrowed.b"] {
        s.publish(subject).await;
    }
    s.fetch("NARROWED", "other", 1).await;
    s.info("NARROWED", "c").await;
    s.consumer("NARROWED", "c", Update, on("narrowed.b")).await;
    s.state("NARROWED").await;
    s.info("NARROWED", "c").await;
    s.info("NARROWED", "other").await;
    s.delete_consumer("NARROWED", "c").await;
    s.state("NARROWED").await;
}

pub(crate) async fn interest_without_acks(s: &mut Script<impl Side>) {
    s.stream("N", |c| c.retention = Retention::Interest).await;
    s.durable("N", "none", |c| c.ack_policy = AckPolicy::None).await;
    s.durable("N", "c", |c| (c.max_deliver, c.filter_subject) = (1, Some("n.a".into()))).await;
    for subject in ["n.a", "n.b", "n.a"] {
        s.publish(subject).await;
    }
    s.fetch("N", "none", 2).await;
    s.state("N").await;
    let taken = s.fetch("N", "c", 2).await;
    s.ack(&taken[0], "-NAK").await;
    s.fetch("N", "c", 1).await;
    s.info("N", "c").await;
    s.state("N").await;
    // Given up by one, it goes with the last one.
    s.fetch("N", "none", 2).await;
    s.state("N").await;
    s.ack(&taken[1], "").await;
    s.state("N").await;
    s.ack(&taken[0], "").await;
    s.state("N").await;
}

pub(crate) async fn retention_of_limits_and_roll_ups(s: &mut Script<impl Side>) {
    s.stream("L", |c| (c.retention, c.max_msgs, c.discard) = (Retention::Interest, 2, Discard::New)).await;
    s.publish_many("l.a", 3).await;
    s.durable("L", "c", |_| {}).await;
    s.publish_many("l.a", 3).await;
    s.stream("R", |c| (c.retention, c.allow_rollup_hdrs) = (Retention::Interest, true)).await;
    s.durable("R", "c", on("r.a")).await;
    s.publish_many("r.a", 2).await;
    s.publish_with("r.b", "x", &[("Nats-Rollup", "sub")]).await;
    s.state("R").await;
    s.info("R", "c").await;
    s.publish_with("r.b", "x", &[("Nats-Rollup", "all")]).await;
    s.state("R").await;
    s.info("R", "c").await;
    s.publish("r.a").await;
    s.publish_with("r.b", "x", &[("Nats-Rollup", "zzz")]).await;
    s.publish_with("r.a", "x", &[("Nats-Rollup", "all")]).await;
    s.state("R").await;
    s.info("R", "c").await;
    s.stream("W", |c| c.retention = Retention::Workqueue).await;
    s.update("W", |c| c.retention = Retention::Limits).await;
    s.update("R", |c| c.retention = Retention::Workqueue).await;
    s.update("R", |c| c.retention = Retention::Limits).await;
    s.publish("r.b").await;
    s.durable("R", "d", |_| {}).await;
    let taken = s.fetch("R", "c", 9).await;
    s.ack(&taken[0], "").await;
    s.state("R").await;
    s.publish_many("r.a", 2).await;
    s.update("R", |c| c.retention = Retention::Interest).await;
    s.state("R").await;
    for delivery in s.fetch("R", "d", 9).await {
        s.ack(&delivery, "").await;
    }
    s.state("R").await;
    s.info("R", "c").await;
}

pub(crate) async fn retention_over_a_restart(s: &mut Script<impl Side>) {
    s.stream("W", |c| c.retention = Retention::Workqueue).await;
    s.durable("W", "c", |_| {}).await;
    for id in ["1", "2", "3"] {
        s.publish_with("w.a", "x", &[("Nats-Msg-Id", id)]).await;
    }
    let taken = s.pull("W", "c", waiting(2, S)).await;
    s.ack(&taken[1], "").await;
    s.stream("I", |c| c.retention = Retention::Interest).await;
    s.durable("I", "c", on("i.a")).await;
    s.publish("i.a").await;
    s.publish_with("i.b", "x", &[("Nats-Msg-Id", "b")]).await;
    s.publish_with("i.b", "x", &[("Nats-Msg-Id", "b")]).await;
    s.info("W", "c").await;
    s.restart().await;
    s.state("W").await;
    s.info("W", "c").await;
    s.publish_with("w.a", "x", &[("Nats-Msg-Id", "2")]).await;
    s.publish_with("w.a", "x", &[("Nats-Msg-Id", "3")]).await;
    s.ack(&taken[0], "").await;
    s.state("W").await;
    s.state("I").await;
    s.publish_with("i.b", "x", &[("Nats-Msg-Id", "b")]).await;
    let taken = s.fetch("I", "c", 2).await;
    s.ack(&taken[0], "").await;
    s.state("I").await;
}

/// A stream that kept everything begins to keep what is needed.
pub(crate) async fn interest_from_now_on(s: &mut Script<impl Side>) {
    for (name, filter, acked) in
        [("NOBODY", None, 0), ("SOME", Some("some.a"), 0), ("ACKED", Some("acked.*"), 1)]
    {
        let subject = |rest: &str| format!("{}.{rest}", name.to_lowercase());
        s.stream(name, |_| {}).await;
        for rest in ["a", "b", "a"] {
            s.publish(&subject(rest)).await;
        }
        if let Some(filter) = filter {
            s.durable(name, "c", on(filter)).await;
            let taken = s.fetch(name, "c", 2).await;
            for delivery in taken.iter().take(acked) {
                s.ack(delivery, "").await;
            }
        }
        s.update(name, |config| config.retention = Retention::Interest).await;
        s.state(name).await;
    }
}
