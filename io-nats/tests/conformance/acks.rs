//! Acks and what follows when there is none.

use crate::script::{MS, S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::AckSubject;
use cloudlysis_core::jetstream::api::{AckPolicy, PullRequest, Retention};

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

pub(crate) async fn acks_of_everything_before(s: &mut Script<impl Side>) {
    s.stream("AA", |_| {}).await;
    s.durable("AA", "c", |config| {
        (config.ack_policy, config.ack_wait_ns, config.max_ack_pending) = (AckPolicy::All, S, 6);
    })
    .await;
    s.publish_many("aa.a", 5).await;
    let taken = s.fetch("AA", "c", 5).await;
    s.ack(&taken[1], "").await;
    s.info("AA", "c").await;
    s.ack(&taken[0], "").await;
    s.ack(&taken[1], "-NAK").await;
    s.ack(&taken[0], "+TERM").await;
    s.info("AA", "c").await;
    // What is still out comes again, and an answer to either delivery settles what is before.
    let again = s.await_messages("AA", "c", 3).await;
    s.ack(&taken[3], "").await;
    s.info("AA", "c").await;
    s.ack(&again[2], "").await;
    s.info("AA", "c").await;
    // The room is what is out.
    s.publish_many("aa.a", 7).await;
    let more = s.pull("AA", "c", waiting(7, 300 * MS)).await;
    s.ack(&more[2], "+TERM all of it").await;
    s.info("AA", "c").await;
    s.delete_message("AA", 12).await;
    s.info("AA", "c").await;
    s.ack(&more[3], "+WPI").await;
    let beyond = AckSubject { stream_seq: 999, consumer_seq: 999, ..taken[0].clone() };
    s.ack(&beyond, "").await;
    s.info("AA", "c").await;
    s.publish_many("aa.a", 3).await;
    let more = s.await_messages("AA", "c", 3).await;
    s.delete_message("AA", 14).await;
    s.info("AA", "c").await;
    s.ack(&more[2], "+WPI").await;
    s.await_messages("AA", "c", 1).await;
    s.ack(&more[2], "").await;
    s.info("AA", "c").await;
    // One of several filters sees a part of the stream.
    s.durable("AA", "f", |config| {
        (config.ack_policy, config.filter_subject) = (AckPolicy::All, Some("aa.b".into()));
    })
    .await;
    for subject in ["aa.b", "aa.c", "aa.b", "aa.b"] {
        s.publish(subject).await;
    }
    let taken = s.fetch("AA", "f", 3).await;
    s.ack(&taken[1], "").await;
    s.info("AA", "f").await;
    s.purge("AA", None, None, None).await;
    s.info("AA", "f").await;
    // Where an ack removes.
    s.stream("AI", |config| config.retention = Retention::Interest).await;
    s.durable("AI", "c", |config| config.ack_policy = AckPolicy::All).await;
    s.publish_many("ai.a", 4).await;
    let taken = s.fetch("AI", "c", 4).await;
    s.ack(&taken[2], "").await;
    s.until_messages("AI", 1).await;
    s.stream("AW", |config| config.retention = Retention::Workqueue).await;
    s.durable("AW", "c", |config| config.ack_policy = AckPolicy::All).await;
}

pub(crate) async fn an_ack_that_is_a_pull(s: &mut Script<impl Side>) {
    s.stream("NX", |_| {}).await;
    s.durable("NX", "c", |_| {}).await;
    s.publish_many("nx.a", 6).await;
    let one = || waiting(1, 0);
    let no_wait = |batch| PullRequest { no_wait: true, ..waiting(batch, 0) };
    let taken = s.fetch("NX", "c", 1).await;
    let next = s.ack_next(&taken[0], "+NXT", one()).await;
    let taken = s.end(next).await;
    s.info("NX", "c").await;
    let next = s.ack_next(&taken[0], "+NXT 2", waiting(2, 0)).await;
    let taken = s.end(next).await;
    let next = s.ack_next(&taken[0], "+NXT {\"batch\":5,\"no_wait\":true}", no_wait(5)).await;
    let rest = s.end(next).await;
    s.info("NX", "c").await;
    let next = s.ack_next(&rest[0], "+NXT {\"batch\":1,\"no_wait\":true}", no_wait(1)).await;
    s.end(next).await;
    let next = s.ack_next(&rest[1], "+NXT{\"batch\":2,\"expires\":200000000}", waiting(2, 200 * MS)).await;
    s.end(next).await;
    // It settles also when the pull makes no sense, or when nobody waits for it.
    let next = s.ack_next(&taken[1], "+NXT {\"batch\":", one()).await;
    s.end(next).await;
    s.info("NX", "c").await;
    s.publish("nx.a").await;
    let next = s.ack_next(&rest[1], "+NXTnonsense", one()).await;
    s.end(next).await;
    s.info("NX", "c").await;
}
