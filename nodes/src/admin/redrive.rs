//! Letting go of what a runner holds back: selections, and what is done with single messages.
//!
//! Selections are read from committed rows; everything else is asked of the machine ([`operator`](super::operator)).

use super::fault::{Fault, Kind};
use super::operator::Operator;
use super::{fields, rows};
use cloudlysis_core::quarantine::operate::{EDITED_BYTES_MAX, Operated, Operation, Verb};
use cloudlysis_core::quarantine::selection::{PER_SECOND_MAX, Selection, SelectionId};
use cloudlysis_core::quarantine::{Quarantine, QuarantineKey, Which};
use cloudlysis_core::wire::id::TenantId;
use cloudlysis_io_nats::store::Snapshots;
use serde::Serialize;

/// Messages redriven in a second unless asked otherwise.
const PER_SECOND: u32 = 100;

/// What operators need for it.
#[derive(Clone, Debug)]
pub struct Redrive {
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Who asks the machine.
    pub operator: Operator,
}

/// A selection and its name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Named {
    /// Its name.
    #[serde(rename = "selection")]
    pub id: SelectionId,
    /// How it stands.
    #[serde(flatten)]
    pub selection: Selection,
}

fn key(text: &str) -> Result<QuarantineKey, Fault> {
    let wrong = || Fault::invalid("key", format!("`{text}` is no key; `dlq ls` lists them"));
    QuarantineKey::parse(text).ok_or_else(wrong)
}

/// Reads the name of a selection.
///
/// # Errors
/// When it names none.
pub fn selection(text: &str) -> Result<SelectionId, Fault> {
    let detail = || format!("`{text}` names no selection; `dlq selections` lists them");
    SelectionId::parse(text).ok_or_else(|| Fault::invalid("selection", detail()))
}

/// Keys are to be frozen into a selection: of one group or of all, or this one.
///
/// # Errors
/// When a part of it is malformed.
pub fn select(group: Option<String>, own: Option<&str>, after: String, reason: &str) -> Result<Verb, Fault> {
    let which = Which { tenant: None, group, key: own.map(key).transpose()? };
    Ok(Verb::Select { which, after, reason: fields::reason(reason)? })
}

/// A selection is to be redriven.
///
/// # Errors
/// When a part of it is malformed.
pub fn replay(text: &str, per_second: Option<u32>, migrate: bool) -> Result<Verb, Fault> {
    let (selection, per_second) = (selection(text)?, per_second.unwrap_or(PER_SECOND));
    if !(1..=PER_SECOND_MAX).contains(&per_second) {
        return Err(Fault::invalid("per_second", format!("it is from 1 to {PER_SECOND_MAX}")));
    }
    Ok(Verb::Replay { selection, per_second, migrate })
}

/// The first message of a key is to be dropped.
///
/// # Errors
/// When a part of it is malformed.
pub fn skip(own: &str, position: u64, reason: &str) -> Result<Verb, Fault> {
    Ok(Verb::Skip { key: key(own)?, position, reason: fields::reason(reason)? })
}

/// A message is to have another body.
///
/// # Errors
/// When a part of it is malformed.
pub fn edit(own: &str, position: u64, payload: Vec<u8>, reason: &str) -> Result<Verb, Fault> {
    if payload.len() > EDITED_BYTES_MAX {
        return Err(Fault::too_large("payload", payload.len(), EDITED_BYTES_MAX));
    }
    Ok(Verb::Edit { key: key(own)?, position, payload, reason: fields::reason(reason)? })
}

impl Redrive {
    /// Has something done with what is held back, of one tenant or of any.
    ///
    /// # Errors
    /// When it is not done, or nobody knows.
    pub async fn operate(&self, tenant: Option<TenantId>, verb: Verb) -> Result<Operated, Fault> {
        Ok(self.operator.ask_quarantine(Operation { tenant, verb }).await?)
    }

    /// Every selection on record, oldest first, of one tenant or of all.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn list(&self, tenant: Option<&TenantId>) -> Result<Vec<Named>, Fault> {
        let all = rows::read(&self.snapshots, Quarantine::selections)?.into_iter();
        let own = all.filter(|(_, own)| tenant.is_none() || own.tenant_id.as_ref() == tenant);
        Ok(own.map(|(id, selection)| Named { id, selection }).collect())
    }

    /// One selection.
    ///
    /// # Errors
    /// When it does not exist any more, or the rows cannot be read.
    pub fn show(&self, tenant: Option<&TenantId>, id: SelectionId) -> Result<Named, Fault> {
        self.list(tenant)?.into_iter().find(|own| own.id == id).ok_or_else(|| {
            let detail = format!("selection {id} does not exist, or ended so long ago that it is forgotten");
            Fault::new(Kind::NotFound, "not_found", detail)
        })
    }
}
