//! The projection node: feeds its machine from JetStream, and answers queries over gRPC from snapshots.

use crate::partition::Edge;
use crate::proto::query::query_service_server::QueryService;
use crate::proto::query::{self as wire, GetRequest, GetResponse, ListRequest, ListResponse};
use crate::telemetry::unsettled::Unsettled;
use crate::telemetry::{self, attention};
use cloudlysis_core::drain::Report;
use cloudlysis_core::placement::Tenants;
use cloudlysis_core::projection::{Effect, Input, Projection};
use cloudlysis_core::query::{self, LIMIT_DEFAULT, LIMIT_MAX};
use cloudlysis_core::wire::id::{EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_io_nats::broker::Broker;
use cloudlysis_io_nats::consumer::{ConsumerEdge, Report as ConsumerReport, ReportSink};
use cloudlysis_io_nats::store::{Figures, Snapshots};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};

/// What views are made of.
const STREAM: PlatformStream = PlatformStream::AggregateEvents;

/// Hands what a view's consumer reports to the partition.
#[derive(Clone, Debug)]
struct ViewSink {
    view: Name,
    inputs: mpsc::WeakSender<Input>,
    unsettled: Unsettled,
}

impl ReportSink for ViewSink {
    async fn report(&self, report: ConsumerReport) -> bool {
        let view = self.view.clone();
        let input = match report {
            ConsumerReport::Delivered(delivery) => {
                self.unsettled.delivered("projection", Some(&view), STREAM, &delivery);
                Input::Delivered { view, delivery }
            }
            ConsumerReport::Input(input) => Input::Gate { view, input },
        };
        match self.inputs.upgrade() {
            Some(inputs) => inputs.send(input).await.is_ok(),
            None => false,
        }
    }
}

/// Performs the effects of a projection node.
#[derive(Debug)]
pub struct ProjectionEdge {
    broker: Broker,
    inputs: mpsc::WeakSender<Input>,
    runtime: Handle,
    consumers: BTreeMap<Name, (ConsumerEdge<ViewSink>, Unsettled)>,
    drained: Option<Report>,
}

impl ProjectionEdge {
    /// An edge over a broker whose reports go to `inputs`.
    #[must_use]
    pub fn new(broker: Broker, inputs: &mpsc::Sender<Input>, runtime: Handle) -> Self {
        Self { broker, inputs: inputs.downgrade(), runtime, consumers: BTreeMap::new(), drained: None }
    }
}

impl Edge<Projection> for ProjectionEdge {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Gate { view, effect } => {
                let (consumer, unsettled) = self.consumers.entry(view.clone()).or_insert_with(|| {
                    let unsettled = Unsettled::default();
                    let sink = ViewSink { view, inputs: self.inputs.clone(), unsettled: unsettled.clone() };
                    (ConsumerEdge::new(self.broker.clone(), sink, self.runtime.clone()), unsettled)
                });
                unsettled.asked(&effect);
                attention::quarantined("projection", &effect);
                consumer.perform(effect);
            }
            Effect::Drained(report) => self.drained = Some(report),
        }
    }

    fn recovered(&mut self) {
        self.consumers.clear();
    }

    fn observe(&self, machine: &Projection, store: &Figures) {
        let (used, size) = store.usage();
        telemetry::storage("projection", used, size);
        let quarantine = machine.quarantine();
        telemetry::dead_letters("projection", quarantine.parked(), quarantine.keys());
        for (_, gate) in machine.gates() {
            telemetry::consumer(
                "projection",
                gate.consumer().as_str(),
                gate.pending(),
                gate.checkpoint().seq,
            );
        }
    }

    fn not_ready(&self, machine: &Projection) -> Vec<String> {
        machine.not_ready()
    }

    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }

    fn drained(&mut self) -> Option<Report> {
        self.drained.take()
    }
}

/// Answers queries.
#[derive(Clone, Debug)]
pub struct Queries {
    views: BTreeSet<Name>,
    tenants: watch::Receiver<Tenants>,
    snapshots: Snapshots,
}

impl Queries {
    /// Over the views of a node, for its tenants, and the snapshots of its store.
    #[must_use]
    pub const fn new(views: BTreeSet<Name>, tenants: watch::Receiver<Tenants>, snapshots: Snapshots) -> Self {
        Self { views, tenants, snapshots }
    }

    fn scope(&self, tenant: &str, view: &str) -> Result<(TenantId, Name), Status> {
        let tenant = TenantId::parse(tenant).map_err(|error| invalid("tenant_id", &error))?;
        let view = Name::parse(view).map_err(|error| invalid("view", &error))?;
        if !self.views.contains(&view) {
            return Err(Status::not_found(format!("there is no view `{view}`")));
        }
        // The gateway asks another partition then.
        if !self.tenants.borrow().has(&tenant) {
            return Err(Status::failed_precondition("this partition does not have the tenant"));
        }
        Ok((tenant, view))
    }
}

fn invalid(field: &str, error: &dyn Display) -> Status {
    Status::invalid_argument(format!("{field}: {error}"))
}

fn unavailable(error: &dyn Display) -> Status {
    tracing::error!(%error, "a query cannot read the store");
    Status::unavailable("the store cannot be read")
}

fn row(row: query::Row) -> wire::Row {
    let value = serde_json::to_vec(&row.value).expect("JSON values serialise");
    wire::Row { id: row.id.to_string(), seq: row.seq, value }
}

#[tonic::async_trait]
impl QueryService for Queries {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let GetRequest { tenant_id, view, id } = request.into_inner();
        let (tenant, view) = self.scope(&tenant_id, &view)?;
        let id = EntityId::parse(&id).map_err(|error| invalid("id", &error))?;
        let found = self
            .snapshots
            .read(|rows| query::get(rows, &tenant, &view, &id))
            .map_err(|fault| unavailable(&fault))?
            .map_err(|halt| unavailable(&halt))?;
        Ok(Response::new(GetResponse { row: found.map(row) }))
    }

    async fn list(&self, request: Request<ListRequest>) -> Result<Response<ListResponse>, Status> {
        let ListRequest { tenant_id, view, after, limit } = request.into_inner();
        let (tenant, view) = self.scope(&tenant_id, &view)?;
        let after = if after.is_empty() {
            None
        } else {
            Some(EntityId::parse(&after).map_err(|error| invalid("after", &error))?)
        };
        let limit = match usize::try_from(limit).unwrap_or(usize::MAX) {
            0 => LIMIT_DEFAULT,
            limit if limit <= LIMIT_MAX => limit,
            limit => return Err(invalid("limit", &format!("{limit} is more than {LIMIT_MAX}"))),
        };
        let snapshots = self.snapshots.clone();
        // A page may be megabytes: it must not hold up the runtime's threads.
        let page = tokio::task::spawn_blocking(move || {
            snapshots.read(|rows| query::list(rows, &tenant, &view, after.as_ref(), limit))
        });
        let page = page
            .await
            .map_err(|error| unavailable(&error))?
            .map_err(|fault| unavailable(&fault))?
            .map_err(|halt| unavailable(&halt))?;
        let next = page.next.map(|id| id.to_string()).unwrap_or_default();
        Ok(Response::new(ListResponse { rows: page.rows.into_iter().map(row).collect(), next }))
    }
}
