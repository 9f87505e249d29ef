//! Every order of a few deliveries, losses, repetitions, failed commits and restarts.

use super::properties::World;
use super::{Input, LIMITS, Landed, Sent, stream};
use crate::bench::explore;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    /// The broker sends the next message.
    Serve,
    /// The broker sends a message again whose ack it did not see.
    Redeliver,
    /// What was sent first arrives.
    Arrive,
    /// What was sent last arrives.
    Overtake,
    /// What was sent first is lost.
    Lose,
    /// What was sent first arrives, and its commit has no answer.
    FailCommit(Landed),
    /// The process dies.
    Crash,
    /// The gate may bind anew, and everything but messages arrives.
    Bind,
}

const MOVES: [Move; 9] = [
    Move::Serve,
    Move::Redeliver,
    Move::Arrive,
    Move::Overtake,
    Move::Lose,
    Move::FailCommit(Landed::Yes),
    Move::FailCommit(Landed::No),
    Move::Crash,
    Move::Bind,
];

fn possible(world: &World) -> Vec<Move> {
    let arrives = |own: &Move| match own {
        Move::Serve | Move::Redeliver | Move::Crash | Move::Bind => true,
        Move::Arrive | Move::Lose | Move::FailCommit(_) => !world.under_way.is_empty(),
        Move::Overtake => world.under_way.len() > 1,
    };
    MOVES.into_iter().filter(arrives).collect()
}

fn step(world: &mut World, action: &Move) {
    match action {
        Move::Serve => {
            let sent = world.upstream.serve();
            world.under_way.extend(sent.map(Sent::Message));
        }
        Move::Redeliver => {
            let sent = world.upstream.redeliver();
            world.under_way.extend(sent.map(Sent::Message));
        }
        Move::Arrive => {
            let sent = world.under_way.remove(0);
            world.turn(vec![sent.into()]);
        }
        Move::Overtake => {
            let sent = world.under_way.pop().expect("something is under way");
            world.turn(vec![sent.into()]);
        }
        Move::Lose => drop(world.under_way.remove(0)),
        Move::FailCommit(landed) => {
            let sent = world.under_way.remove(0);
            let effects = world.bench.turn_without_answer(*landed, [Input::from(sent)]);
            world.perform(effects);
        }
        Move::Crash => world.bench.crash(),
        Move::Bind => {
            let effects = world.bench.advance(LIMITS.rebind_ms);
            world.perform(effects);
            while let Some(at) = world.under_way.iter().position(|sent| matches!(sent, Sent::Fact(_))) {
                let sent = world.under_way.remove(at);
                world.turn(vec![sent.into()]);
            }
        }
    }
    world.judge();
}

#[test]
fn no_order_of_events_applies_a_message_twice_or_out_of_order() {
    let mut world = World::new(stream(3));
    step(&mut world, &Move::Bind);
    let worlds = explore(world, 8, possible, step);
    assert!(worlds > 15_000, "{worlds}");
}
