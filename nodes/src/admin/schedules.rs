//! Schedules: listed, shown, and changed by operators.
//!
//! Reading is from committed rows, beside the machine. What changes a schedule, or has it fire, is asked of the machine
//! itself ([`operator`](super::operator)). What fires something has a key of the caller's: without one, nobody who heard no
//! answer could ask again.

use super::fault::{Fault, Kind};
use super::fields;
use super::operator::Operator;
use super::rows::{self, PAGE, PageOf};
use crate::runner::Application;
use cloudlysis_core::manifest::Overlap;
use cloudlysis_core::quarantine::Page;
use cloudlysis_core::schedule::recurring::{Operated, Operation, Row, RowKey, Verb, look};
use cloudlysis_core::wire::id::TenantId;
use cloudlysis_io_nats::store::Snapshots;
use std::sync::Arc;
use tokio::sync::watch;

/// What operators need for them.
#[derive(Clone, Debug)]
pub struct Schedules {
    /// What the runner runs.
    pub application: watch::Receiver<Application>,
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Who asks the machine.
    pub operator: Operator,
}

/// How a schedule stands for one tenant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Which.
    pub key: RowKey,
    /// How far it is.
    pub row: Row,
    /// What its manifest says, if it is in the application.
    pub written: Option<Written>,
}

/// What a manifest says of a schedule.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Written {
    /// When it is due.
    pub when: String,
    /// What happens while the occurrence before still runs.
    pub overlap: Overlap,
}

/// Reads which.
///
/// # Errors
/// When its name is malformed.
pub fn key(tenant: TenantId, schedule: &str) -> Result<RowKey, Fault> {
    Ok(RowKey { schedule: fields::name("schedule", schedule)?, tenant })
}

impl Schedules {
    fn shown(&self, key: RowKey, row: Row) -> Shown {
        let app = Arc::clone(&self.application.borrow().app);
        let definition = app.schedules.get(&key.schedule);
        let written = definition.map(|def| Written { when: def.written.clone(), overlap: def.overlap });
        Shown { key, row, written }
    }

    /// A page of them, of one tenant or of all.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn list(&self, tenant: Option<&TenantId>, page: &PageOf) -> Result<Page<Shown>, Fault> {
        let limit = page.at_most(PAGE);
        let look::Page { rows: found, next } =
            rows::read(&self.snapshots, |view| look::list(view, tenant, page.after.as_bytes(), limit))?;
        let items = found.into_iter().map(|(key, row)| self.shown(key, row)).collect();
        Ok(Page { items, next: rows::next(next) })
    }

    /// One of them.
    ///
    /// # Errors
    /// When it does not exist, or the rows cannot be read.
    pub fn show(&self, key: RowKey) -> Result<Shown, Fault> {
        match rows::read(&self.snapshots, |view| look::show(view, &key))? {
            Some(row) => Ok(self.shown(key, row)),
            None => {
                let detail = format!("there is no schedule `{}` for this tenant", key.schedule);
                Err(Fault::new(Kind::NotFound, "unknown_schedule", detail))
            }
        }
    }

    /// Has something done to one of them.
    ///
    /// # Errors
    /// When it is not done, or nobody knows.
    pub async fn operate(&self, key: RowKey, verb: Verb) -> Result<Operated, Fault> {
        let RowKey { schedule, tenant } = key;
        Ok(self.operator.ask_schedule(Operation { schedule, tenant, verb }).await?)
    }
}
