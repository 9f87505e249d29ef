//! What is held back has its turn, because an operator selected it.
//!
//! ```text
//! tick ─► so many turns ─► TurnCame ─ from a stream ──► as if it were delivered now
//!                             │    ├─ from inside ────► its instance reacts; what has ended superseded it
//!                             │    └─ from the outbox ► its lane goes on
//!                             └─ next TurnCame, while there are turns left
//! ```
//!
//! A message that came from a stream is past the checkpoint since it was parked, so there is nothing to acknowledge. What
//! one turn causes is staged before the next one, and all of it commits with the rows that leave.

use super::{Effect, Input, Runner, Source};
use crate::cx::Cx;
use crate::halt::{Broken, Halt};
use crate::invariants::Invariant;
use crate::operator::{Reason, Refusal};
use crate::quarantine::operate::{Operated, Operation, Verb};
use crate::quarantine::release::{Due, Fared, Released};
use crate::quarantine::{Cause, QuarantineKey, Subject};
use crate::saga::{self, Commanded, Incoming, Instance, Reacted};
use crate::store::Table;
use crate::time::Now;
use crate::wire::keys;

impl Runner {
    pub(super) fn on_quarantine_asked(
        &mut self,
        now: Now,
        operation: &Operation,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<Operated, Refusal>, Halt> {
        if let Verb::Edit { key, payload, .. } = &operation.verb {
            let detail = match key.subject() {
                Some(Subject::Instance { .. }) => read(key, payload)
                    .err()
                    .map(|cause| format!("payload: {}; `dlq show` has the one that is there", cause.detail)),
                Some(Subject::Lane { .. }) => {
                    Some("it may have left as it is, under an id that must not name another".to_owned())
                }
                Some(Subject::Source { .. }) | None => None,
            };
            if let Some(detail) = detail {
                return Ok(Err(Refusal::Conflict { detail }));
            }
        }
        let operated = self.quarantine.operate(now, operation, cx)?;
        if let (Verb::Skip { .. }, Ok(Operated::Key { key, changed: true, .. })) =
            (&operation.verb, &operated)
        {
            self.drop_first(key, cx)?;
        }
        if let Ok(Operated::Key { key, messages: 0, changed: true }) = &operated {
            self.freed(key);
        }
        Ok(operated)
    }

    /// The message that has its turn is applied or dropped.
    pub(super) fn on_turn_came(
        &mut self,
        now: Now,
        left: u32,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<(), Halt> {
        let Some(turn) = self.quarantine.turn(cx.view())? else { return Ok(()) };
        match (&turn.due, turn.key.subject()) {
            (Due::Replay { .. }, Some(Subject::Lane { lane, .. })) => self.let_go(now, &turn, &lane, cx)?,
            // A step does not see what it staged: the turn goes on with the next one.
            (Due::Replay { migrate: true, .. }, _) if self.migrate(now, &turn.key, cx)? => {
                cx.then(Input::TurnCame { left });
                return Ok(());
            }
            (Due::Replay { message, .. }, _) => {
                let fared = self.replay(now, &turn.key, message, cx)?;
                self.quarantine.fared(now, &turn, fared, cx)?;
            }
            (Due::Discard, _) => {
                self.drop_first(&turn.key, cx)?;
                if self.quarantine.fared(now, &turn, Fared::Discarded, cx)? {
                    self.freed(&turn.key);
                }
            }
        }
        if left > 1 {
            cx.then(Input::TurnCame { left: left - 1 });
        }
        Ok(())
    }

    /// Whether the instance was migrated in this step.
    fn migrate(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<bool, Halt> {
        let Some(Subject::Instance { tenant, saga, correlation }) = key.subject() else { return Ok(false) };
        let reason = Reason::parse("replayed by today's definition").expect("a reason");
        let operation = saga::Operation { tenant, saga, correlation, verb: saga::Verb::Migrate { reason } };
        Ok(match self.sagas.operate(now, &operation, cx)? {
            Commanded::Done { operated, .. } => operated.changed,
            Commanded::Refused(_) => false,
        })
    }

    fn replay(
        &mut self,
        now: Now,
        key: &QuarantineKey,
        message: &Released,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Fared, Halt> {
        let failed = |cause, definition| Ok(Fared::Failed { cause, definition });
        match Source::ALL.into_iter().find(|source| source.stream().name() == message.stream) {
            Some(source) => {
                let Released { stream_seq, subject, headers, payload, .. } = message;
                match self.on_message(now, source, *stream_seq, (subject, headers, payload), cx)? {
                    Ok(()) => Ok(Fared::Applied),
                    Err(cause) => failed(cause, None),
                }
            }
            None => {
                let incoming = match read(key, &message.payload) {
                    Ok(incoming) => incoming,
                    Err(cause) => return failed(cause, None),
                };
                let (tenant, saga, correlation) = incoming.subject();
                if let Some(row) = cx.view().get(Table::Saga, &keys::saga(tenant, saga, correlation))?
                    && Instance::decode(row)?.status.is_final()
                {
                    return Ok(Fared::Superseded);
                }
                match self.react(now, &incoming, cx)? {
                    Reacted::Applied(asked) => {
                        self.on_asked_for(now, asked, cx);
                        Ok(Fared::Applied)
                    }
                    Reacted::Held => Ok(Fared::Applied),
                    Reacted::Overflowed(held) => {
                        let detail = format!("{} is quarantined and holds {}", key.display(), held.len());
                        Err(Broken { invariant: Invariant::Saga6, detail }.into())
                    }
                    Reacted::Poisoned(cause) => {
                        let definition = self.definition_hash(&incoming, cx.view())?;
                        failed(cause, definition)
                    }
                }
            }
        }
    }
}

/// What came for the instance that this key names.
fn read(key: &QuarantineKey, payload: &[u8]) -> Result<Incoming, Cause> {
    let cause = |detail| Cause { kind: "decode".into(), detail };
    let incoming = Incoming::decode(payload).map_err(|error| cause(error.to_string()))?;
    let (tenant, saga, correlation) = incoming.subject();
    match QuarantineKey::instance(tenant, saga, correlation) {
        Some(own) if own == *key => Ok(incoming),
        Some(_) | None => Err(cause(format!("it is for {tenant}/{saga}/{correlation}, another instance"))),
    }
}
