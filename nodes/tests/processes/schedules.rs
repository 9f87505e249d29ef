//! Schedules on real processes: killed again and again, every occurrence has one effect; and operators are obeyed.

use crate::world::{LATER, Node, SOON, World, cloudlysis, eventually, note};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Times the process is killed.
const KILLS: usize = 3;
/// Occurrences that must have had their effect between two kills, and after the last.
const BEATS: usize = 3;
/// How long the process is away, in milliseconds: occurrences fall due meanwhile.
const AWAY_MS: u64 = 2_500;

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    u64::try_from(now.as_millis()).expect("before the end of time")
}

/// What each schedule did: when occurrences were due, in milliseconds, and how often each had an effect.
async fn beats(node: &Node) -> Result<BTreeMap<String, BTreeMap<u64, u64>>, String> {
    let mut of: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    for (id, row) in node.shop().rows("acme", "beats").await? {
        let (by, due_at) = id.split_once(' ').ok_or_else(|| id.clone())?;
        let due = cloudlysis_core::ns_of_rfc3339(due_at).ok_or_else(|| id.clone())? / 1_000_000;
        let times = row["times"].as_u64().ok_or_else(|| row.to_string())?;
        of.entry(by.to_owned()).or_default().insert(due, times);
    }
    Ok(of)
}

/// Waits for further occurrences of both schedules.
async fn further(node: &Node, count: usize) {
    let seen = |of: &BTreeMap<String, BTreeMap<u64, u64>>| {
        ["beat", "round"].map(|by| of.get(by).map_or(0, BTreeMap::len))
    };
    let before = seen(&beats(node).await.unwrap_or_default());
    eventually("further occurrences", LATER, async || {
        let now = seen(&beats(node).await?);
        if now.iter().zip(before).all(|(now, before)| *now >= before + count) {
            Ok(())
        } else {
            Err(format!("{now:?}"))
        }
    })
    .await;
}

/// `cloudlysis schedule …` about the schedules of a node: exit code, and what it said.
async fn schedule(world: &World, node: &Node, arguments: &[&str]) -> (Option<i32>, String) {
    let url = node.url();
    let about = ["--node", &url, "--tenant", "acme"];
    let arguments = ["schedule"].iter().chain(arguments).chain(&about).map(|own| (*own).to_owned());
    let mut process = cloudlysis("schedule", &arguments.collect::<Vec<_>>(), world.dir());
    let code = process.exit(SOON).await.code();
    (code, process.out() + &process.log())
}

pub(crate) async fn every_occurrence_has_one_effect_whenever_the_process_is_killed(world: World) {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/beacon");
    let mut node = world.dev_of(&app, "data").await;
    for _ in 0..KILLS {
        further(&node, BEATS).await;
        node.kill();
        let killed_at = now_ms();
        eventually("occurrences fall due", SOON, async || {
            if now_ms() >= killed_at + AWAY_MS { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        node.restart().await;
        node.ready().await;
    }
    further(&node, BEATS).await;

    let of = beats(&node).await.expect("a view");
    for (by, period_ms) in [("beat", 1_000), ("round", 2_000)] {
        let own = &of[by];
        let due: Vec<u64> = own.keys().copied().collect();
        let gaps: Vec<&[u64]> = due.windows(2).filter(|pair| pair[1] - pair[0] != period_ms).collect();
        note(&format!("{by}: {} occurrences, {KILLS} kills", own.len()));
        assert!(gaps.is_empty(), "{by}: missed between {gaps:?}");
        assert!(own.values().all(|times| *times == 1), "{by}: more than once: {own:?}");
    }

    let (code, said) = schedule(&world, &node, &["show", "beats", "--json"]).await;
    let shown: Value = serde_json::from_str(&said).unwrap_or_default();
    assert_eq!(
        (code, &shown["when"], &shown["counts"]["missed"]),
        (Some(0), &"every 1s".into(), &0.into()),
        "{said}"
    );
    let (code, said) = schedule(&world, &node, &["ls"]).await;
    assert!(code == Some(0) && said.contains("beats") && said.contains("rounds"), "{said}");
    let (code, said) = schedule(&world, &node, &["show", "beets"]).await;
    assert_eq!(code, Some(3), "{said}");
}

/// What one of the schedules of the example did, as its row counts it.
async fn shown(world: &World, node: &Node) -> Value {
    let (code, said) = schedule(world, node, &["show", "beats", "--json"]).await;
    assert_eq!(code, Some(0), "{said}");
    serde_json::from_str(&said).expect("JSON")
}

pub(crate) async fn an_operator_pauses_one_has_it_fire_and_fills_in(world: World) {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/beacon");
    let mut node = world.dev_of(&app, "data").await;
    further(&node, BEATS).await;
    let (code, said) = schedule(&world, &node, &["pause", "beats", "--reason", "a bad deploy"]).await;
    assert!(code == Some(0) && said.contains("is paused"), "{said}");
    node.kill();
    node.restart().await;
    node.ready().await;
    let before = shown(&world, &node).await;
    assert_eq!(before["paused"]["reason"], "a bad deploy");
    let trigger = ["trigger", "beats", "--reason", "to see", "--id", "once"];
    let (code, first) = schedule(&world, &node, &trigger).await;
    let (_, again) = schedule(&world, &node, &trigger).await;
    assert!(code == Some(0) && first.contains("fired w-") && again.contains("already"), "{first}{again}");
    let waited = now_ms();
    eventually("occurrences fall due", SOON, async || {
        if now_ms() >= waited + AWAY_MS { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let paused = shown(&world, &node).await;
    assert_eq!(paused["counts"]["fired"], before["counts"]["fired"], "INV-CRON-6");
    assert_eq!(paused["counts"]["triggered"], 1, "INV-CRON-7");

    let last = paused["fired"]["due_at"].as_str().expect("a time").to_owned();
    let fill = ["backfill", "beats", "--from", &last, "--to", &last, "--reason", "lost", "--id", "fill"];
    let (code, said) = schedule(&world, &node, &fill).await;
    assert!(code == Some(0) && said.contains("fires 1 that have passed, when it is resumed"), "{said}");
    let (code, said) = schedule(&world, &node, &["resume", "beats"]).await;
    assert!(code == Some(0) && said.contains("that fell due meanwhile"), "{said}");
    let last_ms = cloudlysis_core::ns_of_rfc3339(&last).expect("a time") / 1_000_000;
    eventually("what was filled in has its effect", LATER, async || {
        match beats(&node).await?["beat"].get(&last_ms) {
            Some(2) => Ok(()),
            times => Err(format!("{times:?}")),
        }
    })
    .await;
    further(&node, BEATS).await;
    let own = &beats(&node).await.expect("a view")["beat"];
    let by_calendar: Vec<u64> = own.keys().copied().filter(|due| due % 1_000 == 0).collect();
    let gaps: Vec<&[u64]> = by_calendar.windows(2).filter(|pair| pair[1] - pair[0] != 1_000).collect();
    assert!(gaps.is_empty(), "what fell due during the pause is caught up with: {gaps:?}");
    let (code, said) =
        schedule(&world, &node, &["backfill", "beats", "--from", "soon", "--to", &last, "--reason", "x"])
            .await;
    assert!(code == Some(2) && said.contains("`from`"), "{said}");
    let (code, said) = schedule(&world, &node, &["pause", "beets", "--reason", "x"]).await;
    assert_eq!(code, Some(3), "{said}");
}
