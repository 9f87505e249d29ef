//! An effect's time, from when it was asked for, over restarts and whatever the wall clock is set to.

use super::{
    Bench, Desk, Effect, LIMITS, Phase, bench, command, commanded, ends, ledger, not_sent, nothing_is_open,
    only, phase, unknown,
};
use crate::marks::Mark;
use crate::time::Wall;

pub(super) const TOTAL_MS: u64 = 3_000;

fn ping(bench: &mut Bench<Desk>) -> Effect {
    only(bench.turn([commanded(command("ping", "w-1"))]))
}

/// Nobody answers; how long after the beginning the last attempt began, by the monotonic clock of this life.
fn last_attempt_ms(bench: &mut Bench<Desk>, mut call: Effect) -> u64 {
    let begin = bench.now.mono;
    loop {
        let began = bench.now.mono;
        assert!(began.ms_since(begin) <= TOTAL_MS, "INV-EFF-6: it goes on");
        assert_eq!(bench.turn([unknown(&call)]), []);
        let Some((at, _)) = bench.deadline() else { return began.ms_since(begin) };
        call = only(bench.advance(at.ms_since(bench.now.mono)));
    }
}

fn out_of_time(bench: &Bench<Desk>) {
    let Phase::Parked { reason } = phase(bench, "w-1") else { panic!("not parked") };
    assert!(reason.contains("time is used up"), "{reason}");
    assert_eq!((ends(bench), bench.marked(Mark::EffectOutOfTime)), (vec![], 1));
    nothing_is_open(bench);
}

fn set_wall(bench: &mut Bench<Desk>, by_ms: i64) {
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms().saturating_add_signed(by_ms));
}

#[test]
pub(super) fn what_is_not_done_in_its_time_is_left_to_a_person() {
    let mut bench = bench();
    let call = ping(&mut bench);
    let last_ms = last_attempt_ms(&mut bench, call);
    assert!((TOTAL_MS - 200..TOTAL_MS).contains(&last_ms), "INV-EFF-6: {last_ms}");
    assert!(ledger(&bench, "w-1").is_some_and(|row| row.attempts > 10 && row.ambiguous == row.attempts));
    out_of_time(&bench);
}

#[test]
fn what_is_under_way_when_its_time_is_used_up_may_still_be_answered() {
    let mut bench = bench();
    let call = ping(&mut bench);
    bench.oversleep(TOTAL_MS);
    bench.turn([super::answer(&call, 200)]);
    assert_eq!(ends(&bench), ["w-1 succeeded"]);
}

#[test]
fn what_comes_to_its_turn_too_late_is_not_tried_at_all() {
    let mut bench = bench();
    let busy = bench.turn(["c-1", "c-2"].map(|id| commanded(super::charge(id))));
    assert_eq!((busy.len(), LIMITS.in_flight_max), (2, 2));
    assert_eq!(bench.turn([commanded(command("ping", "w-1"))]), []);
    bench.oversleep(TOTAL_MS);
    assert_eq!(bench.turn(busy.iter().map(|call| super::answer(call, 200))), []);
    assert_eq!(ledger(&bench, "w-1").map(|row| row.attempts), Some(0));
    let Phase::Parked { .. } = phase(&bench, "w-1") else { panic!("not parked") };
}

#[test]
fn a_restart_does_not_give_it_more_time() {
    for (away_ms, resumed) in [(TOTAL_MS - 100, 1), (TOTAL_MS, 0)] {
        let mut bench = bench();
        let call = ping(&mut bench);
        bench.turn([not_sent(&call, false)]);
        bench.oversleep(away_ms - 1);
        bench.crash();
        let calls = bench.settle();
        assert_eq!(calls.len(), resumed, "{away_ms}");
        if let [call] = &calls[..] {
            assert!(last_attempt_ms(&mut bench, call.clone()) < 100, "INV-EFF-6");
        }
        out_of_time(&bench);
    }
}

#[test]
fn the_wall_clock_neither_takes_nor_gives_time_while_it_runs() {
    const HOUR_MS: i64 = 3_600_000;
    for by_ms in [HOUR_MS, -HOUR_MS] {
        let mut bench = bench();
        let call = ping(&mut bench);
        set_wall(&mut bench, by_ms);
        let last_ms = last_attempt_ms(&mut bench, call);
        assert!((TOTAL_MS - 200..TOTAL_MS).contains(&last_ms), "{by_ms}: {last_ms}");
        out_of_time(&bench);
    }
}

#[test]
fn a_wall_clock_set_back_before_a_restart_gives_it_its_whole_time_again_and_no_more() {
    let mut bench = bench();
    let call = ping(&mut bench);
    bench.turn([not_sent(&call, false)]);
    set_wall(&mut bench, -3_600_000);
    bench.crash();
    let call = only(bench.settle());
    let last_ms = last_attempt_ms(&mut bench, call);
    assert!((TOTAL_MS - 200..TOTAL_MS).contains(&last_ms), "{last_ms}");
    out_of_time(&bench);
}
