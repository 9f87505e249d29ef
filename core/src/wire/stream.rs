//! The three streams and what they must be; the names of our durable consumers.
//!
//! A stream is created only on bootstrap, validated at every start, and never silently changed. What an operator may
//! choose otherwise (more subjects, more room, more replicas, a longer duplicate window) is accepted; what would lose
//! messages or break a guarantee is a [`Mismatch`] that names the field.

use super::envelope::MESSAGE_BYTES_MAX;
use super::id::Name;
use super::subject::Filter;
use crate::jetstream::api::{Discard, Retention, Storage, StreamConfig, StreamInfo};
use std::fmt;
use thiserror::Error;

/// Metadata key of the id we give a stream when we create it: with `created`, its incarnation.
pub const INCARNATION_METADATA: &str = "cloudlysis.incarnation";
/// Metadata key of the store a durable consumer works for.
pub const OWNER_METADATA: &str = "cloudlysis.owner";
/// Metadata key of the tenants whose messages a durable consumer's gate lets through.
pub const TENANTS_METADATA: &str = "cloudlysis.tenants";

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 24 * 3600 * SECOND_NS;

/// A stream of the platform.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PlatformStream {
    /// Every event of every aggregate, for ever.
    AggregateEvents,
    /// Effect commands.
    WorkflowCommands,
    /// Effect results.
    WorkflowEvents,
}

impl PlatformStream {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::AggregateEvents, Self::WorkflowCommands, Self::WorkflowEvents];

    /// Its name on the broker.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AggregateEvents => "AGGREGATE_EVENTS",
            Self::WorkflowCommands => "WORKFLOW_COMMANDS",
            Self::WorkflowEvents => "WORKFLOW_EVENTS",
        }
    }

    /// What it stores.
    #[must_use]
    pub const fn subjects(self) -> &'static [&'static str] {
        match self {
            Self::AggregateEvents => &["tenant.*.aggregate.>"],
            Self::WorkflowCommands => &["tenant.*.effect.>", "tenant.*.workflow.>"],
            Self::WorkflowEvents => &["tenant.*.effect_result.>", "tenant.*.workflow_event.>"],
        }
    }

    /// The policy: what we create, and what we validate against. The room is the operator's choice.
    ///
    /// Limits retention everywhere: work-queue retention forgets message ids when the broker restarts, and interest
    /// retention drops messages while nobody listens. A full stream refuses new messages; it never drops old ones.
    /// Aggregate events have no age: a subject that empties would let an aggregate be created twice.
    #[must_use]
    pub fn policy(self, room: StreamRoom) -> StreamConfig {
        let (bytes_max, age_max_ns) = match self {
            Self::AggregateEvents => (room.events_bytes_max, 0),
            Self::WorkflowCommands | Self::WorkflowEvents => (room.workflow_bytes_max, 30 * DAY_NS),
        };
        StreamConfig {
            retention: Retention::Limits,
            max_bytes: i64::try_from(bytes_max).unwrap_or(i64::MAX),
            max_age_ns: age_max_ns,
            max_msg_size: 1 << 20,
            discard: Discard::New,
            storage: Storage::File,
            num_replicas: room.replicas,
            duplicate_window_ns: 120 * SECOND_NS,
            ..StreamConfig::new(self.name(), self.subjects())
        }
    }
}

/// How much room the streams get when they are created. The server reserves it: creation fails without the disk for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamRoom {
    /// How many servers keep each stream.
    pub replicas: u8,
    /// Bytes for aggregate events.
    pub events_bytes_max: u64,
    /// Bytes for each of the two workflow streams.
    pub workflow_bytes_max: u64,
}

impl StreamRoom {
    /// For one machine: 1 GiB of events.
    pub const DEVELOPMENT: Self =
        Self { replicas: 1, events_bytes_max: 1 << 30, workflow_bytes_max: 256 << 20 };
}

impl fmt::Display for PlatformStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A field of an existing stream that would break a guarantee.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("stream {stream}: `{field}` is {actual}, but must be {required}; {why}")]
pub struct Mismatch {
    /// The stream.
    pub stream: String,
    /// The field.
    pub field: &'static str,
    /// What it is.
    pub actual: String,
    /// What it must be.
    pub required: String,
    /// What would go wrong.
    pub why: &'static str,
}

/// Compares an existing stream with the policy.
///
/// # Errors
/// Every mismatch, not just the first.
pub fn validate(policy: &StreamConfig, actual: &StreamConfig) -> Result<(), Vec<Mismatch>> {
    let mut mismatches = Vec::new();
    let mut require = |holds: bool, field, actual: String, required: String, why| {
        if !holds {
            mismatches.push(Mismatch { stream: policy.name.clone(), field, actual, required, why });
        }
    };
    let covered = policy.subjects.iter().all(|wanted| {
        Filter::parse(wanted).is_ok_and(|wanted| {
            actual.subjects.iter().any(|own| Filter::parse(own).is_ok_and(|own| own.covers(&wanted)))
        })
    });
    require(
        covered,
        "subjects",
        format!("{:?}", actual.subjects),
        format!("a superset of {:?}", policy.subjects),
        "messages on the missing subjects would go nowhere",
    );
    require(
        actual.retention == policy.retention,
        "retention",
        format!("{:?}", actual.retention).to_lowercase(),
        "limits".into(),
        "other retentions remove messages that replay needs",
    );
    require(
        actual.discard == policy.discard,
        "discard",
        format!("{:?}", actual.discard).to_lowercase(),
        "new".into(),
        "a full stream would drop messages nobody has seen",
    );
    require(
        actual.storage == policy.storage,
        "storage",
        format!("{:?}", actual.storage).to_lowercase(),
        "file".into(),
        "a memory stream is gone when the broker restarts",
    );
    require(
        actual.max_msgs_per_subject <= 0,
        "max_msgs_per_subject",
        actual.max_msgs_per_subject.to_string(),
        "-1".into(),
        "older messages of a subject would be replaced",
    );
    let age_holds =
        actual.max_age_ns == 0 || (policy.max_age_ns != 0 && actual.max_age_ns >= policy.max_age_ns);
    require(
        age_holds,
        "max_age",
        format!("{} s", actual.max_age_ns / SECOND_NS),
        if policy.max_age_ns == 0 {
            "0".into()
        } else {
            format!("0 or at least {} s", policy.max_age_ns / SECOND_NS)
        },
        "messages would expire before everybody has seen them",
    );
    let size_min = i64::try_from(MESSAGE_BYTES_MAX).unwrap_or(i64::MAX);
    require(
        actual.max_msg_size <= 0 || actual.max_msg_size >= size_min,
        "max_msg_size",
        actual.max_msg_size.to_string(),
        format!("-1 or at least {size_min}"),
        "messages within the platform's limit would be refused",
    );
    require(
        actual.duplicate_window_ns >= policy.duplicate_window_ns,
        "duplicate_window",
        format!("{} s", actual.duplicate_window_ns / SECOND_NS),
        format!("at least {} s", policy.duplicate_window_ns / SECOND_NS),
        "quick retries would be stored twice",
    );
    require(!actual.sealed, "sealed", "true".into(), "false".into(), "nothing could be stored");
    if mismatches.is_empty() { Ok(()) } else { Err(mismatches) }
}

/// A stream's incarnation: when it was created, and the id we gave it. Recreating or restoring it changes one of them.
#[must_use]
pub fn incarnation(info: &StreamInfo) -> String {
    let id = info.config.metadata.get(INCARNATION_METADATA).map_or("", String::as_str);
    format!("{}|{id}", info.created)
}

/// What a durable consumer is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ConsumerRole {
    /// Feeds one view.
    Projection,
    /// Feeds sagas with aggregate events.
    SagaEvents,
    /// Feeds sagas with effect results.
    SagaResults,
    /// Feeds effects with their commands.
    EffectCommands,
}

impl ConsumerRole {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Projection, Self::SagaEvents, Self::SagaResults, Self::EffectCommands];

    // No name contains `-`: that is what keeps consumer names unambiguous.
    const fn name(self) -> &'static str {
        match self {
            Self::Projection => "projection",
            Self::SagaEvents => "saga_events",
            Self::SagaResults => "saga_results",
            Self::EffectCommands => "effect_commands",
        }
    }
}

/// The name of a durable consumer: `role-name-p0`, deterministic and collision-free.
///
/// The role has no `-` and the partition comes last, so the name between them may have any.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConsumerName(String);

impl ConsumerName {
    /// What a consumer of this name is for, in whichever partition.
    #[must_use]
    pub fn role_of(name: &str) -> &str {
        name.rsplit_once("-p").map_or(name, |(role, _)| role)
    }

    /// The durable of a role, for one view or for all definitions of the partition.
    #[must_use]
    pub fn new(role: ConsumerRole, name: Option<&Name>, partition: u32) -> Self {
        Self(match name {
            Some(name) => format!("{}-{name}-p{partition}", role.name()),
            None => format!("{}-p{partition}", role.name()),
        })
    }

    /// As the broker knows it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ConsumerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_policy_validates_against_itself_and_against_generous_operators() {
        for stream in PlatformStream::ALL {
            let policy = stream.policy(StreamRoom::DEVELOPMENT);
            assert_eq!(validate(&policy, &policy), Ok(()));
            let generous = StreamConfig {
                subjects: vec!["tenant.>".into()],
                max_bytes: -1,
                max_age_ns: 0,
                max_msg_size: -1,
                num_replicas: 5,
                duplicate_window_ns: 600 * SECOND_NS,
                ..policy.clone()
            };
            assert_eq!(validate(&policy, &generous), Ok(()));
        }
    }

    #[test]
    fn every_dangerous_difference_is_named() {
        let policy = PlatformStream::AggregateEvents.policy(StreamRoom::DEVELOPMENT);
        let wrong = StreamConfig {
            subjects: vec!["tenant.a.aggregate.>".into()],
            retention: Retention::Workqueue,
            discard: Discard::Old,
            storage: Storage::Memory,
            max_msgs_per_subject: 1,
            max_age_ns: DAY_NS,
            max_msg_size: 10,
            duplicate_window_ns: SECOND_NS,
            sealed: true,
            ..policy.clone()
        };
        let fields: Vec<_> =
            validate(&policy, &wrong).expect_err("mismatches").iter().map(|m| m.field).collect();
        assert_eq!(
            fields,
            [
                "subjects",
                "retention",
                "discard",
                "storage",
                "max_msgs_per_subject",
                "max_age",
                "max_msg_size",
                "duplicate_window",
                "sealed"
            ]
        );
    }

    #[test]
    fn policies_do_not_overlap_and_survive_json() {
        let policies = PlatformStream::ALL
            .map(|stream| stream.policy(StreamRoom { replicas: 3, ..StreamRoom::DEVELOPMENT }));
        for a in &policies {
            let json = serde_json::to_string(a).expect("serialises");
            assert_eq!(&serde_json::from_str::<StreamConfig>(&json).expect("parses"), a);
            for b in policies.iter().filter(|b| b.name != a.name) {
                for (x, y) in a.subjects.iter().flat_map(|x| b.subjects.iter().map(move |y| (x, y))) {
                    assert!(!Filter::parse(x).expect("filter").overlaps(&Filter::parse(y).expect("filter")));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn consumer_names_never_collide_and_are_legal(
            a in (0..4_usize, prop::option::of("[a-zA-Z][a-zA-Z0-9_-]{0,6}"), 0..3_u32),
            b in (0..4_usize, prop::option::of("[a-zA-Z][a-zA-Z0-9_-]{0,6}"), 0..3_u32),
        ) {
            // A role either always or never has a name.
            let build = |(role, name, partition): &(usize, Option<String>, u32)| {
                let role = ConsumerRole::ALL[*role];
                let name = (role == ConsumerRole::Projection)
                    .then(|| Name::parse(name.as_deref().unwrap_or("x")).expect("name"));
                ((role, name.clone(), *partition), ConsumerName::new(role, name.as_ref(), *partition))
            };
            let ((key_a, name_a), (key_b, name_b)) = (build(&a), build(&b));
            prop_assert_eq!(key_a == key_b, name_a == name_b);
            prop_assert!(name_a.as_str().bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-'));
        }
    }
}
