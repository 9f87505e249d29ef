//! A bench for machines: a store that fails when told, a clock that stands still until told, and after every turn a
//! second life recovered from the store, which must agree with the first (INV-DRV-2).
//!
//! - [`Bench`] runs one machine; [`explore`] visits every state that some moves can reach.
//! - [`examine`] plants the faults of a machine, one by one, and wants each noticed by the test that is named for it.
//! - [`shop_with`] loads the example application.
//! - [`Upstream`] is a stream with one durable consumer, as a gate sees it through adapter and network.

mod exam;
mod explore;
mod shop;
mod store;
mod upstream;

pub(crate) use exam::{Exam, examine, quirks};
pub(crate) use explore::explore;
pub(crate) use shop::{shop_files, shop_with};
pub(crate) use store::{Landed, MemoryStore, rows};
pub(crate) use upstream::{Sent, Upstream};

use crate::cx::Machine;
use crate::driver::{Checks, Driver};
use crate::halt::{Halt, StoreFault};
use crate::marks::{Mark, MarkCounts};
use crate::store::Store;
use crate::time::{Mono, Now, Wall};
use std::fmt::{self, Debug};

/// Wake-ups without any time passing after which a machine is said to ask for them for ever.
const WAKES_MAX: usize = 64;

/// One machine, its store and its clock.
#[derive(Clone)]
pub(crate) struct Bench<M: Machine> {
    pub(crate) store: MemoryStore,
    pub(crate) now: Now,
    driver: Driver<M>,
    config: M::Config,
    /// Hit in earlier lives.
    marks: MarkCounts,
}

impl<M: Machine<Config: Clone>> Bench<M> {
    pub(crate) fn new(config: M::Config) -> Self {
        Self::with(MemoryStore::default(), config)
    }

    /// Over a store that has seen other lives.
    pub(crate) fn with(mut store: MemoryStore, config: M::Config) -> Self {
        let driver = boot(&mut store, config.clone());
        let now = Now { mono: Mono::ZERO, wall: Wall::from_ms(1_795_231_870_000) };
        Self { store, now, driver, config, marks: MarkCounts::default() }
    }

    pub(crate) const fn machine(&self) -> &M {
        self.driver.machine()
    }

    pub(crate) const fn incarnation(&self) -> u64 {
        self.driver.incarnation()
    }

    pub(crate) fn deadline(&self) -> Option<(Mono, M::Timer)> {
        self.driver.deadline()
    }

    /// How often a mark was hit in all lives.
    pub(crate) const fn marked(&self, mark: Mark) -> u64 {
        self.marks.count(mark) + self.driver.marks().count(mark)
    }

    /// One turn; then a machine recovered from the store must agree with this one.
    pub(crate) fn try_turn(
        &mut self,
        inputs: impl IntoIterator<Item = M::Input>,
    ) -> Result<Vec<M::Effect>, Halt> {
        let released = self.driver.turn(&mut self.store, self.now, inputs)?;
        let twin = M::recover(self.config.clone(), 0, &self.store).expect("a twin recovers");
        assert_eq!(twin.durable(), self.machine().durable(), "INV-DRV-2: a recovered machine differs");
        twin.check(&self.store).expect("a twin holds its invariants");
        Ok(released.into_effects())
    }

    pub(crate) fn turn(&mut self, inputs: impl IntoIterator<Item = M::Input>) -> Vec<M::Effect> {
        self.try_turn(inputs).expect("a turn without fault")
    }

    /// A turn whose commit has no answer, and the life after it.
    ///
    /// A turn that stages nothing does not commit, so it cannot fail: then its effects come back.
    pub(crate) fn turn_without_answer(
        &mut self,
        landed: Landed,
        inputs: impl IntoIterator<Item = M::Input>,
    ) -> Vec<M::Effect> {
        self.store.fail_commit = Some(landed);
        let turned = self.try_turn(inputs);
        self.store.fail_commit = None;
        turned.unwrap_or_else(|halt| {
            assert_eq!(halt, Halt::Store(StoreFault::CommitUnknown));
            self.crash();
            Vec::new()
        })
    }

    /// Lets time pass, waking the machine whenever it asks for it.
    pub(crate) fn advance(&mut self, ms: u64) -> Vec<M::Effect> {
        let end = self.now.mono.plus_ms(ms);
        let mut effects = Vec::new();
        let mut wakes = 0;
        while let Some((at, timer)) = self.deadline().filter(|(at, _)| *at <= end) {
            wakes = if at > self.now.mono { 0 } else { wakes + 1 };
            assert!(wakes < WAKES_MAX, "{timer:?} asks to be woken for ever without time passing");
            self.move_to(at.max(self.now.mono));
            effects.extend(self.turn([]));
        }
        self.move_to(end);
        effects
    }

    /// Everything the machine wants to do at this moment.
    pub(crate) fn settle(&mut self) -> Vec<M::Effect> {
        self.advance(0)
    }

    /// Time passes and nobody wakes the machine.
    pub(crate) fn oversleep(&mut self, ms: u64) {
        self.move_to(self.now.mono.plus_ms(ms));
    }

    fn move_to(&mut self, at: Mono) {
        let ms = at.ms_since(self.now.mono);
        self.now = Now { mono: at, wall: Wall::from_ms(self.now.wall.as_ms() + ms) };
    }

    /// The process dies and comes back: only what was committed is there, and the monotonic clock begins anew.
    pub(crate) fn crash(&mut self) {
        self.marks.add(self.driver.marks());
        self.driver = boot(&mut self.store, self.config.clone());
        self.now = Now { mono: Mono::ZERO, wall: Wall::from_ms(self.now.wall.as_ms() + 1) };
    }

    /// What a new life would say about this store.
    pub(crate) fn recovered(&self) -> Result<M, Halt> {
        let mut store = self.store.clone();
        let txn = store.begin()?;
        M::recover(self.config.clone(), 0, &txn)
    }
}

/// What tells worlds apart for [`explore`]: marks, counters and buffers do not.
impl<M: Machine + Debug> Debug for Bench<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench")
            .field("rows", &self.store.rows)
            .field("now", &self.now)
            .field("machine", self.driver.machine())
            .finish()
    }
}

fn boot<M: Machine>(store: &mut MemoryStore, config: M::Config) -> Driver<M> {
    Driver::recover(config, store, Checks::EveryTurn, quirks()).expect("recovers")
}
