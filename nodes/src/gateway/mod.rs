//! The gateway: HTTP at the edge, gRPC inside.
//!
//! | request | goes to |
//! |---|---|
//! | `POST /v1/commands/{type}/{id}` | `CommandService.Submit` of the aggregate node |
//! | `GET /v1/query/{view}/{id}` | `QueryService.Get` of the projection node that has the tenant |
//! | `GET /v1/query/{view}?limit=&after=` | `QueryService.List` of the same |
//! | `CommandService` over gRPC | the aggregate node: runners submit their commands here |
//!
//! Every call inside has a deadline. Reads are repeated once when the node did not answer; commands are not: their id
//! lets the caller decide. What went wrong is an RFC 9457 problem.

mod commands;
pub(crate) mod context;
mod projections;
mod queries;
mod relay;

use crate::proto::command::command_service_client::CommandServiceClient;
use crate::proto::command::command_service_server::{self, CommandServiceServer};
use crate::telemetry;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use cloudlysis_core::wire::envelope::PAYLOAD_BYTES_MAX;
use projections::Projections;
use std::time::{Duration, Instant};
use tonic::service::Routes;
use tonic::transport::Channel;

/// Largest request body: a payload at its limit and the fields around it.
const BODY_BYTES_MAX: usize = PAYLOAD_BYTES_MAX + (16 << 10);

/// The gRPC services of a gateway.
pub const GRPC_SERVICES: &[&str] = &[command_service_server::SERVICE_NAME];

/// The nodes behind a gateway.
#[derive(Clone, Debug)]
pub struct Upstreams {
    /// Takes commands.
    pub aggregate: Channel,
    /// Answer queries, each for the tenants of its partition.
    pub projections: Vec<Channel>,
    /// How long they may take.
    pub deadlines: Deadlines,
}

/// How long nodes behind a gateway may take.
#[derive(Clone, Copy, Debug)]
pub struct Deadlines {
    /// For a command.
    pub command: Duration,
    /// For a query.
    pub query: Duration,
}

#[derive(Clone, Debug)]
struct Gateway {
    commands: CommandServiceClient<Channel>,
    queries: Projections,
    deadlines: Deadlines,
}

/// The routes of a gateway.
pub fn router(upstreams: Upstreams) -> Router {
    let gateway = Gateway {
        commands: CommandServiceClient::new(upstreams.aggregate.clone()),
        queries: Projections::new(upstreams.projections),
        deadlines: upstreams.deadlines,
    };
    Router::new()
        .route("/v1/commands/{kind}/{id}", post(commands::submit))
        .route("/v1/query/{view}", get(queries::list))
        .route("/v1/query/{view}/{id}", get(queries::one))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn(count))
        .with_state(gateway)
}

/// These services.
#[must_use]
pub fn services(upstreams: &Upstreams) -> Routes {
    let upstream = CommandServiceClient::new(upstreams.aggregate.clone());
    let relay = relay::Relay::new(upstream, upstreams.deadlines.command);
    Routes::new(CommandServiceServer::new(relay))
}

async fn count(request: Request, next: Next) -> Response {
    let route = match request.uri().path().split('/').nth(2) {
        Some("commands") => "commands",
        Some("query") => "query",
        Some(_) | None => "other",
    };
    let started = Instant::now();
    let response = next.run(request).await;
    telemetry::gateway_request(route, response.status().as_u16(), started.elapsed());
    response
}
