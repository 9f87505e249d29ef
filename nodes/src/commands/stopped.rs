//! How the nodes of a process ended, and what the process says about it.

use super::CommandError;
use crate::partition::Status;
use cloudlysis_core::drain::Report;

/// How some nodes ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use]
pub(super) struct Stopped {
    /// Requests under way whose answer is not known.
    in_flight: usize,
    /// Who did not end in good order, and why.
    faults: Vec<String>,
}

impl Stopped {
    /// One node: what its drain left, if it ended, and what is known of its partition.
    pub(super) fn of(node: &'static str, drained: Option<Report>, status: &Status) -> Self {
        let fault = match (&status.halted, drained) {
            (Some(why), _) => Some(format!("{node} had stopped: {why}")),
            (None, Some(_)) => None,
            (None, None) => Some(format!("the drain of {node} did not end in time: the log says why")),
        };
        let in_flight = drained.map_or(0, |report| if report.clean { 0 } else { report.left.in_flight });
        Self { in_flight, faults: fault.into_iter().collect() }
    }

    /// Both.
    pub(super) fn and(mut self, other: Self) -> Self {
        self.in_flight += other.in_flight;
        self.faults.extend(other.faults);
        self
    }

    /// What the process ends with: who watches it must learn of a partition that does no work any more.
    pub(super) fn done(self) -> Result<(), CommandError> {
        let Self { in_flight, faults } = self;
        match (faults.is_empty(), in_flight) {
            (true, 0) => Ok(()),
            (true, in_flight) => Err(CommandError::Unclean { in_flight }),
            (false, _) => Err(CommandError::Halted(faults.join("; "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::drain::Left;

    fn node(clean: bool, in_flight: usize, halted: Option<&str>) -> Stopped {
        let report = Report { clean, left: Left { in_flight, waiting: 3 } };
        let status = Status { halted: halted.map(str::to_owned), ..Status::default() };
        Stopped::of("runner", Some(report).filter(|_| halted.is_none()), &status)
    }

    fn said(stopped: Stopped) -> Option<String> {
        stopped.done().err().map(|error| error.to_string())
    }

    #[test]
    fn only_what_ended_in_good_order_ends_well() {
        assert_eq!(said(node(true, 0, None).and(node(true, 0, None))), None);
        let unclean = said(node(true, 0, None).and(node(false, 2, None))).expect("an error");
        assert!(unclean.contains("2 request(s)"), "{unclean}");
        let halted = said(node(false, 2, None).and(node(true, 0, Some("it panicked")))).expect("an error");
        assert_eq!(halted, "runner had stopped: it panicked");
        let silent = said(Stopped::of("runner", None, &Status::default())).expect("an error");
        assert!(silent.contains("did not end in time"), "{silent}");
    }
}
