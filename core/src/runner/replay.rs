//! Events that were passed come again for one saga, because an operator asks for it, a message at a time.
//!
//! ```text
//! operator ─ Replay{message} ─► passed by our consumer? ─► each event in it: its fate ─┬─ begins, reacts ─► as if it came now
//!                                                                                      └─ anything else ─► counted
//! ```
//!
//! What has not been passed comes by itself, and not here, or it would come before its time.

use super::operate::Replay;
use super::{Effect, Input, Runner, Source};
use crate::cx::Cx;
use crate::gate::Standing;
use crate::halt::Halt;
use crate::marks::Mark;
use crate::operator::Refusal;
use crate::quarantine::QuarantineKey;
use crate::saga::{Fate, Incoming, Replayed};

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
        if *stream_seq > gate.checkpoint().seq {
            return Ok(Ok(None));
        }
        let own = |name: &_| name == saga;
        let found = match self.found(message, *stream_seq, own, cx.view())? {
            Ok(found) => found,
            Err(cause) => {
                let detail = format!("message {stream_seq}: {}", cause.detail);
                return Ok(Err(Refusal::Conflict { detail }));
            }
        };
        let mut replayed = Replayed::default();
        for happened in found {
            let key = QuarantineKey::instance(&happened.tenant, saga, &happened.correlation);
            let held_back = key.map(|key| self.quarantine.holds(&key, cx.view())).transpose()?;
            let fate = match held_back {
                Some(true) => Fate::HeldBack,
                Some(false) | None => self.sagas.fate(&happened, *may_repeat, cx.view())?,
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
}
