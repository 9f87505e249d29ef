//! Whatever network, outside, store and clock do: every command ends once, under one key, with the truth.

use super::{
    Bench, Config, Desk, Effect, EffectCommand, Input, LIMITS, LONG_MS, Landed, LedgerRow, Phase, Table,
    answer, charge, command, commanded, config, key, not_sent, on_line, operate, receipt, results, rows,
    token, unknown,
};
use crate::effect::operate::Verb;
use crate::effect::{self, CircuitLimits, Limits};
use crate::manifest::{Delivery, EffectDef};
use crate::outcome::Token;
use crate::time::Now;
use crate::wire::envelope::EffectOutcome;
use crate::wire::id::Name;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// At least once.
    Charge,
    /// At most once.
    Receipt,
    /// Three attempts.
    Poke,
    /// Three seconds.
    Ping,
    /// Two at once on a line.
    Ring,
    /// Four in a second on a line, two at one moment.
    Beat,
}

#[derive(Clone, Debug)]
enum Op {
    /// Commands arrive in one turn, some of them again.
    Command {
        ids: Vec<(Kind, u8)>,
    },
    /// A call reaches the outside, and what it says sets out.
    Reach {
        nth: Index,
        says: Says,
    },
    /// A call does not leave, or its answer is lost: the adapter says so, or that it does not know.
    Unanswered {
        nth: Index,
        done: bool,
    },
    NotSent {
        nth: Index,
        forbidden: bool,
    },
    Answer {
        nth: Index,
        again: bool,
    },
    LoseAnswer {
        nth: Index,
    },
    Wait {
        ms: u64,
    },
    Oversleep {
        ms: u64,
    },
    /// An operator asks for a command.
    Ask {
        nth: Index,
        verb: Asked,
    },
    SpuriousTick,
    Crash,
    FailCommit {
        landed: Landed,
    },
}

/// What an operator wants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Asked {
    Retry { may_repeat: bool },
    Settle { succeeded: bool },
}

impl Asked {
    fn verb(self) -> Verb {
        match self {
            Self::Retry { may_repeat } => operate::retry(may_repeat),
            Self::Settle { succeeded: true } => operate::settle(EffectOutcome::Succeeded, json!({})),
            Self::Settle { succeeded: false } => operate::settle(EffectOutcome::Failed, json!({})),
        }
    }
}

/// What the outside makes of a call it has not seen.
#[derive(Clone, Copy, Debug)]
pub(super) enum Says {
    Yes,
    No,
    NotNow,
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![3 => Just(Kind::Charge), 2 => Just(Kind::Receipt), 1 => Just(Kind::Poke), 1 => Just(Kind::Ping), 3 => Just(Kind::Ring), 3 => Just(Kind::Beat)];
    let ids = prop::collection::vec((kind, 0..5_u8), 1..4);
    let says = prop_oneof![6 => Just(Says::Yes), 2 => Just(Says::No), 2 => Just(Says::NotNow)];
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let ms = || prop::sample::select(vec![1, 100, 1_000, 2_500]);
    let nth = any::<Index>;
    let asked = prop_oneof![
        2 => any::<bool>().prop_map(|may_repeat| Asked::Retry { may_repeat }),
        1 => any::<bool>().prop_map(|succeeded| Asked::Settle { succeeded }),
    ];
    prop_oneof![
        6 => ids.prop_map(|ids| Op::Command { ids }),
        12 => (nth(), says).prop_map(|(nth, says)| Op::Reach { nth, says }),
        3 => (nth(), any::<bool>()).prop_map(|(nth, done)| Op::Unanswered { nth, done }),
        2 => (nth(), prop::bool::weighted(0.2)).prop_map(|(nth, forbidden)| Op::NotSent { nth, forbidden }),
        12 => (nth(), prop::bool::weighted(0.1)).prop_map(|(nth, again)| Op::Answer { nth, again }),
        2 => nth().prop_map(|nth| Op::LoseAnswer { nth }),
        6 => ms().prop_map(|ms| Op::Wait { ms }),
        1 => ms().prop_map(|ms| Op::Oversleep { ms }),
        3 => (nth(), asked).prop_map(|(nth, verb)| Op::Ask { nth, verb }),
        1 => Just(Op::SpuriousTick),
        2 => Just(Op::Crash),
        2 => landed.prop_map(|landed| Op::FailCommit { landed }),
    ]
}

fn named(kind: Kind, nth: u8) -> EffectCommand {
    match kind {
        Kind::Charge => charge(&format!("charge-{nth}")),
        Kind::Receipt => receipt(&format!("receipt-{nth}")),
        Kind::Poke => command("poke", &format!("poke-{nth}")),
        Kind::Ping => command("ping", &format!("ping-{nth}")),
        Kind::Ring => on_line("ring", line_of(nth), &format!("ring-{nth}")),
        Kind::Beat => on_line("beat", line_of(nth), &format!("beat-{nth}")),
    }
}

fn line_of(nth: u8) -> &'static str {
    if nth.is_multiple_of(3) { "a" } else { "b" }
}

/// A call that began under a key.
#[derive(Clone, Debug)]
struct Begun {
    lane: (Name, Value),
    token: Token,
    at: Now,
    /// Whether the effects have heard of its end.
    ended: bool,
}

/// What the outside did under a key.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct Done {
    /// Calls that reached it.
    calls: u32,
    /// The status it settled on, which it repeats under the same key.
    status: Option<u16>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) bench: Bench<Desk>,
    outside: BTreeMap<String, Done>,
    /// Left the effects, not arrived outside.
    pub(super) calls: Vec<Effect>,
    /// Left the outside, not arrived at the effects.
    pub(super) answers: Vec<Input>,
    /// Commands that arrived for sure, by key.
    commands: BTreeMap<String, EffectCommand>,
    definitions: BTreeMap<Name, Arc<EffectDef>>,
    /// Calls that the adapter definitely did not make and never will: by key.
    forbidden: BTreeSet<String>,
    fail_commit: Option<Landed>,
    begun: Vec<Begun>,
    /// What operators asked for, by key.
    asked: BTreeMap<String, BTreeSet<Asked>>,
    /// Waited for an operator when somebody looked last, and nobody has asked for them since.
    parked: BTreeSet<String>,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        let config = Config { limits, ..config() };
        Self {
            definitions: config.definitions.clone(),
            bench: Bench::new(config),
            outside: BTreeMap::new(),
            calls: Vec::new(),
            answers: Vec::new(),
            commands: BTreeMap::new(),
            forbidden: BTreeSet::new(),
            fail_commit: None,
            begun: Vec::new(),
            asked: BTreeMap::new(),
            parked: BTreeSet::new(),
        }
    }

    pub(super) fn arrive(&mut self, ids: &[(Kind, u8)]) {
        let commands: Vec<EffectCommand> = ids.iter().map(|(kind, nth)| named(*kind, *nth)).collect();
        if self.fail_commit != Some(Landed::No) {
            let keyed = commands.iter().map(|own| (format!("acme:{}", own.command_id), own.clone()));
            self.commands.extend(keyed);
        }
        self.turn(commands.into_iter().map(commanded).collect());
    }

    pub(super) fn turn(&mut self, inputs: Vec<Input>) {
        for input in &inputs {
            if let Input::Effect(effect::Input::Returned { token, .. }) = input {
                self.begun.iter_mut().filter(|own| own.token == *token).for_each(|own| own.ended = true);
            }
        }
        let effects = match self.fail_commit.take() {
            Some(landed) => self.bench.turn_without_answer(landed, inputs),
            None => self.bench.turn(inputs),
        };
        self.released(effects);
    }

    pub(super) fn fails(&mut self, landed: Landed, input: Input) {
        self.fail_commit = Some(landed);
        self.turn(vec![input]);
    }

    pub(super) fn released(&mut self, effects: Vec<Effect>) {
        for effect in &effects {
            assert!(self.commands.contains_key(key(effect)), "INV-EFF-2: nobody asked for {}", key(effect));
            let row = self.row(key(effect));
            let started = matches!(row.phase, Phase::Started { incarnation } if incarnation == token(effect).incarnation);
            assert!(started, "INV-EFF-1: {} is {:?}", key(effect), row.phase);
            if let Some(total_ms) = self.definitions[&row.effect].retry.total_ms_max {
                let passed_ms = self.bench.now.wall.ms_since(row.runs_since());
                assert!(passed_ms < total_ms, "INV-EFF-6: {} begins after {passed_ms} ms", key(effect));
            }
            self.begins(effect, &row);
        }
        self.calls.extend(effects);
        self.judge();
    }

    /// INV-EFF-8.
    fn begins(&mut self, effect: &Effect, row: &LedgerRow) {
        let Some(limits) = &self.definitions[&row.effect].limits else { return };
        let line = row.call.as_ref().map(|call| call.payload["line"].clone()).unwrap_or_default();
        let (now, lane) = (self.bench.now, (row.effect.clone(), line));
        self.begun.push(Begun { lane: lane.clone(), token: token(effect), at: now, ended: false });
        let of_lane = || self.begun.iter().filter(|own| own.lane == lane);
        let given_up_ms = self.definitions[&row.effect].timeout_ms + LIMITS.answer_slack_ms;
        let under_way = |own: &&Begun| {
            let is_of_this_life = own.token.incarnation == token(effect).incarnation;
            is_of_this_life && !own.ended && now.mono.ms_since(own.at.mono) < given_up_ms
        };
        let at_once = of_lane().filter(under_way).count() as u64;
        assert!(
            limits.each.in_flight_max.is_none_or(|max| at_once <= max),
            "INV-EFF-8: {at_once} in {lane:?}"
        );
        let last_second = of_lane().filter(|own| now.wall.ms_since(own.at.wall) < 1_000).count() as u64;
        let kept = limits.each.rate.is_none_or(|rate| last_second < rate.per_second + rate.burst);
        assert!(kept, "INV-EFF-8: {last_second} in a second in {lane:?}");
    }

    fn row(&self, key: &str) -> LedgerRow {
        let (_, id) = key.split_once(':').expect("tenant and id");
        super::ledger(&self.bench, id).expect("in the ledger")
    }

    fn ask(&mut self, at: usize, asked: Asked) {
        let Some((key, command)) = self.commands.iter().nth(at) else { return };
        let (key, id) = (key.clone(), command.command_id.to_string());
        self.parked.remove(&key);
        self.asked.entry(key).or_default().insert(asked);
        self.turn(vec![operate::asks(&id, asked.verb())]);
    }

    fn judge(&mut self) {
        let is_parked = |key: &String| matches!(self.row(key).phase, Phase::Parked { .. });
        let moved: Vec<&String> = self.parked.iter().filter(|key| !is_parked(key)).collect();
        assert!(moved.is_empty(), "INV-EFF-4: nobody asked for {moved:?}");
        self.parked = self.commands.keys().filter(|key| is_parked(key)).cloned().collect();
        let asked = |key: &String, what: Asked| self.asked.get(key).is_some_and(|own| own.contains(&what));
        let mut results: BTreeMap<String, String> = BTreeMap::new();
        for (id, result) in results_of(&self.bench) {
            assert_eq!(results.insert(format!("acme:{id}"), result), None, "INV-EFF-4: {id} ended twice");
        }
        let known: BTreeSet<&String> = self.commands.keys().collect();
        assert_eq!(rows(&self.bench.store, Table::Effect).len(), known.len(), "a command is lost or made up");
        for (key, command) in &self.commands {
            let row = self.row(key);
            let done = self.outside.get(key).cloned().unwrap_or_default();
            let definition = &self.definitions[&command.effect];
            let may_repeat = asked(key, Asked::Retry { may_repeat: true });
            if definition.delivery == Delivery::AtMostOnce && !may_repeat {
                assert!(done.calls <= 1, "INV-EFF-5: {key} reached the outside {} times", done.calls);
            }
            let most = definition.retry.attempts_max.unwrap_or(u32::MAX);
            assert!(row.attempts_used() <= most && done.calls <= row.attempts, "{key}: {done:?}, {row:?}");
            assert!(row.ambiguous <= row.attempts, "{key}: {row:?}");
            let settled = matches!(row.phase, Phase::Settled { .. });
            assert_eq!(settled, results.contains_key(key), "INV-EFF-4: {key}");
            let truth = match done.status {
                Some(200) => Some("succeeded"),
                Some(_) => Some("failed"),
                None => self.forbidden.contains(key).then_some("failed"),
            };
            if row.is_settled_by_hand() {
                let succeeded = results.get(key).is_some_and(|result| result == "succeeded");
                assert!(asked(key, Asked::Settle { succeeded }), "INV-EFF-4: nobody said so of {key}");
            } else if let Some(result) = results.get(key)
                && !(self.forbidden.contains(key) && result == "failed")
            {
                assert_eq!(Some(result.as_str()), truth, "{key}");
            }
        }
    }

    pub(super) fn reach(&mut self, at: usize, says: Says) {
        let call = self.calls.remove(at);
        let done = self.outside.entry(key(&call).clone()).or_default();
        done.calls += 1;
        let status = match (done.status, says) {
            (Some(status), _) => status,
            (None, Says::Yes) => *done.status.insert(200),
            (None, Says::No) => *done.status.insert(422),
            (None, Says::NotNow) => 503,
        };
        self.answers.push(answer(&call, status));
    }

    /// The adapter does not know; the outside may have done it.
    pub(super) fn unanswered(&mut self, at: usize, done: bool) {
        let call = self.calls[at].clone();
        if done {
            self.reach(at, Says::Yes);
            self.answers.pop();
        } else {
            self.calls.remove(at);
        }
        self.turn(vec![unknown(&call)]);
    }

    pub(super) fn answer(&mut self, at: usize, again: bool) {
        let answer = if again { self.answers[at].clone() } else { self.answers.remove(at) };
        self.turn(vec![answer]);
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let end = self.bench.now.mono.plus_ms(ms);
        // From one wake-up to the next, so that rows are looked at when their calls leave.
        while let Some((at, _)) = self.bench.deadline().filter(|(at, _)| *at <= end) {
            let effects = self.bench.advance(at.ms_since(self.bench.now.mono));
            self.released(effects);
        }
        self.bench.oversleep(end.ms_since(self.bench.now.mono));
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Command { ids } => self.arrive(ids),
            Op::Reach { nth, says } => {
                if !self.calls.is_empty() {
                    self.reach(nth.index(self.calls.len()), *says);
                }
            }
            Op::Unanswered { nth, done } => {
                if !self.calls.is_empty() {
                    self.unanswered(nth.index(self.calls.len()), *done);
                }
            }
            Op::NotSent { nth, forbidden } => {
                if !self.calls.is_empty() {
                    let call = self.calls.remove(nth.index(self.calls.len()));
                    if *forbidden {
                        self.forbidden.insert(key(&call).clone());
                    }
                    self.turn(vec![not_sent(&call, *forbidden)]);
                }
            }
            Op::Answer { nth, again } => {
                if !self.answers.is_empty() {
                    self.answer(nth.index(self.answers.len()), *again);
                }
            }
            Op::LoseAnswer { nth } => {
                if !self.answers.is_empty() {
                    self.answers.remove(nth.index(self.answers.len()));
                }
            }
            Op::Ask { nth, verb } => {
                if !self.commands.is_empty() {
                    self.ask(nth.index(self.commands.len()), *verb);
                }
            }
            Op::Wait { ms } => self.wait(*ms),
            Op::Oversleep { ms } => self.bench.oversleep(*ms),
            Op::SpuriousTick => {
                self.fail_commit = None;
                self.wait(0);
                let before = self.bench.machine().clone();
                self.turn(vec![crate::Tick.into()]);
                assert_eq!(self.bench.machine(), &before);
            }
            Op::Crash => self.bench.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
        }
        self.judge();
    }

    /// Faults stop: every command is settled, or waits for a person who was told why.
    fn heal(&mut self) {
        self.fail_commit = None;
        for _ in 0..30 {
            self.wait(LONG_MS);
            while !(self.calls.is_empty() && self.answers.is_empty()) {
                if self.calls.is_empty() {
                    self.answer(0, false);
                } else {
                    self.reach(0, Says::Yes);
                }
            }
        }
        for (key, command) in &self.commands {
            match self.row(key).phase {
                Phase::Settled { .. } => {}
                Phase::Parked { .. } => {
                    let for_ever = ["charge_card", "ring", "beat"].contains(&command.effect.as_str());
                    assert!(!for_ever, "{key} may be tried for ever");
                    let row = self.row(key);
                    let out_of_time = self.definitions[&command.effect].retry.total_ms_max.is_some();
                    assert!(
                        row.ambiguous > 0 || row.attempts_used() == 3 || out_of_time,
                        "{key} needs no person"
                    );
                }
                phase @ (Phase::Open | Phase::Started { .. }) => panic!("{key} is {phase:?}"),
            }
        }
        let (open, in_flight) = (self.bench.machine().0.open(), self.bench.machine().0.in_flight());
        assert_eq!((open, in_flight, self.bench.deadline()), (0, 0, None), "nothing more to do");
    }
}

fn results_of(bench: &Bench<Desk>) -> Vec<(String, String)> {
    let outcome = |value: &serde_json::Value| value["result_type"].as_str().unwrap_or_default().to_owned();
    results(bench).into_iter().map(|(id, value)| (id, outcome(&value))).collect()
}

fn limits() -> impl Strategy<Value = Limits> {
    let circuit = prop_oneof![
        Just(LIMITS.circuit),
        (1..4_u32).prop_map(|failures_max| CircuitLimits {
            failures_max,
            pause_ms: 300,
            pause_ms_max: 2_000
        }),
    ];
    (1..5_usize, 1..9_usize, 1..5_usize, circuit).prop_map(
        |(in_flight_max, tracked_max, lanes_max, circuit)| Limits {
            in_flight_max,
            tracked_max,
            lanes_max,
            circuit,
            ..LIMITS
        },
    )
}

proptest! {
    #[test]
    fn every_command_ends_once_under_one_key_with_the_truth(
        limits in limits(),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut world = World::new(limits);
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }

    #[test]
    fn a_crash_after_every_turn_only_repeats(ops in prop::collection::vec(op(), 1..40)) {
        let mut world = World::new(LIMITS);
        for op in &ops {
            world.apply(op);
            world.bench.crash();
        }
        world.heal();
    }
}
