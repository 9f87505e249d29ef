//! Giving up, letting go, dropping.

use super::{
    Bench, Config, Effect, Input, LIMITS, Limits, Relay, bench, command, config, done, enqueued, kept,
    message, settled, unknown, waiting, words,
};
use crate::bench::Landed;

/// Nobody answers until everything that has been there for too long is given up on.
fn nobody_answers(bench: &mut Bench<Relay>, mut effects: Vec<Effect>) {
    for _ in 0..LIMITS.retry_ms_max / LIMITS.backoff_ms_max + 2 {
        effects = bench.turn(effects.iter().map(unknown));
        effects.extend(bench.advance(LIMITS.backoff_ms_max));
    }
    assert_eq!(effects, []);
}

fn lanes(bench: &Bench<Relay>) -> Vec<(String, u64)> {
    kept(&bench.store).into_keys().collect()
}

const LANE: &str = "s:acme:checkout:o-1";

fn own(positions: &[u64]) -> Vec<(String, u64)> {
    positions.iter().map(|position| (LANE.to_owned(), *position)).collect()
}

/// Another lane still leaves; that of `o-1` is kept, as far as these positions.
fn given_up() -> Bench<Relay> {
    let mut bench = bench();
    let effects = bench.turn([message("o-1", "w-1"), command("o-1", "w-2")].map(enqueued));
    assert_eq!(words(&effects), ["publish w-1"]);
    nobody_answers(&mut bench, effects);
    assert_eq!(lanes(&bench), own(&[0, 1]));
    bench
}

#[test]
fn what_is_tried_for_too_long_is_kept_and_tried_again_when_it_is_let_go() {
    let mut bench = given_up();
    assert_eq!((bench.machine().0.depth(), bench.deadline()), (0, None));
    assert!(waiting(&bench).is_empty());
    let effects = bench.turn([Input::LetGo(LANE.into())]);
    assert_eq!(words(&effects), ["publish w-1"]);
    assert_eq!(waiting(&bench).into_keys().collect::<Vec<_>>(), [0, 1]);
    let effects = bench.turn(effects.iter().map(|own| done(own, 7)));
    assert_eq!(words(&effects), ["submit w-2"]);
    bench.turn(effects.iter().map(|own| done(own, 8)));
    assert_eq!(settled(&bench), ["w-1 published 7", "w-2 accepted 8 v8"]);
}

#[test]
pub(super) fn what_is_behind_an_entry_that_was_given_up_on_waits_with_it() {
    let mut bench = given_up();
    let effects = bench.turn([message("o-1", "w-3"), message("o-2", "w-4")].map(enqueued));
    assert_eq!(words(&effects), ["publish w-4"], "lanes do not wait for each other");
    bench.turn([done(&effects[0], 5)]);
    assert_eq!(bench.settle(), []);
    assert_eq!(lanes(&bench), own(&[0, 1, 2]));
    bench.crash();
    assert_eq!(bench.turn([enqueued(message("o-1", "w-5"))]), []);
    bench.settle();
    assert_eq!(lanes(&bench), own(&[0, 1, 2, 4]), "a restart knows what is kept");
}

#[test]
fn what_came_meanwhile_goes_after_what_is_let_go() {
    let mut bench = given_up();
    let inputs = [enqueued(message("o-1", "w-3")), Input::LetGo(LANE.into())];
    let mut effects = bench.turn(inputs);
    for _ in 0..3 {
        effects.extend(bench.settle());
        effects = bench.turn(effects.iter().map(|own| done(own, 9)));
    }
    assert_eq!(settled(&bench), ["w-1 published 9", "w-2 accepted 9 v9", "w-3 published 9"]);
}

#[test]
fn what_is_dropped_makes_way() {
    let mut bench = given_up();
    let effects = bench.turn([enqueued(message("o-1", "w-3")), Input::Dropped(LANE.into())]);
    assert_eq!(words(&effects), ["publish w-3"]);
    assert_eq!(lanes(&bench), []);
}

#[test]
fn whoever_was_down_for_long_tries_first() {
    let mut bench = bench();
    bench.turn([enqueued(message("o-1", "w-1"))]);
    bench.oversleep(LIMITS.retry_ms_max * 2);
    bench.crash();
    let effects = bench.settle();
    assert_eq!(words(&effects), ["publish w-1"]);
    let effects = bench.turn(effects.iter().map(unknown));
    assert_eq!((effects, lanes(&bench)), (vec![], own(&[])));
}

#[test]
fn while_the_streams_may_be_others_nothing_is_given_up_on() {
    let mut bench = bench();
    let mut effects = bench.turn([enqueued(message("o-1", "w-1"))]);
    for _ in 0..4 {
        effects = bench.turn(effects.iter().map(unknown));
        effects.extend(bench.advance(LIMITS.backoff_ms_max));
    }
    bench.turn([Input::Held(true)]);
    bench.oversleep(LIMITS.retry_ms_max);
    bench.turn(effects.iter().map(unknown));
    bench.settle();
    assert_eq!(lanes(&bench), own(&[]));
}

#[test]
fn giving_up_is_one_commit() {
    for (landed, kept) in [(Landed::Yes, 1), (Landed::No, 0)] {
        let mut bench = bench();
        let effects = bench.turn([enqueued(message("o-1", "w-1"))]);
        bench.oversleep(LIMITS.retry_ms_max);
        let mut effects = effects;
        for _ in 0..2 {
            effects = bench.turn(effects.iter().map(unknown));
            effects.extend(bench.advance(LIMITS.backoff_ms_max));
        }
        let answers: Vec<Input> = effects.iter().map(unknown).collect();
        bench.turn_without_answer(landed, answers.into_iter().chain([crate::Tick.into()]));
        assert_eq!((lanes(&bench).len(), waiting(&bench).len()), (kept, 1 - kept), "{landed:?}");
    }
}

#[test]
pub(super) fn what_fails_is_tried_for_as_long_as_it_may_be() {
    let mut bench = bench();
    let mut effects = bench.turn([enqueued(message("o-1", "w-1"))]);
    let until = bench.now.mono.plus_ms(LIMITS.retry_ms_max - 1);
    while bench.now.mono < until {
        effects = bench.turn(effects.iter().map(unknown));
        let ms = until.ms_since(bench.now.mono).min(LIMITS.backoff_ms_max);
        effects.extend(bench.advance(ms));
        assert_eq!(lanes(&bench), own(&[]), "INV-OUT-9");
    }
}

fn is_last(effect: &Effect) -> bool {
    words(std::slice::from_ref(effect))[0].ends_with("w-5")
}

/// A lane of five rows on disk, the first of which is in memory, and among them one of a lane that is kept.
fn a_kept_lane_behind_a_long_one(tracked_max: usize) -> Bench<Relay> {
    let all = Limits { tracked_max: 8, tracked_tenant_max: 8, ..LIMITS };
    let mut bench = Bench::<Relay>::new(Config { limits: all, ..config() });
    let long = ["w-1", "w-2", "w-3", "w-4"].map(|id| enqueued(message("o-2", id)));
    let later = [message("o-1", "w-5"), message("o-2", "w-6")].map(enqueued);
    bench.turn(long.into_iter().chain(later));
    bench.oversleep(LIMITS.retry_ms_max);
    bench.crash();
    let mut effects = bench.settle();
    for _ in 0..3 {
        // The long lane is not answered at all; the other one is told that nobody knows.
        let own: Vec<Effect> = effects.into_iter().filter(is_last).collect();
        effects = bench.turn(own.iter().map(unknown));
        effects.extend(bench.advance(LIMITS.backoff_ms_max));
    }
    assert_eq!(lanes(&bench), own(&[4]));
    Bench::with(bench.store.clone(), Config { limits: Limits { tracked_max, ..LIMITS }, ..config() })
}

/// The kept lane is let go, and everything is answered; it is answered last.
fn settles(mut bench: Bench<Relay>) {
    let mut effects = bench.settle();
    effects.extend(bench.turn([Input::LetGo(LANE.into())]));
    let mut last = Vec::new();
    for _ in 0..10 {
        effects.extend(bench.settle());
        let (own, others): (Vec<Effect>, Vec<Effect>) = effects.into_iter().partition(is_last);
        last.extend(own);
        effects = bench.turn(others.iter().map(|other| done(other, 9)));
    }
    for _ in 0..10 {
        effects.extend(bench.turn(last.drain(..).map(|own| done(&own, 9))));
        effects.extend(bench.settle());
        effects = bench.turn(effects.iter().map(|own| done(own, 9)));
    }
    let mut all = settled(&bench);
    all.sort();
    assert_eq!(all, ["w-1", "w-2", "w-3", "w-4", "w-5", "w-6"].map(|id| format!("{id} published 9")));
    assert!(waiting(&bench).is_empty());
}

#[test]
fn what_is_on_disk_before_a_lane_that_is_let_go_is_not_passed_over() {
    settles(a_kept_lane_behind_a_long_one(1));
}

#[test]
fn what_was_let_go_is_not_read_from_disk_as_well() {
    settles(a_kept_lane_behind_a_long_one(2));
}
