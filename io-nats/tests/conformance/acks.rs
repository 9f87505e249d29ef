//! Acks and what follows when there is none.

use crate::script::{MS, S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::AckSubject;
use cloudlysis_core::jetstream::api::AckPolicy;

pub(crate) async fn every_kind_of_ack(s: &mut Script<impl Side>) {
    s.stream("A", |_| {}).await;
    s.durable("A", "c", |_| {}).await;
    s.publish_many("a.a", 6).await;
    let taken = s.fetch("A", "c", 6).await;
    s.ack(&taken[0], "").await;
    s.ack(&taken[0], "+ACK").await;
    s.ack(&taken[1], "-NAK").await;
    s.fetch("A", "c", 1).await;
    s.ack(&taken[2], "+WPI").await;
    s.ack(&taken[3], "+TERM bad thing").await;
    s.info("A", "c").await;
    for (payload, ms) in [("-NAK {\"delay\": 700000000}", 700), ("-NAK 300ms", 300)] {
        let since = s.now();
        s.ack(&taken[4], payload).await;
        s.await_messages("A", "c", 1).await;
        s.at_least(ms, since);
    }
    let beyond = AckSubject { stream_seq: 999, consumer_seq: 999, ..taken[0].clone() };
    for payload in ["", "+TERM", "-NAK", "+WPI", "bogus"] {
        s.ack(&beyond, payload).await;
    }
    s.publish("a.b").await;
    s.info("A", "c").await;
    let undelivered = AckSubject { stream_seq: 7, consumer_seq: 99, ..taken[0].clone() };
    for payload in ["", "+TERM", "-NAK", "+WPI"] {
        s.ack(&undelivered, payload).await;
        s.info("A", "c").await;
    }
    s.fetch("A", "c", 1).await;
    // An answer to any delivery settles the message.
    s.ack(&taken[1], "").await;
    s.ack(&taken[5], "+OK").await;
    s.info("A", "c").await;
    let gone = AckSubject { consumer: "zz".into(), ..taken[0].clone() };
    s.ack(&gone, "").await;
    s.durable("A", "none", |config| config.ack_policy = AckPolicy::None).await;
    let taken = s.fetch("A", "none", 2).await;
    s.info("A", "none").await;
    s.ack(&taken[0], "").await;
    s.delete_consumer("A", "c").await;
    s.ack(&beyond, "").await;
}

pub(crate) async fn redelivery(s: &mut Script<impl Side>) {
    s.stream("R", |_| {}).await;
    s.durable("R", "c", |config| config.ack_wait_ns = S).await;
    s.publish_many("r.a", 3).await;
    let since = s.now();
    let first = s.await_messages("R", "c", 3).await;
    s.publish_many("r.a", 2).await;
    s.ack(&first[1], "").await;
    // What was not settled comes again, before what is new only if it is due by then.
    s.await_messages("R", "c", 2).await;
    s.await_messages("R", "c", 2).await;
    s.at_least(1_000, since);
    s.info("R", "c").await;
    // A late answer to the first delivery settles the second.
    s.ack(&first[0], "").await;
    s.info("R", "c").await;
    s.stream("NN", |_| {}).await;
    s.durable("NN", "c", |_| {}).await;
    s.publish_many("nn.a", 2).await;
    let taken = s.fetch("NN", "c", 2).await;
    for nth in [1, 0, 1] {
        s.ack(&taken[nth], "-NAK").await;
    }
    s.await_messages("NN", "c", 2).await;
    s.info("NN", "c").await;
    s.stream("B", |_| {}).await;
    s.durable("B", "c", |config| (config.backoff_ns, config.max_deliver) = (vec![300 * MS, 900 * MS], 4))
        .await;
    s.publish("b.a").await;
    let since = s.now();
    s.await_messages("B", "c", 4).await;
    s.at_least(2_100, since);
    // Backoff is for silence: who says no gets it again at once.
    s.stream("BN", |_| {}).await;
    s.durable("BN", "c", |config| (config.backoff_ns, config.max_deliver) = (vec![60 * S, 60 * S], 5)).await;
    s.publish("bn.a").await;
    let taken = s.fetch("BN", "c", 1).await;
    s.ack(&taken[0], "-NAK").await;
    s.await_messages("BN", "c", 1).await;
    // Who says that they are at it gets more time.
    s.stream("WK", |_| {}).await;
    s.durable("WK", "c", |config| config.ack_wait_ns = 2 * S).await;
    s.publish("wk.a").await;
    let since = s.now();
    let taken = s.fetch("WK", "c", 1).await;
    s.pull("WK", "c", waiting(1, S)).await;
    s.ack(&taken[0], "+WPI").await;
    s.await_messages("WK", "c", 1).await;
    s.at_least(3_000, since);
}

pub(crate) async fn giving_up(s: &mut Script<impl Side>) {
    s.stream("N", |_| {}).await;
    s.durable("N", "c", |config| config.max_deliver = 2).await;
    s.publish_many("n.a", 2).await;
    let taken = s.fetch("N", "c", 2).await;
    s.ack(&taken[0], "-NAK").await;
    let again = s.fetch("N", "c", 1).await;
    s.ack(&again[0], "-NAK").await;
    s.info("N", "c").await;
    s.fetch("N", "c", 1).await;
    s.info("N", "c").await;
    s.ack(&taken[0], "").await;
    s.info("N", "c").await;
    s.ack(&taken[1], "").await;
    s.info("N", "c").await;
    s.state("N").await;
    // In silence: the message stays in the stream, and the floor waits for the next ack above it.
    s.stream("PF", |_| {}).await;
    s.durable("PF", "c", |config| (config.max_deliver, config.ack_wait_ns) = (1, S)).await;
    s.publish_many("pf.a", 3).await;
    let taken = s.fetch("PF", "c", 3).await;
    s.ack(&taken[1], "").await;
    s.pull("PF", "c", waiting(1, 2 * S)).await;
    s.info("PF", "c").await;
    s.publish("pf.a").await;
    let fourth = s.fetch("PF", "c", 1).await;
    s.ack(&fourth[0], "").await;
    s.info("PF", "c").await;
    s.ack(&taken[0], "").await;
    s.info("PF", "c").await;
}

pub(crate) async fn one_at_a_time(s: &mut Script<impl Side>) {
    s.stream("HL", |_| {}).await;
    s.durable("HL", "c", |config| config.max_ack_pending = 1).await;
    s.publish_many("hl.a", 3).await;
    let taken = s.fetch("HL", "c", 1).await;
    let since = s.now();
    s.ack(&taken[0], "-NAK {\"delay\": 600000000}").await;
    let taken = s.await_messages("HL", "c", 1).await;
    s.at_least(600, since);
    s.ack(&taken[0], "").await;
    s.fetch("HL", "c", 1).await;
    s.info("HL", "c").await;
    // Without that bound a delayed message is overtaken.
    s.stream("OV", |_| {}).await;
    s.durable("OV", "c", |_| {}).await;
    s.publish_many("ov.k", 3).await;
    let taken = s.fetch("OV", "c", 1).await;
    s.ack(&taken[0], "-NAK {\"delay\": 600000000}").await;
    s.await_messages("OV", "c", 2).await;
    s.await_messages("OV", "c", 1).await;
    s.info("OV", "c").await;
}
