//! Drain: stop taking in, finish what is under way, flush what waits, and say honestly what was left.
//!
//! ```text
//! Running ── stop ─► Stopping ── nothing in flight ─► Flushing ── nothing waits ─► Drained(clean)
//!                       └────────── deadline ────────────┴───────────────────────► Drained(as it is)
//! ```
//!
//! The parent closes its own intake when it stops, and tells this machine how much is in flight and how much waits.
//! What waits is durable: leaving it for the next life is clean, losing sight of something in flight is not.
//!
//! Durable: nothing. A life that ends draining is recovered like any other.
//!
//! - INV-DRN-1: nothing is taken in after a stop (the parent's gates are stopped in the same step).
//! - INV-DRN-2: a drain is clean only if nothing is in flight.
//! - INV-DRN-3: a drain ends by its deadline, with an honest report.
//! - INV-DRN-4: stopping twice is stopping once.

use crate::cx::Cx;
use crate::marks::Mark;
use crate::quirks::{Quirk, Quirks};
use crate::time::{Mono, Now};

/// What is left at some moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// Requests under way whose answer is not known.
    pub in_flight: usize,
    /// Durable work that waits to leave.
    pub waiting: u64,
}

/// How a drain ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Report {
    /// Nothing was in flight.
    pub clean: bool,
    /// What was left.
    pub left: Left,
}

/// Accepting no more; what is in flight may finish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stopping {
    deadline: Mono,
}

/// Nothing in flight; what waits may still leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Flushing {
    deadline: Mono,
}

/// The drain of one partition.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// Not asked for.
    Running,
    /// In flight may finish.
    Stopping(Stopping),
    /// Waiting work may leave.
    Flushing(Flushing),
    /// Over.
    Drained(Report),
}

impl Drain {
    /// Whether nothing may be taken in any more.
    #[must_use]
    pub const fn is_stopping(&self) -> bool {
        match self {
            Self::Running => false,
            Self::Stopping(_) | Self::Flushing(_) | Self::Drained(_) => true,
        }
    }

    /// The report, once it is over.
    #[must_use]
    pub const fn report(&self) -> Option<Report> {
        match self {
            Self::Drained(report) => Some(*report),
            Self::Running | Self::Stopping(_) | Self::Flushing(_) => None,
        }
    }

    /// Begins. A second stop changes nothing, not even the deadline.
    pub const fn stop(&mut self, now: Now, deadline_ms: u64) {
        match self {
            Self::Running => *self = Self::Stopping(Stopping { deadline: now.mono.plus_ms(deadline_ms) }),
            Self::Stopping(_) | Self::Flushing(_) | Self::Drained(_) => {}
        }
    }

    /// Looks at what is left; returns the report in the step in which it is over.
    pub fn observe<I, E>(
        &mut self,
        now: Now,
        left: Left,
        quirks: Quirks,
        cx: &mut Cx<'_, I, E>,
    ) -> Option<Report> {
        let over =
            |left: Left| Report { clean: left.in_flight == 0 || quirks.has(Quirk::DrainClaimClean), left };
        match *self {
            Self::Running | Self::Drained(_) => None,
            Self::Stopping(Stopping { deadline }) | Self::Flushing(Flushing { deadline }) => {
                let report = if left == Left::default() || quirks.has(Quirk::DrainClaimClean) {
                    over(left)
                } else if deadline <= now.mono {
                    if left.in_flight > 0 {
                        cx.mark(Mark::DrainForced);
                    }
                    over(left)
                } else {
                    *self = if left.in_flight == 0 {
                        Self::Flushing(Flushing { deadline })
                    } else {
                        Self::Stopping(Stopping { deadline })
                    };
                    return None;
                };
                *self = Self::Drained(report);
                Some(report)
            }
        }
    }

    /// When it next wants to look.
    #[must_use]
    pub fn deadline(&self, left: Left) -> Option<Mono> {
        match self {
            Self::Running | Self::Drained(_) => None,
            Self::Stopping(Stopping { deadline }) | Self::Flushing(Flushing { deadline }) => {
                Some(if left == Left::default() { Mono::ZERO } else { *deadline })
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::bench::{Exam, examine, quirks};
    use crate::marks::MarkCounts;
    use crate::store::{View, Visit, WriteBatch};
    use crate::{StoreFault, Table};

    pub(crate) const EXAM: Exam = &[(Quirk::DrainClaimClean, the_deadline_ends_it_and_the_report_is_honest)];

    #[test]
    fn every_fault_of_a_drain_is_noticed() {
        examine(EXAM);
    }

    struct Empty;
    impl View for Empty {
        fn get(&self, _: Table, _: &[u8]) -> Result<Option<&[u8]>, StoreFault> {
            Ok(None)
        }
        fn scan(&self, _: Table, _: &[u8], _: &mut Visit<'_>) -> Result<(), StoreFault> {
            Ok(())
        }
    }

    fn at(ms: u64) -> Now {
        Now { mono: Mono::ZERO.plus_ms(ms), ..Now::default() }
    }

    fn observe(drain: &mut Drain, ms: u64, in_flight: usize, waiting: u64) -> Option<Report> {
        let (mut writes, mut marks) = (WriteBatch::default(), MarkCounts::default());
        let (mut follow, mut effects): (Vec<()>, Vec<()>) = (Vec::new(), Vec::new());
        let mut cx = Cx::new(&Empty, &mut writes, &mut marks, &mut follow, &mut effects);
        drain.observe(at(ms), Left { in_flight, waiting }, quirks(), &mut cx)
    }

    #[test]
    fn a_drain_waits_then_flushes_then_reports_clean() {
        let mut drain = Drain::Running;
        assert_eq!(observe(&mut drain, 0, 5, 5), None);
        drain.stop(at(0), 1_000);
        assert_eq!(observe(&mut drain, 10, 2, 3), None);
        assert!(matches!(drain, Drain::Stopping(_)));
        assert_eq!(observe(&mut drain, 20, 0, 3), None);
        assert!(matches!(drain, Drain::Flushing(_)));
        assert_eq!(observe(&mut drain, 30, 1, 2), None);
        assert!(matches!(drain, Drain::Stopping(_)), "flushing puts work in flight again");
        let report = observe(&mut drain, 40, 0, 0).expect("over");
        assert!(report.clean);
        assert_eq!(observe(&mut drain, 50, 0, 0), None, "reported once");
    }

    #[test]
    fn the_deadline_ends_it_and_the_report_is_honest() {
        let mut drain = Drain::Running;
        drain.stop(at(0), 1_000);
        drain.stop(at(900), 5_000);
        assert_eq!(drain.deadline(Left { in_flight: 1, waiting: 0 }), Some(Mono::ZERO.plus_ms(1_000)));
        let report = observe(&mut drain, 1_000, 1, 0).expect("over");
        assert!(!report.clean);
        let mut drain = Drain::Running;
        drain.stop(at(0), 1_000);
        let report = observe(&mut drain, 1_000, 0, 7).expect("over");
        assert!(report.clean, "what waits is durable");
        assert_eq!(report.left.waiting, 7);
    }
}
