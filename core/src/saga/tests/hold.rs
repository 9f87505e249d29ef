//! A paused instance: what comes for it waits, in order.

use super::{
    Bench, Desk, Input, Said, WorkState, asked, bench, cancelled, checkout, end, ended, happened, instance,
    placed, tenant, timers, work,
};
use crate::marks::Mark;
use crate::operator::Reason;
use crate::saga::{HELD_MAX, Intervened, Operation, Status, Verb, look};
use crate::store::Table;
use serde_json::json;

const NOTHING: [&str; 0] = [];

pub(super) fn on(saga: &str, order: &str, verb: Verb) -> Input {
    let (Ok(saga), Ok(correlation)) = (saga.parse(), order.parse()) else { panic!("{saga} {order}") };
    Input::Asked(Box::new(Operation { tenant: tenant(), saga, correlation, verb }))
}

fn pause() -> Verb {
    Verb::Pause { reason: Reason::parse("the bank is down").expect("a reason") }
}

fn pauses(bench: &mut Bench<Desk>) -> Vec<Said> {
    bench.turn([on("checkout", "o-1", pause())])
}

fn resumes(bench: &mut Bench<Desk>) -> Vec<Said> {
    bench.turn([on("checkout", "o-1", Verb::Resume)])
}

/// A checkout that waits for its stock.
fn waiting() -> Bench<Desk> {
    let mut bench = bench();
    bench.turn([placed("o-1"), placed("o-2")]);
    bench
}

fn held(bench: &Bench<Desk>) -> usize {
    bench.store.table(Table::SagaHeld).count()
}

#[test]
pub(super) fn what_comes_for_a_paused_saga_is_held_and_goes_on_in_order() {
    let mut bench = waiting();
    assert_eq!(pauses(&mut bench), ["running paused changed"]);
    let before = checkout(&bench, "o-1");
    let reserve = work(&bench, "o-1", "reserve");
    assert_eq!(bench.turn([ended("checkout", "o-1", &reserve, true)]), NOTHING, "INV-SAGA-6");
    assert_eq!(bench.turn([cancelled("o-1")]), NOTHING, "INV-SAGA-6");
    let paused = checkout(&bench, "o-1");
    assert_eq!(
        (&paused.works, &paused.state, &paused.status),
        (&before.works, &before.state, &before.status)
    );
    assert_eq!((held(&bench), bench.marked(Mark::SagaHeld)), (2, 2));
    bench.crash();
    let reserve = work(&bench, "o-2", "reserve");
    assert_eq!(
        bench.turn([ended("checkout", "o-2", &reserve, true)]),
        ["asks charge"],
        "only its own instance"
    );
    // The stock was reserved before the customer cancelled: the charge is asked for, then undoing waits for it.
    assert_eq!(resumes(&mut bench), ["running changed, 2 released", "asks charge"], "INV-SAGA-6");
    let gone_on = checkout(&bench, "o-1");
    assert_eq!((gone_on.paused, held(&bench)), (None, 0));
    assert!(matches!(gone_on.status, Status::Compensating { .. }), "{:?}", gone_on.status);
}

#[test]
fn asking_again_changes_nothing() {
    let mut bench = waiting();
    assert_eq!(resumes(&mut bench), ["running"]);
    assert_eq!(pauses(&mut bench), ["running paused changed"]);
    let since = checkout(&bench, "o-1").paused.map(|paused| paused.since);
    bench.advance(5_000);
    assert_eq!(pauses(&mut bench), ["running paused"]);
    assert_eq!(checkout(&bench, "o-1").paused.map(|paused| paused.since), since);
    assert_eq!(resumes(&mut bench), ["running changed"]);
    assert_eq!(resumes(&mut bench), ["running"]);
}

#[test]
fn what_is_not_there_or_over_is_refused() {
    let mut bench = waiting();
    assert_eq!(
        bench.turn([on("checkout", "o-9", pause())]),
        ["refused: instance `o-9` of saga `checkout` does not exist"]
    );
    let reserve = work(&bench, "o-1", "reserve");
    bench.turn([ended("checkout", "o-1", &reserve, false)]);
    let reject = work(&bench, "o-1", "reject");
    bench.turn([ended("checkout", "o-1", &reject, true)]);
    let said = pauses(&mut bench);
    assert_eq!(
        said,
        ["refused: instance `o-1` of saga `checkout` has finished: nothing of it can be changed"]
    );
}

#[test]
fn what_was_applied_before_is_not_held() {
    let mut bench = waiting();
    let reserve = work(&bench, "o-1", "reserve");
    bench.turn([ended("checkout", "o-1", &reserve, true)]);
    pauses(&mut bench);
    assert_eq!(bench.turn([placed("o-1"), ended("checkout", "o-1", &reserve, true)]), NOTHING);
    assert_eq!(held(&bench), 0);
    // What comes twice while it is held is applied once.
    bench.turn([cancelled("o-1"), cancelled("o-1")]);
    assert_eq!((held(&bench), resumes(&mut bench)), (2, vec!["running changed, 2 released".to_owned()]));
    assert_eq!(asked(&bench).len(), 3, "two reservations and a charge");
}

#[test]
fn a_timer_that_fires_while_its_saga_is_paused_is_held() {
    let mut bench = bench();
    bench.turn([happened("alarm", "o-1", "order_placed", "1")]);
    let ring = timers::pending(&bench, "ring");
    bench.turn([on("alarm", "o-1", pause())]);
    assert_eq!(bench.turn([timers::fired(&ring)]), NOTHING);
    assert_eq!(timers::instance(&bench).timers.len(), 2, "it waits for it all the same");
    let said = bench.turn([on("alarm", "o-1", Verb::Resume)]);
    assert_eq!(said.len(), 2, "{said:?}");
    assert_eq!(timers::instance(&bench).state, json!({ "rung": ring.due.rfc3339() }));
}

#[test]
fn more_than_a_pause_holds_is_handed_over_whole_and_in_order() {
    let mut bench = waiting();
    pauses(&mut bench);
    for nth in 0..HELD_MAX {
        let event = happened("checkout", "o-1", "order_cancelled", &format!("event/order/{}", nth + 2));
        assert_eq!(bench.turn([event]), NOTHING);
    }
    let said = bench.turn([happened("checkout", "o-1", "order_cancelled", "event/order/last")]);
    assert_eq!(said, [format!("overflows with {}, from event/order/2 to event/order/last", HELD_MAX + 1)]);
    assert_eq!((held(&bench), checkout(&bench, "o-1").paused), (0, None));
}

#[test]
fn what_it_waits_for_begins_with_the_operator() {
    let mut bench = waiting();
    pauses(&mut bench);
    let instance = checkout(&bench, "o-1");
    assert_eq!(instance.works[0].state, WorkState::InFlight);
    let name = "checkout".parse().expect("a name");
    let definition = &bench.machine().0.definitions()[&name];
    let waits = look::waits_for(&bench.store, &tenant(), definition, &instance).expect("reads");
    let first = serde_json::to_value(&waits[0]).expect("serialises");
    assert_eq!((&first["kind"], &first["reason"]), (&json!("resume"), &json!("the bank is down")));
    assert!(waits.len() > 1, "and what it waited for before");
}

pub(super) fn because() -> Reason {
    Reason::parse("the customer called").expect("a reason")
}

#[test]
fn a_cancelled_saga_undoes_as_its_program_would() {
    let mut bench = waiting();
    end(&mut bench, "o-1", "reserve", true);
    end(&mut bench, "o-1", "charge", true);
    let cancel = || on("checkout", "o-1", Verb::Cancel { reason: because() });
    assert_eq!(bench.turn([cancel()]), ["compensating changed"], "the confirmation is in flight: INV-SAGA-3");
    assert_eq!(bench.turn([cancel()]), ["compensating"]);
    assert_eq!(end(&mut bench, "o-1", "confirm", true), ["asks refund"]);
    assert_eq!(end(&mut bench, "o-1", "refund", true), ["asks release"]);
    assert_eq!(end(&mut bench, "o-1", "release", true), NOTHING);
    let over = checkout(&bench, "o-1");
    assert_eq!((over.status, bench.marked(Mark::SagaCancelled)), (Status::Compensated, 1));
    assert_eq!(bench.turn([cancel()]), ["compensated"], "asking again changes nothing");
    let intervention = over.intervention.expect("remembered");
    assert_eq!(
        (intervention.verb, intervention.reason.as_str()),
        (Intervened::Cancelled, "the customer called")
    );
}

#[test]
fn a_paused_saga_that_is_cancelled_undoes_and_hears_what_was_held() {
    let mut bench = waiting();
    end(&mut bench, "o-1", "reserve", true);
    pauses(&mut bench);
    let charge = work(&bench, "o-1", "charge");
    bench.turn([ended("checkout", "o-1", &charge, true)]);
    let said = bench.turn([on("checkout", "o-1", Verb::Cancel { reason: because() })]);
    assert_eq!(said, ["compensating changed, 1 released", "asks refund"], "what was held was a charge");
}

#[test]
pub(super) fn a_killed_saga_waits_for_nothing_and_absorbs_what_comes() {
    let mut bench = bench();
    bench.turn([happened("alarm", "o-1", "order_placed", "1")]);
    let ring = timers::pending(&bench, "ring");
    bench.turn([on("alarm", "o-1", pause())]);
    bench.turn([timers::fired(&ring)]);
    let kill = || on("alarm", "o-1", Verb::Kill { reason: because() });
    let said = bench.turn([kill()]);
    assert_eq!(said, ["killed changed", "cancels a timer", "cancels a timer"], "INV-SAGA-7");
    assert_eq!(held(&bench), 0, "INV-SAGA-7");
    let killed = timers::instance(&bench);
    assert_eq!((&killed.status, killed.timers.len()), (&Status::Killed, 0));
    assert_eq!(bench.turn([kill()]), ["killed"], "asking again changes nothing");
    let late = [timers::fired(&ring), happened("alarm", "o-1", "order_placed", "2")];
    assert_eq!(bench.turn(late), NOTHING, "INV-SAGA-2");
    assert_eq!(timers::instance(&bench), killed);
    for verb in [pause(), Verb::Resume, Verb::Cancel { reason: because() }] {
        let said = bench.turn([on("alarm", "o-1", verb)]);
        assert_eq!(
            said,
            ["refused: instance `o-1` of saga `alarm` has finished: nothing of it can be changed"]
        );
    }
}

#[test]
fn what_cannot_be_undone_is_refused_and_changes_nothing() {
    let mut bench = bench();
    bench.turn([happened("brittle", "o-1", "order_placed", "1")]);
    let add = instance(&bench, "brittle", "o-1").expect("an instance").works[0].clone();
    bench.turn([ended("brittle", "o-1", &add, true)]);
    let before = instance(&bench, "brittle", "o-1");
    let said = bench.turn([on("brittle", "o-1", Verb::Cancel { reason: because() })]);
    assert!(said[0].starts_with("refused: instance `o-1` of saga `brittle` cannot be undone"), "{said:?}");
    assert_eq!(instance(&bench, "brittle", "o-1"), before);
}
