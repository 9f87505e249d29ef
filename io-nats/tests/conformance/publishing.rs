//! What a publisher is told.

use crate::script::{MS, Script};
use crate::side::Side;

const ID: &str = "Nats-Msg-Id";
const STREAM: &str = "Nats-Expected-Stream";
const LAST: &str = "Nats-Expected-Last-Sequence";
const LAST_ON: &str = "Nats-Expected-Last-Subject-Sequence";
const LAST_ON_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";
const LAST_ID: &str = "Nats-Expected-Last-Msg-Id";

pub(crate) async fn expectations(s: &mut Script<impl Side>) {
    s.stream("E", |_| {}).await;
    for (subject, headers) in [
        ("e.a", &[(LAST_ON, "0")][..]),
        ("e.a", &[(LAST_ON, "0")]),
        ("e.a", &[(LAST_ON, "1")]),
        ("e.b", &[(LAST_ON, "0"), (STREAM, "E")]),
        ("e.b", &[(LAST_ON, "3"), (STREAM, "F")]),
        ("e.b", &[(LAST, "3")]),
        ("e.b", &[(LAST, "3")]),
        ("e.b", &[(LAST, "four")]),
        ("e.b", &[(LAST_ON, "four")]),
        ("e.c", &[(LAST_ON_SUBJECT, "e.a")]),
        ("e.c", &[(LAST_ON, "2"), (LAST_ON_SUBJECT, "e.a")]),
        ("e.c", &[(LAST_ON, "5"), (LAST_ON_SUBJECT, "e.*")]),
        ("e.c", &[(LAST_ON, "99")]),
        ("e.d", &[(ID, "d1")]),
        ("e.d", &[(LAST_ID, "d1"), (ID, "d2")]),
        ("e.d", &[(LAST_ID, "d1")]),
        ("e.d", &[]),
        ("e.d", &[(LAST_ID, "d2")]),
    ] {
        s.publish_with(subject, "x", headers).await;
    }
    s.state("E").await;
    // The last stored message counts: after a delete the one before, after a purge none.
    s.publish_many("e.g", 2).await;
    s.delete_message("E", 11).await;
    s.publish_with("e.g", "x", &[(LAST_ON, "11")]).await;
    s.publish_with("e.g", "x", &[(LAST_ON, "10")]).await;
    s.purge("E", Some("e.g"), None, None).await;
    s.publish_with("e.g", "x", &[(LAST_ON, "0")]).await;
    s.state("E").await;
}

pub(crate) async fn duplicates(s: &mut Script<impl Side>) {
    s.stream("D", |_| {}).await;
    for (subject, headers) in [
        ("d.a", &[(ID, "1")][..]),
        ("d.a", &[(ID, "1")]),
        ("d.other", &[(ID, "1")]),
        ("d.a", &[("nats-msg-id", "1")]),
        // A lost ack: on one replica the repetition contradicts its own first attempt.
        ("d.k", &[(ID, "k1"), (LAST_ON, "0")]),
        ("d.k", &[(ID, "k1"), (LAST_ON, "0")]),
        ("d.k", &[(ID, "k2"), (LAST, "3")]),
        ("d.k", &[(ID, "k2"), (LAST, "3")]),
        ("d.k", &[(ID, "k3"), (LAST_ID, "k2")]),
        ("d.k", &[(ID, "k3"), (LAST_ID, "k2")]),
    ] {
        s.publish_with(subject, "x", headers).await;
    }
    // Ids outlive their messages while the broker runs.
    s.delete_message("D", 1).await;
    s.publish_with("d.a", "x", &[(ID, "1")]).await;
    s.purge("D", None, None, None).await;
    s.publish_with("d.a", "x", &[(ID, "1")]).await;
    s.state("D").await;
    s.stream("W", |config| config.duplicate_window_ns = 400 * MS).await;
    s.publish_with("w.a", "x", &[(ID, "1")]).await;
    s.publish_with("w.a", "x", &[(ID, "1")]).await;
    s.publish_until_new("w.a", "1").await;
    s.state("W").await;
}

pub(crate) async fn refusals(s: &mut Script<impl Side>) {
    s.publish("nobody.home").await;
    s.stream("S", |config| config.max_msg_size = 10).await;
    s.publish_with("s.a", &"x".repeat(11), &[]).await;
    s.publish_with("s.a", &"x".repeat(10), &[]).await;
    s.publish_with("s.a", "x", &[("A", "b")]).await;
    s.stream("F", |_| {}).await;
    let huge = "v".repeat(66_000);
    s.publish_with("f.a", "x", &[("H", &huge)]).await;
    for header in ["Nats-TTL", "Nats-Incr", "Nats-Batch-Id", "Nats-Schedule", "Nats-Stream-Source"] {
        s.publish_with("f.a", "x", &[(header, "1")]).await;
    }
    s.state("F").await;
}
