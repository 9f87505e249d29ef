//! Consumers: created, changed, refused; where they begin; what removal does to them.

use crate::script::{MS, S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::ConsumerAction::{Create, CreateOrUpdate, Update};
use cloudlysis_core::jetstream::api::{AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy, Storage};

fn by_start(seq: u64) -> impl FnOnce(&mut ConsumerConfig) {
    move |config| {
        config.deliver_policy = DeliverPolicy::ByStartSequence;
        config.opt_start_seq = Some(seq);
    }
}

fn policy(policy: DeliverPolicy, filter: &str) -> impl FnOnce(&mut ConsumerConfig) {
    let filter = (!filter.is_empty()).then(|| filter.to_owned());
    move |config| (config.deliver_policy, config.filter_subject) = (policy, filter)
}

pub(crate) async fn creating_and_changing_consumers(s: &mut Script<impl Side>) {
    s.durable("NOPE", "d", |_| {}).await;
    s.info("NOPE", "d").await;
    s.delete_consumer("NOPE", "d").await;
    s.stream("C", |_| {}).await;
    s.info("C", "d").await;
    s.delete_consumer("C", "d").await;
    s.consumer("C", "d", Update, |_| {}).await;
    s.durable("C", "d", |_| {}).await;
    s.durable("C", "d", |_| {}).await;
    s.durable("C", "d", |config| config.ack_wait_ns = 7 * S).await;
    s.consumer("C", "d", Update, |config| config.ack_wait_ns = 7 * S).await;
    for change in [
        (|c| c.ack_policy = AckPolicy::None) as fn(&mut ConsumerConfig),
        |c| c.deliver_policy = DeliverPolicy::New,
        |c| c.max_waiting = 3,
    ] {
        s.consumer("C", "d", CreateOrUpdate, change).await;
    }
    s.durable("C", "s", by_start(2)).await;
    s.consumer("C", "s", CreateOrUpdate, by_start(3)).await;
    s.durable("C", "owned", |config| drop(config.metadata.insert("owner".into(), "me".into()))).await;
    s.durable("C", "b", |c| {
        (c.backoff_ns, c.max_deliver, c.ack_wait_ns) = (vec![S, 2 * S], 2, 9 * S);
    })
    .await;
    s.consumers("C").await;
    s.state("C").await;
    s.delete_consumer("C", "s").await;
    s.delete_consumer("C", "s").await;
    s.consumers("C").await;
    // A changed filter does not rewind.
    for subject in ["c.b", "c.a", "c.a", "c.b", "c.b"] {
        s.publish(subject).await;
    }
    s.durable("C", "f", |config| config.filter_subject = Some("c.a".into())).await;
    for delivery in s.fetch("C", "f", 2).await {
        s.ack(&delivery, "").await;
    }
    s.consumer("C", "f", CreateOrUpdate, |config| config.filter_subject = Some("c.b".into())).await;
    s.fetch("C", "f", 5).await;
    s.info("C", "f").await;
}

pub(crate) async fn refused_consumers(s: &mut Script<impl Side>) {
    s.stream("Z", |config| config.max_consumers = 2).await;
    for change in [
        (|c| (c.filter_subject, c.filter_subjects) = (Some("z.a".into()), vec!["z.b".into()]))
            as fn(&mut ConsumerConfig),
        |c| c.filter_subjects = vec!["z.a".into(), String::new()],
        |c| c.filter_subjects = vec!["z.a".into(), "z.*".into()],
        |c| c.filter_subject = Some("a..b".into()),
        |c| (c.backoff_ns, c.max_deliver) = (vec![S; 3], 2),
        |c| c.max_expires_ns = 1000,
        |c| c.description = Some("x".repeat(5000)),
        |c| drop(c.metadata.insert("a".into(), "x".repeat(131_073))),
        |c| c.durable_name = Some("x".repeat(256)),
        |c| c.durable_name = Some("a/b".into()),
        |c| c.deliver_policy = DeliverPolicy::LastPerSubject,
        |c| c.deliver_policy = DeliverPolicy::ByStartSequence,
        |c| c.opt_start_seq = Some(3),
    ] {
        s.durable("Z", "q", change).await;
    }
    s.durable("Z", "replicated", |config| config.num_replicas = 2).await;
    s.durable("Z", "outside", |config| config.filter_subject = Some("elsewhere.>".into())).await;
    s.durable("Z", "second", |_| {}).await;
    s.durable("Z", "third", |_| {}).await;
}

pub(crate) async fn where_a_consumer_begins(s: &mut Script<impl Side>) {
    s.stream("DP", |_| {}).await;
    for subject in ["dp.a", "dp.a", "dp.b", "dp.b", "dp.a", "dp.b"] {
        s.publish(subject).await;
    }
    s.purge("DP", None, Some(3), None).await;
    s.durable("DP", "all", |_| {}).await;
    s.durable("DP", "last", policy(DeliverPolicy::Last, "")).await;
    s.durable("DP", "new", policy(DeliverPolicy::New, "")).await;
    s.durable("DP", "seq1", by_start(1)).await;
    s.durable("DP", "seq4", by_start(4)).await;
    s.durable("DP", "seq100", by_start(100)).await;
    s.durable("DP", "lps", policy(DeliverPolicy::LastPerSubject, "dp.>")).await;
    s.durable("DP", "lastf", policy(DeliverPolicy::Last, "dp.a")).await;
    s.durable("DP", "lastnone", policy(DeliverPolicy::Last, "dp.z")).await;
    s.durable("DP", "allf", policy(DeliverPolicy::All, "dp.b")).await;
    s.durable("DP", "two", |c| c.filter_subjects = vec!["dp.a".into(), "dp.c".into()]).await;
    let names = ["all", "last", "new", "seq1", "seq4", "seq100", "lps", "lastf", "lastnone", "allf", "two"];
    for name in names {
        s.fetch("DP", name, 10).await;
        s.info("DP", name).await;
    }
    s.publish("dp.a").await;
    s.publish("dp.z").await;
    for name in names {
        s.fetch("DP", name, 10).await;
    }
    s.stream("EM", |_| {}).await;
    s.durable("EM", "all", |_| {}).await;
    s.durable("EM", "last", policy(DeliverPolicy::Last, "")).await;
    s.durable("EM", "new", policy(DeliverPolicy::New, "")).await;
    s.durable("EM", "lps", policy(DeliverPolicy::LastPerSubject, "em.>")).await;
    s.durable("EM", "seq4", by_start(4)).await;
    s.publish_many("em.a", 2).await;
    for name in ["all", "last", "new", "lps", "seq4"] {
        s.fetch("EM", name, 10).await;
    }
    s.publish_many("em.a", 2).await;
    s.fetch("EM", "seq4", 10).await;
}

pub(crate) async fn removal_under_a_consumer(s: &mut Script<impl Side>) {
    s.stream("LM", |config| config.max_msgs = 2).await;
    s.durable("LM", "c", |_| {}).await;
    s.publish_many("lm.a", 2).await;
    s.fetch("LM", "c", 2).await;
    s.publish_many("lm.a", 5).await;
    s.info("LM", "c").await;
    s.fetch("LM", "c", 5).await;
    s.stream("LI", |config| config.max_msgs_per_subject = 1).await;
    s.durable("LI", "c", |_| {}).await;
    for subject in ["li.a", "li.b", "li.c"] {
        s.publish(subject).await;
    }
    let taken = s.fetch("LI", "c", 3).await;
    s.publish("li.b").await;
    s.info("LI", "c").await;
    s.ack(&taken[0], "").await;
    s.info("LI", "c").await;
    s.ack(&taken[2], "").await;
    s.info("LI", "c").await;
    s.stream("PG", |_| {}).await;
    s.durable("PG", "d", |_| {}).await;
    s.publish_many("pg.a", 5).await;
    let taken = s.fetch("PG", "d", 3).await;
    s.purge("PG", None, None, None).await;
    s.info("PG", "d").await;
    s.ack(&taken[0], "").await;
    s.fetch("PG", "d", 3).await;
    s.publish_many("pg.a", 2).await;
    let taken = s.fetch("PG", "d", 2).await;
    s.delete_message("PG", 6).await;
    s.info("PG", "d").await;
    s.ack(&taken[1], "").await;
    s.info("PG", "d").await;
    s.stream("PP", |_| {}).await;
    s.durable("PP", "c", |_| {}).await;
    s.durable("PP", "f", |config| config.filter_subject = Some("pp.a".into())).await;
    s.publish_many("pp.a", 3).await;
    s.publish_many("pp.b", 3).await;
    s.fetch("PP", "c", 5).await;
    s.fetch("PP", "f", 2).await;
    s.purge("PP", Some("pp.a"), None, None).await;
    s.info("PP", "c").await;
    s.info("PP", "f").await;
    s.purge("PP", None, Some(6), None).await;
    s.info("PP", "c").await;
    s.publish("pp.a").await;
    s.fetch("PP", "c", 5).await;
    s.fetch("PP", "f", 5).await;
    // Deleted and made again, it begins anew: what was pending before is nobody's.
    s.delete_consumer("PP", "c").await;
    s.durable("PP", "c", |_| {}).await;
    s.fetch("PP", "c", 5).await;
}

pub(crate) async fn what_an_update_may_change(s: &mut Script<impl Side>) {
    s.stream("UP", |_| {}).await;
    s.publish_many("up.a", 2).await;
    for (at, change) in [
        (|c: &mut ConsumerConfig| c.description = Some("new".into())) as fn(&mut ConsumerConfig),
        |c| c.ack_wait_ns = S,
        |c| (c.max_deliver, c.backoff_ns) = (3, vec![S, 2 * S]),
        |c| c.max_deliver = 7,
        |c| c.max_ack_pending = 3,
        |c| c.filter_subject = Some("up.b".into()),
        |c| c.filter_subjects = vec!["up.b".into(), "up.c".into()],
        |c| c.inactive_threshold_ns = 60 * S,
        |c| drop(c.metadata.insert("a".into(), "b".into())),
        |c| c.headers_only = true,
        |c| c.sample_freq = Some("50%".into()),
        |c| (c.max_batch, c.max_bytes, c.max_expires_ns) = (7, 4096, S),
        |c| c.max_waiting = 7,
        |c| c.ack_policy = AckPolicy::All,
        |c| c.ack_policy = AckPolicy::None,
        |c| c.deliver_policy = DeliverPolicy::Last,
        |c| c.replay_policy = ReplayPolicy::Original,
        |c| c.mem_storage = true,
        |c| c.deliver_subject = Some("to.me".into()),
        |c| c.num_replicas = 1,
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("c{at}");
        s.durable("UP", &name, |_| {}).await;
        s.consumer("UP", &name, Update, change).await;
        s.info("UP", &name).await;
        // And back.
        s.consumer("UP", &name, CreateOrUpdate, |_| {}).await;
    }
    for (at, change) in [
        (|c: &mut ConsumerConfig| c.deliver_subject = Some("to.you".into())) as fn(&mut ConsumerConfig),
        |c| c.deliver_subject = None,
        |c| c.deliver_group = Some("g".into()),
        |c| (c.flow_control, c.idle_heartbeat_ns) = (true, 5 * S),
        |c| c.idle_heartbeat_ns = 2 * S,
        |c| c.rate_limit_bits_per_s = 1 << 20,
        |c| c.headers_only = true,
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("p{at}");
        let push = |config: &mut ConsumerConfig| {
            (config.deliver_subject, config.idle_heartbeat_ns) = (Some("to.me".into()), 5 * S);
        };
        s.durable("UP", &name, push).await;
        let change = |config: &mut ConsumerConfig| {
            push(config);
            change(config);
        };
        s.consumer("UP", &name, Update, change).await;
        s.info("UP", &name).await;
    }
}

pub(crate) async fn limits_of_the_stream(s: &mut Script<impl Side>) {
    s.stream("CL", |config| {
        config.consumer_limits.max_ack_pending = 10;
        config.consumer_limits.inactive_threshold_ns = 60 * S;
    })
    .await;
    s.durable("CL", "default", |_| {}).await;
    s.durable("CL", "less", |config| (config.max_ack_pending, config.inactive_threshold_ns) = (5, 30 * S))
        .await;
    s.durable("CL", "pending", |config| config.max_ack_pending = 11).await;
    s.durable("CL", "any", |config| config.max_ack_pending = -1).await;
    s.durable("CL", "idle", |config| config.inactive_threshold_ns = 61 * S).await;
    s.durable("CL", "none", |config| config.ack_policy = AckPolicy::None).await;
    s.consumer("CL", "less", Update, |config| config.max_ack_pending = 11).await;
}

pub(crate) async fn pedantic_consumers(s: &mut Script<impl Side>) {
    s.stream("PE", |config| {
        config.consumer_limits.max_ack_pending = 10;
        config.consumer_limits.inactive_threshold_ns = 60 * S;
    })
    .await;
    let fits: fn(&mut ConsumerConfig) = |c| (c.max_ack_pending, c.inactive_threshold_ns) = (5, 30 * S);
    for change in [
        (|_| {}) as fn(&mut ConsumerConfig),
        |c| c.max_ack_pending = 5,
        |c| c.inactive_threshold_ns = 30 * S,
        |c| c.max_deliver = -2,
        |c| c.max_waiting = -1,
        |c| c.max_ack_pending = -2,
        |c| c.max_batch = -1,
        |c| c.max_bytes = -1,
        |c| (c.backoff_ns, c.max_deliver, c.ack_wait_ns) = (vec![S, 2 * S], 2, 9 * S),
        |c| (c.backoff_ns, c.max_deliver, c.ack_wait_ns) = (vec![S, 2 * S], 2, S),
        |c| c.filter_subject = Some("elsewhere".into()),
    ] {
        s.pedantic_consumer("PE", "c", |config| {
            fits(config);
            change(config);
        })
        .await;
        s.pedantic_consumer("PE", "d", change).await;
        s.delete_consumer("PE", "c").await;
    }
}

/// Asked for again, with what the server adds on its own.
pub(crate) async fn the_same_again(s: &mut Script<impl Side>) {
    s.stream("SA", |_| {}).await;
    let named = |config: &mut ConsumerConfig| {
        (config.durable_name, config.name) = (None, Some("e".into()));
    };
    let longer = |config: &mut ConsumerConfig| {
        (config.durable_name, config.name) = (None, Some("e".into()));
        config.inactive_threshold_ns = 7 * S;
    };
    for action in [Create, Create, CreateOrUpdate, Update] {
        s.consumer("SA", "e", action, named).await;
    }
    for action in [CreateOrUpdate, Create, Update] {
        s.consumer("SA", "e", action, longer).await;
    }
    // It becomes a durable one, and keeps a threshold.
    s.consumer("SA", "e", CreateOrUpdate, |_| {}).await;
    s.consumer("SA", "e", Create, |_| {}).await;
    // A durable one that is not named so any more.
    s.durable("SA", "d", |_| {}).await;
    s.consumer("SA", "d", Create, |config| (config.durable_name, config.name) = (None, Some("d".into())))
        .await;
    s.consumer("SA", "d", Update, |config| {
        (config.durable_name, config.name) = (None, Some("d".into()));
        config.description = Some("another".into());
    })
    .await;
    s.consumers("SA").await;
}

/// With other filters, a consumer does not look back at what it has passed over.
pub(crate) async fn other_filters(s: &mut Script<impl Side>) {
    for (name, storage) in [("OF", Storage::File), ("OM", Storage::Memory)] {
        let subject = |rest: &str| format!("{}.{rest}", name.to_lowercase());
        let on = |rest: &str| {
            let filter = subject(rest);
            move |config: &mut ConsumerConfig| config.filter_subject = Some(filter)
        };
        s.stream(name, |config| config.storage = storage).await;
        s.durable(name, "asked", on("a")).await;
        s.durable(name, "not", on("a")).await;
        s.publish_many(&subject("b"), 2).await;
        s.pull(name, "asked", waiting(1, 50 * MS)).await;
        for consumer in ["asked", "not"] {
            s.info(name, consumer).await;
            s.consumer(name, consumer, Update, on("b")).await;
            s.fetch(name, consumer, 3).await;
        }
        s.publish(&subject("b")).await;
        s.fetch(name, "asked", 3).await;
    }
}
