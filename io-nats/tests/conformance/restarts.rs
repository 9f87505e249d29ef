//! What a restart keeps, and what it takes back.

use crate::script::{S, Script};
use crate::side::Side;

const ID: &str = "Nats-Msg-Id";

pub(crate) async fn a_restart_in_good_order(s: &mut Script<impl Side>) {
    s.stream("L", |_| {}).await;
    s.publish_with("l.a", "x", &[(ID, "1")]).await;
    s.publish_with("l.a", "x", &[(ID, "2")]).await;
    s.publish_with("l.b", "x", &[(ID, "3")]).await;
    s.delete_message("L", 2).await;
    s.durable("L", "c", |config| config.ack_wait_ns = 60 * S).await;
    let taken = s.fetch("L", "c", 2).await;
    s.ack(&taken[0], "").await;
    s.info("L", "c").await;
    s.restart().await;
    s.state("L").await;
    s.info("L", "c").await;
    s.ack(&taken[1], "").await;
    s.info("L", "c").await;
    // An id is remembered as long as its message.
    s.publish_with("l.a", "x", &[(ID, "1")]).await;
    s.publish_with("l.a", "x", &[(ID, "2")]).await;
    s.publish_with("l.b", "x", &[("Nats-Expected-Last-Subject-Sequence", "3")]).await;
    s.fetch("L", "c", 5).await;
    s.stream("E", |_| {}).await;
    s.publish_many("e.a", 3).await;
    s.purge("E", None, None, None).await;
    s.restart().await;
    s.state("E").await;
    s.publish("e.a").await;
    s.list().await;
}

pub(crate) async fn a_crash(s: &mut Script<impl Side>) {
    s.stream("K", |_| {}).await;
    for id in ["1", "2", "3"] {
        s.publish_with("k.a", "x", &[(ID, id)]).await;
    }
    s.delete_message("K", 2).await;
    s.stream("LASTGONE", |_| {}).await;
    for id in ["1", "2"] {
        s.publish_with("lastgone.a", "x", &[(ID, id)]).await;
    }
    s.delete_message("LASTGONE", 2).await;
    s.crash().await;
    // What was acknowledged is there. Consumers may be set back, so this one is made afterwards.
    s.state("K").await;
    s.publish_with("k.a", "x", &[(ID, "3")]).await;
    s.publish_with("k.a", "x", &[(ID, "2")]).await;
    s.publish_with("k.a", "x", &[("Nats-Expected-Last-Subject-Sequence", "4")]).await;
    s.durable("K", "c", |_| {}).await;
    s.fetch("K", "c", 5).await;
    s.state("K").await;
    s.state("LASTGONE").await;
    s.publish_with("lastgone.a", "after", &[(ID, "1")]).await;
}
