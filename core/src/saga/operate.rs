//! What operators do to one instance: pause it, and let it go on.
//!
//! Each is safe to repeat: an instance that is as it is wanted stays as it is, and the answer says that nothing changed.

use super::hold::{Held, Paused};
use super::instance::Instance;
use super::transition::Sagas;
use crate::cx::Cx;
use crate::halt::Halt;
use crate::operator::{Reason, Refusal};
use crate::store::Table;
use crate::time::Now;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;

/// What is to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verb {
    /// React to nothing; hold what comes.
    Pause {
        /// Why.
        reason: Reason,
    },
    /// Go on, with what was held first.
    Resume,
}

impl Verb {
    /// As the command line and logs spell it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume => "resume",
        }
    }

    /// Why, where one must say.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Pause { reason } => Some(reason),
            Self::Resume => None,
        }
    }
}

/// Something an operator does to one instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operation {
    /// Whose.
    pub tenant: TenantId,
    /// The saga.
    pub saga: Name,
    /// The instance.
    pub correlation: EntityId,
    /// What.
    pub verb: Verb,
}

/// How an instance stands after an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operated {
    /// Where it stands.
    pub status: &'static str,
    /// Whether it is paused.
    pub paused: bool,
    /// Whether the operation changed anything: not if it was as wanted already.
    pub changed: bool,
    /// What had come meanwhile, and is applied now.
    pub released: usize,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Debug)]
pub enum Commanded {
    /// It is done, or was done already.
    Done {
        /// How the instance stands.
        operated: Operated,
        /// What is to be applied to it now, in this order.
        released: Vec<Held>,
    },
    /// It is not done.
    Refused(Refusal),
}

impl Sagas {
    /// Does what an operator asks for.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn operate<I, E>(
        &self,
        now: Now,
        operation: &Operation,
        cx: &mut Cx<'_, I, E>,
    ) -> Result<Commanded, Halt> {
        let Operation { tenant, saga, correlation, verb } = operation;
        let what = || format!("instance `{correlation}` of saga `{saga}`");
        let key = keys::saga(tenant, saga, correlation);
        let Some(row) = cx.view().get(Table::Saga, &key)? else {
            return Ok(Commanded::Refused(Refusal::NotFound { what: what() }));
        };
        let mut instance = Instance::decode(row)?;
        if instance.status.is_final() {
            return Ok(Commanded::Refused(Refusal::Finished { what: what() }));
        }
        let mut released = Vec::new();
        let changed = match (verb, &instance.paused) {
            (Verb::Pause { .. }, Some(_)) | (Verb::Resume, None) => false,
            (Verb::Pause { reason }, None) => {
                let reason = reason.as_str().to_owned();
                instance.paused = Some(Paused { since: now.wall, reason, messages: 0, bytes: 0 });
                true
            }
            (Verb::Resume, Some(_)) => {
                released = self.release(tenant, saga, correlation, cx)?;
                instance.paused = None;
                true
            }
        };
        if changed {
            cx.put(Table::Saga, &key, &instance.encode());
        }
        let (status, paused) = (instance.status.as_str(), instance.paused.is_some());
        let operated = Operated { status, paused, changed, released: released.len() };
        Ok(Commanded::Done { operated, released })
    }
}
