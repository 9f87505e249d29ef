//! Every metric of ours: its name, its labels, what it means. `docs/metrics.md` is this table, and `/metrics` says the same.
//!
//! A name that is here is a promise to whoever has an alert on it. No label has an unbounded set of values: tenants and ids go
//! into logs.

use metrics::{describe_counter, describe_gauge, describe_histogram};
use std::fmt::Write;

/// How a metric behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// It only grows, until the process ends.
    Counter,
    /// It is what it is right now.
    Gauge,
    /// How often, and how much in all, by buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it behaves.
    pub kind: Kind,
    /// Its labels, besides the bucket's bound.
    pub labels: &'static [&'static str],
    /// What it means.
    pub meaning: &'static str,
}

const fn metric(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    meaning: &'static str,
) -> Metric {
    Metric { name, kind, labels, meaning }
}

/// All of them, by name.
pub const CATALOGUE: &[Metric] = &[
    metric("cloudlysis_build_info", Kind::Gauge, &["version"], "Which version runs; always 1."),
    metric(
        "cloudlysis_checkpoint_sequence",
        Kind::Gauge,
        &["node", "consumer"],
        "Sequence up to which a stream is applied.",
    ),
    metric("cloudlysis_commands_in_flight", Kind::Gauge, &[], "Commands that an aggregate node is deciding."),
    metric(
        "cloudlysis_consumer_lag_messages",
        Kind::Gauge,
        &["node", "consumer"],
        "Messages of a stream that are not applied yet.",
    ),
    metric("cloudlysis_deadletter_keys", Kind::Gauge, &["node"], "Keys that are held back."),
    metric("cloudlysis_deadletter_records", Kind::Gauge, &["node"], "Messages that are held back."),
    metric(
        "cloudlysis_drain_state",
        Kind::Gauge,
        &["node"],
        "0 it runs, 1 it drains, 2 it has drained and takes nothing in.",
    ),
    metric(
        "cloudlysis_effect_attempts_total",
        Kind::Counter,
        &["effect", "outcome"],
        "Calls to the outside, by how they ended: `answered_2xx` and so on by status, `not_sent`, `unknown`: no answer.",
    ),
    metric(
        "cloudlysis_effect_circuit_state",
        Kind::Gauge,
        &["upstream"],
        "0 closed, 1 half-open, 2 open: the service is left alone.",
    ),
    metric(
        "cloudlysis_effect_duration_seconds",
        Kind::Histogram,
        &["effect"],
        "How long a call to the outside takes.",
    ),
    metric("cloudlysis_effects_held", Kind::Gauge, &[], "Effects in memory that wait for their upstream."),
    metric("cloudlysis_effects_in_flight", Kind::Gauge, &[], "Calls to the outside under way."),
    metric("cloudlysis_effects_open", Kind::Gauge, &[], "Effects that are neither settled nor parked."),
    metric("cloudlysis_effects_parked", Kind::Gauge, &[], "Effects that wait for a person."),
    metric(
        "cloudlysis_effects_queued",
        Kind::Gauge,
        &[],
        "Effects in memory that wait under the limits of their key.",
    ),
    metric(
        "cloudlysis_gateway_request_duration_seconds",
        Kind::Histogram,
        &["route"],
        "How long a request takes at the gateway.",
    ),
    metric(
        "cloudlysis_gateway_requests_total",
        Kind::Counter,
        &["route", "status"],
        "Requests at the gateway, by HTTP status.",
    ),
    metric("cloudlysis_marks_total", Kind::Counter, &["node", "mark"], "How often a rare branch was taken."),
    metric("cloudlysis_nats_connected", Kind::Gauge, &[], "1 while the broker is connected."),
    metric(
        "cloudlysis_nats_reconnects_total",
        Kind::Counter,
        &[],
        "Times the connection to the broker was lost and made again.",
    ),
    metric(
        "cloudlysis_outbox_depth",
        Kind::Gauge,
        &["target"],
        "Entries that were decided and have not left for good.",
    ),
    metric(
        "cloudlysis_outbox_dispatch_duration_seconds",
        Kind::Histogram,
        &["target", "outcome"],
        "How long one attempt of an entry takes, by how it ended.",
    ),
    metric("cloudlysis_outbox_in_flight", Kind::Gauge, &["target"], "Entries on their way."),
    metric(
        "cloudlysis_outbox_oldest_age_seconds",
        Kind::Gauge,
        &[],
        "Age of the entry that has waited longest.",
    ),
    metric(
        "cloudlysis_outbox_wait_duration_seconds",
        Kind::Histogram,
        &["target"],
        "From the decision until the definite answer, over restarts.",
    ),
    metric(
        "cloudlysis_partition_halted",
        Kind::Gauge,
        &["node"],
        "1 when a partition has stopped for good: `/health` says why.",
    ),
    metric(
        "cloudlysis_partition_recoveries_total",
        Kind::Counter,
        &["node"],
        "Times a partition was built anew after a commit failed.",
    ),
    metric(
        "cloudlysis_sagas_finished_total",
        Kind::Counter,
        &["saga", "outcome"],
        "Saga instances that ended, by how.",
    ),
    metric(
        "cloudlysis_schedule_lag_seconds",
        Kind::Gauge,
        &["schedule"],
        "How late the latest occurrence fired.",
    ),
    metric(
        "cloudlysis_schedule_occurrences_total",
        Kind::Counter,
        &["schedule", "outcome"],
        "Occurrences of a schedule, by what became of them.",
    ),
    metric("cloudlysis_schedule_pending", Kind::Gauge, &[], "Timers of sagas that have not fired."),
    metric(
        "cloudlysis_storage_commit_duration_seconds",
        Kind::Histogram,
        &["node"],
        "How long a commit takes: of a turn, or of what the journal holds into the map.",
    ),
    metric(
        "cloudlysis_storage_commit_failures_total",
        Kind::Counter,
        &["node"],
        "Commits that failed, and turns that a full store refused before.",
    ),
    metric("cloudlysis_storage_map_size_bytes", Kind::Gauge, &["node"], "Room of a store."),
    metric("cloudlysis_storage_map_used_bytes", Kind::Gauge, &["node"], "What of it is used."),
    metric(
        "cloudlysis_turn_duration_seconds",
        Kind::Histogram,
        &["node"],
        "How long one turn of a partition takes, its commit included.",
    ),
    metric("cloudlysis_turn_inputs_total", Kind::Counter, &["node"], "Facts that partitions took in."),
    metric(
        "cloudlysis_turns_total",
        Kind::Counter,
        &["node"],
        "Turns of partitions: each is one commit at most.",
    ),
];

impl Kind {
    /// As Prometheus spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Has `/metrics` say what each one means.
pub(super) fn describe() {
    for Metric { name, kind, meaning, .. } in CATALOGUE {
        match kind {
            Kind::Counter => describe_counter!(*name, *meaning),
            Kind::Gauge => describe_gauge!(*name, *meaning),
            Kind::Histogram => describe_histogram!(*name, *meaning),
        }
    }
}

/// The catalogue as a table for the documentation.
#[must_use]
pub fn table() -> String {
    let mut out = "| metric | kind | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for Metric { name, kind, labels, meaning } in CATALOGUE {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let kind = kind.as_str();
        writeln!(out, "| `{name}` | {kind} | {} | {meaning} |", labels.join(", "))
            .expect("a string takes it");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn names_are_sorted_and_no_label_names_a_tenant() {
        assert!(CATALOGUE.is_sorted_by(|a, b| a.name < b.name));
        for Metric { name, labels, .. } in CATALOGUE {
            assert!(name.starts_with("cloudlysis_"), "{name}");
            assert!(!labels.iter().any(|label| label.contains("tenant")), "{name}");
        }
    }

    /// Names of ours in a text.
    fn named(text: &str) -> impl Iterator<Item = &str> {
        text.match_indices("cloudlysis_").map(|(at, _)| {
            let rest = &text[at..];
            let end = rest.find(|own: char| !own.is_ascii_lowercase() && own != '_').unwrap_or(rest.len());
            &rest[..end]
        })
    }

    #[test]
    fn alerts_are_about_metrics_that_there_are() {
        let rules = include_str!("../../../docs/alerts.yaml");
        let unknown: Vec<&str> =
            named(rules).filter(|name| !CATALOGUE.iter().any(|own| own.name == *name)).collect();
        assert_eq!(unknown, [""; 0]);
        let (_, guide) = include_str!("../../../docs/operating.md")
            .split_once("## Metrics worth an alert")
            .expect("a table of alerts");
        let (table, _) = guide.split_once("\n## ").expect("something after it");
        let first = table.lines().filter_map(|line| named(line.strip_prefix("| ")?).next());
        // What is normal for the one only the application knows; the other is for us.
        let without = ["cloudlysis_outbox_depth", "cloudlysis_marks_total"];
        let missing: Vec<&str> =
            first.filter(|name| !without.contains(name) && !rules.contains(name)).collect();
        assert_eq!(missing, [""; 0], "docs/alerts.yaml has no rule for these");
    }

    /// `CLOUDLYSIS_WRITE_DOCS=1` writes the table anew.
    #[test]
    fn the_documentation_lists_every_metric_as_it_is() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
        let text = fs::read_to_string(&path).expect("the documentation");
        let (before, _) = text.split_once("| metric |").expect("a table");
        let wanted = format!("{before}{}", table());
        if std::env::var_os("CLOUDLYSIS_WRITE_DOCS").is_some() {
            fs::write(&path, wanted).expect("written");
        } else {
            assert_eq!(
                text, wanted,
                "docs/metrics.md; run this test with CLOUDLYSIS_WRITE_DOCS=1 to write it anew"
            );
        }
    }
}
