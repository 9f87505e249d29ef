//! What waits to leave.

use crate::halt::Halt;
use crate::schedule::Timer;
use crate::store::Table;
use crate::time::{Now, Wall};
use crate::wire::context::Context;
use crate::wire::envelope::{Command, EffectCommand, EffectResult, Occurrence, SagaRef, WorkflowEvent};
use crate::wire::headers::{self, Headers};
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::stream::PlatformStream;
use crate::wire::subject::Route;
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
    #[must_use]
    pub fn lane(&self) -> String {
        match &self.origin {
            Origin::Command(WorkRef { tenant, saga, .. })
            | Origin::EffectCommand(WorkRef { tenant, saga, .. }) => {
                lane_of_instance(tenant, &saga.saga, &saga.correlation)
            }
            Origin::EffectResult { tenant, command_id } => {
                format!("e:{}:{}", tenant.token(), command_id.token())
            }
            Origin::Occurrence { tenant, schedule, .. } => format!("c:{}:{schedule}", tenant.token()),
            Origin::Reminder { tenant, timer_id } => format!("t:{}:{}", tenant.token(), timer_id.token()),
        }
    }

    /// Where it goes, for people: a subject.
    #[must_use]
    pub fn goes_to(&self) -> String {
        match &self.body {
            Body::Command(Command { tenant, aggregate, id, .. }) => {
                let (tenant, kind, id) = (tenant.clone(), aggregate.clone(), id.clone());
                Route::Aggregate { tenant, kind, id }.subject().to_string()
            }
            Body::Message { subject, .. } => subject.clone(),
        }
    }

    /// Whose it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        match &self.origin {
            Origin::Command(WorkRef { tenant, .. })
            | Origin::EffectCommand(WorkRef { tenant, .. })
            | Origin::EffectResult { tenant, .. }
            | Origin::Occurrence { tenant, .. }
            | Origin::Reminder { tenant, .. } => tenant,
        }
    }

    /// Where it goes.
    #[must_use]
    pub const fn target(&self) -> Target {
        match &self.body {
            Body::Command(_) => Target::Aggregates,
            Body::Message { stream: Destination::Commands, .. } => Target::Commands,
            Body::Message { stream: Destination::Events, .. } => Target::Events,
        }
    }
}

/// The lane of what a saga instance asks for.
#[must_use]
pub fn lane_of_instance(tenant: &TenantId, saga: &Name, correlation: &EntityId) -> String {
    format!("s:{}:{saga}:{}", tenant.token(), correlation.token())
}

/// Where entries go: what figures are kept by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Target {
    /// The aggregates.
    Aggregates,
    /// The stream of effect commands.
    Commands,
    /// The stream of effect results and reminders.
    Events,
}

impl Target {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Aggregates, Self::Commands, Self::Events];

    /// What a message on this stream is counted as.
    #[must_use]
    pub const fn of_stream(stream: PlatformStream) -> Self {
        match stream {
            PlatformStream::AggregateEvents => Self::Aggregates,
            PlatformStream::WorkflowCommands => Self::Commands,
            PlatformStream::WorkflowEvents => Self::Events,
        }
    }

    /// As metrics name it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aggregates => "aggregates",
            Self::Commands => "workflow_commands",
            Self::Events => "workflow_events",
        }
    }

    const fn tag(self) -> u8 {
        match self {
            Self::Aggregates => b'a',
            Self::Commands => b'c',
            Self::Events => b'e',
        }
    }
}

/// An entry as its row keeps it: a byte that says where it goes, the time in eight bytes, the entry as JSON.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// When it was decided.
    pub enqueued_at: Wall,
    /// What it is.
    pub entry: Entry,
}

impl Row {
    pub(super) fn encode(entry: &Entry, enqueued_at: Wall) -> Vec<u8> {
        let mut row = Vec::with_capacity(512);
        row.push(entry.target().tag());
        row.extend_from_slice(&enqueued_at.as_ms().to_be_bytes());
        serde_json::to_writer(&mut row, entry).expect("an entry serialises");
        row
    }

    /// Reads it back.
    ///
    /// # Errors
    /// When it is not such a row.
    pub fn decode(row: &[u8]) -> Result<Self, Halt> {
        let (_, rest) = row.split_first().ok_or_else(|| corrupt("an empty row"))?;
        let (at, entry) = rest.split_first_chunk::<8>().ok_or_else(|| corrupt("a row without its time"))?;
        let enqueued_at = Wall::from_ms(u64::from_be_bytes(*at));
        let entry = serde_json::from_slice(entry).map_err(|error| corrupt(&error.to_string()))?;
        Ok(Self { enqueued_at, entry })
    }

    /// Where it goes, without reading the rest.
    pub(super) fn target(row: &[u8]) -> Result<Target, Halt> {
        let tag = row.first().copied();
        Target::ALL
            .into_iter()
            .find(|target| Some(target.tag()) == tag)
            .ok_or_else(|| corrupt("a row that does not say where it goes"))
    }
}

pub(super) fn corrupt(detail: &str) -> Halt {
    Halt::Corrupt { table: Table::Outbox, detail: detail.to_owned() }
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
