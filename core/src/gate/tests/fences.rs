//! Whether a stream is the one that the checkpoint belongs to.

use super::{
    Bench, Config, Gated, Input, LIMITS, Limits, MATCHING, OTHER, Standing, Upstream, bind, config, consume,
    log, standing, stream, words,
};
use crate::bench::Sent;
use crate::gate::{Effect, Rival, Witness};
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::wire::headers::Headers;
use crate::wire::stream::PlatformStream;

/// A gate that has applied two messages and lives again, over a stream that something was done to.
fn after(change: impl FnOnce(&mut Upstream)) -> (Bench<Gated>, Upstream) {
    over(config(), change)
}

fn over(config: Config, change: impl FnOnce(&mut Upstream)) -> (Bench<Gated>, Upstream) {
    let (mut bench, mut upstream) = (Bench::new(config), stream(2));
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    bench.crash();
    change(&mut upstream);
    (bench, upstream)
}

/// Why looking again stops the partition; `None` when it does not.
fn fence_of(bench: &mut Bench<Gated>, upstream: &mut Upstream) -> Option<Fence> {
    let sent: Vec<_> = bench.settle().into_iter().filter_map(|effect| upstream.perform(effect)).collect();
    match bench.try_turn(sent.into_iter().map(Input::from)) {
        Ok(_) => None,
        Err(Halt::Fenced(fence)) => Some(fence),
        Err(halt @ (Halt::Store(_) | Halt::Corrupt { .. } | Halt::Broken(_))) => panic!("{halt}"),
    }
}

/// Why binding stops the partition; `None` when it does not.
fn fence(bench: &mut Bench<Gated>, upstream: &mut Upstream) -> Option<Fence> {
    let sent: Vec<_> = bench.settle().into_iter().filter_map(|effect| upstream.perform(effect)).collect();
    match bench.try_turn(sent.into_iter().map(Input::from)) {
        Ok(effects) => {
            assert!(matches!(effects[..], [Effect::Position { .. }]), "{effects:?}");
            None
        }
        Err(Halt::Fenced(fence)) => Some(fence),
        Err(halt @ (Halt::Store(_) | Halt::Corrupt { .. } | Halt::Broken(_))) => panic!("{halt}"),
    }
}

fn name() -> String {
    PlatformStream::AggregateEvents.to_string()
}

#[test]
fn a_stream_that_was_replaced_is_not_continued() {
    let (mut bench, mut upstream) = after(|upstream| upstream.incarnation = "2026|b".into());
    let (expected, found) = ("2026|a".into(), "2026|b".into());
    assert_eq!(
        fence(&mut bench, &mut upstream),
        Some(Fence::StreamReplaced { stream: name(), expected, found })
    );
}

#[test]
fn a_stream_that_ends_before_the_checkpoint_is_not_continued() {
    let (mut bench, _) = after(|_| {});
    let mut restored = stream(1);
    let (seen_seq, last_seq) = (2, 1);
    assert_eq!(
        fence(&mut bench, &mut restored),
        Some(Fence::StreamTruncated { stream: name(), seen_seq, last_seq })
    );
}

#[test]
fn a_stream_that_is_gone_is_not_waited_for_once_something_was_applied() {
    let (mut bench, mut upstream) = after(|upstream| upstream.exists = false);
    assert_eq!(fence(&mut bench, &mut upstream), Some(Fence::StreamGone { stream: name() }));
}

#[test]
fn a_stream_that_does_not_exist_yet_is_waited_for() {
    let (mut bench, mut upstream) = (Bench::<Gated>::new(config()), Upstream::new());
    upstream.exists = false;
    bind(&mut bench, &mut upstream);
    assert_eq!(standing(&bench), Standing::NoStream);
    upstream = stream(1);
    assert_eq!(words(&bench.advance(100)), ["inspect"]);
    bench.oversleep(2_000);
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1]);
}

#[test]
fn messages_that_were_removed_unseen_are_noticed() {
    let trim = |upstream: &mut Upstream| {
        for _ in 0..3 {
            upstream.store(MATCHING, Headers::default(), "x");
        }
        upstream.expire_before(4);
    };
    let (mut bench, mut upstream) = after(trim);
    let (next_seq, first_seq) = (3, 4);
    assert_eq!(
        fence(&mut bench, &mut upstream),
        Some(Fence::StreamTrimmed { stream: name(), next_seq, first_seq })
    );
    let workflow = Config { stream: PlatformStream::WorkflowCommands, ..config() };
    let (mut bench, mut upstream) = over(workflow, |upstream| upstream.expire_before(3));
    assert_eq!(fence(&mut bench, &mut upstream), None, "everything that is gone was seen");
    let (mut bench, mut upstream) = after(|upstream| upstream.expire_before(3));
    let (removed, known_removed) = (2, 0);
    let lacking = Fence::MessagesRemoved { stream: name(), removed, known_removed };
    assert_eq!(fence(&mut bench, &mut upstream), Some(lacking), "events never expire");
}

#[test]
pub(super) fn an_end_that_was_written_anew_is_noticed_though_it_is_as_long_as_before() {
    for payload in ["y", "x"] {
        let (mut bench, mut upstream) = after(|upstream| {
            upstream.lose_after(1);
            upstream.store(MATCHING, Headers::default(), payload);
        });
        let replaced = Fence::MessageReplaced { stream: name(), seq: 2 };
        assert_eq!(fence(&mut bench, &mut upstream), Some(replaced), "INV-GATE-6: {payload}");
    }
    // It goes on after what was seen: nothing that was applied is lost.
    let (mut bench, mut upstream) = after(|upstream| {
        upstream.store(OTHER, Headers::default(), "y");
        upstream.lose_after(2);
    });
    assert_eq!(fence(&mut bench, &mut upstream), None);
}

#[test]
pub(super) fn a_hole_in_what_was_applied_is_noticed() {
    let (mut bench, mut upstream) = after(|upstream| upstream.lose(1));
    let (removed, known_removed) = (1, 0);
    let lacking = Fence::MessagesRemoved { stream: name(), removed, known_removed };
    assert_eq!(fence(&mut bench, &mut upstream), Some(lacking));
}

/// A bound gate that has applied two messages.
fn bound(config: Config) -> (Bench<Gated>, Upstream) {
    let (mut bench, mut upstream) = (Bench::new(config), stream(2));
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    (bench, upstream)
}

/// Looks again before its pulls become suspicious.
const AUDITED: Limits = Limits { audit_ms: 4_000, ..LIMITS };

/// Time passes until the gate looks at its stream again, with the broker's heartbeats in between.
fn audit(bench: &mut Bench<Gated>, upstream: &mut Upstream) -> Result<Vec<Effect>, Halt> {
    bench.oversleep(AUDITED.audit_ms);
    let heartbeat = upstream.heartbeat().map(Input::Gate);
    let mut asked = bench.turn(heartbeat);
    asked.extend(bench.settle());
    let sent: Vec<_> = asked.into_iter().filter_map(|effect| upstream.perform(effect)).collect();
    bench.try_turn(sent.into_iter().map(Input::from))
}

#[test]
pub(super) fn a_bound_gate_looks_now_and_then_whether_its_stream_is_what_it_was() {
    type Change = fn(&mut Upstream);
    let changes: [(Change, Fence); 3] = [
        (
            |upstream| upstream.lose(1),
            Fence::MessagesRemoved { stream: name(), removed: 1, known_removed: 0 },
        ),
        (|upstream| upstream.exists = false, Fence::StreamGone { stream: name() }),
        (
            |upstream| {
                upstream.lose_after(1);
                upstream.store(OTHER, Headers::default(), "x");
            },
            Fence::MessageReplaced { stream: name(), seq: 2 },
        ),
    ];
    for (change, fence) in changes {
        let (mut bench, mut upstream) = bound(Config { limits: AUDITED, ..config() });
        assert_eq!(audit(&mut bench, &mut upstream), Ok(Vec::new()), "nothing has changed");
        assert_eq!(standing(&bench), Standing::Bound);
        change(&mut upstream);
        assert_eq!(audit(&mut bench, &mut upstream), Err(fence.into()));
    }
}

#[test]
pub(super) fn a_stream_that_contradicts_only_for_a_while_does_not_stop_the_partition() {
    let limits = Limits { confirm_ms: 10_000, ..AUDITED };
    let (mut bench, mut upstream) = bound(Config { limits, ..config() });
    // Who answers has lost its cluster, and knows only the beginning.
    let mut stale = stream(1);
    assert_eq!(audit(&mut bench, &mut stale), Ok(Vec::new()));
    assert_eq!((standing(&bench), bench.marked(Mark::GateDoubted)), (Standing::Unbound, 1));
    bench.oversleep(LIMITS.rebind_ms);
    assert_eq!(fence_of(&mut bench, &mut stale), None, "not yet certain");
    bench.oversleep(LIMITS.rebind_ms_max);
    bind(&mut bench, &mut upstream);
    assert_eq!(standing(&bench), Standing::Bound);
    // Doubts that are explained do not add up.
    assert_eq!(audit(&mut bench, &mut stale), Ok(Vec::new()));
    bench.oversleep(10_000);
    let (seen_seq, last_seq) = (2, 1);
    let truncated = Fence::StreamTruncated { stream: name(), seen_seq, last_seq };
    assert_eq!(fence_of(&mut bench, &mut stale), Some(truncated));
}

#[test]
pub(super) fn a_message_of_our_own_that_is_not_there_any_more_is_noticed() {
    let (mut bench, mut upstream) = bound(config());
    let seq = upstream.store(OTHER, Headers::default(), "ours");
    bench.turn([Input::Published(seq, Witness::of(OTHER, b"ours", None))]);
    bench.crash();
    bind(&mut bench, &mut upstream);
    assert_eq!(standing(&bench), Standing::Bound);
    bench.crash();
    upstream.lose_after(2);
    upstream.store(OTHER, Headers::default(), "somebody else's");
    let replaced = Fence::MessageReplaced { stream: name(), seq: 3 };
    assert_eq!(fence(&mut bench, &mut upstream), Some(replaced));
}

#[test]
fn what_is_published_while_an_inspection_is_out_does_not_contradict_it() {
    let (mut bench, mut upstream) = (Bench::<Gated>::new(config()), stream(1));
    let inspect = bench.settle().remove(0);
    let Some(Sent::Fact(inspected)) = upstream.perform(inspect) else { panic!("an answer") };
    let seq = upstream.store(OTHER, Headers::default(), "ours");
    bench.turn([Input::Published(seq, Witness::of(OTHER, b"ours", None))]);
    assert_eq!(words(&bench.turn([Input::Gate(inspected)])), ["position 1"]);
}

#[test]
fn whoever_knows_what_it_applied_adopts_another_log_and_reads_all_of_it() {
    let adopting = Config { adopt: true, rereads: true, ..config() };
    let (mut bench, mut upstream) = over(adopting.clone(), |upstream| {
        upstream.incarnation = "2026|b".into();
        upstream.lose_after(0);
        upstream.store(MATCHING, Headers::default(), "y");
    });
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    assert_eq!((log(&bench), bench.marked(Mark::GateAdopted)), (vec![1, 2, 1], 1));
    // Nobody else does.
    let (mut bench, mut upstream) =
        over(Config { rereads: false, ..adopting }, |upstream| upstream.incarnation = "2026|b".into());
    assert!(matches!(fence(&mut bench, &mut upstream), Some(Fence::StreamReplaced { .. })));
}

#[test]
fn a_gap_is_taken_over_only_by_order_and_then_for_good() {
    let adopting = Config { adopt: true, ..config() };
    let trim = |upstream: &mut Upstream| {
        for _ in 0..3 {
            upstream.store(MATCHING, Headers::default(), "x");
        }
        upstream.expire_before(5);
    };
    let (mut bench, mut upstream) = over(adopting, trim);
    bind(&mut bench, &mut upstream);
    // Back to normal before anything after the gap was applied.
    let mut bench = Bench::<Gated>::with(bench.store, config());
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1, 2, 5]);
}

#[test]
fn a_fresh_store_begins_in_the_middle_of_a_stream_whose_messages_expire_but_not_of_events() {
    let begin = |stream_of: PlatformStream| {
        let (mut bench, mut upstream) =
            (Bench::<Gated>::new(Config { stream: stream_of, ..config() }), stream(5));
        upstream.expire_before(4);
        (fence(&mut bench, &mut upstream), bench, upstream)
    };
    let (fenced, ..) = begin(PlatformStream::AggregateEvents);
    assert_eq!(fenced, Some(Fence::StreamTrimmed { stream: name(), next_seq: 1, first_seq: 4 }));
    let (fenced, mut bench, mut upstream) = begin(PlatformStream::WorkflowCommands);
    assert_eq!(fenced, None);
    // It binds again before it has applied anything: what it skipped stays skipped.
    bench.crash();
    assert_eq!(fence(&mut bench, &mut upstream), None);
    bench.crash();
    upstream.expire_before(5);
    let (next_seq, first_seq) = (4, 5);
    let stream = PlatformStream::WorkflowCommands.to_string();
    assert_eq!(
        fence(&mut bench, &mut upstream),
        Some(Fence::StreamTrimmed { stream, next_seq, first_seq }),
        "what expired after it began was for it"
    );
}

#[test]
fn a_consumer_of_another_store_is_not_taken_over_unless_by_order() {
    let foreign = |upstream: &mut Upstream| upstream.leave_consumer(Some("store-b"), 2);
    let (mut bench, mut upstream) = after(foreign);
    let (consumer, owner, own) = ("projection-orders-p0".into(), "store-b".into(), "store-a".into());
    assert_eq!(fence(&mut bench, &mut upstream), Some(Fence::ForeignConsumer { consumer, owner, own }));
    let (mut bench, mut upstream) = over(Config { adopt: true, ..config() }, foreign);
    assert_eq!(fence(&mut bench, &mut upstream), None);
    let (mut bench, mut upstream) = after(|upstream| upstream.leave_consumer(None, 2));
    assert_eq!(fence(&mut bench, &mut upstream), None, "nobody owns it");
}

#[test]
pub(super) fn an_owner_that_was_met_is_there_while_its_consumer_is_away() {
    let limits = Limits { confirm_ms: 10_000, ..LIMITS };
    let foreign = |upstream: &mut Upstream| upstream.leave_consumer(Some("store-b"), 2);
    let (mut bench, mut upstream) = over(Config { limits, ..config() }, foreign);
    assert_eq!(fence_of(&mut bench, &mut upstream), None, "not yet certain");
    assert_eq!((standing(&bench), bench.marked(Mark::GateDoubted)), (Standing::Unbound, 1));
    // Its owner makes it anew just then.
    upstream.lose_consumer();
    bench.oversleep(LIMITS.rebind_ms_max);
    assert_eq!(fence_of(&mut bench, &mut upstream), None);
    assert_eq!((standing(&bench), bench.marked(Mark::GateDoubted)), (Standing::Unbound, 2));
    bench.oversleep(10_000);
    let (consumer, owner, own) = ("projection-orders-p0".into(), "store-b".into(), "store-a".into());
    let foreign = Fence::ForeignConsumer { consumer, owner, own };
    assert_eq!(fence_of(&mut bench, &mut upstream), Some(foreign));
}

#[test]
pub(super) fn no_tenant_is_in_two_partitions_and_who_met_the_other_one_stays_away() {
    let rival = || Some(Rival { consumer: "projection-orders-p1".into(), tenants: "acme".into() });
    let shared = Fence::TenantsShared { consumer: "projection-orders-p1".into(), tenants: "acme".into() };
    let (mut bench, mut upstream) = (Bench::new(config()), stream(2));
    upstream.rival = rival();
    assert_eq!(fence(&mut bench, &mut upstream), Some(shared.clone()));
    let adopting = Config { adopt: true, rereads: true, ..config() };
    assert_eq!(fence(&mut Bench::new(adopting), &mut upstream), Some(shared.clone()), "nor by order");
    let limits = Limits { confirm_ms: 10_000, ..LIMITS };
    let mut bench = Bench::new(Config { limits, ..config() });
    assert_eq!(fence_of(&mut bench, &mut upstream), None, "not yet certain");
    // Its consumer is away for a moment, as whenever it binds.
    upstream.rival = None;
    bench.oversleep(LIMITS.rebind_ms_max);
    assert_eq!(fence_of(&mut bench, &mut upstream), None);
    assert_eq!(standing(&bench), Standing::Unbound, "INV-GATE-7");
    bench.oversleep(10_000);
    assert_eq!(fence_of(&mut bench, &mut upstream), Some(shared));
}
