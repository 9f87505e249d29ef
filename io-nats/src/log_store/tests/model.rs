//! Random transactions beside a sorted map, over small segments, with everything that may happen in between.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Action {
    /// Steps, and whether they are committed.
    Turn(Vec<Vec<Change>>, bool),
    Sync,
    Maintain,
    /// Closed in order, or killed: what was committed is there all the same.
    Reopen {
        is_killed: bool,
    },
}

pub(super) fn any_change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![8 => 0..300_usize, 1 => 300..3000_usize]
        .prop_flat_map(|length| (Just(length), any::<u8>()))
        .prop_map(|(length, byte)| vec![byte; length]);
    let value = prop_oneof![3 => value.prop_map(Some), 2 => Just(None)];
    let bulk = (prop_oneof![Just("a"), Just("b")], 0..40_u64)
        .prop_map(|(stream, seq)| (Table::JsMessage, message_key(stream, seq)));
    let odd = "[ab]:?[a-c]{0,2}".prop_map(|key| (Table::JsMessage, key.into_bytes()));
    let whole = (0..6_u8).prop_map(|key| (Table::JsConsumer, vec![b'k', key]));
    let key = prop_oneof![8 => bulk, 1 => odd, 3 => whole];
    (key, value).prop_map(|((table, key), value)| (table, key, value))
}

fn any_action() -> impl Strategy<Value = Action> {
    let steps = prop::collection::vec(prop::collection::vec(any_change(), 0..6), 1..5);
    prop_oneof![
        12 => (steps, prop::bool::weighted(0.8)).prop_map(|(steps, lands)| Action::Turn(steps, lands)),
        2 => Just(Action::Sync),
        2 => Just(Action::Maintain),
        1 => any::<bool>().prop_map(|is_killed| Action::Reopen { is_killed }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn it_is_a_map_that_stays(actions in prop::collection::vec(any_action(), 1..120)) {
        let mut dir = tempdir();
        let mut store = open(dir.path(), SMALL);
        let mut model = Rows::new();
        for action in actions {
            match action {
                Action::Turn(steps, lands) => {
                    let mut turn = model.clone();
                    let mut txn = store.begin().expect("begins");
                    for step in steps {
                        txn.apply(&batch(&step)).expect("applied");
                        change(&mut turn, &step);
                        for (table, key, _) in &step {
                            let expected = turn.get(&(*table, key.clone())).map(Vec::as_slice);
                            prop_assert_eq!(txn.get(*table, key), Ok(expected));
                        }
                    }
                    prop_assert_eq!(&rows_of(&txn), &turn);
                    if lands {
                        txn.commit().expect("committed");
                        model = turn;
                    }
                }
                Action::Sync => store.sync().expect("synced"),
                Action::Maintain => drop(store.maintain().expect("maintained")),
                Action::Reopen { is_killed: false } => {
                    store.close().expect("closed");
                    store = open(dir.path(), SMALL);
                }
                Action::Reopen { is_killed: true } => {
                    let next = tempdir();
                    copy(dir.path(), next.path());
                    store = open(next.path(), SMALL);
                    dir = next;
                }
            }
            prop_assert_eq!(&rows(&mut store), &model);
        }
        let live: usize = model.iter().map(|((_, key), value)| 8 + key.len() + value.len()).sum();
        prop_assert_eq!(store.usage().live_bytes, live as u64);
    }
}

#[test]
fn scans_begin_where_they_are_told_and_end_when_they_are() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    let stored: Vec<Change> = (1..=500).map(|seq| message("a", seq, &[7; 50])).collect();
    for changes in stored.chunks(10) {
        commit(&mut store, changes).expect("committed");
    }
    let mut txn = store.begin().expect("begins");
    txn.apply(&batch(&[removal("a", 300), message("a", 501, b"new")])).expect("applied");
    let mut seen = Vec::new();
    txn.scan(Table::JsMessage, &message_key("a", 299), &mut |key, _| {
        seen.push(key.to_vec());
        if seen.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .expect("scanned");
    assert_eq!(seen, [299, 301, 302].map(|seq| message_key("a", seq)));
    assert_eq!(txn.get(Table::JsMessage, &message_key("a", 501)), Ok(Some(&b"new"[..])));
    drop(txn);
    let txn = store.begin().expect("begins");
    assert!(txn.get(Table::JsMessage, &message_key("a", 300)).expect("read").is_some());
    assert_eq!(txn.get(Table::JsMessage, &message_key("a", 501)), Ok(None));
}

#[test]
fn memory_for_values_is_bounded() {
    let dir = tempdir();
    let mut store = open(dir.path(), SMALL);
    for seq in 0..2000 {
        commit(&mut store, &[message("a", seq, &[7; 300])]).expect("committed");
        let held = store.cache.borrow().bytes();
        assert!(held <= SMALL.written_bytes_max + SMALL.read_bytes_max, "{held}");
    }
    for seq in (0..2000).map(|n| n * 769 % 2000).chain(0..2000) {
        let txn = store.begin().expect("begins");
        assert!(txn.get(Table::JsMessage, &message_key("a", seq)).expect("read").is_some());
        drop(txn);
        let held = store.cache.borrow().bytes();
        assert!(held <= SMALL.written_bytes_max + SMALL.read_bytes_max, "{held}");
    }
}
