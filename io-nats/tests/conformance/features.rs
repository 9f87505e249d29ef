//! What streams do with subjects, counts, ages and publishers.

use crate::script::{S, Script};
use crate::side::Side;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Republish, StreamConfig, SubjectTransform};

fn transform(src: &str, dest: &str) -> SubjectTransform {
    SubjectTransform { src: src.into(), dest: dest.into() }
}

pub(crate) async fn subject_transforms(s: &mut Script<impl Side>) {
    for (nth, (src, dest)) in [
        ("t.*", "u.{{wildcard(1)}}"),
        ("", "u.>"),
        ("t.>", "u.v.>"),
        ("t.*", ""),
        ("t.*", "u"),
        ("t.*", "u.$0"),
        ("t.*", "u.{{partition(3)}}"),
        ("t.*", "u.{{partition(10,1)}}.$1"),
        ("t.*", "u.{{split(1,-)}}"),
        ("t.*", "u.{{SplitFromLeft(1,2)}}"),
        ("t.*", "u.{{splitFromRight(1,2)}}"),
        ("t.*", "u.{{SliceFromLeft(1,2)}}"),
        ("t.*", "u.{{sliceFromRight(1,2)}}"),
        ("t.*", "u.{{left(1,3)}}"),
        ("t.*", "u.{{right(1,3)}}"),
        ("t..x", "u.>"),
        ("t.*", "u.>"),
        ("t.*", "u.*"),
        ("t.*", "u.$2"),
        ("t.x", "u.$1"),
        ("t.*", "u.{{foo(1)}}"),
        ("t.*", "u.{{wildcard()}}"),
        ("t.*", "u.{{wildcard(1,2)}}"),
        ("t.*", "u.{{wildcard(x)}}"),
        ("t.*", "u.{{partition(3,2)}}"),
        ("t.*", "u.{{split(1)}}"),
        ("t.*", "u.{{split(1,.)}}"),
        ("t.*", "u.{{splitFromLeft(1,x)}}"),
        ("t.*", "u.x{{wildcard(1)}}"),
    ]
    .into_iter()
    .enumerate()
    {
        // The real server takes the files of a stream away some time after its name: every case has its own.
        let (name, old, new) = (format!("T{nth}"), "t.", format!("t{nth}."));
        let src = if src.starts_with(old) { src.replacen(old, &new, 1) } else { src.to_owned() };
        let wanted = transform(&src, dest);
        s.stream(&name, move |c: &mut StreamConfig| c.subject_transform = Some(wanted)).await;
        for rest in ["a-bc--d", "12345", "x.y"] {
            s.publish(&format!("{new}{rest}")).await;
        }
        for seq in 1..=3 {
            s.get(&name, MessageBy::Seq(seq)).await;
        }
        s.subjects(&name, ">").await;
    }
    // Expectations and roll-ups mean the new subject.
    s.stream("X", |c| {
        c.subject_transform = Some(transform("x.*", "y.$1"));
        c.allow_rollup_hdrs = true;
    })
    .await;
    s.publish("x.a").await;
    s.publish_with("x.a", "x", &[("Nats-Expected-Last-Subject-Sequence", "0")]).await;
    s.publish_with("x.a", "x", &[("Nats-Expected-Last-Subject-Sequence", "1")]).await;
    s.publish_with("x.a", "x", &[("Nats-Rollup", "sub")]).await;
    s.state("X").await;
    s.update("X", |c| c.subject_transform = None).await;
    s.publish("x.a").await;
    s.subjects("X", ">").await;
    let republish =
        |src: &str, dest: &str| Republish { src: src.into(), dest: dest.into(), headers_only: false };
    let cases = [("r.>", "s.>"), ("", "s.>"), ("r.>", "r.>"), ("r.*", "s.>"), ("r.>", ""), (">", ">")];
    for (nth, (src, dest)) in cases.into_iter().enumerate() {
        let wanted = republish(src, dest);
        s.stream(&format!("RA{nth}"), move |c| c.republish = Some(wanted)).await;
        let wanted = republish(src, dest);
        s.stream(&format!("RB{nth}"), move |c| {
            c.republish = Some(wanted);
            c.subject_transform = Some(transform(&format!("rb{nth}.>"), "w.>"));
        })
        .await;
        s.publish(&format!("rb{nth}.a")).await;
        let wanted = republish(src, dest);
        s.pedantic(&format!("RC{nth}"), move |c| c.republish = Some(wanted)).await;
    }
}

pub(crate) async fn counters(s: &mut Script<impl Side>) {
    s.stream("N", |c| (c.allow_msg_counter, c.allow_rollup_hdrs) = (true, true)).await;
    let large = "9".repeat(44);
    for (payload, headers) in [
        ("", &[("Nats-Incr", "1")][..]),
        ("", &[("Nats-Incr", "+2")]),
        ("", &[("Nats-Incr", "-10")]),
        ("", &[]),
        ("x", &[("Nats-Incr", "1")]),
        ("x", &[("Nats-Incr", "x")]),
        ("", &[("Nats-Incr", "1.5")]),
        ("", &[("Nats-Incr", "0x10")]),
        ("", &[("Nats-Incr", &large)]),
        ("", &[("Nats-Incr", "0")]),
        ("", &[("Nats-Incr", "007")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Msg-Id", "a")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Msg-Id", "a")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Rollup", "sub")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Expected-Last-Sequence", "3")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Expected-Last-Subject-Sequence", "3")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Expected-Last-Msg-Id", "a")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Expected-Stream", "N")]),
        ("", &[("Nats-Incr", "1"), ("Nats-TTL", "1s")]),
        ("", &[("Nats-Incr", "1"), ("Nats-Batch-Id", "x")]),
        ("x", &[("Nats-Expected-Stream", "X")]),
    ] {
        s.publish_with("n.a", payload, headers).await;
    }
    s.publish_with("n.b", "", &[("Nats-Incr", "5")]).await;
    s.state("N").await;
    s.get("N", MessageBy::LastBySubject("n.a".into())).await;
    s.get("N", MessageBy::LastBySubject("n.b".into())).await;
    s.purge("N", Some("n.a"), None, None).await;
    s.publish_with("n.a", "", &[("Nats-Incr", "-1")]).await;
    s.restart().await;
    s.publish_with("n.a", "", &[("Nats-Incr", "-1")]).await;
    s.update("N", |c| c.allow_msg_counter = false).await;
    s.stream("OFF", |_| {}).await;
    s.publish_with("off.a", "", &[("Nats-Incr", "1")]).await;
}

pub(crate) async fn message_ttl(s: &mut Script<impl Side>) {
    s.stream("OFF", |_| {}).await;
    s.publish_with("off.a", "", &[("Nats-TTL", "1s")]).await;
    s.stream("D", |c| (c.allow_msg_ttl, c.subject_delete_marker_ttl_ns) = (true, 2 * S)).await;
    for ttl in ["0", "-1", "500ms", "x", ""] {
        s.publish_with("d.bad", "x", &[("Nats-TTL", ttl)]).await;
    }
    for (subject, ttl) in [("d.a", "1s"), ("d.b", "1"), ("d.c", "never"), ("d.d", "1h"), ("d.e", "1s")] {
        s.publish_with(subject, "x", &[("Nats-TTL", ttl)]).await;
    }
    s.publish("d.e").await;
    s.until_marked("D", "d.a").await;
    s.restart().await;
    s.until_messages("D", 6).await;
    s.get("D", MessageBy::LastBySubject("d.a".into())).await;
    s.get("D", MessageBy::LastBySubject("d.b".into())).await;
    s.get("D", MessageBy::LastBySubject("d.e".into())).await;
    // Markers go, and leave nothing.
    s.until_messages("D", 4).await;
    s.update("D", |c| c.allow_msg_ttl = false).await;
    s.stream("AGE", |c| {
        (c.allow_msg_ttl, c.max_age_ns, c.duplicate_window_ns) = (true, 2 * S, S);
    })
    .await;
    for (subject, ttl) in [("age.a", "never"), ("age.b", "1h")] {
        s.publish_with(subject, "x", &[("Nats-TTL", ttl)]).await;
    }
    s.publish("age.c").await;
    s.until_messages("AGE", 1).await;
    s.get("AGE", MessageBy::Seq(1)).await;
}

pub(crate) async fn unacknowledged(s: &mut Script<impl Side>) {
    s.stream("Q", |c| (c.no_ack, c.max_msg_size) = (true, 3)).await;
    s.publish("q.a").await;
    s.publish_with("q.a", "too large", &[]).await;
    s.state("Q").await;
    s.update("Q", |c| c.no_ack = false).await;
    s.publish("q.a").await;
}
