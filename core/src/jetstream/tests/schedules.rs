//! Scheduled messages: when they come, what they carry, and what ends them. The clock begins at 03:31:10.

use super::*;

fn read(bench: &mut Bench, by: MessageBy) -> String {
    let answer = bench.request(Request::MessageGet { stream: "S".into(), by });
    let Answer::Message(own) = answer else { return "none".into() };
    let headers = own.headers.to_headers();
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{} {} {:?}", own.subject, headers.join(","), own.payload)
}

fn last(bench: &mut Bench, subject: &str) -> String {
    read(bench, MessageBy::LastBySubject(subject.into()))
}

fn count(bench: &Bench, subject: &str) -> usize {
    let machine = bench.broker.machine();
    machine.durable().streams["S"].messages.values().filter(|meta| &*meta.subject == subject).count()
}

fn with_stream() -> Bench {
    let mut bench = Bench::new();
    bench.stream("S", |config| (config.allow_msg_schedules, config.allow_msg_ttl) = (true, true));
    bench
}

/// A schedule for `s.t`, by what its pattern says.
fn schedule(bench: &mut Bench, subject: &str, pattern: &str, more: &[(&str, &str)]) -> String {
    let mut headers = vec![("Nats-Schedule", pattern), ("Nats-Schedule-Target", "s.t")];
    headers.extend_from_slice(more);
    bench.publish_with(subject, "body", &headers)
}

#[test]
fn once_it_comes_at_its_time_and_the_schedule_is_gone() {
    let mut bench = with_stream();
    let more = [("Nats-Schedule-TTL", "5m"), ("X", "kept"), ("Nats-Msg-Id", "1"), ("Nats-TTL", "1h")];
    let more = [&more[..], &[("Nats-Schedule-Rollup", "sub"), ("Nats-Expected-Last-Sequence", "0")]].concat();
    assert_eq!(schedule(&mut bench, "s.a", "@at 2026-11-21T03:31:20Z", &more), "S 1");
    let stored = last(&mut bench, "s.a");
    assert!(
        stored.ends_with("Nats-Schedule-Rollup=sub,Nats-Expected-Last-Sequence=0,Nats-Rollup=sub b\"body\""),
        "{stored}"
    );
    bench.advance(5_000);
    // The monotonic clock begins anew, and a millisecond of the other passes.
    bench.crash();
    bench.advance(4_998);
    assert_eq!(last(&mut bench, "s.t"), "none");
    bench.advance(1);
    assert_eq!(
        last(&mut bench, "s.t"),
        "s.t X=kept,Nats-Scheduler=s.a,Nats-Schedule-Next=purge,Nats-TTL=5m,Nats-Rollup=sub b\"body\""
    );
    assert_eq!(bench.show("S").split_once(' ').expect("a state").1, "2..2 0");
    bench.crash();
    bench.advance(60_000);
    assert_eq!(bench.state("S").last_seq, 2);
    // It lives as long as the schedule said.
    bench.advance(240_000);
    assert_eq!(bench.state("S").messages, 0);
}

#[test]
fn what_is_past_comes_after_a_moment() {
    let mut bench = with_stream();
    schedule(&mut bench, "s.a", "@at 2009-01-01T00:00:00Z", &[]);
    bench.advance(249);
    assert_eq!(bench.state("S").last_seq, 1);
    bench.advance(1);
    assert_eq!(bench.state("S").last_seq, 2);
}

#[test]
fn again_and_again_in_step_over_crashes() {
    let mut bench = with_stream();
    schedule(&mut bench, "s.a", "@every 10s", &[]);
    bench.advance(10_000);
    assert_eq!(
        last(&mut bench, "s.t"),
        "s.t Nats-Scheduler=s.a,Nats-Schedule-Next=2026-11-21T03:31:30Z b\"body\""
    );
    bench.crash();
    bench.advance(9_999);
    assert_eq!(count(&bench, "s.t"), 2);
    // What comes of it is gone: it is known when it is due all the same.
    bench.purge("S", Some("s.t"), None, None);
    bench.crash();
    bench.advance(9_997);
    assert_eq!(count(&bench, "s.t"), 0);
    bench.advance(2);
    assert_eq!(count(&bench, "s.t"), 1);
    // What was missed comes once, and then a whole step later.
    bench.broker = boot(&mut bench.store, bench.limits);
    bench.now.mono = Mono::ZERO;
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms() + 25_400);
    bench.advance(0);
    assert_eq!(count(&bench, "s.t"), 2);
    bench.advance(9_599);
    assert_eq!(count(&bench, "s.t"), 2);
    bench.advance(1);
    assert_eq!(count(&bench, "s.t"), 3);
}

#[test]
fn every_one_has_a_turn_and_the_bound_of_a_step_holds() {
    let limits = Limits { expiries_per_step_max: 3, ..LIMITS };
    let mut bench = Bench::with(limits);
    bench.stream("S", |config| config.allow_msg_schedules = true);
    for nth in 0..10 {
        schedule(&mut bench, &format!("s.a{nth}"), "@at 2026-11-21T03:31:20Z", &[]);
    }
    bench.advance(9_999);
    assert_eq!(count(&bench, "s.t"), 0);
    bench.now.mono = bench.now.mono.plus_ms(1);
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms() + 1);
    bench.turn(Vec::new());
    assert_eq!(count(&bench, "s.t"), 3);
    bench.advance(0);
    assert_eq!((count(&bench, "s.t"), bench.state("S").messages), (10, 10));
}

#[test]
fn what_ends_a_schedule() {
    let end = |what: &dyn Fn(&mut Bench)| {
        let mut bench = with_stream();
        schedule(&mut bench, "s.a", "@every 10s", &[]);
        bench.advance(10_000);
        what(&mut bench);
        let before = count(&bench, "s.t");
        bench.advance(20_000);
        bench.crash();
        bench.advance(20_000);
        (count(&bench, "s.t") - before, bench)
    };
    assert_eq!(end(&|_| ()).0, 4);
    assert_eq!(end(&|bench| drop(bench.delete_message("S", 1))).0, 0);
    assert_eq!(end(&|bench| drop(bench.purge("S", Some("s.a"), None, None))).0, 0);
    let (made, bench) = end(&|bench| drop(bench.publish("s.a")));
    assert_eq!((made, count(&bench, "s.a")), (0, 2));
    // Although the message that ended it is gone.
    let (made, bench) = end(&|bench| {
        bench.publish("s.a");
        bench.delete_message("S", 3);
    });
    assert_eq!((made, count(&bench, "s.a")), (0, 1));
    let cancel = |bench: &mut Bench| {
        let headers = [("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "s.a")];
        assert_eq!(bench.publish_with("s.done", "x", &headers), "S 3");
    };
    let (made, bench) = end(&cancel);
    assert_eq!((made, count(&bench, "s.a"), count(&bench, "s.done")), (0, 0, 1));
    // Another one takes its place.
    let (made, bench) = end(&|bench| drop(schedule(bench, "s.a", "@every 40s", &[])));
    assert_eq!((made, count(&bench, "s.a")), (1, 1));
    let (made, _) = end(&|bench| bench.purge("S", None, None, None).clear());
    assert_eq!(made, 0);
}

#[test]
fn the_last_message_of_a_source_is_sampled() {
    let mut bench = with_stream();
    schedule(&mut bench, "s.a", "@every 10s", &[("Nats-Schedule-Source", "s.src"), ("Own", "1")]);
    bench.advance(10_000);
    assert!(last(&mut bench, "s.t").starts_with("s.t Own=1,"), "{}", last(&mut bench, "s.t"));
    bench.publish_with("s.src", "sample", &[("From", "src"), ("Nats-TTL", "1h"), ("Nats-Msg-Id", "1")]);
    bench.advance(10_000);
    assert_eq!(
        last(&mut bench, "s.t"),
        "s.t From=src,Nats-Scheduler=s.a,Nats-Schedule-Next=2026-11-21T03:31:40Z b\"sample\""
    );
    // What is sampled may have been made in the same moment: then it is the next turn's.
    bench.publish_with("s.b", "b", &[("Nats-Schedule", "@every 10s"), ("Nats-Schedule-Target", "s.src")]);
    bench.advance(10_000);
    bench.advance(10_000);
    assert!(last(&mut bench, "s.t").ends_with("b\"b\""), "{}", last(&mut bench, "s.t"));
}

#[test]
fn what_has_no_room_is_tried_again() {
    let mut bench = Bench::with(Limits { messages_per_stream_max: 2, ..LIMITS });
    bench.stream("S", |config| config.allow_msg_schedules = true);
    schedule(&mut bench, "s.a", "@at 2026-11-21T03:31:20Z", &[]);
    bench.publish("s.x");
    bench.advance(15_000);
    assert_eq!(count(&bench, "s.t"), 0);
    bench.crash();
    bench.delete_message("S", 2);
    bench.advance(1_000);
    assert_eq!((count(&bench, "s.t"), bench.state("S").messages), (1, 1));
}

#[test]
fn nobody_is_interested() {
    let mut bench = Bench::new();
    bench.stream("S", |config| {
        (config.allow_msg_schedules, config.retention) = (true, crate::jetstream::api::Retention::Interest);
    });
    bench.durable("S", "c", |config| config.filter_subject = Some("s.a".into()));
    schedule(&mut bench, "s.a", "@at 2026-11-21T03:31:20Z", &[]);
    bench.advance(10_000);
    assert!(bench.show("S").ends_with(" 3..2 0"), "{}", bench.show("S"));
}

#[test]
fn subjects_are_transformed_on_both_sides() {
    let mut bench = Bench::new();
    bench.stream("S", |config| {
        config.allow_msg_schedules = true;
        let (src, dest) = ("s.>".into(), "t.>".into());
        config.subject_transform = Some(crate::jetstream::api::SubjectTransform { src, dest });
    });
    schedule(&mut bench, "s.a", "@at 2026-11-21T03:31:20Z", &[]);
    bench.advance(10_000);
    assert_eq!(last(&mut bench, "t.t"), "t.t Nats-Scheduler=t.a,Nats-Schedule-Next=purge b\"body\"");
}

#[test]
fn a_memory_stream_schedules_until_a_restart() {
    let mut bench = Bench::new();
    bench.stream("S", |config| {
        (config.allow_msg_schedules, config.storage) = (true, crate::jetstream::api::Storage::Memory);
    });
    schedule(&mut bench, "s.a", "@every 10s", &[]);
    bench.advance(25_000);
    assert_eq!(bench.state("S").messages, 3);
    bench.crash();
    bench.advance(25_000);
}

#[test]
fn a_batch_may_schedule_and_cancel() {
    let mut bench = Bench::new();
    bench.stream("S", |config| (config.allow_msg_schedules, config.allow_atomic) = (true, true));
    schedule(&mut bench, "s.a", "@every 10s", &[]);
    let part = |bench: &mut Bench, subject: &str, more: &[(&str, &str)]| {
        let inbox = bench.inbox();
        let headers = more.iter().copied().chain([("Nats-Batch-Id", "b")]).collect::<HeaderBlock>();
        let (subject, payload) = (subject.to_owned(), Bytes::from_static(b"x"));
        let publish = Publish { subject, reply: Some(inbox.clone()), headers, payload };
        answers(bench.turn(vec![Input::Published(publish)]), &inbox).pop()
    };
    let target = ("Nats-Schedule-Target", "s.t");
    part(&mut bench, "s.b", &[("Nats-Batch-Sequence", "1"), ("Nats-Schedule", "@every 1h"), target]);
    let cancel = [("Nats-Schedule-Next", "purge"), ("Nats-Scheduler", "s.a")];
    let commit = [("Nats-Batch-Sequence", "2"), ("Nats-Batch-Commit", "1")];
    let done = part(&mut bench, "s.done", &[&cancel[..], &commit[..]].concat());
    assert!(matches!(done, Some(Answer::BatchPublished { count: 2, .. })), "{done:?}");
    bench.advance(3_600_000);
    assert_eq!(count(&bench, "s.t"), 1);
    assert!(last(&mut bench, "s.t").contains("Nats-Scheduler=s.b,"), "{}", last(&mut bench, "s.t"));
}
