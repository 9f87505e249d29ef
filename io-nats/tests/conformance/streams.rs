//! Streams: created, changed, described, purged, deleted.

use crate::script::{MS, S, Script};
use crate::side::Side;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Discard, Storage, StreamConfig};

pub(crate) async fn creating_and_changing(s: &mut Script<impl Side>) {
    s.state("NOPE").await;
    s.names(None).await;
    s.stream("ONE", |_| {}).await;
    s.stream("ONE", |_| {}).await;
    s.stream("ONE", |config| config.max_msgs = 3).await;
    s.stream("OVERLAP", |config| config.subjects = vec!["one.a".into()]).await;
    s.stream("PLAIN", |config| config.subjects.clear()).await;
    s.stream("OWN", |config| drop(config.metadata.insert("epoch".into(), "1".into()))).await;
    s.stream("AGE", |config| config.max_age_ns = S).await;
    s.names(None).await;
    s.names(Some("one.a")).await;
    s.names(Some("nobody.home")).await;
    s.list().await;
    s.update("ONE", |config| (config.deny_delete, config.deny_purge) = (true, true)).await;
    s.update("ONE", |config| config.deny_delete = false).await;
    s.update("ONE", |config| config.deny_purge = false).await;
    s.update("ONE", |config| config.max_consumers = 4).await;
    s.update("NOPE", |_| {}).await;
    s.update("PLAIN", |config| config.subjects = vec!["one.>".into()]).await;
    s.update("PLAIN", |config| config.subjects = vec!["other.>".into()]).await;
    s.publish("plain").await;
    s.publish("other.a").await;
    s.update("PLAIN", |config| config.sealed = true).await;
    s.publish("other.a").await;
    s.purge("PLAIN", None, None, None).await;
    s.delete_message("PLAIN", 1).await;
    s.update("PLAIN", |config| config.sealed = false).await;
    s.state("PLAIN").await;
    s.delete_stream("PLAIN").await;
    s.delete_stream("PLAIN").await;
    s.stream("PLAIN", |_| {}).await;
    s.publish("plain.a").await;
    s.state("PLAIN").await;
}

pub(crate) async fn refused_configurations(s: &mut Script<impl Side>) {
    for change in [
        (|c| (c.duplicate_window_ns, c.max_age_ns) = (10 * S, S)) as fn(&mut StreamConfig),
        |c| c.max_age_ns = 50 * MS,
        |c| c.duplicate_window_ns = 50 * MS,
        |c| (c.max_msgs_per_subject, c.discard_new_per_subject) = (1, true),
        |c| (c.discard, c.discard_new_per_subject) = (Discard::New, true),
        |c| (c.allow_rollup_hdrs, c.deny_purge) = (true, true),
        |c| c.sealed = true,
        |c| c.num_replicas = 6,
        |c| c.description = Some("x".repeat(5000)),
        |c| drop(c.metadata.insert("a".into(), "x".repeat(131_073))),
        |c| c.subjects = vec![">".into()],
        |c| c.subjects = vec!["$JS.>".into()],
        |c| c.subjects = vec!["$SYS.x".into()],
        |c| c.subjects = vec!["a.*".into(), "a.b".into()],
        |c| c.subjects = vec!["a".into(), "a".into()],
        |c| c.subjects = vec!["a..b".into()],
        |c| c.name = "x".repeat(256),
        |c| c.name = "a/b".into(),
    ] {
        s.stream("REFUSED", change).await;
    }
    s.names(None).await;
}

pub(crate) async fn removing(s: &mut Script<impl Side>) {
    s.stream("PU", |_| {}).await;
    s.publish_many("pu.a", 5).await;
    s.publish_many("pu.b", 5).await;
    s.purge("PU", Some("pu.a"), None, Some(2)).await;
    s.state("PU").await;
    s.purge("PU", None, Some(8), None).await;
    s.purge("PU", None, Some(8), Some(1)).await;
    s.purge("PU", Some("pu.nothing"), None, None).await;
    s.state("PU").await;
    s.purge("PU", None, None, None).await;
    s.state("PU").await;
    s.publish("pu.a").await;
    s.purge("NOPE", None, None, None).await;
    s.stream("D", |_| {}).await;
    s.publish_many("d.a", 4).await;
    for seq in [4, 1] {
        s.delete_message("D", seq).await;
        s.state("D").await;
    }
    for seq in [2, 3] {
        s.delete_message("D", seq).await;
    }
    s.state("D").await;
    for seq in [0, 4, 999] {
        s.delete_message("D", seq).await;
    }
    s.delete_message("NOPE", 1).await;
    s.purge("D", None, Some(100), None).await;
    s.state("D").await;
    s.publish("d.a").await;
    s.stream("ST", |_| {}).await;
    s.publish_with("st.a", "with headers", &[("A", "1"), ("A", "2"), ("Nats-Msg-Id", "id")]).await;
    for subject in ["st.b", "st.a", "st.b"] {
        s.publish(subject).await;
    }
    s.delete_message("ST", 2).await;
    s.state("ST").await;
    s.details("ST").await;
    s.stream("EMPTY", |_| {}).await;
    s.state("EMPTY").await;
    s.details("EMPTY").await;
    s.subjects("ST", "st.a").await;
    s.subjects("ST", "st.*").await;
    for by in [
        MessageBy::Seq(1),
        MessageBy::Seq(2),
        MessageBy::Seq(9),
        MessageBy::LastBySubject("st.a".into()),
        MessageBy::LastBySubject("st.*".into()),
        MessageBy::LastBySubject("st.z".into()),
        MessageBy::NextBySubject { subject: "st.b".into(), seq: 2 },
        MessageBy::NextBySubject { subject: "st.>".into(), seq: 1 },
        MessageBy::NextBySubject { subject: "st.a".into(), seq: 4 },
    ] {
        s.get("ST", by).await;
    }
    s.get("NOPE", MessageBy::Seq(1)).await;
    s.stream("DENY", |config| (config.deny_delete, config.deny_purge) = (true, true)).await;
    s.publish("deny.a").await;
    s.delete_message("DENY", 1).await;
    s.purge("DENY", None, None, None).await;
}

pub(crate) async fn limits(s: &mut Script<impl Side>) {
    s.stream("OLD", |config| config.max_msgs = 2).await;
    for subject in ["old.a", "old.b", "old.c"] {
        s.publish(subject).await;
    }
    s.state("OLD").await;
    s.stream("PER", |config| config.max_msgs_per_subject = 2).await;
    s.publish_many("per.a", 4).await;
    s.publish("per.b").await;
    s.state("PER").await;
    s.stream("BYTES", |config| config.max_bytes = 80).await;
    s.publish_many("bytes.a", 3).await;
    s.state("BYTES").await;
    s.publish_with("bytes.a", &"y".repeat(200), &[]).await;
    s.state("BYTES").await;
    s.publish("bytes.a").await;
    s.stream("UL", |_| {}).await;
    s.publish_many("ul.a", 10).await;
    s.update("UL", |config| config.max_msgs = 3).await;
    s.state("UL").await;
    s.update("UL", |config| config.max_msgs_per_subject = 1).await;
    s.state("UL").await;
    s.stream("AGE", |config| (config.max_age_ns, config.duplicate_window_ns) = (300 * MS, 300 * MS)).await;
    s.publish_many("age.a", 3).await;
    s.until_messages("AGE", 0).await;
    s.publish_with("age.a", "x", &[("Nats-Expected-Last-Subject-Sequence", "0")]).await;
    s.stream("NEW", |config| (config.discard, config.max_msgs) = (Discard::New, 2)).await;
    s.publish_many("new.a", 3).await;
    s.stream("NEWB", |config| (config.discard, config.max_bytes) = (Discard::New, 80)).await;
    s.publish_many("newb.a", 3).await;
    s.state("NEWB").await;
    for (name, per_subject) in [("NEWP", true), ("NEWO", false)] {
        s.stream(name, |config| {
            config.discard = Discard::New;
            config.max_msgs_per_subject = 1;
            config.discard_new_per_subject = per_subject;
        })
        .await;
        let name = name.to_lowercase();
        s.publish_many(&format!("{name}.a"), 2).await;
        s.publish(&format!("{name}.b")).await;
    }
    s.state("NEWP").await;
    s.state("NEWO").await;
    s.stream("ROLL", |config| config.allow_rollup_hdrs = true).await;
    s.durable("ROLL", "all", |_| {}).await;
    s.durable("ROLL", "a", |config| config.filter_subject = Some("roll.a".into())).await;
    s.publish_many("roll.a", 3).await;
    s.publish("roll.b").await;
    s.fetch("ROLL", "a", 1).await;
    for (subject, rollup) in [("roll.a", "sub"), ("roll.c", "all"), ("roll.c", "zzz")] {
        s.publish_with(subject, "x", &[("Nats-Rollup", rollup)]).await;
        s.state("ROLL").await;
        s.info("ROLL", "all").await;
        s.info("ROLL", "a").await;
    }
    s.publish_with("ul.a", "x", &[("Nats-Rollup", "sub")]).await;
}

/// Lower limits remove what is over them only where old messages give way to new ones.
pub(crate) async fn limits_of_what_is_there(s: &mut Script<impl Side>) {
    for (name, before, after) in [
        ("OO", Discard::Old, Discard::Old),
        ("ON", Discard::Old, Discard::New),
        ("NO", Discard::New, Discard::Old),
        ("NN", Discard::New, Discard::New),
    ] {
        let subject = format!("{}.a", name.to_lowercase());
        s.stream(name, |config| config.discard = before).await;
        s.publish_many(&subject, 4).await;
        s.update(name, |config| (config.discard, config.max_msgs) = (after, 2)).await;
        s.publish(&subject).await;
        s.update(name, |config| (config.max_msgs, config.max_bytes) = (-1, 80)).await;
        s.publish(&subject).await;
        s.update(name, |config| config.max_msgs_per_subject = 1).await;
        s.state(name).await;
    }
}

pub(crate) async fn what_is_gone(s: &mut Script<impl Side>) {
    for (name, storage) in [("GF", Storage::File), ("GM", Storage::Memory)] {
        s.stream(name, |config| config.storage = storage).await;
        s.delete_message(name, 1).await;
        s.publish_many(&format!("{}.a", name.to_lowercase()), 5).await;
        for seq in [3, 3, 5, 5, 1, 1, 9, 0] {
            s.delete_message(name, seq).await;
            s.get(name, MessageBy::LastBySubject(">".into())).await;
        }
        s.details(name).await;
    }
}
