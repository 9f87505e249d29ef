//! The diagram of the module, arrow by arrow, and its invariants by name.

use super::{
    Bench, Effect, Gated, Input, LIMITS, Landed, MATCHING, OTHER, POISON, Standing, Timer, Upstream, bench,
    bind, committed, consume, log, positioned, standing, stream, words,
};
use crate::gate::{self, PositionRefused, PullEnd};
use crate::halt::Halt;
use crate::invariants::Invariant;
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::store::Table;
use crate::time::Mono;
use crate::wire::headers::Headers;
use crate::wire::stream::{OWNER_METADATA, PlatformStream};

const SILENCE_MS: u64 = 2 * LIMITS.heartbeat_ms + 1_000;

fn at(ms: u64) -> Mono {
    Mono::ZERO.plus_ms(ms)
}

/// The effect of a turn that must cause exactly one.
fn only(mut effects: Vec<Effect>) -> Effect {
    assert_eq!(effects.len(), 1, "{effects:?}");
    effects.remove(0)
}

fn reply(upstream: &mut Upstream, effects: Vec<Effect>) -> Input {
    upstream.perform(only(effects)).expect("an answer").into()
}

fn bound(messages: u64) -> (Bench<Gated>, Upstream) {
    let (mut bench, mut upstream) = (bench(), stream(messages));
    bind(&mut bench, &mut upstream);
    assert_eq!(standing(&bench), Standing::Bound);
    (bench, upstream)
}

/// The next message, as delivered.
fn served(upstream: &mut Upstream) -> Input {
    Input::Delivered(upstream.serve().expect("a message"))
}

/// Nothing about the machine changes, and nothing is asked for.
fn ignores(bench: &mut Bench<Gated>, input: Input) {
    let before = bench.machine().clone();
    assert_eq!(bench.turn([input.clone()]), [], "{input:?}");
    assert_eq!(bench.machine(), &before, "{input:?}");
}

#[test]
fn a_gate_inspects_positions_fetches_applies_and_acks() {
    let (mut bench, mut upstream) = (bench(), stream(2));
    assert_eq!((standing(&bench), bench.deadline()), (Standing::Unbound, Some((Mono::ZERO, Timer::Bind))));
    let inspect = bench.settle();
    assert_eq!(words(&inspect), ["inspect"]);
    assert_eq!(bench.deadline(), Some((at(LIMITS.request_timeout_ms), Timer::Bind)));
    let inspected = reply(&mut upstream, inspect);
    let position = bench.turn([inspected]);
    assert_eq!(words(&position), ["position 1"]);
    let positioned = reply(&mut upstream, position);
    let fetch = bench.turn([positioned]);
    assert_eq!((words(&fetch), standing(&bench)), (vec!["fetch 4".into()], Standing::Bound));
    assert_eq!(upstream.perform(only(fetch)), None);
    assert_eq!(bench.deadline(), Some((at(SILENCE_MS), Timer::Silence)));
    assert_eq!(words(&bench.turn([served(&mut upstream)])), ["ack 1"]);
    assert_eq!((log(&bench), committed(&bench), bench.machine().0.pending()), (vec![1], 1, 1));
}

#[test]
pub(super) fn the_consumer_is_made_anew_as_our_own_checkpoint_says() {
    let (mut bench, mut upstream) = bound(3);
    consume(&mut bench, &mut upstream);
    bench.crash();
    // A restored backup of ours may be behind what the broker believes; its floor is not ours.
    upstream.store(MATCHING, Headers::default(), "x");
    upstream.leave_consumer(Some("store-a"), 4);
    let inspected = reply(&mut upstream, bench.settle());
    let position = bench.turn([inspected]);
    assert_eq!(positioned(&position).map(|(_, start)| start), Some(4));
    let Effect::Position { consumer, stream, .. } = only(position) else { panic!("not positioned") };
    assert_eq!(stream, PlatformStream::AggregateEvents);
    assert_eq!(consumer.durable_name.as_deref(), Some("projection-orders-p0"));
    assert_eq!(consumer.filter_subjects, ["tenant.*.aggregate.order.*"]);
    assert_eq!(consumer.metadata.get(OWNER_METADATA).map(String::as_str), Some("store-a"));
    assert_eq!((consumer.max_deliver, consumer.max_ack_pending), (-1, 6));
    assert_eq!(consumer.ack_wait_ns, 30_000_000_000);
}

#[test]
fn what_cannot_be_applied_is_terminated_and_the_checkpoint_moves_past_it() {
    let (mut bench, mut upstream) = bound(0);
    upstream.store(MATCHING, Headers::default(), POISON);
    upstream.store(MATCHING, Headers::default(), "x");
    assert_eq!(words(&bench.turn([served(&mut upstream)])), ["term 1: poison"]);
    assert_eq!(committed(&bench), 1);
    consume(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1, 2]);
}

#[test]
fn what_is_applied_already_is_acked_again_and_not_applied() {
    let (mut bench, mut upstream) = bound(1);
    // The ack is lost on the way.
    bench.turn([served(&mut upstream)]);
    let again = upstream.redeliver().expect("not acked");
    assert_eq!(words(&bench.turn([Input::Delivered(again)])).last().map(String::as_str), Some("ack 1"));
    assert_eq!((log(&bench), bench.marked(Mark::GateDuplicate)), (vec![1], 1));
}

#[test]
pub(super) fn a_skipped_delivery_is_not_applied_and_the_consumer_is_positioned_anew() {
    let (mut bench, mut upstream) = bound(4);
    bench.turn([served(&mut upstream)]);
    let lost = served(&mut upstream);
    assert_eq!(bench.turn([served(&mut upstream)]), []);
    assert_eq!((standing(&bench), bench.marked(Mark::GateGap)), (Standing::Unbound, 1));
    let (at, timer) = bench.deadline().expect("binds anew");
    assert!(at > bench.now.mono && at <= bench.now.mono.plus_ms(LIMITS.rebind_ms), "{at:?}");
    assert_eq!(timer, Timer::Bind);
    ignores(&mut bench, lost);
    bench.oversleep(LIMITS.rebind_ms);
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1, 2, 3, 4], "INV-GATE-2");
}

#[test]
fn a_heartbeat_that_names_a_later_delivery_shows_that_one_was_lost() {
    let (mut bench, mut upstream) = bound(2);
    bench.turn([served(&mut upstream)]);
    let heartbeat = upstream.heartbeat().expect("a pull waits");
    bench.turn([Input::Gate(heartbeat)]);
    assert_eq!(standing(&bench), Standing::Bound);
    drop(served(&mut upstream));
    let heartbeat = upstream.heartbeat().expect("a pull waits");
    assert_eq!(bench.turn([Input::Gate(heartbeat)]), []);
    assert_eq!((standing(&bench), bench.marked(Mark::GateTailGap)), (Standing::Unbound, 1));
}

#[test]
fn a_pull_that_stays_silent_is_given_up_and_the_gate_binds_anew() {
    let (mut bench, upstream) = bound(0);
    bench.oversleep(LIMITS.heartbeat_ms);
    let heartbeat = upstream.heartbeat().expect("a pull waits");
    bench.turn([Input::Gate(heartbeat)]);
    assert_eq!(bench.deadline(), Some((at(LIMITS.heartbeat_ms + SILENCE_MS), Timer::Silence)));
    assert_eq!(words(&bench.advance(LIMITS.heartbeat_ms + 1_000)), [""; 0], "silent, not yet suspicious");
    assert_eq!(words(&bench.advance(LIMITS.heartbeat_ms + LIMITS.rebind_ms)), ["inspect"]);
    assert_eq!((standing(&bench), bench.marked(Mark::GatePullLost)), (Standing::Unbound, 1));
}

#[test]
fn a_pull_whose_end_was_never_told_is_given_up_when_it_must_have_ended() {
    let (mut bench, upstream) = bound(0);
    for _ in 0..6 {
        let heartbeat = upstream.heartbeat().expect("a pull waits");
        bench.turn([Input::Gate(heartbeat)]);
        assert_eq!(words(&bench.advance(LIMITS.heartbeat_ms)), [""; 0]);
    }
    assert_eq!(words(&bench.advance(1_000 + LIMITS.rebind_ms)), ["inspect"]);
}

#[test]
fn a_pull_that_ended_is_followed_by_another() {
    let (mut bench, mut upstream) = bound(0);
    let served = upstream.end_pull().expect("a pull");
    let fetch = bench.turn([Input::Gate(served)]);
    assert_eq!(words(&fetch), ["fetch 4"]);
    let Effect::Fetch { generation, pull, .. } = only(fetch) else { panic!("not a fetch") };
    let moved = gate::Input::PullEnded { generation, pull, end: PullEnd::Moved };
    assert_eq!(bench.turn([Input::Gate(moved)]), []);
    assert_eq!((standing(&bench), bench.marked(Mark::GateMoved)), (Standing::Unbound, 1));
    assert_eq!(words(&bench.advance(LIMITS.rebind_ms)), ["inspect"], "the log may be another one");
}

#[test]
fn a_consumer_that_is_gone_or_refuses_is_made_again() {
    for end in [PullEnd::ConsumerGone, PullEnd::Refused] {
        let (mut bench, mut upstream) = bound(2);
        consume(&mut bench, &mut upstream);
        let lost = upstream.end_pull();
        let Some(gate::Input::PullEnded { generation, pull, .. }) = lost else { panic!("no pull") };
        upstream.lose_consumer();
        bench.turn([Input::Gate(gate::Input::PullEnded { generation, pull, end })]);
        assert_eq!((standing(&bench), bench.marked(Mark::GateConsumerLost)), (Standing::Unbound, 1));
        bench.oversleep(LIMITS.rebind_ms);
        upstream.store(MATCHING, Headers::default(), "x");
        bind(&mut bench, &mut upstream);
        consume(&mut bench, &mut upstream);
        assert_eq!(log(&bench), [1, 2, 3]);
    }
}

#[test]
fn a_lost_connection_unbinds_until_it_is_back() {
    let (mut bench, mut upstream) = bound(3);
    bench.turn([served(&mut upstream)]);
    let late = served(&mut upstream);
    let changed = |connected| Input::Gate(gate::Input::ConnectionChanged { connected });
    assert_eq!(bench.turn([changed(false)]), []);
    assert_eq!((standing(&bench), bench.deadline()), (Standing::Unbound, None));
    ignores(&mut bench, changed(false));
    ignores(&mut bench, late);
    assert_eq!(words(&bench.turn([changed(true)])), ["inspect"]);
    ignores(&mut bench, changed(true));
    bench.oversleep(LIMITS.request_timeout_ms);
    bind(&mut bench, &mut upstream);
    consume(&mut bench, &mut upstream);
    assert_eq!(log(&bench), [1, 2, 3]);
}

#[test]
fn a_request_without_an_answer_is_tried_again_from_the_beginning() {
    let (mut bench, mut upstream) = (bench(), stream(1));
    let first = bench.settle();
    let second = bench.advance(LIMITS.request_timeout_ms);
    assert_eq!(words(&second), ["inspect"]);
    let late = reply(&mut upstream, first);
    ignores(&mut bench, late);
    let inspected = reply(&mut upstream, second);
    let position = bench.turn([inspected]);
    let late = reply(&mut upstream, position);
    assert_eq!(words(&bench.advance(LIMITS.request_timeout_ms)), ["inspect"]);
    ignores(&mut bench, late);
    assert_eq!(bench.marked(Mark::GateBindUnknown), 2);
}

#[test]
fn pauses_between_attempts_to_bind_grow_and_stay_bounded() {
    let (mut bench, mut upstream) = (bench(), stream(0));
    let mut longest = 0;
    for attempt in 0..40 {
        let Effect::Inspect { token, .. } = only(bench.settle()) else { panic!("does not inspect") };
        match attempt % 3 {
            0 => drop(bench.turn([Input::Gate(gate::Input::Inspected { token, outcome: Outcome::Unknown })])),
            even_or_odd => {
                let inspected = gate::Input::Inspected { token, outcome: Outcome::Done(upstream.facts()) };
                let Effect::Position { token, .. } = only(bench.turn([Input::Gate(inspected)])) else {
                    panic!("does not position")
                };
                let no = Outcome::Refused(PositionRefused { detail: "no".into() });
                let outcome = if even_or_odd == 1 { no } else { Outcome::Unknown };
                bench.turn([Input::Gate(gate::Input::Positioned { token, outcome })]);
            }
        }
        assert_eq!(standing(&bench), Standing::Unbound);
        let pause = bench.deadline().expect("tries again").0.ms_since(bench.now.mono);
        assert!((1..=LIMITS.rebind_ms_max).contains(&pause), "{pause}");
        longest = longest.max(pause);
        bench.oversleep(pause);
    }
    assert!(longest > LIMITS.rebind_ms, "{longest}");
    bind(&mut bench, &mut upstream);
    assert_eq!(standing(&bench), Standing::Bound);
}

#[test]
pub(super) fn a_stopped_gate_takes_nothing_in_and_wants_nothing() {
    let (mut bench, mut upstream) = bound(2);
    bench.turn([served(&mut upstream)]);
    assert_eq!(bench.turn([Input::Stopped]), []);
    assert_eq!((standing(&bench), bench.deadline()), (Standing::Stopped, None));
    let heartbeat = upstream.heartbeat().expect("a pull waits");
    for input in [
        served(&mut upstream),
        Input::Gate(heartbeat),
        Input::Gate(gate::Input::ConnectionChanged { connected: false }),
        Input::Gate(gate::Input::ConnectionChanged { connected: true }),
        Input::Stopped,
        crate::Tick.into(),
    ] {
        ignores(&mut bench, input);
    }
    assert_eq!(log(&bench), [1]);
}

#[test]
fn nothing_is_acked_before_its_checkpoint_is_durable() {
    for landed in [Landed::Yes, Landed::No] {
        let (mut bench, mut upstream) = bound(2);
        let delivery = served(&mut upstream);
        assert_eq!(bench.turn_without_answer(landed, [delivery]), [], "INV-GATE-1");
        let start = if landed == Landed::Yes { 2 } else { 1 };
        let inspected = reply(&mut upstream, bench.settle());
        assert_eq!(words(&bench.turn([inspected])), [format!("position {start}")]);
    }
}

#[test]
pub(super) fn what_is_applied_is_contiguous_over_messages_of_others() {
    let (mut bench, mut upstream) = bound(0);
    for subject in [MATCHING, OTHER, OTHER, MATCHING, OTHER] {
        upstream.store(subject, Headers::default(), "x");
    }
    consume(&mut bench, &mut upstream);
    assert_eq!((log(&bench), committed(&bench)), (vec![1, 4], 4));
}

#[test]
fn no_more_is_asked_for_than_may_be_in_flight() {
    let (mut bench, mut upstream) = bound(20);
    let mut most = upstream.asked();
    // The broker forgets nothing; the gate asks again when half a batch is left.
    while let Some(delivery) = upstream.serve() {
        for effect in bench.turn([Input::Delivered(delivery)]) {
            upstream.perform(effect);
        }
        most = most.max(upstream.asked());
    }
    assert_eq!((most, log(&bench).len()), (LIMITS.in_flight_max, 20), "INV-GATE-4");
}

#[test]
fn a_delivery_of_an_earlier_generation_changes_nothing() {
    let (mut bench, mut upstream) = bound(3);
    bench.turn([served(&mut upstream)]);
    let (old, heartbeat) = (served(&mut upstream), upstream.heartbeat().expect("a pull waits"));
    let end = upstream.end_pull().expect("a pull");
    bench.crash();
    bind(&mut bench, &mut upstream);
    // The same consumer sequence that is expected next, of a consumer that is no more.
    bench.turn([served(&mut upstream)]);
    for input in [old, Input::Gate(heartbeat), Input::Gate(end)] {
        ignores(&mut bench, input);
    }
    let unknown = Token { incarnation: 9, seq: 9 };
    ignores(&mut bench, Input::Gate(gate::Input::Heartbeat { generation: unknown, last_consumer_seq: 99 }));
    assert_eq!((log(&bench), bench.marked(Mark::GateStaleGeneration)), (vec![1, 2], 4), "INV-GATE-5");
}

#[test]
fn answers_that_nobody_waits_for_change_nothing() {
    let (mut bench, upstream) = bound(1);
    let token = Token { incarnation: 1, seq: 1 };
    ignores(
        &mut bench,
        Input::Gate(gate::Input::Inspected { token, outcome: Outcome::Done(upstream.facts()) }),
    );
    ignores(&mut bench, Input::Gate(gate::Input::Positioned { token, outcome: Outcome::Done(()) }));
}

#[test]
fn a_checkpoint_that_the_table_contradicts_halts() {
    let (mut bench, mut upstream) = bound(1);
    bench.turn([served(&mut upstream)]);
    row_of(&mut bench)[7] = 9;
    let mut contradicted = bench.clone();
    let halt = contradicted.try_turn([]).expect_err("contradicts");
    assert!(matches!(&halt, Halt::Broken(broken) if broken.invariant == Invariant::Gate3), "{halt}");
    row_of(&mut bench).truncate(3);
    let halt = bench.recovered().expect_err("corrupt");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Checkpoint, .. }), "{halt}");
}

/// The checkpoint as it is stored.
fn row_of(bench: &mut Bench<Gated>) -> &mut Vec<u8> {
    let stored = bench.store.rows.iter_mut().find(|((table, _), _)| *table == Table::Checkpoint);
    stored.expect("a checkpoint").1
}
