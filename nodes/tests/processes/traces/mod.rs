//! Spans, where a collector is named. With the feature `otlp` they reach it ([`exported`]); without it, who names one is told.

#[cfg(feature = "otlp")]
pub(crate) mod exported;

use crate::world::{SHOP, SOON, cloudlysis_in};

pub(crate) async fn who_names_a_collector_in_vain_is_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let told = async |environment: &[&str], arguments: &[&str]| {
        let [environment, arguments] = [environment, arguments]
            .map(|words| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let mut process = cloudlysis_in(&environment, "told", &arguments, dir.path());
        assert_eq!(process.exit(SOON).await.code(), Some(0), "{}", process.log());
        process.log().lines().filter(|line| line.contains("without the feature `otlp`")).count()
    };
    let gateway = ["serve", "gateway", SHOP, "--dump-config"];
    let collector = ["OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"];
    assert_eq!(told(&collector, &gateway).await, usize::from(!cfg!(feature = "otlp")));
    assert_eq!(told(&[], &gateway).await, 0);
    // It has no spans.
    assert_eq!(told(&collector, &["validate", SHOP]).await, 0);
}
