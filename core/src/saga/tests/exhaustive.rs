//! Every way a checkout can go, whenever the customer cancels.

use super::properties::World;
use super::{Landed, cancelled, placed};
use crate::bench::explore;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// A work item in flight ends.
    End {
        nth: usize,
        done: bool,
    },
    /// The first one ends, and the commit of it has no answer.
    FailCommit(Landed),
    Cancel,
    /// The first event comes again.
    Redeliver,
}

fn possible(world: &World) -> Vec<Move> {
    let in_flight = world.in_flight().len();
    let mut moves = vec![Move::Cancel, Move::Redeliver];
    for nth in 0..in_flight {
        moves.extend([Move::End { nth, done: true }, Move::End { nth, done: false }]);
    }
    if in_flight > 0 {
        moves.extend([Move::FailCommit(Landed::Yes), Move::FailCommit(Landed::No)]);
    }
    moves
}

fn step(world: &mut World, action: &Move) {
    match action {
        Move::End { nth, done } => {
            let (order, work) = world.in_flight().swap_remove(*nth);
            world.turn(World::end_of(order, &work, *done));
        }
        Move::FailCommit(landed) => {
            let (order, work) = world.in_flight().swap_remove(0);
            world.fails(*landed, World::end_of(order, &work, true));
        }
        Move::Cancel => world.turn(cancelled("o-1")),
        Move::Redeliver => world.turn(placed("o-1")),
    }
}

#[test]
fn no_order_of_events_leaves_anything_done_by_half() {
    let mut world = World::new();
    world.turn(placed("o-1"));
    let worlds = explore(world, 7, possible, step);
    assert!(worlds > 100, "{worlds}");
}
