//! Events that were passed come again for one saga, because an operator asks for it, a message at a time.
//!
//! ```text
//! operator ─ Replay{message} ─► passed by our consumer? ─► each event in it: its fate ─┬─ begins, reacts ─► as if it came now
//!                                                                                      └─ anything else ─► counted
//! ```
//!
//! What has not been passed comes by itself, and not here, or it would come before its time. What is held back, its subject
//! or its instance, stays so. What is of another partition's tenant is not looked at.

use super::operate::Replay;
use super::{Effect, Input, Runner, Source};
use crate::cx::Cx;
use crate::gate::Standing;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::operator::Refusal;
use crate::quarantine::QuarantineKey;
use crate::quirks::Quirk;
use crate::saga::{Fate, Incoming, Replayed};
use crate::store::View;

impl Runner {
    pub(super) fn on_replay_asked(
        &mut self,
        replay: &Replay,
        cx: &mut Cx<'_, Input, Effect>,
    ) -> Result<Result<Option<Replayed>, Refusal>, Halt> {
        let Replay { saga, message, stream_seq, may_repeat, dry_run, .. } = replay;
        let Some(gate) = self.gates.get(&Source::Events).filter(|gate| gate.standing() == Standing::Bound)
        else {
            let detail = "its stream is not bound: `/ready` says why".to_owned();
            return Ok(Err(Refusal::Conflict { detail }));
        };
        if !gate.tenants().has(&message.tenant) {
            return Ok(Ok(Some(Replayed::default())));
        }
        if *stream_seq > gate.passed(&message.tenant) {
            return Ok(Ok(None));
        }
        let source = QuarantineKey::source(gate.consumer().as_str(), message.route().subject().as_str())
            .filter(|_| !self.config.quirks.has(Quirk::SagaReplayOvertakes));
        let mut replayed = Replayed::default();
        let own = |name: &_| name == saga;
        let Ok(found) = self.found(message, *stream_seq, own, cx.view())? else {
            replayed.count(Fate::Unreadable);
            return Ok(Ok(Some(replayed)));
        };
        for happened in found {
            let instance = QuarantineKey::instance(&happened.tenant, saga, &happened.correlation);
            let fate =
                if self.is_held(source.as_ref(), cx.view())? || self.is_held(instance.as_ref(), cx.view())? {
                    Fate::HeldBack
                } else {
                    self.sagas.fate(&happened, *may_repeat, cx.view())?
                };
            replayed.count(fate);
            // What nobody waits for may be waited for by an instance that begins with an event before it in this message.
            let comes = matches!(fate, Fate::Begins | Fate::Reacts | Fate::Nobody);
            if comes && !dry_run {
                cx.mark(Mark::SagaReplayed);
                cx.then(Input::SagaReceived(Incoming::Happened(Box::new(happened))));
            }
        }
        Ok(Ok(Some(replayed)))
    }

    fn is_held(&self, key: Option<&QuarantineKey>, view: &dyn View) -> Result<bool, Halt> {
        key.map_or(Ok(false), |key| self.quarantine.holds(key, view))
    }
}
