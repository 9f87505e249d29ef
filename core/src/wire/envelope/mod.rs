//! The five envelopes: aggregate events, effect commands, effect results, workflow events, and gateway commands.
//!
//! JSON, tolerant: unknown fields are ignored and optional ones may be missing. What is *not* tolerated is an envelope
//! that contradicts its subject, because the subject is what authorisation and filters looked at (INV-WIR-2).
//!
//! | envelope | travels | type |
//! |---|---|---|
//! | aggregate events: all events of one command, one message | `AGGREGATE_EVENTS` | [`EventMessage`] |
//! | effect command | `WORKFLOW_COMMANDS` | [`EffectCommand`] |
//! | effect result | `WORKFLOW_EVENTS` | [`EffectResult`] |
//! | reminder or signal for a saga instance | `WORKFLOW_EVENTS` | [`WorkflowEvent`] |
//! | gateway command | gRPC `CommandService`, HTTP | [`Command`] |

mod aggregate_event;
mod command;
mod effect;
mod workflow_event;

pub use aggregate_event::{COMMAND_REFUSED, Event, EventMessage};
pub use command::Command;
pub use effect::{EffectCommand, EffectOutcome, EffectResult, SagaRef};
pub use workflow_event::{Occurrence, WorkflowEvent};

use thiserror::Error;

/// Largest message we publish: the broker's default `max_payload` (1 MiB) less room for headers.
pub const MESSAGE_BYTES_MAX: usize = (1 << 20) - (64 << 10);

/// Largest payload of one command, effect or event; several events of one command share a message.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// Why a message cannot be read. It will never be readable: its key is quarantined.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// Not JSON, or a required field is missing or of the wrong type.
    #[error("not a readable {envelope}: {detail}")]
    Malformed {
        /// Which envelope was expected.
        envelope: &'static str,
        /// What the parser said.
        detail: String,
    },
    /// The envelope contradicts the subject it came on.
    #[error("`{field}` is {in_envelope:?}, but the subject says {in_subject:?}")]
    Contradiction {
        /// The field.
        field: &'static str,
        /// Its value in the envelope.
        in_envelope: String,
        /// Its value in the subject.
        in_subject: String,
    },
    /// The subject is not one of ours.
    #[error("subject {subject:?} is not a {envelope} subject")]
    Subject {
        /// Which envelope was expected.
        envelope: &'static str,
        /// The subject.
        subject: String,
    },
}

impl DecodeError {
    fn malformed(envelope: &'static str, error: &serde_json::Error) -> Self {
        Self::Malformed { envelope, detail: error.to_string() }
    }
}

/// Fails when the envelope has the field and it is not what the subject says.
fn agree(field: &'static str, in_envelope: Option<&str>, in_subject: &str) -> Result<(), DecodeError> {
    match in_envelope {
        Some(value) if value != in_subject => Err(DecodeError::Contradiction {
            field,
            in_envelope: value.chars().take(80).collect(),
            in_subject: in_subject.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}
