//! Pages of views, over a store that holds other tenants and other views too.

use super::{LIMIT_MAX, Row, get, list};
use crate::bench::MemoryStore;
use crate::halt::Halt;
use crate::store::Table;
use crate::wire::id::{EntityId, Name, TenantId};
use crate::wire::keys;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;

fn tenant(raw: &str) -> TenantId {
    TenantId::parse(raw).expect("a tenant")
}

fn name(raw: &str) -> Name {
    raw.parse().expect("a name")
}

fn id(raw: &str) -> EntityId {
    EntityId::parse(raw).expect("an id")
}

fn put(store: &mut MemoryStore, whose: &str, view: &str, row: &str, seq: u64, value: &Value) {
    let key = keys::view(&tenant(whose), &name(view), &id(row));
    let mut stored = seq.to_be_bytes().to_vec();
    stored.extend_from_slice(value.to_string().as_bytes());
    store.rows.insert((Table::View, key), stored);
}

/// Three rows among neighbours whose keys are as close as they can be.
fn store() -> MemoryStore {
    let mut store = MemoryStore::default();
    for (seq, row) in [(1, "a"), (2, "ab"), (3, "b:c")] {
        put(&mut store, "acme", "orders", row, seq, &json!({ "row": row }));
    }
    for (whose, view) in
        [("acme", "order"), ("acme", "orders2"), ("acm", "orders"), ("acme2", "orders"), ("", "orders")]
    {
        put(&mut store, whose, view, "a", 9, &json!("somebody else's"));
        put(&mut store, whose, view, "z", 9, &json!("somebody else's"));
    }
    store
}

fn ids(rows: &[Row]) -> Vec<&str> {
    rows.iter().map(|row| row.id.as_str()).collect()
}

#[test]
fn a_row_is_read_by_its_id() {
    let store = store();
    let row = get(&store, &tenant("acme"), &name("orders"), &id("b:c")).expect("reads");
    assert_eq!(row, Some(Row { id: id("b:c"), seq: 3, value: json!({ "row": "b:c" }) }));
    assert_eq!(get(&store, &tenant("acme"), &name("orders"), &id("z")), Ok(None), "INV-TEN-1");
}

#[test]
fn pages_follow_each_other_and_stay_within_tenant_and_view() {
    let store = store();
    let page = |after: Option<&EntityId>, limit| {
        list(&store, &tenant("acme"), &name("orders"), after, limit).expect("reads")
    };
    let all = page(None, 100);
    assert_eq!((ids(&all.rows), all.next), (vec!["a", "ab", "b:c"], None), "INV-TEN-1");
    let first = page(None, 2);
    assert_eq!((ids(&first.rows), first.next.clone()), (vec!["a", "ab"], Some(id("ab"))));
    let second = page(first.next.as_ref(), 2);
    assert_eq!((ids(&second.rows), second.next), (vec!["b:c"], None));
    assert_eq!(
        ids(&page(Some(&id("a")), 1).rows),
        ["ab"],
        "an id that begins like the last one is not skipped"
    );
    assert_eq!(ids(&page(Some(&id("aa")), 1).rows), ["ab"], "the row may be gone by now");
    assert_eq!(page(None, 0).rows.len(), 1, "no page is empty while there are rows");
    assert_eq!(page(Some(&id("z")), 5).rows, []);
}

#[test]
fn pages_are_bounded_in_rows_and_bytes() {
    let mut store = MemoryStore::default();
    for row in 0..=LIMIT_MAX {
        put(&mut store, "acme", "orders", &format!("{row:05}"), 1, &json!(row));
    }
    let page = list(&store, &tenant("acme"), &name("orders"), None, usize::MAX).expect("reads");
    assert_eq!((page.rows.len(), page.next), (LIMIT_MAX, Some(id("00999"))));
    let large = json!("x".repeat(3 << 20));
    for row in ["a", "b"] {
        put(&mut store, "acme", "large", row, 1, &large);
    }
    let page = list(&store, &tenant("acme"), &name("large"), None, 100).expect("reads");
    assert_eq!((ids(&page.rows), page.next), (vec!["a"], Some(id("a"))));
}

#[test]
fn a_row_that_cannot_be_read_halts() {
    let mut store = store();
    let key = keys::view(&tenant("acme"), &name("orders"), &id("ab"));
    store.rows.insert((Table::View, key), b"short".to_vec());
    let halt = list(&store, &tenant("acme"), &name("orders"), None, 100).expect_err("not a row");
    assert!(matches!(halt, Halt::Corrupt { table: Table::View, .. }), "{halt}");
    let halt = get(&store, &tenant("acme"), &name("orders"), &id("ab")).expect_err("not a row");
    assert!(matches!(halt, Halt::Corrupt { table: Table::View, .. }), "{halt}");
}

proptest! {
    #[test]
    fn the_pages_together_are_the_view(
        rows in prop::collection::btree_set(("a{0,2}", "[vw]", "[a:._=]{1,3}"), 0..20),
        limit in 1..5_usize,
    ) {
        let mut store = MemoryStore::default();
        for (whose, view, row) in &rows {
            put(&mut store, whose, view, row, 1, &json!(format!("{whose} {view} {row}")));
        }
        for (whose, view) in rows.iter().map(|(whose, view, _)| (whose, view)).collect::<BTreeSet<_>>() {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = list(&store, &tenant(whose), &name(view), after.as_ref(), limit).expect("reads");
                prop_assert!(page.rows.len() <= limit);
                found.extend(page.rows);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            for row in &found {
                prop_assert_eq!(&row.value, &json!(format!("{whose} {view} {}", row.id)));
            }
            let own = rows.iter().filter(|(w, v, _)| (w, v) == (whose, view)).map(|(_, _, row)| row.as_str());
            prop_assert_eq!(ids(&found).into_iter().collect::<BTreeSet<_>>(), own.collect::<BTreeSet<_>>());
            prop_assert_eq!(found.iter().map(|row| row.id.clone()).collect::<BTreeSet<_>>().len(), found.len());
        }
    }
}
