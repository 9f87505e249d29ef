//! Letting go of what is held back, as messages.

use super::{tenant, wire};
use crate::admin::fault::{Fault, Kind};
use crate::admin::redrive::{self, Named, Redrive};
use cloudlysis_core::quarantine::operate::{Operated, Verb};
use cloudlysis_core::quarantine::selection::{Doing, Selection, SelectionId};
use wire::selection;

fn told(Named { id, selection }: Named) -> wire::Selection {
    let Selection { tenant_id, reason, selected_at, doing, .. } = selection;
    let doing = match doing {
        Doing::Waiting => selection::Doing::Waiting(selection::Waiting {}),
        Doing::Replaying { per_second, migrate } => {
            selection::Doing::Replaying(selection::Replaying { per_second, migrate })
        }
        Doing::Discarding => selection::Doing::Discarding(selection::Discarding {}),
        Doing::Ended { ended_at } => {
            selection::Doing::Ended(selection::Ended { ended_at_ms: ended_at.as_ms() })
        }
    };
    wire::Selection {
        selection: id.to_string(),
        tenant_id: tenant_id.map(|own| own.to_string()),
        reason,
        selected_at_ms: selected_at.as_ms(),
        doing: Some(doing),
        keys: selection.keys,
        left: selection.left,
        released: selection.released,
        failed: selection.failed,
        given_back: selection.given_back,
        applied: selection.applied,
        superseded: selection.superseded,
        discarded: selection.discarded,
    }
}

pub(super) fn list(
    redrive: &Redrive,
    request: wire::ListSelectionsRequest,
) -> Result<wire::ListSelectionsResponse, Fault> {
    let selections = redrive.list(tenant(request.tenant_id)?.as_ref())?;
    Ok(wire::ListSelectionsResponse { selections: selections.into_iter().map(told).collect() })
}

pub(super) fn show(
    redrive: &Redrive,
    request: wire::ShowSelectionRequest,
) -> Result<wire::ShowSelectionResponse, Fault> {
    let id = redrive::selection(&request.selection)?;
    let own = redrive.show(tenant(request.tenant_id)?.as_ref(), id)?;
    Ok(wire::ShowSelectionResponse { selection: Some(told(own)) })
}

/// A machine that answers about something else than it was asked about: a fault of ours.
fn about_something_else() -> Fault {
    Fault::new(Kind::Failed, "unexpected_answer", "the machine answered about something else")
}

async fn of_selection(
    redrive: &Redrive,
    tenant_id: Option<String>,
    verb: Verb,
) -> Result<wire::ChangeSelectionResponse, Fault> {
    match redrive.operate(tenant(tenant_id)?, verb).await? {
        Operated::Selection { id, selection, changed, next } => Ok(wire::ChangeSelectionResponse {
            selection: Some(told(Named { id, selection })),
            changed,
            next: next.unwrap_or_default(),
        }),
        Operated::Key { .. } => Err(about_something_else()),
    }
}

async fn of_key(
    redrive: &Redrive,
    tenant_id: Option<String>,
    verb: Verb,
) -> Result<wire::ChangeKeyResponse, Fault> {
    match redrive.operate(tenant(tenant_id)?, verb).await? {
        Operated::Key { key, messages, changed } => {
            Ok(wire::ChangeKeyResponse { key: key.display(), messages, changed })
        }
        Operated::Selection { .. } => Err(about_something_else()),
    }
}

pub(super) async fn select(
    redrive: &Redrive,
    request: wire::SelectDeadLettersRequest,
) -> Result<wire::ChangeSelectionResponse, Fault> {
    let wire::SelectDeadLettersRequest { tenant_id, group, key, after, reason } = request;
    of_selection(redrive, tenant_id, redrive::select(group, key.as_deref(), after, &reason)?).await
}

pub(super) async fn replay(
    redrive: &Redrive,
    request: wire::ReplaySelectionRequest,
) -> Result<wire::ChangeSelectionResponse, Fault> {
    let wire::ReplaySelectionRequest { tenant_id, selection, per_second, migrate } = request;
    of_selection(redrive, tenant_id, redrive::replay(&selection, per_second, migrate)?).await
}

pub(super) async fn change(
    redrive: &Redrive,
    tenant_id: Option<String>,
    selection: &str,
    verb: impl FnOnce(SelectionId) -> Verb,
) -> Result<wire::ChangeSelectionResponse, Fault> {
    of_selection(redrive, tenant_id, verb(redrive::selection(selection)?)).await
}

pub(super) async fn skip(
    redrive: &Redrive,
    request: wire::SkipDeadLetterRequest,
) -> Result<wire::ChangeKeyResponse, Fault> {
    let wire::SkipDeadLetterRequest { tenant_id, key, position, reason } = request;
    of_key(redrive, tenant_id, redrive::skip(&key, position, &reason)?).await
}

pub(super) async fn edit(
    redrive: &Redrive,
    request: wire::EditDeadLetterRequest,
) -> Result<wire::ChangeKeyResponse, Fault> {
    let wire::EditDeadLetterRequest { tenant_id, key, position, payload, reason } = request;
    of_key(redrive, tenant_id, redrive::edit(&key, position, payload, &reason)?).await
}
