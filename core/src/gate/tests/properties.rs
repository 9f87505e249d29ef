//! Whatever the network, the broker, the store and the clock do: what was applied is the stream up to the checkpoint,
//! each message once and in order, and nothing beyond the checkpoint was acked.

use super::{Bench, Config, Gated, Input, Landed, MATCHING, OTHER, POISON, Sent, Upstream, config, log};
use crate::gate;
use crate::placement::Tenants;
use crate::wire::headers::Headers;
use crate::wire::id::TenantId;
use crate::wire::subject::tenant_of;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Clone, Debug)]
pub(super) enum Op {
    Store {
        subject: &'static str,
        body: &'static [u8],
    },
    Serve,
    Redeliver,
    Heartbeat,
    EndPull,
    /// One of the things under way arrives, and may arrive again.
    Arrive {
        nth: Index,
        again: bool,
    },
    Lose {
        nth: Index,
    },
    LoseConsumer,
    RollBack,
    Connection {
        there: bool,
    },
    Wait {
        ms: u64,
    },
    Oversleep {
        ms: u64,
    },
    SpuriousTick,
    Crash,
    /// The next commit has no answer.
    FailCommit {
        landed: Landed,
    },
    /// What the gate asks for next does not reach the broker.
    LoseEffects,
    /// The next life has another tenant.
    Join {
        tenant: &'static str,
    },
}

fn op() -> impl Strategy<Value = Op> {
    op_with(vec![MATCHING, MATCHING, OTHER])
}

/// What may happen to a stream of such subjects.
pub(super) fn op_with(subjects: Vec<&'static str>) -> impl Strategy<Value = Op> {
    let subject = prop::sample::select(subjects);
    let body = prop::sample::select(vec![b"x", b"x", b"x", POISON]);
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let ms = || prop::sample::select(vec![1, 100, 1_000, 2_000, 11_000, 31_000]);
    prop_oneof![
        4 => (subject, body).prop_map(|(subject, body)| Op::Store { subject, body }),
        10 => Just(Op::Serve),
        2 => Just(Op::Redeliver),
        2 => Just(Op::Heartbeat),
        1 => Just(Op::EndPull),
        16 => (any::<Index>(), prop::bool::weighted(0.1)).prop_map(|(nth, again)| Op::Arrive { nth, again }),
        1 => any::<Index>().prop_map(|nth| Op::Lose { nth }),
        1 => Just(Op::LoseConsumer),
        1 => Just(Op::RollBack),
        1 => any::<bool>().prop_map(|there| Op::Connection { there }),
        6 => ms().prop_map(|ms| Op::Wait { ms }),
        1 => ms().prop_map(|ms| Op::Oversleep { ms }),
        1 => Just(Op::SpuriousTick),
        2 => Just(Op::Crash),
        2 => landed.prop_map(|landed| Op::FailCommit { landed }),
        1 => Just(Op::LoseEffects),
    ]
}

#[derive(Clone, Debug)]
pub(super) struct World {
    config: Config,
    pub(super) bench: Bench<Gated>,
    pub(super) upstream: Upstream,
    /// Sent by the broker, not arrived.
    pub(super) under_way: Vec<Sent>,
    fail_commit: Option<Landed>,
    lose_effects: bool,
}

impl World {
    pub(super) fn new(upstream: Upstream) -> Self {
        Self::of(config(), upstream)
    }

    pub(super) fn of(config: Config, upstream: Upstream) -> Self {
        let bench = Bench::new(config.clone());
        Self { config, bench, upstream, under_way: Vec::new(), fail_commit: None, lose_effects: false }
    }

    pub(super) fn turn(&mut self, inputs: Vec<Input>) {
        let effects = match self.fail_commit.take() {
            Some(landed) => self.bench.turn_without_answer(landed, inputs),
            None => self.bench.turn(inputs),
        };
        self.perform(effects);
    }

    pub(super) fn perform(&mut self, effects: Vec<gate::Effect>) {
        if !effects.is_empty() && std::mem::take(&mut self.lose_effects) {
            return;
        }
        for effect in effects {
            self.under_way.extend(self.upstream.perform(effect));
        }
        self.judge();
    }

    /// The guarantee of the gate.
    pub(super) fn judge(&self) {
        let recovered = self.bench.recovered().expect("recovers").0;
        let (checkpoint, log) = (recovered.checkpoint().seq, log(&self.bench));
        let mut tenants: Vec<TenantId> =
            self.upstream.messages.values().filter_map(|stored| tenant_of(&stored.subject)).collect();
        tenants.dedup();
        for tenant in &tenants {
            let own = |seq: &u64| tenant_of(&self.upstream.messages[seq].subject).as_ref() == Some(tenant);
            let applied: Vec<u64> = log.iter().copied().filter(own).collect();
            let passed = recovered.passed(tenant);
            let matching = self.matching().filter(own).filter(|seq| *seq <= passed);
            assert_eq!(applied, matching.collect::<Vec<_>>(), "INV-GATE-8: {tenant:?} at {passed}");
        }
        assert!(recovered.tenants() != &Tenants::All || log.is_sorted(), "INV-GATE-2: {log:?}");
        let acked = self.upstream.settled.keys().next_back().copied().unwrap_or_default();
        assert!(acked <= checkpoint, "INV-GATE-1: {acked} is acked, {checkpoint} durable");
    }

    /// Where something stands that is ours to apply, whoever's it is.
    fn matching(&self) -> impl Iterator<Item = u64> {
        let is_ours = |subject: &str| self.config.filters.iter().any(|filter| filter.matches(subject));
        self.upstream.messages.iter().filter(move |(_, own)| is_ours(&own.subject)).map(|(seq, _)| *seq)
    }

    fn send(&mut self, sent: Option<Sent>) {
        self.under_way.extend(sent);
    }

    pub(super) fn apply(&mut self, op: &Op) {
        match op {
            Op::Store { subject, body } => {
                self.upstream.store(subject, Headers::default(), *body);
            }
            Op::Serve => {
                let sent = self.upstream.serve().map(Sent::Message);
                self.send(sent);
            }
            Op::Redeliver => {
                let sent = self.upstream.redeliver().map(Sent::Message);
                self.send(sent);
            }
            Op::Heartbeat => {
                let sent = self.upstream.heartbeat().map(Sent::Fact);
                self.send(sent);
            }
            Op::EndPull => {
                let sent = self.upstream.end_pull().map(Sent::Fact);
                self.send(sent);
            }
            Op::Arrive { nth, again } => {
                if self.under_way.is_empty() {
                    return;
                }
                // Mostly in the order of sending: a gate that sees only disorder never gets anywhere.
                let at = nth.index(self.under_way.len() + 4).saturating_sub(4);
                let sent = if *again { self.under_way[at].clone() } else { self.under_way.remove(at) };
                self.turn(vec![sent.into()]);
            }
            Op::Lose { nth } => {
                if !self.under_way.is_empty() {
                    let at = nth.index(self.under_way.len());
                    self.under_way.remove(at);
                }
            }
            Op::LoseConsumer => self.upstream.lose_consumer(),
            Op::RollBack => self.upstream.roll_back(),
            Op::Connection { there } => {
                self.turn(vec![Input::Gate(gate::Input::ConnectionChanged { connected: *there })]);
            }
            Op::Wait { ms } => {
                let effects = self.bench.advance(*ms);
                self.perform(effects);
            }
            Op::Oversleep { ms } => self.bench.oversleep(*ms),
            Op::SpuriousTick => {
                // The driver wakes it if it is late; beyond that, a tick changes nothing.
                self.turn(Vec::new());
                let before = self.bench.machine().clone();
                self.turn(vec![crate::Tick.into()]);
                assert_eq!(self.bench.machine(), &before);
            }
            Op::Crash => self.bench.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
            Op::LoseEffects => self.lose_effects = true,
            Op::Join { tenant } => {
                if let Tenants::Of(own) = &self.config.tenants {
                    let joining = TenantId::parse(tenant).expect("a tenant");
                    self.config.tenants = own.iter().cloned().chain([joining]).collect();
                    self.bench = Bench::with(self.bench.store.clone(), self.config.clone());
                }
            }
        }
        self.judge();
    }

    /// Faults stop: everything stored is applied.
    pub(super) fn heal(&mut self) {
        self.fail_commit = None;
        self.lose_effects = false;
        self.turn(vec![Input::Gate(gate::Input::ConnectionChanged { connected: true })]);
        for _ in 0..100 {
            while !self.under_way.is_empty() {
                let sent = self.under_way.remove(0);
                self.turn(vec![sent.into()]);
            }
            match self.upstream.serve() {
                Some(delivery) => self.under_way.push(Sent::Message(delivery)),
                None => self.apply(&Op::Wait { ms: 1_000 }),
            }
        }
        let ours = |seq: &u64| {
            tenant_of(&self.upstream.messages[seq].subject).is_none_or(|own| self.config.tenants.has(&own))
        };
        let matching = self.matching().filter(ours);
        assert_eq!(log(&self.bench).len(), matching.count(), "something was never applied");
    }
}

proptest! {
    #[test]
    fn what_was_applied_is_the_stream_up_to_the_checkpoint(ops in prop::collection::vec(op(), 1..120)) {
        let mut world = World::new(Upstream::new());
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }

    #[test]
    fn a_crash_after_every_turn_only_repeats(ops in prop::collection::vec(op(), 1..60)) {
        let mut world = World::new(Upstream::new());
        for op in &ops {
            world.apply(op);
            world.bench.crash();
        }
        world.heal();
    }
}
