//! Whatever network, broker, store and clock do: a view is the fold of the stream up to its checkpoint.

use super::{
    Bench, Event, EventMessage, Headers, Input, Landed, Projection, Sent, Upstream, Value, added, bind,
    checkpoint, config, json, keys, message, name, perform, quarantined, reserved, row, sent, store, tenant,
};
use crate::store::Table;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeMap;

const STOCK: &str = "stock_level";
/// Whose, and which article.
const SOURCES: [(&str, &str); 4] = [("acme", "tea"), ("acme", "mug"), ("globex", "tea"), ("", "a:b")];

#[derive(Clone, Debug)]
enum Op {
    /// The next events of a source.
    Next {
        source: usize,
        events: Vec<u64>,
    },
    /// Its last message again, under another sequence.
    Again {
        source: usize,
    },
    /// A message that never reached the stream.
    Hole {
        source: usize,
    },
    Garbage {
        source: usize,
    },
    Serve,
    Redeliver,
    /// One of the things under way arrives, and may arrive again.
    Arrive {
        nth: Index,
        again: bool,
    },
    /// Everything under way arrives in one turn.
    ArriveAll,
    Lose {
        nth: Index,
    },
    RollBack,
    Wait {
        ms: u64,
    },
    Crash,
    FailCommit {
        landed: Landed,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let source = || 0..SOURCES.len();
    let landed = prop::sample::select(vec![Landed::Yes, Landed::No]);
    let ms = prop::sample::select(vec![100, 2_000, 31_000]);
    prop_oneof![
        8 => (source(), prop::collection::vec(1..4_u64, 1..4)).prop_map(|(source, events)| Op::Next { source, events }),
        1 => source().prop_map(|source| Op::Again { source }),
        1 => source().prop_map(|source| Op::Hole { source }),
        1 => source().prop_map(|source| Op::Garbage { source }),
        12 => Just(Op::Serve),
        1 => Just(Op::Redeliver),
        10 => (any::<Index>(), prop::bool::weighted(0.1)).prop_map(|(nth, again)| Op::Arrive { nth, again }),
        2 => Just(Op::ArriveAll),
        1 => any::<Index>().prop_map(|nth| Op::Lose { nth }),
        1 => Just(Op::RollBack),
        4 => ms.prop_map(|ms| Op::Wait { ms }),
        2 => Just(Op::Crash),
        2 => landed.prop_map(|landed| Op::FailCommit { landed }),
    ]
}

/// What the stream makes of a source, told a second time.
#[derive(Clone, PartialEq, Debug, Default)]
struct Fold {
    version: u64,
    on_hand: i64,
    reserved: i64,
    last_seq: u64,
    /// Messages that could not be applied, and all after them.
    parked: u64,
}

impl Fold {
    fn value(&self) -> Value {
        json!({ "on_hand": self.on_hand, "reserved": self.reserved, "sold": 0 })
    }

    fn apply(&mut self, seq: u64, message: Option<&EventMessage>) {
        let fits = message.is_some_and(|message| message.version <= self.version + 1);
        if self.parked > 0 || !fits {
            self.parked += 1;
            return;
        }
        let Some(message) = message.filter(|message| message.version == self.version + 1) else { return };
        for event in &message.events {
            let qty = event.payload["qty"].as_i64().expect("a quantity");
            if event.kind.as_str() == "stock_added" {
                self.on_hand += qty;
            } else {
                (self.on_hand, self.reserved) = (self.on_hand - qty, self.reserved + qty);
            }
        }
        (self.version, self.last_seq) = (message.last_version(), seq);
    }
}

#[derive(Clone, Debug)]
struct World {
    bench: Bench<Projection>,
    upstream: Upstream,
    under_way: Vec<Sent>,
    fail_commit: Option<Landed>,
    /// By source: the version that the producer gave last.
    versions: BTreeMap<usize, u64>,
    last: BTreeMap<usize, EventMessage>,
}

impl World {
    fn new() -> Self {
        Self {
            bench: Bench::new(config(STOCK)),
            upstream: Upstream::new(),
            under_way: Vec::new(),
            fail_commit: None,
            versions: BTreeMap::new(),
            last: BTreeMap::new(),
        }
    }

    fn turn(&mut self, inputs: Vec<Input>) {
        let effects = match self.fail_commit.take() {
            Some(landed) => self.bench.turn_without_answer(landed, inputs),
            None => self.bench.turn(inputs),
        };
        self.under_way.extend(perform(&mut self.upstream, effects));
        self.judge();
    }

    fn judge(&self) {
        let until = checkpoint(&self.bench);
        let mut folds = vec![Fold::default(); SOURCES.len()];
        for (seq, stored) in self.upstream.messages.range(..=until) {
            let subject =
                |(whose, article)| message(whose, article, 1, vec![added(1)]).route().subject().to_string();
            let at = SOURCES.iter().position(|source| subject(*source) == stored.subject).expect("a source");
            let decoded = EventMessage::decode(&stored.subject, &stored.headers, &stored.payload, "test");
            folds[at].apply(*seq, decoded.ok().as_ref());
        }
        for ((whose, article), fold) in SOURCES.into_iter().zip(&folds) {
            let own = row(&self.bench, STOCK, whose, article);
            let told = (fold.version > 0).then(|| (fold.last_seq, fold.value()));
            assert_eq!(own.map(|row| (row.seq, row.value)), told, "INV-PRJ-2: {whose} {article} at {until}");
            let key = keys::view_source(
                &tenant(whose),
                &name(STOCK),
                &name("stock"),
                &article.parse().expect("an id"),
            );
            let applied = self.bench.store.row(Table::ViewSource, &key).and_then(keys::parse_position);
            assert_eq!(applied.unwrap_or(0), fold.version, "INV-PRJ-3: {whose} {article}");
        }
        let parked: u64 = folds.iter().map(|fold| fold.parked).sum();
        let held: u64 = quarantined(&self.bench).iter().map(|key| key.messages).sum();
        assert_eq!(held, parked, "INV-QRN-1");
        let acked = self.upstream.settled.keys().next_back().copied().unwrap_or_default();
        assert!(acked <= until, "INV-GATE-1: {acked} is acked, {until} durable");
    }

    fn next(&mut self, source: usize, events: Vec<Event>) -> EventMessage {
        let version = self.versions.entry(source).or_default();
        let (whose, article) = SOURCES[source];
        let next = message(whose, article, *version + 1, events);
        *version = next.last_version();
        next
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Next { source, events } => {
                let events = events.iter().map(|qty| if *qty > 2 { reserved(*qty) } else { added(*qty) });
                // The first event of an article makes its row.
                let first = (!self.versions.contains_key(source)).then(|| added(9));
                let next = self.next(*source, first.into_iter().chain(events).collect());
                store(&mut self.upstream, &next);
                self.last.insert(*source, next);
            }
            Op::Again { source } => {
                if let Some(last) = self.last.get(source) {
                    store(&mut self.upstream, last);
                }
            }
            Op::Hole { source } => drop(self.next(*source, vec![added(9)])),
            Op::Garbage { source } => {
                let (whose, article) = SOURCES[*source];
                let subject = message(whose, article, 1, vec![added(1)]).route().subject();
                self.upstream.store(subject.as_str(), Headers::default(), "{");
            }
            Op::Serve => self.under_way.extend(self.upstream.serve().map(Sent::Message)),
            Op::Redeliver => self.under_way.extend(self.upstream.redeliver().map(Sent::Message)),
            Op::Arrive { nth, again } => {
                if !self.under_way.is_empty() {
                    // Mostly in the order of sending: a gate that sees only disorder never gets anywhere.
                    let at = nth.index(self.under_way.len() + 4).saturating_sub(4);
                    let arrived = if *again { self.under_way[at].clone() } else { self.under_way.remove(at) };
                    self.turn(vec![sent(STOCK, arrived)]);
                }
            }
            Op::ArriveAll => {
                let arrived = std::mem::take(&mut self.under_way);
                self.turn(arrived.into_iter().map(|arrived| sent(STOCK, arrived)).collect());
            }
            Op::Lose { nth } => {
                if !self.under_way.is_empty() {
                    self.under_way.remove(nth.index(self.under_way.len()));
                }
            }
            Op::RollBack => self.upstream.roll_back(),
            Op::Wait { ms } => {
                let effects = self.bench.advance(*ms);
                self.under_way.extend(perform(&mut self.upstream, effects));
            }
            Op::Crash => self.bench.crash(),
            Op::FailCommit { landed } => self.fail_commit = Some(*landed),
        }
        self.judge();
    }

    /// Faults stop: everything stored is in the view or held back.
    fn heal(&mut self) {
        self.fail_commit = None;
        self.bench.crash();
        self.under_way.clear();
        bind(&mut self.bench, &mut self.upstream, STOCK);
        while let Some(delivery) = self.upstream.serve() {
            self.turn(vec![sent(STOCK, Sent::Message(delivery))]);
            for sent_back in std::mem::take(&mut self.under_way) {
                self.turn(vec![sent(STOCK, sent_back)]);
            }
        }
        let last = self.upstream.messages.keys().next_back().copied().unwrap_or_default();
        assert_eq!(checkpoint(&self.bench), last, "something was never applied");
    }
}

proptest! {
    #[test]
    fn a_view_is_the_fold_of_the_stream_up_to_its_checkpoint(ops in prop::collection::vec(op(), 1..100)) {
        let mut world = World::new();
        ops.iter().for_each(|op| world.apply(op));
        world.heal();
    }
}
