//! Binding to the event stream: is it the one our rows were read from, and does it still hold what was seen of it?
//!
//! ```text
//! Waiting ─► Inspecting ─► Bound ─► audit, now and then ─► Bound
//!    ▲            └─ contradiction ─┐      └─ contradiction, no answer ─┐
//!    └────────── doubt ◄────────────┴──────────────────────────────────┘ ─► Halt::Fenced when it lasts
//! ```
//!
//! A log is rewritten only while it has no leader. That lasts longer than the pause between two audits, so one of them has
//! no answer; then the stream is looked at before anything else is appended to it.

use super::{Aggregate, Effect, Input};
use crate::backoff::full_jitter_ms;
use crate::cx::Cx;
use crate::gate::audit::places;
use crate::gate::{Checkpoint, NoStream, Sighting, StreamFacts, Witness, checkpoint};
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::outcome::{Outcome, Token};
use crate::quirks::Quirk;
use crate::store::{Table, View};
use crate::time::{Mono, Now};
use crate::wire::stream::PlatformStream;

const CHECKPOINT: &[u8] = b"checkpoint:aggregate";

/// Where the binding stands.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Binding {
    Waiting {
        at: Mono,
        attempt: u32,
    },
    NoStream {
        at: Mono,
        attempt: u32,
    },
    Disconnected,
    Inspecting {
        token: Token,
        give_up_at: Mono,
        attempt: u32,
        /// The highest sequence seen when it was asked: commands under way go on, and may be stored after it.
        seen: Vec<Sighting>,
    },
    Bound {
        /// When to look again.
        audit_at: Mono,
    },
    /// Bound, and looking again.
    Auditing {
        token: Token,
        give_up_at: Mono,
        seen: Vec<Sighting>,
    },
}

impl Binding {
    pub(super) const fn at_once() -> Self {
        Self::Waiting { at: Mono::ZERO, attempt: 0 }
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Waiting { at, .. } | Self::NoStream { at, .. } => Some(*at),
            Self::Inspecting { give_up_at, .. } | Self::Auditing { give_up_at, .. } => Some(*give_up_at),
            Self::Bound { audit_at } => Some(*audit_at),
            Self::Disconnected => None,
        }
    }

    pub(super) const fn is_bound(&self) -> bool {
        matches!(self, Self::Bound { .. } | Self::Auditing { .. })
    }

    pub(super) const fn not_ready(&self) -> Option<&'static str> {
        match self {
            Self::Bound { .. } | Self::Auditing { .. } => None,
            Self::NoStream { .. } => Some("stream_missing"),
            Self::Disconnected => Some("broker_disconnected"),
            Self::Waiting { .. } | Self::Inspecting { .. } => Some("binding"),
        }
    }
}

pub(super) fn read_checkpoint(view: &dyn View) -> Result<Checkpoint, Halt> {
    view.get(Table::Checkpoint, CHECKPOINT)?.map_or(Ok(Checkpoint::default()), Checkpoint::decode)
}

impl Aggregate {
    pub(super) fn bind_if_due(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) {
        if self.binding.deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        if let Binding::Bound { audit_at } = &mut self.binding
            && self.config.quirks.has(Quirk::AggregateNeverAudit)
        {
            *audit_at = now.mono.plus_ms(self.config.limits.audit_ms);
            return;
        }
        let attempt = match self.binding {
            Binding::Waiting { attempt, .. }
            | Binding::NoStream { attempt, .. }
            | Binding::Inspecting { attempt, .. } => Some(attempt + 1),
            // Nobody answered: perhaps nobody leads, and what is led next may be another log.
            Binding::Auditing { .. } => Some(1),
            Binding::Bound { .. } => None,
            Binding::Disconnected => return,
        };
        let token = self.tokens.issue();
        let give_up_at = now.mono.plus_ms(self.config.limits.answer_timeout_ms);
        let seen = self.checkpoint.evidence();
        let look_at = places(&seen);
        self.binding = match attempt {
            Some(attempt) => Binding::Inspecting { token, give_up_at, attempt, seen },
            None => Binding::Auditing { token, give_up_at, seen },
        };
        cx.emit(Effect::Inspect { token, look_at });
    }

    pub(super) fn on_connection_changed(&mut self, connected: bool) {
        match (&self.binding, connected) {
            (_, false) => {
                self.binding = Binding::Disconnected;
                self.doubted_since = None;
            }
            // The stream may be another one by now.
            (Binding::Disconnected, true) => self.binding = Binding::at_once(),
            (_, true) => {}
        }
    }

    /// Asks again whether the stream is still ours: something on it went backwards.
    pub(super) fn look_again(&mut self) {
        if self.binding.is_bound() {
            self.binding = Binding::at_once();
        }
    }

    pub(super) fn on_inspected(
        &mut self,
        now: Now,
        token: Token,
        outcome: Outcome<StreamFacts, NoStream>,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let (attempt, seen) = match &self.binding {
            Binding::Inspecting { token: live, attempt, seen, .. } if *live == token => {
                (*attempt, seen.clone())
            }
            Binding::Auditing { token: live, seen, .. } if *live == token => (1, seen.clone()),
            Binding::Inspecting { .. }
            | Binding::Auditing { .. }
            | Binding::Waiting { .. }
            | Binding::NoStream { .. }
            | Binding::Disconnected
            | Binding::Bound { .. } => return Ok(()),
        };
        let limits = self.config.limits;
        let pause = full_jitter_ms(attempt, limits.backoff_ms, limits.backoff_ms_max, self.config.seed);
        let at = now.mono.plus_ms(pause);
        match outcome {
            Outcome::Done(facts) => match self.compare(&seen, &facts) {
                Ok(()) => {
                    self.doubted_since = None;
                    let removed = checkpoint::removed(PlatformStream::AggregateEvents, &facts);
                    if self.checkpoint.incarnation.is_none() || self.checkpoint.removed != removed {
                        self.checkpoint.incarnation = Some(facts.incarnation);
                        self.checkpoint.removed = removed;
                        cx.put(Table::Checkpoint, CHECKPOINT, &self.checkpoint.encode());
                    }
                    self.binding = Binding::Bound { audit_at: now.mono.plus_ms(limits.audit_ms) };
                }
                Err(fence) => {
                    self.binding = Binding::Waiting { at, attempt };
                    self.doubt(now, fence, cx)?;
                }
            },
            Outcome::Refused(NoStream) => {
                self.binding = Binding::NoStream { at, attempt };
                if self.checkpoint.incarnation.is_some() {
                    let stream = PlatformStream::AggregateEvents.to_string();
                    self.doubt(now, Fence::StreamGone { stream }, cx)?;
                }
            }
            Outcome::Unknown => {
                self.doubted_since = None;
                self.binding = Binding::Waiting { at, attempt };
            }
        }
        Ok(())
    }

    /// The stream contradicts what was seen: nothing is appended until that is explained, or certain.
    fn doubt(&mut self, now: Now, fence: Fence, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        let since = *self.doubted_since.get_or_insert(now.mono);
        if since.plus_ms(self.config.limits.confirm_ms) <= now.mono {
            return Err(fence.into());
        }
        cx.mark(Mark::AggregateDoubted);
        Ok(())
    }

    fn compare(&self, seen: &[Sighting], facts: &StreamFacts) -> Result<(), Fence> {
        let stream = PlatformStream::AggregateEvents;
        let Checkpoint { incarnation, removed, .. } = &self.checkpoint;
        match incarnation {
            Some(expected) if *expected != facts.incarnation => {
                let (expected, found) = (expected.clone(), facts.incarnation.clone());
                Err(Fence::StreamReplaced { stream: stream.to_string(), expected, found })
            }
            Some(_) if self.config.quirks.has(Quirk::AggregateTrustSequence) => {
                checkpoint::compare(stream, &[], *removed, facts)
            }
            Some(_) => checkpoint::compare(stream, seen, *removed, facts),
            // What is missing when a store begins is accepted: each history says whether it can be read.
            None => Ok(()),
        }
    }

    /// Remembers the last message seen: a stream that ends before it, or holds another one there, has lost its tail.
    pub(super) fn saw(&mut self, seq: u64, witness: Witness, cx: &mut Cx<'_, Input, Effect>) {
        if seq > self.checkpoint.seq {
            self.checkpoint.move_to(seq, witness);
            cx.put(Table::Checkpoint, CHECKPOINT, &self.checkpoint.encode());
        }
    }
}
