//! Memory streams: the same, until a restart.

use crate::script::Script;
use crate::side::Side;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Discard, Retention, Storage, StreamConfig};

fn memory(change: impl FnOnce(&mut StreamConfig)) -> impl FnOnce(&mut StreamConfig) {
    |config| {
        config.storage = Storage::Memory;
        change(config);
    }
}

pub(crate) async fn a_memory_stream(s: &mut Script<impl Side>) {
    s.stream("M", memory(|_| {})).await;
    s.state("M").await;
    s.publish_with("m.a", "with headers", &[("A", "1"), ("Nats-Msg-Id", "1")]).await;
    s.publish_with("m.a", "x", &[("Nats-Msg-Id", "1")]).await;
    s.publish_many("m.b", 4).await;
    s.state("M").await;
    for by in [MessageBy::Seq(1), MessageBy::LastBySubject("m.*".into()), MessageBy::Seq(9)] {
        s.get("M", by).await;
    }
    s.durable("M", "c", |_| {}).await;
    let taken = s.fetch("M", "c", 3).await;
    s.ack(&taken[0], "").await;
    for seq in [3, 3, 99] {
        s.delete_message("M", seq).await;
    }
    s.info("M", "c").await;
    s.state("M").await;
    s.details("M").await;
    s.delete_message("M", 5).await;
    s.state("M").await;
    s.purge("M", Some("m.b"), None, None).await;
    s.state("M").await;
    s.purge("M", None, None, None).await;
    s.state("M").await;
    s.purge("M", None, Some(20), None).await;
    s.state("M").await;
    s.publish("m.a").await;
    s.fetch("M", "c", 3).await;
    s.update("M", |config| config.storage = Storage::File).await;
    s.update("M", |config| config.max_msgs = 1).await;
    s.publish("m.a").await;
    s.state("M").await;
    s.stream("B", memory(|c| (c.discard, c.max_bytes) = (Discard::New, 40))).await;
    s.publish_many("b.a", 3).await;
    s.state("B").await;
    s.stream("W", memory(|c| c.retention = Retention::Workqueue)).await;
    s.durable("W", "c", |_| {}).await;
    s.publish_many("w.a", 3).await;
    let taken = s.fetch("W", "c", 2).await;
    s.ack(&taken[1], "").await;
    s.state("W").await;
    s.stream("I", memory(|c| c.retention = Retention::Interest)).await;
    s.publish_many("i.a", 2).await;
    s.state("I").await;
    s.stream("FILE", |_| {}).await;
    s.update("FILE", |config| config.storage = Storage::Memory).await;
}

pub(crate) async fn memory_over_a_restart(s: &mut Script<impl Side>) {
    s.stream("FILE", |_| {}).await;
    s.stream("M", memory(|_| {})).await;
    s.durable("M", "c", |_| {}).await;
    s.publish_many("m.a", 3).await;
    s.restart().await;
    s.names(None).await;
    s.state("M").await;
    s.info("M", "c").await;
    s.publish("m.a").await;
    s.stream("M", memory(|_| {})).await;
    s.publish("m.a").await;
    s.durable("M", "c", |_| {}).await;
    s.fetch("M", "c", 2).await;
    s.crash().await;
    s.state("M").await;
}
