//! Effect commands and their results.
//!
//! A command names its effect, carries its payload, and remembers which saga instance is waiting; the result carries
//! that memory back, so that nobody needs a table to route it.

use super::{DecodeError, agree};
use crate::wire::context::Context;
use crate::wire::headers::Headers;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use crate::wire::subject::Route;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The saga instance and work item that wait for a result.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SagaRef {
    /// The saga.
    pub saga: Name,
    /// What the instance is correlated by.
    pub correlation: EntityId,
    /// The work item.
    pub work: Name,
}

/// A request to do something outside, once.
#[derive(Clone, PartialEq, Debug)]
pub struct EffectCommand {
    /// Whose.
    pub tenant: TenantId,
    /// The effect.
    pub effect: Name,
    /// Its name for good, and the idempotency key the outside sees.
    pub command_id: CommandId,
    /// With what.
    pub payload: Value,
    /// Who waits for the result.
    pub saga: Option<SagaRef>,
    /// When it was asked for, RFC 3339.
    pub timestamp: Option<String>,
    /// What it belongs to.
    pub context: Context,
}

/// How an effect ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectOutcome {
    /// It was done.
    Succeeded,
    /// It was definitely refused.
    Failed,
}

/// The end of an effect, for the saga that waits and for anybody who listens.
#[derive(Clone, PartialEq, Debug)]
pub struct EffectResult {
    /// Whose.
    pub tenant: TenantId,
    /// The effect.
    pub effect: Name,
    /// The command it answers.
    pub command_id: CommandId,
    /// How it ended.
    pub outcome: EffectOutcome,
    /// What the outside said.
    pub payload: Value,
    /// Who waits for it.
    pub saga: Option<SagaRef>,
    /// When it ended, RFC 3339.
    pub timestamp: Option<String>,
    /// What it belongs to.
    pub context: Context,
}

#[derive(Serialize, Deserialize, Default)]
struct Metadata {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    saga: Option<SagaRef>,
}

#[derive(Serialize, Deserialize)]
struct CommandWire {
    #[serde(default)]
    tenant_id: Option<String>,
    #[serde(default)]
    command_id: Option<String>,
    #[serde(default)]
    effect_name: Option<String>,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct ResultWire {
    #[serde(default)]
    tenant_id: Option<String>,
    #[serde(default)]
    command_id: Option<String>,
    #[serde(default)]
    effect_name: Option<String>,
    result_type: EffectOutcome,
    #[serde(default)]
    payload: Value,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timestamp: Option<String>,
}

impl EffectCommand {
    /// Where it is published.
    #[must_use]
    pub fn route(&self) -> Route {
        Route::Effect {
            tenant: self.tenant.clone(),
            effect: self.effect.clone(),
            command: self.command_id.clone(),
        }
    }

    /// The message body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = CommandWire {
            tenant_id: Some(self.tenant.to_string()),
            command_id: Some(self.command_id.to_string()),
            effect_name: Some(self.effect.to_string()),
            payload: self.payload.clone(),
            metadata: Metadata { saga: self.saga.clone() },
            timestamp: self.timestamp.clone(),
        };
        serde_json::to_vec(&wire).expect("JSON values serialise")
    }

    /// Reads a message; `position` names it for what must be derived.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not an effect command or contradicts its subject.
    pub fn decode(
        subject: &str,
        headers: &Headers,
        body: &[u8],
        position: &str,
    ) -> Result<Self, DecodeError> {
        let Some(Route::Effect { tenant, effect, command }) = Route::parse(subject) else {
            return Err(DecodeError::Subject { envelope: "effect command", subject: subject.to_owned() });
        };
        let wire: CommandWire =
            serde_json::from_slice(body).map_err(|error| DecodeError::malformed("effect command", &error))?;
        agree("tenant_id", wire.tenant_id.as_deref(), tenant.as_str())?;
        agree("effect_name", wire.effect_name.as_deref(), effect.as_str())?;
        agree("command_id", wire.command_id.as_deref(), command.as_str())?;
        Ok(Self {
            tenant,
            effect,
            command_id: command,
            payload: wire.payload,
            saga: wire.metadata.saga,
            timestamp: wire.timestamp,
            context: Context::extract(|name| headers.get(name), position),
        })
    }
}

impl EffectResult {
    /// Where it is published.
    #[must_use]
    pub fn route(&self) -> Route {
        Route::EffectResult {
            tenant: self.tenant.clone(),
            effect: self.effect.clone(),
            command: self.command_id.clone(),
        }
    }

    /// The message body.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let wire = ResultWire {
            tenant_id: Some(self.tenant.to_string()),
            command_id: Some(self.command_id.to_string()),
            effect_name: Some(self.effect.to_string()),
            result_type: self.outcome,
            payload: self.payload.clone(),
            metadata: Metadata { saga: self.saga.clone() },
            timestamp: self.timestamp.clone(),
        };
        serde_json::to_vec(&wire).expect("JSON values serialise")
    }

    /// Reads a message; `position` names it for what must be derived.
    ///
    /// # Errors
    /// [`DecodeError`] when it is not an effect result or contradicts its subject.
    pub fn decode(
        subject: &str,
        headers: &Headers,
        body: &[u8],
        position: &str,
    ) -> Result<Self, DecodeError> {
        let Some(Route::EffectResult { tenant, effect, command }) = Route::parse(subject) else {
            return Err(DecodeError::Subject { envelope: "effect result", subject: subject.to_owned() });
        };
        let wire: ResultWire =
            serde_json::from_slice(body).map_err(|error| DecodeError::malformed("effect result", &error))?;
        agree("tenant_id", wire.tenant_id.as_deref(), tenant.as_str())?;
        agree("effect_name", wire.effect_name.as_deref(), effect.as_str())?;
        agree("command_id", wire.command_id.as_deref(), command.as_str())?;
        Ok(Self {
            tenant,
            effect,
            command_id: command,
            outcome: wire.result_type,
            payload: wire.payload,
            saga: wire.metadata.saga,
            timestamp: wire.timestamp,
            context: Context::extract(|name| headers.get(name), position),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_and_result_come_back_and_keep_who_waits() {
        let name = |raw| Name::parse(raw).expect("name");
        let command = EffectCommand {
            tenant: TenantId::parse("acme").expect("tenant"),
            effect: name("charge"),
            command_id: CommandId::parse("w-1").expect("id"),
            payload: serde_json::json!({ "cents": 5 }),
            saga: Some(SagaRef {
                saga: name("checkout"),
                correlation: EntityId::parse("o-1").expect("id"),
                work: name("charge"),
            }),
            timestamp: None,
            context: Context::generate("t"),
        };
        let headers = command.context.headers(&command.tenant);
        let subject = command.route().subject();
        assert_eq!(
            EffectCommand::decode(subject.as_str(), &headers, &command.encode(), "p"),
            Ok(command.clone())
        );
        let result = EffectResult {
            tenant: command.tenant.clone(),
            effect: command.effect.clone(),
            command_id: command.command_id.clone(),
            outcome: EffectOutcome::Failed,
            payload: Value::Null,
            saga: command.saga.clone(),
            timestamp: None,
            context: command.context.clone(),
        };
        let subject = result.route().subject();
        assert_eq!(EffectResult::decode(subject.as_str(), &headers, &result.encode(), "p"), Ok(result));
        assert!(
            EffectCommand::decode("tenant.acme.effect.ship.w-1", &headers, &command.encode(), "p").is_err()
        );
        assert!(EffectResult::decode(subject.as_str(), &headers, b"{}", "p").is_err());
    }
}
