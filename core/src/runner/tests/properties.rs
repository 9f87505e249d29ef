//! Whatever network, broker, outside, store and clock do: what was done for an order is what would have been done
//! without any of it.

use super::{Effect, Input, Landed, Sent, Source, World, asked, pause, sent};
use crate::saga::{HandOver, Verb};
use proptest::prelude::*;
use proptest::sample::Index;

const ORDERS: [(&str, &str); 4] =
    [("acme", "o-1"), ("acme", "o-broke"), ("globex", "o-1"), ("", "o-soldout")];

#[derive(Clone, Debug)]
enum Op {
    Place {
        order: usize,
    },
    /// Something that was asked for is done, or is lost on the way, and its answer sets out.
    Perform {
        nth: Index,
        lost: bool,
    },
    /// Something under way arrives, and may arrive again.
    Arrive {
        nth: Index,
        again: bool,
    },
    Lose {
        nth: Index,
    },
    Serve {
        source: usize,
    },
    Redeliver {
        source: usize,
    },
    RollBack {
        source: usize,
    },
    Wait {
        ms: u64,
    },
    Pause {
        order: usize,
    },
    Resume {
        order: usize,
    },
    Crash,
    FailCommit {
        landed: Landed,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let ms = prop::sample::select(vec![100, 1_000, 5_000]);
    let source = || 0..Source::ALL.len();
    prop_oneof![
        3 => (0..ORDERS.len()).prop_map(|order| Op::Place { order }),
        20 => (any::<Index>(), prop::bool::weighted(0.1)).prop_map(|(nth, lost)| Op::Perform { nth, lost }),
        20 => (any::<Index>(), prop::bool::weighted(0.05)).prop_map(|(nth, again)| Op::Arrive { nth, again }),
        2 => any::<Index>().prop_map(|nth| Op::Lose { nth }),
        14 => source().prop_map(|source| Op::Serve { source }),
        1 => source().prop_map(|source| Op::Redeliver { source }),
        1 => source().prop_map(|source| Op::RollBack { source }),
        5 => ms.prop_map(|ms| Op::Wait { ms }),
        1 => (0..ORDERS.len()).prop_map(|order| Op::Pause { order }),
        2 => (0..ORDERS.len()).prop_map(|order| Op::Resume { order }),
        1 => Just(Op::Crash),
        1 => landed.prop_map(|landed| Op::FailCommit { landed }),
    ]
}

#[derive(Clone, Debug)]
struct Faulty {
    world: World,
    asked: Vec<Effect>,
    under_way: Vec<Input>,
    fail_commit: Option<Landed>,
}

impl Faulty {
    fn turn(&mut self, inputs: Vec<Input>) {
        let effects = match self.fail_commit.take() {
            Some(landed) => self.world.bench.turn_without_answer(landed, inputs),
            None => self.world.bench.turn(inputs),
        };
        self.asked.extend(effects);
    }

    /// Mostly in the order of sending: gates that see only disorder never get anywhere.
    fn index(nth: Index, len: usize) -> usize {
        nth.index(len + 4).saturating_sub(4)
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Place { order } => {
                let (whose, order) = ORDERS[*order];
                self.world.place(whose, order);
            }
            Op::Perform { nth, lost } => {
                if !self.asked.is_empty() {
                    let effect = self.asked.remove(Self::index(*nth, self.asked.len()));
                    if !lost {
                        self.under_way.extend(self.world.perform(effect));
                    }
                }
            }
            Op::Arrive { nth, again } => {
                if !self.under_way.is_empty() {
                    let at = Self::index(*nth, self.under_way.len());
                    let input = if *again { self.under_way[at].clone() } else { self.under_way.remove(at) };
                    self.turn(vec![input]);
                }
            }
            Op::Lose { nth } => {
                if !self.under_way.is_empty() {
                    self.under_way.remove(nth.index(self.under_way.len()));
                }
            }
            Op::Serve { source } => {
                let source = Source::ALL[*source];
                let served = self.world.stream(source).serve();
                self.under_way.extend(served.map(|own| sent(source, Sent::Message(own))));
            }
            Op::Redeliver { source } => {
                let source = Source::ALL[*source];
                let served = self.world.stream(source).redeliver();
                self.under_way.extend(served.map(|own| sent(source, Sent::Message(own))));
            }
            Op::RollBack { source } => self.world.stream(Source::ALL[*source]).roll_back(),
            Op::Wait { ms } => {
                let effects = self.world.bench.advance(*ms);
                self.asked.extend(effects);
            }
            Op::Pause { order } => self.ask(*order, pause()),
            Op::Resume { order } => self.ask(*order, Verb::Resume),
            Op::Crash => self.world.bench.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
        }
    }

    fn ask(&mut self, order: usize, verb: Verb) {
        let (whose, order) = ORDERS[order];
        self.turn(vec![asked(0, whose, order, verb)]);
    }

    /// Faults stop; what is still on the network arrives nowhere.
    fn heal(mut self) -> World {
        self.world.bench.crash();
        self.world.run();
        for (whose, order) in ORDERS {
            // One that never began, or is over, cannot be resumed.
            drop(self.world.ask(whose, order, Verb::Resume));
        }
        for _ in 0..20 {
            let effects = self.world.bench.advance(6_000);
            self.world.carry(effects);
        }
        self.world
    }
}

/// What was done, but for receipts: one that had no answer waits for a person.
fn done(world: &World, order: &str) -> Vec<String> {
    let own = world.outside.of(order).into_iter().filter(|what| *what != "send_receipt");
    own.map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn what_is_done_is_what_would_have_been_done_without_faults(
        ops in prop::collection::vec(op(), 1..250),
        hand_over in prop::sample::select(vec![HandOver::Broker, HandOver::Commit]),
    ) {
        let mut clean = World::bound();
        let placed = ops.iter().filter_map(|op| if let Op::Place { order } = op { Some(*order) } else { None });
        for order in placed {
            clean.place(ORDERS[order].0, ORDERS[order].1);
        }
        clean.run();
        let mut world = Faulty {
            world: World::bound_with(hand_over),
            asked: Vec::new(),
            under_way: Vec::new(),
            fail_commit: None,
        };
        ops.iter().for_each(|op| world.apply(op));
        let healed = world.heal();
        for (whose, order) in ORDERS {
            let name = format!("{whose}/{order}");
            prop_assert_eq!(done(&healed, &name), done(&clean, &name), "INV-ONCE-1, INV-LIVE-1: {}", name);
            prop_assert_eq!(healed.status(whose, order), clean.status(whose, order));
            let receipts = healed.outside.of(&name).iter().filter(|what| **what == "send_receipt").count();
            prop_assert!(receipts <= 1, "INV-EFF-5");
        }
        let runner = healed.bench.machine();
        let left = (runner.outbox().depth(), runner.effects().open(), runner.quarantine().parked());
        prop_assert_eq!(left, (0, 0, 0));
    }
}
