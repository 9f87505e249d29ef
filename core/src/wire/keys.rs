//! Store keys, composed in one place.
//!
//! Components are [`token`]s joined by `:`, which no token contains: two tuples never share a key. The
//! longest composition stays within [`KEY_BYTES_MAX`](crate::store::KEY_BYTES_MAX); a test adds up the limits.
//! Ordered indexes use eight big-endian bytes instead.

use super::id::{CommandId, EntityId, Name, TenantId, derive_hex};
use super::stream::ConsumerName;
use super::token;
use crate::store::Table;
use crate::time::Wall;

fn compose(space: &str, parts: &[&str]) -> Vec<u8> {
    let mut out = String::with_capacity(96);
    out.push_str(space);
    for part in parts {
        out.push(':');
        token::escape_into(&mut out, part);
    }
    out.into_bytes()
}

/// Key of an ordered index: big-endian, so that byte order is numeric order.
#[must_use]
pub fn position(seq: u64) -> [u8; 8] {
    seq.to_be_bytes()
}

/// Reads a position back; `None` when it is not one.
#[must_use]
pub fn parse_position(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// Work that must leave: by tenant, in order.
#[must_use]
pub fn outbox(tenant: &TenantId, position: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(48);
    key.extend_from_slice(tenant.token().as_bytes());
    key.push(b':');
    key.extend_from_slice(&self::position(position));
    key
}

/// Whose work it is, as a token, and its position; `None` when it is not a key of an outbox.
#[must_use]
pub fn parse_outbox(key: &[u8]) -> Option<(&str, u64)> {
    let (rest, position) = key.split_last_chunk::<8>()?;
    let token = std::str::from_utf8(rest.strip_suffix(b":")?).ok()?;
    Some((token, u64::from_be_bytes(*position)))
}

/// What has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum EndedKind {
    /// A saga instance.
    Instance,
    /// An effect.
    Effect,
}

impl EndedKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Instance, Self::Effect];

    /// What its entries begin with.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Instance => b'i',
            Self::Effect => b'e',
        }
    }
}

/// What has ended, in the order in which it did: kind, time, and the key of its row.
#[must_use]
pub fn ended(kind: EndedKind, at: Wall, row: &[u8]) -> Vec<u8> {
    let mut key = Vec::with_capacity(9 + row.len());
    key.push(kind.byte());
    key.extend_from_slice(&position(at.as_ms()));
    key.extend_from_slice(row);
    key
}

/// Reads an entry back; `None` when it is none.
#[must_use]
pub fn parse_ended(key: &[u8]) -> Option<(EndedKind, Wall, &[u8])> {
    let (first, rest) = key.split_first()?;
    let kind = EndedKind::ALL.into_iter().find(|kind| kind.byte() == *first)?;
    let (at, row) = rest.split_first_chunk::<8>()?;
    Some((kind, Wall::from_ms(u64::from_be_bytes(*at)), row))
}

/// An aggregate's row.
#[must_use]
pub fn aggregate(tenant: &TenantId, kind: &Name, id: &EntityId) -> Vec<u8> {
    compose("aggregate", &[tenant.as_str(), kind.as_str(), id.as_str()])
}

/// The answer to a command of an aggregate.
#[must_use]
pub fn command(tenant: &TenantId, kind: &Name, id: &EntityId, command: &CommandId) -> Vec<u8> {
    compose("command", &[tenant.as_str(), kind.as_str(), id.as_str(), command.as_str()])
}

/// The message id of a command's events: the broker's window spans all subjects of the stream.
#[must_use]
pub fn event_message_id(
    tenant: &TenantId,
    kind: &Name,
    id: &EntityId,
    command: Option<&CommandId>,
) -> String {
    let command = command.map(CommandId::token).unwrap_or_default();
    format!("{}:{kind}:{}:{command}", tenant.token(), id.token())
}

/// The checkpoint of a consumer.
#[must_use]
pub fn checkpoint(consumer: &ConsumerName) -> Vec<u8> {
    compose("checkpoint", &[consumer.as_str()])
}

/// Where the tenants of the consumer are whose checkpoint has this key; `None` when it is no such key.
#[must_use]
pub fn tenants_by_checkpoint(key: &[u8]) -> Option<Vec<u8>> {
    Some([b"tenants:", key.strip_prefix(b"checkpoint:")?].concat())
}

/// Tables whose keys begin with a tenant, and what stands before it.
pub const BY_TENANT: [(Table, &str); 5] = [
    (Table::Saga, "saga:"),
    (Table::SagaForgotten, "forgotten:"),
    (Table::Effect, "dedupe:"),
    (Table::Timer, "timer:"),
    (Table::View, "view:"),
];

/// The token of the tenant in such a key.
#[must_use]
pub fn tenant_token(key: &[u8], space: &str) -> Option<String> {
    let rest = std::str::from_utf8(key.strip_prefix(space.as_bytes())?).ok()?;
    Some(rest.split(':').next()?.to_owned())
}

/// The tenants whose messages a consumer's gate lets through.
#[must_use]
pub fn tenants(consumer: &ConsumerName) -> Vec<u8> {
    compose("tenants", &[consumer.as_str()])
}

/// How far those of them are that joined late.
#[must_use]
pub fn catch_up(consumer: &ConsumerName) -> Vec<u8> {
    compose("catch_up", &[consumer.as_str()])
}

/// A view's row.
#[must_use]
pub fn view(tenant: &TenantId, view: &Name, id: &EntityId) -> Vec<u8> {
    compose("view", &[tenant.as_str(), view.as_str(), id.as_str()])
}

/// The last version of an aggregate that a view has applied.
#[must_use]
pub fn view_source(tenant: &TenantId, view: &Name, kind: &Name, id: &EntityId) -> Vec<u8> {
    compose("source", &[tenant.as_str(), view.as_str(), kind.as_str(), id.as_str()])
}

/// What the rows of a tenant's view begin with.
#[must_use]
pub fn view_prefix(tenant: &TenantId, view: &Name) -> Vec<u8> {
    let mut key = compose("view", &[tenant.as_str(), view.as_str()]);
    key.push(b':');
    key
}

/// The id at the end of a view row's key.
#[must_use]
pub fn view_id(key: &[u8]) -> Option<EntityId> {
    let text = std::str::from_utf8(key).ok()?;
    EntityId::from_token(text.rsplit(':').next()?)
}

/// A saga instance.
#[must_use]
pub fn saga(tenant: &TenantId, saga: &Name, correlation: &EntityId) -> Vec<u8> {
    compose("saga", &[tenant.as_str(), saga.as_str(), correlation.as_str()])
}

/// Reads the key of a saga instance back.
#[must_use]
pub fn parse_saga(key: &[u8]) -> Option<(TenantId, Name, EntityId)> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix("saga:")?.split(':');
    let tenant = TenantId::from_token(parts.next()?)?;
    let (saga, correlation) = (Name::from_token(parts.next()?)?, EntityId::from_token(parts.next()?)?);
    parts.next().is_none().then_some((tenant, saga, correlation))
}

/// The mark that a cause was applied to a saga instance. Causes are hashed: they may be longer than a key.
#[must_use]
pub fn saga_cause(tenant: &TenantId, saga: &Name, correlation: &EntityId, cause: &str) -> Vec<u8> {
    compose("dedupe", &[tenant.as_str(), saga.as_str(), correlation.as_str(), &derive_hex(&[cause])])
}

/// What the causes of a saga instance begin with.
#[must_use]
pub fn saga_cause_prefix(tenant: &TenantId, saga: &Name, correlation: &EntityId) -> Vec<u8> {
    let mut key = compose("dedupe", &[tenant.as_str(), saga.as_str(), correlation.as_str()]);
    key.push(b':');
    key
}

/// What is held for a paused saga instance begins with this.
#[must_use]
pub fn saga_held_prefix(tenant: &TenantId, saga: &Name, correlation: &EntityId) -> Vec<u8> {
    let mut key = compose("held", &[tenant.as_str(), saga.as_str(), correlation.as_str()]);
    key.push(b':');
    key
}

/// Something held for a paused saga instance, in order.
#[must_use]
pub fn saga_held(tenant: &TenantId, saga: &Name, correlation: &EntityId, at: u64) -> Vec<u8> {
    let mut key = saga_held_prefix(tenant, saga, correlation);
    key.extend_from_slice(&position(at));
    key
}

/// How far a saga of a tenant has forgotten instances.
#[must_use]
pub fn saga_forgotten(tenant: &TenantId, saga: &Name) -> Vec<u8> {
    compose("forgotten", &[tenant.as_str(), saga.as_str()])
}

/// A timer, by its id.
#[must_use]
pub fn timer(tenant: &TenantId, id: &CommandId) -> Vec<u8> {
    compose("timer", &[tenant.as_str(), id.as_str()])
}

/// A timer, in the order in which timers fall due.
#[must_use]
pub fn timer_due(due: Wall, tenant: &TenantId, id: &CommandId) -> Vec<u8> {
    let mut key = position(due.as_ms()).to_vec();
    key.extend_from_slice(&timer(tenant, id));
    key
}

/// A schedule, for one tenant.
#[must_use]
pub fn recurring(schedule: &Name, tenant: &TenantId) -> Vec<u8> {
    compose("schedule", &[schedule.as_str(), tenant.as_str()])
}

/// Reads the key of a schedule back.
#[must_use]
pub fn parse_recurring(key: &[u8]) -> Option<(Name, TenantId)> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix("schedule:")?.split(':');
    let (schedule, tenant) = (Name::from_token(parts.next()?)?, TenantId::from_token(parts.next()?)?);
    parts.next().is_none().then_some((schedule, tenant))
}

/// The ledger entry of an effect command.
#[must_use]
pub fn effect(tenant: &TenantId, command: &CommandId) -> Vec<u8> {
    compose("dedupe", &[tenant.as_str(), "effect", command.as_str()])
}

/// Reads the key of an effect command back.
#[must_use]
pub fn parse_effect(key: &[u8]) -> Option<(TenantId, CommandId)> {
    let mut parts = std::str::from_utf8(key).ok()?.strip_prefix("dedupe:")?.split(':');
    let tenant = TenantId::from_token(parts.next()?)?;
    let command =
        if parts.next()? == "effect" { CommandId::from_token(parts.next()?)? } else { return None };
    parts.next().is_none().then_some((tenant, command))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::KEY_BYTES_MAX;
    use proptest::prelude::*;

    #[test]
    fn the_longest_keys_fit() {
        let tenant = TenantId::parse(&"t".repeat(64)).expect("tenant");
        let name = Name::parse(&"n".repeat(64)).expect("name");
        let id = EntityId::parse(&".".repeat(64)).expect("escapes to 192 bytes");
        let command_id = CommandId::parse(&".".repeat(32)).expect("escapes to 96 bytes");
        for key in [
            command(&tenant, &name, &id, &command_id),
            saga_cause(&tenant, &name, &id, "x"),
            saga_held(&tenant, &name, &id, u64::MAX),
            view(&tenant, &name, &id),
            view_source(&tenant, &name, &name, &id),
            effect(&tenant, &command_id),
            timer_due(Wall::from_ms(u64::MAX), &tenant, &command_id),
        ] {
            assert!(key.len() <= KEY_BYTES_MAX, "{} bytes", key.len());
        }
    }

    #[test]
    fn view_ids_come_back() {
        let tenant = TenantId::default_tenant();
        let name = Name::parse("orders").expect("name");
        let id = EntityId::parse("a:b").expect("id");
        let key = view(&tenant, &name, &id);
        assert!(key.starts_with(&view_prefix(&tenant, &name)));
        assert_eq!(view_id(&key), Some(id.clone()));
        let command_id = CommandId::parse("a:effect:b").expect("id");
        assert_eq!(parse_saga(&saga(&tenant, &name, &id)), Some((tenant.clone(), name.clone(), id)));
        assert_eq!(parse_recurring(&recurring(&name, &tenant)), Some((name.clone(), tenant.clone())));
        assert_eq!(parse_effect(&effect(&tenant, &command_id)), Some((tenant, command_id)));
    }

    proptest! {
        #[test]
        fn two_tuples_never_share_a_key(a in "[a:_=]{0,3}", b in "[a:_=]{1,3}", c in "[a:_=]{0,3}", d in "[a:_=]{1,3}") {
            prop_assert_eq!((&a, &b) == (&c, &d), compose("x", &[&a, &b]) == compose("x", &[&c, &d]));
        }
    }
}
