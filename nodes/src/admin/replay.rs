//! Replay: events that were passed come again for one saga, some at a time.
//!
//! ```text
//! caller ─ from, to ─► next event on the stream ─► the machine: its fate ─► … at most so many, then where the next call begins
//! ```
//!
//! Each message is asked for by itself, and one that was applied changes nothing: a call may be repeated from where it began.

use super::fault::{Fault, Kind};
use super::sagas::{EVENTS, Sagas};
use cloudlysis_core::operator::Reason;
use cloudlysis_core::runner::operate::Replay;
use cloudlysis_core::saga::{Fate, Replayed};
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_core::wire::id::{Name, TenantId};
use cloudlysis_io_nats::broker::Which;
use serde::Serialize;

/// Messages read for one call. Each costs a request to the broker and a turn.
const MESSAGES_MAX: u64 = 100;

/// Which events are to come again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Passed {
    /// For which saga.
    pub saga: Name,
    /// Of this tenant only.
    pub tenant: Option<TenantId>,
    /// From this sequence of `AGGREGATE_EVENTS` on.
    pub from_seq: u64,
    /// Up to this one; without, up to the last that the saga's consumer has passed.
    pub to_seq: Option<u64>,
    /// Instances may begin that may have been there before.
    pub may_repeat: bool,
    /// Nothing is changed.
    pub dry_run: bool,
    /// Why.
    pub reason: Reason,
}

/// What became of some of them, or would.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Told {
    /// Messages looked at.
    pub messages: u64,
    /// Of their events.
    #[serde(flatten)]
    pub events: Replayed,
    /// Where the next call begins; `None` at the end.
    pub next_seq: Option<u64>,
}

impl Sagas {
    /// Has events come again, from the first on, until there are no more or enough for one call.
    ///
    /// # Errors
    /// When the saga does not exist, the broker does not answer, or the runner does not take them: those before may have
    /// come.
    pub async fn replay(&self, passed: Passed) -> Result<Told, Fault> {
        let Passed { saga, tenant, from_seq, to_seq, may_repeat, dry_run, reason } = passed;
        if self.today(&saga).is_none() {
            let detail = format!("the application has no saga `{saga}`");
            return Err(Fault::new(Kind::NotFound, "unknown_saga", detail));
        }
        let whose = tenant.as_ref().map_or_else(|| "*".to_owned(), TenantId::token);
        let subject = format!("tenant.{whose}.aggregate.>");
        let (mut told, mut next) = (Told::default(), from_seq.max(1));
        while told.messages < MESSAGES_MAX {
            let stored = self.stored(Which::NextOn(&subject, next)).await?;
            let Some(stored) = stored.filter(|stored| to_seq.is_none_or(|to| stored.seq <= to)) else {
                return Ok(told);
            };
            let seq = stored.seq;
            let position = format!("{}:{seq}", EVENTS.name());
            match EventMessage::decode(&stored.subject, &stored.headers, &stored.payload, &position) {
                Err(_) => told.events.count(Fate::Unreadable),
                Ok(message) => {
                    let (saga, reason) = (saga.clone(), reason.clone());
                    let replay = Replay { saga, message, stream_seq: seq, may_repeat, dry_run, reason };
                    match self.operator.ask_replay(replay).await? {
                        Some(replayed) => told.events.add(replayed),
                        // What has yet to come comes by itself.
                        None => return Ok(told),
                    }
                }
            }
            told.messages += 1;
            next = seq + 1;
        }
        Ok(Told { next_seq: Some(next), ..told })
    }
}
