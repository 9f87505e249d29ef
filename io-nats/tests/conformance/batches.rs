//! Atomic batches.

use crate::script::Script;
use crate::side::Side;
use cloudlysis_core::jetstream::api::{Discard, Retention};

type Headers<'h> = &'h [(&'h str, &'h str)];

/// Publishes a message of a batch; with a commit, if there is one.
async fn batched(s: &mut Script<impl Side>, subject: &str, of: (&str, &str, &str), more: Headers<'_>) {
    let (id, seq, commit) = of;
    let mut headers = vec![("Nats-Batch-Id", id), ("Nats-Batch-Sequence", seq)];
    headers.extend_from_slice(more);
    if !commit.is_empty() {
        headers.push(("Nats-Batch-Commit", commit));
    }
    s.publish_with(subject, "x", &headers).await;
}

/// Two messages, and what became of the stream.
async fn pair(s: &mut Script<impl Side>, subjects: [&str; 2], first: Headers<'_>, second: Headers<'_>) {
    batched(s, subjects[0], ("pair", "1", ""), first).await;
    batched(s, subjects[1], ("pair", "2", "1"), second).await;
    s.state("B").await;
}

pub(crate) async fn batches(s: &mut Script<impl Side>) {
    s.stream("B", |c| c.allow_atomic = true).await;
    batched(s, "b.a", ("1", "1", ""), &[]).await;
    batched(s, "b.b", ("1", "2", ""), &[]).await;
    s.state("B").await;
    batched(s, "b.c", ("1", "3", "1"), &[]).await;
    batched(s, "b.a", ("2", "1", "1"), &[]).await;
    batched(s, "b.a", ("3", "1", ""), &[]).await;
    batched(s, "b.a", ("3", "2", "eob"), &[]).await;
    s.contents("B", 5).await;
    for steps in [
        &[("1", "eob")][..],
        &[("1", ""), ("2", "x"), ("2", "1")],
        &[("1", "0")],
        &[("1", ""), ("3", ""), ("2", ""), ("3", "1")],
        &[("2", "")],
        &[("0", "")],
        &[("x", "1")],
        &[("", "")],
        &[("1", ""), ("1", ""), ("2", "1")],
    ] {
        for (seq, commit) in steps {
            batched(s, "b.a", ("odd", seq, commit), &[]).await;
        }
    }
    for id in ["i".repeat(64), "i".repeat(65), "a.b c>".into()] {
        batched(s, "b.a", (&id, "1", "1"), &[]).await;
    }
    s.publish_with("b.a", "x", &[("Nats-Batch-Sequence", "1")]).await;
    s.publish_with("b.a", "x", &[("Nats-Batch-Commit", "1")]).await;
    s.state("B").await;
    s.update("B", |c| c.allow_atomic = false).await;
    batched(s, "b.a", ("1", "1", ""), &[]).await;
    batched(s, "b.a", (&"i".repeat(65), "1", "x"), &[]).await;
}

pub(crate) async fn what_a_batch_expects(s: &mut Script<impl Side>) {
    s.stream("B", |c| (c.allow_atomic, c.duplicate_window_ns) = (true, 60_000_000_000)).await;
    s.publish("b.a").await;
    let last = |seq: &'static str| [("Nats-Expected-Last-Sequence", seq)];
    let on = |seq: &'static str| [("Nats-Expected-Last-Subject-Sequence", seq)];
    pair(s, ["b.a", "b.b"], &last("1"), &[]).await;
    pair(s, ["b.a", "b.b"], &last("1"), &[]).await;
    pair(s, ["b.a", "b.b"], &[], &last("3")).await;
    pair(s, ["b.a", "b.b"], &[], &last("4")).await;
    pair(s, ["b.n", "b.m"], &on("0"), &on("0")).await;
    pair(s, ["b.n", "b.o"], &on("0"), &on("0")).await;
    pair(s, ["b.o", "b.n"], &on("0"), &on("0")).await;
    pair(s, ["b.p", "b.p"], &on("0"), &on("0")).await;
    pair(s, ["b.p", "b.p"], &on("0"), &on("6")).await;
    pair(s, ["b.p", "b.p"], &[], &on("0")).await;
    pair(s, ["b.p", "b.p"], &on("0"), &[]).await;
    let about = |seq: &'static str, subject: &'static str| {
        [
            ("Nats-Expected-Last-Subject-Sequence", seq),
            ("Nats-Expected-Last-Subject-Sequence-Subject", subject),
        ]
    };
    pair(s, ["b.x", "b.y"], &about("0", "b.z"), &about("0", "b.z")).await;
    pair(s, ["b.x", "b.y"], &[], &about("9", "b.x")).await;
    pair(s, ["b.x", "b.y"], &on("10"), &on("10")).await;
    let id = |id: &'static str| [("Nats-Msg-Id", id)];
    pair(s, ["b.a", "b.a"], &id("1"), &id("1")).await;
    pair(s, ["b.a", "b.a"], &id("1"), &id("2")).await;
    pair(s, ["b.a", "b.a"], &id("3"), &id("2")).await;
    pair(s, ["b.a", "b.a"], &[], &[("Nats-Expected-Last-Msg-Id", "2")]).await;
    pair(s, ["b.a", "b.a"], &[("Nats-Expected-Last-Msg-Id", "2")], &[]).await;
    pair(s, ["b.a", "b.a"], &[("Nats-Expected-Stream", "X")], &[]).await;
    pair(s, ["b.a", "b.a"], &[("Nats-Expected-Stream", "B")], &[]).await;
    pair(s, ["b.a", "b.a"], &[("Nats-Rollup", "sub")], &[]).await;
    pair(s, ["b.a", "b.a"], &[], &[("Nats-TTL", "1s")]).await;
    pair(s, ["b.a", "b.a"], &[], &[("Nats-Incr", "1")]).await;
}

pub(crate) async fn batches_within_limits(s: &mut Script<impl Side>) {
    s.stream("B", |c| (c.allow_atomic, c.discard, c.max_msgs) = (true, Discard::New, 3)).await;
    s.publish("b.a").await;
    batched(s, "b.a", ("1", "1", ""), &[]).await;
    batched(s, "b.a", ("1", "2", ""), &[]).await;
    batched(s, "b.a", ("1", "3", "1"), &[]).await;
    s.state("B").await;
    pair(s, ["b.a", "b.a"], &[], &[]).await;
    pair(s, ["b.a", "b.a"], &[], &[]).await;
    s.delete_stream("B").await;
    s.stream("B", |c| (c.allow_atomic, c.max_msgs) = (true, 1)).await;
    pair(s, ["b.a", "b.b"], &[], &[]).await;
    s.delete_stream("B").await;
    s.stream("B", |c| (c.allow_atomic, c.max_msg_size) = (true, 120)).await;
    let large = "x".repeat(100);
    for (seq, commit, body) in
        [("1", "", &*large), ("2", "1", "x"), ("1", "", "x"), ("2", "1", &large), ("2", "1", "x")]
    {
        let mut headers = vec![("Nats-Batch-Id", "1"), ("Nats-Batch-Sequence", seq)];
        if !commit.is_empty() {
            headers.push(("Nats-Batch-Commit", commit));
        }
        s.publish_with("b.a", body, &headers).await;
    }
    s.state("B").await;
    s.stream("I", |c| (c.allow_atomic, c.retention) = (true, Retention::Interest)).await;
    batched(s, "i.a", ("1", "1", ""), &[]).await;
    batched(s, "i.a", ("1", "2", "1"), &[]).await;
    s.state("I").await;
}
