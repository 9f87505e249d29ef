//! Spans where work crosses a boundary: a request that comes in, a message that is stored, taken in or sent, a call.
//!
//! | span | kind | from, until |
//! |---|---|---|
//! | `POST /v1/commands/{type}/{id}` | server | a request at the gateway, its answer |
//! | `publish tenant.{tenant}.aggregate.{type}.{id}` | producer | events handed to the broker, its answer |
//! | `process <stream>` | consumer | a message handed to a machine, its acknowledgement: after the commit (`unsettled`) |
//! | `send <target>` | client, producer | an entry that leaves the outbox, the answer to it; every attempt |
//! | `effect <name>` | client | an attempt at a call, what came of it |
//!
//! They are `tracing` spans at [`TARGET`] on level DEBUG. The log's filter does not let them through unless it is asked to
//! (`RUST_LOG=info,cloudlysis::trace=debug`), and only the feature `otlp` has somebody else who listens; when nobody does,
//! nothing below is evaluated.
//!
//! Every span is a child of the `traceparent` that its request or message carries. The gateway hands its own span on, so
//! it is the parent of all that follows from a command. What follows is siblings: the machines write the context of
//! messages, and they know no spans. Without a `traceparent` a span begins a trace of its own.
//!
//! Never in a span: payloads, headers of calls, what an answer said.

use cloudlysis_core::Outcome;
use cloudlysis_core::effect::{Answered, NotSent};
use cloudlysis_core::gate::Delivery;
use cloudlysis_core::outbox::Target;
use cloudlysis_core::wire::context::{Context, TraceParent};
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::wire::headers::{Headers, TRACEPARENT, X_CORRELATION_ID};
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::wire::subject::Route;
use tracing::field::Empty;
use tracing::{Level, Span, debug_span};

/// What a filter knows them by.
pub const TARGET: &str = "cloudlysis::trace";

/// The name and route of a command's request.
const COMMANDS: &str = "/v1/commands/{type}/{id}";

/// Whether anybody listens.
pub(crate) fn listened_to() -> bool {
    tracing::span_enabled!(target: TARGET, Level::DEBUG)
}

/// A command's request at the gateway, in a context that its caller brought along or that begins here. Whatever follows
/// from the command is to be part of this span.
pub(crate) fn request(tenant: &TenantId, context: &mut Context, begins_here: bool) -> Span {
    let span = debug_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = format!("POST {COMMANDS}"),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = "POST",
        http.route = COMMANDS,
        http.response.status_code = Empty,
        tenant_id = tenant.as_str(),
        correlation_id = context.correlation_id,
        trace_id = Empty,
        aggregate = Empty,
        id = Empty,
        command_id = Empty,
    );
    if span.is_disabled() {
        return span;
    }
    begin(&span, if begins_here { None } else { context.traceparent.as_ref() });
    if let Some(own) = super::otlp::traceparent(&span) {
        context.traceparent = Some(own);
    }
    record_trace(&span, context.traceparent.as_ref());
    span
}

/// What a request asks for, once it has been read.
pub(crate) fn command(span: &Span, aggregate: &Name, id: &EntityId, command_id: &CommandId) {
    span.record("aggregate", aggregate.as_str());
    span.record("id", id.as_str());
    span.record("command_id", command_id.as_str());
}

/// How a request was answered.
pub(crate) fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        failed(span);
    }
}

/// Events of an aggregate on their way to the broker.
pub(crate) fn publish(subject: &str, headers: &Headers) -> Span {
    let span = debug_span!(
        target: TARGET,
        parent: None,
        "publish",
        otel.name = "publish tenant.{tenant}.aggregate.{type}.{id}",
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = subject,
        messaging.destination.template = Empty,
        tenant_id = Empty,
        correlation_id = headers.get(X_CORRELATION_ID),
        trace_id = Empty,
        aggregate = Empty,
        id = Empty,
        outcome = Empty,
    );
    if !span.is_disabled() {
        about(&span, subject);
        begin(&span, carried(headers).as_ref());
    }
    span
}

/// A message in the hands of a machine.
pub(crate) fn process(node: &'static str, stream: PlatformStream, delivery: &Delivery) -> Span {
    let span = debug_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = format!("process {stream}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = delivery.subject,
        messaging.destination.template = Empty,
        node,
        view = Empty,
        stream_seq = delivery.stream_seq,
        tenant_id = Empty,
        correlation_id = delivery.headers.get(X_CORRELATION_ID),
        trace_id = Empty,
        aggregate = Empty,
        id = Empty,
        outcome = Empty,
    );
    if !span.is_disabled() {
        about(&span, &delivery.subject);
        begin(&span, carried(&delivery.headers).as_ref());
    }
    span
}

/// A command on its way from the outbox to its aggregate.
pub(crate) fn submit(command: &Command) -> Span {
    let target = Target::Aggregates.as_str();
    let span = debug_span!(
        target: TARGET,
        parent: None,
        "send",
        otel.name = format!("send {target}"),
        otel.kind = "client",
        otel.status_code = Empty,
        tenant_id = command.tenant.as_str(),
        correlation_id = command.context.correlation_id,
        trace_id = Empty,
        aggregate = command.aggregate.as_str(),
        id = command.id.as_str(),
        command_id = command.command_id.as_str(),
        outcome = Empty,
    );
    if !span.is_disabled() {
        begin(&span, command.context.traceparent.as_ref());
    }
    span
}

/// A message on its way from the outbox to the broker.
pub(crate) fn send(target: Target, subject: &str, headers: &Headers) -> Span {
    let span = debug_span!(
        target: TARGET,
        parent: None,
        "send",
        otel.name = format!("send {}", target.as_str()),
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "send",
        messaging.operation.type = "send",
        messaging.destination.name = subject,
        messaging.destination.template = Empty,
        tenant_id = Empty,
        correlation_id = headers.get(X_CORRELATION_ID),
        trace_id = Empty,
        aggregate = Empty,
        id = Empty,
        outcome = Empty,
    );
    if !span.is_disabled() {
        about(&span, subject);
        begin(&span, carried(headers).as_ref());
    }
    span
}

/// An attempt at a call.
pub(crate) fn effect(tenant: &TenantId, effect: &Name, attempt: u32, context: Option<&Context>) -> Span {
    let span = debug_span!(
        target: TARGET,
        parent: None,
        "effect",
        otel.name = format!("effect {effect}"),
        otel.kind = "client",
        otel.status_code = Empty,
        tenant_id = tenant.as_str(),
        correlation_id = context.map(|context| context.correlation_id.as_str()),
        trace_id = Empty,
        effect = effect.as_str(),
        attempt,
        outcome = Empty,
    );
    if !span.is_disabled() {
        begin(&span, context.and_then(|context| context.traceparent.as_ref()));
    }
    span
}

/// What came of a call. A refusal by the other side is an answer.
pub(crate) fn called(span: &Span, outcome: &Outcome<Answered, NotSent>) {
    span.record("outcome", super::called(outcome));
    if !matches!(outcome, Outcome::Done(_)) {
        failed(span);
    }
}

/// What came of something that was sent. A refusal is an answer.
pub(crate) fn sent<T, R>(span: &Span, outcome: &Outcome<T, R>) {
    span.record("outcome", super::ended(outcome));
    if matches!(outcome, Outcome::Unknown) {
        failed(span);
    }
}

fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}

/// The trace that a message belongs to.
fn carried(headers: &Headers) -> Option<TraceParent> {
    headers.get(TRACEPARENT).and_then(|raw| TraceParent::parse(raw.trim()).ok())
}

/// Whose message it is, and of what kind.
fn about(span: &Span, subject: &str) {
    let Some(route) = Route::parse(subject) else { return };
    span.record("messaging.destination.template", template(&route));
    span.record("tenant_id", route.tenant().as_str());
    if let Route::Aggregate { kind, id, .. } = &route {
        span.record("aggregate", kind.as_str());
        span.record("id", id.as_str());
    }
}

const fn template(route: &Route) -> &'static str {
    match route {
        Route::Aggregate { .. } => "tenant.{tenant}.aggregate.{type}.{id}",
        Route::Effect { .. } => "tenant.{tenant}.effect.{effect}.{command}",
        Route::EffectResult { .. } => "tenant.{tenant}.effect_result.{effect}.{command}",
        Route::WorkflowEvent { .. } => "tenant.{tenant}.workflow_event.{saga}.{id}",
    }
}

/// Makes a span a child of what is carried.
fn begin(span: &Span, parent: Option<&TraceParent>) {
    if let Some(parent) = parent {
        super::otlp::follow(span, parent);
    }
    record_trace(span, parent);
}

fn record_trace(span: &Span, parent: Option<&TraceParent>) {
    if let Some(parent) = parent {
        span.record("trace_id", parent.trace_id());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    //! What listens in place of a log or an exporter is shared with the tests of [`unsettled`](super::super::unsettled).

    use super::*;
    use bytes::Bytes;
    use cloudlysis_core::Token;
    use serde_json::json;
    use std::collections::BTreeMap;
    use std::fmt;
    use std::sync::{Arc, Mutex, MutexGuard};
    use tracing::Subscriber;
    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing_subscriber::layer::Context as Scope;
    use tracing_subscriber::prelude::*;
    use tracing_subscriber::{EnvFilter, Layer};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    type Fields = BTreeMap<String, String>;

    /// The spans that were begun, and how many have ended.
    #[derive(Clone, Default)]
    pub(crate) struct Seen(Arc<Mutex<(Vec<Fields>, usize)>>);

    impl Seen {
        fn locked(&self) -> MutexGuard<'_, (Vec<Fields>, usize)> {
            self.0.lock().expect("nobody panicked")
        }

        pub(crate) fn spans(&self) -> Vec<Fields> {
            self.locked().0.clone()
        }

        pub(crate) fn closed(&self) -> usize {
            self.locked().1
        }
    }

    struct Visitor<'f>(&'f mut Fields);

    impl Visit for Visitor<'_> {
        fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
            self.0.insert(field.name().to_owned(), format!("{value:?}").trim_matches('"').to_owned());
        }
    }

    impl<S: Subscriber> Layer<S> for Seen {
        fn on_new_span(&self, span: &Attributes<'_>, id: &Id, _: Scope<'_, S>) {
            let mut fields = Fields::from([("#".to_owned(), id.into_u64().to_string())]);
            span.record(&mut Visitor(&mut fields));
            self.locked().0.push(fields);
        }

        fn on_record(&self, id: &Id, values: &Record<'_>, _: Scope<'_, S>) {
            let own = id.into_u64().to_string();
            // Ids of spans that have ended are given again: the last one it is.
            let mut seen = self.locked();
            let fields = seen.0.iter_mut().rev().find(|fields| fields.get("#") == Some(&own));
            values.record(&mut Visitor(fields.expect("a span")));
        }

        fn on_close(&self, _: Id, _: Scope<'_, S>) {
            self.locked().1 += 1;
        }
    }

    fn filtered(filter: &str, seen: &Seen, work: impl FnOnce()) {
        let subscriber = tracing_subscriber::registry().with(seen.clone()).with(EnvFilter::new(filter));
        tracing::subscriber::with_default(subscriber, work);
    }

    pub(crate) fn listening(seen: &Seen, work: impl FnOnce()) {
        filtered("info,cloudlysis::trace=debug", seen, work);
    }

    fn context(traceparent: Option<&str>) -> Context {
        let traceparent = traceparent.map(|raw| TraceParent::parse(raw).expect("a traceparent"));
        Context { traceparent, correlation_id: "c-1".into(), ..Context::generate("t") }
    }

    fn tenant() -> TenantId {
        TenantId::parse("acme").expect("a tenant")
    }

    pub(crate) fn delivery(seq: u64) -> Delivery {
        Delivery {
            generation: Token { incarnation: 1, seq: 1 },
            subject: "tenant.acme.aggregate.order.o-1".into(),
            headers: context(Some(PARENT)).headers(&tenant()),
            payload: Bytes::from_static(b"a secret payload"),
            stream_seq: seq,
            stored_at_ns: 0,
            consumer_seq: seq,
            pending: 0,
            ack: format!("ack {seq}"),
        }
    }

    fn order() -> Command {
        Command {
            tenant: tenant(),
            aggregate: Name::parse("order").expect("a name"),
            id: EntityId::parse("o-1").expect("an id"),
            name: Name::parse("place").expect("a name"),
            payload: json!("a secret payload"),
            command_id: CommandId::parse("cmd-1").expect("an id"),
            context: context(Some(PARENT)),
            record_refusal: false,
        }
    }

    /// One of each.
    fn all() {
        let (mut own, message) = (context(Some(PARENT)), delivery(7));
        answered(&request(&tenant(), &mut own, false), 504);
        sent::<(), ()>(&publish(&message.subject, &message.headers), &Outcome::Unknown);
        drop(process("runner", PlatformStream::AggregateEvents, &message));
        sent::<(), ()>(&submit(&order()), &Outcome::Refused(()));
        sent::<(), ()>(&send(Target::Events, &message.subject, &message.headers), &Outcome::Done(()));
        let name = Name::parse("charge_card").expect("a name");
        let outcome = Outcome::Done(Answered { status: 201, body: json!("a secret answer") });
        called(&effect(&tenant(), &name, 2, Some(&own)), &outcome);
    }

    #[test]
    fn spans_say_what_they_are_of_and_nothing_that_is_secret() {
        let seen = Seen::default();
        listening(&seen, all);
        let spans = seen.spans();
        let names: Vec<&str> = spans.iter().map(|span| span["otel.name"].as_str()).collect();
        assert_eq!(
            names,
            [
                "POST /v1/commands/{type}/{id}",
                "publish tenant.{tenant}.aggregate.{type}.{id}",
                "process AGGREGATE_EVENTS",
                "send aggregates",
                "send workflow_events",
                "effect charge_card",
            ]
        );
        for span in &spans {
            for (field, value) in [("trace_id", TRACE), ("tenant_id", "acme"), ("correlation_id", "c-1")] {
                assert_eq!(span.get(field).map(String::as_str), Some(value), "{field}: {span:?}");
            }
        }
        let outcomes: Vec<Option<&str>> =
            spans.iter().map(|span| span.get("outcome").map(String::as_str)).collect();
        let expected = [None, Some("unknown"), None, Some("refused"), Some("done"), Some("answered")];
        assert_eq!(outcomes, expected);
        let failed: Vec<bool> = spans.iter().map(|span| span.contains_key("otel.status_code")).collect();
        assert_eq!(failed, [true, true, false, false, false, false]);
        assert_eq!((spans[5]["attempt"].as_str(), spans[2]["stream_seq"].as_str()), ("2", "7"));
        assert_eq!(spans[2]["messaging.destination.template"], "tenant.{tenant}.aggregate.{type}.{id}");
        assert!(!format!("{spans:?}").contains("secret"), "{spans:?}");
    }

    #[test]
    fn no_span_is_made_unless_somebody_listens() {
        for filter in [crate::telemetry::LOG_FILTER, "info", "warn"] {
            let seen = Seen::default();
            filtered(filter, &seen, || {
                assert!(!listened_to());
                all();
            });
            assert_eq!(seen.spans(), Vec::<Fields>::new(), "{filter}");
        }
    }

    #[test]
    fn a_message_belongs_to_the_trace_it_carries() {
        let carried = |name: &'static str, raw: &str| {
            let mut headers = Headers::default();
            headers.append(name, raw);
            super::carried(&headers).map(|parent| parent.as_str().to_owned())
        };
        assert_eq!(carried("traceparent", PARENT).as_deref(), Some(PARENT));
        assert_eq!(carried("traceparent", &format!(" {PARENT} ")).as_deref(), Some(PARENT));
        for bad in ["", "00", &PARENT.to_uppercase(), &PARENT.replace(TRACE, &"0".repeat(32))] {
            assert_eq!(carried("traceparent", bad), None, "{bad}");
        }
        assert_eq!(carried("tracestate", PARENT), None);
    }

    #[test]
    fn what_carries_no_trace_has_none() {
        let seen = Seen::default();
        listening(&seen, || {
            let name = Name::parse("charge_card").expect("a name");
            drop(effect(&tenant(), &name, 1, None));
            drop(publish("not.ours", &Headers::default()));
        });
        for span in seen.spans() {
            assert!(!span.contains_key("trace_id") && !span.contains_key("correlation_id"), "{span:?}");
        }
    }
}
