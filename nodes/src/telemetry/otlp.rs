//! Spans leave over OTLP: gRPC to the collector that `OTEL_EXPORTER_OTLP_ENDPOINT` names. Only with the feature `otlp`.
//!
//! The SDK reads the standard variables: headers, timeouts, batches, attributes of the resource, the sampler
//! (`OTEL_TRACES_SAMPLER`; by default every trace that begins here, and of others what their callers sample). Spans
//! leave in batches on a thread of the SDK's; what a collector does not take in time is dropped, and no work waits for it.
//!
//! Not here: metrics, which are scraped, and logs, which are lines; TLS to the collector.

use super::traces::TARGET;
use cloudlysis_core::wire::context::TraceParent;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, Key};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::resource::{EnvResourceDetector, Resource, ResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use std::time::Duration;
use tracing::Span;
use tracing::level_filters::LevelFilter;
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::{Layer, Registry};

/// How long a process that ends waits for its last spans to leave.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

/// The way out; nothing leaves by default.
#[derive(Debug, Default)]
pub struct Export(Option<SdkTracerProvider>);

impl Export {
    /// Towards the collector that the environment names, on behalf of a service that it may name otherwise.
    ///
    /// # Errors
    /// Why nothing can leave.
    pub(super) fn start(service: &str) -> Result<Self, String> {
        let exporter = SpanExporter::builder().with_tonic().build().map_err(|error| error.to_string())?;
        let resource = Resource::builder();
        let resource = if named() { resource } else { resource.with_service_name(service.to_owned()) };
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter);
        Ok(Self(Some(provider.with_resource(resource.build()).build())))
    }

    /// Who listens to spans on its behalf, and to nothing else: what other crates trace may hold anything.
    pub(super) fn layer(&self) -> Option<Box<dyn Layer<Registry> + Send + Sync>> {
        let tracer = self.0.as_ref()?.tracer("cloudlysis");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_target(false);
        Some(layer.with_filter(Targets::new().with_target(TARGET, LevelFilter::DEBUG)).boxed())
    }

    /// Lets the last spans leave.
    pub async fn end(self) {
        let Some(provider) = self.0 else { return };
        // It waits by blocking.
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LEAVE_WITHIN)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!(?ended, "the last spans may not have left");
        }
    }
}

/// Whether the environment names the service.
fn named() -> bool {
    let name = std::env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty());
    name || EnvResourceDetector::new().detect().get(&Key::from_static_str("service.name")).is_some()
}

/// Makes a span a child of one elsewhere.
pub(super) fn follow(span: &Span, parent: &TraceParent) {
    if let Some(parent) = remote(parent) {
        // An error means that it does not leave: the log alone listens.
        drop(span.set_parent(Context::new().with_remote_span_context(parent)));
    }
}

fn remote(parent: &TraceParent) -> Option<SpanContext> {
    let mut parts = parent.as_str().split('-').skip(1);
    let trace_id = TraceId::from_hex(parts.next()?).ok()?;
    let span_id = SpanId::from_hex(parts.next()?).ok()?;
    let flags = TraceFlags::new(u8::from_str_radix(parts.next()?, 16).ok()?);
    Some(SpanContext::new(trace_id, span_id, flags, true, TraceState::NONE))
}

/// A span as the parent of others; `None` when it does not leave.
pub(super) fn traceparent(span: &Span) -> Option<TraceParent> {
    let context = span.context();
    let span = context.span();
    let own = span.span_context();
    let raw = format!("00-{}-{}-{:02x}", own.trace_id(), own.span_id(), own.trace_flags().to_u8());
    // One that does not leave has ids of zeros, which are no ids.
    TraceParent::parse(&raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::traces;
    use cloudlysis_core::wire::context::Context as Carried;
    use cloudlysis_core::wire::id::TenantId;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{Sampler, SpanData, SpanExporter};
    use std::sync::{Arc, Mutex};
    use tracing_subscriber::prelude::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// A collector; `testing` of the SDK has one, with metrics and logs.
    #[derive(Clone, Debug, Default)]
    struct Collector(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Collector {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().expect("nobody panicked").extend(batch);
            Ok(())
        }
    }

    fn parent(raw: &str) -> TraceParent {
        TraceParent::parse(raw).expect("a traceparent")
    }

    /// Runs this as in a process whose spans leave; what left.
    fn exported(sampler: Sampler, work: impl FnOnce()) -> Vec<SpanData> {
        let collector = Collector::default();
        let provider = SdkTracerProvider::builder()
            .with_simple_exporter(collector.clone())
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .build();
        let export = Export(Some(provider));
        let subscriber = tracing_subscriber::registry().with(export.layer());
        tracing::subscriber::with_default(subscriber, work);
        collector.0.lock().expect("nobody panicked").clone()
    }

    fn request(context: &mut Carried, begins_here: bool) {
        let tenant = TenantId::parse("acme").expect("a tenant");
        traces::answered(&traces::request(&tenant, context, begins_here), 202);
    }

    #[test]
    fn a_traceparent_is_read_with_its_flags() {
        let read = remote(&parent(PARENT)).expect("a span's context");
        assert_eq!(read.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(read.span_id().to_string(), "00f067aa0ba902b7");
        assert!(read.is_sampled() && read.is_remote() && read.is_valid());
        let unsampled = remote(&parent(&PARENT.replace("-01", "-00"))).expect("a span's context");
        assert!(!unsampled.is_sampled());
    }

    #[test]
    fn a_request_is_a_child_of_its_caller_and_the_parent_of_what_follows() {
        let mut context = Carried { traceparent: Some(parent(PARENT)), ..Carried::generate("t") };
        let spans = exported(Sampler::AlwaysOff, || request(&mut context, false));
        let [span] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!(span.span_context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.parent_span_id.to_string(), "00f067aa0ba902b7");
        assert_eq!(span.name, "POST /v1/commands/{type}/{id}");
        let own = format!("00-{}-{}-01", span.span_context.trace_id(), span.span_context.span_id());
        assert_eq!(context.traceparent, Some(parent(&own)));
    }

    #[test]
    fn a_trace_that_begins_here_is_sampled_here() {
        let made_up = parent(PARENT);
        for (sampler, flags, left) in [(Sampler::AlwaysOn, "01", 1), (Sampler::AlwaysOff, "00", 0)] {
            let mut context = Carried { traceparent: Some(made_up.clone()), ..Carried::generate("t") };
            let spans = exported(sampler, || request(&mut context, true));
            assert_eq!(spans.len(), left);
            let own = context.traceparent.expect("a traceparent");
            assert!(own.trace_id() != made_up.trace_id() && own.as_str().ends_with(flags), "{own:?}");
            assert!(spans.iter().all(|span| span.parent_span_id == SpanId::INVALID), "{spans:?}");
        }
    }

    #[test]
    fn what_a_caller_does_not_sample_does_not_leave() {
        let unsampled = parent(&PARENT.replace("-01", "-00"));
        let mut context = Carried { traceparent: Some(unsampled), ..Carried::generate("t") };
        assert_eq!(exported(Sampler::AlwaysOn, || request(&mut context, false)), []);
        assert!(context.traceparent.is_some_and(|own| own.as_str().ends_with("-00")));
    }

    #[test]
    fn what_others_trace_does_not_leave() {
        let spans = exported(Sampler::AlwaysOn, || {
            let own = tracing::debug_span!(target: TARGET, "own");
            own.in_scope(|| {
                tracing::error!(password = "tr0ub4dor", "an event");
                drop(tracing::info_span!("other", password = "tr0ub4dor"));
            });
        });
        assert_eq!(spans.len(), 1);
        assert!(!format!("{spans:?}").contains("tr0ub4dor"), "{spans:?}");
    }
}
