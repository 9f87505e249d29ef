//! Consumers: where they begin, what they deliver, what may be changed, as `p03`, `p04` and `p08` saw it.

use super::super::api::{AckPolicy, ConsumerConfig, DeliverPolicy};
use super::super::{Answer, ConsumerAction, Request};
use super::{Bench, LIMITS, S, durable, waiting};
use crate::jetstream::Limits;

fn by_start(seq: u64) -> impl FnOnce(&mut ConsumerConfig) {
    move |config| {
        config.deliver_policy = DeliverPolicy::ByStartSequence;
        config.opt_start_seq = Some(seq);
    }
}

fn policy(policy: DeliverPolicy, filter: &str) -> impl FnOnce(&mut ConsumerConfig) {
    let filter = Some(filter.to_owned());
    move |config| (config.deliver_policy, config.filter_subject) = (policy, filter)
}

#[test]
fn where_a_consumer_begins() {
    let mut bench = Bench::new();
    bench.stream("DP", |_| {});
    for subject in ["dp.a", "dp.a", "dp.b", "dp.b", "dp.a", "dp.b"] {
        bench.publish(subject);
    }
    bench.purge("DP", None, Some(3), None);
    bench.durable("DP", "all", |_| {});
    bench.durable("DP", "last", policy(DeliverPolicy::Last, ""));
    bench.durable("DP", "new", policy(DeliverPolicy::New, ""));
    bench.durable("DP", "seq1", by_start(1));
    bench.durable("DP", "seq4", by_start(4));
    bench.durable("DP", "seq100", by_start(100));
    bench.durable("DP", "lps", policy(DeliverPolicy::LastPerSubject, "dp.>"));
    bench.durable("DP", "lastf", policy(DeliverPolicy::Last, "dp.a"));
    bench.durable("DP", "lastnone", policy(DeliverPolicy::Last, "dp.z"));
    bench.durable("DP", "lpsnone", policy(DeliverPolicy::LastPerSubject, "dp.z"));
    bench.durable("DP", "allf", policy(DeliverPolicy::All, "dp.b"));
    let expected = [
        ("all", "del 0/2 floor 0/2 ackp 0 redel 0 wait 0 pend 4", "1.3.1 3, 1.4.2 2, 1.5.3 1, 1.6.4 0, "),
        ("last", "del 0/5 floor 0/5 ackp 0 redel 0 wait 0 pend 1", "1.6.1 0, "),
        ("new", "del 0/6 floor 0/6 ackp 0 redel 0 wait 0 pend 0", ""),
        ("seq1", "del 0/2 floor 0/2 ackp 0 redel 0 wait 0 pend 4", "1.3.1 3, 1.4.2 2, 1.5.3 1, 1.6.4 0, "),
        ("seq4", "del 0/3 floor 0/3 ackp 0 redel 0 wait 0 pend 3", "1.4.1 2, 1.5.2 1, 1.6.3 0, "),
        ("seq100", "del 0/99 floor 0/99 ackp 0 redel 0 wait 0 pend 0", ""),
        ("lps", "del 0/4 floor 0/4 ackp 0 redel 0 wait 0 pend 2", "1.5.1 1, 1.6.2 0, "),
        ("lastf", "del 0/4 floor 0/4 ackp 0 redel 0 wait 0 pend 1", "1.5.1 0, "),
        ("lastnone", "del 0/2 floor 0/2 ackp 0 redel 0 wait 0 pend 0", ""),
        ("lpsnone", "del 0/5 floor 0/5 ackp 0 redel 0 wait 0 pend 0", ""),
        ("allf", "del 0/2 floor 0/2 ackp 0 redel 0 wait 0 pend 3", "1.3.1 2, 1.4.2 1, 1.6.3 0, "),
    ];
    for (name, info, messages) in expected {
        assert_eq!(bench.info("DP", name), info, "{name}");
        assert_eq!(bench.fetch("DP", name, 10).join(", "), format!("{messages}404 No Messages"), "{name}");
    }
    assert_eq!(bench.info("DP", "allf"), "del 3/6 floor 0/2 ackp 3 redel 0 wait 0 pend 0");
    assert_eq!(bench.info("DP", "lastf"), "del 1/5 floor 0/4 ackp 1 redel 0 wait 0 pend 0");
    bench.publish("dp.a");
    bench.publish("dp.z");
    for (name, messages) in [
        ("seq100", ""),
        ("lps", "1.7.3 1, 1.8.4 0, "),
        ("lastnone", "1.8.1 0, "),
        ("lpsnone", "1.8.1 0, "),
        ("new", "1.7.1 1, 1.8.2 0, "),
    ] {
        assert_eq!(bench.fetch("DP", name, 10).join(", "), format!("{messages}404 No Messages"), "{name}");
    }
}

#[test]
fn where_a_consumer_of_an_empty_stream_begins() {
    let mut bench = Bench::new();
    bench.stream("EM", |_| {});
    bench.durable("EM", "all", |_| {});
    bench.durable("EM", "last", policy(DeliverPolicy::Last, ""));
    bench.durable("EM", "new", policy(DeliverPolicy::New, ""));
    bench.durable("EM", "lps", policy(DeliverPolicy::LastPerSubject, "em.>"));
    bench.durable("EM", "seq4", by_start(4));
    bench.publish_many("em.a", 2);
    for name in ["all", "last", "new", "lps"] {
        assert_eq!(bench.info("EM", name), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 2", "{name}");
        assert_eq!(bench.fetch("EM", name, 10), ["1.1.1 1", "1.2.2 0", "404 No Messages"], "{name}");
    }
    assert_eq!(bench.info("EM", "seq4"), "del 0/3 floor 0/3 ackp 0 redel 0 wait 0 pend 0");
    bench.publish_many("em.a", 2);
    assert_eq!(bench.fetch("EM", "seq4", 10), ["1.4.1 0", "404 No Messages"]);
}

#[test]
fn filters() {
    let mut bench = Bench::new();
    bench.stream("DP", |_| {});
    let mut refused =
        |change: fn(&mut ConsumerConfig)| bench.consumer("DP", "f", ConsumerAction::Create, change);
    assert_eq!(
        refused(|c| (c.filter_subject, c.filter_subjects) = (Some("dp.a".into()), vec!["dp.b".into()]))
            .as_deref(),
        Some("400 10136 consumer cannot have both FilterSubject and FilterSubjects specified")
    );
    assert_eq!(
        refused(|c| c.filter_subjects = vec!["dp.a".into(), String::new()]).as_deref(),
        Some("400 10139 consumer filter in FilterSubjects cannot be empty")
    );
    assert_eq!(
        refused(|c| c.filter_subjects = vec!["dp.a".into(), "dp.*".into()]).as_deref(),
        Some("400 10138 consumer subject filters cannot overlap")
    );
    assert_eq!(
        refused(|c| c.filter_subject = Some("a..b".into())).as_deref(),
        Some("500 10052 invalid subject")
    );
    assert_eq!(refused(|c| c.filter_subject = Some("zz.>".into())), None);
    bench.durable("DP", "two", |c| c.filter_subjects = vec!["dp.a".into(), "dp.c".into()]);
    bench.durable("DP", "wild", |c| c.filter_subject = Some("dp.*.x".into()));
    for subject in ["dp.a", "dp.b", "dp.c", "dp.b.x"] {
        bench.publish(subject);
    }
    assert_eq!(bench.fetch("DP", "two", 9), ["1.1.1 1", "1.3.2 0", "404 No Messages"]);
    assert_eq!(bench.fetch("DP", "wild", 9), ["1.4.1 0", "404 No Messages"]);
}

#[test]
fn a_changed_filter_does_not_rewind() {
    let mut bench = Bench::new();
    bench.stream("FI", |_| {});
    for subject in ["fi.b", "fi.a", "fi.a", "fi.b", "fi.b"] {
        bench.publish(subject);
    }
    bench.durable("FI", "c", |config| config.filter_subject = Some("fi.a".into()));
    for delivery in bench.take("FI", "c", 2) {
        bench.ack(&delivery);
    }
    let changed = |config: &mut ConsumerConfig| config.filter_subject = Some("fi.b".into());
    assert_eq!(bench.consumer("FI", "c", ConsumerAction::CreateOrUpdate, changed), None);
    assert_eq!(bench.info("FI", "c"), "del 2/3 floor 2/3 ackp 0 redel 0 wait 0 pend 2");
    assert_eq!(bench.fetch("FI", "c", 5), ["1.4.3 1", "1.5.4 0", "404 No Messages"]);
}

#[test]
fn creating_and_changing() {
    let mut bench = Bench::new();
    bench.stream("DP", |_| {});
    let ack_wait = |config: &mut ConsumerConfig| config.ack_wait_ns = 7 * S;
    assert_eq!(
        bench.consumer("DP", "d", ConsumerAction::Update, |_| {}).as_deref(),
        Some("400 10149 consumer does not exist")
    );
    assert_eq!(bench.consumer("DP", "d", ConsumerAction::Create, |_| {}), None);
    assert_eq!(bench.consumer("DP", "d", ConsumerAction::Create, |_| {}), None);
    assert_eq!(
        bench.consumer("DP", "d", ConsumerAction::Create, ack_wait).as_deref(),
        Some("400 10148 consumer already exists")
    );
    assert_eq!(bench.consumer("DP", "d", ConsumerAction::Update, ack_wait), None);
    for (change, field) in [
        ((|c| c.ack_policy = AckPolicy::None) as fn(&mut ConsumerConfig), "ack policy"),
        (|c| c.deliver_policy = DeliverPolicy::New, "deliver policy"),
        (|c| c.max_waiting = 3, "max waiting"),
    ] {
        let refused = bench.consumer("DP", "d", ConsumerAction::CreateOrUpdate, change);
        assert_eq!(refused, Some(format!("500 10012 {field} can not be updated")));
    }
    bench.durable("DP", "s", by_start(2));
    let refused = bench.consumer("DP", "s", ConsumerAction::CreateOrUpdate, by_start(3));
    assert_eq!(refused.as_deref(), Some("500 10012 start sequence can not be updated"));
    // Without its durable name it is not what is there, though that stays durable.
    let plain =
        ConsumerConfig { durable_name: None, name: Some("d".into()), ack_wait_ns: 7 * S, ..durable("d") };
    let request = |action| Request::ConsumerCreate {
        stream: "DP".into(),
        config: Box::new(plain.clone()),
        action,
        pedantic: false,
    };
    let refused = bench.error(request(ConsumerAction::Create));
    assert_eq!(refused.as_deref(), Some("400 10148 consumer already exists"));
    assert_eq!(bench.error(request(ConsumerAction::CreateOrUpdate)), None);
    let names = bench.request(Request::ConsumerNames { stream: "DP".into(), offset: 0 });
    assert!(matches!(names, Answer::ConsumerNames(names) if names.items == ["d", "s"]));
    assert!(
        matches!(bench.request(Request::ConsumerList { stream: "DP".into(), offset: 0 }), Answer::Consumers(all) if all.items.len() == 2)
    );
    let missing = Request::ConsumerInfo { stream: "DP".into(), consumer: "zz".into() };
    assert_eq!(bench.error(missing).as_deref(), Some("404 10014 consumer not found"));
    let nowhere = bench.consumer("NOPE", "a", ConsumerAction::Create, |_| {});
    assert_eq!(nowhere.as_deref(), Some("404 10059 stream not found"));
}

#[test]
fn configurations_get_defaults_or_are_refused() {
    let mut bench = Bench::new();
    bench.stream("Z", |config| config.max_consumers = 2);
    bench.durable("Z", "d", |config| drop(config.metadata.insert("owner".into(), "me".into())));
    let own = bench.broker.machine().consumer("Z", "d").expect("a consumer").config;
    assert_eq!((own.name.as_deref(), own.ack_wait_ns, own.max_ack_pending), (Some("d"), 30 * S, 1000));
    assert_eq!((own.max_waiting, own.max_deliver, own.metadata["owner"].as_str()), (512, -1, "me"));
    bench.durable("Z", "b", |config| {
        (config.backoff_ns, config.max_deliver, config.ack_wait_ns) = (vec![S, 2 * S], 2, 9 * S);
    });
    assert_eq!(bench.broker.machine().consumer("Z", "b").expect("a consumer").config.ack_wait_ns, S);
    for (change, error) in [
        ((|_| {}) as fn(&mut ConsumerConfig), "400 10026 maximum consumers limit reached"),
        (
            |c| (c.backoff_ns, c.max_deliver) = (vec![S; 3], 2),
            "400 10116 max deliver is required to be > length of backoff values",
        ),
        (|c| c.max_expires_ns = 1000, "400 10115 consumer max request expires needs to be >= 1ms"),
        (
            |c| c.description = Some("x".repeat(5000)),
            "400 10107 consumer description is too long, maximum allowed is 4096",
        ),
        (
            |c| drop(c.metadata.insert("a".into(), "x".repeat(131_073))),
            "400 10135 consumer metadata exceeds maximum size of 128KB",
        ),
        (|c| c.durable_name = Some("a/b".into()), "400 10127 Consumer name can not contain path separators"),
        (
            |c| c.durable_name = Some("a>".into()),
            r"500 10052 consumer name can not contain '.', '*', '>', '\', '/'",
        ),
        (
            |c| c.durable_name = Some("x".repeat(256)),
            "400 10102 consumer name is too long, maximum allowed is 255",
        ),
        (|c| c.num_replicas = 2, "400 10126 consumer config replica count exceeds parent stream"),
        (
            |c| c.deliver_policy = DeliverPolicy::LastPerSubject,
            "400 10094 consumer delivery policy is deliver last per subject, but optional filter subject is not set",
        ),
        (
            |c| c.deliver_policy = DeliverPolicy::ByStartSequence,
            "400 10094 consumer delivery policy is deliver by start sequence, but optional start sequence is not set",
        ),
        (
            |c| c.opt_start_seq = Some(3),
            "400 10094 consumer delivery policy is deliver all, but optional start sequence is also set",
        ),
        (
            |c| c.deliver_policy = DeliverPolicy::ByStartTime,
            "400 10094 consumer delivery policy is deliver by start time, but optional start time is not set",
        ),
        (
            |c| c.opt_start_time = Some("soon".into()),
            "400 10025 invalid JSON: parsing time \"soon\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"soon\" as \"2006\"",
        ),
    ] {
        assert_eq!(bench.consumer("Z", "q", ConsumerAction::Create, change).as_deref(), Some(error));
    }
}

#[test]
fn an_ephemeral_goes_when_nobody_uses_it() {
    let mut bench = Bench::new();
    bench.stream("IN", |_| {});
    let ephemeral = ConsumerConfig { durable_name: None, name: Some("eph".into()), ..durable("") };
    let create = Request::ConsumerCreate {
        stream: "IN".into(),
        config: Box::new(ephemeral),
        action: ConsumerAction::Create,
        pedantic: false,
    };
    assert_eq!(bench.error(create), None);
    bench.durable("IN", "d", |config| config.inactive_threshold_ns = S);
    bench.durable("IN", "kept", |_| {});
    bench.publish("in.a");
    // A waiting pull is use, and so is a delivery that may still be acked.
    bench.pull("IN", "d", waiting(1, 30 * S), 0);
    bench.pull("IN", "eph", waiting(2, 7 * S), 6_000);
    assert_ne!(bench.info("IN", "eph"), "gone");
    bench.advance(24_900);
    assert_ne!(bench.info("IN", "d"), "gone");
    assert_ne!(bench.info("IN", "eph"), "gone");
    bench.advance(40_000);
    assert_eq!((bench.info("IN", "d").as_str(), bench.info("IN", "eph").as_str()), ("gone", "gone"));
    assert_eq!(bench.info("IN", "kept"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 1");
}

#[test]
fn limits_and_deletes_reach_under_a_consumer() {
    let mut bench = Bench::new();
    bench.stream("LM", |config| config.max_msgs = 2);
    bench.durable("LM", "c", |_| {});
    bench.publish_many("lm.a", 2);
    bench.take("LM", "c", 2);
    bench.publish_many("lm.a", 5);
    assert_eq!(bench.info("LM", "c"), "del 2/2 floor 2/2 ackp 0 redel 0 wait 0 pend 2");
    assert_eq!(bench.fetch("LM", "c", 5), ["1.6.3 1", "1.7.4 0", "404 No Messages"]);

    bench.stream("LI", |config| config.max_msgs_per_subject = 1);
    bench.durable("LI", "c", |_| {});
    for subject in ["li.a", "li.b", "li.c"] {
        bench.publish(subject);
    }
    let taken = bench.take("LI", "c", 3);
    bench.publish("li.b");
    assert_eq!(bench.info("LI", "c"), "del 3/3 floor 0/0 ackp 2 redel 0 wait 0 pend 1");
    bench.ack(&taken[0]);
    assert_eq!(bench.info("LI", "c"), "del 3/3 floor 2/2 ackp 1 redel 0 wait 0 pend 1");
    bench.ack(&taken[2]);
    assert_eq!(bench.info("LI", "c"), "del 3/3 floor 3/3 ackp 0 redel 0 wait 0 pend 1");
}

#[test]
fn purges_reach_under_a_consumer() {
    let mut bench = Bench::new();
    bench.stream("PG", |_| {});
    bench.durable("PG", "d", |config| config.ack_wait_ns = S / 2);
    bench.publish_many("pg.a", 5);
    let taken = bench.take("PG", "d", 3);
    assert_eq!(bench.info("PG", "d"), "del 3/3 floor 0/0 ackp 3 redel 0 wait 0 pend 2");
    bench.purge("PG", None, None, None);
    assert_eq!(bench.info("PG", "d"), "del 3/5 floor 3/5 ackp 0 redel 0 wait 0 pend 0");
    assert_eq!(bench.answer(&taken[0].ack, ""), Some(String::new()));
    bench.advance(800);
    assert_eq!(bench.fetch("PG", "d", 3), ["404 No Messages"]);
    bench.publish_many("pg.a", 2);
    bench.take("PG", "d", 2);
    bench.delete_message("PG", 6);
    bench.advance(800);
    assert_eq!(bench.fetch("PG", "d", 5), ["2.7.6 0", "404 No Messages"]);
    assert_eq!(bench.info("PG", "d"), "del 6/7 floor 4/6 ackp 1 redel 1 wait 0 pend 0");
}

#[test]
fn a_purge_of_one_subject_moves_who_wants_only_that() {
    let mut bench = Bench::new();
    bench.stream("PP", |_| {});
    bench.durable("PP", "c", |_| {});
    bench.durable("PP", "f", |config| config.filter_subject = Some("pp.a".into()));
    bench.publish_many("pp.a", 3);
    bench.publish_many("pp.b", 3);
    bench.take("PP", "c", 5);
    bench.take("PP", "f", 2);
    bench.purge("PP", Some("pp.a"), None, None);
    assert_eq!(bench.info("PP", "c"), "del 5/5 floor 3/3 ackp 2 redel 0 wait 0 pend 1");
    assert_eq!(bench.info("PP", "f"), "del 2/6 floor 2/6 ackp 0 redel 0 wait 0 pend 0");
    bench.purge("PP", None, Some(6), None);
    assert_eq!(bench.info("PP", "c"), "del 5/5 floor 5/5 ackp 0 redel 0 wait 0 pend 1");
    bench.publish("pp.a");
    assert_eq!(bench.fetch("PP", "c", 5), ["1.6.6 1", "1.7.7 0", "404 No Messages"]);
    assert_eq!(bench.fetch("PP", "f", 5), ["1.7.3 0", "404 No Messages"]);
}

#[test]
fn the_last_of_each_subject_can_be_removed_before_it_is_delivered() {
    let mut bench = Bench::new();
    bench.stream("LP", |_| {});
    for subject in ["lp.a", "lp.b", "lp.a", "lp.c"] {
        bench.publish(subject);
    }
    bench.durable("LP", "c", policy(DeliverPolicy::LastPerSubject, "lp.>"));
    assert_eq!(bench.fetch("LP", "c", 1), ["1.2.1 2"]);
    bench.delete_message("LP", 3);
    bench.delete_message("LP", 1);
    bench.publish("lp.b");
    bench.crash();
    bench.advance(0);
    assert_eq!(bench.info("LP", "c"), "del 0/1 floor 0/1 ackp 0 redel 0 wait 0 pend 3");
    assert_eq!(bench.fetch("LP", "c", 9), ["1.2.1 2", "1.4.2 1", "1.5.3 0", "404 No Messages"]);
}

#[test]
fn consumers_are_bounded() {
    let mut bench = Bench::with(Limits { consumers_per_stream_max: 1, ..LIMITS });
    bench.stream("A", |_| {});
    bench.durable("A", "a", |_| {});
    let refused = bench.consumer("A", "b", ConsumerAction::Create, |_| {});
    assert_eq!(refused.as_deref(), Some("400 10026 maximum consumers limit reached"));
}
