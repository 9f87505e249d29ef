//! Saga instances: listed, shown, signalled, and changed by operators.
//!
//! Reading is from committed rows, beside the machine. A signal is a message on `WORKFLOW_EVENTS`, published under an id of
//! its own that nothing else may use: it reaches the machine as everything does, and repeating it is harmless. What changes an
//! instance is asked of the machine itself ([`operator`](super::operator)).

use super::fault::{Fault, Kind};
use super::fields;
use super::operator::Operator;
use super::rows::{self, PAGE, PageOf};
use crate::runner::Application;
use cloudlysis_core::manifest::{SagaDef, Trigger};
use cloudlysis_core::outbox::lane_of_instance;
use cloudlysis_core::quarantine::{Page, Quarantine, QuarantineKey, QuarantinedKey};
use cloudlysis_core::quirks::Quirks;
use cloudlysis_core::saga::look::{self, Listed, WaitsFor, Which};
use cloudlysis_core::saga::{self, Instance, Operated, Operation, Verb};
use cloudlysis_core::wire::answer::{PublishRefused, publish_outcome};
use cloudlysis_core::wire::context::Context;
use cloudlysis_core::wire::envelope::{Occurrence, PAYLOAD_BYTES_MAX, WorkflowEvent};
use cloudlysis_core::wire::headers;
use cloudlysis_core::wire::id::{CommandId, EntityId, Name, TenantId};
use cloudlysis_core::wire::stream::PlatformStream;
use cloudlysis_core::{Halt, Outcome, View};
use cloudlysis_io_nats::broker::{self, ApiAnswer, Broker, StoredMessage};
use cloudlysis_io_nats::clock::Clock;
use cloudlysis_io_nats::store::Snapshots;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use tokio::sync::watch;

/// What sagas begin with, and react to.
pub(super) const EVENTS: PlatformStream = PlatformStream::AggregateEvents;

/// What operators need for them.
#[derive(Clone, Debug)]
pub struct Sagas {
    /// What is run.
    pub application: watch::Receiver<Application>,
    /// The runner's rows.
    pub snapshots: Snapshots,
    /// Where signals go.
    pub broker: Broker,
    /// Who asks the machine.
    pub operator: Operator,
}

/// One instance.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// Whose.
    pub tenant: TenantId,
    /// Of which saga.
    pub saga: Name,
    /// Its correlation.
    pub correlation: EntityId,
}

impl Key {
    /// Reads which.
    ///
    /// # Errors
    /// When a part of it is malformed.
    pub fn parse(tenant: TenantId, saga: &str, correlation: &str) -> Result<Self, Fault> {
        let correlation = fields::parsed("id", EntityId::parse(correlation))?;
        Ok(Self { tenant, saga: fields::name("saga", saga)?, correlation })
    }
}

/// An instance in a list.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct InList {
    /// How it stands.
    #[serde(flatten)]
    pub listed: Listed,
    /// Whether something of it is held back.
    pub quarantined: bool,
}

/// An instance, and what it waits for.
#[derive(Clone, PartialEq, Debug)]
pub struct Shown {
    /// Which.
    pub key: Key,
    /// How it stands.
    pub instance: Instance,
    /// The hash of today's definition, if the saga is in the application.
    pub today: Option<String>,
    /// What it waits for.
    pub waits_for: Vec<WaitsFor>,
    /// What of it is held back.
    pub quarantined: Option<QuarantinedKey>,
}

/// What a signal says, and what it belongs to.
#[derive(Clone, PartialEq, Debug)]
pub struct Signal<'a> {
    /// Its name.
    pub name: &'a str,
    /// A JSON value; empty for null.
    pub payload: &'a [u8],
    /// Names it, so that it may be repeated; without, it is named here.
    pub idempotency_key: Option<&'a str>,
    /// What it belongs to.
    pub context: Context,
}

/// A signal that is stored.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Signalled {
    /// Its id.
    pub signal_id: CommandId,
    /// Where it is, if this request stored it.
    pub stream_seq: Option<u64>,
    /// It was there before.
    pub duplicate: bool,
}

/// What of an instance is held back: what comes for it, or what it asked for, which may be a dead letter.
fn held_back(
    view: &dyn View,
    tenant: &TenantId,
    saga: &Name,
    correlation: &EntityId,
) -> Result<Option<QuarantinedKey>, Halt> {
    let own = QuarantineKey::instance(tenant, saga, correlation);
    let own = own.map(|key| Quarantine::find(view, &key)).transpose()?.flatten();
    match own {
        Some(held) => Ok(Some(held)),
        None => Quarantine::find(view, &QuarantineKey::lane(&lane_of_instance(tenant, saga, correlation))),
    }
}

impl Sagas {
    /// Today's definition of a saga.
    pub(super) fn today(&self, saga: &Name) -> Option<Arc<SagaDef>> {
        self.application.borrow().app.sagas.get(saga).cloned()
    }

    /// An instance, and what it reacts by; nothing once it has ended and today's definition is another.
    fn find(&self, key: &Key) -> Result<(Instance, Option<Arc<SagaDef>>), Fault> {
        let Key { tenant, saga, correlation } = key;
        let today = self.today(saga);
        let natives = self.application.borrow().app.natives.clone();
        let found = rows::read(&self.snapshots, |view| {
            let Some(instance) = look::show(view, tenant, saga, correlation)? else { return Ok(None) };
            let definition = saga::definition_of(view, &instance, today.as_ref(), &natives)?;
            Ok(Some((instance, definition)))
        })?;
        found.ok_or_else(|| {
            let detail = format!("saga `{saga}` has no instance `{correlation}` of this tenant");
            Fault::new(Kind::NotFound, "instance_not_found", detail)
        })
    }

    /// A message of [`EVENTS`]; `None` when there is none.
    pub(super) async fn stored(&self, which: broker::Which<'_>) -> Result<Option<StoredMessage>, Fault> {
        match self.broker.message(EVENTS.name(), which).await {
            ApiAnswer::Ok(stored) => Ok(stored),
            ApiAnswer::Error(error) => {
                Err(Fault::new(Kind::BrokerRefused, "broker_refused", error.description))
            }
            ApiAnswer::NoAnswer => {
                Err(Fault::new(Kind::Unavailable, "broker_away", "the broker did not answer; ask again"))
            }
        }
    }

    /// A page of instances.
    ///
    /// # Errors
    /// When the rows cannot be read.
    pub fn list(&self, which: &Which, page: &PageOf) -> Result<Page<InList>, Fault> {
        let limit = page.at_most(PAGE);
        let (items, next) = rows::read(&self.snapshots, |view| {
            let look::Page { instances, next } = look::list(view, which, page.after.as_bytes(), limit)?;
            let seen = |listed: Listed| {
                let Listed { tenant_id, saga, correlation, .. } = &listed;
                let quarantined = held_back(view, tenant_id, saga, correlation)?.is_some();
                Ok(InList { listed, quarantined })
            };
            Ok((instances.into_iter().map(seen).collect::<Result<_, Halt>>()?, next))
        })?;
        Ok(Page { items, next: rows::next(next) })
    }

    /// One instance.
    ///
    /// # Errors
    /// When it does not exist, or the rows cannot be read.
    pub fn show(&self, key: Key) -> Result<Shown, Fault> {
        let (instance, definition) = self.find(&key)?;
        let quarantined = rows::read(&self.snapshots, |view| {
            let Key { tenant, saga, correlation } = &key;
            held_back(view, tenant, saga, correlation)
        })?;
        let waits_for = match definition {
            Some(own) => {
                rows::read(&self.snapshots, |view| look::waits_for(view, &key.tenant, &own, &instance))?
            }
            None => Vec::new(),
        };
        let today = self.today(&key.saga).map(|own| own.hash.clone());
        Ok(Shown { key, instance, today, waits_for, quarantined })
    }

    /// Has something done to an instance.
    ///
    /// # Errors
    /// When it is not done, or nobody knows.
    pub async fn operate(&self, key: Key, verb: Verb) -> Result<Operated, Fault> {
        let Key { tenant, saga, correlation } = key;
        Ok(self.operator.ask_saga(Operation { tenant, saga, correlation, verb }).await?)
    }

    /// Stores a signal for an instance.
    ///
    /// # Errors
    /// When it is malformed, the instance does not exist or does not react to it, or the broker does not take it.
    pub async fn signal(&self, key: Key, signal: Signal<'_>) -> Result<Signalled, Fault> {
        let Signal { name, payload, idempotency_key, context } = signal;
        let signal = fields::name("signal", name)?;
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Fault::too_large("payload", payload.len(), PAYLOAD_BYTES_MAX));
        }
        let payload = match payload.is_empty() {
            true => Value::Null,
            false => fields::parsed("payload", serde_json::from_slice(payload))?,
        };
        let id = match idempotency_key {
            Some(text) => fields::idempotency_key(text)?,
            None => fields::idempotency_key(&uuid::Uuid::now_v7().to_string())?,
        };
        let (_, definition) = self.find(&key)?;
        let Key { tenant, saga, correlation } = key;
        let trigger = Trigger::Signal { signal: signal.clone() };
        if definition.is_some_and(|own| !own.on_event.contains_key(&trigger)) {
            let detail = format!("saga `{saga}` does not react to `signal.{signal}`");
            return Err(Fault::new(Kind::NotFound, "unknown_signal", detail));
        }
        let event = WorkflowEvent {
            id,
            tenant,
            saga,
            correlation,
            what: Occurrence::Signal { signal, payload },
            timestamp: Some(Clock::default().now().wall.rfc3339()),
            context,
        };
        publish(&self.broker, event).await
    }
}

async fn publish(broker: &Broker, event: WorkflowEvent) -> Result<Signalled, Fault> {
    let subject = event.route().subject().to_string();
    let mut out = event.context.headers(&event.tenant);
    out.append(headers::NATS_MSG_ID, &subject);
    out.append(headers::NATS_EXPECTED_STREAM, PlatformStream::WorkflowEvents.name());
    out.append(headers::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
    let answer = broker.publish(subject, &out, event.encode().into()).await;
    let signal_id = event.id;
    match publish_outcome(answer, Quirks::NONE) {
        Outcome::Done(published) => {
            let (stream_seq, duplicate) = (Some(published.seq), published.duplicate);
            Ok(Signalled { signal_id, stream_seq, duplicate })
        }
        // Something is on the subject of this id: an earlier attempt of the same caller.
        Outcome::Refused(PublishRefused::Conflict) => {
            Ok(Signalled { signal_id, stream_seq: None, duplicate: true })
        }
        Outcome::Refused(PublishRefused::TooLarge) => {
            Err(Fault::new(Kind::TooLarge, "payload_too_large", "larger than the broker allows"))
        }
        Outcome::Refused(PublishRefused::Full) => {
            Err(Fault::new(Kind::Unavailable, "broker_full", "the broker has no room"))
        }
        Outcome::Refused(PublishRefused::Misconfigured { description, .. }) => {
            Err(Fault::new(Kind::BrokerRefused, "broker_refused", description))
        }
        Outcome::Unknown => Err(Fault::unknown(format!(
            "nobody knows whether it is stored; repeat it under the idempotency key {signal_id}"
        ))),
    }
}
