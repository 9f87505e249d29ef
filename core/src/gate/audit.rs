//! Auditing: a bound gate looks now and then whether the stream is still what it was; and doubts that must be confirmed.
//!
//! A lost end is noticed by the pulls that break with it. A hole in the middle breaks nothing, and a stream that was
//! removed may leave pulls that nobody answers: both are found here.
//!
//! A server that has lost its cluster goes on answering for a while with what it knew. So one contradiction only makes the
//! gate doubt: it takes nothing in and looks again, and stops when the contradiction lasts without an answer missing in
//! between.

use super::checkpoint::Sighting;
use super::{Effect, Gate, NoStream, Phase, StreamFacts};
use crate::cx::Cx;
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::quirks::Quirk;
use crate::time::{Mono, Now};

/// Where the audits of one generation stand.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Audit {
    /// The next one begins then.
    Due { at: Mono },
    /// One is out, about what was seen when it was asked.
    Asked { token: Token, give_up_at: Mono, seen: Vec<Sighting> },
}

impl Audit {
    pub(super) const fn deadline(&self) -> Mono {
        match self {
            Self::Due { at } => *at,
            Self::Asked { give_up_at, .. } => *give_up_at,
        }
    }
}

impl Gate {
    pub(super) fn audit_if_due<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        let limits = self.config.limits;
        let Phase::Bound(bound) = &mut self.phase else { return };
        if bound.audit.deadline() > now.mono {
            return;
        }
        if self.config.quirks.has(Quirk::GateNeverAudit) {
            bound.audit = Audit::Due { at: now.mono.plus_ms(limits.audit_ms) };
            return;
        }
        bound.audit = match bound.audit {
            Audit::Due { .. } => {
                let token = self.tokens.issue();
                let give_up_at = now.mono.plus_ms(limits.request_timeout_ms);
                let seen = self.checkpoint.evidence();
                cx.emit(Effect::Inspect {
                    token,
                    stream: self.config.stream,
                    consumer: self.config.consumer.clone(),
                    look_at: places(&seen),
                    tenants: None,
                });
                Audit::Asked { token, give_up_at, seen }
            }
            Audit::Asked { .. } => return self.lose_sight(now, cx),
        };
    }

    pub(super) fn on_audited<I>(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome<StreamFacts, NoStream>,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        let next = Audit::Due { at: now.mono.plus_ms(self.config.limits.audit_ms) };
        let Phase::Bound(bound) = &mut self.phase else { return Ok(()) };
        let seen = match &bound.audit {
            Audit::Asked { token: live, seen, .. } if *live == token => seen.clone(),
            Audit::Asked { .. } | Audit::Due { .. } => return Ok(()),
        };
        bound.audit = next;
        let compared = match outcome {
            Outcome::Done(facts) => self.compare(&seen, &facts),
            Outcome::Refused(NoStream) => Err(self.gone()),
            Outcome::Unknown => {
                self.lose_sight(now, cx);
                return Ok(());
            }
        };
        compared.or_else(|fence| self.doubt(now, 1, fence, cx))
    }

    /// Nobody answered for the stream: it may be another one when somebody does again.
    fn lose_sight<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        cx.mark(Mark::GateLostSight);
        self.rebind_later(now, 1);
    }

    /// The stream contradicts what was seen: takes nothing in until that is explained, or certain.
    pub(super) fn doubt<I>(
        &mut self,
        now: Now,
        attempt: u32,
        fence: Fence,
        cx: &mut Cx<'_, I, Effect>,
    ) -> Result<(), Halt> {
        if let Fence::ForeignConsumer { .. } | Fence::TenantsShared { .. } = &fence {
            self.met_owner = Some(fence.clone());
        }
        let since = *self.doubted_since.get_or_insert(now.mono);
        let certain = since.plus_ms(self.config.limits.confirm_ms) <= now.mono;
        if certain || self.config.quirks.has(Quirk::GateBelieveAtOnce) {
            return Err(fence.into());
        }
        cx.mark(Mark::GateDoubted);
        self.rebind_later(now, attempt);
        Ok(())
    }

    pub(super) fn gone(&self) -> Fence {
        Fence::StreamGone { stream: self.config.stream.to_string() }
    }
}

/// The places where a message was seen.
pub(crate) fn places(seen: &[Sighting]) -> Vec<u64> {
    seen.iter().filter(|own| own.witness.is_some()).map(|own| own.seq).collect()
}
