//! One occurrence of a schedule: why it fires, its id, what templates see of it, and what it does.
//!
//! | fires because of | its id derives from tenant, schedule and |
//! |---|---|
//! | the calendar | its time |
//! | an operator, now | the key of the request |
//! | an operator, for a time that has passed | the key of the request, and its time |
//!
//! No two of these ids collide: what an operator asks for fires beside what the calendar has fired for the
//! same time. Asking again under the same key names the same occurrence. Not here: whether it fires.

use super::schedule::{ScheduleDef, ScheduleTarget};
use crate::program::{Gas, ProgramError};
use crate::time::Wall;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use serde_json::{Value, json};

/// Why an occurrence fires.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FiredBy<'k> {
    /// It is due.
    Calendar,
    /// An operator asked for one now, under this key.
    Trigger(&'k CommandId),
    /// An operator asked for those of a time that has passed, under this key.
    Backfill(&'k CommandId),
}

impl FiredBy<'_> {
    /// As templates see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calendar => "calendar",
            Self::Trigger(_) => "trigger",
            Self::Backfill(_) => "backfill",
        }
    }
}

/// What a schedule does, filled in for one occurrence.
#[derive(Clone, PartialEq, Debug)]
pub enum FilledTarget {
    /// Something for an instance of a saga.
    Saga {
        /// The saga.
        saga: Name,
        /// The instance.
        correlation: EntityId,
        /// What comes with it.
        payload: Value,
    },
    /// A command.
    Command {
        /// The aggregate type.
        aggregate: Name,
        /// The aggregate.
        id: EntityId,
        /// The command.
        command: Name,
        /// What comes with it.
        payload: Value,
    },
    /// An effect.
    Effect {
        /// The effect.
        effect: Name,
        /// What comes with it.
        payload: Value,
    },
}

impl ScheduleDef {
    /// The id of an occurrence: the same in every life, and another one for everything else that fires.
    #[must_use]
    pub fn occurrence_id(&self, tenant: &TenantId, due: Wall, by: FiredBy<'_>) -> CommandId {
        let (tenant, name, due) = (tenant.as_str(), self.name.as_str(), due.as_ms().to_string());
        match by {
            FiredBy::Calendar => CommandId::derive(&["schedule", tenant, name, &due]),
            FiredBy::Trigger(key) => CommandId::derive(&["schedule/trigger", tenant, name, key.as_str()]),
            FiredBy::Backfill(key) => {
                CommandId::derive(&["schedule/backfill", tenant, name, key.as_str(), &due])
            }
        }
    }

    /// An occurrence as templates see it.
    #[must_use]
    pub fn occurrence(&self, tenant: &TenantId, due: Wall, by: FiredBy<'_>) -> Value {
        let local = self.cadence.local(due);
        json!({
            "id": self.occurrence_id(tenant, due, by),
            "schedule": self.name,
            "tenant_id": tenant,
            "due_at": due.rfc3339(),
            "date": local.get(..10).unwrap_or_default(),
            "local": local,
            "by": by.as_str(),
        })
    }

    /// What an occurrence does.
    ///
    /// # Errors
    /// [`ProgramError`] when an expression fails, or an id does not come out as one.
    pub fn fill(&self, occurrence: &Value, gas: &mut Gas) -> Result<FilledTarget, ProgramError> {
        let inputs = &[("occurrence", occurrence)];
        let output = |detail: String| ProgramError::Output { detail };
        let entity = |what: &str, value: &Value| {
            let text = value.as_str().ok_or_else(|| output(format!("{what} is {value}, not text")))?;
            EntityId::parse(text).map_err(|error| output(format!("{what}: {error}")))
        };
        Ok(match &self.target {
            ScheduleTarget::Saga { saga, correlation, payload } => FilledTarget::Saga {
                saga: saga.clone(),
                correlation: match correlation {
                    Some(filling) => entity("the correlation", &filling.run(inputs, gas)?)?,
                    None => entity("the correlation", &occurrence["id"])?,
                },
                payload: payload.run(inputs, gas)?,
            },
            ScheduleTarget::Command { aggregate, id, command, payload } => FilledTarget::Command {
                aggregate: aggregate.clone(),
                id: entity("the id of the aggregate", &id.run(inputs, gas)?)?,
                command: command.clone(),
                payload: payload.run(inputs, gas)?,
            },
            ScheduleTarget::Effect { effect, payload } => {
                FilledTarget::Effect { effect: effect.clone(), payload: payload.run(inputs, gas)? }
            }
        })
    }
}
