//! Timers and signals of an instance.

use super::{Bench, Desk, Input, TimerFired, bench, happened, tenant};
use crate::manifest::Trigger;
use crate::marks::Mark;
use crate::saga::{Happened, Instance, PendingTimer, Status, look};
use crate::wire::context::Context;
use serde_json::json;

/// Rings after a while, unless it is told not to.
pub(super) const ALARM: &str = "
saga: alarm
correlate: { order.order_placed: event.aggregate_id, order.order_confirmed: event.aggregate_id, order.order_shipped: event.aggregate_id, order.order_cancelled: event.aggregate_id }
starts_on: [order.order_placed]
on_event:
  order.order_placed:
    timers: [{ name: ring, after: 90s }, { name: give_up, after: 2h }]
  order.order_confirmed: { cancel: [ring] }
  order.order_shipped: { complete: true }
  order.order_cancelled: { timers: [{ name: ring, after: 5s }], compensate: true }
  ring.fired:
    set: { rung: = event.due_at }
    timers: [{ name: ring, after: 90s }]
  give_up.fired: { complete: true }
  signal.snooze: { timers: [{ name: ring, after: = event.payload.how_long }] }
";

fn alarm(event: &str, cause: &str) -> Input {
    happened("alarm", "o-1", event, cause)
}

pub(super) fn instance(bench: &Bench<Desk>) -> Instance {
    super::instance(bench, "alarm", "o-1").expect("an instance")
}

/// The pending timer of a name.
pub(super) fn pending(bench: &Bench<Desk>, name: &str) -> PendingTimer {
    let timers = instance(bench).timers;
    timers.into_iter().find(|timer| timer.name.as_str() == name).expect("pending")
}

pub(super) fn fired(timer: &PendingTimer) -> Input {
    let (Ok(saga), Ok(correlation)) = ("alarm".parse(), "o-1".parse()) else { panic!("names") };
    Input::Fired(Box::new(TimerFired {
        tenant: tenant(),
        saga,
        correlation,
        timer: timer.name.clone(),
        id: timer.id.clone(),
        due_at: timer.due.rfc3339(),
    }))
}

fn signal(name: &str, id: &str, payload: serde_json::Value) -> Input {
    let (Ok(saga), Ok(correlation), Ok(signal)) = ("alarm".parse(), "o-1".parse(), name.parse()) else {
        panic!("{name}")
    };
    Input::Happened(Box::new(Happened {
        tenant: tenant(),
        saga,
        correlation,
        cause: format!("signal/{id}"),
        at: None,
        stream_seq: None,
        trigger: Trigger::Signal { signal },
        starts: false,
        event: json!({ "type": format!("signal.{name}"), "signal": name, "payload": payload }),
        context: Context::generate(id),
    }))
}

#[test]
fn a_timer_is_set_with_the_state_and_fires_once() {
    let mut bench = bench();
    let now = bench.now.wall.as_ms();
    let said = bench.turn([alarm("order_placed", "1")]);
    assert_eq!(
        said,
        [format!("sets ring for {}", now + 90_000), format!("sets give_up for {}", now + 7_200_000)]
    );
    let ring = pending(&bench, "ring");
    let said = bench.turn([fired(&ring), fired(&ring)]);
    assert_eq!(said, [format!("sets ring for {}", now + 90_000)], "once");
    assert_eq!(bench.marked(Mark::TimerStale), 1);
    assert_eq!(instance(&bench).state["rung"], ring.due.rfc3339());
    assert_ne!(pending(&bench, "ring").id, ring.id, "every timer has an id of its own");
}

#[test]
fn a_cancelled_timer_that_fires_all_the_same_changes_nothing() {
    let mut bench = bench();
    bench.turn([alarm("order_placed", "1")]);
    let ring = pending(&bench, "ring");
    assert_eq!(bench.turn([alarm("order_confirmed", "2")]), ["cancels a timer"]);
    let before = instance(&bench);
    assert_eq!(bench.turn([fired(&ring)]), [""; 0]);
    assert_eq!((instance(&bench), bench.marked(Mark::TimerStale)), (before, 1));
}

#[test]
fn what_ends_or_undoes_a_saga_cancels_its_timers() {
    for (event, status) in [("order_shipped", Status::Completed), ("order_cancelled", Status::Compensated)] {
        let mut bench = bench();
        bench.turn([alarm("order_placed", "1")]);
        let give_up = pending(&bench, "give_up");
        assert_eq!(
            bench.turn([alarm(event, "2")]),
            ["cancels a timer"; 2],
            "what {event} sets is not set at all"
        );
        let ended = instance(&bench);
        assert_eq!((ended.timers.len(), &ended.status), (0, &status));
        assert_eq!(bench.turn([fired(&give_up)]), [""; 0], "INV-SAGA-2");
    }
}

#[test]
fn a_signal_is_applied_once_and_moves_a_timer() {
    let mut bench = bench();
    assert_eq!(bench.turn([signal("snooze", "s-0", json!({}))]), [""; 0], "nobody is there");
    bench.turn([alarm("order_placed", "1")]);
    let now = bench.now.wall.as_ms();
    let snooze = signal("snooze", "s-1", json!({ "how_long": "10m" }));
    let said = bench.turn([snooze.clone(), snooze]);
    assert_eq!(said, ["cancels a timer".to_owned(), format!("sets ring for {}", now + 600_000)]);
    let said = bench.turn([signal("snooze", "s-2", json!({ "how_long": "a while" }))]);
    assert!(said[0].starts_with("poisoned by program_output"), "{said:?}");
}

#[test]
fn what_an_instance_waits_for_can_be_seen() {
    let mut bench = bench();
    bench.turn([alarm("order_placed", "1"), happened("checkout", "o-2", "order_placed", "1")]);
    let definition = |saga: &str| {
        let name = saga.parse().expect("a name");
        std::sync::Arc::clone(&bench.machine().0.definitions()[&name])
    };
    let kinds = |saga: &str, order: &str| {
        let instance = super::instance(&bench, saga, order).expect("an instance");
        let waits = look::waits_for(&bench.store, &tenant(), &definition(saga), &instance).expect("reads");
        waits.iter().map(|what| serde_json::to_value(what).expect("JSON")["kind"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(kinds("alarm", "o-1"), ["timer", "timer", "event", "event", "event", "event", "signal"]);
    assert_eq!(kinds("checkout", "o-2"), ["work", "event", "event"]);

    let which = look::Which { open: true, ..look::Which::default() };
    let first = look::list(&bench.store, &which, b"", 1).expect("a page");
    assert_eq!((first.instances.len(), first.instances[0].status), (1, "running"));
    let next = first.next.expect("more");
    let rest = look::list(&bench.store, &which, &next, 10).expect("a page");
    assert_eq!((rest.instances.len(), rest.next), (1, None));
    let other = look::Which { saga: "checkout".parse().ok(), ..which };
    assert_eq!(look::list(&bench.store, &other, b"", 10).expect("a page").instances.len(), 1);
}
