//! Stream configurations: what comes back, what is refused, what an update may change, lists of streams.

use crate::script::{MS, S, Script};
use crate::side::Side;
use cloudlysis_core::jetstream::ConsumerAction;
use cloudlysis_core::jetstream::api::{
    AckPolicy, ConsumerLimits, Discard, PersistMode, Placement, Retention, Storage, StreamConfig,
};

type Change = fn(&mut StreamConfig);

pub(crate) async fn fields(s: &mut Script<impl Side>) {
    for change in [
        (|_| {}) as Change,
        |c| c.no_ack = true,
        |c| c.description = Some("what".into()),
        |c| c.placement = Some(Placement::default()),
        |c| c.placement = Some(Placement { cluster: "x".into(), ..Placement::default() }),
        |c| c.placement = Some(Placement { tags: vec!["a".into()], ..Placement::default() }),
        |c| c.persist_mode = PersistMode::Async,
        |c| c.max_msgs = -5,
        |c| (c.max_bytes, c.max_msg_size, c.max_consumers, c.max_msgs_per_subject) = (0, -3, 0, -9),
        |c| c.max_age_ns = S,
        |c| c.consumer_limits = ConsumerLimits { max_ack_pending: 5, inactive_threshold_ns: S },
        |c| c.subjects = vec!["a*".into(), "b>".into()],
        |c| (c.allow_direct, c.deny_delete, c.deny_purge) = (true, true, true),
    ] {
        s.stream("F", change).await;
        s.delete_stream("F").await;
    }
    for (name, subject, no_ack) in [
        ("W1", "*", false),
        ("W2", "$JS.EVENT.>", false),
        ("W3", "$SYS.ACCOUNT.>", false),
        ("W4", ">", true),
        ("W5", "$JS.API.>", true),
    ] {
        s.system_stream(name, |c| (c.subjects, c.no_ack) = (vec![subject.into()], no_ack)).await;
        s.delete_stream(name).await;
    }
    s.stream("FIRST", |c| c.first_seq = 10).await;
    s.state("FIRST").await;
    s.publish("first.a").await;
    s.state("FIRST").await;
    // The real server applies this one when it restarts next, and loses what it had acknowledged.
    s.update("FIRST", |c| c.first_seq = 20).await;
    s.publish("first.a").await;
    s.state("FIRST").await;
    s.purge("FIRST", None, None, None).await;
    s.details("FIRST").await;
}

pub(crate) async fn refused_fields(s: &mut Script<impl Side>) {
    s.stream("OTHER", |_| {}).await;
    for change in [
        (|c| c.mirror_direct = true) as Change,
        |c| (c.mirror_direct, c.description) = (true, Some("x".repeat(5000))),
        |c| (c.sealed, c.mirror_direct) = (true, true),
        |c| (c.sealed, c.num_replicas) = (true, 3),
        |c| c.num_replicas = 3,
        |c| (c.num_replicas, c.subjects) = (3, vec!["other.x".into()]),
        |c| c.placement = Some(Placement { preferred: "x".into(), ..Placement::default() }),
        |c| (c.persist_mode, c.storage) = (PersistMode::Async, Storage::Memory),
        |c| (c.persist_mode, c.allow_atomic) = (PersistMode::Async, true),
        |c| c.subject_delete_marker_ttl_ns = 100 * MS,
        |c| (c.allow_msg_schedules, c.discard) = (true, Discard::New),
        |c| (c.allow_msg_counter, c.discard) = (true, Discard::New),
        |c| (c.allow_msg_counter, c.allow_msg_ttl) = (true, true),
        |c| (c.allow_msg_counter, c.allow_msg_schedules) = (true, true),
        |c| (c.allow_msg_counter, c.retention) = (true, Retention::Interest),
        |c| c.subjects = vec!["$JSC.x".into()],
        |c| c.subjects = vec!["$NRG.x".into()],
        |c| c.subjects = vec!["$SYS.x".into()],
        |c| (c.subjects, c.no_ack, c.num_replicas) = (vec![">".into()], true, 3),
        |c| c.subjects = vec!["a".into(), "b".into(), "a".into()],
        |c| c.subjects = vec!["a.b".into(), "a.*".into()],
        |c| c.subjects = vec!["a b".into()],
        |c| c.subjects = vec![String::new()],
        |c| c.subjects = vec!["a.>.b".into()],
        |c| c.subjects = vec!["a..b".into(), ">".into()],
    ] {
        s.stream("R", change).await;
    }
    for change in [
        (|c| c.max_msgs = -5) as Change,
        |c| c.max_msgs = 0,
        |c| c.max_bytes = -5,
        |c| c.max_msg_size = -5,
        |c| c.max_consumers = -5,
        |c| c.max_msgs_per_subject = -5,
        |c| c.max_age_ns = S,
        |c| c.subject_delete_marker_ttl_ns = S,
        |c| c.allow_msg_schedules = true,
    ] {
        s.pedantic("P", change).await;
        s.delete_stream("P").await;
    }
}

pub(crate) async fn changed_fields(s: &mut Script<impl Side>) {
    for (before, after) in [
        ((|_| {}) as Change, (|c| c.storage = Storage::Memory) as Change),
        (|c| c.retention = Retention::Workqueue, |c| c.retention = Retention::Limits),
        (|_| {}, |c| c.retention = Retention::Interest),
        (|c| c.deny_delete = true, |c| c.deny_delete = false),
        (|_| {}, |c| c.persist_mode = PersistMode::Async),
        (|_| {}, |c| c.first_seq = 7),
        (|_| {}, |c| c.num_replicas = 3),
        (|_| {}, |c| (c.sealed, c.max_age_ns) = (true, 10 * S)),
        (|_| {}, |c| c.no_ack = true),
        (|_| {}, |c| c.placement = Some(Placement { cluster: "x".into(), ..Placement::default() })),
        (|_| {}, |c| c.max_consumers = 3),
        (|_| {}, |c| (c.max_age_ns, c.duplicate_window_ns) = (S, 2 * S)),
        (
            |_| {},
            |c| (c.discard, c.max_msgs_per_subject, c.discard_new_per_subject) = (Discard::Old, 1, true),
        ),
        (|_| {}, |c| c.subjects = vec!["u.>".into(), "u2".into()]),
    ] {
        s.stream("U", before).await;
        s.update("U", after).await;
        s.state("U").await;
        s.delete_stream("U").await;
    }
}

pub(crate) async fn consumer_limits(s: &mut Script<impl Side>) {
    s.stream("L", |_| {}).await;
    s.durable("L", "a", |c| (c.max_ack_pending, c.inactive_threshold_ns) = (100, 10 * S)).await;
    s.durable("L", "b", |c| c.max_ack_pending = 5).await;
    s.update("L", |c| c.consumer_limits.max_ack_pending = 5).await;
    s.update("L", |c| c.consumer_limits.inactive_threshold_ns = S).await;
    s.delete_consumer("L", "a").await;
    let limits = ConsumerLimits { max_ack_pending: 5, inactive_threshold_ns: 60 * S };
    s.stream("M", |c| c.consumer_limits = limits).await;
    for change in [
        (|_| {}) as fn(&mut cloudlysis_core::jetstream::api::ConsumerConfig),
        |c| c.max_ack_pending = 6,
        |c| c.max_ack_pending = 4,
        |c| c.max_ack_pending = -1,
        |c| c.inactive_threshold_ns = 61 * S,
        |c| c.ack_policy = AckPolicy::None,
    ] {
        s.consumer("M", "c", ConsumerAction::Create, change).await;
        s.delete_consumer("M", "c").await;
    }
}

pub(crate) async fn lists(s: &mut Script<impl Side>) {
    s.account().await;
    for name in ["A", "B", "C"] {
        s.stream(name, |_| {}).await;
    }
    s.stream("MEM", |c| (c.storage, c.max_bytes) = (Storage::Memory, 1_000)).await;
    s.stream("FILE", |c| c.max_bytes = 500).await;
    for subject in ["a.x", "a.y", "a.z", "mem.a"] {
        s.publish(subject).await;
    }
    for name in ["a", "b", "c"] {
        s.durable("A", name, |_| {}).await;
    }
    s.account().await;
    for (subject, offset) in
        [(None, 0), (None, 2), (None, 9), (Some("b.x"), 0), (Some(">"), 1), (Some("z"), 0)]
    {
        s.lists_from(subject, offset).await;
    }
    for offset in [0, 1, 9] {
        s.consumers_from("A", offset).await;
    }
    s.consumers_from("B", 0).await;
    s.consumers_from("NOPE", 0).await;
    for (filter, offset) in [(">", 0), (">", 1), (">", 9), ("a.y", 0), ("zz", 0)] {
        s.subjects_from("A", filter, offset).await;
    }
}
