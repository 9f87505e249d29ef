//! The runner node: feeds its machine from three streams, and performs what leaves: commands, messages, effects.

use crate::admin::operator::{Operator, Waiting};
use crate::partition::Edge;
use crate::proto::command::command_service_client::CommandServiceClient;
use crate::proto::command::submit_response::Outcome as WireOutcome;
use crate::proto::command::{self as wire, SubmitRequest};
use crate::telemetry::unsettled::Unsettled;
use crate::telemetry::{self, attention, carried, traces};
use cloudlysis_core::drain::Report;
use cloudlysis_core::effect::{self, NotSent};
use cloudlysis_core::manifest::{App, BuiltinRequest, EffectRequest};
use cloudlysis_core::outbox::{self, CommandAccepted, CommandRefused, Found, Place, Target};
use cloudlysis_core::program::contract::Refusal;
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::runner::{Effect, Input, Runner, Source};
use cloudlysis_core::saga::Finished;
use cloudlysis_core::wire::answer::publish_outcome;
use cloudlysis_core::wire::context::TraceParent;
use cloudlysis_core::wire::envelope::Command;
use cloudlysis_core::wire::headers::NATS_MSG_ID;
use cloudlysis_core::{Outcome, Token};
use cloudlysis_io_nats::broker::{ApiAnswer, Broker, Which};
use cloudlysis_io_nats::clock::Clock;
use cloudlysis_io_nats::connect::Connection;
use cloudlysis_io_nats::consumer::{ConsumerEdge, Report as ConsumerReport, ReportSink};
use cloudlysis_io_nats::http::{HttpProvider, SetupError};
use cloudlysis_io_nats::secrets::Secrets;
use cloudlysis_io_nats::service::ServiceProvider;
use cloudlysis_io_nats::store::Figures;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tonic::Request;
use tonic::transport::Channel;
use tracing::{Instrument, Span};

/// Hands what a stream's consumer reports to the partition.
#[derive(Clone, Debug)]
struct SourceSink {
    source: Source,
    inputs: mpsc::WeakSender<Input>,
    unsettled: Unsettled,
}

impl ReportSink for SourceSink {
    async fn report(&self, report: ConsumerReport) -> bool {
        let source = self.source;
        let input = match report {
            ConsumerReport::Delivered(delivery) => {
                self.unsettled.delivered("runner", None, source.stream(), &delivery);
                Input::Delivered { source, delivery }
            }
            ConsumerReport::Input(input) => Input::Gate { source, input },
        };
        match self.inputs.upgrade() {
            Some(inputs) => inputs.send(input).await.is_ok(),
            None => false,
        }
    }
}

/// Where a runner's work goes.
#[derive(Clone, Debug)]
pub struct Targets {
    /// The broker.
    pub broker: Broker,
    /// Commands for aggregates.
    pub commands: Channel,
    /// How long each may take.
    pub command_deadline: Duration,
    /// What is run, and by whom its effects are carried out; a reload changes it.
    pub application: watch::Receiver<Application>,
    /// Who is told that a saga has finished.
    pub watcher: Watcher,
}

/// What a runner runs.
#[derive(Clone, Debug)]
pub struct Application {
    /// The manifests.
    pub app: Arc<App>,
    /// Effects over HTTP, where they may call.
    pub http: HttpProvider,
    /// Effects by NATS services, where they may call.
    pub services: ServiceProvider,
}

impl Application {
    /// An application whose effects reach NATS services over this connection, and take their secrets from here.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(app: Arc<App>, connection: &Connection, secrets: &Secrets) -> Result<Self, SetupError> {
        let http = HttpProvider::new(app.egress.clone(), secrets.clone())?;
        let services = ServiceProvider::new(connection.clone(), app.egress.clone(), secrets.clone());
        Ok(Self { app, http, services })
    }

    /// Makes one call under an idempotency key.
    async fn execute(
        &self,
        request: EffectRequest,
        idempotency_key: &str,
        timeout: Duration,
    ) -> Outcome<effect::Answered, NotSent> {
        match request {
            EffectRequest::Http(request) => self.http.execute(&request, idempotency_key, timeout).await,
            EffectRequest::Nats(request) => self.services.execute(&request, idempotency_key, timeout).await,
            EffectRequest::Builtin(BuiltinRequest { status, body, delay_ms }) => {
                let delay = Duration::from_millis(delay_ms);
                tokio::time::sleep(delay.min(timeout)).await;
                if delay > timeout {
                    return Outcome::Unknown;
                }
                Outcome::Done(effect::Answered { status, body })
            }
        }
    }
}

/// Is told of every saga instance that finishes, after the commit; on the partition's thread, so it must not wait.
#[derive(Clone, Default)]
pub struct Watcher(Option<Arc<dyn Fn(Finished) + Send + Sync>>);

impl Watcher {
    /// A watcher that calls this.
    pub fn new(told: impl Fn(Finished) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(told)))
    }

    fn tell(&self, finished: Finished) {
        if let Some(told) = &self.0 {
            told(finished);
        }
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watcher" } else { "nobody" })
    }
}

/// Performs the effects of a runner node.
#[derive(Debug)]
pub struct RunnerEdge {
    targets: Targets,
    inputs: mpsc::WeakSender<Input>,
    runtime: Handle,
    consumers: BTreeMap<Source, (ConsumerEdge<SourceSink>, Unsettled)>,
    waiting: Waiting,
    drained: Option<Report>,
}

impl RunnerEdge {
    /// An edge whose reports go to `inputs`.
    #[must_use]
    pub fn new(targets: Targets, inputs: &mpsc::Sender<Input>, runtime: Handle) -> Self {
        let (inputs, waiting) = (inputs.downgrade(), Waiting::default());
        Self { targets, inputs, runtime, consumers: BTreeMap::new(), waiting, drained: None }
    }

    /// Who asks this runner on behalf of operators.
    #[must_use]
    pub fn operator(&self) -> Operator {
        Operator::new(self.inputs.clone(), self.waiting.clone())
    }

    fn spawn_and_report(&self, work: impl Future<Output = Input> + Send + 'static) {
        let inputs = self.inputs.clone();
        self.runtime.spawn(async move {
            let input = work.await;
            if let Some(inputs) = inputs.upgrade() {
                // An error means that the partition has ended.
                drop(inputs.send(input).await);
            }
        });
    }

    /// For what is known already. A channel that is full is waited for elsewhere: this is the thread that empties it.
    fn report_now(&self, input: Input) {
        let Some(inputs) = self.inputs.upgrade() else { return };
        match inputs.try_send(input) {
            // Closed: the partition has ended.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(input)) => self.spawn_and_report(async move { input }),
        }
    }

    fn leave(&self, effect: outbox::Effect) {
        let broker = self.targets.broker.clone();
        let started = Instant::now();
        match effect {
            outbox::Effect::Submit { token, command } => {
                let client = CommandServiceClient::new(self.targets.commands.clone());
                let deadline = self.targets.command_deadline;
                let span = traces::submit(&command);
                self.spawn_and_report(async move {
                    let outcome = submit(client, command, deadline).instrument(span.clone()).await;
                    telemetry::outbox_dispatch(
                        Target::Aggregates,
                        telemetry::ended(&outcome),
                        started.elapsed(),
                    );
                    traces::sent(&span, &outcome);
                    Input::Outbox(outbox::Input::CommandAnswered { token, outcome })
                });
            }
            outbox::Effect::Publish { token, stream, subject, headers, payload } => {
                let target = Target::of_stream(stream);
                let span = traces::send(target, &subject, &headers);
                self.spawn_and_report(async move {
                    let answer =
                        broker.publish(subject, &headers, payload.into()).instrument(span.clone()).await;
                    let outcome = publish_outcome(answer, Quirks::NONE);
                    telemetry::outbox_dispatch(target, telemetry::ended(&outcome), started.elapsed());
                    traces::sent(&span, &outcome);
                    Input::Outbox(outbox::Input::PublishAnswered { token, outcome })
                });
            }
            outbox::Effect::Look { token, stream, subject, place } => {
                self.spawn_and_report(async move {
                    let which = match place {
                        Place::First => Which::NextOn(&subject, 1),
                        Place::Last => Which::LastOn(&subject),
                    };
                    let outcome = match broker.message(stream.name(), which).await {
                        ApiAnswer::Ok(None) => Outcome::Done(Found::Nothing),
                        ApiAnswer::Ok(Some(message)) => Outcome::Done(Found::Message {
                            seq: message.seq,
                            msg_id: message.headers.get(NATS_MSG_ID).map(str::to_owned),
                        }),
                        ApiAnswer::Error(_) | ApiAnswer::NoAnswer => Outcome::Unknown,
                    };
                    Input::Outbox(outbox::Input::Looked { token, outcome })
                });
            }
        }
    }

    fn call(&self, effect: effect::Effect) {
        let effect::Effect::Execute {
            token,
            tenant,
            effect,
            idempotency_key,
            attempt,
            request,
            timeout_ms,
            context,
        } = effect;
        let span = traces::effect(&tenant, &effect, attempt, context.as_ref());
        let request = match request {
            // Nothing to wait for: a task of its own would only cost time.
            EffectRequest::Builtin(BuiltinRequest { status, body, delay_ms: 0 }) => {
                let outcome = Outcome::Done(effect::Answered { status, body });
                telemetry::effect_attempt(effect.as_str(), &outcome, Duration::ZERO);
                traces::called(&span, &outcome);
                return self.report_now(returned(token, outcome));
            }
            mut other @ (EffectRequest::Http(_) | EffectRequest::Nats(_) | EffectRequest::Builtin(_)) => {
                carried::take_along(&span, context.as_ref(), &mut other);
                other
            }
        };
        let application = self.targets.application.borrow().clone();
        let work = async move {
            let started = Instant::now();
            let timeout = Duration::from_millis(timeout_ms);
            let outcome = application.execute(request, &idempotency_key, timeout).await;
            let correlation_id = context.as_ref().map(|context| context.correlation_id.as_str());
            telemetry::effect_attempt(effect.as_str(), &outcome, started.elapsed());
            if !matches!(outcome, Outcome::Done(_)) {
                let ended = telemetry::called(&outcome);
                tracing::warn!(
                    tenant_id = %tenant, correlation_id, %effect, key = idempotency_key, attempt, ended, "effect"
                );
            }
            traces::called(&Span::current(), &outcome);
            returned(token, outcome)
        };
        self.spawn_and_report(work.instrument(span));
    }
}

fn returned(token: Token, outcome: Outcome<effect::Answered, NotSent>) -> Input {
    Input::Effect(effect::Input::Returned { token, outcome })
}

impl Edge<Runner> for RunnerEdge {
    fn perform(&mut self, effect: Effect) {
        match effect {
            Effect::Gate { source, effect } => {
                let (consumer, unsettled) = self.consumers.entry(source).or_insert_with(|| {
                    let unsettled = Unsettled::default();
                    let sink =
                        SourceSink { source, inputs: self.inputs.clone(), unsettled: unsettled.clone() };
                    (ConsumerEdge::new(self.targets.broker.clone(), sink, self.runtime.clone()), unsettled)
                });
                unsettled.asked(&effect);
                attention::quarantined("runner", &effect);
                consumer.perform(effect);
            }
            Effect::Outbox(effect) => self.leave(effect),
            Effect::Effect(effect) => self.call(effect),
            Effect::Left(waited) => telemetry::outbox_left(waited),
            Effect::Finished(finished) => {
                telemetry::saga_finished(&finished);
                self.targets.watcher.tell(finished);
            }
            Effect::Answered(answered) => self.waiting.answered(*answered),
            Effect::Drained(report) => self.drained = Some(report),
        }
    }

    fn recovered(&mut self) {
        self.waiting.forget();
        self.consumers.clear();
    }

    fn observe(&self, machine: &Runner, store: &Figures) {
        let (used, size) = store.usage();
        telemetry::storage("runner", used, size);
        let (outbox, effects) = (machine.outbox(), machine.effects());
        let timers = machine.schedule().pending();
        telemetry::runner(effects.durable(), effects.in_flight(), timers);
        for (target, load) in outbox.loads() {
            telemetry::outbox(target, load);
        }
        telemetry::outbox_oldest(
            outbox.oldest().map(|at| Clock::default().now().wall.as_ms().saturating_sub(at.as_ms())),
        );
        telemetry::schedules(machine.recurring());
        telemetry::circuits(effects.held(), effects.circuits());
        telemetry::limited(effects.queued());
        let quarantine = machine.quarantine();
        telemetry::dead_letters("runner", quarantine.parked(), quarantine.keys());
        for (_, gate) in machine.gates() {
            telemetry::consumer("runner", gate.consumer().as_str(), gate.pending(), gate.checkpoint().seq);
        }
    }

    fn not_ready(&self, machine: &Runner) -> Vec<String> {
        machine.not_ready()
    }

    fn stopped(deadline_ms: u64) -> Input {
        Input::Stopped { deadline_ms }
    }

    fn drained(&mut self) -> Option<Report> {
        self.drained.take()
    }
}

/// Submits a command; whatever is not an answer proves nothing.
async fn submit(
    mut client: CommandServiceClient<Channel>,
    command: Command,
    deadline: Duration,
) -> Outcome<CommandAccepted, CommandRefused> {
    let context = &command.context;
    let mut request = Request::new(SubmitRequest {
        tenant_id: command.tenant.to_string(),
        aggregate_type: command.aggregate.to_string(),
        aggregate_id: command.id.to_string(),
        command: command.name.to_string(),
        payload: serde_json::to_vec(&command.payload).expect("JSON values serialise"),
        command_id: command.command_id.to_string(),
        context: Some(wire::Context {
            correlation_id: context.correlation_id.clone(),
            traceparent: context.traceparent.as_ref().map(TraceParent::as_str).unwrap_or_default().to_owned(),
            tracestate: context.tracestate.clone().unwrap_or_default(),
            causation_id: context.causation_id.clone().unwrap_or_default(),
        }),
        record_refusal: command.record_refusal,
    });
    request.set_timeout(deadline);
    let Ok(response) = client.submit(request).await else { return Outcome::Unknown };
    let refusal = |wire::Refusal { code, message }| {
        Outcome::Refused(CommandRefused::Refusal(Refusal { code, message }))
    };
    match response.into_inner().outcome {
        Some(WireOutcome::Accepted(accepted)) => {
            Outcome::Done(CommandAccepted { seq: accepted.stream_seq, version: accepted.version })
        }
        Some(WireOutcome::Refused(why) | WireOutcome::Invalid(why)) => refusal(why),
        Some(WireOutcome::Unreadable(wire::Unreadable { detail })) => {
            refusal(wire::Refusal { code: "aggregate_unreadable".into(), message: detail })
        }
        Some(WireOutcome::Busy(_)) => Outcome::Refused(CommandRefused::Busy),
        Some(WireOutcome::Unknown(_)) | None => Outcome::Unknown,
    }
}
