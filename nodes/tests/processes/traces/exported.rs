//! Spans reach a collector: those of one command are one trace, and nothing in them is secret.

use crate::world::shop::Command;
use crate::world::{SOON, World};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Text;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tonic::{Request, Response, Status};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const SECRET: &str = "tr0ub4dor";
/// Of the payload of the command, of its event, and of the effect.
const CARD: &str = "5105-1051-0510-5100";

/// What was exported.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<ExportTraceServiceRequest>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.lock().expect("nobody panicked").push(request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Listens; where.
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let routes = tonic::service::Routes::new(TraceServiceServer::new(self.clone())).into_axum_router();
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    fn exported(&self) -> Vec<ExportTraceServiceRequest> {
        self.0.lock().expect("nobody panicked").clone()
    }

    fn spans(&self) -> Vec<Span> {
        let resources = self.exported().into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|own| own.key == key)?.value.as_ref()?;
    match value {
        AnyValue { value: Some(Text::StringValue(text)) } => Some(text),
        _ => None,
    }
}

/// The shop, whose charges show a token.
fn application(world: &World) -> String {
    let effect = "
effect: charge_card
http:
  method: POST
  url: \"${var:services}/payments/charges\"
  headers: { x-tenant-id: \"= command.tenant_id\", Authorization: \"Bearer ${secret:payments_token}\" }
  body: { order: = command.payload.order, cents: = command.payload.cents, card: = command.payload.card }
";
    let app = world.application_with(&[("effects/charge_card.yaml", effect)]);
    app.to_str().expect("a path that is text").to_owned()
}

pub(crate) async fn a_command_is_followed_by_its_trace_to_the_effect(world: World) {
    let collector = Collector::default();
    let secrets = tempfile::tempdir().expect("a directory");
    std::fs::write(secrets.path().join("payments_token"), SECRET).expect("written");
    let environment = [
        format!("OTEL_EXPORTER_OTLP_ENDPOINT={}", collector.start().await),
        // What arrives before the end is by accident: the last spans leave when the process ends.
        "OTEL_BSP_SCHEDULE_DELAY=600000".to_owned(),
        "RUST_LOG=info,cloudlysis::trace=debug".to_owned(),
    ];
    let further = ["--secrets-dir", secrets.path().to_str().expect("text"), "--log-format", "json"];
    let mut node = world.start_dev_in(&environment, &application(&world), &further).await;
    node.ready().await;
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    let body = json!({
        "command": "place",
        "payload": { "sku": "tea", "qty": 2, "cents": 900, "card": CARD },
        "command_id": "place-1",
    });
    let request = reqwest::Client::new().post(format!("{}/v1/commands/order/o-1", node.url())).json(&body);
    let request = request.header("x-tenant-id", "acme").header("x-correlation-id", "c-1");
    let sent = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01")).send().await;
    assert_eq!(sent.expect("an answer").status().as_u16(), 202);
    shop.order_becomes("acme", "o-1", "shipped").await;
    node.terminate();
    assert_eq!(node.exit(SOON).await.code(), Some(0), "{}", node.log());

    let spans = collector.spans();
    let own: Vec<&Span> = spans.iter().filter(|span| hex(&span.trace_id) == TRACE).collect();
    let find = |name: &str, key: &str, value: &str| {
        let found = own.iter().find(|span| span.name == name && text(&span.attributes, key) == Some(value));
        *found.unwrap_or_else(|| panic!("no span `{name}` with {key} = {value}: {own:#?}"))
    };
    let gateway = find("POST /v1/commands/{type}/{id}", "id", "o-1");
    assert_eq!(hex(&gateway.parent_span_id), CALLER);
    assert_eq!(gateway.kind, SpanKind::Server as i32);
    let events = "publish tenant.{tenant}.aggregate.{type}.{id}";
    for (name, key, value, kind) in [
        (events, "outcome", "done", SpanKind::Producer),
        ("process AGGREGATE_EVENTS", "view", "order_summary", SpanKind::Consumer),
        ("process AGGREGATE_EVENTS", "node", "runner", SpanKind::Consumer),
        ("send aggregates", "outcome", "done", SpanKind::Client),
        ("effect charge_card", "outcome", "answered", SpanKind::Client),
        ("effect ship_parcel", "outcome", "answered", SpanKind::Client),
    ] {
        let span = find(name, key, value);
        assert_eq!(span.kind, kind as i32, "{span:#?}");
        assert_eq!(span.parent_span_id, gateway.span_id, "{span:#?}");
        for (key, value) in [("tenant_id", "acme"), ("correlation_id", "c-1"), ("trace_id", TRACE)] {
            assert_eq!(text(&span.attributes, key), Some(value), "{span:#?}");
        }
        if kind == SpanKind::Consumer {
            // It lasted until the message was settled; of those that arrived while the node drained, nobody did that.
            assert_eq!(text(&span.attributes, "outcome"), Some("acked"), "{span:#?}");
        }
    }
    let elsewhere =
        spans.iter().find(|span| hex(&span.trace_id) != TRACE && span.kind == SpanKind::Server as i32);
    assert!(
        elsewhere.is_some_and(|span| span.parent_span_id.is_empty()),
        "a command without a trace begins one"
    );

    let exported = collector.exported();
    let resources = exported.iter().flat_map(|request| &request.resource_spans);
    for resource in resources.filter_map(|resource| resource.resource.as_ref()) {
        assert_eq!(text(&resource.attributes, "service.name"), Some("cloudlysis-dev"));
    }
    let everything = format!("{exported:?}");
    for secret in [SECRET, CARD] {
        assert!(!everything.contains(secret), "{secret} is exported");
    }
    lines_show_their_span(&node.log());
}

/// In JSON, with the spans let through by the log's filter.
fn lines_show_their_span(log: &str) {
    let lines: Vec<Value> = log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let line = lines.iter().find(|line| line["message"] == "command" && line["span"]["trace_id"] == TRACE);
    let span = line.map(|line| &line["span"]).unwrap_or_else(|| panic!("no line in the span: {log}"));
    for (key, value) in [("tenant_id", "acme"), ("correlation_id", "c-1"), ("name", "request")] {
        assert_eq!(span[key], value, "{span}");
    }
}
