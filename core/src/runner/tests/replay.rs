//! Events that were passed come again for a saga, because an operator asks for it.

use super::retention::{KEEP_MS, pass, shipped};
use super::{Done, HandOver, Operation, Source, Status, World, order_events};
use crate::operator::Reason;
use crate::runner::Input;
use crate::runner::operate::Replay;
use crate::saga::Replayed;
use serde_json::json;

/// Begins only when an order is shipped.
const LATE: &str = "
saga: odd
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.aggregate_id }
starts_on: [order.order_shipped]
on_event:
  order.order_placed: { set: { placed: 1 } }
  order.order_shipped: { set: { shipped: 1 } }
";

/// Begins when it is placed.
const EARLY: &str = "
saga: odd
correlate: { order.order_placed: event.aggregate_id, order.order_shipped: event.aggregate_id }
starts_on: [order.order_placed]
on_event:
  order.order_placed: { set: { placed: 1 } }
  order.order_shipped: { set: { shipped: 2 } }
";

struct Again {
    saga: &'static str,
    may_repeat: bool,
    dry_run: bool,
}

impl World {
    /// The first message of an order comes again.
    fn replay(&mut self, stream_seq: u64, order: &str, again: &Again) -> Option<Replayed> {
        let Again { saga, may_repeat, dry_run } = *again;
        let replay = Replay {
            saga: saga.parse().expect("a name"),
            message: order_events("acme", order, 1, &["order_placed"]),
            stream_seq,
            may_repeat,
            dry_run,
            reason: Reason::parse("it began too late").expect("a reason"),
        };
        let operation = Box::new(Operation::Replay(Box::new(replay)));
        match self.answer_to(|ticket| Input::Asked { ticket, operation }) {
            Ok(Done::Replay(replayed)) => replayed,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_saga_takes_up_what_was_there_before_it_and_once() {
    let mut world = World::of_odd(LATE);
    world.place("acme", "o-1");
    world.run();
    assert_eq!(world.instance("odd", "acme", "o-1"), None);
    let mut world = world.reborn(EARLY);
    let again = |dry_run| Again { saga: "odd", may_repeat: false, dry_run };
    let begun = Replayed { begun: 1, ..Replayed::default() };
    assert_eq!(world.replay(1, "o-1", &again(true)), Some(begun));
    assert_eq!(world.instance("odd", "acme", "o-1"), None, "a dry run changes nothing");
    assert_eq!(world.replay(1, "o-1", &again(false)), Some(begun));
    let state = |world: &World| world.instance("odd", "acme", "o-1").map(|own| own.state);
    assert_eq!(state(&world), Some(json!({ "placed": 1 })));
    assert_eq!(world.replay(1, "o-1", &again(false)), Some(Replayed { known: 1, ..Replayed::default() }));
    let other = Again { saga: "checkout", ..again(false) };
    assert_eq!(world.replay(1, "o-1", &other), Some(Replayed::default()), "no other saga is concerned");
    assert_eq!(world.replay(2, "o-2", &again(false)), None, "that has yet to come, by itself");
}

/// What comes again would overtake what waits for a person.
#[test]
pub(super) fn what_is_held_back_stays_so() {
    let mut world = World::of_odd(LATE);
    world.place("acme", "o-1");
    let subject = order_events("acme", "o-1", 1, &[]).route().subject();
    world.stream(Source::Events).store(subject.as_str(), Default::default(), b"no event".to_vec());
    world.run();
    let mut world = world.reborn(EARLY);
    let again = Again { saga: "odd", may_repeat: false, dry_run: false };
    let held_back = Replayed { held_back: 1, ..Replayed::default() };
    assert_eq!(world.replay(1, "o-1", &again), Some(held_back), "INV-QRN-1");
    assert_eq!(world.instance("odd", "acme", "o-1"), None);
    world.discard_all();
    assert_eq!(world.replay(1, "o-1", &again), Some(Replayed { begun: 1, ..Replayed::default() }));
}

#[test]
fn what_nothing_can_be_said_of_is_counted_and_stops_nothing() {
    let mut world = World::of_odd(LATE);
    world.place("acme", "o-1");
    world.run();
    let mut world = world.reborn(&EARLY.replace("placed: event.aggregate_id", "placed: event.version"));
    let again = Again { saga: "odd", may_repeat: false, dry_run: false };
    assert_eq!(world.replay(1, "o-1", &again), Some(Replayed { unreadable: 1, ..Replayed::default() }));
}

#[test]
pub(super) fn what_has_ended_does_not_begin_again_when_it_is_forgotten() {
    let mut world = shipped(HandOver::Commit);
    let again = |may_repeat| Again { saga: "checkout", may_repeat, dry_run: false };
    assert_eq!(world.replay(1, "o-1", &again(true)), Some(Replayed { ended: 1, ..Replayed::default() }));
    pass(&mut world, 2 * KEEP_MS);
    assert_eq!(world.status("acme", "o-1"), None, "it is forgotten");
    let forgotten = Replayed { forgotten: 1, ..Replayed::default() };
    assert_eq!(world.replay(1, "o-1", &again(false)), Some(forgotten), "INV-SAGA-10");
    world.place("acme", "o-2");
    world.run();
    assert_eq!(world.replay(2, "o-2", &again(false)), Some(Replayed { ended: 1, ..Replayed::default() }));
    let (calls, done) = (world.outside.calls, world.outside.log.clone());
    assert_eq!(world.replay(1, "o-1", &again(true)), Some(Replayed { begun: 1, ..Replayed::default() }));
    assert_eq!(world.status("acme", "o-1"), Some(Status::Completed));
    assert!(world.outside.calls > calls, "it was said that it may");
    assert_eq!(world.outside.log, done, "under the ids of before: who still knows them does nothing again");
}
