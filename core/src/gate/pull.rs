//! Pulling: keep enough messages asked for, and notice when nobody answers.

use super::audit::Audit;
use super::{Effect, Gate, Limits, Phase, PullEnd};
use crate::cx::Cx;
use crate::jetstream::api::PullRequest;
use crate::marks::Mark;
use crate::outcome::Token;
use crate::time::{Mono, Now};

/// Silence is suspicious after two heartbeats and this much, in milliseconds: room for the network.
const SILENCE_SLACK_MS: u64 = 1_000;

/// One request for messages.
#[derive(Clone, PartialEq, Debug)]
struct Pull {
    token: Token,
    remaining: u64,
    ends_at: Mono,
}

/// Consuming one generation of the consumer.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Bound {
    pub(super) generation: Token,
    /// The consumer sequence of the next delivery, if none is skipped.
    pub(super) next_consumer_seq: u64,
    /// Oldest first.
    pulls: Vec<Pull>,
    /// When the broker last said anything.
    heard_at: Mono,
    pub(super) audit: Audit,
}

impl Bound {
    pub(super) fn asked(&self) -> u64 {
        self.pulls.iter().map(|pull| pull.remaining).sum()
    }

    pub(super) fn silence_deadline(&self, limits: &Limits) -> Option<Mono> {
        self.pulls.iter().map(|pull| self.silent_at(pull, limits)).min()
    }

    fn silent_at(&self, pull: &Pull, limits: &Limits) -> Mono {
        let silent = self.heard_at.plus_ms(2 * limits.heartbeat_ms + SILENCE_SLACK_MS);
        silent.min(pull.ends_at.plus_ms(SILENCE_SLACK_MS))
    }

    fn hear(&mut self, now: Now) {
        self.heard_at = now.mono;
    }

    /// A delivery does not say which pull it answers: the broker serves them in turn, so the oldest is as good as any.
    pub(super) fn count_delivery(&mut self, now: Now) {
        self.hear(now);
        if let Some(pull) = self.pulls.first_mut() {
            pull.remaining -= 1;
        }
        self.pulls.retain(|pull| pull.remaining > 0);
    }
}

impl Gate {
    pub(super) fn begin<I>(&mut self, now: Now, generation: Token, cx: &mut Cx<'_, I, Effect>) {
        self.phase = Phase::Bound(Bound {
            generation,
            next_consumer_seq: 1,
            pulls: Vec::new(),
            heard_at: now.mono,
            audit: Audit::Due { at: now.mono.plus_ms(self.config.limits.audit_ms) },
        });
        self.fetch(now, cx);
    }

    /// Asks for more when less than half a batch is outstanding.
    pub(super) fn fetch<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        let limits = self.config.limits;
        let Phase::Bound(bound) = &mut self.phase else { return };
        let asked = bound.asked();
        if asked > limits.batch / 2 {
            return;
        }
        let batch = limits.batch.min(limits.in_flight_max - asked);
        if batch == 0 {
            return;
        }
        let pull = self.tokens.issue();
        let ends_at = now.mono.plus_ms(limits.pull_expires_ms);
        bound.pulls.push(Pull { token: pull, remaining: batch, ends_at });
        if bound.pulls.len() == 1 {
            // Nothing was asked of the broker before, so its silence begins now.
            bound.heard_at = now.mono;
        }
        let request = PullRequest {
            batch,
            expires_ns: limits.pull_expires_ms * 1_000_000,
            idle_heartbeat_ns: limits.heartbeat_ms * 1_000_000,
            ..PullRequest::default()
        };
        cx.emit(Effect::Fetch { generation: bound.generation, pull, request });
    }

    pub(super) fn give_up_silent_pulls<I>(&mut self, now: Now, cx: &mut Cx<'_, I, Effect>) {
        let limits = self.config.limits;
        let Phase::Bound(bound) = &self.phase else { return };
        if bound.pulls.iter().any(|pull| bound.silent_at(pull, &limits) <= now.mono) {
            // Whoever kept it is gone, and what comes next may be another log.
            cx.mark(Mark::GatePullLost);
            self.rebind_later(now, 1);
        }
    }

    pub(super) fn on_pull_ended<I>(
        &mut self,
        now: Now,
        generation: Token,
        pull: Token,
        end: PullEnd,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        let Phase::Bound(bound) = &mut self.phase else { return };
        if bound.generation != generation {
            cx.mark(Mark::GateStaleGeneration);
            return;
        }
        match end {
            PullEnd::Served => {
                bound.hear(now);
                bound.pulls.retain(|own| own.token != pull);
                self.fetch(now, cx);
            }
            PullEnd::Moved => {
                // Another server leads, and what it leads may lack what the last one had.
                cx.mark(Mark::GateMoved);
                self.rebind_later(now, 1);
            }
            PullEnd::ConsumerGone | PullEnd::Refused => {
                cx.mark(Mark::GateConsumerLost);
                self.rebind_later(now, 1);
            }
        }
    }

    pub(super) fn on_heartbeat<I>(
        &mut self,
        now: Now,
        generation: Token,
        last_consumer_seq: u64,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        let Phase::Bound(bound) = &mut self.phase else { return };
        if bound.generation != generation {
            cx.mark(Mark::GateStaleGeneration);
            return;
        }
        if last_consumer_seq >= bound.next_consumer_seq {
            // The connection keeps order, so what was delivered before this heartbeat is lost.
            cx.mark(Mark::GateTailGap);
            self.rebind_later(now, 1);
            return;
        }
        bound.hear(now);
    }
}
