//! Push consumers and ephemerals.

use crate::script::{MS, S, Script};
use crate::side::{Seen, Side};
use cloudlysis_core::jetstream::ConsumerAction::CreateOrUpdate;
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, DeliverPolicy};

fn push(name: &str, subject: &str) -> impl Fn(&mut ConsumerConfig) {
    let (name, subject) = (name.to_owned(), subject.to_owned());
    move |config| {
        (config.name, config.deliver_subject) = (Some(name.clone()), Some(subject.clone()));
        config.ack_policy = AckPolicy::None;
        config.inactive_threshold_ns = 60 * S;
    }
}

pub(crate) async fn a_push_consumer(s: &mut Script<impl Side>) {
    s.stream("P", |_| {}).await;
    for subject in ["p.a", "p.b", "p.a"] {
        s.publish(subject).await;
    }
    let change = |config: &mut ConsumerConfig| {
        config.deliver_subject = Some("deliver.p".into());
        config.ack_wait_ns = 1_500 * MS;
    };
    s.durable("P", "d", change).await;
    s.info("P", "d").await;
    let mut listening = s.listen("deliver.p").await;
    let heard = s.hear(&mut listening, 3).await;
    s.ack(&heard[1], "").await;
    s.info("P", "d").await;
    // What is not acked comes again, in order.
    let again = s.hear(&mut listening, 2).await;
    s.ack(&again[0], "").await;
    s.ack(&again[1], "-NAK").await;
    let last = s.hear(&mut listening, 1).await;
    s.ack(&last[0], "+TERM").await;
    s.publish("p.c").await;
    let last = s.hear(&mut listening, 1).await;
    s.ack(&last[0], "").await;
    s.info("P", "d").await;
    let refused = s.start("P", "d", crate::script::waiting(1, S)).await;
    s.end(refused).await;
    s.leave(listening).await;
    s.info("P", "d").await;
    s.publish("p.d").await;
    let mut listening = s.listen("deliver.p").await;
    let last = s.hear(&mut listening, 1).await;
    s.ack(&last[0], "").await;
    // Nobody can be stalled by what nobody settles.
    s.durable("P", "two", |config| {
        (config.deliver_subject, config.max_ack_pending) = (Some("deliver.two".into()), 2);
    })
    .await;
    let mut two = s.listen("deliver.two").await;
    let heard = s.hear(&mut two, 2).await;
    s.quiet(&mut two, 200).await;
    s.ack(&heard[0], "").await;
    s.hear(&mut two, 1).await;
    s.info("P", "two").await;
    s.delete_consumer("P", "two").await;
    s.delete_consumer("P", "d").await;
}

pub(crate) async fn a_watched_bucket(s: &mut Script<impl Side>) {
    for history in [1, 3] {
        let name = format!("KV{history}");
        s.stream(&name, |config| config.max_msgs_per_subject = history).await;
        let subjects = ["a", "b", "a", "c", "b"].map(|key| format!("{}.{key}", name.to_lowercase()));
        for subject in &subjects {
            s.publish(subject).await;
        }
        let mut listening = s.listen(&format!("watch.{history}")).await;
        s.ephemeral(&name, |config| {
            push("watcher", &format!("watch.{history}"))(config);
            config.max_deliver = 1;
            (config.mem_storage, config.num_replicas) = (true, 1);
            (config.flow_control, config.idle_heartbeat_ns) = (true, 5 * S);
            config.deliver_policy = DeliverPolicy::LastPerSubject;
            config.filter_subject = Some(format!("{}.>", name.to_lowercase()));
        })
        .await;
        s.hear(&mut listening, 3).await;
        s.info(&name, "watcher").await;
        s.publish(&subjects[0]).await;
        s.hear(&mut listening, 1).await;
        s.purge(&name, None, None, None).await;
        s.publish(&subjects[1]).await;
        s.hear(&mut listening, 1).await;
        s.info(&name, "watcher").await;
        s.leave(listening).await;
    }
}

pub(crate) async fn flow_control(s: &mut Script<impl Side>) {
    s.stream("F", |_| {}).await;
    let payload = "x".repeat(8192);
    for _ in 0..400 {
        s.publish_with("f.a", &payload, &[]).await;
    }
    s.ephemeral("F", |config| {
        push("c", "deliver.f")(config);
        (config.flow_control, config.idle_heartbeat_ns) = (true, 300 * MS);
    })
    .await;
    let mut listening = s.listen("deliver.f").await;
    let first = s.hear_all(&mut listening, 256).await;
    s.quiet(&mut listening, 200).await;
    s.beat(&mut listening).await;
    let reply = first.iter().find_map(|seen| match seen {
        Seen::Status { reply, .. } => reply.clone(),
        Seen::Message { .. } => None,
    });
    s.confirm("$JS.FC.F.c.none").await;
    s.quiet(&mut listening, 100).await;
    s.confirm(&reply.expect("a flow control request")).await;
    s.hear_all(&mut listening, 145).await;
    s.info("F", "c").await;
    s.leave(listening).await;
}

pub(crate) async fn heartbeats(s: &mut Script<impl Side>) {
    s.stream("H", |_| {}).await;
    s.publish("h.a").await;
    s.ephemeral("H", |config| {
        push("c", "deliver.h")(config);
        config.idle_heartbeat_ns = 400 * MS;
    })
    .await;
    let mut listening = s.listen("deliver.h").await;
    s.hear(&mut listening, 1).await;
    s.quiet(&mut listening, 300).await;
    s.beat(&mut listening).await;
    s.beat(&mut listening).await;
    s.publish("h.b").await;
    s.hear(&mut listening, 1).await;
    s.beat(&mut listening).await;
    s.leave(listening).await;
}

pub(crate) async fn ephemerals(s: &mut Script<impl Side>) {
    s.stream("E", |_| {}).await;
    let name = s.ephemeral("E", |config| config.ack_policy = AckPolicy::Explicit).await.expect("a name");
    s.publish("e.a").await;
    s.generated("E", &name).await;
    s.ephemeral("E", |config| config.name = Some("named".into())).await;
    s.ephemeral("E", |config| (config.name, config.mem_storage) = (Some("memory".into()), true)).await;
    s.ephemeral("E", |config| push("pushed", "deliver.e")(config)).await;
    s.durable("E", "durable", |config| config.mem_storage = true).await;
    s.delete_consumer("E", "nobody").await;
    s.ephemeral("E", |config| {
        (config.name, config.inactive_threshold_ns) = (Some("brief".into()), 100 * MS);
    })
    .await;
    s.pass(1_500).await;
    s.info("E", "brief").await;
    s.info("E", "named").await;
    s.restart().await;
    s.generated("E", "named").await;
    for name in ["memory", "durable", "pushed"] {
        s.info("E", name).await;
    }
    s.delete_consumer("E", "named").await;
}

pub(crate) async fn refused_push_consumers(s: &mut Script<impl Side>) {
    s.stream("Z", |_| {}).await;
    for change in [
        (|c| c.deliver_subject = Some("d.*".into())) as fn(&mut ConsumerConfig),
        |c| c.deliver_subject = Some("d..x".into()),
        |c| c.deliver_subject = Some("z.a".into()),
        |c| c.max_waiting = 5,
        |c| (c.ack_policy, c.max_ack_pending) = (AckPolicy::None, 5),
        |c| c.idle_heartbeat_ns = 99 * MS,
        |c| c.flow_control = true,
        |c| (c.deliver_subject, c.rate_limit_bits_per_s) = (None, 1),
        |c| (c.deliver_subject, c.idle_heartbeat_ns) = (None, S),
        |c| (c.deliver_subject, c.flow_control) = (None, true),
        |c| (c.deliver_subject, c.deliver_group) = (None, Some("g".into())),
        |c| (c.max_batch, c.max_bytes, c.max_expires_ns) = (1, 2, 3),
        |c| c.ack_wait_ns = 5,
    ] {
        let changed = |config: &mut ConsumerConfig| {
            (config.deliver_subject, config.name) = (Some("d".into()), Some("q".into()));
            change(config);
        };
        if s.ephemeral("Z", changed).await.is_some() {
            s.delete_consumer("Z", "q").await;
        }
    }
    s.stream("WQ", |config| config.retention = cloudlysis_core::jetstream::api::Retention::Workqueue).await;
    s.ephemeral("WQ", push("q", "d")).await;
    s.ephemeral("WQ", |config| {
        push("q", "d")(config);
        config.ack_policy = AckPolicy::Explicit;
    })
    .await;
}

pub(crate) async fn another_deliver_subject(s: &mut Script<impl Side>) {
    s.stream("M", |_| {}).await;
    s.publish_many("m.a", 2).await;
    let to = |subject: &str| {
        let subject = subject.to_owned();
        move |config: &mut ConsumerConfig| config.deliver_subject = Some(subject)
    };
    s.durable("M", "c", to("deliver.m")).await;
    let mut listening = s.listen("deliver.m").await;
    s.hear(&mut listening, 2).await;
    s.consumer("M", "c", CreateOrUpdate, to("deliver.n")).await;
    s.leave(listening).await;
    s.consumer("M", "c", CreateOrUpdate, to("deliver.n")).await;
    let mut listening = s.listen("deliver.n").await;
    s.hear(&mut listening, 2).await;
    s.info("M", "c").await;
    s.leave(listening).await;
    s.consumer("M", "c", CreateOrUpdate, |_| {}).await;
    s.durable("M", "pull", |_| {}).await;
    s.consumer("M", "pull", CreateOrUpdate, to("deliver.o")).await;
    for change in [
        (|c| c.idle_heartbeat_ns = S) as fn(&mut ConsumerConfig),
        |c| (c.idle_heartbeat_ns, c.flow_control) = (S, true),
        |c| c.mem_storage = true,
        |c| c.headers_only = true,
        |c| c.deliver_group = Some("g".into()),
        |c| c.rate_limit_bits_per_s = 800,
    ] {
        s.consumer("M", "c", CreateOrUpdate, |config| {
            to("deliver.n")(config);
            change(config);
        })
        .await;
    }
}

pub(crate) async fn headers_only(s: &mut Script<impl Side>) {
    s.stream("HO", |_| {}).await;
    s.publish_with("ho.a", "hello", &[("a", "b")]).await;
    s.publish("ho.a").await;
    s.ephemeral("HO", |config| {
        push("c", "deliver.ho")(config);
        config.headers_only = true;
    })
    .await;
    let mut listening = s.listen("deliver.ho").await;
    s.hear(&mut listening, 2).await;
    s.leave(listening).await;
    s.durable("HO", "p", |config| config.headers_only = true).await;
    s.fetch("HO", "p", 2).await;
}
