//! Binding to the event stream: is it the one our rows were read from?

use super::{Aggregate, Effect, Input};
use crate::backoff::full_jitter_ms;
use crate::cx::Cx;
use crate::gate::{Checkpoint, NoStream, StreamFacts};
use crate::halt::{Fence, Halt};
use crate::outcome::{Outcome, Token};
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
        seen_seq: u64,
    },
    Bound,
}

impl Binding {
    pub(super) const fn at_once() -> Self {
        Self::Waiting { at: Mono::ZERO, attempt: 0 }
    }

    pub(super) const fn deadline(&self) -> Option<Mono> {
        match self {
            Self::Waiting { at, .. } | Self::NoStream { at, .. } => Some(*at),
            Self::Inspecting { give_up_at, .. } => Some(*give_up_at),
            Self::Disconnected | Self::Bound => None,
        }
    }

    pub(super) const fn is_bound(&self) -> bool {
        matches!(self, Self::Bound)
    }

    pub(super) const fn not_ready(&self) -> Option<&'static str> {
        match self {
            Self::Bound => None,
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
        let attempt = match self.binding {
            Binding::Waiting { at, attempt } | Binding::NoStream { at, attempt } if at <= now.mono => attempt,
            Binding::Inspecting { give_up_at, attempt, .. } if give_up_at <= now.mono => attempt,
            Binding::Waiting { .. }
            | Binding::NoStream { .. }
            | Binding::Inspecting { .. }
            | Binding::Disconnected
            | Binding::Bound => return,
        };
        let token = self.tokens.issue();
        let give_up_at = now.mono.plus_ms(self.config.limits.answer_timeout_ms);
        let seen_seq = self.checkpoint.seq;
        self.binding = Binding::Inspecting { token, give_up_at, attempt: attempt + 1, seen_seq };
        cx.emit(Effect::Inspect { token });
    }

    pub(super) fn on_connection_changed(&mut self, connected: bool) {
        match (&self.binding, connected) {
            (_, false) => self.binding = Binding::Disconnected,
            // The stream may be another one by now.
            (Binding::Disconnected, true) => self.binding = Binding::at_once(),
            (_, true) => {}
        }
    }

    /// Asks again whether the stream is still ours: something on it went backwards.
    pub(super) fn doubt(&mut self) {
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
        let Binding::Inspecting { token: live, attempt, seen_seq, .. } = self.binding else { return Ok(()) };
        if live != token {
            return Ok(());
        }
        let limits = self.config.limits;
        let pause = full_jitter_ms(attempt, limits.backoff_ms, limits.backoff_ms_max, self.config.seed);
        let at = now.mono.plus_ms(pause);
        match outcome {
            Outcome::Done(facts) => {
                let stream = PlatformStream::AggregateEvents.to_string();
                match &self.checkpoint.incarnation {
                    Some(expected) if *expected != facts.incarnation => {
                        let (expected, found) = (expected.clone(), facts.incarnation);
                        return Err(Fence::StreamReplaced { stream, expected, found }.into());
                    }
                    Some(_) => {}
                    None => {
                        self.checkpoint.incarnation = Some(facts.incarnation);
                        cx.put(Table::Checkpoint, CHECKPOINT, &self.checkpoint.encode());
                    }
                }
                let last_seq = facts.last_seq;
                if seen_seq > last_seq {
                    return Err(Fence::StreamTruncated { stream, seen_seq, last_seq }.into());
                }
                self.binding = Binding::Bound;
            }
            Outcome::Refused(NoStream) => {
                if self.checkpoint.incarnation.is_some() {
                    let stream = PlatformStream::AggregateEvents.to_string();
                    return Err(Fence::StreamGone { stream }.into());
                }
                self.binding = Binding::NoStream { at, attempt };
            }
            Outcome::Unknown => self.binding = Binding::Waiting { at, attempt },
        }
        Ok(())
    }

    /// Remembers the highest sequence seen: a stream that ends before it has lost its tail.
    pub(super) fn saw(&mut self, seq: u64, cx: &mut Cx<'_, Input, Effect>) {
        if seq > self.checkpoint.seq {
            self.checkpoint.seq = seq;
            cx.put(Table::Checkpoint, CHECKPOINT, &self.checkpoint.encode());
        }
    }
}
