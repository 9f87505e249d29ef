//! Where processes died, and what that left behind: machine × crash point × outcome, over all the worlds of a run.
//!
//! ```text
//!   facts ─► turn ─► commit ─► released effects ─► …
//!         C1        C2  C3    C4             C5       C6 between two turns
//! ```
//!
//! Whether the world came through it is what the oracles say; this says whether it was met at all. A cell with zero in
//! it has a reason that is written here, or it is a crash that no world tries.

use crate::grid::Kind;
use crate::world::event::NodeId;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Where.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum CrashPoint {
    /// Before the turn.
    C1,
    /// The commit fails; the process lives on and recovers its machine.
    C2,
    /// The commit is interrupted.
    C3,
    /// After the commit, before the first effect.
    C4,
    /// After some effects.
    C5,
    /// Between two turns.
    C6,
}

/// What it left behind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Left {
    /// Nothing was due after the turn, or nothing was under way: as if it had not been.
    Nothing,
    /// Facts that it had heard and not applied.
    FactsUnapplied,
    /// What was staged is not on disk.
    NotLanded,
    /// What was staged is on disk, and nobody was told.
    LandedUntold,
    /// Effects that were due were not performed, none of them.
    NoEffects,
    /// Some were.
    SomeEffects,
    /// All were.
    AllEffects,
    /// Requests whose answers nobody hears.
    Unanswered,
}

impl CrashPoint {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::C1, Self::C2, Self::C3, Self::C4, Self::C5, Self::C6];

    /// What a crash there can leave behind.
    #[must_use]
    pub const fn outcomes(self) -> &'static [Left] {
        match self {
            Self::C1 => &[Left::FactsUnapplied],
            Self::C2 => &[Left::NotLanded],
            Self::C3 => &[Left::NotLanded, Left::LandedUntold],
            Self::C4 => &[Left::Nothing, Left::NoEffects],
            Self::C5 => &[Left::SomeEffects, Left::AllEffects],
            Self::C6 => &[Left::Nothing, Left::Unanswered],
        }
    }

    const fn sentence(self) -> &'static str {
        match self {
            Self::C1 => "before the turn",
            Self::C2 => "the commit fails, the process lives on",
            Self::C3 => "the commit is interrupted",
            Self::C4 => "after the commit, before the first effect",
            Self::C5 => "after some effects",
            Self::C6 => "between two turns",
        }
    }
}

/// Why a cell stays empty.
fn explained(cell: (Kind, CrashPoint, Left)) -> Option<&'static str> {
    (cell == (Kind::Projection, CrashPoint::C6, Left::Unanswered))
        .then_some("views ask for nothing but messages, which come again")
}

/// How often.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Crashes(BTreeMap<(Kind, CrashPoint, Left), u64>);

impl Crashes {
    /// One more.
    pub fn count(&mut self, node: NodeId, at: CrashPoint, left: Left) {
        *self.0.entry((Kind::of(node), at, left)).or_default() += 1;
    }

    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        for (cell, times) in &other.0 {
            *self.0.entry(*cell).or_default() += times;
        }
    }

    /// Every cell there can be.
    fn cells(&self) -> impl Iterator<Item = ((Kind, CrashPoint, Left), u64)> {
        Kind::ALL.into_iter().flat_map(move |kind| {
            CrashPoint::ALL.into_iter().flat_map(move |at| {
                let outcomes = at.outcomes().iter().copied();
                outcomes.map(move |left| {
                    let cell = (kind, at, left);
                    (cell, self.0.get(&cell).copied().unwrap_or_default())
                })
            })
        })
    }

    /// Cells that no world filled and nobody explains.
    #[must_use]
    pub fn unexplained(&self) -> Vec<(Kind, CrashPoint, Left)> {
        let never = self.cells().filter(|(cell, times)| *times == 0 && explained(*cell).is_none());
        never.map(|(cell, _)| cell).collect()
    }

    /// As a table.
    ///
    /// # Errors
    /// When nobody can be told.
    pub fn tell(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "| machine | crash point | what it left | times |")?;
        writeln!(out, "|---|---|---|--:|")?;
        for ((kind, at, left), times) in self.cells() {
            let why = explained((kind, at, left)).map(|why| format!(": {why}")).unwrap_or_default();
            writeln!(out, "| {kind:?} | {at:?}: {} | {left:?}{why} | {times} |", at.sentence())?;
        }
        Ok(())
    }
}
