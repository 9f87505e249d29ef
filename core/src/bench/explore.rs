//! Small exhaustive search: machines are values, so every interleaving of a few moves can simply be tried.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Visits every world within `depth` moves of `start`, each once, and says how many there are.
///
/// Worlds are the same when they print the same.
///
/// # Panics
/// When a step does, with the moves that led there.
pub(crate) fn explore<W: Clone + Debug, A: Clone + Debug>(
    start: W,
    depth: usize,
    moves: impl Fn(&W) -> Vec<A>,
    step: impl Fn(&mut W, &A),
) -> usize {
    let mut seen = BTreeSet::from([fingerprint(&start)]);
    let mut edge = vec![(start, Vec::new())];
    for _ in 0..depth {
        let mut next = Vec::new();
        for (world, trail) in edge {
            for action in moves(&world) {
                let mut world = world.clone();
                let mut trail: Vec<A> = trail.clone();
                trail.push(action.clone());
                let stepped = catch_unwind(AssertUnwindSafe(|| step(&mut world, &action)));
                assert!(stepped.is_ok(), "the step above failed after {trail:?}");
                if seen.insert(fingerprint(&world)) {
                    next.push((world, trail));
                }
            }
        }
        edge = next;
    }
    seen.len()
}

fn fingerprint(world: &impl Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{world:?}").hash(&mut hasher);
    hasher.finish()
}

#[test]
fn every_world_is_visited_once() {
    // Two counters up to three: sixteen worlds, however the moves interleave.
    let moves = |world: &(u8, u8)| if *world == (3, 3) { vec![] } else { vec![0, 1] };
    let step = |world: &mut (u8, u8), action: &i32| {
        if *action == 0 {
            world.0 = (world.0 + 1).min(3);
        } else {
            world.1 = (world.1 + 1).min(3);
        }
    };
    assert_eq!(explore((0, 0), 6, moves, step), 16);
    assert_eq!(explore((0, 0), 1, moves, step), 3);
}

#[test]
#[should_panic(expected = "after [1, 1]")]
fn a_failing_step_is_told_with_the_moves_before_it() {
    explore(
        0,
        5,
        |_| vec![1],
        |world, action| {
            *world += action;
            assert!(*world < 2, "two is too many");
        },
    );
}
