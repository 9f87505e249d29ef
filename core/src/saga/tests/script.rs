//! The diagram of the module, arrow by arrow, and its invariants by name.

use super::{
    Bench, Desk, Instance, Landed, Said, Status, WorkState, asked, bench, bench_with, cancelled, checkout,
    end, ended, happened, instance, last_payload, placed, work,
};
use crate::halt::Halt;
use crate::marks::Mark;
use crate::saga::{HandOver, WORKS_MAX};
use crate::store::Table;
use crate::wire::keys;
use serde_json::{Value, json};

const NOTHING: [&str; 0] = [];

/// A checkout whose stock is reserved and whose card is charged; the confirmation is under way.
fn charged() -> Bench<Desk> {
    let mut bench = bench();
    assert_eq!(bench.turn([placed("o-1")]), ["asks reserve"]);
    assert_eq!(end(&mut bench, "o-1", "reserve", true), ["asks charge"]);
    assert_eq!(end(&mut bench, "o-1", "charge", true), ["asks confirm"]);
    bench
}

fn causes(bench: &Bench<Desk>) -> usize {
    bench.store.table(Table::SagaCause).count()
}

#[test]
fn a_checkout_goes_from_step_to_step_and_completes() {
    let mut bench = charged();
    assert_eq!(checkout(&bench, "o-1").status, Status::Running);
    assert_eq!(end(&mut bench, "o-1", "confirm", true), ["asks parcel"]);
    assert_eq!(end(&mut bench, "o-1", "parcel", true), ["asks ship", "asks sell", "asks receipt"]);
    assert_eq!(end(&mut bench, "o-1", "ship", true), NOTHING);
    assert_eq!(end(&mut bench, "o-1", "sell", true), NOTHING);
    let Instance { status, state, works, .. } = checkout(&bench, "o-1");
    assert_eq!(status, Status::Completed);
    assert_eq!(state["charge"], json!(format!("from {}", works[1].id)));
    let names: Vec<&str> = works.iter().map(|work| work.name.as_str()).collect();
    assert_eq!(names, ["reserve", "charge", "confirm", "parcel", "ship", "sell", "receipt"]);
    assert_eq!(causes(&bench), 0, "what is finished need not remember what it applied");
    end(&mut bench, "o-1", "receipt", true);
    assert_eq!(work(&bench, "o-1", "receipt").state, WorkState::Done, "how it ended is known all the same");
}

#[test]
pub(super) fn an_effect_is_handed_over_when_nothing_is_on_its_way() {
    let mut bench = bench_with(HandOver::Commit);
    assert_eq!(bench.turn([placed("o-1")]), ["asks reserve"]);
    assert_eq!(end(&mut bench, "o-1", "reserve", true), ["hands over charge"]);
    assert_eq!(end(&mut bench, "o-1", "charge", true), ["asks confirm"]);
    assert_eq!(end(&mut bench, "o-1", "confirm", true), ["hands over parcel"]);
    let said = end(&mut bench, "o-1", "parcel", true);
    assert_eq!(said, ["asks ship", "asks sell", "asks receipt"], "INV-SAGA-5");
    let ways = checkout(&bench, "o-1").works.iter().map(|work| work.handed_over).collect::<Vec<_>>();
    assert_eq!(ways, [false, true, false, true, false, false, false]);
}

#[test]
fn only_what_may_begin_an_instance_begins_one() {
    let mut bench = bench();
    assert_eq!(bench.turn([cancelled("o-1")]), NOTHING);
    assert_eq!((instance(&bench, "checkout", "o-1"), bench.marked(Mark::SagaUncorrelated)), (None, 1));
    assert_eq!(bench.turn([placed("o-1"), placed("o-2")]), ["asks reserve", "asks reserve"]);
    assert_eq!(bench.turn([happened("ghost", "o-1", "order_placed", "c")]), NOTHING);
}

#[test]
pub(super) fn a_cause_is_applied_once() {
    let mut bench = bench();
    assert_eq!(bench.turn([placed("o-1"), placed("o-1")]), ["asks reserve"], "INV-SAGA-1");
    bench.crash();
    assert_eq!(bench.turn([placed("o-1")]), NOTHING, "INV-SAGA-1");
    let reserve = work(&bench, "o-1", "reserve");
    let again = ended("checkout", "o-1", &reserve, true);
    assert_eq!(bench.turn([again.clone(), again.clone()]), ["asks charge"]);
    assert_eq!(bench.turn([again, ended("checkout", "o-1", &reserve, false)]), NOTHING);
    assert_eq!((asked(&bench).len(), bench.marked(Mark::SagaDuplicateCause)), (2, 5));
}

#[test]
fn what_is_asked_for_commits_with_the_state_or_not_at_all() {
    let mut ids = Vec::new();
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench();
        assert_eq!(bench.turn_without_answer(landed, [placed("o-1")]), NOTHING);
        let there = landed == Landed::Yes;
        assert_eq!(instance(&bench, "checkout", "o-1").is_some(), there, "INV-SAGA-4");
        assert_eq!(asked(&bench).len(), usize::from(there), "INV-SAGA-4");
        bench.turn([placed("o-1")]);
        ids.push(work(&bench, "o-1", "reserve").id);
    }
    assert_eq!(ids[0], ids[1], "a cause applied again asks for the same work");
}

#[test]
pub(super) fn a_finished_saga_absorbs_every_later_event() {
    let mut bench = bench();
    bench.turn([placed("o-1")]);
    assert_eq!(end(&mut bench, "o-1", "reserve", false), ["asks reject"]);
    assert_eq!(end(&mut bench, "o-1", "reject", true), NOTHING);
    let finished = checkout(&bench, "o-1");
    assert_eq!(finished.status, Status::Compensated);
    assert_eq!(bench.turn([placed("o-1"), cancelled("o-1")]), NOTHING, "INV-SAGA-2");
    assert_eq!((checkout(&bench, "o-1"), bench.marked(Mark::SagaAbsorbed)), (finished, 2));
}

#[test]
pub(super) fn what_was_done_is_undone_last_first_and_one_at_a_time() {
    let mut bench = charged();
    // The confirmation comes too late: the customer cancelled.
    assert_eq!(end(&mut bench, "o-1", "confirm", false), ["asks refund"], "INV-SAGA-3");
    assert_eq!(end(&mut bench, "o-1", "refund", true), ["asks release"]);
    assert!(matches!(checkout(&bench, "o-1").status, Status::Compensating { remaining: 0, .. }));
    assert_eq!(end(&mut bench, "o-1", "release", true), NOTHING);
    assert_eq!(checkout(&bench, "o-1").status, Status::Compensated);
    assert_eq!((causes(&bench), bench.marked(Mark::SagaCompensated)), (0, 1));
}

#[test]
fn what_was_not_done_is_not_undone() {
    let mut bench = bench();
    bench.turn([placed("o-1")]);
    end(&mut bench, "o-1", "reserve", true);
    assert_eq!(end(&mut bench, "o-1", "charge", false), ["asks reject"]);
    assert_eq!(end(&mut bench, "o-1", "reject", true), ["asks release"], "no refund");
    assert_eq!(end(&mut bench, "o-1", "release", true), NOTHING);
    assert_eq!(checkout(&bench, "o-1").status, Status::Compensated);
}

#[test]
pub(super) fn undoing_waits_for_what_is_in_flight() {
    for charged in [true, false] {
        let mut bench = bench();
        bench.turn([placed("o-1")]);
        end(&mut bench, "o-1", "reserve", true);
        assert_eq!(bench.turn([cancelled("o-1")]), NOTHING, "INV-SAGA-3: the charge may happen");
        assert_eq!(bench.marked(Mark::SagaCompensationWaited), 1);
        let undone = if charged { "asks refund" } else { "asks release" };
        assert_eq!(end(&mut bench, "o-1", "charge", charged), [undone]);
    }
}

#[test]
pub(super) fn what_a_work_item_brings_back_while_its_saga_undoes_is_kept() {
    let mut bench = bench();
    bench.turn([placed("o-1")]);
    end(&mut bench, "o-1", "reserve", true);
    bench.turn([cancelled("o-1")]);
    let charge = work(&bench, "o-1", "charge").id;
    assert_eq!(end(&mut bench, "o-1", "charge", true), ["asks refund"], "and no confirmation");
    assert_eq!(last_payload(&bench)["charge"], json!(format!("from {charge}")));
}

#[test]
fn undoing_does_not_look_at_what_else_happens() {
    let mut bench = charged();
    end(&mut bench, "o-1", "confirm", false);
    let again = happened("checkout", "o-1", "order_cancelled", "event/order/3");
    assert_eq!(bench.turn([again, cancelled("o-1")]), NOTHING);
    assert_eq!(end(&mut bench, "o-1", "refund", true), ["asks release"]);
}

#[test]
fn a_refused_compensation_is_for_a_person() {
    let mut bench = charged();
    end(&mut bench, "o-1", "confirm", false);
    let before = checkout(&bench, "o-1");
    let said = end(&mut bench, "o-1", "refund", false).concat();
    assert!(said.starts_with("poisoned by compensation_refused: `refund`"), "{said}");
    assert_eq!(checkout(&bench, "o-1"), before, "nothing of it is kept");
}

#[test]
fn a_program_that_fails_changes_nothing() {
    let mut bench = bench();
    bench.turn([happened("odd", "o-1", "order_placed", "c-1")]);
    let before = instance(&bench, "odd", "o-1");
    let said = bench.turn([happened("odd", "o-1", "order_shipped", "c-2")]).concat();
    assert!(said.starts_with("poisoned by program_"), "{said}");
    assert_eq!((instance(&bench, "odd", "o-1"), causes(&bench)), (before, 1));
}

#[test]
fn a_compensation_that_fails_changes_nothing() {
    let mut bench = bench();
    bench.turn([happened("odd", "o-1", "order_placed", "c-1")]);
    let works = |bench: &Bench<Desk>| instance(bench, "odd", "o-1").expect("an instance").works;
    let first = works(&bench).remove(0);
    bench.turn([ended("odd", "o-1", &first, true)]);
    for work in works(&bench).split_off(2) {
        bench.turn([ended("odd", "o-1", &work, false)]);
    }
    let before = instance(&bench, "odd", "o-1");
    let last = works(&bench).remove(1);
    let said = bench.turn([ended("odd", "o-1", &last, false)]).concat();
    assert!(said.starts_with("poisoned by program_"), "{said}");
    assert_eq!(instance(&bench, "odd", "o-1"), before);
}

#[test]
fn the_work_of_one_instance_is_bounded() {
    let mut bench = bench();
    bench.turn([happened("odd", "o-1", "order_placed", "c-1")]);
    for nth in 0..WORKS_MAX {
        let works = instance(&bench, "odd", "o-1").expect("an instance").works;
        assert!(works.len() <= WORKS_MAX);
        let said: Vec<Said> = bench.turn([ended("odd", "o-1", &works[nth], true)]);
        if said.concat().starts_with("poisoned by too_much_work") {
            assert!(works.len() + 4 > WORKS_MAX, "too early: {}", works.len());
            return;
        }
    }
    panic!("it never ends");
}

#[test]
fn the_end_of_work_that_nobody_asked_for_changes_nothing() {
    let mut bench = charged();
    let mut stranger = work(&bench, "o-1", "charge");
    stranger.id = "stranger".parse().expect("an id");
    let before = bench.store.rows.clone();
    let ends = ["o-1", "o-9"].map(|order| ended("checkout", order, &stranger, true));
    assert_eq!(bench.turn(ends), NOTHING);
    assert_eq!((&bench.store.rows, bench.marked(Mark::SagaUncorrelated)), (&before, 2));
}

#[test]
fn instances_of_two_tenants_do_not_know_each_other() {
    let mut bench = charged();
    let super::Input::Happened(mut other) = placed("o-1") else { panic!("an event") };
    other.tenant = "globex".parse().expect("a tenant");
    let before = checkout(&bench, "o-1");
    assert_eq!(bench.turn([super::Input::Happened(other)]), ["asks reserve"], "INV-TEN-1");
    assert_eq!(checkout(&bench, "o-1"), before);
    let ids: std::collections::BTreeSet<Vec<u8>> = asked(&bench).iter().map(super::entry_row).collect();
    assert_eq!(ids.len(), 4);
}

#[test]
fn an_instance_that_cannot_be_read_halts() {
    let mut bench = charged();
    let key =
        keys::saga(&super::tenant(), &"checkout".parse().expect("a name"), &"o-2".parse().expect("an id"));
    bench.store.rows.insert((Table::Saga, key), Value::Null.to_string().into_bytes());
    let halt = bench.try_turn([cancelled("o-2")]).expect_err("not an instance");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Saga, .. }), "{halt}");
}

/// What it may ask for it may undo, however much that is.
#[test]
fn an_instance_that_asked_for_all_it_may_can_undo_it() {
    let mut bench = bench();
    bench.turn([happened("much", "o-1", "order_placed", "c-0")]);
    for nth in 1..WORKS_MAX / 16 {
        bench.turn([happened("much", "o-1", "order_confirmed", &format!("c-{nth}"))]);
    }
    let all = instance(&bench, "much", "o-1").expect("an instance").works;
    assert_eq!(all.len(), WORKS_MAX);
    for work in &all {
        bench.turn([ended("much", "o-1", work, true)]);
    }
    bench.turn([happened("much", "o-1", "order_cancelled", "c-last")]);
    loop {
        let own = instance(&bench, "much", "o-1").expect("an instance");
        let Some(open) = own.works.iter().find(|work| work.state == WorkState::InFlight) else { break };
        let said = bench.turn([ended("much", "o-1", open, true)]).concat();
        assert!(!said.contains("poisoned"), "{said}");
    }
    let own = instance(&bench, "much", "o-1").expect("an instance");
    assert_eq!((own.status, own.works.len()), (Status::Compensated, 2 * WORKS_MAX));
}

#[test]
fn a_finished_instance_knows_none_of_its_causes_however_many_there_were() {
    let mut bench = bench();
    bench.turn([happened("alarm", "o-1", "order_placed", "c-0")]);
    for nth in 0..300 {
        bench.turn([happened("alarm", "o-1", "order_confirmed", &format!("c-{nth}"))]);
    }
    assert!(bench.store.table(Table::SagaCause).count() > 256);
    bench.turn([happened("alarm", "o-1", "order_shipped", "c-last")]);
    assert_eq!(bench.store.table(Table::SagaCause).count(), 0);
}
