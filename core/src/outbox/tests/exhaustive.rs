//! Every order of what can happen to three entries, two of which share a lane.

use super::LIMITS;
use super::properties::{Kind, World};
use crate::bench::{Landed, explore};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// A request reaches the outside, in time or late.
    Reach(usize),
    /// It reaches the outside, and stays on the network to reach it again.
    ReachTwice,
    /// Nobody knows what became of the first request.
    Unanswered {
        lost: bool,
    },
    /// An answer arrives.
    Answer(usize),
    /// The first answer arrives, and its commit has no answer itself.
    FailCommit(Landed),
    /// The first answer is lost.
    LoseAnswer,
    /// All pauses are over, and all attempts given up that are old enough.
    Wait,
    Crash,
}

fn possible(world: &World) -> Vec<Move> {
    let mut moves = vec![Move::Wait, Move::Crash];
    moves.extend((0..world.requests.len().min(3)).map(Move::Reach));
    moves.extend((0..world.answers.len().min(2)).map(Move::Answer));
    if !world.requests.is_empty() {
        moves.extend([Move::ReachTwice, Move::Unanswered { lost: true }, Move::Unanswered { lost: false }]);
    }
    if !world.answers.is_empty() {
        moves.extend([Move::FailCommit(Landed::Yes), Move::FailCommit(Landed::No), Move::LoseAnswer]);
    }
    moves
}

fn step(world: &mut World, action: &Move) {
    match action {
        Move::Reach(nth) => world.reach(*nth, false, false),
        Move::ReachTwice => world.reach(0, false, true),
        Move::Unanswered { lost } => world.unanswered(0, *lost),
        Move::Answer(nth) => world.answer(*nth, false),
        Move::FailCommit(landed) => {
            let answer = world.answers.remove(0);
            let effects = world.bench.turn_without_answer(*landed, [answer]);
            world.released(effects);
        }
        Move::LoseAnswer => drop(world.answers.remove(0)),
        Move::Wait => world.wait(LIMITS.attempt_timeout_ms),
        Move::Crash => {
            world.bench.crash();
            world.wait(0);
        }
    }
}

#[test]
fn no_order_of_events_loses_an_entry_or_ends_it_twice() {
    let mut world = World::new(LIMITS);
    world.enqueue(&[(Kind::Message, 1), (Kind::Message, 1), (Kind::Command, 2)]);
    let worlds = explore(world, 6, possible, step);
    assert!(worlds > 15_000, "{worlds}");
}
