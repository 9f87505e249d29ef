//! Whatever network, broker, store and clock do: every entry ends once, with the truth, and lanes keep their order.

use super::{
    Bench, Config, Effect, Entry, Input, LIMITS, Landed, Outside, Relay, about, command, config, enqueued,
    headers, kept, message, name, not_now, result_of, settled, subject, token, unknown, waiting,
};
use crate::outbox::Limits;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Message,
    Command,
    Result,
}

#[derive(Clone, Debug)]
enum Op {
    /// Several at once, in one turn.
    Enqueue {
        kinds: Vec<(Kind, u8)>,
    },
    /// A request reaches the outside, which may say no, and its answer sets out; or the request stays for later.
    Reach {
        nth: Index,
        refuse: bool,
        again: bool,
    },
    /// A request is lost, or its answer is: the adapter says that it does not know.
    Unanswered {
        nth: Index,
        lost: bool,
    },
    /// An answer arrives, and may arrive again.
    Answer {
        nth: Index,
        again: bool,
    },
    LoseAnswer {
        nth: Index,
    },
    /// Somebody else publishes on the subject of an entry.
    Occupy {
        nth: Index,
    },
    Wait {
        ms: u64,
    },
    Oversleep {
        ms: u64,
    },
    SpuriousTick,
    Crash,
    FailCommit {
        landed: Landed,
    },
    /// An operator lets a lane go that was given up on.
    LetGo {
        nth: Index,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let kind = prop_oneof![3 => Just(Kind::Message), 2 => Just(Kind::Command), 1 => Just(Kind::Result)];
    let kinds = prop::collection::vec((kind, 0..3_u8), 1..4);
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let ms = || prop::sample::select(vec![1, 50, 1_000, 5_000]);
    let nth = any::<Index>;
    prop_oneof![
        6 => kinds.prop_map(|kinds| Op::Enqueue { kinds }),
        12 => (nth(), prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(nth, refuse, again)| Op::Reach { nth, refuse, again }),
        3 => (nth(), any::<bool>()).prop_map(|(nth, lost)| Op::Unanswered { nth, lost }),
        12 => (nth(), prop::bool::weighted(0.1)).prop_map(|(nth, again)| Op::Answer { nth, again }),
        2 => nth().prop_map(|nth| Op::LoseAnswer { nth }),
        1 => nth().prop_map(|nth| Op::Occupy { nth }),
        6 => ms().prop_map(|ms| Op::Wait { ms }),
        1 => ms().prop_map(|ms| Op::Oversleep { ms }),
        1 => Just(Op::SpuriousTick),
        2 => Just(Op::Crash),
        2 => landed.prop_map(|landed| Op::FailCommit { landed }),
        1 => nth().prop_map(|nth| Op::LetGo { nth }),
    ]
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) bench: Bench<Relay>,
    pub(super) outside: Outside,
    /// Left the relay, not arrived outside.
    pub(super) requests: Vec<Effect>,
    /// Left the outside, not arrived at the relay.
    pub(super) answers: Vec<Input>,
    fail_commit: Option<Landed>,
    /// Entries that were enqueued for sure: what they are about, and their lane.
    entries: BTreeMap<String, (String, String)>,
    /// Where each entry was first seen.
    positions: BTreeMap<u64, String>,
    /// Subjects that somebody else took first.
    foreign: BTreeSet<String>,
    count: u64,
}

impl World {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            bench: Bench::new(Config { limits, ..config() }),
            outside: Outside::default(),
            requests: Vec::new(),
            answers: Vec::new(),
            fail_commit: None,
            entries: BTreeMap::new(),
            positions: BTreeMap::new(),
            foreign: BTreeSet::new(),
            count: 0,
        }
    }

    fn entry(&mut self, kind: Kind, lane: u8) -> Entry {
        self.count += 1;
        let tenant = if lane == 2 { "zeta" } else { "acme" };
        let (instance, id) = (format!("{tenant}/o-{lane}"), format!("w-{}", self.count));
        match kind {
            Kind::Message => message(&instance, &id),
            Kind::Command => command(&instance, &id),
            Kind::Result => result_of(tenant, &id),
        }
    }

    pub(super) fn enqueue(&mut self, kinds: &[(Kind, u8)]) {
        let entries: Vec<Entry> = kinds.iter().map(|(kind, lane)| self.entry(*kind, *lane)).collect();
        let stays = self.fail_commit != Some(Landed::No);
        for entry in entries.iter().filter(|_| stays) {
            self.entries.insert(name(&entry.origin), (about(entry), entry.lane()));
        }
        self.turn(entries.into_iter().map(enqueued).collect());
    }

    pub(super) fn turn(&mut self, inputs: Vec<Input>) {
        let effects = match self.fail_commit.take() {
            Some(landed) => self.bench.turn_without_answer(landed, inputs),
            None => self.bench.turn(inputs),
        };
        self.released(effects);
    }

    pub(super) fn released(&mut self, effects: Vec<Effect>) {
        let (waiting, settled) = (self.unsettled(), settled(&self.bench));
        for effect in &effects {
            let subject = subject(effect);
            let of = waiting.iter().find(|(_, entry)| about(entry) == subject);
            let (position, entry) = of.expect("what leaves is in the committed table");
            let lane = entry.lane();
            let earlier = waiting.range(..position).find(|(_, other)| other.lane() == lane);
            assert_eq!(earlier, None, "INV-OUT-1: {subject} leaves before an earlier one of its lane");
            if let Effect::Publish { headers: own, .. } = effect {
                assert_eq!(own.get(headers::NATS_MSG_ID), Some(subject.as_str()), "INV-OUT-3");
            }
        }
        self.requests.extend(effects);
        self.judge(&waiting, &settled);
    }

    /// What waits, in the outbox or because it was given up on.
    fn unsettled(&self) -> BTreeMap<u64, Entry> {
        let mut all = waiting(&self.bench);
        for ((_, position), entry) in kept(&self.bench.store) {
            assert_eq!(all.insert(position, entry), None, "INV-OUT-8: entry {position} is kept, and waits");
        }
        all
    }

    /// Lanes that were given up on.
    fn kept_lanes(&self) -> BTreeSet<String> {
        kept(&self.bench.store).into_keys().map(|(lane, _)| lane).collect()
    }

    /// Nothing lost, nothing twice, and every end is the truth.
    fn judge(&mut self, waiting: &BTreeMap<u64, Entry>, settled: &[String]) {
        let mut seen = BTreeSet::new();
        for (position, entry) in waiting {
            let own = name(&entry.origin);
            let first = self.positions.entry(*position).or_insert_with(|| own.clone());
            assert_eq!(*first, own, "INV-OUT-5: position {position} is used again");
            seen.insert(own);
        }
        for line in settled {
            let (own, end) =
                line.rsplit_once(" published ").or_else(|| line.rsplit_once(" accepted ")).map_or_else(
                    || (line.trim_end_matches(" refused subject_taken"), None),
                    |(own, end)| (own, Some(end)),
                );
            assert!(seen.insert(own.to_owned()), "{own} ended twice, or waits after its end");
            let (subject, _) = &self.entries[own];
            match end {
                Some(end) => {
                    assert!(!self.foreign.contains(subject), "{line}: it is somebody else's");
                    let seq = end.split(' ').next().and_then(|seq| seq.parse().ok());
                    let kept = self.outside.kept.get(subject).map(|(seq, _)| *seq);
                    assert_eq!(seq, kept, "INV-OUT-2: {line}");
                }
                None => assert!(self.foreign.contains(subject), "{line}"),
            }
        }
        assert!(seen.iter().eq(self.entries.keys()), "something is lost: {seen:?}");
        let mut reached: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for subject in &self.outside.order {
            let own = self.entries.iter().find(|(_, (own, _))| own == subject);
            let Some((own, (_, lane))) = own else { panic!("{subject} is nobody's") };
            let position =
                self.positions.iter().find(|(_, name)| *name == own).map(|(position, _)| *position);
            reached.entry(lane).or_default().push(position.expect("seen"));
        }
        for (lane, positions) in reached {
            assert!(positions.is_sorted(), "INV-OUT-1: lane {lane} reached the outside as {positions:?}");
        }
    }

    pub(super) fn reach(&mut self, at: usize, refuse: bool, again: bool) {
        let request = if again { self.requests[at].clone() } else { self.requests.remove(at) };
        let answer = if refuse && !matches!(request, Effect::Look { .. }) {
            not_now(&request)
        } else {
            self.outside.perform(&request)
        };
        self.answers.push(answer);
    }

    pub(super) fn answer(&mut self, at: usize, again: bool) {
        let answer = if again { self.answers[at].clone() } else { self.answers.remove(at) };
        self.turn(vec![answer]);
    }

    pub(super) fn unanswered(&mut self, at: usize, lost: bool) {
        let request = if lost { self.requests.remove(at) } else { self.requests[at].clone() };
        self.turn(vec![unknown(&request)]);
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let effects = self.bench.advance(ms);
        self.released(effects);
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Enqueue { kinds } => self.enqueue(kinds),
            Op::Reach { nth, refuse, again } => {
                if !self.requests.is_empty() {
                    self.reach(nth.index(self.requests.len()), *refuse, *again);
                }
            }
            Op::Unanswered { nth, lost } => {
                if !self.requests.is_empty() {
                    self.unanswered(nth.index(self.requests.len()), *lost);
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
            Op::Occupy { nth } => {
                // A command id is ours alone: only subjects can be taken by somebody else.
                let waiting = waiting(&self.bench);
                let subjects: Vec<String> =
                    waiting.values().map(about).filter(|id| id.contains('.')).collect();
                if !subjects.is_empty() {
                    let subject = nth.get(&subjects).clone();
                    if !self.outside.kept.contains_key(&subject) {
                        self.outside.keep(subject.clone(), None);
                        self.outside.order.pop();
                        self.foreign.insert(subject);
                    }
                }
            }
            Op::Wait { ms } => self.wait(*ms),
            Op::Oversleep { ms } => self.bench.oversleep(*ms),
            Op::SpuriousTick => {
                self.turn(Vec::new());
                // What that turn made room for is due at once.
                let effects = self.bench.settle();
                self.released(effects);
                let before = self.bench.machine().clone();
                self.turn(vec![crate::Tick.into()]);
                assert_eq!(self.bench.machine(), &before);
            }
            Op::Crash => self.bench.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
            Op::LetGo { nth } => {
                let lanes: Vec<String> = self.kept_lanes().into_iter().collect();
                if !lanes.is_empty() {
                    self.turn(vec![Input::LetGo(nth.get(&lanes).clone())]);
                }
            }
        }
    }

    /// Faults stop: every entry ends.
    fn heal(&mut self) {
        self.fail_commit = None;
        for _ in 0..200 {
            while !self.requests.is_empty() {
                self.reach(0, false, false);
            }
            while !self.answers.is_empty() {
                self.answer(0, false);
            }
            self.wait(1_000);
            for lane in self.kept_lanes() {
                self.turn(vec![Input::LetGo(lane)]);
            }
        }
        assert_eq!(self.kept_lanes(), BTreeSet::new());
        assert_eq!(waiting(&self.bench), BTreeMap::new());
        assert_eq!(settled(&self.bench).len(), self.entries.len());
        let reached = self.outside.order.len() + self.foreign.len();
        assert_eq!(reached, self.entries.len(), "one message or command for every entry");
        let tokens: BTreeSet<_> = self.requests.iter().map(token).collect();
        assert_eq!((self.bench.deadline(), tokens.len()), (None, 0), "nothing more to do");
    }
}

fn limits() -> impl Strategy<Value = Limits> {
    (1..4_usize, 1..4_usize, 1..6_usize, 1..6_usize).prop_map(
        |(in_flight_max, in_flight_tenant_max, tracked_max, tracked_tenant_max)| Limits {
            in_flight_max,
            in_flight_tenant_max,
            tracked_max,
            tracked_tenant_max,
            retry_ms_max: 2_000,
            ..LIMITS
        },
    )
}

proptest! {
    #[test]
    fn every_entry_ends_once_with_the_truth_and_in_the_order_of_its_lane(
        limits in limits(),
        ops in prop::collection::vec(op(), 1..100),
    ) {
        let mut world = World::new(limits);
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }

    #[test]
    fn a_crash_after_every_turn_only_repeats(ops in prop::collection::vec(op(), 1..50)) {
        let mut world = World::new(LIMITS);
        for op in &ops {
            world.apply(op);
            world.bench.crash();
        }
        world.heal();
    }
}
