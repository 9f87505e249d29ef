//! Priority groups, as the scripts of the conformance test saw them on the real server.

use super::super::api::{ConsumerConfig, PriorityPolicy, PullRequest};
use super::super::{Answer, Delivery, Effect, Request};
use super::{Bench, MS, S, deliveries, refused, seen, told, waiting};
use crate::jetstream::groups::PIN_ID;

fn group(policy: PriorityPolicy) -> impl Fn(&mut ConsumerConfig) {
    move |config| (config.priority_policy, config.priority_groups) = (policy, vec!["g".into()])
}

fn member(batch: u64, expires_ns: u64) -> PullRequest {
    PullRequest { group: Some("g".into()), ..waiting(batch, expires_ns) }
}

fn pin(delivery: &Delivery) -> Option<String> {
    delivery.headers.to_headers().get(PIN_ID).map(str::to_owned)
}

fn unpin(bench: &mut Bench, group: &str) -> Result<Vec<Effect>, String> {
    let request = Request::ConsumerUnpin { stream: "G".into(), consumer: "c".into(), group: group.into() };
    let reply = bench.inbox();
    let effects = bench.turn(vec![super::Input::Requested { reply: reply.clone(), request }]);
    let answer = super::answers(effects.clone(), &reply).pop().expect("an answer");
    if let Answer::Failed(error) = &answer {
        return Err(refused(error));
    }
    assert_eq!(answer, Answer::ConsumerUnpinned);
    Ok(effects)
}

#[test]
fn overflow_comes_in_when_there_is_enough_to_do() {
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    bench.durable("G", "c", group(PriorityPolicy::Overflow));
    let when =
        |min_pending, min_ack_pending| PullRequest { min_pending, min_ack_pending, ..member(2, 300 * MS) };
    bench.publish_many("g.a", 2);
    assert_eq!(bench.pull("G", "c", when(3, 0), 300), ["408 Request Timeout 2/0"]);
    assert_eq!(bench.pull("G", "c", when(0, 1), 300), ["408 Request Timeout 2/0"]);
    // Who asks for nothing is served before who waits for more to do.
    let (parked, _) = bench.start_pull("G", "c", when(3, 2));
    assert_eq!(bench.pull("G", "c", member(2, S), 0), ["1.1.1 1", "1.2.2 0"]);
    bench.publish("g.a");
    assert_eq!(bench.info("G", "c"), "del 3/3 floor 0/0 ackp 3 redel 0 wait 1 pend 0");
    assert_eq!(seen(&bench.advance(300), &parked), ["408 Request Timeout 1/0"]);
}

#[test]
fn the_lowest_priority_is_served_first() {
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    bench.durable("G", "c", group(PriorityPolicy::Prioritized));
    let of = |priority, batch| PullRequest { priority, ..member(batch, 5 * S) };
    let (last, _) = bench.start_pull("G", "c", of(2, 1));
    let (first, _) = bench.start_pull("G", "c", of(0, 2));
    let (also_first, _) = bench.start_pull("G", "c", of(0, 1));
    let mut effects = Vec::new();
    for _ in 0..4 {
        effects.extend(bench.publish_effects("g.a"));
    }
    assert_eq!(seen(&effects, &first), ["1.1.1 0", "1.3.3 0"]);
    assert_eq!(seen(&effects, &also_first), ["1.2.2 0"]);
    assert_eq!(seen(&effects, &last), ["1.4.4 0"]);
}

#[test]
fn a_pinned_client_is_the_only_one_until_it_is_silent() {
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    bench.durable("G", "c", |config| {
        group(PriorityPolicy::PinnedClient)(config);
        config.priority_timeout_ns = 600 * MS;
    });
    bench.publish_many("g.a", 4);
    let (inbox, effects) = bench.start_pull("G", "c", member(1, 5 * S));
    assert_eq!(told(&effects), ["CONSUMER.PINNED.G.c"]);
    let first = deliveries(effects, &inbox).pop().expect("a message");
    let id = pin(&first).expect("pinned");
    let (other, effects) = bench.start_pull("G", "c", member(1, 10 * S));
    assert_eq!(seen(&effects, &other), [""; 0]);
    let own = |id: &str| PullRequest { id: Some(id.into()), ..member(1, 5 * S) };
    bench.advance(500);
    let (_, taken) = bench.pull_effects("G", "c", own(&id), 0);
    assert_eq!(pin(&taken[0]).as_deref(), Some(id.as_str()));
    assert_eq!(bench.pull("G", "c", own("nobody"), 0), ["423 Nats-Pin-Id mismatch"]);
    // It pulled in time: the other waits on.
    assert_eq!(seen(&bench.advance(500), &other), [""; 0]);
    let effects = bench.advance(100);
    assert_eq!(seen(&effects, &other), ["1.3.3 1"]);
    assert_eq!(told(&effects), ["CONSUMER.UNPINNED.G.c", "CONSUMER.PINNED.G.c"]);
    assert_eq!(bench.pull("G", "c", own(&id), 0), ["423 Nats-Pin-Id mismatch"]);
    let state = bench.broker.machine().consumer("G", "c").expect("a consumer").priority_groups;
    assert!(state[0].pinned_client_id.as_deref().is_some_and(|now| now != id), "{state:?}");
}

#[test]
fn an_operator_can_end_it() {
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    bench.durable("G", "c", group(PriorityPolicy::PinnedClient));
    bench.publish_many("g.a", 3);
    let (_, taken) = bench.pull_effects("G", "c", member(1, S), 0);
    let (next, _) = bench.start_pull("G", "c", member(1, 10 * S));
    let effects = unpin(&mut bench, "g").expect("unpinned");
    assert_eq!(seen(&effects, &next), ["1.2.2 1"]);
    assert_eq!(told(&effects), ["CONSUMER.UNPINNED.G.c", "CONSUMER.PINNED.G.c"]);
    // A client that is not pinned any more is told with the next message.
    let id = pin(&taken[0]);
    let old = PullRequest { id, ..member(1, S) };
    assert_eq!(bench.pull("G", "c", old.clone(), 0), ["423 Nats-Pin-Id mismatch"]);
    unpin(&mut bench, "g").expect("unpinned");
    assert_eq!(bench.pull("G", "c", old, 0), ["423 Nats-Wrong-Pin-Id 1/0"]);
    for (group, why) in [
        ("", "400 10025 invalid JSON: consumer group not specified"),
        ("h", "400 10160 Provided priority group does not exist for this consumer"),
    ] {
        assert_eq!(unpin(&mut bench, group), Err(why.to_owned()));
    }
}

#[test]
fn what_a_group_does_not_understand_is_refused() {
    use PriorityPolicy::{None as Nobody, Overflow, PinnedClient, Prioritized};
    let mut bench = Bench::new();
    bench.stream("G", |_| {});
    let named = |name: &str| PullRequest { group: Some(name.into()), ..waiting(1, MS) };
    let cases = [
        (Overflow, waiting(1, MS), "Priority Group missing"),
        (Overflow, named("x"), "Invalid Priority Group"),
        (Overflow, named(""), "Priority Group missing"),
        (Prioritized, PullRequest { min_pending: 1, ..named("g") }, "Not a Overflow Priority consumer"),
        (Nobody, PullRequest { min_ack_pending: 1, ..named("g") }, "Not a Overflow Priority consumer"),
        (
            Overflow,
            PullRequest { id: Some("x".into()), ..named("g") },
            "Not a Pinned Client Priority consumer",
        ),
        (PinnedClient, PullRequest { priority: 10, ..named("g") }, "Priority must be between 0 and 9"),
        (Nobody, PullRequest { priority: -1, ..named("g") }, "Priority must be between 0 and 9"),
    ];
    for (at, (policy, request, why)) in cases.into_iter().enumerate() {
        let name = format!("c{at}");
        bench.durable("G", &name, |config| {
            if policy != Nobody {
                group(policy)(config);
            }
        });
        assert_eq!(bench.pull("G", &name, request, 0), [format!("400 Bad Request - {why}")]);
    }
}
