//! What is held back, and why: keys, the reasons they share, their messages.
//!
//! Reading is from committed rows, beside the machine. Groups are of all tenants.

use super::fault::{Fault, Kind};
use super::rows::{self, PAGE, PageOf};
use cloudlysis_core::quarantine::{
    Group, Page, ParkedMessage, Quarantine, QuarantineKey, QuarantinedKey, Which,
};
use cloudlysis_core::wire::id::TenantId;
use cloudlysis_io_nats::store::Snapshots;
use serde::Serialize;

/// Messages in one page unless asked otherwise, and at most: each may be as large as the broker allows.
const MESSAGES: (usize, usize) = (10, 50);

/// What one node holds back.
#[derive(Clone, Debug)]
pub struct DeadLetters {
    /// The node's rows.
    pub snapshots: Snapshots,
}

/// Messages of one key.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Messages {
    /// Which.
    pub key: QuarantinedKey,
    /// In order.
    pub messages: Vec<ParkedMessage>,
    /// The position at which the next page begins.
    pub next: Option<u64>,
}

impl DeadLetters {
    /// A page of keys, of one tenant or of all, of one group or of all.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn list(
        &self,
        tenant: Option<TenantId>,
        group: Option<String>,
        page: &PageOf,
    ) -> Result<Page<QuarantinedKey>, Fault> {
        let which = Which { tenant, group, key: None };
        rows::read(&self.snapshots, |view| Quarantine::list(view, &which, &page.after, page.at_most(PAGE)))
    }

    /// A page of the reasons that keys share.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn groups(&self, page: &PageOf) -> Result<Page<Group>, Fault> {
        rows::read(&self.snapshots, |view| Quarantine::groups(view, &page.after, page.at_most(PAGE)))
    }

    /// Messages of one key from a position on.
    ///
    /// # Errors
    /// When nothing is held back under it, or the rows cannot be read.
    pub fn messages(
        &self,
        tenant: Option<&TenantId>,
        key: &str,
        from: u64,
        limit: Option<usize>,
    ) -> Result<Messages, Fault> {
        let not_there = || {
            let detail = format!("nothing is held back under `{key}` of this tenant");
            Fault::new(Kind::NotFound, "key_not_found", detail)
        };
        let own = QuarantineKey::parse(key).ok_or_else(not_there)?;
        let limit = PageOf { after: String::new(), limit }.at_most(MESSAGES);
        let (held, mut messages) = rows::read(&self.snapshots, |view| {
            Ok((Quarantine::find(view, &own)?, Quarantine::messages(view, &own, from, limit + 1)?))
        })?;
        let key = held.filter(|held| tenant.is_none() || held.tenant_id.as_ref() == tenant);
        let key = key.ok_or_else(not_there)?;
        let next = messages.get(limit).map(|message| message.position);
        messages.truncate(limit);
        Ok(Messages { key, messages, next })
    }
}
