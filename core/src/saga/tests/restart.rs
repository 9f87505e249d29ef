//! Instances that begin again.

use super::{
    Bench, Desk, Input, Restart, Status, asked, bench, cancelled, checkout, end, ended, entry_row, happened,
    placed, tenant, work,
};
use crate::operator::Reason;
use crate::store::Table;
use crate::wire::id::CommandId;
use std::collections::BTreeSet;

fn restart(order: &str, restarts: u32) -> Input {
    restart_with(order, restarts, placed(order))
}

fn restart_with(order: &str, restarts: u32, with: Input) -> Input {
    let parsed = ("checkout".parse(), order.parse(), Reason::parse("the card was blocked by mistake"));
    let (Ok(saga), Ok(correlation), Ok(reason)) = parsed else { panic!("{order}") };
    let Input::Happened(with) = with else { panic!("an event") };
    Input::Restarted(
        Box::new(Restart { tenant: tenant(), saga, correlation, reason, restarts, dry_run: false }),
        with,
    )
}

/// A checkout of `o-1` whose stock was refused: it has ended, with nothing done.
fn refused() -> Bench<Desk> {
    let mut bench = bench();
    bench.turn([placed("o-1")]);
    end(&mut bench, "o-1", "reserve", false);
    while !checkout(&bench, "o-1").status.is_final() {
        let name = checkout(&bench, "o-1").works.last().expect("work").name.to_string();
        end(&mut bench, "o-1", &name, true);
    }
    bench
}

fn ids(bench: &Bench<Desk>) -> BTreeSet<CommandId> {
    checkout(bench, "o-1").works.into_iter().map(|work| work.id).collect()
}

#[test]
pub(super) fn what_has_ended_begins_again_and_asks_anew() {
    let mut bench = refused();
    let before = ids(&bench);
    assert_eq!(bench.turn([restart("o-1", 0)]), ["running changed", "asks reserve"]);
    let instance = checkout(&bench, "o-1");
    assert_eq!((instance.restarts, &instance.status), (1, &Status::Running));
    assert!(ids(&bench).is_disjoint(&before), "INV-SAGA-9: {before:?}");
    let entries: BTreeSet<Vec<u8>> = asked(&bench).iter().map(entry_row).collect();
    assert_eq!(entries.len(), asked(&bench).len());
    bench.crash();
    assert_eq!(end(&mut bench, "o-1", "reserve", true), ["asks charge"]);
}

#[test]
fn what_is_asked_for_again_is_done_once() {
    let mut bench = refused();
    bench.turn([restart("o-1", 0)]);
    assert_eq!(bench.turn([restart("o-1", 0)]), ["running"], "it is done already");
    assert_eq!(
        bench.turn([placed("o-1")]),
        Vec::<String>::new(),
        "INV-SAGA-1: what it began with comes again"
    );
    assert_eq!(
        bench.turn([restart("o-1", 1)]),
        ["refused: instance `o-1` of saga `checkout` has not ended: cancel or kill it first"]
    );
    assert_eq!(
        bench.turn([restart("o-1", 7)]),
        ["refused: instance `o-1` of saga `checkout` was restarted 1 times by now"]
    );
}

#[test]
fn a_dry_run_says_what_would_be_asked_for_and_changes_nothing() {
    let mut bench = refused();
    let Input::Restarted(mut restart, with) = restart("o-1", 0) else { panic!("a restart") };
    restart.dry_run = true;
    let before = bench.store.clone();
    assert_eq!(bench.turn([Input::Restarted(restart, with)]), ["compensated would ask reserve"]);
    assert_eq!(bench.store.rows, before.rows);
}

#[test]
fn only_what_it_began_with_begins_it() {
    let mut bench = refused();
    let other = happened("checkout", "o-1", "order_placed", "event/order/9");
    assert_eq!(
        bench.turn([restart_with("o-1", 0, other)]),
        ["refused: instance `o-1` of saga `checkout` did not begin with `event/order/9`"]
    );
    assert_eq!(
        bench.turn([restart("o-2", 0)]),
        ["refused: instance `o-2` of saga `checkout` does not exist"]
    );
}

#[test]
fn what_comes_of_the_life_before_changes_nothing() {
    let mut bench = refused();
    let before = work(&bench, "o-1", "reserve");
    bench.turn([restart("o-1", 0)]);
    let instance = checkout(&bench, "o-1");
    assert_eq!(bench.turn([ended("checkout", "o-1", &before, true)]), Vec::<String>::new());
    assert_eq!(checkout(&bench, "o-1"), instance);
    assert_eq!(bench.turn([cancelled("o-1")]), Vec::<String>::new(), "it waits for what is in flight");
    end(&mut bench, "o-1", "reserve", false);
    assert_eq!(bench.store.row(Table::SagaCause, b""), None);
}
