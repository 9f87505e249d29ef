//! In which order a publish is checked: pairs of checks that both fail tell.

use crate::script::Script;
use crate::side::Side;

pub(crate) async fn pairs_of_failing_checks(s: &mut Script<impl Side>) {
    s.stream("O", |config| config.max_msg_size = 300).await;
    s.publish_with("o.a", "x", &[("Nats-Msg-Id", "known")]).await;
    let large = "x".repeat(400);
    let failing: &[(&str, &str)] = &[
        ("Nats-Batch-Id", "b"),
        ("Nats-Incr", "1"),
        ("Nats-Expected-Stream", "P"),
        ("Nats-TTL", "1"),
        ("Nats-Expected-Last-Subject-Sequence", "9"),
        ("Nats-Expected-Last-Subject-Sequence-Subject", "o.z"),
        ("Nats-Expected-Last-Sequence", "9"),
        ("Nats-Schedule", "nonsense"),
        ("Nats-Stream-Source", "x"),
        ("Nats-Msg-Id", "known"),
        ("Nats-Expected-Last-Msg-Id", "other"),
        ("Nats-Rollup", "sub"),
        ("Large", &large),
    ];
    for (at, one) in failing.iter().enumerate() {
        s.publish_with("o.a", "x", &[*one]).await;
        for other in &failing[at + 1..] {
            s.publish_with("o.a", "x", &[*one, *other]).await;
        }
    }
    s.state("O").await;
    s.stream("FULL", |config| {
        config.discard = cloudlysis_core::jetstream::api::Discard::New;
        (config.max_msgs, config.max_msg_size) = (1, 300);
    })
    .await;
    s.publish_with("full.a", "x", &[("Nats-Msg-Id", "known")]).await;
    for one in failing {
        s.publish_with("full.a", "x", &[*one]).await;
    }
    s.update("FULL", |config| config.sealed = true).await;
    for one in failing {
        s.publish_with("full.a", "x", &[*one]).await;
    }
}
