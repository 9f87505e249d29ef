//! `cloudlysis bench saga`: that its figures are there and fit together. What they are is nobody's business in a test.

use crate::world::{LATER, World, cloudlysis};
use serde_json::Value;

const KEYS: [&str; 9] = [
    "sagas_per_second",
    "p50_ms",
    "p99_ms",
    "cpu_seconds_per_1000",
    "commits_per_saga",
    "fsyncs_per_saga",
    "peak_rss_bytes",
    "disk_bytes_per_saga",
    "durability",
];

pub(crate) async fn a_bench_of_sagas_says_what_they_cost(world: World) {
    for (more, durability) in [
        (vec!["--broker", "embedded", "--durability", "power-loss"], "power-loss"),
        (
            vec!["--broker", "embedded", "--durability", "process-crash", "--hand-over", "broker"],
            "process-crash",
        ),
        (vec!["--broker", &world.broker_url()], "as the broker's"),
    ] {
        let about = ["bench", "saga", "--concurrency", "4", "--count", "40", "--json"];
        let arguments: Vec<String> = about.iter().chain(&more).map(|own| (*own).to_owned()).collect();
        let mut process = cloudlysis("bench", &arguments, world.dir());
        let code = process.exit(LATER).await.code();
        let figures: Value = serde_json::from_str(&process.out()).unwrap_or_default();
        assert_eq!(code, Some(0), "{more:?}: {}", process.log());
        assert!(KEYS.iter().all(|key| !figures[key].is_null()), "{figures}");
        assert_eq!(figures["durability"], durability);
        let number = |key: &str| figures[key].as_f64().unwrap_or_default();
        assert!(number("p50_ms") > 0.0 && number("p99_ms") >= number("p50_ms"), "{figures}");
        assert!(number("commits_per_saga") > 0.0, "nothing is done without a commit: {figures}");
        assert!(number("fsyncs_per_saga") >= number("commits_per_saga"), "{figures}");
    }
    // What is left there would be measured, too.
    let again = ["bench", "saga", "--count", "1", "--broker", &world.broker_url()].map(str::to_owned);
    let mut process = cloudlysis("bench", &again, world.dir());
    assert_eq!(process.exit(LATER).await.code(), Some(1), "{}", process.log());
    assert!(process.log().contains("a broker without streams"), "{}", process.log());
}
