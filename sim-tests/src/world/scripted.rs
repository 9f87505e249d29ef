//! What a script has happen, at the moments it says; and which of the faults that the dice throw it lets happen.
//!
//! Nothing here draws: a step that finds nobody is passed over, and the dice of everybody else fall as they do.

use super::event::{Event, NodeId};
use super::node::{Fate, Share};
use super::{MS, World};
use crate::oracles::Violation;
use cloudlysis_core::StoreFault;
use cloudlysis_io_sim::store::CommitFate;
use std::fmt;

/// A crash point of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiesAt {
    /// Before the turn.
    C1,
    /// The commit is refused.
    C2,
    /// The commit has no answer, and did not land.
    C3,
    /// The commit has no answer, and landed.
    C3Landed,
    /// After the commit, before any effect left.
    C4,
    /// After all effects left.
    C5,
}

impl DiesAt {
    const ALL: [Self; 6] = [Self::C1, Self::C2, Self::C3, Self::C3Landed, Self::C4, Self::C5];

    const fn name(self) -> &'static str {
        match self {
            Self::C1 => "C1",
            Self::C2 => "C2",
            Self::C3 => "C3",
            Self::C3Landed => "C3-landed",
            Self::C4 => "C4",
            Self::C5 => "C5",
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// What there is.
    pub fn parse(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|own| own.name() == name);
        found.ok_or_else(|| format!("`{name}` is none of {}", Self::ALL.map(Self::name).join(", ")))
    }

    fn fate(self) -> Fate {
        let commit = |fate| Fate::Commit { fate, dies: true };
        match self {
            Self::C1 => Fate::DiesBefore,
            Self::C2 => commit(CommitFate::Fails(StoreFault::Io)),
            Self::C3 => commit(CommitFate::Unknown { landed: false }),
            Self::C3Landed => commit(CommitFate::Unknown { landed: true }),
            Self::C4 => Fate::DiesAfter(Share::None),
            Self::C5 => Fate::DiesAfter(Share::All),
        }
    }
}

/// Something that a script has happen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Act {
    /// A process dies between two turns.
    Dies(NodeId),
    /// A process dies in its next turn.
    DiesAt(NodeId, DiesAt),
    /// A node is asked to drain, with a deadline in milliseconds.
    Drains(NodeId, u64),
    /// A node's connection is cut.
    LosesConnection(NodeId),
    /// A wall clock jumps by so many milliseconds.
    Clock(NodeId, i64),
    /// The broker dies.
    BrokerDies,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dies(id) => write!(f, "{id} dies"),
            Self::DiesAt(id, at) => write!(f, "{id} dies {}", at.name()),
            Self::Drains(id, deadline_ms) => write!(f, "{id} drains {deadline_ms}ms"),
            Self::LosesConnection(id) => write!(f, "{id} loses-connection"),
            Self::Clock(id, by_ms) => write!(f, "{id} clock {by_ms}ms"),
            Self::BrokerDies => write!(f, "broker dies"),
        }
    }
}

impl World {
    pub(super) fn begin_script(&mut self) {
        for (at_ms, act) in self.plan.acts.clone() {
            self.after(at_ms * MS, Event::Scripted(act));
        }
    }

    pub(super) fn on_scripted(&mut self, act: Act) -> Result<(), Violation> {
        let is_up = |id: NodeId| self.node_ids().contains(&id) && self.is_up(id);
        match act {
            Act::Dies(id) if is_up(id) => return self.kill_between_turns(id),
            Act::DiesAt(id, at) if is_up(id) => drop(self.fates.insert(id, at.fate())),
            Act::Drains(id, deadline_ms) if is_up(id) => self.drain_node(id, deadline_ms),
            Act::LosesConnection(id) if is_up(id) => self.disconnect_node(id),
            Act::Clock(id, by_ms) if is_up(id) => self.jump_clock(id, by_ms),
            Act::BrokerDies if self.broker.engine().is_some() => self.crash_broker(),
            Act::Dies(_)
            | Act::DiesAt(..)
            | Act::Drains(..)
            | Act::LosesConnection(_)
            | Act::Clock(..)
            | Act::BrokerDies => self.note(|| format!("{act}: passed over, it is down")),
        }
        Ok(())
    }

    /// Whether a fault happens now; faults end for good when the world heals. All that the dice throw are counted, so that a
    /// script can say which of them happen.
    pub(super) fn strikes(&mut self, one_in: u64) -> bool {
        let strikes = self.dice.faults.one_in(one_in);
        self.stats.faults += u64::from(strikes);
        strikes && self.plan.strikes.has(self.stats.faults)
    }
}
