//! Every order of what can happen to two commands for one article, beside a rival.

use super::properties::World;
use super::{LIMITS, Landed, Style, add, reserve};
use crate::bench::explore;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// A request reaches the stream, in time or late.
    Reach(usize),
    /// It reaches the stream, and stays on the network to reach it again.
    ReachTwice,
    /// Nobody knows what became of the first request.
    Unanswered { lost: bool },
    /// An answer arrives.
    Answer(usize),
    /// The first answer arrives, and its commit has no answer itself.
    FailCommit(Landed),
    /// Somebody else takes what is on hand.
    Rival,
    /// All pauses are over, and all attempts given up that are old enough.
    Wait,
    /// The process dies, and its callers ask again.
    Crash,
}

fn possible(world: &World) -> Vec<Move> {
    let mut moves = vec![Move::Wait, Move::Crash];
    moves.extend((world.rivals == 0).then_some(Move::Rival));
    moves.extend((0..world.requests.len().min(2)).map(Move::Reach));
    moves.extend((0..world.answers.len().min(2)).map(Move::Answer));
    if !world.requests.is_empty() {
        moves.extend([Move::ReachTwice, Move::Unanswered { lost: true }, Move::Unanswered { lost: false }]);
    }
    if !world.answers.is_empty() {
        moves.extend([Move::FailCommit(Landed::Yes), Move::FailCommit(Landed::No)]);
    }
    moves
}

fn bind(world: &mut World) {
    world.wait(0);
    let at = world.requests.len() - 1;
    world.reach(at, false, false);
    let at = world.answers.len() - 1;
    world.answer(at, false);
}

fn submit(world: &mut World) {
    world.submit(reserve("tea", "c-1", 1));
    world.submit(reserve("tea", "c-2", 1));
}

fn step(world: &mut World, action: &Move) {
    match action {
        Move::Reach(nth) => world.reach(*nth, false, false),
        Move::ReachTwice => world.reach(0, false, true),
        Move::Unanswered { lost } => world.unanswered(0, *lost),
        Move::Answer(nth) => world.answer(*nth, false),
        Move::FailCommit(landed) => {
            let answer = world.answers.remove(0);
            if world.fails(*landed, answer) {
                bind(world);
                submit(world);
            }
        }
        Move::Rival => world.rival(0, false),
        Move::Wait => world.wait(LIMITS.answer_timeout_ms),
        Move::Crash => {
            world.crash();
            bind(world);
            submit(world);
        }
    }
}

#[test]
fn no_order_of_events_gives_a_command_two_outcomes() {
    for (style, depth) in [(Style::Single, 6), (Style::Cluster, 5)] {
        let mut world = World::new(style);
        // Enough for one of them.
        world.log.rival(&add("tea", "rival", 1), &[("stock_added", serde_json::json!({ "qty": 1 }))]);
        submit(&mut world);
        let worlds = explore(world, depth, possible, step);
        assert!(worlds > 1_000, "{worlds}");
    }
}
