//! Keys held back, on a bench: script, invariants by name, and a model.

mod release;

use super::operate::Operation;
use super::{Cause, Parked, Quarantine, QuarantineKey, QuarantinedKey, Subject, Which};
use crate::bench::{Bench, Exam, Landed, examine, quirks};
use crate::cx::{Cx, Machine, Tick};
use crate::halt::{Fence, Halt};
use crate::invariants::Invariant;
use crate::marks::Mark;
use crate::quirks::Quirk;
use crate::store::{KEY_BYTES_MAX, Table, View};
use crate::time::{Mono, Now};
use crate::wire::headers::Headers;
use crate::wire::id::{EntityId, TenantId};
use crate::wire::keys;
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::ControlFlow;

pub(crate) const EXAM: Exam = &[
    (Quirk::QuarantineLetThrough, what_follows_a_parked_message_is_parked_behind_it),
    (Quirk::QuarantineCountsFirstOnly, keys_held_back_for_one_reason_are_a_group),
    (Quirk::QuarantineFreeTooSoon, release::what_is_selected_is_redriven_first_message_first),
    (Quirk::QuarantineForgetFailed, release::what_fails_again_stays_with_all_that_follows),
    (Quirk::QuarantineKeyRunsOn, a_key_that_goes_on_where_another_ends_is_another),
];

#[test]
fn every_fault_of_a_quarantine_is_noticed() {
    examine(EXAM);
}

const PARKED_MAX: u64 = 6;

/// A message for a key. One that is broken cannot be applied.
#[derive(Clone, PartialEq, Debug)]
struct Message {
    key: &'static str,
    seq: u64,
    broken: bool,
}

#[derive(Clone, PartialEq, Debug)]
enum Input {
    Arrived(Message),
    Asked(Operation),
    /// What was broken is not any more.
    Mended,
    TurnCame(u32),
    Tick(Tick),
}

impl From<Tick> for Input {
    fn from(tick: Tick) -> Self {
        Self::Tick(tick)
    }
}

/// Applies what it can, and parks the rest, as every parent of a quarantine does.
#[derive(Clone, PartialEq, Debug)]
struct Ward(Quarantine, bool);

impl Machine for Ward {
    type Config = ();
    type Input = Input;
    type Effect = String;
    type Timer = ();
    type Durable = super::Durable;

    fn recover((): (), _: u64, view: &dyn View) -> Result<Self, Halt> {
        Ok(Self(Quarantine::recover(PARKED_MAX, quirks(), view)?, false))
    }

    fn handle(&mut self, now: Now, input: Input, cx: &mut Cx<'_, Input, String>) -> Result<(), Halt> {
        let Message { key, seq, broken } = match input {
            Input::Arrived(message) => message,
            Input::Asked(operation) => {
                let answer = self.0.operate(now, &operation, cx)?;
                cx.emit(release::told(answer));
                return Ok(());
            }
            Input::Mended => {
                self.1 = true;
                return Ok(());
            }
            Input::TurnCame(left) => return self.on_turn_came(now, left, cx),
            Input::Tick(Tick) => {
                let left = self.0.tick(now);
                if left > 0 {
                    cx.then(Input::TurnCame(left));
                }
                return Ok(());
            }
        };
        let own = self::key(key);
        let held = self.0.holds(&own, cx.view())?;
        if held || broken {
            let cause = (!held).then(|| Cause { kind: "broken".into(), detail: format!("{seq} is") });
            let (subject, payload) = (format!("to.{key}"), seq.to_be_bytes());
            let headers = Headers::default();
            let (stream, subject) = ("S", subject.as_str());
            let parked = Parked {
                stream,
                stream_seq: seq,
                subject,
                headers: &headers,
                payload: &payload,
                definition: None,
            };
            self.0.park(now, &own, &parked, cause, cx)?;
            cx.emit(format!("parked {key} {seq}"));
        } else {
            cx.put(Table::View, &keys::position(seq), key.as_bytes());
            cx.emit(format!("applied {key} {seq}"));
        }
        Ok(())
    }

    fn deadline(&self) -> Option<(Mono, ())> {
        self.0.deadline().map(|at| (at, ()))
    }

    fn durable(&self) -> super::Durable {
        self.0.durable()
    }

    fn check(&self, view: &dyn View) -> Result<(), Halt> {
        self.0.check(view)
    }
}

fn key(name: &str) -> QuarantineKey {
    QuarantineKey::source("consumer", name).expect("short enough")
}

const fn sound(key: &'static str, seq: u64) -> Input {
    Input::Arrived(Message { key, seq, broken: false })
}

const fn broken(key: &'static str, seq: u64) -> Input {
    Input::Arrived(Message { key, seq, broken: true })
}

fn listed(bench: &Bench<Ward>, which: &Which) -> Vec<QuarantinedKey> {
    Quarantine::list(&bench.store, which, "", 10).expect("reads").items
}

fn bench() -> Bench<Ward> {
    Bench::new(())
}

/// What is parked for each key, as the committed table says, in order.
fn parked(bench: &Bench<Ward>) -> BTreeMap<String, Vec<u64>> {
    let mut out: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (key, row) in bench.store.table(Table::Parked) {
        let (record, payload) = row.split_at(row.iter().position(|byte| *byte == b'\n').expect("a record"));
        let record: Value = serde_json::from_slice(record).expect("JSON");
        let seq = record["stream_seq"].as_u64().expect("a sequence");
        assert_eq!(payload[1..], seq.to_be_bytes(), "the body is kept as it came");
        let key = String::from_utf8_lossy(&key[..key.len() - 9]).into_owned();
        out.entry(key).or_default().push(seq);
    }
    out
}

#[test]
pub(super) fn what_follows_a_parked_message_is_parked_behind_it() {
    let mut bench = bench();
    let said = bench.turn([sound("a", 1), broken("a", 2), sound("b", 3), sound("a", 4), broken("a", 5)]);
    assert_eq!(said, ["applied a 1", "parked a 2", "applied b 3", "parked a 4", "parked a 5"], "INV-QRN-1");
    bench.crash();
    assert_eq!(bench.turn([sound("a", 6), sound("b", 7)]), ["parked a 6", "applied b 7"], "INV-QRN-1");
    assert_eq!(parked(&bench), [(key("a").display(), vec![2, 4, 5, 6])].into());
    assert_eq!((bench.machine().0.parked(), bench.machine().0.keys()), (4, 1));
    assert_eq!((bench.marked(Mark::QuarantineParked), bench.marked(Mark::QuarantineFollowed)), (1, 3));
}

#[test]
fn a_key_says_why_it_is_held_back_and_since_when() {
    let mut bench = bench();
    let since = bench.now.wall;
    bench.turn([broken("b", 1), broken("a", 2)]);
    bench.oversleep(1_000);
    bench.turn([sound("b", 3)]);
    let listed = listed(&bench, &Which::default());
    let told: Vec<_> = listed.iter().map(|key| (key.key.as_str(), key.messages, key.since)).collect();
    assert_eq!(
        told,
        [("deadletter:source:consumer:a", 1, since), ("deadletter:source:consumer:b", 2, since)]
    );
    assert_eq!((listed[1].cause.kind.as_str(), listed[1].cause.detail.as_str()), ("broken", "1 is"));
}

#[test]
pub(super) fn keys_held_back_for_one_reason_are_a_group() {
    let mut bench = bench();
    let since = bench.now.wall;
    bench.turn([broken("a", 1), broken("b", 2), sound("a", 3)]);
    bench.crash();
    bench.turn([sound("b", 4)]);
    let groups = Quarantine::groups(&bench.store, "", 10).expect("reads");
    let [group] = &groups.items[..] else { panic!("{groups:?}") };
    assert_eq!((group.keys, group.messages, groups.next), (2, 4, None), "INV-QRN-3");
    assert_eq!((group.pattern.as_str(), group.example.as_str(), group.since), ("# is", "1 is", since));
    let of = Which { group: Some(group.group.clone()), ..Which::default() };
    assert_eq!(listed(&bench, &of).len(), 2);
    assert_eq!(listed(&bench, &Which { group: Some("g-0".into()), ..Which::default() }), []);
}

#[test]
fn pages_show_every_key_and_every_message_once() {
    let mut bench = bench();
    bench.turn([broken("a", 1), broken("a:b", 2), broken("c", 3), sound("a:b", 4)]);
    let (mut after, mut keys) = (String::new(), Vec::new());
    loop {
        let page = Quarantine::list(&bench.store, &Which::default(), &after, 1).expect("reads");
        keys.extend(page.items.into_iter().map(|own| own.key));
        match page.next {
            Some(next) => after = next,
            None => break,
        }
    }
    assert_eq!(keys, ["a", "a:b", "c"].map(|own| key(own).display()));
    let own = QuarantineKey::parse(&keys[1]).expect("a key");
    assert_eq!(own, key("a:b"));
    let read = |from, max| -> Vec<(u64, u64, usize)> {
        let messages = Quarantine::messages(&bench.store, &own, from, max).expect("reads");
        messages.iter().map(|own| (own.position, own.stream_seq, own.payload_bytes)).collect()
    };
    assert_eq!(
        (read(0, 10), read(0, 1), read(1, 10)),
        (vec![(0, 2, 8), (1, 4, 8)], vec![(0, 2, 8)], vec![(1, 4, 8)])
    );
}

#[test]
fn a_key_says_whose_it_is_and_what_it_holds_back() {
    let acme = TenantId::parse("acme").expect("a tenant");
    let (saga, order): (_, EntityId) = ("checkout".parse().expect("a name"), "o:1".parse().expect("an id"));
    let instance = QuarantineKey::instance(&acme, &saga, &order).expect("fits");
    let subject = Subject::Instance { tenant: acme.clone(), saga, correlation: order };
    assert_eq!((instance.subject(), subject.tenant()), (Some(subject), Some(acme.clone())));
    let source = key("tenant.acme.aggregate.order.o-1");
    assert_eq!(source.subject().and_then(|own| own.tenant()), Some(acme));
    assert_eq!(key("odd").subject().and_then(|own| own.tenant()), None);
    for text in
        ["", "deadletter", "deadletter:source", "deadletter:other:a:b", "deadletter:saga:acme:checkout"]
    {
        assert_eq!(QuarantineKey::parse(text), None, "{text}");
    }
}

#[test]
fn a_message_is_parked_with_its_turn_or_not_at_all() {
    for landed in [Landed::Yes, Landed::No] {
        let mut bench = bench();
        assert_eq!(bench.turn_without_answer(landed, [broken("a", 1), sound("b", 2)]), [""; 0]);
        let there = u64::from(landed == Landed::Yes);
        let applied = bench.store.table(Table::View).count() as u64;
        assert_eq!((bench.machine().0.parked(), applied), (there, there), "INV-QRN-2");
    }
}

#[test]
fn a_full_quarantine_stops_the_intake_and_loses_nothing() {
    let mut bench = bench();
    bench.turn((1..=PARKED_MAX).map(|seq| broken("a", seq)));
    let halt = bench.try_turn([sound("b", 7), sound("a", 8)]);
    assert_eq!(halt, Err(Fence::QuarantineFull { parked: PARKED_MAX }.into()));
    bench.crash();
    assert_eq!(bench.store.table(Table::View).count(), 0, "nothing of the turn landed");
    assert_eq!(bench.turn([sound("b", 7)]), ["applied b 7"]);
}

#[test]
fn no_two_keys_are_the_same_and_no_key_is_too_long() {
    let tenant = |raw: &str| TenantId::parse(raw).expect("a tenant");
    let order = |raw: &str| EntityId::parse(raw).expect("an id");
    let saga = "checkout".parse().expect("a name");
    let instances = [("acme", "o:1"), ("acme", "o-1"), ("globex", "o-1"), ("", "o-1"), ("", "o.1")];
    let mut keys: Vec<String> = instances
        .iter()
        .map(|(whose, id)| {
            QuarantineKey::instance(&tenant(whose), &saga, &order(id)).expect("fits").display()
        })
        .collect();
    keys.push(key("checkout:o-1").display());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 6, "INV-TEN-1: {keys:?}");
    let longest = QuarantineKey::instance(&tenant(&"t".repeat(64)), &saga, &order(&".".repeat(64)));
    assert!(longest.is_some_and(|key| key.row(u64::MAX).len() <= KEY_BYTES_MAX));
    assert_eq!(QuarantineKey::source("consumer", &"s".repeat(KEY_BYTES_MAX)), None);
}

#[test]
pub(super) fn a_key_that_goes_on_where_another_ends_is_another() {
    let mut bench = bench();
    // Anybody may publish on such a subject.
    bench.turn([broken("a", 1), broken("a:b", 2), sound("a", 3)]);
    assert_eq!(parked(&bench), [(key("a").display(), vec![1, 3]), (key("a:b").display(), vec![2])].into());
}

#[test]
fn tables_that_contradict_each_other_or_cannot_be_read_halt() {
    let with = |table: Table, key: &[u8], row: &[u8]| {
        let mut bench = bench();
        bench.turn([broken("a", 1)]);
        bench.store.rows.insert((table, key.to_vec()), row.to_vec());
        bench
    };
    let own = key("a");
    let halt = with(Table::ParkedKey, &own.0, b"{}").recovered().expect_err("not a row");
    assert!(matches!(halt, Halt::Corrupt { table: Table::ParkedKey, .. }), "{halt}");
    for position in [1, 7] {
        let mut bench = with(Table::Parked, &own.row(position), b"{}\n");
        let halt = bench.try_turn([]).expect_err("one row too many");
        assert!(matches!(&halt, Halt::Broken(broken) if broken.invariant == Invariant::Qrn1), "{halt}");
    }
}

proptest! {
    #[test]
    fn a_key_is_applied_up_to_its_first_broken_message_and_parked_from_there(
        arrivals in prop::collection::vec((0..3_usize, prop::bool::weighted(0.15), 0..10_u8), 1..40),
    ) {
        const KEYS: [&str; 3] = ["a", "a:b", "b"];
        let mut bench = bench();
        let mut applied: BTreeMap<u64, &str> = BTreeMap::new();
        let mut held: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for (seq, (at, broken, fault)) in (1..).zip(arrivals) {
            let name = KEYS[at];
            let input = Input::Arrived(Message { key: name, seq, broken });
            let own = held.get(&key(name).display());
            let parks = broken || own.is_some();
            if parks && held.values().map(Vec::len).sum::<usize>() as u64 == PARKED_MAX {
                prop_assert!(bench.try_turn([input]).is_err());
                bench.crash();
                continue;
            }
            match fault {
                0 => drop(bench.turn_without_answer(Landed::Yes, [input])),
                1 => {
                    bench.turn_without_answer(Landed::No, [input]);
                    continue;
                }
                2 => {
                    bench.turn([input]);
                    bench.crash();
                }
                _ => drop(bench.turn([input])),
            }
            if parks {
                held.entry(key(name).display()).or_default().push(seq);
            } else {
                applied.insert(seq, name);
            }
            let mut found = BTreeMap::new();
            bench.store.scan(Table::View, b"", &mut |seq, key| {
                found.insert(keys::parse_position(seq).expect("a sequence"), key.to_vec());
                ControlFlow::Continue(())
            }).expect("reads");
            prop_assert!(found.iter().map(|(seq, key)| (*seq, key.as_slice())).eq(
                applied.iter().map(|(seq, key)| (*seq, key.as_bytes()))
            ));
            prop_assert_eq!(&parked(&bench), &held);
        }
    }
}
