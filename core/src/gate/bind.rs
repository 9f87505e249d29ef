//! Binding: is this the stream our checkpoint belongs to, and put the cursor where the checkpoint says.

use super::audit::places;
use super::checkpoint::{self, Checkpoint, Sighting};
use super::{Effect, Gate, NoStream, Phase, PositionRefused, Rival, StreamFacts};
use crate::backoff::full_jitter_ms;
use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::jetstream::api::{AckPolicy, ConsumerConfig, DeliverPolicy, ReplayPolicy};
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::quirks::Quirk;
use crate::time::{Mono, Now};
use crate::wire::stream::{OWNER_METADATA, PlatformStream, TENANTS_METADATA};

const MS: u64 = 1_000_000;

/// Not consuming, and on the way to it.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Unbound {
    /// Will inspect at this moment.
    Waiting { at: Mono, attempt: u32 },
    /// There was no stream; will inspect again.
    NoStream { at: Mono, attempt: u32 },
    /// The broker is away; nothing to wait for but its return.
    Disconnected,
    /// An inspection is out, about what was seen when it was asked: messages of our own may be stored after that.
    Inspecting { token: Token, give_up_at: Mono, attempt: u32, seen: Vec<Sighting> },
    /// A positioning is out.
    Positioning { token: Token, give_up_at: Mono, attempt: u32 },
}

impl Unbound {
    pub(super) const fn at_once() -> Self {
        Self::Waiting { at: Mono::ZERO, attempt: 0 }
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Waiting { at, .. } | Self::NoStream { at, .. } => Some(*at),
            Self::Inspecting { give_up_at, .. } | Self::Positioning { give_up_at, .. } => Some(*give_up_at),
            Self::Disconnected => None,
        }
    }
}

impl Gate {
    pub(super) fn bind_if_due<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        let Phase::Unbound(unbound) = &self.phase else { return };
        match *unbound {
            Unbound::Waiting { at, attempt } | Unbound::NoStream { at, attempt } if at <= now.mono => {
                self.inspect(now, attempt, cx);
            }
            Unbound::Inspecting { give_up_at, attempt, .. }
            | Unbound::Positioning { give_up_at, attempt, .. }
                if give_up_at <= now.mono =>
            {
                cx.mark(Mark::GateBindUnknown);
                self.doubted_since = None;
                self.inspect(now, attempt, cx);
            }
            Unbound::Waiting { .. }
            | Unbound::NoStream { .. }
            | Unbound::Inspecting { .. }
            | Unbound::Positioning { .. }
            | Unbound::Disconnected => {}
        }
    }

    fn inspect<I>(&mut self, now: Now, attempt: u32, cx: &mut Cx<'_, I, Effect>) {
        let token = self.tokens.issue();
        let give_up_at = now.mono.plus_ms(self.config.limits.request_timeout_ms);
        let seen = self.checkpoint.evidence();
        let mut look_at = places(&seen);
        if self.is_joined() && self.checkpoint.seq > 0 && !look_at.contains(&self.checkpoint.seq) {
            look_at.push(self.checkpoint.seq);
        }
        self.phase = Phase::Unbound(Unbound::Inspecting { token, give_up_at, attempt: attempt + 1, seen });
        cx.emit(Effect::Inspect {
            token,
            stream: self.config.stream,
            consumer: self.config.consumer.clone(),
            look_at,
            tenants: Some(self.config.tenants.clone()),
        });
    }

    /// Binds anew after a pause that grows with every attempt in a row.
    pub(super) fn rebind_later(&mut self, now: Now, attempt: u32) {
        let limits = &self.config.limits;
        let pause = full_jitter_ms(attempt, limits.rebind_ms, limits.rebind_ms_max, self.config.seed);
        self.phase = Phase::Unbound(Unbound::Waiting { at: now.mono.plus_ms(pause), attempt });
    }

    pub(super) fn on_connection_changed(&mut self, connected: bool) {
        match (&self.phase, connected) {
            (Phase::Unbound(_) | Phase::Bound(_), false) => {
                self.phase = Phase::Unbound(Unbound::Disconnected);
                self.doubted_since = None;
            }
            (Phase::Unbound(Unbound::Disconnected), true) => self.phase = Phase::Unbound(Unbound::at_once()),
            (Phase::Unbound(_) | Phase::Bound(_), true) | (Phase::Stopped, _) => {}
        }
    }

    pub(super) fn on_inspected<I>(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome<StreamFacts, NoStream>,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        let (attempt, seen) = match &self.phase {
            Phase::Unbound(Unbound::Inspecting { token: live, attempt, seen, .. }) if *live == token => {
                (*attempt, seen.clone())
            }
            Phase::Bound(_) => return self.on_audited(now, token, outcome, cx),
            Phase::Unbound(_) | Phase::Stopped => return Ok(()),
        };
        match outcome {
            Outcome::Done(facts) => {
                if let Err(fence) = self.compare(&seen, &facts).and_then(|()| self.meets_nobody(&facts)) {
                    let may_adopt = !matches!(fence, Fence::TenantsShared { .. });
                    if !(self.config.adopt && self.config.rereads && may_adopt) {
                        return self.doubt(now, attempt, fence, cx);
                    }
                    cx.mark(Mark::GateAdopted);
                    self.checkpoint = Checkpoint::default();
                    self.nothing_to_catch_up_with(cx);
                }
                self.doubted_since = None;
                self.join(cx);
                // What may be missing now is accepted for good: the next binding must not find the same gap again.
                let skipped_seq = facts.first_seq.saturating_sub(1);
                let removed = checkpoint::removed(self.config.stream, &facts);
                if self.checkpoint.incarnation.is_none()
                    || skipped_seq > self.checkpoint.seq
                    || removed != self.checkpoint.removed
                {
                    self.checkpoint.incarnation = Some(facts.incarnation.clone());
                    self.checkpoint.removed = removed;
                    if skipped_seq > self.checkpoint.seq {
                        self.checkpoint.seq = skipped_seq;
                        self.checkpoint.applied = None;
                    }
                    self.stage_checkpoint(cx);
                }
                if let Some(consumer) = &facts.consumer
                    && self.config.quirks.has(Quirk::GateTrustAckFloor)
                    && consumer.ack_floor_seq > self.checkpoint.seq
                {
                    self.checkpoint.seq = consumer.ack_floor_seq;
                    self.checkpoint.applied = None;
                    self.stage_checkpoint(cx);
                }
                self.position(now, attempt, &facts, cx);
            }
            Outcome::Refused(NoStream) => {
                if self.checkpoint.incarnation.is_some() && !(self.config.adopt && self.config.rereads) {
                    return self.doubt(now, attempt, self.gone(), cx);
                }
                self.rebind_later(now, attempt);
                if let Phase::Unbound(Unbound::Waiting { at, attempt }) = self.phase {
                    self.phase = Phase::Unbound(Unbound::NoStream { at, attempt });
                }
            }
            Outcome::Unknown => {
                cx.mark(Mark::GateBindUnknown);
                self.doubted_since = None;
                self.rebind_later(now, attempt);
            }
        }
        Ok(())
    }

    /// INV-GATE-7: an owner that was met is still there while its consumer is away.
    fn meets_nobody(&self, facts: &StreamFacts) -> Result<(), Fence> {
        let Some(met) = &self.met_owner else { return Ok(()) };
        let is_rival = matches!(met, Fence::TenantsShared { .. });
        if is_rival || facts.consumer.is_none() { Err(met.clone()) } else { Ok(()) }
    }

    /// Whether the checkpoint may be continued on this stream.
    pub(super) fn compare(&self, seen: &[Sighting], facts: &StreamFacts) -> Result<(), Fence> {
        let stream = self.config.stream.to_string();
        let owner = facts.consumer.as_ref().and_then(|consumer| consumer.owner.as_ref());
        if let Some(owner) = owner
            && *owner != self.config.store_id
            && !self.config.adopt
            && !self.config.quirks.has(Quirk::GateIgnoreOwner)
        {
            return Err(Fence::ForeignConsumer {
                consumer: self.config.consumer.to_string(),
                owner: owner.clone(),
                own: self.config.store_id.clone(),
            });
        }
        if let Some(Rival { consumer, tenants }) = &facts.rival
            && !self.config.quirks.has(Quirk::GateIgnoreRival)
        {
            return Err(Fence::TenantsShared { consumer: consumer.clone(), tenants: tenants.clone() });
        }
        if let Some(expected) = &self.checkpoint.incarnation
            && *expected != facts.incarnation
        {
            let (expected, found) = (expected.clone(), facts.incarnation.clone());
            return Err(Fence::StreamReplaced { stream, expected, found });
        }
        let next_seq = self.checkpoint.seq + 1;
        // A fresh store may begin in the middle of a stream whose messages expire; of events nothing may be missing.
        let fresh =
            self.checkpoint.incarnation.is_none() && self.config.stream != PlatformStream::AggregateEvents;
        if facts.first_seq > next_seq && !fresh && !self.config.adopt {
            return Err(Fence::StreamTrimmed { stream, next_seq, first_seq: facts.first_seq });
        }
        // What is missing when a store begins, or is adopted, is accepted for good.
        let accepts = self.checkpoint.incarnation.is_none() || self.config.adopt;
        let quirks = self.config.quirks;
        let accepts = accepts || quirks.has(Quirk::GateIgnoreHole);
        let known = if accepts { u64::MAX } else { self.checkpoint.removed };
        let seen = if quirks.has(Quirk::GateTrustSequence) { &[] } else { seen };
        checkpoint::compare(self.config.stream, seen, known, facts)
    }

    fn position<I>(&mut self, now: Now, attempt: u32, facts: &StreamFacts, cx: &mut Cx<'_, I, Effect>) {
        let token = self.tokens.issue();
        let limits = &self.config.limits;
        let give_up_at = now.mono.plus_ms(limits.request_timeout_ms);
        self.phase = Phase::Unbound(Unbound::Positioning { token, give_up_at, attempt });
        let (filters, next_seq) = self.extent(facts);
        let resume_at = next_seq + u64::from(self.config.quirks.has(Quirk::GateResumeTooFar));
        let consumer = ConsumerConfig {
            durable_name: Some(self.config.consumer.to_string()),
            name: Some(self.config.consumer.to_string()),
            deliver_policy: DeliverPolicy::ByStartSequence,
            opt_start_seq: Some(resume_at),
            ack_policy: AckPolicy::Explicit,
            ack_wait_ns: limits.ack_wait_ms * MS,
            // The node itself gives up on a message, by quarantining it; the broker never should.
            max_deliver: -1,
            filter_subjects: filters.iter().map(ToString::to_string).collect(),
            replay_policy: ReplayPolicy::Instant,
            max_ack_pending: i64::try_from(limits.in_flight_max).unwrap_or(i64::MAX),
            metadata: [
                (OWNER_METADATA.to_owned(), self.config.store_id.clone()),
                (TENANTS_METADATA.to_owned(), self.config.tenants.encode()),
            ]
            .into(),
            ..ConsumerConfig::default()
        };
        cx.emit(Effect::Position { token, stream: self.config.stream, consumer: Box::new(consumer) });
    }

    pub(super) fn on_positioned<I>(
        &mut self,
        now: Now,
        token: Token,
        outcome: &Outcome<(), PositionRefused>,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        let attempt = match &self.phase {
            Phase::Unbound(Unbound::Positioning { token: live, attempt, .. }) if *live == token => *attempt,
            Phase::Unbound(_) | Phase::Bound(_) | Phase::Stopped => return Ok(()),
        };
        match outcome {
            Outcome::Done(()) => self.begin(now, token, cx),
            Outcome::Refused(PositionRefused { .. }) => self.rebind_later(now, attempt),
            Outcome::Unknown => {
                cx.mark(Mark::GateBindUnknown);
                self.rebind_later(now, attempt);
            }
        }
        Ok(())
    }
}
