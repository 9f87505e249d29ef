//! What is held back, as messages.

use super::{page, rows, tenant, wire};
use crate::admin::dlq::{DeadLetters, Messages};
use crate::admin::fault::Fault;
use cloudlysis_core::quarantine::{Cause, Edited, Group, ParkedMessage, QuarantinedKey};

pub(super) fn list(
    dead_letters: &DeadLetters,
    request: wire::ListDeadLettersRequest,
) -> Result<wire::ListDeadLettersResponse, Fault> {
    let wire::ListDeadLettersRequest { tenant_id, group, after, limit } = request;
    let found = dead_letters.list(tenant(tenant_id)?, group, &page(after, limit))?;
    let keys = found.items.into_iter().map(held_back).collect();
    Ok(wire::ListDeadLettersResponse { keys, next: found.next.unwrap_or_default() })
}

pub(super) fn groups(
    dead_letters: &DeadLetters,
    request: wire::GroupDeadLettersRequest,
) -> Result<wire::GroupDeadLettersResponse, Fault> {
    let wire::GroupDeadLettersRequest { after, limit } = request;
    let found = dead_letters.groups(&page(after, limit))?;
    let groups = found.items.into_iter().map(grouped).collect();
    Ok(wire::GroupDeadLettersResponse { groups, next: found.next.unwrap_or_default() })
}

pub(super) fn messages(
    dead_letters: &DeadLetters,
    request: wire::ShowDeadLettersRequest,
) -> Result<wire::ShowDeadLettersResponse, Fault> {
    let wire::ShowDeadLettersRequest { tenant_id, key, from, limit } = request;
    let tenant = tenant(tenant_id)?;
    let Messages { key, messages, next } = dead_letters.messages(tenant.as_ref(), &key, from, rows(limit))?;
    let messages = messages.into_iter().map(parked).collect();
    Ok(wire::ShowDeadLettersResponse { key: Some(held_back(key)), messages, next })
}

fn caused(Cause { kind, detail }: Cause) -> wire::Cause {
    wire::Cause { kind, detail }
}

pub(super) fn held_back(key: QuarantinedKey) -> wire::DeadLetterKey {
    let QuarantinedKey { key, tenant_id, messages, since, cause, group, selection } = key;
    wire::DeadLetterKey {
        key,
        tenant_id: tenant_id.map(|own| own.to_string()),
        messages,
        since_ms: since.as_ms(),
        cause: Some(caused(cause)),
        group,
        selection: selection.map(|own| own.to_string()),
    }
}

fn grouped(group: Group) -> wire::DeadLetterGroup {
    let Group { group, kind, pattern, example, definition, keys, messages, since, last } = group;
    let (since_ms, last_ms) = (since.as_ms(), last.as_ms());
    wire::DeadLetterGroup { group, kind, pattern, example, definition, keys, messages, since_ms, last_ms }
}

fn parked(message: ParkedMessage) -> wire::DeadLetter {
    let ParkedMessage {
        position,
        stream,
        stream_seq,
        subject,
        headers,
        parked_at,
        cause,
        edited,
        payload_bytes,
        payload,
    } = message;
    let header = |(name, values)| wire::dead_letter::Header { name, values };
    let edit = |Edited { at, reason }: Edited| wire::dead_letter::Edited { at_ms: at.as_ms(), reason };
    wire::DeadLetter {
        position,
        stream,
        stream_seq,
        subject,
        headers: headers.into_iter().map(header).collect(),
        parked_at_ms: parked_at.as_ms(),
        cause: cause.map(caused),
        edited: edited.map(edit),
        payload_bytes: payload_bytes as u64,
        payload: serde_json::to_vec(&payload).expect("JSON values serialise"),
    }
}
