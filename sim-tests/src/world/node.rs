//! The process of one node: machine, store, clocks, edge, and the points where it can die.
//!
//! ```text
//!   inputs ─► turn ─► commit ─► released effects ─► …
//!          C1        C2  C3    C4             C5
//! ```

use crate::plan::Plan;
use crate::world::event::NodeId;
use cloudlysis_core::{Checks, Driver, Halt, Invariant, Machine, MarkCounts, Quirks, StoreFault};
use cloudlysis_io_sim::clock::Clock;
use cloudlysis_io_sim::edge::Edge;
use cloudlysis_io_sim::store::{Change, CommitFate, SimStore};

/// What happens to a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// Nothing bad.
    Lives,
    /// C1: the process dies before the turn.
    DiesBefore,
    /// C2, C3: the commit fails or is interrupted; then the process dies or lives on.
    Commit {
        /// What the store does.
        fate: CommitFate,
        /// Whether the process dies of it.
        dies: bool,
    },
    /// C4, C5: the process dies after some of the released effects.
    DiesAfter(Share),
}

/// How many of the effects of a turn are performed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// None.
    None,
    /// So many, but not the last.
    Some(usize),
    /// All.
    All,
}

impl Share {
    /// Of so many.
    #[must_use]
    pub const fn of(self, all: usize) -> usize {
        match self {
            Self::None => 0,
            Self::Some(_) if all == 0 => 0,
            Self::Some(some) if some < all => some,
            Self::Some(_) => all - 1,
            Self::All => all,
        }
    }
}

/// One life of a process.
#[derive(Clone, Debug)]
pub struct Life<M> {
    /// The machine and its driver.
    pub driver: Driver<M>,
    /// Its clocks.
    pub clock: Clock,
}

/// A node.
#[derive(Clone, Debug)]
pub struct Node<M: Machine> {
    /// Which.
    pub id: NodeId,
    /// What its machine is made with.
    pub config: M::Config,
    /// Its disk.
    pub store: SimStore,
    /// Its process, while it lives.
    pub life: Option<Life<M>>,
    /// How often its process died.
    pub deaths: u64,
    /// Facts for the next turn.
    pub inbox: Vec<M::Input>,
    /// Its requests to the broker.
    pub edge: Edge,
    /// Whether it reaches the broker.
    pub connected: bool,
    /// When its next turn is.
    pub turn_at: Option<u64>,
    /// Whether somebody asked it to drain.
    pub draining: bool,
    /// Whether it has reported that drain.
    pub drained: bool,
    /// Facts that it is still to be told before it is told to drain.
    pub before_stop: Option<usize>,
    /// How far its wall clock is off, in milliseconds.
    pub wall_offset_ms: i64,
    /// How far it ever was ahead, in milliseconds: timers may be due as much later when it is put right.
    pub wall_ahead_ms_max: u64,
    /// Marks of its earlier lives.
    pub marks: MarkCounts,
    /// Turns in a row that did nothing.
    pub idle_turns: u32,
    /// Since when they are counted.
    pub idle_since_ns: u64,
    checks: Checks,
    /// Turns that wrote something.
    commits: u64,
    quirks: Quirks,
}

/// How a turn ended.
#[derive(Debug)]
pub enum TurnEnd<E> {
    /// Committed; these effects may leave.
    Released(Vec<E>),
    /// The store failed: the machine is gone.
    Faulted(StoreFault),
    /// Anything else that stops a machine.
    Halted(Halt),
}

/// What a turn did.
#[derive(Debug)]
pub struct TurnReport<E> {
    /// How it ended.
    pub end: TurnEnd<E>,
    /// What landed on disk.
    pub changes: Vec<Change>,
    /// Whether the store said that the commit failed, or is not known to have landed.
    pub commit_failed: bool,
}

impl<M: Machine> Node<M>
where
    M::Config: Clone,
{
    /// A node with an empty disk that was never started.
    #[must_use]
    pub fn new(id: NodeId, config: M::Config, plan: &Plan) -> Self {
        Self {
            id,
            config,
            store: SimStore::default(),
            life: None,
            deaths: 0,
            inbox: Vec::new(),
            edge: Edge::new(id.number(), plan.quirks),
            connected: false,
            turn_at: None,
            draining: false,
            drained: false,
            before_stop: None,
            wall_offset_ms: 0,
            wall_ahead_ms_max: 0,
            marks: MarkCounts::default(),
            idle_turns: 0,
            idle_since_ns: 0,
            checks: plan.checks,
            commits: 0,
            quirks: plan.quirks,
        }
    }

    /// The machine is made from its disk, in a new process or in one that lives on.
    ///
    /// # Errors
    /// When the machine cannot be recovered.
    pub fn start(&mut self, now_ns: u64) -> Result<(), Halt> {
        let clock = Clock::started(now_ns, self.wall_offset_ms);
        (self.draining, self.drained) = (false, false);
        let driver = Driver::recover(self.config.clone(), &mut self.store, self.checks, self.quirks)?;
        self.store.take_changes();
        self.life = Some(Life { driver, clock });
        Ok(())
    }

    /// The machine is given up; what waits for it stays.
    pub fn give_up(&mut self) {
        if let Some(life) = self.life.take() {
            self.marks.add(life.driver.marks());
        }
        self.idle_turns = 0;
        self.turn_at = None;
    }

    /// The process dies.
    pub fn die(&mut self) {
        self.give_up();
        self.inbox.clear();
        self.before_stop = None;
        self.deaths += 1;
        self.connected = false;
    }

    /// The next facts. Says too whether it was told to drain before the first of them.
    pub fn take_inputs(&mut self, max: usize) -> (Vec<M::Input>, bool) {
        let count = self.inbox.len().min(max);
        let was_stopped = self.draining && self.before_stop.is_none();
        self.before_stop = self.before_stop.and_then(|before| before.checked_sub(count));
        (self.inbox.drain(..count).collect(), was_stopped)
    }

    /// Runs one turn; `None` when there is no process.
    pub fn turn(&mut self, now_ns: u64, inputs: Vec<M::Input>, fate: Fate) -> Option<TurnReport<M::Effect>> {
        let life = self.life.as_mut()?;
        let armed = matches!(fate, Fate::Commit { .. });
        if let Fate::Commit { fate, .. } = fate {
            self.store.arm(fate);
        }
        let turned = life.driver.turn(&mut self.store, life.clock.now(now_ns), inputs);
        // A turn that staged nothing does not commit.
        let commit_failed = !self.store.disarm() && armed;
        let changes = self.store.take_changes();
        let end = match turned {
            Ok(released) => TurnEnd::Released(released.into_effects()),
            Err(Halt::Store(fault)) => TurnEnd::Faulted(fault),
            Err(halt @ (Halt::Corrupt { .. } | Halt::Broken(_) | Halt::Fenced(_))) => TurnEnd::Halted(halt),
        };
        Some(TurnReport { end, changes, commit_failed })
    }

    /// Its invariants, against what is on its disk.
    ///
    /// # Errors
    /// The first that does not hold.
    pub fn check(&self) -> Result<(), Halt> {
        self.life.as_ref().map_or(Ok(()), |life| life.driver.machine().check(&self.store.committed()))
    }

    /// INV-DRV-2, when it is looked at: a machine recovered from the disk agrees with the living one.
    ///
    /// # Errors
    /// What disagrees.
    pub fn compare_with_twin(&mut self) -> Result<(), (Invariant, String)> {
        let Some(life) = &self.life else { return Ok(()) };
        self.commits += 1;
        if !self.checks.are_due(self.commits) {
            return Ok(());
        }
        let incarnation = life.driver.incarnation();
        let twin = M::recover(self.config.clone(), incarnation, &self.store.committed())
            .map_err(|halt| (Invariant::Drv2, format!("cannot be recovered: {halt}")))?;
        let (live, recovered) = (life.driver.machine().durable(), twin.durable());
        if live == recovered {
            return Ok(());
        }
        Err((Invariant::Drv2, format!("live {live:?}, recovered {recovered:?}")))
    }

    /// When its machine next wants a turn, as a moment of the world.
    #[must_use]
    pub fn deadline_ns(&self) -> Option<u64> {
        let life = self.life.as_ref()?;
        life.driver.deadline().map(|(at, _)| life.clock.world_ns(at))
    }

    /// Marks of all lives.
    #[must_use]
    pub fn all_marks(&self) -> MarkCounts {
        let mut out = self.marks.clone();
        if let Some(life) = &self.life {
            out.add(life.driver.marks());
        }
        out
    }
}
