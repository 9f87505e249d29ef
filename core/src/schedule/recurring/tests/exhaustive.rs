//! Every way a few occurrences can go, whenever the process dies, the clock jumps or an instance ends.

use super::*;
use crate::bench::explore;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// So many seconds pass.
    Wait(u64),
    /// A period passes, and the commit after it has no answer.
    FailCommit(Landed),
    /// The clock jumps by so many seconds.
    Jump(i64),
    /// The instance that runs ends.
    Finish,
}

fn moves(_: &Bench<Calendar>) -> Vec<Move> {
    vec![
        Move::Wait(5),
        Move::Wait(25),
        Move::FailCommit(Landed::Yes),
        Move::FailCommit(Landed::No),
        Move::Jump(-15),
        Move::Jump(15),
        Move::Finish,
    ]
}

fn step(bench: &mut Bench<Calendar>, action: &Move) {
    match action {
        Move::Wait(s) => drop(bench.advance(s * 1_000)),
        Move::FailCommit(landed) => {
            bench.oversleep(10_000);
            bench.turn_without_answer(*landed, []);
        }
        Move::Jump(s) => {
            let wall = bench.now.wall.as_ms().saturating_add_signed(s * 1_000);
            bench.now.wall = Wall::from_ms(wall.max(START_MS));
        }
        Move::Finish => {
            let name = "queues".parse().expect("a name");
            for id in running(&bench.store, &name) {
                bench.turn([Input::Finished(id)]);
            }
        }
    }
    let times = times(bench);
    assert!(times.is_sorted_by(|a, b| a < b), "INV-CRON-1: {times:?}");
}

#[test]
fn no_order_of_events_fires_an_occurrence_twice_or_beside_another() {
    let mut bench = Bench::new(config(&[], &["queues"]));
    bench.settle();
    let worlds = explore(bench, 4, moves, step);
    assert!(worlds > 100, "{worlds}");
}
