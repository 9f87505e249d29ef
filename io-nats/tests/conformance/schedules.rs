//! Scheduled messages: what is refused and why, what is stored, what comes of it.

use crate::script::Script;
use crate::side::Side;
use cloudlysis_core::jetstream::MessageBy;
use cloudlysis_core::jetstream::api::{Discard, Retention, StreamConfig};

const FAR: &str = "@at 2099-01-01T00:00:00Z";

fn scheduling(config: &mut StreamConfig) {
    (config.allow_msg_schedules, config.allow_msg_ttl) = (true, true);
}

/// A schedule on `sp.s` for `sp.t`, with other headers of this kind.
async fn try_one(s: &mut Script<impl Side>, pattern: &str, more: &[(&str, &str)]) {
    let mut headers = vec![("Nats-Schedule", pattern)];
    if more.iter().all(|(name, _)| *name != "Nats-Schedule-Target") {
        headers.push(("Nats-Schedule-Target", "sp.t"));
    }
    headers.extend_from_slice(more);
    s.publish_with("sp.s", "x", &headers).await;
}

pub(crate) async fn what_is_a_schedule(s: &mut Script<impl Side>) {
    s.stream("SP", scheduling).await;
    for pattern in [
        FAR,
        "@at 2099",
        "@at 2099-01-01T00:00:00.5Z",
        "@at 2099-01-01T00:00:00+05:00",
        "@at 2099-01-01",
        "@at 0001-01-01T00:00:00Z",
        "2099-01-01T00:00:00Z",
        "@every 1h",
        "@every 999ms",
        "@every -1h",
        "@every 1",
        "@every 1d",
        "@every 9999999999h",
        "@hourly",
        "@daily",
        "@midnight",
        "@weekly",
        "@monthly",
        "@yearly",
        "@annually",
        "@minutely",
        "@Hourly",
        "* * * * *",
        "* * * * * * *",
        "0 0 12 * * *",
        "0 0 12 * jan MON-FRI",
        "0 0 12 * * 7",
        "0 0 12 32 * *",
        "60 * * * * *",
        "0 0 24 * * *",
        "5/10 0 0 * * *",
        "1-5/2 0 0 * * *",
        "1-2-3 * * * * *",
        "1/2/3 * * * * *",
        "5-1 * * * * *",
        "*/0 * * * * *",
        "a * * * * *",
        "0 0 0 30 2 *",
        "0 0 0 29 2 *",
        "-1 * * * * *",
        "0  0   0 1 1 1",
    ] {
        try_one(s, pattern, &[]).await;
    }
    for zone in ["UTC", "utc", "Europe/Amsterdam", "Europe/Nowhere", "+02:00", "", "../etc/passwd"] {
        for pattern in ["0 0 12 * * *", "@hourly", "@every 1h", FAR, "@bad"] {
            try_one(s, pattern, &[("Nats-Schedule-Time-Zone", zone)]).await;
        }
        s.publish_with("sp.s", "x", &[("Nats-Schedule-Time-Zone", zone)]).await;
    }
    s.subjects("SP", ">").await;
}

pub(crate) async fn what_a_schedule_may_ask_for(s: &mut Script<impl Side>) {
    s.stream("SP", scheduling).await;
    for target in ["", "sp.s", "q.s", "sp.*", "sp..b", "sp.>", "sp.t"] {
        try_one(s, FAR, &[("Nats-Schedule-Target", target)]).await;
    }
    for ttl in ["5m", "never", "5", "500ms", "banana", ""] {
        try_one(s, FAR, &[("Nats-Schedule-TTL", ttl)]).await;
    }
    for rollup in ["sub", "all", "SUB", ""] {
        try_one(s, FAR, &[("Nats-Schedule-Rollup", rollup)]).await;
    }
    for rollup in ["sub", "all", "bad"] {
        try_one(s, FAR, &[("Nats-Rollup", rollup)]).await;
    }
    for source in ["sp.src", "sp.*", "sp.t", "sp.s", "zzz", "", "sp..b"] {
        try_one(s, FAR, &[("Nats-Schedule-Source", source)]).await;
    }
    for more in [
        &[("Nats-Scheduler", "sp.q")][..],
        &[("Nats-Schedule-Next", "x")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "sp.q")],
        &[("Nats-Schedule-Rollup", "x"), ("Nats-Schedule-Source", "sp.*")],
        &[("Nats-Rollup", "all"), ("Nats-Schedule-Source", "sp.*")],
        &[("Nats-Schedule-Target", "sp.*"), ("Nats-Scheduler", "x")],
        &[("Nats-Schedule-TTL", "bad"), ("Nats-Schedule-Target", "")],
        &[("Nats-Expected-Last-Sequence", "1")],
        &[("Nats-Msg-Id", "1")],
        &[("Nats-Msg-Id", "1")],
    ] {
        try_one(s, FAR, more).await;
        try_one(s, "@bad", more).await;
    }
    s.state("SP").await;
}

pub(crate) async fn who_may_end_a_schedule(s: &mut Script<impl Side>) {
    s.stream("SP", scheduling).await;
    s.publish("sp.plain").await;
    try_one(s, FAR, &[]).await;
    for (next, scheduler) in [
        (None, Some("sp.q")),
        (Some("purge"), None),
        (Some("purge"), Some("")),
        (Some("purge"), Some("sp.u")),
        (Some("purge"), Some("sp.>")),
        (Some("2099-01-01T00:00:00Z"), Some("sp.s")),
        (Some("purge"), Some("sp.nothing")),
        (Some("purge"), Some("zz.nothing")),
        (Some("purge"), Some("sp.plain")),
        (Some(""), None),
        (None, Some("")),
        (Some("purge"), Some("sp.s")),
    ] {
        let next = next.map(|value| ("Nats-Schedule-Next", value));
        let scheduler = scheduler.map(|value| ("Nats-Scheduler", value));
        let headers: Vec<_> = [next, scheduler].into_iter().flatten().collect();
        s.publish_with("sp.u", "x", &headers).await;
    }
    s.subjects("SP", ">").await;
    s.state("SP").await;
}

pub(crate) async fn where_schedules_are_allowed(s: &mut Script<impl Side>) {
    s.stream("OFF", |config| config.allow_msg_ttl = true).await;
    let target = ("Nats-Schedule-Target", "off.t");
    for headers in [
        &[("Nats-Schedule", FAR), target][..],
        &[("Nats-Schedule", "@bad")],
        &[("Nats-Schedule", "")],
        &[("Nats-Schedule-Time-Zone", "Nope")],
        &[("Nats-Schedule", FAR), ("Nats-Schedule-TTL", "bad")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "off.q")],
        &[("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "off.d")],
        &[("Nats-Schedule-Next", "x")],
        &[("Nats-Scheduler", "off.q")],
        &[target],
    ] {
        s.publish_with("off.d", "x", headers).await;
    }
    s.update("OFF", |config| config.allow_msg_schedules = true).await;
    s.publish_with("off.d", "x", &[("Nats-Schedule", FAR), target]).await;
    s.update("OFF", |config| config.allow_msg_schedules = false).await;
    s.stream("NOTTL", |config| config.allow_msg_schedules = true).await;
    for ttl in ["5m", "banana"] {
        let headers =
            [("Nats-Schedule", FAR), ("Nats-Schedule-Target", "nottl.t"), ("Nats-Schedule-TTL", ttl)];
        s.publish_with("nottl.s", "x", &headers).await;
    }
    s.stream("NEW", |config| {
        scheduling(config);
        (config.discard, config.max_msgs) = (Discard::New, 5);
    })
    .await;
    s.stream("QUEUE", |config| {
        scheduling(config);
        config.retention = Retention::Workqueue;
    })
    .await;
}

pub(crate) async fn what_comes_of_a_schedule(s: &mut Script<impl Side>) {
    s.stream("SP", scheduling).await;
    let past = "@at 2009-01-01T00:00:00Z";
    let more = [
        ("X", "kept"),
        ("Nats-Schedule-TTL", "5m"),
        ("Nats-Msg-Id", "1"),
        ("Nats-TTL", "1h"),
        ("Nats-Schedule-Rollup", "sub"),
    ];
    try_one(s, past, &more).await;
    s.get("SP", MessageBy::Seq(1)).await;
    s.pass(1_500).await;
    s.get("SP", MessageBy::Seq(2)).await;
    s.state("SP").await;
    // The body of another message.
    s.publish_with("sp.src", "sample", &[("From", "src"), ("Nats-TTL", "1h")]).await;
    try_one(s, past, &[("Nats-Schedule-Source", "sp.src")]).await;
    s.pass(1_500).await;
    s.get("SP", MessageBy::LastBySubject("sp.t".into())).await;
    // Replaced, deleted, and ended by something else on its subject.
    try_one(s, FAR, &[]).await;
    try_one(s, past, &[("Which", "second")]).await;
    let gone = [("Nats-Schedule", past), ("Nats-Schedule-Target", "sp.gone")];
    s.publish_with("sp.x", "x", &gone).await;
    s.delete_message("SP", 7).await;
    s.publish_with("sp.y", "x", &gone).await;
    s.publish("sp.y").await;
    s.pass(1_500).await;
    s.get("SP", MessageBy::LastBySubject("sp.t".into())).await;
    s.subjects("SP", ">").await;
    s.state("SP").await;
}

pub(crate) async fn schedules_over_a_restart(s: &mut Script<impl Side>) {
    s.stream("SP", scheduling).await;
    try_one(s, "@every 2s", &[]).await;
    s.publish_with("sp.late", "x", &[("Nats-Schedule", FAR), ("Nats-Schedule-Target", "sp.t")]).await;
    s.restart().await;
    s.until_messages("SP", 4).await;
    s.subjects("SP", "sp.s").await;
    s.subjects("SP", "sp.late").await;
}
