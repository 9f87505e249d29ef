//! What reaches a saga instance by name: a timer of its that fired, a signal from outside.

use super::{DecodeError, agree};
use crate::wire::context::Context;
use crate::wire::headers::Headers;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::subject::Route;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const ENVELOPE: &str = "workflow event";

/// A message for one saga instance.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkflowEvent {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// Names the message for good: the timer, or the signal.
    pub id: CommandId,
    /// What happened.
    pub what: Occurrence,
    /// When it was sent, RFC 3339.
    pub timestamp: Option<String>,
    /// What it belongs to.
    pub context: Context,
}

/// What happened to a saga instance.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Occurrence {
    /// A timer of its fired.
    Reminder {
        /// The timer's name in the manifest.
        timer: Name,
        /// When it fell due, RFC 3339.
        due_at: String,
    },
    /// Somebody says something.
    Signal {
        /// The signal's name in the manifest.
        signal: Name,
        /// What came with it.
        #[serde(default)]
        payload: Value,
    },
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    tenant_id: Option<String>,
    #[serde(default)]
    saga: Option<String>,
    saga_correlation: EntityId,
    #[serde(flatten)]
    what: Occurrence,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

impl WorkflowEvent {
    /// Where it is published.
    #[must_use]
    pub fn route(&self) -> Route {
        Route::WorkflowEvent { tenant: self.tenant.clone(), saga: self.saga.clone(), id: self.id.clone() }
    }

    /// The message body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = Wire {
            tenant_id: Some(self.tenant.to_string()),
            saga: Some(self.saga.to_string()),
            saga_correlation: self.correlation.clone(),
            what: self.what.clone(),
            timestamp: self.timestamp.clone(),
        };
        serde_json::to_vec(&wire).expect("JSON values serialise")
    }

    /// Reads a message; `position` names it for what must be derived.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not a workflow event or contradicts its subject.
    pub fn decode(
        subject: &str,
        headers: &Headers,
        body: &[u8],
        position: &str,
    ) -> Result<Self, DecodeError> {
        let Some(Route::WorkflowEvent { tenant, saga, id }) = Route::parse(subject) else {
            return Err(DecodeError::Subject { envelope: ENVELOPE, subject: subject.to_owned() });
        };
        let wire: Wire =
            serde_json::from_slice(body).map_err(|error| DecodeError::malformed(ENVELOPE, &error))?;
        agree("tenant_id", wire.tenant_id.as_deref(), tenant.as_str())?;
        agree("saga", wire.saga.as_deref(), saga.as_str())?;
        Ok(Self {
            tenant,
            saga,
            correlation: wire.saga_correlation,
            id,
            what: wire.what,
            timestamp: wire.timestamp,
            context: Context::extract(|name| headers.get(name), position),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reminders_and_signals_come_back_and_agree_with_their_subject() {
        let name = |raw| Name::parse(raw).expect("name");
        let reminder =
            Occurrence::Reminder { timer: name("late"), due_at: "2026-11-21T05:14:00.000Z".into() };
        let signal = Occurrence::Signal { signal: name("hurry"), payload: serde_json::json!({ "a": [1] }) };
        for what in [reminder, signal] {
            let event = WorkflowEvent {
                tenant: TenantId::parse("acme").expect("tenant"),
                saga: name("checkout"),
                correlation: EntityId::parse("o.1").expect("id"),
                id: CommandId::parse("w-1").expect("id"),
                what,
                timestamp: None,
                context: Context::generate("t"),
            };
            let headers = event.context.headers(&event.tenant);
            let subject = event.route().subject();
            assert_eq!(subject.as_str(), "tenant.acme.workflow_event.checkout.w-1");
            let read = WorkflowEvent::decode(subject.as_str(), &headers, &event.encode(), "p");
            assert_eq!(read, Ok(event.clone()));
            let elsewhere = "tenant.acme.workflow_event.returns.w-1";
            assert!(WorkflowEvent::decode(elsewhere, &headers, &event.encode(), "p").is_err());
            assert!(WorkflowEvent::decode(subject.as_str(), &headers, b"{}", "p").is_err());
        }
    }
}
