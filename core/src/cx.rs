//! What a machine may do inside a step: read, stage, emit, follow up, mark. Nothing else.
//!
//! Applying, committing and releasing belong to the [`Driver`](crate::Driver): two types, two sets of rights.

use crate::halt::Halt;
use crate::marks::{Mark, MarkCounts};
use crate::store::{Table, View, WriteBatch};
use crate::time::{Mono, Now};
use std::collections::VecDeque;
use std::fmt::Debug;

/// Time has passed; some deadline may be due. Early, late or repeated ticks change nothing but lateness.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Tick;

/// A state machine: a plain value that answers facts with staged writes and requests.
pub trait Machine: Sized {
    /// What it needs besides its tables to come back to life: limits, definitions, planted faults.
    type Config;
    /// Facts, in the past tense.
    type Input: From<Tick>;
    /// Requests to the outside, imperative.
    type Effect;
    /// The names of its timers, so that a wake-up can say why it exists.
    type Timer: Copy + Debug;
    /// The part of its memory that its tables determine; what the recovery oracle compares.
    type Durable: PartialEq + Debug;

    /// Most steps one input may cause. Fan-out is bounded where it is declared; passing this is a bug of ours.
    const CASCADE_STEPS_MAX: usize = 1024;

    /// The only constructor: start-up and recovery are one path.
    ///
    /// # Errors
    /// When a table cannot be read or holds what it never should.
    fn recover(config: Self::Config, incarnation: u64, view: &dyn View) -> Result<Self, Halt>;

    /// Answers one fact.
    ///
    /// # Errors
    /// A [`Halt`] poisons the driver: nothing of the turn lands and the machine must be recovered.
    fn handle(
        &mut self,
        now: Now,
        input: Self::Input,
        cx: &mut Cx<'_, Self::Input, Self::Effect>,
    ) -> Result<(), Halt>;

    /// When it next wants a [`Tick`], and what for.
    fn deadline(&self) -> Option<(Mono, Self::Timer)>;

    /// What a freshly recovered machine must agree with.
    fn durable(&self) -> Self::Durable;

    /// Its invariants against its tables.
    ///
    /// # Errors
    /// [`Halt::Broken`] naming the invariant that does not hold.
    fn check(&self, view: &dyn View) -> Result<(), Halt>;
}

/// Where effects and follow-ups go, in order.
pub trait Sink<T> {
    /// Appends one.
    fn push(&mut self, item: T);
}

impl<T> Sink<T> for Vec<T> {
    fn push(&mut self, item: T) {
        self.push(item);
    }
}

impl<T> Sink<T> for VecDeque<T> {
    fn push(&mut self, item: T) {
        self.push_back(item);
    }
}

struct Wrapped<'s, P, F> {
    parent: &'s mut dyn Sink<P>,
    wrap: F,
}

impl<C, P, F: Fn(C) -> P> Sink<C> for Wrapped<'_, P, F> {
    fn push(&mut self, item: C) {
        self.parent.push((self.wrap)(item));
    }
}

/// A machine's rights inside one step.
///
/// A step sees everything that earlier steps of its turn staged, never what it staged itself. A machine that needs
/// its own row back, or a parent that hands work to a child, uses [`then`](Cx::then).
pub struct Cx<'a, I, E> {
    view: &'a dyn View,
    writes: &'a mut WriteBatch,
    marks: &'a mut MarkCounts,
    follow_ups: &'a mut dyn Sink<I>,
    effects: &'a mut dyn Sink<E>,
}

impl<'a, I, E> Cx<'a, I, E> {
    pub(crate) fn new(
        view: &'a dyn View,
        writes: &'a mut WriteBatch,
        marks: &'a mut MarkCounts,
        follow_ups: &'a mut dyn Sink<I>,
        effects: &'a mut dyn Sink<E>,
    ) -> Self {
        Self { view, writes, marks, follow_ups, effects }
    }

    /// The tables. Not tied to `&self`: one may stage while reading.
    #[must_use]
    pub fn view(&self) -> &'a dyn View {
        self.view
    }

    /// Stages an insert or replacement.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) {
        self.writes.put(table, key, value);
    }

    /// Stages a removal.
    pub fn delete(&mut self, table: Table, key: &[u8]) {
        self.writes.delete(table, key);
    }

    /// Requests something of the outside. It leaves only after the commit.
    pub fn emit(&mut self, effect: E) {
        self.effects.push(effect);
    }

    /// Handled in the same turn and commit, after what was asked for before it; it sees this step's writes.
    pub fn then(&mut self, input: I) {
        self.follow_ups.push(input);
    }

    /// Records that a rare branch was taken.
    pub fn mark(&mut self, mark: Mark) {
        self.marks.hit(mark);
    }

    /// Runs a child machine whose effects are ours to answer: they go to `effects`. Its inputs are wrapped into ours, its
    /// writes join our batch.
    pub fn within<CI, CE, R>(
        &mut self,
        wrap_input: impl Fn(CI) -> I,
        effects: &mut Vec<CE>,
        run: impl FnOnce(&mut Cx<'_, CI, CE>) -> R,
    ) -> R {
        run(&mut Cx {
            view: self.view,
            writes: self.writes,
            marks: self.marks,
            follow_ups: &mut Wrapped { parent: self.follow_ups, wrap: wrap_input },
            effects,
        })
    }

    /// Runs a child machine: its inputs and effects are wrapped into ours, its writes join our batch.
    ///
    /// # Errors
    /// Whatever the child returns.
    pub fn child<CI, CE, R>(
        &mut self,
        wrap_input: impl Fn(CI) -> I,
        wrap_effect: impl Fn(CE) -> E,
        run: impl FnOnce(&mut Cx<'_, CI, CE>) -> R,
    ) -> R {
        run(&mut Cx {
            view: self.view,
            writes: self.writes,
            marks: self.marks,
            follow_ups: &mut Wrapped { parent: self.follow_ups, wrap: wrap_input },
            effects: &mut Wrapped { parent: self.effects, wrap: wrap_effect },
        })
    }
}
