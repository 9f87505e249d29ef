//! Whatever order events and ends come in, however often, and whatever the store does: nothing is asked for twice, what
//! was done is undone, and in order.

use super::{
    Bench, Desk, Input, Instance, Landed, Said, Status, Work, WorkState, asked, bench, cancelled, checkout,
    ended, instance, name, placed,
};
use crate::outbox::{Body, Entry, Origin};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ORDERS: [&str; 2] = ["o-1", "o-2"];

#[derive(Clone, Debug)]
enum Op {
    Placed {
        order: usize,
    },
    Cancelled {
        order: usize,
    },
    /// Some work ends; what undoes something is never refused here.
    End {
        nth: Index,
        done: bool,
        again: bool,
    },
    Crash,
    FailCommit {
        landed: Landed,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let order = || 0..ORDERS.len();
    prop_oneof![
        4 => order().prop_map(|order| Op::Placed { order }),
        1 => order().prop_map(|order| Op::Cancelled { order }),
        20 => (any::<Index>(), prop::bool::weighted(0.85), prop::bool::weighted(0.1))
            .prop_map(|(nth, done, again)| Op::End { nth, done, again }),
        1 => Just(Op::Crash),
        2 => landed.prop_map(|landed| Op::FailCommit { landed }),
    ]
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) bench: Bench<Desk>,
    fail_commit: Option<Landed>,
    /// Instances that were finished, and how much they had asked for by then.
    finished: BTreeMap<&'static str, (Status, usize)>,
    /// What the turn in hand began with, by order.
    before: BTreeMap<&'static str, Instance>,
}

/// What undoes a work item.
fn undo_of(name: &str) -> Option<&'static str> {
    match name {
        "reserve" => Some("release"),
        "charge" => Some("refund"),
        _ => None,
    }
}

impl World {
    pub(super) fn new() -> Self {
        let (finished, before) = (BTreeMap::new(), BTreeMap::new());
        Self { bench: bench(), fail_commit: None, finished, before }
    }

    pub(super) fn turn(&mut self, input: Input) {
        self.before = self.instances().collect();
        let said = match self.fail_commit.take() {
            Some(landed) => self.bench.turn_without_answer(landed, [input]),
            None => self.bench.turn([input]),
        };
        let poisoned = |said: &&Said| !said.starts_with("asks");
        assert_eq!(said.iter().find(poisoned), None, "every program has what it needs");
        self.judge();
        self.before.clear();
    }

    pub(super) fn fails(&mut self, landed: Landed, input: Input) {
        self.fail_commit = Some(landed);
        self.turn(input);
    }

    fn instances(&self) -> impl Iterator<Item = (&'static str, Instance)> {
        ORDERS.into_iter().filter_map(|order| Some((order, instance(&self.bench, "checkout", order)?)))
    }

    /// Work that has not ended, of all instances.
    pub(super) fn in_flight(&self) -> Vec<(&'static str, Work)> {
        let works =
            self.instances().flat_map(|(order, own)| own.works.into_iter().map(move |work| (order, work)));
        works.filter(|(_, work)| work.state == WorkState::InFlight).collect()
    }

    pub(super) fn end_of(order: &str, work: &Work, done: bool) -> Input {
        ended("checkout", order, work, done || work.compensates)
    }

    fn judge(&mut self) {
        let asked = asked(&self.bench);
        let ids: BTreeSet<String> = asked.iter().map(id).collect();
        assert_eq!(ids.len(), asked.len(), "INV-SAGA-1: asked for twice");
        let instances: BTreeMap<&'static str, Instance> = self.instances().collect();
        let works: BTreeSet<String> =
            instances.values().flat_map(|own| &own.works).map(|work| work.id.to_string()).collect();
        assert_eq!(works, ids, "INV-SAGA-4: what is asked for is not what the rows say");
        for (order, own) in &instances {
            self.judge_undoing(order, own);
            let finished = self.finished.get(order);
            if let Some((status, works)) = finished {
                assert_eq!((status, *works), (&own.status, own.works.len()), "INV-SAGA-2: {order} goes on");
            }
            if own.status.is_final() {
                self.finished.insert(order, (own.status.clone(), own.works.len()));
            }
        }
        for entry in asked.iter().filter(|entry| name(entry) == "refund") {
            let (order, payload) = refund(entry);
            let charge = instances[order.as_str()].works.iter().find(|work| work.name.as_str() == "charge");
            let brought = charge.map(|work| json!(format!("from {}", work.id)));
            assert_eq!(payload.get("charge"), brought.as_ref(), "{order} refunds another charge");
        }
    }

    /// INV-SAGA-3.
    fn judge_undoing(&self, order: &str, own: &Instance) {
        let known = self.before.get(order).map_or(0, |before| before.works.len());
        let (done, undoing): (Vec<&Work>, Vec<&Work>) = own.works.iter().partition(|work| !work.compensates);
        let undone = |name: &str| {
            let undo = undo_of(name).and_then(|undo| undoing.iter().find(|work| work.name.as_str() == undo));
            undo.is_some_and(|undo| undo.state == WorkState::Done)
        };
        for fresh in own.works.iter().skip(known).filter(|work| work.compensates) {
            let in_flight = done.iter().find(|work| work.state == WorkState::InFlight);
            assert_eq!(in_flight, None, "{order}: {} does not wait", fresh.name);
            let of = |work: &&&Work| undo_of(work.name.as_str()) == Some(fresh.name.as_str());
            let at = done.iter().position(|work| of(&work)).expect("undoes something");
            assert_eq!(done[at].state, WorkState::Done, "{order}: {} was not done", done[at].name);
            let skipped = done[at + 1..].iter().find(|work| {
                work.state == WorkState::Done
                    && undo_of(work.name.as_str()).is_some()
                    && !undone(work.name.as_str())
            });
            assert_eq!(skipped, None, "{order}: {} comes first", fresh.name);
        }
        if own.status == Status::Compensated {
            let left = done.iter().find(|work| {
                let name = work.name.as_str();
                work.state == WorkState::Done && undo_of(name).is_some() && !undone(name)
            });
            assert_eq!(left, None, "{order}: not undone");
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Placed { order } => self.turn(placed(ORDERS[*order])),
            Op::Cancelled { order } => self.turn(cancelled(ORDERS[*order])),
            Op::End { nth, done, again } => {
                let in_flight = self.in_flight();
                if !in_flight.is_empty() {
                    let (order, work) = nth.get(&in_flight);
                    self.turn(Self::end_of(order, work, *done));
                    if *again {
                        self.turn(Self::end_of(order, work, *done));
                    }
                }
            }
            Op::Crash => self.bench.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
        }
    }

    /// Every order is cancelled if it still can be, and everything that was asked for ends.
    fn heal(&mut self) {
        self.fail_commit = None;
        for order in ORDERS {
            self.turn(cancelled(order));
        }
        while let Some((order, work)) = self.in_flight().pop() {
            self.turn(Self::end_of(order, &work, true));
        }
        let orders: Vec<&str> = self.instances().map(|(order, _)| order).collect();
        for order in orders {
            let status = checkout(&self.bench, order).status;
            assert!(status.is_final(), "{order} never ends: {status:?}");
        }
    }
}

fn id(entry: &Entry) -> String {
    match &entry.origin {
        Origin::Command(work) | Origin::EffectCommand(work) => work.work_id.to_string(),
        Origin::EffectResult { .. } | Origin::Occurrence { .. } | Origin::Reminder { .. } => {
            panic!("not of a saga")
        }
    }
}

/// The order of a refund, and with what it is asked for.
fn refund(entry: &Entry) -> (String, Value) {
    let Body::Message { payload, .. } = &entry.body else { panic!("an effect") };
    let message: Value = serde_json::from_str(payload).expect("JSON");
    (message["payload"]["order"].as_str().unwrap_or_default().to_owned(), message["payload"].clone())
}

proptest! {
    #[test]
    fn nothing_is_asked_for_twice_and_what_was_done_is_undone_in_order(
        ops in prop::collection::vec(op(), 1..60),
    ) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }
}
