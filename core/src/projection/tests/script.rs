//! The diagram of the module, arrow by arrow, and its invariants by name.

use super::{
    Bench, Input, Landed, Sent, Timer, Upstream, added, bind, bound, checkpoint, config, consume, event,
    message, name, quarantined, reserved, row, sent, store, value, words,
};
use crate::cx::Machine;
use crate::halt::{Fence, Halt};
use crate::marks::Mark;
use crate::projection::Projection;
use crate::time::Mono;
use crate::wire::headers::Headers;
use serde_json::{Value, json};

const STOCK: &str = "stock_level";
const ODD: &str = "odd";
const TEA: &str = "tenant.acme.aggregate.stock.tea";

#[test]
fn a_delivery_becomes_a_row_and_is_acked() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    store(&mut upstream, &message("acme", "tea", 1, vec![added(5)]));
    store(&mut upstream, &message("acme", "tea", 2, vec![reserved(2)]));
    assert_eq!(consume(&mut bench, &mut upstream, STOCK), ["ack 1", "ack 2"]);
    let row = row(&bench, STOCK, "acme", "tea").expect("a row");
    assert_eq!((row.seq, row.value), (2, json!({ "on_hand": 3, "reserved": 2, "sold": 0 })), "INV-PRJ-2");
    assert_eq!(checkpoint(&bench), 2);
}

#[test]
pub(super) fn the_events_of_one_message_build_on_each_other() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    store(&mut upstream, &message("acme", "tea", 1, vec![added(5), reserved(2), added(1)]));
    consume(&mut bench, &mut upstream, STOCK);
    assert_eq!(value(&bench, STOCK, "acme", "tea"), json!({ "on_hand": 4, "reserved": 2, "sold": 0 }));
}

#[test]
fn messages_of_one_turn_build_on_each_other() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    for version in 1..=3 {
        store(&mut upstream, &message("acme", "tea", version, vec![added(1)]));
    }
    let deliveries: Vec<_> = std::iter::from_fn(|| upstream.serve()).collect();
    bench.turn(deliveries.into_iter().map(|delivery| sent(STOCK, Sent::Message(delivery))));
    assert_eq!(value(&bench, STOCK, "acme", "tea")["on_hand"], 3);
}

#[test]
fn a_row_and_its_checkpoint_are_one_commit() {
    for landed in [Landed::Yes, Landed::No] {
        let mut upstream = Upstream::new();
        let mut bench = bound(STOCK, &mut upstream);
        store(&mut upstream, &message("acme", "tea", 1, vec![added(5)]));
        let delivery = upstream.serve().expect("one");
        let acked = bench.turn_without_answer(landed, [sent(STOCK, Sent::Message(delivery))]);
        assert_eq!(words(&acked), [""; 0]);
        let there = landed == Landed::Yes;
        assert_eq!(row(&bench, STOCK, "acme", "tea").is_some(), there, "INV-PRJ-1");
        assert_eq!(checkpoint(&bench), u64::from(there), "INV-PRJ-1");
        bind(&mut bench, &mut upstream, STOCK);
        consume(&mut bench, &mut upstream, STOCK);
        assert_eq!(value(&bench, STOCK, "acme", "tea")["on_hand"], 5, "once");
    }
}

#[test]
fn rows_are_removed_left_alone_and_made_for_nobody_as_the_program_says() {
    let mut upstream = Upstream::new();
    let mut bench = bound(ODD, &mut upstream);
    store(&mut upstream, &message("acme", "tea", 1, vec![added(5)]));
    store(&mut upstream, &message("acme", "mug", 1, vec![added(0), event("stock_counted", Value::Null)]));
    consume(&mut bench, &mut upstream, ODD);
    assert_eq!(value(&bench, ODD, "acme", "tea"), json!({ "qty": 5 }));
    assert_eq!(row(&bench, ODD, "acme", "mug"), None);
    store(&mut upstream, &message("acme", "tea", 2, vec![event("stock_sold", Value::Null)]));
    store(
        &mut upstream,
        &message("acme", "tea", 3, vec![added(7), event("stock_sold", Value::Null), added(9)]),
    );
    let delivery = upstream.serve().expect("one");
    bench.turn([sent(ODD, Sent::Message(delivery))]);
    assert_eq!((row(&bench, ODD, "acme", "tea"), bench.marked(Mark::ProjectionDeleted)), (None, 1));
    consume(&mut bench, &mut upstream, ODD);
    assert_eq!(value(&bench, ODD, "acme", "tea"), json!({ "qty": 9 }));
}

#[test]
pub(super) fn tenants_have_rows_of_their_own() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    for (whose, qty) in [("acme", 5), ("globex", 7), ("", 9)] {
        store(&mut upstream, &message(whose, "tea", 1, vec![added(qty)]));
    }
    consume(&mut bench, &mut upstream, STOCK);
    for (whose, qty) in [("acme", 5), ("globex", 7), ("", 9)] {
        assert_eq!(value(&bench, STOCK, whose, "tea")["on_hand"], qty, "INV-TEN-1: {whose:?}");
    }
}

#[test]
pub(super) fn events_that_come_again_under_another_sequence_are_skipped() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    for version in [1, 2, 1, 2, 3] {
        store(&mut upstream, &message("acme", "tea", version, vec![added(1)]));
    }
    let acks = consume(&mut bench, &mut upstream, STOCK);
    assert_eq!(acks, ["ack 1", "ack 2", "ack 3", "ack 4", "ack 5"]);
    assert_eq!(value(&bench, STOCK, "acme", "tea")["on_hand"], 3, "INV-PRJ-3");
    assert_eq!(bench.marked(Mark::ProjectionRepeated), 2);
}

#[test]
fn a_hole_in_the_versions_of_a_source_holds_it_back() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    for (article, version) in [("tea", 1), ("tea", 3), ("mug", 1), ("tea", 4), ("mug", 2)] {
        store(&mut upstream, &message("acme", article, version, vec![added(1)]));
    }
    let answers = consume(&mut bench, &mut upstream, STOCK);
    assert!(answers[1].starts_with("term 2: version_gap: version 3 follows version 1"), "{answers:?}");
    assert_eq!(answers[2..], ["ack 3", "ack 4", "ack 5"]);
    assert_eq!(value(&bench, STOCK, "acme", "tea")["on_hand"], 1, "INV-PRJ-3");
    assert_eq!(value(&bench, STOCK, "acme", "mug")["on_hand"], 2, "others flow");
    let held = quarantined(&bench);
    assert_eq!((held.len(), held[0].messages, held[0].cause.kind.as_str()), (1, 2, "version_gap"));
    assert_eq!((checkpoint(&bench), bench.marked(Mark::ProjectionHole)), (5, 1));
}

#[test]
fn a_producer_that_does_not_count_is_applied_in_the_order_of_the_stream() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    for _ in 0..3 {
        store(&mut upstream, &message("acme", "tea", 0, vec![added(1)]));
    }
    consume(&mut bench, &mut upstream, STOCK);
    assert_eq!(value(&bench, STOCK, "acme", "tea")["on_hand"], 3);
}

#[test]
fn what_cannot_be_applied_holds_back_its_source_and_leaves_no_trace_in_the_rows() {
    let garbage = |upstream: &mut Upstream| upstream.store(TEA, Headers::default(), "{");
    let failing = |upstream: &mut Upstream| {
        store(
            upstream,
            &message("acme", "tea", 2, vec![added(7), event("stock_reserved", json!({ "order": "o" }))]),
        )
    };
    let nameless = |upstream: &mut Upstream| {
        store(upstream, &message("acme", "tea", 2, vec![event("stock_reserved", json!({ "order": 5 }))]))
    };
    let unnamable = |upstream: &mut Upstream| {
        store(upstream, &message("acme", "tea", 2, vec![event("stock_reserved", json!({ "order": "" }))]))
    };
    type Spoil<'a> = &'a dyn Fn(&mut Upstream) -> u64;
    let spoils: [(Spoil<'_>, &str); 4] =
        [(&garbage, "decode"), (&failing, "program_"), (&nameless, "view_id"), (&unnamable, "view_id")];
    for (spoil, kind) in spoils {
        let mut upstream = Upstream::new();
        let mut bench = bound(ODD, &mut upstream);
        store(&mut upstream, &message("acme", "tea", 1, vec![added(5)]));
        spoil(&mut upstream);
        store(&mut upstream, &message("acme", "tea", 3, vec![added(8)]));
        store(&mut upstream, &message("acme", "mug", 1, vec![added(6)]));
        let answers = consume(&mut bench, &mut upstream, ODD);
        assert!(answers[1].starts_with(&format!("term 2: {kind}")), "{answers:?}");
        assert_eq!(answers[2..], ["ack 3", "ack 4"]);
        assert_eq!(value(&bench, ODD, "acme", "tea"), json!({ "qty": 5 }), "all of a message or nothing");
        assert_eq!(value(&bench, ODD, "acme", "mug"), json!({ "qty": 6 }));
        let held = quarantined(&bench);
        assert_eq!((held.len(), held[0].messages), (1, 2), "INV-QRN-1");
        assert!(held[0].cause.kind.starts_with(kind), "{held:?}");
    }
}

#[test]
fn parking_and_the_checkpoint_are_one_commit() {
    for landed in [Landed::Yes, Landed::No] {
        let mut upstream = Upstream::new();
        let mut bench = bound(STOCK, &mut upstream);
        upstream.store(TEA, Headers::default(), "{");
        let delivery = upstream.serve().expect("one");
        bench.turn_without_answer(landed, [sent(STOCK, Sent::Message(delivery))]);
        let there = landed == Landed::Yes;
        assert_eq!(
            (quarantined(&bench).len() as u64, checkpoint(&bench)),
            (u64::from(there), u64::from(there))
        );
    }
}

#[test]
fn a_definition_that_changed_does_not_go_on_with_the_old_rows() {
    let mut upstream = Upstream::new();
    let bench = bound(STOCK, &mut upstream);
    let mut changed = config(STOCK);
    let definition = changed.definitions.values_mut().next().expect("one");
    std::sync::Arc::make_mut(definition).hash.push('x');
    let halt = Projection::recover(changed, 9, &bench.store).expect_err("another definition");
    assert_eq!(halt, Halt::Fenced(Fence::DefinitionChanged { what: "view stock_level".into() }));
}

#[test]
fn a_view_is_ready_once_its_consumer_is_bound() {
    let mut upstream = Upstream::new();
    upstream.exists = false;
    let mut bench = Bench::<Projection>::new(config(STOCK));
    assert_eq!(bench.machine().not_ready(), ["view stock_level: consumer_unbound"]);
    bind(&mut bench, &mut upstream, STOCK);
    assert_eq!(bench.machine().not_ready(), ["view stock_level: stream_missing"]);
    upstream.exists = true;
    bench.oversleep(2_000);
    bind(&mut bench, &mut upstream, STOCK);
    assert_eq!(bench.machine().not_ready(), [""; 0]);
}

#[test]
fn a_node_that_stops_takes_nothing_in() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    store(&mut upstream, &message("acme", "tea", 1, vec![added(5)]));
    let delivery = upstream.serve().expect("one");
    assert_eq!(words(&bench.turn([Input::Stopped { deadline_ms: 1_000 }])), ["drained, clean: true"]);
    assert_eq!(words(&bench.turn([sent(STOCK, Sent::Message(delivery))])), [""; 0], "INV-DRN-1");
    assert_eq!(
        (row(&bench, STOCK, "acme", "tea"), bench.machine().not_ready()),
        (None, vec!["draining".into()])
    );
    assert_eq!(bench.deadline(), None::<(Mono, Timer)>);
}

#[test]
fn a_view_that_is_not_defined_is_nobodys() {
    let mut upstream = Upstream::new();
    let mut bench = bound(STOCK, &mut upstream);
    store(&mut upstream, &message("acme", "tea", 1, vec![added(5)]));
    let delivery = upstream.serve().expect("one");
    let before = bench.store.rows.clone();
    assert_eq!(bench.turn([Input::Delivered { view: name("ghost"), delivery }]), []);
    assert_eq!(bench.store.rows, before);
}
