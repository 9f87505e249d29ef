//! The turn, on a machine that does as it is told.

use super::{Checks, Driver};
use crate::bench::{Bench, Exam, Landed, MemoryStore, examine, quirks};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::{Halt, StoreFault};
use crate::invariant;
use crate::invariants::Invariant;
use crate::marks::Mark;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use std::ops::ControlFlow;

pub(crate) const EXAM: Exam =
    &[(Quirk::DriverReleaseBeforeCommit, effects_of_a_failed_commit_are_never_released)];

#[test]
fn every_fault_of_the_driver_is_noticed() {
    examine(EXAM);
}

/// Writes lines, says what it did, and wakes when it was told to.
#[derive(Clone, PartialEq, Debug)]
struct Scribe {
    /// Rows in its table; more than there are once it was told to lie.
    lines: u64,
    alarm: Option<Mono>,
}

#[derive(Clone, Debug)]
enum Input {
    /// Writes a line, and says how many it sees.
    Dictated(&'static str),
    /// Says it, writes nothing.
    Spoken(&'static str),
    /// Says the name, then handles these.
    Listed(&'static str, Vec<Self>),
    /// Handles itself again this many times.
    Repeated(usize),
    /// Counts a line that it does not write.
    Lied,
    /// Sets an alarm.
    Scheduled {
        at_ms: u64,
    },
    /// Cannot go on.
    Torn,
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

fn lines(view: &dyn View) -> Result<u64, StoreFault> {
    let mut lines = 0;
    view.scan(Table::View, b"", &mut |_, _| {
        lines += 1;
        ControlFlow::Continue(())
    })?;
    Ok(lines)
}

impl Machine for Scribe {
    type Config = ();
    type Input = Input;
    type Effect = String;
    type Timer = ();
    type Durable = u64;

    fn recover((): (), _: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self { lines: lines(view)?, alarm: None })
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, String>) -> Result<(), Halt> {
        match input {
            Input::Dictated(line) => {
                cx.put(Table::View, line.as_bytes(), b"");
                self.lines += 1;
                cx.emit(format!("{line} after {}", lines(cx.view())?));
            }
            Input::Spoken(word) => cx.emit(word.to_owned()),
            Input::Listed(name, inputs) => {
                cx.emit(name.to_owned());
                inputs.into_iter().for_each(|input| cx.then(input));
            }
            Input::Repeated(0) => {}
            Input::Repeated(times) => cx.then(Input::Repeated(times - 1)),
            Input::Lied => self.lines += 1,
            Input::Scheduled { at_ms } => self.alarm = Some(Mono::ZERO.plus_ms(at_ms)),
            Input::Torn => return Err(StoreFault::Io.into()),
            Input::Tick(Tick) => {
                cx.mark(Mark::DrainForced);
                self.alarm = self.alarm.filter(|at| *at > now.mono);
                cx.emit("tick".into());
            }
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, ())> {
        self.alarm.map(|at| (at, ()))
    }

    fn durable(&self) -> u64 {
        self.lines
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        let rows = lines(view)?;
        invariant!(rows == self.lines, Drv2, "{rows} rows, {} counted", self.lines);
        Ok(())
    }
}

use Input::{Dictated, Lied, Listed, Repeated, Scheduled, Spoken, Torn};

fn bench() -> Bench<Scribe> {
    Bench::new(())
}

fn broken(halt: &Halt) -> Option<Invariant> {
    if let Halt::Broken(broken) = halt { Some(broken.invariant) } else { None }
}

#[test]
fn effects_leave_in_the_order_in_which_they_were_asked_for() {
    let mut bench = bench();
    assert_eq!(bench.turn([Spoken("a"), Dictated("b"), Spoken("c")]), ["a", "b after 0", "c"]);
}

#[test]
fn effects_of_a_failed_commit_are_never_released() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench();
        assert_eq!(bench.turn_without_answer(landed, [Spoken("a"), Dictated("b")]), [""; 0]);
        let lines = u64::from(landed == Landed::Yes);
        assert_eq!(bench.machine().lines, lines, "recovery says what happened");
    }
}

#[test]
fn nothing_lands_and_nothing_leaves_when_the_store_fails_earlier() {
    for fault in [StoreFault::Full, StoreFault::Io] {
        let mut bench = bench();
        bench.store.fail_apply = Some(fault);
        assert_eq!(bench.try_turn([Spoken("a"), Dictated("b")]), Err(fault.into()));
        assert_eq!(bench.store.table(Table::View).count(), 0);
        let mut bench = self::bench();
        bench.store.fail_begin = Some(fault);
        assert_eq!(bench.try_turn([Spoken("a")]), Err(fault.into()));
    }
}

#[test]
fn a_machine_that_halts_takes_its_whole_turn_with_it() {
    let mut bench = bench();
    assert_eq!(bench.try_turn([Dictated("a"), Torn]), Err(StoreFault::Io.into()));
    assert_eq!(bench.store.table(Table::View).count(), 0);
}

#[test]
#[should_panic(expected = "recover a new one")]
fn a_driver_is_poisoned_by_a_failed_commit() {
    let mut bench = bench();
    bench.store.fail_commit = Some(Landed::Yes);
    bench.try_turn([Dictated("a")]).expect_err("no answer");
    bench.turn([]);
}

#[test]
#[should_panic(expected = "recover a new one")]
fn a_driver_is_poisoned_by_a_store_that_cannot_be_opened() {
    let mut bench = bench();
    bench.store.fail_begin = Some(StoreFault::Io);
    bench.try_turn([]).expect_err("closed");
    bench.store.fail_begin = None;
    bench.turn([]);
}

#[test]
#[should_panic(expected = "recover a new one")]
fn a_driver_is_poisoned_by_a_machine_that_halts() {
    let mut bench = bench();
    bench.try_turn([Torn]).expect_err("halted");
    bench.turn([]);
}

#[test]
fn a_turn_commits_once_and_only_if_it_staged_something() {
    let mut bench = bench();
    let before = bench.store.commits;
    bench.turn([Spoken("a"), Repeated(3), Scheduled { at_ms: 0 }]);
    assert_eq!(bench.store.commits, before);
    bench.turn([Dictated("a"), Dictated("b"), Listed("c", vec![Dictated("d")])]);
    assert_eq!(bench.store.commits, before + 1);
}

#[test]
fn a_step_sees_what_earlier_steps_staged_and_not_what_it_stages_itself() {
    let mut bench = bench();
    let effects =
        bench.turn([Dictated("a"), Listed("list", vec![Dictated("b"), Dictated("c")]), Dictated("d")]);
    assert_eq!(effects, ["a after 0", "list", "b after 1", "c after 2", "d after 3"]);
}

#[test]
fn follow_ups_come_in_the_order_in_which_they_were_asked_for_and_before_the_next_input() {
    let mut bench = bench();
    let nested = vec![Listed("a1", vec![Spoken("a11"), Spoken("a12")]), Spoken("a2")];
    let effects = bench.turn([Listed("a", nested), Spoken("b")]);
    assert_eq!(effects, ["a", "a1", "a2", "a11", "a12", "b"]);
}

#[test]
fn a_cascade_without_end_is_broken_off_and_lands_nothing() {
    let mut bench = bench();
    let steps_max = <Scribe as Machine>::CASCADE_STEPS_MAX - 1;
    bench.turn([Repeated(steps_max), Repeated(steps_max)]);
    let halt = bench.try_turn([Dictated("a"), Repeated(steps_max + 1)]).expect_err("too long");
    assert_eq!(broken(&halt), Some(Invariant::Drv3));
    assert_eq!(bench.store.table(Table::View).count(), 0);
}

#[test]
fn a_tick_comes_once_after_the_inputs_and_only_when_it_is_due() {
    let mut bench = bench();
    assert_eq!(bench.turn([]), [""; 0], "nobody asked");
    assert_eq!(bench.turn([Scheduled { at_ms: 5 }]), [""; 0]);
    bench.oversleep(4);
    assert_eq!(bench.turn([Spoken("a")]), ["a"], "too early");
    bench.oversleep(1);
    assert_eq!(bench.turn([Spoken("a")]), ["a", "tick"]);
    assert_eq!(bench.turn([]), [""; 0], "ticked already");
    assert_eq!(
        bench.turn([Scheduled { at_ms: 0 }]),
        ["tick"],
        "an alarm in the past rings in the turn that sets it"
    );
}

#[test]
fn every_life_has_a_higher_incarnation() {
    let mut bench = bench();
    assert_eq!(bench.incarnation(), 1);
    bench.crash();
    assert_eq!(bench.incarnation(), 2);
    bench.turn_without_answer(Landed::No, [Dictated("a")]);
    assert_eq!(bench.incarnation(), 3);
}

#[test]
fn a_life_whose_first_commit_has_no_answer_does_not_begin() {
    let recover = |store: &mut MemoryStore| Driver::<Scribe>::recover((), store, Checks::EveryTurn, quirks());
    let mut store = MemoryStore { fail_commit: Some(Landed::Yes), ..MemoryStore::default() };
    assert_eq!(recover(&mut store).expect_err("no answer"), StoreFault::CommitUnknown.into());
    assert_eq!(recover(&mut store).expect("recovers").incarnation(), 2, "no two lives share an incarnation");
}

#[test]
fn an_incarnation_that_cannot_be_read_is_kept_for_inspection() {
    let mut store = MemoryStore::default();
    store.rows.insert((Table::Meta, b"incarnation".to_vec()), b"one".to_vec());
    let halt = Driver::<Scribe>::recover((), &mut store, Checks::EveryTurn, quirks()).expect_err("corrupt");
    assert!(matches!(halt, Halt::Corrupt { table: Table::Meta, .. }), "{halt}");
    assert_eq!(store.row(Table::Meta, b"incarnation"), Some(&b"one"[..]));
}

#[test]
fn turns_are_numbered() {
    let mut store = MemoryStore::default();
    let mut driver =
        Driver::<Scribe>::recover((), &mut store, Checks::EveryTurn, quirks()).expect("recovers");
    let mut turn = || driver.turn(&mut store, Now::default(), []).expect("a turn").turn();
    assert_eq!((turn(), turn()), (1, 2));
}

#[test]
fn a_contradiction_is_found_before_it_lands_where_checks_are_on() {
    let mut bench = bench();
    let halt = bench.try_turn([Dictated("a"), Lied]).expect_err("checked");
    assert_eq!(broken(&halt), Some(Invariant::Drv2));
    assert!(!halt.is_recoverable());
    assert_eq!(bench.store.table(Table::View).count(), 0);

    let mut store = MemoryStore::default();
    let mut driver =
        Driver::<Scribe>::recover((), &mut store, Checks::InHandlersOnly, quirks()).expect("recovers");
    assert!(driver.turn(&mut store, Now::default(), [Lied]).is_ok());
}

#[test]
fn marks_are_counted_per_life() {
    let mut bench = bench();
    bench.turn([Tick.into(), Tick.into()]);
    assert_eq!(bench.marked(Mark::DrainForced), 2);
    bench.crash();
    bench.turn([Tick.into()]);
    assert_eq!(bench.marked(Mark::DrainForced), 3, "the bench adds up the lives");
}

/// A machine whose memory runs ahead of its table, and that says so to nobody.
#[derive(Clone, PartialEq, Debug)]
struct Forgetful(u64);

impl Machine for Forgetful {
    type Config = ();
    type Input = Tick;
    type Effect = ();
    type Timer = ();
    type Durable = u64;

    fn recover((): (), _: u64, _: &dyn View) -> Result<Self, Halt> {
        Ok(Self(0))
    }

    fn handle(&mut self, _: Now, Tick: Tick, _: &mut Cx<'_, Tick, ()>) -> Result<(), Halt> {
        self.0 += 1;
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, ())> {
        Some((Mono::ZERO, ())).filter(|_| self.0 == 0)
    }

    fn durable(&self) -> u64 {
        self.0
    }

    fn check(&self, _: &dyn View) -> Result<(), Halt> {
        Ok(())
    }
}

#[test]
#[should_panic(expected = "INV-DRV-2")]
fn the_bench_notices_a_machine_that_a_restart_would_change() {
    Bench::<Forgetful>::new(()).turn([]);
}
