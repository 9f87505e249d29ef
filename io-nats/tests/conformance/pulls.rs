//! Pull requests and every way they end.

use crate::script::{MS, S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::api::PullRequest;

fn with_heartbeat(expires_ns: u64, idle_heartbeat_ns: u64) -> PullRequest {
    PullRequest { idle_heartbeat_ns, ..waiting(3, expires_ns) }
}

pub(crate) async fn how_a_pull_ends(s: &mut Script<impl Side>) {
    s.stream("P", |_| {}).await;
    s.durable("P", "c", |_| {}).await;
    s.fetch("P", "c", 1).await;
    let since = s.now();
    s.pull("P", "c", waiting(3, 300 * MS)).await;
    s.at_least(300, since);
    s.pull("P", "c", PullRequest { no_wait: true, ..waiting(1, 300 * MS) }).await;
    s.pull("P", "c", with_heartbeat(700 * MS, 200 * MS)).await;
    s.pull("P", "c", with_heartbeat(300 * MS, 200 * MS)).await;
    s.pull("P", "c", with_heartbeat(0, 200 * MS)).await;
    s.pull("P", "nope", waiting(1, 300 * MS)).await;
    s.pull("Q", "c", waiting(1, 300 * MS)).await;
    s.publish_many("p.a", 5).await;
    s.fetch("P", "c", 3).await;
    s.fetch("P", "c", 10).await;
    s.info("P", "c").await;
    // A heartbeat names the last delivery.
    s.publish("p.a").await;
    s.pull("P", "c", with_heartbeat(700 * MS, 300 * MS)).await;
    s.durable("P", "d", |_| {}).await;
    s.pull("P", "d", PullRequest { no_wait: true, ..waiting(9, S) }).await;
    for payload in ["a", "b"] {
        s.publish_with("p.b", payload, &[("Nats-Msg-Id", payload), ("x-trace", "t")]).await;
    }
    s.fetch("P", "d", 2).await;
}

pub(crate) async fn several_pulls(s: &mut Script<impl Side>) {
    s.stream("TP", |_| {}).await;
    s.durable("TP", "c", |_| {}).await;
    let first = s.start("TP", "c", waiting(3, 5 * S)).await;
    let second = s.start("TP", "c", waiting(3, 5 * S)).await;
    s.info("TP", "c").await;
    for _ in 0..6 {
        s.publish("tp.a").await;
        s.info("TP", "c").await;
    }
    s.end(first).await;
    s.end(second).await;
    // One that cannot take the next message gives way.
    s.stream("M", |_| {}).await;
    s.durable("M", "c", |_| {}).await;
    let small = s.start("M", "c", PullRequest { max_bytes: 50, ..waiting(5, 5 * S) }).await;
    let large = s.start("M", "c", waiting(2, 5 * S)).await;
    for _ in 0..3 {
        s.publish("m.a").await;
        s.info("M", "c").await;
    }
    s.end(small).await;
    s.end(large).await;
    for stream in ["GONE", "LOST"] {
        s.stream(stream, |_| {}).await;
        s.durable(stream, "c", |_| {}).await;
        let left = s.start(stream, "c", waiting(1, 5 * S)).await;
        if stream == "GONE" {
            s.delete_consumer(stream, "c").await;
        } else {
            s.delete_stream(stream).await;
        }
        s.end(left).await;
    }
    s.stream("PW", |_| {}).await;
    s.durable("PW", "w", |config| config.max_waiting = 1).await;
    let one = s.start("PW", "w", waiting(1, 5 * S)).await;
    let two = s.start("PW", "w", waiting(1, 5 * S)).await;
    s.end(two).await;
    // Towards a client that will miss the heartbeat the server stays silent.
    let mut three = s.start("PW", "w", with_heartbeat(2 * S, S)).await;
    s.silence(&mut three, 300).await;
    s.publish("pw.a").await;
    s.end(one).await;
}

pub(crate) async fn bounds_of_a_pull(s: &mut Script<impl Side>) {
    s.stream("P2", |_| {}).await;
    s.durable("P2", "c", |_| {}).await;
    for _ in 0..5 {
        s.publish_with("p2.a", &"0123456789".repeat(10), &[]).await;
    }
    let bytes = |batch, max_bytes| PullRequest { max_bytes, ..waiting(batch, 500 * MS) };
    s.pull("P2", "c", bytes(10, 50)).await;
    s.pull("P2", "c", bytes(10, 400)).await;
    s.pull("P2", "c", bytes(1, 4000)).await;
    s.pull("P2", "c", bytes(5, 4000)).await;
    s.durable("P2", "lim", |config| {
        (config.max_batch, config.max_expires_ns, config.max_bytes) = (2, S, 100);
    })
    .await;
    s.pull("P2", "lim", waiting(3, 300 * MS)).await;
    s.pull("P2", "lim", waiting(1, 3 * S)).await;
    s.pull("P2", "lim", bytes(1, 1000)).await;
    // A stalled consumer.
    s.stream("M", |_| {}).await;
    s.durable("M", "c", |config| config.max_ack_pending = 2).await;
    s.publish_many("m.a", 5).await;
    let taken = s.pull("M", "c", waiting(5, 500 * MS)).await;
    s.info("M", "c").await;
    let room = s.start("M", "c", waiting(1, 5 * S)).await;
    s.ack(&taken[0], "").await;
    s.end(room).await;
    s.info("M", "c").await;
}

/// Where too much is unsettled, what does not wait waits until something else ends.
pub(crate) async fn who_does_not_wait(s: &mut Script<impl Side>) {
    s.stream("D", |_| {}).await;
    s.durable("D", "c", |config| config.max_ack_pending = 1).await;
    s.publish_many("d.a", 3).await;
    s.fetch("D", "c", 1).await;
    let no_wait = |batch| PullRequest { batch, no_wait: true, ..PullRequest::default() };
    let mut stalled = s.start("D", "c", no_wait(2)).await;
    s.silence(&mut stalled, 50).await;
    s.pull("D", "c", waiting(1, 100 * MS)).await;
    s.end(stalled).await;
    // One that asks for no message gets one, and is told of none.
    s.pull("D", "c", waiting(0, 100 * MS)).await;
    // When nothing is there, that is said before anything else.
    s.stream("E", |_| {}).await;
    s.durable("E", "c", |config| config.max_waiting = 1).await;
    let waits = s.start("E", "c", waiting(1, 5 * S)).await;
    s.pull("E", "c", no_wait(1)).await;
    s.pull("E", "c", PullRequest { no_wait: true, ..waiting(1, S) }).await;
    s.pull("E", "c", waiting(1, S)).await;
    s.publish("e.a").await;
    s.end(waits).await;
}
