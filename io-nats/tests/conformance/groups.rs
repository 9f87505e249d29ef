//! Priority groups: who of several clients of one consumer is served.

use crate::script::{MS, S, Script, waiting};
use crate::side::Side;
use cloudlysis_core::jetstream::ConsumerAction::CreateOrUpdate;
use cloudlysis_core::jetstream::api::{ConsumerConfig, PriorityPolicy, PullRequest};

fn group(policy: PriorityPolicy) -> impl Fn(&mut ConsumerConfig) {
    move |config| (config.priority_policy, config.priority_groups) = (policy, vec!["g".into()])
}

fn member(batch: u64, expires_ns: u64) -> PullRequest {
    PullRequest { group: Some("g".into()), ..waiting(batch, expires_ns) }
}

pub(crate) async fn overflow(s: &mut Script<impl Side>) {
    s.stream("OF", |_| {}).await;
    s.durable("OF", "c", group(PriorityPolicy::Overflow)).await;
    let when = |min_pending, min_ack_pending, expires_ns| PullRequest {
        min_pending,
        min_ack_pending,
        ..member(2, expires_ns)
    };
    s.publish_many("of.a", 2).await;
    s.pull("OF", "c", when(3, 0, 300 * MS)).await;
    s.pull("OF", "c", when(0, 1, 300 * MS)).await;
    s.pull("OF", "c", PullRequest { no_wait: true, ..when(3, 0, 0) }).await;
    s.pull("OF", "c", PullRequest { no_wait: true, ..when(3, 0, 300 * MS) }).await;
    let parked = s.start("OF", "c", when(4, 0, 5 * S)).await;
    s.info("OF", "c").await;
    s.publish_many("of.a", 2).await;
    s.end(parked).await;
    s.info("OF", "c").await;
    s.pull("OF", "c", when(0, 2, 5 * S)).await;
    // Who asks for nothing is served, whoever waits before.
    let parked = s.start("OF", "c", when(9, 9, 900 * MS)).await;
    s.publish("of.a").await;
    s.pull("OF", "c", member(1, 2 * S)).await;
    s.end(parked).await;
    s.info("OF", "c").await;
}

pub(crate) async fn prioritized(s: &mut Script<impl Side>) {
    s.stream("PR", |_| {}).await;
    s.durable("PR", "c", group(PriorityPolicy::Prioritized)).await;
    let of = |priority, batch| PullRequest { priority, ..member(batch, 5 * S) };
    let last = s.start("PR", "c", of(2, 2)).await;
    let first = s.start("PR", "c", of(0, 2)).await;
    let also_first = s.start("PR", "c", of(0, 1)).await;
    s.info("PR", "c").await;
    for _ in 0..5 {
        s.publish("pr.a").await;
        s.info("PR", "c").await;
    }
    s.end(first).await;
    s.end(also_first).await;
    s.end(last).await;
    for priority in [-1, 10] {
        s.pull("PR", "c", of(priority, 1)).await;
    }
}

pub(crate) async fn pinned_client(s: &mut Script<impl Side>) {
    s.stream("PI", |_| {}).await;
    s.durable("PI", "c", |config| {
        group(PriorityPolicy::PinnedClient)(config);
        config.priority_timeout_ns = 600 * MS;
    })
    .await;
    s.advisories(1).await;
    s.info("PI", "c").await;
    s.publish_many("pi.a", 2).await;
    s.pull("PI", "c", member(1, 5 * S)).await;
    s.advisories(1).await;
    s.info("PI", "c").await;
    // Others wait, and are told nothing.
    let mut other = s.start("PI", "c", member(1, 10 * S)).await;
    s.pull("PI", "c", PullRequest { id: Some("nobody".into()), ..member(1, S) }).await;
    s.silence(&mut other, 100).await;
    s.info("PI", "c").await;
    // Until the pinned client has been silent for too long.
    s.end(other).await;
    s.advisories(2).await;
    s.info("PI", "c").await;
    // Or until somebody puts an end to it.
    s.publish("pi.a").await;
    let mut next = s.start("PI", "c", member(1, 10 * S)).await;
    s.silence(&mut next, 100).await;
    s.unpin("PI", "c", "g").await;
    s.end(next).await;
    s.advisories(2).await;
    s.info("PI", "c").await;
    for name in ["h", ""] {
        s.unpin("PI", "c", name).await;
    }
    s.unpin("PI", "d", "g").await;
    s.unpin("PX", "d", "g").await;
    // A pin that is none is answered.
    s.pass(800).await;
    s.advisories(1).await;
    s.publish("pi.a").await;
    s.pull("PI", "c", PullRequest { id: Some("nobody".into()), ..member(1, 300 * MS) }).await;
    s.info("PI", "c").await;
}

pub(crate) async fn members_and_others(s: &mut Script<impl Side>) {
    s.stream("MO", |_| {}).await;
    for (name, policy) in [
        ("none", PriorityPolicy::None),
        ("over", PriorityPolicy::Overflow),
        ("pin", PriorityPolicy::PinnedClient),
        ("prio", PriorityPolicy::Prioritized),
    ] {
        s.durable("MO", name, |config| {
            config.priority_policy = policy;
            config.priority_groups =
                if policy == PriorityPolicy::None { Vec::new() } else { vec!["g".into(), "h".into()] };
        })
        .await;
        let short = || waiting(1, 100 * MS);
        for request in [
            short(),
            PullRequest { group: Some(String::new()), ..short() },
            PullRequest { group: Some("x".into()), ..short() },
            PullRequest { group: Some("h".into()), ..short() },
            PullRequest { min_pending: 1, ..member(1, 100 * MS) },
            PullRequest { min_ack_pending: 1, ..member(1, 100 * MS) },
            PullRequest { priority: 3, ..member(1, 100 * MS) },
            PullRequest { priority: 10, ..member(1, 100 * MS) },
            PullRequest { id: Some("x".into()), ..member(1, 100 * MS) },
        ] {
            s.pull("MO", name, request).await;
        }
        s.unpin("MO", name, "g").await;
        s.info("MO", name).await;
    }
}

pub(crate) async fn refused_groups(s: &mut Script<impl Side>) {
    s.stream("RG", |_| {}).await;
    for change in [
        (|c| c.priority_groups = vec!["g".into()]) as fn(&mut ConsumerConfig),
        |c| c.priority_timeout_ns = S,
        |c| c.priority_policy = PriorityPolicy::Overflow,
        |c| (c.priority_policy, c.priority_groups) = (PriorityPolicy::Overflow, vec![String::new()]),
        |c| (c.priority_policy, c.priority_groups) = (PriorityPolicy::Overflow, vec!["a b".into()]),
        |c| (c.priority_policy, c.priority_groups) = (PriorityPolicy::Overflow, vec!["a.b".into()]),
        |c| (c.priority_policy, c.priority_groups) = (PriorityPolicy::Overflow, vec!["x".repeat(17)]),
        |c| {
            (c.priority_policy, c.priority_groups) = (PriorityPolicy::Overflow, vec!["g".into()]);
            c.deliver_subject = Some("to.me".into());
        },
        |c| {
            (c.priority_policy, c.priority_groups) = (PriorityPolicy::Overflow, vec!["g".into()]);
            c.priority_timeout_ns = S;
        },
    ] {
        s.durable("RG", "c", change).await;
    }
    // The policy of a consumer that is there can be changed.
    s.durable("RG", "d", group(PriorityPolicy::Overflow)).await;
    s.consumer("RG", "d", CreateOrUpdate, group(PriorityPolicy::PinnedClient)).await;
    s.consumer("RG", "d", CreateOrUpdate, |c| {
        (c.priority_policy, c.priority_groups) = (PriorityPolicy::Prioritized, vec!["h".into()]);
    })
    .await;
    s.consumer("RG", "d", CreateOrUpdate, |_| {}).await;
    s.info("RG", "d").await;
}
