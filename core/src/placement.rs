//! Placement: which partition has which tenants.
//!
//! ```text
//! Placement: acme ─► 0   globex ─► 1   initech ─► 1        partition 1 has {globex, initech}
//! no placement: partition 0 has all of them              ([`Tenants::All`])
//! ```
//!
//! A partition owns the state of its tenants; what comes for others it passes over. Commands need no placement: whoever
//! decides them reads what an aggregate is from its stream.
//!
//! Limit: [`TENANTS_MAX`] tenants are placed: each is in the filters of its partition's consumers.
//!
//! Not here: where a placement is kept, and how a partition comes to have another tenant ([`gate`](crate::gate)).

use crate::halt::{Fence, Halt};
use crate::store::View;
use crate::wire::id::{IdError, TenantId};
use crate::wire::keys;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use thiserror::Error;

/// Most tenants that are placed. A consumer of 1,000 tenants and a few kinds of aggregates has a configuration of some
/// 100 KB, which is as much as a broker should be asked to copy at every change.
pub const TENANTS_MAX: usize = 1_000;
/// The highest number of a partition.
pub const PARTITION_MAX: u32 = 999;

/// The tenants of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Tenants {
    /// All there are.
    #[default]
    All,
    /// These.
    Of(Arc<BTreeSet<TenantId>>),
}

impl Tenants {
    /// Whether a tenant is one of them.
    #[must_use]
    pub fn has(&self, tenant: &TenantId) -> bool {
        match self {
            Self::All => true,
            Self::Of(own) => own.contains(tenant),
        }
    }

    /// As a row, and as a consumer's metadata.
    #[must_use]
    pub fn encode(&self) -> String {
        match self {
            Self::All => "*".to_owned(),
            Self::Of(own) => own.iter().map(TenantId::token).collect::<Vec<_>>().join(" "),
        }
    }

    /// Reads it back; `None` when it is nothing of ours.
    #[must_use]
    pub fn decode(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self::All);
        }
        let own: Option<BTreeSet<TenantId>> = text.split_whitespace().map(TenantId::from_token).collect();
        own.map(|own| Self::Of(Arc::new(own)))
    }

    /// Those of ours that another one has not; `None` when it has all of them.
    #[must_use]
    pub fn lacking_in(&self, other: &Self) -> Option<String> {
        match (self, other) {
            (_, Self::All) => None,
            (Self::All, Self::Of(_)) => Some(self.to_string()),
            (Self::Of(own), Self::Of(other)) => {
                let lacking: Vec<&TenantId> = own.difference(other).collect();
                (!lacking.is_empty()).then(|| named(lacking))
            }
        }
    }

    /// Those that both have; `None` when there are none.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> Option<String> {
        let shared = match (self, other) {
            (Self::All, Self::All) => return Some("all tenants".to_owned()),
            (Self::All, Self::Of(own)) | (Self::Of(own), Self::All) => own.iter().collect::<Vec<_>>(),
            (Self::Of(own), Self::Of(other)) => own.intersection(other).collect(),
        };
        (!shared.is_empty()).then(|| named(shared))
    }
}

impl FromIterator<TenantId> for Tenants {
    fn from_iter<I: IntoIterator<Item = TenantId>>(tenants: I) -> Self {
        Self::Of(Arc::new(tenants.into_iter().collect()))
    }
}

/// For people: the default tenant has no name.
impl fmt::Display for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all tenants"),
            Self::Of(own) => f.write_str(&named(own.iter())),
        }
    }
}

/// Tenants on one line, as the wire spells them.
fn named<'t>(tenants: impl IntoIterator<Item = &'t TenantId>) -> String {
    const NAMED_MAX: usize = 10;
    let all: Vec<String> = tenants.into_iter().map(TenantId::token).collect();
    let more = all.len().saturating_sub(NAMED_MAX);
    let named = all[..all.len().min(NAMED_MAX)].join(", ");
    match (all.is_empty(), more) {
        (true, _) => "no tenant".to_owned(),
        (false, 0) => named,
        (false, more) => format!("{named} and {more} more"),
    }
}

/// Where tenants are; no others are anywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Placement(BTreeMap<TenantId, u32>);

/// Why a text is not a placement.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum PlacementError {
    /// A part of it is not `TENANT=PARTITION`.
    #[error("{0:?} is not TENANT=PARTITION; the default tenant is `_`")]
    Pair(String),
    /// It has no such partition.
    #[error("{0:?} is not the number of a partition, 0 to {PARTITION_MAX}")]
    Partition(String),
    /// It has no such tenant.
    #[error(transparent)]
    Tenant(#[from] IdError),
    /// A tenant is in two places.
    #[error("tenant {0:?} is placed twice")]
    Twice(String),
    /// There are too many.
    #[error("more than {TENANTS_MAX} tenants")]
    TooMany,
}

impl Placement {
    /// Reads `acme=0,globex=1`.
    ///
    /// # Errors
    /// What is wrong with which part of it.
    pub fn parse(text: &str) -> Result<Self, PlacementError> {
        let mut map = BTreeMap::new();
        for pair in text.split(',').map(str::trim) {
            let (tenant, partition) =
                pair.split_once('=').ok_or_else(|| PlacementError::Pair(pair.to_owned()))?;
            let tenant = read_tenant(tenant.trim())?;
            let partition = read_partition(partition.trim())?;
            if map.insert(tenant.clone(), partition).is_some() {
                return Err(PlacementError::Twice(tenant.token()));
            }
        }
        Self::of(map)
    }

    /// These tenants in these partitions.
    ///
    /// # Errors
    /// [`PlacementError::TooMany`].
    pub fn of(map: BTreeMap<TenantId, u32>) -> Result<Self, PlacementError> {
        if map.len() > TENANTS_MAX {
            return Err(PlacementError::TooMany);
        }
        Ok(Self(map))
    }

    /// The tenants of a partition.
    #[must_use]
    pub fn tenants_of(&self, partition: u32) -> Tenants {
        self.iter().filter(|(_, own)| *own == partition).map(|(tenant, _)| tenant.clone()).collect()
    }

    /// Every tenant, and where it is.
    pub fn iter(&self) -> impl Iterator<Item = (&TenantId, u32)> {
        self.0.iter().map(|(tenant, partition)| (tenant, *partition))
    }
}

/// Whether a store that had all tenants has only what is of these.
///
/// # Errors
/// [`Fence::TenantsTaken`] when somebody else has rows in it.
pub(crate) fn check_narrowing(narrows: bool, tenants: &Tenants, view: &dyn View) -> Result<(), Halt> {
    let other = if narrows { other_than(tenants, view)? } else { None };
    other.map_or(Ok(()), |other| {
        let (what, placed) = ("this data directory".to_owned(), tenants.to_string());
        Err(Fence::TenantsTaken { consumer: what, tenants: other, placed }.into())
    })
}

/// Somebody else than these of whom there are rows in a store. Takes a step for every tenant, not for every row.
///
/// # Errors
/// When a table cannot be read.
fn other_than(tenants: &Tenants, view: &dyn View) -> Result<Option<String>, Halt> {
    for (table, space) in keys::BY_TENANT {
        let mut from = space.as_bytes().to_vec();
        loop {
            let mut found = None;
            view.scan(table, &from, &mut |key, _| {
                found = Some(key.to_vec());
                ControlFlow::Break(())
            })?;
            let Some(token) = found.as_deref().and_then(|key| keys::tenant_token(key, space)) else { break };
            if TenantId::from_token(&token).is_none_or(|tenant| !tenants.has(&tenant)) {
                return Ok(Some(token));
            }
            // A `;` follows a `:`, and so all rows of this tenant.
            from = format!("{space}{token};").into_bytes();
        }
    }
    Ok(None)
}

/// A tenant as people write it where nothing would be lost: `_` is the default one.
///
/// # Errors
/// When it is not a tenant's id.
pub fn read_tenant(text: &str) -> Result<TenantId, IdError> {
    TenantId::parse(if text == "_" { "" } else { text })
}

/// The number of a partition.
///
/// # Errors
/// [`PlacementError::Partition`].
pub fn read_partition(text: &str) -> Result<u32, PlacementError> {
    let number = text.parse().ok().filter(|number| *number <= PARTITION_MAX);
    number.ok_or_else(|| PlacementError::Partition(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::MemoryStore;
    use crate::store::Table;
    use crate::wire::id::{EntityId, Name};

    fn tenant(raw: &str) -> TenantId {
        TenantId::parse(raw).expect("a tenant")
    }

    #[test]
    fn a_placement_is_read_and_gives_each_partition_its_tenants() {
        let placement = Placement::parse("acme=0, globex=1,_=1").expect("reads");
        assert_eq!(placement.tenants_of(1), [tenant(""), tenant("globex")].into_iter().collect());
        assert_eq!(
            placement.tenants_of(2),
            Tenants::from_iter([]),
            "a partition may wait for its first tenant"
        );
        assert_eq!(placement.iter().next(), Some((&tenant(""), 1)));
    }

    #[test]
    fn whoever_else_has_rows_in_a_store_is_found() {
        let mut store = MemoryStore::default();
        let own: Tenants = [tenant(""), tenant("acme")].into_iter().collect();
        let mut put = |table, key: Vec<u8>| store.rows.insert((table, key), Vec::new());
        let saga = Name::parse("checkout").expect("a name");
        let id = EntityId::parse("o-1").expect("an id");
        for whose in ["", "acme"] {
            put(Table::Saga, keys::saga(&tenant(whose), &saga, &id));
            put(Table::View, keys::view(&tenant(whose), &saga, &id));
        }
        assert_eq!(other_than(&own, &store), Ok(None));
        let mut with = store.clone();
        with.rows.insert((Table::SagaForgotten, keys::saga_forgotten(&tenant("acme2"), &saga)), Vec::new());
        assert_eq!(other_than(&own, &with), Ok(Some("acme2".into())));
        assert_eq!(other_than(&Tenants::All, &with), Ok(None));
        store.rows.insert((Table::View, keys::view(&tenant("zeta"), &saga, &id)), Vec::new());
        assert_eq!(other_than(&own, &store), Ok(Some("zeta".into())));
    }

    #[test]
    fn what_is_wrong_with_a_placement_is_named() {
        for (text, error) in [
            ("acme", PlacementError::Pair("acme".into())),
            ("", PlacementError::Pair(String::new())),
            ("acme=one", PlacementError::Partition("one".into())),
            ("acme=1000", PlacementError::Partition("1000".into())),
            ("acme=0,acme=1", PlacementError::Twice("acme".into())),
        ] {
            assert_eq!(Placement::parse(text), Err(error), "{text}");
        }
        assert!(matches!(Placement::parse("a.b=1"), Err(PlacementError::Tenant(_))));
        let many = (0..=TENANTS_MAX).map(|at| (tenant(&format!("t{at}")), 0)).collect();
        assert_eq!(Placement::of(many), Err(PlacementError::TooMany));
    }

    #[test]
    fn the_tenants_of_a_partition_come_back_and_are_compared() {
        let own: Tenants = [tenant(""), tenant("acme")].into_iter().collect();
        for tenants in [Tenants::All, own.clone(), Tenants::from_iter([])] {
            assert_eq!(Tenants::decode(&tenants.encode()), Some(tenants));
        }
        assert!(own.has(&tenant("")) && !own.has(&tenant("globex")) && Tenants::All.has(&tenant("globex")));
        let other: Tenants = [tenant("globex"), tenant("acme")].into_iter().collect();
        assert_eq!(own.shared_with(&other), Some("acme".into()));
        assert_eq!(own.shared_with(&Tenants::All), Some("_, acme".into()));
        assert_eq!((own.lacking_in(&other), own.lacking_in(&Tenants::All)), (Some("_".into()), None));
        assert_eq!(Tenants::All.lacking_in(&own), Some("all tenants".into()));
        assert_eq!(own.shared_with(&Tenants::from_iter([tenant("globex")])), None);
    }
}
