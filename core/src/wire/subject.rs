//! Subjects: building concrete ones, parsing them back, matching filters.
//!
//! ```text
//! tenant.<t>.aggregate.<type>.<id>               events of one aggregate         AGGREGATE_EVENTS
//! tenant.<t>.effect.<name>.<command_id>          one effect command              WORKFLOW_COMMANDS
//! tenant.<t>.effect_result.<name>.<command_id>   the result of that command      WORKFLOW_EVENTS
//! tenant.<t>.workflow_event.<saga>.<id>          a reminder or a signal          WORKFLOW_EVENTS
//! ```
//!
//! Producers publish concrete subjects only; every component is a [`token`]. Consumers may filter with
//! wildcards. INV-WIR-1: building a subject from a route and parsing it gives the same route back.

use super::id::{CommandId, EntityId, Name, TenantId};
use super::token;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Where a subject leads.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Route {
    /// The events of one aggregate.
    Aggregate {
        /// Whose.
        tenant: TenantId,
        /// The aggregate type.
        kind: Name,
        /// The aggregate id.
        id: EntityId,
    },
    /// One effect command.
    Effect {
        /// Whose.
        tenant: TenantId,
        /// The effect.
        effect: Name,
        /// The command.
        command: CommandId,
    },
    /// The result of one effect command.
    EffectResult {
        /// Whose.
        tenant: TenantId,
        /// The effect.
        effect: Name,
        /// The command.
        command: CommandId,
    },
    /// A reminder or a signal for an instance of a saga.
    WorkflowEvent {
        /// Whose.
        tenant: TenantId,
        /// The saga.
        saga: Name,
        /// The timer, or the signal.
        id: CommandId,
    },
}

impl Route {
    /// Whose data it is.
    #[must_use]
    pub const fn tenant(&self) -> &TenantId {
        match self {
            Self::Aggregate { tenant, .. }
            | Self::Effect { tenant, .. }
            | Self::EffectResult { tenant, .. }
            | Self::WorkflowEvent { tenant, .. } => tenant,
        }
    }

    /// The concrete subject.
    #[must_use]
    pub fn subject(&self) -> Subject {
        let (tenant, class, name, last) = match self {
            Self::Aggregate { tenant, kind, id } => (tenant, "aggregate", kind, id.as_str()),
            Self::Effect { tenant, effect, command } => (tenant, "effect", effect, command.as_str()),
            Self::EffectResult { tenant, effect, command } => {
                (tenant, "effect_result", effect, command.as_str())
            }
            Self::WorkflowEvent { tenant, saga, id } => (tenant, "workflow_event", saga, id.as_str()),
        };
        let mut out = String::with_capacity(48);
        out.push_str("tenant.");
        token::escape_into(&mut out, tenant.as_str());
        for part in [class, name.as_str()] {
            out.push('.');
            out.push_str(part);
        }
        out.push('.');
        token::escape_into(&mut out, last);
        Subject(out.into())
    }

    /// The route of a subject; `None` if it is not one of ours.
    #[must_use]
    pub fn parse(subject: &str) -> Option<Self> {
        let mut parts = subject.split('.');
        if parts.next()? != "tenant" {
            return None;
        }
        let tenant = TenantId::from_token(parts.next()?)?;
        let class = parts.next()?;
        let name = Name::from_token(parts.next()?)?;
        let last = parts.next()?;
        if parts.next().is_some() {
            return None;
        }
        match class {
            "aggregate" => Some(Self::Aggregate { tenant, kind: name, id: EntityId::from_token(last)? }),
            "effect" => Some(Self::Effect { tenant, effect: name, command: CommandId::from_token(last)? }),
            "effect_result" => {
                Some(Self::EffectResult { tenant, effect: name, command: CommandId::from_token(last)? })
            }
            "workflow_event" => {
                Some(Self::WorkflowEvent { tenant, saga: name, id: CommandId::from_token(last)? })
            }
            _ => None,
        }
    }
}

/// Whose a subject is, whatever else it says; `None` when it does not say.
#[must_use]
pub fn tenant_of(subject: &str) -> Option<TenantId> {
    let mut parts = subject.split('.');
    (parts.next() == Some("tenant")).then(|| TenantId::from_token(parts.next()?)).flatten()
}

/// A concrete subject: no wildcards, no empty tokens.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject(Arc<str>);

/// Why a string is not a subject or a filter.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum SubjectError {
    /// An empty token: nothing at all, a leading, trailing or doubled dot.
    #[error("subject {0:?} has an empty token")]
    EmptyToken(String),
    /// White space or a control character.
    #[error("subject {0:?} has white space or a control character")]
    Whitespace(String),
    /// A wildcard where a concrete subject is needed, or one that is not a whole token, or `>` before the end.
    #[error("subject {0:?} has a wildcard where none may be")]
    Wildcard(String),
}

fn check_tokens(raw: &str, wildcards: bool) -> Result<(), SubjectError> {
    if raw.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(SubjectError::Whitespace(raw.into()));
    }
    let mut tokens = raw.split('.').peekable();
    while let Some(token) = tokens.next() {
        let last = tokens.peek().is_none();
        match token {
            "" => return Err(SubjectError::EmptyToken(raw.into())),
            "*" if wildcards => {}
            ">" if wildcards && last => {}
            "*" | ">" => return Err(SubjectError::Wildcard(raw.into())),
            _ => {}
        }
    }
    Ok(())
}

impl Subject {
    /// Parses a concrete subject.
    ///
    /// # Errors
    /// [`SubjectError`] when it is empty in places or has wildcards or white space.
    pub fn parse(raw: &str) -> Result<Self, SubjectError> {
        check_tokens(raw, false)?;
        Ok(Self(raw.into()))
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subject that may have wildcards: `*` is one token, a final `>` is one or more.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter(Arc<str>);

impl Filter {
    /// Parses a filter.
    ///
    /// # Errors
    /// [`SubjectError`] when a token is empty, a wildcard is misplaced or there is white space.
    pub fn parse(raw: &str) -> Result<Self, SubjectError> {
        check_tokens(raw, true)?;
        Ok(Self(raw.into()))
    }

    /// The events of every aggregate of a type, of all tenants.
    #[must_use]
    pub fn aggregates(kind: &Name) -> Self {
        Self(format!("tenant.*.aggregate.{kind}.*").into())
    }

    /// The commands of an effect, of all tenants.
    #[must_use]
    pub fn effects(effect: &Name) -> Self {
        Self(format!("tenant.*.effect.{effect}.*").into())
    }

    /// The results of an effect, of all tenants.
    #[must_use]
    pub fn effect_results(effect: &Name) -> Self {
        Self(format!("tenant.*.effect_result.{effect}.*").into())
    }

    /// Of one tenant, where this one is of all of them.
    #[must_use]
    pub fn of_tenant(&self, tenant: &TenantId) -> Self {
        match self.0.strip_prefix("tenant.*.") {
            Some(rest) => Self(format!("tenant.{}.{rest}", tenant.token()).into()),
            None => self.clone(),
        }
    }

    /// As it goes over the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a concrete subject matches.
    #[must_use]
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (_, None) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                (_, Some(_)) => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether every subject that matches `other` matches this filter too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut theirs = other.0.split('.');
        for ours in self.0.split('.') {
            match (ours, theirs.next()) {
                (_, None) | ("*", Some(">")) => return false,
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (ours, Some(theirs)) if ours == theirs => {}
                (_, Some(_)) => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Whether some subject matches both filters.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) => return true,
                (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (None, Some(_)) | (Some(_), None) => return false,
                (Some("*"), Some(_)) | (Some(_), Some("*")) => {}
                (Some(a), Some(b)) if a == b => {}
                (Some(_), Some(_)) => return false,
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn filter(raw: &str) -> Filter {
        Filter::parse(raw).expect("a filter")
    }

    #[test]
    fn subjects_of_the_seeds() {
        let route = Route::Aggregate {
            tenant: TenantId::parse("acme").expect("tenant"),
            kind: Name::parse("order").expect("name"),
            id: EntityId::parse("o.1").expect("id"),
        };
        assert_eq!(route.subject().as_str(), "tenant.acme.aggregate.order.o=2E1");
        let route = Route::EffectResult {
            tenant: TenantId::default_tenant(),
            effect: Name::parse("charge").expect("name"),
            command: CommandId::parse("w-1").expect("id"),
        };
        assert_eq!(route.subject().as_str(), "tenant._.effect_result.charge.w-1");
        for foreign in ["", "tenant", "tenant.a.b", "tenant.a.aggregate.order.x.y", "tenant.a.other.n.x"] {
            assert_eq!(Route::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn filters_match_as_nats_does() {
        assert!(filter("a.*.c").matches("a.b.c"));
        assert!(!filter("a.*.c").matches("a.b.c.d"));
        assert!(filter("a.>").matches("a.b.c"));
        assert!(!filter("a.>").matches("a"));
        assert!(filter("tenant.*.aggregate.>").covers(&filter("tenant.*.aggregate.order.*")));
        assert!(!filter("tenant.*.aggregate.order.*").covers(&filter("tenant.*.aggregate.>")));
        assert!(filter("a.*").overlaps(&filter("*.b")));
        assert!(!filter("a.*").overlaps(&filter("b.>")));
        for bad in ["", ".", "a.", "a..b", "a.>.b", "a b"] {
            assert!(Filter::parse(bad).is_err(), "{bad}");
        }
        assert!(Subject::parse("a.*").is_err());
    }

    proptest! {
        #[test]
        fn a_route_survives_its_subject(
            tenant in "[A-Za-z0-9_-]{0,12}",
            name in "[A-Za-z][A-Za-z0-9_-]{0,12}",
            id in "[a-z.*> =_:é\u{1F980}-]{1,8}",
            which in 0..4,
        ) {
            let tenant = TenantId::parse(&tenant).expect("tenant");
            let name = Name::parse(&name).expect("name");
            let route = match which {
                0 => Route::Aggregate { tenant, kind: name, id: EntityId::parse(&id).expect("id") },
                1 => Route::Effect { tenant, effect: name, command: CommandId::parse(&id).expect("id") },
                2 => Route::WorkflowEvent { tenant, saga: name, id: CommandId::parse(&id).expect("id") },
                _ => Route::EffectResult { tenant, effect: name, command: CommandId::parse(&id).expect("id") },
            };
            let subject = route.subject();
            prop_assert!(Subject::parse(subject.as_str()).is_ok());
            prop_assert_eq!(Route::parse(subject.as_str()), Some(route));
        }

        #[test]
        fn covering_implies_matching(
            a in prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..4),
            b in prop::collection::vec(prop::sample::select(vec!["a", "b", "*"]), 1..4),
            subject in prop::collection::vec(prop::sample::select(vec!["a", "b", "c"]), 1..4),
        ) {
            let (a, b, subject) = (filter(&a.join(".")), filter(&b.join(".")), subject.join("."));
            if a.covers(&b) && b.matches(&subject) {
                prop_assert!(a.matches(&subject));
            }
            if a.matches(&subject) && b.matches(&subject) {
                prop_assert!(a.overlaps(&b));
            }
        }
    }
}
