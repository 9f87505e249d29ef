//! What an inspection tells a gate.

use super::Sighting;
use crate::placement::Tenants;
use crate::wire::stream::{ConsumerName, OWNER_METADATA, TENANTS_METADATA};
use std::collections::BTreeMap;

/// What is known of a stream when a gate binds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StreamFacts {
    /// Its creation time and the id we gave it.
    pub incarnation: String,
    /// Sequence of its first message; one past the last when empty.
    pub first_seq: u64,
    /// Sequence of the last message ever stored.
    pub last_seq: u64,
    /// How many are stored.
    pub messages: u64,
    /// What stands at the sequences that were asked about.
    pub found: Vec<Sighting>,
    /// The subjects of what stands there.
    pub subjects: BTreeMap<u64, String>,
    /// Our durable consumer, if it exists.
    pub consumer: Option<ConsumerFacts>,
    /// Another partition's that has a tenant of ours, where that was asked.
    pub rival: Option<Rival>,
}

/// What is known of an existing durable consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConsumerFacts {
    /// The store it works for, when it says so.
    pub owner: Option<String>,
    /// Everything up to here is acked, says the broker.
    pub ack_floor_seq: u64,
}

/// The stream does not exist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoStream;

/// The broker definitely did not make the consumer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PositionRefused {
    /// What it said.
    pub detail: String,
}

/// A consumer of another partition that lets through what is ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rival {
    /// Its name.
    pub consumer: String,
    /// The tenants that are ours too, for people.
    pub tenants: String,
}

impl Rival {
    /// Whether a consumer of our stream is one. What says no tenants is of a release that had all of them.
    #[must_use]
    pub fn of(
        own: &str,
        tenants: &Tenants,
        (name, metadata): (&str, &BTreeMap<String, String>),
    ) -> Option<Self> {
        let is_sibling = name != own && ConsumerName::role_of(name) == ConsumerName::role_of(own);
        if !is_sibling || !metadata.contains_key(OWNER_METADATA) {
            return None;
        }
        let theirs = metadata.get(TENANTS_METADATA).map_or(Some(Tenants::All), |text| Tenants::decode(text));
        let tenants = tenants.shared_with(&theirs.unwrap_or_default())?;
        Some(Self { consumer: name.to_owned(), tenants })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::read_tenant;
    use crate::wire::stream::ConsumerRole;

    #[test]
    fn a_rival_has_the_same_role_in_another_partition_and_a_tenant_of_ours() {
        let own = ConsumerName::new(ConsumerRole::SagaEvents, None, 1);
        let tenants: Tenants = [read_tenant("acme").expect("a tenant")].into_iter().collect();
        let rival = |name: &str, theirs: Option<&str>| {
            let theirs = theirs.map(|theirs| (TENANTS_METADATA.to_owned(), theirs.to_owned()));
            let owner = (OWNER_METADATA.to_owned(), "store".to_owned());
            let metadata = theirs.into_iter().chain([owner]).collect();
            Rival::of(own.as_str(), &tenants, (name, &metadata)).map(|own| own.tenants)
        };
        assert_eq!(rival("saga_events-p0", Some("acme globex")), Some("acme".into()));
        assert_eq!(rival("saga_events-p0", Some("*")), Some("acme".into()));
        assert_eq!(rival("saga_events-p0", None), Some("acme".into()), "of an earlier release");
        assert_eq!(rival("saga_events-p0", Some("globex")), None);
        assert_eq!(rival("saga_events-p1", Some("acme")), None, "that is our own");
        assert_eq!(rival("projection-orders-p0", Some("acme")), None, "another role");
        assert_eq!(
            Rival::of(own.as_str(), &tenants, ("saga_events-p0", &BTreeMap::new())),
            None,
            "not one of a node"
        );
    }
}
