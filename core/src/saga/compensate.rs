//! Compensation: undo what was done or may have been, last first, one at a time, after what is in flight has ended.
//!
//! "May have been" is settled by waiting: every work item ends in a definite answer, however often it must be tried.

use super::instance::{Instance, Status, WorkState};
use super::transition::{Sagas, Subject, program_cause};
use super::{TimerChange, Wanted};
use crate::cx::Cx;
use crate::marks::Mark;
use crate::program::Gas;
use crate::program::contract;
use crate::quarantine::Cause;
use crate::quirks::Quirk;
use crate::time::Now;
use serde_json::Value;

impl Sagas {
    /// Begins to undo, because of an event.
    pub(super) fn undo<I, E>(
        &self,
        now: Now,
        subject: &Subject<'_>,
        instance: &mut Instance,
        event: Value,
        timers: &mut Vec<TimerChange>,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Vec<Wanted>, Cause> {
        instance.status = Status::Compensating { event, remaining: instance.works.len() };
        instance.release_timers(subject, timers);
        self.continue_compensation(now, subject, instance, cx)
    }

    /// Takes the next step of undoing, if nothing is in flight.
    pub(super) fn continue_compensation<I, E>(
        &self,
        now: Now,
        subject: &Subject<'_>,
        instance: &mut Instance,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Vec<Wanted>, Cause> {
        let Status::Compensating { event, remaining } = &instance.status else { return Ok(Vec::new()) };
        let (event, mut remaining) = (event.clone(), *remaining);
        let in_flight = instance.works.iter().any(|work| work.state == WorkState::InFlight);
        if in_flight && !self.config.quirks.has(Quirk::SagaForgetInFlight) {
            cx.mark(Mark::SagaCompensationWaited);
            return Ok(Vec::new());
        }
        let works = instance.works.iter().filter(|work| !work.compensates).count();
        while remaining > 0 {
            remaining -= 1;
            let at = if self.config.quirks.has(Quirk::SagaCompensateForwards) {
                works.saturating_sub(1).saturating_sub(remaining)
            } else {
                remaining
            };
            let Some(work) = instance.works.get(at) else { continue };
            if work.compensates || work.state != WorkState::Done {
                continue;
            }
            let Some(program) = subject.definition.compensation.get(&work.name) else { continue };
            let mut gas = Gas::new(self.config.gas_max);
            let items = contract::compensate(program, &instance.state, &event, &mut gas)
                .map_err(|error| program_cause(subject.saga, &error))?;
            if items.is_empty() {
                continue;
            }
            // The step that is undone is part of the cause: two steps undone by one event ask for different work.
            let cause = format!("{}/undo/{}", subject.cause, work.id);
            let undo = Subject { cause: &cause, ..*subject };
            let entries = self.ask(now, &undo, instance, items, true)?;
            instance.status = Status::Compensating { event, remaining };
            return Ok(entries);
        }
        cx.mark(Mark::SagaCompensated);
        instance.status = Status::Compensated;
        Ok(Vec::new())
    }
}
