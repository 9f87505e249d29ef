//! `runner.admin.v1.RunnerAdmin`: what operators do over gRPC, on the listener of a running node.

use crate::timers::ALARM;
use crate::world::shop::Command;
use crate::world::{Node, SOON, World, eventually};
use cloudlysis_core::wire::answer::PublishAnswer;
use cloudlysis_core::wire::headers::Headers;
use cloudlysis_nodes::proto::admin::runner_admin_client::RunnerAdminClient;
use cloudlysis_nodes::proto::admin::runner_admin_server::SERVICE_NAME;
use cloudlysis_nodes::proto::admin::schedule::asked::What as AskedFor;
use cloudlysis_nodes::proto::admin::{self as wire, waits_for::What};
use futures_util::stream;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

const TOKEN: &str = "the-token-of-this-node";

/// Shows a token with every call, if it has one.
#[derive(Clone, Copy)]
pub(crate) struct Shows(Option<&'static str>);

impl Interceptor for Shows {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = self.0 {
            let shown = format!("Bearer {token}").parse().expect("a value of metadata");
            request.metadata_mut().insert("authorization", shown);
        }
        Ok(request)
    }
}

pub(crate) type Admin = RunnerAdminClient<InterceptedService<Channel, Shows>>;

async fn channel(node: &Node) -> Channel {
    let endpoint = Endpoint::from_shared(node.url()).expect("an address");
    endpoint.connect().await.expect("a listener that speaks HTTP/2")
}

pub(crate) async fn admin(node: &Node, token: Option<&'static str>) -> Admin {
    RunnerAdminClient::with_interceptor(channel(node).await, Shows(token))
}

/// What a refusal says to machines.
pub(crate) fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.expect_err("a refusal");
    let code = status.metadata().get("problem-code").and_then(|code| code.to_str().ok());
    (status.code(), code.unwrap_or_default().to_owned())
}

pub(crate) fn is(code: Code, problem: &str) -> (Code, String) {
    (code, problem.to_owned())
}

fn alarm(correlation: &str) -> wire::SagaKey {
    wire::SagaKey { tenant_id: "acme".into(), saga: "alarm".into(), correlation: correlation.into() }
}

fn change(correlation: &str, reason: &str) -> wire::ChangeSagaRequest {
    wire::ChangeSagaRequest { key: Some(alarm(correlation)), reason: reason.into() }
}

fn show(correlation: &str) -> wire::ShowSagaRequest {
    wire::ShowSagaRequest { key: Some(alarm(correlation)) }
}

async fn health(node: &Node, service: &str) -> Result<ServingStatus, Status> {
    let mut client = HealthClient::new(channel(node).await);
    let answer = client.check(HealthCheckRequest { service: service.to_owned() }).await?;
    Ok(answer.into_inner().status())
}

/// Waits until health says this; it looks at readiness twice a second.
async fn health_becomes(node: &Node, service: &str, status: ServingStatus) {
    let what = format!("the health of `{service}` becomes {status:?}");
    eventually(&what, SOON, async || match health(node, service).await {
        Ok(own) if own == status => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// The services that a listener names.
async fn services(node: &Node) -> Vec<String> {
    let all = MessageRequest::ListServices(String::new());
    let asked = ServerReflectionRequest { host: String::new(), message_request: Some(all) };
    let mut client = ServerReflectionClient::new(channel(node).await);
    let answers = client.server_reflection_info(stream::iter([asked])).await.expect("reflection");
    let answer = answers.into_inner().message().await.expect("an answer").expect("one").message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = answer else { panic!("{answer:?}") };
    list.service.into_iter().map(|own| own.name).collect()
}

pub(crate) async fn operators_use_grpc_as_they_use_http(world: World) {
    let app = world.application_with(&[("sagas/alarm.yaml", ALARM)]);
    let file = world.data("token");
    fs::write(&file, TOKEN).expect("written");
    let token = ["--admin-token-file", file.to_str().expect("a path that is text")];
    let mut node = world.start_dev_of(app.to_str().expect("a path that is text"), "data", &token).await;
    node.ready().await;
    let mut operator = admin(&node, Some(TOKEN)).await;

    for token in [None, Some("the-token-of-another")] {
        let answer = admin(&node, token).await.list_sagas(wire::ListSagasRequest::default()).await;
        assert_eq!(refused(answer), is(Code::Unauthenticated, "unauthorised"));
    }
    for service in ["", SERVICE_NAME] {
        health_becomes(&node, service, ServingStatus::Serving).await;
    }
    let named = services(&node).await;
    for service in [SERVICE_NAME, "aggregate.gateway.v1.CommandService", "grpc.health.v1.Health"] {
        assert!(named.iter().any(|own| own == service), "{service}: {named:?}");
    }

    a_saga_is_shown_paused_and_cancelled(&node, &mut operator).await;
    what_is_held_back_is_found(&world, &mut operator).await;

    let report =
        operator.drain(wire::DrainRequest { deadline_ms: None }).await.expect("a report").into_inner();
    let all = wire::Left { clean: true, in_flight: 0, waiting: 0 };
    assert_eq!(report.all, Some(all));
    assert_eq!(report.nodes.len(), 3, "{report:?}");
    health_becomes(&node, SERVICE_NAME, ServingStatus::NotServing).await;
    let answer = operator.pause_saga(change("o-1", "too late")).await;
    assert_eq!(refused(answer), is(Code::Unavailable, "node_draining"));
}

async fn a_saga_is_shown_paused_and_cancelled(node: &Node, operator: &mut Admin) {
    let shop = node.shop();
    shop.accepted(&Command::add_stock("acme", "tea", 10)).await;
    shop.accepted(&Command::place("acme", "o-1")).await;
    let of_alarm = wire::ListSagasRequest { saga: "alarm".into(), open: true, ..Default::default() };
    let listed = eventually("the alarm is set", SOON, async || {
        let page = operator.clone().list_sagas(of_alarm.clone()).await;
        let mut instances = page.map_err(|status| status.to_string())?.into_inner().instances;
        instances.pop().ok_or_else(|| "none".to_owned())
    })
    .await;
    assert_eq!((listed.tenant_id.as_str(), listed.correlation.as_str()), ("acme", "o-1"));
    assert_eq!((listed.status.as_str(), listed.paused), ("running", false));
    let elsewhere = wire::ListSagasRequest { tenant_id: Some("globex".into()), ..of_alarm };
    let page = operator.list_sagas(elsewhere).await.expect("a page").into_inner();
    assert_eq!(page.instances, []);

    for changed in [true, false] {
        let paused = operator.pause_saga(change("o-1", "do not wake the baby")).await.expect("done");
        let paused = paused.into_inner();
        assert_eq!((paused.status.as_str(), paused.paused, paused.changed), ("running", true, changed));
    }
    let shown = operator.show_saga(show("o-1")).await.expect("an instance").into_inner();
    assert_eq!(shown.key, Some(alarm("o-1")));
    assert_eq!(shown.paused.as_ref().map(|own| own.reason.as_str()), Some("do not wake the baby"));
    let state: Value = serde_json::from_slice(&shown.state).expect("JSON");
    assert_eq!(state["rung"], json!(0));
    let waits_for =
        |wanted: fn(&What) -> bool| shown.waits_for.iter().filter_map(|own| own.what.as_ref()).any(wanted);
    assert!(waits_for(|what| matches!(what, What::Resume(own) if own.reason.contains("baby"))), "{shown:?}");
    assert!(waits_for(|what| matches!(what, What::Timer(own) if own.name == "patience")), "{shown:?}");
    assert_eq!(shown.today.as_deref(), Some(shown.reacts_by.as_str()));

    let resume = wire::ResumeSagaRequest { key: Some(alarm("o-1")) };
    let resumed = operator.resume_saga(resume).await.expect("done").into_inner();
    assert_eq!((resumed.paused, resumed.changed), (false, true));
    let answer = operator.pause_saga(change("o-1", "")).await;
    let said = answer.as_ref().err().map(|status| status.message().to_owned()).unwrap_or_default();
    assert!(said.starts_with("`reason`: "), "{said}");
    assert_eq!(refused(answer), is(Code::InvalidArgument, "invalid_reason"));
    let signal = |name: &str| wire::SignalSagaRequest {
        key: Some(alarm("o-1")),
        signal: name.into(),
        payload: b"{".to_vec(),
        idempotency_key: None,
    };
    assert_eq!(
        refused(operator.signal_saga(signal("stop")).await),
        is(Code::InvalidArgument, "invalid_payload")
    );
    let unknown = wire::SignalSagaRequest { payload: Vec::new(), ..signal("go") };
    assert_eq!(refused(operator.signal_saga(unknown).await), is(Code::NotFound, "unknown_signal"));

    let cancelled = operator.cancel_saga(change("o-1", "moved out")).await.expect("done").into_inner();
    assert_eq!((cancelled.status.as_str(), cancelled.changed), ("compensated", true));
    let shown = operator.show_saga(show("o-1")).await.expect("an instance").into_inner();
    assert_eq!(shown.intervention.as_ref().map(|own| own.reason.as_str()), Some("moved out"));
    assert_eq!(shown.waits_for, []);
    let answer = operator.pause_saga(change("o-1", "late")).await;
    assert_eq!(refused(answer), is(Code::FailedPrecondition, "already_finished"));
    assert!(shown.ended_at_ms.is_some() && shown.restarts == 0, "{shown:?}");
    let restart = |dry_run| wire::RestartSagaRequest {
        key: show("o-1").key,
        reason: "moved in again".to_owned(),
        restarts: Some(0),
        dry_run,
    };
    let dry = operator.restart_saga(restart(true)).await.expect("said").into_inner();
    assert_eq!((dry.status.as_str(), dry.changed, dry.asks.is_empty()), ("compensated", false, false));
    let again = operator.restart_saga(restart(false)).await.expect("done").into_inner();
    assert_eq!((again.status.as_str(), again.changed, &again.asks), ("running", true, &dry.asks));
    let repeated = operator.restart_saga(restart(false)).await.expect("done already").into_inner();
    assert_eq!((repeated.status.as_str(), repeated.changed), ("running", false));
    assert_eq!(refused(operator.show_saga(show("o-2")).await), is(Code::NotFound, "instance_not_found"));
    let nameless = operator.show_saga(wire::ShowSagaRequest { key: None }).await;
    assert_eq!(refused(nameless).0, Code::InvalidArgument);
}

async fn what_is_held_back_is_found(world: &World, operator: &mut Admin) {
    const SUBJECT: &str = "tenant.acme.aggregate.order.o-poison";
    let none = operator.list_dead_letters(wire::ListDeadLettersRequest::default()).await;
    assert_eq!(none.expect("a page").into_inner().keys, []);
    let broker = world.broker().await;
    for _ in 0..2 {
        let stored = broker.publish(SUBJECT.into(), &Headers::default(), "this is no event".into()).await;
        assert!(matches!(stored, PublishAnswer::Acked { .. }), "{stored:?}");
    }
    let key = eventually("the runner holds it back", SOON, async || {
        let asked = wire::ListDeadLettersRequest { tenant_id: Some("acme".into()), ..Default::default() };
        let page = operator.clone().list_dead_letters(asked).await;
        let keys = page.map_err(|status| status.to_string())?.into_inner().keys;
        keys.iter().find(|own| own.messages == 2).cloned().ok_or_else(|| format!("{keys:?}"))
    })
    .await;
    assert_eq!(key.tenant_id.as_deref(), Some("acme"));
    let messages = |key: &str| wire::ShowDeadLettersRequest { key: key.to_owned(), ..Default::default() };
    let shown = operator.show_dead_letters(messages(&key.key)).await.expect("a page").into_inner();
    let [message, _] = &shown.messages[..] else { panic!("{shown:?}") };
    assert_eq!((message.subject.as_str(), &message.payload[..]), (SUBJECT, &br#""this is no event""#[..]));
    assert_eq!(refused(operator.show_dead_letters(messages("x")).await), is(Code::NotFound, "key_not_found"));

    let edit = wire::EditDeadLetterRequest {
        key: key.key.clone(),
        position: message.position,
        payload: b"{}".to_vec(),
        reason: "it was a test".into(),
        tenant_id: None,
    };
    assert!(operator.edit_dead_letter(edit).await.expect("edited").into_inner().changed);
    let edited = operator.show_dead_letters(messages(&key.key)).await.expect("a page").into_inner();
    assert_eq!((&edited.messages[0].payload[..], edited.messages[0].payload_bytes), (&b"{}"[..], 2));
    let skip = |position| wire::SkipDeadLetterRequest {
        key: key.key.clone(),
        position,
        reason: "it was a test".into(),
        tenant_id: None,
    };
    let out_of_turn = operator.skip_dead_letter(skip(message.position + 1)).await;
    assert_eq!(refused(out_of_turn), is(Code::FailedPrecondition, "conflict"));
    let skipped = operator.skip_dead_letter(skip(message.position)).await.expect("skipped").into_inner();
    assert_eq!((skipped.messages, skipped.changed), (1, true));

    let (reason, group) = ("it was a test".to_owned(), Some(key.group.clone()));
    let select = wire::SelectDeadLettersRequest { group, reason, ..Default::default() };
    let selected = operator.select_dead_letters(select).await.expect("selected").into_inner();
    let selection = selected.selection.expect("a selection").selection;
    let replay = wire::ReplaySelectionRequest {
        selection: selection.clone(),
        per_second: Some(0),
        ..Default::default()
    };
    let answer = operator.replay_selection(replay).await;
    assert_eq!(refused(answer), is(Code::InvalidArgument, "invalid_per_second"));
    let discard = wire::DiscardSelectionRequest { selection: selection.clone(), ..Default::default() };
    operator.discard_selection(discard).await.expect("begun");
    eventually("it is dropped", SOON, async || {
        let asked = wire::ShowSelectionRequest { selection: selection.clone(), ..Default::default() };
        let shown = operator.clone().show_selection(asked).await.map_err(|status| status.to_string())?;
        let shown = shown.into_inner().selection.unwrap_or_default();
        if (shown.left, shown.discarded) == (0, 1) { Ok(()) } else { Err(format!("{shown:?}")) }
    })
    .await;
}

pub(crate) async fn half_a_runner_says_which_half_it_is(world: World) {
    let room = ["--events-gib", "1", "--workflow-gib", "1", "--bootstrap", "--mode", "effect"];
    let mut node = world.serve("runner", "data", &room).await;
    node.ready().await;
    let mut operator = admin(&node, None).await;
    let named = services(&node).await;
    assert!(named.iter().any(|own| own == SERVICE_NAME), "{named:?}");
    assert!(named.iter().all(|own| !own.contains("CommandService")), "it has none: {named:?}");
    let answer = operator.list_sagas(wire::ListSagasRequest::default()).await;
    assert_eq!(refused(answer), is(Code::Unimplemented, "not_served"));
    let judged = operator.audit_effects(wire::AuditEffectsRequest::default()).await.expect("a page");
    assert_eq!(judged.into_inner(), wire::AuditEffectsResponse::default());
    let unknown = operator.find_unknown_effects(wire::FindUnknownEffectsRequest::default()).await;
    assert_eq!(unknown.expect("an answer").into_inner().stored, 0);
    let long = wire::ReloadRequest { deadline_ms: Some(u64::MAX) };
    assert_eq!(refused(operator.reload(long).await), is(Code::InvalidArgument, "invalid_deadline_ms"));
    let reloaded = operator.reload(wire::ReloadRequest::default()).await.expect("reloaded").into_inner();
    assert_eq!((reloaded.changed, reloaded.clean), (Vec::new(), None), "nothing has changed");
}

pub(crate) async fn a_schedule_does_what_it_is_told_over_grpc(world: World) {
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/beacon");
    let node = world.dev_of(&app, "data").await;
    let mut operator = admin(&node, None).await;
    let key = |name: &str| Some(wire::ScheduleKey { tenant_id: "acme".into(), schedule: name.into() });
    let beats = || key("beats");
    let why = || "a bad deploy".to_owned();
    let last = eventually("it fires", SOON, async || {
        let page = operator.clone().list_schedules(wire::ListSchedulesRequest::default()).await;
        let schedules = page.map_err(|status| status.to_string())?.into_inner().schedules;
        let own = schedules.iter().find(|own| own.key == beats());
        let fired = own.filter(|own| own.when.as_deref() == Some("every 1s")).and_then(|own| own.fired);
        fired.ok_or_else(|| format!("{schedules:?}"))
    })
    .await;
    let pause = wire::PauseScheduleRequest { key: beats(), reason: why() };
    assert!(operator.pause_schedule(pause).await.expect("done").into_inner().paused);

    let trigger = wire::TriggerScheduleRequest { key: beats(), reason: why(), idempotency_key: None };
    let answer = operator.trigger_schedule(trigger.clone()).await;
    assert_eq!(refused(answer), is(Code::InvalidArgument, "invalid_idempotency_key"));
    let trigger = wire::TriggerScheduleRequest { idempotency_key: Some("once".into()), ..trigger };
    let first = eventually("what runs has ended", SOON, async || {
        let done = operator.clone().trigger_schedule(trigger.clone()).await;
        done.map(tonic::Response::into_inner).map_err(|status| status.to_string())
    })
    .await;
    let again = operator.trigger_schedule(trigger).await.expect("done").into_inner();
    assert_eq!((first.changed, again.changed), (true, false));
    assert!(first.occurrence_id.is_some() && first.occurrence_id == again.occurrence_id, "{again:?}");

    let fill = wire::BackfillScheduleRequest {
        key: beats(),
        reason: why(),
        idempotency_key: Some("fill".into()),
        from_ms: Some(last.due_ms),
        to_ms: None,
    };
    let answer = operator.backfill_schedule(fill.clone()).await;
    assert_eq!(refused(answer), is(Code::InvalidArgument, "invalid_to_ms"));
    let fill = wire::BackfillScheduleRequest { to_ms: Some(last.due_ms), ..fill };
    assert_eq!(operator.backfill_schedule(fill).await.expect("begun").into_inner().left, 1);
    let show = |name: &str| wire::ShowScheduleRequest { key: key(name) };
    let shown = operator.show_schedule(show("beats")).await.expect("a schedule").into_inner();
    let shown = shown.schedule.unwrap_or_default();
    assert_eq!(shown.backfill.map(|own| (own.from_ms, own.to_ms)), Some((last.due_ms, last.due_ms)));
    assert_eq!(shown.paused.map(|own| own.reason), Some(why()));
    let asked: Vec<_> = shown.asked.iter().map(wire::schedule::Asked::what).collect();
    assert_eq!(asked, [AskedFor::Trigger, AskedFor::Backfill]);

    let stop = wire::StopBackfillRequest { key: beats(), reason: why() };
    assert_eq!(operator.stop_backfill(stop).await.expect("stopped").into_inner().dropped, 1);
    let resume = wire::ResumeScheduleRequest { key: beats() };
    assert!(!operator.resume_schedule(resume).await.expect("done").into_inner().paused);
    let shown = operator.show_schedule(show("beats")).await.expect("a schedule").into_inner();
    let counts = shown.schedule.and_then(|own| own.counts).unwrap_or_default();
    assert_eq!((counts.triggered, counts.backfilled, counts.dropped), (1, 0, 1));
    let answer = operator.show_schedule(show("beets")).await;
    assert_eq!(refused(answer), is(Code::NotFound, "unknown_schedule"));
}
