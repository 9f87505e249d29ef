//! Tenants share a relay: what one has much of does not hold back another.

use super::{
    Bench, Config, Effect, Entry, LIMITS, Relay, config, done, enqueued, result, result_of, unknown, waiting,
    words,
};
use crate::outbox::Limits;
use crate::time::Wall;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn bench(limits: Limits) -> Bench<Relay> {
    Bench::new(Config { limits, ..config() })
}

fn results(tenant: &str, ids: std::ops::RangeInclusive<u64>) -> Vec<Entry> {
    ids.map(|id| result_of(tenant, &format!("{tenant}-{id}"))).collect()
}

fn enqueue(bench: &mut Bench<Relay>, entries: Vec<Entry>) -> Vec<Effect> {
    bench.turn(entries.into_iter().map(enqueued))
}

/// Answers what is in flight, first come, first served, and says what left in which order.
fn leave(bench: &mut Bench<Relay>, mut in_flight: Vec<Effect>) -> Vec<String> {
    let mut order = Vec::new();
    while !in_flight.is_empty() {
        let attempt = in_flight.remove(0);
        order.extend(words(std::slice::from_ref(&attempt)));
        in_flight.extend(bench.turn([done(&attempt, 1)]));
    }
    order.into_iter().map(|words| words.replace("publish ", "")).collect()
}

#[test]
pub(super) fn tenants_take_turns() {
    let mut bench = bench(Limits { in_flight_max: 1, tracked_max: 64, tracked_tenant_max: 64, ..LIMITS });
    let mut entries = results("acme", 1..=5);
    entries.extend(results("beta", 1..=2));
    entries.extend(results("zeta", 1..=3));
    let first = enqueue(&mut bench, entries);
    let order = leave(&mut bench, first);
    let expected = "acme-1 acme-2 beta-1 zeta-1 acme-3 beta-2 zeta-2 acme-4 zeta-3 acme-5";
    assert_eq!(order.join(" "), expected, "INV-OUT-7: acme-2 queued up before anybody else had come");
}

#[test]
pub(super) fn a_tenant_with_much_to_send_does_not_hold_back_the_first_of_another() {
    let mut bench = bench(LIMITS);
    let mut in_flight = enqueue(&mut bench, results("acme", 1..=10_000));
    assert_eq!(words(&in_flight), ["publish acme-1", "publish acme-2"]);
    assert_eq!(enqueue(&mut bench, results("zeta", 1..=1)), [], "no place is free");
    in_flight.extend(bench.turn([done(&in_flight[0], 1)]));
    in_flight.extend(bench.turn([done(&in_flight[1], 1)]));
    assert_eq!(words(&in_flight[2..]), ["publish zeta-1", "publish acme-3"], "INV-OUT-7");

    let mut bench = Bench::<Relay>::with(bench.store.clone(), Config { limits: LIMITS, ..config() });
    let left = words(&bench.settle());
    assert_eq!(left, ["publish acme-3", "publish zeta-1"], "a new life reads both from disk");
}

#[test]
fn a_tenant_from_before_a_restart_is_read_although_the_window_is_full() {
    let mut bench = bench(Limits { in_flight_max: 1, tracked_max: 1, tracked_tenant_max: 1, ..LIMITS });
    enqueue(&mut bench, results("acme", 1..=2));
    bench.crash();
    let first = enqueue(&mut bench, results("zeta", 1..=1));
    assert_eq!(words(&first), ["publish zeta-1"], "before anything was read from disk");
    assert_eq!(leave(&mut bench, first), ["zeta-1", "acme-1", "acme-2"]);
}

#[test]
fn a_tenant_has_no_more_in_flight_than_its_share() {
    let mut bench = bench(Limits { in_flight_max: 3, in_flight_tenant_max: 2, ..LIMITS });
    let mut in_flight = enqueue(&mut bench, results("acme", 1..=4));
    assert_eq!(words(&in_flight), ["publish acme-1", "publish acme-2"], "INV-OUT-4: a place stays free");
    in_flight.extend(enqueue(&mut bench, results("zeta", 1..=2)));
    assert_eq!(words(&in_flight[2..]), ["publish zeta-1"]);
    assert_eq!(words(&bench.turn([done(&in_flight[2], 1)])), ["publish zeta-2"]);
    assert_eq!(
        words(&bench.turn([unknown(&in_flight[0])])),
        ["publish acme-3"],
        "a pause gives its place away"
    );
}

#[test]
fn the_oldest_entry_and_the_load_by_target_are_told() {
    let mut bench = bench(LIMITS);
    let began = bench.now.wall;
    assert_eq!(bench.machine().0.oldest(), None);
    let first = enqueue(&mut bench, results("zeta", 1..=1));
    bench.advance(40);
    enqueue(&mut bench, vec![result("acme-1")]);
    assert_eq!(bench.machine().0.oldest(), Some(began));
    bench.turn([done(&first[0], 1)]);
    assert_eq!(bench.machine().0.oldest(), Some(Wall::from_ms(began.as_ms() + 40)));
    let loads: Vec<(&str, u64, usize)> =
        bench.machine().0.loads().map(|(target, own)| (target.as_str(), own.depth, own.in_flight)).collect();
    assert_eq!(loads, [("aggregates", 0, 0), ("workflow_commands", 0, 0), ("workflow_events", 1, 1)]);
}

proptest! {
    /// INV-OUT-7 is checked after every turn; here, seen from outside: while a tenant has something that never left
    /// and nothing in flight, no other leaves twice.
    #[test]
    fn nobody_waits_for_two_turns_of_another(
        in_flight_max in 1..4_usize,
        tracked in 1..6_usize,
        ops in prop::collection::vec((0..4_usize, any::<prop::sample::Index>(), 1..12_u64), 1..80),
    ) {
        const TENANTS: [&str; 3] = ["acme", "beta", "zeta"];
        let limits = Limits {
            in_flight_max,
            in_flight_tenant_max: 2,
            tracked_max: tracked,
            tracked_tenant_max: tracked.div_ceil(2),
            ..LIMITS
        };
        let mut bench = bench(limits);
        let (mut in_flight, mut count) = (Vec::<Effect>::new(), 0);
        let whose = |effect: &Effect| {
            let words = words(std::slice::from_ref(effect)).remove(0);
            words.replace("publish ", "").split('-').next().map(str::to_owned).expect("a tenant")
        };
        // For every tenant that waits: how often each other has left since.
        let mut passed = BTreeMap::<String, BTreeMap<String, u64>>::new();
        for (op, nth, many) in ops {
            let left = match TENANTS.get(op) {
                Some(tenant) => {
                    count += many;
                    enqueue(&mut bench, results(tenant, count - many + 1..=count))
                }
                None if in_flight.is_empty() => Vec::new(),
                None => {
                    let attempt = in_flight.remove(nth.index(in_flight.len()));
                    bench.turn([done(&attempt, 1)])
                }
            };
            for effect in &left {
                let tenant = whose(effect);
                passed.remove(&tenant);
                for others in passed.values_mut() {
                    *others.entry(tenant.clone()).or_default() += 1;
                }
            }
            in_flight.extend(left);
            let waiting = waiting(&bench);
            for tenant in TENANTS {
                let has = waiting.values().any(|entry| entry.tenant().as_str() == tenant);
                if has && in_flight.iter().all(|effect| whose(effect) != tenant) {
                    passed.entry(tenant.to_owned()).or_default();
                }
            }
            let twice = passed.values().flat_map(BTreeMap::values).find(|count| **count > 1);
            prop_assert!(twice.is_none(), "{passed:?}");
        }
    }
}
