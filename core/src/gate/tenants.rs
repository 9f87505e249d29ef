//! Whose messages a gate lets through, and how a tenant joins those that are read already.
//!
//! ```text
//! read so far:      ●───────────────────────● checkpoint
//! a tenant joins:   ○─ its messages only ──►● … then all of them go on from the checkpoint
//!                     catch-up
//! ```
//!
//! Of a tenant that joins, nothing below the checkpoint was applied. So its messages are read first, from the beginning of
//! the stream, by a consumer that has only them: and the message at the checkpoint, which is how the gate knows that
//! nothing of them is left before it, without believing any count. What is there is passed over for whoever has it.
//!
//! The streams of workflows are read whole, for a checkpoint that moves with every message is what shows whether any
//! expired unseen: what is of another partition's tenants is passed over.
//!
//! A tenant never leaves this way: what its messages caused is in this store, and would go on here as it goes on there.
//!
//! Durable: the rows `tenants` and `catch_up`. Derived on recovery: nothing.
//!
//! - INV-GATE-8: no message of a tenant is passed over while it is ours, and none is applied while it is not.
//!
//! Limit: those of [`placement`](crate::placement).

use super::{Admission, Checkpoint, Delivery, Effect, Gate, Phase, StreamFacts};
use crate::cx::Cx;
use crate::gate::bind::Unbound;
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::placement::Tenants;
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::wire::id::TenantId;
use crate::wire::keys;
use crate::wire::stream::{ConsumerName, PlatformStream};
use crate::wire::subject::{Filter, tenant_of};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// Tenants that joined, and what of them is still to be applied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CatchUp {
    /// How far their messages are applied.
    pub seq: u64,
    /// Who, and up to where each was applied before this began.
    pub from: BTreeMap<TenantId, u64>,
}

/// Whose messages were let through, and are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Members {
    /// Whose.
    pub tenants: Tenants,
    /// Those of them that are not as far as the others.
    pub catch_up: Option<CatchUp>,
}

#[derive(Serialize, Deserialize)]
struct Row {
    tenants: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    joined: BTreeMap<String, u64>,
}

impl Members {
    /// Reads them back; `None` when nothing was let through yet.
    ///
    /// # Errors
    /// When a row cannot be read.
    pub fn read(consumer: &ConsumerName, view: &dyn View) -> Result<Option<Self>, Halt> {
        let tenants = view.get(Table::Meta, &keys::tenants(consumer))?;
        Self::decode(consumer, tenants, view.get(Table::Meta, &keys::catch_up(consumer))?)
    }

    /// Of their two rows.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn decode(
        consumer: &ConsumerName,
        tenants: Option<&[u8]>,
        catch_up: Option<&[u8]>,
    ) -> Result<Option<Self>, Halt> {
        let corrupt = || Halt::Corrupt { table: Table::Meta, detail: format!("the tenants of {consumer}") };
        let Some(row) = tenants else { return Ok(None) };
        let Row { tenants, joined } = serde_json::from_slice(row).map_err(|_| corrupt())?;
        let tenants = Tenants::decode(&tenants).ok_or_else(corrupt)?;
        if joined.is_empty() {
            return Ok(Some(Self { tenants, catch_up: None }));
        }
        let from: Option<BTreeMap<TenantId, u64>> =
            joined.iter().map(|(token, seq)| Some((TenantId::from_token(token)?, *seq))).collect();
        let seq = catch_up.and_then(keys::parse_position);
        let (from, seq) = from.zip(seq).ok_or_else(corrupt)?;
        Ok(Some(Self { tenants, catch_up: Some(CatchUp { seq, from }) }))
    }

    fn encode(&self) -> Vec<u8> {
        let joined = self.catch_up.iter().flat_map(|own| &own.from);
        let joined = joined.map(|(tenant, seq)| (tenant.token(), *seq)).collect();
        serde_json::to_vec(&Row { tenants: self.tenants.encode(), joined }).expect("a row serialises")
    }

    /// Up to where a tenant's messages are applied when all of ours are up to `seq`.
    #[must_use]
    pub fn passed(&self, tenant: &TenantId, seq: u64) -> u64 {
        if !self.tenants.has(tenant) {
            return 0;
        }
        let late = self.catch_up.as_ref().and_then(|own| Some(own.seq.max(*own.from.get(tenant)?)));
        late.unwrap_or(seq)
    }

    /// What it takes to have these tenants; `None` when it is so already.
    fn joined_by(&self, tenants: &Tenants, up_to: u64) -> Option<Self> {
        let joining: BTreeSet<&TenantId> = match (&self.tenants, tenants) {
            (Tenants::Of(own), Tenants::Of(wanted)) => wanted.difference(own).collect(),
            (Tenants::All, _) | (_, Tenants::All) => BTreeSet::new(),
        };
        if joining.is_empty() {
            return None;
        }
        let mut from = self.catch_up.as_ref().map_or_else(BTreeMap::new, |own| {
            own.from.iter().map(|(tenant, seq)| (tenant.clone(), own.seq.max(*seq))).collect()
        });
        from.extend(joining.into_iter().map(|tenant| (tenant.clone(), 0)));
        // Where nothing was applied, nothing is to be caught up with.
        let catch_up = (up_to > 0).then_some(CatchUp { seq: 0, from });
        Some(Self { tenants: tenants.clone(), catch_up })
    }
}

/// What a delivery is to the tenants.
pub(super) enum Belonging {
    /// It is the next one to apply.
    Next,
    /// It was applied, or is for later: it does not move anything.
    Seen,
    /// It is of another partition: the checkpoint moves past it.
    Foreign,
    /// Those that joined are as far as the others.
    CaughtUp,
}

impl Gate {
    /// Whose messages it lets through.
    #[must_use]
    pub const fn tenants(&self) -> &Tenants {
        &self.config.tenants
    }

    /// Tenants that joined and are not as far as the others.
    #[must_use]
    pub const fn catch_up(&self) -> Option<&CatchUp> {
        self.members.catch_up.as_ref()
    }

    /// Up to where a tenant's messages are applied; nowhere when it is none of ours.
    #[must_use]
    pub fn passed(&self, tenant: &TenantId) -> u64 {
        self.members.passed(tenant, self.checkpoint.seq)
    }

    /// Up to where a consumer's stream is applied, says a store, whoever reads it now.
    ///
    /// # Errors
    /// When the row cannot be read.
    pub fn applied_by(consumer: &ConsumerName, view: &dyn View) -> Result<u64, Halt> {
        let row = view.get(Table::Checkpoint, &keys::checkpoint(consumer))?;
        Ok(row.map(Checkpoint::decode).transpose()?.map_or(0, |own| own.seq))
    }

    /// Whether a store has it on record for each of its consumers whose messages it let through.
    ///
    /// # Errors
    /// When a table cannot be read.
    pub fn is_placed(view: &dyn View) -> Result<bool, Halt> {
        let mut rows = Vec::new();
        view.scan(Table::Checkpoint, b"", &mut |key, _| {
            rows.extend(keys::tenants_by_checkpoint(key));
            ControlFlow::Continue(())
        })?;
        for row in rows {
            if view.get(Table::Meta, &row)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a store has of tenants, and whether that is yet to be said; or that it would lose some.
    pub(super) fn members(
        config: &super::Config,
        bound: bool,
        view: &dyn View,
    ) -> Result<(Members, bool), Halt> {
        let found = Members::read(&config.consumer, view)?;
        let own = || (Members { tenants: config.tenants.clone(), catch_up: None }, true);
        let members = match found {
            Some(members) => members,
            None if !bound || config.narrows => return Ok(own()),
            // A store that never heard of a placement has all of them.
            None => Members::default(),
        };
        // A store that has some cannot tell what it passed of all others.
        let opened = config.tenants == Tenants::All && members.tenants != Tenants::All;
        let gone = if opened {
            Some(members.tenants.to_string())
        } else {
            members.tenants.lacking_in(&config.tenants)
        };
        match gone {
            Some(tenants) => {
                let (consumer, placed) = (config.consumer.to_string(), config.tenants.to_string());
                Err(Fence::TenantsTaken { consumer, tenants, placed }.into())
            }
            None => Ok((members, false)),
        }
    }

    /// Whether a binding will have tenants join.
    pub(super) fn is_joined(&self) -> bool {
        self.members.tenants != self.config.tenants || self.members.catch_up.is_some()
    }

    /// Those that are ours from now on are, and what they missed is to be applied first.
    pub(super) fn join<I>(&mut self, cx: &mut Cx<'_, I, Effect>) {
        if let Some(joined) = self.members.joined_by(&self.config.tenants, self.checkpoint.seq) {
            cx.mark(Mark::GateTenantJoined);
            self.members = joined;
            if self.config.quirks.has(Quirk::GateJoinForgets) {
                self.members.catch_up = None;
            }
            self.stage_members(cx);
        } else if std::mem::take(&mut self.members_unsaid) && self.members.tenants != Tenants::All {
            self.stage_members(cx);
        }
    }

    fn stage_members<I>(&self, cx: &mut Cx<'_, I, Effect>) {
        let consumer = &self.config.consumer;
        cx.put(Table::Meta, &keys::tenants(consumer), &self.members.encode());
        match &self.members.catch_up {
            Some(catch_up) => cx.put(Table::Meta, &keys::catch_up(consumer), &keys::position(catch_up.seq)),
            None => cx.delete(Table::Meta, &keys::catch_up(consumer)),
        }
    }

    /// The stream is another one, of which nothing was applied.
    pub(super) fn nothing_to_catch_up_with<I>(&mut self, cx: &mut Cx<'_, I, Effect>) {
        if self.members.catch_up.take().is_some() {
            self.stage_members(cx);
        }
    }

    /// What the consumer is to deliver, and from where on.
    pub(super) fn extent(&self, facts: &StreamFacts) -> (Vec<Filter>, u64) {
        let Some(CatchUp { seq, from }) = &self.members.catch_up else {
            let filters = match (&self.config.tenants, self.config.stream) {
                (Tenants::Of(own), PlatformStream::AggregateEvents) => self.filters_of(own.iter()),
                (Tenants::Of(_) | Tenants::All, _) => self.config.filters.clone(),
            };
            return (filters, self.checkpoint.seq + 1);
        };
        let last = facts.subjects.get(&self.checkpoint.seq);
        let last = last.and_then(|subject| Filter::parse(subject).ok());
        let Some(last) = last else {
            // Nothing of ours stands there any more: whatever comes after it shows that they are as far.
            return (self.config.filters.clone(), seq + 1);
        };
        let mut filters = self.filters_of(from.keys());
        if !filters.iter().any(|own| own.covers(&last)) {
            filters.push(last);
        }
        (filters, seq + 1)
    }

    fn filters_of<'t>(&self, tenants: impl Iterator<Item = &'t TenantId>) -> Vec<Filter> {
        tenants.flat_map(|own| self.config.filters.iter().map(|filter| filter.of_tenant(own))).collect()
    }

    pub(super) fn belonging(&self, delivery: &Delivery) -> Belonging {
        let seq = delivery.stream_seq;
        if self.config.tenants == Tenants::All {
            return if seq <= self.checkpoint.seq { Belonging::Seen } else { Belonging::Next };
        }
        // What names no tenant is everybody's: nothing is lost that nobody may read.
        let tenant = tenant_of(&delivery.subject);
        if let Some(CatchUp { seq: applied, from }) = &self.members.catch_up {
            let late = tenant.as_ref().and_then(|tenant| from.get(tenant));
            let is_next = late.is_some_and(|before| seq > (*before).max(*applied));
            return match (seq <= self.checkpoint.seq && is_next, seq >= self.checkpoint.seq) {
                (true, _) => Belonging::Next,
                (false, true) => Belonging::CaughtUp,
                (false, false) => Belonging::Seen,
            };
        }
        match tenant {
            _ if seq <= self.checkpoint.seq => Belonging::Seen,
            Some(tenant) if !self.config.tenants.has(&tenant) => Belonging::Foreign,
            Some(_) | None => Belonging::Next,
        }
    }

    /// A message of those that joined is applied: says whether they are as far as the others now.
    pub(super) fn advance_late<I>(&mut self, stream_seq: u64, cx: &mut Cx<'_, I, Effect>) {
        if let Some(catch_up) = &mut self.members.catch_up {
            catch_up.seq = stream_seq;
            let position = keys::position(stream_seq);
            cx.put(Table::Meta, &keys::catch_up(&self.config.consumer), &position);
        }
        if stream_seq >= self.checkpoint.seq || self.config.quirks.has(Quirk::GateJoinTooSoon) {
            self.caught_up(cx);
        }
    }

    /// All go on from the checkpoint.
    pub(super) fn caught_up<I>(&mut self, cx: &mut Cx<'_, I, Effect>) -> Admission {
        cx.mark(Mark::GateCaughtUp);
        self.members.catch_up = None;
        self.stage_members(cx);
        self.phase = Phase::Unbound(Unbound::at_once());
        Admission::Drop
    }
}
