//! Every order of what can happen to a call that may be repeated and one that may not.

use super::properties::{Kind, Says, World};
use super::{LIMITS, Landed};
use crate::bench::explore;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// A call reaches the outside, in time or late.
    Reach(usize),
    /// The outside says: not now.
    PutOff,
    /// Nobody knows what became of the first call.
    Unanswered {
        done: bool,
    },
    /// An answer arrives.
    Answer(usize),
    /// The first answer arrives, and its commit has no answer itself.
    FailCommit(Landed),
    /// The first answer is lost.
    LoseAnswer,
    /// The first command comes again.
    Redeliver,
    /// All pauses are over, and all attempts given up that are old enough.
    Wait,
    Crash,
}

fn possible(world: &World) -> Vec<Move> {
    let mut moves = vec![Move::Wait, Move::Crash, Move::Redeliver];
    moves.extend((0..world.calls.len().min(2)).map(Move::Reach));
    moves.extend((0..world.answers.len().min(2)).map(Move::Answer));
    if !world.calls.is_empty() {
        moves.extend([Move::PutOff, Move::Unanswered { done: true }, Move::Unanswered { done: false }]);
    }
    if !world.answers.is_empty() {
        moves.extend([Move::FailCommit(Landed::Yes), Move::FailCommit(Landed::No), Move::LoseAnswer]);
    }
    moves
}

fn step(world: &mut World, action: &Move) {
    match action {
        Move::Reach(nth) => world.reach(*nth, Says::Yes),
        Move::PutOff => world.reach(0, Says::NotNow),
        Move::Unanswered { done } => world.unanswered(0, *done),
        Move::Answer(nth) => world.answer(*nth, false),
        Move::FailCommit(landed) => {
            let answer = world.answers.remove(0);
            world.fails(*landed, answer);
        }
        Move::LoseAnswer => drop(world.answers.remove(0)),
        Move::Redeliver => world.arrive(&[(Kind::Charge, 1)]),
        Move::Wait => world.wait(2_000 + LIMITS.answer_slack_ms),
        Move::Crash => {
            world.bench.crash();
            world.wait(0);
        }
    }
}

#[test]
fn no_order_of_events_ends_a_command_twice_or_repeats_what_may_not_be() {
    let mut world = World::new(LIMITS);
    world.arrive(&[(Kind::Charge, 1), (Kind::Receipt, 1)]);
    let worlds = explore(world, 6, possible, step);
    assert!(worlds > 3_000, "{worlds}");
}
