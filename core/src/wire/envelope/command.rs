//! A command for an aggregate, as the gateway hands it on.

use crate::wire::context::Context;
use crate::wire::id::{CommandId, EntityId, Name, TenantId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A wish. Its id names it for good: submitting it twice gives the same answer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Command {
    /// Whose.
    pub tenant: TenantId,
    /// The aggregate type.
    pub aggregate: Name,
    /// The aggregate id.
    pub id: EntityId,
    /// What to do.
    pub name: Name,
    /// With what.
    #[serde(default)]
    pub payload: Value,
    /// Its name for good.
    pub command_id: CommandId,
    /// What it belongs to.
    pub context: Context,
    /// Whether a refusal is to be recorded in the aggregate's history: whoever acts on it, as a saga does, needs it to be
    /// the same whoever is asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record_refusal: bool,
}
