//! Purges and roll-ups under consumers: whom they move, whom they tell.

use crate::script::{Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, PullRequest};

fn on(filter: &str) -> impl FnOnce(&mut ConsumerConfig) {
    let filter = filter.to_owned();
    move |config| config.filter_subject = Some(filter)
}

async fn infos(s: &mut Script<impl Side>, stream: &str, consumers: &[&str]) {
    for consumer in consumers {
        s.info(stream, consumer).await;
    }
}

pub(crate) async fn whom_a_purge_moves(s: &mut Script<impl Side>) {
    const ALL: [&str; 5] = ["all", "a", "other", "both", "wide"];
    s.stream("W", |_| {}).await;
    s.durable("W", "all", |_| {}).await;
    s.durable("W", "a", on("w.a")).await;
    s.durable("W", "other", on("w.z")).await;
    s.durable("W", "both", |config| config.filter_subjects = vec!["w.a".into(), "w.b".into()]).await;
    s.durable("W", "wide", on("w.*")).await;
    for subject in ["w.b", "w.a", "w.b", "w.a", "w.b"] {
        s.publish(subject).await;
    }
    // One who finds nothing has looked at everything all the same.
    s.pull("W", "other", waiting(1, 50_000_000)).await;
    for (filter, seq, keep) in [
        (None, None, Some(9)),
        (Some("w.z"), None, None),
        (Some("w.a"), None, Some(1)),
        (Some("w.*"), Some(2), None),
        (Some("w.a"), None, None),
        (Some("w.>"), None, None),
    ] {
        s.purge("W", filter, seq, keep).await;
        infos(s, "W", &ALL).await;
    }
    s.publish("w.b").await;
    for consumer in ALL {
        s.fetch("W", consumer, 3).await;
    }
}

pub(crate) async fn floors_after_a_purge(s: &mut Script<impl Side>) {
    // What was acked out of turn does not count as settled until everything before it is.
    s.stream("F", |_| {}).await;
    s.durable("F", "c", |_| {}).await;
    s.publish_many("f.a", 6).await;
    let taken = s.fetch("F", "c", 5).await;
    s.ack(&taken[1], "").await;
    s.ack(&taken[3], "").await;
    s.purge("F", None, Some(3), None).await;
    s.info("F", "c").await;
    s.ack(&taken[2], "").await;
    s.info("F", "c").await;
    s.purge("F", None, None, Some(1)).await;
    s.info("F", "c").await;
    // That something was wanted again is forgotten.
    s.stream("G", |_| {}).await;
    s.durable("G", "c", |_| {}).await;
    s.publish_many("g.a", 4).await;
    let taken = s.fetch("G", "c", 4).await;
    s.ack(&taken[2], "-NAK").await;
    s.purge("G", None, Some(2), None).await;
    s.fetch("G", "c", 4).await;
    s.info("G", "c").await;
    // An ack of everything before it settles what is there.
    s.stream("A", |_| {}).await;
    s.durable("A", "c", |config| config.ack_policy = AckPolicy::All).await;
    s.publish_many("a.a", 5).await;
    let taken = s.fetch("A", "c", 5).await;
    s.purge("A", None, Some(3), None).await;
    s.info("A", "c").await;
    s.ack(&taken[3], "").await;
    s.info("A", "c").await;
    s.stream("N", |_| {}).await;
    s.durable("N", "c", |config| config.ack_policy = AckPolicy::None).await;
    s.publish_many("n.a", 5).await;
    s.fetch("N", "c", 2).await;
    s.purge("N", None, None, Some(1)).await;
    s.info("N", "c").await;
}

/// A stream of three messages, taken by three consumers.
async fn taken_by_three(s: &mut Script<impl Side>, name: &str) {
    s.stream(name, |config| config.allow_rollup_hdrs = true).await;
    let subject = |rest: &str| format!("{}.{rest}", name.to_lowercase());
    s.durable(name, "all", |_| {}).await;
    s.durable(name, "a", on(&subject("a"))).await;
    s.durable(name, "wild", on(&subject("*"))).await;
    s.publish_many(&subject("a"), 3).await;
    for consumer in ["all", "a", "wild"] {
        s.fetch(name, consumer, 3).await;
    }
    s.advisories(3).await;
}

pub(crate) async fn who_is_told_of_a_purge(s: &mut Script<impl Side>) {
    // A single message; how it was asked for decides who is told.
    for (name, filter, seq, keep, told) in [
        ("KEEP", None, None, Some(2), 1),
        ("SUBJECT", Some("subject.a"), None, Some(2), 3),
        ("WILD", Some("wild.*"), None, Some(2), 2),
        ("WILDER", Some("wilder.>"), None, Some(2), 2),
        ("SEQUENCE", None, Some(2), None, 0),
        ("SUBSEQ", Some("subseq.a"), Some(2), None, 3),
        ("TWO", None, None, Some(1), 0),
        ("EVERYTHING", None, None, None, 0),
    ] {
        taken_by_three(s, name).await;
        s.purge(name, filter, seq, keep).await;
        s.advisories(told).await;
        infos(s, name, &["all", "a", "wild"]).await;
    }
}

pub(crate) async fn who_is_told_of_a_roll_up(s: &mut Script<impl Side>) {
    for (name, rollup, before, told) in
        [("ONE", "sub", 1, 2), ("ONEALL", "all", 1, 1), ("MORE", "sub", 2, 0), ("MOREALL", "all", 2, 0)]
    {
        let subject = format!("{}.a", name.to_lowercase());
        s.stream(name, |config| config.allow_rollup_hdrs = true).await;
        s.durable(name, "all", |_| {}).await;
        s.durable(name, "a", on(&subject)).await;
        s.publish_many(&subject, before).await;
        s.fetch(name, "all", 3).await;
        s.fetch(name, "a", 3).await;
        s.advisories(2).await;
        s.publish_with(&subject, "x", &[("Nats-Rollup", rollup)]).await;
        s.advisories(told).await;
        infos(s, name, &["all", "a"]).await;
    }
    // The limit comes first, and says so; then the roll-up finds a single message.
    s.stream("LIMIT", |config| (config.allow_rollup_hdrs, config.max_msgs_per_subject) = (true, 2)).await;
    s.durable("LIMIT", "c", |_| {}).await;
    s.publish_many("limit.a", 2).await;
    s.fetch("LIMIT", "c", 2).await;
    s.advisories(1).await;
    s.publish_with("limit.a", "x", &[("Nats-Rollup", "sub")]).await;
    s.advisories(2).await;
    s.info("LIMIT", "c").await;
    // A subject that is full is not, to what rolls it up.
    s.stream("FULL", |config| {
        (config.allow_rollup_hdrs, config.discard_new_per_subject) = (true, true);
        (config.discard, config.max_msgs_per_subject) = (cloudlysis_core::jetstream::api::Discard::New, 1);
    })
    .await;
    s.publish_many("full.a", 2).await;
    s.publish_with("full.a", "x", &[("Nats-Rollup", "sub")]).await;
    s.publish_with("full.a", "x", &[("Nats-Rollup", "all")]).await;
    s.state("FULL").await;
}

/// Nothing wakes who was stalled by what was purged, until something happens.
pub(crate) async fn a_purge_under_who_is_stalled(s: &mut Script<impl Side>) {
    s.stream("S", |_| {}).await;
    s.durable("S", "c", |config| config.max_ack_pending = 2).await;
    s.publish_many("s.a", 2).await;
    let mut stalled =
        s.start("S", "c", PullRequest { batch: 4, no_wait: true, ..PullRequest::default() }).await;
    s.info("S", "c").await;
    s.purge("S", None, None, None).await;
    s.info("S", "c").await;
    s.publish("s.a").await;
    s.silence(&mut stalled, 50).await;
    s.end(stalled).await;
    s.info("S", "c").await;
}
