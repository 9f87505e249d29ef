//! All events of one command, as one message: either every one of them is in the log or none.
//!
//! The first event sits at the top level, where consumers that know only single events look for it; the rest follow in
//! `further_events`. Versions count events: the first has `version`, the next `version + 1`, and so on.

use super::{DecodeError, agree};
use crate::wire::context::{Context, TraceParent};
use crate::wire::headers::Headers;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::subject::Route;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Event {
    /// What happened.
    #[serde(rename = "event_type")]
    pub kind: Name,
    /// Its data.
    #[serde(default)]
    pub payload: Value,
}

/// The events of one command.
#[derive(Clone, PartialEq, Debug)]
pub struct EventMessage {
    /// Whose.
    pub tenant: TenantId,
    /// The aggregate type.
    pub aggregate: Name,
    /// The aggregate id.
    pub id: EntityId,
    /// Version of the first event; zero when the producer does not count.
    pub version: u64,
    /// At least one.
    pub events: Vec<Event>,
    /// The command that caused them.
    pub command_id: Option<CommandId>,
    /// When, RFC 3339, by the producer's clock. Never a basis for decisions.
    pub timestamp: Option<String>,
    /// What it belongs to.
    pub context: Context,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aggregate_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    aggregate_id: Option<String>,
    #[serde(default)]
    version: u64,
    #[serde(flatten)]
    first: Event,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    further_events: Vec<Event>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    command_id: Option<CommandId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    correlation_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    traceparent: Option<String>,
}

impl EventMessage {
    /// Where it is published.
    #[must_use]
    pub fn route(&self) -> Route {
        Route::Aggregate { tenant: self.tenant.clone(), kind: self.aggregate.clone(), id: self.id.clone() }
    }

    /// Version of the last event.
    #[must_use]
    pub fn last_version(&self) -> u64 {
        self.version + (self.events.len() as u64).saturating_sub(1)
    }

    /// The message body.
    ///
    /// # Panics
    /// When there is no event: nothing may build such a message.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (first, further) = self.events.split_first().expect("a message has at least one event");
        let wire = Wire {
            tenant_id: Some(self.tenant.to_string()),
            aggregate_type: Some(self.aggregate.to_string()),
            aggregate_id: Some(self.id.to_string()),
            version: self.version,
            first: first.clone(),
            further_events: further.to_vec(),
            command_id: self.command_id.clone(),
            timestamp: self.timestamp.clone(),
            correlation_id: Some(self.context.correlation_id.clone()),
            traceparent: self.context.traceparent.as_ref().map(|parent| parent.as_str().to_owned()),
        };
        serde_json::to_vec(&wire).expect("JSON values serialise")
    }

    /// Reads a message; `position` names it for what must be derived, `stream:sequence`.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not an event message or contradicts its subject.
    pub fn decode(
        subject: &str,
        headers: &Headers,
        body: &[u8],
        position: &str,
    ) -> Result<Self, DecodeError> {
        let Some(Route::Aggregate { tenant, kind, id }) = Route::parse(subject) else {
            return Err(DecodeError::Subject { envelope: "aggregate event", subject: subject.to_owned() });
        };
        let wire: Wire = serde_json::from_slice(body)
            .map_err(|error| DecodeError::malformed("aggregate event", &error))?;
        agree("tenant_id", wire.tenant_id.as_deref(), tenant.as_str())?;
        agree("aggregate_type", wire.aggregate_type.as_deref(), kind.as_str())?;
        agree("aggregate_id", wire.aggregate_id.as_deref(), id.as_str())?;
        let mut context = Context::extract(|name| headers.get(name), position);
        if headers.is_empty() {
            if let Some(correlation) = wire.correlation_id.filter(|id| !id.is_empty()) {
                context.correlation_id = correlation;
            }
            context.traceparent = wire.traceparent.and_then(|raw| TraceParent::parse(&raw).ok());
        }
        let mut events = Vec::with_capacity(1 + wire.further_events.len());
        events.push(wire.first);
        events.extend(wire.further_events);
        Ok(Self {
            tenant,
            aggregate: kind,
            id,
            version: wire.version,
            events,
            command_id: wire.command_id,
            timestamp: wire.timestamp,
            context,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message() -> EventMessage {
        let event = |kind: &str| Event {
            kind: Name::parse(kind).expect("name"),
            payload: serde_json::json!({ "sku": "tea" }),
        };
        EventMessage {
            tenant: TenantId::parse("acme").expect("tenant"),
            aggregate: Name::parse("order").expect("name"),
            id: EntityId::parse("o.1").expect("id"),
            version: 3,
            events: vec![event("placed"), event("priced")],
            command_id: Some(CommandId::parse("c-1").expect("id")),
            timestamp: Some("2026-11-21T00:00:00.000Z".into()),
            context: Context::generate("test"),
        }
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let message = message();
        let headers = message.context.headers(&message.tenant);
        let subject = message.route().subject();
        let decoded = EventMessage::decode(subject.as_str(), &headers, &message.encode(), "p");
        assert_eq!(decoded, Ok(message.clone()));
        assert_eq!(message.last_version(), 4);
    }

    #[test]
    fn a_number_comes_back_as_it_was() {
        let mut message = message();
        let digits = "13333333333333333333333333333333333333333";
        message.events[0].payload = serde_json::from_str(digits).expect("a number");
        let headers = message.context.headers(&message.tenant);
        let decoded =
            EventMessage::decode(message.route().subject().as_str(), &headers, &message.encode(), "p");
        assert_eq!(decoded, Ok(message), "found by fuzzing: one unit in the last place got lost");
    }

    #[test]
    fn unknown_fields_are_ignored_and_missing_ones_tolerated() {
        let body = br#"{"event_type":"placed","payload":{"a":1},"new_in_2030":[1,2]}"#;
        let decoded =
            EventMessage::decode("tenant.acme.aggregate.order.o-1", &Headers::default(), body, "S:1")
                .expect("readable");
        assert_eq!(decoded.version, 0);
        assert_eq!(decoded.events.len(), 1);
        assert_eq!(decoded.context, Context::generate("S:1"));
    }

    #[test]
    fn an_envelope_may_not_contradict_its_subject() {
        let message = message();
        let error = EventMessage::decode(
            "tenant.evil.aggregate.order.o=2E1",
            &Headers::default(),
            &message.encode(),
            "p",
        )
        .expect_err("refused");
        assert_eq!(error.to_string(), "`tenant_id` is \"acme\", but the subject says \"evil\"");
        assert!(EventMessage::decode("tenant.acme.effect.x.y", &Headers::default(), b"{}", "p").is_err());
    }

    proptest! {
        #[test]
        fn decoding_never_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = EventMessage::decode("tenant.a.aggregate.b.c", &Headers::default(), &body, "p");
        }
    }
}
