//! Consumers that are paused and reset, begin at a time, replay at the pace of old, and are told about.

use crate::script::{MS, S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::ConsumerAction::CreateOrUpdate;
use cloudlysis_core::jetstream::api::{
    AckPolicy, ConsumerConfig, DeliverPolicy, PullRequest, ReplayPolicy, Retention,
};

const LATER: &str = "2100-01-01T00:00:00Z";
const BEFORE: &str = "2000-01-01T00:00:00Z";

pub(crate) async fn pausing(s: &mut Script<impl Side>) {
    s.stream("PA", |_| {}).await;
    s.durable("PA", "c", |_| {}).await;
    s.publish_many("pa.a", 3).await;
    s.advisories(1).await;
    s.pause("PA", "c", Some(LATER)).await;
    s.advisories(1).await;
    s.info("PA", "c").await;
    s.pull("PA", "c", waiting(1, 300 * MS)).await;
    s.pull("PA", "c", PullRequest { no_wait: true, ..waiting(1, 0) }).await;
    s.pull("PA", "c", PullRequest { no_wait: true, ..waiting(1, 300 * MS) }).await;
    s.pull("PA", "c", PullRequest { idle_heartbeat_ns: 200 * MS, ..waiting(1, 500 * MS) }).await;
    s.pause("PA", "c", Some(LATER)).await;
    s.advisories(0).await;
    // On the server, a request that waits sleeps on: nobody wakes it when the pause is called off.
    s.pause("PA", "c", None).await;
    s.advisories(1).await;
    let taken = s.pull("PA", "c", waiting(2, 10 * S)).await;
    s.info("PA", "c").await;
    s.pause("PA", "c", None).await;
    s.pause("PA", "c", Some(BEFORE)).await;
    s.advisories(1).await;
    s.info("PA", "c").await;
    // Acks are heard while it lasts, and it ends by itself.
    let since = s.now();
    let soon = s.moment_in(500);
    s.pause("PA", "c", Some(&soon)).await;
    s.ack(&taken[0], "").await;
    s.info("PA", "c").await;
    s.pull("PA", "c", waiting(1, 5 * S)).await;
    s.at_least(400, since);
    s.advisories(2).await;
    s.info("PA", "c").await;
    s.pause("PA", "c", Some("soon")).await;
    s.pause("PA", "nobody", Some(LATER)).await;
    s.pause("PX", "c", Some(LATER)).await;
}

pub(crate) async fn paused_by_configuration(s: &mut Script<impl Side>) {
    s.stream("PC", |_| {}).await;
    s.publish_many("pc.a", 2).await;
    s.durable("PC", "c", |config| config.pause_until = Some(LATER.into())).await;
    s.advisories(2).await;
    s.pull("PC", "c", waiting(1, 200 * MS)).await;
    // Whoever changes it without a word about the pause ends it.
    s.consumer("PC", "c", CreateOrUpdate, |config| config.description = Some("more".into())).await;
    s.info("PC", "c").await;
    s.fetch("PC", "c", 1).await;
    s.consumer("PC", "c", CreateOrUpdate, |config| config.pause_until = Some(LATER.into())).await;
    s.info("PC", "c").await;
    s.durable("PC", "past", |config| config.pause_until = Some(BEFORE.into())).await;
    s.info("PC", "past").await;
    // One that pushes.
    let change = |config: &mut ConsumerConfig| {
        config.deliver_subject = Some("deliver.pc".into());
        config.pause_until = Some(LATER.into());
        config.idle_heartbeat_ns = 200 * MS;
    };
    let mut listening = s.listen("deliver.pc").await;
    s.durable("PC", "push", change).await;
    s.beat(&mut listening).await;
    s.pause("PC", "push", None).await;
    s.hear(&mut listening, 2).await;
    // A pause outlasts a restart.
    s.durable("PC", "long", |config| config.pause_until = Some(LATER.into())).await;
    s.restart().await;
    s.info("PC", "long").await;
    s.pull("PC", "long", waiting(1, 200 * MS)).await;
}

pub(crate) async fn resetting(s: &mut Script<impl Side>) {
    s.stream("RS", |_| {}).await;
    s.publish_many("rs.a", 6).await;
    s.durable("RS", "c", |_| {}).await;
    let taken = s.fetch("RS", "c", 5).await;
    s.ack(&taken[0], "").await;
    s.ack(&taken[1], "").await;
    s.ack(&taken[3], "-NAK").await;
    s.fetch("RS", "c", 1).await;
    s.info("RS", "c").await;
    // To just behind what is settled.
    s.reset("RS", "c", None).await;
    s.info("RS", "c").await;
    let again = s.fetch("RS", "c", 2).await;
    // An ack from before the reset still names a message.
    s.ack(&taken[3], "").await;
    s.ack(&again[1], "").await;
    s.info("RS", "c").await;
    s.reset("RS", "c", Some(1)).await;
    s.fetch("RS", "c", 1).await;
    s.reset("RS", "c", Some(0)).await;
    s.reset("RS", "c", Some(6)).await;
    s.fetch("RS", "c", 3).await;
    s.reset("RS", "c", Some(100)).await;
    s.fetch("RS", "c", 3).await;
    s.info("RS", "c").await;
    // Somebody waits.
    let parked = s.start("RS", "c", waiting(2, 10 * S)).await;
    s.reset("RS", "c", Some(5)).await;
    s.end(parked).await;
    s.info("RS", "c").await;
    // What it began with is the bound.
    for (name, change) in [
        ("last", (|c| c.deliver_policy = DeliverPolicy::Last) as fn(&mut ConsumerConfig)),
        ("new", |c| c.deliver_policy = DeliverPolicy::New),
        ("lps", |c| {
            (c.deliver_policy, c.filter_subject) = (DeliverPolicy::LastPerSubject, Some("rs.>".into()));
        }),
        ("seq", |c| (c.deliver_policy, c.opt_start_seq) = (DeliverPolicy::ByStartSequence, Some(3))),
        ("time", |c| {
            (c.deliver_policy, c.opt_start_time) = (DeliverPolicy::ByStartTime, Some(BEFORE.into()));
        }),
        ("late", |c| {
            (c.deliver_policy, c.opt_start_time) = (DeliverPolicy::ByStartTime, Some(LATER.into()));
        }),
        ("all", |c| c.ack_policy = AckPolicy::All),
        ("none", |c| c.ack_policy = AckPolicy::None),
    ] {
        s.durable("RS", name, change).await;
        s.fetch("RS", name, 2).await;
        s.reset("RS", name, None).await;
        for seq in [2, 4] {
            s.reset("RS", name, Some(seq)).await;
        }
        s.fetch("RS", name, 1).await;
        s.info("RS", name).await;
    }
    s.stream("RW", |config| config.retention = Retention::Workqueue).await;
    s.publish_many("rw.a", 3).await;
    s.durable("RW", "c", |_| {}).await;
    let taken = s.fetch("RW", "c", 3).await;
    s.ack(&taken[0], "").await;
    s.until_messages("RW", 2).await;
    s.reset("RW", "c", Some(1)).await;
    s.fetch("RW", "c", 3).await;
    s.state("RW").await;
    s.reset("RW", "c", Some(3)).await;
    s.state("RW").await;
}

pub(crate) async fn beginning_at_a_time(s: &mut Script<impl Side>) {
    s.stream("BT", |_| {}).await;
    let at = |when: String, filter: &str| {
        let filter = (!filter.is_empty()).then(|| filter.to_owned());
        move |config: &mut ConsumerConfig| {
            (config.deliver_policy, config.opt_start_time) = (DeliverPolicy::ByStartTime, Some(when));
            config.filter_subject = filter;
        }
    };
    s.durable("BT", "empty", at(BEFORE.into(), "")).await;
    s.durable("BT", "ahead", at(LATER.into(), "")).await;
    for subject in ["bt.a", "bt.b", "bt.a"] {
        s.publish(subject).await;
    }
    s.pass(30).await;
    let between = s.moment_in(0);
    s.pass(30).await;
    for subject in ["bt.b", "bt.a", "bt.b"] {
        s.publish(subject).await;
    }
    s.durable("BT", "before", at(BEFORE.into(), "")).await;
    s.durable("BT", "between", at(between.clone(), "")).await;
    s.durable("BT", "later", at(LATER.into(), "")).await;
    s.durable("BT", "filtered", at(between.clone(), "bt.a")).await;
    s.durable("BT", "nothing", at(between.clone(), "bt.z")).await;
    let names = ["empty", "ahead", "before", "between", "later", "filtered", "nothing"];
    for name in names {
        s.info("BT", name).await;
        s.fetch("BT", name, 10).await;
    }
    s.publish("bt.a").await;
    for name in names {
        s.fetch("BT", name, 10).await;
        s.info("BT", name).await;
    }
    // The same once more is the same consumer.
    s.durable("BT", "between", at(between, "")).await;
    s.durable("BT", "between", at(LATER.into(), "")).await;
    s.consumer("BT", "between", CreateOrUpdate, at(LATER.into(), "")).await;
    s.durable("BT", "bad", at("yesterday".into(), "")).await;
    s.durable("BT", "both", |config| {
        (config.deliver_policy, config.opt_start_seq) = (DeliverPolicy::ByStartTime, Some(1));
        config.opt_start_time = Some(BEFORE.into());
    })
    .await;
    s.durable("BT", "neither", |config| config.deliver_policy = DeliverPolicy::ByStartTime).await;
    s.durable("BT", "other", |config| config.opt_start_time = Some(BEFORE.into())).await;
}

pub(crate) async fn replaying(s: &mut Script<impl Side>) {
    s.stream("RO", |_| {}).await;
    for ms in [300, 300, 0] {
        s.publish("ro.a").await;
        s.pass(ms).await;
    }
    s.durable("RO", "c", |config| config.replay_policy = ReplayPolicy::Original).await;
    let since = s.now();
    s.pull("RO", "c", waiting(3, 5 * S)).await;
    s.at_least(550, since);
    // What is published later comes at once.
    s.publish("ro.a").await;
    s.pull("RO", "c", waiting(1, 5 * S)).await;
    let mut listening = s.listen("deliver.ro").await;
    let since = s.now();
    s.durable("RO", "p", |config| {
        (config.replay_policy, config.deliver_subject) = (ReplayPolicy::Original, Some("deliver.ro".into()));
    })
    .await;
    s.hear(&mut listening, 3).await;
    s.at_least(550, since);
    s.consumer("RO", "c", CreateOrUpdate, |_| {}).await;
}

pub(crate) async fn a_rate(s: &mut Script<impl Side>) {
    s.stream("RL", |_| {}).await;
    let half = "x".repeat(512 * 1024);
    for _ in 0..4 {
        s.publish_with("rl.a", &half, &[]).await;
    }
    let mut listening = s.listen("deliver.rl").await;
    let since = s.now();
    s.durable("RL", "p", |config| {
        config.deliver_subject = Some("deliver.rl".into());
        config.rate_limit_bits_per_s = 8 * 1024 * 1024;
    })
    .await;
    s.hear_numbers(&mut listening, 4).await;
    s.at_least(900, since);
    s.durable("RL", "pull", |config| config.rate_limit_bits_per_s = 1024).await;
}

pub(crate) async fn what_is_told(s: &mut Script<impl Side>) {
    s.stream("TO", |_| {}).await;
    s.publish_many("to.a", 6).await;
    s.durable("TO", "c", |config| {
        (config.sample_freq, config.max_deliver, config.ack_wait_ns) = (Some("100%".into()), 2, 400 * MS);
    })
    .await;
    s.advisories(1).await;
    let taken = s.fetch("TO", "c", 5).await;
    s.ack(&taken[0], "").await;
    s.advisories(1).await;
    s.ack(&taken[0], "").await;
    s.ack(&taken[1], "+TERM because").await;
    s.ack(&taken[1], "+TERM").await;
    s.ack(&taken[2], "-NAK").await;
    s.advisories(3).await;
    let again = s.fetch("TO", "c", 1).await;
    s.ack(&again[0], "+WPI").await;
    s.delete_message("TO", 4).await;
    s.advisories(1).await;
    s.ack(&again[0], "").await;
    s.advisories(1).await;
    s.info("TO", "c").await;
    // What is delivered as often as it may be.
    s.durable("TO", "two", |config| (config.max_deliver, config.ack_wait_ns) = (2, 300 * MS)).await;
    s.advisories(1).await;
    s.fetch("TO", "two", 2).await;
    let taken = s.await_messages("TO", "two", 5).await;
    s.pass(400).await;
    s.advisories(0).await;
    s.info("TO", "two").await;
    s.ack(&taken[0], "").await;
    s.ack(&taken[1], "").await;
    s.ack(&taken[2], "").await;
    // It is noticed when somebody pulls.
    s.fetch("TO", "two", 1).await;
    s.advisories(2).await;
    s.info("TO", "two").await;
    s.durable("TO", "one", |config| (config.max_deliver, config.ack_wait_ns) = (1, 300 * MS)).await;
    s.advisories(1).await;
    s.fetch("TO", "one", 2).await;
    s.advisories(2).await;
    s.info("TO", "one").await;
    s.delete_consumer("TO", "c").await;
    s.advisories(1).await;
    for sample in ["x", "0", "101%", "-5", "%", "+7"] {
        s.durable("TO", "d", |config| config.sample_freq = Some(sample.into())).await;
    }
    s.consumer("TO", "d", CreateOrUpdate, |config| config.sample_freq = Some("30".into())).await;
}
