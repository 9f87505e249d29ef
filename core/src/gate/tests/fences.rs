//! Whether a stream is the one that the checkpoint belongs to.

use super::{
    Bench, Config, Gated, Input, MATCHING, Standing, Upstream, bind, config, consume, log, standing, stream,
    words,
};
use crate::gate::Effect;
use crate::halt::{Fence, Halt};
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
    let (mut bench, mut upstream) = after(|upstream| upstream.expire_before(3));
    assert_eq!(fence(&mut bench, &mut upstream), None, "everything that is gone was seen");
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
