//! Consumers that are paused and reset, begin at a time, and replay at the pace of old.

use super::super::api::{AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy, ZERO_TIME};
use super::super::{Answer, ConsumerAction, Effect, Request};
use super::{Bench, MS, S, no_wait, refused, seen, told, waiting};
use crate::time::Wall;

const LATER: &str = "2100-01-01T00:00:00Z";
const BEFORE: &str = "2000-01-01T00:00:00Z";

/// `paused until`, and what else happened.
fn pause(bench: &mut Bench, until: Option<&str>) -> (String, Vec<Effect>) {
    let reply = bench.inbox();
    let pause_until = until.map(str::to_owned);
    let request = Request::ConsumerPause { stream: "P".into(), consumer: "c".into(), pause_until };
    let effects = bench.turn(vec![super::Input::Requested { reply: reply.clone(), request }]);
    let answer = super::answers(effects.clone(), &reply).pop().expect("an answer");
    if let Answer::Failed(error) = &answer {
        return (refused(error), effects);
    }
    let Answer::ConsumerPaused { is_paused, pause_until, pause_remaining_ns } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(is_paused, pause_remaining_ns > 0);
    (format!("{is_paused} {pause_until}"), effects)
}

fn reset(bench: &mut Bench, consumer: &str, seq: Option<u64>) -> Result<u64, String> {
    let answer = bench.request(Request::ConsumerReset { stream: "R".into(), consumer: consumer.into(), seq });
    if let Answer::Failed(error) = &answer {
        return Err(refused(error));
    }
    let Answer::ConsumerReset { reset_seq, .. } = answer else { panic!("{answer:?}") };
    Ok(reset_seq)
}

#[test]
fn a_paused_consumer_delivers_nothing() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.durable("P", "c", |_| {});
    bench.publish_many("p.a", 3);
    let (answer, effects) = pause(&mut bench, Some("2100-01-01T01:00:00+01:00"));
    assert_eq!(
        (answer.as_str(), told(&effects).as_slice()),
        ("true 2100-01-01T00:00:00Z", ["CONSUMER.PAUSE.P.c".to_owned()].as_slice())
    );
    assert_eq!(bench.pull("P", "c", waiting(1, 300 * MS), 300), ["408 Request Timeout 1/0"]);
    assert_eq!(bench.pull("P", "c", no_wait(1), 0), ["404 No Messages"]);
    let (parked, _) = bench.start_pull("P", "c", waiting(2, 10 * S));
    // The same once more is nothing new.
    let (_, effects) = pause(&mut bench, Some(LATER));
    assert_eq!(told(&effects), [""; 0]);
    let (answer, effects) = pause(&mut bench, None);
    assert_eq!(answer, format!("false {ZERO_TIME}"));
    assert_eq!(seen(&effects, &parked), ["1.1.1 2", "1.2.2 1"]);
    assert_eq!(told(&effects), ["CONSUMER.PAUSE.P.c"]);
    assert_eq!(pause(&mut bench, Some(BEFORE)).0, format!("false {BEFORE}"));
    assert!(pause(&mut bench, Some("soon")).0.starts_with("400 10025 invalid JSON: parsing time"));
}

#[test]
fn a_pause_ends_by_itself_and_outlasts_a_restart() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.durable("P", "c", |_| {});
    bench.publish("p.a");
    let soon = Wall::from_ms(bench.now.wall.as_ms() + 500).rfc3339();
    pause(&mut bench, Some(&soon));
    bench.advance(200);
    bench.crash();
    bench.turn(Vec::new());
    assert!(bench.broker.machine().consumer("P", "c").is_some_and(|own| own.paused));
    let (parked, _) = bench.start_pull("P", "c", waiting(1, 10 * S));
    assert_eq!(seen(&bench.advance(298), &parked), [""; 0]);
    let effects = bench.advance(2);
    assert_eq!(seen(&effects, &parked), ["1.1.1 0"]);
    assert_eq!(told(&effects), ["CONSUMER.PAUSE.P.c"]);
}

#[test]
fn only_a_request_to_pause_ends_a_pause() {
    let mut bench = Bench::new();
    bench.stream("P", |_| {});
    bench.durable("P", "c", |config| config.pause_until = Some(LATER.into()));
    assert_eq!(bench.consumer("P", "c", ConsumerAction::Update, |c| c.description = Some("x".into())), None);
    assert!(bench.broker.machine().consumer("P", "c").is_some_and(|own| own.paused));
}

#[test]
fn a_reset_forgets_what_was_delivered() {
    let mut bench = Bench::new();
    bench.stream("R", |_| {});
    bench.publish_many("r.a", 6);
    bench.durable("R", "c", |_| {});
    let taken = bench.take("R", "c", 5);
    bench.ack(&taken[0]);
    assert_eq!(reset(&mut bench, "c", None), Ok(2));
    assert_eq!(bench.info("R", "c"), "del 0/1 floor 0/1 ackp 0 redel 0 wait 0 pend 5");
    assert_eq!(bench.fetch("R", "c", 1), ["1.2.1 4"]);
    assert_eq!(reset(&mut bench, "c", Some(100)), Ok(100));
    assert_eq!(bench.fetch("R", "c", 1), ["404 No Messages"]);
    let (parked, _) = bench.start_pull("R", "c", waiting(2, 10 * S));
    assert_eq!(reset(&mut bench, "c", Some(5)), Ok(5));
    assert_eq!(bench.info("R", "c"), "del 2/6 floor 0/4 ackp 2 redel 0 wait 0 pend 0");
    assert_eq!(seen(&bench.advance(10_000), &parked), [""; 0]);
}

#[test]
fn a_reset_goes_where_the_consumer_may_begin() {
    let mut bench = Bench::new();
    bench.stream("R", |_| {});
    bench.publish_many("r.a", 6);
    let start: fn(&mut ConsumerConfig) =
        |c| (c.deliver_policy, c.opt_start_seq) = (DeliverPolicy::ByStartSequence, Some(3));
    let late: fn(&mut ConsumerConfig) = |c| {
        (c.deliver_policy, c.opt_start_time) = (DeliverPolicy::ByStartTime, Some(LATER.into()));
    };
    let not_allowed = Err("400 10204 invalid reset: not allowed".to_owned());
    for (name, change, answers) in [
        ("seq", start, [Err("400 10204 invalid reset: below start seq".to_owned()), Ok(4)]),
        ("late", late, [2, 4].map(|_| Err("400 10204 invalid reset: below start time".to_owned()))),
        ("last", |c| c.deliver_policy = DeliverPolicy::Last, [not_allowed.clone(), not_allowed.clone()]),
        ("new", |c| c.deliver_policy = DeliverPolicy::New, [not_allowed.clone(), not_allowed]),
        ("none", |c| c.ack_policy = AckPolicy::None, [Ok(2), Ok(4)]),
    ] {
        bench.durable("R", name, change);
        assert_eq!([2, 4].map(|seq| reset(&mut bench, name, Some(seq))), answers, "{name}");
    }
    assert_eq!(reset(&mut bench, "nobody", None), Err("404 10014 consumer not found".to_owned()));
}

#[test]
fn a_consumer_begins_at_a_time() {
    let mut bench = Bench::new();
    bench.stream("T", |_| {});
    for subject in ["t.a", "t.b", "t.a"] {
        bench.publish(subject);
        bench.advance(10);
    }
    let between = bench.now.wall.rfc3339();
    bench.publish("t.b");
    bench.publish("t.a");
    let at = |when: &str, filter: Option<&str>| {
        let (when, filter) = (when.to_owned(), filter.map(str::to_owned));
        move |config: &mut ConsumerConfig| {
            (config.deliver_policy, config.opt_start_time) = (DeliverPolicy::ByStartTime, Some(when));
            config.filter_subject = filter;
        }
    };
    bench.durable("T", "before", at(BEFORE, None));
    bench.durable("T", "between", at(&between, None));
    bench.durable("T", "filtered", at(&between, Some("t.a")));
    bench.durable("T", "later", at(LATER, None));
    assert_eq!(bench.fetch("T", "before", 9)[0], "1.1.1 4");
    assert_eq!(bench.fetch("T", "between", 9), ["1.4.1 1", "1.5.2 0", "404 No Messages"]);
    assert_eq!(bench.fetch("T", "filtered", 9), ["1.5.1 0", "404 No Messages"]);
    assert_eq!(bench.fetch("T", "later", 9), ["404 No Messages"]);
    bench.publish("t.a");
    assert_eq!(bench.fetch("T", "later", 1), ["1.6.1 0"]);
}

#[test]
fn a_replay_keeps_the_pace() {
    let mut bench = Bench::new();
    bench.stream("O", |_| {});
    for ms in [300, 200, 0] {
        bench.publish("o.a");
        bench.advance(ms);
    }
    bench.durable("O", "c", |config| config.replay_policy = ReplayPolicy::Original);
    let (inbox, effects) = bench.start_pull("O", "c", waiting(4, 10 * S));
    assert_eq!(seen(&effects, &inbox), ["1.1.1 2"]);
    assert_eq!(seen(&bench.advance(299), &inbox), [""; 0]);
    assert_eq!(seen(&bench.advance(1), &inbox), ["1.2.2 1"]);
    assert_eq!(seen(&bench.advance(199), &inbox), [""; 0]);
    assert_eq!(seen(&bench.advance(1), &inbox), ["1.3.3 0"]);
    // What comes later comes at once.
    bench.advance(1000);
    assert_eq!(seen(&bench.publish_effects("o.a"), &inbox), ["1.4.4 0"]);
}
