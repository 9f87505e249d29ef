//! Logs, metrics and spans.
//!
//! Logs are lines on standard error, filtered by `RUST_LOG`. Metrics are rendered by `/metrics`; [`catalogue`] has them all.
//! Spans ([`traces`]) leave over OTLP with the feature `otlp`; in JSON, a line shows the ones it was written in, as far as
//! the log's filter lets these through.

pub(crate) mod attention;
pub(crate) mod carried;
pub mod catalogue;
#[cfg_attr(not(feature = "otlp"), path = "otlp_absent.rs")]
mod otlp;
pub mod traces;
pub(crate) mod unsettled;

pub use otlp::Export;

use crate::partition::Status;
use cloudlysis_core::effect::{Answered, Durable, NotSent, Standing};
use cloudlysis_core::outbox::{Load, Target, Waited};
use cloudlysis_core::saga::{Ending, Finished};
use cloudlysis_core::schedule::recurring::{Counts, Recurring};
use cloudlysis_core::{MarkCounts, Outcome};
use metrics::{counter, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use std::collections::BTreeMap;
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, Layer};

/// What is logged unless `RUST_LOG` says otherwise.
const LOG_FILTER: &str = "info,async_nats=warn";

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// Starts logging, and the export of spans, if `service` is somebody who has any and the environment names a collector.
/// A second call changes nothing.
#[must_use]
pub fn start(format: LogFormat, service: Option<&str>) -> Export {
    let wanted = service.filter(|_| is_collector_named(|name| std::env::var(name).ok()));
    let started = wanted.map_or_else(|| Ok(Export::default()), Export::start);
    let (export, refused) = match started {
        Ok(export) => (export, None),
        Err(why) => (Export::default(), Some(why)),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(LOG_FILTER));
    let registry = tracing_subscriber::registry();
    // The only error is that logging has been set up already.
    drop(match export.layer() {
        // Nobody else listens: what the log's filter refuses costs nothing.
        None => registry.with(lines(format)).with(filter).try_init(),
        Some(spans) => registry.with(spans).with(lines(format).with_filter(filter)).try_init(),
    });
    if let Some(why) = refused {
        tracing::warn!(why, "OTEL_EXPORTER_OTLP_ENDPOINT is set, and no spans leave");
    }
    export
}

fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).boxed(),
        // The span around a line says it all: none of ours is inside another.
        LogFormat::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// Whether somebody wants spans: the variables are OpenTelemetry's own.
fn is_collector_named(get: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| get(name).is_some_and(|value| !value.is_empty());
    let disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    !disabled && (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
}

/// Starts collecting metrics.
///
/// # Errors
/// When a recorder is installed already.
pub fn metrics() -> Result<PrometheusHandle, BuildError> {
    const SECONDS: [f64; 12] = [0.000_5, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];
    let handle = PrometheusBuilder::new().set_buckets(&SECONDS)?.install_recorder()?;
    catalogue::describe();
    gauge!("cloudlysis_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// As metrics and spans name the end of a dispatch.
pub(crate) const fn ended<T, R>(outcome: &Outcome<T, R>) -> &'static str {
    match outcome {
        Outcome::Done(_) => "done",
        Outcome::Refused(_) => "refused",
        Outcome::Unknown => "unknown",
    }
}

/// As spans and logs name what came of a call.
pub(crate) const fn called(outcome: &Outcome<Answered, NotSent>) -> &'static str {
    match outcome {
        Outcome::Done(_) => "answered",
        Outcome::Refused(NotSent { .. }) => "not_sent",
        Outcome::Unknown => "unknown",
    }
}

pub(crate) fn turn(node: &'static str, inputs: usize, took: Duration) {
    counter!("cloudlysis_turns_total", "node" => node).increment(1);
    counter!("cloudlysis_turn_inputs_total", "node" => node).increment(inputs as u64);
    histogram!("cloudlysis_turn_duration_seconds", "node" => node).record(took.as_secs_f64());
}

/// What counts only what goes wrong is there from the beginning: an alert on it must see it grow from zero.
pub(crate) fn partition(node: &'static str) {
    counter!("cloudlysis_partition_recoveries_total", "node" => node).increment(0);
    counter!("cloudlysis_storage_commit_failures_total", "node" => node).increment(0);
}

pub(crate) fn commit(node: &'static str, took: Duration) {
    histogram!("cloudlysis_storage_commit_duration_seconds", "node" => node).record(took.as_secs_f64());
}

pub(crate) fn commit_failed(node: &'static str) {
    counter!("cloudlysis_storage_commit_failures_total", "node" => node).increment(1);
}

/// What the rest of the process knows about a partition; `is_draining` of the process.
pub(crate) fn partition_status(node: &'static str, status: &Status, is_draining: bool) {
    let draining = is_draining || status.not_ready.iter().any(|reason| reason == "draining");
    let drain = match (status.drained.is_some(), draining) {
        (true, _) => 2.0,
        (false, true) => 1.0,
        (false, false) => 0.0,
    };
    gauge!("cloudlysis_drain_state", "node" => node).set(drain);
    gauge!("cloudlysis_partition_halted", "node" => node).set(if status.halted.is_some() {
        1.0
    } else {
        0.0
    });
}

pub(crate) fn partition_recovered(node: &'static str) {
    counter!("cloudlysis_partition_recoveries_total", "node" => node).increment(1);
}

pub(crate) fn marks(node: &'static str, marks: &MarkCounts) {
    for (mark, count) in marks.iter().filter(|(_, count)| *count > 0) {
        counter!("cloudlysis_marks_total", "node" => node, "mark" => mark.id()).absolute(count);
    }
}

pub(crate) fn consumer(node: &'static str, consumer: &str, pending: u64, checkpoint: u64) {
    let consumer = consumer.to_owned();
    gauge!("cloudlysis_consumer_lag_messages", "node" => node, "consumer" => consumer.clone())
        .set(pending as f64);
    gauge!("cloudlysis_checkpoint_sequence", "node" => node, "consumer" => consumer).set(checkpoint as f64);
}

pub(crate) fn storage(node: &'static str, used_bytes: u64, size_bytes: u64) {
    gauge!("cloudlysis_storage_map_used_bytes", "node" => node).set(used_bytes as f64);
    gauge!("cloudlysis_storage_map_size_bytes", "node" => node).set(size_bytes as f64);
}

pub(crate) fn dead_letters(node: &'static str, messages: u64, keys: u64) {
    gauge!("cloudlysis_deadletter_records", "node" => node).set(messages as f64);
    gauge!("cloudlysis_deadletter_keys", "node" => node).set(keys as f64);
}

pub(crate) fn runner(effects: Durable, effects_in_flight: usize, timers_pending: u64) {
    gauge!("cloudlysis_effects_open").set(effects.open as f64);
    gauge!("cloudlysis_effects_parked").set(effects.parked as f64);
    gauge!("cloudlysis_effects_in_flight").set(effects_in_flight as f64);
    gauge!("cloudlysis_schedule_pending").set(timers_pending as f64);
}

/// Occurrences of schedules, all tenants together, as counted in their rows; and how late the last one of each fired.
pub(crate) fn schedules(schedules: &Recurring) {
    let mut sums: BTreeMap<&str, (Counts, u64)> = BTreeMap::new();
    for (key, row) in schedules.rows() {
        let Counts { fired, missed, skipped, failed, triggered, backfilled, dropped } = row.counts;
        let late = row.fired.as_ref().map_or(0, |fired| fired.at.as_ms().saturating_sub(fired.due.as_ms()));
        let (sum, latest) = sums.entry(key.schedule.as_str()).or_default();
        sum.fired += fired;
        sum.missed += missed;
        sum.skipped += skipped;
        sum.failed += failed;
        sum.triggered += triggered;
        sum.backfilled += backfilled;
        sum.dropped += dropped;
        *latest = late.max(*latest);
    }
    for (schedule, (sum, late)) in sums {
        let Counts { fired, missed, skipped, failed, triggered, backfilled, dropped } = sum;
        let outcomes = [
            ("fired", fired),
            ("missed", missed),
            ("skipped", skipped),
            ("failed", failed),
            ("triggered", triggered),
            ("backfilled", backfilled),
            ("dropped", dropped),
        ];
        for (outcome, count) in outcomes {
            let schedule = schedule.to_owned();
            counter!("cloudlysis_schedule_occurrences_total", "schedule" => schedule, "outcome" => outcome)
                .absolute(count);
        }
        gauge!("cloudlysis_schedule_lag_seconds", "schedule" => schedule.to_owned())
            .set(late as f64 / 1_000.0);
    }
}

pub(crate) fn outbox(target: Target, load: Load) {
    gauge!("cloudlysis_outbox_depth", "target" => target.as_str()).set(load.depth as f64);
    gauge!("cloudlysis_outbox_in_flight", "target" => target.as_str()).set(load.in_flight as f64);
}

pub(crate) fn outbox_oldest(age_ms: Option<u64>) {
    gauge!("cloudlysis_outbox_oldest_age_seconds").set(age_ms.unwrap_or(0) as f64 / 1_000.0);
}

/// One attempt; an entry that needs several has several.
pub(crate) fn outbox_dispatch(target: Target, outcome: &'static str, took: Duration) {
    histogram!("cloudlysis_outbox_dispatch_duration_seconds", "target" => target.as_str(), "outcome" => outcome)
        .record(took.as_secs_f64());
}

pub(crate) fn outbox_left(waited: Waited) {
    histogram!("cloudlysis_outbox_wait_duration_seconds", "target" => waited.target.as_str())
        .record(waited.took_ms as f64 / 1_000.0);
}

/// Upstreams are those of the definitions: a bounded set.
pub(crate) fn circuits<'e>(held: usize, circuits: impl Iterator<Item = (&'e str, Standing)>) {
    gauge!("cloudlysis_effects_held").set(held as f64);
    for (upstream, standing) in circuits {
        let state = match standing {
            Standing::Closed => 0.0,
            Standing::HalfOpen => 1.0,
            Standing::Open => 2.0,
        };
        gauge!("cloudlysis_effect_circuit_state", "upstream" => upstream.to_owned()).set(state);
    }
}

/// Keys may be many: one figure for all.
pub(crate) fn limited(queued: usize) {
    gauge!("cloudlysis_effects_queued").set(queued as f64);
}

pub(crate) fn effect_attempt(effect: &str, outcome: &Outcome<Answered, NotSent>, took: Duration) {
    let outcome = match outcome {
        Outcome::Done(Answered { status, .. }) => match status / 100 {
            2 => "answered_2xx",
            3 => "answered_3xx",
            4 => "answered_4xx",
            5 => "answered_5xx",
            _ => "answered_other",
        },
        Outcome::Refused(_) | Outcome::Unknown => called(outcome),
    };
    let effect = effect.to_owned();
    counter!("cloudlysis_effect_attempts_total", "effect" => effect.clone(), "outcome" => outcome)
        .increment(1);
    histogram!("cloudlysis_effect_duration_seconds", "effect" => effect).record(took.as_secs_f64());
}

pub(crate) fn saga_finished(finished: &Finished) {
    let outcome = match finished.ending {
        Ending::Completed => "completed",
        Ending::Compensated => "compensated",
        Ending::Killed => "killed",
    };
    counter!("cloudlysis_sagas_finished_total", "saga" => finished.saga.to_string(), "outcome" => outcome)
        .increment(1);
}

pub(crate) fn commands(in_flight: usize) {
    gauge!("cloudlysis_commands_in_flight").set(in_flight as f64);
}

pub(crate) fn gateway_request(route: &'static str, status: u16, took: Duration) {
    counter!("cloudlysis_gateway_requests_total", "route" => route, "status" => status.to_string())
        .increment(1);
    histogram!("cloudlysis_gateway_request_duration_seconds", "route" => route).record(took.as_secs_f64());
}

pub(crate) fn broker(connected: bool, reconnects: u64) {
    gauge!("cloudlysis_nats_connected").set(if connected { 1.0 } else { 0.0 });
    counter!("cloudlysis_nats_reconnects_total").absolute(reconnects);
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::drain::{Left, Report};
    use serde_json::Value;

    /// What `/metrics` says after this.
    fn told(tell: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, tell);
        recorder.handle().render()
    }

    #[test]
    fn attempts_are_told_apart_by_what_the_outside_said() {
        let answered = |status| Outcome::Done(Answered { status, body: Value::Null });
        let not_sent = NotSent { detail: "why".into(), forbidden: false };
        let statuses = [200, 204, 302, 404, 503, 999].map(answered);
        let outcomes = statuses.into_iter().chain([Outcome::Refused(not_sent), Outcome::Unknown]);
        let text = told(|| outcomes.for_each(|own| effect_attempt("charge", &own, Duration::ZERO)));
        for (outcome, count) in [
            ("answered_2xx", 2),
            ("answered_3xx", 1),
            ("answered_4xx", 1),
            ("answered_5xx", 1),
            ("answered_other", 1),
            ("not_sent", 1),
            ("unknown", 1),
        ] {
            let line = format!(
                "cloudlysis_effect_attempts_total{{effect=\"charge\",outcome=\"{outcome}\"}} {count}"
            );
            assert!(text.lines().any(|own| own == line), "{line}: {text}");
        }
    }

    #[test]
    fn what_a_partition_is_about_is_a_figure() {
        let draining = Status { not_ready: vec!["draining".into()], ..Status::default() };
        let report = Report { clean: true, left: Left::default() };
        let drained = Status { drained: Some(report), ..draining.clone() };
        let halted = Status { halted: Some("why".into()), ..Status::default() };
        for (status, process_drains, drain, stopped) in [
            (Status::default(), false, 0, 0),
            (Status::default(), true, 1, 0),
            (draining, false, 1, 0),
            (drained, true, 2, 0),
            (halted, false, 0, 1),
        ] {
            let text = told(|| partition_status("runner", &status, process_drains));
            for line in [
                format!("cloudlysis_drain_state{{node=\"runner\"}} {drain}"),
                format!("cloudlysis_partition_halted{{node=\"runner\"}} {stopped}"),
            ] {
                assert!(text.lines().any(|own| own == line), "{line}: {text}");
            }
        }
    }

    #[test]
    fn spans_are_wanted_where_a_collector_is_named() {
        let wanted = |set: &[(&str, &str)]| {
            let get =
                |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| value.to_string());
            is_collector_named(get)
        };
        let (all, traces) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        assert!(!wanted(&[]) && !wanted(&[(all, "")]));
        assert!(wanted(&[(all, "http://c:4317")]) && wanted(&[(traces, "http://c:4317")]));
        assert!(!wanted(&[(all, "http://c:4317"), ("OTEL_SDK_DISABLED", "true")]));
    }
}
