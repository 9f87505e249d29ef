//! Restarting a saga instance that has ended: the event it began with is read from its stream, and the machine is asked.
//!
//! The row says where that event is; that it is still the same one is for the machine to see.

use super::fault::{Fault, Kind};
use super::sagas::{EVENTS, Key, Sagas};
use cloudlysis_core::operator::Reason;
use cloudlysis_core::runner::operate::Restart;
use cloudlysis_core::saga::{self, Operated};
use cloudlysis_core::wire::envelope::EventMessage;
use cloudlysis_io_nats::broker::Which;

/// How an instance is to begin again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Again {
    /// Why.
    pub reason: Reason,
    /// How often it was restarted before: a request that is repeated restarts it once. Without, as often as it has been.
    pub restarts: Option<u32>,
    /// Only say what it would ask for first.
    pub dry_run: bool,
}

impl Sagas {
    /// Has an instance that has ended begin again.
    ///
    /// # Errors
    /// When it is not done, or nobody knows.
    pub async fn restart(&self, key: Key, again: Again) -> Result<Operated, Fault> {
        let instance = self.show(key.clone())?.instance;
        let Again { reason, restarts, dry_run } = again;
        let Some(stream_seq) = instance.began_with.map(|own| own.stream_seq) else {
            let detail = "it did not begin with an event, or began under an earlier release: nothing says how to begin it again";
            return Err(Fault::new(Kind::Refused, "not_restartable", detail));
        };
        let message = self.event(stream_seq).await?;
        let Key { tenant, saga, correlation } = key;
        let restarts = restarts.unwrap_or(instance.restarts);
        let instance = saga::Restart { tenant, saga, correlation, reason, restarts, dry_run };
        Ok(self.operator.ask_restart(Restart { instance, message, stream_seq }).await?)
    }

    async fn event(&self, stream_seq: u64) -> Result<EventMessage, Fault> {
        let gone = |detail: String| Fault::new(Kind::Refused, "not_restartable", detail);
        let Some(stored) = self.stored(Which::At(stream_seq)).await? else {
            return Err(gone(format!(
                "what it began with, message {stream_seq} of {}, is gone",
                EVENTS.name()
            )));
        };
        let position = format!("{}:{stream_seq}", EVENTS.name());
        EventMessage::decode(&stored.subject, &stored.headers, &stored.payload, &position)
            .map_err(|error| gone(format!("what it began with cannot be read: {error}")))
    }
}
