//! Rows: what a node commits, against the true log and against what it committed before.

use super::forgotten::Forgotten;
use super::ledger::{Amended, check_ledger};
use super::logs::Logs;
use super::outbox::check_outbox;
use super::quarantine::check_parked;
use super::reach::{Reach, checkpoint_seq};
use super::{Known, Seen, Violation};
use crate::app::{next_edition, shop};
use crate::world::event::NodeId;
use crate::world::nemesis::consumers;
use cloudlysis_core::aggregate::{CommandRow, Record};
use cloudlysis_core::effect::{self, LedgerRow, Phase};
use cloudlysis_core::jetstream::{AckSubject, StoredMessage};
use cloudlysis_core::manifest::Delivery;
use cloudlysis_core::outbox::{Origin, Row};
use cloudlysis_core::saga::{Instance, Status, Work, WorkState};
use cloudlysis_core::schedule::Timer;
use cloudlysis_core::wire::envelope::{EffectResult, SagaRef, WorkflowEvent};
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::keys;
use cloudlysis_core::wire::stream::{ConsumerName, PlatformStream};
use cloudlysis_core::wire::subject::Route;
use cloudlysis_core::{Halt, Invariant, Table, View};
use cloudlysis_io_sim::store::{Change, Committed};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

/// The undoing work of each saga, in the order in which it must be asked for.
const UNDOING: [&str; 3] = ["refund", "release", "give_back"];

/// Watches rows.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Checkpoint row → the stream and consumer it belongs to.
    checkpoints: BTreeMap<Vec<u8>, (PlatformStream, ConsumerName)>,
}

pub(super) fn broken(invariant: Invariant, seen: &Seen<'_>, change: &Change, detail: &str) -> Violation {
    let key = String::from_utf8_lossy(&change.key).into_owned();
    Violation::new(invariant, format!("{} {} {key}: {detail}", seen.node, change.table))
}

pub(super) fn unreadable(halt: &Halt) -> Violation {
    Violation::new(Invariant::Drv2, halt.to_string())
}

impl Rows {
    pub(super) fn new() -> Self {
        let checkpoints = consumers()
            .into_iter()
            .map(|(stream, consumer)| (keys::checkpoint(&consumer), (stream, consumer)))
            .collect();
        Self { checkpoints }
    }

    pub(super) fn on_changes(
        &self,
        seen: &Seen<'_>,
        changes: &[Change],
        known: &Known<'_>,
    ) -> Result<(), Violation> {
        let Known { logs, forgotten, .. } = *known;
        // What is held back explains what is missing elsewhere.
        for change in changes.iter().filter(|change| change.table == Table::ParkedKey) {
            check_parked(change, logs)?;
        }
        for consumed in self.checkpoints.values() {
            self.check_reach(seen, changes, consumed, known)?;
        }
        for change in changes {
            match change.table {
                Table::Aggregate => check_aggregate(seen, change, logs)?,
                Table::Command => check_command(seen, change, logs)?,
                Table::Saga => check_saga(seen, change, forgotten)?,
                Table::Effect => check_ledger(seen, change, known)?,
                Table::Outbox => check_outbox(seen, change, known)?,
                Table::Meta
                | Table::Checkpoint
                | Table::Refusal
                | Table::View
                | Table::ViewSource
                | Table::Ended
                | Table::SagaDefinition
                | Table::SagaPinned
                | Table::SagaCause
                | Table::SagaHeld
                | Table::SagaForgotten
                | Table::TimerDue
                | Table::Timer
                | Table::Recurring
                | Table::EffectOpen
                | Table::EffectParked
                | Table::Parked
                | Table::ParkedKey
                | Table::ParkedGroup
                | Table::Redrive
                | Table::RedriveKey
                | Table::JsStream
                | Table::JsMessage
                | Table::JsConsumer
                | Table::JsSchedule => {}
            }
        }
        Ok(())
    }

    /// INV-GATE-2, INV-GATE-8, INV-DRN-1, and that what is past the checkpoint has left its traces.
    fn check_reach(
        &self,
        seen: &Seen<'_>,
        changes: &[Change],
        (stream, consumer): &(PlatformStream, ConsumerName),
        known: &Known<'_>,
    ) -> Result<(), Violation> {
        let Some((before, after)) = Reach::change(seen, changes, consumer)? else { return Ok(()) };
        let broken = |invariant, detail: String| {
            Err(Violation::new(invariant, format!("{} {consumer}: {detail}", seen.node)))
        };
        if after.seq < before.seq {
            return broken(Invariant::Gate2, format!("goes back from {} to {}", before.seq, after.seq));
        }
        if before.seq > 0 && before.goes_back(&after) {
            return broken(Invariant::Gate8, format!("a tenant goes back from {before:?} to {after:?}"));
        }
        if seen.was_draining && before.seq < after.seq {
            return broken(Invariant::Drn1, format!("moves on to {} while draining", after.seq));
        }
        if !seen.node.is_runner() {
            return Ok(());
        }
        let from = before.common(&after) + 1;
        let messages = seen.broker.log(stream.name(), from).map_err(|halt| unreadable(&halt))?;
        for message in messages.iter().take_while(|message| message.seq <= after.seq) {
            let subject = message.subject.as_ref();
            let is_new = !before.has(subject, message.seq) && after.has(subject, message.seq);
            if !is_new || known.logs.is_poisoned(subject) {
                continue;
            }
            let missing = match Route::parse(subject) {
                Some(Route::Effect { tenant, command, .. }) => {
                    let key = keys::effect(&tenant, &command);
                    let row = known.forgotten.get(&seen.rows, Table::Effect, &key);
                    row.is_none().then_some("an effect command without a row in the ledger")
                }
                Some(Route::EffectResult { .. }) => missing_result(
                    seen,
                    known.forgotten,
                    subject,
                    &message.headers.to_headers(),
                    &message.payload,
                )?,
                Some(Route::WorkflowEvent { .. }) => missing_reminder(seen, known.forgotten, message)?,
                Some(Route::Aggregate { .. }) | None => None,
            };
            if let Some(missing) = missing {
                return broken(
                    Invariant::Gate2,
                    format!("{} of {stream} is passed over: {missing}", message.seq),
                );
            }
        }
        Ok(())
    }

    /// INV-GATE-1: what is acked is committed.
    pub(super) fn on_settling(&self, node: NodeId, rows: &Committed<'_>, ack: &str) -> Result<(), Violation> {
        let Some(ack) = AckSubject::parse(ack) else { return Ok(()) };
        let of_consumer =
            self.checkpoints.iter().find(|(_, (_, consumer))| *consumer.as_str() == *ack.consumer);
        let Some((key, _)) = of_consumer else { return Ok(()) };
        let committed = checkpoint_seq(rows.get(Table::Checkpoint, key).ok().flatten());
        if ack.stream_seq <= committed {
            return Ok(());
        }
        let detail = format!("{node} acks {} of {}, committed is {committed}", ack.stream_seq, ack.consumer);
        Err(Violation::new(Invariant::Gate1, detail))
    }

    /// INV-EFF-1, INV-EFF-2 and INV-EFF-5: the row says that it started, the key is the effect's own, and what may
    /// happen at most once has not perhaps happened, unless an operator said that it may.
    pub(super) fn on_execute(
        &self,
        rows: &Committed<'_>,
        sagas: &Committed<'_>,
        effect: &effect::Effect,
        amended: &Amended,
    ) -> Result<(), Violation> {
        let effect::Effect::Execute { tenant, idempotency_key, request, .. } = effect;
        let broken = |invariant, detail: String| Err(Violation::new(invariant, detail));
        let command = idempotency_key.strip_prefix(&format!("{}:", tenant.token()));
        let Some(command) = command.and_then(cloudlysis_core::wire::id::CommandId::from_token) else {
            return broken(
                Invariant::Eff2,
                format!("{idempotency_key:?} is not the key of an effect of {tenant:?}"),
            );
        };
        let key = keys::effect(tenant, &command);
        let Some(row) = rows.get(Table::Effect, &key).ok().flatten() else {
            let detail = format!("{idempotency_key:?} names no effect in the ledger ({})", request.target());
            return broken(Invariant::Eff2, detail);
        };
        let row = LedgerRow::decode(row).map_err(|halt| unreadable(&halt))?;
        if let Some(saga) = row.call.as_ref().and_then(|call| call.saga.as_ref()) {
            left_before(sagas, tenant, saga, &command)?;
        }
        let app = shop();
        let definition = app.effects.get(&row.effect);
        let at_most_once = definition.is_some_and(|own| own.delivery == Delivery::AtMostOnce);
        if at_most_once && row.ambiguous > 0 && !amended.may_repeat(&key) {
            let detail = format!("{idempotency_key} is called, and may have happened: its row says {row:?}");
            return broken(Invariant::Eff5, detail);
        }
        match row.phase {
            Phase::Started { .. } => Ok(()),
            phase @ (Phase::Open | Phase::Settled { .. } | Phase::Parked { .. }) => {
                broken(Invariant::Eff1, format!("{idempotency_key} is called, its row says {phase:?}"))
            }
        }
    }
}

/// INV-SAGA-5: nothing its saga asked for earlier is still on its way out when an effect is called.
fn left_before(
    rows: &Committed<'_>,
    tenant: &TenantId,
    saga: &SagaRef,
    command: &CommandId,
) -> Result<(), Violation> {
    let key = keys::saga(tenant, &saga.saga, &saga.correlation);
    let Some(row) = rows.get(Table::Saga, &key).ok().flatten() else { return Ok(()) };
    let instance = Instance::decode(row).map_err(|halt| unreadable(&halt))?;
    let earlier: Vec<&CommandId> =
        instance.works.iter().map(|work| &work.id).take_while(|id| *id != command).collect();
    let mut late = None;
    let scanned = rows.scan(Table::Outbox, b"", &mut |_, row| {
        let entry = Row::decode(row).ok().map(|row| row.entry);
        let waiting = match entry.map(|entry| entry.origin) {
            Some(Origin::Command(work) | Origin::EffectCommand(work)) => Some(work.work_id),
            Some(Origin::EffectResult { .. } | Origin::Occurrence { .. } | Origin::Reminder { .. })
            | None => None,
        };
        match waiting.filter(|id| earlier.contains(&id)) {
            Some(id) => {
                late = Some(id);
                ControlFlow::Break(())
            }
            None => ControlFlow::Continue(()),
        }
    });
    scanned.map_err(|halt| unreadable(&Halt::Store(halt)))?;
    late.map_or(Ok(()), |late| {
        let detail =
            format!("{command} of {key:?} is called while {late}, asked for before it, has not left");
        Err(Violation::new(Invariant::Saga5, detail))
    })
}

/// A result that was passed must have ended the work that waited for it.
fn missing_result(
    seen: &Seen<'_>,
    forgotten: &Forgotten,
    subject: &str,
    headers: &cloudlysis_core::wire::headers::Headers,
    payload: &[u8],
) -> Result<Option<&'static str>, Violation> {
    let Ok(result) = EffectResult::decode(subject, headers, payload, "oracle") else { return Ok(None) };
    let Some(saga) = result.saga else { return Ok(None) };
    let key = keys::saga(&result.tenant, &saga.saga, &saga.correlation);
    let Some(row) = forgotten.get(&seen.rows, Table::Saga, &key) else {
        return Ok(Some("a result for a saga that is not there"));
    };
    let instance = Instance::decode(&row).map_err(|halt| unreadable(&halt))?;
    let work = instance.works.iter().find(|work| work.id == result.command_id);
    let waits = work.is_some_and(|work| work.state == WorkState::InFlight) && !instance.status.is_final();
    let waits = waits
        && !is_held(seen, &result.tenant, (&saga.saga, &saga.correlation), &instance, &result.command_id)?;
    Ok(waits.then_some("a result whose work is still in flight"))
}

/// Whether what names this id is held, because its saga is paused.
fn is_held(
    seen: &Seen<'_>,
    tenant: &TenantId,
    (saga, correlation): (&Name, &EntityId),
    instance: &Instance,
    id: &CommandId,
) -> Result<bool, Violation> {
    let mut held = false;
    let prefix = keys::saga_held_prefix(tenant, saga, correlation);
    let scanned = seen.rows.scan(Table::SagaHeld, &prefix, &mut |key, row| {
        let is_own = key.starts_with(&prefix);
        held |= is_own && String::from_utf8_lossy(row).contains(id.as_str());
        if is_own && !held { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    scanned.map_err(|fault| unreadable(&Halt::Store(fault)))?;
    Ok(held && instance.paused.is_some())
}

/// A reminder that was passed is no longer waited for.
fn missing_reminder(
    seen: &Seen<'_>,
    forgotten: &Forgotten,
    message: &StoredMessage,
) -> Result<Option<&'static str>, Violation> {
    let headers = message.headers.to_headers();
    let Ok(event) = WorkflowEvent::decode(&message.subject, &headers, &message.payload, "oracle") else {
        return Ok(None);
    };
    let key = keys::saga(&event.tenant, &event.saga, &event.correlation);
    let Some(row) = forgotten.get(&seen.rows, Table::Saga, &key) else {
        return Ok(Some("a reminder for a saga that is not there"));
    };
    let instance = Instance::decode(&row).map_err(|halt| unreadable(&halt))?;
    let waits = instance.timers.iter().any(|timer| timer.id == event.id)
        && !is_held(seen, &event.tenant, (&event.saga, &event.correlation), &instance, &event.id)?;
    Ok(waits.then_some("a reminder its saga still waits for"))
}

/// INV-AGG-6: state and version are those of the log at the sequence the row was read at.
fn check_aggregate(seen: &Seen<'_>, change: &Change, logs: &Logs) -> Result<(), Violation> {
    let Some(row) = &change.after else { return Ok(()) };
    let record = Record::decode(row).map_err(|halt| unreadable(&halt))?;
    let point = logs
        .history_of_row(&change.key)
        .and_then(|history| history.points.iter().find(|point| point.seq == record.last_seq));
    let agrees = point.is_some_and(|point| point.version == record.version && point.state == record.state);
    if agrees {
        return Ok(());
    }
    Err(broken(Invariant::Agg6, seen, change, &format!("the row is {record:?}, the log says {point:?}")))
}

/// INV-AGG-2: a command's row says where its events are.
fn check_command(seen: &Seen<'_>, change: &Change, logs: &Logs) -> Result<(), Violation> {
    let Some(row) = &change.after else { return Ok(()) };
    let CommandRow { seq, version } = CommandRow::decode(row).map_err(|halt| unreadable(&halt))?;
    let stored = logs.command_of_row(&change.key);
    if stored == Some((seq, version)) {
        return Ok(());
    }
    let detail = format!("the row says {seq}, version {version}; the log {stored:?}");
    Err(broken(Invariant::Agg2, seen, change, &detail))
}

/// INV-SAGA-8: what an instance notes of its edition is that of the definition it reacts by.
fn check_edition(
    seen: &Seen<'_>,
    change: &Change,
    before: Option<&Instance>,
    after: &Instance,
) -> Result<(), Violation> {
    let noted = &after.state["edition"];
    if before.is_some_and(|before| before.state["edition"] == *noted) {
        return Ok(());
    }
    let editions = [(shop(), 1), (next_edition(), 2)];
    let own = editions.iter().find(|(app, _)| app.sagas.values().any(|own| own.hash == after.definition));
    match own {
        Some((_, edition)) if noted.is_null() || noted == edition => Ok(()),
        Some(_) | None => {
            let detail = format!("reacts by {}, and notes edition {noted}", after.definition);
            Err(broken(Invariant::Saga8, seen, change, &detail))
        }
    }
}

/// INV-SAGA-1, INV-SAGA-2, INV-SAGA-3, INV-SAGA-6 and INV-SAGA-7 in the rows of instances.
fn check_saga(seen: &Seen<'_>, change: &Change, forgotten: &Forgotten) -> Result<(), Violation> {
    let decode = |row: &Option<Vec<u8>>| row.as_deref().map(Instance::decode).transpose();
    let before = decode(&change.before).map_err(|halt| unreadable(&halt))?;
    let after = decode(&change.after).map_err(|halt| unreadable(&halt))?;
    let begins_again = |before: &Instance| {
        after.as_ref().is_some_and(|after| after.restarts == before.restarts + 1)
            && after.as_ref().is_some_and(|after| after.began_with == before.began_with)
    };
    let before = before.filter(|before| !(before.status.is_final() && begins_again(before)));
    if let Some(before) = before.as_ref().filter(|before| before.status.is_final()) {
        // How its last work ended is still written down, and nothing else.
        let asked =
            |instance: &Instance| instance.works.iter().map(|work| work.id.clone()).collect::<Vec<_>>();
        let same = |after: &Instance| {
            after.status == before.status && after.state == before.state && asked(after) == asked(before)
        };
        if after.as_ref().map_or_else(|| forgotten.is_gone(change), same) {
            return Ok(());
        }
        let detail = format!("finished as {:?}, and changes to {after:?}", before.status);
        return Err(broken(Invariant::Saga2, seen, change, &detail));
    }
    let Some(after) = after else {
        return Err(broken(Invariant::Saga2, seen, change, "an instance vanishes"));
    };
    if let Some(before) = before.as_ref().filter(|before| before.paused.is_some() && after.paused.is_some()) {
        let stood_still = (&before.status, &before.state, &before.works, &before.timers)
            == (&after.status, &after.state, &after.works, &after.timers);
        if !stood_still {
            let detail = format!("is paused, and goes from {before:?} to {after:?}");
            return Err(broken(Invariant::Saga6, seen, change, &detail));
        }
    }
    check_edition(seen, change, before.as_ref(), &after)?;
    if after.status.is_final() {
        waits_for_nothing(seen, change)?;
    }
    let ids: BTreeSet<_> = after.works.iter().map(|work| &work.id).collect();
    if ids.len() < after.works.len() {
        let detail = format!("the same work is asked for twice: {:?}", after.works);
        return Err(broken(Invariant::Saga1, seen, change, &detail));
    }
    let known = before.map_or(0, |before| before.works.len());
    let undoes_now = after.works.iter().skip(known).any(|work| work.compensates);
    let in_flight = |work: &&Work| work.state == WorkState::InFlight && !work.compensates;
    if let Some(work) = after.works.iter().find(in_flight).filter(|_| undoes_now) {
        let detail = format!("undoes while {} is in flight", work.name);
        return Err(broken(Invariant::Saga3, seen, change, &detail));
    }
    let undoing: Vec<&str> =
        after.works.iter().filter(|work| work.compensates).map(|work| work.name.as_str()).collect();
    let in_order = UNDOING.iter().copied().filter(|name| undoing.contains(name)).eq(undoing.iter().copied());
    if !in_order {
        return Err(broken(Invariant::Saga3, seen, change, &format!("undoes in the order {undoing:?}")));
    }
    if after.status == Status::Compensated {
        for (done, undone_by) in [("charge", "refund"), ("reserve", "release"), ("withdraw", "give_back")] {
            let is_done =
                after.works.iter().any(|work| work.name.as_str() == done && work.state == WorkState::Done);
            if is_done && !undoing.contains(&undone_by) {
                return Err(broken(
                    Invariant::Saga3,
                    seen,
                    change,
                    &format!("{done} was done and not undone"),
                ));
            }
        }
    }
    Ok(())
}

/// INV-SAGA-7: no timer of a finished instance is left, and nothing is held for it.
fn waits_for_nothing(seen: &Seen<'_>, change: &Change) -> Result<(), Violation> {
    let mut left = None;
    let timers = seen.rows.scan(Table::TimerDue, b"", &mut |_, row| {
        if let Ok(Timer { tenant, saga, correlation, name, .. }) = serde_json::from_slice(row)
            && keys::saga(&tenant, &saga, &correlation) == change.key
        {
            left = Some(format!("timer {name}"));
        }
        ControlFlow::Continue(())
    });
    let Some((tenant, saga, correlation)) = keys::parse_saga(&change.key) else { return Ok(()) };
    let prefix = keys::saga_held_prefix(&tenant, &saga, &correlation);
    let held = seen.rows.scan(Table::SagaHeld, &prefix, &mut |key, _| {
        if key.starts_with(&prefix) {
            left = Some("something held".to_owned());
        }
        ControlFlow::Break(())
    });
    timers.and(held).map_err(|fault| unreadable(&Halt::Store(fault)))?;
    left.map_or(Ok(()), |left| {
        Err(broken(Invariant::Saga7, seen, change, &format!("finished, and {left} is left")))
    })
}
