//! How far a consumer's gate is, tenant by tenant.

use super::{Seen, Violation};
use cloudlysis_core::gate::Members;
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::ConsumerName;
use cloudlysis_core::wire::subject::tenant_of;
use cloudlysis_core::{Invariant, Table, View};
use cloudlysis_io_sim::store::Change;

/// The sequence in a checkpoint row.
pub(super) fn checkpoint_seq(row: Option<&[u8]>) -> u64 {
    row.and_then(|row| row.first_chunk::<8>()).map_or(0, |seq| u64::from_be_bytes(*seq))
}

/// Which messages of a stream are passed.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Reach {
    /// The checkpoint.
    pub(super) seq: u64,
    members: Members,
}

impl Reach {
    /// After a turn.
    pub(super) fn after(seen: &Seen<'_>, consumer: &ConsumerName) -> Result<Self, Violation> {
        Self::read(consumer, |table, key| seen.rows.get(table, key).ok().flatten())
    }

    /// Before and after a turn; `None` when it changed nothing.
    pub(super) fn change(
        seen: &Seen<'_>,
        changes: &[Change],
        consumer: &ConsumerName,
    ) -> Result<Option<(Self, Self)>, Violation> {
        let rows = [
            (Table::Checkpoint, keys::checkpoint(consumer)),
            (Table::Meta, keys::tenants(consumer)),
            (Table::Meta, keys::catch_up(consumer)),
        ];
        let of = |table: Table, key: &[u8]| changes.iter().find(|own| own.table == table && own.key == key);
        if rows.iter().all(|(table, key)| of(*table, key).is_none()) {
            return Ok(None);
        }
        let before = Self::read(consumer, |table, key| match of(table, key) {
            Some(change) => change.before.as_deref(),
            None => seen.rows.get(table, key).ok().flatten(),
        })?;
        Ok(Some((before, Self::after(seen, consumer)?)))
    }

    fn read<'r>(
        consumer: &ConsumerName,
        row: impl Fn(Table, &[u8]) -> Option<&'r [u8]>,
    ) -> Result<Self, Violation> {
        let seq = checkpoint_seq(row(Table::Checkpoint, &keys::checkpoint(consumer)));
        let (tenants, catch_up) =
            (row(Table::Meta, &keys::tenants(consumer)), row(Table::Meta, &keys::catch_up(consumer)));
        let members = Members::decode(consumer, tenants, catch_up);
        let members = members.map_err(|halt| Violation::new(Invariant::Gate8, halt.to_string()))?;
        Ok(Self { seq, members: members.unwrap_or_default() })
    }

    /// Whether a message is applied, as far as it is ours.
    pub(super) fn has(&self, subject: &str, seq: u64) -> bool {
        tenant_of(subject).map_or(seq <= self.seq, |tenant| seq <= self.members.passed(&tenant, self.seq))
    }

    /// Everything up to here was applied before.
    pub(super) fn common(&self, after: &Self) -> u64 {
        match &after.members.tenants {
            Tenants::All => self.seq,
            Tenants::Of(own) => {
                let passed = own.iter().map(|tenant| self.members.passed(tenant, self.seq));
                passed.chain([self.seq]).min().unwrap_or_default()
            }
        }
    }

    /// INV-GATE-8: no tenant is less far than before, and none is gone.
    pub(super) fn goes_back(&self, after: &Self) -> bool {
        let Tenants::Of(own) = &self.members.tenants else { return after.members.tenants != Tenants::All };
        // Before anything is applied, nobody has anything.
        let less = |tenant| after.members.passed(tenant, after.seq) < self.members.passed(tenant, self.seq);
        own.iter().any(|tenant| !after.members.tenants.has(tenant) || less(tenant))
    }
}
