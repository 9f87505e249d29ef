//! Effects: the ledger listed, shown and judged, and what the stream of commands holds that the ledger does not know; and
//! what operators do about it.
//!
//! Reading is from committed rows, beside the machine. What changes an effect is asked of the machine itself
//! ([`operator`](super::operator)).

use super::fault::{Fault, Kind};
use super::fields;
use super::operator::Operator;
use super::rows::{self, PAGE, PageOf};
use cloudlysis_core::effect::audit::{self, Counts, Doubtful};
use cloudlysis_core::effect::look::{self, Listed, Which};
use cloudlysis_core::effect::operate::{Operated, Operation, Verb};
use cloudlysis_core::quarantine::Page;
use cloudlysis_core::wire::id::{CommandId, Name, TenantId};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Table, View};
use cloudlysis_io_nats::broker::{ApiAnswer, Broker};
use cloudlysis_io_nats::store::Snapshots;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Rows of the ledger in one page.
const ROWS_MAX: usize = 10_000;
/// Commands without a row that are named; more are counted.
const NAMED_MAX: usize = 100;

/// What operators need for it.
#[derive(Clone, Debug)]
pub struct Effects {
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Where commands are.
    pub broker: Broker,
    /// Who asks the machine.
    pub operator: Operator,
}

/// Names one effect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Whose.
    pub tenant: TenantId,
    /// Its command.
    pub command_id: CommandId,
}

impl Key {
    /// Reads which.
    ///
    /// # Errors
    /// When its id is malformed.
    pub fn parse(tenant: TenantId, command_id: &str) -> Result<Self, Fault> {
        Ok(Self { tenant, command_id: fields::parsed("command_id", CommandId::parse(command_id))? })
    }
}

/// A page of the ledger, judged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Judged {
    /// Of the rows of this page, by effect.
    pub counts: BTreeMap<Name, Counts>,
    /// Those that somebody should look at.
    pub doubtful: Vec<Doubtful>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Commands in the stream that the ledger does not know: on their way, or lost.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Unknown {
    /// Commands for effects in the stream.
    pub stored: usize,
    /// Those of them that the ledger does not know.
    pub unknown: usize,
    /// The subjects of the first of these.
    pub subjects: Vec<String>,
}

impl Effects {
    /// Judges a page of the ledger, of one tenant or of all.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn ledger(&self, tenant: Option<&TenantId>, after: &str) -> Result<Judged, Fault> {
        let audit::Page { counts, doubtful, next } =
            rows::read(&self.snapshots, |view| audit::audit(view, tenant, after.as_bytes(), ROWS_MAX))?;
        Ok(Judged { counts, doubtful, next: rows::next(next) })
    }

    /// A page of effects.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn list(&self, which: &Which, page: &PageOf) -> Result<Page<Listed>, Fault> {
        let limit = page.at_most(PAGE);
        let look::Page { effects, next } =
            rows::read(&self.snapshots, |view| look::list(view, which, page.after.as_bytes(), limit))?;
        Ok(Page { items: effects, next: rows::next(next) })
    }

    /// One effect.
    ///
    /// # Errors
    /// When the ledger has none of that id, or cannot be read.
    pub fn show(&self, Key { tenant, command_id }: Key) -> Result<Listed, Fault> {
        match rows::read(&self.snapshots, |view| look::show(view, &tenant, &command_id))? {
            Some(row) => Ok(Listed { tenant, command_id, row }),
            None => {
                let detail = format!("the ledger has no effect `{command_id}` of this tenant");
                Err(Fault::new(Kind::NotFound, "unknown_effect", detail))
            }
        }
    }

    /// Has something done to one of them.
    ///
    /// # Errors
    /// When it is not done, or nobody knows.
    pub async fn operate(&self, key: Key, verb: Verb) -> Result<Operated, Fault> {
        let Key { tenant, command_id } = key;
        Ok(self.operator.ask_effect(Operation { tenant, command_id, verb }).await?)
    }

    /// Looks for commands that the ledger does not know, of one tenant or of all.
    ///
    /// # Errors
    /// When the broker does not answer, or the rows cannot be read.
    pub async fn unknown(&self, tenant: Option<&TenantId>) -> Result<Unknown, Fault> {
        let (mut offset, mut stored, mut count, mut named) = (0, 0, 0, Vec::new());
        loop {
            let asked = json!({ "subjects_filter": "tenant.*.effect.>", "offset": offset });
            let endpoint = format!("STREAM.INFO.{}", PlatformStream::WorkflowCommands.name());
            let info: Value = match self.broker.api(&endpoint, &asked).await {
                ApiAnswer::Ok(info) => info,
                ApiAnswer::Error(error) => return Err(Fault::unreadable(error.description)),
                ApiAnswer::NoAnswer => return Err(Fault::unreadable("the broker does not answer")),
            };
            let subjects = info["state"]["subjects"].as_object().cloned().unwrap_or_default();
            let of_tenant = subjects.keys().filter_map(|subject| match Route::parse(subject) {
                Some(Route::Effect { tenant: own, command, .. }) => {
                    tenant.is_none_or(|tenant| *tenant == own).then_some((subject, own, command))
                }
                Some(Route::EffectResult { .. } | Route::WorkflowEvent { .. } | Route::Aggregate { .. })
                | None => None,
            });
            let of_tenant: Vec<_> = of_tenant.collect();
            stored += of_tenant.len();
            let missing = rows::read(&self.snapshots, |view: &dyn View| {
                let is_known = |tenant, command| {
                    view.get(Table::Effect, &keys::effect(tenant, command)).map(|row| row.is_some())
                };
                let mut out = Vec::new();
                for (subject, tenant, command) in &of_tenant {
                    if !is_known(tenant, command)? {
                        out.push((*subject).clone());
                    }
                }
                Ok(out)
            })?;
            count += missing.len();
            named.extend(missing.into_iter().take(NAMED_MAX - named.len().min(NAMED_MAX)));
            offset += subjects.len();
            let total =
                info["total"].as_u64().and_then(|total| usize::try_from(total).ok()).unwrap_or(offset);
            if subjects.is_empty() || offset >= total {
                return Ok(Unknown { stored, unknown: count, subjects: named });
            }
        }
    }
}
