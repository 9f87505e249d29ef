//! Schedules, as messages.

use super::{page, tenant, wire};
use crate::admin::fault::Fault;
use crate::admin::fields;
use crate::admin::schedules::{self, Schedules, Shown};
use cloudlysis_core::Wall;
use cloudlysis_core::manifest::Overlap;
use cloudlysis_core::schedule::recurring::{
    Asked, Backfill, Counts, Fired, Operated, Paused, Request, Row, RowKey, Running, Verb,
};
use wire::schedule::{self, running};

fn key(key: Option<wire::ScheduleKey>) -> Result<RowKey, Fault> {
    let wire::ScheduleKey { tenant_id, schedule } = key.unwrap_or_default();
    schedules::key(fields::tenant(&tenant_id)?, &schedule)
}

pub(super) fn list(
    schedules: &Schedules,
    request: wire::ListSchedulesRequest,
) -> Result<wire::ListSchedulesResponse, Fault> {
    let wire::ListSchedulesRequest { tenant_id, after, limit } = request;
    let found = schedules.list(tenant(tenant_id)?.as_ref(), &page(after, limit))?;
    let schedules = found.items.into_iter().map(told).collect();
    Ok(wire::ListSchedulesResponse { schedules, next: found.next.unwrap_or_default() })
}

pub(super) fn show(
    schedules: &Schedules,
    request: wire::ShowScheduleRequest,
) -> Result<wire::ShowScheduleResponse, Fault> {
    let schedule = Some(told(schedules.show(key(request.key)?)?));
    Ok(wire::ShowScheduleResponse { schedule })
}

fn told(Shown { key, row, written }: Shown) -> wire::Schedule {
    let Row { times: _, next, fired, running, queued, paused, asked, backfill, counts, error } = row;
    let overlap = written.as_ref().map(|own| match own.overlap {
        Overlap::Skip => schedule::Overlap::Skip,
        Overlap::Allow => schedule::Overlap::Allow,
        Overlap::QueueOne => schedule::Overlap::QueueOne,
    });
    wire::Schedule {
        key: Some(wire::ScheduleKey {
            tenant_id: key.tenant.to_string(),
            schedule: key.schedule.to_string(),
        }),
        when: written.map(|own| own.when),
        overlap: overlap.map(Into::into),
        next_ms: next.map(Wall::as_ms),
        fired: fired.map(|Fired { due, at }| schedule::Fired { due_ms: due.as_ms(), at_ms: at.as_ms() }),
        running: running.map(what_runs),
        queued_ms: queued.map(Wall::as_ms),
        paused: paused.map(|Paused { since, reason }| schedule::Paused { since_ms: since.as_ms(), reason }),
        backfill: backfill.map(|Backfill { key, from, next, to }| schedule::Backfill {
            idempotency_key: key.to_string(),
            from_ms: from.as_ms(),
            next_ms: next.as_ms(),
            to_ms: to.as_ms(),
        }),
        asked: asked.into_iter().map(what_was_asked).collect(),
        counts: Some(what_became(counts)),
        error,
    }
}

fn what_runs(running: Running) -> schedule::Running {
    let what = match running {
        Running::Instance { saga, correlation } => running::What::Instance(running::Instance {
            saga: saga.to_string(),
            correlation: correlation.to_string(),
        }),
        Running::Work { id } => running::What::Work(running::Work { id: id.to_string() }),
    };
    schedule::Running { what: Some(what) }
}

fn what_was_asked(Asked { key, at, reason, what }: Asked) -> schedule::Asked {
    let what = match what {
        Request::Trigger => schedule::asked::What::Trigger,
        Request::Backfill { .. } => schedule::asked::What::Backfill,
    };
    schedule::Asked { idempotency_key: key.to_string(), at_ms: at.as_ms(), reason, what: what.into() }
}

fn what_became(counts: Counts) -> schedule::Counts {
    let Counts { fired, missed, skipped, failed, triggered, backfilled, dropped } = counts;
    schedule::Counts { fired, missed, skipped, failed, triggered, backfilled, dropped }
}

pub(super) async fn trigger(
    schedules: &Schedules,
    request: wire::TriggerScheduleRequest,
) -> Result<wire::ChangeScheduleResponse, Fault> {
    let wire::TriggerScheduleRequest { key, reason, idempotency_key } = request;
    let reason = fields::reason(&reason)?;
    let named = fields::key_of_what_fires(idempotency_key.as_deref())?;
    change(schedules, key, Verb::Trigger { key: named, reason }).await
}

pub(super) async fn backfill(
    schedules: &Schedules,
    request: wire::BackfillScheduleRequest,
) -> Result<wire::ChangeScheduleResponse, Fault> {
    let wire::BackfillScheduleRequest { key, reason, idempotency_key, from_ms, to_ms } = request;
    let (from, to) = (fields::moment("from_ms", from_ms)?, fields::moment("to_ms", to_ms)?);
    let reason = fields::reason(&reason)?;
    let named = fields::key_of_what_fires(idempotency_key.as_deref())?;
    change(schedules, key, Verb::Backfill { key: named, from, to, reason }).await
}

pub(super) async fn change(
    schedules: &Schedules,
    own: Option<wire::ScheduleKey>,
    verb: Verb,
) -> Result<wire::ChangeScheduleResponse, Fault> {
    let Operated { paused, changed, occurrence, fell_due, missed, left, dropped } =
        schedules.operate(key(own)?, verb).await?;
    let occurrence_id = occurrence.map(|id| id.to_string());
    Ok(wire::ChangeScheduleResponse { paused, changed, occurrence_id, fell_due, missed, left, dropped })
}
