//! `/metrics` says what `docs/metrics.md` promises, and nothing else.

use crate::world::shop::Command;
use crate::world::{SOON, World, eventually};
use std::collections::{BTreeMap, BTreeSet};

/// What only a schedule brings about.
const NOT_HERE: [&str; 2] = ["cloudlysis_schedule_lag_seconds", "cloudlysis_schedule_occurrences_total"];

/// Kind and labels.
type Shape = (String, BTreeSet<String>);

fn documented() -> BTreeMap<String, Shape> {
    let table = include_str!("../../../docs/metrics.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let name = cells.get(1)?.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        let labels = cells[3].split(", ").filter(|label| !label.is_empty());
        let labels = labels.map(|label| label.trim_matches('`').to_owned()).collect();
        Some((name, (cells[2].to_owned(), labels)))
    };
    table.lines().filter_map(row).collect()
}

/// Kind and labels of what is ours in Prometheus's text.
fn told(text: &str) -> BTreeMap<String, Shape> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let mut told: BTreeMap<String, Shape> = types
        .filter(|(name, _)| name.starts_with("cloudlysis_"))
        .map(|(name, kind)| (name.to_owned(), (kind.to_owned(), BTreeSet::new())))
        .collect();
    for sample in text.lines().filter(|line| line.starts_with("cloudlysis_")) {
        let (name, rest) = sample.split_once(['{', ' ']).expect("a sample");
        let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
        let name = parts.filter(|own| told.contains_key(*own)).unwrap_or(name);
        let (_, labels) = told.get_mut(name).unwrap_or_else(|| panic!("{name} has no type"));
        let pairs = rest.split_once('}').map_or("", |(pairs, _)| pairs);
        let keys = pairs.split("\",").filter_map(|pair| Some(pair.split_once("=\"")?.0));
        labels.extend(keys.filter(|key| *key != "le").map(str::to_owned));
    }
    told
}

pub(crate) async fn a_running_shop_says_what_is_documented(world: World) {
    let node = world.dev("data").await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    shop.order_becomes("acme", "o-1", "shipped").await;
    let mut documented = documented();
    let text = eventually("every metric is told", SOON, async || {
        let (_, text) = shop.get("/metrics").await?;
        let text = text.as_str().expect("text").to_owned();
        let missing: Vec<&String> =
            documented.keys().filter(|name| !text.contains(&format!("# TYPE {name} "))).collect();
        if missing.iter().all(|name| NOT_HERE.contains(&name.as_str())) {
            Ok(text)
        } else {
            Err(format!("{missing:?}"))
        }
    })
    .await;
    let told = told(&text);
    documented.retain(|name, _| told.contains_key(name));
    assert_eq!(told, documented);
    assert!(text.contains("# HELP cloudlysis_nats_connected 1 while the broker is connected."), "{text}");
}
