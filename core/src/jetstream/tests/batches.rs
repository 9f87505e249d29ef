//! Atomic batches.

use super::super::api::Discard;
use super::{Bench, answers};
use crate::jetstream::advisory::Abandoned;
use crate::jetstream::{Answer, Effect, Input, Publish, advisory::Event};
use crate::wire::header_block::HeaderBlock;
use bytes::Bytes;

/// Publishes a message of a batch: `stream seq of batch/count`, nothing while it is staged, the error, or `silence`.
fn batched(bench: &mut Bench, subject: &str, of: (&str, u64, &str), headers: &[(&str, &str)]) -> String {
    let (id, seq, commit) = of;
    let (inbox, seq) = (bench.inbox(), seq.to_string());
    let mut block: HeaderBlock =
        [("Nats-Batch-Id", id), ("Nats-Batch-Sequence", seq.as_str())].into_iter().collect();
    block.append_all(headers);
    if !commit.is_empty() {
        block.append("Nats-Batch-Commit", commit);
    }
    let payload = if headers.iter().any(|(name, _)| *name == "Nats-Incr") { "" } else { "x" };
    let publish = Publish {
        subject: subject.to_owned(),
        reply: Some(inbox.clone()),
        headers: block,
        payload: Bytes::from_static(payload.as_bytes()),
    };
    match answers(bench.turn(vec![Input::Published(publish)]), &inbox).pop() {
        None => "silence".into(),
        Some(Answer::Staged) => String::new(),
        Some(Answer::BatchPublished { stream, seq, batch, count }) => {
            format!("{stream} {seq} of {batch}/{count}")
        }
        Some(Answer::NotPublished { error, .. }) => super::refused(&error),
        other => panic!("{other:?}"),
    }
}

fn abandoned(effects: &[Effect]) -> Vec<Abandoned> {
    let reason = |effect: &Effect| {
        let Effect::Advise { body, .. } = effect else { return None };
        let Event::BatchAbandoned { reason, .. } = &body.event else { return None };
        Some(*reason)
    };
    effects.iter().filter_map(reason).collect()
}

#[test]
fn a_batch_is_stored_whole() {
    let mut bench = Bench::new();
    bench.stream("B", |config| config.allow_atomic = true);
    bench.durable("B", "c", |_| {});
    assert_eq!(batched(&mut bench, "b.a", ("1", 1, ""), &[]), "");
    assert_eq!(batched(&mut bench, "b.b", ("1", 2, ""), &[]), "");
    assert_eq!(bench.publish("b.other"), "B 1");
    assert_eq!(bench.state("B").messages, 1);
    assert_eq!(batched(&mut bench, "b.c", ("1", 3, "1"), &[]), "B 4 of 1/3");
    assert_eq!(bench.fetch("B", "c", 9), ["1.1.1 3", "1.2.2 2", "1.3.3 1", "1.4.4 0", "404 No Messages"]);
    bench.crash();
    assert_eq!(bench.state("B").messages, 4);
    assert_eq!(batched(&mut bench, "b.a", ("2", 1, ""), &[]), "");
    assert_eq!(batched(&mut bench, "b.a", ("2", 2, "eob"), &[]), "B 5 of 2/1");
}

#[test]
fn a_batch_that_cannot_be_stored_leaves_nothing() {
    let mut bench = Bench::new();
    bench.stream("B", |config| {
        (config.allow_atomic, config.discard, config.max_msgs) = (true, Discard::New, 4);
    });
    bench.publish("b.a");
    let expects = |seq: &'static str| [("Nats-Expected-Last-Subject-Sequence", seq)];
    batched(&mut bench, "b.new", ("1", 1, ""), &expects("0"));
    let wrong = batched(&mut bench, "b.a", ("1", 2, "1"), &expects("0"));
    assert_eq!(wrong, "400 10071 wrong last sequence: 1");
    batched(&mut bench, "b.new", ("2", 1, ""), &expects("0"));
    let conflict = batched(&mut bench, "b.new", ("2", 2, "1"), &expects("0"));
    assert_eq!(conflict, "400 10164 wrong last sequence");
    for seq in 1..4 {
        batched(&mut bench, "b.c", ("3", seq, ""), &[]);
    }
    assert_eq!(batched(&mut bench, "b.c", ("3", 4, "1"), &[]), "503 10077 maximum messages exceeded");
    assert_eq!(bench.show("B"), "1/34 1..1 0");
    batched(&mut bench, "b.new", ("4", 1, ""), &expects("0"));
    assert_eq!(batched(&mut bench, "b.a", ("4", 2, "1"), &expects("1")), "B 3 of 4/2");
}

#[test]
fn a_batch_that_does_not_go_on_is_abandoned() {
    let mut bench = Bench::new();
    bench.stream("B", |config| config.allow_atomic = true);
    batched(&mut bench, "b.a", ("1", 1, ""), &[]);
    bench.advance(9_999);
    batched(&mut bench, "b.a", ("1", 2, ""), &[]);
    assert_eq!(abandoned(&bench.advance(9_999)), []);
    assert_eq!(abandoned(&bench.advance(1)), [Abandoned::Timeout]);
    let incomplete = "400 10176 atomic publish batch is incomplete";
    assert_eq!(batched(&mut bench, "b.a", ("1", 3, "1"), &[]), incomplete);
    // A gap ends it, and so does a restart.
    batched(&mut bench, "b.a", ("2", 1, ""), &[]);
    assert_eq!(batched(&mut bench, "b.a", ("2", 3, ""), &[]), incomplete);
    assert_eq!(batched(&mut bench, "b.a", ("2", 2, "1"), &[]), incomplete);
    batched(&mut bench, "b.a", ("3", 1, ""), &[]);
    bench.crash();
    assert_eq!(batched(&mut bench, "b.a", ("3", 2, "1"), &[]), incomplete);
    assert_eq!(bench.state("B").messages, 0);
}

#[test]
fn batches_are_bounded() {
    let mut bench = Bench::new();
    bench.stream("B", |config| config.allow_atomic = true);
    for nth in 0..50 {
        batched(&mut bench, "b.a", (&nth.to_string(), 1, ""), &[]);
    }
    assert_eq!(batched(&mut bench, "b.a", ("more", 1, ""), &[]), "silence");
    let many = "429 10210 atomic publish too many inflight";
    assert_eq!(batched(&mut bench, "b.a", ("more", 1, "1"), &[]), many);
    for seq in 2..=1000 {
        batched(&mut bench, "b.a", ("0", seq, ""), &[]);
    }
    let large = "400 10199 atomic publish batch is too large: 1000";
    assert_eq!(batched(&mut bench, "b.a", ("0", 1001, ""), &[]), large);
    assert_eq!(batched(&mut bench, "b.a", ("more", 1, "1"), &[]), "B 1 of more/1");
}

#[test]
fn a_batch_counts_on_what_it_has_counted() {
    let mut bench = Bench::new();
    bench.stream("N", |config| (config.allow_atomic, config.allow_msg_counter) = (true, true));
    let incr = [("Nats-Incr", "2")];
    batched(&mut bench, "n.a", ("1", 1, ""), &incr);
    assert_eq!(batched(&mut bench, "n.a", ("1", 2, "1"), &incr), "N 2 of 1/2");
    assert_eq!(bench.publish_with("n.a", "", &incr), "N 3 counts 6");
}
