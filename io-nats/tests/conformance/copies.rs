//! Mirrors and sources.

use crate::script::Script;
use crate::side::Side;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Retention, StreamConfig, StreamSource, SubjectTransform};

fn source(name: &str) -> StreamSource {
    StreamSource { name: name.into(), ..StreamSource::default() }
}

fn transforms() -> Vec<SubjectTransform> {
    let transform = |src: &str, dest: &str| SubjectTransform { src: src.into(), dest: dest.into() };
    vec![transform("o.a", "z.{{partition(3)}}"), transform("o.c", "")]
}

fn mirror(of: StreamSource) -> impl FnOnce(&mut StreamConfig) {
    move |config| (config.mirror, config.subjects) = (Some(of), Vec::new())
}

async fn fill(s: &mut Script<impl Side>) {
    s.stream("O", |_| {}).await;
    for subject in ["o.a", "o.b", "o.a"] {
        s.publish(subject).await;
    }
    s.delete_message("O", 2).await;
    s.publish_with("o.c", "y", &[("H", "1")]).await;
}

/// The messages of a stream, once it has so many.
async fn contents(s: &mut Script<impl Side>, stream: &str, messages: u64, last: u64) {
    s.until_copied(stream, messages).await;
    for seq in 1..=last {
        s.get(stream, MessageBy::Seq(seq)).await;
    }
    s.subjects(stream, ">").await;
}

pub(crate) async fn mirrors(s: &mut Script<impl Side>) {
    fill(s).await;
    let filtered = StreamSource { filter_subject: "o.a".into(), ..source("O") };
    let late = StreamSource { opt_start_seq: 3, ..source("O") };
    let rewritten = StreamSource { subject_transforms: transforms(), ..source("O") };
    for (name, of, messages) in
        [("ALL", source("O"), 3), ("FILTERED", filtered, 2), ("LATE", late, 2), ("REWRITTEN", rewritten, 3)]
    {
        s.stream(name, mirror(of)).await;
        contents(s, name, messages, 4).await;
    }
    s.publish("o.d").await;
    contents(s, "ALL", 4, 5).await;
    s.publish("all.a").await;
    s.purge("ALL", None, None, None).await;
    s.publish("o.e").await;
    contents(s, "ALL", 1, 6).await;
    s.update("ALL", |c| c.mirror = Some(source("P"))).await;
    s.update("ALL", |c| c.max_msgs = 10).await;
    s.update("ALL", |c| (c.mirror, c.subjects) = (None, vec!["all.>".into()])).await;
    s.publish("all.a").await;
    s.stream("NONE", mirror(source("NOPE"))).await;
    s.stream("QUEUE", |c| c.retention = Retention::Workqueue).await;
    s.publish_many("queue.a", 2).await;
    s.delete_message("QUEUE", 1).await;
    s.delete_message("QUEUE", 2).await;
    s.stream("EMPTY", mirror(source("QUEUE"))).await;
    s.until_last("EMPTY", 2).await;
}

pub(crate) async fn sources(s: &mut Script<impl Side>) {
    fill(s).await;
    s.stream("S", |c| c.sources = vec![source("O")]).await;
    contents(s, "S", 3, 3).await;
    s.publish("s.own").await;
    s.publish("o.c").await;
    contents(s, "S", 5, 5).await;
    let only_c = StreamSource { filter_subject: "o.c".into(), ..source("O") };
    let late = StreamSource { opt_start_seq: 4, ..source("O") };
    let rewritten = StreamSource { subject_transforms: transforms(), ..source("O") };
    for (name, of, messages) in [("C", only_c, 2), ("LATE", late, 2), ("REWRITTEN", rewritten, 4)] {
        s.stream(name, move |c| c.sources = vec![of]).await;
        contents(s, name, messages, messages).await;
    }
    s.stream("MOVED", |c| {
        c.sources = vec![StreamSource { opt_start_seq: 5, ..source("O") }];
        c.subject_transform = Some(SubjectTransform { src: ">".into(), dest: "moved.>".into() });
    })
    .await;
    contents(s, "MOVED", 1, 1).await;
    s.stream("QUEUE", |c| c.retention = Retention::Workqueue).await;
    s.publish_many("queue.a", 3).await;
    s.stream("TAKES", |c| c.sources = vec![source("QUEUE")]).await;
    contents(s, "TAKES", 3, 3).await;
    s.until_messages("QUEUE", 0).await;
    // A copy of a copy says where it came from last.
    s.stream("AGAIN", |c| c.sources = vec![source("LATE")]).await;
    contents(s, "AGAIN", 2, 2).await;
}

pub(crate) async fn copies_over_a_restart(s: &mut Script<impl Side>) {
    fill(s).await;
    s.stream("M", mirror(source("O"))).await;
    s.stream("S", |c| c.sources = vec![source("O")]).await;
    contents(s, "M", 3, 4).await;
    contents(s, "S", 3, 3).await;
    s.restart().await;
    s.publish("o.d").await;
    contents(s, "M", 4, 5).await;
    contents(s, "S", 4, 4).await;
    s.crash().await;
    s.publish("o.e").await;
    contents(s, "M", 5, 6).await;
    contents(s, "S", 5, 5).await;
}

pub(crate) async fn refused_origins(s: &mut Script<impl Side>) {
    s.stream("A", |c| (c.max_msg_size, c.allow_direct) = (100, true)).await;
    let both = || StreamSource { filter_subject: "x".into(), ..with(&[("x", "y")]) };
    fn with(transforms: &[(&str, &str)]) -> StreamSource {
        let subject_transforms = transforms
            .iter()
            .map(|(src, dest)| SubjectTransform { src: (*src).into(), dest: (*dest).into() })
            .collect();
        StreamSource { subject_transforms, ..source("A") }
    }
    let bad = |filter: &str| StreamSource { filter_subject: filter.into(), ..source("A") };
    let origins = [
        source("A"),
        source("a.b"),
        source(""),
        source("B"),
        both(),
        with(&[("x.*", "y.$1"), ("x.a", "z")]),
        with(&[("x..*", "y")]),
        with(&[("x.*", "y.$2")]),
        bad("a..b"),
    ];
    for origin in origins {
        let of = origin.clone();
        s.stream("B", move |c| c.sources = vec![of]).await;
        s.delete_stream("B").await;
        s.stream("B", mirror(origin)).await;
        s.delete_stream("B").await;
    }
    for change in [
        (|c| c.max_msg_size = 50) as fn(&mut StreamConfig),
        |c| c.subjects = vec!["b.>".into()],
        |c| c.sources = vec![source("Z")],
        |c| c.first_seq = 3,
        |c| c.allow_msg_counter = true,
        |c| c.allow_atomic = true,
        |c| c.allow_batched = true,
        |c| c.allow_msg_schedules = true,
        |c| c.subject_delete_marker_ttl_ns = 1_000_000_000,
        |c| c.mirror_direct = true,
    ] {
        s.stream("B", move |c| {
            mirror(source("A"))(c);
            change(c);
        })
        .await;
        s.delete_stream("B").await;
    }
    s.pedantic("B", mirror(source("A"))).await;
    s.stream("B", |c| c.sources = vec![source("A"), source("A")]).await;
    s.stream("B", |c| (c.sources, c.max_msg_size) = (vec![source("A")], 50)).await;
    s.stream("B", |c| (c.sources, c.allow_msg_schedules) = (vec![source("A")], true)).await;
    s.stream("B", |c| c.sources = vec![source("A")]).await;
    s.update("A", |c| c.sources = vec![source("B")]).await;
    s.update("A", |c| (c.mirror, c.subjects) = (Some(source("B")), Vec::new())).await;
}
