//! Occurrences of schedules: where they go, and where their ends come from.
//!
//! | target | on its way | it has ended |
//! |---|---|---|
//! | saga | joins the instance in the same commit | when the instance has |
//! | command | outbox | when it is answered |
//! | effect | outbox, or the ledger in the same commit | when its result is there |

use super::{Config, Effect, Input, Runner};
use crate::cx::Cx;
use crate::manifest::{FilledTarget, ScheduleDef, Trigger};
use crate::marks::Mark;
use crate::outbox::{End, Entry, Origin, Settlement};
use crate::saga::{HandOver, Happened, Incoming};
use crate::schedule::recurring::{self, Occurrence};
use crate::time::Now;
use crate::wire::context::Context;
use crate::wire::envelope::{Command, EffectCommand};
use crate::wire::id::{CommandId, TenantId};
use serde_json::json;
use std::sync::Arc;

/// What an occurrence asked for has ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OccurrenceEnded {
    /// Whose.
    pub tenant: TenantId,
    /// The occurrence.
    pub id: CommandId,
    /// Why it was refused, if it was.
    pub error: Option<String>,
}

pub(super) fn config(config: &Config) -> recurring::Config {
    let own = |schedule: &ScheduleDef| {
        let tenants: Vec<TenantId> =
            schedule.tenants.iter().filter(|tenant| config.tenants.has(tenant)).cloned().collect();
        (!tenants.is_empty()).then(|| Arc::new(ScheduleDef { tenants, ..schedule.clone() }))
    };
    let definitions = config.schedules.iter();
    recurring::Config {
        definitions: definitions.filter_map(|(name, def)| Some((name.clone(), own(def)?))).collect(),
        limits: config.schedule_limits,
        gas_max: config.gas_max,
        quirks: config.quirks,
    }
}

/// What the end of an outbox entry means to the occurrence that it left for, if that is its end.
pub(super) fn ended(settlement: &Settlement) -> Option<OccurrenceEnded> {
    let Origin::Occurrence { tenant, id, .. } = &settlement.origin else { return None };
    let error = match &settlement.end {
        End::Accepted(_) => None,
        // The effect is asked for; its end is a result that comes later.
        End::Published { .. } => return None,
        End::Refused(refusal) => Some(format!("refused: {}: {}", refusal.code, refusal.message)),
    };
    Some(OccurrenceEnded { tenant: tenant.clone(), id: id.clone(), error })
}

impl Runner {
    pub(super) fn on_occurrence(&self, now: Now, occurrence: Occurrence, cx: &mut Cx<'_, Input, Effect>) {
        let Occurrence { id, schedule, tenant, seen, target } = occurrence;
        let context = Context::generate(id.as_str()).caused_by(id.as_str());
        cx.then(match target {
            FilledTarget::Saga { saga, correlation, payload } => {
                let definition = self.sagas.definitions().get(&saga);
                let happened = Happened {
                    starts: definition.is_some_and(|def| def.starts_on_schedules.contains(&schedule)),
                    tenant,
                    saga,
                    correlation,
                    cause: format!("schedule/{id}"),
                    // So few begin with a schedule that the order of their work on disk does not matter.
                    at: None,
                    stream_seq: None,
                    event: json!({
                        "type": format!("schedule.{schedule}"),
                        "schedule": schedule,
                        "occurrence": seen,
                        "payload": payload,
                    }),
                    trigger: Trigger::Schedule { schedule },
                    context,
                };
                Input::SagaReceived(Incoming::Happened(Box::new(happened)))
            }
            FilledTarget::Command { aggregate, id: aggregate_id, command: name, payload } => {
                let command_id = id;
                let command = Command {
                    tenant,
                    aggregate,
                    id: aggregate_id,
                    name,
                    payload,
                    command_id,
                    context,
                    record_refusal: true,
                };
                Input::Enqueued(Box::new(Entry::occurrence(schedule, command)))
            }
            FilledTarget::Effect { effect, payload } => {
                let command = EffectCommand {
                    tenant,
                    effect,
                    command_id: id,
                    payload,
                    saga: None,
                    timestamp: Some(now.wall.rfc3339()),
                    context,
                };
                match self.config.mode.hand_over() {
                    HandOver::Broker => {
                        Input::Enqueued(Box::new(Entry::occurrence_effect(schedule, &command)))
                    }
                    HandOver::Commit => Input::EffectHandedOver(Box::new(command)),
                }
            }
        });
    }

    pub(super) fn on_occurrence_ended(
        &mut self,
        now: Now,
        ended: &OccurrenceEnded,
        cx: &mut Cx<'_, Input, Effect>,
    ) {
        let OccurrenceEnded { tenant, id, error } = ended;
        if !self.recurring.ended(now, tenant, id, error.as_deref(), cx) {
            // Another occurrence has taken its place, or nobody here asked for it.
            cx.mark(Mark::SagaUncorrelated);
        }
    }
}
