//! What is held back: everything a consumer reads from one subject, one saga instance, or one lane of the outbox.
//!
//! ```text
//! deadletter:source:<consumer>:<subject>       a `:` in a subject stands as a space
//! deadletter:saga:<tenant>:<saga>:<correlation>
//! deadletter:outbox:<lane>                     a letter, a tenant and the rest, as the outbox has it
//! ```
//!
//! Limit: a key leaves room for what is put before or behind it in a row ([`KEY_MAX`]).

use crate::store::KEY_BYTES_MAX;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::subject::Route;
use crate::wire::token;

/// What is held back: everything of one source, of one saga instance, or of one lane of the outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuarantineKey(pub(super) Vec<u8>);

/// Longest key: a position is appended to it, a selection put before it.
const KEY_MAX: usize = KEY_BYTES_MAX - 9;

impl QuarantineKey {
    /// Everything a consumer reads from one subject: the unit of order of a view, and of messages that cannot be read.
    ///
    /// Returns `None` when the subject is too long to be a key: no subject of ours is.
    #[must_use]
    pub fn source(consumer: &str, subject: &str) -> Option<Self> {
        // A subject is somebody else's choice and may have a `:`, which ends a key; none has a space.
        Self::compose("source", &[consumer], &subject.replace(':', " "))
    }

    /// One saga instance.
    #[must_use]
    pub fn instance(tenant: &TenantId, saga: &Name, correlation: &EntityId) -> Option<Self> {
        Self::compose("saga", &[tenant.as_str(), saga.as_str()], &token::escape(correlation.as_str()))
    }

    /// A lane of the outbox. It is always short enough: it names no more than an instance does.
    #[must_use]
    pub fn lane(lane: &str) -> Self {
        Self(format!("{LANES}{lane}").into_bytes())
    }

    fn compose(kind: &str, parts: &[&str], last: &str) -> Option<Self> {
        let mut key = format!("deadletter:{kind}");
        for part in parts {
            key.push(':');
            token::escape_into(&mut key, part);
        }
        key.push(':');
        key.push_str(last);
        (key.len() <= KEY_MAX).then(|| Self(key.into_bytes()))
    }

    /// For people.
    #[must_use]
    pub fn display(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// Reads back what [`display`](Self::display) says.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Subject::parse(text).filter(|_| text.len() <= KEY_MAX).map(|_| Self(text.as_bytes().to_vec()))
    }

    /// What it holds back.
    #[must_use]
    pub fn subject(&self) -> Option<Subject> {
        Subject::parse(std::str::from_utf8(&self.0).ok()?)
    }

    pub(super) fn prefix(&self) -> Vec<u8> {
        let mut key = self.0.clone();
        key.push(b':');
        key
    }

    pub(super) fn row(&self, position: u64) -> Vec<u8> {
        let mut key = self.prefix();
        key.extend_from_slice(&position.to_be_bytes());
        key
    }
}

/// What keys of lanes begin with.
pub(super) const LANES: &str = "deadletter:outbox:";

/// What a key holds back, read from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Subject {
    /// What a consumer reads from one subject.
    Source {
        /// The consumer.
        consumer: String,
        /// The subject.
        subject: String,
    },
    /// A saga instance.
    Instance {
        /// Whose.
        tenant: TenantId,
        /// Of which saga.
        saga: Name,
        /// Which.
        correlation: EntityId,
    },
    /// A lane of the outbox.
    Lane {
        /// Whose.
        tenant: TenantId,
        /// Its name.
        lane: String,
    },
}

impl Subject {
    pub(super) fn parse(key: &str) -> Option<Self> {
        let (kind, whole) = key.strip_prefix("deadletter:")?.split_once(':')?;
        let (first, rest) = whole.split_once(':')?;
        match kind {
            "source" => {
                Some(Self::Source { consumer: token::unescape(first)?, subject: rest.replace(' ', ":") })
            }
            "saga" => {
                let (saga, correlation) = rest.split_once(':')?;
                Some(Self::Instance {
                    tenant: TenantId::from_token(first)?,
                    saga: Name::from_token(saga)?,
                    correlation: EntityId::from_token(correlation)?,
                })
            }
            "outbox" => {
                let tenant = TenantId::from_token(rest.split(':').next()?)?;
                Some(Self::Lane { tenant, lane: whole.to_owned() })
            }
            _ => None,
        }
    }

    /// Whose it is; nobody's when the subject is none of ours.
    #[must_use]
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Source { subject, .. } => Some(Route::parse(subject)?.tenant().clone()),
            Self::Instance { tenant, .. } | Self::Lane { tenant, .. } => Some(tenant.clone()),
        }
    }
}
