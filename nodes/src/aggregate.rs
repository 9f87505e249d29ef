//! The aggregate node: performs what its machine asks for, and takes commands over gRPC.

use crate::partition::Edge;
use crate::proto::command::command_service_server::CommandService;
use crate::proto::command::submit_response::Outcome as WireOutcome;
use crate::proto::command::{self as wire, SubmitRequest, SubmitResponse};
use crate::telemetry::{self, traces};
use cloudlysis_core::Outcome;
use cloudlysis_core::aggregate::{Aggregate, Effect, Input, Reply, RequestId, StoredEvents, Tail};
use cloudlysis_core::drain::Report;
use cloudlysis_core::program::contract::Refusal;
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::wire::answer::publish_outcome;
use cloudlysis_core::wire::context::{Context, TraceParent};
use cloudlysis_core::wire::envelope::{Command, PAYLOAD_BYTES_MAX};
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_io_nats::broker::{ApiAnswer, Broker, Which};
use cloudlysis_io_nats::consumer::inspect;
use cloudlysis_io_nats::store::Figures;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};
use tracing::Instrument;

/// Callers that wait for an answer.
#[derive(Clone, Debug, Default)]
struct Waiting(Arc<Mutex<BTreeMap<RequestId, oneshot::Sender<Reply>>>>);

impl Waiting {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<RequestId, oneshot::Sender<Reply>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Performs the effects of an aggregate node.
#[derive(Debug)]
pub struct AggregateEdge {
    broker: Broker,
    inputs: mpsc::WeakSender<Input>,
    runtime: Handle,
    waiting: Waiting,
    drained: Option<Report>,
}

/// The gRPC side: turns requests into commands and waits for their answers.
#[derive(Clone, Debug)]
pub struct Commands {
    // Weak: a listener that still serves must not keep a partition from ending.
    inputs: mpsc::WeakSender<Input>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
}

/// The two sides of an aggregate node.
#[must_use]
pub fn node(broker: Broker, inputs: &mpsc::Sender<Input>, runtime: Handle) -> (AggregateEdge, Commands) {
    let waiting = Waiting::default();
    let edge = AggregateEdge {
        broker,
        inputs: inputs.downgrade(),
        runtime,
        waiting: waiting.clone(),
        drained: None,
    };
    (edge, Commands { inputs: inputs.downgrade(), waiting, next: Arc::new(AtomicU64::new(1)) })
}

impl Edge<Aggregate> for AggregateEdge {
    fn perform(&mut self, effect: Effect) {
        let (broker, inputs) = (self.broker.clone(), self.inputs.clone());
        let report = move |input| async move {
            if let Some(inputs) = inputs.upgrade() {
                // An error means that the partition has ended.
                drop(inputs.send(input).await);
            }
        };
        match effect {
            Effect::Inspect { token, look_at } => {
                self.runtime.spawn(async move {
                    let outcome = inspect(&broker, PlatformStream::AggregateEvents, None, &look_at).await;
                    report(Input::Inspected { token, outcome }).await;
                });
            }
            Effect::Load { token, subject, from_seq, messages_max } => {
                self.runtime.spawn(async move {
                    let outcome = load(&broker, &subject, from_seq, messages_max).await;
                    report(Input::Loaded { token, outcome }).await;
                });
            }
            Effect::Append { token, subject, headers, payload } => {
                let span = traces::publish(&subject, &headers);
                self.runtime.spawn(async move {
                    let answer = broker.publish(subject, &headers, payload).instrument(span.clone()).await;
                    let outcome = publish_outcome(answer, Quirks::NONE);
                    traces::sent(&span, &outcome);
                    drop(span);
                    report(Input::Appended { token, outcome }).await;
                });
            }
            Effect::Reply { request, reply } => {
                if let Some(caller) = self.waiting.locked().remove(&request) {
                    // An error means that the caller has gone.
                    drop(caller.send(reply));
                }
            }
            Effect::Drained(report) => self.drained = Some(report),
        }
    }

    fn recovered(&mut self) {
        // Dropping the senders tells the callers that the outcome is unknown.
        self.waiting.locked().clear();
    }

    fn observe(&self, machine: &Aggregate, store: &Figures) {
        let (used, size) = store.usage();
        telemetry::storage("aggregate", used, size);
        telemetry::commands(machine.commands());
    }

    fn not_ready(&self, machine: &Aggregate) -> Vec<String> {
        machine.not_ready().map(str::to_owned).into_iter().collect()
    }

    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }

    fn drained(&mut self) -> Option<Report> {
        self.drained.take()
    }
}

/// Reads an aggregate's messages one by one from the stream's leader.
async fn load(
    broker: &Broker,
    subject: &str,
    from_seq: u64,
    messages_max: usize,
) -> Outcome<Tail, std::convert::Infallible> {
    let mut messages = Vec::new();
    let mut next = from_seq;
    while messages.len() < messages_max {
        match broker.message(PlatformStream::AggregateEvents.name(), Which::NextOn(subject, next)).await {
            ApiAnswer::Ok(Some(message)) => {
                next = message.seq + 1;
                messages.push(StoredEvents {
                    seq: message.seq,
                    headers: message.headers,
                    payload: message.payload,
                });
            }
            ApiAnswer::Ok(None) => return Outcome::Done(Tail { messages, complete: true }),
            ApiAnswer::Error(_) | ApiAnswer::NoAnswer => return Outcome::Unknown,
        }
    }
    Outcome::Done(Tail { messages, complete: false })
}

impl Commands {
    /// Hands a command to the partition and waits for its answer.
    pub(crate) async fn submit(&self, command: Command) -> Reply {
        let request = RequestId(self.next.fetch_add(1, Ordering::Relaxed));
        let (answer, answered) = oneshot::channel();
        self.waiting.locked().insert(request, answer);
        let guard = Forget { request, waiting: self.waiting.clone() };
        let Some(inputs) = self.inputs.upgrade() else { return Reply::Busy { reason: "node_stopped" } };
        let sent = inputs.try_send(Input::Commanded { request, command });
        drop(inputs);
        if sent.is_err() {
            return Reply::Busy { reason: "node_busy" };
        }
        let reply = answered.await.unwrap_or(Reply::Unknown);
        drop(guard);
        reply
    }
}

/// A caller that goes away stops waiting.
struct Forget {
    request: RequestId,
    waiting: Waiting,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.waiting.locked().remove(&self.request);
    }
}

#[tonic::async_trait]
impl CommandService for Commands {
    async fn submit(&self, request: Request<SubmitRequest>) -> Result<Response<SubmitResponse>, Status> {
        let reply = match parse(request.into_inner()) {
            Ok(command) => {
                let Context { correlation_id, traceparent, .. } = &command.context;
                tracing::debug!(
                    tenant_id = %command.tenant,
                    correlation_id,
                    trace_id = traceparent.as_ref().map(TraceParent::trace_id),
                    aggregate = %command.aggregate,
                    id = %command.id,
                    command = %command.name,
                    "command"
                );
                Commands::submit(self, command).await
            }
            Err(refusal) => Reply::Invalid(refusal),
        };
        Ok(Response::new(SubmitResponse { outcome: Some(outcome(reply)) }))
    }
}

fn outcome(reply: Reply) -> WireOutcome {
    let refusal = |Refusal { code, message }| wire::Refusal { code, message };
    match reply {
        Reply::Accepted { command_id, seq, version, duplicate } => WireOutcome::Accepted(wire::Accepted {
            command_id: command_id.to_string(),
            stream_seq: seq,
            version,
            duplicate,
        }),
        Reply::Refused(why) => WireOutcome::Refused(refusal(why)),
        Reply::Invalid(why) => WireOutcome::Invalid(refusal(why)),
        Reply::Busy { reason } => WireOutcome::Busy(wire::Busy { reason: reason.to_owned() }),
        Reply::Unknown => WireOutcome::Unknown(wire::Unknown {}),
        Reply::Unreadable { detail } => WireOutcome::Unreadable(wire::Unreadable { detail }),
    }
}

/// Parses what came over the wire; what is wrong is a refusal that names the field.
fn parse(request: SubmitRequest) -> Result<Command, Refusal> {
    let wrong = |field: &str, error: &dyn std::fmt::Display| Refusal {
        code: format!("invalid_{field}"),
        message: format!("{field}: {error}"),
    };
    if request.payload.len() > PAYLOAD_BYTES_MAX {
        let bytes = request.payload.len();
        return Err(Refusal {
            code: "payload_too_large".into(),
            message: format!("payload: {bytes} bytes; at most {PAYLOAD_BYTES_MAX} are allowed"),
        });
    }
    let payload = if request.payload.is_empty() {
        serde_json::Value::Null
    } else {
        serde_json::from_slice(&request.payload).map_err(|error| wrong("payload", &error))?
    };
    let given = request.context.unwrap_or_default();
    let lookup = |name: &str| {
        let value = match name {
            "x-correlation-id" => &given.correlation_id,
            "traceparent" => &given.traceparent,
            "tracestate" => &given.tracestate,
            "x-causation-id" => &given.causation_id,
            _ => return None,
        };
        (!value.is_empty()).then_some(value.as_str())
    };
    Ok(Command {
        tenant: TenantId::parse(&request.tenant_id).map_err(|error| wrong("tenant_id", &error))?,
        aggregate: Name::parse(&request.aggregate_type).map_err(|error| wrong("aggregate_type", &error))?,
        id: EntityId::parse(&request.aggregate_id).map_err(|error| wrong("aggregate_id", &error))?,
        name: Name::parse(&request.command).map_err(|error| wrong("command", &error))?,
        payload,
        command_id: CommandId::parse(&request.command_id).map_err(|error| wrong("command_id", &error))?,
        context: Context::extract(lookup, &request.command_id),
        record_refusal: request.record_refusal,
    })
}
