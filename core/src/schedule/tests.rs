//! Timers on a bench, with a table that keeps what fired: what a parent would put into its outbox.

use super::{Config, Limits, Schedule, Timer, Waiting};
use crate::bench::{Bench, Exam, Landed, examine, quirks, rows};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::Halt;
use crate::marks::Mark;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now, Wall};
use crate::wire::context::Context;
use crate::wire::id::{CommandId, TenantId};
use crate::wire::keys;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

pub(crate) const EXAM: Exam = &[
    (Quirk::ScheduleFireAndKeep, a_timer_fires_at_its_time_and_is_gone),
    (Quirk::ScheduleTrustSleep, a_clock_that_is_put_back_delays_what_has_not_fired),
    (Quirk::ScheduleHalfCancelled, a_cancelled_timer_never_fires),
];

#[test]
fn every_fault_of_a_schedule_is_noticed() {
    examine(EXAM);
}

const LIMITS: Limits = Limits { fired_max: 3, look_ms_max: 1_000 };

/// A schedule, and what fired, in order.
#[derive(Clone, PartialEq, Debug)]
struct Clock(Schedule);

#[derive(Clone, PartialEq, Debug)]
enum Input {
    Set(Timer),
    Cancelled(CommandId),
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

impl Machine for Clock {
    type Config = Config;
    type Input = Input;
    type Effect = String;
    type Timer = Waiting;
    type Durable = u64;

    fn recover(config: Config, _: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self(Schedule::recover(config, view)?))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, String>) -> Result<(), Halt> {
        match input {
            Input::Set(timer) => self.0.set(now, &timer, cx),
            Input::Cancelled(id) => self.0.cancel(&tenant(), &id, cx),
            Input::Tick(Tick) => {
                let before = rows(cx.view(), Table::Outbox).len() as u64;
                for (at, timer) in (before..).zip(self.0.tick(now, cx)?) {
                    assert!(timer.due <= now.wall, "INV-SCH-3: {timer:?} at {:?}", now.wall);
                    cx.put(Table::Outbox, &keys::position(at), timer.id.as_str().as_bytes());
                    cx.emit(timer.id.to_string());
                }
                Ok(())
            }
        }
    }

    fn deadline(&self) -> Option<(Mono, Waiting)> {
        self.0.deadline()
    }

    fn durable(&self) -> u64 {
        self.0.durable()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view)
    }
}

fn tenant() -> TenantId {
    TenantId::parse("acme").expect("a tenant")
}

fn bench() -> Bench<Clock> {
    Bench::new(Config { limits: LIMITS, quirks: quirks() })
}

fn id(raw: &str) -> CommandId {
    CommandId::parse(raw).expect("an id")
}

/// A timer that falls due so long after now.
fn timer(bench: &Bench<Clock>, raw: &str, after_ms: u64) -> Input {
    let (Ok(saga), Ok(correlation), Ok(name)) = ("checkout".parse(), "o-1".parse(), "late".parse()) else {
        panic!("names")
    };
    Input::Set(Timer {
        id: id(raw),
        tenant: tenant(),
        saga,
        correlation,
        name,
        due: Wall::from_ms(bench.now.wall.as_ms() + after_ms),
        context: Context::generate(raw),
    })
}

/// What fired in all lives, in order.
fn fired(bench: &Bench<Clock>) -> Vec<String> {
    rows(&bench.store, Table::Outbox)
        .into_iter()
        .map(|(_, row)| String::from_utf8(row).expect("an id"))
        .collect()
}

#[test]
fn a_timer_fires_at_its_time_and_is_gone() {
    let mut bench = bench();
    let set = [timer(&bench, "late", 5_000), timer(&bench, "soon", 2_500)];
    assert_eq!(bench.turn(set), [""; 0]);
    assert_eq!(bench.advance(2_499), [""; 0]);
    assert_eq!(bench.advance(1), ["soon"]);
    assert_eq!(bench.advance(10_000), ["late"]);
    assert_eq!((bench.deadline(), bench.machine().0.pending()), (None, 0));
    assert!(rows(&bench.store, Table::Timer).is_empty() && rows(&bench.store, Table::TimerDue).is_empty());
}

#[test]
fn a_time_that_has_passed_is_due_at_once_and_a_repetition_changes_nothing() {
    let mut bench = bench();
    let again = timer(&bench, "late", 60_000);
    bench.turn([timer(&bench, "past", 0), again.clone(), again]);
    assert_eq!((fired(&bench), bench.machine().0.pending()), (vec!["past".to_owned()], 1));
}

#[test]
fn a_cancelled_timer_never_fires() {
    let mut bench = bench();
    bench.turn([timer(&bench, "a", 1_000), timer(&bench, "b", 1_000)]);
    bench.turn([Input::Cancelled(id("a")), Input::Cancelled(id("unknown"))]);
    assert_eq!(bench.advance(5_000), ["b"]);
    bench.turn([Input::Cancelled(id("b"))]);
    assert_eq!(bench.deadline(), None);
}

#[test]
fn what_fell_due_while_nobody_looked_fires_in_order_a_few_at_a_time() {
    let mut bench = bench();
    for (at, raw) in ["e", "d", "c", "b", "a"].into_iter().enumerate() {
        bench.turn([timer(&bench, raw, 1_000 - at as u64)]);
    }
    bench.oversleep(3_600_000);
    bench.crash();
    assert_eq!(bench.turn([]), ["a", "b", "c"], "INV-SCH-4");
    assert_eq!(bench.settle(), ["d", "e"]);
    assert_eq!(bench.marked(Mark::ScheduleCrowded), 1);
}

#[test]
fn a_clock_that_is_put_forward_is_noticed_soon() {
    let mut bench = bench();
    bench.turn([timer(&bench, "late", 3_600_000)]);
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms() + 7_200_000);
    assert_eq!(bench.advance(LIMITS.look_ms_max), ["late"]);
}

#[test]
fn a_clock_that_is_put_back_delays_what_has_not_fired() {
    let mut bench = bench();
    bench.turn([timer(&bench, "a", 1_000), timer(&bench, "b", 2_000)]);
    assert_eq!(bench.advance(1_000), ["a"]);
    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms() - 60_000);
    assert_eq!(bench.advance(60_000), [""; 0], "neither again nor early");
    assert_eq!(bench.advance(1_000), ["b"]);
}

#[test]
fn a_commit_without_an_answer_fires_once() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench();
        bench.turn([timer(&bench, "late", 1_000)]);
        bench.oversleep(1_000);
        bench.turn_without_answer(landed, []);
        bench.advance(5_000);
        assert_eq!(fired(&bench), ["late"], "INV-SCH-2, {landed:?}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set { which: u8, after_ms: u64 },
    Cancel { which: u8 },
    Wait { ms: u64 },
    Jump { ms: i64 },
    Crash,
    NoAnswer { landed: bool },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u8, 0..5_000_u64).prop_map(|(which, after_ms)| Step::Set { which, after_ms }),
        1 => (0..12_u8).prop_map(|which| Step::Cancel { which }),
        3 => (0..3_000_u64).prop_map(|ms| Step::Wait { ms }),
        1 => (-5_000..5_000_i64).prop_map(|ms| Step::Jump { ms }),
        1 => Just(Step::Crash),
        1 => any::<bool>().prop_map(|landed| Step::NoAnswer { landed }),
    ]
}

proptest! {
    /// Whatever clock and process do: every timer that is set and not cancelled fires once, in the end, and never early.
    #[test]
    fn what_is_set_fires_once_or_is_cancelled(steps in prop::collection::vec(step(), 1..60)) {
        let mut bench = bench();
        let mut set = BTreeSet::new();
        let mut cancelled = BTreeSet::new();
        for step in steps {
            match step {
                Step::Set { which, after_ms } => {
                    let raw = format!("t{which}");
                    // An id is used once: it names what set it.
                    if set.insert(raw.clone()) {
                        bench.turn([timer(&bench, &raw, after_ms)]);
                    }
                }
                Step::Cancel { which } => {
                    let raw = format!("t{which}");
                    let pending = set.contains(&raw) && !fired(&bench).contains(&raw);
                    bench.turn([Input::Cancelled(id(&raw))]);
                    if pending && !fired(&bench).contains(&raw) {
                        cancelled.insert(raw);
                    }
                }
                Step::Wait { ms } => {
                    bench.advance(ms);
                }
                Step::Jump { ms } => {
                    bench.now.wall = Wall::from_ms(bench.now.wall.as_ms().saturating_add_signed(ms));
                }
                Step::Crash => bench.crash(),
                Step::NoAnswer { landed } => {
                    bench.turn_without_answer(if landed { Landed::Yes } else { Landed::No }, []);
                }
            }
        }
        bench.advance(600_000);
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for raw in fired(&bench) {
            *counts.entry(raw).or_default() += 1;
        }
        let wanted: BTreeMap<String, usize> = set.difference(&cancelled).map(|raw| (raw.clone(), 1)).collect();
        prop_assert_eq!(counts, wanted, "INV-SCH-2");
    }
}
