//! What waits to leave.

use crate::halt::Halt;
use crate::schedule::Timer;
use crate::store::Table;
use crate::time::Now;
use crate::wire::context::Context;
use crate::wire::envelope::{Command, EffectCommand, EffectResult, Occurrence, SagaRef, WorkflowEvent};
use crate::wire::headers::{self, Headers};
use crate::wire::id::{CommandId, Name, TenantId};
use crate::wire::stream::PlatformStream;
use serde::{Deserialize, Serialize};

/// One entry.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Who asked for it.
    pub origin: Origin,
    /// What it is.
    pub body: Body,
}

/// Who asked for an entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A saga instance, for a command of its.
    Command(WorkRef),
    /// A saga instance, for an effect of its.
    EffectCommand(WorkRef),
    /// An effect that ended.
    EffectResult {
        /// Whose.
        tenant: TenantId,
        /// The command it answers.
        command_id: CommandId,
    },
    /// An occurrence of a schedule.
    Occurrence {
        /// Whose.
        tenant: TenantId,
        /// The schedule.
        schedule: Name,
        /// The occurrence.
        id: CommandId,
    },
    /// A timer that fired.
    Reminder {
        /// Whose.
        tenant: TenantId,
        /// The timer.
        timer_id: CommandId,
    },
}

/// A work item of a saga instance.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct WorkRef {
    /// Whose.
    pub tenant: TenantId,
    /// Which instance, which item.
    pub saga: SagaRef,
    /// The id of the work.
    pub work_id: CommandId,
}

/// What leaves.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    /// A command for an aggregate.
    Command(Command),
    /// A message for a stream.
    Message {
        /// The stream.
        stream: Destination,
        /// A subject that nothing else is published on.
        subject: String,
        /// Whose.
        tenant: TenantId,
        /// What it belongs to.
        context: Context,
        /// JSON.
        payload: String,
    },
}

/// The streams a relay publishes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Destination {
    /// Effect commands.
    Commands,
    /// Effect results and reminders.
    Events,
}

impl Destination {
    pub(super) const fn stream(self) -> PlatformStream {
        match self {
            Self::Commands => PlatformStream::WorkflowCommands,
            Self::Events => PlatformStream::WorkflowEvents,
        }
    }
}

impl Entry {
    /// A saga's command for an aggregate.
    #[must_use]
    pub fn command(saga: SagaRef, command: Command) -> Self {
        let work = WorkRef { tenant: command.tenant.clone(), saga, work_id: command.command_id.clone() };
        Self { origin: Origin::Command(work), body: Body::Command(command) }
    }

    /// A saga's command for an effect.
    #[must_use]
    pub fn effect(saga: SagaRef, command: &EffectCommand) -> Self {
        let work = WorkRef { tenant: command.tenant.clone(), saga, work_id: command.command_id.clone() };
        Self { origin: Origin::EffectCommand(work), body: effect_message(command) }
    }

    /// The result of an effect.
    #[must_use]
    pub fn result(result: &EffectResult) -> Self {
        let origin =
            Origin::EffectResult { tenant: result.tenant.clone(), command_id: result.command_id.clone() };
        let body = Body::Message {
            stream: Destination::Events,
            subject: result.route().subject().to_string(),
            tenant: result.tenant.clone(),
            context: result.context.clone(),
            payload: String::from_utf8(result.encode()).expect("JSON is text"),
        };
        Self { origin, body }
    }

    /// A command of an occurrence for an aggregate.
    #[must_use]
    pub fn occurrence(schedule: Name, command: Command) -> Self {
        let (tenant, id) = (command.tenant.clone(), command.command_id.clone());
        Self { origin: Origin::Occurrence { tenant, schedule, id }, body: Body::Command(command) }
    }

    /// A command of an occurrence for an effect.
    #[must_use]
    pub fn occurrence_effect(schedule: Name, command: &EffectCommand) -> Self {
        let (tenant, id) = (command.tenant.clone(), command.command_id.clone());
        Self { origin: Origin::Occurrence { tenant, schedule, id }, body: effect_message(command) }
    }

    /// A timer that fired, on its way to its saga instance.
    #[must_use]
    pub fn reminder(now: Now, timer: Timer) -> Self {
        let origin = Origin::Reminder { tenant: timer.tenant.clone(), timer_id: timer.id.clone() };
        let event = WorkflowEvent {
            what: Occurrence::Reminder { timer: timer.name, due_at: timer.due.rfc3339() },
            context: timer.context.caused_by(timer.id.as_str()),
            tenant: timer.tenant,
            saga: timer.saga,
            correlation: timer.correlation,
            id: timer.id,
            timestamp: Some(now.wall.rfc3339()),
        };
        let body = Body::Message {
            stream: Destination::Events,
            subject: event.route().subject().to_string(),
            payload: String::from_utf8(event.encode()).expect("JSON is text"),
            tenant: event.tenant,
            context: event.context,
        };
        Self { origin, body }
    }

    /// Entries of one lane leave in order: one saga instance, one effect command, one schedule, or one timer. A reminder does not wait
    /// behind the work of its instance, which it may be there to give up.
    pub(super) fn lane(&self) -> String {
        match &self.origin {
            Origin::Command(WorkRef { tenant, saga, .. })
            | Origin::EffectCommand(WorkRef { tenant, saga, .. }) => {
                format!("s:{}:{}:{}", tenant.token(), saga.saga, saga.correlation.token())
            }
            Origin::EffectResult { tenant, command_id } => {
                format!("e:{}:{}", tenant.token(), command_id.token())
            }
            Origin::Occurrence { tenant, schedule, .. } => format!("c:{}:{schedule}", tenant.token()),
            Origin::Reminder { tenant, timer_id } => format!("t:{}:{}", tenant.token(), timer_id.token()),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an entry serialises")
    }

    pub(super) fn decode(row: &[u8]) -> Result<Self, Halt> {
        serde_json::from_slice(row)
            .map_err(|error| Halt::Corrupt { table: Table::Outbox, detail: error.to_string() })
    }
}

fn effect_message(command: &EffectCommand) -> Body {
    Body::Message {
        stream: Destination::Commands,
        subject: command.route().subject().to_string(),
        tenant: command.tenant.clone(),
        context: command.context.clone(),
        payload: String::from_utf8(command.encode()).expect("JSON is text"),
    }
}

/// The headers of a message that must be the first on its subject.
///
/// The subject names the entry, so it is the message id too: the same in every attempt and every life.
pub(super) fn message_headers(
    tenant: &TenantId,
    context: &Context,
    stream: PlatformStream,
    subject: &str,
) -> Headers {
    let mut out = context.headers(tenant);
    out.append(headers::NATS_MSG_ID, subject);
    out.append(headers::NATS_EXPECTED_STREAM, stream.name());
    out.append(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    out
}
