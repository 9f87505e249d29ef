//! Upstreams: effects that wait because what they call does not answer.
//!
//! ```text
//! Waiting ── circuit open ─► Held ── pause over, or circuit closed ─► Waiting
//! ```
//!
//! A held effect has no place among the calls, and what is held beyond a bound is [`forgotten`](super::forgotten) until a
//! circuit lets calls through that nobody in memory waits for. So an upstream that is away never keeps effects of others
//! from their turn, however many wait for it. Nor does one effect that its upstream never answers keep the others from
//! theirs: they take turns in going to see.

use super::circuit::{Circuit, Standing};
use super::opened::Opened;
use super::{Effect, Effects, State};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::invariant;
use crate::manifest::EffectDef;
use crate::marks::Mark;
use crate::outcome::Token;
use crate::quirks::Quirk;
use crate::time::{Mono, Now};
use crate::wire::id::Name;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

/// Names an upstream: its place in a list that lives as long as the definitions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct UpstreamId(usize);

/// What several effects may call, and what waits for it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Upstream {
    name: String,
    circuit: Circuit,
    /// Held, in memory.
    held: BTreeSet<u64>,
    /// The one that went last to see whether it answers.
    probed: u64,
    /// Whether some that it held were forgotten.
    forgot: bool,
}

impl Upstream {
    fn is_waited_for(&self) -> bool {
        self.forgot || !self.held.is_empty()
    }
}

/// All upstreams of the definitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    of: BTreeMap<Name, UpstreamId>,
    /// Held, in memory, of all.
    held: usize,
}

impl Upstreams {
    pub(super) fn of(definitions: &BTreeMap<Name, Arc<EffectDef>>) -> Self {
        let names: BTreeSet<&str> = definitions.values().filter_map(|own| own.upstream.as_deref()).collect();
        let of = definitions.iter().filter_map(|(name, own)| {
            let upstream = own.upstream.as_deref()?;
            Some((name.clone(), UpstreamId(names.range(..upstream).count())))
        });
        let of = of.collect();
        let new = |name: &str| Upstream {
            name: name.to_owned(),
            circuit: Circuit::new(),
            held: BTreeSet::new(),
            probed: 0,
            forgot: false,
        };
        Self { list: names.into_iter().map(new).collect(), of, held: 0 }
    }

    pub(super) const fn held(&self) -> usize {
        self.held
    }

    pub(super) fn standings(&self) -> impl Iterator<Item = (&str, Standing)> {
        self.list.iter().map(|own| (own.name.as_str(), own.circuit.standing()))
    }

    /// When the next pause is over that something waits for.
    pub(super) fn deadline(&self) -> Option<Mono> {
        let waited_for = self.list.iter().filter(|own| own.is_waited_for());
        waited_for.filter_map(|own| own.circuit.until()).min()
    }

    /// Whatever was forgotten is looked at again.
    pub(super) fn remembered(&mut self) {
        self.list.iter_mut().for_each(|own| own.forgot = false);
    }

    fn get(&mut self, id: UpstreamId) -> &mut Upstream {
        &mut self.list[id.0]
    }
}

impl Effects {
    /// The circuits of all upstreams, by name.
    pub fn circuits(&self) -> impl Iterator<Item = (&str, Standing)> {
        self.upstreams.standings()
    }

    /// Effects in memory that wait for an upstream to answer again.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.upstreams.held()
    }

    /// Pauses may be over; those that nobody waits for end with the next call.
    pub(super) fn wake_upstreams(&mut self, now: Now) {
        for at in 0..self.upstreams.list.len() {
            let own = &mut self.upstreams.list[at];
            if own.is_waited_for() && own.circuit.wake(now.mono) {
                self.let_probe(UpstreamId(at));
            }
        }
    }

    pub(super) fn upstream_of(&self, effect: &Name) -> Option<UpstreamId> {
        self.upstreams.of.get(effect).copied()
    }

    /// Whether a call may begin; a pause that is over ends here too.
    pub(super) fn admits(&mut self, now: Now, upstream: UpstreamId) -> bool {
        let circuit = &mut self.upstreams.get(upstream).circuit;
        circuit.wake(now.mono);
        circuit.admits() || self.config.quirks.has(Quirk::EffectIgnoreCircuit)
    }

    pub(super) fn on_called<I>(
        &mut self,
        upstream: UpstreamId,
        token: Token,
        position: u64,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        let own = self.upstreams.get(upstream);
        if own.circuit.called(token) {
            own.probed = position;
            cx.mark(Mark::EffectProbed);
        }
    }

    pub(super) fn on_upstream_answered(&mut self, upstream: UpstreamId) {
        if !self.upstreams.get(upstream).circuit.answered() {
            return;
        }
        let own = self.upstreams.get(upstream);
        let held = std::mem::take(&mut own.held);
        if own.forgot {
            self.remember();
        }
        for position in held {
            self.leave_hold(position);
            self.ready.insert(position);
        }
    }

    pub(super) fn on_upstream_failed<I>(
        &mut self,
        now: Now,
        upstream: UpstreamId,
        token: Token,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        let (last, limits) = (self.tokens.last(), self.config.limits.circuit);
        if self.upstreams.get(upstream).circuit.failed(now.mono, token, last, limits) {
            cx.mark(Mark::EffectCircuitOpened);
        }
    }

    pub(super) fn on_call_not_made(&mut self, upstream: UpstreamId, token: Token) {
        self.upstreams.get(upstream).circuit.not_made(token);
        self.let_probe(upstream);
    }

    /// Lets one of those that wait for an upstream go and see, if it is time for that: the next one each time, for an effect
    /// that is never answered says nothing about the others.
    pub(super) fn let_probe(&mut self, upstream: UpstreamId) {
        let own = self.upstreams.get(upstream);
        if !own.circuit.wants_probe() {
            return;
        }
        let after = (Bound::Excluded(own.probed), Bound::Unbounded);
        if let Some(position) = own.held.range(after).next().or_else(|| own.held.first()).copied() {
            self.leave_hold(position);
            self.ready.insert(position);
        } else if own.forgot {
            self.remember();
        }
    }

    /// Keeps an effect until its upstream is called again: in memory, or if there is too much of that, on disk only.
    pub(super) fn hold<I>(
        &mut self,
        now: Now,
        position: u64,
        upstream: UpstreamId,
        opened: &Opened,
        definition: &EffectDef,
        cx: &mut Cx<'_, I, Effect>,
    ) {
        if self.places_to_wait() == 0 {
            cx.mark(Mark::EffectForgotten);
            self.upstreams.get(upstream).forgot |= self.forget(position);
            return;
        }
        cx.mark(Mark::EffectHeld);
        let ends_at = self.ends_at(now, position, &opened.row, definition.retry);
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        tracked.state = State::Held { upstream };
        self.due.extend(ends_at.map(|at| (at, position)));
        self.upstreams.held += 1;
        self.upstreams.get(upstream).held.insert(position);
    }

    /// A held effect waits for its turn again; the caller says where.
    pub(super) fn leave_hold(&mut self, position: u64) {
        let Some(tracked) = self.tracked.get_mut(&position) else { return };
        let State::Held { upstream } = tracked.state else { return };
        tracked.state = State::Waiting;
        if let Some(ends_at) = tracked.ends_at {
            self.due.remove(&(ends_at, position));
        }
        self.upstreams.held -= 1;
        self.upstreams.get(upstream).held.remove(&position);
    }

    /// INV-EFF-7, and that what is held is where it belongs.
    pub(super) fn check_upstreams(&self) -> Result<(), Halt> {
        let mut held = 0;
        for (at, own) in self.upstreams.list.iter().enumerate() {
            held += own.held.len();
            for position in &own.held {
                let state = self.tracked.get(position).map(|own| &own.state);
                let is_held = matches!(state, Some(State::Held { upstream }) if upstream.0 == at);
                invariant!(is_held, Eff3, "{position} is held for {}, and is {state:?}", own.name);
            }
            let Some(since) = own.circuit.since() else { continue };
            let begun = self.live.range(since..).filter(|(token, position)| {
                let state = self.tracked.get(position).map(|own| &own.state);
                **token > since
                    && matches!(state, Some(State::InFlight { upstream: Some(own), .. }) if own.0 == at)
            });
            let begun = begun.count();
            invariant!(begun <= 1, Eff7, "{begun} calls began to {} since its circuit opened", own.name);
        }
        invariant!(held == self.upstreams.held, Eff3, "{held} held, {} counted", self.upstreams.held);
        let known = self.tracked.len() as u64 + self.forgotten.count();
        invariant!(known <= self.open, Eff3, "{known} in memory or forgotten, {} open", self.open);
        Ok(())
    }
}
