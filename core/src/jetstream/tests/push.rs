//! Push consumers and ephemerals, as `p04_more.py` and a real server showed them.

use super::super::api::{AckPolicy, ConsumerConfig, DeliverPolicy};
use super::super::{Answer, ConsumerAction, Effect, Input, Request};
use super::{Bench, LIMITS, MS, S, deliveries, durable, refused, seen, waiting};
use crate::jetstream::Limits;

/// What clients create to watch a KV bucket.
fn watcher(name: &str) -> ConsumerConfig {
    ConsumerConfig {
        name: Some(name.into()),
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        mem_storage: true,
        num_replicas: 1,
        flow_control: true,
        idle_heartbeat_ns: 5 * S,
        deliver_policy: DeliverPolicy::LastPerSubject,
        filter_subject: Some("k.>".into()),
        inactive_threshold_ns: 30 * S,
        deliver_subject: Some("d".into()),
        ..ConsumerConfig::default()
    }
}

fn create(bench: &mut Bench, stream: &str, config: ConsumerConfig) -> Result<String, String> {
    let action = ConsumerAction::CreateOrUpdate;
    match bench.request(Request::ConsumerCreate {
        stream: stream.into(),
        config: Box::new(config),
        action,
        pedantic: false,
    }) {
        Answer::Consumer(info) => Ok(info.name),
        Answer::Failed(error) => Err(refused(&error)),
        other @ (Answer::Published { .. }
        | Answer::BatchPublished { .. }
        | Answer::Staged
        | Answer::NotPublished { .. }
        | Answer::Account(_)
        | Answer::Stream(_)
        | Answer::StreamDescribed { .. }
        | Answer::Streams(_)
        | Answer::StreamNames(_)
        | Answer::SnapshotBegun { .. }
        | Answer::RestoreBegun { .. }
        | Answer::Restored(_)
        | Answer::StreamDeleted
        | Answer::Purged { .. }
        | Answer::Message(_)
        | Answer::Direct(_)
        | Answer::DirectStatus(_)
        | Answer::MessageDeleted
        | Answer::Consumers(_)
        | Answer::ConsumerNames(_)
        | Answer::ConsumerPaused { .. }
        | Answer::ConsumerReset { .. }
        | Answer::ConsumerUnpinned
        | Answer::ConsumerDeleted
        | Answer::AckProcessed
        | Answer::NoResponders { .. }) => panic!("{other:?}"),
    }
}

fn push(bench: &mut Bench, stream: &str, change: impl FnOnce(&mut ConsumerConfig)) -> String {
    let mut config = ConsumerConfig { deliver_subject: Some("d".into()), ..ConsumerConfig::default() };
    change(&mut config);
    create(bench, stream, config).expect("created")
}

fn listen(bench: &mut Bench, subject: &str) -> Vec<Effect> {
    bench.turn(vec![Input::InterestGained { subject: subject.into(), group: None }])
}

fn leave(bench: &mut Bench, subject: &str) {
    bench.turn(vec![Input::Abandoned { inbox: subject.into() }]);
}

fn publish(bench: &mut Bench, subject: &str, payload: &str) -> Vec<Effect> {
    let publish = crate::jetstream::Publish {
        subject: subject.into(),
        reply: None,
        headers: crate::wire::header_block::HeaderBlock::default(),
        payload: payload.to_owned().into(),
    };
    bench.turn(vec![Input::Published(publish)])
}

#[test]
fn it_delivers_while_somebody_listens() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.publish_many("p.a", 2);
    push(&mut bench, "P", |config| config.durable_name = Some("c".into()));
    assert_eq!(bench.broker.machine().deliver_subjects().collect::<Vec<_>>(), [("d", None)]);
    assert_eq!(bench.info("P", "c"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 2");
    assert_eq!(seen(&listen(&mut bench, "other"), "d"), [""; 0]);
    assert_eq!(seen(&listen(&mut bench, "d"), "d"), ["1.1.1 1", "1.2.2 0"]);
    assert!(bench.broker.machine().consumer("P", "c").is_some_and(|info| info.push_bound));
    assert_eq!(seen(&publish(&mut bench, "p.a", "x"), "d"), ["1.3.3 0"]);
    assert_eq!(bench.pull("P", "c", waiting(1, S), 0), ["409 Consumer is push based"]);
    leave(&mut bench, "d");
    assert_eq!(seen(&publish(&mut bench, "p.a", "x"), "d"), [""; 0]);
    assert!(bench.broker.machine().consumer("P", "c").is_some_and(|info| !info.push_bound));
    // What was not acked comes again before what is new.
    bench.advance(30_000);
    assert_eq!(seen(&listen(&mut bench, "d"), "d"), ["2.1.4 1", "2.2.5 1", "2.3.6 1", "1.4.7 0"]);
    let gone = Request::ConsumerDelete { stream: "P".into(), consumer: "c".into() };
    assert_eq!(bench.error(gone), None);
    assert_eq!(bench.broker.machine().deliver_subjects().count(), 0);
}

#[test]
fn who_listens_already_is_bound_from_the_beginning() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    listen(&mut bench, "d");
    push(&mut bench, "P", |config| config.name = Some("c".into()));
    assert!(bench.broker.machine().consumer("P", "c").is_some_and(|info| info.push_bound));
    // A second one on the same subject finds its listener, too.
    push(&mut bench, "P", |config| config.name = Some("e".into()));
    assert!(bench.broker.machine().consumer("P", "e").is_some_and(|info| info.push_bound));
    leave(&mut bench, "d");
    for name in ["c", "e"] {
        assert!(bench.broker.machine().consumer("P", name).is_some_and(|info| !info.push_bound));
    }
    listen(&mut bench, "x");
    leave(&mut bench, "x");
    push(&mut bench, "P", |config| {
        (config.name, config.deliver_subject) = (Some("f".into()), Some("x".into()));
    });
    assert!(bench.broker.machine().consumer("P", "f").is_some_and(|info| !info.push_bound));
}

#[test]
fn silence_is_filled_while_somebody_listens() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    push(&mut bench, "P", |config| {
        (config.name, config.idle_heartbeat_ns) = (Some("c".into()), S);
        config.inactive_threshold_ns = 60 * S;
    });
    let effects = bench.advance(3_500);
    assert_eq!(seen(&effects, "d"), [""; 0], "nobody listens");
    listen(&mut bench, "d");
    assert_eq!(seen(&bench.advance(499), "d"), [""; 0]);
    assert_eq!(seen(&bench.advance(1), "d"), ["100 Idle Heartbeat 0/0"]);
    bench.advance(500);
    assert_eq!(seen(&publish(&mut bench, "p.a", "x"), "d"), ["1.1.1 0"]);
    assert_eq!(seen(&bench.advance(999), "d"), [""; 0], "a message is a sign of life");
    let beat = "100 Idle Heartbeat 1/1";
    assert_eq!(seen(&bench.advance(2_001), "d"), [beat, beat, beat]);
    leave(&mut bench, "d");
    assert_eq!(seen(&bench.advance(5_000), "d"), [""; 0]);
}

#[test]
fn it_stops_when_the_client_does_not_confirm() {
    let mut bench = Bench::new();
    bench.stream("F", |_| {});
    let payload = "x".repeat(8192);
    for _ in 0..400 {
        bench.publish_with("f.a", &payload, &[]);
    }
    push(&mut bench, "F", |config| {
        config.name = Some("c".into());
        (config.ack_policy, config.flow_control, config.idle_heartbeat_ns) = (AckPolicy::None, true, S);
    });
    let mut effects = listen(&mut bench, "d");
    effects.extend(bench.advance(0));
    let asked: Vec<(usize, String)> = effects.iter().enumerate().filter_map(asked).collect();
    assert_eq!(deliveries(effects, "d").len(), 255, "two megabytes, and what goes over");
    let [(at, reply)] = &asked[..] else { panic!("{asked:?}") };
    assert_eq!(*at, 128, "after half of it");
    let token = reply.strip_prefix("$JS.FC.F.c.").expect("a flow control subject").to_owned();
    assert_eq!(token.len(), 4);
    assert_eq!(seen(&bench.advance(1_000), "d"), [format!("100 Idle Heartbeat 255/255/{reply}")]);
    let confirm =
        |token: &str| Input::FlowControlled { stream: "F".into(), consumer: "c".into(), token: token.into() };
    assert_eq!(bench.turn(vec![confirm("none")]), []);
    let effects = bench.turn(vec![confirm(&token)]);
    assert_eq!(effects.iter().enumerate().filter_map(asked_nothing).count(), 0);
    assert_eq!(deliveries(effects, "d").len(), 145);
    assert_eq!(bench.turn(vec![confirm(&token)]), [], "confirmed once");
}

fn asked((at, effect): (usize, &Effect)) -> Option<(usize, String)> {
    let Effect::Status { status, .. } = effect else { return None };
    Some((at, status.reply()?.to_owned()))
}

/// The window has doubled: what was left needs no second question.
fn asked_nothing(effect: (usize, &Effect)) -> Option<()> {
    asked(effect).filter(|(at, _)| *at > 145).map(|_| ())
}

#[test]
fn a_step_sends_no_more_than_its_bound() {
    let mut bench = Bench::with(Limits { deliveries_per_step_max: 3, ..LIMITS });
    bench.stream("P", |_| {});
    bench.publish_many("p.a", 7);
    push(&mut bench, "P", |config| config.name = Some("c".into()));
    // Two steps: the one that binds it, and the tick of the same turn.
    assert_eq!(deliveries(listen(&mut bench, "d"), "d").len(), 6);
    assert_eq!(deliveries(bench.advance(0), "d").len(), 1);
}

#[test]
fn a_watched_bucket() {
    let mut bench = Bench::new();
    bench.stream("K", |config| config.max_msgs_per_subject = 5);
    for subject in ["k.a", "k.b", "k.a", "k.c"] {
        bench.publish(subject);
    }
    listen(&mut bench, "d");
    let config = watcher("w");
    let request = Request::ConsumerCreate {
        stream: "K".into(),
        config: Box::new(config),
        action: ConsumerAction::CreateOrUpdate,
        pedantic: false,
    };
    let effects = bench.turn(vec![Input::Requested { reply: "r".into(), request }]);
    assert_eq!(seen(&effects, "d"), ["1.2.1 2", "1.3.2 1", "1.4.3 0"]);
    assert_eq!(seen(&publish(&mut bench, "k.b", "y"), "d"), ["1.5.4 0"]);
    assert_eq!(bench.info("K", "w"), "del 4/5 floor 4/5 ackp 0 redel 0 wait 0 pend 0");
    // It lives in memory.
    bench.advance(1_000);
    bench.crash();
    assert_eq!(bench.info("K", "w"), "gone");
    // Not watched any more, it goes after a while.
    listen(&mut bench, "d");
    create(&mut bench, "K", watcher("w")).expect("created");
    leave(&mut bench, "d");
    bench.advance(29_999);
    assert_ne!(bench.info("K", "w"), "gone");
    bench.advance(1);
    assert_eq!(bench.info("K", "w"), "gone");
}

#[test]
fn ephemerals_are_named_and_forgotten() {
    let mut bench = Bench::new();
    bench.stream("E", |_| {});
    let mut config = ConsumerConfig { ack_policy: AckPolicy::Explicit, ..ConsumerConfig::default() };
    let mut twin = bench.clone();
    let name = create(&mut bench, "E", config.clone()).expect("created");
    assert_eq!(create(&mut twin, "E", config.clone()).expect("created"), name, "no randomness");
    assert_eq!(name.len(), 8);
    let info = bench.broker.machine().consumer("E", &name).expect("a consumer");
    assert_eq!((info.config.name, info.config.inactive_threshold_ns), (None, 5 * S));
    let other = create(&mut bench, "E", config.clone()).expect("created");
    assert_ne!(name, other);
    // On disk like any other, and bound to be forgotten again after a restart.
    bench.publish("e.a");
    assert_eq!(bench.fetch("E", &name, 1).len(), 1);
    config.name = Some("mine".into());
    create(&mut bench, "E", config).expect("created");
    bench.advance(1_000);
    bench.crash();
    bench.advance(4_999);
    for name in [&*name, &*other, "mine"] {
        assert_ne!(bench.info("E", name), "gone");
    }
    bench.advance(1);
    assert_eq!((bench.info("E", &other), bench.info("E", "mine")), ("gone".into(), "gone".into()));
    bench.advance(40_000);
    assert_eq!(bench.info("E", &name), "gone", "after the last ack it might get");
}

#[test]
fn another_deliver_subject() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.publish_many("p.a", 2);
    let config = |subject: &str| ConsumerConfig { deliver_subject: Some(subject.into()), ..durable("c") };
    create(&mut bench, "P", config("d")).expect("created");
    assert_eq!(seen(&listen(&mut bench, "d"), "d").len(), 2);
    let used = "400 10013 consumer name already in use".to_owned();
    assert_eq!(create(&mut bench, "P", config("d2")), Err(used));
    leave(&mut bench, "d");
    create(&mut bench, "P", config("d2")).expect("moved");
    assert_eq!(seen(&listen(&mut bench, "d"), "d"), [""; 0]);
    assert_eq!(seen(&listen(&mut bench, "d2"), "d2"), ["2.1.3 0", "2.2.4 0"]);
    let pull = "500 10012 can not update push consumer to pull based".to_owned();
    assert_eq!(create(&mut bench, "P", durable("c")), Err(pull));
    bench.durable("P", "pull", |_| {});
    let push = ConsumerConfig { deliver_subject: Some("d3".into()), ..durable("pull") };
    let refused = "500 10012 can not update pull consumer to push based".to_owned();
    assert_eq!(create(&mut bench, "P", push), Err(refused));
}

#[test]
fn a_restart_binds_nobody() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    create(&mut bench, "P", ConsumerConfig { deliver_subject: Some("d".into()), ..durable("c") })
        .expect("created");
    listen(&mut bench, "d");
    bench.advance(200);
    bench.crash();
    bench.publish("p.a");
    assert_eq!(bench.info("P", "c"), "del 0/0 floor 0/0 ackp 0 redel 0 wait 0 pend 1");
    assert_eq!(bench.broker.machine().deliver_subjects().collect::<Vec<_>>(), [("d", None)]);
    assert_eq!(seen(&listen(&mut bench, "d"), "d"), ["1.1.1 0"]);
}

#[test]
fn headers_without_payload() {
    let mut bench = Bench::new();
    bench.stream("H", |_| {});
    bench.publish_with("h.a", "hello", &[("a", "b")]);
    bench.publish_with("h.a", "", &[]);
    push(&mut bench, "H", |config| (config.name, config.headers_only) = (Some("c".into()), true));
    let all = deliveries(listen(&mut bench, "d"), "d");
    let shown: Vec<String> =
        all.iter().map(|own| String::from_utf8_lossy(own.headers.as_bytes()).into_owned()).collect();
    assert_eq!(
        shown,
        ["NATS/1.0\r\na: b\r\nNats-Msg-Size: 5\r\n\r\n", "NATS/1.0\r\nNats-Msg-Size: 0\r\n\r\n"]
    );
    assert!(all.iter().all(|own| own.payload.is_empty()));
    // A pull's bytes are counted without it, too.
    bench.durable("H", "p", |config| config.headers_only = true);
    let request = super::PullRequest { max_bytes: 140, ..waiting(2, S) };
    let served = bench.pull("H", "p", request, 2_000);
    assert_eq!(served[0], "1.1.1 1");
    let ack = super::AckSubject { pending: 1, ..all[0].ack.clone() };
    let size = "h.a".len() + ack.to_string().len() + all[0].headers.len();
    assert_eq!(served[1], format!("409 Message Size Exceeds MaxBytes 1/{}", 140 - size));
}

#[test]
fn no_faster_than_its_rate() {
    let mut bench = Bench::with(Limits { message_bytes_max: 1_000, ..LIMITS });
    bench.stream("R", |_| {});
    for _ in 0..30 {
        bench.publish_with("r.a", &"x".repeat(50), &[]);
    }
    // A thousand bytes at once, then a thousand a second: some hundred a message.
    push(&mut bench, "R", |config| {
        (config.name, config.rate_limit_bits_per_s) = (Some("c".into()), 8_000);
    });
    let count = |effects| deliveries(effects, "d").len();
    let effects = listen(&mut bench, "d");
    assert_eq!(count(effects), 10);
    assert_eq!(count(bench.advance(0)), 0);
    assert!((10..=12).contains(&count(bench.advance(1_000))));
    assert_eq!(count(bench.advance(5_000)), 30 - 10 - 11);
    assert_eq!(bench.info("R", "c"), "del 30/30 floor 0/0 ackp 30 redel 0 wait 0 pend 0");
}

#[test]
fn refused_push_consumers() {
    let mut bench = Bench::new();
    bench.stream("Z", |_| {});
    for (change, why) in [
        (
            (|c| c.deliver_subject = Some("d.*".into())) as fn(&mut ConsumerConfig),
            "10079 consumer deliver subject has wildcards",
        ),
        (|c| c.deliver_subject = Some("d..x".into()), "10112 invalid push consumer deliver subject"),
        (|c| c.deliver_subject = Some("z.a".into()), "10081 consumer deliver subject forms a cycle"),
        (|c| c.max_waiting = 5, "10080 consumer in push mode can not set max waiting"),
        (
            |c| (c.ack_policy, c.max_ack_pending) = (AckPolicy::None, 5),
            "10082 consumer requires ack policy for max ack pending",
        ),
        (|c| c.idle_heartbeat_ns = 99 * MS, "10083 consumer idle heartbeat needs to be >= 100ms"),
        (|c| c.flow_control = true, "10108 consumer with flow control also needs heartbeats"),
        (
            |c| (c.deliver_subject, c.rate_limit_bits_per_s) = (None, 1),
            "10086 consumer in pull mode can not have rate limit set",
        ),
        (
            |c| (c.deliver_subject, c.idle_heartbeat_ns) = (None, S),
            "10088 consumer idle heartbeat requires a push based consumer",
        ),
        (
            |c| (c.deliver_subject, c.flow_control) = (None, true),
            "10089 consumer flow control requires a push based consumer",
        ),
    ] {
        let mut config = ConsumerConfig { deliver_subject: Some("d".into()), ..ConsumerConfig::default() };
        change(&mut config);
        assert_eq!(create(&mut bench, "Z", config), Err(format!("400 {why}")));
    }
}
