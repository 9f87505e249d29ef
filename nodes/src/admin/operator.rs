//! Operators' requests on their way through a runner's machine, and back.
//!
//! ```text
//! caller ─► Operator ── Asked ─► partition's channel ─► turn, commit ─► edge ── Answered ─► Operator ─► caller
//! ```
//!
//! Who waits is known by ticket. A machine that is recovered forgets its questions, and so does a caller who goes away or
//! waits too long: then nobody knows, and the request may be made again.

use cloudlysis_core::effect::operate as effect;
use cloudlysis_core::operator::Refusal;
use cloudlysis_core::quarantine::operate as quarantine;
use cloudlysis_core::runner::Input;
use cloudlysis_core::runner::operate::{Answered, Done, Operation, Replay, Restart};
use cloudlysis_core::saga;
use cloudlysis_core::schedule::recurring;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Requests that wait for an answer at once.
const WAITING_MAX: usize = 256;
/// How long one is waited for. A turn takes milliseconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

type Answer = Result<Done, Refusal>;

/// Who waits for which answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Waiting(Arc<Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>>);

impl Waiting {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<u64, oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine answered, and what it did is durable.
    pub(crate) fn answered(&self, answered: Answered) {
        log(&answered);
        if let Some(caller) = self.locked().remove(&answered.ticket) {
            // An error means that the caller has gone.
            drop(caller.send(answered.answer));
        }
    }

    /// The machine that was asked is no more.
    pub(crate) fn forget(&self) {
        self.locked().clear();
    }
}

/// The trail of what people did, whether or not they still wait.
fn log(answered: &Answered) {
    let Answered { operation, answer, .. } = answered;
    let (subject, tenant, verb, reason) = match operation {
        Operation::Saga(saga::Operation { tenant, saga, correlation, verb }) => {
            (format!("{saga} {correlation}"), Some(tenant), verb.as_str(), verb.reason())
        }
        Operation::Restart(restart) => {
            let saga::Restart { tenant, saga, correlation, reason, dry_run, .. } = &restart.instance;
            let verb = if *dry_run { "restart, as a dry run" } else { "restart" };
            (format!("{saga} {correlation}"), Some(tenant), verb, Some(reason))
        }
        Operation::Replay(replay) => {
            let Replay { saga, message, stream_seq, dry_run, reason, .. } = &**replay;
            let verb = if *dry_run { "replay, as a dry run" } else { "replay" };
            (format!("{saga} {stream_seq}"), Some(&message.tenant), verb, Some(reason))
        }
        Operation::Quarantine(quarantine::Operation { tenant, verb }) => {
            (verb.subject(), tenant.as_ref(), verb.as_str(), verb.reason())
        }
        Operation::Schedule(recurring::Operation { tenant, schedule, verb }) => {
            let key = verb.key().map_or(String::new(), |key| format!(" {key}"));
            (format!("{schedule}{key}"), Some(tenant), verb.as_str(), verb.reason())
        }
        Operation::Effect(effect::Operation { tenant, command_id, verb }) => {
            (command_id.to_string(), Some(tenant), verb.as_str(), Some(verb.reason()))
        }
    };
    let reason = reason.map_or("", |reason| reason.as_str());
    let tenant = tenant.map(ToString::to_string);
    match answer {
        Ok(done) => {
            tracing::info!(tenant_id = tenant, subject, operation = verb, reason, ?done, "operator");
        }
        Err(refusal) => {
            tracing::info!(tenant_id = tenant, subject, operation = verb, reason, %refusal, "operator");
        }
    }
}

/// Why a request was not done, or is not known to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotDone {
    /// The machine says no; nothing has changed.
    Refused(Refusal),
    /// It was not asked: it has too much to do, or has stopped.
    Busy,
    /// It was asked, and did not answer.
    Unknown,
}

/// Asks a runner's machine on behalf of operators.
#[derive(Clone, Debug)]
pub struct Operator {
    // Weak: a listener that still serves must not keep a partition from ending.
    inputs: mpsc::WeakSender<Input>,
    waiting: Waiting,
    next: Arc<AtomicU64>,
}

impl Operator {
    pub(crate) fn new(inputs: mpsc::WeakSender<Input>, waiting: Waiting) -> Self {
        Self { inputs, waiting, next: Arc::new(AtomicU64::new(1)) }
    }

    /// Asks about an instance.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    pub async fn ask_saga(&self, operation: saga::Operation) -> Result<saga::Operated, NotDone> {
        match self.ask(Operation::Saga(operation)).await? {
            Done::Saga(operated) => Ok(operated),
            Done::Quarantine(_) | Done::Schedule(_) | Done::Effect(_) | Done::Replay(_) => {
                Err(NotDone::Unknown)
            }
        }
    }

    /// Asks that an instance begin again.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    pub async fn ask_restart(&self, restart: Restart) -> Result<saga::Operated, NotDone> {
        match self.ask(Operation::Restart(Box::new(restart))).await? {
            Done::Saga(operated) => Ok(operated),
            Done::Quarantine(_) | Done::Schedule(_) | Done::Effect(_) | Done::Replay(_) => {
                Err(NotDone::Unknown)
            }
        }
    }

    /// Asks about what is held back.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    pub async fn ask_quarantine(
        &self,
        operation: quarantine::Operation,
    ) -> Result<quarantine::Operated, NotDone> {
        match self.ask(Operation::Quarantine(operation)).await? {
            Done::Quarantine(operated) => Ok(operated),
            Done::Saga(_) | Done::Schedule(_) | Done::Effect(_) | Done::Replay(_) => Err(NotDone::Unknown),
        }
    }

    /// Asks about a schedule.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    pub async fn ask_schedule(
        &self,
        operation: recurring::Operation,
    ) -> Result<recurring::Operated, NotDone> {
        match self.ask(Operation::Schedule(operation)).await? {
            Done::Schedule(operated) => Ok(operated),
            Done::Saga(_) | Done::Quarantine(_) | Done::Effect(_) | Done::Replay(_) => Err(NotDone::Unknown),
        }
    }

    /// Asks that the events of a message come again; `None` when they have yet to come.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    pub async fn ask_replay(&self, replay: Replay) -> Result<Option<saga::Replayed>, NotDone> {
        match self.ask(Operation::Replay(Box::new(replay))).await? {
            Done::Replay(replayed) => Ok(replayed),
            Done::Saga(_) | Done::Quarantine(_) | Done::Schedule(_) | Done::Effect(_) => {
                Err(NotDone::Unknown)
            }
        }
    }

    /// Asks about an effect.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    pub async fn ask_effect(&self, operation: effect::Operation) -> Result<effect::Operated, NotDone> {
        match self.ask(Operation::Effect(operation)).await? {
            Done::Effect(operated) => Ok(operated),
            Done::Saga(_) | Done::Quarantine(_) | Done::Schedule(_) | Done::Replay(_) => {
                Err(NotDone::Unknown)
            }
        }
    }

    /// Asks, and waits until what was done is durable.
    ///
    /// # Errors
    /// [`NotDone`] says whether it may have been done all the same.
    async fn ask(&self, operation: Operation) -> Result<Done, NotDone> {
        let ticket = self.next.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.locked();
            if waiting.len() >= WAITING_MAX {
                return Err(NotDone::Busy);
            }
            waiting.insert(ticket, answer);
        }
        let _guard = Forget { ticket, waiting: self.waiting.clone() };
        let inputs = self.inputs.upgrade().ok_or(NotDone::Busy)?;
        let sent = inputs.try_send(Input::Asked { ticket, operation: Box::new(operation) });
        drop(inputs);
        sent.map_err(|_| NotDone::Busy)?;
        match tokio::time::timeout(ANSWER_DEADLINE, answered).await {
            Ok(Ok(answer)) => answer.map_err(NotDone::Refused),
            Ok(Err(_)) | Err(_) => Err(NotDone::Unknown),
        }
    }
}

/// A caller that goes away stops waiting.
struct Forget {
    ticket: u64,
    waiting: Waiting,
}

impl Drop for Forget {
    fn drop(&mut self) {
        self.waiting.locked().remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudlysis_core::saga::{Operated, Verb};
    use cloudlysis_core::wire::id::TenantId;

    fn operation() -> Operation {
        let (saga, correlation) = ("checkout".parse().expect("a name"), "o-1".parse().expect("an id"));
        let tenant = TenantId::default_tenant();
        Operation::Saga(saga::Operation { tenant, saga, correlation, verb: Verb::Resume })
    }

    fn done() -> Done {
        Done::Saga(Operated {
            status: "running",
            paused: false,
            changed: true,
            released: 0,
            asks: Vec::new(),
        })
    }

    /// Answers what was asked, or forgets it.
    async fn asked(answer: Option<Answer>) -> Result<Done, NotDone> {
        let (inputs, mut received) = mpsc::channel(1);
        let waiting = Waiting::default();
        let operator = Operator::new(inputs.downgrade(), waiting.clone());
        let machine = async {
            let Some(Input::Asked { ticket, operation }) = received.recv().await else {
                panic!("nothing asked")
            };
            match answer {
                Some(answer) => waiting.answered(Answered { ticket, operation: *operation, answer }),
                None => waiting.forget(),
            }
        };
        let (answer, ()) = tokio::join!(operator.ask(operation()), machine);
        assert!(waiting.locked().is_empty(), "nobody waits any more");
        answer
    }

    #[tokio::test]
    async fn an_answer_reaches_whoever_asked() {
        assert_eq!(asked(Some(Ok(done()))).await, Ok(done()));
        assert_eq!(asked(Some(Err(Refusal::Draining))).await, Err(NotDone::Refused(Refusal::Draining)));
    }

    #[tokio::test]
    async fn a_recovered_machine_has_forgotten_the_question() {
        assert_eq!(asked(None).await, Err(NotDone::Unknown));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_ever_nor_for_what_was_not_asked() {
        let (inputs, received) = mpsc::channel(1);
        let operator = Operator::new(inputs.downgrade(), Waiting::default());
        assert_eq!(operator.ask(operation()).await, Err(NotDone::Unknown), "no answer in time");
        assert_eq!(operator.ask(operation()).await, Err(NotDone::Busy), "the channel is full");
        drop((inputs, received));
        assert_eq!(operator.ask(operation()).await, Err(NotDone::Busy), "the node has stopped");
    }
}
