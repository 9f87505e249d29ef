//! Whatever network, broker, store, clock and rivals do: every command has one outcome, and it is the truth.

use super::{
    AggregateKey, Bench, Effect, EventLog, Input, LIMITS, Landed, PublishRefused, Reply, Stock, Style, add,
    bench, commanded, key_of, refused, reserve, rests, show, subject, token, unknown,
};
use crate::aggregate::record::Refusals;
use crate::aggregate::{Aggregate, CommandRow, Record};
use crate::outcome::Token;
use crate::store::Table;
use crate::wire::envelope::{Command, EventMessage};
use crate::wire::keys;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const ARTICLES: [&str; 2] = ["tea", "mug"];

#[derive(Clone, Debug)]
enum Op {
    /// Somebody sends a command, again perhaps.
    Command {
        article: usize,
        nth: u8,
    },
    /// Another node carries a command out, if the stream allows it.
    Rival {
        article: usize,
        adds: bool,
    },
    /// A request reaches the stream, which may have no room, and its answer sets out; or the request stays for later.
    Reach {
        nth: Index,
        full: bool,
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
    Connection {
        there: bool,
    },
    /// The broker's window passes, or it moves to a cluster.
    Style {
        style: Style,
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
}

fn op() -> impl Strategy<Value = Op> {
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let style = prop::sample::select(vec![Style::Single, Style::Cluster, Style::Forgetful]);
    let ms = || prop::sample::select(vec![1, 50, 1_000, 5_000]);
    let nth = any::<Index>;
    let article = || 0..ARTICLES.len();
    let rarely = || prop::bool::weighted(0.1);
    prop_oneof![
        8 => (article(), 0..6_u8).prop_map(|(article, nth)| Op::Command { article, nth }),
        2 => (article(), any::<bool>()).prop_map(|(article, adds)| Op::Rival { article, adds }),
        14 => (nth(), rarely(), rarely()).prop_map(|(nth, full, again)| Op::Reach { nth, full, again }),
        3 => (nth(), any::<bool>()).prop_map(|(nth, lost)| Op::Unanswered { nth, lost }),
        14 => (nth(), rarely()).prop_map(|(nth, again)| Op::Answer { nth, again }),
        2 => nth().prop_map(|nth| Op::LoseAnswer { nth }),
        1 => any::<bool>().prop_map(|there| Op::Connection { there }),
        1 => style.prop_map(|style| Op::Style { style }),
        6 => ms().prop_map(|ms| Op::Wait { ms }),
        1 => ms().prop_map(|ms| Op::Oversleep { ms }),
        1 => Just(Op::SpuriousTick),
        2 => Just(Op::Crash),
        2 => landed.prop_map(|landed| Op::FailCommit { landed }),
    ]
}

/// What one id means, always.
fn nth_command(article: usize, nth: u8) -> Command {
    let (article, id) = (ARTICLES[article], format!("{}-{nth}", ARTICLES[article]));
    if nth.is_multiple_of(3) { add(article, &id, 2) } else { reserve(article, &id, u64::from(nth % 3)) }
}

/// A caller that waits.
#[derive(Clone, Debug)]
struct Asked {
    command: Command,
    /// Messages of the aggregate when it was sent.
    seen: usize,
    /// Appends sent for it.
    appends: Vec<Token>,
}

#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) bench: Bench<Aggregate>,
    pub(super) log: EventLog,
    /// Left the node, not arrived at the stream.
    pub(super) requests: Vec<Effect>,
    /// Left the stream, not arrived at the node.
    pub(super) answers: Vec<Input>,
    /// Waiting in this life.
    waiting: BTreeMap<u64, Asked>,
    /// The last thing asked of the stream for the command each aggregate is busy with.
    last: BTreeMap<String, Effect>,
    /// Definite outcomes by command id.
    outcomes: BTreeMap<String, String>,
    /// Appends that were stored.
    stored: BTreeSet<Token>,
    commands: BTreeMap<String, Command>,
    fail_commit: Option<Landed>,
    count: u64,
    pub(super) rivals: u64,
}

impl World {
    pub(super) fn new(style: Style) -> Self {
        let mut log = EventLog::new(style);
        Self {
            bench: bench(&mut log),
            log,
            requests: Vec::new(),
            answers: Vec::new(),
            waiting: BTreeMap::new(),
            last: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            stored: BTreeSet::new(),
            commands: BTreeMap::new(),
            fail_commit: None,
            count: 0,
            rivals: 0,
        }
    }

    pub(super) fn turn(&mut self, inputs: Vec<Input>) {
        let incarnation = self.bench.incarnation();
        let effects = match self.fail_commit.take() {
            Some(landed) => self.bench.turn_without_answer(landed, inputs),
            None => self.bench.turn(inputs),
        };
        self.judge_refusals();
        if self.bench.incarnation() != incarnation {
            self.forget_life();
        }
        self.released(effects);
    }

    fn forget_life(&mut self) {
        self.waiting.clear();
        self.last.clear();
    }

    pub(super) fn crash(&mut self) {
        self.bench.crash();
        self.forget_life();
    }

    pub(super) fn submit(&mut self, command: Command) {
        self.count += 1;
        let seen = self.log.read(&subject(&command)).len();
        self.commands.insert(command.command_id.to_string(), command.clone());
        let asked = Asked { command: command.clone(), seen, appends: Vec::new() };
        self.waiting.insert(self.count, asked);
        self.turn(vec![commanded(self.count, command)]);
    }

    pub(super) fn rival(&mut self, article: usize, adds: bool) {
        self.rivals += 1;
        let id = format!("rival-{}", self.rivals);
        let command = if adds { add(ARTICLES[article], &id, 1) } else { reserve(ARTICLES[article], &id, 1) };
        if Stock::of(&self.log.read(&subject(&command))).refuses(&command).is_none() {
            let kind = if adds { "stock_added" } else { "stock_reserved" };
            self.log.rival(&command, &[(kind, json!({ "order": id, "qty": 1 }))]);
        }
    }

    pub(super) fn released(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match &effect {
                Effect::Reply { request, reply } => {
                    let asked = self.waiting.remove(&request.0).expect("one answer for one who waits");
                    self.last.remove(&subject(&asked.command));
                    self.judge_reply(&asked, reply);
                    continue;
                }
                Effect::Append { token, subject, headers, payload } => {
                    let message = EventMessage::decode(subject, headers, payload, "test").expect("readable");
                    let id = message.command_id.expect("of a command");
                    let before = self.last.insert(subject.clone(), effect.clone());
                    let again = matches!(&before, Some(Effect::Append { payload, .. })
                        if EventMessage::decode(subject, headers, payload, "test").expect("readable").command_id
                            == Some(id.clone()));
                    assert!(!again, "INV-AGG-3: {id} is appended again without a look");
                    let asked = self.waiting.values_mut().find(|asked| asked.command.command_id == id);
                    asked.expect("somebody waits for it").appends.push(*token);
                }
                Effect::Load { subject, .. } => drop(self.last.insert(subject.clone(), effect.clone())),
                Effect::Inspect { .. } => {}
                Effect::Drained(report) => panic!("{report:?}"),
            }
            self.requests.push(effect);
        }
        self.judge();
    }

    /// What is refused for good was refused by the stream at some moment since its caller came.
    fn judge_refusals(&mut self) {
        for (id, command) in &self.commands {
            let refusals = Refusals::read(&key_of(command), &self.bench.store).expect("reads");
            let Some(refusal) = refusals.of(&command.command_id) else { continue };
            let outcome = format!("refused {}", refusal.code);
            if self.outcomes.get(id) == Some(&outcome) {
                continue;
            }
            let messages = self.log.read(&subject(command));
            let callers = self.waiting.values().filter(|asked| asked.command == *command);
            let mut since = callers.map(|asked| asked.seen).min().expect("somebody asked")..=messages.len();
            let told = Some(refusal.code.as_str());
            let was_true = since.any(|at| Stock::of(&messages[..at]).refuses(command) == told);
            assert!(was_true, "INV-AGG-7: {id} is refused as {told:?}");
            let before = self.outcomes.insert(id.clone(), outcome);
            assert_eq!(before, None, "INV-AGG-2: {id} has two outcomes");
        }
    }

    fn judge_reply(&mut self, asked: &Asked, reply: &Reply) {
        let messages = self.log.read(&subject(&asked.command));
        let id = asked.command.command_id.to_string();
        let outcome = match reply {
            Reply::Accepted { seq, version, .. } => {
                let to = subject(&asked.command);
                let found = self.log.of(&to).zip(&messages).find(|(kept, _)| kept.seq == *seq);
                let found = found.map(|(_, own)| (own.last_version(), own.command_id.clone()));
                assert_eq!(found, Some((*version, Some(asked.command.command_id.clone()))), "INV-AGG-2");
                format!("accepted {seq}")
            }
            Reply::Refused(refusal) => format!("refused {}", refusal.code),
            Reply::Busy { .. } => {
                let own = |effect: &Effect| token(effect).is_some_and(|token| asked.appends.contains(&token));
                let may_come = self.requests.iter().any(own);
                let came = asked.appends.iter().any(|token| self.stored.contains(token));
                assert!(!may_come && !came, "{id} is said to be undone");
                return;
            }
            Reply::Unknown => return,
            Reply::Invalid(_) | Reply::Unreadable { .. } => panic!("{id}: {}", show(reply)),
        };
        let first = self.outcomes.entry(id.clone()).or_insert_with(|| outcome.clone());
        assert_eq!(*first, outcome, "INV-AGG-2: {id} has two outcomes");
    }

    fn judge(&self) {
        let mut stored = BTreeSet::new();
        for article in ARTICLES {
            let example = add(article, "x", 1);
            let (to, messages) = (subject(&example), self.log.read(&subject(&example)));
            let mut stock = Stock::default();
            for message in &messages {
                assert_eq!(message.version, stock.version + 1, "INV-AGG-1");
                let id = message.command_id.as_ref().map(ToString::to_string).unwrap_or_default();
                if let Some(command) = self.commands.get(&id) {
                    assert_eq!(stock.refuses(command), None, "{id} was decided on another state");
                }
                message.events.iter().for_each(|event| stock.evolve(event));
                assert!(stored.insert(id.clone()), "INV-AGG-2: {id} is stored twice");
            }
            let seqs: Vec<u64> = self.log.of(&to).map(|stored| stored.seq).collect();
            let AggregateKey { tenant, kind, id } = key_of(&example);
            if let Some(row) = self.bench.store.row(Table::Aggregate, &keys::aggregate(&tenant, &kind, &id)) {
                let row = Record::decode(row).expect("a record");
                let until = seqs.iter().filter(|seq| **seq <= row.last_seq).count();
                let fold = Stock::of(&messages[..until]);
                assert_eq!((row.version, &row.state), (fold.version, &fold.state()), "INV-AGG-6");
            }
            for (seq, message) in seqs.iter().zip(&messages) {
                let command = message.command_id.as_ref().expect("of a command");
                let key = keys::command(&tenant, &kind, &id, command);
                if let Some(row) = self.bench.store.row(Table::Command, &key) {
                    let row = CommandRow::decode(row).expect("a command's row");
                    assert_eq!(row, CommandRow { seq: *seq, version: message.last_version() });
                }
            }
        }
        for (id, outcome) in &self.outcomes {
            assert_eq!(outcome.starts_with("accepted"), stored.contains(id), "INV-AGG-2: {id} was {outcome}");
        }
    }

    pub(super) fn reach(&mut self, at: usize, full: bool, again: bool) {
        // A copy of what is stored fails at its expectation or its id before any limit is looked at.
        let full = full && !token(&self.requests[at]).is_some_and(|token| self.stored.contains(&token));
        // What is definitely refused is not on its way any more.
        let request = if again && !full { self.requests[at].clone() } else { self.requests.remove(at) };
        let append = matches!(request, Effect::Append { .. });
        let before = self.log.last_seq;
        let answer = if full && append {
            refused(&request, PublishRefused::Full)
        } else {
            self.log.perform(&request).expect("a request")
        };
        if append && self.log.last_seq > before {
            self.stored.extend(token(&request));
        }
        self.answers.push(answer);
    }

    pub(super) fn unanswered(&mut self, at: usize, lost: bool) {
        let request = if lost { self.requests.remove(at) } else { self.requests[at].clone() };
        self.turn(vec![unknown(&request)]);
    }

    pub(super) fn answer(&mut self, at: usize, again: bool) {
        let answer = if again { self.answers[at].clone() } else { self.answers.remove(at) };
        self.turn(vec![answer]);
    }

    /// An input whose commit has no answer; says whether that was the end of a life.
    pub(super) fn fails(&mut self, landed: Landed, input: Input) -> bool {
        let incarnation = self.bench.incarnation();
        self.fail_commit = Some(landed);
        self.turn(vec![input]);
        self.bench.incarnation() != incarnation
    }

    pub(super) fn wait(&mut self, ms: u64) {
        let effects = self.bench.advance(ms);
        self.judge_refusals();
        self.released(effects);
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Command { article, nth } => self.submit(nth_command(*article, *nth)),
            Op::Rival { article, adds } => self.rival(*article, *adds),
            Op::Reach { nth, full, again } => {
                if !self.requests.is_empty() {
                    self.reach(nth.index(self.requests.len()), *full, *again);
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
            Op::Connection { there } => self.turn(vec![Input::ConnectionChanged { connected: *there }]),
            Op::Style { style } => self.log.style = *style,
            Op::Wait { ms } => self.wait(*ms),
            Op::Oversleep { ms } => self.bench.oversleep(*ms),
            Op::SpuriousTick => {
                self.fail_commit = None;
                self.wait(0);
                let before = self.bench.machine().clone();
                self.turn(vec![crate::Tick.into()]);
                assert_eq!(self.bench.machine(), &before);
            }
            Op::Crash => self.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
        }
        self.judge();
    }

    fn quiet(&mut self) {
        for _ in 0..20 {
            while !self.requests.is_empty() {
                self.reach(0, false, false);
            }
            while !self.answers.is_empty() {
                self.answer(0, false);
            }
            self.wait(LIMITS.backoff_ms_max);
        }
    }

    /// Faults stop: everybody who waits is answered, and every command comes to a definite end when it is repeated.
    fn heal(&mut self) {
        self.fail_commit = None;
        self.turn(vec![Input::ConnectionChanged { connected: true }]);
        self.quiet();
        assert!(self.waiting.is_empty(), "INV-AGG-4: nobody answered {:?}", self.waiting);
        for command in self.commands.clone().into_values() {
            let id = command.command_id.to_string();
            self.submit(command);
            self.quiet();
            assert!(self.outcomes.contains_key(&id), "{id} has no end");
        }
        assert_eq!((self.bench.machine().commands(), rests(&self.bench)), (0, true), "nothing more to do");
    }
}

proptest! {
    #[test]
    fn every_command_has_one_outcome_and_it_is_the_truth(
        style in prop::sample::select(vec![Style::Single, Style::Cluster, Style::Forgetful]),
        ops in prop::collection::vec(op(), 1..100),
    ) {
        let mut world = World::new(style);
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }

    #[test]
    fn a_crash_after_every_turn_only_repeats(ops in prop::collection::vec(op(), 1..40)) {
        let mut world = World::new(Style::Single);
        for op in &ops {
            world.apply(op);
            world.crash();
        }
        world.heal();
    }
}
