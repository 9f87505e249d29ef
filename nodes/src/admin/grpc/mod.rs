//! The same over gRPC: `runner.admin.v1.RunnerAdmin`, on the listener of the probes.
//!
//! A call is a message read, one function of a module beside this one, and a message told. What the caller may wait for is
//! capped here; a caller that says less, or goes away, is not waited for any more.

mod dlq;
mod effects;
mod process;
mod redrive;
mod sagas;
mod schedules;

use super::drain::Process;
use super::effects::Effects;
use super::fault::{Fault, Kind};
use super::reload::Reloader;
use super::rows::PageOf;
use super::sagas::Sagas;
use super::schedules::Schedules;
use super::{Runner, fields};
use crate::proto::admin as wire;
use crate::proto::admin::runner_admin_server::{RunnerAdmin, RunnerAdminServer};
use crate::server;
use axum::Router;
use cloudlysis_core::quarantine::operate::{EDITED_BYTES_MAX, Verb as DlqVerb};
use cloudlysis_core::saga::Verb as SagaVerb;
use cloudlysis_core::schedule::recurring::Verb as ScheduleVerb;
use cloudlysis_core::wire::id::TenantId;
use std::time::Duration;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// Longest request: a payload at its limit, and the fields around it.
const REQUEST_BYTES_MAX: usize = EDITED_BYTES_MAX + (64 << 10);
/// How long a call may take that has no deadline of its own.
const CALL_DEADLINE: Duration = Duration::from_secs(30);

/// The service of a runner, and of the process it is in.
pub fn router(runner: Runner, process: Process) -> Router {
    let service = RunnerAdminServer::new(Admin { runner, process });
    server::grpc(Routes::new(service.max_decoding_message_size(REQUEST_BYTES_MAX)))
}

#[derive(Debug)]
struct Admin {
    runner: Runner,
    process: Process,
}

fn not_served(what: &str) -> Fault {
    Fault::new(Kind::NotServed, "not_served", format!("this process has no {what}"))
}

impl Admin {
    fn sagas(&self) -> Result<&Sagas, Fault> {
        self.runner.sagas.as_ref().ok_or_else(|| not_served("sagas: ask the runner that decides"))
    }

    fn schedules(&self) -> Result<&Schedules, Fault> {
        self.runner.schedules.as_ref().ok_or_else(|| not_served("schedules: ask the runner that decides"))
    }

    fn effects(&self) -> Result<&Effects, Fault> {
        let elsewhere = || not_served("ledger of effects: ask the runner that carries them out");
        self.runner.effects.as_ref().ok_or_else(elsewhere)
    }

    fn reloads(&self) -> Result<&Reloader, Fault> {
        self.runner.reloads.as_ref().ok_or_else(|| not_served("manifests to read again: restart it"))
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn told<T>(answer: Result<T, Fault>) -> Answer<T> {
    Ok(Response::new(answer?))
}

async fn in_time<T>(work: impl Future<Output = Result<T, Fault>>) -> Answer<T> {
    let late = |_| Fault::unknown("it takes too long; nobody knows whether it is done");
    told(tokio::time::timeout(CALL_DEADLINE, work).await.map_err(late).and_then(|answer| answer))
}

/// Whose, where a request says so.
fn tenant(text: Option<String>) -> Result<Option<TenantId>, Fault> {
    text.as_deref().map(fields::tenant).transpose()
}

fn rows(limit: Option<u32>) -> Option<usize> {
    limit.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX))
}

fn page(after: String, limit: Option<u32>) -> PageOf {
    PageOf { after, limit: rows(limit) }
}

#[tonic::async_trait]
impl RunnerAdmin for Admin {
    async fn list_sagas(&self, request: Request<wire::ListSagasRequest>) -> Answer<wire::ListSagasResponse> {
        told(self.sagas().and_then(|own| sagas::list(own, request.into_inner())))
    }

    async fn show_saga(&self, request: Request<wire::ShowSagaRequest>) -> Answer<wire::ShowSagaResponse> {
        told(self.sagas().and_then(|own| sagas::show(own, request.into_inner())))
    }

    async fn signal_saga(
        &self,
        request: Request<wire::SignalSagaRequest>,
    ) -> Answer<wire::SignalSagaResponse> {
        in_time(async { sagas::signal(self.sagas()?, request).await }).await
    }

    async fn pause_saga(
        &self,
        request: Request<wire::ChangeSagaRequest>,
    ) -> Answer<wire::ChangeSagaResponse> {
        let verb = |reason| SagaVerb::Pause { reason };
        in_time(async { sagas::change(self.sagas()?, request.into_inner(), verb).await }).await
    }

    async fn resume_saga(
        &self,
        request: Request<wire::ResumeSagaRequest>,
    ) -> Answer<wire::ChangeSagaResponse> {
        in_time(async { sagas::resume(self.sagas()?, request.into_inner()).await }).await
    }

    async fn cancel_saga(
        &self,
        request: Request<wire::ChangeSagaRequest>,
    ) -> Answer<wire::ChangeSagaResponse> {
        let verb = |reason| SagaVerb::Cancel { reason };
        in_time(async { sagas::change(self.sagas()?, request.into_inner(), verb).await }).await
    }

    async fn kill_saga(&self, request: Request<wire::ChangeSagaRequest>) -> Answer<wire::ChangeSagaResponse> {
        let verb = |reason| SagaVerb::Kill { reason };
        in_time(async { sagas::change(self.sagas()?, request.into_inner(), verb).await }).await
    }

    async fn migrate_saga(
        &self,
        request: Request<wire::ChangeSagaRequest>,
    ) -> Answer<wire::ChangeSagaResponse> {
        let verb = |reason| SagaVerb::Migrate { reason };
        in_time(async { sagas::change(self.sagas()?, request.into_inner(), verb).await }).await
    }

    async fn restart_saga(
        &self,
        request: Request<wire::RestartSagaRequest>,
    ) -> Answer<wire::RestartSagaResponse> {
        in_time(async { sagas::restart(self.sagas()?, request.into_inner()).await }).await
    }

    async fn replay_saga(
        &self,
        request: Request<wire::ReplaySagaRequest>,
    ) -> Answer<wire::ReplaySagaResponse> {
        in_time(async { sagas::replay(self.sagas()?, request.into_inner()).await }).await
    }

    async fn list_schedules(
        &self,
        request: Request<wire::ListSchedulesRequest>,
    ) -> Answer<wire::ListSchedulesResponse> {
        told(self.schedules().and_then(|own| schedules::list(own, request.into_inner())))
    }

    async fn show_schedule(
        &self,
        request: Request<wire::ShowScheduleRequest>,
    ) -> Answer<wire::ShowScheduleResponse> {
        told(self.schedules().and_then(|own| schedules::show(own, request.into_inner())))
    }

    async fn pause_schedule(
        &self,
        request: Request<wire::PauseScheduleRequest>,
    ) -> Answer<wire::ChangeScheduleResponse> {
        let wire::PauseScheduleRequest { key, reason } = request.into_inner();
        let verb = fields::reason(&reason).map(|reason| ScheduleVerb::Pause { reason });
        in_time(async { schedules::change(self.schedules()?, key, verb?).await }).await
    }

    async fn resume_schedule(
        &self,
        request: Request<wire::ResumeScheduleRequest>,
    ) -> Answer<wire::ChangeScheduleResponse> {
        let wire::ResumeScheduleRequest { key } = request.into_inner();
        in_time(async { schedules::change(self.schedules()?, key, ScheduleVerb::Resume).await }).await
    }

    async fn trigger_schedule(
        &self,
        request: Request<wire::TriggerScheduleRequest>,
    ) -> Answer<wire::ChangeScheduleResponse> {
        in_time(async { schedules::trigger(self.schedules()?, request.into_inner()).await }).await
    }

    async fn backfill_schedule(
        &self,
        request: Request<wire::BackfillScheduleRequest>,
    ) -> Answer<wire::ChangeScheduleResponse> {
        in_time(async { schedules::backfill(self.schedules()?, request.into_inner()).await }).await
    }

    async fn stop_backfill(
        &self,
        request: Request<wire::StopBackfillRequest>,
    ) -> Answer<wire::ChangeScheduleResponse> {
        let wire::StopBackfillRequest { key, reason } = request.into_inner();
        let verb = fields::reason(&reason).map(|reason| ScheduleVerb::StopBackfill { reason });
        in_time(async { schedules::change(self.schedules()?, key, verb?).await }).await
    }

    async fn audit_effects(
        &self,
        request: Request<wire::AuditEffectsRequest>,
    ) -> Answer<wire::AuditEffectsResponse> {
        told(self.effects().and_then(|own| effects::audit(own, request.into_inner())))
    }

    async fn find_unknown_effects(
        &self,
        request: Request<wire::FindUnknownEffectsRequest>,
    ) -> Answer<wire::FindUnknownEffectsResponse> {
        in_time(async { effects::unknown(self.effects()?, request.into_inner()).await }).await
    }

    async fn list_effects(
        &self,
        request: Request<wire::ListEffectsRequest>,
    ) -> Answer<wire::ListEffectsResponse> {
        told(self.effects().and_then(|own| effects::list(own, request.into_inner())))
    }

    async fn show_effect(
        &self,
        request: Request<wire::ShowEffectRequest>,
    ) -> Answer<wire::ShowEffectResponse> {
        told(self.effects().and_then(|own| effects::show(own, request.into_inner())))
    }

    async fn retry_effect(
        &self,
        request: Request<wire::RetryEffectRequest>,
    ) -> Answer<wire::ChangeEffectResponse> {
        in_time(async { effects::retry(self.effects()?, request.into_inner()).await }).await
    }

    async fn settle_effect(
        &self,
        request: Request<wire::SettleEffectRequest>,
    ) -> Answer<wire::ChangeEffectResponse> {
        in_time(async { effects::settle(self.effects()?, request.into_inner()).await }).await
    }

    async fn list_dead_letters(
        &self,
        request: Request<wire::ListDeadLettersRequest>,
    ) -> Answer<wire::ListDeadLettersResponse> {
        told(dlq::list(&self.runner.dead_letters, request.into_inner()))
    }

    async fn group_dead_letters(
        &self,
        request: Request<wire::GroupDeadLettersRequest>,
    ) -> Answer<wire::GroupDeadLettersResponse> {
        told(dlq::groups(&self.runner.dead_letters, request.into_inner()))
    }

    async fn show_dead_letters(
        &self,
        request: Request<wire::ShowDeadLettersRequest>,
    ) -> Answer<wire::ShowDeadLettersResponse> {
        told(dlq::messages(&self.runner.dead_letters, request.into_inner()))
    }

    async fn select_dead_letters(
        &self,
        request: Request<wire::SelectDeadLettersRequest>,
    ) -> Answer<wire::ChangeSelectionResponse> {
        in_time(redrive::select(&self.runner.redrive, request.into_inner())).await
    }

    async fn list_selections(
        &self,
        request: Request<wire::ListSelectionsRequest>,
    ) -> Answer<wire::ListSelectionsResponse> {
        told(redrive::list(&self.runner.redrive, request.into_inner()))
    }

    async fn show_selection(
        &self,
        request: Request<wire::ShowSelectionRequest>,
    ) -> Answer<wire::ShowSelectionResponse> {
        told(redrive::show(&self.runner.redrive, request.into_inner()))
    }

    async fn replay_selection(
        &self,
        request: Request<wire::ReplaySelectionRequest>,
    ) -> Answer<wire::ChangeSelectionResponse> {
        in_time(redrive::replay(&self.runner.redrive, request.into_inner())).await
    }

    async fn discard_selection(
        &self,
        request: Request<wire::DiscardSelectionRequest>,
    ) -> Answer<wire::ChangeSelectionResponse> {
        let wire::DiscardSelectionRequest { tenant_id, selection } = request.into_inner();
        let verb = |selection| DlqVerb::Discard { selection };
        in_time(redrive::change(&self.runner.redrive, tenant_id, &selection, verb)).await
    }

    async fn unselect(
        &self,
        request: Request<wire::UnselectRequest>,
    ) -> Answer<wire::ChangeSelectionResponse> {
        let wire::UnselectRequest { tenant_id, selection } = request.into_inner();
        let verb = |selection| DlqVerb::Unselect { selection };
        in_time(redrive::change(&self.runner.redrive, tenant_id, &selection, verb)).await
    }

    async fn skip_dead_letter(
        &self,
        request: Request<wire::SkipDeadLetterRequest>,
    ) -> Answer<wire::ChangeKeyResponse> {
        in_time(redrive::skip(&self.runner.redrive, request.into_inner())).await
    }

    async fn edit_dead_letter(
        &self,
        request: Request<wire::EditDeadLetterRequest>,
    ) -> Answer<wire::ChangeKeyResponse> {
        in_time(redrive::edit(&self.runner.redrive, request.into_inner())).await
    }

    async fn drain(&self, request: Request<wire::DrainRequest>) -> Answer<wire::DrainResponse> {
        told(process::drain(&self.process, request.into_inner()).await)
    }

    async fn reload(&self, request: Request<wire::ReloadRequest>) -> Answer<wire::ReloadResponse> {
        told(process::reload(self.reloads()?, request.into_inner()).await)
    }
}
