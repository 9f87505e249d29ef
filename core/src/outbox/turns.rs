//! Whose turn it is: tenants take turns at the places in flight, and at the room in memory.
//!
//! ```text
//! something ready, below its share ─► queue ─► served: the lowest position that is ready ─┐
//!                    ▲                                                                     │
//!                    └─────────────── more ready, still below its share ◄──────────────────┘
//! ```
//!
//! A tenant stands in the queue once, however much it has ready, so whoever joins is served after at most one turn of
//! every other. Rows are kept by tenant, so what a tenant has on disk is read without passing what others have there.
//!
//! Derived: all of it, from the rows.

use super::Limits;
use crate::halt::Halt;
use crate::invariant;
use crate::quirks::{Quirk, Quirks};
use crate::wire::id::TenantId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

/// What a tenant has in the outbox.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Share {
    /// Rows in the table.
    pub(super) depth: u64,
    /// Rows in memory.
    pub(super) tracked: usize,
    /// Positions below are tracked or gone; the rest is on disk only, but for those ahead.
    pub(super) cursor: u64,
    /// Positions from the cursor on that are tracked or gone: let go before what comes before them was read.
    pub(super) ahead: BTreeSet<u64>,
    in_flight: usize,
    /// Lane heads that wait for a place.
    ready: BTreeSet<u64>,
    /// While it is queued: how many turns will have been taken, at the most, once it was served.
    served_by: Option<u64>,
}

/// All tenants with entries.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Turns {
    limits: Limits,
    quirks: Quirks,
    shares: BTreeMap<TenantId, Share>,
    queue: VecDeque<TenantId>,
    taken: u64,
    /// Tenants with entries on disk only.
    behind: BTreeSet<TenantId>,
    /// Tenants with entries, none of which is in memory.
    left_out: BTreeSet<TenantId>,
    /// The tenant whose entries were read from disk last.
    filled_last: Option<TenantId>,
    tracked: usize,
}

impl Share {
    fn may_go(&self, limits: Limits) -> bool {
        !self.ready.is_empty() && self.in_flight < limits.in_flight_tenant_max
    }
}

impl Turns {
    pub(super) fn new(limits: Limits, quirks: Quirks) -> Self {
        Self {
            limits,
            quirks,
            shares: BTreeMap::new(),
            queue: VecDeque::new(),
            taken: 0,
            behind: BTreeSet::new(),
            left_out: BTreeSet::new(),
            filled_last: None,
            tracked: 0,
        }
    }

    pub(super) fn share(&self, tenant: &TenantId) -> Option<&Share> {
        self.shares.get(tenant)
    }

    pub(super) const fn shares(&self) -> &BTreeMap<TenantId, Share> {
        &self.shares
    }

    /// Entries in memory.
    pub(super) const fn tracked(&self) -> usize {
        self.tracked
    }

    /// A row was found, or is staged.
    pub(super) fn stored(&mut self, tenant: &TenantId, position: u64) {
        match self.shares.get_mut(tenant) {
            Some(share) => share.depth += 1,
            None => {
                let share = Share { depth: 1, cursor: position, ..Share::default() };
                self.shares.insert(tenant.clone(), share);
                self.left_out.insert(tenant.clone());
            }
        }
    }

    /// Some of the tenant's rows are on disk only.
    pub(super) fn fell_behind(&mut self, tenant: &TenantId) {
        if !self.behind.contains(tenant) {
            self.behind.insert(tenant.clone());
        }
    }

    /// The row is in memory; everything of the tenant up to it is, or is gone.
    pub(super) fn tracked_up_to(&mut self, tenant: &TenantId, position: u64) {
        if let Some(share) = self.shares.get_mut(tenant) {
            share.cursor = position + 1;
            share.ahead = share.ahead.split_off(&share.cursor);
        }
        self.count_tracked(tenant);
    }

    /// The row is in memory, whatever there is of the tenant before it on disk only.
    pub(super) fn tracked_alone(&mut self, tenant: &TenantId, position: u64) {
        if let Some(share) = self.shares.get_mut(tenant)
            && position >= share.cursor
        {
            share.ahead.insert(position);
        }
        self.count_tracked(tenant);
    }

    fn count_tracked(&mut self, tenant: &TenantId) {
        let Some(share) = self.shares.get_mut(tenant) else { return };
        share.tracked += 1;
        self.tracked += 1;
        self.left_out.remove(tenant);
        if share.tracked as u64 == share.depth && !self.quirks.has(Quirk::OutboxCursorStays) {
            self.behind.remove(tenant);
        }
    }

    /// The row is gone, and was in memory.
    pub(super) fn removed(&mut self, tenant: &TenantId) {
        let Some(share) = self.shares.get_mut(tenant) else { return };
        share.depth -= 1;
        share.tracked -= 1;
        self.tracked -= 1;
        if share.depth == 0 {
            if share.served_by.is_some() {
                self.queue.retain(|own| own != tenant);
            }
            self.behind.remove(tenant);
            self.shares.remove(tenant);
        } else if share.tracked == 0 {
            self.left_out.insert(tenant.clone());
        }
    }

    /// Entries this tenant may still have read into memory. One is always allowed: others do not keep it out.
    pub(super) fn room(&self, tenant: &TenantId) -> usize {
        let own = self.shares.get(tenant).map_or(0, |share| share.tracked);
        let free = self.limits.tracked_max.saturating_sub(self.tracked);
        if self.quirks.has(Quirk::OutboxCrowdedOut) {
            return free;
        }
        let free = free.min(self.limits.tracked_tenant_max.saturating_sub(own));
        if own == 0 { free.max(1) } else { free }
    }

    /// Whether the tenant has entries on disk only. Positions do not tell: those after the last row may be gone.
    pub(super) fn is_behind(&self, tenant: &TenantId) -> bool {
        self.behind.contains(tenant)
    }

    const fn has_room(&self) -> bool {
        self.tracked < self.limits.tracked_max
    }

    /// Whether something on disk may be read into memory.
    pub(super) fn can_fill(&self) -> bool {
        let left_out = !self.left_out.is_empty() && !self.quirks.has(Quirk::OutboxCrowdedOut);
        left_out || self.has_room() && self.behind.iter().any(|tenant| self.room(tenant) > 0)
    }

    /// Tenants with entries, none of which is in memory.
    pub(super) fn left_out(&self) -> Vec<TenantId> {
        if self.quirks.has(Quirk::OutboxCrowdedOut) {
            return Vec::new();
        }
        self.left_out.iter().cloned().collect()
    }

    /// Tenants to read from disk, while there is room: beginning after the one that was read last.
    pub(super) fn to_fill(&self) -> Vec<TenantId> {
        if !self.has_room() {
            return Vec::new();
        }
        let last = self.filled_last.as_ref();
        let later = self.behind.range((last.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let earlier = last.into_iter().flat_map(|last| self.behind.range(..=last));
        let free = self.limits.tracked_max - self.tracked;
        later.chain(earlier).filter(|tenant| self.room(tenant) > 0).take(free).cloned().collect()
    }

    /// Entries of this tenant were read from disk: the next time begins with another one.
    pub(super) fn filled(&mut self, tenant: &TenantId) {
        self.filled_last = Some(tenant.clone());
    }

    /// A lane head waits for a place.
    pub(super) fn ready(&mut self, tenant: &TenantId, position: u64) {
        if let Some(share) = self.shares.get_mut(tenant) {
            share.ready.insert(position);
        }
        self.queue_up(tenant);
    }

    pub(super) fn is_ready(&self, tenant: &TenantId, position: u64) -> bool {
        self.shares.get(tenant).is_some_and(|share| share.ready.contains(&position))
    }

    /// Whether anybody waits for a place.
    pub(super) fn any_waits(&self) -> bool {
        self.queue.iter().any(|tenant| self.shares.get(tenant).is_some_and(|own| own.may_go(self.limits)))
    }

    /// The entry that goes next; its tenant's turn is taken.
    pub(super) fn take(&mut self) -> Option<u64> {
        loop {
            let tenant = self.queue.pop_front()?;
            let Some(share) = self.shares.get_mut(&tenant) else { continue };
            share.served_by = None;
            if !share.may_go(self.limits) {
                continue;
            }
            let Some(position) = share.ready.pop_first() else { continue };
            self.taken += 1;
            if self.quirks.has(Quirk::OutboxKeepsItsTurn) && !share.ready.is_empty() {
                share.served_by = Some(self.taken + 1);
                self.queue.push_front(tenant);
            }
            return Some(position);
        }
    }

    /// The entry takes a place in flight.
    pub(super) fn entered(&mut self, tenant: &TenantId) {
        if let Some(share) = self.shares.get_mut(tenant) {
            share.in_flight += 1;
        }
        self.queue_up(tenant);
    }

    /// The entry gives its place back.
    pub(super) fn left(&mut self, tenant: &TenantId) {
        if let Some(share) = self.shares.get_mut(tenant) {
            share.in_flight -= 1;
        }
        self.queue_up(tenant);
    }

    fn queue_up(&mut self, tenant: &TenantId) {
        let Some(share) = self.shares.get_mut(tenant) else { return };
        if share.served_by.is_none() && share.may_go(self.limits) {
            share.served_by = Some(self.taken + self.queue.len() as u64 + 1);
            self.queue.push_back(tenant.clone());
        }
    }

    /// INV-OUT-4 and INV-OUT-7. Before the first entry is read after a start, nobody has anything in memory.
    pub(super) fn check(&self) -> Result<(), Halt> {
        let mut tracked = 0;
        for (tenant, share) in &self.shares {
            tracked += share.tracked;
            let Share { in_flight, depth, .. } = share;
            invariant!(
                *in_flight <= self.limits.in_flight_tenant_max,
                Out4,
                "tenant {tenant:?} has {in_flight} in flight"
            );
            invariant!(
                self.tracked == 0 || share.tracked > 0 || *depth == 0,
                Out7,
                "tenant {tenant:?} has {depth} entries and none in memory"
            );
            invariant!(
                share.served_by.is_some() == self.queue.contains(tenant)
                    && (share.served_by.is_some() || !share.may_go(self.limits)),
                Out7,
                "tenant {tenant:?} could go and has no turn: {share:?}"
            );
            invariant!(
                share.served_by.is_none_or(|turn| self.taken < turn),
                Out7,
                "tenant {tenant:?} was to be served by turn {:?}, and {} are taken",
                share.served_by,
                self.taken
            );
        }
        invariant!(tracked == self.tracked, Out7, "{tracked} in memory, {} counted", self.tracked);
        Ok(())
    }
}
